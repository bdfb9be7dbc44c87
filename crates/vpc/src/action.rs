//! The EC2 actions, one function each: checks, then changes of the draft, then the reply.

mod account;
mod address;
mod check;
mod gateway;
mod group;
mod group_rules;
mod home;
mod image;
mod instance;
mod instance_attribute;
mod instance_type;
mod interface;
mod interface_address;
mod interface_attribute;
mod launch;
mod new_interface;
mod queues;
mod route;
mod subnet;
mod vpc;

pub(crate) use home::ensure_home;
pub(crate) use image::SRIOV_SIMPLE;
pub(crate) use instance::{finish_termination, release_public, set_state};

use crate::command::Command;
use crate::draft::Draft;
use crate::error::Ec2Error;
use crate::reply::Reply;

/// What an action comes to.
type Outcome = Result<Reply, Ec2Error>;

/// Performs a command on a draft.
#[expect(clippy::too_many_lines, reason = "one line per action")]
pub(crate) fn perform(draft: &mut Draft<'_>, command: &Command) -> Outcome {
    use Command as C;
    match command {
        C::CreateVpc(c) => vpc::create_vpc(draft, c),
        C::DeleteVpc(c) => vpc::delete_vpc(draft, c),
        C::DescribeVpcs(c) => vpc::describe_vpcs(draft, c),
        C::ModifyVpcAttribute(c) => vpc::modify_vpc_attribute(draft, c),
        C::DescribeVpcAttribute(c) => vpc::describe_vpc_attribute(draft, c),
        C::AssociateVpcCidrBlock(c) => vpc::associate_vpc_cidr_block(draft, c),
        C::DisassociateVpcCidrBlock(c) => vpc::disassociate_vpc_cidr_block(draft, c),
        C::CreateDefaultVpc(c) => vpc::create_default_vpc(draft, c),
        C::CreateSubnet(c) => subnet::create_subnet(draft, c),
        C::DeleteSubnet(c) => subnet::delete_subnet(draft, c),
        C::DescribeSubnets(c) => subnet::describe_subnets(draft, c),
        C::ModifySubnetAttribute(c) => subnet::modify_subnet_attribute(draft, c),
        C::AssociateSubnetCidrBlock(c) => subnet::associate_subnet_cidr_block(draft, c),
        C::DisassociateSubnetCidrBlock(c) => subnet::disassociate_subnet_cidr_block(draft, c),
        C::AllocateAddress(c) => address::allocate_address(draft, c),
        C::ReleaseAddress(c) => address::release_address(draft, c),
        C::AssociateAddress(c) => address::associate_address(draft, c),
        C::DisassociateAddress(c) => address::disassociate_address(draft, c),
        C::DescribeAddresses(c) => address::describe_addresses(draft, c),
        C::CreateInternetGateway(c) => gateway::create_internet_gateway(draft, c),
        C::DeleteInternetGateway(c) => gateway::delete_internet_gateway(draft, c),
        C::AttachInternetGateway(c) => gateway::attach_internet_gateway(draft, c),
        C::DetachInternetGateway(c) => gateway::detach_internet_gateway(draft, c),
        C::DescribeInternetGateways(c) => gateway::describe_internet_gateways(draft, c),
        C::CreateRouteTable(c) => route::create_route_table(draft, c),
        C::DeleteRouteTable(c) => route::delete_route_table(draft, c),
        C::CreateRoute(c) => route::create_route(draft, c),
        C::ReplaceRoute(c) => route::replace_route(draft, c),
        C::DeleteRoute(c) => route::delete_route(draft, c),
        C::AssociateRouteTable(c) => route::associate_route_table(draft, c),
        C::DisassociateRouteTable(c) => route::disassociate_route_table(draft, c),
        C::ReplaceRouteTableAssociation(c) => route::replace_route_table_association(draft, c),
        C::DescribeRouteTables(c) => route::describe_route_tables(draft, c),
        C::CreateNetworkInterface(c) => interface::create_network_interface(draft, c),
        C::DeleteNetworkInterface(c) => interface::delete_network_interface(draft, c),
        C::DescribeNetworkInterfaces(c) => interface::describe_network_interfaces(draft, c),
        C::AttachNetworkInterface(c) => interface::attach_network_interface(draft, c),
        C::DetachNetworkInterface(c) => interface::detach_network_interface(draft, c),
        C::ModifyNetworkInterfaceAttribute(c) => {
            interface_attribute::modify_network_interface_attribute(draft, c)
        }
        C::DescribeNetworkInterfaceAttribute(c) => {
            interface_attribute::describe_network_interface_attribute(draft, c)
        }
        C::ResetNetworkInterfaceAttribute(c) => {
            interface_attribute::reset_network_interface_attribute(draft, c)
        }
        C::AssignPrivateIpAddresses(c) => interface_address::assign_private_ip_addresses(draft, c),
        C::UnassignPrivateIpAddresses(c) => interface_address::unassign_private_ip_addresses(draft, c),
        C::AssignIpv6Addresses(c) => interface_address::assign_ipv6_addresses(draft, c),
        C::UnassignIpv6Addresses(c) => interface_address::unassign_ipv6_addresses(draft, c),
        C::CreateSecurityGroup(c) => group::create_security_group(draft, c),
        C::DeleteSecurityGroup(c) => group::delete_security_group(draft, c),
        C::DescribeSecurityGroups(c) => group::describe_security_groups(draft, c),
        C::DescribeSecurityGroupRules(c) => group_rules::describe_security_group_rules(draft, c),
        C::AuthorizeSecurityGroupIngress(c) => group_rules::authorize_security_group_ingress(draft, c),
        C::AuthorizeSecurityGroupEgress(c) => group_rules::authorize_security_group_egress(draft, c),
        C::RevokeSecurityGroupIngress(c) => group_rules::revoke_security_group_ingress(draft, c),
        C::RevokeSecurityGroupEgress(c) => group_rules::revoke_security_group_egress(draft, c),
        C::ModifySecurityGroupRules(c) => group_rules::modify_security_group_rules(draft, c),
        C::UpdateSecurityGroupRuleDescriptionsIngress(c) => {
            group_rules::update_security_group_rule_descriptions_ingress(draft, c)
        }
        C::UpdateSecurityGroupRuleDescriptionsEgress(c) => {
            group_rules::update_security_group_rule_descriptions_egress(draft, c)
        }
        C::RunInstances(c) => launch::run_instances(draft, c),
        C::TerminateInstances(c) => instance::terminate_instances(draft, c),
        C::DescribeInstances(c) => instance::describe_instances(draft, c),
        C::DescribeInstanceStatus(c) => instance::describe_instance_status(draft, c),
        C::StopInstances(c) => instance::stop_instances(draft, c),
        C::StartInstances(c) => instance::start_instances(draft, c),
        C::RebootInstances(c) => instance::reboot_instances(draft, c),
        C::DescribeInstanceAttribute(c) => instance_attribute::describe_instance_attribute(draft, c),
        C::ModifyInstanceAttribute(c) => instance_attribute::modify_instance_attribute(draft, c),
        C::ModifyInstanceMetadataOptions(c) => instance::modify_instance_metadata_options(draft, c),
        C::DescribeInstanceTypes(c) => instance_type::describe_instance_types(draft, c),
        C::RegisterImage(c) => image::register_image(draft, c),
        C::DeregisterImage(c) => image::deregister_image(draft, c),
        C::DescribeImages(c) => image::describe_images(draft, c),
        C::DescribeImageAttribute(c) => image::describe_image_attribute(draft, c),
        C::GetConsoleOutput(c) => instance::get_console_output(draft, c),
        C::ModifyInstanceNetworkPerformanceOptions(c) => {
            instance_attribute::modify_instance_network_performance_options(draft, c)
        }
        C::CreateTags(c) => account::create_tags(draft, c),
        C::DeleteTags(c) => account::delete_tags(draft, c),
        C::DescribeTags(c) => account::describe_tags(draft, c),
        C::DescribeAvailabilityZones(c) => account::describe_availability_zones(draft, c),
        C::DescribeRegions(c) => account::describe_regions(draft, c),
        C::DescribeAccountAttributes(c) => account::describe_account_attributes(draft, c),
        C::ImportKeyPair(c) => account::import_key_pair(draft, c),
        C::DeleteKeyPair(c) => account::delete_key_pair(draft, c),
        C::DescribeKeyPairs(c) => account::describe_key_pairs(draft, c),
    }
}
