//! The tables as the pipeline walks them: indices, address maps, prefix tries.
//!
//! [`Policy::apply`] touches only what a delta mentions, so that a VPC of a thousand interfaces takes a
//! change of one in microseconds. Every change makes a new generation; whatever was concluded from an older
//! one (the flow cache) is stale then.
//!
//! Addresses are looked up per VPC, so that two VPCs with the same CIDR never meet.

mod rules;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

pub(crate) use rules::{GroupTable, RuleQuery};
pub(crate) use slots::Index;
use slots::Slots;

use crate::tables::{
    Delta, DeltaMismatch, Entry, Id, Interface, Mac, Revision, Route, RouteTable, SecurityGroup, Subnet,
    Tables, Target, Vpc,
};

/// Index of a VPC.
pub(crate) type VpcIndex = Index<VpcTable>;
/// Index of a subnet.
pub(crate) type SubnetIndex = Index<SubnetTable>;
/// Index of a route table.
pub(crate) type RouteTableIndex = Index<RoutesTable>;
/// Index of a security group.
pub(crate) type GroupIndex = Index<GroupTable>;
/// Index of an interface.
pub(crate) type InterfaceIndex = Index<InterfaceTable>;

/// A VPC and who is in it.
#[derive(Debug, Default)]
pub(crate) struct VpcTable {
    pub(crate) ipv4: Vec<Ipv4Net>,
    pub(crate) ipv6: Vec<Ipv6Net>,
    pub(crate) dns_support: bool,
    /// Route tables that lead to an internet gateway: none = no gateway is attached, and nobody inside can
    /// be reached from the internet.
    internet_route_tables: u32,
    addresses: HashMap<IpAddr, InterfaceIndex>,
    prefixes4: PrefixMap<Ipv4Net, InterfaceIndex>,
    prefixes6: PrefixMap<Ipv6Net, InterfaceIndex>,
    macs: HashMap<Mac, InterfaceIndex>,
}

impl VpcTable {
    /// The interface that owns an address: listed, or inside a delegated prefix.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<InterfaceIndex> {
        if let Some(index) = self.addresses.get(&address) {
            return Some(*index);
        }
        match address {
            IpAddr::V4(a) => lpm4(&self.prefixes4, a).map(|(_, index)| *index),
            IpAddr::V6(a) => lpm6(&self.prefixes6, a).map(|(_, index)| *index),
        }
    }

    /// The interface with this MAC.
    pub(crate) fn by_mac(&self, mac: &Mac) -> Option<InterfaceIndex> {
        self.macs.get(mac).copied()
    }

    /// Whether the address is in one of the VPC's CIDRs.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.ipv4.iter().any(|net| net.contains(&a)),
            IpAddr::V6(a) => self.ipv6.iter().any(|net| net.contains(&a)),
        }
    }

    /// Whether an internet gateway is attached, as far as the route tables show.
    pub(crate) fn has_internet(&self) -> bool {
        self.internet_route_tables != 0
    }
}

/// A subnet.
#[derive(Debug, Default)]
pub(crate) struct SubnetTable {
    pub(crate) ipv4: Option<Ipv4Net>,
    pub(crate) ipv6: Option<Ipv6Net>,
    vpc: Option<VpcIndex>,
    route_table: Option<RouteTableIndex>,
}

impl SubnetTable {
    /// Whether the address is in one of the subnet's CIDRs.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.ipv4.is_some_and(|net| net.contains(&a)),
            IpAddr::V6(a) => self.ipv6.is_some_and(|net| net.contains(&a)),
        }
    }

    /// Whether the address is the router's: base + 1.
    pub(crate) fn is_router(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.ipv4.is_some_and(|net| crate::tables::router_of(net) == a),
            IpAddr::V6(a) => self.ipv6.is_some_and(|net| base_plus6(net, 1) == a),
        }
    }

    /// Whether the address is base + 2, which EC2 reserves for DNS.
    pub(crate) fn is_dns(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(a) if self.ipv4.is_some_and(|net| base_plus4(net, 2) == a))
    }
}

