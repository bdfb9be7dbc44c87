//! Addresses, routes and rules of a function inside its instance, as a cloud image configures itself.
//!
//! The first interface has the default routes. Each further one has a routing table of its own, chosen by
//! source address, so that a reply leaves through the interface that its request came to; that is what
//! amazon-ec2-net-utils sets up on EC2.
//!
//! Every function here works in the namespace of the calling thread, and may be repeated: a restarted card
//! runs the same steps over what is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use trinic_host::link::{Address, LinkChange, Netlink, PolicyRule, Route};
use trinic_host::netns::write_sysctl;
use trinic_host::{Error, Result};

use crate::protocol::InterfaceSpec;

use super::INTERNET;

/// The router of every subnet, for IPv6.
const ROUTER_V6: IpAddr = IpAddr::V6(trinic_wire::ipv6::link_local(trinic_switch::ROUTER_MAC));
/// Tables of further interfaces are numbered from here, by device index.
const TABLE_BASE: u32 = 10_000;
/// Priority of the rules that choose these tables: before the main table's 32766.
const RULE_PRIORITY: u32 = 10_000;

/// Settles what an interface does before it is configured: addresses are usable at once, since the VPC
/// assigns each once, and the card's configuration is not mixed with that of router advertisements.
pub fn prepare_namespace() {
    for (name, value) in [
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/default/router_solicitations", "0"),
    ] {
        // Absent on a kernel without IPv6.
        let _ = write_sysctl(name, value);
    }
}

/// Refuses to take a name that something else has in the namespace.
///
/// # Errors
///
/// When there is an interface of that name.
pub fn check_free(name: &str) -> Result<()> {
    match Netlink::open()?.link_by_name(name) {
        Ok(_) => Err(Error::Invalid(format!(
            "The instance has an interface {name} that is not the card's"
        ))),
        Err(_) => Ok(()),
    }
}

/// Gives a new function everything.
///
/// # Errors
///
/// When the kernel refuses.
pub fn configure(name: &str, interface: &InterfaceSpec) -> Result<()> {
    let mut netlink = Netlink::open()?;
    let index = netlink.link_by_name(name)?.index;
    netlink.set_up(index, true)?;
    netlink.set_addresses(index, &addresses(interface))?;
    for route in routes(interface, index) {
        netlink.replace_route(&route)?;
    }
    for rule in rules(interface) {
        netlink.add_rule(&rule)?;
    }
    Ok(())
}

/// Turns a function from `old` to `new`.
///
/// # Errors
///
/// When the kernel refuses.
pub fn reconfigure(name: &str, old: &InterfaceSpec, new: &InterfaceSpec) -> Result<()> {
    let mut netlink = Netlink::open()?;
    let index = netlink.link_by_name(name)?.index;
    if old.mtu != new.mtu {
        let change = LinkChange {
            mtu: Some(new.mtu),
            ..LinkChange::default()
        };
        netlink.change_link(index, &change)?;
    }
    let wanted = rules(new);
    for rule in rules(old).iter().filter(|rule| !wanted.contains(rule)) {
        netlink.delete_rule(rule)?;
    }
    configure(name, new)
}

/// Takes a function away, with its rules; its addresses and routes go with it.
///
/// # Errors
///
/// When the kernel refuses.
pub fn remove(name: &str, interface: &InterfaceSpec) -> Result<()> {
    let mut netlink = Netlink::open()?;
    for rule in rules(interface) {
        // What is not there any more was removed by the instance itself.
        let _ = netlink.delete_rule(&rule);
    }
    match netlink.link_by_name(name) {
        Ok(link) => netlink.delete_link(link.index),
        Err(_) => Ok(()),
    }
}

/// IPv4 addresses with the subnet's prefix, IPv6 addresses alone: a VPC's neighbours are reached through
/// the router, which is what EC2's DHCPv6 leads to.
fn addresses(interface: &InterfaceSpec) -> Vec<Address> {
    let v4 = interface.ipv4.iter().map(|ip| Address {
        ip: IpAddr::V4(*ip),
        prefix_len: interface.ipv4_prefix_len,
    });
    let v6 = interface.ipv6.iter().map(|ip| Address {
        ip: IpAddr::V6(*ip),
        prefix_len: 128,
    });
    v4.chain(v6).collect()
}

