//! Random sequences of calls and card reports, over two accounts.
//!
//! `World::take` checks after every step that the incremental tables equal the full ones and that no
//! invariant of the model is violated; here is only what makes the sequences. Calls that are refused
//! must change nothing, which holds by construction: `decide` takes `&self`.

use crate::world::{World, instance_id, interface_id, launch, scope, tcp};
use proptest::prelude::*;
use trinic_vpc::command::*;
use trinic_vpc::ids::AnyId;
use trinic_vpc::resource::{Event, Resource};
use trinic_vpc::shape::{
    AttributeBooleanValue, InstanceNetworkInterfaceSpecification, NetworkInterfaceAttachmentChanges,
    UserIdGroupPair,
};
use trinic_vpc::{CardReport, Model};

/// A step: what to do, and numbers that choose among what is there.
#[derive(Debug, Clone, Copy)]
struct Step {
    account: u64,
    action: u8,
    a: usize,
    b: usize,
    c: usize,
}

fn step() -> impl Strategy<Value = Step> {
    (0..2_u64, 0..ACTIONS, 0..64_usize, 0..64_usize, 0..64_usize).prop_map(|(account, action, a, b, c)| {
        Step {
            account,
            action,
            a,
            b,
            c,
        }
    })
}

/// Number of arms of `command` and `report` together.
const ACTIONS: u8 = 45;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn sequences_keep_the_invariants(seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..160)) {
        let mut world = World::new(seed);
        // Something to work on in both accounts.
        for account in 0..2 {
            world.context.scope = scope(account, "us-east-1");
            world.run(Command::RunInstances(launch())).unwrap();
        }
        for step in steps {
            world.context.scope = scope(step.account, "us-east-1");
            world.wait(300);
            if let Some(report) = report(&world, step) {
                world.report(report);
            } else if let Some(command) = command(&world, step) {
                // Most refusals are as interesting as successes, and neither may break anything.
                let _ = world.run(command);
            }
            let expired = world.model.expire(world.context.now);
            world.take(&expired);
        }
        // What a store keeps is all there is to know.
        let mut again = Model::new(world.model.quotas);
        for (key, resource) in world.model.resources() {
            let text = serde_json::to_string(&resource).unwrap();
            let resource: Resource = serde_json::from_str(&text).unwrap();
            again.apply(&Event::Put(key.scope, resource));
        }
        prop_assert!(again == world.model, "the model differs after a round trip through JSON");
    }
}

/// The ids of a kind in the scope of the step, by their prefix.
fn ids(world: &World, prefix: &str) -> Vec<String> {
    let of_scope = world
        .model
        .resources()
        .filter(|(key, _)| key.scope == world.context.scope);
    let all = of_scope
        .filter(|(key, _)| key.id != AnyId::Home)
        .map(|(key, _)| key.id.to_string());
    all.filter(|id| id.starts_with(prefix)).collect()
}

fn pick(world: &World, prefix: &str, at: usize) -> Option<String> {
    let found = ids(world, prefix);
    (!found.is_empty()).then(|| found[at % found.len()].clone())
}

fn report(world: &World, step: Step) -> Option<CardReport> {
    let instance = || pick(world, "i-", step.a).map(|id| instance_id(&id));
    let interface = || pick(world, "eni-", step.b).map(|id| interface_id(&id));
    Some(match step.action {
        0 | 1 => CardReport::InstanceRunning {
            instance_id: instance()?,
        },
        2 | 3 => CardReport::InstanceGone {
            instance_id: instance()?,
        },
        4 if step.c < 16 => CardReport::InstanceFailed {
            instance_id: instance()?,
            reason: "no room".into(),
        },
        5 if step.c < 16 => CardReport::InstanceExited {
            instance_id: instance()?,
        },
        6 => CardReport::InterfaceAttached {
            instance_id: instance()?,
            interface_id: interface()?,
        },
        7 => {
            let interface_id = interface()?;
            let (_, found) = world.model.interface(interface_id)?;
            CardReport::InterfaceDetached {
                instance_id: found.attachment.as_ref()?.instance_id,
                interface_id,
            }
        }
        _ => return None,
    })
}

fn command(world: &World, step: Step) -> Option<Command> {
    match step.action {
        0..=21 => network_command(world, step),
        42..=44 => image_command(world, step),
        _ => interface_command(world, step),
    }
}

