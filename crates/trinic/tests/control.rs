//! Control with a card that is none: calls, reports, restarts of either side.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Control, FakeCard, eventually, raw, text, texts, trinic};
use trinic::protocol::{InstanceReport, InterfaceReport};

/// Starts control with a fake card that runs already.
fn start(state: &std::path::Path) -> (Control, FakeCard) {
    let card = FakeCard::listen(state).accept();
    let control = Control::start(state, &[]);
    (control, card.join().unwrap())
}

fn run_instance(control: &Control) -> (String, String) {
    let body = control.done(
        "RunInstances",
        &[("ImageId", "ami-12345678"), ("MinCount", "1"), ("MaxCount", "1")],
    );
    (text(&body, "instanceId"), text(&body, "networkInterfaceId"))
}

fn state_of(control: &Control, instance: &str) -> String {
    let body = control.done("DescribeInstances", &[("InstanceId.1", instance)]);
    let state = text(&body, "instanceState");
    text(&state, "name")
}

/// What the card is told to give an interface: the type's queues, of which no type has more than 32 unasked.
#[test]
fn queue_pairs_are_those_of_the_instance_type() {
    let dir = tempfile::tempdir().unwrap();
    let (control, mut card) = start(dir.path());
    // 72, 2 and 4 vCPUs.
    for (kind, pairs) in [("c5n.18xlarge", 32), ("t3.nano", 2), ("c5.xlarge", 4)] {
        let body = control.done(
            "RunInstances",
            &[
                ("ImageId", "ami-12345678"),
                ("MinCount", "1"),
                ("MaxCount", "1"),
                ("InstanceType", kind),
            ],
        );
        let instance = text(&body, "instanceId");
        card.until("the new instance", |card| card.instances.contains_key(&*instance));
        assert_eq!(
            card.instances[&*instance].interfaces[0].ena_queue_pairs, pairs,
            "{kind}"
        );
    }
}

#[test]
fn an_instance_is_pending_until_the_card_reports_it() {
    let dir = tempfile::tempdir().unwrap();
    let (control, mut card) = start(dir.path());
    let (instance, interface) = run_instance(&control);
    assert_eq!(state_of(&control, &instance), "pending");
    card.until("the new instance", |card| card.instances.contains_key(&*instance));
    let spec = card.instances[&*instance].clone();
    assert_eq!(spec.interfaces.len(), 1);
    assert_eq!(&*spec.interfaces[0].id, interface);
    assert_eq!(spec.interfaces[0].mtu, 9001);
    assert_eq!(spec.metadata.instance_id, instance);
    assert!(card.tables.interface(&interface).is_some());
    card.report_interface(
        &interface,
        InterfaceReport::Attached {
            instance_id: instance.as_str().into(),
        },
    );
    card.report_instance(&instance, InstanceReport::Running { pid: 7 });
    eventually("running", || state_of(&control, &instance) == "running");

    control.done("TerminateInstances", &[("InstanceId.1", &instance)]);
    assert_eq!(state_of(&control, &instance), "shutting-down");
    card.until("the end of the instance", |card| card.instances.is_empty());
    card.report_instance(&instance, InstanceReport::Gone);
    eventually("terminated", || state_of(&control, &instance) == "terminated");
}

#[test]
fn a_report_that_nobody_heard_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let (control, mut card) = start(dir.path());
    let (instance, _) = run_instance(&control);
    card.until("the new instance", |card| card.instances.contains_key(&*instance));
    card.report_instance(&instance, InstanceReport::Running { pid: 7 });
    eventually("running", || state_of(&control, &instance) == "running");
    control.done("TerminateInstances", &[("InstanceId.1", &instance)]);
    // The card never says Gone; what it answers to a question is enough.
    eventually("terminated", || {
        card.listen_for(Duration::from_millis(50));
        state_of(&control, &instance) == "terminated"
    });
}

#[test]
fn a_card_that_comes_back_gets_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let (control, mut card) = start(dir.path());
    let (instance, interface) = run_instance(&control);
    card.until("the new instance", |card| card.instances.contains_key(&*instance));
    let (tables, instances) = (card.tables.clone(), card.instances.clone());
    card.hang_up();
    // While it is away, calls are served.
    control.done("DescribeVpcs", &[]);
    card.tables = Default::default();
    card.instances.clear();
    let mut card = card.accept().join().unwrap();
    card.until("the snapshot", |card| !card.instances.is_empty());
    assert_eq!(card.instances, instances);
    assert_eq!(card.tables, tables);
    assert!(card.tables.interface(&interface).is_some());
}

