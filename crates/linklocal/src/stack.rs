//! TCP of one interface: the connections to the metadata service and to the resolver.
//!
//! A stack exists while there are connections: it is made for the first SYN and dropped after the last
//! connection. It works on IP packets, so that it needs neither ARP nor neighbour discovery; the
//! Ethernet header of a reply is the caller's. Every connection has a deadline that only progress
//! moves, whatever the peer does, and there are at most [`Open::limit`].
//!
//! The stack does not verify checksums of what the instance sends: with checksum offload they are only
//! there after the wire, and there is none between an instance and its card.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{HardwareAddress, IpCidr};
use trinic_wire::time::Instant;

use crate::address;
use crate::refusal::{Counters, Refusal};

/// Names one connection of the card; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// What a connection is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// The metadata service.
    Metadata,
    /// The resolver.
    Resolver,
}

/// What a service makes of the bytes that came.
#[derive(Debug)]
pub(crate) enum Action {
    /// They are the beginning of a request.
    NeedMore,
    /// The first `consumed` of them are a request, and this is the reply.
    Reply {
        consumed: usize,
        bytes: Vec<u8>,
        /// Hop limit of the reply's packets.
        hop_limit: Option<u8>,
        /// Whether the connection ends after it.
        close: bool,
    },
    /// The first `consumed` of them are a request whose reply comes later, by [`Stack::reply`].
    Wait { consumed: usize },
    /// They are none; the connection is reset.
    Abort,
}

/// The services behind the connections.
pub(crate) trait Application {
    fn request(&mut self, id: ConnectionId, service: Service, bytes: &[u8]) -> Action;
}

/// A connection that a SYN may open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    /// Its name.
    pub(crate) id: ConnectionId,
    /// What it is to.
    pub(crate) service: Service,
    /// Connections that the stack may have with it.
    pub(crate) limit: usize,
}

/// Bytes of a connection that are received and not read yet.
const RECEIVE_BYTES: usize = 4096;
/// Bytes of a connection that are sent and not acknowledged yet.
const SEND_BYTES: usize = 8192;
/// Bytes of a request that are kept until it is whole: the largest HTTP head with its body.
const INPUT_MAX_BYTES: usize = crate::imds::http::HEAD_MAX_BYTES + crate::imds::http::BODY_MAX_BYTES + 1;
/// How long a connection has been quiet when it may be given up for another.
const UNUSED: Duration = Duration::from_secs(1);
/// How long a closed connection may take to end.
const CLOSING: Duration = Duration::from_secs(10);
/// Replies on one connection within one call: the rest waits for the next packet or timer.
const REQUESTS_PER_CALL: usize = 8;
/// Hop limit where nothing else is said.
const HOP_LIMIT: u8 = 64;

