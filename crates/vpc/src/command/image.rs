//! Request members of the actions on images.

use serde::{Deserialize, Serialize};

use crate::shape::{Filter, TagSpecification};

/// Request members of `RegisterImage`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegisterImage {
    /// `ImageLocation`.
    pub image_location: Option<String>,
    /// `ImdsSupport`.
    pub imds_support: Option<String>,
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Name`; required.
    pub name: String,
    /// `Description`.
    pub description: Option<String>,
    /// `Architecture`.
    pub architecture: Option<String>,
    /// `RootDeviceName`.
    pub root_device_name: Option<String>,
    /// `VirtualizationType`.
    pub virtualization_type: Option<String>,
    /// `SriovNetSupport`.
    pub sriov_net_support: Option<String>,
    /// `EnaSupport`.
    pub ena_support: Option<bool>,
}

/// Request members of `DeregisterImage`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeregisterImage {
    /// `ImageId`; required.
    pub image_id: String,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DescribeImages`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeImages {
    /// `ExecutableUsers`.
    pub executable_users: Vec<String>,
    /// `ImageIds`.
    pub image_ids: Vec<String>,
    /// `Owners`.
    pub owners: Vec<String>,
    /// `IncludeDeprecated`.
    pub include_deprecated: Option<bool>,
    /// `IncludeDisabled`.
    pub include_disabled: Option<bool>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Filters`.
    pub filters: Vec<Filter>,
}

/// Request members of `DescribeImageAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeImageAttribute {
    /// `Attribute`.
    pub attribute: String,
    /// `ImageId`.
    pub image_id: String,
    /// `DryRun`.
    pub dry_run: bool,
}
