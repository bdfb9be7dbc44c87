//! What a neighbour gets of the worker's turns while a port of the kernel gives nothing but super-frames.
//!
//! As in the tests of neighbours the worker runs on the test's thread, and what one turn has is counted. The ports are
//! queues in memory, which the worker reads as it reads taps: a guest with raw sockets decides what is in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trinic::card::backend::Plug;
use trinic::card::clock;
use trinic::card::ena::BATCH_PACKETS;
use trinic::card::memory_port::MemoryPort;
use trinic::card::worker::Worker;
use trinic_ena::datapath::{SEGMENT_WORK, TURN_WORK};
use trinic_ena::driver::Request;
use trinic_host::port::{Port, SLOT_BYTES, Written};
use trinic_host::vnet::{GSO_TCPV4, GSO_UDP_L4, UDP_SEGMENTS_MAX, VnetHeader};
use trinic_wire::tcp::Flags;
use zerocopy::IntoBytes;

use crate::neighbours::small;
use crate::packets::{TCP_HEADERS, UDP_HEADERS, datagram, segment, super_header};
use crate::rig::{End, Rig};

pub(crate) fn trials() -> Vec<crate::Case> {
    vec![
        (
            "segments_of_a_ports_turn_are_bounded_toward_a_function",
            false,
            toward_function,
        ),
        (
            "segments_of_a_ports_turn_are_bounded_toward_a_port",
            false,
            toward_port,
        ),
        ("bulk_of_a_port_goes_in_whole_batches", false, bulk),
    ]
}

/// Turns that are counted.
const TURNS: u64 = 8;
/// Payload bytes of a segment: the least that a function cuts.
const MSS: u16 = 8;
/// After as many segments a port's turn is over.
const SEGMENTS: u64 = (TURN_WORK / SEGMENT_WORK) as u64;
/// Frames that wait at a port: more than one turn takes.
const WAITING: usize = 2 * BATCH_PACKETS;
/// Longer than functions that are busy may keep the worker from looking at other ports.
const PAUSE: Duration = Duration::from_micros(100);

/// The functions 4 and 5 and the ports 6 and 7 are neighbours, 20 attacks by what it sends to 21.
struct Scene {
    worker: Worker,
    near: End,
    far: End,
    six: MemoryPort,
    seven: MemoryPort,
    attacker: MemoryPort,
    accomplice: Accomplice,
    rig: Rig,
    sent: u32,
    taken: u32,
}

enum Accomplice {
    Function(Box<End>),
    Port(MemoryPort),
}

/// What a turn had of the attacker.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    frames: u64,
    bytes: u64,
}

impl Scene {
    fn new(is_function: bool) -> Self {
        let mut rig = Rig::new(&[4, 5, 6, 7, 20, 21], &[]);
        let (near, far) = (rig.driver(4, small(1)), rig.driver(5, small(1)));
        let [six, seven, attacker] = [6, 7, 20].map(|n| port(&rig, n));
        let accomplice = if is_function {
            Accomplice::Function(Box::new(rig.driver(21, small(1))))
        } else {
            Accomplice::Port(port(&rig, 21))
        };
        Self {
            worker: rig.stop(),
            near,
            far,
            six,
            seven,
            attacker,
            accomplice,
            rig,
            sent: 0,
            taken: 0,
        }
    }

