//! What one interface keeps for one peer: how sessions begin and end, and the messages.

use std::net::SocketAddr;
use std::time::Duration;

use zerocopy::byteorder::big_endian::{U16, U32, U64};

use crate::config::{LEAST_DATAGRAM, limited_operations, limited_window};
use crate::congestion::Controller;
use crate::endpoint::Entropy;
use crate::key::{Direction, PairKey, Sealer, TAG_BYTES};
use crate::local::Local;
use crate::number::NEVER;
use crate::outbox::{Outbox, Request};
use crate::receiver::Arrival;
use crate::sender::Tick;
use crate::session::{Owner, Session, Terms};
use crate::wire::{
    Body, FEATURE_COVER, FLAG_COVERED, FLAG_NOW, Gid, HELLO, HELLO_BYTES, Hello, Packet, Pen, VERSION, base,
};
use crate::{Config, Failure, Instant, PeerId, Stats, SubmitError};

/// A peer, as the control plane names it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The GID of its interface.
    pub gid: Gid,
    /// Where its SRD port is.
    pub address: SocketAddr,
    /// The key of the pair.
    pub key: PairKey,
    /// The key's number.
    pub epoch: u16,
}

/// One datagram or several of one size to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub address: SocketAddr,
    /// The path, which decides the source port: 0 to [`Config::paths`] - 1.
    pub path: u8,
    /// Bytes in the caller's buffer.
    pub bytes: usize,
    /// Bytes of each datagram among them; the last one may be shorter.
    pub segment: usize,
}

/// The state for one peer.
#[derive(Debug)]
pub(crate) struct Context<C> {
    id: PeerId,
    pub(crate) peer: Peer,
    gid: Gid,
    /// Which way this end's packets go.
    direction: Direction,
    /// Seals of HELLO: what goes out, and what comes in.
    hello: [Sealer; 2],
    incarnation: u64,
    /// The incarnation that comes after it, which peers that are not the session's are told while there is a session [SES-4].
    next: u64,
    pub(crate) outbox: Outbox,
    session: Option<Box<Session<C>>>,
    calling: Option<Calling>,
    answer: Option<Answer>,
    answered: Option<Instant>,
    /// The peer's incarnation as last heard, or 0.
    heard: u64,
}

/// A session is wanted [SES-2].
#[derive(Clone, Copy, Debug)]
struct Calling {
    since: Instant,
    next: Instant,
    wait: Duration,
    path: u8,
}

/// A HELLO to be sent.
#[derive(Clone, Copy, Debug)]
struct Answer {
    path: u8,
    /// Whether it asks for an answer.
    asks: bool,
    /// Whether it names the next incarnation in the place of the present one.
    next: bool,
}

/// What a HELLO is to this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It may be old.
    Unproven,
    /// The same, and if it is not old there is another incarnation of the peer than the session's.
    Stranger,
    /// The session's peer lives.
    Known,
    /// Another incarnation of the peer lives, and there is no session.
    New,
    /// Another incarnation of the peer lives, and there is a session with one before.
    Anew,
}

impl<C: Controller> Context<C> {
    pub(crate) fn new(id: PeerId, gid: Gid, peer: Peer, config: &Config, entropy: &mut Entropy) -> Self {
        let direction = if gid < peer.gid {
            Direction::Up
        } else {
            Direction::Down
        };
        Self {
            id,
            hello: hello_seals(&peer, direction),
            peer,
            gid,
            direction,
            incarnation: entropy.incarnation(),
            next: entropy.incarnation(),
            outbox: Outbox::new(config.messages, config.operations),
            session: None,
            calling: None,
            answer: None,
            answered: None,
            heard: 0,
        }
    }

    pub(crate) fn submit(
        &mut self,
        now: Instant,
        request: Request,
        config: &Config,
    ) -> Result<(), SubmitError> {
        let datagram = self
            .session
            .as_ref()
            .map_or(config.datagram, |session| session.wire.datagram);
        self.outbox.submit(request, datagram)?;
        self.call(now);
        Ok(())
    }

    /// Whether there is a session, and something that it may send.
    pub(crate) fn waits(&self) -> bool {
        self.session.is_some() && self.outbox.has_next()
    }

    fn call(&mut self, now: Instant) {
        if self.session.is_none() && self.calling.is_none() {
            self.calling = Some(Calling {
                since: now,
                next: now,
                wait: FIRST_CALL,
                path: 0,
            });
        }
    }

