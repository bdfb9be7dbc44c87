//! Network interfaces: making, deleting, showing, attaching and detaching.

use super::Outcome;
use super::check::{bad_value, idempotency, required, same_request, tags, within};
use super::new_interface::{self, NewInterface};
use super::queues::{check_card, queue_count};
use super::{address, group};
use crate::command::{
    AttachNetworkInterface, CreateNetworkInterface, DeleteNetworkInterface, DescribeNetworkInterfaces,
    DetachNetworkInterface,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{AttachmentId, NetworkInterfaceId, ResourceId};
use crate::instance_type::InstanceType;
use crate::quota;
use crate::region::Link;
use crate::reply::{
    AttachNetworkInterfaceResult, CreateNetworkInterfaceResult, DescribeNetworkInterfacesResult, Reply,
};
use crate::resource::{
    Attachment, AttachmentStatus, Instance, InstanceState, InterfaceType, Kind, NetworkInterface, Subnet,
};
use crate::select::{Field, Item, Selection, flag, number, select, text, time};
use crate::shape;
use crate::view;

pub(super) fn create_network_interface(draft: &mut Draft<'_>, c: &CreateNetworkInterface) -> Outcome {
    let idempotency = idempotency("CreateNetworkInterface", c.client_token.as_deref(), c)?;
    if let Some(now) = &idempotency {
        let before = draft.interfaces(&Link::Token(now.token.clone())).next();
        if let Some((before, interface)) = before.and_then(|i| Some((i.idempotency.as_ref()?, i))) {
            same_request(before, now)?;
            return Ok(created(draft, c, interface));
        }
    }
    let subnet = draft.need::<Subnet>("subnetId", &c.subnet_id)?.clone();
    let groups = group::for_interface(draft, subnet.vpc_id, &c.groups, &[])?;
    let tags = tags(&c.tag_specifications, Kind::NetworkInterface)?;
    let spec = NewInterface {
        groups,
        interface_type: new_interface::interface_type(c.interface_type.as_deref())?,
        description: c.description.as_deref(),
        private_ip_address: c.private_ip_address.as_deref(),
        private_ip_addresses: &c.private_ip_addresses,
        secondary_count: c.secondary_private_ip_address_count,
        ipv4_prefixes: c
            .ipv4_prefixes
            .iter()
            .filter_map(|p| p.ipv4_prefix.as_deref())
            .collect(),
        ipv4_prefix_count: c.ipv4_prefix_count,
        ipv6_addresses: c
            .ipv6_addresses
            .iter()
            .filter_map(|a| a.ipv6_address.as_deref())
            .collect(),
        ipv6_address_count: c.ipv6_address_count,
        ipv6_prefixes: c
            .ipv6_prefixes
            .iter()
            .filter_map(|p| p.ipv6_prefix.as_deref())
            .collect(),
        ipv6_prefix_count: c.ipv6_prefix_count,
        primary_ipv6: c.enable_primary_ipv6 == Some(true),
        tracking: new_interface::tracking(c.connection_tracking_specification.as_ref())?,
        tags,
        subnet,
    };
    let mut interface = new_interface::make(draft, spec)?;
    interface.idempotency = idempotency;
    let reply = created(draft, c, &interface);
    draft.put(interface);
    Ok(reply)
}

fn created(draft: &Draft<'_>, c: &CreateNetworkInterface, interface: &NetworkInterface) -> Reply {
    let mut shown = view::interface(draft, interface);
    if interface.attachment.is_none() {
        // EC2 answers before the interface is there.
        shown.status = Some("pending".into());
    }
    CreateNetworkInterfaceResult {
        network_interface: Some(shown),
        client_token: c.client_token.clone(),
    }
    .into()
}

pub(super) fn delete_network_interface(draft: &mut Draft<'_>, c: &DeleteNetworkInterface) -> Outcome {
    let interface = draft.need::<NetworkInterface>("networkInterfaceId", &c.network_interface_id)?;
    let id = interface.id;
    if interface.attachment.is_some() {
        return Err(Ec2Error::new(
            ErrorCode::InvalidNetworkInterfaceInUse,
            format!("Network interface '{id}' is currently in use."),
        ));
    }
    delete(draft, id);
    Ok(Reply::Done)
}

/// Deletes an interface; its Elastic IPs stay with the account.
pub(super) fn delete(draft: &mut Draft<'_>, id: NetworkInterfaceId) {
    let Some(interface) = draft.get::<NetworkInterface>(id) else {
        return;
    };
    for private in interface.private_addresses.clone() {
        address::free_elastic(draft, private.association);
    }
    draft.delete::<NetworkInterface>(id);
}

pub(super) fn describe_network_interfaces(draft: &mut Draft<'_>, c: &DescribeNetworkInterfaces) -> Outcome {
    let found: Vec<&NetworkInterface> = if c.network_interface_ids.is_empty() {
        draft.all().collect()
    } else {
        let ids = c.network_interface_ids.iter();
        ids.map(|text| draft.find(text)).collect::<Result<_, _>>()?
    };
    let items = found
        .into_iter()
        .map(|interface| view::interface(draft, interface))
        .collect();
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.network_interface_ids.is_empty(),
    };
    let (network_interfaces, next_token) = select(items, selection)?;
    Ok(DescribeNetworkInterfacesResult {
        network_interfaces,
        next_token,
    }
    .into())
}

