//! The one place where state changes: a thread that decides, commits, applies and tells the card.
//!
//! Calls queue in front of it. It takes what is there (up to `BATCH_LIMIT`), decides each on the model as the
//! ones before left it, commits all events in one transaction, and only then tells the card and replies: a
//! reply is durable, and ten calls at once cost one sync of the disk. If the commit fails, everything
//! of the batch is undone by reading the store again, and its callers get `Unavailable`.
//!
//! The thread waits for nobody. Whether the card has the tables of a call is waited for by the call itself
//! ([`receipt`](super::receipt)), after the thread has answered it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};
use trinic_store::{Store, Transaction};
use trinic_switch::tables::{Delta, Id, Revision, Tables};
use trinic_vpc::command::Command;
use trinic_vpc::ids::{InstanceId, NetworkInterfaceId};
use trinic_vpc::quota::Quotas;
use trinic_vpc::reply::Reply;
use trinic_vpc::resource::Event;
use trinic_vpc::{CardReport, Context, Ec2Error, ErrorCode, Policing, Scope, compile, compile_events};

use super::external;
use super::receipt::{self, Acknowledged, Progress, Receipt, Tally};
use super::storage::{self, Loaded};
use super::{spec, touch};
use crate::protocol::{InstanceSpec, ToCard};

/// A handle to the engine's thread, cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    requests: mpsc::Sender<Request>,
    tally: Arc<Tally>,
}

/// The engine has ended: control is on its way down.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("Control is ending")]
pub struct Ended;

/// What a connection to the card gets and gives.
#[derive(Debug)]
pub struct Subscription {
    /// What the card has to know: a snapshot, then updates.
    pub updates: mpsc::Receiver<ToCard>,
    /// Where to say what it acknowledged; dropped when the connection ends.
    pub acknowledged: Acknowledged,
}

/// Who gets what the card has to know, and how far it is.
#[derive(Debug)]
struct Subscriber {
    updates: mpsc::Sender<ToCard>,
    progress: Progress,
}

/// Reads the resources, for lists and questions.
type Reader = Box<dyn FnOnce(&Loaded) + Send>;

/// What the engine's thread answers a call with, and what to wait for before its caller may hear it.
type Answered<T> = (Result<T, Ec2Error>, Option<Receipt>);

enum Request {
    Call(Scope, Box<Command>, oneshot::Sender<Answered<Reply>>),
    Attach(external::Attach, oneshot::Sender<Answered<InstanceId>>),
    Reports(Vec<CardReport>),
    Detached(NetworkInterfaceId),
    Subscribe(Subscriber),
    Read(Reader),
    Expire,
}

/// How strict the API is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Refuses image ids that nobody registered.
    pub strict_images: bool,
    /// Limits of accounts.
    pub quotas: Quotas,
    /// Whose interfaces are held to their instance type's allowances.
    pub policing: Policing,
}

