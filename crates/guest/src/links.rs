//! The link layer of a guest: its interfaces with their addresses, routes and neighbors.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use trinic_wire::ethernet::{self, Mac};
use trinic_wire::icmpv6::ndp;
use trinic_wire::packet::{Ip, Network, Parsed};
use trinic_wire::reply::{self, Problem, Sender};
use trinic_wire::time::Instant;
use trinic_wire::{arp, icmpv6, ipv6};

use crate::config::{ConfigError, InterfaceConfig, MAX_INTERFACES, MAX_MTU};
use crate::counters::Counters;

mod neighbors;
mod port;

use port::Port;

/// Most frames that wait on an interface to be fetched.
const MAX_OUTBOUND: usize = 1024;

/// The interfaces by device index.
#[derive(Debug, Default)]
pub(crate) struct Links {
    ports: BTreeMap<u32, Port>,
}

/// Where a packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Device index of the interface.
    pub(crate) index: u32,
    /// The neighbor that it is handed to.
    pub(crate) next: IpAddr,
    /// Largest IP packet.
    pub(crate) mtu: usize,
}

/// What a frame is to the guest.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A packet for the guest: where it is in the frame.
    Local(Ip, Range<usize>),
    /// A packet for another host.
    Foreign(Parsed),
    /// Nothing more to do: answered, learned from or dropped (and counted).
    Done,
}

impl Links {
    /// Adds or changes an interface, and announces addresses that are new.
    pub(crate) fn configure(
        &mut self,
        now: Instant,
        index: u32,
        config: InterfaceConfig,
    ) -> Result<(), ConfigError> {
        config.check()?;
        if let Some(port) = self.ports.get_mut(&index) {
            port.reconfigure(now, config);
            return Ok(());
        }
        if self.ports.len() == MAX_INTERFACES {
            return Err(ConfigError::TooManyInterfaces);
        }
        self.ports.insert(index, Port::new(now, config));
        Ok(())
    }

    pub(crate) fn remove(&mut self, index: u32) -> bool {
        self.ports.remove(&index).is_some()
    }

    pub(crate) fn config(&self, index: u32) -> Option<&InterfaceConfig> {
        self.ports.get(&index).map(|port| &port.config)
    }

    /// The least MTU of all interfaces.
    pub(crate) fn mtu(&self) -> usize {
        let mtus = self.ports.values().map(|port| port.config.mtu);
        mtus.min().unwrap_or(MAX_MTU)
    }

    /// Whether the address is the guest's, on whichever interface.
    pub(crate) fn owns(&self, address: IpAddr) -> bool {
        self.ports.values().any(|port| port.owns(address))
    }

