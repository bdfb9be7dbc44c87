//! Files of every kind that a client can share as its memory, and cut off. Other crates' tests use it too.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, MemfdFlags};

/// Where a client's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memfd,
    /// A file of /dev/shm.
    Tmpfs,
    /// A file on a disk.
    Disk,
    /// A file of hugetlbfs with pages of 2 MiB; [`HugePages::reserve`] comes first.
    Huge,
}

impl Kind {
    /// Bytes that the kernel brings and takes at once.
    pub(crate) fn page_bytes(self) -> u64 {
        if self == Self::Huge { 2 << 20 } else { 4096 }
    }

    /// What is missing for it here.
    pub(crate) fn missing(self) -> Option<String> {
        if self == Self::Huge && !rustix::process::geteuid().is_root() {
            return Some("needs root, who can reserve huge pages".to_owned());
        }
        if self == Self::Huge {
            let count = OpenOptions::new()
                .write(true)
                .open(POOL.to_owned() + "/nr_hugepages");
            return count
                .err()
                .map(|error| format!("huge pages cannot be reserved: {error}"));
        }
        self.open(1).err()
    }

    /// A new file of this size, empty.
    pub(crate) fn open(self, bytes: u64) -> Result<OwnedFd, String> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        let memfd = |flags| rustix::fs::memfd_create("shared", flags).map_err(|error| error.to_string());
        let file = match self {
            Self::Memfd => memfd(MemfdFlags::CLOEXEC)?,
            Self::Huge => memfd(flags)?,
            Self::Tmpfs => unnamed(&["/dev/shm"], |kind| kind == TMPFS)?,
            Self::Disk => {
                let places = ["/tmp", "/var/tmp", env!("CARGO_TARGET_TMPDIR")];
                unnamed(&places, |kind| DISKS.contains(&kind))?
            }
        };
        rustix::fs::ftruncate(&file, bytes).map_err(|error| error.to_string())?;
        Ok(file)
    }
}

/// A file without a name in the first of these folders that is on such a file system.
fn unnamed(folders: &[&str], is_fit: impl Fn(i64) -> bool) -> Result<OwnedFd, String> {
    for folder in folders.iter().filter(|folder| Path::new(folder).is_dir()) {
        if let Ok(file) = tempfile::tempfile_in(folder)
            && rustix::fs::fstatfs(&file).is_ok_and(|system| is_fit(system.f_type))
        {
            return Ok(file.into());
        }
    }
    Err(format!(
        "no file of this kind can be made in {}",
        folders.join(", ")
    ))
}

/// Huge pages of 2 MiB that were not there before, until this is dropped. One at a time on a machine.
#[derive(Debug)]
pub(crate) struct HugePages {
    before: u64,
    _lock: File,
}

impl HugePages {
    pub(crate) fn reserve(pages: u64) -> Result<Self, String> {
        let lock = File::open(POOL).map_err(|error| format!("{POOL}: {error}"))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
        let before = read("nr_hugepages")?;
        let reserved = Self { before, _lock: lock };
        let wanted = read("free_hugepages")? + pages;
        write(before + pages)?;
        let free = read("free_hugepages")?;
        if free < wanted {
            return Err(format!("of {pages} huge pages only {free} are free"));
        }
        Ok(reserved)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // Pages still in use become the kernel's again when they are let go of.
        let _ = write(self.before);
    }
}

fn read(name: &str) -> Result<u64, String> {
    let text = std::fs::read_to_string(format!("{POOL}/{name}")).map_err(|error| error.to_string())?;
    text.trim().parse().map_err(|_| format!("{name} is {text}"))
}

fn write(pages: u64) -> Result<(), String> {
    std::fs::write(format!("{POOL}/nr_hugepages"), pages.to_string()).map_err(|error| error.to_string())
}

/// Source: Documentation/admin-guide/mm/hugetlbpage.rst of Linux.
const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
/// Source: [linux/magic.h], as the next ones.
const TMPFS: i64 = 0x0102_1994;
/// ext2 to ext4, XFS, Btrfs, F2FS, ZFS.
const DISKS: [i64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1];
