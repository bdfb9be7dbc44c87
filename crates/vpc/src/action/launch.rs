//! RunInstances.

use base64::Engine as _;

use super::check::{default_vpc, idempotency, same_request, tags_of, within};
use super::instance::{give_public, instance_type, metadata_options, shutdown_behavior};
use super::instance_attribute::{check_ena, check_weighting, weighting};
use super::interface::{check_attach, new_attachment, queues_at};
use super::new_interface::{self, NewInterface};
use super::subnet::{hostname_type, zone_name};
use super::{Outcome, group};
use crate::command::RunInstances;
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{AnyId, ImageId, InstanceId, NetworkInterfaceId, ReservationId, ResourceId, clip};
use crate::instance_type::{DEFAULT_TYPE, InstanceType};
use crate::quota;
use crate::region::Link;
use crate::reply::{Reply, RunInstancesResult};
use crate::resource::{
    AttachmentStatus, HostnameType, Image, Instance, InstanceState, KeyPair, Kind, MetadataOptions,
    NetworkInterface, PrivateDnsOptions, ShutdownBehavior, Subnet, Tags, default_root_device,
};
use crate::shape::InstanceNetworkInterfaceSpecification;
use crate::view;
use crate::zone;

pub(super) fn run_instances(draft: &mut Draft<'_>, c: &RunInstances) -> Outcome {
    let idempotency = idempotency("RunInstances", c.client_token.as_deref(), c)?;
    if let Some(now) = &idempotency {
        let launched = launched_before(draft, &now.token);
        if let Some(before) = launched.first().and_then(|i| i.idempotency.as_ref()) {
            same_request(before, now)?;
            return Ok(reply(draft, launched));
        }
    }
    let (min, max) = counts(c)?;
    check_image(c)?;
    check_combinations(c, max)?;
    let live = draft
        .all::<Instance>()
        .filter(|i| i.state != InstanceState::Terminated)
        .count();
    let code = ErrorCode::InstanceLimitExceeded;
    within(live, min, quota::INSTANCES_PER_REGION, code, "instances")?;
    let max = max.min(quota::INSTANCES_PER_REGION - live);
    let mut template = template(draft, c)?;
    template.idempotency = idempotency;
    let interfaces = interface_plans(c);
    let mut launched = Vec::new();
    for index in 0..max {
        match launch(draft, c, &template, &interfaces, index) {
            Ok(id) => launched.push(id),
            // As many as there is room for, if that is enough for the caller.
            Err(error) if launched.len() >= min && is_capacity(&error) => break,
            Err(error) => return Err(error),
        }
    }
    let launched: Vec<_> = launched
        .into_iter()
        .filter_map(|id| draft.get::<Instance>(id))
        .collect();
    Ok(reply(draft, launched))
}

fn reply(draft: &Draft<'_>, launched: Vec<&Instance>) -> Reply {
    RunInstancesResult {
        reservation_id: launched.first().map(|i| i.reservation_id.to_string()),
        owner_id: Some(draft.scope.account.to_string()),
        instances: launched.iter().map(|i| view::instance(draft, i)).collect(),
        ..RunInstancesResult::default()
    }
    .into()
}

fn launched_before<'d>(draft: &'d Draft<'_>, token: &str) -> Vec<&'d Instance> {
    let found = draft.linked(&Link::Token(token.to_owned()));
    let mut found: Vec<&Instance> = found
        .filter_map(|id| match id {
            AnyId::Instance(id) => draft.get(id),
            _ => None,
        })
        .collect();
    found.sort_by_key(|i| i.ami_launch_index);
    found
}

fn counts(c: &RunInstances) -> Result<(usize, usize), Ec2Error> {
    let count = |parameter: &str, value: Option<i32>| {
        let value = value.ok_or_else(|| Ec2Error::missing(parameter))?;
        let good = usize::try_from(value).ok().filter(|v| *v >= 1);
        good.ok_or_else(|| {
            Ec2Error::invalid_value(format!(
                "Value ({value}) for parameter {parameter} is invalid. Expecting at least 1."
            ))
        })
    };
    let (min, max) = (count("minCount", c.min_count)?, count("maxCount", c.max_count)?);
    if min > max {
        return Err(Ec2Error::combination(format!(
            "The minimum number of instances {min} is greater than the maximum {max}."
        )));
    }
    if max > quota::INSTANCES_PER_CALL {
        return Err(Ec2Error::new(
            ErrorCode::InstanceLimitExceeded,
            format!("You have requested more instances ({max}) than one call can launch."),
        ));
    }
    Ok((min, max))
}

