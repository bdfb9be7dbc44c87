//! DescribeInstanceTypes.

use super::Outcome;
use super::instance::instance_type;
use crate::command::DescribeInstanceTypes;
use crate::draft::Draft;
use crate::instance_type::{EnaSupport, Feature, InstanceType, TYPES};
use crate::reply::DescribeInstanceTypesResult;
use crate::resource::{BandwidthWeighting, InterfaceType};
use crate::select::{Field, Item, Selection, flag, number, select, text};
use crate::shape::{self, Gbps};

pub(super) fn describe_instance_types(_draft: &mut Draft<'_>, c: &DescribeInstanceTypes) -> Outcome {
    let found: Vec<&InstanceType> = if c.instance_types.is_empty() {
        TYPES.iter().collect()
    } else {
        c.instance_types
            .iter()
            .map(|text| instance_type(text))
            .collect::<Result<_, _>>()?
    };
    let items = found.into_iter().map(show).collect();
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.instance_types.is_empty(),
    };
    let (instance_types, next_token) = select(items, selection)?;
    Ok(DescribeInstanceTypesResult {
        instance_types,
        next_token,
    }
    .into())
}

fn show(kind: &InstanceType) -> shape::InstanceTypeInfo {
    shape::InstanceTypeInfo {
        instance_type: Some(kind.name.into()),
        current_generation: Some(!kind.has(Feature::Previous)),
        supported_virtualization_types: vec!["hvm".into()],
        bare_metal: Some(false),
        hypervisor: Some(if kind.is_nitro() { "nitro" } else { "xen" }.into()),
        processor_info: Some(shape::ProcessorInfo {
            supported_architectures: vec![kind.architecture.as_str().into()],
        }),
        vcpu_info: Some(shape::VCpuInfo {
            default_vcpus: int(kind.vcpus),
        }),
        memory_info: Some(shape::MemoryInfo {
            size_in_mib: Some(kind.memory_mib.into()),
        }),
        network_info: Some(network(kind)),
        supported_in_region: None,
    }
}

fn network(kind: &InstanceType) -> shape::NetworkInfo {
    let weightings = [
        BandwidthWeighting::Default,
        BandwidthWeighting::Ebs,
        BandwidthWeighting::Vpc,
    ];
    let is_weighted = kind.has(Feature::Weighted);
    let tcp_established_s = if kind.has(Feature::ShortTracking) {
        TCP_ESTABLISHED_SHORT_S
    } else {
        TCP_ESTABLISHED_S
    };
    let flexible = if kind.has_flexible_queues() {
        EnaSupport::Supported
    } else {
        EnaSupport::Unsupported
    };
    shape::NetworkInfo {
        network_performance: Some(kind.performance().into()),
        maximum_network_interfaces: int(kind.interfaces()),
        maximum_network_cards: int(kind.network_cards),
        default_network_card_index: Some(0),
        network_cards: (0..kind.network_cards).map(|index| card(kind, index)).collect(),
        ipv4_addresses_per_interface: int(kind.addresses_per_interface),
        ipv6_addresses_per_interface: int(kind.ipv6_addresses_per_interface),
        ipv6_supported: Some(kind.ipv6_addresses_per_interface > 0),
        ena_support: Some(kind.ena.as_str().into()),
        efa_supported: Some(kind.efa_interfaces > 0),
        efa_info: (kind.efa_interfaces > 0).then(|| shape::EfaInfo {
            maximum_efa_interfaces: int(kind.efa_interfaces),
        }),
        encryption_in_transit_supported: Some(kind.has(Feature::Encrypted)),
        ena_srd_supported: Some(kind.has(Feature::EnaExpress)),
        bandwidth_weightings: weightings
            .iter()
            .filter(|_| is_weighted)
            .map(ToString::to_string)
            .collect(),
        flexible_ena_queues_support: Some(flexible.as_str().into()),
        connection_tracking_configuration: Some(shape::DefaultConnectionTrackingConfiguration {
            default_tcp_established_timeout: Some(tcp_established_s),
            default_udp_timeout: Some(UDP_S),
            default_udp_stream_timeout: Some(UDP_STREAM_S),
        }),
        secondary_network_supported: Some(false),
    }
}

