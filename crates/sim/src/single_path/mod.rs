//! A model of TCP-like transport over one path, to compare others with in the same world.
//!
//! What it is: a connection for each sender and receiver with one source port, so one path; a byte stream in
//! order, on which messages are framed; slow start and congestion avoidance as in Reno; three duplicate
//! acknowledgements or a timer find a loss, and then *everything* from the lost byte on is sent again
//! (go-back-N), because the receiver keeps nothing that is out of order.
//!
//! Where it differs from the TCP of a kernel. More pessimistic: no selective acknowledgements (RFC 2018), no
//! tail loss probe or RACK (RFC 8985), no CUBIC, no limited transmit. More optimistic: every segment is
//! acknowledged at once, no window ever closes for want of a reader, slow start is not begun again after a pause, a
//! window is reduced once however much of it is lost again, and a connection is never closed. So it says how far
//! one path with go-back-N goes; it is no measurement of Linux.
//!
//! Sources: RFC 9293 (in order, cumulative acknowledgements, reset for an unknown connection), RFC 5681 (slow
//! start, congestion avoidance, fast retransmit), RFC 6582 (one reduction for each window: its `recover`),
//! RFC 6298 (the timer), RFC 6928 (initial window).

mod receiver;
mod segment;
mod sender;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::ledger::{Message, MessageEvent};
use crate::random::Random;
use crate::workload::{Busy, Messenger};
use crate::{Datagram, Ecn, Endpoint, HostId, Instant, Transmit};

use receiver::Receiver;
use segment::{Kind, Segment};
use sender::Sender;

/// The model's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Bytes of the stream in a segment.
    pub segment_bytes: u32,
    /// Segments that may be sent before the first acknowledgement.
    ///
    /// Source: RFC 6928 §2, 10.
    pub initial_window_segments: u32,
    /// The most that may be unacknowledged, however large the congestion window.
    pub window_bytes: u64,
    /// Bytes of messages that a connection takes before they are acknowledged; more is refused.
    pub send_buffer_bytes: u64,
    /// The shortest retransmission timeout.
    ///
    /// Source: `TCP_RTO_MIN`, include/net/tcp.h of Linux, 200 ms (RFC 6298 §2.4 asks for 1 s).
    pub rto_min: Duration,
    /// The timeout before the first measurement.
    ///
    /// Source: RFC 6298 §2.1, 1 s.
    pub rto_initial: Duration,
    /// The longest timeout.
    ///
    /// Source: `TCP_RTO_MAX_SEC`, include/net/tcp.h of Linux, 120 s.
    pub rto_max: Duration,
    /// Timeouts in a row after which the connection and its messages fail.
    ///
    /// Source: `TCP_RETR2`, include/net/tcp.h of Linux, 15.
    pub timeouts_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 8_928,
            initial_window_segments: 10,
            window_bytes: 4 << 20,
            send_buffer_bytes: 16 << 20,
            rto_min: Duration::from_millis(200),
            rto_initial: Duration::from_secs(1),
            rto_max: Duration::from_secs(120),
            timeouts_max: 15,
        }
    }
}

/// What a host's connections did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Segments with data sent, again ones too.
    pub segments: u64,
    /// Those that were sent before.
    pub sent_again: u64,
    /// Losses found by three duplicate acknowledgements.
    pub fast_retransmits: u64,
    /// Losses found by the timer.
    pub timeouts: u64,
    /// Segments received that were not next in order, and thrown away.
    pub out_of_order: u64,
    /// Datagrams with a wrong checksum or form.
    pub malformed: u64,
    /// Connections that ended with an error.
    pub failed_connections: u64,
    /// Replies that were not sent because too many were waiting.
    pub replies_dropped: u64,
}

/// A host's end of all its connections.
#[derive(Debug)]
pub struct SinglePath {
    config: Config,
    random: Random,
    senders: Vec<Sender>,
    /// Which sender has its turn.
    turn: usize,
    receivers: BTreeMap<(HostId, u16), Receiver>,
    replies: VecDeque<Reply>,
    events: VecDeque<MessageEvent>,
    stats: Stats,
}

/// An answer to a segment, which goes back to where that came from.
#[derive(Debug, Clone, Copy)]
struct Reply {
    to: HostId,
    port: u16,
    kind: ReplyKind,
}

#[derive(Debug, Clone, Copy)]
enum ReplyKind {
    /// What the connection has got when this is sent.
    Acknowledge,
    Accept {
        opener: u32,
        nonce: u64,
    },
    Reset {
        tag: u32,
    },
}

impl SinglePath {
    /// A host without connections; `random` chooses ports and what tells connections apart, so a host that
    /// starts again needs another.
    pub const fn new(config: Config, random: Random) -> Self {
        Self {
            config,
            random,
            senders: Vec::new(),
            turn: 0,
            receivers: BTreeMap::new(),
            replies: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats {
                segments: 0,
                sent_again: 0,
                fast_retransmits: 0,
                timeouts: 0,
                out_of_order: 0,
                malformed: 0,
                failed_connections: 0,
                replies_dropped: 0,
            },
        }
    }

    /// What the connections did.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// The source port and the congestion window in bytes of the connection to a host.
    pub fn connection(&self, to: HostId) -> Option<(u16, u64)> {
        let sender = self.senders.iter().find(|sender| sender.to() == to)?;
        Some((sender.port(), sender.window_bytes()))
    }

    fn reply(&mut self, to: HostId, port: u16, kind: ReplyKind) {
        if self.replies.len() < REPLIES_MAX {
            self.replies.push_back(Reply { to, port, kind });
        } else {
            self.stats.replies_dropped += 1;
        }
    }

