//! `trinic ls`: instances and interfaces.

use std::process::ExitCode;

use clap::Args;

use super::{Failure, Output, client, print, table};
use crate::control::admin::Request;
use crate::control::link::CardStatus;
use crate::control::list::{ListedInstance, ListedInterface, Listing};
use crate::protocol::Backend;
use crate::state::StateDir;

/// Arguments of `trinic ls`.
#[derive(Debug, Args)]
#[command(
    after_help = "Addresses are private ones, with the public one behind an arrow.

Examples:
  trinic ls
  trinic ls --all                      terminated instances, too
  trinic ls --output json | jq '.interfaces[].mac'"
)]
pub struct Arguments {
    /// Show terminated instances, too
    #[arg(long, short)]
    all: bool,
}

pub(super) fn run(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut listing: Listing = client::ask_for(state, &Request::List)?;
    if !arguments.all {
        listing
            .instances
            .retain(|instance| instance.state != "terminated");
    }
    match output {
        Output::Json => print::json(&listing)?,
        Output::Text => print::text(&text(&listing))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(listing: &Listing) -> String {
    let mut text = card_line(listing.card.as_ref());
    text.push('\n');
    let instances: Vec<_> = listing.instances.iter().map(instance_row).collect();
    text.push_str(&table::format(
        ["INSTANCE", "NAME", "STATE", "TYPE", "HOSTNAME", "WHERE"],
        &instances,
    ));
    text.push('\n');
    let interfaces: Vec<_> = listing.interfaces.iter().map(interface_row).collect();
    text.push_str(&table::format(
        [
            "INTERFACE",
            "AT",
            "STATUS",
            "MAC",
            "ADDRESSES",
            "GROUPS",
            "CHECK",
            "SUBNET",
        ],
        &interfaces,
    ));
    for (id, problem) in &listing.problems {
        text.push_str(&format!("\n{id}: {problem}"));
    }
    if !listing.problems.is_empty() {
        text.push('\n');
    }
    text
}

fn card_line(card: Option<&CardStatus>) -> String {
    match card {
        Some(CardStatus::Up {
            pid,
            backend,
            backend_reason,
            ..
        }) => {
            let backend = match backend {
                Backend::Namespace => "namespaces".to_owned(),
                Backend::UserSpace => format!(
                    "user-space stacks, not namespaces: {}",
                    backend_reason.as_deref().unwrap_or("chosen so")
                ),
            };
            format!("Card: up (process {pid}), instances are {backend}\n")
        }
        Some(CardStatus::Down { reason }) => format!("Card: down, being started again: {reason}\n"),
        Some(CardStatus::Apart { reason }) => format!("Card: of another version: {reason}\n"),
        Some(CardStatus::Ended) => "Card: ended\n".into(),
        Some(CardStatus::Starting) | None => "Card: starting\n".into(),
    }
}

fn instance_row(instance: &ListedInstance) -> [String; 6] {
    [
        instance.id.clone(),
        instance.name.clone().unwrap_or_else(|| "-".into()),
        instance.state.clone(),
        instance.instance_type.clone(),
        instance.hostname.clone(),
        instance
            .place
            .clone()
            .unwrap_or_else(|| format!("{}/{}", instance.account, instance.region)),
    ]
}

fn interface_row(interface: &ListedInterface) -> [String; 8] {
    let (at, status) = match &interface.attachment {
        Some(at) => (
            format!("{} eth{}", at.instance, at.device_index),
            at.status.clone(),
        ),
        None => ("-".into(), interface.status.clone()),
    };
    let ipv4 = interface.ipv4.iter().map(|(private, public)| match public {
        Some(public) => format!("{private}→{public}"),
        None => private.to_string(),
    });
    let addresses: Vec<String> = ipv4
        .chain(interface.ipv6.iter().map(ToString::to_string))
        .collect();
    let groups: Vec<String> = interface
        .groups
        .iter()
        .map(|(id, name)| if name.is_empty() { id.clone() } else { name.clone() })
        .collect();
    [
        interface.id.clone(),
        at,
        status,
        interface.mac.clone(),
        addresses.join(","),
        groups.join(","),
        if interface.source_dest_check { "on" } else { "off" }.into(),
        interface.subnet.clone(),
    ]
}
