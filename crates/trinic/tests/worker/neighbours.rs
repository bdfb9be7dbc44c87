//! What a neighbour gets of the worker's turns while another function lies, storms and resets.
//!
//! The worker runs on the test's thread, one turn after the other, and the turns are counted: no clock, and no other
//! load of the machine, has a part in it. Each attack has work for the worker in every turn. Two things must hold: the
//! neighbour's frames go in as many turns as they need alone, and what the attacker makes of a turn is bounded. So
//! a neighbour's packet rate depends on how many functions a card has, and not on what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use trinic::card::ena::BATCH_PACKETS;
use trinic::card::worker::Worker;
use trinic_ena::datapath::{
    Change, CompletionQueue, Placement, SEGMENT_WORK, Segmentation, TURN_WORK, TxQueue,
};
use trinic_ena::device::layout::{doorbell_offset, unmask_offset};
use trinic_ena::driver::{Config, Request, TransportChecksum};
use trinic_ena::spec::admin::Direction;
use trinic_ena::spec::descriptor::{TxControl, TxDescriptor, TxRequest};
use trinic_ena::spec::registers::ResetReason;
use trinic_pci::{Bus, Memory};
use trinic_wire::tcp::Flags;
use zerocopy::IntoBytes;

use crate::packets::{TCP_HEADERS, datagram, segment};
use crate::rig::{End, Rig};

pub(crate) fn trials() -> Vec<crate::Case> {
    vec![
        (
            "neighbours_keep_their_turns_beside_malformed_packets",
            false,
            malformed,
        ),
        ("neighbours_keep_their_turns_beside_long_chains", false, chains),
        (
            "neighbours_keep_their_turns_beside_long_frames",
            false,
            long_frames,
        ),
        (
            "neighbours_keep_their_turns_beside_super_frames",
            false,
            super_frames,
        ),
        (
            "neighbours_keep_their_turns_beside_doorbell_storms",
            false,
            doorbells,
        ),
        ("neighbours_keep_their_turns_beside_queue_churn", false, churn),
        ("neighbours_keep_their_turns_beside_resets", false, resets),
    ]
}

/// Frames that the neighbour has to send, and the turns that they need.
const FRAMES: usize = 512;
const TURNS: usize = FRAMES / BATCH_PACKETS;
/// The attacker's queues.
const QUEUES: u16 = 32;
const DEPTH: u16 = 1024;
/// The attacker's two functions are the third and the fourth that are made.
const ATTACKER: u64 = 2;
const ACCOMPLICE: u64 = 3;
/// What one packet may have at most, with which a turn may go beyond its bounds.
const PACKET_BYTES: u64 = 64 << 10;
const PACKET_SEGMENTS: u64 = 1024;

/// Two neighbours, and a worker that stands still until the test turns it. The worker is the first to go: drivers
/// that go ask it, and would wait.
struct Scene {
    worker: Worker,
    near: End,
    far: End,
    attacker: End,
    accomplice: End,
    rig: Rig,
    frame: Vec<u8>,
}

/// What was counted of the attacker.
#[derive(Debug, Default)]
struct Looked {
    /// Packets taken, and such as made no sense.
    packets: AtomicU64,
    bytes: AtomicU64,
    /// Frames that the accomplice got.
    segments: AtomicU64,
}

impl Scene {
    fn new(attacker: Config, accomplice: Config) -> Self {
        let mut rig = Rig::new(&[4, 5, 20, 21], &[]);
        let near = rig.driver(4, small(1));
        let far = rig.driver(5, small(1));
        let attacker = rig.driver(20, attacker);
        let accomplice = rig.driver(21, accomplice);
        let mut scene = Self {
            worker: rig.stop(),
            near,
            far,
            attacker,
            accomplice,
            rig,
            frame: datagram(4, 5, (4_000, 5_000), 60),
        };
        assert_eq!(scene.turns(&mut |_, _| ()), [TURNS as u64, 0, 0, 0], "alone");
        scene
    }

    /// Counts the turns that the neighbour's frames take, with something before each of them, and what the attacker
    /// made of all of them. In each it may make only so much.
    fn turns(&mut self, before: &mut dyn FnMut(&mut End, &Rig)) -> [u64; 4] {
        self.near.send(&self.frame, Request::default(), FRAMES);
        let (mut arrived, mut turns) = (0, 0);
        let first = self.look();
        let mut seen = first;
        while arrived < FRAMES {
            before(&mut self.attacker, &self.rig);
            assert!(self.worker.step().unwrap());
            turns += 1;
            arrived += self.far.receive();
            self.near.receive();
            assert!(turns < 10 * TURNS as u64, "{arrived} frames in {turns} turns");
            let now = self.look();
            let [packets, bytes, segments] = [0, 1, 2].map(|at| now[at] - seen[at]);
            assert!(packets <= BATCH_PACKETS as u64, "{packets} packets in a turn");
            assert!(bytes < TURN_WORK as u64 + PACKET_BYTES, "{bytes} bytes in a turn");
            let most = (TURN_WORK / SEGMENT_WORK) as u64 + PACKET_SEGMENTS;
            assert!(segments < most, "{segments} segments in a turn");
            self.accomplice.receive();
            seen = now;
        }
        let [packets, bytes, segments] = [0, 1, 2].map(|at| seen[at] - first[at]);
        println!(
            "{turns} turns, in which the attacker had {packets} packets of {bytes} bytes, {segments} arrived"
        );
        [turns, packets, bytes, segments]
    }

