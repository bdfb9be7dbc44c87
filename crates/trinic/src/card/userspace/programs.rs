//! The built-in programs of user-space instances: words in, JSON out.
//!
//! A program that measures answers when it is over; a server answers as soon as it listens and goes on.
//! `ping` and `tcp-connect` give the same JSON as the programs of the same names give in a namespace.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use trinic_guest::{EventKind, Program, Transfer};

/// What the words ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// A program of the guest.
    Run(Program),
    /// Passing on packets that are not its own, from now on.
    Forward,
}

/// How long a reply to one ping may take.
const PING_TIMEOUT: Duration = Duration::from_millis(700);
/// How long a connection or an answer may take when the words do not say.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of data in an echo request, as `ping` sends them.
const PING_BYTES: usize = 56;
/// Hop limit of an echo request.
const PING_TTL: u8 = 64;
/// The most requests of one ping.
const PING_COUNT_MAX: u32 = 10_000;
/// The longest pause between two pings.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// What is kept of a response.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// How long a server may take to say that it cannot listen.
const SERVER_GRACE: Duration = Duration::from_millis(2);
/// How much longer than the program itself its result is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// Reads the words of a program.
pub(super) fn parse(words: &[String]) -> anyhow::Result<Request> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let program = match words.as_slice() {
        ["ping", address, rest @ ..] if rest.len() <= 3 => ping(address, rest)?,
        ["tcp-connect", address, port, rest @ ..] if rest.len() <= 1 => Program::TcpConnect {
            source: None,
            destination: SocketAddr::new(value(address)?, value(port)?),
            timeout: rest.first().map_or(Ok(TIMEOUT), |word| milliseconds(word))?,
        },
        ["tcp-echo", port] => Program::TcpEcho { port: value(port)? },
        ["udp-echo", port] => Program::UdpEcho { port: value(port)? },
        ["bulk-receive", port] => Program::TcpSink { port: value(port)? },
        ["bulk", address, port, bytes] => Program::TcpSend {
            source: None,
            destination: SocketAddr::new(value(address)?, value(port)?),
            bytes: value(bytes)?,
            timeout: TIMEOUT,
        },
        ["udp", address, port, data] => Program::UdpProbe {
            source: None,
            destination: SocketAddr::new(value(address)?, value(port)?),
            data: data.as_bytes().to_vec(),
            timeout: TIMEOUT,
        },
        ["http", address, port, path] => Program::TcpExchange {
            source: None,
            destination: SocketAddr::new(value(address)?, value(port)?),
            request: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                .into_bytes(),
            limit_bytes: RESPONSE_BYTES_MAX,
            timeout: TIMEOUT,
        },
        ["forward"] => return Ok(Request::Forward),
        _ => anyhow::bail!(
            "This instance is a user-space stack without processes; it has these programs: \
             ping ADDRESS [COUNT [INTERVAL_MS [SOURCE]]], tcp-connect ADDRESS PORT [TIMEOUT_MS], tcp-echo PORT, \
             udp-echo PORT, udp ADDRESS PORT TEXT, http ADDRESS PORT PATH, bulk ADDRESS PORT BYTES, \
             bulk-receive PORT, forward"
        ),
    };
    Ok(Request::Run(program))
}

fn ping(address: &str, rest: &[&str]) -> anyhow::Result<Program> {
    let count = rest.first().map_or(Ok(1), |word| value(word))?;
    if !(1..=PING_COUNT_MAX).contains(&count) {
        anyhow::bail!("A ping sends 1 to {PING_COUNT_MAX} requests, not {count}");
    }
    let interval = rest
        .get(1)
        .map_or(Ok(Duration::from_secs(1)), |word| milliseconds(word))?;
    if interval > PING_INTERVAL_MAX {
        anyhow::bail!("A ping sends a request at least once a minute");
    }
    Ok(Program::Ping {
        source: rest.get(2).map(|word| value(word)).transpose()?,
        destination: value(address)?,
        count: Some(count),
        interval,
        timeout: PING_TIMEOUT,
        data_bytes: PING_BYTES,
        ttl: PING_TTL,
    })
}

fn value<T: FromStr>(word: &str) -> anyhow::Result<T> {
    word.parse()
        .ok()
        .with_context(|| format!("`{word}` is not valid here"))
}

fn milliseconds(word: &str) -> anyhow::Result<Duration> {
    Ok(Duration::from_millis(value(word)?))
}

