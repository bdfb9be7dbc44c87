//! The MSI-X table and its pending bits, as a BAR of their own shows them.
//!
//! A carrier that knows MSI-X (QEMU's vfio-user client) keeps table and pending bits itself and says which
//! vectors are in use by its own messages, so the entries here are what a client stored and nothing more:
//! nobody writes to the addresses in them.

/// Bytes of a BAR for up to [`VECTORS_MOST`] vectors: the table in its first page, the pending bits in its second.
pub const BAR_SIZE_BYTES: u64 = 8192;
/// Where the pending bits are in that BAR.
pub const PENDING_OFFSET: u32 = 4096;
/// Most vectors of such a BAR.
pub const VECTORS_MOST: u16 = 256;

/// Bytes of an entry: address (8), data (4), control (4). Source: [PCI Local Bus 3.0 §6.8.2].
const ENTRY_SIZE_BYTES: usize = 16;
/// Vector control: masked. Source: [PCI Local Bus 3.0 §6.8.2.9].
const CONTROL_MASKED: u8 = 1;

/// The table of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MsixTable {
    bytes: Vec<u8>,
}

impl MsixTable {
    /// A table of `vectors` masked vectors; more than [`VECTORS_MOST`] are left out.
    #[must_use]
    pub fn new(vectors: u16) -> Self {
        let mut table = Self {
            bytes: vec![0; usize::from(vectors.min(VECTORS_MOST)) * ENTRY_SIZE_BYTES],
        };
        table.reset();
        table
    }

    /// Every vector masked, addresses and data zero.
    pub fn reset(&mut self) {
        for entry in self.bytes.chunks_exact_mut(ENTRY_SIZE_BYTES) {
            entry.fill(0);
            entry[12] = CONTROL_MASKED;
        }
    }

    /// Whether the table's entry of a vector is masked; one that is not there is.
    #[must_use]
    pub fn is_masked(&self, vector: u16) -> bool {
        let at = usize::from(vector) * ENTRY_SIZE_BYTES + 12;
        self.bytes
            .get(at)
            .is_none_or(|control| control & CONTROL_MASKED != 0)
    }

    /// Reads the BAR. The pending bits read as zeros, what is outside as ones.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (0u64..).zip(data.iter_mut()) {
            *byte = self.byte(offset.saturating_add(at));
        }
    }

    /// Writes the BAR. Pending bits, reserved bits and what is outside keep their value.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for (at, byte) in (0u64..).zip(data) {
            let Ok(at) = usize::try_from(offset.saturating_add(at)) else {
                continue;
            };
            let writable = match at % ENTRY_SIZE_BYTES {
                // The low two bits of an address are zero: messages are whole words.
                0 => 0xfc,
                12 => CONTROL_MASKED,
                13..=15 => 0,
                _ => 0xff,
            };
            if let Some(kept) = self.bytes.get_mut(at) {
                *kept = *kept & !writable | byte & writable;
            }
        }
    }

    fn byte(&self, offset: u64) -> u8 {
        let entry = usize::try_from(offset).ok().and_then(|at| self.bytes.get(at));
        let pending = u64::from(PENDING_OFFSET)..BAR_SIZE_BYTES;
        match entry {
            Some(byte) => *byte,
            None if pending.contains(&offset) => 0,
            None => u8::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_what_may_be_written() {
        let mut table = MsixTable::new(2);
        assert!(table.is_masked(0) && table.is_masked(1) && table.is_masked(2));
        table.write(16, &[0xff; 16]);
        let mut entry = [0; 16];
        table.read(16, &mut entry);
        assert_eq!(entry[0], 0xfc);
        assert_eq!(entry[12..], [1, 0, 0, 0]);
        table.write(28, &[0]);
        assert!(table.is_masked(0) && !table.is_masked(1));
        table.reset();
        assert!(table.is_masked(1));
    }

    #[test]
    fn outside_reads_as_ones_and_pending_as_zeros() {
        let mut table = MsixTable::new(1);
        let mut bytes = [7; 4];
        table.write(14, &[0xff; 8]);
        table.read(14, &mut bytes);
        assert_eq!(bytes, [0, 0, 0xff, 0xff]);
        table.read(4094, &mut bytes);
        assert_eq!(bytes, [0xff, 0xff, 0, 0]);
        table.read(8190, &mut bytes);
        assert_eq!(bytes, [0, 0, 0xff, 0xff]);
        table.read(u64::MAX - 1, &mut bytes);
        assert_eq!(bytes, [0xff; 4]);
        table.write(u64::MAX - 1, &bytes);
    }
}
