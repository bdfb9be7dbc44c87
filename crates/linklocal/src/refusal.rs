//! Every reason why a frame or a request gets no answer, or an answer that refuses. Each is a counter.

/// Declares the reasons once: the variant, its name in outputs, what it means.
macro_rules! refusals {
    ($($variant:ident $name:literal $text:literal,)*) => {
        /// Why something was not answered, or was answered with a refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Refusal {
            $(#[doc = $text] $variant,)*
        }

        impl Refusal {
            /// All of them, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name of its counter.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

refusals! {
    Malformed "malformed" "A frame whose headers contradict themselves or its length.",
    NotForUs "not_for_us" "A frame to an address, protocol or port where no service is.",
    Fragment "fragment" "An IP fragment: no service needs a packet that large.",
    Allowance "linklocal_allowance_exceeded" "More packets a second than an interface may send to these services.",
    InterfaceLimit "interface_limit" "A frame of one interface more than the responder keeps state for.",
    NoInstance "no_instance" "A frame of an interface whose instance has no metadata.",
    DhcpMalformed "dhcp_malformed" "No DHCP message of a client.",
    DhcpOtherClient "dhcp_other_client" "A DHCP message for another hardware address than the interface's.",
    DhcpOtherServer "dhcp_other_server" "A DHCP request that chose another server.",
    DhcpUnsupported "dhcp_unsupported" "A DHCP message of a type that needs no answer.",
    DhcpNoAddress "dhcp_no_address" "A DHCP message from an interface without an IPv4 address.",
    DhcpNak "dhcp_nak" "A DHCP request for an address that is not the interface's.",
    Dhcp6Malformed "dhcp6_malformed" "No DHCPv6 message of a client.",
    Dhcp6OtherServer "dhcp6_other_server" "A DHCPv6 message to another server.",
    Dhcp6Unsupported "dhcp6_unsupported" "A DHCPv6 message of a type that needs no answer.",
    DnsMalformed "dns_malformed" "No DNS query.",
    DnsUnsupported "dns_unsupported" "A DNS query with an opcode, version or number of questions that is not answered.",
    DnsDisabled "dns_disabled" "A DNS query in a VPC with enableDnsSupport off.",
    DnsRefused "dns_refused" "A DNS query for a name outside, while there is no upstream resolver.",
    DnsUpstreamFull "dns_upstream_full" "A DNS query for a name outside, while too many wait for the upstream resolver.",
    DnsUpstreamTimeout "dns_upstream_timeout" "A DNS query that the upstream resolver did not answer in time.",
    DnsUpstreamInvalid "dns_upstream_invalid" "An answer of the upstream resolver that answers no waiting query.",
    DnsTruncated "dns_truncated" "A DNS answer that was too large for UDP and was sent without its records.",
    NtpMalformed "ntp_malformed" "No NTP request of a client.",
    TcpConnections "tcp_connections" "A TCP connection beyond the limit of the interface or of the card.",
    TcpUnknown "tcp_unknown" "A TCP segment of no connection.",
    TcpIdle "tcp_idle" "A TCP connection that was closed because nothing came any more.",
    TcpStream "tcp_stream" "A TCP connection that was closed because of what came in it.",
    ImdsDisabled "imds_disabled" "A metadata request while the endpoint is disabled (403).",
    ImdsIpv6Disabled "imds_ipv6_disabled" "A packet to the metadata service's IPv6 endpoint while that is disabled.",
    ImdsBadRequest "imds_bad_request" "A metadata request that is no HTTP (400).",
    ImdsTooLarge "imds_too_large" "A metadata request larger than any needs to be (413, 431).",
    ImdsMethod "imds_method" "A metadata request with a method that the path does not have (405).",
    ImdsForwarded "imds_forwarded" "A token request that came through a proxy (403).",
    ImdsTokenTtl "imds_token_ttl" "A token request without a lifetime of 1 to 21,600 seconds (400).",
    ImdsTokenMissing "imds_token_missing" "A metadata request without the token that is required (401).",
    ImdsTokenInvalid "imds_token_invalid" "A metadata request with a token that is not, or no longer, valid (401).",
    ImdsNotFound "imds_not_found" "A metadata request for a path that is not there (404).",
}

/// Counts of one interface, or of the whole card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Frames that came.
    pub frames: u64,
    /// Frames that were sent.
    pub replies: u64,
    refusals: [u64; Refusal::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            frames: 0,
            replies: 0,
            refusals: [0; Refusal::ALL.len()],
        }
    }
}

impl Counters {
    /// How often this happened.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refusals[why as usize]
    }

    /// Counts one.
    pub fn count(&mut self, why: Refusal) {
        let counter = &mut self.refusals[why as usize];
        *counter = counter.saturating_add(1);
    }

    /// Every reason that happened, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL
            .iter()
            .map(|why| (*why, self.refused(*why)))
            .filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_positions_match() {
        let mut names: Vec<_> = Refusal::ALL.iter().map(|why| why.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
        for (at, why) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*why as usize, at);
        }
    }
}
