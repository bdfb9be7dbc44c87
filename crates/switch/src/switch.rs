//! The switch: ports, policy and state behind one call per packet.

mod fast;

use trinic_wire::ipv6;
use trinic_wire::packet::{Network, Parsed};
use trinic_wire::reply::{self, Sender};
use trinic_wire::time::Instant;

use crate::cache::{self, CachedGate, Destination, Details, Glance};
use crate::counters::{AllowanceCounters, Counters, CountersSnapshot};
use crate::edit::{self, Edits};
use crate::flow::FlowHash;
use crate::packet::{Offload, Output, Packet, PortId, Verdict};
use crate::policy::{Changed, Policy, base_plus6};
use crate::shaper::Load;
use crate::state::{Config, States};
use crate::tables::{Delta, DeltaMismatch, Id, Tables, router_of};
use crate::trace::{Direction, NoTrace, Outcome as TraceOutcome, Recorder, Step, Trace};
use crate::walk::{self, Commit, Decision, Frame, Gate, Origin, Outcome, Place, Reply, id_of};
use crate::{DropReason, ROUTER_MAC, Stage};

pub use fast::BATCH;
use fast::Moment;

/// Why an interface or the internet could not be connected to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Something else is connected to the port.
    #[error("Port {0:?} is in use")]
    PortInUse(PortId),
    /// The port's number is [`MAX_PORTS`] or larger.
    #[error("Port {0:?} is beyond the last port")]
    PortTooLarge(PortId),
}

/// Port numbers are below this.
pub const MAX_PORTS: u32 = 1 << 16;

/// The source of ICMPv4 errors that the internet gateway itself sends: it has no address of its own, for
/// which RFC 7600 §4.8 sets this one aside. [assumed A-09]
const DUMMY_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 0, 0, 8);

/// Slots that one call of [`Switch::expire`] looks at, over all interfaces.
const SWEEP_WORK: usize = 4_096;

/// Slots that are looked at when a connection finds the table full.
const FULL_WORK: usize = 64;

/// The packet pipeline of one card.
#[derive(Debug)]
pub struct Switch {
    policy: Policy,
    states: States,
    ports: Vec<Option<Origin>>,
    hash: FlowHash,
    /// Counts whatever may change the verdict about a known flow within a second: new generations of the policy,
    /// and connections that started anew or were forgotten.
    changes: u32,
    unknown_port: u64,
    /// Room for a batch.
    glances: Vec<Glance>,
    /// The interface whose connections the next [`Self::expire`] looks at.
    sweep_position: usize,
}

impl Default for Switch {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

/// Setting up.
impl Switch {
    /// A switch without tables.
    pub fn new(config: Config) -> Self {
        Self {
            policy: Policy::default(),
            states: States::new(config),
            ports: Vec::new(),
            hash: FlowHash::new(config.hash_seed),
            changes: 0,
            unknown_port: 0,
            glances: vec![Glance::NONE; BATCH],
            sweep_position: 0,
        }
    }

    /// Takes whole tables, whatever their revision. Interfaces that stay keep counters and connections.
    pub fn load(&mut self, tables: Tables) {
        let changed = self.policy.replace(tables);
        self.follow(&changed);
    }

    /// Takes a change; refuses one that starts from another revision, and changes nothing then.
    pub fn apply(&mut self, delta: Delta) -> Result<(), DeltaMismatch> {
        let changed = self.policy.apply(delta)?;
        self.follow(&changed);
        Ok(())
    }

    fn follow(&mut self, changed: &Changed) {
        for index in &changed.removed {
            self.states.reset(*index);
        }
        let config = self.states.config;
        for index in &changed.upserted {
            let state = self.states.ensure(*index);
            if let Some(interface) = self.policy.interface(*index) {
                state.configure(&interface.entry, &config);
            }
        }
        self.changes = self.changes.wrapping_add(1);
    }

    /// Makes what was concluded stale for a reason outside the tables.
    fn next_generation(&mut self) {
        self.policy.next_generation();
        self.changes = self.changes.wrapping_add(1);
    }

    /// The tables as they are now.
    pub fn tables(&self) -> &Tables {
        self.policy.tables()
    }

