//! The rules of security groups.

use super::Outcome;
use super::check::{required, show_tags, some, tags};
use super::group::{named, permission, protocol_text};
use crate::command::{
    AuthorizeSecurityGroupEgress, AuthorizeSecurityGroupIngress, DescribeSecurityGroupRules,
    ModifySecurityGroupRules, RevokeSecurityGroupEgress, RevokeSecurityGroupIngress,
    UpdateSecurityGroupRuleDescriptionsEgress, UpdateSecurityGroupRuleDescriptionsIngress,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{ResourceId, SecurityGroupId, SecurityGroupRuleId, VpcId, clip};
use crate::quota;
use crate::reply::{
    AuthorizeSecurityGroupEgressResult, AuthorizeSecurityGroupIngressResult,
    DescribeSecurityGroupRulesResult, ModifySecurityGroupRulesResult, RevokeSecurityGroupEgressResult,
    RevokeSecurityGroupIngressResult, UpdateSecurityGroupRuleDescriptionsEgressResult,
    UpdateSecurityGroupRuleDescriptionsIngressResult,
};
use crate::resource::{Kind, RuleMatch, RulePeer, RuleProtocol, SecurityGroup, SecurityGroupRule, Tags};
use crate::select::{Field, Item, Selection, flag, number, select, text};
use crate::shape::{
    self, IpPermission, IpRange, SecurityGroupRuleDescription, SecurityGroupRuleRequest, UserIdGroupPair,
};

pub(super) fn authorize_security_group_ingress(
    draft: &mut Draft<'_>,
    c: &AuthorizeSecurityGroupIngress,
) -> Outcome {
    let group = named(draft, c.group_id.as_deref(), c.group_name.as_deref())?.clone();
    let single = Single {
        cidr: c.cidr_ip.as_deref(),
        group_name: c.source_security_group_name.as_deref(),
        protocol: c.ip_protocol.as_deref(),
        ports: (c.from_port, c.to_port),
    };
    let permissions = single.merge(&c.ip_permissions)?;
    let tags = tags(&c.tag_specifications, Kind::SecurityGroupRule)?;
    let security_group_rules = authorize(draft, group, &permissions, false, &tags)?;
    Ok(AuthorizeSecurityGroupIngressResult {
        return_: Some(true),
        security_group_rules,
    }
    .into())
}

pub(super) fn authorize_security_group_egress(
    draft: &mut Draft<'_>,
    c: &AuthorizeSecurityGroupEgress,
) -> Outcome {
    let group = named(draft, Some(&c.group_id), None)?.clone();
    let single = Single {
        cidr: c.cidr_ip.as_deref(),
        group_name: c.source_security_group_name.as_deref(),
        protocol: c.ip_protocol.as_deref(),
        ports: (c.from_port, c.to_port),
    };
    let permissions = single.merge(&c.ip_permissions)?;
    let tags = tags(&c.tag_specifications, Kind::SecurityGroupRule)?;
    let security_group_rules = authorize(draft, group, &permissions, true, &tags)?;
    Ok(AuthorizeSecurityGroupEgressResult {
        return_: Some(true),
        security_group_rules,
    }
    .into())
}

pub(super) fn revoke_security_group_ingress(
    draft: &mut Draft<'_>,
    c: &RevokeSecurityGroupIngress,
) -> Outcome {
    let group = named(draft, c.group_id.as_deref(), c.group_name.as_deref())?.clone();
    let single = Single {
        cidr: c.cidr_ip.as_deref(),
        group_name: c.source_security_group_name.as_deref(),
        protocol: c.ip_protocol.as_deref(),
        ports: (c.from_port, c.to_port),
    };
    let revoked = revoke(
        draft,
        group,
        &single,
        &c.ip_permissions,
        &c.security_group_rule_ids,
        false,
    )?;
    Ok(RevokeSecurityGroupIngressResult {
        return_: Some(true),
        unknown_ip_permissions: Vec::new(),
        revoked_security_group_rules: revoked,
    }
    .into())
}

pub(super) fn revoke_security_group_egress(draft: &mut Draft<'_>, c: &RevokeSecurityGroupEgress) -> Outcome {
    let group = named(draft, Some(&c.group_id), None)?.clone();
    let single = Single {
        cidr: c.cidr_ip.as_deref(),
        group_name: c.source_security_group_name.as_deref(),
        protocol: c.ip_protocol.as_deref(),
        ports: (c.from_port, c.to_port),
    };
    let revoked = revoke(
        draft,
        group,
        &single,
        &c.ip_permissions,
        &c.security_group_rule_ids,
        true,
    )?;
    Ok(RevokeSecurityGroupEgressResult {
        return_: Some(true),
        unknown_ip_permissions: Vec::new(),
        revoked_security_group_rules: revoked,
    }
    .into())
}

pub(super) fn modify_security_group_rules(draft: &mut Draft<'_>, c: &ModifySecurityGroupRules) -> Outcome {
    let mut group = named(draft, Some(&c.group_id), None)?.clone();
    for update in some("securityGroupRule", &c.security_group_rules)? {
        let id =
            SecurityGroupRuleId::parse(required("securityGroupRuleId", &update.security_group_rule_id)?)?;
        let Some(request) = &update.security_group_rule else {
            return Err(Ec2Error::missing("securityGroupRule"));
        };
        let allows = requested_match(draft, group.vpc_id, request)?;
        let Some(at) = group.rules.iter().position(|rule| rule.id == id) else {
            return Err(unknown_rule(&update.security_group_rule_id));
        };
        let egress = group.rules[at].is_egress;
        let twin = group
            .rules
            .iter()
            .find(|r| r.id != id && r.is_egress == egress && r.allows == allows);
        if twin.is_some() {
            return Err(duplicate(&allows));
        }
        let rule = &mut group.rules[at];
        // EC2 does not let a rule change what kind of peer it has.
        if std::mem::discriminant(&rule.allows.peer) != std::mem::discriminant(&allows.peer) {
            return Err(Ec2Error::combination(
                "You may not modify the type of the source or destination of a rule.",
            ));
        }
        rule.allows = allows;
        rule.description = description(request.description.as_deref())?;
    }
    draft.put(group);
    Ok(ModifySecurityGroupRulesResult { return_: Some(true) }.into())
}

pub(super) fn update_security_group_rule_descriptions_ingress(
    draft: &mut Draft<'_>,
    c: &UpdateSecurityGroupRuleDescriptionsIngress,
) -> Outcome {
    let group = named(draft, c.group_id.as_deref(), c.group_name.as_deref())?.clone();
    describe_anew(
        draft,
        group,
        &c.ip_permissions,
        &c.security_group_rule_descriptions,
        false,
    )?;
    Ok(UpdateSecurityGroupRuleDescriptionsIngressResult { return_: Some(true) }.into())
}

pub(super) fn update_security_group_rule_descriptions_egress(
    draft: &mut Draft<'_>,
    c: &UpdateSecurityGroupRuleDescriptionsEgress,
) -> Outcome {
    let group = named(draft, c.group_id.as_deref(), c.group_name.as_deref())?.clone();
    describe_anew(
        draft,
        group,
        &c.ip_permissions,
        &c.security_group_rule_descriptions,
        true,
    )?;
    Ok(UpdateSecurityGroupRuleDescriptionsEgressResult { return_: Some(true) }.into())
}

pub(super) fn describe_security_group_rules(
    draft: &mut Draft<'_>,
    c: &DescribeSecurityGroupRules,
) -> Outcome {
    let mut items = Vec::new();
    for group in draft.all::<SecurityGroup>() {
        items.extend(group.rules.iter().map(|rule| show_rule(draft, group.id, rule)));
    }
    if !c.security_group_rule_ids.is_empty() {
        for wanted in &c.security_group_rule_ids {
            SecurityGroupRuleId::parse(wanted)?;
            if !items
                .iter()
                .any(|item| item.security_group_rule_id.as_ref() == Some(wanted))
            {
                return Err(unknown_rule(wanted));
            }
        }
        let listed = |item: &shape::SecurityGroupRule| {
            let id = item.security_group_rule_id.as_ref();
            id.is_some_and(|id| c.security_group_rule_ids.contains(id))
        };
        items.retain(listed);
    }
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.security_group_rule_ids.is_empty(),
    };
    let (security_group_rules, next_token) = select(items, selection)?;
    Ok(DescribeSecurityGroupRulesResult {
        security_group_rules,
        next_token,
    }
    .into())
}

