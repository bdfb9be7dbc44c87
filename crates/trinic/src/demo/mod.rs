//! `trinic demo`: the main job end to end, on a card of its own, with nothing printed that was not measured.
//!
//! Every scene drives the EC2 API with signed requests, sends real packets from inside the instances, and
//! compares what it measured with what EC2 would do. One scene that differs makes the demo fail.

mod api;
mod functions;
mod lab;
mod scenes;

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Result, bail};

use lab::Lab;

/// One line of the demo: what was expected, what was measured.
struct Check {
    what: String,
    expected: String,
    measured: String,
    holds: bool,
}

/// Collects and prints checks as they come.
struct Report {
    checks: Vec<Check>,
    figures: Vec<Figure>,
    quiet: bool,
}

/// What was measured of the two kinds of interface, side by side; none if nothing came.
struct Figure {
    what: &'static str,
    unit: &'static str,
    eni: Option<f64>,
    ena: Option<f64>,
}

impl Report {
    fn scene(&self, title: &str) {
        self.line(&format!("\n{title}"));
    }

    fn note(&self, text: &str) {
        self.line(&format!("  {text}"));
    }

    /// Keeps and prints a figure.
    fn compare(&mut self, figure: Figure) {
        let shown = |value: Option<f64>| match (value, figure.unit) {
            (None, _) => "-".to_owned(),
            (Some(value), "") => format!("{value:.0}"),
            (Some(value), unit) => format!("{value:.1} {unit}"),
        };
        self.note(&format!(
            "  {:20}{:>14}{:>14}",
            figure.what,
            shown(figure.eni),
            shown(figure.ena)
        ));
        self.figures.push(figure);
    }

    /// A check that compares two texts.
    fn check(&mut self, what: &str, expected: &str, measured: &str) {
        self.judge(what, expected, measured, expected == measured);
    }

    /// A check whose caller judged.
    fn judge(&mut self, what: &str, expected: &str, measured: &str, holds: bool) {
        let mark = if holds { "ok  " } else { "DIFF" };
        let aside = if expected == measured {
            String::new()
        } else {
            format!(" (expected: {expected})")
        };
        self.line(&format!("  {mark} {what}: {measured}{aside}"));
        let [what, expected, measured] = [what, expected, measured].map(str::to_owned);
        self.checks.push(Check {
            what,
            expected,
            measured,
            holds,
        });
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            // A reader who has gone (`| head`) is no reason to leave the card behind.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }
}

/// Runs the demo; `json` prints one document at the end in place of the text.
///
/// # Errors
/// When the card cannot start, a call fails, or a measurement differs from what EC2 would do.
pub fn run(json: bool) -> Result<()> {
    let begin = Instant::now();
    let mut report = Report {
        checks: Vec::new(),
        figures: Vec::new(),
        quiet: json,
    };
    report.line("trinic demo: EC2 network interfaces on this machine");
    let lab = Lab::start()?;
    let (backend, reason) = lab.backend()?;
    report.note(&format!(
        "API http://{} ready after {} ms",
        lab.endpoint(),
        lab.start.as_millis()
    ));
    match &reason {
        None => report.note(&format!(
            "instances are Linux namespaces, their interfaces real devices ({backend})"
        )),
        Some(reason) => {
            report.note(&format!("backend {backend}; what this host does not allow:"));
            reason.lines().for_each(|line| report.note(&format!("  {line}")));
        }
    }
    scenes::run(&lab, &mut report)?;
    let elapsed = begin.elapsed();
    drop(lab);
    let failed = report.checks.iter().filter(|check| !check.holds).count();
    if json {
        print_json(&report, &backend, reason.as_deref(), elapsed.as_secs_f64());
    } else {
        let passed = report.checks.len() - failed;
        report.line(&format!(
            "\n{passed} of {} checks hold, {:.1} s in all",
            report.checks.len(),
            elapsed.as_secs_f64()
        ));
    }
    if failed > 0 {
        bail!("{failed} measurement(s) differ from what EC2 would do");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the document is the demo's output")]
fn print_json(report: &Report, backend: &str, reason: Option<&str>, seconds: f64) {
    let checks: Vec<_> = report
        .checks
        .iter()
        .map(|check| {
            serde_json::json!({
                "what": check.what, "expected": check.expected, "measured": check.measured, "holds": check.holds,
            })
        })
        .collect();
    let figures: Vec<_> = report
        .figures
        .iter()
        .map(|figure| {
            serde_json::json!({ "what": figure.what, "unit": figure.unit, "eni": figure.eni, "ena": figure.ena })
        })
        .collect();
    let document = serde_json::json!({
        "backend": backend, "backend_reason": reason, "seconds": seconds, "checks": checks, "figures": figures,
    });
    println!("{document}");
}
