//! A bus in one process: it joins a driver to a device model by plain memory, for tests and programs that want
//! no other process.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trinic_pci::bus::BusError;
use trinic_pci::testing::{PlainInterrupts, PlainRegisters};
use trinic_pci::{Bus, Function, Interrupts, Memory, SharedMemory};

use crate::datapath::{Change, Datapath, DatapathGone, Link, Statistics};
use crate::device::layout;

/// The way from a control half to a datapath half that another part of the process owns.
#[derive(Debug)]
pub struct DirectLink<M, R, I>(Arc<Mutex<Datapath<M, R, I>>>);

impl<M, R, I> DirectLink<M, R, I> {
    /// A link to this datapath.
    pub fn new(datapath: Datapath<M, R, I>) -> Self {
        Self(Arc::new(Mutex::new(datapath)))
    }

    /// The datapath, for one round.
    pub fn lock(&self) -> MutexGuard<'_, Datapath<M, R, I>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M, R, I> Clone for DirectLink<M, R, I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Memory, R: SharedMemory, I: Interrupts> Link for DirectLink<M, R, I> {
    fn apply(&mut self, change: Change) -> Result<(), DatapathGone> {
        self.lock().apply(change);
        Ok(())
    }

    fn statistics(&mut self) -> Result<Statistics, DatapathGone> {
        Ok(self.lock().statistics())
    }
}

/// A bus with one function on it.
pub struct Loopback<F, M> {
    function: Arc<Mutex<F>>,
    memory: M,
    registers: PlainRegisters,
    pushed: Option<PlainRegisters>,
    interrupts: PlainInterrupts,
    /// The next free bus address, and the end of the memory.
    next: AtomicU64,
    end: u64,
}

impl<F: Function, M: Memory> Loopback<F, M> {
    /// Joins a driver to `function`, which has this memory (from bus address `base` on, `length` bytes, all the
    /// driver's), these mapped registers of BAR 0 and BAR 2, and these interrupts.
    pub fn new(
        function: Arc<Mutex<F>>,
        memory: M,
        base: u64,
        length: u64,
        registers: PlainRegisters,
        pushed: Option<PlainRegisters>,
        interrupts: PlainInterrupts,
    ) -> Self {
        Self {
            function,
            memory,
            registers,
            pushed,
            interrupts,
            next: AtomicU64::new(base),
            end: base.saturating_add(length),
        }
    }

    /// The function.
    pub fn function(&self) -> MutexGuard<'_, F> {
        self.function.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mapped(&self, bar: u8, offset: u64) -> Option<&PlainRegisters> {
        match bar {
            0 if (layout::BAR0_MAPPED_START..layout::BAR0_MAPPED_END).contains(&offset) => {
                Some(&self.registers)
            }
            2 => self.pushed.as_ref(),
            _ => None,
        }
    }
}

impl<F: Function, M: Memory> Bus for Loopback<F, M> {
    type Memory = M;

    fn memory(&self) -> &M {
        &self.memory
    }

    fn allocate(&mut self, length: usize, align: usize) -> Result<u64, BusError> {
        let none = BusError::OutOfMemory(length);
        let next = self.next.get_mut();
        let align = u64::try_from(align).map_err(|_| none.clone())?;
        let start = next.checked_next_multiple_of(align).ok_or_else(|| none.clone())?;
        let end = u64::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .filter(|end| *end <= self.end)
            .ok_or(none)?;
        *next = end;
        Ok(start)
    }

    fn register_read(&self, bar: u8, offset: u64) -> Result<u32, BusError> {
        if let Some(registers) = self.mapped(bar, offset) {
            return Ok(registers.load_u32(offset));
        }
        let mut bytes = [0; 4];
        self.function().bar_read(bar, offset, &mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn register_write(&self, bar: u8, offset: u64, value: u32) -> Result<(), BusError> {
        if let Some(registers) = self.mapped(bar, offset) {
            registers.store_u32(offset, value);
        } else {
            self.function().bar_write(bar, offset, &value.to_le_bytes());
        }
        Ok(())
    }

    fn push(&self, bar: u8, offset: u64, bytes: &[u8]) -> Result<(), BusError> {
        let pushed = self
            .mapped(bar, offset)
            .ok_or_else(|| BusError::Protocol("that part of the BAR is not mapped".to_owned()))?;
        for (at, word) in (offset..).step_by(4).zip(bytes.as_chunks::<4>().0) {
            pushed.store_u32(at, u32::from_le_bytes(*word));
        }
        Ok(())
    }

    /// Does not sleep: whoever moves the packets is in this process, and may be this thread.
    fn wait(&self, vector: u16, _timeout: Duration) -> Result<bool, BusError> {
        std::hint::spin_loop();
        Ok(self.interrupts.take(vector) > 0)
    }
}

impl<F, M: fmt::Debug> fmt::Debug for Loopback<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loopback")
            .field("memory", &self.memory)
            .field("next", &self.next.load(Ordering::Relaxed))
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