fn image_command(world: &World, step: Step) -> Option<Command> {
    let image = pick(world, "ami-", step.a);
    Some(match step.action {
        42 => Command::RegisterImage(RegisterImage {
            name: format!("image {}", step.a),
            image_location: step.b.is_multiple_of(2).then(|| "file:///disk.qcow2".into()),
            ena_support: Some(!step.c.is_multiple_of(4)),
            ..RegisterImage::default()
        }),
        43 => Command::RunInstances(RunInstances {
            image_id: Some(image?),
            ..launch()
        }),
        _ => Command::DeregisterImage(DeregisterImage {
            image_id: image?,
            ..DeregisterImage::default()
        }),
    })
}

fn network_command(world: &World, step: Step) -> Option<Command> {
    let Step { action, a, b, c, .. } = step;
    let pick = |prefix: &str, at: usize| pick(world, prefix, at);
    Some(match action {
        8 => Command::CreateVpc(CreateVpc {
            cidr_block: Some(format!("10.{}.0.0/16", a % 4)),
            amazon_provided_ipv6_cidr_block: Some(b % 2 == 0),
            ..CreateVpc::default()
        }),
        9 => Command::DeleteVpc(DeleteVpc {
            vpc_id: pick("vpc-", a)?,
            ..DeleteVpc::default()
        }),
        10 => {
            let vpc = pick("vpc-", a)?;
            let found = world.model.vpc(vpc.parse().unwrap())?;
            let block = found.primary_cidr()?.subnets(28).unwrap().nth(b)?;
            let ipv6 = found
                .ipv6_cidr_blocks
                .first()
                .and_then(|i| i.cidr.subnets(64).unwrap().nth(c));
            Command::CreateSubnet(CreateSubnet {
                vpc_id: vpc,
                cidr_block: Some(block.to_string()),
                ipv6_cidr_block: ipv6.map(|i| i.to_string()),
                ..CreateSubnet::default()
            })
        }
        11 => Command::DeleteSubnet(DeleteSubnet {
            subnet_id: pick("subnet-", a)?,
            ..DeleteSubnet::default()
        }),
        12 => Command::CreateSecurityGroup(CreateSecurityGroup {
            group_name: format!("group {}", c % 4),
            description: "random".into(),
            vpc_id: pick("vpc-", a),
            ..CreateSecurityGroup::default()
        }),
        13 => Command::DeleteSecurityGroup(DeleteSecurityGroup {
            group_id: pick("sg-", a),
            ..DeleteSecurityGroup::default()
        }),
        14 => {
            let mut permission = tcp(i32::try_from(c).unwrap(), "10.0.0.0/8");
            if b % 2 == 0 {
                permission.user_id_group_pairs = vec![UserIdGroupPair {
                    group_id: pick("sg-", b),
                    ..UserIdGroupPair::default()
                }];
            }
            Command::AuthorizeSecurityGroupIngress(AuthorizeSecurityGroupIngress {
                group_id: pick("sg-", a),
                ip_permissions: vec![permission],
                ..AuthorizeSecurityGroupIngress::default()
            })
        }
        15 => Command::RevokeSecurityGroupIngress(RevokeSecurityGroupIngress {
            group_id: pick("sg-", a),
            ip_permissions: vec![tcp(i32::try_from(c).unwrap(), "10.0.0.0/8")],
            ..RevokeSecurityGroupIngress::default()
        }),
        16 if c % 2 == 0 => Command::CreateInternetGateway(CreateInternetGateway::default()),
        16 => Command::DeleteInternetGateway(DeleteInternetGateway {
            internet_gateway_id: pick("igw-", a)?,
            ..DeleteInternetGateway::default()
        }),
        17 if c % 2 == 0 => Command::AttachInternetGateway(AttachInternetGateway {
            internet_gateway_id: pick("igw-", a)?,
            vpc_id: pick("vpc-", b)?,
            ..AttachInternetGateway::default()
        }),
        17 => Command::DetachInternetGateway(DetachInternetGateway {
            internet_gateway_id: pick("igw-", a)?,
            vpc_id: pick("vpc-", b)?,
            ..DetachInternetGateway::default()
        }),
        18 => Command::CreateRouteTable(CreateRouteTable {
            vpc_id: pick("vpc-", a)?,
            ..CreateRouteTable::default()
        }),
        19 => route_command(world, step)?,
        20 => association_command(world, step)?,
        21 => Command::AssociateVpcCidrBlock(AssociateVpcCidrBlock {
            vpc_id: pick("vpc-", a)?,
            cidr_block: Some(format!("10.{}.0.0/24", 100 + b)),
            ..AssociateVpcCidrBlock::default()
        }),
        _ => return None,
    })
}

