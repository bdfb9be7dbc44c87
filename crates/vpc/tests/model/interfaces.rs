//! Interfaces: addresses, attachments, attributes, Elastic IPs.

use std::net::Ipv4Addr;

use crate::world::{World, done, filter, instance_id, interface_id, refused, reply};
use trinic_vpc::CardReport;
use trinic_vpc::command::{Command, CreateNetworkInterface};
use trinic_vpc::reply::Reply;
use trinic_vpc::shape::{
    AttributeBooleanValue, AttributeValue, ConnectionTrackingSpecificationRequest,
    NetworkInterfaceAttachmentChanges, PrivateIpAddressSpecification,
};

/// A VPC 10.0.0.0/16 with the subnet 10.0.0.0/24.
fn network(world: &mut World) -> String {
    let vpc = world.vpc("10.0.0.0/16");
    world.subnet(&vpc, "10.0.0.0/24")
}

fn with_address(world: &mut World, subnet: &str, address: &str) -> String {
    let made = reply!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet.into(),
            private_ip_address: Some(address.into())
        }
    );
    made.network_interface.unwrap().network_interface_id.unwrap()
}

fn addresses(world: &mut World, interface: &str) -> Vec<String> {
    let shown = world.show_interface(interface).private_ip_addresses.into_iter();
    shown.filter_map(|a| a.private_ip_address).collect()
}

#[test]
fn the_first_four_and_the_last_address_are_reserved() {
    let mut world = World::default();
    let subnet = network(&mut world);
    for (address, code) in [
        ("10.0.0.0", "InvalidParameterValue"),
        ("10.0.0.1", "InvalidParameterValue"),
        ("10.0.0.2", "InvalidParameterValue"),
        ("10.0.0.3", "InvalidParameterValue"),
        ("10.0.0.255", "InvalidParameterValue"),
        ("10.0.1.4", "InvalidParameterValue"),
        ("10.0.0", "InvalidParameterValue"),
    ] {
        let refused = refused!(
            world,
            CreateNetworkInterface {
                subnet_id: subnet.clone(),
                private_ip_address: Some(address.into())
            }
        );
        assert_eq!(refused, code, "{address}");
    }
    with_address(&mut world, &subnet, "10.0.0.4");
    with_address(&mut world, &subnet, "10.0.0.254");
    let code = refused!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet,
            private_ip_address: Some("10.0.0.4".into())
        }
    );
    assert_eq!(code, "InvalidIPAddress.InUse");
}

#[test]
fn a_subnet_gives_all_its_addresses_and_no_more() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(&vpc, "10.0.0.0/28");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..11 {
        let interface = world.interface(&subnet);
        seen.insert(interface.private_ip_address.unwrap());
        assert!(interface.mac_address.unwrap().starts_with("02:"));
    }
    assert_eq!(seen.len(), 11);
    let code = refused!(world, CreateNetworkInterface { subnet_id: subnet });
    assert_eq!(code, "InsufficientFreeAddressesInSubnet");
}

#[test]
fn ways_to_ask_for_addresses_exclude_each_other() {
    let mut world = World::default();
    let subnet = network(&mut world);
    let specification = |address: &str, primary| PrivateIpAddressSpecification {
        primary: Some(primary),
        private_ip_address: Some(address.into()),
    };
    let made = reply!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet.clone(),
            private_ip_addresses: vec![specification("10.0.0.9", false), specification("10.0.0.8", true)],
        }
    );
    let shown = made.network_interface.unwrap();
    assert_eq!(
        shown.private_ip_address.as_deref(),
        Some("10.0.0.8"),
        "the primary one comes first"
    );
    assert_eq!(shown.private_ip_addresses.len(), 2);
    let code = refused!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet.clone(),
            private_ip_addresses: vec![specification("10.0.0.10", false)],
            secondary_private_ip_address_count: Some(1),
        }
    );
    assert_eq!(code, "InvalidParameterCombination");
    let code = refused!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet,
            private_ip_addresses: vec![specification("10.0.0.10", true), specification("10.0.0.11", true)],
        }
    );
    assert_eq!(code, "InvalidParameterCombination");
}

