//! Raw UDP frames between two instances, over two carriers: the queues of an ENA (`eni-…`, the user-mode driver),
//! and a packet socket on a traditional interface (`eth0`, the kernel's stack).
//!
//! The same frames and the same stopwatch serve both, so that what differs is the carrier. What counts is what
//! the receiver got. A connection is a pair of ports; a security group tracks each of them.

mod carrier;
mod core;
mod ena;
mod packet;
mod pair;
mod template;
mod turns;
mod work;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{milliseconds, number};

pub use work::{EchoOutcome, FloodOutcome, RoundTripOutcome, SinkOutcome};

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frames {
    /// Sends every datagram for a port back to where it came from.
    Echo {
        /// What carries the frames.
        carrier: CarrierName,
        /// First of the [`PORTS`] ports that it answers.
        port: u16,
        /// It ends when nothing came for so long.
        idle: Duration,
        /// How it waits.
        way: Way,
    },
    /// Measures round trips to an echo, one at a time.
    RoundTrip {
        /// What carries the frames.
        carrier: CarrierName,
        /// Between whom.
        path: Path,
        /// How many, at most.
        count: u32,
        /// No round trip is begun later.
        time: Duration,
        /// How it waits.
        way: Way,
        /// Silence before each but the first.
        pause: Duration,
    },
    /// Sends as fast as it can.
    Flood {
        /// What carries the frames.
        carrier: CarrierName,
        /// Between whom.
        path: Path,
        /// For how long.
        time: Duration,
        /// Bytes of the IP packet.
        bytes: u16,
        /// Connections, which take turns.
        connections: u32,
    },
    /// Counts what a flood delivers.
    Sink {
        /// What carries the frames.
        carrier: CarrierName,
        /// First of the [`PORTS`] ports that it counts.
        port: u16,
        /// It ends when nothing came for so long.
        idle: Duration,
        /// Bytes of the largest IP packet that is expected.
        bytes: u16,
    },
    /// Measures the switching thread alone: two drivers and the card's worker take turns on one thread.
    Core {
        /// Packets of each size that are switched.
        rounds: u32,
        /// Bytes of the IP packet.
        bytes: u16,
        /// Connections, which take turns.
        connections: u32,
    },
    /// Sends and receives in turn, on one thread, between two instances of a running card.
    Turns {
        /// What carries the frames of the sender, and of the receiver.
        carriers: [CarrierName; 2],
        /// Between whom.
        path: Path,
        /// For how long.
        time: Duration,
        /// Bytes of the IP packet.
        bytes: u16,
        /// Connections, which take turns.
        connections: u32,
    },
    /// Measures the switching thread on a processor of its own, with both drivers on another.
    Pair {
        /// For how long.
        time: Duration,
        /// Bytes of the IP packet.
        bytes: u16,
        /// Connections, which take turns.
        connections: u32,
    },
}

/// What carries the frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarrierName {
    /// The ENA function behind this socket.
    Ena(PathBuf),
    /// A packet socket on the network device of this name.
    Packet(String),
    /// The same in the network namespace of this name, as `ip netns` knows it.
    PacketIn {
        /// The network device.
        device: String,
        /// The namespace.
        netns: String,
    },
}

/// Two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// An address of the interface that carries the frames.
    pub from: Ipv4Addr,
    /// Whom they are for.
    pub to: Ipv4Addr,
    /// First of the destination ports.
    pub port: u16,
}

/// How a program waits for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It looks again and again, and offers its processor to others in between.
    Poll,
    /// It sleeps until an interrupt, or until the kernel wakes it.
    Wait,
}

impl Frames {
    /// Reads the words of a program; `None` when its name is not one of these.
    ///
    /// # Errors
    ///
    /// A sentence naming the word that is wrong.
    pub fn parse(words: &[&str]) -> Option<Result<Self>> {
        let (name, arguments) = words.split_first()?;
        match *name {
            "frames-echo" => Some(Self::echo(arguments)),
            "frames-rtt" => Some(Self::round_trip(arguments)),
            "frames-flood" => Some(Self::flood(arguments)),
            "frames-sink" => Some(Self::sink(arguments)),
            "frames-core" => Some(Self::core(arguments)),
            "frames-pair" => Some(Self::pair(arguments)),
            "frames-turns" => Some(Self::turns(arguments)),
            _ => None,
        }
    }