fn routes(interface: &InterfaceSpec, index: u32) -> Vec<Route> {
    let any_v4 = Address {
        ip: Ipv4Addr::UNSPECIFIED.into(),
        prefix_len: 0,
    };
    let any_v6 = Address {
        ip: Ipv6Addr::UNSPECIFIED.into(),
        prefix_len: 0,
    };
    if &*interface.id == INTERNET {
        // Nobody else is here: every address is on the link, and the card answers for it.
        return vec![Route::on_link(any_v4, index), Route::on_link(any_v6, index)];
    }
    let table = table_of(interface);
    let mut routes = Vec::new();
    if let (Some(router), Some(address)) = (interface.ipv4_router, interface.ipv4.first()) {
        if table.is_some() {
            let subnet = Address {
                ip: network_of(*address, interface.ipv4_prefix_len).into(),
                prefix_len: interface.ipv4_prefix_len,
            };
            routes.push(Route::on_link(subnet, index));
        }
        routes.push(Route {
            onlink: true,
            ..Route::default_via(router.into(), index)
        });
    }
    if !interface.ipv6.is_empty() {
        routes.push(Route::default_via(ROUTER_V6, index));
    }
    for route in &mut routes {
        route.table = table;
    }
    routes
}

fn rules(interface: &InterfaceSpec) -> Vec<PolicyRule> {
    let Some(table) = table_of(interface) else {
        return Vec::new();
    };
    let v4 = interface.ipv4.iter().map(|ip| (IpAddr::V4(*ip), 32));
    let v6 = interface.ipv6.iter().map(|ip| (IpAddr::V6(*ip), 128));
    v4.chain(v6)
        .map(|(ip, prefix_len)| PolicyRule {
            source: Address { ip, prefix_len },
            table,
            priority: RULE_PRIORITY,
        })
        .collect()
}

/// The first interface uses the main table.
fn table_of(interface: &InterfaceSpec) -> Option<u32> {
    (interface.device_index > 0).then(|| TABLE_BASE + interface.device_index)
}

fn network_of(address: Ipv4Addr, prefix_len: u8) -> Ipv4Addr {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(prefix_len.min(32)))
        .unwrap_or(0);
    Ipv4Addr::from(u32::from(address) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(device_index: u32) -> InterfaceSpec {
        InterfaceSpec {
            id: "eni-1".into(),
            device_index,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 9001,
            ipv4: vec![Ipv4Addr::new(10, 0, 3, 77), Ipv4Addr::new(10, 0, 3, 78)],
            ipv4_prefix_len: 20,
            ipv4_router: Some(Ipv4Addr::new(10, 0, 0, 1)),
            ipv6: vec![Ipv6Addr::LOCALHOST],
            dns: Vec::new(),
            domain: String::new(),
            network_card_index: 0,
            ena: false,
            ena_queue_pairs: 0,
            function: crate::protocol::FunctionKind::Tap,
        }
    }

    #[test]
    fn the_first_interface_has_the_default_routes_and_no_rules() {
        let interface = interface(0);
        assert!(rules(&interface).is_empty());
        let routes = routes(&interface, 7);
        assert_eq!(routes.len(), 2);
        assert!(
            routes
                .iter()
                .all(|r| r.table.is_none() && r.destination.prefix_len == 0)
        );
    }

    #[test]
    fn a_further_interface_has_its_own_table_by_source() {
        let interface = interface(3);
        let rules = rules(&interface);
        assert_eq!(rules.len(), 3);
        assert!(rules.iter().all(|rule| rule.table == 10_003));
        let routes = routes(&interface, 7);
        assert!(routes.iter().all(|route| route.table == Some(10_003)));
        assert_eq!(routes[0].destination.ip, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)));
    }

    #[test]
    fn networks_of_every_length() {
        let address = Ipv4Addr::new(10, 1, 2, 255);
        assert_eq!(network_of(address, 32), address);
        assert_eq!(network_of(address, 28), Ipv4Addr::new(10, 1, 2, 240));
        assert_eq!(network_of(address, 0), Ipv4Addr::UNSPECIFIED);
    }
}
