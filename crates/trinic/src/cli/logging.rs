//! Logs: to standard error, filtered by `TRINIC_LOG`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::print;

/// What is logged when `TRINIC_LOG` says nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Default {
    /// Foreground, where somebody reads: warnings and errors.
    Warn,
    /// Into a file: what happened, too.
    Info,
}

/// Starts logging for this process; later calls change nothing.
pub(super) fn start(default: Default) {
    let default = match default {
        Default::Warn => "warn",
        Default::Info => "info",
    };
    let filter = match std::env::var("TRINIC_LOG") {
        Ok(value) => EnvFilter::try_new(&value).unwrap_or_else(|error| {
            print::progress(&format!("trinic: TRINIC_LOG is not used: {error}"));
            EnvFilter::new(default)
        }),
        Err(_) => EnvFilter::new(default),
    };
    // Fails only when a logger is there already, which then serves.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
}
