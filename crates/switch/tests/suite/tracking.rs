//! Connection tracking: replies, revoked rules, idle times, ICMP errors, fragments, limits.

use std::time::Duration;

use trinic_switch::tables::TrackingTimeouts;
use trinic_switch::{Config, DropReason, Offload, PortId, Verdict};
use trinic_wire::tcp::Flags;
use trinic_wire::time::Instant;

use crate::packets::{L4, Pkt, ack, pkt, syn, tcp, udp};
use crate::support::{Card, ICMP, TCP, UDP, everything, rule};

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";
const C: &str = "10.0.2.30";

/// sg-web lets out what it answers only, sg-db lets sg-web in.
fn strict() -> Card {
    let mut card = Card::new();
    card.edit_group("sg-db", |g| g.outbound.clear());
    card
}

/// Opens a TCP connection from A to C's port 5432.
fn connect(card: &mut Card, port: u16) -> Pkt {
    let open = pkt(1, A, C, syn(port, 5432));
    card.arrives(&open, PortId(3));
    card.arrives(&open.answer(3), PortId(1));
    let data = pkt(1, A, C, ack(port, 5432));
    card.arrives(&data, PortId(3));
    data
}

fn close_sql(card: &mut Card) {
    card.edit_group("sg-db", |g| g.inbound.retain(|r| &*r.id != "sgr-sql"));
}

#[test]
fn answers_need_no_rule() {
    let mut card = strict();
    for l4 in [syn(1, 5432), udp(1, 7000), L4::EchoRequest(5)] {
        let packet = pkt(1, A, C, l4);
        card.arrives(&packet, PortId(3));
        card.arrives(&packet.answer(3), PortId(1));
    }
    for l4 in [syn(1, 80), udp(7000, 2), L4::EchoRequest(6)] {
        let packet = pkt(3, C, A, l4);
        card.drops(&packet, DropReason::SecurityGroupOutbound, "eni-c");
    }
}

#[test]
fn a_connection_outlives_its_rule_and_a_new_one_does_not_start() {
    let mut card = strict();
    let data = connect(&mut card, 1000);
    close_sql(&mut card);
    card.arrives(&data, PortId(3));
    card.arrives(&data.answer(3), PortId(1));
    let new = pkt(1, A, C, syn(1001, 5432));
    card.drops(&new, DropReason::SecurityGroupInbound, "eni-c");
    // Opening it again on the same ports is a new connection too.
    let again = pkt(1, A, C, syn(1000, 5432));
    card.drops(&again, DropReason::SecurityGroupInbound, "eni-c");
    // The old one does not suffer from the attempt.
    card.arrives(&data, PortId(3));
}

/// What the flow cache knows of the old connection within the second is not held against the new one.
#[test]
fn a_connection_that_starts_anew_within_a_second_is_established_anew() {
    let mut card = strict();
    let data = connect(&mut card, 1000);
    let back = data.answer(3);
    card.arrives(&back, PortId(1));
    card.arrives(
        &pkt(1, A, C, tcp(1000, 5432, Flags::FIN.with(Flags::ACK))),
        PortId(3),
    );
    card.arrives(&pkt(1, A, C, syn(1000, 5432)), PortId(3));
    card.arrives(&back, PortId(1));
    close_sql(&mut card);
    card.wait(Duration::from_secs(130));
    card.arrives(&data, PortId(3));
}

#[test]
fn idle_times_start_with_the_next_second() {
    let mut card = strict();
    card.wait(Duration::from_millis(300));
    let data = pkt(1, A, C, udp(1, 7000));
    card.arrives(&data, PortId(3));
    card.edit_group("sg-db", |g| g.inbound.clear());
    card.wait(Duration::from_millis(30_600));
    card.arrives(&data, PortId(3));
    card.wait(Duration::from_millis(30_101));
    card.drops(&data, DropReason::SecurityGroupInbound, "eni-c");
}

#[test]
fn a_ping_outlives_its_rule() {
    let mut card = strict();
    let ping = pkt(1, A, C, L4::EchoRequest(77));
    card.arrives(&ping, PortId(3));
    card.arrives(&ping.answer(3), PortId(1));
    card.edit_group("sg-db", |g| g.inbound.clear());
    card.arrives(&ping, PortId(3));
    card.arrives(&ping.answer(3), PortId(1));
    card.drops(
        &pkt(1, A, C, L4::EchoRequest(78)),
        DropReason::SecurityGroupInbound,
        "eni-c",
    );
    card.wait(Duration::from_secs(31));
    card.drops(&ping, DropReason::SecurityGroupInbound, "eni-c");
}

