//! One interface of a guest.

use std::time::Duration;

use trinic_wire::ethernet::EtherType;

use super::neighbors::{Lookup, Neighbors};
use super::{
    Counters, Hop, Instant, InterfaceConfig, Ip, IpAddr, Ipv4Addr, Ipv6Addr, MAX_OUTBOUND, Mac, Parsed,
    VecDeque, arp, ethernet, icmpv6, ipv6, ndp, reply, same_prefix,
};

/// Time between router solicitations and how many are sent. Source: [RFC 4861 §10].
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
const MAX_SOLICITATIONS: u8 = 3;

/// The fields that the limits and the drops of an interface need.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) config: InterfaceConfig,
    pub(super) outbound: VecDeque<Vec<u8>>,
    link_local: Ipv6Addr,
    neighbors: Neighbors,
    learned_router: Option<Ipv6Addr>,
    solicitations: u8,
    next_solicitation: Option<Instant>,
}

impl Port {
    pub(super) fn new(now: Instant, config: InterfaceConfig) -> Self {
        let mut port = Self {
            link_local: ipv6::link_local(config.mac),
            outbound: VecDeque::new(),
            neighbors: Neighbors::default(),
            learned_router: None,
            solicitations: 0,
            next_solicitation: None,
            config,
        };
        port.announce_all(|_| true);
        port.start_solicitations(now);
        port
    }

    pub(super) fn reconfigure(&mut self, now: Instant, config: InterfaceConfig) {
        let before = std::mem::replace(&mut self.config, config);
        let same_mac = before.mac == self.config.mac;
        if !same_mac {
            self.link_local = ipv6::link_local(self.config.mac);
            self.neighbors = Neighbors::default();
        }
        self.announce_all(|address| {
            let known = match address {
                IpAddr::V4(a) => before.ipv4.iter().any(|(b, _)| *b == a),
                IpAddr::V6(a) => before.ipv6.iter().any(|(b, _)| *b == a),
            };
            !(known && same_mac)
        });
        if before.ipv6.is_empty() {
            self.start_solicitations(now);
        }
    }

