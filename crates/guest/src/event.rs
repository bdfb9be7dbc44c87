//! What programs report.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use trinic_wire::time::Instant;

use crate::{ProgramError, ProgramId};

/// Most events that wait to be fetched; after that the oldest is lost and counted.
pub const MAX_EVENTS: usize = 1024;

/// Something that a program reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The program.
    pub program: ProgramId,
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}

/// What a program reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// An echo came back.
    PingReply {
        /// Number of the request, from 0.
        sequence: u16,
        /// Time from request to reply.
        rtt: Duration,
        /// Who answered.
        from: IpAddr,
        /// TTL or hop limit of the reply.
        ttl: u8,
    },
    /// No echo came in time.
    PingTimeout {
        /// Number of the request.
        sequence: u16,
    },
    /// Somebody on the way said why there will be no echo.
    PingUnreachable {
        /// Who said it.
        from: IpAddr,
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        code: u8,
    },
    /// The ping ended.
    PingDone(PingSummary),
    /// The other side accepted the connection; the probe is over.
    Connected {
        /// Time from the start of the program.
        elapsed: Duration,
    },
    /// The other side refused: a reset for TCP, "port unreachable" for UDP. The program is over.
    Refused {
        /// Time from the start of the program.
        elapsed: Duration,
    },
    /// Somebody on the way said that the other side cannot be reached. The program is over.
    Unreachable {
        /// Time from the start of the program.
        elapsed: Duration,
        /// Who said it.
        from: IpAddr,
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        code: u8,
    },
    /// Nothing came in time. The program is over.
    TimedOut {
        /// Time from the start of the program.
        elapsed: Duration,
    },
    /// A datagram came back; the UDP probe is over.
    UdpReply {
        /// Time from the start of the program.
        elapsed: Duration,
        /// Its data.
        data: Vec<u8>,
    },
    /// An exchange over TCP ended.
    Response {
        /// Time from the start of the program.
        elapsed: Duration,
        /// What the other side sent, up to the program's limit.
        data: Vec<u8>,
    },
    /// A server took a connection.
    Accepted {
        /// The other side.
        peer: SocketAddr,
    },
    /// Everything was sent and acknowledged; the bulk send is over.
    Sent(Transfer),
    /// A connection of a bulk receiver ended.
    Received(Transfer),
    /// The program cannot go on.
    Failed(ProgramError),
}

/// How a ping went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PingSummary {
    /// Requests.
    pub sent: u32,
    /// Replies in time.
    pub received: u32,
    /// Least time from request to reply.
    pub min: Duration,
    /// Mean time from request to reply.
    pub mean: Duration,
    /// Greatest time from request to reply.
    pub max: Duration,
}

/// Data that was moved, as measured by this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The other side.
    pub peer: SocketAddr,
    /// Bytes of data.
    pub bytes: u64,
    /// Sender: from the first byte to the last acknowledgement; receiver: from the connection to its end.
    pub elapsed: Duration,
}

/// The events that wait to be fetched.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    pub(crate) lost: u64,
}

impl Events {
    pub(crate) fn push(&mut self, program: ProgramId, at: Instant, kind: EventKind) {
        if self.queue.len() == MAX_EVENTS {
            self.queue.pop_front();
            self.lost += 1;
        }
        self.queue.push_back(Event { program, at, kind });
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }
}
