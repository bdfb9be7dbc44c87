//! What the device reports: the link, keep-alives, failures.

use std::time::Duration;

use trinic_pci::admin::RingError;
use trinic_pci::{Interrupts, Memory};
use trinic_wire::time::Instant;
use zerocopy::byteorder::{U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::{Device, FaultError, Refusal, TraceEvent};
use crate::datapath::{Link, Statistics};
use crate::spec::aenq::{Event, Group, KeepAlive, LinkChange, Syndrome};
use crate::spec::feature::HardwareHints;

/// Groups that the device reports. [assumed A-32]
pub(super) const SUPPORTED_GROUPS: u32 = Group::LINK_CHANGE.bit()
    | Group::FATAL_ERROR.bit()
    | Group::WARNING.bit()
    | Group::NOTIFICATION.bit()
    | Group::KEEP_ALIVE.bit()
    | Group::DEVICE_REQUEST_RESET.bit();

/// How often a keep-alive event is due. Drivers reset after 6 s (Linux, FreeBSD) or 3 s (DPDK) without one.
/// Source: `ENA_DEVICE_KALIVE_TIMEOUT`, `ena_netdev.h`; the period itself is what real devices were seen to do.
pub(super) const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(1);

/// What there is to report, and when.
#[derive(Debug)]
pub(super) struct Events {
    enabled_groups: u32,
    link_is_up: bool,
    /// The driver has not been told of the link's present state.
    link_pending: bool,
    next_keep_alive: Option<Instant>,
    keep_alives_stopped: bool,
    pub(super) keep_alives: u64,
}

impl Events {
    pub(super) const fn new() -> Self {
        Self {
            enabled_groups: 0,
            link_is_up: true,
            link_pending: true,
            next_keep_alive: None,
            keep_alives_stopped: false,
            keep_alives: 0,
        }
    }

    /// As after power-on, but for the cable.
    pub(super) fn reset(&mut self) {
        *self = Self {
            link_is_up: self.link_is_up,
            keep_alives: self.keep_alives,
            ..Self::new()
        };
    }

    /// The driver takes its queue back.
    pub(super) fn close(&mut self) {
        self.next_keep_alive = None;
        self.link_pending = true;
    }

    pub(super) fn set_link(&mut self, is_up: bool) {
        self.link_is_up = is_up;
        self.link_pending = true;
    }

    pub(super) fn link_is_up(&self) -> bool {
        self.link_is_up
    }

    pub(super) fn stop_keep_alives(&mut self) {
        self.keep_alives_stopped = true;
        self.next_keep_alive = None;
    }

    pub(super) fn next_keep_alive(&self) -> Option<Instant> {
        self.next_keep_alive
    }

    pub(super) fn enabled_groups(&self) -> u32 {
        self.enabled_groups
    }

    pub(super) fn enable(&mut self, groups: u32) {
        self.enabled_groups = groups;
    }

    fn listens_to(&self, group: Group) -> bool {
        self.enabled_groups & group.bit() != 0
    }
}

impl<M: Memory, I: Interrupts, L: Link> Device<M, I, L> {
    /// The driver can be told more than before: it gave entries, or enabled groups.
    pub(super) fn events_wanted(&mut self) {
        self.report_link();
        let is_open = self.aenq.as_ref().is_some_and(|ring| ring.is_open());
        let wants = is_open && self.events.listens_to(Group::KEEP_ALIVE) && !self.events.keep_alives_stopped;
        self.events.next_keep_alive = match self.events.next_keep_alive {
            // The first is due at once.
            None if wants => Some(self.now),
            next if wants => next,
            _ => None,
        };
    }

    /// The link's state, if the driver does not know it yet. Where there is no room it waits.
    pub(super) fn report_link(&mut self) {
        if !self.events.link_pending || !self.listens(Group::LINK_CHANGE) {
            return;
        }
        let payload = LinkChange {
            flags: U32::new(u32::from(self.events.link_is_up)),
        };
        self.events.link_pending = !self.report(Group::LINK_CHANGE, 0, &payload);
    }

    /// The first queue was made. Linux looks at events only once its interface is up, so it is told again.
    pub(super) fn report_link_again(&mut self) {
        self.events.link_pending = true;
        self.report_link();
    }

    /// New hints for the driver's limits.
    ///
    /// # Errors
    ///
    /// When the driver does not listen to notifications, or has no room.
    pub fn notify_hints(&mut self, hints: &HardwareHints) -> Result<(), FaultError> {
        let syndrome = Syndrome::UPDATE_HINTS.0;
        if self.listens(Group::NOTIFICATION) && self.report(Group::NOTIFICATION, syndrome, hints) {
            Ok(())
        } else {
            Err(FaultError::NotListening)
        }
    }

    pub(super) fn report_reset_request(&mut self) -> Result<(), FaultError> {
        if self.listens(Group::DEVICE_REQUEST_RESET)
            && self.report(Group::DEVICE_REQUEST_RESET, 0, &[0_u8; 0])
        {
            Ok(())
        } else {
            Err(FaultError::NotListening)
        }
    }

    pub(super) fn report_fatal_error(&mut self) {
        if self.listens(Group::FATAL_ERROR) {
            self.report(Group::FATAL_ERROR, 0, &[0_u8; 0]);
        }
    }

    /// Writes a keep-alive event if one is due.
    pub(super) fn keep_alive(&mut self) {
        let Some(due) = self.events.next_keep_alive else {
            return;
        };
        if self.now < due {
            return;
        }
        // From now and not from when it was due: after a pause of the machine one is enough.
        self.events.next_keep_alive = Some(self.now + KEEP_ALIVE_PERIOD);
        let counted = match self.count() {
            Ok(counted) => counted,
            Err(refusal) => {
                self.events.next_keep_alive = None;
                return self.refuse(refusal);
            }
        };
        let payload = KeepAlive {
            rx_drops: U64::new(counted.rx_drops),
            tx_drops: U64::new(counted.tx_drops),
            rx_overruns: U64::new(counted.rx_overruns),
        };
        if self.report(Group::KEEP_ALIVE, 0, &payload) {
            self.events.keep_alives += 1;
        }
        // The entries that the driver gave back since may have room for what waited.
        self.report_link();
    }

    /// What the datapath counted, if it is there.
    pub(super) fn count(&mut self) -> Result<Statistics, Refusal> {
        self.link.statistics().map_err(|_| {
            self.status.set_fatal_error(true);
            Refusal::DatapathGone
        })
    }

    fn listens(&self, group: Group) -> bool {
        self.aenq.as_ref().is_some_and(|ring| ring.is_open()) && self.events.listens_to(group)
    }

    fn report<T: IntoBytes + Immutable>(&mut self, group: Group, syndrome: u16, payload: &T) -> bool {
        // Linux prints it as seconds.
        let timestamp = self.now.as_nanos() / 1_000_000_000;
        let event = Event::new(group, syndrome, timestamp, payload);
        let Some(ring) = self.aenq.as_mut() else {
            return false;
        };
        match ring.post(&self.memory, zerocopy::transmute!(event)) {
            Ok(()) => {
                self.trace.add(|| TraceEvent::Event(Box::new(event)));
                self.raise_management();
                true
            }
            Err(RingError::Full) => {
                self.refuse(Refusal::EventFull);
                false
            }
            Err(_) => {
                self.refuse(Refusal::EventDma);
                false
            }
        }
    }
}
