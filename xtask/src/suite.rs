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
    for (name, folder) in PYTEST_SUITES {
        sum.add(pytest(root, name, folder)?);
    }
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

/// One folder of whole-system tests, in a pytest of its own: each has its own conftest.py.
fn pytest(root: &Path, name: &str, folder: &str) -> Result<Count> {
    let python = root.join(".venv/bin/python");
    if !python.exists() {
        crate::say(&format!(
            "SKIP {name}: .venv is missing (scripts/setup-tests makes it)"
        ));
        return Ok(Count {
            skipped: 1,
            ..Count::default()
        });
    }
    let mut command = Command::new(python);
    command
        .args(["-m", "pytest", "-q", "-rs", "--color=no", folder])
        .current_dir(root);
    count(command, &format!("pytest {folder}"), pytest_summary)
}

/// Reads pytest's closing line: `3 passed, 1 skipped in 0.52s`.
fn pytest_summary(line: &str) -> Option<Count> {
    let words = [" passed", " failed", " error", " skipped"];
    let is_summary = line.starts_with(|c: char| c.is_ascii_digit())
        && line.contains(" in ")
        && words.iter().any(|word| line.contains(word));
    is_summary.then(|| Count {
        passed: before(line, "passed"),
        failed: before(line, "failed") + before(line, "error") + before(line, "errors"),
        skipped: before(line, "skipped"),
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
        // pytest's own lines begin with SKIPPED and are summed up by its closing line.
        let word = line.split_whitespace().next().unwrap_or_default();
        if word.trim_end_matches(':') == "SKIP" {
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

/// What a person calls them, and where they are.
const PYTEST_SUITES: [(&str, &str); 2] = [
    ("system tests", "tests/system"),
    ("tests with guests", "tests/guest"),
];

#[cfg(test)]
mod tests {
    use super::pytest_summary;

    fn counts(line: &str) -> Option<(u64, u64, u64)> {
        pytest_summary(line).map(|count| (count.passed, count.failed, count.skipped))
    }

    #[test]
    fn the_closing_line_of_pytest_is_counted() {
        assert_eq!(
            counts("2 failed, 11 passed, 3 skipped, 1 error in 303.55s (0:05:03)"),
            Some((11, 3, 3))
        );
        assert_eq!(counts("21 passed in 4.20s"), Some((21, 0, 0)));
    }

    #[test]
    fn a_suite_that_was_skipped_altogether_is_counted() {
        assert_eq!(counts("25 skipped in 0.06s"), Some((0, 0, 25)));
    }

    #[test]
    fn other_lines_are_not_counted() {
        assert_eq!(
            counts("SKIPPED [1] tests/guest/test_boot.py:9: 3 skipped in words"),
            None
        );
        assert_eq!(counts("....s..                      [100%]"), None);
    }
}
