//! The QEMU that runs virtual machines: finding it, its command line, its process.
//!
//! Each machine starts stopped, with empty root ports; its functions are plugged in over QMP ([`super::qmp`]),
//! then it is reset once and let run, so that functions of the first boot and later ones take the same way.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::accelerator::Accelerator;

/// Set to a path, it names the QEMU to use.
pub const QEMU_VARIABLE: &str = "TRINIC_QEMU";

/// A QEMU that can carry our functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Qemu {
    /// The program.
    pub(super) program: PathBuf,
    /// `10.1.2`.
    pub(super) version: String,
}

/// What a machine is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    /// `i-…`.
    pub(super) id: String,
    /// `c5.large`; the guest reads it from its DMI tables.
    pub(super) instance_type: String,
    /// Where its console, sockets and disk are.
    pub(super) directory: PathBuf,
    /// Processors.
    pub(super) vcpus: u32,
    /// Memory, MiB.
    pub(super) memory_mib: u32,
    /// What it boots.
    pub(super) boot: Boot,
}

/// What a machine boots: a kernel, a disk, or a kernel with a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    /// A Linux kernel; without one the disk has a boot loader.
    pub(super) kernel: Option<Kernel>,
    /// A disk of its own, in qcow2 form.
    pub(super) disk: Option<PathBuf>,
}

/// A Linux kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kernel {
    /// The kernel.
    pub(super) file: PathBuf,
    /// Its initial file system.
    pub(super) initrd: Option<PathBuf>,
    /// Its command line.
    pub(super) append: String,
}

impl Qemu {
    /// Finds a QEMU with `vfio-user-pci`: the one that [`QEMU_VARIABLE`] names, or the one on the path.
    ///
    /// # Errors
    ///
    /// When there is none or it is too old; the error says what to install.
    pub(super) fn find() -> anyhow::Result<Self> {
        let program =
            std::env::var_os(QEMU_VARIABLE).map_or_else(|| PathBuf::from(DEFAULT_PROGRAM), PathBuf::from);
        let version = output(&program, &["--version"]).with_context(|| {
            format!(
                "Virtual machines need QEMU 10.1 or later ({} is not to be had; {QEMU_VARIABLE} names another)",
                program.display()
            )
        })?;
        let version = version_in(&version)
            .with_context(|| format!("{} does not say its version", program.display()))?
            .to_owned();
        // Distributions may leave the device out, so the version alone says nothing.
        let devices = output(&program, &["-device", "help"])?;
        anyhow::ensure!(
            devices.contains(r#"name "vfio-user-pci""#),
            "Virtual machines need QEMU 10.1 or later; {} is {version} and has no vfio-user-pci",
            program.display()
        );
        Ok(Self { program, version })
    }

    /// The command that starts a machine, stopped.
    ///
    /// # Errors
    ///
    /// When its console cannot be opened.
    pub(super) fn command(&self, machine: &Machine, accelerator: Accelerator) -> anyhow::Result<Command> {
        let log = machine.directory.join("qemu.log");
        let log = File::create(&log).with_context(|| format!("Cannot write {}", log.display()))?;
        let mut command = Command::new(&self.program);
        command
            .args(machine.arguments(accelerator))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir(&machine.directory);
        Ok(command)
    }
}

impl Machine {
    /// QEMU's arguments, without those of functions. Paths are relative to the machine's directory where
    /// they are its own: a socket's path has a limit of 107 bytes.
    fn arguments(&self, accelerator: Accelerator) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut push = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        push(&["-nodefaults", "-no-user-config", "-display", "none", "-S"]);
        push(&["-name", &self.id, "-machine", "q35,memory-backend=ram"]);
        for words in accelerator.arguments() {
            push(&[words]);
        }
        push(&["-smp", &self.vcpus.to_string()]);
        push(&["-m", &format!("{}M", self.memory_mib)]);
        // The card maps the guest's memory: it must be shared.
        let memory = format!("memory-backend-memfd,id=ram,size={}M,share=on", self.memory_mib);
        push(&["-object", &memory]);
        push(&["-chardev", "file,id=console,path=console.log,append=on"]);
        push(&["-serial", "chardev:console"]);
        push(&["-qmp", "unix:qmp.sock,server=on,wait=off"]);
        push(&["-action", "reboot=reset,shutdown=poweroff"]);
        push(&["-device", "virtio-rng-pci"]);
        for device in super::slots::arguments() {
            push(&["-device", &device]);
        }
        for table in self.dmi() {
            push(&["-smbios", &table]);
        }
        arguments.extend(self.boot.arguments());
        arguments
    }

