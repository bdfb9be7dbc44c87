//! Security groups and their rules.

use crate::world::{World, filter, refused, reply, tcp};
use trinic_switch::tables::{Entry, Rule, RulePeer, SecurityGroup};
use trinic_vpc::shape::{
    IpPermission, Ipv6Range, SecurityGroupRuleDescription, SecurityGroupRuleRequest, SecurityGroupRuleUpdate,
    UserIdGroupPair,
};

fn group(world: &mut World, name: &str) -> String {
    let made = reply!(
        world,
        CreateSecurityGroup {
            group_name: name.into(),
            description: "a group".into()
        }
    );
    made.group_id.unwrap()
}

fn entry(world: &World, group: &str) -> SecurityGroup {
    match world.tables.entries.get(group) {
        Some(Entry::SecurityGroup(entry)) => entry.clone(),
        other => panic!("{other:?}"),
    }
}

fn pair(group: &str) -> IpPermission {
    IpPermission {
        ip_protocol: Some("-1".into()),
        user_id_group_pairs: vec![UserIdGroupPair {
            group_id: Some(group.into()),
            ..Default::default()
        }],
        ..IpPermission::default()
    }
}

#[test]
fn groups_start_closed_inbound_and_open_outbound() {
    let mut world = World::default();
    let id = group(&mut world, "web");
    let made = entry(&world, &id);
    assert_eq!(made.inbound, []);
    assert_eq!(made.outbound.len(), 1);
    // The default group lets itself in.
    let shown = reply!(
        world,
        DescribeSecurityGroups {
            group_names: vec!["default".into()]
        }
    )
    .security_groups
    .remove(0);
    let default = entry(&world, shown.group_id.as_deref().unwrap());
    assert!(matches!(&default.inbound[..], [Rule { peer: RulePeer::Group(id), .. }] if *id == default.id));
}

#[test]
fn names_are_checked() {
    let mut world = World::default();
    group(&mut world, "web");
    let mut create = |name: &str, description: &str| {
        refused!(
            world,
            CreateSecurityGroup {
                group_name: name.into(),
                description: description.into()
            }
        )
    };
    assert_eq!(create("web", "again"), "InvalidGroup.Duplicate");
    assert_eq!(create("default", "mine"), "InvalidParameterValue");
    assert_eq!(create("sg-1", "looks like an id"), "InvalidParameterValue");
    assert_eq!(create("", "no name"), "MissingParameter");
    assert_eq!(create("api", ""), "MissingParameter");
    assert_eq!(create("grün", "not ASCII"), "InvalidParameterValue");
}

#[test]
fn a_rule_is_made_shown_and_revoked() {
    let mut world = World::default();
    let id = group(&mut world, "web");
    let made = reply!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: vec![tcp(80, "10.1.2.3/8")]
        }
    );
    let rule = &made.security_group_rules[0];
    assert_eq!(
        rule.cidr_ipv4.as_deref(),
        Some("10.0.0.0/8"),
        "host bits are cleared"
    );
    assert!(
        rule.security_group_rule_id
            .as_deref()
            .unwrap()
            .starts_with("sgr-")
    );
    let compiled = entry(&world, &id).inbound.remove(0);
    assert_eq!(Some(compiled.id.as_ref()), rule.security_group_rule_id.as_deref());
    assert_eq!((compiled.from_port, compiled.to_port), (80, 80));

    let code = refused!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: vec![tcp(80, "10.0.0.0/8")]
        }
    );
    assert_eq!(code, "InvalidPermission.Duplicate");
    let code = refused!(
        world,
        RevokeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: vec![tcp(81, "10.0.0.0/8")]
        }
    );
    assert_eq!(code, "InvalidPermission.NotFound");
    let gone = reply!(
        world,
        RevokeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: vec![tcp(80, "10.0.0.0/8")]
        }
    );
    assert_eq!(gone.revoked_security_group_rules.len(), 1);
    assert_eq!(entry(&world, &id).inbound, []);
}

#[test]
fn rules_are_revoked_by_id_in_their_direction() {
    let mut world = World::default();
    let id = group(&mut world, "web");
    let rule = entry(&world, &id).outbound[0].id.to_string();
    let code = refused!(
        world,
        RevokeSecurityGroupIngress {
            group_id: Some(id.clone()),
            security_group_rule_ids: vec![rule.clone()]
        }
    );
    assert_eq!(code, "InvalidSecurityGroupRuleId.NotFound");
    reply!(
        world,
        RevokeSecurityGroupEgress {
            group_id: id.clone(),
            security_group_rule_ids: vec![rule]
        }
    );
    assert_eq!(entry(&world, &id).outbound, []);
}

