//! Instances as virtual machines: QEMU with one PCI function of the card for each interface.
//!
//! The machine starts stopped ([`qemu`]). Each function is a vfio-user socket of its own in the machine's
//! directory; plugging one in is `device_add` under the root port of its device index, whether the machine
//! runs or not. Once the first interfaces are in, the machine is reset, so that its firmware finds them, and
//! let run.
//!
//! Unplugging: QEMU (seen with 11.1) aborts when a vfio-user device with MSI-X goes while the guest runs, so a
//! detached function stays plugged and dead: its server closes, the guest reads ones, and its driver gives the
//! device up. The port of a dead function takes no other one until the machine is started anew.
//!
//! A machine ends with its card: QEMU never connects again to a device server that died. The next card ends
//! what is left of it and boots it again.

mod accelerator;
mod qemu;
mod qmp;

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trinic_host::process::{Process, ProcessId};

use crate::protocol::{InstanceSpec, InterfaceSpec, VmImage};

use super::backend::{Instance, Plug};
use super::ena::Functions;

pub use qemu::QEMU_VARIABLE;

use accelerator::Accelerator;
use qemu::{Boot, Kernel, Machine, Qemu};
use qmp::Qmp;

/// One machine.
#[derive(Debug)]
pub struct VmInstance {
    id: String,
    directory: PathBuf,
    process: Process,
    qmp: Qmp,
    functions: Functions,
    /// Device indexes whose port holds a function that was detached.
    dead: BTreeSet<u32>,
    /// Device indexes whose port holds a function.
    plugged: BTreeSet<u32>,
    ports: u32,
    is_running: bool,
}

/// What another card process needs to end a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Handle {
    /// QEMU's process.
    pub machine: ProcessId,
}

impl VmInstance {
    /// Starts the machine, stopped and without functions.
    ///
    /// # Errors
    ///
    /// When there is no QEMU that can carry functions, the image is not to be had, or QEMU refuses.
    pub fn start(
        spec: &InstanceSpec,
        image: &VmImage,
        directory: &Path,
        functions: Functions,
    ) -> anyhow::Result<Self> {
        let qemu = Qemu::find()?;
        fs::create_dir_all(directory).with_context(|| format!("Cannot make {}", directory.display()))?;
        let boot = boot_of(image, directory, &qemu)?;
        let machine = Machine {
            id: spec.id.to_string(),
            instance_type: spec.metadata.instance_type.clone(),
            directory: directory.to_owned(),
            vcpus: spec.vcpus.clamp(1, VCPUS_MAX),
            memory_mib: memory_mib(spec),
            ports: PORTS,
            boot,
        };
        let memory = accelerator::Memory {
            path: &directory.with_file_name("accelerator.json"),
            boot_id: &boot_id(),
        };
        let accelerator = Accelerator::choose(&qemu, &machine.boot, &memory);
        // What a machine of the same id left, in an earlier life.
        let _ = fs::remove_file(directory.join(QMP_SOCKET));
        let mut command = qemu.command(&machine, accelerator)?;
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("Cannot start {}", qemu.program.display()))?;
        let process = Process::open(ProcessId::of(child.id())?)?;
        match Qmp::connect(&short_path(directory, QMP_SOCKET)?, START_LIMIT) {
            Ok(qmp) => {
                tracing::info!(instance = %spec.id, ?accelerator, qemu = %qemu.version, "Machine is there");
                Ok(Self {
                    id: machine.id,
                    directory: directory.to_owned(),
                    process,
                    qmp,
                    functions,
                    dead: BTreeSet::new(),
                    plugged: BTreeSet::new(),
                    ports: machine.ports,
                    is_running: false,
                })
            }
            Err(error) => {
                process.kill(Duration::ZERO)?;
                let log = fs::read_to_string(directory.join("qemu.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it said nothing").to_owned();
                Err(error.context(format!("QEMU did not start: {last}")))
            }
        }
    }

    /// Plugs the function of an interface into its port.
    fn plug(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        let socket = self.socket(interface);
        let device = json!({
            "driver": "vfio-user-pci",
            "id": device_name(interface),
            "bus": qemu::port_name(interface.device_index),
            "socket": { "type": "unix", "path": socket },
        });
        self.qmp.execute("device_add", &device)?;
        self.plugged.insert(interface.device_index);
        Ok(())
    }

    /// The socket of a function, as QEMU and the card name it: relative to the directory of the machine.
    fn socket(&self, interface: &InterfaceSpec) -> String {
        format!("{}.sock", interface.id)
    }
}

impl Instance for VmInstance {
    fn pid(&self) -> u32 {
        self.process.id().pid
    }

    fn attach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<Plug> {
        let index = interface.device_index;
        anyhow::ensure!(
            index < self.ports,
            "A machine has {} ports for interfaces, and none for device index {index}",
            self.ports
        );
        anyhow::ensure!(
            !self.dead.contains(&index),
            "Device index {index} holds an interface that was detached while the machine ran: QEMU cannot unplug it. \
             Use another index, or stop and start the instance"
        );
        self.functions.make(interface)
    }

