//! A seeded network in virtual time.

#![forbid(unsafe_code)]

mod datagram;
mod endpoint;
mod link;
mod queue;
mod random;
mod routes;
pub mod topology;
mod trace;
mod world;

pub use datagram::{Datagram, Ecn, HostId, Transmit, wire_bytes};
pub use endpoint::Endpoint;
pub use link::{Direction, DropCause, Drops, LinkConfig, LinkId, LinkStats};
pub use random::Random;
pub use topology::{SwitchId, Topology};
pub use trinic_wire::time::Instant;
pub use world::{Change, Step, Totals, World, WorldConfig};
