//! Links: what one direction of them does to datagrams, and what it counts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::random::Random;
use crate::{Ecn, Instant};

/// Which link: an index from 0 in the order in which the topology named them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// One of the two directions of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the node that was named first to the one that was named second.
    Forward,
    /// The other way.
    Backward,
}

/// One direction of a link, with the queue at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// Bits that leave the queue in a second, from the preamble to the gap after the frame. Not 0.
    pub rate_bps: u64,
    /// From the last bit's leaving to its arrival.
    pub delay: Duration,
    /// Added to the delay: a uniform time up to this. It never changes the order.
    pub jitter: Duration,
    /// Datagrams in a million that are lost after they left the queue.
    pub loss_ppm: u32,
    /// Datagrams in a million that arrive twice, the second right behind the first.
    pub duplicate_ppm: u32,
    /// Datagrams in a million that are held back on the way, so that later ones overtake them.
    pub reorder_ppm: u32,
    /// How long those are held back: a uniform time up to this.
    pub reorder_delay: Duration,
    /// Datagrams in a million in which an odd number of bits of the payload, 7 at most, flip.
    pub corrupt_ppm: u32,
    /// A switch's queue's room, with the datagram that is being sent. What does not fit is dropped. A host's own
    /// queue has what [`crate::WorldConfig::nic_bytes`] says, and never drops for room.
    pub queue_bytes: u64,
    /// A datagram that finds more than this in a switch's queue is marked, if its transport takes part in ECN.
    pub mark_bytes: Option<u64>,
}

impl LinkConfig {
    /// A link without faults, with room for 1 MiB and no marks.
    pub const fn new(rate_bps: u64, delay: Duration) -> Self {
        Self {
            rate_bps,
            delay,
            jitter: Duration::ZERO,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            reorder_delay: Duration::ZERO,
            corrupt_ppm: 0,
            queue_bytes: 1 << 20,
            mark_bytes: None,
        }
    }

    /// The same with this much room in the queue, and marks above `mark_bytes`.
    pub const fn with_queue(mut self, queue_bytes: u64, mark_bytes: Option<u64>) -> Self {
        self.queue_bytes = queue_bytes;
        self.mark_bytes = mark_bytes;
        self
    }

    /// The same with this loss, in a million.
    pub const fn with_loss(mut self, loss_ppm: u32) -> Self {
        self.loss_ppm = loss_ppm;
        self
    }

    /// The same with this jitter.
    pub const fn with_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// The same with this many duplicates in a million.
    pub const fn with_duplicates(mut self, duplicate_ppm: u32) -> Self {
        self.duplicate_ppm = duplicate_ppm;
        self
    }

    /// The same with this many in a million held back up to `reorder_delay`.
    pub const fn with_reordering(mut self, reorder_ppm: u32, reorder_delay: Duration) -> Self {
        self.reorder_ppm = reorder_ppm;
        self.reorder_delay = reorder_delay;
        self
    }

    /// The same with this many corrupted in a million.
    pub const fn with_corruption(mut self, corrupt_ppm: u32) -> Self {
        self.corrupt_ppm = corrupt_ppm;
        self
    }
}

/// Why a datagram went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropCause {
    /// No room in a queue.
    QueueFull,
    /// The link's loss.
    Loss,
    /// The link was down when it was sent, or went down while it was queued or on the way.
    LinkDown,
    /// The switch knows no way to the destination.
    NoRoute,
    /// The destination has crashed, or never started.
    HostDown,
    /// The destination's card found a corrupted payload and checks it ([`crate::WorldConfig::verify_checksums`]),
    /// or the payload is all virtual bytes, in which a flipped bit cannot be shown.
    Checksum,
}

impl DropCause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::Loss,
        Self::LinkDown,
        Self::NoRoute,
        Self::HostDown,
        Self::Checksum,
    ];
}

/// Datagrams dropped, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drops([u64; DropCause::ALL.len()]);

impl Drops {
    /// How many of this cause.
    pub const fn of(&self, cause: DropCause) -> u64 {
        self.0[cause as usize]
    }

    /// How many of all causes.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) const fn count(&mut self, cause: DropCause) {
        self.0[cause as usize] += 1;
    }
}

