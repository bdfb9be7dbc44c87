//! Nanoseconds per packet by the number of connections. `cargo bench -p trinic-switch --bench flows`.
//!
//! Two interfaces with stateful groups; one sends 64-byte frames of its connections in turn. One thread; the
//! frames lie in 64 small windows, as in a device's ring, and what it takes to write them is measured alone and
//! taken off. Figures are medians of many short rounds, since other programs of the machine disturb some.
//!
//! With `--count N FLOWS [--batch|--shaped|--walk]` it runs N packets and prints nothing, for a tool that counts instructions.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "A benchmark prints.")]
#![expect(clippy::disallowed_methods, reason = "A benchmark reads the clock.")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use trinic_switch::tables::{
    Allowances, Bandwidth, Entry, Interface, Route, RouteTable, Rule, RulePeer, RuleProtocol, SecurityGroup,
    Subnet, Tables, Target, TrackingTimeouts, Vpc,
};
use trinic_switch::{Config, Offload, Output, Packet, PortId, ROUTER_MAC, Switch, Verdict};
use trinic_wire::tcp::{self, Flags};
use trinic_wire::time::Instant;
use trinic_wire::{Protocol, ethernet, ipv4, ipv6, udp};

const FLOWS: [u32; 3] = [1, 256, 131_072];
const BATCH: usize = 64;
const FRAME: usize = 64;
/// Packets of one round.
const ROUND: u32 = 1 << 14;
const ROUNDS: usize = 101;

#[derive(Clone, Copy, PartialEq)]
enum How {
    One,
    Batch,
    /// A batch between interfaces with allowances that are never used up.
    Shaped,
    Walk,
    Generate,
}

#[derive(Clone, Copy)]
struct Traffic {
    v6: bool,
    tcp: bool,
    flows: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "--count") {
        let number = |i: usize| arguments.get(at + i).and_then(|n| n.parse().ok()).unwrap_or(0u32);
        let traffic = Traffic {
            v6: false,
            tcp: true,
            flows: number(2),
        };
        let is_asked = |name: &str| arguments.iter().any(|a| a == name);
        let ways = [
            ("--batch", How::Batch),
            ("--shaped", How::Shaped),
            ("--walk", How::Walk),
        ];
        let asked = ways.iter().find(|(name, _)| is_asked(name));
        let how = asked.map_or(How::One, |(_, how)| *how);
        Run::new(traffic, how).round(how, number(1));
        return;
    }
    println!(
        "{:<12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}   ns per packet",
        "", "flows", "batch", "shaped", "one", "walk", "generator"
    );
    for v6 in [false, true] {
        for tcp in [true, false] {
            for flows in FLOWS {
                report(Traffic { v6, tcp, flows });
            }
        }
    }
}

fn report(traffic: Traffic) {
    let name = format!(
        "{} IPv{}",
        if traffic.tcp { "TCP" } else { "UDP" },
        if traffic.v6 { 6 } else { 4 }
    );
    let generator = median(traffic, How::Generate);
    let net = |how| median(traffic, how) - generator;
    println!(
        "{name:<12} {:>9} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {generator:>9.1}",
        traffic.flows,
        net(How::Batch),
        net(How::Shaped),
        net(How::One),
        net(How::Walk),
    );
}

/// The median of the rounds' nanoseconds per packet.
fn median(traffic: Traffic, how: How) -> f64 {
    let mut run = Run::new(traffic, how);
    let rounds = if how == How::Walk { ROUNDS / 5 } else { ROUNDS };
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = std::time::Instant::now();
            run.round(how, ROUND);
            start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUND)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

struct Run {
    switch: Switch,
    out: Output,
    traffic: Traffic,
    template: [u8; 128],
    len: usize,
    windows: Vec<[u8; 128]>,
    next: u32,
    now: u64,
}

