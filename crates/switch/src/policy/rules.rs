//! Security groups: allow rules, their union over all groups of an interface, and who is a member.
//!
//! Source: [AWS VPC User Guide, "Security group rules"] and [EC2 User Guide, "Amazon EC2 security group
//! connection tracking"], read 2026-11-22.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::slots::Slots;
use super::{CompiledInterface, GroupIndex, Policy, VpcIndex, addresses};
use crate::flow::protocol;
use crate::tables::{Id, Interface, Rule, RulePeer, RuleProtocol};
use crate::trace::{Direction, Miss, NearMiss};

/// A security group: its rules, and the addresses of the interfaces that carry it.
#[derive(Debug, Default)]
pub(crate) struct GroupTable {
    vpc: Option<VpcIndex>,
    inbound: Vec<CompiledRule>,
    outbound: Vec<CompiledRule>,
    /// Addresses of members with the member's VPC, since another VPC may have the same addresses.
    members: HashMap<(usize, IpAddr), u32>,
    /// Prefixes delegated to members; few, if any.
    prefixes: Vec<(VpcIndex, IpNet)>,
}

/// One allow rule with its references resolved.
#[derive(Debug)]
pub(super) struct CompiledRule {
    id: Id,
    protocol: RuleProtocol,
    from: i32,
    to: i32,
    peer: Peer,
}

#[derive(Debug, Clone, Copy)]
enum Peer {
    Cidr(IpNet),
    Group(GroupIndex),
}

/// What a gate asks the rules about a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleQuery {
    /// IP protocol.
    pub(crate) protocol: u8,
    /// The other side: the source of an inbound packet, the destination of an outbound one.
    pub(crate) peer: IpAddr,
    /// Destination port, or ICMP type.
    pub(crate) port: u16,
    /// Source port, or ICMP code.
    pub(crate) other: u16,
}

impl RuleQuery {
    /// The same question about the packets that answer this one (TCP and UDP).
    fn reversed(self) -> Self {
        Self {
            port: self.other,
            other: self.port,
            ..self
        }
    }

    fn has_ports(&self) -> bool {
        matches!(self.protocol, protocol::TCP | protocol::UDP)
    }

    fn is_icmp(&self) -> bool {
        matches!(self.protocol, protocol::ICMPV4 | protocol::ICMPV6)
    }
}

/// The rule that allows a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed<'a> {
    pub(crate) group: &'a Id,
    pub(crate) rule: &'a Id,
}

pub(super) fn compile(rules: &[Rule], groups: &mut Slots<GroupTable>) -> Vec<CompiledRule> {
    rules
        .iter()
        .map(|rule| CompiledRule {
            id: rule.id.clone(),
            protocol: rule.protocol,
            from: rule.from_port,
            to: rule.to_port,
            peer: match &rule.peer {
                RulePeer::Cidr(net) => Peer::Cidr(*net),
                RulePeer::Group(id) => Peer::Group(groups.mention(id)),
            },
        })
        .collect()
}

impl GroupTable {
    pub(super) fn set_rules(
        &mut self,
        vpc: VpcIndex,
        inbound: Vec<CompiledRule>,
        outbound: Vec<CompiledRule>,
    ) {
        self.vpc = Some(vpc);
        self.inbound = inbound;
        self.outbound = outbound;
    }

    /// Clears the rules; returns what they mentioned.
    pub(super) fn take_rules(&mut self) -> (Option<VpcIndex>, Vec<GroupIndex>) {
        let rules = self.inbound.drain(..).chain(self.outbound.drain(..));
        let mentioned = rules
            .filter_map(|rule| match rule.peer {
                Peer::Group(group) => Some(group),
                Peer::Cidr(_) => None,
            })
            .collect();
        (self.vpc.take(), mentioned)
    }

