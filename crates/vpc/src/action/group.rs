//! Security groups themselves; their rules are in [`super::group_rules`].

use ipnet::{Ipv4Net, Ipv6Net};

use super::Outcome;
use super::check::{bad_value, default_vpc, required, show_tags, tags, within};
use crate::command::{CreateSecurityGroup, DeleteSecurityGroup, DescribeSecurityGroups};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{AnyId, ResourceId, SecurityGroupId, SecurityGroupRuleId, VpcId, clip};
use crate::quota;
use crate::region::Link;
use crate::reply::{CreateSecurityGroupResult, DeleteSecurityGroupResult, DescribeSecurityGroupsResult};
use crate::resource::{Kind, RuleMatch, RulePeer, RuleProtocol, SecurityGroup, SecurityGroupRule, Tags, Vpc};
use crate::select::{Field, Item, Selection, number, select, text};
use crate::shape::{self, IpPermission, IpRange, Ipv6Range, UserIdGroupPair};

pub(super) fn create_security_group(draft: &mut Draft<'_>, c: &CreateSecurityGroup) -> Outcome {
    let name = required("groupName", &c.group_name)?;
    let description = required("groupDescription", &c.description)?;
    check_text("groupName", name)?;
    check_text("groupDescription", description)?;
    if name == "default" {
        return Err(Ec2Error::new(
            ErrorCode::InvalidParameterValue,
            "Cannot use reserved security group name: default",
        ));
    }
    if name.starts_with("sg-") {
        return Err(bad_value(
            "groupName",
            name,
            "Group names may not be in the format sg-*.",
        ));
    }
    let vpc = match c.vpc_id.as_deref() {
        Some(text) => draft.find::<Vpc>(text)?.id,
        None => default_vpc(draft)?,
    };
    if by_name(draft, vpc, name).is_some() {
        return Err(Ec2Error::new(
            ErrorCode::InvalidGroupDuplicate,
            format!(
                "The security group '{}' already exists for VPC '{vpc}'",
                clip(name)
            ),
        ));
    }
    let tags = tags(&c.tag_specifications, Kind::SecurityGroup)?;
    let have = draft.all::<SecurityGroup>().count();
    let code = ErrorCode::SecurityGroupLimitExceeded;
    within(
        have,
        1,
        quota::SECURITY_GROUPS_PER_REGION,
        code,
        "security groups",
    )?;
    let has_ipv6 = draft
        .get::<Vpc>(vpc)
        .is_some_and(|v| !v.ipv6_cidr_blocks.is_empty());
    let mut group = new(draft, vpc, name, description);
    group.tags = tags;
    let id = group.id;
    let result = CreateSecurityGroupResult {
        group_id: Some(id.to_string()),
        tags: show_tags(&group.tags),
        security_group_arn: Some(draft.arn(format_args!("security-group/{id}"))),
    };
    draft.put(group);
    if has_ipv6 {
        allow_all_ipv6_outbound(draft, id);
    }
    Ok(result.into())
}

/// Makes the default group of a VPC: everything inbound from itself, everything outbound.
pub(super) fn make_default(draft: &mut Draft<'_>, vpc: VpcId) {
    let mut group = new(draft, vpc, "default", "default VPC security group");
    let from_itself = rule(draft, false, RulePeer::Group(group.id));
    group.rules.insert(0, from_itself);
    draft.put(group);
}

/// Adds the outbound rule that groups of a VPC with IPv6 start with.
pub(super) fn allow_all_ipv6_outbound(draft: &mut Draft<'_>, group: SecurityGroupId) {
    let rule = rule(draft, true, RulePeer::Ipv6(Ipv6Net::default()));
    draft.change::<SecurityGroup>(group, |group| group.rules.push(rule));
}

fn new(draft: &mut Draft<'_>, vpc_id: VpcId, name: &str, description: &str) -> SecurityGroup {
    SecurityGroup {
        id: draft.fresh_id::<SecurityGroup>(),
        vpc_id,
        name: name.to_owned(),
        description: description.to_owned(),
        rules: vec![rule(draft, true, RulePeer::Ipv4(Ipv4Net::default()))],
        tags: Tags::new(),
    }
}

fn rule(draft: &mut Draft<'_>, is_egress: bool, peer: RulePeer) -> SecurityGroupRule {
    SecurityGroupRule {
        id: SecurityGroupRuleId::random(draft.rng),
        is_egress,
        allows: RuleMatch {
            protocol: RuleProtocol::Any,
            from_port: -1,
            to_port: -1,
            peer,
        },
        description: None,
        tags: Tags::new(),
    }
}

