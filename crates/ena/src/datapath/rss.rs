//! Receive-side scaling: Toeplitz's hash over the fields that the driver chose, and the table behind it.
//!
//! Source: Microsoft, "RSS hashing functions" and "Verifying the RSS hash calculation"; the protocol and field
//! numbers are those of `ena_admin_defs.h`.

use super::Rss;
use super::classify::Class;

/// Kinds of packets, in the order of the admin interface's protocol indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    TcpV4 = 0,
    UdpV4 = 1,
    TcpV6 = 2,
    UdpV6 = 3,
    Ipv4 = 4,
    Ipv6 = 5,
    Ipv4Fragment = 6,
    NotIp = 7,
    TcpV6Extended = 8,
    Ipv6Extended = 9,
}

impl Kind {
    const fn index(self) -> usize {
        match self {
            Self::TcpV4 => 0,
            Self::UdpV4 => 1,
            Self::TcpV6 => 2,
            Self::UdpV6 => 3,
            Self::Ipv4 => 4,
            Self::Ipv6 => 5,
            Self::Ipv4Fragment => 6,
            Self::NotIp => 7,
            Self::TcpV6Extended => 8,
            Self::Ipv6Extended => 9,
        }
    }

    /// The kind whose fields hold where none were set for an extended one.
    const fn plain(self) -> Self {
        match self {
            Self::TcpV6Extended => Self::TcpV6,
            Self::Ipv6Extended => Self::Ipv6,
            other => other,
        }
    }
}

const L2_DESTINATION: u16 = 1 << 0;
const L2_SOURCE: u16 = 1 << 1;
const L3_DESTINATION: u16 = 1 << 2;
const L3_SOURCE: u16 = 1 << 3;
const L4_DESTINATION: u16 = 1 << 4;
const L4_SOURCE: u16 = 1 << 5;

const NETWORK_FIELDS: u16 = L3_DESTINATION | L3_SOURCE | L4_DESTINATION | L4_SOURCE;

/// Bytes that are hashed at most: two IPv6 addresses and two ports, or two MAC addresses behind them.
const MAX_INPUT: usize = 36;

/// Chooses a receive queue for a packet.
#[derive(Debug)]
pub(super) struct Chooser {
    rss: Rss,
    mask: u32,
    /// For each byte of the input and each of its values, what it adds to the hash.
    tables: Option<Box<[[u32; 256]; MAX_INPUT]>>,
}

impl Chooser {
    pub(super) fn new(rss: Rss) -> Self {
        let tables = rss.key.map(|key| tables(&key));
        // The length is a power of two by contract; the largest power that fits serves any other.
        let bits = rss.table.len().max(1).ilog2();
        Self {
            mask: (1 << bits.min(16)) - 1,
            rss,
            tables,
        }
    }

    /// The hash of a packet.
    #[inline]
    pub(super) fn hash(&self, window: &[u8], class: &Class) -> u32 {
        let Some(tables) = &self.tables else {
            return 0;
        };
        let mut fields = self.rss.fields[class.kind.index()];
        if fields == 0 {
            fields = self.rss.fields[class.kind.plain().index()];
        }
        // The usual case: addresses and ports of TCP or UDP, which stand in a row where there are no options.
        if fields == NETWORK_FIELDS && class.ports_follow {
            let at = class.l3_offset;
            if class.is_ipv4() {
                if let Some(bytes) = chunk::<12>(window, at + 12) {
                    return hash_all(tables, self.rss.initial_value, bytes);
                }
            } else if let Some(bytes) = chunk::<36>(window, at + 8) {
                return hash_all(tables, self.rss.initial_value, bytes);
            }
        }
        let mut hasher = Hasher {
            tables,
            at: 0,
            hash: self.rss.initial_value,
        };
        if fields & (L3_SOURCE | L3_DESTINATION | L4_SOURCE | L4_DESTINATION) != 0 {
            hasher.add_network(window, class, fields);
        }
        if fields & L2_DESTINATION != 0 {
            hasher.add(window.get(..6));
        }
        if fields & L2_SOURCE != 0 {
            hasher.add(window.get(6..12));
        }
        hasher.hash
    }

