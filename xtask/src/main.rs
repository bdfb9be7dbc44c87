//! Repository checks, one command each: `cargo xtask tidy`, `cargo xtask ci`, `cargo xtask test`.
//!
//! What a machine can check, this program checks: the directions between crates, the size of files, the
//! purity of pure crates.

mod gate;
mod spec;
mod suite;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>
  tidy           directions between crates, file sizes, purity, forbidden words
  support        write docs/support.md from the action table (--check: only compare)
  spec           each requirement of docs/spec with its code and its test; fails where one is missing
  ci             fmt, clippy, tidy, support --check, spec, tests, doc
  test           what `make test` runs: ci's checks, unit tests, system tests, and the sum of them";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["tidy"] => tidy::run(&root()),
        ["support"] => gate::support(&root(), false),
        ["support", "--check"] => gate::support(&root(), true),
        ["spec"] => spec::run(&root()),
        ["ci"] => gate::run(&root()),
        ["test"] => suite::run(&root()),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root: the folder above this crate's.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

/// One line to the person at the terminal.
#[expect(clippy::print_stderr, reason = "a command-line tool talks to its terminal")]
fn say(line: &str) {
    eprintln!("{line}");
}
