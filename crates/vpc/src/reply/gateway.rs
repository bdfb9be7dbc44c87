//! Response members of the actions on internet gateways.

use serde::{Deserialize, Serialize};

use crate::shape::InternetGateway;

/// Response members of `CreateInternetGateway`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateInternetGatewayResult {
    /// `InternetGateway`.
    pub internet_gateway: Option<InternetGateway>,
}

/// Response members of `DescribeInternetGateways`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInternetGatewaysResult {
    /// `InternetGateways`.
    pub internet_gateways: Vec<InternetGateway>,
    /// `NextToken`.
    pub next_token: Option<String>,
}
