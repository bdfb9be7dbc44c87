//! The tables: what the control plane tells a card about its VPCs, in AWS words.
//!
//! `vpc` compiles its model to these entries, the table protocol carries them (a snapshot, then
//! deltas), and [`crate::Policy`] indexes them for the pipeline. They are plain data: every key is the
//! AWS id, so that a trace line, a counter label and a test can name what decided.
//!
//! Addresses are host-order `std::net` types; MACs are six bytes as on the wire.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// An AWS resource id (`vpc-0a…`, `eni-0b…`), cheap to clone.
pub type Id = Arc<str>;

/// A MAC address as on the wire.
pub type Mac = [u8; 6];

/// The version of a table set. A card acknowledges the last revision that it applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// A VPC: an address space of its own. Two VPCs never meet, even with the same CIDR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`; unique across accounts and regions.
    pub id: Id,
    /// IPv4 CIDRs, the primary one first.
    pub ipv4: Vec<Ipv4Net>,
    /// IPv6 CIDRs.
    pub ipv6: Vec<Ipv6Net>,
    /// Whether the resolver at VPC base + 2 and at the link-local addresses answers.
    pub dns_support: bool,
}

/// A subnet: a slice of one VPC's space with one route table and one network ACL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: Id,
    /// The VPC it is in.
    pub vpc_id: Id,
    /// IPv4 CIDR; `None` for an IPv6-only subnet. Base + 1 is the router.
    pub ipv4: Option<Ipv4Net>,
    /// IPv6 CIDR (/64).
    pub ipv6: Option<Ipv6Net>,
    /// The effective route table: the explicit association or the VPC's main table.
    pub route_table_id: Id,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Inside the VPC: to the interface that owns the destination address.
    Local,
    /// An internet gateway (`igw-…`): 1:1 NAT to the interface's public address.
    InternetGateway(Id),
    /// An interface (`eni-…`), for example a NAT instance or a router.
    Interface(Id),
    /// The target is gone or detached.
    Blackhole,
}

/// One route: longest prefix wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination prefix.
    pub destination: IpNet,
    /// Where packets to it go.
    pub target: Target,
}

/// A route table (`rtb-…`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// `rtb-…`.
    pub id: Id,
    /// The VPC it is in.
    pub vpc_id: Id,
    /// Its routes, the `local` ones included.
    pub routes: Vec<Route>,
}

/// What a rule's protocol matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleProtocol {
    /// Every protocol (`-1`).
    Any,
    /// One IP protocol number (6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6, …).
    Number(u8),
}

/// Who a rule lets in (inbound) or out to (outbound).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RulePeer {
    /// A prefix.
    Cidr(IpNet),
    /// The private addresses of all interfaces that carry this security group.
    Group(Id),
}

/// One allow rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `sgr-…`.
    pub id: Id,
    /// Protocol.
    pub protocol: RuleProtocol,
    /// TCP/UDP: the first destination port; ICMP: the type. -1 = any.
    pub from_port: i32,
    /// TCP/UDP: the last destination port, inclusive; ICMP: the code. -1 = any.
    pub to_port: i32,
    /// The other side.
    pub peer: RulePeer,
}

/// A security group (`sg-…`): allow rules only, stateful.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub id: Id,
    /// The VPC it is in.
    pub vpc_id: Id,
    /// Rules for packets towards the interface.
    pub inbound: Vec<Rule>,
    /// Rules for packets from the interface.
    pub outbound: Vec<Rule>,
}

/// A 1:1 mapping of one private address of an interface to a public one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicAddress {
    /// The private address of the interface.
    pub private: Ipv4Addr,
    /// Its Elastic IP or auto-assigned public address.
    pub public: Ipv4Addr,
}

/// Idle times of tracked flows, in seconds (ConnectionTrackingSpecification).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackingTimeouts {
    /// Established TCP; EC2: 60 to 432,000, default 432,000 (350 on Nitro v6).
    pub tcp_established_s: u32,
    /// UDP with packets in one direction only; 30 to 60, default 30.
    pub udp_s: u32,
    /// UDP with packets in both directions; 60 to 180, default 180.
    pub udp_stream_s: u32,
}

impl Default for TrackingTimeouts {
    fn default() -> Self {
        Self {
            tcp_established_s: 432_000,
            udp_s: 30,
            udp_stream_s: 180,
        }
    }
}

/// Bandwidth of one direction, Ethernet headers included.
///
/// An interface may use `baseline_bps` all the time, and `peak_bps` while it has credits: what it leaves of the
/// baseline comes back as credits, up to five minutes at the peak, which it starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Bits a second that are always there. Source: `BaselineBandwidthInGbps` of DescribeInstanceTypes.
    pub baseline_bps: u64,
    /// Bits a second at most. Source: `PeakBandwidthInGbps` of DescribeInstanceTypes.
    pub peak_bps: u64,
}

impl Bandwidth {
    /// The same at all times.
    pub const fn steady(bps: u64) -> Self {
        Self {
            baseline_bps: bps,
            peak_bps: bps,
        }
    }
}

