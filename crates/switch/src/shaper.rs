//! Allowances of one interface: bandwidth each way, packets a second, packets to link-local services.
//!
//! Source: [EC2 User Guide, "Amazon EC2 instance network bandwidth" and "Monitor network performance for ENA
//! settings on your EC2 instance"], read 2026-11-27: what is limited, that packets are queued and then dropped, the
//! counters. How deep the queue is and how large a burst may be is not documented. [assumed A-26]
//!
//! A function whose driver's frames lie in a ring of its own is asked for no more than its rate: what is above it waits
//! there ([`Shaper::send_room`]), is counted as queued, and the driver stops when its ring is full. [assumed A-39]
//!
//! Of what comes by another way nothing waits. A [`Bucket`] keeps the time by which an interface is ahead of its rate. Up to its burst a frame passes
//! unnoticed; beyond, for the depth of the queue, it passes too, and is counted as queued: a switch holds no frames,
//! so that the queue delays nothing and is the more of a burst that it stands for. [assumed A-27] Beyond the queue
//! a frame is dropped. Over any long time no more passes than the rate.
//!
//! Every frame that its interface sends counts, whatever becomes of it, and every one that passes the receiver's gate.
//! [assumed A-29]
//!
//! What a frame finds, not what it adds, decides, so that even the slowest rate lets a super-frame pass. It
//! adds what its segments are on the wire.

use trinic_wire::packet::Parsed;
use trinic_wire::time::Instant;

use crate::DropReason;
use crate::cache::Glance;
use crate::counters::Counters;
use crate::packet::{Offload, Packet};
use crate::tables::{Allowances, Bandwidth};
use crate::trace::Direction;
use crate::walk::headers_len;

/// What a frame adds to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Load {
    /// The load of a frame that is one packet.
    #[inline]
    fn single(total_len: usize) -> Self {
        Self {
            packets: 1,
            bytes: total_len as u64,
        }
    }

    /// A super-frame counts as its segments, each with the headers.
    #[inline]
    fn segments(total_len: usize, offload: Offload, ip_len: usize, headers_len: usize) -> Self {
        let single = Self::single(total_len);
        let size = usize::from(offload.gso_size);
        let payload = ip_len.saturating_sub(headers_len);
        if size == 0 || payload <= size {
            return single;
        }
        let packets = payload.div_ceil(size) as u64;
        let network_offset = single.bytes.saturating_sub(ip_len as u64);
        Self {
            packets,
            bytes: single.bytes + (packets - 1) * (network_offset + headers_len as u64),
        }
    }

    pub(crate) fn of(packet: &Packet<'_>, parsed: &Parsed) -> Self {
        match parsed.ip() {
            Some(ip) => {
                let headers_len = headers_len(ip, parsed.network_offset);
                Self::segments(packet.total_len, packet.offload, ip.total_len, headers_len)
            }
            None => Self::single(packet.total_len),
        }
    }

    #[inline]
    pub(crate) fn of_plain(total_len: usize, offload: Offload, glance: &Glance) -> Self {
        let (ip_len, headers_len) = (glance.ip_len as usize, glance.headers_len as usize);
        Self::segments(total_len, offload, ip_len, headers_len)
    }
}

/// What a frame finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Room {
    Free,
    Queue,
    None,
}

/// A rate, and how far ahead of it its user is. Times are in 2^-16 ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    /// What one unit takes at this rate.
    cost: u64,
    burst: u64,
    queue: u64,
    debt: u64,
    /// When the debt was that.
    at: Instant,
}

const FRACTION_BITS: u32 = 16;
const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// The longest time that a bucket tells apart: 32 hours. No burst is longer.
const LONGEST: u64 = 1 << 63;

/// How long an interface may send at any speed. [assumed A-26]
const BURST_NS: u64 = NS_PER_MS;

/// How much more is queued. [assumed A-26]
const QUEUE_NS: u64 = 10 * NS_PER_MS;

