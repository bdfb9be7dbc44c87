//! Request members of the actions on subnets.

use serde::{Deserialize, Serialize};

use crate::shape::{AttributeBooleanValue, Filter, TagSpecification};

/// Request members of `CreateSubnet`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateSubnet {
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `AvailabilityZone`.
    pub availability_zone: Option<String>,
    /// `AvailabilityZoneId`.
    pub availability_zone_id: Option<String>,
    /// `CidrBlock`.
    pub cidr_block: Option<String>,
    /// `Ipv6CidrBlock`.
    pub ipv6_cidr_block: Option<String>,
    /// `VpcId`; required.
    pub vpc_id: String,
    /// `Ipv6Native`.
    pub ipv6_native: Option<bool>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DeleteSubnet`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteSubnet {
    /// `SubnetId`; required.
    pub subnet_id: String,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DescribeSubnets`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeSubnets {
    /// `Filters`.
    pub filters: Vec<Filter>,
    /// `SubnetIds`.
    pub subnet_ids: Vec<String>,
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `ModifySubnetAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifySubnetAttribute {
    /// `AssignIpv6AddressOnCreation`.
    pub assign_ipv6_address_on_creation: Option<AttributeBooleanValue>,
    /// `MapPublicIpOnLaunch`.
    pub map_public_ip_on_launch: Option<AttributeBooleanValue>,
    /// `SubnetId`; required.
    pub subnet_id: String,
    /// `EnableDns64`.
    pub enable_dns64: Option<AttributeBooleanValue>,
    /// `PrivateDnsHostnameTypeOnLaunch`.
    pub private_dns_hostname_type_on_launch: Option<String>,
    /// `EnableResourceNameDnsARecordOnLaunch`.
    pub enable_resource_name_dns_a_record_on_launch: Option<AttributeBooleanValue>,
    /// `EnableResourceNameDnsAAAARecordOnLaunch`.
    #[serde(rename = "EnableResourceNameDnsAAAARecordOnLaunch")]
    pub enable_resource_name_dns_aaaa_record_on_launch: Option<AttributeBooleanValue>,
}

/// Request members of `AssociateSubnetCidrBlock`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssociateSubnetCidrBlock {
    /// `SubnetId`; required.
    pub subnet_id: String,
    /// `Ipv6CidrBlock`.
    pub ipv6_cidr_block: Option<String>,
}

/// Request members of `DisassociateSubnetCidrBlock`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DisassociateSubnetCidrBlock {
    /// `AssociationId`; required.
    pub association_id: String,
}