/// Waits for what the program has to say.
pub(super) fn result(
    program: &Program,
    started: Instant,
    events: &Receiver<EventKind>,
) -> anyhow::Result<Value> {
    match program {
        Program::TcpEcho { port } | Program::UdpEcho { port } | Program::TcpSink { port } => {
            // It listens at once, or fails at once.
            match events.recv_timeout(SERVER_GRACE) {
                Ok(EventKind::Failed(error)) => Err(error.into()),
                _ => Ok(json!({ "listening": port })),
            }
        }
        Program::Ping { count, interval, .. } => {
            let count = count.unwrap_or(1);
            ping_result(started, *interval * count + PING_TIMEOUT + GRACE, events)
        }
        Program::TcpConnect { timeout, .. } | Program::UdpProbe { timeout, .. } => {
            single_result(*timeout + GRACE, events)
        }
        // These end when nothing happens for their timeout, however long they take.
        _ => single_result(Duration::from_secs(3600), events),
    }
}

fn ping_result(started: Instant, limit: Duration, events: &Receiver<EventKind>) -> anyhow::Result<Value> {
    let deadline = started + limit;
    let mut rtts_us = Vec::new();
    let (mut last, mut gap) = (started, Duration::ZERO);
    let mut unreachable: Option<IpAddr> = None;
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(EventKind::PingReply { rtt, .. }) => {
                let now = Instant::now();
                rtts_us.push(rtt.as_secs_f64() * 1e6);
                gap = gap.max(now - last);
                last = now;
            }
            Ok(EventKind::PingUnreachable { from, .. }) => unreachable = Some(from),
            Ok(EventKind::PingDone(summary)) => {
                if summary.received < summary.sent {
                    gap = gap.max(last.elapsed());
                }
                rtts_us.sort_by(f64::total_cmp);
                return Ok(json!({
                    "sent": summary.sent,
                    "received": summary.received,
                    "rtt_p50_us": rtts_us.get(rtts_us.len() / 2),
                    "longest_gap_ms": gap.as_secs_f64() * 1e3,
                    "unreachable_from": unreachable,
                }));
            }
            Ok(EventKind::Failed(error)) => return Err(error.into()),
            Ok(_) => {}
            Err(error) => return Err(over(error)),
        }
    }
}

fn single_result(limit: Duration, events: &Receiver<EventKind>) -> anyhow::Result<Value> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let connect =
            |outcome: &str, elapsed: Duration| json!({ "outcome": outcome, "after_us": micros(elapsed) });
        return Ok(match events.recv_timeout(left).map_err(over)? {
            EventKind::Connected { elapsed } => connect("open", elapsed),
            EventKind::Refused { elapsed } => connect("refused", elapsed),
            EventKind::Unreachable { elapsed, .. } | EventKind::TimedOut { elapsed } => {
                connect("silent", elapsed)
            }
            EventKind::UdpReply { elapsed, data } => {
                json!({ "after_us": micros(elapsed), "data": String::from_utf8_lossy(&data) })
            }
            EventKind::Response { elapsed, data } => {
                json!({ "after_us": micros(elapsed), "response": String::from_utf8_lossy(&data) })
            }
            EventKind::Sent(transfer) => moved(&transfer),
            EventKind::Failed(error) => return Err(error.into()),
            _ => continue,
        });
    }
}

fn moved(transfer: &Transfer) -> Value {
    let seconds = transfer.elapsed.as_secs_f64();
    json!({
        "bytes": transfer.bytes,
        "after_us": micros(transfer.elapsed),
        "bits_per_s": (seconds > 0.0).then(|| transfer.bytes as f64 * 8.0 / seconds),
    })
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

fn over(error: RecvTimeoutError) -> anyhow::Error {
    anyhow::anyhow!(match error {
        RecvTimeoutError::Timeout => "The program said nothing in time",
        RecvTimeoutError::Disconnected => "The instance ended before its program",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_become_programs() {
        let ping = parse(&words("ping 10.0.0.5 3 20 10.0.0.9")).unwrap();
        assert!(matches!(
            ping,
            Request::Run(Program::Ping { count: Some(3), interval, source: Some(_), .. }) if interval.as_millis() == 20
        ));
        assert_eq!(parse(&words("forward")).unwrap(), Request::Forward);
        assert_eq!(
            parse(&words("tcp-echo 7")).unwrap(),
            Request::Run(Program::TcpEcho { port: 7 })
        );
    }

    #[test]
    fn wrong_words_are_named() {
        for (text, what) in [
            ("ping 10.0.0.256", "`10.0.0.256` is not valid here"),
            ("ping 10.0.0.5 0", "A ping sends 1 to 10000 requests, not 0"),
            ("tcp-echo 70000", "`70000` is not valid here"),
        ] {
            assert_eq!(parse(&words(text)).unwrap_err().to_string(), what);
        }
        let unknown = parse(&words("bash -c true")).unwrap_err().to_string();
        assert!(unknown.contains("without processes"), "{unknown}");
    }
}