    /// The compiled tables.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Connects an interface to a port, whether the tables have it yet or not. An interface that is
    /// connected to another port moves.
    pub fn connect(&mut self, interface: &str, port: PortId) -> Result<(), ConnectError> {
        let id: Id = interface.into();
        let index = self.policy.mention_interface(&id);
        if self.origin(port) == Some(Origin::Interface(index)) {
            self.policy.forget_interface(index);
            return Ok(());
        }
        if let Err(error) = self.plug(port, Origin::Interface(index)) {
            self.policy.forget_interface(index);
            return Err(error);
        }
        if let Some(old) = self.states.ensure(index).port.replace(port) {
            self.unplug(old);
            self.policy.forget_interface(index);
        }
        self.next_generation();
        Ok(())
    }

    /// Connects the internet to a port.
    pub fn connect_internet(&mut self, port: PortId) -> Result<(), ConnectError> {
        if self.origin(port) == Some(Origin::Internet) {
            return Ok(());
        }
        self.plug(port, Origin::Internet)?;
        if let Some(old) = self.states.internet.port.replace(port) {
            self.unplug(old);
        }
        self.next_generation();
        Ok(())
    }

    /// Disconnects whatever is connected to a port. Connections and counters of an interface that the tables
    /// still have are kept.
    pub fn disconnect(&mut self, port: PortId) {
        match self.origin(port) {
            None => return,
            Some(Origin::Internet) => self.states.internet.port = None,
            Some(Origin::Interface(index)) => {
                if let Some(state) = self.states.get_mut(index) {
                    state.port = None;
                }
                if self.policy.interface(index).is_none() {
                    self.states.reset(index);
                }
                self.policy.forget_interface(index);
            }
        }
        self.unplug(port);
        self.next_generation();
    }

    fn plug(&mut self, port: PortId, origin: Origin) -> Result<(), ConnectError> {
        if port.0 >= MAX_PORTS {
            return Err(ConnectError::PortTooLarge(port));
        }
        let at = port.0 as usize;
        if self.ports.len() <= at {
            self.ports.resize(at + 1, None);
        }
        if self.ports[at].is_some() {
            return Err(ConnectError::PortInUse(port));
        }
        self.ports[at] = Some(origin);
        Ok(())
    }

    fn unplug(&mut self, port: PortId) {
        if let Some(plug) = self.ports.get_mut(port.0 as usize) {
            *plug = None;
        }
    }

    #[inline]
    fn origin(&self, port: PortId) -> Option<Origin> {
        *self.ports.get(port.0 as usize)?
    }
}

/// Looking at it.
impl Switch {
    /// The counters of an interface, if the switch knows it.
    pub fn counters(&self, interface: &str) -> Option<CountersSnapshot> {
        let state = self.states.get(self.policy.find_interface(interface)?)?;
        Some(state.snapshot())
    }

    /// What the allowances of an interface did, if the switch knows it.
    pub fn allowance_counters(&self, interface: &str) -> Option<AllowanceCounters> {
        let state = self.states.get(self.policy.find_interface(interface)?)?;
        Some(state.allowance_counters())
    }

    /// The counters of the internet's port and of the internet gateway.
    pub fn internet_counters(&self) -> CountersSnapshot {
        self.states.internet.counters.snapshot()
    }

    /// Frames that came from a port to which nothing is connected.
    pub fn unknown_port_drops(&self) -> u64 {
        self.unknown_port
    }

    /// The port that an interface is connected to.
    pub fn port_of(&self, interface: &str) -> Option<PortId> {
        self.states.get(self.policy.find_interface(interface)?)?.port
    }

    /// The id of the interface that is connected to a port; `None` for the internet's port too.
    pub fn interface_at(&self, port: PortId) -> Option<&Id> {
        match self.origin(port)? {
            Origin::Interface(index) => Some(self.policy.interface_id(index)),
            Origin::Internet => None,
        }
    }

    /// Flows in the cache of an interface's port.
    pub fn cached_flows(&self, interface: &str) -> usize {
        self.policy
            .find_interface(interface)
            .and_then(|index| self.states.get(index))
            .map_or(0, |state| state.cache.len())
    }

