//! What the get and set feature commands carry. Source of all of it: `ena_admin_defs.h`.

use bitfield_struct::bitfield;
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::admin::{ControlBuffer, MemoryAddress};

open_enum! {
    /// A feature (`ena_admin_aq_feature_id`). Bit n of the device's features stands for feature n.
    pub struct FeatureId(u8) {
        /// [`DeviceAttributes`].
        DEVICE_ATTRIBUTES = 1 => "device attributes",
        /// The older form of [`Self::MAX_QUEUES_EXT`].
        MAX_QUEUES = 2 => "max queues",
        /// [`HardwareHints`].
        HARDWARE_HINTS = 3 => "hardware hints",
        /// [`LlqFeature`].
        LLQ = 4 => "LLQ",
        /// Names of private flags.
        EXTRA_PROPERTIES_STRINGS = 5 => "extra properties strings",
        /// Values of private flags.
        EXTRA_PROPERTIES_FLAGS = 6 => "extra properties flags",
        /// [`MaxQueuesExt`].
        MAX_QUEUES_EXT = 7 => "max queues ext",
        /// IP fragments past the rules.
        FRAGMENT_BYPASS = 8 => "fragment bypass",
        /// [`HashFunction`].
        RSS_HASH_FUNCTION = 10 => "RSS hash function",
        /// [`Offloads`].
        STATELESS_OFFLOAD = 11 => "stateless offload",
        /// [`IndirectionTable`].
        RSS_INDIRECTION_TABLE = 12 => "RSS indirection table",
        /// [`Mtu`].
        MTU = 14 => "MTU",
        /// [`HashInput`].
        RSS_HASH_INPUT = 18 => "RSS hash input",
        /// [`Moderation`].
        INTERRUPT_MODERATION = 20 => "interrupt moderation",
        /// [`AenqConfig`].
        AENQ_CONFIG = 26 => "AENQ config",
        /// [`LinkConfig`].
        LINK_CONFIG = 27 => "link config",
        /// [`HostAttributes`].
        HOST_ATTRIBUTES = 28 => "host attributes",
        /// The clock.
        PHC = 29 => "PHC",
        /// Rules that choose a receive queue.
        FLOW_STEERING = 30 => "flow steering",
        /// Time stamps on packets.
        HW_TIMESTAMP = 31 => "hardware timestamp",
    }
}

impl FeatureId {
    /// Its bit among the device's features; 0 where it has none.
    pub const fn bit(self) -> u32 {
        if self.0 < 32 { 1 << self.0 } else { 0 }
    }
}

/// Bytes 16 to 19 of get and set feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FeatureHeader {
    /// 1:0 select: 1 current, 3 default; drivers write 0.
    pub flags: u8,
    /// A [`FeatureId`].
    pub feature_id: u8,
    /// The newest version of the feature that the driver knows.
    pub version: u8,
    /// Zero.
    pub reserved: u8,
}

/// Get and set feature, from offset 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FeatureCommand {
    /// Memory for what does not fit here.
    pub control_buffer: ControlBuffer,
    /// Which feature.
    pub header: FeatureHeader,
    /// Set: the feature's values. They come back at offset 8 of the completion of a get.
    pub payload: [u8; 44],
}

/// Feature 1. Source: `ena_admin_device_attr_feature_desc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DeviceAttributes {
    /// Who made it.
    pub implementation_id: U32<LE>,
    /// Its version.
    pub device_version: U32<LE>,
    /// Bit n: feature n can be asked for.
    pub supported_features: U32<LE>,
    /// [`Capabilities`].
    pub capabilities: U32<LE>,
    /// Bits of a physical address.
    pub physical_width: U32<LE>,
    /// Bits of a virtual address.
    pub virtual_width: U32<LE>,
    /// MAC address, first byte first.
    pub mac: [u8; 6],
    /// Most flow steering rules.
    pub flow_steering_max: U16<LE>,
    /// Largest MTU, bytes without the Ethernet header.
    pub max_mtu: U32<LE>,
}

