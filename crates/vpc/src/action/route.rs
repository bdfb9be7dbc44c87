//! Route tables, their routes and their associations.

use ipnet::IpNet;

use super::Outcome;
use super::check::{ipv4_block, ipv6_block, required, show_tags, tags, within};
use super::vpc::{local_routes, route_tables};
use crate::command::{
    AssociateRouteTable, CreateRoute, CreateRouteTable, DeleteRoute, DeleteRouteTable, DescribeRouteTables,
    DisassociateRouteTable, ReplaceRoute, ReplaceRouteTableAssociation,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{
    AnyId, InternetGatewayId, NetworkInterfaceId, ResourceId, RouteTableAssociationId, RouteTableId, clip,
};
use crate::quota;
use crate::region::Link;
use crate::reply::{
    AssociateRouteTableResult, CreateRouteResult, CreateRouteTableResult, DescribeRouteTablesResult,
    ReplaceRouteTableAssociationResult, Reply,
};
use crate::resource::{
    Instance, InternetGateway, Kind, NetworkInterface, Route, RouteOrigin, RouteTable, RouteTableAssociation,
    RouteTarget, Subnet, Vpc,
};
use crate::select::{Field, Item, Selection, flag, select, text};
use crate::shape::{self, RouteTableAssociationState};

pub(super) fn create_route_table(draft: &mut Draft<'_>, c: &CreateRouteTable) -> Outcome {
    let vpc = draft.need::<Vpc>("vpcId", &c.vpc_id)?.clone();
    let tags = tags(&c.tag_specifications, Kind::RouteTable)?;
    let have = route_tables(draft, vpc.id).count();
    let code = ErrorCode::RouteTableLimitExceeded;
    within(
        have,
        1,
        quota::ROUTE_TABLES_PER_VPC,
        code,
        "route tables of a VPC",
    )?;
    let table = RouteTable {
        id: draft.fresh_id::<RouteTable>(),
        vpc_id: vpc.id,
        routes: local_routes(&vpc),
        associations: Vec::new(),
        tags,
    };
    let shown = show(draft, &table);
    draft.put(table);
    Ok(CreateRouteTableResult {
        route_table: Some(shown),
        client_token: c.client_token.clone(),
    }
    .into())
}

pub(super) fn delete_route_table(draft: &mut Draft<'_>, c: &DeleteRouteTable) -> Outcome {
    let table = draft.need::<RouteTable>("routeTableId", &c.route_table_id)?;
    let id = table.id;
    if !table.associations.is_empty() {
        return Err(Ec2Error::dependency(format!(
            "The routeTable '{id}' has dependencies and cannot be deleted."
        )));
    }
    draft.delete::<RouteTable>(id);
    Ok(Reply::Done)
}

pub(super) fn create_route(draft: &mut Draft<'_>, c: &CreateRoute) -> Outcome {
    let mut table = draft
        .need::<RouteTable>("routeTableId", &c.route_table_id)?
        .clone();
    let v4 = c.destination_cidr_block.as_deref();
    let destination = destination(v4, c.destination_ipv6_cidr_block.as_deref())?;
    if c.nat_gateway_id.is_some() {
        return Err(Ec2Error::new(
            ErrorCode::UnsupportedOperation,
            "Routes to NAT gateways are not supported.",
        ));
    }
    let targets = Targets {
        gateway: c.gateway_id.as_deref(),
        instance: c.instance_id.as_deref(),
        interface: c.network_interface_id.as_deref(),
        local: false,
    };
    let target = targets.resolve(draft, &table)?;
    if table.routes.iter().any(|r| r.destination == destination) {
        return Err(Ec2Error::new(
            ErrorCode::RouteAlreadyExists,
            format!("The route identified by {destination} already exists."),
        ));
    }
    check_destination(draft, &table, destination, target)?;
    let of_family = |r: &&Route| {
        r.target != RouteTarget::Local && r.destination.addr().is_ipv4() == destination.addr().is_ipv4()
    };
    let have = table.routes.iter().filter(of_family).count();
    let code = ErrorCode::RouteLimitExceeded;
    within(have, 1, quota::ROUTES_PER_TABLE, code, "routes of a route table")?;
    table.routes.push(Route {
        destination,
        target,
        origin: RouteOrigin::CreateRoute,
    });
    draft.put(table);
    Ok(CreateRouteResult { return_: Some(true) }.into())
}

pub(super) fn replace_route(draft: &mut Draft<'_>, c: &ReplaceRoute) -> Outcome {
    let mut table = draft
        .need::<RouteTable>("routeTableId", &c.route_table_id)?
        .clone();
    let v4 = c.destination_cidr_block.as_deref();
    let destination = destination(v4, c.destination_ipv6_cidr_block.as_deref())?;
    let targets = Targets {
        gateway: c.gateway_id.as_deref(),
        instance: c.instance_id.as_deref(),
        interface: c.network_interface_id.as_deref(),
        local: c.local_target == Some(true),
    };
    let target = targets.resolve(draft, &table)?;
    let Some(at) = table.routes.iter().position(|r| r.destination == destination) else {
        return Err(no_route(&table, destination));
    };
    let of_vpc = table.routes[at].origin == RouteOrigin::CreateRouteTable;
    if of_vpc != (target == RouteTarget::Local) {
        return Err(local_route_change(destination));
    }
    table.routes[at].target = target;
    draft.put(table);
    Ok(Reply::Done)
}

pub(super) fn delete_route(draft: &mut Draft<'_>, c: &DeleteRoute) -> Outcome {
    let mut table = draft
        .need::<RouteTable>("routeTableId", &c.route_table_id)?
        .clone();
    let v4 = c.destination_cidr_block.as_deref();
    let destination = destination(v4, c.destination_ipv6_cidr_block.as_deref())?;
    let Some(at) = table.routes.iter().position(|r| r.destination == destination) else {
        return Err(no_route(&table, destination));
    };
    if table.routes[at].target == RouteTarget::Local {
        return Err(Ec2Error::invalid_value(format!(
            "cannot remove local route {destination} in route table {}",
            table.id
        )));
    }
    table.routes.remove(at);
    draft.put(table);
    Ok(Reply::Done)
}

pub(super) fn associate_route_table(draft: &mut Draft<'_>, c: &AssociateRouteTable) -> Outcome {
    let table = draft.need::<RouteTable>("routeTableId", &c.route_table_id)?;
    let (id, vpc) = (table.id, table.vpc_id);
    if c.gateway_id.is_some() {
        return Err(Ec2Error::new(
            ErrorCode::UnsupportedOperation,
            "Route tables of gateways are not supported.",
        ));
    }
    let subnet = draft.need::<Subnet>("subnetId", c.subnet_id.as_deref().unwrap_or_default())?;
    let subnet_id = subnet.id;
    if subnet.vpc_id != vpc {
        return Err(Ec2Error::invalid_value(format!(
            "Route table {id} and subnet {subnet_id} belong to different networks"
        )));
    }
    if let Some(other) = draft.linked(&Link::TableOf(subnet_id)).next() {
        let existing = match other {
            AnyId::RouteTable(other) => draft
                .get::<RouteTable>(other)
                .and_then(|table| table.associations.iter().find(|a| a.subnet_id == Some(subnet_id))),
            _ => None,
        };
        if let Some(existing) = existing.filter(|_| other == AnyId::RouteTable(id)) {
            return Ok(associated(existing.id));
        }
        return Err(Ec2Error::new(
            ErrorCode::ResourceAlreadyAssociated,
            format!("the specified association for route table {id} conflicts with an existing association"),
        ));
    }
    let association = RouteTableAssociation {
        id: RouteTableAssociationId::random(draft.rng),
        subnet_id: Some(subnet_id),
    };
    draft.change::<RouteTable>(id, |table| table.associations.push(association));
    Ok(associated(association.id))
}

fn associated(id: RouteTableAssociationId) -> Reply {
    AssociateRouteTableResult {
        association_id: Some(id.to_string()),
        association_state: Some(association_state()),
    }
    .into()
}

pub(super) fn disassociate_route_table(draft: &mut Draft<'_>, c: &DisassociateRouteTable) -> Outcome {
    let (table, association) = association(draft, &c.association_id)?;
    if association.subnet_id.is_none() {
        return Err(Ec2Error::invalid_value(format!(
            "cannot disassociate the main route table association {}",
            association.id
        )));
    }
    draft.change::<RouteTable>(table, |table| {
        table.associations.retain(|a| a.id != association.id)
    });
    Ok(Reply::Done)
}

pub(super) fn replace_route_table_association(
    draft: &mut Draft<'_>,
    c: &ReplaceRouteTableAssociation,
) -> Outcome {
    let (from, old) = association(draft, &c.association_id)?;
    let to = draft.need::<RouteTable>("routeTableId", &c.route_table_id)?;
    let (to, to_vpc) = (to.id, to.vpc_id);
    let from_vpc = draft.get::<RouteTable>(from).map(|table| table.vpc_id);
    if from_vpc != Some(to_vpc) {
        return Err(Ec2Error::invalid_value(format!(
            "Route table {to} and association {} belong to different networks",
            old.id
        )));
    }
    let new = RouteTableAssociation {
        id: RouteTableAssociationId::random(draft.rng),
        subnet_id: old.subnet_id,
    };
    draft.change::<RouteTable>(from, |table| table.associations.retain(|a| a.id != old.id));
    draft.change::<RouteTable>(to, |table| table.associations.push(new));
    Ok(ReplaceRouteTableAssociationResult {
        new_association_id: Some(new.id.to_string()),
        association_state: Some(association_state()),
    }
    .into())
}

pub(super) fn describe_route_tables(draft: &mut Draft<'_>, c: &DescribeRouteTables) -> Outcome {
    let found: Vec<&RouteTable> = if c.route_table_ids.is_empty() {
        draft.all().collect()
    } else {
        let ids = c.route_table_ids.iter();
        ids.map(|text| draft.find(text)).collect::<Result<_, _>>()?
    };
    let items = found.into_iter().map(|table| show(draft, table)).collect();
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.route_table_ids.is_empty(),
    };
    let (route_tables, next_token) = select(items, selection)?;
    Ok(DescribeRouteTablesResult {
        route_tables,
        next_token,
    }
    .into())
}