pub(super) fn attach_network_interface(draft: &mut Draft<'_>, c: &AttachNetworkInterface) -> Outcome {
    let interface = draft
        .need::<NetworkInterface>("networkInterfaceId", &c.network_interface_id)?
        .clone();
    let instance = draft.need::<Instance>("instanceId", &c.instance_id)?.clone();
    let Some(device_index) = c.device_index else {
        return Err(Ec2Error::missing("deviceIndex"));
    };
    if !matches!(instance.state, InstanceState::Running | InstanceState::Stopped) {
        return Err(Ec2Error::new(
            ErrorCode::IncorrectState,
            format!("Instance '{}' is not 'running' or 'stopped'.", instance.id),
        ));
    }
    let card = c.network_card_index.unwrap_or(0);
    check_attach(draft, &instance, &interface, device_index, card)?;
    if interface.interface_type != InterfaceType::Interface && instance.is_live() {
        return Err(Ec2Error::new(
            ErrorCode::IncorrectState,
            format!(
                "An interface of type {} can only be attached while the instance is stopped.",
                interface.interface_type
            ),
        ));
    }
    let status = if instance.is_live() {
        AttachmentStatus::Attaching
    } else {
        AttachmentStatus::Attached
    };
    let mut attachment = new_attachment(draft, &instance, device_index, card, status)?;
    attachment.ena_queue_count = queues_at(draft, &instance, card, c.ena_queue_count)?;
    let result = AttachNetworkInterfaceResult {
        attachment_id: Some(attachment.id.to_string()),
        network_card_index: Some(card),
    };
    draft.change_interface(interface.id, |i| i.attachment = Some(attachment));
    Ok(result.into())
}

/// An attachment as it starts out; an interface of its own outlives its instance.
pub(super) fn new_attachment(
    draft: &mut Draft<'_>,
    instance: &Instance,
    device_index: i32,
    card: i32,
    status: AttachmentStatus,
) -> Result<Attachment, Ec2Error> {
    let index = |parameter, value: i32| {
        u32::try_from(value)
            .map_err(|_| bad_value(parameter, &value.to_string(), "Expecting a positive number."))
    };
    Ok(Attachment {
        id: AttachmentId::random(draft.rng),
        instance_id: instance.id,
        device_index: index("deviceIndex", device_index)?,
        network_card_index: index("networkCardIndex", card)?,
        status,
        attach_time: draft.now,
        delete_on_termination: false,
        ena_queue_count: None,
    })
}

/// The EnaQueueCount of an interface that is new at a network card of the instance.
pub(super) fn queues_at(
    draft: &Draft<'_>,
    instance: &Instance,
    card: i32,
    asked: Option<i32>,
) -> Result<Option<u32>, Ec2Error> {
    let Some(kind) = InstanceType::find(&instance.instance_type) else {
        return Ok(None);
    };
    let count = queue_count(kind, asked)?;
    let others = draft.interfaces_of(instance.id);
    let others = others.iter().filter_map(|i| i.attachment.as_ref());
    let on_card = others.filter(|a| i64::from(a.network_card_index) == i64::from(card));
    check_card(kind, on_card.map(|a| a.ena_queue_count), count)?;
    Ok(count)
}

