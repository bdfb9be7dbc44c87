//! A datapath with a driver's memory around it, and descriptors written by hand.

use trinic_ena::datapath::{
    Change, CompletionQueue, Datapath, Disposition, Limits, Llq, Offload, Payload, Placement, RxDrop,
    RxQueue, TxPacket, TxQueue,
};
use trinic_ena::spec::descriptor::{
    InterruptControl, MetaControl, MetaLayout, RxCompletion, RxDescriptor, RxStatus, TxCompletion, TxControl,
    TxDescriptor, TxRequest,
};
use trinic_pci::testing::{PlainInterrupts, PlainMemory, PlainRegisters};
use trinic_pci::{Memory, SharedMemory};
use trinic_wire::time::Instant;
use zerocopy::{FromBytes, IntoBytes};

pub(crate) type Path = Datapath<PlainMemory, PlainRegisters, PlainInterrupts>;

/// Where the rings and buffers are.
const BASE: u64 = 0x4000_0000;
const LENGTH: usize = 0xa_0000;
const TX_RING: u64 = BASE;
const TX_CQ: u64 = BASE + 0x8000;
pub(crate) const RX_RING: u64 = BASE + 0x1_0000;
const RX_CQ: u64 = BASE + 0x2_0000;
pub(crate) const TX_BUFFERS: u64 = BASE + 0x4_0000;
const RX_BUFFERS: u64 = BASE + 0x6_0000;
const LLQ_OFFSET: u64 = 0x800;

pub(crate) struct Rig {
    pub(crate) memory: PlainMemory,
    pub(crate) registers: PlainRegisters,
    pub(crate) pushed: PlainRegisters,
    pub(crate) interrupts: PlainInterrupts,
    pub(crate) path: Path,
    pub(crate) now: Instant,
    /// The transmit queue's tail, in entries.
    pub(crate) tail: u16,
    tx: Option<TxQueue>,
    tx_head: u16,
    rx: Vec<Rx>,
    packets: Vec<TxPacket>,
}

#[derive(Clone, Copy)]
struct Rx {
    queue: RxQueue,
    tail: u16,
    head: u16,
}

