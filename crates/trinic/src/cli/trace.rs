//! `trinic trace`: what the pipeline would do with a packet, and which rule decides; or, for the writer of a
//! driver, what happened at an ENA function.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use trinic_switch::tables::Id;

use super::{Failure, Output, client, print};
use crate::control::admin::Request;
use crate::protocol::TraceRequest;
use crate::state::StateDir;

/// Arguments of `trinic trace`.
#[derive(Debug, Args)]
#[command(
    after_help = "The packet is not sent; the same code decides that switches packets, with the present rules and \
connections, and says what each stage found.

Without --to: every register access, admin command, event and reset of the interface's ENA function since it was last asked.

Examples:
  trinic trace eni-0123456789abcdef0 --to 10.0.0.5 --proto tcp --port 22
  trinic trace eni-0123456789abcdef0 --to 10.0.0.5 --proto icmp
  trinic trace eni-0123456789abcdef0 --to 203.0.113.1 --proto udp --port 53 --source 10.0.0.9
  trinic trace eni-0123456789abcdef0 --follow             what its driver does, until interrupted"
)]
pub struct Arguments {
    /// The interface that would send the packet
    interface: String,
    /// Destination address
    #[arg(long, value_name = "ADDRESS")]
    to: Option<IpAddr>,
    /// Without --to: go on with what happens, until interrupted
    #[arg(long, conflicts_with = "to")]
    follow: bool,
    /// Protocol: tcp, udp, icmp, or an IP protocol number
    #[arg(long, default_value = "tcp", value_name = "PROTOCOL")]
    proto: String,
    /// Destination port; for ICMP the type [default: 80, echo request for ICMP]
    #[arg(long)]
    port: Option<u16>,
    /// Source address [default: the interface's primary one]
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Source port
    #[arg(long, default_value_t = 49152, value_name = "PORT")]
    source_port: u16,
}

pub(super) fn run(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Some(to) = arguments.to else {
        return device(state, output, arguments);
    };
    let protocol = protocol(&arguments.proto, to)?;
    let request = TraceRequest {
        interface: Id::from(arguments.interface.as_str()),
        source: arguments.source,
        destination: to,
        protocol,
        source_port: arguments.source_port,
        destination_port: arguments.port.unwrap_or_else(|| default_port(protocol)),
    };
    let trace = client::ask(state, &Request::Trace(request))?;
    super::status::tell_of_user_space(state, output);
    match output {
        Output::Json => print::json(&trace)?,
        Output::Text => {
            let text = trace.get("text").and_then(Value::as_str).unwrap_or_default();
            print::text(&format!("{}\n", text.trim_end()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What happened at the function, one line each.
fn device(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let request = Request::DeviceTrace {
        interface: Id::from(arguments.interface.as_str()),
    };
    loop {
        let lines = client::ask(state, &request)?;
        match output {
            Output::Json => print::json(&lines)?,
            Output::Text => {
                for line in lines.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    print::text(&format!("{line}\n"))?;
                }
            }
        }
        if !arguments.follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(FOLLOW_PAUSE);
    }
}

fn protocol(text: &str, to: IpAddr) -> anyhow::Result<u8> {
    Ok(match (text.to_ascii_lowercase().as_str(), to) {
        ("tcp", _) => TCP,
        ("udp", _) => UDP,
        ("icmp", IpAddr::V4(_)) => ICMP,
        ("icmp" | "icmpv6", IpAddr::V6(_)) => ICMPV6,
        (number, _) => number.parse().map_err(|_| {
            anyhow::anyhow!("{text} is not a protocol; use tcp, udp, icmp or a number up to 255")
        })?,
    })
}

fn default_port(protocol: u8) -> u16 {
    match protocol {
        ICMP => ECHO_REQUEST,
        ICMPV6 => ECHO_REQUEST_V6,
        _ => 80,
    }
}

/// Between two looks of `--follow`.
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);

// Source: [IANA protocol-numbers; RFC 792; RFC 4443 §4.1].
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const ECHO_REQUEST: u16 = 8;
const ECHO_REQUEST_V6: u16 = 128;
