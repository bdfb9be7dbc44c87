//! ARP and Neighbor Discovery: the card answers for everyone.
//!
//! Inside a subnet the answer is the peer's own MAC, for the router and for addresses beyond the subnet it is
//! the router's. Nothing that asks or announces reaches another instance.
//!
//! Source: [RFC 826], [RFC 4861]; that EC2 answers in this way is seen in practice, not documented [assumed A-10].

use std::net::{IpAddr, Ipv6Addr};
use std::ops::ControlFlow;

use trinic_wire::arp::Operation;
use trinic_wire::icmpv6::{self, ndp};
use trinic_wire::packet::{Ip, Network, Transport};
use trinic_wire::{arp, ipv6};

use super::{Flow, Outcome, Reply, Walk};
use crate::tables::Mac;
use crate::trace::{Event, Sink};
use crate::{DropReason, ROUTER_MAC};

/// ICMPv6 types of Neighbor Discovery: 133 router solicitation to 137 redirect.
const NDP: std::ops::RangeInclusive<u8> = icmpv6::ROUTER_SOLICITATION..=icmpv6::REDIRECT;

impl<S: Sink> Walk<'_, S> {
    pub(super) fn neighbor(&mut self) -> Flow {
        let parsed = self.frame.parsed;
        if let Network::Arp(request) = &parsed.network {
            return self.arp(request);
        }
        match self.ip {
            Some(ip) if ip.is_ipv6() => match ip.transport {
                Transport::Icmp(icmp) if NDP.contains(&icmp.kind) => self.ndp(&ip),
                _ => self.passed(),
            },
            _ => self.passed(),
        }
    }

    fn arp(&mut self, request: &arp::Repr) -> Flow {
        let target = IpAddr::V4(request.target_address);
        // Nobody asks for his own address but to announce it or to see whether it is taken.
        let own = request.sender_address == request.target_address || self.is_own(target);
        if request.operation != Operation::Request || own {
            return self.drop(DropReason::ArpIgnored);
        }
        // The internet's side asks before it takes an address; the card must not say that it is taken.
        if self.sender.is_none() && request.sender_address.is_unspecified() {
            return self.drop(DropReason::ArpIgnored);
        }
        let Some((mac, _)) = self.neighbor_mac(target) else {
            return self.drop(DropReason::NoSuchNeighbor);
        };
        self.reply(Reply::Arp { mac }, move || {
            format!("{target} is at {}", text(mac))
        })
    }

    fn ndp(&mut self, ip: &Ip) -> Flow {
        let Some(message) = self.ndp_message(ip) else {
            return self.drop(DropReason::NeighborIgnored);
        };
        let source = ip.tuple.source;
        match message {
            ndp::Repr::NeighborSolicitation { target, .. } => {
                let probe = source.is_unspecified();
                if self.is_own(IpAddr::V6(target)) || (probe && self.sender.is_none()) {
                    return self.drop(DropReason::NeighborIgnored);
                }
                let Some((mac, router)) = self.neighbor_mac(IpAddr::V6(target)) else {
                    return self.drop(DropReason::NoSuchNeighbor);
                };
                let reply = Reply::Neighbor { target, mac, router };
                self.reply(reply, move || format!("{target} is at {}", text(mac)))
            }
            ndp::Repr::RouterSolicitation { .. } => {
                let prefix = self
                    .sender
                    .and_then(|sender| self.policy.subnet(sender.interface.subnet)?.ipv6);
                match prefix {
                    Some(prefix) => self.reply(Reply::Router { prefix }, move || {
                        format!("the router of {prefix} is at {}", text(ROUTER_MAC))
                    }),
                    None => self.drop(DropReason::NeighborIgnored),
                }
            }
            _ => self.drop(DropReason::NeighborIgnored),
        }
    }

    /// The message, if it is whole and comes from the link.
    fn ndp_message(&self, ip: &Ip) -> Option<ndp::Repr> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.tuple.source, ip.tuple.destination) else {
            return None;
        };
        if ip.ttl != ndp::HOP_LIMIT || ip.fragment.is_some() {
            return None;
        }
        let end = self.frame.parsed.network_offset + ip.total_len;
        let bytes = self.frame.window.get(ip.transport_offset..end)?;
        match icmpv6::Repr::parse(bytes, source, destination) {
            Ok(icmpv6::Repr::Ndp(message)) => Some(message),
            _ => None,
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.sender.is_some_and(|sender| {
            let own = &sender.interface.entry;
            crate::tables::owns(own, address) || address == IpAddr::V6(ipv6::link_local(own.mac))
        })
    }

    /// Who answers for an address, and whether it is the router.
    fn neighbor_mac(&self, target: IpAddr) -> Option<(Mac, bool)> {
        const ROUTER: (Mac, bool) = (ROUTER_MAC, true);
        let Some(sender) = self.sender else {
            // For the internet the card is the one neighbor that leads everywhere.
            let link = matches!(target, IpAddr::V6(a) if a.is_unicast_link_local());
            return (!link || target == router_link_local()).then_some(ROUTER);
        };
        if target == router_link_local() {
            return Some(ROUTER);
        }
        if target.is_multicast() || is_link_local6(target) {
            return None;
        }
        let subnet = self.policy.subnet(sender.interface.subnet)?;
        let vpc = self.policy.vpc(sender.interface.vpc)?;
        if !subnet.contains(target) || subnet.is_router(target) || self.is_resolver(target) {
            return Some(ROUTER);
        }
        let peer = self.policy.interface(vpc.owner(target)?)?;
        (peer.subnet == sender.interface.subnet).then_some((peer.entry.mac, false))
    }

    fn reply(&mut self, reply: Reply, what: impl FnOnce() -> String) -> Flow {
        self.record(|_| Event::Answered(what()));
        ControlFlow::Break(Outcome::Reply(reply))
    }
}

/// The router's link-local address.
pub(crate) fn router_link_local() -> IpAddr {
    IpAddr::V6(ipv6::link_local(ROUTER_MAC))
}

fn is_link_local6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if Ipv6Addr::is_unicast_link_local(&a))
}

fn text(mac: Mac) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// What the router advertises: itself as default router, addresses from DHCPv6, the subnet as on the link.
/// [assumed A-11]
pub(crate) fn advertisement(prefix: ipnet::Ipv6Net) -> ndp::RouterAdvertisement {
    let mut prefixes = [None; ndp::MAX_LIST];
    prefixes[0] = Some(ndp::Prefix {
        prefix_len: prefix.prefix_len(),
        on_link: true,
        autonomous: false,
        valid_s: u32::MAX,
        preferred_s: u32::MAX,
        prefix: prefix.network(),
    });
    ndp::RouterAdvertisement {
        hop_limit: 64,
        managed: true,
        other_config: true,
        lifetime_s: 1_800,
        source_link: Some(ROUTER_MAC),
        mtu: u32::try_from(super::VPC_MTU).ok(),
        prefixes,
        ..ndp::RouterAdvertisement::default()
    }
}
