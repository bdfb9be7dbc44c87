//! The connection to the card, kept up for ever: connect or start, hello, snapshot, then updates out and
//! reports in.
//!
//! When the connection ends, the API goes on and states stay as they are; the next connection starts with a
//! snapshot, and the card reports again what it has. What it reported to nobody is made up for by
//! `Link::catch_up`: the card is asked what is there, and what should be gone and is gone is reported.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use trinic_switch::tables::Id;
use trinic_vpc::CardReport;
use trinic_vpc::ids::{InstanceId, NetworkInterfaceId, ResourceId};

use super::card_process::CardProcess;
use super::engine::{Ended, Engine, Subscription};
use super::receipt::Acknowledged;
use super::touch;
use crate::framing;
use crate::protocol::{
    Backend, FromCard, Greeting, InstanceReport, InterfaceReport, OtherProtocol, PROTOCOL, Query, ToCard,
};

/// What is known of the card now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum CardStatus {
    /// Not connected yet.
    Starting,
    /// Connected.
    Up {
        /// Process id.
        pid: u32,
        /// Version of its program.
        version: String,
        /// What instances run on.
        backend: Backend,
        /// Why it is not namespaces.
        backend_reason: Option<String>,
        /// Whether it ran before this control process.
        adopted: bool,
    },
    /// Not there; it is being started again.
    Down {
        /// Why, in one sentence.
        reason: String,
    },
    /// There, and of another version with another protocol: it is told nothing until it is replaced.
    Apart {
        /// Which it is and what ends that, in one sentence.
        reason: String,
    },
    /// It ended as asked; there will be no other.
    Ended,
}

/// A handle to the connection, cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    status: watch::Sender<CardStatus>,
    outgoing: mpsc::Sender<ToCard>,
    pending: Mutex<Pending>,
    problems: Mutex<BTreeMap<Id, String>>,
    /// Set once: whether instances end with the card.
    stopping: Mutex<Option<bool>>,
    stop: Notify,
    shutdown_sent: AtomicBool,
}

/// Questions on their way.
#[derive(Debug, Default)]
struct Pending {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Result<serde_json::Value, String>>>,
}

/// Why a question to the card has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No card is connected.
    #[error("The card is not connected: {0}")]
    NotConnected(String),
    /// Too many questions at once.
    #[error("{PENDING_LIMIT} questions to the card are waiting already; try again")]
    Busy,
    /// It did not answer in time, or died over it.
    #[error("The card did not answer within {} s", ASK_LIMIT.as_secs())]
    Silent,
    /// It answered with a refusal.
    #[error("{0}")]
    Refused(String),
}

impl Link {
    /// Starts to keep the connection up.
    pub fn start(engine: Engine, process: CardProcess) -> Self {
        let (outgoing, questions) = mpsc::channel(PENDING_LIMIT);
        let link = Self {
            shared: Arc::new(Shared {
                status: watch::Sender::new(CardStatus::Starting),
                outgoing,
                pending: Mutex::default(),
                problems: Mutex::default(),
                stopping: Mutex::new(None),
                stop: Notify::new(),
                shutdown_sent: AtomicBool::new(false),
            }),
        };
        tokio::spawn(link.clone().keep_up(engine, process, questions));
        link
    }

    /// What is known of the card now.
    pub fn status(&self) -> CardStatus {
        self.shared.status.borrow().clone()
    }

    /// Why instances and interfaces are not as they should be, by id.
    pub fn problems(&self) -> BTreeMap<Id, String> {
        lock(&self.shared.problems).clone()
    }

    /// Waits for the first connection, or the first failure, for at most `limit`.
    pub async fn first_status(&self, limit: Duration) -> CardStatus {
        let mut status = self.shared.status.subscribe();
        let known = status.wait_for(|status| *status != CardStatus::Starting);
        // Too slow is a status, too: it is still starting.
        let _ = tokio::time::timeout(limit, known).await;
        self.status()
    }

