//! Neither the device's datapath nor the user-mode driver allocates for a packet, of whatever size and placement.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]

#[path = "../../switch/tests/suite/counting.rs"]
mod counting;

use std::sync::{Arc, Mutex};

use trinic_ena::datapath::{Datapath, Disposition, Limits, TxPacket};
use trinic_ena::device::{Config as DeviceConfig, Device, layout};
use trinic_ena::driver::{Buffer, Config, DirectLink, Driver, Frame, Loopback, QueuePair};
use trinic_pci::testing::{PlainInterrupts, PlainMemory, PlainRegisters};
use trinic_wire::time::Instant;

type Wire = DirectLink<PlainMemory, PlainRegisters, PlainInterrupts>;
type Bus = Loopback<Device<PlainMemory, PlainInterrupts, Wire>, PlainMemory>;

/// A function, its driver and its buffers.
struct End {
    wire: Wire,
    pair: QueuePair<Bus>,
    spare: Vec<Buffer>,
    frames: Vec<Frame>,
    _driver: Driver<Bus>,
}

impl End {
    fn new(mac: [u8; 6], llq: bool) -> Self {
        let config = DeviceConfig::new(mac);
        let memory = PlainMemory::new(BASE, MEMORY_BYTES);
        let registers = PlainRegisters::new(usize::try_from(layout::BAR0_BYTES).unwrap());
        let pushed = PlainRegisters::new(usize::try_from(layout::bar2_bytes(config.queue_pairs)).unwrap());
        let interrupts = PlainInterrupts::new();
        let limits = Limits {
            tx_queues: config.queue_pairs,
            rx_queues: config.queue_pairs,
            vectors: layout::vector_count(config.queue_pairs),
        };
        let wire = DirectLink::new(Datapath::new(
            memory.clone(),
            registers.clone(),
            Some(pushed.clone()),
            interrupts.clone(),
            limits,
        ));
        let device = Device::new(config, memory.clone(), interrupts.clone(), wire.clone()).unwrap();
        let bus = Loopback::new(
            Arc::new(Mutex::new(device)),
            memory,
            BASE,
            u64::try_from(MEMORY_BYTES).unwrap(),
            registers,
            Some(pushed),
            interrupts,
        );
        let config = Config {
            llq,
            ..Config::default()
        };
        let (driver, mut pairs, mut buffers) = Driver::probe(bus, config).unwrap();
        let mut spare = buffers.split_off(1024);
        let mut pair = pairs.remove(0);
        pair.rx.refill(&mut buffers).unwrap();
        spare.append(&mut buffers);
        spare.reserve(4096);
        Self {
            wire,
            pair,
            spare,
            frames: Vec::with_capacity(256),
            _driver: driver,
        }
    }
}

/// Sends a burst from one end to the other; how many arrived.
fn round(from: &mut End, to: &mut End, frame: &[u8], packets: &mut [TxPacket]) -> usize {
    for _ in 0..BURST {
        let buffer = from.spare.pop().unwrap();
        let frame = Frame::copied(buffer, from.pair.tx.memory(), frame).unwrap();
        from.frames.push(frame);
    }
    assert_eq!(from.pair.tx.transmit(&mut from.frames).unwrap(), BURST);
    carry(&from.wire, &to.wire, packets);
    let mut arrived = 0;
    while to.pair.rx.receive(&mut to.frames, BURST).unwrap() > 0 {
        arrived += to.frames.len();
        for frame in to.frames.drain(..) {
            frame.into_buffers(&mut to.spare);
        }
    }
    to.pair.rx.refill(&mut to.spare).unwrap();
    from.pair.tx.reclaim(&mut from.spare).unwrap();
    arrived
}

/// A round of a switch with one port on each side.
fn carry(from: &Wire, to: &Wire, packets: &mut [TxPacket]) {
    let (mut from, mut to) = (from.lock(), to.lock());
    from.poll(Instant::ZERO);
    to.poll(Instant::ZERO);
    loop {
        let count = from.transmit(packets);
        if count == 0 {
            break;
        }
        for packet in &mut packets[..count] {
            let offload = packet.offload();
            let (window, payload) = packet.parts(from.memory());
            let disposition = match to.receive(window, payload, offload) {
                Ok(()) => Disposition::Sent,
                Err(_) => Disposition::Dropped,
            };
            from.complete(packet, disposition);
        }
    }
    from.flush(Instant::ZERO);
    to.flush(Instant::ZERO);
}

#[test]
fn the_allocator_counts() {
    let before = counting::taken();
    drop(std::hint::black_box(Vec::<u8>::with_capacity(100)));
    assert_eq!(counting::taken() - before, 1);
}

#[test]
fn packets_allocate_nothing() {
    for llq in [false, true] {
        for bytes in [60, 1_500] {
            let (mut near, mut far) = (
                End::new([2, 0, 0, 0, 0, 1], llq),
                End::new([2, 0, 0, 0, 0, 2], llq),
            );
            let mut frame = vec![0; bytes];
            frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
            frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            let mut packets = vec![TxPacket::new(); 32];
            for _ in 0..WARM_UP {
                assert_eq!(round(&mut near, &mut far, &frame, &mut packets), BURST);
            }
            let before = counting::taken();
            let arrived: usize = (0..ROUNDS)
                .map(|_| round(&mut near, &mut far, &frame, &mut packets))
                .sum();
            assert_eq!(counting::taken() - before, 0, "llq {llq}, {bytes} bytes");
            assert_eq!(arrived, ROUNDS * BURST, "llq {llq}, {bytes} bytes");
        }
    }
}

const BASE: u64 = 0x10_0000;
const MEMORY_BYTES: usize = 16 << 20;
const BURST: usize = 32;
/// Rounds in which queues come round once, and vectors find their size.
const WARM_UP: usize = 64;
const ROUNDS: usize = 320;
