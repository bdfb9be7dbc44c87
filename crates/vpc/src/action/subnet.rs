//! Subnets.

use ipnet::{Ipv4Net, Ipv6Net};

use super::Outcome;
use super::check::{bad_value, ipv4_block, ipv6_block, required, show_tags, tags, within};
use super::vpc::{overlap, subnets};
use crate::command::{
    AssociateSubnetCidrBlock, CreateSubnet, DeleteSubnet, DescribeSubnets, DisassociateSubnetCidrBlock,
    ModifySubnetAttribute,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{AnyId, ResourceId, SubnetCidrAssociationId, VpcId};
use crate::quota;
use crate::region::Link;
use crate::reply::{
    AssociateSubnetCidrBlockResult, CreateSubnetResult, DescribeSubnetsResult,
    DisassociateSubnetCidrBlockResult, Reply,
};
use crate::resource::{HostnameType, Kind, PrivateDnsOptions, RouteTable, Subnet, SubnetIpv6Cidr, Tags, Vpc};
use crate::select::{Field, Item, Selection, flag, number, select, text};
use crate::shape::{self, AttributeBooleanValue, SubnetCidrBlockState};
use crate::zone;

/// Addresses of a subnet that no interface gets: network, router, DNS, one for the future, last.
///
/// Source: [AWS doc vpc/latest/userguide/subnet-sizing.html, 2026-11-23].
pub(super) const RESERVED_ADDRESSES: u32 = 5;

pub(super) fn create_subnet(draft: &mut Draft<'_>, c: &CreateSubnet) -> Outcome {
    let vpc = draft.need::<Vpc>("vpcId", &c.vpc_id)?.clone();
    let zone = zone_name(
        draft,
        c.availability_zone.as_deref(),
        c.availability_zone_id.as_deref(),
    )?;
    let ipv6_native = c.ipv6_native == Some(true);
    let block = match (&c.cidr_block, ipv6_native) {
        (Some(_), true) => {
            return Err(Ec2Error::combination(
                "An IPv6-only subnet has no IPv4 CIDR block.",
            ));
        }
        (Some(text), false) => Some(free_block(draft, &vpc, text)?),
        (None, true) => None,
        (None, false) => return Err(Ec2Error::missing("cidrBlock")),
    };
    let ipv6_block = match &c.ipv6_cidr_block {
        Some(text) => Some(free_ipv6_block(draft, &vpc, text)?),
        None if ipv6_native => return Err(Ec2Error::missing("ipv6CidrBlock")),
        None => None,
    };
    let tags = tags(&c.tag_specifications, Kind::Subnet)?;
    let have = subnets(draft, vpc.id).count();
    within(
        have,
        1,
        quota::SUBNETS_PER_VPC,
        ErrorCode::SubnetLimitExceeded,
        "subnets of a VPC",
    )?;
    let mut subnet = new(draft, vpc.id, zone, block);
    subnet.tags = tags;
    subnet.assign_ipv6_address_on_creation = ipv6_native;
    subnet.ipv6_cidr = ipv6_block.map(|cidr| SubnetIpv6Cidr {
        association_id: SubnetCidrAssociationId::random(draft.rng),
        cidr,
    });
    let shown = show(draft, &subnet);
    draft.put(subnet);
    Ok(CreateSubnetResult { subnet: Some(shown) }.into())
}

/// A subnet as it starts out.
pub(super) fn new(draft: &mut Draft<'_>, vpc_id: VpcId, zone: String, cidr: Option<Ipv4Net>) -> Subnet {
    Subnet {
        id: draft.fresh_id::<Subnet>(),
        vpc_id,
        availability_zone: zone,
        cidr,
        ipv6_cidr: None,
        default_for_az: false,
        map_public_ip_on_launch: false,
        assign_ipv6_address_on_creation: false,
        enable_dns64: false,
        private_dns: PrivateDnsOptions::default(),
        tags: Tags::new(),
    }
}

pub(super) fn delete_subnet(draft: &mut Draft<'_>, c: &DeleteSubnet) -> Outcome {
    let id = draft.need::<Subnet>("subnetId", &c.subnet_id)?.id;
    if let Some(interface) = draft.interfaces(&Link::InSubnet(id)).next() {
        return Err(Ec2Error::dependency(format!(
            "The subnet '{id}' has dependencies and cannot be deleted."
        ))
        .with_context(interface.id.to_string()));
    }
    let tables: Vec<_> = draft.linked(&Link::TableOf(id)).collect();
    for table in tables {
        if let AnyId::RouteTable(table) = table {
            draft.change::<RouteTable>(table, |t| t.associations.retain(|a| a.subnet_id != Some(id)));
        }
    }
    draft.delete::<Subnet>(id);
    Ok(Reply::Done)
}

pub(super) fn describe_subnets(draft: &mut Draft<'_>, c: &DescribeSubnets) -> Outcome {
    let found: Vec<&Subnet> = if c.subnet_ids.is_empty() {
        draft.all().collect()
    } else {
        c.subnet_ids
            .iter()
            .map(|text| draft.find(text))
            .collect::<Result<_, _>>()?
    };
    let items = found.into_iter().map(|subnet| show(draft, subnet)).collect();
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.subnet_ids.is_empty(),
    };
    let (subnets, next_token) = select(items, selection)?;
    Ok(DescribeSubnetsResult { subnets, next_token }.into())
}

