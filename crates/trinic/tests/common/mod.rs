//! A control process of a test's own, a client of its API, and a card that is none.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trinic::framing;
use trinic::protocol::{Backend, FromCard, InstanceReport, InstanceSpec, InterfaceReport, PROTOCOL, ToCard};
use trinic_ec2::sigv4::{Request, Secret, Signer, sign};
use trinic_switch::tables::{Id, Revision, Tables};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A running `trinic up`.
pub(crate) struct Control {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Control {
    /// Starts control on a directory and waits for its ready line.
    pub(crate) fn start(state: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_trinic"))
            .arg("--state")
            .arg(state)
            .args(["up", "--listen", "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("trinic is ready: http://")
            .unwrap_or_else(|| panic!("not a ready line: {line:?}"))
            .to_owned();
        Self { child, address }
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Makes a signed call; the status and the body.
    pub(crate) fn call(&self, action: &str, parameters: &[(&str, &str)]) -> (u16, String) {
        call(&self.address, action, parameters).unwrap()
    }

    /// A call that must succeed.
    pub(crate) fn done(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let (status, body) = self.call(action, parameters);
        assert_eq!(status, 200, "{action}: {body}");
        body
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Killed already, in many tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command of the program to its end.
pub(crate) fn trinic(state: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_trinic"))
        .arg("--state")
        .arg(state)
        .args(arguments)
        .output()
        .unwrap()
}

/// Makes a signed call on a connection of its own; an error when the connection fails.
pub(crate) fn call(
    address: &str,
    action: &str,
    parameters: &[(&str, &str)],
) -> std::io::Result<(u16, String)> {
    let mut body = format!("Action={action}&Version=2016-11-15");
    for (name, value) in parameters {
        body.push_str(&format!("&{name}={}", encode(value)));
    }
    let headers = [
        ("host", address),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let secret = Secret::new("test");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let signer = Signer {
        access_key: "test",
        secret: &secret,
        region: "us-east-1",
        now_s: i64::try_from(now).unwrap(),
    };
    let request = Request {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
        body: body.as_bytes(),
    };
    let signature = sign(&request, &signer).unwrap();
    let mut head = String::new();
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    for (name, value) in &signature {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    raw(
        address,
        &format!(
            "POST / HTTP/1.1\r\n{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

/// Sends these bytes and reads the reply to its end.
pub(crate) fn raw(address: &str, request: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status
        .zip(body)
        .ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn encode(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The texts of all elements of this name.
pub(crate) fn texts(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned()))
        .collect()
}

/// The text of the first element of this name.
pub(crate) fn text(xml: &str, element: &str) -> String {
    texts(xml, element)
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no {element} in {xml}"))
}

/// A card that keeps what it is told and reports what the test says.
pub(crate) struct FakeCard {
    listener: UnixListener,
    connection: Option<(UnixStream, Receiver<ToCard>)>,
    pub(crate) tables: Tables,
    pub(crate) instances: BTreeMap<Id, InstanceSpec>,
    /// Answers to `Inspect`.
    pub(crate) inspection: serde_json::Value,
    /// What was asked to end.
    pub(crate) shutdown: Option<bool>,
}

impl FakeCard {
    pub(crate) fn listen(state: &Path) -> Self {
        std::fs::create_dir_all(state).unwrap();
        let path = state.join("card.sock");
        // A card of the test before.
        let _ = std::fs::remove_file(&path);
        Self {
            listener: UnixListener::bind(path).unwrap(),
            connection: None,
            tables: Tables::default(),
            instances: BTreeMap::new(),
            inspection: serde_json::json!({ "instances": {} }),
            shutdown: None,
        }
    }

    /// Accepts control and says hello in the background, so that control's ready line can come.
    pub(crate) fn accept(mut self) -> std::thread::JoinHandle<Self> {
        std::thread::spawn(move || {
            let (stream, _) = self.listener.accept().unwrap();
            let hello = FromCard::Hello {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").into(),
                protocol: PROTOCOL,
                backend: Backend::Namespace,
                backend_reason: None,
                revision: Revision(0),
            };
            framing::write(&mut &stream, &hello).unwrap();
            let (sender, receiver) = mpsc::channel();
            let reader = stream.try_clone().unwrap();
            std::thread::spawn(move || read(reader, &sender));
            self.connection = Some((stream, receiver));
            self
        })
    }

    /// Drops the connection, as a card that dies.
    pub(crate) fn hang_up(&mut self) {
        if let Some((stream, _)) = self.connection.take() {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }

    /// Takes messages until the condition holds.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = std::time::Instant::now() + LIMIT;
        while !condition(self) {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let (_, receiver) = self.connection.as_ref().unwrap();
            match receiver.recv_timeout(left) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => panic!("the card was never told: {what}"),
                Err(RecvTimeoutError::Disconnected) => panic!("control hung up before: {what}"),
            }
        }
    }

    /// Takes what comes for a while.
    pub(crate) fn listen_for(&mut self, time: Duration) {
        let deadline = std::time::Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let (_, receiver) = self.connection.as_ref().unwrap();
            match receiver.recv_timeout(left) {
                Ok(message) => self.take(message),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, message: ToCard) {
        match message {
            ToCard::Snapshot {
                tables, instances, ..
            } => {
                self.tables = tables;
                self.instances = instances;
            }
            ToCard::Update {
                delta,
                instances,
                remove_instances,
                ..
            } => {
                self.tables.apply(delta).unwrap();
                for spec in instances {
                    self.instances.insert(spec.id.clone(), spec);
                }
                for id in remove_instances {
                    self.instances.remove(&id);
                }
            }
            ToCard::Ask { number, .. } => self.say(&FromCard::Answer {
                number,
                answer: Ok(self.inspection.clone()),
            }),
            ToCard::Shutdown { stop_instances } => self.shutdown = Some(stop_instances),
        }
    }

    /// The connection itself, for bytes that are no message.
    pub(crate) fn raw(&self) -> &UnixStream {
        &self.connection.as_ref().unwrap().0
    }

    pub(crate) fn say(&self, message: &FromCard) {
        let (stream, _) = self.connection.as_ref().unwrap();
        framing::write(&mut &*stream, message).unwrap();
    }

    pub(crate) fn report_instance(&self, id: &str, report: InstanceReport) {
        self.say(&FromCard::Instance {
            id: id.into(),
            report,
        });
    }

    pub(crate) fn report_interface(&self, id: &str, report: InterfaceReport) {
        self.say(&FromCard::Interface {
            id: id.into(),
            report,
        });
    }
}

/// Takes messages as a card does: tables are acknowledged at once, whatever a test does meanwhile.
fn read(mut stream: UnixStream, messages: &Sender<ToCard>) {
    while let Ok(Some(message)) = framing::read::<ToCard>(&mut stream) {
        let revision = match &message {
            ToCard::Snapshot { tables, .. } => Some(tables.revision),
            ToCard::Update { delta, .. } => Some(delta.to),
            _ => None,
        };
        if let Some(revision) = revision {
            // Control may have gone; its end is seen by the next read.
            let _ = framing::write(&mut &stream, &FromCard::Applied { revision });
        }
        if messages.send(message).is_err() {
            return;
        }
    }
}

/// Repeats until the text is as wanted.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + LIMIT;
    while !check() {
        assert!(std::time::Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
