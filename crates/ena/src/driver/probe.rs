//! From a function on its bus to running queues, and back there after a reset.

use std::sync::Arc;

use trinic_pci::Bus;
use zerocopy::FromZeros;

use super::admin::{ADMIN_BYTES, Admin, wait_until, write};
use super::events::{EVENT_BYTES, Events};
use super::features::Features;
use super::receive::RX_COMPLETION_BYTES;
use super::transmit::TX_COMPLETION_BYTES;
use super::{Buffer, Config, Driver, DriverError, QueueError, QueuePair, RxQueue, TxQueue, Waiter};
use crate::datapath::{Llq, MAX_TX_BUFFERS};
use crate::spec::admin::{
    Command, CompletionPolicy, CqEntry, CqMode, CreateCq, CreateCqResponse, CreateSq, CreateSqResponse,
    Direction, MemoryAddress, NO_VECTOR, Opcode, PlacementPolicy, SqIdentity, SqPolicies,
};
use crate::spec::descriptor::DESCRIPTOR_BYTES;
use crate::spec::host_info::HOST_INFO_PAGE_BYTES;
use crate::spec::registers::{Caps, ControllerVersion, DeviceControl, DeviceStatus, Register, ResetReason};

/// Pages, to which every ring is aligned.
const PAGE_BYTES: usize = 4096;

/// What [`Driver::probe`] gives: the driver, its queues, and the buffers of all of them.
pub type Probed<B> = (Driver<B>, Vec<QueuePair<B>>, Vec<Buffer>);

impl<B: Bus> Driver<B> {
    /// Resets the device, agrees with it and makes the queues. The receive queues are empty: post buffers with
    /// [`RxQueue::refill`].
    ///
    /// # Errors
    ///
    /// When the bus, the device or the configuration does not allow it.
    pub fn probe(mut bus: B, config: Config) -> Result<Probed<B>, DriverError> {
        check(&config)?;
        let admin_base = bus.allocate(ADMIN_BYTES, PAGE_BYTES)?;
        let control = bus.allocate(PAGE_BYTES, PAGE_BYTES)?;
        let event_base = bus.allocate(EVENT_BYTES, PAGE_BYTES)?;
        let host_info = bus.allocate(
            usize::try_from(HOST_INFO_PAGE_BYTES).unwrap_or(PAGE_BYTES),
            PAGE_BYTES,
        )?;
        let mut admin = Admin::new(admin_base, control, config.readless);
        let mut events = Events::new(event_base);
        let features = start(
            &bus,
            &mut admin,
            &mut events,
            &config,
            host_info,
            ResetReason::NORMAL,
        )?;
        let config = fit(config, &features);
        let mut memory = Vec::new();
        for _ in 0..config.queue_pairs {
            memory.push(QueueMemory::allocate(&mut bus, &config)?);
        }
        let buffers = allocate_buffers(&mut bus, &config)?;
        let bus = Arc::new(bus);
        let mut driver = Self {
            bus: Arc::clone(&bus),
            config,
            admin,
            events,
            features,
            host_info,
        };
        let mut pairs: Vec<_> = (0..)
            .zip(memory)
            .map(|(index, memory)| driver.pair(index, &memory))
            .collect();
        driver.create(&mut pairs)?;
        Ok((driver, pairs, buffers))
    }

    /// Resets the device for a reason and brings it back to where it was. Buffers that the queues had are put at
    /// the end of `buffers`; frames under way are lost.
    ///
    /// # Errors
    ///
    /// When the device does not come back, or comes back as another one.
    pub fn reset(
        &mut self,
        reason: ResetReason,
        pairs: &mut [QueuePair<B>],
        buffers: &mut Vec<Buffer>,
    ) -> Result<(), DriverError> {
        let before = self.features.offer.clone();
        let features = start(
            &*self.bus,
            &mut self.admin,
            &mut self.events,
            &self.config,
            self.host_info,
            reason,
        )?;
        if features.offer.mac != before.mac {
            return Err(DriverError::Changed("MAC address"));
        }
        if features.offer.max_mtu < self.config.mtu
            || features.offer.max_queue_pairs < self.config.queue_pairs
            || features.max_tx_depth < self.config.tx_depth
            || features.max_rx_depth < self.config.rx_depth
        {
            return Err(DriverError::Changed("limits"));
        }
        self.features = features;
        for pair in &mut *pairs {
            pair.tx.restart(buffers).map_err(memory_error)?;
            pair.rx.restart(buffers).map_err(memory_error)?;
            pair.waiter.is_armed = false;
        }
        self.create(pairs)
    }

    /// Ends the device's work: nothing of the driver's memory is used any more when this returns.
    ///
    /// # Errors
    ///
    /// When the device does not reset.
    pub fn shut_down(mut self, reason: ResetReason) -> Result<(), DriverError> {
        reset(&*self.bus, &mut self.admin, reason)
    }

