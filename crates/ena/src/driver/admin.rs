//! Commands to the device, one at a time, and the registers.

use std::time::Duration;

use trinic_pci::{Bus, Memory};
use zerocopy::byteorder::U16;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::DriverError;
use super::ring::zero;
use crate::spec::admin::{
    COMMAND_ID_MASK, Command, Completion, ControlBuffer, ENTRY_BYTES, MemoryAddress, Opcode, Status,
};
use crate::spec::feature::{FeatureCommand, FeatureHeader, FeatureId};
use crate::spec::registers::{QueueCaps, Register, RegisterRead};

/// Entries of the admin rings. Source: `ENA_ADMIN_QUEUE_DEPTH`.
pub(super) const ADMIN_DEPTH: u16 = 32;

/// How long a command may take. Source: `ADMIN_CMD_TIMEOUT_US`.
const ADMIN_TIMEOUT_MS: u32 = 3000;

/// How long a readless read may take. Source: `ENA_REG_READ_TIMEOUT`.
const READLESS_TIMEOUT_MS: u32 = 200;

/// Looks at memory before the first wait.
const SPINS: u32 = 2000;

/// Management vector. Source: `ENA_MGMNT_IRQ_IDX`.
pub(super) const MANAGEMENT_VECTOR: u16 = 0;

/// The driver's end of the admin queue.
#[derive(Debug)]
pub(super) struct Admin {
    /// Admin ring, completion ring behind it, then the answer of a readless read.
    base: u64,
    /// A page for control buffers.
    pub(super) control: u64,
    is_readless: bool,
    read_sequence: u16,
    tail: u16,
    next_id: u16,
}

/// Bytes of the admin queue's memory.
pub(super) const ADMIN_BYTES: usize = ADMIN_DEPTH as usize * ENTRY_BYTES * 2 + 64;

impl Admin {
    pub(super) fn new(base: u64, control: u64, is_readless: bool) -> Self {
        Self {
            base,
            control,
            is_readless,
            read_sequence: 0,
            tail: 0,
            next_id: 0,
        }
    }

    fn completions(&self) -> u64 {
        self.base + u64::from(ADMIN_DEPTH) * 64
    }

    fn response(&self) -> u64 {
        self.completions() + u64::from(ADMIN_DEPTH) * 64
    }

    /// Tells the device where answers of readless reads go.
    pub(super) fn announce_response<B: Bus>(&self, bus: &B) -> Result<(), DriverError> {
        write64(bus, Register::MMIO_RESP_LO, self.response())
    }

    /// Reads a register.
    pub(super) fn read<B: Bus>(&mut self, bus: &B, register: Register) -> Result<u32, DriverError> {
        let value = if self.is_readless {
            self.read_readless(bus, register)?
        } else {
            bus.register_read(0, u64::from(register.0))?
        };
        if value == u32::MAX {
            return Err(DriverError::Unresponsive(register.0));
        }
        Ok(value)
    }

    fn read_readless<B: Bus>(&mut self, bus: &B, register: Register) -> Result<u32, DriverError> {
        self.read_sequence = self.read_sequence.wrapping_add(1);
        let preset = self.read_sequence.wrapping_add(0xdead);
        let memory = bus.memory();
        memory.store_u32(self.response(), u32::from(preset))?;
        let ask = RegisterRead::new()
            .with_request_id(self.read_sequence)
            .with_offset(register.0);
        write(bus, Register::MMIO_REG_READ, ask.into_bits())?;
        let is_there = wait_until(bus, READLESS_TIMEOUT_MS, || {
            Ok(memory.load_u32(self.response())? & 0xffff == u32::from(self.read_sequence))
        })?;
        let first = memory.load_u32(self.response())?;
        if !is_there || first >> 16 != u32::from(register.0) {
            return Err(DriverError::Unresponsive(register.0));
        }
        Ok(memory.load_u32(self.response() + 4)?)
    }

    /// Makes the rings.
    pub(super) fn start<B: Bus>(&mut self, bus: &B) -> Result<(), DriverError> {
        zero(
            bus.memory(),
            self.base,
            usize::from(ADMIN_DEPTH) * ENTRY_BYTES * 2,
        )?;
        (self.tail, self.next_id) = (0, 0);
        let caps = QueueCaps::new()
            .with_depth(ADMIN_DEPTH)
            .with_entry_bytes(u16::try_from(ENTRY_BYTES).unwrap_or_default());
        write64(bus, Register::AQ_BASE_LO, self.base)?;
        write64(bus, Register::ACQ_BASE_LO, self.completions())?;
        write(bus, Register::AQ_CAPS, caps.into_bits())?;
        write(bus, Register::ACQ_CAPS, caps.into_bits())
    }