#[test]
fn a_client_token_makes_one_interface() {
    let mut world = World::default();
    let subnet = network(&mut world);
    let create = |description: &str| {
        Command::CreateNetworkInterface(CreateNetworkInterface {
            subnet_id: subnet.clone(),
            client_token: Some("token".into()),
            description: Some(description.into()),
            ..CreateNetworkInterface::default()
        })
    };
    let id = |reply: Reply| match reply {
        Reply::CreateNetworkInterface(r) => r.network_interface.unwrap().network_interface_id.unwrap(),
        other => panic!("{other:?}"),
    };
    let first = id(world.run(create("one")).unwrap());
    assert_eq!(id(world.run(create("one")).unwrap()), first);
    assert_eq!(
        crate::world::code(world.run(create("two"))).as_str(),
        "IdempotentParameterMismatch"
    );
}

#[test]
fn an_interface_moves_with_all_that_is_its_own() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let interface = world.interface(&subnet);
    let id = interface.network_interface_id.clone().unwrap();
    let one = world.running(&subnet).instance_id.unwrap();
    let two = world.running(&subnet).instance_id.unwrap();
    let attachment = world.attach(&id, &one, 1);
    let shown = world.show_interface(&id);
    assert_eq!(shown.status.as_deref(), Some("in-use"));
    assert_eq!(
        shown.attachment.as_ref().unwrap().status.as_deref(),
        Some("attached")
    );
    assert_eq!(shown.attachment.unwrap().delete_on_termination, Some(false));
    assert_eq!(world.table(&id).instance_id.as_deref(), Some(one.as_str()));
    let code = refused!(
        world,
        AttachNetworkInterface {
            network_interface_id: id.clone(),
            instance_id: two.clone(),
            device_index: Some(1)
        }
    );
    assert_eq!(code, "InvalidNetworkInterface.InUse");
    assert_eq!(
        refused!(
            world,
            DeleteNetworkInterface {
                network_interface_id: id.clone()
            }
        ),
        "InvalidNetworkInterface.InUse"
    );

    done!(
        world,
        DetachNetworkInterface {
            attachment_id: attachment.clone()
        }
    );
    assert_eq!(
        world.show_interface(&id).attachment.unwrap().status.as_deref(),
        Some("detaching")
    );
    assert_eq!(
        world.table(&id).instance_id,
        None,
        "no packet from the moment of the call"
    );
    assert_eq!(
        refused!(
            world,
            DetachNetworkInterface {
                attachment_id: attachment.clone()
            }
        ),
        "IncorrectState"
    );
    // A report about another instance is not about this attachment.
    world.report(CardReport::InterfaceDetached {
        interface_id: interface_id(&id),
        instance_id: instance_id(&two),
    });
    assert!(world.show_interface(&id).attachment.is_some());
    world.report(CardReport::InterfaceDetached {
        interface_id: interface_id(&id),
        instance_id: instance_id(&one),
    });
    let free = world.show_interface(&id);
    assert_eq!(
        (free.status.as_deref(), &free.attachment),
        (Some("available"), &None)
    );
    assert_eq!(
        refused!(
            world,
            DetachNetworkInterface {
                attachment_id: attachment
            }
        ),
        "InvalidAttachmentID.NotFound"
    );

    world.attach(&id, &two, 1);
    let moved = world.show_interface(&id);
    assert_eq!(moved.mac_address, interface.mac_address);
    assert_eq!(moved.private_ip_address, interface.private_ip_address);
    assert_eq!(moved.groups, interface.groups);
}

#[test]
fn force_does_not_wait_for_the_card() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let id = world.interface_id(&subnet);
    let instance = world.running(&subnet).instance_id.unwrap();
    let attachment = world.attach(&id, &instance, 1);
    done!(
        world,
        DetachNetworkInterface {
            attachment_id: attachment,
            force: Some(true)
        }
    );
    assert_eq!(world.show_interface(&id).status.as_deref(), Some("available"));
}

#[test]
fn the_primary_interface_stays() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let instance = world.running(&subnet);
    let attachment = instance.network_interfaces[0]
        .attachment
        .clone()
        .unwrap()
        .attachment_id
        .unwrap();
    let code = refused!(
        world,
        DetachNetworkInterface {
            attachment_id: attachment,
            force: Some(true)
        }
    );
    assert_eq!(code, "OperationNotPermitted");
}

