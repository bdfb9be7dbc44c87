//! `trinic exec`: runs a command inside an instance.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use trinic_host::instance::exec;

use super::{Failure, client};
use crate::card::{namespace, vm};
use crate::control::admin::Request;
use crate::state::StateDir;

/// Arguments of `trinic exec`.
#[derive(Debug, Args)]
#[command(
    after_help = "The command has the instance's network, processes, mounts and host name, and this terminal's streams. The \
exit code is the command's (128 + N when signal N ended it, 127 when there is no such command, 126 when it \
cannot be executed); 125 when it could not be run at all.

Examples:
  trinic exec i-0123456789abcdef0 -- ping -c3 10.0.0.5
  trinic exec i-0123456789abcdef0 -- sh -c 'ip addr; ip route'
  trinic exec internet -- ping -c1 198.18.0.7          from \"the internet\""
)]
pub struct Arguments {
    /// The instance: i-…, or `internet`
    instance: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn run(state: &StateDir, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let inspection = client::ask(state, &Request::Inspect).map_err(|failure| Failure {
        code: EXIT_NOT_RUN,
        ..failure
    })?;
    let status = enter(&inspection, arguments).map_err(|error| Failure {
        code: EXIT_NOT_RUN,
        error,
    })?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)))
}

fn enter(inspection: &Value, arguments: &Arguments) -> anyhow::Result<i32> {
    let id = &arguments.instance;
    if inspection.get("backend").and_then(Value::as_str) == Some("user-space") {
        anyhow::bail!(
            "Instance {id} is a user-space stack inside the card and runs no programs of this machine (`trinic ls` \
             says why); `trinic probe` runs built-in ones there"
        );
    }
    let Some(instance) = inspection.get("instances").and_then(|all| all.get(id)) else {
        anyhow::bail!("The card has no instance {id}; `trinic ls` lists those it has");
    };
    let handle = instance.get("handle").unwrap_or(&Value::Null);
    if vm::machine_of(handle).is_some() {
        anyhow::bail!(
            "Instance {id} is a virtual machine, into which the host cannot enter: `trinic console {id}` shows what it \
             says, and its network is there for ssh"
        );
    }
    let Some(process) = namespace::process_of(handle) else {
        anyhow::bail!("Instance {id} has no process to enter: it is starting, ending or not trinic's own");
    };
    Ok(exec::exec_in(process, &arguments.command)?)
}

const EXIT_NOT_RUN: u8 = 125;
