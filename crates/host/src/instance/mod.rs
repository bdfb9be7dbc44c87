//! Namespace instances: a process tree in namespaces of its own, with the host's files read-only, that
//! behaves like a small machine.
//!
//! The card starts an instance by executing its own program again with a hidden argument
//! ([`INIT_ARGUMENT`]) as process 1 of new user, network, mount, pid, UTS, IPC and cgroup namespaces.
//! The network namespace exists as soon as [`Instance::spawn`] returns, so the card configures it while
//! the init ([`init`]) arranges the rest; [`Instance::go`] then lets the user data run. The init
//! outlives the card: a card that starts again takes hold of it with [`Instance::adopt`].

pub mod exec;
pub mod init;
mod mounts;

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as StdInstant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step};
use crate::netns::NetNs;
use crate::process::{Process, ProcessId};
use crate::sys;

/// What an instance is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceOptions {
    /// `i-…`; shown in the process list.
    pub id: String,
    /// Host name inside.
    pub hostname: String,
    /// Directory of the host that appears as /run/trinic inside, read-only: sockets there can be connected to.
    /// It must exist.
    pub run_dir: PathBuf,
    /// Decoded user data: run once as a script when it starts with `#!`.
    pub user_data: Option<Vec<u8>>,
    /// Content of /etc/resolv.conf.
    pub resolv_conf: String,
    /// Content of /etc/hosts.
    pub hosts: String,
    /// File of the host that keeps the console output; made when it is not there.
    pub console_path: PathBuf,
    /// The console file keeps at least this much of the end of the output, and at most twice that.
    pub console_limit_bytes: u64,
    /// How users inside map to users outside.
    pub users: UserMap,
    /// Directories of the host that appear empty inside: above all the card's own, whose sockets root
    /// inside could else connect to. Read-only mounts do not forbid that.
    pub hide: Vec<PathBuf>,
}

impl InstanceOptions {
    /// Options with everything that has a sensible default.
    #[must_use]
    pub fn new(id: impl Into<String>, run_dir: impl Into<PathBuf>, console_path: impl Into<PathBuf>) -> Self {
        let id = id.into();
        Self {
            hostname: id.clone(),
            id,
            run_dir: run_dir.into(),
            user_data: None,
            resolv_conf: String::new(),
            hosts: "127.0.0.1 localhost\n::1 localhost\n".into(),
            console_path: console_path.into(),
            console_limit_bytes: CONSOLE_LIMIT_BYTES,
            users: UserMap::for_caller(),
            hide: Vec::new(),
        }
    }
}

/// How the users of an instance map to those of the card's user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserMap {
    /// 0 to 65535 are the same inside and outside. Needs the right to set any user id.
    Identity,
    /// Only root exists inside; it is the card's own user outside.
    Single,
}

impl UserMap {
    /// The widest map that the calling process may give: [`UserMap::Identity`] for root of a user
    /// namespace that has that many users, else [`UserMap::Single`].
    #[must_use]
    pub fn for_caller() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let wide = map.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace();
            let first = fields.next();
            fields.next();
            let count: u64 = fields
                .next()
                .and_then(|count| count.parse().ok())
                .unwrap_or_default();
            first == Some("0") && count >= USER_COUNT
        });
        if wide && rustix::process::geteuid().is_root() {
            Self::Identity
        } else {
            Self::Single
        }
    }

    fn line(self, own_id: u32) -> String {
        match self {
            Self::Identity => format!("0 0 {USER_COUNT}\n"),
            Self::Single => format!("0 {own_id} 1\n"),
        }
    }
}

/// A running instance.
#[derive(Debug)]
pub struct Instance {
    process: Process,
    /// The init's end of the conversation; `None` once it has begun to run, and when adopted.
    control: Option<OwnedFd>,
    id: String,
}

impl Instance {
    /// Starts an instance. When this returns its namespaces exist and its process has an id; its
    /// network namespace can be configured at once. Follow with [`Instance::wait_ready`] and
    /// [`Instance::go`]; without them the init ends together with the caller.
    pub fn spawn(options: &InstanceOptions) -> Result<Self> {
        let (ours, theirs) = control_pair()?;
        let descriptors = [
            above(open_null()?)?,
            above(open_null()?)?,
            above(open_null()?)?,
            above(theirs)?,
            above(options_file(options)?)?,
            above(open_console(&options.console_path)?)?,
        ];
        let numbers = descriptors.each_ref().map(AsRawFd::as_raw_fd);
        let program = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .step(|| "find the own program".into())?;
        let program = above(program)?;
        let arguments = [
            c_string("trinic")?,
            c_string(INIT_ARGUMENT)?,
            c_string(&options.id)?,
        ];
        let environment = [
            c_string("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?,
            c_string("HOME=/root")?,
            c_string("USER=root")?,
            c_string("LANG=C.UTF-8")?,
        ];
        let plan = sys::ChildPlan {
            program: program.as_fd(),
            arguments: &arguments,
            environment: &environment,
            descriptors: &numbers,
            gate: CONTROL_FD,
            gate_peer: ours.as_fd(),
        };
        let child = sys::clone_and_execute(NAMESPACES, &plan, |child| map_users(child.pid, options))?;
        let process = Process::from_parts(ProcessId::of(child.pid)?, child.pidfd);
        Ok(Self {
            process,
            control: Some(ours),
            id: options.id.clone(),
        })
    }

    /// Takes hold of an instance that an earlier card started.
    pub fn adopt(id: impl Into<String>, process: ProcessId) -> Result<Self> {
        Ok(Self {
            process: Process::open(process)?,
            control: None,
            id: id.into(),
        })
    }

    /// Its process 1, as seen from here.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Identity of its process 1, for a pid file.
    #[must_use]
    pub fn process_id(&self) -> ProcessId {
        self.process.id()
    }

    /// Process id of its process 1.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id().pid
    }

