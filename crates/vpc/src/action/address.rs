//! Elastic IP addresses, and auto-assigned public ones.

use std::net::Ipv4Addr;

use super::Outcome;
use super::check::{bad_value, ipv4_address, show_tags, tags, within};
use super::gateway::gateway_of;
use crate::allocate;
use crate::command::{
    AllocateAddress, AssociateAddress, DescribeAddresses, DisassociateAddress, ReleaseAddress,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{AddressAssociationId, AllocationId, NetworkInterfaceId, ResourceId, clip};
use crate::reply::{AllocateAddressResult, AssociateAddressResult, DescribeAddressesResult, Reply};
use crate::resource::{
    Address, AddressLink, ElasticAssociation, Instance, InstanceState, Kind, NetworkInterface,
    PublicAssociation,
};
use crate::select::{Field, Item, Selection, select, text};
use crate::shape;

pub(super) fn allocate_address(draft: &mut Draft<'_>, c: &AllocateAddress) -> Outcome {
    if let Some(domain) = c.domain.as_deref().filter(|d| *d != "vpc") {
        return Err(bad_value("domain", domain, "Expecting vpc."));
    }
    let tags = tags(&c.tag_specifications, Kind::Address)?;
    let have = draft.all::<Address>().count();
    let code = ErrorCode::AddressLimitExceeded;
    within(
        have,
        1,
        draft.model.quotas.addresses_per_region,
        code,
        "addresses",
    )?;
    let public_ip = match c.address.as_deref() {
        Some(text) => {
            let wanted = ipv4_address("address", text)?;
            if !allocate::is_free_public_ip(draft, wanted) {
                return Err(address_not_found(text));
            }
            wanted
        }
        None => allocate::free_public_ip(draft)?,
    };
    let address = Address {
        id: draft.fresh_id::<Address>(),
        public_ip,
        association: None,
        tags,
    };
    let result = AllocateAddressResult {
        allocation_id: Some(address.id.to_string()),
        public_ipv4_pool: Some("amazon".into()),
        network_border_group: Some(draft.scope.region.to_string()),
        domain: Some("vpc".into()),
        public_ip: Some(public_ip.to_string()),
    };
    draft.put(address);
    Ok(result.into())
}

pub(super) fn release_address(draft: &mut Draft<'_>, c: &ReleaseAddress) -> Outcome {
    let address = named(draft, c.allocation_id.as_deref(), c.public_ip.as_deref())?;
    let id = address.id;
    if address.association.is_some() {
        return Err(Ec2Error::new(
            ErrorCode::InvalidAddressInUse,
            format!("Address {} is in use.", address.public_ip),
        ));
    }
    draft.delete::<Address>(id);
    Ok(Reply::Done)
}

pub(super) fn associate_address(draft: &mut Draft<'_>, c: &AssociateAddress) -> Outcome {
    let address = named(draft, c.allocation_id.as_deref(), c.public_ip.as_deref())?.clone();
    let interface = target(draft, c)?.clone();
    let private_ip = match c.private_ip_address.as_deref() {
        Some(text) => ipv4_address("privateIpAddress", text)?,
        None => interface.primary_address().ok_or_else(|| {
            Ec2Error::invalid_value(format!("Interface {} has no private IPv4 address", interface.id))
        })?,
    };
    let Some(private) = interface.private_address(private_ip).copied() else {
        return Err(bad_value(
            "privateIpAddress",
            &private_ip.to_string(),
            &format!("The address is not one of interface {}.", interface.id),
        ));
    };
    if gateway_of(draft, interface.vpc_id).is_none() {
        return Err(Ec2Error::new(
            ErrorCode::GatewayNotAttached,
            format!(
                "Network {} is not attached to any internet gateway",
                interface.vpc_id
            ),
        ));
    }
    let before = private.association.and_then(|a| a.elastic);
    if let Some(same) = before.filter(|e| e.allocation_id == address.id) {
        return Ok(associated(same.association_id));
    }
    if c.allow_reassociation == Some(false) {
        let old = address
            .association
            .map(|a| a.association_id)
            .or_else(|| before.map(|e| e.association_id));
        if let Some(old) = old {
            return Err(Ec2Error::new(
                ErrorCode::ResourceAlreadyAssociated,
                format!(
                    "resource {} is already associated with associate-id {old}",
                    address.id
                ),
            ));
        }
    }
    unlink(draft, &address);
    free_elastic(draft, private.association);
    let association_id = link(draft, address.id, interface.id, private_ip);
    Ok(associated(association_id))
}

fn associated(id: AddressAssociationId) -> Reply {
    AssociateAddressResult {
        association_id: Some(id.to_string()),
    }
    .into()
}

pub(super) fn disassociate_address(draft: &mut Draft<'_>, c: &DisassociateAddress) -> Outcome {
    let address = match (c.association_id.as_deref(), c.public_ip.as_deref()) {
        (Some(text), _) => {
            let id = AddressAssociationId::parse(text)?;
            let mut all = draft.all::<Address>();
            let found = all.find(|a| a.association.is_some_and(|l| l.association_id == id));
            found.ok_or_else(|| AddressAssociationId::not_found(text))?
        }
        (None, public_ip) => named(draft, None, public_ip)?,
    };
    let address = address.clone();
    unlink(draft, &address);
    Ok(Reply::Done)
}

pub(super) fn describe_addresses(draft: &mut Draft<'_>, c: &DescribeAddresses) -> Outcome {
    let found: Vec<&Address> = if c.allocation_ids.is_empty() && c.public_ips.is_empty() {
        draft.all().collect()
    } else {
        let by_id = c.allocation_ids.iter().map(|text| named(draft, Some(text), None));
        let by_ip = c.public_ips.iter().map(|text| named(draft, None, Some(text)));
        by_id.chain(by_ip).collect::<Result<_, _>>()?
    };
    let items = found.into_iter().map(|address| show(draft, address)).collect();
    let selection = Selection {
        filters: &c.filters,
        ..Selection::default()
    };
    let (addresses, _) = select(items, selection)?;
    Ok(DescribeAddressesResult { addresses }.into())
}

/// Makes an Elastic IP stand for a private address, on both resources.
fn link(
    draft: &mut Draft<'_>,
    address: AllocationId,
    interface: NetworkInterfaceId,
    private_ip: Ipv4Addr,
) -> AddressAssociationId {
    let association_id = AddressAssociationId::random(draft.rng);
    put_link(draft, address, interface, private_ip, association_id);
    association_id
}

fn put_link(
    draft: &mut Draft<'_>,
    id: AllocationId,
    interface: NetworkInterfaceId,
    private_ip: Ipv4Addr,
    association_id: AddressAssociationId,
) {
    let Some(public_ip) = draft.get::<Address>(id).map(|a| a.public_ip) else {
        return;
    };
    draft.change::<Address>(id, |address| {
        address.association = Some(AddressLink {
            association_id,
            network_interface_id: interface,
            private_ip,
        });
    });
    draft.change_interface(interface, |interface| {
        let mut addresses = interface.private_addresses.iter_mut();
        if let Some(private) = addresses.find(|a| a.address == private_ip) {
            private.association = Some(PublicAssociation {
                public_ip,
                elastic: Some(ElasticAssociation {
                    allocation_id: id,
                    association_id,
                }),
            });
        }
    });
}

/// Ends the association of an Elastic IP, on both resources.
fn unlink(draft: &mut Draft<'_>, address: &Address) {
    let Some(old) = address.association else {
        return;
    };
    draft.change_interface(old.network_interface_id, |interface| {
        let mut addresses = interface.private_addresses.iter_mut();
        if let Some(private) = addresses.find(|a| a.address == old.private_ip) {
            private.association = None;
        }
    });
    draft.change::<Address>(address.id, |address| address.association = None);
}

/// Lets go of the Elastic IP of a private address that is about to change or go.
pub(super) fn free_elastic(draft: &mut Draft<'_>, association: Option<PublicAssociation>) {
    if let Some(elastic) = association.and_then(|a| a.elastic) {
        draft.change::<Address>(elastic.allocation_id, |address| address.association = None);
    }
}

/// Moves the Elastic IP of a private address along to the address's new interface.
pub(super) fn move_elastic(
    draft: &mut Draft<'_>,
    association: Option<PublicAssociation>,
    to: NetworkInterfaceId,
    private_ip: Ipv4Addr,
) {
    if let Some(elastic) = association.and_then(|a| a.elastic) {
        put_link(
            draft,
            elastic.allocation_id,
            to,
            private_ip,
            elastic.association_id,
        );
    }
}

/// Gives an interface a public address, if it is to have one and has none.
pub(super) fn assign_auto(draft: &mut Draft<'_>, interface: NetworkInterface) -> Result<(), Ec2Error> {
    let first = interface.private_addresses.first();
    if !interface.associate_public_ip || first.is_none_or(|a| a.association.is_some()) {
        return Ok(());
    }
    let public_ip = allocate::free_public_ip(draft)?;
    draft.change_interface(interface.id, |interface| {
        if let Some(first) = interface.private_addresses.first_mut() {
            first.association = Some(PublicAssociation {
                public_ip,
                elastic: None,
            });
        }
    });
    Ok(())
}

fn target<'d>(draft: &'d Draft<'_>, c: &AssociateAddress) -> Result<&'d NetworkInterface, Ec2Error> {
    match (c.network_interface_id.as_deref(), c.instance_id.as_deref()) {
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "Only one of networkInterfaceId and instanceId can be given.",
        )),
        (Some(text), None) => draft.find::<NetworkInterface>(text),
        (None, Some(text)) => {
            let instance = draft.find::<Instance>(text)?;
            if !matches!(
                instance.state,
                InstanceState::Running | InstanceState::Stopped | InstanceState::Stopping
            ) {
                return Err(Ec2Error::new(
                    ErrorCode::InvalidInstanceId,
                    format!(
                        "The {} instance '{}' is not in a valid state for this operation.",
                        instance.state, instance.id
                    ),
                ));
            }
            let interfaces = draft.interfaces_of(instance.id);
            match interfaces.as_slice() {
                [only] => Ok(*only),
                _ => Err(Ec2Error::new(
                    ErrorCode::InvalidInstanceId,
                    format!(
                        "There are multiple interfaces attached to instance '{}'. Please specify an interface ID for the operation instead.",
                        instance.id
                    ),
                )),
            }
        }
        (None, None) => Err(Ec2Error::missing("instanceId")),
    }
}