pub(super) fn modify_subnet_attribute(draft: &mut Draft<'_>, c: &ModifySubnetAttribute) -> Outcome {
    let mut subnet = draft.need::<Subnet>("subnetId", &c.subnet_id)?.clone();
    let value = |attribute: &Option<AttributeBooleanValue>| attribute.as_ref().and_then(|a| a.value);
    let mut changes = 0;
    if let Some(on) = value(&c.map_public_ip_on_launch) {
        subnet.map_public_ip_on_launch = on;
        changes += 1;
    }
    if let Some(on) = value(&c.assign_ipv6_address_on_creation) {
        if on && subnet.ipv6_cidr.is_none() {
            return Err(Ec2Error::invalid_value(format!(
                "Invalid value 'true' for assignIpv6AddressOnCreation. Subnet {} has no IPv6 CIDR block.",
                subnet.id
            )));
        }
        subnet.assign_ipv6_address_on_creation = on;
        changes += 1;
    }
    if let Some(on) = value(&c.enable_dns64) {
        subnet.enable_dns64 = on;
        changes += 1;
    }
    if let Some(text) = c.private_dns_hostname_type_on_launch.as_deref() {
        subnet.private_dns.hostname_type = hostname_type(text)?;
        changes += 1;
    }
    if let Some(on) = value(&c.enable_resource_name_dns_a_record_on_launch) {
        subnet.private_dns.resource_name_a_record = on;
        changes += 1;
    }
    if let Some(on) = value(&c.enable_resource_name_dns_aaaa_record_on_launch) {
        subnet.private_dns.resource_name_aaaa_record = on;
        changes += 1;
    }
    match changes {
        0 => Err(Ec2Error::missing("attribute")),
        1 => {
            draft.put(subnet);
            Ok(Reply::Done)
        }
        _ => Err(Ec2Error::combination(
            "Only one attribute can be modified per call.",
        )),
    }
}

pub(super) fn associate_subnet_cidr_block(draft: &mut Draft<'_>, c: &AssociateSubnetCidrBlock) -> Outcome {
    let subnet = draft.need::<Subnet>("subnetId", &c.subnet_id)?.clone();
    let Some(text) = &c.ipv6_cidr_block else {
        return Err(Ec2Error::missing("ipv6CidrBlock"));
    };
    if subnet.ipv6_cidr.is_some() {
        return Err(Ec2Error::invalid_value(format!(
            "The subnet {} already has an IPv6 CIDR block.",
            subnet.id
        )));
    }
    let Some(vpc) = draft.get::<Vpc>(subnet.vpc_id).cloned() else {
        return Err(VpcId::not_found(&subnet.vpc_id.to_string()));
    };
    let cidr = free_ipv6_block(draft, &vpc, text)?;
    let added = SubnetIpv6Cidr {
        association_id: SubnetCidrAssociationId::random(draft.rng),
        cidr,
    };
    draft.change::<Subnet>(subnet.id, |s| s.ipv6_cidr = Some(added));
    Ok(AssociateSubnetCidrBlockResult {
        ipv6_cidr_block_association: Some(show_ipv6(&added, "associating")),
        subnet_id: Some(subnet.id.to_string()),
    }
    .into())
}

