//! Commands: one struct per EC2 action, its fields named after the members of the request.
//!
//! Ids, addresses and enumerations are the caller's text; the model checks them, so that every caller
//! gets EC2's own errors. A required string is a `String` and missing when it is empty; everything
//! else is an `Option` or a list. Members of the service model that trinic does not act on are absent.
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

/// A call of one EC2 action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a command lives for one call; boxing would burden every caller"
)]
pub enum Command {
    /// `CreateVpc`.
    CreateVpc(CreateVpc),
    /// `DeleteVpc`.
    DeleteVpc(DeleteVpc),
    /// `DescribeVpcs`.
    DescribeVpcs(DescribeVpcs),
    /// `ModifyVpcAttribute`.
    ModifyVpcAttribute(ModifyVpcAttribute),
    /// `DescribeVpcAttribute`.
    DescribeVpcAttribute(DescribeVpcAttribute),
    /// `AssociateVpcCidrBlock`.
    AssociateVpcCidrBlock(AssociateVpcCidrBlock),
    /// `DisassociateVpcCidrBlock`.
    DisassociateVpcCidrBlock(DisassociateVpcCidrBlock),
    /// `CreateDefaultVpc`.
    CreateDefaultVpc(CreateDefaultVpc),
    /// `CreateSubnet`.
    CreateSubnet(CreateSubnet),
    /// `DeleteSubnet`.
    DeleteSubnet(DeleteSubnet),
    /// `DescribeSubnets`.
    DescribeSubnets(DescribeSubnets),
    /// `ModifySubnetAttribute`.
    ModifySubnetAttribute(ModifySubnetAttribute),
    /// `AssociateSubnetCidrBlock`.
    AssociateSubnetCidrBlock(AssociateSubnetCidrBlock),
    /// `DisassociateSubnetCidrBlock`.
    DisassociateSubnetCidrBlock(DisassociateSubnetCidrBlock),
    /// `CreateNetworkInterface`.
    CreateNetworkInterface(CreateNetworkInterface),
    /// `DeleteNetworkInterface`.
    DeleteNetworkInterface(DeleteNetworkInterface),
    /// `DescribeNetworkInterfaces`.
    DescribeNetworkInterfaces(DescribeNetworkInterfaces),
    /// `AttachNetworkInterface`.
    AttachNetworkInterface(AttachNetworkInterface),
    /// `DetachNetworkInterface`.
    DetachNetworkInterface(DetachNetworkInterface),
    /// `ModifyNetworkInterfaceAttribute`.
    ModifyNetworkInterfaceAttribute(ModifyNetworkInterfaceAttribute),
    /// `DescribeNetworkInterfaceAttribute`.
    DescribeNetworkInterfaceAttribute(DescribeNetworkInterfaceAttribute),
    /// `ResetNetworkInterfaceAttribute`.
    ResetNetworkInterfaceAttribute(ResetNetworkInterfaceAttribute),
    /// `AssignPrivateIpAddresses`.
    AssignPrivateIpAddresses(AssignPrivateIpAddresses),
    /// `UnassignPrivateIpAddresses`.
    UnassignPrivateIpAddresses(UnassignPrivateIpAddresses),
    /// `AssignIpv6Addresses`.
    AssignIpv6Addresses(AssignIpv6Addresses),
    /// `UnassignIpv6Addresses`.
    UnassignIpv6Addresses(UnassignIpv6Addresses),
    /// `CreateSecurityGroup`.
    CreateSecurityGroup(CreateSecurityGroup),
    /// `DeleteSecurityGroup`.
    DeleteSecurityGroup(DeleteSecurityGroup),
    /// `DescribeSecurityGroups`.
    DescribeSecurityGroups(DescribeSecurityGroups),
    /// `DescribeSecurityGroupRules`.
    DescribeSecurityGroupRules(DescribeSecurityGroupRules),
    /// `AuthorizeSecurityGroupIngress`.
    AuthorizeSecurityGroupIngress(AuthorizeSecurityGroupIngress),
    /// `AuthorizeSecurityGroupEgress`.
    AuthorizeSecurityGroupEgress(AuthorizeSecurityGroupEgress),
    /// `RevokeSecurityGroupIngress`.
    RevokeSecurityGroupIngress(RevokeSecurityGroupIngress),
    /// `RevokeSecurityGroupEgress`.
    RevokeSecurityGroupEgress(RevokeSecurityGroupEgress),
    /// `ModifySecurityGroupRules`.
    ModifySecurityGroupRules(ModifySecurityGroupRules),
    /// `UpdateSecurityGroupRuleDescriptionsIngress`.
    UpdateSecurityGroupRuleDescriptionsIngress(UpdateSecurityGroupRuleDescriptionsIngress),
    /// `UpdateSecurityGroupRuleDescriptionsEgress`.
    UpdateSecurityGroupRuleDescriptionsEgress(UpdateSecurityGroupRuleDescriptionsEgress),
    /// `AllocateAddress`.
    AllocateAddress(AllocateAddress),
    /// `ReleaseAddress`.
    ReleaseAddress(ReleaseAddress),
    /// `AssociateAddress`.
    AssociateAddress(AssociateAddress),
    /// `DisassociateAddress`.
    DisassociateAddress(DisassociateAddress),
    /// `DescribeAddresses`.
    DescribeAddresses(DescribeAddresses),
    /// `CreateInternetGateway`.
    CreateInternetGateway(CreateInternetGateway),
    /// `DeleteInternetGateway`.
    DeleteInternetGateway(DeleteInternetGateway),
    /// `AttachInternetGateway`.
    AttachInternetGateway(AttachInternetGateway),
    /// `DetachInternetGateway`.
    DetachInternetGateway(DetachInternetGateway),
    /// `DescribeInternetGateways`.
    DescribeInternetGateways(DescribeInternetGateways),
    /// `CreateRouteTable`.
    CreateRouteTable(CreateRouteTable),
    /// `DeleteRouteTable`.
    DeleteRouteTable(DeleteRouteTable),
    /// `CreateRoute`.
    CreateRoute(CreateRoute),
    /// `ReplaceRoute`.
    ReplaceRoute(ReplaceRoute),
    /// `DeleteRoute`.
    DeleteRoute(DeleteRoute),
    /// `AssociateRouteTable`.
    AssociateRouteTable(AssociateRouteTable),
    /// `DisassociateRouteTable`.
    DisassociateRouteTable(DisassociateRouteTable),
    /// `ReplaceRouteTableAssociation`.
    ReplaceRouteTableAssociation(ReplaceRouteTableAssociation),
    /// `DescribeRouteTables`.
    DescribeRouteTables(DescribeRouteTables),
    /// `RunInstances`.
    RunInstances(RunInstances),
    /// `TerminateInstances`.
    TerminateInstances(TerminateInstances),
    /// `DescribeInstances`.
    DescribeInstances(DescribeInstances),
    /// `DescribeInstanceStatus`.
    DescribeInstanceStatus(DescribeInstanceStatus),
    /// `StopInstances`.
    StopInstances(StopInstances),
    /// `StartInstances`.
    StartInstances(StartInstances),
    /// `RebootInstances`.
    RebootInstances(RebootInstances),
    /// `DescribeInstanceAttribute`.
    DescribeInstanceAttribute(DescribeInstanceAttribute),
    /// `ModifyInstanceAttribute`.
    ModifyInstanceAttribute(ModifyInstanceAttribute),
    /// `ModifyInstanceMetadataOptions`.
    ModifyInstanceMetadataOptions(ModifyInstanceMetadataOptions),
    /// `DescribeInstanceTypes`.
    DescribeInstanceTypes(DescribeInstanceTypes),
    /// `RegisterImage`.
    RegisterImage(RegisterImage),
    /// `DeregisterImage`.
    DeregisterImage(DeregisterImage),
    /// `DescribeImages`.
    DescribeImages(DescribeImages),
    /// `DescribeImageAttribute`.
    DescribeImageAttribute(DescribeImageAttribute),
    /// `GetConsoleOutput`.
    GetConsoleOutput(GetConsoleOutput),
    /// `ModifyInstanceNetworkPerformanceOptions`.
    ModifyInstanceNetworkPerformanceOptions(ModifyInstanceNetworkPerformanceOptions),
    /// `CreateTags`.
    CreateTags(CreateTags),
    /// `DeleteTags`.
    DeleteTags(DeleteTags),
    /// `DescribeTags`.
    DescribeTags(DescribeTags),
    /// `DescribeAvailabilityZones`.
    DescribeAvailabilityZones(DescribeAvailabilityZones),
    /// `DescribeRegions`.
    DescribeRegions(DescribeRegions),
    /// `DescribeAccountAttributes`.
    DescribeAccountAttributes(DescribeAccountAttributes),
    /// `ImportKeyPair`.
    ImportKeyPair(ImportKeyPair),
    /// `DeleteKeyPair`.
    DeleteKeyPair(DeleteKeyPair),
    /// `DescribeKeyPairs`.
    DescribeKeyPairs(DescribeKeyPairs),
}

