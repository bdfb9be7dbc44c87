//! ENA support of types, images and instances; queues of interfaces; what the type says of both.

use crate::world::{World, done, filter, instance_id, launch, refused, reply};
use trinic_vpc::CardReport;
use trinic_vpc::command::{Command, RunInstances};
use trinic_vpc::reply::Reply;
use trinic_vpc::shape::{
    AttributeBooleanValue, AttributeValue, Gbps, InstanceNetworkInterfaceSpecification,
    InstanceNetworkPerformanceOptionsRequest, NetworkInfo, NetworkInterfaceAttachmentChanges,
};

fn network_info(world: &mut World, name: &str) -> NetworkInfo {
    let instance_types = vec![name.to_owned()];
    let mut found = reply!(world, DescribeInstanceTypes { instance_types }).instance_types;
    found.remove(0).network_info.unwrap()
}

fn stop(world: &mut World, id: &str) {
    reply!(
        world,
        StopInstances {
            instance_ids: vec![id.into()]
        }
    );
    world.report(CardReport::InstanceGone {
        instance_id: instance_id(id),
    });
}

fn stopped(world: &mut World, kind: &str) -> String {
    let subnet = world.default_subnet();
    let id = world.running_type(&subnet, kind).instance_id.unwrap();
    stop(world, &id);
    id
}

const OFF: Option<AttributeBooleanValue> = Some(AttributeBooleanValue { value: Some(false) });
const ON: Option<AttributeBooleanValue> = Some(AttributeBooleanValue { value: Some(true) });

fn value(text: &str) -> Option<AttributeValue> {
    Some(AttributeValue {
        value: Some(text.into()),
    })
}

#[test]
fn ena_support_changes_while_stopped_and_nitro_needs_it_to_start() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let id = world.running_type(&subnet, "t3.micro").instance_id.unwrap();
    assert_eq!(world.show(&id).ena_support, Some(true));
    let code = refused!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            ena_support: OFF
        }
    );
    assert_eq!(code, "IncorrectInstanceState");
    stop(&mut world, &id);
    done!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            ena_support: OFF
        }
    );
    assert_eq!(world.show(&id).ena_support, Some(false));
    let shown = reply!(
        world,
        DescribeInstanceAttribute {
            instance_id: id.clone(),
            attribute: "enaSupport".into()
        }
    );
    assert_eq!(shown.ena_support, OFF);
    let start = |world: &mut World| {
        world.run(Command::StartInstances(trinic_vpc::command::StartInstances {
            instance_ids: vec![id.clone()],
            ..Default::default()
        }))
    };
    let error = start(&mut world).unwrap_err();
    assert_eq!(error.code.as_str(), "InvalidParameterCombination");
    assert!(error.message.contains("'t3.micro'"), "{}", error.message);
    // A type that has the traditional card too takes it; back on Nitro it would not.
    done!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            instance_type: value("r4.large")
        }
    );
    let code = refused!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            instance_type: value("c5.large")
        }
    );
    assert_eq!(code, "InvalidParameterCombination");
    start(&mut world).unwrap();
    world.report(CardReport::InstanceRunning {
        instance_id: instance_id(&id),
    });
    stop(&mut world, &id);
    // The old form of the request.
    done!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            attribute: Some("enaSupport".into()),
            value: Some("true".into())
        }
    );
    assert_eq!(world.show(&id).ena_support, Some(true));
    let code = refused!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            ena_support: ON,
            sriov_net_support: value("simple")
        }
    );
    assert_eq!(code, "InvalidParameterCombination");
}

#[test]
fn sriov_net_support_is_simple_and_stays() {
    let mut world = World::default();
    let id = stopped(&mut world, "t2.micro");
    let attribute = |world: &mut World| {
        let shown = reply!(
            world,
            DescribeInstanceAttribute {
                instance_id: id.clone(),
                attribute: "sriovNetSupport".into()
            }
        );
        shown.sriov_net_support.unwrap().value
    };
    assert_eq!(attribute(&mut world), None);
    assert_eq!(world.show(&id).sriov_net_support, None);
    let code = refused!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            sriov_net_support: value("none")
        }
    );
    assert_eq!(code, "InvalidParameterValue");
    done!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            sriov_net_support: value("simple")
        }
    );
    assert_eq!(attribute(&mut world).as_deref(), Some("simple"));
    assert_eq!(world.show(&id).sriov_net_support.as_deref(), Some("simple"));
    reply!(
        world,
        StartInstances {
            instance_ids: vec![id.clone()]
        }
    );
    let code = refused!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            sriov_net_support: value("simple")
        }
    );
    assert_eq!(code, "IncorrectInstanceState");
}