/// How long an interface that rested may use its peak bandwidth; the page above says "5 to 60 minutes" of network
/// I/O credits, depending on the instance's size. [assumed A-28]
const CREDIT_NS: u64 = 300 * NS_PER_S;

/// What a frame of the largest size adds, for how many of them are taken at once: 64 KiB in segments of 1,448 bytes. One
/// of more segments that finds no room in the queue is dropped.
const SUPER_FRAME: Load = Load {
    packets: 46,
    bytes: 68_600,
};

/// A span of time in the bucket's unit.
#[inline]
fn span(ns: u64) -> u64 {
    let longest = LONGEST >> FRACTION_BITS;
    ns.min(longest) << FRACTION_BITS
}

impl Bucket {
    /// `per_s` units a second; none at all if that is zero.
    fn new(per_s: u64, burst_ns: u64, queue_ns: u64) -> Self {
        // Rounded up, so that no more passes than the rate.
        let (cost, burst, queue) = match per_s {
            0 => (0, 0, 0),
            rate => (span(NS_PER_S).div_ceil(rate), span(burst_ns), span(queue_ns)),
        };
        Self {
            cost,
            burst,
            queue,
            debt: 0,
            at: Instant::ZERO,
        }
    }

    /// Packets to link-local services: what a second allows at once, and no queue. [assumed A-12]
    pub(crate) fn link_local(packets_per_s: u32) -> Self {
        Self::new(packets_per_s.into(), NS_PER_S, 0)
    }

    #[inline]
    fn debt(&self, now: Instant) -> u64 {
        let passed = now.as_nanos().saturating_sub(self.at.as_nanos());
        self.debt.saturating_sub(span(passed))
    }

    #[inline]
    fn room(&self, now: Instant) -> Room {
        let debt = self.debt(now);
        if debt < self.burst {
            Room::Free
        } else if debt - self.burst < self.queue {
            Room::Queue
        } else {
            Room::None
        }
    }

    /// Whether the next frame is dropped.
    pub(crate) fn is_used_up(&self, now: Instant) -> bool {
        self.room(now) == Room::None
    }

    /// How many frames of `units` each the burst and the queue have room for; none while the burst is used up.
    fn frames(&self, now: Instant, units: u64) -> usize {
        // At a rate of nothing they would wait for ever.
        if self.cost == 0 {
            return usize::MAX;
        }
        let debt = self.debt(now);
        if debt >= self.burst {
            return 0;
        }
        let room = self.burst.saturating_add(self.queue) - debt;
        let fit = room / self.cost.saturating_mul(units).max(1);
        usize::try_from(fit).unwrap_or(usize::MAX).max(1)
    }

    /// Takes note of units that passed.
    #[inline]
    pub(crate) fn take(&mut self, now: Instant, units: u64) {
        let debt = self.debt(now).saturating_add(units.saturating_mul(self.cost));
        self.debt = debt.min(LONGEST);
        self.at = self.at.max(now);
    }
}

/// Bandwidth of one direction: the peak, and credits for what is above the baseline.
#[derive(Debug)]
struct Pipe {
    peak: Bucket,
    credits: Option<Bucket>,
}

impl Pipe {
    fn new(bandwidth: &Bandwidth) -> Self {
        let bytes_per_s = |bps: u64| bps / 8;
        let (baseline, peak) = (bandwidth.baseline_bps, bandwidth.peak_bps);
        // A sender at its peak gets ahead of the baseline by (peak - baseline) / baseline in each unit of time.
        let credits = (peak > baseline && baseline > 0).then(|| {
            let ahead = u128::from(CREDIT_NS) * u128::from(peak - baseline) / u128::from(baseline);
            let burst = u64::try_from(ahead).unwrap_or(u64::MAX);
            Bucket::new(bytes_per_s(baseline), burst, QUEUE_NS)
        });
        Self {
            peak: Bucket::new(bytes_per_s(peak), BURST_NS, QUEUE_NS),
            credits,
        }
    }

