//! What a flow is known by, and how it is hashed.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;

use trinic_wire::packet::{FiveTuple, Ip, Transport};
use trinic_wire::plain::{Addresses, Plain, Words};
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
///
/// The first word has two IPv4 addresses (local, remote), or the upper half of the local IPv6 address. The
/// second has both ports, version and kind of identifier, and the protocol; it is never zero for TCP and UDP.
/// The others have the rest of the IPv6 addresses.
#[derive(Debug, Clone, Copy, Eq)]
pub(crate) struct FlowKey {
    words: [u64; 5],
}

impl PartialEq for FlowKey {
    /// Without a branch per word, and without a call: what is found first is nearly always the right one. Keys of
    /// IPv4 have nothing but zeros behind the second word, which says which version it is.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let [a, b, c, d, e] = self.words;
        let [f, g, h, i, j] = other.words;
        ((a ^ f) | (b ^ g)) == 0 && (!self.is_ipv6() || ((c ^ h) | (d ^ i) | (e ^ j)) == 0)
    }
}

/// In the second word: the addresses are IPv6 ones.
const IS_IPV6: u64 = 1 << 15;

impl FlowKey {
    /// No flow's key.
    pub(crate) const EMPTY: Self = Self { words: [0; 5] };

    /// The key of a packet that passes an interface in this direction.
    #[inline]
    pub(crate) fn of(tuple: &FiveTuple, class: u8, direction: Direction) -> Self {
        let low = u64::from(tuple.protocol.0) | u64::from(class) << 8;
        let (source, destination) = (tuple.source, tuple.destination);
        let (from, to) = (tuple.source_port, tuple.destination_port);
        let (local, remote, ports) = match direction {
            Direction::Outbound => (source, destination, ports(from, to)),
            Direction::Inbound => (destination, source, ports(to, from)),
        };
        match (local, remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                Self::ipv4(local.to_bits(), remote.to_bits(), ports | low)
            }
            (local, remote) => Self::ipv6(bits(local), bits(remote), ports | low),
        }
    }

    /// The key of a packet that its sender's interface sends.
    #[inline]
    pub(crate) fn of_plain(plain: &Plain) -> Self {
        let rest = ports(plain.source_port, plain.destination_port) | u64::from(plain.protocol.0);
        match plain.addresses {
            Addresses::V4 { source, destination } => Self::ipv4(source, destination, rest),
            Addresses::V6 { source, destination } => Self::ipv6(source, destination, rest),
        }
    }

    /// As [`Self::of_plain`], of a frame over IPv4.
    #[inline]
    pub(crate) fn of_words(words: &Words) -> Self {
        let rest = u64::from(words.ports) << 32 | u64::from(words.protocol.0);
        Self {
            words: [words.addresses, rest, 0, 0, 0],
        }
    }

    #[inline]
    fn ipv4(local: u32, remote: u32, rest: u64) -> Self {
        let addresses = u64::from(local) << 32 | u64::from(remote);
        Self {
            words: [addresses, rest, 0, 0, 0],
        }
    }

    #[inline]
    fn ipv6(local: u128, remote: u128, rest: u64) -> Self {
        let rest = rest | IS_IPV6;
        Self {
            words: [high(local), rest, low(local), high(remote), low(remote)],
        }
    }

    #[inline]
    fn is_ipv6(&self) -> bool {
        self.words[1] & IS_IPV6 != 0
    }

    /// Whether this is no TCP or UDP flow's key.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.words[1] == 0
    }
}

#[inline]
fn ports(local: u16, remote: u16) -> u64 {
    u64::from(local) << 48 | u64::from(remote) << 32
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

/// Hashes flow keys. The seed is secret, so that a sender cannot aim at one bucket.
///
/// One multiplication for IPv4, three for IPv6. It is not a cryptographic hash: who could measure collisions
/// might find some. What collides costs the flow cache a walk, never a wrong verdict.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowHash {
    seeds: [u64; 2],
}

impl FlowHash {
    pub(crate) fn new(seed: u64) -> Self {
        const ONE: u64 = 0x9e37_79b9_7f4a_7c15;
        const TWO: u64 = 0xf39c_c060_5ced_c835;
        Self {
            seeds: [fold(seed ^ ONE, TWO) ^ seed, fold(seed ^ TWO, ONE)],
        }
    }

    #[inline]
    pub(crate) fn of(self, key: &FlowKey) -> u64 {
        let [a, b, c, d, e] = key.words;
        // Each word is in both factors: with one in one factor the hash would be linear in it, and the ports of two
        // hosts would fall into a pattern.
        let hash = fold(
            (a ^ self.seeds[0]).wrapping_add(b.rotate_left(32)),
            b ^ self.seeds[1] ^ a.rotate_left(17),
        );
        if !key.is_ipv6() {
            return hash;
        }
        let hash = fold(c ^ hash, d ^ self.seeds[1]);
        fold(e ^ self.seeds[0], hash ^ self.seeds[1])
    }
}