    /// Whether the address is this interface's.
    pub(super) fn owns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.config.ipv4.iter().any(|(own, _)| *own == a),
            IpAddr::V6(a) => a == self.link_local || self.config.ipv6.iter().any(|(own, _)| *own == a),
        }
    }

    /// Whether the address is for a group that every host is in.
    pub(super) fn hears(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => {
                let subnet = |(own, len): &(Ipv4Addr, u8)| {
                    *len < 31
                        && same_prefix((*own).into(), address, *len)
                        && a.to_bits().trailing_ones() >= 32 - u32::from(*len)
                };
                // Everything is on the link of an interface with prefix 0, which has no broadcast of its own.
                let broadcast = |own: &(Ipv4Addr, u8)| own.1 > 0 && subnet(own);
                a.is_broadcast() || a == Ipv4Addr::new(224, 0, 0, 1) || self.config.ipv4.iter().any(broadcast)
            }
            IpAddr::V6(a) => a == ipv6::ALL_NODES,
        }
    }

    /// The length of the longest prefix of the link that the address is in.
    pub(super) fn on_link(&self, address: IpAddr) -> Option<u8> {
        match address {
            IpAddr::V4(_) => {
                let own = self.config.ipv4.iter();
                own.filter(|(own, len)| same_prefix((*own).into(), address, *len))
                    .map(|(_, len)| *len)
                    .max()
            }
            IpAddr::V6(a) if a.is_unicast_link_local() || a.is_multicast() => Some(10),
            IpAddr::V6(_) => {
                let own = self.config.ipv6.iter();
                own.filter(|(own, len)| same_prefix((*own).into(), address, *len))
                    .map(|(_, len)| *len)
                    .max()
            }
        }
    }

    pub(super) fn router(&self, v6: bool) -> Option<IpAddr> {
        if v6 {
            let router = self.config.ipv6_router.or(self.learned_router);
            router.map(IpAddr::V6)
        } else {
            self.config.ipv4_router.map(IpAddr::V4)
        }
    }

    pub(super) fn hop(&self, index: u32, next: IpAddr) -> Hop {
        Hop {
            index,
            next,
            mtu: self.config.mtu,
        }
    }

    /// The address to speak from to a neighbor: one of its subnet, else the primary one.
    pub(super) fn source_for(&self, neighbor: IpAddr) -> Option<IpAddr> {
        match neighbor {
            IpAddr::V4(_) => {
                let own = || self.config.ipv4.iter();
                let near = own().find(|(own, len)| same_prefix((*own).into(), neighbor, *len));
                near.or_else(|| own().next()).map(|(own, _)| (*own).into())
            }
            IpAddr::V6(_) => {
                let own = || self.config.ipv6.iter();
                let near = own().find(|(own, len)| same_prefix((*own).into(), neighbor, *len));
                let best = near.or_else(|| own().next()).map(|(own, _)| *own);
                Some(best.unwrap_or(self.link_local).into())
            }
        }
    }

    pub(super) fn push(&mut self, frame: Vec<u8>, counters: &mut Counters) {
        if self.outbound.len() == MAX_OUTBOUND {
            counters.queue_full += 1;
        } else {
            self.outbound.push_back(frame);
        }
    }

    pub(super) fn send(&mut self, now: Instant, next: IpAddr, packet: &[u8], counters: &mut Counters) {
        let mac = match next {
            IpAddr::V4(a) if self.hears(a.into()) => Some(ethernet::BROADCAST),
            IpAddr::V4(a) if a.is_multicast() => Some(ethernet::multicast_v4(a)),
            IpAddr::V6(a) if a.is_multicast() => Some(ethernet::multicast_v6(a)),
            _ => match self.neighbors.lookup(now, next, packet, counters) {
                Lookup::Known(mac) => Some(mac),
                Lookup::Refresh(mac) => {
                    self.ask(next, counters);
                    Some(mac)
                }
                Lookup::Ask => {
                    self.ask(next, counters);
                    None
                }
                Lookup::Wait => None,
            },
        };
        if let Some(mac) = mac {
            let frame = self.frame(mac, packet);
            self.push(frame, counters);
        }
    }

    /// Learns from an ARP packet, and answers a request for an own address.
    pub(super) fn handle_arp(
        &mut self,
        now: Instant,
        parsed: &Parsed,
        packet: &arp::Repr,
        counters: &mut Counters,
    ) {
        let sender = packet.sender_address;
        let own_target = self.owns(packet.target_address.into());
        if !sender.is_unspecified() && !ethernet::is_multicast(packet.sender_mac) {
            // RFC 826: update what is known; learn what is new only from those who speak to this host.
            self.learn(now, sender.into(), packet.sender_mac, own_target, counters);
        }
        if own_target && packet.operation == arp::Operation::Request {
            let mut out = vec![0; ethernet::HEADER_LEN + ethernet::TAG_LEN + arp::LEN];
            if let Ok(len) = reply::arp(&parsed.ethernet, packet, self.config.mac, &mut out) {
                out.truncate(len);
                self.push(out, counters);
            }
        }
    }

    /// Handles a packet of Neighbor Discovery; false if it is something else.
    pub(super) fn handle_ndp(
        &mut self,
        now: Instant,
        parsed: &Parsed,
        ip: &Ip,
        packet: &[u8],
        counters: &mut Counters,
    ) -> bool {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.tuple.source, ip.tuple.destination) else {
            return false;
        };
        let discovery = icmpv6::ROUTER_SOLICITATION..=icmpv6::REDIRECT;
        if !ip.icmp().is_some_and(|icmp| discovery.contains(&icmp.kind)) {
            return false;
        }
        let message = &packet[ip.transport_offset - parsed.network_offset..];
        let Ok(icmpv6::Repr::Ndp(message)) = icmpv6::Repr::parse(message, source, destination) else {
            counters.malformed += 1;
            return true;
        };
        if ip.ttl != ndp::HOP_LIMIT {
            counters.malformed += 1;
            return true;
        }
        match message {
            ndp::Repr::NeighborSolicitation { target, source_link } if self.owns(target.into()) => {
                if let Some(mac) = source_link.filter(|_| !source.is_unspecified()) {
                    self.learn(now, source.into(), mac, true, counters);
                }
                self.answer_solicitation(parsed, source, target, counters);
            }
            ndp::Repr::NeighborAdvertisement {
                target,
                target_link: Some(mac),
                ..
            } => self.learn(now, target.into(), mac, false, counters),
            ndp::Repr::RouterAdvertisement(advertisement) => {
                self.learned_router = (advertisement.lifetime_s > 0).then_some(source);
                self.next_solicitation = None;
                if let Some(mac) = advertisement.source_link {
                    self.learn(now, source.into(), mac, true, counters);
                }
            }
            _ => {}
        }
        true
    }

    /// Repeats questions that were not answered.
    pub(super) fn poll(&mut self, now: Instant, counters: &mut Counters) {
        for address in self.neighbors.due(now, counters) {
            self.ask(address, counters);
        }
        if self.next_solicitation.is_some_and(|at| at <= now) {
            self.solicit_router(now, counters);
        }
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let times = [self.neighbors.poll_at(), self.next_solicitation];
        times.into_iter().flatten().min()
    }

    /// Remembers a neighbor and sends what waited for it.
    fn learn(&mut self, now: Instant, address: IpAddr, mac: Mac, create: bool, counters: &mut Counters) {
        for packet in self.neighbors.learn(now, address, mac, create) {
            let frame = self.frame(mac, &packet);
            self.push(frame, counters);
        }
    }

    fn answer_solicitation(
        &mut self,
        parsed: &Parsed,
        asker: Ipv6Addr,
        target: Ipv6Addr,
        counters: &mut Counters,
    ) {
        let mut out = vec![0; reply::MAX_LEN];
        let mac = self.config.mac;
        let answer = &parsed.ethernet;
        if let Ok(len) = reply::neighbor_advertisement(answer, asker, target, mac, false, &mut out) {
            out.truncate(len);
            self.push(out, counters);
        }
    }

    /// Asks for the MAC address of a neighbor.
    fn ask(&mut self, address: IpAddr, counters: &mut Counters) {
        match address {
            IpAddr::V4(target) => {
                if let Some(IpAddr::V4(source)) = self.source_for(address) {
                    let frame = self.arp(source, target);
                    self.push(frame, counters);
                }
            }
            IpAddr::V6(target) => {
                let group = ipv6::solicited_node(target);
                let source = match self.source_for(address) {
                    Some(IpAddr::V6(source)) if !target.is_unicast_link_local() => source,
                    _ => self.link_local,
                };
                let message = ndp::Repr::NeighborSolicitation {
                    target,
                    source_link: Some(self.config.mac),
                };
                self.send_ndp(source, group, message, counters);
            }
        }
    }

    fn arp(&self, sender_address: Ipv4Addr, target_address: Ipv4Addr) -> Vec<u8> {
        let mut out = self.header(ethernet::BROADCAST, EtherType::ARP);
        let start = out.len();
        out.resize(start + arp::LEN, 0);
        let request = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: self.config.mac,
            sender_address,
            target_mac: [0; 6],
            target_address,
        };
        // The buffer has the packet's size.
        let _written = request.emit(&mut out[start..]);
        out
    }

    fn send_ndp(
        &mut self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        message: ndp::Repr,
        counters: &mut Counters,
    ) {
        let message = icmpv6::Repr::Ndp(message);
        let len = message.buffer_len();
        let header = ipv6::Repr {
            hop_limit: ndp::HOP_LIMIT,
            ..ipv6::Repr::new(source, destination, trinic_wire::Protocol::ICMPV6, len)
        };
        let mut packet = vec![0; ipv6::HEADER_LEN + len];
        let written = header
            .emit(&mut packet)
            .and_then(|start| message.emit(&mut packet[start..], source, destination));
        if written.is_ok() {
            let frame = self.frame(ethernet::multicast_v6(destination), &packet);
            self.push(frame, counters);
        }
    }

    /// Announces the addresses that `new` says are new, so that neighbors forget who had them before:
    /// gratuitous ARP (RFC 5227 §3) and unsolicited advertisements (RFC 4861 §7.2.6).
    fn announce_all(&mut self, new: impl Fn(IpAddr) -> bool) {
        // A queue that is full loses announcements, which neighbors make up for by asking.
        let mut ignored = Counters::default();
        for (address, _) in self.config.ipv4.clone() {
            if new(address.into()) {
                let frame = self.arp(address, address);
                self.push(frame, &mut ignored);
            }
        }
        for (address, _) in self.config.ipv6.clone() {
            if new(address.into()) {
                let message = ndp::Repr::NeighborAdvertisement {
                    router: false,
                    solicited: false,
                    override_flag: true,
                    target: address,
                    target_link: Some(self.config.mac),
                };
                self.send_ndp(address, ipv6::ALL_NODES, message, &mut ignored);
            }
        }
    }

    fn start_solicitations(&mut self, now: Instant) {
        if !self.config.ipv6.is_empty() && self.config.ipv6_router.is_none() {
            self.solicitations = 0;
            self.next_solicitation = Some(now);
        }
    }

    fn solicit_router(&mut self, now: Instant, counters: &mut Counters) {
        self.solicitations += 1;
        let more = self.solicitations < MAX_SOLICITATIONS;
        self.next_solicitation = more.then(|| now + SOLICITATION_INTERVAL);
        let message = ndp::Repr::RouterSolicitation {
            source_link: Some(self.config.mac),
        };
        self.send_ndp(self.link_local, ipv6::ALL_ROUTERS, message, counters);
    }

    /// A frame around an IP packet.
    fn frame(&self, destination: Mac, packet: &[u8]) -> Vec<u8> {
        let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        let ethertype = if v6 { EtherType::IPV6 } else { EtherType::IPV4 };
        let mut out = self.header(destination, ethertype);
        out.extend_from_slice(packet);
        out
    }

    fn header(&self, destination: Mac, ethertype: EtherType) -> Vec<u8> {
        let mut out = Vec::with_capacity(ethernet::HEADER_LEN + self.config.mtu);
        out.extend_from_slice(&destination);
        out.extend_from_slice(&self.config.mac);
        out.extend_from_slice(&ethertype.0.to_be_bytes());
        out
    }
}
