//! Process 1 of an instance: arranges its namespaces, runs the user data, reaps, keeps the console and
//! ends everything when asked. One thread, bounded memory, no dependence on the card after the start.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::WaitOptions;

use super::{CONSOLE_FD, CONTROL_FD, InstanceOptions, MESSAGE_LIMIT_BYTES, OPTIONS_FD, READY, mounts};
use crate::error::{Result, Step};
use crate::link::Netlink;
use crate::sys;

/// Runs as an instance's process 1; never returns. Called by the program when its first argument is
/// [`super::INIT_ARGUMENT`], before it starts any thread.
pub fn init_main() -> ! {
    let code = match Init::start() {
        Ok(init) => init.run(),
        Err(code) => code,
    };
    std::process::exit(code)
}

/// What process 1 holds.
struct Init {
    options: InstanceOptions,
    /// The card; `None` once the instance is on its own.
    control: Option<OwnedFd>,
    signals: OwnedFd,
    console: OwnedFd,
    log: ConsoleLog,
    user_data_pid: Option<i32>,
}

impl Init {
    /// Arranges everything and reports to the card. The error is an exit code.
    fn start() -> Result<Self, i32> {
        let control_number = i32::try_from(CONTROL_FD).map_err(|_| 120)?;
        let control = sys::inherited(control_number).map_err(|_| 121)?;
        match Self::arrange() {
            Ok(mut init) => {
                rustix::net::send(&control, READY, SendFlags::NOSIGNAL).map_err(|_| 122)?;
                init.control = Some(control);
                Ok(init)
            }
            Err(error) => {
                let mut reason = error.chain().into_bytes();
                reason.truncate(MESSAGE_LIMIT_BYTES);
                let _ = rustix::net::send(&control, &reason, SendFlags::NOSIGNAL);
                Err(123)
            }
        }
    }

    fn arrange() -> Result<Self> {
        let options = sys::inherited(OPTIONS_FD).step(|| "find the options".into())?;
        let log = sys::inherited(CONSOLE_FD).step(|| "find the console".into())?;
        let options: InstanceOptions = serde_json::from_reader(fs::File::from(options))
            .map_err(std::io::Error::from)
            .step(|| "read the options".into())?;
        let signals = sys::signal_descriptor(&SIGNALS).step(|| "take over signals".into())?;
        let _ = rustix::thread::set_name(c"trinic-init");
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        sys::set_host_name(&options.hostname).step(|| "set the host name".into())?;
        let remarks = mounts::arrange(&options)?;
        rustix::process::chdir("/").step(|| "change to /".into())?;
        arrange_network()?;
        drop_privileges();
        // Opened for both directions, so that it neither blocks nor ends when no writer is there.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let console =
            rustix::fs::open(mounts::CONSOLE, flags, Mode::empty()).step(|| "open the console".into())?;
        let mut log = ConsoleLog::new(fs::File::from(log), options.console_limit_bytes);
        for remark in remarks {
            log.append(format!("trinic: {remark}\n").as_bytes());
        }
        Ok(Self {
            options,
            control: None,
            signals,
            console,
            log,
            user_data_pid: None,
        })
    }

    /// Serves until the instance ends; the exit code.
    fn run(mut self) -> i32 {
        loop {
            let mut polled = vec![
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.console, PollFlags::IN),
            ];
            if let Some(control) = &self.control {
                polled.push(PollFd::new(control, PollFlags::IN));
            }
            if rustix::event::poll(&mut polled, None).is_err() {
                continue;
            }
            let control_ready = polled.len() > 2 && !polled[2].revents().is_empty();
            drop(polled);
            self.copy_console();
            if control_ready && !self.handle_control() {
                return 0;
            }
            while let Some(sys::Taken { number: signal, .. }) = sys::next_signal(self.signals.as_fd()) {
                if signal == libc::SIGCHLD {
                    self.reap();
                } else {
                    self.end_everything();
                    return 0;
                }
            }
        }
    }

    /// The card said go, or went away; whether to live on.
    fn handle_control(&mut self) -> bool {
        let Some(control) = self.control.take() else {
            return true;
        };
        let mut message = [0u8; 16];
        let started = matches!(
            rustix::net::recv(&control, &mut message[..], RecvFlags::empty()),
            Ok((length, _)) if message.get(..length) == Some(b"g")
        );
        if !started {
            // The card died before the instance was complete: nobody will ever configure it.
            return false;
        }
        if let Err(error) = self.run_user_data() {
            self.log.append(format!("trinic: {}\n", error.chain()).as_bytes());
        }
        true
    }

    /// Starts the user data when it is a script.
    fn run_user_data(&mut self) -> Result<()> {
        let Some(script) = self
            .options
            .user_data
            .take()
            .filter(|data| data.starts_with(b"#!"))
        else {
            return Ok(());
        };
        let what = || "run the user data".into();
        let console = fs::OpenOptions::new()
            .write(true)
            .open(mounts::CONSOLE)
            .step(|| "open the console".into())?;
        fs::write(USER_DATA, script).step(what)?;
        fs::set_permissions(USER_DATA, fs::Permissions::from_mode(0o700)).step(what)?;
        let mut command = Command::new(USER_DATA);
        command
            .stdin(Stdio::null())
            .stdout(console.try_clone().step(what)?)
            .stderr(console);
        // What it starts lives on for long and must end by a SIGTERM like anything else.
        sys::unblock_signals(&mut command);
        let child = command.spawn().step(what)?;
        self.user_data_pid = i32::try_from(child.id()).ok();
        Ok(())
    }

    /// Collects every child that has ended: the init inherits all orphans.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::waitpid(None, WaitOptions::NOHANG) {
            if Some(pid.as_raw_pid()) != self.user_data_pid {
                continue;
            }
            self.user_data_pid = None;
            self.copy_console();
            let outcome = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("ended with status {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "ended".into(),
            };
            self.log
                .append(format!("trinic: user data {outcome}\n").as_bytes());
        }
    }

    /// Moves what waits in the console to the log, at most one pipe's worth, so that a process that
    /// writes without end cannot keep the init from its other work.
    fn copy_console(&mut self) {
        let mut buffer = [0u8; 4096];
        for _ in 0..16 {
            match rustix::io::read(&self.console, &mut buffer) {
                Ok(length) if length > 0 => self.log.append(&buffer[..length]),
                _ => return,
            }
        }
    }

    /// Asks every process to end, waits a moment, and leaves: the kernel kills what is left when
    /// process 1 of a pid namespace ends.
    fn end_everything(&mut self) {
        let deadline = Instant::now() + GRACE;
        let mut asked = false;
        while Instant::now() < deadline {
            self.copy_console();
            self.reap();
            let signal = if asked { 0 } else { libc::SIGTERM };
            if sys::signal_everything(signal).is_err() {
                // ESRCH: nobody is left.
                break;
            }
            asked = true;
            std::thread::sleep(Duration::from_millis(2));
        }
        self.copy_console();
    }
}

