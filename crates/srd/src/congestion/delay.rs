//! Short queues by the time that packets spend in them.

use std::time::Duration;

use super::{Controller, INITIAL_PACKETS, LEAST_PART, Sample, Setup};
use crate::Instant;
use crate::number::nanos;

/// The default controller [CC-2] [CC-3].
#[derive(Debug)]
pub struct Delay {
    setup: Setup,
    window: u64,
    /// Until the first decrease the window doubles with each round trip.
    starting: bool,
    /// Changes in a row at which queues were nearly empty.
    calm: u32,
    /// Since the last change: round-trip times, less the shortest of their paths.
    samples: [u64; SAMPLES],
    taken: usize,
    /// How many of them came with a mark, and the cuts that these ask for, in nanoseconds.
    marked: u64,
    asked: u64,
    round_trip: u64,
    acknowledged: u64,
    lost: u64,
    /// Of those lost, what paths lost that were heard from since.
    lost_heard: u64,
    most_in_flight: u64,
    /// When the window may be changed again.
    change: Instant,
}

impl Controller for Delay {
    fn new(setup: Setup) -> Self {
        Self {
            setup,
            window: (INITIAL_PACKETS * setup.packet).min(setup.most),
            starting: true,
            calm: 0,
            samples: [0; SAMPLES],
            taken: 0,
            marked: 0,
            asked: 0,
            round_trip: 0,
            acknowledged: 0,
            lost: 0,
            lost_heard: 0,
            most_in_flight: 0,
            change: Instant::ZERO,
        }
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn echo(&mut self, now: Instant, sample: Sample) {
        let queued = nanos(sample.round_trip.saturating_sub(sample.shortest));
        if sample.marked {
            // A mark is the word of a switch that its queue is long, whatever this sender sees of it [CC-3].
            let beyond = nanos(sample.shortest + self.setup.queue_delay) / 2;
            self.marked += 1;
            self.asked += part(beyond, nanos(sample.round_trip));
        }
        self.samples[self.taken % SAMPLES] = queued;
        self.taken += 1;
        self.round_trip = nanos(sample.round_trip);
        if now >= self.change {
            self.decide(now);
        }
    }

    fn acknowledged(&mut self, _: Instant, bytes: u64, in_flight: u64) {
        self.acknowledged += bytes;
        self.most_in_flight = self.most_in_flight.max(in_flight);
        // A window that was not used says nothing about a larger one.
        let used = if self.starting {
            in_flight * 2
        } else {
            in_flight + 2 * self.setup.packet
        };
        if used < self.window {
            return;
        }
        let more = if self.starting { bytes } else { self.more(bytes) };
        self.window = (self.window + more).min(self.setup.most);
    }

    fn lost(&mut self, _: Instant, bytes: u64, heard: bool) {
        self.lost += bytes;
        if heard {
            self.lost_heard += bytes;
        }
    }
}

impl Delay {
    /// By how much the window grows when so many bytes are acknowledged.
    fn more(&self, bytes: u64) -> u64 {
        let least = if self.calm >= CALM {
            bytes / EMPTY_GROWTH
        } else {
            1
        };
        let packet = self.setup.packet;
        let step = packet.max((self.window * packet).isqrt() / ROOT_PART);
        (step * bytes / self.window.max(1))
            .min(bytes / MOST_GROWTH)
            .max(least)
    }

    /// Compares a round trip's samples with the target, and what was lost with what arrived.
    fn decide(&mut self, now: Instant) {
        let allowed = self.allowed();
        let round_trip = self.round_trip.max(1);
        let count = self.taken.min(SAMPLES);
        let samples = &mut self.samples[..count];
        samples.sort_unstable();
        let median = samples[count / 2];
        // Each sample has its part in the cut, so that sessions that meet the same queues give way alike.
        let kept = &samples[..count - count / SLOWEST_PART];
        let asked = kept
            .iter()
            .map(|queued| part(queued.saturating_sub(allowed), round_trip));
        let excess = asked.sum::<u64>() / (kept.len() as u64).max(1);
        let excess = excess.max(self.by_marks()).min(round_trip / 2);
        let sent = self.acknowledged + self.lost;
        if excess > 0 {
            self.shrink(excess, round_trip);
        } else if (self.lost_heard * 50 > sent && median * 2 > allowed) || self.lost * 4 > sent {
            self.shrink(1, 2);
        }
        self.calm = if excess == 0 && median * 4 < allowed {
            self.calm.saturating_add(1)
        } else {
            0
        };
        self.taken = 0;
        self.marked = 0;
        self.asked = 0;
        self.acknowledged = 0;
        self.lost = 0;
        self.lost_heard = 0;
        self.most_in_flight = 0;
        self.change = now + Duration::from_nanos(round_trip);
    }

    /// The mean of what marks ask for, times the fourth power of the part of the samples that have one. Where few have, the paths are uneven, which is for their choice to
    /// mend; where one queue holds all paths up, as in an incast, all have.
    fn by_marks(&self) -> u64 {
        // Wide, since round trips and windows are as long as their owner allows.
        let [asked, marked] = [self.asked, self.marked].map(u128::from);
        let all = (self.taken as u128).max(1);
        let cut = asked / all * (marked * marked) / (all * all) * marked / all;
        u64::try_from(cut).unwrap_or(u64::MAX)
    }

