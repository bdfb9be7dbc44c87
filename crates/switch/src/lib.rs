//! The packet pipeline: tables, stages, rule walk, flow cache, connection tracking, NAT, trace.

#![forbid(unsafe_code)]

pub mod tables;