/// The association that a request names, and the table that has it.
fn association(draft: &Draft<'_>, text: &str) -> Result<(RouteTableId, RouteTableAssociation), Ec2Error> {
    let id = RouteTableAssociationId::parse(required("associationId", text)?)?;
    let mut tables = draft.all::<RouteTable>();
    let found = tables.find_map(|table| {
        let association = table.associations.iter().find(|a| a.id == id);
        association.map(|a| (table.id, *a))
    });
    found.ok_or_else(|| RouteTableAssociationId::not_found(text))
}

fn destination(ipv4: Option<&str>, ipv6: Option<&str>) -> Result<IpNet, Ec2Error> {
    match (ipv4, ipv6) {
        (Some(text), None) => Ok(ipv4_block("destinationCidrBlock", text)?.into()),
        (None, Some(text)) => Ok(ipv6_block("destinationIpv6CidrBlock", text)?.into()),
        (None, None) => Err(Ec2Error::missing("destinationCidrBlock")),
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "Only one of destinationCidrBlock and destinationIpv6CidrBlock can be given.",
        )),
    }
}

/// The members of a request of which exactly one names the target.
struct Targets<'c> {
    gateway: Option<&'c str>,
    instance: Option<&'c str>,
    interface: Option<&'c str>,
    local: bool,
}

