//! The card as a child: it makes a session of its own first, so that neither a terminal's signals nor control's
//! death reach it; its output goes to its log; its socket says when it is there.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::state::StateDir;

/// Starts a card for the state directory.
///
/// # Errors
///
/// When its log cannot be opened or the program cannot be started.
pub fn spawn(state: &StateDir, uplink: bool) -> io::Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(state.card_log())?;
    // `/proc/self/exe` is this very program even when its file was replaced by an upgrade.
    let mut command = Command::new("/proc/self/exe");
    command.arg("--state").arg(state.root()).arg("card");
    if uplink {
        command.arg("--uplink");
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .current_dir("/")
        .kill_on_drop(false);
    command.spawn()
}
