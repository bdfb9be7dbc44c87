//! Security groups: both gates, every kind of rule.

use trinic_switch::tables::SecurityGroup;
use trinic_switch::{DropReason, PortId};

use crate::packets::{L4, pkt, syn, udp};
use crate::support::{ANY, Card, ICMP, ICMPV6, TCP, UDP, everything, group, rule};

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";
const C: &str = "10.0.2.30";

#[test]
fn default_deny_inbound() {
    let mut card = Card::new();
    card.drops(
        &pkt(1, A, B, syn(1, 443)),
        DropReason::SecurityGroupInbound,
        "eni-b",
    );
    card.arrives(&pkt(1, A, B, syn(1, 80)), PortId(2));
}

#[test]
fn default_deny_outbound() {
    let mut card = Card::new();
    card.edit_group("sg-web", |g| {
        g.outbound = vec![rule("sgr-o", TCP, (443, 443), "0.0.0.0/0")]
    });
    card.drops(
        &pkt(1, A, B, syn(1, 80)),
        DropReason::SecurityGroupOutbound,
        "eni-a",
    );
}

#[test]
fn an_interface_without_groups_or_with_a_missing_one_reaches_nobody() {
    let mut card = Card::new();
    card.edit_interface("eni-a", |i| i.groups.clear());
    card.drops(
        &pkt(1, A, B, syn(1, 80)),
        DropReason::SecurityGroupOutbound,
        "eni-a",
    );
    card.edit_interface("eni-a", |i| i.groups = vec!["sg-gone".into()]);
    card.drops(
        &pkt(1, A, B, syn(1, 80)),
        DropReason::SecurityGroupOutbound,
        "eni-a",
    );
}

#[test]
fn a_rule_opens_a_port() {
    let mut card = Card::new();
    let packet = pkt(1, A, B, syn(1, 443));
    card.drops(&packet, DropReason::SecurityGroupInbound, "eni-b");
    card.edit_group("sg-web", |g| {
        g.inbound.push(rule("sgr-https", TCP, (443, 443), "10.0.0.0/8"))
    });
    card.arrives(&packet, PortId(2));
}

#[test]
fn port_ranges_are_inclusive() {
    let mut card = Card::new();
    for (port, fine) in [
        (6999, false),
        (7000, true),
        (7005, true),
        (7010, true),
        (7011, false),
    ] {
        let packet = pkt(1, A, C, udp(1, port));
        if fine {
            card.arrives(&packet, PortId(3));
        } else {
            card.drops(&packet, DropReason::SecurityGroupInbound, "eni-c");
        }
    }
    // The protocol counts too.
    card.drops(
        &pkt(1, A, C, syn(1, 7005)),
        DropReason::SecurityGroupInbound,
        "eni-c",
    );
}

#[test]
fn all_ports_as_minus_one() {
    let mut card = Card::new();
    card.edit_group("sg-web", |g| {
        g.inbound = vec![rule("sgr-all", UDP, (-1, -1), "10.0.0.0/8")]
    });
    card.arrives(&pkt(1, A, B, udp(1, 1)), PortId(2));
    card.arrives(&pkt(1, A, B, udp(1, 65535)), PortId(2));
    card.drops(
        &pkt(1, A, B, syn(1, 1)),
        DropReason::SecurityGroupInbound,
        "eni-b",
    );
}

#[test]
fn union_of_all_groups() {
    let mut card = Card::new();
    card.put(group(
        "sg-more",
        "vpc-1",
        vec![rule("sgr-m", TCP, (443, 443), "10.0.0.0/8")],
        Vec::new(),
    ));
    card.edit_interface("eni-b", |i| i.groups.push("sg-more".into()));
    card.arrives(&pkt(1, A, B, syn(1, 443)), PortId(2));
    card.arrives(&pkt(1, A, B, syn(1, 80)), PortId(2));
    card.edit_interface("eni-b", |i| i.groups.retain(|g| &**g != "sg-more"));
    card.drops(
        &pkt(1, A, B, syn(2, 443)),
        DropReason::SecurityGroupInbound,
        "eni-b",
    );
}

