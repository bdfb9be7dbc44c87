//! The names of each VPC, from the tables and the instances: what the resolver of the card answers with.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use trinic_linklocal::zone::VpcZone;
use trinic_switch::tables::{Entry, Id};

use super::record::Desired;

/// The names of one VPC, and whether its resolver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedZone {
    /// The names.
    pub names: VpcZone,
    /// Whether the VPC has DNS support.
    pub dns_support: bool,
}

/// The zones as last published.
#[derive(Debug, Default)]
pub struct Zones {
    published: BTreeMap<Id, Arc<PublishedZone>>,
}

impl Zones {
    /// Makes the zones of the desired state; returns those that changed, `None` for a VPC that is gone.
    pub fn update(&mut self, desired: &Desired) -> Vec<(Id, Option<Arc<PublishedZone>>)> {
        let mut next = zones_of(desired);
        let mut changes = Vec::new();
        self.published.retain(|vpc, old| match next.remove(vpc) {
            None => {
                changes.push((vpc.clone(), None));
                false
            }
            Some(new) => {
                if **old != new {
                    *old = Arc::new(new);
                    changes.push((vpc.clone(), Some(old.clone())));
                }
                true
            }
        });
        for (vpc, zone) in next {
            let zone = Arc::new(zone);
            self.published.insert(vpc.clone(), zone.clone());
            changes.push((vpc, Some(zone)));
        }
        changes
    }
}

fn zones_of(desired: &Desired) -> BTreeMap<Id, PublishedZone> {
    let regions = regions_of(desired);
    let mut zones = BTreeMap::new();
    for entry in desired.tables.entries.values() {
        let Entry::Vpc(vpc) = entry else { continue };
        let cidrs = vpc
            .ipv4
            .iter()
            .map(|net| IpNet::V4(*net))
            .chain(vpc.ipv6.iter().map(|net| IpNet::V6(*net)))
            .collect();
        // A VPC without instances has nobody who asks.
        let region = regions.get(&*vpc.id).copied().unwrap_or("us-east-1");
        let zone = PublishedZone {
            names: VpcZone::new(region, cidrs),
            dns_support: vpc.dns_support,
        };
        zones.insert(vpc.id.clone(), zone);
    }
    for entry in desired.tables.entries.values() {
        let Entry::Interface(interface) = entry else {
            continue;
        };
        let Some(zone) = zones.get_mut(&interface.vpc_id) else {
            continue;
        };
        for address in &interface.public {
            zone.names.add_public(address.public, address.private);
        }
    }
    for spec in desired.instances.values() {
        for interface in &spec.metadata.interfaces {
            let Some(zone) = zones.get_mut(interface.vpc_id.as_str()) else {
                continue;
            };
            // An instance's own name means its primary interface.
            if interface.device_number == 0 && interface.network_card == 0 {
                let v4 = interface.local_ipv4s.first().map(|a| IpAddr::V4(*a));
                let v6 = interface.ipv6s.first().map(|a| IpAddr::V6(*a));
                let addresses: Vec<IpAddr> = v4.into_iter().chain(v6).collect();
                zone.names.add_host(&spec.metadata.instance_id, &addresses);
            }
        }
    }
    zones
}

/// The region of each VPC that has an instance.
fn regions_of(desired: &Desired) -> HashMap<&str, &str> {
    desired
        .instances
        .values()
        .flat_map(|spec| {
            let region = spec.metadata.region.as_str();
            spec.metadata
                .interfaces
                .iter()
                .map(move |interface| (interface.vpc_id.as_str(), region))
        })
        .collect()
}
