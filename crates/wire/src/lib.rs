//! Packet formats: views over bytes and representations of legal values.

#![forbid(unsafe_code)]

pub mod time;
