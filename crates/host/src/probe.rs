//! What the host allows, found out by trying in a process of its own, and what to do where it does not.
//!
//! Every finding was tried for real: a mere look at modes and sysctls misses security modules, container
//! filters and missing kernel parts.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step};
use crate::netns::NetNs;
use crate::packet::{PacketOptions, PacketPort, SOCKET_BUFFER_BYTES};
use crate::tap::{TUN_PATH, Tap, TapOptions};
use crate::{sys, userns};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Whether the caller is root with every right that a card needs, so that no user namespace of the
    /// card's own is necessary.
    pub root: bool,
    /// User namespaces.
    pub user_namespaces: Finding,
    /// Network namespaces, in the new user namespace unless root.
    pub network_namespaces: Finding,
    /// Taps, there.
    pub taps: Finding,
    /// Virtual cables with packet sockets, there.
    pub packet_sockets: Finding,
    /// Whether packet sockets get the buffers that they need under load.
    pub packet_buffers: Finding,
    /// Namespaces and mounts that an instance needs beside its network.
    pub instances: Finding,
}

/// Whether one thing works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `None` when it works; else what happened, in one sentence.
    pub problem: Option<String>,
    /// What would allow it, in one sentence.
    pub advice: Option<String>,
}

impl Finding {
    /// Whether it works.
    #[must_use]
    pub fn works(&self) -> bool {
        self.problem.is_none()
    }

    fn from_result<T>(result: Result<T>, advice: impl FnOnce() -> String) -> Self {
        match result {
            Ok(_) => Self {
                problem: None,
                advice: None,
            },
            Err(error) => Self {
                problem: Some(error.chain()),
                advice: Some(advice()),
            },
        }
    }

    fn of_packet_buffers(granted_bytes: usize) -> Self {
        if granted_bytes >= SOCKET_BUFFER_BYTES {
            return Self {
                problem: None,
                advice: None,
            };
        }
        Self {
            problem: Some(format!(
                "Packet sockets get {granted_bytes} bytes of buffer, which costs about a quarter of the throughput"
            )),
            advice: Some(format!(
                "As root: `sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES}`."
            )),
        }
    }

    fn depends_on(what: &str) -> Self {
        Self {
            problem: Some(format!("Not tried, as it needs {what}")),
            advice: None,
        }
    }
}

/// What carries packets between an instance and the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carrier {
    /// A tap.
    Tap,
    /// A virtual cable and a packet socket.
    PacketSocket,
}

impl Probe {
    /// Tries everything in a process of its own, which takes a few milliseconds and leaves nothing.
    /// The program must call [`crate::run_hidden_command`] first in its `main`.
    pub fn run() -> Result<Self> {
        let output = Command::new("/proc/self/exe")
            .arg(PROBE_ARGUMENT)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .step(|| "start the probe of the host".into())?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            let status = output.status;
            let how = match (status.code(), status.signal()) {
                (Some(code), _) => format!("status {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            };
            Error::Invalid(format!("The probe of the host ended with {how} and said nothing"))
        })
    }

    /// The carrier that works here, taps first; `None` when instances cannot have namespaces at all.
    #[must_use]
    pub fn carrier(&self) -> Option<Carrier> {
        if !self.instances.works() {
            return None;
        }
        if self.taps.works() {
            return Some(Carrier::Tap);
        }
        self.packet_sockets.works().then_some(Carrier::PacketSocket)
    }

