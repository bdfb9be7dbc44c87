//! The table of actions: what this face decodes and encodes, and what it says about each.
//!
//! One row per action that trinic has. The row's name finds its shapes in [`crate::model`]; those
//! drive decoding into a [`Command`], encoding of a [`Reply`], the list of parameters, and the
//! support page ([`crate::support`]). An action of the API that has no row is answered with
//! `UnsupportedOperation`; a name that is no action at all with `InvalidAction`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;
use trinic_vpc::command::Command;
use trinic_vpc::reply::Reply;

use crate::error::{ApiError, excerpt};
use crate::model;
use crate::query::Parameters;
use crate::xml;

/// One action that trinic has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The name, for example `CreateVpc`.
    pub name: &'static str,
    /// Parameters (or prefixes of parameters) that are taken and have no effect here, by their name
    /// on the wire with `N` for an index. A script for EC2 carries them; refusing them would break
    /// the script, and nothing that this card models depends on them.
    pub without_effect: &'static [&'static str],
    /// What a reader of the support page should know; empty when there is nothing.
    pub note: &'static str,
}

/// What the card makes of one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It goes into the command.
    Acted,
    /// It is checked for its type and has no effect.
    WithoutEffect,
    /// A request with it is refused with `UnsupportedOperation`.
    Refused,
}

/// How much of an action there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Every parameter is taken.
    Works,
    /// Some parameters are refused.
    Partial,
    /// Not here.
    Absent,
}

impl Action {
    /// The action of a name, if trinic has it.
    ///
    /// # Errors
    /// `UnsupportedOperation` for an action of the API that trinic lacks, `InvalidAction` for
    /// anything else.
    pub fn find(name: &str) -> Result<&'static Self, ApiError> {
        if let Ok(at) = ACTIONS.binary_search_by(|action| action.name.cmp(name)) {
            return Ok(&ACTIONS[at]);
        }
        if model::is_action(name) {
            return Err(ApiError::new(
                "UnsupportedOperation",
                format!("trinic does not have the EC2 action {name}; docs/support.md lists those it has"),
            ));
        }
        Err(ApiError::new(
            "InvalidAction",
            format!("The action {} is not valid for this web service.", excerpt(name)),
        ))
    }

    /// Decodes a request's parameters into the command of this action.
    ///
    /// # Errors
    /// `UnknownParameter`, `MissingParameter` or `InvalidParameterValue` for what the API does not
    /// allow; `UnsupportedOperation` for a parameter of the API that trinic does not act on.
    pub fn decode(&self, parameters: &Parameters) -> Result<Command, ApiError> {
        let shape = model::request(self.name).ok_or_else(|| self.broken("has no request shape"))?;
        let given = shape.read(parameters)?;
        let (command, untaken) = self.to_command(given)?;
        for name in untaken {
            if self.use_of_untaken(&name) == Use::Refused {
                return Err(ApiError::new(
                    "UnsupportedOperation",
                    format!(
                        "trinic does not support the parameter {name} of {}; docs/support.md lists \
                         what it supports",
                        self.name
                    ),
                ));
            }
        }
        Ok(command)
    }

    /// The XML document that answers this action.
    ///
    /// # Errors
    /// `InternalError` when the reply is not one of this action: a fault of the caller of this
    /// function.
    pub fn encode(&self, reply: &Reply, request_id: &str) -> Result<String, ApiError> {
        let mut value = serde_json::to_value(reply).map_err(|error| self.broken(&error.to_string()))?;
        let members = match &mut value {
            Value::String(done) if done == "Done" => None,
            Value::Object(map) => match map.remove(self.name) {
                Some(Value::Object(members)) => Some(members),
                _ => return Err(self.broken("was answered with another action's reply")),
            },
            _ => return Err(self.broken("was answered with something that is no reply")),
        };
        Ok(xml::response(self.name, request_id, |xml| {
            match (members, model::response(self.name)) {
                (Some(members), Some(shape)) => shape.write(&members, xml),
                // Source: [AWS EC2 API reference, the response elements of actions that return
                // nothing: `return`].
                _ => xml.value("return", true),
            }
        }))
    }

    /// Every parameter of the action and what becomes of it, by its name on the wire.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, Use)> {
        let Some(shape) = model::request(self.name) else {
            return Vec::new();
        };
        let Ok((_, untaken)) = self.to_command(shape.sample()) else {
            return Vec::new();
        };
        let mut parameters = Vec::new();
        for name in shape.leaves() {
            let use_ = if untaken.iter().any(|prefix| covers(prefix, &name)) {
                self.use_of_untaken(&name)
            } else {
                Use::Acted
            };
            parameters.push((name, use_));
        }
        parameters
    }

    /// How much of the action there is.
    #[must_use]
    pub fn support(&self) -> Support {
        if self.parameters().iter().any(|(_, use_)| *use_ == Use::Refused) {
            Support::Partial
        } else {
            Support::Works
        }
    }

    /// The command, and the names (with `N` for an index) of what was given and did not go into it.
    ///
    /// The command's type says itself what it takes: what was given is compared with what the
    /// command gives back.
    fn to_command(&self, given: Value) -> Result<(Command, Vec<String>), ApiError> {
        let shape = model::request(self.name).ok_or_else(|| self.broken("has no request shape"))?;
        let tagged = Value::Object([(self.name.to_owned(), given.clone())].into_iter().collect());
        let command: Command =
            serde_json::from_value(tagged).map_err(|error| self.broken(&error.to_string()))?;
        let taken = serde_json::to_value(&command).map_err(|error| self.broken(&error.to_string()))?;
        let untaken = shape.untaken(&given, &taken[self.name]);
        Ok((command, untaken))
    }

    fn use_of_untaken(&self, name: &str) -> Use {
        if self.without_effect.iter().any(|prefix| covers(prefix, name)) {
            Use::WithoutEffect
        } else {
            Use::Refused
        }
    }

    fn broken(&self, what: &str) -> ApiError {
        ApiError::new("InternalError", "An internal error has occurred")
            .with_context(format!("{} {what}", self.name))
    }
}