    /// The way that a frame would take now. The same code as [`Self::process`], without the flow cache; it
    /// changes nothing and counts nothing. (So a frame that an interface sends to its own public address is not seen to
    /// use up its allowance of packets on the way out before it comes in.)
    pub fn trace(
        &self,
        now: Instant,
        from: PortId,
        window: &[u8],
        total_len: usize,
        offload: Offload,
    ) -> Trace {
        let dropped = |stage, reason| Trace {
            steps: vec![Step {
                stage,
                interface: self.interface_at(from).cloned(),
                event: crate::trace::Event::Dropped(reason),
            }],
            outcome: TraceOutcome::Dropped(reason),
        };
        let Some(origin) = self.origin(from) else {
            return dropped(Stage::Port, DropReason::UnknownPort);
        };
        let Ok(parsed) = Parsed::parse(window, total_len) else {
            return dropped(Stage::Parse, DropReason::Malformed);
        };
        if let Origin::Interface(index) = origin
            && let Some(shaper) = self.states.get(index).and_then(|state| state.shaper.as_deref())
            && let Some(reason) = shaper.refusal(now, Direction::Outbound)
        {
            return dropped(Stage::AllowanceOut, reason);
        }
        let frame = Frame {
            window,
            parsed: &parsed,
            offload,
        };
        let mut recorder = Recorder::default();
        let decision = walk::walk(&self.policy, &self.states, now, origin, frame, &mut recorder);
        Trace {
            steps: recorder.0,
            outcome: match decision.outcome {
                Outcome::Forward { to, .. } => TraceOutcome::Delivered(id_of(&self.policy, to)),
                Outcome::Service => TraceOutcome::Service,
                Outcome::Echo | Outcome::Reply(_) => TraceOutcome::Replied,
                Outcome::Drop { reason, .. } => TraceOutcome::Dropped(reason),
            },
        }
    }
}

/// The packet path.
impl Switch {
    /// How many frames of a port may be given to [`Self::process_batch`] now, for a port whose frames lie in a ring where
    /// they can wait: none while an allowance of its interface is used up. `has_frames`: whether some are there.
    /// Ask before each turn; what is taken after a wait is counted as queued. [assumed A-39]
    #[inline]
    pub fn send_room(&mut self, now: Instant, from: PortId, has_frames: impl FnOnce() -> bool) -> usize {
        let Some(Origin::Interface(index)) = self.origin(from) else {
            return usize::MAX;
        };
        let shaper = self.states.get_mut(index).and_then(|state| state.shaper.as_mut());
        shaper.map_or(usize::MAX, |shaper| shaper.send_room(now, has_frames))
    }

    /// Decides about a frame and edits it.
    ///
    /// Tiers: (1) a flow that was seen before under these tables: a quick parse, one search of the flow cache, two
    /// MACs; about 30 ns. (2) The walk: a dozen hash lookups and the rules of both gates; some 300 ns, more for many
    /// rules or a new connection. `benches/flows.rs` and `benches/packet.rs` measure them. No lock, no formatting;
    /// nothing is allocated but room for a new connection or a new cache entry. A frame of 64 KiB costs what a small
    /// one does.
    pub fn process(
        &mut self,
        now: Instant,
        from: PortId,
        packet: &mut Packet<'_>,
        out: &mut Output,
    ) -> Verdict {
        let glance = Glance::of(packet, self.hash);
        self.decide(Moment::new(now), from, packet, glance.as_ref(), out)
    }

    #[inline]
    fn decide(
        &mut self,
        moment: Moment,
        from: PortId,
        packet: &mut Packet<'_>,
        glance: Option<&Glance>,
        out: &mut Output,
    ) -> Verdict {
        out.clear();
        let Some(origin) = self.origin(from) else {
            self.unknown_port += 1;
            return Verdict::Drop(DropReason::UnknownPort);
        };
        let is_shaped = self.count_sent(origin, 1, packet.total_len);
        let mut verdict = Verdict::Replied;
        if let Some(glance) = glance
            && !is_shaped
            && self
                .fast(moment, origin, glance, packet.again(), &mut verdict)
                .is_some()
        {
            return verdict;
        }
        self.decide_slowly(moment, (from, origin), is_shaped, packet, glance, out)
    }