    #[inline]
    fn room(&self, now: Instant) -> Room {
        let credits = self.credits.as_ref();
        self.peak
            .room(now)
            .max(credits.map_or(Room::Free, |credits| credits.room(now)))
    }

    fn frames(&self, now: Instant) -> usize {
        let buckets = std::iter::once(&self.peak).chain(&self.credits);
        let fit = buckets.map(|bucket| bucket.frames(now, SUPER_FRAME.bytes));
        fit.min().unwrap_or(usize::MAX)
    }

    #[inline]
    fn take(&mut self, now: Instant, bytes: u64) {
        self.peak.take(now, bytes);
        if let Some(credits) = &mut self.credits {
            credits.take(now, bytes);
        }
    }
}

/// The limits of an interface on what passes it.
#[derive(Debug)]
pub(crate) struct Shaper {
    inbound: Option<Pipe>,
    outbound: Option<Pipe>,
    /// Of both directions.
    packets: Option<Bucket>,
    /// Which of the outbound bandwidth and the packets have let frames wait since the last was taken.
    held: [bool; 2],
    /// For which of them those that are taken now have waited.
    late: [bool; 2],
}

impl Shaper {
    /// `None` if nothing is limited.
    pub(crate) fn new(allowances: &Allowances) -> Option<Box<Self>> {
        let shaper = Self {
            inbound: allowances.bandwidth_in.as_ref().map(Pipe::new),
            outbound: allowances.bandwidth_out.as_ref().map(Pipe::new),
            packets: allowances
                .packets_per_s
                .map(|rate| Bucket::new(rate, BURST_NS, QUEUE_NS)),
            held: [false; 2],
            late: [false; 2],
        };
        let any = shaper.inbound.is_some() || shaper.outbound.is_some() || shaper.packets.is_some();
        any.then(|| Box::new(shaper))
    }

    /// What the bandwidth and the packets of this direction have room for, and the reasons when they have none.
    #[inline]
    fn rooms(&self, now: Instant, direction: Direction) -> [(Room, DropReason); 2] {
        let (pipe, reason) = match direction {
            Direction::Inbound => (&self.inbound, DropReason::BandwidthInAllowance),
            Direction::Outbound => (&self.outbound, DropReason::BandwidthOutAllowance),
        };
        let bytes = pipe.as_ref().map_or(Room::Free, |pipe| pipe.room(now));
        let packets = self.packets.as_ref();
        [
            (bytes, reason),
            (
                packets.map_or(Room::Free, |packets| packets.room(now)),
                DropReason::PacketsAllowance,
            ),
        ]
    }

    /// Why the next frame of this direction is dropped, if it is.
    pub(crate) fn refusal(&self, now: Instant, direction: Direction) -> Option<DropReason> {
        refused(&self.rooms(now, direction))
    }

    /// How many frames may be taken from the ring where they wait, none while an allowance is used up. `has_frames`
    /// says whether some do. Those that are taken after a wait are counted as queued.
    pub(crate) fn send_room(&mut self, now: Instant, has_frames: impl FnOnce() -> bool) -> usize {
        let pipe = self.outbound.as_ref();
        let packets = self.packets.as_ref();
        let rooms = [
            pipe.map_or(usize::MAX, |pipe| pipe.frames(now)),
            packets.map_or(usize::MAX, |packets| packets.frames(now, SUPER_FRAME.packets)),
        ];
        let room = rooms[0].min(rooms[1]);
        if room > 0 {
            self.late = std::mem::take(&mut self.held);
        } else if has_frames() {
            for (held, room) in self.held.iter_mut().zip(rooms) {
                *held |= room == 0;
            }
        }
        room
    }

