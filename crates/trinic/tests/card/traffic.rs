//! What passes: services, the internet, super-frames.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use trinic::protocol::{Query, TraceRequest};
use trinic_switch::tables::RuleProtocol;

use crate::harness::{card_with, entered, inside, pings};

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

fn metadata() {
    let (_card, pids) = card_with(&[("i-a", &[10])], &[]);
    let reply = run(pids[0], &["fetch", "169.254.169.254:80"])
        .wait_with_output()
        .unwrap();
    let reply = String::from_utf8(reply.stdout).unwrap();
    assert!(
        reply.starts_with("HTTP/1.1 200") && reply.ends_with("i-a"),
        "{reply}"
    );
}

fn super_frames() {
    let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ANY]);
    let receiver = run(pids[1], &["receive", "10.0.0.11:5001"]);
    let sender = run(pids[0], &["send", "10.0.0.11:5001"]);
    let sent = sender.wait_with_output().unwrap();
    let received = receiver.wait_with_output().unwrap();
    // Both print how many bytes there were and a sum over them in order.
    assert!(
        sent.status.success() && sent.stdout == received.stdout,
        "{sent:?} {received:?}"
    );
    let stats = card.ask(Query::Stats {
        interface: Some("eni-11".into()),
    });
    let bytes = stats["bytes_in"].as_u64().unwrap();
    let packets = stats["packets_in"].as_u64().unwrap();
    println!("{bytes} bytes in {packets} packets");
    assert!(bytes >= u64::try_from(CHUNK * CHUNKS).unwrap(), "{stats}");
    // Larger than any MTU on average: the stream crossed in super-frames.
    assert!(bytes / packets > 9001, "{stats}");
}

const CHUNK: usize = 1 << 20;
const CHUNKS: usize = 128;

/// Starts this program inside an instance; see [`run_inside`].
fn run(pid: u32, arguments: &[&str]) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = vec![program.to_str().unwrap(), "inside"];
    command.extend(arguments);
    entered(pid, &command).stdout(Stdio::piped()).spawn().unwrap()
}

/// What this program does inside an instance; `false` when it was not started for that.
pub(crate) fn run_inside() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["inside", "fetch", address] => fetch(address),
        ["inside", "receive", address] => receive(address),
        ["inside", "send", address] => send(address),
        ["inside", "hello", socket] => hello(socket),
        _ => return false,
    }
    true
}

/// Whether a card that listens on `socket` talks to this process.
fn hello(socket: &str) {
    let mut stream = UnixStream::connect(socket).unwrap();
    match stream.read(&mut [0; 4]).unwrap() {
        0 => print!("closed"),
        _ => print!("served"),
    }
}

fn fetch(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
        .write_all(b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    print!("{reply}");
}

fn receive(address: &str) {
    let (mut stream, _) = TcpListener::bind(address).unwrap().accept().unwrap();
    let mut buffer = vec![0; CHUNK];
    let (mut total, mut sum) = (0, 0);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            n => {
                total += n;
                sum = summed(sum, &buffer[..n]);
            }
        }
    }
    print!("{total} {sum}");
}

fn send(address: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let chunk: Vec<u8> = (0..CHUNK).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let mut sum = 0;
    for _ in 0..CHUNKS {
        stream.write_all(&chunk).unwrap();
        sum = summed(sum, &chunk);
    }
    print!("{} {sum}", CHUNK * CHUNKS);
}

/// A sum that depends on every byte and its place.
fn summed(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    })
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
