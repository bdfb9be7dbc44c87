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
    /// Packets that an allowance queued or dropped; others are drops and nothing else.
    bw_in_exceeded: u64,
    bw_out_exceeded: u64,
    pps_exceeded: u64,
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
            bw_in_exceeded: 0,
            bw_out_exceeded: 0,
            pps_exceeded: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}

impl Counters {
    /// Counts frames that the instance sent, whatever becomes of them.
    #[inline]
    pub(crate) fn outbound(&mut self, frames: u64, bytes: usize) {
        self.packets_out += frames;
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

    /// Counts packets that were queued or dropped by an allowance for bandwidth or packets a second.
    pub(crate) fn exceed(&mut self, allowance: DropReason, packets: u64) {
        match allowance {
            DropReason::BandwidthInAllowance => self.bw_in_exceeded += packets,
            DropReason::BandwidthOutAllowance => self.bw_out_exceeded += packets,
            DropReason::PacketsAllowance => self.pps_exceeded += packets,
            _ => {}
        }
    }

    pub(crate) fn allowances(&self) -> AllowanceCounters {
        AllowanceCounters {
            bw_in_exceeded: self.bw_in_exceeded,
            bw_out_exceeded: self.bw_out_exceeded,
            pps_exceeded: self.pps_exceeded,
            conntrack_exceeded: self.drops[DropReason::ConntrackFull.index()],
            linklocal_exceeded: self.drops[DropReason::LinkLocalAllowance.index()],
            conntrack_available: 0,
        }
    }

    pub(crate) fn snapshot(&self) -> CountersSnapshot {
        let allowances = self.allowances();
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
            bw_in_allowance_exceeded: allowances.bw_in_exceeded,
            bw_out_allowance_exceeded: allowances.bw_out_exceeded,
            pps_allowance_exceeded: allowances.pps_exceeded,
            conntrack_allowance_exceeded: allowances.conntrack_exceeded,
            linklocal_allowance_exceeded: allowances.linklocal_exceeded,
            conntrack_allowance_available: allowances.conntrack_available,
        }
    }
}

/// Those of [`CountersSnapshot`] that a driver asks for, by the same names. A device asks every second, so they take no
/// memory, which the map of the drops does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllowanceCounters {
    /// See [`CountersSnapshot::bw_in_allowance_exceeded`].
    pub bw_in_exceeded: u64,
    /// See [`CountersSnapshot::bw_out_allowance_exceeded`].
    pub bw_out_exceeded: u64,
    /// See [`CountersSnapshot::pps_allowance_exceeded`].
    pub pps_exceeded: u64,
    /// See [`CountersSnapshot::conntrack_allowance_exceeded`].
    pub conntrack_exceeded: u64,
    /// See [`CountersSnapshot::linklocal_allowance_exceeded`].
    pub linklocal_exceeded: u64,
    /// See [`CountersSnapshot::conntrack_allowance_available`].
    pub conntrack_available: u64,
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
    /// Connections that may be tracked.
    pub conntrack_limit: usize,
    /// Packets that were queued or dropped because the inbound bandwidth exceeded its allowance. The names of these
    /// counters are those of `ethtool -S` on EC2; a super-frame counts as its segments.
    #[serde(default)]
    pub bw_in_allowance_exceeded: u64,
    /// Packets that were queued or dropped because the outbound bandwidth exceeded its allowance.
    #[serde(default)]
    pub bw_out_allowance_exceeded: u64,
    /// Packets that were queued or dropped because the packets a second of both directions exceeded theirs.
    #[serde(default)]
    pub pps_allowance_exceeded: u64,
    /// Packets that were dropped because no more connections could be tracked.
    #[serde(default)]
    pub conntrack_allowance_exceeded: u64,
    /// Packets to link-local services that were dropped because there were too many in a second.
    #[serde(default)]
    pub linklocal_allowance_exceeded: u64,
    /// Connections that can be tracked before the limit is reached.
    #[serde(default)]
    pub conntrack_allowance_available: u64,
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
