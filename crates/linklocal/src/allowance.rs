//! The limit of packets per second that an interface may send to the services.

use std::num::NonZeroU32;
use std::time::Duration;

use trinic_wire::time::Instant;

/// A bucket that holds one second's packets and fills at the limit's rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// Time that one packet takes; zero = no limit.
    packet: Duration,
    /// When the bucket would be full again.
    full_at: Instant,
}

const BUCKET: Duration = Duration::from_secs(1);

impl Allowance {
    pub(crate) fn new(now: Instant, packets_per_second: Option<NonZeroU32>) -> Self {
        Self {
            packet: packets_per_second.map_or(Duration::ZERO, |limit| BUCKET / limit.get()),
            full_at: now,
        }
    }

    /// Takes one packet out, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.packet;
        if full_at.since(now) > BUCKET {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_packets_and_no_more() {
        let start = Instant::from_nanos(5);
        let mut allowance = Allowance::new(start, NonZeroU32::new(1024));
        let burst = (0..3000).filter(|_| allowance.take(start)).count();
        assert_eq!(burst, 1024);
        let half = start + Duration::from_millis(500);
        assert_eq!((0..3000).filter(|_| allowance.take(half)).count(), 512);
        let later = start + Duration::from_secs(100);
        assert_eq!((0..3000).filter(|_| allowance.take(later)).count(), 1024);
    }

    #[test]
    fn no_limit_is_none() {
        let mut allowance = Allowance::new(Instant::ZERO, None);
        assert!((0..100_000).all(|_| allowance.take(Instant::ZERO)));
    }
}