fn check_image(c: &RunInstances) -> Result<(), Ec2Error> {
    let image = c.image_id.as_deref().unwrap_or_default();
    if image.is_empty() {
        return Err(Ec2Error::missing("ImageId"));
    }
    let digits = image
        .strip_prefix("ami-")
        .filter(|d| !d.is_empty() && d.len() <= 17);
    if !digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_alphanumeric())) {
        return Err(Ec2Error::new(
            ErrorCode::InvalidAmiIdMalformed,
            format!("Invalid id: \"{}\" (expecting \"ami-...\")", clip(image)),
        ));
    }
    Ok(())
}

fn check_combinations(c: &RunInstances, max: usize) -> Result<(), Ec2Error> {
    let plans = &c.network_interfaces;
    let at_instance =
        c.subnet_id.is_some() || !c.security_group_ids.is_empty() || !c.security_groups.is_empty();
    if !plans.is_empty() && (at_instance || c.private_ip_address.is_some()) {
        return Err(Ec2Error::combination(
            "Network interfaces and an instance-level subnet ID, security groups or private IP address may not be specified on the same request",
        ));
    }
    let single = |plan: &InstanceNetworkInterfaceSpecification| {
        plan.network_interface_id.is_some()
            || plan.private_ip_address.is_some()
            || !plan.private_ip_addresses.is_empty()
            || !plan.ipv6_addresses.is_empty()
    };
    if max > 1 && (c.private_ip_address.is_some() || !c.ipv6_addresses.is_empty() || plans.iter().any(single))
    {
        return Err(Ec2Error::combination(
            "Addresses and existing network interfaces may not be specified when launching more than one instance.",
        ));
    }
    for plan in plans {
        check_plan(plan, plans.len())?;
    }
    if !plans.is_empty() && !plans.iter().any(is_primary) {
        return Err(Ec2Error::invalid_value(
            "When specifying network interfaces, you must include a device at index 0.",
        ));
    }
    Ok(())
}

fn is_primary(plan: &InstanceNetworkInterfaceSpecification) -> bool {
    plan.device_index == Some(0) && plan.network_card_index.unwrap_or(0) == 0
}

fn check_plan(plan: &InstanceNetworkInterfaceSpecification, plans: usize) -> Result<(), Ec2Error> {
    if plan.device_index.is_none() {
        return Err(Ec2Error::missing("deviceIndex"));
    }
    if plan.associate_public_ip_address == Some(true) {
        if plans > 1 {
            return Err(Ec2Error::combination(
                "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.",
            ));
        }
        if !is_primary(plan) || plan.network_interface_id.is_some() {
            return Err(Ec2Error::combination(
                "The associatePublicIPAddress parameter can only be specified for a new network interface at device index 0.",
            ));
        }
    }
    if plan.network_interface_id.is_some() {
        let details = plan.subnet_id.is_some()
            || !plan.groups.is_empty()
            || plan.private_ip_address.is_some()
            || !plan.private_ip_addresses.is_empty()
            || plan.description.is_some();
        if details {
            return Err(Ec2Error::combination(
                "A network interface may not specify both a network interface ID and the properties of a new interface.",
            ));
        }
    }
    Ok(())
}

/// The interfaces that a launch asks for; one of the defaults if it asks for none.
fn interface_plans(c: &RunInstances) -> Vec<InstanceNetworkInterfaceSpecification> {
    if !c.network_interfaces.is_empty() {
        let mut plans = c.network_interfaces.clone();
        plans.sort_by_key(|p| (p.network_card_index.unwrap_or(0), p.device_index));
        return plans;
    }
    vec![InstanceNetworkInterfaceSpecification {
        device_index: Some(0),
        subnet_id: c.subnet_id.clone(),
        groups: c.security_group_ids.clone(),
        private_ip_address: c.private_ip_address.clone(),
        ipv6_addresses: c.ipv6_addresses.clone(),
        ipv6_address_count: c.ipv6_address_count,
        primary_ipv6: c.enable_primary_ipv6,
        ..InstanceNetworkInterfaceSpecification::default()
    }]
}