fn card(kind: &InstanceType, index: u32) -> shape::NetworkCardInfo {
    let mut types = vec![InterfaceType::Interface.to_string()];
    if kind.efa_interfaces > 0 {
        types.extend([InterfaceType::Efa.to_string(), InterfaceType::EfaOnly.to_string()]);
    }
    let flexible = |value| kind.has_flexible_queues().then(|| int(value)).flatten();
    shape::NetworkCardInfo {
        network_card_index: int(index),
        network_performance: Some(kind.card_performance.into()),
        maximum_network_interfaces: int(kind.interfaces_per_card),
        additional_flexible_network_interfaces: flexible(0),
        baseline_bandwidth_in_gbps: Some(Gbps {
            mbps: kind.baseline_mbps,
        }),
        peak_bandwidth_in_gbps: Some(Gbps { mbps: kind.peak_mbps }),
        default_ena_queue_count_per_interface: int(kind.ena_queues),
        maximum_ena_queue_count: flexible(kind.ena_queues_per_card),
        maximum_ena_queue_count_per_interface: flexible(kind.ena_queues_max),
        interface_types: types,
    }
}

fn int(value: u32) -> Option<i32> {
    i32::try_from(value).ok()
}

macro_rules! in_network {
    ($name:literal, $values:expr) => {
        ($name, |t| {
            let values: fn(&shape::NetworkInfo) -> Vec<String> = $values;
            t.network_info.iter().flat_map(values).collect()
        })
    };
}

impl Item for shape::InstanceTypeInfo {
    const FIELDS: &'static [Field<Self>] = &[
        ("instance-type", |t| text(&t.instance_type)),
        ("current-generation", |t| flag(t.current_generation)),
        ("bare-metal", |t| flag(t.bare_metal)),
        ("hypervisor", |t| text(&t.hypervisor)),
        ("supported-virtualization-type", |t| {
            t.supported_virtualization_types.clone()
        }),
        ("processor-info.supported-architecture", |t| {
            let infos = t.processor_info.iter();
            infos.flat_map(|p| p.supported_architectures.clone()).collect()
        }),
        ("vcpu-info.default-vcpus", |t| {
            t.vcpu_info.iter().flat_map(|v| number(v.default_vcpus)).collect()
        }),
        ("memory-info.size-in-mib", |t| {
            let sizes = t.memory_info.iter().filter_map(|m| m.size_in_mib);
            sizes.map(|size| size.to_string()).collect()
        }),
        in_network!("network-info.bandwidth-weightings", |n| n
            .bandwidth_weightings
            .clone()),
        in_network!("network-info.efa-info.maximum-efa-interfaces", |n| {
            n.efa_info
                .iter()
                .flat_map(|e| number(e.maximum_efa_interfaces))
                .collect()
        }),
        in_network!("network-info.efa-supported", |n| flag(n.efa_supported)),
        in_network!("network-info.ena-support", |n| text(&n.ena_support)),
        in_network!("network-info.encryption-in-transit-supported", |n| flag(
            n.encryption_in_transit_supported
        )),
        in_network!("network-info.flexible-ena-queues-support", |n| text(
            &n.flexible_ena_queues_support
        )),
        in_network!("network-info.ipv4-addresses-per-interface", |n| number(
            n.ipv4_addresses_per_interface
        )),
        in_network!("network-info.ipv6-addresses-per-interface", |n| number(
            n.ipv6_addresses_per_interface
        )),
        in_network!("network-info.ipv6-supported", |n| flag(n.ipv6_supported)),
        in_network!("network-info.maximum-network-cards", |n| number(
            n.maximum_network_cards
        )),
        in_network!("network-info.maximum-network-interfaces", |n| number(
            n.maximum_network_interfaces
        )),
        in_network!("network-info.network-performance", |n| text(
            &n.network_performance
        )),
    ];

    fn key(&self) -> String {
        self.instance_type.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &[]
    }
}

/// Source: [AWS doc AWSEC2/latest/UserGuide/security-group-connection-tracking.html, 2026-11-23].
const TCP_ESTABLISHED_S: i32 = 432_000;
const TCP_ESTABLISHED_SHORT_S: i32 = 350;
const UDP_S: i32 = 30;
const UDP_STREAM_S: i32 = 180;
