//! Instances: launching, the card's reports, stopping, starting, terminating.

use crate::world::{World, instance_id, launch, refused, reply};
use trinic_vpc::CardReport;
use trinic_vpc::command::{Command, RunInstances};
use trinic_vpc::reply::Reply;
use trinic_vpc::shape::{AttributeValue, InstanceNetworkInterfaceSpecification, Tag, TagSpecification};

#[test]
fn the_first_call_makes_the_default_vpc() {
    let mut world = World::default();
    let vpc = world.default_vpc();
    assert_eq!(vpc.cidr_block.as_deref(), Some("172.31.0.0/16"));
    assert_eq!(reply!(world, DescribeSubnets {}).subnets.len(), 3);
    assert_eq!(
        reply!(world, DescribeInternetGateways {}).internet_gateways.len(),
        1
    );
    let tables = reply!(world, DescribeRouteTables {}).route_tables;
    assert_eq!(tables.len(), 1);
    assert_eq!(tables[0].routes.len(), 2);
    // It is made once: a caller who deletes it does not find it again.
    let before = world.model.clone();
    world.default_vpc();
    assert_eq!(before, world.model);
}

#[test]
fn an_instance_comes_up_with_its_interface() {
    let mut world = World::default();
    let Ok(Reply::RunInstances(result)) = world.run(Command::RunInstances(launch())) else {
        panic!("refused");
    };
    let instance = &result.instances[0];
    let id = instance.instance_id.clone().unwrap();
    assert_eq!(instance.state.as_ref().unwrap().name.as_deref(), Some("pending"));
    let interface = &instance.network_interfaces[0];
    let attachment = interface.attachment.as_ref().unwrap();
    assert_eq!(attachment.status.as_deref(), Some("attaching"));
    assert_eq!(attachment.delete_on_termination, Some(true));
    // The default subnets map public addresses.
    assert!(instance.public_ip_address.as_deref().unwrap().starts_with("198."));
    let table = world.table(interface.network_interface_id.as_deref().unwrap());
    assert_eq!(table.instance_id.as_deref(), Some(id.as_str()));

    world.report(CardReport::InstanceRunning {
        instance_id: instance_id(&id),
    });
    let shown = world.show(&id);
    assert_eq!(shown.state.unwrap().code, Some(16));
    let attachment = shown.network_interfaces[0].attachment.clone().unwrap();
    assert_eq!(attachment.status.as_deref(), Some("attached"));

    reply!(
        world,
        TerminateInstances {
            instance_ids: vec![id.clone()]
        }
    );
    assert_eq!(world.show(&id).state.unwrap().code, Some(32));
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(&id),
    });
    let shown = world.show(&id);
    assert_eq!(shown.state.unwrap().code, Some(48));
    assert!(shown.network_interfaces.is_empty());
    assert!(
        reply!(world, DescribeNetworkInterfaces {})
            .network_interfaces
            .is_empty()
    );

    world.wait(3_599);
    assert_eq!(world.model.expire(world.context.now), []);
    world.wait(1);
    let events = world.model.expire(world.context.now);
    world.take(&events);
    assert_eq!(
        refused!(
            world,
            DescribeInstances {
                instance_ids: vec![id]
            }
        ),
        "InvalidInstanceID.NotFound"
    );
}

fn run(world: &mut World, launch: RunInstances) -> Result<Vec<String>, String> {
    match world.run(Command::RunInstances(launch)) {
        Ok(Reply::RunInstances(result)) => Ok(result
            .instances
            .into_iter()
            .filter_map(|i| i.instance_id)
            .collect()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code.to_string()),
    }
}

fn plan(index: i32) -> InstanceNetworkInterfaceSpecification {
    InstanceNetworkInterfaceSpecification {
        device_index: Some(index),
        ..Default::default()
    }
}

