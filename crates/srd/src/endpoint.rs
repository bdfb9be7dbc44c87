//! One interface with all its peers.

use std::collections::{HashMap, VecDeque};

use crate::congestion::{Controller, Delay};
use crate::context::{Context, Peer, Transmit};
use crate::key::{PairKey, Sealer};
use crate::local::Local;
use crate::outbox::Request;
use crate::receiver::Arrival;
use crate::timers::Timers;
use crate::wire::{Body, Gid, Malformed, Packet};
use crate::{Config, Failure, Instant, Stats, SubmitError};

/// A peer of an endpoint; it is also the context's index on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(crate) u32);

/// A datagram as it came [PKT-1].
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The UDP payload.
    pub bytes: &'a [u8],
    /// Whether the IP header has the mark *congestion experienced* (RFC 3168).
    pub marked: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The peer to which it went.
    pub peer: PeerId,
    /// The request's token.
    pub token: u64,
    /// Whether the peer has taken it, or the read's bytes have arrived.
    pub result: Result<(), Failure>,
}

/// The transport of one interface: contexts for its peers, and their timers.
///
/// It has no socket and no clock. After each call that can change something ([`Endpoint::submit`], [`Endpoint::handle_datagram`], [`Endpoint::handle_timeout`])
/// the caller takes datagrams from [`Endpoint::poll_transmit`] until there is none, events from [`Endpoint::poll_event`], and calls [`Endpoint::handle_timeout`] at
/// [`Endpoint::poll_timeout`].
#[derive(Debug)]
pub struct Endpoint<C: Controller = Delay> {
    config: Config,
    gid: Gid,
    entropy: Entropy,
    contexts: Vec<Option<Box<Context<C>>>>,
    names: HashMap<Gid, PeerId>,
    /// Contexts that may have something to send, each once.
    ready: VecDeque<PeerId>,
    queued: Vec<bool>,
    timers: Timers,
    events: VecDeque<Event>,
    stats: Stats,
}

