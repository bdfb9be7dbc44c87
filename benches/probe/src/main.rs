//! The probe of the comparisons: the same load and the same stopwatch on every path that is compared.
//!
//! `serve` runs on one side and answers on three ports; the other commands run on the other side and
//! print one JSON object. What is counted is what arrived: the receiver reports.

mod naps;
mod rates;
mod round_trip;
mod serve;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: trinic-probe serve PORT
       trinic-probe tcp ADDRESS PORT SECONDS STREAMS
       trinic-probe pps ADDRESS PORT SECONDS
       trinic-probe rtt ADDRESS PORT COUNT
       trinic-probe naps SECONDS
       trinic-probe cacheline";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let report = match words.as_slice() {
        ["serve", port] => return serve::run(number(port)?),
        ["tcp", address, port, seconds, streams] => {
            rates::tcp(ip(address)?, number(port)?, duration(seconds)?, number(streams)?)?
        }
        ["pps", address, port, seconds] => rates::packets(ip(address)?, number(port)?, duration(seconds)?)?,
        ["rtt", address, port, count] => round_trip::udp(ip(address)?, number(port)?, number(count)?)?,
        ["naps", seconds] => naps::run(duration(seconds)?)?,
        ["cacheline"] => round_trip::cache_line(),
        _ => bail!("{USAGE}"),
    };
    #[expect(clippy::print_stdout, reason = "the report is this program's output")]
    {
        println!("{report}");
    }
    Ok(())
}

fn ip(text: &str) -> Result<IpAddr> {
    text.parse()
        .with_context(|| format!("`{text}` is not an IP address"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse()
        .ok()
        .with_context(|| format!("`{text}` is not a number in range"))
}

fn duration(text: &str) -> Result<Duration> {
    let seconds: f64 = number(text)?;
    Duration::try_from_secs_f64(seconds).with_context(|| format!("`{text}` is not a duration in seconds"))
}
