//! The internet gateway: translation with every kind of checksum, hairpin, hop limit, MTU.

use std::net::IpAddr;

use trinic_switch::tables::{Entry, PublicAddress, Target};
use trinic_switch::{DropReason, INTERNET_MAC, Offload, PortId, ROUTER_MAC, Verdict};
use trinic_wire::packet::Parsed;

use crate::packets::{
    L4, Pkt, ack, addresses, assert_checksums, ip, ip4, layout, mac, pkt, pseudo_sum, syn, udp,
};
use crate::support::{Card, INTERNET, everything, from_internet, route, route_table};

const A: &str = "10.0.1.10";
const A_PUBLIC: &str = "198.18.0.10";
const WORLD: &str = "203.0.113.1";

/// Panics unless the frame is an ICMP error that says this MTU, from this router, and quotes the packet.
#[track_caller]
pub(crate) fn assert_too_big(frame: &[u8], router: &str, mtu: u16, packet: &Pkt) {
    assert_checksums(frame);
    let (from, to, header, protocol) = layout(&frame[14..]);
    assert_eq!((from, to), (ip(router), packet.from));
    let message = &frame[14 + header..];
    let (kind, field) = if protocol == 1 { ([3, 4], 6) } else { ([2, 0], 6) };
    assert_eq!(message[..2], kind);
    assert_eq!(message[field..field + 2], mtu.to_be_bytes());
    assert_eq!(message[8..48], packet.packet()[..40]);
    assert_eq!(frame[..12], [packet.from_mac, ROUTER_MAC].concat());
}

#[test]
fn out_and_back() {
    let mut card = Card::new();
    for l4 in [syn(1000, 443), udp(1000, 443), L4::EchoRequest(5), L4::Raw(47)] {
        let packet = pkt(1, A, WORLD, l4);
        let frame = card.arrives(&packet, INTERNET);
        assert_eq!(addresses(&frame), (ip(A_PUBLIC), ip(WORLD)));
        assert_eq!(frame[..12], [INTERNET_MAC, ROUTER_MAC].concat());
        assert_eq!(Parsed::parse(&frame, frame.len()).unwrap().ip().unwrap().ttl, 63);

        let mut back = packet.answer(0).by(INTERNET_MAC);
        back.to = ip(A_PUBLIC);
        let frame = card.arrives(&back, PortId(1));
        assert_eq!(addresses(&frame), (ip(WORLD), ip(A)));
        assert_eq!(frame[..12], [mac(1), ROUTER_MAC].concat());
        assert_eq!(Parsed::parse(&frame, frame.len()).unwrap().ip().unwrap().ttl, 63);
    }
    let internet = card.switch.internet_counters();
    assert_eq!((internet.packets_in, internet.packets_out), (4, 4));
}

#[test]
fn inbound_through_the_group() {
    let mut card = Card::new();
    let open = from_internet(WORLD, A_PUBLIC, syn(1000, 80));
    card.arrives(&open, PortId(1));
    let answer = pkt(1, A, WORLD, ack(80, 1000));
    card.arrives(&answer, INTERNET);
    let closed = from_internet(WORLD, A_PUBLIC, syn(1000, 443));
    card.drops(&closed, DropReason::SecurityGroupInbound, "eni-a");
}

/// A checksum that is still to be made holds the pseudo header's sum; the receiver completes it.
fn offloaded(packet: &Pkt) -> (Vec<u8>, usize) {
    let mut frame = packet.frame();
    let (from, to, header, protocol) = layout(&frame[14..]);
    let field = 14 + header + if protocol == 6 { 16 } else { 6 };
    let len = frame.len() - 14 - header;
    let sum = pseudo_sum(from, to, protocol, len);
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    (frame, field)
}

