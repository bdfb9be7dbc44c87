//! `trinic status`: whether it runs, where, on what.

use std::process::ExitCode;

use super::{Failure, Output, client, print};
use crate::control::admin::{Request, Status};
use crate::control::link::CardStatus;
use crate::protocol::Backend;
use crate::state::StateDir;

pub(super) fn run(state: &StateDir, output: Output) -> Result<ExitCode, Failure> {
    let status: Status = client::ask_for(state, &Request::Status)?;
    match output {
        Output::Json => print::json(&status)?,
        Output::Text => print::text(&text(state, &status))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says beside an instance's text, on standard error, that the card's instances are not what they usually are. JSON has it in
/// `trinic status` and `trinic ls`.
pub(super) fn tell_of_user_space(state: &StateDir, output: Output) {
    if output == Output::Text
        && let Ok(status) = client::ask_for::<Status>(state, &Request::Status)
        && let CardStatus::Up {
            backend: Backend::UserSpace,
            ..
        } = status.card
    {
        print::progress(
            "trinic: this card's instances are user-space stacks, not namespaces (`trinic ls` says why)",
        );
    }
}

fn text(state: &StateDir, status: &Status) -> String {
    let card = match &status.card {
        CardStatus::Starting => "starting".to_owned(),
        CardStatus::Up {
            pid,
            backend,
            backend_reason,
            ..
        } => {
            let reason = backend_reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(" ({reason})"));
            format!("process {pid}, backend {backend:?}{reason}")
        }
        CardStatus::Down { reason } => format!("down: {reason}"),
        CardStatus::Apart { reason } => format!("of another version: {reason}"),
        CardStatus::Ended => "ended".to_owned(),
    };
    format!(
        "API:      {}\nState:    {}{}\nControl:  process {}, version {}\nCard:     {card}\nLate:     {} API replies went out before the card had their tables\n",
        status.endpoint,
        state.root().display(),
        if status.ephemeral {
            " (API state in memory)"
        } else {
            ""
        },
        status.pid,
        status.version,
        status.late_replies,
    )
}
