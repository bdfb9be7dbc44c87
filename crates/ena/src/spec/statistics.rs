//! What the get statistics command carries. Source of all of it: `ena_admin_defs.h`.

use zerocopy::byteorder::{LE, U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::admin::ControlBuffer;

open_enum! {
    /// Which counters (`ena_admin_get_stats_type`).
    pub struct StatisticsType(u8) {
        /// [`BasicStatistics`].
        BASIC = 0 => "basic",
        /// Text in the control buffer; no driver asks.
        EXTENDED = 1 => "extended",
        /// [`EniStatistics`].
        ENI = 2 => "ENI",
        /// [`SrdInfo`].
        SRD = 3 => "ENA SRD",
        /// [`CustomerMetrics`].
        CUSTOMER_METRICS = 4 => "customer metrics",
    }
}

/// Get statistics, from offset 4 (`ena_admin_aq_get_stats_cmd`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GetStatistics {
    /// Memory for customer metrics. It counts where its length is not 0, whatever the command's flags say:
    /// drivers leave those 0 (`ena_com_get_customer_metrics`).
    pub control_buffer: ControlBuffer,
    /// A [`StatisticsType`].
    pub statistics_type: u8,
    /// 0 one queue, 1 all traffic. Linux leaves 0 and means all (`ena_get_dev_stats`).
    pub scope: u8,
    /// Zero.
    pub reserved: U16<LE>,
    /// Which queue.
    pub queue: U16<LE>,
    /// Which device; 0xffff or 0 = this one.
    pub device: U16<LE>,
    /// A set of metrics.
    pub requested_metrics: U64<LE>,
}

/// What the device counted. Source: `ena_admin_basic_stats`, which has each counter in two halves, low first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct BasicStatistics {
    /// Bytes sent.
    pub tx_bytes: U64<LE>,
    /// Packets sent.
    pub tx_packets: U64<LE>,
    /// Bytes received.
    pub rx_bytes: U64<LE>,
    /// Packets received.
    pub rx_packets: U64<LE>,
    /// Packets for the driver dropped for want of descriptors.
    pub rx_drops: U64<LE>,
    /// Packets of the driver dropped.
    pub tx_drops: U64<LE>,
    /// Packets that did not fit.
    pub rx_overruns: U64<LE>,
}

/// Packets that an allowance stopped. Source: `ena_admin_eni_stats`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct EniStatistics {
    /// Bandwidth in.
    pub bw_in_exceeded: U64<LE>,
    /// Bandwidth out.
    pub bw_out_exceeded: U64<LE>,
    /// Packets per second.
    pub pps_exceeded: U64<LE>,
    /// Tracked connections.
    pub conntrack_exceeded: U64<LE>,
    /// Link-local services.
    pub linklocal_exceeded: U64<LE>,
}

/// What ENA Express does. Source: `ena_admin_ena_srd_info`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct SrdInfo {
    /// Bit 0 on, bit 1 for UDP, bit 2 UDP in any order.
    pub flags: U64<LE>,
    /// Packets sent by it.
    pub tx_packets: U64<LE>,
    /// Packets that were, or could have been.
    pub eligible_tx_packets: U64<LE>,
    /// Packets received by it.
    pub rx_packets: U64<LE>,
    /// Percentage of its resources in use.
    pub resource_utilization: U64<LE>,
}

/// Which metrics there are. With a control buffer the values themselves are there, 8 bytes each, in the order
/// of the bits asked for. Source: `ena_admin_customer_metrics`, `ena_ethtool.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CustomerMetrics {
    /// Bits 0 to 4 as in [`EniStatistics`], bit 5 connections that can still be tracked
    /// (`ena_admin_customer_metrics_id`).
    pub reported: U64<LE>,
}

impl CustomerMetrics {
    /// All metrics that have a number. Source: `ENA_ADMIN_CUSTOMER_METRICS_SUPPORT_MASK`.
    pub const ALL: u64 = 0x3f;
}

const _: () = {
    assert!(size_of::<GetStatistics>() == 28);
    assert!(size_of::<BasicStatistics>() == 56);
    assert!(size_of::<EniStatistics>() == 40);
    assert!(size_of::<SrdInfo>() == 40);
    assert!(size_of::<CustomerMetrics>() == 8);
};
