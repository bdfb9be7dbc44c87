//! Making an interface from what CreateNetworkInterface or RunInstances asks for.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::check::{bad_value, count, ipv4_address, ipv4_block, ipv6_address, ipv6_block};
use super::interface::check_quota;
use crate::allocate;
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::SecurityGroupId;
use crate::instance_type::InstanceType;
use crate::resource::{InterfaceType, NetworkInterface, PrivateAddress, Subnet, Tags, TrackingTimeouts};
use crate::shape::{ConnectionTrackingSpecificationRequest, PrivateIpAddressSpecification};

/// What a new interface is to be.
pub(super) struct NewInterface<'c> {
    pub(super) subnet: Subnet,
    pub(super) groups: Vec<SecurityGroupId>,
    pub(super) interface_type: InterfaceType,
    pub(super) description: Option<&'c str>,
    pub(super) private_ip_address: Option<&'c str>,
    pub(super) private_ip_addresses: &'c [PrivateIpAddressSpecification],
    pub(super) secondary_count: Option<i32>,
    pub(super) ipv4_prefixes: Vec<&'c str>,
    pub(super) ipv4_prefix_count: Option<i32>,
    pub(super) ipv6_addresses: Vec<&'c str>,
    pub(super) ipv6_address_count: Option<i32>,
    pub(super) ipv6_prefixes: Vec<&'c str>,
    pub(super) ipv6_prefix_count: Option<i32>,
    pub(super) primary_ipv6: bool,
    pub(super) tracking: TrackingTimeouts,
    pub(super) tags: Tags,
}

/// Makes the interface; the caller attaches it and puts it.
pub(super) fn make(draft: &mut Draft<'_>, spec: NewInterface<'_>) -> Result<NetworkInterface, Ec2Error> {
    check_quota(draft, 1)?;
    check_exclusions(&spec)?;
    let description = spec.description.unwrap_or_default();
    if description.chars().count() > 255 {
        return Err(bad_value(
            "description",
            description,
            "At most 255 characters are allowed.",
        ));
    }
    let subnet = &spec.subnet;
    let mut interface = NetworkInterface {
        id: draft.fresh_id::<NetworkInterface>(),
        vpc_id: subnet.vpc_id,
        subnet_id: subnet.id,
        availability_zone: subnet.availability_zone.clone(),
        description: description.to_owned(),
        interface_type: spec.interface_type,
        mac: allocate::free_mac(draft, subnet.vpc_id),
        private_addresses: Vec::new(),
        ipv6_addresses: Vec::new(),
        primary_ipv6: false,
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        groups: spec.groups.clone(),
        source_dest_check: true,
        // The subnet's setting of this moment; a later change of the subnet does not reach it.
        associate_public_ip: subnet.map_public_ip_on_launch,
        tracking: spec.tracking,
        requester_id: Some(draft.scope.account.to_string()),
        attachment: None,
        idempotency: None,
        created: draft.now,
        tags: spec.tags.clone(),
    };
    if spec.interface_type == InterfaceType::EfaOnly {
        return Ok(interface);
    }
    let filled = fill(draft, &mut interface, &spec);
    draft.delete::<NetworkInterface>(interface.id);
    filled?;
    check_address_count(&interface, None)?;
    Ok(interface)
}

/// Gives the interface its addresses. Every one is put at once, so that the next choice sees it as used.
fn fill(
    draft: &mut Draft<'_>,
    interface: &mut NetworkInterface,
    spec: &NewInterface<'_>,
) -> Result<(), Ec2Error> {
    if spec.subnet.cidr.is_some() {
        add_ipv4(draft, interface, spec)?;
    }
    add_ipv6(draft, interface, spec)
}

/// The interface type that a request's text stands for.
pub(super) fn interface_type(text: Option<&str>) -> Result<InterfaceType, Ec2Error> {
    let Some(text) = text else {
        return Ok(InterfaceType::Interface);
    };
    InterfaceType::from_text(text)
        .ok_or_else(|| bad_value("interfaceType", text, "Expecting interface, efa or efa-only."))
}

