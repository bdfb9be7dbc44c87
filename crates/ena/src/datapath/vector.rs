//! Interrupt vectors: masked by themselves when they fire, armed again by the driver, delayed as it asks.

use trinic_pci::Interrupts;
use trinic_wire::time::Instant;

use crate::spec::descriptor::InterruptControl;

/// The side of a completion, which has its own delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Transmit completions.
    Tx,
    /// Receive completions.
    Rx,
}

/// The vectors of one function.
#[derive(Debug)]
pub(super) struct Vectors {
    vectors: Vec<Vector>,
    /// Armed vectors with completions whose delay has not passed.
    waiting: usize,
    unit_ns: u64,
    pub(super) drop_next: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Vector {
    armed: bool,
    tx: Pending,
    rx: Pending,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pending {
    /// When the first completion since the last interrupt was written.
    since: Option<Instant>,
    delay_ns: u64,
}

impl Pending {
    fn due(self) -> Option<Instant> {
        self.since
            .map(|since| Instant::from_nanos(since.as_nanos().saturating_add(self.delay_ns)))
    }
}

impl Vector {
    fn due(self) -> Option<Instant> {
        match (self.tx.due(), self.rx.due()) {
            (Some(tx), Some(rx)) => Some(tx.min(rx)),
            (tx, rx) => tx.or(rx),
        }
    }

    fn is_waiting(self) -> bool {
        self.armed && (self.tx.since.is_some() || self.rx.since.is_some())
    }
}

impl Vectors {
    /// `count` vectors, all masked, as after a reset: a driver arms what it wants.
    pub(super) fn new(count: u16) -> Self {
        Self {
            vectors: vec![Vector::default(); usize::from(count)],
            waiting: 0,
            unit_ns: 1000,
            drop_next: false,
        }
    }

    pub(super) fn reset(&mut self) {
        self.vectors.fill(Vector::default());
        self.waiting = 0;
        self.drop_next = false;
    }

    /// A queue was made: its vector is masked until the driver arms it.
    pub(super) fn mask(&mut self, index: u16) {
        if let Some(vector) = self.vectors.get_mut(usize::from(index)) {
            if vector.is_waiting() {
                self.waiting -= 1;
            }
            vector.armed = false;
        }
    }

    pub(super) fn set_unit(&mut self, unit_ns: u32) {
        self.unit_ns = u64::from(unit_ns);
    }

    /// Completions were written.
    #[inline]
    pub(super) fn posted(&mut self, index: u16, side: Side, now: Instant, interrupts: &impl Interrupts) {
        let Some(vector) = self.vectors.get_mut(usize::from(index)) else {
            return;
        };
        let was_waiting = vector.is_waiting();
        let pending = match side {
            Side::Tx => &mut vector.tx,
            Side::Rx => &mut vector.rx,
        };
        pending.since.get_or_insert(now);
        if vector.armed {
            if !was_waiting {
                self.waiting += 1;
            }
            self.fire_if_due(index, now, interrupts);
        }
    }

    /// The driver wrote an interrupt register of the vector.
    pub(super) fn control(
        &mut self,
        index: u16,
        control: InterruptControl,
        now: Instant,
        interrupts: &impl Interrupts,
    ) {
        let Some(vector) = self.vectors.get_mut(usize::from(index)) else {
            return;
        };
        let was_waiting = vector.is_waiting();
        if !control.keep_delays() {
            vector.tx.delay_ns = u64::from(control.tx_delay()) * self.unit_ns;
            vector.rx.delay_ns = u64::from(control.rx_delay()) * self.unit_ns;
        }
        vector.armed |= control.unmask();
        if vector.is_waiting() {
            if !was_waiting {
                self.waiting += 1;
            }
            self.fire_if_due(index, now, interrupts);
        }
    }

    /// Fires what is due.
    #[inline]
    pub(super) fn poll(&mut self, now: Instant, interrupts: &impl Interrupts) {
        if self.waiting == 0 {
            return;
        }
        for index in 0..self.vectors.len() {
            if let Ok(index) = u16::try_from(index) {
                self.fire_if_due(index, now, interrupts);
            }
        }
    }

    /// When the next interrupt is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        self.vectors
            .iter()
            .filter(|vector| vector.is_waiting())
            .filter_map(|vector| vector.due())
            .min()
    }

    fn fire_if_due(&mut self, index: u16, now: Instant, interrupts: &impl Interrupts) {
        let Some(vector) = self.vectors.get_mut(usize::from(index)) else {
            return;
        };
        if !vector.is_waiting() || vector.due().is_none_or(|due| due > now) {
            return;
        }
        vector.armed = false;
        vector.tx.since = None;
        vector.rx.since = None;
        self.waiting -= 1;
        if std::mem::take(&mut self.drop_next) {
            return;
        }
        interrupts.trigger(index);
    }
}

#[cfg(test)]
mod tests {
    use trinic_pci::testing::PlainInterrupts;

