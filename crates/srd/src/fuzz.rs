//! A fuzz function: two endpoints in virtual time, and a network and owners that do anything.
//!
//! What has to hold: nothing panics, nothing spins, nothing is delivered twice, a completed message was received and a refused one was not, memory stays within its
//! limits, and every message ends once the network is well again. A peer that holds the key and lies ([`step::FORGE`]) can break what concerns its own messages, not
//! the rest.

mod host;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::context::Context;
use crate::key::TAG_BYTES;
use crate::wire::Packet;
use crate::{
    Action, Config, Datagram, Endpoint, Event, Failure, Instant, PairKey, Peer, PeerId, Refusal, Request,
};

use host::Host;

/// What a step of a script does, by its first byte modulo [`step::COUNT`]. Each step has four bytes; a datagram is named by its place among those on their way, modulo
/// their number.
pub mod step {
    /// A datagram arrives: which; bit 0 of the third byte marks it.
    pub const FORWARD: u8 = 0;
    /// A datagram is lost: which.
    pub const DROP: u8 = 1;
    /// A copy of a datagram arrives, the datagram later: which.
    pub const DUPLICATE: u8 = 2;
    /// A datagram arrives with a byte changed: which, the byte, how.
    pub const CHANGE: u8 = 3;
    /// The same, with the right tag: a peer that holds the key and lies.
    pub const FORGE: u8 = 4;
    /// A datagram arrives shorter, with the right length and, if the last byte is odd, the right tag: which, by how much.
    pub const CUT: u8 = 5;
    /// Time passes: microseconds, times two to the power of the third byte (at most 12).
    pub const TIME: u8 = 6;
    /// A message: bit 0 is the end, bit 1 immediate data, the rest the queue pair; length divided by 4; how many.
    pub const SEND: u8 = 7;
    /// An RDMA write: as before, length divided by 16; the address divided by 16.
    pub const WRITE: u8 = 8;
    /// An RDMA read: the same.
    pub const READ: u8 = 9;
    /// A queue pair's messages are taken back: bit 0 is the end, the rest the queue pair.
    pub const WITHDRAW: u8 = 10;
    /// An end is started anew: bit 0.
    pub const RESTART: u8 = 11;
    /// An end gets another key, or forgets the other end and learns of it anew: bit 0 the end, bit 1 which.
    pub const KEY: u8 = 12;
    /// An owner refuses messages for a queue pair, or has no memory any more: bit 0 the end; the reason, 0 for none; bit 0 memory to send from, bit 1 to be read.
    pub const OWNER: u8 = 13;
    /// Everything on its way arrives, and what that brings, so many times.
    pub const FLOW: u8 = 14;
    /// A datagram that arrived before comes again: which.
    pub const REPLAY: u8 = 15;
    /// How many steps there are.
    pub const COUNT: u8 = 16;
}

/// What a script came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages that were completed.
    pub completed: u64,
    /// Messages that failed.
    pub failed: u64,
    /// Datagrams that an endpoint dropped.
    pub dropped: u64,
    /// Packets that went again.
    pub retransmitted: u64,
    /// Packets with a right tag that no honest peer sent.
    pub forged: u64,
}

/// Runs a script: a byte that configures both ends, then steps.
pub fn datagrams(script: &[u8]) -> Outcome {
    let Some((choice, steps)) = script.split_first() else {
        return Outcome::default();
    };
    let mut world = World::new(*choice);
    for step in steps.chunks_exact(4).take(MOST_STEPS) {
        if let [kind, a, b, c] = *step {
            world.step(kind % step::COUNT, a, b, c);
        }
    }
    world.heal();
    for end in &world.ends {
        world.outcome.add(end);
    }
    world.outcome
}

impl Outcome {
    fn add(&mut self, end: &Endpoint) {
        let stats = end.stats();
        self.retransmitted += stats.retransmitted;
        self.dropped += stats.bad_length
            + stats.bad_version
            + stats.unknown
            + stats.no_context
            + stats.bad_tag
            + stats.bad_cover
            + stats.beyond_window
            + stats.bad_acknowledgement
            + stats.bad_hello;
    }
}

/// A datagram on its way: the end that gets it, its bytes.
#[derive(Clone, Debug)]
struct Flying {
    to: usize,
    bytes: Vec<u8>,
}

/// A message that has not ended.
#[derive(Clone, Copy, Debug)]
struct Pending {
    from: usize,
    length: u32,
    action: Action,
}