/// The idle times that a request sets.
pub(super) fn tracking(
    request: Option<&ConnectionTrackingSpecificationRequest>,
) -> Result<TrackingTimeouts, Ec2Error> {
    let Some(request) = request else {
        return Ok(TrackingTimeouts::default());
    };
    let within = |parameter, value: Option<i32>, from: u32, to: u32| {
        let Some(value) = value else {
            return Ok(None);
        };
        let good = u32::try_from(value).ok().filter(|v| (from..=to).contains(v));
        let why = format!("Expecting {from} to {to} seconds.");
        good.map(Some)
            .ok_or_else(|| bad_value(parameter, &value.to_string(), &why))
    };
    Ok(TrackingTimeouts {
        tcp_established_s: within(
            "tcpEstablishedTimeout",
            request.tcp_established_timeout,
            60,
            432_000,
        )?,
        udp_s: within("udpTimeout", request.udp_timeout, 30, 60)?,
        udp_stream_s: within("udpStreamTimeout", request.udp_stream_timeout, 60, 180)?,
    })
}

/// Refuses more addresses than an interface may have at an instance of a type, or at any.
pub(super) fn check_address_count(
    interface: &NetworkInterface,
    kind: Option<&InstanceType>,
) -> Result<(), Ec2Error> {
    let name = kind.map_or("any instance type", |kind| kind.name);
    let ipv4 = interface.private_addresses.len() + interface.ipv4_prefixes.len();
    let ipv6 = interface.ipv6_addresses.len() + interface.ipv6_prefixes.len();
    let limits = kind.map_or((MAX_ADDRESSES, MAX_ADDRESSES), |kind| {
        (kind.addresses_per_interface, kind.ipv6_addresses_per_interface)
    });
    if ipv6 > 0 && limits.1 == 0 {
        return Err(Ec2Error::combination(format!(
            "IPv6 is not supported for the instance type {name}."
        )));
    }
    for (count, limit) in [(ipv4, limits.0), (ipv6, limits.1)] {
        if count > usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(Ec2Error::new(
                ErrorCode::PrivateIpAddressLimitExceeded,
                format!("Number of private addresses will exceed limit: {limit} per interface for {name}."),
            ));
        }
    }
    Ok(())
}

/// Refuses lists that no interface could hold, before any work is done on them.
pub(super) fn check_list_lengths(lists: &[usize]) -> Result<(), Ec2Error> {
    let limit = usize::try_from(MAX_ADDRESSES).unwrap_or(usize::MAX);
    if lists.iter().any(|length| *length > limit) {
        return Err(Ec2Error::new(
            ErrorCode::PrivateIpAddressLimitExceeded,
            format!("Number of private addresses will exceed limit: {limit} per interface."),
        ));
    }
    Ok(())
}

