//! Instances as namespaces of this host: process trees of their own whose functions are taps, or cables
//! with a packet socket where /dev/net/tun is closed.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use trinic_host::Netlink;
use trinic_host::instance::{Instance as HostInstance, InstanceOptions};
use trinic_host::netns::NetNs;
use trinic_host::packet::{PacketOptions, PacketPort};
use trinic_host::port::Port;
use trinic_host::process::{Process, ProcessId};
use trinic_host::tap::{Tap, TapOptions};

use crate::protocol::{self, FunctionKind, InstanceKind, InstanceSpec, InterfaceSpec};

use super::INTERNET;
use super::backend::{Backend, Instance, Plug, adopt_with_devices, start_with_devices};
use super::ena::Functions;
use super::{functions, vm};

/// How long an init may take to arrange its namespaces.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// How long the processes of a terminated instance have between SIGTERM and the end.
const GRACE: Duration = Duration::from_millis(200);

/// Makes namespace instances.
#[derive(Debug)]
pub struct NamespaceBackend {
    directory: PathBuf,
    carrier: Carrier,
    /// Whether namespaces get their names under /run/netns, which takes root.
    gives_names: bool,
    /// ENA functions, of whatever kind of instance.
    functions: Functions,
}

/// What functions are made of.
#[derive(Debug, Clone)]
pub enum Carrier {
    /// Taps.
    Tap,
    /// Cables whose far ends lie in this namespace.
    Cable(Arc<NetNs>),
}

/// What another card process needs to adopt an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Handle {
    id: String,
    /// `None` for a namespace of the user's own.
    process: Option<ProcessId>,
    /// Whether it has a name under /run/netns.
    is_named: bool,
    /// Interface names inside that the card made.
    functions: Vec<String>,
    /// Path of a namespace of the user's own.
    netns: Option<String>,
    /// The user's process that the path names, whose end is the instance's.
    owner: Option<ProcessId>,
}

/// One namespace instance.
#[derive(Debug)]
struct NamespaceInstance {
    host: Option<HostInstance>,
    /// The user's process, of a namespace that is not the card's.
    owner: Option<Process>,
    netns: NetNs,
    handle: Handle,
    carrier: Carrier,
    directory: PathBuf,
    card_functions: Functions,
}

impl NamespaceBackend {
    /// A backend that keeps consoles and run directories below `directory`.
    pub fn new(directory: &Path, carrier: Carrier, gives_names: bool, functions: Functions) -> Self {
        Self {
            directory: directory.join("instances"),
            carrier,
            gives_names,
            functions,
        }
    }

    fn instance_directory(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    fn start_managed(&self, spec: &InstanceSpec) -> anyhow::Result<NamespaceInstance> {
        let directory = self.instance_directory(&spec.id);
        let run_dir = directory.join("run");
        fs::create_dir_all(&run_dir).with_context(|| format!("Cannot make {}", run_dir.display()))?;
        let mut options = InstanceOptions::new(&*spec.id, run_dir, directory.join("console.log"));
        options.hostname.clone_from(&spec.hostname);
        options.user_data.clone_from(&spec.user_data);
        options.resolv_conf = resolv_conf(spec);
        options.hosts = hosts(spec);
        // STATE/card/instances: root inside must not reach the sockets of the card and control.
        options
            .hide
            .extend(self.directory.ancestors().nth(2).map(Path::to_path_buf));
        let host = HostInstance::spawn(&options)?;
        let netns = host.netns()?;
        let is_named = self.gives_names && self.give_name(&spec.id, &netns);
        Ok(NamespaceInstance {
            handle: Handle {
                id: spec.id.to_string(),
                process: Some(host.process_id()),
                is_named,
                functions: Vec::new(),
                netns: None,
                owner: None,
            },
            host: Some(host),
            owner: None,
            netns,
            carrier: self.carrier.clone(),
            directory,
            card_functions: self.functions.clone(),
        })
    }

    fn enter_external(&self, spec: &InstanceSpec, path: &str) -> anyhow::Result<NamespaceInstance> {
        let owner = process_in(path).map(Process::open).transpose()?;
        let netns = NetNs::open(path)?;
        Ok(NamespaceInstance {
            host: None,
            netns,
            handle: Handle {
                id: spec.id.to_string(),
                process: None,
                is_named: false,
                functions: Vec::new(),
                netns: Some(path.to_owned()),
                owner: owner.as_ref().map(Process::id),
            },
            owner,
            carrier: self.carrier.clone(),
            directory: self.instance_directory(&spec.id),
            card_functions: self.functions.clone(),
        })
    }

    /// A name is a comfort (`ip netns exec i-…`): an instance without one works.
    fn give_name(&self, id: &str, netns: &NetNs) -> bool {
        let mut named = netns.bind(id);
        // Ids are unique, so a name that is there is what a killed card left. Only the internet has the
        // same name on every card; there the first one has it.
        if named.is_err() && id != INTERNET {
            named = NetNs::unbind(id).and_then(|()| netns.bind(id));
        }
        if let Err(error) = &named {
            tracing::warn!(instance = id, %error, "Namespace has no name under /run/netns");
        }
        named.is_ok()
    }
}

impl Backend for NamespaceBackend {
    fn kind(&self) -> protocol::Backend {
        protocol::Backend::Namespace
    }

