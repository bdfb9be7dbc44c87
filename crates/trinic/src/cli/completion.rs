//! `trinic completion`: scripts that complete commands and options.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure, print};

/// Arguments of `trinic completion`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trinic completion bash > ~/.local/share/bash-completion/completions/trinic
  trinic completion zsh > ~/.zfunc/_trinic
  trinic completion fish > ~/.config/fish/completions/trinic.fish")]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "trinic", &mut script);
    print::text(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
