//! A card with two VPCs of the same CIDR, for the tests.
//!
//! | interface | VPC | subnet | address | groups | public |
//! |---|---|---|---|---|---|
//! | eni-a (1) | vpc-1 | subnet-1 | 10.0.1.10, 2001:db8:0:1::10 | sg-web | 198.18.0.10 |
//! | eni-b (2) | vpc-1 | subnet-1 | 10.0.1.20, 2001:db8:0:1::20 | sg-web | - |
//! | eni-c (3) | vpc-1 | subnet-2 | 10.0.2.30, 2001:db8:0:2::30 | sg-db | - |
//! | eni-r (4) | vpc-1 | subnet-1 | 10.0.1.40, 2001:db8:0:1::40 | sg-open | 198.18.0.40 |
//! | eni-x (5) | vpc-2 | subnet-x | 10.0.1.20 | sg-x | 198.18.0.99 |
//!
//! subnet-1 and subnet-x lead to internet gateways, subnet-2 does not. The internet is at port 100.

use std::time::Duration;

use trinic_switch::tables::{
    Delta, Entry, Interface, PublicAddress, Revision, Route, RouteTable, Rule, RulePeer, RuleProtocol,
    SecurityGroup, Subnet, Tables, Target, TrackingTimeouts, Vpc,
};
use trinic_switch::{
    Config, CountersSnapshot, DropReason, INTERNET_MAC, Offload, Output, Packet, PortId, Switch, Verdict,
};
use trinic_wire::time::Instant;

use crate::packets::{Pkt, ip4, mac};

pub(crate) const INTERNET: PortId = PortId(100);

/// What becomes of a packet that is let through.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) verdict: Verdict,
    pub(crate) frame: Vec<u8>,
    pub(crate) reply: Option<Vec<u8>>,
}

/// A switch with its tables.
pub(crate) struct Card {
    pub(crate) switch: Switch,
    pub(crate) now: Instant,
    out: Output,
}

pub(crate) fn rule(id: &str, protocol: RuleProtocol, ports: (i32, i32), peer: &str) -> Rule {
    Rule {
        id: id.into(),
        protocol,
        from_port: ports.0,
        to_port: ports.1,
        peer: match peer.parse() {
            Ok(net) => RulePeer::Cidr(net),
            Err(_) => RulePeer::Group(peer.into()),
        },
    }
}

pub(crate) const TCP: RuleProtocol = RuleProtocol::Number(6);
pub(crate) const UDP: RuleProtocol = RuleProtocol::Number(17);
pub(crate) const ICMP: RuleProtocol = RuleProtocol::Number(1);
pub(crate) const ICMPV6: RuleProtocol = RuleProtocol::Number(58);
pub(crate) const ANY: RuleProtocol = RuleProtocol::Any;

/// Everything to everyone.
pub(crate) fn everything(prefix: &str) -> Vec<Rule> {
    vec![
        rule(&format!("{prefix}4"), ANY, (-1, -1), "0.0.0.0/0"),
        rule(&format!("{prefix}6"), ANY, (-1, -1), "::/0"),
    ]
}

pub(crate) fn group(id: &str, vpc: &str, inbound: Vec<Rule>, outbound: Vec<Rule>) -> Entry {
    Entry::SecurityGroup(SecurityGroup {
        id: id.into(),
        vpc_id: vpc.into(),
        inbound,
        outbound,
    })
}

pub(crate) fn interface(id: &str, number: u8, subnet: &str, ipv4: &str, groups: &[&str]) -> Interface {
    let vpc = if subnet == "subnet-x" { "vpc-2" } else { "vpc-1" };
    let address = ip4(ipv4);
    let [.., third, last] = address.octets();
    Interface {
        id: id.into(),
        vpc_id: vpc.into(),
        subnet_id: subnet.into(),
        mac: mac(number),
        ipv4: vec![address],
        ipv6: if vpc == "vpc-1" {
            vec![format!("2001:db8:0:{third}::{last}").parse().unwrap()]
        } else {
            Vec::new()
        },
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        groups: groups.iter().map(|g| (*g).into()).collect(),
        source_dest_check: true,
        public: Vec::new(),
        timeouts: TrackingTimeouts::default(),
        instance_id: Some(format!("i-{number}").as_str().into()),
        allowances: None,
    }
}