/// What an interface may do, from its instance's type. `None` = as much as there is, or what the card's own
/// configuration says for connections and link-local packets.
///
/// Source: [EC2 User Guide, "Monitor network performance for ENA settings on your EC2 instance"]: the kinds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Allowances {
    /// To the instance.
    pub bandwidth_in: Option<Bandwidth>,
    /// From the instance.
    pub bandwidth_out: Option<Bandwidth>,
    /// Packets a second of both directions together; a super-frame counts as its segments.
    pub packets_per_s: Option<u64>,
    /// Tracked connections at the same time.
    pub tracked_connections: Option<u32>,
    /// Packets a second to link-local services.
    pub link_local_packets_per_s: Option<u32>,
}

/// An elastic network interface as the pipeline sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// `eni-…`.
    pub id: Id,
    /// The VPC it is in.
    pub vpc_id: Id,
    /// The subnet it is in.
    pub subnet_id: Id,
    /// Its MAC; follows the interface when it moves.
    pub mac: Mac,
    /// Private IPv4 addresses, the primary one first.
    pub ipv4: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// IPv4 prefixes delegated to it (/28).
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// IPv6 prefixes delegated to it (/80).
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Security groups, union of their rules.
    pub groups: Vec<Id>,
    /// `false`: the instance may send and receive packets that are not its own (router, NAT).
    pub source_dest_check: bool,
    /// Public addresses, one per private address at most.
    pub public: Vec<PublicAddress>,
    /// Idle times of its tracked flows.
    pub timeouts: TrackingTimeouts,
    /// The instance it is attached to; `None` = nobody can send or receive through it.
    pub instance_id: Option<Id>,
    /// What it may do; `None` = no limits but the card's own.
    #[serde(default)]
    pub allowances: Option<Box<Allowances>>,
}

/// One entry of the tables, keyed by kind and id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A VPC.
    Vpc(Vpc),
    /// A subnet.
    Subnet(Subnet),
    /// A route table.
    RouteTable(RouteTable),
    /// A security group.
    SecurityGroup(SecurityGroup),
    /// An interface.
    Interface(Interface),
}

impl Entry {
    /// The AWS id of the entry. Ids are unique across kinds, since each kind has its prefix.
    pub fn id(&self) -> &Id {
        match self {
            Self::Vpc(e) => &e.id,
            Self::Subnet(e) => &e.id,
            Self::RouteTable(e) => &e.id,
            Self::SecurityGroup(e) => &e.id,
            Self::Interface(e) => &e.id,
        }
    }
}

/// A complete set of tables, or the part of one that a delta carries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tables {
    /// The revision that these tables are.
    pub revision: Revision,
    /// All entries by id.
    pub entries: BTreeMap<Id, Entry>,
}

/// What changed between two revisions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delta {
    /// The revision that it applies to.
    pub from: Revision,
    /// The revision that results.
    pub to: Revision,
    /// Entries that are new or changed, whole.
    pub upsert: Vec<Entry>,
    /// Ids of entries that are gone.
    pub remove: Vec<Id>,
}

/// Why a delta was refused; the sender answers with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Delta from revision {from:?} does not apply to tables at revision {at:?}")]
pub struct DeltaMismatch {
    /// The revision that the delta starts from.
    pub from: Revision,
    /// The revision of the tables.
    pub at: Revision,
}

impl Tables {
    /// Applies a delta; refuses one that starts from another revision, and changes nothing then.
    pub fn apply(&mut self, delta: Delta) -> Result<(), DeltaMismatch> {
        if delta.from != self.revision {
            return Err(DeltaMismatch {
                from: delta.from,
                at: self.revision,
            });
        }
        for id in &delta.remove {
            self.entries.remove(id);
        }
        for entry in delta.upsert {
            self.entries.insert(entry.id().clone(), entry);
        }
        self.revision = delta.to;
        Ok(())
    }

    /// The delta that turns `self` into `next`.
    pub fn delta_to(&self, next: &Self) -> Delta {
        let upsert = next
            .entries
            .iter()
            .filter(|(id, entry)| self.entries.get(*id) != Some(*entry))
            .map(|(_, entry)| entry.clone())
            .collect();
        let remove = self
            .entries
            .keys()
            .filter(|id| !next.entries.contains_key(*id))
            .cloned()
            .collect();
        Delta {
            from: self.revision,
            to: next.revision,
            upsert,
            remove,
        }
    }

    /// The interface with this id.
    pub fn interface(&self, id: &str) -> Option<&Interface> {
        match self.entries.get(id)? {
            Entry::Interface(interface) => Some(interface),
            _ => None,
        }
    }
}

/// The first address of the subnet's router (base + 1), as DHCP announces it.
pub fn router_of(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).wrapping_add(1))
}

/// Whether `address` is one of the interface's own: listed or inside a delegated prefix.
pub fn owns(interface: &Interface, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            interface.ipv4.contains(&a) || interface.ipv4_prefixes.iter().any(|p| p.contains(&a))
        }
        IpAddr::V6(a) => {
            interface.ipv6.contains(&a) || interface.ipv6_prefixes.iter().any(|p| p.contains(&a))
        }
    }
}
