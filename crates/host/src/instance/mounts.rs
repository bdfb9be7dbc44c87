//! The file tree of an instance: the host's, read-only, with /dev, /proc, /sys, /run and /tmp of its
//! own and its own resolv.conf, hosts and hostname.
//!
//! Source: [mount_namespaces(7)], [mount_setattr(2)], [user_namespaces(7)].

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use super::InstanceOptions;
use crate::error::{Result, Step};
use crate::sys;

/// Arranges the tree. Returns sentences about what could not be had and is not essential.
pub(super) fn arrange(options: &InstanceOptions) -> Result<Vec<String>> {
    let mut remarks = Vec::new();
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).step(|| "detach the mounts from the host's".into())?;

    // What shows through from the host is taken before the tree is covered and made read-only.
    let run_dir = detached(&options.run_dir)?;
    let devices: Vec<(&str, OwnedFd)> = DEVICES
        .iter()
        .filter_map(|path| Some((*path, detached(Path::new(path)).ok()?)))
        .collect();
    let files = [
        PrivateFile::new("/etc/resolv.conf", &options.resolv_conf),
        PrivateFile::new("/etc/hosts", &options.hosts),
        PrivateFile::new("/etc/hostname", &format!("{}\n", options.hostname)),
    ];
    make_read_only(&mut remarks)?;

    for path in options.hide.iter().filter(|path| path.is_dir()) {
        cover(path)?;
    }
    temporary("/tmp", "mode=1777,size=50%")?;
    temporary("/run", "mode=755,size=20%")?;
    if Path::new("/var/tmp").is_dir() && !is_symlink("/var/tmp") {
        temporary("/var/tmp", "mode=1777,size=50%")?;
    }
    fs::create_dir(RUN_TRINIC).step(|| format!("create {RUN_TRINIC}"))?;
    attach(&run_dir, Path::new(RUN_TRINIC))?;
    // The card makes, opens and removes its sockets there by name; nothing inside may take their place. A socket
    // can be connected to on a read-only mount.
    let flags =
        MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount_remount(RUN_TRINIC, flags, c"").step(|| format!("protect {RUN_TRINIC}"))?;
    arrange_dev(&devices)?;
    arrange_proc_and_sys(&mut remarks)?;
    fs::create_dir(PRIVATE_ETC).step(|| format!("create {PRIVATE_ETC}"))?;
    for file in &files {
        if let Err(error) = file.place() {
            remarks.push(error.chain());
        }
    }
    Ok(remarks)
}

/// A file whose content the instance has for itself.
struct PrivateFile {
    path: &'static str,
    /// Where the path leads on the host, symbolic links followed.
    target: PathBuf,
    content: String,
}

impl PrivateFile {
    /// Must be made while the host's /run is still visible: resolv.conf is often a link into it.
    fn new(path: &'static str, content: &str) -> Self {
        let target = fs::canonicalize(path).unwrap_or_else(|_| {
            let link = fs::read_link(path).unwrap_or_else(|_| path.into());
            Path::new(path)
                .parent()
                .unwrap_or_else(|| Path::new("/"))
                .join(link)
        });
        Self {
            path,
            target,
            content: content.to_owned(),
        }
    }

    fn place(&self) -> Result<()> {
        let what = || format!("give the instance its own {}", self.path);
        // On a tree of its own (the link led into /run or /tmp) the file is simply written.
        if let Some(parent) = self.target.parent().filter(|_| !self.target.exists()) {
            fs::create_dir_all(parent).step(what)?;
            return fs::write(&self.target, &self.content).step(what);
        }
        let name = self.path.rsplit('/').next().unwrap_or(self.path);
        let source = Path::new(PRIVATE_ETC).join(name);
        fs::write(&source, &self.content).step(what)?;
        rustix::mount::mount_bind(&source, &self.target).step(what)
    }
}

/// Makes every mount read-only and devices in it unusable. Old kernels (before 5.12) have no call for
/// the whole tree; there the root mount alone is made read-only and the rest is said.
fn make_read_only(remarks: &mut Vec<String>) -> Result<()> {
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
    let Err(error) = sys::mount_set_attributes_recursive(c"/", attributes) else {
        return Ok(());
    };
    remarks.push(format!(
        "Only the root file system is read-only, as mount_setattr failed: {error}"
    ));
    rustix::mount::mount_bind_recursive("/", "/").step(|| "bind the root on itself".into())?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    rustix::mount::mount_remount("/", flags, c"").step(|| "make the root read-only".into())
}