pub(crate) fn public(mut interface: Interface, address: &str) -> Interface {
    interface.public = vec![PublicAddress {
        private: interface.ipv4[0],
        public: ip4(address),
    }];
    interface
}

pub(crate) fn route(destination: &str, target: Target) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        target,
    }
}

pub(crate) fn route_table(id: &str, vpc: &str, more: Vec<Route>) -> Entry {
    let mut routes = vec![route("10.0.0.0/16", Target::Local)];
    if vpc == "vpc-1" {
        routes.push(route("2001:db8::/56", Target::Local));
    }
    routes.extend(more);
    Entry::RouteTable(RouteTable {
        id: id.into(),
        vpc_id: vpc.into(),
        routes,
    })
}

fn subnet(id: &str, vpc: &str, ipv4: &str, ipv6: Option<&str>, table: &str) -> Entry {
    Entry::Subnet(Subnet {
        id: id.into(),
        vpc_id: vpc.into(),
        ipv4: Some(ipv4.parse().unwrap()),
        ipv6: ipv6.map(|net| net.parse().unwrap()),
        route_table_id: table.into(),
    })
}

/// The tables of the module's table.
pub(crate) fn world() -> Tables {
    let internet = |igw: &str| {
        vec![
            route("0.0.0.0/0", Target::InternetGateway(igw.into())),
            route("::/0", Target::InternetGateway(igw.into())),
        ]
    };
    let web = vec![
        rule("sgr-http", TCP, (80, 80), "0.0.0.0/0"),
        rule("sgr-http6", TCP, (80, 80), "::/0"),
        rule("sgr-ssh", TCP, (22, 22), "10.0.0.0/16"),
        rule("sgr-ping", ICMP, (8, -1), "0.0.0.0/0"),
        rule("sgr-ping6", ICMPV6, (128, -1), "::/0"),
        rule("sgr-dns", UDP, (53, 53), "10.0.0.0/8"),
    ];
    let db = vec![
        rule("sgr-sql", TCP, (5432, 5432), "sg-web"),
        rule("sgr-udp", UDP, (7000, 7010), "sg-web"),
        rule("sgr-dbping", ICMP, (8, 0), "sg-web"),
        rule("sgr-self", ANY, (-1, -1), "sg-db"),
    ];
    let mut tables = Tables::default();
    for entry in [
        Entry::Vpc(Vpc {
            id: "vpc-1".into(),
            ipv4: vec!["10.0.0.0/16".parse().unwrap()],
            ipv6: vec!["2001:db8::/56".parse().unwrap()],
            dns_support: true,
        }),
        Entry::Vpc(Vpc {
            id: "vpc-2".into(),
            ipv4: vec!["10.0.0.0/16".parse().unwrap()],
            ipv6: Vec::new(),
            dns_support: true,
        }),
        subnet(
            "subnet-1",
            "vpc-1",
            "10.0.1.0/24",
            Some("2001:db8:0:1::/64"),
            "rtb-1",
        ),
        subnet(
            "subnet-2",
            "vpc-1",
            "10.0.2.0/24",
            Some("2001:db8:0:2::/64"),
            "rtb-2",
        ),
        subnet("subnet-x", "vpc-2", "10.0.1.0/24", None, "rtb-x"),
        route_table("rtb-1", "vpc-1", internet("igw-1")),
        route_table("rtb-2", "vpc-1", Vec::new()),
        route_table("rtb-x", "vpc-2", internet("igw-2")),
        group("sg-web", "vpc-1", web, everything("sgr-webout")),
        group("sg-db", "vpc-1", db, everything("sgr-dbout")),
        group(
            "sg-open",
            "vpc-1",
            everything("sgr-openin"),
            everything("sgr-openout"),
        ),
        group("sg-x", "vpc-2", everything("sgr-xin"), everything("sgr-xout")),
        Entry::Interface(public(
            interface("eni-a", 1, "subnet-1", "10.0.1.10", &["sg-web"]),
            "198.18.0.10",
        )),
        Entry::Interface(interface("eni-b", 2, "subnet-1", "10.0.1.20", &["sg-web"])),
        Entry::Interface(interface("eni-c", 3, "subnet-2", "10.0.2.30", &["sg-db"])),
        Entry::Interface(public(
            interface("eni-r", 4, "subnet-1", "10.0.1.40", &["sg-open"]),
            "198.18.0.40",
        )),
        Entry::Interface(public(
            interface("eni-x", 5, "subnet-x", "10.0.1.20", &["sg-x"]),
            "198.18.0.99",
        )),
    ] {
        tables.entries.insert(entry.id().clone(), entry);
    }
    tables
}

