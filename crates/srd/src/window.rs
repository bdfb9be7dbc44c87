//! Which packets of a window arrived.

use crate::Refusal;

/// A ring of bits, one for each PSN of the window.
#[derive(Debug)]
struct Bits(Box<[u64]>);

impl Bits {
    fn new(window: u32) -> Self {
        let words = usize::try_from(window / 64).unwrap_or(1).max(1);
        Self(vec![0; words].into())
    }

    fn place(&self, number: u64) -> (usize, u32) {
        // The count of words is a power of two, so it divides every round of the numbers.
        let word = usize::try_from((number / 64) & (self.0.len() as u64 - 1)).unwrap_or(0);
        (word, (number % 64) as u32)
    }

    fn get(&self, number: u64) -> bool {
        let (word, bit) = self.place(number);
        self.0[word] >> bit & 1 == 1
    }

    fn set(&mut self, number: u64) {
        let (word, bit) = self.place(number);
        self.0[word] |= 1 << bit;
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = self.place(number);
        self.0[word] &= !(1 << bit);
    }

    /// The 64 bits from a number on.
    fn word(&self, number: u64) -> u64 {
        let (word, bit) = self.place(number);
        if bit == 0 {
            self.0[word]
        } else {
            let next = self.0[(word + 1) & (self.0.len() - 1)];
            self.0[word] >> bit | next << (64 - bit)
        }
    }
}

/// What a PSN is to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was not seen.
    New,
    /// It was taken before [REL-3].
    Taken,
    /// It was refused before, and its place not filled [REF-2].
    Refused(Refusal),
    /// It is beyond the window [REL-2].
    Beyond,
}

/// The receiver's window: what was taken above the next expected PSN, and what was refused.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    next: u64,
    /// One above the highest PSN taken or refused.
    end: u64,
    size: u64,
    taken: Bits,
    /// The reason for each PSN that was refused; 0 otherwise.
    reasons: Box<[u8]>,
    /// The refused ones, in no order.
    refused: Vec<u64>,
}

impl ReceiveWindow {
    pub(crate) fn new(window: u32) -> Self {
        Self {
            next: 0,
            end: 0,
            size: u64::from(window),
            taken: Bits::new(window),
            reasons: vec![0; window as usize].into(),
            refused: Vec::with_capacity(window as usize),
        }
    }

    /// Expects another PSN than 0 next.
    #[cfg(test)]
    pub(crate) fn begin_at(&mut self, number: u64) {
        (self.next, self.end) = (number, number);
    }

    /// The next expected PSN.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn standing(&self, number: u64) -> Standing {
        if number < self.next {
            return Standing::Taken;
        }
        if number - self.next >= self.size {
            return Standing::Beyond;
        }
        match self.reasons[self.slot(number)] {
            0 if self.taken.get(number) => Standing::Taken,
            0 => Standing::New,
            reason => Standing::Refused(Refusal::from_code(reason)),
        }
    }

    /// Takes a PSN that is new or, by a VOID, refused.
    pub(crate) fn take(&mut self, number: u64) {
        let slot = self.slot(number);
        if self.reasons[slot] != 0 {
            self.reasons[slot] = 0;
            self.refused.retain(|other| *other != number);
        }
        self.end = self.end.max(number + 1);
        if number != self.next {
            self.taken.set(number);
            return;
        }
        self.next += 1;
        while self.taken.get(self.next) && self.next < self.end {
            self.taken.clear(self.next);
            self.next += 1;
        }
    }

    /// Refuses a PSN that is new.
    pub(crate) fn refuse(&mut self, number: u64, reason: Refusal) {
        let slot = self.slot(number);
        self.reasons[slot] = reason.code();
        self.end = self.end.max(number + 1);
        self.refused.push(number);
    }

    /// Refused PSNs with their reasons, beginning with the one at `turn` and going round, so that each gets into an ACK in its turn.
    pub(crate) fn refusals(&self, turn: usize) -> impl Iterator<Item = (u64, Refusal)> {
        let (early, late) = self.refused.split_at(turn % self.refused.len().max(1));
        let reason = |number: &u64| (*number, Refusal::from_code(self.reasons[self.slot(*number)]));
        late.iter().chain(early).map(reason)
    }

    pub(crate) const fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Words of the bitmap that an ACK needs.
    pub(crate) fn words(&self) -> usize {
        let above = self.end.saturating_sub(self.next + 1);
        usize::try_from(above.div_ceil(64)).unwrap_or(0)
    }

    /// A word of the bitmap, beginning at the PSN after the next expected one.
    pub(crate) fn bitmap(&self, word: usize) -> u64 {
        let first = self.next + 1 + 64 * word as u64;
        let bits = self.taken.word(first);
        // The ring ends where the window does; a bit beyond is one of the beginning.
        let last = self.next + self.size;
        match last.saturating_sub(first) {
            room @ 0..64 => bits & ((1 << room) - 1),
            _ => bits,
        }
    }

    fn slot(&self, number: u64) -> usize {
        // A power of two.
        usize::try_from(number & (self.size - 1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use proptest::prelude::*;

    /// The same without rings and bits.
    #[derive(Default)]
    struct Naive {
        taken: BTreeSet<u64>,
        refused: BTreeMap<u64, Refusal>,
    }

    impl Naive {
        fn next(&self) -> u64 {
            (0..).find(|number| !self.taken.contains(number)).unwrap()
        }

        fn standing(&self, number: u64, size: u64) -> Standing {
            if self.taken.contains(&number) {
                Standing::Taken
            } else if number >= self.next() + size {
                Standing::Beyond
            } else {
                self.refused
                    .get(&number)
                    .map_or(Standing::New, |reason| Standing::Refused(*reason))
            }
        }
    }

    proptest! {
        #[test]
        fn the_window_is_the_naive_one(
            window in prop_oneof![Just(16u32), Just(64), Just(128)],
            steps in proptest::collection::vec((0u64..150, 0u8..6), 1..400),
        ) {
            // [REL-2] [REL-3] [REF-2]
            let mut window_under_test = ReceiveWindow::new(window);
            let mut naive = Naive::default();
            let size = u64::from(window);
            for (ahead, what) in steps {
                let number = (naive.next() + ahead).saturating_sub(20);
                let standing = naive.standing(number, size);
                prop_assert_eq!(window_under_test.standing(number), standing);
                match (standing, what) {
                    (Standing::New, 0) => {
                        window_under_test.refuse(number, Refusal::BadKey);
                        naive.refused.insert(number, Refusal::BadKey);
                    }
                    (Standing::New, _) | (Standing::Refused(_), 1) => {
                        window_under_test.take(number);
                        naive.taken.insert(number);
                        naive.refused.remove(&number);
                    }
                    _ => {}
                }
                prop_assert_eq!(window_under_test.next(), naive.next());
                let refused: BTreeMap<_, _> = window_under_test.refusals(usize::from(what)).collect();
                prop_assert_eq!(&refused, &naive.refused);
                let mut above = BTreeSet::new();
                for word in 0..window_under_test.words() {
                    let bits = window_under_test.bitmap(word);
                    above.extend((0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| {
                        naive.next() + 1 + 64 * word as u64 + bit
                    }));
                }
                let expected: BTreeSet<_> = naive.taken.range(naive.next()..).copied().collect();
                prop_assert_eq!(above, expected);
            }
        }
    }
}
