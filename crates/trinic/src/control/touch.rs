//! Which instances an event changes for the card: their makeup or their metadata.

use std::collections::BTreeSet;

use trinic_vpc::Model;
use trinic_vpc::ids::{AnyId, InstanceId, NetworkInterfaceId, VpcId};
use trinic_vpc::resource::{AttachmentStatus, Event, InstanceState, NetworkInterface, Resource};

/// The instances that the event may change, asked before the event is applied.
pub fn instances(before: &Model, event: &Event) -> BTreeSet<InstanceId> {
    match event {
        Event::Put(_, resource) => put(before, resource),
        Event::Delete(key) => match key.id {
            AnyId::Instance(id) => BTreeSet::from([id]),
            AnyId::NetworkInterface(id) => holder(before, id).into_iter().collect(),
            // Nothing else can go while an instance uses it, but a key pair, whose instances keep its key
            // until they change.
            _ => BTreeSet::new(),
        },
    }
}

/// Instances that wait for the card to say that they are gone.
pub fn ending(model: &Model) -> Vec<InstanceId> {
    let is_ending = |state| matches!(state, InstanceState::ShuttingDown | InstanceState::Stopping);
    let instances = model.instances().map(|(_, instance)| instance);
    instances
        .filter(|instance| is_ending(instance.state))
        .map(|instance| instance.id)
        .collect()
}

/// Interfaces that wait for the card to say that they have left, with the instance that they leave.
pub fn detaching(model: &Model) -> Vec<(NetworkInterfaceId, InstanceId)> {
    let interfaces = model.interfaces();
    interfaces
        .filter_map(|(_, interface)| Some((interface.id, leaving(interface)?)))
        .collect()
}

/// The instance that an interface is leaving.
pub fn left_by(model: &Model, id: NetworkInterfaceId) -> Option<InstanceId> {
    leaving(model.interface(id)?.1)
}

fn leaving(interface: &NetworkInterface) -> Option<InstanceId> {
    let attachment = interface.attachment.as_ref()?;
    (attachment.status == AttachmentStatus::Detaching).then_some(attachment.instance_id)
}

fn put(before: &Model, resource: &Resource) -> BTreeSet<InstanceId> {
    match resource {
        Resource::Instance(instance) => BTreeSet::from([instance.id]),
        Resource::NetworkInterface(interface) => {
            let next = interface
                .attachment
                .as_ref()
                .map(|attachment| attachment.instance_id);
            holder(before, interface.id).into_iter().chain(next).collect()
        }
        Resource::Vpc(vpc) => match before.vpc(vpc.id) {
            Some(_) => in_vpc(before, vpc.id),
            None => BTreeSet::new(),
        },
        Resource::Subnet(subnet) => match before.subnet(subnet.id) {
            Some(_) => in_vpc(before, subnet.vpc_id),
            None => BTreeSet::new(),
        },
        // Of a group only its name is told, which never changes; rules are the tables'.
        Resource::SecurityGroup(_)
        | Resource::Home(_)
        | Resource::KeyPair(_)
        // An instance keeps what its image said when it was launched.
        | Resource::Image(_)
        | Resource::InternetGateway(_)
        | Resource::RouteTable(_)
        | Resource::Address(_) => BTreeSet::new(),
    }
}

fn holder(model: &Model, interface: NetworkInterfaceId) -> Option<InstanceId> {
    let (_, interface) = model.interface(interface)?;
    Some(interface.attachment.as_ref()?.instance_id)
}

fn in_vpc(model: &Model, vpc: VpcId) -> BTreeSet<InstanceId> {
    let interfaces = model.interfaces().map(|(_, interface)| interface);
    interfaces
        .filter(|interface| interface.vpc_id == vpc)
        .filter_map(|interface| Some(interface.attachment.as_ref()?.instance_id))
        .collect()
}