    fn pair(&self, index: u16, memory: &QueueMemory) -> QueuePair<B> {
        QueuePair {
            index,
            tx: TxQueue::new(
                Arc::clone(&self.bus),
                memory.tx_ring,
                memory.tx_completions,
                self.config.tx_depth,
            ),
            rx: RxQueue::new(
                Arc::clone(&self.bus),
                memory.rx_ring,
                memory.rx_completions,
                self.config.rx_depth,
            ),
            waiter: Waiter {
                bus: Arc::clone(&self.bus),
                vector: index + 1,
                unmask: 0,
                is_armed: false,
            },
        }
    }

    /// Makes the queues on the device, in Linux' order.
    fn create(&mut self, pairs: &mut [QueuePair<B>]) -> Result<(), DriverError> {
        let vectors = self.config.interrupts;
        let vector = |index: u16| vectors.then_some(index + 1);
        for pair in &mut *pairs {
            let (ring, completions, depth) = pair.tx.geometry();
            let cq = self.create_cq(completions, depth, TX_COMPLETION_BYTES, vector(pair.index))?;
            let llq = self.features.llq;
            let base = if llq.is_some() { 0 } else { ring };
            let sq = self.create_sq(Direction::TX, &cq, base, depth, llq.is_some())?;
            pair.waiter.unmask = u64::from(cq.unmask_offset.get());
            pair.tx.doorbell = u64::from(sq.doorbell_offset.get());
            pair.tx.llq = llq.map(|llq| Llq {
                offset: u64::from(sq.llq_descriptors_offset.get()),
                ..llq
            });
            pair.tx.meta_caching = self.features.meta_caching;
            pair.tx.max_header = usize::from(self.features.max_header);
            pair.tx.max_buffers = usize::from(self.features.offer.max_tx_buffers).min(MAX_TX_BUFFERS);
        }
        for pair in &mut *pairs {
            let (ring, completions, depth) = pair.rx.geometry();
            let cq = self.create_cq(completions, depth, RX_COMPLETION_BYTES, vector(pair.index))?;
            let sq = self.create_sq(Direction::RX, &cq, ring, depth, false)?;
            pair.rx.doorbell = u64::from(sq.doorbell_offset.get());
        }
        self.set_features()
    }

    fn create_cq(
        &mut self,
        base: u64,
        depth: u16,
        entry_bytes: usize,
        vector: Option<u16>,
    ) -> Result<CreateCqResponse, DriverError> {
        let words = u8::try_from(entry_bytes / 4).unwrap_or_default();
        let body = CreateCq {
            mode: CqMode::new().with_interrupt(vector.is_some()),
            entry: CqEntry::new().with_words(words),
            depth: depth.into(),
            vector: vector.map_or(NO_VECTOR, u32::from).into(),
            base: MemoryAddress::new(base),
        };
        let command = Command::new(Opcode::CREATE_CQ, &body);
        let answer: CreateCqResponse = self.admin.execute(&*self.bus, command)?.payload();
        if answer.actual_depth.get() != depth {
            return Err(DriverError::Offer {
                what: "depth of a completion queue",
                value: u64::from(answer.actual_depth.get()),
            });
        }
        Ok(answer)
    }

    fn create_sq(
        &mut self,
        direction: Direction,
        cq: &CreateCqResponse,
        base: u64,
        depth: u16,
        is_llq: bool,
    ) -> Result<CreateSqResponse, DriverError> {
        let placement = if is_llq {
            PlacementPolicy::DEVICE
        } else {
            PlacementPolicy::HOST
        };
        let mut body = CreateSq::new_zeroed();
        body.identity = SqIdentity::new().with_direction(direction.0);
        body.policies = SqPolicies::new()
            .with_placement(placement.0)
            .with_completion(CompletionPolicy::DESCRIPTOR.0);
        body.contiguous = 1;
        body.cq_index = cq.cq_index;
        body.depth = depth.into();
        body.base = MemoryAddress::new(base);
        let command = Command::new(Opcode::CREATE_SQ, &body);
        Ok(self.admin.execute(&*self.bus, command)?.payload())
    }
}

/// The rings of a queue pair.
struct QueueMemory {
    tx_ring: u64,
    tx_completions: u64,
    rx_ring: u64,
    rx_completions: u64,
}

impl QueueMemory {
    fn allocate<B: Bus>(bus: &mut B, config: &Config) -> Result<Self, DriverError> {
        let (tx, rx) = (usize::from(config.tx_depth), usize::from(config.rx_depth));
        Ok(Self {
            tx_ring: bus.allocate(tx * DESCRIPTOR_BYTES, PAGE_BYTES)?,
            tx_completions: bus.allocate(tx * TX_COMPLETION_BYTES, PAGE_BYTES)?,
            rx_ring: bus.allocate(rx * DESCRIPTOR_BYTES, PAGE_BYTES)?,
            rx_completions: bus.allocate(rx * RX_COMPLETION_BYTES, PAGE_BYTES)?,
        })
    }
}

