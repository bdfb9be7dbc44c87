//! Choosing addresses, prefixes, MACs and public addresses that are free, and checking chosen ones.
//!
//! What is in use is what the model's index says. A random choice that fails a few times falls back to
//! a search, so that a nearly full subnet still gives its last address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::RngExt;

use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::VpcId;
use crate::region::Link;
use crate::resource::{Mac, Subnet};

/// The owner of an address inside a VPC, if it is in use.
pub(crate) fn is_used(draft: &Draft<'_>, vpc: VpcId, address: IpAddr) -> bool {
    draft.is_linked(&Link::Private(vpc, address))
        || prefix_around(address).is_some_and(|p| draft.is_linked(&Link::Prefix(vpc, p)))
}

/// A free IPv4 address of a subnet.
pub(crate) fn free_ipv4(draft: &mut Draft<'_>, subnet: &Subnet) -> Result<Ipv4Addr, Ec2Error> {
    let block = ipv4_block(subnet)?;
    let (first, last) = usable(block);
    let free = |draft: &Draft<'_>, bits: u32| {
        let address = Ipv4Addr::from_bits(bits);
        (!is_used(draft, subnet.vpc_id, address.into())).then_some(address)
    };
    for _ in 0..RANDOM_TRIES {
        let bits = draft.rng.random_range(first..=last);
        if let Some(address) = free(draft, bits) {
            return Ok(address);
        }
    }
    let found = (first..=last).find_map(|bits| free(draft, bits));
    found.ok_or_else(|| {
        Ec2Error::new(
            ErrorCode::InsufficientFreeAddressesInSubnet,
            format!("There are not enough free addresses in subnet '{}' to satisfy the requested number of instances.", subnet.id),
        )
    })
}

/// Refuses an IPv4 address that a new user in the subnet cannot have.
pub(crate) fn check_ipv4(draft: &Draft<'_>, subnet: &Subnet, address: Ipv4Addr) -> Result<(), Ec2Error> {
    check_ipv4_place(subnet, address)?;
    if is_used(draft, subnet.vpc_id, address.into()) {
        return Err(in_use(address.into()));
    }
    Ok(())
}

/// Refuses an IPv4 address that is outside the subnet or reserved in it.
pub(crate) fn check_ipv4_place(subnet: &Subnet, address: Ipv4Addr) -> Result<(), Ec2Error> {
    let block = ipv4_block(subnet)?;
    if !block.contains(&address) {
        return Err(Ec2Error::invalid_value(format!(
            "Address {address} does not fall within the subnet's address range"
        )));
    }
    let (first, last) = usable(block);
    if !(first..=last).contains(&address.to_bits()) {
        return Err(Ec2Error::invalid_value(format!(
            "Address {address} is in subnet's reserved address range"
        )));
    }
    Ok(())
}

/// A free IPv6 address of a subnet.
pub(crate) fn free_ipv6(draft: &mut Draft<'_>, subnet: &Subnet) -> Result<Ipv6Addr, Ec2Error> {
    let block = ipv6_block(subnet)?;
    for _ in 0..RANDOM_TRIES {
        let host = u128::from(draft.rng.random::<u64>());
        let address = Ipv6Addr::from_bits(block.network().to_bits() | host);
        if check_ipv6(draft, subnet, address).is_ok() {
            return Ok(address);
        }
    }
    Err(no_prefix(subnet))
}

/// Refuses an IPv6 address that a new user in the subnet cannot have.
pub(crate) fn check_ipv6(draft: &Draft<'_>, subnet: &Subnet, address: Ipv6Addr) -> Result<(), Ec2Error> {
    let block = ipv6_block(subnet)?;
    if !block.contains(&address) {
        return Err(Ec2Error::invalid_value(format!(
            "Address {address} does not fall within the subnet's address range"
        )));
    }
    // The first four and the last one are reserved as in IPv4.
    let host = address.to_bits() - block.network().to_bits();
    if host < 4 || host == u128::from(u64::MAX) {
        return Err(Ec2Error::invalid_value(format!(
            "Address {address} is in subnet's reserved address range"
        )));
    }
    if is_used(draft, subnet.vpc_id, address.into()) {
        return Err(in_use(address.into()));
    }
    Ok(())
}

/// A free /28 of a subnet.
pub(crate) fn free_ipv4_prefix(draft: &Draft<'_>, subnet: &Subnet) -> Result<Ipv4Net, Ec2Error> {
    let block = ipv4_block(subnet)?;
    let mut candidates = block.subnets(IPV4_PREFIX_LEN).map_err(|_| no_prefix(subnet))?;
    let found = candidates.find(|prefix| check_ipv4_prefix(draft, subnet, *prefix).is_ok());
    found.ok_or_else(|| no_prefix(subnet))
}

/// Refuses a /28 that a new user in the subnet cannot have.
pub(crate) fn check_ipv4_prefix(draft: &Draft<'_>, subnet: &Subnet, prefix: Ipv4Net) -> Result<(), Ec2Error> {
    let block = ipv4_block(subnet)?;
    let (first, last) = usable(block);
    let (from, to) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
    if prefix.prefix_len() != IPV4_PREFIX_LEN || from < first || to > last {
        return Err(Ec2Error::invalid_value(format!(
            "The prefix {prefix} is not a /28 within the usable addresses of subnet {}",
            subnet.id
        )));
    }
    let mut addresses = (from..=to).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    match addresses.find(|address| is_used(draft, subnet.vpc_id, *address)) {
        Some(address) => Err(in_use(address)),
        None => Ok(()),
    }
}