#[test]
fn a_launch_is_checked() {
    let mut world = World::default();
    let mut refused = |change: fn(&mut RunInstances)| {
        let mut launch = launch();
        change(&mut launch);
        run(&mut world, launch).unwrap_err()
    };
    assert_eq!(refused(|l| l.image_id = None), "MissingParameter");
    assert_eq!(
        refused(|l| l.image_id = Some("image".into())),
        "InvalidAMIID.Malformed"
    );
    assert_eq!(
        refused(|l| l.instance_type = Some("t3.colossal".into())),
        "InvalidParameterValue"
    );
    assert_eq!(refused(|l| l.min_count = None), "MissingParameter");
    assert_eq!(refused(|l| l.min_count = Some(0)), "InvalidParameterValue");
    assert_eq!(refused(|l| l.min_count = Some(2)), "InvalidParameterCombination");
    assert_eq!(refused(|l| l.max_count = Some(1_001)), "InstanceLimitExceeded");
    assert_eq!(
        refused(|l| l.key_name = Some("key".into())),
        "InvalidKeyPair.NotFound"
    );
    assert_eq!(
        refused(|l| l.user_data = Some("%".into())),
        "InvalidUserData.Malformed"
    );
    assert_eq!(
        refused(|l| l.user_data = Some("A".repeat(4 * 5_462))),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused(|l| l.subnet_id = Some("subnet-00000000".into())),
        "InvalidSubnetID.NotFound"
    );
    assert_eq!(
        refused(|l| l.security_group_ids = vec!["sg-00000000".into()]),
        "InvalidGroup.NotFound"
    );
    let two = |l: &mut RunInstances| {
        l.network_interfaces = vec![plan(0), plan(1)];
        l.network_interfaces[0].associate_public_ip_address = Some(true);
    };
    assert_eq!(refused(two), "InvalidParameterCombination");
    assert_eq!(
        refused(|l| l.network_interfaces = vec![plan(1)]),
        "InvalidParameterValue"
    );
    let with_subnet = |l: &mut RunInstances| {
        l.network_interfaces = vec![plan(0)];
        l.subnet_id = Some("subnet-00000000".into());
    };
    assert_eq!(refused(with_subnet), "InvalidParameterCombination");
    let same_address = |l: &mut RunInstances| {
        l.private_ip_address = Some("172.31.0.10".into());
        l.max_count = Some(2);
    };
    assert_eq!(refused(same_address), "InvalidParameterCombination");
}

#[test]
fn as_many_as_fit_but_not_fewer_than_the_minimum() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(&vpc, "10.0.0.0/28");
    let mut many = launch();
    many.subnet_id = Some(subnet.clone());
    many.max_count = Some(20);
    many.min_count = Some(12);
    assert_eq!(
        run(&mut world, many.clone()).unwrap_err(),
        "InsufficientFreeAddressesInSubnet"
    );
    many.min_count = Some(5);
    assert_eq!(run(&mut world, many).unwrap().len(), 11);
    let shown = reply!(
        world,
        DescribeSubnets {
            subnet_ids: vec![subnet]
        }
    )
    .subnets
    .remove(0);
    assert_eq!(shown.available_ip_address_count, Some(0));
    let reservations = reply!(world, DescribeInstances {}).reservations;
    assert_eq!(reservations.len(), 1);
    assert_eq!(reservations[0].instances.len(), 11);
    assert_eq!(reservations[0].instances[10].ami_launch_index, Some(10));
}

#[test]
fn a_client_token_launches_once() {
    let mut world = World::default();
    let mut launch = launch();
    launch.client_token = Some("token".into());
    launch.max_count = Some(2);
    let first = run(&mut world, launch.clone()).unwrap();
    assert_eq!(run(&mut world, launch.clone()).unwrap(), first);
    launch.instance_type = Some("t3.nano".into());
    assert_eq!(
        run(&mut world, launch).unwrap_err(),
        "IdempotentParameterMismatch"
    );
}

