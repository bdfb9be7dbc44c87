//! Endpoints that speak with each other in virtual time.

mod direct;
mod forged;
mod hostile;
mod messages;
mod sessions;
mod world;
