//! Instances as virtual machines: QEMU with one PCI function of the card for each interface.
//!
//! The machine starts stopped ([`qemu`]). Each function is a vfio-user socket of its own in the machine's
//! directory; plugging one in is `device_add` under a root port ([`slots`]), whether the machine runs or not.
//! Once the first interfaces are in, the machine is reset, so that its firmware finds them, and let run. An
//! interface without ENA is a virtio card on a tap instead ([`traditional`]).
//!
//! A machine ends with its card: QEMU never connects again to a device server that died. The next card ends
//! what is left of it and boots it again, on the disk that it had ([`volumes`]).

mod accelerator;
mod qemu;
mod qmp;
mod slots;
mod traditional;
mod volumes;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trinic_host::process::{Process, ProcessId};

use crate::protocol::{InstanceSpec, InterfaceSpec, VmImage};

use super::backend::{Instance, Plug};
use super::ena::{Functions, Retired};

pub use qemu::QEMU_VARIABLE;
pub use volumes::Volumes;

use accelerator::Accelerator;
use qemu::{Boot, Kernel, Machine, Qemu};
use qmp::Qmp;
use slots::{Device, Slots};
use traditional::Traditional;

/// One machine.
#[derive(Debug)]
pub struct VmInstance {
    id: String,
    directory: PathBuf,
    process: Process,
    qmp: Qmp,
    functions: Functions,
    slots: Slots,
    cards: Traditional,
    /// Functions that were detached: QEMU needs their servers as long as it runs.
    retired: Vec<Retired>,
    is_running: bool,
}

/// What another card process needs to end a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Handle {
    /// QEMU's process.
    pub machine: ProcessId,
}

