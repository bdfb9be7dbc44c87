//! The addresses where services answer, on every interface of every VPC.
//!
//! Source: [AWS doc docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html],
//! "Link-local addresses".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The metadata service over IPv4.
pub const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The metadata service over IPv6.
pub const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// The resolver over IPv4, beside the one at the VPC's base + 2.
pub const RESOLVER_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
/// The resolver over IPv6.
pub const RESOLVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);
/// The time service over IPv4.
pub const TIME_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 123);
/// The time service over IPv6.
pub const TIME_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123);

/// Whether the metadata service is there.
pub fn is_metadata(address: IpAddr) -> bool {
    address == METADATA_V4 || address == METADATA_V6
}

/// Whether the time service is there.
pub fn is_time(address: IpAddr) -> bool {
    address == TIME_V4 || address == TIME_V6
}
