//! Response members of the actions on VPCs.

use serde::{Deserialize, Serialize};

use crate::shape::{AttributeBooleanValue, Vpc, VpcCidrBlockAssociation, VpcIpv6CidrBlockAssociation};

/// Response members of `CreateVpc`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateVpcResult {
    /// `Vpc`.
    pub vpc: Option<Vpc>,
}

/// Response members of `DescribeVpcs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeVpcsResult {
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `Vpcs`.
    pub vpcs: Vec<Vpc>,
}

/// Response members of `DescribeVpcAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeVpcAttributeResult {
    /// `EnableDnsHostnames`.
    pub enable_dns_hostnames: Option<AttributeBooleanValue>,
    /// `EnableDnsSupport`.
    pub enable_dns_support: Option<AttributeBooleanValue>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
}

/// Response members of `AssociateVpcCidrBlock`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssociateVpcCidrBlockResult {
    /// `Ipv6CidrBlockAssociation`.
    pub ipv6_cidr_block_association: Option<VpcIpv6CidrBlockAssociation>,
    /// `CidrBlockAssociation`.
    pub cidr_block_association: Option<VpcCidrBlockAssociation>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
}

/// Response members of `DisassociateVpcCidrBlock`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DisassociateVpcCidrBlockResult {
    /// `Ipv6CidrBlockAssociation`.
    pub ipv6_cidr_block_association: Option<VpcIpv6CidrBlockAssociation>,
    /// `CidrBlockAssociation`.
    pub cidr_block_association: Option<VpcCidrBlockAssociation>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
}

/// Response members of `CreateDefaultVpc`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateDefaultVpcResult {
    /// `Vpc`.
    pub vpc: Option<Vpc>,
}