/// The single permission that a request can carry outside IpPermissions.
struct Single<'c> {
    cidr: Option<&'c str>,
    group_name: Option<&'c str>,
    protocol: Option<&'c str>,
    ports: (Option<i32>, Option<i32>),
}

impl Single<'_> {
    fn is_empty(&self) -> bool {
        self.cidr.is_none() && self.group_name.is_none() && self.protocol.is_none()
    }

    /// The permissions of the request, from whichever form it has.
    fn merge(&self, permissions: &[IpPermission]) -> Result<Vec<IpPermission>, Ec2Error> {
        match (self.is_empty(), permissions.is_empty()) {
            (true, true) => Err(Ec2Error::missing("ipPermissions")),
            (true, false) => Ok(permissions.to_vec()),
            (false, false) => Err(Ec2Error::combination(
                "The parameter ipPermissions cannot be used with the parameters of a single permission.",
            )),
            (false, true) => {
                let range = |cidr: &str| IpRange {
                    cidr_ip: Some(cidr.to_owned()),
                    description: None,
                };
                let pair = |name: &str| UserIdGroupPair {
                    group_name: Some(name.to_owned()),
                    ..UserIdGroupPair::default()
                };
                // A source group without a protocol means everything.
                let protocol = self.protocol.or_else(|| self.group_name.map(|_| "-1"));
                Ok(vec![IpPermission {
                    ip_protocol: protocol.map(str::to_owned),
                    from_port: self.ports.0,
                    to_port: self.ports.1,
                    ip_ranges: self.cidr.map(range).into_iter().collect(),
                    user_id_group_pairs: self.group_name.map(pair).into_iter().collect(),
                    ..IpPermission::default()
                }])
            }
        }
    }
}

