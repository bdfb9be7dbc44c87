//! What a packet of 64 bytes costs: at the switching thread (taken from one function, put into another,
//! completed) and at the two drivers. One thread does all of it in turn, so that each part is timed alone; its
//! caches are warmer than they are between cores.
//!
//!     cargo run --release -p trinic-ena --example speed
#![expect(clippy::print_stdout, reason = "It is what a program prints.")]
#![expect(clippy::disallowed_methods, reason = "A measurement needs a clock.")]
#![expect(clippy::cast_precision_loss, reason = "Figures are printed with two digits.")]

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant as Clock;

use trinic_ena::datapath::{Datapath, Disposition, Limits, TxPacket};
use trinic_ena::device::{Config as DeviceConfig, Device, layout};
use trinic_ena::driver::{Buffer, Config, DirectLink, Driver, Frame, Loopback, QueuePair};
use trinic_pci::testing::{PlainInterrupts, PlainRegisters};
use trinic_pci::{DmaFault, Memory};
use trinic_wire::time::Instant;
use trinic_wire::{Protocol, ipv4, udp};

type Wire = DirectLink<WordMemory, PlainRegisters, PlainInterrupts>;
type Path = Datapath<WordMemory, PlainRegisters, PlainInterrupts>;
type Bus = Loopback<Device<WordMemory, PlainInterrupts, Wire>, WordMemory>;
type Host = (Driver<Bus>, QueuePair<Bus>, Vec<Buffer>, Wire);

const BASE: u64 = 0x10_0000;
const MEMORY_BYTES: usize = 16 << 20;
/// Rounds of each measurement, unless the first argument says another number.
const ROUNDS: u64 = 4_000;
const BURST: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = match std::env::args().nth(1) {
        Some(number) => number.parse()?,
        None => ROUNDS,
    };
    for llq in [false, true] {
        measure(llq, rounds)?;
    }
    Ok(())
}

fn measure(llq: bool, rounds: u64) -> Result<(), Box<dyn Error>> {
    let (_near, mut sender, mut buffers, near_wire) = host([2, 0, 0, 0, 0, 1], llq)?;
    let (_far, mut receiver, mut posted, far_wire) = host([2, 0, 0, 0, 0, 2], llq)?;
    receiver.rx.refill(&mut posted)?;
    let frame = datagram()?;
    let mut frames = Vec::with_capacity(BURST);
    let mut received = Vec::with_capacity(BURST);
    let mut packets = vec![TxPacket::new(); 32];
    for _ in 0..BURST {
        let buffer = buffers.pop().ok_or("No buffer")?;
        frames.push(Frame::copied(buffer, sender.tx.memory(), &frame)?);
    }
    let length = u32::try_from(frame.len())?;
    let mut samples: [Vec<u128>; 5] = Default::default();
    for _ in 0..rounds {
        let start = Clock::now();
        assert_eq!(sender.tx.transmit(&mut frames)?, BURST);
        let sent = Clock::now();
        let (taken, given) = carry(&near_wire, &far_wire, &mut packets);
        let switched = Clock::now();
        while receiver.rx.receive(&mut received, 64)? > 0 {}
        assert_eq!(received.len(), BURST);
        for frame in received.drain(..) {
            frame.into_buffers(&mut posted);
        }
        receiver.rx.refill(&mut posted)?;
        let done = Clock::now();
        assert_eq!(sender.tx.reclaim(&mut buffers)?, BURST);
        for buffer in buffers.drain(buffers.len() - BURST..) {
            frames.push(Frame::new(buffer, length));
        }
        let round = [
            (switched - sent).as_nanos(),
            taken,
            given,
            (sent - start + done.elapsed()).as_nanos(),
            (done - switched).as_nanos(),
        ];
        for (samples, sample) in samples.iter_mut().zip(round) {
            samples.push(sample);
        }
    }
    let [switch, take, put, send, receive] = samples.map(each);
    let name = if llq {
        "low-latency queue"
    } else {
        "host placement"
    };
    println!(
        "{name}: switching thread {:.1} ns a packet (take {:.1}, put {:.1}, the rest completes), {:.1} Mpps; \
         sender {:.1} ns, receiver {:.1} ns",
        switch,
        take,
        put,
        1000.0 / switch,
        send,
        receive,
    );
    Ok(())
}

