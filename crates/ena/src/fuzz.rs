//! A fuzz function: a driver that does anything must not panic the device, nor make it hand the datapath what
//! the datapath was promised never to see.

mod queues;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trinic_pci::testing::{PlainInterrupts, PlainMemory};
use trinic_pci::{Function, Memory};
use trinic_wire::time::Instant;

use crate::datapath::{Change, CompletionQueue, DatapathGone, Link, Placement, Rss, Statistics};
use crate::device::{Config, Device, Fault, layout};
use crate::spec::admin::Direction;
use crate::spec::registers::Register;

pub use queues::{queue_step, queues};

/// The driver's memory begins here.
pub const MEMORY: u64 = 0x1_0000;

/// Bytes of it: few, so that random addresses are both inside and outside.
pub const MEMORY_BYTES: usize = 0x1_0000;

/// Where [`step::SETUP`] puts the admin queue; the completion queue and the event queue follow, 4 KiB each.
pub const AQ: u64 = MEMORY;

/// Entries of the queues that [`step::SETUP`] makes.
pub const DEPTH: u16 = 8;

/// What a step of a script does, by its first byte modulo [`step::COUNT`]. The second byte is how many bytes
/// follow for it.
pub mod step {
    /// Writes a register: its number (offset / 4), four bytes.
    pub const REGISTER: u8 = 0;
    /// Writes a BAR: which, offset (2 bytes), data.
    pub const WRITE: u8 = 1;
    /// Reads a BAR: which, offset (2 bytes), how much.
    pub const READ: u8 = 2;
    /// Writes memory: offset (2 bytes), data.
    pub const MEMORY: u8 = 3;
    /// Submits a command by the book: opcode, flags, payload.
    pub const COMMAND: u8 = 4;
    /// Lets time pass: milliseconds (2 bytes).
    pub const TIME: u8 = 5;
    /// Writes config space: offset (2 bytes), data.
    pub const CONFIG: u8 = 6;
    /// Something else, by the first byte: a reset, lost mappings, a fault, the cable.
    pub const OTHER: u8 = 7;
    /// Makes the rings, and gives entries for events.
    pub const SETUP: u8 = 8;
    /// How many steps there are.
    pub const COUNT: u8 = 9;
}

/// What a script came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Queues that reached the datapath.
    pub queues: u64,
    /// Changes of RSS that reached the datapath.
    pub rss: u64,
    /// Things that were refused.
    pub refusals: u64,
}

/// Runs a script: a byte that configures the device (bit 0 strict, bit 1 no LLQ, the rest queue pairs), then
/// steps.
pub fn device(script: &[u8]) -> Outcome {
    let Some((first, mut steps)) = script.split_first() else {
        return Outcome::default();
    };
    let mut driver = Driver::new(*first);
    while let [kind, length, rest @ ..] = steps {
        let (data, after) = rest.split_at(rest.len().min(usize::from(*length)));
        driver.step(kind % step::COUNT, data);
        steps = after;
    }
    // Whatever was kept can be told in words.
    let words: usize = driver
        .device
        .drain_trace()
        .map(|record| record.to_string().len())
        .sum();
    assert!(words < TRACE_RECORDS * 1000, "A line of the trace is too long");
    let described = driver.device.describe();
    let refusals = driver.device.refusals().met().map(|(_, count)| count).sum();
    let checker = driver.device.link_mut();
    assert_eq!(described.tx_queues.len(), checker.tx.len());
    assert_eq!(described.rx_queues.len(), checker.rx.len());
    Outcome {
        refusals,
        ..checker.outcome
    }
}

struct Driver {
    memory: PlainMemory,
    device: Device<PlainMemory, PlainInterrupts, Checker>,
    now: Instant,
    tail: u16,
}

impl Driver {
    fn new(choice: u8) -> Self {
        let config = Config {
            strict: choice & 1 == 1,
            llq: choice & 2 == 0,
            disable_meta_caching: choice & 2 == 0,
            queue_pairs: u16::from(choice >> 2) % layout::MAX_QUEUE_PAIRS + 1,
            trace_records: TRACE_RECORDS,
            ..Config::new([2, 0, 0, 0, 0, 1])
        };
        let memory = PlainMemory::new(MEMORY, MEMORY_BYTES);
        let checker = Checker::new(config.clone());
        let made = Device::new(config, memory.clone(), PlainInterrupts::new(), checker);
        let Ok(device) = made else {
            unreachable!("The configuration is one of ours");
        };
        Self {
            memory,
            device,
            now: Instant::ZERO,
            tail: 0,
        }
    }

