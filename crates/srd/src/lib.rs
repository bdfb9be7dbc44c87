//! SRD: reliable, unordered datagrams over many paths, without IO.
//!
//! The protocol is docs/spec/srd.md; `[REL-3]` in a comment is the requirement of that number. An [`Endpoint`] is the transport of one interface. It is handed
//! datagrams and the time, and hands out datagrams and events; what queue pairs and memory do is behind [`Local`]. After a session has begun nothing is allocated
//! for a packet.
//!
//! To read it: [`endpoint`](Endpoint) finds the context, `context` begins and ends sessions, `sender` and `receiver` are the two halves of one, `outbox` cuts messages
//! into packets, `path` and [`congestion`] decide where and how much. `direct` carries messages between interfaces of one card, which never become packets.

#![forbid(unsafe_code)]

mod chain;
mod config;
pub mod congestion;
mod context;
mod direct;
mod endpoint;
mod error;
pub mod fuzz;
mod key;
mod local;
mod number;
mod outbox;
mod path;
mod random;
mod receiver;
mod sender;
mod session;
mod stats;
#[cfg(test)]
mod tests;
mod timers;
mod window;
mod wire;

pub use config::Config;
pub use context::{Peer, Transmit};
pub use direct::{Answer, Piece};
pub use endpoint::{Datagram, Endpoint, Event, PeerId};
pub use error::{Failure, Refusal, SubmitError};
pub use key::PairKey;
pub use local::{Gone, Incoming, Local, Remote};
pub use outbox::{Action, Request};
pub use stats::Stats;
pub use trinic_wire::time::Instant;
pub use wire::Gid;