#[test]
fn whoever_answers_a_ping_may_not_ask_back() {
    let mut card = strict();
    let ping = pkt(1, A, C, L4::EchoRequest(77));
    card.arrives(&ping, PortId(3));
    let back = pkt(3, C, A, L4::EchoRequest(77));
    card.drops(&back, DropReason::SecurityGroupOutbound, "eni-c");
    let unasked = pkt(3, C, A, L4::EchoReply(78));
    card.drops(&unasked, DropReason::SecurityGroupOutbound, "eni-c");
    card.arrives(&ping.answer(3), PortId(1));
}

#[test]
fn untracked_flows_end_with_their_rule() {
    let mut card = Card::new();
    // Port 80 is open to everyone, and everything may go out: no tracking at eni-b.
    let open = pkt(4, "10.0.1.40", B, syn(1000, 80));
    card.arrives(&open, PortId(2));
    card.arrives(&open.answer(2), PortId(4));
    let data = pkt(4, "10.0.1.40", B, ack(1000, 80));
    card.arrives(&data, PortId(2));
    assert_eq!(card.counters("eni-b").conntrack_entries, 0);
    card.edit_group("sg-web", |g| g.inbound.retain(|r| !r.id.starts_with("sgr-http")));
    card.drops(&data, DropReason::SecurityGroupInbound, "eni-b");
    // A rule of the other direction ends it as well.
    card.edit_group("sg-web", |g| {
        g.inbound.push(rule("sgr-http", TCP, (80, 80), "0.0.0.0/0"));
    });
    card.arrives(&data, PortId(2));
    card.edit_group("sg-web", |g| g.outbound.clear());
    let answer = data.answer(2);
    card.drops(&answer, DropReason::SecurityGroupOutbound, "eni-b");
}

#[test]
fn a_late_segment_does_not_bring_a_cut_flow_back() {
    let mut card = Card::new();
    let open = pkt(4, "10.0.1.40", B, syn(1000, 80));
    card.arrives(&open, PortId(2));
    card.arrives(&open.answer(2), PortId(4));
    let data = pkt(4, "10.0.1.40", B, ack(1000, 80));
    card.arrives(&data, PortId(2));
    card.edit_group("sg-web", |g| g.inbound.retain(|r| !r.id.starts_with("sgr-http")));
    // A retransmission of the server: everything may go out, but it opens no connection.
    card.arrives(&data.answer(2), PortId(4));
    assert_eq!(card.counters("eni-b").conntrack_entries, 0);
    card.drops(&data, DropReason::SecurityGroupInbound, "eni-b");
}

#[test]
fn a_successor_picks_connections_up_for_a_while() {
    let mut card = Card::with(Config {
        pick_up_until: Instant::from_nanos(u64::MAX),
        ..Config::default()
    });
    card.edit_group("sg-db", |g| g.outbound.clear());
    // Under way before this switch was there: C may answer A without an outbound rule of its own.
    let data = pkt(1, A, C, ack(1000, 5432));
    card.arrives(&data, PortId(3));
    card.arrives(&data.answer(3), PortId(1));
    let mut later = Card::new();
    later.edit_group("sg-db", |g| g.outbound.clear());
    later.arrives(&data, PortId(3));
    later.drops(&data.answer(3), DropReason::SecurityGroupOutbound, "eni-c");
}

#[test]
fn a_narrower_rule_makes_the_flow_tracked() {
    let mut card = Card::new();
    // Port 22 is open to the VPC only.
    let open = pkt(1, A, B, syn(1000, 22));
    card.arrives(&open, PortId(2));
    assert_eq!(card.counters("eni-b").conntrack_entries, 1);
    card.arrives(&open.answer(2), PortId(1));
    let data = pkt(1, A, B, ack(1000, 22));
    card.edit_group("sg-web", |g| g.inbound.clear());
    card.arrives(&data, PortId(2));
}

#[test]
fn icmp_is_always_tracked() {
    let mut card = Card::new();
    let ping = pkt(4, "10.0.1.40", B, L4::EchoRequest(9));
    card.arrives(&ping, PortId(2));
    assert_eq!(card.counters("eni-b").conntrack_entries, 1);
    assert_eq!(card.counters("eni-r").conntrack_entries, 1);
}

#[test]
fn untracked_at_both_ends() {
    let mut card = Card::new();
    card.edit_group("sg-db", |g| g.inbound = everything("sgr-in"));
    let open = pkt(4, "10.0.1.40", C, syn(1, 2));
    card.arrives(&open, PortId(3));
    card.arrives(&open.answer(3), PortId(4));
    for id in ["eni-c", "eni-r"] {
        assert_eq!(card.counters(id).conntrack_entries, 0);
    }
}

