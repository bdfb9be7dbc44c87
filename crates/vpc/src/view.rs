//! Interfaces and instances as responses show them, with what they draw from other resources.

use std::fmt::Write as _;

use crate::draft::Draft;
use crate::instance_type::Feature;
use crate::resource::{
    Attachment, Instance, Mac, MetadataOptions, NetworkInterface, PublicAssociation, SecurityGroup, Tags,
    Tenancy, Vpc,
};
use crate::shape::{self, GroupIdentifier, Tag};
use crate::zone;

/// A MAC as EC2 writes it.
pub(crate) fn mac(mac: Mac) -> String {
    let mut text = String::with_capacity(17);
    for (at, byte) in mac.iter().enumerate() {
        let colon = if at == 0 { "" } else { ":" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{colon}{byte:02x}");
    }
    text
}

/// An interface.
pub(crate) fn interface(draft: &Draft<'_>, interface: &NetworkInterface) -> shape::NetworkInterface {
    let region = &draft.scope.region;
    let names = has_names(draft, interface);
    let addresses = interface
        .private_addresses
        .iter()
        .enumerate()
        .map(|(at, private)| shape::NetworkInterfacePrivateIpAddress {
            association: private.association.map(|a| association(draft, interface, a)),
            primary: Some(at == 0),
            private_dns_name: names.then(|| zone::private_name(region, private.address)),
            private_ip_address: Some(private.address.to_string()),
        });
    let addresses: Vec<_> = addresses.collect();
    let first = addresses.first().cloned().unwrap_or_default();
    let public = first.association.as_ref().and_then(|a| a.public_dns_name.clone());
    let ipv6 =
        interface
            .ipv6_addresses
            .iter()
            .enumerate()
            .map(|(at, address)| shape::NetworkInterfaceIpv6Address {
                ipv6_address: Some(address.to_string()),
                is_primary_ipv6: Some(interface.primary_ipv6 && at == 0),
            });
    shape::NetworkInterface {
        association: first.association,
        attachment: interface.attachment.as_ref().map(|a| attachment(draft, a)),
        availability_zone: Some(interface.availability_zone.clone()),
        connection_tracking_configuration: tracking(interface),
        description: Some(interface.description.clone()),
        groups: groups(draft, interface),
        interface_type: Some(interface.interface_type.to_string()),
        ipv6_addresses: ipv6.collect(),
        mac_address: Some(mac(interface.mac)),
        network_interface_id: Some(interface.id.to_string()),
        owner_id: Some(draft.scope.account.to_string()),
        private_dns_name: first.private_dns_name,
        public_dns_name: public,
        private_ip_address: first.private_ip_address,
        private_ip_addresses: addresses,
        ipv4_prefixes: interface.ipv4_prefixes.iter().map(ipv4_prefix).collect(),
        ipv6_prefixes: interface.ipv6_prefixes.iter().map(ipv6_prefix).collect(),
        requester_id: interface.requester_id.clone(),
        requester_managed: Some(false),
        source_dest_check: Some(interface.source_dest_check),
        status: Some(interface.status().to_string()),
        subnet_id: Some(interface.subnet_id.to_string()),
        tag_set: tag_list(&interface.tags),
        vpc_id: Some(interface.vpc_id.to_string()),
        deny_all_igw_traffic: None,
        ipv6_native: None,
        ipv6_address: interface.ipv6_addresses.first().map(|a| a.to_string()),
        availability_zone_id: Some(zone::zone_id(region, &interface.availability_zone)),
    }
}

/// A delegated IPv4 prefix.
pub(crate) fn ipv4_prefix(prefix: &ipnet::Ipv4Net) -> shape::Ipv4PrefixSpecification {
    shape::Ipv4PrefixSpecification {
        ipv4_prefix: Some(prefix.to_string()),
    }
}

fn ipv6_prefix(prefix: &ipnet::Ipv6Net) -> shape::Ipv6PrefixSpecification {
    shape::Ipv6PrefixSpecification {
        ipv6_prefix: Some(prefix.to_string()),
    }
}

/// An attachment.
pub(crate) fn attachment(draft: &Draft<'_>, attachment: &Attachment) -> shape::NetworkInterfaceAttachment {
    shape::NetworkInterfaceAttachment {
        attach_time: Some(attachment.attach_time),
        attachment_id: Some(attachment.id.to_string()),
        delete_on_termination: Some(attachment.delete_on_termination),
        device_index: i32::try_from(attachment.device_index).ok(),
        network_card_index: i32::try_from(attachment.network_card_index).ok(),
        instance_id: Some(attachment.instance_id.to_string()),
        instance_owner_id: Some(draft.scope.account.to_string()),
        status: Some(attachment.status.to_string()),
        ena_queue_count: attachment
            .ena_queue_count
            .and_then(|count| i32::try_from(count).ok()),
    }
}

/// The groups of an interface.
pub(crate) fn groups(draft: &Draft<'_>, interface: &NetworkInterface) -> Vec<GroupIdentifier> {
    let group = |id: &crate::ids::SecurityGroupId| GroupIdentifier {
        group_id: Some(id.to_string()),
        group_name: draft.get::<SecurityGroup>(*id).map(|g| g.name.clone()),
    };
    interface.groups.iter().map(group).collect()
}

/// Tags as responses list them.
pub(crate) fn tag_list(tags: &Tags) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    tags.iter().map(tag).collect()
}