fn allocate_buffers<B: Bus>(bus: &mut B, config: &Config) -> Result<Vec<Buffer>, DriverError> {
    let count = u64::from(config.queue_pairs) * u64::from(config.buffers);
    let too_many = DriverError::Config {
        what: "number of buffers",
        value: count,
    };
    let length = count
        .checked_mul(u64::from(config.buffer_bytes))
        .and_then(|length| usize::try_from(length).ok())
        .ok_or(too_many)?;
    let base = bus.allocate(length, PAGE_BYTES)?;
    Ok((0..count)
        .map(|index| Buffer {
            address: base + index * u64::from(config.buffer_bytes),
            bytes: config.buffer_bytes,
        })
        .collect())
}

/// From any state to an agreement about features.
fn start<B: Bus>(
    bus: &B,
    admin: &mut Admin,
    events: &mut Events,
    config: &Config,
    host_info: u64,
    reason: ResetReason,
) -> Result<Features, DriverError> {
    reset(bus, admin, reason)?;
    let version = ControllerVersion::from_bits(admin.read(bus, Register::CONTROLLER_VERSION)?);
    if version.with_implementation(0).into_bits() == 0 {
        return Err(DriverError::Offer {
            what: "controller version",
            value: 0,
        });
    }
    admin.start(bus)?;
    events.start(bus)?;
    // 1 = no interrupts of the management vector: the driver looks.
    write(bus, Register::INTR_MASK, u32::from(!config.interrupts))?;
    let features = Features::negotiate(bus, admin, config, host_info)?;
    events.open(bus, features.offer.event_groups)?;
    Ok(features)
}

/// The reset handshake. Source: `ena_com_dev_reset`.
fn reset<B: Bus>(bus: &B, admin: &mut Admin, reason: ResetReason) -> Result<(), DriverError> {
    admin.announce_response(bus)?;
    let status = DeviceStatus::from_bits(admin.read(bus, Register::DEV_STS)?);
    if !status.ready() {
        return Err(DriverError::NotReady);
    }
    let caps = Caps::from_bits(admin.read(bus, Register::CAPS)?);
    let timeout_ms = u32::from(caps.reset_timeout()) * 100;
    if timeout_ms == 0 {
        return Err(DriverError::Offer {
            what: "reset timeout",
            value: 0,
        });
    }
    write(
        bus,
        Register::DEV_CTL,
        DeviceControl::new_reset(reason).into_bits(),
    )?;
    // The reset made the device forget where answers go.
    admin.announce_response(bus)?;
    wait_for_reset(bus, admin, timeout_ms, true)?;
    write(bus, Register::DEV_CTL, 0)?;
    wait_for_reset(bus, admin, timeout_ms, false)?;
    let status = DeviceStatus::from_bits(admin.read(bus, Register::DEV_STS)?);
    if !status.ready() {
        return Err(DriverError::NotReady);
    }
    Ok(())
}

fn wait_for_reset<B: Bus>(
    bus: &B,
    admin: &mut Admin,
    timeout_ms: u32,
    in_progress: bool,
) -> Result<(), DriverError> {
    let is_seen = wait_until(bus, timeout_ms, || {
        let status = DeviceStatus::from_bits(admin.read(bus, Register::DEV_STS)?);
        Ok(status.reset_in_progress() == in_progress)
    })?;
    if is_seen {
        Ok(())
    } else {
        Err(DriverError::ResetTimeout(timeout_ms))
    }
}

/// The configuration cut to what the device has.
fn fit(mut config: Config, features: &Features) -> Config {
    config.queue_pairs = config.queue_pairs.min(features.offer.max_queue_pairs);
    config.tx_depth = config.tx_depth.min(features.max_tx_depth);
    config.rx_depth = config.rx_depth.min(features.max_rx_depth);
    config
}

fn check(config: &Config) -> Result<(), DriverError> {
    let wrong = |what, value: u32| {
        Err(DriverError::Config {
            what,
            value: u64::from(value),
        })
    };
    for (what, depth) in [("TX depth", config.tx_depth), ("RX depth", config.rx_depth)] {
        if !depth.is_power_of_two() || depth < 16 {
            return wrong(what, u32::from(depth));
        }
    }
    if !(64..=0xffff).contains(&config.buffer_bytes) {
        return wrong("buffer size", config.buffer_bytes);
    }
    if config.queue_pairs == 0 {
        return wrong("number of queue pairs", 0);
    }
    Ok(())
}

fn memory_error(error: QueueError) -> DriverError {
    match error {
        QueueError::Dma(fault) => fault.into(),
        QueueError::Bus(error) => error.into(),
        _ => DriverError::NotReady,
    }
}
