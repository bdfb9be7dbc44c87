//! Who may send what: MACs, addresses, broken frames, broadcast.

use trinic_switch::{DropReason, Offload, PortId};
use trinic_wire::Protocol;

use crate::packets::{L4, mac, pkt, syn, udp};
use crate::support::{Card, INTERNET};

#[test]
fn own_address_passes() {
    let mut card = Card::new();
    card.arrives(&pkt(1, "10.0.1.10", "10.0.1.20", syn(1, 80)), PortId(2));
    let v6 = pkt(1, "2001:db8:0:1::10", "2001:db8:0:1::20", syn(1, 80));
    card.arrives(&v6, PortId(2));
}

#[test]
fn foreign_mac() {
    let mut card = Card::new();
    let packet = pkt(1, "10.0.1.10", "10.0.1.20", syn(1, 80)).by(mac(2));
    let frame = packet.frame();
    card.drops_frame(PortId(1), &frame, DropReason::SourceMac, "eni-a");
}

#[test]
fn foreign_address() {
    let mut card = Card::new();
    for (from, to) in [
        ("10.0.1.11", "10.0.1.20"),
        ("198.18.0.10", "10.0.1.20"),
        ("0.0.0.0", "10.0.1.20"),
        ("2001:db8:0:1::11", "2001:db8:0:1::20"),
        // Link-local addresses stay on the link, and only the one that the MAC makes is there.
        ("fe80::ff:fe00:1", "2001:db8:0:1::20"),
        ("fe80::1", "ff02::1"),
        ("::", "2001:db8:0:1::20"),
    ] {
        card.drops(&pkt(1, from, to, udp(1, 80)), DropReason::SourceAddress, "eni-a");
    }
}

#[test]
fn without_the_check_other_hosts_addresses_pass_but_no_impossible_ones() {
    let mut card = Card::new();
    card.edit_interface("eni-r", |i| i.source_dest_check = false);
    card.arrives(&pkt(4, "192.168.7.7", "10.0.1.20", syn(1, 80)), PortId(2));
    for from in [
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "250.1.1.1",
    ] {
        let packet = pkt(4, from, "10.0.1.20", udp(1, 80));
        card.drops(&packet, DropReason::SourceAddress, "eni-r");
    }
    let frame = pkt(4, "10.0.1.40", "10.0.1.20", syn(1, 80)).by(mac(9)).frame();
    card.drops_frame(PortId(4), &frame, DropReason::SourceMac, "eni-r");
}

#[test]
fn secondary_addresses_and_delegated_prefixes_are_own() {
    let mut card = Card::new();
    card.edit_interface("eni-a", |i| {
        i.ipv4.push("10.0.1.77".parse().unwrap());
        i.ipv4_prefixes.push("10.0.1.160/28".parse().unwrap());
        i.ipv6_prefixes.push("2001:db8:0:1:aaaa::/80".parse().unwrap());
    });
    for (from, to) in [
        ("10.0.1.77", "10.0.1.20"),
        ("10.0.1.165", "10.0.1.20"),
        ("2001:db8:0:1:aaaa::5", "2001:db8:0:1::20"),
    ] {
        let packet = pkt(1, from, to, syn(1, 80));
        card.arrives(&packet, PortId(2));
        card.arrives(&packet.answer(2), PortId(1));
    }
    let outside = pkt(1, "10.0.1.176", "10.0.1.20", syn(1, 80));
    card.drops(&outside, DropReason::SourceAddress, "eni-a");
}

#[test]
fn malformed_frames() {
    let mut card = Card::new();
    let good = pkt(1, "10.0.1.10", "10.0.1.20", udp(1, 53)).frame();
    let mut frames = vec![
        Vec::new(),
        good[..13].to_vec(),
        good[..30].to_vec(),
        good[..40].to_vec(),
    ];
    // A version, a header length, a checksum and a UDP length that cannot be.
    for (at, value) in [(14, 0x55), (14, 0x44), (24, 0xff), (39, 0xff)] {
        let mut frame = good.clone();
        frame[at] = value;
        frames.push(frame);
    }
    for frame in frames {
        card.drops_frame(PortId(1), &frame, DropReason::Malformed, "eni-a");
    }
}

