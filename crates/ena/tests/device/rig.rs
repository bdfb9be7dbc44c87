//! A device with memory, interrupts and a datapath that only takes notes, and a driver that goes by the book.

use trinic_ena::datapath::{Allowances, Change, DatapathGone, Link, Statistics};
use trinic_ena::device::{Config, Device, Refusal, TraceEvent, TraceRecord};
use trinic_ena::spec::admin::{Command, Completion, MemoryAddress, Opcode, Status};
use trinic_ena::spec::aenq::Event;
use trinic_ena::spec::feature::{FeatureCommand, FeatureHeader, FeatureId, HostAttributes};
use trinic_ena::spec::host_info::HostInfo;
use trinic_ena::spec::registers::{DeviceControl, Register, ResetReason};
use trinic_pci::testing::{PlainInterrupts, PlainMemory};
use trinic_pci::{Function, Memory};
use trinic_wire::time::Instant;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

pub(crate) const MEMORY: u64 = 0x10_0000;
pub(crate) const MEMORY_BYTES: usize = 0x10_0000;
pub(crate) const AQ: u64 = MEMORY;
pub(crate) const ACQ: u64 = MEMORY + 0x1000;
pub(crate) const AENQ: u64 = MEMORY + 0x2000;
pub(crate) const HOST_INFO: u64 = MEMORY + 0x3000;
pub(crate) const BUFFER: u64 = MEMORY + 0x4000;
pub(crate) const RESPONSE: u64 = MEMORY + 0x5000;
pub(crate) const RINGS: u64 = MEMORY + 0x1_0000;

pub(crate) const MAC: [u8; 6] = [2, 0x11, 0x22, 0x33, 0x44, 0x55];

/// A datapath that takes notes.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) changes: Vec<Change>,
    pub(crate) statistics: Statistics,
    pub(crate) is_gone: bool,
}

impl Link for Notes {
    fn apply(&mut self, change: Change) -> Result<(), DatapathGone> {
        if self.is_gone {
            return Err(DatapathGone);
        }
        self.changes.push(change);
        Ok(())
    }

    fn statistics(&mut self) -> Result<Statistics, DatapathGone> {
        if self.is_gone {
            return Err(DatapathGone);
        }
        Ok(self.statistics)
    }
}

/// Numbers that all differ.
pub(crate) fn statistics() -> Statistics {
    Statistics {
        tx_bytes: 0x1_0000_0001,
        tx_packets: 2,
        tx_drops: 3,
        rx_bytes: 0x1_0000_0004,
        rx_packets: 5,
        rx_drops: 6,
        rx_overruns: 7,
        allowances: Allowances {
            bw_in_exceeded: 11,
            bw_out_exceeded: 12,
            pps_exceeded: 13,
            conntrack_exceeded: 14,
            linklocal_exceeded: 15,
            conntrack_available: 16,
        },
    }
}

pub(crate) struct Rig {
    pub(crate) memory: PlainMemory,
    pub(crate) interrupts: PlainInterrupts,
    pub(crate) device: Device<PlainMemory, PlainInterrupts, Notes>,
    pub(crate) depth: u16,
    pub(crate) aenq_depth: u16,
    pub(crate) tail: u16,
    taken: u16,
    handled: u16,
    sequence: u16,
}

impl Rig {
    /// At power-on.
    pub(crate) fn new(config: Config) -> Self {
        let memory = PlainMemory::new(MEMORY, MEMORY_BYTES);
        let interrupts = PlainInterrupts::new();
        let notes = Notes {
            statistics: statistics(),
            ..Notes::default()
        };
        let device = Device::new(config, memory.clone(), interrupts.clone(), notes).unwrap();
        Self {
            memory,
            interrupts,
            device,
            depth: 32,
            aenq_depth: 16,
            tail: 0,
            taken: 0,
            handled: 0,
            sequence: 0,
        }
    }

    /// Four queue pairs, everything on.
    pub(crate) fn config() -> Config {
        Config {
            queue_pairs: 4,
            trace_records: 10_000,
            ..Config::new(MAC)
        }
    }

    /// With an admin queue, no more.
    pub(crate) fn with_admin() -> Self {
        Self::with_admin_of(Self::config())
    }

    pub(crate) fn with_admin_of(config: Config) -> Self {
        let mut rig = Self::new(config);
        rig.set_up_admin();
        rig
    }

    pub(crate) fn write(&mut self, register: Register, value: u32) {
        self.device
            .bar_write(0, u64::from(register.0), &value.to_le_bytes());
    }

