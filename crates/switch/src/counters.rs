//! Counters of one port. Directions are the instance's: outbound is what it sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::DropReason;

/// The counters as the pipeline moves them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) packets_out: u64,
    pub(crate) bytes_out: u64,
    pub(crate) packets_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) services: u64,
    pub(crate) replies: u64,
    drops: [u64; DropReason::COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            packets_out: 0,
            bytes_out: 0,
            packets_in: 0,
            bytes_in: 0,
            services: 0,
            replies: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}

impl Counters {
    /// Counts a frame that the instance sent, whatever becomes of it.
    #[inline]
    pub(crate) fn outbound(&mut self, bytes: usize) {
        self.packets_out += 1;
        self.bytes_out += bytes as u64;
    }

    /// Counts a frame that is delivered to the instance.
    #[inline]
    pub(crate) fn inbound(&mut self, bytes: usize) {
        self.packets_in += 1;
        self.bytes_in += bytes as u64;
    }

    #[inline]
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops[reason.index()] += 1;
    }

    pub(crate) fn snapshot(&self) -> CountersSnapshot {
        CountersSnapshot {
            packets_out: self.packets_out,
            bytes_out: self.bytes_out,
            packets_in: self.packets_in,
            bytes_in: self.bytes_in,
            services: self.services,
            replies: self.replies,
            drops: DropReason::ALL
                .iter()
                .map(|reason| (*reason, self.drops[reason.index()]))
                .filter(|(_, count)| *count != 0)
                .collect(),
            conntrack_entries: 0,
            conntrack_limit: 0,
        }
    }
}

/// The counters of one interface, or of the internet, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CountersSnapshot {
    /// Frames that the instance sent, dropped ones included.
    pub packets_out: u64,
    /// Bytes of these frames.
    pub bytes_out: u64,
    /// Frames that were delivered to the instance, those of the card's services included.
    pub packets_in: u64,
    /// Bytes of these frames.
    pub bytes_in: u64,
    /// Frames that the instance sent to link-local services.
    pub services: u64,
    /// Frames that the card itself answered: ARP, Neighbor Discovery, echo at the router, ICMP errors.
    pub replies: u64,
    /// Drops that were not zero. Outbound stages count at the sender, inbound stages at the receiver.
    pub drops: BTreeMap<DropReason, u64>,
    /// Connections that are tracked now.
    pub conntrack_entries: usize,
    /// Connections that may be tracked (`conntrack_allowance_available` is the difference).
    pub conntrack_limit: usize,
}

impl CountersSnapshot {
    /// How often this reason dropped a packet.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(&reason).copied().unwrap_or(0)
    }

    /// All drops.
    pub fn dropped_total(&self) -> u64 {
        self.drops.values().sum()
    }
}
