//! Request members of the actions on tags, key pairs, zones, regions and the account.

use serde::{Deserialize, Serialize};

use crate::shape::{Filter, Tag, TagSpecification};

/// Request members of `CreateTags`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateTags {
    /// `DryRun`.
    pub dry_run: bool,
    /// `Resources`; required.
    pub resources: Vec<String>,
    /// `Tags`; required.
    pub tags: Vec<Tag>,
}

/// Request members of `DeleteTags`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteTags {
    /// `DryRun`.
    pub dry_run: bool,
    /// `Resources`; required.
    pub resources: Vec<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
}

/// Request members of `DescribeTags`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeTags {
    /// `DryRun`.
    pub dry_run: bool,
    /// `Filters`.
    pub filters: Vec<Filter>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `NextToken`.
    pub next_token: Option<String>,
}

/// Request members of `DescribeAvailabilityZones`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeAvailabilityZones {
    /// `ZoneNames`.
    pub zone_names: Vec<String>,
    /// `ZoneIds`.
    pub zone_ids: Vec<String>,
    /// `AllAvailabilityZones`.
    pub all_availability_zones: Option<bool>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Filters`.
    pub filters: Vec<Filter>,
}

/// Request members of `DescribeRegions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeRegions {
    /// `RegionNames`.
    pub region_names: Vec<String>,
    /// `AllRegions`.
    pub all_regions: Option<bool>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Filters`.
    pub filters: Vec<Filter>,
}

/// Request members of `DescribeAccountAttributes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeAccountAttributes {
    /// `DryRun`.
    pub dry_run: bool,
    /// `AttributeNames`.
    pub attribute_names: Vec<String>,
}

/// Request members of `ImportKeyPair`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImportKeyPair {
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `KeyName`; required.
    pub key_name: String,
    /// `PublicKeyMaterial`; required.
    pub public_key_material: String,
}

/// Request members of `DeleteKeyPair`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteKeyPair {
    /// `KeyName`.
    pub key_name: Option<String>,
    /// `KeyPairId`.
    pub key_pair_id: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DescribeKeyPairs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeKeyPairs {
    /// `KeyNames`.
    pub key_names: Vec<String>,
    /// `KeyPairIds`.
    pub key_pair_ids: Vec<String>,
    /// `IncludePublicKey`.
    pub include_public_key: Option<bool>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Filters`.
    pub filters: Vec<Filter>,
}
