//! The switch as its card sees it: frames in, verdicts, frames and counters out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "A test that meets what it does not expect fails."
)]

mod allocations;
mod allowances;
mod antispoof;
mod cache;
mod counting;
mod fuzz;
mod gateway;
mod groups;
mod guests;
mod neighbors;
mod packets;
mod ports;
mod routes;
mod services;
mod support;
mod traces;
mod tracking;
