//! Interfaces as ENA functions, driven by a proper driver.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use trinic::protocol::{FunctionKind, InstanceReport, InterfaceReport, Query};
use trinic_switch::tables::{Allowances, Entry, RuleProtocol};

use crate::ena_guest::{Guest, add_device, arp, count, device, echo, eventually, shown};
use crate::harness::{Card, as_one_of, card_with, function, group, inside, instance, interface, pings};

pub(crate) fn trials() -> Vec<(&'static str, fn())> {
    vec![
        ("ena_packets_pass_both_ways_and_are_counted", packets),
        ("ena_function_of_a_namespace_comes_and_goes_by_its_tag", tag),
        ("ena_packets_above_the_allowance_wait_in_the_ring", allowance),
        ("ena_function_without_a_driver_wakes_nobody", at_rest),
        ("ena_detach_while_packets_flow", detach),
        (
            "ena_client_that_is_killed_leaves_the_function_to_the_next",
            killed_client,
        ),
        ("ena_socket_comes_back_after_the_card_was_killed", killed_card),
    ]
}

const ICMP: RuleProtocol = RuleProtocol::Number(1);

/// Runs what this test program is asked to inside another process; `false` when it is asked for tests.
pub(crate) fn run_inside() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [word, what, n, socket] = &arguments[..] else {
        return false;
    };
    if word != "inside" || what != "ena" {
        return false;
    }
    let mut guest = Guest::connect(n.parse().unwrap(), Path::new(socket));
    // nsenter is the parent of what it runs: who started that ends both by its end of stdin.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    print!("running");
    std::io::Write::flush(&mut std::io::stdout()).unwrap();
    guest.answer_while(|| true);
    true
}

fn packets() {
    let (mut card, pids) = card_with(&[("i-a", &[10])], &[]);
    let socket = add_device(&mut card, 20, 2);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "who connects has the interface");
    let mut guest = Guest::connect(20, &socket);

    guest.send(&arp(20, Ipv4Addr::new(10, 0, 0, 10)));
    let mut replies = Vec::new();
    eventually("a reply to ARP", || {
        replies.extend(guest.receive());
        !replies.is_empty()
    });
    assert_eq!(replies[0][12..14], [8, 6]);
    assert_eq!(replies[0][22..32], [2, 0, 0, 0, 0, 10, 10, 0, 0, 10]);

    assert!(!guest.pings(10));
    assert!(card.drops("eni-10", "security-group-inbound") > 0);
    card.update(vec![group(&[ICMP])], Vec::new(), &[]);
    assert!(guest.pings(10));
    answers(&mut guest, pids[0], "10.0.0.20");

    let function = shown(&mut card, 20);
    assert_eq!(function["kind"], "ena");
    assert_eq!(function["device"]["driver"], "running");
    assert_eq!(function["device"]["tx_queues"].as_array().map(Vec::len), Some(2));
    assert_eq!(function["is_connected"], true);
    assert_eq!(function["queue_faults"], serde_json::json!({}));
    assert_eq!(shown(&mut card, 10)["kind"], "tap");
    let stats = card.ask(Query::Stats {
        interface: Some("eni-20".into()),
    });
    let counted = guest.driver.statistics().unwrap();
    assert!(counted.tx_packets.get() >= count(&stats, "/packets_out"));
    assert!(count(&stats, "/packets_out") > 0 && count(&stats, "/packets_in") > 0);
    assert!(counted.rx_packets.get() > 0);
    // Nothing is left of the instance, its function and its socket.
    card.update(vec![Entry::Interface(interface(20, None))], Vec::new(), &["i-20"]);
    card.until("it is gone", |card| {
        card.instances["i-20"] == InstanceReport::Gone
    });
    eventually("the socket is gone", || !socket.exists());
    assert!(guest.driver.statistics().is_err(), "the client was disconnected");
    assert_eq!(function_threads(&card), 0);
}

