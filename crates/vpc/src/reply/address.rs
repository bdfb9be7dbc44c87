//! Response members of the actions on Elastic IP addresses.

use serde::{Deserialize, Serialize};

use crate::shape::Address;

/// Response members of `AllocateAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocateAddressResult {
    /// `AllocationId`.
    pub allocation_id: Option<String>,
    /// `PublicIpv4Pool`.
    pub public_ipv4_pool: Option<String>,
    /// `NetworkBorderGroup`.
    pub network_border_group: Option<String>,
    /// `Domain`.
    pub domain: Option<String>,
    /// `PublicIp`.
    pub public_ip: Option<String>,
}

/// Response members of `AssociateAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssociateAddressResult {
    /// `AssociationId`.
    pub association_id: Option<String>,
}

/// Response members of `DescribeAddresses`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeAddressesResult {
    /// `Addresses`.
    pub addresses: Vec<Address>,
}