struct World {
    now: Instant,
    config: Config,
    ends: [Endpoint; 2],
    hosts: [Host; 2],
    peers: [PeerId; 2],
    key: [Peer; 2],
    network: VecDeque<Flying>,
    arrived: VecDeque<Flying>,
    pending: BTreeMap<u32, Pending>,
    tokens: u32,
    starts: u8,
    epochs: u16,
    outcome: Outcome,
    out: Vec<u8>,
}

impl World {
    fn new(choice: u8) -> Self {
        let config = Config {
            cover_payload: choice & 1 == 1,
            datagram: if choice & 2 == 0 { 256 } else { 1_000 },
            window: if choice & 4 == 0 { 16 } else { 64 },
            paths: 1 + (choice >> 3 & 7),
            operations: if choice & 64 == 0 { 2 } else { 8 },
            messages: if choice & 128 == 0 { 8 } else { 64 },
            connect_limit: Duration::from_millis(50),
            silence_limit: Duration::from_millis(100),
            ..Config::default()
        };
        let key = [peer(0), peer(1)];
        let mut ends = [0, 1].map(|end: u8| Endpoint::new(config.clone(), [end; 16], [end; 16]));
        let peers = [ends[0].add_peer(key[1].clone()), ends[1].add_peer(key[0].clone())];
        Self {
            now: Instant::from_nanos(1_000_000),
            config,
            ends,
            hosts: [Host::default(), Host::default()],
            peers,
            key,
            network: VecDeque::new(),
            arrived: VecDeque::new(),
            pending: BTreeMap::new(),
            tokens: 0,
            starts: 2,
            epochs: 1,
            outcome: Outcome::default(),
            out: vec![0; 4_096],
        }
    }

    fn step(&mut self, kind: u8, a: u8, b: u8, c: u8) {
        let end = usize::from(a & 1);
        match kind {
            step::FORWARD => {
                if let Some(flying) = self.take(a) {
                    self.arrive(flying, b & 1 == 1);
                }
            }
            step::DROP => drop(self.take(a)),
            step::DUPLICATE => {
                let Some(flying) = self.take(a) else { return };
                self.network.push_back(flying.clone());
                self.arrive(flying, false);
            }
            step::CHANGE | step::FORGE => self.change(a, b, c, kind == step::FORGE),
            step::CUT => self.cut(a, b, c),
            step::TIME => {
                let span = Duration::from_micros(u64::from(a) << b.min(12));
                self.wait(self.now + span);
            }
            step::SEND => {
                for _ in 0..c.clamp(1, 16) {
                    let immediate = (a & 2 == 2).then_some(self.tokens);
                    self.submit(a, u32::from(b) * 4, Action::Send { immediate });
                }
            }
            step::WRITE => {
                let immediate = (a & 2 == 2).then_some(self.tokens);
                let (key, address) = remote(a, c);
                self.submit(
                    a,
                    u32::from(b) * 16,
                    Action::Write {
                        key,
                        address,
                        immediate,
                    },
                );
            }
            step::READ => {
                let (key, address) = remote(a, c);
                self.submit(a, u32::from(b) * 16, Action::Read { key, address });
            }
            step::WITHDRAW => self.ends[end].withdraw(self.peers[end], u16::from(a >> 2)),
            step::RESTART => self.restart(end),
            step::KEY => self.rekey(end, a & 2 == 2),
            step::OWNER => {
                let host = &mut self.hosts[end];
                host.refuse = (!b.is_multiple_of(11)).then(|| Refusal::from_code(b % 11));
                host.gone = c & 1 == 1;
                host.unreadable = c & 2 == 2;
            }
            step::FLOW => (0..a.min(32)).for_each(|_| self.flow()),
            _ => {
                let at = usize::from(a) % self.arrived.len().max(1);
                if let Some(flying) = self.arrived.get(at).cloned() {
                    self.arrive(flying, false);
                }
            }
        }
        self.pump();
        self.check();
    }

    fn take(&mut self, which: u8) -> Option<Flying> {
        let at = usize::from(which) % self.network.len().max(1);
        self.network.remove(at)
    }

    fn arrive(&mut self, flying: Flying, marked: bool) {
        let datagram = Datagram {
            bytes: &flying.bytes,
            marked,
        };
        self.ends[flying.to].handle_datagram(self.now, datagram, &mut self.hosts[flying.to]);
        self.arrived.push_back(flying);
        if self.arrived.len() > MOST_KEPT {
            self.arrived.pop_front();
        }
    }