    /// A packet for this context, of which the lengths are right.
    pub(crate) fn take(
        &mut self,
        arrival: Arrival,
        packet: &Packet<'_>,
        config: &Config,
        entropy: &mut Entropy,
        local: &mut impl Local,
        stats: &mut Stats,
    ) {
        if let Body::Hello(hello) = packet.body {
            return self.take_hello(arrival.now, packet, hello, config, entropy, stats);
        }
        // [SES-5]
        let Some(session) = self.session.as_mut() else {
            stats.no_context += 1;
            return;
        };
        let data = matches!(packet.body, Body::Data { .. });
        let upper = session.upper(packet);
        let covered = packet.base.flags & FLAG_COVERED != 0;
        if data && covered != session.wire.cover {
            stats.bad_cover += 1;
            return;
        }
        let payload: &[u8] = if covered { packet.payload } else { &[] };
        let check = |seal: &Sealer| seal.verify(packet.header, &upper, payload, packet.tag);
        let epoch = packet.base.epoch.get();
        let authentic = match &session.check_before {
            _ if epoch == session.wire.epoch => check(&session.check),
            Some((before, seal)) if epoch == *before => check(seal),
            _ => {
                stats.no_context += 1;
                return;
            }
        };
        // [SEC-1]
        if !authentic {
            stats.bad_tag += 1;
            return;
        }
        if epoch == session.wire.epoch {
            session.check_before = None;
        }
        session.heard = arrival.now;
        if data {
            let mut owner = Owner {
                outbox: &mut self.outbox,
                local,
                stats,
            };
            session.receiver.take(arrival, packet, &mut owner);
        } else if !session.sender.acknowledge(arrival.now, packet, &mut self.outbox) {
            stats.bad_acknowledgement += 1;
        }
    }

    fn take_hello(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        hello: &Hello,
        config: &Config,
        entropy: &mut Entropy,
        stats: &mut Stats,
    ) {
        if packet.base.epoch.get() != self.peer.epoch {
            stats.no_context += 1;
            return;
        }
        if !self.hello[1].verify(packet.header, &[], &[], packet.tag) {
            stats.bad_tag += 1;
            return;
        }
        let asks = packet.base.flags & FLAG_NOW != 0;
        let incarnation = hello.sender_incarnation.get();
        let named = hello.receiver_incarnation.get();
        if hello.lowest > VERSION || hello.highest < VERSION {
            // [NEG-1] [NEG-2]
            stats.bad_version += 1;
            self.answer(now, packet.base.path, asks, false, false);
            if named == self.incarnation && self.session.is_none() {
                self.end(Failure::Version, entropy);
            }
            return;
        }
        if usize::from(hello.datagram.get()) < LEAST_DATAGRAM || incarnation == 0 {
            stats.bad_hello += 1;
            return;
        }
        self.heard = incarnation;
        match self.claim(incarnation, named) {
            // [SES-3]
            Claim::Unproven => return self.answer(now, packet.base.path, asks, true, false),
            Claim::Stranger => {
                let asks = asks || named == self.incarnation;
                return self.answer(now, packet.base.path, asks, true, true);
            }
            Claim::Known => {
                if let Some(session) = self.session.as_mut() {
                    session.heard = now;
                }
            }
            // [SES-4]
            Claim::New => self.begin(now, packet, hello, config, entropy, stats),
            Claim::Anew => {
                let next = self.next;
                self.end(Failure::PeerRestarted, entropy);
                self.incarnation = next;
                self.begin(now, packet, hello, config, entropy, stats);
            }
        }
        self.answer(now, packet.base.path, asks, false, false);
    }

    /// A session begins on the terms of this HELLO.
    fn begin(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        hello: &Hello,
        config: &Config,
        entropy: &mut Entropy,
        stats: &mut Stats,
    ) {
        let terms = Terms {
            incarnation: hello.sender_incarnation.get(),
            context: packet.base.context.get(),
            datagram: usize::from(hello.datagram.get()),
            window: limited_window(hello.window.get()),
            operations: limited_operations(hello.operations.get()),
            cover: hello.features.get() & FEATURE_COVER != 0,
        };
        self.outbox.prepare(terms.operations);
        let seals = self.session_seals(terms.incarnation);
        let session = Session::new(now, config, terms, self.peer.epoch, seals, entropy.seed());
        // What waited for the session and is longer than the peer's datagrams permit cannot go [PKT-7].
        self.outbox.fail_longer_than(session.wire.datagram);
        self.session = Some(Box::new(session));
        self.calling = None;
        // The peer waits for the answer to this HELLO.
        self.answered = None;
        stats.sessions += 1;
    }

