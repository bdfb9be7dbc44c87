//! Secondary addresses and delegated prefixes of interfaces.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::Outcome;
use super::address::{free_elastic, move_elastic};
use super::check::{bad_value, count, ipv4_address, ipv4_block, ipv6_address, ipv6_block};
use super::new_interface::{
    add_ipv4_prefixes, add_ipv6_addresses, add_ipv6_prefixes, check_address_count, check_list_lengths,
    push_ipv4,
};
use crate::allocate;
use crate::command::{
    AssignIpv6Addresses, AssignPrivateIpAddresses, UnassignIpv6Addresses, UnassignPrivateIpAddresses,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{NetworkInterfaceId, ResourceId};
use crate::instance_type::InstanceType;
use crate::region::Link;
use crate::reply::{
    AssignIpv6AddressesResult, AssignPrivateIpAddressesResult, Reply, UnassignIpv6AddressesResult,
};
use crate::resource::{Instance, InterfaceType, NetworkInterface, Subnet};
use crate::shape::AssignedPrivateIpAddress;
use crate::view;

pub(super) fn assign_private_ip_addresses(draft: &mut Draft<'_>, c: &AssignPrivateIpAddresses) -> Outcome {
    let (mut interface, subnet) = with_subnet(draft, &c.network_interface_id)?;
    one_way(&[
        !c.private_ip_addresses.is_empty(),
        c.secondary_private_ip_address_count.is_some(),
        !c.ipv4_prefixes.is_empty(),
        c.ipv4_prefix_count.is_some(),
    ])?;
    check_list_lengths(&[c.private_ip_addresses.len(), c.ipv4_prefixes.len()])?;
    let addresses_before = interface.private_addresses.len();
    let prefixes_before = interface.ipv4_prefixes.len();
    for text in &c.private_ip_addresses {
        let address = ipv4_address("privateIpAddress", text)?;
        assign_ipv4(
            draft,
            &mut interface,
            &subnet,
            address,
            c.allow_reassignment == Some(true),
        )?;
    }
    for _ in 0..count(
        "secondaryPrivateIpAddressCount",
        c.secondary_private_ip_address_count.unwrap_or(0),
    )? {
        let address = allocate::free_ipv4(draft, &subnet)?;
        push_ipv4(draft, &mut interface, address);
    }
    let prefixes: Result<Vec<Ipv4Net>, _> = c
        .ipv4_prefixes
        .iter()
        .map(|text| ipv4_block("ipv4Prefix", text))
        .collect();
    add_ipv4_prefixes(draft, &mut interface, &subnet, &prefixes?, c.ipv4_prefix_count)?;
    check_address_count(&interface, kind_of_host(draft, &interface))?;
    let added = interface
        .private_addresses
        .get(addresses_before..)
        .unwrap_or_default();
    let prefixes = interface.ipv4_prefixes.get(prefixes_before..).unwrap_or_default();
    let assigned = |address: Ipv4Addr| AssignedPrivateIpAddress {
        private_ip_address: Some(address.to_string()),
    };
    Ok(AssignPrivateIpAddressesResult {
        network_interface_id: Some(interface.id.to_string()),
        assigned_private_ip_addresses: added.iter().map(|a| assigned(a.address)).collect(),
        assigned_ipv4_prefixes: prefixes.iter().map(view::ipv4_prefix).collect(),
    }
    .into())
}

/// Gives an interface an address, and takes it from another interface if the caller allows that.
fn assign_ipv4(
    draft: &mut Draft<'_>,
    interface: &mut NetworkInterface,
    subnet: &Subnet,
    address: Ipv4Addr,
    allow_reassignment: bool,
) -> Result<(), Ec2Error> {
    allocate::check_ipv4_place(subnet, address)?;
    let in_use = || {
        Ec2Error::new(
            ErrorCode::InvalidAddressInUse,
            format!("Address {address} is in use."),
        )
    };
    let owner = draft
        .interfaces(&Link::Private(subnet.vpc_id, address.into()))
        .next();
    let Some(owner) = owner.map(|i| (i.id, i.primary_address(), i.private_address(address).copied())) else {
        allocate::check_ipv4(draft, subnet, address)?;
        push_ipv4(draft, interface, address);
        return Ok(());
    };
    let (owner, owners_primary, private) = owner;
    if owner == interface.id {
        return Ok(());
    }
    if !allow_reassignment || owners_primary == Some(address) {
        return Err(in_use());
    }
    let association = private.and_then(|p| p.association);
    draft.change_interface(owner, |other| {
        other.private_addresses.retain(|a| a.address != address)
    });
    push_ipv4(draft, interface, address);
    move_elastic(draft, association, interface.id, address);
    // The association was put with the interface; the caller's copy follows.
    if let Some(now) = draft.get::<NetworkInterface>(interface.id) {
        *interface = now.clone();
    }
    Ok(())
}

pub(super) fn unassign_private_ip_addresses(
    draft: &mut Draft<'_>,
    c: &UnassignPrivateIpAddresses,
) -> Outcome {
    let (mut interface, _) = with_subnet(draft, &c.network_interface_id)?;
    if c.private_ip_addresses.is_empty() && c.ipv4_prefixes.is_empty() {
        return Err(Ec2Error::missing("privateIpAddress"));
    }
    for text in &c.private_ip_addresses {
        let address = ipv4_address("privateIpAddress", text)?;
        if interface.primary_address() == Some(address) {
            return Err(bad_value(
                "privateIpAddress",
                text,
                "The primary private address cannot be unassigned.",
            ));
        }
        let Some(private) = interface.private_address(address).copied() else {
            return Err(Ec2Error::invalid_value(format!(
                "Some of {address} are not assigned to interface {}",
                interface.id
            )));
        };
        free_elastic(draft, private.association);
        interface.private_addresses.retain(|a| a.address != address);
    }
    for text in &c.ipv4_prefixes {
        let prefix = ipv4_block("ipv4Prefix", text)?;
        remove(&mut interface.ipv4_prefixes, prefix, interface.id)?;
    }
    draft.put(interface);
    Ok(Reply::Done)
}

pub(super) fn assign_ipv6_addresses(draft: &mut Draft<'_>, c: &AssignIpv6Addresses) -> Outcome {
    let (mut interface, subnet) = with_subnet(draft, &c.network_interface_id)?;
    one_way(&[
        !c.ipv6_addresses.is_empty(),
        c.ipv6_address_count.is_some(),
        !c.ipv6_prefixes.is_empty(),
        c.ipv6_prefix_count.is_some(),
    ])?;
    check_list_lengths(&[c.ipv6_addresses.len(), c.ipv6_prefixes.len()])?;
    let addresses_before = interface.ipv6_addresses.len();
    let prefixes_before = interface.ipv6_prefixes.len();
    let addresses: Result<Vec<Ipv6Addr>, _> = c
        .ipv6_addresses
        .iter()
        .map(|text| ipv6_address("ipv6Address", text))
        .collect();
    // Assigning what the interface has already is no error.
    let addresses: Vec<_> = addresses?
        .into_iter()
        .filter(|a| !interface.ipv6_addresses.contains(a))
        .collect();
    add_ipv6_addresses(draft, &mut interface, &subnet, &addresses, c.ipv6_address_count)?;
    let prefixes: Result<Vec<Ipv6Net>, _> = c
        .ipv6_prefixes
        .iter()
        .map(|text| ipv6_block("ipv6Prefix", text))
        .collect();
    add_ipv6_prefixes(draft, &mut interface, &subnet, &prefixes?, c.ipv6_prefix_count)?;
    check_address_count(&interface, kind_of_host(draft, &interface))?;
    let added = interface
        .ipv6_addresses
        .get(addresses_before..)
        .unwrap_or_default();
    let prefixes = interface.ipv6_prefixes.get(prefixes_before..).unwrap_or_default();
    Ok(AssignIpv6AddressesResult {
        assigned_ipv6_addresses: added.iter().map(Ipv6Addr::to_string).collect(),
        assigned_ipv6_prefixes: prefixes.iter().map(Ipv6Net::to_string).collect(),
        network_interface_id: Some(interface.id.to_string()),
    }
    .into())
}

pub(super) fn unassign_ipv6_addresses(draft: &mut Draft<'_>, c: &UnassignIpv6Addresses) -> Outcome {
    let (mut interface, _) = with_subnet(draft, &c.network_interface_id)?;
    if c.ipv6_addresses.is_empty() && c.ipv6_prefixes.is_empty() {
        return Err(Ec2Error::missing("ipv6Addresses"));
    }
    for text in &c.ipv6_addresses {
        let address = ipv6_address("ipv6Address", text)?;
        if interface.primary_ipv6 && interface.ipv6_addresses.first() == Some(&address) {
            return Err(bad_value(
                "ipv6Address",
                text,
                "The primary IPv6 address cannot be unassigned.",
            ));
        }
        remove(&mut interface.ipv6_addresses, address, interface.id)?;
    }
    for text in &c.ipv6_prefixes {
        let prefix = ipv6_block("ipv6Prefix", text)?;
        remove(&mut interface.ipv6_prefixes, prefix, interface.id)?;
    }
    let id = interface.id;
    draft.put(interface);
    Ok(UnassignIpv6AddressesResult {
        network_interface_id: Some(id.to_string()),
        unassigned_ipv6_addresses: c.ipv6_addresses.clone(),
        unassigned_ipv6_prefixes: c.ipv6_prefixes.clone(),
    }
    .into())
}

fn remove<T: PartialEq + std::fmt::Display>(
    list: &mut Vec<T>,
    gone: T,
    interface: NetworkInterfaceId,
) -> Result<(), Ec2Error> {
    let Some(at) = list.iter().position(|have| *have == gone) else {
        return Err(Ec2Error::invalid_value(format!(
            "Some of {gone} are not assigned to interface {interface}"
        )));
    };
    list.remove(at);
    Ok(())
}

fn with_subnet(draft: &Draft<'_>, text: &str) -> Result<(NetworkInterface, Subnet), Ec2Error> {
    let interface = draft.need::<NetworkInterface>("networkInterfaceId", text)?;
    if interface.interface_type == InterfaceType::EfaOnly {
        return Err(Ec2Error::new(
            ErrorCode::UnsupportedOperation,
            "An interface of type efa-only has no IP addresses.",
        ));
    }
    let subnet = draft.get::<Subnet>(interface.subnet_id);
    let subnet = subnet.ok_or_else(|| NetworkInterfaceId::not_found(text))?;
    Ok((interface.clone(), subnet.clone()))
}

fn one_way(ways: &[bool]) -> Result<(), Ec2Error> {
    match ways.iter().filter(|way| **way).count() {
        1 => Ok(()),
        0 => Err(Ec2Error::new(
            ErrorCode::MissingParameter,
            "Either addresses, a count of addresses, prefixes or a count of prefixes must be given.",
        )),
        _ => Err(Ec2Error::combination(
            "Only one of addresses, a count of addresses, prefixes and a count of prefixes can be given.",
        )),
    }
}

fn kind_of_host(draft: &Draft<'_>, interface: &NetworkInterface) -> Option<&'static InstanceType> {
    let attachment = interface.attachment.as_ref()?;
    InstanceType::find(&draft.get::<Instance>(attachment.instance_id)?.instance_type)
}
