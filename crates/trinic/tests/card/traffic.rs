//! What passes: services, the internet, super-frames.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use trinic::protocol::{Query, TraceRequest};
use trinic_host::NetNs;
use trinic_switch::tables::RuleProtocol;

use crate::harness::{card_with, inside, pings};

pub(crate) fn trials() -> Vec<(&'static str, fn())> {
    vec![
        ("the_internet_reaches_public_addresses_and_back", the_internet),
        ("metadata_answers_on_the_interface", metadata),
        ("tcp_passes_in_super_frames", super_frames),
        ("a_card_at_rest_uses_no_processor", rest),
        ("a_trace_names_the_rule_that_is_missing", trace),
    ]
}

const ANY: RuleProtocol = RuleProtocol::Any;

fn the_internet() {
    let (mut card, pids) = card_with(&[("i-a", &[10])], &[ANY]);
    let internet = card.internet();
    assert!(pings(pids[0], "203.0.113.1"));
    assert!(pings(internet, "198.18.0.10"));
    assert!(!pings(internet, "198.18.0.77"), "nobody has this address");
}

/// Runs `task` in the network namespace of an instance.
fn within<T: Send>(pid: u32, task: impl FnOnce() -> T + Send) -> T {
    NetNs::of_process(pid).unwrap().run(task).unwrap()
}

fn metadata() {
    let (_card, pids) = card_with(&[("i-a", &[10])], &[]);
    let reply = within(pids[0], || {
        let mut stream = TcpStream::connect("169.254.169.254:80").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
            .write_all(b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    });
    assert!(
        reply.starts_with("HTTP/1.1 200") && reply.ends_with("i-a"),
        "{reply}"
    );
}

fn super_frames() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ANY]);
    let listener = within(pids[1], || TcpListener::bind("10.0.0.11:5001").unwrap());
    let mut sender = within(pids[0], || TcpStream::connect("10.0.0.11:5001").unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 256;
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        let (mut total, mut sum) = (0, 0_u64);
        loop {
            match receiver.read(&mut buffer).unwrap() {
                0 => return (total, sum),
                n => {
                    total += n;
                    sum = buffer[..n].iter().fold(sum, |sum, byte| {
                        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
                    });
                }
            }
        }
    });
    let chunk: Vec<u8> = (0..CHUNK).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let started = Instant::now();
    let mut sum = 0_u64;
    for _ in 0..CHUNKS {
        sender.write_all(&chunk).unwrap();
        sum = chunk.iter().fold(sum, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
    }
    drop(sender);
    assert_eq!(reading.join().unwrap(), (CHUNK * CHUNKS, sum));
    let elapsed = started.elapsed();
    let stats = card.ask(Query::Stats {
        interface: Some("eni-11".into()),
    });
    let bytes = stats["bytes_in"].as_u64().unwrap();
    let packets = stats["packets_in"].as_u64().unwrap();
    println!("{bytes} bytes in {packets} packets in {elapsed:?}");
    // Larger than any MTU on average: the stream crossed in super-frames.
    assert!(bytes / packets > 9001, "{stats}");
}

fn rest() {
    let (mut card, pids) = card_with(&[("i-a", &[10])], &[ANY]);
    assert!(pings(pids[0], "10.0.0.1"));
    card.internet();
    std::thread::sleep(Duration::from_millis(200));
    let before = processor_ticks(card.process.id());
    std::thread::sleep(Duration::from_secs(2));
    let used = processor_ticks(card.process.id()) - before;
    // 100 ticks are one second: two seconds at 1 % of a core are 2 ticks.
    assert!(used <= 2, "{used} ticks in two seconds");
}

/// User and system time of a process in clock ticks. Source: [proc_pid_stat(5), fields 14 and 15].
fn processor_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = after.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn trace() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[]);
    let request = TraceRequest {
        interface: "eni-10".into(),
        source: None,
        destination: "10.0.0.11".parse().unwrap(),
        protocol: 6,
        source_port: 40_000,
        destination_port: 22,
    };
    let trace = card.ask(Query::Trace(request));
    let minimal = trace["minimal"].as_str().unwrap();
    assert!(
        minimal.ends_with("= dropped security-group-inbound\n"),
        "{minimal}"
    );
    let links = inside(pids[0], &["cat", "/proc/net/dev"]).stdout;
    assert!(String::from_utf8(links).unwrap().contains("eth0"));
}
