//! The admin socket: what `trinic ls` and its friends ask control. One JSON line in, one JSON line out, then
//! the connection ends. The socket belongs to the owner of the state directory alone, and whoever is in an instance
//! is refused.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use trinic_host::peer::check_peer;
use trinic_switch::tables::Id;
use trinic_vpc::ids::{NetworkInterfaceId, ResourceId};

use super::engine::Engine;
use super::external::{Attach, Place};
use super::link::{CardStatus, Link};
use super::list;
use crate::protocol::{Query, TraceRequest};
use crate::state::{Endpoint, StateDir};

/// A question or a wish.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Request {
    /// How control and card are.
    Status,
    /// Instances and interfaces: [`list::Listing`].
    List,
    /// Counters of one interface, or of all.
    Stats {
        /// `eni-…`.
        interface: Option<Id>,
    },
    /// Everything that the card tells of itself.
    Inspect,
    /// What the pipeline would do with a packet.
    Trace(TraceRequest),
    /// Console output of an instance.
    Console {
        /// `i-…`.
        instance: Id,
    },
    /// Runs a built-in program of a user-space instance.
    Program {
        /// `i-…` or `internet`.
        instance: Id,
        /// Its name and arguments.
        arguments: Vec<String>,
    },
    /// Puts an interface somewhere of the user's own.
    Attach {
        /// `eni-…`.
        interface: String,
        /// Where; its path is in control's view.
        place: Place,
    },
    /// The card's functions: how each interface is presented.
    Functions,
    /// What happened at an ENA function since this was last asked.
    DeviceTrace {
        /// `eni-…`.
        interface: Id,
    },
    /// Makes an ENA function fail once, for a driver to survive.
    Inject {
        /// `eni-…`.
        interface: Id,
        /// How, in the words of `trinic card --help`.
        fault: String,
    },
    /// Ends control, after the card if so wished.
    Down {
        /// Leaves the card and the instances as they are.
        keep_card: bool,
    },
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// What was asked for.
    Done(serde_json::Value),
    /// Why not, in one sentence.
    Refused(String),
}

/// How control and card are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Process id of control.
    pub pid: u32,
    /// Version of control.
    pub version: String,
    /// Where the API listens.
    pub endpoint: String,
    /// Whether the state ends with control.
    pub ephemeral: bool,
    /// The card.
    pub card: CardStatus,
    /// Replies that went out before a connected card had their tables, since control started.
    #[serde(default)]
    pub late_replies: u64,
}

/// What the admin socket needs of control.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Reads and changes the model.
    pub engine: Engine,
    /// Asks the card.
    pub link: Link,
    /// Where the API listens.
    pub endpoint: Endpoint,
    /// Whether the state ends with control.
    pub ephemeral: bool,
    /// Ends control; the flag keeps the card.
    pub end: mpsc::Sender<bool>,
}

