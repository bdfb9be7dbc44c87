//! Guests that lie, storm and vanish, each beside two neighbours whose packets must go on.
//!
//! Every trial ends with the same questions ([`Scene::end`]): the card is the process that it was, its memory has
//! not grown beyond [`SLACK_BYTES`], the neighbours still reach each other, and a proper driver can use the
//! function that was attacked.

use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use trinic_ena::datapath::MAX_TX_BUFFERS;
use trinic_ena::device::layout::{doorbell_offset, unmask_offset};
use trinic_ena::spec::admin::Direction;
use trinic_ena::spec::descriptor::{RxDescriptor, TxControl, TxDescriptor, TxRequest};
use trinic_ena::spec::registers::{QueueCaps, Register, ResetReason};
use trinic_pci::{Bus, Memory};
use trinic_switch::tables::RuleProtocol;
use zerocopy::IntoBytes;

use crate::ena_guest::{
    Guest, Raw, add_device, arp, checksum, count, echo, eventually, message, shown, words,
};
use crate::harness::{Card, card_with, entered, pings};

pub(crate) fn trials() -> Vec<(&'static str, fn())> {
    vec![
        ("ena_hostile_registers", registers),
        ("ena_hostile_admin_commands", admin_commands),
        ("ena_hostile_doorbells", doorbells),
        ("ena_hostile_transmit_descriptors", transmit_descriptors),
        ("ena_hostile_receive_rings", receive_rings),
        ("ena_hostile_unmapping_and_truncation", memory_goes),
        ("ena_hostile_floods", floods),
        ("ena_hostile_connections", connections),
        ("ena_hostile_queue_churn", queue_churn),
    ]
}

const ANY: RuleProtocol = RuleProtocol::Any;
/// What the card may have more of in the end: traces, pools and caches that fill once.
const SLACK_BYTES: u64 = 32 << 20;
/// How long the neighbours ping each other at least.
const LEAST_PINGS: Duration = Duration::from_secs(1);

/// A card with two neighbours that ping each other all the time, and the function under attack.
struct Scene {
    card: Card,
    pids: Vec<u32>,
    socket: PathBuf,
    /// Taken when it has been asked how it went.
    ping: Option<Child>,
    began: Instant,
    resident_bytes: u64,
}

