//! The control half of an ENA function: config space, registers, admin queue, events.
//!
//! It decodes and decides, at the pace of the admin queue, and hands what concerns packets to the other half as
//! a [`Change`] over a [`Link`]. Time comes with [`Function::handle_timeout`]; ask [`Function::poll_timeout`]
//! again after each call of the function. Everything that the driver gives is taken as hostile: a refusal is a
//! [`Refusal`], counted, traced and (of a command) told to the driver.
//!
//! Source of the behaviour: what the stock drivers ask of a device (`ena_com.c`, `ena_netdev.c` of the Linux
//! driver and of amzn-drivers, DPDK, FreeBSD, iPXE); docs/devices.md has it in one place.

mod command;
mod config;
mod decode;
mod describe;
mod events;
mod feature;
pub mod layout;
mod queues;
mod refusal;
mod registers;
mod rss;
mod statistics;
mod trace;

use std::fmt;

use trinic_pci::admin::{CompletionRing, EventRing, SubmissionRing};
use trinic_pci::config::{ConfigSpace, Identity, MsixPlace};
use trinic_pci::msix::{self, MsixTable};
use trinic_pci::readless::Readless;
use trinic_pci::{BarSpec, Function, Interrupts, Memory};
use trinic_wire::time::Instant;

pub use self::config::{Config, ConfigError};
pub use self::describe::{Description, DriverState, HostDescription, QueueDescription, ResetCount};
pub use self::refusal::{Refusal, RefusalCounts};
pub use self::trace::{TraceEvent, TraceRecord};

use self::describe::ResetLog;
use self::events::Events;
use self::feature::Features;
use self::queues::Queues;
use self::registers::Registers;
use self::trace::Trace;
use crate::datapath::{Change, DatapathGone, Link};
use crate::spec::feature::{HardwareHints, NO_TIMEOUT};
use crate::spec::registers::DeviceStatus;

/// Amazon's vendor id, also of the subsystem. Source: `ena_pci_id_tbl.h`.
pub const VENDOR_ID: u16 = 0x1d0f;

/// The virtual function that instances have. Source: `ena_pci_id_tbl.h`; every driver matches it.
pub const DEVICE_ID: u16 = 0xec20;

/// Interrupt vector of admin completions and events. Source: `ENA_MGMNT_IRQ_IDX`, `ena_netdev.h`.
pub const MANAGEMENT_VECTOR: u16 = 0;

/// The control half of an ENA function.
///
/// `M` is the driver's memory, `I` the function's interrupts, `L` the way to the datapath half, which has the
/// same memory, the same interrupts and the mapped parts of the BARs.
pub struct Device<M, I, L> {
    config: Config,
    memory: M,
    interrupts: I,
    link: L,
    space: ConfigSpace,
    msix: MsixTable,
    bars: Vec<BarSpec>,
    registers: Registers,
    status: DeviceStatus,
    readless: Readless,
    aq: Option<SubmissionRing>,
    acq: Option<CompletionRing>,
    aenq: Option<EventRing>,
    queues: Queues,
    features: Features,
    events: Events,
    resets: ResetLog,
    refusals: RefusalCounts,
    trace: Trace,
    /// The datapath has been told something since its last reset.
    is_datapath_touched: bool,
    drop_admin_interrupt: bool,
    swallow_admin_completion: bool,
    now: Instant,
}

/// Something that a device does not do in good times, for tests of what a driver does then. A reset ends all of them but
/// the link's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No keep-alive event any more: the driver resets with reason 1.
    StopKeepAlives,
    /// The next transmit completion is not written: reason 3 once more than 128 are late at one look (Linux), 10 where
    /// the kernel's byte queue limits stop the queue before.
    SwallowTxCompletion,
    /// The next interrupt of a queue is not raised: reason 14 or 20 if it is the queue's first, else as of lost
    /// completions.
    DropInterrupt,
    /// The next interrupt of the management vector is not raised: reason 2 or 18, unless the next keep-alive's
    /// interrupt has the driver look in time, as Linux does.
    DropAdminInterrupt,
    /// The next command is not completed: reason 2.
    SwallowAdminCompletion,
    /// The device asks for a reset by an event: reason 19, of drivers that enabled the group.
    RequestReset,
    /// The device says that it failed, in its status and by an event.
    FatalError,
    /// The cable is pulled: the driver is told by an event.
    LinkDown,
    /// The cable is plugged in again.
    LinkUp,
    /// New hints by an event, of drivers that enabled the group: nobody need watch for keep-alives any more.
    NoWatchdog,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StopKeepAlives => "no more keep-alive events",
            Self::SwallowTxCompletion => "the next transmit completion is lost",
            Self::DropInterrupt => "the next interrupt of a queue is lost",
            Self::DropAdminInterrupt => "the next management interrupt is lost",
            Self::SwallowAdminCompletion => "the next admin completion is lost",
            Self::RequestReset => "the device asks for a reset",
            Self::FatalError => "the device fails",
            Self::LinkDown => "the link goes down",
            Self::LinkUp => "the link comes up",
            Self::NoWatchdog => "hints: no watchdog of keep-alives",
        })
    }
}

