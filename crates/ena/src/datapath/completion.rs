//! A ring of completions, written in batches.

use trinic_pci::{DmaFault, Memory};
use zerocopy::IntoBytes;

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
    #[inline]
    pub(super) fn push_tx<M: Memory>(
        &mut self,
        memory: &M,
        mut completion: TxCompletion,
    ) -> Result<(), DmaFault> {
        completion.flags = u8::from(self.phase());
        self.push::<M, 8>(memory, zerocopy::transmute_ref!(&completion))
    }

    /// Adds the completion of a receive buffer, phase included; `address` is the buffer's.
    #[inline]
    pub(super) fn push_rx<M: Memory>(
        &mut self,
        memory: &M,
        completion: RxCompletion,
        address: u64,
    ) -> Result<(), DmaFault> {
        if self.entry_bytes == size_of::<RxCompletion>() {
            return self.push::<M, 16>(memory, zerocopy::transmute_ref!(&completion));
        }
        let mut long = [0; 24];
        long[..16].copy_from_slice(completion.as_bytes());
        long[16..24].copy_from_slice(&address.to_le_bytes());
        self.push(memory, &long)
    }

    /// The entry is shorter than a slot or fills it.
    #[inline]
    fn push<M: Memory, const N: usize>(&mut self, memory: &M, entry: &[u8; N]) -> Result<(), DmaFault> {
        let place = self.staging.get_mut(self.staged_bytes..);
        if let Some(to) = place.and_then(<[u8]>::first_chunk_mut::<N>) {
            *to = *entry;
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