    /// The hash of a packet over IPv4 with a transport header behind the addresses: `tuple` has both, in a row. `None`
    /// where the driver chose other fields than all of these.
    #[inline]
    pub(super) fn hash_plain(&self, kind: Kind, tuple: &[u8; 12]) -> Option<u32> {
        let Some(tables) = &self.tables else {
            return Some(0);
        };
        let is_usual = self.rss.fields[kind.index()] == NETWORK_FIELDS;
        is_usual.then(|| hash_all(tables, self.rss.initial_value, tuple))
    }

    /// The queue for a hash.
    #[inline]
    pub(super) fn queue(&self, hash: u32) -> Option<u16> {
        let index = if self.tables.is_some() {
            usize::try_from(hash & self.mask).unwrap_or_default()
        } else {
            0
        };
        self.rss.table.get(index).copied()
    }
}

#[inline]
fn chunk<const N: usize>(window: &[u8], at: usize) -> Option<&[u8; N]> {
    window.get(at..).and_then(<[u8]>::first_chunk::<N>)
}

/// The hash of a row of bytes.
#[inline]
fn hash_all<const N: usize>(tables: &[[u32; 256]; MAX_INPUT], initial: u32, bytes: &[u8; N]) -> u32 {
    let mut hash = initial;
    if let Some(tables) = tables.first_chunk::<N>() {
        for (table, byte) in tables.iter().zip(bytes) {
            hash ^= table[usize::from(*byte)];
        }
    }
    hash
}

/// A hash under way.
struct Hasher<'a> {
    tables: &'a [[u32; 256]; MAX_INPUT],
    at: usize,
    hash: u32,
}

impl Hasher<'_> {
    #[inline]
    fn add_network(&mut self, window: &[u8], class: &Class, fields: u16) {
        let at = class.l3_offset;
        let (source, address_bytes) = if class.is_ipv4() {
            (at + 12, 4)
        } else if class.is_ipv6() {
            (at + 8, 16)
        } else {
            return;
        };
        let destination = source + address_bytes;
        if fields & L3_SOURCE != 0 {
            self.add(window.get(source..destination));
        }
        if fields & L3_DESTINATION != 0 {
            self.add(window.get(destination..destination + address_bytes));
        }
        let Some(transport) = class.transport else {
            return;
        };
        if fields & L4_SOURCE != 0 {
            self.add(window.get(transport.offset..transport.offset + 2));
        }
        if fields & L4_DESTINATION != 0 {
            self.add(window.get(transport.offset + 2..transport.offset + 4));
        }
    }

    #[inline]
    fn add(&mut self, bytes: Option<&[u8]>) {
        let bytes = bytes.unwrap_or_default();
        let tables = self.tables.get(self.at..).unwrap_or_default();
        for (byte, table) in bytes.iter().zip(tables) {
            self.hash ^= table[usize::from(*byte)];
        }
        self.at += bytes.len();
    }
}