/// Whether a name is the prefix itself or stands below it.
fn covers(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The actions by name.
#[must_use]
pub fn by_name() -> &'static BTreeMap<&'static str, &'static Action> {
    static BY_NAME: LazyLock<BTreeMap<&'static str, &'static Action>> =
        LazyLock::new(|| ACTIONS.iter().map(|action| (action.name, action)).collect());
    &BY_NAME
}

const fn action(name: &'static str) -> Action {
    Action {
        name,
        without_effect: &[],
        note: "",
    }
}

impl Action {
    const fn without_effect(mut self, parameters: &'static [&'static str]) -> Self {
        self.without_effect = parameters;
        self
    }

    const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }
}

/// No resource here is managed by another service.
const MANAGED: &[&str] = &["IncludeManagedResources"];

/// What instances of every kind take along and a namespace does not have.
const INSTANCE_HARDWARE: &[&str] = &[
    "AdditionalInfo",
    "BlockDeviceMapping",
    "CapacityReservationSpecification",
    "CpuOptions",
    "CreditSpecification",
    "EbsOptimized",
    "EnclaveOptions",
    "HibernationOptions",
    "IamInstanceProfile",
    "KernelId",
    "LicenseSpecification",
    "MaintenanceOptions",
    "Monitoring",
    "RamdiskId",
];