    /// Lets a frame pass, or says why it is dropped. What is queued or dropped is counted.
    pub(crate) fn pass(
        &mut self,
        now: Instant,
        direction: Direction,
        load: Load,
        counters: &mut Counters,
    ) -> Result<(), DropReason> {
        let rooms = self.rooms(now, direction);
        if let Some(reason) = refused(&rooms) {
            counters.exceed(reason, load.packets);
            return Err(reason);
        }
        for ((room, reason), is_late) in rooms.into_iter().zip(self.late) {
            if room == Room::Queue || (is_late && direction == Direction::Outbound) {
                counters.exceed(reason, load.packets);
            }
        }
        let pipe = match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        };
        if let Some(pipe) = pipe {
            pipe.take(now, load.bytes);
        }
        if let Some(packets) = &mut self.packets {
            packets.take(now, load.packets);
        }
        Ok(())
    }
}

/// The first limit that has no room left.
#[inline]
fn refused(rooms: &[(Room, DropReason)]) -> Option<DropReason> {
    let full = rooms.iter().find(|(room, _)| *room == Room::None);
    full.map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Instant {
        Instant::from_nanos(ns)
    }

    /// Frames of `bytes` every `every_ns` for `for_ns`; the bytes that passed.
    fn passed(shaper: &mut Shaper, start_ns: u64, for_ns: u64, every_ns: u64, bytes: u64) -> u64 {
        let mut counters = Counters::default();
        let load = Load { packets: 1, bytes };
        let times = (0..for_ns / every_ns).map(|n| at(start_ns + n * every_ns));
        times
            .filter(|now| {
                shaper
                    .pass(*now, Direction::Outbound, load, &mut counters)
                    .is_ok()
            })
            .count() as u64
            * bytes
    }

    fn out(baseline_bps: u64, peak_bps: u64) -> Box<Shaper> {
        Shaper::new(&Allowances {
            bandwidth_out: Some(Bandwidth {
                baseline_bps,
                peak_bps,
            }),
            ..Allowances::default()
        })
        .unwrap()
    }

    #[test]
    fn a_steady_rate_is_kept_at_any_frame_size() {
        for (bps, bytes) in [(10_000_000, 64), (10_000_000, 65_000), (100_000_000_000, 1_500)] {
            let mut shaper = out(bps, bps);
            // Twice the rate for a second, or for as long as takes a thousand frames.
            let every_ns = bytes * 8 * NS_PER_S / bps / 2;
            let for_ns = (every_ns * 100_000).min(10 * NS_PER_S);
            let most = bps / 8 * for_ns / NS_PER_S;
            let slack = bps / 8 * (BURST_NS + QUEUE_NS) / NS_PER_S + bytes;
            let passed = passed(&mut shaper, 0, for_ns, every_ns.max(1), bytes);
            assert!(passed <= most + slack, "{bps} {bytes}: {passed} of {most}");
            assert!(passed * 1_000 >= most * 995, "{bps} {bytes}: {passed} of {most}");
        }
    }

    #[test]
    fn credits_last_for_their_time_and_come_back() {
        let (baseline, peak) = (1_000_000_000, 4_000_000_000);
        let mut shaper = out(baseline, peak);
        // One millisecond's peak in a frame, for 400 s: 300 s of it at the peak, then the baseline.
        let frame = peak / 8 / 1_000;
        let first = passed(&mut shaper, 0, 400 * NS_PER_S, NS_PER_MS, frame);
        let expected = 300 * (peak / 8) + 100 * (baseline / 8);
        assert!(first.abs_diff(expected) < expected / 100, "{first} of {expected}");
        // 90 s of rest give what 30 s at the peak take.
        let again = passed(&mut shaper, 490 * NS_PER_S, 40 * NS_PER_S, NS_PER_MS, frame);
        let expected = 30 * (peak / 8) + 10 * (baseline / 8);
        assert!(again.abs_diff(expected) < expected / 20, "{again} of {expected}");
    }

    #[test]
    fn what_is_above_the_rate_waits_in_the_ring_and_is_counted() {
        // A megabyte a second: a frame takes a millisecond.
        let mut shaper = out(8_000_000, 8_000_000);
        let mut counters = Counters::default();
        let load = |bytes| Load { packets: 1, bytes };
        let mut pass = |shaper: &mut Shaper, ms: u64, bytes| {
            let passed = shaper.pass(
                at(ms * NS_PER_MS),
                Direction::Outbound,
                load(bytes),
                &mut counters,
            );
            assert_eq!(passed, Ok(()), "{ms}");
            counters.snapshot().bw_out_allowance_exceeded
        };
        let room =
            |shaper: &mut Shaper, ms: u64, has_frames| shaper.send_room(at(ms * NS_PER_MS), || has_frames);
        // Not even one of the largest fits, so one at a time is taken.
        assert_eq!(room(&mut shaper, 0, true), 1);
        assert_eq!(pass(&mut shaper, 0, 3_000), 0);
        assert_eq!(room(&mut shaper, 0, true), 0);
        assert_eq!(room(&mut shaper, 1, true), 0);
        assert_eq!(room(&mut shaper, 3, true), 1);
        assert_eq!(pass(&mut shaper, 3, 1_000), 1);
        // Nothing waited for the next one.
        assert_eq!(room(&mut shaper, 3, false), 0);
        assert_eq!(room(&mut shaper, 4, true), 1);
        assert_eq!(pass(&mut shaper, 4, 50_000), 1);
        // It is longer than the queue: the next one waits all the same, and is not dropped.
        assert_eq!(room(&mut shaper, 40, true), 0);
        assert_eq!(room(&mut shaper, 54, true), 1);
        assert_eq!(pass(&mut shaper, 54, 1_000), 2);
        // What comes in meanwhile has not waited.
        assert_eq!(shaper.late, [true, false]);
        let inbound = shaper.pass(at(54 * NS_PER_MS), Direction::Inbound, load(1_000), &mut counters);
        assert_eq!(
            (inbound, counters.snapshot().bw_out_allowance_exceeded),
            (Ok(()), 2)
        );
        // For ever is too long.
        assert_eq!(out(0, 0).send_room(at(5), || true), usize::MAX);
    }

    #[test]
    fn as_many_as_fit_are_taken_at_once() {
        let mut shaper = Shaper::new(&Allowances {
            packets_per_s: Some(500_000),
            ..Allowances::default()
        })
        .unwrap();
        // 5,500 packets are eleven milliseconds'.
        assert_eq!(shaper.send_room(at(0), || true), 5_500 / 46);
        let mut fast = out(5_000_000_000, 5_000_000_000);
        assert_eq!(fast.send_room(at(0), || true), 6_875_000 / 68_600);
    }

    #[test]
    fn a_rate_of_nothing_lets_nothing_pass() {
        let shaper = out(0, 0);
        assert_eq!(
            shaper.refusal(at(5), Direction::Outbound),
            Some(DropReason::BandwidthOutAllowance)
        );
        assert_eq!(shaper.refusal(at(5), Direction::Inbound), None);
        assert!(Shaper::new(&Allowances::default()).is_none());
    }

    #[test]
    fn link_local_takes_a_second_at_once() {
        for rate in [1_024, 3, 1] {
            let mut bucket = Bucket::link_local(rate);
            let now = at(77);
            for _ in 0..rate {
                assert!(!bucket.is_used_up(now));
                bucket.take(now, 1);
            }
            assert!(bucket.is_used_up(now));
            assert!(!bucket.is_used_up(at(77 + NS_PER_S)));
        }
        assert!(Bucket::link_local(0).is_used_up(at(9)));
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::link_local(1);
        bucket.take(at(NS_PER_S), 1);
        assert!(bucket.is_used_up(at(0)));
        bucket.take(at(0), 1);
        assert!(bucket.is_used_up(at(NS_PER_S + NS_PER_S / 2)));
        assert!(!bucket.is_used_up(at(2 * NS_PER_S + 1)));
    }
}
