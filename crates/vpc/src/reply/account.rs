//! Response members of the actions on tags, key pairs, zones, regions and the account.

use serde::{Deserialize, Serialize};

use crate::shape::{AccountAttribute, AvailabilityZone, KeyPairInfo, Region, Tag, TagDescription};

/// Response members of `DescribeTags`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeTagsResult {
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `Tags`.
    pub tags: Vec<TagDescription>,
}

/// Response members of `DescribeAvailabilityZones`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeAvailabilityZonesResult {
    /// `AvailabilityZones`.
    pub availability_zones: Vec<AvailabilityZone>,
}

/// Response members of `DescribeRegions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeRegionsResult {
    /// `Regions`.
    pub regions: Vec<Region>,
}

/// Response members of `DescribeAccountAttributes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeAccountAttributesResult {
    /// `AccountAttributes`.
    pub account_attributes: Vec<AccountAttribute>,
}

/// Response members of `ImportKeyPair`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImportKeyPairResult {
    /// `KeyFingerprint`.
    pub key_fingerprint: Option<String>,
    /// `KeyName`.
    pub key_name: Option<String>,
    /// `KeyPairId`.
    pub key_pair_id: Option<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
}

/// Response members of `DeleteKeyPair`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteKeyPairResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
    /// `KeyPairId`.
    pub key_pair_id: Option<String>,
}

/// Response members of `DescribeKeyPairs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeKeyPairsResult {
    /// `KeyPairs`.
    pub key_pairs: Vec<KeyPairInfo>,
}
