//! The flow cache of one port: what the walk decided for a flow, for as long as that must hold.
//!
//! An entry is good while the policy has the generation that it was made under, the frame has the same MACs,
//! and the connections that it relied on are alive. It holds for plain TCP segments (no SYN, FIN or RST) and
//! for UDP only: whatever else there is takes the walk. The property tests compare a switch with a cache
//! with one that has none.

use std::collections::HashMap;

use crate::conntrack::Handle;
use crate::edit::Edits;
use crate::flow::{FlowHash, FlowKey};
use crate::policy::InterfaceIndex;
use crate::tables::Mac;

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

/// What the walk decided for a flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cached {
    pub(crate) generation: u64,
    pub(crate) source_mac: Mac,
    pub(crate) destination_mac: Mac,
    pub(crate) to: Destination,
    pub(crate) edits: Edits,
    /// Larger packets take the walk.
    pub(crate) mtu: usize,
    pub(crate) sender_gate: CachedGate,
    pub(crate) receiver_gate: CachedGate,
    /// The flow as the receiver sees it.
    pub(crate) receiver: Option<InterfaceIndex>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct FlowCache {
    flows: HashMap<FlowKey, Cached, FlowHash>,
    limit: usize,
}

impl FlowCache {
    pub(crate) fn new(hash: FlowHash, limit: usize) -> Self {
        Self {
            flows: HashMap::with_hasher(hash),
            limit,
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: &FlowKey) -> Option<&Cached> {
        self.flows.get(key)
    }

    /// Adds a flow. A full cache starts again from nothing: that costs one walk per living flow, and needs no
    /// order of use on the packet path.
    pub(crate) fn insert(&mut self, key: FlowKey, cached: Cached) {
        if self.limit == 0 {
            return;
        }
        if self.flows.len() >= self.limit && !self.flows.contains_key(&key) {
            self.flows.clear();
        }
        self.flows.insert(key, cached);
    }

    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }
}