/// What a device can besides features (`ena_admin_aq_caps_id`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Capabilities {
    /// ENI statistics.
    pub eni_stats: bool,
    /// ENA SRD statistics.
    pub srd_info: bool,
    /// Customer metrics.
    pub customer_metrics: bool,
    /// Reset reasons above 15.
    pub extended_reset_reasons: bool,
    /// Reserved bits of completions are zero.
    pub completion_must_be_zero: bool,
    #[bits(27)]
    reserved: u32,
}

/// Feature 3: how long a driver should wait. 0 = its own value, 0xffff = no limit. Source:
/// `ena_admin_ena_hw_hints`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct HardwareHints {
    /// Register reads, ms.
    pub mmio_read_timeout_ms: U16<LE>,
    /// Keep-alive events, ms.
    pub watchdog_timeout_ms: U16<LE>,
    /// A transmit completion, ms.
    pub tx_completion_timeout_ms: U16<LE>,
    /// Missed transmit completions before a reset.
    pub missed_tx_completions: U16<LE>,
    /// Admin commands, ms.
    pub admin_timeout_ms: U16<LE>,
    /// The operating system's watchdog, ms.
    pub netdev_watchdog_ms: U16<LE>,
    /// Buffers of a packet sent.
    pub max_tx_buffers: U16<LE>,
    /// Buffers of a packet received.
    pub max_rx_buffers: U16<LE>,
    /// Zero.
    pub reserved: [u8; 16],
}

/// A hint of no limit. Source: `ENA_HW_HINTS_NO_TIMEOUT`.
pub const NO_TIMEOUT: u16 = 0xffff;

/// Feature 4, for get and set. Source: `ena_admin_feature_llq_desc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LlqFeature {
    /// Most low-latency queues.
    pub max_queues: U32<LE>,
    /// Most entries of one.
    pub max_depth: U32<LE>,
    /// Where headers may be: a set of [`HeaderLocation`].
    pub header_location_supported: U16<LE>,
    /// Where the driver puts them.
    pub header_location_enabled: U16<LE>,
    /// A set of [`LlqEntrySize`].
    pub entry_size_supported: U16<LE>,
    /// The driver's choice.
    pub entry_size_enabled: U16<LE>,
    /// A set of 1, 2, 4, 8: the numbers of descriptors themselves.
    pub descriptors_before_header_supported: U16<LE>,
    /// The driver's choice.
    pub descriptors_before_header_enabled: U16<LE>,
    /// A set of [`LlqStride`].
    pub stride_supported: U16<LE>,
    /// The driver's choice.
    pub stride_enabled: U16<LE>,
    /// Version of this feature that the device speaks.
    pub version: u8,
    /// The [`LlqEntrySize`] that the device would choose; 0 = it does not mind.
    pub entry_size_recommended: u8,
    /// Most entries of a queue with 256-byte entries; 0 = not told.
    pub max_wide_depth: U16<LE>,
    /// Get: what accelerated queues ask of the driver ([`AccelerationFlags`]). Set: what the driver does of it;
    /// Linux sets both bits whatever the device offers (`ena_com_set_llq`).
    pub acceleration_flags: U16<LE>,
    /// Get: most bytes between two doorbells.
    pub max_burst_bytes: U16<LE>,
    /// Zero.
    pub reserved: U32<LE>,
}

open_enum! {
    /// Where a pushed packet's header is (`ena_admin_llq_header_location`).
    pub struct HeaderLocation(u16) {
        /// In the entry, behind the descriptors.
        INLINE = 1 => "inline",
        /// In a ring of its own.
        RING = 2 => "ring",
    }
}

open_enum! {
    /// Size of a low-latency queue's entry (`ena_admin_llq_ring_entry_size`).
    pub struct LlqEntrySize(u16) {
        /// 128 bytes.
        BYTES_128 = 1 => "128",
        /// 192 bytes.
        BYTES_192 = 2 => "192",
        /// 256 bytes.
        BYTES_256 = 4 => "256",
    }
}

