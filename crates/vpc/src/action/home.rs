//! What EC2 gives every account in every region: the default VPC.
//!
//! Source: [AWS doc vpc/latest/userguide/default-vpc-components.html, 2026-11-23].

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::{subnet, vpc};
use crate::draft::Draft;
use crate::error::Ec2Error;
use crate::ids::VpcId;
use crate::region::Link;
use crate::resource::{InternetGateway, Route, RouteOrigin, RouteTable, RouteTarget, Tags, Tenancy, Vpc};
use crate::zone;

/// Makes the default VPC if this is the account's first call in the region.
pub(crate) fn ensure_home(draft: &mut Draft<'_>) -> Result<(), Ec2Error> {
    if draft.has_home() {
        return Ok(());
    }
    draft.put_home();
    make_default_vpc(draft)?;
    Ok(())
}

/// A VPC 172.31.0.0/16 with a /20 subnet per zone, a gateway and a route to it.
pub(super) fn make_default_vpc(draft: &mut Draft<'_>) -> Result<VpcId, Ec2Error> {
    let id = vpc::make(draft, DEFAULT_BLOCK, Tenancy::Default, Tags::new());
    draft.change::<Vpc>(id, |vpc| {
        vpc.is_default = true;
        vpc.dns_hostnames = true;
    });
    let blocks = DEFAULT_BLOCK.subnets(20).into_iter().flatten();
    for (zone, block) in zone::zones(&draft.scope.region).into_iter().zip(blocks) {
        let mut made = subnet::new(draft, id, zone.name, Some(block));
        made.default_for_az = true;
        made.map_public_ip_on_launch = true;
        draft.put(made);
    }
    let gateway = draft.fresh_id::<InternetGateway>();
    draft.put(InternetGateway {
        id: gateway,
        vpc_id: Some(id),
        tags: Tags::new(),
    });
    let table = draft.linked(&Link::MainTable(id)).next();
    if let Some(crate::ids::AnyId::RouteTable(table)) = table {
        draft.change::<RouteTable>(table, |table| {
            table.routes.push(Route {
                destination: IpNet::V4(Ipv4Net::default()),
                target: RouteTarget::InternetGateway(gateway),
                origin: RouteOrigin::CreateRoute,
            });
        });
    }
    Ok(id)
}

const DEFAULT_BLOCK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 31, 0, 0), 16);
