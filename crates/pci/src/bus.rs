//! A PCI function as a driver in user space sees it.

use std::fmt::Debug;
use std::time::Duration;

use crate::memory::Memory;

/// Why a driver cannot reach its function or get memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The other side of the bus is gone.
    #[error("The function is gone: {0}")]
    Gone(String),
    /// No memory for a queue or a buffer.
    #[error("No DMA memory for {0} bytes")]
    OutOfMemory(usize),
    /// The other side answered what it must not.
    #[error("The function misbehaves: {0}")]
    Protocol(String),
}

/// The way from a driver to one function.
pub trait Bus: Debug {
    /// Memory that the function reaches; the driver uses the same addresses.
    type Memory: Memory;

    /// The memory.
    fn memory(&self) -> &Self::Memory;

    /// Takes `length` bytes of DMA memory, aligned to `align` (a power of two), zeroed; returns its bus address.
    /// There is no giving back but by dropping the bus.
    ///
    /// # Errors
    ///
    /// When none is left.
    fn allocate(&mut self, length: usize, align: usize) -> Result<u64, BusError>;

    /// Reads a register of a BAR.
    ///
    /// # Errors
    ///
    /// When the function is gone.
    fn register_read(&self, bar: u8, offset: u64) -> Result<u32, BusError>;

    /// Writes a register of a BAR; where that part of the BAR is mapped this is one store.
    ///
    /// # Errors
    ///
    /// When the function is gone.
    fn register_write(&self, bar: u8, offset: u64, value: u32) -> Result<(), BusError>;

    /// Copies bytes into a mapped part of a BAR (pushed descriptors), in whole 8-byte words.
    ///
    /// # Errors
    ///
    /// When the function is gone or that part is not mapped.
    fn push(&self, bar: u8, offset: u64, bytes: &[u8]) -> Result<(), BusError>;

    /// Waits until a vector was raised, and takes that back; `false` when `timeout` passed.
    ///
    /// # Errors
    ///
    /// When the function is gone or has no such vector.
    fn wait(&self, vector: u16, timeout: Duration) -> Result<bool, BusError>;
}