    fn echo(arguments: &[&str]) -> Result<Self> {
        let [carrier, port, idle_ms, way] = arguments else {
            bail!("frames-echo has the arguments CARRIER PORT IDLE_MS poll|wait");
        };
        Ok(Self::Echo {
            carrier: CarrierName::parse(carrier),
            port: first_port(port)?,
            idle: milliseconds(idle_ms)?,
            way: Way::parse(way)?,
        })
    }

    fn round_trip(arguments: &[&str]) -> Result<Self> {
        let (arguments, pause) = match arguments {
            [most @ .., pause_ms] if most.len() == 7 => (most, milliseconds(pause_ms)?),
            _ => (arguments, Duration::ZERO),
        };
        let [carrier, from, to, port, count, time_ms, way] = arguments else {
            bail!("frames-rtt has the arguments CARRIER FROM TO PORT COUNT TIME_MS poll|wait [PAUSE_MS]");
        };
        let count = number(count)?;
        if !(1..=COUNT_MOST).contains(&count) {
            bail!("frames-rtt makes 1 to {COUNT_MOST} round trips, not {count}");
        }
        Ok(Self::RoundTrip {
            carrier: CarrierName::parse(carrier),
            path: Path::parse(from, to, port)?,
            count,
            time: milliseconds(time_ms)?,
            way: Way::parse(way)?,
            pause,
        })
    }

    fn flood(arguments: &[&str]) -> Result<Self> {
        let [carrier, from, to, port, time_ms, bytes, connections] = arguments else {
            bail!("frames-flood has the arguments CARRIER FROM TO PORT TIME_MS BYTES CONNECTIONS");
        };
        Ok(Self::Flood {
            carrier: CarrierName::parse(carrier),
            path: Path::parse(from, to, port)?,
            time: milliseconds(time_ms)?,
            bytes: packet_bytes(bytes)?,
            connections: connection_count(connections)?,
        })
    }

    fn sink(arguments: &[&str]) -> Result<Self> {
        let [carrier, port, idle_ms, bytes] = arguments else {
            bail!("frames-sink has the arguments CARRIER PORT IDLE_MS BYTES");
        };
        Ok(Self::Sink {
            carrier: CarrierName::parse(carrier),
            port: first_port(port)?,
            idle: milliseconds(idle_ms)?,
            bytes: packet_bytes(bytes)?,
        })
    }

    fn core(arguments: &[&str]) -> Result<Self> {
        let [rounds, bytes, connections] = arguments else {
            bail!("frames-core has the arguments ROUNDS BYTES CONNECTIONS");
        };
        Ok(Self::Core {
            rounds: number(rounds)?,
            bytes: packet_bytes(bytes)?,
            connections: connection_count(connections)?,
        })
    }

    fn pair(arguments: &[&str]) -> Result<Self> {
        let [time_ms, bytes, connections] = arguments else {
            bail!("frames-pair has the arguments TIME_MS BYTES CONNECTIONS");
        };
        Ok(Self::Pair {
            time: milliseconds(time_ms)?,
            bytes: packet_bytes(bytes)?,
            connections: connection_count(connections)?,
        })
    }

    fn turns(arguments: &[&str]) -> Result<Self> {
        let [near, far, from, to, port, time_ms, bytes, connections] = arguments else {
            bail!("frames-turns has the arguments CARRIER CARRIER FROM TO PORT TIME_MS BYTES CONNECTIONS");
        };
        Ok(Self::Turns {
            carriers: [near, far].map(|word| CarrierName::parse(word)),
            path: Path::parse(from, to, port)?,
            time: milliseconds(time_ms)?,
            bytes: packet_bytes(bytes)?,
            connections: connection_count(connections)?,
        })
    }

