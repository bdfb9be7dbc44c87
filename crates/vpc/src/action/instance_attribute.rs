//! Attributes of instances, one per call.

use super::Outcome;
use super::check::{bad_value, required};
use super::group;
use super::image::{SRIOV_SIMPLE, sriov_net_support};
use super::instance::{instance_type, shutdown_behavior, wrong_state};
use super::queues::check_all_queues;
use crate::command::{
    DescribeInstanceAttribute, ModifyInstanceAttribute, ModifyInstanceNetworkPerformanceOptions,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::instance_type::{Feature, InstanceType};
use crate::reply::{DescribeInstanceAttributeResult, ModifyInstanceNetworkPerformanceOptionsResult, Reply};
use crate::resource::{BandwidthWeighting, Instance, InstanceState, NetworkInterface};
use crate::shape::{AttributeBooleanValue, AttributeValue};
use crate::view;

pub(super) fn describe_instance_attribute(draft: &mut Draft<'_>, c: &DescribeInstanceAttribute) -> Outcome {
    let instance = draft.need::<Instance>("instanceId", &c.instance_id)?;
    let interfaces = draft.interfaces_of(instance.id);
    let primary = interfaces.first();
    let mut result = DescribeInstanceAttributeResult {
        instance_id: Some(instance.id.to_string()),
        ..DescribeInstanceAttributeResult::default()
    };
    let flag = |value| Some(AttributeBooleanValue { value: Some(value) });
    let text = |value: String| Some(AttributeValue { value: Some(value) });
    match required("attribute", &c.attribute)? {
        "sourceDestCheck" => result.source_dest_check = primary.and_then(|i| flag(i.source_dest_check)),
        "groupSet" => result.groups = primary.map(|i| view::groups(draft, i)),
        "instanceType" => result.instance_type = text(instance.instance_type.clone()),
        "disableApiTermination" => result.disable_api_termination = flag(instance.disable_api_termination),
        "disableApiStop" => result.disable_api_stop = flag(instance.disable_api_stop),
        "instanceInitiatedShutdownBehavior" => {
            result.instance_initiated_shutdown_behavior = text(instance.shutdown_behavior.to_string());
        }
        "userData" => {
            use base64::Engine as _;
            let encode = |data: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(data);
            result.user_data = Some(AttributeValue {
                value: instance.user_data.as_ref().map(encode),
            });
        }
        "rootDeviceName" => result.root_device_name = text(instance.root_device_name.clone()),
        "enaSupport" => result.ena_support = flag(instance.ena_support),
        "sriovNetSupport" => {
            result.sriov_net_support = Some(AttributeValue {
                value: instance.sriov_net_support.then(|| SRIOV_SIMPLE.to_owned()),
            });
        }
        other => return Err(bad_value("attribute", other, "Unknown or unsupported attribute.")),
    }
    Ok(result.into())
}

pub(super) fn modify_instance_attribute(draft: &mut Draft<'_>, c: &ModifyInstanceAttribute) -> Outcome {
    let mut instance = draft.need::<Instance>("instanceId", &c.instance_id)?.clone();
    let primary = draft.interfaces_of(instance.id).first().map(|i| i.id);
    let old_form = |name: &str| {
        c.value
            .as_deref()
            .filter(|_| c.attribute.as_deref() == Some(name))
    };
    let flag = |value: &Option<AttributeBooleanValue>, name: &str| match value.as_ref().and_then(|v| v.value)
    {
        Some(value) => Ok(Some(value)),
        None => old_form(name).map(as_flag).transpose(),
    };
    let mut changes = 0;
    if let Some(on) = flag(&c.source_dest_check, "sourceDestCheck")? {
        let [_] = draft.interfaces_of(instance.id).as_slice() else {
            return Err(Ec2Error::new(
                ErrorCode::InvalidInstanceId,
                "There are multiple interfaces attached to the instance. Please specify an interface ID for the operation instead.",
            ));
        };
        if let Some(id) = primary {
            draft.change_interface(id, |i| i.source_dest_check = on);
        }
        changes += 1;
    }
    if let Some(on) = flag(&c.disable_api_termination, "disableApiTermination")? {
        instance.disable_api_termination = on;
        changes += 1;
    }
    if let Some(on) = flag(&c.disable_api_stop, "disableApiStop")? {
        instance.disable_api_stop = on;
        changes += 1;
    }
    let behavior = c
        .instance_initiated_shutdown_behavior
        .as_ref()
        .and_then(|v| v.value.as_deref());
    if let Some(text) = behavior.or_else(|| old_form("instanceInitiatedShutdownBehavior")) {
        instance.shutdown_behavior = shutdown_behavior(text)?;
        changes += 1;
    }
    let kind = c.instance_type.as_ref().and_then(|v| v.value.as_deref());
    if let Some(text) = kind.or_else(|| old_form("instanceType")) {
        check_stopped(&instance)?;
        let kind = instance_type(text)?;
        check_fits(draft, &instance, kind)?;
        instance.instance_type = kind.name.to_owned();
        changes += 1;
    }
    changes += modify_support(
        &mut instance,
        c,
        flag(&c.ena_support, "enaSupport")?,
        old_form("sriovNetSupport"),
    )?;
    if let Some(text) = c.user_data.as_ref().and_then(|v| v.value.as_deref()) {
        check_stopped(&instance)?;
        instance.user_data = super::launch::user_data(Some(text))?;
        changes += 1;
    }
    if !c.groups.is_empty() {
        let Some(found) = primary.and_then(|id| draft.get::<NetworkInterface>(id)) else {
            return Err(wrong_state(instance.id, "modified"));
        };
        let (id, vpc) = (found.id, found.vpc_id);
        let groups = group::for_interface(draft, vpc, &c.groups, &[])?;
        draft.change_interface(id, |i| i.groups = groups);
        changes += 1;
    }
    if changes != 1 {
        return Err(Ec2Error::combination(
            "Exactly one attribute can be modified per call.",
        ));
    }
    draft.put(instance);
    Ok(Reply::Done)
}

/// A flag in the old form of the request.
fn as_flag(text: &str) -> Result<bool, Ec2Error> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(bad_value("value", text, "Expecting true or false.")),
    }
}

