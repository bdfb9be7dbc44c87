//! A driver's memory, mapped registers and interrupts in plain memory, for tests that join a driver and a
//! device in one process.
//!
//! Used by one thread at a time: each access copies byte by byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::interrupt::Interrupts;
use crate::memory::{DmaFault, Memory};
use crate::shared::SharedMemory;

/// One range of memory at a bus address.
#[derive(Debug, Clone)]
pub struct PlainMemory {
    base: u64,
    bytes: Arc<[AtomicU8]>,
}

impl PlainMemory {
    /// `length` zeroed bytes at bus address `base`.
    pub fn new(base: u64, length: usize) -> Self {
        Self {
            base,
            bytes: (0..length).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    /// The first bus address.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// How many bytes there are.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    fn range(&self, address: u64, length: usize) -> Result<&[AtomicU8], DmaFault> {
        let fault = DmaFault { address, length };
        let start = address.checked_sub(self.base).ok_or(fault)?;
        let start = usize::try_from(start).map_err(|_| fault)?;
        let end = start.checked_add(length).ok_or(fault)?;
        self.bytes.get(start..end).ok_or(fault)
    }

    fn aligned(address: u64, length: usize) -> Result<(), DmaFault> {
        if address.is_multiple_of(length as u64) {
            Ok(())
        } else {
            Err(DmaFault { address, length })
        }
    }
}

impl Memory for PlainMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        let bytes = self.range(address, into.len())?;
        for (to, from) in into.iter_mut().zip(bytes) {
            *to = from.load(Ordering::Acquire);
        }
        Ok(())
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        let bytes = self.range(address, from.len())?;
        for (to, from) in bytes.iter().zip(from) {
            to.store(*from, Ordering::Release);
        }
        Ok(())
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        Self::aligned(address, 4)?;
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        Self::aligned(address, 4)?;
        self.write(address, &value.to_le_bytes())
    }

    fn store_u16(&self, address: u64, value: u16) -> Result<(), DmaFault> {
        Self::aligned(address, 2)?;
        self.write(address, &value.to_le_bytes())
    }

    fn copy_to(&self, from: u64, other: &Self, at: u64, length: usize) -> Result<(), DmaFault> {
        let source = self.range(from, length)?;
        let target = other.range(at, length)?;
        for (to, from) in target.iter().zip(source) {
            to.store(from.load(Ordering::Acquire), Ordering::Release);
        }
        Ok(())
    }
}

/// Mapped words of a BAR, from offset 0.
#[derive(Debug, Clone)]
pub struct PlainRegisters(Arc<[AtomicU32]>);

impl PlainRegisters {
    /// `length` zeroed bytes, a multiple of 4.
    pub fn new(length: usize) -> Self {
        Self((0..length / 4).map(|_| AtomicU32::new(0)).collect())
    }

    fn word(&self, offset: u64) -> Option<&AtomicU32> {
        let index = usize::try_from(offset / 4).ok()?;
        offset.is_multiple_of(4).then(|| self.0.get(index))?
    }
}

impl SharedMemory for PlainRegisters {
    fn load_u32(&self, offset: u64) -> u32 {
        self.word(offset)
            .map_or(u32::MAX, |word| word.load(Ordering::Acquire))
    }

    fn store_u32(&self, offset: u64, value: u32) {
        if let Some(word) = self.word(offset) {
            word.store(value, Ordering::Release);
        }
    }

    fn take_u32(&self, offset: u64) -> u32 {
        self.word(offset)
            .map_or(u32::MAX, |word| word.swap(0, Ordering::AcqRel))
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        if offset.is_multiple_of(4) && into.len().is_multiple_of(4) {
            for (at, bytes) in (offset..).step_by(4).zip(into.as_chunks_mut::<4>().0) {
                *bytes = self.load_u32(at).to_le_bytes();
            }
            return;
        }
        for (at, byte) in (offset..).zip(into.iter_mut()) {
            let word = self.load_u32(at - at % 4).to_le_bytes();
            *byte = usize::try_from(at % 4).map_or(u8::MAX, |index| word[index]);
        }
    }
}

/// Counts how often each of 64 vectors was raised.
#[derive(Debug, Clone)]
pub struct PlainInterrupts(Arc<[AtomicU64; 64]>);

impl PlainInterrupts {
    /// No vector was raised.
    pub fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|_| AtomicU64::new(0))))
    }

    /// How often a vector was raised since the last call.
    pub fn take(&self, vector: u16) -> u64 {
        self.0
            .get(usize::from(vector))
            .map_or(0, |count| count.swap(0, Ordering::AcqRel))
    }
}

impl Default for PlainInterrupts {
    fn default() -> Self {
        Self::new()
    }
}

impl Interrupts for PlainInterrupts {
    fn trigger(&self, vector: u16) {
        if let Some(count) = self.0.get(usize::from(vector)) {
            count.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_outside_are_faults() {
        let memory = PlainMemory::new(0x1000, 16);
        assert!(memory.write(0x1000, &[1; 16]).is_ok());
        for (address, length) in [(0xfff, 1), (0x1000, 17), (0x1010, 1), (u64::MAX, 2)] {
            assert_eq!(
                memory.read(address, &mut vec![0; length]),
                Err(DmaFault { address, length })
            );
        }
        assert_eq!(memory.load_u32(0x1002).unwrap_err().address, 0x1002);
    }

    #[test]
    fn registers_outside_read_as_ones() {
        let registers = PlainRegisters::new(8);
        registers.store_u32(4, 0x0403_0201);
        registers.store_u32(8, 7);
        let mut bytes = [0; 6];
        registers.read(4, &mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 255, 255]);
        assert_eq!(registers.take_u32(4), 0x0403_0201);
        assert_eq!(registers.load_u32(4), 0);
    }
}