    /// Asks the card.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn ask(&self, query: Query) -> Result<serde_json::Value, AskError> {
        match self.status() {
            CardStatus::Up { .. } => {}
            CardStatus::Starting => return Err(AskError::NotConnected("it is starting".into())),
            CardStatus::Down { reason } | CardStatus::Apart { reason } => {
                return Err(AskError::NotConnected(reason));
            }
            CardStatus::Ended => return Err(AskError::NotConnected("it ended as asked".into())),
        }
        let (reply, answer) = oneshot::channel();
        let number = {
            let mut pending = lock(&self.shared.pending);
            if pending.answers.len() >= PENDING_LIMIT {
                return Err(AskError::Busy);
            }
            pending.next += 1;
            let number = pending.next;
            pending.answers.insert(number, reply);
            number
        };
        let asked = self.shared.outgoing.try_send(ToCard::Ask { number, query });
        let answer = match asked {
            Ok(()) => tokio::time::timeout(ASK_LIMIT, answer).await,
            Err(_) => {
                lock(&self.shared.pending).answers.remove(&number);
                return Err(AskError::Busy);
            }
        };
        lock(&self.shared.pending).answers.remove(&number);
        match answer {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(reason))) => Err(AskError::Refused(reason)),
            Ok(Err(_)) | Err(_) => Err(AskError::Silent),
        }
    }

    /// Ends the card, and the instances if so wished, and waits for that. Says whether it ended in time. A
    /// card that is down is started once more, so that its instances end, too.
    pub async fn shut_down(&self, stop_instances: bool, limit: Duration) -> bool {
        *lock(&self.shared.stopping) = Some(stop_instances);
        // Without a connection the loop sees the wish when it makes the next one.
        let _ = self.shared.outgoing.try_send(ToCard::Shutdown { stop_instances });
        self.shared.stop.notify_one();
        let mut status = self.shared.status.subscribe();
        let ended = status.wait_for(|status| *status == CardStatus::Ended);
        tokio::time::timeout(limit, ended).await.is_ok()
    }

    fn stopping(&self) -> Option<bool> {
        *lock(&self.shared.stopping)
    }

    async fn keep_up(self, engine: Engine, mut process: CardProcess, mut questions: mpsc::Receiver<ToCard>) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let connected = process.connect().await;
            let is_connected = connected.is_ok();
            let mut is_other = false;
            let reason = match connected {
                Ok((stream, adopted)) => {
                    let began = tokio::time::Instant::now();
                    let ended = self.session(stream, adopted, &engine, &mut questions).await;
                    if began.elapsed() > BACKOFF_RESET {
                        backoff = BACKOFF_MIN;
                    }
                    is_other = ended.as_ref().is_err_and(|error| error.is::<OtherProtocol>());
                    ended.map_or_else(|error| format!("{error:#}"), |()| "its connection ended".into())
                }
                Err(error) => format!("{:#}", anyhow::Error::new(error)),
            };
            lock(&self.shared.pending).answers.clear();
            if self.stopping().is_some() {
                if self.shared.shutdown_sent.load(Ordering::Relaxed) || !is_connected {
                    process.wait_ended(STOP_LIMIT).await;
                    self.shared.status.send_replace(CardStatus::Ended);
                    return;
                }
                continue;
            }
            let pause = if is_other { APART_RETRY } else { backoff };
            self.lost(reason, is_other);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.stop.notified() => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Keeps why there is no connection; what is known already is not logged again.
    fn lost(&self, reason: String, is_other: bool) {
        let status = if is_other {
            CardStatus::Apart {
                reason: reason.clone(),
            }
        } else {
            CardStatus::Down {
                reason: reason.clone(),
            }
        };
        let before = self.shared.status.send_replace(status.clone());
        match status {
            CardStatus::Apart { .. } if before == status => {}
            CardStatus::Apart { .. } => tracing::warn!(%reason, "The card is of another version"),
            _ => tracing::warn!(%reason, "The card is down; starting it again"),
        }
    }

    /// One connection, from hello to its end.
    async fn session(
        &self,
        stream: UnixStream,
        adopted: bool,
        engine: &Engine,
        questions: &mut mpsc::Receiver<ToCard>,
    ) -> anyhow::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let first = first_frame(&mut reader).await?;
        // A question of an earlier connection has nobody waiting for its answer.
        while questions.try_recv().is_ok() {}
        // A card of any protocol understands this.
        if let Some(stop_instances) = self.stopping() {
            self.send(&mut writer, &ToCard::Shutdown { stop_instances })
                .await?;
        }
        self.hello(first, adopted)?;
        let Subscription {
            updates,
            acknowledged,
        } = engine.subscribe().await?;
        let mut incoming = tokio::spawn(self.clone().read(reader, engine.clone(), acknowledged));
        let catching_up = tokio::spawn(self.clone().catch_up(engine.clone()));
        let result = tokio::select! {
            ended = &mut incoming => ended?,
            ended = self.write(&mut writer, updates, questions) => ended,
        };
        incoming.abort();
        catching_up.abort();
        result
    }

    /// Takes the first frame of a card, if that speaks this protocol.
    fn hello(&self, first: serde_json::Value, adopted: bool) -> anyhow::Result<()> {
        let greeting = Greeting::of(&first).context(NO_HELLO)?;
        if greeting.protocol != PROTOCOL {
            return Err(OtherProtocol(greeting).into());
        }
        let FromCard::Hello {
            pid,
            version,
            backend,
            backend_reason,
            revision,
            ..
        } = serde_json::from_value(first).context(NO_HELLO)?
        else {
            anyhow::bail!(NO_HELLO);
        };
        if version != env!("CARGO_PKG_VERSION") {
            tracing::warn!(
                card = version,
                control = env!("CARGO_PKG_VERSION"),
                "Card and control have different versions, and one protocol; `trinic down` and `trinic up` end that"
            );
        }
        tracing::info!(
            pid,
            ?backend,
            revision = revision.0,
            adopted,
            "The card is connected"
        );
        self.shared.status.send_replace(CardStatus::Up {
            pid,
            version,
            backend,
            backend_reason,
            adopted,
        });
        Ok(())
    }

    async fn write(
        &self,
        writer: &mut OwnedWriteHalf,
        mut updates: mpsc::Receiver<ToCard>,
        questions: &mut mpsc::Receiver<ToCard>,
    ) -> anyhow::Result<()> {
        loop {
            let message = tokio::select! {
                update = updates.recv() => match update {
                    Some(update) => update,
                    None => anyhow::bail!("it does not keep up, and gets a snapshot"),
                },
                question = questions.recv() => match question {
                    Some(question) => question,
                    None => return Ok(()),
                },
            };
            self.send(writer, &message).await?;
        }
    }

    async fn send(&self, writer: &mut OwnedWriteHalf, message: &ToCard) -> anyhow::Result<()> {
        framing::write_async(writer, message).await?;
        if matches!(message, ToCard::Shutdown { .. }) {
            self.shared.shutdown_sent.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn read(
        self,
        mut reader: BufReader<OwnedReadHalf>,
        engine: Engine,
        acknowledged: Acknowledged,
    ) -> anyhow::Result<()> {
        while let Some(message) = framing::read_async::<FromCard>(&mut reader).await? {
            match message {
                // At the end of everything, instances end because the card does, not by their own or a
                // caller's will: their state stays, and the next start brings them back.
                FromCard::Instance { .. } | FromCard::Interface { .. } if self.stopping().is_some() => {}
                FromCard::Hello { .. } => anyhow::bail!("it said hello twice"),
                FromCard::Applied { revision } => acknowledged.advance(revision),
                FromCard::Instance { id, report } => {
                    if let Some(report) = self.instance_report(id, report) {
                        engine.report(vec![report]).await?;
                    }
                }
                FromCard::Interface {
                    id,
                    report: InterfaceReport::Detached,
                } => {
                    lock(&self.shared.problems).remove(&id);
                    if let Ok(id) = NetworkInterfaceId::parse(&id) {
                        engine.detached(id).await?;
                    }
                }
                FromCard::Interface { id, report } => {
                    if let Some(report) = self.interface_report(id, report) {
                        engine.report(vec![report]).await?;
                    }
                }
                FromCard::Answer { number, answer } => {
                    let waiting = lock(&self.shared.pending).answers.remove(&number);
                    if let Some(waiting) = waiting {
                        // Who asked may have given up.
                        let _ = waiting.send(answer);
                    }
                }
            }
        }
        Ok(())
    }

    fn instance_report(&self, id: Id, report: InstanceReport) -> Option<CardReport> {
        let instance_id = InstanceId::parse(&id).ok()?;
        let mut problems = lock(&self.shared.problems);
        problems.remove(&id);
        Some(match report {
            InstanceReport::Running { .. } => CardReport::InstanceRunning { instance_id },
            InstanceReport::Failed { reason } => {
                tracing::error!(instance = %id, reason, "Instance could not be started");
                remember(&mut problems, id, reason.clone());
                CardReport::InstanceFailed { instance_id, reason }
            }
            InstanceReport::Exited { reason } => {
                tracing::info!(instance = %id, reason, "Instance ended by itself");
                CardReport::InstanceExited { instance_id }
            }
            InstanceReport::Gone => CardReport::InstanceGone { instance_id },
        })
    }

    fn interface_report(&self, id: Id, report: InterfaceReport) -> Option<CardReport> {
        let interface_id = NetworkInterfaceId::parse(&id).ok()?;
        let mut problems = lock(&self.shared.problems);
        problems.remove(&id);
        match report {
            InterfaceReport::Attached { instance_id } => Some(CardReport::InterfaceAttached {
                interface_id,
                instance_id: InstanceId::parse(&instance_id).ok()?,
            }),
            InterfaceReport::Failed { reason } => {
                tracing::error!(interface = %id, reason, "Interface could not be attached");
                remember(&mut problems, id, reason);
                None
            }
            InterfaceReport::Detached => None,
        }
    }

    /// Compares what waits for a report with what the card has, now and then: a report that was made while
    /// nobody listened never comes again, but what is gone stays gone.
    async fn catch_up(self, engine: Engine) -> Result<(), Ended> {
        let mut before = Vec::new();
        loop {
            tokio::time::sleep(CATCH_UP).await;
            let (ending, detaching) = engine
                .read(|loaded| (touch::ending(&loaded.model), touch::detaching(&loaded.model)))
                .await?;
            if ending.is_empty() && detaching.is_empty() {
                before.clear();
                continue;
            }
            let Ok(Ok(there)) = self.ask(Query::Inspect).await.map(serde_json::from_value) else {
                continue;
            };
            let overdue = overdue(&there, ending, detaching);
            // Twice in a row: what the card took up only just now has its own report on the way.
            let (now, later) = overdue.into_iter().partition(|report| before.contains(report));
            before = later;
            engine.report(now).await?;
        }
    }
}

/// What the card has, of its answer to [`Query::Inspect`].
#[derive(Debug, Deserialize)]
struct Inspection {
    instances: BTreeMap<String, InspectedInstance>,
}

#[derive(Debug, Deserialize)]
struct InspectedInstance {
    #[serde(default)]
    busy: bool,
    #[serde(default)]
    interfaces: BTreeMap<String, serde_json::Value>,
}

/// Reports for what should go and is not there.
fn overdue(
    there: &Inspection,
    ending: Vec<InstanceId>,
    detaching: Vec<(NetworkInterfaceId, InstanceId)>,
) -> Vec<CardReport> {
    let gone = ending
        .into_iter()
        .filter(|id| !there.instances.contains_key(&id.to_string()))
        .map(|instance_id| CardReport::InstanceGone { instance_id });
    let detached = detaching
        .into_iter()
        .filter(|(interface, instance)| {
            there.instances.get(&instance.to_string()).is_none_or(|instance| {
                !instance.busy && !instance.interfaces.contains_key(&interface.to_string())
            })
        })
        .map(|(interface_id, instance_id)| CardReport::InterfaceDetached {
            interface_id,
            instance_id,
        });
    gone.chain(detached).collect()
}

/// The first frame of a card of any version.
async fn first_frame(reader: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<serde_json::Value> {
    match tokio::time::timeout(HELLO_LIMIT, framing::read_async(reader)).await {
        Ok(Ok(Some(first))) => Ok(first),
        _ => anyhow::bail!(NO_HELLO),
    }
}

/// Notes a problem; of too many, some are forgotten.
fn remember(problems: &mut BTreeMap<Id, String>, id: Id, reason: String) {
    if problems.len() >= PROBLEMS_LIMIT {
        problems.pop_first();
    }
    problems.insert(id, reason);
}

/// What these locks guard is changed in single steps, so a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Questions to the card that may wait at one time.
const PENDING_LIMIT: usize = 256;
const PROBLEMS_LIMIT: usize = 256;
const ASK_LIMIT: Duration = Duration::from_secs(10);
const NO_HELLO: &str = "it did not say hello";
const HELLO_LIMIT: Duration = Duration::from_secs(5);
const CATCH_UP: Duration = Duration::from_secs(1);
/// The card itself gives its instances 20 s.
const STOP_LIMIT: Duration = Duration::from_secs(25);
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How often a card of another version is looked for anew: as soon as it is gone, this version's is started.
const APART_RETRY: Duration = Duration::from_millis(250);
/// A connection of this length was a good one.
const BACKOFF_RESET: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_gone_for_sure_is_overdue() {
        let (a, b) = (InstanceId::from_digits(0xa), InstanceId::from_digits(0xb));
        let (e, f) = (
            NetworkInterfaceId::from_digits(0xe),
            NetworkInterfaceId::from_digits(0xf),
        );
        let inspection = |json| serde_json::from_value::<Inspection>(json).unwrap();
        let nothing = inspection(serde_json::json!({ "instances": {} }));
        let reports = overdue(&nothing, vec![a], vec![(e, b)]);
        assert_eq!(reports.len(), 2);
        let key = b.to_string();
        let busy = inspection(serde_json::json!({ "instances": { key.clone(): { "busy": true } } }));
        assert_eq!(overdue(&busy, vec![b], vec![(e, b)]), []);
        let one = serde_json::json!({ key: { "busy": false, "interfaces": { e.to_string(): {} } } });
        let one = inspection(serde_json::json!({ "instances": one }));
        assert_eq!(
            overdue(&one, vec![], vec![(e, b), (f, b)]),
            [CardReport::InterfaceDetached {
                interface_id: f,
                instance_id: b,
            }]
        );
    }
}