/// MetadataOptions.
pub(crate) fn metadata(options: &MetadataOptions) -> shape::InstanceMetadataOptionsResponse {
    let enabled = |on: bool| Some(if on { "enabled" } else { "disabled" }.to_owned());
    let tokens = if options.tokens_required {
        "required"
    } else {
        "optional"
    };
    shape::InstanceMetadataOptionsResponse {
        state: Some("applied".into()),
        http_tokens: Some(tokens.into()),
        http_put_response_hop_limit: Some(options.hop_limit.into()),
        http_endpoint: enabled(options.enabled),
        http_protocol_ipv6: enabled(options.ipv6),
        instance_metadata_tags: enabled(options.tags),
    }
}

/// State and its number.
pub(crate) fn state(state: crate::resource::InstanceState) -> shape::InstanceState {
    shape::InstanceState {
        code: Some(state.code()),
        name: Some(state.to_string()),
    }
}

/// An instance with its interfaces.
pub(crate) fn instance(draft: &Draft<'_>, instance: &Instance) -> shape::Instance {
    let interfaces = draft.interfaces_of(instance.id);
    let primary = interfaces.first().copied();
    let kind = crate::instance_type::InstanceType::find(&instance.instance_type);
    let shown = primary.map(|i| interface(draft, i)).unwrap_or_default();
    let gone = instance.state == crate::resource::InstanceState::Terminated;
    let tenancy = draft
        .get::<Vpc>(instance.vpc_id)
        .map_or(Tenancy::Default, |v| v.instance_tenancy);
    let index = i32::try_from(instance.ami_launch_index).ok();
    shape::Instance {
        architecture: kind.map(|k| k.architecture.as_str().to_owned()),
        client_token: instance
            .idempotency
            .as_ref()
            .and_then(|i| i.token.split_once(':'))
            .map(|(_, t)| t.to_owned()),
        ena_support: Some(instance.ena_support),
        hypervisor: Some("xen".into()),
        network_interfaces: interfaces.iter().map(|i| instance_interface(draft, i)).collect(),
        root_device_name: Some(instance.root_device_name.clone()),
        root_device_type: Some("ebs".into()),
        security_groups: primary.map(|i| groups(draft, i)).unwrap_or_default(),
        source_dest_check: primary.map(|i| i.source_dest_check),
        sriov_net_support: instance
            .sriov_net_support
            .then(|| crate::action::SRIOV_SIMPLE.to_owned()),
        state_reason: instance.state_reason.as_ref().map(|reason| shape::StateReason {
            code: Some(reason.code.clone()),
            message: Some(reason.message.clone()),
        }),
        tags: tag_list(&instance.tags),
        virtualization_type: Some("hvm".into()),
        metadata_options: Some(metadata(&instance.metadata)),
        platform_details: Some("Linux/UNIX".into()),
        private_dns_name_options: Some(shape::PrivateDnsNameOptionsResponse {
            hostname_type: Some(instance.private_dns.hostname_type.to_string()),
            enable_resource_name_dns_a_record: Some(instance.private_dns.resource_name_a_record),
            enable_resource_name_dns_aaaa_record: Some(instance.private_dns.resource_name_aaaa_record),
        }),
        network_performance_options: kind.filter(|kind| kind.has(Feature::Weighted)).map(|_| {
            shape::InstanceNetworkPerformanceOptions {
                bandwidth_weighting: Some(instance.bandwidth_weighting.to_string()),
            }
        }),
        ipv6_address: shown.ipv6_address,
        instance_id: Some(instance.id.to_string()),
        image_id: Some(instance.image_id.clone()),
        state: Some(state(instance.state)),
        private_dns_name: Some(if gone {
            String::new()
        } else {
            instance.private_dns_name.clone()
        }),
        public_dns_name: Some(shown.public_dns_name.unwrap_or_default()),
        state_transition_reason: Some(instance.transition_reason.clone()),
        key_name: instance.key_name.clone(),
        ami_launch_index: index,
        instance_type: Some(instance.instance_type.clone()),
        launch_time: Some(instance.launch_time),
        placement: Some(shape::Placement {
            availability_zone: Some(instance.availability_zone.clone()),
            availability_zone_id: Some(zone::zone_id(&draft.scope.region, &instance.availability_zone)),
            group_name: Some(String::new()),
            tenancy: Some(tenancy.to_string()),
        }),
        subnet_id: (!gone).then(|| instance.subnet_id.to_string()),
        vpc_id: (!gone).then(|| instance.vpc_id.to_string()),
        private_ip_address: shown.private_ip_address,
        public_ip_address: shown.association.and_then(|a| a.public_ip),
    }
}