    /// Counts frames that came from a port, whatever becomes of them. Returns whether there are allowances that they
    /// count against.
    #[inline]
    fn count_sent(&mut self, origin: Origin, frames: u64, bytes: usize) -> bool {
        match origin {
            Origin::Interface(index) => self.states.get_mut(index).is_some_and(|state| {
                state.counters.outbound(frames, bytes);
                state.shaper.is_some()
            }),
            Origin::Internet => {
                self.states.internet.counters.outbound(frames, bytes);
                false
            }
        }
    }

    /// Decides about a frame that [`Self::fast`] does not know, or that may be too much.
    #[inline(never)]
    fn decide_slowly(
        &mut self,
        moment: Moment,
        (from, origin): (PortId, Origin),
        is_shaped: bool,
        packet: &mut Packet<'_>,
        glance: Option<&Glance>,
        out: &mut Output,
    ) -> Verdict {
        let now = moment.now;
        if is_shaped && let Some(glance) = glance {
            let load = Load::of_plain(packet.total_len, packet.offload, glance);
            if let Some(reason) = self.exceeds(now, origin.into(), load, Direction::Outbound) {
                return self.dropped(origin.into(), reason);
            }
            let mut verdict = Verdict::Replied;
            if self
                .fast(moment, origin, glance, packet.again(), &mut verdict)
                .is_some()
            {
                return verdict;
            }
        }
        self.slow(now, from, packet, glance, out)
    }

    /// Counts a frame against an interface's allowances. Returns why it is dropped, if it is.
    fn exceeds(&mut self, now: Instant, at: Place, load: Load, direction: Direction) -> Option<DropReason> {
        let Destination::Interface(index) = at else {
            return None;
        };
        self.states.get_mut(index)?.exceeds(now, load, direction)
    }

    /// Takes note of a frame that a link-local service sends to an interface.
    pub fn service_reply(&mut self, to: PortId, total_len: usize) {
        if let Some(origin) = self.origin(to)
            && let Some(counters) = self.counters_of(origin.into())
        {
            counters.inbound(total_len);
        }
    }

    /// Forgets some of the connections whose time is over. Call it about once per second, or when idle; the
    /// work of a call is bounded, and nothing but memory depends on it. Returns how many were forgotten.
    pub fn expire(&mut self, now: Instant) -> usize {
        let positions = self.states.positions();
        let mut work = SWEEP_WORK;
        let mut forgotten = 0;
        for _ in 0..positions {
            if work == 0 {
                break;
            }
            self.sweep_position = (self.sweep_position + 1) % positions;
            if let Some(state) = self.states.at_mut(self.sweep_position) {
                let share = work.min(state.tracker.slots());
                forgotten += state.tracker.sweep(now, share);
                work -= share;
            }
        }
        forgotten
    }

    fn counters_of(&mut self, place: Place) -> Option<&mut Counters> {
        match place {
            Destination::Internet => Some(&mut self.states.internet.counters),
            Destination::Interface(index) => self.states.get_mut(index).map(|state| &mut state.counters),
        }
    }

    fn dropped(&mut self, at: Place, reason: DropReason) -> Verdict {
        if let Some(counters) = self.counters_of(at) {
            counters.drop(reason);
        }
        Verdict::Drop(reason)
    }

    /// The other end of the internet's port is whoever sent the last frame from there.
    fn learn(&mut self, window: &[u8]) {
        let Some(&[.., a, b, c, d, e, f]) = window.first_chunk::<12>() else {
            return;
        };
        let mac = [a, b, c, d, e, f];
        if mac != self.states.internet.mac && mac[0] & 1 == 0 {
            self.states.internet.mac = mac;
            self.next_generation();
        }
    }

    fn port_at(&self, to: Destination) -> Option<PortId> {
        match to {
            Destination::Internet => self.states.internet.port,
            Destination::Interface(index) => self.states.get(index)?.port,
        }
    }