    /// The address that the guest has when it speaks to `destination` first.
    pub(crate) fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        let hop = self.route(destination)?;
        self.ports.get(&hop.index)?.source_for(hop.next)
    }

    /// Where packets to `destination` leave: the longest prefix that an interface has, then the routers, the
    /// lowest device index first.
    pub(crate) fn route(&self, destination: IpAddr) -> Option<Hop> {
        let on_link = self
            .ports
            .iter()
            .filter_map(|(index, port)| Some((port.on_link(destination)?, *index, port)))
            // The first of the longest: `max_by_key` would take the last.
            .min_by_key(|(len, index, _)| (u8::MAX - len, *index));
        if let Some((_, index, port)) = on_link {
            return Some(port.hop(index, destination));
        }
        self.ports.iter().find_map(|(index, port)| {
            let router = port.router(destination.is_ipv6())?;
            Some(port.hop(*index, router))
        })
    }

    /// Where packets of the guest leave: through the interface that has the source address (EC2 drops them
    /// elsewhere), else as the destination says.
    pub(crate) fn route_from(&self, source: IpAddr, destination: IpAddr) -> Option<Hop> {
        let owner = self.ports.iter().find(|(_, port)| port.owns(source));
        let own = owner.and_then(|(index, port)| {
            let next = match port.on_link(destination) {
                Some(_) => destination,
                None => port.router(destination.is_ipv6())?,
            };
            Some(port.hop(*index, next))
        });
        own.or_else(|| self.route(destination))
    }

    /// Sends an IP packet to its next hop, or keeps it until the hop's MAC address is known.
    pub(crate) fn send(&mut self, now: Instant, hop: Hop, packet: &[u8], counters: &mut Counters) {
        if let Some(port) = self.ports.get_mut(&hop.index) {
            port.send(now, hop.next, packet, counters);
        }
    }

    /// Takes a frame from the network.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        index: u32,
        frame: &[u8],
        counters: &mut Counters,
    ) -> Arrival {
        let Some(port) = self.ports.get_mut(&index) else {
            counters.unknown_interface += 1;
            return Arrival::Done;
        };
        if frame.len() > port.config.mtu + ethernet::HEADER_LEN {
            counters.oversized_in += 1;
            return Arrival::Done;
        }
        let Ok(parsed) = Parsed::parse(frame, frame.len()) else {
            counters.malformed += 1;
            return Arrival::Done;
        };
        let to = parsed.ethernet.destination;
        if to != port.config.mac && !ethernet::is_multicast(to) {
            counters.other_mac += 1;
            return Arrival::Done;
        }
        match parsed.network {
            Network::Arp(request) => port.handle_arp(now, &parsed, &request, counters),
            Network::Ip(ip) => {
                let start = parsed.network_offset;
                let packet = &frame[start..start + ip.total_len];
                if port.handle_ndp(now, &parsed, &ip, packet, counters) {
                    return Arrival::Done;
                }
                let for_all = port.hears(ip.tuple.destination);
                return if for_all || self.owns(ip.tuple.destination) {
                    Arrival::Local(ip, start..start + ip.total_len)
                } else {
                    Arrival::Foreign(parsed)
                };
            }
            Network::Other => counters.other_protocol += 1,
        }
        Arrival::Done
    }

    /// Tells the sender of a frame why the guest does not forward it.
    pub(crate) fn report(
        &mut self,
        index: u32,
        frame: &[u8],
        parsed: &Parsed,
        problem: Problem,
        counters: &mut Counters,
    ) {
        let (Some(port), Some(ip)) = (self.ports.get_mut(&index), parsed.ip()) else {
            return;
        };
        let Some(address) = port.source_for(ip.tuple.source) else {
            return;
        };
        let from = Sender {
            mac: port.config.mac,
            address,
        };
        let mut out = vec![0; reply::MAX_LEN];
        if let Ok(Some(len)) = reply::icmp_error(frame, parsed, problem, from, &mut out) {
            out.truncate(len);
            port.push(out, counters);
        }
    }

    /// A frame to send, the lowest device index first.
    pub(crate) fn pop(&mut self) -> Option<(u32, Vec<u8>)> {
        self.ports
            .iter_mut()
            .find_map(|(index, port)| Some((*index, port.outbound.pop_front()?)))
    }

    /// Repeats questions to neighbors that did not answer.
    pub(crate) fn poll(&mut self, now: Instant, counters: &mut Counters) {
        for port in self.ports.values_mut() {
            port.poll(now, counters);
        }
    }

    /// When [`Self::poll`] or [`Self::pop`] has something to do next.
    pub(crate) fn poll_at(&self, now: Instant) -> Option<Instant> {
        let waiting = self.ports.values().any(|port| !port.outbound.is_empty());
        if waiting {
            return Some(now);
        }
        self.ports.values().filter_map(Port::poll_at).min()
    }
}

/// Whether the first `len` bits are the same; addresses of two families share none.
fn same_prefix(a: IpAddr, b: IpAddr, len: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.leading_zeros() >= u32::from(len.min(32))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.leading_zeros() >= u32::from(len.min(128))
        }
        _ => false,
    }
}
