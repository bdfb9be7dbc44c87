//! The card process: datapath and instances of one state directory.

use crate::state::StateDir;

/// What the card is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its socket, logs and instances are.
    pub state: StateDir,
    /// Whether the resolver forwards what it does not know to the host's resolver, and the "internet"
    /// namespace leads out.
    pub uplink: bool,
}

/// Runs the card until control tells it to end. Called in a process of its own, in its own session, with
/// standard output and error going to the card's log.
///
/// # Errors
///
/// When the card cannot start; the error is its last line in the log.
pub fn main(options: Options) -> anyhow::Result<()> {
    anyhow::bail!(
        "This build has no datapath yet, so the card of {} cannot start",
        options.state.root().display()
    )
}
