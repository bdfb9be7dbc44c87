//! Ids of resources: a prefix (`vpc-`, `eni-`, …) and 17 hexadecimal digits.
//!
//! Each kind has its own type, small and `Copy`, that orders and serializes as its text does. An id in
//! a request is parsed with [`ResourceId::parse`]: text of another form is `….Malformed`, as on EC2,
//! while an id of the right form that names nothing is `….NotFound`, which the model reports.
//!
//! Source: [AWS doc AWSEC2/latest/APIReference/errors-overview.html, 2026-11-23].

use std::fmt;

use rand::{Rng, RngExt};

use crate::error::{Ec2Error, ErrorCode};
use crate::resource::Kind;

/// What all id types have in common.
pub trait ResourceId: Copy + Ord + fmt::Display + fmt::Debug {
    /// The text before the digits, with its dash.
    const PREFIX: &'static str;
    /// The error of an id whose text does not have the right form.
    const MALFORMED: ErrorCode;
    /// The error of an id that names no resource.
    const NOT_FOUND: ErrorCode;
    /// What EC2's messages call the resource.
    const NOUN: &'static str;

    /// The id with these digits (68 bits).
    fn from_digits(digits: u128) -> Self;

    /// A new random id.
    fn random(rng: &mut dyn Rng) -> Self {
        Self::from_digits(rng.random::<u128>() & MAX_DIGITS)
    }

    /// Parses an id of a request.
    fn parse(text: &str) -> Result<Self, Ec2Error> {
        match text.strip_prefix(Self::PREFIX).and_then(parse_digits) {
            Some(digits) => Ok(Self::from_digits(digits)),
            None => Err(Ec2Error::new(
                Self::MALFORMED,
                format!(
                    "Invalid id: \"{}\" (expecting \"{}...\")",
                    clip(text),
                    Self::PREFIX
                ),
            )),
        }
    }

    /// The error for an id that names nothing.
    fn not_found(text: &str) -> Ec2Error {
        Ec2Error::new(
            Self::NOT_FOUND,
            format!("The {} ID '{}' does not exist", Self::NOUN, clip(text)),
        )
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $noun:literal, $malformed:ident, $not_found:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl ResourceId for $name {
            const PREFIX: &'static str = $prefix;
            const MALFORMED: ErrorCode = ErrorCode::$malformed;
            const NOT_FOUND: ErrorCode = ErrorCode::$not_found;
            const NOUN: &'static str = $noun;

            fn from_digits(digits: u128) -> Self {
                Self(digits & MAX_DIGITS)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{:017x}", $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Ec2Error;

            fn from_str(text: &str) -> Result<Self, Ec2Error> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// `vpc-…`.
    VpcId, "vpc-", "vpc", InvalidVpcIdMalformed, InvalidVpcIdNotFound;
    /// `subnet-…`.
    SubnetId, "subnet-", "subnet", InvalidSubnetIdMalformed, InvalidSubnetIdNotFound;
    /// `sg-…`.
    SecurityGroupId, "sg-", "security group", InvalidGroupIdMalformed, InvalidGroupNotFound;
    /// `sgr-…`.
    SecurityGroupRuleId, "sgr-", "security group rule", InvalidSecurityGroupRuleIdMalformed, InvalidSecurityGroupRuleIdNotFound;
    /// `eni-…`.
    NetworkInterfaceId, "eni-", "networkInterface", InvalidNetworkInterfaceIdMalformed, InvalidNetworkInterfaceIdNotFound;
    /// `eni-attach-…`.
    AttachmentId, "eni-attach-", "attachment", InvalidNetworkInterfaceAttachmentIdMalformed, InvalidAttachmentIdNotFound;
    /// `i-…`.
    InstanceId, "i-", "instance", InvalidInstanceIdMalformed, InvalidInstanceIdNotFound;
    /// `r-…`.
    ReservationId, "r-", "reservation", InvalidReservationIdMalformed, InvalidReservationIdNotFound;
    /// `eipalloc-…`.
    AllocationId, "eipalloc-", "allocation", InvalidAllocationIdMalformed, InvalidAllocationIdNotFound;
    /// `eipassoc-…`.
    AddressAssociationId, "eipassoc-", "association", InvalidAssociationIdMalformed, InvalidAssociationIdNotFound;
    /// `igw-…`.
    InternetGatewayId, "igw-", "internetGateway", InvalidInternetGatewayIdMalformed, InvalidInternetGatewayIdNotFound;
    /// `rtb-…`.
    RouteTableId, "rtb-", "routeTable", InvalidRouteTableIdMalformed, InvalidRouteTableIdNotFound;
    /// `rtbassoc-…`.
    RouteTableAssociationId, "rtbassoc-", "association", InvalidAssociationIdMalformed, InvalidAssociationIdNotFound;
    /// `vpc-cidr-assoc-…`.
    VpcCidrAssociationId, "vpc-cidr-assoc-", "vpc CIDR block association", InvalidVpcCidrBlockAssociationIdMalformed, InvalidVpcCidrBlockAssociationIdNotFound;
    /// `subnet-cidr-assoc-…`.
    SubnetCidrAssociationId, "subnet-cidr-assoc-", "subnet CIDR block association", InvalidSubnetCidrBlockAssociationIdMalformed, InvalidSubnetCidrBlockAssociationIdNotFound;
    /// `key-…`.
    KeyPairId, "key-", "key pair", InvalidKeyPairNotFound, InvalidKeyPairNotFound;
    /// `ami-…`.
    ImageId, "ami-", "image", InvalidAmiIdMalformed, InvalidAmiIdNotFound;
    /// `dopt-…`.
    DhcpOptionsId, "dopt-", "dhcpOptions", InvalidDhcpOptionsIdMalformed, InvalidDhcpOptionsIdNotFound;
}

/// The id of any resource that the model stores on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum AnyId {
    /// The account's presence in the region (see [`crate::resource::Home`]).
    Home,
    /// A VPC.
    Vpc(VpcId),
    /// A subnet.
    Subnet(SubnetId),
    /// A security group.
    SecurityGroup(SecurityGroupId),
    /// An internet gateway.
    InternetGateway(InternetGatewayId),
    /// A route table.
    RouteTable(RouteTableId),
    /// A network interface.
    NetworkInterface(NetworkInterfaceId),
    /// An instance.
    Instance(InstanceId),
    /// An Elastic IP address.
    Address(AllocationId),
    /// A key pair.
    KeyPair(KeyPairId),
    /// An image.
    Image(ImageId),
}

impl AnyId {
    /// The kind of resource.
    pub fn kind(self) -> Kind {
        match self {
            Self::Home => Kind::Home,
            Self::Vpc(_) => Kind::Vpc,
            Self::Subnet(_) => Kind::Subnet,
            Self::SecurityGroup(_) => Kind::SecurityGroup,
            Self::InternetGateway(_) => Kind::InternetGateway,
            Self::RouteTable(_) => Kind::RouteTable,
            Self::NetworkInterface(_) => Kind::NetworkInterface,
            Self::Instance(_) => Kind::Instance,
            Self::Address(_) => Kind::Address,
            Self::KeyPair(_) => Kind::KeyPair,
            Self::Image(_) => Kind::Image,
        }
    }
}

impl fmt::Display for AnyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home => f.write_str("home"),
            Self::Vpc(id) => id.fmt(f),
            Self::Subnet(id) => id.fmt(f),
            Self::SecurityGroup(id) => id.fmt(f),
            Self::InternetGateway(id) => id.fmt(f),
            Self::RouteTable(id) => id.fmt(f),
            Self::NetworkInterface(id) => id.fmt(f),
            Self::Instance(id) => id.fmt(f),
            Self::Address(id) => id.fmt(f),
            Self::KeyPair(id) => id.fmt(f),
            Self::Image(id) => id.fmt(f),
        }
    }
}

