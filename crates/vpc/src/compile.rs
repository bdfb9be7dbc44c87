//! From the model to a card's tables: all of them, or what a call changed.
//!
//! The full form is the specification; the incremental form recompiles the entries that an event can
//! have reached, and the property test holds the two together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trinic_switch::tables::{self, Entry, Id, Tables};

use crate::ids::{AnyId, RouteTableId, SubnetId, VpcId};
use crate::instance_type::InstanceType;
use crate::model::{Model, Policing};
use crate::region::{Link, Region};
use crate::resource::{
    AttachmentStatus, Event, Instance, NetworkInterface, Resource, RouteTable, RouteTarget, RulePeer,
    SecurityGroup, Subnet, Vpc,
};
use crate::scope::Scope;

/// The tables of all accounts and regions, at revision 0; the caller numbers them.
pub fn compile(model: &Model) -> Tables {
    let mut tables = Tables::default();
    for (_, region) in model.regions() {
        for id in region.ids() {
            if let Some(entry) = entry(region, id, model.policing) {
                tables.entries.insert(entry.id().clone(), entry);
            }
        }
    }
    tables
}

/// What events changed in the tables: entries that are new or may be different, and ids that are gone.
///
/// The model is the one after the events. Everything that is not named here is as before.
pub fn compile_events(model: &Model, events: &[Event]) -> (Vec<Entry>, Vec<Id>) {
    let mut reached: BTreeMap<&Scope, BTreeSet<AnyId>> = BTreeMap::new();
    for event in events {
        let (scope, id) = match event {
            Event::Put(scope, resource) => (scope, resource.id()),
            Event::Delete(key) => (&key.scope, key.id),
        };
        let reached = reached.entry(scope).or_default();
        reached.insert(id);
        if let Some(region) = model.region(scope) {
            neighbours(region, id, event, reached);
        }
    }
    let mut upserts = Vec::new();
    let mut removals = Vec::new();
    for (scope, ids) in reached {
        let region = model.region(scope);
        for id in ids {
            match region.and_then(|region| entry(region, id, model.policing)) {
                Some(entry) => upserts.push(entry),
                None if has_entry(id) => removals.push(name(id)),
                None => {}
            }
        }
    }
    (upserts, removals)
}

/// The resources whose entries depend on the one that changed.
fn neighbours(region: &Region, id: AnyId, event: &Event, reached: &mut BTreeSet<AnyId>) {
    match id {
        // An interface's entry depends on whether its instance is live.
        AnyId::Instance(id) => {
            let attached: Vec<_> = region.linked(&Link::AtInstance(id)).collect();
            for interface in attached {
                reached.insert(interface);
                routes_to(region, interface, reached);
            }
        }
        AnyId::NetworkInterface(_) | AnyId::InternetGateway(_) => routes_to(region, id, reached),
        // A subnet's entry names its route table, explicit or main.
        AnyId::RouteTable(_) => {
            if let Event::Put(_, Resource::RouteTable(table)) = event {
                let children = region.linked(&Link::InVpc(table.vpc_id));
                reached.extend(children.filter(|c| matches!(c, AnyId::Subnet(_))));
            }
        }
        _ => {}
    }
}

/// Route tables with a route to a resource.
fn routes_to(region: &Region, id: AnyId, reached: &mut BTreeSet<AnyId>) {
    let target = match id {
        AnyId::NetworkInterface(id) => RouteTarget::NetworkInterface(id),
        AnyId::InternetGateway(id) => RouteTarget::InternetGateway(id),
        _ => return,
    };
    reached.extend(region.linked(&Link::RouteTo(target)));
}

fn has_entry(id: AnyId) -> bool {
    matches!(
        id,
        AnyId::Vpc(_)
            | AnyId::Subnet(_)
            | AnyId::SecurityGroup(_)
            | AnyId::RouteTable(_)
            | AnyId::NetworkInterface(_)
    )
}

fn entry(region: &Region, id: AnyId, policing: Policing) -> Option<Entry> {
    match id {
        AnyId::Vpc(id) => region.vpcs.get(&id).map(|r| Entry::Vpc(vpc(r))),
        AnyId::Subnet(id) => region.subnets.get(&id).map(|r| Entry::Subnet(subnet(region, r))),
        AnyId::SecurityGroup(id) => region.groups.get(&id).map(|r| Entry::SecurityGroup(group(r))),
        AnyId::RouteTable(id) => {
            let found = region.route_tables.get(&id);
            found.map(|r| Entry::RouteTable(route_table(region, r)))
        }
        AnyId::NetworkInterface(id) => {
            let found = region.interfaces.get(&id);
            found.map(|r| Entry::Interface(interface(region, r, policing)))
        }
        AnyId::Home
        | AnyId::InternetGateway(_)
        | AnyId::Instance(_)
        | AnyId::Address(_)
        | AnyId::KeyPair(_)
        | AnyId::Image(_) => None,
    }
}

fn name(id: impl std::fmt::Display) -> Id {
    Arc::from(id.to_string())
}

