//! A fuzz function: rings that hold anything must not panic the datapath, nor keep it busy beyond what was
//! announced.

use std::time::Duration;

use trinic_pci::testing::{PlainInterrupts, PlainMemory, PlainRegisters};
use trinic_pci::{Memory, SharedMemory};
use trinic_wire::time::Instant;

use crate::datapath::{
    Change, Checksum, CompletionQueue, Datapath, Disposition, Limits, Llq, Offload, Payload, Placement, Rss,
    RxQueue, Segmentation, TxPacket, TxQueue,
};

/// What a step of a script does, by its first byte modulo [`queue_step::COUNT`]. The second byte is how many
/// bytes follow for it.
pub mod queue_step {
    /// Makes the queues: placement and form, bit 0 a low-latency queue, 2:1 entry size, 4:3 descriptors before
    /// the header, 5 several an entry, 6 no meta caching, 7 long receive completions.
    pub const CREATE: u8 = 0;
    /// Writes the next transmit descriptor or entry, as it is.
    pub const TX_RAW: u8 = 1;
    /// Writes the next transmit descriptor or entry with the right phase and addresses that exist.
    pub const TX: u8 = 2;
    /// Writes the next receive descriptor, with the right phase and an address that exists if its first byte is
    /// even.
    pub const RX: u8 = 3;
    /// Rings the doorbells at what was written.
    pub const RING: u8 = 4;
    /// Rings a doorbell anywhere: which (bit 0), value.
    pub const RING_RAW: u8 = 5;
    /// One round: what is sent is received, time passes.
    pub const ROUND: u8 = 6;
    /// Receives a frame: four bytes of offload, then the frame.
    pub const FRAME: u8 = 7;
    /// Writes an interrupt register.
    pub const UNMASK: u8 = 8;
    /// Something else, by the first byte: RSS, MTU, faults, a reset.
    pub const CHANGE: u8 = 9;
    /// How many steps there are.
    pub const COUNT: u8 = 10;
}

const BASE: u64 = 0x1_0000;
const MEMORY_BYTES: usize = 0x1_0000;
const DEPTH: u16 = 16;
const TX_DOORBELL: u64 = 0;
const RX_DOORBELL: u64 = 64;
const UNMASK: u64 = 128;

/// Runs a script against a datapath; returns how many packets were taken from its transmit queue and how many
/// were put into its receive queue.
pub fn queues(mut script: &[u8]) -> (u64, u64) {
    let mut bench = Bench::new();
    while let [kind, length, rest @ ..] = script {
        let (data, after) = rest.split_at(rest.len().min(usize::from(*length)));
        bench.step(kind % queue_step::COUNT, data);
        script = after;
    }
    bench.step(queue_step::ROUND, &[]);
    let statistics = bench.path.statistics();
    (statistics.tx_packets, statistics.rx_packets)
}