pub(crate) const INTERFACES: [&str; 5] = ["eni-a", "eni-b", "eni-c", "eni-r", "eni-x"];

impl Card {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let mut switch = Switch::new(config);
        switch.load(world());
        for (id, port) in INTERFACES.iter().zip(1..) {
            switch.connect(id, PortId(port)).unwrap();
        }
        switch.connect_internet(INTERNET).unwrap();
        Self {
            switch,
            now: Instant::ZERO,
            out: Output::new(),
        }
    }

    /// Changes the tables by a delta.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Tables)) {
        let mut next = self.switch.tables().clone();
        change(&mut next);
        next.revision = Revision(next.revision.0 + 1);
        let delta: Delta = self.switch.tables().delta_to(&next);
        self.switch.apply(delta).unwrap();
    }

    /// Changes one interface.
    pub(crate) fn edit_interface(&mut self, id: &str, change: impl FnOnce(&mut Interface)) {
        self.edit(|tables| match tables.entries.get_mut(id) {
            Some(Entry::Interface(interface)) => change(interface),
            _ => panic!("{id} is no interface"),
        });
    }

    /// Changes one security group.
    pub(crate) fn edit_group(&mut self, id: &str, change: impl FnOnce(&mut SecurityGroup)) {
        self.edit(|tables| match tables.entries.get_mut(id) {
            Some(Entry::SecurityGroup(group)) => change(group),
            _ => panic!("{id} is no security group"),
        });
    }

    pub(crate) fn put(&mut self, entry: Entry) {
        self.edit(|tables| {
            tables.entries.insert(entry.id().clone(), entry);
        });
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Sends a frame into a port.
    pub(crate) fn send_frame(&mut self, port: PortId, frame: &[u8], offload: Offload) -> Sent {
        let mut frame = frame.to_vec();
        let total_len = frame.len();
        let mut packet = Packet {
            window: &mut frame,
            total_len,
            offload,
            shape: None,
        };
        let verdict = self.switch.process(self.now, port, &mut packet, &mut self.out);
        Sent {
            verdict,
            reply: self.out.frame().map(<[u8]>::to_vec),
            frame,
        }
    }

    /// Sends frames into a port as one batch.
    pub(crate) fn send_batch(&mut self, port: PortId, frames: &[(PortId, Vec<u8>, Offload)]) -> Vec<Sent> {
        let mut windows: Vec<Vec<u8>> = frames.iter().map(|(_, frame, _)| frame.clone()).collect();
        let packets = windows.iter_mut().zip(frames);
        let mut packets: Vec<_> = packets
            .map(|(window, (_, frame, offload))| Packet {
                window,
                total_len: frame.len(),
                offload: *offload,
                shape: None,
            })
            .collect();
        let mut verdicts = vec![Verdict::Replied; packets.len()];
        let mut replies = vec![None; packets.len()];
        self.switch.process_batch(
            self.now,
            port,
            &mut packets,
            &mut verdicts,
            &mut self.out,
            |position, frame| replies[position] = Some(frame.to_vec()),
        );
        let sent = verdicts.into_iter().zip(windows).zip(replies);
        sent.map(|((verdict, frame), reply)| Sent {
            verdict,
            frame,
            reply,
        })
        .collect()
    }

    /// Sends a packet from the interface that its MAC says, or from the internet.
    pub(crate) fn send(&mut self, packet: &Pkt) -> Sent {
        let port = PortId(packet.from_mac[5].into());
        let port = if packet.from_mac == INTERNET_MAC {
            INTERNET
        } else {
            port
        };
        self.send_frame(port, &packet.frame(), Offload::default())
    }

    /// Sends a packet that must arrive at a port; returns the frame that arrives.
    #[track_caller]
    pub(crate) fn arrives(&mut self, packet: &Pkt, at: PortId) -> Vec<u8> {
        let sent = self.send(packet);
        assert_eq!(sent.verdict, Verdict::Forward { to: at }, "{packet:?}");
        crate::packets::assert_checksums(&sent.frame);
        sent.frame
    }

    /// Sends a packet that must be dropped for this reason, and counted at this interface and nowhere else.
    #[track_caller]
    pub(crate) fn drops(&mut self, packet: &Pkt, reason: DropReason, at: &str) -> Sent {
        let before = self.all_drops();
        let sent = self.send(packet);
        assert_eq!(sent.verdict, Verdict::Drop(reason), "{packet:?}");
        self.assert_one_drop(&before, reason, at);
        sent
    }

    /// As [`Self::drops`] for a whole frame.
    #[track_caller]
    pub(crate) fn drops_frame(&mut self, port: PortId, frame: &[u8], reason: DropReason, at: &str) {
        let before = self.all_drops();
        let sent = self.send_frame(port, frame, Offload::default());
        assert_eq!(sent.verdict, Verdict::Drop(reason));
        self.assert_one_drop(&before, reason, at);
    }

    #[track_caller]
    fn assert_one_drop(&self, before: &[(String, CountersSnapshot)], reason: DropReason, at: &str) {
        for ((id, before), (_, after)) in before.iter().zip(self.all_drops()) {
            let expected = u64::from(id == at);
            assert_eq!(
                after.dropped(reason) - before.dropped(reason),
                expected,
                "{reason:?} of {id}"
            );
            assert_eq!(
                after.dropped_total() - before.dropped_total(),
                expected,
                "drops of {id}"
            );
        }
    }

    pub(crate) fn all_drops(&self) -> Vec<(String, CountersSnapshot)> {
        let mut all: Vec<_> = INTERFACES
            .iter()
            .filter_map(|id| Some(((*id).to_owned(), self.switch.counters(id)?)))
            .collect();
        all.push(("internet".into(), self.switch.internet_counters()));
        all
    }

    pub(crate) fn counters(&self, id: &str) -> CountersSnapshot {
        self.switch.counters(id).unwrap()
    }
}

/// A packet from the internet.
pub(crate) fn from_internet(from: &str, to: &str, l4: crate::packets::L4) -> Pkt {
    crate::packets::pkt(0, from, to, l4).by(INTERNET_MAC)
}

/// A trace ends as the packet path does.
#[track_caller]
pub(crate) fn assert_trace_agrees(trace: &trinic_switch::trace::Trace, verdict: Verdict) {
    use trinic_switch::trace::Outcome;
    let agree = match (&trace.outcome, verdict) {
        (Outcome::Delivered(_), Verdict::Forward { .. })
        | (Outcome::Service, Verdict::Service { .. })
        // The router's echo reply goes back to the sender's port.
        | (Outcome::Replied, Verdict::Replied | Verdict::Forward { .. }) => true,
        (Outcome::Dropped(a), Verdict::Drop(b)) => *a == b,
        _ => false,
    };
    assert!(agree, "{trace}\n{verdict:?}");
}
