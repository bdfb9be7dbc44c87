//! A card of its own for one test, and a small VPC for it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use trinic::framing;
use trinic::protocol::{
    Backend, FromCard, InstanceKind, InstanceReport, InstanceSpec, InterfaceReport, InterfaceSpec, Query,
    ToCard,
};
use trinic_linklocal::metadata::{InstanceMetadata, InterfaceMetadata, MetadataOptions};
use trinic_switch::tables::{
    Delta, Entry, Id, Interface, PublicAddress, Revision, Route, RouteTable, Rule, RulePeer, RuleProtocol,
    SecurityGroup, Subnet, Tables, Target, TrackingTimeouts, Vpc,
};

/// How long anything may take before the test fails.
const LIMIT: Duration = Duration::from_secs(15);

/// What this machine lacks for namespace instances and their traffic; `None` when nothing.
pub(crate) fn missing() -> Option<String> {
    for tool in ["ping", "nsenter"] {
        let found = Command::new(tool)
            .arg("-V")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            return Some(format!("there is no {tool}"));
        }
    }
    let card = match Card::start() {
        Ok(card) => card,
        Err(reason) => return Some(reason),
    };
    (card.backend != Backend::Namespace).then(|| "this host allows no namespace instances".to_owned())
}

/// A trial that is ignored, with the reason, where something is missing.
pub(crate) fn trial(name: &str, missing: Option<&str>, test: fn()) -> Trial {
    let trial = Trial::test(name, move || {
        std::panic::catch_unwind(test).map_err(|payload| {
            let text = payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Failed::from(text.unwrap_or_else(|| "panicked".into()))
        })
    });
    match missing {
        Some(reason) => trial.with_ignored_flag(true).with_kind(format!("SKIP: {reason}")),
        None => trial,
    }
}

/// A running card and the test's connection to it, as control's.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) process: Child,
    pub(crate) state: tempfile::TempDir,
    pub(crate) backend: Backend,
    wanted: Option<&'static str>,
    stream: UnixStream,
    /// What control would keep.
    pub(crate) tables: Tables,
    pub(crate) specs: BTreeMap<Id, InstanceSpec>,
    /// Reports that came and were not asked for yet.
    pub(crate) instances: BTreeMap<Id, InstanceReport>,
    pub(crate) interfaces: BTreeMap<Id, InterfaceReport>,
    answers: BTreeMap<u64, Result<serde_json::Value, String>>,
    asked: u64,
    pub(crate) applied: Revision,
}

impl Card {
    /// Starts a card on a new state directory.
    pub(crate) fn start() -> Result<Self, String> {
        Self::start_on(None)
    }

    /// As [`Self::start`], on a backend that is named.
    pub(crate) fn start_on(wanted: Option<&'static str>) -> Result<Self, String> {
        Self::start_in(Path::new("/tmp"), wanted)
    }

    /// As [`Self::start_on`], with the state directory below another one than /tmp, which instances have for
    /// themselves.
    pub(crate) fn start_in(parent: &Path, wanted: Option<&'static str>) -> Result<Self, String> {
        let state = tempfile::Builder::new()
            .prefix("tc")
            .tempdir_in(parent)
            .map_err(|e| e.to_string())?;
        let mut process = spawn(state.path(), wanted);
        let (stream, backend) = match connect(state.path()) {
            Ok(connected) => connected,
            Err(reason) => {
                // It may have ended by itself already.
                let _ = process.kill();
                let _ = process.wait();
                return Err(reason);
            }
        };
        Ok(Self {
            process,
            state,
            backend,
            wanted,
            stream,
            tables: Tables::default(),
            specs: BTreeMap::new(),
            instances: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            answers: BTreeMap::new(),
            asked: 0,
            applied: Revision(0),
        })
    }

