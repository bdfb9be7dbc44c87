//! ARP, Neighbor Discovery and router advertisements, answered by the card.

use std::net::IpAddr;

use trinic_switch::{DropReason, INTERNET_MAC, Offload, PortId, ROUTER_MAC, Verdict};
use trinic_wire::arp;
use trinic_wire::icmpv6::{self, ndp};
use trinic_wire::packet::{Network, Parsed};
use trinic_wire::{Protocol, ethernet, ipv6};

use crate::packets::{arp_frame, arp_request, assert_checksums, ip4, mac};
use crate::support::{Card, INTERNET};

fn arp_answer(card: &mut Card, port: PortId, frame: &[u8]) -> arp::Repr {
    let sent = card.send_frame(port, frame, Offload::default());
    assert_eq!(sent.verdict, Verdict::Replied);
    let reply = sent.reply.unwrap();
    let parsed = Parsed::parse(&reply, reply.len()).unwrap();
    let Network::Arp(arp) = parsed.network else {
        panic!("{parsed:?}");
    };
    assert_eq!(arp.operation, arp::Operation::Reply);
    assert_eq!(parsed.ethernet.source, arp.sender_mac);
    arp
}

#[test]
fn arp_tells_the_peers_mac_or_the_routers() {
    let mut card = Card::new();
    for (target, expected) in [
        ("10.0.1.20", mac(2)),
        ("10.0.1.40", mac(4)),
        ("10.0.1.1", ROUTER_MAC),
        ("10.0.1.2", ROUTER_MAC),
        ("10.0.2.30", ROUTER_MAC),
        ("169.254.169.254", ROUTER_MAC),
        ("8.8.8.8", ROUTER_MAC),
    ] {
        let answer = arp_answer(&mut card, PortId(1), &arp_request(1, "10.0.1.10", target));
        assert_eq!(answer.sender_mac, expected, "{target}");
        assert_eq!(answer.sender_address, ip4(target));
        assert_eq!(answer.target_mac, mac(1));
        assert_eq!(answer.target_address, ip4("10.0.1.10"));
    }
    let counters = card.counters("eni-a");
    assert_eq!(
        (counters.replies, counters.packets_in, counters.bytes_in),
        (7, 7, 7 * 42)
    );
    assert_eq!(counters.dropped_total(), 0);
}

#[test]
fn arp_of_two_vpcs_never_meets() {
    let mut card = Card::new();
    // 10.0.1.20 is eni-b in one VPC and eni-x in the other; 10.0.1.10 is in the first one only.
    let answer = arp_answer(&mut card, PortId(1), &arp_request(1, "10.0.1.10", "10.0.1.20"));
    assert_eq!(answer.sender_mac, mac(2));
    let frame = arp_request(5, "10.0.1.20", "10.0.1.10");
    card.drops_frame(PortId(5), &frame, DropReason::NoSuchNeighbor, "eni-x");
}

#[test]
fn arp_that_nobody_answers() {
    let mut card = Card::new();
    let unknown = arp_request(1, "10.0.1.10", "10.0.1.99");
    card.drops_frame(PortId(1), &unknown, DropReason::NoSuchNeighbor, "eni-a");
    // An announcement, a probe for the own address, and a reply that nobody asked for.
    for frame in [
        arp_request(1, "10.0.1.10", "10.0.1.10"),
        arp_request(1, "0.0.0.0", "10.0.1.10"),
    ] {
        card.drops_frame(PortId(1), &frame, DropReason::ArpIgnored, "eni-a");
    }
    let repr = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: mac(1),
        sender_address: ip4("10.0.1.10"),
        target_mac: mac(2),
        target_address: ip4("10.0.1.20"),
    };
    let frame = arp_frame(mac(1), repr);
    card.drops_frame(PortId(1), &frame, DropReason::ArpIgnored, "eni-a");
}

#[test]
fn spoofed_arp() {
    let mut card = Card::new();
    let frame = arp_request(1, "10.0.1.20", "10.0.1.40");
    card.drops_frame(PortId(1), &frame, DropReason::SourceAddress, "eni-a");
    let repr = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: mac(2),
        sender_address: ip4("10.0.1.10"),
        target_mac: [0; 6],
        target_address: ip4("10.0.1.40"),
    };
    let frame = arp_frame(mac(1), repr);
    card.drops_frame(PortId(1), &frame, DropReason::SourceMac, "eni-a");
}