impl Scene {
    fn new() -> Self {
        let (mut card, pids) = card_with(&[("i-a", &[10]), ("i-b", &[11])], &[ANY]);
        let socket = add_device(&mut card, 20, 4);
        // What a first driver costs is no growth.
        drop(Guest::connect(20, &socket));
        let ping = entered(pids[0], &["ping", "-q", "-n", "-i", "0.01", "10.0.0.11"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let resident_bytes = resident(&card);
        Self {
            card,
            pids,
            socket,
            ping: Some(ping),
            began: Instant::now(),
            resident_bytes,
        }
    }

    /// A driver on a bus that can lie.
    fn raw(&self) -> Guest<Raw> {
        Guest::probe(20, Raw::connect(&self.socket), false)
    }

    /// How often something of the function was counted; see [`count`].
    fn count(&mut self, path: &str) -> u64 {
        count(&shown(&mut self.card, 20), path)
    }

    /// Waits until something was counted.
    fn counted(&mut self, path: &str) {
        eventually(path, || self.count(path) > 0);
    }

    fn end(mut self) {
        assert!(
            self.card.process.try_wait().unwrap().is_none(),
            "the card has ended: {}",
            self.card.log()
        );
        let mut guest = Guest::connect(20, &self.socket);
        assert!(
            guest.pings(10),
            "a proper driver works: {}",
            shown(&mut self.card, 20)
        );
        drop(guest);
        assert!(pings(self.pids[0], "10.0.0.11"));
        let ping = self.ping.take().unwrap();
        // However short the attack was: so many packets that one of them is not much.
        std::thread::sleep(LEAST_PINGS.saturating_sub(self.began.elapsed()));
        let pid = rustix::process::Pid::from_raw(i32::try_from(ping.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = ping.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let line = said
            .lines()
            .find(|line| line.contains("received"))
            .unwrap_or(&said);
        println!("neighbours: {line}");
        // Its packets kept their rate: one each 10 ms, and all but a few were answered. The last one may be under way
        // when ping is told to end, which then does not wait for it.
        let number = |what: &str| {
            let found = line.split(", ").find_map(|part| part.strip_suffix(what));
            found
                .unwrap_or_else(|| panic!("{what} in {said}"))
                .parse::<u64>()
                .unwrap()
        };
        let (sent, received) = (number(" packets transmitted"), number(" received"));
        assert!(received > 0 && received * 20 >= (sent - 1) * 19, "{said}");
        let log = self.card.log();
        assert!(!log.contains("panicked"), "{log}");
        eventually("the client's memory is let go of", || {
            shown(&mut self.card, 20)["is_connected"] == false
        });
        let now = resident(&self.card);
        assert!(
            now < self.resident_bytes + SLACK_BYTES,
            "the card grew from {} to {now} bytes",
            self.resident_bytes
        );
    }
}

impl Drop for Scene {
    /// A trial that fails leaves nothing either.
    fn drop(&mut self) {
        if let Some(mut ping) = self.ping.take() {
            let _ = ping.kill();
            let _ = ping.wait();
        }
    }
}

/// Resident bytes of the card. Source: [proc_pid_status(5)].
fn resident(card: &Card) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", card.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Numbers that look random and are the same each time: xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes
            .iter_mut()
            .for_each(|byte| *byte = self.next().to_le_bytes()[3]);
    }
}

fn registers() {
    let mut scene = Scene::new();
    let mut guest = Some(scene.raw());
    let mut random = Random(0x5eed);
    for _ in 0..6000 {
        let raw = guest.get_or_insert_with(|| scene.raw()).driver.bus().clone();
        let region = [0, 0, 0, 0, 1, 2, 7, 3][usize::try_from(random.below(8)).unwrap()];
        let end = [0x4000, 0x4000, 0x8_0000, 0x1000][usize::try_from(region.min(3)).unwrap()];
        let mut data = [0; 16];
        random.fill(&mut data);
        let length = usize::try_from(random.below(17)).unwrap();
        // Registers more often than all the rest.
        let offset = match random.below(3) {
            0 => random.below(end + 32),
            _ => random.below(0x70) & !3,
        };
        let length = if offset < 0x70 { 4 } else { length };
        let written = raw.write(u32::try_from(region).unwrap(), offset, &data[..length]);
        let read = raw.read(
            u32::try_from(region).unwrap(),
            offset,
            u32::try_from(length).unwrap(),
        );
        if written.is_none() || read.is_none() {
            // It may have been reset, never disconnected by registers alone.
            panic!("the function hung up");
        }
    }
    drop(guest);
    for reason in ["access_size", "unknown_register", "read_only_register"] {
        scene.counted(&format!("/device/refusals/{reason}"));
    }
    scene.counted("/refused_messages/region");
    scene.end();
}

fn admin_commands() {
    let mut scene = Scene::new();
    let mut random = Random(0xadb1);
    let mut raw = Raw::connect(&scene.socket);
    let commands = raw.allocate(64 * 64, 4096).unwrap();
    let completions = raw.allocate(64 * 64, 4096).unwrap();
    let write = |register: Register, value: u32| raw.register_write(0, register.0.into(), value).unwrap();
    let caps = QueueCaps::new().with_depth(64).with_entry_bytes(64).into_bits();
    write(Register::AQ_BASE_LO, u32::try_from(commands).unwrap());
    write(Register::AQ_BASE_HI, 0);
    write(Register::AQ_CAPS, caps);
    write(Register::ACQ_BASE_LO, u32::try_from(completions).unwrap());
    write(Register::ACQ_BASE_HI, 0);
    write(Register::ACQ_CAPS, caps);
    let opcodes = [1, 2, 3, 4, 8, 9, 11, 0, 77];
    for lap in 0..150u32 {
        let mut ring = [0; 64 * 64];
        random.fill(&mut ring);
        for entry in ring.chunks_exact_mut(64) {
            entry[2] = opcodes[usize::try_from(random.below(9)).unwrap()];
            entry[3] = (entry[3] & 6) | u8::from(lap % 2 == 0);
            // Half of them have fields small enough to mean something.
            if random.below(2) == 0 {
                entry[4..].iter_mut().for_each(|byte| *byte &= 7);
            }
        }
        raw.memory().write(commands, &ring).unwrap();
        write(Register::AQ_DB, ((lap + 1) * 64) & 0xffff);
    }
    // More commands than the ring has, and some that were not written.
    write(Register::AQ_DB, 0xfff0);
    write(Register::AQ_CAPS, caps);
    write(Register::AQ_DB, 3);
    drop(raw);
    for reason in [
        "bad_opcode",
        "admin_doorbell",
        "sq_unknown",
        "cq_unknown",
        "unsupported_feature",
    ] {
        scene.counted(&format!("/device/refusals/{reason}"));
    }
    scene.end();
}

fn doorbells() {
    let mut scene = Scene::new();
    let mut guest = scene.raw();
    let raw = guest.driver.bus().clone();
    // Beyond the ring, and where there are no queues at all.
    let tx = doorbell_offset(Direction::TX, 0);
    raw.register_write(0, tx, 257).unwrap();
    scene.counted("/queue_faults/tx-doorbell");
    raw.register_write(0, doorbell_offset(Direction::RX, 0), 40_000)
        .unwrap();
    raw.register_write(0, doorbell_offset(Direction::RX, 1), 40_000)
        .unwrap();
    // Something for it to receive.
    assert!(!pings(scene.pids[0], "10.0.0.20"));
    scene.counted("/queue_faults/rx-doorbell");
    guest.reset_all(ResetReason::GENERIC);
    let mut random = Random(0xd00b);
    for _ in 0..3000 {
        let offset = 0x1000 + random.below(0x800) * 4;
        let value = u32::try_from(random.next() & 0xffff_ffff).unwrap();
        raw.register_write(0, offset, value).unwrap();
    }
    for index in 0..8 {
        raw.register_write(0, unmask_offset(index), u32::MAX).unwrap();
    }
    guest.reset_all(ResetReason::GENERIC);
    assert!(guest.pings(10), "after a reset it is as new");
    drop((guest, raw));
    scene.end();
}

/// What a test puts at the start of the first transmit ring, and the name of what is wrong with it.
type Lie = (&'static str, Vec<TxDescriptor>);

fn lies(buffer: u64) -> Vec<Lie> {
    let control = |first, last, length| {
        TxControl::new()
            .with_phase(true)
            .with_first(first)
            .with_last(last)
            .with_completion(true)
            .with_length(length)
    };
    let data = |first, last, length, address| {
        TxDescriptor::data(control(first, last, length), TxRequest::new(), address, 0)
    };
    let chain = |count: usize, ends: bool| {
        (0..count)
            .map(|index| data(index == 0, ends && index + 1 == count, 64, buffer))
            .collect::<Vec<_>>()
    };
    let meta = TxDescriptor::data(control(false, true, 0).with_meta(true), TxRequest::new(), 0, 0);
    let offload = TxRequest::new().with_l4_checksum(true).with_l4_protocol(12);
    let no_phase = TxControl::new().with_first(true).with_last(true).with_length(60);
    vec![
        ("tx-buffer", vec![data(true, true, 60, 0x7fff_ffff_f000)]),
        (
            "tx-buffer",
            vec![data(true, true, 60, Raw::BASE + Raw::BYTES - 30)],
        ),
        ("tx-length", vec![data(true, true, 13, buffer)]),
        (
            "tx-length",
            vec![data(true, false, 0, buffer), data(false, true, 0, buffer)],
        ),
        ("tx-first", vec![data(false, true, 60, buffer)]),
        (
            "tx-first",
            vec![data(true, false, 60, buffer), data(true, true, 60, buffer)],
        ),
        ("tx-meta", vec![data(true, false, 60, buffer), meta]),
        ("tx-buffers", chain(MAX_TX_BUFFERS + 1, true)),
        ("tx-endless", chain(255, false)),
        (
            "tx-offload",
            vec![TxDescriptor::data(control(true, true, 60), offload, buffer, 0)],
        ),
        (
            "tx-phase",
            vec![TxDescriptor::data(no_phase, TxRequest::new(), buffer, 0)],
        ),
    ]
}

fn transmit_descriptors() {
    let mut scene = Scene::new();
    let mut guest = scene.raw();
    let raw = guest.driver.bus().clone();
    // Admin queue, control page, events, host info; then the rings of each pair, then buffers.
    let ring = raw.allocated[4].0;
    let buffer = raw.allocated.last().unwrap().0;
    for (name, descriptors) in lies(buffer) {
        let path = format!("/queue_faults/{name}");
        let before = scene.count(&path);
        raw.memory().write(ring, descriptors.as_bytes()).unwrap();
        let tail = u32::try_from(descriptors.len()).unwrap();
        raw.register_write(0, doorbell_offset(Direction::TX, 0), tail)
            .unwrap();
        eventually(name, || scene.count(&path) > before);
        guest.reset_all(ResetReason::GENERIC);
    }
    // Anything at all, again and again.
    let mut random = Random(0xde5c);
    for _ in 0..200 {
        let mut bytes = vec![0; 256 * 16];
        random.fill(&mut bytes);
        raw.memory().write(ring, &bytes).unwrap();
        for _ in 0..4 {
            let tail = u32::try_from(random.below(300)).unwrap();
            raw.register_write(0, doorbell_offset(Direction::TX, 0), tail)
                .unwrap();
        }
        guest.reset_all(ResetReason::GENERIC);
    }
    assert!(guest.pings(10));
    drop((guest, raw));
    scene.end();
}

fn receive_rings() {
    let mut scene = Scene::new();
    let mut guest = scene.raw();
    let raw = guest.driver.bus().clone();
    let ring_of = |pair: usize| raw.allocated[4 + pair * 4 + 2].0;
    let outside = 0x7fff_ffff_f000;
    let buffer = raw.allocated.last().unwrap().0;
    let tiny = |id| RxDescriptor::new(true, id, buffer, 1);
    let rings: [(&str, Vec<RxDescriptor>); 4] = [
        (
            "rx-buffer",
            (0..200)
                .map(|id| RxDescriptor::new(true, id, outside, 2048))
                .collect(),
        ),
        (
            "rx-phase",
            (0..200)
                .map(|id| RxDescriptor::new(false, id, buffer, 2048))
                .collect(),
        ),
        // A ping has 98 bytes, and a packet 17 buffers at most.
        ("rx-too-long", (0..200).map(tiny).collect()),
        ("rx-no-descriptors", Vec::new()),
    ];
    for (name, descriptors) in rings {
        let path = format!("/queue_faults/{name}");
        let before = scene.count(&path);
        guest.reset_all_empty(ResetReason::GENERIC);
        for pair in 0..2u16 {
            raw.memory()
                .write(ring_of(pair.into()), descriptors.as_bytes())
                .unwrap();
            let tail = u32::try_from(descriptors.len()).unwrap();
            raw.register_write(0, doorbell_offset(Direction::RX, pair), tail)
                .unwrap();
        }
        assert!(!pings(scene.pids[0], "10.0.0.20"));
        eventually(name, || scene.count(&path) > before);
    }
    guest.reset_all(ResetReason::GENERIC);
    assert!(guest.pings(10));
    drop((guest, raw));
    scene.end();
}

fn memory_goes() {
    let mut scene = Scene::new();
    for _ in 0..10 {
        let mut guest = scene.raw();
        let raw = guest.driver.bus().clone();
        for _ in 0..100 {
            guest.send(&echo(20, 10));
        }
        // With packets in the queues, and replies on their way. A part of a map cannot go; what is not there
        // may, as VFIO has it.
        assert_ne!(raw.unmap(Raw::BASE + 4096, 4096), Some(0));
        assert_eq!(raw.unmap(Raw::BASE, Raw::BYTES), Some(0));
        assert_eq!(raw.unmap(Raw::BASE, Raw::BYTES), Some(0));
        raw.register_write(0, doorbell_offset(Direction::TX, 1), 9)
            .unwrap();
        assert_eq!(raw.map(Raw::BASE, Raw::BYTES), Some(0));
        guest.reset_all(ResetReason::GENERIC);
        assert!(guest.pings(10));
    }
    scene.counted("/queue_faults/tx-ring");
    scene.counted("/refused_messages/unmap");
    for _ in 0..10 {
        let mut guest = scene.raw();
        let raw = guest.driver.bus().clone();
        for _ in 0..100 {
            guest.send(&echo(20, 10));
        }
        rustix::fs::ftruncate(&raw.file, 0).unwrap();
        // The next access of the queue finds that out, and the client is disconnected.
        let _ = raw.register_write(0, doorbell_offset(Direction::TX, 1), 9);
        eventually("the client is disconnected", || raw.read(0, 0, 4).is_none());
    }
    scene.counted("/refused_messages/cut-off");
    scene.end();
}

fn floods() {
    let mut scene = Scene::new();
    let mut guest = Guest::connect(20, &scene.socket);
    let dns = udp_to_resolver();
    for round in 0..400u16 {
        for step in 0..50 {
            let address = Ipv4Addr::new(10, 0, 0, u8::try_from((round + step) % 250).unwrap());
            guest.send(&arp(20, address));
            guest.send(&dns);
            guest.send(&echo(20, 10));
        }
        guest.receive();
    }
    let stats = scene.card.ask(trinic::protocol::Query::Stats {
        interface: Some("eni-20".into()),
    });
    println!("flood: {} packets out", stats["packets_out"]);
    assert!(count(&stats, "/packets_out") > 0, "{stats}");
    drop(guest);
    scene.end();
}

/// A UDP datagram to the resolver that is no question.
fn udp_to_resolver() -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&trinic_switch::ROUTER_MAC);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 20]);
    frame[12..18].copy_from_slice(&[8, 0, 0x45, 0, 0, 46]);
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 20, 10, 0, 0, 2]);
    frame[34..40].copy_from_slice(&[0x40, 0, 0, 53, 0, 26]);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum);
    frame
}

