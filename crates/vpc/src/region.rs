//! The resources of one scope with one index over them.
//!
//! Every question of the kind "which resources have to do with X" goes through [`Link`]: a resource
//! declares its links ([`links`]), [`Region::put`] and [`Region::delete`] keep the index, and
//! [`Region::linked`] answers in logarithmic time. The index is derived state, never stored.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv6Net};

use crate::ids::{
    AllocationId, AnyId, AttachmentId, ImageId, InstanceId, InternetGatewayId, KeyPairId, NetworkInterfaceId,
    ResourceId, RouteTableId, SecurityGroupId, SubnetId, VpcId,
};
use crate::resource::{
    Address, Home, Image, Instance, InternetGateway, KeyPair, Mac, NetworkInterface, Resource, RouteTable,
    RouteTarget, SecurityGroup, Subnet, Vpc,
};

/// The resources of one account in one region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) home: Option<Home>,
    pub(crate) vpcs: BTreeMap<VpcId, Vpc>,
    pub(crate) subnets: BTreeMap<SubnetId, Subnet>,
    pub(crate) groups: BTreeMap<SecurityGroupId, SecurityGroup>,
    pub(crate) gateways: BTreeMap<InternetGatewayId, InternetGateway>,
    pub(crate) route_tables: BTreeMap<RouteTableId, RouteTable>,
    pub(crate) interfaces: BTreeMap<NetworkInterfaceId, NetworkInterface>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) addresses: BTreeMap<AllocationId, Address>,
    pub(crate) key_pairs: BTreeMap<KeyPairId, KeyPair>,
    pub(crate) images: BTreeMap<ImageId, Image>,
    index: BTreeSet<(Link, AnyId)>,
}

/// A reason to look a resource up other than by its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    /// Everything that is in a VPC.
    InVpc(VpcId),
    /// Interfaces and instances in a subnet.
    InSubnet(SubnetId),
    /// Interfaces that carry a group, groups with a rule that refers to it.
    OfGroup(SecurityGroupId),
    /// Interfaces attached to an instance.
    AtInstance(InstanceId),
    /// The interface of an attachment.
    Attachment(AttachmentId),
    /// The interface that has a private address.
    Private(VpcId, IpAddr),
    /// The interface that has a delegated prefix.
    Prefix(VpcId, IpNet),
    /// The interface that has a MAC.
    Mac(VpcId, Mac),
    /// The Elastic IP or the interface that has a public address.
    Public(Ipv4Addr),
    /// The VPC that has an IPv6 block.
    Ipv6Block(Ipv6Net),
    /// Route tables with a route to a target.
    RouteTo(RouteTarget),
    /// The route table of a subnet.
    TableOf(SubnetId),
    /// The main route table of a VPC.
    MainTable(VpcId),
    /// What an idempotent call made.
    Token(String),
}

/// A type of resource that a [`Region`] keeps in a map.
pub(crate) trait Stored: Clone + PartialEq {
    /// The type of its id.
    type Id: ResourceId;
    /// Its id.
    fn id(&self) -> Self::Id;
    /// The id as one of any kind.
    fn any_id(id: Self::Id) -> AnyId;
    /// The map that it is in.
    fn map(region: &Region) -> &BTreeMap<Self::Id, Self>;
    /// Itself as a resource of any kind.
    fn into_resource(self) -> Resource;
}

macro_rules! stored {
    ($($type:ident, $id:ident, $field:ident, $wrap:expr;)*) => {$(
        impl Stored for $type {
            type Id = $id;

            fn id(&self) -> $id {
                self.id
            }

            fn any_id(id: $id) -> AnyId {
                AnyId::$type(id)
            }

            fn map(region: &Region) -> &BTreeMap<$id, Self> {
                &region.$field
            }

            fn into_resource(self) -> Resource {
                Resource::$type($wrap(self))
            }
        }
    )*};
}

stored! {
    Vpc, VpcId, vpcs, std::convert::identity;
    Subnet, SubnetId, subnets, std::convert::identity;
    SecurityGroup, SecurityGroupId, groups, std::convert::identity;
    InternetGateway, InternetGatewayId, gateways, std::convert::identity;
    RouteTable, RouteTableId, route_tables, std::convert::identity;
    NetworkInterface, NetworkInterfaceId, interfaces, Box::new;
    Instance, InstanceId, instances, Box::new;
    Address, AllocationId, addresses, std::convert::identity;
    KeyPair, KeyPairId, key_pairs, std::convert::identity;
    Image, ImageId, images, Box::new;
}

