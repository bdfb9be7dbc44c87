//! The engine without sockets: what the card is told, and what a failing store costs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use trinic_store::{MemoryStore, Revision, Snapshot, Store, StoreError, Transaction, Watch};
use trinic_switch::tables::{Id, Tables};
use trinic_vpc::command::Command;
use trinic_vpc::reply::Reply;
use trinic_vpc::{CardReport, Ec2Error, ErrorCode, Scope};

use super::engine::{Engine, Rules};
use super::external::{Attach, Place};
use super::storage;
use crate::protocol::{InstanceKind, InstanceSpec, ToCard};

/// A store that outlives its engine, and fails when told to.
#[derive(Debug, Clone, Default)]
struct TestStore {
    memory: Arc<MemoryStore>,
    fails: Arc<AtomicBool>,
}

impl Store for TestStore {
    fn commit(&self, transaction: &Transaction) -> Result<Revision, StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Damaged {
                what: "the test says so",
            });
        }
        self.memory.commit(transaction)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.memory.snapshot()
    }

    fn watch(&self, from: Revision) -> Result<Watch, StoreError> {
        self.memory.watch(from)
    }

    fn compact(&self, through: Revision) -> Result<(), StoreError> {
        self.memory.compact(through)
    }
}

fn engine(store: &TestStore) -> Engine {
    Engine::start(
        Box::new(store.clone()),
        StdRng::seed_from_u64(1),
        Rules::default(),
    )
    .unwrap()
}

fn command(action: &str, members: Value) -> Command {
    serde_json::from_value(json!({ action: members })).unwrap()
}

async fn call(engine: &Engine, action: &str, members: Value) -> Result<Reply, Ec2Error> {
    engine
        .call(Scope::default(), command(action, members))
        .await
        .unwrap()
}

async fn launch(engine: &Engine) -> Result<Reply, Ec2Error> {
    let members = json!({ "ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1 });
    call(engine, "RunInstances", members).await
}

/// What a card would know.
#[derive(Debug, Default, PartialEq)]
struct Card {
    tables: Tables,
    instances: BTreeMap<Id, InstanceSpec>,
}

impl Card {
    /// Takes what has come; panics on an update that does not apply.
    fn take(&mut self, messages: &mut Receiver<ToCard>) {
        while let Ok(message) = messages.try_recv() {
            match message {
                ToCard::Snapshot {
                    tables, instances, ..
                } => *self = Self { tables, instances },
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
                        self.instances.remove(&id).unwrap();
                    }
                }
                other => panic!("not for a card that only listens: {other:?}"),
            }
        }
    }

    /// What a card is told that connects now.
    async fn fresh(engine: &Engine) -> Self {
        let mut messages = engine.subscribe().await.unwrap().updates;
        // A request after the subscription is answered after the snapshot was sent.
        engine.read(|_| ()).await.unwrap();
        let mut card = Self::default();
        card.take(&mut messages);
        card
    }
}

/// Ids of everything of a kind.
async fn ids(engine: &Engine, kind: &'static str) -> Vec<String> {
    let read = move |loaded: &storage::Loaded| {
        let keys = loaded.model.resources().map(|(key, _)| key.id);
        keys.filter(|id| id.kind().as_str() == kind)
            .map(|id| id.to_string())
            .collect()
    };
    engine.read(read).await.unwrap()
}

