//! The flow cache of one port: what the walk decided for a flow, for as long as that must hold.
//!
//! It holds for plain frames only (see [`Plain`]): UDP, and TCP segments within a connection; whatever else
//! there is takes the walk. The property tests compare a switch with a cache with one that has none.
//!
//! A table of slots, one cache line each, open addressing with at most [`WINDOW`] slots to look at. Nothing is
//! ever taken out, so that an empty slot ends a search. The table has at least two slots for a flow and grows
//! by doubling, up to the limit; a full one starts again from nothing, which costs one walk per living flow and
//! needs no order of use on the packet path. A slot and its details take 120 bytes: 30 MiB for 131,072 flows, 60 MiB for twice as many.
//!
//! A slot says until when it holds without a further look, see [`Settled`]. So a flow's packets touch one line
//! of memory, and the connections behind it once a second.

use trinic_wire::Protocol;
use trinic_wire::packet::Parsed;
use trinic_wire::plain::{Plain, Shape, Words};
use trinic_wire::tcp::Flags;

use crate::conntrack::{Handle, Signal};
use crate::edit::Edits;
use crate::flow::{FlowHash, FlowKey};
use crate::packet::Packet;
use crate::policy::InterfaceIndex;
use crate::state::MacWord;

/// How a packet passed a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CachedGate {
    /// There is no gate on this side: the internet.
    Absent,
    /// By a rule, untracked.
    Untracked,
    /// By a rule, without a connection although it should have one: never cached.
    Stray,
    /// By its connection.
    Tracked(Handle),
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Interface(InterfaceIndex),
    Internet,
}

/// The second, and the state of everything else, for which a flow's verdict was found to hold and its
/// connections were touched. Another packet of the flow in that second would find and change nothing.
///
/// The upper half is the second, the lower half counts changes of the tables and connections that started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled(u64);

impl Settled {
    #[inline]
    pub(crate) fn new(second: u32, changes: u32) -> Self {
        Self(u64::from(second) << 32 | u64::from(changes))
    }
}

/// What a plain frame says, as far as the cache needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance {
    pub(crate) key: FlowKey,
    pub(crate) hash: u64,
    /// Size of the largest IP packet that the frame becomes.
    pub(crate) segment_len: u32,
    /// Bytes of the IP packet, and of its headers, the transport's included.
    pub(crate) ip_len: u32,
    pub(crate) headers_len: u32,
    pub(crate) ttl: u8,
    pub(crate) is_tcp: bool,
}

impl Glance {
    /// Of a frame that the cache does not hold.
    pub(crate) const NONE: Self = Self {
        key: FlowKey::EMPTY,
        hash: 0,
        segment_len: 0,
        ip_len: 0,
        headers_len: 0,
        ttl: 0,
        is_tcp: false,
    };

    /// `None` if the cache holds no such frames.
    #[inline]
    pub(crate) fn of(packet: &Packet<'_>, hash: FlowHash) -> Option<Self> {
        let mut glance = Self::NONE;
        glance.look(packet, hash);
        glance.known().copied()
    }

    /// `None` if the cache holds no such frames.
    #[inline]
    pub(crate) fn known(&self) -> Option<&Self> {
        (!self.key.is_empty()).then_some(self)
    }

    /// Looks at a frame, in place: nothing of it is copied again.
    #[inline]
    pub(crate) fn look(&mut self, packet: &Packet<'_>, hash: FlowHash) {
        let shape = packet
            .shape
            .or_else(|| Shape::of(packet.window, packet.total_len));
        let words = shape.and_then(|shape| shape.read(packet.window));
        match words {
            Some(words) => self.fill(FlowKey::of_words(&words), &words, packet, hash),
            None => self.look_ipv6(packet, hash),
        }
    }

    #[inline(never)]
    fn look_ipv6(&mut self, packet: &Packet<'_>, hash: FlowHash) {
        match Plain::parse_ipv6(packet.window, packet.total_len) {
            Some(plain) => {
                let words = Words {
                    addresses: 0,
                    ports: 0,
                    protocol: plain.protocol,
                    flags: plain.flags,
                    ttl: plain.ttl,
                    total_len: plain.total_len,
                    headers_len: plain.headers_len,
                };
                self.fill(FlowKey::of_plain(&plain), &words, packet, hash);
            }
            None => *self = Self::NONE,
        }
    }