/// `base + n` of an IPv4 network.
pub(crate) fn base_plus4(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()).wrapping_add(n))
}

/// `base + n` of an IPv6 network.
pub(crate) fn base_plus6(net: Ipv6Net, n: u128) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(net.network()).wrapping_add(n))
}

/// Where a compiled route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextHop {
    Local,
    InternetGateway,
    Interface(InterfaceIndex),
    Blackhole,
}

/// A route table.
#[derive(Debug, Default)]
pub(crate) struct RoutesTable {
    vpc: Option<VpcIndex>,
    ipv4: PrefixMap<Ipv4Net, NextHop>,
    ipv6: PrefixMap<Ipv6Net, NextHop>,
    has_internet: bool,
}

impl RoutesTable {
    /// The route of the longest prefix that contains the address.
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<(IpNet, NextHop)> {
        match address {
            IpAddr::V4(a) => lpm4(&self.ipv4, a).map(|(net, hop)| (net.into(), *hop)),
            IpAddr::V6(a) => lpm6(&self.ipv6, a).map(|(net, hop)| (net.into(), *hop)),
        }
    }

    fn next_hops(&self) -> impl Iterator<Item = NextHop> {
        self.ipv4.values().chain(self.ipv6.values()).copied()
    }
}

fn lpm4<T>(map: &PrefixMap<Ipv4Net, T>, address: Ipv4Addr) -> Option<(Ipv4Net, &T)> {
    map.get_lpm(&Ipv4Net::from(address))
}

fn lpm6<T>(map: &PrefixMap<Ipv6Net, T>, address: Ipv6Addr) -> Option<(Ipv6Net, &T)> {
    map.get_lpm(&Ipv6Net::from(address))
}

/// An interface with what it refers to resolved to indices.
#[derive(Debug, Default)]
pub(crate) struct InterfaceTable(Option<CompiledInterface>);

/// See [`InterfaceTable`].
#[derive(Debug)]
pub(crate) struct CompiledInterface {
    pub(crate) vpc: VpcIndex,
    pub(crate) subnet: SubnetIndex,
    pub(crate) groups: Vec<GroupIndex>,
    pub(crate) entry: Interface,
}

/// Compiled tables; see the module.
#[derive(Debug, Default)]
pub struct Policy {
    tables: Tables,
    generation: u64,
    vpcs: Slots<VpcTable>,
    subnets: Slots<SubnetTable>,
    route_tables: Slots<RoutesTable>,
    groups: Slots<GroupTable>,
    interfaces: Slots<InterfaceTable>,
    public4: HashMap<Ipv4Addr, (InterfaceIndex, Ipv4Addr)>,
    public6: HashMap<Ipv6Addr, InterfaceIndex>,
    public_prefixes6: PrefixMap<Ipv6Net, InterfaceIndex>,
}

/// The interfaces that a change added or touched, and those that it removed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub(crate) upserted: Vec<InterfaceIndex>,
    pub(crate) removed: Vec<InterfaceIndex>,
}

impl Policy {
    /// The policy of these tables.
    pub fn compile(tables: Tables) -> Self {
        let mut policy = Self::default();
        policy.replace(tables);
        policy
    }

    /// The tables that the policy was compiled from.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The revision of the tables.
    pub fn revision(&self) -> Revision {
        self.tables.revision
    }

    /// Counts the changes. What was concluded under one generation need not hold under another.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes what was concluded stale for a reason outside the tables (a port came or went).
    pub(crate) fn next_generation(&mut self) {
        self.generation += 1;
    }

    /// Takes whole tables, whatever their revision. Entries that are equal keep their slots.
    pub(crate) fn replace(&mut self, tables: Tables) -> Changed {
        let delta = self.tables.delta_to(&tables);
        let changed = self.apply_entries(&delta);
        self.tables = tables;
        changed
    }

    /// Takes a delta; refuses one that starts from another revision, and changes nothing then.
    pub(crate) fn apply(&mut self, delta: Delta) -> Result<Changed, DeltaMismatch> {
        if delta.from != self.tables.revision {
            return Err(DeltaMismatch {
                from: delta.from,
                at: self.tables.revision,
            });
        }
        let changed = self.apply_entries(&delta);
        self.tables.apply(delta)?;
        Ok(changed)
    }