#[test]
fn the_instance_type_limits_interfaces_and_addresses() {
    let mut world = World::default();
    let subnet = network(&mut world);
    let instance = world.running_type(&subnet, "t3.nano").instance_id.unwrap();
    let attach = |world: &mut World, interface: &str, index| {
        let command = trinic_vpc::command::AttachNetworkInterface {
            network_interface_id: interface.into(),
            instance_id: instance.clone(),
            device_index: Some(index),
            ..Default::default()
        };
        world.run(Command::AttachNetworkInterface(command))
    };
    let large = reply!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet.clone(),
            secondary_private_ip_address_count: Some(2)
        }
    );
    let large = large.network_interface.unwrap().network_interface_id.unwrap();
    let code = crate::world::code(attach(&mut world, &large, 1));
    assert_eq!(code.as_str(), "PrivateIpAddressLimitExceeded");
    let one = world.interface_id(&subnet);
    assert_eq!(
        crate::world::code(attach(&mut world, &one, 0)).as_str(),
        "InvalidParameterValue",
        "index 0 is taken"
    );
    attach(&mut world, &one, 1).unwrap();
    let code = refused!(
        world,
        AssignPrivateIpAddresses {
            network_interface_id: one,
            secondary_private_ip_address_count: Some(2)
        }
    );
    assert_eq!(code, "PrivateIpAddressLimitExceeded");
    let two = world.interface_id(&subnet);
    assert_eq!(
        crate::world::code(attach(&mut world, &two, 2)).as_str(),
        "AttachmentLimitExceeded"
    );
}

#[test]
fn interface_and_instance_share_a_zone() {
    let mut world = World::default();
    let subnets = reply!(world, DescribeSubnets {}).subnets;
    let in_zone = |zone: &str| {
        let found = subnets
            .iter()
            .find(|s| s.availability_zone.as_deref() == Some(zone));
        found.unwrap().subnet_id.clone().unwrap()
    };
    let instance = world.running(&in_zone("us-east-1a")).instance_id.unwrap();
    let interface = world.interface_id(&in_zone("us-east-1b"));
    let code = refused!(
        world,
        AttachNetworkInterface {
            network_interface_id: interface,
            instance_id: instance,
            device_index: Some(1)
        }
    );
    assert_eq!(code, "InvalidParameterCombination");
}

#[test]
fn attributes_change_one_at_a_time() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let instance = world.running(&subnet).instance_id.unwrap();
    let id = world.interface_id(&subnet);
    let attachment = world.attach(&id, &instance, 1);
    let me = || id.clone();
    assert_eq!(
        refused!(
            world,
            ModifyNetworkInterfaceAttribute {
                network_interface_id: me()
            }
        ),
        "MissingParameter"
    );
    let off = Some(AttributeBooleanValue { value: Some(false) });
    let code = refused!(
        world,
        ModifyNetworkInterfaceAttribute {
            network_interface_id: me(),
            source_dest_check: off.clone(),
            description: Some(AttributeValue {
                value: Some("x".into())
            }),
        }
    );
    assert_eq!(code, "InvalidParameterCombination");
    done!(
        world,
        ModifyNetworkInterfaceAttribute {
            network_interface_id: me(),
            source_dest_check: off
        }
    );
    assert!(!world.table(&id).source_dest_check);
    done!(
        world,
        ResetNetworkInterfaceAttribute {
            network_interface_id: me(),
            source_dest_check: Some("true".into())
        }
    );
    assert!(world.table(&id).source_dest_check);

    let group = reply!(
        world,
        CreateSecurityGroup {
            group_name: "web".into(),
            description: "web".into()
        }
    );
    let group = group.group_id.unwrap();
    done!(
        world,
        ModifyNetworkInterfaceAttribute {
            network_interface_id: me(),
            groups: vec![group.clone()]
        }
    );
    assert_eq!(world.table(&id).groups, [group.as_str().into()]);

    let tracking = |seconds| ConnectionTrackingSpecificationRequest {
        udp_timeout: Some(seconds),
        ..ConnectionTrackingSpecificationRequest::default()
    };
    let code = refused!(
        world,
        ModifyNetworkInterfaceAttribute {
            network_interface_id: me(),
            connection_tracking_specification: Some(tracking(61))
        }
    );
    assert_eq!(code, "InvalidParameterValue");
    done!(
        world,
        ModifyNetworkInterfaceAttribute {
            network_interface_id: me(),
            connection_tracking_specification: Some(tracking(60))
        }
    );
    assert_eq!(world.table(&id).timeouts.udp_s, 60);
    assert_eq!(world.table(&id).timeouts.udp_stream_s, 180);

    let changes = |attachment: &str| NetworkInterfaceAttachmentChanges {
        attachment_id: Some(attachment.into()),
        delete_on_termination: Some(true),
        ..Default::default()
    };
    let code = refused!(
        world,
        ModifyNetworkInterfaceAttribute {
            network_interface_id: me(),
            attachment: Some(changes("eni-attach-00000000000000000")),
        }
    );
    assert_eq!(code, "InvalidAttachmentID.NotFound");
    done!(
        world,
        ModifyNetworkInterfaceAttribute {
            network_interface_id: me(),
            attachment: Some(changes(&attachment))
        }
    );
    reply!(
        world,
        TerminateInstances {
            instance_ids: vec![instance.clone()]
        }
    );
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(&instance),
    });
    let code = refused!(
        world,
        DescribeNetworkInterfaces {
            network_interface_ids: vec![id.clone()]
        }
    );
    assert_eq!(code, "InvalidNetworkInterfaceID.NotFound");
}