impl VmInstance {
    /// Starts the machine, stopped and without functions. `directory` is of this instance, three below the
    /// state directory, where disks and what was found out about the host are.
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
        if spec.interfaces.iter().any(|interface| !interface.ena) {
            Traditional::check()?;
        }
        let qemu = Qemu::find()?;
        let state = directory
            .ancestors()
            .nth(3)
            .context("There is no state directory")?;
        fs::create_dir_all(directory).with_context(|| format!("Cannot make {}", directory.display()))?;
        let machine = Machine {
            id: spec.id.to_string(),
            instance_type: spec.metadata.instance_type.clone(),
            directory: directory.to_owned(),
            vcpus: spec.vcpus.clamp(1, VCPUS_MAX),
            memory_mib: memory_mib(spec),
            boot: boot_of(image, &spec.id, &Volumes::new(&state.join("volumes")))?,
        };
        let memory = accelerator::Memory {
            path: &state.join("accelerator.json"),
            boot_id: &boot_id(),
        };
        let accelerator = Accelerator::choose(&qemu, &machine.boot, &memory);
        // Before there is a process: one without a monitor would be nobody's.
        let monitor = socket_path(directory, QMP_SOCKET)?;
        // What a machine of the same id left, in an earlier life.
        let _ = fs::remove_file(&monitor);
        let mut command = qemu.command(&machine, accelerator)?;
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("Cannot start {}", qemu.program.display()))?;
        let process = Process::open(ProcessId::of(child.id())?)?;
        match Qmp::connect(&monitor, START_LIMIT) {
            Ok(qmp) => {
                tracing::info!(instance = %spec.id, ?accelerator, qemu = %qemu.version, "Machine is there");
                Ok(Self {
                    id: machine.id,
                    directory: directory.to_owned(),
                    process,
                    qmp,
                    functions,
                    slots: Slots::default(),
                    cards: Traditional::default(),
                    retired: Vec::new(),
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

    /// Asks the guest's own shutdown to run, and waits until `is_over`; `false` when it does not listen or is
    /// too slow.
    fn power_down(
        &mut self,
        mut is_over: impl FnMut(&mut Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        if !self.listens_to_power_button() {
            return Ok(false);
        }
        self.qmp.execute("system_powerdown", &Value::Null)?;
        let since = Instant::now();
        while since.elapsed() < GRACE {
            if is_over(self)? {
                return Ok(true);
            }
            std::thread::sleep(POLL);
        }
        Ok(false)
    }

    /// Whether the guest has enabled the power button's event, so that there is something to wait for. Where
    /// that cannot be told it is taken to.
    ///
    /// Source: ACPI 6.5, 4.8.4.1.2 (PM1 enable register, bit 8 `PWRBTN_EN`); QEMU, hw/acpi/ich9.c.
    fn listens_to_power_button(&mut self) -> bool {
        let command = json!({ "command-line": format!("i /h {PM1_ENABLE_PORT:#x}") });
        let answer = self.qmp.execute("human-monitor-command", &command);
        let register = answer.ok().and_then(|answer| {
            let digits = answer.as_str()?.trim().rsplit_once("0x")?.1.to_owned();
            u16::from_str_radix(&digits, 16).ok()
        });
        register.is_none_or(|register| register & POWER_BUTTON_ENABLE != 0)
    }
}

impl Instance for VmInstance {
    fn pid(&self) -> u32 {
        self.process.id().pid
    }

    fn attach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<Plug> {
        self.slots.reserve(interface)?;
        let plug = if interface.ena {
            self.functions.make(interface)
        } else {
            self.cards.make(interface)
        };
        if plug.is_err() {
            self.slots.release(&interface.id);
        }
        plug
    }

    fn activate(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        let place = self.slots.place(&interface.id)?;
        if !interface.ena {
            let device = self.cards.hand_over(&mut self.qmp, interface, &place)?;
            return self.slots.plug(&mut self.qmp, &interface.id, &device);
        }
        let socket = format!("{}.sock", place.device);
        let path = socket_path(&self.directory, &socket)?;
        // Of a machine that ended with an earlier card.
        let _ = fs::remove_file(&path);
        // QEMU connects while it carries out the command, so the server listens first.
        self.functions.serve(&interface.id, &path)?;
        let device = json!({
            "driver": "vfio-user-pci",
            "id": place.device,
            "bus": qemu::port_name(place.port),
            "socket": { "type": "unix", "path": socket },
        });
        self.slots.plug(&mut self.qmp, &interface.id, &device)
    }

    fn configure(&mut self, _: &InterfaceSpec, _: &InterfaceSpec) -> anyhow::Result<()> {
        // The guest asks DHCP and the metadata service, as on EC2.
        Ok(())
    }

    fn detach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        if !self.slots.is_plugged(&interface.id) {
            self.slots.release(&interface.id);
            self.cards.forget(&interface.id);
            self.functions.close(&interface.id);
            return Ok(());
        }
        let kind = if interface.ena {
            Device::Function
        } else {
            Device::Virtio
        };
        if let Some(retired) = self.functions.retire(&interface.id) {
            self.retired.push(retired);
        }
        let since = Instant::now();
        self.slots.unplug(&mut self.qmp, &interface.id, kind)?;
        if !interface.ena {
            self.cards.take_back(&mut self.qmp, &interface.id)?;
        }
        tracing::info!(
            instance = %self.id, interface = %interface.id, elapsed_ms = since.elapsed().as_millis(),
            "The guest let an interface go"
        );
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

    fn reboot(&mut self) -> anyhow::Result<bool> {
        if !self.is_running {
            return Ok(false);
        }
        // A guest that shuts down meanwhile stays, to be reset.
        self.qmp.execute("set-action", &json!({ "shutdown": "pause" }))?;
        let is_down = self.power_down(|machine| {
            let status = machine.qmp.execute("query-status", &Value::Null)?;
            Ok(status.get("status").and_then(Value::as_str) == Some("shutdown"))
        })?;
        tracing::info!(instance = %self.id, is_down, "Machine is reset");
        self.qmp.execute("system_reset", &Value::Null)?;
        self.qmp
            .execute("set-action", &json!({ "shutdown": "poweroff" }))?;
        self.qmp.execute("cont", &Value::Null)?;
        Ok(true)
    }

    fn ended(&self) -> Option<OwnedFd> {
        self.process.as_fd().try_clone_to_owned().ok()
    }

    fn stop(mut self: Box<Self>) -> anyhow::Result<()> {
        if self.is_running && !self.process.wait(Duration::ZERO)? {
            // One that does not answer is ended all the same.
            let asked = self.power_down(|machine| Ok(machine.process.wait(Duration::ZERO)?));
            if !asked.unwrap_or(false) {
                tracing::info!(instance = %self.id, "The guest did not shut down by itself; its machine is ended");
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
fn boot_of(image: &VmImage, id: &str, volumes: &Volumes) -> anyhow::Result<Boot> {
    let kernel = image.kernel.as_ref().map(|kernel| Kernel {
        file: kernel.into(),
        initrd: image.initrd.as_ref().map(PathBuf::from),
        append: image.append.clone().unwrap_or_else(|| DEFAULT_APPEND.to_owned()),
    });
    let disk = match &image.disk {
        Some(base) => Some(volumes.open(id, Path::new(base))?),
        None => None,
    };
    anyhow::ensure!(
        kernel.is_some() || disk.is_some(),
        "The image has neither a kernel nor a disk"
    );
    Ok(Boot { kernel, disk })
}

/// The path of a socket in a directory, if it is not longer than a Unix socket's may be.
fn socket_path(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    anyhow::ensure!(
        path.as_os_str().len() <= SOCKET_PATH_MAX,
        "{} is longer than the {SOCKET_PATH_MAX} bytes that a Unix socket may have: choose a shorter --state",
        path.display()
    );
    Ok(path)
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// The console's file in the directory of a machine.
pub const CONSOLE: &str = "console.log";
const QMP_SOCKET: &str = "qmp.sock";
const VCPUS_MAX: u32 = 32;
const MEMORY_MIN_MIB: u32 = 64;
const DEFAULT_APPEND: &str = "console=ttyS0";
/// How long QEMU may take to open its socket.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a guest may take to shut down by itself: less than the card has for the end of everything.
const GRACE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// `sun_path` less its closing zero. Source: unix(7).
const SOCKET_PATH_MAX: usize = 107;
/// PM1 enable register of q35 as its firmware places it. Source: QEMU, include/hw/acpi/ich9.h, and `SeaBIOS`,
/// src/fw/dev-q35.h (`PORT_ACPI_PM_BASE` 0x600), with the register 2 bytes behind.
const PM1_ENABLE_PORT: u16 = 0x602;
const POWER_BUTTON_ENABLE: u16 = 1 << 8;