/// Opens the socket. What lies there is from a control that was killed, since the caller holds the lock.
///
/// # Errors
///
/// When the socket cannot be made.
pub fn listen(state: &StateDir) -> io::Result<UnixListener> {
    let path = state.control_socket();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves connections for ever.
pub async fn serve(listener: UnixListener, admin: Admin) {
    let slots = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                tokio::spawn(async move {
                    if let Err(error) = admin.connection(stream).await {
                        tracing::debug!(%error, "Admin connection failed");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "Admin socket cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Admin {
    async fn connection(self, stream: UnixStream) -> io::Result<()> {
        let peer = check_peer(&stream);
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        let mut bounded = (&mut stream).take(REQUEST_LIMIT_BYTES);
        tokio::time::timeout(READ_LIMIT, bounded.read_until(b'\n', &mut line))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        let response = match (peer, serde_json::from_slice(&line)) {
            (Err(fault), _) => Response::Refused(fault.to_string()),
            (Ok(()), Ok(request)) => self.answer(request).await,
            (Ok(()), Err(error)) => Response::Refused(format!("Request is not understood: {error}")),
        };
        let mut line = serde_json::to_vec(&response)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        stream.shutdown().await
    }

    async fn answer(&self, request: Request) -> Response {
        let answer = match request {
            Request::Status => self.status(),
            Request::List => self.list().await,
            Request::Stats { interface } => self.ask(Query::Stats { interface }).await,
            Request::Inspect => self.ask(Query::Inspect).await,
            Request::Trace(request) => self.ask(Query::Trace(request)).await,
            Request::Console { instance } => self.ask(Query::Console { instance }).await,
            Request::Program { instance, arguments } => {
                self.ask(Query::Program { instance, arguments }).await
            }
            Request::Attach { interface, place } => self.attach(&interface, place).await,
            Request::Functions => self.ask(Query::Functions).await,
            Request::DeviceTrace { interface } => self.ask(Query::DeviceTrace { interface }).await,
            Request::Inject { interface, fault } => self.ask(Query::Inject { interface, fault }).await,
            Request::Down { keep_card } => self.down(keep_card).await,
        };
        match answer {
            Ok(value) => Response::Done(value),
            Err(error) => Response::Refused(format!("{error:#}")),
        }
    }

    fn status(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::to_value(Status {
            pid: self.endpoint.pid,
            version: env!("CARGO_PKG_VERSION").into(),
            endpoint: self.endpoint.url.clone(),
            ephemeral: self.ephemeral,
            card: self.link.status(),
            late_replies: self.engine.late_replies(),
        })?)
    }

    async fn list(&self) -> anyhow::Result<serde_json::Value> {
        let mut listing = self.engine.read(list::listing).await?;
        listing.card = Some(self.link.status());
        listing.problems = self.link.problems();
        Ok(serde_json::to_value(listing)?)
    }

    async fn ask(&self, query: Query) -> anyhow::Result<serde_json::Value> {
        Ok(self.link.ask(query).await?)
    }

    async fn attach(&self, interface: &str, place: Place) -> anyhow::Result<serde_json::Value> {
        let interface = NetworkInterfaceId::parse(interface)?;
        let instance = self.engine.attach(Attach { interface, place }).await??;
        Ok(serde_json::json!({ "instance": instance.to_string() }))
    }

    async fn down(&self, keep_card: bool) -> anyhow::Result<serde_json::Value> {
        let ended = keep_card || self.link.shut_down(true, DOWN_LIMIT).await;
        // Nobody listens only when control is ending already.
        let _ = self.end.send(true).await;
        Ok(serde_json::json!({ "card_ended": ended && !keep_card, "clean": ended }))
    }
}

/// Makes one request of a running control, from a short-lived process.
///
/// # Errors
///
/// [`ClientError`].
pub fn request(state: &StateDir, request: &Request) -> Result<serde_json::Value, ClientError> {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    let mut stream =
        UnixStream::connect(state.control_socket()).map_err(|source| ClientError::NotRunning {
            state: state.root().display().to_string(),
            source,
        })?;
    let lost = ClientError::Lost;
    stream.set_read_timeout(Some(CLIENT_LIMIT)).map_err(lost)?;
    let mut line = serde_json::to_vec(request).map_err(|error| ClientError::Lost(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(ClientError::Lost)?;
    let mut answer = Vec::new();
    stream
        .take(RESPONSE_LIMIT_BYTES)
        .read_to_end(&mut answer)
        .map_err(ClientError::Lost)?;
    match serde_json::from_slice(&answer) {
        Ok(Response::Done(value)) => Ok(value),
        Ok(Response::Refused(reason)) => Err(ClientError::Refused(reason)),
        Err(error) => Err(ClientError::Lost(error.into())),
    }
}

/// Why a request of control has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no control for this state directory.
    #[error("No card is running in {state}; start one with `trinic up`, or name its directory with --state")]
    NotRunning {
        /// The state directory.
        state: String,
        /// What connecting said.
        #[source]
        source: io::Error,
    },
    /// Control said why not.
    #[error("{0}")]
    Refused(String),
    /// The connection failed under way.
    #[error("Control ended before it answered")]
    Lost(#[source] io::Error),
}

const CONNECTION_LIMIT: usize = 64;
const REQUEST_LIMIT_BYTES: u64 = 1 << 20;
const RESPONSE_LIMIT_BYTES: u64 = 256 << 20;
const READ_LIMIT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The card gives its instances 20 s.
const DOWN_LIMIT: Duration = Duration::from_secs(30);
/// Above every limit of control's own.
const CLIENT_LIMIT: Duration = Duration::from_secs(40);
