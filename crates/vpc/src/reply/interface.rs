//! Response members of the actions on network interfaces.

use serde::{Deserialize, Serialize};

use crate::shape::{
    AssignedPrivateIpAddress, AttributeBooleanValue, AttributeValue, GroupIdentifier,
    Ipv4PrefixSpecification, NetworkInterface, NetworkInterfaceAttachment,
};

/// Response members of `CreateNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateNetworkInterfaceResult {
    /// `NetworkInterface`.
    pub network_interface: Option<NetworkInterface>,
    /// `ClientToken`.
    pub client_token: Option<String>,
}

/// Response members of `DescribeNetworkInterfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeNetworkInterfacesResult {
    /// `NetworkInterfaces`.
    pub network_interfaces: Vec<NetworkInterface>,
    /// `NextToken`.
    pub next_token: Option<String>,
}

/// Response members of `AttachNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachNetworkInterfaceResult {
    /// `AttachmentId`.
    pub attachment_id: Option<String>,
    /// `NetworkCardIndex`.
    pub network_card_index: Option<i32>,
}

/// Response members of `DescribeNetworkInterfaceAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeNetworkInterfaceAttributeResult {
    /// `Attachment`.
    pub attachment: Option<NetworkInterfaceAttachment>,
    /// `Description`.
    pub description: Option<AttributeValue>,
    /// `Groups`; absent unless they were asked for.
    pub groups: Option<Vec<GroupIdentifier>>,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `SourceDestCheck`.
    pub source_dest_check: Option<AttributeBooleanValue>,
    /// `AssociatePublicIpAddress`.
    pub associate_public_ip_address: Option<bool>,
}

/// Response members of `AssignPrivateIpAddresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssignPrivateIpAddressesResult {
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `AssignedPrivateIpAddresses`.
    pub assigned_private_ip_addresses: Vec<AssignedPrivateIpAddress>,
    /// `AssignedIpv4Prefixes`.
    pub assigned_ipv4_prefixes: Vec<Ipv4PrefixSpecification>,
}

/// Response members of `AssignIpv6Addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssignIpv6AddressesResult {
    /// `AssignedIpv6Addresses`.
    pub assigned_ipv6_addresses: Vec<String>,
    /// `AssignedIpv6Prefixes`.
    pub assigned_ipv6_prefixes: Vec<String>,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
}

/// Response members of `UnassignIpv6Addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UnassignIpv6AddressesResult {
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `UnassignedIpv6Addresses`.
    pub unassigned_ipv6_addresses: Vec<String>,
    /// `UnassignedIpv6Prefixes`.
    pub unassigned_ipv6_prefixes: Vec<String>,
}