    /// What does not work, or not as well as it could, and how to allow it, one sentence a line.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let findings = [
            ("User namespaces", &self.user_namespaces),
            ("Network namespaces", &self.network_namespaces),
            ("Taps", &self.taps),
            ("Packet sockets", &self.packet_sockets),
            ("Namespaces for instances", &self.instances),
        ];
        let mut lines = Vec::new();
        for (name, finding) in findings {
            if let Some(problem) = &finding.problem {
                let advice = finding
                    .advice
                    .as_ref()
                    .map(|advice| format!(" {advice}"))
                    .unwrap_or_default();
                lines.push(format!("{name} do not work: {problem}.{advice}"));
            }
        }
        // It matters to nobody where taps carry the packets.
        if self.carrier() == Some(Carrier::PacketSocket)
            && let Some(problem) = &self.packet_buffers.problem
        {
            let advice = self.packet_buffers.advice.as_deref().unwrap_or_default();
            lines.push(format!("{problem}. {advice}"));
        }
        lines
    }

    /// Tries one thing after the other in the calling process, which ends afterwards.
    fn try_everything() -> Self {
        let root = is_full_root();
        let user_namespaces = if root {
            // A root card stays in its user namespace; its instances get their own.
            Finding::from_result(sys_unshare_probe(), advice_for_user_namespaces)
        } else {
            Finding::from_result(userns::enter(), advice_for_user_namespaces)
        };
        let mut probe = Self {
            root,
            network_namespaces: Finding::depends_on("user namespaces"),
            taps: Finding::depends_on("network namespaces"),
            packet_sockets: Finding::depends_on("network namespaces"),
            packet_buffers: Finding::depends_on("packet sockets"),
            instances: Finding::depends_on("user namespaces"),
            user_namespaces,
        };
        if !root && !probe.user_namespaces.works() {
            return probe;
        }
        let netns = NetNs::create();
        if let Ok(netns) = &netns {
            probe.taps = Finding::from_result(try_tap(netns), advice_for_taps);
            let buffer_bytes = try_packet_socket(netns);
            if let Ok(granted) = buffer_bytes {
                probe.packet_buffers = Finding::of_packet_buffers(granted);
            }
            probe.packet_sockets = Finding::from_result(buffer_bytes, || {
                "The kernel needs CONFIG_VETH and CONFIG_PACKET.".into()
            });
        }
        probe.network_namespaces = Finding::from_result(netns, || {
            "Allow them with `sysctl -w user.max_net_namespaces=10000`; on Ubuntu also see \
             kernel.apparmor_restrict_unprivileged_userns."
                .into()
        });
        if probe.user_namespaces.works() {
            probe.instances = Finding::from_result(try_instance(root), || {
                "Inside a container, run it with `--privileged`, or with unmasked /proc and the right \
                 to make namespaces."
                    .into()
            });
        }
        probe
    }
}

/// The hidden command's side: tries, prints, ends.
pub(crate) fn probe_main() -> ! {
    let probe = Probe::try_everything();
    let text = serde_json::to_vec(&probe).unwrap_or_default();
    let written = std::io::stdout().write_all(&text);
    std::process::exit(i32::from(written.is_err()))
}

/// Whether the caller has the rights that a card without a user namespace of its own needs.
fn is_full_root() -> bool {
    use rustix::thread::CapabilitySet;
    let needed = CapabilitySet::SYS_ADMIN
        | CapabilitySet::NET_ADMIN
        | CapabilitySet::NET_RAW
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::SYS_PTRACE;
    rustix::process::geteuid().is_root()
        && rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// For root: a child makes a user namespace, and the probe stays where it is.
fn sys_unshare_probe() -> Result<()> {
    in_child(userns::enter)
}

fn try_tap(netns: &NetNs) -> Result<()> {
    let options = TapOptions {
        persist: false,
        ..TapOptions::new("probe0")
    };
    Tap::open(netns, &options).map(drop)
}

/// Bytes of buffer that the kernel granted.
fn try_packet_socket(netns: &NetNs) -> Result<usize> {
    let card = NetNs::create()?;
    let options = PacketOptions {
        name: "probe1".into(),
        card_name: "probe2".into(),
        mac: None,
        mtu: None,
        up: true,
    };
    PacketPort::open(netns, &card, &options)?.receive_buffer_bytes()
}

/// Makes the namespaces of an instance and mounts in them what an instance mounts. For root in a user
/// namespace of its own, as instances are.
fn try_instance(root: bool) -> Result<()> {
    in_child(move || {
        if root {
            userns::enter()?;
        }
        let flags = UnshareFlags::NEWNS
            | UnshareFlags::NEWPID
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWCGROUP;
        sys::unshare_namespaces(flags).step(|| "make the namespaces of an instance".into())?;
        in_child(|| {
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).step(|| "detach mounts from the host's".into())?;
            rustix::mount::mount("tmpfs", "/tmp", "tmpfs", MountFlags::empty(), None)
                .step(|| "mount a private /tmp".into())
        })
    })
}

