//! What must hold of every model, whatever calls and reports led to it.
//!
//! A store's content is checked with it when it is loaded, and the property tests check it after every
//! step. The cost is linear in the resources, so it is not for every call.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::AnyId;
use crate::model::Model;
use crate::region::{Link, Region, links};
use crate::resource::{NetworkInterface, Resource};
use crate::scope::Scope;

impl Model {
    /// What is wrong with the model, in sentences; empty if all is well.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut public = BTreeMap::new();
        let mut blocks = BTreeMap::new();
        for (scope, region) in self.regions() {
            let mut at = |what: String| found.push(format!("{scope}: {what}"));
            check_index(region, &mut at);
            check_interfaces(region, &mut at);
            check_addresses(region, &mut at);
            check_networks(region, &mut at);
            check_public(scope, region, &mut public, &mut at);
            for vpc in region.vpcs.values() {
                for block in &vpc.ipv6_cidr_blocks {
                    if let Some(other) = blocks.insert(block.cidr, vpc.id) {
                        at(format!("{} has the IPv6 block of {other}", vpc.id));
                    }
                }
            }
        }
        found
    }
}

/// The index is what the resources say.
fn check_index(region: &Region, at: &mut dyn FnMut(String)) {
    let mut expected: BTreeSet<(Link, AnyId)> = BTreeSet::new();
    for id in region.ids() {
        let resource: Option<Resource> = region.resource(id);
        for link in resource.iter().flat_map(links) {
            expected.insert((link, id));
        }
    }
    if expected != *region.index() {
        at("the index differs from the resources".into());
    }
}

/// No private address, prefix or MAC twice in a VPC; subnets, groups and instances of interfaces exist.
fn check_interfaces(region: &Region, at: &mut dyn FnMut(String)) {
    let mut used = BTreeMap::new();
    let mut slots = BTreeMap::new();
    for interface in region.interfaces.values() {
        let id = interface.id;
        for link in links(&Resource::NetworkInterface(Box::new(interface.clone()))) {
            let unique = matches!(
                link,
                Link::Private(..) | Link::Prefix(..) | Link::Mac(..) | Link::Attachment(_)
            );
            if unique && let Some(other) = used.insert(link.clone(), id) {
                at(format!("{id} and {other} both have {link:?}"));
            }
        }
        check_place(region, interface, at);
        if interface.mac[0] != 0x02 {
            at(format!("{id} has a MAC that is not locally administered"));
        }
        for group in &interface.groups {
            if region
                .groups
                .get(group)
                .is_none_or(|g| g.vpc_id != interface.vpc_id)
            {
                at(format!("{id} carries {group}, which is not in its VPC"));
            }
        }
        if let Some(attachment) = &interface.attachment {
            let slot = (
                attachment.instance_id,
                attachment.network_card_index,
                attachment.device_index,
            );
            if let Some(other) = slots.insert(slot, id) {
                at(format!("{id} and {other} are at the same place of an instance"));
            }
            let instance = region.instances.get(&attachment.instance_id);
            if instance.is_none_or(|i| i.terminated.is_some()) {
                at(format!(
                    "{id} is attached to {}, which is gone",
                    attachment.instance_id
                ));
            }
        }
    }
    for instance in region.instances.values().filter(|i| i.terminated.is_none()) {
        if !slots.contains_key(&(instance.id, 0, 0)) {
            at(format!("{} has no primary interface", instance.id));
        }
    }
}

/// The interface's addresses lie in its subnet.
fn check_place(region: &Region, interface: &NetworkInterface, at: &mut dyn FnMut(String)) {
    let id = interface.id;
    let Some(subnet) = region.subnets.get(&interface.subnet_id) else {
        at(format!(
            "{id} is in {}, which does not exist",
            interface.subnet_id
        ));
        return;
    };
    let ipv4 = |address| subnet.cidr.is_some_and(|block| block.contains(address));
    if !interface.private_addresses.iter().all(|a| ipv4(&a.address)) {
        at(format!("{id} has an IPv4 address outside its subnet"));
    }
    let ipv6 = |address| subnet.ipv6_cidr.is_some_and(|block| block.cidr.contains(address));
    if !interface.ipv6_addresses.iter().all(ipv6) {
        at(format!("{id} has an IPv6 address outside its subnet"));
    }
    let inside = |address: &crate::resource::PrivateAddress| {
        interface
            .ipv4_prefixes
            .iter()
            .any(|p| p.contains(&address.address))
    };
    if interface.private_addresses.iter().any(inside) {
        at(format!("{id} has an address inside a prefix of its own"));
    }
    if interface.vpc_id != subnet.vpc_id {
        at(format!("{id} is not in the VPC of its subnet"));
    }
}

