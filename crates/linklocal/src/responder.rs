//! All services of one card behind one door: a frame of an interface in, frames to it out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trinic_wire::time::Instant;

use crate::allowance::Allowance;
use crate::context::{InterfaceContext, Link, WallTime};
use crate::dns::{self, Outcome, Transport};
use crate::frame::{self, Inbound};
use crate::imds::{self, http, token::Tokens};
use crate::refusal::{Counters, Refusal};
use crate::stack::{Action, Application, ConnectionId, Open, Service, Stack};
use crate::stacks::Stacks;
use crate::upstream::{ReplyTo, Upstream, UpstreamQuery};
use crate::{address, dhcp, dhcpv6, ntp};

/// How a responder behaves, and what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Packets that an interface may send to the services in a second; EC2's limit is 1,024. `None` =
    /// no limit.
    ///
    /// Source: [AWS doc docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html].
    pub packets_per_second: Option<NonZeroU32>,
    /// Whether names outside the VPC go to an upstream resolver.
    pub forward_dns: bool,
    /// Lifetime of a DHCP lease in seconds.
    pub lease_s: u32,
    /// Whether DHCP announces the time service.
    pub dhcp_ntp: bool,
    /// TCP connections of one interface.
    pub interface_connections: usize,
    /// TCP connections of the card; beyond them an interface may still have two, so that the others'
    /// cannot keep it away.
    pub connections: usize,
    /// How long a TCP connection lives without progress.
    pub idle: Duration,
    /// Interfaces that the responder keeps state and counters for.
    pub interfaces: usize,
    /// Queries of one interface that wait for the upstream resolver.
    pub interface_queries: usize,
    /// Queries of the card that wait for the upstream resolver; beyond them an interface may still have
    /// two.
    pub queries: usize,
    /// How long a query waits for the upstream resolver.
    pub query_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            packets_per_second: NonZeroU32::new(1024),
            forward_dns: false,
            lease_s: 3600,
            dhcp_ntp: false,
            interface_connections: 16,
            connections: 2048,
            idle: Duration::from_secs(30),
            interfaces: 16_384,
            interface_queries: 64,
            queries: 1024,
            query_timeout: Duration::from_secs(5),
        }
    }
}

/// What is kept of one interface.
#[derive(Debug)]
struct Interface {
    link: Link,
    allowance: Allowance,
    counters: Counters,
}

/// The services of one card.
///
/// Sans-IO: after [`Self::handle_frame`], [`Self::handle_upstream`] and [`Self::poll`], ask
/// [`Self::poll_upstream`] until it gives nothing, and call [`Self::poll`] again by
/// [`Self::poll_timeout`].
#[derive(Debug)]
pub struct Responder {
    options: Options,
    tokens: Tokens,
    rng: StdRng,
    interfaces: BTreeMap<Arc<str>, Interface>,
    stacks: Stacks,
    upstream: Upstream,
    next_connection: u64,
    /// Frames of interfaces that there was no room for.
    unknown: Counters,
}

impl Responder {
    /// A responder whose tokens and sequence numbers follow from `seed`, which must be a secret. The same
    /// seed accepts the tokens that an earlier responder gave out.
    pub fn new(options: Options, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Self {
            options,
            tokens: Tokens::new(&key),
            rng,
            interfaces: BTreeMap::new(),
            stacks: Stacks::default(),
            upstream: Upstream::new(options.interface_queries, options.queries, options.query_timeout),
            next_connection: 0,
            unknown: Counters::default(),
        }
    }