#[test]
fn a_type_describes_its_network() {
    let mut world = World::default();
    let info = network_info(&mut world, "c6i.large");
    assert_eq!(info.ena_support.as_deref(), Some("required"));
    assert_eq!(info.flexible_ena_queues_support.as_deref(), Some("supported"));
    assert_eq!(info.network_performance.as_deref(), Some("Up to 12.5 Gigabit"));
    assert_eq!((info.efa_supported, info.efa_info), (Some(false), None));
    let [card] = info.network_cards.as_slice() else {
        panic!("one card");
    };
    assert_eq!(card.baseline_bandwidth_in_gbps, Some(Gbps { mbps: 781 }));
    assert_eq!(card.peak_bandwidth_in_gbps, Some(Gbps { mbps: 12_500 }));
    assert_eq!(card.default_ena_queue_count_per_interface, Some(2));
    assert_eq!(card.maximum_ena_queue_count, Some(6));
    assert_eq!(card.interface_types, ["interface"]);

    let info = network_info(&mut world, "p5.48xlarge");
    assert_eq!(info.maximum_network_cards, Some(32));
    assert_eq!(info.maximum_network_interfaces, Some(64));
    assert_eq!(info.network_performance.as_deref(), Some("3200 Gigabit"));
    assert_eq!(info.efa_info.unwrap().maximum_efa_interfaces, Some(32));
    assert_eq!(info.ena_srd_supported, Some(true));
    let last = info.network_cards.last().unwrap();
    assert_eq!(last.network_card_index, Some(31));
    assert_eq!(last.network_performance.as_deref(), Some("100 Gigabit"));
    assert_eq!(last.maximum_ena_queue_count, None);

    let info = network_info(&mut world, "m1.small");
    assert_eq!(info.ena_support.as_deref(), Some("unsupported"));
    assert_eq!(
        (info.ipv6_supported, info.ipv6_addresses_per_interface),
        (Some(false), Some(0))
    );
}

#[test]
fn types_are_found_by_what_they_have() {
    let mut world = World::default();
    let mut find = |filters: &[(&str, &str)]| {
        let filters = filters
            .iter()
            .map(|(name, value)| filter(name, &[*value]))
            .collect();
        let found = reply!(world, DescribeInstanceTypes { filters }).instance_types;
        let names = found.into_iter().filter_map(|t| t.instance_type);
        names.collect::<Vec<_>>()
    };
    let found = find(&[
        ("network-info.ena-support", "supported"),
        ("vcpu-info.default-vcpus", "64"),
    ]);
    assert_eq!(found, ["i3.16xlarge", "m4.16xlarge", "r4.16xlarge"]);
    let found = find(&[
        ("network-info.maximum-network-cards", "4"),
        ("processor-info.supported-architecture", "x86_64"),
    ]);
    assert_eq!(found, ["p4d.24xlarge"]);
    assert_eq!(
        find(&[("hypervisor", "xen"), ("instance-type", "t2.n*")]),
        ["t2.nano"]
    );
    assert!(find(&[("network-info.flexible-ena-queues-support", "supported")]).len() > 5);
}

#[test]
fn queues_are_within_the_limits_of_interface_and_card() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    // 2 queues by default, 2 at most per interface, 6 per card, three interfaces.
    let id = world.running_type(&subnet, "c6i.large").instance_id.unwrap();
    let extra = world.interface_id(&subnet);
    let attach = |world: &mut World, count| {
        world.run(Command::AttachNetworkInterface(
            trinic_vpc::command::AttachNetworkInterface {
                network_interface_id: extra.clone(),
                instance_id: id.clone(),
                device_index: Some(1),
                ena_queue_count: Some(count),
                ..Default::default()
            },
        ))
    };
    for count in [-1, 0, 3] {
        let error = attach(&mut world, count).unwrap_err();
        assert_eq!(error.code.as_str(), "InvalidParameterValue", "{count}");
    }
    attach(&mut world, 1).unwrap();
    let shown = world.show_interface(&extra).attachment.unwrap();
    assert_eq!(shown.ena_queue_count, Some(1));
    let shown = world.show(&id);
    let counts = shown
        .network_interfaces
        .iter()
        .map(|i| i.attachment.as_ref().unwrap());
    assert_eq!(
        counts.map(|a| a.ena_queue_count).collect::<Vec<_>>(),
        [None, Some(1)]
    );

    let modify = |world: &mut World, count, back| {
        let attachment_id = world.show_interface(&extra).attachment.unwrap().attachment_id;
        world.run(Command::ModifyNetworkInterfaceAttribute(
            trinic_vpc::command::ModifyNetworkInterfaceAttribute {
                network_interface_id: extra.clone(),
                attachment: Some(NetworkInterfaceAttachmentChanges {
                    attachment_id,
                    ena_queue_count: count,
                    default_ena_queue_count: back,
                    ..Default::default()
                }),
                ..Default::default()
            },
        ))
    };
    let error = modify(&mut world, Some(2), None).unwrap_err();
    assert_eq!(error.code.as_str(), "IncorrectInstanceState");
    stop(&mut world, &id);
    modify(&mut world, Some(2), None).unwrap();
    assert_eq!(
        world.show_interface(&extra).attachment.unwrap().ena_queue_count,
        Some(2)
    );
    let error = modify(&mut world, Some(2), Some(true)).unwrap_err();
    assert_eq!(error.code.as_str(), "InvalidParameterCombination");
    let error = modify(&mut world, None, Some(false)).unwrap_err();
    assert_eq!(error.code.as_str(), "MissingParameter");
    // A type without flexible queues cannot be had while an interface says a number.
    let to_c5 = |world: &mut World| {
        world.run(Command::ModifyInstanceAttribute(
            trinic_vpc::command::ModifyInstanceAttribute {
                instance_id: id.clone(),
                instance_type: value("c5.large"),
                ..Default::default()
            },
        ))
    };
    let error = to_c5(&mut world).unwrap_err();
    assert_eq!(error.code.as_str(), "UnsupportedOperation");
    modify(&mut world, None, Some(true)).unwrap();
    assert_eq!(
        world.show_interface(&extra).attachment.unwrap().ena_queue_count,
        None
    );
    to_c5(&mut world).unwrap();
    let error = modify(&mut world, Some(1), None).unwrap_err();
    assert_eq!(error.code.as_str(), "UnsupportedOperation");
}