/// Runs `task` in a child and brings its error back as text.
fn in_child(task: impl FnOnce() -> Result<()>) -> Result<()> {
    let what = || "try it in a child".into();
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step(what)?;
    let pid = sys::fork_single_threaded(|| match task() {
        Ok(()) => 0,
        Err(error) => {
            let _ = rustix::io::write(&writer, error.chain().as_bytes());
            1
        }
    })
    .step(what)?;
    drop(writer);
    let mut problem = String::new();
    let _ = std::io::Read::read_to_string(&mut fs::File::from(reader), &mut problem);
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let waited = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).step(what)?;
    let succeeded = waited.is_some_and(|(_, status)| status.exit_status() == Some(0));
    if succeeded {
        Ok(())
    } else {
        Err(Error::Invalid(problem))
    }
}

/// The sysctls that forbid user namespaces, with their present values where they are to blame.
fn advice_for_user_namespaces() -> String {
    let read = |path: &str| {
        fs::read_to_string(format!("/proc/sys/{path}"))
            .ok()
            .map(|v| v.trim().to_owned())
    };
    let mut causes = Vec::new();
    if read("user/max_user_namespaces").as_deref() == Some("0") {
        causes.push("`sysctl -w user.max_user_namespaces=10000`");
    }
    if read("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        causes.push("`sysctl -w kernel.unprivileged_userns_clone=1`");
    }
    if read("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        causes.push("`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (or an AppArmor profile)");
    }
    if causes.is_empty() {
        return "Allow them in the container's seccomp profile, or run as root.".into();
    }
    format!("As root: {}.", causes.join(" and "))
}

fn advice_for_taps() -> String {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(TUN_PATH) {
        Ok(metadata) => {
            format!(
                "{TUN_PATH} has mode {:04o}; as root: `chmod 0666 {TUN_PATH}`.",
                metadata.mode() & 0o7777
            )
        }
        Err(_) => format!(
            "There is no {TUN_PATH}; as root: `modprobe tun && mkdir -p /dev/net && mknod -m 666 {TUN_PATH} \
             c 10 200` (for a container: `--device {TUN_PATH}`)."
        ),
    }
}

/// First argument of the hidden command that tries what the host allows.
pub const PROBE_ARGUMENT: &str = "host-probe";

#[cfg(test)]
mod tests {
    use super::*;

    fn works() -> Finding {
        Finding {
            problem: None,
            advice: None,
        }
    }

    fn fails() -> Finding {
        Finding {
            problem: Some("Could not x: denied".into()),
            advice: Some("Do y.".into()),
        }
    }

    #[test]
    fn carrier_is_the_best_that_works() {
        let mut probe = Probe {
            root: true,
            user_namespaces: works(),
            network_namespaces: works(),
            taps: works(),
            packet_sockets: works(),
            packet_buffers: works(),
            instances: works(),
        };
        assert_eq!(probe.carrier(), Some(Carrier::Tap));
        assert!(probe.complaints().is_empty());
        probe.taps = fails();
        assert_eq!(probe.carrier(), Some(Carrier::PacketSocket));
        assert_eq!(
            probe.complaints(),
            ["Taps do not work: Could not x: denied. Do y."]
        );
        probe.packet_sockets = fails();
        assert_eq!(probe.carrier(), None);
        probe.packet_sockets = works();
        probe.instances = fails();
        assert_eq!(probe.carrier(), None);
    }

    #[test]
    fn small_buffers_are_told_where_packet_sockets_carry() {
        let mut probe = Probe {
            root: false,
            user_namespaces: works(),
            network_namespaces: works(),
            taps: works(),
            packet_sockets: works(),
            packet_buffers: Finding::of_packet_buffers(212_992),
            instances: works(),
        };
        assert!(!probe.packet_buffers.works());
        assert!(probe.complaints().is_empty());
        probe.taps = fails();
        assert_eq!(
            probe.complaints()[1],
            "Packet sockets get 212992 bytes of buffer, which costs about a quarter of the throughput. \
             As root: `sysctl -w net.core.rmem_max=4194304`."
        );
        probe.packet_buffers = Finding::of_packet_buffers(SOCKET_BUFFER_BYTES);
        assert!(probe.packet_buffers.works());
        assert_eq!(probe.complaints().len(), 1);
    }
}
