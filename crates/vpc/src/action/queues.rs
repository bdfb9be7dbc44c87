//! EnaQueueCount: how many ENA queues an interface gets of those that its network card has.
//!
//! Types with flexible queues let an attachment say a number, up to a limit for each interface and one for
//! all interfaces of a card; an attachment that says none has the type's number.
//!
//! Source: [AWS doc AWSEC2/latest/UserGuide/ena-queues.html, 2026-11-23]. It gives the limits, not the codes
//! of refusals [assumed A-38].

use super::check::bad_value;
use crate::error::{Ec2Error, ErrorCode};
use crate::instance_type::InstanceType;
use crate::resource::NetworkInterface;

/// The number that a request says for one interface of a type.
pub(super) fn queue_count(kind: &InstanceType, value: Option<i32>) -> Result<Option<u32>, Ec2Error> {
    let Some(value) = value else {
        return Ok(None);
    };
    let count = u32::try_from(value).ok().filter(|count| *count >= 1);
    let count = count.ok_or_else(|| {
        bad_value(
            "enaQueueCount",
            &value.to_string(),
            "Expecting a positive number.",
        )
    })?;
    check_queues(kind, count)?;
    Ok(Some(count))
}

/// Refuses a network card whose interfaces have more queues together than it has.
pub(super) fn check_card(
    kind: &InstanceType,
    others: impl Iterator<Item = Option<u32>>,
    own: Option<u32>,
) -> Result<(), Ec2Error> {
    let queues = |count: Option<u32>| u64::from(count.unwrap_or(kind.ena_queues));
    let mut asked = own.is_some();
    let mut total = queues(own);
    for other in others {
        asked |= other.is_some();
        total += queues(other);
    }
    // Without a number that somebody said, interfaces share what there is, as many as the type allows.
    if asked && kind.has_flexible_queues() && total > u64::from(kind.ena_queues_per_card) {
        return Err(Ec2Error::new(
            ErrorCode::InvalidParameterValue,
            format!(
                "{total} ENA queues exceed the {} that a network card of the instance type {} has.",
                kind.ena_queues_per_card, kind.name
            ),
        ));
    }
    Ok(())
}

/// Refuses a type whose cards do not have the queues that the interfaces say.
pub(super) fn check_all_queues(
    kind: &InstanceType,
    interfaces: &[&NetworkInterface],
) -> Result<(), Ec2Error> {
    let attachments = || interfaces.iter().filter_map(|i| i.attachment.as_ref());
    for count in attachments().filter_map(|a| a.ena_queue_count) {
        check_queues(kind, count)?;
    }
    for card in 0..kind.network_cards {
        let mut counts = attachments()
            .filter(|a| a.network_card_index == card)
            .map(|a| a.ena_queue_count);
        if let Some(first) = counts.next() {
            check_card(kind, counts, first)?;
        }
    }
    Ok(())
}

fn check_queues(kind: &InstanceType, count: u32) -> Result<(), Ec2Error> {
    if !kind.has_flexible_queues() {
        return Err(Ec2Error::new(
            ErrorCode::UnsupportedOperation,
            format!(
                "The instance type {} does not support changing the number of ENA queues.",
                kind.name
            ),
        ));
    }
    if count > kind.ena_queues_max {
        return Err(bad_value(
            "enaQueueCount",
            &count.to_string(),
            &format!(
                "An interface of the instance type {} has at most {} ENA queues.",
                kind.name, kind.ena_queues_max
            ),
        ));
    }
    Ok(())
}
