//! `trinic up`: control in the foreground, or detached.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use trinic_vpc::Policing;

use super::{Failure, Output, logging, print};
use crate::control::admin::{self, Request, Status};
use crate::control::link::CardStatus;
use crate::control::{self, Options, Ready};
use crate::protocol::Backend;
use crate::state::{Endpoint, StateDir};

/// Arguments of `trinic up`.
#[derive(Debug, Args)]
#[command(
    after_help = "`trinic up --help` says what each signal does.",
    after_long_help = "\
Two processes run: control (the API, this process) and the card (packets and instances). What ends what:
  Ctrl-C, SIGTERM, `trinic down`  both, and the instances; the API's state stays in the state
                                  directory, and the next `trinic up` brings the instances back
  `trinic down --keep-card`       control alone; packets go on, `trinic up` finds the card again
  kill -9 of control              the same: nothing acknowledged is lost
  kill -9 of the card             control starts it again; it adopts the instances that run

The API accepts any key, so it listens on loopback only; requests must be signed, and an access key id of \
12 digits is the account.

Examples:
  trinic up                                   in the foreground, until Ctrl-C
  trinic up --detach && eval \"$(trinic env)\"  in the background, AWS CLI pointed here
  trinic --state /tmp/b up --listen 127.0.0.1:0 --ephemeral   a second card, on a port of its own"
)]
pub struct Arguments {
    /// Where the API listens: a loopback address; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Keep the API's state in memory: everything is gone after control ends
    #[arg(long)]
    ephemeral: bool,
    /// Answer every image id but ami-00000000000000001 (this machine's files) with InvalidAMIID.NotFound; without
    /// this every id runs
    #[arg(long)]
    strict_images: bool,
    /// Hold every account to the quotas of a new AWS account: 5 VPCs and 5 Elastic IPs per region; without this
    /// both are 1,000
    #[arg(long)]
    new_account_quotas: bool,
    /// Let names that the VPC's resolver does not know be asked of this machine's resolver
    #[arg(long)]
    uplink: bool,
    /// Let ENA devices refuse what real ones refuse, beyond what stock drivers need, and say why in `trinic trace`
    #[arg(long)]
    strict: bool,
    /// Hold interfaces to the bandwidth, packets per second and tracked connections of their instance's type: all of
    /// them, those of virtual machines, or none; what was exceeded is counted as `ethtool -S` shows it
    #[arg(long, value_enum, value_name = "WHOSE", num_args = 0..=1, default_value = "machines", default_missing_value = "all")]
    allowances: Allowances,
    /// Return when it is ready; it goes on in the background, with its log in the state directory
    #[arg(long)]
    detach: bool,
}

/// Whose interfaces are policed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Allowances {
    /// Every interface
    All,
    /// Those of virtual machines
    Machines,
    /// None
    None,
}

impl Allowances {
    fn policing(self) -> Policing {
        match self {
            Self::All => Policing::Everybody,
            Self::Machines => Policing::Machines,
            Self::None => Policing::Nobody,
        }
    }
}

pub(super) fn run(state: StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.detach {
        return detach(&state, output, arguments);
    }
    logging::start(logging::Default::Warn);
    if output == Output::Text {
        print::progress("Starting the card …");
    }
    serve(state, arguments, |ready| say(output, ready))?;
    Ok(ExitCode::SUCCESS)
}