impl LlqEntrySize {
    /// How many bytes it means, where it means one size.
    pub const fn bytes(self) -> Option<u16> {
        match self {
            Self::BYTES_128 => Some(128),
            Self::BYTES_192 => Some(192),
            Self::BYTES_256 => Some(256),
            _ => None,
        }
    }
}

open_enum! {
    /// How a packet's later descriptors stand in entries (`ena_admin_llq_stride_ctrl`).
    pub struct LlqStride(u16) {
        /// One an entry.
        SINGLE = 1 => "one descriptor an entry",
        /// As many as fit.
        MULTIPLE = 2 => "several descriptors an entry",
    }
}

/// What accelerated low-latency queues ask of a driver (`ena_admin_accel_mode_feat`).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct AccelerationFlags {
    /// Each packet that needs a meta descriptor has one.
    pub disable_meta_caching: bool,
    /// A doorbell at least once in so many bytes.
    pub limit_tx_burst: bool,
    #[bits(14)]
    reserved: u16,
}

/// Feature 7. Source: `ena_admin_queue_ext_feature_desc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MaxQueuesExt {
    /// Must be [`Self::VERSION`], or drivers fail.
    pub version: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Most transmit queues.
    pub max_tx_sq: U32<LE>,
    /// Most completion queues for them.
    pub max_tx_cq: U32<LE>,
    /// Most receive queues.
    pub max_rx_sq: U32<LE>,
    /// Most completion queues for them.
    pub max_rx_cq: U32<LE>,
    /// Most entries of a transmit queue.
    pub max_tx_sq_depth: U32<LE>,
    /// Most entries of its completion queue.
    pub max_tx_cq_depth: U32<LE>,
    /// Most entries of a receive queue.
    pub max_rx_sq_depth: U32<LE>,
    /// Most entries of its completion queue.
    pub max_rx_cq_depth: U32<LE>,
    /// Most header bytes pushed with a packet.
    pub max_tx_header: U32<LE>,
    /// Most descriptors of a packet sent, the meta descriptor among them.
    pub max_tx_descriptors: U16<LE>,
    /// Most descriptors of a packet received.
    pub max_rx_descriptors: U16<LE>,
}

impl MaxQueuesExt {
    /// The version of the feature. Source: `ENA_FEATURE_MAX_QUEUE_EXT_VER`, `ena_com.h`.
    pub const VERSION: u8 = 1;
}

/// Feature 10. The key is in the control buffer ([`HashKey`]). Source:
/// `ena_admin_feature_rss_flow_hash_function`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HashFunction {
    /// A set of bits, one for each [`HashFunctionId`].
    pub supported: U32<LE>,
    /// One of them.
    pub selected: U32<LE>,
    /// Starting value of the hash.
    pub initial_value: U32<LE>,
}

open_enum! {
    /// A hash function (`ena_admin_hash_functions`): the number of its bit.
    pub struct HashFunctionId(u8) {
        /// Toeplitz's.
        TOEPLITZ = 1 => "Toeplitz",
        /// CRC 32.
        CRC32 = 2 => "CRC32",
    }
}

/// Control buffer of feature 10. Source: `ena_admin_feature_rss_flow_hash_control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HashKey {
    /// Words of 4 bytes in the key: 10.
    pub parts: U32<LE>,
    /// Zero.
    pub reserved: U32<LE>,
    /// The key, its last byte first: byte 39 is the first that Toeplitz's function takes.
    pub key: [u8; 40],
}

/// Feature 11. Source: `ena_admin_feature_offload_desc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Offloads {
    /// [`TxOffloads`].
    pub tx: U32<LE>,
    /// [`RxOffloads`].
    pub rx_supported: U32<LE>,
    /// [`RxOffloads`].
    pub rx_enabled: U32<LE>,
}