    fn start(&self, spec: &InstanceSpec) -> anyhow::Result<Box<dyn Instance>> {
        let directory = self.instance_directory(&spec.id);
        if let Some(started) = start_with_devices(spec, &directory, &self.functions) {
            return started;
        }
        let instance = match &spec.kind {
            InstanceKind::External { netns: path } => self.enter_external(spec, path)?,
            _ => self.start_managed(spec)?,
        };
        Ok(Box::new(instance))
    }

    fn adopt(&self, spec: &InstanceSpec, record: &serde_json::Value) -> anyhow::Result<Box<dyn Instance>> {
        if let Some(adopted) = adopt_with_devices(record, &self.functions) {
            return adopted;
        }
        let handle = Handle::deserialize(record)?;
        let (host, netns) = match (&handle.process, &handle.netns) {
            (Some(process), _) => {
                let host = HostInstance::adopt(&*spec.id, *process)?;
                let netns = host.netns()?;
                (Some(host), netns)
            }
            (None, Some(path)) => (None, NetNs::open(path)?),
            (None, None) => anyhow::bail!("The record names neither a process nor a namespace"),
        };
        let owner = handle.owner.map(Process::open).transpose()?;
        Ok(Box::new(NamespaceInstance {
            host,
            owner,
            netns,
            handle,
            carrier: self.carrier.clone(),
            directory: self.instance_directory(&spec.id),
            card_functions: self.functions.clone(),
        }))
    }

    fn sweep(&self, record: &serde_json::Value) {
        vm::sweep(record);
        let Ok(handle) = Handle::deserialize(record) else {
            return;
        };
        if handle.is_named
            && let Err(error) = NetNs::unbind(&handle.id)
        {
            tracing::warn!(instance = %handle.id, %error, "A name under /run/netns remains");
        }
        // Its init may run on although it could not be adopted; nobody would ever end it.
        if let Some(Ok(process)) = handle.process.map(Process::open)
            && let Err(error) = process.kill(GRACE)
        {
            tracing::warn!(instance = %handle.id, %error, "An instance that was not adopted runs on");
        }
        // Absent is as good as removed, and what stays goes with the card's directory.
        let _ = fs::remove_dir_all(self.instance_directory(&handle.id));
    }

    fn finish(&self, is_clear: bool) {
        if is_clear
            && self.gives_names
            && let Err(error) = NetNs::release_names()
        {
            tracing::warn!(%error, "/run/netns stays a mount point");
        }
    }

    fn program(&self, id: &str, _arguments: &[String]) -> anyhow::Result<serde_json::Value> {
        anyhow::bail!(
            "Instance {id} is a namespace, which runs any program of the host: `trinic exec {id} -- …`"
        )
    }

