//! One function per parser for fuzzers and tests: each takes any bytes, must not panic by itself, and asserts
//! what must hold for whatever parses (a value that was parsed is written and parsed again unchanged, an edited
//! packet still parses).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::{Sum, never_zero, pseudo};
use crate::packet::{Network, Parsed, Transport};
use crate::plain::{Addresses, Plain};
use crate::reply::{self, Problem, Sender};
use crate::rewrite::{self, Side, TransportChecksum};
use crate::tcp::Flags;
use crate::{Protocol, arp, checksum, dhcpv4, ethernet, icmpv4, icmpv6, ipv4, ipv6, ntp, tcp, udp};

/// A buffer that holds whatever a fuzzer's input can be written as.
const SPACE: usize = 160 << 10;

/// Addresses for the pseudo headers.
const V4: (IpAddr, IpAddr) = (
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4)),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)),
);
const V6: (Ipv6Addr, Ipv6Addr) = (
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 4),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5),
);

/// Every parser.
pub fn all(data: &[u8]) {
    for target in TARGETS {
        target.1(data);
    }
}

/// A fuzz function.
pub type Target = fn(&[u8]);

/// Every function by name.
pub const TARGETS: [(&str, Target); 13] = [
    ("arp", arp),
    ("checksum", checksum),
    ("dhcpv4", dhcpv4),
    ("ethernet", ethernet),
    ("icmpv4", icmpv4),
    ("icmpv6", icmpv6),
    ("ipv4", ipv4),
    ("ipv6", ipv6),
    ("ntp", ntp),
    ("packet", packet),
    ("reply", reply),
    ("tcp", tcp),
    ("udp", udp),
];

/// Ethernet headers.
pub fn ethernet(data: &[u8]) {
    if let Ok((repr, rest)) = ethernet::Repr::parse(data) {
        let mut out = vec![0; repr.buffer_len()];
        assert_eq!(repr.emit(&mut out), Ok(data.len() - rest.len()));
        assert_eq!(out, data[..out.len()]);
    }
}

/// ARP.
pub fn arp(data: &[u8]) {
    if let Ok(repr) = arp::Repr::parse(data) {
        let mut out = [0; arp::LEN];
        assert_eq!(repr.emit(&mut out), Ok(arp::LEN));
        assert_eq!(out, data[..arp::LEN]);
    }
}

/// IPv4 headers, with the checksum as it is and corrected.
pub fn ipv4(data: &[u8]) {
    let check = |data: &[u8]| {
        if let Ok((repr, payload)) = ipv4::Repr::parse(data) {
            assert!(repr.options.iter().count() <= ipv4::MAX_OPTIONS);
            let mut out = vec![0; repr.header_len()];
            assert_eq!(repr.emit(&mut out), Ok(out.len()));
            out.extend_from_slice(payload);
            assert_eq!(ipv4::Repr::parse(&out), Ok((repr, payload)));
        }
    };
    check(data);
    let _options = ipv4::Options::new(data);
    let mut fixed = data.to_vec();
    fix_ipv4(&mut fixed);
    check(&fixed);
}

/// IPv6 headers and the walk over extension headers.
pub fn ipv6(data: &[u8]) {
    if let Ok((repr, payload)) = ipv6::Repr::parse(data) {
        let mut out = vec![0; ipv6::HEADER_LEN];
        assert_eq!(repr.emit(&mut out), Ok(out.len()));
        out.extend_from_slice(payload);
        assert_eq!(ipv6::Repr::parse(&out), Ok((repr, payload)));
    }
    if let [next_header, bytes @ ..] = data {
        for payload_len in [bytes.len(), bytes.len() / 2, 65_535] {
            let seen = &bytes[..bytes.len().min(payload_len)];
            if let Ok(walk) = ipv6::walk(*next_header, seen, payload_len) {
                assert!(walk.offset <= payload_len);
            }
        }
    }
}

/// TCP, with the checksum as it is and corrected.
pub fn tcp(data: &[u8]) {
    let check = |data: &[u8]| {
        if let Ok(repr) = tcp::Repr::parse(data, V4.0, V4.1) {
            let mut out = vec![0; SPACE];
            let len = repr.emit(&mut out, V4.0, V4.1);
            assert_eq!(
                len.and_then(|len| tcp::Repr::parse(&out[..len], V4.0, V4.1)),
                Ok(repr)
            );
        }
    };
    check(data);
    let _options = tcp::Options::parse(data);
    let sum = pseudo(V4.0, V4.1, Protocol::TCP, data.len());
    check(&fixed(data, tcp::CHECKSUM_OFFSET, sum));
}

/// UDP, with the checksum as it is and corrected.
pub fn udp(data: &[u8]) {
    let check = |data: &[u8]| {
        if let Ok(repr) = udp::Repr::parse(data, V4.0, V4.1) {
            let mut out = vec![0; repr.buffer_len()];
            assert_eq!(repr.emit(&mut out, V4.0, V4.1), Ok(out.len()));
            assert_eq!(udp::Repr::parse(&out, V4.0, V4.1), Ok(repr));
        }
    };
    check(data);
    let sum = pseudo(V4.0, V4.1, Protocol::UDP, data.len());
    check(&fixed(data, udp::CHECKSUM_OFFSET, sum));
}