fn route_command(world: &World, step: Step) -> Option<Command> {
    let Step { a, b, c, .. } = step;
    let route_table_id = pick(world, "rtb-", a)?;
    let destination = Some(format!("192.168.{}.0/24", c % 4));
    Some(match c % 4 {
        0 => Command::DeleteRoute(DeleteRoute {
            route_table_id,
            destination_cidr_block: Some(format!("192.168.{}.0/24", b % 4)),
            ..DeleteRoute::default()
        }),
        1 => Command::DeleteRouteTable(DeleteRouteTable {
            route_table_id,
            ..DeleteRouteTable::default()
        }),
        2 => Command::CreateRoute(CreateRoute {
            route_table_id,
            destination_cidr_block: destination,
            network_interface_id: pick(world, "eni-", b),
            ..CreateRoute::default()
        }),
        _ => Command::CreateRoute(CreateRoute {
            route_table_id,
            destination_cidr_block: destination,
            gateway_id: pick(world, "igw-", b),
            ..CreateRoute::default()
        }),
    })
}

fn association_command(world: &World, step: Step) -> Option<Command> {
    let Step { a, b, c, .. } = step;
    let route_table_id = pick(world, "rtb-", a)?;
    let other = world
        .model
        .route_table(pick(world, "rtb-", b)?.parse().unwrap())?;
    let association = other.associations.get(c % 2).map(|x| x.id.to_string());
    Some(match c % 3 {
        0 => Command::AssociateRouteTable(AssociateRouteTable {
            route_table_id,
            subnet_id: pick(world, "subnet-", b),
            ..AssociateRouteTable::default()
        }),
        1 => Command::DisassociateRouteTable(DisassociateRouteTable {
            association_id: association?,
            ..DisassociateRouteTable::default()
        }),
        _ => Command::ReplaceRouteTableAssociation(ReplaceRouteTableAssociation {
            association_id: association?,
            route_table_id,
            ..ReplaceRouteTableAssociation::default()
        }),
    })
}

fn interface_command(world: &World, step: Step) -> Option<Command> {
    let Step { action, a, b, c, .. } = step;
    let pick = |prefix: &str, at: usize| pick(world, prefix, at);
    let attachment = |at: usize| {
        let id = pick("eni-", at)?;
        let (_, found) = world.model.interface(interface_id(&id))?;
        Some(found.attachment.as_ref()?.id.to_string())
    };
    let instances = |at: usize| Some(vec![pick("i-", at)?]);
    Some(match action {
        22 | 23 => Command::RunInstances(RunInstances {
            subnet_id: pick("subnet-", a),
            max_count: Some(1 + i32::try_from(b % 3).unwrap()),
            client_token: (c % 8 == 0).then(|| format!("token {}", b % 2)),
            ..launch()
        }),
        24 => Command::RunInstances(RunInstances {
            network_interfaces: vec![InstanceNetworkInterfaceSpecification {
                device_index: Some(0),
                network_interface_id: pick("eni-", a),
                ..InstanceNetworkInterfaceSpecification::default()
            }],
            ..launch()
        }),
        25 => Command::TerminateInstances(TerminateInstances {
            instance_ids: instances(a)?,
            ..Default::default()
        }),
        26 => Command::StopInstances(StopInstances {
            instance_ids: instances(a)?,
            ..Default::default()
        }),
        27 => Command::StartInstances(StartInstances {
            instance_ids: instances(a)?,
            ..Default::default()
        }),
        28 | 29 => Command::CreateNetworkInterface(CreateNetworkInterface {
            subnet_id: pick("subnet-", a)?,
            secondary_private_ip_address_count: (b % 3 == 0).then_some(1),
            ipv4_prefix_count: (b % 3 == 1).then_some(1),
            ipv6_address_count: (c % 2 == 0).then_some(1),
            ..CreateNetworkInterface::default()
        }),
        30 => Command::DeleteNetworkInterface(DeleteNetworkInterface {
            network_interface_id: pick("eni-", a)?,
            ..DeleteNetworkInterface::default()
        }),
        31 => Command::AttachNetworkInterface(AttachNetworkInterface {
            network_interface_id: pick("eni-", a)?,
            instance_id: pick("i-", b)?,
            device_index: Some(1),
            ..AttachNetworkInterface::default()
        }),
        32 => Command::DetachNetworkInterface(DetachNetworkInterface {
            attachment_id: attachment(a)?,
            force: Some(c % 4 == 0),
            ..DetachNetworkInterface::default()
        }),
        33 => Command::ModifyNetworkInterfaceAttribute(ModifyNetworkInterfaceAttribute {
            network_interface_id: pick("eni-", a)?,
            attachment: (c % 2 == 0).then(|| NetworkInterfaceAttachmentChanges {
                attachment_id: attachment(a),
                delete_on_termination: Some(b % 2 == 0),
                ena_queue_count: (b % 3 == 0).then_some(2),
                ..NetworkInterfaceAttachmentChanges::default()
            }),
            source_dest_check: (c % 2 == 1).then_some(AttributeBooleanValue {
                value: Some(b % 2 == 0),
            }),
            ..ModifyNetworkInterfaceAttribute::default()
        }),
        34 => Command::ModifyNetworkInterfaceAttribute(ModifyNetworkInterfaceAttribute {
            network_interface_id: pick("eni-", a)?,
            groups: vec![pick("sg-", b)?, pick("sg-", c)?],
            ..ModifyNetworkInterfaceAttribute::default()
        }),
        _ => address_command(world, step)?,
    })
}

