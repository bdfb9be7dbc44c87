//! What it costs on this machine to sleep for a millisecond again and again and do nothing in between: the
//! floor of a card that looks at the doorbells of an idle driver.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Sleeps for `length` in steps; the CPU time of it, in percent of a processor.
pub(crate) fn run(length: Duration) -> Result<Value> {
    let (before, start) = (cpu_ns()?, Instant::now());
    let mut naps = 0_u32;
    while start.elapsed() < length {
        thread::sleep(STEP);
        naps += 1;
    }
    let (cpu_ns, seconds) = (cpu_ns()? - before, start.elapsed().as_secs_f64());
    Ok(json!({
        "naps": naps, "naps_per_s": f64::from(naps) / seconds,
        "cpu_percent": cpu_ns / 1e7 / seconds, "cpu_us_per_nap": cpu_ns / 1e3 / f64::from(naps.max(1)),
    }))
}

/// CPU time of this thread. Source: Linux, Documentation/scheduler/sched-stats.rst (the first number).
fn cpu_ns() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("No scheduler statistics")?;
    let first = text
        .split_whitespace()
        .next()
        .context("No scheduler statistics")?;
    Ok(first.parse()?)
}

/// The longest sleep of the card's worker while a driver is idle.
const STEP: Duration = Duration::from_millis(1);
