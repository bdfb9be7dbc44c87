//! What links and routers answer.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]

mod common;

use std::net::{IpAddr, Ipv6Addr};

use common::{Packet, Payload, frame, icmp_error, ip};
use trinic_wire::icmpv6::ndp;
use trinic_wire::packet::{Network, Parsed};
use trinic_wire::reply::{self, Problem, Sender};
use trinic_wire::{Error, Protocol, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6};

const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

fn parse(frame: &[u8]) -> Parsed {
    Parsed::parse(frame, frame.len()).unwrap()
}

fn packet(v6: bool, payload: Payload) -> Packet {
    let addresses: [IpAddr; 2] = if v6 {
        ["2001:db8::4", "2001:db8::5"].map(|a| a.parse().unwrap())
    } else {
        [[10, 0, 0, 4].into(), [10, 0, 0, 5].into()]
    };
    Packet {
        source: addresses[0],
        destination: addresses[1],
        ttl: 1,
        payload,
    }
}

fn sender(v6: bool) -> Sender {
    Sender {
        mac: ROUTER,
        address: if v6 {
            "2001:db8::1".parse().unwrap()
        } else {
            [10, 0, 0, 1].into()
        },
    }
}

fn error(frame: &[u8], v6: bool, problem: Problem) -> Option<Vec<u8>> {
    let mut out = vec![0; reply::MAX_LEN];
    let len = reply::icmp_error(frame, &parse(frame), problem, sender(v6), &mut out).unwrap()?;
    out.truncate(len);
    Some(out)
}

#[test]
fn arp_reply_bytes() {
    let request = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: [2, 0, 0, 0, 0, 1],
        sender_address: [10, 0, 0, 4].into(),
        target_mac: [0; 6],
        target_address: [10, 0, 0, 1].into(),
    };
    let ethernet = ethernet::Repr {
        destination: ethernet::BROADCAST,
        source: [2, 0, 0, 0, 0, 1],
        tag: None,
        ethertype: ethernet::EtherType::ARP,
    };
    let mut out = [0; 42];
    assert_eq!(reply::arp(&ethernet, &request, ROUTER, &mut out), Ok(42));
    assert_eq!(
        out,
        [
            2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xfe, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 0xfe, 10, 0,
            0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 4
        ]
    );
    assert!(matches!(
        reply::arp(&ethernet, &request, ROUTER, &mut [0; 41]),
        Err(Error::NoSpace { .. })
    ));
}

#[test]
fn advertisements_to_one_and_to_all() {
    let ethernet = ethernet::Repr {
        destination: [0x33, 0x33, 0xff, 0, 0, 5],
        source: [2, 0, 0, 0, 0, 1],
        tag: None,
        ethertype: ethernet::EtherType::IPV6,
    };
    let target: Ipv6Addr = "2001:db8::5".parse().unwrap();
    let asker: Ipv6Addr = "2001:db8::4".parse().unwrap();
    for (from, mac, to, solicited) in [
        (asker, [2, 0, 0, 0, 0, 1], asker, true),
        (
            Ipv6Addr::UNSPECIFIED,
            [0x33, 0x33, 0, 0, 0, 1],
            ipv6::ALL_NODES,
            false,
        ),
    ] {
        let mut out = [0; 128];
        let len = reply::neighbor_advertisement(&ethernet, from, target, ROUTER, true, &mut out).unwrap();
        let parsed = parse(&out[..len]);
        assert_eq!(parsed.ethernet.destination, mac);
        let ip = parsed.ip().unwrap();
        assert_eq!((ip.tuple.destination, ip.ttl), (to.into(), 255));
        let message = icmpv6::Repr::parse(&out[ip.transport_offset..len], target, to).unwrap();
        let expected = ndp::Repr::NeighborAdvertisement {
            router: true,
            solicited,
            override_flag: true,
            target,
            target_link: Some(ROUTER),
        };
        assert_eq!(message, icmpv6::Repr::Ndp(expected));
    }
}

