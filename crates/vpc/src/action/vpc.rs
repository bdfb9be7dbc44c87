//! VPCs and their blocks.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::RngExt;

use super::check::{bad_value, ipv4_block, required, show_tags, tags, within};
use super::{Outcome, group, home};
use crate::command::{
    AssociateVpcCidrBlock, CreateDefaultVpc, CreateVpc, DeleteVpc, DescribeVpcAttribute, DescribeVpcs,
    DisassociateVpcCidrBlock, ModifyVpcAttribute,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{
    AnyId, DhcpOptionsId, ResourceId, RouteTableAssociationId, VpcCidrAssociationId, VpcId, clip,
};
use crate::quota;
use crate::region::Link;
use crate::reply::{
    AssociateVpcCidrBlockResult, CreateDefaultVpcResult, CreateVpcResult, DescribeVpcAttributeResult,
    DescribeVpcsResult, DisassociateVpcCidrBlockResult, Reply,
};
use crate::resource::{
    Kind, Route, RouteOrigin, RouteTable, RouteTableAssociation, RouteTarget, SecurityGroup, Subnet, Tags,
    Tenancy, Vpc, VpcCidr,
};
use crate::select::{Field, Item, Selection, flag, select, text};
use crate::shape::{self, AttributeBooleanValue, VpcCidrBlockState};

pub(super) fn create_vpc(draft: &mut Draft<'_>, c: &CreateVpc) -> Outcome {
    let text = c.cidr_block.as_deref().unwrap_or_default();
    let block = vpc_block(required("cidrBlock", text)?)?;
    let tenancy = match c.instance_tenancy.as_deref() {
        None => Tenancy::Default,
        Some(text) => Tenancy::from_text(text)
            .ok_or_else(|| bad_value("instanceTenancy", text, "Expecting default or dedicated."))?,
    };
    if c.ipv6_cidr_block.is_some() {
        return Err(Ec2Error::combination(
            "An IPv6 CIDR block of your own needs an IPv6 pool, and there is none. Use AmazonProvidedIpv6CidrBlock.",
        ));
    }
    let tags = tags(&c.tag_specifications, Kind::Vpc)?;
    let have = draft.all::<Vpc>().count();
    within(
        have,
        1,
        draft.model.quotas.vpcs_per_region,
        ErrorCode::VpcLimitExceeded,
        "VPCs",
    )?;
    let id = make(draft, block, tenancy, tags);
    if c.amazon_provided_ipv6_cidr_block == Some(true) {
        add_ipv6_block(draft, id)?;
        let groups = default_group(draft, id);
        if let Some(group) = groups {
            group::allow_all_ipv6_outbound(draft, group);
        }
    }
    let vpc = draft.get::<Vpc>(id).map(|vpc| show(draft, vpc));
    // EC2 answers before the VPC is there.
    let vpc = vpc.map(|vpc| shape::Vpc {
        state: Some("pending".into()),
        ..vpc
    });
    Ok(CreateVpcResult { vpc }.into())
}

pub(super) fn create_default_vpc(draft: &mut Draft<'_>, _c: &CreateDefaultVpc) -> Outcome {
    if let Some(vpc) = draft.all::<Vpc>().find(|vpc| vpc.is_default) {
        return Err(Ec2Error::new(
            ErrorCode::DefaultVpcAlreadyExists,
            format!(
                "A Default VPC already exists for this account in this region: {}.",
                vpc.id
            ),
        ));
    }
    let have = draft.all::<Vpc>().count();
    within(
        have,
        1,
        draft.model.quotas.vpcs_per_region,
        ErrorCode::VpcLimitExceeded,
        "VPCs",
    )?;
    let id = home::make_default_vpc(draft)?;
    let vpc = draft.get::<Vpc>(id).map(|vpc| show(draft, vpc));
    Ok(CreateDefaultVpcResult { vpc }.into())
}

/// Makes a VPC with its main route table and its default security group.
pub(super) fn make(draft: &mut Draft<'_>, block: Ipv4Net, tenancy: Tenancy, tags: Tags) -> VpcId {
    let id = draft.fresh_id::<Vpc>();
    // One set of DHCP options serves the whole region.
    let options = draft.all::<Vpc>().next().map(|vpc| vpc.dhcp_options_id);
    let vpc = Vpc {
        id,
        cidr_blocks: vec![VpcCidr {
            association_id: VpcCidrAssociationId::random(draft.rng),
            cidr: block,
        }],
        ipv6_cidr_blocks: Vec::new(),
        is_default: false,
        instance_tenancy: tenancy,
        dns_support: true,
        dns_hostnames: false,
        dhcp_options_id: options.unwrap_or_else(|| DhcpOptionsId::random(draft.rng)),
        tags,
    };
    let table = RouteTable {
        id: draft.fresh_id::<RouteTable>(),
        vpc_id: id,
        routes: local_routes(&vpc),
        associations: vec![RouteTableAssociation {
            id: RouteTableAssociationId::random(draft.rng),
            subnet_id: None,
        }],
        tags: Tags::new(),
    };
    draft.put(vpc);
    draft.put(table);
    group::make_default(draft, id);
    id
}

pub(super) fn delete_vpc(draft: &mut Draft<'_>, c: &DeleteVpc) -> Outcome {
    let id = draft.need::<Vpc>("vpcId", &c.vpc_id)?.id;
    let mut own = Vec::new();
    for child in draft.linked(&Link::InVpc(id)) {
        let is_own = match child {
            AnyId::RouteTable(t) => draft.get::<RouteTable>(t).is_some_and(RouteTable::is_main),
            AnyId::SecurityGroup(g) => draft
                .get::<SecurityGroup>(g)
                .is_some_and(SecurityGroup::is_default),
            // A terminated instance is only a memory.
            AnyId::Instance(_) => continue,
            _ => false,
        };
        if !is_own {
            return Err(Ec2Error::dependency(format!(
                "The vpc '{id}' has dependencies and cannot be deleted."
            ))
            .with_context(child.to_string()));
        }
        own.push(child);
    }
    for child in own {
        match child {
            AnyId::RouteTable(t) => draft.delete::<RouteTable>(t),
            AnyId::SecurityGroup(g) => draft.delete::<SecurityGroup>(g),
            _ => {}
        }
    }
    draft.delete::<Vpc>(id);
    Ok(Reply::Done)
}

pub(super) fn describe_vpcs(draft: &mut Draft<'_>, c: &DescribeVpcs) -> Outcome {
    let found: Vec<&Vpc> = if c.vpc_ids.is_empty() {
        draft.all().collect()
    } else {
        c.vpc_ids
            .iter()
            .map(|text| draft.find(text))
            .collect::<Result<_, _>>()?
    };
    let items = found.into_iter().map(|vpc| show(draft, vpc)).collect();
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.vpc_ids.is_empty(),
    };
    let (vpcs, next_token) = select(items, selection)?;
    Ok(DescribeVpcsResult { vpcs, next_token }.into())
}

