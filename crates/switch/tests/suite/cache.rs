//! The flow cache equals the walk: two switches, one with a cache and one without, see the same packets,
//! changes of the tables and passing of time, and must not differ in a verdict, a byte or a counter.

use std::time::Duration;

use proptest::prelude::*;
use trinic_switch::tables::{
    Allowances, Bandwidth, Entry, Interface, Rule, Tables, Target, TrackingTimeouts,
};
use trinic_switch::{Config, INTERNET_MAC, Offload, PortId, ROUTER_MAC};
use trinic_wire::tcp::Flags;

use crate::packets::{L4, Pkt, ack, ip, mac, pkt, syn, tcp, udp};
use crate::support::{
    ANY, Card, ICMP, INTERFACES, INTERNET, TCP, UDP, everything, group, route, route_table, rule,
};

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";

#[test]
fn known_flows_are_cached() {
    let mut card = Card::new();
    card.arrives(&pkt(1, A, B, syn(1, 80)), PortId(2));
    assert_eq!(card.switch.cached_flows("eni-a"), 0);
    card.arrives(&pkt(1, A, B, ack(1, 80)), PortId(2));
    assert_eq!(card.switch.cached_flows("eni-a"), 1);
    card.arrives(&pkt(1, A, B, ack(1, 80)), PortId(2));
    card.arrives(&pkt(1, A, B, udp(1, 53)), PortId(2));
    assert_eq!(card.switch.cached_flows("eni-a"), 2);
}

#[test]
fn the_cache_is_bounded() {
    let mut card = Card::with(Config {
        cached_flows: 10,
        ..Config::default()
    });
    for port in 0..100 {
        card.arrives(&pkt(1, A, B, udp(port, 53)), PortId(2));
        assert!(card.switch.cached_flows("eni-a") <= 10);
    }
}

/// One thing that happens to both switches.
#[derive(Debug, Clone)]
enum Op {
    Send {
        from: usize,
        source: usize,
        to: usize,
        l4: L4,
        ttl: u8,
        size: usize,
        to_mac: u8,
        gso: bool,
    },
    Answer,
    Wait(u64),
    Expire,
    Group(usize, usize, usize),
    Interface(usize, Change),
    Routes(usize),
    Port(u32, bool),
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Check(bool),
    Attach(bool),
    Groups(u8),
    Public(bool),
    Secondary(bool),
    Timeouts(bool),
    Allow(u8),
}

/// Addresses that packets come from and go to.
const ADDRESSES: [&str; 16] = [
    "10.0.1.10",
    "10.0.1.20",
    "10.0.2.30",
    "10.0.1.40",
    "10.0.1.77",
    "10.0.9.9",
    "203.0.113.1",
    "198.18.0.10",
    "198.18.0.40",
    "198.18.0.99",
    "8.8.8.8",
    "169.254.169.254",
    "2001:db8:0:1::10",
    "2001:db8:0:1::20",
    "2001:db8:0:2::30",
    "2001:db8:ffff::1",
];

fn inbound_rules(choice: usize) -> Vec<Rule> {
    match choice {
        0 => Vec::new(),
        1 => everything("sgr-in"),
        2 => vec![
            rule("sgr-80", TCP, (80, 80), "0.0.0.0/0"),
            rule("sgr-806", TCP, (80, 80), "::/0"),
        ],
        3 => vec![
            rule("sgr-80n", TCP, (80, 80), "10.0.0.0/8"),
            rule("sgr-ping", ICMP, (8, -1), "0.0.0.0/0"),
        ],
        4 => vec![
            rule("sgr-web", ANY, (-1, -1), "sg-web"),
            rule("sgr-53", UDP, (53, 53), "0.0.0.0/0"),
        ],
        _ => vec![
            rule("sgr-hi", TCP, (1000, 2000), "0.0.0.0/0"),
            rule("sgr-u", UDP, (0, 65535), "0.0.0.0/0"),
        ],
    }
}