    /// A plain load.
    pub(crate) fn read(&mut self, register: Register) -> u32 {
        let mut bytes = [0; 4];
        self.device.bar_read(0, u64::from(register.0), &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Gives the address for readless reads.
    pub(crate) fn set_response(&mut self) {
        self.write(Register::MMIO_RESP_LO, low(RESPONSE));
        self.write(Register::MMIO_RESP_HI, high(RESPONSE));
    }

    /// As `ena_com_reg_bar_read32` does it; `None` = no answer.
    pub(crate) fn read_readless(&mut self, register: Register) -> Option<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let preset = self.sequence.wrapping_add(0xdead);
        self.memory.write(RESPONSE, &preset.to_le_bytes()).unwrap();
        let request = u32::from(register.0) << 16 | u32::from(self.sequence);
        self.write(Register::MMIO_REG_READ, request);
        let answer: [u8; 8] = self.bytes(RESPONSE);
        let [a, b, c, d, value @ ..] = answer;
        if u16::from_le_bytes([a, b]) != self.sequence {
            return None;
        }
        assert_eq!(u16::from_le_bytes([c, d]), register.0);
        Some(u32::from_le_bytes(value))
    }

    pub(crate) fn reset(&mut self, reason: ResetReason) {
        self.write(Register::DEV_CTL, DeviceControl::new_reset(reason).into_bits());
        self.set_response();
        assert_eq!(self.read_readless(Register::DEV_STS), Some(0x8));
        self.write(Register::DEV_CTL, 0);
        assert_eq!(self.read_readless(Register::DEV_STS), Some(0x1));
    }

    /// Writes the registers of all three rings.
    pub(crate) fn set_up_admin(&mut self) {
        (self.tail, self.taken, self.handled) = (0, 0, 0);
        self.memory.write(AQ, &[0; 0x3000]).unwrap();
        for (low_half, high_half, caps, base, depth) in [
            (
                Register::AQ_BASE_LO,
                Register::AQ_BASE_HI,
                Register::AQ_CAPS,
                AQ,
                self.depth,
            ),
            (
                Register::ACQ_BASE_LO,
                Register::ACQ_BASE_HI,
                Register::ACQ_CAPS,
                ACQ,
                self.depth,
            ),
            (
                Register::AENQ_BASE_LO,
                Register::AENQ_BASE_HI,
                Register::AENQ_CAPS,
                AENQ,
                self.aenq_depth,
            ),
        ] {
            self.write(low_half, low(base));
            self.write(high_half, high(base));
            self.write(caps, 64 << 16 | u32::from(depth));
        }
    }

    /// Writes a command and does not announce it.
    pub(crate) fn put(&mut self, command: &Command) -> u16 {
        let mut command = *command;
        let id = self.tail % self.depth;
        command.header.command_id.set(id);
        let phase = (self.tail / self.depth).is_multiple_of(2);
        command.header.flags.set_phase(phase);
        let address = AQ + u64::from(self.tail % self.depth) * 64;
        self.memory.write(address, command.as_bytes()).unwrap();
        self.tail = self.tail.wrapping_add(1);
        id
    }

    pub(crate) fn ring(&mut self) {
        self.write(Register::AQ_DB, u32::from(self.tail));
    }

    /// The next completion, if its phase says that it is there.
    pub(crate) fn completion(&mut self) -> Option<Completion> {
        let address = ACQ + u64::from(self.taken % self.depth) * 64;
        let completion = Completion::read_from_bytes(&self.bytes::<64>(address)).unwrap();
        let phase = (self.taken / self.depth).is_multiple_of(2);
        if (completion.header.flags & 1 == 1) != phase {
            return None;
        }
        self.taken = self.taken.wrapping_add(1);
        Some(completion)
    }

    /// One command by the book.
    pub(crate) fn submit(&mut self, command: &Command) -> Completion {
        let id = self.put(command);
        self.ring();
        let completion = self.completion().expect("A command was not completed");
        assert_eq!(completion.header.command_id.get(), id);
        assert_eq!(completion.header.sq_head.get(), self.tail);
        completion
    }

    /// A command that must be done.
    pub(crate) fn done(&mut self, command: &Command) -> Completion {
        let completion = self.submit(command);
        assert_eq!(completion.status(), Status::SUCCESS, "{}", self.last_trace());
        completion
    }

    /// A command that must be refused for this reason.
    pub(crate) fn refused(&mut self, command: &Command, refusal: Refusal) {
        let before = self.device.refusals().get(refusal);
        let completion = self.submit(command);
        assert_eq!(completion.status(), refusal.status(), "{}", self.last_trace());
        assert_eq!(completion.payload, [0; 56]);
        assert_eq!(
            self.device.refusals().get(refusal),
            before + 1,
            "{}",
            self.last_trace()
        );
        let last = self.last_trace();
        assert!(
            last.ends_with(&format!("{}: {refusal}", refusal.name())),
            "{last}"
        );
    }

    pub(crate) fn last_trace(&mut self) -> String {
        let is_command = |record: &TraceRecord| matches!(record.event, TraceEvent::Command { .. });
        let last = self.device.drain_trace().rfind(is_command);
        last.map_or_else(String::new, |record| record.to_string())
    }

    /// The next event, if there is one; its entry is given back.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let event = self.peek_event()?;
        self.handled = self.handled.wrapping_add(1);
        let head = self.handled.wrapping_add(self.aenq_depth);
        self.write(Register::AENQ_HEAD_DB, u32::from(head));
        Some(event)
    }

