//! Two functions with a driver each, in one process, and a wire between them.

use std::sync::{Arc, Mutex};

use trinic_ena::datapath::{Datapath, Disposition, Limits, TxPacket};
use trinic_ena::device::{Config as DeviceConfig, Device, layout};
use trinic_ena::driver::{Buffer, Config, DirectLink, Driver, DriverError, Frame, Loopback, QueuePair};
use trinic_pci::Function;
use trinic_pci::testing::{PlainInterrupts, PlainMemory, PlainRegisters};
use trinic_wire::time::Instant;

pub(crate) type Wire = DirectLink<PlainMemory, PlainRegisters, PlainInterrupts>;
pub(crate) type Model = Device<PlainMemory, PlainInterrupts, Wire>;
pub(crate) type Bus = Loopback<Model, PlainMemory>;

/// One function with its driver.
pub(crate) struct Host {
    pub(crate) device: Arc<Mutex<Model>>,
    pub(crate) wire: Wire,
    pub(crate) driver: Driver<Bus>,
    pub(crate) pairs: Vec<QueuePair<Bus>>,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) memory: PlainMemory,
}

const BASE: u64 = 0x10_0000;

pub(crate) fn bus(config: DeviceConfig, bytes: usize) -> (Bus, Arc<Mutex<Model>>, Wire) {
    let memory = PlainMemory::new(BASE, bytes);
    let registers = PlainRegisters::new(0x4000);
    let pushed = config
        .llq
        .then(|| PlainRegisters::new(usize::try_from(layout::bar2_bytes(config.queue_pairs)).unwrap()));
    let interrupts = PlainInterrupts::new();
    let limits = Limits {
        tx_queues: config.queue_pairs,
        rx_queues: config.queue_pairs,
        vectors: layout::vector_count(config.queue_pairs),
    };
    let path = Datapath::new(
        memory.clone(),
        registers.clone(),
        pushed.clone(),
        interrupts.clone(),
        limits,
    );
    let wire = DirectLink::new(path);
    let device = Device::new(config, memory.clone(), interrupts.clone(), wire.clone()).unwrap();
    let device = Arc::new(Mutex::new(device));
    let bus = Loopback::new(
        Arc::clone(&device),
        memory,
        BASE,
        bytes as u64,
        registers,
        pushed,
        interrupts,
    );
    (bus, device, wire)
}

impl Host {
    pub(crate) fn new(device: DeviceConfig, config: Config) -> Result<Self, DriverError> {
        let rings = usize::from(config.tx_depth) * 24 + usize::from(config.rx_depth) * 32;
        let buffers = usize::try_from(config.buffers * config.buffer_bytes).unwrap();
        let bytes = 0x8000 + usize::from(config.queue_pairs) * (rings + buffers + 0x4000);
        let (bus, device, wire) = bus(device, bytes);
        let memory = trinic_pci::Bus::memory(&bus).clone();
        let (driver, pairs, buffers) = Driver::probe(bus, config)?;
        Ok(Self {
            device,
            wire,
            driver,
            pairs,
            buffers,
            memory,
        })
    }

    /// Half of the buffers are posted.
    pub(crate) fn fill(&mut self) {
        for pair in &mut self.pairs {
            let keep = self.buffers.len() / 2;
            let mut some = self.buffers.split_off(keep);
            pair.rx.refill(&mut some).unwrap();
            self.buffers.append(&mut some);
        }
    }

    pub(crate) fn frame(&mut self, bytes: &[u8]) -> Frame {
        let buffer = self.buffers.pop().unwrap();
        Frame::copied(buffer, &self.memory, bytes).unwrap()
    }

    /// Everything that was received, as bytes; the buffers are posted again.
    pub(crate) fn received(&mut self) -> Vec<(u16, Vec<u8>, trinic_ena::driver::Seen)> {
        let mut out = Vec::new();
        for pair in &mut self.pairs {
            let mut frames = Vec::new();
            while pair.rx.receive(&mut frames, 64).unwrap() > 0 {}
            let mut spare = Vec::new();
            for frame in frames {
                let mut bytes = vec![0; frame.length()];
                frame.read(&self.memory, &mut bytes).unwrap();
                out.push((pair.index, bytes, frame.seen));
                frame.into_buffers(&mut spare);
            }
            pair.rx.refill(&mut spare).unwrap();
            self.buffers.append(&mut spare);
        }
        out
    }

    pub(crate) fn reclaim(&mut self) -> usize {
        let mut count = 0;
        for pair in &mut self.pairs {
            count += pair.tx.reclaim(&mut self.buffers).unwrap();
        }
        count
    }

    /// Time passes at the device.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.device.lock().unwrap().handle_timeout(now);
    }
}

/// Carries what one function sent to another.
pub(crate) fn carry(from: &Wire, to: &Wire, now: Instant) -> usize {
    let mut packets = vec![TxPacket::new(); 32];
    let mut total = 0;
    let (mut from, mut to) = (from.lock(), to.lock());
    from.poll(now);
    to.poll(now);
    loop {
        let count = from.transmit(&mut packets);
        for packet in &mut packets[..count] {
            let offload = packet.offload();
            let (window, payload) = packet.parts(from.memory());
            let _ = to.receive(window, payload, offload);
            from.complete(packet, Disposition::Sent);
        }
        total += count;
        if count == 0 {
            break;
        }
    }
    from.flush(now);
    to.flush(now);
    total
}
