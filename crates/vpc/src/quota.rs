//! Limits: EC2's default quotas, and the bounds on what one call may carry.
//!
//! Source: [AWS doc vpc/latest/userguide/amazon-vpc-limits.html, 2023-09] unless an item says more.

/// Quotas that are small on a new AWS account and raised on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// VPCs per region; internet gateways follow them.
    pub vpcs_per_region: usize,
    /// Elastic IP addresses per region.
    pub addresses_per_region: usize,
}

impl Quotas {
    /// What a new AWS account has: for those who test how their automation meets a limit.
    pub const NEW_ACCOUNT: Self = Self {
        vpcs_per_region: 5,
        addresses_per_region: 5,
    };
    /// As raised on request ("hundreds of VPCs per Region"): what a lab with many tests wants.
    pub const RAISED: Self = Self {
        vpcs_per_region: 1_000,
        addresses_per_region: 1_000,
    };
}

impl Default for Quotas {
    fn default() -> Self {
        Self::RAISED
    }
}

/// Subnets per VPC.
pub const SUBNETS_PER_VPC: usize = 200;
/// IPv4 blocks per VPC.
pub const CIDRS_PER_VPC: usize = 5;
/// IPv6 blocks per VPC.
pub const IPV6_CIDRS_PER_VPC: usize = 5;
/// Network interfaces per region.
pub const INTERFACES_PER_REGION: usize = 5_000;
/// Security groups per region.
pub const SECURITY_GROUPS_PER_REGION: usize = 2_500;
/// Rules per security group, per direction and address family; a group reference counts in both.
pub const RULES_PER_DIRECTION: usize = 60;
/// Security groups per interface.
pub const SECURITY_GROUPS_PER_INTERFACE: usize = 5;
/// Route tables per VPC.
pub const ROUTE_TABLES_PER_VPC: usize = 200;
/// Routes per route table and address family, without the local ones.
pub const ROUTES_PER_TABLE: usize = 50;
/// Instances per region that are not terminated. EC2 counts vCPUs by family; here it is a bound on what
/// one card has to carry.
pub const INSTANCES_PER_REGION: usize = 5_000;
/// Instances that one RunInstances can ask for.
pub const INSTANCES_PER_CALL: usize = 1_000;
/// Images per region: a bound on what control keeps in memory; EC2's own is 50,000.
pub const IMAGES_PER_REGION: usize = 5_000;
/// Key pairs per region.
///
/// Source: [AWS doc AWSEC2/latest/UserGuide/ec2-key-pairs.html, 2026-11-23].
pub const KEY_PAIRS_PER_REGION: usize = 5_000;
/// Tags per resource.
///
/// Source: [AWS doc AWSEC2/latest/UserGuide/Using_Tags.html, 2026-11-23].
pub const TAGS_PER_RESOURCE: usize = 50;
/// Characters of a tag's key.
pub const TAG_KEY_CHARS: usize = 128;
/// Characters of a tag's value.
pub const TAG_VALUE_CHARS: usize = 256;
/// Bytes of user data before base64.
///
/// Source: [AWS doc AWSEC2/latest/UserGuide/instancedata-add-user-data.html, 2026-11-23].
pub const USER_DATA_BYTES: usize = 16 * 1024;
/// Bytes of a ClientToken.
pub const CLIENT_TOKEN_BYTES: usize = 64;
/// Filters per Describe call, and values of them all together.
///
/// Source: [AWS doc AWSEC2/latest/UserGuide/Using_Filtering.html, 2026-11-23].
pub const FILTERS_PER_CALL: usize = 50;
/// Values over all filters of a call.
pub const FILTER_VALUES_PER_CALL: usize = 200;
/// Characters of a filter's value: twice what the longest text has that one can match, so that all of it
/// can be escaped. It bounds the work of matching.
pub const FILTER_VALUE_CHARS: usize = 2 * TAG_VALUE_CHARS;
/// Seconds for which a terminated instance is still shown; EC2 says "for a short while" (about an hour).
/// [assumed A-22]
pub const TERMINATED_VISIBLE_S: i64 = 3_600;
