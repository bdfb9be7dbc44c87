//! What instances are made of: the two backends behind one trait.
//!
//! The reconciler ([`super::reconciler`]) decides what must be there; a backend makes it. Calls may block
//! for milliseconds, and each instance is used by one thread at a time.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use trinic_host::port::Port;
use trinic_host::probe::{self, Probe};
use trinic_host::{NetNs, ProcessId, userns};

use crate::protocol::{self, InstanceKind, InstanceSpec, InterfaceSpec};
use crate::state::StateDir;

use super::device_instance::DeviceInstance;
use super::ena::{EnaPort, Functions};
use super::namespace::{self, Carrier, NamespaceBackend};
use super::record::Records;
use super::userspace::UserSpaceBackend;
use super::vm::{self, VmInstance};

/// Set to `user-space`, it keeps the card from using what the host allows.
pub const BACKEND_VARIABLE: &str = "TRINIC_BACKEND";

/// Chooses the best backend that the host allows, and enters a user namespace where that takes one. Must be
/// called before the process has threads. The reason says what is missing, where something is.
///
/// # Errors
///
/// When the host cannot even be probed.
pub fn choose(
    state: &StateDir,
    records: &Records,
    functions: &Functions,
) -> anyhow::Result<(Box<dyn Backend>, Option<String>)> {
    if std::env::var_os(BACKEND_VARIABLE).is_some_and(|value| value == "user-space") {
        return user_space(state, functions, Some(format!("{BACKEND_VARIABLE} asks for it")));
    }
    let probe = probe_host(records)?;
    let complaints = probe.complaints();
    let reason = (!complaints.is_empty()).then(|| complaints.join("\n"));
    let Some(carrier) = probe.carrier() else {
        return user_space(state, functions, reason);
    };
    if !probe.root {
        enter_user_namespace(records)?;
    }
    let carrier = match carrier {
        probe::Carrier::Tap => Carrier::Tap,
        probe::Carrier::PacketSocket => Carrier::Cable(Arc::new(NetNs::create()?)),
    };
    let backend = NamespaceBackend::new(&state.card_dir(), carrier, probe.root, functions.clone());
    Ok((Box::new(backend), reason))
}

/// What the host allows. A card that follows another one goes by what that one found: its instances wait,
/// and trying everything again would take longer than all the rest.
fn probe_host(records: &Records) -> anyhow::Result<Probe> {
    // Where there were only user-space instances, nothing waits, and the host may allow more by now.
    if let Some(probe) = records.probe().filter(|probe| probe.carrier().is_some())
        && !records.instances().is_empty()
    {
        return Ok(probe);
    }
    let probe = Probe::run().context("Cannot find out what this host allows")?;
    if let Err(error) = records.keep_probe(&probe) {
        tracing::warn!(%error, "A restarted card will have to probe the host again");
    }
    Ok(probe)
}

fn user_space(
    state: &StateDir,
    functions: &Functions,
    reason: Option<String>,
) -> anyhow::Result<(Box<dyn Backend>, Option<String>)> {
    let backend = UserSpaceBackend::start(&state.card_dir(), functions.clone())
        .context("Cannot start the user-space instances")?;
    Ok((Box::new(backend), reason))
}

/// Goes into the user namespace of an earlier card whose instances still run, since only from there they
/// can be adopted; else into a new one.
fn enter_user_namespace(records: &Records) -> anyhow::Result<()> {
    let running = records
        .instances()
        .into_iter()
        .filter(|record| records.is_of_this_boot(record))
        .find_map(|record| namespace::process_of(&record.backend).filter(ProcessId::is_alive));
    match running {
        Some(process) => {
            userns::join_parent_of(process).context("Cannot go back to the last card's instances")
        }
        None => userns::enter().context("Cannot enter a user namespace"),
    }
}

/// Makes instances.
pub trait Backend: Send + Sync + Debug {
    /// What it is called.
    fn kind(&self) -> protocol::Backend;

    /// Makes an instance without interfaces; nothing of the user's runs yet.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    fn start(&self, spec: &InstanceSpec) -> anyhow::Result<Box<dyn Instance>>;

    /// Takes over an instance that an earlier card process made, from what [`Instance::record`] said;
    /// its interfaces are still to be opened again with [`Instance::attach`].
    ///
    /// # Errors
    ///
    /// When it is gone, or is not what the record says.
    fn adopt(&self, spec: &InstanceSpec, record: &serde_json::Value) -> anyhow::Result<Box<dyn Instance>>;

