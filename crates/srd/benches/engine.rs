//! What a packet costs: `cargo bench -p trinic-srd`.
//!
//! A round is 64 messages from one end to the other and their acknowledgements, in virtual time, with a warm window and 16 paths. Only one of its parts is timed at a
//! time, in nanoseconds per packet: *sent* (submit and `poll_transmit`), *received* (`handle_datagram` and the acknowledgements that are due), *acknowledged*
//! (`handle_datagram` of the acknowledgements, with the events).

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use trinic_srd::{
    Action, Config, Datagram, Endpoint, Gone, Incoming, Instant, Local, PairKey, Peer, PeerId, Refusal,
    Remote, Request,
};

criterion_group!(benches, engine);
criterion_main!(benches);

fn engine(criterion: &mut Criterion) {
    for (name, length, cover) in [
        ("64 B", 64, false),
        ("8 KiB", 8_192, false),
        ("8 KiB covered", 8_192, true),
    ] {
        let mut group = criterion.benchmark_group(name);
        for (part, name) in [(0, "sent"), (1, "received"), (2, "acknowledged")] {
            measure(&mut group, name, part, length, cover);
        }
        group.finish();
    }
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, part: usize, length: u32, cover: bool) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|packets| {
            let mut pair = Pair::new(length, cover);
            for _ in 0..WARM_UP {
                pair.round();
            }
            // Rounds are whole: what an iteration costs is the time of all of them as a part.
            let rounds = packets.div_ceil(ROUND).max(1);
            let time: Duration = (0..rounds).map(|_| pair.round()[part]).sum();
            let packets = u128::from(packets) * time.as_nanos() / u128::from(rounds * ROUND);
            Duration::from_nanos(u64::try_from(packets).unwrap_or(u64::MAX))
        });
    });
}

/// Two endpoints with a session.
struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
    peers: [PeerId; 2],
    owner: Owner,
    request: Request,
    out: Vec<u8>,
    data: Datagrams,
    acknowledgements: Datagrams,
}

/// Datagrams one after the other.
#[derive(Default)]
struct Datagrams {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pair {
    fn new(length: u32, cover_payload: bool) -> Self {
        let config = Config {
            cover_payload,
            ..Config::default()
        };
        let mut ends = [0, 1].map(|end: u8| Endpoint::new(config.clone(), [end; 16], [end; 16]));
        let peers = [ends[0].add_peer(peer(1)), ends[1].add_peer(peer(0))];
        let request = Request {
            token: 0,
            source: 1,
            destination: 2,
            qkey: 3,
            length,
            payload: 0,
            action: Action::Send { immediate: None },
        };
        Self {
            now: Instant::from_nanos(1_000_000),
            ends,
            peers,
            owner: Owner,
            request,
            out: vec![0; 70_000],
            data: Datagrams::default(),
            acknowledgements: Datagrams::default(),
        }
    }

    /// Sends, receives and acknowledges: the time that each took.
    fn round(&mut self) -> [Duration; 3] {
        let begin = Clock::now();
        for token in 0..ROUND {
            let request = Request {
                token,
                ..self.request
            };
            let taken = self.ends[0].submit(self.now, self.peers[0], request);
            assert_eq!(taken, Ok(()), "the window has room for a round");
        }
        poll(
            &mut self.ends[0],
            self.now,
            &mut self.owner,
            &mut self.out,
            &mut self.data,
        );
        let sent = begin.elapsed();

        self.now = self.now + ONE_WAY;
        let begin = Clock::now();
        self.data.give(&mut self.ends[1], self.now, &mut self.owner);
        poll(
            &mut self.ends[1],
            self.now,
            &mut self.owner,
            &mut self.out,
            &mut self.acknowledgements,
        );
        let received = begin.elapsed();

        self.now = self.now + ONE_WAY;
        let begin = Clock::now();
        self.acknowledgements
            .give(&mut self.ends[0], self.now, &mut self.owner);
        while let Some(event) = self.ends[0].poll_event() {
            black_box(event);
        }
        let acknowledged = begin.elapsed();
        self.settle();
        [sent, received, acknowledged]
    }

    /// What is left of a round, which at first are the greeting and a small window: nothing of it is timed.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for end in 0..2 {
                self.ends[end].handle_timeout(self.now);
                let mut datagrams = Datagrams::default();
                poll(
                    &mut self.ends[end],
                    self.now,
                    &mut self.owner,
                    &mut self.out,
                    &mut datagrams,
                );
                quiet &= datagrams.ends.is_empty();
                self.now = self.now + ONE_WAY;
                datagrams.give(&mut self.ends[1 - end], self.now, &mut self.owner);
            }
            while self.ends[0].poll_event().is_some() {}
            if quiet && self.ends[0].outstanding(self.peers[0]) == 0 {
                return;
            }
        }
    }
}

fn poll(end: &mut Endpoint, now: Instant, owner: &mut Owner, out: &mut [u8], into: &mut Datagrams) {
    into.bytes.clear();
    into.ends.clear();
    while let Some(sent) = end.poll_transmit(now, owner, out, 1) {
        // The copy stands for what the carrier does.
        into.bytes.extend_from_slice(&out[..sent.bytes]);
        into.ends.push(into.bytes.len());
    }
}

impl Datagrams {
    fn give(&self, end: &mut Endpoint, now: Instant, owner: &mut Owner) {
        let mut begin = 0;
        for limit in &self.ends {
            let datagram = Datagram {
                bytes: &self.bytes[begin..*limit],
                marked: false,
            };
            end.handle_datagram(now, datagram, owner);
            begin = *limit;
        }
    }
}

/// Takes everything and does nothing with it, so that no copy of an owner is counted.
struct Owner;

impl Local for Owner {
    fn gather(&mut self, _: u64, _: u32, _: &mut [u8]) -> Result<(), Gone> {
        Ok(())
    }

    fn scatter(&mut self, _: u64, _: u32, _: &[u8]) -> Result<(), Gone> {
        Ok(())
    }

    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal> {
        black_box(message);
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

/// Packets of a round.
const ROUND: u64 = 64;
/// Rounds in which the window grows.
const WARM_UP: u64 = 200;
const ONE_WAY: Duration = Duration::from_micros(5);
