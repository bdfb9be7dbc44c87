//! Desired against actual: one thread that knows both and starts jobs where they differ.
//!
//! Control says what should be ([`ToCard`]); the reconciler gives the tables to the worker at once and
//! starts one [`Job`] per instance that is not as it should be, a few at a time. It never waits for a job,
//! so a slow instance delays nobody. It acts on levels, not on edges: whatever was missed, the next
//! comparison makes up for it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use trinic_switch::tables::{Delta, Id, Tables};

use crate::protocol::{FromCard, InstanceReport, InstanceSpec, ToCard};

use super::INTERNET;
use super::job::{Actual, Job, Task, Tools};
use super::record::{Desired, Record};
use super::watch::Incarnation;
use super::zones::Zones;

/// What the reconciler is told.
#[derive(Debug)]
pub enum Event {
    /// From control.
    Control(ToCard),
    /// A job is done.
    Done(Id, Box<Actual>),
    /// An instance's init has ended.
    Ended(Id, Incarnation),
    /// A port broke and was taken out; `None` is the internet's.
    Broken(Option<Id>),
    /// Somebody wants to see what is there.
    Inspect(Sender<serde_json::Value>),
}

/// The reconciler; [`Reconciler::run`] is its thread.
#[derive(Debug)]
pub struct Reconciler {
    tools: Arc<Tools>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    desired: Desired,
    internet: Arc<InstanceSpec>,
    zones: Zones,
    slots: BTreeMap<Id, Slot>,
    holders: HashMap<Id, Id>,
    queue: VecDeque<Id>,
    to_adopt: VecDeque<Record>,
    jobs: usize,
    unsaved_since: Option<Instant>,
    /// Control has said what it wants since this process started. Until then nothing is removed: the last
    /// update before a crash may not have reached the disk.
    is_told: bool,
    stopping: Option<Instant>,
}

/// An instance of which something is there, or a job at work on it.
#[derive(Debug, Default)]
struct Slot {
    /// `None` while a job has it.
    actual: Option<Box<Actual>>,
    /// Its init has ended, in this life.
    ended: Option<Incarnation>,
    /// It was brought to its spec once and the spec is still the same: no further tries.
    settled: Option<Arc<InstanceSpec>>,
    /// Interfaces whose port broke while a job had the instance.
    broken: BTreeSet<Id>,
    /// To be reported again when its job is done.
    repeat: bool,
    is_queued: bool,
    /// What it looked like when the present job got it: a process in it can be entered all the while.
    lent: serde_json::Value,
}

/// Jobs at one time: they mostly wait for the kernel's namespace locks.
const JOBS_MAX: usize = 6;
/// How long a change may wait to be written to disk: a burst of updates is written once.
const SAVE_DELAY: Duration = Duration::from_millis(100);
/// How long the end of everything may take.
const STOP_LIMIT: Duration = Duration::from_secs(20);

impl Reconciler {
    /// A reconciler that goes on from the state on disk.
    pub fn new(
        tools: Arc<Tools>,
        internet: InstanceSpec,
        (sender, events): (Sender<Event>, Receiver<Event>),
    ) -> Self {
        let desired = tools.records.desired();
        Self {
            tools,
            events,
            sender,
            desired,
            internet: Arc::new(internet),
            zones: Zones::default(),
            slots: BTreeMap::new(),
            holders: HashMap::new(),
            queue: VecDeque::new(),
            to_adopt: VecDeque::new(),
            jobs: 0,
            unsaved_since: None,
            is_told: false,
            stopping: None,
        }
    }

