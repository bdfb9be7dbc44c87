//! Editing a packet in place gives the bytes that building it anew gives.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]

mod common;

use common::{Packet, Payload, addresses, icmp_error, packet, payload};
use proptest::prelude::*;
use trinic_wire::checksum::{Sum, pseudo};
use trinic_wire::packet::Parsed;
use trinic_wire::rewrite::{self, Side, TransportChecksum};
use trinic_wire::{icmpv4, icmpv6};

fn parse(frame: &[u8]) -> Parsed {
    Parsed::parse(frame, frame.len()).unwrap()
}

proptest! {
    #[test]
    fn ttl(packet in packet()) {
        let mut frame = packet.frame();
        let mut parsed = parse(&frame);
        rewrite::decrement_ttl(&mut frame, &mut parsed).unwrap();
        let expected = Packet { ttl: packet.ttl.saturating_sub(1), ..packet };
        prop_assert_eq!(&frame, &expected.frame());
        prop_assert_eq!(parsed, parse(&frame));
    }

    #[test]
    fn address(addresses in addresses(3), payload in payload(), destination: bool) {
        let before = Packet { source: addresses[0], destination: addresses[1], ttl: 64, payload };
        let mut after = before.clone();
        let side = if destination {
            after.destination = addresses[2];
            Side::Destination
        } else {
            after.source = addresses[2];
            Side::Source
        };
        let mut frame = before.frame();
        let mut parsed = parse(&frame);
        rewrite::address(&mut frame, &mut parsed, side, addresses[2], TransportChecksum::Complete)
            .unwrap();
        prop_assert_eq!(&frame, &after.frame());
        prop_assert_eq!(parsed, parse(&frame));
    }

    /// A device that completes the partial checksum after the edit gets the right one.
    #[test]
    fn partial_checksum(addresses in addresses(3), ports: (u16, u16), data: Vec<u8>, udp: bool) {
        let payload = if udp {
            Payload::Udp(ports.0, ports.1, data[..data.len().min(64)].to_vec())
        } else {
            Payload::Tcp(ports.0, ports.1, 0x18, data[..data.len().min(64)].to_vec())
        };
        let before = Packet { source: addresses[0], destination: addresses[1], ttl: 64, payload };
        let after = Packet { destination: addresses[2], ..before.clone() };
        let mut frame = before.frame();
        let mut parsed = parse(&frame);
        let start = parsed.ip().unwrap().transport_offset;
        let field = start + if udp { 6 } else { 16 };
        let length = frame.len() - start;
        let sum = pseudo(before.source, before.destination, before.protocol(), length).folded();
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        rewrite::address(
            &mut frame,
            &mut parsed,
            Side::Destination,
            addresses[2],
            TransportChecksum::Partial,
        )
        .unwrap();
        let mut checksum = Sum::of(&frame[start..]).checksum();
        if udp && checksum == 0 {
            checksum = 0xffff;
        }
        frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        prop_assert_eq!(frame, after.frame());
    }

    /// Quotes are cut at whole words here: half a checksum cannot be updated.
    #[test]
    fn inner_address(addresses in addresses(4), payload in payload(), words in 0usize..20) {
        let before = Packet { source: addresses[0], destination: addresses[1], ttl: 64, payload };
        let after = Packet { source: addresses[2], ..before.clone() };
        let quote = |packet: &Packet| {
            let bytes = packet.ip();
            let least = if before.source.is_ipv4() { 28 } else { 48 };
            bytes[..bytes.len().min(least + 4 * words)].to_vec()
        };
        let mut frame = icmp_error(addresses[3], &before, &quote(&before));
        let mut parsed = parse(&frame);
        let Some(inner) = parsed.ip().unwrap().icmp().unwrap().inner else {
            // A quote of less than eight bytes of an upper layer has no flow.
            return Ok(());
        };
        prop_assert_eq!(inner.tuple.source, before.source);
        let transport = TransportChecksum::Complete;
        rewrite::inner_address(&mut frame, &mut parsed, Side::Source, addresses[2], transport)
            .unwrap();
        prop_assert_eq!(parsed, parse(&frame));
        let ip = parsed.ip().unwrap();
        let message = &frame[ip.transport_offset..];
        match (ip.tuple.source, ip.tuple.destination) {
            (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
                prop_assert!(icmpv6::Repr::parse(message, from, to).is_ok());
            }
            _ => prop_assert!(icmpv4::Repr::parse(message).is_ok()),
        }
        prop_assert_eq!(&message[8..], &quote(&after)[..]);
    }
}

#[test]
fn another_family_is_refused() {
    let packet = Packet {
        source: [10, 0, 0, 4].into(),
        destination: [10, 0, 0, 5].into(),
        ttl: 64,
        payload: Payload::Udp(1, 2, vec![]),
    };
    let mut frame = packet.frame();
    let mut parsed = parse(&frame);
    let new = std::net::Ipv6Addr::LOCALHOST.into();
    let transport = TransportChecksum::Complete;
    assert!(rewrite::address(&mut frame, &mut parsed, Side::Source, new, transport).is_err());
    assert_eq!(frame, packet.frame());
}