/// Why a fault did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// The driver does not listen to that event, or has no room for it.
    #[error("The driver takes no such event")]
    NotListening,
    /// There is no datapath.
    #[error(transparent)]
    Datapath(#[from] DatapathGone),
}

impl<M: Memory, I: Interrupts, L: Link> Device<M, I, L> {
    /// A function at power-on. The datapath behind `link` is reset.
    ///
    /// # Errors
    ///
    /// When the configuration is out of range or there is no datapath.
    pub fn new(config: Config, memory: M, interrupts: I, link: L) -> Result<Self, ConfigError> {
        config.check()?;
        let bars = layout::bars(&config);
        let identity = Identity {
            vendor_id: VENDOR_ID,
            device_id: DEVICE_ID,
            // Bit 0 would tell Linux and FreeBSD to read registers without DMA. [assumed A-34]
            revision_id: 0,
            class_code: 0x02_0000,
            subsystem_vendor_id: VENDOR_ID,
            subsystem_id: DEVICE_ID,
        };
        let place = MsixPlace {
            vectors: layout::vector_count(config.queue_pairs),
            bar: 1,
            table_offset: 0,
            pending_offset: msix::PENDING_OFFSET,
        };
        let mut device = Self {
            space: ConfigSpace::new(&identity, &bars, place)?,
            msix: MsixTable::new(place.vectors),
            bars,
            registers: Registers::default(),
            status: DeviceStatus::new().with_ready(true),
            readless: Readless::default(),
            aq: None,
            acq: None,
            aenq: None,
            queues: Queues::new(&config),
            features: Features::new(&config),
            events: Events::new(),
            resets: ResetLog::default(),
            refusals: RefusalCounts::new(),
            trace: Trace::new(config.trace_records),
            is_datapath_touched: true,
            drop_admin_interrupt: false,
            swallow_admin_completion: false,
            now: Instant::ZERO,
            config,
            memory,
            interrupts,
            link,
        };
        device.reset_datapath()?;
        Ok(device)
    }

    /// What was chosen about the function.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The way to the datapath half.
    pub fn link_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// How often each reason to refuse was met.
    pub fn refusals(&self) -> &RefusalCounts {
        &self.refusals
    }

    /// Keeps at most so many records of the trace from now on; 0 ends it.
    pub fn set_trace(&mut self, records: usize) {
        self.trace.set_most(records);
    }

