//! The internet gateway: 1:1 address translation, hop limit, MTU.
//!
//! Source: [VPC User Guide, "Enable internet access for a VPC using an internet gateway"]: the gateway
//! translates one private IPv4 address of an interface to its public one and keeps no state; IPv6 addresses
//! are public already.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;

use trinic_wire::packet::Transport;
use trinic_wire::reply::Problem;

use super::{Flow, INTERNET_MTU, Walk};
use crate::DropReason;
use crate::policy::InterfaceIndex;
use crate::stages;
use crate::trace::{Event, Sink};

impl<S: Sink> Walk<'_, S> {
    /// Private to public.
    pub(super) fn gateway_out(&mut self) -> Flow {
        let (Some(sender), Some(tuple)) = (self.sender, self.tuple()) else {
            return self.drop(DropReason::NoPublicAddress);
        };
        match tuple.source {
            IpAddr::V4(private) => {
                let public = &sender.interface.entry.public;
                let Some(mapping) = public.iter().find(|m| m.private == private) else {
                    return self.drop(DropReason::NoPublicAddress);
                };
                self.edits.source = Some(mapping.public);
                self.translate_source(private, mapping.public);
            }
            IpAddr::V6(_) => {
                let vpc = self.policy.vpc(sender.interface.vpc);
                if !vpc.is_some_and(|vpc| vpc.contains(tuple.source)) {
                    return self.drop(DropReason::NoPublicAddress);
                }
                self.record(|_| Event::Passed);
            }
        }
        if is_private(tuple.destination) {
            return self.drop(DropReason::DestinationAddress);
        }
        if self.path == stages::TO_INTERNET && self.states.internet.port.is_none() {
            return self.drop(DropReason::NoInternet);
        }
        self.hop()?;
        self.check_mtu(INTERNET_MTU)
    }

    /// Public to private.
    pub(super) fn gateway_in(&mut self) -> Flow {
        let Some(tuple) = self.tuple() else {
            return self.drop(DropReason::UnsupportedEtherType);
        };
        let from_internet = self.sender.is_none();
        if from_internet && (is_private(tuple.source) || self.public_owner(tuple.source).is_some()) {
            return self.drop(DropReason::SourceAddress);
        }
        let Some((receiver, private)) = self.public_owner(tuple.destination) else {
            return self.drop(DropReason::NoSuchPublicAddress);
        };
        let vpc = self
            .policy
            .interface(receiver)
            .and_then(|interface| self.policy.vpc(interface.vpc));
        // A sender on the internet must not look like a member of the receiver's VPC.
        if from_internet && vpc.is_some_and(|vpc| vpc.contains(tuple.source)) {
            return self.drop(DropReason::SourceAddress);
        }
        if from_internet {
            self.hop()?;
            self.check_mtu(INTERNET_MTU)?;
        }
        if let (IpAddr::V4(public), IpAddr::V4(private)) = (tuple.destination, private) {
            self.edits.destination = Some(private);
            self.translate_destination(public, private);
        } else {
            self.record(|_| Event::Passed);
        }
        self.receive_at(receiver)
    }

    /// The gateway is a router: it takes one from the hop limit. [assumed A-16]
    fn hop(&mut self) -> Flow {
        if self.ip.is_some_and(|ip| ip.ttl <= 1) {
            return self.drop_and_report(DropReason::TtlExceeded, Problem::TimeExceeded);
        }
        self.edits.decrement_ttl = true;
        ControlFlow::Continue(())
    }

    /// The interface that has a public address, and the address that it has inside.
    pub(super) fn public_owner(&self, address: IpAddr) -> Option<(InterfaceIndex, IpAddr)> {
        match address {
            IpAddr::V4(public) => {
                let (index, private) = self.policy.public4(public)?;
                Some((index, IpAddr::V4(private)))
            }
            IpAddr::V6(public) => self.policy.public6(public).map(|index| (index, address)),
        }
    }

    /// The packet as it is behind the gateway; the packet that an ICMP error quotes has it as destination.
    fn translate_source(&mut self, private: Ipv4Addr, public: Ipv4Addr) {
        let (from, to) = (IpAddr::V4(private), IpAddr::V4(public));
        if let Some(ip) = &mut self.ip {
            ip.tuple.source = to;
            if let Transport::Icmp(icmp) = &mut ip.transport
                && let Some(inner) = &mut icmp.inner
                && inner.tuple.destination == from
            {
                inner.tuple.destination = to;
            }
        }
        self.record(|_| Event::Translated { from, to });
    }

    fn translate_destination(&mut self, public: Ipv4Addr, private: Ipv4Addr) {
        let (from, to) = (IpAddr::V4(public), IpAddr::V4(private));
        if let Some(ip) = &mut self.ip {
            ip.tuple.destination = to;
            if let Transport::Icmp(icmp) = &mut ip.transport
                && let Some(inner) = &mut icmp.inner
                && inner.tuple.source == from
            {
                inner.tuple.source = to;
            }
        }
        self.record(|_| Event::Translated { from, to });
    }
}

/// Addresses that the internet does not route: RFC 1918, RFC 6598, RFC 4193 and link-local ones.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let shared = a.octets()[0] == 100 && a.octets()[1] & 0xc0 == 64;
            a.is_private() || shared || a.is_link_local() || !super::is_host(address)
        }
        IpAddr::V6(a) => a.is_unique_local() || a.is_unicast_link_local() || !super::is_host(address),
    }
}