#[test]
fn tcp_idle_times() {
    let mut card = strict();
    card.edit_interface("eni-c", |i| {
        i.timeouts = TrackingTimeouts {
            tcp_established_s: 100,
            ..TrackingTimeouts::default()
        };
    });
    let data = connect(&mut card, 1000);
    close_sql(&mut card);
    for _ in 0..3 {
        card.wait(Duration::from_secs(99));
        card.arrives(&data, PortId(3));
    }
    card.wait(Duration::from_secs(100));
    card.drops(&data, DropReason::SecurityGroupInbound, "eni-c");
}

#[test]
fn half_open_and_closed_tcp_is_forgotten_soon() {
    let mut card = strict();
    let open = pkt(1, A, C, syn(1000, 5432));
    card.arrives(&open, PortId(3));
    card.wait(Duration::from_secs(60));
    card.drops(&open.answer(3), DropReason::SecurityGroupOutbound, "eni-c");

    let data = connect(&mut card, 1001);
    card.arrives(&pkt(1, A, C, tcp(1001, 5432, Flags::RST)), PortId(3));
    card.wait(Duration::from_secs(11));
    card.drops(&data.answer(3), DropReason::SecurityGroupOutbound, "eni-c");

    let data = connect(&mut card, 1002);
    let fin = pkt(1, A, C, tcp(1002, 5432, Flags::FIN.with(Flags::ACK)));
    card.arrives(&fin, PortId(3));
    // The other side may go on sending.
    card.wait(Duration::from_secs(100));
    card.arrives(&data.answer(3), PortId(1));
    card.wait(Duration::from_secs(121));
    card.drops(&data.answer(3), DropReason::SecurityGroupOutbound, "eni-c");
}

#[test]
fn a_port_is_used_again_after_a_close() {
    let mut card = strict();
    connect(&mut card, 1000);
    card.arrives(&pkt(1, A, C, tcp(1000, 5432, Flags::RST)), PortId(3));
    let data = connect(&mut card, 1000);
    card.wait(Duration::from_secs(3600));
    card.arrives(&data.answer(3), PortId(1));
}

#[test]
fn both_sides_open_at_once() {
    let mut card = strict();
    let open = pkt(1, A, C, syn(1000, 5432));
    card.arrives(&open, PortId(3));
    card.arrives(&pkt(3, C, A, syn(5432, 1000)), PortId(1));
}

#[test]
fn udp_one_way_and_stream() {
    let mut card = strict();
    let one_way = pkt(1, A, C, udp(1000, 7000));
    card.arrives(&one_way, PortId(3));
    card.wait(Duration::from_secs(30));
    card.drops(&one_way.answer(3), DropReason::SecurityGroupOutbound, "eni-c");

    let stream = pkt(1, A, C, udp(1001, 7000));
    card.arrives(&stream, PortId(3));
    card.arrives(&stream.answer(3), PortId(1));
    card.wait(Duration::from_secs(179));
    card.arrives(&stream.answer(3), PortId(1));
    card.wait(Duration::from_secs(180));
    card.drops(&stream.answer(3), DropReason::SecurityGroupOutbound, "eni-c");
}

#[test]
fn other_protocols_for_600_seconds() {
    let mut card = strict();
    card.edit_group("sg-db", |g| {
        let gre = trinic_switch::tables::RuleProtocol::Number(47);
        g.inbound.push(rule("sgr-gre", gre, (-1, -1), "10.0.0.0/8"));
    });
    let packet = pkt(1, A, C, L4::Raw(47));
    card.arrives(&packet, PortId(3));
    card.wait(Duration::from_secs(599));
    card.arrives(&packet.answer(3), PortId(1));
    card.wait(Duration::from_secs(600));
    card.drops(&packet.answer(3), DropReason::SecurityGroupOutbound, "eni-c");
}

#[test]
fn errors_about_a_tracked_flow_pass() {
    let mut card = strict();
    let packet = pkt(1, A, C, udp(1000, 7000));
    card.arrives(&packet, PortId(3));
    let error = packet.error(3, C, 3, 3);
    card.arrives(&error, PortId(1));
    // An error about a flow that never was does not, in either direction.
    let made_up = pkt(1, A, C, udp(1000, 7777)).error(3, C, 3, 3);
    card.drops(&made_up, DropReason::SecurityGroupOutbound, "eni-c");
    let made_up = pkt(3, C, A, udp(1000, 7777)).error(1, A, 3, 3);
    card.drops(&made_up, DropReason::SecurityGroupInbound, "eni-c");
    // Nor a redirect, which says nothing about the flow itself.
    card.drops(
        &packet.error(3, C, 5, 1),
        DropReason::SecurityGroupOutbound,
        "eni-c",
    );
    // Nor one that tells somebody else about the flow.
    let mut wrong = packet.error(3, C, 3, 3);
    wrong.to = B.parse().unwrap();
    card.drops(&wrong, DropReason::SecurityGroupOutbound, "eni-c");
}