/// What all instances of a launch have in common.
fn template(draft: &mut Draft<'_>, c: &RunInstances) -> Result<Instance, Ec2Error> {
    let subnet = primary_subnet(draft, c)?;
    if let Some(name) = c.key_name.as_deref()
        && !draft.all::<KeyPair>().any(|pair| pair.name == name)
    {
        return Err(Ec2Error::new(
            ErrorCode::InvalidKeyPairNotFound,
            format!("The key pair '{}' does not exist", clip(name)),
        ));
    }
    let behavior = c.instance_initiated_shutdown_behavior.as_deref();
    let kind = instance_type(c.instance_type.as_deref().unwrap_or(DEFAULT_TYPE))?;
    let image = image(draft, c, kind)?;
    let weighting = c.network_performance_options.as_ref();
    let weighting = weighting.and_then(|options| options.bandwidth_weighting.as_deref());
    let bandwidth_weighting = weighting.map(self::weighting).transpose()?.unwrap_or_default();
    check_weighting(kind, bandwidth_weighting)?;
    Ok(Instance {
        id: InstanceId::random(draft.rng),
        reservation_id: ReservationId::random(draft.rng),
        ami_launch_index: 0,
        image_id: c.image_id.clone().unwrap_or_default(),
        vm: image.as_ref().and_then(|image| image.vm.clone()),
        root_device_name: image
            .as_ref()
            .map_or_else(default_root_device, |image| image.root_device_name.clone()),
        ena_support: image.as_ref().is_none_or(|image| image.ena_support),
        sriov_net_support: image.as_ref().is_some_and(|image| image.sriov_net_support),
        bandwidth_weighting,
        instance_type: kind.name.to_owned(),
        key_name: c.key_name.clone(),
        launch_time: draft.now,
        state: InstanceState::Pending,
        reboots: 0,
        starts: 0,
        state_reason: None,
        transition_reason: String::new(),
        terminated: None,
        vpc_id: subnet.vpc_id,
        subnet_id: subnet.id,
        availability_zone: subnet.availability_zone.clone(),
        private_dns_name: String::new(),
        private_dns: private_dns(c, &subnet)?,
        metadata: metadata_options(metadata_of(image.as_ref()), c.metadata_options.as_ref())?,
        user_data: user_data(c.user_data.as_deref())?,
        disable_api_termination: c.disable_api_termination == Some(true),
        disable_api_stop: c.disable_api_stop == Some(true),
        shutdown_behavior: behavior.map_or(Ok(ShutdownBehavior::Stop), shutdown_behavior)?,
        idempotency: None,
        tags: launch_tags(c)?,
    })
}

/// The registered image of a launch, if its id is one's: with others an instance is a namespace of today.
fn image(draft: &Draft<'_>, c: &RunInstances, kind: &InstanceType) -> Result<Option<Image>, Ec2Error> {
    let id = c.image_id.as_deref().and_then(|text| ImageId::parse(text).ok());
    let Some(image) = id.and_then(|id| draft.get::<Image>(id)) else {
        return Ok(None);
    };
    if image.architecture != kind.architecture {
        return Err(Ec2Error::invalid_value(format!(
            "The architecture '{}' of the specified instance type does not match the architecture '{}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.",
            kind.architecture.as_str(),
            image.architecture.as_str()
        )));
    }
    let advice = "Ensure that you are using an AMI that is enabled for ENA.";
    check_ena(kind, image.ena_support, advice)?;
    Ok(Some(image.clone()))
}

/// What an image with ImdsSupport = v2.0 asks for; a launch may say otherwise.
///
/// Source: [botocore ec2 RegisterImageRequest$ImdsSupport].
fn metadata_of(image: Option<&Image>) -> MetadataOptions {
    let mut options = MetadataOptions::default();
    if image.is_some_and(|image| image.imds_v2) {
        options.tokens_required = true;
        options.hop_limit = 2;
    }
    options
}

fn launch_tags(c: &RunInstances) -> Result<Tags, Ec2Error> {
    for specification in &c.tag_specifications {
        let text = specification.resource_type.as_deref().unwrap_or_default();
        // Volumes exist for people's scripts only: there are none here to tag.
        if !["instance", "network-interface", "volume"].contains(&text) {
            return Err(Ec2Error::invalid_value(format!(
                "'{}' is not a valid taggable resource type for this operation.",
                clip(text)
            )));
        }
    }
    tags_of(&c.tag_specifications, Kind::Instance)
}

