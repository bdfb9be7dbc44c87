//! What the device reports on its own: link, keep-alive, failure.

use trinic_pci::{Bus, Memory};
use trinic_wire::time::Instant;
use zerocopy::{FromBytes, FromZeros};

use super::admin::{write, write64};
use super::ring::zero;
use super::{Driver, DriverError};
use crate::spec::admin::ENTRY_BYTES;
use crate::spec::aenq::{Event, Group, KeepAlive, LinkChange};
use crate::spec::registers::{QueueCaps, Register};

/// Entries of the event ring. Source: `ENA_ASYNC_QUEUE_DEPTH`.
const EVENT_DEPTH: u16 = 16;

/// Bytes of the event ring.
pub(super) const EVENT_BYTES: usize = EVENT_DEPTH as usize * ENTRY_BYTES;

/// How long the device may be silent. Source: `ENA_DEVICE_KALIVE_TIMEOUT`.
const KEEP_ALIVE_TIMEOUT_MS: u64 = 6000;

/// What was reported since the driver was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Link changes.
    pub link: u64,
    /// Keep-alive events.
    pub keep_alive: u64,
    /// Warnings, notifications and whatever has no meaning here.
    pub other: u64,
    /// Packets that the device dropped on their way to the driver, as of the last keep-alive event.
    pub rx_drops: u64,
    /// Packets of the driver that the device dropped.
    pub tx_drops: u64,
    /// Packets that did not fit.
    pub rx_overruns: u64,
}

/// The driver's end of the event ring.
#[derive(Debug)]
pub(super) struct Events {
    base: u64,
    handled: u16,
    is_watched: bool,
    link_is_up: bool,
    last_keep_alive: Option<Instant>,
    counts: EventCounts,
}

impl Events {
    pub(super) fn new(base: u64) -> Self {
        Self {
            base,
            handled: 0,
            is_watched: false,
            link_is_up: false,
            last_keep_alive: None,
            counts: EventCounts::default(),
        }
    }

    /// Tells the device where the ring is; it may not write yet.
    pub(super) fn start<B: Bus>(&mut self, bus: &B) -> Result<(), DriverError> {
        zero(bus.memory(), self.base, EVENT_BYTES)?;
        self.handled = 0;
        self.is_watched = false;
        self.link_is_up = false;
        self.last_keep_alive = None;
        let caps = QueueCaps::new()
            .with_depth(EVENT_DEPTH)
            .with_entry_bytes(u16::try_from(ENTRY_BYTES).unwrap_or_default());
        write64(bus, Register::AENQ_BASE_LO, self.base)?;
        write(bus, Register::AENQ_CAPS, caps.into_bits())
    }

    /// Gives the device the whole ring.
    pub(super) fn open<B: Bus>(&mut self, bus: &B, groups: u32) -> Result<(), DriverError> {
        self.is_watched = groups & Group::KEEP_ALIVE.bit() != 0;
        write(bus, Register::AENQ_HEAD_DB, u32::from(EVENT_DEPTH))
    }

    fn next<B: Bus>(&mut self, bus: &B) -> Result<Option<Event>, DriverError> {
        let address = self.base + u64::from(self.handled % EVENT_DEPTH) * 64;
        let phase = (self.handled / EVENT_DEPTH).is_multiple_of(2);
        if (bus.memory().load_u32(address + 4)? & 1 == 1) != phase {
            return Ok(None);
        }
        let mut bytes = [0; ENTRY_BYTES];
        bus.memory().read(address, &mut bytes)?;
        self.handled = self.handled.wrapping_add(1);
        Ok(Some(
            Event::read_from_bytes(&bytes).unwrap_or_else(|_| Event::new_zeroed()),
        ))
    }
}

impl<B: Bus> Driver<B> {
    /// Handles what the device has reported, and watches that it reports at all. Call it about once a second.
    ///
    /// # Errors
    ///
    /// When the device failed, asks for a reset or was silent for 6 s: [`Self::reset`] is due.
    pub fn poll(&mut self, now: Instant) -> Result<(), DriverError> {
        let mut verdict = Ok(());
        let before = self.events.handled;
        // A ring's worth at most, so that a device that writes all the time does not keep us here.
        for _ in 0..EVENT_DEPTH {
            let Some(event) = self.events.next(&*self.bus)? else {
                break;
            };
            match Group(event.group.get()) {
                Group::LINK_CHANGE => {
                    self.events.link_is_up = event.payload::<LinkChange>().flags.get() & 1 != 0;
                    self.events.counts.link += 1;
                }
                Group::KEEP_ALIVE => {
                    let counts = &mut self.events.counts;
                    let report: KeepAlive = event.payload();
                    counts.keep_alive += 1;
                    counts.rx_drops = report.rx_drops.get();
                    counts.tx_drops = report.tx_drops.get();
                    counts.rx_overruns = report.rx_overruns.get();
                    self.events.last_keep_alive = Some(now);
                }
                Group::FATAL_ERROR => verdict = Err(DriverError::Fatal),
                Group::DEVICE_REQUEST_RESET => verdict = Err(DriverError::ResetRequested),
                _ => self.events.counts.other += 1,
            }
        }
        if self.events.handled != before {
            let head = self.events.handled.wrapping_add(EVENT_DEPTH);
            write(&*self.bus, Register::AENQ_HEAD_DB, u32::from(head))?;
        }
        verdict?;
        let since = now
            .since(*self.events.last_keep_alive.get_or_insert(now))
            .as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        if self.events.is_watched && since >= KEEP_ALIVE_TIMEOUT_MS {
            return Err(DriverError::KeepAlive(since));
        }
        Ok(())
    }

    /// Whether the device says that the link is up.
    pub fn link_is_up(&self) -> bool {
        self.events.link_is_up
    }

    /// What was reported.
    pub fn event_counts(&self) -> EventCounts {
        self.events.counts
    }
}