impl Run {
    fn new(traffic: Traffic, how: How) -> Self {
        let flows = traffic.flows as usize;
        let mut switch = Switch::new(Config {
            conntrack_entries: 2 * flows + 64,
            cached_flows: if how == How::Walk { 0 } else { flows + 64 },
            ..Config::default()
        });
        switch.load(tables((how == How::Shaped).then(plenty)));
        for number in [1, 2] {
            switch.connect(&format!("eni-{number}"), PortId(number)).unwrap();
        }
        let frame = frame(traffic, Flags::ACK);
        let mut template = [0; 128];
        template[..frame.len()].copy_from_slice(&frame);
        let mut run = Self {
            switch,
            out: Output::new(),
            traffic,
            template,
            len: frame.len(),
            windows: vec![[0; 128]; BATCH],
            next: 0,
            now: 1_000_000_000,
        };
        if how != How::Generate {
            run.open();
            run.round(how, traffic.flows.max(1_000));
        }
        run
    }

    /// Opens the connections, so that the segments of the rounds belong to one each.
    fn open(&mut self) {
        let mut syn = self.template;
        if self.traffic.tcp {
            syn[self.transport() + 13] = Flags::SYN.0;
        }
        for flow in 0..self.traffic.flows {
            let mut window = syn;
            patch(&mut window, self.transport(), flow);
            assert!(matches!(self.send(&mut window), Verdict::Forward { .. }));
        }
    }

    fn transport(&self) -> usize {
        if self.traffic.v6 { 54 } else { 34 }
    }

    fn send(&mut self, window: &mut [u8; 128]) -> Verdict {
        let mut packet = Packet {
            window: &mut window[..self.len],
            total_len: self.len.max(FRAME),
            offload: Offload::default(),
            shape: None,
        };
        let now = Instant::from_nanos(self.now);
        self.switch.process(now, PortId(1), &mut packet, &mut self.out)
    }

    fn generate(&mut self) {
        let transport = self.transport();
        for window in &mut self.windows {
            *window = self.template;
            patch(window, transport, self.next);
            self.next += 1;
            if self.next == self.traffic.flows {
                self.next = 0;
            }
        }
    }

    fn batch(&mut self) {
        let (len, now) = (self.len, Instant::from_nanos(self.now));
        let mut windows = self.windows.iter_mut();
        let mut packets: [_; BATCH] = std::array::from_fn(|_| Packet {
            window: windows.next().map_or(&mut [], |window| &mut window[..len]),
            total_len: len.max(FRAME),
            offload: Offload::default(),
            shape: None,
        });
        let mut verdicts = [Verdict::Replied; BATCH];
        let out = &mut self.out;
        self.switch
            .process_batch(now, PortId(1), &mut packets, &mut verdicts, out, |_, _| {});
        assert!(verdicts.iter().all(|v| matches!(v, Verdict::Forward { .. })));
    }

    fn round(&mut self, how: How, packets: u32) {
        for _ in 0..packets.div_ceil(64) {
            self.now += 5_000;
            self.generate();
            black_box(&mut self.windows);
            if how == How::Generate {
                continue;
            }
            if matches!(how, How::Batch | How::Shaped) {
                self.batch();
                continue;
            }
            let mut windows = std::mem::take(&mut self.windows);
            for window in &mut windows {
                let verdict = self.send(window);
                assert!(matches!(verdict, Verdict::Forward { .. }));
            }
            self.windows = windows;
        }
    }
}

/// Makes the frame one of this flow.
fn patch(window: &mut [u8; 128], transport: usize, flow: u32) {
    let [_, high, a, b] = flow.to_be_bytes();
    window[transport] = a;
    window[transport + 1] = b;
    window[transport + 3] = 0x50 + high;
}

fn address(number: u8, v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number) + 16).into()
    } else {
        Ipv4Addr::new(10, 0, 0, number + 16).into()
    }
}

fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

