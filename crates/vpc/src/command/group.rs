//! Request members of the actions on security groups and their rules.

use serde::{Deserialize, Serialize};

use crate::shape::{
    Filter, IpPermission, SecurityGroupRuleDescription, SecurityGroupRuleUpdate, TagSpecification,
};

/// Request members of `CreateSecurityGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateSecurityGroup {
    /// `Description`; required.
    pub description: String,
    /// `GroupName`; required.
    pub group_name: String,
    /// `VpcId`.
    pub vpc_id: Option<String>,
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DeleteSecurityGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteSecurityGroup {
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `DescribeSecurityGroups`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeSecurityGroups {
    /// `GroupIds`.
    pub group_ids: Vec<String>,
    /// `GroupNames`.
    pub group_names: Vec<String>,
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `Filters`.
    pub filters: Vec<Filter>,
}

/// Request members of `DescribeSecurityGroupRules`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeSecurityGroupRules {
    /// `Filters`.
    pub filters: Vec<Filter>,
    /// `SecurityGroupRuleIds`.
    pub security_group_rule_ids: Vec<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `MaxResults`.
    pub max_results: Option<i32>,
}

/// Request members of `AuthorizeSecurityGroupIngress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthorizeSecurityGroupIngress {
    /// `CidrIp`.
    pub cidr_ip: Option<String>,
    /// `FromPort`.
    pub from_port: Option<i32>,
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `IpPermissions`.
    pub ip_permissions: Vec<IpPermission>,
    /// `IpProtocol`.
    pub ip_protocol: Option<String>,
    /// `SourceSecurityGroupName`.
    pub source_security_group_name: Option<String>,
    /// `SourceSecurityGroupOwnerId`.
    pub source_security_group_owner_id: Option<String>,
    /// `ToPort`.
    pub to_port: Option<i32>,
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `AuthorizeSecurityGroupEgress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthorizeSecurityGroupEgress {
    /// `TagSpecifications`.
    pub tag_specifications: Vec<TagSpecification>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `GroupId`; required.
    pub group_id: String,
    /// `SourceSecurityGroupName`.
    pub source_security_group_name: Option<String>,
    /// `SourceSecurityGroupOwnerId`.
    pub source_security_group_owner_id: Option<String>,
    /// `IpProtocol`.
    pub ip_protocol: Option<String>,
    /// `FromPort`.
    pub from_port: Option<i32>,
    /// `ToPort`.
    pub to_port: Option<i32>,
    /// `CidrIp`.
    pub cidr_ip: Option<String>,
    /// `IpPermissions`.
    pub ip_permissions: Vec<IpPermission>,
}

/// Request members of `RevokeSecurityGroupIngress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RevokeSecurityGroupIngress {
    /// `CidrIp`.
    pub cidr_ip: Option<String>,
    /// `FromPort`.
    pub from_port: Option<i32>,
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `IpPermissions`.
    pub ip_permissions: Vec<IpPermission>,
    /// `IpProtocol`.
    pub ip_protocol: Option<String>,
    /// `SourceSecurityGroupName`.
    pub source_security_group_name: Option<String>,
    /// `SourceSecurityGroupOwnerId`.
    pub source_security_group_owner_id: Option<String>,
    /// `ToPort`.
    pub to_port: Option<i32>,
    /// `SecurityGroupRuleIds`.
    pub security_group_rule_ids: Vec<String>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `RevokeSecurityGroupEgress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RevokeSecurityGroupEgress {
    /// `SecurityGroupRuleIds`.
    pub security_group_rule_ids: Vec<String>,
    /// `DryRun`.
    pub dry_run: bool,
    /// `GroupId`; required.
    pub group_id: String,
    /// `SourceSecurityGroupName`.
    pub source_security_group_name: Option<String>,
    /// `SourceSecurityGroupOwnerId`.
    pub source_security_group_owner_id: Option<String>,
    /// `IpProtocol`.
    pub ip_protocol: Option<String>,
    /// `FromPort`.
    pub from_port: Option<i32>,
    /// `ToPort`.
    pub to_port: Option<i32>,
    /// `CidrIp`.
    pub cidr_ip: Option<String>,
    /// `IpPermissions`.
    pub ip_permissions: Vec<IpPermission>,
}

/// Request members of `ModifySecurityGroupRules`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifySecurityGroupRules {
    /// `GroupId`; required.
    pub group_id: String,
    /// `SecurityGroupRules`; required.
    pub security_group_rules: Vec<SecurityGroupRuleUpdate>,
    /// `DryRun`.
    pub dry_run: bool,
}

/// Request members of `UpdateSecurityGroupRuleDescriptionsIngress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateSecurityGroupRuleDescriptionsIngress {
    /// `DryRun`.
    pub dry_run: bool,
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `IpPermissions`.
    pub ip_permissions: Vec<IpPermission>,
    /// `SecurityGroupRuleDescriptions`.
    pub security_group_rule_descriptions: Vec<SecurityGroupRuleDescription>,
}

/// Request members of `UpdateSecurityGroupRuleDescriptionsEgress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateSecurityGroupRuleDescriptionsEgress {
    /// `DryRun`.
    pub dry_run: bool,
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `IpPermissions`.
    pub ip_permissions: Vec<IpPermission>,
    /// `SecurityGroupRuleDescriptions`.
    pub security_group_rule_descriptions: Vec<SecurityGroupRuleDescription>,
}
