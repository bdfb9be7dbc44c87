//! Endpoints that speak with each other in virtual time.

mod congestion;
mod direct;
mod forged;
mod hostile;
mod messages;
mod sessions;
mod world;
