//! Nanoseconds per packet, and per change of the tables. `cargo bench -p trinic-switch`.
//!
//! One thread, packets in cache, no function around the switch: the cost of the decision alone.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "A benchmark prints.")]
#![expect(clippy::disallowed_methods, reason = "A benchmark reads the clock.")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use trinic_switch::tables::{
    Delta, Entry, Interface, PublicAddress, Revision, Route, RouteTable, Rule, RulePeer, RuleProtocol,
    SecurityGroup, Subnet, Tables, Target, TrackingTimeouts, Vpc,
};
use trinic_switch::{Config, Offload, Output, Packet, PortId, ROUTER_MAC, Switch, Verdict};
use trinic_wire::tcp::{self, Flags};
use trinic_wire::time::Instant;
use trinic_wire::{Protocol, ethernet, ipv4, udp};

const INTERFACES: u16 = 1_000;
const RULES: u16 = 60;
const INTERNET: PortId = PortId(5_000);

fn main() {
    let cached = card(Config::default());
    let walked = card(Config {
        cached_flows: 0,
        ..Config::default()
    });
    let inside = address(2);
    let outside = Ipv4Addr::new(203, 0, 113, 1);
    println!("{INTERFACES} interfaces in one VPC, {RULES} rules per direction, the last one matches\n");
    for (name, to, l4, size) in [
        ("TCP to a neighbor", inside, L4::Tcp(Flags::ACK), 64),
        ("UDP to a neighbor", inside, L4::Udp, 64),
        (
            "TCP to a neighbor, 64 KiB super-frame",
            inside,
            L4::Tcp(Flags::ACK),
            65_000,
        ),
        ("TCP to the internet (NAT)", outside, L4::Tcp(Flags::ACK), 64),
    ] {
        let frame = frame(to, l4, size);
        let (mut a, mut b) = (cached(), walked());
        println!(
            "{name:<40} {:>6.0} ns cached {:>6.0} ns walked",
            per_packet(&mut a, &frame),
            per_packet(&mut b, &frame)
        );
    }
    let syn = frame(inside, L4::Tcp(Flags::SYN), 0);
    println!(
        "{:<40} {:>6.0} ns",
        "new TCP connection",
        new_connections(&mut cached(), &syn)
    );
    let refused = frame(address(3), L4::Udp, 64);
    let mut card = cached();
    let closed = group("sg-closed", Vec::new(), rules());
    let interface = Interface {
        groups: vec!["sg-closed".into()],
        ..interface(3)
    };
    change(&mut card, vec![closed, Entry::Interface(interface)]);
    println!(
        "{:<40} {:>6.0} ns",
        "refused by a group",
        per_packet(&mut card, &refused)
    );
    println!("{:<40} {:>6.0} ns", "one interface changes", deltas(&mut card));
    println!(
        "{:<40} {:>6.0} ns",
        "one group of all interfaces changes",
        group_deltas(&mut card)
    );
}

/// Runs `body` for a fifth of a second in slices; nanoseconds per run in the best slice, since other programs
/// of the machine only ever add to it.
fn measure(mut body: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < 200 {
        let slice = std::time::Instant::now();
        for _ in 0..1_000 {
            body();
        }
        best = best.min(slice.elapsed().as_secs_f64() * 1e9 / 1_000.0);
    }
    best
}

fn per_packet(switch: &mut Switch, frame: &[u8]) -> f64 {
    let mut out = Output::new();
    let mut window = [0; 256];
    let head = frame.len().min(window.len());
    measure(|| {
        // The window is edited, so that each run needs a new one, as from a function.
        window[..head].copy_from_slice(&frame[..head]);
        let mut packet = Packet {
            window: &mut window[..head],
            total_len: frame.len(),
            offload: Offload {
                checksum_partial: true,
                gso_size: if frame.len() > 9_000 { 1_400 } else { 0 },
            },
            shape: None,
        };
        let _ = black_box(switch.process(Instant::ZERO, PortId(1), &mut packet, &mut out));
    })
}

fn new_connections(switch: &mut Switch, syn: &[u8]) -> f64 {
    let mut out = Output::new();
    let mut frame = syn.to_vec();
    let mut now = 0;
    let mut port = 0u16;
    measure(|| {
        port = port.wrapping_add(1);
        frame.copy_from_slice(syn);
        frame[34..36].copy_from_slice(&port.to_be_bytes());
        let total_len = frame.len();
        let mut packet = Packet {
            window: &mut frame,
            total_len,
            offload: Offload::default(),
            shape: None,
        };
        now += 10_000_000;
        let at = Instant::from_nanos(now);
        let verdict = switch.process(at, PortId(1), &mut packet, &mut out);
        assert!(matches!(verdict, Verdict::Forward { .. }));
    })
}

fn change(switch: &mut Switch, upsert: Vec<Entry>) {
    let from = switch.tables().revision;
    let delta = Delta {
        from,
        to: Revision(from.0 + 1),
        upsert,
        remove: Vec::new(),
    };
    switch.apply(delta).unwrap();
}

fn deltas(switch: &mut Switch) -> f64 {
    let mut turn = 0;
    measure(|| {
        turn = (turn + 1) % INTERFACES;
        change(switch, vec![Entry::Interface(interface(turn))]);
    })
}