fn connections() {
    let mut scene = Scene::new();
    for round in 0..600u32 {
        let Ok(mut stream) = UnixStream::connect(&scene.socket) else {
            continue;
        };
        let version = message(1, 1, &[&[0; 4]]);
        let bytes = match round % 6 {
            0 => Vec::new(),
            1 => version[..7].to_vec(),
            2 => version,
            3 => [version, message(2, 9, &[&[0; 16]])[..20].to_vec()].concat(),
            4 => [1u16.to_ne_bytes().to_vec(), vec![9, 0], words(&[u32::MAX, 0, 0])].concat(),
            _ => [version, message(2, 99, &[&[0; 64]])].concat(),
        };
        // The server may have hung up already.
        let _ = std::io::Write::write_all(&mut stream, &bytes);
        if round % 2 == 0 {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
    // In the storm most were turned away, since one was in at a time; now one that is surely heard.
    let mut raw = Raw::connect(&scene.socket);
    assert_ne!(raw.ask(99, &[&[0; 64]], &[]).unwrap().0, 0);
    let lost = [1u16.to_ne_bytes().to_vec(), vec![9, 0], words(&[u32::MAX, 0, 0])].concat();
    std::io::Write::write_all(&mut raw.stream, &lost).unwrap();
    assert_eq!(raw.read(0, 0, 4), None);
    let guest = Guest::connect(20, &scene.socket);
    for _ in 0..50 {
        drop(UnixStream::connect(&scene.socket));
    }
    for reason in ["header", "command", "busy"] {
        scene.counted(&format!("/refused_messages/{reason}"));
    }
    drop(guest);
    // One that asks without end and never reads an answer, and then wants to be let go.
    let deaf = Raw::connect(&scene.socket);
    deaf.stream.set_nonblocking(true).unwrap();
    let question = message(7, 9, &[&[0; 8], &words(&[7, 256])]);
    let mut told = 0;
    while told < 100_000 && std::io::Write::write_all(&mut &deaf.stream, &question).is_ok() {
        told += 1;
    }
    assert!(told < 100_000, "its server stops to listen");
    assert_eq!(shown(&mut scene.card, 20)["device"]["driver"], "no-driver");
    drop(deaf);
    scene.end();
}

fn queue_churn() {
    let mut scene = Scene::new();
    let mut guest = Guest::connect(20, &scene.socket);
    // Each makes and destroys four submission and four completion queues.
    for _ in 0..250 {
        guest.reset_all(ResetReason::NORMAL);
        guest.send(&echo(20, 10));
    }
    assert!(guest.pings(10));
    let function = shown(&mut scene.card, 20);
    let resets = function["device"]["resets"].as_array().unwrap();
    assert!(
        resets.iter().any(|reset| count(reset, "/count") >= 250),
        "{function}"
    );
    drop(guest);
    scene.end();
}

impl<B: Bus> Guest<B> {
    /// Resets the function and posts buffers again.
    fn reset_all(&mut self, reason: ResetReason) {
        self.reset_all_empty(reason);
        self.post();
    }

    fn reset_all_empty(&mut self, reason: ResetReason) {
        self.driver
            .reset(reason, &mut self.pairs, &mut self.buffers)
            .unwrap();
    }
}