    /// Takes a frame that an interface sent to one of the services. `out` gets the frames to that
    /// interface.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        wall: WallTime,
        context: &InterfaceContext<'_>,
        frame: &[u8],
        out: &mut dyn FnMut(&[u8]),
    ) {
        let Some(id) = self.admit(now, context) else {
            self.unknown.frames += 1;
            self.unknown.count(Refusal::InterfaceLimit);
            return;
        };
        let connection_limit = self.connection_limit(&id);
        let Some(interface) = self.interfaces.get_mut(&id) else {
            return;
        };
        interface.link = context.link();
        interface.counters.frames += 1;
        if !interface.allowance.take(now) {
            interface.counters.count(Refusal::Allowance);
            return;
        }
        let mut call = Call {
            now,
            wall,
            context,
            id: &id,
            options: &self.options,
            tokens: &self.tokens,
            rng: &mut self.rng,
            upstream: &mut self.upstream,
            why: Vec::new(),
        };
        match frame::parse(frame) {
            Err(why) => call.why.push(why),
            Ok(Inbound::Udp {
                source,
                destination,
                payload,
            }) => {
                if let Some(reply) = call.datagram(source, destination, payload) {
                    interface.counters.replies += 1;
                    out(&reply);
                }
            }
            Ok(Inbound::Tcp {
                source,
                destination,
                opens,
                packet,
            }) => {
                if let Some(service) = call.service(destination) {
                    self.next_connection += 1;
                    let open = Open {
                        id: ConnectionId(self.next_connection),
                        service,
                        limit: connection_limit,
                    };
                    let stack = self.stacks.get_or_make(&id, || call.stack());
                    let ends = (destination, source);
                    let open = opens.then_some(open);
                    stack.handle_segment(now, packet, ends, open, &mut call, &mut interface.counters);
                }
            }
        }
        for why in call.why {
            interface.counters.count(why);
        }
        self.drain(now, &id, &mut |_, frame| out(frame));
    }

    /// Runs timers: retransmissions, ends of idle connections, queries that the upstream resolver did
    /// not answer. `out` gets an interface's id with each frame to it.
    pub fn poll(&mut self, now: Instant, out: &mut dyn FnMut(&str, &[u8])) {
        while let Some(expired) = self.upstream.expire(now) {
            let outcome = expired.client.failure(Refusal::DnsUpstreamTimeout);
            self.deliver(now, &expired.interface, expired.to, outcome, out);
        }
        // A stack whose timer runs out again at once waits for the next call.
        for _ in 0..self.interfaces.len() {
            let Some(id) = self.stacks.pop_due(now) else {
                break;
            };
            if let (Some(stack), Some(interface)) = (self.stacks.get(&id), self.interfaces.get_mut(&id)) {
                stack.poll(now, None, &mut interface.counters);
            }
            self.drain(now, &id, out);
        }
    }

    /// When to call [`Self::poll`] at the latest; `None` = not before another call.
    ///
    /// What is due already is due at `now`.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let deadlines = [self.stacks.deadline(), self.upstream.deadline()];
        deadlines.into_iter().flatten().min().map(|at| at.max(now))
    }

    /// A query to send to the upstream resolver. Call until there is none.
    pub fn poll_upstream(&mut self) -> Option<UpstreamQuery> {
        self.upstream.poll()
    }

    /// Whether the query with this token still waits for its answer: not once it was answered, waited too
    /// long or lost its interface. Whoever asks the upstream resolver may forget the others.
    pub fn is_waiting(&self, token: u64) -> bool {
        self.upstream.is_waiting(token)
    }

    /// Takes the upstream resolver's answer to the query with this token. An answer that is none leaves the
    /// query waiting ([`Self::is_waiting`]), since anybody may have sent it.
    pub fn handle_upstream(
        &mut self,
        now: Instant,
        token: u64,
        bytes: &[u8],
        out: &mut dyn FnMut(&str, &[u8]),
    ) {
        match self.upstream.answer(token, bytes) {
            Some((waiting, outcome)) => self.deliver(now, &waiting.interface, waiting.to, outcome, out),
            None => self.unknown.count(Refusal::DnsUpstreamInvalid),
        }
    }

    /// Forgets an interface: its connections, queries and counters.
    pub fn interface_gone(&mut self, id: &str) {
        self.interfaces.remove(id);
        self.stacks.remove(id);
        self.upstream.forget(id);
    }

    /// Counters of an interface that has sent frames here.
    pub fn counters(&self, id: &str) -> Option<&Counters> {
        self.interfaces.get(id).map(|interface| &interface.counters)
    }

    /// Counts that belong to no interface.
    pub fn card_counters(&self) -> &Counters {
        &self.unknown
    }

    /// TCP connections of all interfaces.
    pub fn connections(&self) -> usize {
        self.stacks.connections()
    }

    /// Connections that an interface may have now: when the card has too many, no more than it has.
    fn connection_limit(&self, id: &str) -> usize {
        let limit = self.options.interface_connections;
        if self.stacks.connections() < self.options.connections {
            return limit;
        }
        let own = self.stacks.connections_of(id);
        limit.min(own.max(CONNECTIONS_SHARE))
    }

    /// The key of the interface's state, which is made if it is not there.
    fn admit(&mut self, now: Instant, context: &InterfaceContext<'_>) -> Option<Arc<str>> {
        if let Some((id, _)) = self.interfaces.get_key_value(context.id) {
            return Some(id.clone());
        }
        if self.interfaces.len() >= self.options.interfaces {
            return None;
        }
        let id: Arc<str> = context.id.into();
        self.interfaces.insert(
            id.clone(),
            Interface {
                link: context.link(),
                allowance: Allowance::new(now, self.options.packets_per_second),
                counters: Counters::default(),
            },
        );
        Some(id)
    }

    /// Sends what became of a query that waited.
    fn deliver(
        &mut self,
        now: Instant,
        id: &str,
        to: ReplyTo,
        outcome: Outcome,
        out: &mut dyn FnMut(&str, &[u8]),
    ) {
        let Some(interface) = self.interfaces.get_mut(id) else {
            return;
        };
        let bytes = match outcome {
            Outcome::Answer(bytes, why) => {
                if let Some(why) = why {
                    interface.counters.count(why);
                }
                bytes
            }
            Outcome::Silent(why) => {
                interface.counters.count(why);
                return;
            }
            Outcome::Ask(_) => return,
        };
        match to {
            ReplyTo::Udp { from, to } => {
                if let Some(frame) = frame::udp(interface.link, from, to, &bytes) {
                    interface.counters.replies += 1;
                    out(id, &frame);
                }
            }
            ReplyTo::Tcp(connection) => {
                if let Some(stack) = self.stacks.get(id) {
                    stack.reply(now, connection, tcp_message(&bytes), &mut interface.counters);
                }
                self.drain(now, id, out);
            }
        }
    }

    /// Sends what an interface's stack has.
    fn drain(&mut self, now: Instant, id: &str, out: &mut dyn FnMut(&str, &[u8])) {
        if let (Some(stack), Some(interface)) = (self.stacks.get(id), self.interfaces.get_mut(id)) {
            while let Some(packet) = stack.poll_transmit() {
                if let Some(frame) = frame::ip(interface.link, &packet) {
                    interface.counters.replies += 1;
                    out(id, &frame);
                }
            }
        }
        self.stacks.settle(now, id);
    }
}

