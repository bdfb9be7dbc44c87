//! The paths of a session, as its sender sees them.

use std::hint::select_unpredictable;
use std::time::Duration;

use crate::Instant;
use crate::number::nanos;
use crate::random::Random;

/// No transmission.
pub(crate) const NONE: u64 = u64::MAX;

/// One path.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// Smoothed round-trip time and its variation in nanoseconds; 0 before the first echo [PTH-2].
    smoothed: u64,
    variation: u64,
    /// The shortest round trips of the last two periods.
    shortest: [u64; 2],
    /// Packets in flight.
    pub(crate) in_flight: u32,
    /// Transmissions so far: their order on the path.
    pub(crate) sent: u64,
    /// The oldest and the newest transmission that are not yet accounted for, or [`NONE`].
    pub(crate) head: u64,
    pub(crate) tail: u64,
    /// The lowest TXN that an echo can still report.
    pub(crate) echoed: u64,
    /// The peer's counts at the last echo.
    pub(crate) marked: u16,
    /// Losses since the last echo.
    losses: u32,
    /// Why no packets but probes are sent on it, and when the next probe is.
    rest: Option<Rest>,
}

/// A path out of use.
#[derive(Clone, Copy, Debug)]
struct Rest {
    because: Because,
    probe: Instant,
    wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Because {
    /// Nothing comes back [PTH-4].
    Silent,
    /// It is much slower than the others [PTH-5].
    Slow,
}

/// All paths of a session.
#[derive(Debug)]
pub(crate) struct Paths {
    list: Box<[Path]>,
    /// The numbers of the paths in use, without order.
    in_use: Vec<u8>,
    random: Random,
    least_timeout: u64,
    /// Round trip and variation of the path that was echoed last: what is assumed of one that never was.
    assumed: [u64; 2],
    /// Packets since one was a probe.
    since_probe: u32,
    /// Echoes until the paths are compared again.
    review: u32,
    period: Instant,
}

impl Paths {
    pub(crate) fn new(count: u8, least_timeout: Duration, seed: u64, now: Instant) -> Self {
        let path = Path {
            smoothed: 0,
            variation: 0,
            shortest: [u64::MAX; 2],
            in_flight: 0,
            sent: 0,
            head: NONE,
            tail: NONE,
            echoed: 0,
            marked: 0,
            losses: 0,
            rest: None,
        };
        Self {
            list: vec![path; usize::from(count)].into(),
            in_use: (0..count).collect(),
            random: Random::new(seed),
            least_timeout: nanos(least_timeout),
            assumed: [0; 2],
            since_probe: 0,
            review: REVIEW,
            period: now + PERIOD,
        }
    }

    pub(crate) fn get(&self, path: u8) -> Option<&Path> {
        self.list.get(usize::from(path))
    }

    pub(crate) fn get_mut(&mut self, path: u8) -> Option<&mut Path> {
        self.list.get_mut(usize::from(path))
    }

    pub(crate) fn count(&self) -> u8 {
        u8::try_from(self.list.len()).unwrap_or(u8::MAX)
    }

    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.len()
    }

    /// Whether only probes are sent on a path.
    pub(crate) fn is_at_rest(&self, number: u8) -> bool {
        self.get(number).is_some_and(|path| path.rest.is_some())
    }

    /// The path for the next packet: the best of four drawn at random; not `avoid` if there is another [PTH-3]. If the packet may be a probe, and one is due, a
    /// path out of use [PTH-4].
    pub(crate) fn pick(&mut self, now: Instant, avoid: Option<u8>, may_probe: bool) -> u8 {
        self.since_probe += 1;
        if may_probe
            && self.since_probe > BETWEEN_PROBES
            && self.in_use.len() < self.list.len()
            && let Some(path) = self.due_probe(now)
        {
            self.since_probe = 0;
            return path;
        }
        let [mut best, others @ ..]: [u8; DRAWS] = std::array::from_fn(|_| self.draw(avoid));
        let mut least = self.score(best);
        for other in others {
            let score = self.score(other);
            // Which is better is chance: a processor that guesses it is wrong once a packet.
            best = select_unpredictable(score < least, other, best);
            least = least.min(score);
        }
        best
    }

