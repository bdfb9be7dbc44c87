//! The card as a child: it makes a session of its own first, so that neither a terminal's signals nor control's
//! death reach it; its output goes to its log; its socket says when it is there.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::state::StateDir;

/// The card of a state directory, started when it is not there.
#[derive(Debug)]
pub struct CardProcess {
    state: StateDir,
    uplink: bool,
    strict: bool,
    child: Option<Child>,
}

/// Why there is no card to talk to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The program or its log could not be opened.
    #[error("Cannot start the card process")]
    Start(#[source] io::Error),
    /// It ended at once; the last line of its log says why.
    #[error("The card process ended at its start: {last_line} (log: {log})")]
    EndedEarly {
        /// Last line of the log.
        last_line: String,
        /// Where the log is.
        log: String,
    },
    /// It runs, but does not accept connections.
    #[error("The card process does not answer within {waited:?} (log: {log})")]
    Silent {
        /// How long it had.
        waited: Duration,
        /// Where the log is.
        log: String,
    },
}

impl CardProcess {
    /// Describes the card; starts nothing yet.
    pub fn new(state: StateDir, uplink: bool, strict: bool) -> Self {
        Self {
            state,
            uplink,
            strict,
            child: None,
        }
    }

    /// Connects to the card that runs, or starts one and connects to it. The flag says whether it ran already.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not come up.
    pub async fn connect(&mut self) -> Result<(UnixStream, bool), CardError> {
        if let Ok(stream) = UnixStream::connect(self.state.card_socket()).await {
            return Ok((stream, true));
        }
        if !self.is_child_alive() {
            self.child = Some(spawn(&self.state, self.uplink, self.strict).map_err(CardError::Start)?);
        }
        let mut waited = Duration::ZERO;
        while waited < START_LIMIT {
            if let Ok(stream) = UnixStream::connect(self.state.card_socket()).await {
                return Ok((stream, false));
            }
            if !self.is_child_alive() {
                return Err(CardError::EndedEarly {
                    last_line: last_line(&self.state).unwrap_or_else(|| "no reason given".into()),
                    log: self.state.card_log().display().to_string(),
                });
            }
            tokio::time::sleep(POLL).await;
            waited += POLL;
        }
        Err(CardError::Silent {
            waited,
            log: self.state.card_log().display().to_string(),
        })
    }

    /// Waits for the child to end, after it was asked to; a card that another control started is waited for by
    /// its socket.
    pub async fn wait_ended(&mut self, limit: Duration) -> bool {
        let ended = async {
            if let Some(child) = &mut self.child {
                // An error means that it was waited for already.
                let _ = child.wait().await;
            }
            while UnixStream::connect(self.state.card_socket()).await.is_ok() {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(limit, ended).await.is_ok()
    }

    fn is_child_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

fn spawn(state: &StateDir, uplink: bool, strict: bool) -> io::Result<Child> {
    let log = StateDir::open_log(&state.card_log())?;
    // `/proc/self/exe` is this very program even when its file was replaced by an upgrade.
    let mut command = Command::new("/proc/self/exe");
    command.arg("--state").arg(state.root()).arg("datapath");
    if uplink {
        command.arg("--uplink");
    }
    if strict {
        command.arg("--strict");
    }
    command
        .arg0("trinic")
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .current_dir("/")
        .kill_on_drop(false);
    command.spawn()
}

/// The last line of the card's log, where its error is.
fn last_line(state: &StateDir) -> Option<String> {
    let mut log = OpenOptions::new().read(true).open(state.card_log()).ok()?;
    let length = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(LAST_LINE_LIMIT_BYTES)))
        .ok()?;
    let mut tail = Vec::new();
    log.take(LAST_LINE_LIMIT_BYTES).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    let line = tail.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.trim_start_matches("trinic: ").to_owned())
}

/// How long a card may take until its socket is there; adopting many instances comes after that.
const START_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(3);
const LAST_LINE_LIMIT_BYTES: u64 = 4096;
