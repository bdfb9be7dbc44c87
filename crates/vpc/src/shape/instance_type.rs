//! Shapes of instance types, in responses only.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// EC2's `InstanceTypeInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceTypeInfo {
    /// `InstanceType`.
    pub instance_type: Option<String>,
    /// `CurrentGeneration`.
    pub current_generation: Option<bool>,
    /// `SupportedVirtualizationTypes`.
    pub supported_virtualization_types: Vec<String>,
    /// `BareMetal`.
    pub bare_metal: Option<bool>,
    /// `Hypervisor`.
    pub hypervisor: Option<String>,
    /// `ProcessorInfo`.
    pub processor_info: Option<ProcessorInfo>,
    /// `VCpuInfo`.
    #[serde(rename = "VCpuInfo")]
    pub vcpu_info: Option<VCpuInfo>,
    /// `MemoryInfo`.
    pub memory_info: Option<MemoryInfo>,
    /// `NetworkInfo`.
    pub network_info: Option<NetworkInfo>,
    /// `SupportedInRegion`.
    pub supported_in_region: Option<bool>,
}

/// EC2's `ProcessorInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessorInfo {
    /// `SupportedArchitectures`.
    pub supported_architectures: Vec<String>,
}

/// EC2's `VCpuInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VCpuInfo {
    /// `DefaultVCpus`.
    #[serde(rename = "DefaultVCpus")]
    pub default_vcpus: Option<i32>,
}

/// EC2's `MemoryInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MemoryInfo {
    /// `SizeInMiB`.
    #[serde(rename = "SizeInMiB")]
    pub size_in_mib: Option<i64>,
}

/// EC2's `NetworkInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkInfo {
    /// `NetworkPerformance`.
    pub network_performance: Option<String>,
    /// `MaximumNetworkInterfaces`.
    pub maximum_network_interfaces: Option<i32>,
    /// `MaximumNetworkCards`.
    pub maximum_network_cards: Option<i32>,
    /// `DefaultNetworkCardIndex`.
    pub default_network_card_index: Option<i32>,
    /// `NetworkCards`.
    pub network_cards: Vec<NetworkCardInfo>,
    /// `Ipv4AddressesPerInterface`.
    pub ipv4_addresses_per_interface: Option<i32>,
    /// `Ipv6AddressesPerInterface`.
    pub ipv6_addresses_per_interface: Option<i32>,
    /// `Ipv6Supported`.
    pub ipv6_supported: Option<bool>,
    /// `EnaSupport`.
    pub ena_support: Option<String>,
    /// `EfaSupported`.
    pub efa_supported: Option<bool>,
    /// `EfaInfo`.
    pub efa_info: Option<EfaInfo>,
    /// `EncryptionInTransitSupported`.
    pub encryption_in_transit_supported: Option<bool>,
    /// `EnaSrdSupported`.
    pub ena_srd_supported: Option<bool>,
    /// `BandwidthWeightings`.
    pub bandwidth_weightings: Vec<String>,
    /// `FlexibleEnaQueuesSupport`.
    pub flexible_ena_queues_support: Option<String>,
    /// `ConnectionTrackingConfiguration`.
    pub connection_tracking_configuration: Option<DefaultConnectionTrackingConfiguration>,
    /// `SecondaryNetworkSupported`.
    pub secondary_network_supported: Option<bool>,
}

/// EC2's `NetworkCardInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkCardInfo {
    /// `NetworkCardIndex`.
    pub network_card_index: Option<i32>,
    /// `NetworkPerformance`.
    pub network_performance: Option<String>,
    /// `MaximumNetworkInterfaces`.
    pub maximum_network_interfaces: Option<i32>,
    /// `AdditionalFlexibleNetworkInterfaces`.
    pub additional_flexible_network_interfaces: Option<i32>,
    /// `BaselineBandwidthInGbps`.
    pub baseline_bandwidth_in_gbps: Option<Gbps>,
    /// `PeakBandwidthInGbps`.
    pub peak_bandwidth_in_gbps: Option<Gbps>,
    /// `DefaultEnaQueueCountPerInterface`.
    pub default_ena_queue_count_per_interface: Option<i32>,
    /// `MaximumEnaQueueCount`.
    pub maximum_ena_queue_count: Option<i32>,
    /// `MaximumEnaQueueCountPerInterface`.
    pub maximum_ena_queue_count_per_interface: Option<i32>,
    /// `InterfaceTypes`.
    pub interface_types: Vec<String>,
}

/// EC2's `EfaInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EfaInfo {
    /// `MaximumEfaInterfaces`.
    pub maximum_efa_interfaces: Option<i32>,
}

/// EC2's `DefaultConnectionTrackingConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DefaultConnectionTrackingConfiguration {
    /// `DefaultTcpEstablishedTimeout`.
    pub default_tcp_established_timeout: Option<i32>,
    /// `DefaultUdpTimeout`.
    pub default_udp_timeout: Option<i32>,
    /// `DefaultUdpStreamTimeout`.
    pub default_udp_stream_timeout: Option<i32>,
}

/// A bandwidth that reads as Gbit/s, kept as a whole number of Mbit/s so that replies compare exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gbps {
    /// Mbit/s.
    pub mbps: u32,
}

impl Serialize for Gbps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.mbps) / MBPS_PER_GBPS)
    }
}

impl<'de> Deserialize<'de> for Gbps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mbps = (f64::deserialize(deserializer)? * MBPS_PER_GBPS).round();
        // Through text: there is no other conversion from f64 that is checked.
        let mbps = format!("{mbps:.0}").parse();
        let mbps =
            mbps.map_err(|_| serde::de::Error::custom("a bandwidth is not negative and below 4 Pbit/s"))?;
        Ok(Self { mbps })
    }
}

const MBPS_PER_GBPS: f64 = 1_000.0;
