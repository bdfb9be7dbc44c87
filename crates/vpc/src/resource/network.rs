//! VPCs, subnets, internet gateways, route tables and Elastic IP addresses.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{Tags, text_enum};
use crate::ids::{
    AddressAssociationId, AllocationId, DhcpOptionsId, InternetGatewayId, NetworkInterfaceId,
    RouteTableAssociationId, RouteTableId, SubnetCidrAssociationId, SubnetId, VpcCidrAssociationId, VpcId,
};

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`.
    pub id: VpcId,
    /// IPv4 blocks, the primary one first; never empty.
    pub cidr_blocks: Vec<VpcCidr<Ipv4Net>>,
    /// IPv6 blocks (/56).
    pub ipv6_cidr_blocks: Vec<VpcCidr<Ipv6Net>>,
    /// Whether this is the region's default VPC.
    pub is_default: bool,
    /// InstanceTenancy.
    pub instance_tenancy: Tenancy,
    /// EnableDnsSupport.
    pub dns_support: bool,
    /// EnableDnsHostnames.
    pub dns_hostnames: bool,
    /// DHCP options; always the Amazon-provided set.
    pub dhcp_options_id: DhcpOptionsId,
    /// Tags.
    pub tags: Tags,
}

impl Vpc {
    /// The primary IPv4 block.
    pub fn primary_cidr(&self) -> Option<Ipv4Net> {
        self.cidr_blocks.first().map(|block| block.cidr)
    }
}

/// One block of a VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcCidr<Net> {
    /// `vpc-cidr-assoc-…`.
    pub association_id: VpcCidrAssociationId,
    /// The block.
    pub cidr: Net,
}

text_enum! {
    /// Tenancy of instances; kept and shown, without effect here.
    Tenancy {
        /// Shared hardware.
        Default = "default",
        /// Hardware of one account.
        Dedicated = "dedicated",
    }
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: SubnetId,
    /// The VPC that it is in.
    pub vpc_id: VpcId,
    /// Name of its zone (`us-east-1a`).
    pub availability_zone: String,
    /// IPv4 block; `None` for an IPv6-only subnet.
    pub cidr: Option<Ipv4Net>,
    /// IPv6 block (/64).
    pub ipv6_cidr: Option<SubnetIpv6Cidr>,
    /// Whether this is the default subnet of its zone.
    pub default_for_az: bool,
    /// MapPublicIpOnLaunch: new interfaces at device index 0 get a public address.
    pub map_public_ip_on_launch: bool,
    /// AssignIpv6AddressOnCreation: new interfaces get an IPv6 address.
    pub assign_ipv6_address_on_creation: bool,
    /// EnableDns64; kept and shown.
    pub enable_dns64: bool,
    /// Names of instances launched here.
    pub private_dns: PrivateDnsOptions,
    /// Tags.
    pub tags: Tags,
}

/// The IPv6 block of a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetIpv6Cidr {
    /// `subnet-cidr-assoc-…`.
    pub association_id: SubnetCidrAssociationId,
    /// The block.
    pub cidr: Ipv6Net,
}

/// PrivateDnsNameOptions: how instances are named and which names resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateDnsOptions {
    /// HostnameType.
    pub hostname_type: HostnameType,
    /// EnableResourceNameDnsARecord.
    pub resource_name_a_record: bool,
    /// EnableResourceNameDnsAAAARecord.
    pub resource_name_aaaa_record: bool,
}

impl Default for PrivateDnsOptions {
    fn default() -> Self {
        Self {
            hostname_type: HostnameType::IpName,
            resource_name_a_record: false,
            resource_name_aaaa_record: false,
        }
    }
}

text_enum! {
    /// What an instance's private name is made from.
    HostnameType {
        /// Its address: `ip-10-0-0-4.ec2.internal`.
        IpName = "ip-name",
        /// Its id: `i-….ec2.internal`.
        ResourceName = "resource-name",
    }
}

/// An internet gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    /// `igw-…`.
    pub id: InternetGatewayId,
    /// The VPC that it is attached to.
    pub vpc_id: Option<VpcId>,
    /// Tags.
    pub tags: Tags,
}

/// A route table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// `rtb-…`.
    pub id: RouteTableId,
    /// The VPC that it is in.
    pub vpc_id: VpcId,
    /// Its routes in the order of making, the local ones included.
    pub routes: Vec<Route>,
    /// What it is the table of.
    pub associations: Vec<RouteTableAssociation>,
    /// Tags.
    pub tags: Tags,
}

impl RouteTable {
    /// Whether this is the main table of its VPC.
    pub fn is_main(&self) -> bool {
        self.associations.iter().any(|a| a.subnet_id.is_none())
    }
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination block.
    pub destination: IpNet,
    /// Where packets to it go.
    pub target: RouteTarget,
    /// How it came to be.
    pub origin: RouteOrigin,
}

/// What a route leads to. An instance as the target is stored as its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteTarget {
    /// Inside the VPC.
    Local,
    /// An internet gateway.
    InternetGateway(InternetGatewayId),
    /// A network interface.
    NetworkInterface(NetworkInterfaceId),
}

text_enum! {
    /// How a route came to be.
    RouteOrigin {
        /// With the table.
        CreateRouteTable = "CreateRouteTable",
        /// By a call.
        CreateRoute = "CreateRoute",
    }
}

/// An association of a route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTableAssociation {
    /// `rtbassoc-…`.
    pub id: RouteTableAssociationId,
    /// The subnet; `None`: the VPC (main table).
    pub subnet_id: Option<SubnetId>,
}

/// An Elastic IP address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `eipalloc-…`.
    pub id: AllocationId,
    /// The address.
    pub public_ip: Ipv4Addr,
    /// What it is associated with; the interface's private address says the same.
    pub association: Option<AddressLink>,
    /// Tags.
    pub tags: Tags,
}

/// The private address that an Elastic IP stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressLink {
    /// `eipassoc-…`.
    pub association_id: AddressAssociationId,
    /// The interface.
    pub network_interface_id: NetworkInterfaceId,
    /// Its private address.
    pub private_ip: Ipv4Addr,
}