fn authorize(
    draft: &mut Draft<'_>,
    mut group: SecurityGroup,
    permissions: &[IpPermission],
    is_egress: bool,
    tags: &Tags,
) -> Result<Vec<shape::SecurityGroupRule>, Ec2Error> {
    let first_new = group.rules.len();
    for (allows, text) in matches_of(draft, group.vpc_id, permissions)? {
        let new = group.rules.get(first_new..).unwrap_or_default();
        if new.iter().any(|r| r.allows == allows) {
            return Err(Ec2Error::invalid_value(
                "The same permission must not appear multiple times",
            ));
        }
        if group
            .rules
            .iter()
            .any(|r| r.is_egress == is_egress && r.allows == allows)
        {
            return Err(duplicate(&allows));
        }
        group.rules.push(SecurityGroupRule {
            id: SecurityGroupRuleId::random(draft.rng),
            is_egress,
            allows,
            description: description(text.as_deref())?,
            tags: tags.clone(),
        });
    }
    check_rule_count(&group)?;
    let shown = group.rules[first_new..]
        .iter()
        .map(|rule| show_rule(draft, group.id, rule))
        .collect();
    draft.put(group);
    Ok(shown)
}

fn revoke(
    draft: &mut Draft<'_>,
    mut group: SecurityGroup,
    single: &Single<'_>,
    permissions: &[IpPermission],
    rule_ids: &[String],
    is_egress: bool,
) -> Result<Vec<shape::RevokedSecurityGroupRule>, Ec2Error> {
    let mut gone = Vec::new();
    if rule_ids.is_empty() {
        let permissions = single.merge(permissions)?;
        for (allows, _) in matches_of(draft, group.vpc_id, &permissions)? {
            let at = group
                .rules
                .iter()
                .position(|r| r.is_egress == is_egress && r.allows == allows);
            let at = at.ok_or_else(no_such_permission)?;
            gone.push(group.rules.remove(at));
        }
    } else {
        if !single.is_empty() || !permissions.is_empty() {
            return Err(Ec2Error::combination(
                "The parameter securityGroupRuleId cannot be used with permissions.",
            ));
        }
        for text in rule_ids {
            let id = SecurityGroupRuleId::parse(text)?;
            let at = group
                .rules
                .iter()
                .position(|r| r.is_egress == is_egress && r.id == id);
            let at = at.ok_or_else(|| unknown_rule(text))?;
            gone.push(group.rules.remove(at));
        }
    }
    let shown = gone.iter().map(|rule| show_revoked(group.id, rule)).collect();
    draft.put(group);
    Ok(shown)
}