#[test]
fn public_addresses_follow_the_subnet_and_the_launch() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let private = world.subnet(&vpc, "10.0.0.0/24");
    assert_eq!(world.running(&private).public_ip_address, None);
    let asked = |on, subnet: &str| RunInstances {
        network_interfaces: vec![InstanceNetworkInterfaceSpecification {
            associate_public_ip_address: Some(on),
            subnet_id: Some(subnet.into()),
            ..plan(0)
        }],
        ..launch()
    };
    let id = run(&mut world, asked(true, &private)).unwrap().remove(0);
    assert!(world.show(&id).public_ip_address.is_some());
    let public = world.default_subnet();
    let id = run(&mut world, asked(false, &public)).unwrap().remove(0);
    assert_eq!(world.show(&id).public_ip_address, None);
    // Two interfaces get none, whatever the subnet says.
    let id = run(
        &mut world,
        RunInstances {
            network_interfaces: vec![plan(0), plan(1)],
            ..launch()
        },
    )
    .unwrap()
    .remove(0);
    assert_eq!(world.show(&id).public_ip_address, None);
    assert_eq!(world.show(&id).network_interfaces.len(), 2);
    // An interface keeps what its subnet said when it was made.
    let made = world.interface_id(&public);
    let off = Some(trinic_vpc::shape::AttributeBooleanValue { value: Some(false) });
    crate::world::done!(
        world,
        ModifySubnetAttribute {
            subnet_id: public,
            map_public_ip_on_launch: off
        }
    );
    let existing = InstanceNetworkInterfaceSpecification {
        network_interface_id: Some(made.clone()),
        ..plan(0)
    };
    let id = run(
        &mut world,
        RunInstances {
            network_interfaces: vec![existing],
            ..launch()
        },
    )
    .unwrap()
    .remove(0);
    let shown = world.show(&id);
    assert!(shown.public_ip_address.is_some());
    // And outlives the instance.
    assert_eq!(
        shown.network_interfaces[0]
            .attachment
            .as_ref()
            .unwrap()
            .delete_on_termination,
        Some(false)
    );
    reply!(
        world,
        TerminateInstances {
            instance_ids: vec![id.clone()]
        }
    );
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(&id),
    });
    let free = world.show_interface(&made);
    assert_eq!(
        (free.status.as_deref(), free.association),
        (Some("available"), None)
    );
}

#[test]
fn stop_and_start() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let instance = world.running(&subnet);
    let id = instance.instance_id.clone().unwrap();
    let state = |world: &mut World| world.show(&id).state.unwrap().name.unwrap();
    let changed = reply!(
        world,
        StopInstances {
            instance_ids: vec![id.clone()]
        }
    )
    .stopping_instances
    .remove(0);
    assert_eq!(changed.previous_state.unwrap().name.as_deref(), Some("running"));
    assert_eq!(changed.current_state.unwrap().name.as_deref(), Some("stopping"));
    assert_eq!(
        refused!(
            world,
            StartInstances {
                instance_ids: vec![id.clone()]
            }
        ),
        "IncorrectInstanceState"
    );
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(&id),
    });
    assert_eq!(state(&mut world), "stopped");
    let shown = world.show(&id);
    assert_eq!(
        shown.public_ip_address, None,
        "an auto-assigned address does not survive a stop"
    );
    assert_eq!(shown.private_ip_address, instance.private_ip_address);
    let interface = shown.network_interfaces[0].network_interface_id.clone().unwrap();
    assert_eq!(world.table(&interface).instance_id, None);
    assert_eq!(
        refused!(
            world,
            RebootInstances {
                instance_ids: vec![id.clone()]
            }
        ),
        "IncorrectInstanceState"
    );

    reply!(
        world,
        StartInstances {
            instance_ids: vec![id.clone()]
        }
    );
    assert_eq!(state(&mut world), "pending");
    assert!(world.show(&id).public_ip_address.is_some());
    assert_eq!(
        refused!(
            world,
            StopInstances {
                instance_ids: vec![id.clone()]
            }
        ),
        "IncorrectInstanceState"
    );
    world.report(CardReport::InstanceRunning {
        instance_id: instance_id(&id),
    });
    assert_eq!(state(&mut world), "running");
    // Terminating a stopped instance has nothing to wait for.
    reply!(
        world,
        StopInstances {
            instance_ids: vec![id.clone()]
        }
    );
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(&id),
    });
    reply!(
        world,
        TerminateInstances {
            instance_ids: vec![id.clone()]
        }
    );
    assert_eq!(state(&mut world), "terminated");
}

