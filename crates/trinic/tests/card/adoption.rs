//! A card that is killed and started again takes over what runs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use trinic::protocol::InterfaceReport;
use trinic_switch::tables::{Entry, RuleProtocol};

use crate::harness::{card_with, entered, instance, interface, pings};

pub(crate) fn trials() -> Vec<(&'static str, fn())> {
    vec![
        ("a_killed_card_is_followed_by_one_that_goes_on", a_killed_card),
        ("what_died_with_the_card_is_made_again", what_died),
        ("an_update_just_before_the_kill_loses_no_instance", killed_at_once),
        ("a_control_that_dies_interrupts_nothing", a_control_that_dies),
    ]
}

const ICMP: RuleProtocol = RuleProtocol::Number(1);

fn a_killed_card() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ICMP]);
    assert!(pings(pids[0], "10.0.0.11"));
    // What control said last is on disk soon.
    std::thread::sleep(Duration::from_millis(300));
    let ping = entered(
        pids[0],
        &["ping", "-D", "-n", "-i", "0.02", "-w", "3", "10.0.0.11"],
    )
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    card.kill_and_restart();
    let output = ping.wait_with_output().unwrap();
    let gap = longest_gap(&String::from_utf8(output.stdout).unwrap());
    println!("without traffic: {gap:?}");
    assert!(
        gap < Duration::from_secs(1),
        "{gap:?} without traffic: {}",
        card.log()
    );
    // No control was needed for that; one that comes finds everything in place.
    card.reconnect();
    for (id, pid) in [("i-a", pids[0]), ("i-b", pids[1])] {
        assert_eq!(card.running(id), pid, "the same process runs on");
    }
    for id in ["eni-10", "eni-11"] {
        assert!(matches!(card.interfaces[id], InterfaceReport::Attached { .. }));
    }
}

/// The longest time between two replies, from the time stamps of `ping -D`.
fn longest_gap(output: &str) -> Duration {
    let times: Vec<f64> = output
        .lines()
        .filter(|line| line.contains("bytes from"))
        .filter_map(|line| line.strip_prefix('[')?.split(']').next()?.parse().ok())
        .collect();
    assert!(times.len() > 20, "{output}");
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    Duration::from_secs_f64(gap)
}

fn what_died() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ICMP]);
    std::thread::sleep(Duration::from_millis(300));
    let victim = rustix::process::Pid::from_raw(i32::try_from(pids[1]).unwrap()).unwrap();
    card.process.kill().unwrap();
    card.process.wait().unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    card.kill_and_restart();
    card.reconnect();
    assert_eq!(card.running("i-a"), pids[0]);
    let again = card.running("i-b");
    assert_ne!(again, pids[1]);
    assert!(pings(pids[0], "10.0.0.11"));
    assert!(pings(again, "10.0.0.10"));
}

/// The last update may not be on disk yet; the instance that it made is, and lives on until control speaks.
fn killed_at_once() {
    let (mut card, pids) = card_with(&[("i-a", &[10])], &[ICMP]);
    std::thread::sleep(Duration::from_millis(300));
    card.update(
        vec![Entry::Interface(interface(11, Some("i-b")))],
        vec![instance("i-b", &[11])],
        &[],
    );
    let pid = card.running("i-b");
    card.kill_and_restart();
    card.reconnect();
    assert_eq!(card.running("i-a"), pids[0]);
    assert_eq!(card.running("i-b"), pid);
    assert!(pings(pids[0], "10.0.0.11"));
}

fn a_control_that_dies() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ICMP]);
    let started = Instant::now();
    for _ in 0..5 {
        card.reconnect();
        assert!(pings(pids[0], "10.0.0.11"));
        card.until("everything is reported again", |card| card.interfaces.len() == 2);
        assert_eq!(card.running("i-a"), pids[0]);
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}