/// Nanoseconds a packet in the median round: rounds in which the thread lost its core do not count.
fn each(mut rounds: Vec<u128>) -> f64 {
    rounds.sort_unstable();
    rounds[rounds.len() / 2] as f64 / BURST as f64
}

/// Takes packets; a function of its own, so that a profiler sees it.
#[inline(never)]
fn take_all(from: &mut Path, packets: &mut [TxPacket]) -> usize {
    from.transmit(packets)
}

/// Puts packets; a function of its own, so that a profiler sees it.
#[inline(never)]
fn put_all(from: &Path, to: &mut Path, packets: &mut [TxPacket]) {
    for packet in packets {
        let offload = packet.offload();
        let (window, payload) = packet.parts(from.memory());
        let _ = to.receive(window, payload, offload);
    }
}

/// Completes packets; a function of its own, so that a profiler sees it.
#[inline(never)]
fn complete(from: &mut Path, packets: &mut [TxPacket]) {
    for packet in packets {
        from.complete(packet, Disposition::Sent);
    }
}

/// One round; returns the time for taking and for putting.
fn carry(from: &Wire, to: &Wire, packets: &mut [TxPacket]) -> (u128, u128) {
    let now = Instant::ZERO;
    let (mut from, mut to) = (from.lock(), to.lock());
    let (mut take, mut put) = (0, 0);
    from.poll(now);
    to.poll(now);
    loop {
        let start = Clock::now();
        let count = take_all(&mut from, packets);
        let taken = Clock::now();
        take += (taken - start).as_nanos();
        if count == 0 {
            break;
        }
        put_all(&from, &mut to, &mut packets[..count]);
        put += taken.elapsed().as_nanos();
        complete(&mut from, &mut packets[..count]);
    }
    from.flush(now);
    to.flush(now);
    (take, put)
}

fn host(mac: [u8; 6], llq: bool) -> Result<Host, Box<dyn Error>> {
    let device = DeviceConfig {
        llq,
        ..DeviceConfig::new(mac)
    };
    let memory = WordMemory::new();
    let registers = PlainRegisters::new(usize::try_from(layout::BAR0_BYTES)?);
    let pushed = PlainRegisters::new(usize::try_from(layout::bar2_bytes(device.queue_pairs))?);
    let interrupts = PlainInterrupts::new();
    let limits = Limits {
        tx_queues: 1,
        rx_queues: 1,
        vectors: 2,
    };
    let wire = DirectLink::new(Datapath::new(
        memory.clone(),
        registers.clone(),
        Some(pushed.clone()),
        interrupts.clone(),
        limits,
    ));
    let device = Device::new(device, memory.clone(), interrupts.clone(), wire.clone())?;
    let bus = Loopback::new(
        Arc::new(Mutex::new(device)),
        memory,
        BASE,
        u64::try_from(MEMORY_BYTES)?,
        registers,
        Some(pushed),
        interrupts,
    );
    let (driver, mut pairs, buffers) = Driver::probe(bus, Config::default())?;
    let pair = pairs.pop().ok_or("No queue pair")?;
    Ok((driver, pair, buffers, wire))
}

/// A datagram of 64 bytes on the wire: 60 without the frame's check sequence.
fn datagram() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let mut ip = [0; 20];
    ipv4::Repr::new(source, destination, Protocol::UDP, 26).emit(&mut ip)?;
    let mut bytes = [0; 26];
    udp::Repr {
        source_port: 1,
        destination_port: 2,
        payload: &[7; 18],
    }
    .emit(&mut bytes, source.into(), destination.into())?;
    frame.extend(ip);
    frame.extend(bytes);
    Ok(frame)
}

