//! Network namespaces: made and entered on threads that live for that only, so that the caller's
//! threads never leave their own namespace; named under /run/netns as iproute2 does.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::error::{Error, Result, Step};
use crate::sys;

/// A network namespace, held by a descriptor: it lives at least as long as this.
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
}

impl NetNs {
    /// Makes a new namespace with nothing but a loopback interface that is down.
    pub fn create() -> Result<Self> {
        on_thread(|| {
            sys::unshare_namespaces(UnshareFlags::NEWNET).step(|| "make a network namespace".into())?;
            Self::current()
        })?
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The namespace of a process.
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// The namespace at a path: /run/netns/NAME, /proc/N/ns/net.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = fs::File::open(path).step(|| format!("open the namespace {}", path.display()))?;
        Ok(Self { fd: file.into() })
    }

    /// The namespace named NAME, as in `ip netns exec NAME`.
    pub fn open_named(name: &str) -> Result<Self> {
        Self::open(named_path(name)?)
    }

    /// Inode of the namespace, which tells two of them apart while both exist.
    pub fn inode(&self) -> Result<u64> {
        Ok(rustix::fs::fstat(&self.fd)
            .step(|| "identify the namespace".into())?
            .st_ino)
    }

    /// A second handle.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self
            .fd
            .try_clone()
            .step(|| "duplicate a namespace handle".into())?;
        Ok(Self { fd })
    }

    /// Runs `task` in this namespace on a thread that ends afterwards. The caller's thread is
    /// untouched; sockets and taps that the task opens stay in the namespace for good.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> Result<T> {
        on_thread(|| {
            rustix::thread::move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
                .step(|| "enter the network namespace".into())?;
            Ok(task())
        })?
    }

    /// Gives the namespace a name, so that `ip netns exec NAME …` finds it. Needs root.
    pub fn bind(&self, name: &str) -> Result<()> {
        let path = named_path(name)?;
        prepare_named_directory()?;
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .step(|| format!("create {}", path.display()))?;
        let source = format!("/proc/thread-self/fd/{}", self.fd.as_raw_fd());
        rustix::mount::mount_bind(source, &path).map_err(|error| {
            let _ = fs::remove_file(&path);
            Error::Os {
                what: format!("bind the namespace to {}", path.display()),
                source: error.into(),
            }
        })
    }

    /// Takes the name away; the namespace itself goes when nothing uses it any more. A name that is not
    /// there is no error.
    pub fn unbind(name: &str) -> Result<()> {
        let path = named_path(name)?;
        // More than one mount can lie there when a card was killed between two steps.
        for _ in 0..MOUNT_STACK_LIMIT {
            if rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_err() {
                break;
            }
        }
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).step(|| format!("remove {}", path.display())),
        }
    }

    /// Takes back what [`NetNs::bind`] made of /run/netns, when no name is left there: without names the
    /// directory need not be a mount point, and the next name makes it one again.
    pub fn release_names() -> Result<()> {
        if !Self::names()?.is_empty() {
            return Ok(());
        }
        match rustix::mount::unmount(NAMED_DIRECTORY, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // It is no mount point, or is not there at all.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
            result => result.step(|| format!("unmount {NAMED_DIRECTORY}")),
        }
    }

    /// Names under /run/netns now.
    pub fn names() -> Result<Vec<String>> {
        let entries = match fs::read_dir(NAMED_DIRECTORY) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).step(|| format!("list {NAMED_DIRECTORY}")),
        };
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `task` on a thread of its own and waits for it.
fn on_thread<T: Send>(task: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .name("netns".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn_scoped(scope, task)
            .step(|| "start a thread".into())?;
        handle
            .join()
            .map_err(|payload| std::panic::resume_unwind(payload))
    })
}

/// The path of a named namespace; names with a slash, or that mean a directory, are refused.
fn named_path(name: &str) -> Result<PathBuf> {
    if name.is_empty() || name.len() > 255 || name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err(Error::Invalid(format!(
            "{name:?} cannot be the name of a network namespace"
        )));
    }
    Ok(Path::new(NAMED_DIRECTORY).join(name))
}

/// Makes /run/netns a shared mount, so that names appear and vanish in every mount namespace alike.
/// Source: [ip-netns(8)], which describes the directory; shared propagation as `ip netns add` sets it.
fn prepare_named_directory() -> Result<()> {
    fs::create_dir_all(NAMED_DIRECTORY).step(|| format!("create {NAMED_DIRECTORY}"))?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    if rustix::mount::mount_change(NAMED_DIRECTORY, shared).is_ok() {
        return Ok(());
    }
    // It is no mount point yet: mount it on itself first.
    rustix::mount::mount_bind_recursive(NAMED_DIRECTORY, NAMED_DIRECTORY)
        .step(|| format!("make {NAMED_DIRECTORY} a mount point"))?;
    rustix::mount::mount_change(NAMED_DIRECTORY, shared).step(|| format!("share {NAMED_DIRECTORY}"))
}

/// Writes a sysctl of the network namespace that the calling thread is in (`net.ipv4.ip_forward` is
/// `net/ipv4/ip_forward`). One that this kernel does not have is an error of kind `NotFound` inside.
pub fn write_sysctl(path: &str, value: &str) -> Result<()> {
    if path.split('/').any(|part| part == "..") || !path.starts_with("net/") {
        return Err(Error::Invalid(format!(
            "{path:?} is no sysctl of a network namespace"
        )));
    }
    fs::write(format!("/proc/sys/{path}"), value).step(|| format!("set {path} to {value}"))
}

/// Reads a sysctl of the network namespace that the calling thread is in.
pub fn read_sysctl(path: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/sys/{path}")).step(|| format!("read {path}"))?;
    Ok(text.trim_end().to_owned())
}

/// Where iproute2 keeps names of namespaces. Source: [ip-netns(8)].
const NAMED_DIRECTORY: &str = "/run/netns";
/// The most mounts that are taken off one name.
const MOUNT_STACK_LIMIT: usize = 16;
/// Threads that enter a namespace do little; a small stack starts faster.
const THREAD_STACK_BYTES: usize = 256 * 1024;
