//! `trinic attach`: puts an interface into a network namespace of the user's own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::{Failure, Output, client, print};
use crate::control::admin::Request;
use crate::control::external::Place as Destination;
use crate::control::list::Listing;
use crate::state::StateDir;

/// Where the interface goes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Place {
    /// A namespace by its name, as `ip netns` knows it, or by its path
    #[arg(long, value_name = "NAME")]
    netns: Option<PathBuf>,
    /// The namespace that this process is in
    #[arg(long)]
    pid: Option<u32>,
    /// A vfio-user socket to be made here, for a virtual machine or a driver of your own
    #[arg(long, value_name = "PATH")]
    vfio_user: Option<PathBuf>,
}

/// Arguments of `trinic attach`.
#[derive(Debug, Args)]
#[command(
    after_help = "The namespace becomes an instance of the API (its type is trinic.external) with this one interface as eth0, \
configured with its addresses and routes. Terminating that instance takes the interface out again.

Examples:
  ip netns add lab && trinic attach eni-0123456789abcdef0 --netns lab
  trinic attach eni-0123456789abcdef0 --vfio-user /tmp/ena.sock      prints what QEMU needs
  trinic attach eni-0123456789abcdef0 --pid $(docker inspect -f '{{.State.Pid}}' web)
  aws ec2 terminate-instances --instance-ids i-...      takes it out again"
)]
pub struct Arguments {
    /// The interface; it must be attached to nothing
    interface: String,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let place = destination(&arguments.place)?;
    let request = Request::Attach {
        interface: arguments.interface.clone(),
        place: place.clone(),
    };
    let value = client::ask(state, &request)?;
    let instance = value
        .get("instance")
        .and_then(|id| id.as_str())
        .context("Control did not say which instance it made")?;
    wait_attached(state, &arguments.interface, instance)?;
    match output {
        Output::Json => print::json(&value)?,
        Output::Text => print::text(&said(&arguments.interface, instance, &place))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn destination(place: &Place) -> anyhow::Result<Destination> {
    Ok(match &place.vfio_user {
        Some(socket) => Destination::Device(std::path::absolute(socket)?.display().to_string()),
        None => Destination::Netns(path(place)?.display().to_string()),
    })
}

/// What to do with it now.
fn said(interface: &str, instance: &str, place: &Destination) -> String {
    match place {
        Destination::Netns(path) => format!("{interface} is eth0 of {path} (instance {instance})\n"),
        Destination::Device(socket) => format!(
            "{interface} is an ENA function at {socket} (instance {instance})\n\
             QEMU 10.1 or later takes it so; the memory must be shared, and its size that of -m:\n  \
             -object memory-backend-memfd,id=ram,size=1G,share=on -m 1G -machine q35,memory-backend=ram \\\n  \
             -device '{}'\n",
            serde_json::json!({
                "driver": "vfio-user-pci", "socket": { "type": "unix", "path": socket },
            })
        ),
    }
}

/// The namespace's path, which must be there.
fn path(place: &Place) -> anyhow::Result<PathBuf> {
    let path = match (&place.netns, place.pid) {
        (Some(name), _) if name.components().count() == 1 => PathBuf::from("/run/netns").join(name),
        (Some(path), _) => std::path::absolute(path)?,
        (None, pid) => PathBuf::from(format!("/proc/{}/ns/net", pid.unwrap_or_default())),
    };
    std::fs::metadata(&path).with_context(|| format!("There is no network namespace {}", path.display()))?;
    Ok(path)
}

fn wait_attached(state: &StateDir, interface: &str, instance: &str) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        let listing: Listing = client::ask_for(state, &Request::List)?;
        let found = listing.interfaces.iter().find(|listed| listed.id == interface);
        let attachment = found.and_then(|listed| listed.attachment.as_ref());
        if attachment.is_some_and(|attachment| attachment.status == "attached") {
            return Ok(());
        }
        let problem = [interface, instance]
            .iter()
            .find_map(|id| listing.problems.get(*id));
        if let Some(problem) = problem {
            return Err(anyhow::anyhow!("{interface} could not be attached: {problem}").into());
        }
        if since.elapsed() > LIMIT {
            return Err(anyhow::anyhow!(
                "{interface} is not in place after {} s; `trinic ls` says how it is",
                LIMIT.as_secs()
            )
            .into());
        }
        std::thread::sleep(POLL);
    }
}

const LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
