//! Shapes that occur in responses only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::shape::{
    ConnectionTrackingConfiguration, GroupIdentifier, InstanceIpv6Address, IpPermission, Placement,
    PrivateDnsNameOptionsOnLaunch, Tag,
};

/// EC2's `AccountAttribute`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AccountAttribute {
    /// `AttributeName`.
    pub attribute_name: Option<String>,
    /// `AttributeValues`.
    pub attribute_values: Vec<AccountAttributeValue>,
}

/// EC2's `AccountAttributeValue`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AccountAttributeValue {
    /// `AttributeValue`.
    pub attribute_value: Option<String>,
}

/// EC2's `Address`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Address {
    /// `AllocationId`.
    pub allocation_id: Option<String>,
    /// `AssociationId`.
    pub association_id: Option<String>,
    /// `Domain`.
    pub domain: Option<String>,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `NetworkInterfaceOwnerId`.
    pub network_interface_owner_id: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `PublicIpv4Pool`.
    pub public_ipv4_pool: Option<String>,
    /// `NetworkBorderGroup`.
    pub network_border_group: Option<String>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `PublicIp`.
    pub public_ip: Option<String>,
}

/// EC2's `AssignedPrivateIpAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AssignedPrivateIpAddress {
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
}

/// EC2's `AvailabilityZone`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AvailabilityZone {
    /// `OptInStatus`.
    pub opt_in_status: Option<String>,
    /// `RegionName`.
    pub region_name: Option<String>,
    /// `ZoneName`.
    pub zone_name: Option<String>,
    /// `ZoneId`.
    pub zone_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `NetworkBorderGroup`.
    pub network_border_group: Option<String>,
    /// `ZoneType`.
    pub zone_type: Option<String>,
    /// `State`.
    pub state: Option<String>,
}

/// EC2's `Instance`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Instance {
    /// `Architecture`.
    pub architecture: Option<String>,
    /// `ClientToken`.
    pub client_token: Option<String>,
    /// `EnaSupport`.
    pub ena_support: Option<bool>,
    /// `Hypervisor`.
    pub hypervisor: Option<String>,
    /// `NetworkInterfaces`.
    pub network_interfaces: Vec<InstanceNetworkInterface>,
    /// `RootDeviceName`.
    pub root_device_name: Option<String>,
    /// `RootDeviceType`.
    pub root_device_type: Option<String>,
    /// `SecurityGroups`.
    pub security_groups: Vec<GroupIdentifier>,
    /// `SourceDestCheck`.
    pub source_dest_check: Option<bool>,
    /// `SriovNetSupport`.
    pub sriov_net_support: Option<String>,
    /// `StateReason`.
    pub state_reason: Option<StateReason>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `VirtualizationType`.
    pub virtualization_type: Option<String>,
    /// `MetadataOptions`.
    pub metadata_options: Option<InstanceMetadataOptionsResponse>,
    /// `PlatformDetails`.
    pub platform_details: Option<String>,
    /// `PrivateDnsNameOptions`.
    pub private_dns_name_options: Option<PrivateDnsNameOptionsResponse>,
    /// `NetworkPerformanceOptions`.
    pub network_performance_options: Option<InstanceNetworkPerformanceOptions>,
    /// `Ipv6Address`.
    pub ipv6_address: Option<String>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `ImageId`.
    pub image_id: Option<String>,
    /// `State`.
    pub state: Option<InstanceState>,
    /// `PrivateDnsName`.
    pub private_dns_name: Option<String>,
    /// `PublicDnsName`.
    pub public_dns_name: Option<String>,
    /// `StateTransitionReason`.
    pub state_transition_reason: Option<String>,
    /// `KeyName`.
    pub key_name: Option<String>,
    /// `AmiLaunchIndex`.
    pub ami_launch_index: Option<i32>,
    /// `InstanceType`.
    pub instance_type: Option<String>,
    /// `LaunchTime`.
    pub launch_time: Option<Timestamp>,
    /// `Placement`.
    pub placement: Option<Placement>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
    /// `PublicIpAddress`.
    pub public_ip_address: Option<String>,
}

/// EC2's `InstanceMetadataOptionsResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceMetadataOptionsResponse {
    /// `State`.
    pub state: Option<String>,
    /// `HttpTokens`.
    pub http_tokens: Option<String>,
    /// `HttpPutResponseHopLimit`.
    pub http_put_response_hop_limit: Option<i32>,
    /// `HttpEndpoint`.
    pub http_endpoint: Option<String>,
    /// `HttpProtocolIpv6`.
    pub http_protocol_ipv6: Option<String>,
    /// `InstanceMetadataTags`.
    pub instance_metadata_tags: Option<String>,
}

/// EC2's `InstanceNetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceNetworkInterface {
    /// `Association`.
    pub association: Option<InstanceNetworkInterfaceAssociation>,
    /// `Attachment`.
    pub attachment: Option<InstanceNetworkInterfaceAttachment>,
    /// `Description`.
    pub description: Option<String>,
    /// `Groups`.
    pub groups: Vec<GroupIdentifier>,
    /// `Ipv6Addresses`.
    pub ipv6_addresses: Vec<InstanceIpv6Address>,
    /// `MacAddress`.
    pub mac_address: Option<String>,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `OwnerId`.
    pub owner_id: Option<String>,
    /// `PrivateDnsName`.
    pub private_dns_name: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
    /// `PrivateIpAddresses`.
    pub private_ip_addresses: Vec<InstancePrivateIpAddress>,
    /// `SourceDestCheck`.
    pub source_dest_check: Option<bool>,
    /// `Status`.
    pub status: Option<String>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
    /// `InterfaceType`.
    pub interface_type: Option<String>,
    /// `Ipv4Prefixes`.
    pub ipv4_prefixes: Vec<InstanceIpv4Prefix>,
    /// `Ipv6Prefixes`.
    pub ipv6_prefixes: Vec<InstanceIpv6Prefix>,
    /// `ConnectionTrackingConfiguration`.
    pub connection_tracking_configuration: Option<ConnectionTrackingSpecificationResponse>,
}

/// EC2's `ConnectionTrackingSpecificationResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectionTrackingSpecificationResponse {
    /// `TcpEstablishedTimeout`.
    pub tcp_established_timeout: Option<i32>,
    /// `UdpStreamTimeout`.
    pub udp_stream_timeout: Option<i32>,
    /// `UdpTimeout`.
    pub udp_timeout: Option<i32>,
}

/// EC2's `InstanceIpv4Prefix`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceIpv4Prefix {
    /// `Ipv4Prefix`.
    pub ipv4_prefix: Option<String>,
}

/// EC2's `InstanceIpv6Prefix`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceIpv6Prefix {
    /// `Ipv6Prefix`.
    pub ipv6_prefix: Option<String>,
}

/// EC2's `InstanceNetworkInterfaceAssociation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceNetworkInterfaceAssociation {
    /// `IpOwnerId`.
    pub ip_owner_id: Option<String>,
    /// `PublicDnsName`.
    pub public_dns_name: Option<String>,
    /// `PublicIp`.
    pub public_ip: Option<String>,
}

/// EC2's `InstanceNetworkInterfaceAttachment`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceNetworkInterfaceAttachment {
    /// `AttachTime`.
    pub attach_time: Option<Timestamp>,
    /// `AttachmentId`.
    pub attachment_id: Option<String>,
    /// `DeleteOnTermination`.
    pub delete_on_termination: Option<bool>,
    /// `DeviceIndex`.
    pub device_index: Option<i32>,
    /// `Status`.
    pub status: Option<String>,
    /// `NetworkCardIndex`.
    pub network_card_index: Option<i32>,
    /// `EnaQueueCount`.
    pub ena_queue_count: Option<i32>,
}

/// EC2's `InstancePrivateIpAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstancePrivateIpAddress {
    /// `Association`.
    pub association: Option<InstanceNetworkInterfaceAssociation>,
    /// `Primary`.
    pub primary: Option<bool>,
    /// `PrivateDnsName`.
    pub private_dns_name: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
}

