//! What the tests of several modules share: one instance with two interfaces.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::metadata::{InstanceMetadata, InterfaceMetadata, MetadataOptions};

pub(crate) fn metadata() -> InstanceMetadata {
    InstanceMetadata {
        instance_id: "i-0123456789abcdef0".into(),
        ami_id: "ami-0abcdef1234567890".into(),
        ami_launch_index: 0,
        instance_type: "t3.micro".into(),
        reservation_id: "r-0fedcba9876543210".into(),
        account_id: "123456789012".into(),
        region: "us-east-1".into(),
        availability_zone: "us-east-1a".into(),
        availability_zone_id: "use1-az1".into(),
        architecture: "x86_64".into(),
        local_hostname: "ip-10-0-0-5.ec2.internal".into(),
        public_hostname: Some("ec2-198-18-0-1.compute-1.amazonaws.com".into()),
        key: Some(("demo".into(), "ssh-ed25519 AAAAC3Nza demo".into())),
        user_data: Some(b"#!/bin/sh\necho hello\n".to_vec()),
        launch_time: "2026-11-23T13:00:00Z".into(),
        tags: BTreeMap::from([("Name".into(), "one".into()), ("role".into(), "router".into())]),
        options: MetadataOptions {
            tags: true,
            ..MetadataOptions::default()
        },
        interfaces: vec![primary(), secondary()],
    }
}

fn primary() -> InterfaceMetadata {
    InterfaceMetadata {
        interface_id: "eni-0123456789abcdef0".into(),
        mac: [0x02, 0x00, 0x00, 0x00, 0x00, 0x05],
        device_number: 0,
        network_card: 0,
        owner_id: "123456789012".into(),
        local_ipv4s: vec![Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 50)],
        public_ipv4s: vec![(Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(10, 0, 0, 5))],
        ipv6s: vec!["2001:db8:0:100::5".parse().unwrap()],
        ipv4_prefixes: vec!["10.0.0.64/28".parse().unwrap()],
        ipv6_prefixes: vec!["2001:db8:0:100:1::/80".parse().unwrap()],
        local_hostname: "ip-10-0-0-5.ec2.internal".into(),
        public_hostname: Some("ec2-198-18-0-1.compute-1.amazonaws.com".into()),
        security_groups: vec!["default".into(), "web".into()],
        security_group_ids: vec!["sg-00000000000000001".into(), "sg-00000000000000002".into()],
        subnet_id: "subnet-00000000000000001".into(),
        subnet_ipv4_cidr: Some("10.0.0.0/24".parse().unwrap()),
        subnet_ipv6_cidrs: vec!["2001:db8:0:100::/64".parse().unwrap()],
        vpc_id: "vpc-00000000000000001".into(),
        vpc_ipv4_cidrs: vec!["10.0.0.0/16".parse().unwrap(), "10.1.0.0/16".parse().unwrap()],
        vpc_ipv6_cidrs: vec!["2001:db8:0:100::/56".parse().unwrap()],
    }
}

fn secondary() -> InterfaceMetadata {
    InterfaceMetadata {
        interface_id: "eni-0123456789abcdef1".into(),
        mac: [0x02, 0x00, 0x00, 0x00, 0x00, 0x06],
        device_number: 1,
        local_ipv4s: vec![Ipv4Addr::new(10, 0, 0, 6)],
        public_ipv4s: vec![],
        ipv6s: vec![],
        ipv4_prefixes: vec![],
        ipv6_prefixes: vec![],
        local_hostname: "ip-10-0-0-6.ec2.internal".into(),
        public_hostname: None,
        ..primary()
    }
}
