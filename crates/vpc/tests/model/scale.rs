//! A thousand interfaces: a call touches what it names, not what the account has. How long it takes is printed, not
//! judged: the machine may be busy.

use std::time::Instant;

use trinic_vpc::command::*;
use trinic_vpc::quota::Quotas;
use trinic_vpc::{compile, compile_events};

use crate::world::{World, launch};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test prints times; the model takes its time as an argument"
)]
fn calls_touch_little_among_a_thousand_interfaces() {
    let mut world = World::default();
    world.model.quotas = Quotas::RAISED;
    let (events, _) = world
        .model
        .decide(
            &world.context,
            &mut world.rng,
            &Command::RunInstances(RunInstances {
                max_count: Some(1_000),
                min_count: Some(1_000),
                ..launch()
            }),
        )
        .unwrap();
    for event in &events {
        world.model.apply(event);
    }
    assert_eq!(compile(&world.model).entries.len(), 1_000 + 1 + 3 + 1 + 1);
    let interface = world.model.interfaces().nth(500).unwrap().1;
    let (id, subnet) = (interface.id.to_string(), interface.subnet_id.to_string());
    let instance = world.model.instances().nth(500).unwrap().1.id.to_string();
    let commands = [
        Command::CreateNetworkInterface(CreateNetworkInterface {
            subnet_id: subnet,
            ..CreateNetworkInterface::default()
        }),
        Command::AssignPrivateIpAddresses(AssignPrivateIpAddresses {
            network_interface_id: id,
            secondary_private_ip_address_count: Some(1),
            ..AssignPrivateIpAddresses::default()
        }),
        Command::RunInstances(launch()),
        Command::StopInstances(StopInstances::default()),
        Command::TerminateInstances(TerminateInstances {
            instance_ids: vec![instance],
            ..TerminateInstances::default()
        }),
        Command::AllocateAddress(AllocateAddress::default()),
        Command::DescribeNetworkInterfaces(DescribeNetworkInterfaces::default()),
        Command::DescribeInstances(DescribeInstances::default()),
    ];
    for command in commands {
        let start = Instant::now();
        let decided = world.model.decide(&world.context, &mut world.rng, &command);
        if let Ok((events, _)) = decided {
            for event in &events {
                world.model.apply(event);
            }
            let (upserts, removals) = compile_events(&world.model, &events);
            assert!(upserts.len() + removals.len() < 10, "{}", command.action());
        }
        let took = start.elapsed();
        println!("{:<28} {took:?}", command.action());
    }
}