fn private_dns(c: &RunInstances, subnet: &Subnet) -> Result<PrivateDnsOptions, Ec2Error> {
    let mut options = subnet.private_dns;
    let Some(request) = &c.private_dns_name_options else {
        return Ok(options);
    };
    if let Some(text) = request.hostname_type.as_deref() {
        options.hostname_type = hostname_type(text)?;
    }
    if let Some(on) = request.enable_resource_name_dns_a_record {
        options.resource_name_a_record = on;
    }
    if let Some(on) = request.enable_resource_name_dns_aaaa_record {
        options.resource_name_aaaa_record = on;
    }
    Ok(options)
}

/// The user data of a request, decoded.
pub(super) fn user_data(text: Option<&str>) -> Result<Option<Vec<u8>>, Ec2Error> {
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    // Line breaks in the encoded text are allowed, as `base64` writes them.
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let data = base64::engine::general_purpose::STANDARD.decode(text);
    let data = data.map_err(|_| {
        Ec2Error::new(
            ErrorCode::InvalidUserDataMalformed,
            "Invalid BASE64 encoding of user data.",
        )
    })?;
    if data.len() > quota::USER_DATA_BYTES {
        return Err(Ec2Error::invalid_value(format!(
            "User data is limited to {} bytes",
            quota::USER_DATA_BYTES
        )));
    }
    Ok(Some(data))
}

/// The subnet of the primary interface: as asked, or a default one in the zone.
fn primary_subnet(draft: &Draft<'_>, c: &RunInstances) -> Result<Subnet, Ec2Error> {
    let plan = c.network_interfaces.iter().find(|p| is_primary(p));
    if let Some(text) = plan.and_then(|p| p.network_interface_id.as_deref()) {
        let interface = draft.find::<NetworkInterface>(text)?;
        let subnet = draft.get::<Subnet>(interface.subnet_id).cloned();
        return subnet.ok_or_else(|| NetworkInterfaceId::not_found(text));
    }
    let placement = c.placement.as_ref();
    let zone = placement
        .and_then(|p| p.availability_zone.as_deref())
        .filter(|z| !z.is_empty());
    let zone_id = placement
        .and_then(|p| p.availability_zone_id.as_deref())
        .filter(|z| !z.is_empty());
    let wanted = match (zone, zone_id) {
        (None, None) => None,
        _ => Some(zone_name(draft, zone, zone_id)?),
    };
    let text = plan
        .and_then(|p| p.subnet_id.as_deref())
        .or(c.subnet_id.as_deref());
    if let Some(text) = text {
        let subnet = draft.find::<Subnet>(text)?;
        if wanted.is_some_and(|zone| zone != subnet.availability_zone) {
            return Err(Ec2Error::invalid_value(
                "The availability zone and the subnet of the launch do not match.",
            ));
        }
        return Ok(subnet.clone());
    }
    let vpc = default_vpc(draft)?;
    let mut subnets: Vec<&Subnet> = super::vpc::subnets(draft, vpc)
        .filter(|s| s.default_for_az)
        .filter(|s| wanted.as_ref().is_none_or(|zone| *zone == s.availability_zone))
        .collect();
    subnets.sort_by(|a, b| a.availability_zone.cmp(&b.availability_zone));
    subnets.first().map(|s| (*s).clone()).ok_or_else(|| {
        Ec2Error::new(
            ErrorCode::MissingInput,
            format!("No subnets found for the default VPC '{vpc}'. Please specify a subnet."),
        )
    })
}

fn launch(
    draft: &mut Draft<'_>,
    c: &RunInstances,
    template: &Instance,
    plans: &[InstanceNetworkInterfaceSpecification],
    index: usize,
) -> Result<InstanceId, Ec2Error> {
    let mut instance = template.clone();
    instance.id = draft.fresh_id::<Instance>();
    instance.ami_launch_index = u32::try_from(index).unwrap_or(u32::MAX);
    let id = instance.id;
    draft.put(instance.clone());
    let mut made = Vec::new();
    if let Err(error) = equip(draft, c, &instance, plans, &mut made) {
        // What this instance has so far must not stay behind if the launch goes on without it.
        for interface in made {
            draft.delete::<NetworkInterface>(interface);
        }
        draft.delete::<Instance>(id);
        return Err(error);
    }
    let region = draft.scope.region.clone();
    let primary = draft.interfaces_of(id).first().and_then(|i| i.primary_address());
    draft.change::<Instance>(id, |instance| {
        instance.private_dns_name = match (instance.private_dns.hostname_type, primary) {
            (HostnameType::IpName, Some(address)) => zone::private_name(&region, address),
            _ => zone::resource_name(&region, id),
        };
    });
    Ok(id)
}