/// An Elastic IP and its private address say the same of each other.
fn check_addresses(region: &Region, at: &mut dyn FnMut(String)) {
    for address in region.addresses.values() {
        let Some(link) = address.association else {
            continue;
        };
        let interface = region.interfaces.get(&link.network_interface_id);
        let private = interface.and_then(|i| i.private_address(link.private_ip));
        let elastic = private.and_then(|p| p.association).and_then(|a| a.elastic);
        if elastic.map(|e| (e.allocation_id, e.association_id)) != Some((address.id, link.association_id)) {
            at(format!(
                "{} is associated, but its interface does not say so",
                address.id
            ));
        }
    }
    for interface in region.interfaces.values() {
        for private in &interface.private_addresses {
            let Some(association) = private.association else {
                continue;
            };
            let Some(elastic) = association.elastic else {
                continue;
            };
            let address = region.addresses.get(&elastic.allocation_id);
            let back = address
                .and_then(|a| a.association)
                .map(|l| (l.network_interface_id, l.private_ip));
            let same = address.is_some_and(|a| a.public_ip == association.public_ip);
            if back != Some((interface.id, private.address)) || !same {
                at(format!(
                    "{} has {}, but the address does not say so",
                    interface.id, elastic.allocation_id
                ));
            }
        }
    }
}

/// Subnets do not overlap and lie in their VPC; every VPC has one main table and one default group.
fn check_networks(region: &Region, at: &mut dyn FnMut(String)) {
    for vpc in region.vpcs.values() {
        let tables = region.route_tables.values().filter(|t| t.vpc_id == vpc.id);
        let mains = tables.filter(|t| t.is_main()).count();
        let groups = region.groups.values().filter(|g| g.vpc_id == vpc.id);
        let defaults = groups.filter(|g| g.is_default()).count();
        if (mains, defaults) != (1, 1) {
            at(format!(
                "{} has {mains} main tables and {defaults} default groups",
                vpc.id
            ));
        }
    }
    let mut blocks = BTreeSet::new();
    let mut associated = BTreeSet::new();
    for subnet in region.subnets.values() {
        let Some(vpc) = region.vpcs.get(&subnet.vpc_id) else {
            at(format!("{} is in no VPC", subnet.id));
            continue;
        };
        if let Some(block) = subnet.cidr {
            if !vpc.cidr_blocks.iter().any(|b| b.cidr.contains(&block)) {
                at(format!("{} is outside its VPC", subnet.id));
            }
            if !blocks.insert((vpc.id, block.network(), block.broadcast())) {
                at(format!("{} has the block of another subnet", subnet.id));
            }
        }
    }
    let mut sorted = blocks.iter().peekable();
    while let (Some((vpc, _, end)), Some((next_vpc, start, _))) = (sorted.next(), sorted.peek()) {
        if vpc == next_vpc && start <= end {
            at(format!("Two subnets of {vpc} overlap at {start}"));
        }
    }
    for table in region.route_tables.values() {
        for subnet in table.associations.iter().filter_map(|a| a.subnet_id) {
            if !associated.insert(subnet) || !region.subnets.contains_key(&subnet) {
                at(format!("{} is associated with {subnet}, wrongly", table.id));
            }
        }
    }
}

/// No public address twice, over all accounts.
fn check_public(
    scope: &Scope,
    region: &Region,
    public: &mut BTreeMap<std::net::Ipv4Addr, String>,
    at: &mut dyn FnMut(String),
) {
    let elastic = region.addresses.values().map(|a| (a.public_ip, a.id.to_string()));
    let auto = region.interfaces.values().flat_map(|interface| {
        let associations = interface.private_addresses.iter().filter_map(|a| a.association);
        let auto = associations.filter(|a| a.elastic.is_none());
        auto.map(|a| (a.public_ip, interface.id.to_string()))
    });
    for (address, owner) in elastic.chain(auto) {
        if let Some(other) = public.insert(address, format!("{scope}/{owner}")) {
            at(format!("{owner} and {other} both have {address}"));
        }
    }
}
