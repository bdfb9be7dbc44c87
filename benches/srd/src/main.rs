//! SRD beside kernel TCP: the same messages, the same stopwatch, the same links.
//!
//! `serve` takes messages on one side, over both; `srd` and `tcp` send them from the other side and print one JSON object; `relay` stands between the two, on
//! the cables, delays each packet and drops some. The programs end with their standard input.

mod load;
mod relay;
mod srd;
mod tcp;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use load::Load;
use srd::Tuning;

const USAGE: &str = "usage: trinic-srd-bench serve OWN PEER PORT [KEY=VALUE ...]
       trinic-srd-bench srd OWN PEER SIZE OUTSTANDING SECONDS [KEY=VALUE ...]
       trinic-srd-bench tcp PEER PORT CONGESTION SIZE OUTSTANDING SECONDS
       trinic-srd-bench relay ONE_WAY_US LOSS_PER_MILLION SEED ONE:OTHER ...
keys: mtu, paths, window, queue_us, ack_us, timeout_us, busy_us, offload";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let report = match words.as_slice() {
        ["serve", own, peer, port, tuning @ ..] => {
            let port = number(port)?;
            tcp::serve(port)?;
            srd::serve(number(own)?, number(peer)?, &Tuning::parse(tuning)?)?
        }
        ["srd", own, peer, size, outstanding, seconds, tuning @ ..] => {
            let load = load(size, outstanding, seconds)?;
            srd::run(number(own)?, number(peer)?, &load, &Tuning::parse(tuning)?)?
        }
        ["tcp", peer, port, congestion, size, outstanding, seconds] => {
            let load = load(size, outstanding, seconds)?;
            tcp::run(number(peer)?, number(port)?, congestion, &load)?
        }
        ["relay", delay, loss, seed, pairs @ ..] if !pairs.is_empty() => {
            let delay = Duration::from_micros(number(delay)?);
            relay::run(delay, number(loss)?, number(seed)?, pairs)?
        }
        _ => bail!("{USAGE}"),
    };
    say(&report.to_string());
    Ok(())
}

fn load(size: &str, outstanding: &str, seconds: &str) -> Result<Load> {
    let seconds = Duration::try_from_secs_f64(number(seconds)?)
        .with_context(|| format!("`{seconds}` is not a duration in seconds"))?;
    Ok(Load {
        size: number(size)?,
        outstanding: number(outstanding)?,
        seconds,
    })
}

/// Reads a number, or an address.
fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse()
        .ok()
        .with_context(|| format!("`{text}` is not a number in range, or not an address"))
}

/// What the caller waits for, and the reports.
fn say(line: &str) {
    #[expect(clippy::print_stdout, reason = "this program's output")]
    {
        println!("{line}");
    }
}

/// Calls `end` when the standard input ends. That, and not a signal, ends a program: between it and the caller there may be a program that enters a namespace,
/// whose death it would not notice.
fn at_end_of_input(end: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        // A failed read is an end as well.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        end();
    });
}
