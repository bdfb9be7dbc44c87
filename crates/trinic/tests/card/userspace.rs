//! The same card where nothing is allowed: instances are user-space stacks.

use std::collections::BTreeMap;

use serde_json::Value;
use trinic::protocol::{Backend, InstanceReport, InterfaceReport, Query};
use trinic_switch::tables::{Entry, RuleProtocol};

use crate::harness::{Card, fill, function, group, instance, interface};

pub(crate) fn trials() -> Vec<(&'static str, fn())> {
    vec![
        ("user_space_guests_obey_the_groups", guests_obey_the_groups),
        ("user_space_guests_reach_the_internet", guests_reach_the_internet),
        ("a_user_space_interface_moves", an_interface_moves),
        (
            "user_space_guests_are_made_again_by_the_next_card",
            guests_are_made_again,
        ),
        ("user_space_bulk_passes_whole", bulk),
    ]
}

const ANY: RuleProtocol = RuleProtocol::Any;

fn start() -> Card {
    let card = Card::start_on(Some("user-space")).unwrap();
    assert_eq!(card.backend, Backend::UserSpace);
    card
}

fn program(card: &mut Card, instance: &str, words: &str) -> Value {
    card.ask(Query::Program {
        instance: instance.into(),
        arguments: words.split(' ').map(str::to_owned).collect(),
    })
}

fn received(card: &mut Card, instance: &str, address: &str) -> u64 {
    program(card, instance, &format!("ping {address} 2 10"))["received"]
        .as_u64()
        .unwrap()
}

fn guests_obey_the_groups() {
    let (mut card, pids) = fill(start(), &[("i-a", &[10]), ("i-b", &[11])], &[]);
    assert_eq!(pids, [0, 0]);
    assert_eq!(received(&mut card, "i-a", "10.0.0.11"), 0);
    assert_eq!(card.drops("eni-11", "security-group-inbound"), 2);
    card.update(vec![group(&[ANY])], Vec::new(), &[]);
    assert_eq!(received(&mut card, "i-a", "10.0.0.11"), 2);
    assert_eq!(received(&mut card, "i-a", "2001:db8:1::b"), 2);
    let refused = program(&mut card, "i-a", "tcp-connect 10.0.0.11 7");
    assert_eq!(refused["outcome"], "refused");
    program(&mut card, "i-b", "tcp-echo 7");
    let open = program(&mut card, "i-a", "tcp-connect 10.0.0.11 7");
    assert_eq!(open["outcome"], "open");
    let id = program(
        &mut card,
        "i-a",
        "http 169.254.169.254 80 /latest/meta-data/instance-id",
    );
    assert!(id["response"].as_str().unwrap().ends_with("i-a"), "{id}");
}

fn guests_reach_the_internet() {
    let (mut card, _) = fill(start(), &[("i-a", &[10])], &[ANY]);
    assert_eq!(received(&mut card, "i-a", "203.0.113.1"), 2);
    assert_eq!(received(&mut card, "internet", "198.18.0.10"), 2);
    assert_eq!(received(&mut card, "internet", "198.18.0.77"), 0);
}

fn an_interface_moves() {
    let (mut card, _) = fill(
        start(),
        &[("i-a", &[10]), ("i-b", &[11, 13]), ("i-c", &[12])],
        &[ANY],
    );
    assert_eq!(received(&mut card, "i-a", "10.0.0.13"), 2);
    let mut receiver = instance("i-c", &[12]);
    receiver.interfaces.push(function(13, 1));
    card.interfaces = BTreeMap::new();
    card.update(
        vec![Entry::Interface(interface(13, Some("i-c")))],
        vec![receiver, instance("i-b", &[11])],
        &[],
    );
    card.until("eni-13 moved", |card| {
        let report = card.interfaces.get("eni-13");
        matches!(report, Some(InterfaceReport::Attached { instance_id }) if &**instance_id == "i-c")
    });
    assert_eq!(received(&mut card, "i-a", "10.0.0.13"), 2);
    assert_eq!(received(&mut card, "i-b", "10.0.0.13"), 2);
}

fn guests_are_made_again() {
    let (mut card, _) = fill(start(), &[("i-a", &[10]), ("i-b", &[11])], &[ANY]);
    card.kill_and_restart();
    card.reconnect();
    card.running("i-a");
    card.running("i-b");
    assert_eq!(received(&mut card, "i-a", "10.0.0.11"), 2);
    card.update(Vec::new(), Vec::new(), &["i-b"]);
    card.until("i-b is gone", |card| {
        card.instances["i-b"] == InstanceReport::Gone
    });
    assert_eq!(received(&mut card, "i-a", "10.0.0.11"), 0);
    card.shutdown();
}

fn bulk() {
    let (mut card, _) = fill(start(), &[("i-a", &[10]), ("i-b", &[11])], &[ANY]);
    program(&mut card, "i-b", "bulk-receive 9");
    let sent = program(&mut card, "i-a", "bulk 10.0.0.11 9 20000000");
    assert_eq!(sent["bytes"], 20_000_000);
    println!("{} bit/s", sent["bits_per_s"]);
}