impl Command {
    /// The name of the action.
    #[expect(clippy::too_many_lines, reason = "one line per action")]
    pub fn action(&self) -> &'static str {
        match self {
            Self::CreateVpc(_) => "CreateVpc",
            Self::DeleteVpc(_) => "DeleteVpc",
            Self::DescribeVpcs(_) => "DescribeVpcs",
            Self::ModifyVpcAttribute(_) => "ModifyVpcAttribute",
            Self::DescribeVpcAttribute(_) => "DescribeVpcAttribute",
            Self::AssociateVpcCidrBlock(_) => "AssociateVpcCidrBlock",
            Self::DisassociateVpcCidrBlock(_) => "DisassociateVpcCidrBlock",
            Self::CreateDefaultVpc(_) => "CreateDefaultVpc",
            Self::CreateSubnet(_) => "CreateSubnet",
            Self::DeleteSubnet(_) => "DeleteSubnet",
            Self::DescribeSubnets(_) => "DescribeSubnets",
            Self::ModifySubnetAttribute(_) => "ModifySubnetAttribute",
            Self::AssociateSubnetCidrBlock(_) => "AssociateSubnetCidrBlock",
            Self::DisassociateSubnetCidrBlock(_) => "DisassociateSubnetCidrBlock",
            Self::CreateNetworkInterface(_) => "CreateNetworkInterface",
            Self::DeleteNetworkInterface(_) => "DeleteNetworkInterface",
            Self::DescribeNetworkInterfaces(_) => "DescribeNetworkInterfaces",
            Self::AttachNetworkInterface(_) => "AttachNetworkInterface",
            Self::DetachNetworkInterface(_) => "DetachNetworkInterface",
            Self::ModifyNetworkInterfaceAttribute(_) => "ModifyNetworkInterfaceAttribute",
            Self::DescribeNetworkInterfaceAttribute(_) => "DescribeNetworkInterfaceAttribute",
            Self::ResetNetworkInterfaceAttribute(_) => "ResetNetworkInterfaceAttribute",
            Self::AssignPrivateIpAddresses(_) => "AssignPrivateIpAddresses",
            Self::UnassignPrivateIpAddresses(_) => "UnassignPrivateIpAddresses",
            Self::AssignIpv6Addresses(_) => "AssignIpv6Addresses",
            Self::UnassignIpv6Addresses(_) => "UnassignIpv6Addresses",
            Self::CreateSecurityGroup(_) => "CreateSecurityGroup",
            Self::DeleteSecurityGroup(_) => "DeleteSecurityGroup",
            Self::DescribeSecurityGroups(_) => "DescribeSecurityGroups",
            Self::DescribeSecurityGroupRules(_) => "DescribeSecurityGroupRules",
            Self::AuthorizeSecurityGroupIngress(_) => "AuthorizeSecurityGroupIngress",
            Self::AuthorizeSecurityGroupEgress(_) => "AuthorizeSecurityGroupEgress",
            Self::RevokeSecurityGroupIngress(_) => "RevokeSecurityGroupIngress",
            Self::RevokeSecurityGroupEgress(_) => "RevokeSecurityGroupEgress",
            Self::ModifySecurityGroupRules(_) => "ModifySecurityGroupRules",
            Self::UpdateSecurityGroupRuleDescriptionsIngress(_) => {
                "UpdateSecurityGroupRuleDescriptionsIngress"
            }
            Self::UpdateSecurityGroupRuleDescriptionsEgress(_) => "UpdateSecurityGroupRuleDescriptionsEgress",
            Self::AllocateAddress(_) => "AllocateAddress",
            Self::ReleaseAddress(_) => "ReleaseAddress",
            Self::AssociateAddress(_) => "AssociateAddress",
            Self::DisassociateAddress(_) => "DisassociateAddress",
            Self::DescribeAddresses(_) => "DescribeAddresses",
            Self::CreateInternetGateway(_) => "CreateInternetGateway",
            Self::DeleteInternetGateway(_) => "DeleteInternetGateway",
            Self::AttachInternetGateway(_) => "AttachInternetGateway",
            Self::DetachInternetGateway(_) => "DetachInternetGateway",
            Self::DescribeInternetGateways(_) => "DescribeInternetGateways",
            Self::CreateRouteTable(_) => "CreateRouteTable",
            Self::DeleteRouteTable(_) => "DeleteRouteTable",
            Self::CreateRoute(_) => "CreateRoute",
            Self::ReplaceRoute(_) => "ReplaceRoute",
            Self::DeleteRoute(_) => "DeleteRoute",
            Self::AssociateRouteTable(_) => "AssociateRouteTable",
            Self::DisassociateRouteTable(_) => "DisassociateRouteTable",
            Self::ReplaceRouteTableAssociation(_) => "ReplaceRouteTableAssociation",
            Self::DescribeRouteTables(_) => "DescribeRouteTables",
            Self::RunInstances(_) => "RunInstances",
            Self::TerminateInstances(_) => "TerminateInstances",
            Self::DescribeInstances(_) => "DescribeInstances",
            Self::DescribeInstanceStatus(_) => "DescribeInstanceStatus",
            Self::StopInstances(_) => "StopInstances",
            Self::StartInstances(_) => "StartInstances",
            Self::RebootInstances(_) => "RebootInstances",
            Self::DescribeInstanceAttribute(_) => "DescribeInstanceAttribute",
            Self::ModifyInstanceAttribute(_) => "ModifyInstanceAttribute",
            Self::ModifyInstanceMetadataOptions(_) => "ModifyInstanceMetadataOptions",
            Self::DescribeInstanceTypes(_) => "DescribeInstanceTypes",
            Self::RegisterImage(_) => "RegisterImage",
            Self::DeregisterImage(_) => "DeregisterImage",
            Self::DescribeImages(_) => "DescribeImages",
            Self::DescribeImageAttribute(_) => "DescribeImageAttribute",
            Self::GetConsoleOutput(_) => "GetConsoleOutput",
            Self::ModifyInstanceNetworkPerformanceOptions(_) => "ModifyInstanceNetworkPerformanceOptions",
            Self::CreateTags(_) => "CreateTags",
            Self::DeleteTags(_) => "DeleteTags",
            Self::DescribeTags(_) => "DescribeTags",
            Self::DescribeAvailabilityZones(_) => "DescribeAvailabilityZones",
            Self::DescribeRegions(_) => "DescribeRegions",
            Self::DescribeAccountAttributes(_) => "DescribeAccountAttributes",
            Self::ImportKeyPair(_) => "ImportKeyPair",
            Self::DeleteKeyPair(_) => "DeleteKeyPair",
            Self::DescribeKeyPairs(_) => "DescribeKeyPairs",
        }
    }

    /// Whether the caller only asks if the call would be allowed.
    #[expect(clippy::too_many_lines, reason = "one line per action")]
    pub fn dry_run(&self) -> bool {
        match self {
            Self::CreateVpc(c) => c.dry_run,
            Self::DeleteVpc(c) => c.dry_run,
            Self::DescribeVpcs(c) => c.dry_run,
            Self::DescribeVpcAttribute(c) => c.dry_run,
            Self::CreateDefaultVpc(c) => c.dry_run,
            Self::CreateSubnet(c) => c.dry_run,
            Self::DeleteSubnet(c) => c.dry_run,
            Self::DescribeSubnets(c) => c.dry_run,
            Self::CreateNetworkInterface(c) => c.dry_run,
            Self::DeleteNetworkInterface(c) => c.dry_run,
            Self::DescribeNetworkInterfaces(c) => c.dry_run,
            Self::AttachNetworkInterface(c) => c.dry_run,
            Self::DetachNetworkInterface(c) => c.dry_run,
            Self::ModifyNetworkInterfaceAttribute(c) => c.dry_run,
            Self::DescribeNetworkInterfaceAttribute(c) => c.dry_run,
            Self::ResetNetworkInterfaceAttribute(c) => c.dry_run,
            Self::CreateSecurityGroup(c) => c.dry_run,
            Self::DeleteSecurityGroup(c) => c.dry_run,
            Self::DescribeSecurityGroups(c) => c.dry_run,
            Self::DescribeSecurityGroupRules(c) => c.dry_run,
            Self::AuthorizeSecurityGroupIngress(c) => c.dry_run,
            Self::AuthorizeSecurityGroupEgress(c) => c.dry_run,
            Self::RevokeSecurityGroupIngress(c) => c.dry_run,
            Self::RevokeSecurityGroupEgress(c) => c.dry_run,
            Self::ModifySecurityGroupRules(c) => c.dry_run,
            Self::UpdateSecurityGroupRuleDescriptionsIngress(c) => c.dry_run,
            Self::UpdateSecurityGroupRuleDescriptionsEgress(c) => c.dry_run,
            Self::AllocateAddress(c) => c.dry_run,
            Self::ReleaseAddress(c) => c.dry_run,
            Self::AssociateAddress(c) => c.dry_run,
            Self::DisassociateAddress(c) => c.dry_run,
            Self::DescribeAddresses(c) => c.dry_run,
            Self::CreateInternetGateway(c) => c.dry_run,
            Self::DeleteInternetGateway(c) => c.dry_run,
            Self::AttachInternetGateway(c) => c.dry_run,
            Self::DetachInternetGateway(c) => c.dry_run,
            Self::DescribeInternetGateways(c) => c.dry_run,
            Self::CreateRouteTable(c) => c.dry_run,
            Self::DeleteRouteTable(c) => c.dry_run,
            Self::CreateRoute(c) => c.dry_run,
            Self::ReplaceRoute(c) => c.dry_run,
            Self::DeleteRoute(c) => c.dry_run,
            Self::AssociateRouteTable(c) => c.dry_run,
            Self::DisassociateRouteTable(c) => c.dry_run,
            Self::ReplaceRouteTableAssociation(c) => c.dry_run,
            Self::DescribeRouteTables(c) => c.dry_run,
            Self::RunInstances(c) => c.dry_run,
            Self::TerminateInstances(c) => c.dry_run,
            Self::DescribeInstances(c) => c.dry_run,
            Self::DescribeInstanceStatus(c) => c.dry_run,
            Self::StopInstances(c) => c.dry_run,
            Self::StartInstances(c) => c.dry_run,
            Self::RebootInstances(c) => c.dry_run,
            Self::DescribeInstanceAttribute(c) => c.dry_run,
            Self::ModifyInstanceAttribute(c) => c.dry_run,
            Self::ModifyInstanceMetadataOptions(c) => c.dry_run,
            Self::DescribeInstanceTypes(c) => c.dry_run,
            Self::RegisterImage(c) => c.dry_run,
            Self::DeregisterImage(c) => c.dry_run,
            Self::DescribeImages(c) => c.dry_run,
            Self::DescribeImageAttribute(c) => c.dry_run,
            Self::GetConsoleOutput(c) => c.dry_run,
            Self::ModifyInstanceNetworkPerformanceOptions(c) => c.dry_run,
            Self::CreateTags(c) => c.dry_run,
            Self::DeleteTags(c) => c.dry_run,
            Self::DescribeTags(c) => c.dry_run,
            Self::DescribeAvailabilityZones(c) => c.dry_run,
            Self::DescribeRegions(c) => c.dry_run,
            Self::DescribeAccountAttributes(c) => c.dry_run,
            Self::ImportKeyPair(c) => c.dry_run,
            Self::DeleteKeyPair(c) => c.dry_run,
            Self::DescribeKeyPairs(c) => c.dry_run,
            Self::ModifyVpcAttribute(_)
            | Self::AssociateVpcCidrBlock(_)
            | Self::DisassociateVpcCidrBlock(_)
            | Self::ModifySubnetAttribute(_)
            | Self::AssociateSubnetCidrBlock(_)
            | Self::DisassociateSubnetCidrBlock(_)
            | Self::AssignPrivateIpAddresses(_)
            | Self::UnassignPrivateIpAddresses(_)
            | Self::AssignIpv6Addresses(_)
            | Self::UnassignIpv6Addresses(_) => false,
        }
    }
}
