//! The TCP and UDP half of a guest: smoltcp without a link layer.
//!
//! One smoltcp interface carries all addresses of the guest (its any-address mode), because [`crate::links`] has
//! decided already that a packet is the guest's own, and decides by the source address where one leaves.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{HardwareAddress, IpEndpoint, IpListenEndpoint};
use trinic_wire::time::Instant;

/// Most packets that wait in either direction between links and stack.
const QUEUE: usize = 1024;

/// First and last of the ports that connections are made from. Source: [RFC 6335 §6].
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49_152..=65_535;

pub(crate) struct Stack {
    interface: Interface,
    queues: Queues,
    sockets: SocketSet<'static>,
    next_port: u16,
    seed: u64,
}

impl Stack {
    pub(crate) fn new(seed: u64, mtu: usize, now: Instant) -> Self {
        let mut queues = Queues {
            mtu,
            ..Queues::default()
        };
        let span = u64::from(EPHEMERAL.end() - EPHEMERAL.start());
        let first = u16::try_from(seed % span).unwrap_or(0);
        Self {
            interface: interface(seed, &mut queues, now),
            queues,
            sockets: SocketSet::new(Vec::new()),
            next_port: EPHEMERAL.start() + first,
            seed,
        }
    }

    /// The MTU of all interfaces together, the least of theirs. Connections survive the change.
    pub(crate) fn set_mtu(&mut self, mtu: usize, now: Instant) {
        if self.queues.mtu != mtu {
            self.queues.mtu = mtu;
            self.interface = interface(self.seed, &mut self.queues, now);
        }
    }

    /// Takes a packet for the guest; false if the queue is full.
    pub(crate) fn push(&mut self, packet: &[u8]) -> bool {
        if self.queues.inbound.len() == QUEUE {
            return false;
        }
        self.queues.inbound.push_back(packet.to_vec());
        true
    }

    /// A packet that the guest sends.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.queues.outbound.pop_front()
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        self.interface
            .poll(to_smoltcp(now), &mut self.queues, &mut self.sockets);
    }

    /// When the sockets have something to do next.
    pub(crate) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        if !self.queues.inbound.is_empty() || !self.queues.outbound.is_empty() {
            return Some(now);
        }
        let at = self.interface.poll_at(to_smoltcp(now), &self.sockets)?;
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        Some(Instant::from_nanos(micros.saturating_mul(1000)).max(now))
    }

    /// Makes a TCP socket with buffers of these sizes.
    pub(crate) fn add_tcp(&mut self, receive_bytes: usize, send_bytes: usize) -> SocketHandle {
        let buffer = |size| tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(buffer(receive_bytes), buffer(send_bytes));
        // Replies wait for nothing: a probe measures the network.
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        self.sockets.add(socket)
    }

    /// Makes a UDP socket that hears `port` on all addresses.
    pub(crate) fn add_udp(&mut self, port: u16) -> SocketHandle {
        const DATAGRAMS: usize = 64;
        const BYTES: usize = 256 << 10;
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        // Binding a new socket to a port fails only for port 0, which is refused before.
        let _bound = socket.bind(port);
        self.sockets.add(socket)
    }

    pub(crate) fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn remove(&mut self, handle: SocketHandle) {
        self.sockets.remove(handle);
    }

    /// Opens a connection from an ephemeral port; false if an endpoint is not one.
    pub(crate) fn connect(
        &mut self,
        handle: SocketHandle,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> bool {
        let local = IpListenEndpoint {
            addr: Some(source.ip().into()),
            port: source.port(),
        };
        let remote = IpEndpoint::new(destination.ip().into(), destination.port());
        self.sockets
            .get_mut::<tcp::Socket<'_>>(handle)
            .connect(self.interface.context(), remote, local)
            .is_ok()
    }

    /// A port for a connection or a probe, none of the last 16,383 ones.
    pub(crate) fn ephemeral_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == *EPHEMERAL.end() {
            *EPHEMERAL.start()
        } else {
            port + 1
        };
        port
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("mtu", &self.queues.mtu)
            .field("sockets", &self.sockets.iter().count())
            .finish_non_exhaustive()
    }
}

/// An address and port as `std` has them.
pub(crate) fn from_smoltcp(endpoint: IpEndpoint) -> SocketAddr {
    SocketAddr::new(IpAddr::from(endpoint.addr), endpoint.port)
}

fn to_smoltcp(now: Instant) -> smoltcp::time::Instant {
    let micros = i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX);
    smoltcp::time::Instant::from_micros(micros)
}

fn interface(seed: u64, queues: &mut Queues, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, queues, to_smoltcp(now));
    interface.set_any_ip(true);
    // Only whether there is a route matters here: which one it is, the links know. The table of a new
    // interface has room for two.
    let routes = interface.routes_mut();
    let _added = routes.add_default_ipv4_route(Ipv4Addr::new(192, 0, 2, 1));
    let _added = routes.add_default_ipv6_route(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
    interface
}

/// The packets between links and stack.
#[derive(Default)]
struct Queues {
    mtu: usize,
    inbound: VecDeque<Vec<u8>>,
    outbound: VecDeque<Vec<u8>>,
}

impl phy::Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Room<'_>)> {
        if self.outbound.len() == QUEUE {
            return None;
        }
        let packet = self.inbound.pop_front()?;
        Some((Received(packet), Room(&mut self.outbound)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Room<'_>> {
        (self.outbound.len() < QUEUE).then_some(Room(&mut self.outbound))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Room<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}