/// A packet as the driver receives it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) status: RxStatus,
    pub(crate) hash: u32,
    pub(crate) lengths: Vec<usize>,
    pub(crate) ids: Vec<u16>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let memory = PlainMemory::new(BASE, LENGTH);
        let registers = PlainRegisters::new(0x4000);
        let pushed = PlainRegisters::new(0x2800);
        let interrupts = PlainInterrupts::new();
        let limits = Limits {
            tx_queues: 4,
            rx_queues: 4,
            vectors: 8,
        };
        let path = Datapath::new(
            memory.clone(),
            registers.clone(),
            Some(pushed.clone()),
            interrupts.clone(),
            limits,
        );
        Self {
            memory,
            registers,
            pushed,
            interrupts,
            path,
            now: Instant::ZERO,
            tail: 0,
            tx: None,
            tx_head: 0,
            rx: Vec::new(),
            packets: vec![TxPacket::new(); 8],
        }
    }

    pub(crate) fn host_tx(depth: u16) -> TxQueue {
        TxQueue {
            placement: Placement::Host(TX_RING),
            depth,
            doorbell_offset: 0x1000,
            completions: CompletionQueue {
                index: 5,
                base: TX_CQ,
                depth,
                entry_bytes: 8,
                vector: Some(1),
                unmask_offset: 0x2000,
            },
            meta_caching_disabled: false,
        }
    }

    pub(crate) fn llq_tx(depth: u16, entry_bytes: u16, before: u8, several: bool) -> TxQueue {
        TxQueue {
            placement: Placement::Device(Llq {
                offset: LLQ_OFFSET,
                entry_bytes,
                descriptors_before_header: before,
                several_per_entry: several,
            }),
            ..Self::host_tx(depth)
        }
    }

    pub(crate) fn create_tx(&mut self, queue: TxQueue) {
        self.path.apply(Change::CreateTx(0, queue));
        self.tx = Some(queue);
        self.tail = 0;
        self.tx_head = 0;
    }

    pub(crate) fn create_rx(&mut self, index: u16, depth: u16, entry_bytes: u8) {
        let at = u64::from(index);
        let queue = RxQueue {
            base: RX_RING + at * 0x4000,
            depth,
            doorbell_offset: 0x1100 + at * 4,
            completions: CompletionQueue {
                index: 10 + index,
                base: RX_CQ + at * 0x8000,
                depth,
                entry_bytes,
                vector: Some(2 + index),
                unmask_offset: 0x2100 + at * 4,
            },
        };
        self.path.apply(Change::CreateRx(index, queue));
        self.rx.push(Rx {
            queue,
            tail: 0,
            head: 0,
        });
    }

    fn depth(&self) -> u16 {
        self.tx.unwrap().depth
    }

    pub(crate) fn phase(&self) -> bool {
        self.tail & self.depth() == 0
    }

    /// Writes one descriptor into a host ring and moves the tail.
    pub(crate) fn descriptor(&mut self, descriptor: TxDescriptor) {
        let at = TX_RING + u64::from(self.tail & (self.depth() - 1)) * 16;
        self.memory.write(at, descriptor.as_bytes()).unwrap();
        self.tail = self.tail.wrapping_add(1);
    }

    pub(crate) fn ring(&self) {
        self.registers.store_u32(0x1000, u32::from(self.tail));
    }

    /// Control words for a data descriptor.
    pub(crate) fn control(&self, request_id: u16, length: usize, first: bool, last: bool) -> TxControl {
        TxControl::new()
            .with_length((length & 0xffff) as u16)
            .with_high((request_id >> 10) as u8)
            .with_phase(self.phase())
            .with_first(first)
            .with_last(last)
            .with_completion(true)
    }

    pub(crate) fn meta(&self, l3: u8, l3_bytes: u8, l4_words: u8, mss: u16) -> TxDescriptor {
        TxDescriptor::meta(
            MetaControl::new()
                .with_valid(true)
                .with_extended(true)
                .with_store(true)
                .with_meta(true)
                .with_first(true)
                .with_phase(self.phase())
                .with_mss_high((mss >> 10) as u8),
            MetaLayout::new()
                .with_l3_offset(l3)
                .with_l3_bytes(l3_bytes)
                .with_l4_words(l4_words)
                .with_mss_low(mss & 0x3ff),
        )
    }

    /// Sends a frame in pieces of the given lengths from host memory; the rest is a last piece.
    pub(crate) fn send_host(
        &mut self,
        id: u16,
        frame: &[u8],
        cuts: &[usize],
        request: TxRequest,
        meta: bool,
    ) {
        self.memory.write(TX_BUFFERS, frame).unwrap();
        let mut at = 0;
        let mut pieces: Vec<usize> = cuts.to_vec();
        pieces.push(frame.len() - cuts.iter().sum::<usize>());
        for (index, length) in pieces.iter().enumerate() {
            let first = index == 0 && !meta;
            let control = self.control(id, *length, first, index + 1 == pieces.len());
            let request = request.with_request_low(id & 0x3ff);
            let address = TX_BUFFERS + at as u64;
            self.descriptor(TxDescriptor::data(control, request, address, 0));
            at += length;
        }
        self.ring();
    }

    /// Sends a frame through a low-latency queue: `header` bytes pushed, the rest in pieces as above.
    pub(crate) fn send_llq(&mut self, id: u16, frame: &[u8], header: usize, cuts: &[usize], with_meta: bool) {
        let Placement::Device(llq) = self.tx.unwrap().placement else {
            panic!("Not a low-latency queue");
        };
        self.memory.write(TX_BUFFERS, &frame[header..]).unwrap();
        let mut pieces: Vec<usize> = cuts.to_vec();
        let rest = frame.len() - header - cuts.iter().sum::<usize>();
        if rest > 0 || pieces.is_empty() {
            pieces.push(rest);
        }
        let slots = usize::from(llq.entry_bytes) / 16;
        let mut entry = vec![0; usize::from(llq.entry_bytes)];
        let before = usize::from(llq.descriptors_before_header);
        entry[before * 16..before * 16 + header].copy_from_slice(&frame[..header]);
        let (mut slot, mut room) = (0, before);
        let mut at = 0;
        let metas = usize::from(with_meta);
        for index in 0..pieces.len() + metas {
            let descriptor = if index < metas {
                self.meta(14, 20, 5, 1000)
            } else {
                let piece = index - metas;
                let control = self.control(id, pieces[piece], index == 0, piece + 1 == pieces.len());
                let pushed = if piece == 0 { header as u8 } else { 0 };
                let address = TX_BUFFERS + at as u64;
                at += pieces[piece];
                TxDescriptor::data(
                    control,
                    TxRequest::new().with_request_low(id & 0x3ff),
                    if pieces[piece] == 0 { 0 } else { address },
                    pushed,
                )
            };
            entry[slot * 16..slot * 16 + 16].copy_from_slice(descriptor.as_bytes());
            slot += 1;
            if slot == room || index + 1 == pieces.len() + metas {
                self.push_entry(&llq, &entry);
                entry.fill(0);
                slot = 0;
                room = if llq.several_per_entry { slots } else { 1 };
            }
        }
        self.ring();
    }

    pub(crate) fn push_entry(&mut self, llq: &Llq, entry: &[u8]) {
        let at = LLQ_OFFSET + u64::from(self.tail & (self.depth() - 1)) * u64::from(llq.entry_bytes);
        for (offset, word) in (at..).step_by(4).zip(entry.chunks_exact(4)) {
            self.pushed
                .store_u32(offset, u32::from_le_bytes(word.try_into().unwrap()));
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Takes every packet, whole, and completes it.
    pub(crate) fn take(&mut self) -> Vec<(Vec<u8>, Offload)> {
        let mut out = Vec::new();
        loop {
            let mut packets = std::mem::take(&mut self.packets);
            let count = self.path.transmit(&mut packets);
            for packet in &mut packets[..count] {
                let mut frame = packet.window().to_vec();
                let window = frame.len();
                frame.resize(packet.total_bytes(), 0);
                let rest = self.path.copy_payload(packet, &mut frame[window..]).unwrap();
                assert_eq!(window + rest, packet.total_bytes());
                out.push((frame, packet.offload()));
                self.path.complete(packet, Disposition::Sent);
            }
            self.packets = packets;
            if count == 0 {
                break;
            }
        }
        self.path.flush(self.now);
        out
    }

    /// Reads the transmit completions that are there: request id and head.
    pub(crate) fn completions(&mut self) -> Vec<(u16, u16)> {
        let mut out = Vec::new();
        let queue = self.tx.unwrap().completions;
        loop {
            let at = queue.base + u64::from(self.tx_head & (queue.depth - 1)) * u64::from(queue.entry_bytes);
            let mut bytes = [0; 8];
            self.memory.read(at, &mut bytes).unwrap();
            let completion = TxCompletion::read_from_bytes(&bytes).unwrap();
            if completion.flags != u8::from(self.tx_head & queue.depth == 0) {
                return out;
            }
            assert_eq!(completion.status, 0);
            assert_eq!(completion.queue.get(), queue.index);
            out.push((completion.request_id.get(), completion.head.get()));
            self.tx_head = self.tx_head.wrapping_add(1);
        }
    }

    /// Posts buffers of this length, named by their place in the ring.
    pub(crate) fn post(&mut self, index: usize, count: u16, length: u16) {
        for _ in 0..count {
            let rx = &mut self.rx[index];
            let depth = rx.queue.depth;
            let id = rx.tail & (depth - 1);
            let address = buffer(id);
            let descriptor = RxDescriptor::new(rx.tail & depth == 0, id, address, length);
            let at = rx.queue.base + u64::from(id) * 16;
            self.memory.write(at, descriptor.as_bytes()).unwrap();
            rx.tail = rx.tail.wrapping_add(1);
        }
        let rx = &self.rx[index];
        self.registers
            .store_u32(rx.queue.doorbell_offset, u32::from(rx.tail));
    }

    pub(crate) fn receive(&mut self, frame: &[u8], offload: Offload) -> Result<(), RxDrop> {
        let mut window = frame[..frame.len().min(256)].to_vec();
        let rest = frame[window.len()..].to_vec();
        let result = self.path.receive(&mut window, Payload::Bytes(&rest), offload);
        self.path.flush(self.now);
        result
    }

    /// Reads the received packets of a queue.
    pub(crate) fn received(&mut self, index: usize) -> Vec<Received> {
        let mut out = Vec::new();
        let mut current: Option<Received> = None;
        loop {
            let rx = self.rx[index];
            let completions = rx.queue.completions;
            let at = completions.base
                + u64::from(rx.head & (completions.depth - 1)) * u64::from(completions.entry_bytes);
            let mut bytes = [0; 16];
            self.memory.read(at, &mut bytes).unwrap();
            let completion = RxCompletion::read_from_bytes(&bytes).unwrap();
            let status = RxStatus::from_bits(completion.status.get());
            if status.phase() != (rx.head & completions.depth == 0) {
                assert!(current.is_none(), "A packet without its last completion");
                return out;
            }
            self.rx[index].head = rx.head.wrapping_add(1);
            assert_eq!(status.first(), current.is_none());
            let id = completion.request_id.get();
            let length = usize::from(completion.length.get());
            let mut data = vec![0; length];
            let address = buffer(id);
            self.memory.read(address, &mut data).unwrap();
            let packet = current.get_or_insert_with(|| Received {
                bytes: Vec::new(),
                status,
                hash: 0,
                lengths: Vec::new(),
                ids: Vec::new(),
            });
            packet.bytes.extend(data);
            packet.lengths.push(length);
            packet.ids.push(id);
            packet.status = status;
            packet.hash = completion.hash.get();
            if status.last() {
                out.extend(current.take());
            }
        }
    }

    pub(crate) fn unmask(&self, offset: u64) {
        let control = InterruptControl::new().with_unmask(true);
        self.registers.store_u32(offset, control.into_bits());
    }
}

/// Where a buffer is; 128 of them are in use at a time at most, and queues share them.
fn buffer(id: u16) -> u64 {
    RX_BUFFERS + u64::from(id % 128) * 0x800
}