    fn draw(&mut self, avoid: Option<u8>) -> u8 {
        let at = self.random.below(self.in_use.len());
        let path = self.in_use[at];
        if Some(path) == avoid {
            self.in_use[(at + 1) % self.in_use.len()]
        } else {
            path
        }
    }

    fn score(&self, path: u8) -> u64 {
        self.get(path).map_or(u64::MAX, |path| {
            let smoothed = if path.smoothed == 0 {
                self.assumed[0].max(1)
            } else {
                path.smoothed
            };
            // A path that loses is empty for that reason.
            smoothed.saturating_mul(u64::from(path.in_flight) + 1 + LOSS_WEIGHT * u64::from(path.losses))
        })
    }

    fn due_probe(&mut self, now: Instant) -> Option<u8> {
        let due = |path: &Path| path.rest.is_some_and(|rest| rest.probe <= now);
        let at = self.list.iter().position(due)?;
        let rest = self.list[at].rest.as_mut()?;
        rest.wait = (rest.wait * 2).min(LONGEST_WAIT);
        rest.probe = now + rest.wait;
        u8::try_from(at).ok()
    }

    /// An echo of a path: its round-trip time. Gives the shortest one to compare it with.
    pub(crate) fn echo(&mut self, now: Instant, number: u8, round_trip: Duration) -> Duration {
        let sample = nanos(round_trip);
        if now >= self.period {
            self.period = now + PERIOD;
            for path in &mut self.list {
                path.shortest = [u64::MAX, path.shortest[0]];
            }
        }
        let Some(path) = self.list.get_mut(usize::from(number)) else {
            return round_trip;
        };
        // RFC 6298, section 2.
        if path.smoothed == 0 {
            path.smoothed = sample.max(1);
            path.variation = sample / 2;
        } else {
            path.variation = (path.variation * 3 + path.smoothed.abs_diff(sample)) / 4;
            path.smoothed = ((path.smoothed * 7 + sample) / 8).max(1);
        }
        path.shortest[0] = path.shortest[0].min(sample);
        path.losses = 0;
        self.assumed = [path.smoothed, path.variation];
        let own = path.shortest[0].min(path.shortest[1]);
        if path.rest.is_some_and(|rest| rest.because == Because::Silent) {
            self.bring_back(number);
        }
        self.review -= 1;
        if self.review == 0 {
            self.review = REVIEW;
            self.compare(now);
        }
        let all = self
            .list
            .iter()
            .map(|path| path.shortest[0].min(path.shortest[1]))
            .min()
            .unwrap_or(own);
        Duration::from_nanos(own.min(all.saturating_mul(2)))
    }

    /// A packet was lost on a path; whether the path is in use. Three in a row put it out of use [PTH-4].
    pub(crate) fn lose(&mut self, now: Instant, number: u8) -> bool {
        let Some(path) = self.list.get_mut(usize::from(number)) else {
            return false;
        };
        path.losses += 1;
        let in_use = path.rest.is_none();
        if in_use && path.losses >= LOSSES {
            self.put_to_rest(now, number, Because::Silent);
        }
        in_use
    }

    /// After how long without an echo a packet on the path is lost [REL-7].
    pub(crate) fn timeout(&self, number: u8) -> Duration {
        match self.times(number) {
            [0, _] => FIRST_TIMEOUT,
            times => Duration::from_nanos(self.timeout_of(times)),
        }
    }

    const fn timeout_of(&self, [smoothed, variation]: [u64; 2]) -> u64 {
        let timeout = smoothed + 4 * variation + TIMEOUT_ROOM;
        if timeout < self.least_timeout {
            self.least_timeout
        } else {
            timeout
        }
    }

    /// The age in nanoseconds from which a packet can count as lost by time, whatever arrives; once for each packet that is sent.
    #[inline]
    pub(crate) fn soonest(&self, number: u8) -> u64 {
        match self.times(number) {
            [0, _] => nanos(FIRST_TIMEOUT),
            times => overtaken_of(times, 0).min(self.timeout_of(times)),
        }
    }

