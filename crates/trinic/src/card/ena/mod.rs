//! ENA functions of this card: an interface as a PCI device whose queues the instance maps.
//!
//! A function has two halves. Its queues are a [`EnaPort`] in the worker, which alone touches them. Its registers,
//! admin queue and events are a [`Device`] in the thread of its vfio-user server; what an admin command changes in
//! the queues is a visit to the worker ([`WorkerLink`]), so a reply to the driver, or to a client that takes
//! memory away, comes only when the worker has let go.
//!
//! [`Functions`] is the card's list of them, whatever kind of instance they are in.

mod frame;
mod port;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use trinic_ena::datapath::{Allowances, Change, DatapathGone, Limits, Link, Statistics};
use trinic_ena::device::{self, Config, Description};
use trinic_host::guest_memory::{self, GuestMemory};
use trinic_host::vfio_user::{IrqTable, Parts, Server, ServerHandle, SharedBar};
use trinic_pci::Function as _;
use trinic_switch::tables::Id;

use crate::protocol::InterfaceSpec;

use super::backend::Plug;
use super::worker::Handle;

pub use frame::checksum_is_partial;
pub use port::{BATCH_PACKETS, EnaPort, PortFaults, Received};

/// The control half of a function.
pub type Device = device::Device<GuestMemory, IrqTable, WorkerLink>;

/// The card's functions. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Functions(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    worker: OnceLock<Handle>,
    next_key: AtomicU64,
    strict: bool,
    entries: Mutex<BTreeMap<Id, Entry>>,
}

/// One function.
#[derive(Debug)]
enum Entry {
    /// Made, and not to be reached yet.
    Made(Box<Parts<Device>>),
    /// Its server runs.
    Served(ServerHandle<Device>, PathBuf),
}

/// A function that is nobody's any more, and is still connected.
#[derive(Debug)]
pub struct Retired {
    /// Held for its end.
    _server: ServerHandle<Device>,
}

/// A function as `trinic card` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct FunctionDescription {
    /// Its vfio-user socket.
    pub socket: Option<PathBuf>,
    /// A VMM or a driver is connected.
    pub is_connected: bool,
    /// How many have been, one after the other.
    pub clients: u64,
    /// What its server refused, by reason.
    pub refused_messages: BTreeMap<&'static str, u64>,
    /// The device; `None` when its thread ended, or does not answer.
    pub device: Option<Description>,
}

/// The way from a device to its queues.
#[derive(Debug, Clone)]
pub struct WorkerLink {
    worker: Handle,
    key: u64,
    interface: Id,
}

impl Functions {
    /// Functions that refuse what real ones refuse (`--strict`).
    #[must_use]
    pub fn new(strict: bool) -> Self {
        Self(Arc::new(Shared {
            strict,
            ..Shared::default()
        }))
    }

    /// Says where the queues live. Called once, before the first function is made.
    pub fn set_worker(&self, worker: Handle) {
        // A second one could only come from a second start of the card, which does not happen.
        let _ = self.0.worker.set(worker);
    }

    /// Makes the function of an interface. Nobody reaches it before [`Self::serve`]; its port is for the worker.
    ///
    /// # Errors
    ///
    /// When the kernel has no memory or descriptor for it.
    pub fn make(&self, interface: &InterfaceSpec) -> anyhow::Result<Plug> {
        let worker = self.0.worker.get().context("The datapath does not run yet")?;
        let key = self.0.next_key.fetch_add(1, Ordering::Relaxed);
        let config = Config {
            queue_pairs: queue_pairs(interface),
            strict: self.0.strict,
            trace_records: TRACE_RECORDS,
            ..Config::new(interface.mac)
        };
        let pairs = config.queue_pairs;
        let memory = GuestMemory::new(MEMORY_LIMITS)?;
        let vectors = device::layout::vector_count(pairs);
        let interrupts = IrqTable::new(vectors);
        let link = WorkerLink {
            worker: worker.clone(),
            key,
            interface: interface.id.clone(),
        };
        let device = Device::new(config, memory.clone(), interrupts.clone(), link)?;
        let shared = device
            .bars()
            .iter()
            .filter(|bar| !bar.mapped.is_empty())
            .map(SharedBar::new)
            .collect::<Result<Vec<_>, _>>()?;
        let bar = |index| shared.iter().find(|bar| bar.bar() == index).cloned();
        let port = EnaPort::new(
            key,
            memory.clone(),
            bar(0).context("The device has no doorbells")?,
            bar(2),
            interrupts.clone(),
            Limits {
                tx_queues: pairs,
                rx_queues: pairs,
                vectors,
            },
        );
        let parts = Parts {
            function: device,
            shared,
            memory,
            interrupts,
        };
        let entry = Entry::Made(Box::new(parts));
        let earlier = self.entries().insert(interface.id.clone(), entry);
        // As in `close`: the list is free while a thread ends.
        drop(earlier);
        Ok(Plug::Ena(Box::new(port)))
    }

