//! One instance from what it is to what it should be: the work of a short-lived thread.
//!
//! The reconciler hands the instance over, the job compares and changes it step by step, reports each step
//! to control, and hands it back. One job at a time has an instance, so nothing here is locked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trinic_switch::PortId;
use trinic_switch::tables::Id;

use crate::protocol::{FromCard, InstanceKind, InstanceReport, InstanceSpec, InterfaceReport, InterfaceSpec};

use super::INTERNET;
use super::backend::{Backend, Instance};
use super::ena::Functions;
use super::record::{Record, Records};
use super::services::Published;
use super::session::Outbox;
use super::vm::Volumes;
use super::watch::{Incarnation, Watch};
use super::worker::Handle;

/// What every job works with.
#[derive(Debug)]
pub struct Tools {
    /// Makes instances.
    pub backend: Box<dyn Backend>,
    /// Their ENA functions.
    pub functions: Functions,
    /// The datapath.
    pub worker: Handle,
    /// Where reports go.
    pub outbox: Outbox,
    /// What the next card process needs.
    pub records: Records,
    /// Disks of virtual machines.
    pub volumes: Volumes,
    /// Notices ends.
    pub watch: Watch,
    /// The next life's number.
    pub incarnations: AtomicU64,
}

/// An instance as it is.
#[derive(Debug, Default)]
pub struct Actual {
    /// It, when it is there.
    pub instance: Option<Box<dyn Instance>>,
    /// Which life it is in.
    pub incarnation: Incarnation,
    /// What it was last brought to.
    pub spec: Option<Arc<InstanceSpec>>,
    /// Its interfaces.
    pub interfaces: BTreeMap<Id, Attached>,
    /// Interfaces that could not be attached yet, because another instance still had them.
    pub waiting: BTreeSet<Id>,
    /// What was last reported of it.
    pub report: Option<InstanceReport>,
    /// What was last reported of its interfaces.
    pub interface_reports: BTreeMap<Id, InterfaceReport>,
}

/// An interface that is in an instance.
#[derive(Debug)]
pub struct Attached {
    /// As configured.
    pub spec: InterfaceSpec,
    /// Where it is plugged in; `None` after its port broke.
    pub port: Option<PortId>,
}

/// What a job is to do.
#[derive(Debug)]
pub struct Job {
    /// What it works with.
    pub tools: Arc<Tools>,
    /// The instance.
    pub id: Id,
    /// As it is.
    pub actual: Actual,
    /// The task.
    pub task: Task,
}

/// The kinds of jobs.
#[derive(Debug)]
pub enum Task {
    /// Bring it to this; the interfaces of the set belong to another instance at the moment.
    Bring(Arc<InstanceSpec>, BTreeSet<Id>),
    /// Take over what an earlier card process left.
    Adopt(Box<Record>),
    /// Its init has ended: clear up, and leave it ended.
    Ended,
    /// Remove it.
    Remove,
}

impl Job {
    /// Does the work; the result is what the instance is now.
    pub fn run(mut self) -> Actual {
        match std::mem::replace(&mut self.task, Task::Remove) {
            Task::Bring(spec, held) => self.bring(&spec, &held),
            Task::Adopt(record) => self.adopt(*record),
            Task::Ended => self.ended(),
            Task::Remove => self.remove(),
        }
        self.actual
    }