fn l4() -> impl Strategy<Value = L4> {
    let port = || prop_oneof![Just(80u16), Just(53), Just(1000), Just(1001)];
    let flags = prop_oneof![
        3 => Just(Flags::SYN),
        2 => Just(Flags::SYN.with(Flags::ACK)),
        8 => Just(Flags::ACK),
        1 => Just(Flags::FIN.with(Flags::ACK)),
        1 => Just(Flags::RST),
    ];
    prop_oneof![
        6 => (port(), port(), flags).prop_map(|(from, to, flags)| tcp(from, to, flags)),
        4 => (port(), port()).prop_map(|(from, to)| udp(from, to)),
        1 => (1..3u16).prop_map(L4::EchoRequest),
        1 => (1..3u16).prop_map(L4::EchoReply),
        1 => Just(L4::Raw(47)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<bool>().prop_map(Change::Check),
        any::<bool>().prop_map(Change::Attach),
        (0..8u8).prop_map(Change::Groups),
        any::<bool>().prop_map(Change::Public),
        any::<bool>().prop_map(Change::Secondary),
        any::<bool>().prop_map(Change::Timeouts),
        (0..8u8).prop_map(Change::Allow),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let send = (
        0..6usize,
        // Mostly the sender's own address.
        prop_oneof![6 => Just(usize::MAX), 1 => 0..ADDRESSES.len()],
        0..ADDRESSES.len(),
        l4(),
        prop_oneof![8 => Just(64u8), 1 => Just(1), 1 => Just(0)],
        prop_oneof![8 => Just(8usize), 1 => Just(1480), 1 => Just(9000)],
        prop_oneof![8 => Just(0u8), 1 => 1..6u8],
        any::<bool>(),
    );
    prop_oneof![
        30 => send.prop_map(|(from, source, to, l4, ttl, size, to_mac, gso)| Op::Send {
            from, source, to, l4, ttl, size, to_mac, gso
        }),
        30 => Just(Op::Answer),
        3 => prop_oneof![Just(1_000u64), Just(300), Just(29_500), Just(61_000), Just(200_000)].prop_map(Op::Wait),
        1 => Just(Op::Expire),
        4 => (0..4usize, 0..6usize, 0..6usize).prop_map(|(g, i, o)| Op::Group(g, i, o)),
        3 => (0..5usize, change()).prop_map(|(i, c)| Op::Interface(i, c)),
        1 => (0..4usize).prop_map(Op::Routes),
        1 => (1..6u32, any::<bool>()).prop_map(|(p, on)| Op::Port(p, on)),
    ]
}

/// Frames that one port sends at a time, each of them several times and in turn.
#[derive(Debug, Clone)]
struct Burst {
    wait_ms: u64,
    change: Option<Op>,
    from: usize,
    sends: Vec<Op>,
    repeats: usize,
}

fn burst() -> impl Strategy<Value = Burst> {
    let change = op().prop_filter("a change", |op| {
        matches!(op, Op::Group(..) | Op::Interface(..) | Op::Routes(_))
    });
    let send = op().prop_filter("a packet", |op| matches!(op, Op::Send { .. }));
    (
        prop_oneof![Just(0u64), Just(300), Just(61_000)],
        prop::option::weighted(0.2, change),
        0..6usize,
        prop::collection::vec(send, 1..12),
        1..9usize,
    )
        .prop_map(|(wait_ms, change, from, sends, repeats)| Burst {
            wait_ms,
            change,
            from,
            sends,
            repeats,
        })
}

impl Burst {
    fn frames(&self) -> Vec<(PortId, Vec<u8>, Offload)> {
        let frames = self.sends.iter().filter_map(|send| {
            let mut send = send.clone();
            if let Op::Send { from, .. } = &mut send {
                *from = self.from;
            }
            let (port, packet, offload) = build(&send)?;
            Some((port, packet.frame(), offload))
        });
        let once: Vec<_> = frames.collect();
        std::iter::repeat_n(once, self.repeats).flatten().collect()
    }
}

fn alter(interface: &mut Interface, change: Change) {
    let own = interface.ipv4[0];
    match change {
        Change::Check(on) => interface.source_dest_check = on,
        Change::Attach(on) => interface.instance_id = on.then(|| "i-1".into()),
        Change::Groups(bits) => {
            let all = ["sg-web", "sg-db", "sg-open"].iter().enumerate();
            let chosen = all.filter(|(i, _)| bits >> i & 1 == 1);
            interface.groups = chosen.map(|(_, id)| (*id).into()).collect();
        }
        Change::Public(on) => {
            interface.public.clear();
            if on {
                let public = [198, 18, 0, own.octets()[3]].into();
                interface
                    .public
                    .push(trinic_switch::tables::PublicAddress { private: own, public });
            }
        }
        Change::Secondary(on) => {
            interface.ipv4.truncate(1);
            if on {
                interface.ipv4.push("10.0.1.77".parse().unwrap());
            }
        }
        Change::Allow(bits) => {
            let bandwidth = |bit: u8| (bits & bit != 0).then(|| Bandwidth::steady(1_000_000));
            interface.allowances = Some(Box::new(Allowances {
                bandwidth_in: bandwidth(1),
                bandwidth_out: bandwidth(2),
                // A trace does not see what a packet to the sender itself takes on the way out; eni-c cannot
                // send one.
                packets_per_s: (bits & 4 != 0 && &*interface.id == "eni-c").then_some(1_000),
                tracked_connections: (bits & 4 != 0).then_some(4),
                link_local_packets_per_s: (bits & 4 != 0).then_some(2),
            }));
        }
        Change::Timeouts(on) => {
            interface.timeouts = TrackingTimeouts {
                tcp_established_s: if on { 60 } else { 432_000 },
                ..TrackingTimeouts::default()
            };
        }
    }
}

fn edit(tables: &mut Tables, op: &Op) {
    let igw = || route("0.0.0.0/0", Target::InternetGateway("igw-1".into()));
    let entry = match op {
        Op::Group(which, inbound, outbound) => {
            let id = ["sg-web", "sg-db", "sg-open", "sg-x"][*which];
            let vpc = if id == "sg-x" { "vpc-2" } else { "vpc-1" };
            group(id, vpc, inbound_rules(*inbound), inbound_rules(*outbound))
        }
        Op::Routes(0) => route_table(
            "rtb-2",
            "vpc-1",
            vec![route("0.0.0.0/0", Target::Interface("eni-r".into()))],
        ),
        Op::Routes(1) => route_table("rtb-2", "vpc-1", Vec::new()),
        Op::Routes(2) => route_table("rtb-1", "vpc-1", Vec::new()),
        Op::Routes(_) => route_table("rtb-1", "vpc-1", vec![igw()]),
        Op::Interface(which, change) => {
            let Some(Entry::Interface(interface)) = tables.entries.get(INTERFACES[*which]) else {
                unreachable!("interfaces are never removed here");
            };
            let mut interface = interface.clone();
            alter(&mut interface, *change);
            // An address has one owner.
            if let Change::Secondary(true) = change {
                for entry in tables.entries.values_mut() {
                    if let Entry::Interface(other) = entry {
                        other.ipv4.truncate(1);
                    }
                }
            }
            Entry::Interface(interface)
        }
        _ => return,
    };
    tables.entries.insert(entry.id().clone(), entry);
}

/// The packet of an operation, and the port that it comes from.
fn build(op: &Op) -> Option<(PortId, Pkt, Offload)> {
    let Op::Send {
        from,
        source,
        to,
        l4,
        ttl,
        size,
        to_mac,
        gso,
    } = op
    else {
        return None;
    };
    let to = ip(ADDRESSES[*to]);
    let own = match (from, to.is_ipv6()) {
        (5, false) => "203.0.113.1",
        (5, true) => "2001:db8:ffff::1",
        (n, false) => ["10.0.1.10", "10.0.1.20", "10.0.2.30", "10.0.1.40", "10.0.1.20"][*n],
        (n, true) => [
            "2001:db8:0:1::10",
            "2001:db8:0:1::20",
            "2001:db8:0:2::30",
            "2001:db8:0:1::40",
            "fe80::1",
        ][*n],
    };
    let source = match ADDRESSES.get(*source) {
        Some(address) if ip(address).is_ipv6() == to.is_ipv6() => ip(address),
        _ => ip(own),
    };
    let number = u8::try_from(*from + 1).ok()?;
    let packet = Pkt {
        from_mac: if *from == 5 { INTERNET_MAC } else { mac(number) },
        to_mac: if *to_mac == 0 { ROUTER_MAC } else { mac(*to_mac) },
        from: source,
        to,
        ttl: *ttl,
        df: size % 2 == 0,
        l4: l4.clone(),
        payload: *size,
    };
    let offload = Offload {
        checksum_partial: *gso && matches!(packet.l4, L4::Tcp { .. } | L4::Udp { .. }),
        gso_size: if *gso && *size == 9000 { 1400 } else { 0 },
    };
    let port = if *from == 5 {
        INTERNET
    } else {
        PortId(number.into())
    };
    Some((port, packet, offload))
}

/// The answer to a frame that arrived at a port, so that connections come about.
fn answer(at: PortId, frame: &[u8], sent: &Pkt) -> (PortId, Pkt) {
    let (from, to) = crate::packets::addresses(frame);
    let mut arrived = sent.clone();
    (arrived.from, arrived.to) = (from, to);
    let number = u8::try_from(at.0).unwrap_or(0);
    let mut back = arrived.answer(number);
    if at == INTERNET {
        back.from_mac = INTERNET_MAC;
    }
    back.ttl = 64;
    (at, back)
}

struct Pair {
    cached: Card,
    plain: Card,
    last: Option<(PortId, Pkt)>,
    hits: usize,
}

impl Pair {
    fn new(cached_flows: usize, conntrack_entries: usize) -> Self {
        let config = Config {
            cached_flows,
            conntrack_entries,
            ..Config::default()
        };
        let plain = Config {
            cached_flows: 0,
            ..config
        };
        Self {
            cached: Card::with(config),
            plain: Card::with(plain),
            last: None,
            hits: 0,
        }
    }

    fn send(&mut self, port: PortId, packet: &Pkt, offload: Offload) {
        let frame = packet.frame();
        let trace = self
            .cached
            .switch
            .trace(self.cached.now, port, &frame, frame.len(), offload);
        let a = self.cached.send_frame(port, &frame, offload);
        let b = self.plain.send_frame(port, &frame, offload);
        assert_eq!(a.verdict, b.verdict, "{packet:?}");
        assert_eq!(a.frame, b.frame, "{packet:?}");
        assert_eq!(a.reply, b.reply, "{packet:?}");
        crate::support::assert_trace_agrees(&trace, a.verdict);
        if let trinic_switch::Verdict::Forward { to } = a.verdict {
            self.hits += 1;
            if to != port {
                self.last = Some(answer(to, &a.frame, packet));
            }
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Send { .. } => {
                if let Some((port, packet, offload)) = build(op) {
                    self.send(port, &packet, offload);
                }
            }
            Op::Answer => {
                if let Some((port, packet)) = self.last.clone() {
                    self.send(port, &packet, Offload::default());
                }
            }
            Op::Wait(ms) => {
                for card in [&mut self.cached, &mut self.plain] {
                    card.wait(Duration::from_millis(*ms));
                }
            }
            Op::Expire => {
                for card in [&mut self.cached, &mut self.plain] {
                    card.switch.expire(card.now);
                }
            }
            Op::Port(port, on) => {
                for card in [&mut self.cached, &mut self.plain] {
                    if *on {
                        let id = INTERFACES[*port as usize - 1];
                        card.switch.connect(id, PortId(*port)).unwrap();
                    } else {
                        card.switch.disconnect(PortId(*port));
                    }
                }
            }
            Op::Group(..) | Op::Interface(..) | Op::Routes(_) => {
                for card in [&mut self.cached, &mut self.plain] {
                    card.edit(|tables| edit(tables, op));
                }
            }
        }
        assert_eq!(
            self.cached.all_drops(),
            self.plain.all_drops(),
            "counters after {op:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn cache_equals_walk(
        cached_flows in prop_oneof![Just(4_096usize), Just(3)],
        conntrack_entries in prop_oneof![Just(65_536usize), Just(5)],
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut pair = Pair::new(cached_flows, conntrack_entries);
        for op in &ops {
            pair.step(op);
        }
    }

    /// A batch is its frames one by one.
    #[test]
    fn batch_equals_one_by_one(
        cached_flows in prop_oneof![Just(4_096usize), Just(3)],
        bursts in prop::collection::vec(burst(), 1..40),
    ) {
        let config = Config { cached_flows, ..Config::default() };
        let (mut together, mut alone) = (Card::with(config), Card::with(config));
        for burst in &bursts {
            for card in [&mut together, &mut alone] {
                card.wait(Duration::from_millis(burst.wait_ms));
                if let Some(change) = &burst.change {
                    card.edit(|tables| edit(tables, change));
                }
            }
            let frames = burst.frames();
            let sent = together.send_batch(frames[0].0, &frames);
            for ((port, frame, offload), together) in frames.iter().zip(sent) {
                let alone = alone.send_frame(*port, frame, *offload);
                prop_assert_eq!(together.verdict, alone.verdict);
                prop_assert_eq!(together.frame, alone.frame);
                prop_assert_eq!(together.reply, alone.reply);
            }
            prop_assert_eq!(together.all_drops(), alone.all_drops());
        }
    }

    /// A snapshot, deltas, and the policy made afresh from the result decide alike.
    #[test]
    fn deltas_equal_a_snapshot(ops in prop::collection::vec(op(), 1..60)) {
        let mut by_deltas = Card::new();
        for op in &ops {
            if matches!(op, Op::Group(..) | Op::Interface(..) | Op::Routes(_)) {
                by_deltas.edit(|tables| edit(tables, op));
            }
        }
        let mut afresh = Card::new();
        afresh.switch = trinic_switch::Switch::default();
        afresh.switch.load(by_deltas.switch.tables().clone());
        for (id, port) in INTERFACES.iter().zip(1..) {
            afresh.switch.connect(id, PortId(port)).unwrap();
        }
        afresh.switch.connect_internet(INTERNET).unwrap();
        for op in &ops {
            let Some((port, packet, offload)) = build(op) else { continue };
            let frame = packet.frame();
            let a = by_deltas.send_frame(port, &frame, offload);
            let b = afresh.send_frame(port, &frame, offload);
            prop_assert_eq!(a.verdict, b.verdict, "{:?}", packet);
            prop_assert_eq!(a.frame, b.frame);
        }
    }
}

/// The random packets above do get through often enough to mean something.
#[test]
fn the_property_sees_forwarded_packets() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut hits = 0;
    for _ in 0..20 {
        let ops = prop::collection::vec(op(), 150);
        let mut pair = Pair::new(4_096, 65_536);
        for op in &ops.new_tree(&mut runner).unwrap().current() {
            pair.step(op);
        }
        hits += pair.hits;
    }
    assert!(hits > 300, "{hits}");
}