    fn console(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.instance_directory(id).join("console.log");
        fs::read(&path).with_context(|| format!("Instance {id} has no console"))
    }
}

impl Instance for NamespaceInstance {
    fn pid(&self) -> u32 {
        self.host.as_ref().map_or(0, HostInstance::pid)
    }

    fn attach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<Plug> {
        if is_ena(interface)? {
            anyhow::ensure!(
                interface.device_index > 0 && self.host.is_some(),
                "The first interface of a namespace stays a network device, through which it is configured; \
                 trinic:function=ena is for further ones of an instance"
            );
            return self.card_functions.make(interface);
        }
        let name = function_name(interface);
        let is_new = !self.handle.functions.contains(&name);
        let port = match &self.carrier {
            Carrier::Tap => self.open_tap(&name, interface, is_new)?,
            Carrier::Cable(card) => self.open_cable(card, &name, interface)?,
        };
        if is_new {
            self.handle.functions.push(name);
        }
        Ok(Plug::Kernel(port))
    }

    fn activate(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        if !is_ena(interface)? {
            return Ok(());
        }
        // /run/trinic/eni-….sock inside.
        let socket = self.directory.join("run").join(format!("{}.sock", interface.id));
        // Whatever user its processes are; nobody else can enter the directory.
        self.card_functions.serve_to_all(&interface.id, &socket)
    }

    fn configure(&mut self, old: &InterfaceSpec, new: &InterfaceSpec) -> anyhow::Result<()> {
        if is_ena(new)? {
            return Ok(());
        }
        let name = function_name(new);
        let (old, new) = (old.clone(), new.clone());
        self.netns
            .run(move || functions::reconfigure(&name, &old, &new))??;
        Ok(())
    }

    fn detach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        if interface.function != FunctionKind::Tap {
            self.card_functions.close(&interface.id);
            return Ok(());
        }
        let name = function_name(interface);
        let interface = interface.clone();
        let removed = name.clone();
        self.netns
            .run(move || functions::remove(&removed, &interface))??;
        self.handle.functions.retain(|other| *other != name);
        Ok(())
    }

    fn ready(&mut self) -> anyhow::Result<()> {
        if let Some(host) = &mut self.host {
            host.wait_ready(READY_LIMIT)?;
            host.go()?;
        }
        Ok(())
    }

    fn ended(&self) -> Option<OwnedFd> {
        let fd = match (&self.host, &self.owner) {
            (Some(host), _) => host.as_fd(),
            (None, Some(owner)) => owner.as_fd(),
            (None, None) => return None,
        };
        fd.try_clone_to_owned().ok()
    }

    fn stop(mut self: Box<Self>) -> anyhow::Result<()> {
        if self.handle.is_named {
            NetNs::unbind(&self.handle.id)?;
        }
        match &self.host {
            // Its network namespace, and every function in it, ends with its last process.
            Some(host) => host.kill(GRACE)?,
            None => self.leave()?,
        }
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("Cannot remove {}", self.directory.display()))
            }
            _ => Ok(()),
        }
    }

    fn record(&self) -> serde_json::Value {
        serde_json::to_value(&self.handle).unwrap_or_default()
    }
}

impl NamespaceInstance {
    /// Opens the tap, makes it if it is not there, and brings it to what the interface says; all on one
    /// thread inside.
    fn open_tap(&self, name: &str, interface: &InterfaceSpec, is_new: bool) -> anyhow::Result<Box<dyn Port>> {
        let options = TapOptions {
            mac: Some(interface.mac.into()),
            mtu: Some(interface.mtu),
            ..TapOptions::new(name)
        };
        let interface = interface.clone();
        let tap = self.netns.run(move || {
            if is_new {
                functions::check_free(&options.name)?;
                functions::prepare_namespace();
            }
            let tap = Tap::open_here(&options)?;
            functions::configure(&options.name, &interface)?;
            anyhow::Ok(tap)
        })??;
        let queue = tap.into_queues().pop().context("A tap has no queue")?;
        Ok(Box::new(queue))
    }