    fn bring(&mut self, spec: &Arc<InstanceSpec>, held: &BTreeSet<Id>) {
        let is_reboot = self.is_reboot(spec);
        if is_reboot && !self.reboots_in_place() {
            self.dismantle();
        }
        let is_new = self.actual.instance.is_none();
        self.actual.spec = Some(spec.clone());
        if is_new && !self.start(spec, is_reboot) {
            return;
        }
        let wanted: BTreeMap<&Id, &InterfaceSpec> = spec.interfaces.iter().map(|i| (&i.id, i)).collect();
        let obsolete: Vec<Id> = self
            .actual
            .interfaces
            .iter()
            .filter(|(id, attached)| wanted.get(id).is_none_or(|new| !attached.can_become(new)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in obsolete {
            self.detach(&id);
        }
        self.actual.waiting = held.clone();
        for interface in &spec.interfaces {
            self.publish(spec, interface);
            if self.actual.interfaces.contains_key(&interface.id) {
                self.configure(interface);
            } else if !held.contains(&interface.id) {
                self.attach(interface);
            }
        }
        self.keep();
        if is_new {
            self.ready();
        }
    }

    /// Whether it runs and was told to reboot since. A namespace of the user's own is not ours to restart.
    fn is_reboot(&self, spec: &InstanceSpec) -> bool {
        let before = self
            .actual
            .spec
            .as_ref()
            .filter(|_| self.actual.instance.is_some());
        spec.kind == InstanceKind::Managed && before.is_some_and(|before| before.reboots != spec.reboots)
    }

    /// Whether the instance could be rebooted as it is.
    fn reboots_in_place(&mut self) -> bool {
        let Some(instance) = self.actual.instance.as_mut() else {
            return false;
        };
        instance.reboot().unwrap_or_else(|error| {
            tracing::warn!(instance = %self.id, %error, "It is ended and started anew instead");
            false
        })
    }

    /// Starts it without interfaces; `false` when that failed. User data is for the first boot only.
    fn start(&mut self, spec: &InstanceSpec, is_reboot: bool) -> bool {
        let mut spec = spec.clone();
        if is_reboot {
            spec.user_data = None;
        }
        match self.tools.backend.start(&spec) {
            Ok(instance) => {
                self.took_hold(instance);
                true
            }
            Err(error) => {
                self.report(InstanceReport::Failed {
                    reason: sentence(&error),
                });
                false
            }
        }
    }

    /// The instance is there: its end is noticed from now on.
    fn took_hold(&mut self, instance: Box<dyn Instance>) {
        self.actual.incarnation = self.tools.incarnations.fetch_add(1, Ordering::Relaxed);
        if let Some(fd) = instance.ended()
            && let Err(error) = self.tools.watch.add(self.id.clone(), self.actual.incarnation, fd)
        {
            tracing::warn!(instance = %self.id, %error, "The end of an instance will not be noticed");
        }
        self.actual.instance = Some(instance);
    }

    /// The user's part may begin; it runs.
    fn ready(&mut self) {
        let Some(instance) = self.actual.instance.as_mut() else {
            return;
        };
        let report = match instance.ready() {
            Ok(()) => InstanceReport::Running { pid: instance.pid() },
            Err(error) => InstanceReport::Failed {
                reason: sentence(&error),
            },
        };
        self.report(report);
    }

    fn attach(&mut self, interface: &InterfaceSpec) {
        let report = match self.try_attach(interface) {
            Ok(()) => InterfaceReport::Attached {
                instance_id: self.id.clone(),
            },
            Err(error) => InterfaceReport::Failed {
                reason: sentence(&error),
            },
        };
        self.report_interface(&interface.id, report);
    }

    fn try_attach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        let Some(instance) = self.actual.instance.as_mut() else {
            anyhow::bail!("Instance {} is not there", self.id);
        };
        let port = instance.attach(interface)?;
        match self.tools.worker.connect(plug_of(interface), port) {
            Ok(port) => {
                let attached = Attached {
                    spec: interface.clone(),
                    port: Some(port),
                };
                self.actual.interfaces.insert(interface.id.clone(), attached);
                let activated = instance.activate(interface);
                if activated.is_err() {
                    self.detach(&interface.id);
                }
                activated
            }
            Err(error) => {
                instance.detach(interface)?;
                Err(error)
            }
        }
    }

    fn detach(&mut self, id: &Id) {
        let Some(attached) = self.actual.interfaces.remove(id) else {
            return;
        };
        self.unplug(&attached);
        let result = match self.actual.instance.as_mut() {
            Some(instance) => instance.detach(&attached.spec),
            None => Ok(()),
        };
        if let Err(error) = result {
            // Its port is closed, so nothing passes; what stays in the instance is a dead device.
            tracing::warn!(instance = %self.id, interface = %id, %error, "A function stays in its instance");
        }
        self.report_interface(id, InterfaceReport::Detached);
        self.actual.interface_reports.remove(id);
    }

    fn unplug(&self, attached: &Attached) {
        if let Some(port) = attached.port
            && let Err(error) = self.tools.worker.disconnect(port)
        {
            tracing::error!(%error, "A port could not be unplugged");
        }
    }

    fn configure(&mut self, interface: &InterfaceSpec) {
        let Self { actual, .. } = self;
        let (Some(instance), Some(attached)) =
            (actual.instance.as_mut(), actual.interfaces.get_mut(&interface.id))
        else {
            return;
        };
        if attached.spec == *interface {
            return;
        }
        let report = match instance.configure(&attached.spec, interface) {
            Ok(()) => InterfaceReport::Attached {
                instance_id: self.id.clone(),
            },
            Err(error) => InterfaceReport::Failed {
                reason: sentence(&error),
            },
        };
        attached.spec = interface.clone();
        self.report_interface(&interface.id, report);
    }

    /// Tells the link-local services what to answer on this interface.
    fn publish(&self, spec: &InstanceSpec, interface: &InterfaceSpec) {
        if &*self.id == INTERNET {
            return;
        }
        let id = interface.id.clone();
        let published = Published::new(spec, interface);
        if let Err(error) = self
            .tools
            .worker
            .visit(move |visit| visit.services.publish(id, published))
        {
            tracing::error!(%error, "Services of an interface are not up to date");
        }
    }

    fn adopt(&mut self, record: Record) {
        let spec = Arc::new(record.spec);
        let instance = match self.tools.backend.adopt(&spec, &record.backend) {
            Ok(instance) => instance,
            Err(error) => {
                tracing::warn!(instance = %self.id, %error, "Not adopted: it will be made again");
                self.tools.backend.sweep(&record.backend);
                self.forget();
                return;
            }
        };
        self.took_hold(instance);
        self.actual.spec = Some(spec.clone());
        for (id, interface) in &record.interfaces {
            self.publish(&spec, interface);
            if let Err(error) = self.reattach(interface) {
                // The next comparison with what is wanted attaches it again.
                tracing::warn!(interface = %id, %error, "Function not adopted: it will be made again");
                self.actual.spec = None;
            }
        }
        let pid = self.actual.instance.as_ref().map_or(0, |instance| instance.pid());
        self.report(InstanceReport::Running { pid });
    }

    /// Attaching is the same steps over what is there.
    fn reattach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        self.try_attach(interface)?;
        let report = InterfaceReport::Attached {
            instance_id: self.id.clone(),
        };
        self.report_interface(&interface.id, report);
        Ok(())
    }

