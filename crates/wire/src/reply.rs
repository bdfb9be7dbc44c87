//! The packets that a link or a router answers with: ARP replies, neighbor and router advertisements, ICMP
//! errors. Each is written as a whole Ethernet frame into a buffer of the caller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ethernet::{EtherType, Mac};
use crate::icmpv6::ndp;
use crate::packet::{Ip, Network, Parsed, Transport};
use crate::{Error, Protocol, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6};

/// A buffer of this size holds every reply.
pub const MAX_LEN: usize = ethernet::HEADER_LEN + ethernet::TAG_LEN + ipv6::MIN_MTU;

/// Who sends a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Its MAC address.
    pub mac: Mac,
    /// Its address, of the family of the packet that is answered.
    pub address: IpAddr,
}

/// Why a packet is not delivered, in both families' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// TTL or hop limit ran out.
    TimeExceeded,
    /// Larger than the next link's MTU, and may not be split here.
    TooBig {
        /// That MTU.
        mtu: u16,
    },
    /// No route leads there.
    NoRoute,
    /// The route's last hop does not answer.
    AddressUnreachable,
    /// Nobody listens on the port.
    PortUnreachable,
    /// Forbidden by policy.
    Prohibited,
}

/// Answers an ARP request with `mac` for the address that it asks for. Returns the frame's size.
pub fn arp(ethernet: &ethernet::Repr, request: &arp::Repr, mac: Mac, out: &mut [u8]) -> Result<usize, Error> {
    let reply = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: mac,
        sender_address: request.target_address,
        target_mac: request.sender_mac,
        target_address: request.sender_address,
    };
    let len = answer(ethernet, mac).emit(out)?;
    Ok(len + reply.emit(&mut out[len..])?)
}

/// Answers a neighbor solicitation from `asker` with `mac` for `target`. Returns the frame's size.
///
/// An asker without an address checks that nobody has the target: all nodes hear the answer then (RFC 4861
/// §7.2.4).
pub fn neighbor_advertisement(
    ethernet: &ethernet::Repr,
    asker: Ipv6Addr,
    target: Ipv6Addr,
    mac: Mac,
    router: bool,
    out: &mut [u8],
) -> Result<usize, Error> {
    let mut answer = answer(ethernet, mac);
    let solicited = !asker.is_unspecified();
    let destination = if solicited {
        asker
    } else {
        answer.destination = ethernet::multicast_v6(ipv6::ALL_NODES);
        ipv6::ALL_NODES
    };
    let advertisement = ndp::Repr::NeighborAdvertisement {
        router,
        solicited,
        override_flag: true,
        target,
        target_link: Some(mac),
    };
    let message = icmpv6::Repr::Ndp(advertisement);
    frame_v6(&answer, target, destination, ndp::HOP_LIMIT, &message, out)
}

/// A router advertisement from `router` (a link-local address) to the asker of a solicitation, or to all
/// nodes if it has no address. Returns the frame's size.
pub fn router_advertisement(
    ethernet: &ethernet::Repr,
    asker: Ipv6Addr,
    router: Ipv6Addr,
    mac: Mac,
    advertisement: &ndp::RouterAdvertisement,
    out: &mut [u8],
) -> Result<usize, Error> {
    let mut answer = answer(ethernet, mac);
    let destination = if asker.is_unspecified() {
        answer.destination = ethernet::multicast_v6(ipv6::ALL_NODES);
        ipv6::ALL_NODES
    } else {
        asker
    };
    let message = icmpv6::Repr::Ndp(ndp::Repr::RouterAdvertisement(*advertisement));
    frame_v6(&answer, router, destination, ndp::HOP_LIMIT, &message, out)
}

/// Tells a packet's sender why it was not delivered; quotes as much of the packet as `window` has and the
/// standards allow. Returns the frame's size, or `None` if the packet must not be answered (see
/// [`may_report`]) or the sender's address is of the other family.
pub fn icmp_error(
    window: &[u8],
    parsed: &Parsed,
    problem: Problem,
    from: Sender,
    out: &mut [u8],
) -> Result<Option<usize>, Error> {
    let Network::Ip(ip) = &parsed.network else {
        return Ok(None);
    };
    if !may_report(parsed) {
        return Ok(None);
    }
    let end = window.len().min(parsed.network_offset + ip.total_len);
    let packet = window.get(parsed.network_offset..end).unwrap_or_default();
    let ethernet = answer(&parsed.ethernet, from.mac);
    let len = match (from.address, ip.tuple.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let limit = icmpv4::MAX_ERROR_LEN - ipv4::HEADER_LEN - icmpv4::HEADER_LEN;
            let quote = &packet[..packet.len().min(limit)];
            frame_v4(&ethernet, from, to, &problem_v4(problem, quote), out)?
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let limit = ipv6::MIN_MTU - ipv6::HEADER_LEN - icmpv6::HEADER_LEN;
            let quote = &packet[..packet.len().min(limit)];
            frame_v6(&ethernet, from, to, 64, &problem_v6(problem, quote), out)?
        }
        _ => return Ok(None),
    };
    Ok(Some(len))
}

