//! Ethernet frames in and out: what of a frame the services need, and the headers of a reply.

use std::net::{IpAddr, SocketAddr};

use trinic_wire::{Protocol, ethernet, ipv4, ipv6, tcp, udp};

use crate::context::Link;
use crate::refusal::Refusal;

/// A frame that a service may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inbound<'a> {
    /// A UDP datagram.
    Udp {
        source: SocketAddr,
        destination: SocketAddr,
        payload: &'a [u8],
    },
    /// A TCP segment in its IP packet.
    Tcp {
        source: SocketAddr,
        destination: SocketAddr,
        /// Whether it asks for a new connection: SYN alone.
        opens: bool,
        packet: &'a [u8],
    },
}

/// Reads a frame. Checksums of UDP and TCP are not verified: with checksum offload the instance leaves
/// them to a wire that is not there.
pub(crate) fn parse(frame: &[u8]) -> Result<Inbound<'_>, Refusal> {
    let (header, packet) = ethernet::Repr::parse(frame).map_err(|_| Refusal::Malformed)?;
    match header.ethertype {
        ethernet::EtherType::IPV4 => parse_v4(packet),
        ethernet::EtherType::IPV6 => parse_v6(packet),
        _ => Err(Refusal::NotForUs),
    }
}

fn parse_v4(packet: &[u8]) -> Result<Inbound<'_>, Refusal> {
    let (header, payload) = ipv4::Repr::parse(packet).map_err(|_| Refusal::Malformed)?;
    if header.more_fragments || header.fragment_offset != 0 {
        return Err(Refusal::Fragment);
    }
    let packet = &packet[..header.header_len() + payload.len()];
    let ends = (header.source.into(), header.destination.into());
    parse_transport(header.protocol, packet, payload, ends)
}

fn parse_v6(packet: &[u8]) -> Result<Inbound<'_>, Refusal> {
    let (header, payload) = ipv6::Repr::parse(packet).map_err(|_| Refusal::Malformed)?;
    if header.next_header == Protocol::FRAGMENT {
        return Err(Refusal::Fragment);
    }
    let packet = &packet[..ipv6::HEADER_LEN + payload.len()];
    let ends = (header.source.into(), header.destination.into());
    parse_transport(header.next_header, packet, payload, ends)
}

fn parse_transport<'a>(
    protocol: Protocol,
    packet: &'a [u8],
    payload: &'a [u8],
    (source, destination): (IpAddr, IpAddr),
) -> Result<Inbound<'a>, Refusal> {
    let ends = |from: u16, to: u16| (SocketAddr::new(source, from), SocketAddr::new(destination, to));
    match protocol {
        Protocol::UDP => {
            let (header, _) = udp::Header::parse(payload).map_err(|_| Refusal::Malformed)?;
            let length = usize::from(header.length.get());
            let data = payload.get(udp::HEADER_LEN..length).ok_or(Refusal::Malformed)?;
            let (source, destination) = ends(header.source_port.get(), header.destination_port.get());
            Ok(Inbound::Udp {
                source,
                destination,
                payload: data,
            })
        }
        Protocol::TCP => {
            let (header, _) = tcp::Header::parse(payload).map_err(|_| Refusal::Malformed)?;
            let flags = tcp::Flags(header.flags);
            let (source, destination) = ends(header.source_port.get(), header.destination_port.get());
            Ok(Inbound::Tcp {
                source,
                destination,
                opens: is_syn(flags),
                packet,
            })
        }
        _ => Err(Refusal::NotForUs),
    }
}

fn is_syn(flags: tcp::Flags) -> bool {
    flags.contains(tcp::Flags::SYN)
        && !flags.contains(tcp::Flags::ACK)
        && !flags.contains(tcp::Flags::RST)
        && !flags.contains(tcp::Flags::FIN)
}

/// A frame from the router to the instance with an IP packet in it.
pub(crate) fn ip(link: Link, packet: &[u8]) -> Option<Vec<u8>> {
    let ethertype = match packet.first()? >> 4 {
        4 => ethernet::EtherType::IPV4,
        6 => ethernet::EtherType::IPV6,
        _ => return None,
    };
    let mut frame = vec![0; ethernet::HEADER_LEN];
    ethernet_header(link.mac, link.router_mac, ethertype)
        .emit(&mut frame)
        .ok()?;
    frame.extend_from_slice(packet);
    Some(frame)
}

fn ethernet_header(destination: [u8; 6], source: [u8; 6], ethertype: ethernet::EtherType) -> ethernet::Repr {
    ethernet::Repr {
        destination,
        source,
        tag: None,
        ethertype,
    }
}

/// A frame from the router with a UDP datagram in it. A broadcast address gets a broadcast frame. `None`
/// when the payload fits into no datagram or the addresses are of two families.
pub(crate) fn udp(
    link: Link,
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let datagram = udp::Repr {
        source_port: source.port(),
        destination_port: destination.port(),
        payload,
    };
    let (ip_len, ethertype, mac) = match destination.ip() {
        IpAddr::V4(to) if to.is_broadcast() => {
            (ipv4::HEADER_LEN, ethernet::EtherType::IPV4, ethernet::BROADCAST)
        }
        IpAddr::V4(_) => (ipv4::HEADER_LEN, ethernet::EtherType::IPV4, link.mac),
        IpAddr::V6(_) => (ipv6::HEADER_LEN, ethernet::EtherType::IPV6, link.mac),
    };
    let len = datagram.buffer_len();
    let mut frame = vec![0; ethernet::HEADER_LEN + ip_len + len];
    let (ethernet, rest) = frame.split_at_mut(ethernet::HEADER_LEN);
    let (ip, rest) = rest.split_at_mut(ip_len);
    ethernet_header(mac, link.router_mac, ethertype)
        .emit(ethernet)
        .ok()?;
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4::Repr::new(from, to, Protocol::UDP, len).emit(ip).ok()?,
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6::Repr::new(from, to, Protocol::UDP, len).emit(ip).ok()?,
        _ => return None,
    };
    datagram.emit(rest, source.ip(), destination.ip()).ok()?;
    Some(frame)
}