/// Each bit of the input that is set adds the 32 bits of the key that start at that bit.
fn tables(key: &[u8; 40]) -> Box<[[u32; 256]; MAX_INPUT]> {
    let mut tables = Box::new([[0; 256]; MAX_INPUT]);
    for (position, table) in tables.iter_mut().enumerate() {
        let window = key
            .get(position..position + 5)
            .and_then(<[u8]>::first_chunk::<5>)
            .map_or(0, |[a, b, c, d, e]| {
                u64::from_be_bytes([0, 0, 0, *a, *b, *c, *d, *e])
            });
        for (value, entry) in table.iter_mut().enumerate() {
            for bit in 0..8 {
                if value & (0x80 >> bit) != 0 {
                    let [.., a, b, c, d] = (window >> (8 - bit)).to_be_bytes();
                    *entry ^= u32::from_be_bytes([a, b, c, d]);
                }
            }
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::classify::classify;

    /// The key of Microsoft's verification suite.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn chooser(tcp: u16) -> Chooser {
        let mut fields = [0; 16];
        fields[0] = tcp;
        fields[2] = tcp;
        Chooser::new(Rss {
            key: Some(KEY),
            initial_value: 0,
            table: vec![0; 128],
            fields,
        })
    }

    fn tcp_v4(source: [u8; 4], destination: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
        let mut ip = [0; 20];
        trinic_wire::ipv4::Repr::new(source.into(), destination.into(), trinic_wire::Protocol::TCP, 20)
            .emit(&mut ip)
            .unwrap();
        frame([8, 0], &ip, ports)
    }

    fn frame(ethertype: [u8; 2], ip: &[u8], ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(ethertype);
        frame.extend(ip);
        frame.extend(ports[0].to_be_bytes());
        frame.extend(ports[1].to_be_bytes());
        frame.extend([0; 16]);
        frame
    }

    /// Source address and port, destination address and port, hash with and without ports. Source: Microsoft,
    /// "Verifying the RSS hash calculation", IPv4.
    #[test]
    fn microsofts_vectors_over_ipv4() {
        for (source, source_port, destination, destination_port, with_ports, without) in [
            (
                [66, 9, 149, 187],
                2794,
                [161, 142, 100, 80],
                1766,
                0x51cc_c178,
                0x323e_8fc2,
            ),
            (
                [199, 92, 111, 2],
                14230,
                [65, 69, 140, 83],
                4739,
                0xc626_b0ea,
                0xd718_262a,
            ),
            (
                [24, 19, 198, 95],
                12898,
                [12, 22, 207, 184],
                38024,
                0x5c2b_394a,
                0xd2d0_a5de,
            ),
            (
                [38, 27, 205, 30],
                48228,
                [209, 142, 163, 6],
                2217,
                0xafc7_327f,
                0x8298_9176,
            ),
            (
                [153, 39, 163, 191],
                44251,
                [202, 188, 127, 2],
                1303,
                0x10e8_28a2,
                0x5d18_09c5,
            ),
        ] {
            let frame = tcp_v4(source, destination, [source_port, destination_port]);
            let class = classify(&frame);
            assert_eq!(class.kind, Kind::TcpV4);
            assert_eq!(chooser(0x3c).hash(&frame, &class), with_ports);
            assert_eq!(chooser(0x0c).hash(&frame, &class), without);
        }
    }

    /// As above, IPv6.
    #[test]
    fn microsofts_vectors_over_ipv6() {
        for (source, source_port, destination, destination_port, with_ports, without) in [
            (
                "3ffe:2501:200:1fff::7",
                2794,
                "3ffe:2501:200:3::1",
                1766,
                0x4020_7d3d,
                0x2cc1_8cd5,
            ),
            (
                "3ffe:501:8::260:97ff:fe40:efab",
                14230,
                "ff02::1",
                4739,
                0xdde5_1bbf,
                0x0f0c_461c,
            ),
            (
                "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
                44251,
                "fe80::200:f8ff:fe21:67cf",
                38024,
                0x02d1_feef,
                0x4b61_e985,
            ),
        ] {
            let mut ip = [0; 40];
            trinic_wire::ipv6::Repr::new(
                source.parse().unwrap(),
                destination.parse().unwrap(),
                trinic_wire::Protocol::TCP,
                20,
            )
            .emit(&mut ip)
            .unwrap();
            let frame = frame([0x86, 0xdd], &ip, [source_port, destination_port]);
            let class = classify(&frame);
            assert_eq!(class.kind, Kind::TcpV6);
            assert_eq!(chooser(0x3c).hash(&frame, &class), with_ports);
            assert_eq!(chooser(0x0c).hash(&frame, &class), without);
        }
    }

    #[test]
    fn without_a_key_the_first_queue_gets_everything() {
        let chooser = Chooser::new(Rss {
            key: None,
            initial_value: 0,
            table: vec![3, 1, 2, 0],
            fields: [0x3c; 16],
        });
        let frame = tcp_v4([1, 2, 3, 4], [5, 6, 7, 8], [9, 10]);
        let hash = chooser.hash(&frame, &classify(&frame));
        assert_eq!((hash, chooser.queue(hash)), (0, Some(3)));
    }
}
