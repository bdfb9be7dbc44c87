//! The world: everything that happens in a network, one event after the other.

use std::time::Duration;

use crate::link::{Direction, DropCause, Drops, Fate, LinkConfig, LinkId, LinkStats, Port};
use crate::queue::EventQueue;
use crate::random::{Random, hash_bytes};
use crate::routes::Routes;
use crate::topology::{Node, Topology};
use crate::trace::{Record, Trace};
use crate::{Datagram, Endpoint, HostId, Instant, datagram};

/// What holds for a world as a whole.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// The seed: the same one gives the same world, to the last event.
    pub seed: u64,
    /// How long after a link goes down or up the switches change their routes; `None` for never, so that a dead
    /// link swallows what is sent over it.
    pub reroute: Option<Duration>,
    /// A host is asked for the next datagram only while less than this is queued at its link, so that it meets
    /// the link's speed and not an endless queue.
    pub nic_bytes: u64,
    /// Whether cards check payloads and drop corrupted ones, as the checksums of Ethernet and UDP make them;
    /// otherwise the flipped bits reach the endpoints.
    pub verify_checksums: bool,
    /// How much text of the trace to keep; the hash covers all of it.
    pub trace_text_bytes: usize,
}

impl WorldConfig {
    /// Routes that never change, two datagrams of 8,928 bytes (or as many bytes of smaller ones) in a host's queue,
    /// corrupted payloads delivered, no text.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            reroute: None,
            nic_bytes: 2 * 8_994,
            verify_checksums: false,
            trace_text_bytes: 0,
        }
    }
}

/// A change of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The link fails: what is queued and on the way is lost, and what is sent from now on.
    Down,
    /// The link works again.
    Up,
    /// The link has other properties for what is sent from now on.
    Configure(LinkConfig),
}

/// What all hosts together sent and got. At any time `sent + duplicated` is `delivered`, plus
/// `dropped.total()`, plus [`World::in_flight`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Datagrams that endpoints sent.
    pub sent: u64,
    /// Copies that links made.
    pub duplicated: u64,
    /// Datagrams that endpoints got.
    pub delivered: u64,
    /// Datagrams that went no further, anywhere.
    pub dropped: Drops,
}

/// What [`World::step`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// When it happened.
    pub at: Instant,
    /// The host whose endpoint was called, which may have something to tell.
    pub host: Option<HostId>,
}

/// A network with an endpoint of type `E` on each host that was started.
#[derive(Debug)]
pub struct World<E> {
    config: WorldConfig,
    now: Instant,
    events: EventQueue<Event>,
    events_done: u64,
    hosts: Vec<Host<E>>,
    ports: Vec<Port>,
    routes: Routes,
    changes: Vec<(Vec<u32>, Change)>,
    packets: Vec<Packet>,
    free: Vec<u32>,
    next_serial: u64,
    totals: Totals,
    trace: Trace,
}

#[derive(Debug)]
struct Host<E> {
    endpoint: Option<E>,
    /// The outward direction of its link.
    port: u32,
    /// The timer event that counts; others in the queue are stale.
    armed: Option<Instant>,
    /// Whether an event will say that the link has room again.
    waits: bool,
    /// Timeouts in a row at the same time, and when.
    timeouts: (Instant, u32),
}

/// A datagram on its way. A free one keeps its payload's memory for the next.
#[derive(Debug, Default)]
struct Packet {
    datagram: Datagram,
    wire_bytes: u64,
    serial: u64,
    epoch: u32,
    corrupted: bool,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrive { port: u32, packet: u32 },
    Timer(HostId),
    Room(HostId),
    Change(u32),
    Reroute,
}

