//! Receive-side scaling as the driver set it.

use crate::datapath::Rss;
use crate::spec::feature::{HASH_PROTOCOLS, HashFields, HashProtocol};

/// Largest table, a power of two's exponent. FreeBSD is built round it; Linux asks for it at most.
pub(super) const MAX_TABLE_LOG2: u16 = 7;

/// The settings, in the forms that the driver gives them.
#[derive(Debug, Clone)]
pub(super) struct RssState {
    /// As in the control buffer: last byte first.
    pub(super) key: [u8; 40],
    pub(super) initial_value: u32,
    pub(super) table: Vec<u16>,
    pub(super) fields: [u16; HASH_PROTOCOLS],
    pub(super) enabled_sort: u16,
}

impl RssState {
    /// What holds until the driver sets something: everything to queue 0, and a key that spreads well once
    /// there is a table.
    pub(super) fn new() -> Self {
        let mut key = DEFAULT_KEY;
        key.reverse();
        Self {
            key,
            initial_value: 0,
            table: vec![0; 1 << MAX_TABLE_LOG2],
            fields: std::array::from_fn(supported_fields),
            enabled_sort: 0,
        }
    }

    /// As the datapath takes it: the key in the order in which the function takes its bytes.
    pub(super) fn to_datapath(&self) -> Rss {
        let mut key = self.key;
        key.reverse();
        Rss {
            key: Some(key),
            initial_value: self.initial_value,
            table: self.table.clone(),
            fields: self.fields,
        }
    }

    /// Exponent of the table's size, which is a power of two.
    pub(super) fn table_log2(&self) -> u16 {
        u16::try_from(self.table.len().trailing_zeros()).unwrap_or(0)
    }
}

/// Fields that can be hashed for a kind of packet: what Linux selects at its start, and demands
/// (`ena_com_set_default_hash_ctrl`).
pub(super) fn supported_fields(protocol: usize) -> u16 {
    let l3 = HashFields::new().with_l3_destination(true).with_l3_source(true);
    let l4 = l3.with_l4_destination(true).with_l4_source(true);
    let l2 = HashFields::new().with_l2_destination(true).with_l2_source(true);
    let protocol = u8::try_from(protocol).map_or(HashProtocol(u8::MAX), HashProtocol);
    let fields = match protocol {
        HashProtocol::TCP4 | HashProtocol::UDP4 => l4,
        HashProtocol::TCP6 | HashProtocol::UDP6 | HashProtocol::TCP6_EXTENSION => l4,
        HashProtocol::IP4 | HashProtocol::IP4_FRAGMENT => l3,
        HashProtocol::IP6 | HashProtocol::IP6_EXTENSION => l3,
        HashProtocol::NOT_IP => l2,
        _ => HashFields::new(),
    };
    fields.into_bits()
}

/// The key whose results Microsoft publishes, so that a hash can be checked. Source: Microsoft, "Verifying the
/// RSS hash calculation".
const DEFAULT_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];