    /// Edits the frame and counts it at its receiver.
    fn forward(
        &mut self,
        now: Instant,
        origin: Origin,
        to: Destination,
        parsed: &mut Parsed,
        packet: &mut Packet<'_>,
        edits: &Edits,
    ) -> Verdict {
        let Some(port) = self.port_at(to) else {
            return self.dropped(to, DropReason::DestinationUnattached);
        };
        let load = Load::of(packet, parsed);
        if let Some(reason) = self.exceeds(now, to, load, Direction::Inbound) {
            return self.dropped(to, reason);
        }
        if edit::apply(packet.window, parsed, packet.offload, edits).is_err() {
            return self.dropped(origin.into(), DropReason::Malformed);
        }
        if let Some(counters) = self.counters_of(to) {
            counters.inbound(packet.total_len);
        }
        Verdict::Forward { to: port }
    }

    /// The second tier: the walk, and what it decided.
    fn slow(
        &mut self,
        now: Instant,
        from: PortId,
        packet: &mut Packet<'_>,
        glance: Option<&Glance>,
        out: &mut Output,
    ) -> Verdict {
        let Some(origin) = self.origin(from) else {
            return Verdict::Drop(DropReason::UnknownPort);
        };
        let Ok(mut parsed) = Parsed::parse(packet.window, packet.total_len) else {
            return self.dropped(origin.into(), DropReason::Malformed);
        };
        if origin == Origin::Internet {
            self.learn(packet.window);
        }
        let parsed = &mut parsed;
        if glance.is_none()
            && let Some(reason) =
                self.exceeds(now, origin.into(), Load::of(packet, parsed), Direction::Outbound)
        {
            return self.dropped(origin.into(), reason);
        }
        let frame = Frame {
            window: packet.window,
            parsed,
            offload: packet.offload,
        };
        let decision = walk::walk(&self.policy, &self.states, now, origin, frame, &mut NoTrace);
        let gates = [
            self.commit(now, decision.sender),
            self.commit(now, decision.receiver),
        ];
        match decision.outcome {
            Outcome::Forward { to, edits } => {
                self.remember(now, origin, parsed, glance, &decision, gates);
                self.forward(now, origin, to, parsed, packet, &edits)
            }
            Outcome::Echo => {
                edit::echo(packet.window, parsed, ROUTER_MAC);
                if let Some(counters) = self.counters_of(origin.into()) {
                    counters.replies += 1;
                    counters.inbound(packet.total_len);
                }
                Verdict::Forward { to: from }
            }
            Outcome::Service => {
                if let Origin::Interface(index) = origin
                    && let Some(state) = self.states.get_mut(index)
                {
                    state.counters.services += 1;
                    state.link_local.take(now, 1);
                }
                Verdict::Service { port: from }
            }
            Outcome::Reply(reply) => {
                let written = write_reply(reply, parsed, out);
                self.answered(origin, written);
                match written {
                    Some(_) => Verdict::Replied,
                    None => self.dropped(origin.into(), DropReason::Malformed),
                }
            }
            Outcome::Drop { reason, at, report } => {
                if let Some(problem) = report {
                    let sender = self.reporter(origin, parsed);
                    let written = sender.and_then(|sender| {
                        let write = |bytes: &mut [u8]| {
                            reply::icmp_error(packet.window, parsed, problem, sender, bytes)
                                .map(Option::unwrap_or_default)
                        };
                        out.write(write).ok().filter(|len| *len != 0)
                    });
                    self.answered(origin, written);
                }
                if reason == DropReason::ConntrackFull
                    && let Destination::Interface(index) = at
                    && let Some(state) = self.states.get_mut(index)
                {
                    state.tracker.sweep(now, FULL_WORK);
                }
                if let Some(counters) = self.counters_of(at) {
                    counters.exceed(reason, Load::of(packet, parsed).packets);
                }
                self.dropped(at, reason)
            }
        }
    }

    /// Counts a frame of the card's own that goes back to the sender.
    fn answered(&mut self, origin: Origin, written: Option<usize>) {
        if let Some(len) = written
            && let Some(counters) = self.counters_of(origin.into())
        {
            counters.replies += 1;
            counters.inbound(len);
        }
    }