#[test]
fn instances_that_end_by_themselves() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let state = |world: &mut World, id: &str| world.show(id).state.unwrap().name.unwrap();
    let stops = world.running(&subnet).instance_id.unwrap();
    world.report(CardReport::InstanceExited {
        instance_id: instance_id(&stops),
    });
    assert_eq!(state(&mut world, &stops), "stopped");
    let behavior = Some("terminate".to_owned());
    let ends = run(
        &mut world,
        RunInstances {
            instance_initiated_shutdown_behavior: behavior,
            ..launch()
        },
    );
    let ends = ends.unwrap().remove(0);
    world.report(CardReport::InstanceRunning {
        instance_id: instance_id(&ends),
    });
    world.report(CardReport::InstanceExited {
        instance_id: instance_id(&ends),
    });
    assert_eq!(state(&mut world, &ends), "terminated");
    let fails = run(&mut world, launch()).unwrap().remove(0);
    world.report(CardReport::InstanceFailed {
        instance_id: instance_id(&fails),
        reason: "no namespace".into(),
    });
    let shown = world.show(&fails);
    assert_eq!(shown.state.unwrap().name.as_deref(), Some("terminated"));
    assert_eq!(
        shown.state_reason.unwrap().message.as_deref(),
        Some("Server.InternalError: no namespace")
    );
}

#[test]
fn a_late_report_changes_nothing() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let id = world.running(&subnet).instance_id.unwrap();
    reply!(
        world,
        TerminateInstances {
            instance_ids: vec![id.clone()]
        }
    );
    world.report(CardReport::InstanceRunning {
        instance_id: instance_id(&id),
    });
    assert_eq!(world.show(&id).state.unwrap().code, Some(32));
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(&id),
    });
    let before = world.model.clone();
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(&id),
    });
    world.report(CardReport::InstanceRunning {
        instance_id: instance_id("i-00000000000000000"),
    });
    assert_eq!(before, world.model);
}

#[test]
fn termination_protection() {
    let mut world = World::default();
    let id = run(
        &mut world,
        RunInstances {
            disable_api_termination: Some(true),
            ..launch()
        },
    )
    .unwrap()
    .remove(0);
    assert_eq!(
        refused!(
            world,
            TerminateInstances {
                instance_ids: vec![id.clone()]
            }
        ),
        "OperationNotPermitted"
    );
    let off = Some(trinic_vpc::shape::AttributeBooleanValue { value: Some(false) });
    crate::world::done!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            disable_api_termination: off
        }
    );
    reply!(
        world,
        TerminateInstances {
            instance_ids: vec![id]
        }
    );
}