    /// Lets clients of the card's own user reach a function at a socket.
    ///
    /// # Errors
    ///
    /// When the function was not made, or the socket cannot be opened.
    pub fn serve(&self, interface: &str, path: &Path) -> anyhow::Result<()> {
        self.serve_to(interface, path, false)
    }

    /// As [`Self::serve`], and every user may connect whom the directory lets in.
    ///
    /// # Errors
    ///
    /// As [`Self::serve`].
    pub fn serve_to_all(&self, interface: &str, path: &Path) -> anyhow::Result<()> {
        self.serve_to(interface, path, true)
    }

    fn serve_to(&self, interface: &str, path: &Path, is_for_all: bool) -> anyhow::Result<()> {
        let mut entries = self.entries();
        let Some((id, entry)) = entries.remove_entry(interface) else {
            anyhow::bail!("Interface {interface} has no function");
        };
        let Entry::Made(parts) = entry else {
            entries.insert(id, entry);
            return Ok(());
        };
        let server = Server::bind(path, *parts)?;
        if is_for_all {
            server.open_to_all()?;
        }
        let handle = server.spawn()?;
        entries.insert(id, Entry::Served(handle, path.to_owned()));
        Ok(())
    }

    /// Ends a function: its client is disconnected and its socket goes.
    pub fn close(&self, interface: &str) {
        let entry = self.entries().remove(interface);
        // Its thread may be asking the worker something; the list is free meanwhile.
        drop(entry);
    }

    /// Takes a function off the list while its client stays connected: a VMM that cannot let a device go needs
    /// its server to the end. The function ends when the result is dropped.
    pub fn retire(&self, interface: &str) -> Option<Retired> {
        match self.entries().remove(interface)? {
            Entry::Served(handle, _) => Some(Retired { _server: handle }),
            Entry::Made(_) => None,
        }
    }

    /// Every function of the card, by interface.
    #[must_use]
    pub fn describe(&self) -> BTreeMap<Id, FunctionDescription> {
        // All are asked at once and waited for while the list is free: one whose thread is busy with its client
        // holds up neither the others nor whoever attaches and detaches.
        let asked: Vec<_> = self
            .entries()
            .iter()
            .map(|(id, entry)| (id.clone(), entry.describe()))
            .collect();
        let deadline = std::time::Instant::now() + PATIENCE;
        let described = asked.into_iter().map(|(id, (mut description, device))| {
            if let Some(device) = device {
                let left = deadline.saturating_duration_since(std::time::Instant::now());
                description.device = device.recv_timeout(left).ok();
            }
            (id, description)
        });
        described.collect()
    }

    /// What happened at a function since the last call, one line each.
    ///
    /// # Errors
    ///
    /// When the interface has no function.
    pub fn drain_trace(&self, interface: &str) -> anyhow::Result<Vec<String>> {
        self.ask(interface, |device| {
            device.drain_trace().map(|record| record.to_string()).collect()
        })
    }

    /// Makes a function fail in a way that a driver must survive.
    ///
    /// # Errors
    ///
    /// When the interface has no function, or its driver cannot be told.
    pub fn inject(&self, interface: &str, fault: device::Fault) -> anyhow::Result<()> {
        Ok(self.ask(interface, move |device| device.inject(fault))??)
    }

    fn ask<T: Send + 'static>(
        &self,
        interface: &str,
        ask: impl FnOnce(&mut Device) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let answer = match self.entries().get(interface) {
            Some(Entry::Served(handle, _)) => handle.ask_later(ask),
            _ => anyhow::bail!("Interface {interface} is not an ENA function: `trinic card` lists those"),
        };
        answer.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => anyhow::anyhow!("The function of {interface} does not answer"),
            RecvTimeoutError::Disconnected => anyhow::anyhow!("The function of {interface} has ended"),
        })
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Id, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// What can be said at once, and where the rest will come.
    fn describe(&self) -> (FunctionDescription, Option<Receiver<Description>>) {
        let mut description = FunctionDescription {
            socket: None,
            is_connected: false,
            clients: 0,
            refused_messages: BTreeMap::new(),
            device: None,
        };
        match self {
            Self::Made(parts) => {
                description.device = Some(parts.function.describe());
                (description, None)
            }
            Self::Served(handle, path) => {
                description.socket = Some(path.clone());
                description.is_connected = handle.state().is_connected;
                description.clients = handle.counters().clients();
                description.refused_messages = handle.counters().refusals();
                (description, Some(handle.ask_later(|device| device.describe())))
            }
        }
    }
}

