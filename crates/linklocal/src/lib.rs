//! The services at link-local addresses: DHCP, DNS, instance metadata, NTP.

#![forbid(unsafe_code)]

pub mod imds;
pub mod metadata;
pub mod refusal;
#[cfg(test)]
mod testing;