/// Memory in words of 8 bytes, each copied by one load or store where the address allows it: about what a
/// mapping costs, without unsafe code.
#[derive(Debug, Clone)]
struct WordMemory(Arc<[AtomicU64]>);

impl WordMemory {
    fn new() -> Self {
        Self((0..MEMORY_BYTES / 8).map(|_| AtomicU64::new(0)).collect())
    }

    #[inline]
    fn words(&self, address: u64, length: usize) -> Result<(&[AtomicU64], usize), DmaFault> {
        let fault = DmaFault { address, length };
        let offset = address
            .checked_sub(BASE)
            .and_then(|offset| usize::try_from(offset).ok())
            .ok_or(fault)?;
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= MEMORY_BYTES)
            .ok_or(fault)?;
        let words = self.0.get(offset / 8..end.div_ceil(8)).ok_or(fault)?;
        Ok((words, offset % 8))
    }
}

impl Memory for WordMemory {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        let (words, skip) = self.words(address, into.len())?;
        let Some((first, words)) = words.split_first() else {
            return Ok(());
        };
        let first = first.load(Ordering::Relaxed).to_le_bytes();
        let now = (8 - skip).min(into.len());
        let (head, into) = into.split_at_mut(now);
        head.copy_from_slice(&first[skip..skip + now]);
        let (chunks, tail) = into.as_chunks_mut::<8>();
        for (to, word) in chunks.iter_mut().zip(words) {
            *to = word.load(Ordering::Relaxed).to_le_bytes();
        }
        if let Some(word) = words.get(chunks.len()) {
            let last = word.load(Ordering::Relaxed).to_le_bytes();
            tail.copy_from_slice(&last[..tail.len()]);
        }
        Ok(())
    }

    #[inline]
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        let (words, skip) = self.words(address, from.len())?;
        let Some((first, words)) = words.split_first() else {
            return Ok(());
        };
        let now = (8 - skip).min(from.len());
        let (head, from) = from.split_at(now);
        let mut bytes = first.load(Ordering::Relaxed).to_le_bytes();
        bytes[skip..skip + now].copy_from_slice(head);
        first.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        let (chunks, tail) = from.as_chunks::<8>();
        for (word, from) in words.iter().zip(chunks) {
            word.store(u64::from_le_bytes(*from), Ordering::Relaxed);
        }
        if let Some(word) = words.get(chunks.len()) {
            let mut bytes = word.load(Ordering::Relaxed).to_le_bytes();
            bytes[..tail.len()].copy_from_slice(tail);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        Ok(())
    }

    #[inline]
    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        let (words, skip) = self.words(address, 4)?;
        let fault = DmaFault { address, length: 4 };
        let word = words.first().filter(|_| skip % 4 == 0).ok_or(fault)?;
        u32::try_from(word.load(Ordering::Acquire) >> (skip * 8) & 0xffff_ffff).map_err(|_| fault)
    }

    #[inline]
    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        let (words, skip) = self.words(address, 4)?;
        let fault = DmaFault { address, length: 4 };
        let word = words.first().filter(|_| skip % 4 == 0).ok_or(fault)?;
        let kept = word.load(Ordering::Relaxed) & !(0xffff_ffff << (skip * 8));
        word.store(kept | u64::from(value) << (skip * 8), Ordering::Release);
        Ok(())
    }

    fn store_u16(&self, address: u64, value: u16) -> Result<(), DmaFault> {
        self.write(address, &value.to_le_bytes())
    }

    fn copy_to(&self, from: u64, other: &Self, at: u64, length: usize) -> Result<(), DmaFault> {
        let mut bytes = vec![0; length];
        self.read(from, &mut bytes)?;
        other.write(at, &bytes)
    }
}