#[test]
fn groups_of_an_interface_are_of_its_vpc_and_at_most_five() {
    let mut world = World::default();
    let subnet = network(&mut world);
    let foreign = reply!(
        world,
        CreateSecurityGroup {
            group_name: "web".into(),
            description: "web".into()
        }
    );
    let code = refused!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet.clone(),
            groups: vec![foreign.group_id.unwrap()]
        }
    );
    assert_eq!(code, "InvalidParameterValue");
    let vpc = reply!(
        world,
        DescribeSubnets {
            subnet_ids: vec![subnet.clone()]
        }
    )
    .subnets
    .remove(0)
    .vpc_id;
    let mut groups = Vec::new();
    for n in 0..6 {
        let made = reply!(
            world,
            CreateSecurityGroup {
                group_name: format!("g{n}"),
                description: "one".into(),
                vpc_id: vpc.clone()
            }
        );
        groups.push(made.group_id.unwrap());
    }
    let code = refused!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet.clone(),
            groups: groups.clone()
        }
    );
    assert_eq!(code, "SecurityGroupsPerInterfaceLimitExceeded");
    groups.pop();
    reply!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet,
            groups
        }
    );
}

#[test]
fn a_secondary_address_moves_with_its_elastic_ip() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let (one, two) = (world.interface_id(&subnet), world.interface_id(&subnet));
    let assigned = reply!(
        world,
        AssignPrivateIpAddresses {
            network_interface_id: one.clone(),
            secondary_private_ip_address_count: Some(1)
        }
    );
    let moving = assigned.assigned_private_ip_addresses[0]
        .private_ip_address
        .clone()
        .unwrap();
    let elastic = reply!(world, AllocateAddress {});
    let associated = reply!(
        world,
        AssociateAddress {
            allocation_id: elastic.allocation_id.clone(),
            network_interface_id: Some(one.clone()),
            private_ip_address: Some(moving.clone()),
        }
    );
    let wanted = vec![moving.clone()];
    let code = refused!(
        world,
        AssignPrivateIpAddresses {
            network_interface_id: two.clone(),
            private_ip_addresses: wanted.clone()
        }
    );
    assert_eq!(code, "InvalidIPAddress.InUse");
    reply!(
        world,
        AssignPrivateIpAddresses {
            network_interface_id: two.clone(),
            private_ip_addresses: wanted,
            allow_reassignment: Some(true),
        }
    );
    assert_eq!(addresses(&mut world, &one).len(), 1);
    assert!(addresses(&mut world, &two).contains(&moving));
    let public: Ipv4Addr = elastic.public_ip.unwrap().parse().unwrap();
    assert!(world.table(&one).public.is_empty());
    assert_eq!(world.table(&two).public[0].public, public);
    let shown = reply!(world, DescribeAddresses {}).addresses.remove(0);
    assert_eq!(shown.network_interface_id, Some(two.clone()));
    assert_eq!(
        shown.association_id, associated.association_id,
        "the association is the same one"
    );

    // A primary address does not move.
    let primary = addresses(&mut world, &one).remove(0);
    let code = refused!(
        world,
        AssignPrivateIpAddresses {
            network_interface_id: two.clone(),
            private_ip_addresses: vec![primary],
            allow_reassignment: Some(true),
        }
    );
    assert_eq!(code, "InvalidIPAddress.InUse");
    // Unassigning frees the Elastic IP.
    done!(
        world,
        UnassignPrivateIpAddresses {
            network_interface_id: two,
            private_ip_addresses: vec![moving]
        }
    );
    done!(
        world,
        ReleaseAddress {
            allocation_id: elastic.allocation_id
        }
    );
}