    use super::*;

    const ARM: InterruptControl = InterruptControl::new().with_unmask(true);

    fn at(ns: u64) -> Instant {
        Instant::from_nanos(ns)
    }

    #[test]
    fn a_vector_fires_once_until_it_is_armed_again() {
        let interrupts = PlainInterrupts::new();
        let mut vectors = Vectors::new(2);
        vectors.posted(1, Side::Rx, at(0), &interrupts);
        assert_eq!(interrupts.take(1), 0, "Masked after a reset");
        vectors.control(1, ARM, at(1), &interrupts);
        assert_eq!(interrupts.take(1), 1, "Pending when it is armed: at once");
        vectors.posted(1, Side::Tx, at(2), &interrupts);
        vectors.posted(1, Side::Rx, at(2), &interrupts);
        assert_eq!(interrupts.take(1), 0);
        vectors.control(1, ARM, at(3), &interrupts);
        vectors.control(1, ARM, at(4), &interrupts);
        assert_eq!(interrupts.take(1), 1);
        vectors.posted(1, Side::Tx, at(5), &interrupts);
        assert_eq!(interrupts.take(1), 1);
        assert_eq!(vectors.next_due(), None);
    }

    #[test]
    fn delays_are_the_sides_own_and_stay_until_changed() {
        let interrupts = PlainInterrupts::new();
        let mut vectors = Vectors::new(1);
        vectors.set_unit(1000);
        vectors.control(0, ARM.with_rx_delay(20).with_tx_delay(64), at(0), &interrupts);
        vectors.posted(0, Side::Tx, at(1000), &interrupts);
        assert_eq!(vectors.next_due(), Some(at(65_000)));
        vectors.posted(0, Side::Rx, at(2000), &interrupts);
        assert_eq!(vectors.next_due(), Some(at(22_000)));
        vectors.poll(at(21_999), &interrupts);
        assert_eq!(interrupts.take(0), 0);
        vectors.poll(at(22_000), &interrupts);
        assert_eq!(interrupts.take(0), 1);
        vectors.control(0, ARM.with_keep_delays(true), at(30_000), &interrupts);
        vectors.posted(0, Side::Rx, at(30_000), &interrupts);
        assert_eq!(vectors.next_due(), Some(at(50_000)));
        vectors.control(0, ARM, at(31_000), &interrupts);
        assert_eq!(interrupts.take(0), 1, "Without a delay it is due at once");
    }

    #[test]
    fn a_dropped_interrupt_leaves_the_vector_masked() {
        let interrupts = PlainInterrupts::new();
        let mut vectors = Vectors::new(1);
        vectors.drop_next = true;
        vectors.control(0, ARM, at(0), &interrupts);
        vectors.posted(0, Side::Rx, at(1), &interrupts);
        vectors.posted(0, Side::Rx, at(2), &interrupts);
        assert_eq!(interrupts.take(0), 0);
        vectors.control(0, ARM, at(3), &interrupts);
        assert_eq!(interrupts.take(0), 1);
    }
}
