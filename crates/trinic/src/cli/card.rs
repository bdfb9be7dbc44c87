//! `trinic card`: the card and its virtual functions, as `lspci` and `ethtool` would tell on a real host.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use trinic_switch::tables::Id;

use super::{Failure, Output, client, print, table};
use crate::control::admin::Request;
use crate::state::StateDir;

/// Arguments of `trinic card`.
#[derive(Debug, Args)]
#[command(
    after_help = "A function is how an interface is presented to its instance. One of kind ena is a PCI function: its BDF is \
the one that the guest's driver reports, `-` until a driver has. RESETS counts what drivers reset it for; a reason with a ! \
blames the device.

Examples:
  trinic card                                    every function
  trinic card eni-0123456789abcdef0              one, with everything that is known of it
  trinic card eni-0123456789abcdef0 --fault stop-keep-alive      see how a driver survives it"
)]
pub struct Arguments {
    /// The interface; all of them without
    interface: Option<String>,
    /// Makes the function fail once: stop-keep-alive, swallow-tx-completion, drop-interrupt,
    /// drop-admin-interrupt, swallow-admin-completion, request-reset, fatal-error, link-down, link-up,
    /// no-watchdog
    #[arg(long, value_name = "FAULT", requires = "interface")]
    fault: Option<String>,
}

pub(super) fn run(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if let (Some(interface), Some(fault)) = (&arguments.interface, &arguments.fault) {
        let request = Request::Inject {
            interface: Id::from(interface.as_str()),
            fault: fault.clone(),
        };
        client::ask(state, &request)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut functions = client::ask(state, &Request::Functions)?;
    if let (Some(interface), Some(list)) = (&arguments.interface, functions.as_array_mut()) {
        list.retain(|function| function.get("interface").and_then(Value::as_str) == Some(interface));
        if list.is_empty() {
            return Err(anyhow::anyhow!("The card has no function for {interface}").into());
        }
    }
    match (output, &arguments.interface) {
        (Output::Json, _) => print::json(&functions)?,
        (Output::Text, None) => print::text(&all(&functions))?,
        (Output::Text, Some(_)) => print::text(&one(&functions))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn all(functions: &Value) -> String {
    let rows: Vec<[String; 7]> = functions.as_array().into_iter().flatten().map(row).collect();
    table::format(
        ["INTERFACE", "KIND", "BDF", "MAC", "DRIVER", "QUEUES", "RESETS"],
        &rows,
    )
}

fn row(function: &Value) -> [String; 7] {
    let device = function.get("device").unwrap_or(&Value::Null);
    let text = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .map_or_else(|| "-".to_owned(), str::to_owned)
    };
    [
        text(function, "interface"),
        text(function, "kind"),
        text(device, "bdf"),
        text(function, "mac"),
        text(device, "driver"),
        queues(device),
        resets(device),
    ]
}

/// `2 tx, 2 rx`.
fn queues(device: &Value) -> String {
    let count = |name: &str| device.get(name).and_then(Value::as_array).map(Vec::len);
    match (count("tx_queues"), count("rx_queues")) {
        (Some(tx), Some(rx)) => format!("{tx} tx, {rx} rx"),
        _ => "-".to_owned(),
    }
}

fn resets(device: &Value) -> String {
    let counts = device.get("resets").and_then(Value::as_array);
    let counts: Vec<String> = counts
        .into_iter()
        .flatten()
        .map(|reset| {
            let blames = reset.get("blames_device").and_then(Value::as_bool) == Some(true);
            let reason = reset.get("reason").and_then(Value::as_str).unwrap_or("unknown");
            let count = reset.get("count").and_then(Value::as_u64).unwrap_or(0);
            format!("{count} x {reason}{}", if blames { "!" } else { "" })
        })
        .collect();
    if counts.is_empty() {
        "-".to_owned()
    } else {
        counts.join("; ")
    }
}

/// Every value, one a line.
fn one(functions: &Value) -> String {
    let mut rows = Vec::new();
    for function in functions.as_array().into_iter().flatten() {
        table::flatten("", function, &mut rows);
    }
    table::format(["FIELD", "VALUE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_function_is_a_line() {
        let functions = json!([{
            "interface": "eni-1", "kind": "ena", "mac": "02:00:00:00:00:01",
            "device": {
                "bdf": "00:05.0", "driver": "running", "tx_queues": [1, 2], "rx_queues": [1, 2],
                "resets": [{ "reason": "keep-alive timeout", "count": 2, "blames_device": true }],
            },
        }, { "interface": "eni-2", "kind": "tap", "mac": "02:00:00:00:00:02" }]);
        assert_eq!(
            all(&functions),
            "INTERFACE  KIND  BDF      MAC                DRIVER   QUEUES      RESETS\n\
             eni-1      ena   00:05.0  02:00:00:00:00:01  running  2 tx, 2 rx  2 x keep-alive timeout!\n\
             eni-2      tap   -        02:00:00:00:00:02  -        -           -\n"
        );
    }
}