fn address_command(world: &World, step: Step) -> Option<Command> {
    let Step { action, a, b, c, .. } = step;
    let pick = |prefix: &str, at: usize| pick(world, prefix, at);
    let interface = |at: usize| {
        let id = pick("eni-", at)?;
        Some(world.model.interface(interface_id(&id))?.1)
    };
    Some(match action {
        35 if c % 2 == 0 => Command::AllocateAddress(AllocateAddress::default()),
        35 => Command::ReleaseAddress(ReleaseAddress {
            allocation_id: pick("eipalloc-", a),
            ..ReleaseAddress::default()
        }),
        36 | 37 => {
            let found = interface(b)?;
            let private = found.private_addresses.get(c % 2)?;
            Command::AssociateAddress(AssociateAddress {
                allocation_id: pick("eipalloc-", a),
                network_interface_id: Some(found.id.to_string()),
                private_ip_address: Some(private.address.to_string()),
                allow_reassociation: Some(c % 5 != 0),
                ..AssociateAddress::default()
            })
        }
        38 => Command::DisassociateAddress(DisassociateAddress {
            public_ip: Some(interface(a)?.primary_public_ip()?.to_string()),
            ..DisassociateAddress::default()
        }),
        39 => {
            // An address of another interface: moves it, with its Elastic IP.
            let from = interface(a)?.private_addresses.get(c % 3)?;
            Command::AssignPrivateIpAddresses(AssignPrivateIpAddresses {
                network_interface_id: pick("eni-", b)?,
                private_ip_addresses: vec![from.address.to_string()],
                allow_reassignment: Some(true),
                ..AssignPrivateIpAddresses::default()
            })
        }
        40 => {
            let found = interface(a)?;
            Command::UnassignPrivateIpAddresses(UnassignPrivateIpAddresses {
                network_interface_id: found.id.to_string(),
                private_ip_addresses: vec![found.private_addresses.get(c % 3)?.address.to_string()],
                ..UnassignPrivateIpAddresses::default()
            })
        }
        41 if c % 2 == 0 => Command::AssignPrivateIpAddresses(AssignPrivateIpAddresses {
            network_interface_id: pick("eni-", a)?,
            secondary_private_ip_address_count: Some(1),
            ..AssignPrivateIpAddresses::default()
        }),
        41 => Command::AssignIpv6Addresses(AssignIpv6Addresses {
            network_interface_id: pick("eni-", a)?,
            ipv6_address_count: Some(1),
            ..AssignIpv6Addresses::default()
        }),
        _ => return None,
    })
}