impl<E: Endpoint> World<E> {
    /// A world in which no host has started and all links are up.
    ///
    /// # Panics
    ///
    /// If a host has not exactly one link, or a link's rate is 0: the topology is wrong.
    pub fn new(topology: &Topology, config: WorldConfig) -> Self {
        let seed = config.seed;
        let salts = topology
            .switches
            .iter()
            .map(|name| Random::fork(seed, &format!("switch {name}")).next_u64())
            .collect();
        let ports = topology.links.iter().flat_map(|link| {
            [0, 1].map(|index| {
                let direction = ["forward", "backward"][index];
                let of_host = matches!(link.ends[index], Node::Host(_));
                let random = Random::fork(seed, &format!("link {} {direction}", link.name));
                Port::new(link.configs[index].clone(), of_host, random)
            })
        });
        let trace = Trace::new(config.trace_text_bytes);
        Self {
            now: Instant::ZERO,
            events: EventQueue::new(),
            events_done: 0,
            hosts: (0..topology.hosts.len())
                .map(|index| Host::new(topology, index))
                .collect(),
            ports: ports.collect(),
            routes: Routes::new(topology, salts),
            changes: Vec::new(),
            packets: Vec::new(),
            free: Vec::new(),
            next_serial: 0,
            totals: Totals::default(),
            trace,
            config,
        }
    }

    /// Starts or restarts a host with this endpoint; what was there is gone.
    pub fn start(&mut self, host: HostId, endpoint: E) {
        self.trace.record(self.now, Record::Start(host));
        let entry = &mut self.hosts[host.index()];
        entry.endpoint = Some(endpoint);
        entry.armed = None;
        self.kick(host);
    }

    /// Ends a host: its endpoint is gone, and what arrives is dropped until it is started again. What its link
    /// had queued still goes out.
    pub fn crash(&mut self, host: HostId) -> Option<E> {
        self.trace.record(self.now, Record::Crash(host));
        let entry = &mut self.hosts[host.index()];
        entry.armed = None;
        entry.endpoint.take()
    }

    /// A host's endpoint, to look at.
    pub fn endpoint(&self, host: HostId) -> Option<&E> {
        self.hosts.get(host.index())?.endpoint.as_ref()
    }

    /// A host's endpoint, to take events from. If the call may give it something to send or a timer to set, use
    /// [`World::with_endpoint`].
    pub fn endpoint_mut(&mut self, host: HostId) -> Option<&mut E> {
        self.hosts.get_mut(host.index())?.endpoint.as_mut()
    }

    /// Does something with a host's endpoint now, then sends what it has to send; `None` if the host is down.
    pub fn with_endpoint<T>(&mut self, host: HostId, act: impl FnOnce(&mut E, Instant) -> T) -> Option<T> {
        let now = self.now;
        let result = act(self.endpoint_mut(host)?, now);
        self.kick(host);
        Some(result)
    }

    /// Changes a link at a time to come (or at the next step, if that is past), in one direction or both.
    pub fn schedule(&mut self, at: Instant, link: LinkId, direction: Option<Direction>, change: Change) {
        let ports = match direction {
            Some(direction) => vec![port_index(link, direction)],
            None => vec![
                port_index(link, Direction::Forward),
                port_index(link, Direction::Backward),
            ],
        };
        let index = narrow(self.changes.len());
        self.changes.push((ports, change));
        self.events.push(at.max(self.now), Event::Change(index));
    }

    /// Does what comes next; `None` if nothing will ever happen again without a push from outside.
    pub fn step(&mut self) -> Option<Step> {
        let (at, event) = self.events.pop()?;
        self.now = at;
        self.events_done += 1;
        let host = match event {
            Event::Arrive { port, packet } => self.arrive(port, packet),
            Event::Timer(host) => self.timer(host),
            Event::Room(host) => {
                self.hosts[host.index()].waits = false;
                self.kick(host);
                Some(host)
            }
            Event::Change(index) => {
                self.change(index);
                None
            }
            Event::Reroute => {
                self.trace.record(at, Record::Reroute);
                let ports = &self.ports;
                self.routes.compute(|port| ports[port].is_up());
                None
            }
        };
        Some(Step { at, host })
    }