impl Link for WorkerLink {
    fn apply(&mut self, change: Change) -> Result<(), DatapathGone> {
        let key = self.key;
        let is_needed = matches!(change, Change::CreateTx(..) | Change::CreateRx(..));
        let found = self.worker.visit(move |visit| {
            let now = visit.now;
            visit.device(key).map(|port| port.apply(change, now)).is_some()
        });
        match found {
            // Before it is plugged in there is nothing to take back.
            Ok(found) if found || !is_needed => Ok(()),
            _ => Err(DatapathGone),
        }
    }

    fn statistics(&mut self) -> Result<Statistics, DatapathGone> {
        let (key, interface) = (self.key, self.interface.clone());
        let statistics = self.worker.visit(move |visit| {
            let counters = visit.switch.counters(&interface);
            let port = visit.device(key)?;
            let allowances = counters.map(|counters| allowances(&counters));
            Some(Statistics {
                allowances: allowances.unwrap_or_default(),
                ..port.statistics()
            })
        });
        statistics.ok().flatten().ok_or(DatapathGone)
    }
}

/// The switch's counters of what an interface was not allowed, as the driver asks for them.
fn allowances(counted: &trinic_switch::CountersSnapshot) -> Allowances {
    Allowances {
        bw_in_exceeded: counted.bw_in_allowance_exceeded,
        bw_out_exceeded: counted.bw_out_allowance_exceeded,
        pps_exceeded: counted.pps_allowance_exceeded,
        conntrack_exceeded: counted.conntrack_allowance_exceeded,
        linklocal_exceeded: counted.linklocal_allowance_exceeded,
        conntrack_available: counted.conntrack_allowance_available,
    }
}

/// The fault of a name that people type.
///
/// # Errors
///
/// When there is none of that name; the error lists them.
pub fn fault_named(name: &str) -> anyhow::Result<device::Fault> {
    Ok(match name {
        "stop-keep-alive" => device::Fault::StopKeepAlives,
        "swallow-tx-completion" => device::Fault::SwallowTxCompletion,
        "drop-interrupt" => device::Fault::DropInterrupt,
        "drop-admin-interrupt" => device::Fault::DropAdminInterrupt,
        "swallow-admin-completion" => device::Fault::SwallowAdminCompletion,
        "request-reset" => device::Fault::RequestReset,
        "fatal-error" => device::Fault::FatalError,
        "link-down" => device::Fault::LinkDown,
        "link-up" => device::Fault::LinkUp,
        "no-watchdog" => device::Fault::NoWatchdog,
        other => anyhow::bail!(
            "There is no fault {other}; there are stop-keep-alive, swallow-tx-completion, drop-interrupt, \
             drop-admin-interrupt, swallow-admin-completion, request-reset, fatal-error, link-down, link-up and \
             no-watchdog"
        ),
    })
}

/// As many as the instance has processors, if nothing else was asked for.
fn queue_pairs(interface: &InterfaceSpec) -> u16 {
    u16::try_from(interface.ena_queue_pairs)
        .unwrap_or(u16::MAX)
        .clamp(1, device::layout::MAX_QUEUE_PAIRS)
}

/// How long a function may take to answer. It is never busy for long unless its client sees to it.
const PATIENCE: Duration = Duration::from_secs(2);
/// A guest of QEMU was seen to have some twenty maps, a driver in user space has one. The card has room for
/// 16,384 altogether, which no few functions shall use up.
const MEMORY_LIMITS: guest_memory::Limits = guest_memory::Limits {
    maps: 256,
    bytes: 1 << 40,
};
/// Register accesses, commands and events that are kept of each function.
const TRACE_RECORDS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_of_the_switch_is_the_drivers_of_that_name() {
        let counted = trinic_switch::CountersSnapshot {
            bw_in_allowance_exceeded: 1,
            bw_out_allowance_exceeded: 2,
            pps_allowance_exceeded: 3,
            conntrack_allowance_exceeded: 4,
            linklocal_allowance_exceeded: 5,
            conntrack_allowance_available: 6,
            ..trinic_switch::CountersSnapshot::default()
        };
        let expected = Allowances {
            bw_in_exceeded: 1,
            bw_out_exceeded: 2,
            pps_exceeded: 3,
            conntrack_exceeded: 4,
            linklocal_exceeded: 5,
            conntrack_available: 6,
        };
        assert_eq!(allowances(&counted), expected);
    }
}