/// A free /80 of a subnet.
pub(crate) fn free_ipv6_prefix(draft: &mut Draft<'_>, subnet: &Subnet) -> Result<Ipv6Net, Ec2Error> {
    let block = ipv6_block(subnet)?;
    for _ in 0..RANDOM_TRIES {
        // 16 bits between the /64 and the /80; the first and the last one have reserved addresses.
        let middle = u128::from(draft.rng.random_range(1..u16::MAX)) << 48;
        let address = Ipv6Addr::from_bits(block.network().to_bits() | middle);
        let Ok(prefix) = Ipv6Net::new(address, IPV6_PREFIX_LEN) else {
            continue;
        };
        if check_ipv6_prefix(draft, subnet, prefix).is_ok() {
            return Ok(prefix);
        }
    }
    Err(no_prefix(subnet))
}

/// Refuses a /80 that a new user in the subnet cannot have.
pub(crate) fn check_ipv6_prefix(draft: &Draft<'_>, subnet: &Subnet, prefix: Ipv6Net) -> Result<(), Ec2Error> {
    let block = ipv6_block(subnet)?;
    if prefix.prefix_len() != IPV6_PREFIX_LEN || !block.contains(&prefix) {
        return Err(Ec2Error::invalid_value(format!(
            "The prefix {prefix} is not a /80 within subnet {}",
            subnet.id
        )));
    }
    let inside = draft.interfaces(&Link::InSubnet(subnet.id)).any(|interface| {
        interface.ipv6_addresses.iter().any(|a| prefix.contains(a))
            || interface.ipv6_prefixes.contains(&prefix)
    });
    if inside {
        return Err(in_use(prefix.network().into()));
    }
    Ok(())
}

/// A MAC that no interface of the VPC has: locally administered, unicast. [assumed A-24]
pub(crate) fn free_mac(draft: &mut Draft<'_>, vpc: VpcId) -> Mac {
    loop {
        let mut mac: Mac = draft.rng.random();
        mac[0] = 0x02;
        if !draft.is_linked(&Link::Mac(vpc, mac)) {
            return mac;
        }
    }
}

/// A public address that nobody of any account has.
pub(crate) fn free_public_ip(draft: &mut Draft<'_>) -> Result<Ipv4Addr, Ec2Error> {
    let (first, last) = usable(PUBLIC_SPACE);
    for _ in 0..RANDOM_TRIES {
        let address = Ipv4Addr::from_bits(draft.rng.random_range(first..=last));
        if is_free_public_ip(draft, address) {
            return Ok(address);
        }
    }
    let mut all = (first..=last).map(Ipv4Addr::from_bits);
    let found = all.find(|address| is_free_public_ip(draft, *address));
    found.ok_or_else(|| {
        Ec2Error::new(
            ErrorCode::InsufficientAddressCapacity,
            "Insufficient capacity of public addresses.",
        )
    })
}

/// Whether a public address is one of the pool and nobody's.
pub(crate) fn is_free_public_ip(draft: &Draft<'_>, address: Ipv4Addr) -> bool {
    // Addresses that look like a network or a broadcast one confuse people and old software.
    if !PUBLIC_SPACE.contains(&address) || matches!(address.octets()[3], 0 | 255) {
        return false;
    }
    let link = Link::Public(address);
    !draft.is_linked(&link) && !draft.model.is_linked_anywhere(&link)
}

/// The delegated prefix that would cover an address.
fn prefix_around(address: IpAddr) -> Option<IpNet> {
    let len = match address {
        IpAddr::V4(_) => IPV4_PREFIX_LEN,
        IpAddr::V6(_) => IPV6_PREFIX_LEN,
    };
    IpNet::new(address, len).ok().map(|net| net.trunc())
}

/// The first and the last address of a block that an interface can have.
fn usable(block: Ipv4Net) -> (u32, u32) {
    (block.network().to_bits() + 4, block.broadcast().to_bits() - 1)
}

fn ipv4_block(subnet: &Subnet) -> Result<Ipv4Net, Ec2Error> {
    subnet
        .cidr
        .ok_or_else(|| Ec2Error::invalid_value(format!("Subnet {} has no IPv4 CIDR block", subnet.id)))
}

fn ipv6_block(subnet: &Subnet) -> Result<Ipv6Net, Ec2Error> {
    let block = subnet.ipv6_cidr.map(|b| b.cidr);
    block.ok_or_else(|| Ec2Error::invalid_value(format!("Subnet {} has no IPv6 CIDR block", subnet.id)))
}

fn in_use(address: IpAddr) -> Ec2Error {
    Ec2Error::new(
        ErrorCode::InvalidAddressInUse,
        format!("Address {address} is in use."),
    )
}

fn no_prefix(subnet: &Subnet) -> Ec2Error {
    Ec2Error::new(
        ErrorCode::InsufficientCidrBlocks,
        format!(
            "There are not enough free cidr blocks in subnet '{}' to satisfy the request.",
            subnet.id
        ),
    )
}

/// Where Elastic and auto-assigned public addresses come from: benchmarking space, never a real host.
///
/// Source: [RFC 2544 appendix C.2.2], [RFC 6890 §2.2.2].
const PUBLIC_SPACE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);

/// Length of a delegated IPv4 prefix.
///
/// Source: [AWS doc AWSEC2/latest/UserGuide/ec2-prefix-eni.html, 2026-11-23], also for IPv6.
const IPV4_PREFIX_LEN: u8 = 28;
/// Length of a delegated IPv6 prefix.
const IPV6_PREFIX_LEN: u8 = 80;

/// How often a random choice is tried before a search.
const RANDOM_TRIES: usize = 32;