pub(super) fn modify_vpc_attribute(draft: &mut Draft<'_>, c: &ModifyVpcAttribute) -> Outcome {
    let vpc = draft.need::<Vpc>("vpcId", &c.vpc_id)?.clone();
    let value = |attribute: &Option<AttributeBooleanValue>| attribute.as_ref().and_then(|a| a.value);
    let vpc = match (value(&c.enable_dns_support), value(&c.enable_dns_hostnames)) {
        (Some(_), Some(_)) => {
            return Err(Ec2Error::combination(
                "Fields for multiple attribute types specified",
            ));
        }
        (None, None) => return Err(Ec2Error::missing("attribute")),
        (Some(dns_support), None) => Vpc { dns_support, ..vpc },
        (None, Some(true)) if !vpc.dns_support => {
            return Err(Ec2Error::invalid_value(
                "DNS hostnames can only be enabled where DNS support is enabled.",
            ));
        }
        (None, Some(dns_hostnames)) => Vpc { dns_hostnames, ..vpc },
    };
    draft.put(vpc);
    Ok(Reply::Done)
}

pub(super) fn describe_vpc_attribute(draft: &mut Draft<'_>, c: &DescribeVpcAttribute) -> Outcome {
    let vpc = draft.need::<Vpc>("vpcId", &c.vpc_id)?;
    let mut result = DescribeVpcAttributeResult {
        vpc_id: Some(vpc.id.to_string()),
        ..DescribeVpcAttributeResult::default()
    };
    let value = |value| Some(AttributeBooleanValue { value: Some(value) });
    match required("attribute", &c.attribute)? {
        "enableDnsSupport" => result.enable_dns_support = value(vpc.dns_support),
        "enableDnsHostnames" => result.enable_dns_hostnames = value(vpc.dns_hostnames),
        other => return Err(bad_value("attribute", other, "Unknown attribute.")),
    }
    Ok(result.into())
}