/// What the device does for a packet sent.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct TxOffloads {
    /// The IPv4 header's checksum.
    pub ipv4_checksum: bool,
    /// TCP and UDP over IPv4; the field holds the pseudo header's sum.
    pub l4_ipv4_partial: bool,
    /// TCP and UDP over IPv4, all of it.
    pub l4_ipv4_full: bool,
    /// TCP and UDP over IPv6; the field holds the pseudo header's sum.
    pub l4_ipv6_partial: bool,
    /// TCP and UDP over IPv6, all of it.
    pub l4_ipv6_full: bool,
    /// Segmentation of TCP over IPv4.
    pub tso_ipv4: bool,
    /// Segmentation of TCP over IPv6.
    pub tso_ipv6: bool,
    /// Segmentation with ECN's flags.
    pub tso_ecn: bool,
    #[bits(24)]
    reserved: u32,
}

/// What the device says of a packet received.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct RxOffloads {
    /// Whether the IPv4 header's checksum holds.
    pub ipv4_checksum: bool,
    /// Whether TCP's or UDP's over IPv4 holds.
    pub l4_ipv4: bool,
    /// Whether TCP's or UDP's over IPv6 holds.
    pub l4_ipv6: bool,
    /// Its hash.
    pub hash: bool,
    #[bits(28)]
    reserved: u32,
}

/// Feature 12. The table is in the control buffer ([`IndirectionEntry`]). Source:
/// `ena_admin_feature_rss_ind_table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IndirectionTable {
    /// Smallest table, a power of two's exponent.
    pub min_log2: U16<LE>,
    /// Largest table, a power of two's exponent.
    pub max_log2: U16<LE>,
    /// This table's, a power of two's exponent.
    pub size_log2: U16<LE>,
    /// Bit 0: single entries can be set.
    pub flags: u8,
    /// Zero.
    pub reserved: u8,
    /// Which entry is in line; [`Self::WHOLE`] = none, the table is in the control buffer.
    pub inline_index: U32<LE>,
    /// That entry.
    pub inline_entry: IndirectionEntry,
}

impl IndirectionTable {
    /// The table is in the control buffer.
    pub const WHOLE: u32 = u32::MAX;
}

/// An entry of the RSS table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IndirectionEntry {
    /// The number of a receive queue. The header calls it a completion queue's, but drivers write the
    /// submission queue's (`ena_com_ind_tbl_convert_to_device`).
    pub queue: U16<LE>,
    /// Zero.
    pub reserved: U16<LE>,
}

/// Feature 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Mtu {
    /// Bytes without the Ethernet header.
    pub mtu: U32<LE>,
}

/// Feature 18. The fields are in the control buffer ([`HashControl`]). Source:
/// `ena_admin_feature_rss_flow_hash_input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HashInput {
    /// Bit 1: addresses, bit 2: ports can be swapped so that both directions of a flow hash alike.
    pub supported_sort: U16<LE>,
    /// Which of it is done. Linux always sets both bits (`ena_com_set_hash_ctrl`).
    pub enabled_sort: U16<LE>,
}

open_enum! {
    /// A kind of packet that has its own hash fields (`ena_admin_flow_hash_proto`).
    pub struct HashProtocol(u8) {
        /// TCP over IPv4.
        TCP4 = 0 => "TCP over IPv4",
        /// UDP over IPv4.
        UDP4 = 1 => "UDP over IPv4",
        /// TCP over IPv6.
        TCP6 = 2 => "TCP over IPv6",
        /// UDP over IPv6.
        UDP6 = 3 => "UDP over IPv6",
        /// IPv4 otherwise.
        IP4 = 4 => "IPv4",
        /// IPv6 otherwise.
        IP6 = 5 => "IPv6",
        /// A fragment of IPv4.
        IP4_FRAGMENT = 6 => "IPv4 fragment",
        /// Anything else.
        NOT_IP = 7 => "not IP",
        /// TCP over IPv6 behind an extension header.
        TCP6_EXTENSION = 8 => "TCP over IPv6 with extension header",
        /// IPv6 with an extension header.
        IP6_EXTENSION = 9 => "IPv6 with extension header",
    }
}

