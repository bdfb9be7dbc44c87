//! Request members of the actions on route tables.

use serde::{Deserialize, Serialize};

use crate::shape::{Filter, TagSpecification};

/// Request members of `CreateRouteTable`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateRouteTable {
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `ClientToken`.
    pub client_token: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `VpcId`; required.
    pub vpc_id: String,
}

/// Request members of `DeleteRouteTable`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteRouteTable {
    /// `DryRun`.
    pub dry_run: bool,
    /// `RouteTableId`; required.
    pub route_table_id: String,
}

/// Request members of `CreateRoute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateRoute {
    /// `DryRun`.
    pub dry_run: bool,
    /// `RouteTableId`; required.
    pub route_table_id: String,
    /// `DestinationCidrBlock`.
    pub destination_cidr_block: Option<String>,
    /// `GatewayId`.
    pub gateway_id: Option<String>,
    /// `DestinationIpv6CidrBlock`.
    pub destination_ipv6_cidr_block: Option<String>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `NatGatewayId`.
    pub nat_gateway_id: Option<String>,
}

/// Request members of `ReplaceRoute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReplaceRoute {
    /// `LocalTarget`.
    pub local_target: Option<bool>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `RouteTableId`; required.
    pub route_table_id: String,
    /// `DestinationCidrBlock`.
    pub destination_cidr_block: Option<String>,
    /// `GatewayId`.
    pub gateway_id: Option<String>,
    /// `DestinationIpv6CidrBlock`.
    pub destination_ipv6_cidr_block: Option<String>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
}

/// Request members of `DeleteRoute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteRoute {
    /// `DryRun`.
    pub dry_run: bool,
    /// `RouteTableId`; required.
    pub route_table_id: String,
    /// `DestinationCidrBlock`.
    pub destination_cidr_block: Option<String>,
    /// `DestinationIpv6CidrBlock`.
    pub destination_ipv6_cidr_block: Option<String>,
}

/// Request members of `AssociateRouteTable`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssociateRouteTable {
    /// `GatewayId`.
    pub gateway_id: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
    /// `RouteTableId`; required.
    pub route_table_id: String,
}

/// Request members of `DisassociateRouteTable`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DisassociateRouteTable {
    /// `DryRun`.
    pub dry_run: bool,
    /// `AssociationId`; required.
    pub association_id: String,
}

/// Request members of `ReplaceRouteTableAssociation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReplaceRouteTableAssociation {
    /// `DryRun`.
    pub dry_run: bool,
    /// `AssociationId`; required.
    pub association_id: String,
    /// `RouteTableId`; required.
    pub route_table_id: String,
}

/// Request members of `DescribeRouteTables`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeRouteTables {
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `RouteTableIds`.
    pub route_table_ids: Vec<String>,
    /// `Filters`.
    pub filters: Vec<Filter>,
}