    /// What a HELLO of this incarnation of the peer is, which names that one of this end [SES-3, SES-4].
    fn claim(&self, incarnation: u64, named: u64) -> Claim {
        let Some(session) = &self.session else {
            return if named == self.incarnation {
                Claim::New
            } else {
                Claim::Unproven
            };
        };
        let known = session.incarnation == incarnation;
        if known && (named == self.incarnation || named == self.next) {
            Claim::Known
        } else if named == self.next {
            Claim::Anew
        } else if !known && (named == 0 || named == self.incarnation) {
            // The present incarnation has its session, and never gets another one: a recorded HELLO can name it [SEC-5].
            Claim::Stranger
        } else {
            Claim::Unproven
        }
    }

    fn answer(&mut self, now: Instant, path: u8, asked: bool, asks: bool, next: bool) {
        let recently = self
            .answered
            .is_some_and(|answered| now.since(answered) < BETWEEN_ANSWERS);
        if asked && !recently {
            self.answered = Some(now);
            self.answer = Some(Answer { path, asks, next });
        }
    }

    /// Writes what should be sent now: one datagram, or several of one size and path.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        config: &Config,
        local: &mut impl Local,
        out: &mut [u8],
        most: usize,
        stats: &mut Stats,
    ) -> Option<Transmit> {
        if out.len() < HELLO_BYTES {
            return None;
        }
        let address = self.peer.address;
        let single = |path: u8, bytes: usize| Transmit {
            address,
            path,
            bytes,
            segment: bytes,
        };
        if let Some(Answer { path, asks, next }) = self.answer.take() {
            stats.sent += 1;
            let path = path.min(config.paths - 1);
            let own = if next { self.next } else { self.incarnation };
            return Some(single(path, self.write_hello(asks, path, own, config, out)));
        }
        if let Some(calling) = self.calling.as_mut().filter(|calling| calling.next <= now) {
            let path = calling.path;
            calling.path = (path + 1) % config.paths;
            calling.next = now + calling.wait;
            calling.wait = (calling.wait * 2).min(LONGEST_CALL);
            stats.sent += 1;
            return Some(single(
                path,
                self.write_hello(true, path, self.incarnation, config, out),
            ));
        }
        let session = self.session.as_mut()?;
        if session.receiver.is_due(now) {
            stats.sent += 1;
            stats.acknowledgements += 1;
            let (path, bytes) = session.receiver.acknowledge(now, &session.wire, out);
            return Some(single(path.min(config.paths - 1), bytes));
        }
        let mut owner = Owner {
            outbox: &mut self.outbox,
            local,
            stats,
        };
        let first = session
            .sender
            .transmit(now, None, &session.wire, &mut owner, out)?;
        let (segment, mut bytes) = (first.bytes, first.bytes);
        for _ in 1..most {
            let datagram = session.wire.datagram;
            let next = session
                .sender
                .next_bytes(now, owner.outbox, datagram, Some(first.path));
            if next.is_none_or(|next| next > segment || bytes + next > out.len()) {
                break;
            }
            let room = &mut out[bytes..];
            let path = Some(first.path);
            match session
                .sender
                .transmit(now, path, &session.wire, &mut owner, room)
            {
                Some(sent) => bytes += sent.bytes,
                None => break,
            }
            if bytes % segment != 0 {
                break;
            }
        }
        Some(Transmit {
            address,
            path: first.path,
            bytes,
            segment,
        })
    }

    fn write_hello(&self, asks: bool, path: u8, own: u64, config: &Config, out: &mut [u8]) -> usize {
        let flags = if asks { FLAG_NOW } else { 0 };
        let mut base = base(HELLO, flags, HELLO_BYTES, self.id.0, self.peer.epoch);
        base.path = path;
        let mut pen = Pen::new(out);
        pen.put(&base);
        pen.put(&Hello {
            lowest: VERSION,
            highest: VERSION,
            datagram: U16::new(u16::try_from(config.datagram).unwrap_or(u16::MAX)),
            window: U32::new(config.window),
            operations: U16::new(config.operations),
            features: U16::new(if config.cover_payload { FEATURE_COVER } else { 0 }),
            sender_incarnation: U64::new(own),
            receiver_incarnation: U64::new(self.heard),
            sender: self.gid,
            receiver: self.peer.gid,
        });
        let at = pen.written();
        let tag = self.hello[0].tag(&out[..at], &[], &[]);
        out[at..at + TAG_BYTES].copy_from_slice(&tag);
        HELLO_BYTES
    }

    /// When time alone brings something to do, or [`NEVER`].
    pub(crate) fn due(&self, config: &Config) -> Instant {
        let mut due = NEVER;
        if let Some(session) = self.session.as_deref() {
            due = session.sender.due(&self.outbox).min(session.receiver.due());
            if let Some(ask) = session.ask(&self.outbox, config) {
                due = due.min(ask);
            }
        }
        if let Some(calling) = self.calling {
            due = due.min(calling.next);
        }
        due
    }

    /// Instant passed.
    pub(crate) fn tick(&mut self, now: Instant, config: &Config, entropy: &mut Entropy) {
        if self
            .calling
            .is_some_and(|calling| now.since(calling.since) >= config.connect_limit)
        {
            self.calling = None;
            self.end(Failure::Unreachable, entropy);
            return;
        }
        match self
            .session
            .as_mut()
            .map_or(Tick::Fine, |session| session.sender.tick(now))
        {
            Tick::Fine => self.ask(now, config, entropy),
            // The peer may have begun anew: then its answer proves it.
            Tick::Silent => self.answer = Some(ASK),
            Tick::Dead => self.end(Failure::Unresponsive, entropy),
        }
    }

    /// Asks a peer of which nothing was heard whether it lives, and gives it up after the silence limit [REL-12].
    fn ask(&mut self, now: Instant, config: &Config, entropy: &mut Entropy) {
        let Some(session) = self.session.as_mut() else {
            return;
        };
        if session.ask(&self.outbox, config).is_none_or(|due| due > now) {
            return;
        }
        if now.since(session.heard) >= config.silence_limit {
            return self.end(Failure::Unresponsive, entropy);
        }
        session.asked = now;
        self.answer = Some(ASK);
    }

    /// The session ends, and with it every message [SES-7].
    pub(crate) fn end(&mut self, failure: Failure, entropy: &mut Entropy) {
        self.session = None;
        self.calling = None;
        self.outbox.fail_all(failure);
        self.incarnation = entropy.incarnation();
        self.next = entropy.incarnation();
    }

    /// Another key is in use from now on [SEC-9].
    pub(crate) fn rekey(&mut self, key: PairKey, epoch: u16) {
        self.peer.key = key;
        self.peer.epoch = epoch;
        self.hello = hello_seals(&self.peer, self.direction);
        let Some(incarnation) = self.session.as_ref().map(|session| session.incarnation) else {
            return;
        };
        let [out, check] = self.session_seals(incarnation);
        if let Some(session) = self.session.as_mut() {
            let before = std::mem::replace(&mut session.check, check);
            session.check_before = Some((session.wire.epoch, before));
            session.wire.out = out;
            session.wire.epoch = epoch;
        }
    }

    /// Whether a session is there.
    pub(crate) const fn connected(&self) -> bool {
        self.session.is_some()
    }

    /// Packets that are sent and not acknowledged.
    pub(crate) fn outstanding(&self) -> u64 {
        self.session
            .as_ref()
            .map_or(0, |session| session.sender.outstanding())
    }

    /// The tag with which this packet is taken: what a peer that holds the key can make, whatever the packet says.
    pub(crate) fn right_tag(&self, packet: &Packet<'_>) -> Option<[u8; TAG_BYTES]> {
        if matches!(packet.body, Body::Hello(_)) {
            return Some(self.hello[1].tag(packet.header, &[], &[]));
        }
        let session = self.session.as_ref()?;
        let covered = packet.base.flags & FLAG_COVERED != 0;
        let payload: &[u8] = if covered { packet.payload } else { &[] };
        Some(session.check.tag(packet.header, &session.upper(packet), payload))
    }

    /// Packets that the peer lets be outstanding; none without a session.
    pub(crate) fn window(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.sender.window())
    }

    /// Messages that wait or are outstanding, responses to the peer's reads among them.
    pub(crate) fn messages(&self) -> usize {
        self.outbox.messages()
    }

    #[cfg(test)]
    pub(crate) fn set_incarnation(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
    }

    #[cfg(test)]
    pub(crate) fn session_mut(&mut self) -> Option<&mut Session<C>> {
        self.session.as_deref_mut()
    }

    fn session_seals(&self, theirs: u64) -> [Sealer; 2] {
        let incarnations = match self.direction {
            Direction::Up => [self.incarnation, theirs],
            Direction::Down => [theirs, self.incarnation],
        };
        [self.direction, self.direction.reverse()]
            .map(|direction| Sealer::session(&self.peer.key, direction, incarnations, self.peer.epoch))
    }
}

fn hello_seals(peer: &Peer, direction: Direction) -> [Sealer; 2] {
    [direction, direction.reverse()].map(|direction| Sealer::hello(&peer.key, direction, peer.epoch))
}

/// Asks whether the peer lives.
const ASK: Answer = Answer {
    path: 0,
    asks: true,
    next: false,
};
/// Waits between calls.
const FIRST_CALL: Duration = Duration::from_millis(1);
const LONGEST_CALL: Duration = Duration::from_millis(256);
/// Least time between two answers to HELLO.
const BETWEEN_ANSWERS: Duration = Duration::from_micros(100);