/// One TCP connection.
#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    handle: SocketHandle,
    service: Service,
    local: SocketAddr,
    peer: SocketAddr,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` the socket has taken.
    written: usize,
    /// Bytes that the socket had not got acknowledged when we last looked.
    unacknowledged: usize,
    is_waiting: bool,
    is_closing: bool,
    deadline: Instant,
}

/// The TCP side of one interface.
pub(crate) struct Stack {
    interface: Interface,
    device: Queue,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    /// How long a connection lives without progress.
    idle: Duration,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Stack {
    /// A stack without connections. `seed` makes its sequence numbers.
    pub(crate) fn new(now: Instant, mtu_bytes: usize, seed: u64, idle: Duration) -> Self {
        let mut device = Queue {
            mtu_bytes,
            ..Queue::default()
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, stack_time(now));
        // Which addresses have services is decided before a packet comes here.
        interface.set_any_ip(true);
        interface.update_ip_addrs(|addresses| {
            let own = [
                IpCidr::new(address::METADATA_V4.into(), 32),
                IpCidr::new(address::METADATA_V6.into(), 128),
            ];
            for address in own {
                // The list has room for two at least, whatever the features.
                let _ = addresses.push(address);
            }
        });
        // There is nobody to route to, but without a route nothing is sent.
        let routes = interface.routes_mut();
        let _ = routes.add_default_ipv4_route(address::METADATA_V4);
        let _ = routes.add_default_ipv6_route(address::METADATA_V6);
        Self {
            interface,
            device,
            sockets: SocketSet::new(Vec::new()),
            connections: Vec::new(),
            idle,
        }
    }

    /// Whether the stack can be dropped.
    pub(crate) fn is_idle(&self) -> bool {
        self.connections.is_empty()
    }

    /// Connections that it has.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes an IP packet with a TCP segment between `ends` (ours first); `open` is the connection that
    /// it may open, if it is a SYN.
    pub(crate) fn handle_segment(
        &mut self,
        now: Instant,
        packet: &[u8],
        ends: (SocketAddr, SocketAddr),
        open: Option<Open>,
        app: &mut dyn Application,
        counters: &mut Counters,
    ) {
        let (local, peer) = ends;
        if let Some(open) = open
            && !self.open(now, ends, open, counters)
        {
            counters.count(Refusal::TcpConnections);
            return;
        }
        let known = self
            .connections
            .iter()
            .any(|connection| connection.local == local && connection.peer == peer);
        if !known {
            // The stack answers with a reset, so that a peer of a card that was restarted learns of it.
            counters.count(Refusal::TcpUnknown);
        }
        self.device.inbound = Some(packet.to_vec());
        self.poll(now, Some(app), counters);
    }

    /// Runs timers, reads and answers requests, closes what is over.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        mut app: Option<&mut (dyn Application + '_)>,
        counters: &mut Counters,
    ) {
        let at = stack_time(now);
        self.interface.poll(at, &mut self.device, &mut self.sockets);
        for connection in &mut self.connections {
            let socket = self.sockets.get_mut::<tcp::Socket>(connection.handle);
            match &mut app {
                Some(app) => connection.advance(now, socket, Some(&mut **app), self.idle, counters),
                None => connection.advance(now, socket, None, self.idle, counters),
            }
        }
        self.interface.poll(at, &mut self.device, &mut self.sockets);
        self.sweep();
    }

    /// Gives the reply that a connection waits for. A connection that is gone does not mind.
    pub(crate) fn reply(&mut self, now: Instant, id: ConnectionId, bytes: Vec<u8>, counters: &mut Counters) {
        let Some(connection) = self.connections.iter_mut().find(|c| c.id == id && c.is_waiting) else {
            return;
        };
        connection.is_waiting = false;
        connection.output = bytes;
        connection.written = 0;
        self.poll(now, None, counters);
    }

    /// An IP packet to send. Call until there is none.
    pub(crate) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.device.outbound.pop_front()
    }

    /// When to call [`Self::poll`] at the latest.
    pub(crate) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let deadline = self.connections.iter().map(|c| c.deadline).min();
        let timer = self.interface.poll_at(stack_time(now), &self.sockets);
        let timer = timer.map(|at| {
            let micros = u64::try_from(at.total_micros()).unwrap_or(0);
            Instant::from_nanos(micros.saturating_mul(1000)).max(now)
        });
        [deadline, timer].into_iter().flatten().min()
    }

    /// Makes a socket that listens for the one SYN at hand. `false` when there are too many.
    fn open(
        &mut self,
        now: Instant,
        (local, peer): (SocketAddr, SocketAddr),
        open: Open,
        counters: &mut Counters,
    ) -> bool {
        let same = |c: &Connection| c.local == local && c.peer == peer;
        if let Some(at) = self.connections.iter().position(same) {
            if !self.is_over(at) {
                // A SYN that was sent again; the connection's own socket takes it.
                return true;
            }
            self.remove(at);
        }
        if self.connections.len() >= open.limit && !self.make_room(now, counters) {
            return false;
        }
        let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
        let mut socket = tcp::Socket::new(buffer(RECEIVE_BYTES), buffer(SEND_BYTES));
        socket.set_nagle_enabled(false);
        socket.set_hop_limit(Some(HOP_LIMIT));
        if socket.listen(local).is_err() {
            return false;
        }
        self.connections.push(Connection {
            id: open.id,
            handle: self.sockets.add(socket),
            service: open.service,
            local,
            peer,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            unacknowledged: 0,
            is_waiting: false,
            is_closing: false,
            deadline: now + self.idle,
        });
        true
    }

    /// Gives up a connection that is over, or else the one that has done nothing for the longest time:
    /// clients keep connections open that they may never use again. If its client does, it is reset.
    fn make_room(&mut self, now: Instant, counters: &mut Counters) -> bool {
        let all = 0..self.connections.len();
        if let Some(at) = all.clone().find(|&at| self.is_over(at)) {
            self.remove(at);
            return true;
        }
        let is_unused = |at: &usize| {
            let connection = &self.connections[*at];
            let socket = self.sockets.get::<tcp::Socket>(connection.handle);
            connection.is_quiet(socket) && connection.deadline + UNUSED <= now + self.idle
        };
        let oldest = all
            .filter(is_unused)
            .min_by_key(|&at| self.connections[at].deadline);
        let Some(at) = oldest else {
            return false;
        };
        counters.count(Refusal::TcpIdle);
        self.remove(at);
        true
    }

    /// Whether a connection only waits for time to pass.
    fn is_over(&self, at: usize) -> bool {
        let socket = self.sockets.get::<tcp::Socket>(self.connections[at].handle);
        matches!(
            socket.state(),
            tcp::State::TimeWait | tcp::State::Closed | tcp::State::Listen
        )
    }

    fn remove(&mut self, at: usize) {
        let connection = self.connections.swap_remove(at);
        self.sockets.remove(connection.handle);
    }

    /// Drops connections that ended, and sockets whose SYN the stack did not accept.
    fn sweep(&mut self) {
        for at in (0..self.connections.len()).rev() {
            let socket = self.sockets.get::<tcp::Socket>(self.connections[at].handle);
            if matches!(socket.state(), tcp::State::Closed | tcp::State::Listen) {
                self.remove(at);
            }
        }
    }
}

impl Connection {
    /// Whether there is neither a request nor a reply on the way.
    fn is_quiet(&self, socket: &tcp::Socket<'_>) -> bool {
        let has_input = !self.input.is_empty() || socket.can_recv();
        let has_output = !self.output.is_empty() || socket.send_queue() > 0;
        !has_input && !has_output && !self.is_waiting
    }

    /// Moves the connection as far as it goes without another packet.
    fn advance(
        &mut self,
        now: Instant,
        socket: &mut tcp::Socket<'_>,
        mut app: Option<&mut (dyn Application + '_)>,
        idle: Duration,
        counters: &mut Counters,
    ) {
        let mut progress = self.write(socket);
        if let Some(app) = app.as_deref_mut() {
            for _ in 0..REQUESTS_PER_CALL {
                progress |= self.read(socket);
                if !self.serve(socket, app, counters) {
                    break;
                }
                progress |= self.write(socket);
            }
        }
        let unacknowledged = socket.send_queue();
        progress |= unacknowledged < self.unacknowledged;
        self.unacknowledged = unacknowledged;
        if progress && !self.is_closing {
            self.deadline = now + idle;
        }
        if now >= self.deadline {
            self.expire(now, socket, counters);
        }
        self.close_when_done(now, socket, app.is_some());
    }

    /// Gives pending output to the socket; whether it took any.
    fn write(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        let pending = &self.output[self.written..];
        if pending.is_empty() {
            return false;
        }
        let taken = socket.send_slice(pending).unwrap_or(0);
        self.written += taken;
        if self.written == self.output.len() {
            self.output = Vec::new();
            self.written = 0;
        }
        taken > 0
    }

    /// Takes what came, up to the longest request; whether there was any.
    fn read(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        if self.is_closing {
            // What comes after the last request is not read; a full window stops the peer.
            return false;
        }
        let before = self.input.len();
        while self.input.len() < INPUT_MAX_BYTES && socket.can_recv() {
            let room = INPUT_MAX_BYTES - self.input.len();
            let taken = socket.recv(|bytes| {
                let len = bytes.len().min(room);
                self.input.extend_from_slice(&bytes[..len]);
                (len, len)
            });
            if !matches!(taken, Ok(len) if len > 0) {
                break;
            }
        }
        self.input.len() > before
    }

    /// Answers the request at the front of the input; whether there may be another.
    fn serve(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        app: &mut dyn Application,
        counters: &mut Counters,
    ) -> bool {
        // One reply at a time, acknowledged before the next: a pipeline of requests is bounded by it, and
        // the hop limit of one reply is never that of another.
        let is_busy = !self.output.is_empty() || socket.send_queue() > 0;
        if self.input.is_empty() || is_busy || self.is_waiting || self.is_closing {
            return false;
        }
        match app.request(self.id, self.service, &self.input) {
            Action::NeedMore if self.input.len() < INPUT_MAX_BYTES => false,
            Action::NeedMore | Action::Abort => {
                counters.count(Refusal::TcpStream);
                self.is_closing = true;
                socket.abort();
                false
            }
            Action::Wait { consumed } => {
                self.consume(consumed);
                self.is_waiting = true;
                false
            }
            Action::Reply {
                consumed,
                bytes,
                hop_limit,
                close,
            } => {
                self.consume(consumed);
                self.output = bytes;
                self.written = 0;
                self.is_closing = close;
                socket.set_hop_limit(Some(hop_limit.unwrap_or(HOP_LIMIT)));
                true
            }
        }
    }

    fn consume(&mut self, len: usize) {
        self.input.drain(..len.min(self.input.len()));
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    /// The deadline passed: first an orderly close, then a reset.
    fn expire(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, counters: &mut Counters) {
        if self.is_closing {
            socket.abort();
            return;
        }
        counters.count(Refusal::TcpIdle);
        self.is_closing = true;
        self.is_waiting = false;
        self.output = Vec::new();
        self.written = 0;
        self.deadline = now + CLOSING;
    }

    /// Sends our end of the stream after the last reply, or when the peer sent its own.
    fn close_when_done(&mut self, now: Instant, socket: &mut tcp::Socket<'_>, was_read: bool) {
        if !self.output.is_empty() || self.is_waiting {
            return;
        }
        let peer_is_done = socket.state() == tcp::State::CloseWait && !socket.can_recv();
        // A request whose turn has not come yet keeps the connection open.
        let nothing_left = was_read && socket.send_queue() == 0;
        if (self.is_closing && socket.may_send()) || (peer_is_done && nothing_left) {
            if !self.is_closing {
                self.is_closing = true;
            }
            socket.close();
            self.deadline = self.deadline.min(now + CLOSING);
        }
    }
}

/// The stack's clock has microseconds.
fn stack_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX))
}

/// A device of two queues: one packet in, the replies out.
#[derive(Debug, Default)]
struct Queue {
    inbound: Option<Vec<u8>>,
    outbound: VecDeque<Vec<u8>>,
    mtu_bytes: usize,
}

struct Received(Vec<u8>);

struct Transmit<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Queue {
    type RxToken<'a> = Received;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Transmit<'_>)> {
        let packet = self.inbound.take()?;
        Some((Received(packet), Transmit(&mut self.outbound)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Transmit<'_>> {
        Some(Transmit(&mut self.outbound))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu_bytes;
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}