#[test]
fn control_killed_and_started_again_knows_everything_and_tells_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let (control, mut card) = start(dir.path());
    let (instance, _) = run_instance(&control);
    card.until("the new instance", |card| card.instances.contains_key(&*instance));
    let (tables, instances) = (card.tables.clone(), card.instances.clone());
    control.kill();
    let card = card.accept();
    let control = Control::start(dir.path(), &[]);
    let mut card = card.join().unwrap();
    card.tables = Default::default();
    card.instances.clear();
    card.until("the snapshot", |card| !card.instances.is_empty());
    assert_eq!(card.instances, instances);
    assert_eq!(card.tables.entries, tables.entries);
    assert_eq!(state_of(&control, &instance), "pending");
}

#[test]
fn acknowledged_calls_survive_kill_and_none_is_half() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut instances = 0;
    for round in 0..6u64 {
        let card = FakeCard::listen(dir.path()).accept();
        let control = Control::start(dir.path(), &[]);
        let card = card.join().unwrap();
        let vpc = text(&control.done("DescribeVpcs", &[]), "vpcId");
        let known = control.done("DescribeSecurityGroups", &[]);
        let known = texts(&known, "groupName");
        for name in &acknowledged {
            assert!(
                known.contains(name),
                "round {round}: {name} was acknowledged and is gone"
            );
        }
        check_no_half(&control, instances);
        let address = control.address.clone();
        let client = std::thread::spawn(move || call_until_dead(&address, &vpc, round));
        // A different moment each round: between calls or inside one.
        std::thread::sleep(Duration::from_millis(120 + 37 * round));
        control.kill();
        let (groups, launched) = client.join().unwrap();
        acknowledged.extend(groups);
        instances += launched;
        drop(card);
    }
    assert!(
        acknowledged.len() > 6,
        "the rounds were too short: {acknowledged:?}"
    );
}

/// Makes calls one after the other until control is gone: groups by name, now and then an instance.
fn call_until_dead(address: &str, vpc: &str, round: u64) -> (Vec<String>, usize) {
    let mut groups = Vec::new();
    let mut launched = 0;
    for n in 0.. {
        let name = format!("group-{round}-{n}");
        let parameters = [
            ("GroupName", &*name),
            ("GroupDescription", "test"),
            ("VpcId", vpc),
        ];
        match common::call(address, "CreateSecurityGroup", &parameters) {
            Ok((200, _)) => groups.push(name),
            Ok((status, body)) => panic!("{status}: {body}"),
            Err(_) => break,
        }
        let parameters = [("ImageId", "ami-12345678"), ("MinCount", "1"), ("MaxCount", "1")];
        match common::call(address, "RunInstances", &parameters) {
            Ok((200, _)) => launched += 1,
            Ok((status, body)) => panic!("{status}: {body}"),
            Err(_) => break,
        }
    }
    (groups, launched)
}

/// An instance and its interface are made by one call: neither may be there without the other.
fn check_no_half(control: &Control, at_least: usize) {
    let body = control.done("DescribeNetworkInterfaces", &[]);
    let mut attached: Vec<String> = texts(&body, "attachment")
        .iter()
        .map(|attachment| text(attachment, "instanceId"))
        .collect();
    let body = control.done("DescribeInstances", &[]);
    let mut instances: Vec<String> = texts(&body, "instanceId");
    attached.sort();
    instances.sort();
    instances.dedup();
    assert_eq!(attached, instances);
    assert!(instances.len() >= at_least, "{} of {at_least}", instances.len());
}

/// As from within an instance, whose root is the card's user to the file system.
#[test]
fn the_admin_socket_is_not_for_another_pid_namespace() {
    let apart = |command: &[&str]| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["-U", "-p", "-f"]).args(command).output()
    };
    if !apart(&["true"]).is_ok_and(|output| output.status.success()) {
        println!("SKIP: this host makes no pid namespace");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (_control, _card) = start(dir.path());
    let state = dir.path().to_str().unwrap();
    let output = apart(&[env!("CARGO_BIN_EXE_trinic"), "--state", state, "ls"]).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("another pid namespace"), "{error}");
    assert!(trinic(dir.path(), &["ls"]).status.success());
}

#[test]
fn a_second_control_is_told_who_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (control, _card) = start(dir.path());
    let output = trinic(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    let pid = control.child.id().to_string();
    assert!(error.contains("up already") && error.contains(&pid), "{error}");
}

