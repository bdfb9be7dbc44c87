//! Request members of the actions on VPCs.

use serde::{Deserialize, Serialize};

use crate::shape::{AttributeBooleanValue, Filter, TagSpecification};

/// Request members of `CreateVpc`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateVpc {
    /// `CidrBlock`.
    pub cidr_block: Option<String>,
    /// `Ipv6CidrBlock`.
    pub ipv6_cidr_block: Option<String>,
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `InstanceTenancy`.
    pub instance_tenancy: Option<String>,
    /// `AmazonProvidedIpv6CidrBlock`.
    pub amazon_provided_ipv6_cidr_block: Option<bool>,
}

/// Request members of `DeleteVpc`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteVpc {
    /// `VpcId`; required.
    pub vpc_id: String,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DescribeVpcs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeVpcs {
    /// `Filters`.
    pub filters: Vec<Filter>,
    /// `VpcIds`.
    pub vpc_ids: Vec<String>,
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `ModifyVpcAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifyVpcAttribute {
    /// `EnableDnsHostnames`.
    pub enable_dns_hostnames: Option<AttributeBooleanValue>,
    /// `EnableDnsSupport`.
    pub enable_dns_support: Option<AttributeBooleanValue>,
    /// `VpcId`; required.
    pub vpc_id: String,
}

/// Request members of `DescribeVpcAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeVpcAttribute {
    /// `Attribute`; required.
    pub attribute: String,
    /// `VpcId`; required.
    pub vpc_id: String,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `AssociateVpcCidrBlock`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssociateVpcCidrBlock {
    /// `CidrBlock`.
    pub cidr_block: Option<String>,
    /// `Ipv6CidrBlock`.
    pub ipv6_cidr_block: Option<String>,
    /// `VpcId`; required.
    pub vpc_id: String,
    /// `AmazonProvidedIpv6CidrBlock`.
    pub amazon_provided_ipv6_cidr_block: Option<bool>,
}

/// Request members of `DisassociateVpcCidrBlock`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DisassociateVpcCidrBlock {
    /// `AssociationId`; required.
    pub association_id: String,
}

/// Request members of `CreateDefaultVpc`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateDefaultVpc {
    /// `DryRun`.
    pub dry_run: bool,
}
