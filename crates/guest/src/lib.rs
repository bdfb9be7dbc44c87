//! An instance in user space: a small host with a TCP/IP stack and built-in programs.
//!
//! Where a machine allows neither a tap device nor a namespace, the card runs these instead of namespace
//! instances, on the same ports of the same pipeline; tests and simulations run them in virtual time. A
//! [`Guest`] is sans-IO: frames go in with [`Guest::handle_frame`], come out of [`Guest::poll_transmit`], and
//! [`Guest::poll_timeout`] says when to call again. It has no clock, socket or thread; the same calls with the
//! same times and the same seed give the same frames.
//!
//! ```text
//!   handle_frame -> links (ARP, NDP, addresses) -> own address? -> stack (smoltcp) <-> programs
//!                                                |  another's: forwarded, if switched on      |
//!   poll_transmit <- links (route, neighbor) <---+--------------------------------------------+
//! ```
//!
//! TCP and UDP are smoltcp's. The link layer is this crate's own, because an instance has several interfaces
//! with many addresses each, chooses the interface by the source address as EC2's guests do, and may be a
//! router: smoltcp does none of these. Every queue and table has a limit, and what is dropped is counted in
//! [`Counters`].
//!
//! What it does not do: reassemble or make fragments, obey redirects, or discover path MTUs.

#![forbid(unsafe_code)]

mod config;
mod counters;
mod event;
#[doc(hidden)]
pub mod fuzz;
mod guest;
mod icmp;
mod links;
mod program;
mod stack;

pub use config::{ConfigError, GuestConfig, InterfaceConfig, MAX_ADDRESSES, MAX_INTERFACES};
pub use counters::Counters;
pub use event::{Event, EventKind, MAX_EVENTS, PingSummary, Transfer};
pub use guest::Guest;
pub use program::{MAX_PROGRAMS, Program, ProgramError, ProgramId};