impl Region {
    /// A region with nothing in it.
    pub(crate) const fn new() -> Self {
        Self {
            home: None,
            vpcs: BTreeMap::new(),
            subnets: BTreeMap::new(),
            groups: BTreeMap::new(),
            gateways: BTreeMap::new(),
            route_tables: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            instances: BTreeMap::new(),
            addresses: BTreeMap::new(),
            key_pairs: BTreeMap::new(),
            images: BTreeMap::new(),
            index: BTreeSet::new(),
        }
    }

    /// Puts a resource in the place of what had its id.
    pub(crate) fn put(&mut self, resource: &Resource) {
        self.delete(resource.id());
        for link in links(resource) {
            self.index.insert((link, resource.id()));
        }
        match resource.clone() {
            Resource::Home(r) => self.home = Some(r),
            Resource::Vpc(r) => _ = self.vpcs.insert(r.id, r),
            Resource::Subnet(r) => _ = self.subnets.insert(r.id, r),
            Resource::SecurityGroup(r) => _ = self.groups.insert(r.id, r),
            Resource::InternetGateway(r) => _ = self.gateways.insert(r.id, r),
            Resource::RouteTable(r) => _ = self.route_tables.insert(r.id, r),
            Resource::NetworkInterface(r) => _ = self.interfaces.insert(r.id, *r),
            Resource::Instance(r) => _ = self.instances.insert(r.id, *r),
            Resource::Address(r) => _ = self.addresses.insert(r.id, r),
            Resource::KeyPair(r) => _ = self.key_pairs.insert(r.id, r),
            Resource::Image(r) => _ = self.images.insert(r.id, *r),
        }
    }

    /// Removes a resource; nothing happens if there is none.
    pub(crate) fn delete(&mut self, id: AnyId) {
        let old = match id {
            AnyId::Home => self.home.take().map(Resource::Home),
            AnyId::Vpc(id) => self.vpcs.remove(&id).map(Resource::Vpc),
            AnyId::Subnet(id) => self.subnets.remove(&id).map(Resource::Subnet),
            AnyId::SecurityGroup(id) => self.groups.remove(&id).map(Resource::SecurityGroup),
            AnyId::InternetGateway(id) => self.gateways.remove(&id).map(Resource::InternetGateway),
            AnyId::RouteTable(id) => self.route_tables.remove(&id).map(Resource::RouteTable),
            AnyId::NetworkInterface(id) => {
                let old = self.interfaces.remove(&id);
                old.map(|r| Resource::NetworkInterface(Box::new(r)))
            }
            AnyId::Instance(id) => {
                let old = self.instances.remove(&id);
                old.map(|r| Resource::Instance(Box::new(r)))
            }
            AnyId::Address(id) => self.addresses.remove(&id).map(Resource::Address),
            AnyId::KeyPair(id) => self.key_pairs.remove(&id).map(Resource::KeyPair),
            AnyId::Image(id) => self.images.remove(&id).map(|r| Resource::Image(Box::new(r))),
        };
        for link in old.iter().flat_map(links) {
            self.index.remove(&(link, id));
        }
    }

    /// The resource with this id.
    pub(crate) fn resource(&self, id: AnyId) -> Option<Resource> {
        match id {
            AnyId::Home => self.home.clone().map(Resource::Home),
            AnyId::Vpc(id) => self.vpcs.get(&id).cloned().map(Resource::Vpc),
            AnyId::Subnet(id) => self.subnets.get(&id).cloned().map(Resource::Subnet),
            AnyId::SecurityGroup(id) => self.groups.get(&id).cloned().map(Resource::SecurityGroup),
            AnyId::InternetGateway(id) => {
                let found = self.gateways.get(&id).cloned();
                found.map(Resource::InternetGateway)
            }
            AnyId::RouteTable(id) => self.route_tables.get(&id).cloned().map(Resource::RouteTable),
            AnyId::NetworkInterface(id) => {
                let found = self.interfaces.get(&id).cloned();
                found.map(|r| Resource::NetworkInterface(Box::new(r)))
            }
            AnyId::Instance(id) => {
                let found = self.instances.get(&id).cloned();
                found.map(|r| Resource::Instance(Box::new(r)))
            }
            AnyId::Address(id) => self.addresses.get(&id).cloned().map(Resource::Address),
            AnyId::KeyPair(id) => self.key_pairs.get(&id).cloned().map(Resource::KeyPair),
            AnyId::Image(id) => {
                let found = self.images.get(&id).cloned();
                found.map(|r| Resource::Image(Box::new(r)))
            }
        }
    }