fn describe_anew(
    draft: &mut Draft<'_>,
    mut group: SecurityGroup,
    permissions: &[IpPermission],
    by_id: &[SecurityGroupRuleDescription],
    is_egress: bool,
) -> Result<(), Ec2Error> {
    if permissions.is_empty() && by_id.is_empty() {
        return Err(Ec2Error::missing("ipPermissions"));
    }
    if !permissions.is_empty() && !by_id.is_empty() {
        return Err(Ec2Error::combination(
            "The parameter securityGroupRuleDescription cannot be used with ipPermissions.",
        ));
    }
    for (allows, text) in matches_of(draft, group.vpc_id, permissions)? {
        let mut rules = group.rules.iter_mut();
        let rule = rules.find(|r| r.is_egress == is_egress && r.allows == allows);
        rule.ok_or_else(no_such_permission)?.description = description(text.as_deref())?;
    }
    for update in by_id {
        let text = update.security_group_rule_id.as_deref().unwrap_or_default();
        let id = SecurityGroupRuleId::parse(required("securityGroupRuleId", text)?)?;
        let mut rules = group.rules.iter_mut();
        let rule = rules.find(|r| r.is_egress == is_egress && r.id == id);
        rule.ok_or_else(|| unknown_rule(text))?.description = description(update.description.as_deref())?;
    }
    draft.put(group);
    Ok(())
}

/// What permissions allow, one match per peer, with the descriptions.
fn matches_of(
    draft: &Draft<'_>,
    vpc: VpcId,
    permissions: &[IpPermission],
) -> Result<Vec<(RuleMatch, Option<String>)>, Ec2Error> {
    let mut found = Vec::new();
    for permission in permissions {
        if !permission.prefix_list_ids.is_empty() {
            return Err(Ec2Error::new(
                ErrorCode::UnsupportedOperation,
                "Rules that refer to prefix lists are not supported.",
            ));
        }
        let protocol = protocol(permission.ip_protocol.as_deref())?;
        let (from_port, to_port) = ports(protocol, permission.from_port, permission.to_port)?;
        let before = found.len();
        let mut add = |peer, text: &Option<String>| {
            let allows = RuleMatch {
                protocol,
                from_port,
                to_port,
                peer,
            };
            found.push((allows, text.clone()));
        };
        for range in &permission.ip_ranges {
            add(ipv4_peer(range.cidr_ip.as_deref())?, &range.description);
        }
        for range in &permission.ipv6_ranges {
            add(ipv6_peer(range.cidr_ipv6.as_deref())?, &range.description);
        }
        for pair in &permission.user_id_group_pairs {
            let id = peer_group(draft, vpc, pair)?;
            add(RulePeer::Group(id), &pair.description);
        }
        if found.len() == before {
            return Err(Ec2Error::new(
                ErrorCode::MissingParameter,
                "Missing source specification: include source security group or CIDR information",
            ));
        }
    }
    if found.len() > 4 * quota::RULES_PER_DIRECTION {
        return Err(too_many_rules());
    }
    Ok(found)
}

fn requested_match(
    draft: &Draft<'_>,
    vpc: VpcId,
    request: &SecurityGroupRuleRequest,
) -> Result<RuleMatch, Ec2Error> {
    let protocol = protocol(request.ip_protocol.as_deref())?;
    let (from_port, to_port) = ports(protocol, request.from_port, request.to_port)?;
    let peer = match (
        &request.cidr_ipv4,
        &request.cidr_ipv6,
        &request.referenced_group_id,
    ) {
        (Some(text), None, None) => ipv4_peer(Some(text))?,
        (None, Some(text), None) => ipv6_peer(Some(text))?,
        (None, None, Some(text)) => {
            let pair = UserIdGroupPair {
                group_id: Some(text.clone()),
                ..UserIdGroupPair::default()
            };
            RulePeer::Group(peer_group(draft, vpc, &pair)?)
        }
        _ => {
            return Err(Ec2Error::combination(
                "Exactly one of cidrIpv4, cidrIpv6 and referencedGroupId is needed.",
            ));
        }
    };
    Ok(RuleMatch {
        protocol,
        from_port,
        to_port,
        peer,
    })
}

fn protocol(text: Option<&str>) -> Result<RuleProtocol, Ec2Error> {
    let text = text.ok_or_else(|| Ec2Error::missing("ipProtocol"))?;
    Ok(match text.to_ascii_lowercase().as_str() {
        "-1" | "all" => RuleProtocol::Any,
        "tcp" => RuleProtocol::Number(6),
        "udp" => RuleProtocol::Number(17),
        "icmp" => RuleProtocol::Number(1),
        "icmpv6" => RuleProtocol::Number(58),
        other => RuleProtocol::Number(other.parse().map_err(|_| {
            let message = format!(
                "Invalid value '{}' for IP protocol. Unknown protocol.",
                clip(text)
            );
            Ec2Error::invalid_value(message)
        })?),
    })
}

