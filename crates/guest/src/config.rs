//! What a guest and its interfaces are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use trinic_wire::ethernet::{self, Mac};

/// Most interfaces of a guest; the largest EC2 instances have 15 on one card.
pub const MAX_INTERFACES: usize = 16;

/// Most addresses of an interface and family; the largest EC2 instances have 50.
pub const MAX_ADDRESSES: usize = 64;

/// Smallest MTU of an interface: IPv6 needs it (RFC 8200 §5).
pub(crate) const MIN_MTU: usize = 1280;

/// Largest MTU of an interface: what EC2 has inside a VPC.
pub(crate) const MAX_MTU: usize = 9001;

/// What a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuestConfig {
    /// Where TCP sequence numbers and the first ports come from.
    pub seed: u64,
    /// Whether it forwards packets that are not for it.
    pub forwarding: bool,
}

/// What an interface of a guest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// MAC address.
    pub mac: Mac,
    /// Largest IP packet in bytes, 1280 to 9001.
    pub mtu: usize,
    /// Addresses with the length of their subnet's prefix, the primary one first.
    pub ipv4: Vec<(Ipv4Addr, u8)>,
    /// Addresses with the length of their subnet's prefix, the primary one first. The link-local address
    /// follows from the MAC and is not listed.
    pub ipv6: Vec<(Ipv6Addr, u8)>,
    /// Where IPv4 packets beyond the subnet go.
    pub ipv4_router: Option<Ipv4Addr>,
    /// Where IPv6 packets beyond the subnet go; `None` = learned from router advertisements.
    pub ipv6_router: Option<Ipv6Addr>,
}

/// Why an interface cannot be configured; nothing changes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The guest has as many interfaces as it can.
    #[error("A guest has at most {MAX_INTERFACES} interfaces")]
    TooManyInterfaces,
    /// More addresses than an interface can have.
    #[error("An interface has at most {MAX_ADDRESSES} addresses of a family, got {0}")]
    TooManyAddresses(usize),
    /// The MTU is out of range.
    #[error("An MTU is between {MIN_MTU} and {MAX_MTU}, got {0}")]
    Mtu(usize),
    /// The MAC address is for a group.
    #[error("The MAC address is for a group of stations")]
    Mac,
    /// An address is not one of a single host, or its prefix is too long.
    #[error("{0}/{1} is not an address of a host")]
    Address(IpAddr, u8),
}

impl InterfaceConfig {
    /// Checks every limit.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(MIN_MTU..=MAX_MTU).contains(&self.mtu) {
            return Err(ConfigError::Mtu(self.mtu));
        }
        if ethernet::is_multicast(self.mac) {
            return Err(ConfigError::Mac);
        }
        let most = self.ipv4.len().max(self.ipv6.len());
        if most > MAX_ADDRESSES {
            return Err(ConfigError::TooManyAddresses(most));
        }
        for &(address, len) in &self.ipv4 {
            if len > 32 || address.is_multicast() || address.is_broadcast() || address.is_unspecified() {
                return Err(ConfigError::Address(address.into(), len));
            }
        }
        for &(address, len) in &self.ipv6 {
            if len > 128 || address.is_multicast() || address.is_unspecified() {
                return Err(ConfigError::Address(address.into(), len));
            }
        }
        Ok(())
    }
}
