//! What `trinic ls` shows: instances with their interfaces, and interfaces that are attached to nothing.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use trinic_switch::tables::Id;
use trinic_vpc::Scope;
use trinic_vpc::resource::{Instance, NetworkInterface};

use super::external::Place;
use super::link::CardStatus;
use super::storage::Loaded;

/// Everything that `trinic ls` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The card.
    pub card: Option<CardStatus>,
    /// Instances, those that are gone for good excepted.
    pub instances: Vec<ListedInstance>,
    /// Interfaces.
    pub interfaces: Vec<ListedInterface>,
    /// Why something is not as it should be, by id.
    pub problems: BTreeMap<Id, String>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedInstance {
    /// `i-…`.
    pub id: String,
    /// 12 digits.
    pub account: String,
    /// `us-east-1`.
    pub region: String,
    /// The `Name` tag.
    pub name: Option<String>,
    /// `running` and the like.
    pub state: String,
    /// `t3.micro`; `trinic.external` for a namespace of the user's own.
    pub instance_type: String,
    /// Private name.
    pub hostname: String,
    /// Path of the user's own namespace.
    pub place: Option<String>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedInterface {
    /// `eni-…`.
    pub id: String,
    /// 12 digits.
    pub account: String,
    /// `us-east-1`.
    pub region: String,
    /// `available` or `in-use`.
    pub status: String,
    /// Where it is attached.
    pub attachment: Option<ListedAttachment>,
    /// MAC address.
    pub mac: String,
    /// Private IPv4 addresses with their public ones, the primary first.
    pub ipv4: Vec<(Ipv4Addr, Option<Ipv4Addr>)>,
    /// IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Names of its security groups by id.
    pub groups: BTreeMap<String, String>,
    /// Whether the source/destination check is on.
    pub source_dest_check: bool,
    /// `subnet-…`.
    pub subnet: String,
    /// `vpc-…`.
    pub vpc: String,
}

/// Where an interface is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedAttachment {
    /// `i-…`.
    pub instance: String,
    /// 0 = eth0.
    pub device_index: u32,
    /// `attached` and the like.
    pub status: String,
}

/// Lists what is loaded; the card's part is added by the caller.
pub fn listing(loaded: &Loaded) -> Listing {
    let model = &loaded.model;
    Listing {
        card: None,
        instances: model
            .instances()
            .map(|(scope, instance)| listed_instance(loaded, scope, instance))
            .collect(),
        interfaces: model
            .interfaces()
            .map(|(scope, interface)| listed_interface(loaded, scope, interface))
            .collect(),
        problems: BTreeMap::new(),
    }
}

fn listed_instance(loaded: &Loaded, scope: &Scope, instance: &Instance) -> ListedInstance {
    ListedInstance {
        id: instance.id.to_string(),
        account: scope.account.to_string(),
        region: scope.region.to_string(),
        name: instance.tags.get("Name").cloned(),
        state: instance.state.to_string(),
        instance_type: instance.instance_type.clone(),
        hostname: instance.private_dns_name.clone(),
        place: loaded.externals.place(instance.id).map(Place::text),
    }
}

fn listed_interface(loaded: &Loaded, scope: &Scope, interface: &NetworkInterface) -> ListedInterface {
    let name_of = |id| {
        let group = loaded.model.security_group(id);
        group.map_or_else(String::new, |group| group.name.clone())
    };
    ListedInterface {
        id: interface.id.to_string(),
        account: scope.account.to_string(),
        region: scope.region.to_string(),
        status: interface.status().to_string(),
        attachment: interface.attachment.as_ref().map(|attachment| ListedAttachment {
            instance: attachment.instance_id.to_string(),
            device_index: attachment.device_index,
            status: attachment.status.to_string(),
        }),
        mac: mac(interface.mac),
        ipv4: interface
            .private_addresses
            .iter()
            .map(|a| (a.address, a.association.map(|public| public.public_ip)))
            .collect(),
        ipv6: interface.ipv6_addresses.clone(),
        groups: interface
            .groups
            .iter()
            .map(|id| (id.to_string(), name_of(*id)))
            .collect(),
        source_dest_check: interface.source_dest_check,
        subnet: interface.subnet_id.to_string(),
        vpc: interface.vpc_id.to_string(),
    }
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
