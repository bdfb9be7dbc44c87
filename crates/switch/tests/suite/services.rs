//! Link-local services: exempt from security groups, and nothing of them leaves the card.

use std::time::Duration;

use trinic_switch::tables::Entry;
use trinic_switch::{Config, DropReason, Offload, PortId, ROUTER_MAC, Verdict};
use trinic_wire::ethernet::BROADCAST;
use trinic_wire::ipv6;

use crate::packets::{L4, addresses, assert_checksums, ip, mac, pkt, syn, udp};
use crate::support::Card;

/// Groups that let nothing through.
fn closed() -> Card {
    let mut card = Card::new();
    card.edit_group("sg-web", |g| {
        g.inbound.clear();
        g.outbound.clear();
    });
    card
}

#[test]
fn services_pass_whatever_the_groups_say() {
    let mut card = closed();
    let mut sent = 0;
    for (from, to) in [
        ("10.0.1.10", "169.254.169.254"),
        ("10.0.1.10", "169.254.169.253"),
        ("10.0.1.10", "169.254.169.123"),
        ("10.0.1.10", "10.0.0.2"),
        ("10.0.1.10", "10.0.1.2"),
        ("2001:db8:0:1::10", "fd00:ec2::254"),
        ("2001:db8:0:1::10", "fd00:ec2::253"),
        ("2001:db8:0:1::10", "fd00:ec2::123"),
    ] {
        for l4 in [syn(40000, 80), udp(40000, 53)] {
            let packet = pkt(1, from, to, l4);
            let answer = card.send(&packet);
            assert_eq!(answer.verdict, Verdict::Service { port: PortId(1) }, "{to}");
            assert_eq!(
                answer.frame,
                packet.frame(),
                "the frame is handed over as it came"
            );
            sent += 1;
        }
    }
    let counters = card.counters("eni-a");
    assert_eq!((counters.services, counters.dropped_total()), (sent, 0));
    card.drops(
        &pkt(1, "10.0.1.10", "10.0.1.20", syn(1, 80)),
        DropReason::SecurityGroupOutbound,
        "eni-a",
    );
}

#[test]
fn dhcp() {
    let mut card = closed();
    let discover = pkt(1, "0.0.0.0", "255.255.255.255", udp(68, 67)).via(BROADCAST);
    let renew = pkt(1, "10.0.1.10", "10.0.1.1", udp(68, 67));
    for packet in [discover, renew] {
        assert_eq!(card.send(&packet).verdict, Verdict::Service { port: PortId(1) });
    }
    // Another instance is no server, and a server's reply of an instance goes nowhere.
    let to_peer = pkt(1, "10.0.1.10", "10.0.1.20", udp(68, 67));
    card.drops(&to_peer, DropReason::SecurityGroupOutbound, "eni-a");
    let offer = pkt(1, "10.0.1.10", "255.255.255.255", udp(67, 68)).via(BROADCAST);
    card.drops(&offer, DropReason::Multicast, "eni-a");
}

#[test]
fn dhcpv6() {
    let mut card = closed();
    let own = ipv6::link_local(mac(1)).to_string();
    let servers_mac = [0x33, 0x33, 0, 1, 0, 2];
    let solicit = pkt(1, &own, "ff02::1:2", udp(546, 547)).via(servers_mac);
    let answer = card.send(&solicit);
    assert_eq!(answer.verdict, Verdict::Service { port: PortId(1) });
    assert_eq!(answer.frame, solicit.frame());
    // Other ports, other groups and others' addresses are what they always were.
    for (to, l4) in [
        ("ff02::1:2", udp(547, 546)),
        ("ff02::1:2", udp(546, 5353)),
        ("ff02::fb", udp(546, 547)),
    ] {
        let packet = pkt(1, &own, to, l4).via(servers_mac);
        card.drops(&packet, DropReason::Multicast, "eni-a");
    }
    let spoofed = pkt(1, "fe80::1234", "ff02::1:2", udp(546, 547)).via(servers_mac);
    card.drops(&spoofed, DropReason::SourceAddress, "eni-a");
}

