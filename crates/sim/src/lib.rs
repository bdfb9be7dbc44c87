//! A seeded network in virtual time.

#![forbid(unsafe_code)]

pub mod content;
mod datagram;
mod endpoint;
mod histogram;
mod ledger;
mod link;
mod queue;
mod random;
mod routes;
mod seeds;
pub mod single_path;
pub mod topology;
mod trace;
mod workload;
mod world;

pub use datagram::{Datagram, Ecn, HostId, Transmit, wire_bytes};
pub use endpoint::Endpoint;
pub use histogram::Histogram;
pub use ledger::{Entry, Ledger, Message, MessageEvent, MessageId, Resolution, Violation};
pub use link::{Direction, DropCause, Drops, LinkConfig, LinkId, LinkStats};
pub use random::Random;
pub use seeds::for_each_seed;
pub use topology::{SwitchId, Topology};
pub use trinic_wire::time::Instant;
pub use workload::{Busy, Driver, Flow, Messenger, Pace, Report};
pub use world::{Change, Step, Totals, World, WorldConfig};