impl Targets<'_> {
    fn resolve(&self, draft: &Draft<'_>, table: &RouteTable) -> Result<RouteTarget, Ec2Error> {
        match (self.gateway, self.instance, self.interface, self.local) {
            (Some("local"), None, None, false) | (None, None, None, true) => Ok(RouteTarget::Local),
            (Some(text), None, None, false) => gateway_target(draft, table, text),
            (None, Some(text), None, false) => instance_target(draft, table, text),
            (None, None, Some(text), false) => {
                let interface = draft.find::<NetworkInterface>(text)?;
                same_vpc(table, interface)?;
                Ok(RouteTarget::NetworkInterface(interface.id))
            }
            (None, None, None, false) => Err(Ec2Error::missing("gatewayId")),
            _ => Err(Ec2Error::combination("Exactly one target of a route is needed.")),
        }
    }
}

fn gateway_target(draft: &Draft<'_>, table: &RouteTable, text: &str) -> Result<RouteTarget, Ec2Error> {
    let unknown = || {
        Ec2Error::new(
            ErrorCode::InvalidGatewayIdNotFound,
            format!("The gateway ID '{}' does not exist", clip(text)),
        )
    };
    let id = InternetGatewayId::parse(text).map_err(|_| unknown())?;
    let gateway = draft.get::<InternetGateway>(id).ok_or_else(unknown)?;
    if gateway.vpc_id != Some(table.vpc_id) {
        return Err(Ec2Error::invalid_value(format!(
            "route table {} and network gateway {id} belong to different networks",
            table.id
        )));
    }
    Ok(RouteTarget::InternetGateway(id))
}

