//! A PCI function as whatever carries it sees it.

use std::ops::Range;

use trinic_wire::time::Instant;

/// One base address register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarSpec {
    /// Its number, 0 to 5. A 64-bit BAR takes this and the next one.
    pub index: u8,
    /// Bytes: a power of two, at least 16.
    pub size_bytes: u64,
    /// It takes 64-bit addresses.
    pub is_64bit: bool,
    /// Reading it has no side effect.
    pub is_prefetchable: bool,
    /// The parts (in whole pages of 4 KiB) that the driver maps and reaches without a call.
    pub mapped: Vec<Range<u64>>,
}

/// A PCI function: registers in, memory accesses and interrupts out.
///
/// One thread calls it at a time. Accesses have 1, 2, 4 or 8 bytes for BARs; anything else, and anything
/// outside, reads as ones and is ignored when written (and counted by the function).
pub trait Function {
    /// Its base address registers.
    fn bars(&self) -> &[BarSpec];

    /// MSI-X vectors.
    fn vector_count(&self) -> u16;

    /// Reads config space; what lies beyond it reads as zeros.
    fn config_read(&mut self, offset: u16, data: &mut [u8]);

    /// Writes config space. A function-level reset (PCIe device control, bit 15) happens inside.
    fn config_write(&mut self, offset: u16, data: &[u8]);

    /// Reads a part of a BAR that is not mapped.
    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]);

    /// Writes a part of a BAR that is not mapped.
    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]);

    /// Everything back to power-on: a reset by the bus, or the client went away. Queues are gone when this
    /// returns.
    fn reset(&mut self);

    /// Memory was taken away from the function. When this returns, no thread that serves it uses what is not
    /// mapped any more; only then may the carrier let go of the memory and answer its client.
    fn memory_changed(&mut self);

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    fn poll_timeout(&self) -> Option<Instant>;

    /// Does what is due by `now`; call it when [`Self::poll_timeout`]'s time has come, and ask that again.
    fn handle_timeout(&mut self, now: Instant);
}

impl<F: Function + ?Sized> Function for Box<F> {
    fn bars(&self) -> &[BarSpec] {
        (**self).bars()
    }

    fn vector_count(&self) -> u16 {
        (**self).vector_count()
    }

    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        (**self).config_read(offset, data);
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        (**self).config_write(offset, data);
    }

    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        (**self).bar_read(bar, offset, data);
    }

    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        (**self).bar_write(bar, offset, data);
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn memory_changed(&mut self) {
        (**self).memory_changed();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (**self).poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        (**self).handle_timeout(now);
    }
}
