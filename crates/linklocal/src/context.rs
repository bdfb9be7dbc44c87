//! What a responder must know of an interface to answer it: lent for one call, kept by nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::metadata::InstanceMetadata;
use crate::zone::Zone;

/// Wall time: nanoseconds since 1970-01-01 00:00 UTC.
///
/// For what an instance is told (NTP, dates, the end of a token); what happens when goes by
/// [`trinic_wire::time::Instant`], which is never set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WallTime(pub u64);

/// An interface as the services see it.
#[derive(Clone, Copy)]
pub struct InterfaceContext<'a> {
    /// `eni-…`.
    pub id: &'a str,
    /// Its MAC.
    pub mac: [u8; 6],
    /// The MAC of the subnet's router, which is the source of every reply.
    pub router_mac: [u8; 6],
    /// MTU in bytes, as DHCP announces it.
    pub mtu: u32,
    /// Private IPv4 addresses, the primary one, which DHCP gives, first.
    pub ipv4: &'a [Ipv4Addr],
    /// Prefix length of the subnet.
    pub ipv4_prefix_len: u8,
    /// The subnet's router, which is also the DHCP server.
    pub ipv4_router: Option<Ipv4Addr>,
    /// IPv6 addresses; DHCPv6 gives the first.
    pub ipv6: &'a [Ipv6Addr],
    /// Resolvers that DHCP announces; those of them that the switch hands here answer.
    pub dns: &'a [IpAddr],
    /// `ip-10-0-0-5`, without a domain.
    pub hostname: &'a str,
    /// `ec2.internal` and the like.
    pub domain: &'a str,
    /// What the metadata service knows of the interface's instance.
    pub metadata: Option<&'a InstanceMetadata>,
    /// The names of the interface's VPC.
    pub zone: &'a dyn Zone,
    /// Whether the VPC's resolver answers (enableDnsSupport).
    pub dns_support: bool,
}

impl std::fmt::Debug for InterfaceContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InterfaceContext")
            .field("id", &self.id)
            .field("mac", &self.mac)
            .field("ipv4", &self.ipv4)
            .field("ipv6", &self.ipv6)
            .finish_non_exhaustive()
    }
}

/// The two ends of the link to an instance, from the card's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) mac: [u8; 6],
    pub(crate) router_mac: [u8; 6],
}

impl InterfaceContext<'_> {
    pub(crate) fn link(&self) -> Link {
        Link {
            mac: self.mac,
            router_mac: self.router_mac,
        }
    }

    /// Whether the resolver answers at this address: a link-local one, a resolver that DHCP announces,
    /// or base + 2 of the subnet or of a CIDR of the VPC.
    pub(crate) fn is_resolver(&self, address: IpAddr) -> bool {
        let IpAddr::V4(v4) = address else {
            return address == crate::address::RESOLVER_V6 || self.dns.contains(&address);
        };
        let plus = |base: Ipv4Addr, offset: u32| u32::from(base).wrapping_add(offset) == u32::from(v4);
        let vpc = || {
            let of_this = |metadata: &InstanceMetadata| {
                let interfaces = &mut metadata.interfaces.iter();
                let own = interfaces.find(|interface| interface.interface_id == self.id)?;
                Some(own.vpc_ipv4_cidrs.iter().any(|cidr| plus(cidr.network(), 2)))
            };
            self.metadata.and_then(of_this).unwrap_or(false)
        };
        v4 == crate::address::RESOLVER_V4
            || self.dns.contains(&address)
            || self.ipv4_router.is_some_and(|router| plus(router, 1))
            || vpc()
    }
}