    fn ended(&mut self) {
        self.dismantle();
        self.report(InstanceReport::Exited {
            reason: "Its init has ended".into(),
        });
    }

    fn remove(&mut self) {
        self.dismantle();
        self.report(InstanceReport::Gone);
        self.actual = Actual::default();
    }

    /// Takes it and its interfaces away.
    fn dismantle(&mut self) {
        self.tools.watch.remove(self.actual.incarnation);
        for attached in self.actual.interfaces.values() {
            self.unplug(attached);
        }
        if let Some(instance) = self.actual.instance.take()
            && let Err(error) = instance.stop()
        {
            tracing::error!(instance = %self.id, %error, "Something of an instance remains");
        }
        for id in std::mem::take(&mut self.actual.interfaces).into_keys() {
            // Its ENA function, where it was one, with the socket and the thread.
            self.tools.functions.close(&id);
            self.report_interface(&id, InterfaceReport::Detached);
        }
        self.actual.interface_reports.clear();
        self.actual.waiting.clear();
        self.forget();
    }

    fn keep(&self) {
        let (Some(spec), Some(instance)) = (&self.actual.spec, &self.actual.instance) else {
            return;
        };
        let interfaces = self
            .actual
            .interfaces
            .iter()
            .map(|(id, attached)| (id.clone(), attached.spec.clone()))
            .collect();
        if let Err(error) = self.tools.records.keep(spec, &interfaces, instance.record()) {
            tracing::error!(instance = %self.id, %error, "A restarted card will not adopt this instance");
        }
    }

    fn forget(&self) {
        if let Err(error) = self.tools.records.forget(&self.id) {
            tracing::error!(instance = %self.id, %error, "A record could not be removed");
        }
    }

    fn report(&mut self, report: InstanceReport) {
        self.actual.report = Some(report.clone());
        send_instance(&self.tools.outbox, &self.id, report);
    }

    fn report_interface(&mut self, interface: &Id, report: InterfaceReport) {
        self.actual
            .interface_reports
            .insert(interface.clone(), report.clone());
        send_interface(&self.tools.outbox, interface, report);
    }
}

impl Actual {
    /// Says again what was last said of it, to a control that is new.
    pub fn repeat(&self, id: &Id, outbox: &Outbox) {
        for (interface, report) in &self.interface_reports {
            send_interface(outbox, interface, report.clone());
        }
        if let Some(report) = &self.report {
            send_instance(outbox, id, report.clone());
        }
    }
}

impl Attached {
    /// Whether the function can be changed to `new` in place; else it is taken out and put in again.
    fn can_become(&self, new: &InterfaceSpec) -> bool {
        let Self { spec, port } = self;
        port.is_some()
            && spec.device_index == new.device_index
            && spec.mac == new.mac
            && spec.function == new.function
            && spec.ena == new.ena
            && spec.ena_queue_pairs == new.ena_queue_pairs
    }
}

/// The internet is the card's own and of no interest to control.
fn send_instance(outbox: &Outbox, id: &Id, report: InstanceReport) {
    if &**id != INTERNET {
        outbox.send(&FromCard::Instance {
            id: id.clone(),
            report,
        });
    }
}

fn send_interface(outbox: &Outbox, id: &Id, report: InterfaceReport) {
    if &**id != INTERNET {
        outbox.send(&FromCard::Interface {
            id: id.clone(),
            report,
        });
    }
}

/// Where the function is plugged in: at an interface, or at the internet.
fn plug_of(interface: &InterfaceSpec) -> Option<Id> {
    (&*interface.id != INTERNET).then(|| interface.id.clone())
}

/// An error and its causes as one sentence.
fn sentence(error: &anyhow::Error) -> String {
    format!("{error:#}")
}
