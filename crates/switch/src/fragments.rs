//! Later fragments of a packet have no ports; the first one tells them.
//!
//! The rules need ports, and a fragment must not pass a gate that its packet would not. So the first fragment
//! of a packet that was let through is remembered, and a later fragment without one is dropped. Fragments that
//! overtake their first one are lost by this, which their sender's transport repairs. [assumed A-08]

use std::net::IpAddr;
use std::time::Duration;

use trinic_wire::packet::{Ip, Transport};
use trinic_wire::time::Instant;

/// How long a first fragment is remembered. Source: [RFC 791 §3.2], the lower bound of its timer.
const LIFETIME: Duration = Duration::from_secs(15);

/// How many packets per port may be in fragments at the same time; the oldest is forgotten for a new one.
const MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

#[derive(Debug, Clone, Copy)]
struct First {
    key: Key,
    source_port: u16,
    destination_port: u16,
    transport: Transport,
    deadline: Instant,
}

/// The first fragments that one port sent lately.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    ring: Vec<First>,
    next: usize,
}

impl Fragments {
    /// Gives a later fragment the ports and the transport of its packet. Returns whether they are known.
    pub(crate) fn resolve(&self, now: Instant, ip: &mut Ip) -> bool {
        let Some(key) = key(ip) else { return false };
        let first = self
            .ring
            .iter()
            .find(|first| first.key == key && now < first.deadline);
        if let Some(first) = first {
            ip.tuple.source_port = first.source_port;
            ip.tuple.destination_port = first.destination_port;
            ip.transport = first.transport;
        }
        first.is_some()
    }

    /// Remembers a first fragment.
    pub(crate) fn remember(&mut self, now: Instant, ip: &Ip) {
        let Some(key) = key(ip) else { return };
        let first = First {
            key,
            source_port: ip.tuple.source_port,
            destination_port: ip.tuple.destination_port,
            transport: ip.transport,
            deadline: now + LIFETIME,
        };
        if let Some(known) = self.ring.iter_mut().find(|first| first.key == key) {
            *known = first;
        } else if self.ring.len() < MAX {
            self.ring.push(first);
        } else {
            self.ring[self.next] = first;
            self.next = (self.next + 1) % MAX;
        }
    }
}

fn key(ip: &Ip) -> Option<Key> {
    Some(Key {
        source: ip.tuple.source,
        destination: ip.tuple.destination,
        protocol: ip.tuple.protocol.0,
        identification: ip.fragment?.identification,
    })
}
