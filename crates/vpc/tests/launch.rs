//! Instances: launching, the card's reports, stopping, starting, terminating.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use trinic_vpc::CardReport;
use trinic_vpc::command::Command;
use trinic_vpc::reply::Reply;
use world::{World, instance_id, launch, refused, reply};

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
