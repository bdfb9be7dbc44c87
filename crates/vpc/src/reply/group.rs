//! Response members of the actions on security groups and their rules.

use serde::{Deserialize, Serialize};

use crate::shape::{IpPermission, RevokedSecurityGroupRule, SecurityGroup, SecurityGroupRule, Tag};

/// Response members of `CreateSecurityGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateSecurityGroupResult {
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `SecurityGroupArn`.
    pub security_group_arn: Option<String>,
}

/// Response members of `DeleteSecurityGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteSecurityGroupResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
    /// `GroupId`.
    pub group_id: Option<String>,
}

/// Response members of `DescribeSecurityGroups`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeSecurityGroupsResult {
    /// `NextToken`.
    pub next_token: Option<String>,
    /// `SecurityGroups`.
    pub security_groups: Vec<SecurityGroup>,
}

/// Response members of `DescribeSecurityGroupRules`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DescribeSecurityGroupRulesResult {
    /// `SecurityGroupRules`.
    pub security_group_rules: Vec<SecurityGroupRule>,
    /// `NextToken`.
    pub next_token: Option<String>,
}

/// Response members of `AuthorizeSecurityGroupIngress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthorizeSecurityGroupIngressResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
    /// `SecurityGroupRules`.
    pub security_group_rules: Vec<SecurityGroupRule>,
}

/// Response members of `AuthorizeSecurityGroupEgress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthorizeSecurityGroupEgressResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
    /// `SecurityGroupRules`.
    pub security_group_rules: Vec<SecurityGroupRule>,
}

/// Response members of `RevokeSecurityGroupIngress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RevokeSecurityGroupIngressResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
    /// `UnknownIpPermissions`.
    pub unknown_ip_permissions: Vec<IpPermission>,
    /// `RevokedSecurityGroupRules`.
    pub revoked_security_group_rules: Vec<RevokedSecurityGroupRule>,
}

/// Response members of `RevokeSecurityGroupEgress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RevokeSecurityGroupEgressResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
    /// `UnknownIpPermissions`.
    pub unknown_ip_permissions: Vec<IpPermission>,
    /// `RevokedSecurityGroupRules`.
    pub revoked_security_group_rules: Vec<RevokedSecurityGroupRule>,
}

/// Response members of `ModifySecurityGroupRules`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifySecurityGroupRulesResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
}

/// Response members of `UpdateSecurityGroupRuleDescriptionsIngress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateSecurityGroupRuleDescriptionsIngressResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
}

/// Response members of `UpdateSecurityGroupRuleDescriptionsEgress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateSecurityGroupRuleDescriptionsEgressResult {
    /// `Return`.
    #[serde(rename = "Return")]
    pub return_: Option<bool>,
}
