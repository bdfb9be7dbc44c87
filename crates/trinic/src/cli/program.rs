//! `trinic probe`: runs one of the built-in programs inside an instance, of whichever kind it is.
//!
//! A namespace instance runs this very binary (`/proc/self/exe`, which works even where the instance does not
//! see its path) with the hidden command `program`; a user-space instance is asked through the card.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use trinic_host::instance::exec;
use trinic_switch::tables::Id;

use super::{Failure, Output, client, print};
use crate::card::namespace;
use crate::control::admin::Request;
use crate::program::Program;
use crate::state::StateDir;

/// Arguments of `trinic probe`.
#[derive(Debug, Args)]
#[command(
    after_help = "Unlike `trinic exec` it needs no tool in the instance and works on the user-space backend too.

Programs:
  ping ADDRESS COUNT INTERVAL_MS [SOURCE]
  tcp-connect ADDRESS PORT TIMEOUT_MS      open, refused or silent
  tcp-echo PORT                            serves until interrupted
  forward                                  lets the instance route
  frames-echo CARRIER PORT IDLE_MS WAY     turns raw UDP frames around until none came for IDLE_MS
  frames-rtt CARRIER FROM TO PORT COUNT TIME_MS WAY [PAUSE_MS]
                                           COUNT round trips, or as many as TIME_MS allows, each after a pause
  frames-flood CARRIER FROM TO PORT TIME_MS BYTES CONNECTIONS
  frames-sink CARRIER PORT IDLE_MS BYTES   counts what a flood delivers

A CARRIER is a network device (eth0: a packet socket) or an ENA function (eni-…: /run/trinic/eni-….sock in the
instance, the user-mode driver); WAY is poll or wait; BYTES are those of the IP packet, 46 in the smallest frame.

Examples:
  trinic probe i-0123456789abcdef0 ping 10.0.0.5 10 20
  trinic probe internet tcp-connect 198.18.0.7 22 500"
)]
pub struct Arguments {
    /// The instance: i-…, or `internet`
    instance: String,
    #[command(flatten)]
    program: Words,
}

/// A program in words.
#[derive(Debug, Args)]
pub struct Words {
    /// The program and its arguments
    #[arg(required = true, value_name = "PROGRAM")]
    words: Vec<String>,
}

/// Runs a program in an instance.
pub(super) fn probe(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let words = Program::parse(&arguments.program.words)?.words();
    let inspection = client::ask(state, &Request::Inspect)?;
    if inspection.get("backend").and_then(Value::as_str) == Some("user-space") {
        let instance = Id::from(arguments.instance.as_str());
        let found = client::ask(
            state,
            &Request::Program {
                instance,
                arguments: words,
            },
        )?;
        super::status::tell_of_user_space(state, output);
        show(output, &found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let id = &arguments.instance;
    let handle = inspection
        .get("instances")
        .and_then(|all| all.get(id))
        .and_then(|one| one.get("handle"));
    let process = handle
        .and_then(namespace::process_of)
        .with_context(|| format!("The card has no running instance {id}; `trinic ls` lists those it has"))?;
    let form = if output == Output::Json { "json" } else { "text" };
    let mut command = vec![
        "/proc/self/exe".to_owned(),
        "--output".into(),
        form.into(),
        "program".into(),
    ];
    command.extend(words);
    let status = exec::exec_in(process, &command).context("Could not enter the instance")?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
}

/// Runs a program in this very process: the inner half of [`probe`].
pub(super) fn here(output: Output, words: &Words) -> Result<ExitCode, Failure> {
    show(output, &Program::parse(&words.words)?.run()?)?;
    Ok(ExitCode::SUCCESS)
}

fn show(output: Output, found: &Value) -> Result<(), Failure> {
    match (output, found) {
        (Output::Json, _) => print::json(found)?,
        (Output::Text, Value::Object(fields)) => {
            for (name, value) in fields {
                print::text(&format!("{name}: {value}\n"))?;
            }
        }
        (Output::Text, other) => print::text(&format!("{other}\n"))?,
    }
    Ok(())
}