    #[inline]
    fn fill(&mut self, key: FlowKey, words: &Words, packet: &Packet<'_>, hash: FlowHash) {
        /// Segments that begin or end a connection change it, so that they take the walk.
        const WITHIN: (u8, u8) = (
            Flags::SYN.0 | Flags::FIN.0 | Flags::RST.0 | Flags::ACK.0,
            Flags::ACK.0,
        );
        self.is_tcp = words.protocol == Protocol::TCP;
        if self.is_tcp && words.flags.0 & WITHIN.0 != WITHIN.1 {
            *self = Self::NONE;
            return;
        }
        self.key = key;
        self.hash = hash.of(&key);
        self.segment_len = match packet.offload.gso_size {
            0 => words.total_len,
            size => (words.headers_len + u32::from(size)).min(words.total_len),
        };
        self.ip_len = words.total_len;
        self.headers_len = words.headers_len;
        self.ttl = words.ttl;
    }

    /// What the frame means to its connections.
    #[inline]
    pub(crate) fn signal(&self) -> Signal {
        if self.is_tcp {
            Signal::Tcp(Flags::ACK)
        } else {
            Signal::Udp
        }
    }
}

/// What a frame needs besides the receiver's MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rewrite {
    /// The router's MAC as source.
    FromRouter,
    /// Nothing: it keeps its sender's MAC.
    FromSender,
    /// All edits of [`Details`], an internet gateway's.
    Routed,
}

/// A flow, and what becomes of its packets.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Slot {
    key: FlowKey,
    pub(crate) settled: Settled,
    pub(crate) to: Destination,
    /// The frame's destination MAC, others take the walk; and above it the size of the largest packet that does not.
    to_mac_mtu: u64,
    /// Packets with this TTL or less take the walk.
    least_ttl: u8,
    pub(crate) rewrite: Rewrite,
}

impl Slot {
    /// Whether a frame to this MAC, that becomes packets of up to so many bytes, is of those that this is about.
    #[inline]
    pub(crate) fn takes(&self, destination: MacWord, glance: &Glance) -> bool {
        let is_near = (self.to_mac_mtu ^ destination.0) & MacWord::MASK == 0;
        is_near
            && u64::from(glance.segment_len) <= self.to_mac_mtu >> MacWord::BITS
            && glance.ttl > self.least_ttl
    }
}

const _: () = {
    assert!(size_of::<Slot>() == 64);
    assert!(size_of::<Details>() <= 56);
};

/// What the packets of a flow need once in a second, or only behind an internet gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Details {
    /// The generation of the policy that the verdict is of.
    pub(crate) generation: u64,
    pub(crate) edits: Edits,
    /// The sender's and the receiver's.
    pub(crate) gates: [CachedGate; 2],
}

/// What the walk decided for a flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) to: Destination,
    pub(crate) mtu: usize,
    pub(crate) settled: Settled,
    pub(crate) details: Details,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct FlowCache {
    /// None, or a power of two.
    slots: Vec<Slot>,
    details: Vec<Details>,
    hash: FlowHash,
    len: usize,
    limit: usize,
}

/// Slots that a search looks at. At half load three in ten thousand flows would lie further than that from
/// their place; they displace another.
const WINDOW: usize = 16;

/// Slots of the smallest table.
const LEAST_SLOTS: usize = 64;

const EMPTY: Slot = Slot {
    key: FlowKey::EMPTY,
    settled: Settled(0),
    to: Destination::Internet,
    to_mac_mtu: 0,
    least_ttl: 0,
    rewrite: Rewrite::Routed,
};

const NO_DETAILS: Details = Details {
    generation: 0,
    edits: Edits {
        source_mac: [0; 6],
        destination_mac: [0; 6],
        source: None,
        destination: None,
        decrement_ttl: false,
    },
    gates: [CachedGate::Absent; 2],
};