    /// As [`Self::turns`]: no more of them than alone, and the attacker had work in all.
    fn beside(&mut self, before: &mut dyn FnMut(&mut End, &Rig)) -> [u64; 4] {
        let counted = self.turns(before);
        assert_eq!(counted[0], TURNS as u64);
        counted
    }

    /// What was counted so far. Asked between two turns, as the worker handles messages.
    fn look(&mut self) -> [u64; 3] {
        let looked = Arc::new(Looked::default());
        let told = looked.clone();
        self.rig.later(move |inside| {
            let faults = inside.device(ATTACKER).unwrap().faults();
            let faults = faults.iter().filter(|(name, _)| name.starts_with("tx-"));
            let faults: u64 = faults.map(|(_, count)| count).sum();
            let said = inside.device(ATTACKER).unwrap().statistics();
            told.packets.store(said.tx_packets + faults, Ordering::Relaxed);
            told.bytes.store(said.tx_bytes, Ordering::Relaxed);
            let got = inside.device(ACCOMPLICE).unwrap().statistics().rx_packets;
            told.segments.store(got, Ordering::Relaxed);
        });
        assert!(self.worker.handle_messages());
        [&looked.packets, &looked.bytes, &looked.segments].map(|place| place.load(Ordering::Relaxed))
    }
}

pub(crate) fn small(queue_pairs: u16) -> Config {
    Config {
        queue_pairs,
        tx_depth: DEPTH,
        rx_depth: DEPTH,
        buffers: if queue_pairs == 1 {
            2 * u32::from(DEPTH)
        } else {
            64
        },
        llq: false,
        ..Config::default()
    }
}

fn large() -> Config {
    Config {
        mtu: 9_001,
        buffers: 512,
        buffer_bytes: 65_535,
        tx_depth: 256,
        rx_depth: 256,
        ..small(1)
    }
}

/// Fills the attacker's rings with descriptors, each of a queue with what `descriptor` says of it.
fn fill(attacker: &End, descriptor: impl Fn(u16, u64) -> TxDescriptor) {
    let bus = attacker.driver.bus();
    let places = bus.allocated();
    let buffer = *places.last().unwrap();
    for pair in 0..QUEUES {
        let ring: Vec<TxDescriptor> = (0..DEPTH).map(|entry| descriptor(entry, buffer)).collect();
        // Admin queue, control page, events and host information; then four rings of each pair, the first its own.
        let place = places[4 + usize::from(pair) * 4];
        bus.memory().write(place, ring.as_bytes()).unwrap();
        bus.register_write(0, doorbell_offset(Direction::TX, pair), DEPTH.into())
            .unwrap();
    }
}

fn data(first: bool, last: bool, length: u16, buffer: u64) -> TxDescriptor {
    let control = TxControl::new()
        .with_phase(true)
        .with_first(first)
        .with_last(last)
        .with_completion(true)
        .with_length(length);
    TxDescriptor::data(control, TxRequest::new(), buffer, 0)
}

/// Every queue is full of packets that are too short: 32,768 of them, none of which goes anywhere.
fn malformed() {
    let mut scene = Scene::new(small(QUEUES), small(1));
    fill(&scene.attacker, |_, buffer| data(true, true, 13, buffer));
    let [_, packets, ..] = scene.beside(&mut |_, _| ());
    assert_eq!(packets, FRAMES as u64, "as many as a neighbour's");
}

/// Every packet of every queue has nearly as many descriptors as its ring is taken for nonsense by.
fn chains() {
    const CHAIN: u16 = 32;
    let mut scene = Scene::new(small(QUEUES), small(1));
    fill(&scene.attacker, |entry, buffer| {
        data(entry % CHAIN == 0, entry % CHAIN == CHAIN - 1, 64, buffer)
    });
    let [_, packets, ..] = scene.beside(&mut |_, _| ());
    assert_eq!(packets, FRAMES as u64, "as many as a neighbour's");
}

/// As many frames of the VPC's MTU as there is room for, to a function of its own.
fn long_frames() {
    let mut scene = Scene::new(large(), large());
    let frame = datagram(20, 21, (1, 2), 14 + 9_001);
    let [.., bytes, _] = scene.beside(&mut |attacker, _| attacker.send_what_fits(&frame, Request::default()));
    assert!(bytes > 7 * TURN_WORK as u64, "{bytes}: it had work in every turn");
}