    pub(crate) fn peek_event(&self) -> Option<Event> {
        let address = AENQ + u64::from(self.handled % self.aenq_depth) * 64;
        let event = Event::read_from_bytes(&self.bytes::<64>(address)).unwrap();
        let phase = (self.handled / self.aenq_depth).is_multiple_of(2);
        ((event.flags & 1 == 1) == phase).then_some(event)
    }

    pub(crate) fn open_events(&mut self) {
        self.write(Register::AENQ_HEAD_DB, u32::from(self.aenq_depth));
    }

    /// Passes time as a carrier does: whenever the device wants to be called.
    pub(crate) fn run_until(&mut self, milliseconds: u64) {
        let end = Instant::from_nanos(milliseconds * 1_000_000);
        while let Some(due) = self.device.poll_timeout()
            && due <= end
        {
            self.device.handle_timeout(due);
        }
        self.device.handle_timeout(end);
    }

    pub(crate) fn bytes<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(address, &mut bytes).unwrap();
        bytes
    }

    pub(crate) fn set_host_attributes(&mut self) {
        let mut info = HostInfo::new_zeroed();
        info.os_type.set(1);
        info.os_distribution[..6].copy_from_slice(b"6.12.1");
        info.driver_version.set(0x0003_1102);
        info.bdf.set(0x0028);
        info.cpu_count.set(4);
        self.memory.write(HOST_INFO, info.as_bytes()).unwrap();
        let attributes = HostAttributes {
            host_info: MemoryAddress::new(HOST_INFO),
            debug_area: MemoryAddress::new(0),
            debug_area_bytes: 0.into(),
        };
        self.done(&set(FeatureId::HOST_ATTRIBUTES, &attributes));
    }
}

pub(crate) fn low(address: u64) -> u32 {
    u32::try_from(address & 0xffff_ffff).unwrap()
}

pub(crate) fn high(address: u64) -> u32 {
    u32::try_from(address >> 32).unwrap()
}

fn feature(opcode: Opcode, id: FeatureId, payload: &[u8], buffer: (u64, u32)) -> Command {
    let mut body = FeatureCommand::new_zeroed();
    body.header = FeatureHeader {
        flags: 0,
        feature_id: id.0,
        version: 0,
        reserved: 0,
    };
    body.payload[..payload.len()].copy_from_slice(payload);
    body.control_buffer.address = MemoryAddress::new(buffer.0);
    body.control_buffer.length.set(buffer.1);
    let mut command = Command::new(opcode, &body);
    // Drivers say "indirect" and mean the buffer itself.
    command.header.flags.set_control_data_indirect(buffer.1 != 0);
    command
}

pub(crate) fn get(id: FeatureId) -> Command {
    feature(Opcode::GET_FEATURE, id, &[], (0, 0))
}

pub(crate) fn get_with(id: FeatureId, length: u32) -> Command {
    feature(Opcode::GET_FEATURE, id, &[], (BUFFER, length))
}

pub(crate) fn set<T: IntoBytes + Immutable>(id: FeatureId, payload: &T) -> Command {
    feature(Opcode::SET_FEATURE, id, payload.as_bytes(), (0, 0))
}

pub(crate) fn set_with<T: IntoBytes + Immutable>(id: FeatureId, payload: &T, length: u32) -> Command {
    feature(Opcode::SET_FEATURE, id, payload.as_bytes(), (BUFFER, length))
}
