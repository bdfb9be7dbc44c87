//! Response members of the actions on instances.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::shape::{
    AttributeBooleanValue, AttributeValue, GroupIdentifier, Instance, InstanceMetadataOptionsResponse,
    InstanceStateChange, InstanceStatus, InstanceTypeInfo, Reservation,
};

/// Response members of `RunInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunInstancesResult {
    /// `ReservationId`.
    pub reservation_id: Option<String>,
    /// `OwnerId`.
    pub owner_id: Option<String>,
    /// `RequesterId`.
    pub requester_id: Option<String>,
    /// `Groups`.
    pub groups: Vec<GroupIdentifier>,
    /// `Instances`.
    pub instances: Vec<Instance>,
}

/// Response members of `TerminateInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TerminateInstancesResult {
    /// `TerminatingInstances`.
    pub terminating_instances: Vec<InstanceStateChange>,
}

/// Response members of `DescribeInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInstancesResult {
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `Reservations`.
    pub reservations: Vec<Reservation>,
}

/// Response members of `DescribeInstanceStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInstanceStatusResult {
    /// `InstanceStatuses`.
    pub instance_statuses: Vec<InstanceStatus>,
    /// `NextToken`.
    pub next_token: Option<String>,
}

/// Response members of `StopInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StopInstancesResult {
    /// `StoppingInstances`.
    pub stopping_instances: Vec<InstanceStateChange>,
}

/// Response members of `StartInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StartInstancesResult {
    /// `StartingInstances`.
    pub starting_instances: Vec<InstanceStateChange>,
}

/// Response members of `DescribeInstanceAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInstanceAttributeResult {
    /// `DisableApiTermination`.
    pub disable_api_termination: Option<AttributeBooleanValue>,
    /// `DisableApiStop`.
    pub disable_api_stop: Option<AttributeBooleanValue>,
    /// `EnaSupport`.
    pub ena_support: Option<AttributeBooleanValue>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `InstanceInitiatedShutdownBehavior`.
    pub instance_initiated_shutdown_behavior: Option<AttributeValue>,
    /// `InstanceType`.
    pub instance_type: Option<AttributeValue>,
    /// `RootDeviceName`.
    pub root_device_name: Option<AttributeValue>,
    /// `SourceDestCheck`.
    pub source_dest_check: Option<AttributeBooleanValue>,
    /// `SriovNetSupport`.
    pub sriov_net_support: Option<AttributeValue>,
    /// `UserData`.
    pub user_data: Option<AttributeValue>,
    /// `Groups`; absent unless they were asked for.
    pub groups: Option<Vec<GroupIdentifier>>,
}

/// Response members of `ModifyInstanceMetadataOptions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifyInstanceMetadataOptionsResult {
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `InstanceMetadataOptions`.
    pub instance_metadata_options: Option<InstanceMetadataOptionsResponse>,
}

/// Response members of `DescribeInstanceTypes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInstanceTypesResult {
    /// `InstanceTypes`.
    pub instance_types: Vec<InstanceTypeInfo>,
    /// `NextToken`.
    pub next_token: Option<String>,
}

/// Response members of `GetConsoleOutput`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GetConsoleOutputResult {
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `Timestamp`.
    pub timestamp: Option<Timestamp>,
    /// `Output`.
    pub output: Option<String>,
}

/// Response members of `ModifyInstanceNetworkPerformanceOptions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifyInstanceNetworkPerformanceOptionsResult {
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `BandwidthWeighting`.
    pub bandwidth_weighting: Option<String>,
}
