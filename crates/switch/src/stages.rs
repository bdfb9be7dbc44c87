//! The pipeline as one table: which stages a packet passes, and in which order.
//!
//! Both gates always run: the sender's outbound stages, then the receiver's inbound stages. Between them lie
//! the stages of the internet gateway for packets that leave the VPC or come into it.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! stages {
    ($($variant:ident $name:literal $doc:literal)*) => {
        /// One stage of the pipeline.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[non_exhaustive]
        pub enum Stage {
            $(#[doc = $doc] #[serde(rename = $name)] $variant,)*
        }

        impl Stage {
            /// The stage's name in traces.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

stages! {
    Port "port" "Which interface is plugged into the port, and is it attached?"
    Parse "parse" "Is the frame a well-formed packet?"
    AllowanceOut "allowance-out" "Does the sender keep to its bandwidth and packets a second?"
    Fragment "fragment" "Which flow does a fragment belong to?"
    AntiSpoof "anti-spoof" "Are the source MAC and the source address the sender's own?"
    Neighbor "neighbor" "ARP and Neighbor Discovery, answered by the card."
    LinkLocal "link-local" "Services of the card: DHCP, DNS, metadata, time, the subnet's router."
    Multicast "multicast" "Broadcast and multicast end here."
    SecurityGroupOut "security-group-out" "The sender's security groups and its tracked connections."
    Route "route" "Who is next: the sender's subnet's route table, longest prefix first."
    Mtu "mtu" "9,001 bytes inside the VPC."
    GatewayOut "gateway-out" "Internet gateway: private to public address, hop limit, 1,500 bytes."
    GatewayIn "gateway-in" "Internet gateway: public to private address."
    DestinationCheck "destination-check" "Is the packet for the receiver itself?"
    SecurityGroupIn "security-group-in" "The receiver's security groups and its tracked connections."
    AllowanceIn "allowance-in" "Do the receiver's bandwidth and packets a second take the packet?"
    Deliver "deliver" "New MACs, and off to the receiver's port."
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a packet from an interface passes.
pub const OUTBOUND: &[Stage] = &[
    Stage::AntiSpoof,
    Stage::Neighbor,
    Stage::LinkLocal,
    Stage::Multicast,
    Stage::SecurityGroupOut,
    Stage::Route,
];

/// What a packet to an interface of the same VPC passes then.
pub const LOCAL: &[Stage] = &[
    Stage::Mtu,
    Stage::DestinationCheck,
    Stage::SecurityGroupIn,
    Stage::AllowanceIn,
    Stage::Deliver,
];

/// What a packet to the internet passes after [`OUTBOUND`].
pub const TO_INTERNET: &[Stage] = &[Stage::GatewayOut, Stage::Deliver];

/// What a packet to a public address on this same card passes after [`OUTBOUND`]: out through one gateway, in
/// through the other, and both interfaces' gates.
pub const HAIRPIN: &[Stage] = &[
    Stage::GatewayOut,
    Stage::GatewayIn,
    Stage::DestinationCheck,
    Stage::SecurityGroupIn,
    Stage::AllowanceIn,
    Stage::Deliver,
];

/// What a packet from the internet passes.
pub const FROM_INTERNET: &[Stage] = &[
    Stage::Neighbor,
    Stage::Multicast,
    Stage::GatewayIn,
    Stage::DestinationCheck,
    Stage::SecurityGroupIn,
    Stage::AllowanceIn,
    Stage::Deliver,
];
