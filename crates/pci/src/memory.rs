//! Memory that both a driver and a device reach, by bus address.

use std::fmt::Debug;

/// An access of a device to memory that its driver did not give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("No memory for {length} bytes at bus address {address:#x}")]
pub struct DmaFault {
    /// Bus address of the first byte asked for.
    pub address: u64,
    /// How many bytes were asked for.
    pub length: usize,
}

/// What a cache line is brought for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To be read.
    Read,
    /// To be written: others lose their copies of it.
    Write,
}

/// Memory by bus address (IOVA), shared with somebody who may write it at any time.
///
/// Each access is checked and either happens as a whole or fails; a range may cross mappings. Nothing here
/// gives a reference into the memory: a value is copied once and the copy is checked, so what the other side
/// changes meanwhile cannot pass a check that it did not take.
///
/// Ordering: [`Self::load_u32`] acquires and the stores release, so a record is published by writing its body
/// with [`Self::write`] and then the word that holds its phase bit with [`Self::store_u32`].
pub trait Memory: Clone + Debug {
    /// Copies `into.len()` bytes out of the memory.
    ///
    /// # Errors
    ///
    /// When part of the range is not mapped or may not be read; `into` may have been written in part.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault>;

    /// Copies bytes into the memory.
    ///
    /// # Errors
    ///
    /// When part of the range is not mapped or may not be written; part of it may have been written.
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault>;

    /// Reads a little-endian word whose address is a multiple of 4; what was published before it is visible
    /// after.
    ///
    /// # Errors
    ///
    /// When it is not mapped, may not be read, or is not aligned.
    fn load_u32(&self, address: u64) -> Result<u32, DmaFault>;

    /// Writes a little-endian word whose address is a multiple of 4, after everything written before.
    ///
    /// # Errors
    ///
    /// When it is not mapped, may not be written, or is not aligned.
    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault>;

    /// Writes a little-endian half word whose address is a multiple of 2, after everything written before.
    ///
    /// # Errors
    ///
    /// When it is not mapped, may not be written, or is not aligned.
    fn store_u16(&self, address: u64, value: u16) -> Result<(), DmaFault>;

    /// Has the processor bring the cache lines that hold `addresses`, if it can: the device is about to use them, and what a
    /// driver on another processor wrote or read last takes some hundred nanoseconds to come. A hint: it changes nothing,
    /// and an address that is not mapped is no fault.
    #[inline]
    fn prefetch(&self, addresses: impl Iterator<Item = u64>, intent: Intent) {
        let _ = (addresses, intent);
    }

    /// Copies `length` bytes at `from` to bus address `at` of another function's memory: the one copy that a
    /// payload makes between two instances.
    ///
    /// # Errors
    ///
    /// When part of either range is not mapped or may not be used so.
    fn copy_to(&self, from: u64, other: &Self, at: u64, length: usize) -> Result<(), DmaFault>;
}
