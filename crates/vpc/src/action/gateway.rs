//! Internet gateways.

use super::Outcome;
use super::check::{show_tags, tags, within};
use crate::command::{
    AttachInternetGateway, CreateInternetGateway, DeleteInternetGateway, DescribeInternetGateways,
    DetachInternetGateway,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{AnyId, VpcId};
use crate::region::Link;
use crate::reply::{CreateInternetGatewayResult, DescribeInternetGatewaysResult, Reply};
use crate::resource::{InternetGateway, Kind, Vpc};
use crate::select::{Field, Item, Selection, select, text};
use crate::shape;

pub(super) fn create_internet_gateway(draft: &mut Draft<'_>, c: &CreateInternetGateway) -> Outcome {
    let tags = tags(&c.tag_specifications, Kind::InternetGateway)?;
    let have = draft.all::<InternetGateway>().count();
    let code = ErrorCode::InternetGatewayLimitExceeded;
    within(
        have,
        1,
        draft.model.quotas.vpcs_per_region,
        code,
        "internet gateways",
    )?;
    let gateway = InternetGateway {
        id: draft.fresh_id::<InternetGateway>(),
        vpc_id: None,
        tags,
    };
    let shown = show(draft, &gateway);
    draft.put(gateway);
    Ok(CreateInternetGatewayResult {
        internet_gateway: Some(shown),
    }
    .into())
}

pub(super) fn delete_internet_gateway(draft: &mut Draft<'_>, c: &DeleteInternetGateway) -> Outcome {
    let gateway = draft.need::<InternetGateway>("internetGatewayId", &c.internet_gateway_id)?;
    let id = gateway.id;
    if gateway.vpc_id.is_some() {
        return Err(Ec2Error::dependency(format!(
            "The internetGateway '{id}' has dependencies and cannot be deleted."
        )));
    }
    draft.delete::<InternetGateway>(id);
    Ok(Reply::Done)
}

pub(super) fn attach_internet_gateway(draft: &mut Draft<'_>, c: &AttachInternetGateway) -> Outcome {
    let gateway = draft.need::<InternetGateway>("internetGatewayId", &c.internet_gateway_id)?;
    let id = gateway.id;
    if let Some(vpc) = gateway.vpc_id {
        return Err(Ec2Error::new(
            ErrorCode::ResourceAlreadyAssociated,
            format!("resource {id} is already attached to network {vpc}"),
        ));
    }
    let vpc = draft.need::<Vpc>("vpcId", &c.vpc_id)?.id;
    if let Some(other) = gateway_of(draft, vpc) {
        return Err(Ec2Error::invalid_value(format!(
            "Network {vpc} already has an internet gateway attached"
        ))
        .with_context(other.id.to_string()));
    }
    draft.change::<InternetGateway>(id, |gateway| gateway.vpc_id = Some(vpc));
    Ok(Reply::Done)
}

pub(super) fn detach_internet_gateway(draft: &mut Draft<'_>, c: &DetachInternetGateway) -> Outcome {
    let gateway = draft.need::<InternetGateway>("internetGatewayId", &c.internet_gateway_id)?;
    let (id, attached) = (gateway.id, gateway.vpc_id);
    let vpc = draft.need::<Vpc>("vpcId", &c.vpc_id)?.id;
    if attached != Some(vpc) {
        return Err(Ec2Error::new(
            ErrorCode::GatewayNotAttached,
            format!("resource {id} is not attached to network {vpc}"),
        ));
    }
    let public = draft.interfaces(&Link::InVpc(vpc)).find(|interface| {
        interface
            .private_addresses
            .iter()
            .any(|a| a.association.is_some())
    });
    if let Some(interface) = public {
        return Err(Ec2Error::dependency(format!(
            "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
        ))
        .with_context(interface.id.to_string()));
    }
    draft.change::<InternetGateway>(id, |gateway| gateway.vpc_id = None);
    Ok(Reply::Done)
}

pub(super) fn describe_internet_gateways(draft: &mut Draft<'_>, c: &DescribeInternetGateways) -> Outcome {
    let found: Vec<&InternetGateway> = if c.internet_gateway_ids.is_empty() {
        draft.all().collect()
    } else {
        let ids = c.internet_gateway_ids.iter();
        ids.map(|text| draft.find(text)).collect::<Result<_, _>>()?
    };
    let items = found.into_iter().map(|gateway| show(draft, gateway)).collect();
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.internet_gateway_ids.is_empty(),
    };
    let (internet_gateways, next_token) = select(items, selection)?;
    Ok(DescribeInternetGatewaysResult {
        internet_gateways,
        next_token,
    }
    .into())
}

/// The gateway that is attached to a VPC.
pub(super) fn gateway_of<'d>(draft: &'d Draft<'_>, vpc: VpcId) -> Option<&'d InternetGateway> {
    draft.linked(&Link::InVpc(vpc)).find_map(|id| match id {
        AnyId::InternetGateway(id) => draft.get(id),
        _ => None,
    })
}

fn show(draft: &Draft<'_>, gateway: &InternetGateway) -> shape::InternetGateway {
    let attachment = |vpc: &VpcId| shape::InternetGatewayAttachment {
        state: Some("available".into()),
        vpc_id: Some(vpc.to_string()),
    };
    shape::InternetGateway {
        attachments: gateway.vpc_id.iter().map(attachment).collect(),
        internet_gateway_id: Some(gateway.id.to_string()),
        owner_id: Some(draft.scope.account.to_string()),
        tags: show_tags(&gateway.tags),
    }
}

impl Item for shape::InternetGateway {
    const FIELDS: &'static [Field<Self>] = &[
        ("attachment.state", |g| {
            g.attachments.iter().flat_map(|a| text(&a.state)).collect()
        }),
        ("attachment.vpc-id", |g| {
            g.attachments.iter().flat_map(|a| text(&a.vpc_id)).collect()
        }),
        ("internet-gateway-id", |g| text(&g.internet_gateway_id)),
        ("owner-id", |g| text(&g.owner_id)),
    ];

    fn key(&self) -> String {
        self.internet_gateway_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.tags
    }
}
