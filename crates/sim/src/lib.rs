//! A seeded network in virtual time, for transports without IO to be tried in.
//!
//! A [`World`] is made of a [`Topology`], a seed and an [`Endpoint`] for each host. It has no clock, socket or
//! thread: time goes from event to event, and the same seed gives the same world to the last event, which
//! [`World::trace_hash`] shows. [`topology`] makes the usual networks, [`Driver`] offers messages, measures them
//! and keeps the account of each, [`for_each_seed`] runs a scenario with many seeds and names the one that
//! failed, [`single_path`] is the transport to compare with, and [`scenario`] has the networks to compare in.
//!
//! ```
//! use std::time::Duration;
//! use trinic_sim::single_path::{Config, SinglePath};
//! use trinic_sim::{Driver, Flow, Instant, LinkConfig, Pace, Random, World, WorldConfig, topology};
//!
//! trinic_sim::for_each_seed(3, |seed| {
//!     let edge = LinkConfig::new(100_000_000_000, Duration::from_micros(1));
//!     let path = LinkConfig::new(10_000_000_000, Duration::from_micros(5)).with_loss(1_000);
//!     let (plan, pair) = topology::pair_with_paths(8, &edge, &path);
//!     let mut world = World::new(&plan, WorldConfig::new(seed));
//!     for (host, name) in [(pair.left, "left"), (pair.right, "right")] {
//!         world.start(host, SinglePath::new(Config::default(), Random::fork(seed, name)));
//!     }
//!     let pace = Pace::Outstanding(16);
//!     let flow = Flow { from: pair.left, to: pair.right, size_bytes: 8_192, count: 100, pace, start: Instant::ZERO };
//!     let mut driver = Driver::new(seed, &[flow]);
//!     assert!(driver.run(&mut world, Instant::from_nanos(60_000_000_000)));
//!     driver.ledger().check().unwrap();
//!     assert_eq!(driver.report().latency_ns.count(), 100);
//! });
//! ```
//!
//! # What the network does
//!
//! - A host has one link, whose rate is its pace: it is asked for the next datagram while less than
//!   [`WorldConfig::nic_bytes`] is queued there. That queue drops and marks nothing.
//! - A switch has a queue of its own at each link: finite, what does not fit is dropped, and what finds more than
//!   a threshold is marked if its transport takes part in ECN. All that is queued counts, also the datagram
//!   that is being sent, until its last bit has left. There is no shared buffer and there are no priorities.
//! - A switch chooses among equal shortest paths by a hash of hosts, UDP ports and its own salt. Paths stay as they
//!   are when a link fails, unless [`WorldConfig::reroute`] says after how long switches know of it.
//! - A link loses, duplicates, holds back and corrupts datagrams, in one direction as configured for it, and can
//!   fail and come back. Every datagram ends as delivered or as one [`DropCause`].
//! - Frames take room as on Ethernet ([`wire_bytes`]). There is no fragmentation and no largest size.
//! - Hosts take no time to think.
//!
//! # Speed
//!
//! One event for each hop of a datagram, and one for each that its host must be asked for; datagrams and their
//! payloads are used again, so nothing is allocated for each. The example `incast` with 128 senders of the
//! single-path model, 5,000 messages of 8,192 bytes each, has 2.64 million events and took 0.56 to 0.99 s of processor
//! time in eight runs, transports and account with it: 2.7 to 4.7 million events a second. That was on one of two
//! virtual processors (Xeon, AVX-512) with a load average of 18 to 23. The workspace optimizes this crate in debug builds too; without that they take
//! about fifteen times as long, as a transport does that is not optimized.

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
pub mod scenario;
mod seeds;
pub mod single_path;
pub mod srd;
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