/// Loopback up, and ping for everyone as on a cloud image.
fn arrange_network() -> Result<()> {
    let mut netlink = Netlink::open()?;
    let loopback = netlink.link_by_name("lo")?.index;
    netlink.set_up(loopback, true)?;
    // Both are comforts: the first is missing without IPv4, the second when only one group is mapped.
    let _ = crate::netns::write_sysctl("net/ipv4/ping_group_range", "0 65535")
        .or_else(|_| crate::netns::write_sysctl("net/ipv4/ping_group_range", "0 0"));
    let _ = crate::netns::write_sysctl("net/ipv4/ip_unprivileged_port_start", "0");
    Ok(())
}

/// Gives up what a machine's guest has no use for, so that a process inside cannot mount its way out of
/// the read-only tree, and no program can gain rights by being executed.
pub(super) fn drop_privileges() {
    use rustix::thread::CapabilitySet;
    let kept = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::KILL
        | CapabilitySet::SETGID
        | CapabilitySet::SETUID
        | CapabilitySet::SETPCAP
        | CapabilitySet::NET_BIND_SERVICE
        | CapabilitySet::NET_BROADCAST
        | CapabilitySet::NET_ADMIN
        | CapabilitySet::NET_RAW
        | CapabilitySet::IPC_LOCK
        | CapabilitySet::SYS_CHROOT
        | CapabilitySet::SYS_PTRACE
        | CapabilitySet::AUDIT_WRITE
        | CapabilitySet::SETFCAP;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !kept.contains(capability) {
            // Numbers that this kernel does not have are refused, which is as good.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    let _ = rustix::thread::set_no_new_privs(true);
}

/// The console file, which keeps the end of the output.
struct ConsoleLog {
    file: fs::File,
    length: u64,
    limit: u64,
}

impl ConsoleLog {
    fn new(mut file: fs::File, limit: u64) -> Self {
        let length = file.seek(SeekFrom::End(0)).unwrap_or_default();
        Self {
            file,
            length,
            limit: limit.max(4096),
        }
    }

    /// Appends; a log that has grown to twice its limit is cut to the last `limit` bytes. A full disk
    /// loses output and nothing else.
    fn append(&mut self, bytes: &[u8]) {
        if self.file.write_all(bytes).is_err() {
            return;
        }
        self.length += u64::try_from(bytes.len()).unwrap_or_default();
        if self.length > 2 * self.limit {
            let _ = self.cut();
        }
    }

    fn cut(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length - self.limit))?;
        let mut tail = Vec::new();
        (&self.file).take(self.limit).read_to_end(&mut tail)?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.length = 0;
        self.file.write_all(&tail)?;
        self.length = u64::try_from(tail.len()).unwrap_or_default();
        Ok(())
    }
}

/// Signals that an init acts on: a child ended, or the instance shall end.
const SIGNALS: [i32; 6] = [
    libc::SIGCHLD,
    libc::SIGTERM,
    libc::SIGPWR,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
];
/// Where the user data lies while it runs.
const USER_DATA: &str = "/run/user-data";
/// How long processes have after they were asked to end.
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_log_keeps_the_end_within_its_bound() {
        let mut log = ConsoleLog::new(tempfile::tempfile().unwrap(), 4096);
        for line in 0..10_000 {
            log.append(format!("line {line}\n").as_bytes());
            assert!(log.length <= 2 * 4096 + 16);
        }
        let mut text = String::new();
        log.file.rewind().unwrap();
        log.file.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("line 9998\nline 9999\n"));
        assert!(
            text.len() >= 4096 && text.len() <= 2 * 4096 + 16,
            "{}",
            text.len()
        );
    }
}
