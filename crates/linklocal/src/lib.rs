//! The services at link-local addresses: DHCP, DNS, instance metadata, NTP.
//!
//! EC2 answers these on every interface of every VPC, at addresses that no routing reaches. Here one
//! [`Responder`] answers them for all interfaces of a card: the switch hands it the frames that an
//! interface sends to such an address, with an [`InterfaceContext`] that says what there is to know of
//! the interface, and it gives the frames to send back. Nothing is shared between interfaces but limits.
//!
//! It is sans-IO: time and the seed of all randomness are arguments, questions about names outside the
//! VPC come out as [`UpstreamQuery`] for somebody with a socket. Everything that it keeps is bounded by
//! [`Options`], and every frame that it does not answer moves a counter named by a [`Refusal`].
//!
//! What it does not do: ARP and neighbour discovery for the services' addresses and ping (the switch's),
//! caching of DNS answers, metadata of IAM roles.

#![forbid(unsafe_code)]

pub mod address;
mod allowance;
mod context;
pub mod dhcp;
pub mod dhcpv6;
pub mod dns;
mod frame;
pub mod fuzz;
pub mod imds;
pub mod metadata;
pub mod ntp;
mod refusal;
mod responder;
mod stack;
mod stacks;
#[cfg(test)]
mod testing;
mod upstream;
pub mod zone;

pub use context::{InterfaceContext, WallTime};
pub use refusal::{Counters, Refusal};
pub use responder::{Options, Responder};
pub use upstream::UpstreamQuery;
