//! Images: registering, showing, launching from, deregistering.

use crate::world::{World, filter, launch, refused, reply};
use trinic_switch::tables::Entry;
use trinic_vpc::command::{Command, RegisterImage, RunInstances};
use trinic_vpc::reply::Reply;
use trinic_vpc::resource::{BUILT_IN_IMAGE, VmImage};
use trinic_vpc::shape::{Tag, TagSpecification};
use trinic_vpc::{Policing, compile};

fn image(name: &str) -> RegisterImage {
    RegisterImage {
        name: name.into(),
        ena_support: Some(true),
        ..RegisterImage::default()
    }
}

fn register(world: &mut World, request: RegisterImage) -> Result<String, String> {
    match world.run(Command::RegisterImage(request)) {
        Ok(Reply::RegisterImage(result)) => Ok(result.image_id.unwrap()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code.to_string()),
    }
}

fn run(world: &mut World, image: &str, kind: &str) -> Result<String, trinic_vpc::Ec2Error> {
    let launched = world.run(Command::RunInstances(RunInstances {
        image_id: Some(image.into()),
        instance_type: Some(kind.into()),
        ..launch()
    }));
    match launched? {
        Reply::RunInstances(mut result) => Ok(result.instances.remove(0).instance_id.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_is_registered_shown_and_deregistered() {
    let mut world = World::default();
    let id = register(
        &mut world,
        RegisterImage {
            description: Some("a guest".into()),
            image_location: Some("file:///images/disk.qcow2".into()),
            root_device_name: Some("/dev/sda1".into()),
            sriov_net_support: Some("simple".into()),
            architecture: Some("arm64".into()),
            virtualization_type: Some("hvm".into()),
            imds_support: Some("v2.0".into()),
            tag_specifications: vec![TagSpecification {
                resource_type: Some("image".into()),
                tags: vec![Tag {
                    key: Some("kind".into()),
                    value: Some("vm".into()),
                }],
            }],
            ..image("guest")
        },
    )
    .unwrap();
    let ids = vec![id.clone()];
    let shown = reply!(
        world,
        DescribeImages {
            image_ids: ids.clone()
        }
    )
    .images
    .remove(0);
    assert_eq!(shown.name.as_deref(), Some("guest"));
    assert_eq!(shown.state.as_deref(), Some("available"));
    assert_eq!(shown.image_location.as_deref(), Some("file:///images/disk.qcow2"));
    assert_eq!(shown.root_device_name.as_deref(), Some("/dev/sda1"));
    assert_eq!((shown.ena_support, shown.public), (Some(true), Some(false)));
    assert_eq!(shown.sriov_net_support.as_deref(), Some("simple"));
    assert_eq!(shown.architecture.as_deref(), Some("arm64"));
    assert_eq!(shown.creation_date.as_deref(), Some("2023-11-14T22:13:20.000Z"));
    let filters = vec![filter("tag:kind", &["vm"]), filter("ena-support", &["true"])];
    assert_eq!(reply!(world, DescribeImages { filters }).images.len(), 1);
    let attribute = reply!(
        world,
        DescribeImageAttribute {
            image_id: id.clone(),
            attribute: "sriovNetSupport".into()
        }
    );
    assert_eq!(
        attribute.sriov_net_support.unwrap().value.as_deref(),
        Some("simple")
    );
    assert!(world.model.has_image(&world.context.scope, &id));

    reply!(world, DeregisterImage { image_id: id.clone() });
    assert!(!world.model.has_image(&world.context.scope, &id));
    assert_eq!(
        refused!(world, DescribeImages { image_ids: ids }),
        "InvalidAMIID.NotFound"
    );
    assert_eq!(
        refused!(world, DeregisterImage { image_id: id }),
        "InvalidAMIID.NotFound"
    );
}

#[test]
fn a_registration_is_checked() {
    let mut world = World::default();
    let mut refused = |change: fn(&mut RegisterImage)| {
        let mut request = image("one");
        change(&mut request);
        register(&mut world, request).unwrap_err()
    };
    assert_eq!(refused(|r| r.name = String::new()), "MissingParameter");
    assert_eq!(refused(|r| r.name = "ab".into()), "InvalidAMIName.Malformed");
    assert_eq!(refused(|r| r.name = "a".repeat(129)), "InvalidAMIName.Malformed");
    assert_eq!(refused(|r| r.name = "what?".into()), "InvalidAMIName.Malformed");
    assert_eq!(
        refused(|r| r.architecture = Some("i386".into())),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused(|r| r.virtualization_type = Some("paravirtual".into())),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused(|r| r.sriov_net_support = Some("on".into())),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused(|r| r.imds_support = Some("v1.0".into())),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused(|r| r.root_device_name = Some("sda".into())),
        "InvalidParameterValue"
    );
    assert_eq!(
        refused(|r| r.image_location = Some("file:disk".into())),
        "InvalidParameterValue"
    );
    register(&mut world, image("one")).unwrap();
    assert_eq!(
        register(&mut world, image("one")).unwrap_err(),
        "InvalidAMIName.Duplicate"
    );
}

#[test]
fn the_built_in_image_is_there_for_everybody() {
    let mut world = World::default();
    let mine = register(&mut world, image("mine")).unwrap();
    let mut owned = |owners: &[&str], users: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let found = reply!(
            world,
            DescribeImages {
                owners: texts(owners),
                executable_users: texts(users)
            }
        );
        let ids = found.images.into_iter().filter_map(|image| image.image_id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(owned(&["amazon"], &[]), [BUILT_IN_IMAGE]);
    assert_eq!(owned(&["self"], &[]), [mine.as_str()]);
    assert_eq!(owned(&["000000000000"], &[]), [mine.as_str()]);
    assert_eq!(owned(&[], &["all"]), [BUILT_IN_IMAGE]);
    assert_eq!(owned(&[], &[]).len(), 2);
    let code = refused!(
        world,
        DeregisterImage {
            image_id: BUILT_IN_IMAGE.into()
        }
    );
    assert_eq!(code, "AuthFailure");
    // It is nobody else's.
    world.context.scope = crate::world::scope(7, "us-east-1");
    let image_ids = vec![mine];
    assert_eq!(
        refused!(world, DescribeImages { image_ids }),
        "InvalidAMIID.NotFound"
    );
}

#[test]
fn instances_get_what_their_image_says() {
    let mut world = World::default();
    let location = "file:///boot/vmlinuz?initrd=/boot/initrd&append=console=ttyS0";
    let vm = register(
        &mut world,
        RegisterImage {
            image_location: Some(location.into()),
            root_device_name: Some("/dev/vda".into()),
            imds_support: Some("v2.0".into()),
            ..image("vm image")
        },
    )
    .unwrap();
    let id = run(&mut world, &vm, "t3.micro").unwrap();
    let kept = world.model.instance(crate::world::instance_id(&id)).unwrap().1;
    let wanted = VmImage {
        kernel: Some("/boot/vmlinuz".into()),
        initrd: Some("/boot/initrd".into()),
        append: Some("console=ttyS0".into()),
        disk: None,
    };
    assert_eq!(kept.vm.as_ref(), Some(&wanted));
    assert_eq!(
        (kept.metadata.tokens_required, kept.metadata.hop_limit),
        (true, 2)
    );
    let shown = world.show(&id);
    assert_eq!(shown.root_device_name.as_deref(), Some("/dev/vda"));
    assert_eq!(shown.ena_support, Some(true));
    // It keeps them when the image goes.
    reply!(world, DeregisterImage { image_id: vm.clone() });
    let kept = world.model.instance(crate::world::instance_id(&id)).unwrap().1;
    assert_eq!(kept.vm.as_ref(), Some(&wanted));
    // Then the id is like any other that nobody registered.
    let id = run(&mut world, &vm, "t3.micro").unwrap();
    assert_eq!(
        world.model.instance(crate::world::instance_id(&id)).unwrap().1.vm,
        None
    );

    let plain = register(
        &mut world,
        RegisterImage {
            ena_support: None,
            ..image("without ENA")
        },
    )
    .unwrap();
    let error = run(&mut world, &plain, "c5.large").unwrap_err();
    assert_eq!(error.code.as_str(), "InvalidParameterCombination");
    assert!(error.message.contains("using an AMI that is enabled for ENA"));
    let id = run(&mut world, &plain, "t2.micro").unwrap();
    let kept = world.model.instance(crate::world::instance_id(&id)).unwrap().1;
    assert_eq!((kept.ena_support, kept.vm.is_some()), (false, false));
    let error = run(&mut world, &plain, "t4g.micro").unwrap_err();
    assert_eq!(error.code.as_str(), "InvalidParameterValue");
}

/// Whether the interfaces of an instance are held to allowances, as the tables tell the switch.
fn is_held(world: &World, policing: Policing, id: &str) -> bool {
    let mut model = world.model.clone();
    model.policing = policing;
    let tables = compile(&model);
    let mut found = tables.entries.values().filter_map(|entry| match entry {
        Entry::Interface(interface) if interface.instance_id.as_deref() == Some(id) => Some(interface),
        _ => None,
    });
    let interface = found.next().unwrap();
    assert!(found.next().is_none());
    interface.allowances.is_some()
}

#[test]
fn allowances_hold_machines_and_on_demand_everybody() {
    let mut world = World::default();
    let machine = RegisterImage {
        image_location: Some("file:///boot/vmlinuz?initrd=/boot/initrd".into()),
        ..image("machine")
    };
    let machine = register(&mut world, machine).unwrap();
    let machine = run(&mut world, &machine, "t3.nano").unwrap();
    let namespace = run(&mut world, BUILT_IN_IMAGE, "t3.nano").unwrap();
    for (policing, expected) in [
        (Policing::Nobody, [false, false]),
        (Policing::Machines, [true, false]),
        (Policing::Everybody, [true, true]),
    ] {
        let held = [&machine, &namespace].map(|id| is_held(&world, policing, id));
        assert_eq!(held, expected, "{policing:?}");
    }
    assert_eq!(Policing::default(), Policing::Machines);
}