fn check_exclusions(spec: &NewInterface<'_>) -> Result<(), Ec2Error> {
    let lists = [
        spec.private_ip_addresses.len(),
        spec.ipv4_prefixes.len(),
        spec.ipv6_addresses.len(),
        spec.ipv6_prefixes.len(),
    ];
    check_list_lengths(&lists)?;
    let secondaries = spec
        .private_ip_addresses
        .iter()
        .filter(|a| a.primary != Some(true))
        .count()
        > 0;
    let ways = [
        secondaries,
        spec.secondary_count.is_some(),
        !spec.ipv4_prefixes.is_empty(),
        spec.ipv4_prefix_count.is_some(),
    ];
    if ways.iter().filter(|way| **way).count() > 1 {
        return Err(Ec2Error::combination(
            "Only one of privateIpAddresses, secondaryPrivateIpAddressCount, ipv4Prefixes and ipv4PrefixCount can be given.",
        ));
    }
    let ways = [
        !spec.ipv6_addresses.is_empty(),
        spec.ipv6_address_count.is_some(),
        !spec.ipv6_prefixes.is_empty(),
        spec.ipv6_prefix_count.is_some(),
    ];
    if ways.iter().filter(|way| **way).count() > 1 {
        return Err(Ec2Error::combination(
            "Only one of ipv6Addresses, ipv6AddressCount, ipv6Prefixes and ipv6PrefixCount can be given.",
        ));
    }
    let addresses = spec.private_ip_address.is_some()
        || !spec.private_ip_addresses.is_empty()
        || spec.secondary_count.is_some()
        || !spec.ipv6_addresses.is_empty()
        || spec.ipv6_address_count.is_some();
    if spec.interface_type == InterfaceType::EfaOnly && addresses {
        return Err(Ec2Error::combination(
            "An interface of type efa-only has no IP addresses.",
        ));
    }
    Ok(())
}

fn add_ipv4(
    draft: &mut Draft<'_>,
    interface: &mut NetworkInterface,
    spec: &NewInterface<'_>,
) -> Result<(), Ec2Error> {
    let (primary, secondaries) = chosen_ipv4(spec)?;
    let primary = match primary {
        Some(address) => {
            allocate::check_ipv4(draft, &spec.subnet, address)?;
            address
        }
        None => {
            // Not one that the same request wants as a secondary address.
            let mut address = allocate::free_ipv4(draft, &spec.subnet)?;
            for _ in 0..secondaries.len() {
                if !secondaries.contains(&address) {
                    break;
                }
                address = allocate::free_ipv4(draft, &spec.subnet)?;
            }
            address
        }
    };
    push_ipv4(draft, interface, primary);
    for address in secondaries {
        allocate::check_ipv4(draft, &spec.subnet, address)?;
        push_ipv4(draft, interface, address);
    }
    for _ in 0..count(
        "secondaryPrivateIpAddressCount",
        spec.secondary_count.unwrap_or(0),
    )? {
        let address = allocate::free_ipv4(draft, &spec.subnet)?;
        push_ipv4(draft, interface, address);
    }
    let prefixes: Result<Vec<Ipv4Net>, _> = spec
        .ipv4_prefixes
        .iter()
        .map(|text| ipv4_block("ipv4Prefix", text))
        .collect();
    add_ipv4_prefixes(draft, interface, &spec.subnet, &prefixes?, spec.ipv4_prefix_count)
}

/// Delegates IPv4 prefixes to an interface: chosen ones, or a number of free ones.
pub(super) fn add_ipv4_prefixes(
    draft: &mut Draft<'_>,
    interface: &mut NetworkInterface,
    subnet: &Subnet,
    chosen: &[Ipv4Net],
    number: Option<i32>,
) -> Result<(), Ec2Error> {
    for prefix in chosen {
        allocate::check_ipv4_prefix(draft, subnet, *prefix)?;
        interface.ipv4_prefixes.push(*prefix);
        draft.put(interface.clone());
    }
    for _ in 0..count("ipv4PrefixCount", number.unwrap_or(0))? {
        let prefix = allocate::free_ipv4_prefix(draft, subnet)?;
        interface.ipv4_prefixes.push(prefix);
        draft.put(interface.clone());
    }
    Ok(())
}

/// The primary and the secondary addresses that a request chooses.
fn chosen_ipv4(spec: &NewInterface<'_>) -> Result<(Option<Ipv4Addr>, Vec<Ipv4Addr>), Ec2Error> {
    let mut primary = match spec.private_ip_address {
        Some(text) => Some(ipv4_address("privateIpAddress", text)?),
        None => None,
    };
    let mut secondaries = Vec::new();
    for wanted in spec.private_ip_addresses {
        let text = wanted.private_ip_address.as_deref();
        let text = text.ok_or_else(|| Ec2Error::missing("privateIpAddress"))?;
        let address = ipv4_address("privateIpAddress", text)?;
        if wanted.primary == Some(true) {
            if primary.is_some_and(|before| before != address) {
                return Err(Ec2Error::combination(
                    "Only one primary private IP address can be specified.",
                ));
            }
            primary = Some(address);
        } else {
            secondaries.push(address);
        }
    }
    Ok((primary, secondaries))
}

