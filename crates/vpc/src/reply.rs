//! Replies: one struct per EC2 action that answers with more than success.
//!
//! Ids, addresses and states are text as EC2 writes it, times are timestamps; `None` means that EC2
//! leaves the element out. Field names are those of the response members.
//!
//! Source: [botocore data/ec2/2016-11-15/service-2.json, 1.44].

use serde::{Deserialize, Serialize};

mod account;
mod address;
mod gateway;
mod group;
mod image;
mod instance;
mod interface;
mod route;
mod subnet;
mod vpc;

pub use account::*;
pub use address::*;
pub use gateway::*;
pub use group::*;
pub use image::*;
pub use instance::*;
pub use interface::*;
pub use route::*;
pub use subnet::*;
pub use vpc::*;

/// The answer to a [`crate::command::Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a reply lives for one call; boxing would burden every caller"
)]
pub enum Reply {
    /// The action answers with nothing but success (`<return>true</return>`).
    Done,
    /// Of `CreateVpc`.
    CreateVpc(CreateVpcResult),
    /// Of `DescribeVpcs`.
    DescribeVpcs(DescribeVpcsResult),
    /// Of `DescribeVpcAttribute`.
    DescribeVpcAttribute(DescribeVpcAttributeResult),
    /// Of `AssociateVpcCidrBlock`.
    AssociateVpcCidrBlock(AssociateVpcCidrBlockResult),
    /// Of `DisassociateVpcCidrBlock`.
    DisassociateVpcCidrBlock(DisassociateVpcCidrBlockResult),
    /// Of `CreateDefaultVpc`.
    CreateDefaultVpc(CreateDefaultVpcResult),
    /// Of `CreateSubnet`.
    CreateSubnet(CreateSubnetResult),
    /// Of `DescribeSubnets`.
    DescribeSubnets(DescribeSubnetsResult),
    /// Of `AssociateSubnetCidrBlock`.
    AssociateSubnetCidrBlock(AssociateSubnetCidrBlockResult),
    /// Of `DisassociateSubnetCidrBlock`.
    DisassociateSubnetCidrBlock(DisassociateSubnetCidrBlockResult),
    /// Of `CreateNetworkInterface`.
    CreateNetworkInterface(CreateNetworkInterfaceResult),
    /// Of `DescribeNetworkInterfaces`.
    DescribeNetworkInterfaces(DescribeNetworkInterfacesResult),
    /// Of `AttachNetworkInterface`.
    AttachNetworkInterface(AttachNetworkInterfaceResult),
    /// Of `DescribeNetworkInterfaceAttribute`.
    DescribeNetworkInterfaceAttribute(DescribeNetworkInterfaceAttributeResult),
    /// Of `AssignPrivateIpAddresses`.
    AssignPrivateIpAddresses(AssignPrivateIpAddressesResult),
    /// Of `AssignIpv6Addresses`.
    AssignIpv6Addresses(AssignIpv6AddressesResult),
    /// Of `UnassignIpv6Addresses`.
    UnassignIpv6Addresses(UnassignIpv6AddressesResult),
    /// Of `CreateSecurityGroup`.
    CreateSecurityGroup(CreateSecurityGroupResult),
    /// Of `DeleteSecurityGroup`.
    DeleteSecurityGroup(DeleteSecurityGroupResult),
    /// Of `DescribeSecurityGroups`.
    DescribeSecurityGroups(DescribeSecurityGroupsResult),
    /// Of `DescribeSecurityGroupRules`.
    DescribeSecurityGroupRules(DescribeSecurityGroupRulesResult),
    /// Of `AuthorizeSecurityGroupIngress`.
    AuthorizeSecurityGroupIngress(AuthorizeSecurityGroupIngressResult),
    /// Of `AuthorizeSecurityGroupEgress`.
    AuthorizeSecurityGroupEgress(AuthorizeSecurityGroupEgressResult),
    /// Of `RevokeSecurityGroupIngress`.
    RevokeSecurityGroupIngress(RevokeSecurityGroupIngressResult),
    /// Of `RevokeSecurityGroupEgress`.
    RevokeSecurityGroupEgress(RevokeSecurityGroupEgressResult),
    /// Of `ModifySecurityGroupRules`.
    ModifySecurityGroupRules(ModifySecurityGroupRulesResult),
    /// Of `UpdateSecurityGroupRuleDescriptionsIngress`.
    UpdateSecurityGroupRuleDescriptionsIngress(UpdateSecurityGroupRuleDescriptionsIngressResult),
    /// Of `UpdateSecurityGroupRuleDescriptionsEgress`.
    UpdateSecurityGroupRuleDescriptionsEgress(UpdateSecurityGroupRuleDescriptionsEgressResult),
    /// Of `AllocateAddress`.
    AllocateAddress(AllocateAddressResult),
    /// Of `AssociateAddress`.
    AssociateAddress(AssociateAddressResult),
    /// Of `DescribeAddresses`.
    DescribeAddresses(DescribeAddressesResult),
    /// Of `CreateInternetGateway`.
    CreateInternetGateway(CreateInternetGatewayResult),
    /// Of `DescribeInternetGateways`.
    DescribeInternetGateways(DescribeInternetGatewaysResult),
    /// Of `CreateRouteTable`.
    CreateRouteTable(CreateRouteTableResult),
    /// Of `CreateRoute`.
    CreateRoute(CreateRouteResult),
    /// Of `AssociateRouteTable`.
    AssociateRouteTable(AssociateRouteTableResult),
    /// Of `ReplaceRouteTableAssociation`.
    ReplaceRouteTableAssociation(ReplaceRouteTableAssociationResult),
    /// Of `DescribeRouteTables`.
    DescribeRouteTables(DescribeRouteTablesResult),
    /// Of `RunInstances`.
    RunInstances(RunInstancesResult),
    /// Of `TerminateInstances`.
    TerminateInstances(TerminateInstancesResult),
    /// Of `DescribeInstances`.
    DescribeInstances(DescribeInstancesResult),
    /// Of `DescribeInstanceStatus`.
    DescribeInstanceStatus(DescribeInstanceStatusResult),
    /// Of `StopInstances`.
    StopInstances(StopInstancesResult),
    /// Of `StartInstances`.
    StartInstances(StartInstancesResult),
    /// Of `DescribeInstanceAttribute`.
    DescribeInstanceAttribute(DescribeInstanceAttributeResult),
    /// Of `ModifyInstanceMetadataOptions`.
    ModifyInstanceMetadataOptions(ModifyInstanceMetadataOptionsResult),
    /// Of `DescribeInstanceTypes`.
    DescribeInstanceTypes(DescribeInstanceTypesResult),
    /// Of `RegisterImage`.
    RegisterImage(RegisterImageResult),
    /// Of `DeregisterImage`.
    DeregisterImage(DeregisterImageResult),
    /// Of `DescribeImages`.
    DescribeImages(DescribeImagesResult),
    /// Of `DescribeImageAttribute`.
    DescribeImageAttribute(DescribeImageAttributeResult),
    /// Of `GetConsoleOutput`.
    GetConsoleOutput(GetConsoleOutputResult),
    /// Of `ModifyInstanceNetworkPerformanceOptions`.
    ModifyInstanceNetworkPerformanceOptions(ModifyInstanceNetworkPerformanceOptionsResult),
    /// Of `DescribeTags`.
    DescribeTags(DescribeTagsResult),
    /// Of `DescribeAvailabilityZones`.
    DescribeAvailabilityZones(DescribeAvailabilityZonesResult),
    /// Of `DescribeRegions`.
    DescribeRegions(DescribeRegionsResult),
    /// Of `DescribeAccountAttributes`.
    DescribeAccountAttributes(DescribeAccountAttributesResult),
    /// Of `ImportKeyPair`.
    ImportKeyPair(ImportKeyPairResult),
    /// Of `DeleteKeyPair`.
    DeleteKeyPair(DeleteKeyPairResult),
    /// Of `DescribeKeyPairs`.
    DescribeKeyPairs(DescribeKeyPairsResult),
}

