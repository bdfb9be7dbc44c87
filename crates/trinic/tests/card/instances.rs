//! Instances come, change and go.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use trinic::protocol::{InstanceKind, InstanceReport, InterfaceReport, Query};
use trinic_switch::tables::{Entry, RuleProtocol};

use crate::harness::{
    Card, as_one_of, card_with, entered, function, group, inside, instance, interface, pings,
};

pub(crate) fn trials() -> Vec<(&'static str, fn())> {
    vec![
        (
            "a_rule_opens_what_default_deny_drops",
            a_rule_opens_what_default_deny_drops,
        ),
        (
            "an_interface_is_attached_and_detached_while_it_runs",
            hot_attach_and_detach,
        ),
        ("an_interface_moves_between_instances", an_interface_moves),
        ("addresses_follow_the_spec", addresses_follow_the_spec),
        (
            "an_instance_that_ends_is_reported_and_stays_ended",
            an_end_is_reported,
        ),
        ("user_data_runs_and_the_console_is_kept", user_data_and_console),
        ("a_namespace_of_the_users_own_gets_an_interface", external),
        (
            "an_instance_cannot_talk_to_another_card",
            an_instance_cannot_talk_to_another_card,
        ),
        ("shutdown_leaves_nothing", shutdown_leaves_nothing),
    ]
}

const ICMP: RuleProtocol = RuleProtocol::Number(1);
const ICMPV6: RuleProtocol = RuleProtocol::Number(58);

fn a_rule_opens_what_default_deny_drops() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[]);
    assert!(!pings(pids[0], "10.0.0.11"));
    assert_eq!(card.drops("eni-11", "security-group-inbound"), 1);
    card.update(vec![group(&[ICMP, ICMPV6])], Vec::new(), &[]);
    assert!(pings(pids[0], "10.0.0.11"));
    assert!(pings(pids[0], "2001:db8:1::b"));
    card.update(vec![group(&[])], Vec::new(), &[]);
    assert!(!pings(pids[0], "10.0.0.11"));
}

fn hot_attach_and_detach() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ICMP]);
    let mut spec = instance("i-b", &[11, 12]);
    let started = Instant::now();
    card.update(
        vec![Entry::Interface(interface(12, Some("i-b")))],
        vec![spec.clone()],
        &[],
    );
    card.until("eni-12 is attached", |card| {
        card.interfaces.contains_key("eni-12")
    });
    assert!(
        matches!(card.interfaces["eni-12"], InterfaceReport::Attached { .. }),
        "{:?}",
        card.interfaces
    );
    println!("hot attach: {:?}", started.elapsed());
    // The reply must leave through eth1, or the source check would drop it.
    assert!(pings(pids[0], "10.0.0.12"));
    assert_eq!(card.drops("eni-11", "source-address"), 0);

    spec.interfaces.pop();
    card.update(vec![Entry::Interface(interface(12, None))], vec![spec], &[]);
    card.until("eni-12 is detached", |card| {
        card.interfaces["eni-12"] == InterfaceReport::Detached
    });
    assert!(!pings(pids[0], "10.0.0.12"));
    let links = inside(pids[1], &["cat", "/proc/net/dev"]).stdout;
    assert!(!String::from_utf8(links).unwrap().contains("eth1"));
    assert!(pings(pids[0], "10.0.0.11"));
}

fn an_interface_moves() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11, 13]), ("i-c", &[12])], &[ICMP]);
    assert!(pings(pids[0], "10.0.0.13"));
    // Both instances change in one update: the second job must wait for the first one.
    let mut receiver = instance("i-c", &[12]);
    receiver.interfaces.push(function(13, 1));
    card.interfaces.clear();
    card.update(
        vec![Entry::Interface(interface(13, Some("i-c")))],
        vec![receiver, instance("i-b", &[11])],
        &[],
    );
    card.until("eni-13 moved", |card| {
        let report = card.interfaces.get("eni-13");
        matches!(report, Some(InterfaceReport::Attached { instance_id }) if &**instance_id == "i-c")
    });
    assert!(pings(pids[0], "10.0.0.13"));
}

fn addresses_follow_the_spec() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ICMP]);
    let mut table = interface(11, Some("i-b"));
    table.ipv4.push("10.0.0.99".parse().unwrap());
    let mut spec = instance("i-b", &[11]);
    spec.interfaces[0].ipv4 = table.ipv4.clone();
    card.interfaces.clear();
    card.update(vec![Entry::Interface(table)], vec![spec], &[]);
    card.until("the address is there", |card| {
        card.interfaces.contains_key("eni-11")
    });
    assert!(pings(pids[0], "10.0.0.99"));
    card.interfaces.clear();
    let table = interface(11, Some("i-b"));
    card.update(vec![Entry::Interface(table)], vec![instance("i-b", &[11])], &[]);
    card.until("the address is gone", |card| {
        card.interfaces.contains_key("eni-11")
    });
    assert!(!pings(pids[0], "10.0.0.99"));
    assert!(pings(pids[0], "10.0.0.11"));
}