fn vpc(vpc: &Vpc) -> tables::Vpc {
    tables::Vpc {
        id: name(vpc.id),
        ipv4: vpc.cidr_blocks.iter().map(|b| b.cidr).collect(),
        ipv6: vpc.ipv6_cidr_blocks.iter().map(|b| b.cidr).collect(),
        dns_support: vpc.dns_support,
    }
}

fn subnet(region: &Region, subnet: &Subnet) -> tables::Subnet {
    let table = effective_table(region, subnet.id, subnet.vpc_id);
    tables::Subnet {
        id: name(subnet.id),
        vpc_id: name(subnet.vpc_id),
        ipv4: subnet.cidr,
        ipv6: subnet.ipv6_cidr.map(|b| b.cidr),
        // A VPC always has a main table; an empty id would match no table, and nothing would be routed.
        route_table_id: table.map_or_else(|| Arc::from(""), name),
    }
}

fn effective_table(region: &Region, subnet: SubnetId, vpc: VpcId) -> Option<RouteTableId> {
    let explicit = region.linked(&Link::TableOf(subnet));
    let main = region.linked(&Link::MainTable(vpc));
    explicit.chain(main).find_map(|id| match id {
        AnyId::RouteTable(id) => Some(id),
        _ => None,
    })
}

fn route_table(region: &Region, table: &RouteTable) -> tables::RouteTable {
    let routes = table.routes.iter().map(|route| tables::Route {
        destination: route.destination,
        target: target(region, table, route.target),
    });
    tables::RouteTable {
        id: name(table.id),
        vpc_id: name(table.vpc_id),
        routes: routes.collect(),
    }
}

fn target(region: &Region, table: &RouteTable, target: RouteTarget) -> tables::Target {
    match target {
        RouteTarget::Local => tables::Target::Local,
        RouteTarget::InternetGateway(id) => {
            let gateway = region.gateways.get(&id);
            match gateway.is_some_and(|g| g.vpc_id == Some(table.vpc_id)) {
                true => tables::Target::InternetGateway(name(id)),
                false => tables::Target::Blackhole,
            }
        }
        RouteTarget::NetworkInterface(id) => {
            let interface = region.interfaces.get(&id);
            match interface.and_then(|i| live_instance(region, i)) {
                Some(_) => tables::Target::Interface(name(id)),
                None => tables::Target::Blackhole,
            }
        }
    }
}

fn group(group: &SecurityGroup) -> tables::SecurityGroup {
    let rules = |egress: bool| {
        let of_direction = group.rules.iter().filter(move |rule| rule.is_egress == egress);
        let rule = |rule: &crate::resource::SecurityGroupRule| tables::Rule {
            id: name(rule.id),
            protocol: rule.allows.protocol,
            from_port: rule.allows.from_port,
            to_port: rule.allows.to_port,
            peer: match rule.allows.peer {
                RulePeer::Ipv4(block) => tables::RulePeer::Cidr(block.into()),
                RulePeer::Ipv6(block) => tables::RulePeer::Cidr(block.into()),
                RulePeer::Group(id) => tables::RulePeer::Group(name(id)),
            },
        };
        of_direction.map(rule).collect()
    };
    tables::SecurityGroup {
        id: name(group.id),
        vpc_id: name(group.vpc_id),
        inbound: rules(false),
        outbound: rules(true),
    }
}

fn interface(region: &Region, interface: &NetworkInterface, policing: Policing) -> tables::Interface {
    let instance = live_instance(region, interface);
    let public = interface.private_addresses.iter().filter_map(|private| {
        private.association.map(|association| tables::PublicAddress {
            private: private.address,
            public: association.public_ip,
        })
    });
    let defaults = tables::TrackingTimeouts::default();
    let set = interface.tracking;
    tables::Interface {
        id: name(interface.id),
        vpc_id: name(interface.vpc_id),
        subnet_id: name(interface.subnet_id),
        mac: interface.mac,
        ipv4: interface.private_addresses.iter().map(|a| a.address).collect(),
        ipv6: interface.ipv6_addresses.clone(),
        ipv4_prefixes: interface.ipv4_prefixes.clone(),
        ipv6_prefixes: interface.ipv6_prefixes.clone(),
        groups: interface.groups.iter().map(name).collect(),
        source_dest_check: interface.source_dest_check,
        public: public.collect(),
        timeouts: tables::TrackingTimeouts {
            tcp_established_s: set.tcp_established_s.unwrap_or(defaults.tcp_established_s),
            udp_s: set.udp_s.unwrap_or(defaults.udp_s),
            udp_stream_s: set.udp_stream_s.unwrap_or(defaults.udp_stream_s),
        },
        instance_id: instance.map(|i| name(i.id)),
        allowances: instance
            .filter(|instance| policing.covers(instance))
            .and_then(|instance| InstanceType::find(&instance.instance_type))
            .map(|kind| Box::new(kind.allowances())),
    }
}

/// The live instance that an interface is at, or on its way to.
fn live_instance<'r>(region: &'r Region, interface: &NetworkInterface) -> Option<&'r Instance> {
    let attachment = interface.attachment.as_ref()?;
    if attachment.status == AttachmentStatus::Detaching {
        return None;
    }
    let instance = region.instances.get(&attachment.instance_id)?;
    instance.is_live().then_some(instance)
}
