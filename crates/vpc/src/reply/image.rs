//! Response members of the actions on images.

use serde::{Deserialize, Serialize};

use crate::shape::{AttributeValue, Image};

/// Response members of `RegisterImage`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegisterImageResult {
    /// `ImageId`.
    pub image_id: Option<String>,
}

/// Response members of `DeregisterImage`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeregisterImageResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
}

/// Response members of `DescribeImages`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeImagesResult {
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `Images`.
    pub images: Vec<Image>,
}

/// Response members of `DescribeImageAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeImageAttributeResult {
    /// `Description`.
    pub description: Option<AttributeValue>,
    /// `SriovNetSupport`.
    pub sriov_net_support: Option<AttributeValue>,
    /// `ImdsSupport`.
    pub imds_support: Option<AttributeValue>,
    /// `ImageId`.
    pub image_id: Option<String>,
}
