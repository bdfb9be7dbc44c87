//! Frames for the tests: strategies and builders.
#![allow(
    dead_code,
    reason = "Each test binary compiles this module and uses a part of it."
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use trinic_wire::ethernet::EtherType;
use trinic_wire::tcp::Flags;
use trinic_wire::{Protocol, ethernet, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

/// What a test packet carries.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Tcp(u16, u16, u8, Vec<u8>),
    Udp(u16, u16, Vec<u8>),
    Echo(u16, u16, Vec<u8>),
    Other(Vec<u8>),
}

/// A test packet: addresses of one family.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) payload: Payload,
}

/// Addresses of one family.
pub(crate) fn addresses(count: usize) -> impl Strategy<Value = Vec<IpAddr>> {
    let v4 = prop::collection::vec(any::<[u8; 4]>().prop_map(|a| Ipv4Addr::from(a).into()), count);
    let v6 = prop::collection::vec(any::<[u8; 16]>().prop_map(|a| Ipv6Addr::from(a).into()), count);
    prop_oneof![v4, v6]
}

pub(crate) fn payload() -> impl Strategy<Value = Payload> {
    let data = || prop::collection::vec(any::<u8>(), 0..64);
    prop_oneof![
        (any::<u16>(), any::<u16>(), any::<u8>(), data()).prop_map(|(a, b, f, d)| Payload::Tcp(a, b, f, d)),
        (any::<u16>(), any::<u16>(), data()).prop_map(|(a, b, d)| Payload::Udp(a, b, d)),
        (any::<u16>(), any::<u16>(), data()).prop_map(|(a, b, d)| Payload::Echo(a, b, d)),
        data().prop_map(Payload::Other),
    ]
}

pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    (addresses(2), any::<u8>(), payload()).prop_map(|(addresses, ttl, payload)| Packet {
        source: addresses[0],
        destination: addresses[1],
        ttl,
        payload,
    })
}

impl Packet {
    pub(crate) fn protocol(&self) -> Protocol {
        match self.payload {
            Payload::Tcp(..) => Protocol::TCP,
            Payload::Udp(..) => Protocol::UDP,
            Payload::Echo(..) if self.source.is_ipv4() => Protocol::ICMPV4,
            Payload::Echo(..) => Protocol::ICMPV6,
            Payload::Other(_) => Protocol(253),
        }
    }

    /// The transport header and its data.
    pub(crate) fn transport(&self) -> Vec<u8> {
        let (from, to) = (self.source, self.destination);
        let mut out = vec![0; 256];
        let len = match &self.payload {
            Payload::Tcp(a, b, flags, data) => tcp::Repr {
                source_port: *a,
                destination_port: *b,
                sequence: 1,
                acknowledgement: 2,
                flags: Flags(*flags),
                window: 3,
                urgent: 0,
                options: tcp::Options::default(),
                payload: data,
            }
            .emit(&mut out, from, to),
            Payload::Udp(a, b, data) => udp::Repr {
                source_port: *a,
                destination_port: *b,
                payload: data,
            }
            .emit(&mut out, from, to),
            Payload::Echo(identifier, sequence, data) => match (from, to) {
                (IpAddr::V6(from), IpAddr::V6(to)) => icmpv6::Repr::EchoRequest {
                    identifier: *identifier,
                    sequence: *sequence,
                    data,
                }
                .emit(&mut out, from, to),
                _ => icmpv4::Repr::EchoRequest {
                    identifier: *identifier,
                    sequence: *sequence,
                    data,
                }
                .emit(&mut out),
            },
            Payload::Other(data) => {
                out[..data.len()].copy_from_slice(data);
                Ok(data.len())
            }
        };
        out.truncate(len.unwrap());
        out
    }

    /// The packet from its IP header on.
    pub(crate) fn ip(&self) -> Vec<u8> {
        ip(
            self.source,
            self.destination,
            self.protocol(),
            self.ttl,
            &self.transport(),
        )
    }

    /// The whole frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        frame(&self.ip())
    }
}

pub(crate) fn ip(from: IpAddr, to: IpAddr, protocol: Protocol, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 40];
    let len = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4::Repr {
            ttl,
            ..ipv4::Repr::new(from, to, protocol, payload.len())
        }
        .emit(&mut out),
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6::Repr {
            hop_limit: ttl,
            ..ipv6::Repr::new(from, to, protocol, payload.len())
        }
        .emit(&mut out),
        _ => unreachable!("families differ"),
    };
    out.truncate(len.unwrap());
    out.extend(payload);
    out
}

/// A frame around an IP packet.
pub(crate) fn frame(packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 {
        EtherType::IPV4
    } else {
        EtherType::IPV6
    };
    let mut out = vec![0; 14];
    ethernet::Repr {
        destination: [2, 0, 0, 0, 0, 2],
        source: [2, 0, 0, 0, 0, 1],
        tag: None,
        ethertype,
    }
    .emit(&mut out)
    .unwrap();
    out.extend(packet);
    out
}

/// An ICMP error from `from` to the sender of `quoted`.
pub(crate) fn icmp_error(from: IpAddr, quoted: &Packet, quote: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 512];
    let to = quoted.source;
    let (protocol, len) = match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => (
            Protocol::ICMPV6,
            icmpv6::Repr::TimeExceeded { code: 0, quote }.emit(&mut out, from, to),
        ),
        _ => (
            Protocol::ICMPV4,
            icmpv4::Repr::TimeExceeded { code: 0, quote }.emit(&mut out),
        ),
    };
    out.truncate(len.unwrap());
    frame(&ip(from, to, protocol, 64, &out))
}