    /// Works until control ends the card. The result says whether everything was removed.
    ///
    /// # Errors
    ///
    /// When the worker has ended.
    pub fn run(mut self) -> anyhow::Result<bool> {
        self.resume()?;
        loop {
            match self.events.recv_timeout(self.patience()) {
                Ok(Event::Control(ToCard::Shutdown {
                    stop_instances: false,
                })) => {
                    self.save();
                    return Ok(false);
                }
                Ok(event) => self.handle(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("Nobody talks to the reconciler"),
            }
            if self
                .unsaved_since
                .is_some_and(|since| since.elapsed() >= SAVE_DELAY)
            {
                self.save();
            }
            if let Some(since) = self.stopping
                && (self.slots.is_empty() || since.elapsed() > STOP_LIMIT)
            {
                for id in self.slots.keys() {
                    tracing::error!(instance = %id, "Instance did not end in time");
                }
                return Ok(self.slots.is_empty());
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.unsaved_since.is_some() || self.stopping.is_some() {
            SAVE_DELAY
        } else {
            Duration::from_secs(3600)
        }
    }

    /// After a start: the tables of the last card, its instances, and what is missing of them.
    fn resume(&mut self) -> anyhow::Result<()> {
        self.tools.worker.load(self.desired.tables.clone())?;
        self.update_zones();
        for record in self.tools.records.instances() {
            if self.tools.records.is_of_this_boot(&record) {
                self.adopt(record);
            } else {
                self.tools.backend.sweep(&record.backend);
                self.tools.records.forget(&record.spec.id)?;
            }
        }
        self.adopt_some();
        self.reconcile_all();
        Ok(())
    }

    /// Claims the instance and its interfaces until its turn to be adopted comes.
    fn adopt(&mut self, record: Record) {
        let id = record.spec.id.clone();
        for interface in record.interfaces.keys() {
            self.holders.insert(interface.clone(), id.clone());
        }
        self.slots.insert(id, Slot::default());
        self.to_adopt.push_back(record);
    }

    fn adopt_some(&mut self) {
        while self.jobs < JOBS_MAX
            && let Some(record) = self.to_adopt.pop_front()
        {
            let id = record.spec.id.clone();
            self.start_job(id, Actual::default(), Task::Adopt(Box::new(record)));
        }
    }

    fn handle(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Control(message) => self.control(message)?,
            Event::Done(id, actual) => self.done(&id, actual),
            Event::Ended(id, incarnation) => self.ended(&id, incarnation),
            Event::Broken(interface) => self.broken(interface.unwrap_or_else(|| INTERNET.into())),
            Event::Inspect(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.inspect());
            }
        }
        Ok(())
    }

    fn control(&mut self, message: ToCard) -> anyhow::Result<()> {
        match message {
            ToCard::Snapshot {
                tables,
                instances,
                stopped,
            } => {
                self.snapshot(tables, instances)?;
                let is_kept = |id: &str| {
                    self.desired.instances.contains_key(id) || stopped.iter().any(|kept| **kept == *id)
                };
                self.tools.volumes.keep_only(is_kept);
            }
            ToCard::Update {
                delta,
                instances,
                remove_instances,
                terminated,
            } => {
                self.update(delta, instances, &remove_instances)?;
                for id in terminated {
                    self.tools.volumes.remove(&id);
                }
            }
            ToCard::Shutdown { .. } => {
                self.is_told = true;
                self.stopping = Some(Instant::now());
                self.desired = Desired::default();
                self.reconcile_all();
            }
            // Questions are answered on the connection's own thread.
            ToCard::Ask { .. } => {}
        }
        Ok(())
    }

    fn snapshot(&mut self, tables: Tables, instances: BTreeMap<Id, InstanceSpec>) -> anyhow::Result<()> {
        let revision = self.tools.worker.load(tables.clone())?;
        self.is_told = true;
        self.desired = Desired {
            tables,
            instances: instances
                .into_iter()
                .map(|(id, spec)| (id, Arc::new(spec)))
                .collect(),
        };
        self.changed();
        self.tools.outbox.send(&FromCard::Applied { revision });
        for (id, slot) in &mut self.slots {
            // A new control may have fixed what failed under the old one.
            slot.settled = None;
            match &slot.actual {
                Some(actual) => actual.repeat(id, &self.tools.outbox),
                None => slot.repeat = true,
            }
        }
        self.reconcile_all();
        Ok(())
    }

    fn update(&mut self, delta: Delta, instances: Vec<InstanceSpec>, remove: &[Id]) -> anyhow::Result<()> {
        let applied = self.tools.worker.apply(delta.clone())?;
        let revision = match applied.and_then(|revision| {
            self.desired.tables.apply(delta)?;
            Ok(revision)
        }) {
            Ok(revision) => revision,
            Err(mismatch) => {
                tracing::warn!(%mismatch, "Control and card disagree; control must send a snapshot");
                self.tools.outbox.close();
                return Ok(());
            }
        };
        let mut touched = BTreeSet::new();
        for spec in instances {
            touched.insert(spec.id.clone());
            self.desired.instances.insert(spec.id.clone(), Arc::new(spec));
        }
        for id in remove {
            touched.insert(id.clone());
            self.desired.instances.remove(id);
        }
        self.changed();
        self.tools.outbox.send(&FromCard::Applied { revision });
        for id in touched {
            self.reconcile(&id);
        }
        Ok(())
    }

    /// The desired state changed: names of the VPCs follow, and the disk soon.
    fn changed(&mut self) {
        self.unsaved_since.get_or_insert_with(Instant::now);
        self.update_zones();
    }

    fn update_zones(&mut self) {
        let zones = self.zones.update(&self.desired);
        if zones.is_empty() {
            return;
        }
        let visited = self.tools.worker.visit(move |visit| {
            for (vpc, zone) in zones {
                visit.services.publish_zone(vpc, zone);
            }
        });
        if let Err(error) = visited {
            tracing::error!(%error, "Names of a VPC are not up to date");
        }
    }

    fn save(&mut self) {
        self.unsaved_since = None;
        if let Err(error) = self.tools.records.keep_desired(&self.desired) {
            tracing::error!(%error, "A restarted card would not know what is wanted");
        }
    }

    fn reconcile_all(&mut self) {
        let mut ids: BTreeSet<Id> = self.desired.instances.keys().cloned().collect();
        ids.extend(self.slots.keys().cloned());
        ids.insert(INTERNET.into());
        for id in ids {
            self.reconcile(&id);
        }
    }

    fn wanted(&self, id: &Id) -> Option<Arc<InstanceSpec>> {
        if self.stopping.is_some() {
            return None;
        }
        if &**id == INTERNET {
            return Some(self.internet.clone());
        }
        self.desired.instances.get(id).cloned()
    }

    /// Starts a job on the instance if it differs from what is wanted and nobody works on it.
    fn reconcile(&mut self, id: &Id) {
        let wanted = self.wanted(id);
        let Some(slot) = self.slots.get_mut(id) else {
            if wanted.is_some() {
                let fresh = Slot {
                    actual: Some(Box::default()),
                    ..Slot::default()
                };
                self.slots.insert(id.clone(), fresh);
                self.reconcile(id);
            }
            return;
        };
        let Some(actual) = &slot.actual else {
            // Its job is at work; what it leaves is compared again.
            return;
        };
        let is_there = actual.instance.is_some();
        let task = match wanted {
            None if is_there && !self.is_told => return,
            None if is_there || actual.report.is_some() => Task::Remove,
            None => {
                self.slots.remove(id);
                return;
            }
            Some(_) if slot.ended == Some(actual.incarnation) && is_there => Task::Ended,
            Some(_) if &**id != INTERNET && matches!(actual.report, Some(InstanceReport::Exited { .. })) => {
                return;
            }
            Some(spec) => {
                let held = held_elsewhere(&self.holders, id, &spec);
                let is_settled = slot.settled.as_ref() == Some(&spec);
                if is_settled && actual.waiting.is_subset(&held) {
                    return;
                }
                Task::Bring(spec, held)
            }
        };
        self.dispatch(id, task);
    }

    fn dispatch(&mut self, id: &Id, task: Task) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        if self.jobs >= JOBS_MAX {
            if !std::mem::replace(&mut slot.is_queued, true) {
                self.queue.push_back(id.clone());
            }
            return;
        }
        slot.lent = slot.inspect();
        let Some(actual) = slot.actual.take() else { return };
        if let Task::Bring(spec, held) = &task {
            slot.settled = Some(spec.clone());
            for interface in spec.interfaces.iter().filter(|i| !held.contains(&i.id)) {
                self.holders.insert(interface.id.clone(), id.clone());
            }
        }
        self.start_job(id.clone(), *actual, task);
    }