/// What one direction of a link counted. At any time `offered + duplicated` is `delivered`, plus
/// `dropped.total()`, plus what is queued and on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Datagrams given to the queue.
    pub offered: u64,
    /// Datagrams that arrived at the other end, duplicates too.
    pub delivered: u64,
    /// Bytes on the wire of those.
    pub delivered_bytes: u64,
    /// Datagrams that went no further here.
    pub dropped: Drops,
    /// Datagrams that got a congestion mark here.
    pub marked: u64,
    /// Copies that the link made.
    pub duplicated: u64,
    /// Datagrams held back.
    pub reordered: u64,
    /// Datagrams with flipped bits.
    pub corrupted: u64,
    /// The most that was queued, the datagram being sent with it.
    pub max_depth_bytes: u64,
    /// What was queued on average over the time since the start.
    pub mean_depth_bytes: u64,
}

/// One direction of a link, at work.
///
/// The queue is kept as the times at which what is in it will have left: each datagram's fate is known when it
/// is offered, so it costs one event a hop. A link that goes down takes what is queued and on the way with it,
/// which [`Port::epoch`] shows when such a datagram would arrive.
#[derive(Debug)]
pub(crate) struct Port {
    config: LinkConfig,
    random: Random,
    /// Whether a host is at its start and no switch: it neither drops for room nor marks.
    of_host: bool,
    up: bool,
    epoch: u32,
    queue: VecDeque<Departure>,
    depth_bytes: u64,
    /// When the last of the queue will have left.
    busy_ps: u64,
    /// Up to when the queue's depth has been accounted for.
    drained_ps: u64,
    last_arrival: Instant,
    area_byte_ps: u128,
    stats: LinkStats,
}

/// A queued datagram.
#[derive(Debug, Clone, Copy)]
struct Departure {
    at_ps: u64,
    bytes: u64,
}

/// What becomes of a datagram that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Dropped(DropCause),
    Arrives {
        at: Instant,
        marked: bool,
        duplicated: bool,
        corrupted: bool,
    },
}

impl Port {
    pub(crate) fn new(config: LinkConfig, of_host: bool, random: Random) -> Self {
        assert!(config.rate_bps > 0, "a link's rate is not 0");
        Self {
            config,
            random,
            of_host,
            up: true,
            epoch: 0,
            queue: VecDeque::new(),
            depth_bytes: 0,
            busy_ps: 0,
            drained_ps: 0,
            last_arrival: Instant::ZERO,
            area_byte_ps: 0,
            stats: LinkStats::default(),
        }
    }

    /// Decides about a datagram of `bytes` on the wire.
    pub(crate) fn offer(&mut self, now: Instant, bytes: u64, ecn: Ecn) -> Fate {
        self.drain(now);
        self.stats.offered += 1;
        let full = !self.of_host && self.depth_bytes + bytes > self.config.queue_bytes;
        if full && self.up {
            return self.drop(DropCause::QueueFull);
        }
        let marked = ecn.is_capable()
            && !self.of_host
            && self.config.mark_bytes.is_some_and(|mark| self.depth_bytes > mark);
        if !full {
            self.enqueue(now, bytes);
        }
        // A link that is down still takes the time of sending, as a card does that has no link.
        if !self.up {
            return self.drop(DropCause::LinkDown);
        }
        if marked {
            self.stats.marked += 1;
        }
        if self.random.chance_ppm(self.config.loss_ppm) {
            return self.drop(DropCause::Loss);
        }
        let at = self.arrival();
        let duplicated = self.random.chance_ppm(self.config.duplicate_ppm);
        let corrupted = self.random.chance_ppm(self.config.corrupt_ppm);
        self.stats.duplicated += u64::from(duplicated);
        self.stats.corrupted += u64::from(corrupted);
        Fate::Arrives {
            at,
            marked,
            duplicated,
            corrupted,
        }
    }

    /// What is queued now.
    pub(crate) fn depth_bytes(&mut self, now: Instant) -> u64 {
        self.drain(now);
        self.depth_bytes
    }

    /// When less than `bytes` will be queued, if nothing more is offered.
    pub(crate) fn below(&self, bytes: u64) -> Instant {
        let mut depth = self.depth_bytes;
        for departure in &self.queue {
            depth -= departure.bytes;
            if depth < bytes {
                return instant(departure.at_ps);
            }
        }
        instant(self.busy_ps)
    }

    /// Raises or cuts the link. What is queued or on the way when it is cut is lost.
    pub(crate) fn set_up(&mut self, now: Instant, up: bool) {
        self.drain(now);
        if self.up && !up {
            self.epoch = self.epoch.wrapping_add(1);
            self.queue.clear();
            self.depth_bytes = 0;
            self.busy_ps = self.drained_ps;
        }
        self.up = up;
    }