pub(super) fn associate_vpc_cidr_block(draft: &mut Draft<'_>, c: &AssociateVpcCidrBlock) -> Outcome {
    let vpc = draft.need::<Vpc>("vpcId", &c.vpc_id)?.clone();
    let mut result = AssociateVpcCidrBlockResult {
        vpc_id: Some(vpc.id.to_string()),
        ..AssociateVpcCidrBlockResult::default()
    };
    match (&c.cidr_block, c.amazon_provided_ipv6_cidr_block) {
        (Some(text), None | Some(false)) => {
            let block = vpc_block(text)?;
            if vpc.cidr_blocks.iter().any(|b| overlap(b.cidr, block)) {
                return Err(Ec2Error::new(
                    ErrorCode::InvalidVpcRange,
                    format!("The CIDR '{block}' conflicts with another CIDR of the VPC."),
                ));
            }
            let have = vpc.cidr_blocks.len();
            let code = ErrorCode::CidrLimitExceeded;
            within(have, 1, quota::CIDRS_PER_VPC, code, "CIDR blocks of a VPC")?;
            let association_id = VpcCidrAssociationId::random(draft.rng);
            let added = VpcCidr {
                association_id,
                cidr: block,
            };
            draft.change::<Vpc>(vpc.id, |vpc| vpc.cidr_blocks.push(added));
            add_local_route(draft, vpc.id, IpNet::V4(block));
            result.cidr_block_association = Some(show_ipv4_block(&added, "associating"));
        }
        (None, Some(true)) => {
            let added = add_ipv6_block(draft, vpc.id)?;
            result.ipv6_cidr_block_association = Some(show_ipv6_block(draft, &added, "associating"));
        }
        _ => {
            return Err(Ec2Error::combination(
                "Exactly one of CidrBlock and AmazonProvidedIpv6CidrBlock is needed.",
            ));
        }
    }
    Ok(result.into())
}

pub(super) fn disassociate_vpc_cidr_block(draft: &mut Draft<'_>, c: &DisassociateVpcCidrBlock) -> Outcome {
    let id = VpcCidrAssociationId::parse(required("associationId", &c.association_id)?)?;
    let found = draft.all::<Vpc>().find(|vpc| {
        vpc.cidr_blocks.iter().any(|b| b.association_id == id)
            || vpc.ipv6_cidr_blocks.iter().any(|b| b.association_id == id)
    });
    let Some(vpc) = found.cloned() else {
        return Err(VpcCidrAssociationId::not_found(&c.association_id));
    };
    let mut result = DisassociateVpcCidrBlockResult {
        vpc_id: Some(vpc.id.to_string()),
        ..DisassociateVpcCidrBlockResult::default()
    };
    let ipv4 = vpc.cidr_blocks.iter().position(|b| b.association_id == id);
    let ipv6 = vpc.ipv6_cidr_blocks.iter().find(|b| b.association_id == id);
    let gone: IpNet = match (ipv4, ipv6) {
        (Some(0), _) => {
            return Err(Ec2Error::new(
                ErrorCode::OperationNotPermitted,
                format!(
                    "The vpc CIDR block with association ID {id} may not be disassociated. It is the primary IPv4 CIDR block of the VPC"
                ),
            ));
        }
        (Some(at), _) => {
            let block = vpc.cidr_blocks[at];
            result.cidr_block_association = Some(show_ipv4_block(&block, "disassociating"));
            block.cidr.into()
        }
        (None, Some(block)) => {
            result.ipv6_cidr_block_association = Some(show_ipv6_block(draft, block, "disassociating"));
            block.cidr.into()
        }
        (None, None) => return Err(VpcCidrAssociationId::not_found(&c.association_id)),
    };
    if subnets(draft, vpc.id).any(|subnet| in_block(subnet, gone)) {
        return Err(Ec2Error::new(
            ErrorCode::InvalidCidrInUse,
            format!(
                "The vpc {} currently has a subnet within CIDR block {gone}",
                vpc.id
            ),
        ));
    }
    draft.change::<Vpc>(vpc.id, |vpc| {
        vpc.cidr_blocks.retain(|b| b.association_id != id);
        vpc.ipv6_cidr_blocks.retain(|b| b.association_id != id);
    });
    remove_local_route(draft, vpc.id, gone);
    Ok(result.into())
}

/// The subnets of a VPC.
pub(super) fn subnets<'d>(draft: &'d Draft<'_>, vpc: VpcId) -> impl Iterator<Item = &'d Subnet> {
    draft.linked(&Link::InVpc(vpc)).filter_map(|id| match id {
        AnyId::Subnet(id) => draft.get(id),
        _ => None,
    })
}

