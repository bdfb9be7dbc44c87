//! VPCs, subnets, internet gateways and route tables.

use crate::world::{World, done, filter, refused, reply, scope};
use trinic_switch::tables::{Entry, Target};

#[test]
fn vpc_blocks_are_checked() {
    let mut world = World::default();
    for block in [
        "10.0.0.0/15",
        "10.0.0.0/29",
        "127.0.0.0/16",
        "169.254.0.0/16",
        "224.0.0.0/16",
    ] {
        let code = refused!(
            world,
            CreateVpc {
                cidr_block: Some(block.into())
            }
        );
        assert_eq!(code, "InvalidVpc.Range", "{block}");
    }
    let code = refused!(
        world,
        CreateVpc {
            cidr_block: Some("10.0.0".into())
        }
    );
    assert_eq!(code, "InvalidParameterValue");
    assert_eq!(refused!(world, CreateVpc {}), "MissingParameter");
    // Host bits are cleared, not refused.
    let vpc = reply!(
        world,
        CreateVpc {
            cidr_block: Some("100.68.0.18/18".into())
        }
    )
    .vpc
    .unwrap();
    assert_eq!(vpc.cidr_block.as_deref(), Some("100.68.0.0/18"));
}

#[test]
fn a_region_has_five_vpcs() {
    let mut world = World::default();
    for _ in 0..4 {
        world.vpc("10.0.0.0/16");
    }
    let block = Some("10.0.0.0/16".to_owned());
    assert_eq!(
        refused!(
            world,
            CreateVpc {
                cidr_block: block.clone()
            }
        ),
        "VpcLimitExceeded"
    );
    // Another region and another account have their own.
    world.context.scope = scope(0, "eu-west-1");
    world.vpc("10.0.0.0/16");
    world.context.scope = scope(1, "us-east-1");
    world.vpc("10.0.0.0/16");
}

#[test]
fn a_vpc_with_something_in_it_stays() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(&vpc, "10.0.0.0/24");
    let code = refused!(world, DeleteVpc { vpc_id: vpc.clone() });
    assert_eq!(code, "DependencyViolation");
    done!(world, DeleteSubnet { subnet_id: subnet });
    done!(world, DeleteVpc { vpc_id: vpc.clone() });
    assert_eq!(
        refused!(world, DeleteVpc { vpc_id: vpc }),
        "InvalidVpcID.NotFound"
    );
    assert_eq!(
        refused!(
            world,
            DeleteVpc {
                vpc_id: "vpc-x".into()
            }
        ),
        "InvalidVpcID.Malformed"
    );
}

#[test]
fn dry_run_says_what_would_be_and_changes_nothing() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let before = world.model.clone();
    assert_eq!(
        refused!(
            world,
            DeleteVpc {
                vpc_id: vpc,
                dry_run: true
            }
        ),
        "DryRunOperation"
    );
    assert_eq!(
        refused!(
            world,
            DeleteVpc {
                vpc_id: String::new(),
                dry_run: true
            }
        ),
        "MissingParameter"
    );
    assert_eq!(before, world.model);
}

#[test]
fn attributes_of_a_vpc_change_one_at_a_time() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let value = |value| Some(trinic_vpc::shape::AttributeBooleanValue { value: Some(value) });
    let code = refused!(
        world,
        ModifyVpcAttribute {
            vpc_id: vpc.clone(),
            enable_dns_support: value(true),
            enable_dns_hostnames: value(true)
        }
    );
    assert_eq!(code, "InvalidParameterCombination");
    done!(
        world,
        ModifyVpcAttribute {
            vpc_id: vpc.clone(),
            enable_dns_support: value(false)
        }
    );
    let Some(Entry::Vpc(entry)) = world.tables.entries.get(vpc.as_str()) else {
        panic!("no entry");
    };
    assert!(!entry.dns_support);
    let code = refused!(
        world,
        ModifyVpcAttribute {
            vpc_id: vpc.clone(),
            enable_dns_hostnames: value(true)
        }
    );
    assert_eq!(code, "InvalidParameterValue");
    let shown = reply!(
        world,
        DescribeVpcAttribute {
            vpc_id: vpc,
            attribute: "enableDnsSupport".into()
        }
    );
    assert_eq!(shown.enable_dns_support.unwrap().value, Some(false));
}

