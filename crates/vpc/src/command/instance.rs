//! Request members of the actions on instances.

use serde::{Deserialize, Serialize};

use crate::shape::{
    AttributeBooleanValue, AttributeValue, Filter, InstanceIpv6Address, InstanceMetadataOptionsRequest,
    InstanceNetworkInterfaceSpecification, InstanceNetworkPerformanceOptionsRequest, Placement,
    PrivateDnsNameOptionsRequest, SecureBlobAttributeValue, TagSpecification,
};

/// Request members of `RunInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunInstances {
    /// `ImageId`.
    pub image_id: Option<String>,
    /// `InstanceType`.
    pub instance_type: Option<String>,
    /// `Ipv6AddressCount`.
    pub ipv6_address_count: Option<i32>,
    /// `Ipv6Addresses`.
    pub ipv6_addresses: Vec<InstanceIpv6Address>,
    /// `KeyName`.
    pub key_name: Option<String>,
    /// `MaxCount`; required.
    pub max_count: Option<i32>,
    /// `MinCount`; required.
    pub min_count: Option<i32>,
    /// `Placement`.
    pub placement: Option<Placement>,
    /// `SecurityGroupIds`.
    pub security_group_ids: Vec<String>,
    /// `SecurityGroups`.
    pub security_groups: Vec<String>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
    /// `UserData`.
    pub user_data: Option<String>,
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `MetadataOptions`.
    pub metadata_options: Option<InstanceMetadataOptionsRequest>,
    /// `PrivateDnsNameOptions`.
    pub private_dns_name_options: Option<PrivateDnsNameOptionsRequest>,
    /// `EnablePrimaryIpv6`.
    pub enable_primary_ipv6: Option<bool>,
    /// `NetworkPerformanceOptions`.
    pub network_performance_options: Option<InstanceNetworkPerformanceOptionsRequest>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `DisableApiTermination`.
    pub disable_api_termination: Option<bool>,
    /// `DisableApiStop`.
    pub disable_api_stop: Option<bool>,
    /// `InstanceInitiatedShutdownBehavior`.
    pub instance_initiated_shutdown_behavior: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
    /// `ClientToken`.
    pub client_token: Option<String>,
    /// `NetworkInterfaces`.
    pub network_interfaces: Vec<InstanceNetworkInterfaceSpecification>,
}

/// Request members of `TerminateInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TerminateInstances {
    /// `InstanceIds`; required.
    pub instance_ids: Vec<String>,
    /// `Force`.
    pub force: Option<bool>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DescribeInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInstances {
    /// `InstanceIds`.
    pub instance_ids: Vec<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Filters`.
    pub filters: Vec<Filter>,
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
}

/// Request members of `DescribeInstanceStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInstanceStatus {
    /// `InstanceIds`.
    pub instance_ids: Vec<String>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Filters`.
    pub filters: Vec<Filter>,
    /// `IncludeAllInstances`.
    pub include_all_instances: Option<bool>,
}

/// Request members of `StopInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StopInstances {
    /// `InstanceIds`; required.
    pub instance_ids: Vec<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Force`.
    pub force: Option<bool>,
}

/// Request members of `StartInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StartInstances {
    /// `InstanceIds`; required.
    pub instance_ids: Vec<String>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `RebootInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RebootInstances {
    /// `InstanceIds`; required.
    pub instance_ids: Vec<String>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DescribeInstanceAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInstanceAttribute {
    /// `DryRun`.
    pub dry_run: bool,
    /// `InstanceId`; required.
    pub instance_id: String,
    /// `Attribute`; required.
    pub attribute: String,
}

/// Request members of `ModifyInstanceAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifyInstanceAttribute {
    /// `SourceDestCheck`.
    pub source_dest_check: Option<AttributeBooleanValue>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `InstanceId`; required.
    pub instance_id: String,
    /// `Attribute`.
    pub attribute: Option<String>,
    /// `Value`.
    pub value: Option<String>,
    /// `DisableApiTermination`.
    pub disable_api_termination: Option<AttributeBooleanValue>,
    /// `DisableApiStop`.
    pub disable_api_stop: Option<AttributeBooleanValue>,
    /// `InstanceType`.
    pub instance_type: Option<AttributeValue>,
    /// `UserData`.
    pub user_data: Option<SecureBlobAttributeValue>,
    /// `InstanceInitiatedShutdownBehavior`.
    pub instance_initiated_shutdown_behavior: Option<AttributeValue>,
    /// `Groups`.
    pub groups: Vec<String>,
    /// `EnaSupport`.
    pub ena_support: Option<AttributeBooleanValue>,
    /// `SriovNetSupport`.
    pub sriov_net_support: Option<AttributeValue>,
}

/// Request members of `ModifyInstanceMetadataOptions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifyInstanceMetadataOptions {
    /// `InstanceId`; required.
    pub instance_id: String,
    /// `HttpTokens`.
    pub http_tokens: Option<String>,
    /// `HttpPutResponseHopLimit`.
    pub http_put_response_hop_limit: Option<i32>,
    /// `HttpEndpoint`.
    pub http_endpoint: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `HttpProtocolIpv6`.
    pub http_protocol_ipv6: Option<String>,
    /// `InstanceMetadataTags`.
    pub instance_metadata_tags: Option<String>,
}

/// Request members of `DescribeInstanceTypes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeInstanceTypes {
    /// `DryRun`.
    pub dry_run: bool,
    /// `InstanceTypes`.
    pub instance_types: Vec<String>,
    /// `Filters`.
    pub filters: Vec<Filter>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `IncludeUnsupportedInRegion`.
    pub include_unsupported_in_region: Option<bool>,
}

/// Request members of `GetConsoleOutput`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GetConsoleOutput {
    /// `InstanceId`.
    pub instance_id: String,
    /// `Latest`.
    pub latest: Option<bool>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `ModifyInstanceNetworkPerformanceOptions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifyInstanceNetworkPerformanceOptions {
    /// `InstanceId`.
    pub instance_id: String,
    /// `BandwidthWeighting`.
    pub bandwidth_weighting: String,
    /// `DryRun`.
    pub dry_run: bool,
}
