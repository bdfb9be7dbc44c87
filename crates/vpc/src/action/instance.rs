//! Instances after their launch: stopping, starting, terminating, showing.

use super::Outcome;
use super::check::{bad_value, some};
use super::instance_attribute::check_ena;
use super::{address, interface};
use crate::command::{
    DescribeInstanceStatus, DescribeInstances, GetConsoleOutput, ModifyInstanceMetadataOptions,
    RebootInstances, StartInstances, StopInstances, TerminateInstances,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{InstanceId, ResourceId, clip};
use crate::instance_type::InstanceType;
use crate::reply::{
    DescribeInstanceStatusResult, DescribeInstancesResult, GetConsoleOutputResult,
    ModifyInstanceMetadataOptionsResult, Reply, StartInstancesResult, StopInstancesResult,
    TerminateInstancesResult,
};
use crate::resource::{
    Instance, InstanceState, MetadataOptions, NetworkInterface, ShutdownBehavior, StateReason,
};
use crate::select::{Field, Item, Selection, flag, number, select, text, time};
use crate::shape::{self, InstanceStateChange};
use crate::view;
use crate::zone;

pub(super) fn terminate_instances(draft: &mut Draft<'_>, c: &TerminateInstances) -> Outcome {
    let ids = named(draft, &c.instance_ids)?;
    for id in &ids {
        check_protection(draft, *id, "terminated", |instance| {
            [
                (instance.disable_api_termination, "disableApiTermination"),
                (instance.disable_api_stop, "disableApiStop"),
            ]
        })?;
    }
    let mut changes = Vec::new();
    for id in ids {
        changes.push(changed(draft, id, |draft, before| match before {
            InstanceState::Terminated | InstanceState::ShuttingDown => {}
            // A stopped instance has nothing that the card would have to take down.
            InstanceState::Stopped => {
                user_shutdown(draft, id);
                finish_termination(draft, id);
            }
            _ => {
                set_state(draft, id, InstanceState::ShuttingDown);
                user_shutdown(draft, id);
            }
        }));
    }
    Ok(TerminateInstancesResult {
        terminating_instances: changes,
    }
    .into())
}

pub(super) fn stop_instances(draft: &mut Draft<'_>, c: &StopInstances) -> Outcome {
    let ids = named(draft, &c.instance_ids)?;
    for id in &ids {
        let state = draft.get::<Instance>(*id).map(|i| i.state);
        let good = [
            InstanceState::Running,
            InstanceState::Stopping,
            InstanceState::Stopped,
        ];
        if !state.is_some_and(|s| good.contains(&s)) {
            return Err(wrong_state(*id, "stopped"));
        }
        check_protection(draft, *id, "stopped", |instance| {
            [(instance.disable_api_stop, "disableApiStop")]
        })?;
    }
    let mut changes = Vec::new();
    for id in ids {
        changes.push(changed(draft, id, |draft, before| {
            if before == InstanceState::Running {
                set_state(draft, id, InstanceState::Stopping);
                user_shutdown(draft, id);
            }
        }));
    }
    Ok(StopInstancesResult {
        stopping_instances: changes,
    }
    .into())
}

pub(super) fn start_instances(draft: &mut Draft<'_>, c: &StartInstances) -> Outcome {
    let ids = named(draft, &c.instance_ids)?;
    for id in &ids {
        let state = draft.get::<Instance>(*id).map(|i| i.state);
        let good = [
            InstanceState::Running,
            InstanceState::Pending,
            InstanceState::Stopped,
        ];
        if !state.is_some_and(|s| good.contains(&s)) {
            return Err(wrong_state(*id, "started"));
        }
        if let Some(instance) = draft.get::<Instance>(*id)
            && let Some(kind) = InstanceType::find(&instance.instance_type)
        {
            check_ena(
                kind,
                instance.ena_support,
                "Ensure that your instance is enabled for ENA.",
            )?;
        }
    }
    let mut changes = Vec::new();
    for id in ids {
        if draft
            .get::<Instance>(id)
            .is_some_and(|i| i.state == InstanceState::Stopped)
        {
            give_public(draft, id)?;
        }
        changes.push(changed(draft, id, |draft, before| {
            if before == InstanceState::Stopped {
                let now = draft.now;
                draft.change::<Instance>(id, |instance| {
                    instance.state = InstanceState::Pending;
                    instance.launch_time = now;
                    instance.starts = instance.starts.wrapping_add(1);
                    instance.state_reason = None;
                    instance.transition_reason = String::new();
                });
            }
        }));
    }
    Ok(StartInstancesResult {
        starting_instances: changes,
    }
    .into())
}

pub(super) fn reboot_instances(draft: &mut Draft<'_>, c: &RebootInstances) -> Outcome {
    let ids = named(draft, &c.instance_ids)?;
    for id in ids.iter().copied() {
        let state = draft.get::<Instance>(id).map(|i| i.state);
        if state != Some(InstanceState::Running) {
            return Err(wrong_state(id, "rebooted"));
        }
    }
    for id in ids {
        draft.change::<Instance>(id, |instance| instance.reboots = instance.reboots.wrapping_add(1));
    }
    Ok(Reply::Done)
}

/// The output is the card's; who has the card fills it in.
pub(super) fn get_console_output(draft: &mut Draft<'_>, c: &GetConsoleOutput) -> Outcome {
    let instance = draft.need::<Instance>("instanceId", &c.instance_id)?;
    let kind = InstanceType::find(&instance.instance_type);
    if c.latest == Some(true) && kind.is_some_and(|kind| !kind.is_nitro()) {
        return Err(Ec2Error::new(
            ErrorCode::UnsupportedOperation,
            "This instance type does not support retrieving the latest console logs; only types on Nitro do.",
        ));
    }
    Ok(GetConsoleOutputResult {
        instance_id: Some(instance.id.to_string()),
        timestamp: Some(draft.now),
        output: None,
    }
    .into())
}

/// Changes an instance's state.
pub(crate) fn set_state(draft: &mut Draft<'_>, id: InstanceId, state: InstanceState) {
    draft.change::<Instance>(id, |instance| instance.state = state);
}

/// Brings an instance to its end: interfaces go with it or are let go.
pub(crate) fn finish_termination(draft: &mut Draft<'_>, id: InstanceId) {
    let attached: Vec<_> = draft.interfaces_of(id).into_iter().cloned().collect();
    for found in attached {
        if found.attachment.as_ref().is_some_and(|a| a.delete_on_termination) {
            interface::delete(draft, found.id);
        } else {
            draft.change_interface(found.id, |i| {
                i.attachment = None;
                drop_auto_public(i);
            });
        }
    }
    let now = draft.now;
    draft.change::<Instance>(id, |instance| {
        instance.state = InstanceState::Terminated;
        instance.terminated = Some(now);
        // What ran there is nobody's business any more, and the memory of it is bounded.
        instance.user_data = None;
    });
}

/// Takes the auto-assigned public addresses of a stopped instance away.
pub(crate) fn release_public(draft: &mut Draft<'_>, id: InstanceId) {
    let attached: Vec<_> = draft.interfaces_of(id).iter().map(|i| i.id).collect();
    for id in attached {
        draft.change_interface(id, drop_auto_public);
    }
}

fn drop_auto_public(interface: &mut NetworkInterface) {
    for private in &mut interface.private_addresses {
        private.association = private.association.filter(|a| a.elastic.is_some());
    }
}

/// Gives the instance a public address, if its primary interface is to have one.
///
/// Only a single interface gets one, as on EC2.
pub(super) fn give_public(draft: &mut Draft<'_>, id: InstanceId) -> Result<(), Ec2Error> {
    let interfaces = draft.interfaces_of(id);
    let [only] = interfaces.as_slice() else {
        return Ok(());
    };
    let only = (*only).clone();
    address::assign_auto(draft, only)
}

/// Refuses what an attribute of the instance protects it from. Protection from stopping is from terminating too.
///
/// Source: [AWS doc AWSEC2/latest/UserGuide/ec2-stop-protection.html, 2026-11-23].
fn check_protection<const N: usize>(
    draft: &Draft<'_>,
    id: InstanceId,
    done: &str,
    protections: impl Fn(&Instance) -> [(bool, &'static str); N],
) -> Result<(), Ec2Error> {
    let protections = draft.get::<Instance>(id).map(protections);
    let on = protections.into_iter().flatten().find(|(on, _)| *on);
    on.map_or(Ok(()), |(_, attribute)| {
        Err(Ec2Error::new(
            ErrorCode::OperationNotPermitted,
            format!(
                "The instance '{id}' may not be {done}. Modify its '{attribute}' instance attribute and try again."
            ),
        ))
    })
}

fn user_shutdown(draft: &mut Draft<'_>, id: InstanceId) {
    let text = format!("User initiated ({})", draft.now.strftime("%Y-%m-%d %H:%M:%S GMT"));
    draft.change::<Instance>(id, |instance| {
        instance.transition_reason = text;
        instance.state_reason = Some(StateReason {
            code: "Client.UserInitiatedShutdown".into(),
            message: "Client.UserInitiatedShutdown: User initiated shutdown".into(),
        });
    });
}

/// The instances that a request names, each once.
fn named(draft: &Draft<'_>, texts: &[String]) -> Result<Vec<InstanceId>, Ec2Error> {
    let mut ids = Vec::new();
    let mut unknown = Vec::new();
    for text in some("instanceId", texts)? {
        let id = InstanceId::parse(text)?;
        if draft.get::<Instance>(id).is_none() {
            unknown.push(clip(text));
        } else if !ids.contains(&id) {
            ids.push(id);
        }
    }
    match unknown.as_slice() {
        [] => Ok(ids),
        [one] => Err(InstanceId::not_found(one)),
        many => Err(Ec2Error::new(
            ErrorCode::InvalidInstanceIdNotFound,
            format!("The instance IDs '{}' do not exist", many.join(", ")),
        )),
    }
}

fn changed(
    draft: &mut Draft<'_>,
    id: InstanceId,
    change: impl FnOnce(&mut Draft<'_>, InstanceState),
) -> InstanceStateChange {
    let state = |draft: &Draft<'_>| draft.get::<Instance>(id).map(|i| i.state);
    let before = state(draft);
    if let Some(before) = before {
        change(draft, before);
    }
    InstanceStateChange {
        instance_id: Some(id.to_string()),
        current_state: state(draft).map(view::state),
        previous_state: before.map(view::state),
    }
}

pub(super) fn wrong_state(id: InstanceId, done: &str) -> Ec2Error {
    Ec2Error::new(
        ErrorCode::IncorrectInstanceState,
        format!("The instance '{id}' is not in a state from which it can be {done}."),
    )
}

pub(super) fn describe_instances(draft: &mut Draft<'_>, c: &DescribeInstances) -> Outcome {
    let items = shown(draft, &c.instance_ids)?;
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.instance_ids.is_empty(),
    };
    let (items, next_token) = select(items, selection)?;
    let mut reservations: Vec<shape::Reservation> = Vec::new();
    for item in items {
        let id = Some(item.reservation);
        match reservations.iter_mut().find(|r| r.reservation_id == id) {
            Some(reservation) => reservation.instances.push(item.instance),
            None => reservations.push(shape::Reservation {
                reservation_id: id,
                owner_id: Some(draft.scope.account.to_string()),
                instances: vec![item.instance],
                ..shape::Reservation::default()
            }),
        }
    }
    for reservation in &mut reservations {
        reservation.instances.sort_by_key(|i| i.ami_launch_index);
    }
    Ok(DescribeInstancesResult {
        next_token,
        reservations,
    }
    .into())
}

fn shown(draft: &Draft<'_>, ids: &[String]) -> Result<Vec<ShownInstance>, Ec2Error> {
    let ids = if ids.is_empty() {
        draft.all::<Instance>().map(|i| i.id).collect()
    } else {
        named(draft, ids)?
    };
    let instances = ids.into_iter().filter_map(|id| draft.get::<Instance>(id));
    let show = |instance: &Instance| ShownInstance {
        reservation: instance.reservation_id.to_string(),
        instance: view::instance(draft, instance),
    };
    Ok(instances.map(show).collect())
}

/// An instance with its reservation, for filters on both.
struct ShownInstance {
    reservation: String,
    instance: shape::Instance,
}

pub(super) fn describe_instance_status(draft: &mut Draft<'_>, c: &DescribeInstanceStatus) -> Outcome {
    let all = c.include_all_instances == Some(true);
    let ids = if c.instance_ids.is_empty() {
        draft.all::<Instance>().map(|i| i.id).collect()
    } else {
        named(draft, &c.instance_ids)?
    };
    let found = ids.into_iter().filter_map(|id| draft.get::<Instance>(id));
    let running = found.filter(|i| all || i.state == InstanceState::Running);
    let items = running.map(|instance| show_status(draft, instance)).collect();
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.instance_ids.is_empty(),
    };
    let (instance_statuses, next_token) = select(items, selection)?;
    Ok(DescribeInstanceStatusResult {
        instance_statuses,
        next_token,
    }
    .into())
}

fn show_status(draft: &Draft<'_>, instance: &Instance) -> shape::InstanceStatus {
    let (status, reachable) = match instance.state {
        InstanceState::Running => ("ok", Some("passed")),
        InstanceState::Pending => ("initializing", Some("initializing")),
        _ => ("not-applicable", None),
    };
    let summary = || shape::InstanceStatusSummary {
        status: Some(status.into()),
        details: reachable
            .map(|reachable| shape::InstanceStatusDetails {
                name: Some("reachability".into()),
                status: Some(reachable.into()),
                ..shape::InstanceStatusDetails::default()
            })
            .into_iter()
            .collect(),
    };
    shape::InstanceStatus {
        availability_zone: Some(instance.availability_zone.clone()),
        availability_zone_id: Some(zone::zone_id(&draft.scope.region, &instance.availability_zone)),
        instance_id: Some(instance.id.to_string()),
        instance_state: Some(view::state(instance.state)),
        instance_status: Some(summary()),
        system_status: Some(summary()),
    }
}

/// The instance type that a request's text stands for.
pub(super) fn instance_type(text: &str) -> Result<&'static InstanceType, Ec2Error> {
    let message = || Ec2Error::invalid_value(format!("Invalid value '{}' for InstanceType.", clip(text)));
    InstanceType::find(text).ok_or_else(message)
}

/// The shutdown behaviour that a request's text stands for.
pub(super) fn shutdown_behavior(text: &str) -> Result<ShutdownBehavior, Ec2Error> {
    let found = ShutdownBehavior::from_text(text);
    found.ok_or_else(|| {
        bad_value(
            "instanceInitiatedShutdownBehavior",
            text,
            "Expecting stop or terminate.",
        )
    })
}

pub(super) fn modify_instance_metadata_options(
    draft: &mut Draft<'_>,
    c: &ModifyInstanceMetadataOptions,
) -> Outcome {
    let mut instance = draft.need::<Instance>("instanceId", &c.instance_id)?.clone();
    let request = shape::InstanceMetadataOptionsRequest {
        http_tokens: c.http_tokens.clone(),
        http_put_response_hop_limit: c.http_put_response_hop_limit,
        http_endpoint: c.http_endpoint.clone(),
        http_protocol_ipv6: c.http_protocol_ipv6.clone(),
        instance_metadata_tags: c.instance_metadata_tags.clone(),
    };
    instance.metadata = metadata_options(instance.metadata, Some(&request))?;
    let result = ModifyInstanceMetadataOptionsResult {
        instance_id: Some(instance.id.to_string()),
        instance_metadata_options: Some(shape::InstanceMetadataOptionsResponse {
            state: Some("pending".into()),
            ..view::metadata(&instance.metadata)
        }),
    };
    draft.put(instance);
    Ok(result.into())
}

/// Metadata options with what a request changes.
pub(super) fn metadata_options(
    mut options: MetadataOptions,
    request: Option<&shape::InstanceMetadataOptionsRequest>,
) -> Result<MetadataOptions, Ec2Error> {
    let Some(request) = request else {
        return Ok(options);
    };
    let on = |parameter: &str, value: &Option<String>, yes: &str, no: &str, old: bool| match value.as_deref()
    {
        None => Ok(old),
        Some(text) if text == yes => Ok(true),
        Some(text) if text == no => Ok(false),
        Some(text) => Err(bad_value(parameter, text, &format!("Expecting {yes} or {no}."))),
    };
    let tokens = options.tokens_required;
    options.tokens_required = on("httpTokens", &request.http_tokens, "required", "optional", tokens)?;
    options.enabled = on(
        "httpEndpoint",
        &request.http_endpoint,
        "enabled",
        "disabled",
        options.enabled,
    )?;
    options.ipv6 = on(
        "httpProtocolIpv6",
        &request.http_protocol_ipv6,
        "enabled",
        "disabled",
        options.ipv6,
    )?;
    let tags = &request.instance_metadata_tags;
    options.tags = on("instanceMetadataTags", tags, "enabled", "disabled", options.tags)?;
    if let Some(limit) = request.http_put_response_hop_limit {
        let good = u8::try_from(limit).ok().filter(|limit| (1..=64).contains(limit));
        options.hop_limit = good.ok_or_else(|| {
            bad_value(
                "httpPutResponseHopLimit",
                &limit.to_string(),
                "Expecting 1 to 64.",
            )
        })?;
    }
    Ok(options)
}

macro_rules! instance_field {
    ($name:literal, $values:expr) => {
        ($name, |s| {
            let values: fn(&shape::Instance) -> Vec<String> = $values;
            values(&s.instance)
        })
    };
}

macro_rules! interface_field {
    ($name:literal, $values:expr) => {
        ($name, |s| {
            let values: fn(&shape::InstanceNetworkInterface) -> Vec<String> = $values;
            s.instance.network_interfaces.iter().flat_map(values).collect()
        })
    };
}

impl Item for ShownInstance {
    const FIELDS: &'static [Field<Self>] = &[
        ("reservation-id", |s| vec![s.reservation.clone()]),
        instance_field!("architecture", |i| text(&i.architecture)),
        instance_field!("availability-zone", |i| {
            i.placement
                .iter()
                .flat_map(|p| text(&p.availability_zone))
                .collect()
        }),
        instance_field!("availability-zone-id", |i| {
            i.placement
                .iter()
                .flat_map(|p| text(&p.availability_zone_id))
                .collect()
        }),
        instance_field!("client-token", |i| text(&i.client_token)),
        instance_field!("dns-name", |i| text(&i.public_dns_name)),
        instance_field!("image-id", |i| text(&i.image_id)),
        instance_field!("instance-id", |i| text(&i.instance_id)),
        instance_field!("instance-state-code", |i| {
            i.state.iter().flat_map(|s| number(s.code)).collect()
        }),
        instance_field!("instance-state-name", |i| {
            i.state.iter().flat_map(|s| text(&s.name)).collect()
        }),
        instance_field!("instance-type", |i| text(&i.instance_type)),
        instance_field!("instance.group-id", |i| {
            i.security_groups.iter().flat_map(|g| text(&g.group_id)).collect()
        }),
        instance_field!("instance.group-name", |i| {
            i.security_groups
                .iter()
                .flat_map(|g| text(&g.group_name))
                .collect()
        }),
        instance_field!("ip-address", |i| text(&i.public_ip_address)),
        instance_field!("ipv6-address", |i| text(&i.ipv6_address)),
        instance_field!("key-name", |i| text(&i.key_name)),
        instance_field!("launch-index", |i| number(i.ami_launch_index)),
        instance_field!("launch-time", |i| time(i.launch_time)),
        instance_field!("private-dns-name", |i| text(&i.private_dns_name)),
        instance_field!("private-ip-address", |i| text(&i.private_ip_address)),
        instance_field!("source-dest-check", |i| flag(i.source_dest_check)),
        instance_field!("state-reason-code", |i| {
            i.state_reason.iter().flat_map(|r| text(&r.code)).collect()
        }),
        instance_field!("subnet-id", |i| text(&i.subnet_id)),
        instance_field!("tenancy", |i| i
            .placement
            .iter()
            .flat_map(|p| text(&p.tenancy))
            .collect()),
        instance_field!("vpc-id", |i| text(&i.vpc_id)),
        interface_field!("network-interface.addresses.association.public-ip", |n| {
            let addresses = n.private_ip_addresses.iter().flat_map(|a| &a.association);
            addresses.flat_map(|a| text(&a.public_ip)).collect()
        }),
        interface_field!("network-interface.addresses.private-ip-address", |n| {
            n.private_ip_addresses
                .iter()
                .flat_map(|a| text(&a.private_ip_address))
                .collect()
        }),
        interface_field!("network-interface.attachment.attachment-id", |n| {
            n.attachment.iter().flat_map(|a| text(&a.attachment_id)).collect()
        }),
        interface_field!("network-interface.group-id", |n| {
            n.groups.iter().flat_map(|g| text(&g.group_id)).collect()
        }),
        interface_field!("network-interface.mac-address", |n| text(&n.mac_address)),
        interface_field!("network-interface.network-interface-id", |n| text(
            &n.network_interface_id
        )),
        interface_field!("network-interface.private-dns-name", |n| text(
            &n.private_dns_name
        )),
        interface_field!("network-interface.source-dest-check", |n| flag(
            n.source_dest_check
        )),
        interface_field!("network-interface.status", |n| text(&n.status)),
        interface_field!("network-interface.subnet-id", |n| text(&n.subnet_id)),
        interface_field!("network-interface.vpc-id", |n| text(&n.vpc_id)),
    ];

    fn key(&self) -> String {
        self.instance.instance_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.instance.tags
    }
}

impl Item for shape::InstanceStatus {
    const FIELDS: &'static [Field<Self>] = &[
        ("availability-zone", |s| text(&s.availability_zone)),
        ("instance-state-code", |s| {
            s.instance_state.iter().flat_map(|s| number(s.code)).collect()
        }),
        ("instance-state-name", |s| {
            s.instance_state.iter().flat_map(|s| text(&s.name)).collect()
        }),
        ("instance-status.status", |s| {
            s.instance_status.iter().flat_map(|s| text(&s.status)).collect()
        }),
        ("system-status.status", |s| {
            s.system_status.iter().flat_map(|s| text(&s.status)).collect()
        }),
    ];

    fn key(&self) -> String {
        self.instance_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &[]
    }
}
