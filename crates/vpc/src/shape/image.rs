//! Shapes of images, in responses only.

use serde::{Deserialize, Serialize};

use crate::shape::Tag;

/// EC2's `Image`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Image {
    /// `PlatformDetails`.
    pub platform_details: Option<String>,
    /// `UsageOperation`.
    pub usage_operation: Option<String>,
    /// `Description`.
    pub description: Option<String>,
    /// `EnaSupport`.
    pub ena_support: Option<bool>,
    /// `Hypervisor`.
    pub hypervisor: Option<String>,
    /// `ImageOwnerAlias`.
    pub image_owner_alias: Option<String>,
    /// `Name`.
    pub name: Option<String>,
    /// `RootDeviceName`.
    pub root_device_name: Option<String>,
    /// `RootDeviceType`.
    pub root_device_type: Option<String>,
    /// `SriovNetSupport`.
    pub sriov_net_support: Option<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `VirtualizationType`.
    pub virtualization_type: Option<String>,
    /// `ImdsSupport`.
    pub imds_support: Option<String>,
    /// `ImageId`.
    pub image_id: Option<String>,
    /// `ImageLocation`.
    pub image_location: Option<String>,
    /// `State`.
    pub state: Option<String>,
    /// `OwnerId`.
    pub owner_id: Option<String>,
    /// `CreationDate`.
    pub creation_date: Option<String>,
    /// `Public`.
    pub public: Option<bool>,
    /// `Architecture`.
    pub architecture: Option<String>,
    /// `ImageType`.
    pub image_type: Option<String>,
}
