//! The MAC addresses of the neighbors on one link, and the packets that wait for one.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use trinic_wire::ethernet::Mac;
use trinic_wire::time::Instant;

use crate::counters::Counters;

/// Most neighbors that are remembered; the one that was confirmed longest ago makes room.
const MAX_NEIGHBORS: usize = 256;

/// Most packets that wait for answers.
const MAX_WAITING: usize = 64;

/// How long an answer is believed without asking again.
const LIFETIME: Duration = Duration::from_secs(60);

/// How long an old answer is still used while it is asked again.
const GRACE: Duration = Duration::from_secs(5);

/// Time between questions and how many are asked. Source: [RFC 4861 §10].
const RETRY: Duration = Duration::from_secs(1);
const MAX_TRIES: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct Neighbors {
    entries: BTreeMap<IpAddr, Entry>,
    waiting: VecDeque<(IpAddr, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Known { mac: Mac, confirmed: Instant },
    Refreshing { mac: Mac, confirmed: Instant },
    Asked { again: Instant, tries: u8 },
}

/// What is known of a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Its MAC address.
    Known(Mac),
    /// Its MAC address, which is to be asked again.
    Refresh(Mac),
    /// Nothing: it is to be asked. The packet waits.
    Ask,
    /// Nothing yet. The packet waits.
    Wait,
}

impl Neighbors {
    /// The MAC address of a neighbor; without one the packet is kept.
    pub(super) fn lookup(
        &mut self,
        now: Instant,
        address: IpAddr,
        packet: &[u8],
        counters: &mut Counters,
    ) -> Lookup {
        match self.entries.get(&address).copied() {
            Some(Entry::Known { mac, confirmed }) if now <= confirmed + LIFETIME => {
                return Lookup::Known(mac);
            }
            Some(Entry::Known { mac, confirmed }) if now <= confirmed + LIFETIME + GRACE => {
                self.entries.insert(address, Entry::Refreshing { mac, confirmed });
                return Lookup::Refresh(mac);
            }
            Some(Entry::Refreshing { mac, confirmed }) if now <= confirmed + LIFETIME + GRACE => {
                return Lookup::Known(mac);
            }
            Some(Entry::Asked { .. }) => {
                self.wait(address, packet, counters);
                return Lookup::Wait;
            }
            _ => {}
        }
        self.make_room(counters);
        let again = now + RETRY;
        self.entries.insert(address, Entry::Asked { again, tries: 1 });
        self.wait(address, packet, counters);
        Lookup::Ask
    }

    /// Remembers a MAC address; returns the packets that waited for it. Without `create` only neighbors that
    /// are known or asked for are updated.
    pub(super) fn learn(&mut self, now: Instant, address: IpAddr, mac: Mac, create: bool) -> Vec<Vec<u8>> {
        if !self.entries.contains_key(&address) {
            if !create {
                return Vec::new();
            }
            self.make_room(&mut Counters::default());
        }
        let confirmed = now;
        self.entries.insert(address, Entry::Known { mac, confirmed });
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(next, _)| *next == address);
        self.waiting = waiting;
        ready.into_iter().map(|(_, packet)| packet).collect()
    }

    /// The neighbors that are to be asked again; gives up those that were asked often enough.
    pub(super) fn due(&mut self, now: Instant, counters: &mut Counters) -> Vec<IpAddr> {
        let mut due = Vec::new();
        let mut lost = Vec::new();
        for (address, entry) in &mut self.entries {
            if let Entry::Asked { again, tries } = entry
                && *again <= now
            {
                if *tries == MAX_TRIES {
                    lost.push(*address);
                } else {
                    *tries += 1;
                    *again = now + RETRY;
                    due.push(*address);
                }
            }
        }
        for address in lost {
            self.forget(address, counters);
        }
        due
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let times = self.entries.values().filter_map(|entry| match entry {
            Entry::Asked { again, .. } => Some(*again),
            _ => None,
        });
        times.min()
    }

    fn wait(&mut self, address: IpAddr, packet: &[u8], counters: &mut Counters) {
        if self.waiting.len() == MAX_WAITING {
            counters.queue_full += 1;
        } else {
            self.waiting.push_back((address, packet.to_vec()));
        }
    }

    fn make_room(&mut self, counters: &mut Counters) {
        if self.entries.len() < MAX_NEIGHBORS {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| match entry {
            Entry::Known { confirmed, .. } | Entry::Refreshing { confirmed, .. } => *confirmed,
            Entry::Asked { again, .. } => *again,
        });
        if let Some(address) = oldest.map(|(address, _)| *address) {
            self.forget(address, counters);
        }
    }

    fn forget(&mut self, address: IpAddr, counters: &mut Counters) {
        self.entries.remove(&address);
        let before = self.waiting.len();
        self.waiting.retain(|(next, _)| *next != address);
        let lost = before - self.waiting.len();
        counters.unresolved += u64::try_from(lost).unwrap_or(u64::MAX);
    }
}