impl Engine {
    /// Starts the thread on what the store has.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or the thread cannot be started.
    pub fn start(store: Box<dyn Store>, rng: StdRng, rules: Rules) -> anyhow::Result<Self> {
        let mut loaded = storage::load(&*store)?;
        loaded.model.quotas = rules.quotas;
        loaded.model.policing = rules.policing;
        let (requests, receiver) = mpsc::channel(QUEUE_LIMIT);
        let worker = Worker::new(store, rng, loaded, rules.strict_images);
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || worker.run(receiver))?;
        Ok(Self {
            requests,
            tally: Arc::default(),
        })
    }

    /// Makes a call of the API; the answer is durable, and a connected card has the tables that follow from
    /// it, or was waited for in vain.
    ///
    /// # Errors
    ///
    /// EC2's error, or [`Ended`].
    pub async fn call(&self, scope: Scope, command: Command) -> Result<Result<Reply, Ec2Error>, Ended> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Call(scope, Box::new(command), reply)).await?;
        answered(answer).await
    }

    /// Puts an interface into a namespace of the user's own; the answer is its external instance, and comes
    /// when that of [`Self::call`] would.
    ///
    /// # Errors
    ///
    /// EC2's error, or [`Ended`].
    pub async fn attach(&self, attach: external::Attach) -> Result<Result<InstanceId, Ec2Error>, Ended> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Attach(attach, reply)).await?;
        answered(answer).await
    }

    /// Replies that went out before a connected card had their tables, since this process started.
    pub fn late_replies(&self) -> u64 {
        self.tally.late()
    }

    /// Passes on what the card said.
    ///
    /// # Errors
    ///
    /// [`Ended`].
    pub async fn report(&self, reports: Vec<CardReport>) -> Result<(), Ended> {
        self.send(Request::Reports(reports)).await
    }

    /// Passes on that an interface has left the instance that it is leaving.
    ///
    /// # Errors
    ///
    /// [`Ended`].
    pub async fn detached(&self, interface: NetworkInterfaceId) -> Result<(), Ended> {
        self.send(Request::Detached(interface)).await
    }

    /// A new card connection: it gets a snapshot, then updates. One that does not keep up is dropped and
    /// must subscribe again.
    ///
    /// # Errors
    ///
    /// [`Ended`].
    pub async fn subscribe(&self) -> Result<Subscription, Ended> {
        let (sender, updates) = mpsc::channel(SUBSCRIBER_LIMIT);
        let (acknowledged, progress) = receipt::connection(&self.tally);
        let subscriber = Subscriber {
            updates: sender,
            progress,
        };
        self.send(Request::Subscribe(subscriber)).await?;
        Ok(Subscription {
            updates,
            acknowledged,
        })
    }

    /// Reads committed state on the engine's thread; `read` should be short.
    ///
    /// # Errors
    ///
    /// [`Ended`].
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Loaded) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        let read: Reader = Box::new(move |loaded| {
            // Who asked may have gone.
            let _ = reply.send(read(loaded));
        });
        self.send(Request::Read(read)).await?;
        answer.await.map_err(|_| Ended)
    }

    /// Lets time pass: what is terminated long enough is forgotten.
    ///
    /// # Errors
    ///
    /// [`Ended`].
    pub async fn expire(&self) -> Result<(), Ended> {
        self.send(Request::Expire).await
    }

    async fn send(&self, request: Request) -> Result<(), Ended> {
        self.requests.send(request).await.map_err(|_| Ended)
    }
}

/// The engine's answer, when the card has its tables.
async fn answered<T>(answer: oneshot::Receiver<Answered<T>>) -> Result<Result<T, Ec2Error>, Ended> {
    let (answer, receipt) = answer.await.map_err(|_| Ended)?;
    if let Some(receipt) = receipt {
        receipt.wait().await;
    }
    Ok(answer)
}

struct Worker {
    store: Box<dyn Store>,
    rng: StdRng,
    strict_images: bool,
    loaded: Loaded,
    card: CardView,
    subscriber: Option<Subscriber>,
}

/// What the card was told last.
#[derive(Default)]
struct CardView {
    tables: Tables,
    instances: BTreeMap<InstanceId, InstanceSpec>,
}

/// What a batch of requests came to, until its commit.
#[derive(Default)]
struct Batch {
    transaction: Transaction,
    events: Vec<Event>,
    touched: BTreeSet<InstanceId>,
    answers: Vec<Answer>,
    /// After the commit: a request that must see only what is durable.
    last: Option<Request>,
}

/// Replies when the batch is durable and with what the card was told of it, or with the error if it is not.
type Answer = Box<dyn FnOnce(Result<Option<Receipt>, Ec2Error>)>;