    /// The words that [`Self::parse`] reads.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut put = |word: &dyn fmt::Display| words.push(word.to_string());
        match self {
            Self::Echo {
                carrier,
                port,
                idle,
                way,
            } => {
                put_all(&mut put, [&"frames-echo", carrier, port, &idle.as_millis(), way]);
            }
            Self::RoundTrip {
                carrier,
                path,
                count,
                time,
                way,
                pause,
            } => {
                put(&"frames-rtt");
                put(carrier);
                path.words(&mut put);
                put(count);
                put(&time.as_millis());
                put(way);
                if !pause.is_zero() {
                    put(&pause.as_millis());
                }
            }
            Self::Flood {
                carrier,
                path,
                time,
                bytes,
                connections,
            } => {
                put(&"frames-flood");
                put(carrier);
                put_flow(&mut put, path, time, *bytes, *connections);
            }
            Self::Sink {
                carrier,
                port,
                idle,
                bytes,
            } => {
                put_all(
                    &mut put,
                    [&"frames-sink", carrier, port, &idle.as_millis(), bytes],
                );
            }
            Self::Core {
                rounds,
                bytes,
                connections,
            } => {
                put_all(&mut put, [&"frames-core", rounds, bytes, connections]);
            }
            Self::Turns {
                carriers,
                path,
                time,
                bytes,
                connections,
            } => {
                put(&"frames-turns");
                carriers.iter().for_each(|carrier| put(carrier));
                put_flow(&mut put, path, time, *bytes, *connections);
            }
            Self::Pair {
                time,
                bytes,
                connections,
            } => {
                put_all(&mut put, [&"frames-pair", &time.as_millis(), bytes, connections]);
            }
        }
        words
    }

    /// Runs the program; the result as JSON.
    ///
    /// # Errors
    ///
    /// When the carrier cannot be had or fails, or nothing comes.
    pub fn run(&self) -> Result<serde_json::Value> {
        Ok(match self {
            Self::Echo {
                carrier,
                port,
                idle,
                way,
            } => serde_json::to_value(work::echo(carrier, *port, *idle, *way)?)?,
            Self::RoundTrip {
                carrier,
                path,
                count,
                time,
                way,
                pause,
            } => {
                let many = work::Trips {
                    count: *count,
                    time: *time,
                    pause: *pause,
                };
                serde_json::to_value(work::round_trip(carrier, path, many, *way)?)?
            }
            Self::Flood {
                carrier,
                path,
                time,
                bytes,
                connections,
            } => serde_json::to_value(work::flood(carrier, path, *time, *bytes, *connections)?)?,
            Self::Sink {
                carrier,
                port,
                idle,
                bytes,
            } => serde_json::to_value(work::sink(carrier, *port, *idle, *bytes)?)?,
            Self::Core {
                rounds,
                bytes,
                connections,
            } => core::run(*rounds, *bytes, *connections)?,
            Self::Turns {
                carriers: [near, far],
                path,
                time,
                bytes,
                connections,
            } => turns::run([near, far], path, *time, *bytes, *connections)?,
            Self::Pair {
                time,
                bytes,
                connections,
            } => pair::run(*time, *bytes, *connections)?,
        })
    }
}

impl CarrierName {
    /// `eni-…` is the socket of that interface in the instance, a word with a slash is the path of a socket, and
    /// anything else names a network device, `eth0`, or one of another network namespace, `eth0@NAMESPACE`.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        if word.contains('/') {
            Self::Ena(word.into())
        } else if word.starts_with("eni-") {
            Self::Ena(format!("{SOCKETS}/{word}.sock").into())
        } else if let Some((device, netns)) = word.split_once('@') {
            Self::PacketIn {
                device: device.to_owned(),
                netns: netns.to_owned(),
            }
        } else {
            Self::Packet(word.to_owned())
        }
    }
}

impl fmt::Display for CarrierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ena(path) => write!(f, "{}", path.display()),
            Self::Packet(name) => f.write_str(name),
            Self::PacketIn { device, netns } => write!(f, "{device}@{netns}"),
        }
    }
}

impl Path {
    fn parse(from: &str, to: &str, port: &str) -> Result<Self> {
        Ok(Self {
            from: number(from)?,
            to: number(to)?,
            port: first_port(port)?,
        })
    }

    fn words(&self, put: &mut dyn FnMut(&dyn fmt::Display)) {
        put(&self.from);
        put(&self.to);
        put(&self.port);
    }
}

