//! The pure model of EC2 networking.
//!
//! A call is a function: [`Model::decide`] takes the state, a [`command::Command`], the time and a
//! random source, and returns the events and the reply, or an EC2 error. A store makes the events
//! durable, then [`Model::apply`] brings the model to the new state. Nothing here has a clock, a
//! socket, a thread or randomness of its own.
//!
//! Words: a *scope* is one account in one region; a *resource* is stored state; a *shape* is text as
//! requests and responses carry it. [`compile()`] turns the model into the tables of a card.

#![forbid(unsafe_code)]

pub mod command;
pub mod error;
pub mod ids;
pub mod instance_type;
pub mod quota;
pub mod reply;
pub mod report;
pub mod resource;
pub mod scope;
pub mod shape;
pub mod zone;

mod action;
mod allocate;
mod compile;
mod draft;
mod invariant;
mod model;
mod region;
mod select;
mod view;

pub use compile::{compile, compile_events};
pub use error::{Ec2Error, ErrorCode};
pub use model::{Context, Model, Policing};
pub use report::CardReport;
pub use scope::{AccountId, RegionName, Scope};
