//! Packet formats: views over bytes and representations of legal values.
//!
//! Each format has a module with two types. `Header` is a view: a `#[repr(C)]` struct over the bytes as
//! they are, made without a copy and without a check of the values. `Repr` holds legal values only: `parse`
//! refuses the rest with an [`Error`] that names the layer, and `emit` writes it back. [`packet::Parsed`] is
//! the exception to the pattern, one pass over the first bytes of an Ethernet frame for the packet path, with
//! [`plain::Plain`] as its quick form for frames with nothing unusual in them, and [`reply`] builds the packets that a router or
//! a link answers with.
//!
//! Everything here is pure: no clock, no allocation on the way of a packet (the DHCP representation alone
//! keeps short lists), no panic whatever the bytes. Numbers on the wire are big-endian; addresses are the
//! `std::net` types; a MAC address is six bytes as on the wire.
//!
//! What it does not do: reassemble fragments, follow TCP state, or decide anything about a packet.

#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod coalesce;
pub mod dhcpv4;
mod error;
pub mod ethernet;
#[doc(hidden)]
pub mod fuzz;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ntp;
pub mod packet;
pub mod plain;
pub mod reply;
pub mod rewrite;
pub mod tcp;
pub mod time;
pub mod udp;

pub use error::{Error, Layer};
pub use ipv4::Protocol;
