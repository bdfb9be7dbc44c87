//! `cargo xtask ci`: the checks that every commit passes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// fmt, clippy, tidy, tests, docs: stops at the first that fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    checks(root)?;
    step(root, "cargo", &["nextest", "run", "--workspace"])?;
    step(root, "cargo", &["test", "--workspace", "--doc", "--quiet"])?;
    step(
        root,
        "cargo",
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--quiet",
        ],
    )
}

/// The checks that run no test.
pub(crate) fn checks(root: &Path) -> Result<()> {
    step(root, "cargo", &["fmt", "--all", "--check"])?;
    step(
        root,
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    crate::tidy::run(root)
}

fn step(root: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    crate::say(&format!("+ {program} {}", arguments.join(" ")));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .status()
        .with_context(|| format!("Could not start {program}"))?;
    if !status.success() {
        bail!("`{program} {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}