/// ICMP for IPv4, with the checksum as it is and corrected.
pub fn icmpv4(data: &[u8]) {
    let check = |data: &[u8]| {
        if let Ok(repr) = icmpv4::Repr::parse(data) {
            let mut out = vec![0; repr.buffer_len()];
            assert_eq!(repr.emit(&mut out), Ok(out.len()));
            assert_eq!(icmpv4::Repr::parse(&out), Ok(repr));
        }
    };
    check(data);
    check(&fixed(data, 2, Sum::ZERO));
}

/// ICMP for IPv6 and Neighbor Discovery, with the checksum as it is and corrected.
pub fn icmpv6(data: &[u8]) {
    let check = |data: &[u8]| {
        if let Ok(repr) = icmpv6::Repr::parse(data, V6.0, V6.1) {
            let mut out = vec![0; repr.buffer_len()];
            assert_eq!(repr.emit(&mut out, V6.0, V6.1), Ok(out.len()));
            assert_eq!(icmpv6::Repr::parse(&out, V6.0, V6.1), Ok(repr));
        }
    };
    check(data);
    let sum = pseudo(V6.0.into(), V6.1.into(), Protocol::ICMPV6, data.len());
    check(&fixed(data, icmpv6::CHECKSUM_OFFSET, sum));
}

/// DHCP for IPv4, as it is and behind a legal fixed part.
pub fn dhcpv4(data: &[u8]) {
    let check = |data: &[u8]| {
        if let Ok(repr) = dhcpv4::Repr::parse(data) {
            let mut out = vec![0; SPACE];
            let len = repr.emit(&mut out);
            assert_eq!(len.and_then(|len| dhcpv4::Repr::parse(&out[..len])), Ok(repr));
        }
    };
    check(data);
    for message_type in [dhcpv4::MessageType::Request, dhcpv4::MessageType::Ack] {
        let mut message = vec![0; dhcpv4::MIN_LEN];
        let repr = dhcpv4::Repr::new(message_type, 1, [2, 0, 0, 0, 0, 1]);
        assert_eq!(repr.emit(&mut message), Ok(dhcpv4::MIN_LEN));
        // Behind the message type.
        message.truncate(dhcpv4::HEADER_LEN + 3);
        message.extend_from_slice(&data[..data.len().min(u16::MAX.into())]);
        check(&message);
    }
}

/// NTP.
pub fn ntp(data: &[u8]) {
    if let Ok(repr) = ntp::Repr::parse(data) {
        let mut out = [0; ntp::HEADER_LEN];
        assert_eq!(repr.emit(&mut out), Ok(ntp::HEADER_LEN));
        assert_eq!(out, data[..ntp::HEADER_LEN]);
    }
}

/// Checksums: in pieces, incremental and whole are the same.
pub fn checksum(data: &[u8]) {
    let (front, back) = data.split_at(data.len() / 4 * 2);
    let whole = Sum::of(data).folded();
    assert_eq!(Sum::of(front).bytes(back).folded(), whole);
    let mut naive = 0u32;
    for pair in data.chunks(2) {
        let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
        naive += u32::from(u16::from_be_bytes(word));
        naive = (naive & 0xffff) + (naive >> 16);
    }
    assert_eq!(u32::from(whole), naive);
    if let [a, b, c, d, rest @ ..] = data {
        let with = |word: [u8; 2]| Sum::of(&word).bytes(rest).checksum();
        let updated = checksum::update(
            with([*a, *b]),
            u16::from_be_bytes([*a, *b]),
            u16::from_be_bytes([*c, *d]),
        );
        // Both words for zero are right, when everything is zero (RFC 1624 §3).
        let expected = with([*c, *d]);
        assert!(updated == expected || (updated == 0 && expected == 0xffff));
    }
}

/// The one-pass parse, and the edits of what it parsed, with the IPv4 checksum as it is and corrected.
pub fn packet(data: &[u8]) {
    check_packet(data);
    check_packet(&fixed_frame(data));
}

/// The replies to a packet.
pub fn reply(data: &[u8]) {
    check_replies(data);
    check_replies(&fixed_frame(data));
}

/// The quick reading takes what the whole one reads as plain, nothing else, and reads it alike.
fn check_plain(window: &[u8], frame_len: usize, parsed: Option<&Parsed>) {
    let expected = parsed.and_then(|parsed| {
        let ip = parsed.ip().filter(|ip| ip.fragment.is_none())?;
        let (network_len, addresses) = match (ip.tuple.source, ip.tuple.destination) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let (source, destination) = (a.to_bits(), b.to_bits());
                (ipv4::HEADER_LEN, Addresses::V4 { source, destination })
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let (source, destination) = (a.to_bits(), b.to_bits());
                (ipv6::HEADER_LEN, Addresses::V6 { source, destination })
            }
            _ => return None,
        };
        let (flags, transport_len) = match ip.transport {
            Transport::Tcp { flags, header_len } => (flags, header_len),
            Transport::Udp => (Flags(0), udp::HEADER_LEN),
            _ => return None,
        };
        let without_more = ip.transport_offset == ethernet::HEADER_LEN + network_len;
        without_more.then(|| Plain {
            addresses,
            source_port: ip.tuple.source_port,
            destination_port: ip.tuple.destination_port,
            protocol: ip.tuple.protocol,
            flags,
            ttl: ip.ttl,
            total_len: u32::try_from(ip.total_len).unwrap_or(u32::MAX),
            headers_len: u32::try_from(network_len + transport_len).unwrap_or(u32::MAX),
        })
    });
    assert_eq!(Plain::parse(window, frame_len), expected);
}