impl Worker {
    fn new(store: Box<dyn Store>, rng: StdRng, loaded: Loaded, strict_images: bool) -> Self {
        let mut worker = Self {
            store,
            rng,
            strict_images,
            loaded,
            card: CardView::default(),
            subscriber: None,
        };
        worker.rebuild_card_view();
        worker
    }

    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut batch = Batch::default();
            self.take(first, &mut batch);
            while batch.answers.len() < BATCH_LIMIT
                && batch.last.is_none()
                && let Ok(next) = requests.try_recv()
            {
                self.take(next, &mut batch);
            }
            self.finish(batch);
        }
    }

    fn take(&mut self, request: Request, batch: &mut Batch) {
        match request {
            Request::Call(scope, command, reply) => self.call(scope, &command, reply, batch),
            Request::Attach(attach, reply) => self.attach(&attach, reply, batch),
            Request::Reports(reports) => reports.iter().for_each(|report| self.report(report, batch)),
            Request::Detached(interface_id) => {
                if let Some(instance_id) = touch::left_by(&self.loaded.model, interface_id) {
                    let report = CardReport::InterfaceDetached {
                        interface_id,
                        instance_id,
                    };
                    self.report(&report, batch);
                }
            }
            Request::Expire => {
                let events = self.loaded.model.expire(Timestamp::now());
                self.stage(events, batch);
            }
            last @ (Request::Subscribe(_) | Request::Read(_)) => batch.last = Some(last),
        }
    }

    fn report(&mut self, report: &CardReport, batch: &mut Batch) {
        let events = self.loaded.model.report(Timestamp::now(), &mut self.rng, report);
        self.stage(events, batch);
    }

    fn call(
        &mut self,
        scope: Scope,
        command: &Command,
        reply: oneshot::Sender<Answered<Reply>>,
        batch: &mut Batch,
    ) {
        let context = Context {
            scope,
            now: Timestamp::now(),
        };
        let decided = self
            .check_image(&context.scope, command)
            .and_then(|()| self.loaded.model.decide(&context, &mut self.rng, command));
        let (answer, is_change) = match decided {
            Ok((events, answer)) => {
                let is_change = !events.is_empty();
                self.stage(events, batch);
                (Ok(answer), is_change)
            }
            Err(error) => (Err(error), false),
        };
        // A refusal and a description wait for the commit too: they may tell of what others of the batch
        // did.
        batch.answers.push(reply_when_committed(reply, answer, is_change));
    }

    /// With `--strict-images`, refuses ids of images that are not here, as EC2 does.
    fn check_image(&self, scope: &Scope, command: &Command) -> Result<(), Ec2Error> {
        let Command::RunInstances(run) = command else {
            return Ok(());
        };
        match run.image_id.as_deref() {
            Some(image) if self.strict_images && !self.loaded.model.has_image(scope, image) => {
                Err(Ec2Error::new(
                    ErrorCode::InvalidAmiIdNotFound,
                    format!("The image id '[{image}]' does not exist"),
                ))
            }
            _ => Ok(()),
        }
    }

    fn attach(
        &mut self,
        attach: &external::Attach,
        reply: oneshot::Sender<Answered<InstanceId>>,
        batch: &mut Batch,
    ) {
        let now = Timestamp::now();
        let decided = external::decide(&self.loaded.model, attach, now, &mut self.rng);
        let answer = decided.map(|(id, events)| {
            self.loaded.externals.insert(id, attach.place.clone());
            storage::write_external(&mut batch.transaction, id, &attach.place);
            self.stage(events, batch);
            id
        });
        batch.answers.push(reply_when_committed(reply, answer, true));
    }

    /// Applies events to what is in memory and adds them to the batch's transaction.
    fn stage(&mut self, events: Vec<Event>, batch: &mut Batch) {
        for event in &events {
            batch.touched.extend(touch::instances(&self.loaded.model, event));
            self.loaded.model.apply(event);
            if let Event::Delete(key) = event
                && let trinic_vpc::ids::AnyId::Instance(id) = key.id
                && self.loaded.externals.remove(id)
            {
                storage::delete_external(&mut batch.transaction, id);
            }
        }
        batch.events.extend(events);
    }

    fn finish(&mut self, mut batch: Batch) {
        let committed = self.commit(&mut batch).map(|()| {
            let is_empty = batch.events.is_empty();
            if is_empty { None } else { self.tell_card(&batch) }
        });
        for answer in batch.answers {
            answer(committed.clone());
        }
        match batch.last {
            Some(Request::Subscribe(subscriber)) => self.subscribe(subscriber),
            Some(Request::Read(read)) => read(&self.loaded),
            _ => {}
        }
    }

    fn commit(&mut self, batch: &mut Batch) -> Result<(), Ec2Error> {
        if batch.events.is_empty() {
            return Ok(());
        }
        let written = batch
            .events
            .iter()
            .try_for_each(|event| storage::write(&mut batch.transaction, event));
        let committed = written.and_then(|()| Ok(self.store.commit(&batch.transaction)?));
        match committed {
            Ok(revision) => {
                self.loaded.revision = revision;
                Ok(())
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "Calls are lost: the store failed");
                self.reload();
                Err(Ec2Error::new(
                    ErrorCode::InternalError,
                    "The state could not be written; nothing was changed",
                )
                .with_context(format!("{error:#}")))
            }
        }
    }

    /// Undoes what is not durable. Without a readable store nothing that is said would be true, so the
    /// process ends; the card goes on.
    fn reload(&mut self) {
        match storage::load(&*self.store) {
            Ok(loaded) => {
                self.loaded = loaded;
                self.rebuild_card_view();
                self.subscriber = None;
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "Control ends: the store cannot be read"
                );
                std::process::exit(1);
            }
        }
    }

    fn rebuild_card_view(&mut self) {
        let model = &self.loaded.model;
        let mut tables = compile(model);
        tables.revision = Revision(self.loaded.revision.0);
        let ids = model.instances().map(|(_, instance)| instance.id);
        let specs = ids.filter_map(|id| Some((id, self.spec(id)?)));
        let instances = specs.collect();
        self.card = CardView { tables, instances };
    }

    fn spec(&self, id: InstanceId) -> Option<InstanceSpec> {
        spec::instance(&self.loaded.model, &self.loaded.externals, id)
    }

    /// Sends the card what the batch changed. The receipt is for tables; what instances are made of takes
    /// its time, and the card reports it.
    fn tell_card(&mut self, batch: &Batch) -> Option<Receipt> {
        let delta = self.table_changes(&batch.events);
        let (instances, remove_instances) = self.instance_changes(&batch.touched);
        let is_same = delta.upsert.is_empty() && delta.remove.is_empty();
        if is_same && instances.is_empty() && remove_instances.is_empty() {
            return None;
        }
        let expected = delta.to;
        if let Err(mismatch) = self.card.tables.apply(delta.clone()) {
            // Cannot be, since the delta was made from these tables; if it is, a snapshot ends it.
            tracing::error!(%mismatch, "The tables are made anew");
            self.rebuild_card_view();
            self.subscriber = None;
            return None;
        }
        self.send(delta, instances, remove_instances);
        let subscriber = self.subscriber.as_ref().filter(|_| !is_same)?;
        Some(subscriber.progress.receipt(expected))
    }

    fn table_changes(&self, events: &[Event]) -> Delta {
        let known = &self.card.tables;
        let (mut upsert, mut remove) = compile_events(&self.loaded.model, events);
        upsert.retain(|entry| known.entries.get(entry.id()) != Some(entry));
        remove.retain(|id| known.entries.contains_key(id));
        Delta {
            from: known.revision,
            to: Revision(self.loaded.revision.0),
            upsert,
            remove,
        }
    }

    fn instance_changes(&mut self, touched: &BTreeSet<InstanceId>) -> (Vec<InstanceSpec>, Vec<Id>) {
        let mut changed = Vec::new();
        let mut removed = Vec::new();
        for id in touched {
            match self.spec(*id) {
                Some(spec) if self.card.instances.get(id) == Some(&spec) => {}
                Some(spec) => {
                    self.card.instances.insert(*id, spec.clone());
                    changed.push(spec);
                }
                None => {
                    if self.card.instances.remove(id).is_some() {
                        removed.push(Id::from(id.to_string()));
                    }
                }
            }
        }
        (changed, removed)
    }

    fn send(&mut self, delta: Delta, instances: Vec<InstanceSpec>, remove_instances: Vec<Id>) {
        let Some(subscriber) = &self.subscriber else {
            return;
        };
        let update = ToCard::Update {
            delta,
            instances,
            remove_instances,
        };
        // A card that is so far behind is better off with a snapshot, which its next connection brings.
        if subscriber.updates.try_send(update).is_err() {
            self.subscriber = None;
        }
    }

    fn subscribe(&mut self, subscriber: Subscriber) {
        let instances = self.card.instances.values();
        let snapshot = ToCard::Snapshot {
            tables: self.card.tables.clone(),
            instances: instances.map(|spec| (spec.id.clone(), spec.clone())).collect(),
        };
        let is_there = subscriber.updates.try_send(snapshot).is_ok();
        self.subscriber = is_there.then_some(subscriber);
    }
}

/// Who asked may have gone by the time of the commit. Only a call that changed something has a receipt.
fn reply_when_committed<T: 'static>(
    reply: oneshot::Sender<Answered<T>>,
    answer: Result<T, Ec2Error>,
    is_change: bool,
) -> Answer {
    Box::new(move |committed| {
        let _ = reply.send(match committed {
            Ok(receipt) => (answer, receipt.filter(|_| is_change)),
            Err(error) => (Err(error), None),
        });
    })
}

/// Requests that wait; more wait in their callers.
const QUEUE_LIMIT: usize = 1024;

/// The most calls of one commit.
const BATCH_LIMIT: usize = 64;

/// Updates that wait for the card's connection.
const SUBSCRIBER_LIMIT: usize = 1024;
