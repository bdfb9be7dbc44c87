//! The tables of a small card: a VPC with one subnet, and interfaces 10.0.0.N in it. For programs that measure the
//! worker, and for tests of it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use trinic_switch::tables::{
    Entry, Id, Interface, Revision, Route, RouteTable, Rule, RulePeer, RuleProtocol, SecurityGroup, Subnet,
    Tables, Target, TrackingTimeouts, Vpc,
};

use crate::protocol::{FunctionKind, InterfaceSpec};

const VPC: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 16);
const SUBNET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 24);

/// The id of interface N.
#[must_use]
pub fn interface_id(n: u8) -> Id {
    format!("eni-{n}").into()
}

/// The MAC address of interface N.
#[must_use]
pub const fn mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, n]
}

/// The address of interface N.
#[must_use]
pub const fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

/// Interface N, in the group `sg-1`.
#[must_use]
pub fn interface(n: u8) -> Interface {
    Interface {
        id: interface_id(n),
        vpc_id: "vpc-1".into(),
        subnet_id: "subnet-1".into(),
        mac: mac(n),
        ipv4: vec![address(n)],
        ipv6: Vec::new(),
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

/// Interface N as an ENA function.
#[must_use]
pub fn function(n: u8, queue_pairs: u32) -> InterfaceSpec {
    InterfaceSpec {
        id: interface_id(n),
        device_index: 1,
        mac: mac(n),
        mtu: 9001,
        ipv4: vec![address(n)],
        ipv4_prefix_len: SUBNET.prefix_len(),
        ipv4_router: None,
        ipv6: Vec::new(),
        dns: Vec::new(),
        domain: String::new(),
        network_card_index: 0,
        ena: true,
        ena_queue_pairs: queue_pairs,
        function: FunctionKind::Ena,
    }
}

/// A rule for the VPC's own addresses: narrower than everything, so each connection is tracked.
#[must_use]
pub fn rule(id: &str, protocol: RuleProtocol) -> Rule {
    Rule {
        id: id.into(),
        protocol,
        from_port: -1,
        to_port: -1,
        peer: RulePeer::Cidr(VPC.into()),
    }
}

/// A group that lets all out to the VPC.
#[must_use]
pub fn group(id: &str, inbound: Vec<Rule>) -> Entry {
    Entry::SecurityGroup(SecurityGroup {
        id: id.into(),
        vpc_id: "vpc-1".into(),
        inbound,
        outbound: vec![rule("sgr-out", RuleProtocol::Any)],
    })
}

/// The tables of these interfaces, whose group `sg-1` has these inbound rules.
#[must_use]
pub fn tables(inbound: Vec<Rule>, interfaces: impl IntoIterator<Item = Interface>) -> Tables {
    let network = [
        Entry::Vpc(Vpc {
            id: "vpc-1".into(),
            ipv4: vec![VPC],
            ipv6: Vec::new(),
            dns_support: true,
        }),
        Entry::Subnet(Subnet {
            id: "subnet-1".into(),
            vpc_id: "vpc-1".into(),
            ipv4: Some(SUBNET),
            ipv6: None,
            route_table_id: "rtb-1".into(),
        }),
        Entry::RouteTable(RouteTable {
            id: "rtb-1".into(),
            vpc_id: "vpc-1".into(),
            routes: vec![Route {
                destination: VPC.into(),
                target: Target::Local,
            }],
        }),
        group("sg-1", inbound),
    ];
    let interfaces = interfaces.into_iter().map(Entry::Interface);
    Tables {
        revision: Revision(1),
        entries: network
            .into_iter()
            .chain(interfaces)
            .map(|entry| (entry.id().clone(), entry))
            .collect(),
    }
}