    fn step(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (step::REGISTER, [register, value @ ..]) => {
                self.device.bar_write(0, u64::from(*register) * 4, value);
            }
            (step::WRITE, [bar, a, b, bytes @ ..]) => self.device.bar_write(*bar, offset(*a, *b), bytes),
            (step::READ, [bar, a, b, length, ..]) => {
                let mut bytes = vec![0; usize::from(*length)];
                self.device.bar_read(*bar, offset(*a, *b), &mut bytes);
            }
            (step::MEMORY, [a, b, bytes @ ..]) => {
                // Beyond the end is the script's mistake and not the device's.
                let _outside = self.memory.write(MEMORY + offset(*a, *b), bytes);
            }
            (step::COMMAND, [opcode, flags, payload @ ..]) => self.command(*opcode, *flags, payload),
            (step::TIME, [a, b, ..]) => {
                let milliseconds = u64::from(u16::from_le_bytes([*a, *b]));
                self.now = self.now + Duration::from_millis(milliseconds);
                self.device.handle_timeout(self.now);
                let next = self.device.poll_timeout();
                assert!(
                    next.is_none_or(|next| next > self.now),
                    "A timer that is due again"
                );
            }
            (step::CONFIG, [a, b, bytes @ ..]) => {
                self.device.config_write(u16::from_le_bytes([*a, *b]), bytes);
            }
            (step::OTHER, [what, ..]) => self.other(*what),
            (step::SETUP, _) => self.set_up(),
            _ => {}
        }
    }

    fn other(&mut self, what: u8) {
        let fault = match what % 12 {
            0 => return self.device.reset(),
            1 => return self.device.memory_changed(),
            2 => return self.device.set_link(false),
            3 => return self.device.set_link(true),
            4 => Fault::StopKeepAlives,
            5 => Fault::SwallowTxCompletion,
            6 => Fault::DropInterrupt,
            7 => Fault::DropAdminInterrupt,
            8 => Fault::SwallowAdminCompletion,
            9 => Fault::RequestReset,
            10 => Fault::FatalError,
            _ => return self.write(Register::DEV_CTL, 0),
        };
        // A driver that does not listen is one of the outcomes.
        let _told = self.device.inject(fault);
    }

    fn set_up(&mut self) {
        self.tail = 0;
        for (register, value) in [
            (Register::AQ_BASE_LO, 0),
            (Register::ACQ_BASE_LO, 0x1000),
            (Register::AENQ_BASE_LO, 0x2000),
        ] {
            self.write(register, low(AQ) + value);
            // The high half.
            self.write(Register(register.0 + 4), 0);
        }
        for register in [Register::AQ_CAPS, Register::ACQ_CAPS, Register::AENQ_CAPS] {
            self.write(register, 64 << 16 | u32::from(DEPTH));
        }
        self.write(Register::AENQ_HEAD_DB, u32::from(DEPTH));
    }

    fn command(&mut self, opcode: u8, flags: u8, payload: &[u8]) {
        let mut entry = [0; 64];
        let phase = (self.tail / DEPTH).is_multiple_of(2);
        entry[..2].copy_from_slice(&self.tail.to_le_bytes());
        entry[2] = opcode;
        entry[3] = (flags & !1) | u8::from(phase);
        for (to, from) in entry[4..].iter_mut().zip(payload) {
            *to = *from;
        }
        let address = AQ + u64::from(self.tail % DEPTH) * 64;
        let written = self.memory.write(address, &entry);
        assert_eq!(written, Ok(()));
        self.tail = self.tail.wrapping_add(1);
        self.write(Register::AQ_DB, u32::from(self.tail));
    }

    fn write(&mut self, register: Register, value: u32) {
        self.device
            .bar_write(0, u64::from(register.0), &value.to_le_bytes());
    }
}

fn offset(a: u8, b: u8) -> u64 {
    u64::from(u16::from_le_bytes([a, b]))
}

fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}

/// A datapath that holds the control half to its promises.
#[derive(Debug)]
struct Checker {
    config: Config,
    tx: BTreeMap<u16, u16>,
    rx: BTreeMap<u16, u16>,
    outcome: Outcome,
}

impl Checker {
    fn new(config: Config) -> Self {
        Self {
            config,
            tx: BTreeMap::new(),
            rx: BTreeMap::new(),
            outcome: Outcome::default(),
        }
    }

    fn check_queue(&mut self, direction: Direction, index: u16, depth: u16, doorbell: u64) {
        assert!(index < self.config.queue_pairs);
        assert!(depth.is_power_of_two() && depth <= layout::MAX_RX_DEPTH);
        assert_eq!(doorbell, layout::doorbell_offset(direction, index));
        assert!((layout::BAR0_MAPPED_START..layout::BAR0_MAPPED_END).contains(&doorbell));
        self.outcome.queues += 1;
    }

    fn check_completions(&self, queue: &CompletionQueue, sizes: [u8; 2]) {
        assert!(sizes.contains(&queue.entry_bytes));
        assert!(queue.depth.is_power_of_two());
        assert!(queue.base != 0 && queue.base < 1 << 48);
        let vectors = layout::vector_count(self.config.queue_pairs);
        assert!(queue.vector.is_none_or(|vector| vector < vectors));
        assert!((layout::BAR0_MAPPED_START..layout::BAR0_MAPPED_END).contains(&queue.unmask_offset));
        let users: BTreeSet<_> = self.tx.values().chain(self.rx.values()).collect();
        assert!(!users.contains(&queue.index), "Two queues complete into one");
    }

    fn check_placement(&self, placement: Placement, depth: u16) {
        match placement {
            Placement::Host(base) => assert!(base != 0 && base < 1 << 48),
            Placement::Device(llq) => {
                assert!(self.config.llq);
                let bytes = u64::from(llq.entry_bytes) * u64::from(depth);
                let end = llq.offset + bytes;
                assert!(end <= layout::bar2_bytes(self.config.queue_pairs) && bytes <= layout::LLQ_BYTES);
                let before = u16::from(llq.descriptors_before_header);
                assert!(before > 0 && before * 16 < llq.entry_bytes);
            }
        }
    }

    fn check_rss(&mut self, rss: &Rss) {
        assert!(rss.table.len().is_power_of_two() && rss.table.len() <= 128);
        assert!(rss.table.iter().all(|queue| *queue < self.config.queue_pairs));
        assert!(rss.fields.iter().all(|fields| fields & !0x3f == 0));
        self.outcome.rss += 1;
    }
}

impl Link for Checker {
    fn apply(&mut self, change: Change) -> Result<(), DatapathGone> {
        match change {
            Change::CreateTx(index, queue) => {
                self.check_queue(Direction::TX, index, queue.depth, queue.doorbell_offset);
                self.check_completions(&queue.completions, [8, 16]);
                self.check_placement(queue.placement, queue.depth);
                assert_eq!(self.tx.insert(index, queue.completions.index), None);
            }
            Change::CreateRx(index, queue) => {
                self.check_queue(Direction::RX, index, queue.depth, queue.doorbell_offset);
                self.check_completions(&queue.completions, [16, 32]);
                self.check_placement(Placement::Host(queue.base), queue.depth);
                assert_eq!(self.rx.insert(index, queue.completions.index), None);
            }
            Change::DestroyTx(index) => assert!(self.tx.remove(&index).is_some()),
            Change::DestroyRx(index) => assert!(self.rx.remove(&index).is_some()),
            Change::Rss(rss) => self.check_rss(&rss),
            Change::Mtu(mtu) => assert!((layout::MIN_MTU..=self.config.max_mtu).contains(&mtu)),
            Change::Reset => {
                self.tx.clear();
                self.rx.clear();
            }
            Change::Moderation { .. }
            | Change::MemoryChanged
            | Change::SwallowTxCompletion
            | Change::DropInterrupt => {}
        }
        Ok(())
    }

    fn statistics(&mut self) -> Result<Statistics, DatapathGone> {
        Ok(Statistics::default())
    }
}

const TRACE_RECORDS: usize = 256;
