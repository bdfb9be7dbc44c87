//! Security groups and their rules.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use trinic_switch::tables::RuleProtocol;

use super::Tags;
use crate::ids::{SecurityGroupId, SecurityGroupRuleId, VpcId};

/// A security group: allow rules only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub id: SecurityGroupId,
    /// The VPC that it is in.
    pub vpc_id: VpcId,
    /// Name, unique in the VPC; `default` for the VPC's default group.
    pub name: String,
    /// Description; cannot change.
    pub description: String,
    /// Rules of both directions in the order of making.
    pub rules: Vec<SecurityGroupRule>,
    /// Tags.
    pub tags: Tags,
}

impl SecurityGroup {
    /// Whether this is the default group of its VPC.
    pub fn is_default(&self) -> bool {
        self.name == "default"
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// `sgr-…`.
    pub id: SecurityGroupRuleId,
    /// Whether it is for packets from the interface.
    pub is_egress: bool,
    /// What it allows.
    pub allows: RuleMatch,
    /// Description.
    pub description: Option<String>,
    /// Tags.
    pub tags: Tags,
}

/// What a rule allows: two rules of one direction with the same match are duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMatch {
    /// IpProtocol.
    pub protocol: RuleProtocol,
    /// TCP/UDP: first port; ICMP: type; -1 = any.
    pub from_port: i32,
    /// TCP/UDP: last port; ICMP: code; -1 = any.
    pub to_port: i32,
    /// The other side.
    pub peer: RulePeer,
}

/// The other side of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RulePeer {
    /// An IPv4 block.
    Ipv4(Ipv4Net),
    /// An IPv6 block.
    Ipv6(Ipv6Net),
    /// The interfaces of a security group of the same VPC.
    Group(SecurityGroupId),
}