#[test]
fn attributes_and_metadata_options() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let id = world.running(&subnet).instance_id.unwrap();
    let off = Some(trinic_vpc::shape::AttributeBooleanValue { value: Some(false) });
    crate::world::done!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            source_dest_check: off
        }
    );
    let interface = world
        .show(&id)
        .network_interfaces
        .remove(0)
        .network_interface_id
        .unwrap();
    assert!(!world.table(&interface).source_dest_check);
    let shown = reply!(
        world,
        DescribeInstanceAttribute {
            instance_id: id.clone(),
            attribute: "sourceDestCheck".into()
        }
    );
    assert_eq!(shown.source_dest_check.unwrap().value, Some(false));
    assert_eq!(shown.groups, None);
    let shown = reply!(
        world,
        DescribeInstanceAttribute {
            instance_id: id.clone(),
            attribute: "groupSet".into()
        }
    );
    assert_eq!(shown.groups.unwrap().len(), 1);
    let code = refused!(
        world,
        DescribeInstanceAttribute {
            instance_id: id.clone(),
            attribute: "colour".into()
        }
    );
    assert_eq!(code, "InvalidParameterValue");

    reply!(
        world,
        ModifyInstanceMetadataOptions {
            instance_id: id.clone(),
            http_tokens: Some("required".into()),
            http_put_response_hop_limit: Some(2),
        }
    );
    let options = world.model.instance(instance_id(&id)).unwrap().1.metadata;
    assert_eq!(
        (options.tokens_required, options.hop_limit, options.enabled),
        (true, 2, true)
    );
    for limit in [0, 65] {
        let code = refused!(
            world,
            ModifyInstanceMetadataOptions {
                instance_id: id.clone(),
                http_put_response_hop_limit: Some(limit)
            }
        );
        assert_eq!(code, "InvalidParameterValue");
    }
}

#[test]
fn tags_of_a_launch_and_later_ones() {
    let mut world = World::default();
    let tag = |key: &str, value: &str| Tag {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    let specification = |kind: &str| TagSpecification {
        resource_type: Some(kind.into()),
        tags: vec![tag("Name", kind)],
    };
    let tagged = RunInstances {
        tag_specifications: vec![
            specification("instance"),
            specification("network-interface"),
            specification("volume"),
        ],
        ..launch()
    };
    let id = run(&mut world, tagged).unwrap().remove(0);
    let filters = vec![crate::world::filter("tag:Name", &["inst*"])];
    assert_eq!(reply!(world, DescribeInstances { filters }).reservations.len(), 1);
    let filters = vec![crate::world::filter("tag:Name", &["network-interface"])];
    assert_eq!(
        reply!(world, DescribeNetworkInterfaces { filters })
            .network_interfaces
            .len(),
        1
    );
    assert_eq!(
        run(
            &mut world,
            RunInstances {
                tag_specifications: vec![specification("vpc")],
                ..launch()
            }
        )
        .unwrap_err(),
        "InvalidParameterValue"
    );

    crate::world::done!(
        world,
        CreateTags {
            resources: vec![id.clone()],
            tags: vec![tag("Name", "other"), tag("a", "b")]
        }
    );
    assert_eq!(world.show(&id).tags.len(), 2);
    // Only with the right value.
    crate::world::done!(
        world,
        DeleteTags {
            resources: vec![id.clone()],
            tags: vec![tag("Name", "instance")]
        }
    );
    assert_eq!(world.show(&id).tags.len(), 2);
    crate::world::done!(
        world,
        DeleteTags {
            resources: vec![id.clone()],
            tags: vec![tag("Name", "other")]
        }
    );
    let filters = vec![crate::world::filter("resource-id", &[&id])];
    let left = reply!(world, DescribeTags { filters }).tags;
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].key.as_deref(), left[0].resource_type.as_deref()),
        (Some("a"), Some("instance"))
    );
    let many = (0..50).map(|n| tag(&format!("k{n}"), "")).collect();
    assert_eq!(
        refused!(
            world,
            CreateTags {
                resources: vec![id.clone()],
                tags: many
            }
        ),
        "TagLimitExceeded"
    );
    let reserved = vec![tag("aws:x", "")];
    assert_eq!(
        refused!(
            world,
            CreateTags {
                resources: vec![id],
                tags: reserved
            }
        ),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused!(
            world,
            CreateTags {
                resources: vec!["x-1".into()],
                tags: vec![tag("a", "b")]
            }
        ),
        "InvalidID"
    );
}