#[test]
fn arp_finds_an_address_that_moved() {
    let mut card = Card::new();
    let moved = "10.0.1.77".parse().unwrap();
    card.edit_interface("eni-a", |i| i.ipv4.push(moved));
    let request = arp_request(4, "10.0.1.40", "10.0.1.77");
    assert_eq!(arp_answer(&mut card, PortId(4), &request).sender_mac, mac(1));
    card.edit(|tables| {
        for (id, add) in [("eni-a", false), ("eni-b", true)] {
            let Some(trinic_switch::tables::Entry::Interface(i)) = tables.entries.get_mut(id) else {
                panic!("{id}");
            };
            i.ipv4.retain(|a| *a != moved);
            if add {
                i.ipv4.push(moved);
            }
        }
    });
    assert_eq!(arp_answer(&mut card, PortId(4), &request).sender_mac, mac(2));
}

/// A Neighbor Discovery message from an interface.
fn ndp_frame(number: u8, from: &str, to: &str, message: ndp::Repr, hop_limit: u8) -> Vec<u8> {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    let message = icmpv6::Repr::Ndp(message);
    let mut out = vec![0; 200];
    let ethernet = ethernet::Repr {
        destination: ethernet::multicast_v6(to),
        source: if number == 0 { INTERNET_MAC } else { mac(number) },
        tag: None,
        ethertype: ethernet::EtherType::IPV6,
    };
    let mut len = ethernet.emit(&mut out).unwrap();
    let ip = ipv6::Repr {
        hop_limit,
        ..ipv6::Repr::new(from, to, Protocol::ICMPV6, message.buffer_len())
    };
    len += ip.emit(&mut out[len..]).unwrap();
    len += message.emit(&mut out[len..], from, to).unwrap();
    out.truncate(len);
    out
}

fn solicitation(number: u8, from: &str, target: &str) -> Vec<u8> {
    let target = target.parse().unwrap();
    let group = ipv6::solicited_node(target).to_string();
    let message = ndp::Repr::NeighborSolicitation {
        target,
        source_link: Some(mac(number)),
    };
    ndp_frame(number, from, &group, message, 255)
}

