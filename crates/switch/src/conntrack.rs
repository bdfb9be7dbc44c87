//! Connection tracking of one interface.
//!
//! TCP and UDP are tracked by addresses and ports, ICMP by addresses and identifier, other protocols by
//! addresses. An entry lets packets of both directions through its interface's gate, whatever the rules have
//! become; a packet that opens a connection always asks the rules.
//!
//! Source: [EC2 User Guide, "Amazon EC2 security group connection tracking"], read 2026-11-22: what is
//! tracked and by what, 600 s for other protocols, the timeouts that a user may set. Times for which that
//! page has no number are this crate's own (docs/assumptions.md).
//!
//! Lookups ignore entries whose time is over, so that nothing depends on when [`Tracker::sweep`] runs.

use std::collections::HashMap;
use std::time::Duration;

use slab::Slab;
use trinic_wire::packet::{Ip, Transport};
use trinic_wire::tcp::Flags;
use trinic_wire::time::Instant;

use crate::flow::{FlowHash, FlowKey, Query, query};
use crate::tables::TrackingTimeouts;
use crate::trace::Direction;

/// Idle time of a TCP connection that has been opened by one side only. [assumed A-01]
const TCP_NEW: Duration = Duration::from_secs(60);
/// Idle time of a TCP connection after a FIN. [assumed A-02]
const TCP_CLOSING: Duration = Duration::from_secs(120);
/// Idle time of a TCP connection after a reset. [assumed A-03]
const TCP_CLOSED: Duration = Duration::from_secs(10);
/// Idle time of ICMP queries. [assumed A-04]
const ICMP: Duration = Duration::from_secs(30);
/// Idle time of other protocols. Source: the page above.
const OTHER: Duration = Duration::from_secs(600);

/// What a packet means to the connection that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Tcp(Flags),
    Udp,
    Icmp(Query),
    Other,
}

impl Signal {
    #[inline]
    pub(crate) fn of(ip: &Ip) -> Self {
        match ip.transport {
            Transport::Tcp { flags, .. } => Self::Tcp(flags),
            Transport::Udp => Self::Udp,
            Transport::Icmp(icmp) => Self::Icmp(query(icmp.kind, ip.is_ipv6())),
            Transport::Other | Transport::Absent => Self::Other,
        }
    }

    /// Whether a packet that the rules allow makes an entry. ICMP messages that ask nothing do not: whoever
    /// may send a reply has not thereby got the right to ask. Nor does a TCP segment that is not the first of
    /// its connection, unless connections of another life are being picked up. [assumed A-25]
    pub(crate) fn opens(self, pick_up: bool) -> bool {
        match self {
            Self::Tcp(flags) => pick_up || (flags.contains(Flags::SYN) && !flags.contains(Flags::ACK)),
            Self::Icmp(query) => !matches!(query, Query::Reply | Query::Neither),
            Self::Udp | Self::Other => true,
        }
    }
}

/// An entry that was found; stays good for as long as the entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    slot: usize,
    stamp: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    TcpNew,
    TcpEstablished,
    TcpClosing,
    TcpClosed,
    /// UDP; whether both sides have sent.
    Udp(bool),
    /// ICMP queries; whether the instance and the other side have asked.
    Icmp {
        outbound: bool,
        inbound: bool,
    },
    Other,
}

impl Phase {
    fn opened_by(signal: Signal, direction: Direction) -> Self {
        match signal {
            Signal::Tcp(_) => Self::TcpNew,
            Signal::Udp => Self::Udp(false),
            Signal::Icmp(_) => Self::Icmp {
                outbound: direction == Direction::Outbound,
                inbound: direction == Direction::Inbound,
            },
            Signal::Other => Self::Other,
        }
    }

    #[inline]
    fn after(self, signal: Signal, answer: bool) -> Self {
        match (self, signal) {
            (_, Signal::Tcp(flags)) if flags.contains(Flags::RST) => Self::TcpClosed,
            (Self::TcpNew | Self::TcpEstablished, Signal::Tcp(flags)) if flags.contains(Flags::FIN) => {
                Self::TcpClosing
            }
            (Self::TcpNew, Signal::Tcp(flags)) if answer && flags.contains(Flags::ACK) => {
                Self::TcpEstablished
            }
            (Self::Udp(both), Signal::Udp) => Self::Udp(both || answer),
            (phase, _) => phase,
        }
    }

    #[inline]
    fn idle_time(self, timeouts: &TrackingTimeouts) -> Duration {
        let seconds = |s: u32| Duration::from_secs(s.into());
        match self {
            Self::TcpNew => TCP_NEW,
            Self::TcpEstablished => seconds(timeouts.tcp_established_s),
            Self::TcpClosing => TCP_CLOSING,
            Self::TcpClosed => TCP_CLOSED,
            Self::Udp(false) => seconds(timeouts.udp_s),
            Self::Udp(true) => seconds(timeouts.udp_stream_s),
            Self::Icmp { .. } => ICMP,
            Self::Other => OTHER,
        }
    }
}

#[derive(Debug)]
struct Entry {
    key: FlowKey,
    stamp: u64,
    initiator: Direction,
    phase: Phase,
    /// The entry is dead from this moment on.
    deadline: Instant,
}