#[test]
fn a_card_has_so_many_queues_and_a_launch_may_share_them_out() {
    let mut world = World::default();
    let plan = |index, count| InstanceNetworkInterfaceSpecification {
        device_index: Some(index),
        ena_queue_count: Some(count),
        ..Default::default()
    };
    // 32 queues at most per interface, 64 per card, eight interfaces, 8 by default.
    let mut run = |counts: &[i32]| {
        let plans = (0..).zip(counts).map(|(index, count)| plan(index, *count));
        world.run(Command::RunInstances(RunInstances {
            instance_type: Some("m6i.8xlarge".into()),
            network_interfaces: plans.collect(),
            ..launch()
        }))
    };
    let error = run(&[32, 32, 1]).unwrap_err();
    assert_eq!(error.code.as_str(), "InvalidParameterValue");
    assert!(error.message.starts_with("65 ENA queues"), "{}", error.message);
    let Ok(Reply::RunInstances(result)) = run(&[32, 31, 1]) else {
        panic!("64 are there");
    };
    let shown = &result.instances[0].network_interfaces[1];
    assert_eq!(shown.attachment.as_ref().unwrap().ena_queue_count, Some(31));
}

#[test]
fn no_more_efa_interfaces_than_the_type_has() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let id = stopped(&mut world, "c5n.18xlarge");
    let mut attach = |index| {
        let made = reply!(
            world,
            CreateNetworkInterface {
                subnet_id: subnet.clone(),
                interface_type: Some("efa".into())
            }
        );
        world.run(Command::AttachNetworkInterface(
            trinic_vpc::command::AttachNetworkInterface {
                network_interface_id: made.network_interface.unwrap().network_interface_id.unwrap(),
                instance_id: id.clone(),
                device_index: Some(index),
                ..Default::default()
            },
        ))
    };
    attach(1).unwrap();
    let error = attach(2).unwrap_err();
    assert_eq!(error.code.as_str(), "AttachmentLimitExceeded");
}

#[test]
fn bandwidth_is_weighted_while_stopped_on_types_that_can() {
    let mut world = World::default();
    let id = stopped(&mut world, "c8g.large");
    let set = |world: &mut World, weighting: &str| {
        world.run(Command::ModifyInstanceNetworkPerformanceOptions(
            trinic_vpc::command::ModifyInstanceNetworkPerformanceOptions {
                instance_id: id.clone(),
                bandwidth_weighting: weighting.into(),
                ..Default::default()
            },
        ))
    };
    assert_eq!(
        set(&mut world, "vpc-9").unwrap_err().code.as_str(),
        "InvalidParameterValue"
    );
    set(&mut world, "vpc-1").unwrap();
    let options = |world: &mut World| world.show(&id).network_performance_options;
    assert_eq!(
        options(&mut world).unwrap().bandwidth_weighting.as_deref(),
        Some("vpc-1")
    );
    let code = refused!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            instance_type: value("c7g.large")
        }
    );
    assert_eq!(code, "InvalidParameterCombination");
    reply!(
        world,
        StartInstances {
            instance_ids: vec![id.clone()]
        }
    );
    assert_eq!(
        set(&mut world, "default").unwrap_err().code.as_str(),
        "IncorrectInstanceState"
    );
    // At launch.
    let launch = |kind: &str| RunInstances {
        instance_type: Some(kind.into()),
        network_performance_options: Some(InstanceNetworkPerformanceOptionsRequest {
            bandwidth_weighting: Some("ebs-1".into()),
        }),
        ..launch()
    };
    let error = world.run(Command::RunInstances(launch("c7g.large"))).unwrap_err();
    assert_eq!(error.code.as_str(), "InvalidParameterCombination");
    world.run(Command::RunInstances(launch("c8g.large"))).unwrap();
}