pub(super) fn delete_security_group(draft: &mut Draft<'_>, c: &DeleteSecurityGroup) -> Outcome {
    let group = named(draft, c.group_id.as_deref(), c.group_name.as_deref())?;
    let id = group.id;
    if group.is_default() {
        return Err(Ec2Error::new(
            ErrorCode::CannotDelete,
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let user = draft
        .linked(&Link::OfGroup(id))
        .find(|user| *user != AnyId::SecurityGroup(id));
    if let Some(user) = user {
        let message = format!("resource {id} has a dependent object");
        return Err(Ec2Error::dependency(message).with_context(user.to_string()));
    }
    draft.delete::<SecurityGroup>(id);
    Ok(DeleteSecurityGroupResult {
        return_: Some(true),
        group_id: Some(id.to_string()),
    }
    .into())
}

pub(super) fn describe_security_groups(draft: &mut Draft<'_>, c: &DescribeSecurityGroups) -> Outcome {
    let found: Vec<&SecurityGroup> = if c.group_ids.is_empty() && c.group_names.is_empty() {
        draft.all().collect()
    } else {
        let by_id = c.group_ids.iter().map(|text| named(draft, Some(text), None));
        let by_name = c.group_names.iter().map(|name| named(draft, None, Some(name)));
        by_id.chain(by_name).collect::<Result<_, _>>()?
    };
    let items = found.into_iter().map(|group| show(draft, group)).collect();
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.group_ids.is_empty() || !c.group_names.is_empty(),
    };
    let (security_groups, next_token) = select(items, selection)?;
    Ok(DescribeSecurityGroupsResult {
        next_token,
        security_groups,
    }
    .into())
}

/// The group that a request names: by id, or by name in the default VPC.
pub(super) fn named<'d>(
    draft: &'d Draft<'_>,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<&'d SecurityGroup, Ec2Error> {
    match (id.filter(|t| !t.is_empty()), name.filter(|t| !t.is_empty())) {
        (Some(id), _) => {
            let parsed = SecurityGroupId::parse(id)?;
            draft.get(parsed).ok_or_else(|| not_found(id))
        }
        (None, Some(name)) => {
            let vpc = default_vpc(draft)?;
            by_name(draft, vpc, name).ok_or_else(|| {
                let name = clip(name);
                let message = format!("The security group '{name}' does not exist in default VPC '{vpc}'");
                Ec2Error::new(ErrorCode::InvalidGroupNotFound, message)
            })
        }
        (None, None) => Err(Ec2Error::missing("groupId")),
    }
}

/// The groups that a request lists for an interface in a VPC: at least one, none twice, not too many.
pub(super) fn for_interface(
    draft: &Draft<'_>,
    vpc: VpcId,
    ids: &[String],
    names: &[String],
) -> Result<Vec<SecurityGroupId>, Ec2Error> {
    let mut found = Vec::new();
    for id in ids {
        let group = named(draft, Some(id), None)?;
        if group.vpc_id != vpc {
            return Err(Ec2Error::invalid_value(format!(
                "You have specified two resources that belong to different networks: '{}' is not in '{vpc}'.",
                group.id
            )));
        }
        found.push(group.id);
    }
    for name in names {
        let group = by_name(draft, vpc, name).ok_or_else(|| not_found(name))?;
        found.push(group.id);
    }
    if found.is_empty() {
        let default = by_name(draft, vpc, "default").ok_or_else(|| not_found("default"))?;
        found.push(default.id);
    }
    found.sort();
    found.dedup();
    if found.len() > quota::SECURITY_GROUPS_PER_INTERFACE {
        return Err(Ec2Error::new(
            ErrorCode::SecurityGroupsPerInterfaceLimitExceeded,
            "The maximum number of security groups per interface has been reached.",
        ));
    }
    Ok(found)
}

/// The group of this name in a VPC.
pub(super) fn by_name<'d>(draft: &'d Draft<'_>, vpc: VpcId, name: &str) -> Option<&'d SecurityGroup> {
    draft.linked(&Link::InVpc(vpc)).find_map(|id| match id {
        AnyId::SecurityGroup(id) => draft.get::<SecurityGroup>(id).filter(|group| group.name == name),
        _ => None,
    })
}

/// The error for a group that does not exist.
pub(super) fn not_found(text: &str) -> Ec2Error {
    Ec2Error::new(
        ErrorCode::InvalidGroupNotFound,
        format!("The security group '{}' does not exist", clip(text)),
    )
}

fn check_text(parameter: &str, text: &str) -> Result<(), Ec2Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if text.chars().count() > 255 || !text.chars().all(allowed) {
        return Err(bad_value(
            parameter,
            text,
            "Character sets beyond ASCII are not supported, and at most 255 characters are allowed.",
        ));
    }
    Ok(())
}

fn show(draft: &Draft<'_>, group: &SecurityGroup) -> shape::SecurityGroup {
    shape::SecurityGroup {
        group_id: Some(group.id.to_string()),
        ip_permissions_egress: permissions(draft, group, true),
        tags: show_tags(&group.tags),
        vpc_id: Some(group.vpc_id.to_string()),
        security_group_arn: Some(draft.arn(format_args!("security-group/{}", group.id))),
        owner_id: Some(draft.scope.account.to_string()),
        group_name: Some(group.name.clone()),
        description: Some(group.description.clone()),
        ip_permissions: permissions(draft, group, false),
    }
}

