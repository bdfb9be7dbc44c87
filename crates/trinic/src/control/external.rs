//! Instances of kind external: an interface in a network namespace or process of the user's own.
//!
//! `trinic attach` makes an instance record that no image was booted for. To the API it is an instance with one
//! interface; to the card it is a namespace to put the function into. Terminating it takes the interface
//! out again. The namespace's path is kept beside the resources, since EC2 has no word for it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rand::Rng;
use trinic_vpc::ids::{AttachmentId, InstanceId, NetworkInterfaceId, ReservationId, ResourceId};
use trinic_vpc::resource::{
    Attachment, AttachmentStatus, BandwidthWeighting, Event, HostnameType, Instance, InstanceState,
    MetadataOptions, NetworkInterface, PrivateDnsOptions, Resource, ShutdownBehavior, Tags,
};
use trinic_vpc::{Ec2Error, ErrorCode, Model, Scope, zone};

/// Namespaces of external instances.
#[derive(Debug, Clone, Default)]
pub struct Externals {
    by_instance: BTreeMap<InstanceId, Place>,
}

impl Externals {
    /// Where an instance is, if it is external.
    pub fn place(&self, id: InstanceId) -> Option<&Place> {
        self.by_instance.get(&id)
    }

    /// Notes an external instance.
    pub fn insert(&mut self, id: InstanceId, place: Place) {
        self.by_instance.insert(id, place);
    }

    /// Forgets an instance that is gone; says whether it was external.
    pub fn remove(&mut self, id: InstanceId) -> bool {
        self.by_instance.remove(&id).is_some()
    }
}

/// Where an interface of an external instance goes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Into the network namespace with this path.
    Netns(String),
    /// To a virtual machine or driver of the user's own, which connects to the vfio-user socket with this path.
    Device(String),
}

impl Place {
    /// As it is kept: a namespace's path is absolute, so the prefix cannot be mistaken.
    pub fn text(&self) -> String {
        match self {
            Self::Netns(path) => path.clone(),
            Self::Device(path) => format!("{DEVICE_PREFIX}{path}"),
        }
    }

    /// Reads what [`Self::text`] wrote.
    pub fn parse(text: &str) -> Self {
        text.strip_prefix(DEVICE_PREFIX).map_or_else(
            || Self::Netns(text.to_owned()),
            |path| Self::Device(path.to_owned()),
        )
    }
}

const DEVICE_PREFIX: &str = "vfio-user:";

/// A wish to put an interface somewhere of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// The interface.
    pub interface: NetworkInterfaceId,
    /// Where it goes.
    pub place: Place,
}

/// Decides what attaching changes: a new instance record of which the interface is the primary one.
///
/// # Errors
///
/// When there is no such interface, or it is attached already.
pub fn decide(
    model: &Model,
    attach: &Attach,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Result<(InstanceId, Vec<Event>), Ec2Error> {
    let Some((scope, interface)) = model.interface(attach.interface) else {
        return Err(Ec2Error::new(
            ErrorCode::InvalidNetworkInterfaceIdNotFound,
            format!("The networkInterface ID '{}' does not exist", attach.interface),
        ));
    };
    if let Some(attachment) = &interface.attachment {
        return Err(Ec2Error::new(
            ErrorCode::InvalidNetworkInterfaceInUse,
            format!(
                "Interface {} is at instance {}",
                interface.id, attachment.instance_id
            ),
        ));
    }
    let instance = record(scope, interface, now, rng);
    let id = instance.id;
    let mut interface = interface.clone();
    interface.attachment = Some(Attachment {
        id: AttachmentId::random(rng),
        instance_id: id,
        device_index: 0,
        network_card_index: 0,
        status: AttachmentStatus::Attaching,
        attach_time: now,
        delete_on_termination: false,
        ena_queue_count: None,
    });
    let events = vec![
        Event::Put(scope.clone(), Resource::Instance(Box::new(instance))),
        Event::Put(scope.clone(), Resource::NetworkInterface(Box::new(interface))),
    ];
    Ok((id, events))
}

fn record(scope: &Scope, interface: &NetworkInterface, now: Timestamp, rng: &mut impl Rng) -> Instance {
    let id = InstanceId::random(rng);
    let name = interface.primary_address().map_or_else(
        || zone::resource_name(&scope.region, id),
        |address| zone::private_name(&scope.region, address),
    );
    Instance {
        id,
        reservation_id: ReservationId::random(rng),
        ami_launch_index: 0,
        image_id: IMAGE_ID.into(),
        vm: None,
        root_device_name: ROOT_DEVICE.into(),
        ena_support: true,
        sriov_net_support: false,
        bandwidth_weighting: BandwidthWeighting::Default,
        instance_type: INSTANCE_TYPE.into(),
        key_name: None,
        launch_time: now,
        state: InstanceState::Pending,
        reboots: 0,
        starts: 0,
        state_reason: None,
        transition_reason: String::new(),
        terminated: None,
        vpc_id: interface.vpc_id,
        subnet_id: interface.subnet_id,
        availability_zone: interface.availability_zone.clone(),
        private_dns_name: name,
        private_dns: PrivateDnsOptions {
            hostname_type: HostnameType::IpName,
            resource_name_a_record: false,
            resource_name_aaaa_record: false,
        },
        metadata: MetadataOptions::default(),
        user_data: None,
        disable_api_termination: false,
        disable_api_stop: false,
        shutdown_behavior: ShutdownBehavior::Terminate,
        idempotency: None,
        tags: Tags::new(),
    }
}

/// ImageId that the API shows for external instances, which have no image.
const IMAGE_ID: &str = "ami-00000000";

/// RootDeviceName that the API shows for external instances, whose disks are their user's own.
const ROOT_DEVICE: &str = "/dev/xvda";

/// InstanceType that the API shows for external instances.
pub const INSTANCE_TYPE: &str = "trinic.external";