fn named<'d>(
    draft: &'d Draft<'_>,
    allocation: Option<&str>,
    public_ip: Option<&str>,
) -> Result<&'d Address, Ec2Error> {
    match (allocation, public_ip) {
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "You may specify public IP or allocation id, but not both in the same call",
        )),
        (Some(text), None) => draft.find::<Address>(text),
        (None, Some(text)) => {
            let wanted = ipv4_address("publicIp", text)?;
            let found = draft.all::<Address>().find(|a| a.public_ip == wanted);
            found.ok_or_else(|| address_not_found(text))
        }
        (None, None) => Err(Ec2Error::new(
            ErrorCode::MissingParameter,
            "Either public IP or allocation id must be specified",
        )),
    }
}

fn address_not_found(text: &str) -> Ec2Error {
    Ec2Error::new(
        ErrorCode::InvalidAddressNotFound,
        format!("Address '{}' not found.", clip(text)),
    )
}

fn show(draft: &Draft<'_>, address: &Address) -> shape::Address {
    let link = address.association;
    let interface = link.and_then(|l| draft.get::<NetworkInterface>(l.network_interface_id));
    let attachment = interface.and_then(|i| i.attachment.as_ref());
    shape::Address {
        allocation_id: Some(address.id.to_string()),
        association_id: link.map(|l| l.association_id.to_string()),
        domain: Some("vpc".into()),
        network_interface_id: link.map(|l| l.network_interface_id.to_string()),
        network_interface_owner_id: link.map(|_| draft.scope.account.to_string()),
        private_ip_address: link.map(|l| l.private_ip.to_string()),
        tags: show_tags(&address.tags),
        public_ipv4_pool: Some("amazon".into()),
        network_border_group: Some(draft.scope.region.to_string()),
        subnet_id: None,
        instance_id: attachment.map(|a| a.instance_id.to_string()),
        public_ip: Some(address.public_ip.to_string()),
    }
}

impl Item for shape::Address {
    const FIELDS: &'static [Field<Self>] = &[
        ("allocation-id", |a| text(&a.allocation_id)),
        ("association-id", |a| text(&a.association_id)),
        ("domain", |a| text(&a.domain)),
        ("instance-id", |a| text(&a.instance_id)),
        ("network-border-group", |a| text(&a.network_border_group)),
        ("network-interface-id", |a| text(&a.network_interface_id)),
        ("network-interface-owner-id", |a| {
            text(&a.network_interface_owner_id)
        }),
        ("private-ip-address", |a| text(&a.private_ip_address)),
        ("public-ip", |a| text(&a.public_ip)),
    ];

    fn key(&self) -> String {
        self.allocation_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.tags
    }
}