#[test]
fn link_local_packets_never_leave() {
    let mut card = Card::new();
    card.edit_interface("eni-r", |i| i.source_dest_check = false);
    for (from, to) in [
        ("10.0.1.40", "169.254.1.1"),
        ("10.0.1.40", "169.254.169.252"),
        ("2001:db8:0:1::40", "fd00:ec2::1"),
        ("2001:db8:0:1::40", "fe80::1"),
    ] {
        // Neither through the router nor to a neighbor's MAC.
        for to_mac in [ROUTER_MAC, mac(2)] {
            let packet = pkt(4, from, to, udp(1, 2)).via(to_mac);
            card.drops(&packet, DropReason::LinkLocalUnknown, "eni-r");
        }
    }
}

#[test]
fn resolver_follows_dns_support() {
    let mut card = Card::new();
    card.edit(|tables| match tables.entries.get_mut("vpc-1") {
        Some(Entry::Vpc(vpc)) => vpc.dns_support = false,
        other => panic!("{other:?}"),
    });
    for to in ["169.254.169.253", "10.0.0.2"] {
        let query = pkt(1, "10.0.1.10", to, udp(40000, 53));
        card.drops(&query, DropReason::ResolverDisabled, "eni-a");
    }
    let metadata = pkt(1, "10.0.1.10", "169.254.169.254", syn(1, 80));
    assert_eq!(card.send(&metadata).verdict, Verdict::Service { port: PortId(1) });
}

#[test]
fn the_router_answers_echo_requests_only() {
    let mut card = closed();
    let link_local = ipv6::link_local(ROUTER_MAC).to_string();
    for (from, router) in [
        ("10.0.1.10", "10.0.1.1"),
        ("2001:db8:0:1::10", "2001:db8:0:1::1"),
        ("2001:db8:0:1::10", link_local.as_str()),
    ] {
        let request = pkt(1, from, router, L4::EchoRequest(7)).payload(3000);
        let sent = card.send(&request);
        assert_eq!(sent.verdict, Verdict::Forward { to: PortId(1) }, "{router}");
        assert_checksums(&sent.frame);
        assert_eq!(addresses(&sent.frame), (ip(router), ip(from)));
        assert_eq!(sent.frame[..12], [mac(1), ROUTER_MAC].concat());
        let mut expected = request.answer(1).by(ROUTER_MAC).via(mac(1));
        expected.ttl = 64;
        assert_eq!(sent.frame, expected.frame());
        for l4 in [syn(1, 80), udp(1, 53), L4::EchoReply(7)] {
            let packet = pkt(1, from, router, l4);
            card.drops(&packet, DropReason::RouterRefused, "eni-a");
        }
    }
    assert_eq!(card.counters("eni-a").replies, 3);
}

#[test]
fn allowance_of_packets_per_second() {
    let mut card = Card::with(Config {
        link_local_packets_per_s: 10,
        ..Config::default()
    });
    let query = pkt(1, "10.0.1.10", "10.0.0.2", udp(40000, 53));
    for _ in 0..10 {
        assert_eq!(card.send(&query).verdict, Verdict::Service { port: PortId(1) });
    }
    card.drops(&query, DropReason::LinkLocalAllowance, "eni-a");
    // Others have their own, and the next second brings a new one.
    let other = pkt(2, "10.0.1.20", "10.0.0.2", udp(40000, 53));
    assert_eq!(card.send(&other).verdict, Verdict::Service { port: PortId(2) });
    card.wait(Duration::from_secs(1));
    assert_eq!(card.send(&query).verdict, Verdict::Service { port: PortId(1) });
    assert_eq!(
        DropReason::LinkLocalAllowance.name(),
        "linklocal-allowance-exceeded"
    );
}

#[test]
fn replies_of_services_are_counted() {
    let mut card = Card::new();
    card.switch.service_reply(PortId(1), 342);
    let counters = card.counters("eni-a");
    assert_eq!((counters.packets_in, counters.bytes_in), (1, 342));
}

#[test]
fn an_unattached_interface_has_no_services() {
    let mut card = Card::new();
    card.edit_interface("eni-a", |i| i.instance_id = None);
    let metadata = pkt(1, "10.0.1.10", "169.254.169.254", syn(1, 80));
    card.drops(&metadata, DropReason::Unattached, "eni-a");
}

#[test]
fn spoofed_requests_to_services_are_dropped() {
    let mut card = Card::new();
    let metadata = pkt(1, "10.0.1.20", "169.254.169.254", syn(1, 80));
    card.drops(&metadata, DropReason::SourceAddress, "eni-a");
    let frame = pkt(1, "10.0.1.10", "169.254.169.254", syn(1, 80)).frame();
    let sent = card.send_frame(PortId(2), &frame, Offload::default());
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::SourceMac));
}
