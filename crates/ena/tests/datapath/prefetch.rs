//! What the device asks the processor for before it needs it.

use std::sync::{Arc, Mutex};

use trinic_ena::datapath::{
    Change, CompletionQueue, Datapath, Disposition, Limits, Placement, Rss, RxQueue, TxPacket,
};
use trinic_ena::spec::descriptor::{RxDescriptor, TxControl, TxDescriptor, TxRequest};
use trinic_pci::testing::{PlainInterrupts, PlainMemory, PlainRegisters};
use trinic_pci::{DmaFault, Intent, Memory, SharedMemory};
use trinic_wire::time::Instant;
use zerocopy::IntoBytes;

use crate::receive::datagram;
use crate::rig::{RX_RING, Rig, TX_BUFFERS};

/// Memory that writes down what was done to it, in order.
#[derive(Debug, Clone)]
struct Noted {
    memory: PlainMemory,
    notes: Arc<Mutex<Vec<Note>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    Asked(u64, Intent),
    Read(u64),
    Wrote(u64),
}

impl Noted {
    fn note(&self, note: Note) {
        self.notes.lock().unwrap().push(note);
    }
}

impl Memory for Noted {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.note(Note::Read(address));
        self.memory.read(address, into)
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.note(Note::Wrote(address));
        self.memory.write(address, from)
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        self.memory.load_u32(address)
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.memory.store_u32(address, value)
    }

    fn store_u16(&self, address: u64, value: u16) -> Result<(), DmaFault> {
        self.memory.store_u16(address, value)
    }

    fn prefetch(&self, addresses: impl Iterator<Item = u64>, intent: Intent) {
        addresses.for_each(|address| self.note(Note::Asked(address, intent)));
    }

    fn copy_to(&self, from: u64, other: &Self, at: u64, length: usize) -> Result<(), DmaFault> {
        self.memory.copy_to(from, &other.memory, at, length)
    }
}

const COUNT: u16 = 20;

/// The buffer that a packet is sent from, and the one that it is received in.
fn sent(id: u16) -> u64 {
    TX_BUFFERS + u64::from(id) * 0x400
}

fn posted(id: u16) -> u64 {
    TX_BUFFERS + 0x1_0000 + u64::from(id) * 0x400
}

/// Sends datagrams of one length from a function to itself; what was done to its memory.
fn notes_of(length: usize) -> Vec<Note> {
    let memory = Noted {
        memory: PlainMemory::new(0x4000_0000, 0xa_0000),
        notes: Arc::default(),
    };
    let registers = PlainRegisters::new(0x4000);
    let limits = Limits {
        tx_queues: 1,
        rx_queues: 1,
        vectors: 4,
    };
    let (pushed, interrupts) = (None::<PlainRegisters>, PlainInterrupts::new());
    let mut path = Datapath::new(memory.clone(), registers.clone(), pushed, interrupts, limits);
    let tx = Rig::host_tx(32);
    path.apply(Change::CreateTx(0, tx));
    let completions = CompletionQueue {
        index: 1,
        base: RX_RING + 0x1_0000,
        entry_bytes: 16,
        vector: None,
        unmask_offset: 0x2100,
        ..tx.completions
    };
    path.apply(Change::CreateRx(
        0,
        RxQueue {
            base: RX_RING,
            depth: 32,
            doorbell_offset: 0x1100,
            completions,
        },
    ));
    path.apply(Change::Rss(Box::new(Rss {
        key: Some([0x6d; 40]),
        initial_value: 0,
        table: vec![0; 128],
        fields: [0x3c; 16],
    })));
    let Placement::Host(ring) = tx.placement else {
        panic!("Not a ring in the host's memory")
    };
    for id in 0..COUNT {
        let (frame, at) = (datagram(id, length), u64::from(id) * 16);
        memory.memory.write(sent(id), &frame).unwrap();
        let control = TxControl::new()
            .with_length(u16::try_from(frame.len()).unwrap())
            .with_phase(true)
            .with_first(true)
            .with_last(true);
        let request = TxRequest::new().with_request_low(id);
        let descriptor = TxDescriptor::data(control, request, sent(id), 0);
        memory.memory.write(ring + at, descriptor.as_bytes()).unwrap();
        let buffer = RxDescriptor::new(true, id, posted(id), 0x400);
        memory.memory.write(RX_RING + at, buffer.as_bytes()).unwrap();
    }
    registers.store_u32(0x1000, u32::from(COUNT));
    registers.store_u32(0x1100, u32::from(COUNT));
    let mut packets = vec![TxPacket::new(); usize::from(COUNT)];
    assert_eq!(path.transmit(&mut packets), usize::from(COUNT));
    for packet in &mut packets {
        path.receive_packet(packet, &memory).unwrap();
        path.complete(packet, Disposition::Sent);
    }
    path.flush(Instant::ZERO);
    std::mem::take(&mut *memory.notes.lock().unwrap())
}

/// Every packet's bytes and every buffer of a batch are asked for once, for what is done with them then, and before the packet
/// ahead of it is worked on.
#[test]
fn bytes_and_buffers_are_asked_for_ahead_of_their_turn() {
    let notes = notes_of(20);
    let place = |note| {
        let mut found = notes.iter().enumerate().filter(|(_, other)| **other == note);
        let place = found
            .next()
            .unwrap_or_else(|| panic!("{note:x?} is not in {notes:x?}"))
            .0;
        assert_eq!(found.next(), None, "{note:x?}");
        place
    };
    for id in 0..COUNT {
        let ahead = id.saturating_sub(1);
        let asked = place(Note::Asked(sent(id), Intent::Read));
        assert!(
            asked < place(Note::Read(sent(ahead))) && asked < place(Note::Read(sent(id))),
            "{id}"
        );
        let asked = place(Note::Asked(posted(id), Intent::Write));
        assert!(
            asked < place(Note::Wrote(posted(ahead))) && asked < place(Note::Wrote(posted(id))),
            "{id}"
        );
    }
}

/// A long copy is slower into a buffer whose first line is there.
#[test]
fn buffers_of_long_packets_are_not_asked_for() {
    let notes = notes_of(600);
    let asked = |intent| {
        notes
            .iter()
            .filter(|note| matches!(note, Note::Asked(_, other) if *other == intent))
            .count()
    };
    assert_eq!(
        (asked(Intent::Read), asked(Intent::Write)),
        (usize::from(COUNT), 0)
    );
}
