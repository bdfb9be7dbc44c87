//! Request members of the actions on internet gateways.

use serde::{Deserialize, Serialize};

use crate::shape::{Filter, TagSpecification};

/// Request members of `CreateInternetGateway`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateInternetGateway {
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DeleteInternetGateway`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteInternetGateway {
    /// `DryRun`.
    pub dry_run: bool,
    /// `InternetGatewayId`; required.
    pub internet_gateway_id: String,
}

/// Request members of `AttachInternetGateway`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachInternetGateway {
    /// `DryRun`.
    pub dry_run: bool,
    /// `InternetGatewayId`; required.
    pub internet_gateway_id: String,
    /// `VpcId`; required.
    pub vpc_id: String,
}

/// Request members of `DetachInternetGateway`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DetachInternetGateway {
    /// `DryRun`.
    pub dry_run: bool,
    /// `InternetGatewayId`; required.
    pub internet_gateway_id: String,
    /// `VpcId`; required.
    pub vpc_id: String,
}

/// Request members of `DescribeInternetGateways`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInternetGateways {
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `InternetGatewayIds`.
    pub internet_gateway_ids: Vec<String>,
    /// `Filters`.
    pub filters: Vec<Filter>,
}
