//! The services at link-local addresses: DHCP, DNS, instance metadata, NTP.

#![forbid(unsafe_code)]

pub mod metadata;