    /// Its network namespace.
    pub fn netns(&self) -> Result<NetNs> {
        let netns = NetNs::of_process(self.pid())?;
        // Had the process ended meanwhile, the path could have named another one's namespace.
        if self.process.id().is_alive() {
            Ok(netns)
        } else {
            Err(Error::Gone { pid: self.pid() })
        }
    }

    /// Waits until the init has arranged the instance (files, host name, limits), or says why it could
    /// not. At once for an adopted instance.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        let Some(control) = &self.control else {
            return Ok(());
        };
        let deadline = StdInstant::now() + limit;
        let failed = |reason: String| Error::Instance {
            id: self.id.clone(),
            reason,
        };
        if !readable_before(control.as_fd(), deadline)? {
            return Err(Error::Timeout {
                what: format!("instance {}", self.id),
                waited: limit,
            });
        }
        let mut answer = [0u8; MESSAGE_LIMIT_BYTES];
        let (length, _) = rustix::net::recv(control, &mut answer[..], RecvFlags::empty())
            .step(|| format!("hear from instance {}", self.id))?;
        match answer.get(..length).unwrap_or_default() {
            READY => Ok(()),
            [] => Err(failed("its init ended".into())),
            // Four bytes come from before the program runs: an error number.
            &[a, b, c, d] => {
                let error = io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d]));
                Err(failed(format!("its init could not be executed: {error}")))
            }
            text => Err(failed(String::from_utf8_lossy(text).into_owned())),
        }
    }

    /// Tells the init that the network is there: it runs the user data and from now on lives without
    /// the card.
    pub fn go(&mut self) -> Result<()> {
        self.send(b"g")?;
        self.control = None;
        Ok(())
    }

    /// Ends it and everything inside; see [`Process::kill`].
    pub fn kill(&self, grace: Duration) -> Result<()> {
        self.process.kill(grace)
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        let Some(control) = &self.control else {
            return Ok(());
        };
        rustix::net::send(control, message, SendFlags::NOSIGNAL)
            .step(|| format!("speak to instance {}", self.id))?;
        Ok(())
    }
}

/// Writes the user maps of a child that waits for them.
fn map_users(pid: u32, options: &InstanceOptions) -> Result<()> {
    let write = |file: &str, text: &str| {
        fs::write(format!("/proc/{pid}/{file}"), text).step(|| format!("map users of {}", options.id))
    };
    if options.users == UserMap::Single {
        write("setgroups", "deny")?;
    }
    write(
        "uid_map",
        &options.users.line(rustix::process::geteuid().as_raw()),
    )?;
    write(
        "gid_map",
        &options.users.line(rustix::process::getegid().as_raw()),
    )
}

impl AsFd for Instance {
    /// Readable when the instance has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

/// Two ends of a conversation with message boundaries.
fn control_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .step(|| "make a socket pair".into())
}

/// Moves a descriptor above the numbers that the child arranges.
fn above(fd: impl AsFd) -> Result<OwnedFd> {
    sys::duplicate_above(fd, 16).step(|| "duplicate a descriptor".into())
}

fn open_null() -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .step(|| "open /dev/null".into())
}

fn open_console(path: &Path) -> Result<fs::File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .step(|| format!("open the console {}", path.display()))
}

/// The options as a file in memory that the init reads.
fn options_file(options: &InstanceOptions) -> Result<OwnedFd> {
    let what = || format!("hand its options to {}", options.id);
    let text = serde_json::to_vec(options).map_err(io::Error::from).step(what)?;
    let file = rustix::fs::memfd_create("trinic-instance", MemfdFlags::CLOEXEC).step(what)?;
    let mut file = fs::File::from(file);
    io::Write::write_all(&mut file, &text).step(what)?;
    io::Seek::rewind(&mut file).step(what)?;
    Ok(file.into())
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Invalid(format!("{text:?} contains a zero byte")))
}

/// Waits until `fd` has something to read; whether it came before the deadline.
fn readable_before(fd: BorrowedFd<'_>, deadline: StdInstant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(StdInstant::now());
        let timeout = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        match rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).step(|| "wait".into()),
        }
    }
}

/// First argument of the hidden command that is an instance's process 1.
pub const INIT_ARGUMENT: &str = "instance-init";
/// What EC2 keeps of console output. Source: [AWS GetConsoleOutput, 2026-11-23].
pub const CONSOLE_LIMIT_BYTES: u64 = 64 * 1024;

/// All namespaces that an instance has of its own.
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWCGROUP;
/// Users in an identity map.
const USER_COUNT: u64 = 65_536;
/// What the init says when it has arranged everything.
const READY: &[u8] = b"ready";
/// The longest message of an init.
const MESSAGE_LIMIT_BYTES: usize = 1024;

// Numbers of the descriptors in the init.
const CONTROL_FD: usize = 3;
const OPTIONS_FD: i32 = 4;
const CONSOLE_FD: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_maps_name_root_first() {
        assert_eq!(UserMap::Identity.line(7), "0 0 65536\n");
        assert_eq!(UserMap::Single.line(65534), "0 65534 1\n");
    }

    #[test]
    fn a_missing_console_directory_is_named() {
        let options = InstanceOptions::new("i-1", "/", "/nonexistent/console");
        let error = Instance::spawn(&options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Could not open the console /nonexistent/console"
        );
    }
}