#[test]
fn offloaded_checksums_hold_the_new_pseudo_header() {
    let mut card = Card::new();
    let offload = Offload {
        checksum_partial: true,
        gso_size: 0,
    };
    for l4 in [syn(1000, 443), udp(1000, 443)] {
        let packet = pkt(1, A, WORLD, l4.clone());
        let (frame, field) = offloaded(&packet);
        let sent = card.send_frame(PortId(1), &frame, offload);
        assert_eq!(sent.verdict, Verdict::Forward { to: INTERNET });
        let mut expected = packet.clone();
        expected.from = ip(A_PUBLIC);
        expected.ttl = 63;
        expected.from_mac = ROUTER_MAC;
        expected.to_mac = INTERNET_MAC;
        let (wanted, _) = offloaded(&expected);
        assert_eq!(sent.frame[field..field + 2], wanted[field..field + 2], "{l4:?}");
        assert_eq!(sent.frame, wanted);

        let mut back = packet.answer(0).by(INTERNET_MAC);
        back.to = ip(A_PUBLIC);
        let (frame, _) = offloaded(&back);
        let sent = card.send_frame(INTERNET, &frame, offload);
        assert_eq!(sent.verdict, Verdict::Forward { to: PortId(1) });
        let mut expected = back.clone();
        expected.to = ip(A);
        expected.ttl = 63;
        expected.from_mac = ROUTER_MAC;
        expected.to_mac = mac(1);
        assert_eq!(sent.frame, offloaded(&expected).0);
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut card = Card::new();
    let mut frame = pkt(1, A, WORLD, udp(1, 2)).frame();
    frame[14 + 20 + 6..14 + 20 + 8].fill(0);
    let sent = card.send_frame(PortId(1), &frame, Offload::default());
    assert_eq!(sent.verdict, Verdict::Forward { to: INTERNET });
    assert_eq!(sent.frame[14 + 20 + 6..14 + 20 + 8], [0, 0]);
    assert_checksums(&sent.frame);
}

#[test]
fn checksums_of_every_payload_survive() {
    let mut card = Card::new();
    card.edit_group("sg-web", |g| g.inbound = everything("sgr-in"));
    // Sizes that walk the sum through all its carries, the zero of UDP included.
    for size in 0..600 {
        card.arrives(&pkt(1, A, WORLD, udp(size as u16, 2)).payload(size), INTERNET);
        card.arrives(
            &from_internet(WORLD, A_PUBLIC, udp(size as u16, 2)).payload(size),
            PortId(1),
        );
    }
}

#[test]
fn errors_are_translated_inside_out() {
    let mut card = Card::new();
    for l4 in [udp(1000, 33434), syn(1000, 443), L4::EchoRequest(5)] {
        let packet = pkt(1, A, WORLD, l4);
        let sent = card.arrives(&packet, INTERNET);
        // A router in between says that the packet's time is over; it quotes what it saw.
        let mut seen = packet.clone();
        seen.from = ip(A_PUBLIC);
        seen.ttl = 1;
        let error = seen.error(0, "203.0.113.77", 11, 0).by(INTERNET_MAC);
        let frame = card.arrives(&error, PortId(1));
        assert_eq!(addresses(&frame), (ip("203.0.113.77"), ip(A)));
        // The quoted packet is the one that A sent: its header is intact, and so is UDP's checksum.
        let quote = &frame[14 + 20 + 8..];
        let (from, to, ..) = layout(quote);
        assert_eq!((from, to), (ip(A), ip(WORLD)));
        let mut original = packet.clone();
        original.ttl = 1;
        assert_eq!(quote, &original.packet()[..28]);
        assert_eq!(addresses(&sent), (ip(A_PUBLIC), ip(WORLD)));
    }
    // The other way: A refuses what came from the internet.
    let hello = from_internet(WORLD, A_PUBLIC, syn(1000, 80));
    card.arrives(&hello, PortId(1));
    let mut seen = hello.clone();
    seen.to = ip(A);
    let error = seen.error(1, A, 3, 3);
    let frame = card.arrives(&error, INTERNET);
    assert_eq!(addresses(&frame), (ip(A_PUBLIC), ip(WORLD)));
    assert_eq!(&frame[14 + 20 + 8..], &hello.packet()[..28]);
}

#[test]
fn an_error_about_nothing_stays_outside() {
    let mut card = Card::new();
    let mut seen = pkt(1, A, WORLD, udp(1, 33434));
    seen.from = ip(A_PUBLIC);
    let error = seen.error(0, "203.0.113.77", 11, 0).by(INTERNET_MAC);
    card.drops(&error, DropReason::SecurityGroupInbound, "eni-a");
}

#[test]
fn no_public_address() {
    let mut card = Card::new();
    card.drops(
        &pkt(2, "10.0.1.20", WORLD, syn(1, 80)),
        DropReason::NoPublicAddress,
        "eni-b",
    );
    // A secondary address needs its own.
    card.edit_interface("eni-a", |i| i.ipv4.push(ip4("10.0.1.77")));
    let packet = pkt(1, "10.0.1.77", WORLD, syn(1, 80));
    card.drops(&packet, DropReason::NoPublicAddress, "eni-a");
    card.edit_interface("eni-a", |i| {
        i.public.push(PublicAddress {
            private: ip4("10.0.1.77"),
            public: ip4("198.18.0.77"),
        });
    });
    let frame = card.arrives(&packet, INTERNET);
    assert_eq!(addresses(&frame).0, ip("198.18.0.77"));
    // A router cannot borrow the address of the one it routes for.
    card.edit_interface("eni-r", |i| i.source_dest_check = false);
    card.drops(
        &pkt(4, A, WORLD, syn(1, 80)),
        DropReason::NoPublicAddress,
        "eni-r",
    );
}

#[test]
fn unknown_public_address() {
    let mut card = Card::new();
    for to in ["198.18.0.11", A, "8.8.8.8", "2001:db8:0:1::99"] {
        let from = if to.contains(':') {
            "2001:db8:ffff::1"
        } else {
            WORLD
        };
        let packet = from_internet(from, to, syn(1, 80));
        card.drops(&packet, DropReason::NoSuchPublicAddress, "internet");
    }
}

#[test]
fn an_elastic_address_moves() {
    let mut card = Card::new();
    let packet = from_internet(WORLD, A_PUBLIC, syn(1, 80));
    card.arrives(&packet, PortId(1));
    card.edit(|tables| {
        for (id, public) in [("eni-a", None), ("eni-b", Some("10.0.1.20"))] {
            let Some(Entry::Interface(i)) = tables.entries.get_mut(id) else {
                panic!("{id}");
            };
            i.public = public
                .map(|private| PublicAddress {
                    private: ip4(private),
                    public: ip4(A_PUBLIC),
                })
                .into_iter()
                .collect();
        }
    });
    card.arrives(&packet, PortId(2));
    card.drops(
        &pkt(1, A, WORLD, syn(1, 80)),
        DropReason::NoPublicAddress,
        "eni-a",
    );
}

#[test]
fn hairpin_between_public_addresses() {
    let mut card = Card::new();
    // A to the other VPC's eni-x, through both gateways.
    let packet = pkt(1, A, "198.18.0.99", syn(1000, 80));
    let frame = card.arrives(&packet, PortId(5));
    assert_eq!(addresses(&frame), (ip(A_PUBLIC), ip("10.0.1.20")));
    assert_eq!(frame[..12], [mac(5), ROUTER_MAC].concat());
    let answer = pkt(5, "10.0.1.20", A_PUBLIC, ack(80, 1000));
    let frame = card.arrives(&answer, PortId(1));
    assert_eq!(addresses(&frame), (ip("198.18.0.99"), ip(A)));
    // Both gates run, and the receiver's sees the public address: a group reference does not match it.
    card.edit_group("sg-web", |g| {
        g.inbound = vec![crate::support::rule(
            "sgr-g",
            crate::support::ANY,
            (-1, -1),
            "sg-open",
        )];
    });
    card.arrives(&pkt(4, "10.0.1.40", A, udp(1, 2)), PortId(1));
    let hairpin = pkt(4, "10.0.1.40", A_PUBLIC, udp(1, 2));
    card.drops(&hairpin, DropReason::SecurityGroupInbound, "eni-a");
    card.edit_group("sg-open", |g| g.outbound.clear());
    card.drops(&hairpin, DropReason::SecurityGroupOutbound, "eni-r");
}

#[test]
fn hairpin_to_the_own_public_address() {
    let mut card = Card::new();
    let packet = pkt(4, "10.0.1.40", "198.18.0.40", udp(1, 2));
    let frame = card.arrives(&packet, PortId(4));
    assert_eq!(addresses(&frame), (ip("198.18.0.40"), ip("10.0.1.40")));
    card.edit_group("sg-open", |g| g.inbound.clear());
    card.drops(&packet, DropReason::SecurityGroupInbound, "eni-r");
}

#[test]
fn hairpin_with_offloaded_checksum_and_errors() {
    let mut card = Card::new();
    let packet = pkt(1, A, "198.18.0.99", udp(1000, 80));
    let (frame, _) = offloaded(&packet);
    let offload = Offload {
        checksum_partial: true,
        gso_size: 0,
    };
    let sent = card.send_frame(PortId(1), &frame, offload);
    let mut expected = packet.clone();
    (expected.from, expected.to) = (ip(A_PUBLIC), ip("10.0.1.20"));
    (expected.from_mac, expected.to_mac, expected.ttl) = (ROUTER_MAC, mac(5), 63);
    assert_eq!(sent.frame, offloaded(&expected).0);
    // eni-x has no listener: its error goes back through both gateways, and A recognizes its packet.
    let error = expected.error(5, "10.0.1.20", 3, 3);
    let frame = card.arrives(&error, PortId(1));
    assert_eq!(addresses(&frame), (ip("198.18.0.99"), ip(A)));
    let mut original = packet.clone();
    original.ttl = 63;
    assert_eq!(&frame[14 + 20 + 8..], &original.packet()[..28]);
}

#[test]
fn ipv6_passes_untranslated() {
    let mut card = Card::new();
    let packet = pkt(1, "2001:db8:0:1::10", "2001:db8:ffff::1", syn(1000, 443));
    let frame = card.arrives(&packet, INTERNET);
    assert_eq!(addresses(&frame), (packet.from, packet.to));
    assert_eq!(Parsed::parse(&frame, frame.len()).unwrap().ip().unwrap().ttl, 63);
    let back = packet.answer(0).by(INTERNET_MAC);
    card.arrives(&back, PortId(1));
    let new = from_internet("2001:db8:ffff::1", "2001:db8:0:1::10", syn(1, 443));
    card.drops(&new, DropReason::SecurityGroupInbound, "eni-a");
    // subnet-2 leads to no gateway, but its interface is in a VPC that has one.
    let out = pkt(3, "2001:db8:0:2::30", "2001:db8:ffff::1", syn(1, 443));
    card.drops(&out, DropReason::NoRoute, "eni-c");
}

#[test]
fn a_vpc_without_a_gateway_cannot_be_reached() {
    let mut card = Card::new();
    card.put(route_table(
        "rtb-1",
        "vpc-1",
        vec![route("0.0.0.0/0", Target::Blackhole)],
    ));
    let packet = from_internet(WORLD, A_PUBLIC, syn(1, 80));
    card.drops(&packet, DropReason::NoSuchPublicAddress, "internet");
    let packet6 = from_internet("2001:db8:ffff::1", "2001:db8:0:1::10", syn(1, 80));
    card.drops(&packet6, DropReason::NoSuchPublicAddress, "internet");
    card.drops(&pkt(1, A, WORLD, syn(1, 80)), DropReason::Blackhole, "eni-a");
    // The other VPC still has one.
    card.arrives(&from_internet(WORLD, "198.18.0.99", syn(1, 80)), PortId(5));
}

#[test]
fn private_destinations_do_not_leave() {
    let mut card = Card::new();
    for to in ["192.168.1.1", "172.16.0.1", "10.99.0.1", "100.64.0.1"] {
        card.drops(
            &pkt(1, A, to, syn(1, 80)),
            DropReason::DestinationAddress,
            "eni-a",
        );
    }
    let packet = pkt(1, "2001:db8:0:1::10", "fd12::1", syn(1, 80));
    card.drops(&packet, DropReason::DestinationAddress, "eni-a");
}

#[test]
fn no_internet_connected() {
    let mut card = Card::new();
    card.switch.disconnect(INTERNET);
    card.drops(&pkt(1, A, WORLD, syn(1, 80)), DropReason::NoInternet, "eni-a");
    // Hairpins need no internet.
    card.arrives(&pkt(1, A, "198.18.0.99", syn(1, 80)), PortId(5));
}

#[test]
fn hop_limit_runs_out_at_the_gateway() {
    let mut card = Card::new();
    let packet = pkt(1, A, WORLD, udp(1, 33434)).ttl(1);
    let sent = card.drops(&packet, DropReason::TtlExceeded, "eni-a");
    let reply = sent.reply.unwrap();
    assert_checksums(&reply);
    assert_eq!(addresses(&reply), (ip("10.0.1.1"), ip(A)));
    assert_eq!(reply[34..36], [11, 0]);
    // It quotes the packet as A sent it.
    assert_eq!(reply[42..70], packet.packet()[..28]);
    let counters = card.counters("eni-a");
    assert_eq!((counters.replies, counters.packets_in), (1, 1));

    let inbound = from_internet(WORLD, A_PUBLIC, syn(1, 80)).ttl(1);
    let sent = card.drops(&inbound, DropReason::TtlExceeded, "internet");
    assert_eq!(addresses(&sent.reply.unwrap()).0, ip("192.0.0.8"));

    let packet6 = pkt(1, "2001:db8:0:1::10", "2001:db8:ffff::1", udp(1, 33434)).ttl(1);
    let sent = card.drops(&packet6, DropReason::TtlExceeded, "eni-a");
    let reply = sent.reply.unwrap();
    assert_checksums(&reply);
    assert_eq!(addresses(&reply).0, ip("2001:db8:0:1::1"));
    // No error about an error.
    let error = pkt(1, A, WORLD, syn(1, 2)).error(1, A, 3, 3).ttl(1);
    let mut error = error;
    error.to = ip(WORLD);
    let quiet = card.send(&error);
    assert_eq!(quiet.reply, None);
}

#[test]
fn mtu_of_the_gateway() {
    let mut card = Card::new();
    let fits = pkt(1, A, WORLD, udp(1, 2)).payload(1500 - 28);
    card.arrives(&fits, INTERNET);
    let large = pkt(1, A, WORLD, udp(1, 2)).payload(1500 - 27);
    let sent = card.drops(&large, DropReason::MtuExceeded, "eni-a");
    assert_too_big(&sent.reply.unwrap(), "10.0.1.1", 1500, &large);
    card.drops(
        &large.clone().may_fragment(),
        DropReason::FragmentationNeeded,
        "eni-a",
    );
    let large6 = pkt(1, "2001:db8:0:1::10", "2001:db8:ffff::1", syn(1, 2)).payload(1500 - 59);
    let sent = card.drops(&large6, DropReason::MtuExceeded, "eni-a");
    assert_too_big(&sent.reply.unwrap(), "2001:db8:0:1::1", 1500, &large6);
    // Hairpins pass the gateways too.
    let hairpin = pkt(1, A, "198.18.0.99", udp(1, 2)).payload(1500);
    card.drops(&hairpin, DropReason::MtuExceeded, "eni-a");
    // Super-frames are judged by their segments.
    let frame = pkt(1, A, WORLD, ack(1, 2)).payload(20_000).frame();
    for (gso_size, verdict) in [
        (1460, Verdict::Forward { to: INTERNET }),
        (1461, Verdict::Drop(DropReason::MtuExceeded)),
        (0, Verdict::Drop(DropReason::MtuExceeded)),
    ] {
        let offload = Offload {
            checksum_partial: true,
            gso_size,
        };
        assert_eq!(
            card.send_frame(PortId(1), &frame, offload).verdict,
            verdict,
            "{gso_size}"
        );
    }
}

#[test]
fn the_internets_mac_is_learned() {
    let mut card = Card::new();
    let own = [2, 0, 0, 0, 9, 9];
    let frame = from_internet(WORLD, A_PUBLIC, syn(1, 80)).by(own).frame();
    let sent = card.send_frame(INTERNET, &frame, Offload::default());
    assert_eq!(sent.verdict, Verdict::Forward { to: PortId(1) });
    let frame = card.arrives(&pkt(1, A, WORLD, syn(1, 80)), INTERNET);
    assert_eq!(frame[..6], own);
}

#[test]
fn multicast_from_the_internet() {
    let mut card = Card::new();
    let packet = from_internet(WORLD, "224.0.0.1", udp(1, 2)).via([1, 0, 0x5e, 0, 0, 1]);
    card.drops(&packet, DropReason::Multicast, "internet");
}

#[test]
fn fragments_are_translated_too() {
    let mut card = Card::new();
    let packet = pkt(1, A, WORLD, udp(1000, 2000)).may_fragment().payload(64);
    let mut payload: Vec<u8> = Vec::new();
    for frame in packet.fragments(32) {
        let sent = card.send_frame(PortId(1), &frame, Offload::default());
        assert_eq!(sent.verdict, Verdict::Forward { to: INTERNET });
        assert_eq!(addresses(&sent.frame), (ip(A_PUBLIC), ip(WORLD)));
        payload.extend(&sent.frame[34..]);
    }
    let mut whole = packet.clone();
    whole.from = IpAddr::V4(ip4(A_PUBLIC));
    assert_eq!(payload, whole.transport());
}