#[test]
fn more_blocks_bring_local_routes() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let code = refused!(
        world,
        AssociateVpcCidrBlock {
            vpc_id: vpc.clone(),
            cidr_block: Some("10.0.1.0/24".into())
        }
    );
    assert_eq!(code, "InvalidVpc.Range");
    let added = reply!(
        world,
        AssociateVpcCidrBlock {
            vpc_id: vpc.clone(),
            cidr_block: Some("10.1.0.0/16".into())
        }
    );
    let association = added.cidr_block_association.unwrap().association_id.unwrap();
    let destinations = |world: &mut World| {
        let filters = vec![filter("vpc-id", &[&vpc])];
        let mut tables = reply!(world, DescribeRouteTables { filters }).route_tables;
        let routes = tables.remove(0).routes.into_iter();
        routes
            .map(|r| r.destination_cidr_block.unwrap_or_default())
            .collect::<Vec<_>>()
    };
    assert_eq!(destinations(&mut world), ["10.0.0.0/16", "10.1.0.0/16"]);
    let subnet = world.subnet(&vpc, "10.1.0.0/24");
    let code = refused!(
        world,
        DisassociateVpcCidrBlock {
            association_id: association.clone()
        }
    );
    assert_eq!(code, "InvalidCidr.InUse");
    done!(world, DeleteSubnet { subnet_id: subnet });
    reply!(
        world,
        DisassociateVpcCidrBlock {
            association_id: association
        }
    );
    assert_eq!(destinations(&mut world), ["10.0.0.0/16"]);
    let shown = reply!(
        world,
        DescribeVpcs {
            vpc_ids: vec![vpc.clone()]
        }
    )
    .vpcs
    .remove(0);
    let primary = shown.cidr_block_association_set[0]
        .association_id
        .clone()
        .unwrap();
    assert_eq!(
        refused!(
            world,
            DisassociateVpcCidrBlock {
                association_id: primary
            }
        ),
        "OperationNotPermitted"
    );
}

#[test]
fn subnets_are_slices_of_their_vpc() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    world.subnet(&vpc, "10.0.1.0/24");
    for (block, code) in [
        ("10.1.0.0/24", "InvalidSubnet.Range"),
        ("10.0.0.0/15", "InvalidSubnet.Range"),
        ("10.0.2.0/29", "InvalidSubnet.Range"),
        ("10.0.1.128/25", "InvalidSubnet.Conflict"),
        ("10.0.0.0/16", "InvalidSubnet.Conflict"),
        ("nonsense", "InvalidParameterValue"),
    ] {
        let refused = refused!(
            world,
            CreateSubnet {
                vpc_id: vpc.clone(),
                cidr_block: Some(block.into())
            }
        );
        assert_eq!(refused, code, "{block}");
    }
    let code = refused!(
        world,
        CreateSubnet {
            vpc_id: vpc.clone(),
            cidr_block: Some("10.0.2.0/24".into()),
            availability_zone: Some("us-west-1a".into()),
        }
    );
    assert_eq!(code, "InvalidParameterValue");
    let subnet = reply!(
        world,
        CreateSubnet {
            vpc_id: vpc.clone(),
            cidr_block: Some("10.0.2.0/24".into()),
            availability_zone_id: Some("use1-az2".into()),
        }
    );
    let subnet = subnet.subnet.unwrap();
    assert_eq!(subnet.availability_zone.as_deref(), Some("us-east-1b"));
    assert_eq!(subnet.available_ip_address_count, Some(251));
}

#[test]
fn a_subnet_with_an_interface_stays() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(&vpc, "10.0.0.0/24");
    let interface = world.interface_id(&subnet);
    let shown = reply!(
        world,
        DescribeSubnets {
            subnet_ids: vec![subnet.clone()]
        }
    )
    .subnets
    .remove(0);
    assert_eq!(shown.available_ip_address_count, Some(250));
    assert_eq!(
        refused!(
            world,
            DeleteSubnet {
                subnet_id: subnet.clone()
            }
        ),
        "DependencyViolation"
    );
    done!(
        world,
        DeleteNetworkInterface {
            network_interface_id: interface
        }
    );
    done!(world, DeleteSubnet { subnet_id: subnet });
}

