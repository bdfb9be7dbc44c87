//! The half of an ENA function that moves packets: its queues, owned by the thread that switches.
//!
//! The control half ([`Change`]'s maker) runs elsewhere, at the pace of the admin queue. It has checked what it
//! hands over (depths are powers of two within the limits, indices are in range, the doorbells are the
//! function's own); addresses in it are the guest's and are checked at every access.

mod classify;
mod completion;
mod packet;
mod path;
mod receive;
mod refusal;
mod rss;
pub mod segment;
mod transmit;
mod vector;

use std::fmt::Debug;

pub use packet::{
    Checksum, Fragment, MAX_FRAME_BYTES, MAX_RX_BUFFERS, MAX_TX_BUFFERS, MAX_TX_DESCRIPTORS, Offload,
    Payload, Segmentation, TxPacket, WINDOW_BYTES,
};
pub use path::{Datapath, Disposition, Limits, SEGMENT_WORK, TURN_WORK};
pub use refusal::{Faults, RxDrop, RxFault, TxFault};

/// What the control half changes in the datapath half.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A transmit queue, new at this index.
    CreateTx(u16, TxQueue),
    /// The transmit queue at this index goes; packets that were not taken from it yet are dropped.
    DestroyTx(u16),
    /// A receive queue, new at this index.
    CreateRx(u16, RxQueue),
    /// The receive queue at this index goes.
    DestroyRx(u16),
    /// How receive queues are chosen.
    Rss(Box<Rss>),
    /// The largest IP packet that the driver receives, bytes (without the Ethernet header).
    Mtu(u32),
    /// Delays before an interrupt, from the driver's moderation settings, apply from the next unmask on.
    Moderation {
        /// Nanoseconds for one unit in the unmask register.
        unit_ns: u32,
    },
    /// Mappings went: let go of whatever was resolved before.
    MemoryChanged,
    /// A fault for tests: the next transmit completion is not written (the driver finds it missing). Several add up.
    SwallowTxCompletion,
    /// A fault for tests: the next interrupt of a queue is lost; its vector stays masked as if it had
    /// come. Several add up.
    DropInterrupt,
    /// Everything goes: all queues, RSS, MTU.
    Reset,
}

/// A ring of completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletionQueue {
    /// Its number, which the control half gave to the driver.
    pub index: u16,
    /// Bus address of the ring.
    pub base: u64,
    /// Entries, a power of two.
    pub depth: u16,
    /// Bytes of an entry: 8 or 16 for transmit, 16 or 32 for receive completions.
    pub entry_bytes: u8,
    /// MSI-X vector to raise, if the driver wants interrupts.
    pub vector: Option<u16>,
    /// Offset in BAR 0 of its unmask register, in the mapped part.
    pub unmask_offset: u64,
}

/// A transmit queue with its completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxQueue {
    /// Where its descriptors are.
    pub placement: Placement,
    /// Descriptors (or LLQ entries), a power of two.
    pub depth: u16,
    /// Offset in BAR 0 of its doorbell, in the mapped part.
    pub doorbell_offset: u64,
    /// Its completions.
    pub completions: CompletionQueue,
    /// Every packet that needs a meta descriptor carries one; none is remembered.
    pub meta_caching_disabled: bool,
}

/// Where a transmit queue's descriptors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the driver's memory, at this bus address.
    Host(u64),
    /// Pushed by the driver into BAR 2 (low-latency queue).
    Device(Llq),
}

/// The form of a low-latency queue's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Llq {
    /// Offset of the queue in BAR 2.
    pub offset: u64,
    /// Bytes of an entry: 128, 192 or 256.
    pub entry_bytes: u16,
    /// Descriptors in a packet's first entry, before the header's bytes: 1, 2, 4 or 8.
    pub descriptors_before_header: u8,
    /// Later entries of a packet hold as many descriptors as fit, not one.
    pub several_per_entry: bool,
}

/// A receive queue with its completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RxQueue {
    /// Bus address of its descriptors.
    pub base: u64,
    /// Descriptors, a power of two.
    pub depth: u16,
    /// Offset in BAR 0 of its doorbell, in the mapped part.
    pub doorbell_offset: u64,
    /// Its completions.
    pub completions: CompletionQueue,
}

/// Receive-side scaling: which queue gets a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rss {
    /// Packets are hashed with Toeplitz's function under this key, in the order in which the function takes
    /// it (first byte first). `None` = no hash: everything goes to the table's first queue.
    pub key: Option<[u8; 40]>,
    /// Starting value of the hash.
    pub initial_value: u32,
    /// Receive queue for each value of the hash's low bits; the length is a power of two, at least 1.
    pub table: Vec<u16>,
    /// Header fields that the hash covers, by kind of packet, in the order of the admin interface's protocol
    /// indices (0 TCP over IPv4, 1 UDP over IPv4, …), each a set of field bits (bit 0 L2 DA, 1 L2 SA,
    /// 2 L3 DA, 3 L3 SA, 4 L4 DP, 5 L4 SP).
    pub fields: [u16; 16],
}

/// The thread of the datapath has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The datapath of the function has ended")]
pub struct DatapathGone;

/// The way from the control half to the datapath half.
pub trait Link: Debug {
    /// Applies a change; it has taken effect, and nothing of before is in use any more, when this returns.
    ///
    /// # Errors
    ///
    /// When the datapath has ended.
    fn apply(&mut self, change: Change) -> Result<(), DatapathGone>;

    /// What was counted since the function was made.
    ///
    /// # Errors
    ///
    /// When the datapath has ended.
    fn statistics(&mut self) -> Result<Statistics, DatapathGone>;
}

/// What an ENA function counts. `tx` and `rx` are the driver's directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Statistics {
    /// Bytes of packets taken from transmit queues.
    pub tx_bytes: u64,
    /// Packets taken from transmit queues.
    pub tx_packets: u64,
    /// Packets that the pipeline dropped, or whose descriptors made no sense.
    pub tx_drops: u64,
    /// Bytes of packets put into receive queues.
    pub rx_bytes: u64,
    /// Packets put into receive queues.
    pub rx_packets: u64,
    /// Packets for the driver that were dropped for want of receive descriptors.
    pub rx_drops: u64,
    /// Packets that did not fit the descriptors posted.
    pub rx_overruns: u64,
    /// What the instance type's allowances did (ENI metrics).
    pub allowances: Allowances,
}

/// The ENI metrics that `ethtool -S` shows. Source: AWS, "Metrics for the ENA driver".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Allowances {
    /// Packets queued or dropped because inbound bandwidth exceeded the maximum.
    pub bw_in_exceeded: u64,
    /// Packets queued or dropped because outbound bandwidth exceeded the maximum.
    pub bw_out_exceeded: u64,
    /// Packets queued or dropped because packets per second exceeded the maximum.
    pub pps_exceeded: u64,
    /// Packets dropped because no more connections could be tracked.
    pub conntrack_exceeded: u64,
    /// Packets dropped because link-local services were asked too often.
    pub linklocal_exceeded: u64,
    /// Connections that can still be tracked.
    pub conntrack_available: u64,
}