/// A call or a report, drawn from those that change what a card is told.
async fn step(engine: &Engine, rng: &mut StdRng) {
    let instances = ids(engine, "instance").await;
    let interfaces = ids(engine, "network-interface").await;
    let groups = ids(engine, "security-group").await;
    let vpcs = ids(engine, "vpc").await;
    let subnets = ids(engine, "subnet").await;
    let addresses = ids(engine, "elastic-ip").await;
    let mut pick = |from: &[String]| from.choose(rng).cloned().unwrap_or_else(|| "none".into());
    let (instance, interface, group) = (pick(&instances), pick(&interfaces), pick(&groups));
    let (vpc, subnet, address) = (pick(&vpcs), pick(&subnets), pick(&addresses));
    let number = rng.random_range(2..6);
    let name = format!("g{}", rng.next_u32());
    let port = json!([{ "IpProtocol": "tcp", "FromPort": number, "ToPort": number,
        "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }]);
    let is_on = json!({ "Value": rng.random_bool(0.5) });
    let (action, members) = match rng.random_range(0..17) {
        0 => (
            "RunInstances",
            json!({ "ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1 }),
        ),
        1 => ("TerminateInstances", json!({ "InstanceIds": [instance] })),
        2 => ("StopInstances", json!({ "InstanceIds": [instance] })),
        3 => ("StartInstances", json!({ "InstanceIds": [instance] })),
        4 => ("CreateNetworkInterface", json!({ "SubnetId": subnet })),
        5 => (
            "AttachNetworkInterface",
            json!({ "InstanceId": instance, "NetworkInterfaceId": interface, "DeviceIndex": number }),
        ),
        6 => return detach(engine, &interface, number > 3).await,
        7 => (
            "DeleteNetworkInterface",
            json!({ "NetworkInterfaceId": interface }),
        ),
        8 => (
            "AssignPrivateIpAddresses",
            json!({ "NetworkInterfaceId": interface, "SecondaryPrivateIpAddressCount": 1 }),
        ),
        9 => (
            "ModifyNetworkInterfaceAttribute",
            json!({ "NetworkInterfaceId": interface, "SourceDestCheck": is_on }),
        ),
        10 => (
            "CreateSecurityGroup",
            json!({ "GroupName": name, "Description": "x", "VpcId": vpc }),
        ),
        11 => (
            "AuthorizeSecurityGroupIngress",
            json!({ "GroupId": group, "IpPermissions": port }),
        ),
        12 => (
            "ModifyNetworkInterfaceAttribute",
            json!({ "NetworkInterfaceId": interface, "Groups": [group] }),
        ),
        13 => ("AllocateAddress", json!({})),
        14 => (
            "AssociateAddress",
            json!({ "AllocationId": address, "NetworkInterfaceId": interface }),
        ),
        15 => (
            "ModifyVpcAttribute",
            json!({ "VpcId": vpc, "EnableDnsHostnames": is_on }),
        ),
        _ => return report(engine, rng).await,
    };
    // Many are refused, and a refusal must change nothing.
    let _ = call(engine, action, members).await;
}

async fn detach(engine: &Engine, interface: &str, is_forced: bool) {
    let interface = interface.to_owned();
    let read = move |loaded: &storage::Loaded| {
        let mut all = loaded.model.interfaces().map(|(_, interface)| interface);
        let found = all.find(|candidate| candidate.id.to_string() == interface)?;
        Some(found.attachment.as_ref()?.id.to_string())
    };
    if let Some(attachment) = engine.read(read).await.unwrap() {
        let members = json!({ "AttachmentId": attachment, "Force": is_forced });
        let _ = call(engine, "DetachNetworkInterface", members).await;
    }
}

/// What a card would report by and by, of a random half of everything.
async fn report(engine: &Engine, rng: &mut StdRng) {
    let (ending, detaching, all) = engine
        .read(|loaded| {
            let model = &loaded.model;
            let all: Vec<_> = model.instances().map(|(_, instance)| instance.id).collect();
            (super::touch::ending(model), super::touch::detaching(model), all)
        })
        .await
        .unwrap();
    let gone = ending
        .into_iter()
        .map(|instance_id| CardReport::InstanceGone { instance_id });
    let left = detaching
        .into_iter()
        .map(|(interface_id, instance_id)| CardReport::InterfaceDetached {
            interface_id,
            instance_id,
        });
    let up = all
        .into_iter()
        .map(|instance_id| CardReport::InstanceRunning { instance_id });
    let reports: Vec<_> = gone
        .chain(left)
        .chain(up)
        .filter(|_| rng.random_bool(0.5))
        .collect();
    engine.report(reports).await.unwrap();
}

#[tokio::test]
async fn updates_add_up_to_the_snapshot() {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let store = TestStore::default();
        let engine = engine(&store);
        let mut messages = engine.subscribe().await.unwrap().updates;
        let mut card = Card::default();
        let mut most = 0;
        for n in 0..150 {
            step(&engine, &mut rng).await;
            if n % 10 == 9 {
                engine.read(|_| ()).await.unwrap();
                card.take(&mut messages);
                most = most.max(card.instances.len());
                // Another engine on the same store has only the rows to go by.
                let mut fresh = Card::fresh(&self::engine(&store)).await;
                // A revision that changed nothing for the card is not told.
                assert!(
                    card.tables.revision <= fresh.tables.revision,
                    "seed {seed}, step {n}"
                );
                fresh.tables.revision = card.tables.revision;
                assert_eq!(card, fresh, "seed {seed}, step {n}");
            }
        }
        assert!(most > 0, "seed {seed} launched nothing");
    }
}

#[tokio::test]
async fn a_call_that_is_not_durable_is_refused_and_undone() {
    let store = TestStore::default();
    let engine = engine(&store);
    launch(&engine).await.unwrap();
    let before = Card::fresh(&engine).await;
    let mut messages = engine.subscribe().await.unwrap().updates;
    store.fails.store(true, Ordering::Relaxed);
    let error = launch(&engine).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InternalError);
    store.fails.store(false, Ordering::Relaxed);
    assert_eq!(ids(&engine, "instance").await.len(), 1);
    assert_eq!(Card::fresh(&engine).await, before);
    // Who listened gets a snapshot by a new subscription, never the lost call.
    let mut card = Card::default();
    card.take(&mut messages);
    assert_eq!(card, before);
    assert!(messages.recv().await.is_none());
    launch(&engine).await.unwrap();
    assert_eq!(ids(&engine, "instance").await.len(), 2);
}

#[tokio::test]
async fn a_reply_waits_for_the_cards_tables_and_holds_up_no_other_call() {
    let store = TestStore::default();
    let engine = engine(&store);
    call(&engine, "DescribeVpcs", json!({})).await.unwrap();
    let group = ids(&engine, "security-group").await.remove(0);
    let mut card = engine.subscribe().await.unwrap();
    let ToCard::Snapshot { tables, .. } = card.updates.recv().await.unwrap() else {
        panic!("the first message is no snapshot");
    };
    card.acknowledged.advance(tables.revision);
    let authorize = {
        let (engine, group) = (engine.clone(), group.clone());
        tokio::spawn(async move {
            let ping = json!([{ "IpProtocol": "icmp", "FromPort": -1, "ToPort": -1,
                "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }]);
            let members = json!({ "GroupId": group, "IpPermissions": ping });
            call(&engine, "AuthorizeSecurityGroupIngress", members)
                .await
                .unwrap();
        })
    };
    let ToCard::Update { delta, .. } = card.updates.recv().await.unwrap() else {
        panic!("the second message is no update");
    };
    // It is stored, and others see it; what changes no tables does not wait.
    let began = Instant::now();
    call(&engine, "DescribeSecurityGroups", json!({})).await.unwrap();
    let tag = json!({ "Resources": [group], "Tags": [{ "Key": "k", "Value": "v" }] });
    call(&engine, "CreateTags", tag).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    assert!(
        !authorize.is_finished(),
        "the reply came before the card had the rule"
    );
    card.acknowledged.advance(delta.to);
    authorize.await.unwrap();
    assert_eq!(engine.late_replies(), 0);
}

#[tokio::test]
async fn a_reply_does_not_wait_for_a_card_that_is_not_there_and_not_for_ever() {
    let store = TestStore::default();
    let engine = engine(&store);
    let began = Instant::now();
    launch(&engine).await.unwrap();
    let card = engine.subscribe().await.unwrap();
    drop(card);
    launch(&engine).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(engine.late_replies(), 0);
    let _silent = engine.subscribe().await.unwrap();
    launch(&engine).await.unwrap();
    assert_eq!(engine.late_replies(), 1);
}

#[tokio::test]
async fn calls_at_once_share_commits_and_are_all_there() {
    let store = TestStore::default();
    let engine = engine(&store);
    call(&engine, "DescribeVpcs", json!({})).await.unwrap();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move { launch(&engine).await.unwrap() })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(ids(&engine, "instance").await.len(), 100);
    let known = ids(&self::engine(&store), "instance").await;
    assert_eq!(known.len(), 100);
}

#[tokio::test]
async fn an_interface_goes_into_a_namespace_of_the_users_own_and_out_again() {
    let store = TestStore::default();
    let engine = engine(&store);
    call(&engine, "DescribeVpcs", json!({})).await.unwrap();
    let subnet = ids(&engine, "subnet").await.remove(0);
    call(&engine, "CreateNetworkInterface", json!({ "SubnetId": subnet }))
        .await
        .unwrap();
    let interface = engine
        .read(|loaded| {
            loaded
                .model
                .interfaces()
                .next()
                .map(|(_, interface)| interface.id)
        })
        .await
        .unwrap()
        .unwrap();
    let attach = Attach {
        interface,
        place: Place::Netns("/run/netns/lab".into()),
    };
    let instance = engine.attach(attach.clone()).await.unwrap().unwrap();
    let error = engine.attach(attach).await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidNetworkInterfaceInUse);
    // After a restart, too.
    let engine = self::engine(&store);
    let card = Card::fresh(&engine).await;
    let spec = &card.instances[&*instance.to_string()];
    assert_eq!(
        spec.kind,
        InstanceKind::External {
            netns: "/run/netns/lab".into()
        }
    );
    assert_eq!(spec.interfaces.len(), 1);
    engine
        .report(vec![CardReport::InstanceRunning {
            instance_id: instance,
        }])
        .await
        .unwrap();
    let members = json!({ "InstanceIds": [instance.to_string()] });
    call(&engine, "TerminateInstances", members).await.unwrap();
    assert!(Card::fresh(&engine).await.instances.is_empty());
    engine
        .report(vec![CardReport::InstanceGone {
            instance_id: instance,
        }])
        .await
        .unwrap();
    let is_free = move |loaded: &storage::Loaded| {
        let (_, interface) = loaded.model.interface(interface).unwrap();
        interface.attachment.is_none()
    };
    assert!(
        engine.read(is_free).await.unwrap(),
        "it survives the instance, free again"
    );
}

/// What a card is told of the one instance that a launch makes.
async fn told_of(engine: &Engine, launch: Value) -> InstanceSpec {
    call(engine, "RunInstances", launch).await.unwrap();
    let card = Card::fresh(engine).await;
    assert_eq!(card.instances.len(), 1);
    card.instances.into_values().next().unwrap()
}

#[tokio::test]
async fn a_card_is_told_of_enas_queues_and_what_a_machine_boots() {
    let engine = engine(&TestStore::default());
    let location = "file:///boot/vmlinuz?initrd=/boot/initrd&append=console=ttyS0";
    let image = json!({ "Name": "guest", "ImageLocation": location, "EnaSupport": true });
    let Reply::RegisterImage(registered) = call(&engine, "RegisterImage", image).await.unwrap() else {
        panic!("another reply");
    };
    let spec = told_of(
        &engine,
        json!({
            "ImageId": registered.image_id, "MinCount": 1, "MaxCount": 1, "InstanceType": "m6i.8xlarge",
            "NetworkInterfaces": [
                { "DeviceIndex": 0, "EnaQueueCount": 32 },
                { "DeviceIndex": 1 },
            ],
        }),
    )
    .await;
    assert_eq!((spec.vcpus, spec.memory_mib), (32, 131_072));
    let vm = spec.vm.unwrap();
    assert_eq!(vm.kernel.as_deref(), Some("/boot/vmlinuz"));
    assert_eq!(vm.append.as_deref(), Some("console=ttyS0"));
    let queues = spec.interfaces.iter().map(|i| (i.ena, i.ena_queue_pairs));
    assert_eq!(queues.collect::<Vec<_>>(), [(true, 32), (true, 8)]);
}

#[tokio::test]
async fn without_ena_support_or_the_adapter_a_card_shows_the_traditional_card() {
    for (ena_support, kind, ena) in [
        (true, "t2.micro", false),
        (true, "r4.large", true),
        (false, "r4.large", false),
    ] {
        let engine = engine(&TestStore::default());
        let image = json!({ "Name": "plain", "EnaSupport": ena_support });
        let Reply::RegisterImage(registered) = call(&engine, "RegisterImage", image).await.unwrap() else {
            panic!("another reply");
        };
        let image = registered.image_id;
        let launch = json!({ "ImageId": image, "MinCount": 1, "MaxCount": 1, "InstanceType": kind });
        let spec = told_of(&engine, launch).await;
        assert_eq!(spec.vm, None);
        assert_eq!(spec.interfaces[0].ena, ena, "{kind}");
        assert_eq!(spec.interfaces[0].ena_queue_pairs > 0, ena, "{kind}");
    }
}

#[test]
fn a_spec_of_an_older_control_is_understood() {
    let old = json!({
        "id": "eni-1", "device_index": 1, "mac": [2, 0, 0, 0, 0, 1], "mtu": 9001, "ipv4": [],
        "ipv4_prefix_len": 24, "ipv4_router": null, "ipv6": [], "dns": [], "domain": "",
    });
    let spec: crate::protocol::InterfaceSpec = serde_json::from_value(old).unwrap();
    assert_eq!((spec.ena, spec.ena_queue_pairs), (false, 0));
}