    /// The age from which a packet that later ones on its path overtook is lost [REL-7].
    pub(crate) fn patience(&self, number: u8) -> Duration {
        let smoothed = self.get(number).map_or(0, |path| path.smoothed);
        Duration::from_nanos(smoothed + smoothed / 4)
    }

    /// The age from which a packet is lost if one that was sent later, on whatever path, has arrived and took so many nanoseconds [REL-7].
    pub(crate) fn overtaken(&self, number: u8, took: u64) -> Duration {
        match self.times(number) {
            [0, _] => FIRST_TIMEOUT,
            times => Duration::from_nanos(overtaken_of(times, took)),
        }
    }

    #[inline]
    fn times(&self, number: u8) -> [u64; 2] {
        match self.get(number) {
            Some(path) if path.smoothed != 0 => [path.smoothed, path.variation],
            _ => self.assumed,
        }
    }

    /// The largest timeout of the paths in use.
    pub(crate) fn longest_timeout(&self) -> Duration {
        let timeouts = self.in_use.iter().map(|path| self.timeout(*path));
        timeouts.max().unwrap_or(FIRST_TIMEOUT)
    }

    /// The median of the smoothed round-trip times in use, or 0 before there is one.
    pub(crate) fn typical(&self) -> Duration {
        Duration::from_nanos(self.quantile(2))
    }

    /// Puts paths out of use that are much slower than the others, and brings those back that no longer are [PTH-5].
    fn compare(&mut self, now: Instant) {
        let usual = self.quantile(4);
        let slow = usual.saturating_mul(2).saturating_add(SLOW_ROOM);
        // Clearly below it, or a path would come and go with the others' queues.
        let quick = usual.saturating_mul(3).saturating_add(SLOW_ROOM) / 2;
        for number in 0..self.count() {
            let Some(path) = self.get(number) else { continue };
            match path.rest {
                None if path.smoothed > slow => self.put_to_rest(now, number, Because::Slow),
                Some(rest) if path.smoothed < quick && rest.because == Because::Slow => {
                    self.bring_back(number)
                }
                _ => {}
            }
        }
    }

    /// The smoothed round-trip time that is above one of so many of the paths in use, or 0 before there is one.
    fn quantile(&self, part: usize) -> u64 {
        let mut times = [0; 64];
        let mut count = 0;
        for path in self.in_use.iter().filter_map(|path| self.get(*path)) {
            if path.smoothed != 0 && count < times.len() {
                times[count] = path.smoothed;
                count += 1;
            }
        }
        let times = &mut times[..count];
        times.sort_unstable();
        times.get(count / part).copied().unwrap_or(0)
    }

    fn put_to_rest(&mut self, now: Instant, number: u8, because: Because) {
        self.in_use.retain(|other| *other != number);
        if let Some(path) = self.get_mut(number) {
            path.rest = Some(Rest {
                because,
                probe: now + FIRST_WAIT,
                wait: FIRST_WAIT,
            });
        }
        if self.in_use.is_empty() {
            // [PTH-6]
            for number in 0..self.count() {
                self.bring_back(number);
            }
        }
    }

    fn bring_back(&mut self, number: u8) {
        if let Some(path) = self.get_mut(number)
            && path.rest.take().is_some()
        {
            path.losses = 0;
            self.in_use.push(number);
        }
    }
}

/// [`Paths::overtaken`] in nanoseconds, of a smoothed round-trip time and its variation.
#[inline]
fn overtaken_of([smoothed, variation]: [u64; 2], took: u64) -> u64 {
    // What held the later one up may have held up this one too.
    smoothed.max(took) + (smoothed / 4).max(4 * variation) + TIMEOUT_ROOM / 2
}