    /// First takes back what every mentioned entry contributed, then adds what the new ones do, so that an
    /// address may move between two interfaces of one delta in any order.
    fn apply_entries(&mut self, delta: &Delta) -> Changed {
        let mut changed = Changed::default();
        self.generation += 1;
        for id in &delta.remove {
            if let Some(index) = self.withdraw(id) {
                changed.removed.push(index);
            }
        }
        for entry in &delta.upsert {
            // A slot that is mentioned nowhere else would be freed and made again, and the interface would
            // lose its connections; the mention holds it.
            let held = match entry {
                Entry::Interface(e) => Some(self.interfaces.mention(&e.id)),
                _ => None,
            };
            self.withdraw(entry.id());
            changed.upserted.extend(held);
        }
        for entry in &delta.upsert {
            self.put(entry);
        }
        for index in &changed.upserted {
            self.interfaces.forget(*index);
        }
        changed
    }

    fn put(&mut self, entry: &Entry) {
        match entry {
            Entry::Vpc(e) => self.put_vpc(e),
            Entry::Subnet(e) => self.put_subnet(e),
            Entry::RouteTable(e) => self.put_route_table(e),
            Entry::SecurityGroup(e) => self.put_group(e),
            Entry::Interface(e) => self.put_interface(e),
        }
    }

    /// Takes an entry out; returns its index if it is an interface.
    fn withdraw(&mut self, id: &Id) -> Option<InterfaceIndex> {
        if let Some(index) = self.interfaces.find(id) {
            return self.withdraw_interface(index).then_some(index);
        }
        if let Some(index) = self.vpcs.find(id) {
            let vpc = self.vpcs.value_mut(index);
            vpc.ipv4.clear();
            vpc.ipv6.clear();
            vpc.dns_support = false;
            self.vpcs.remove(index);
        } else if let Some(index) = self.subnets.find(id) {
            self.withdraw_subnet(index);
        } else if let Some(index) = self.route_tables.find(id) {
            self.withdraw_route_table(index);
        } else if let Some(index) = self.groups.find(id) {
            self.withdraw_group(index);
        }
        None
    }

    fn put_vpc(&mut self, entry: &Vpc) {
        let (_, vpc) = self.vpcs.put(&entry.id);
        vpc.ipv4.clone_from(&entry.ipv4);
        vpc.ipv6.clone_from(&entry.ipv6);
        vpc.dns_support = entry.dns_support;
    }

    fn put_subnet(&mut self, entry: &Subnet) {
        let vpc = self.vpcs.mention(&entry.vpc_id);
        let route_table = self.route_tables.mention(&entry.route_table_id);
        let (_, subnet) = self.subnets.put(&entry.id);
        *subnet = SubnetTable {
            ipv4: entry.ipv4,
            ipv6: entry.ipv6,
            vpc: Some(vpc),
            route_table: Some(route_table),
        };
    }

    fn withdraw_subnet(&mut self, index: SubnetIndex) {
        let subnet = std::mem::take(self.subnets.value_mut(index));
        if let Some(vpc) = subnet.vpc {
            self.vpcs.forget(vpc);
        }
        if let Some(table) = subnet.route_table {
            self.route_tables.forget(table);
        }
        self.subnets.remove(index);
    }

    fn put_route_table(&mut self, entry: &RouteTable) {
        let vpc = self.vpcs.mention(&entry.vpc_id);
        let mut table = RoutesTable {
            vpc: Some(vpc),
            ..RoutesTable::default()
        };
        for route in &entry.routes {
            self.put_route(&mut table, route);
        }
        let has_internet = table.next_hops().any(|hop| hop == NextHop::InternetGateway);
        table.has_internet = has_internet;
        if table.has_internet {
            self.vpcs.value_mut(vpc).internet_route_tables += 1;
        }
        *self.route_tables.put(&entry.id).1 = table;
    }