/// The route tables of a VPC.
pub(super) fn route_tables<'d>(draft: &'d Draft<'_>, vpc: VpcId) -> impl Iterator<Item = &'d RouteTable> {
    draft.linked(&Link::InVpc(vpc)).filter_map(|id| match id {
        AnyId::RouteTable(id) => draft.get(id),
        _ => None,
    })
}

/// The routes that a new route table of a VPC has.
pub(super) fn local_routes(vpc: &Vpc) -> Vec<Route> {
    let ipv4 = vpc.cidr_blocks.iter().map(|b| IpNet::V4(b.cidr));
    let ipv6 = vpc.ipv6_cidr_blocks.iter().map(|b| IpNet::V6(b.cidr));
    ipv4.chain(ipv6).map(local_route).collect()
}

/// Whether two blocks share an address.
pub(super) fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn default_group(draft: &Draft<'_>, vpc: VpcId) -> Option<crate::ids::SecurityGroupId> {
    draft.linked(&Link::InVpc(vpc)).find_map(|id| match id {
        AnyId::SecurityGroup(id) => draft
            .get::<SecurityGroup>(id)
            .filter(|g| g.is_default())
            .map(|g| g.id),
        _ => None,
    })
}

fn local_route(destination: IpNet) -> Route {
    Route {
        destination,
        target: RouteTarget::Local,
        origin: RouteOrigin::CreateRouteTable,
    }
}

fn add_local_route(draft: &mut Draft<'_>, vpc: VpcId, block: IpNet) {
    let tables: Vec<_> = route_tables(draft, vpc).map(|table| table.id).collect();
    for table in tables {
        draft.change::<RouteTable>(table, |table| table.routes.push(local_route(block)));
    }
}

fn remove_local_route(draft: &mut Draft<'_>, vpc: VpcId, block: IpNet) {
    let tables: Vec<_> = route_tables(draft, vpc).map(|table| table.id).collect();
    for table in tables {
        draft.change::<RouteTable>(table, |table| {
            table
                .routes
                .retain(|r| r.destination != block || r.target != RouteTarget::Local);
        });
    }
}

fn in_block(subnet: &Subnet, block: IpNet) -> bool {
    match block {
        IpNet::V4(block) => subnet.cidr.is_some_and(|c| block.contains(&c)),
        IpNet::V6(block) => subnet.ipv6_cidr.is_some_and(|c| block.contains(&c.cidr)),
    }
}

/// A block that a VPC may have: /16 to /28, and not of addresses that mean something else.
fn vpc_block(text: &str) -> Result<Ipv4Net, Ec2Error> {
    let block = ipv4_block("cidrBlock", text)?;
    let reserved = RESERVED.iter().any(|reserved| overlap(*reserved, block));
    if !(16..=28).contains(&block.prefix_len()) || reserved {
        return Err(Ec2Error::new(
            ErrorCode::InvalidVpcRange,
            format!("The CIDR '{}' is invalid.", clip(text)),
        ));
    }
    Ok(block)
}

fn add_ipv6_block(draft: &mut Draft<'_>, vpc: VpcId) -> Result<VpcCidr<Ipv6Net>, Ec2Error> {
    let have = draft.get::<Vpc>(vpc).map_or(0, |vpc| vpc.ipv6_cidr_blocks.len());
    let code = ErrorCode::CidrLimitExceeded;
    within(
        have,
        1,
        quota::IPV6_CIDRS_PER_VPC,
        code,
        "IPv6 CIDR blocks of a VPC",
    )?;
    let cidr = free_ipv6_block(draft)?;
    let association_id = VpcCidrAssociationId::random(draft.rng);
    let added = VpcCidr { association_id, cidr };
    draft.change::<Vpc>(vpc, |vpc| vpc.ipv6_cidr_blocks.push(added));
    add_local_route(draft, vpc, IpNet::V6(cidr));
    Ok(added)
}

/// A /56 that no VPC of any account has.
fn free_ipv6_block(draft: &mut Draft<'_>) -> Result<Ipv6Net, Ec2Error> {
    for _ in 0..RANDOM_TRIES {
        // 24 random bits between the /32 and the /56.
        let middle = u128::from(draft.rng.random::<u32>() >> 8) << 72;
        let address = Ipv6Addr::from(IPV6_SPACE.to_bits() | middle);
        let Ok(block) = Ipv6Net::new(address, 56) else {
            continue;
        };
        let link = Link::Ipv6Block(block);
        if !draft.model.is_linked_anywhere(&link) && !draft.is_linked(&link) {
            return Ok(block);
        }
    }
    Err(Ec2Error::new(
        ErrorCode::InsufficientAddressCapacity,
        "No IPv6 CIDR block is free.",
    ))
}

