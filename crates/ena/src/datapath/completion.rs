//! A ring of completions, written in batches.

use trinic_pci::{DmaFault, Memory};

use super::CompletionQueue;
use crate::spec::descriptor::{RxCompletion, TxCompletion};

/// Bytes of completions that are kept back at most, to be written with one copy and one release store: a whole number
/// of entries of every size.
const STAGING_BYTES: usize = 1024;

/// Bytes of the longest entry.
const MAX_ENTRY_BYTES: usize = 32;

/// The device's end of a completion ring.
#[derive(Debug)]
pub(super) struct CompletionRing {
    pub(super) queue: CompletionQueue,
    entry_bytes: usize,
    /// Where the next completion goes, counted without wrapping at the ring's end.
    tail: u16,
    /// Where the first of those goes that were not written yet, and their bytes.
    first: u16,
    staged_bytes: usize,
    /// Completions were added since this was asked for.
    is_fresh: bool,
    staging: [u8; STAGING_BYTES],
}

impl CompletionRing {
    pub(super) fn new(queue: CompletionQueue) -> Self {
        Self {
            queue,
            entry_bytes: usize::from(queue.entry_bytes).clamp(8, MAX_ENTRY_BYTES),
            tail: 0,
            first: 0,
            staged_bytes: 0,
            is_fresh: false,
            staging: [0; STAGING_BYTES],
        }
    }

    /// Whether completions were added since the last call: the driver wants to know of them.
    #[inline]
    pub(super) fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.is_fresh)
    }

    /// The phase of the next completion.
    #[inline]
    pub(super) fn phase(&self) -> bool {
        self.tail & self.queue.depth == 0
    }

    /// Adds the completion of a transmitted packet; its phase is filled in here.
    #[inline(always)]
    pub(super) fn push_tx<M: Memory>(
        &mut self,
        memory: &M,
        mut completion: TxCompletion,
    ) -> Result<(), DmaFault> {
        completion.flags = u8::from(self.phase());
        self.push(memory, [completion.to_word()])
    }

    /// Adds the completion of a receive buffer, phase included; `address` is the buffer's.
    #[inline(always)]
    pub(super) fn push_rx<M: Memory>(
        &mut self,
        memory: &M,
        completion: RxCompletion,
        address: u64,
    ) -> Result<(), DmaFault> {
        let [first, second] = completion.to_words();
        if self.entry_bytes == size_of::<RxCompletion>() {
            return self.push(memory, [first, second]);
        }
        self.push(memory, [first, second, address])
    }

    /// Adds an entry that is shorter than a slot or fills it, as little-endian words.
    #[inline(always)]
    fn push<M: Memory, const N: usize>(&mut self, memory: &M, entry: [u64; N]) -> Result<(), DmaFault> {
        let place = self.staging.get_mut(self.staged_bytes..).unwrap_or_default();
        let (words, _) = place.as_chunks_mut::<8>();
        if let Some(words) = words.first_chunk_mut::<N>() {
            for (to, word) in words.iter_mut().zip(entry) {
                *to = word.to_le_bytes();
            }
        }
        self.staged_bytes += self.entry_bytes;
        self.is_fresh = true;
        self.tail = self.tail.wrapping_add(1);
        // A batch does not cross the end of the ring, so that it is one piece of memory.
        if self.staged_bytes == STAGING_BYTES || self.tail & (self.queue.depth - 1) == 0 {
            return self.flush(memory);
        }
        Ok(())
    }

    /// Writes what was staged. The driver reads entries in order and looks at each one's first word, which has
    /// the phase; so all is written but the first word of the first entry, and then that word, releasing.
    #[inline(never)]
    pub(super) fn flush<M: Memory>(&mut self, memory: &M) -> Result<(), DmaFault> {
        if self.staged_bytes == 0 {
            return Ok(());
        }
        let length = std::mem::take(&mut self.staged_bytes);
        let first = std::mem::replace(&mut self.first, self.tail) & (self.queue.depth - 1);
        let address = self
            .queue
            .base
            .wrapping_add(u64::from(first) * u64::from(self.queue.entry_bytes));
        let Some((word, body)) = self
            .staging
            .get(..length)
            .and_then(<[u8]>::split_first_chunk::<4>)
        else {
            return Ok(());
        };
        memory.write(address.wrapping_add(4), body)?;
        memory.store_u32(address, u32::from_le_bytes(*word))
    }
}
