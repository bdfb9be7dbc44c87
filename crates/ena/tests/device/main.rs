//! The control half of the device against a driver that goes by the book, and against ones that do not.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]

mod events;
mod features;
mod hostile;
mod probe;
mod queues;
mod refusals;
mod rig;
mod trace;