pub(super) fn show(draft: &Draft<'_>, vpc: &Vpc) -> shape::Vpc {
    let ipv4 = vpc.cidr_blocks.iter().map(|b| show_ipv4_block(b, "associated"));
    let ipv6 = vpc
        .ipv6_cidr_blocks
        .iter()
        .map(|b| show_ipv6_block(draft, b, "associated"));
    shape::Vpc {
        owner_id: Some(draft.scope.account.to_string()),
        instance_tenancy: Some(vpc.instance_tenancy.to_string()),
        ipv6_cidr_block_association_set: ipv6.collect(),
        cidr_block_association_set: ipv4.collect(),
        is_default: Some(vpc.is_default),
        tags: show_tags(&vpc.tags),
        vpc_id: Some(vpc.id.to_string()),
        state: Some("available".into()),
        cidr_block: vpc.primary_cidr().map(|c| c.to_string()),
        dhcp_options_id: Some(vpc.dhcp_options_id.to_string()),
    }
}

fn show_ipv4_block(block: &VpcCidr<Ipv4Net>, state: &str) -> shape::VpcCidrBlockAssociation {
    shape::VpcCidrBlockAssociation {
        association_id: Some(block.association_id.to_string()),
        cidr_block: Some(block.cidr.to_string()),
        cidr_block_state: Some(block_state(state)),
    }
}

fn show_ipv6_block(
    draft: &Draft<'_>,
    block: &VpcCidr<Ipv6Net>,
    state: &str,
) -> shape::VpcIpv6CidrBlockAssociation {
    shape::VpcIpv6CidrBlockAssociation {
        association_id: Some(block.association_id.to_string()),
        ipv6_cidr_block: Some(block.cidr.to_string()),
        ipv6_cidr_block_state: Some(block_state(state)),
        network_border_group: Some(draft.scope.region.to_string()),
        ipv6_pool: Some("Amazon".into()),
    }
}

fn block_state(state: &str) -> VpcCidrBlockState {
    VpcCidrBlockState {
        state: Some(state.into()),
        ..VpcCidrBlockState::default()
    }
}

impl Item for shape::Vpc {
    const FIELDS: &'static [Field<Self>] = &[
        ("cidr", |v| text(&v.cidr_block)),
        ("cidr-block-association.association-id", |v| {
            v.cidr_block_association_set
                .iter()
                .flat_map(|b| text(&b.association_id))
                .collect()
        }),
        ("cidr-block-association.cidr-block", |v| {
            v.cidr_block_association_set
                .iter()
                .flat_map(|b| text(&b.cidr_block))
                .collect()
        }),
        ("cidr-block-association.state", |_| vec!["associated".into()]),
        ("dhcp-options-id", |v| text(&v.dhcp_options_id)),
        ("ipv6-cidr-block-association.association-id", |v| {
            v.ipv6_cidr_block_association_set
                .iter()
                .flat_map(|b| text(&b.association_id))
                .collect()
        }),
        ("ipv6-cidr-block-association.ipv6-cidr-block", |v| {
            v.ipv6_cidr_block_association_set
                .iter()
                .flat_map(|b| text(&b.ipv6_cidr_block))
                .collect()
        }),
        ("ipv6-cidr-block-association.state", |v| {
            v.ipv6_cidr_block_association_set
                .iter()
                .map(|_| "associated".into())
                .collect()
        }),
        ("is-default", |v| flag(v.is_default)),
        ("isDefault", |v| flag(v.is_default)),
        ("owner-id", |v| text(&v.owner_id)),
        ("state", |v| text(&v.state)),
        ("vpc-id", |v| text(&v.vpc_id)),
    ];

    fn key(&self) -> String {
        self.vpc_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.tags
    }
}

/// Blocks that no VPC may have.
///
/// Source: [AWS doc vpc/latest/userguide/vpc-cidr-blocks.html, 2026-11-23].
const RESERVED: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
];

/// Where the IPv6 blocks of VPCs come from: documentation space, which is never routed.
///
/// Source: [RFC 3849].
const IPV6_SPACE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);

/// How often a random choice is tried again before the space counts as full.
const RANDOM_TRIES: usize = 64;