/// The drivers that the instance says to have: changed while nothing runs that has them loaded.
fn modify_support(
    instance: &mut Instance,
    c: &ModifyInstanceAttribute,
    ena: Option<bool>,
    sriov: Option<&str>,
) -> Result<u32, Ec2Error> {
    let mut changes = 0;
    if let Some(on) = ena {
        check_stopped(instance)?;
        instance.ena_support = on;
        changes += 1;
    }
    let value = c.sriov_net_support.as_ref().and_then(|v| v.value.as_deref());
    if let Some(text) = value.or(sriov) {
        check_stopped(instance)?;
        instance.sriov_net_support = sriov_net_support(Some(text))?;
        changes += 1;
    }
    Ok(changes)
}

/// Refuses a type that the instance cannot have: its drivers, its settings, its interfaces.
fn check_fits(draft: &Draft<'_>, instance: &Instance, kind: &InstanceType) -> Result<(), Ec2Error> {
    check_ena(
        kind,
        instance.ena_support,
        "Ensure that your instance is enabled for ENA.",
    )?;
    check_weighting(kind, instance.bandwidth_weighting)?;
    let interfaces = draft.interfaces_of(instance.id);
    let limit = usize::try_from(kind.interfaces()).unwrap_or(usize::MAX);
    if interfaces.len() > limit {
        return Err(Ec2Error::new(
            ErrorCode::AttachmentLimitExceeded,
            format!(
                "Interface count {} exceeds the limit for {}",
                interfaces.len(),
                kind.name
            ),
        ));
    }
    for interface in &interfaces {
        super::new_interface::check_address_count(interface, Some(kind))?;
    }
    check_all_queues(kind, &interfaces)
}

/// Refuses an instance without the driver of the only card that its type has.
pub(super) fn check_ena(kind: &InstanceType, ena_support: bool, advice: &str) -> Result<(), Ec2Error> {
    if kind.is_nitro() && !ena_support {
        return Err(Ec2Error::combination(format!(
            "Enhanced networking with the Elastic Network Adapter (ENA) is required for the '{}' instance type. {advice}",
            kind.name
        )));
    }
    Ok(())
}

/// BandwidthWeighting that a request's text stands for.
pub(super) fn weighting(text: &str) -> Result<BandwidthWeighting, Ec2Error> {
    let found = BandwidthWeighting::from_text(text);
    found.ok_or_else(|| bad_value("bandwidthWeighting", text, "Expecting default, vpc-1 or ebs-1."))
}

/// Refuses a weighting that the type does not have.
pub(super) fn check_weighting(kind: &InstanceType, weighting: BandwidthWeighting) -> Result<(), Ec2Error> {
    if weighting != BandwidthWeighting::Default && !kind.has(Feature::Weighted) {
        return Err(Ec2Error::combination(format!(
            "The instance type {} does not support the bandwidth weighting {weighting}.",
            kind.name
        )));
    }
    Ok(())
}

pub(super) fn modify_instance_network_performance_options(
    draft: &mut Draft<'_>,
    c: &ModifyInstanceNetworkPerformanceOptions,
) -> Outcome {
    let mut instance = draft.need::<Instance>("instanceId", &c.instance_id)?.clone();
    let weighting = weighting(required("bandwidthWeighting", &c.bandwidth_weighting)?)?;
    check_stopped(&instance)?;
    check_weighting(instance_type(&instance.instance_type)?, weighting)?;
    instance.bandwidth_weighting = weighting;
    let result = ModifyInstanceNetworkPerformanceOptionsResult {
        instance_id: Some(instance.id.to_string()),
        bandwidth_weighting: Some(weighting.to_string()),
    };
    draft.put(instance);
    Ok(result.into())
}

pub(super) fn check_stopped(instance: &Instance) -> Result<(), Ec2Error> {
    if instance.state != InstanceState::Stopped {
        return Err(Ec2Error::new(
            ErrorCode::IncorrectInstanceState,
            format!("The instance '{}' is not in the 'stopped' state.", instance.id),
        ));
    }
    Ok(())
}