#[test]
fn primary_and_foreign_addresses_are_not_unassigned() {
    let mut world = World::default();
    let subnet = network(&mut world);
    let id = with_address(&mut world, &subnet, "10.0.0.10");
    for address in ["10.0.0.10", "10.0.0.11"] {
        let code = refused!(
            world,
            UnassignPrivateIpAddresses {
                network_interface_id: id.clone(),
                private_ip_addresses: vec![address.into()],
            }
        );
        assert_eq!(code, "InvalidParameterValue", "{address}");
    }
}

#[test]
fn a_delegated_prefix_takes_its_addresses() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(&vpc, "10.0.0.0/26");
    let made = reply!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet.clone(),
            ipv4_prefix_count: Some(1)
        }
    );
    let shown = made.network_interface.unwrap();
    let prefix: ipnet::Ipv4Net = shown.ipv4_prefixes[0]
        .ipv4_prefix
        .as_ref()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(prefix.prefix_len(), 28);
    let inside = prefix.network().to_string();
    let code = refused!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet.clone(),
            private_ip_address: Some(inside)
        }
    );
    assert_eq!(code, "InvalidIPAddress.InUse");
    // Of the four /28 of a /26 two have reserved addresses; one is left, if no address lies in it.
    let other = if prefix.network() == Ipv4Addr::new(10, 0, 0, 16) {
        "10.0.0.32"
    } else {
        "10.0.0.16"
    };
    let taken = shown.private_ip_address.unwrap().parse::<Ipv4Addr>().unwrap();
    let other: ipnet::Ipv4Net = format!("{other}/28").parse().unwrap();
    if !other.contains(&taken) {
        with_address(&mut world, &subnet, &other.network().to_string());
    }
    let code = refused!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet,
            ipv4_prefix_count: Some(1)
        }
    );
    assert_eq!(code, "InsufficientCidrBlocks");
}

#[test]
fn an_elastic_ip_stands_for_one_private_address() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let (one, two) = (world.interface_id(&subnet), world.interface_id(&subnet));
    let elastic = reply!(world, AllocateAddress {});
    let public: Ipv4Addr = elastic.public_ip.clone().unwrap().parse().unwrap();
    assert!(
        public.octets()[0] == 198 && matches!(public.octets()[1], 18 | 19),
        "{public}"
    );
    let associate = |world: &mut World, interface: &str, allow| {
        world.run(Command::AssociateAddress(trinic_vpc::command::AssociateAddress {
            allocation_id: elastic.allocation_id.clone(),
            network_interface_id: Some(interface.into()),
            allow_reassociation: allow,
            ..Default::default()
        }))
    };
    let id = |reply| match reply {
        Ok(Reply::AssociateAddress(r)) => r.association_id.unwrap(),
        other => panic!("{other:?}"),
    };
    let first = id(associate(&mut world, &one, None));
    assert_eq!(id(associate(&mut world, &one, None)), first, "again is the same");
    assert_eq!(world.table(&one).public[0].public, public);
    let code = crate::world::code(associate(&mut world, &two, Some(false)));
    assert_eq!(code.as_str(), "Resource.AlreadyAssociated");
    assert_ne!(id(associate(&mut world, &two, Some(true))), first);
    assert!(world.table(&one).public.is_empty());
    let release = elastic.allocation_id.clone();
    assert_eq!(
        refused!(
            world,
            ReleaseAddress {
                allocation_id: release.clone()
            }
        ),
        "InvalidIPAddress.InUse"
    );
    assert_eq!(
        refused!(
            world,
            DisassociateAddress {
                association_id: Some(first)
            }
        ),
        "InvalidAssociationID.NotFound"
    );
    done!(
        world,
        DisassociateAddress {
            public_ip: elastic.public_ip.clone()
        }
    );
    done!(
        world,
        ReleaseAddress {
            allocation_id: release.clone()
        }
    );
    assert_eq!(
        refused!(
            world,
            ReleaseAddress {
                allocation_id: release
            }
        ),
        "InvalidAllocationID.NotFound"
    );
}