pub(super) fn disassociate_subnet_cidr_block(
    draft: &mut Draft<'_>,
    c: &DisassociateSubnetCidrBlock,
) -> Outcome {
    let id = SubnetCidrAssociationId::parse(required("associationId", &c.association_id)?)?;
    let has = |subnet: &&Subnet| subnet.ipv6_cidr.is_some_and(|b| b.association_id == id);
    let Some(subnet) = draft.all::<Subnet>().find(has).cloned() else {
        return Err(SubnetCidrAssociationId::not_found(&c.association_id));
    };
    let in_use =
        |i: &&crate::resource::NetworkInterface| !i.ipv6_addresses.is_empty() || !i.ipv6_prefixes.is_empty();
    if draft.interfaces(&Link::InSubnet(subnet.id)).any(|i| in_use(&i)) {
        return Err(Ec2Error::new(
            ErrorCode::InvalidCidrInUse,
            format!("The subnet {} has interfaces with IPv6 addresses.", subnet.id),
        ));
    }
    draft.change::<Subnet>(subnet.id, |s| {
        s.ipv6_cidr = None;
        s.assign_ipv6_address_on_creation = false;
    });
    let association = subnet.ipv6_cidr.as_ref().map(|b| show_ipv6(b, "disassociating"));
    Ok(DisassociateSubnetCidrBlockResult {
        ipv6_cidr_block_association: association,
        subnet_id: Some(subnet.id.to_string()),
    }
    .into())
}

/// The hostname type that a request's text stands for.
pub(super) fn hostname_type(text: &str) -> Result<HostnameType, Ec2Error> {
    let found = HostnameType::from_text(text);
    found.ok_or_else(|| bad_value("hostnameType", text, "Expecting ip-name or resource-name."))
}

/// The zone that a request names, by name or id; the region's first one if it names none.
pub(super) fn zone_name(draft: &Draft<'_>, name: Option<&str>, id: Option<&str>) -> Result<String, Ec2Error> {
    let zones = zone::zones(&draft.scope.region);
    if name.is_some() && id.is_some() {
        return Err(Ec2Error::combination(
            "Only one of availabilityZone and availabilityZoneId can be given.",
        ));
    }
    let found = zones.iter().find(|zone| match (name, id) {
        (Some(name), _) => zone.name == name,
        (None, Some(id)) => zone.id == id,
        (None, None) => true,
    });
    if let Some(zone) = found {
        return Ok(zone.name.clone());
    }
    let names: Vec<_> = zones.iter().map(|zone| zone.name.as_str()).collect();
    Err(bad_value(
        "availabilityZone",
        name.or(id).unwrap_or_default(),
        &format!(
            "Subnets can currently only be created in the following availability zones: {}.",
            names.join(", ")
        ),
    ))
}

fn free_block(draft: &Draft<'_>, vpc: &Vpc, text: &str) -> Result<Ipv4Net, Ec2Error> {
    let block = ipv4_block("cidrBlock", text)?;
    let inside = vpc.cidr_blocks.iter().any(|b| b.cidr.contains(&block));
    if !(16..=28).contains(&block.prefix_len()) || !inside {
        return Err(Ec2Error::new(
            ErrorCode::InvalidSubnetRange,
            format!("The CIDR '{block}' is invalid."),
        ));
    }
    if subnets(draft, vpc.id)
        .filter_map(|s| s.cidr)
        .any(|other| overlap(other, block))
    {
        return Err(conflict(&block));
    }
    Ok(block)
}

fn free_ipv6_block(draft: &Draft<'_>, vpc: &Vpc, text: &str) -> Result<Ipv6Net, Ec2Error> {
    let block = ipv6_block("ipv6CidrBlock", text)?;
    let inside = vpc.ipv6_cidr_blocks.iter().any(|b| b.cidr.contains(&block));
    if block.prefix_len() != 64 || !inside {
        return Err(Ec2Error::new(
            ErrorCode::InvalidSubnetRange,
            format!("The CIDR '{block}' is invalid."),
        ));
    }
    if subnets(draft, vpc.id)
        .filter_map(|s| s.ipv6_cidr)
        .any(|other| other.cidr == block)
    {
        return Err(conflict(&block));
    }
    Ok(block)
}

fn conflict(block: &dyn std::fmt::Display) -> Ec2Error {
    Ec2Error::new(
        ErrorCode::InvalidSubnetConflict,
        format!("The CIDR '{block}' conflicts with another subnet"),
    )
}

/// Addresses of a subnet that are still free.
pub(super) fn free_addresses(draft: &Draft<'_>, subnet: &Subnet) -> u32 {
    let Some(block) = subnet.cidr else {
        return 0;
    };
    let size = 1_u32 << (32 - block.prefix_len().clamp(1, 32));
    let used: usize = draft
        .interfaces(&Link::InSubnet(subnet.id))
        .map(|i| i.private_addresses.len() + 16 * i.ipv4_prefixes.len())
        .sum();
    let used = u32::try_from(used).unwrap_or(u32::MAX);
    size.saturating_sub(RESERVED_ADDRESSES).saturating_sub(used)
}

