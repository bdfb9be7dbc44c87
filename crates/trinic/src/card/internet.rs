//! The card's "internet": one more instance, outside every VPC, on the other side of the gateways.
//!
//! It has one address of its own and a route for everything to its function, so that whatever is started in
//! it (`trinic exec internet -- ping 198.18.0.1`) reaches Elastic and public addresses, and sees the public
//! address of who comes from inside.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use trinic_linklocal::metadata::{InstanceMetadata, MetadataOptions};
use trinic_switch::INTERNET_MAC;

use crate::protocol::{InstanceKind, InstanceSpec, InterfaceSpec};

use super::INTERNET;

/// Its IPv4 address, of a block that is never routed. Source: [RFC 5737 §3], TEST-NET-3.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// Its IPv6 address, of the block for documentation. Source: [RFC 3849 §2].
pub const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

/// MTU of the way out of a VPC.
/// Source: [AWS doc docs.aws.amazon.com/AWSEC2/latest/UserGuide/network_mtu.html].
const MTU: u32 = 1500;

/// The internet as an instance.
pub fn spec() -> InstanceSpec {
    let interface = InterfaceSpec {
        id: INTERNET.into(),
        device_index: 0,
        mac: INTERNET_MAC,
        mtu: MTU,
        ipv4: vec![ADDRESS],
        ipv4_prefix_len: 32,
        ipv4_router: None,
        ipv6: vec![ADDRESS_V6],
        dns: Vec::new(),
        domain: String::new(),
        network_card_index: 0,
        ena: false,
        ena_queue_pairs: 0,
        function: crate::protocol::FunctionKind::Tap,
    };
    InstanceSpec {
        id: INTERNET.into(),
        hostname: INTERNET.to_owned(),
        kind: InstanceKind::Managed,
        user_data: None,
        reboots: 0,
        vcpus: 0,
        memory_mib: 0,
        vm: None,
        interfaces: vec![interface],
        metadata: metadata(),
    }
}

/// The metadata service does not answer on the internet; only the form wants to be filled.
fn metadata() -> InstanceMetadata {
    InstanceMetadata {
        instance_id: INTERNET.to_owned(),
        ami_id: String::new(),
        ami_launch_index: 0,
        instance_type: String::new(),
        reservation_id: String::new(),
        account_id: String::new(),
        region: String::new(),
        availability_zone: String::new(),
        availability_zone_id: String::new(),
        architecture: std::env::consts::ARCH.to_owned(),
        local_hostname: INTERNET.to_owned(),
        public_hostname: None,
        key: None,
        user_data: None,
        launch_time: String::new(),
        tags: BTreeMap::new(),
        options: MetadataOptions {
            enabled: false,
            ..MetadataOptions::default()
        },
        interfaces: Vec::new(),
    }
}