fn frame(traffic: Traffic, flags: Flags) -> Vec<u8> {
    let (from, to) = (address(1, traffic.v6), address(2, traffic.v6));
    let mut transport = [0; 64];
    let (protocol, len) = if traffic.tcp {
        let segment = tcp::Repr {
            source_port: 0,
            destination_port: 0x1f50,
            sequence: 0,
            acknowledgement: 0,
            flags,
            window: 0,
            urgent: 0,
            options: tcp::Options::default(),
            payload: b"123456",
        };
        (Protocol::TCP, segment.emit(&mut transport, from, to).unwrap())
    } else {
        let datagram = udp::Repr {
            source_port: 0,
            destination_port: 0x1f50,
            payload: b"123456789012345678",
        };
        (Protocol::UDP, datagram.emit(&mut transport, from, to).unwrap())
    };
    let mut out = vec![0; 128];
    let ethernet = ethernet::Repr {
        destination: ROUTER_MAC,
        source: mac(1),
        tag: None,
        ethertype: if traffic.v6 {
            ethernet::EtherType::IPV6
        } else {
            ethernet::EtherType::IPV4
        },
    };
    let mut at = ethernet.emit(&mut out).unwrap();
    at += match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4::Repr::new(from, to, protocol, len)
            .emit(&mut out[at..])
            .unwrap(),
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6::Repr::new(from, to, protocol, len)
            .emit(&mut out[at..])
            .unwrap(),
        _ => 0,
    };
    out[at..at + len].copy_from_slice(&transport[..len]);
    out.truncate(at + len);
    out
}

/// More than the benchmark can use.
fn plenty() -> Box<Allowances> {
    let bandwidth = Bandwidth {
        baseline_bps: 500_000_000_000,
        peak_bps: 1_000_000_000_000,
    };
    Box::new(Allowances {
        bandwidth_in: Some(bandwidth),
        bandwidth_out: Some(bandwidth),
        packets_per_s: Some(1_000_000_000),
        ..Allowances::default()
    })
}

fn tables(allowances: Option<Box<Allowances>>) -> Tables {
    let rule = |peer: &str| Rule {
        id: "sgr-1".into(),
        protocol: RuleProtocol::Any,
        from_port: -1,
        to_port: -1,
        peer: RulePeer::Cidr(peer.parse().unwrap()),
    };
    // Narrower than everyone, so that every flow is tracked.
    let rules = || vec![rule("10.0.0.0/8"), rule("2001:db8::/32")];
    let mut entries = vec![
        Entry::Vpc(Vpc {
            id: "vpc-1".into(),
            ipv4: vec!["10.0.0.0/16".parse().unwrap()],
            ipv6: vec!["2001:db8::/56".parse().unwrap()],
            dns_support: true,
        }),
        Entry::Subnet(Subnet {
            id: "subnet-1".into(),
            vpc_id: "vpc-1".into(),
            ipv4: Some("10.0.0.0/20".parse().unwrap()),
            ipv6: Some("2001:db8::/64".parse().unwrap()),
            route_table_id: "rtb-1".into(),
        }),
        Entry::RouteTable(RouteTable {
            id: "rtb-1".into(),
            vpc_id: "vpc-1".into(),
            routes: ["10.0.0.0/16", "2001:db8::/56"]
                .map(|net| Route {
                    destination: net.parse().unwrap(),
                    target: Target::Local,
                })
                .to_vec(),
        }),
        Entry::SecurityGroup(SecurityGroup {
            id: "sg-1".into(),
            vpc_id: "vpc-1".into(),
            inbound: rules(),
            outbound: rules(),
        }),
    ];
    let interfaces = [1, 2].map(|number| Interface {
        allowances: allowances.clone(),
        ..interface(number)
    });
    entries.extend(interfaces.map(Entry::Interface));
    Tables {
        entries: entries.into_iter().map(|e| (e.id().clone(), e)).collect(),
        ..Tables::default()
    }
}

fn interface(number: u8) -> Interface {
    let (IpAddr::V4(ipv4), IpAddr::V6(ipv6)) = (address(number, false), address(number, true)) else {
        unreachable!("one of each family");
    };
    Interface {
        id: format!("eni-{number}").as_str().into(),
        vpc_id: "vpc-1".into(),
        subnet_id: "subnet-1".into(),
        mac: mac(number),
        ipv4: vec![ipv4],
        ipv6: vec![ipv6],
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        groups: vec!["sg-1".into()],
        source_dest_check: true,
        public: Vec::new(),
        timeouts: TrackingTimeouts::default(),
        instance_id: Some("i-1".into()),
        allowances: None,
    }
}