#[test]
fn ipv6_goes_from_the_vpc_to_the_subnet_to_the_interface() {
    let mut world = World::default();
    let created = reply!(
        world,
        CreateVpc {
            cidr_block: Some("10.0.0.0/16".into()),
            amazon_provided_ipv6_cidr_block: Some(true)
        }
    );
    let vpc = created.vpc.unwrap();
    let block = vpc.ipv6_cidr_block_association_set[0]
        .ipv6_cidr_block
        .clone()
        .unwrap();
    let block: ipnet::Ipv6Net = block.parse().unwrap();
    assert_eq!(block.prefix_len(), 56);
    let vpc = vpc.vpc_id.unwrap();
    let subnet = world.subnet(&vpc, "10.0.0.0/24");
    let slice = block.subnets(64).unwrap().next().unwrap();
    let code = refused!(
        world,
        AssociateSubnetCidrBlock {
            subnet_id: subnet.clone(),
            ipv6_cidr_block: Some("2001:db9::/64".into())
        }
    );
    assert_eq!(code, "InvalidSubnet.Range");
    let on = Some(trinic_vpc::shape::AttributeBooleanValue { value: Some(true) });
    let assign = || trinic_vpc::command::ModifySubnetAttribute {
        subnet_id: subnet.clone(),
        assign_ipv6_address_on_creation: on.clone(),
        ..Default::default()
    };
    let result = world.run(trinic_vpc::command::Command::ModifySubnetAttribute(assign()));
    assert_eq!(crate::world::code(result).as_str(), "InvalidParameterValue");
    let added = reply!(
        world,
        AssociateSubnetCidrBlock {
            subnet_id: subnet.clone(),
            ipv6_cidr_block: Some(slice.to_string())
        }
    );
    let association = added.ipv6_cidr_block_association.unwrap().association_id.unwrap();
    world
        .run(trinic_vpc::command::Command::ModifySubnetAttribute(assign()))
        .unwrap();
    let interface = world.interface(&subnet);
    let address: std::net::Ipv6Addr = interface.ipv6_addresses[0]
        .ipv6_address
        .as_ref()
        .unwrap()
        .parse()
        .unwrap();
    assert!(slice.contains(&address));
    let id = interface.network_interface_id.unwrap();
    assert_eq!(
        refused!(
            world,
            DisassociateSubnetCidrBlock {
                association_id: association.clone()
            }
        ),
        "InvalidCidr.InUse"
    );
    done!(
        world,
        DeleteNetworkInterface {
            network_interface_id: id
        }
    );
    reply!(
        world,
        DisassociateSubnetCidrBlock {
            association_id: association
        }
    );
}

#[test]
fn a_gateway_serves_one_vpc() {
    let mut world = World::default();
    let (one, two) = (world.vpc("10.0.0.0/16"), world.vpc("10.0.0.0/16"));
    let gateway = reply!(world, CreateInternetGateway {})
        .internet_gateway
        .unwrap()
        .internet_gateway_id
        .unwrap();
    let id = || gateway.clone();
    done!(
        world,
        AttachInternetGateway {
            internet_gateway_id: id(),
            vpc_id: one.clone()
        }
    );
    let code = refused!(
        world,
        AttachInternetGateway {
            internet_gateway_id: id(),
            vpc_id: two.clone()
        }
    );
    assert_eq!(code, "Resource.AlreadyAssociated");
    let other = reply!(world, CreateInternetGateway {})
        .internet_gateway
        .unwrap()
        .internet_gateway_id
        .unwrap();
    let code = refused!(
        world,
        AttachInternetGateway {
            internet_gateway_id: other,
            vpc_id: one.clone()
        }
    );
    assert_eq!(code, "InvalidParameterValue");
    assert_eq!(
        refused!(
            world,
            DeleteInternetGateway {
                internet_gateway_id: id()
            }
        ),
        "DependencyViolation"
    );
    assert_eq!(
        refused!(world, DeleteVpc { vpc_id: one.clone() }),
        "DependencyViolation"
    );
    let code = refused!(
        world,
        DetachInternetGateway {
            internet_gateway_id: id(),
            vpc_id: two
        }
    );
    assert_eq!(code, "Gateway.NotAttached");
    done!(
        world,
        DetachInternetGateway {
            internet_gateway_id: id(),
            vpc_id: one
        }
    );
    done!(
        world,
        DeleteInternetGateway {
            internet_gateway_id: id()
        }
    );
}