/// Losses in a row after which a path is out of use.
const LOSSES: u32 = 3;
/// Paths of which the best is taken.
const DRAWS: usize = 4;
/// As how many packets in flight a loss without an echo since counts.
const LOSS_WEIGHT: u64 = 8;
/// Packets between two probes of a session: a probe may be lost, so only few packets are.
const BETWEEN_PROBES: u32 = 16;
/// Waits between probes.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(256);
/// The timeout before any path was echoed.
const FIRST_TIMEOUT: Duration = Duration::from_millis(1);
/// What a timeout has above round trip and variation, in nanoseconds: the wait of an acknowledgement, twice.
const TIMEOUT_ROOM: u64 = 40_000;
/// By how much more than twice the lower quartile a path may be slow, in nanoseconds.
const SLOW_ROOM: u64 = 50_000;
/// Echoes between two comparisons of the paths.
const REVIEW: u32 = 32;
/// The shortest round trip is that of one or two of these periods.
const PERIOD: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1_000)
    }

    fn paths(count: u8) -> Paths {
        Paths::new(count, Duration::from_micros(100), 7, Instant::ZERO)
    }

    #[test]
    fn packets_spread_and_a_fuller_path_gets_fewer() {
        // [PTH-3]
        let mut paths = paths(4);
        for number in 0..4 {
            paths.echo(at(1), number, Duration::from_micros(10));
        }
        paths.get_mut(2).unwrap().in_flight = 100;
        let mut picks = [0; 4];
        for _ in 0..1_000 {
            picks[usize::from(paths.pick(at(2), Some(1), true))] += 1;
        }
        assert_eq!(picks[1], 0, "the one to avoid");
        assert!(
            picks[0] > 200 && picks[3] > 200 && picks[2] < picks[0],
            "{picks:?}"
        );
    }

    #[test]
    fn a_silent_path_is_left_probed_and_taken_back() {
        // [PTH-4]
        let mut paths = paths(2);
        assert!(paths.lose(at(0), 0) && paths.lose(at(0), 0) && paths.lose(at(0), 0));
        assert_eq!(paths.in_use(), 1);
        assert!(!paths.lose(at(0), 0), "no longer in use");
        assert!((0..50).all(|_| paths.pick(at(999), None, true) == 1));
        assert_eq!(
            paths.pick(at(1_000), None, false),
            1,
            "a packet that must not be lost"
        );
        assert_eq!(paths.pick(at(1_000), None, true), 0, "a probe");
        assert!(
            (0..50).all(|_| paths.pick(at(1_001), None, true) == 1),
            "a single one"
        );
        assert_eq!(
            paths.pick(at(3_000), None, true),
            0,
            "the next after twice the time"
        );
        paths.echo(at(3_010), 0, Duration::from_micros(10));
        assert_eq!(paths.in_use(), 2);
    }

    #[test]
    fn the_last_path_brings_all_back() {
        // [PTH-6]
        let mut paths = paths(2);
        for number in [0, 0, 0, 1, 1, 1] {
            paths.lose(at(0), number);
        }
        assert_eq!(paths.in_use(), 2);
    }

    #[test]
    fn a_slow_path_gets_probes_until_it_is_as_fast_as_the_others() {
        // [PTH-5]
        let mut paths = paths(4);
        for _ in 0..16 {
            for number in 0..4 {
                let time = if number == 3 { 500 } else { 50 };
                paths.echo(at(1), number, Duration::from_micros(time));
            }
        }
        assert_eq!(paths.in_use(), 3);
        assert!((0..16).all(|_| paths.pick(at(500), None, true) != 3));
        assert_eq!(paths.pick(at(1_001), None, true), 3, "a probe");
        for _ in 0..64 {
            paths.echo(at(2), 3, Duration::from_micros(50));
        }
        assert_eq!(paths.in_use(), 4);
    }

    #[test]
    fn a_timeout_follows_the_round_trips() {
        // [REL-7] [PTH-2]
        let mut paths = paths(1);
        assert_eq!(paths.timeout(0), Duration::from_millis(1));
        paths.echo(at(1), 0, Duration::from_micros(200));
        assert_eq!(paths.timeout(0), Duration::from_micros(200 + 4 * 100 + 40));
        for _ in 0..100 {
            paths.echo(at(1), 0, Duration::from_micros(10));
        }
        assert_eq!(paths.timeout(0), Duration::from_micros(100), "the least");
    }
}
