//! How much a sender may have in flight.
//!
//! [`Delay`] is what an endpoint uses unless told otherwise: it keeps queues short by the time that packets spend in them, as Swift (Kumar et al., SIGCOMM 2020)
//! does, but by the mean of what many paths' samples ask for, where MSwift takes their median. [`Aimd`] is the plain alternative: half on a mark or a loss.

mod aimd;
mod delay;

pub use aimd::Aimd;
pub use delay::Delay;

use std::fmt::Debug;
use std::time::Duration;

use crate::Instant;

/// What a controller is told when a session begins.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Bytes of a full packet.
    pub packet: u64,
    /// Most bytes that the peer's window can hold.
    pub most: u64,
    /// Instant that packets may spend in queues ([`Config::queue_delay`](crate::Config::queue_delay)).
    pub queue_delay: Duration,
}

/// One echo of a path.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The round-trip time.
    pub round_trip: Duration,
    /// The shortest one: of this path, but at most twice the session's.
    pub shortest: Duration,
    /// Whether packets came with a congestion mark since the path's last echo.
    pub marked: bool,
}

/// Decides the congestion window of a session [CC-1]. All of it is called in the order of time.
pub trait Controller: Debug {
    /// A controller for a new session.
    fn new(setup: Setup) -> Self
    where
        Self: Sized;

    /// Bytes that may be in flight, over all paths. Less than one packet means: one packet in so many round trips [CC-4].
    fn window(&self) -> u64;

    /// A path was echoed.
    fn echo(&mut self, now: Instant, sample: Sample);

    /// Bytes were acknowledged, when so many were in flight.
    fn acknowledged(&mut self, now: Instant, bytes: u64, in_flight: u64);

    /// Bytes were lost on a path that is in use; `heard` if something sent later on the same path has arrived, so that the path itself is alive.
    fn lost(&mut self, now: Instant, bytes: u64, heard: bool);
}

/// Packets that a session begins with.
const INITIAL_PACKETS: u64 = 8;

/// The part of a packet that is the smallest window [CC-4].
const LEAST_PART: u64 = 64;
