//! A part of a BAR that the driver maps: doorbells and pushed descriptors, which it writes without a call
//! that the device would see.

use std::fmt::Debug;

/// Words of a mapped part of a BAR. Offsets are bytes from the start of the BAR. Clones reach the same words.
///
/// Reads outside the mapped part give all ones and writes are ignored, as on a bus.
pub trait SharedMemory: Clone + Debug {
    /// Reads a word at a multiple of 4; what the driver wrote before it is visible after.
    fn load_u32(&self, offset: u64) -> u32;

    /// Writes a word at a multiple of 4.
    fn store_u32(&self, offset: u64, value: u32);

    /// Takes a word at a multiple of 4 and leaves 0: how a register is consumed whose every write counts.
    fn take_u32(&self, offset: u64) -> u32;

    /// Copies bytes out of it.
    fn read(&self, offset: u64, into: &mut [u8]);
}