/// A /dev with the harmless devices only: the host's disks must not be reachable, whoever owns them.
fn arrange_dev(devices: &[(&str, OwnedFd)]) -> Result<()> {
    temporary("/dev", "mode=755,size=1m")?;
    for directory in ["/dev/pts", "/dev/shm", "/dev/net"] {
        fs::create_dir(directory).step(|| format!("create {directory}"))?;
    }
    for (path, device) in devices {
        fs::write(path, "").step(|| format!("create {path}"))?;
        attach(device, Path::new(path))?;
    }
    temporary("/dev/shm", "mode=1777,size=50%")?;
    let options = c"newinstance,ptmxmode=0666,mode=620";
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("devpts", "/dev/pts", "devpts", flags, options).step(|| "mount /dev/pts".into())?;
    for (path, target) in LINKS {
        symlink(target, path).step(|| format!("link {path}"))?;
    }
    // Whatever is written here reaches the console log through the init.
    let mode = Mode::RUSR | Mode::WUSR | Mode::WGRP | Mode::WOTH;
    rustix::fs::mknodat(CWD, CONSOLE, FileType::Fifo, mode, 0).step(|| format!("make {CONSOLE}"))?;
    // The umask has taken the bits for others away.
    rustix::fs::chmod(CONSOLE, mode).step(|| format!("open {CONSOLE} to everyone"))
}

/// A /proc of the new pid namespace and a /sys of the new network namespace. A container that hides
/// parts of its own /proc forbids this; then the host's stays, read-only.
fn arrange_proc_and_sys(remarks: &mut Vec<String>) -> Result<()> {
    let safe = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    match rustix::mount::mount("proc", "/proc", "proc", safe, None) {
        Ok(()) => protect_proc()?,
        Err(error) => remarks.push(format!(
            "The host's /proc is visible, as mounting one failed: {error}"
        )),
    }
    if let Err(error) = rustix::mount::mount("sysfs", "/sys", "sysfs", safe | MountFlags::RDONLY, None) {
        remarks.push(format!(
            "The host's /sys is visible, as mounting one failed: {error}"
        ));
    }
    Ok(())
}

/// The sysctls that belong to the machine are read-only; those of the network namespace stay writable,
/// as they are the instance's own. Root inside may be root outside for the file system's purposes, and
/// the kernel guards most files of /proc/sys by owner only.
fn protect_proc() -> Result<()> {
    for path in PROTECTED_PROC.into_iter().filter(|path| Path::new(path).exists()) {
        let what = || format!("protect {path}");
        rustix::mount::mount_bind(path, path).step(what)?;
        let flags = MountFlags::BIND
            | MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NOEXEC
            | MountFlags::NODEV;
        rustix::mount::mount_remount(path, flags, c"").step(what)?;
    }
    Ok(())
}

/// Puts an empty, read-only directory over a directory of the host.
fn cover(path: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount("tmpfs", path, "tmpfs", flags, c"mode=555,size=4k")
        .step(|| format!("hide {}", path.display()))
}

/// Mounts an empty file system in memory.
fn temporary(path: &str, options: &str) -> Result<()> {
    let what = || format!("mount a private {path}");
    let options = std::ffi::CString::new(options)
        .map_err(std::io::Error::from)
        .step(what)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    if !Path::new(path).exists() {
        // Only /run may be missing in very small images, and the tree is read-only by now.
        fs::DirBuilder::new().mode(0o755).create(path).step(what)?;
    }
    rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_c_str()).step(what)
}

/// A copy of what is mounted or lies at `path`, attached nowhere yet.
fn detached(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags).step(|| format!("take {} along", path.display()))
}

/// Attaches what [`detached`] took.
fn attach(tree: &OwnedFd, path: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), "", CWD, path, flags).step(|| format!("show {}", path.display()))
}

fn is_symlink(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Where the card's directory for this instance appears.
pub(super) const RUN_TRINIC: &str = "/run/trinic";
/// The console: written by anyone inside, read by the init.
pub(super) const CONSOLE: &str = "/dev/console";
/// Sources of the files mounted over the host's.
const PRIVATE_ETC: &str = "/run/.trinic-etc";
/// Devices that an instance may use.
const DEVICES: [&str; 7] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/net/tun",
];
const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];
/// Machine-wide controls in /proc.
const PROTECTED_PROC: [&str; 9] = [
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/sys/fs",
    "/proc/sys/dev",
    "/proc/sys/debug",
    "/proc/sys/abi",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
];