    fn open_cable(
        &self,
        card: &NetNs,
        name: &str,
        interface: &InterfaceSpec,
    ) -> anyhow::Result<Box<dyn Port>> {
        self.netns.run(functions::prepare_namespace)?;
        let options = PacketOptions {
            name: name.to_owned(),
            card_name: cable_name(interface),
            mac: Some(interface.mac.into()),
            mtu: Some(interface.mtu),
            up: true,
        };
        let port = PacketPort::open(&self.netns, card, &options)?;
        let (name, interface) = (name.to_owned(), interface.clone());
        self.netns
            .run(move || functions::configure(&name, &interface))??;
        Ok(Box::new(port))
    }

    /// Takes the card's functions out of a namespace that is the user's own.
    fn leave(&mut self) -> anyhow::Result<()> {
        let names = std::mem::take(&mut self.handle.functions);
        self.netns.run(move || {
            let mut netlink = Netlink::open()?;
            for name in names {
                if let Ok(link) = netlink.link_by_name(&name) {
                    netlink.delete_link(link.index)?;
                }
            }
            anyhow::Ok(())
        })?
    }
}

/// The process of an instance that an earlier card made, from its record.
pub fn process_of(record: &serde_json::Value) -> Option<ProcessId> {
    Handle::deserialize(record).ok()?.process
}

/// The process in a path of the form `/proc/N/ns/net`.
fn process_in(path: &str) -> Option<ProcessId> {
    let pid = path.strip_prefix("/proc/")?.split('/').next()?;
    ProcessId::of(pid.parse().ok()?).ok()
}

/// Whether the interface is a device here, and not a tap.
fn is_ena(interface: &InterfaceSpec) -> anyhow::Result<bool> {
    match &interface.function {
        FunctionKind::Tap => Ok(false),
        FunctionKind::Ena => Ok(true),
        FunctionKind::Unknown(text) => {
            anyhow::bail!(
                "The tag trinic:function of {} is {text:?}; it can be tap or ena",
                interface.id
            )
        }
    }
}

/// The function's name inside: `eth` and the device index, as a cloud image names it.
fn function_name(interface: &InterfaceSpec) -> String {
    if &*interface.id == INTERNET {
        "inet0".to_owned()
    } else {
        format!("eth{}", interface.device_index)
    }
}

/// The far end's name in the card's namespace: 15 bytes at most, and the MAC is unique on a card.
fn cable_name(interface: &InterfaceSpec) -> String {
    let [_, a, b, c, d, e] = interface.mac;
    format!("c{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{:x}", interface.mac[0] >> 4)
}

/// As DHCP would write it, from the first interface.
fn resolv_conf(spec: &InstanceSpec) -> String {
    let Some(interface) = spec.interfaces.first() else {
        return String::new();
    };
    let mut text = String::new();
    if !interface.domain.is_empty() {
        text.push_str(&format!("search {}\n", interface.domain));
    }
    for server in &interface.dns {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

fn hosts(spec: &InstanceSpec) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
    let first = spec.interfaces.first();
    let address = first.and_then(|interface| {
        let v4 = interface.ipv4.first().copied().map(IpAddr::V4);
        v4.or_else(|| interface.ipv6.first().copied().map(IpAddr::V6))
    });
    if let (Some(address), Some(interface)) = (address, first) {
        let name = &spec.hostname;
        if interface.domain.is_empty() {
            text.push_str(&format!("{address} {name}\n"));
        } else {
            text.push_str(&format!("{address} {name}.{} {name}\n", interface.domain));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the card of version 0.1.0 kept to find its namespaces again (tests/upgrade.rs).
    #[test]
    fn the_handle_of_an_earlier_program_is_understood() {
        let record = include_str!("../../tests/fixtures/state-1/card/instances/i-69c7f5da7b75fd074.json");
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        let handle = Handle::deserialize(&record["backend"]).unwrap();
        assert_eq!(handle.id, "i-69c7f5da7b75fd074");
        assert!(handle.is_named && handle.process.is_some() && handle.netns.is_none());
        assert_eq!(handle.functions, ["eth0"]);
    }
}