macro_rules! from_results {
    ($($variant:ident($result:ident)),* $(,)?) => {
        $(impl From<$result> for Reply {
            fn from(result: $result) -> Self {
                Self::$variant(result)
            }
        })*
    };
}

from_results! {
    CreateVpc(CreateVpcResult),
    DescribeVpcs(DescribeVpcsResult),
    DescribeVpcAttribute(DescribeVpcAttributeResult),
    AssociateVpcCidrBlock(AssociateVpcCidrBlockResult),
    DisassociateVpcCidrBlock(DisassociateVpcCidrBlockResult),
    CreateDefaultVpc(CreateDefaultVpcResult),
    CreateSubnet(CreateSubnetResult),
    DescribeSubnets(DescribeSubnetsResult),
    AssociateSubnetCidrBlock(AssociateSubnetCidrBlockResult),
    DisassociateSubnetCidrBlock(DisassociateSubnetCidrBlockResult),
    CreateNetworkInterface(CreateNetworkInterfaceResult),
    DescribeNetworkInterfaces(DescribeNetworkInterfacesResult),
    AttachNetworkInterface(AttachNetworkInterfaceResult),
    DescribeNetworkInterfaceAttribute(DescribeNetworkInterfaceAttributeResult),
    AssignPrivateIpAddresses(AssignPrivateIpAddressesResult),
    AssignIpv6Addresses(AssignIpv6AddressesResult),
    UnassignIpv6Addresses(UnassignIpv6AddressesResult),
    CreateSecurityGroup(CreateSecurityGroupResult),
    DeleteSecurityGroup(DeleteSecurityGroupResult),
    DescribeSecurityGroups(DescribeSecurityGroupsResult),
    DescribeSecurityGroupRules(DescribeSecurityGroupRulesResult),
    AuthorizeSecurityGroupIngress(AuthorizeSecurityGroupIngressResult),
    AuthorizeSecurityGroupEgress(AuthorizeSecurityGroupEgressResult),
    RevokeSecurityGroupIngress(RevokeSecurityGroupIngressResult),
    RevokeSecurityGroupEgress(RevokeSecurityGroupEgressResult),
    ModifySecurityGroupRules(ModifySecurityGroupRulesResult),
    UpdateSecurityGroupRuleDescriptionsIngress(UpdateSecurityGroupRuleDescriptionsIngressResult),
    UpdateSecurityGroupRuleDescriptionsEgress(UpdateSecurityGroupRuleDescriptionsEgressResult),
    AllocateAddress(AllocateAddressResult),
    AssociateAddress(AssociateAddressResult),
    DescribeAddresses(DescribeAddressesResult),
    CreateInternetGateway(CreateInternetGatewayResult),
    DescribeInternetGateways(DescribeInternetGatewaysResult),
    CreateRouteTable(CreateRouteTableResult),
    CreateRoute(CreateRouteResult),
    AssociateRouteTable(AssociateRouteTableResult),
    ReplaceRouteTableAssociation(ReplaceRouteTableAssociationResult),
    DescribeRouteTables(DescribeRouteTablesResult),
    RunInstances(RunInstancesResult),
    TerminateInstances(TerminateInstancesResult),
    DescribeInstances(DescribeInstancesResult),
    DescribeInstanceStatus(DescribeInstanceStatusResult),
    StopInstances(StopInstancesResult),
    StartInstances(StartInstancesResult),
    DescribeInstanceAttribute(DescribeInstanceAttributeResult),
    ModifyInstanceMetadataOptions(ModifyInstanceMetadataOptionsResult),
    DescribeInstanceTypes(DescribeInstanceTypesResult),
    RegisterImage(RegisterImageResult),
    DeregisterImage(DeregisterImageResult),
    DescribeImages(DescribeImagesResult),
    DescribeImageAttribute(DescribeImageAttributeResult),
    GetConsoleOutput(GetConsoleOutputResult),
    ModifyInstanceNetworkPerformanceOptions(ModifyInstanceNetworkPerformanceOptionsResult),
    DescribeTags(DescribeTagsResult),
    DescribeAvailabilityZones(DescribeAvailabilityZonesResult),
    DescribeRegions(DescribeRegionsResult),
    DescribeAccountAttributes(DescribeAccountAttributesResult),
    ImportKeyPair(ImportKeyPairResult),
    DeleteKeyPair(DeleteKeyPairResult),
    DescribeKeyPairs(DescribeKeyPairsResult),
}