/// Adds a private address and puts the interface, so that the address counts as used.
pub(super) fn push_ipv4(draft: &mut Draft<'_>, interface: &mut NetworkInterface, address: Ipv4Addr) {
    interface.private_addresses.push(PrivateAddress {
        address,
        association: None,
    });
    draft.put(interface.clone());
}

fn add_ipv6(
    draft: &mut Draft<'_>,
    interface: &mut NetworkInterface,
    spec: &NewInterface<'_>,
) -> Result<(), Ec2Error> {
    let chosen: Result<Vec<Ipv6Addr>, _> = spec
        .ipv6_addresses
        .iter()
        .map(|text| ipv6_address("ipv6Address", text))
        .collect();
    let chosen = chosen?;
    let nothing_asked = chosen.is_empty()
        && spec.ipv6_address_count.is_none()
        && spec.ipv6_prefixes.is_empty()
        && spec.ipv6_prefix_count.is_none();
    let auto = spec.subnet.assign_ipv6_address_on_creation && spec.subnet.ipv6_cidr.is_some();
    let number = match spec.ipv6_address_count {
        None if nothing_asked && auto => Some(1),
        asked => asked,
    };
    add_ipv6_addresses(draft, interface, &spec.subnet, &chosen, number)?;
    let prefixes: Result<Vec<Ipv6Net>, _> = spec
        .ipv6_prefixes
        .iter()
        .map(|text| ipv6_block("ipv6Prefix", text))
        .collect();
    add_ipv6_prefixes(draft, interface, &spec.subnet, &prefixes?, spec.ipv6_prefix_count)?;
    interface.primary_ipv6 = spec.primary_ipv6 && !interface.ipv6_addresses.is_empty();
    Ok(())
}

/// Adds IPv6 addresses to an interface: chosen ones, or a number of free ones.
pub(super) fn add_ipv6_addresses(
    draft: &mut Draft<'_>,
    interface: &mut NetworkInterface,
    subnet: &Subnet,
    chosen: &[Ipv6Addr],
    number: Option<i32>,
) -> Result<(), Ec2Error> {
    for address in chosen {
        allocate::check_ipv6(draft, subnet, *address)?;
        interface.ipv6_addresses.push(*address);
        draft.put(interface.clone());
    }
    for _ in 0..count("ipv6AddressCount", number.unwrap_or(0))? {
        let address = allocate::free_ipv6(draft, subnet)?;
        interface.ipv6_addresses.push(address);
        draft.put(interface.clone());
    }
    Ok(())
}

/// Delegates IPv6 prefixes to an interface: chosen ones, or a number of free ones.
pub(super) fn add_ipv6_prefixes(
    draft: &mut Draft<'_>,
    interface: &mut NetworkInterface,
    subnet: &Subnet,
    chosen: &[Ipv6Net],
    number: Option<i32>,
) -> Result<(), Ec2Error> {
    for prefix in chosen {
        allocate::check_ipv6_prefix(draft, subnet, *prefix)?;
        interface.ipv6_prefixes.push(*prefix);
        draft.put(interface.clone());
    }
    for _ in 0..count("ipv6PrefixCount", number.unwrap_or(0))? {
        let prefix = allocate::free_ipv6_prefix(draft, subnet)?;
        interface.ipv6_prefixes.push(prefix);
        draft.put(interface.clone());
    }
    Ok(())
}

/// Addresses of one interface at the largest instance types.
const MAX_ADDRESSES: u32 = 50;
