//! What the card is told of an instance, made from the resources: its interfaces and its metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use trinic_linklocal::metadata::{InstanceMetadata, InterfaceMetadata, MetadataOptions};
use trinic_switch::tables::{Id, router_of};
use trinic_vpc::ids::InstanceId;
use trinic_vpc::instance_type::{EnaSupport, InstanceType};
use trinic_vpc::resource::{AttachmentStatus, Instance, NetworkInterface};
use trinic_vpc::{Model, Scope, zone};

use super::external::{Externals, Place};
use crate::protocol::{FunctionKind, InstanceKind, InstanceSpec, InterfaceSpec};

/// The spec of an instance that the card should have; `None` for one that it should not.
pub fn instance(model: &Model, externals: &Externals, id: InstanceId) -> Option<InstanceSpec> {
    let (scope, instance) = model.instance(id)?;
    if !instance.is_live() {
        return None;
    }
    let interfaces: Vec<&NetworkInterface> = model
        .interfaces_of(id)
        .into_iter()
        .filter(|interface| {
            let status = interface.attachment.as_ref().map(|a| a.status);
            matches!(
                status,
                Some(AttachmentStatus::Attaching | AttachmentStatus::Attached)
            )
        })
        .collect();
    let kind = InstanceType::find(&instance.instance_type);
    Some(InstanceSpec {
        id: Id::from(id.to_string()),
        hostname: host_part(&instance.private_dns_name).to_owned(),
        user_data: instance.user_data.clone(),
        reboots: instance.reboots,
        vcpus: kind.map_or(0, |kind| kind.vcpus),
        memory_mib: kind.map_or(0, |kind| kind.memory_mib),
        vm: instance.vm.clone(),
        interfaces: interfaces
            .iter()
            .map(|interface| interface_spec(model, scope, instance, interface))
            .collect(),
        metadata: metadata(model, scope, instance, &interfaces),
        kind: match externals.place(id).cloned() {
            None => InstanceKind::Managed,
            Some(Place::Netns(netns)) => InstanceKind::External { netns },
            Some(Place::Device(socket)) => InstanceKind::Device { socket },
        },
    })
}

fn interface_spec(
    model: &Model,
    scope: &Scope,
    instance: &Instance,
    interface: &NetworkInterface,
) -> InterfaceSpec {
    let subnet = model.subnet(interface.subnet_id);
    let cidr = subnet.and_then(|subnet| subnet.cidr);
    let kind = InstanceType::find(&instance.instance_type);
    let attachment = interface.attachment.as_ref();
    let ena = has_ena(instance, kind);
    InterfaceSpec {
        id: Id::from(interface.id.to_string()),
        device_index: attachment.map_or(0, |a| a.device_index),
        mac: interface.mac,
        mtu: MTU_BYTES,
        ipv4: interface.private_addresses.iter().map(|a| a.address).collect(),
        ipv4_prefix_len: cidr.map_or(IPV4_HOST_PREFIX, |cidr| cidr.prefix_len()),
        ipv4_router: cidr.map(router_of),
        ipv6: interface.ipv6_addresses.clone(),
        dns: resolvers(model, interface),
        domain: zone::private_domain(&scope.region),
        network_card_index: attachment.map_or(0, |a| a.network_card_index),
        ena,
        ena_queue_pairs: if ena {
            let asked = attachment.and_then(|a| a.ena_queue_count);
            kind.map_or(EXTERNAL_QUEUE_PAIRS, |kind| kind.queue_pairs(asked))
        } else {
            0
        },
        function: function(interface),
    }
}

/// EC2 has no word for it, so a tag of the interface says how a namespace instance gets it.
fn function(interface: &NetworkInterface) -> FunctionKind {
    match interface.tags.get(FUNCTION_TAG).map(String::as_str) {
        None | Some("tap") => FunctionKind::Tap,
        Some("ena") => FunctionKind::Ena,
        Some(other) => FunctionKind::Unknown(other.to_owned()),
    }
}

/// Whether the instance has an ENA. A machine of the user's own has no type that could lack it.
fn has_ena(instance: &Instance, kind: Option<&InstanceType>) -> bool {
    instance.ena_support && kind.is_none_or(|kind| kind.ena != EnaSupport::Unsupported)
}

/// The VPC's resolver: base of the primary block + 2; in a subnet without IPv4 the link-local one.
///
/// Source: [AWS doc vpc/latest/userguide/AmazonDNS-concepts.html, 2026-11-23].
fn resolvers(model: &Model, interface: &NetworkInterface) -> Vec<IpAddr> {
    let vpc = model.vpc(interface.vpc_id);
    if interface.private_addresses.is_empty() {
        return vec![IpAddr::V6(RESOLVER_IPV6)];
    }
    vpc.filter(|vpc| vpc.dns_support)
        .and_then(|vpc| vpc.primary_cidr())
        .map(|cidr| IpAddr::V4(Ipv4Addr::from(u32::from(cidr.network()).wrapping_add(2))))
        .into_iter()
        .collect()
}