/// As many super-frames of a thousand segments as there is room for, to a function of its own.
fn super_frames() {
    const MSS: u16 = 64;
    let mut scene = Scene::new(
        large(),
        Config {
            buffers: 2 * u32::from(DEPTH),
            buffer_bytes: 2048,
            rx_depth: DEPTH,
            ..large()
        },
    );
    let mut frame = segment(20, 21, (1, 2), Flags::ACK, TCP_HEADERS + 1_000 * usize::from(MSS));
    frame[50..52].fill(0);
    let cut = Request {
        segmentation: Some(Segmentation {
            is_ipv6: false,
            mss: MSS,
            header_bytes: u16::try_from(TCP_HEADERS).unwrap(),
        }),
        checksum: Some(TransportChecksum::Tcp),
        l2_bytes: 14,
        l3_bytes: 20,
        ..Request::default()
    };
    let [_, packets, _, segments] = scene.beside(&mut |attacker, _| attacker.send_what_fits(&frame, cut));
    assert!((TURNS as u64..=2 * TURNS as u64).contains(&packets), "{packets}");
    assert!(
        segments > 500 * TURNS as u64,
        "{segments}: it had work in every turn"
    );
}

/// All doorbells and all interrupt registers, before every turn, with numbers that mean nothing.
fn doorbells() {
    let mut scene = Scene::new(small(QUEUES), small(1));
    let mut times = 0_u32;
    let [_, packets, ..] = scene.beside(&mut |attacker, _| {
        times += 1;
        let bus = attacker.driver.bus();
        for pair in 0..QUEUES {
            for direction in [Direction::TX, Direction::RX] {
                let value = times.wrapping_mul(0x9e37_79b9) ^ u32::from(pair);
                bus.register_write(0, doorbell_offset(direction, pair), value)
                    .unwrap();
            }
        }
        for index in 0..QUEUES {
            bus.register_write(0, unmask_offset(index), u32::MAX).unwrap();
        }
    });
    assert!(packets > 0, "{packets}");
}

/// More commands than the worker takes before all the neighbour's turns, each of which makes a queue or takes all away.
fn churn() {
    /// Commands before a turn.
    const COMMANDS: u64 = 64;
    let mut scene = Scene::new(small(1), small(1));
    let made = Arc::new(AtomicU64::new(0));
    for number in 0..2 * COMMANDS * TURNS as u64 {
        let made = made.clone();
        scene.rig.later(move |inside| {
            let now = inside.now;
            let change = if number % 8 == 0 {
                Change::Reset
            } else {
                Change::CreateTx(0, queue())
            };
            inside.device(ATTACKER).unwrap().apply(change, now);
            made.fetch_add(1, Ordering::Relaxed);
        });
    }
    scene.near.send(&scene.frame, Request::default(), FRAMES);
    let mut arrived = 0;
    for turn in 1..=TURNS {
        assert!(scene.worker.step().unwrap());
        arrived += scene.far.receive();
        assert_eq!(arrived, turn * BATCH_PACKETS);
        assert_eq!(made.load(Ordering::Relaxed), turn as u64 * COMMANDS);
    }
}

fn queue() -> TxQueue {
    TxQueue {
        placement: Placement::Host(0x1000_0000),
        depth: DEPTH,
        doorbell_offset: doorbell_offset(Direction::TX, 0),
        completions: CompletionQueue {
            index: 0,
            base: 0x1000_0000,
            depth: DEPTH,
            entry_bytes: 8,
            vector: None,
            unmask_offset: unmask_offset(0),
        },
        meta_caching_disabled: false,
    }
}

/// A driver on a thread of its own that resets its function again and again, with 32 queue pairs each time: as many
/// commands to the worker as its other half can give.
fn resets() {
    let Scene {
        mut worker,
        mut near,
        mut far,
        attacker,
        accomplice,
        rig,
        frame,
    } = Scene::new(small(QUEUES), small(1));
    let stop = Arc::new(AtomicBool::new(false));
    let (told, done) = (stop.clone(), Arc::new(AtomicU64::new(0)));
    let counted = done.clone();
    let thread = std::thread::spawn(move || {
        let mut attacker = attacker;
        while !told.load(Ordering::Relaxed) {
            attacker.reset(ResetReason::GENERIC);
            counted.fetch_add(1, Ordering::Relaxed);
        }
        attacker
    });
    // Resets are slow beside turns, so the neighbour sends again and again.
    let mut laps = 0;
    while done.load(Ordering::Relaxed) < 20 {
        near.send(&frame, Request::default(), FRAMES);
        let (mut arrived, mut turns) = (0, 0);
        while arrived < FRAMES {
            assert!(worker.step().unwrap());
            turns += 1;
            arrived += far.receive();
            near.receive();
            assert!(turns <= TURNS, "{arrived} frames in {turns} turns");
        }
        laps += 1;
    }
    println!("{laps} times {TURNS} turns during 20 resets");
    stop.store(true, Ordering::Relaxed);
    while !thread.is_finished() {
        assert!(worker.step().unwrap());
    }
    drop(worker);
    drop((thread.join().unwrap(), accomplice, near, far, rig));
}