/// Digits of an id: 8 (ids of before 2016) or 17, lower-case hexadecimal.
fn parse_digits(text: &str) -> Option<u128> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if !matches!(text.len(), 8 | 17) || !text.bytes().all(hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// The start of a caller's text, short enough for an error message.
pub(crate) fn clip(text: &str) -> &str {
    match text.char_indices().nth(MAX_ECHO_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// 17 hexadecimal digits.
const MAX_DIGITS: u128 = (1 << 68) - 1;

/// How much of a caller's text an error message repeats.
const MAX_ECHO_CHARS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_prefix_and_17_digits() {
        let id = VpcId::from_digits(0xabc);
        assert_eq!(id.to_string(), "vpc-00000000000000abc");
        assert_eq!(VpcId::parse("vpc-00000000000000abc").unwrap(), id);
        assert_eq!(VpcId::parse("vpc-00000abc").unwrap(), id);
    }

    #[test]
    fn other_forms_are_malformed() {
        for text in [
            "",
            "vpc-",
            "vpc-1",
            "subnet-00000000000000abc",
            "vpc-00000000000000ABC",
            "vpc-00000000000000abcd",
        ] {
            let error = VpcId::parse(text).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidVpcIdMalformed, "{text}");
        }
        // An attachment's prefix begins with an interface's.
        assert!(NetworkInterfaceId::parse("eni-attach-00000000000000abc").is_err());
    }

    #[test]
    fn random_ids_stay_within_17_digits() {
        let mut rng = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(1);
        for _ in 0..100 {
            let id = InstanceId::random(&mut rng);
            assert_eq!(id.to_string().len(), 2 + 17);
            assert_eq!(InstanceId::parse(&id.to_string()).unwrap(), id);
        }
    }

    #[test]
    fn long_text_is_clipped_in_messages() {
        let error = VpcId::parse(&"é".repeat(10_000)).unwrap_err();
        assert!(error.message.len() < 400);
    }
}