/// Gives the instance its interfaces and its public address.
fn equip(
    draft: &mut Draft<'_>,
    c: &RunInstances,
    instance: &Instance,
    plans: &[InstanceNetworkInterfaceSpecification],
    made: &mut Vec<NetworkInterfaceId>,
) -> Result<(), Ec2Error> {
    for plan in plans {
        add_interface(draft, c, instance, plan, made)?;
    }
    give_public(draft, instance.id)
}

fn add_interface(
    draft: &mut Draft<'_>,
    c: &RunInstances,
    instance: &Instance,
    plan: &InstanceNetworkInterfaceSpecification,
    made: &mut Vec<NetworkInterfaceId>,
) -> Result<(), Ec2Error> {
    let existing = match plan.network_interface_id.as_deref() {
        Some(text) => Some(draft.find::<NetworkInterface>(text)?.clone()),
        None => None,
    };
    let is_new = existing.is_none();
    let interface = match existing {
        Some(interface) => interface,
        None => new_at_launch(draft, c, instance, plan)?,
    };
    let (device_index, card) = (
        plan.device_index.unwrap_or(0),
        plan.network_card_index.unwrap_or(0),
    );
    check_attach(draft, instance, &interface, device_index, card)?;
    let mut attachment = new_attachment(draft, instance, device_index, card, AttachmentStatus::Attaching)?;
    attachment.delete_on_termination = plan.delete_on_termination.unwrap_or(is_new);
    attachment.ena_queue_count = queues_at(draft, instance, card, plan.ena_queue_count)?;
    if is_new {
        made.push(interface.id);
    }
    draft.put(NetworkInterface {
        attachment: Some(attachment),
        ..interface
    });
    Ok(())
}

fn new_at_launch(
    draft: &mut Draft<'_>,
    c: &RunInstances,
    instance: &Instance,
    plan: &InstanceNetworkInterfaceSpecification,
) -> Result<NetworkInterface, Ec2Error> {
    let subnet = match plan.subnet_id.as_deref() {
        Some(text) => Some(draft.find::<Subnet>(text)?),
        None => draft.get::<Subnet>(instance.subnet_id),
    };
    let subnet = subnet.cloned().ok_or_else(|| Ec2Error::missing("subnetId"))?;
    let names: &[String] = if c.network_interfaces.is_empty() {
        &c.security_groups
    } else {
        &[]
    };
    let spec = NewInterface {
        groups: group::for_interface(draft, subnet.vpc_id, &plan.groups, names)?,
        interface_type: new_interface::interface_type(plan.interface_type.as_deref())?,
        description: plan.description.as_deref(),
        private_ip_address: plan.private_ip_address.as_deref(),
        private_ip_addresses: &plan.private_ip_addresses,
        secondary_count: plan.secondary_private_ip_address_count,
        ipv4_prefixes: plan
            .ipv4_prefixes
            .iter()
            .filter_map(|p| p.ipv4_prefix.as_deref())
            .collect(),
        ipv4_prefix_count: plan.ipv4_prefix_count,
        ipv6_addresses: plan
            .ipv6_addresses
            .iter()
            .filter_map(|a| a.ipv6_address.as_deref())
            .collect(),
        ipv6_address_count: plan.ipv6_address_count,
        ipv6_prefixes: plan
            .ipv6_prefixes
            .iter()
            .filter_map(|p| p.ipv6_prefix.as_deref())
            .collect(),
        ipv6_prefix_count: plan.ipv6_prefix_count,
        primary_ipv6: plan.primary_ipv6 == Some(true),
        tracking: new_interface::tracking(plan.connection_tracking_specification.as_ref())?,
        tags: tags_of(&c.tag_specifications, Kind::NetworkInterface)?,
        subnet,
    };
    let mut interface = new_interface::make(draft, spec)?;
    if let Some(on) = plan.associate_public_ip_address {
        interface.associate_public_ip = on;
    }
    Ok(interface)
}

/// Whether an error says that there is no room for one more instance.
fn is_capacity(error: &Ec2Error) -> bool {
    matches!(
        error.code,
        ErrorCode::InsufficientFreeAddressesInSubnet
            | ErrorCode::InsufficientCidrBlocks
            | ErrorCode::InsufficientAddressCapacity
            | ErrorCode::NetworkInterfaceLimitExceeded
    )
}
