//! Which hosts and switches there are and how links join them.

use std::collections::BTreeMap;

use crate::{HostId, LinkConfig, LinkId};

/// Which switch: an index from 0 in the order in which the topology named them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwitchId(pub u32);

/// An end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A host, which has one link and forwards nothing.
    Host(HostId),
    /// A switch.
    Switch(SwitchId),
}

impl From<HostId> for Node {
    fn from(host: HostId) -> Self {
        Self::Host(host)
    }
}

impl From<SwitchId> for Node {
    fn from(switch: SwitchId) -> Self {
        Self::Switch(switch)
    }
}

/// A network on paper. Names are for traces, and for the random source of each part: a part keeps its draws
/// when others are added.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    pub(crate) hosts: Vec<String>,
    pub(crate) switches: Vec<String>,
    pub(crate) links: Vec<Link>,
    parallel: BTreeMap<(Node, Node), u32>,
}

/// A link on paper: its ends, and each direction.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) ends: [Node; 2],
    pub(crate) configs: [LinkConfig; 2],
}

impl Topology {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a host, which needs one link.
    pub fn host(&mut self, name: impl Into<String>) -> HostId {
        self.hosts.push(name.into());
        HostId(last(self.hosts.len()))
    }

    /// Adds a switch.
    pub fn switch(&mut self, name: impl Into<String>) -> SwitchId {
        self.switches.push(name.into());
        SwitchId(last(self.switches.len()))
    }

    /// Adds a link that is the same in both directions.
    pub fn link(&mut self, from: impl Into<Node>, to: impl Into<Node>, config: &LinkConfig) -> LinkId {
        self.link_with(from, to, config.clone(), config.clone())
    }

    /// Adds a link whose directions differ.
    pub fn link_with(
        &mut self,
        from: impl Into<Node>,
        to: impl Into<Node>,
        forward: LinkConfig,
        backward: LinkConfig,
    ) -> LinkId {
        let ends = [from.into(), to.into()];
        let count = self.parallel.get(&(ends[0], ends[1])).copied().unwrap_or(0);
        self.parallel.insert((ends[0], ends[1]), count + 1);
        let name = format!("{}-{}#{count}", self.name(ends[0]), self.name(ends[1]));
        self.links.push(Link {
            name,
            ends,
            configs: [forward, backward],
        });
        LinkId(last(self.links.len()))
    }

    /// The directions of a link, to change before the world starts: first forward, then backward.
    pub fn configs_mut(&mut self, link: LinkId) -> Option<&mut [LinkConfig; 2]> {
        self.links
            .get_mut(link.0 as usize)
            .map(|found| &mut found.configs)
    }

    /// How many hosts there are.
    pub const fn host_count(&self) -> usize {
        self.hosts.len()
    }

    fn name(&self, node: Node) -> &str {
        let name = match node {
            Node::Host(host) => self.hosts.get(host.index()),
            Node::Switch(switch) => self.switches.get(switch.0 as usize),
        };
        name.map_or("?", String::as_str)
    }
}

/// Two hosts, each on a switch of its own, and links between the two switches.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The first host.
    pub left: HostId,
    /// The second host.
    pub right: HostId,
    /// Its links to the switches.
    pub edges: [LinkId; 2],
    /// The parallel links, forward from left to right.
    pub paths: Vec<LinkId>,
}

/// Two hosts joined by `count` equal paths: host, switch, one of `count` parallel links, switch, host.
pub fn pair_with_paths(count: u32, edge: &LinkConfig, path: &LinkConfig) -> (Topology, Pair) {
    let mut topology = Topology::new();
    let (left, right) = (topology.host("left"), topology.host("right"));
    let (near, far) = (topology.switch("near"), topology.switch("far"));
    let edges = [topology.link(left, near, edge), topology.link(right, far, edge)];
    let paths = (0..count).map(|_| topology.link(near, far, path)).collect();
    let pair = Pair {
        left,
        right,
        edges,
        paths,
    };
    (topology, pair)
}

/// Hosts around one switch.
#[derive(Debug, Clone)]
pub struct Star {
    /// The host that the others send to in an incast.
    pub receiver: HostId,
    /// The others.
    pub senders: Vec<HostId>,
    /// The receiver's link, forward from the host to the switch: its backward direction has the queue that an
    /// incast fills.
    pub receiver_link: LinkId,
    /// The senders' links, in their order, forward from the host to the switch.
    pub sender_links: Vec<LinkId>,
}

/// `senders` hosts and a receiver around one switch.
pub fn star(senders: u32, edge: &LinkConfig) -> (Topology, Star) {
    let mut topology = Topology::new();
    let switch = topology.switch("switch");
    let receiver = topology.host("receiver");
    let receiver_link = topology.link(receiver, switch, edge);
    let senders: Vec<HostId> = (0..senders)
        .map(|index| topology.host(format!("sender-{index}")))
        .collect();
    let sender_links = senders
        .iter()
        .map(|host| topology.link(*host, switch, edge))
        .collect();
    let star = Star {
        receiver,
        senders,
        receiver_link,
        sender_links,
    };
    (topology, star)
}

/// A two-tier fabric.
#[derive(Debug, Clone)]
pub struct Fabric {
    /// The hosts of each leaf.
    pub hosts: Vec<Vec<HostId>>,
    /// The links of each leaf's hosts, forward from the host to the leaf.
    pub host_links: Vec<Vec<LinkId>>,
    /// The links of each leaf to the spines in their order, forward from leaf to spine.
    pub uplinks: Vec<Vec<LinkId>>,
}

/// `leaves` switches with hosts, each joined to all of `spines` switches.
pub fn leaf_spine(
    leaves: u32,
    spines: u32,
    hosts_per_leaf: u32,
    edge: &LinkConfig,
    uplink: &LinkConfig,
) -> (Topology, Fabric) {
    let mut topology = Topology::new();
    let spine_ids: Vec<SwitchId> = (0..spines)
        .map(|index| topology.switch(format!("spine-{index}")))
        .collect();
    let mut fabric = Fabric {
        hosts: Vec::new(),
        host_links: Vec::new(),
        uplinks: Vec::new(),
    };
    for index in 0..leaves {
        let leaf = topology.switch(format!("leaf-{index}"));
        let hosts: Vec<HostId> = (0..hosts_per_leaf)
            .map(|host| topology.host(format!("host-{index}-{host}")))
            .collect();
        let links = hosts
            .iter()
            .map(|host| topology.link(*host, leaf, edge))
            .collect();
        let uplinks = spine_ids
            .iter()
            .map(|spine| topology.link(leaf, *spine, uplink))
            .collect();
        fabric.hosts.push(hosts);
        fabric.host_links.push(links);
        fabric.uplinks.push(uplinks);
    }
    (topology, fabric)
}

/// The index of the last of `count` things, as an id has it.
fn last(count: usize) -> u32 {
    u32::try_from(count - 1).unwrap_or(u32::MAX)
}