/// EC2's `InstanceState`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceState {
    /// `Code`.
    pub code: Option<i32>,
    /// `Name`.
    pub name: Option<String>,
}

/// EC2's `InstanceStateChange`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceStateChange {
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `CurrentState`.
    pub current_state: Option<InstanceState>,
    /// `PreviousState`.
    pub previous_state: Option<InstanceState>,
}

/// EC2's `InstanceStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceStatus {
    /// `AvailabilityZone`.
    pub availability_zone: Option<String>,
    /// `AvailabilityZoneId`.
    pub availability_zone_id: Option<String>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `InstanceState`.
    pub instance_state: Option<InstanceState>,
    /// `InstanceStatus`.
    pub instance_status: Option<InstanceStatusSummary>,
    /// `SystemStatus`.
    pub system_status: Option<InstanceStatusSummary>,
}

/// EC2's `InstanceStatusSummary`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceStatusSummary {
    /// `Details`.
    pub details: Vec<InstanceStatusDetails>,
    /// `Status`.
    pub status: Option<String>,
}

/// EC2's `InstanceStatusDetails`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceStatusDetails {
    /// `ImpairedSince`.
    pub impaired_since: Option<Timestamp>,
    /// `Name`.
    pub name: Option<String>,
    /// `Status`.
    pub status: Option<String>,
}

/// EC2's `InternetGateway`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InternetGateway {
    /// `Attachments`.
    pub attachments: Vec<InternetGatewayAttachment>,
    /// `InternetGatewayId`.
    pub internet_gateway_id: Option<String>,
    /// `OwnerId`.
    pub owner_id: Option<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
}

/// EC2's `InternetGatewayAttachment`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InternetGatewayAttachment {
    /// `State`.
    pub state: Option<String>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
}

/// EC2's `Ipv4PrefixSpecification`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipv4PrefixSpecification {
    /// `Ipv4Prefix`.
    pub ipv4_prefix: Option<String>,
}

/// EC2's `KeyPairInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KeyPairInfo {
    /// `KeyPairId`.
    pub key_pair_id: Option<String>,
    /// `KeyType`.
    pub key_type: Option<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `PublicKey`.
    pub public_key: Option<String>,
    /// `CreateTime`.
    pub create_time: Option<Timestamp>,
    /// `KeyName`.
    pub key_name: Option<String>,
    /// `KeyFingerprint`.
    pub key_fingerprint: Option<String>,
}

/// EC2's `NetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkInterface {
    /// `Association`.
    pub association: Option<NetworkInterfaceAssociation>,
    /// `Attachment`.
    pub attachment: Option<NetworkInterfaceAttachment>,
    /// `AvailabilityZone`.
    pub availability_zone: Option<String>,
    /// `ConnectionTrackingConfiguration`.
    pub connection_tracking_configuration: Option<ConnectionTrackingConfiguration>,
    /// `Description`.
    pub description: Option<String>,
    /// `Groups`.
    pub groups: Vec<GroupIdentifier>,
    /// `InterfaceType`.
    pub interface_type: Option<String>,
    /// `Ipv6Addresses`.
    pub ipv6_addresses: Vec<NetworkInterfaceIpv6Address>,
    /// `MacAddress`.
    pub mac_address: Option<String>,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `OwnerId`.
    pub owner_id: Option<String>,
    /// `PrivateDnsName`.
    pub private_dns_name: Option<String>,
    /// `PublicDnsName`.
    pub public_dns_name: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
    /// `PrivateIpAddresses`.
    pub private_ip_addresses: Vec<NetworkInterfacePrivateIpAddress>,
    /// `Ipv4Prefixes`.
    pub ipv4_prefixes: Vec<Ipv4PrefixSpecification>,
    /// `Ipv6Prefixes`.
    pub ipv6_prefixes: Vec<Ipv6PrefixSpecification>,
    /// `RequesterId`.
    pub requester_id: Option<String>,
    /// `RequesterManaged`.
    pub requester_managed: Option<bool>,
    /// `SourceDestCheck`.
    pub source_dest_check: Option<bool>,
    /// `Status`.
    pub status: Option<String>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
    /// `TagSet`.
    pub tag_set: Vec<Tag>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
    /// `DenyAllIgwTraffic`.
    pub deny_all_igw_traffic: Option<bool>,
    /// `Ipv6Native`.
    pub ipv6_native: Option<bool>,
    /// `Ipv6Address`.
    pub ipv6_address: Option<String>,
    /// `AvailabilityZoneId`.
    pub availability_zone_id: Option<String>,
}

