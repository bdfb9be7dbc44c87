//! Shortest paths, and the choice among equal ones.

use crate::random::mix;
use crate::topology::{Node, Topology};
use crate::{Datagram, HostId};

/// For each switch and destination the ports on a shortest path, and the choice among them.
///
/// A port is a direction of a link: twice the link's index, plus one for the backward direction.
#[derive(Debug)]
pub(crate) struct Routes {
    /// The ends of each port.
    ports: Vec<(Node, Node)>,
    host_count: usize,
    switch_count: usize,
    /// Of each switch, for each host: where its next hops are in `hops`.
    spans: Vec<(u32, u32)>,
    hops: Vec<u32>,
    salts: Vec<u64>,
}

impl Routes {
    /// The routes of a network in which all links are up; `salts` make each switch choose in its own way.
    pub(crate) fn new(topology: &Topology, salts: Vec<u64>) -> Self {
        let ports = topology
            .links
            .iter()
            .flat_map(|link| [(link.ends[0], link.ends[1]), (link.ends[1], link.ends[0])])
            .collect();
        let mut routes = Self {
            ports,
            host_count: topology.hosts.len(),
            switch_count: topology.switches.len(),
            spans: Vec::new(),
            hops: Vec::new(),
            salts,
        };
        routes.compute(|_| true);
        routes
    }

    /// Finds the shortest paths over the ports for which `usable` holds.
    pub(crate) fn compute(&mut self, usable: impl Fn(usize) -> bool) {
        let usable: Vec<bool> = (0..self.ports.len()).map(usable).collect();
        let mut inward: Vec<Vec<usize>> = vec![Vec::new(); self.host_count + self.switch_count];
        let mut outward: Vec<Vec<usize>> = vec![Vec::new(); self.switch_count];
        for (port, (from, to)) in self.ports.iter().enumerate().filter(|(port, _)| usable[*port]) {
            inward[self.dense(*to)].push(port);
            if let Node::Switch(switch) = from {
                outward[switch.0 as usize].push(port);
            }
        }
        self.hops.clear();
        self.spans = vec![(0, 0); self.switch_count * self.host_count];
        for host in 0..self.host_count {
            let distances = self.distances(host, &inward);
            for (switch, ports) in outward.iter().enumerate() {
                let start = self.hops.len();
                let own = distances[self.host_count + switch];
                let nearer = |port: &&usize| {
                    let next = distances[self.dense(self.ports[**port].1)];
                    own != UNREACHED && next != UNREACHED && next + 1 == own
                };
                let hops: Vec<u32> = ports.iter().filter(nearer).map(|port| narrow(*port)).collect();
                self.spans[switch * self.host_count + host] = (narrow(start), narrow(hops.len()));
                self.hops.extend(hops);
            }
        }
    }

    /// The port through which a switch sends this datagram: the same for the same addresses, ports and switch.
    pub(crate) fn next_hop(&self, switch: u32, datagram: &Datagram) -> Option<u32> {
        let hops = self.next_hops(switch, datagram.destination);
        if hops.len() < 2 {
            return hops.first().copied();
        }
        let addresses = (u64::from(datagram.source.0) << 32) | u64::from(datagram.destination.0);
        let ports = (u64::from(datagram.source_port) << 16) | u64::from(datagram.destination_port);
        let salt = self.salts.get(switch as usize).copied().unwrap_or_default();
        let hash = mix(mix(addresses ^ salt) ^ ports);
        let count = u64::try_from(hops.len()).unwrap_or(u64::MAX);
        let choice = crate::random::scale(hash, count);
        usize::try_from(choice)
            .ok()
            .and_then(|index| hops.get(index))
            .copied()
    }

    /// Where a port leads.
    pub(crate) fn port_end(&self, port: u32) -> Node {
        self.ports[port as usize].1
    }

    fn next_hops(&self, switch: u32, destination: HostId) -> &[u32] {
        if destination.index() >= self.host_count {
            return &[];
        }
        let (start, count) = self.spans[switch as usize * self.host_count + destination.index()];
        &self.hops[start as usize..(start + count) as usize]
    }