#[test]
fn errors_quote_within_limits() {
    for (v6, data, limit) in [
        (false, 20, 14 + 576),
        (false, 1400, 14 + 576),
        (true, 20, 14 + 1280),
        (true, 1400, 14 + 1280),
    ] {
        let original = packet(v6, Payload::Other(vec![]));
        let whole = ip(original.source, original.destination, Protocol::UDP, 1, &{
            let mut datagram = vec![0, 1, 0, 2];
            datagram.extend(u16::try_from(data + 8).unwrap().to_be_bytes());
            datagram.extend([0, 0]);
            datagram.resize(data + 8, 9);
            datagram
        });
        let frame = frame(&whole);
        let out = error(&frame, v6, Problem::TimeExceeded).unwrap();
        let headers = 14 + if v6 { 48 } else { 28 };
        assert_eq!(out.len(), limit.min(headers + whole.len()));
        assert_eq!(out[headers..], whole[..out.len() - headers]);
        let parsed = parse(&out);
        assert_eq!(parsed.ethernet.source, ROUTER);
        assert_eq!(parsed.ethernet.destination, [2, 0, 0, 0, 0, 1]);
        let reply = parsed.ip().unwrap();
        assert_eq!(reply.tuple.source, sender(v6).address);
        assert_eq!(reply.tuple.destination, original.source);
        let inner = reply.icmp().unwrap().inner.unwrap();
        assert_eq!((inner.tuple.source_port, inner.tuple.destination_port), (1, 2));
        // Only the window is quoted when that is all there is.
        let window = &frame[..frame.len().min(64)];
        let parsed = parse(&frame);
        let mut out = vec![0; reply::MAX_LEN];
        let len = reply::icmp_error(window, &parsed, Problem::TimeExceeded, sender(v6), &mut out).unwrap();
        assert_eq!(len.unwrap(), headers + window.len() - 14);
    }
}

#[test]
fn problems_in_both_families() {
    for (problem, v4, v6, mtu) in [
        (Problem::TimeExceeded, (11, 0), (3, 0), 0),
        (Problem::TooBig { mtu: 1500 }, (3, 4), (2, 0), 1500),
        (Problem::NoRoute, (3, 0), (1, 0), 0),
        (Problem::AddressUnreachable, (3, 1), (1, 3), 0),
        (Problem::PortUnreachable, (3, 3), (1, 4), 0),
        (Problem::Prohibited, (3, 13), (1, 1), 0),
    ] {
        for (family, expected) in [(false, v4), (true, v6)] {
            let frame = packet(family, Payload::Udp(1, 2, vec![3; 8])).frame();
            let out = error(&frame, family, problem).unwrap();
            let ip = *parse(&out).ip().unwrap();
            let icmp = ip.icmp().unwrap();
            assert_eq!((icmp.kind, icmp.code), expected);
            let rest = &out[ip.transport_offset + 4..ip.transport_offset + 8];
            assert_eq!(rest, u32::to_be_bytes(mtu));
            let message = &out[ip.transport_offset..];
            match (ip.tuple.source, ip.tuple.destination) {
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    icmpv6::Repr::parse(message, from, to).unwrap();
                }
                _ => {
                    icmpv4::Repr::parse(message).unwrap();
                }
            }
        }
    }
}

#[test]
fn some_packets_are_not_answered() {
    let udp = Payload::Udp(1, 2, vec![]);
    let silent = |frame: &[u8], v6| {
        assert!(error(frame, v6, Problem::NoRoute).is_none());
        assert!(!reply::may_report(&parse(frame)));
    };
    for v6 in [false, true] {
        let good = packet(v6, udp.clone());
        assert!(error(&good.frame(), v6, Problem::NoRoute).is_some());
        // Echo requests are answered, errors are not.
        let echo = packet(v6, Payload::Echo(1, 1, vec![]));
        assert!(error(&echo.frame(), v6, Problem::NoRoute).is_some());
        silent(&icmp_error(good.destination, &good, &good.ip()), v6);
        let groups: [IpAddr; 2] = if v6 {
            ["ff02::1", "::"].map(|a| a.parse().unwrap())
        } else {
            ["224.0.0.1", "0.0.0.0"].map(|a| a.parse().unwrap())
        };
        let to_group = Packet {
            destination: groups[0],
            ..good.clone()
        };
        silent(&to_group.frame(), v6);
        for source in groups {
            let from_group = Packet {
                source,
                ..good.clone()
            };
            silent(&from_group.frame(), v6);
        }
        let mut broadcast = good.frame();
        broadcast[..6].fill(0xff);
        silent(&broadcast, v6);
        // A sender of the other family has no address to answer from.
        assert!(error(&good.frame(), !v6, Problem::NoRoute).is_none());
    }
    let later = ipv4::Repr {
        fragment_offset: 8,
        ..ipv4::Repr::new([10, 0, 0, 4].into(), [10, 0, 0, 5].into(), Protocol::UDP, 8)
    };
    let mut bytes = vec![0; 28];
    later.emit(&mut bytes).unwrap();
    silent(&frame(&bytes), false);
    let mut arp = vec![0xff; 14];
    arp[12..].copy_from_slice(&[8, 6]);
    let request = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: [2; 6],
        sender_address: [10, 0, 0, 4].into(),
        target_mac: [0; 6],
        target_address: [10, 0, 0, 1].into(),
    };
    arp.resize(42, 0);
    request.emit(&mut arp[14..]).unwrap();
    assert_eq!(parse(&arp).network, Network::Arp(request));
    silent(&arp, false);
}