impl FlowCache {
    pub(crate) fn new(hash: FlowHash, limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            details: Vec::new(),
            hash,
            len: 0,
            limit,
        }
    }

    /// Loads a word of each of the two slots where the flow's search begins: in a table that is half full a quarter of the
    /// searches go on to the second one, and a tenth to a third. Many of these before the searches let the memory answer
    /// all of them at once.
    #[inline]
    pub(crate) fn peek(&self, hash: u64) -> u64 {
        let word = |step| {
            let slot = self.slots.get(self.place(hash, step));
            slot.map_or(0, |slot| slot.settled.0)
        };
        word(0) ^ word(1)
    }

    /// Where the flow is.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &FlowKey) -> Option<usize> {
        for step in 0..WINDOW {
            let at = self.place(hash, step);
            let slot = self.slots.get(at)?;
            if slot.key == *key {
                return Some(at);
            }
            if slot.key.is_empty() {
                return None;
            }
        }
        None
    }

    #[inline]
    pub(crate) fn slot(&self, at: usize) -> &Slot {
        &self.slots[at]
    }

    #[inline]
    pub(crate) fn settle(&mut self, at: usize, settled: Settled) {
        self.slots[at].settled = settled;
    }

    #[inline]
    pub(crate) fn details(&self, at: usize) -> &Details {
        &self.details[at]
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "The lower bits are what is wanted."
    )]
    fn place(&self, hash: u64, step: usize) -> usize {
        (hash as usize).wrapping_add(step) & self.slots.len().wrapping_sub(1)
    }

    /// Adds a flow, or what is new about it.
    pub(crate) fn insert(&mut self, glance: &Glance, parsed: &Parsed, verdict: &Verdict) {
        if self.limit == 0 {
            return;
        }
        let edits = &verdict.details.edits;
        let routed = edits.source.is_some() || edits.destination.is_some() || edits.decrement_ttl;
        let slot = Slot {
            key: glance.key,
            settled: verdict.settled,
            to: verdict.to,
            to_mac_mtu: MacWord::from(parsed.ethernet.destination).0
                | u64::from(u16::try_from(verdict.mtu).unwrap_or(u16::MAX)) << MacWord::BITS,
            least_ttl: u8::from(edits.decrement_ttl),
            rewrite: match routed {
                true => Rewrite::Routed,
                false if edits.source_mac == parsed.ethernet.source => Rewrite::FromSender,
                false => Rewrite::FromRouter,
            },
        };
        let at = match self.find(glance.hash, &glance.key) {
            Some(at) => at,
            None => self.vacate(glance.hash),
        };
        self.slots[at] = slot;
        self.details[at] = verdict.details;
    }

    /// A slot for a new flow: an empty one, or that of the flow in reach that was settled longest ago.
    fn vacate(&mut self, hash: u64) -> usize {
        if self.len >= self.limit || 2 * self.len >= self.slots.len() {
            self.make_room();
        }
        let mut oldest = self.place(hash, 0);
        for step in 0..WINDOW {
            let at = self.place(hash, step);
            if self.slots[at].key.is_empty() {
                self.len += 1;
                return at;
            }
            if self.slots[at].settled.0 < self.slots[oldest].settled.0 {
                oldest = at;
            }
        }
        oldest
    }

    /// Doubles the table, or empties one that has as many flows as it may.
    fn make_room(&mut self) {
        if self.len >= self.limit {
            self.slots.fill(EMPTY);
            self.len = 0;
            return;
        }
        let size = (2 * self.slots.len()).max(LEAST_SLOTS);
        let slots = std::mem::replace(&mut self.slots, vec![EMPTY; size]);
        let details = std::mem::replace(&mut self.details, vec![NO_DETAILS; size]);
        self.len = 0;
        for (slot, details) in slots.into_iter().zip(details) {
            if slot.key.is_empty() {
                continue;
            }
            let hash = self.hash.of(&slot.key);
            let steps = 0..WINDOW;
            let free = steps
                .map(|step| self.place(hash, step))
                .find(|at| self.slots[*at].key.is_empty());
            // One without a place takes the walk again.
            if let Some(at) = free {
                self.slots[at] = slot;
                self.details[at] = details;
                self.len += 1;
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}