/// EC2's `Ipv6PrefixSpecification`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipv6PrefixSpecification {
    /// `Ipv6Prefix`.
    pub ipv6_prefix: Option<String>,
}

/// EC2's `NetworkInterfaceAssociation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkInterfaceAssociation {
    /// `AllocationId`.
    pub allocation_id: Option<String>,
    /// `AssociationId`.
    pub association_id: Option<String>,
    /// `IpOwnerId`.
    pub ip_owner_id: Option<String>,
    /// `PublicDnsName`.
    pub public_dns_name: Option<String>,
    /// `PublicIp`.
    pub public_ip: Option<String>,
}

/// EC2's `NetworkInterfaceAttachment`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkInterfaceAttachment {
    /// `AttachTime`.
    pub attach_time: Option<Timestamp>,
    /// `AttachmentId`.
    pub attachment_id: Option<String>,
    /// `DeleteOnTermination`.
    pub delete_on_termination: Option<bool>,
    /// `DeviceIndex`.
    pub device_index: Option<i32>,
    /// `NetworkCardIndex`.
    pub network_card_index: Option<i32>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `InstanceOwnerId`.
    pub instance_owner_id: Option<String>,
    /// `Status`.
    pub status: Option<String>,
    /// `EnaQueueCount`.
    pub ena_queue_count: Option<i32>,
}

/// EC2's `NetworkInterfaceIpv6Address`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkInterfaceIpv6Address {
    /// `Ipv6Address`.
    pub ipv6_address: Option<String>,
    /// `IsPrimaryIpv6`.
    pub is_primary_ipv6: Option<bool>,
}

/// EC2's `NetworkInterfacePrivateIpAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkInterfacePrivateIpAddress {
    /// `Association`.
    pub association: Option<NetworkInterfaceAssociation>,
    /// `Primary`.
    pub primary: Option<bool>,
    /// `PrivateDnsName`.
    pub private_dns_name: Option<String>,
    /// `PrivateIpAddress`.
    pub private_ip_address: Option<String>,
}

/// EC2's `PrivateDnsNameOptionsResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PrivateDnsNameOptionsResponse {
    /// `HostnameType`.
    pub hostname_type: Option<String>,
    /// `EnableResourceNameDnsARecord`.
    pub enable_resource_name_dns_a_record: Option<bool>,
    /// `EnableResourceNameDnsAAAARecord`.
    #[serde(rename = "EnableResourceNameDnsAAAARecord")]
    pub enable_resource_name_dns_aaaa_record: Option<bool>,
}

/// EC2's `Region`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Region {
    /// `OptInStatus`.
    pub opt_in_status: Option<String>,
    /// `RegionName`.
    pub region_name: Option<String>,
    /// `Endpoint`.
    pub endpoint: Option<String>,
}

/// EC2's `Reservation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Reservation {
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

/// EC2's `RevokedSecurityGroupRule`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RevokedSecurityGroupRule {
    /// `SecurityGroupRuleId`.
    pub security_group_rule_id: Option<String>,
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `IsEgress`.
    pub is_egress: Option<bool>,
    /// `IpProtocol`.
    pub ip_protocol: Option<String>,
    /// `FromPort`.
    pub from_port: Option<i32>,
    /// `ToPort`.
    pub to_port: Option<i32>,
    /// `CidrIpv4`.
    pub cidr_ipv4: Option<String>,
    /// `CidrIpv6`.
    pub cidr_ipv6: Option<String>,
    /// `ReferencedGroupId`.
    pub referenced_group_id: Option<String>,
    /// `Description`.
    pub description: Option<String>,
}

