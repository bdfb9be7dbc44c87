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
//!
//! Idle times run from the next full second, so that a connection lives up to a second longer than its timeout.
//! In return a second packet of a kind within one second changes nothing, and the flow cache need not look.

use std::collections::HashMap;

use slab::Slab;
use trinic_wire::packet::{Ip, Transport};
use trinic_wire::tcp::Flags;
use trinic_wire::time::Instant;

use crate::flow::{FlowHash, FlowKey, Query, query};
use crate::tables::TrackingTimeouts;
use crate::trace::Direction;

/// Idle time, in seconds, of a TCP connection that has been opened by one side only. [assumed A-01]
const TCP_NEW: u32 = 60;
/// Idle time, in seconds, of a TCP connection after a FIN. [assumed A-02]
const TCP_CLOSING: u32 = 120;
/// Idle time, in seconds, of a TCP connection after a reset. [assumed A-03]
const TCP_CLOSED: u32 = 10;
/// Idle time, in seconds, of ICMP queries. [assumed A-04]
const ICMP: u32 = 30;
/// Idle time, in seconds, of other protocols. Source: the page above.
const OTHER: u32 = 600;

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
    slot: u32,
    stamp: u32,
}

/// The second in which idle times start that are measured from now: the next full one.
#[inline]
pub(crate) fn second(now: Instant) -> u32 {
    seconds(now.as_nanos().saturating_add(NS_PER_S - 1))
}

#[inline]
fn seconds(ns: u64) -> u32 {
    u32::try_from(ns / NS_PER_S).unwrap_or(u32::MAX)
}

const NS_PER_S: u64 = 1_000_000_000;

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
    fn idle_s(self, timeouts: &TrackingTimeouts) -> u32 {
        let idle_s = match self {
            Self::TcpNew => TCP_NEW,
            Self::TcpEstablished => timeouts.tcp_established_s,
            Self::TcpClosing => TCP_CLOSING,
            Self::TcpClosed => TCP_CLOSED,
            Self::Udp(false) => timeouts.udp_s,
            Self::Udp(true) => timeouts.udp_stream_s,
            Self::Icmp { .. } => ICMP,
            Self::Other => OTHER,
        };
        // An entry outlives the second in which a packet touched it, or the flow cache would be wrong.
        idle_s.max(1)
    }
}

#[derive(Debug)]
struct Entry {
    key: FlowKey,
    stamp: u32,
    initiator: Direction,
    phase: Phase,
    /// The entry is dead from this second on.
    deadline: u32,
}

impl Entry {
    #[inline]
    fn is_over(&self, now: Instant) -> bool {
        seconds(now.as_nanos()) >= self.deadline
    }

    #[inline]
    fn touch(&mut self, now: Instant, timeouts: &TrackingTimeouts) {
        self.deadline = second(now).saturating_add(self.phase.idle_s(timeouts));
    }
}

/// What became of a connection that the rules let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) handle: Handle,
    /// An entry that was there started a new life.
    pub(crate) renewed: bool,
}

/// The tracked connections of one interface.
#[derive(Debug)]
pub(crate) struct Tracker {
    timeouts: TrackingTimeouts,
    entries: Slab<Entry>,
    index: HashMap<FlowKey, u32, FlowHash>,
    /// How often each slot was taken, which tells its entries apart.
    stamps: Vec<u32>,
    /// Where the next sweep goes on.
    hand: usize,
}

impl Tracker {
    pub(crate) fn new(hash: FlowHash) -> Self {
        Self {
            timeouts: TrackingTimeouts::default(),
            entries: Slab::new(),
            index: HashMap::with_hasher(hash),
            stamps: Vec::new(),
            hand: 0,
        }
    }

    /// Idle times from now on; entries keep theirs until the next packet.
    pub(crate) fn set_timeouts(&mut self, timeouts: TrackingTimeouts) {
        self.timeouts = timeouts;
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
        let entry = self.entries.get(slot as usize)?;
        (!entry.is_over(now)).then_some(Handle {
            slot,
            stamp: entry.stamp,
        })
    }

    #[inline]
    fn entry(&self, handle: Handle) -> Option<&Entry> {
        self.entries
            .get(handle.slot as usize)
            .filter(|entry| entry.stamp == handle.stamp)
    }

    /// Whether the entry is still there and its time is not over.
    #[inline]
    pub(crate) fn is_alive(&self, now: Instant, handle: Handle) -> bool {
        self.entry(handle).is_some_and(|entry| !entry.is_over(now))
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
    pub(crate) fn touch(&mut self, now: Instant, handle: Handle, direction: Direction, signal: Signal) {
        if let Some(entry) = self.entries.get_mut(handle.slot as usize)
            && entry.stamp == handle.stamp
        {
            entry.phase = entry.phase.after(signal, direction != entry.initiator);
            entry.touch(now, &self.timeouts);
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
    ) -> Opened {
        let fresh = Phase::opened_by(signal, direction);
        let known = self.index.get(&key).copied();
        let Some((slot, entry)) = known.and_then(|slot| Some((slot, self.entries.get_mut(slot as usize)?)))
        else {
            return Opened {
                handle: self.insert(now, key, direction, fresh),
                renewed: false,
            };
        };
        let over = entry.is_over(now) || matches!(entry.phase, Phase::TcpClosing | Phase::TcpClosed);
        if over {
            entry.initiator = direction;
            entry.phase = fresh;
        } else if let Phase::Icmp { outbound, inbound } = &mut entry.phase {
            *outbound |= direction == Direction::Outbound;
            *inbound |= direction == Direction::Inbound;
        }
        entry.touch(now, &self.timeouts);
        Opened {
            handle: Handle {
                slot,
                stamp: entry.stamp,
            },
            renewed: over,
        }
    }

    fn insert(&mut self, now: Instant, key: FlowKey, direction: Direction, phase: Phase) -> Handle {
        let vacant = self.entries.vacant_entry();
        let at = vacant.key();
        if self.stamps.len() <= at {
            self.stamps.resize(at + 1, 0);
        }
        self.stamps[at] = self.stamps[at].wrapping_add(1);
        let stamp = self.stamps[at];
        let entry = vacant.insert(Entry {
            key,
            stamp,
            initiator: direction,
            phase,
            deadline: 0,
        });
        entry.touch(now, &self.timeouts);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "Four thousand million connections do not fit into memory."
        )]
        let slot = at as u32;
        self.index.insert(key, slot);
        Handle { slot, stamp }
    }

    /// Forgets a connection.
    pub(crate) fn forget(&mut self, handle: Handle) {
        if self.entry(handle).is_some() {
            let entry = self.entries.remove(handle.slot as usize);
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
            if self.entries.get(slot).is_some_and(|entry| entry.is_over(now)) {
                let entry = self.entries.remove(slot);
                self.index.remove(&entry.key);
                forgotten += 1;
            }
        }
        forgotten
    }
}