    /// Gives up a part of the window, and what of it was not in flight: that filled no queue.
    fn shrink(&mut self, part: u64, of: u64) {
        self.starting = false;
        if self.most_in_flight > 0 {
            self.window = self.window.min(self.most_in_flight);
        }
        let cut = self.window.saturating_mul(part) / of;
        self.window = (self.window - cut).max(self.setup.packet / LEAST_PART).max(1);
    }

    /// Nanoseconds that packets may spend in queues.
    fn allowed(&self) -> u64 {
        nanos(self.setup.queue_delay)
    }
}

/// The cut for so much more time in queues than is allowed, as a part of the round trip.
fn part(beyond: u64, round_trip: u64) -> u64 {
    (beyond * 4 / 5).min(round_trip / 2)
}

/// The part of the window by which it grows in a round trip once queues have been nearly empty [`CALM`] times in a row.
const EMPTY_GROWTH: u64 = 8;
/// Sessions that just gave way all see empty queues: that says little. That they stay empty says that there is room.
const CALM: u32 = 4;
/// Else it grows by a packet or by the root of its packets through this, whichever is more. Sessions come to equal windows by what does not grow with them;
/// with a packet alone the 50 packets of a quick link take 50 round trips for that, and more than the root drives queues of incasts, where windows are small.
const ROOT_PART: u64 = 2;
/// But at most by this part of what is acknowledged: a packet for each of 128 senders with a third of a packet each would be four times what they share.
const MOST_GROWTH: u64 = 2;
/// The part of the samples, the slowest ones, that is left out, so that a few slow paths do not speak for all.
const SLOWEST_PART: usize = 4;
/// Samples of a change; with more, the newest count.
const SAMPLES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1_000;

    fn controller() -> Delay {
        Delay::new(Setup {
            packet: PACKET,
            most: 1_000_000,
            queue_delay: Duration::from_micros(25),
        })
    }

    fn echo(controller: &mut Delay, at_us: u64, round_trip_us: u64, marked: bool) {
        let sample = Sample {
            round_trip: Duration::from_micros(round_trip_us),
            shortest: Duration::from_micros(10),
            marked,
        };
        controller.echo(Instant::from_nanos(at_us * 1_000), sample);
    }

    #[test]
    fn an_empty_queue_lets_the_window_grow_and_a_full_one_shrinks_it_once_a_round_trip() {
        // [CC-2]
        let mut controller = controller();
        let begin = controller.window();
        echo(&mut controller, 10, 12, false);
        controller.acknowledged(Instant::from_nanos(10_000), begin, begin * 2);
        assert_eq!(controller.window(), begin * 2, "doubles at the start");
        echo(&mut controller, 100, 60, false);
        let after = controller.window();
        // 50 µs queued, 25 allowed, of 60: 0.8 * 25 / 60.
        assert_eq!(after, begin * 2 - begin * 2 * 20 / 60);
        echo(&mut controller, 150, 60, false);
        assert_eq!(controller.window(), after, "once a round trip");
        echo(&mut controller, 155, 20, false);
        echo(&mut controller, 250, 10_000, false);
        assert!(
            controller.window() > after / 2,
            "one slow path does not speak for all"
        );
        let after = controller.window();
        controller.acknowledged(Instant::from_nanos(250_000), after, after);
        assert_eq!(
            controller.window(),
            after + (after * PACKET).isqrt() / 2,
            "by half the root of its packets afterwards"
        );
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut controller = controller();
        let begin = controller.window();
        controller.acknowledged(Instant::ZERO, PACKET, PACKET);
        assert_eq!(controller.window(), begin);
    }

    #[test]
    fn a_mark_counts_as_a_queue() {
        // [CC-3]
        let mut controller = controller();
        let begin = controller.window();
        echo(&mut controller, 10, 12, true);
        assert!(controller.window() < begin);
        assert!(controller.window() >= begin / 2);
    }

    #[test]
    fn single_losses_are_noise_and_many_with_a_queue_are_not() {
        // [CC-3]
        let lose = |lost: u64, round_trip: u64| {
            let mut controller = controller();
            let begin = controller.window();
            controller.change = Instant::from_nanos(1);
            controller.acknowledged(Instant::ZERO, 100 * PACKET, 0);
            controller.lost(Instant::ZERO, lost * PACKET, true);
            echo(&mut controller, 10, round_trip, false);
            (controller.window(), begin)
        };
        let (window, begin) = lose(1, 25);
        assert_eq!(window, begin, "1 %");
        let (window, begin) = lose(5, 12);
        assert_eq!(window, begin, "5 % with empty queues: a bad link");
        let (window, begin) = lose(5, 30);
        assert_eq!(window, begin / 2, "5 % with filling queues");
        let (window, begin) = lose(60, 12);
        assert_eq!(window, begin / 2, "more than a quarter lost");
    }

