//! Response members of the actions on route tables.

use serde::{Deserialize, Serialize};

use crate::shape::{RouteTable, RouteTableAssociationState};

/// Response members of `CreateRouteTable`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateRouteTableResult {
    /// `RouteTable`.
    pub route_table: Option<RouteTable>,
    /// `ClientToken`.
    pub client_token: Option<String>,
}

/// Response members of `CreateRoute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateRouteResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
}

/// Response members of `AssociateRouteTable`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssociateRouteTableResult {
    /// `AssociationId`.
    pub association_id: Option<String>,
    /// `AssociationState`.
    pub association_state: Option<RouteTableAssociationState>,
}

/// Response members of `ReplaceRouteTableAssociation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReplaceRouteTableAssociationResult {
    /// `NewAssociationId`.
    pub new_association_id: Option<String>,
    /// `AssociationState`.
    pub association_state: Option<RouteTableAssociationState>,
}

/// Response members of `DescribeRouteTables`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeRouteTablesResult {
    /// `RouteTables`.
    pub route_tables: Vec<RouteTable>,
    /// `NextToken`.
    pub next_token: Option<String>,
}
