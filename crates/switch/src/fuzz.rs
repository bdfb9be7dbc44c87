//! Fuzzing: arbitrary frames into a switch with tables, at arbitrary times, with changes in between.
//!
//! The body is a library function, so that a fuzzer's corpus and its findings replay under `cargo test`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use trinic_wire::reply::MAX_LEN;
use trinic_wire::tcp::{self, Flags};
use trinic_wire::time::Instant;
use trinic_wire::{Protocol, ethernet, icmpv4, ipv4, ipv6, udp};

use crate::tables::{
    Allowances, Bandwidth, Entry, Id, Interface, Mac, PublicAddress, Route, RouteTable, Rule, RulePeer,
    RuleProtocol, SecurityGroup, Subnet, Tables, Target, TrackingTimeouts, Vpc,
};
use crate::trace::Outcome;
use crate::{Config, Offload, Output, Packet, PortId, ROUTER_MAC, Switch, Verdict};

/// Frames of one run.
const MAX_FRAMES: usize = 4_096;
/// Connections per interface.
const MAX_CONNECTIONS: usize = 32;
/// Flows in the cache of a port.
const MAX_FLOWS: usize = 16;
/// The port of the internet.
const INTERNET: PortId = PortId(3);

/// Reads `data` as a list of frames and passes each through a switch with two interfaces and the internet.
///
/// A frame is a control byte (two bits of port, then: made from a template, offloaded checksum, segments, a
/// second passes, a rule changes), then either a length and the frame, or the number of a template and up to
/// seven changes of its bytes.
///
/// # Panics
///
/// When the switch breaks a promise: it panics, a trace ends otherwise than the packet path, a reply is
/// larger than its buffer, or what it remembers is not bounded.
pub fn frames(data: &[u8]) {
    let mut run = Run::new();
    let mut input = Input(data);
    for _ in 0..MAX_FRAMES {
        if run.step(&mut input).is_none() {
            break;
        }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// As many bytes as are there, at most `len`.
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

struct Run {
    switch: Switch,
    out: Output,
    now: Instant,
    templates: Vec<Vec<u8>>,
    open: bool,
}

impl Run {
    fn new() -> Self {
        let mut switch = Switch::new(Config {
            conntrack_entries: MAX_CONNECTIONS,
            cached_flows: MAX_FLOWS,
            ..Config::default()
        });
        switch.load(tables(true));
        for (id, port) in [("eni-1", PortId(1)), ("eni-2", PortId(2))] {
            assert_eq!(switch.connect(id, port), Ok(()), "The port is free.");
        }
        assert_eq!(switch.connect_internet(INTERNET), Ok(()), "The port is free.");
        Self {
            switch,
            out: Output::new(),
            now: Instant::ZERO,
            templates: templates(),
            open: true,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let control = input.byte()?;
        let port = PortId(u32::from(control & 3));
        let mut frame = if control & 4 == 0 {
            let len = usize::from(input.word()?);
            input.bytes(len).to_vec()
        } else {
            self.template(input)?
        };
        let offload = Offload {
            checksum_partial: control & 8 != 0,
            gso_size: if control & 16 == 0 { 0 } else { 1_400 },
        };
        if control & 32 != 0 {
            self.now = self.now + Duration::from_secs(1);
            self.switch.expire(self.now);
        }
        if control & 64 != 0 {
            self.open = !self.open;
            self.switch.load(tables(self.open));
        }
        // The window may end before the frame does.
        let total_len = frame.len() + if control & 128 == 0 { 0 } else { 20_000 };
        self.send(port, &mut frame, total_len, offload);
        Some(())
    }

    fn template(&self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let choice = input.byte()?;
        let mut frame = self.templates[usize::from(choice >> 3) % self.templates.len()].clone();
        for _ in 0..choice & 7 {
            let at = usize::from(input.byte()?) % frame.len();
            frame[at] = input.byte()?;
        }
        Some(frame)
    }

    fn send(&mut self, port: PortId, frame: &mut [u8], total_len: usize, offload: Offload) {
        let trace = self.switch.trace(self.now, port, frame, total_len, offload);
        let mut packet = Packet {
            window: frame,
            total_len,
            offload,
            shape: None,
        };
        let verdict = self.switch.process(self.now, port, &mut packet, &mut self.out);
        let agree = match (&trace.outcome, verdict) {
            (Outcome::Delivered(_), Verdict::Forward { .. })
            | (Outcome::Service, Verdict::Service { .. })
            | (Outcome::Replied, Verdict::Replied | Verdict::Forward { .. }) => true,
            (Outcome::Dropped(told), Verdict::Drop(reason)) => *told == reason,
            _ => false,
        };
        assert!(agree, "{verdict:?} but the trace says {trace}");
        assert!(self.out.frame().is_none_or(|reply| reply.len() <= MAX_LEN));
        for id in ["eni-1", "eni-2"] {
            let tracked = self.switch.counters(id).map_or(0, |c| c.conntrack_entries);
            assert!(tracked <= MAX_CONNECTIONS && self.switch.cached_flows(id) <= MAX_FLOWS);
        }
    }
}

fn mac(number: u8) -> Mac {
    [2, 0, 0, 0, 0, number]
}

const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 12);
const ONE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 11);
const TWO_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 12);
const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

