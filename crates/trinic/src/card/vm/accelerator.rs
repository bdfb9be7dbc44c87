//! How a machine's instructions are executed: by the processor (KVM) where that works, else by translation.
//!
//! That /dev/kvm is there says little: on nested hosts it may open and yet fail at the first instructions of
//! a stock kernel, or hang. So the first machine of a card is tried under KVM for a short while with its own
//! kernel, and what came of it is remembered for this boot of the host.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::qemu::{Boot, Kernel, Qemu};

/// How instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Accelerator {
    /// By the processor.
    Kvm,
    /// Translated; works everywhere.
    Tcg,
}

impl Accelerator {
    /// QEMU's arguments.
    pub(super) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// Finds out whether KVM can boot this machine, by booting it; takes [`TRIAL_LIMIT`] at most. Without a
    /// kernel of its own to try, only a host on which KVM was seen to work gets it.
    pub(super) fn choose(qemu: &Qemu, boot: &Boot, memory: &Memory<'_>) -> Self {
        // Machines that start together wait for one trial.
        static TRIAL: Mutex<()> = Mutex::new(());
        match std::env::var(ACCELERATOR_VARIABLE).as_deref() {
            Ok("kvm") => return Self::Kvm,
            Ok("tcg") => return Self::Tcg,
            _ => {}
        }
        let _one = TRIAL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = memory.recall() {
            return found;
        }
        let Some(Kernel { file: kernel, .. }) = &boot.kernel else {
            return Self::Tcg;
        };
        if fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Self::Tcg;
        }
        let found = if boots_under_kvm(qemu, kernel) {
            Self::Kvm
        } else {
            Self::Tcg
        };
        tracing::info!(?found, "Tried a stock kernel under KVM");
        memory.keep(found);
        found
    }
}

/// Where the result of the trial is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory<'a> {
    /// A file of the card.
    pub(super) path: &'a Path,
    /// The boot of the host that it is valid for.
    pub(super) boot_id: &'a str,
}

impl Memory<'_> {
    fn recall(self) -> Option<Accelerator> {
        let text = fs::read_to_string(self.path).ok()?;
        let (boot_id, found): (String, Accelerator) = serde_json::from_str(&text).ok()?;
        (boot_id == self.boot_id).then_some(found)
    }

    fn keep(self, found: Accelerator) {
        let written = serde_json::to_vec(&(self.boot_id, found))
            .map_err(std::io::Error::from)
            .and_then(|text| fs::write(self.path, text));
        if let Err(error) = written {
            tracing::warn!(%error, "The next machine will try KVM again");
        }
    }
}

/// Boots the kernel alone: it is enough that it says its name before it finds that it has no root.
fn boots_under_kvm(qemu: &Qemu, kernel: &Path) -> bool {
    let Ok(console) = tempfile() else { return false };
    let Ok(output) = console.try_clone() else {
        return false;
    };
    let child = Command::new(&qemu.program)
        .args(Accelerator::Kvm.arguments())
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "q35", "-m", "256M", "-serial", "stdio"])
        .args(["-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"])
        .arg("-kernel")
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let since = Instant::now();
    let mut has_spoken = false;
    while !has_spoken && since.elapsed() < TRIAL_LIMIT && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(TRIAL_POLL);
        has_spoken = says_its_name(&console);
    }
    has_spoken = has_spoken || says_its_name(&console);
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    has_spoken
}

/// Later than the kernel's first line, since decompression and early set-up are what fails.
fn says_its_name(console: &fs::File) -> bool {
    use std::os::unix::fs::FileExt;
    let mut text = vec![0; CONSOLE_BYTES];
    let length = console.read_at(&mut text, 0).unwrap_or(0);
    text.truncate(length);
    String::from_utf8_lossy(&text).contains("Calibrating delay loop")
}

/// A file without a name.
fn tempfile() -> std::io::Result<fs::File> {
    let fd = rustix::fs::memfd_create("console", rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(fs::File::from(fd))
}

/// `kvm` or `tcg` decides without a trial.
const ACCELERATOR_VARIABLE: &str = "TRINIC_ACCELERATOR";
/// How long a trial may take: a kernel under a working KVM speaks within a second.
const TRIAL_LIMIT: Duration = Duration::from_secs(10);
const TRIAL_POLL: Duration = Duration::from_millis(50);
const CONSOLE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_valid_for_one_boot() {
        let folder = ::tempfile::tempdir().unwrap();
        let path = folder.path().join("accelerator.json");
        let memory = Memory {
            path: &path,
            boot_id: "one",
        };
        assert_eq!(memory.recall(), None);
        memory.keep(Accelerator::Kvm);
        assert_eq!(memory.recall(), Some(Accelerator::Kvm));
        let other = Memory {
            path: &path,
            boot_id: "two",
        };
        assert_eq!(other.recall(), None);
    }
}