#[test]
fn commands_without_a_card_have_their_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["ls", "stats", "status", "down"] {
        let output = trinic(dir.path(), &[command]);
        assert_eq!(output.status.code(), Some(3), "{command}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("trinic up"), "{error}");
    }
    let output = trinic(dir.path(), &["exec", "i-1", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn only_signed_requests_of_no_web_page_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let (control, _card) = start(dir.path());
    let address = &control.address;
    let body = "Action=DescribeVpcs&Version=2016-11-15";
    let length = body.len();
    let request = |host: &str, more: &str| {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n{body}"
        );
        raw(address, &request).unwrap()
    };
    let (status, reply) = request(address, "");
    assert!(
        status >= 400 && reply.contains("MissingAuthenticationToken"),
        "{status} {reply}"
    );
    let (status, reply) = request("example.com", "");
    assert!(status == 403 && reply.contains("InvalidHost"), "{status} {reply}");
    let (status, reply) = request(address, "origin: http://example.com\r\n");
    assert!(status == 403 && reply.contains("CrossOrigin"), "{status} {reply}");
    let huge = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-length: 999999999\r\nconnection: close\r\n\r\n"
    );
    let (status, reply) = raw(address, &huge).unwrap();
    assert!(
        status == 413 && reply.contains("RequestEntityTooLarge"),
        "{status} {reply}"
    );
    control.done("DescribeVpcs", &[]);
}

#[test]
fn strict_images_refuse_unknown_ids() {
    let dir = tempfile::tempdir().unwrap();
    let card = FakeCard::listen(dir.path()).accept();
    let control = Control::start(dir.path(), &["--strict-images", "--ephemeral"]);
    card.join().unwrap();
    let launch = |image| {
        let parameters = [("ImageId", image), ("MinCount", "1"), ("MaxCount", "1")];
        control.call("RunInstances", &parameters)
    };
    let (status, reply) = launch("ami-12345678");
    assert!(
        status == 400 && reply.contains("InvalidAMIID.NotFound"),
        "{status} {reply}"
    );
    let (status, reply) = launch("ami-00000000000000001");
    assert_eq!(status, 200, "{reply}");
    let reply = control.done("RegisterImage", &[("Name", "mine")]);
    let (status, reply) = launch(&text(&reply, "imageId"));
    assert_eq!(status, 200, "{reply}");
}

#[test]
fn down_ends_card_and_control_and_keeps_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let (mut control, mut card) = start(dir.path());
    let (instance, _) = run_instance(&control);
    card.until("the new instance", |card| card.instances.contains_key(&*instance));
    let card = std::thread::spawn(move || {
        card.until("the end", |card| card.shutdown.is_some());
        assert_eq!(card.shutdown, Some(true));
        // Ends that the card brings about at the end of everything are nobody's will.
        card.report_instance(
            &instance,
            InstanceReport::Exited {
                reason: "down".into(),
            },
        );
        (instance, card)
    });
    let down = std::thread::spawn({
        let state = dir.path().to_owned();
        move || trinic(&state, &["down"])
    });
    let (instance, mut ended) = card.join().unwrap();
    ended.hang_up();
    drop(ended);
    let output = down.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(control.child.wait().unwrap().success());

    let (control, _card) = start(dir.path());
    assert_eq!(state_of(&control, &instance), "pending");
}

#[test]
fn keep_card_leaves_the_card_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut control, mut card) = start(dir.path());
    let output = trinic(dir.path(), &["down", "--keep-card"]);
    assert!(output.status.success(), "{output:?}");
    assert!(control.child.wait().unwrap().success());
    card.listen_for(Duration::from_millis(50));
    assert_eq!(card.shutdown, None);
}

#[test]
fn nonsense_on_the_admin_socket_is_answered_and_hurts_nobody() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let (_control, _card) = start(dir.path());
    let too_long = "x".repeat(2 << 20);
    for line in ["nonsense\n", "{\"ask\":\"make-coffee\"}\n", "\u{0}\n", &too_long] {
        let mut stream = std::os::unix::net::UnixStream::connect(dir.path().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(common::LIMIT)).unwrap();
        // Control need not read a line to its end to refuse it.
        let _ = stream.write_all(line.as_bytes());
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        let is_cut = read.is_err() && line.len() > 1 << 20;
        assert!(is_cut || answer.contains("refused"), "{answer}");
    }
    assert!(trinic(dir.path(), &["status"]).status.success());
}

#[test]
fn a_card_that_talks_nonsense_is_connected_anew() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let (control, mut card) = start(dir.path());
    let (instance, _) = run_instance(&control);
    for nonsense in [
        &b"\xff\xff\xff\xffxxxx"[..],
        b"\x02\x00\x00\x00{]",
        b"\x04\x00\x00\x00null",
    ] {
        card.raw().write_all(nonsense).unwrap();
        // Control hangs up by itself and comes again.
        card.instances.clear();
        card = card.accept().join().unwrap();
        card.until("the snapshot", |card| card.instances.contains_key(&*instance));
    }
    let report = InstanceReport::Running { pid: 1 };
    card.report_instance("i-00000000000000bad", report.clone());
    card.report_instance("../../etc", report.clone());
    card.report_interface("eni-00000000000000bad", InterfaceReport::Detached);
    card.report_instance(&instance, report);
    eventually("running", || state_of(&control, &instance) == "running");
}