fn instance_target(draft: &Draft<'_>, table: &RouteTable, text: &str) -> Result<RouteTarget, Ec2Error> {
    let instance = draft.find::<Instance>(text)?.id;
    let interfaces = draft.interfaces_of(instance);
    let [interface] = interfaces.as_slice() else {
        return Err(Ec2Error::new(
            ErrorCode::InvalidInstanceId,
            format!(
                "There are multiple interfaces attached to instance '{instance}', or none. Please specify an interface ID for the operation instead."
            ),
        ));
    };
    same_vpc(table, interface)?;
    Ok(RouteTarget::NetworkInterface(interface.id))
}

fn same_vpc(table: &RouteTable, interface: &NetworkInterface) -> Result<(), Ec2Error> {
    if interface.vpc_id != table.vpc_id {
        return Err(Ec2Error::invalid_value(format!(
            "route table {} and interface {} belong to different networks",
            table.id, interface.id
        )));
    }
    Ok(())
}

/// Refuses a destination that a route may not have.
///
/// Inside the VPC only an interface can take over, and only for a whole subnet: more-specific routes.
fn check_destination(
    draft: &Draft<'_>,
    table: &RouteTable,
    destination: IpNet,
    target: RouteTarget,
) -> Result<(), Ec2Error> {
    if target == RouteTarget::Local {
        return Err(local_route_change(destination));
    }
    let locals = table.routes.iter().filter(|r| r.target == RouteTarget::Local);
    let inside = locals
        .map(|r| r.destination)
        .any(|local| local.contains(&destination));
    if !inside {
        return Ok(());
    }
    let is_subnet = super::vpc::subnets(draft, table.vpc_id).any(|subnet| {
        let ipv4 = subnet.cidr.map(IpNet::V4);
        let ipv6 = subnet.ipv6_cidr.map(|b| IpNet::V6(b.cidr));
        ipv4 == Some(destination) || ipv6 == Some(destination)
    });
    if !is_subnet || !matches!(target, RouteTarget::NetworkInterface(_)) {
        return Err(Ec2Error::invalid_value(format!(
            "The destination CIDR block {destination} is equal to or more specific than one of this VPC's CIDR blocks. This route can target only an interface or an instance."
        )));
    }
    Ok(())
}

fn local_route_change(destination: IpNet) -> Ec2Error {
    Ec2Error::invalid_value(format!(
        "The local target is for the blocks of the VPC, and they have no other target: {destination}."
    ))
}

fn no_route(table: &RouteTable, destination: IpNet) -> Ec2Error {
    Ec2Error::new(
        ErrorCode::InvalidRouteNotFound,
        format!(
            "no route with destination-cidr-block {destination} in route table {}",
            table.id
        ),
    )
}

fn association_state() -> RouteTableAssociationState {
    RouteTableAssociationState {
        state: Some("associated".into()),
        ..RouteTableAssociationState::default()
    }
}

