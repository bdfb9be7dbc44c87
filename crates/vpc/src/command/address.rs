//! Request members of the actions on Elastic IP addresses.

use serde::{Deserialize, Serialize};

use crate::shape::{Filter, TagSpecification};

/// Request members of `AllocateAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocateAddress {
    /// `Domain`.
    pub domain: Option<String>,
    /// `Address`.
    pub address: Option<String>,
    /// `PublicIpv4Pool`.
    pub public_ipv4_pool: Option<String>,
    /// `NetworkBorderGroup`.
    pub network_border_group: Option<String>,
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `ReleaseAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReleaseAddress {
    /// `AllocationId`.
    pub allocation_id: Option<String>,
    /// `PublicIp`.
    pub public_ip: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `AssociateAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssociateAddress {
    /// `AllocationId`.
    pub allocation_id: Option<String>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `PublicIp`.
    pub public_ip: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
    /// `AllowReassociation`.
    pub allow_reassociation: Option<bool>,
}

/// Request members of `DisassociateAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DisassociateAddress {
    /// `AssociationId`.
    pub association_id: Option<String>,
    /// `PublicIp`.
    pub public_ip: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DescribeAddresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeAddresses {
    /// `PublicIps`.
    pub public_ips: Vec<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Filters`.
    pub filters: Vec<Filter>,
    /// `AllocationIds`.
    pub allocation_ids: Vec<String>,
}
