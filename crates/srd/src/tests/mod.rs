//! Endpoints that speak with each other in virtual time.

mod hostile;
mod messages;
mod sessions;
mod world;
