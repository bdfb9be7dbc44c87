//! `trinic down`: ends control, and the card with its instances.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::{Failure, Output, client, print};
use crate::control::admin::Request;
use crate::state::StateDir;

/// Arguments of `trinic down`.
#[derive(Debug, Args)]
#[command(
    after_help = "The state directory keeps the API's state; the next `trinic up` brings the instances back. To forget it, \
remove the directory afterwards.

Examples:
  trinic down
  trinic down --keep-card     upgrade control while packets flow: then `trinic up` again"
)]
pub struct Arguments {
    /// End control alone; the card and its instances go on
    #[arg(long)]
    keep_card: bool,
}

pub(super) fn run(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if output == Output::Text && !arguments.keep_card {
        print::progress("Ending instances, card and control …");
    }
    let request = Request::Down {
        keep_card: arguments.keep_card,
    };
    let value = client::ask(state, &request)?;
    let since = Instant::now();
    while state.control_socket().exists() && since.elapsed() < LIMIT {
        std::thread::sleep(POLL);
    }
    if value.get("clean").and_then(Value::as_bool) == Some(false) {
        return Err(anyhow::anyhow!(
            "Control ended, but the card did not in time; see {}",
            state.card_log().display()
        )
        .into());
    }
    match output {
        Output::Json => print::json(&value)?,
        Output::Text => print::text("trinic is down\n")?,
    }
    Ok(ExitCode::SUCCESS)
}

const LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