fn metadata(
    model: &Model,
    scope: &Scope,
    instance: &Instance,
    interfaces: &[&NetworkInterface],
) -> InstanceMetadata {
    let public = interfaces
        .first()
        .and_then(|interface| interface.primary_public_ip());
    let has_names = model.vpc(instance.vpc_id).is_some_and(|vpc| vpc.dns_hostnames);
    let key = instance
        .key_name
        .as_ref()
        .and_then(|name| Some((name.clone(), model.public_key(scope, name)?.to_owned())));
    InstanceMetadata {
        instance_id: instance.id.to_string(),
        ami_id: instance.image_id.clone(),
        ami_launch_index: instance.ami_launch_index,
        instance_type: instance.instance_type.clone(),
        reservation_id: instance.reservation_id.to_string(),
        account_id: scope.account.to_string(),
        region: scope.region.to_string(),
        availability_zone: instance.availability_zone.clone(),
        availability_zone_id: zone::zone_id(&scope.region, &instance.availability_zone),
        architecture: ARCHITECTURE.into(),
        local_hostname: instance.private_dns_name.clone(),
        public_hostname: public
            .filter(|_| has_names)
            .map(|ip| zone::public_name(&scope.region, ip)),
        key,
        user_data: instance.user_data.clone(),
        launch_time: instance.launch_time.to_string(),
        tags: instance.tags.clone(),
        options: MetadataOptions {
            enabled: instance.metadata.enabled,
            tokens_required: instance.metadata.tokens_required,
            hop_limit: instance.metadata.hop_limit,
            ipv6: instance.metadata.ipv6,
            tags: instance.metadata.tags,
        },
        interfaces: interfaces
            .iter()
            .map(|interface| interface_metadata(model, scope, interface))
            .collect(),
    }
}

fn interface_metadata(model: &Model, scope: &Scope, interface: &NetworkInterface) -> InterfaceMetadata {
    let subnet = model.subnet(interface.subnet_id);
    let vpc = model.vpc(interface.vpc_id);
    let attachment = interface.attachment.as_ref();
    let groups = || interface.groups.iter().filter_map(|id| model.security_group(*id));
    let has_names = vpc.is_some_and(|vpc| vpc.dns_hostnames);
    let public = interface.primary_public_ip().filter(|_| has_names);
    InterfaceMetadata {
        interface_id: interface.id.to_string(),
        mac: interface.mac,
        device_number: attachment.map_or(0, |a| a.device_index),
        network_card: attachment.map_or(0, |a| a.network_card_index),
        owner_id: scope.account.to_string(),
        local_ipv4s: interface.private_addresses.iter().map(|a| a.address).collect(),
        public_ipv4s: interface
            .private_addresses
            .iter()
            .filter_map(|a| Some((a.association?.public_ip, a.address)))
            .collect(),
        ipv6s: interface.ipv6_addresses.clone(),
        ipv4_prefixes: interface.ipv4_prefixes.clone(),
        ipv6_prefixes: interface.ipv6_prefixes.clone(),
        local_hostname: interface
            .primary_address()
            .map_or_else(String::new, |ip| zone::private_name(&scope.region, ip)),
        public_hostname: public.map(|ip| zone::public_name(&scope.region, ip)),
        security_groups: groups().map(|group| group.name.clone()).collect(),
        security_group_ids: interface.groups.iter().map(ToString::to_string).collect(),
        subnet_id: interface.subnet_id.to_string(),
        subnet_ipv4_cidr: subnet.and_then(|subnet| subnet.cidr),
        subnet_ipv6_cidrs: subnet
            .and_then(|subnet| subnet.ipv6_cidr.as_ref())
            .map(|block| block.cidr)
            .into_iter()
            .collect(),
        vpc_id: interface.vpc_id.to_string(),
        vpc_ipv4_cidrs: vpc.map_or_else(Vec::new, |vpc| vpc.cidr_blocks.iter().map(|b| b.cidr).collect()),
        vpc_ipv6_cidrs: vpc.map_or_else(Vec::new, |vpc| {
            vpc.ipv6_cidr_blocks.iter().map(|b| b.cidr).collect()
        }),
    }
}

fn host_part(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

const FUNCTION_TAG: &str = "trinic:function";

/// MTU inside a VPC. Source: [AWS doc AWSEC2/latest/UserGuide/network_mtu.html, 2026-11-23].
const MTU_BYTES: u32 = 9001;
const IPV4_HOST_PREFIX: u8 = 32;
/// As many as any instance type has by default; a driver takes one a CPU of its machine.
const EXTERNAL_QUEUE_PAIRS: u32 = 32;

/// Source: [AWS doc vpc/latest/userguide/AmazonDNS-concepts.html, 2026-11-23].
const RESOLVER_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);

/// Instances run the host's own programs, so they have its architecture, in EC2's word for it.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "x86_64"
};
