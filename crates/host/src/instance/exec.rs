//! Runs a command inside an instance from outside, with the caller's terminal and streams.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::ThreadNameSpaceType;

use super::init;
use crate::error::{Error, Result, Step};
use crate::process::{Process, ProcessId, is_single_threaded};
use crate::sys;

/// Runs `command` (program and arguments) in all namespaces of the instance whose process 1 is
/// `instance`, and waits. Returns the exit status as a shell would: the command's own, or 128 plus the
/// signal that ended it, 127 when there is no such command, 126 when it cannot be executed.
///
/// The calling process moves into the instance and stays there, so it must have a single thread and
/// should end soon afterwards. It needs root, or to be the user who runs the card.
pub fn exec_in(instance: ProcessId, command: &[String]) -> Result<i32> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::Invalid("There is no command to run".into()));
    };
    if !is_single_threaded() {
        return Err(Error::Invalid(
            "A process with several threads cannot enter an instance".into(),
        ));
    }
    let process = Process::open(instance)?;
    let signals = sys::signal_descriptor(&FORWARDED).step(|| "take over signals".into())?;
    enter(&process)?;
    init::drop_privileges();
    // What the caller's shell left open could lead out of the instance.
    sys::keep_descriptors_from_children();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment());
    // A signal that cannot be passed on, as `timeout -s KILL` sends, must not leave the command behind.
    sys::end_with_caller(&mut command);
    sys::unblock_signals(&mut command);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(127),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(126),
        Err(error) => return Err(error).step(|| format!("run {program}")),
    };
    let status = loop {
        if let Some(status) = child.try_wait().step(|| "wait for the command".into())? {
            break status;
        }
        forward_signals(&signals, child.id())?;
    };
    Ok(status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(125))
}

/// Enters every namespace of the process, the user namespace included.
fn enter(process: &Process) -> Result<()> {
    let all = ThreadNameSpaceType::USER
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::CONTROL_GROUP;
    let pid = process.id().pid;
    rustix::thread::move_into_thread_name_spaces(process.as_fd(), all)
        .step(|| format!("enter the namespaces of process {pid}"))?;
    // An ordinary user is root inside already; a caller with several users mapped becomes root here.
    if !rustix::process::geteuid().is_root() {
        let _ = rustix::thread::set_thread_res_gid(
            rustix::fs::Gid::ROOT,
            rustix::fs::Gid::ROOT,
            rustix::fs::Gid::ROOT,
        );
        let _ = rustix::thread::set_thread_res_uid(
            rustix::fs::Uid::ROOT,
            rustix::fs::Uid::ROOT,
            rustix::fs::Uid::ROOT,
        );
    }
    rustix::process::chdir("/").step(|| "change to /".into())
}

/// The environment of a command: a root login's, with the caller's terminal and language.
fn environment() -> impl Iterator<Item = (String, String)> {
    let fixed = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
    ];
    let passed = ["TERM", "LANG", "LC_ALL", "COLORTERM"];
    let passed = passed
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    fixed
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain(passed)
}

/// Waits for the child to end or a signal to arrive; passes signals on. Keys of the terminal reach the
/// child by themselves, as it is in the terminal's foreground group like the caller; what a process sends to
/// the caller alone does not.
fn forward_signals(signals: &std::os::fd::OwnedFd, child: u32) -> Result<()> {
    let pid = i32::try_from(child)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Error::Gone { pid: child })?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).step(|| "watch the command".into())?;
    let mut polled = [
        PollFd::new(&pidfd, PollFlags::IN),
        PollFd::new(signals, PollFlags::IN),
    ];
    match rustix::event::poll(&mut polled, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error).step(|| "wait for the command".into()),
    }
    while let Some(taken) = sys::next_signal(signals.as_fd()) {
        let signal = match taken.number {
            libc::SIGTERM => Signal::TERM,
            libc::SIGHUP => Signal::HUP,
            libc::SIGUSR1 => Signal::USR1,
            libc::SIGUSR2 => Signal::USR2,
            libc::SIGINT if taken.is_from_process => Signal::INT,
            libc::SIGQUIT if taken.is_from_process => Signal::QUIT,
            // The terminal sent it to the child, too.
            _ => continue,
        };
        let _ = rustix::process::pidfd_send_signal(&pidfd, signal);
    }
    Ok(())
}

/// Whether the calling process could enter the instance (for a clear message before trying).
pub fn check_access(instance: ProcessId) -> Result<()> {
    let path = format!("/proc/{}/ns/user", instance.pid);
    fs::read_link(&path).step(|| format!("look at {path} (run as the user who started the card)"))?;
    Ok(())
}

/// Signals that a caller may get while the command runs.
const FORWARDED: [i32; 6] = [
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGINT,
    libc::SIGQUIT,
];
