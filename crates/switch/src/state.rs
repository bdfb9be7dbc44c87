//! What the switch remembers besides the tables: per interface, and of the internet.

use trinic_wire::time::Instant;

use crate::DropReason;
use crate::cache::FlowCache;
use crate::conntrack::Tracker;
use crate::counters::{AllowanceCounters, Counters, CountersSnapshot};
use crate::flow::FlowHash;
use crate::fragments::Fragments;
use crate::packet::PortId;
use crate::policy::InterfaceIndex;
use crate::shaper::{Bucket, Load, Shaper};
use crate::tables::{Allowances, Interface, Mac};
use crate::trace::Direction;

/// Connections of an interface that are remembered at most, whatever its type allows: 2^21, about 200 MiB. The
/// largest types allow 13 million, and an instance that opens them must not take the card's memory.
pub(crate) const CONNECTIONS_MAX: usize = 1 << 21;

/// Bounds of what a switch remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Tracked connections of an interface whose allowances do not say. EC2 publishes no number; it depends on the
    /// instance type there. [assumed A-06]
    pub conntrack_entries: usize,
    /// Flows in the cache of one port; 0 = no cache, every packet takes the rule walk. The cache grows with the flows
    /// that there are, 240 to 480 bytes for each (60 MiB for 262,144), and is not made smaller again.
    pub cached_flows: usize,
    /// Packets per second that an interface whose allowances do not say may send to link-local services. Source: [EC2 User Guide,
    /// "Amazon EC2 instance network bandwidth"]: 1,024, not adjustable.
    pub link_local_packets_per_s: u32,
    /// Until this moment any TCP segment that the rules allow may open a tracked connection; later only a SYN
    /// may. For a switch that takes over from one that died: its connections go on with whatever comes first.
    /// Otherwise zero, or a late segment of an untracked flow whose rule was just revoked would bring it back.
    pub pick_up_until: Instant,
    /// Seeds the hash tables, so that a sender cannot aim at one bucket. Any random number.
    pub hash_seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            conntrack_entries: 262_144,
            cached_flows: 262_144,
            link_local_packets_per_s: 1_024,
            pick_up_until: Instant::ZERO,
            hash_seed: 0x2d35_8dcc_aa6c_78a5,
        }
    }
}

/// A MAC as a number, its first byte the lowest: compared at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MacWord(pub(crate) u64);

impl MacWord {
    pub(crate) const BITS: u32 = 48;
    pub(crate) const MASK: u64 = (1 << Self::BITS) - 1;

    /// Destination and source of a frame.
    #[inline]
    pub(crate) fn of_frame(macs: &[u8; 12]) -> (Self, Self) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *macs;
        let front = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let back = u64::from_le_bytes([e, f, g, h, i, j, k, l]);
        (Self(front & Self::MASK), Self(back >> 16))
    }

    #[inline]
    pub(crate) fn bytes(self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.0.to_le_bytes();
        [a, b, c, d, e, f]
    }
}

impl From<Mac> for MacWord {
    #[inline]
    fn from([a, b, c, d, e, f]: Mac) -> Self {
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }
}

/// One interface.
#[derive(Debug)]
pub(crate) struct InterfaceState {
    pub(crate) port: Option<PortId>,
    /// As in the tables, at hand for the packet path.
    pub(crate) mac: MacWord,
    pub(crate) counters: Counters,
    pub(crate) tracker: Tracker,
    pub(crate) fragments: Fragments,
    pub(crate) cache: FlowCache,
    /// Packets to link-local services.
    pub(crate) link_local: Bucket,
    /// Connections that may be tracked.
    pub(crate) tracked_limit: usize,
    /// As in the tables: what `shaper` was made from.
    allowances: Option<Box<Allowances>>,
    pub(crate) shaper: Option<Box<Shaper>>,
}

impl InterfaceState {
    pub(crate) fn new(config: &Config) -> Self {
        let hash = FlowHash::new(config.hash_seed);
        Self {
            port: None,
            mac: MacWord::default(),
            counters: Counters::default(),
            tracker: Tracker::new(hash),
            fragments: Fragments::default(),
            cache: FlowCache::new(hash, config.cached_flows),
            link_local: Bucket::link_local(config.link_local_packets_per_s),
            tracked_limit: config.conntrack_entries,
            allowances: None,
            shaper: None,
        }
    }