/// Ports of TCP and UDP, type and code of ICMP; nothing else has any.
fn ports(protocol: RuleProtocol, from: Option<i32>, to: Option<i32>) -> Result<(i32, i32), Ec2Error> {
    match protocol {
        RuleProtocol::Number(6 | 17) => {
            let (Some(from), Some(to)) = (from, to) else {
                return Err(Ec2Error::invalid_value(
                    "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
                ));
            };
            for port in [from, to] {
                if !(0..=65_535).contains(&port) {
                    return Err(Ec2Error::invalid_value(format!(
                        "TCP/UDP port ({port}) out of range"
                    )));
                }
            }
            if from > to {
                return Err(Ec2Error::invalid_value(format!(
                    "Invalid TCP/UDP port range ({from}:{to})"
                )));
            }
            Ok((from, to))
        }
        RuleProtocol::Number(1 | 58) => {
            let (kind, code) = (from.unwrap_or(-1), to.unwrap_or(-1));
            if !(-1..=255).contains(&kind) || !(-1..=255).contains(&code) {
                return Err(Ec2Error::invalid_value(format!(
                    "ICMP type ({kind}) or code ({code}) out of range"
                )));
            }
            if kind == -1 && code != -1 {
                return Err(Ec2Error::invalid_value(
                    "ICMP code must be -1 where the ICMP type is -1",
                ));
            }
            Ok((kind, code))
        }
        _ => Ok((-1, -1)),
    }
}

fn ipv4_peer(text: Option<&str>) -> Result<RulePeer, Ec2Error> {
    let text = text.ok_or_else(|| Ec2Error::missing("cidrIp"))?;
    let block: Result<ipnet::Ipv4Net, _> = text.parse();
    Ok(RulePeer::Ipv4(block.map_err(|_| malformed_block(text))?.trunc()))
}

fn ipv6_peer(text: Option<&str>) -> Result<RulePeer, Ec2Error> {
    let text = text.ok_or_else(|| Ec2Error::missing("cidrIpv6"))?;
    let block: Result<ipnet::Ipv6Net, _> = text.parse();
    Ok(RulePeer::Ipv6(block.map_err(|_| malformed_block(text))?.trunc()))
}

fn malformed_block(text: &str) -> Ec2Error {
    Ec2Error::invalid_value(format!("CIDR block {} is malformed", clip(text)))
}

/// The group that a rule refers to: of the same account and VPC.
fn peer_group(draft: &Draft<'_>, vpc: VpcId, pair: &UserIdGroupPair) -> Result<SecurityGroupId, Ec2Error> {
    let own = draft.scope.account.to_string();
    let text = pair
        .group_id
        .as_deref()
        .or(pair.group_name.as_deref())
        .unwrap_or_default();
    if pair.user_id.as_ref().is_some_and(|user| *user != own) {
        return Err(super::group::not_found(text));
    }
    let group = match (pair.group_id.as_deref(), pair.group_name.as_deref()) {
        (Some(id), _) => named(draft, Some(id), None)?,
        (None, Some(name)) => {
            super::group::by_name(draft, vpc, name).ok_or_else(|| super::group::not_found(name))?
        }
        (None, None) => return Err(Ec2Error::missing("groupId")),
    };
    if group.vpc_id != vpc {
        return Err(super::group::not_found(text));
    }
    Ok(group.id)
}

fn description(text: Option<&str>) -> Result<Option<String>, Ec2Error> {
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > 255 {
        return Err(Ec2Error::invalid_value(
            "Rule descriptions have at most 255 characters.",
        ));
    }
    Ok(Some(text.to_owned()))
}

/// Refuses more rules than a group may have, per direction and address family.
fn check_rule_count(group: &SecurityGroup) -> Result<(), Ec2Error> {
    for egress in [false, true] {
        let rules = || group.rules.iter().filter(|rule| rule.is_egress == egress);
        let ipv4 = rules()
            .filter(|r| !matches!(r.allows.peer, RulePeer::Ipv6(_)))
            .count();
        let ipv6 = rules()
            .filter(|r| !matches!(r.allows.peer, RulePeer::Ipv4(_)))
            .count();
        if ipv4.max(ipv6) > quota::RULES_PER_DIRECTION {
            return Err(too_many_rules());
        }
    }
    Ok(())
}

fn too_many_rules() -> Ec2Error {
    Ec2Error::new(
        ErrorCode::RulesPerSecurityGroupLimitExceeded,
        "The maximum number of rules per security group has been reached.",
    )
}