#[test]
fn a_gateway_with_mapped_addresses_stays_attached() {
    let mut world = World::default();
    let vpc = world.default_vpc().vpc_id.unwrap();
    let subnet = world.default_subnet();
    world.running(&subnet);
    let gateway = reply!(world, DescribeInternetGateways {})
        .internet_gateways
        .remove(0);
    let code = refused!(
        world,
        DetachInternetGateway {
            internet_gateway_id: gateway.internet_gateway_id.clone().unwrap(),
            vpc_id: vpc
        }
    );
    assert_eq!(code, "DependencyViolation");
}

fn target_of(world: &World, table: &str, destination: &str) -> Option<Target> {
    let Some(Entry::RouteTable(entry)) = world.tables.entries.get(table) else {
        panic!("no entry for {table}");
    };
    let found = entry
        .routes
        .iter()
        .find(|r| r.destination.to_string() == destination);
    found.map(|r| r.target.clone())
}

#[test]
fn routes_lead_to_gateways_and_interfaces_or_nowhere() {
    let mut world = World::default();
    let vpc = world.default_vpc().vpc_id.unwrap();
    let subnet = world.default_subnet();
    let table = reply!(world, CreateRouteTable { vpc_id: vpc.clone() })
        .route_table
        .unwrap()
        .route_table_id
        .unwrap();
    let gateway = reply!(world, DescribeInternetGateways {})
        .internet_gateways
        .remove(0)
        .internet_gateway_id
        .unwrap();
    let everything = Some("0.0.0.0/0".to_owned());
    reply!(
        world,
        CreateRoute {
            route_table_id: table.clone(),
            destination_cidr_block: everything.clone(),
            gateway_id: Some(gateway.clone()),
        }
    );
    assert!(matches!(
        target_of(&world, &table, "0.0.0.0/0"),
        Some(Target::InternetGateway(_))
    ));
    let code = refused!(
        world,
        CreateRoute {
            route_table_id: table.clone(),
            destination_cidr_block: everything.clone(),
            gateway_id: Some(gateway),
        }
    );
    assert_eq!(code, "RouteAlreadyExists");

    // To an interface: a hole until an instance is behind it.
    let interface = world.interface_id(&subnet);
    done!(
        world,
        ReplaceRoute {
            route_table_id: table.clone(),
            destination_cidr_block: everything.clone(),
            network_interface_id: Some(interface.clone()),
        }
    );
    assert_eq!(target_of(&world, &table, "0.0.0.0/0"), Some(Target::Blackhole));
    let instance = world.running(&subnet).instance_id.unwrap();
    world.attach(&interface, &instance, 1);
    assert!(matches!(
        target_of(&world, &table, "0.0.0.0/0"),
        Some(Target::Interface(_))
    ));
    reply!(
        world,
        TerminateInstances {
            instance_ids: vec![instance]
        }
    );
    assert_eq!(target_of(&world, &table, "0.0.0.0/0"), Some(Target::Blackhole));

    done!(
        world,
        DeleteRoute {
            route_table_id: table.clone(),
            destination_cidr_block: everything.clone()
        }
    );
    let code = refused!(
        world,
        DeleteRoute {
            route_table_id: table.clone(),
            destination_cidr_block: everything
        }
    );
    assert_eq!(code, "InvalidRoute.NotFound");
    let local = Some("172.31.0.0/16".to_owned());
    let code = refused!(
        world,
        DeleteRoute {
            route_table_id: table,
            destination_cidr_block: local
        }
    );
    assert_eq!(code, "InvalidParameterValue");
}

#[test]
fn inside_the_vpc_only_a_subnet_can_be_taken_over() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(&vpc, "10.0.0.0/24");
    let interface = world.interface_id(&subnet);
    let table = reply!(world, CreateRouteTable { vpc_id: vpc })
        .route_table
        .unwrap()
        .route_table_id
        .unwrap();
    let mut create = |block: &str| {
        world.run(trinic_vpc::command::Command::CreateRoute(
            trinic_vpc::command::CreateRoute {
                route_table_id: table.clone(),
                destination_cidr_block: Some(block.into()),
                network_interface_id: Some(interface.clone()),
                ..Default::default()
            },
        ))
    };
    assert_eq!(
        crate::world::code(create("10.0.0.0/25")).as_str(),
        "InvalidParameterValue"
    );
    assert_eq!(
        crate::world::code(create("10.0.0.0/16")).as_str(),
        "RouteAlreadyExists"
    );
    create("10.0.0.0/24").unwrap();
}