/// Whether an ICMP error may be sent about a packet: not about another ICMP error or a redirect, a later
/// fragment, a packet to a group, or one whose sender is not a single host.
/// Source: [RFC 1812 §4.3.2.7], [RFC 4443 §2.4 e].
pub fn may_report(parsed: &Parsed) -> bool {
    let Network::Ip(ip) = &parsed.network else {
        return false;
    };
    let quiet = match &ip.transport {
        Transport::Icmp(icmp) => icmp.is_error || (ip.is_ipv6() && icmp.kind == icmpv6::REDIRECT),
        Transport::Absent => true,
        _ => false,
    };
    !quiet && single(parsed, ip)
}

fn single(parsed: &Parsed, ip: &Ip) -> bool {
    let group = |address: IpAddr| match address {
        IpAddr::V4(a) => a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_multicast(),
    };
    let source = ip.tuple.source;
    !group(source)
        && !group(ip.tuple.destination)
        && !source.is_unspecified()
        && !source.is_loopback()
        && !ethernet::is_multicast(parsed.ethernet.destination)
}

fn problem_v4(problem: Problem, quote: &[u8]) -> icmpv4::Repr<'_> {
    let unreachable = |code, mtu| icmpv4::Repr::DestinationUnreachable { code, mtu, quote };
    match problem {
        Problem::TimeExceeded => icmpv4::Repr::TimeExceeded { code: 0, quote },
        Problem::TooBig { mtu } => unreachable(icmpv4::FRAGMENTATION_NEEDED, mtu),
        Problem::NoRoute => unreachable(icmpv4::NET_UNREACHABLE, 0),
        Problem::AddressUnreachable => unreachable(icmpv4::HOST_UNREACHABLE, 0),
        Problem::PortUnreachable => unreachable(icmpv4::PORT_UNREACHABLE, 0),
        Problem::Prohibited => unreachable(icmpv4::ADMINISTRATIVELY_PROHIBITED, 0),
    }
}

fn problem_v6(problem: Problem, quote: &[u8]) -> icmpv6::Repr<'_> {
    let unreachable = |code| icmpv6::Repr::DestinationUnreachable { code, quote };
    match problem {
        Problem::TimeExceeded => icmpv6::Repr::TimeExceeded { code: 0, quote },
        Problem::TooBig { mtu } => icmpv6::Repr::PacketTooBig {
            mtu: mtu.into(),
            quote,
        },
        Problem::NoRoute => unreachable(icmpv6::NO_ROUTE),
        Problem::AddressUnreachable => unreachable(icmpv6::ADDRESS_UNREACHABLE),
        Problem::PortUnreachable => unreachable(icmpv6::PORT_UNREACHABLE),
        Problem::Prohibited => unreachable(icmpv6::ADMINISTRATIVELY_PROHIBITED),
    }
}

/// The header of a frame back to the sender of another, in the same VLAN.
fn answer(ethernet: &ethernet::Repr, mac: Mac) -> ethernet::Repr {
    ethernet::Repr {
        destination: ethernet.source,
        source: mac,
        tag: ethernet.tag,
        ethertype: ethernet.ethertype,
    }
}

/// A frame with an ICMP message over IPv4.
fn frame_v4(
    ethernet: &ethernet::Repr,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    message: &icmpv4::Repr<'_>,
    out: &mut [u8],
) -> Result<usize, Error> {
    let ethernet = ethernet::Repr {
        ethertype: EtherType::IPV4,
        ..*ethernet
    };
    let ip = ipv4::Repr::new(source, destination, Protocol::ICMPV4, message.buffer_len());
    let mut len = ethernet.emit(out)?;
    len += ip.emit(&mut out[len..])?;
    Ok(len + message.emit(&mut out[len..])?)
}

/// A frame with an ICMP message over IPv6.
fn frame_v6(
    ethernet: &ethernet::Repr,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    message: &icmpv6::Repr<'_>,
    out: &mut [u8],
) -> Result<usize, Error> {
    let ethernet = ethernet::Repr {
        ethertype: EtherType::IPV6,
        ..*ethernet
    };
    let ip = ipv6::Repr {
        hop_limit,
        ..ipv6::Repr::new(source, destination, Protocol::ICMPV6, message.buffer_len())
    };
    let mut len = ethernet.emit(out)?;
    len += ip.emit(&mut out[len..])?;
    Ok(len + message.emit(&mut out[len..], source, destination)?)
}