    #[test]
    fn a_path_that_fell_silent_is_no_congestion_until_a_quarter_is_lost() {
        // [CC-3]
        let lose = |lost: u64, heard: bool| {
            let mut controller = controller();
            controller.change = Instant::from_nanos(1);
            controller.acknowledged(Instant::ZERO, 100 * PACKET, 8 * PACKET);
            let begin = controller.window();
            controller.lost(Instant::ZERO, lost * PACKET, heard);
            // 20 µs queued: more than half of what is allowed.
            echo(&mut controller, 10, 30, false);
            controller.window() < begin
        };
        assert!(!lose(5, false), "a link that died");
        assert!(lose(5, true), "a queue that was full");
        assert!(lose(60, false), "more than a quarter");
    }

    #[test]
    fn a_larger_window_grows_by_more_and_a_small_one_by_half_of_itself() {
        // [CC-2]
        let grown = |window: u64, bytes: u64| {
            let mut controller = controller();
            controller.starting = false;
            controller.window = window;
            controller.acknowledged(Instant::ZERO, bytes, window);
            controller.window() - window
        };
        assert_eq!(grown(3 * PACKET, 3 * PACKET), PACKET);
        assert_eq!(grown(100 * PACKET, 100 * PACKET), 5 * PACKET, "half the root");
        assert_eq!(grown(PACKET, PACKET), PACKET / 2, "half of what arrived");
        assert_eq!(grown(PACKET / 8, PACKET), PACKET / 2);
    }

    #[test]
    fn a_window_grows_quickly_only_if_queues_stay_empty() {
        // [CC-2]
        let mut controller = controller();
        controller.starting = false;
        controller.window = 80 * PACKET;
        for round in 1..=4 {
            let window = controller.window();
            controller.acknowledged(Instant::ZERO, window, window);
            assert!(controller.window() < window + 5 * PACKET, "{round}");
            echo(&mut controller, round * 100, 11, false);
        }
        let window = controller.window();
        controller.acknowledged(Instant::ZERO, window, window - 3 * PACKET);
        assert_eq!(controller.window(), window, "not used");
        controller.acknowledged(Instant::ZERO, window, window);
        assert_eq!(controller.window(), window + window / 8);
        echo(&mut controller, 600, 20, false);
        let window = controller.window();
        controller.acknowledged(Instant::ZERO, window, window);
        assert!(controller.window() < window + 6 * PACKET);
    }

    #[test]
    fn a_cut_begins_at_what_was_in_flight() {
        // [CC-2]
        let mut controller = controller();
        controller.window = 100 * PACKET;
        controller.change = Instant::from_nanos(1);
        controller.acknowledged(Instant::ZERO, PACKET, 40 * PACKET);
        // 50 µs queued, 25 allowed, of 60.
        echo(&mut controller, 10, 60, false);
        let used = 40 * PACKET;
        assert_eq!(controller.window(), used - used * 20 / 60);
    }

    #[test]
    fn sessions_that_see_nearly_the_same_marks_give_way_nearly_alike() {
        // [CC-2] [CC-3]
        let left = |marked: u64| {
            let mut controller = controller();
            controller.window = 100 * PACKET;
            controller.change = Instant::from_nanos(1_000_000);
            controller.acknowledged(Instant::ZERO, PACKET, 100 * PACKET);
            for sample in 0..32 {
                echo(&mut controller, 1, 28, sample < marked);
            }
            controller.change = Instant::ZERO;
            echo(&mut controller, 10, 28, false);
            controller.window()
        };
        let (fewer, more) = (left(15), left(18));
        assert!(more <= fewer && fewer - more < 15 * PACKET, "{fewer} {more}");
        assert!(left(32) < left(18), "and the more marks the more");
    }

    #[test]
    fn marks_of_half_of_the_echoes_ask_for_a_sixteenth_of_what_all_ask_for() {
        // [CC-3]
        let cut = |marked: u64| {
            let mut controller = controller();
            controller.window = 100 * PACKET;
            controller.change = Instant::from_nanos(1_000_000);
            controller.acknowledged(Instant::ZERO, PACKET, 100 * PACKET);
            for sample in 0..31 {
                echo(&mut controller, 1, 28, sample < marked);
            }
            controller.change = Instant::ZERO;
            echo(&mut controller, 10, 28, marked > 31);
            100 * PACKET - controller.window()
        };
        // Half of 10 and 25 µs more than allowed, of 28: half, as no more is ever asked for.
        assert_eq!(cut(32), 50 * PACKET);
        assert!(cut(16).abs_diff(50 * PACKET / 16) < PACKET / 10, "{}", cut(16));
        assert!(cut(4) < PACKET / 5, "{}", cut(4));
    }

    #[test]
    fn the_window_never_vanishes() {
        // [CC-4]
        let mut controller = controller();
        for round in 1..200 {
            echo(&mut controller, round * 20_000, 10_000, false);
        }
        assert_eq!(controller.window(), PACKET / LEAST_PART);
    }
}
