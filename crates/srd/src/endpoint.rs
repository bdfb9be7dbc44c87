//! One interface with all its peers.

use std::collections::{HashMap, VecDeque};

use crate::congestion::{Controller, Delay};
use crate::context::{Context, Peer, Transmit};
use crate::direct::{Answer, Direct, Piece};
use crate::key::{PairKey, Sealer};
use crate::local::Local;
use crate::number::NEVER;
use crate::outbox::Request;
use crate::receiver::Arrival;
use crate::timers::Timers;
use crate::wire::{Body, Gid, Malformed, Packet};
use crate::{Config, Failure, Instant, Stats, SubmitError};

/// A peer of an endpoint, or a neighbour; it is also the context's index on the wire.
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
///
/// Messages to interfaces of the same card become no datagrams [LOC-1]. [`Endpoint::add_neighbour`] names such an interface at both ends. After each
/// [`Endpoint::submit`] the caller takes pieces from [`Endpoint::poll_direct`] until there is none, gives each to [`Endpoint::handle_direct`] of the interface that it
/// names, and the answer to [`Endpoint::handle_answer`] of the one that it comes from. No two interfaces are borrowed at once, and one can be its own neighbour.
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
    direct: Direct,
    /// What became of messages to neighbours, and to peers that are gone.
    events: VecDeque<Event>,
    /// Contexts with messages that ended, each once. The events stay with them, so that nothing grows here by packets [REL-11].
    ended: VecDeque<PeerId>,
    told: Vec<bool>,
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
            direct: Direct::default(),
            events: VecDeque::new(),
            ended: VecDeque::new(),
            told: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// Makes a context for a peer; the one that it already has, with the key and address brought up to date. A neighbour of that GID is removed.
    pub fn add_peer(&mut self, peer: Peer) -> PeerId {
        if let Some(id) = self.names.get(&peer.gid).copied() {
            if let Some(context) = self.context(id) {
                context.peer.address = peer.address;
                if context.peer.epoch != peer.epoch || context.peer.key != peer.key {
                    context.rekey(peer.key, peer.epoch);
                }
                return id;
            }
            self.remove_peer(id);
        }
        let id = self.name(peer.gid);
        let context = Context::new(id, self.gid, peer, &self.config, &mut self.entropy);
        self.contexts[id.0 as usize] = Some(Box::new(context));
        id
    }

    /// Makes a neighbour of an interface of the same card, which may be this one; messages between the two never become datagrams [LOC-1]. The other interface has to be
    /// given this one as its neighbour too. A peer of that GID that is reached over the network is removed.
    pub fn add_neighbour(&mut self, gid: Gid) -> PeerId {
        if let Some(id) = self.names.get(&gid).copied() {
            if self.direct.has(id) {
                return id;
            }
            self.remove_peer(id);
        }
        let id = self.name(gid);
        self.direct.add(id, gid);
        id
    }

    /// Puts another key in the place of a peer's. Packets under the one before are taken until the first under this one [SEC-9].
    pub fn set_key(&mut self, id: PeerId, key: PairKey, epoch: u16) {
        if let Some(context) = self.context(id) {
            context.rekey(key, epoch);
        }
    }

    /// Withdraws a peer's key: its session ends, and its messages fail [SEC-9]. So do a neighbour's, which is none any more.
    pub fn remove_peer(&mut self, id: PeerId) {
        if let Some(gid) = self.direct.remove(id, &mut self.events) {
            self.names.remove(&gid);
            return;
        }
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
        let Some(context) = self.contexts.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            return self.direct.submit(id, request, &self.config);
        };
        let behind = context.waits();
        context.submit(now, request, &self.config)?;
        self.queue(id);
        // What waits behind others changes no time and ends nothing.
        if !behind {
            self.settle(id);
        }
        Ok(())
    }

    /// Takes back what a queue pair of this interface has under way to a peer; it fails as withdrawn [REF-4].
    pub fn withdraw(&mut self, id: PeerId, source: u16) {
        self.direct.withdraw(id, source, &mut self.events);
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
            // Peers take turns; a single one stays where it is.
            if sent.is_none() {
                self.ready.pop_front();
                self.queued[id.0 as usize] = false;
            } else if self.ready.len() > 1 {
                self.ready.rotate_left(1);
            }
            self.settle(id);
            if sent.is_some() {
                return sent;
            }
        }
        None
    }

    /// The next message to a neighbour, or a segment of one; none if there is nothing to carry, or if `buffer` does not hold the largest datagram of this interface. A
    /// message of which the piece or its answer never comes back fails as withdrawn at the next call.
    pub fn poll_direct<'a>(&mut self, local: &mut impl Local, buffer: &'a mut [u8]) -> Option<Piece<'a>> {
        let datagram = self.config.datagram;
        self.direct
            .poll(self.gid, datagram, local, buffer, &mut self.events)
    }

    /// Takes what a neighbour sends; the answer is the neighbour's. What is for another interface, or from one that is no neighbour, is counted, has no other effect, and
    /// fails as unreachable [LOC-3].
    pub fn handle_direct<'a>(&mut self, mut piece: Piece<'a>, local: &mut impl Local) -> Answer<'a> {
        let peer = self.names.get(&piece.from()).copied();
        let Some(peer) = peer.filter(|id| piece.to() == self.gid && self.direct.has(*id)) else {
            self.stats.no_context += 1;
            return piece.unreachable();
        };
        let result = piece.execute(peer, self.config.datagram, local);
        *match result {
            Ok(()) => &mut self.stats.delivered,
            Err(_) => &mut self.stats.refused,
        } += 1;
        piece.answer(result)
    }

    /// Takes the answer to a piece of this interface. One for another interface, or whose message has ended meanwhile, has no effect.
    pub fn handle_answer(&mut self, answer: Answer<'_>, local: &mut impl Local) {
        if answer.sender() == self.gid && self.direct.answer(answer, local, &mut self.events) {
            self.stats.direct += 1;
        }
    }

    /// What became of messages, in the order in which it happened for each peer.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        while let Some(peer) = self.ended.front().copied() {
            let done = self
                .context(peer)
                .and_then(|context| context.outbox.done.pop_front());
            if let Some((token, result)) = done {
                return Some(Event { peer, token, result });
            }
            self.ended.pop_front();
            self.told[peer.0 as usize] = false;
        }
        None
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

    /// Whether messages to it go from queue to queue.
    pub fn is_neighbour(&self, id: PeerId) -> bool {
        self.direct.has(id)
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

    /// Gives a GID an index. One is not used again, so a packet for a peer that is gone meets nobody, and nor does one for a neighbour [LOC-1].
    fn name(&mut self, gid: Gid) -> PeerId {
        let id = PeerId(u32::try_from(self.contexts.len()).unwrap_or(u32::MAX));
        self.names.insert(gid, id);
        self.contexts.push(None);
        self.queued.push(false);
        self.ready.reserve(self.queued.len() - self.ready.len());
        self.told.push(false);
        self.ended.reserve(self.told.len() - self.ended.len());
        self.timers.add();
        id
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

    /// Sees to a context's events and its timer.
    fn settle(&mut self, id: PeerId) {
        let Some(context) = self.contexts.get(id.0 as usize).and_then(Option::as_ref) else {
            return;
        };
        if !context.outbox.done.is_empty() && !std::mem::replace(&mut self.told[id.0 as usize], true) {
            self.ended.push_back(id);
        }
        // A timer that turns out to be too early finds the right one when it comes.
        let due = context.due(&self.config);
        if due < NEVER {
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
