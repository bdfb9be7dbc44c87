//! What the instance metadata service knows of one instance: plain data, made by the control plane.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Everything that the metadata tree of one instance is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceMetadata {
    /// `i-…`.
    pub instance_id: String,
    /// `ami-…`, as given to RunInstances.
    pub ami_id: String,
    /// Index within the reservation.
    pub ami_launch_index: u32,
    /// `t3.micro` and the like.
    pub instance_type: String,
    /// `r-…`.
    pub reservation_id: String,
    /// 12 digits.
    pub account_id: String,
    /// `us-east-1`.
    pub region: String,
    /// `us-east-1a`.
    pub availability_zone: String,
    /// `use1-az1`.
    pub availability_zone_id: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Private DNS name.
    pub local_hostname: String,
    /// Public DNS name, if it has a public address.
    pub public_hostname: Option<String>,
    /// Name and OpenSSH public key.
    pub key: Option<(String, String)>,
    /// Raw user data.
    pub user_data: Option<Vec<u8>>,
    /// RFC 3339 time of the launch.
    pub launch_time: String,
    /// Tags, served when the options say so.
    pub tags: BTreeMap<String, String>,
    /// MetadataOptions.
    pub options: MetadataOptions,
    /// Its interfaces by device index.
    pub interfaces: Vec<InterfaceMetadata>,
}

/// InstanceMetadataOptions of EC2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    /// HttpEndpoint = enabled.
    pub enabled: bool,
    /// HttpTokens = required: IMDSv1 requests get 401.
    pub tokens_required: bool,
    /// HttpPutResponseHopLimit, 1 to 64.
    pub hop_limit: u8,
    /// HttpProtocolIpv6 = enabled.
    pub ipv6: bool,
    /// InstanceMetadataTags = enabled.
    pub tags: bool,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            tokens_required: false,
            hop_limit: 1,
            ipv6: false,
            tags: false,
        }
    }
}

/// One interface below `network/interfaces/macs/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceMetadata {
    /// `eni-…`.
    pub interface_id: String,
    /// MAC.
    pub mac: [u8; 6],
    /// DeviceIndex.
    pub device_number: u32,
    /// NetworkCardIndex.
    pub network_card: u32,
    /// 12 digits.
    pub owner_id: String,
    /// Private IPv4 addresses, the primary first.
    pub local_ipv4s: Vec<Ipv4Addr>,
    /// Public address and the private addresses behind it.
    pub public_ipv4s: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// IPv6 addresses.
    pub ipv6s: Vec<Ipv6Addr>,
    /// Delegated IPv4 prefixes.
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// Delegated IPv6 prefixes.
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Private DNS name of the interface.
    pub local_hostname: String,
    /// Public DNS name of the interface.
    pub public_hostname: Option<String>,
    /// Names of its security groups.
    pub security_groups: Vec<String>,
    /// Ids of its security groups.
    pub security_group_ids: Vec<String>,
    /// `subnet-…`.
    pub subnet_id: String,
    /// The subnet's IPv4 CIDR.
    pub subnet_ipv4_cidr: Option<Ipv4Net>,
    /// The subnet's IPv6 CIDRs.
    pub subnet_ipv6_cidrs: Vec<Ipv6Net>,
    /// `vpc-…`.
    pub vpc_id: String,
    /// IPv4 CIDRs of the VPC, the primary first.
    pub vpc_ipv4_cidrs: Vec<Ipv4Net>,
    /// IPv6 CIDRs of the VPC.
    pub vpc_ipv6_cidrs: Vec<Ipv6Net>,
}
