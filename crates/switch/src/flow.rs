//! What a flow is known by, and how it is hashed.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;

use trinic_wire::packet::{FiveTuple, Ip, Transport};
use trinic_wire::{icmpv4, icmpv6};

use crate::trace::Direction;

/// IP protocol numbers that the pipeline treats in its own way.
pub(crate) mod protocol {
    pub(crate) const ICMPV4: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ICMPV6: u8 = 58;
}

/// A flow as one interface sees it: the same key for the packets of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    local: u128,
    remote: u128,
    /// Local port, remote port, version and kind of identifier, protocol.
    rest: u64,
}

impl FlowKey {
    /// The key of a packet that passes an interface in this direction.
    #[inline]
    pub(crate) fn of(tuple: &FiveTuple, class: u8, direction: Direction) -> Self {
        let (source, destination) = (bits(tuple.source), bits(tuple.destination));
        let low =
            u64::from(tuple.protocol.0) | u64::from(class) << 8 | u64::from(tuple.source.is_ipv6()) << 15;
        let ports = |local: u16, remote: u16| u64::from(local) << 48 | u64::from(remote) << 32 | low;
        match direction {
            Direction::Outbound => Self {
                local: source,
                remote: destination,
                rest: ports(tuple.source_port, tuple.destination_port),
            },
            Direction::Inbound => Self {
                local: destination,
                remote: source,
                rest: ports(tuple.destination_port, tuple.source_port),
            },
        }
    }
}

#[inline]
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// Keeps the identifiers of ICMP echo and timestamp messages apart.
pub(crate) fn class(ip: &Ip) -> u8 {
    match ip.transport {
        Transport::Icmp(icmp)
            if !ip.is_ipv6() && matches!(icmp.kind, icmpv4::TIMESTAMP_REQUEST | icmpv4::TIMESTAMP_REPLY) =>
        {
            1
        }
        _ => 0,
    }
}

/// Whether an ICMP message asks for an answer, is one, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Query {
    Request,
    Reply,
    Neither,
}

/// See [`Query`].
pub(crate) fn query(kind: u8, ipv6: bool) -> Query {
    match (ipv6, kind) {
        (false, icmpv4::ECHO_REQUEST | icmpv4::TIMESTAMP_REQUEST) | (true, icmpv6::ECHO_REQUEST) => {
            Query::Request
        }
        (false, icmpv4::ECHO_REPLY | icmpv4::TIMESTAMP_REPLY) | (true, icmpv6::ECHO_REPLY) => Query::Reply,
        _ => Query::Neither,
    }
}

impl Hash for FlowKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.local);
        state.write_u128(self.remote);
        state.write_u64(self.rest);
    }
}

/// Makes [`FlowHasher`]s. The seed keeps senders from aiming at one bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowHash(pub(crate) u64);

impl BuildHasher for FlowHash {
    type Hasher = FlowHasher;

    #[inline]
    fn build_hasher(&self) -> FlowHasher {
        FlowHasher(self.0)
    }
}

/// A multiply-and-fold hash of 64-bit words, about one nanosecond per word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowHasher(u64);

impl Hasher for FlowHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        const MULTIPLIER: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835 | 1;
        let product = u128::from(self.0 ^ word).wrapping_mul(MULTIPLIER);
        self.0 = low(product) ^ low(product >> 64);
    }

    #[inline]
    fn write_u128(&mut self, words: u128) {
        // IPv4 addresses leave the upper half zero, which is not worth a round.
        if words >> 64 != 0 {
            self.write_u64(low(words >> 64));
        }
        self.write_u64(low(words));
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "The lower half is what is wanted."
)]
#[inline]
const fn low(words: u128) -> u64 {
    words as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use trinic_wire::Protocol;

    #[test]
    fn both_directions_have_one_key() {
        let tuple = FiveTuple {
            source: "10.0.0.4".parse().unwrap(),
            destination: "10.0.0.5".parse().unwrap(),
            protocol: Protocol::TCP,
            source_port: 1000,
            destination_port: 80,
        };
        let out = FlowKey::of(&tuple, 0, Direction::Outbound);
        assert_eq!(out, FlowKey::of(&tuple.reversed(), 0, Direction::Inbound));
        assert_ne!(out, FlowKey::of(&tuple, 0, Direction::Inbound));
        assert_ne!(out, FlowKey::of(&tuple, 1, Direction::Outbound));
    }

    #[test]
    fn seeds_and_ports_spread() {
        let hash = |seed: u64, port: u64| {
            let mut hasher = FlowHash(seed).build_hasher();
            hasher.write_u64(port);
            hasher.finish()
        };
        assert_ne!(hash(1, 7), hash(2, 7));
        let buckets: std::collections::BTreeSet<_> = (0..1024).map(|p| hash(1, p) % 4096).collect();
        // 1,024 throws into 4,096 buckets hit 906 different ones on average.
        assert!(buckets.len() > 800, "{}", buckets.len());
    }
}
