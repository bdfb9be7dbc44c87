//! The rings by which ENA and EFA take commands and report: admin queue, its completion queue, event queue.
//!
//! All three are in the driver's memory, with entries of 64 bytes that carry a phase bit: 1 in the first round,
//! 0 in the second, and so on. The driver announces commands by a doorbell that counts on for ever (16 bits of
//! it), and gives back event entries by another. Which bytes are what, beyond the phase bits, is the device's.
//!
//! Source: `ena_com.c` and `efa_com.c` of the Linux drivers (`__ena_com_submit_admin_cmd`,
//! `ena_com_handle_admin_completion`, `ena_com_aenq_intr_handler` and their sisters).

use crate::memory::{DmaFault, Memory};

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 64;

/// An entry.
pub type Entry = [u8; ENTRY_BYTES];

/// Most entries of a ring: what one doorbell can ask for is bounded by it. Drivers use 2 to 32.
pub const MAX_DEPTH: u16 = 1024;

/// Why a ring cannot be used as the driver wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The ring has no entries, or too many.
    #[error("A ring has 1 to {MAX_DEPTH} entries, not {0}")]
    Depth(u16),
    /// Entries have another size than this device's.
    #[error("An entry has 64 bytes, not {0}")]
    EntrySize(u16),
    /// The ring's address is 0 or not a multiple of 4.
    #[error("No ring can be at address {0:#x}")]
    Address(u64),
    /// A doorbell announces more than the ring can hold.
    #[error("The doorbell says {value}, which is {ahead} entries ahead in a ring of {depth}")]
    Doorbell {
        /// What was written.
        value: u16,
        /// How far it is ahead.
        ahead: u16,
        /// Entries of the ring.
        depth: u16,
    },
    /// An announced entry has not the phase of this round.
    #[error("Entry {0} was announced, but its phase bit is that of the round before")]
    Phase(u16),
    /// The driver has not given back any entry.
    #[error("The driver has not handled the earlier events")]
    Full,
    /// The ring, or part of it, is not memory.
    #[error(transparent)]
    Dma(#[from] DmaFault),
}

/// A place in a ring: an entry and its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    base: u64,
    depth: u16,
    index: u16,
    phase: bool,
}

impl Place {
    fn new(base: u64, depth: u16) -> Result<Self, RingError> {
        if depth == 0 || depth > MAX_DEPTH {
            return Err(RingError::Depth(depth));
        }
        let bytes = u64::from(depth) * ENTRY_BYTES as u64;
        if base == 0 || !base.is_multiple_of(4) || base.checked_add(bytes).is_none() {
            return Err(RingError::Address(base));
        }
        Ok(Self {
            base,
            depth,
            index: 0,
            phase: true,
        })
    }

    fn address(&self) -> u64 {
        self.base + u64::from(self.index) * ENTRY_BYTES as u64
    }

    fn advance(&mut self) {
        self.index += 1;
        if self.index == self.depth {
            self.index = 0;
            self.phase = !self.phase;
        }
    }
}

/// The admin queue: commands from the driver. The phase is bit 0 of byte 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmissionRing {
    place: Place,
    head: u16,
    tail: u16,
}

impl SubmissionRing {
    /// A ring of `depth` entries at `base`, at its start.
    ///
    /// # Errors
    ///
    /// When there can be no such ring.
    pub fn new(base: u64, depth: u16) -> Result<Self, RingError> {
        let place = Place::new(base, depth)?;
        Ok(Self {
            place,
            head: 0,
            tail: 0,
        })
    }

    /// The driver announces commands up to `tail`. Then call [`Self::take`] until it gives nothing.
    ///
    /// # Errors
    ///
    /// When that is more than the ring holds; nothing has changed then.
    pub fn ring(&mut self, tail: u16) -> Result<(), RingError> {
        let ahead = tail.wrapping_sub(self.head);
        if ahead > self.place.depth {
            return Err(RingError::Doorbell {
                value: tail,
                ahead,
                depth: self.place.depth,
            });
        }
        self.tail = tail;
        Ok(())
    }

    /// The next announced command: a copy, which the driver cannot change any more.
    ///
    /// # Errors
    ///
    /// When the entry cannot be read or has not this round's phase. It stays announced, and the next doorbell
    /// is another try.
    pub fn take<M: Memory>(&mut self, memory: &M) -> Result<Option<Entry>, RingError> {
        if self.head == self.tail {
            return Ok(None);
        }
        let address = self.place.address();
        let first = memory.load_u32(address)?.to_le_bytes();
        if (first[3] & 1 == 1) != self.place.phase {
            return Err(RingError::Phase(self.place.index));
        }
        let mut entry = [0; ENTRY_BYTES];
        memory.read(address, &mut entry)?;
        // What the phase was checked in is what counts, whatever the driver has written since.
        entry[..4].copy_from_slice(&first);
        self.place.advance();
        self.head = self.head.wrapping_add(1);
        Ok(Some(entry))
    }

