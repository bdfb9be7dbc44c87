//! Routing inside a VPC, next hops, source/dest check, MTU, and two VPCs of the same CIDR.

use trinic_switch::tables::Target;
use trinic_switch::{DropReason, Offload, PortId, ROUTER_MAC};
use trinic_wire::packet::Parsed;

use crate::packets::{L4, mac, pkt, syn, udp};
use crate::support::{Card, route, route_table};

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";
const C: &str = "10.0.2.30";
const R: &str = "10.0.1.40";

#[test]
fn neighbors_keep_the_senders_mac_and_routed_packets_have_the_routers() {
    let mut card = Card::new();
    let frame = card.arrives(&pkt(1, A, B, syn(1, 80)).via(mac(2)), PortId(2));
    assert_eq!(frame[..12], [mac(2), mac(1)].concat());
    let frame = card.arrives(&pkt(1, A, C, udp(1, 7000)), PortId(3));
    assert_eq!(frame[..12], [mac(3), ROUTER_MAC].concat());
}

#[test]
fn the_ttl_stays_inside_a_vpc() {
    let mut card = Card::new();
    let packet = pkt(1, A, C, udp(1, 7000)).ttl(1);
    let frame = card.arrives(&packet, PortId(3));
    let parsed = Parsed::parse(&frame, frame.len()).unwrap();
    assert_eq!(parsed.ip().unwrap().ttl, 1);
    assert_eq!(frame[14..], packet.frame()[14..]);
}

#[test]
fn nobody_owns_the_address() {
    let mut card = Card::new();
    for to in ["10.0.1.99", "10.0.3.1", "2001:db8:0:1::99"] {
        let from = if to.contains(':') { "2001:db8:0:1::10" } else { A };
        card.drops(&pkt(1, from, to, syn(1, 80)), DropReason::NoSuchAddress, "eni-a");
    }
}

#[test]
fn no_route() {
    let mut card = Card::new();
    card.drops(&pkt(3, C, "8.8.8.8", udp(1, 53)), DropReason::NoRoute, "eni-c");
    // A subnet whose route table is gone has none at all.
    card.edit(|tables| {
        tables.entries.remove("rtb-2");
    });
    card.drops(&pkt(3, C, A, udp(1, 53)), DropReason::NoRoute, "eni-c");
}

#[test]
fn blackhole() {
    let mut card = Card::new();
    card.put(route_table(
        "rtb-2",
        "vpc-1",
        vec![route("8.0.0.0/8", Target::Blackhole)],
    ));
    card.drops(&pkt(3, C, "8.8.8.8", udp(1, 53)), DropReason::Blackhole, "eni-c");
    // An interface of another VPC, or one that is not there, is no next hop.
    for target in ["eni-x", "eni-gone"] {
        card.put(route_table(
            "rtb-2",
            "vpc-1",
            vec![route("8.0.0.0/8", Target::Interface(target.into()))],
        ));
        card.drops(&pkt(3, C, "8.8.8.8", udp(1, 53)), DropReason::Blackhole, "eni-c");
    }
}

#[test]
fn longest_prefix_wins_and_local_wins_a_tie() {
    let mut card = Card::new();
    card.edit_interface("eni-r", |i| i.source_dest_check = false);
    let eni_r = || Target::Interface("eni-r".into());
    card.put(route_table(
        "rtb-2",
        "vpc-1",
        vec![
            route("0.0.0.0/0", Target::Blackhole),
            route("8.0.0.0/8", eni_r()),
            route("8.8.0.0/16", Target::Blackhole),
            // The local route has this prefix already.
            route("10.0.0.0/16", Target::Blackhole),
        ],
    ));
    card.arrives(&pkt(3, C, "8.1.1.1", udp(1, 53)), PortId(4));
    card.drops(&pkt(3, C, "8.8.1.1", udp(1, 53)), DropReason::Blackhole, "eni-c");
    card.drops(&pkt(3, C, "9.9.9.9", udp(1, 53)), DropReason::Blackhole, "eni-c");
    card.arrives(&pkt(3, C, B, syn(1, 80)), PortId(2));
    // A longer prefix than local leads traffic of the VPC through an appliance.
    card.put(route_table(
        "rtb-2",
        "vpc-1",
        vec![route("10.0.1.20/32", eni_r())],
    ));
    card.arrives(&pkt(3, C, B, syn(1, 80)), PortId(4));
}

#[test]
fn source_dest_check_of_a_next_hop() {
    let mut card = Card::new();
    card.put(route_table(
        "rtb-2",
        "vpc-1",
        vec![route("0.0.0.0/0", Target::Interface("eni-r".into()))],
    ));
    let packet = pkt(3, C, "8.8.8.8", udp(1, 53));
    card.drops(&packet, DropReason::DestinationCheck, "eni-r");
    card.edit_interface("eni-r", |i| i.source_dest_check = false);
    let frame = card.arrives(&packet, PortId(4));
    assert_eq!(frame[..12], [mac(4), ROUTER_MAC].concat());
    // The instance routes: it sends C's packet on to A, and the answer back to C.
    let forwarded = pkt(4, "8.8.8.8", C, udp(53, 1));
    card.arrives(&forwarded, PortId(3));
    card.edit_interface("eni-r", |i| i.source_dest_check = true);
    card.drops(&forwarded, DropReason::SourceAddress, "eni-r");
}

