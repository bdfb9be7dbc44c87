//! Golden traces.

use insta::assert_snapshot;
use trinic_switch::trace::{Outcome, Trace};
use trinic_switch::{DropReason, INTERNET_MAC, Offload, PortId};

use crate::packets::{L4, Pkt, ack, arp_request, pkt, syn, udp};
use crate::support::{Card, INTERNET, from_internet};

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";
const C: &str = "10.0.2.30";

fn trace(card: &Card, packet: &Pkt) -> Trace {
    let port = if packet.from_mac == INTERNET_MAC {
        INTERNET
    } else {
        PortId(packet.from_mac[5].into())
    };
    trace_frame(card, port, &packet.frame())
}

fn trace_frame(card: &Card, port: PortId, frame: &[u8]) -> Trace {
    let counters = card.all_drops();
    let trace = card
        .switch
        .trace(card.now, port, frame, frame.len(), Offload::default());
    assert_eq!(card.all_drops(), counters, "a trace counts nothing");
    trace
}

#[test]
fn allowed_inside_a_subnet() {
    let card = Card::new();
    let trace = trace(&card, &pkt(1, A, B, syn(1000, 80)));
    assert_snapshot!(trace.minimal(), @r"
    parse@eni-a 10.0.1.10:1000 to 10.0.1.20:80 TCP
    anti-spoof@eni-a passed
    neighbor@eni-a passed
    link-local@eni-a passed
    multicast@eni-a passed
    security-group-out@eni-a allowed sg-web/sgr-webout4
    route@eni-a route 10.0.0.0/16 local
    mtu@eni-a passed
    destination-check@eni-b passed
    security-group-in@eni-b allowed sg-web/sgr-http untracked
    deliver@eni-b delivered eni-b
    = delivered eni-b
    ");
    assert_snapshot!(trace, @r"
    parse              eni-a        10.0.1.10:1000 to 10.0.1.20:80 TCP
    anti-spoof         eni-a        Passed.
    neighbor           eni-a        Passed.
    link-local         eni-a        Passed.
    multicast          eni-a        Passed.
    security-group-out eni-a        Allowed by sgr-webout4 of sg-web, tracked.
    route              eni-a        Route 10.0.0.0/16 of rtb-1 leads to local.
    mtu                eni-a        Passed.
    destination-check  eni-b        Passed.
    security-group-in  eni-b        Allowed by sgr-http of sg-web, untracked.
    deliver            eni-b        Delivered to eni-b.
    delivered eni-b
    ");
}

#[test]
fn dropped_by_a_group_with_the_nearest_rule() {
    let mut card = Card::new();
    assert_snapshot!(trace(&card, &pkt(1, A, B, syn(1000, 443))), @r"
    parse              eni-a        10.0.1.10:1000 to 10.0.1.20:443 TCP
    anti-spoof         eni-a        Passed.
    neighbor           eni-a        Passed.
    link-local         eni-a        Passed.
    multicast          eni-a        Passed.
    security-group-out eni-a        Allowed by sgr-webout4 of sg-web, tracked.
    route              eni-a        Route 10.0.0.0/16 of rtb-1 leads to local.
    mtu                eni-a        Passed.
    destination-check  eni-b        Passed.
    security-group-in  eni-b        None of 6 inbound rules of sg-web allows it; the nearest is sgr-http of sg-web: it is for port 80, the packet for 443.
    security-group-in  eni-b        DROPPED (security-group-inbound): No inbound rule of the receiver's security groups allows the packet.
    dropped security-group-inbound
    ");
    assert_snapshot!(trace(&card, &pkt(4, "10.0.1.40", C, syn(1000, 5432))).minimal(), @r"
    parse@eni-r 10.0.1.40:1000 to 10.0.2.30:5432 TCP
    anti-spoof@eni-r passed
    neighbor@eni-r passed
    link-local@eni-r passed
    multicast@eni-r passed
    security-group-out@eni-r allowed sg-open/sgr-openout4 untracked
    route@eni-r route 10.0.0.0/16 local
    mtu@eni-r passed
    destination-check@eni-c passed
    security-group-in@eni-c denied 4 nearest sg-db/sgr-sql
    security-group-in@eni-c dropped security-group-inbound
    = dropped security-group-inbound
    ");
    card.edit_group("sg-web", |g| g.outbound.clear());
    assert_snapshot!(trace(&card, &pkt(1, A, B, syn(1000, 80))), @r"
    parse              eni-a        10.0.1.10:1000 to 10.0.1.20:80 TCP
    anti-spoof         eni-a        Passed.
    neighbor           eni-a        Passed.
    link-local         eni-a        Passed.
    multicast          eni-a        Passed.
    security-group-out eni-a        None of 0 outbound rules of sg-web allows it.
    security-group-out eni-a        DROPPED (security-group-outbound): No outbound rule of the sender's security groups allows the packet.
    dropped security-group-outbound
    ");
}

#[test]
fn nearest_rules_in_words() {
    let card = Card::new();
    let last = |packet: &Pkt| {
        let steps = trace(&card, packet).steps;
        steps[steps.len() - 2].event.to_string()
    };
    // A wrong port is nearer than a wrong address, which is nearer than a wrong protocol.
    assert_snapshot!(last(&pkt(1, A, C, udp(1, 7011))), @"None of 4 inbound rules of sg-db allows it; the nearest is sgr-udp of sg-db: it is for ports 7000-7010, the packet for 7011.");
    assert_snapshot!(last(&pkt(4, "10.0.1.40", C, syn(1, 5432))), @"None of 4 inbound rules of sg-db allows it; the nearest is sgr-sql of sg-db: it is for sg-web, which 10.0.1.40 is not in.");
    assert_snapshot!(last(&pkt(1, A, B, L4::Raw(47))), @"None of 6 inbound rules of sg-web allows it; the nearest is sgr-http of sg-web: it is for protocol 6, the packet has 47.");
    assert_snapshot!(last(&pkt(1, A, C, L4::Icmp(8, 3, vec![0, 1, 0, 1]))), @"None of 4 inbound rules of sg-db allows it; the nearest is sgr-dbping of sg-db: it is for type 8 code 0, the packet has type 8 code 3.");
}

#[test]
fn a_tracked_connection() {
    let mut card = Card::new();
    let open = pkt(1, A, C, syn(1000, 5432));
    card.arrives(&open, PortId(3));
    card.edit_group("sg-db", |g| g.inbound.clear());
    assert_snapshot!(trace(&card, &pkt(1, A, C, ack(1000, 5432))).minimal(), @r"
    parse@eni-a 10.0.1.10:1000 to 10.0.2.30:5432 TCP
    anti-spoof@eni-a passed
    neighbor@eni-a passed
    link-local@eni-a passed
    multicast@eni-a passed
    security-group-out@eni-a tracked
    route@eni-a route 10.0.0.0/16 local
    mtu@eni-a passed
    destination-check@eni-c passed
    security-group-in@eni-c tracked
    deliver@eni-c delivered eni-c
    = delivered eni-c
    ");
    assert_snapshot!(trace(&card, &open.error(3, C, 3, 3)).minimal(), @r"
    parse@eni-c 10.0.2.30 to 10.0.1.10 ICMP type 3 code 3
    anti-spoof@eni-c passed
    neighbor@eni-c passed
    link-local@eni-c passed
    multicast@eni-c passed
    security-group-out@eni-c related
    route@eni-c route 10.0.0.0/16 local
    mtu@eni-c passed
    destination-check@eni-a passed
    security-group-in@eni-a related
    deliver@eni-a delivered eni-a
    = delivered eni-a
    ");
}

#[test]
fn through_the_gateway_and_back() {
    let card = Card::new();
    assert_snapshot!(trace(&card, &pkt(1, A, "203.0.113.1", udp(1, 53))), @r"
    parse              eni-a        10.0.1.10:1 to 203.0.113.1:53 UDP
    anti-spoof         eni-a        Passed.
    neighbor           eni-a        Passed.
    link-local         eni-a        Passed.
    multicast          eni-a        Passed.
    security-group-out eni-a        Allowed by sgr-webout4 of sg-web, tracked.
    route              eni-a        Route 0.0.0.0/0 of rtb-1 leads to internet-gateway.
    gateway-out        eni-a        Translated 10.0.1.10 to 198.18.0.10.
    deliver            eni-a        Delivered to the internet.
    delivered internet
    ");
    let inbound = from_internet("203.0.113.1", "198.18.0.10", syn(1, 80));
    assert_snapshot!(trace(&card, &inbound).minimal(), @r"
    parse 203.0.113.1:1 to 198.18.0.10:80 TCP
    neighbor passed
    multicast passed
    gateway-in translated 198.18.0.10 10.0.1.10
    destination-check@eni-a passed
    security-group-in@eni-a allowed sg-web/sgr-http untracked
    deliver@eni-a delivered eni-a
    = delivered eni-a
    ");
    let hairpin = pkt(1, A, "198.18.0.99", syn(1, 80));
    assert_snapshot!(trace(&card, &hairpin).minimal(), @r"
    parse@eni-a 10.0.1.10:1 to 198.18.0.99:80 TCP
    anti-spoof@eni-a passed
    neighbor@eni-a passed
    link-local@eni-a passed
    multicast@eni-a passed
    security-group-out@eni-a allowed sg-web/sgr-webout4
    route@eni-a route 0.0.0.0/0 internet-gateway
    gateway-out@eni-a translated 10.0.1.10 198.18.0.10
    gateway-in@eni-a translated 198.18.0.99 10.0.1.20
    destination-check@eni-x passed
    security-group-in@eni-x allowed sg-x/sgr-xin4 untracked
    deliver@eni-x delivered eni-x
    = delivered eni-x
    ");
    assert_snapshot!(trace(&card, &pkt(2, B, "203.0.113.1", udp(1, 53))).minimal(), @r"
    parse@eni-b 10.0.1.20:1 to 203.0.113.1:53 UDP
    anti-spoof@eni-b passed
    neighbor@eni-b passed
    link-local@eni-b passed
    multicast@eni-b passed
    security-group-out@eni-b allowed sg-web/sgr-webout4
    route@eni-b route 0.0.0.0/0 internet-gateway
    gateway-out@eni-b dropped no-public-address
    = dropped no-public-address
    ");
}

#[test]
fn answered_by_the_card() {
    let card = Card::new();
    let arp = arp_request(1, A, B);
    assert_snapshot!(trace_frame(&card, PortId(1), &arp), @r"
    parse              eni-a        ARP for 10.0.1.20
    anti-spoof         eni-a        Passed.
    neighbor           eni-a        Answered by the card: 10.0.1.20 is at 02:00:00:00:00:02.
    replied
    ");
    let metadata = pkt(1, A, "169.254.169.254", syn(1, 80));
    assert_snapshot!(trace(&card, &metadata).minimal(), @r"
    parse@eni-a 10.0.1.10:1 to 169.254.169.254:80 TCP
    anti-spoof@eni-a passed
    neighbor@eni-a passed
    link-local@eni-a service 169.254.169.254
    = service
    ");
    let router = pkt(1, A, "10.0.1.1", L4::EchoRequest(1));
    assert_snapshot!(trace(&card, &router).minimal(), @r"
    parse@eni-a 10.0.1.10 to 10.0.1.1 ICMP type 8 code 0
    anti-spoof@eni-a passed
    neighbor@eni-a passed
    link-local@eni-a answered
    = replied
    ");
}

#[test]
fn frames_that_get_nowhere() {
    let card = Card::new();
    assert_snapshot!(trace_frame(&card, PortId(1), &[0; 20]).minimal(), @r"
    parse@eni-a EtherType 0x0000
    parse@eni-a dropped unsupported-ether-type
    = dropped unsupported-ether-type
    ");
    assert_snapshot!(trace_frame(&card, PortId(55), &[0; 20]).minimal(), @r"
    port dropped unknown-port
    = dropped unknown-port
    ");
    let malformed = trace_frame(&card, PortId(1), &[0; 10]);
    assert_snapshot!(malformed.minimal(), @r"
    parse@eni-a dropped malformed
    = dropped malformed
    ");
    let mut unattached = Card::new();
    unattached.edit_interface("eni-a", |i| i.instance_id = None);
    assert_snapshot!(trace(&unattached, &pkt(1, A, B, syn(1, 80))).minimal(), @r"
    port@eni-a dropped unattached
    = dropped unattached
    ");
    let spoofed = pkt(1, B, A, syn(1, 80));
    assert_snapshot!(trace(&card, &spoofed).minimal(), @r"
    parse@eni-a 10.0.1.20:1 to 10.0.1.10:80 TCP
    anti-spoof@eni-a dropped source-address
    = dropped source-address
    ");
}

#[test]
fn a_trace_is_json() {
    let card = Card::new();
    let trace = trace(&card, &pkt(1, A, B, syn(1000, 443)));
    let json = serde_json::to_value(&trace).unwrap();
    assert_eq!(json["outcome"]["dropped"], "security-group-inbound");
    let back: Trace = serde_json::from_value(json).unwrap();
    assert_eq!(back, trace);
    assert_eq!(trace.outcome, Outcome::Dropped(DropReason::SecurityGroupInbound));
}