/// EC2's `RouteTable`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteTable {
    /// `Associations`.
    pub associations: Vec<RouteTableAssociation>,
    /// `RouteTableId`.
    pub route_table_id: Option<String>,
    /// `Routes`.
    pub routes: Vec<Route>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
    /// `OwnerId`.
    pub owner_id: Option<String>,
}

/// EC2's `Route`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Route {
    /// `DestinationCidrBlock`.
    pub destination_cidr_block: Option<String>,
    /// `DestinationIpv6CidrBlock`.
    pub destination_ipv6_cidr_block: Option<String>,
    /// `GatewayId`.
    pub gateway_id: Option<String>,
    /// `InstanceId`.
    pub instance_id: Option<String>,
    /// `InstanceOwnerId`.
    pub instance_owner_id: Option<String>,
    /// `NetworkInterfaceId`.
    pub network_interface_id: Option<String>,
    /// `Origin`.
    pub origin: Option<String>,
    /// `State`.
    pub state: Option<String>,
    /// `IpAddress`.
    pub ip_address: Option<String>,
}

/// EC2's `RouteTableAssociation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteTableAssociation {
    /// `Main`.
    pub main: Option<bool>,
    /// `RouteTableAssociationId`.
    pub route_table_association_id: Option<String>,
    /// `RouteTableId`.
    pub route_table_id: Option<String>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
    /// `GatewayId`.
    pub gateway_id: Option<String>,
    /// `AssociationState`.
    pub association_state: Option<RouteTableAssociationState>,
}

/// EC2's `RouteTableAssociationState`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteTableAssociationState {
    /// `State`.
    pub state: Option<String>,
    /// `StatusMessage`.
    pub status_message: Option<String>,
}

/// EC2's `SecurityGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecurityGroup {
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `IpPermissionsEgress`.
    pub ip_permissions_egress: Vec<IpPermission>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
    /// `SecurityGroupArn`.
    pub security_group_arn: Option<String>,
    /// `OwnerId`.
    pub owner_id: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `Description`.
    pub description: Option<String>,
    /// `IpPermissions`.
    pub ip_permissions: Vec<IpPermission>,
}

/// EC2's `SecurityGroupRule`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecurityGroupRule {
    /// `SecurityGroupRuleId`.
    pub security_group_rule_id: Option<String>,
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `GroupOwnerId`.
    pub group_owner_id: Option<String>,
    /// `IsEgress`.
    pub is_egress: Option<bool>,
    /// `IpProtocol`.
    pub ip_protocol: Option<String>,
    /// `FromPort`.
    pub from_port: Option<i32>,
    /// `ToPort`.
    pub to_port: Option<i32>,
    /// `CidrIpv4`.
    pub cidr_ipv4: Option<String>,
    /// `CidrIpv6`.
    pub cidr_ipv6: Option<String>,
    /// `ReferencedGroupInfo`.
    pub referenced_group_info: Option<ReferencedSecurityGroup>,
    /// `Description`.
    pub description: Option<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `SecurityGroupRuleArn`.
    pub security_group_rule_arn: Option<String>,
}

/// EC2's `ReferencedSecurityGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReferencedSecurityGroup {
    /// `GroupId`.
    pub group_id: Option<String>,
    /// `UserId`.
    pub user_id: Option<String>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
}

/// EC2's `StateReason`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StateReason {
    /// `Code`.
    pub code: Option<String>,
    /// `Message`.
    pub message: Option<String>,
}