fn show(draft: &Draft<'_>, table: &RouteTable) -> shape::RouteTable {
    let association = |a: &RouteTableAssociation| shape::RouteTableAssociation {
        main: Some(a.subnet_id.is_none()),
        route_table_association_id: Some(a.id.to_string()),
        route_table_id: Some(table.id.to_string()),
        subnet_id: a.subnet_id.map(|id| id.to_string()),
        association_state: Some(association_state()),
        ..shape::RouteTableAssociation::default()
    };
    shape::RouteTable {
        associations: table.associations.iter().map(association).collect(),
        route_table_id: Some(table.id.to_string()),
        routes: table
            .routes
            .iter()
            .map(|route| show_route(draft, table, route))
            .collect(),
        tags: show_tags(&table.tags),
        vpc_id: Some(table.vpc_id.to_string()),
        owner_id: Some(draft.scope.account.to_string()),
    }
}

fn show_route(draft: &Draft<'_>, table: &RouteTable, route: &Route) -> shape::Route {
    let mut shown = shape::Route {
        origin: Some(route.origin.to_string()),
        ..shape::Route::default()
    };
    match route.destination {
        IpNet::V4(block) => shown.destination_cidr_block = Some(block.to_string()),
        IpNet::V6(block) => shown.destination_ipv6_cidr_block = Some(block.to_string()),
    }
    let active = match route.target {
        RouteTarget::Local => {
            shown.gateway_id = Some("local".into());
            true
        }
        RouteTarget::InternetGateway(id) => {
            shown.gateway_id = Some(id.to_string());
            let gateway = draft.get::<InternetGateway>(id);
            gateway.is_some_and(|g| g.vpc_id == Some(table.vpc_id))
        }
        RouteTarget::NetworkInterface(id) => {
            shown.network_interface_id = Some(id.to_string());
            let attachment = interface_attachment(draft, id);
            if let Some(attachment) = attachment {
                shown.instance_id = Some(attachment.instance_id.to_string());
                shown.instance_owner_id = Some(draft.scope.account.to_string());
            }
            attachment.is_some_and(|a| {
                draft
                    .get::<Instance>(a.instance_id)
                    .is_some_and(Instance::is_live)
            })
        }
    };
    shown.state = Some(if active { "active" } else { "blackhole" }.into());
    shown
}

fn interface_attachment<'d>(
    draft: &'d Draft<'_>,
    id: NetworkInterfaceId,
) -> Option<&'d crate::resource::Attachment> {
    draft.get::<NetworkInterface>(id)?.attachment.as_ref()
}

impl Item for shape::RouteTable {
    const FIELDS: &'static [Field<Self>] = &[
        ("association.main", |t| {
            t.associations.iter().flat_map(|a| flag(a.main)).collect()
        }),
        ("association.route-table-association-id", |t| {
            t.associations
                .iter()
                .flat_map(|a| text(&a.route_table_association_id))
                .collect()
        }),
        ("association.route-table-id", |t| {
            t.associations
                .iter()
                .flat_map(|a| text(&a.route_table_id))
                .collect()
        }),
        ("association.subnet-id", |t| {
            t.associations.iter().flat_map(|a| text(&a.subnet_id)).collect()
        }),
        ("owner-id", |t| text(&t.owner_id)),
        ("route-table-id", |t| text(&t.route_table_id)),
        ("route.destination-cidr-block", |t| {
            t.routes
                .iter()
                .flat_map(|r| text(&r.destination_cidr_block))
                .collect()
        }),
        ("route.destination-ipv6-cidr-block", |t| {
            t.routes
                .iter()
                .flat_map(|r| text(&r.destination_ipv6_cidr_block))
                .collect()
        }),
        ("route.gateway-id", |t| {
            t.routes.iter().flat_map(|r| text(&r.gateway_id)).collect()
        }),
        ("route.instance-id", |t| {
            t.routes.iter().flat_map(|r| text(&r.instance_id)).collect()
        }),
        ("route.origin", |t| {
            t.routes.iter().flat_map(|r| text(&r.origin)).collect()
        }),
        ("route.state", |t| {
            t.routes.iter().flat_map(|r| text(&r.state)).collect()
        }),
        ("vpc-id", |t| text(&t.vpc_id)),
    ];

    fn key(&self) -> String {
        self.route_table_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.tags
    }
}
