//! The EC2 face: the Query protocol of Amazon EC2, API version 2016-11-15.
//!
//! A client's signed HTTP request comes in as parts, [`http::handle`] turns it into a
//! [`trinic_vpc::command::Command`] with its account and region, and
//! [`http::Authenticated::answer`] turns the model's reply or error into the XML that the AWS CLI
//! and SDKs parse. The way through: [`http`] (guards, then the rest) → [`sigv4`] (who) → [`query`]
//! (the parameters as a tree) → [`actions`] (the table) → [`model`] (names and types of every member).
//!
//! Names and types come from the botocore service model, through tables that `model/generate.py`
//! writes; what a parameter is called is written by hand nowhere. What the parameters mean is
//! `trinic_vpc`'s.
//!
//! Pure: no clock, socket, thread or randomness. The wall time and the request id are arguments.
//! What it does not do: SigV2, chunked signatures, other API versions, other services, presigned
//! requests that change something (see [`http`] for why).

#![forbid(unsafe_code)]

pub mod actions;
pub mod error;
pub mod fuzz;
pub mod http;
pub mod model;
pub mod query;
pub mod sigv4;
pub mod support;
pub mod xml;

pub use model::action_names;