/// EC2's `Subnet`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Subnet {
    /// `AvailabilityZoneId`.
    pub availability_zone_id: Option<String>,
    /// `OwnerId`.
    pub owner_id: Option<String>,
    /// `AssignIpv6AddressOnCreation`.
    pub assign_ipv6_address_on_creation: Option<bool>,
    /// `Ipv6CidrBlockAssociationSet`.
    pub ipv6_cidr_block_association_set: Vec<SubnetIpv6CidrBlockAssociation>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `SubnetArn`.
    pub subnet_arn: Option<String>,
    /// `EnableDns64`.
    pub enable_dns64: Option<bool>,
    /// `Ipv6Native`.
    pub ipv6_native: Option<bool>,
    /// `PrivateDnsNameOptionsOnLaunch`.
    pub private_dns_name_options_on_launch: Option<PrivateDnsNameOptionsOnLaunch>,
    /// `Type`.
    #[serde(rename = "Type")]
    pub type_: Option<String>,
    /// `SubnetId`.
    pub subnet_id: Option<String>,
    /// `State`.
    pub state: Option<String>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
    /// `CidrBlock`.
    pub cidr_block: Option<String>,
    /// `AvailableIpAddressCount`.
    pub available_ip_address_count: Option<i32>,
    /// `AvailabilityZone`.
    pub availability_zone: Option<String>,
    /// `DefaultForAz`.
    pub default_for_az: Option<bool>,
    /// `MapPublicIpOnLaunch`.
    pub map_public_ip_on_launch: Option<bool>,
}

/// EC2's `SubnetIpv6CidrBlockAssociation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SubnetIpv6CidrBlockAssociation {
    /// `AssociationId`.
    pub association_id: Option<String>,
    /// `Ipv6CidrBlock`.
    pub ipv6_cidr_block: Option<String>,
    /// `Ipv6CidrBlockState`.
    pub ipv6_cidr_block_state: Option<SubnetCidrBlockState>,
}

/// EC2's `SubnetCidrBlockState`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SubnetCidrBlockState {
    /// `State`.
    pub state: Option<String>,
    /// `StatusMessage`.
    pub status_message: Option<String>,
}

/// EC2's `TagDescription`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TagDescription {
    /// `Key`.
    pub key: Option<String>,
    /// `ResourceId`.
    pub resource_id: Option<String>,
    /// `ResourceType`.
    pub resource_type: Option<String>,
    /// `Value`.
    pub value: Option<String>,
}

/// EC2's `Vpc`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Vpc {
    /// `OwnerId`.
    pub owner_id: Option<String>,
    /// `InstanceTenancy`.
    pub instance_tenancy: Option<String>,
    /// `Ipv6CidrBlockAssociationSet`.
    pub ipv6_cidr_block_association_set: Vec<VpcIpv6CidrBlockAssociation>,
    /// `CidrBlockAssociationSet`.
    pub cidr_block_association_set: Vec<VpcCidrBlockAssociation>,
    /// `IsDefault`.
    pub is_default: Option<bool>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `VpcId`.
    pub vpc_id: Option<String>,
    /// `State`.
    pub state: Option<String>,
    /// `CidrBlock`.
    pub cidr_block: Option<String>,
    /// `DhcpOptionsId`.
    pub dhcp_options_id: Option<String>,
}

/// EC2's `VpcCidrBlockAssociation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VpcCidrBlockAssociation {
    /// `AssociationId`.
    pub association_id: Option<String>,
    /// `CidrBlock`.
    pub cidr_block: Option<String>,
    /// `CidrBlockState`.
    pub cidr_block_state: Option<VpcCidrBlockState>,
}

/// EC2's `VpcCidrBlockState`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VpcCidrBlockState {
    /// `State`.
    pub state: Option<String>,
    /// `StatusMessage`.
    pub status_message: Option<String>,
}

/// EC2's `VpcIpv6CidrBlockAssociation`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VpcIpv6CidrBlockAssociation {
    /// `AssociationId`.
    pub association_id: Option<String>,
    /// `Ipv6CidrBlock`.
    pub ipv6_cidr_block: Option<String>,
    /// `Ipv6CidrBlockState`.
    pub ipv6_cidr_block_state: Option<VpcCidrBlockState>,
    /// `NetworkBorderGroup`.
    pub network_border_group: Option<String>,
    /// `Ipv6Pool`.
    pub ipv6_pool: Option<String>,
}

/// EC2's `InstanceNetworkPerformanceOptions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceNetworkPerformanceOptions {
    /// `BandwidthWeighting`.
    pub bandwidth_weighting: Option<String>,
}