    pub(super) fn add_member(&mut self, vpc: VpcIndex, interface: &Interface) {
        for address in addresses(interface) {
            *self.members.entry((vpc.raw(), address)).or_insert(0) += 1;
        }
        for net in prefixes(interface) {
            self.prefixes.push((vpc, net));
        }
    }

    pub(super) fn remove_member(&mut self, vpc: VpcIndex, interface: &Interface) {
        for address in addresses(interface) {
            let key = (vpc.raw(), address);
            if let Some(count) = self.members.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.members.remove(&key);
                }
            }
        }
        for net in prefixes(interface) {
            if let Some(at) = self.prefixes.iter().position(|p| *p == (vpc, net)) {
                self.prefixes.swap_remove(at);
            }
        }
    }

    fn has_member(&self, vpc: VpcIndex, address: IpAddr) -> bool {
        self.members.contains_key(&(vpc.raw(), address))
            || self
                .prefixes
                .iter()
                .any(|(of, net)| *of == vpc && net.contains(&address))
    }

    fn rules(&self, direction: Direction) -> &[CompiledRule] {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }
}

fn prefixes(interface: &Interface) -> impl Iterator<Item = IpNet> {
    let v4 = interface.ipv4_prefixes.iter().map(|n| IpNet::V4(*n));
    v4.chain(interface.ipv6_prefixes.iter().map(|n| IpNet::V6(*n)))
}

impl CompiledRule {
    fn matches_protocol(&self, query: &RuleQuery) -> bool {
        match self.protocol {
            RuleProtocol::Any => true,
            RuleProtocol::Number(number) => number == query.protocol,
        }
    }

    /// Ports count for TCP and UDP, type and code for ICMP, nothing for other protocols and for rules of
    /// every protocol.
    fn matches_ports(&self, query: &RuleQuery) -> bool {
        if self.protocol == RuleProtocol::Any {
            return true;
        }
        if query.has_ports() {
            return self.from == -1
                || (self.from <= i32::from(query.port) && i32::from(query.port) <= self.to);
        }
        if query.is_icmp() {
            return (self.from == -1 || self.from == i32::from(query.port))
                && (self.to == -1 || self.to == i32::from(query.other));
        }
        true
    }

    /// Whether the rule is for every address of this family.
    fn is_for_everyone(&self, ipv4: bool) -> bool {
        matches!(self.peer, Peer::Cidr(net) if net.prefix_len() == 0 && net.addr().is_ipv4() == ipv4)
    }

    fn has_all_ports(&self) -> bool {
        self.protocol == RuleProtocol::Any
            || self.from == -1
            || (self.from == 0 && self.to == i32::from(u16::MAX))
    }
}