#[test]
fn ipv6_needs_a_type_that_has_it() {
    let mut world = World::default();
    let vpc = world.vpc("10.0.0.0/16");
    reply!(
        world,
        AssociateVpcCidrBlock {
            vpc_id: vpc.clone(),
            amazon_provided_ipv6_cidr_block: Some(true)
        }
    );
    let shown = reply!(
        world,
        DescribeVpcs {
            vpc_ids: vec![vpc.clone()]
        }
    );
    let block = shown.vpcs[0].ipv6_cidr_block_association_set[0]
        .ipv6_cidr_block
        .clone()
        .unwrap();
    let made = reply!(
        world,
        CreateSubnet {
            vpc_id: vpc,
            cidr_block: Some("10.0.1.0/24".into()),
            ipv6_cidr_block: Some(block.replace("/56", "/64"))
        }
    );
    let launch = |kind: &str| RunInstances {
        instance_type: Some(kind.into()),
        subnet_id: made.subnet.as_ref().unwrap().subnet_id.clone(),
        ipv6_address_count: Some(1),
        ..launch()
    };
    let error = world.run(Command::RunInstances(launch("m1.small"))).unwrap_err();
    assert_eq!(error.code.as_str(), "InvalidParameterCombination");
    world.run(Command::RunInstances(launch("t2.micro"))).unwrap();
}

#[test]
fn protection_from_stopping_is_from_terminating_too() {
    let mut world = World::default();
    let launched = world.run(Command::RunInstances(RunInstances {
        disable_api_stop: Some(true),
        ..launch()
    }));
    let Ok(Reply::RunInstances(result)) = launched else {
        panic!("refused");
    };
    let id = result.instances[0].instance_id.clone().unwrap();
    world.report(CardReport::InstanceRunning {
        instance_id: instance_id(&id),
    });
    let instance_ids = vec![id.clone()];
    let code = refused!(
        world,
        StopInstances {
            instance_ids: instance_ids.clone()
        }
    );
    assert_eq!(code, "OperationNotPermitted");
    let code = refused!(
        world,
        TerminateInstances {
            instance_ids: instance_ids.clone()
        }
    );
    assert_eq!(code, "OperationNotPermitted");
    let attribute = || "disableApiStop".to_owned();
    done!(
        world,
        ModifyInstanceAttribute {
            instance_id: id.clone(),
            attribute: Some(attribute()),
            value: Some("false".into())
        }
    );
    let shown = reply!(
        world,
        DescribeInstanceAttribute {
            instance_id: id,
            attribute: attribute()
        }
    );
    assert_eq!(shown.disable_api_stop, OFF);
    reply!(world, StopInstances { instance_ids });
}

#[test]
fn a_console_is_asked_for_by_instance() {
    let mut world = World::default();
    let subnet = world.default_subnet();
    let id = world.running_type(&subnet, "t2.micro").instance_id.unwrap();
    let shown = reply!(
        world,
        GetConsoleOutput {
            instance_id: id.clone()
        }
    );
    assert_eq!(shown.instance_id.as_ref(), Some(&id));
    assert_eq!((shown.timestamp, shown.output), (Some(world.context.now), None));
    let code = refused!(
        world,
        GetConsoleOutput {
            instance_id: id,
            latest: Some(true)
        }
    );
    assert_eq!(code, "UnsupportedOperation");
    let code = refused!(
        world,
        GetConsoleOutput {
            instance_id: "i-00000000000000000".into()
        }
    );
    assert_eq!(code, "InvalidInstanceID.NotFound");
}

#[test]
fn a_start_that_fails_leaves_the_instance_stopped() {
    let mut world = World::default();
    let id = stopped(&mut world, "t3.micro");
    reply!(
        world,
        StartInstances {
            instance_ids: vec![id.clone()]
        }
    );
    world.report(CardReport::InstanceFailed {
        instance_id: instance_id(&id),
        reason: "the disk is gone".into(),
    });
    let shown = world.show(&id);
    assert_eq!(shown.state.unwrap().name.as_deref(), Some("stopped"));
    assert_eq!(shown.public_ip_address, None);
    assert_eq!(
        shown.state_reason.unwrap().message.as_deref(),
        Some("Server.InternalError: the disk is gone")
    );
}