#[test]
fn ttl_zero() {
    let mut card = Card::new();
    let packet = pkt(1, "10.0.1.10", "10.0.1.20", syn(1, 80)).ttl(0);
    card.drops(&packet, DropReason::TtlExceeded, "eni-a");
}

#[test]
fn other_ether_types_and_tags() {
    let mut card = Card::new();
    let mut frame = pkt(1, "10.0.1.10", "10.0.1.20", syn(1, 80)).frame();
    frame[12..14].copy_from_slice(&[0x88, 0xcc]);
    card.drops_frame(PortId(1), &frame, DropReason::UnsupportedEtherType, "eni-a");
    let mut tagged = pkt(1, "10.0.1.10", "10.0.1.20", syn(1, 80)).frame();
    tagged.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
    card.drops_frame(PortId(1), &tagged, DropReason::UnsupportedEtherType, "eni-a");
}

#[test]
fn broadcast_and_multicast() {
    let mut card = Card::new();
    for (to, address) in [
        ([0xff; 6], "255.255.255.255"),
        ([0x01, 0, 0x5e, 0, 0, 0xfb], "224.0.0.251"),
        ([0xff; 6], "10.0.1.255"),
        (trinic_switch::ROUTER_MAC, "10.0.1.255"),
        (trinic_switch::ROUTER_MAC, "239.1.1.1"),
        // A unicast address in a frame for everyone.
        ([0xff; 6], "10.0.1.20"),
    ] {
        let packet = pkt(1, "10.0.1.10", address, udp(5353, 5353)).via(to);
        card.drops(&packet, DropReason::Multicast, "eni-a");
    }
    let packet = pkt(1, "2001:db8:0:1::10", "ff02::fb", udp(5353, 5353)).via([0x33, 0x33, 0, 0, 0, 0xfb]);
    card.drops(&packet, DropReason::Multicast, "eni-a");
}

#[test]
fn no_hosts_address_as_destination() {
    let mut card = Card::new();
    for address in ["0.0.0.0", "127.0.0.1", "240.0.0.1", "0.1.2.3"] {
        let packet = pkt(1, "10.0.1.10", address, udp(1, 1));
        card.drops(&packet, DropReason::DestinationAddress, "eni-a");
    }
}

#[test]
fn unattached_sender_and_receiver() {
    let mut card = Card::new();
    card.edit_interface("eni-b", |i| i.instance_id = None);
    let to_b = pkt(1, "10.0.1.10", "10.0.1.20", syn(1, 80));
    card.drops(&to_b, DropReason::DestinationUnattached, "eni-b");
    let from_b = pkt(2, "10.0.1.20", "10.0.1.10", syn(1, 80));
    card.drops(&from_b, DropReason::Unattached, "eni-b");
}

#[test]
fn unknown_port() {
    let mut card = Card::new();
    let frame = pkt(9, "10.0.1.10", "10.0.1.20", syn(1, 80)).frame();
    let sent = card.send_frame(PortId(77), &frame, Offload::default());
    assert_eq!(
        sent.verdict,
        trinic_switch::Verdict::Drop(DropReason::UnknownPort)
    );
    assert_eq!(card.switch.unknown_port_drops(), 1);
}

#[test]
fn the_internet_cannot_pretend_to_be_inside() {
    let mut card = Card::new();
    for from in [
        "10.0.1.20",
        "192.168.1.1",
        "100.64.1.1",
        "198.18.0.99",
        "127.0.0.1",
        "224.0.0.1",
    ] {
        let packet = crate::support::from_internet(from, "198.18.0.10", L4::EchoRequest(1));
        let frame = packet.frame();
        card.drops_frame(INTERNET, &frame, DropReason::SourceAddress, "internet");
    }
    for from in ["2001:db8:0:1::20", "2001:db8:0:77::1", "fd00::1"] {
        let packet = crate::support::from_internet(from, "2001:db8:0:1::10", L4::EchoRequest(1));
        card.drops(&packet, DropReason::SourceAddress, "internet");
    }
}

#[test]
fn protocols_without_ports_are_not_malformed() {
    let mut card = Card::new();
    let packet = pkt(1, "10.0.1.10", "10.0.1.40", L4::Raw(Protocol::ESP.0));
    card.arrives(&packet, PortId(4));
}