    fn activate(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        let path = short_path(&self.directory, &self.socket(interface))?;
        // QEMU connects while it carries out the command, so the server listens first.
        self.functions.serve(&interface.id, &path)?;
        self.plug(interface)
    }

    fn configure(&mut self, _: &InterfaceSpec, _: &InterfaceSpec) -> anyhow::Result<()> {
        // The guest asks DHCP and the metadata service, as on EC2.
        Ok(())
    }

    fn detach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        self.functions.close(&interface.id);
        if self.plugged.remove(&interface.device_index) {
            self.dead.insert(interface.device_index);
        }
        Ok(())
    }

    fn ready(&mut self) -> anyhow::Result<()> {
        if !self.is_running {
            self.qmp.execute("system_reset", &Value::Null)?;
            self.qmp.execute("cont", &Value::Null)?;
            self.is_running = true;
        }
        Ok(())
    }

    fn ended(&self) -> Option<OwnedFd> {
        self.process.as_fd().try_clone_to_owned().ok()
    }

    fn stop(mut self: Box<Self>) -> anyhow::Result<()> {
        if self.is_running {
            // The guest's power button: its own shutdown runs, if it listens.
            let _ = self.qmp.execute("system_powerdown", &Value::Null);
            if !self.process.wait(GRACE)? {
                tracing::debug!(instance = %self.id, "The guest did not shut down by itself");
            }
        }
        self.process.kill(Duration::ZERO)?;
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("Cannot remove {}", self.directory.display()))
            }
            _ => Ok(()),
        }
    }

    fn record(&self) -> Value {
        serde_json::to_value(Handle {
            machine: self.process.id(),
        })
        .unwrap_or_default()
    }
}

/// The machine that a record is of; `None` for another kind of instance.
#[must_use]
pub fn machine_of(record: &Value) -> Option<ProcessId> {
    Some(Handle::deserialize(record).ok()?.machine)
}

/// Ends what is left of a machine, from its record.
pub fn sweep(record: &Value) {
    // One that is gone is as good as ended.
    if let Some(Ok(process)) = machine_of(record).map(Process::open)
        && let Err(error) = process.kill(Duration::ZERO)
    {
        tracing::warn!(%error, "A virtual machine of an earlier card runs on");
    }
}

/// The type's memory, and no more than half of this host's: it is taken as the guest touches it.
fn memory_mib(spec: &InstanceSpec) -> u32 {
    let pages = rustix::system::sysinfo();
    let host_mib = pages.totalram.saturating_mul(u64::from(pages.mem_unit)) >> 20;
    let most = u32::try_from(host_mib / 2).unwrap_or(u32::MAX);
    spec.memory_mib.clamp(MEMORY_MIN_MIB, most.max(MEMORY_MIN_MIB))
}

/// What the machine boots. A disk is the image's with a layer of the machine's own on it.
fn boot_of(image: &VmImage, directory: &Path, qemu: &Qemu) -> anyhow::Result<Boot> {
    let kernel = image.kernel.as_ref().map(|kernel| Kernel {
        file: kernel.into(),
        initrd: image.initrd.as_ref().map(PathBuf::from),
        append: image.append.clone().unwrap_or_else(|| DEFAULT_APPEND.to_owned()),
    });
    let disk = match &image.disk {
        Some(base) => {
            let layer = directory.join("root.qcow2");
            if !layer.exists() {
                qemu.make_layer(Path::new(base), &layer)?;
            }
            Some(layer)
        }
        None => None,
    };
    anyhow::ensure!(
        kernel.is_some() || disk.is_some(),
        "The image has neither a kernel nor a disk"
    );
    Ok(Boot { kernel, disk })
}

/// A path that fits a Unix socket's 107 bytes, however long the directory's own is.
fn short_path(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    anyhow::ensure!(
        path.as_os_str().len() <= SOCKET_PATH_MAX,
        "{} is longer than the {SOCKET_PATH_MAX} bytes that a Unix socket may have: choose a shorter --state",
        path.display()
    );
    Ok(path)
}

fn device_name(interface: &InterfaceSpec) -> String {
    interface.id.to_string()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// The console's file in the directory of a machine.
pub const CONSOLE: &str = "console.log";
const QMP_SOCKET: &str = "qmp.sock";
/// Root ports of a machine: the most interfaces that an instance type has on one card.
/// Source: AWS, "Maximum IP addresses per network interface" (15, c5.18xlarge and others).
const PORTS: u32 = 15;
const VCPUS_MAX: u32 = 32;
const MEMORY_MIN_MIB: u32 = 64;
const DEFAULT_APPEND: &str = "console=ttyS0";
/// How long QEMU may take to open its socket.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a guest may take to shut down by itself.
const GRACE: Duration = Duration::from_secs(3);
/// `sun_path` less its closing zero. Source: unix(7).
const SOCKET_PATH_MAX: usize = 107;
