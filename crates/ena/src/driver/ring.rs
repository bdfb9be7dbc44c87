//! The driver's end of a completion ring: how many entries are there, and their bytes.

use trinic_pci::{DmaFault, Memory};

/// Entries that are read at once.
pub(super) const BATCH: usize = 32;

/// Longest entry that is read: a receive completion.
const MAX_ENTRY_BYTES: usize = 16;

/// A completion ring.
#[derive(Debug)]
pub(super) struct CompletionReader {
    pub(super) base: u64,
    pub(super) depth: u16,
    entry_bytes: usize,
    /// The phase bit in an entry's first word.
    phase_mask: u32,
    /// The next entry, counted without wrapping at the ring's end.
    head: u16,
    bytes: [u8; BATCH * MAX_ENTRY_BYTES],
}

impl CompletionReader {
    pub(super) fn new(base: u64, depth: u16, entry_bytes: usize, phase_mask: u32) -> Self {
        Self {
            base,
            depth,
            entry_bytes: entry_bytes.min(MAX_ENTRY_BYTES),
            phase_mask,
            head: 0,
            bytes: [0; BATCH * MAX_ENTRY_BYTES],
        }
    }

    /// Reads up to `most` entries that are there and passes them; returns their bytes.
    #[inline]
    pub(super) fn take<M: Memory>(&mut self, memory: &M, most: usize) -> Result<&[u8], DmaFault> {
        let index = self.head & (self.depth - 1);
        let phase = if self.head & self.depth == 0 {
            self.phase_mask
        } else {
            0
        };
        let most = most.min(BATCH).min(usize::from(self.depth - index));
        let step = u64::try_from(self.entry_bytes).unwrap_or_default();
        let address = self.base + u64::from(index) * step;
        let mut at = address;
        let mut count = 0;
        // The loads acquire: what is read after them is what their words announced.
        while count < most && memory.load_u32(at)? & self.phase_mask == phase {
            count += 1;
            at += step;
        }
        let bytes = self.bytes.get_mut(..count * self.entry_bytes).unwrap_or_default();
        if count > 0 {
            memory.read(address, bytes)?;
            self.head = self.head.wrapping_add(u16::try_from(count).unwrap_or_default());
        }
        Ok(bytes)
    }

    /// Whether the next entry is there.
    #[inline]
    pub(super) fn is_ready<M: Memory>(&self, memory: &M) -> Result<bool, DmaFault> {
        let index = self.head & (self.depth - 1);
        let address = self.base + u64::from(index) * u64::try_from(self.entry_bytes).unwrap_or_default();
        let is_set = memory.load_u32(address)? & self.phase_mask != 0;
        Ok(is_set == (self.head & self.depth == 0))
    }

    /// Starts again at the first entry of a zeroed ring.
    pub(super) fn restart<M: Memory>(&mut self, memory: &M) -> Result<(), DmaFault> {
        self.head = 0;
        zero(memory, self.base, usize::from(self.depth) * self.entry_bytes)
    }
}

/// Zeroes a piece of memory.
pub(super) fn zero<M: Memory>(memory: &M, base: u64, length: usize) -> Result<(), DmaFault> {
    let zeros = [0; 4096];
    let mut at = 0;
    while at < length {
        let now = zeros.len().min(length - at);
        memory.write(base + u64::try_from(at).unwrap_or_default(), &zeros[..now])?;
        at += now;
    }
    Ok(())
}