    /// Hops from each node to a host. Hosts forward nothing, so no path leads through one.
    fn distances(&self, host: usize, inward: &[Vec<usize>]) -> Vec<u32> {
        let mut distances = vec![UNREACHED; inward.len()];
        distances[host] = 0;
        let mut wave = vec![host];
        let mut distance = 0;
        while !wave.is_empty() {
            distance += 1;
            let mut next = Vec::new();
            for node in wave {
                for port in &inward[node] {
                    let from = self.ports[*port].0;
                    let dense = self.dense(from);
                    if distances[dense] != UNREACHED {
                        continue;
                    }
                    distances[dense] = distance;
                    if matches!(from, Node::Switch(_)) {
                        next.push(dense);
                    }
                }
            }
            wave = next;
        }
        distances
    }

    /// A node's index among all: hosts first.
    const fn dense(&self, node: Node) -> usize {
        match node {
            Node::Host(host) => host.index(),
            Node::Switch(switch) => self.host_count + switch.0 as usize,
        }
    }
}

const UNREACHED: u32 = u32::MAX;

fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::LinkConfig;
    use crate::topology::{leaf_spine, pair_with_paths};

    fn datagram(from: HostId, to: HostId, source_port: u16) -> Datagram {
        Datagram {
            source: from,
            destination: to,
            source_port,
            destination_port: 4791,
            ..Datagram::default()
        }
    }

    fn config() -> LinkConfig {
        LinkConfig::new(1_000_000_000, Duration::ZERO)
    }

    #[test]
    fn ports_spread_evenly_over_equal_paths_and_each_keeps_its_own() {
        let (topology, pair) = pair_with_paths(8, &config(), &config());
        let routes = Routes::new(&topology, vec![11, 12]);
        let hop = |port| {
            routes
                .next_hop(0, &datagram(pair.left, pair.right, port))
                .unwrap()
        };
        let mut counts = std::collections::BTreeMap::new();
        for port in 10_000..18_000 {
            *counts.entry(hop(port)).or_insert(0) += 1;
            assert_eq!(hop(port), hop(port));
        }
        assert_eq!(counts.len(), 8);
        assert!(
            counts.values().all(|count| (850..1_150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn two_tiers_of_switches_choose_independently() {
        let (topology, pair) = pair_with_paths(8, &config(), &config());
        let one = Routes::new(&topology, vec![1, 1]);
        let two = Routes::new(&topology, vec![2, 1]);
        let differs = (0..1_000).filter(|port| {
            let datagram = datagram(pair.left, pair.right, *port);
            one.next_hop(0, &datagram) != two.next_hop(0, &datagram)
        });
        assert!(differs.count() > 800);
    }

    #[test]
    fn a_leaf_goes_over_all_spines_to_another_and_straight_to_its_own() {
        let (topology, fabric) = leaf_spine(4, 3, 2, &config(), &config());
        let routes = Routes::new(&topology, vec![0; 7]);
        let leaf_1 = 4;
        assert_eq!(routes.next_hops(leaf_1, fabric.hosts[3][1]).len(), 3);
        let own = routes.next_hops(leaf_1, fabric.hosts[1][0]);
        assert_eq!(own, [fabric.host_links[1][0].0 * 2 + 1]);
        assert_eq!(routes.next_hops(0, fabric.hosts[2][0]).len(), 1);
    }

    #[test]
    fn a_link_that_is_known_to_be_down_is_on_no_path() {
        let (topology, fabric) = leaf_spine(2, 2, 1, &config(), &config());
        let mut routes = Routes::new(&topology, vec![0; 4]);
        let dead = fabric.uplinks[1][0].0 as usize;
        routes.compute(|port| port / 2 != dead);
        // Leaf 0 now knows that only spine 1 leads to leaf 1.
        assert_eq!(
            routes.next_hops(2, fabric.hosts[1][0]),
            [fabric.uplinks[0][1].0 * 2]
        );
        routes.compute(|_| false);
        assert_eq!(
            routes.next_hop(2, &datagram(fabric.hosts[0][0], fabric.hosts[1][0], 1)),
            None
        );
    }
}