#[test]
fn an_elastic_ip_needs_a_gateway_and_survives_its_interface() {
    let mut world = World::default();
    let subnet = network(&mut world);
    let id = world.interface_id(&subnet);
    let elastic = reply!(world, AllocateAddress {}).allocation_id;
    let code = refused!(
        world,
        AssociateAddress {
            allocation_id: elastic.clone(),
            network_interface_id: Some(id.clone())
        }
    );
    assert_eq!(code, "Gateway.NotAttached");
    let subnet = world.default_subnet();
    let id = world.interface_id(&subnet);
    reply!(
        world,
        AssociateAddress {
            allocation_id: elastic.clone(),
            network_interface_id: Some(id.clone())
        }
    );
    done!(
        world,
        DeleteNetworkInterface {
            network_interface_id: id
        }
    );
    let shown = reply!(world, DescribeAddresses {}).addresses.remove(0);
    assert_eq!(shown.association_id, None);
}

#[test]
fn a_region_has_five_elastic_ips() {
    let mut world = World::default();
    for _ in 0..5 {
        reply!(world, AllocateAddress {});
    }
    assert_eq!(refused!(world, AllocateAddress {}), "AddressLimitExceeded");
}

#[test]
fn an_elastic_ip_replaces_the_auto_assigned_address() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let instance = world.running(&subnet);
    let id = instance.instance_id.unwrap();
    let auto = instance.public_ip_address.unwrap();
    let elastic = reply!(world, AllocateAddress {});
    reply!(
        world,
        AssociateAddress {
            allocation_id: elastic.allocation_id,
            instance_id: Some(id.clone())
        }
    );
    assert_eq!(world.show(&id).public_ip_address, elastic.public_ip);
    // The old one is nobody's again.
    let again = reply!(
        world,
        AllocateAddress {
            address: Some(auto.clone())
        }
    );
    assert_eq!(again.public_ip, Some(auto));
}

#[test]
fn filters_and_pages() {
    let mut world = World::default();
    let subnet = network(&mut world);
    for last in 10..20 {
        with_address(&mut world, &subnet, &format!("10.0.0.{last}"));
    }
    let filters = vec![
        filter("addresses.private-ip-address", &["10.0.0.1?"]),
        filter("status", &["available"]),
    ];
    let found = reply!(world, DescribeNetworkInterfaces { filters }).network_interfaces;
    assert_eq!(found.len(), 10);
    let filters = vec![filter("private-ip-address", &["10.0.0.11", "10.0.0.12"])];
    let found = reply!(world, DescribeNetworkInterfaces { filters }).network_interfaces;
    assert_eq!(found.len(), 2);
    let mut seen = 0;
    let mut token = None;
    loop {
        let page = reply!(
            world,
            DescribeNetworkInterfaces {
                max_results: Some(6),
                next_token: token
            }
        );
        seen += page.network_interfaces.len();
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, 10);
    let filters = vec![filter("colour", &["blue"])];
    assert_eq!(
        refused!(world, DescribeNetworkInterfaces { filters }),
        "InvalidParameterValue"
    );
}

#[test]
fn an_efa_only_interface_has_no_addresses_and_is_attached_at_rest() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let made = reply!(
        world,
        CreateNetworkInterface {
            subnet_id: subnet.clone(),
            interface_type: Some("efa-only".into())
        }
    );
    let shown = made.network_interface.unwrap();
    assert_eq!(shown.private_ip_address, None);
    let id = shown.network_interface_id.unwrap();
    let instance = world.running_type(&subnet, "c5n.18xlarge").instance_id.unwrap();
    let attach = |world: &mut World| {
        let command = trinic_vpc::command::AttachNetworkInterface {
            network_interface_id: id.clone(),
            instance_id: instance.clone(),
            device_index: Some(1),
            ..Default::default()
        };
        world.run(Command::AttachNetworkInterface(command))
    };
    assert_eq!(crate::world::code(attach(&mut world)).as_str(), "IncorrectState");
    reply!(
        world,
        StopInstances {
            instance_ids: vec![instance.clone()]
        }
    );
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(&instance),
    });
    attach(&mut world).unwrap();
    assert_eq!(
        world.show_interface(&id).attachment.unwrap().status.as_deref(),
        Some("attached")
    );
}
