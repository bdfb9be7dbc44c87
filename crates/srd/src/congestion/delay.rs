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
    /// Queues are nearly empty: the window grows by a part of itself.
    empty: bool,
    /// Since the last change: round-trip times, less the shortest of their paths.
    samples: [u64; SAMPLES],
    taken: usize,
    round_trip: u64,
    acknowledged: u64,
    lost: u64,
    /// When the window may be changed again.
    change: Instant,
}

impl Controller for Delay {
    fn new(setup: Setup) -> Self {
        Self {
            setup,
            window: (INITIAL_PACKETS * setup.packet).min(setup.most),
            starting: true,
            empty: false,
            samples: [0; SAMPLES],
            taken: 0,
            round_trip: 0,
            acknowledged: 0,
            lost: 0,
            change: Instant::ZERO,
        }
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn echo(&mut self, now: Instant, sample: Sample) {
        let queued = nanos(sample.round_trip.saturating_sub(sample.shortest));
        // A mark is the word of a switch that its queue is long, whatever this sender sees of it [CC-3].
        let queued = if sample.marked {
            queued.max(self.allowed() + nanos(sample.shortest + self.setup.queue_delay) / 2)
        } else {
            queued
        };
        self.samples[self.taken % SAMPLES] = queued;
        self.taken += 1;
        self.round_trip = nanos(sample.round_trip);
        if now >= self.change {
            self.decide(now);
        }
    }

    fn acknowledged(&mut self, _: Instant, bytes: u64, in_flight: u64) {
        self.acknowledged += bytes;
        // A window that was not used says nothing about a larger one.
        if in_flight * 2 < self.window {
            return;
        }
        let more = if self.starting {
            bytes
        } else {
            let packet = self.setup.packet * bytes / self.window.max(1);
            packet.max(if self.empty { bytes / EMPTY_GROWTH } else { 1 })
        };
        self.window = (self.window + more).min(self.setup.most);
    }

    fn lost(&mut self, _: Instant, bytes: u64) {
        self.lost += bytes;
    }
}

impl Delay {
    /// Compares the median of a round trip's samples with the target, and what was lost with what arrived.
    fn decide(&mut self, now: Instant) {
        let count = self.taken.min(SAMPLES);
        let samples = &mut self.samples[..count];
        samples.sort_unstable();
        let queued = samples[count / 2];
        let allowed = self.allowed();
        let sent = self.acknowledged + self.lost;
        let round_trip = self.round_trip.max(1);
        if queued > allowed {
            let excess = (queued - allowed) * 4 / 5;
            let cut = (self.window.saturating_mul(excess) / round_trip).min(self.window / 2);
            self.shrink(cut);
        } else if self.lost * 50 > sent && (queued * 2 > allowed || self.lost * 4 > sent) {
            self.shrink(self.window / 2);
        }
        self.empty = queued * 4 < allowed;
        self.taken = 0;
        self.acknowledged = 0;
        self.lost = 0;
        self.change = now + Duration::from_nanos(round_trip);
    }

    fn shrink(&mut self, cut: u64) {
        self.starting = false;
        self.window = (self.window - cut).max(self.setup.packet / LEAST_PART).max(1);
    }

    /// Nanoseconds that packets may spend in queues.
    fn allowed(&self) -> u64 {
        nanos(self.setup.queue_delay)
    }
}

/// The part of the window by which it grows in a round trip while queues are nearly empty.
const EMPTY_GROWTH: u64 = 8;
/// Samples of which the median is taken; with more, the newest count.
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
        controller.acknowledged(Instant::from_nanos(10_000), begin, begin);
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
            "the median: one slow path does not speak for all"
        );
        let after = controller.window();
        controller.acknowledged(Instant::from_nanos(250_000), after, after);
        assert_eq!(
            controller.window(),
            after + PACKET,
            "by a packet a window afterwards"
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
            controller.lost(Instant::ZERO, lost * PACKET);
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
    fn the_window_never_vanishes() {
        // [CC-4]
        let mut controller = controller();
        for round in 1..200 {
            echo(&mut controller, round * 20_000, 10_000, false);
        }
        assert_eq!(controller.window(), PACKET / LEAST_PART);
    }
}