    /// The ids of all resources, in the order of kind and id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = AnyId> + '_ {
        let home = self.home.iter().map(|_| AnyId::Home);
        home.chain(self.vpcs.keys().map(|id| AnyId::Vpc(*id)))
            .chain(self.subnets.keys().map(|id| AnyId::Subnet(*id)))
            .chain(self.groups.keys().map(|id| AnyId::SecurityGroup(*id)))
            .chain(self.gateways.keys().map(|id| AnyId::InternetGateway(*id)))
            .chain(self.route_tables.keys().map(|id| AnyId::RouteTable(*id)))
            .chain(self.interfaces.keys().map(|id| AnyId::NetworkInterface(*id)))
            .chain(self.instances.keys().map(|id| AnyId::Instance(*id)))
            .chain(self.addresses.keys().map(|id| AnyId::Address(*id)))
            .chain(self.key_pairs.keys().map(|id| AnyId::KeyPair(*id)))
            .chain(self.images.keys().map(|id| AnyId::Image(*id)))
    }

    /// The resources that a link leads to, in the order of kind and id.
    pub(crate) fn linked<'r>(&'r self, link: &Link) -> impl Iterator<Item = AnyId> + use<'r> {
        let link = link.clone();
        self.index
            .range((link.clone(), AnyId::Home)..)
            .take_while(move |(found, _)| *found == link)
            .map(|(_, id)| *id)
    }

    /// The index, for the check that compares it with one made anew.
    pub(crate) fn index(&self) -> &BTreeSet<(Link, AnyId)> {
        &self.index
    }
}

/// The links of a resource.
pub(crate) fn links(resource: &Resource) -> Vec<Link> {
    match resource {
        Resource::Home(_) | Resource::KeyPair(_) | Resource::Image(_) => Vec::new(),
        Resource::Vpc(r) => {
            let blocks = r.ipv6_cidr_blocks.iter();
            blocks.map(|block| Link::Ipv6Block(block.cidr)).collect()
        }
        Resource::Subnet(r) => vec![Link::InVpc(r.vpc_id)],
        Resource::SecurityGroup(r) => group_links(r),
        Resource::InternetGateway(r) => r.vpc_id.iter().map(|id| Link::InVpc(*id)).collect(),
        Resource::RouteTable(r) => route_table_links(r),
        Resource::NetworkInterface(r) => interface_links(r),
        Resource::Instance(r) => {
            let token = r.idempotency.iter().map(|i| Link::Token(i.token.clone()));
            [Link::InVpc(r.vpc_id), Link::InSubnet(r.subnet_id)]
                .into_iter()
                .chain(token)
                .collect()
        }
        Resource::Address(r) => vec![Link::Public(r.public_ip)],
    }
}

fn group_links(group: &SecurityGroup) -> Vec<Link> {
    let peers = group.rules.iter().filter_map(|rule| match rule.allows.peer {
        crate::resource::RulePeer::Group(id) => Some(Link::OfGroup(id)),
        _ => None,
    });
    peers.chain([Link::InVpc(group.vpc_id)]).collect()
}

fn route_table_links(table: &RouteTable) -> Vec<Link> {
    let targets = table.routes.iter().map(|route| Link::RouteTo(route.target));
    let associations = table.associations.iter().map(|a| match a.subnet_id {
        Some(subnet) => Link::TableOf(subnet),
        None => Link::MainTable(table.vpc_id),
    });
    targets
        .chain(associations)
        .chain([Link::InVpc(table.vpc_id)])
        .collect()
}

fn interface_links(interface: &NetworkInterface) -> Vec<Link> {
    let vpc = interface.vpc_id;
    let mut links = vec![
        Link::InVpc(vpc),
        Link::InSubnet(interface.subnet_id),
        Link::Mac(vpc, interface.mac),
    ];
    for private in &interface.private_addresses {
        links.push(Link::Private(vpc, private.address.into()));
        // An Elastic IP is linked by its own resource.
        if let Some(public) = private.association.filter(|a| a.elastic.is_none()) {
            links.push(Link::Public(public.public_ip));
        }
    }
    links.extend(
        interface
            .ipv6_addresses
            .iter()
            .map(|a| Link::Private(vpc, (*a).into())),
    );
    links.extend(
        interface
            .ipv4_prefixes
            .iter()
            .map(|p| Link::Prefix(vpc, (*p).into())),
    );
    links.extend(
        interface
            .ipv6_prefixes
            .iter()
            .map(|p| Link::Prefix(vpc, (*p).into())),
    );
    links.extend(interface.groups.iter().map(|g| Link::OfGroup(*g)));
    if let Some(attachment) = &interface.attachment {
        links.push(Link::AtInstance(attachment.instance_id));
        links.push(Link::Attachment(attachment.id));
    }
    links.extend(interface.idempotency.iter().map(|i| Link::Token(i.token.clone())));
    links
}
