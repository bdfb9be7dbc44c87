//! The registers of BAR 0's first page.

use trinic_pci::admin::{CompletionRing, ENTRY_BYTES, EventRing, RingError, SubmissionRing};
use trinic_pci::readless::ReadlessError;
use trinic_pci::{Interrupts, Memory};

use super::describe::DriverState;
use super::{Device, Refusal, TraceEvent};
use crate::datapath::Link;
use crate::spec::registers::{
    Caps, ControllerVersion, DeviceControl, QueueCaps, Register, RegisterRead, Version,
};

/// What the driver wrote about its rings. A ring is made of it when its doorbell is first rung.
#[derive(Debug, Default)]
pub(super) struct Registers {
    aq: RingRegisters,
    acq: RingRegisters,
    aenq: RingRegisters,
    interrupt_mask: u32,
}

impl Registers {
    pub(super) const fn is_management_masked(&self) -> bool {
        self.interrupt_mask != 0
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct RingRegisters {
    low: u32,
    high: u32,
    caps: u32,
}

impl RingRegisters {
    fn base(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    /// As after a reset.
    fn is_untouched(self) -> bool {
        self.base() == 0 && self.caps == 0
    }

    /// Address and depth, where they can be.
    fn place(self) -> Result<(u64, u16), RingError> {
        let caps = QueueCaps::from_bits(self.caps);
        if usize::from(caps.entry_bytes()) != ENTRY_BYTES {
            return Err(RingError::EntrySize(caps.entry_bytes()));
        }
        if self.base() >> DMA_WIDTH != 0 {
            return Err(RingError::Address(self.base()));
        }
        Ok((self.base(), caps.depth()))
    }
}

/// Bits of an address. Source: `ENA_MAX_PHYS_ADDR_SIZE_BITS`, `ena_com.h`.
pub(super) const DMA_WIDTH: u8 = 48;

/// How long a reset may take, in units of 100 ms; ours takes none.
const RESET_TIMEOUT: u8 = 10;

impl<M: Memory, I: Interrupts, L: Link> Device<M, I, L> {
    /// Whole registers, or a part of one.
    pub(super) fn read_registers(&mut self, offset: u64, data: &mut [u8]) {
        let Ok(start) = u16::try_from(offset) else {
            data.fill(u8::MAX);
            return self.refuse(Refusal::OutsideBar);
        };
        let within = usize::from(start % 4);
        match data.len() {
            4 if within == 0 => data.copy_from_slice(&self.read_register(start, false).to_le_bytes()),
            8 if within == 0 => {
                let (low, high) = data.split_at_mut(4);
                low.copy_from_slice(&self.read_register(start, false).to_le_bytes());
                high.copy_from_slice(&self.read_register(start + 4, false).to_le_bytes());
            }
            length @ (1 | 2) if within + length <= 4 => {
                let bytes = self.read_register(start - start % 4, false).to_le_bytes();
                data.copy_from_slice(&bytes[within..within + length]);
            }
            _ => {
                data.fill(u8::MAX);
                self.refuse(Refusal::AccessSize);
            }
        }
    }

    /// Whole registers.
    pub(super) fn write_registers(&mut self, offset: u64, data: &[u8]) {
        let Ok(start) = u16::try_from(offset) else {
            return self.refuse(Refusal::OutsideBar);
        };
        match *data {
            [a, b, c, d] if start.is_multiple_of(4) => {
                self.write_register(Register(start), u32::from_le_bytes([a, b, c, d]));
            }
            [a, b, c, d, e, f, g, h] if start.is_multiple_of(4) => {
                self.write_register(Register(start), u32::from_le_bytes([a, b, c, d]));
                self.write_register(Register(start + 4), u32::from_le_bytes([e, f, g, h]));
            }
            _ => self.refuse(Refusal::AccessSize),
        }
    }

    fn read_register(&mut self, offset: u16, is_readless: bool) -> u32 {
        let register = Register(offset);
        let known = self.register(register);
        let value = known.unwrap_or(u32::MAX);
        self.trace.add(|| TraceEvent::RegisterRead {
            register,
            value,
            is_readless,
        });
        if known.is_none() {
            self.refuse(Refusal::UnknownRegister);
        }
        value
    }

    fn register(&self, register: Register) -> Option<u32> {
        let rings = &self.registers;
        Some(match register {
            Register::VERSION => Version::new().with_major(2).into_bits(),
            Register::CONTROLLER_VERSION => ControllerVersion::new().with_subminor(1).into_bits(),
            Register::CAPS => Caps::new()
                .with_contiguous_queues(true)
                .with_reset_timeout(RESET_TIMEOUT)
                .with_dma_address_width(DMA_WIDTH)
                .into_bits(),
            Register::AQ_BASE_LO => rings.aq.low,
            Register::AQ_BASE_HI => rings.aq.high,
            Register::AQ_CAPS => rings.aq.caps,
            Register::ACQ_BASE_LO => rings.acq.low,
            Register::ACQ_BASE_HI => rings.acq.high,
            Register::ACQ_CAPS => rings.acq.caps,
            Register::AENQ_BASE_LO => rings.aenq.low,
            Register::AENQ_BASE_HI => rings.aenq.high,
            Register::AENQ_CAPS => rings.aenq.caps,
            Register::INTR_MASK => rings.interrupt_mask,
            Register::DEV_STS => self.status.into_bits(),
            // No driver reads these; they are there and have nothing to tell.
            Register::CAPS_EXT
            | Register::AQ_DB
            | Register::ACQ_TAIL
            | Register::AENQ_HEAD_DB
            | Register::AENQ_TAIL
            | Register::DEV_CTL
            | Register::MMIO_REG_READ
            | Register::MMIO_RESP_LO
            | Register::MMIO_RESP_HI => 0,
            _ => return None,
        })
    }

    fn write_register(&mut self, register: Register, value: u32) {
        // A readless request is one line with what it reads.
        if register != Register::MMIO_REG_READ {
            self.trace.add(|| TraceEvent::RegisterWrite { register, value });
        }
        let rings = &mut self.registers;
        match register {
            Register::AQ_BASE_LO => rings.aq.low = value,
            Register::AQ_BASE_HI => rings.aq.high = value,
            Register::AQ_CAPS => rings.aq.caps = value,
            Register::ACQ_BASE_LO => rings.acq.low = value,
            Register::ACQ_BASE_HI => rings.acq.high = value,
            Register::ACQ_CAPS => rings.acq.caps = value,
            Register::AENQ_BASE_LO => rings.aenq.low = value,
            Register::AENQ_BASE_HI => rings.aenq.high = value,
            Register::AENQ_CAPS => rings.aenq.caps = value,
            Register::INTR_MASK => rings.interrupt_mask = value,
            Register::AQ_DB => self.admin_doorbell(low_half(value)),
            Register::AENQ_HEAD_DB => self.event_doorbell(low_half(value)),
            Register::DEV_CTL => self.device_control(DeviceControl::from_bits(value)),
            Register::MMIO_REG_READ => self.readless_read(RegisterRead::from_bits(value)),
            Register::MMIO_RESP_LO => self.readless.set_low(value),
            Register::MMIO_RESP_HI => self.readless.set_high(value),
            Register::VERSION
            | Register::CONTROLLER_VERSION
            | Register::CAPS
            | Register::CAPS_EXT
            | Register::ACQ_TAIL
            | Register::AENQ_TAIL
            | Register::DEV_STS => self.refuse(Refusal::ReadOnlyRegister),
            _ => self.refuse(Refusal::UnknownRegister),
        }
        self.after_write(register);
    }

    /// What a register's new value means for what was made of the old one.
    fn after_write(&mut self, register: Register) {
        match register {
            Register::AQ_BASE_LO | Register::AQ_BASE_HI | Register::AQ_CAPS => {
                self.aq = None;
                self.resets.state = DriverState::Probing;
            }
            Register::ACQ_BASE_LO | Register::ACQ_BASE_HI | Register::ACQ_CAPS => self.acq = None,
            Register::AENQ_BASE_LO | Register::AENQ_BASE_HI | Register::AENQ_CAPS => {
                self.aenq = None;
                self.events.close();
            }
            // A driver that goes takes the address back, and one that comes gives it first.
            Register::MMIO_RESP_LO | Register::MMIO_RESP_HI if !self.status.reset_in_progress() => {
                self.resets.state = match self.readless.address() {
                    0 if self.aq.is_none() => DriverState::NoDriver,
                    _ if self.resets.state == DriverState::NoDriver => DriverState::Probing,
                    _ => self.resets.state,
                };
            }
            _ => {}
        }
    }

    /// The driver spins until this is answered.
    fn readless_read(&mut self, request: RegisterRead) {
        let value = self.read_register(request.offset(), true);
        let answered = self
            .readless
            .answer(&self.memory, request.request_id(), request.offset(), value);
        match answered {
            Ok(()) => {}
            Err(ReadlessError::NoAddress) => self.refuse(Refusal::ReadlessNoAddress),
            Err(_) => self.refuse(Refusal::ReadlessDma),
        }
    }

    /// A reset begins with bit 0 and shows as in progress until that is taken back, or the driver would never
    /// see it (`wait_for_reset_state`).
    fn device_control(&mut self, control: DeviceControl) {
        if control.reset() {
            let reason = control.reason();
            self.trace.add(|| TraceEvent::Reset(reason));
            self.resets.add(reason);
            self.reset_state();
            self.status.set_ready(false);
            self.status.set_reset_in_progress(true);
            self.resets.state = DriverState::Reset;
        } else if self.status.reset_in_progress() {
            self.trace.add(|| TraceEvent::ResetDone);
            self.status.set_reset_in_progress(false);
            self.status.set_ready(true);
        }
        if control.aq_restart() || control.quiescent() || control.io_resume() {
            self.refuse(Refusal::DeviceControl);
        }
    }

    /// The admin queue as the registers say, once there is one.
    pub(super) fn make_admin_queue(&mut self) -> Result<SubmissionRing, Refusal> {
        let place = self.registers.aq.place();
        let (base, depth) = place.map_err(|_| Refusal::AdminQueue)?;
        if self.config.strict && !depth.is_power_of_two() {
            return Err(Refusal::AdminQueueDepth);
        }
        SubmissionRing::new(base, depth).map_err(|_| Refusal::AdminQueue)
    }

    /// The completion queue as the registers say, once there is one.
    pub(super) fn make_completion_queue(&mut self) -> Result<CompletionRing, Refusal> {
        let place = self.registers.acq.place();
        let (base, depth) = place.map_err(|_| Refusal::CompletionQueue)?;
        CompletionRing::new(base, depth).map_err(|_| Refusal::CompletionQueue)
    }

    /// The driver gives entries for events; the first time it makes the queue of what the registers say.
    ///
    /// Linux leaves the interrupt in place while it resets, so it may give back an event of before when the queue
    /// is gone (`ena_remove` frees the interrupt last): that means nothing, and is no mistake.
    fn event_doorbell(&mut self, limit: u16) {
        if self.status.reset_in_progress() || self.registers.aenq.is_untouched() {
            return;
        }
        if self.aenq.is_none() {
            let made = self.registers.aenq.place();
            match made.and_then(|(base, depth)| EventRing::new(base, depth)) {
                Ok(ring) => self.aenq = Some(ring),
                Err(_) => return self.refuse(Refusal::EventQueue),
            }
        }
        let allowed = self.aenq.as_mut().map(|ring| ring.allow(limit));
        if let Some(Err(_)) = allowed {
            return self.refuse(Refusal::EventDoorbell);
        }
        if self.resets.state == DriverState::Probing {
            self.resets.state = DriverState::Running;
        }
        self.events_wanted();
    }
}

/// Doorbells count with 16 bits, whatever is above them.
#[expect(clippy::cast_possible_truncation, reason = "The low half is what counts.")]
const fn low_half(value: u32) -> u16 {
    value as u16
}