#[test]
fn a_route_back_to_its_sender() {
    let mut card = Card::new();
    card.edit_interface("eni-r", |i| {
        i.source_dest_check = false;
        i.ipv4_prefixes.push("10.0.1.160/28".parse().unwrap());
    });
    card.put(route_table(
        "rtb-1",
        "vpc-1",
        vec![route("8.0.0.0/8", Target::Interface("eni-r".into()))],
    ));
    card.drops(&pkt(4, R, "8.8.8.8", udp(1, 53)), DropReason::RouteLoop, "eni-r");
    card.drops(
        &pkt(4, R, "10.0.1.161", udp(1, 53)),
        DropReason::RouteLoop,
        "eni-r",
    );
}

#[test]
fn a_neighbors_mac_is_the_next_hop_to_the_outside_only() {
    let mut card = Card::new();
    let outside = pkt(1, A, "8.8.8.8", udp(1, 53)).via(mac(4));
    card.drops(&outside, DropReason::DestinationCheck, "eni-r");
    card.edit_interface("eni-r", |i| i.source_dest_check = false);
    let frame = card.arrives(&outside, PortId(4));
    assert_eq!(frame[..12], [mac(4), mac(1)].concat());
    // Inside the VPC the address decides: a neighbor with an old ARP entry reaches the new owner.
    card.arrives(&pkt(1, A, B, syn(1, 80)).via(mac(4)), PortId(2));
    for wrong in [mac(3), mac(5), mac(1), mac(99)] {
        let packet = pkt(1, A, "8.8.8.8", udp(1, 53)).via(wrong);
        card.drops(&packet, DropReason::DestinationMac, "eni-a");
    }
}

#[test]
fn two_vpcs_with_one_cidr_never_meet() {
    let mut card = Card::new();
    // eni-b and eni-x have the same address; everyone reaches the one of his own VPC.
    card.arrives(&pkt(1, A, B, syn(1, 80)), PortId(2));
    for to in [A, C, "10.0.1.40"] {
        card.drops(&pkt(5, B, to, syn(1, 80)), DropReason::NoSuchAddress, "eni-x");
    }
    // Not even with the other's MAC.
    let packet = pkt(5, B, A, syn(1, 80)).via(mac(1));
    card.drops(&packet, DropReason::NoSuchAddress, "eni-x");
    let outside = pkt(5, B, "8.8.8.8", syn(1, 80)).via(mac(1));
    card.drops(&outside, DropReason::DestinationMac, "eni-x");
}

#[test]
fn an_address_that_moves_takes_its_packets_along() {
    let mut card = Card::new();
    let moved: std::net::Ipv4Addr = "10.0.1.77".parse().unwrap();
    card.edit_interface("eni-a", |i| i.ipv4.push(moved));
    let packet = pkt(4, R, "10.0.1.77", L4::EchoRequest(1)).via(mac(1));
    card.arrives(&packet, PortId(1));
    card.edit(|tables| {
        for (id, entry) in &mut tables.entries {
            if let trinic_switch::tables::Entry::Interface(i) = entry {
                i.ipv4.retain(|a| *a != moved);
                if &**id == "eni-b" {
                    i.ipv4.push(moved);
                }
            }
        }
    });
    let frame = card.arrives(&packet, PortId(2));
    assert_eq!(frame[..6], mac(2));
}

#[test]
fn mtu_inside_a_vpc() {
    let mut card = Card::new();
    // 20 bytes of IPv4 and 8 of UDP.
    let fits = pkt(1, A, C, udp(1, 7000)).payload(9001 - 28);
    card.arrives(&fits, PortId(3));
    let large = pkt(1, A, C, udp(1, 7000)).payload(9001 - 27);
    let sent = card.drops(&large, DropReason::MtuExceeded, "eni-a");
    crate::gateway::assert_too_big(&sent.reply.unwrap(), "10.0.1.1", 9001, &large);
    let sent = card.drops(
        &large.clone().may_fragment(),
        DropReason::FragmentationNeeded,
        "eni-a",
    );
    assert_eq!(sent.reply, None);
    let large6 = pkt(1, "2001:db8:0:1::10", "2001:db8:0:1::20", syn(1, 80)).payload(9001 - 59);
    let sent = card.drops(&large6, DropReason::MtuExceeded, "eni-a");
    crate::gateway::assert_too_big(&sent.reply.unwrap(), "2001:db8:0:1::1", 9001, &large6);
}

#[test]
fn super_frames_are_judged_by_their_segments() {
    let mut card = Card::new();
    let packet = pkt(1, A, B, syn(1, 80)).payload(60_000);
    let frame = packet.frame();
    let mut send = |gso_size| {
        let offload = Offload {
            checksum_partial: true,
            gso_size,
        };
        card.send_frame(PortId(1), &frame, offload).verdict
    };
    // 20 bytes of IPv4, 20 of TCP and the segment.
    let forward = trinic_switch::Verdict::Forward { to: PortId(2) };
    assert_eq!(send(9001 - 40), forward);
    assert_eq!(
        send(9001 - 39),
        trinic_switch::Verdict::Drop(DropReason::MtuExceeded)
    );
    let counters = card.counters("eni-b");
    assert_eq!((counters.packets_in, counters.bytes_in), (1, frame.len() as u64));
}
