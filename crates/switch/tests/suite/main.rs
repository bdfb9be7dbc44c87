//! The switch as its card sees it: frames in, verdicts, frames and counters out.

mod antispoof;
mod cache;
mod gateway;
mod groups;
mod neighbors;
mod packets;
mod ports;
mod routes;
mod services;
mod support;
mod traces;
mod tracking;