    /// Removes what is left of an instance that cannot be adopted, from its record.
    fn sweep(&self, record: &serde_json::Value);

    /// Runs a built-in program of an instance to its end and gives its result.
    ///
    /// # Errors
    ///
    /// When the backend has none, there is no such program or instance, or it fails.
    fn program(&self, id: &str, arguments: &[String]) -> anyhow::Result<serde_json::Value>;

    /// The card ends; `is_clear` when no instance is left.
    fn finish(&self, is_clear: bool) {
        let _ = is_clear;
    }

    /// The console output of an instance.
    ///
    /// # Errors
    ///
    /// When it has none.
    fn console(&self, id: &str) -> anyhow::Result<Vec<u8>>;
}

/// The card's end of a function, for the worker.
#[derive(Debug)]
pub enum Plug {
    /// A device of the kernel: a tap, a packet socket, a link inside the process.
    Kernel(Box<dyn Port>),
    /// The queues of an ENA function.
    Ena(Box<EnaPort>),
}

impl Plug {
    /// The queues of an ENA function, if it is one.
    #[inline]
    pub(super) fn device_mut(&mut self) -> Option<&mut EnaPort> {
        match self {
            Self::Ena(port) => Some(port),
            Self::Kernel(_) => None,
        }
    }
}

/// Starts what every backend can: an instance whose interfaces are devices. `None` when it is another kind.
pub(super) fn start_with_devices(
    spec: &InstanceSpec,
    directory: &Path,
    functions: &Functions,
) -> Option<anyhow::Result<Box<dyn Instance>>> {
    if let Some(image) = &spec.vm {
        let machine = VmInstance::start(spec, image, directory, functions.clone());
        return Some(machine.map(|machine| Box::new(machine) as Box<dyn Instance>));
    }
    let InstanceKind::Device { socket } = &spec.kind else {
        return None;
    };
    let device = DeviceInstance::check(spec).map(|()| DeviceInstance::new(socket, functions.clone()));
    Some(device.map(|device| Box::new(device) as Box<dyn Instance>))
}

/// Takes over what [`start_with_devices`] of an earlier card made. `None` when the record is of another kind.
pub(super) fn adopt_with_devices(
    record: &serde_json::Value,
    functions: &Functions,
) -> Option<anyhow::Result<Box<dyn Instance>>> {
    if vm::machine_of(record).is_some() {
        return Some(Err(anyhow::anyhow!(
            "The devices of a virtual machine ended with their card; it boots again"
        )));
    }
    let device = DeviceInstance::adopt(record, functions)?;
    Some(Ok(Box::new(device)))
}

/// An instance that is there.
pub trait Instance: Send + Debug {
    /// Process id of its init in the card's pid namespace; 0 when it has none.
    fn pid(&self) -> u32;

    /// Puts a function into the instance and configures it as a cloud guest would. A function that is
    /// there, because an earlier card process made it, is opened again.
    ///
    /// # Errors
    ///
    /// When the host refuses; nothing is left then.
    fn attach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<Plug>;

    /// The function is plugged in at the worker: from now on the instance may use it. Only functions that are
    /// devices have something left to do here.
    ///
    /// # Errors
    ///
    /// When the instance does not take it; it is detached then.
    fn activate(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        let _ = interface;
        Ok(())
    }

    /// Changes addresses, MTU and routes of a function from `old` to `new`.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    fn configure(&mut self, old: &InterfaceSpec, new: &InterfaceSpec) -> anyhow::Result<()>;

    /// Takes a function out of the instance; its port is closed already.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    fn detach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()>;

    /// Everything of the first start is attached: the user's part begins (user data).
    ///
    /// # Errors
    ///
    /// When the instance's init does not answer.
    fn ready(&mut self) -> anyhow::Result<()>;

    /// Reboots it as it is, with its interfaces; `false` when it must be ended and started anew for that.
    ///
    /// # Errors
    ///
    /// When it was to be possible and was not.
    fn reboot(&mut self) -> anyhow::Result<bool> {
        Ok(false)
    }

    /// A descriptor that is readable once the instance has ended by itself; `None` when it cannot.
    fn ended(&self) -> Option<OwnedFd>;

    /// Ends it and removes everything of it.
    ///
    /// # Errors
    ///
    /// When something of it remains.
    fn stop(self: Box<Self>) -> anyhow::Result<()>;

    /// What another card process needs to adopt it.
    fn record(&self) -> serde_json::Value;
}