    /// The tables by which cloud-init and others know an EC2 instance.
    ///
    /// Source: AWS, "Determine whether a particular host is an EC2 instance" (uuid and vendor); cloud-init,
    /// tools/ds-identify (vendor "Amazon EC2", asset tag = instance id).
    fn dmi(&self) -> [String; 3] {
        let id = &self.id;
        // Its first letters say EC2; the rest is the instance's own id, cut to a UUID's length.
        let digits = format!("ec2{:0<29}", id.trim_start_matches("i-"));
        let digits: String = digits.chars().take(UUID_DIGITS).collect();
        let uuid = [0..8, 8..12, 12..16, 16..20, 20..32]
            .map(|range| digits.get(range).unwrap_or_default())
            .join("-");
        [
            "type=0,vendor=Amazon EC2".to_owned(),
            format!(
                "type=1,manufacturer=Amazon EC2,product={},serial={uuid},uuid={uuid}",
                self.instance_type
            ),
            format!("type=3,manufacturer=Amazon EC2,asset={id}"),
        ]
    }
}

impl Boot {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(kernel) = &self.kernel {
            arguments.extend(["-kernel".into(), (&kernel.file).into()]);
            if let Some(initrd) = &kernel.initrd {
                arguments.extend(["-initrd".into(), initrd.into()]);
            }
            arguments.extend(["-append".into(), (&kernel.append).into()]);
        }
        if let Some(disk) = &self.disk {
            let node = serde_json::json!({
                "driver": "qcow2",
                "node-name": "root",
                "file": { "driver": "file", "filename": disk },
            });
            let device = "virtio-blk-pci,drive=root,bootindex=0".to_owned();
            arguments.extend(["-blockdev".into(), node.to_string().into()]);
            arguments.extend(["-device".into(), device.into()]);
        }
        arguments
    }
}

/// The root port of a device index.
pub(super) fn port_name(index: u32) -> String {
    format!("port{index}")
}

fn output(program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "{} {} ended with {}: {}",
        program.display(),
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `QEMU emulator version 10.1.2 (Debian …)`.
fn version_in(text: &str) -> Option<&str> {
    text.split_once("version ")?.1.split_whitespace().next()
}

#[cfg(target_arch = "aarch64")]
const DEFAULT_PROGRAM: &str = "qemu-system-aarch64";
#[cfg(not(target_arch = "aarch64"))]
const DEFAULT_PROGRAM: &str = "qemu-system-x86_64";
const UUID_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(boot: Boot) -> Machine {
        Machine {
            id: "i-0123456789abcdef0".into(),
            instance_type: "c5.large".into(),
            directory: "/nowhere".into(),
            vcpus: 2,
            memory_mib: 512,
            boot,
        }
    }

    fn disk(path: &str) -> Boot {
        Boot {
            kernel: None,
            disk: Some(path.into()),
        }
    }

    fn words(machine: &Machine) -> Vec<String> {
        machine
            .arguments(Accelerator::Tcg)
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn memory_is_shared_and_of_the_machines_size() {
        let words = words(&machine(disk("/d.qcow2")));
        assert!(words.contains(&"memory-backend-memfd,id=ram,size=512M,share=on".to_owned()));
        assert!(words.windows(2).any(|pair| pair == ["-m", "512M"]));
        assert_eq!(
            words
                .iter()
                .filter(|word| word.starts_with("pcie-root-port"))
                .count(),
            16
        );
    }

    #[test]
    fn the_guest_can_tell_that_it_is_an_instance() {
        let [_, system, chassis] = machine(disk("/d")).dmi();
        assert!(
            system.contains("uuid=ec201234-5678-9abc-def0-000000000000"),
            "{system}"
        );
        assert!(chassis.ends_with("asset=i-0123456789abcdef0"));
    }

    #[test]
    fn a_path_with_commas_stays_one_path() {
        let words = words(&machine(disk("/a,b=c.qcow2")));
        assert!(
            words
                .iter()
                .any(|word| word.contains(r#""filename":"/a,b=c.qcow2""#))
        );
    }

    #[test]
    fn versions() {
        assert_eq!(
            version_in("QEMU emulator version 10.1.2 (Debian 1:10.1)"),
            Some("10.1.2")
        );
        assert_eq!(version_in("busybox"), None);
    }
}
