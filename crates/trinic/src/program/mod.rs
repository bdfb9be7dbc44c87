//! Small built-in programs that run inside an instance: ping, a TCP connect, an echo server, forwarding, and raw
//! frames over an ENA or a packet socket ([`Frames`]).
//!
//! They exist so that the demo needs no package: in a namespace instance they run as this binary
//! (`trinic program …`, through `trinic exec`); a user-space guest runs its own of the same names and
//! gives the same JSON. Each takes plain words, so that both kinds share one form.

mod echo;
mod frames;
mod ping;

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

pub use frames::{
    CarrierName, EchoOutcome, FloodOutcome, Frames, PORTS, Path, RoundTripOutcome, SinkOutcome, Way,
};
pub use ping::PingOutcome;

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Sends echo requests at a steady pace and waits for the last answer.
    Ping {
        /// Whom to ask.
        address: IpAddr,
        /// The source address to use; `None` = the stack's choice.
        source: Option<IpAddr>,
        /// How many requests, 1 to 10,000.
        count: u32,
        /// Time between two requests.
        interval: Duration,
    },
    /// Opens one TCP connection.
    TcpConnect {
        /// Whom to ask.
        to: SocketAddr,
        /// How long to wait.
        timeout: Duration,
    },
    /// Answers every TCP connection with what it sends, until killed.
    TcpEcho {
        /// The port.
        port: u16,
    },
    /// Lets the instance pass on packets that are not its own.
    Forward,
    /// Raw frames.
    Frames(Frames),
}

/// How a TCP connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connect {
    /// A server accepted.
    Open,
    /// The other stack answered that nobody listens.
    Refused,
    /// Nothing came back in time: the packets were dropped.
    Silent,
}

impl fmt::Display for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Silent => "silent",
        })
    }
}

/// What a connect measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ConnectOutcome {
    /// How it ended.
    pub outcome: Connect,
    /// After how many microseconds.
    pub after_us: u64,
}

impl Program {
    /// Reads the words of a program: `ping ADDRESS COUNT INTERVAL_MS [SOURCE]`, `tcp-connect ADDRESS PORT
    /// TIMEOUT_MS`, `tcp-echo PORT`, `forward`, and those of [`Frames`].
    ///
    /// # Errors
    /// A sentence naming the word that is wrong.
    pub fn parse(words: &[String]) -> Result<Self> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(frames) = Frames::parse(&words) {
            return frames.map(Self::Frames);
        }
        match words.as_slice() {
            ["ping", address, count, interval_ms, rest @ ..] => {
                let count = number(count)?;
                if !(1..=10_000).contains(&count) {
                    bail!("A ping sends 1 to 10,000 requests, not {count}");
                }
                let source = rest.first().map(|source| number(source)).transpose()?;
                Ok(Self::Ping {
                    address: number(address)?,
                    source,
                    count,
                    interval: milliseconds(interval_ms)?,
                })
            }
            ["tcp-connect", address, port, timeout_ms] => Ok(Self::TcpConnect {
                to: SocketAddr::new(number(address)?, number(port)?),
                timeout: milliseconds(timeout_ms)?,
            }),
            ["tcp-echo", port] => Ok(Self::TcpEcho { port: number(port)? }),
            ["forward"] => Ok(Self::Forward),
            _ => bail!(
                "No such program: {words:?}; there are ping, tcp-connect, tcp-echo, forward and frames-echo, -rtt, \
                 -flood, -sink, -core, -pair and -turns"
            ),
        }
    }

    /// The words that [`Self::parse`] reads.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Ping {
                address,
                source,
                count,
                interval,
            } => {
                let mut words = vec!["ping".into(), address.to_string(), count.to_string()];
                words.push(interval.as_millis().to_string());
                words.extend(source.map(|source| source.to_string()));
                words
            }
            Self::TcpConnect { to, timeout } => {
                vec![
                    "tcp-connect".into(),
                    to.ip().to_string(),
                    to.port().to_string(),
                    timeout.as_millis().to_string(),
                ]
            }
            Self::TcpEcho { port } => vec!["tcp-echo".into(), port.to_string()],
            Self::Forward => vec!["forward".into()],
            Self::Frames(frames) => frames.words(),
        }
    }

    /// Runs the program on this process's own network stack; the result as JSON.
    ///
    /// # Errors
    /// When the stack refuses what the program needs (no ICMP socket, port taken).
    pub fn run(&self) -> Result<serde_json::Value> {
        match self {
            Self::Ping {
                address,
                source,
                count,
                interval,
            } => Ok(serde_json::to_value(ping::run(
                *address, *source, *count, *interval,
            )?)?),
            Self::TcpConnect { to, timeout } => Ok(serde_json::to_value(connect(to, *timeout)?)?),
            Self::TcpEcho { port } => echo::serve(*port),
            Self::Forward => forward(),
            Self::Frames(frames) => frames.run(),
        }
    }
}

fn connect(to: &SocketAddr, timeout: Duration) -> Result<ConnectOutcome> {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut, WouldBlock};
    let start = Instant::now();
    let outcome = match TcpStream::connect_timeout(to, timeout) {
        Ok(_) => Connect::Open,
        Err(error) => match error.kind() {
            ConnectionRefused => Connect::Refused,
            TimedOut | WouldBlock | HostUnreachable | NetworkUnreachable => Connect::Silent,
            _ => return Err(error).with_context(|| format!("Could not connect to {to}")),
        },
    };
    let after_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(ConnectOutcome { outcome, after_us })
}

fn forward() -> Result<serde_json::Value> {
    for switch in [
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv6/conf/all/forwarding",
    ] {
        if std::path::Path::new(switch).exists() {
            std::fs::write(switch, "1").with_context(|| format!("Could not write {switch}"))?;
        }
    }
    Ok(serde_json::json!({ "forwarding": true }))
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse()
        .ok()
        .with_context(|| format!("`{word}` is not valid here"))
}

fn milliseconds(word: &str) -> Result<Duration> {
    Ok(Duration::from_millis(number(word)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_programs_are_each_other() {
        let programs = [
            Program::Ping {
                address: "10.0.0.1".parse().unwrap(),
                source: Some("10.0.0.9".parse().unwrap()),
                count: 3,
                interval: Duration::from_millis(20),
            },
            Program::TcpConnect {
                to: "[2001:db8::1]:80".parse().unwrap(),
                timeout: Duration::from_millis(700),
            },
            Program::TcpEcho { port: 7 },
            Program::Forward,
        ];
        for program in programs {
            assert_eq!(Program::parse(&program.words()).unwrap(), program);
        }
    }

    #[test]
    fn a_wrong_word_is_named() {
        let words = ["ping", "10.0.0.256", "1", "10"].map(String::from);
        assert_eq!(
            Program::parse(&words).unwrap_err().to_string(),
            "`10.0.0.256` is not valid here"
        );
        let words = ["ping", "10.0.0.1", "0", "10"].map(String::from);
        assert_eq!(
            Program::parse(&words).unwrap_err().to_string(),
            "A ping sends 1 to 10,000 requests, not 0"
        );
    }

    #[test]
    fn a_connect_tells_open_from_refused() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let wait = Duration::from_secs(1);
        assert_eq!(connect(&to, wait).unwrap().outcome, Connect::Open);
        drop(listener);
        assert_eq!(connect(&to, wait).unwrap().outcome, Connect::Refused);
    }
}