/// An interface as part of its instance.
fn instance_interface(draft: &Draft<'_>, found: &NetworkInterface) -> shape::InstanceNetworkInterface {
    let shown = interface(draft, found);
    let addresses = shown
        .private_ip_addresses
        .into_iter()
        .map(|a| shape::InstancePrivateIpAddress {
            association: a.association.map(instance_association),
            primary: a.primary,
            private_dns_name: a.private_dns_name,
            private_ip_address: a.private_ip_address,
        });
    let ipv6 = shown
        .ipv6_addresses
        .into_iter()
        .map(|a| shape::InstanceIpv6Address {
            ipv6_address: a.ipv6_address,
            is_primary_ipv6: a.is_primary_ipv6,
        });
    let ipv4_prefixes = shown
        .ipv4_prefixes
        .into_iter()
        .map(|p| shape::InstanceIpv4Prefix {
            ipv4_prefix: p.ipv4_prefix,
        });
    let ipv6_prefixes = shown
        .ipv6_prefixes
        .into_iter()
        .map(|p| shape::InstanceIpv6Prefix {
            ipv6_prefix: p.ipv6_prefix,
        });
    let tracking = shown.connection_tracking_configuration;
    shape::InstanceNetworkInterface {
        association: shown.association.map(instance_association),
        attachment: shown
            .attachment
            .map(|a| shape::InstanceNetworkInterfaceAttachment {
                attach_time: a.attach_time,
                attachment_id: a.attachment_id,
                delete_on_termination: a.delete_on_termination,
                device_index: a.device_index,
                status: a.status,
                network_card_index: a.network_card_index,
                ena_queue_count: a.ena_queue_count,
            }),
        description: shown.description,
        groups: shown.groups,
        ipv6_addresses: ipv6.collect(),
        mac_address: shown.mac_address,
        network_interface_id: shown.network_interface_id,
        owner_id: shown.owner_id,
        private_dns_name: shown.private_dns_name,
        private_ip_address: shown.private_ip_address,
        private_ip_addresses: addresses.collect(),
        source_dest_check: shown.source_dest_check,
        status: shown.status,
        subnet_id: shown.subnet_id,
        vpc_id: shown.vpc_id,
        interface_type: shown.interface_type,
        ipv4_prefixes: ipv4_prefixes.collect(),
        ipv6_prefixes: ipv6_prefixes.collect(),
        connection_tracking_configuration: tracking.map(|t| shape::ConnectionTrackingSpecificationResponse {
            tcp_established_timeout: t.tcp_established_timeout,
            udp_stream_timeout: t.udp_stream_timeout,
            udp_timeout: t.udp_timeout,
        }),
    }
}

fn instance_association(
    found: shape::NetworkInterfaceAssociation,
) -> shape::InstanceNetworkInterfaceAssociation {
    shape::InstanceNetworkInterfaceAssociation {
        ip_owner_id: found.ip_owner_id,
        public_dns_name: found.public_dns_name,
        public_ip: found.public_ip,
    }
}

fn association(
    draft: &Draft<'_>,
    interface: &NetworkInterface,
    found: PublicAssociation,
) -> shape::NetworkInterfaceAssociation {
    let name = || zone::public_name(&draft.scope.region, found.public_ip);
    let owner = match found.elastic {
        Some(_) => draft.scope.account.to_string(),
        None => "amazon".to_owned(),
    };
    shape::NetworkInterfaceAssociation {
        allocation_id: found.elastic.map(|e| e.allocation_id.to_string()),
        association_id: found.elastic.map(|e| e.association_id.to_string()),
        ip_owner_id: Some(owner),
        public_dns_name: has_names(draft, interface).then(name),
        public_ip: Some(found.public_ip.to_string()),
    }
}

fn has_names(draft: &Draft<'_>, interface: &NetworkInterface) -> bool {
    draft
        .get::<Vpc>(interface.vpc_id)
        .is_some_and(|vpc| vpc.dns_hostnames)
}

fn tracking(interface: &NetworkInterface) -> Option<shape::ConnectionTrackingConfiguration> {
    let set = interface.tracking;
    if set == crate::resource::TrackingTimeouts::default() {
        return None;
    }
    let number = |value: Option<u32>| value.and_then(|v| i32::try_from(v).ok());
    Some(shape::ConnectionTrackingConfiguration {
        tcp_established_timeout: number(set.tcp_established_s),
        udp_stream_timeout: number(set.udp_stream_s),
        udp_timeout: number(set.udp_s),
    })
}
