//! Resources: the state that the model keeps and a store persists, each whole and by its id.
//!
//! What EC2 derives is not stored but derived when shown: an interface's status, a route's state, the
//! free addresses of a subnet. What two resources say about each other (an Elastic IP and its
//! interface) is stored on both, changes in one call, and the property tests hold it together.

mod group;
mod image;
mod instance;
mod interface;
mod network;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use group::*;
pub use image::*;
pub use instance::*;
pub use interface::*;
pub use network::*;

use crate::ids::AnyId;
use crate::scope::Scope;

/// Tags of a resource: key to value, at most [`crate::quota::TAGS_PER_RESOURCE`].
pub type Tags = BTreeMap<String, String>;

/// Defines an enumeration of EC2 with its text forms.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The text in requests and responses.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The value that this text stands for.
            pub fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use text_enum;

text_enum! {
    /// The kinds of resource; the text is the one that tag specifications use.
    Kind {
        /// [`Home`].
        Home = "home",
        /// [`Vpc`].
        Vpc = "vpc",
        /// [`Subnet`].
        Subnet = "subnet",
        /// [`SecurityGroup`].
        SecurityGroup = "security-group",
        /// [`SecurityGroupRule`], which lives in its group.
        SecurityGroupRule = "security-group-rule",
        /// [`InternetGateway`].
        InternetGateway = "internet-gateway",
        /// [`RouteTable`].
        RouteTable = "route-table",
        /// [`NetworkInterface`].
        NetworkInterface = "network-interface",
        /// [`Instance`].
        Instance = "instance",
        /// [`Address`].
        Address = "elastic-ip",
        /// [`KeyPair`].
        KeyPair = "key-pair",
        /// [`Image`].
        Image = "image",
    }
}

/// The key of a stored resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// Whose and where.
    pub scope: Scope,
    /// Kind and id.
    pub id: AnyId,
}

impl std::fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.scope, self.id.kind(), self.id)
    }
}

/// A resource, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// The account's presence in the region.
    Home(Home),
    /// A VPC.
    Vpc(Vpc),
    /// A subnet.
    Subnet(Subnet),
    /// A security group with its rules.
    SecurityGroup(SecurityGroup),
    /// An internet gateway.
    InternetGateway(InternetGateway),
    /// A route table with its routes and associations.
    RouteTable(RouteTable),
    /// A network interface with its attachment.
    NetworkInterface(Box<NetworkInterface>),
    /// An instance.
    Instance(Box<Instance>),
    /// An Elastic IP address.
    Address(Address),
    /// A key pair.
    KeyPair(KeyPair),
    /// An image.
    Image(Box<Image>),
}

impl Resource {
    /// Kind and id.
    pub fn id(&self) -> AnyId {
        match self {
            Self::Home(_) => AnyId::Home,
            Self::Vpc(r) => AnyId::Vpc(r.id),
            Self::Subnet(r) => AnyId::Subnet(r.id),
            Self::SecurityGroup(r) => AnyId::SecurityGroup(r.id),
            Self::InternetGateway(r) => AnyId::InternetGateway(r.id),
            Self::RouteTable(r) => AnyId::RouteTable(r.id),
            Self::NetworkInterface(r) => AnyId::NetworkInterface(r.id),
            Self::Instance(r) => AnyId::Instance(r.id),
            Self::Address(r) => AnyId::Address(r.id),
            Self::KeyPair(r) => AnyId::KeyPair(r.id),
            Self::Image(r) => AnyId::Image(r.id),
        }
    }
}

/// A change of the model: what a store writes and [`crate::Model::apply`] takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The resource is new or changed.
    Put(Scope, Resource),
    /// The resource is gone.
    Delete(ResourceKey),
}

impl Event {
    /// The key of the resource that changes.
    pub fn key(&self) -> ResourceKey {
        match self {
            Self::Put(scope, resource) => ResourceKey {
                scope: scope.clone(),
                id: resource.id(),
            },
            Self::Delete(key) => key.clone(),
        }
    }
}

/// The mark that an account has been in a region: its default VPC was made, once.
///
/// Without it a caller who deletes everything would find a new default VPC at the next call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// When the first call came.
    pub created: Timestamp,
}

/// The public half of a key pair that a caller imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// `key-…`.
    pub id: crate::ids::KeyPairId,
    /// Name, unique in the region.
    pub name: String,
    /// The key in OpenSSH's form.
    pub public_key: String,
    /// When it was imported.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
}