/// The tracked connections of one interface.
#[derive(Debug)]
pub(crate) struct Tracker {
    entries: Slab<Entry>,
    index: HashMap<FlowKey, usize, FlowHash>,
    next_stamp: u64,
    /// Where the next sweep goes on.
    hand: usize,
}

impl Tracker {
    pub(crate) fn new(hash: FlowHash) -> Self {
        Self {
            entries: Slab::new(),
            index: HashMap::with_hasher(hash),
            next_stamp: 0,
            hand: 0,
        }
    }

    /// Entries, those included whose time is over and that no sweep has met yet.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Slots that a sweep goes around.
    pub(crate) fn slots(&self) -> usize {
        self.entries.capacity()
    }

    /// The living entry of a flow.
    pub(crate) fn find(&self, now: Instant, key: &FlowKey) -> Option<Handle> {
        let slot = *self.index.get(key)?;
        let entry = &self.entries[slot];
        (now < entry.deadline).then_some(Handle {
            slot,
            stamp: entry.stamp,
        })
    }

    #[inline]
    fn entry(&self, handle: Handle) -> Option<&Entry> {
        self.entries
            .get(handle.slot)
            .filter(|entry| entry.stamp == handle.stamp)
    }

    /// Whether the entry is still there and its time is not over.
    #[inline]
    pub(crate) fn is_alive(&self, now: Instant, handle: Handle) -> bool {
        self.entry(handle).is_some_and(|entry| now < entry.deadline)
    }

    /// Whether the entry alone lets the packet through. A packet that opens a connection asks the rules.
    /// [assumed A-05]
    pub(crate) fn admits(&self, handle: Handle, direction: Direction, signal: Signal) -> bool {
        let Some(entry) = self.entry(handle) else {
            return false;
        };
        match (signal, entry.phase) {
            // Both sides may open at the same time (RFC 9293 §3.5).
            (Signal::Tcp(flags), phase) if flags.is_open() => {
                phase == Phase::TcpNew && direction != entry.initiator
            }
            (Signal::Icmp(query), Phase::Icmp { outbound, inbound }) => {
                let asker = match query {
                    Query::Request => direction,
                    Query::Reply => direction.opposite(),
                    Query::Neither => return false,
                };
                match asker {
                    Direction::Outbound => outbound,
                    Direction::Inbound => inbound,
                }
            }
            _ => true,
        }
    }

    /// Takes note of a packet of a tracked connection.
    #[inline]
    pub(crate) fn touch(
        &mut self,
        now: Instant,
        handle: Handle,
        direction: Direction,
        signal: Signal,
        timeouts: &TrackingTimeouts,
    ) {
        if let Some(entry) = self.entries.get_mut(handle.slot)
            && entry.stamp == handle.stamp
        {
            entry.phase = entry.phase.after(signal, direction != entry.initiator);
            entry.deadline = now + entry.phase.idle_time(timeouts);
        }
    }

    /// Takes note of a packet that the rules let through: opens a connection, or goes on with one that its
    /// entry alone did not let through.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        key: FlowKey,
        direction: Direction,
        signal: Signal,
        timeouts: &TrackingTimeouts,
    ) -> Handle {
        let fresh = Phase::opened_by(signal, direction);
        let Some(slot) = self.index.get(&key).copied() else {
            return self.insert(now, key, direction, fresh, timeouts);
        };
        let entry = &mut self.entries[slot];
        let over = now >= entry.deadline || matches!(entry.phase, Phase::TcpClosing | Phase::TcpClosed);
        if over {
            entry.initiator = direction;
            entry.phase = fresh;
        } else if let Phase::Icmp { outbound, inbound } = &mut entry.phase {
            *outbound |= direction == Direction::Outbound;
            *inbound |= direction == Direction::Inbound;
        }
        entry.deadline = now + entry.phase.idle_time(timeouts);
        Handle {
            slot,
            stamp: entry.stamp,
        }
    }

    fn insert(
        &mut self,
        now: Instant,
        key: FlowKey,
        direction: Direction,
        phase: Phase,
        timeouts: &TrackingTimeouts,
    ) -> Handle {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let slot = self.entries.insert(Entry {
            key,
            stamp,
            initiator: direction,
            phase,
            deadline: now + phase.idle_time(timeouts),
        });
        self.index.insert(key, slot);
        Handle { slot, stamp }
    }

    /// Forgets a connection.
    pub(crate) fn forget(&mut self, handle: Handle) {
        if self.entry(handle).is_some() {
            let entry = self.entries.remove(handle.slot);
            self.index.remove(&entry.key);
        }
    }

    /// Looks at up to `work` slots and forgets the entries whose time is over. Returns how many.
    pub(crate) fn sweep(&mut self, now: Instant, work: usize) -> usize {
        let end = self.entries.capacity();
        let mut forgotten = 0;
        for _ in 0..work.min(end) {
            if self.hand >= end {
                self.hand = 0;
            }
            let slot = self.hand;
            self.hand += 1;
            if self.entries.get(slot).is_some_and(|entry| now >= entry.deadline) {
                let entry = self.entries.remove(slot);
                self.index.remove(&entry.key);
                forgotten += 1;
            }
        }
        forgotten
    }
}
