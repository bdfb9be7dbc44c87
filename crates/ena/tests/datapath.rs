//! The datapath against descriptors written by hand.
#![expect(clippy::unwrap_used, clippy::panic, reason = "A test fails by panicking.")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "The tests' lengths and names are small."
)]

#[path = "datapath/fuzz.rs"]
mod fuzz;
#[path = "datapath/offload.rs"]
mod offload;
#[path = "datapath/prefetch.rs"]
mod prefetch;
#[path = "datapath/receive.rs"]
mod receive;
#[path = "datapath/rig.rs"]
mod rig;
#[path = "datapath/transmit.rs"]
mod transmit;