    /// Kills the card as `kill -9` does and starts another one on the same directory, without control.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(self.state.path(), self.wanted);
    }

    /// Connects again, as a new control does, and says everything again.
    pub(crate) fn reconnect(&mut self) {
        (self.stream, self.backend) = connect(self.state.path()).unwrap();
        self.instances.clear();
        self.interfaces.clear();
        self.snapshot();
    }

    pub(crate) fn send(&mut self, message: &ToCard) {
        framing::write(&mut self.stream, message).unwrap();
    }

    /// Says everything.
    pub(crate) fn snapshot(&mut self) {
        let message = ToCard::Snapshot {
            tables: self.tables.clone(),
            instances: self.specs.clone(),
            stopped: Vec::new(),
        };
        self.send(&message);
        let revision = self.tables.revision;
        self.until("the snapshot is applied", |card| card.applied == revision);
    }

    /// Says what changed, in one update; waits until the tables are in force.
    pub(crate) fn update(&mut self, entries: Vec<Entry>, specs: Vec<InstanceSpec>, remove: &[&str]) {
        let delta = Delta {
            from: self.tables.revision,
            to: Revision(self.tables.revision.0 + 1),
            upsert: entries,
            remove: Vec::new(),
        };
        self.tables.apply(delta.clone()).unwrap();
        for spec in &specs {
            self.specs.insert(spec.id.clone(), spec.clone());
        }
        for id in remove {
            self.specs.remove(*id);
        }
        let message = ToCard::Update {
            delta,
            instances: specs,
            remove_instances: remove.iter().map(|id| Id::from(*id)).collect(),
            terminated: Vec::new(),
        };
        self.send(&message);
        let revision = self.tables.revision;
        self.until("the update is applied", |card| card.applied == revision);
    }

    /// Asks the card.
    pub(crate) fn ask(&mut self, query: Query) -> serde_json::Value {
        self.asked += 1;
        let number = self.asked;
        self.send(&ToCard::Ask { number, query });
        self.until("the question is answered", |card| {
            card.answers.contains_key(&number)
        });
        self.answers.remove(&number).unwrap().unwrap()
    }

    /// Drops that the interface counted for this reason.
    pub(crate) fn drops(&mut self, interface: &str, reason: &str) -> u64 {
        let stats = self.ask(Query::Stats {
            interface: Some(interface.into()),
        });
        stats["drops"][reason].as_u64().unwrap_or(0)
    }

    /// Reads reports until `condition` holds.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        self.stream.set_read_timeout(Some(LIMIT)).unwrap();
        while !condition(self) {
            assert!(
                Instant::now() < deadline,
                "{what} did not come true: {}",
                self.log()
            );
            let message = framing::read::<FromCard>(&mut self.stream);
            match message {
                Ok(Some(message)) => self.take(message),
                other => panic!(
                    "{what} did not come true, the card said {other:?}: {}",
                    self.log()
                ),
            }
        }
    }

    fn take(&mut self, message: FromCard) {
        match message {
            FromCard::Applied { revision } => self.applied = revision,
            FromCard::Instance { id, report } => {
                self.instances.insert(id, report);
            }
            FromCard::Interface { id, report } => {
                self.interfaces.insert(id, report);
            }
            FromCard::Answer { number, answer } => {
                self.answers.insert(number, answer);
            }
            FromCard::Hello { .. } => panic!("a second hello"),
        }
    }

    /// Waits until the instance runs; its process id.
    pub(crate) fn running(&mut self, id: &str) -> u32 {
        self.until("the instance runs", |card| card.instances.contains_key(id));
        match &self.instances[id] {
            InstanceReport::Running { pid } => *pid,
            other => panic!("{id}: {other:?}: {}", self.log()),
        }
    }

    /// The process id of the internet's init.
    pub(crate) fn internet(&mut self) -> u32 {
        let deadline = Instant::now() + LIMIT;
        loop {
            let inspect = self.ask(Query::Inspect);
            let internet = &inspect["instances"]["internet"];
            if internet["report"]["Running"].is_object() {
                return u32::try_from(internet["pid"].as_u64().unwrap()).unwrap();
            }
            assert!(Instant::now() < deadline, "no internet: {inspect}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("test.log")).unwrap_or_default()
    }

    /// Ends everything and waits for the card to be gone; whether it ended by itself.
    pub(crate) fn shutdown(&mut self) {
        self.send(&ToCard::Shutdown { stop_instances: true });
        let deadline = Instant::now() + LIMIT;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the card does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Card {
    /// Whatever the test did, nothing of it stays.
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        let shutdown = ToCard::Shutdown { stop_instances: true };
        let asked = connect(self.state.path())
            .is_ok_and(|(mut stream, _)| framing::write(&mut stream, &shutdown).is_ok());
        let deadline = Instant::now() + LIMIT;
        while asked && Instant::now() < deadline {
            if self.process.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(state: &Path, backend: Option<&str>) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(state.join("test.log"))
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trinic"));
    if let Some(backend) = backend {
        command.env("TRINIC_BACKEND", backend);
    }
    command
        .arg("--state")
        .arg(state)
        .arg("datapath")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn connect(state: &Path) -> Result<(UnixStream, Backend), String> {
    let deadline = Instant::now() + LIMIT;
    let path = state.join("card.sock");
    loop {
        if let Ok(mut stream) = UnixStream::connect(&path)
            && let Ok(Some(FromCard::Hello { backend, .. })) = framing::read::<FromCard>(&mut stream)
        {
            return Ok((stream, backend));
        }
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(state.join("test.log")).unwrap_or_default();
            return Err(format!("the card does not start: {log}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command in the network namespace of a process of the card.
pub(crate) fn inside(pid: u32, command: &[&str]) -> Output {
    entered(pid, command).output().unwrap()
}

/// A command that runs in the network namespace of a process of the card.
pub(crate) fn entered(pid: u32, command: &[&str]) -> Command {
    let mut enter = Command::new("nsenter");
    enter.args(["--preserve-credentials", "-t", &pid.to_string()]);
    if !rustix::process::geteuid().is_root() {
        enter.arg("-U");
    }
    enter.arg("-n").args(command);
    enter
}

/// A command that runs as a process of the instance, with its view of the files and of the processes.
pub(crate) fn as_one_of(pid: u32, command: &[&str]) -> Command {
    let mut enter = Command::new("nsenter");
    enter.args(["--preserve-credentials", "-t", &pid.to_string()]);
    enter.args(["-U", "-m", "-n", "-p"]);
    enter.args(command);
    enter
}

/// One ping, answered within a second.
pub(crate) fn pings(pid: u32, address: &str) -> bool {
    inside(pid, &["ping", "-c", "1", "-W", "1", "-n", address])
        .status
        .success()
}

/// The VPC of the tests: 10.0.0.0/16 with one subnet 10.0.0.0/24, an internet gateway, and a security
/// group that lets nothing in.
pub(crate) fn network() -> Vec<Entry> {
    vec![
        Entry::Vpc(Vpc {
            id: "vpc-1".into(),
            ipv4: vec!["10.0.0.0/16".parse().unwrap()],
            ipv6: vec!["2001:db8:1::/56".parse().unwrap()],
            dns_support: true,
        }),
        Entry::Subnet(Subnet {
            id: "subnet-1".into(),
            vpc_id: "vpc-1".into(),
            ipv4: Some("10.0.0.0/24".parse().unwrap()),
            ipv6: Some("2001:db8:1::/64".parse().unwrap()),
            route_table_id: "rtb-1".into(),
        }),
        Entry::RouteTable(RouteTable {
            id: "rtb-1".into(),
            vpc_id: "vpc-1".into(),
            routes: vec![
                Route {
                    destination: "10.0.0.0/16".parse().unwrap(),
                    target: Target::Local,
                },
                Route {
                    destination: "2001:db8:1::/56".parse().unwrap(),
                    target: Target::Local,
                },
                Route {
                    destination: "0.0.0.0/0".parse().unwrap(),
                    target: Target::InternetGateway("igw-1".into()),
                },
            ],
        }),
        group(&[]),
    ]
}

/// The security group, with all outbound traffic allowed and these protocols inbound.
pub(crate) fn group(inbound: &[RuleProtocol]) -> Entry {
    let everywhere = || ["0.0.0.0/0", "::/0"].map(|net| RulePeer::Cidr(net.parse().unwrap()));
    let rules = |prefix: &str, protocols: &[RuleProtocol]| {
        protocols
            .iter()
            .flat_map(|protocol| everywhere().map(|peer| (*protocol, peer)))
            .enumerate()
            .map(|(index, (protocol, peer))| Rule {
                id: format!("sgr-{prefix}{index}").into(),
                protocol,
                from_port: -1,
                to_port: -1,
                peer,
            })
            .collect()
    };
    Entry::SecurityGroup(SecurityGroup {
        id: "sg-1".into(),
        vpc_id: "vpc-1".into(),
        inbound: rules("in", inbound),
        outbound: rules("out", &[RuleProtocol::Any]),
    })
}

/// The interface `eni-N` with the address 10.0.0.N (and 2001:db8:1::N), attached to the instance.
pub(crate) fn interface(n: u8, instance: Option<&str>) -> Interface {
    Interface {
        id: format!("eni-{n}").into(),
        vpc_id: "vpc-1".into(),
        subnet_id: "subnet-1".into(),
        mac: [2, 0, 0, 0, 0, n],
        ipv4: vec![Ipv4Addr::new(10, 0, 0, n)],
        ipv6: vec![format!("2001:db8:1::{n:x}").parse().unwrap()],
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        groups: vec!["sg-1".into()],
        source_dest_check: true,
        public: vec![PublicAddress {
            private: Ipv4Addr::new(10, 0, 0, n),
            public: Ipv4Addr::new(198, 18, 0, n),
        }],
        timeouts: TrackingTimeouts::default(),
        allowances: None,
        instance_id: instance.map(Into::into),
    }
}

/// The same interface as the instance is told of it.
pub(crate) fn function(n: u8, device_index: u32) -> InterfaceSpec {
    let interface = interface(n, None);
    InterfaceSpec {
        id: interface.id,
        device_index,
        mac: interface.mac,
        mtu: 9001,
        ipv4: interface.ipv4,
        ipv4_prefix_len: 24,
        ipv4_router: Some(Ipv4Addr::new(10, 0, 0, 1)),
        ipv6: interface.ipv6,
        dns: vec![Ipv4Addr::new(10, 0, 0, 2).into()],
        domain: "ec2.internal".into(),
        network_card_index: 0,
        ena: false,
        ena_queue_pairs: 0,
        function: trinic::protocol::FunctionKind::Tap,
    }
}

/// An instance with these interfaces, by device index.
pub(crate) fn instance(id: &str, interfaces: &[u8]) -> InstanceSpec {
    let functions: Vec<InterfaceSpec> = interfaces
        .iter()
        .zip(0..)
        .map(|(n, index)| function(*n, index))
        .collect();
    InstanceSpec {
        id: id.into(),
        hostname: format!("host-{id}"),
        kind: InstanceKind::Managed,
        user_data: None,
        reboots: 0,
        vcpus: 2,
        memory_mib: 1024,
        vm: None,
        metadata: metadata(id, &functions),
        interfaces: functions,
    }
}

fn metadata(id: &str, functions: &[InterfaceSpec]) -> InstanceMetadata {
    InstanceMetadata {
        instance_id: id.to_owned(),
        ami_id: "ami-1".into(),
        ami_launch_index: 0,
        instance_type: "t3.micro".into(),
        reservation_id: "r-1".into(),
        account_id: "000000000000".into(),
        region: "us-east-1".into(),
        availability_zone: "us-east-1a".into(),
        availability_zone_id: "use1-az1".into(),
        architecture: "x86_64".into(),
        local_hostname: format!("{id}.ec2.internal"),
        public_hostname: None,
        key: None,
        user_data: None,
        launch_time: "2026-11-23T00:00:00Z".into(),
        tags: BTreeMap::new(),
        options: MetadataOptions::default(),
        interfaces: functions.iter().map(interface_metadata).collect(),
    }
}

fn interface_metadata(function: &InterfaceSpec) -> InterfaceMetadata {
    InterfaceMetadata {
        interface_id: function.id.to_string(),
        mac: function.mac,
        device_number: function.device_index,
        network_card: 0,
        owner_id: "000000000000".into(),
        local_ipv4s: function.ipv4.clone(),
        public_ipv4s: Vec::new(),
        ipv6s: function.ipv6.clone(),
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        local_hostname: "ip.ec2.internal".into(),
        public_hostname: None,
        security_groups: vec!["default".into()],
        security_group_ids: vec!["sg-1".into()],
        subnet_id: "subnet-1".into(),
        subnet_ipv4_cidr: Some("10.0.0.0/24".parse().unwrap()),
        subnet_ipv6_cidrs: Vec::new(),
        vpc_id: "vpc-1".into(),
        vpc_ipv4_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
        vpc_ipv6_cidrs: Vec::new(),
    }
}

/// A card with the network and one instance per entry, all running; their process ids.
pub(crate) fn card_with(instances: &[(&str, &[u8])], inbound: &[RuleProtocol]) -> (Card, Vec<u32>) {
    fill(Card::start().unwrap(), instances, inbound)
}

/// Gives a card the network and these instances.
pub(crate) fn fill(
    mut card: Card,
    instances: &[(&str, &[u8])],
    inbound: &[RuleProtocol],
) -> (Card, Vec<u32>) {
    let mut entries = network();
    entries.push(group(inbound));
    for (id, interfaces) in instances {
        entries.extend(
            interfaces
                .iter()
                .map(|n| Entry::Interface(interface(*n, Some(id)))),
        );
    }
    card.tables.revision = Revision(1);
    card.tables.entries = entries
        .into_iter()
        .map(|entry| (entry.id().clone(), entry))
        .collect();
    card.specs = instances
        .iter()
        .map(|(id, interfaces)| (Id::from(*id), instance(id, interfaces)))
        .collect();
    card.snapshot();
    let pids = instances.iter().map(|(id, _)| card.running(id)).collect();
    (card, pids)
}