fn check_packet(data: &[u8]) {
    for window_len in [data.len(), data.len().min(crate::packet::WINDOW), data.len() / 2] {
        let window = &data[..window_len];
        let parsed = Parsed::parse(window, data.len());
        check_plain(window, data.len(), parsed.as_ref().ok());
        let Ok(parsed) = parsed else {
            continue;
        };
        if let Network::Ip(ip) = &parsed.network {
            assert!(parsed.network_offset + ip.total_len <= data.len());
            assert!(ip.transport_offset <= parsed.network_offset + ip.total_len);
            assert_eq!(ip.tuple.reversed().reversed(), ip.tuple);
            if let Transport::Icmp(icmp) = &ip.transport
                && let Some(inner) = &icmp.inner
            {
                assert!(inner.network_offset < window_len);
                assert!(!inner.has_ports || inner.transport_offset + 8 <= window_len);
            }
            edit(window, data.len(), parsed);
        }
    }
}

/// Edits a packet; what the edits left must parse to what they say.
fn edit(window: &[u8], frame_len: usize, mut parsed: Parsed) {
    let Some(ip) = parsed.ip() else { return };
    let new = if ip.is_ipv6() { V6.0.into() } else { V4.0 };
    for transport in [TransportChecksum::Complete, TransportChecksum::Partial] {
        for side in [Side::Source, Side::Destination] {
            let mut copy = window.to_vec();
            let results = [
                rewrite::macs(&mut copy, &mut parsed, [2; 6], [4; 6]),
                rewrite::decrement_ttl(&mut copy, &mut parsed),
                rewrite::address(&mut copy, &mut parsed, side, new, transport),
                rewrite::inner_address(&mut copy, &mut parsed, side, new, transport),
            ];
            assert_eq!(results, [Ok(()); 4]);
            assert_eq!(Parsed::parse(&copy, frame_len), Ok(parsed));
            let Ok(again) = Parsed::parse(window, frame_len) else {
                return;
            };
            parsed = again;
        }
    }
}

fn check_replies(data: &[u8]) {
    let mut out = [0; reply::MAX_LEN];
    let Ok(parsed) = Parsed::parse(data, data.len()) else {
        return;
    };
    let mac = [2, 0, 0, 0, 0, 9];
    let addresses = [V4.0, V6.0.into()];
    let problems = [
        Problem::TimeExceeded,
        Problem::TooBig { mtu: 1500 },
        Problem::NoRoute,
        Problem::AddressUnreachable,
        Problem::PortUnreachable,
        Problem::Prohibited,
    ];
    for address in addresses {
        for problem in problems {
            let from = Sender { mac, address };
            let Ok(len) = reply::icmp_error(data, &parsed, problem, from, &mut out) else {
                unreachable!("The buffer holds every reply");
            };
            if let Some(len) = len {
                let reply = Parsed::parse(&out[..len], len);
                let icmp = reply.ok().and_then(|r| r.ip().and_then(|ip| ip.icmp().copied()));
                assert!(icmp.is_some_and(|icmp| icmp.is_error));
            }
        }
    }
    if let Network::Arp(request) = &parsed.network {
        let len = reply::arp(&parsed.ethernet, request, mac, &mut out);
        assert!(len.and_then(|len| Parsed::parse(&out[..len], len)).is_ok());
    }
}

/// A copy with the checksum at `offset` corrected.
fn fixed(data: &[u8], offset: usize, pseudo: Sum) -> Vec<u8> {
    let mut copy = data.to_vec();
    if let Some(field) = copy.get_mut(offset..offset + 2) {
        field.fill(0);
        let checksum = never_zero(pseudo.bytes(&copy).checksum());
        copy[offset..offset + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    copy
}

/// A copy of a frame with its IPv4 checksum corrected.
fn fixed_frame(data: &[u8]) -> Vec<u8> {
    let mut copy = data.to_vec();
    if let Ok((header, rest)) = ethernet::Repr::parse(data)
        && header.ethertype == ethernet::EtherType::IPV4
    {
        let start = data.len() - rest.len();
        fix_ipv4(&mut copy[start..]);
    }
    copy
}

fn fix_ipv4(packet: &mut [u8]) {
    let Some(len) = packet.first().map(|byte| usize::from(byte & 0xf) * 4) else {
        return;
    };
    if len < ipv4::HEADER_LEN || len > packet.len() {
        return;
    }
    let header = fixed(&packet[..len], ipv4::CHECKSUM_OFFSET, Sum::ZERO);
    packet[..len].copy_from_slice(&header);
}