fn group_deltas(switch: &mut Switch) -> f64 {
    measure(|| change(switch, vec![group("sg-1", rules(), rules())]))
}

#[derive(Clone, Copy)]
enum L4 {
    Tcp(Flags),
    Udp,
}

fn address(number: u16) -> Ipv4Addr {
    // The first addresses of a subnet are the router's and the resolver's.
    let [high, low] = (number + 16).to_be_bytes();
    Ipv4Addr::new(10, 0, 16 + high, low)
}

fn mac(number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [2, 0, 0, 0, high, low]
}

fn frame(to: Ipv4Addr, l4: L4, size: usize) -> Vec<u8> {
    let from = address(1);
    let data = vec![0; size];
    let mut out = vec![0; size + 100];
    let ethernet = ethernet::Repr {
        destination: ROUTER_MAC,
        source: mac(1),
        tag: None,
        ethertype: ethernet::EtherType::IPV4,
    };
    let mut len = ethernet.emit(&mut out).unwrap();
    let (a, b) = (IpAddr::V4(from), IpAddr::V4(to));
    let (protocol, transport) = match l4 {
        L4::Tcp(flags) => {
            let segment = tcp::Repr {
                source_port: 1_000,
                destination_port: 8_080,
                sequence: 0,
                acknowledgement: 0,
                flags,
                window: 0,
                urgent: 0,
                options: tcp::Options::default(),
                payload: &data,
            };
            (Protocol::TCP, segment.emit(&mut out[34..], a, b).unwrap())
        }
        L4::Udp => {
            let datagram = udp::Repr {
                source_port: 1_000,
                destination_port: 8_080,
                payload: &data,
            };
            (Protocol::UDP, datagram.emit(&mut out[34..], a, b).unwrap())
        }
    };
    let ip = ipv4::Repr {
        dont_fragment: true,
        ..ipv4::Repr::new(from, to, protocol, transport)
    };
    len += ip.emit(&mut out[len..]).unwrap();
    out.truncate(len + transport);
    out
}

fn rules() -> Vec<Rule> {
    let rule = |number: u16| Rule {
        id: format!("sgr-{number}").as_str().into(),
        protocol: RuleProtocol::Number(if number.is_multiple_of(2) { 6 } else { 17 }),
        from_port: i32::from(number),
        to_port: i32::from(number),
        peer: RulePeer::Cidr("10.0.0.0/8".parse().unwrap()),
    };
    let mut rules: Vec<_> = (0..RULES - 1).map(rule).collect();
    rules.push(Rule {
        protocol: RuleProtocol::Any,
        peer: RulePeer::Cidr("0.0.0.0/1".parse().unwrap()),
        ..rule(RULES)
    });
    rules.push(Rule {
        protocol: RuleProtocol::Any,
        peer: RulePeer::Cidr("128.0.0.0/1".parse().unwrap()),
        ..rule(RULES + 1)
    });
    rules
}

fn group(id: &str, inbound: Vec<Rule>, outbound: Vec<Rule>) -> Entry {
    Entry::SecurityGroup(SecurityGroup {
        id: id.into(),
        vpc_id: "vpc-1".into(),
        inbound,
        outbound,
    })
}

fn interface(number: u16) -> Interface {
    Interface {
        id: format!("eni-{number}").as_str().into(),
        vpc_id: "vpc-1".into(),
        subnet_id: "subnet-1".into(),
        mac: mac(number),
        ipv4: vec![address(number)],
        ipv6: Vec::new(),
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        groups: vec!["sg-1".into()],
        source_dest_check: true,
        public: vec![PublicAddress {
            private: address(number),
            public: Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + u32::from(number)),
        }],
        timeouts: TrackingTimeouts::default(),
        instance_id: Some("i-1".into()),
        allowances: None,
    }
}

/// Makes cards of this configuration.
fn card(config: Config) -> impl Fn() -> Switch {
    move || {
        let route = |destination: &str, target| Route {
            destination: destination.parse().unwrap(),
            target,
        };
        let mut entries = vec![
            Entry::Vpc(Vpc {
                id: "vpc-1".into(),
                ipv4: vec!["10.0.0.0/16".parse().unwrap()],
                ipv6: Vec::new(),
                dns_support: true,
            }),
            Entry::Subnet(Subnet {
                id: "subnet-1".into(),
                vpc_id: "vpc-1".into(),
                ipv4: Some("10.0.16.0/20".parse().unwrap()),
                ipv6: None,
                route_table_id: "rtb-1".into(),
            }),
            Entry::RouteTable(RouteTable {
                id: "rtb-1".into(),
                vpc_id: "vpc-1".into(),
                routes: vec![
                    route("10.0.0.0/16", Target::Local),
                    route("0.0.0.0/0", Target::InternetGateway("igw-1".into())),
                ],
            }),
            group("sg-1", rules(), rules()),
        ];
        entries.extend((0..INTERFACES).map(|n| Entry::Interface(interface(n))));
        let mut switch = Switch::new(config);
        switch.load(Tables {
            entries: entries.into_iter().map(|e| (e.id().clone(), e)).collect(),
            ..Tables::default()
        });
        for number in 0..INTERFACES {
            let id = format!("eni-{number}");
            switch.connect(&id, PortId(number.into())).unwrap();
        }
        switch.connect_internet(INTERNET).unwrap();
        switch
    }
}
