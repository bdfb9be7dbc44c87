//! `trinic console`: what an instance printed.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use trinic_switch::tables::Id;

use super::{Failure, Output, client, print};
use crate::control::admin::Request;
use crate::state::StateDir;

/// Arguments of `trinic console`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  trinic console i-0123456789abcdef0        output of its start and of its user data")]
pub struct Arguments {
    /// The instance
    instance: String,
}

pub(super) fn run(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let instance = Id::from(arguments.instance.as_str());
    let console = client::ask(state, &Request::Console { instance })?;
    super::status::tell_of_user_space(state, output);
    match output {
        Output::Json => print::json(&console)?,
        Output::Text => print::text(console.get("output").and_then(Value::as_str).unwrap_or_default())?,
    }
    Ok(ExitCode::SUCCESS)
}
