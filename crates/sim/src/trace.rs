//! What happened, as a number that two runs can be compared by, and as text if wanted.

use std::fmt::{self, Write as _};

use crate::link::DropCause;
use crate::random::mix;
use crate::{HostId, Instant};

/// One thing that happened. `packet` numbers datagrams from 0; `port` is twice a link's index, plus one for its
/// backward direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    Start(HostId),
    Crash(HostId),
    Transmit {
        packet: u64,
        host: HostId,
        bytes: u64,
        content: u64,
    },
    Queue {
        packet: u64,
        port: u32,
        arrives: Instant,
    },
    Mark {
        packet: u64,
        port: u32,
    },
    Copy {
        packet: u64,
        of: u64,
    },
    Corrupt {
        packet: u64,
        port: u32,
    },
    Drop {
        packet: u64,
        cause: DropCause,
    },
    Deliver {
        packet: u64,
        host: HostId,
    },
    Timeout(HostId),
    Link {
        port: u32,
        up: bool,
    },
    Configure {
        port: u32,
    },
    Reroute,
}

/// The trace of a world.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    text: String,
    text_limit_bytes: usize,
}

impl Trace {
    /// A trace that keeps up to `text_limit_bytes` of text.
    pub(crate) const fn new(text_limit_bytes: usize) -> Self {
        Self {
            hash: 0,
            text: String::new(),
            text_limit_bytes,
        }
    }

    pub(crate) fn record(&mut self, at: Instant, record: Record) {
        for word in words(record) {
            self.hash = (self.hash ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
        }
        self.hash = mix(self.hash ^ at.as_nanos());
        if self.text.len() < self.text_limit_bytes {
            // Writing to a string does not fail.
            let _ = writeln!(self.text, "{} {record}", at.as_nanos());
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Start(host) => write!(f, "start host={}", host.0),
            Self::Crash(host) => write!(f, "crash host={}", host.0),
            Self::Transmit {
                packet,
                host,
                bytes,
                content,
            } => write!(
                f,
                "send packet={packet} host={} bytes={bytes} content={content:016x}",
                host.0
            ),
            Self::Queue {
                packet,
                port,
                arrives,
            } => write!(
                f,
                "queue packet={packet} port={port} arrives={}",
                arrives.as_nanos()
            ),
            Self::Mark { packet, port } => write!(f, "mark packet={packet} port={port}"),
            Self::Copy { packet, of } => write!(f, "copy packet={packet} of={of}"),
            Self::Corrupt { packet, port } => write!(f, "corrupt packet={packet} port={port}"),
            Self::Drop { packet, cause } => write!(f, "drop packet={packet} cause={cause:?}"),
            Self::Deliver { packet, host } => write!(f, "deliver packet={packet} host={}", host.0),
            Self::Timeout(host) => write!(f, "timeout host={}", host.0),
            Self::Link { port, up } => write!(f, "link port={port} up={up}"),
            Self::Configure { port } => write!(f, "configure port={port}"),
            Self::Reroute => write!(f, "reroute"),
        }
    }
}

/// A record as numbers, the first of which says its kind.
fn words(record: Record) -> [u64; 4] {
    match record {
        Record::Start(host) => [1, u64::from(host.0), 0, 0],
        Record::Crash(host) => [2, u64::from(host.0), 0, 0],
        Record::Transmit {
            packet,
            host,
            bytes,
            content,
        } => [3 | (u64::from(host.0) << 8), packet, bytes, content],
        Record::Queue {
            packet,
            port,
            arrives,
        } => [4, packet, u64::from(port), arrives.as_nanos()],
        Record::Mark { packet, port } => [5, packet, u64::from(port), 0],
        Record::Copy { packet, of } => [6, packet, of, 0],
        Record::Corrupt { packet, port } => [7, packet, u64::from(port), 0],
        Record::Drop { packet, cause } => [8, packet, cause as u64, 0],
        Record::Deliver { packet, host } => [9, packet, u64::from(host.0), 0],
        Record::Timeout(host) => [10, u64::from(host.0), 0, 0],
        Record::Link { port, up } => [11, u64::from(port), u64::from(up), 0],
        Record::Configure { port } => [12, u64::from(port), 0, 0],
        Record::Reroute => [13, 0, 0, 0],
    }
}

/// An odd number with about as many ones as zeros.
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;
