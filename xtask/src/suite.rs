//! `cargo xtask test`: everything that `make test` runs, and one closing line that sums it up.
//!
//! Every part runs even when an earlier one failed, so that one run tells all. A test that cannot run here
//! prints a line that starts with `SKIP` and is counted.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

#[derive(Default, Clone, Copy)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs all parts; fails if any of them did.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut sum = Count::default();
    sum.add(part(root, "house checks", checks(root)));
    sum.add(cargo_tests(root)?);
    sum.add(system_tests(root)?);
    #[expect(clippy::print_stdout, reason = "the closing line is this command's output")]
    {
        println!(
            "{} passed, {} failed, {} skipped",
            sum.passed, sum.failed, sum.skipped
        );
    }
    if sum.failed > 0 {
        bail!("{} test(s) failed", sum.failed);
    }
    Ok(())
}

fn checks(root: &Path) -> Result<()> {
    crate::gate::checks(root)
}

/// A part that either holds or does not: one test.
fn part(_root: &Path, name: &str, result: Result<()>) -> Count {
    match result {
        Ok(()) => Count {
            passed: 1,
            ..Count::default()
        },
        Err(error) => {
            crate::say(&format!("{name}: FAILED: {error:#}"));
            Count {
                failed: 1,
                ..Count::default()
            }
        }
    }
}

/// Unit, property, golden and crash tests: `cargo test`, whose closing line of each binary is added up.
fn cargo_tests(root: &Path) -> Result<Count> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--workspace", "--no-fail-fast", "--", "--nocapture"])
        .current_dir(root);
    count(command, "cargo test", |line| {
        let rest = line.trim().strip_prefix("test result:")?;
        Some(Count {
            passed: before(rest, "passed"),
            failed: before(rest, "failed"),
            skipped: before(rest, "ignored"),
        })
    })
}

/// Whole-system tests with the stock AWS clients, in namespaces: pytest.
fn system_tests(root: &Path) -> Result<Count> {
    let python = root.join(".venv/bin/python");
    if !python.exists() {
        crate::say("SKIP system tests: .venv is missing (scripts/setup-tests makes it)");
        return Ok(Count {
            skipped: 1,
            ..Count::default()
        });
    }
    let mut command = Command::new(python);
    command
        .args(["-m", "pytest", "-q", "-rs", "--color=no", "tests/system"])
        .current_dir(root);
    count(command, "pytest", |line| {
        let is_summary = line.contains(" in ")
            && (line.contains(" passed") || line.contains(" failed") || line.contains(" error"));
        let failed = before(line, "failed") + before(line, "error") + before(line, "errors");
        is_summary.then(|| Count {
            passed: before(line, "passed"),
            failed,
            skipped: before(line, "skipped"),
        })
    })
}

/// Runs a command, passes its output on, and adds up what `read` finds in its lines.
fn count(mut command: Command, name: &str, read: impl Fn(&str) -> Option<Count>) -> Result<Count> {
    crate::say(&format!("+ {name}"));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("Could not start {name}"))?;
    let stdout = child.stdout.take().context("The child's output is missing")?;
    let mut sum = Count::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if line.trim_start().starts_with("SKIP") {
            sum.skipped += 1;
        }
        if let Some(found) = read(&line) {
            sum.add(found);
        }
        #[expect(clippy::print_stdout, reason = "passes the tests' output on")]
        {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    if !status.success() && sum.failed == 0 {
        crate::say(&format!("{name} ended with {status}"));
        sum.failed += 1;
    }
    Ok(sum)
}

/// The number right before `word`: `3 passed`.
fn before(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line
        .split(|c: char| c.is_whitespace() || c == ',' || c == ';')
        .filter(|w| !w.is_empty())
        .collect();
    words
        .windows(2)
        .find(|pair| pair[1] == word)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or(0)
}