#[test]
fn accounts_do_not_see_each_other() {
    let mut world = World::default();
    let id = run(&mut world, launch()).unwrap().remove(0);
    world.context.scope = crate::world::scope(1, "us-east-1");
    assert_eq!(
        refused!(
            world,
            TerminateInstances {
                instance_ids: vec![id.clone()]
            }
        ),
        "InvalidInstanceID.NotFound"
    );
    assert!(reply!(world, DescribeInstances {}).reservations.is_empty());
    world.context.scope = crate::world::scope(0, "eu-west-1");
    assert_eq!(
        refused!(
            world,
            DescribeInstances {
                instance_ids: vec![id]
            }
        ),
        "InvalidInstanceID.NotFound"
    );
}

#[test]
fn zones_regions_types_and_the_account() {
    let mut world = World::default();
    let zones = reply!(world, DescribeAvailabilityZones {}).availability_zones;
    assert_eq!(zones[0].zone_id.as_deref(), Some("use1-az1"));
    let code = refused!(
        world,
        DescribeAvailabilityZones {
            zone_names: vec!["us-east-1z".into()]
        }
    );
    assert_eq!(code, "InvalidParameterValue");
    assert_eq!(reply!(world, DescribeRegions {}).regions.len(), 17);
    let types = reply!(
        world,
        DescribeInstanceTypes {
            instance_types: vec!["c5.18xlarge".into()]
        }
    )
    .instance_types;
    assert_eq!(
        types[0].network_info.as_ref().unwrap().maximum_network_interfaces,
        Some(15)
    );
    let vpc = world.default_vpc().vpc_id;
    let attributes = reply!(
        world,
        DescribeAccountAttributes {
            attribute_names: vec!["default-vpc".into()]
        }
    )
    .account_attributes;
    assert_eq!(attributes[0].attribute_values[0].attribute_value, vpc);
}

#[test]
fn key_pairs_are_imported_and_used() {
    let mut world = World::default();
    // "ssh-ed25519 AAAA me"
    let material = "c3NoLWVkMjU1MTkgQUFBQSBtZQ==";
    reply!(
        world,
        ImportKeyPair {
            key_name: "key".into(),
            public_key_material: material.into()
        }
    );
    let code = refused!(
        world,
        ImportKeyPair {
            key_name: "key".into(),
            public_key_material: material.into()
        }
    );
    assert_eq!(code, "InvalidKeyPair.Duplicate");
    let code = refused!(
        world,
        ImportKeyPair {
            key_name: "bad".into(),
            public_key_material: "AAAA".into()
        }
    );
    assert_eq!(code, "InvalidKey.Format");
    run(
        &mut world,
        RunInstances {
            key_name: Some("key".into()),
            ..launch()
        },
    )
    .unwrap();
    let key = world.model.public_key(&world.context.scope, "key");
    assert_eq!(key, Some("ssh-ed25519 AAAA me"));
    reply!(
        world,
        DeleteKeyPair {
            key_name: Some("key".into())
        }
    );
    assert!(reply!(world, DescribeKeyPairs {}).key_pairs.is_empty());
}

#[test]
fn another_type_must_have_room() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let id = world.running(&subnet).instance_id.unwrap();
    for index in 1..3 {
        let interface = world.interface_id(&subnet);
        world.attach(&interface, &id, index);
    }
    let kind = |name: &str| {
        Some(AttributeValue {
            value: Some(name.into()),
        })
    };
    let code = refused!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            instance_type: kind("m5.large")
        }
    );
    assert_eq!(code, "IncorrectInstanceState");
    reply!(
        world,
        StopInstances {
            instance_ids: vec![id.clone()]
        }
    );
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(&id),
    });
    let code = refused!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            instance_type: kind("t3.nano")
        }
    );
    assert_eq!(code, "AttachmentLimitExceeded");
    crate::world::done!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            instance_type: kind("m5.large")
        }
    );
    assert_eq!(world.show(&id).instance_type.as_deref(), Some("m5.large"));
}