    /// Remembers what a gate decided. Returns how the flow's next packets pass it.
    fn commit(&mut self, now: Instant, gate: Gate) -> CachedGate {
        let Gate::Passed {
            at,
            direction,
            signal,
            commit,
        } = gate
        else {
            return CachedGate::Absent;
        };
        let Some(state) = self.states.get_mut(at) else {
            return CachedGate::Absent;
        };
        let tracker = &mut state.tracker;
        match commit {
            Commit::Nothing => CachedGate::Untracked,
            Commit::Stray => CachedGate::Stray,
            Commit::Touch(handle) => {
                tracker.touch(now, handle, direction, signal);
                CachedGate::Tracked(handle)
            }
            Commit::Open(key) => {
                let opened = tracker.open(now, key, direction, signal);
                self.changes = self.changes.wrapping_add(u32::from(opened.renewed));
                CachedGate::Tracked(opened.handle)
            }
            Commit::Forget(handle) => {
                tracker.forget(handle);
                self.changes = self.changes.wrapping_add(1);
                CachedGate::Untracked
            }
        }
    }

    /// Caches a flow that the walk let through, and remembers a first fragment.
    fn remember(
        &mut self,
        now: Instant,
        origin: Origin,
        parsed: &Parsed,
        glance: Option<&Glance>,
        decision: &Decision,
        gates: [CachedGate; 2],
    ) {
        let (Outcome::Forward { to, edits }, Some(ip)) = (decision.outcome, parsed.ip()) else {
            return;
        };
        let settled = self.settled(now);
        let generation = self.policy.generation();
        let (fragments, cache) = match origin {
            Origin::Internet => {
                let internet = &mut self.states.internet;
                (&mut internet.fragments, &mut internet.cache)
            }
            Origin::Interface(index) => match self.states.get_mut(index) {
                Some(state) => (&mut state.fragments, &mut state.cache),
                None => return,
            },
        };
        if ip.fragment.is_some_and(|fragment| fragment.is_first()) {
            fragments.remember(now, ip);
        }
        let Some(glance) = glance.filter(|_| !gates.contains(&CachedGate::Stray)) else {
            return;
        };
        let verdict = cache::Verdict {
            to,
            mtu: decision.mtu,
            settled,
            details: Details {
                generation,
                edits,
                gates,
            },
        };
        cache.insert(glance, parsed, &verdict);
    }

    /// Who sends ICMP errors to a sender: the router of its subnet, or the internet gateway.
    fn reporter(&self, origin: Origin, parsed: &Parsed) -> Option<Sender> {
        let ipv6 = parsed.ip()?.is_ipv6();
        let address = match origin {
            Origin::Internet if ipv6 => ipv6::link_local(ROUTER_MAC).into(),
            Origin::Internet => DUMMY_ADDRESS.into(),
            Origin::Interface(index) => {
                let subnet = self.policy.subnet(self.policy.interface(index)?.subnet)?;
                if ipv6 {
                    base_plus6(subnet.ipv6?, 1).into()
                } else {
                    router_of(subnet.ipv4?).into()
                }
            }
        };
        Some(Sender {
            mac: ROUTER_MAC,
            address,
        })
    }
}

impl From<Origin> for Place {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Interface(index) => Self::Interface(index),
            Origin::Internet => Self::Internet,
        }
    }
}

/// Writes a frame of the card's own; returns its size.
fn write_reply(reply: Reply, parsed: &Parsed, out: &mut Output) -> Option<usize> {
    let ethernet = &parsed.ethernet;
    let written = match (reply, &parsed.network) {
        (Reply::Arp { mac }, Network::Arp(request)) => {
            out.write(|bytes| reply::arp(ethernet, request, mac, bytes))
        }
        (Reply::Neighbor { target, mac, router }, Network::Ip(ip)) => {
            let std::net::IpAddr::V6(asker) = ip.tuple.source else {
                return None;
            };
            out.write(|bytes| reply::neighbor_advertisement(ethernet, asker, target, mac, router, bytes))
        }
        (Reply::Router { prefix }, Network::Ip(ip)) => {
            let std::net::IpAddr::V6(asker) = ip.tuple.source else {
                return None;
            };
            let router = ipv6::link_local(ROUTER_MAC);
            let advertisement = walk::advertisement(prefix);
            out.write(|bytes| {
                reply::router_advertisement(ethernet, asker, router, ROUTER_MAC, &advertisement, bytes)
            })
        }
        _ => return None,
    };
    written.ok()
}
