//! Shapes that occur both in requests and in responses.

use serde::{Deserialize, Serialize};

/// EC2's `AttributeBooleanValue`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttributeBooleanValue {
    /// `Value`.
    pub value: Option<bool>,
}

/// EC2's `AttributeValue`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttributeValue {
    /// `Value`.
    pub value: Option<String>,
}

/// EC2's `GroupIdentifier`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GroupIdentifier {
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
}

/// EC2's `InstanceIpv6Address`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceIpv6Address {
    /// `Ipv6Address`.
    pub ipv6_address: Option<String>,
    /// `IsPrimaryIpv6`.
    pub is_primary_ipv6: Option<bool>,
}

/// EC2's `IpPermission`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpPermission {
    /// `IpProtocol`.
    pub ip_protocol: Option<String>,
    /// `FromPort`.
    pub from_port: Option<i32>,
    /// `ToPort`.
    pub to_port: Option<i32>,
    /// `UserIdGroupPairs`.
    pub user_id_group_pairs: Vec<UserIdGroupPair>,
    /// `IpRanges`.
    pub ip_ranges: Vec<IpRange>,
    /// `Ipv6Ranges`.
    pub ipv6_ranges: Vec<Ipv6Range>,
    /// `PrefixListIds`.
    pub prefix_list_ids: Vec<PrefixListId>,
}

/// EC2's `IpRange`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpRange {
    /// `Description`.
    pub description: Option<String>,
    /// `CidrIp`.
    pub cidr_ip: Option<String>,
}

/// EC2's `Ipv6Range`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipv6Range {
    /// `Description`.
    pub description: Option<String>,
    /// `CidrIpv6`.
    pub cidr_ipv6: Option<String>,
}

/// EC2's `ConnectionTrackingConfiguration`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectionTrackingConfiguration {
    /// `TcpEstablishedTimeout`.
    pub tcp_established_timeout: Option<i32>,
    /// `UdpStreamTimeout`.
    pub udp_stream_timeout: Option<i32>,
    /// `UdpTimeout`.
    pub udp_timeout: Option<i32>,
}

/// EC2's `Placement`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Placement {
    /// `AvailabilityZoneId`.
    pub availability_zone_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `Tenancy`.
    pub tenancy: Option<String>,
    /// `AvailabilityZone`.
    pub availability_zone: Option<String>,
}

/// EC2's `PrefixListId`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PrefixListId {
    /// `Description`.
    pub description: Option<String>,
}

/// EC2's `PrivateDnsNameOptionsOnLaunch`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PrivateDnsNameOptionsOnLaunch {
    /// `HostnameType`.
    pub hostname_type: Option<String>,
    /// `EnableResourceNameDnsARecord`.
    pub enable_resource_name_dns_a_record: Option<bool>,
    /// `EnableResourceNameDnsAAAARecord`.
    #[serde(rename = "EnableResourceNameDnsAAAARecord")]
    pub enable_resource_name_dns_aaaa_record: Option<bool>,
}

/// EC2's `Tag`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Tag {
    /// `Key`.
    pub key: Option<String>,
    /// `Value`.
    pub value: Option<String>,
}

/// EC2's `UserIdGroupPair`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UserIdGroupPair {
    /// `Description`.
    pub description: Option<String>,
    /// `UserId`.
    pub user_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
}