#[test]
fn a_subnet_follows_its_table() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(&vpc, "10.0.0.0/24");
    let table_of = |world: &World| match world.tables.entries.get(subnet.as_str()) {
        Some(Entry::Subnet(entry)) => entry.route_table_id.to_string(),
        other => panic!("{other:?}"),
    };
    let main = table_of(&world);
    let other = reply!(world, CreateRouteTable { vpc_id: vpc })
        .route_table
        .unwrap()
        .route_table_id
        .unwrap();
    let associated = reply!(
        world,
        AssociateRouteTable {
            route_table_id: other.clone(),
            subnet_id: Some(subnet.clone())
        }
    );
    assert_eq!(table_of(&world), other);
    // Again is the same, another table is a conflict.
    let again = reply!(
        world,
        AssociateRouteTable {
            route_table_id: other.clone(),
            subnet_id: Some(subnet.clone())
        }
    );
    assert_eq!(again.association_id, associated.association_id);
    let code = refused!(
        world,
        AssociateRouteTable {
            route_table_id: main.clone(),
            subnet_id: Some(subnet.clone())
        }
    );
    assert_eq!(code, "Resource.AlreadyAssociated");
    assert_eq!(
        refused!(
            world,
            DeleteRouteTable {
                route_table_id: other.clone()
            }
        ),
        "DependencyViolation"
    );
    done!(
        world,
        DisassociateRouteTable {
            association_id: associated.association_id.unwrap()
        }
    );
    assert_eq!(table_of(&world), main);

    // Another table becomes the main one.
    let tables = reply!(
        world,
        DescribeRouteTables {
            route_table_ids: vec![main.clone()]
        }
    )
    .route_tables;
    let association = tables[0].associations[0]
        .route_table_association_id
        .clone()
        .unwrap();
    assert_eq!(
        refused!(
            world,
            DisassociateRouteTable {
                association_id: association.clone()
            }
        ),
        "InvalidParameterValue"
    );
    reply!(
        world,
        ReplaceRouteTableAssociation {
            association_id: association,
            route_table_id: other.clone()
        }
    );
    assert_eq!(table_of(&world), other);
    done!(world, DeleteRouteTable { route_table_id: main });
}

#[test]
fn the_default_vpc_can_be_made_again() {
    let mut world = World::default();
    assert_eq!(refused!(world, CreateDefaultVpc {}), "DefaultVpcAlreadyExists");
    let vpc = world.default_vpc().vpc_id.unwrap();
    for subnet in reply!(world, DescribeSubnets {}).subnets {
        done!(
            world,
            DeleteSubnet {
                subnet_id: subnet.subnet_id.unwrap()
            }
        );
    }
    let gateway = reply!(world, DescribeInternetGateways {})
        .internet_gateways
        .remove(0)
        .internet_gateway_id
        .unwrap();
    done!(
        world,
        DetachInternetGateway {
            internet_gateway_id: gateway,
            vpc_id: vpc.clone()
        }
    );
    done!(world, DeleteVpc { vpc_id: vpc });
    assert!(reply!(world, DescribeVpcs {}).vpcs.is_empty());
    let code = refused!(
        world,
        CreateSecurityGroup {
            group_name: "a".into(),
            description: "b".into()
        }
    );
    assert_eq!(code, "VPCIdNotSpecified");
    let made = reply!(world, CreateDefaultVpc {}).vpc.unwrap();
    assert_eq!(made.is_default, Some(true));
}

#[test]
fn a_vpc_has_five_blocks_per_family() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    let mut add = |n: usize| {
        world.run(trinic_vpc::command::Command::AssociateVpcCidrBlock(
            trinic_vpc::command::AssociateVpcCidrBlock {
                vpc_id: vpc.clone(),
                cidr_block: Some(format!("10.{n}.0.0/16")),
                ..Default::default()
            },
        ))
    };
    for n in 1..5 {
        add(n).unwrap();
    }
    assert_eq!(crate::world::code(add(5)).as_str(), "CidrLimitExceeded");
}