/// The actions that trinic has, in the order of their names.
pub static ACTIONS: &[Action] = &[
    action("AllocateAddress"),
    action("AssignIpv6Addresses"),
    action("AssignPrivateIpAddresses"),
    action("AssociateAddress"),
    action("AssociateRouteTable")
        .note("`GatewayId` is refused by the model: tables are associated with subnets."),
    action("AssociateSubnetCidrBlock"),
    action("AssociateVpcCidrBlock"),
    action("AttachInternetGateway"),
    action("AttachNetworkInterface"),
    action("AuthorizeSecurityGroupEgress").note("Rules that name a prefix list are refused."),
    action("AuthorizeSecurityGroupIngress").note("Rules that name a prefix list are refused."),
    action("CreateDefaultVpc"),
    action("CreateInternetGateway"),
    action("CreateNetworkInterface"),
    action("CreateRoute").note("`NatGatewayId` is refused by the model: there are no NAT gateways."),
    action("CreateRouteTable"),
    action("CreateSecurityGroup"),
    action("CreateSubnet"),
    action("CreateTags"),
    action("CreateVpc"),
    action("DeleteInternetGateway"),
    action("DeleteKeyPair"),
    action("DeleteNetworkInterface"),
    action("DeleteRoute"),
    action("DeleteRouteTable"),
    action("DeleteSecurityGroup"),
    action("DeleteSubnet"),
    action("DeleteTags"),
    action("DeleteVpc"),
    action("DeregisterImage")
        .without_effect(&["DeleteAssociatedSnapshots"])
        .note("There are no snapshots behind an image."),
    action("DescribeAccountAttributes"),
    action("DescribeAddresses"),
    action("DescribeAvailabilityZones").note(
        "There are zones only, no local or wavelength zones, so `AllAvailabilityZones` changes nothing.",
    ),
    action("DescribeImageAttribute").note("`description`, `sriovNetSupport` and `imdsSupport`."),
    action("DescribeImages").note(
        "The caller's own images and the built-in one; other ids launch too (unless `--strict-images`) and are not listed.",
    ),
    action("DescribeInstanceAttribute"),
    action("DescribeInstanceStatus").without_effect(MANAGED),
    action("DescribeInstanceTypes")
        .note("The types that trinic can place; `IncludeUnsupportedInRegion` changes nothing."),
    action("DescribeInstances").without_effect(MANAGED),
    action("DescribeInternetGateways"),
    action("DescribeKeyPairs"),
    action("DescribeNetworkInterfaceAttribute"),
    action("DescribeNetworkInterfaces").without_effect(MANAGED),
    action("DescribeRegions").note("Every region is opted in, so `AllRegions` changes nothing."),
    action("DescribeRouteTables"),
    action("DescribeSecurityGroupRules"),
    action("DescribeSecurityGroups"),
    action("DescribeSubnets"),
    action("DescribeTags"),
    action("DescribeVpcAttribute"),
    action("DescribeVpcs"),
    action("DetachInternetGateway"),
    action("DetachNetworkInterface"),
    action("DisassociateAddress"),
    action("DisassociateRouteTable"),
    action("DisassociateSubnetCidrBlock"),
    action("DisassociateVpcCidrBlock"),
    action("GetConsoleOutput").note("The last 64 KiB, as they are now, whatever `Latest` says."),
    action("ImportKeyPair"),
    action("ModifyInstanceAttribute").without_effect(&[
        "BlockDeviceMapping",
        "EbsOptimized",
        "EnclaveOptions",
        "Kernel",
        "Ramdisk",
    ]),
    action("ModifyInstanceMetadataOptions"),
    action("ModifyInstanceNetworkPerformanceOptions").note("Kept and shown; the allowance of a card stays the type's."),
    action("ModifyNetworkInterfaceAttribute"),
    action("ModifySecurityGroupRules"),
    action("ModifySubnetAttribute"),
    action("ModifyVpcAttribute"),
    action("RebootInstances"),
    action("RegisterImage")
        .without_effect(&["BillingProduct", "BlockDeviceMapping", "BootMode", "TpmSupport", "UefiData"])
        .note(
            "A virtual machine's files by `ImageLocation`: `file:/disk.qcow2`, or \
             `file:/vmlinuz?initrd=/initrd&append=console=ttyS0`; see docs/images.md. Others launch namespaces. \
             `Architecture` is x86_64 and `VirtualizationType` hvm unless it is said.",
        ),
    action("ReleaseAddress").without_effect(&["NetworkBorderGroup"]),
    action("ReplaceRoute"),
    action("ReplaceRouteTableAssociation"),
    action("ResetNetworkInterfaceAttribute"),
    action("RevokeSecurityGroupEgress"),
    action("RevokeSecurityGroupIngress"),
    action("RunInstances")
        .without_effect(INSTANCE_HARDWARE)
        .note("A namespace has no disk, profile or firmware to configure; what a virtual machine has is its image's (docs/images.md)."),
    action("StartInstances").without_effect(&["AdditionalInfo"]),
    action("StopInstances")
        .without_effect(&["SkipOsShutdown"])
        .note("A namespace has no memory image to hibernate into."),
    action("TerminateInstances").without_effect(&["SkipOsShutdown"]),
    action("UnassignIpv6Addresses"),
    action("UnassignPrivateIpAddresses"),
    action("UpdateSecurityGroupRuleDescriptionsEgress"),
    action("UpdateSecurityGroupRuleDescriptionsIngress"),
];