    fn change(&mut self, which: u8, at: u8, how: u8, forge: bool) {
        let Some(mut flying) = self.take(which) else {
            return;
        };
        let length = flying.bytes.len();
        let Some(byte) = flying.bytes.get_mut(usize::from(at) % length.max(1)) else {
            return;
        };
        *byte = match how % 8 {
            0 => 0,
            1 => 0xff,
            2 => byte.wrapping_add(1),
            3 => byte.wrapping_sub(1),
            _ => *byte ^ how,
        };
        if forge {
            self.forge(&mut flying);
        }
        self.arrive(flying, false);
    }

    fn cut(&mut self, which: u8, by: u8, how: u8) {
        let Some(mut flying) = self.take(which) else {
            return;
        };
        let length = flying.bytes.len() - usize::from(by).min(flying.bytes.len());
        flying.bytes.truncate(length);
        if let (Some(field), Ok(length)) = (flying.bytes.get_mut(2..4), u16::try_from(length)) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        if how & 1 == 1 {
            self.forge(&mut flying);
        }
        self.arrive(flying, false);
    }

    /// Gives a packet the tag with which the end that gets it will take it.
    fn forge(&mut self, flying: &mut Flying) {
        let Ok(packet) = Packet::parse(&flying.bytes) else {
            return;
        };
        let at = packet.header.len();
        let context = self.ends[flying.to].of(self.peers[flying.to]);
        if let Some(tag) = context.and_then(|context| context.right_tag(&packet)) {
            flying.bytes[at..at + TAG_BYTES].copy_from_slice(&tag);
            self.outcome.forged += 1;
        }
    }

    fn submit(&mut self, a: u8, length: u32, action: Action) {
        let from = usize::from(a & 1);
        let pair = u16::from(a >> 2);
        let token = self.tokens;
        self.tokens += 1;
        let request = Request {
            token: u64::from(token),
            source: pair,
            destination: pair,
            // The key is under the tag, which the payload need not be.
            qkey: token,
            length,
            payload: u64::from(token),
            action,
        };
        // What is not accepted must be heard of no more: the token is not pending.
        if self.ends[from]
            .submit(self.now, self.peers[from], request)
            .is_ok()
        {
            let pending = Pending { from, length, action };
            self.pending.insert(token, pending);
        }
    }

    fn restart(&mut self, end: usize) {
        let Some(starts) = self.starts.checked_add(1) else {
            return;
        };
        self.outcome.add(&self.ends[end]);
        self.ends[end] = Endpoint::new(self.config.clone(), self.key[end].gid, [starts; 16]);
        self.starts = starts;
        self.peers[end] = self.ends[end].add_peer(self.key[1 - end].clone());
        self.pending.retain(|_, pending| pending.from != end);
    }

    fn rekey(&mut self, end: usize, forget: bool) {
        if forget {
            self.ends[end].remove_peer(self.peers[end]);
            self.peers[end] = self.ends[end].add_peer(self.key[1 - end].clone());
            return;
        }
        // An end that is behind catches up; else there is a new key.
        if self.key[1 - end].epoch == self.epochs {
            self.epochs += 1;
        }
        let peer = &mut self.key[1 - end];
        peer.epoch = self.epochs;
        peer.key = PairKey::new([self.epochs.to_be_bytes()[1]; 16]);
        self.ends[end].set_key(self.peers[end], peer.key.clone(), peer.epoch);
    }

    /// Lets time pass without any arrival.
    fn wait(&mut self, until: Instant) {
        let mut at_once = 0;
        while let Some(next) = self.next().filter(|next| *next <= until) {
            at_once = if next > self.now { 0 } else { at_once + 1 };
            assert!(at_once < MOST_AT_ONCE, "A timer is due again and again");
            self.now = self.now.max(next);
            self.time();
        }
        self.now = self.now.max(until);
        self.time();
    }

    fn next(&self) -> Option<Instant> {
        self.ends.iter().filter_map(Endpoint::poll_timeout).min()
    }

    fn time(&mut self) {
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        self.pump();
    }

    /// All that is on its way arrives after 5 µs.
    fn flow(&mut self) {
        self.wait(self.now + ONE_WAY);
        for flying in std::mem::take(&mut self.network) {
            self.arrive(flying, false);
        }
        self.pump();
    }