fn serve(state: StateDir, arguments: &Arguments, ready: impl FnOnce(&Ready)) -> anyhow::Result<()> {
    let options = Options {
        state,
        listen: arguments.listen,
        ephemeral: arguments.ephemeral,
        strict_images: arguments.strict_images,
        new_account_quotas: arguments.new_account_quotas,
        uplink: arguments.uplink,
        strict: arguments.strict,
        policing: arguments.allowances.policing(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("Cannot start")?;
    let result = runtime.block_on(control::run(options, ready));
    // Tasks that wait for clients or for the card have nothing left to do.
    runtime.shutdown_background();
    result
}

/// Starts `trinic up` again in a session of its own and waits until it serves.
fn detach(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    state.prepare()?;
    if let Ok(value) = admin::request(state, &Request::Status) {
        let status: Status = serde_json::from_value(value)?;
        return Err(anyhow::anyhow!(
            "trinic is up already for {} (process {}, {}); end it with `trinic down`, or choose another directory with --state",
            state.root().display(),
            status.pid,
            status.endpoint
        )
        .into());
    }
    let log = StateDir::open_log(&state.control_log()).context("Cannot open control's log")?;
    let log_size = log.metadata().map_or(0, |metadata| metadata.len());
    let mut command = Command::new("/proc/self/exe");
    command.arg("--state").arg(state.root()).arg("control");
    command.arg("--listen").arg(arguments.listen.to_string());
    for (flag, is_on) in [
        ("--ephemeral", arguments.ephemeral),
        ("--strict-images", arguments.strict_images),
        ("--new-account-quotas", arguments.new_account_quotas),
        ("--uplink", arguments.uplink),
        ("--strict", arguments.strict),
    ] {
        if is_on {
            command.arg(flag);
        }
    }
    if let Some(value) = arguments.allowances.to_possible_value() {
        command.arg("--allowances").arg(value.get_name());
    }
    let mut child = command
        .arg0("trinic")
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .current_dir("/")
        .spawn()
        .context("Cannot start control")?;
    let since = Instant::now();
    loop {
        if let Some(ready) = ready(state, child.id()) {
            say(output, &ready);
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(status) = child.try_wait()? {
            return Err(early_end(state, log_size, status).into());
        }
        if since.elapsed() > DETACH_LIMIT {
            return Err(anyhow::anyhow!(
                "Control is not ready after {} s; its log is {}",
                DETACH_LIMIT.as_secs(),
                state.control_log().display()
            )
            .into());
        }
        std::thread::sleep(DETACH_POLL);
    }
}

/// The detached control, once it serves and knows how its card is.
fn ready(state: &StateDir, pid: u32) -> Option<Ready> {
    let value = admin::request(state, &Request::Status).ok()?;
    let status: Status = serde_json::from_value(value).ok()?;
    if status.pid != pid || status.card == CardStatus::Starting {
        return None;
    }
    Some(Ready {
        endpoint: Endpoint {
            url: status.endpoint,
            pid: status.pid,
        },
        card: status.card,
    })
}

fn early_end(state: &StateDir, log_size: u64, status: std::process::ExitStatus) -> anyhow::Error {
    let log = std::fs::read(state.control_log()).unwrap_or_default();
    let new = usize::try_from(log_size).ok().and_then(|start| log.get(start..));
    let text = String::from_utf8_lossy(new.unwrap_or_default());
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => anyhow::anyhow!("{}", line.trim_start_matches("trinic: ")),
        None => anyhow::anyhow!("Control ended at its start ({status})"),
    }
}

/// The ready line, and what is worth knowing beside it.
fn say(output: Output, ready: &Ready) {
    let Endpoint { url, pid } = &ready.endpoint;
    // Whoever started it may not read: it serves all the same.
    let _ = match output {
        Output::Json => print::json(&serde_json::json!({
            "endpoint": url,
            "pid": pid,
            "card": ready.card,
        })),
        Output::Text => {
            if let Some(line) = remark(&ready.card) {
                print::progress(&line);
            }
            print::text(&format!("trinic is ready: {url}\n"))
        }
    };
}

fn remark(card: &CardStatus) -> Option<String> {
    match card {
        CardStatus::Up {
            backend: Backend::UserSpace,
            backend_reason,
            ..
        } => Some(format!(
            "Instances are user-space stacks inside the card, not namespaces: {}",
            backend_reason.as_deref().unwrap_or("chosen so")
        )),
        CardStatus::Up {
            backend_reason: Some(reason),
            ..
        } => Some(format!(
            "Instances are namespaces, with one restriction: {reason}"
        )),
        CardStatus::Up {
            adopted: true, pid, ..
        } => Some(format!("Found the running card (process {pid})")),
        CardStatus::Up { .. } => None,
        CardStatus::Starting => {
            Some("The card is still starting; calls are served, instances stay pending".into())
        }
        CardStatus::Down { reason } => Some(format!(
            "The card is down, it is started again and again; calls are served, instances stay pending: {reason}"
        )),
        CardStatus::Apart { reason } => Some(format!(
            "The running card is of another version; calls are served, instances stay as they are: {reason}"
        )),
        CardStatus::Ended => Some("The card has ended".into()),
    }
}

/// Runs control for `trinic up --detach`, in a session of its own.
pub(super) fn run_detached(state: StateDir, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.detach {
        return Err(anyhow::anyhow!("Control is detached already").into());
    }
    // Fails only for a process group leader: somebody runs it by hand, then.
    let _ = rustix::process::setsid();
    super::name_process(c"trinic-control");
    logging::start(logging::Default::Info);
    serve(state, arguments, |_| {})?;
    Ok(ExitCode::SUCCESS)
}

/// Control's own threads beside the engine: it mostly waits.
const WORKERS: usize = 2;
const DETACH_LIMIT: Duration = Duration::from_secs(15);
const DETACH_POLL: Duration = Duration::from_millis(5);
