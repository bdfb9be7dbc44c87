//! Half the window on a mark or a loss, a packet more for each window acknowledged.

use std::time::Duration;

use super::{Controller, INITIAL_PACKETS, Sample, Setup};
use crate::Instant;

/// The plain controller, of RFC 5681's kind: it fills queues until something is marked or lost.
#[derive(Debug)]
pub struct Aimd {
    setup: Setup,
    window: u64,
    starting: bool,
    round_trip: Duration,
    change: Instant,
}

impl Controller for Aimd {
    fn new(setup: Setup) -> Self {
        Self {
            setup,
            window: (INITIAL_PACKETS * setup.packet).min(setup.most),
            starting: true,
            round_trip: Duration::ZERO,
            change: Instant::ZERO,
        }
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn echo(&mut self, now: Instant, sample: Sample) {
        self.round_trip = sample.round_trip;
        if sample.marked {
            self.halve(now);
        }
    }

    fn acknowledged(&mut self, _: Instant, bytes: u64, in_flight: u64) {
        if in_flight * 2 < self.window {
            return;
        }
        let more = if self.starting {
            bytes
        } else {
            (self.setup.packet * bytes / self.window).max(1)
        };
        self.window = (self.window + more).min(self.setup.most);
    }

    fn lost(&mut self, now: Instant, _: u64, _: bool) {
        self.halve(now);
    }
}

impl Aimd {
    /// At most once a round trip.
    fn halve(&mut self, now: Instant) {
        if now < self.change {
            return;
        }
        self.starting = false;
        self.window = (self.window / 2).max(self.setup.packet);
        self.change = now + self.round_trip;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_halves_the_window_once_a_round_trip() {
        let mut controller = Aimd::new(Setup {
            packet: 1_000,
            most: 1_000_000,
            queue_delay: Duration::ZERO,
        });
        let begin = controller.window();
        let sample = Sample {
            round_trip: Duration::from_micros(50),
            shortest: Duration::from_micros(10),
            marked: false,
        };
        let at = |us: u64| Instant::from_nanos(us * 1_000);
        controller.echo(at(1), sample);
        controller.lost(at(2), 1_000, true);
        controller.lost(at(3), 1_000, true);
        assert_eq!(controller.window(), begin / 2);
        controller.acknowledged(at(4), begin / 2, begin / 2);
        assert_eq!(controller.window(), begin / 2 + 1_000);
        controller.echo(
            at(60),
            Sample {
                marked: true,
                ..sample
            },
        );
        assert_eq!(controller.window(), (begin / 2 + 1_000) / 2);
    }
}
