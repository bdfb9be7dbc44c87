//! The card's clocks: the only place that reads them, for the pure crates that take time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use trinic_wire::time::Instant;

/// Nanoseconds since the machine booted, as `CLOCK_MONOTONIC` counts them.
pub fn now() -> Instant {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

/// Nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
