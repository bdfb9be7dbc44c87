//! What an owner chooses about a function.

use super::layout;
use crate::spec::feature::{RxOffloads, TxOffloads};

/// How a function is to be. [`Self::new`] has values that every stock driver is content with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// MAC address. Drivers refuse a device whose MAC has changed over a reset.
    pub mac: [u8; 6],
    /// Pairs of a transmit and a receive queue that the driver can make, 1 to [`layout::MAX_QUEUE_PAIRS`].
    pub queue_pairs: u16,
    /// Most entries of a transmit queue, a power of two, 16 to [`layout::MAX_TX_DEPTH`].
    pub tx_depth: u16,
    /// Most entries of a receive queue, a power of two, 16 to [`layout::MAX_RX_DEPTH`].
    pub rx_depth: u16,
    /// Largest MTU, bytes without the Ethernet header, [`layout::MIN_MTU`] to [`layout::MAX_MTU`].
    pub max_mtu: u32,
    /// What is done for packets sent.
    pub tx_offloads: TxOffloads,
    /// What is said of packets received.
    pub rx_offloads: RxOffloads,
    /// Low-latency queues: BAR 2 and feature 4.
    pub llq: bool,
    /// Low-latency queues that do not remember meta descriptors.
    pub disable_meta_caching: bool,
    /// What the link claims, Mbit/s.
    pub link_speed_mbps: u32,
    /// Refuse what is only wrong by the book; without it, what a stock driver could mean is taken.
    pub strict: bool,
    /// Most records of the trace that are kept until they are drained; 0 = no trace.
    pub trace_records: usize,
}

impl Config {
    /// One queue pair and everything that the device can do, at 100 Gbit/s, without trace.
    pub const fn new(mac: [u8; 6]) -> Self {
        Self {
            mac,
            queue_pairs: 1,
            tx_depth: layout::MAX_TX_DEPTH,
            rx_depth: layout::MAX_RX_DEPTH,
            max_mtu: layout::MAX_MTU,
            tx_offloads: TxOffloads::new()
                .with_ipv4_checksum(true)
                .with_l4_ipv4_partial(true)
                .with_l4_ipv4_full(true)
                .with_l4_ipv6_partial(true)
                .with_l4_ipv6_full(true)
                .with_tso_ipv4(true)
                .with_tso_ipv6(true)
                .with_tso_ecn(true),
            rx_offloads: RxOffloads::new()
                .with_ipv4_checksum(true)
                .with_l4_ipv4(true)
                .with_l4_ipv6(true)
                .with_hash(true),
            llq: true,
            disable_meta_caching: false,
            link_speed_mbps: 100_000,
            strict: false,
            trace_records: 0,
        }
    }

    /// Checks the limits that each field states.
    ///
    /// # Errors
    ///
    /// When one does not hold.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=layout::MAX_QUEUE_PAIRS).contains(&self.queue_pairs) {
            return Err(ConfigError::QueuePairs(self.queue_pairs));
        }
        for (depth, most) in [
            (self.tx_depth, layout::MAX_TX_DEPTH),
            (self.rx_depth, layout::MAX_RX_DEPTH),
        ] {
            if !depth.is_power_of_two() || !(16..=most).contains(&depth) {
                return Err(ConfigError::Depth(depth));
            }
        }
        if !(layout::MIN_MTU..=layout::MAX_MTU).contains(&self.max_mtu) {
            return Err(ConfigError::Mtu(self.max_mtu));
        }
        if self.mac[0] & 1 == 1 || self.mac == [0; 6] {
            return Err(ConfigError::Mac(self.mac));
        }
        Ok(())
    }
}

/// Why a function cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Too many queue pairs, or none.
    #[error("A function has 1 to {most} queue pairs, not {0}", most = layout::MAX_QUEUE_PAIRS)]
    QueuePairs(u16),
    /// A depth is out of range, or not a power of two.
    #[error("No queue can have {0} entries")]
    Depth(u16),
    /// The largest MTU is out of range.
    #[error("The largest MTU cannot be {0}")]
    Mtu(u32),
    /// The MAC address is a group's, or zero.
    #[error("{0:02x?} is no MAC address of an interface")]
    Mac([u8; 6]),
    /// The BARs do not fit into config space.
    #[error(transparent)]
    Space(#[from] trinic_pci::config::ConfigError),
    /// There is no datapath.
    #[error(transparent)]
    Datapath(#[from] crate::datapath::DatapathGone),
}
