//! The command line: what each command is called, takes and prints.

mod attach;
mod card;
mod client;
mod completion;
mod console;
mod demo;
mod down;
mod env;
mod exec;
mod logging;
mod ls;
mod print;
mod program;
mod stats;
mod status;
mod table;
mod trace;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::state::StateDir;

macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0    done
  1    it failed; the message says what, why and what to do
  2    the command line is wrong
  3    no card is running for this state directory
  125  `trinic exec` could not run the command; otherwise its exit code is the command's"
    };
}

/// The exit codes, as the help prints them.
pub const EXIT_CODES: &str = exit_codes!();

/// EC2's network interfaces in software: a VPC on this machine whose packets really flow and really drop.
///
/// `trinic up` serves the EC2 API on http://127.0.0.1:4566; the AWS CLI, boto3, Ansible or Terraform then make
/// VPCs, interfaces, security groups and instances, and packets between the instances flow and drop as the
/// API says.
#[derive(Debug, Parser)]
#[command(name = "trinic", version, after_help = EXIT_CODES, after_long_help = FIRST_STEPS)]
pub struct Cli {
    /// State directory; each one is a card of its own [default: /var/lib/trinic for root, else
    /// ~/.local/state/trinic]
    #[arg(long, global = true, env = "TRINIC_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// How to print results
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORM")]
    pub output: Output,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs: one JSON document
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the card and the EC2 API
    Up(up::Arguments),
    /// End the instances, the card and the API
    Down(down::Arguments),
    /// Say whether it runs, where, and what instances run on
    Status,
    /// List instances, interfaces, addresses and groups
    Ls(ls::Arguments),
    /// Print counters of interfaces, with drops by reason
    Stats(stats::Arguments),
    /// List the card's functions: how interfaces are presented, with driver state, queues and resets
    Card(card::Arguments),
    /// Say what would become of a packet, and which rule decides; or what a driver did to its device
    Trace(trace::Arguments),
    /// Run a command inside an instance
    Exec(exec::Arguments),
    /// Run a built-in program inside an instance: ping, tcp-connect, tcp-echo, forward
    Probe(program::Arguments),
    /// Print what an instance printed
    Console(console::Arguments),
    /// Put an interface into a network namespace or container of yours
    Attach(attach::Arguments),
    /// Show it: VPCs, instances and real packets on a card of its own, measured
    Demo,
    /// Print shell variables that point the AWS CLI and SDKs here
    Env(env::Arguments),
    /// Print a completion script for a shell
    Completion(completion::Arguments),
    /// Control in the background; started by `trinic up --detach`
    #[command(hide = true)]
    Control(up::Arguments),
    /// A built-in program in this process's own network; started by `trinic probe`
    #[command(hide = true)]
    Program(program::Words),
    /// The card process; started by control
    #[command(hide = true)]
    Datapath {
        /// Let names and packets out to the host's network
        #[arg(long)]
        uplink: bool,
        /// Devices refuse what real ones refuse
        #[arg(long)]
        strict: bool,
    },
}

/// A failure with the exit code that says its kind.
#[derive(Debug)]
pub struct Failure {
    /// Exit code, one of [`EXIT_CODES`].
    pub code: u8,
    /// What failed, why, and what to do.
    pub error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            code: 1,
            error: error.into(),
        }
    }
}

/// Parses the command line and runs it.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.output;
    match dispatch(cli) {
        Ok(code) => code,
        Err(failure) => {
            print::failure(output, &failure);
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let state = StateDir::resolve(cli.state);
    match cli.command {
        Command::Up(arguments) => up::run(state, cli.output, &arguments),
        Command::Control(arguments) => up::run_detached(state, &arguments),
        Command::Down(arguments) => down::run(&state, cli.output, &arguments),
        Command::Status => status::run(&state, cli.output),
        Command::Ls(arguments) => ls::run(&state, cli.output, &arguments),
        Command::Stats(arguments) => stats::run(&state, cli.output, &arguments),
        Command::Trace(arguments) => trace::run(&state, cli.output, &arguments),
        Command::Exec(arguments) => exec::run(&state, &arguments),
        Command::Probe(arguments) => program::probe(&state, cli.output, &arguments),
        Command::Program(words) => program::here(cli.output, &words),
        Command::Demo => demo::run(cli.output),
        Command::Console(arguments) => console::run(&state, cli.output, &arguments),
        Command::Attach(arguments) => attach::run(&state, cli.output, &arguments),
        Command::Env(arguments) => env::run(&state, cli.output, &arguments),
        Command::Completion(arguments) => completion::run(&arguments),
        Command::Card(arguments) => card::run(&state, cli.output, &arguments),
        Command::Datapath { uplink, strict } => {
            logging::start(logging::Default::Info);
            // A session of its own: the terminal's signals and hang-up are control's to handle. Fails only
            // for a process group leader, which a shell's job is: somebody runs the card by hand, then.
            let _ = rustix::process::setsid();
            name_process(c"trinic-card");
            crate::card::main(crate::card::Options {
                state,
                uplink,
                strict,
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What `ps` and `top` call this process, which was started by a path that says nothing.
fn name_process(name: &std::ffi::CStr) {
    // Only a name: without it everything works.
    let _ = rustix::thread::set_name(name);
}

const FIRST_STEPS: &str = concat!(
    "\
First steps:
  trinic up --detach                 start the card and the API
  eval \"$(trinic env)\"               point the AWS CLI here
  aws ec2 run-instances --image-id ami-12345678 --count 2
  trinic ls                          instances, interfaces, addresses
  trinic exec i-... -- ping -c1 ...  run a command inside an instance
  trinic down                        end instances, card and API

Environment:
  TRINIC_STATE   state directory, as --state
  TRINIC_LOG     log filter, as `info` or `trinic::control=debug`

",
    exit_codes!()
);
