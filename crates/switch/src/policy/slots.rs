//! Entries by AWS id and by index.
//!
//! The tables name each other by id, in any order: a delta may bring an interface before its subnet. So an
//! id gets its slot when it is first mentioned, and keeps it for as long as the entry is there or another
//! entry mentions it. The pipeline follows indices only.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::num::NonZeroU32;

use slab::Slab;

use crate::tables::Id;

/// The slot of an entry of type `T`.
pub(crate) struct Index<T> {
    /// One more than the position, so that an `Option` takes no more room.
    raw: NonZeroU32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Index<T> {
    pub(crate) const fn raw(self) -> usize {
        self.raw.get() as usize - 1
    }
}

impl<T> Clone for Index<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Index<T> {}

impl<T> PartialEq for Index<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl<T> Eq for Index<T> {}

impl<T> std::fmt::Debug for Index<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.raw())
    }
}

#[derive(Debug)]
struct Slot<T> {
    id: Id,
    mentions: u32,
    present: bool,
    value: T,
}

/// All entries of one kind.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    by_id: HashMap<Id, Index<T>>,
    slots: Slab<Slot<T>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            slots: Slab::new(),
        }
    }
}

impl<T: Default> Slots<T> {
    /// The slot of this id, made if need be.
    fn slot_of(&mut self, id: &Id) -> Index<T> {
        if let Some(index) = self.by_id.get(id) {
            return *index;
        }
        let raw = self.slots.insert(Slot {
            id: id.clone(),
            mentions: 0,
            present: false,
            value: T::default(),
        });
        #[expect(
            clippy::cast_possible_truncation,
            reason = "Four thousand million entries do not fit into memory."
        )]
        let index = Index {
            raw: NonZeroU32::MIN.saturating_add(raw as u32),
            kind: PhantomData,
        };
        self.by_id.insert(id.clone(), index);
        index
    }

    /// Mentions an id; the slot lives until [`Self::forget`].
    pub(crate) fn mention(&mut self, id: &Id) -> Index<T> {
        let index = self.slot_of(id);
        self.slots[index.raw()].mentions += 1;
        index
    }

    /// Takes a mention back. Returns whether the slot is free now.
    pub(crate) fn forget(&mut self, index: Index<T>) -> bool {
        let slot = &mut self.slots[index.raw()];
        slot.mentions -= 1;
        self.free_if_unused(index)
    }

    /// Marks the entry as present in the tables.
    pub(crate) fn put(&mut self, id: &Id) -> (Index<T>, &mut T) {
        let index = self.slot_of(id);
        let slot = &mut self.slots[index.raw()];
        slot.present = true;
        (index, &mut slot.value)
    }

    /// Marks the entry as gone from the tables; its value is the caller's to clear first.
    pub(crate) fn remove(&mut self, index: Index<T>) {
        self.slots[index.raw()].present = false;
        self.free_if_unused(index);
    }

    fn free_if_unused(&mut self, index: Index<T>) -> bool {
        let slot = &self.slots[index.raw()];
        let free = slot.mentions == 0 && !slot.present;
        if free {
            let slot = self.slots.remove(index.raw());
            self.by_id.remove(&slot.id);
        }
        free
    }

    /// The slot of an id that is present or mentioned.
    pub(crate) fn find(&self, id: &str) -> Option<Index<T>> {
        self.by_id.get(id).copied()
    }

    /// The entry's id.
    pub(crate) fn id(&self, index: Index<T>) -> &Id {
        &self.slots[index.raw()].id
    }

    /// The entry, if the tables have it.
    pub(crate) fn get(&self, index: Index<T>) -> Option<&T> {
        let slot = &self.slots[index.raw()];
        slot.present.then_some(&slot.value)
    }

    /// The value of the slot, to change it, whether the tables have the entry or not.
    pub(crate) fn value_mut(&mut self, index: Index<T>) -> &mut T {
        &mut self.slots[index.raw()].value
    }

    /// Slots in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_lives_while_it_is_present_or_mentioned() {
        let mut slots = Slots::<u8>::default();
        let id: Id = "eni-1".into();
        let mentioned = slots.mention(&id);
        assert_eq!(slots.get(mentioned), None);
        let (put, value) = slots.put(&id);
        *value = 7;
        assert_eq!(put, mentioned);
        assert_eq!(slots.get(put), Some(&7));
        assert!(!slots.forget(mentioned));
        assert_eq!(slots.get(put), Some(&7));
        slots.remove(put);
        assert_eq!(slots.len(), 0);
        assert_eq!(slots.find("eni-1"), None);
    }
}
