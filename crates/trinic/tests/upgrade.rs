//! What an earlier program left, read by this one: the store, the card's files, and a card that still runs.
//!
//! `fixtures/state-1` is the state folder of version 0.1.0 as it was when `kill -9` had ended its control
//! and its card: a VPC with IPv6, a subnet, a group with rules, a gateway with its route, an instance with its
//! interface, a spare interface with an Elastic IP, and what an account starts with. It is never written again:
//! when the form of the store or of the card's files changes, the folder of the last version that wrote the
//! old form is added as `state-2`, with what was in it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests use the rest")]
mod common;

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use common::{Control, FakeCard, LIMIT, eventually, text, texts, trinic};
use serde_json::json;
use trinic::framing;
use trinic::protocol::{PROTOCOL, ToCard};

/// What was in a state folder: by action and element, each value once, in order.
type Contents = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[test]
fn the_store_of_an_earlier_program_is_shown_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-1");
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("store.redb"), dir.path().join("store.redb")).unwrap();
    let expected: Contents =
        serde_json::from_slice(&std::fs::read(folder.join("contents.json")).unwrap()).unwrap();
    let card = FakeCard::listen(dir.path()).accept();
    let control = Control::start(dir.path(), &[]);
    let mut card = card.join().unwrap();
    for (action, elements) in &expected {
        let body = control.done(action, &[]);
        for (element, values) in elements {
            assert_eq!(&sorted(texts(&body, element)), values, "{action}: {element}");
        }
    }
    // And the card gets tables and the instance made from it.
    card.until("the snapshot", |card| !card.instances.is_empty());
    let instances: Vec<_> = card.instances.keys().map(|id| id.to_string()).collect();
    assert_eq!(&instances, &expected["DescribeInstances"]["instanceId"]);
    for id in &expected["DescribeNetworkInterfaces"]["networkInterfaceId"] {
        assert!(card.tables.interface(id).is_some(), "{id}");
    }
    // The file is written on: a call after an upgrade is as durable as one before.
    let vpc = text(
        &control.done("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]),
        "vpcId",
    );
    control.kill();
    let card = card.accept();
    let control = Control::start(dir.path(), &[]);
    let _card = card.join().unwrap();
    let found = texts(&control.done("DescribeVpcs", &[]), "vpcId");
    assert_eq!(found.len(), expected["DescribeVpcs"]["vpcId"].len() + 1);
    assert!(found.contains(&vpc));
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort();
    values.dedup();
    values
}

/// A card of another version runs on with its tables, and is told nothing that it might misunderstand.
#[test]
fn a_card_that_speaks_another_protocol_is_left_alone_until_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let told = stranger(dir.path());
    let control = Control::start(dir.path(), &[]);
    // Control hangs up without a word, and comes again: the card may have been replaced.
    for _ in 0..2 {
        let told = told.recv_timeout(LIMIT).unwrap();
        assert!(told.is_none(), "{told:?}");
    }
    let mut status = String::new();
    eventually("a status that says it", || {
        status = String::from_utf8(trinic(dir.path(), &["status"]).stdout).unwrap();
        status.contains("of another version")
    });
    for part in [
        "process 4242",
        "version 9.8.7",
        &format!("protocol {}", PROTOCOL + 1),
        &format!("protocol {PROTOCOL}"),
        "`kill 4242`",
    ] {
        assert!(status.contains(part), "{part:?} is not in {status}");
    }
    // The API goes on, and the card that comes after gets what was decided meanwhile.
    let vpc = text(
        &control.done("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]),
        "vpcId",
    );
    let mut card = FakeCard::listen(dir.path()).accept().join().unwrap();
    card.until("the new VPC", |card| {
        card.tables
            .entries
            .values()
            .any(|entry| format!("{entry:?}").contains(&vpc))
    });
}

/// The end is the one thing that every version understands.
#[test]
fn a_card_that_speaks_another_protocol_is_ended_by_down() {
    let dir = tempfile::tempdir().unwrap();
    let told = stranger(dir.path());
    let _control = Control::start(dir.path(), &[]);
    let state = dir.path().to_owned();
    let down = std::thread::spawn(move || trinic(&state, &["down"]));
    let shutdown = loop {
        if let Some(message) = told.recv_timeout(LIMIT).unwrap() {
            break message;
        }
    };
    assert!(
        matches!(shutdown, ToCard::Shutdown { stop_instances: true }),
        "{shutdown:?}"
    );
    // As a card that ends.
    std::fs::remove_file(dir.path().join("card.sock")).unwrap();
    assert!(down.join().unwrap().status.success());
}

/// A card with another protocol; what each connection is told, `None` for nothing.
fn stranger(state: &Path) -> Receiver<Option<ToCard>> {
    let hello = json!({ "Hello": {
        "pid": 4242, "version": "9.8.7", "protocol": PROTOCOL + 1, "what": { "nobody": "knows" },
    }});
    let listener = UnixListener::bind(state.join("card.sock")).unwrap();
    let (sender, told) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            framing::write(&mut &stream, &hello).unwrap();
            let told = framing::read::<ToCard>(&mut &stream).ok().flatten();
            if sender.send(told).is_err() {
                return;
            }
        }
    });
    told
}

/// A card of before protocols had numbers says none, and speaks the first.
#[test]
fn a_hello_without_a_protocol_is_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("card.sock")).unwrap();
    let card = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let hello = json!({ "Hello": {
            "pid": 1, "version": "0.1.0", "backend": "namespace", "backend_reason": null, "revision": 0,
        }});
        framing::write(&mut &stream, &hello).unwrap();
        framing::read::<ToCard>(&mut &stream).unwrap()
    });
    let _control = Control::start(dir.path(), &[]);
    assert!(matches!(card.join().unwrap(), Some(ToCard::Snapshot { .. })));
}