    fn start_job(&mut self, id: Id, actual: Actual, task: Task) {
        let job = Job {
            tools: self.tools.clone(),
            id: id.clone(),
            actual,
            task,
        };
        let done = self.sender.clone();
        self.jobs += 1;
        let name = format!("job {id}");
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let actual = Box::new(job.run());
            // The card may be ending.
            let _ = done.send(Event::Done(id, actual));
        });
        if let Err(error) = thread {
            // Out of threads: this card cannot keep its promises. Its successor adopts what is there.
            tracing::error!(%error, "No thread for a job; the card ends");
            std::process::exit(1);
        }
    }

    fn done(&mut self, id: &Id, actual: Box<Actual>) {
        self.jobs = self.jobs.saturating_sub(1);
        self.adopt_some();
        self.holders.retain(|_, holder| holder != id);
        for interface in actual.interfaces.keys() {
            self.holders.insert(interface.clone(), id.clone());
        }
        let slot = self.slots.entry(id.clone()).or_default();
        if std::mem::take(&mut slot.repeat) {
            actual.repeat(id, &self.tools.outbox);
        }
        slot.actual = Some(actual);
        slot.mark_broken();
        self.reconcile(id);
        let waiting: Vec<Id> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.actual.as_ref().is_some_and(|a| !a.waiting.is_empty()))
            .map(|(id, _)| id.clone())
            .collect();
        for id in waiting {
            self.reconcile(&id);
        }
        while self.jobs < JOBS_MAX
            && let Some(id) = self.queue.pop_front()
        {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.is_queued = false;
            }
            self.reconcile(&id);
        }
    }

    fn ended(&mut self, id: &Id, incarnation: Incarnation) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.ended = Some(incarnation);
            slot.settled = None;
            self.reconcile(id);
        }
    }

    /// A port broke: its interface is attached again at the next comparison, which is now.
    fn broken(&mut self, interface: Id) {
        let Some(holder) = self.holders.get(&interface).cloned() else {
            return;
        };
        let Some(slot) = self.slots.get_mut(&holder) else {
            return;
        };
        slot.settled = None;
        slot.broken.insert(interface);
        slot.mark_broken();
        self.reconcile(&holder);
    }

    fn inspect(&self) -> serde_json::Value {
        let instances: BTreeMap<&str, serde_json::Value> = self
            .slots
            .iter()
            .map(|(id, slot)| (&**id, slot.inspect()))
            .collect();
        serde_json::json!({
            "backend": self.tools.backend.kind(),
            "revision": self.desired.tables.revision,
            "jobs": self.jobs,
            "queued_jobs": self.queue.len(),
            "instances": instances,
        })
    }
}

