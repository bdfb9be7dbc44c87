//! The timers of the contexts.

use crate::{Instant, PeerId};

/// A heap of contexts by time, in which each is once at most and knows its place: an earlier time moves it and leaves nothing behind.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// No entry is earlier than the one at half its place.
    heap: Vec<(Instant, PeerId)>,
    /// Where each context is, or [`NOWHERE`].
    places: Vec<usize>,
}

impl Timers {
    /// There is one more context. Only this allocates.
    pub(crate) fn add(&mut self) {
        self.places.push(NOWHERE);
        self.heap.reserve(self.places.len() - self.heap.len());
    }

    /// The earliest.
    pub(crate) fn first(&self) -> Option<(Instant, PeerId)> {
        self.heap.first().copied()
    }

    /// Takes the earliest out.
    pub(crate) fn pop(&mut self) {
        let last = self.heap.len().saturating_sub(1);
        self.swap(0, last);
        if let Some((_, id)) = self.heap.pop() {
            self.places[id.0 as usize] = NOWHERE;
        }
        self.sink(0);
    }

    /// A context is due at this time, unless it is due before.
    #[inline]
    pub(crate) fn by(&mut self, id: PeerId, at: Instant) {
        let Some(place) = self.places.get_mut(id.0 as usize) else {
            return;
        };
        // For most packets it is, and nowhere is a place beyond the heap.
        match self.heap.get_mut(*place) {
            Some((before, _)) if *before <= at => return,
            Some((before, _)) => *before = at,
            None => {
                *place = self.heap.len();
                self.heap.push((at, id));
            }
        }
        let place = *place;
        self.rise(place);
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.heap.len()
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let above = (place - 1) / 2;
            if self.heap[above] <= self.heap[place] {
                return;
            }
            self.swap(above, place);
            place = above;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let below = 2 * place + 1;
            let children = self.heap.get(below..).unwrap_or(&[]).iter().take(2);
            let Some((which, least)) = children.enumerate().min_by_key(|(_, entry)| **entry) else {
                return;
            };
            if self.heap[place] <= *least {
                return;
            }
            self.swap(place, below + which);
            place = below + which;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        self.heap.swap(one, other);
        for place in [one, other] {
            self.places[self.heap[place].1.0 as usize] = place;
        }
    }
}

const NOWHERE: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_earliest_comes_first_and_each_is_there_once(steps in prop::collection::vec((0u32..9, prop::option::of(0u64..50)), 0..200)) {
            let mut timers = Timers::default();
            (0..9).for_each(|_| timers.add());
            let mut naive = BTreeMap::<u32, u64>::new();
            for (id, at) in steps {
                match at {
                    Some(at) => {
                        timers.by(PeerId(id), Instant::from_nanos(at));
                        naive.entry(id).and_modify(|before| *before = at.min(*before)).or_insert(at);
                    }
                    None => {
                        timers.pop();
                        if let Some((_, id)) = naive.iter().map(|(id, at)| (*at, *id)).min() {
                            naive.remove(&id);
                        }
                    }
                }
                let first = naive.iter().map(|(id, at)| (Instant::from_nanos(*at), PeerId(*id))).min();
                prop_assert_eq!(timers.first(), first);
                prop_assert_eq!(timers.len(), naive.len());
            }
        }
    }
}