fn an_end_is_reported() {
    let (mut card, pids) = card_with(&[("i-a", &[10])], &[]);
    let pid = rustix::process::Pid::from_raw(i32::try_from(pids[0]).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    card.until("the end is reported", |card| {
        matches!(card.instances["i-a"], InstanceReport::Exited { .. })
    });
    // A new control hears the same, and nothing starts it again.
    card.reconnect();
    card.until("the end is repeated", |card| card.instances.contains_key("i-a"));
    assert!(matches!(card.instances["i-a"], InstanceReport::Exited { .. }));
    card.update(Vec::new(), Vec::new(), &["i-a"]);
    card.until("it is gone", |card| card.instances["i-a"] == InstanceReport::Gone);
    // Wanted again, it lives again.
    card.instances.clear();
    card.update(Vec::new(), vec![instance("i-a", &[10])], &[]);
    assert_ne!(card.running("i-a"), pids[0]);
}

fn user_data_and_console() {
    let (mut card, _) = card_with(&[], &[]);
    let mut spec = instance("i-u", &[14]);
    spec.user_data = Some(b"#!/bin/sh\nhostname\ncat /etc/resolv.conf\n".to_vec());
    card.update(
        vec![Entry::Interface(interface(14, Some("i-u")))],
        vec![spec],
        &[],
    );
    card.running("i-u");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let console = card.ask(Query::Console {
            instance: "i-u".into(),
        });
        let output = console["output"].as_str().unwrap();
        if output.contains("user data ended with status 0") {
            assert!(
                output.contains("host-i-u") && output.contains("nameserver 10.0.0.2"),
                "{output}"
            );
            return;
        }
        assert!(Instant::now() < deadline, "console: {output}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn external() {
    let (mut card, pids) = card_with(&[("i-a", &[10])], &[ICMP]);
    let mut owner = Command::new("unshare")
        .args(["-Un", "sleep", "600"])
        .spawn()
        .unwrap();
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let netns = format!("/proc/{}/ns/net", owner.id());
    while std::fs::read_link(&netns).is_ok_and(|link| link == own) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut spec = instance("i-x", &[15]);
    spec.kind = InstanceKind::External { netns };
    card.update(
        vec![Entry::Interface(interface(15, Some("i-x")))],
        vec![spec],
        &[],
    );
    card.until("it is reported", |card| card.instances.contains_key("i-x"));
    if !rustix::process::geteuid().is_root() {
        // An ordinary user's card has no rights over a user namespace beside its own, and says so.
        owner.kill().unwrap();
        owner.wait().unwrap();
        assert!(
            matches!(card.instances["i-x"], InstanceReport::Failed { .. }),
            "{:?}",
            card.instances
        );
        return;
    }
    assert!(matches!(card.instances["i-x"], InstanceReport::Running { .. }));
    assert!(pings(pids[0], "10.0.0.15"));
    // When the user's process ends, so does the instance: the card does not keep its namespace.
    owner.kill().unwrap();
    owner.wait().unwrap();
    card.until("the end is reported", |card| {
        matches!(card.instances["i-x"], InstanceReport::Exited { .. })
    });
    assert!(!pings(pids[0], "10.0.0.15"));
}

fn an_instance_cannot_talk_to_another_card() {
    let own = ["/tmp", "/var/tmp", "/run", "/dev"];
    if own
        .iter()
        .any(|own| Path::new(env!("CARGO_TARGET_TMPDIR")).starts_with(own))
    {
        println!(
            "SKIP: this checkout lies where an instance has files of its own, so it sees no other card's socket"
        );
        return;
    }
    let (_card, pids) = card_with(&[("i-a", &[10])], &[]);
    let visible = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let other = Card::start_in(visible, None).unwrap();
    let socket = other.state.path().join("card.sock");
    let program = std::env::current_exe().unwrap();
    let command = [
        program.to_str().unwrap(),
        "inside",
        "hello",
        socket.to_str().unwrap(),
    ];
    let outside = Command::new(command[0]).args(&command[1..]).output().unwrap();
    assert_eq!(outside.stdout, b"served", "{outside:?}");
    let inside = as_one_of(pids[0], &command).output().unwrap();
    assert_eq!(inside.stdout, b"closed", "{inside:?}");
}

fn shutdown_leaves_nothing() {
    let (mut card, pids) = card_with(&[("i-gone1", &[10]), ("i-gone2", &[11])], &[ICMP]);
    let internet = card.internet();
    let mut sleeper = entered(pids[0], &["sleep", "600"]).spawn().unwrap();
    card.shutdown();
    for pid in [pids[0], pids[1], internet] {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} runs");
    }
    for name in ["i-gone1", "i-gone2"] {
        assert!(!Path::new("/run/netns").join(name).exists(), "{name}");
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("/run/netns/i-gone1"), "{mounts}");
    assert!(!card.state.path().join("card").exists());
    assert!(!card.state.path().join("card.sock").exists());
    // It was the test's own, outside the instance's processes.
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    drop::<Card>(card);
}