struct Bench {
    memory: PlainMemory,
    registers: PlainRegisters,
    pushed: PlainRegisters,
    path: Datapath<PlainMemory, PlainRegisters, PlainInterrupts>,
    packets: Vec<TxPacket>,
    placement: Placement,
    tx_tail: u16,
    rx_tail: u16,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let memory = PlainMemory::new(BASE, MEMORY_BYTES);
        let registers = PlainRegisters::new(256);
        let pushed = PlainRegisters::new(usize::from(DEPTH) * 256);
        let limits = Limits {
            tx_queues: 1,
            rx_queues: 1,
            vectors: 1,
        };
        let path = Datapath::new(
            memory.clone(),
            registers.clone(),
            Some(pushed.clone()),
            PlainInterrupts::new(),
            limits,
        );
        let mut bench = Self {
            memory,
            registers,
            pushed,
            path,
            packets: vec![TxPacket::new(); 8],
            placement: Placement::Host(BASE),
            tx_tail: 0,
            rx_tail: 0,
            now: Instant::ZERO,
        };
        bench.create(0);
        bench
    }

    fn step(&mut self, kind: u8, data: &[u8]) {
        let first = data.first().copied().unwrap_or_default();
        match kind {
            queue_step::CREATE => self.create(first),
            queue_step::TX_RAW => self.write_tx(data, false),
            queue_step::TX => self.write_tx(data, true),
            queue_step::RX => self.write_rx(data, first & 1 == 0),
            queue_step::RING => {
                self.registers.store_u32(TX_DOORBELL, u32::from(self.tx_tail));
                self.registers.store_u32(RX_DOORBELL, u32::from(self.rx_tail));
            }
            queue_step::RING_RAW => {
                let at = if first & 1 == 0 { TX_DOORBELL } else { RX_DOORBELL };
                self.registers.store_u32(at, word(data, 1));
            }
            queue_step::ROUND => self.round(),
            queue_step::FRAME => self.receive(data),
            queue_step::UNMASK => self.registers.store_u32(UNMASK, word(data, 0)),
            _ => self.change(first, data),
        }
    }

    fn create(&mut self, form: u8) {
        let completions = |index: u16| CompletionQueue {
            index,
            base: BASE + 0x1000 * (1 + u64::from(index)),
            depth: DEPTH,
            entry_bytes: match (index, form >> 7) {
                (0, _) => 8,
                (_, 0) => 16,
                _ => 32,
            },
            vector: Some(0),
            unmask_offset: UNMASK,
        };
        self.placement = if form & 1 == 0 {
            Placement::Host(BASE)
        } else {
            Placement::Device(Llq {
                offset: 0,
                entry_bytes: [128, 192, 256, 128][usize::from(form >> 1 & 3)],
                descriptors_before_header: 1 << (form >> 3 & 3),
                several_per_entry: form & 0x20 != 0,
            })
        };
        let tx = TxQueue {
            placement: self.placement,
            depth: DEPTH,
            doorbell_offset: TX_DOORBELL,
            completions: completions(0),
            meta_caching_disabled: form & 0x40 != 0,
        };
        let rx = RxQueue {
            base: BASE + 0x3000,
            depth: DEPTH,
            doorbell_offset: RX_DOORBELL,
            completions: completions(1),
        };
        self.path.apply(Change::CreateTx(0, tx));
        self.path.apply(Change::CreateRx(0, rx));
        (self.tx_tail, self.rx_tail) = (0, 0);
    }

    /// An entry is as long as the queue's, and what the script does not say of it is zero.
    fn write_tx(&mut self, data: &[u8], is_likely: bool) {
        let mut entry = [0; 256];
        for (to, from) in entry.iter_mut().zip(data) {
            *to = *from;
        }
        if is_likely {
            let phase = u8::from(self.tx_tail & DEPTH == 0);
            for descriptor in entry.chunks_exact_mut(16).take(8) {
                descriptor[3] = descriptor[3] & !1 | phase;
                // A meta descriptor has no address.
                if descriptor[2] & 0x80 == 0 {
                    descriptor[10..14].copy_from_slice(&[1, 0, 0, 0]);
                }
            }
        }
        let index = u64::from(self.tx_tail & (DEPTH - 1));
        match self.placement {
            Placement::Host(base) => {
                let _inside = self.memory.write(base + index * 16, &entry[..16]);
            }
            Placement::Device(llq) => {
                let at = index * u64::from(llq.entry_bytes);
                let length = usize::from(llq.entry_bytes);
                for (offset, word) in (at..).step_by(4).zip(entry[..length].as_chunks::<4>().0) {
                    self.pushed.store_u32(offset, u32::from_le_bytes(*word));
                }
            }
        }
        self.tx_tail = self.tx_tail.wrapping_add(1);
    }

    fn write_rx(&mut self, data: &[u8], is_likely: bool) {
        let mut entry = [0; 16];
        for (to, from) in entry.iter_mut().zip(data) {
            *to = *from;
        }
        if is_likely {
            entry[3] = entry[3] & !1 | u8::from(self.rx_tail & DEPTH == 0);
            entry[10..14].copy_from_slice(&[1, 0, 0, 0]);
        }
        let index = u64::from(self.rx_tail & (DEPTH - 1));
        let _inside = self.memory.write(BASE + 0x3000 + index * 16, &entry);
        self.rx_tail = self.rx_tail.wrapping_add(1);
    }

    fn round(&mut self) {
        self.now = self.now + Duration::from_micros(50);
        self.path.poll(self.now);
        let mut packets = std::mem::take(&mut self.packets);
        let mut taken = 0;
        loop {
            let count = self.path.transmit(&mut packets);
            taken += count;
            assert!(
                taken <= usize::from(DEPTH),
                "More packets than a ring has descriptors"
            );
            for packet in &mut packets[..count] {
                let memory = self.memory.clone();
                assert!(packet.window().len() <= packet.total_bytes());
                let disposition = match self.path.receive_packet(packet, &memory) {
                    Ok(()) => Disposition::Sent,
                    Err(_) => Disposition::Dropped,
                };
                self.path.complete_all(std::slice::from_mut(packet), disposition);
            }
            if count == 0 {
                break;
            }
        }
        self.packets = packets;
        self.path.flush(self.now);
    }

    fn receive(&mut self, data: &[u8]) {
        let Some(([what, a, b, c], frame)) = data.split_first_chunk::<4>() else {
            return;
        };
        let mut frame = frame.to_vec();
        let checksum = match what & 3 {
            0 => Checksum::Complete,
            1 => Checksum::Partial {
                start: u16::from(*a),
                offset: u16::from(*b),
            },
            2 => Checksum::Trusted,
            _ => Checksum::Unchecked,
        };
        let segmentation = (what & 4 != 0).then(|| Segmentation {
            is_ipv6: what & 8 != 0,
            mss: u16::from(*c),
            header_bytes: u16::from(*a) + u16::from(what >> 4) * 4,
        });
        let cut = frame.len().min(usize::from(*b));
        let (window, payload) = frame.split_at_mut(cut);
        let offload = Offload {
            checksum,
            segmentation,
        };
        let _counted = self.path.receive(window, Payload::Bytes(payload), offload);
        self.path.flush(self.now);
    }

    fn change(&mut self, what: u8, data: &[u8]) {
        let change = match what % 8 {
            0 => Change::Rss(Box::new(Rss {
                key: (data.len() > 1).then_some([what; 40]),
                initial_value: word(data, 1),
                table: data.iter().map(|byte| u16::from(byte & 1)).collect(),
                fields: [u16::from(data.last().copied().unwrap_or_default()); 16],
            })),
            1 => Change::Mtu(word(data, 1)),
            2 => Change::Moderation {
                unit_ns: word(data, 1),
            },
            3 => Change::SwallowTxCompletion,
            4 => Change::DropInterrupt,
            5 => Change::DestroyTx(0),
            6 => Change::DestroyRx(0),
            _ => Change::Reset,
        };
        self.path.apply(change);
    }
}

/// Four bytes of the data, zeros where it ends.
fn word(data: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    for (to, from) in bytes.iter_mut().zip(data.iter().skip(at)) {
        *to = *from;
    }
    u32::from_le_bytes(bytes)
}