    /// Commands taken since the start, 16 bits of the count: what completions tell the driver.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Entries of the ring.
    pub fn depth(&self) -> u16 {
        self.place.depth
    }
}

/// The admin completion queue. The phase is bit 0 of byte 3. There is no doorbell by which a driver gives
/// entries back: it has never more commands outstanding than the ring has entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionRing {
    place: Place,
}

impl CompletionRing {
    /// A ring of `depth` entries at `base`, at its start.
    ///
    /// # Errors
    ///
    /// When there can be no such ring.
    pub fn new(base: u64, depth: u16) -> Result<Self, RingError> {
        let place = Place::new(base, depth)?;
        Ok(Self { place })
    }

    /// Writes a completion; its phase bit is set here, and written last.
    ///
    /// # Errors
    ///
    /// When the entry is not memory; the place is used again.
    pub fn post<M: Memory>(&mut self, memory: &M, mut entry: Entry) -> Result<(), RingError> {
        entry[3] = (entry[3] & !1) | u8::from(self.place.phase);
        let address = self.place.address();
        let [a, b, c, d, body @ ..] = entry;
        memory.write(address + 4, &body)?;
        memory.store_u32(address, u32::from_le_bytes([a, b, c, d]))?;
        self.place.advance();
        Ok(())
    }

    /// Entries of the ring.
    pub fn depth(&self) -> u16 {
        self.place.depth
    }
}

/// The event queue. The phase is bit 0 of byte 4. Nothing is written until the driver has given entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRing {
    place: Place,
    produced: u16,
    limit: u16,
}

impl EventRing {
    /// A ring of `depth` entries at `base`, at its start.
    ///
    /// # Errors
    ///
    /// When there can be no such ring.
    pub fn new(base: u64, depth: u16) -> Result<Self, RingError> {
        let place = Place::new(base, depth)?;
        Ok(Self {
            place,
            produced: 0,
            limit: 0,
        })
    }

    /// As many events as `limit` (16 bits of a count that goes on for ever) may have been written in all.
    /// ENA's doorbell says it so: at first the depth, then the depth and what was handled.
    ///
    /// # Errors
    ///
    /// When that is more than the ring holds, or less than was written; nothing has changed then.
    pub fn allow(&mut self, limit: u16) -> Result<(), RingError> {
        let ahead = limit.wrapping_sub(self.produced);
        if ahead > self.place.depth {
            return Err(RingError::Doorbell {
                value: limit,
                ahead,
                depth: self.place.depth,
            });
        }
        self.limit = limit;
        Ok(())
    }

    /// The driver has handled so many events in all. EFA's doorbell says it so, and 0 is the first.
    ///
    /// # Errors
    ///
    /// As [`Self::allow`].
    pub fn consumed(&mut self, count: u16) -> Result<(), RingError> {
        self.allow(count.wrapping_add(self.place.depth))
    }

    /// The driver has given entries at least once.
    pub fn is_open(&self) -> bool {
        self.limit != 0 || self.produced != 0
    }

    /// Events that can be written now.
    pub fn room(&self) -> u16 {
        self.limit.wrapping_sub(self.produced)
    }

