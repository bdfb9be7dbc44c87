//! Attributes of interfaces, one per call.

use super::Outcome;
use super::check::{bad_value, required};
use super::instance::instance_type;
use super::instance_attribute::check_stopped;
use super::queues::{check_card, queue_count};
use super::{address, group, new_interface};
use crate::command::{
    DescribeNetworkInterfaceAttribute, ModifyNetworkInterfaceAttribute, ResetNetworkInterfaceAttribute,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{AttachmentId, ResourceId};
use crate::reply::{DescribeNetworkInterfaceAttributeResult, Reply};
use crate::resource::{Attachment, Instance, NetworkInterface};
use crate::shape::{AttributeBooleanValue, AttributeValue, NetworkInterfaceAttachmentChanges};
use crate::view;

pub(super) fn modify_network_interface_attribute(
    draft: &mut Draft<'_>,
    c: &ModifyNetworkInterfaceAttribute,
) -> Outcome {
    let mut interface = draft
        .need::<NetworkInterface>("networkInterfaceId", &c.network_interface_id)?
        .clone();
    let mut changes = 0;
    if let Some(text) = c
        .description
        .as_ref()
        .map(|d| d.value.clone().unwrap_or_default())
    {
        if text.chars().count() > 255 {
            return Err(bad_value(
                "description",
                &text,
                "At most 255 characters are allowed.",
            ));
        }
        interface.description = text;
        changes += 1;
    }
    if let Some(on) = c.source_dest_check.as_ref().and_then(|v| v.value) {
        interface.source_dest_check = on;
        changes += 1;
    }
    if !c.groups.is_empty() {
        interface.groups = group::for_interface(draft, interface.vpc_id, &c.groups, &[])?;
        changes += 1;
    }
    if let Some(attachment) = &c.attachment {
        change_attachment(draft, &mut interface, attachment)?;
        changes += 1;
    }
    if let Some(on) = c.enable_primary_ipv6 {
        if !on && interface.primary_ipv6 {
            return Err(Ec2Error::combination(
                "A primary IPv6 address cannot be disabled.",
            ));
        }
        if on && interface.ipv6_addresses.is_empty() {
            return Err(Ec2Error::combination("The interface has no IPv6 address."));
        }
        interface.primary_ipv6 = on;
        changes += 1;
    }
    if let Some(tracking) = &c.connection_tracking_specification {
        interface.tracking = new_interface::tracking(Some(tracking))?;
        changes += 1;
    }
    if let Some(on) = c.associate_public_ip_address {
        set_public(draft, interface.clone(), on)?;
        changes += 1;
    } else {
        draft.put(interface);
    }
    match changes {
        1 => Ok(Reply::Done),
        0 => Err(Ec2Error::missing("attribute")),
        _ => Err(Ec2Error::combination(
            "Only one attribute can be modified per call.",
        )),
    }
}

/// Gives the primary interface of an instance a public address, or takes it away.
fn set_public(draft: &mut Draft<'_>, mut interface: NetworkInterface, on: bool) -> Result<(), Ec2Error> {
    if !interface.attachment.as_ref().is_some_and(|a| a.is_primary()) {
        return Err(Ec2Error::new(
            ErrorCode::OperationNotPermitted,
            "Only the primary network interface of an instance can have an auto-assigned public address.",
        ));
    }
    interface.associate_public_ip = on;
    if !on && let Some(first) = interface.private_addresses.first_mut() {
        first.association = first.association.filter(|a| a.elastic.is_some());
    }
    draft.put(interface.clone());
    address::assign_auto(draft, interface)
}

fn change_attachment(
    draft: &Draft<'_>,
    interface: &mut NetworkInterface,
    changes: &NetworkInterfaceAttachmentChanges,
) -> Result<(), Ec2Error> {
    let text = changes.attachment_id.as_deref().unwrap_or_default();
    let id = AttachmentId::parse(required("attachmentId", text)?)?;
    let attachment = interface.attachment.as_mut().filter(|a| a.id == id);
    let Some(attachment) = attachment else {
        return Err(AttachmentId::not_found(text));
    };
    let back = changes.default_ena_queue_count == Some(true);
    if changes.delete_on_termination.is_none() && changes.ena_queue_count.is_none() && !back {
        return Err(Ec2Error::missing("deleteOnTermination"));
    }
    if let Some(on) = changes.delete_on_termination {
        attachment.delete_on_termination = on;
    }
    if back && changes.ena_queue_count.is_some() {
        return Err(Ec2Error::combination(
            "An attachment has either the default number of ENA queues or the one that enaQueueCount says.",
        ));
    }
    if back || changes.ena_queue_count.is_some() {
        change_queues(draft, attachment, changes.ena_queue_count)?;
    }
    Ok(())
}

/// The number of queues is fixed when the device is made, so it changes while there is none.
fn change_queues(draft: &Draft<'_>, attachment: &mut Attachment, asked: Option<i32>) -> Result<(), Ec2Error> {
    let Some(instance) = draft.get::<Instance>(attachment.instance_id) else {
        return Ok(());
    };
    check_stopped(instance)?;
    let kind = instance_type(&instance.instance_type)?;
    let count = queue_count(kind, asked)?;
    let others = draft.interfaces_of(instance.id);
    let others = others.iter().filter_map(|i| i.attachment.as_ref());
    let others = others
        .filter(|a| a.network_card_index == attachment.network_card_index && a.id != attachment.id)
        .map(|a| a.ena_queue_count);
    check_card(kind, others, count)?;
    attachment.ena_queue_count = count;
    Ok(())
}

pub(super) fn describe_network_interface_attribute(
    draft: &mut Draft<'_>,
    c: &DescribeNetworkInterfaceAttribute,
) -> Outcome {
    let interface = draft.need::<NetworkInterface>("networkInterfaceId", &c.network_interface_id)?;
    let mut result = DescribeNetworkInterfaceAttributeResult {
        network_interface_id: Some(interface.id.to_string()),
        ..DescribeNetworkInterfaceAttributeResult::default()
    };
    match required("attribute", c.attribute.as_deref().unwrap_or_default())? {
        "description" => {
            result.description = Some(AttributeValue {
                value: Some(interface.description.clone()),
            });
        }
        "groupSet" => result.groups = Some(view::groups(draft, interface)),
        "sourceDestCheck" => {
            result.source_dest_check = Some(AttributeBooleanValue {
                value: Some(interface.source_dest_check),
            });
        }
        "attachment" => {
            result.attachment = interface.attachment.as_ref().map(|a| view::attachment(draft, a));
        }
        "associatePublicIpAddress" => {
            result.associate_public_ip_address = Some(interface.associate_public_ip)
        }
        other => return Err(bad_value("attribute", other, "Unknown attribute.")),
    }
    Ok(result.into())
}

pub(super) fn reset_network_interface_attribute(
    draft: &mut Draft<'_>,
    c: &ResetNetworkInterfaceAttribute,
) -> Outcome {
    let id = draft
        .need::<NetworkInterface>("networkInterfaceId", &c.network_interface_id)?
        .id;
    if c.source_dest_check.is_none() {
        return Err(Ec2Error::missing("sourceDestCheck"));
    }
    draft.change_interface(id, |interface| interface.source_dest_check = true);
    Ok(Reply::Done)
}