#[test]
fn cidr_of_the_other_side() {
    let mut card = Card::new();
    card.edit_group("sg-web", |g| {
        g.inbound = vec![
            rule("sgr-1", TCP, (80, 80), "10.0.2.0/24"),
            rule("sgr-2", TCP, (81, 81), "10.0.1.10/32"),
        ];
    });
    card.drops(
        &pkt(1, A, B, syn(1, 80)),
        DropReason::SecurityGroupInbound,
        "eni-b",
    );
    card.arrives(&pkt(1, A, B, syn(1, 81)), PortId(2));
    card.arrives(&pkt(3, C, B, syn(1, 80)), PortId(2));
}

#[test]
fn group_reference_means_its_members_private_addresses() {
    let mut card = Card::new();
    // eni-a carries sg-web, eni-r does not.
    card.arrives(&pkt(1, A, C, syn(1, 5432)), PortId(3));
    card.drops(
        &pkt(4, "10.0.1.40", C, syn(1, 5432)),
        DropReason::SecurityGroupInbound,
        "eni-c",
    );
    // Membership follows the interface at once, secondary and IPv6 addresses and prefixes included.
    card.edit_interface("eni-r", |i| {
        i.groups.push("sg-web".into());
        i.ipv4.push("10.0.1.41".parse().unwrap());
        i.ipv4_prefixes.push("10.0.1.160/28".parse().unwrap());
    });
    for from in ["10.0.1.40", "10.0.1.41", "10.0.1.161"] {
        card.arrives(&pkt(4, from, C, syn(2, 5432)), PortId(3));
    }
    card.arrives(
        &pkt(4, "2001:db8:0:1::40", "2001:db8:0:2::30", syn(2, 5432)),
        PortId(3),
    );
    card.edit_interface("eni-r", |i| i.groups.retain(|g| &**g != "sg-web"));
    for from in ["10.0.1.40", "10.0.1.41", "10.0.1.161"] {
        let packet = pkt(4, from, C, syn(3, 5432));
        card.drops(&packet, DropReason::SecurityGroupInbound, "eni-c");
    }
}

#[test]
fn a_group_refers_to_itself() {
    let mut card = Card::new();
    let packet = pkt(1, A, C, syn(1, 22));
    card.drops(&packet, DropReason::SecurityGroupInbound, "eni-c");
    card.edit_interface("eni-a", |i| i.groups.push("sg-db".into()));
    card.arrives(&packet, PortId(3));
}

#[test]
fn outbound_group_reference() {
    let mut card = Card::new();
    card.edit_group("sg-web", |g| {
        g.outbound = vec![rule("sgr-o", TCP, (5432, 5432), "sg-db")]
    });
    card.arrives(&pkt(1, A, C, syn(1, 5432)), PortId(3));
    card.drops(
        &pkt(1, A, B, syn(1, 5432)),
        DropReason::SecurityGroupOutbound,
        "eni-a",
    );
}

#[test]
fn members_of_another_vpc_with_the_same_addresses_do_not_count() {
    let mut card = Card::new();
    // Only eni-x, whose address eni-b has in vpc-1, carries a group that sg-db's rules name.
    card.edit_interface("eni-x", |i| i.groups.push("sg-foreign".into()));
    card.edit_group("sg-db", |g| {
        g.inbound = vec![rule("sgr-f", ANY, (-1, -1), "sg-foreign")]
    });
    card.drops(
        &pkt(2, B, C, syn(1, 5432)),
        DropReason::SecurityGroupInbound,
        "eni-c",
    );
}