fn tables(open: bool) -> Tables {
    let id = |text: &str| -> Id { text.into() };
    let v4 = |len| ipnet::Ipv4Net::new(Ipv4Addr::new(10, 0, 0, 0), len).unwrap_or_default();
    let v6 =
        |len| ipnet::Ipv6Net::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), len).unwrap_or_default();
    let rule = |peer| Rule {
        id: id("sgr-1"),
        protocol: RuleProtocol::Any,
        from_port: -1,
        to_port: -1,
        peer,
    };
    let all = || vec![rule(RulePeer::Cidr(ipnet::Ipv4Net::default().into()))];
    let route = |destination, target| Route { destination, target };
    let mut entries = vec![
        Entry::Vpc(Vpc {
            id: id("vpc-1"),
            ipv4: vec![v4(16)],
            ipv6: vec![v6(56)],
            dns_support: true,
        }),
        Entry::Subnet(Subnet {
            id: id("subnet-1"),
            vpc_id: id("vpc-1"),
            ipv4: Some(v4(24)),
            ipv6: Some(v6(64)),
            route_table_id: id("rtb-1"),
        }),
        Entry::RouteTable(RouteTable {
            id: id("rtb-1"),
            vpc_id: id("vpc-1"),
            routes: vec![
                route(v4(16).into(), Target::Local),
                route(v6(56).into(), Target::Local),
                route(
                    ipnet::Ipv4Net::default().into(),
                    Target::InternetGateway(id("igw-1")),
                ),
            ],
        }),
        Entry::SecurityGroup(SecurityGroup {
            id: id("sg-1"),
            vpc_id: id("vpc-1"),
            inbound: if open {
                vec![rule(RulePeer::Group(id("sg-1")))]
            } else {
                Vec::new()
            },
            outbound: all(),
        }),
    ];
    for (number, address, address_v6) in [(1, ONE, ONE_V6), (2, TWO, TWO_V6)] {
        entries.push(Entry::Interface(Interface {
            id: id(&format!("eni-{number}")),
            vpc_id: id("vpc-1"),
            subnet_id: id("subnet-1"),
            mac: mac(number),
            ipv4: vec![address],
            ipv6: vec![address_v6],
            ipv4_prefixes: Vec::new(),
            ipv6_prefixes: Vec::new(),
            groups: vec![id("sg-1")],
            source_dest_check: number == 1,
            public: vec![PublicAddress {
                private: address,
                public: Ipv4Addr::new(198, 18, 0, number),
            }],
            timeouts: TrackingTimeouts::default(),
            instance_id: Some(id("i-1")),
            allowances: (number == 2).then(allowances),
        }));
    }
    Tables {
        entries: entries.into_iter().map(|e| (e.id().clone(), e)).collect(),
        ..Tables::default()
    }
}

/// Limits that a run meets.
fn allowances() -> Box<Allowances> {
    Box::new(Allowances {
        bandwidth_in: Some(Bandwidth::steady(1_000_000)),
        bandwidth_out: Some(Bandwidth {
            baseline_bps: 8_000,
            peak_bps: 2_000_000,
        }),
        link_local_packets_per_s: Some(5),
        ..Allowances::default()
    })
}

/// Good frames to start from. One that could not be written would be empty, and is left out.
fn templates() -> Vec<Vec<u8>> {
    let pairs = [
        (1, IpAddr::from(ONE), IpAddr::from(TWO)),
        (2, TWO.into(), ONE.into()),
        (1, ONE.into(), WORLD.into()),
        (3, WORLD.into(), Ipv4Addr::new(198, 18, 0, 1).into()),
        (1, ONE_V6.into(), TWO_V6.into()),
    ];
    let mut templates = Vec::new();
    for (number, from, to) in pairs {
        for kind in 0..4 {
            templates.extend(template(number, from, to, kind));
        }
    }
    templates
}

fn template(number: u8, from: IpAddr, to: IpAddr, kind: u8) -> Option<Vec<u8>> {
    let mut body = [0; 256];
    let (protocol, len) = match kind {
        0 | 1 => {
            let segment = tcp::Repr {
                source_port: 1_000,
                destination_port: 80,
                sequence: 0,
                acknowledgement: 0,
                flags: if kind == 0 { Flags::SYN } else { Flags::ACK },
                window: 0,
                urgent: 0,
                options: tcp::Options::default(),
                payload: b"data",
            };
            (Protocol::TCP, segment.emit(&mut body, from, to).ok()?)
        }
        2 => {
            let datagram = udp::Repr {
                source_port: 1_000,
                destination_port: 53,
                payload: b"data",
            };
            (Protocol::UDP, datagram.emit(&mut body, from, to).ok()?)
        }
        _ => {
            let inner = template(number, to, from, 2)?;
            let message = icmpv4::Repr::TimeExceeded {
                code: 0,
                quote: &inner[ethernet::HEADER_LEN..],
            };
            (Protocol::ICMPV4, message.emit(&mut body).ok()?)
        }
    };
    let mut frame = vec![0; 512];
    let v6 = from.is_ipv6();
    let ethernet = ethernet::Repr {
        destination: ROUTER_MAC,
        source: mac(number),
        tag: None,
        ethertype: if v6 {
            ethernet::EtherType::IPV6
        } else {
            ethernet::EtherType::IPV4
        },
    };
    let mut at = ethernet.emit(&mut frame).ok()?;
    at += match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4::Repr::new(from, to, protocol, len)
            .emit(&mut frame[at..])
            .ok()?,
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6::Repr::new(from, to, protocol, len)
            .emit(&mut frame[at..])
            .ok()?,
        _ => return None,
    };
    frame.get_mut(at..at + len)?.copy_from_slice(&body[..len]);
    frame.truncate(at + len);
    Some(frame)
}