    /// One turn, before which the attacker's queue is filled with a frame that is cut into `segments`. What both
    /// neighbours send must arrive in it. What it takes of the attacker is bounded, and all of that arrives: a port's
    /// in order, without a gap between two turns.
    fn turn(&mut self, attack: &mut [u8], segments: u64) -> Turn {
        self.near
            .send(&datagram(4, 5, (1, 2), 60), Request::default(), BATCH_PACKETS);
        let small = [VnetHeader::NONE.as_bytes(), &datagram(6, 7, (1, 2), 60)].concat();
        assert_eq!(self.six.write(&small).unwrap(), Written::Sent);
        loop {
            *attack.last_chunk_mut().unwrap() = self.sent.to_be_bytes();
            if self.attacker.write(attack).unwrap() != Written::Sent {
                break;
            }
            self.sent += 1;
        }
        let before = self.look();
        std::thread::sleep(PAUSE);
        assert!(self.worker.step().unwrap());
        let after = self.look();
        // What a port gave to a function is posted in the functions' next round.
        self.worker.device_round(clock::now());
        assert_eq!(self.far.receive(), BATCH_PACKETS, "a function's neighbour waits");
        self.near.receive();
        assert_eq!(drain(&self.seven).len(), 1, "a port's neighbour waits");
        let turn = Turn {
            frames: after[0] - before[0] - BATCH_PACKETS as u64 - 1,
            bytes: after[1] - before[1] - BATCH_PACKETS as u64 * 60 - small.len() as u64,
        };
        let cut = turn.frames * segments;
        println!("{turn:?}, {cut} segments");
        // The frame that brings the turn to its bound is still taken.
        assert!(cut < SEGMENTS + segments, "{cut} segments in a turn");
        match &mut self.accomplice {
            Accomplice::Function(end) => assert_eq!(end.receive() as u64, cut),
            Accomplice::Port(port) => {
                let came = drain(port);
                assert_eq!(came.len() as u64, turn.frames);
                for (frame, number) in came.iter().zip(self.taken..) {
                    let header = VnetHeader::read(frame).unwrap();
                    assert_eq!(header.segment_bytes() > 0, segments > 1);
                    assert_eq!(*frame.last_chunk().unwrap(), number.to_be_bytes());
                }
            }
        }
        self.taken += u32::try_from(turn.frames).unwrap();
        turn
    }

    /// Packets that the worker read, and their bytes.
    fn look(&mut self) -> [u64; 2] {
        let places = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let told = places.clone();
        self.rig.later(move |inside| {
            told[0].store(inside.counters.packets, Ordering::Relaxed);
            told[1].store(inside.counters.bytes, Ordering::Relaxed);
        });
        assert!(self.worker.handle_messages());
        [0, 1].map(|at| places[at].load(Ordering::Relaxed))
    }
}

fn port(rig: &Rig, n: u8) -> MemoryPort {
    let (near, far) = MemoryPort::pair(WAITING).unwrap();
    rig.plug(n, Plug::Kernel(Box::new(near)));
    far
}

fn drain(port: &MemoryPort) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| port.take().unwrap()).collect()
}

/// A super-frame of TCP, `payload` bytes to be cut into segments of `mss`.
fn tcp(mss: u16, payload: usize) -> Vec<u8> {
    let mut frame = segment(20, 21, (1, 2), Flags::ACK, TCP_HEADERS + payload);
    frame[50..52].fill(0);
    [super_header(GSO_TCPV4, mss, TCP_HEADERS, 16).as_bytes(), &frame].concat()
}

/// The same of UDP.
fn udp(mss: u16, payload: usize) -> Vec<u8> {
    [
        super_header(GSO_UDP_L4, mss, UDP_HEADERS, 6).as_bytes(),
        &datagram(20, 21, (1, 2), UDP_HEADERS + payload),
    ]
    .concat()
}

fn attack(is_function: bool) {
    let mss = usize::from(MSS);
    let kinds = [
        // A receive queue has to have a place for each.
        (tcp(MSS, 600 * mss), 600),
        (udp(MSS, UDP_SEGMENTS_MAX * mss), UDP_SEGMENTS_MAX as u64),
    ];
    for (mut frame, segments) in kinds {
        let mut scene = Scene::new(is_function);
        for _ in 0..TURNS {
            let turn = scene.turn(&mut frame, segments);
            assert!(turn.frames * segments >= SEGMENTS, "it had work in every turn");
        }
    }
}

fn toward_function() {
    attack(true);
}

fn toward_port() {
    attack(false);
}

/// What a kernel's bulk is, whole super-frames or single packets, fills the turns as if no segment were counted.
fn bulk() {
    let super_frame = tcp(1_448, 45 * 1_448);
    let single = [VnetHeader::NONE.as_bytes(), &datagram(20, 21, (1, 2), 1_514)].concat();
    for (mut frame, segments, frames) in [(super_frame, 45, 9), (single, 1, BATCH_PACKETS as u64)] {
        let mut scene = Scene::new(false);
        let bytes = frames * frame.len() as u64;
        assert!(bytes < TURN_WORK as u64 + SLOT_BYTES as u64);
        for _ in 0..TURNS {
            assert_eq!(scene.turn(&mut frame, segments), Turn { frames, bytes });
        }
    }
}
