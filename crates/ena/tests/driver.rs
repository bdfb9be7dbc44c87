//! The driver against the device model, in one process.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "The tests' lengths and names are small."
)]

#[path = "driver/hostile.rs"]
mod hostile;
#[path = "driver/rig.rs"]
mod rig;
#[path = "driver/traffic.rs"]
mod traffic;