/// Refuses an attachment that the instance's type or its other interfaces do not allow.
pub(super) fn check_attach(
    draft: &Draft<'_>,
    instance: &Instance,
    interface: &NetworkInterface,
    device_index: i32,
    card: i32,
) -> Result<(), Ec2Error> {
    let id = interface.id;
    if interface.attachment.is_some() {
        return Err(Ec2Error::new(
            ErrorCode::InvalidNetworkInterfaceInUse,
            format!("Interface: [{id}] in use."),
        ));
    }
    if interface.availability_zone != instance.availability_zone {
        return Err(Ec2Error::combination(
            "You may not attach a network interface to an instance if they are not in the same availability zone",
        ));
    }
    let Some(kind) = InstanceType::find(&instance.instance_type) else {
        return Ok(());
    };
    let card_number = u32::try_from(card).ok().filter(|card| *card < kind.network_cards);
    let Some(card_number) = card_number else {
        return Err(bad_value(
            "networkCardIndex",
            &card.to_string(),
            "The instance type has no such network card.",
        ));
    };
    let index = u32::try_from(device_index)
        .ok()
        .filter(|index| *index < MAX_DEVICE_INDEX);
    let Some(index) = index else {
        return Err(bad_value(
            "deviceIndex",
            &device_index.to_string(),
            "Expecting a small positive number.",
        ));
    };
    let others = draft.interfaces_of(instance.id);
    let others: Vec<_> = others.iter().filter_map(|i| i.attachment.as_ref()).collect();
    if others
        .iter()
        .any(|a| (a.network_card_index, a.device_index) == (card_number, index))
    {
        return Err(Ec2Error::invalid_value(format!(
            "Instance '{}' already has an interface attached at device index '{index}'.",
            instance.id
        )));
    }
    let on_card = others
        .iter()
        .filter(|a| a.network_card_index == card_number)
        .count();
    if on_card >= usize::try_from(kind.interfaces_per_card).unwrap_or(usize::MAX) {
        return Err(Ec2Error::new(
            ErrorCode::AttachmentLimitExceeded,
            format!(
                "Interface count {} exceeds the limit for {}",
                others.len() + 1,
                kind.name
            ),
        ));
    }
    check_efa(draft, instance, kind, interface, (card_number, index))?;
    new_interface::check_address_count(interface, Some(kind))
}

/// Refuses an EFA where the type or its place does not allow one.
fn check_efa(
    draft: &Draft<'_>,
    instance: &Instance,
    kind: &InstanceType,
    interface: &NetworkInterface,
    place: (u32, u32),
) -> Result<(), Ec2Error> {
    if interface.interface_type == InterfaceType::Interface {
        return Ok(());
    }
    if kind.efa_interfaces == 0 {
        return Err(Ec2Error::new(
            ErrorCode::UnsupportedOperation,
            format!("The instance type {} does not support EFA interfaces.", kind.name),
        ));
    }
    let efa = draft.interfaces_of(instance.id);
    let efa = efa
        .iter()
        .filter(|i| i.interface_type != InterfaceType::Interface);
    if efa.count() >= usize::try_from(kind.efa_interfaces).unwrap_or(usize::MAX) {
        return Err(Ec2Error::new(
            ErrorCode::AttachmentLimitExceeded,
            format!(
                "The instance type {} has at most {} EFA interfaces.",
                kind.name, kind.efa_interfaces
            ),
        ));
    }
    if interface.interface_type == InterfaceType::EfaOnly && place == (0, 0) {
        return Err(Ec2Error::combination(
            "The primary network interface cannot be of type efa-only.",
        ));
    }
    Ok(())
}

pub(super) fn detach_network_interface(draft: &mut Draft<'_>, c: &DetachNetworkInterface) -> Outcome {
    let id = AttachmentId::parse(required("attachmentId", &c.attachment_id)?)?;
    let found = draft.interfaces(&Link::Attachment(id)).next();
    let Some((interface, attachment)) = found.and_then(|i| Some((i, i.attachment.as_ref()?))) else {
        return Err(AttachmentId::not_found(&c.attachment_id));
    };
    let interface_id = interface.id;
    if attachment.is_primary() {
        return Err(Ec2Error::new(
            ErrorCode::OperationNotPermitted,
            "The network interface at device index 0 and networkCard index 0 cannot be detached.",
        ));
    }
    let force = c.force == Some(true);
    let live = draft
        .get::<Instance>(attachment.instance_id)
        .is_some_and(Instance::is_live);
    if attachment.status == AttachmentStatus::Detaching && !force {
        return Err(Ec2Error::new(
            ErrorCode::IncorrectState,
            format!("The attachment '{id}' is already detaching."),
        ));
    }
    if interface.interface_type != InterfaceType::Interface && live && !force {
        return Err(Ec2Error::new(
            ErrorCode::IncorrectState,
            format!(
                "An interface of type {} can only be detached while the instance is stopped.",
                interface.interface_type
            ),
        ));
    }
    draft.change_interface(interface_id, |interface| match &mut interface.attachment {
        // Only the card knows when a running instance has let go of it.
        Some(attachment) if live && !force => attachment.status = AttachmentStatus::Detaching,
        attachment => *attachment = None,
    });
    Ok(Reply::Done)
}