    /// Gives a command and waits for its completion, which must say success.
    pub(super) fn execute<B: Bus>(
        &mut self,
        bus: &B,
        mut command: Command,
    ) -> Result<Completion, DriverError> {
        let memory = bus.memory();
        let id = self.next_id & COMMAND_ID_MASK;
        self.next_id = self.next_id.wrapping_add(1);
        let index = u64::from(self.tail % ADMIN_DEPTH) * 64;
        let phase = (self.tail / ADMIN_DEPTH).is_multiple_of(2);
        command.header.command_id = U16::new(id);
        command.header.flags.set_phase(phase);
        memory.write(self.base + index, command.as_bytes())?;
        self.tail = self.tail.wrapping_add(1);
        write(bus, Register::AQ_DB, u32::from(self.tail))?;
        let at = self.completions() + index;
        let is_done = |word: u32| (word >> 24 & 1 == 1) == phase;
        let is_there = wait_until(bus, ADMIN_TIMEOUT_MS, || Ok(is_done(memory.load_u32(at)?)))?;
        let opcode = command.opcode();
        if !is_there {
            return Err(DriverError::AdminTimeout(opcode));
        }
        let mut bytes = [0; ENTRY_BYTES];
        memory.read(at, &mut bytes)?;
        let completion = Completion::read_from_bytes(&bytes).unwrap_or_else(|_| Completion::new_zeroed());
        let got = completion.header.command_id.get() & COMMAND_ID_MASK;
        if got != id {
            return Err(DriverError::AdminMismatch { expected: id, got });
        }
        match completion.status() {
            Status::SUCCESS => Ok(completion),
            status => Err(DriverError::Refused { opcode, status }),
        }
    }

    /// Reads a feature; `buffer_bytes` of the control buffer go with the command.
    pub(super) fn get<B: Bus, T: FromBytes + FromZeros>(
        &mut self,
        bus: &B,
        id: FeatureId,
        version: u8,
        buffer_bytes: u32,
    ) -> Result<T, DriverError> {
        let command = self.feature(Opcode::GET_FEATURE, id, version, buffer_bytes, &[]);
        Ok(self.execute(bus, command)?.payload())
    }

    /// Sets a feature.
    pub(super) fn set<B: Bus>(
        &mut self,
        bus: &B,
        id: FeatureId,
        payload: &(impl IntoBytes + Immutable),
        buffer_bytes: u32,
    ) -> Result<(), DriverError> {
        let command = self.feature(Opcode::SET_FEATURE, id, 0, buffer_bytes, payload.as_bytes());
        self.execute(bus, command).map(drop)
    }

    fn feature(
        &self,
        opcode: Opcode,
        id: FeatureId,
        version: u8,
        buffer_bytes: u32,
        payload: &[u8],
    ) -> Command {
        let mut body = FeatureCommand {
            control_buffer: self.control_buffer(buffer_bytes),
            header: FeatureHeader {
                flags: 0,
                feature_id: id.0,
                version,
                reserved: 0,
            },
            payload: [0; 44],
        };
        if let Some(to) = body.payload.get_mut(..payload.len()) {
            to.copy_from_slice(payload);
        }
        let mut command = Command::new(opcode, &body);
        if buffer_bytes != 0 {
            command.header.flags.set_control_data_indirect(true);
        }
        command
    }

    /// The control buffer as commands name it.
    pub(super) fn control_buffer(&self, bytes: u32) -> ControlBuffer {
        let address = if bytes == 0 { 0 } else { self.control };
        ControlBuffer {
            length: bytes.into(),
            address: MemoryAddress::new(address),
        }
    }
}

/// Writes a register.
pub(super) fn write<B: Bus>(bus: &B, register: Register, value: u32) -> Result<(), DriverError> {
    Ok(bus.register_write(0, u64::from(register.0), value)?)
}

/// Writes an address into a pair of registers, low word first.
pub(super) fn write64<B: Bus>(bus: &B, low: Register, value: u64) -> Result<(), DriverError> {
    let word = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    write(bus, low, word(value))?;
    write(bus, Register(low.0 + 4), word(value >> 32))
}

/// Looks until something is true, at most about `timeout_ms`; a bus without interrupts is only looked at often.
pub(super) fn wait_until<B: Bus>(
    bus: &B,
    timeout_ms: u32,
    mut is_done: impl FnMut() -> Result<bool, DriverError>,
) -> Result<bool, DriverError> {
    for _ in 0..SPINS {
        if is_done()? {
            return Ok(true);
        }
        std::hint::spin_loop();
    }
    for _ in 0..timeout_ms {
        bus.wait(MANAGEMENT_VECTOR, Duration::from_millis(1))?;
        if is_done()? {
            return Ok(true);
        }
    }
    Ok(false)
}
