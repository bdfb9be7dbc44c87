//! `trinic stats`: counters of interfaces, drops by reason.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use trinic_switch::tables::Id;

use super::{Failure, Output, client, print, table};
use crate::control::admin::Request;
use crate::state::StateDir;

/// Arguments of `trinic stats`.
#[derive(Debug, Args)]
#[command(
    after_help = "In and out are the instance's: out is what it sent. A packet that the sender's groups refuse is a drop of \
the sender, one that the receiver's groups refuse a drop of the receiver.

Examples:
  trinic stats                              every interface
  trinic stats eni-0123456789abcdef0        one, with everything that is counted
  trinic stats --output json eni-0123456789abcdef0 | jq .drops"
)]
pub struct Arguments {
    /// The interface; all of them without
    interface: Option<String>,
}

pub(super) fn run(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let interface = arguments.interface.as_deref().map(Id::from);
    let stats = client::ask(state, &Request::Stats { interface })?;
    super::status::tell_of_user_space(state, output);
    match (output, &arguments.interface) {
        (Output::Json, _) => print::json(&stats)?,
        (Output::Text, Some(_)) => print::text(&one(&stats))?,
        (Output::Text, None) => print::text(&all(&stats))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn all(stats: &Value) -> String {
    let interfaces = stats.get("interfaces").and_then(Value::as_object);
    let rows: Vec<[String; 6]> = interfaces
        .into_iter()
        .flatten()
        .map(|(id, value)| {
            [
                id.clone(),
                number(value, "packets_in"),
                number(value, "bytes_in"),
                number(value, "packets_out"),
                number(value, "bytes_out"),
                drops(value),
            ]
        })
        .collect();
    table::format(
        [
            "INTERFACE",
            "PACKETS-IN",
            "BYTES-IN",
            "PACKETS-OUT",
            "BYTES-OUT",
            "DROPS",
        ],
        &rows,
    )
}

/// Every counter, one a line; those inside others with both names.
fn one(stats: &Value) -> String {
    let mut rows = Vec::new();
    table::flatten("", stats, &mut rows);
    table::format(["COUNTER", "VALUE"], &rows)
}

fn number(value: &Value, name: &str) -> String {
    value.get(name).map_or_else(|| "0".into(), ToString::to_string)
}

fn drops(value: &Value) -> String {
    let drops = value.get("drops").and_then(Value::as_object);
    let drops: Vec<String> = drops
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(reason, count)| format!("{reason}={count}"))
        .collect();
    if drops.is_empty() {
        "-".into()
    } else {
        drops.join(" ")
    }
}
