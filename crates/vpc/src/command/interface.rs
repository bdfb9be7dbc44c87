//! Request members of the actions on network interfaces.

use serde::{Deserialize, Serialize};

use crate::shape::{
    AttributeBooleanValue, AttributeValue, ConnectionTrackingSpecificationRequest, Filter,
    InstanceIpv6Address, Ipv4PrefixSpecificationRequest, Ipv6PrefixSpecificationRequest,
    NetworkInterfaceAttachmentChanges, PrivateIpAddressSpecification, TagSpecification,
};

/// Request members of `CreateNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateNetworkInterface {
    /// `Ipv4Prefixes`.
    pub ipv4_prefixes: Vec<Ipv4PrefixSpecificationRequest>,
    /// `Ipv4PrefixCount`.
    pub ipv4_prefix_count: Option<i32>,
    /// `Ipv6Prefixes`.
    pub ipv6_prefixes: Vec<Ipv6PrefixSpecificationRequest>,
    /// `Ipv6PrefixCount`.
    pub ipv6_prefix_count: Option<i32>,
    /// `InterfaceType`.
    pub interface_type: Option<String>,
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `ClientToken`.
    pub client_token: Option<String>,
    /// `EnablePrimaryIpv6`.
    pub enable_primary_ipv6: Option<bool>,
    /// `ConnectionTrackingSpecification`.
    pub connection_tracking_specification: Option<ConnectionTrackingSpecificationRequest>,
    /// `SubnetId`; required.
    pub subnet_id: String,
    /// `Description`.
    pub description: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
    /// `Groups`.
    pub groups: Vec<String>,
    /// `PrivateIpAddresses`.
    pub private_ip_addresses: Vec<PrivateIpAddressSpecification>,
    /// `SecondaryPrivateIpAddressCount`.
    pub secondary_private_ip_address_count: Option<i32>,
    /// `Ipv6Addresses`.
    pub ipv6_addresses: Vec<InstanceIpv6Address>,
    /// `Ipv6AddressCount`.
    pub ipv6_address_count: Option<i32>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DeleteNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteNetworkInterface {
    /// `DryRun`.
    pub dry_run: bool,
    /// `NetworkInterfaceId`; required.
    pub network_interface_id: String,
}

/// Request members of `DescribeNetworkInterfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeNetworkInterfaces {
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `NetworkInterfaceIds`.
    pub network_interface_ids: Vec<String>,
    /// `Filters`.
    pub filters: Vec<Filter>,
}

/// Request members of `AttachNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachNetworkInterface {
    /// `NetworkCardIndex`.
    pub network_card_index: Option<i32>,
    /// `EnaQueueCount`.
    pub ena_queue_count: Option<i32>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `NetworkInterfaceId`; required.
    pub network_interface_id: String,
    /// `InstanceId`; required.
    pub instance_id: String,
    /// `DeviceIndex`; required.
    pub device_index: Option<i32>,
}

/// Request members of `DetachNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DetachNetworkInterface {
    /// `DryRun`.
    pub dry_run: bool,
    /// `AttachmentId`; required.
    pub attachment_id: String,
    /// `Force`.
    pub force: Option<bool>,
}

/// Request members of `ModifyNetworkInterfaceAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifyNetworkInterfaceAttribute {
    /// `EnablePrimaryIpv6`.
    pub enable_primary_ipv6: Option<bool>,
    /// `ConnectionTrackingSpecification`.
    pub connection_tracking_specification: Option<ConnectionTrackingSpecificationRequest>,
    /// `AssociatePublicIpAddress`.
    pub associate_public_ip_address: Option<bool>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `NetworkInterfaceId`; required.
    pub network_interface_id: String,
    /// `Description`.
    pub description: Option<AttributeValue>,
    /// `SourceDestCheck`.
    pub source_dest_check: Option<AttributeBooleanValue>,
    /// `Groups`.
    pub groups: Vec<String>,
    /// `Attachment`.
    pub attachment: Option<NetworkInterfaceAttachmentChanges>,
}

/// Request members of `DescribeNetworkInterfaceAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeNetworkInterfaceAttribute {
    /// `DryRun`.
    pub dry_run: bool,
    /// `NetworkInterfaceId`; required.
    pub network_interface_id: String,
    /// `Attribute`.
    pub attribute: Option<String>,
}

/// Request members of `ResetNetworkInterfaceAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResetNetworkInterfaceAttribute {
    /// `DryRun`.
    pub dry_run: bool,
    /// `NetworkInterfaceId`; required.
    pub network_interface_id: String,
    /// `SourceDestCheck`.
    pub source_dest_check: Option<String>,
}

/// Request members of `AssignPrivateIpAddresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssignPrivateIpAddresses {
    /// `Ipv4Prefixes`.
    pub ipv4_prefixes: Vec<String>,
    /// `Ipv4PrefixCount`.
    pub ipv4_prefix_count: Option<i32>,
    /// `NetworkInterfaceId`; required.
    pub network_interface_id: String,
    /// `PrivateIpAddresses`.
    pub private_ip_addresses: Vec<String>,
    /// `SecondaryPrivateIpAddressCount`.
    pub secondary_private_ip_address_count: Option<i32>,
    /// `AllowReassignment`.
    pub allow_reassignment: Option<bool>,
}

/// Request members of `UnassignPrivateIpAddresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UnassignPrivateIpAddresses {
    /// `Ipv4Prefixes`.
    pub ipv4_prefixes: Vec<String>,
    /// `NetworkInterfaceId`; required.
    pub network_interface_id: String,
    /// `PrivateIpAddresses`.
    pub private_ip_addresses: Vec<String>,
}

/// Request members of `AssignIpv6Addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssignIpv6Addresses {
    /// `Ipv6PrefixCount`.
    pub ipv6_prefix_count: Option<i32>,
    /// `Ipv6Prefixes`.
    pub ipv6_prefixes: Vec<String>,
    /// `NetworkInterfaceId`; required.
    pub network_interface_id: String,
    /// `Ipv6Addresses`.
    pub ipv6_addresses: Vec<String>,
    /// `Ipv6AddressCount`.
    pub ipv6_address_count: Option<i32>,
}

/// Request members of `UnassignIpv6Addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UnassignIpv6Addresses {
    /// `Ipv6Prefixes`.
    pub ipv6_prefixes: Vec<String>,
    /// `NetworkInterfaceId`; required.
    pub network_interface_id: String,
    /// `Ipv6Addresses`.
    pub ipv6_addresses: Vec<String>,
}
