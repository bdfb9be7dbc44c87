//! Compiling, in any order, and taking everything back.

use std::net::IpAddr;

use super::*;
use crate::tables::{PublicAddress, Rule, RulePeer, RuleProtocol, TrackingTimeouts};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn interface(id: &str, vpc: &str, address: &str) -> Entry {
    Entry::Interface(Interface {
        id: id.into(),
        vpc_id: vpc.into(),
        subnet_id: format!("subnet-of-{vpc}").as_str().into(),
        mac: [2, 0, 0, 0, 0, id.as_bytes()[id.len() - 1]],
        ipv4: vec![address.parse().unwrap()],
        ipv6: vec!["2001:db8::5".parse().unwrap()],
        ipv4_prefixes: vec!["10.0.0.32/28".parse().unwrap()],
        ipv6_prefixes: vec!["2001:db8:0:0:1::/80".parse().unwrap()],
        groups: vec!["sg-1".into(), "sg-gone".into()],
        source_dest_check: true,
        public: vec![PublicAddress {
            private: address.parse().unwrap(),
            public: "198.18.0.1".parse().unwrap(),
        }],
        timeouts: TrackingTimeouts::default(),
        instance_id: None,
        allowances: None,
    })
}

fn vpc(id: &str) -> [Entry; 3] {
    let route = |destination: &str, target| Route {
        destination: destination.parse().unwrap(),
        target,
    };
    [
        Entry::Vpc(Vpc {
            id: id.into(),
            ipv4: vec!["10.0.0.0/16".parse().unwrap()],
            ipv6: vec!["2001:db8::/56".parse().unwrap()],
            dns_support: true,
        }),
        Entry::Subnet(Subnet {
            id: format!("subnet-of-{id}").as_str().into(),
            vpc_id: id.into(),
            ipv4: Some("10.0.0.0/24".parse().unwrap()),
            ipv6: None,
            route_table_id: format!("rtb-of-{id}").as_str().into(),
        }),
        Entry::RouteTable(RouteTable {
            id: format!("rtb-of-{id}").as_str().into(),
            vpc_id: id.into(),
            routes: vec![
                route("0.0.0.0/0", Target::InternetGateway("igw-1".into())),
                route("10.0.0.0/16", Target::Local),
                route("10.9.0.0/16", Target::Interface("eni-gone".into())),
                // The same prefix twice: the later one holds, and the earlier one's mention is taken back.
                route("10.9.0.0/16", Target::Interface("eni-1".into())),
            ],
        }),
    ]
}

fn group() -> Entry {
    let rule = |peer| Rule {
        id: "sgr-1".into(),
        protocol: RuleProtocol::Any,
        from_port: -1,
        to_port: -1,
        peer,
    };
    Entry::SecurityGroup(SecurityGroup {
        id: "sg-1".into(),
        vpc_id: "vpc-1".into(),
        inbound: vec![
            rule(RulePeer::Group("sg-1".into())),
            rule(RulePeer::Group("sg-other".into())),
        ],
        outbound: vec![rule(RulePeer::Cidr("0.0.0.0/0".parse().unwrap()))],
    })
}

fn everything() -> Vec<Entry> {
    let mut entries = vec![interface("eni-1", "vpc-1", "10.0.0.5"), group()];
    entries.extend(vpc("vpc-1"));
    entries.extend(vpc("vpc-2"));
    entries.push(interface("eni-2", "vpc-2", "10.0.0.5"));
    entries
}

fn put(policy: &mut Policy, upsert: Vec<Entry>) {
    let from = policy.revision();
    let delta = Delta {
        from,
        to: Revision(from.0 + 1),
        upsert,
        remove: Vec::new(),
    };
    policy.apply(delta).unwrap();
}

fn remove(policy: &mut Policy, ids: &[Id]) {
    let from = policy.revision();
    let delta = Delta {
        from,
        to: Revision(from.0 + 1),
        upsert: Vec::new(),
        remove: ids.to_vec(),
    };
    policy.apply(delta).unwrap();
}

fn check(policy: &Policy) {
    let one = policy.find_interface("eni-1").unwrap();
    let two = policy.find_interface("eni-2").unwrap();
    for (index, other) in [(one, two), (two, one)] {
        let interface = policy.interface(index).unwrap();
        let vpc = policy.vpc(interface.vpc).unwrap();
        assert_eq!(vpc.owner(ip("10.0.0.5")), Some(index));
        assert_eq!(vpc.owner(ip("10.0.0.47")), Some(index));
        assert_eq!(vpc.owner(ip("10.0.0.48")), None);
        assert_eq!(vpc.owner(ip("2001:db8:0:0:1::9")), Some(index));
        assert!(vpc.has_internet());
        assert_ne!(policy.interface(other).unwrap().vpc, interface.vpc);
        let (_, routes) = policy.routes_of(interface.subnet).unwrap();
        assert_eq!(routes.lookup(ip("10.9.1.1")).unwrap().1, NextHop::Interface(one));
        assert_eq!(routes.lookup(ip("10.1.1.1")).unwrap().1, NextHop::InternetGateway);
        assert_eq!(routes.lookup(ip("10.0.1.1")).unwrap().1, NextHop::Local);
        assert_eq!(routes.lookup(ip("2001:db8::1")), None);
    }
}

#[test]
fn entries_come_in_any_order() {
    let mut forwards = Policy::default();
    put(&mut forwards, everything());
    check(&forwards);
    let mut backwards = Policy::default();
    for entry in everything().into_iter().rev() {
        put(&mut backwards, vec![entry]);
    }
    check(&backwards);
}

#[test]
fn nothing_is_left_when_everything_is_gone() {
    let ids: Vec<Id> = everything().iter().map(|e| e.id().clone()).collect();
    for turn in 0..ids.len() {
        let mut policy = Policy::default();
        put(&mut policy, everything());
        // Everything once more: an upsert replaces.
        put(&mut policy, everything());
        check(&policy);
        let mut order = ids.clone();
        order.rotate_left(turn);
        for id in order {
            remove(&mut policy, &[id]);
        }
        assert_eq!(policy.slots_in_use(), 0);
        assert!(policy.public4.is_empty() && policy.public6.is_empty());
        assert_eq!(policy.public_prefixes6.iter().count(), 0);
        assert!(policy.tables().entries.is_empty());
    }
}

#[test]
fn an_upsert_keeps_the_slot() {
    let mut policy = Policy::default();
    put(&mut policy, vec![interface("eni-1", "vpc-1", "10.0.0.5")]);
    let before = policy.find_interface("eni-1").unwrap();
    let generation = policy.generation();
    put(&mut policy, vec![interface("eni-1", "vpc-1", "10.0.0.6")]);
    assert_eq!(policy.find_interface("eni-1"), Some(before));
    assert!(policy.generation() > generation);
}

#[test]
fn removing_what_is_not_there_is_nothing() {
    let mut policy = Policy::default();
    put(&mut policy, everything());
    let slots = policy.slots_in_use();
    // Mentioned only, and unknown.
    remove(
        &mut policy,
        &["sg-gone".into(), "eni-gone".into(), "eni-never".into()],
    );
    assert_eq!(policy.slots_in_use(), slots);
    check(&policy);
}