impl Way {
    fn parse(word: &str) -> Result<Self> {
        match word {
            "poll" => Ok(Self::Poll),
            "wait" => Ok(Self::Wait),
            _ => bail!("A program waits by `poll` or `wait`, not by `{word}`"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poll => "poll",
            Self::Wait => "wait",
        })
    }
}

fn put_all<const N: usize>(put: &mut impl FnMut(&dyn fmt::Display), words: [&dyn fmt::Display; N]) {
    words.into_iter().for_each(put);
}

/// The words of what is sent between two ends.
fn put_flow(
    put: &mut impl FnMut(&dyn fmt::Display),
    path: &Path,
    time: &Duration,
    bytes: u16,
    connections: u32,
) {
    path.words(put);
    put_all(put, [&time.as_millis(), &bytes, &connections]);
}

fn first_port(word: &str) -> Result<u16> {
    let port: u16 = number(word)?;
    if port.checked_add(PORTS).is_none() {
        bail!("The ports {port} and the {PORTS} after it are not all there");
    }
    Ok(port)
}

fn packet_bytes(word: &str) -> Result<u16> {
    let bytes = number(word)?;
    if !(template::PACKET_BYTES_LEAST..=PACKET_BYTES_MOST).contains(&bytes) {
        let least = template::PACKET_BYTES_LEAST;
        bail!("An IP packet has {least} to {PACKET_BYTES_MOST} bytes here, not {bytes}");
    }
    Ok(bytes)
}

fn connection_count(word: &str) -> Result<u32> {
    let connections: u32 = number(word).context("The number of connections is wrong")?;
    let most = u32::from(PORTS) * template::SOURCE_PORTS;
    if !(1..=most).contains(&connections) {
        bail!("A flood has 1 to {most} connections, not {connections}");
    }
    Ok(connections)
}

/// Destination ports that the connections of a flood may use.
pub const PORTS: u16 = 8;
/// The largest IP packet that the user-mode driver is set up for. Source: the MTU of a VPC, 9,001 bytes.
const PACKET_BYTES_MOST: u16 = 9001;
/// Round trips whose times are kept.
const COUNT_MOST: u32 = 1_000_000;
/// Where an instance finds the sockets of its functions.
const SOCKETS: &str = "/run/trinic";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_programs_are_each_other() {
        for words in [
            "frames-echo eth0 5000 2000 wait",
            "frames-rtt /run/trinic/eni-1.sock 10.0.0.1 10.0.0.2 5000 1000 300 poll",
            "frames-rtt eth0 10.0.0.1 10.0.0.2 5000 50 9000 wait 50",
            "frames-flood eth0 10.0.0.1 10.0.0.2 5000 1000 46 131072",
            "frames-sink /run/trinic/eni-1.sock 5000 2000 9001",
            "frames-core 1000 46 256",
            "frames-pair 1000 46 131072",
            "frames-turns eth0@i-1 eth0@i-2 10.0.0.1 10.0.0.2 5000 1000 46 256",
        ] {
            let split: Vec<&str> = words.split(' ').collect();
            let program = Frames::parse(&split).unwrap().unwrap();
            assert_eq!(program.words().join(" "), words);
        }
        assert!(Frames::parse(&["ping"]).is_none());
        assert_eq!(
            CarrierName::parse("eni-1"),
            CarrierName::Ena("/run/trinic/eni-1.sock".into())
        );
    }

    #[test]
    fn a_wrong_word_is_named() {
        let said = |words: &str| {
            let split: Vec<&str> = words.split(' ').collect();
            Frames::parse(&split).unwrap().unwrap_err().to_string()
        };
        assert_eq!(
            said("frames-echo eth0 5000 2000 sleep"),
            "A program waits by `poll` or `wait`, not by `sleep`"
        );
        assert_eq!(
            said("frames-flood eth0 10.0.0.1 10.0.0.2 5000 1000 45 1"),
            "An IP packet has 46 to 9001 bytes here, not 45"
        );
        assert_eq!(
            said("frames-core 1 46 262145"),
            "A flood has 1 to 262144 connections, not 262145"
        );
        assert_eq!(
            said("frames-sink eth0 65530 1 46"),
            "The ports 65530 and the 8 after it are not all there"
        );
    }
}