    /// Takes what the tables say about the interface.
    pub(crate) fn configure(&mut self, entry: &Interface, config: &Config) {
        self.mac = entry.mac.into();
        self.tracker.set_timeouts(entry.timeouts);
        // Other changes of an interface fill no bucket.
        if self.allowances != entry.allowances {
            self.allowances.clone_from(&entry.allowances);
            let allowances = entry.allowances.as_deref().cloned().unwrap_or_default();
            let link_local = allowances.link_local_packets_per_s;
            self.link_local = Bucket::link_local(link_local.unwrap_or(config.link_local_packets_per_s));
            let tracked = allowances.tracked_connections;
            self.tracked_limit = tracked.map_or(config.conntrack_entries, |limit| {
                usize::try_from(limit).map_or(CONNECTIONS_MAX, |limit| limit.min(CONNECTIONS_MAX))
            });
            self.shaper = Shaper::new(&allowances);
        }
    }

    /// Counts a frame against the allowances, if there are any. Returns why it is dropped, if it is.
    #[inline(never)]
    pub(crate) fn exceeds(&mut self, now: Instant, load: Load, direction: Direction) -> Option<DropReason> {
        let shaper = self.shaper.as_mut()?;
        shaper.pass(now, direction, load, &mut self.counters).err()
    }

    pub(crate) fn allowance_counters(&self) -> AllowanceCounters {
        AllowanceCounters {
            conntrack_available: self.tracked_limit.saturating_sub(self.tracker.len()) as u64,
            ..self.counters.allowances()
        }
    }

    pub(crate) fn snapshot(&self) -> CountersSnapshot {
        CountersSnapshot {
            conntrack_entries: self.tracker.len(),
            conntrack_limit: self.tracked_limit,
            conntrack_allowance_available: self.allowance_counters().conntrack_available,
            ..self.counters.snapshot()
        }
    }
}

/// The internet's port.
#[derive(Debug)]
pub(crate) struct Internet {
    pub(crate) port: Option<PortId>,
    /// The MAC of the other end, learned from its frames.
    pub(crate) mac: Mac,
    pub(crate) counters: Counters,
    pub(crate) fragments: Fragments,
    pub(crate) cache: FlowCache,
}

/// Everything that the switch remembers, by the policy's indices.
#[derive(Debug)]
pub(crate) struct States {
    pub(crate) config: Config,
    interfaces: Vec<Option<Box<InterfaceState>>>,
    pub(crate) internet: Internet,
}

impl States {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            interfaces: Vec::new(),
            internet: Internet {
                port: None,
                mac: crate::INTERNET_MAC,
                counters: Counters::default(),
                fragments: Fragments::default(),
                cache: FlowCache::new(FlowHash::new(config.hash_seed), config.cached_flows),
            },
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: InterfaceIndex) -> Option<&InterfaceState> {
        self.interfaces.get(index.raw())?.as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: InterfaceIndex) -> Option<&mut InterfaceState> {
        self.interfaces.get_mut(index.raw())?.as_deref_mut()
    }

    /// The interface's state, made if need be.
    pub(crate) fn ensure(&mut self, index: InterfaceIndex) -> &mut InterfaceState {
        let at = index.raw();
        if self.interfaces.len() <= at {
            self.interfaces.resize_with(at + 1, || None);
        }
        self.interfaces[at].get_or_insert_with(|| Box::new(InterfaceState::new(&self.config)))
    }

    /// Forgets everything about an interface but its port.
    pub(crate) fn reset(&mut self, index: InterfaceIndex) {
        let Some(slot) = self.interfaces.get_mut(index.raw()) else {
            return;
        };
        let port = slot.as_ref().and_then(|state| state.port);
        *slot = port.map(|port| {
            Box::new(InterfaceState {
                port: Some(port),
                ..InterfaceState::new(&self.config)
            })
        });
    }

    /// How many positions there are; some may be empty.
    pub(crate) fn positions(&self) -> usize {
        self.interfaces.len()
    }

    /// The state at a position.
    pub(crate) fn at_mut(&mut self, position: usize) -> Option<&mut InterfaceState> {
        self.interfaces.get_mut(position)?.as_deref_mut()
    }
}