    fn put_route(&mut self, table: &mut RoutesTable, route: &Route) {
        let hop = match &route.target {
            Target::Local => NextHop::Local,
            Target::InternetGateway(_) => NextHop::InternetGateway,
            Target::Interface(id) => NextHop::Interface(self.interfaces.mention(id)),
            Target::Blackhole => NextHop::Blackhole,
        };
        // `local` wins over another route of the same prefix, wherever it stands in the list.
        let unused = match route.destination {
            IpNet::V4(net) => insert_route(&mut table.ipv4, net.trunc(), hop),
            IpNet::V6(net) => insert_route(&mut table.ipv6, net.trunc(), hop),
        };
        if let Some(NextHop::Interface(index)) = unused {
            self.interfaces.forget(index);
        }
    }

    fn withdraw_route_table(&mut self, index: RouteTableIndex) {
        let table = std::mem::take(self.route_tables.value_mut(index));
        for hop in table.next_hops() {
            if let NextHop::Interface(interface) = hop {
                self.interfaces.forget(interface);
            }
        }
        if let Some(vpc) = table.vpc {
            if table.has_internet {
                self.vpcs.value_mut(vpc).internet_route_tables -= 1;
            }
            self.vpcs.forget(vpc);
        }
        self.route_tables.remove(index);
    }

    fn put_group(&mut self, entry: &SecurityGroup) {
        let vpc = self.vpcs.mention(&entry.vpc_id);
        let inbound = rules::compile(&entry.inbound, &mut self.groups);
        let outbound = rules::compile(&entry.outbound, &mut self.groups);
        let (_, group) = self.groups.put(&entry.id);
        group.set_rules(vpc, inbound, outbound);
    }

    fn withdraw_group(&mut self, index: GroupIndex) {
        let (vpc, mentioned) = self.groups.value_mut(index).take_rules();
        for group in mentioned {
            self.groups.forget(group);
        }
        if let Some(vpc) = vpc {
            self.vpcs.forget(vpc);
        }
        self.groups.remove(index);
    }

    fn put_interface(&mut self, entry: &Interface) {
        let vpc = self.vpcs.mention(&entry.vpc_id);
        let subnet = self.subnets.mention(&entry.subnet_id);
        let groups: Vec<_> = entry.groups.iter().map(|g| self.groups.mention(g)).collect();
        let (index, table) = self.interfaces.put(&entry.id);
        for group in &groups {
            self.groups.value_mut(*group).add_member(vpc, entry);
        }
        let place = self.vpcs.value_mut(vpc);
        for address in addresses(entry) {
            place.addresses.insert(address, index);
        }
        for prefix in &entry.ipv4_prefixes {
            place.prefixes4.insert(prefix.trunc(), index);
        }
        for prefix in &entry.ipv6_prefixes {
            place.prefixes6.insert(prefix.trunc(), index);
            self.public_prefixes6.insert(prefix.trunc(), index);
        }
        place.macs.insert(entry.mac, index);
        for address in &entry.ipv6 {
            self.public6.insert(*address, index);
        }
        for mapping in &entry.public {
            self.public4.insert(mapping.public, (index, mapping.private));
        }
        table.0 = Some(CompiledInterface {
            vpc,
            subnet,
            groups,
            entry: entry.clone(),
        });
    }

    /// Returns whether the interface was there.
    fn withdraw_interface(&mut self, index: InterfaceIndex) -> bool {
        let Some(old) = self.interfaces.value_mut(index).0.take() else {
            return false;
        };
        let place = self.vpcs.value_mut(old.vpc);
        for address in addresses(&old.entry) {
            remove_if(&mut place.addresses, &address, |i| *i == index);
        }
        for prefix in &old.entry.ipv4_prefixes {
            place.prefixes4.remove(&prefix.trunc());
        }
        for prefix in &old.entry.ipv6_prefixes {
            place.prefixes6.remove(&prefix.trunc());
            self.public_prefixes6.remove(&prefix.trunc());
        }
        remove_if(&mut place.macs, &old.entry.mac, |i| *i == index);
        for address in &old.entry.ipv6 {
            remove_if(&mut self.public6, address, |i| *i == index);
        }
        for mapping in &old.entry.public {
            remove_if(&mut self.public4, &mapping.public, |(i, _)| *i == index);
        }
        for group in &old.groups {
            self.groups.value_mut(*group).remove_member(old.vpc, &old.entry);
            self.groups.forget(*group);
        }
        self.subnets.forget(old.subnet);
        self.vpcs.forget(old.vpc);
        self.interfaces.remove(index);
        true
    }
}