pub(super) fn show(draft: &Draft<'_>, subnet: &Subnet) -> shape::Subnet {
    let ipv6 = subnet.ipv6_cidr.iter().map(|b| show_ipv6(b, "associated"));
    let dns = subnet.private_dns;
    shape::Subnet {
        availability_zone_id: Some(zone::zone_id(&draft.scope.region, &subnet.availability_zone)),
        owner_id: Some(draft.scope.account.to_string()),
        assign_ipv6_address_on_creation: Some(subnet.assign_ipv6_address_on_creation),
        ipv6_cidr_block_association_set: ipv6.collect(),
        tags: show_tags(&subnet.tags),
        subnet_arn: Some(draft.arn(format_args!("subnet/{}", subnet.id))),
        enable_dns64: Some(subnet.enable_dns64),
        ipv6_native: Some(subnet.cidr.is_none()),
        private_dns_name_options_on_launch: Some(shape::PrivateDnsNameOptionsOnLaunch {
            hostname_type: Some(dns.hostname_type.to_string()),
            enable_resource_name_dns_a_record: Some(dns.resource_name_a_record),
            enable_resource_name_dns_aaaa_record: Some(dns.resource_name_aaaa_record),
        }),
        subnet_id: Some(subnet.id.to_string()),
        state: Some("available".into()),
        vpc_id: Some(subnet.vpc_id.to_string()),
        cidr_block: subnet.cidr.map(|c| c.to_string()),
        available_ip_address_count: i32::try_from(free_addresses(draft, subnet)).ok(),
        availability_zone: Some(subnet.availability_zone.clone()),
        default_for_az: Some(subnet.default_for_az),
        map_public_ip_on_launch: Some(subnet.map_public_ip_on_launch),
        ..shape::Subnet::default()
    }
}

fn show_ipv6(block: &SubnetIpv6Cidr, state: &str) -> shape::SubnetIpv6CidrBlockAssociation {
    shape::SubnetIpv6CidrBlockAssociation {
        association_id: Some(block.association_id.to_string()),
        ipv6_cidr_block: Some(block.cidr.to_string()),
        ipv6_cidr_block_state: Some(SubnetCidrBlockState {
            state: Some(state.into()),
            ..SubnetCidrBlockState::default()
        }),
    }
}

impl Item for shape::Subnet {
    const FIELDS: &'static [Field<Self>] = &[
        ("availability-zone", |s| text(&s.availability_zone)),
        ("availabilityZone", |s| text(&s.availability_zone)),
        ("availability-zone-id", |s| text(&s.availability_zone_id)),
        ("available-ip-address-count", |s| {
            number(s.available_ip_address_count)
        }),
        ("cidr-block", |s| text(&s.cidr_block)),
        ("cidr", |s| text(&s.cidr_block)),
        ("cidrBlock", |s| text(&s.cidr_block)),
        ("default-for-az", |s| flag(s.default_for_az)),
        ("defaultForAz", |s| flag(s.default_for_az)),
        ("enable-dns64", |s| flag(s.enable_dns64)),
        ("ipv6-cidr-block-association.association-id", |s| {
            s.ipv6_cidr_block_association_set
                .iter()
                .flat_map(|b| text(&b.association_id))
                .collect()
        }),
        ("ipv6-cidr-block-association.ipv6-cidr-block", |s| {
            s.ipv6_cidr_block_association_set
                .iter()
                .flat_map(|b| text(&b.ipv6_cidr_block))
                .collect()
        }),
        ("ipv6-cidr-block-association.state", |s| {
            s.ipv6_cidr_block_association_set
                .iter()
                .map(|_| "associated".into())
                .collect()
        }),
        ("ipv6-native", |s| flag(s.ipv6_native)),
        ("map-public-ip-on-launch", |s| flag(s.map_public_ip_on_launch)),
        ("owner-id", |s| text(&s.owner_id)),
        ("state", |s| text(&s.state)),
        ("subnet-arn", |s| text(&s.subnet_arn)),
        ("subnet-id", |s| text(&s.subnet_id)),
        ("vpc-id", |s| text(&s.vpc_id)),
    ];

    fn key(&self) -> String {
        self.subnet_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.tags
    }
}