    fn pump(&mut self) {
        for end in 0..2 {
            let mut datagrams = 0;
            while let Some(sent) =
                self.ends[end].poll_transmit(self.now, &mut self.hosts[end], &mut self.out, 4)
            {
                assert!(sent.path < self.config.paths, "A path that does not exist");
                for bytes in self.out[..sent.bytes].chunks(sent.segment) {
                    assert!(bytes.len() <= self.config.datagram, "A datagram is too long");
                    let bytes = bytes.to_vec();
                    self.network.push_back(Flying { to: 1 - end, bytes });
                    datagrams += 1;
                }
                assert!(datagrams < MOST_AT_ONCE, "An end sends and sends");
            }
            while let Some(event) = self.ends[end].poll_event() {
                self.ended(end, event);
            }
        }
        while self.network.len() > MOST_FLYING {
            self.network.pop_front();
        }
    }

    /// A message ended: once, and as the other end saw it.
    fn ended(&mut self, end: usize, event: Event) {
        let token = u32::try_from(event.token).unwrap_or(u32::MAX);
        let pending = self.pending.remove(&token);
        let Some(Pending { from, length, action }) = pending else {
            unreachable!("Message {token} ended twice, or never began");
        };
        assert_eq!(from, end, "Another end's message ended");
        match event.result {
            Ok(()) => self.outcome.completed += 1,
            Err(_) => self.outcome.failed += 1,
        }
        if self.outcome.forged > 0 {
            return;
        }
        let [own, other] = [&self.hosts[end], &self.hosts[1 - end]];
        match (event.result, action) {
            (Ok(()), Action::Send { .. }) => assert!(other.delivered.contains(&token), "Lost silently"),
            (Ok(()), Action::Write { immediate, .. }) => {
                assert_eq!(other.bytes_written(token), Some(length), "A write has a hole");
                assert_eq!(other.complete.get(&token).copied(), immediate.map(|_| length));
            }
            (Ok(()), Action::Read { .. }) => {
                assert_eq!(own.bytes_placed(token), length, "A read has a hole");
            }
            (Err(Failure::Refused(_)), Action::Send { .. }) => {
                assert!(!other.delivered.contains(&token), "Refused and delivered");
            }
            (Err(_), _) => {}
        }
    }

    fn check(&self) {
        for end in 0..2 {
            let (own, id) = (&self.ends[end], self.peers[end]);
            // Both ends have the same settings, and only a lie names another window.
            let window = own.of(id).map_or(0, Context::window);
            assert!(own.outstanding(id) <= window, "Beyond the window");
            assert!(self.outcome.forged > 0 || window <= u64::from(self.config.window));
            let (timers, contexts) = own.timers();
            assert!(timers <= contexts, "Timers pile up");
            let most = self.config.messages + usize::from(self.config.operations);
            assert!(own.of(id).is_none_or(|context| context.messages() <= most));
            assert!(
                self.outcome.forged > 0 || !self.hosts[end].twice,
                "Something was delivered twice"
            );
        }
    }

    /// The network is well, and both ends have the newest key: every message ends, and then there is rest.
    fn heal(&mut self) {
        for end in 0..2 {
            if self.key[1 - end].epoch != self.epochs {
                self.rekey(end, false);
            }
        }
        self.pump();
        self.settle();
        if self.outcome.forged > 0 {
            // Who lies leaves messages waiting. They can be taken back.
            for (end, pair) in (0..2).flat_map(|end| (0..64).map(move |pair| (end, pair))) {
                self.ends[end].withdraw(self.peers[end], pair);
            }
            self.pump();
        }
        assert!(
            self.pending.is_empty(),
            "Messages never ended: {:?}",
            self.pending
        );
        self.settle();
        self.check();
        for (end, id) in self.ends.iter().zip(self.peers) {
            assert!(
                self.outcome.forged > 0 || end.outstanding(id) == 0,
                "Packets are outstanding without a message"
            );
        }
    }

    /// Runs a network that loses nothing until there is nothing to do, for a second at most.
    fn settle(&mut self) {
        let end = self.now + Duration::from_secs(1);
        while self.now < end {
            if !self.network.is_empty() {
                self.flow();
            } else if let Some(next) = self.next() {
                self.wait(next.min(end));
            } else {
                return;
            }
        }
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

/// A region's key and an address, both mostly right.
fn remote(a: u8, c: u8) -> (u32, u64) {
    let key = if a >> 2 == 63 { host::KEY + 1 } else { host::KEY };
    (key, u64::from(c) * 16)
}

/// Steps of a script that are looked at.
const MOST_STEPS: usize = 2_000;
/// Datagrams on their way; older ones are lost.
const MOST_FLYING: usize = 256;
/// Datagrams that may come again.
const MOST_KEPT: usize = 256;
/// Things that may happen without time passing.
const MOST_AT_ONCE: u32 = 2_000;
/// From one end to the other.
const ONE_WAY: Duration = Duration::from_micros(5);