    /// Writes an event; its phase bit is set here, and written last.
    ///
    /// # Errors
    ///
    /// When there is no room, or the entry is not memory; the place is used again.
    pub fn post<M: Memory>(&mut self, memory: &M, mut entry: Entry) -> Result<(), RingError> {
        if self.room() == 0 {
            return Err(RingError::Full);
        }
        entry[4] = (entry[4] & !1) | u8::from(self.place.phase);
        let address = self.place.address();
        let [_, _, _, _, a, b, c, d, body @ ..] = entry;
        memory.write(address + 8, &body)?;
        memory.write(address, &entry[..4])?;
        memory.store_u32(address + 4, u32::from_le_bytes([a, b, c, d]))?;
        self.place.advance();
        self.produced = self.produced.wrapping_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::PlainMemory;

    const BASE: u64 = 0x1000;

    /// A driver's end of the admin queue, by the book.
    struct Submitter {
        memory: PlainMemory,
        depth: u16,
        tail: u16,
    }

    impl Submitter {
        fn submit(&mut self, mark: u8) {
            let phase = (self.tail / self.depth).is_multiple_of(2);
            let mut entry = [mark; ENTRY_BYTES];
            entry[3] = u8::from(phase);
            let address = BASE + u64::from(self.tail % self.depth) * 64;
            self.memory.write(address, &entry).unwrap();
            self.tail = self.tail.wrapping_add(1);
        }
    }

    #[test]
    fn commands_come_in_order_over_many_wraps() {
        for depth in [2, 16, 32] {
            let memory = PlainMemory::new(BASE, usize::from(depth) * 64);
            let mut ring = SubmissionRing::new(BASE, depth).unwrap();
            let (memory_2, mut mark) = (memory.clone(), 0_u8);
            let mut driver = Submitter {
                memory: memory_2,
                depth,
                tail: 0,
            };
            // Batches of every size up to the depth, past the end of the doorbell's 16 bits.
            while driver.tail < u16::MAX - depth {
                let batch = u16::from(mark) % depth + 1;
                for _ in 0..batch {
                    driver.submit(mark);
                }
                ring.ring(driver.tail).unwrap();
                for _ in 0..batch {
                    assert_eq!(ring.take(&memory).unwrap().unwrap()[40], mark);
                }
                assert_eq!(ring.take(&memory).unwrap(), None);
                mark = mark.wrapping_add(1);
            }
            assert_eq!(ring.head(), driver.tail);
        }
    }

    #[test]
    fn a_doorbell_too_far_ahead_is_refused() {
        let memory = PlainMemory::new(BASE, 4 * 64);
        let mut ring = SubmissionRing::new(BASE, 4).unwrap();
        let refused = RingError::Doorbell {
            value: 5,
            ahead: 5,
            depth: 4,
        };
        assert_eq!(ring.ring(5), Err(refused));
        assert_eq!(ring.take(&memory), Ok(None));
        assert!(ring.ring(u16::MAX).is_err());
    }

    #[test]
    fn an_entry_without_its_phase_waits_for_it() {
        let memory = PlainMemory::new(BASE, 2 * 64);
        let mut ring = SubmissionRing::new(BASE, 2).unwrap();
        ring.ring(1).unwrap();
        assert_eq!(ring.take(&memory), Err(RingError::Phase(0)));
        memory.write(BASE + 3, &[1]).unwrap();
        assert!(ring.take(&memory).unwrap().is_some());
    }

    #[test]
    fn a_ring_outside_memory_is_a_fault() {
        let memory = PlainMemory::new(BASE, 64);
        let mut ring = SubmissionRing::new(BASE + 32, 1).unwrap();
        memory.write(BASE + 32 + 3, &[1]).unwrap();
        ring.ring(1).unwrap();
        assert!(matches!(ring.take(&memory), Err(RingError::Dma(_))));
        let mut ring = CompletionRing::new(BASE + 32, 1).unwrap();
        assert!(matches!(ring.post(&memory, [0; 64]), Err(RingError::Dma(_))));
        for (base, depth) in [(0, 1), (2, 1), (u64::MAX - 3, 1)] {
            assert_eq!(CompletionRing::new(base, depth), Err(RingError::Address(base)));
        }
        for depth in [0, MAX_DEPTH + 1] {
            assert_eq!(EventRing::new(BASE, depth), Err(RingError::Depth(depth)));
        }
    }

    #[test]
    fn completions_flip_their_phase() {
        for depth in [2_u16, 16, 32] {
            let memory = PlainMemory::new(BASE, usize::from(depth) * 64);
            let mut ring = CompletionRing::new(BASE, depth).unwrap();
            for round in 0..5_u8 {
                for index in 0..u64::from(depth) {
                    ring.post(&memory, [round; 64]).unwrap();
                    let mut entry = [0; 64];
                    memory.read(BASE + index * 64, &mut entry).unwrap();
                    assert_eq!(entry[3] & 1, (round + 1) % 2);
                    assert_eq!((entry[2], entry[63]), (round, round));
                }
            }
        }
    }

    #[test]
    fn events_wait_for_room() {
        for depth in [2_u16, 16, 32] {
            let memory = PlainMemory::new(BASE, usize::from(depth) * 64);
            let mut ring = EventRing::new(BASE, depth).unwrap();
            assert_eq!(ring.post(&memory, [0; 64]), Err(RingError::Full));
            assert!(!ring.is_open());
            ring.allow(depth).unwrap();
            let mut handled = 0_u16;
            // The count wraps round 16 bits, as the driver's does.
            for round in 0..u32::from(u16::MAX / depth) + 3 {
                for index in 0..u64::from(depth) {
                    ring.post(&memory, [0xff; 64]).unwrap();
                    let mut entry = [0; 64];
                    memory.read(BASE + index * 64, &mut entry).unwrap();
                    assert_eq!(u32::from(entry[4] & 1), (round + 1) % 2);
                }
                assert_eq!(ring.post(&memory, [0; 64]), Err(RingError::Full));
                handled = handled.wrapping_add(depth);
                ring.allow(handled.wrapping_add(depth)).unwrap();
            }
            assert!(ring.allow(handled.wrapping_add(depth + 1)).is_err());
            assert!(ring.allow(handled.wrapping_sub(1)).is_err());
        }
    }

    #[test]
    fn efa_counts_what_it_consumed() {
        let mut ring = EventRing::new(BASE, 16).unwrap();
        ring.consumed(0).unwrap();
        assert_eq!(ring.room(), 16);
        assert!(ring.consumed(1).is_err());
    }
}