#[test]
fn one_bad_permission_refuses_all() {
    let mut world = World::default();
    let id = group(&mut world, "web");
    let before = world.model.clone();
    for (bad, code) in [
        (tcp(80, "10.0.0.0/33"), "InvalidParameterValue"),
        (tcp(70_000, "10.0.0.0/8"), "InvalidParameterValue"),
        (tcp(-1, "10.0.0.0/8"), "InvalidParameterValue"),
        (
            IpPermission {
                to_port: None,
                ..tcp(80, "10.0.0.0/8")
            },
            "InvalidParameterValue",
        ),
        (
            IpPermission {
                to_port: Some(79),
                ..tcp(80, "10.0.0.0/8")
            },
            "InvalidParameterValue",
        ),
        (
            IpPermission {
                ip_ranges: vec![],
                ..tcp(80, "10.0.0.0/8")
            },
            "MissingParameter",
        ),
        (
            IpPermission {
                ip_protocol: None,
                ..tcp(80, "10.0.0.0/8")
            },
            "MissingParameter",
        ),
        (
            IpPermission {
                ip_protocol: Some("256".into()),
                ..tcp(80, "10.0.0.0/8")
            },
            "InvalidParameterValue",
        ),
        (
            IpPermission {
                ip_protocol: Some("icmp".into()),
                ..tcp(300, "10.0.0.0/8")
            },
            "InvalidParameterValue",
        ),
        (pair("sg-00000000000000000"), "InvalidGroup.NotFound"),
        (pair("nonsense"), "InvalidGroupId.Malformed"),
    ] {
        let refused = refused!(
            world,
            AuthorizeSecurityGroupIngress {
                group_id: Some(id.clone()),
                ip_permissions: vec![tcp(443, "0.0.0.0/0"), bad.clone()],
            }
        );
        assert_eq!(refused, code, "{bad:?}");
    }
    assert_eq!(before, world.model);
}

#[test]
fn sixty_rules_per_direction_and_family() {
    let mut world = World::default();
    let id = group(&mut world, "web");
    let many = |count: i32| (0..count).map(|port| tcp(port, "10.0.0.0/8")).collect::<Vec<_>>();
    reply!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: many(60)
        }
    );
    let code = refused!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: vec![tcp(99, "10.0.0.0/8")]
        }
    );
    assert_eq!(code, "RulesPerSecurityGroupLimitExceeded");
    // IPv6 counts on its own, a group counts in both.
    let ipv6 = IpPermission {
        ip_ranges: vec![],
        ipv6_ranges: vec![Ipv6Range {
            cidr_ipv6: Some("::/0".into()),
            description: None,
        }],
        ..tcp(99, "10.0.0.0/8")
    };
    reply!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: vec![ipv6]
        }
    );
    let code = refused!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: vec![pair(&id)]
        }
    );
    assert_eq!(code, "RulesPerSecurityGroupLimitExceeded");
}

#[test]
fn a_group_in_use_stays() {
    let mut world = World::default();
    let (one, two) = (group(&mut world, "one"), group(&mut world, "two"));
    reply!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(one.clone()),
            ip_permissions: vec![pair(&two)]
        }
    );
    assert_eq!(
        refused!(
            world,
            DeleteSecurityGroup {
                group_id: Some(two.clone())
            }
        ),
        "DependencyViolation"
    );
    // A reference to itself is no use by another.
    reply!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(one.clone()),
            ip_permissions: vec![pair(&one)]
        }
    );
    reply!(world, DeleteSecurityGroup { group_id: Some(one) });
    let subnet = world.default_subnet();
    let made = reply!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet,
            groups: vec![two.clone()]
        }
    );
    assert_eq!(
        refused!(
            world,
            DeleteSecurityGroup {
                group_id: Some(two.clone())
            }
        ),
        "DependencyViolation"
    );
    let interface = made.network_interface.unwrap().network_interface_id.unwrap();
    crate::world::done!(
        world,
        DeleteNetworkInterface {
            network_interface_id: interface
        }
    );
    reply!(world, DeleteSecurityGroup { group_id: Some(two) });
    assert_eq!(
        refused!(
            world,
            DeleteSecurityGroup {
                group_name: Some("default".into())
            }
        ),
        "CannotDelete"
    );
}