/// Most kinds of packets.
pub const HASH_PROTOCOLS: usize = 16;

/// Fields of a packet that a hash covers (`ena_admin_flow_hash_fields`).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct HashFields {
    /// Ethernet destination.
    pub l2_destination: bool,
    /// Ethernet source.
    pub l2_source: bool,
    /// IP destination.
    pub l3_destination: bool,
    /// IP source.
    pub l3_source: bool,
    /// Destination port.
    pub l4_destination: bool,
    /// Source port.
    pub l4_source: bool,
    #[bits(10)]
    reserved: u16,
}

/// [`HashFields`] of one kind of packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ProtocolFields {
    /// [`HashFields`].
    pub fields: U16<LE>,
    /// Zero.
    pub reserved: U16<LE>,
}

/// Control buffer of feature 18. Source: `ena_admin_feature_rss_hash_control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HashControl {
    /// What can be hashed, by [`HashProtocol`].
    pub supported: [ProtocolFields; HASH_PROTOCOLS],
    /// What is.
    pub selected: [ProtocolFields; HASH_PROTOCOLS],
    /// Zero.
    pub reserved: [u8; 128],
}

/// Feature 20. Source: `ena_admin_feature_intr_moder_desc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Moderation {
    /// Microseconds in one unit of delay; drivers print an error for 0.
    pub resolution_us: U16<LE>,
    /// Zero.
    pub reserved: U16<LE>,
}

/// Feature 26: sets of bits, one for each [`Group`](super::aenq::Group).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AenqConfig {
    /// What the device reports.
    pub supported_groups: U32<LE>,
    /// What the driver wants.
    pub enabled_groups: U32<LE>,
}

/// Feature 27. Source: `ena_admin_get_feature_link_desc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LinkConfig {
    /// Mbit/s.
    pub speed_mbps: U32<LE>,
    /// A set of speeds: 1, 2.5, 5, 10, 25, 40, 50, 100, 200, 400 Gbit/s from bit 0.
    pub supported: U32<LE>,
    /// [`LinkFlags`].
    pub flags: U32<LE>,
}

/// How the link is.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct LinkFlags {
    /// The speed was agreed.
    pub autonegotiation: bool,
    /// Both ways at once.
    pub full_duplex: bool,
    #[bits(30)]
    reserved: u32,
}

/// Feature 28. Source: `ena_admin_set_feature_host_attr_desc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HostAttributes {
    /// The driver's [`HostInfo`](super::host_info::HostInfo), in a page of 4 KiB.
    pub host_info: MemoryAddress,
    /// Memory for the driver's own notes.
    pub debug_area: MemoryAddress,
    /// Bytes of that.
    pub debug_area_bytes: U32<LE>,
}

const _: () = {
    assert!(size_of::<FeatureCommand>() == 60);
    assert!(size_of::<DeviceAttributes>() == 36);
    assert!(size_of::<HardwareHints>() == 32);
    assert!(size_of::<LlqFeature>() == 36);
    assert!(size_of::<MaxQueuesExt>() == 44);
    assert!(size_of::<HashFunction>() == 12);
    assert!(size_of::<HashKey>() == 48);
    assert!(size_of::<Offloads>() == 12);
    assert!(size_of::<IndirectionTable>() == 16);
    assert!(size_of::<IndirectionEntry>() == 4);
    assert!(size_of::<HashInput>() == 4);
    assert!(size_of::<HashControl>() == 256);
    assert!(size_of::<Moderation>() == 4);
    assert!(size_of::<AenqConfig>() == 8);
    assert!(size_of::<LinkConfig>() == 12);
    assert!(size_of::<HostAttributes>() == 20);
};
