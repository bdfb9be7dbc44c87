//! The packet pipeline: tables, stages, rule walk, flow cache, connection tracking, NAT, trace.
//!
//! The control plane compiles its model to [`tables`]; [`Policy`] indexes them; [`Switch`] takes frames from
//! ports and says what becomes of them. The walk over (policy, connection state, packet) is the
//! specification, its order is in [`stages`], and the flow cache on top of it must give the same verdicts.
//!
//! Both gates always run: the sender's outbound rules and the receiver's inbound rules, each with its own
//! connection tracking. Every drop is one [`DropReason`]: a counter, a line of a trace, a test.
//!
//! Pure: no clock, socket, thread or randomness of its own. Time is an argument, the seed of the hash tables
//! too. One switch belongs to one thread.
//!
//! What it does not do: move payloads (the caller does, see [`Packet`]), answer link-local services (the
//! caller hands those frames on), fragment or reassemble, network ACLs.

#![forbid(unsafe_code)]

mod cache;
mod conntrack;
mod counters;
mod drop_reason;
mod edit;
mod flow;
mod fragments;
pub mod fuzz;
mod packet;
mod policy;
mod shaper;
pub mod stages;
mod state;
mod switch;
pub mod tables;
pub mod trace;
mod walk;

pub use counters::{AllowanceCounters, CountersSnapshot};
pub use drop_reason::DropReason;
pub use packet::{Offload, Output, Packet, PortId, Verdict};
pub use policy::Policy;
pub use stages::Stage;
pub use state::Config;
pub use switch::{BATCH, ConnectError, MAX_PORTS, Switch};
pub use walk::{INTERNET_MTU, VPC_MTU};

/// The MAC of every subnet's router, of the link-local services, and of the card on the internet's port.
pub const ROUTER_MAC: tables::Mac = [0x0a, 0xff, 0xff, 0xff, 0xff, 0x01];

/// The MAC of the internet's end until its first frame tells its own.
pub const INTERNET_MAC: tables::Mac = [0xfe, 0x00, 0xcb, 0x00, 0x71, 0x01];