    /// Does everything up to and at `until`, where the time then stands.
    pub fn run_until(&mut self, until: Instant) {
        while self.next_event().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Lets time pass without anything happening: up to `until`, or to the next event if that is earlier.
    pub fn wait_until(&mut self, until: Instant) {
        let free = self.next_event().map_or(until, |at| at.min(until));
        self.now = self.now.max(free);
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<Instant> {
        self.events.next_at()
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The seed that the world came from.
    pub const fn seed(&self) -> u64 {
        self.config.seed
    }

    /// How many events have happened.
    pub const fn events_done(&self) -> u64 {
        self.events_done
    }

    /// What all hosts sent and got.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Datagrams that are queued or on the way.
    pub fn in_flight(&self) -> u64 {
        u64::try_from(self.packets.len() - self.free.len()).unwrap_or(u64::MAX)
    }

    /// What a direction of a link counted.
    pub fn link_stats(&self, link: LinkId, direction: Direction) -> LinkStats {
        self.ports[port_index(link, direction) as usize].stats(self.now)
    }

    /// What is queued at a direction of a link now.
    pub fn link_depth_bytes(&mut self, link: LinkId, direction: Direction) -> u64 {
        self.ports[port_index(link, direction) as usize].depth_bytes(self.now)
    }

    /// A number over everything that happened: equal for two runs that did the same, and, but for an accident in
    /// 2^64, for no others. Of payloads the length and the first 64 bytes count.
    pub const fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// What happened, a line each, from the start up to [`WorldConfig::trace_text_bytes`].
    pub fn trace_text(&self) -> &str {
        self.trace.text()
    }

    /// Sends what a host has to send, as far as its link has room, and sets its timer.
    fn kick(&mut self, host: HostId) {
        let entry = &mut self.hosts[host.index()];
        let port = entry.port;
        while let Some(endpoint) = self.hosts[host.index()].endpoint.as_mut() {
            let egress = &mut self.ports[port as usize];
            if egress.depth_bytes(self.now) >= self.config.nic_bytes {
                if !self.hosts[host.index()].waits {
                    self.hosts[host.index()].waits = true;
                    let at = egress.below(self.config.nic_bytes);
                    self.events.push(at, Event::Room(host));
                }
                break;
            }
            let index = self.free.pop().unwrap_or_else(|| {
                self.packets.push(Packet::default());
                narrow(self.packets.len() - 1)
            });
            let packet = &mut self.packets[index as usize];
            packet.datagram.payload.clear();
            let Some(transmit) = endpoint.poll_transmit(self.now, &mut packet.datagram.payload) else {
                self.free.push(index);
                break;
            };
            packet.fill(host, transmit, self.next_serial);
            self.next_serial += 1;
            self.totals.sent += 1;
            self.trace.record(
                self.now,
                Record::Transmit {
                    packet: packet.serial,
                    host,
                    bytes: packet.wire_bytes,
                    content: packet.content(),
                },
            );
            self.forward(port, index);
        }
        self.arm(host);
    }

    /// Offers a packet to a port.
    fn forward(&mut self, port: u32, index: u32) {
        let egress = &mut self.ports[port as usize];
        let packet = &mut self.packets[index as usize];
        let serial = packet.serial;
        let fate = egress.offer(self.now, packet.wire_bytes, packet.datagram.ecn);
        let (at, marked, duplicated, corrupted) = match fate {
            Fate::Dropped(cause) => return self.discard(index, cause),
            Fate::Arrives {
                at,
                marked,
                duplicated,
                corrupted,
            } => (at, marked, duplicated, corrupted),
        };
        packet.epoch = egress.epoch();
        if marked {
            packet.datagram.ecn = datagram::Ecn::Ce;
            self.trace.record(self.now, Record::Mark { packet: serial, port });
        }
        self.trace.record(
            self.now,
            Record::Queue {
                packet: serial,
                port,
                arrives: at,
            },
        );
        let copy = duplicated.then(|| self.copy(index));
        if corrupted {
            let packet = &mut self.packets[index as usize];
            packet.corrupted = true;
            self.ports[port as usize].flips(&mut packet.datagram.payload);
            self.trace
                .record(self.now, Record::Corrupt { packet: serial, port });
        }
        self.events.push(at, Event::Arrive { port, packet: index });
        if let Some(copy) = copy {
            self.events.push(at, Event::Arrive { port, packet: copy });
        }
    }

    /// A packet reaches the other end of a link, and goes on or is delivered.
    fn arrive(&mut self, port: u32, index: u32) -> Option<HostId> {
        let link = &mut self.ports[port as usize];
        let packet = &self.packets[index as usize];
        if packet.epoch != link.epoch() {
            link.cut();
            self.discard(index, DropCause::LinkDown);
            return None;
        }
        link.delivered(packet.wire_bytes);
        match self.routes.port_end(port) {
            Node::Switch(switch) => {
                match self.routes.next_hop(switch.0, &packet.datagram) {
                    Some(next) => self.forward(next, index),
                    None => self.discard(index, DropCause::NoRoute),
                }
                None
            }
            Node::Host(host) => self.deliver(host, index),
        }
    }

    fn deliver(&mut self, host: HostId, index: u32) -> Option<HostId> {
        let packet = &self.packets[index as usize];
        // Two hosts on one link have no switch between them that would see a wrong destination.
        if packet.datagram.destination != host {
            self.discard(index, DropCause::NoRoute);
            return None;
        }
        if packet.corrupted && (self.config.verify_checksums || packet.datagram.payload.is_empty()) {
            self.discard(index, DropCause::Checksum);
            return None;
        }
        let Some(endpoint) = self.hosts[host.index()].endpoint.as_mut() else {
            self.discard(index, DropCause::HostDown);
            return None;
        };
        self.totals.delivered += 1;
        self.trace.record(
            self.now,
            Record::Deliver {
                packet: packet.serial,
                host,
            },
        );
        endpoint.handle_datagram(self.now, &packet.datagram);
        self.free.push(index);
        self.kick(host);
        Some(host)
    }

    fn timer(&mut self, host: HostId) -> Option<HostId> {
        let entry = &mut self.hosts[host.index()];
        if entry.armed != Some(self.now) {
            return None;
        }
        entry.armed = None;
        let endpoint = entry.endpoint.as_mut()?;
        if endpoint.poll_timeout().is_none_or(|at| at > self.now) {
            self.arm(host);
            return None;
        }
        let (at, count) = entry.timeouts;
        entry.timeouts = (self.now, if at == self.now { count + 1 } else { 0 });
        assert!(
            entry.timeouts.1 < TIMEOUTS_AT_ONCE,
            "the timer of host {} does not move on from {} ns; seed {}",
            host.0,
            self.now.as_nanos(),
            self.config.seed
        );
        self.trace.record(self.now, Record::Timeout(host));
        endpoint.handle_timeout(self.now);
        self.kick(host);
        Some(host)
    }

    /// Sets a host's timer to what its endpoint wants. A timer that is set too early looks again when it fires.
    fn arm(&mut self, host: HostId) {
        let entry = &mut self.hosts[host.index()];
        let Some(want) = entry.endpoint.as_ref().and_then(Endpoint::poll_timeout) else {
            return;
        };
        let want = want.max(self.now);
        if entry.armed.is_none_or(|armed| armed > want) {
            entry.armed = Some(want);
            self.events.push(want, Event::Timer(host));
        }
    }

    fn change(&mut self, index: u32) {
        let (ports, change) = &self.changes[index as usize];
        for port in ports {
            let link = &mut self.ports[*port as usize];
            let record = match change {
                Change::Configure(config) => {
                    link.set_config(config.clone());
                    Record::Configure { port: *port }
                }
                Change::Down | Change::Up => {
                    let up = *change == Change::Up;
                    link.set_up(self.now, up);
                    Record::Link { port: *port, up }
                }
            };
            self.trace.record(self.now, record);
        }
        if let Some(after) = self.config.reroute
            && !matches!(change, Change::Configure(_))
        {
            self.events.push(self.now + after, Event::Reroute);
        }
    }

    /// A second packet like this one.
    fn copy(&mut self, index: u32) -> u32 {
        let copy = self.free.pop().unwrap_or_else(|| {
            self.packets.push(Packet::default());
            narrow(self.packets.len() - 1)
        });
        let mut second = std::mem::take(&mut self.packets[copy as usize]);
        let first = &self.packets[index as usize];
        second.copy_from(first, self.next_serial);
        self.next_serial += 1;
        self.totals.duplicated += 1;
        self.trace.record(
            self.now,
            Record::Copy {
                packet: second.serial,
                of: first.serial,
            },
        );
        self.packets[copy as usize] = second;
        copy
    }

    fn discard(&mut self, index: u32, cause: DropCause) {
        self.totals.dropped.count(cause);
        let packet = self.packets[index as usize].serial;
        self.trace.record(self.now, Record::Drop { packet, cause });
        self.free.push(index);
    }
}

impl<E> Host<E> {
    fn new(topology: &Topology, index: usize) -> Self {
        let host = Node::Host(HostId(narrow(index)));
        let mut ports = topology.links.iter().enumerate().filter_map(|(link, found)| {
            let end = found.ends.iter().position(|end| *end == host)?;
            Some(narrow(2 * link + end))
        });
        let port = ports.next();
        assert!(
            port.is_some() && ports.next().is_none(),
            "host {} has not exactly one link",
            topology.hosts[index]
        );
        Self {
            endpoint: None,
            port: port.unwrap_or_default(),
            armed: None,
            waits: false,
            timeouts: (Instant::ZERO, 0),
        }
    }
}

impl Packet {
    /// Makes it a new packet of `host`, around the payload that it has.
    fn fill(&mut self, host: HostId, transmit: crate::Transmit, serial: u64) {
        self.datagram.source = host;
        self.datagram.destination = transmit.destination;
        self.datagram.source_port = transmit.source_port;
        self.datagram.destination_port = transmit.destination_port;
        self.datagram.ecn = transmit.ecn;
        self.datagram.virtual_bytes = transmit.virtual_bytes;
        let stored = u64::try_from(self.datagram.payload.len()).unwrap_or(u64::MAX);
        self.wire_bytes = datagram::wire_bytes(stored + u64::from(transmit.virtual_bytes));
        self.serial = serial;
        self.corrupted = false;
    }

    fn copy_from(&mut self, other: &Self, serial: u64) {
        let mut payload = std::mem::take(&mut self.datagram.payload);
        payload.clear();
        payload.extend_from_slice(&other.datagram.payload);
        self.datagram = Datagram {
            payload,
            ..other.datagram.clone_head()
        };
        self.wire_bytes = other.wire_bytes;
        self.serial = serial;
        self.epoch = other.epoch;
        self.corrupted = other.corrupted;
    }

    /// The hash of how the payload begins and of its addresses.
    fn content(&self) -> u64 {
        let datagram = &self.datagram;
        let head = &datagram.payload[..datagram.payload.len().min(TRACED_BYTES)];
        hash_bytes(head)
            ^ (u64::from(datagram.destination.0) << 34)
            ^ (u64::from(datagram.source_port) << 18)
            ^ (u64::from(datagram.destination_port) << 2)
            ^ u64::from(datagram.ecn.bits())
    }
}

impl Datagram {
    /// All but the payload.
    const fn clone_head(&self) -> Self {
        Self {
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            ecn: self.ecn,
            payload: Vec::new(),
            virtual_bytes: self.virtual_bytes,
        }
    }
}

const fn port_index(link: LinkId, direction: Direction) -> u32 {
    link.0 * 2 + direction as u32
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Bytes of a payload that count for the trace's hash: all of a transport's header.
const TRACED_BYTES: usize = 64;

/// Timeouts of a host at one time after which its timer is taken to be stuck.
const TIMEOUTS_AT_ONCE: u32 = 100_000;