impl<C: Controller> Endpoint<C> {
    /// An endpoint for the interface with this GID. The entropy must be random and new for each endpoint: incarnations are made of it [SES-1].
    pub fn new(config: Config, gid: Gid, entropy: [u8; 16]) -> Self {
        Self {
            config: config.limited(),
            gid,
            entropy: Entropy::new(entropy),
            contexts: Vec::new(),
            names: HashMap::new(),
            ready: VecDeque::new(),
            queued: Vec::new(),
            timers: Timers::default(),
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Makes a context for a peer; the one that it already has, with the key and address brought up to date.
    pub fn add_peer(&mut self, peer: Peer) -> PeerId {
        if let Some(id) = self.names.get(&peer.gid).copied() {
            if let Some(context) = self.context(id) {
                context.peer.address = peer.address;
                if context.peer.epoch != peer.epoch || context.peer.key != peer.key {
                    context.rekey(peer.key, peer.epoch);
                }
            }
            return id;
        }
        // An index is not used again, so a packet for a peer that is gone meets nobody.
        let id = PeerId(u32::try_from(self.contexts.len()).unwrap_or(u32::MAX));
        self.names.insert(peer.gid, id);
        let context = Context::new(id, self.gid, peer, &self.config, &mut self.entropy);
        self.contexts.push(Some(Box::new(context)));
        self.queued.push(false);
        self.timers.add();
        id
    }

    /// Puts another key in the place of a peer's. Packets under the one before are taken until the first under this one [SEC-9].
    pub fn set_key(&mut self, id: PeerId, key: PairKey, epoch: u16) {
        if let Some(context) = self.context(id) {
            context.rekey(key, epoch);
        }
    }

    /// Withdraws a peer's key: its session ends, and its messages fail [SEC-9].
    pub fn remove_peer(&mut self, id: PeerId) {
        let Some(mut context) = self.contexts.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        self.names.remove(&context.peer.gid);
        context.end(Failure::KeyWithdrawn, &mut self.entropy);
        self.collect(id, &mut context);
    }

    /// Accepts a message. Its event comes later, in no order.
    ///
    /// # Errors
    /// [`SubmitError`], and nothing of the message is kept.
    pub fn submit(&mut self, now: Instant, id: PeerId, request: Request) -> Result<(), SubmitError> {
        let config = &self.config;
        let context = self
            .contexts
            .get_mut(id.0 as usize)
            .and_then(Option::as_mut)
            .ok_or(SubmitError::NoPeer)?;
        context.submit(now, request, config)?;
        self.wake(id);
        Ok(())
    }

    /// Takes back what a queue pair of this interface has under way to a peer; it fails as withdrawn [REF-4].
    pub fn withdraw(&mut self, id: PeerId, source: u16) {
        self.with(id, |context, _, _| context.outbox.withdraw(source));
        self.wake(id);
    }

    /// Takes a datagram that came to this interface's SRD port, from whatever source port [PKT-2]. What is not authentic is counted, and has no other effect [SEC-8].
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>, local: &mut impl Local) {
        self.stats.received += 1;
        let packet = match Packet::parse(datagram.bytes) {
            Ok(packet) => packet,
            Err(malformed) => {
                *match malformed {
                    Malformed::Length => &mut self.stats.bad_length,
                    Malformed::Version => &mut self.stats.bad_version,
                    Malformed::Unknown => &mut self.stats.unknown,
                } += 1;
                return;
            }
        };
        let id = match packet.body {
            Body::Hello(hello) if hello.receiver == self.gid => self.names.get(&hello.sender).copied(),
            Body::Hello(_) => None,
            _ => Some(PeerId(packet.base.context.get())),
        };
        let Some((id, context)) =
            id.and_then(|id| Some((id, self.contexts.get_mut(id.0 as usize)?.as_mut()?)))
        else {
            self.stats.no_context += 1;
            return;
        };
        let arrival = Arrival {
            now,
            peer: id,
            marked: datagram.marked,
        };
        context.take(
            arrival,
            &packet,
            &self.config,
            &mut self.entropy,
            local,
            &mut self.stats,
        );
        self.wake(id);
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, id)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.pop();
            self.with(id, |context, config, entropy| context.tick(now, config, entropy));
            // What is due now is sent by the next poll; the timer after it is set there.
            self.queue(id);
        }
    }

    /// When [`Endpoint::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| at)
    }

    /// Writes the next datagram into `out`, which must hold the largest one: up to `most` of one size to one peer on one path, one after the other (as UDP
    /// segmentation offload takes them). None if there is nothing to send now.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        local: &mut impl Local,
        out: &mut [u8],
        most: usize,
    ) -> Option<Transmit> {
        while let Some(id) = self.ready.front().copied() {
            let context = self.contexts.get_mut(id.0 as usize).and_then(Option::as_mut);
            let sent = context
                .and_then(|context| context.transmit(now, &self.config, local, out, most, &mut self.stats));
            // Peers take turns.
            self.ready.pop_front();
            if sent.is_some() {
                self.ready.push_back(id);
            } else {
                self.queued[id.0 as usize] = false;
            }
            self.settle(id);
            if sent.is_some() {
                return sent;
            }
        }
        None
    }

    /// What became of messages, in the order in which it happened for each peer.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The counters.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The interface's GID.
    pub const fn gid(&self) -> Gid {
        self.gid
    }

    /// The settings, within the protocol's limits.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether there is a session with a peer.
    pub fn is_connected(&self, id: PeerId) -> bool {
        self.contexts
            .get(id.0 as usize)
            .and_then(Option::as_ref)
            .is_some_and(|context| context.connected())
    }

    /// Packets to a peer that are sent and not acknowledged.
    pub fn outstanding(&self, id: PeerId) -> u64 {
        self.contexts
            .get(id.0 as usize)
            .and_then(Option::as_ref)
            .map_or(0, |context| context.outstanding())
    }

    /// The context of a peer.
    pub(crate) fn of(&self, id: PeerId) -> Option<&Context<C>> {
        self.contexts.get(id.0 as usize)?.as_deref()
    }

    /// How many timers there are, and how many contexts there ever were.
    pub(crate) fn timers(&self) -> (usize, usize) {
        (self.timers.len(), self.contexts.len())
    }

    #[cfg(test)]
    pub(crate) fn context_mut(&mut self, id: PeerId) -> Option<&mut Context<C>> {
        self.context(id)
    }

    fn context(&mut self, id: PeerId) -> Option<&mut Context<C>> {
        self.contexts.get_mut(id.0 as usize)?.as_deref_mut()
    }

    fn with(&mut self, id: PeerId, change: impl FnOnce(&mut Context<C>, &Config, &mut Entropy)) {
        if let Some(context) = self.contexts.get_mut(id.0 as usize).and_then(Option::as_mut) {
            change(context, &self.config, &mut self.entropy);
        }
    }

    /// A context may have something to send, and something else to wait for.
    fn wake(&mut self, id: PeerId) {
        self.queue(id);
        self.settle(id);
    }

    fn queue(&mut self, id: PeerId) {
        if let Some(queued) = self.queued.get_mut(id.0 as usize)
            && !std::mem::replace(queued, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Takes a context's events and sees to its timer.
    fn settle(&mut self, id: PeerId) {
        let Some(context) = self.contexts.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        while let Some((token, result)) = context.outbox.done.pop_front() {
            self.events.push_back(Event {
                peer: id,
                token,
                result,
            });
        }
        // A timer that turns out to be too early finds the right one when it comes.
        if let Some(due) = context.due(&self.config) {
            self.timers.by(id, due);
        }
    }

    fn collect(&mut self, id: PeerId, context: &mut Context<C>) {
        while let Some((token, result)) = context.outbox.done.pop_front() {
            self.events.push_back(Event {
                peer: id,
                token,
                result,
            });
        }
    }
}

/// Random numbers that nobody can guess, from the caller's entropy.
#[derive(Debug)]
pub(crate) struct Entropy {
    source: Sealer,
    count: u64,
}

impl Entropy {
    fn new(entropy: [u8; 16]) -> Self {
        Self {
            source: Sealer::hello(&PairKey::new(entropy), crate::key::Direction::Up, 0),
            count: 0,
        }
    }

    /// An incarnation: never 0.
    pub(crate) fn incarnation(&mut self) -> u64 {
        self.seed().max(1)
    }

    pub(crate) fn seed(&mut self) -> u64 {
        self.count += 1;
        let tag = self.source.tag(&self.count.to_be_bytes(), &[], &[]);
        tag.iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