/// The rules of one direction as permissions: rules with the same ports share one.
fn permissions(draft: &Draft<'_>, group: &SecurityGroup, egress: bool) -> Vec<IpPermission> {
    let mut shown: Vec<IpPermission> = Vec::new();
    for rule in group.rules.iter().filter(|rule| rule.is_egress == egress) {
        let mut one = permission(draft, rule);
        let same = |p: &&mut IpPermission| {
            (&p.ip_protocol, p.from_port, p.to_port) == (&one.ip_protocol, one.from_port, one.to_port)
        };
        match shown.iter_mut().find(same) {
            Some(permission) => {
                permission.ip_ranges.append(&mut one.ip_ranges);
                permission.ipv6_ranges.append(&mut one.ipv6_ranges);
                permission
                    .user_id_group_pairs
                    .append(&mut one.user_id_group_pairs);
            }
            None => shown.push(one),
        }
    }
    shown
}

/// One rule as a permission.
pub(super) fn permission(draft: &Draft<'_>, rule: &SecurityGroupRule) -> IpPermission {
    let any = rule.allows.protocol == RuleProtocol::Any;
    let mut permission = IpPermission {
        ip_protocol: Some(protocol_text(rule.allows.protocol)),
        from_port: (!any).then_some(rule.allows.from_port),
        to_port: (!any).then_some(rule.allows.to_port),
        ..IpPermission::default()
    };
    let description = rule.description.clone();
    match rule.allows.peer {
        RulePeer::Ipv4(block) => permission.ip_ranges.push(IpRange {
            description,
            cidr_ip: Some(block.to_string()),
        }),
        RulePeer::Ipv6(block) => permission.ipv6_ranges.push(Ipv6Range {
            description,
            cidr_ipv6: Some(block.to_string()),
        }),
        RulePeer::Group(id) => permission.user_id_group_pairs.push(UserIdGroupPair {
            description,
            user_id: Some(draft.scope.account.to_string()),
            group_id: Some(id.to_string()),
            ..UserIdGroupPair::default()
        }),
    }
    permission
}

/// The protocol as EC2 shows it.
pub(super) fn protocol_text(protocol: RuleProtocol) -> String {
    match protocol {
        RuleProtocol::Any => "-1".into(),
        RuleProtocol::Number(6) => "tcp".into(),
        RuleProtocol::Number(17) => "udp".into(),
        RuleProtocol::Number(1) => "icmp".into(),
        RuleProtocol::Number(58) => "icmpv6".into(),
        RuleProtocol::Number(other) => other.to_string(),
    }
}

macro_rules! permission_field {
    ($name:literal, $list:ident, $values:expr) => {
        ($name, |g| {
            let values: fn(&IpPermission) -> Vec<String> = $values;
            g.$list.iter().flat_map(values).collect()
        })
    };
}

impl Item for shape::SecurityGroup {
    const FIELDS: &'static [Field<Self>] = &[
        ("description", |g| text(&g.description)),
        ("group-id", |g| text(&g.group_id)),
        ("group-name", |g| text(&g.group_name)),
        ("owner-id", |g| text(&g.owner_id)),
        ("vpc-id", |g| text(&g.vpc_id)),
        permission_field!("ip-permission.protocol", ip_permissions, |p| text(&p.ip_protocol)),
        permission_field!("ip-permission.from-port", ip_permissions, |p| number(p.from_port)),
        permission_field!("ip-permission.to-port", ip_permissions, |p| number(p.to_port)),
        permission_field!("ip-permission.cidr", ip_permissions, |p| {
            p.ip_ranges.iter().flat_map(|r| text(&r.cidr_ip)).collect()
        }),
        permission_field!("ip-permission.ipv6-cidr", ip_permissions, |p| {
            p.ipv6_ranges.iter().flat_map(|r| text(&r.cidr_ipv6)).collect()
        }),
        permission_field!("ip-permission.group-id", ip_permissions, |p| {
            p.user_id_group_pairs
                .iter()
                .flat_map(|r| text(&r.group_id))
                .collect()
        }),
        permission_field!("egress.ip-permission.protocol", ip_permissions_egress, |p| text(
            &p.ip_protocol
        )),
        permission_field!("egress.ip-permission.from-port", ip_permissions_egress, |p| {
            number(p.from_port)
        }),
        permission_field!("egress.ip-permission.to-port", ip_permissions_egress, |p| number(
            p.to_port
        )),
        permission_field!("egress.ip-permission.cidr", ip_permissions_egress, |p| {
            p.ip_ranges.iter().flat_map(|r| text(&r.cidr_ip)).collect()
        }),
        permission_field!("egress.ip-permission.ipv6-cidr", ip_permissions_egress, |p| {
            p.ipv6_ranges.iter().flat_map(|r| text(&r.cidr_ipv6)).collect()
        }),
        permission_field!("egress.ip-permission.group-id", ip_permissions_egress, |p| {
            p.user_id_group_pairs
                .iter()
                .flat_map(|r| text(&r.group_id))
                .collect()
        }),
    ];

    fn key(&self) -> String {
        self.group_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.tags
    }
}