/// What the pipeline asks.
impl Policy {
    pub(crate) fn interface(&self, index: InterfaceIndex) -> Option<&CompiledInterface> {
        self.interfaces.get(index)?.0.as_ref()
    }

    pub(crate) fn interface_id(&self, index: InterfaceIndex) -> &Id {
        self.interfaces.id(index)
    }

    /// Holds a slot for an interface, whether the tables have it yet or not.
    pub(crate) fn mention_interface(&mut self, id: &Id) -> InterfaceIndex {
        self.interfaces.mention(id)
    }

    /// Lets go of a slot that [`Self::mention_interface`] held.
    pub(crate) fn forget_interface(&mut self, index: InterfaceIndex) {
        self.interfaces.forget(index);
    }

    pub(crate) fn find_interface(&self, id: &str) -> Option<InterfaceIndex> {
        self.interfaces.find(id)
    }

    pub(crate) fn vpc(&self, index: VpcIndex) -> Option<&VpcTable> {
        self.vpcs.get(index)
    }

    pub(crate) fn subnet(&self, index: SubnetIndex) -> Option<&SubnetTable> {
        self.subnets.get(index)
    }

    /// The route table of a subnet with its id.
    pub(crate) fn routes_of(&self, subnet: SubnetIndex) -> Option<(&Id, &RoutesTable)> {
        let table = self.subnets.get(subnet)?.route_table?;
        Some((self.route_tables.id(table), self.route_tables.get(table)?))
    }

    /// The interface behind a public IPv4 address, and the private address that it stands for.
    pub(crate) fn public4(&self, address: Ipv4Addr) -> Option<(InterfaceIndex, Ipv4Addr)> {
        let (index, private) = *self.public4.get(&address)?;
        self.reachable(index).then_some((index, private))
    }

    /// The interface that has an IPv6 address which the internet can reach.
    pub(crate) fn public6(&self, address: Ipv6Addr) -> Option<InterfaceIndex> {
        let index = match self.public6.get(&address) {
            Some(index) => *index,
            None => *lpm6(&self.public_prefixes6, address)?.1,
        };
        self.reachable(index).then_some(index)
    }

    fn reachable(&self, index: InterfaceIndex) -> bool {
        self.interface(index)
            .and_then(|interface| self.vpc(interface.vpc))
            .is_some_and(VpcTable::has_internet)
    }

    /// How many slots of all kinds are in use; for tests of leaks.
    #[cfg(test)]
    pub(crate) fn slots_in_use(&self) -> usize {
        self.vpcs.len()
            + self.subnets.len()
            + self.route_tables.len()
            + self.groups.len()
            + self.interfaces.len()
    }
}

fn addresses(entry: &Interface) -> impl Iterator<Item = IpAddr> {
    let v4 = entry.ipv4.iter().map(|a| IpAddr::V4(*a));
    v4.chain(entry.ipv6.iter().map(|a| IpAddr::V6(*a)))
}

fn remove_if<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: &K, ours: impl FnOnce(&V) -> bool) {
    if map.get(key).is_some_and(ours) {
        map.remove(key);
    }
}

/// Inserts a route unless `local` has the prefix already; returns the one that is not used.
fn insert_route<P: prefix_trie::Prefix>(
    map: &mut PrefixMap<P, NextHop>,
    net: P,
    hop: NextHop,
) -> Option<NextHop> {
    if map.get(&net) == Some(&NextHop::Local) {
        return Some(hop);
    }
    map.insert(net, hop)
}