/// Connections that every interface may have, however many the others have.
const CONNECTIONS_SHARE: usize = 2;

/// The least that IPv6 needs, and the most that an interface of EC2 has.
const MTU_MIN_BYTES: usize = 1280;
const MTU_MAX_BYTES: usize = 9001;

/// One call of [`Responder::handle_frame`].
struct Call<'a> {
    now: Instant,
    wall: WallTime,
    context: &'a InterfaceContext<'a>,
    id: &'a Arc<str>,
    options: &'a Options,
    tokens: &'a Tokens,
    rng: &'a mut StdRng,
    upstream: &'a mut Upstream,
    /// What to count.
    why: Vec<Refusal>,
}

impl Call<'_> {
    /// A stack for the interface.
    fn stack(&mut self) -> Stack {
        let mtu_bytes = usize::try_from(self.context.mtu).unwrap_or(MTU_MAX_BYTES);
        let mtu_bytes = mtu_bytes.clamp(MTU_MIN_BYTES, MTU_MAX_BYTES);
        Stack::new(self.now, mtu_bytes, self.rng.next_u64(), self.options.idle)
    }

    /// The service behind an address and port of TCP, or the reason why there is none.
    fn service(&mut self, destination: SocketAddr) -> Option<Service> {
        let ip = destination.ip();
        match destination.port() {
            http::PORT if address::is_metadata(ip) => {
                let Some(metadata) = self.context.metadata else {
                    self.why.push(Refusal::NoInstance);
                    return None;
                };
                if ip.is_ipv6() && !metadata.options.ipv6 {
                    self.why.push(Refusal::ImdsIpv6Disabled);
                    return None;
                }
                Some(Service::Metadata)
            }
            dns::PORT if self.context.is_resolver(ip) => {
                if !self.context.dns_support {
                    self.why.push(Refusal::DnsDisabled);
                    return None;
                }
                Some(Service::Resolver)
            }
            _ => {
                self.why.push(Refusal::NotForUs);
                None
            }
        }
    }

    /// The frame that answers a datagram.
    fn datagram(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let link = self.context.link();
        let ip = destination.ip();
        match destination.port() {
            DHCP_SERVER => self.dhcp(destination, payload),
            dhcpv6::SERVER_PORT => self.dhcpv6(source, destination, payload),
            dns::PORT if self.context.is_resolver(ip) => {
                if !self.context.dns_support {
                    self.why.push(Refusal::DnsDisabled);
                    return None;
                }
                let to = ReplyTo::Udp {
                    from: destination,
                    to: source,
                };
                // A resolver must not rely on fragments.
                let headers = if source.is_ipv4() { 20 + 8 } else { 40 + 8 };
                let room_bytes = usize::try_from(self.context.mtu).unwrap_or(MTU_MAX_BYTES);
                let transport = Transport::Udp {
                    room_bytes: room_bytes.clamp(MTU_MIN_BYTES, MTU_MAX_BYTES) - headers,
                };
                let bytes = self.resolve(payload, transport, to)?;
                frame::udp(link, destination, source, &bytes)
            }
            NTP if address::is_time(ip) => match ntp::answer(self.wall, payload) {
                Ok(reply) => frame::udp(link, destination, source, &reply),
                Err(why) => {
                    self.why.push(why);
                    None
                }
            },
            _ => {
                self.why.push(Refusal::NotForUs);
                None
            }
        }
    }

    fn dhcp(&mut self, destination: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let is_server = match destination.ip() {
            IpAddr::V4(to) => to.is_broadcast() || Some(to) == self.context.ipv4_router,
            IpAddr::V6(_) => false,
        };
        if !is_server {
            self.why.push(Refusal::NotForUs);
            return None;
        }
        let offer = dhcp::Offer {
            lease_s: self.options.lease_s,
            ntp: self.options.dhcp_ntp,
        };
        match dhcp::answer(self.context, offer, payload) {
            Ok(reply) => {
                self.why.extend(reply.refusal);
                let from = SocketAddr::new(reply.from.into(), DHCP_SERVER);
                let to = SocketAddr::new(reply.to.into(), DHCP_CLIENT);
                frame::udp(self.context.link(), from, to, &reply.payload)
            }
            Err(why) => {
                self.why.push(why);
                None
            }
        }
    }

    /// Clients speak to all servers from their link-local address.
    fn dhcpv6(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let is_link_local = matches!(source.ip(), IpAddr::V6(from) if from.is_unicast_link_local());
        if destination.ip() != dhcpv6::ALL_SERVERS || !is_link_local {
            self.why.push(Refusal::NotForUs);
            return None;
        }
        match dhcpv6::answer(self.context, payload) {
            Ok(reply) => {
                let router = trinic_wire::ipv6::link_local(self.context.router_mac);
                let from = SocketAddr::new(router.into(), dhcpv6::SERVER_PORT);
                let to = SocketAddr::new(source.ip(), dhcpv6::CLIENT_PORT);
                frame::udp(self.context.link(), from, to, &reply)
            }
            Err(why) => {
                self.why.push(why);
                None
            }
        }
    }

    /// The answer to a query; `None` when there is none, or not yet.
    fn resolve(&mut self, query: &[u8], transport: Transport, to: ReplyTo) -> Option<Vec<u8>> {
        let mut outcome = dns::answer(query, transport, self.context.zone, self.options.forward_dns);
        if let Outcome::Ask(client) = outcome {
            let draw = self.rng.next_u32().to_be_bytes();
            let upstream_id = u16::from_be_bytes([draw[0], draw[1]]);
            match self.upstream.ask(self.now, self.id, to, client, upstream_id) {
                Ok(()) => return None,
                Err(client) => outcome = client.failure(Refusal::DnsUpstreamFull),
            }
        }
        match outcome {
            Outcome::Answer(bytes, why) => {
                self.why.extend(why);
                Some(bytes)
            }
            Outcome::Silent(why) => {
                self.why.push(why);
                None
            }
            Outcome::Ask(_) => None,
        }
    }

    fn metadata_request(&mut self, bytes: &[u8]) -> Action {
        let (request, consumed) = match http::parse(bytes) {
            Ok(http::Parsed::Partial) => return Action::NeedMore,
            Ok(http::Parsed::Complete(request, consumed)) => (request, consumed),
            Err(malformed) => {
                self.why.push(malformed.why);
                return Action::Reply {
                    consumed: bytes.len(),
                    bytes: imds::bad_request(malformed.status).emit(self.wall.0, false, false),
                    hop_limit: None,
                    close: true,
                };
            }
        };
        let Some(metadata) = self.context.metadata else {
            self.why.push(Refusal::NoInstance);
            return Action::Abort;
        };
        let rng = &mut *self.rng;
        let mut draw = || rng.next_u64().to_be_bytes();
        let (response, why) = imds::answer(self.tokens, self.wall.0, &mut draw, metadata, &request);
        self.why.extend(why);
        Action::Reply {
            consumed,
            bytes: response.emit(self.wall.0, request.keep_alive, request.method == "HEAD"),
            hop_limit: response.hop_limit,
            close: response.close || !request.keep_alive,
        }
    }

    /// A message on a TCP connection has its length in front.
    fn resolver_request(&mut self, id: ConnectionId, bytes: &[u8]) -> Action {
        let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
            return Action::NeedMore;
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > dns::QUERY_MAX_BYTES {
            self.why.push(Refusal::DnsMalformed);
            return Action::Abort;
        }
        let Some(query) = rest.get(..length) else {
            return Action::NeedMore;
        };
        let consumed = 2 + length;
        let before = self.upstream.len();
        match self.resolve(query, Transport::Tcp, ReplyTo::Tcp(id)) {
            Some(answer) => Action::Reply {
                consumed,
                bytes: tcp_message(&answer),
                hop_limit: None,
                close: false,
            },
            None if self.upstream.len() > before => Action::Wait { consumed },
            None => Action::Abort,
        }
    }
}

impl Application for Call<'_> {
    fn request(&mut self, id: ConnectionId, service: Service, bytes: &[u8]) -> Action {
        match service {
            Service::Metadata => self.metadata_request(bytes),
            Service::Resolver => self.resolver_request(id, bytes),
        }
    }
}

const DHCP_SERVER: u16 = trinic_wire::dhcpv4::SERVER_PORT;
const DHCP_CLIENT: u16 = trinic_wire::dhcpv4::CLIENT_PORT;
const NTP: u16 = trinic_wire::ntp::PORT;

/// A DNS message as TCP carries it.
fn tcp_message(message: &[u8]) -> Vec<u8> {
    // A longer message than this cannot be made: the limit of an answer over TCP is the length field's.
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&message[..usize::from(length)]);
    bytes
}

#[cfg(test)]
mod tests;