    pub(crate) fn set_config(&mut self, config: LinkConfig) {
        assert!(config.rate_bps > 0, "a link's rate is not 0");
        self.config = config;
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.up
    }

    /// Which life of the link this is; a datagram arrives only in the one in which it was sent.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) const fn delivered(&mut self, bytes: u64) {
        self.stats.delivered += 1;
        self.stats.delivered_bytes += bytes;
    }

    pub(crate) const fn cut(&mut self) {
        self.stats.dropped.count(DropCause::LinkDown);
    }

    /// Flips bits of a payload: an odd number, so that two flips of one bit never undo all of it.
    pub(crate) fn flips(&mut self, payload: &mut [u8]) {
        let bits = u64::try_from(payload.len()).unwrap_or(u64::MAX).saturating_mul(8);
        for _ in 0..=2 * self.random.below(4) {
            let bit = self.random.below(bits);
            if let Some(byte) = usize::try_from(bit / 8)
                .ok()
                .and_then(|index| payload.get_mut(index))
            {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub(crate) fn stats(&self, now: Instant) -> LinkStats {
        let mut area = self.area_byte_ps;
        let mut depth = self.depth_bytes;
        let mut from_ps = self.drained_ps;
        let now_ps = picoseconds(now);
        for departure in self.queue.iter().take_while(|entry| entry.at_ps <= now_ps) {
            area += u128::from(depth) * u128::from(departure.at_ps - from_ps);
            from_ps = departure.at_ps;
            depth -= departure.bytes;
        }
        area += u128::from(depth) * u128::from(now_ps.saturating_sub(from_ps));
        LinkStats {
            mean_depth_bytes: u64::try_from(area / u128::from(now_ps.max(1))).unwrap_or(u64::MAX),
            ..self.stats
        }
    }

    fn drop(&mut self, cause: DropCause) -> Fate {
        self.stats.dropped.count(cause);
        Fate::Dropped(cause)
    }

    fn enqueue(&mut self, now: Instant, bytes: u64) {
        let start_ps = self.busy_ps.max(picoseconds(now));
        self.busy_ps = start_ps.saturating_add(bytes.saturating_mul(BIT_PS_PER_BPS) / self.config.rate_bps);
        self.queue.push_back(Departure {
            at_ps: self.busy_ps,
            bytes,
        });
        self.depth_bytes += bytes;
        self.stats.max_depth_bytes = self.stats.max_depth_bytes.max(self.depth_bytes);
    }

    /// When the datagram that was queued last arrives.
    fn arrival(&mut self) -> Instant {
        let mut at = instant(self.busy_ps) + self.config.delay;
        at = at + self.up_to(self.config.jitter);
        at = at.max(self.last_arrival);
        if self.random.chance_ppm(self.config.reorder_ppm) {
            self.stats.reordered += 1;
            return at + self.up_to(self.config.reorder_delay);
        }
        self.last_arrival = at;
        at
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        if longest.is_zero() {
            return longest;
        }
        let longest_ns = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.below(longest_ns.saturating_add(1)))
    }

    /// Takes out what has left by now.
    fn drain(&mut self, now: Instant) {
        let now_ps = picoseconds(now);
        while let Some(departure) = self.queue.front().copied()
            && departure.at_ps <= now_ps
        {
            self.account(departure.at_ps);
            self.depth_bytes -= departure.bytes;
            self.queue.pop_front();
        }
        self.account(now_ps);
    }

    fn account(&mut self, up_to_ps: u64) {
        if up_to_ps > self.drained_ps {
            self.area_byte_ps += u128::from(self.depth_bytes) * u128::from(up_to_ps - self.drained_ps);
            self.drained_ps = up_to_ps;
        }
    }
}

fn picoseconds(at: Instant) -> u64 {
    at.as_nanos().saturating_mul(1_000)
}

/// The first whole nanosecond at or after this.
const fn instant(ps: u64) -> Instant {
    Instant::from_nanos(ps.div_ceil(1_000))
}

/// Picoseconds that a byte takes at one bit per second. Times are kept in picoseconds because a short frame
/// takes a few nanoseconds on a fast link; 2^64 of them are 213 days.
const BIT_PS_PER_BPS: u64 = 8 * 1_000_000_000_000;

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