impl Slot {
    /// Interfaces whose port broke are to be attached anew.
    fn mark_broken(&mut self) {
        let Some(actual) = &mut self.actual else { return };
        for interface in std::mem::take(&mut self.broken) {
            if let Some(attached) = actual.interfaces.get_mut(&interface) {
                attached.port = None;
            }
        }
    }

    fn inspect(&self) -> serde_json::Value {
        let Some(actual) = &self.actual else {
            let mut lent = self.lent.clone();
            lent["busy"] = true.into();
            return lent;
        };
        let interfaces: BTreeMap<&str, serde_json::Value> = actual
            .interfaces
            .iter()
            .map(|(id, attached)| {
                let value = serde_json::json!({
                    "device_index": attached.spec.device_index,
                    "port": attached.port,
                    "ipv4": attached.spec.ipv4,
                    "ipv6": attached.spec.ipv6,
                });
                (&**id, value)
            })
            .collect();
        serde_json::json!({
            "busy": false,
            "pid": actual.instance.as_ref().map(|instance| instance.pid()),
            "report": actual.report,
            "interfaces": interfaces,
            "waiting": actual.waiting,
            "handle": actual.instance.as_ref().map(|instance| instance.record()),
        })
    }
}

/// The interfaces of the spec that another instance still has.
fn held_elsewhere(holders: &HashMap<Id, Id>, id: &Id, spec: &InstanceSpec) -> BTreeSet<Id> {
    spec.interfaces
        .iter()
        .filter(|interface| holders.get(&interface.id).is_some_and(|holder| holder != id))
        .map(|interface| interface.id.clone())
        .collect()
}
