//! After a session has begun nothing is allocated for a packet [REL-11].

#[path = "../../switch/tests/suite/counting.rs"]
mod counting;

use std::time::Duration;

use trinic_srd::{
    Action, Config, Datagram, Endpoint, Gone, Incoming, Instant, Local, PairKey, Peer, PeerId, Refusal,
    Remote, Request,
};

/// Two ends and a network of fixed places in which nothing grows.
struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    peers: [PeerId; 2],
    network: [Vec<Vec<u8>>; 2],
    free: Vec<Vec<u8>>,
    out: Vec<u8>,
    sent: u64,
    lose: bool,
    completed: u64,
}

impl Pair {
    fn new() -> Self {
        let config = Config {
            datagram: 1_000,
            window: 256,
            messages: 256,
            ..Config::default()
        };
        let mut ends = [0, 1].map(|end: u8| Endpoint::new(config.clone(), [end; 16], [end; 16]));
        let peers = [ends[0].add_peer(peer(1)), ends[1].add_peer(peer(0))];
        Self {
            now: Instant::from_nanos(1_000_000),
            ends,
            peers,
            network: [Vec::with_capacity(FLYING), Vec::with_capacity(FLYING)],
            free: (0..2 * FLYING).map(|_| Vec::with_capacity(1_000)).collect(),
            out: vec![0; 4_000],
            sent: 0,
            lose: false,
            completed: 0,
        }
    }

    fn submit(&mut self, from: usize, token: u64) {
        let (key, address) = (7, 0);
        let (length, action) = match token % 8 {
            0 => (
                3_000,
                Action::Write {
                    key,
                    address,
                    immediate: Some(9),
                },
            ),
            1 => (3_000, Action::Read { key, address }),
            _ => (64, Action::Send { immediate: None }),
        };
        let request = Request {
            token,
            source: 1,
            // Some are refused.
            destination: if token % 50 == 3 { REFUSES } else { 2 },
            qkey: 3,
            length,
            payload: 0,
            action,
        };
        // A full window is not what this test is about.
        let _full = self.ends[from].submit(self.now, self.peers[from], request);
    }

    /// Carries what an end has for the other one, its neighbour.
    fn carry(&mut self, from: usize) {
        while let Some(piece) = self.ends[from].poll_direct(&mut Owner, &mut self.out) {
            let answer = self.ends[1 - from].handle_direct(piece, &mut Owner);
            self.ends[from].handle_answer(answer, &mut Owner);
            while let Some(event) = self.ends[from].poll_event() {
                self.completed += u64::from(event.result.is_ok());
            }
        }
    }

    /// 5 µs pass; what is on its way arrives, and one in 40 does not if packets are to be lost.
    fn step(&mut self) {
        self.now = self.now + Duration::from_micros(5);
        for end in 0..2 {
            self.ends[end].handle_timeout(self.now);
            while let Some(mut bytes) = self.network[end].pop() {
                let datagram = Datagram {
                    bytes: &bytes,
                    marked: false,
                };
                self.ends[end].handle_datagram(self.now, datagram, &mut Owner);
                bytes.clear();
                self.free.push(bytes);
            }
        }
        for end in 0..2 {
            while let Some(sent) = self.ends[end].poll_transmit(self.now, &mut Owner, &mut self.out, 4) {
                for datagram in self.out[..sent.bytes].chunks(sent.segment) {
                    self.sent += 1;
                    if self.lose && self.sent.is_multiple_of(40) {
                        continue;
                    }
                    let mut bytes = self.free.pop().unwrap_or_default();
                    bytes.extend_from_slice(datagram);
                    self.network[1 - end].push(bytes);
                }
            }
            while let Some(event) = self.ends[end].poll_event() {
                self.completed += u64::from(event.result.is_ok());
            }
        }
    }
}

struct Owner;

impl Local for Owner {
    fn gather(&mut self, _: u64, _: u32, _: &mut [u8]) -> Result<(), Gone> {
        Ok(())
    }

    fn scatter(&mut self, _: u64, _: u32, _: &[u8]) -> Result<(), Gone> {
        Ok(())
    }

    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal> {
        if message.destination == REFUSES {
            return Err(Refusal::ReceiverNotReady);
        }
        Ok(())
    }

    fn write(&mut self, _: Remote, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn written(&mut self, _: Remote, _: u32, _: u32) -> Result<(), Refusal> {
        Ok(())
    }

    fn readable(&mut self, _: Remote, _: u32) -> Result<(), Refusal> {
        Ok(())
    }

    fn read(&mut self, _: Remote, _: &mut [u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

fn peer(end: u8) -> Peer {
    Peer {
        gid: [end; 16],
        address: ([127, 0, 0, 1 + end], 4_000).into(),
        key: PairKey::new([42; 16]),
        epoch: 1,
    }
}

#[test]
fn no_packet_allocates_once_the_session_is_there() {
    let mut pair = Pair::new();
    let mut token = 0;
    let mut run = |pair: &mut Pair, steps: u32| {
        for _ in 0..steps {
            for end in 0..2 {
                pair.submit(end, token);
                token += 1;
            }
            pair.step();
        }
    };
    run(&mut pair, 2_000);
    assert!(pair.completed > 1_000, "{}", pair.completed);
    for lose in [false, true] {
        pair.lose = lose;
        let (before, sent, completed) = (counting::taken(), pair.sent, pair.completed);
        run(&mut pair, 10_000);
        assert_eq!(counting::taken() - before, 0, "with losses: {lose}");
        assert!(pair.sent - sent > 10_000 && pair.completed - completed > 5_000);
    }
    let stats = pair.ends.each_ref().map(|end| *end.stats());
    let refused: u64 = stats.iter().map(|stats| stats.refused).sum();
    let retransmitted: u64 = stats.iter().map(|stats| stats.retransmitted).sum();
    assert!(refused > 50 && retransmitted > 50, "{stats:?}");
}

#[test]
fn no_message_to_a_neighbour_allocates() {
    // [LOC-4]: once as many messages have waited as there are places.
    let mut pair = Pair::new();
    pair.peers = [
        pair.ends[0].add_neighbour([1; 16]),
        pair.ends[1].add_neighbour([0; 16]),
    ];
    let mut token = 0;
    let mut run = |pair: &mut Pair, rounds: u32| {
        for _ in 0..rounds {
            for end in 0..2 {
                for _ in 0..300 {
                    pair.submit(end, token);
                    token += 1;
                }
                pair.carry(end);
            }
        }
    };
    run(&mut pair, 2);
    let (before, completed) = (counting::taken(), pair.completed);
    run(&mut pair, 50);
    assert_eq!(counting::taken() - before, 0);
    assert!(pair.completed - completed > 20_000, "{}", pair.completed);
    assert!(
        pair.ends
            .iter()
            .all(|end| end.stats().refused > 50 && end.stats().sent == 0)
    );
}

#[test]
fn the_allocator_counts() {
    let before = counting::taken();
    drop(std::hint::black_box(Vec::<u8>::with_capacity(100)));
    assert_eq!(counting::taken() - before, 1);
}

/// A queue pair without receive buffers.
const REFUSES: u16 = 99;
/// Datagrams that may be on their way to an end.
const FLYING: usize = 4_096;
