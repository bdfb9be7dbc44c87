//! Network interfaces and their attachments.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use trinic_switch::tables::Mac;

use super::{Tags, text_enum};
use crate::ids::{
    AddressAssociationId, AllocationId, AttachmentId, InstanceId, NetworkInterfaceId, SecurityGroupId,
    SubnetId, VpcId,
};

/// An elastic network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// `eni-…`.
    pub id: NetworkInterfaceId,
    /// The VPC that it is in.
    pub vpc_id: VpcId,
    /// The subnet that it is in.
    pub subnet_id: SubnetId,
    /// The subnet's zone.
    pub availability_zone: String,
    /// Description.
    pub description: String,
    /// Interface type.
    pub interface_type: InterfaceType,
    /// MAC; it stays with the interface.
    pub mac: Mac,
    /// Private IPv4 addresses, the primary one first; empty in an IPv6-only subnet and for efa-only.
    pub private_addresses: Vec<PrivateAddress>,
    /// IPv6 addresses.
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Whether the first IPv6 address is a primary one, which cannot be unassigned.
    pub primary_ipv6: bool,
    /// Delegated IPv4 prefixes (/28).
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// Delegated IPv6 prefixes (/80).
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Security groups.
    pub groups: Vec<SecurityGroupId>,
    /// Source/destination check.
    pub source_dest_check: bool,
    /// AssociatePublicIpAddress: the interface gets a public address with its first running instance.
    pub associate_public_ip: bool,
    /// Idle times that the caller set.
    pub tracking: TrackingTimeouts,
    /// Who asked for it on the account's behalf: the launching account for RunInstances.
    pub requester_id: Option<String>,
    /// Attachment.
    pub attachment: Option<Attachment>,
    /// The call that made it, for idempotency.
    pub idempotency: Option<Idempotency>,
    /// When it was made.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl NetworkInterface {
    /// Status. An attachment of any state counts as use, as on EC2.
    pub fn status(&self) -> InterfaceStatus {
        match self.attachment {
            None => InterfaceStatus::Available,
            Some(_) => InterfaceStatus::InUse,
        }
    }

    /// The primary private IPv4 address.
    pub fn primary_address(&self) -> Option<Ipv4Addr> {
        self.private_addresses.first().map(|a| a.address)
    }

    /// The private address, if it is the interface's.
    pub fn private_address(&self, address: Ipv4Addr) -> Option<&PrivateAddress> {
        self.private_addresses.iter().find(|a| a.address == address)
    }

    /// The public address that the primary private address stands behind.
    pub fn primary_public_ip(&self) -> Option<Ipv4Addr> {
        let association = self.private_addresses.first()?.association?;
        Some(association.public_ip)
    }
}

/// A private IPv4 address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The public address that stands for it.
    pub association: Option<PublicAssociation>,
}

/// A public address that stands for a private one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicAssociation {
    /// The public address.
    pub public_ip: Ipv4Addr,
    /// The Elastic IP that it is; `None`: auto-assigned.
    pub elastic: Option<ElasticAssociation>,
}

/// The Elastic IP behind a public association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticAssociation {
    /// `eipalloc-…`.
    pub allocation_id: AllocationId,
    /// `eipassoc-…`.
    pub association_id: AddressAssociationId,
}

/// Idle times of tracked connections; `None` = the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrackingTimeouts {
    /// TcpEstablishedTimeout, 60 to 432,000 s.
    pub tcp_established_s: Option<u32>,
    /// UdpTimeout, 30 to 60 s.
    pub udp_s: Option<u32>,
    /// UdpStreamTimeout, 60 to 180 s.
    pub udp_stream_s: Option<u32>,
}

/// An interface at an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `eni-attach-…`.
    pub id: AttachmentId,
    /// The instance.
    pub instance_id: InstanceId,
    /// Device index; 0 on network card 0 is the primary interface.
    pub device_index: u32,
    /// Network card.
    pub network_card_index: u32,
    /// How far it is.
    pub status: AttachmentStatus,
    /// When it was attached.
    pub attach_time: Timestamp,
    /// Whether the interface goes with the instance.
    pub delete_on_termination: bool,
    /// EnaQueueCount; `None`: as many as the instance type gives.
    #[serde(default)]
    pub ena_queue_count: Option<u32>,
}

impl Attachment {
    /// Whether this is the instance's primary interface, which cannot be detached.
    pub fn is_primary(&self) -> bool {
        self.device_index == 0 && self.network_card_index == 0
    }
}

/// What an idempotent call left behind: its token and a digest of its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// ClientToken.
    pub token: String,
    /// Digest of the request.
    pub digest: u64,
}

text_enum! {
    /// Status of an interface.
    InterfaceStatus {
        /// Attached to nothing.
        Available = "available",
        /// Attached, or on the way in or out.
        InUse = "in-use",
    }
}

text_enum! {
    /// Status of an attachment.
    AttachmentStatus {
        /// The card has yet to report the interface in place.
        Attaching = "attaching",
        /// In place.
        Attached = "attached",
        /// The card has yet to report the interface gone.
        Detaching = "detaching",
    }
}

text_enum! {
    /// Types of interface that a caller can make.
    InterfaceType {
        /// An ordinary one.
        Interface = "interface",
        /// With an OS-bypass function beside the ordinary one.
        Efa = "efa",
        /// The OS-bypass function alone: no IP addresses.
        EfaOnly = "efa-only",
    }
}