/// The driver's own ring is the queue of what is above the allowance: nothing of it is lost.
fn allowance() {
    let (mut card, _) = card_with(&[("i-a", &[10])], &[]);
    let socket = add_device(&mut card, 20, 2);
    let mut throttled = interface(20, Some("i-20"));
    throttled.allowances = Some(Box::new(Allowances {
        packets_per_s: Some(1_000),
        ..Allowances::default()
    }));
    card.update(vec![Entry::Interface(throttled)], Vec::new(), &[]);
    let mut guest = Guest::connect(20, &socket);
    let began = Instant::now();
    let (mut sent, mut queued) = (0, 0);
    eventually("200 packets have left", || {
        // As many as there are buffers for, which come back as the packets leave.
        (0..16).for_each(|_| guest.send(&echo(20, 10)));
        let stats = card.ask(Query::Stats {
            interface: Some("eni-20".into()),
        });
        sent = count(&stats, "/packets_out");
        queued = count(&stats, "/pps_allowance_exceeded");
        sent >= 200
    });
    // A burst is one packet, and eleven would be queued.
    assert!(u128::from(sent) <= 12 + began.elapsed().as_millis(), "{sent}");
    assert!(queued > 0);
    assert_eq!(card.drops("eni-20", "pps-allowance-exceeded"), 0);
    assert_eq!(shown(&mut card, 20)["queue_faults"], serde_json::json!({}));
}

/// The worker looks at doorbells again and again only while a driver has queues.
fn at_rest() {
    let (mut card, _) = card_with(&[], &[]);
    let socket = add_device(&mut card, 20, 2);
    let before = sleeps(&mut card);
    std::thread::sleep(Duration::from_millis(500));
    let without = sleeps(&mut card) - before;
    assert!(without < 60, "{without} sleeps in half a second without a driver");

    let guest = Guest::connect(20, &socket);
    let before = sleeps(&mut card);
    eventually("looks at the doorbells", || sleeps(&mut card) > before + 200);
    drop(guest);
    eventually("the driver is gone", || {
        shown(&mut card, 20)["is_connected"] == false
    });
    let before = sleeps(&mut card);
    std::thread::sleep(Duration::from_millis(500));
    let after = sleeps(&mut card) - before;
    assert!(after < 60, "{after} sleeps in half a second after the driver");
}

/// How often the worker has slept.
fn sleeps(card: &mut Card) -> u64 {
    count(&card.ask(Query::Inspect), "/workers/0/counters/sleeps")
}

/// The guest answers a ping from an instance.
fn answers(guest: &mut Guest<trinic_host::vfio_user::Client>, pid: u32, address: &'static str) {
    let ping = std::thread::spawn(move || pings(pid, address));
    guest.answer_while(|| !ping.is_finished());
    assert!(ping.join().unwrap(), "{address} answers");
}

/// Threads of the card that serve functions.
fn function_threads(card: &Card) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", card.process.id())).unwrap();
    let names = tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.flatten().filter(|name| name.trim() == "vfio-user").count()
}

fn tag() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-n", &[11])], &[ICMP]);
    let mut spec = instance("i-n", &[11, 21]);
    spec.interfaces[1] = function(21, 1);
    spec.interfaces[1].function = FunctionKind::Ena;
    spec.interfaces[1].ena_queue_pairs = 2;
    let entry = || Entry::Interface(interface(21, Some("i-n")));
    let attached = |card: &mut Card| {
        card.until("eni-21 is attached", |card| {
            matches!(
                card.interfaces.get("eni-21"),
                Some(InterfaceReport::Attached { .. })
            )
        });
    };
    card.update(vec![entry()], vec![spec.clone()], &[]);
    attached(&mut card);
    let socket = card.state.path().join("card/instances/i-n/run/eni-21.sock");
    let mut guest = Guest::connect(21, &socket);
    assert!(guest.pings(10));
    answers(&mut guest, pids[0], "10.0.0.21");
    // Its processes have the socket, and cannot put anything in its place.
    drop(guest);
    let program = std::env::current_exe().unwrap();
    let ena = ["inside", "ena", "21", "/run/trinic/eni-21.sock"];
    let command = [&[program.to_str().unwrap()][..], &ena].concat();
    let mut driver = as_one_of(pids[1], &command)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("a driver inside answers", || pings(pids[0], "10.0.0.21"));
    drop(driver.stdin.take());
    driver.wait().unwrap();
    let mut guest = Guest::connect(21, &socket);
    let rm = ["rm", "-f", "/run/trinic/eni-21.sock"];
    let touched = as_one_of(pids[1], &rm).output().unwrap();
    let said = String::from_utf8_lossy(&touched.stderr);
    assert!(
        said.contains("Read-only file system") && socket.exists(),
        "{touched:?}"
    );

    // As a tap it is a network device, and the function is gone; and back.
    let has_device = || {
        let links = inside(pids[1], &["cat", "/proc/net/dev"]).stdout;
        String::from_utf8(links).unwrap().contains("eth1")
    };
    assert!(!has_device());
    spec.interfaces[1].function = FunctionKind::Tap;
    card.interfaces.clear();
    card.update(vec![entry()], vec![spec.clone()], &[]);
    attached(&mut card);
    assert!(has_device() && !socket.exists());
    assert_eq!(shown(&mut card, 21)["kind"], "tap");
    assert!(guest.driver.statistics().is_err());
    drop(guest);
    assert!(pings(pids[0], "10.0.0.21"));
    spec.interfaces[1].function = FunctionKind::Ena;
    card.interfaces.clear();
    card.update(vec![entry()], vec![spec], &[]);
    attached(&mut card);
    assert!(!has_device());
    let mut guest = Guest::connect(21, &socket);
    assert!(guest.pings(10));
    card.update(Vec::new(), Vec::new(), &["i-n"]);
    card.until("it is gone", |card| card.instances["i-n"] == InstanceReport::Gone);
    assert!(guest.driver.statistics().is_err(), "the client was disconnected");
    assert_eq!(function_threads(&card), 0);
}