    /// A segment for one of our receivers.
    fn inward(&mut self, segment: &Segment, datagram: &Datagram) {
        let from = datagram.source;
        let port = datagram.source_port;
        let key = (from, port);
        if segment.kind == Kind::Open {
            if self.receivers.len() >= CONNECTIONS_MAX && !self.receivers.contains_key(&key) {
                return self.reply(from, port, ReplyKind::Reset { tag: segment.tag });
            }
            let nonce = self.random.next_u64();
            let receiver = self
                .receivers
                .entry(key)
                .and_modify(|known| known.reopen(segment.tag, nonce))
                .or_insert_with(|| Receiver::new(segment.tag, nonce));
            let nonce = receiver.nonce();
            return self.reply(
                from,
                port,
                ReplyKind::Accept {
                    opener: segment.tag,
                    nonce,
                },
            );
        }
        let known = self.receivers.get_mut(&key);
        let Some(receiver) = known.filter(|receiver| receiver.tag() == segment.tag) else {
            return self.reply(from, port, ReplyKind::Reset { tag: segment.tag });
        };
        let in_order = receiver.take(segment, datagram, &mut self.events);
        self.stats.out_of_order += u64::from(!in_order);
        self.reply(from, port, ReplyKind::Acknowledge);
    }

    /// A segment for one of our senders.
    fn back(&mut self, now: Instant, segment: &Segment, datagram: &Datagram) {
        let found = self
            .senders
            .iter()
            .position(|sender| sender.to() == datagram.source && sender.port() == datagram.destination_port);
        let Some(index) = found else {
            return;
        };
        let sender = &mut self.senders[index];
        match segment.kind {
            Kind::Accept => sender.accepted(now, &self.config, segment),
            Kind::Acknowledge if sender.is_tag(segment.tag) => {
                sender.acknowledged(now, &self.config, segment.seq, &mut self.stats, &mut self.events);
            }
            Kind::Reset if sender.is_tag(segment.tag) => self.fail(index),
            _ => {}
        }
    }

    fn fail(&mut self, index: usize) {
        let sender = self.senders.remove(index);
        self.stats.failed_connections += 1;
        self.events
            .extend(sender.into_messages().map(|id| MessageEvent::Failed { id }));
    }

    fn transmit_reply(&mut self, reply: Reply, payload: &mut Vec<u8>) -> Option<Transmit> {
        let (kind, tag, seq) = match reply.kind {
            ReplyKind::Accept { opener, nonce } => (Kind::Accept, opener, nonce),
            ReplyKind::Reset { tag } => (Kind::Reset, tag, 0),
            ReplyKind::Acknowledge => {
                let receiver = self.receivers.get(&(reply.to, reply.port))?;
                (Kind::Acknowledge, receiver.tag(), receiver.next())
            }
        };
        Segment {
            kind,
            tag,
            seq,
            length_bytes: 0,
        }
        .emit(std::iter::empty(), payload);
        Some(Transmit {
            destination: reply.to,
            source_port: SERVICE_PORT,
            destination_port: reply.port,
            ecn: Ecn::NotEct,
            virtual_bytes: 0,
        })
    }
}

impl Endpoint for SinglePath {
    fn handle_datagram(&mut self, now: Instant, datagram: &Datagram) {
        let Some(segment) = Segment::parse(&datagram.payload) else {
            self.stats.malformed += 1;
            return;
        };
        match segment.kind {
            Kind::Open | Kind::Data => self.inward(&segment, datagram),
            Kind::Accept | Kind::Acknowledge | Kind::Reset => self.back(now, &segment, datagram),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(sender) = self.senders.get_mut(index) {
            let dead = sender.timeout(now, &self.config, &mut self.stats);
            if dead {
                self.fail(index);
            } else {
                index += 1;
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.senders.iter().filter_map(Sender::deadline).min()
    }

    fn poll_transmit(&mut self, now: Instant, payload: &mut Vec<u8>) -> Option<Transmit> {
        while let Some(reply) = self.replies.pop_front() {
            if let Some(transmit) = self.transmit_reply(reply, payload) {
                return Some(transmit);
            }
        }
        let count = self.senders.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let sent = self.senders[index].transmit(now, &self.config, &mut self.stats, payload);
            if sent.is_some() {
                self.turn = index + 1;
                return sent;
            }
        }
        None
    }
}

impl Messenger for SinglePath {
    fn offer(&mut self, _now: Instant, message: Message) -> Result<(), Busy> {
        let known = self.senders.iter().position(|sender| sender.to() == message.to);
        let index = match known {
            Some(index) => index,
            None => {
                let port = loop {
                    let offset = self.random.below(u64::from(PORTS_COUNT));
                    let port = PORTS_FIRST + u16::try_from(offset).unwrap_or(0);
                    if self.senders.iter().all(|sender| sender.port() != port) {
                        break port;
                    }
                };
                let nonce = u32::try_from(self.random.below(1 << 32)).unwrap_or(0);
                self.senders
                    .push(Sender::new(&self.config, message.to, port, nonce));
                self.senders.len() - 1
            }
        };
        self.senders[index].offer(&self.config, message)
    }

    fn poll_event(&mut self) -> Option<MessageEvent> {
        self.events.pop_front()
    }
}

/// Where all connections go to.
const SERVICE_PORT: u16 = 7;

/// Source ports of connections.
///
/// Source: Linux, Documentation/networking/ip-sysctl.rst, `ip_local_port_range`, 32768 to 60999.
const PORTS_FIRST: u16 = 32_768;
const PORTS_COUNT: u16 = 28_232;

/// Connections that a host accepts.
const CONNECTIONS_MAX: usize = 4_096;

/// Replies that may wait for the link.
const REPLIES_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
