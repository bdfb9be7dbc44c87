//! EC2's network interfaces as open software: the one program behind `trinic up` and its friends.
//!
//! Two processes do the work. *Control* ([`control`]) serves the EC2 API on loopback, decides every call with
//! the pure model of `trinic-vpc` and makes it durable in `trinic-store` before it answers. The *card* ([`card`])
//! owns taps, namespaces and instances and switches packets with `trinic-switch`. They talk over a Unix
//! socket in the state directory ([`protocol`], [`framing`], [`state`]), so that either may be killed or
//! upgraded without the other: a restarted control sends the card a snapshot, a restarted card adopts what runs.
//!
//! Everything else here is the command line ([`cli`]): short-lived clients of control's admin socket.

pub mod card;
pub mod cli;
pub mod control;
pub mod demo;
pub mod framing;
pub mod program;
pub mod protocol;
pub mod state;

use std::process::ExitCode;

/// Parses the command line and runs it. What `main` calls; the exit codes are in [`cli::EXIT_CODES`].
pub fn run() -> ExitCode {
    cli::run()
}
