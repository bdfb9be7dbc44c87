//! QEMU's machine protocol: one JSON object a line over a Unix socket.
//!
//! Source: QEMU, docs/interop/qmp-spec.rst (greeting, `qmp_capabilities`, `execute`, `return`, `error`, events).
//! Blocking with a limit for each command; one thread uses a connection at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::Value;

/// A connection that has negotiated.
#[derive(Debug)]
pub(super) struct Qmp {
    reader: BufReader<UnixStream>,
}

/// What QEMU refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("QEMU refuses {command}: {description}")]
pub(super) struct Refusal {
    /// The command.
    pub(super) command: String,
    /// QEMU's own words.
    pub(super) description: String,
}

impl Qmp {
    /// Connects to the socket that QEMU is about to open, and negotiates.
    ///
    /// # Errors
    ///
    /// When nobody listens within `limit`, or what answers does not speak the protocol.
    pub(super) fn connect(path: &Path, limit: Duration) -> anyhow::Result<Self> {
        let since = Instant::now();
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if since.elapsed() < limit => {
                    tracing::trace!(%error, "QEMU does not listen yet");
                    std::thread::sleep(RETRY);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("QEMU does not listen at {}", path.display()));
                }
            }
        };
        stream.set_read_timeout(Some(COMMAND_LIMIT))?;
        stream.set_write_timeout(Some(COMMAND_LIMIT))?;
        let mut qmp = Self {
            reader: BufReader::new(stream),
        };
        let greeting = qmp.line()?;
        anyhow::ensure!(
            greeting.get("QMP").is_some(),
            "QEMU's greeting is none: {greeting}"
        );
        qmp.execute("qmp_capabilities", &Value::Null)?;
        Ok(qmp)
    }

    /// Executes a command and gives what it returned.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], or the connection broke or was silent for too long.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        self.send(command, arguments, None)?;
        self.answer(command)
    }

    /// Hands QEMU a descriptor under a name, for a later command to use.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`].
    pub(super) fn give_descriptor(&mut self, name: &str, fd: BorrowedFd<'_>) -> anyhow::Result<()> {
        self.send("getfd", &serde_json::json!({ "fdname": name }), Some(fd))?;
        self.answer("getfd").map(drop)
    }

    fn send(&mut self, command: &str, arguments: &Value, fd: Option<BorrowedFd<'_>>) -> anyhow::Result<()> {
        let mut request = serde_json::json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments.clone();
        }
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        let Some(fd) = fd else {
            return Ok(self.reader.get_mut().write_all(&line)?);
        };
        let fds = [fd];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        anyhow::ensure!(
            ancillary.push(SendAncillaryMessage::ScmRights(&fds)),
            "No room for a descriptor"
        );
        let sent = sendmsg(
            self.reader.get_ref(),
            &[io::IoSlice::new(&line)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        let rest = line.get(sent..).unwrap_or_default();
        Ok(self.reader.get_mut().write_all(rest)?)
    }

    /// The next line that is not an event.
    fn answer(&mut self, command: &str) -> anyhow::Result<Value> {
        loop {
            let mut line = self
                .line()
                .with_context(|| format!("QEMU did not answer {command}"))?;
            if let Some(value) = line.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = line.get("error") {
                let description = error.get("desc").and_then(Value::as_str).unwrap_or("no reason");
                return Err(Refusal {
                    command: command.to_owned(),
                    description: description.to_owned(),
                }
                .into());
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(LINE_LIMIT_BYTES);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(2);
/// A device that is plugged in speaks with its server first, which takes milliseconds on an idle machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);
const LINE_LIMIT_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// A QEMU of a few lines: greets, then answers each request with the next of `answers`.
    fn serve(answers: Vec<&'static str>) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            reader.get_mut().write_all(b"{\"QMP\": {}}\n").unwrap();
            for answer in answers {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        (folder, path)
    }

    #[test]
    fn events_between_answers_are_passed_over() {
        let (_folder, path) = serve(vec![
            "{\"return\": {}}\n",
            "{\"event\": \"RESUME\"}\n{\"return\": {\"status\": \"running\"}}\n",
        ]);
        let mut qmp = Qmp::connect(&path, Duration::from_secs(5)).unwrap();
        let status = qmp.execute("query-status", &Value::Null).unwrap();
        assert_eq!(status["status"], "running");
    }

    #[test]
    fn a_refusal_says_what_and_why() {
        let (_folder, path) = serve(vec![
            "{\"return\": {}}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such bus\"}}\n",
        ]);
        let mut qmp = Qmp::connect(&path, Duration::from_secs(5)).unwrap();
        let error = qmp.execute("device_add", &serde_json::json!({})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refuses device_add: no such bus");
        // The connection is gone after that.
        assert!(qmp.execute("quit", &Value::Null).is_err());
    }

    #[test]
    fn a_descriptor_arrives_with_its_name() {
        let (_folder, path) = serve(vec!["{\"return\": {}}\n", "{\"return\": {}}\n"]);
        let mut qmp = Qmp::connect(&path, Duration::from_secs(5)).unwrap();
        let (one, _other) = UnixStream::pair().unwrap();
        qmp.give_descriptor("tap0", std::os::fd::AsFd::as_fd(&one))
            .unwrap();
    }

    #[test]
    fn nobody_listening_is_said_with_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = Qmp::connect(&folder.path().join("none"), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