    /// The records of the trace since the last call, oldest first.
    pub fn drain_trace(&mut self) -> std::collections::vec_deque::Drain<'_, TraceRecord> {
        self.trace.drain()
    }

    /// The cable is pulled or plugged in; the driver is told by an event.
    pub fn set_link(&mut self, is_up: bool) {
        self.events.set_link(is_up);
        self.report_link();
    }

    /// Makes the device misbehave.
    ///
    /// # Errors
    ///
    /// When the driver would not notice, or there is no datapath.
    pub fn inject(&mut self, fault: Fault) -> Result<(), FaultError> {
        self.trace.add(|| TraceEvent::Fault(fault));
        self.is_datapath_touched = true;
        match fault {
            Fault::StopKeepAlives => self.events.stop_keep_alives(),
            Fault::SwallowTxCompletion => self.link.apply(Change::SwallowTxCompletion)?,
            Fault::DropInterrupt => self.link.apply(Change::DropInterrupt)?,
            Fault::DropAdminInterrupt => self.drop_admin_interrupt = true,
            Fault::SwallowAdminCompletion => self.swallow_admin_completion = true,
            Fault::RequestReset => self.report_reset_request()?,
            Fault::FatalError => {
                self.status.set_fatal_error(true);
                self.report_fatal_error();
            }
            Fault::LinkDown => self.set_link(false),
            Fault::LinkUp => self.set_link(true),
            Fault::NoWatchdog => self.notify_hints(&HardwareHints {
                watchdog_timeout_ms: NO_TIMEOUT.into(),
                ..HardwareHints::default()
            })?,
        }
        Ok(())
    }

    /// Forgets all that the driver set up; config space and MSI-X stay.
    fn reset_state(&mut self) {
        self.registers = Registers::default();
        self.readless = Readless::default();
        (self.aq, self.acq, self.aenq) = (None, None, None);
        self.queues.clear();
        self.features = Features::new(&self.config);
        self.events.reset();
        self.drop_admin_interrupt = false;
        self.swallow_admin_completion = false;
        self.status = DeviceStatus::new().with_ready(true);
        if self.reset_datapath().is_err() {
            self.datapath_gone();
        }
    }

    /// Nothing if the datapath is as after a reset: a driver that resets in a loop must not keep the thread busy
    /// that switches for others.
    fn reset_datapath(&mut self) -> Result<(), DatapathGone> {
        if !self.is_datapath_touched {
            return Ok(());
        }
        self.link.apply(Change::Reset)?;
        self.link.apply(Change::Mtu(self.features.mtu()))?;
        self.link.apply(Change::Moderation {
            unit_ns: feature::MODERATION_UNIT_NS,
        })?;
        self.is_datapath_touched = false;
        Ok(())
    }

    /// The datapath has ended: nothing will work any more, and the status says so.
    fn datapath_gone(&mut self) {
        self.status.set_fatal_error(true);
        self.refuse(Refusal::DatapathGone);
    }

    fn bus_reset(&mut self) {
        self.trace.add(|| TraceEvent::BusReset);
        self.resets.bus += 1;
        self.msix.reset();
        self.reset_state();
        self.resets.state = DriverState::NoDriver;
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusals.add(refusal);
        self.trace.add(|| TraceEvent::Refused(refusal));
    }

    /// Raises the management vector, unless the driver polls.
    fn raise_management(&mut self) {
        if self.registers.is_management_masked() {
            return;
        }
        if std::mem::take(&mut self.drop_admin_interrupt) {
            return;
        }
        self.interrupts.trigger(MANAGEMENT_VECTOR);
    }
}

impl<M: Memory, I: Interrupts, L: Link> Function for Device<M, I, L> {
    fn bars(&self) -> &[BarSpec] {
        &self.bars
    }

    fn vector_count(&self) -> u16 {
        layout::vector_count(self.config.queue_pairs)
    }

    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        self.space.read(offset, data);
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        if self.space.write(offset, data).function_level_reset {
            self.bus_reset();
        }
    }

    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        match self.part(bar, offset, data.len()) {
            Ok(Part::Registers) => self.read_registers(offset, data),
            Ok(Part::Msix) => self.msix.read(offset, data),
            Err(refusal) => {
                data.fill(u8::MAX);
                self.refuse(refusal);
            }
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        match self.part(bar, offset, data.len()) {
            Ok(Part::Registers) => self.write_registers(offset, data),
            Ok(Part::Msix) => self.msix.write(offset, data),
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn reset(&mut self) {
        self.space.reset();
        self.is_datapath_touched = true;
        self.bus_reset();
    }

    fn memory_changed(&mut self) {
        if self.link.apply(Change::MemoryChanged).is_err() {
            self.datapath_gone();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.events.next_keep_alive()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.keep_alive();
    }
}

/// A part of a BAR that is served by calls.
enum Part {
    Registers,
    Msix,
}

impl<M, I, L> Device<M, I, L> {
    fn part(&self, bar: u8, offset: u64, length: usize) -> Result<Part, Refusal> {
        let spec = self.bars.iter().find(|spec| spec.index == bar);
        let spec = spec.ok_or(Refusal::OutsideBar)?;
        let length = u64::try_from(length).map_err(|_| Refusal::OutsideBar)?;
        let end = offset.checked_add(length).ok_or(Refusal::OutsideBar)?;
        if end > spec.size_bytes {
            return Err(Refusal::OutsideBar);
        }
        let is_mapped = |part: &std::ops::Range<u64>| offset < part.end && end > part.start;
        if spec.mapped.iter().any(is_mapped) {
            return Err(Refusal::MappedPart);
        }
        match bar {
            0 => Ok(Part::Registers),
            1 => Ok(Part::Msix),
            _ => Err(Refusal::OutsideBar),
        }
    }
}

impl<M, I, L: fmt::Debug> fmt::Debug for Device<M, I, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("config", &self.config)
            .field("status", &self.status)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
