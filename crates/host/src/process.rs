//! Processes by identity: a process id together with the time when the process started, which no later
//! process with the same id shares. Written to pid files so that a card that starts again knows which
//! of its processes still run.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step};

/// Which process, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id in the caller's pid namespace.
    pub pid: u32,
    /// Clock ticks between the start of the machine and that of the process.
    /// Source: [proc_pid_stat(5), field 22].
    pub start_time: u64,
}

impl ProcessId {
    /// The calling process.
    pub fn current() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// The process that has this id now.
    pub fn of(pid: u32) -> Result<Self> {
        let start_time = start_time(pid)?;
        Ok(Self { pid, start_time })
    }

    /// Whether it still runs (a zombie does not).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        read_stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.zombie)
    }
}

/// A process held by descriptor: signals and waiting cannot hit another one.
#[derive(Debug)]
pub struct Process {
    id: ProcessId,
    pidfd: OwnedFd,
}

impl Process {
    /// Takes hold of a process that is known from before; an error when it is gone.
    pub fn open(id: ProcessId) -> Result<Self> {
        let gone = || Error::Gone { pid: id.pid };
        let pid = i32::try_from(id.pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(gone)?;
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Err(gone()),
            result => result.step(|| format!("take hold of process {}", id.pid))?,
        };
        // Only now the id cannot be given to another process any more, so only now it can be compared.
        if id.is_alive() {
            Ok(Self { id, pidfd })
        } else {
            Err(gone())
        }
    }

    /// A process whose descriptor came from its creation.
    pub(crate) fn from_parts(id: ProcessId, pidfd: OwnedFd) -> Self {
        Self { id, pidfd }
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Sends a signal; one that has ended already is no error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            result => result.step(|| format!("signal process {}", self.id.pid)),
        }
    }

    /// Waits until it has ended, at most `limit`; whether it has. A child of the caller is reaped.
    pub fn wait(&self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or(Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            });
            let mut polled = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut polled, Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).step(|| format!("wait for process {}", self.id.pid)),
            }
        }
        self.reap();
        Ok(true)
    }

    /// Collects the exit status if this process is a child of the caller.
    fn reap(&self) {
        use rustix::process::{WaitId, WaitIdOptions};
        // An adopted process is nobody's child here: its own parent reaps it.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options);
    }

    /// Ends it: asks with SIGTERM and gives it `grace` (none asks nobody), then kills. Returns when it
    /// is gone, or with an error after [`KILL_LIMIT`].
    pub fn kill(&self, grace: Duration) -> Result<()> {
        if !grace.is_zero() {
            self.signal(Signal::TERM)?;
            if self.wait(grace)? {
                return Ok(());
            }
        }
        self.signal(Signal::KILL)?;
        if self.wait(KILL_LIMIT)? {
            return Ok(());
        }
        Err(Error::Timeout {
            what: format!("process {} to end", self.id.pid),
            waited: KILL_LIMIT,
        })
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Writes a pid file so that a kill at any moment leaves the old one or the new one, never half. It need
/// not survive the machine, as the process does not either.
pub fn write_pid_file(path: &Path, id: ProcessId) -> Result<()> {
    let what = || format!("write {}", path.display());
    let text = serde_json::to_string(&id)
        .map_err(std::io::Error::from)
        .step(what)?;
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = fs::File::create(&temporary).step(what)?;
    file.write_all(text.as_bytes()).step(what)?;
    fs::rename(&temporary, path).step(what)
}

/// Reads a pid file; `None` when there is none, or when the process that it names is gone.
pub fn read_pid_file(path: &Path) -> Option<ProcessId> {
    let text = fs::read_to_string(path).ok()?;
    let id: ProcessId = serde_json::from_str(&text).ok()?;
    id.is_alive().then_some(id)
}

/// Whether the calling process has one thread. A thread that was joined a moment ago may still be in
/// the kernel's list, so a few milliseconds are given to it.
pub(crate) fn is_single_threaded() -> bool {
    (0..50).any(|attempt| {
        if attempt > 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
    })
}

/// Restricts the calling thread to one processor.
pub fn pin_thread(cpu: usize) -> Result<()> {
    let what = || format!("pin the thread to processor {cpu}");
    if cpu >= rustix::thread::CpuSet::MAX_CPU {
        return Err(Error::Invalid(format!("There is no processor {cpu}")));
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).step(what)
}

/// When the process with this id started.
fn start_time(pid: u32) -> Result<u64> {
    read_stat(pid)
        .map(|stat| stat.start_time)
        .ok_or(Error::Gone { pid })
}

/// What is needed of /proc/N/stat.
struct Stat {
    zombie: bool,
    start_time: u64,
}

fn read_stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, further parentheses included: fields count from the last.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    // Fields are numbered from 1; the state is number 3, the start time number 22.
    let start_time = fields.nth(22 - 4)?.parse().ok()?;
    Some(Stat {
        zombie: matches!(state, "Z" | "X"),
        start_time,
    })
}

/// How long a killed process may take to vanish: the kernel first ends everything in its namespaces.
pub const KILL_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_a_hostile_name() {
        let stat = "12 (a) R (b) 1) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        let parsed = parse_stat(stat).unwrap();
        assert_eq!((parsed.zombie, parsed.start_time), (false, 98765));
        assert!(
            parse_stat("12 (a) Z 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 5")
                .unwrap()
                .zombie
        );
        assert!(parse_stat("12 (a").is_none());
        assert!(parse_stat("12 (a) S 1").is_none());
    }

    #[test]
    fn pid_file_names_a_living_process_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pid");
        assert!(read_pid_file(&path).is_none());
        let me = ProcessId::current().unwrap();
        write_pid_file(&path, me).unwrap();
        assert_eq!(read_pid_file(&path), Some(me));
        write_pid_file(
            &path,
            ProcessId {
                start_time: me.start_time + 1,
                ..me
            },
        )
        .unwrap();
        assert_eq!(read_pid_file(&path), None);
        fs::write(&path, "{\"pid\":").unwrap();
        assert_eq!(read_pid_file(&path), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "the code under test does the waiting")]
    fn a_child_is_killed_and_reaped() {
        let child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        let process = Process::open(id).unwrap();
        assert!(!process.wait(Duration::from_millis(5)).unwrap());
        process.kill(Duration::ZERO).unwrap();
        assert!(!id.is_alive());
        assert!(matches!(Process::open(id), Err(Error::Gone { .. })));
        assert!(
            !Path::new(&format!("/proc/{}", id.pid)).exists(),
            "the zombie was reaped"
        );
    }
}