impl Hash for FlowKey {
    /// The hasher has the seeds, so that it takes the words as they are.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.words[0]);
        state.write_u64(self.words[1]);
        if self.is_ipv6() {
            state.write_u64(self.words[2]);
            state.write_u64(self.words[3]);
            state.write_u64(self.words[4]);
        }
    }
}

impl BuildHasher for FlowHash {
    type Hasher = FlowHasher;

    #[inline]
    fn build_hasher(&self) -> FlowHasher {
        FlowHasher {
            state: self.seeds[0],
            key: self.seeds[1],
        }
    }
}

/// A multiply-and-fold hash of 64-bit words, about one nanosecond per word, for the standard maps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowHasher {
    state: u64,
    key: u64,
}

impl Hasher for FlowHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.key | 1);
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
        fold(self.state, self.key | 1)
    }
}

/// Both halves of the product, one upon the other.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    low(product) ^ high(product)
}

#[inline]
const fn high(words: u128) -> u64 {
    low(words >> 64)
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
    use std::collections::BTreeSet;

    use super::*;
    use trinic_wire::Protocol;
    use trinic_wire::tcp::Flags;

    fn tuple() -> FiveTuple {
        FiveTuple {
            source: "10.0.0.4".parse().unwrap(),
            destination: "10.0.0.5".parse().unwrap(),
            protocol: Protocol::TCP,
            source_port: 1000,
            destination_port: 80,
        }
    }

    #[test]
    fn both_directions_have_one_key() {
        let tuple = tuple();
        let out = FlowKey::of(&tuple, 0, Direction::Outbound);
        assert_eq!(out, FlowKey::of(&tuple.reversed(), 0, Direction::Inbound));
        assert_ne!(out, FlowKey::of(&tuple, 0, Direction::Inbound));
        assert_ne!(out, FlowKey::of(&tuple, 1, Direction::Outbound));
        assert!(!out.is_empty() && FlowKey::EMPTY.is_empty());
    }

    #[test]
    fn a_plain_frame_has_the_key_of_its_packet() {
        let plain = |tuple: &FiveTuple| Plain {
            addresses: match (tuple.source, tuple.destination) {
                (IpAddr::V4(a), IpAddr::V4(b)) => Addresses::V4 {
                    source: a.to_bits(),
                    destination: b.to_bits(),
                },
                (a, b) => Addresses::V6 {
                    source: bits(a),
                    destination: bits(b),
                },
            },
            source_port: tuple.source_port,
            destination_port: tuple.destination_port,
            protocol: tuple.protocol,
            flags: Flags::ACK,
            ttl: 1,
            total_len: 40,
            headers_len: 40,
        };
        let v6 = FiveTuple {
            source: "2001:db8::1:2:3:4".parse().unwrap(),
            destination: "2001:db8::5:6:7:8".parse().unwrap(),
            ..tuple()
        };
        for tuple in [tuple(), v6, v6.reversed()] {
            let key = FlowKey::of(&tuple, 0, Direction::Outbound);
            assert_eq!(FlowKey::of_plain(&plain(&tuple)), key);
        }
    }

    #[test]
    fn seeds_addresses_and_ports_spread() {
        let key = |n: u16| {
            let [a, b] = n.to_be_bytes();
            let v6 = FiveTuple {
                source: [0x2001, 0xdb8, 0, n, 0, 0, 0, 1].into(),
                destination: [0x2001, 0xdb8, 0, 1, 0, 0, 0, 2].into(),
                ..tuple()
            };
            [
                FiveTuple {
                    source_port: n,
                    ..tuple()
                },
                FiveTuple {
                    source: [10, 0, a, b].into(),
                    ..tuple()
                },
                FiveTuple {
                    destination: [10, 0, a, b].into(),
                    ..tuple()
                },
                v6,
                v6.reversed(),
            ]
            .map(|tuple| FlowKey::of(&tuple, 0, Direction::Outbound))
        };
        let hashes = [FlowHash::new(1), FlowHash::new(2)];
        assert_ne!(hashes[0].of(&key(7)[0]), hashes[1].of(&key(7)[0]));
        for kind in 0..5 {
            for bits in [0, 52] {
                let of = |n: u16| hashes[0].of(&key(n)[kind]) >> bits & 0xfff;
                let buckets: BTreeSet<_> = (0..1024).map(of).collect();
                // 1,024 throws into 4,096 buckets hit 906 different ones on average.
                assert!(buckets.len() > 860, "{kind}: {}", buckets.len());
                let one = |n: u16| hashes[0].hash_one(key(n)[kind]) >> bits & 0xfff;
                assert!((0..1024).map(one).collect::<BTreeSet<_>>().len() > 860);
            }
        }
    }
}