fn detach() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ICMP]);
    let socket = add_device(&mut card, 20, 2);
    for _ in 0..3 {
        let (busy, path) = (
            std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)),
            socket.clone(),
        );
        let sent = busy.clone();
        let sender = std::thread::spawn(move || {
            let mut guest = Guest::connect(20, &path);
            // A function that is gone ends it.
            while guest.driver.statistics().is_ok() {
                for _ in 0..64 {
                    guest.send(&echo(20, 10));
                }
                guest.receive();
                sent.fetch_add(64, std::sync::atomic::Ordering::Relaxed);
            }
        });
        eventually("packets flow", || {
            busy.load(std::sync::atomic::Ordering::Relaxed) > 1000
        });
        let (mut spec, _) = device(&card, 20, 2);
        let function = spec.interfaces.pop().unwrap();
        card.update(
            vec![Entry::Interface(interface(20, None))],
            vec![spec.clone()],
            &[],
        );
        card.until("eni-20 is detached", |card| {
            card.interfaces["eni-20"] == InterfaceReport::Detached
        });
        sender.join().unwrap();
        assert!(!socket.exists());
        assert!(pings(pids[0], "10.0.0.11"));
        spec.interfaces.push(function);
        card.update(
            vec![Entry::Interface(interface(20, Some("i-20")))],
            vec![spec],
            &[],
        );
        card.until("eni-20 is attached", |card| {
            matches!(card.interfaces["eni-20"], InterfaceReport::Attached { .. })
        });
    }
    assert!(Guest::connect(20, &socket).pings(10));
}

fn killed_client() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ICMP]);
    let socket = add_device(&mut card, 20, 2);
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["inside", "ena", "20", socket.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 7];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!(&said, b"running");
        assert!(pings(pids[0], "10.0.0.20"));
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the card notices", || {
            shown(&mut card, 20)["is_connected"] == false
        });
        assert_eq!(shown(&mut card, 20)["device"]["tx_queues"], serde_json::json!([]));
        assert!(pings(pids[0], "10.0.0.11"));
    }
    assert_eq!(count(&shown(&mut card, 20), "/clients"), 3);
    assert!(Guest::connect(20, &socket).pings(10));
}

fn killed_card() {
    let (mut card, _) = card_with(&[("i-a", &[10])], &[ICMP]);
    let socket = add_device(&mut card, 20, 2);
    let mut guest = Guest::connect(20, &socket);
    assert!(guest.pings(10));
    // What control said last is on disk soon.
    std::thread::sleep(Duration::from_millis(300));
    card.kill_and_restart();
    eventually("the driver notices", || guest.driver.statistics().is_err());
    // Without control: the socket is there, although the killed card left its own.
    let mut guest = Guest::connect(20, &socket);
    eventually("packets pass again", || guest.pings(10));
    card.reconnect();
    assert_eq!(card.running("i-20"), 0);
    assert!(guest.pings(10), "control interrupts nothing");
}