fn ndp_answer(card: &mut Card, port: PortId, frame: &[u8]) -> (ndp::Repr, IpAddr, IpAddr) {
    let sent = card.send_frame(port, frame, Offload::default());
    assert_eq!(sent.verdict, Verdict::Replied);
    let reply = sent.reply.unwrap();
    assert_checksums(&reply);
    let parsed = Parsed::parse(&reply, reply.len()).unwrap();
    let ip = parsed.ip().unwrap();
    assert_eq!(ip.ttl, 255);
    let (IpAddr::V6(from), IpAddr::V6(to)) = (ip.tuple.source, ip.tuple.destination) else {
        panic!("{ip:?}");
    };
    match icmpv6::Repr::parse(&reply[ip.transport_offset..], from, to) {
        Ok(icmpv6::Repr::Ndp(message)) => (message, from.into(), to.into()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn solicitations_are_answered_with_the_peers_mac_or_the_routers() {
    let mut card = Card::new();
    let link_local = ipv6::link_local(ROUTER_MAC).to_string();
    for (target, expected, is_router) in [
        ("2001:db8:0:1::20", mac(2), false),
        ("2001:db8:0:1::1", ROUTER_MAC, true),
        ("2001:db8:0:2::30", ROUTER_MAC, true),
        ("fd00:ec2::254", ROUTER_MAC, true),
        (link_local.as_str(), ROUTER_MAC, true),
    ] {
        let frame = solicitation(1, "2001:db8:0:1::10", target);
        let (message, from, to) = ndp_answer(&mut card, PortId(1), &frame);
        let ndp::Repr::NeighborAdvertisement {
            router,
            solicited,
            override_flag,
            target: about,
            target_link,
        } = message
        else {
            panic!("{message:?}");
        };
        assert_eq!(about.to_string(), target);
        assert_eq!(target_link, Some(expected), "{target}");
        assert_eq!(
            (router, solicited, override_flag),
            (is_router, true, true),
            "{target}"
        );
        assert_eq!(from.to_string(), target);
        assert_eq!(to.to_string(), "2001:db8:0:1::10");
    }
    // From the link-local address too.
    let own = ipv6::link_local(mac(1)).to_string();
    let (_, _, to) = ndp_answer(&mut card, PortId(1), &solicitation(1, &own, "2001:db8:0:1::20"));
    assert_eq!(to.to_string(), own);
}

#[test]
fn solicitations_that_nobody_answers() {
    let mut card = Card::new();
    let from = "2001:db8:0:1::10";
    for target in ["2001:db8:0:1::99", "fe80::1234"] {
        let frame = solicitation(1, from, target);
        card.drops_frame(PortId(1), &frame, DropReason::NoSuchNeighbor, "eni-a");
    }
    let message = ndp::Repr::NeighborSolicitation {
        target: "2001:db8:0:1::20".parse().unwrap(),
        source_link: None,
    };
    let announcement = ndp::Repr::NeighborAdvertisement {
        router: true,
        solicited: false,
        override_flag: true,
        target: "2001:db8:0:1::20".parse().unwrap(),
        target_link: Some(mac(1)),
    };
    for frame in [
        // Duplicate address detection of the own address.
        solicitation(1, "::", from),
        // A hop limit that a router has lowered, and a broken checksum.
        ndp_frame(1, from, "ff02::1", message, 254),
        {
            let mut frame = ndp_frame(1, from, "ff02::1", message, 255);
            frame[60] ^= 1;
            frame
        },
        // Nobody else hears an announcement, and no instance is a router for its neighbors.
        ndp_frame(1, from, "ff02::1", announcement, 255),
        ndp_frame(
            1,
            &ipv6::link_local(mac(1)).to_string(),
            "ff02::1",
            ndp::Repr::RouterAdvertisement(ndp::RouterAdvertisement::default()),
            255,
        ),
    ] {
        card.drops_frame(PortId(1), &frame, DropReason::NeighborIgnored, "eni-a");
    }
}

#[test]
fn an_address_that_a_neighbor_has_is_taken() {
    let mut card = Card::new();
    let frame = solicitation(1, "::", "2001:db8:0:1::20");
    let (message, _, to) = ndp_answer(&mut card, PortId(1), &frame);
    assert_eq!(to.to_string(), "ff02::1");
    assert!(matches!(
        message,
        ndp::Repr::NeighborAdvertisement { solicited: false, .. }
    ));
}

#[test]
fn router_solicitation() {
    let mut card = Card::new();
    let own = ipv6::link_local(mac(1)).to_string();
    let message = ndp::Repr::RouterSolicitation { source_link: None };
    let frame = ndp_frame(1, &own, "ff02::2", message, 255);
    let (message, from, to) = ndp_answer(&mut card, PortId(1), &frame);
    let ndp::Repr::RouterAdvertisement(router) = message else {
        panic!("{message:?}");
    };
    assert!(router.managed && router.lifetime_s > 0);
    assert_eq!(router.mtu, Some(9001));
    assert_eq!(router.source_link, Some(ROUTER_MAC));
    let prefix = router.prefixes[0].unwrap();
    assert_eq!(
        (prefix.prefix.to_string().as_str(), prefix.prefix_len),
        ("2001:db8:0:1::", 64)
    );
    assert!(prefix.on_link && !prefix.autonomous);
    assert_eq!(from, IpAddr::V6(ipv6::link_local(ROUTER_MAC)));
    assert_eq!(to.to_string(), own);
    // subnet-x has no IPv6.
    let own = ipv6::link_local(mac(5)).to_string();
    let frame = ndp_frame(
        5,
        &own,
        "ff02::2",
        ndp::Repr::RouterSolicitation { source_link: None },
        255,
    );
    card.drops_frame(PortId(5), &frame, DropReason::NeighborIgnored, "eni-x");
}

#[test]
fn the_internet_side_finds_the_card_for_every_address() {
    let mut card = Card::new();
    let request = |sender: &str, target: &str| {
        arp_frame(
            INTERNET_MAC,
            arp::Repr {
                operation: arp::Operation::Request,
                sender_mac: INTERNET_MAC,
                sender_address: ip4(sender),
                target_mac: [0; 6],
                target_address: ip4(target),
            },
        )
    };
    let answer = arp_answer(&mut card, INTERNET, &request("203.0.113.1", "198.18.0.10"));
    assert_eq!(answer.sender_mac, ROUTER_MAC);
    // The card must not tell the internet's side that its own address is taken.
    for frame in [
        request("0.0.0.0", "203.0.113.1"),
        request("203.0.113.1", "203.0.113.1"),
    ] {
        card.drops_frame(INTERNET, &frame, DropReason::ArpIgnored, "internet");
    }
    let frame = solicitation(0, "::", "2001:db8:ffff::1");
    card.drops_frame(INTERNET, &frame, DropReason::NeighborIgnored, "internet");
    let (message, ..) = ndp_answer(
        &mut card,
        INTERNET,
        &solicitation(0, "2001:db8:ffff::1", "2001:db8:0:1::10"),
    );
    assert!(matches!(
        message,
        ndp::Repr::NeighborAdvertisement {
            target_link: Some(ROUTER_MAC),
            ..
        }
    ));
}
