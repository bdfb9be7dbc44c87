//! Link-local services: security groups do not filter them, and packets to them never leave the card.
//!
//! Source: [VPC User Guide, "DNS attributes", "Subnet CIDR reservations"], [EC2 User Guide, "Access instance
//! metadata", "Set the time"]; that security groups exempt DHCP, metadata and time as they do DNS is general
//! knowledge, not documented [assumed A-13].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use trinic_wire::packet::{Ip, Transport};
use trinic_wire::{icmpv4, icmpv6};

use super::neighbor::router_link_local;
use super::{Flow, Outcome, Walk, is_dhcp, is_for_everyone};
use crate::DropReason;
use crate::policy::base_plus4;
use crate::trace::{Event, Sink};

/// Instance metadata.
const METADATA4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// The resolver.
const RESOLVER4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
const RESOLVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);
/// Time.
const TIME4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 123);
const TIME6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123);

/// All DHCPv6 relay agents and servers of the link. Source: [RFC 8415 §7.1].
const DHCP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// What a destination is to the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Service,
    Resolver,
    Router,
    /// Link-local, and nobody is there.
    Nobody,
    /// Not the card's.
    Other,
}

impl<S: Sink> Walk<'_, S> {
    pub(super) fn link_local(&mut self) -> Flow {
        let Some(ip) = self.ip else {
            return self.passed();
        };
        let destination = ip.tuple.destination;
        match self.target(&ip) {
            Target::Other => self.passed(),
            Target::Nobody => self.drop(DropReason::LinkLocalUnknown),
            Target::Router => self.router(&ip),
            Target::Resolver if !self.has_dns() => self.drop(DropReason::ResolverDisabled),
            Target::Resolver | Target::Service => {
                if self
                    .sender
                    .is_some_and(|s| s.state.link_local.is_used_up(self.now))
                {
                    return self.drop(DropReason::LinkLocalAllowance);
                }
                self.record(|_| Event::Service(destination));
                ControlFlow::Break(Outcome::Service)
            }
        }
    }

    fn target(&self, ip: &Ip) -> Target {
        let destination = ip.tuple.destination;
        if is_dhcp(ip) && self.is_dhcp_server(destination) || is_dhcpv6(ip) {
            return Target::Service;
        }
        if self.is_resolver(destination) {
            return Target::Resolver;
        }
        if self.is_router(destination) {
            return Target::Router;
        }
        match destination {
            IpAddr::V4(METADATA4 | TIME4) | IpAddr::V6(METADATA6 | TIME6) => Target::Service,
            IpAddr::V4(a) if a.is_link_local() => Target::Nobody,
            IpAddr::V6(a) if a.is_unicast_link_local() || a.segments()[..2] == [0xfd00, 0xec2] => {
                Target::Nobody
            }
            _ => Target::Other,
        }
    }

    fn is_dhcp_server(&self, address: IpAddr) -> bool {
        address == IpAddr::V4(Ipv4Addr::BROADCAST)
            || is_for_everyone(self.frame.parsed.ethernet.destination)
            || self.is_router(address)
    }

    fn is_router(&self, address: IpAddr) -> bool {
        address == router_link_local()
            || self
                .sender
                .and_then(|sender| self.policy.subnet(sender.interface.subnet))
                .is_some_and(|subnet| subnet.is_router(address))
    }

    /// The resolver's addresses: the link-local ones, base + 2 of the VPC's CIDRs and of the subnet.
    pub(super) fn is_resolver(&self, address: IpAddr) -> bool {
        if address == IpAddr::V4(RESOLVER4) || address == IpAddr::V6(RESOLVER6) {
            return true;
        }
        let (Some(sender), IpAddr::V4(address4)) = (self.sender, address) else {
            return false;
        };
        let subnet = self.policy.subnet(sender.interface.subnet);
        let vpc = self.policy.vpc(sender.interface.vpc);
        subnet.is_some_and(|subnet| subnet.is_dns(address))
            || vpc.is_some_and(|vpc| vpc.ipv4.iter().any(|net| base_plus4(*net, 2) == address4))
    }

    fn has_dns(&self) -> bool {
        self.sender
            .and_then(|sender| self.policy.vpc(sender.interface.vpc))
            .is_some_and(|vpc| vpc.dns_support)
    }

    /// The subnet's router answers echo requests, and nothing else. [assumed A-14]
    fn router(&mut self, ip: &Ip) -> Flow {
        let asks = match ip.transport {
            Transport::Icmp(icmp) if ip.is_ipv6() => icmp.kind == icmpv6::ECHO_REQUEST,
            Transport::Icmp(icmp) => icmp.kind == icmpv4::ECHO_REQUEST,
            _ => false,
        };
        if !asks || ip.fragment.is_some() || is_for_everyone(self.frame.parsed.ethernet.destination) {
            return self.drop(DropReason::RouterRefused);
        }
        self.record(|_| Event::Answered("echo reply of the subnet's router".into()));
        ControlFlow::Break(Outcome::Echo)
    }
}

/// A DHCPv6 client's message to all servers, which is what the router's advertisement tells it to send. Servers
/// are asked by multicast only, as ours lets nobody use its own address.
fn is_dhcpv6(ip: &Ip) -> bool {
    let ports = (ip.tuple.source_port, ip.tuple.destination_port);
    ip.transport == Transport::Udp && ports == (546, 547) && ip.tuple.destination == IpAddr::V6(DHCP6)
}