#[test]
fn icmp_type_and_code() {
    let mut card = Card::new();
    card.arrives(&pkt(1, A, C, L4::EchoRequest(1)), PortId(3));
    let timestamp = L4::Icmp(13, 0, vec![0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    card.drops(
        &pkt(1, A, C, timestamp.clone()),
        DropReason::SecurityGroupInbound,
        "eni-c",
    );
    // Type 8 with code 0 is allowed, code 1 is not.
    let odd = L4::Icmp(8, 1, vec![0, 9, 0, 1]);
    card.drops(
        &pkt(1, A, C, odd.clone()),
        DropReason::SecurityGroupInbound,
        "eni-c",
    );
    // eni-b's rule is for type 8 with any code.
    card.arrives(&pkt(1, A, B, odd), PortId(2));
    card.drops(
        &pkt(1, A, B, timestamp.clone()),
        DropReason::SecurityGroupInbound,
        "eni-b",
    );
    card.edit_group("sg-web", |g| {
        g.inbound = vec![rule("sgr-i", ICMP, (-1, -1), "0.0.0.0/0")]
    });
    card.arrives(&pkt(1, A, B, timestamp), PortId(2));
}

#[test]
fn icmpv6_is_a_protocol_of_its_own() {
    let mut card = Card::new();
    let ping6 = pkt(1, "2001:db8:0:1::10", "2001:db8:0:1::20", L4::EchoRequest(1));
    card.arrives(&ping6, PortId(2));
    card.edit_group("sg-web", |g| {
        g.inbound = vec![rule("sgr-4", ICMP, (-1, -1), "::/0")];
    });
    let again = pkt(1, "2001:db8:0:1::10", "2001:db8:0:1::20", L4::EchoRequest(2));
    card.drops(&again, DropReason::SecurityGroupInbound, "eni-b");
    card.edit_group("sg-web", |g| {
        g.inbound = vec![rule("sgr-6", ICMPV6, (128, 0), "2001:db8:0:1::/64")];
    });
    card.arrives(&again, PortId(2));
}

#[test]
fn other_protocols() {
    let mut card = Card::new();
    let gre = pkt(1, A, B, L4::Raw(47));
    card.drops(&gre, DropReason::SecurityGroupInbound, "eni-b");
    let number = trinic_switch::tables::RuleProtocol::Number(47);
    // Ports mean nothing to it.
    card.edit_group("sg-web", |g| {
        g.inbound.push(rule("sgr-gre", number, (5, 6), "10.0.0.0/8"))
    });
    card.arrives(&gre, PortId(2));
    card.drops(
        &pkt(1, A, B, L4::Raw(50)),
        DropReason::SecurityGroupInbound,
        "eni-b",
    );
    // A rule of every protocol has no ports, whatever it says.
    card.edit_group("sg-web", |g| {
        g.inbound = vec![rule("sgr-any", ANY, (80, 80), "10.0.0.0/8")]
    });
    card.arrives(&pkt(1, A, B, L4::Raw(50)), PortId(2));
    card.arrives(&pkt(1, A, B, syn(9, 443)), PortId(2));
}

#[test]
fn families_are_apart() {
    let mut card = Card::new();
    card.edit_group("sg-web", |g| {
        g.inbound = vec![rule("sgr-6", TCP, (80, 80), "::/0")];
        g.outbound = everything("sgr-out");
    });
    card.drops(
        &pkt(1, A, B, syn(1, 80)),
        DropReason::SecurityGroupInbound,
        "eni-b",
    );
    card.arrives(
        &pkt(1, "2001:db8:0:1::10", "2001:db8:0:1::20", syn(1, 80)),
        PortId(2),
    );
}

#[test]
fn both_gates_run_for_neighbors() {
    let mut card = Card::new();
    let closed = |g: &mut SecurityGroup| g.inbound.clear();
    card.edit_group("sg-web", closed);
    // Same subnet, straight to the neighbor's MAC: no way around the receiver's gate.
    let packet = pkt(1, A, B, syn(1, 80)).via(crate::packets::mac(2));
    card.drops(&packet, DropReason::SecurityGroupInbound, "eni-b");
}
