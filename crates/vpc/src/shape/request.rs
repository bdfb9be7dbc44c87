//! Shapes that occur in requests only.

use serde::{Deserialize, Serialize};

use crate::shape::{InstanceIpv6Address, Tag};

/// EC2's `ConnectionTrackingSpecificationRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectionTrackingSpecificationRequest {
    /// `TcpEstablishedTimeout`.
    pub tcp_established_timeout: Option<i32>,
    /// `UdpStreamTimeout`.
    pub udp_stream_timeout: Option<i32>,
    /// `UdpTimeout`.
    pub udp_timeout: Option<i32>,
}

/// EC2's `Filter`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Filter {
    /// `Name`.
    pub name: Option<String>,
    /// `Values`.
    pub values: Vec<String>,
}

/// EC2's `InstanceMetadataOptionsRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceMetadataOptionsRequest {
    /// `HttpTokens`.
    pub http_tokens: Option<String>,
    /// `HttpPutResponseHopLimit`.
    pub http_put_response_hop_limit: Option<i32>,
    /// `HttpEndpoint`.
    pub http_endpoint: Option<String>,
    /// `HttpProtocolIpv6`.
    pub http_protocol_ipv6: Option<String>,
    /// `InstanceMetadataTags`.
    pub instance_metadata_tags: Option<String>,
}

/// EC2's `InstanceNetworkInterfaceSpecification`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceNetworkInterfaceSpecification {
    /// `AssociatePublicIpAddress`.
    pub associate_public_ip_address: Option<bool>,
    /// `DeleteOnTermination`.
    pub delete_on_termination: Option<bool>,
    /// `Description`.
    pub description: Option<String>,
    /// `DeviceIndex`.
    pub device_index: Option<i32>,
    /// `Groups`.
    pub groups: Vec<String>,
    /// `Ipv6AddressCount`.
    pub ipv6_address_count: Option<i32>,
    /// `Ipv6Addresses`.
    pub ipv6_addresses: Vec<InstanceIpv6Address>,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
    /// `PrivateIpAddresses`.
    pub private_ip_addresses: Vec<PrivateIpAddressSpecification>,
    /// `SecondaryPrivateIpAddressCount`.
    pub secondary_private_ip_address_count: Option<i32>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
    /// `InterfaceType`.
    pub interface_type: Option<String>,
    /// `NetworkCardIndex`.
    pub network_card_index: Option<i32>,
    /// `Ipv4Prefixes`.
    pub ipv4_prefixes: Vec<Ipv4PrefixSpecificationRequest>,
    /// `Ipv4PrefixCount`.
    pub ipv4_prefix_count: Option<i32>,
    /// `Ipv6Prefixes`.
    pub ipv6_prefixes: Vec<Ipv6PrefixSpecificationRequest>,
    /// `Ipv6PrefixCount`.
    pub ipv6_prefix_count: Option<i32>,
    /// `PrimaryIpv6`.
    pub primary_ipv6: Option<bool>,
    /// `ConnectionTrackingSpecification`.
    pub connection_tracking_specification: Option<ConnectionTrackingSpecificationRequest>,
    /// `EnaQueueCount`.
    pub ena_queue_count: Option<i32>,
}

/// EC2's `InstanceNetworkPerformanceOptionsRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceNetworkPerformanceOptionsRequest {
    /// `BandwidthWeighting`.
    pub bandwidth_weighting: Option<String>,
}

/// EC2's `Ipv4PrefixSpecificationRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipv4PrefixSpecificationRequest {
    /// `Ipv4Prefix`.
    pub ipv4_prefix: Option<String>,
}

/// EC2's `Ipv6PrefixSpecificationRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipv6PrefixSpecificationRequest {
    /// `Ipv6Prefix`.
    pub ipv6_prefix: Option<String>,
}

/// EC2's `NetworkInterfaceAttachmentChanges`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkInterfaceAttachmentChanges {
    /// `DefaultEnaQueueCount`.
    pub default_ena_queue_count: Option<bool>,
    /// `EnaQueueCount`.
    pub ena_queue_count: Option<i32>,
    /// `AttachmentId`.
    pub attachment_id: Option<String>,
    /// `DeleteOnTermination`.
    pub delete_on_termination: Option<bool>,
}

/// EC2's `PrivateDnsNameOptionsRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PrivateDnsNameOptionsRequest {
    /// `HostnameType`.
    pub hostname_type: Option<String>,
    /// `EnableResourceNameDnsARecord`.
    pub enable_resource_name_dns_a_record: Option<bool>,
    /// `EnableResourceNameDnsAAAARecord`.
    #[serde(rename = "EnableResourceNameDnsAAAARecord")]
    pub enable_resource_name_dns_aaaa_record: Option<bool>,
}

/// EC2's `PrivateIpAddressSpecification`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PrivateIpAddressSpecification {
    /// `Primary`.
    pub primary: Option<bool>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
}

/// EC2's `SecureBlobAttributeValue`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecureBlobAttributeValue {
    /// `Value`.
    pub value: Option<String>,
}

/// EC2's `SecurityGroupRuleDescription`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecurityGroupRuleDescription {
    /// `SecurityGroupRuleId`.
    pub security_group_rule_id: Option<String>,
    /// `Description`.
    pub description: Option<String>,
}

/// EC2's `SecurityGroupRuleUpdate`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecurityGroupRuleUpdate {
    /// `SecurityGroupRuleId`; required.
    pub security_group_rule_id: String,
    /// `SecurityGroupRule`.
    pub security_group_rule: Option<SecurityGroupRuleRequest>,
}

/// EC2's `SecurityGroupRuleRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecurityGroupRuleRequest {
    /// `IpProtocol`.
    pub ip_protocol: Option<String>,
    /// `FromPort`.
    pub from_port: Option<i32>,
    /// `ToPort`.
    pub to_port: Option<i32>,
    /// `CidrIpv4`.
    pub cidr_ipv4: Option<String>,
    /// `CidrIpv6`.
    pub cidr_ipv6: Option<String>,
    /// `PrefixListId`.
    pub prefix_list_id: Option<String>,
    /// `ReferencedGroupId`.
    pub referenced_group_id: Option<String>,
    /// `Description`.
    pub description: Option<String>,
}

/// EC2's `TagSpecification`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TagSpecification {
    /// `ResourceType`.
    pub resource_type: Option<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
}
