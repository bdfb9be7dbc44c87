//! Spreads a window over the round trip [CC-5].

use std::time::Duration;

use crate::Instant;
use crate::number::nanos;

/// Gives each packet its time at the session's rate. A packet leaves when those before it have had theirs, but so many may leave together as the owner permits.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bytes that may be ahead of their time, or nothing for no pacing.
    ahead: Option<u64>,
    /// When what was sent has had its time, less what may be ahead of it.
    from: Instant,
    /// The usual round trip, and until when it is good.
    round_trip: Duration,
    good: Instant,
}

impl Pacer {
    /// A pacer for bursts of so many packets, full ones of so many bytes; none paces nothing.
    pub(crate) fn new(burst: Option<u16>, packet: u64) -> Self {
        Self {
            ahead: burst.map(|packets| u64::from(packets.saturating_sub(1)) * packet),
            from: Instant::ZERO,
            round_trip: Duration::ZERO,
            good: Instant::ZERO,
        }
    }

    /// From when the next packet may leave, if that is told.
    pub(crate) fn from(&self) -> Option<Instant> {
        self.ahead.map(|_| self.from)
    }

    /// Whether the next packet may leave.
    pub(crate) fn may(&self, now: Instant) -> bool {
        self.ahead.is_none() || self.from <= now
    }

    /// Some bytes leave under this window of bytes. How long a round trip usually takes is asked once in each: it is dear to find.
    pub(crate) fn sent(&mut self, now: Instant, bytes: u64, window: u64, usual: impl FnOnce() -> Duration) {
        let Some(ahead) = self.ahead else {
            return;
        };
        if self.good <= now {
            self.round_trip = usual();
            self.good = now + self.round_trip;
        }
        let round_trip = nanos(self.round_trip);
        // Four fifths of it, so that acknowledgements that come late find no idle sender, and the window can grow.
        let whole = round_trip - round_trip / 5;
        // Windows of less than a packet are another rule's [CC-4].
        let time = |bytes: u64| Duration::from_nanos(whole.saturating_mul(bytes) / window.max(bytes).max(1));
        // What was not sent during a rest lets no more than a burst go at once.
        let earliest = Instant::from_nanos(now.as_nanos().saturating_sub(nanos(time(ahead))));
        self.from = self.from.max(earliest) + time(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// When each of 40 packets of 1,000 bytes leaves, in nanoseconds, if one is there at all times: a window of 20 packets and 1 ms.
    fn departures(pacer: &mut Pacer, begin: u64) -> Vec<u64> {
        let mut now = Instant::from_nanos(begin);
        let mut times = Vec::new();
        for _ in 0..40 {
            now = now.max(pacer.from().unwrap_or(now));
            assert!(pacer.may(now));
            pacer.sent(now, 1_000, 20_000, || Duration::from_millis(1));
            times.push(now.as_nanos() - begin);
        }
        times
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_over_four_fifths_of_a_round_trip() {
        // [CC-5]
        let mut pacer = Pacer::new(Some(4), 1_000);
        let times = departures(&mut pacer, 10 * MS);
        assert_eq!(times[..5], [0, 0, 0, 0, 40_000]);
        assert_eq!(times[39], 36 * 40_000, "20 packets in 0.8 ms");
        // However long the rest was.
        assert_eq!(departures(&mut pacer, 10_000 * MS)[..5], [0, 0, 0, 0, 40_000]);
        let mut single = Pacer::new(Some(1), 1_000);
        assert_eq!(departures(&mut single, MS)[..3], [0, 40_000, 80_000]);
    }

    #[test]
    fn without_a_burst_or_a_round_trip_nothing_waits() {
        let mut none = Pacer::new(None, 1_000);
        assert!(departures(&mut none, MS).iter().all(|at| *at == 0));
        assert_eq!(none.from(), None);
        let mut early = Pacer::new(Some(1), 1_000);
        early.sent(Instant::from_nanos(MS), 1_000, 20_000, || Duration::ZERO);
        assert!(early.may(Instant::from_nanos(MS)), "no round trip is known yet");
    }

    #[test]
    fn a_packet_waits_for_less_than_a_round_trip() {
        let mut pacer = Pacer::new(Some(1), 1_000);
        pacer.sent(Instant::from_nanos(MS), 1_000, 15, || Duration::from_millis(100));
        assert_eq!(pacer.from(), Some(Instant::from_nanos(81 * MS)));
    }
}
