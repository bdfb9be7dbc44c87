//! Why a packet was dropped: one variant = one counter = one trace line = one test assertion.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! drop_reasons {
    ($($variant:ident $name:literal $sentence:literal)*) => {
        /// Why a packet was dropped.
        ///
        /// `Display` is one sentence for people, [`DropReason::name`] the stable name for counters.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[non_exhaustive]
        pub enum DropReason {
            $(#[doc = $sentence] #[serde(rename = $name)] $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable kebab-case name, as in counters and minimal traces.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)*
                }
            }
        }
    };
}

drop_reasons! {
    Unattached "unattached"
        "The sending interface is not attached to an instance."
    DestinationUnattached "destination-unattached"
        "The receiving interface is not attached to an instance or not connected to the card."
    Malformed "malformed"
        "The frame is not a well-formed packet."
    UnsupportedEtherType "unsupported-ether-type"
        "The frame is neither IPv4, IPv6 nor ARP."
    SourceMac "source-mac"
        "The source MAC is not the interface's own."
    SourceAddress "source-address"
        "The source address is not the sender's own."
    ArpIgnored "arp-ignored"
        "The ARP packet is not a request that the card answers."
    NeighborIgnored "neighbor-ignored"
        "The Neighbor Discovery message is not one that the card answers."
    NoSuchNeighbor "no-such-neighbor"
        "No interface of the subnet has the address that ARP or Neighbor Discovery asked for."
    Multicast "multicast"
        "A VPC carries no broadcast and no multicast."
    DestinationAddress "destination-address"
        "The destination is not the address of a host, or a private one that the internet does not route."
    LinkLocalUnknown "link-local-unknown"
        "No service listens at this link-local address, and link-local packets never leave the card."
    LinkLocalAllowance "linklocal-allowance-exceeded"
        "The interface sent more packets to link-local services than its allowance of packets per second."
    BandwidthInAllowance "bw-in-allowance-exceeded"
        "More bytes came in than the receiving interface's bandwidth and its queue take."
    BandwidthOutAllowance "bw-out-allowance-exceeded"
        "The interface sent more bytes than its bandwidth and its queue take."
    PacketsAllowance "pps-allowance-exceeded"
        "More packets than the interface's allowance of packets per second and its queue take."
    ResolverDisabled "resolver-disabled"
        "The VPC has DNS support switched off."
    RouterRefused "router-refused"
        "The subnet's router answers nothing but echo requests."
    FragmentUnknown "fragment-unknown"
        "A fragment came without the first fragment of its packet, which names the ports."
    SecurityGroupOutbound "security-group-outbound"
        "No outbound rule of the sender's security groups allows the packet."
    SecurityGroupInbound "security-group-inbound"
        "No inbound rule of the receiver's security groups allows the packet."
    ConntrackFull "conntrack-allowance-exceeded"
        "The interface tracks as many connections as it may."
    NoRoute "no-route"
        "No route of the subnet's route table matches the destination."
    Blackhole "blackhole"
        "The route's target is gone."
    RouteLoop "route-loop"
        "The route leads back to the interface that sent the packet."
    NoSuchAddress "no-such-address"
        "No interface of the VPC has the destination address."
    DestinationMac "destination-mac"
        "The destination MAC is neither the router's nor a neighbor's."
    DestinationCheck "destination-check"
        "The destination is not the receiver's own address and its source/dest check is on."
    NoInternet "no-internet"
        "The card has no connection to the internet."
    NoPublicAddress "no-public-address"
        "The sender has no public address for the internet gateway to translate to."
    NoSuchPublicAddress "no-such-public-address"
        "No interface behind an internet gateway has this public address."
    TtlExceeded "ttl-exceeded"
        "The packet's hop limit ran out."
    MtuExceeded "mtu-exceeded"
        "The packet is larger than the path's MTU and must not be fragmented."
    FragmentationNeeded "fragmentation-needed"
        "The packet is larger than the path's MTU, and the card does not fragment."
    UnknownPort "unknown-port"
        "The port is not connected to an interface."
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The position of the reason's counter.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        for name in names {
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{name}"
            );
        }
    }

    #[test]
    fn all_is_in_counter_order() {
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), position);
        }
    }

    #[test]
    fn every_reason_says_one_sentence() {
        for reason in DropReason::ALL {
            assert!(reason.to_string().ends_with('.'), "{reason}");
        }
    }
}