fn duplicate(allows: &RuleMatch) -> Ec2Error {
    let peer = match allows.peer {
        RulePeer::Ipv4(block) => block.to_string(),
        RulePeer::Ipv6(block) => block.to_string(),
        RulePeer::Group(id) => id.to_string(),
    };
    let what = match allows.protocol {
        RuleProtocol::Any => "ALL".to_owned(),
        RuleProtocol::Number(6 | 17) => format!(
            "{}, from port: {}, to port: {}",
            protocol_text(allows.protocol).to_uppercase(),
            allows.from_port,
            allows.to_port
        ),
        RuleProtocol::Number(1 | 58) => format!(
            "{}, type: {}, code: {}",
            protocol_text(allows.protocol).to_uppercase(),
            allows.from_port,
            allows.to_port
        ),
        RuleProtocol::Number(other) => other.to_string(),
    };
    Ec2Error::new(
        ErrorCode::InvalidPermissionDuplicate,
        format!("the specified rule \"peer: {peer}, {what}, ALLOW\" already exists"),
    )
}

fn no_such_permission() -> Ec2Error {
    Ec2Error::new(
        ErrorCode::InvalidPermissionNotFound,
        "The specified rule does not exist in this security group.",
    )
}

fn unknown_rule(text: &str) -> Ec2Error {
    SecurityGroupRuleId::not_found(text)
}

fn show_rule(
    draft: &Draft<'_>,
    group: SecurityGroupId,
    rule: &SecurityGroupRule,
) -> shape::SecurityGroupRule {
    let referenced = permission(draft, rule).user_id_group_pairs.pop();
    shape::SecurityGroupRule {
        security_group_rule_id: Some(rule.id.to_string()),
        group_id: Some(group.to_string()),
        group_owner_id: Some(draft.scope.account.to_string()),
        is_egress: Some(rule.is_egress),
        ip_protocol: Some(protocol_text(rule.allows.protocol)),
        from_port: Some(rule.allows.from_port),
        to_port: Some(rule.allows.to_port),
        cidr_ipv4: ipv4_text(rule),
        cidr_ipv6: ipv6_text(rule),
        referenced_group_info: referenced.map(|pair| shape::ReferencedSecurityGroup {
            group_id: pair.group_id,
            user_id: pair.user_id,
            ..shape::ReferencedSecurityGroup::default()
        }),
        description: rule.description.clone(),
        tags: show_tags(&rule.tags),
        security_group_rule_arn: Some(draft.arn(format_args!("security-group-rule/{}", rule.id))),
    }
}

fn show_revoked(group: SecurityGroupId, rule: &SecurityGroupRule) -> shape::RevokedSecurityGroupRule {
    shape::RevokedSecurityGroupRule {
        security_group_rule_id: Some(rule.id.to_string()),
        group_id: Some(group.to_string()),
        is_egress: Some(rule.is_egress),
        ip_protocol: Some(protocol_text(rule.allows.protocol)),
        from_port: Some(rule.allows.from_port),
        to_port: Some(rule.allows.to_port),
        cidr_ipv4: ipv4_text(rule),
        cidr_ipv6: ipv6_text(rule),
        referenced_group_id: match rule.allows.peer {
            RulePeer::Group(id) => Some(id.to_string()),
            _ => None,
        },
        description: rule.description.clone(),
    }
}

fn ipv4_text(rule: &SecurityGroupRule) -> Option<String> {
    match rule.allows.peer {
        RulePeer::Ipv4(block) => Some(block.to_string()),
        _ => None,
    }
}

fn ipv6_text(rule: &SecurityGroupRule) -> Option<String> {
    match rule.allows.peer {
        RulePeer::Ipv6(block) => Some(block.to_string()),
        _ => None,
    }
}

impl Item for shape::SecurityGroupRule {
    const FIELDS: &'static [Field<Self>] = &[
        ("group-id", |r| text(&r.group_id)),
        ("security-group-rule-id", |r| text(&r.security_group_rule_id)),
        ("is-egress", |r| flag(r.is_egress)),
        ("ip-protocol", |r| text(&r.ip_protocol)),
        ("from-port", |r| number(r.from_port)),
        ("to-port", |r| number(r.to_port)),
        ("cidr-ipv4", |r| text(&r.cidr_ipv4)),
        ("cidr-ipv6", |r| text(&r.cidr_ipv6)),
        ("referenced-group-id", |r| {
            r.referenced_group_info
                .iter()
                .flat_map(|g| text(&g.group_id))
                .collect()
        }),
    ];

    fn key(&self) -> String {
        self.security_group_rule_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.tags
    }
}