/// Refuses more interfaces than an account may have in a region.
pub(super) fn check_quota(draft: &Draft<'_>, more: usize) -> Result<(), Ec2Error> {
    let have = draft.all::<NetworkInterface>().count();
    let code = ErrorCode::NetworkInterfaceLimitExceeded;
    within(
        have,
        more,
        quota::INTERFACES_PER_REGION,
        code,
        "network interfaces",
    )
}

macro_rules! in_attachment {
    ($values:expr) => {
        |i| {
            let values: fn(&shape::NetworkInterfaceAttachment) -> Vec<String> = $values;
            i.attachment.iter().flat_map(values).collect()
        }
    };
}

macro_rules! in_association {
    ($values:expr) => {
        |i| {
            let values: fn(&shape::NetworkInterfaceAssociation) -> Vec<String> = $values;
            i.association.iter().flat_map(values).collect()
        }
    };
}

macro_rules! in_addresses {
    ($values:expr) => {
        |i| {
            let values: fn(&shape::NetworkInterfacePrivateIpAddress) -> Vec<String> = $values;
            i.private_ip_addresses.iter().flat_map(values).collect()
        }
    };
}

impl Item for shape::NetworkInterface {
    const FIELDS: &'static [Field<Self>] = &[
        (
            "addresses.association.owner-id",
            in_addresses!(|a| { a.association.iter().flat_map(|p| text(&p.ip_owner_id)).collect() }),
        ),
        (
            "addresses.association.public-ip",
            in_addresses!(|a| { a.association.iter().flat_map(|p| text(&p.public_ip)).collect() }),
        ),
        ("addresses.primary", in_addresses!(|a| flag(a.primary))),
        (
            "addresses.private-ip-address",
            in_addresses!(|a| text(&a.private_ip_address)),
        ),
        (
            "association.allocation-id",
            in_association!(|a| text(&a.allocation_id)),
        ),
        (
            "association.association-id",
            in_association!(|a| text(&a.association_id)),
        ),
        (
            "association.ip-owner-id",
            in_association!(|a| text(&a.ip_owner_id)),
        ),
        (
            "association.public-dns-name",
            in_association!(|a| text(&a.public_dns_name)),
        ),
        ("association.public-ip", in_association!(|a| text(&a.public_ip))),
        ("attachment.attach-time", in_attachment!(|a| time(a.attach_time))),
        (
            "attachment.attachment-id",
            in_attachment!(|a| text(&a.attachment_id)),
        ),
        (
            "attachment.delete-on-termination",
            in_attachment!(|a| flag(a.delete_on_termination)),
        ),
        (
            "attachment.device-index",
            in_attachment!(|a| number(a.device_index)),
        ),
        ("attachment.instance-id", in_attachment!(|a| text(&a.instance_id))),
        (
            "attachment.instance-owner-id",
            in_attachment!(|a| text(&a.instance_owner_id)),
        ),
        ("attachment.status", in_attachment!(|a| text(&a.status))),
        ("availability-zone", |i| text(&i.availability_zone)),
        ("availability-zone-id", |i| text(&i.availability_zone_id)),
        ("description", |i| text(&i.description)),
        ("group-id", |i| {
            i.groups.iter().flat_map(|g| text(&g.group_id)).collect()
        }),
        ("group-name", |i| {
            i.groups.iter().flat_map(|g| text(&g.group_name)).collect()
        }),
        ("interface-type", |i| text(&i.interface_type)),
        ("ipv6-addresses.ipv6-address", |i| {
            i.ipv6_addresses
                .iter()
                .flat_map(|a| text(&a.ipv6_address))
                .collect()
        }),
        ("mac-address", |i| text(&i.mac_address)),
        ("network-interface-id", |i| text(&i.network_interface_id)),
        ("owner-id", |i| text(&i.owner_id)),
        ("private-dns-name", |i| text(&i.private_dns_name)),
        ("private-ip-address", |i| text(&i.private_ip_address)),
        ("requester-id", |i| text(&i.requester_id)),
        ("requester-managed", |i| flag(i.requester_managed)),
        ("source-dest-check", |i| flag(i.source_dest_check)),
        ("status", |i| text(&i.status)),
        ("subnet-id", |i| text(&i.subnet_id)),
        ("vpc-id", |i| text(&i.vpc_id)),
    ];

    fn key(&self) -> String {
        self.network_interface_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.tag_set
    }
}

/// Bound of device indexes; EC2's largest instances have fewer interfaces per card.
const MAX_DEVICE_INDEX: u32 = 64;
