//! Response members of the actions on subnets.

use serde::{Deserialize, Serialize};

use crate::shape::{Subnet, SubnetIpv6CidrBlockAssociation};

/// Response members of `CreateSubnet`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateSubnetResult {
    /// `Subnet`.
    pub subnet: Option<Subnet>,
}

/// Response members of `DescribeSubnets`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeSubnetsResult {
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `Subnets`.
    pub subnets: Vec<Subnet>,
}

/// Response members of `AssociateSubnetCidrBlock`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssociateSubnetCidrBlockResult {
    /// `Ipv6CidrBlockAssociation`.
    pub ipv6_cidr_block_association: Option<SubnetIpv6CidrBlockAssociation>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
}

/// Response members of `DisassociateSubnetCidrBlock`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DisassociateSubnetCidrBlockResult {
    /// `Ipv6CidrBlockAssociation`.
    pub ipv6_cidr_block_association: Option<SubnetIpv6CidrBlockAssociation>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
}