#[test]
fn rules_change_by_id_and_keep_it() {
    let mut world = World::default();
    let id = group(&mut world, "web");
    let made = reply!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: vec![tcp(80, "10.0.0.0/8")]
        }
    );
    let rule = made.security_group_rules[0]
        .security_group_rule_id
        .clone()
        .unwrap();
    let update = |request| SecurityGroupRuleUpdate {
        security_group_rule_id: rule.clone(),
        security_group_rule: Some(request),
    };
    let request = SecurityGroupRuleRequest {
        ip_protocol: Some("tcp".into()),
        from_port: Some(8080),
        to_port: Some(8080),
        cidr_ipv4: Some("192.168.0.0/16".into()),
        description: Some("moved".into()),
        ..SecurityGroupRuleRequest::default()
    };
    reply!(
        world,
        ModifySecurityGroupRules {
            group_id: id.clone(),
            security_group_rules: vec![update(request.clone())]
        }
    );
    let compiled = entry(&world, &id).inbound.remove(0);
    assert_eq!((compiled.id.as_ref(), compiled.from_port), (rule.as_str(), 8080));
    let other_kind = SecurityGroupRuleRequest {
        cidr_ipv4: None,
        referenced_group_id: Some(id.clone()),
        ..request
    };
    let code = refused!(
        world,
        ModifySecurityGroupRules {
            group_id: id.clone(),
            security_group_rules: vec![update(other_kind)]
        }
    );
    assert_eq!(code, "InvalidParameterCombination");

    let anew = SecurityGroupRuleDescription {
        security_group_rule_id: Some(rule.clone()),
        description: Some("new".into()),
    };
    reply!(
        world,
        UpdateSecurityGroupRuleDescriptionsIngress {
            group_id: Some(id.clone()),
            security_group_rule_descriptions: vec![anew],
        }
    );
    let shown = reply!(
        world,
        DescribeSecurityGroupRules {
            security_group_rule_ids: vec![rule]
        }
    );
    assert_eq!(shown.security_group_rules[0].description.as_deref(), Some("new"));
}

#[test]
fn rules_with_the_same_ports_share_a_permission() {
    let mut world = World::default();
    let id = group(&mut world, "web");
    let permissions = vec![
        tcp(80, "10.0.0.0/8"),
        tcp(80, "192.168.0.0/16"),
        tcp(443, "10.0.0.0/8"),
    ];
    reply!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id.clone()),
            ip_permissions: permissions
        }
    );
    let filters = vec![filter("ip-permission.cidr", &["192.168.*"])];
    let groups = reply!(world, DescribeSecurityGroups { filters }).security_groups;
    assert_eq!(groups.len(), 1);
    let shown = &groups[0].ip_permissions;
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0].ip_ranges.len(), 2);
    // Everything outbound has no ports to show.
    assert_eq!(groups[0].ip_permissions_egress[0].from_port, None);
}

#[test]
fn the_single_form_of_a_permission() {
    let mut world = World::default();
    let id = group(&mut world, "web");
    reply!(
        world,
        AuthorizeSecurityGroupIngress {
            group_name: Some("web".into()),
            ip_protocol: Some("icmp".into()),
            from_port: Some(-1),
            to_port: Some(-1),
            cidr_ip: Some("0.0.0.0/0".into()),
        }
    );
    assert_eq!(entry(&world, &id).inbound.len(), 1);
    let code = refused!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id),
            cidr_ip: Some("0.0.0.0/0".into()),
            ip_permissions: vec![tcp(1, "10.0.0.0/8")],
        }
    );
    assert_eq!(code, "InvalidParameterCombination");
}

#[test]
fn a_request_has_no_permission_twice() {
    let mut world = World::default();
    let id = group(&mut world, "web");
    let code = refused!(
        world,
        AuthorizeSecurityGroupIngress {
            group_id: Some(id),
            ip_permissions: vec![tcp(80, "10.0.0.0/8"), tcp(80, "10.0.0.0/8")],
        }
    );
    assert_eq!(code, "InvalidParameterValue");
}