/// What the gates ask.
impl Policy {
    /// The first rule that allows a packet. The order of groups and rules has no meaning but for this answer,
    /// since there are allow rules only.
    pub(crate) fn allowed_by<'a>(
        &'a self,
        interface: &'a CompiledInterface,
        direction: Direction,
        query: &RuleQuery,
    ) -> Option<Allowed<'a>> {
        self.rules(interface, direction)
            .find(|(_, rule)| {
                rule.matches_protocol(query)
                    && rule.matches_ports(query)
                    && self.matches_peer(rule, interface.vpc, query.peer)
            })
            .map(|(group, rule)| Allowed {
                group,
                rule: &rule.id,
            })
    }

    /// Whether a TCP or UDP flow is untracked: a rule lets it through from or to everyone in the direction
    /// that it was opened in, and the other direction lets everything through to or from everyone.
    ///
    /// Who opened the flow does not show in one packet. So the question is put for both: the answer is the
    /// same for the packets of both directions, and needs no memory. [assumed A-07]
    pub(crate) fn is_untracked(
        &self,
        interface: &CompiledInterface,
        direction: Direction,
        query: &RuleQuery,
    ) -> bool {
        let back = direction.opposite();
        query.has_ports()
            && ((self.is_open(interface, direction, query)
                && self.is_open_to_all_ports(interface, back, query))
                || (self.is_open_to_all_ports(interface, direction, query)
                    && self.is_open(interface, back, &query.reversed())))
    }

    fn is_open(&self, interface: &CompiledInterface, direction: Direction, query: &RuleQuery) -> bool {
        self.rules(interface, direction).any(|(_, rule)| {
            rule.is_for_everyone(query.peer.is_ipv4())
                && rule.matches_protocol(query)
                && rule.matches_ports(query)
        })
    }

    fn is_open_to_all_ports(
        &self,
        interface: &CompiledInterface,
        direction: Direction,
        query: &RuleQuery,
    ) -> bool {
        self.rules(interface, direction).any(|(_, rule)| {
            rule.is_for_everyone(query.peer.is_ipv4()) && rule.matches_protocol(query) && rule.has_all_ports()
        })
    }

    fn rules<'a>(
        &'a self,
        interface: &'a CompiledInterface,
        direction: Direction,
    ) -> impl Iterator<Item = (&'a Id, &'a CompiledRule)> {
        interface.groups.iter().flat_map(move |index| {
            let id = self.groups.id(*index);
            let rules = self
                .groups
                .get(*index)
                .map_or(&[][..], |group| group.rules(direction));
            rules.iter().map(move |rule| (id, rule))
        })
    }

    fn matches_peer(&self, rule: &CompiledRule, vpc: VpcIndex, peer: IpAddr) -> bool {
        match rule.peer {
            Peer::Cidr(net) => net.contains(&peer),
            Peer::Group(group) => self
                .groups
                .get(group)
                .is_some_and(|group| group.has_member(vpc, peer)),
        }
    }

    /// For people: how many rules were asked, and which came closest to allowing the packet.
    pub(crate) fn nearest_miss(
        &self,
        interface: &CompiledInterface,
        direction: Direction,
        query: &RuleQuery,
    ) -> (usize, Option<NearMiss>) {
        let mut considered = 0;
        let mut nearest: Option<(u8, NearMiss)> = None;
        for (group, rule) in self.rules(interface, direction) {
            considered += 1;
            let Some((distance, miss)) = self.miss(rule, interface.vpc, query) else {
                continue;
            };
            if nearest.as_ref().is_none_or(|(best, _)| distance < *best) {
                let near = NearMiss {
                    group: group.clone(),
                    rule: rule.id.clone(),
                    miss,
                };
                nearest = Some((distance, near));
            }
        }
        (considered, nearest.map(|(_, near)| near))
    }

    /// What is wrong with a rule for this packet if one thing only is, and how far off that is: a wrong port
    /// is nearer than a wrong address, which is nearer than a wrong protocol.
    fn miss(&self, rule: &CompiledRule, vpc: VpcIndex, query: &RuleQuery) -> Option<(u8, Miss)> {
        let peer = self.matches_peer(rule, vpc, query.peer);
        match (rule.matches_protocol(query), rule.matches_ports(query), peer) {
            (true, false, true) if query.is_icmp() => Some((
                0,
                Miss::Icmp {
                    kind: query.port,
                    code: query.other,
                    wanted_kind: rule.from,
                    wanted_code: rule.to,
                },
            )),
            (true, false, true) => Some((
                0,
                Miss::Ports {
                    got: query.port,
                    from: rule.from,
                    to: rule.to,
                },
            )),
            (true, true, false) => Some((
                1,
                Miss::Peer {
                    got: query.peer,
                    wanted: match rule.peer {
                        Peer::Cidr(net) => net.to_string(),
                        Peer::Group(group) => self.groups.id(group).to_string(),
                    },
                },
            )),
            (false, _, true) => match rule.protocol {
                RuleProtocol::Number(wanted) => Some((
                    2,
                    Miss::Protocol {
                        got: query.protocol,
                        wanted,
                    },
                )),
                RuleProtocol::Any => None,
            },
            _ => None,
        }
    }
}