#[test]
fn errors_about_an_untracked_flow_pass() {
    let mut card = Card::new();
    let open = pkt(4, "10.0.1.40", B, syn(1000, 80));
    card.arrives(&open, PortId(2));
    card.arrives(&open.error(2, B, 3, 4), PortId(4));
    let error6 =
        pkt(4, "2001:db8:0:1::40", "2001:db8:0:1::20", syn(1, 80)).error(2, "2001:db8:0:1::20", 2, 0);
    card.arrives(&error6, PortId(4));
}

#[test]
fn errors_with_a_rule_pass_anyway() {
    let mut card = Card::new();
    card.edit_group("sg-web", |g| {
        g.inbound.push(rule("sgr-err", ICMP, (3, -1), "10.0.0.0/8"))
    });
    let made_up = pkt(1, A, C, udp(1000, 7777)).error(3, C, 3, 3);
    card.arrives(&made_up, PortId(1));
}

#[test]
fn fragments_follow_their_first() {
    let mut card = Card::new();
    let packet = pkt(1, A, C, udp(1000, 7000)).may_fragment().payload(64);
    let [first, second] = packet.fragments(32);
    card.drops_frame(PortId(1), &second, DropReason::FragmentUnknown, "eni-a");
    for frame in [&first, &second] {
        let sent = card.send_frame(PortId(1), frame, Offload::default());
        assert_eq!(sent.verdict, Verdict::Forward { to: PortId(3) });
    }
    card.wait(Duration::from_secs(15));
    card.drops_frame(PortId(1), &second, DropReason::FragmentUnknown, "eni-a");
    // The rest of a packet whose first fragment was dropped does not pass.
    let closed = pkt(1, A, C, udp(1000, 7999)).may_fragment().payload(64);
    let [first, second] = closed.fragments(32);
    card.drops_frame(PortId(1), &first, DropReason::SecurityGroupInbound, "eni-c");
    card.drops_frame(PortId(1), &second, DropReason::FragmentUnknown, "eni-a");
}

#[test]
fn the_table_is_bounded() {
    let mut card = Card::with(Config {
        conntrack_entries: 4,
        ..Config::default()
    });
    card.edit_group("sg-db", |g| g.outbound.clear());
    for port in 0..4 {
        card.arrives(&pkt(1, A, C, udp(1000 + port, 7000)), PortId(3));
    }
    let counters = card.counters("eni-c");
    assert_eq!((counters.conntrack_entries, counters.conntrack_limit), (4, 4));
    // Both ends are full. The sender's gate comes first.
    let fifth = pkt(1, A, C, udp(2000, 7000));
    card.drops(&fifth, DropReason::ConntrackFull, "eni-a");
    assert_eq!(DropReason::ConntrackFull.name(), "conntrack-allowance-exceeded");
    card.drops(&pkt(2, B, C, udp(2000, 7000)), DropReason::ConntrackFull, "eni-c");
    // Those who are in it go on, and the time of the others brings room.
    card.arrives(&pkt(1, A, C, udp(1000, 7000)), PortId(3));
    card.wait(Duration::from_secs(31));
    assert_eq!(card.switch.expire(card.now), 9);
    card.arrives(&fifth, PortId(3));
    // Without a call of expire the refused attempt itself makes room for the next.
    for port in 1..4 {
        card.arrives(&pkt(1, A, C, udp(2000 + port, 7000)), PortId(3));
    }
    card.wait(Duration::from_secs(31));
    card.drops(&fifth, DropReason::ConntrackFull, "eni-a");
}

#[test]
fn expire_is_bounded_and_gets_through() {
    let mut card = Card::new();
    card.edit_group("sg-db", |g| {
        g.inbound.push(rule("sgr-all", UDP, (-1, -1), "10.0.0.0/8"))
    });
    for port in 0..20_000 {
        card.arrives(&pkt(1, A, C, udp(port, 9)), PortId(3));
    }
    card.wait(Duration::from_secs(31));
    let mut rounds = 0;
    while card.counters("eni-a").conntrack_entries + card.counters("eni-c").conntrack_entries > 0 {
        assert!(card.switch.expire(card.now) <= 4_096);
        rounds += 1;
        assert!(rounds < 100);
    }
}

#[test]
fn connections_of_a_removed_interface_are_gone() {
    let mut card = strict();
    let data = connect(&mut card, 1000);
    let entry = card.switch.tables().entries["eni-c"].clone();
    card.edit(|tables| {
        tables.entries.remove("eni-c");
    });
    card.drops(&data, DropReason::NoSuchAddress, "eni-a");
    card.put(entry);
    card.drops(&data.answer(3), DropReason::SecurityGroupOutbound, "eni-c");
}
