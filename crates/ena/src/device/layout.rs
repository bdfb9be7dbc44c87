//! Where things are in the function's BARs. The drivers take every offset from the device, but iPXE maps only
//! the first 16 KiB of BAR 0 (`ENA_BAR_SIZE`, `ena.h`), so all of it is in there.
//!
//! | BAR 0 | |
//! |---|---|
//! | 0x0000 | registers: every access is a call |
//! | 0x1000 | doorbells of submission queues: mapped, 64 bytes apart, transmit queues first |
//! | 0x2000 | unmask registers of completion queues: mapped, 64 bytes apart |
//! | 0x3000 | nothing |
//!
//! BAR 1 has the MSI-X table. BAR 2, where there are low-latency queues, has [`LLQ_BYTES`] for each of them,
//! mapped whole.

use trinic_pci::{BarSpec, msix};

use super::Config;
use crate::datapath::MAX_RX_BUFFERS;
use crate::spec::admin::Direction;

/// Most queue pairs: what EC2's instance types offer at most, and what fits into the mapped pages. Source: AWS,
/// "Networking specifications", queues per interface.
pub const MAX_QUEUE_PAIRS: u16 = 32;

/// Most entries of a transmit queue. Linux offers 1024 by default and this is what a low-latency queue of
/// 128-byte entries holds.
pub const MAX_TX_DEPTH: u16 = 1024;

/// Most entries of a receive queue.
pub const MAX_RX_DEPTH: u16 = 8192;

/// Smallest MTU, that of IPv4. Source: RFC 791 §3.2.
pub const MIN_MTU: u32 = 68;

/// Largest MTU that a driver can be offered; EC2 carries 9001.
pub const MAX_MTU: u32 = 9216;

/// Most descriptors of a packet that a driver sends. Source: `ENA_PKT_MAX_BUFS` of the Linux driver.
pub const MAX_TX_DESCRIPTORS: u16 = 19;

/// Most descriptors of a packet that a driver receives: what the datapath uses at most, and what the DPDK driver
/// has room for. Source: `ENA_PKT_MAX_BUFS` of DPDK's ena_ethdev.h; the Linux driver takes any number up to 19
/// for its `max_rx_sgl_size`.
pub const MAX_RX_DESCRIPTORS: u16 = 17;
const _: () = assert!(MAX_RX_DESCRIPTORS as usize == MAX_RX_BUFFERS);

/// Bytes of BAR 0.
pub const BAR0_BYTES: u64 = 0x4000;

/// First byte of BAR 0's mapped part.
pub const BAR0_MAPPED_START: u64 = 0x1000;

/// First byte behind BAR 0's mapped part.
pub const BAR0_MAPPED_END: u64 = 0x3000;

/// Bytes of BAR 2 for each low-latency queue: 1024 entries of 128 bytes, or 512 of 256.
pub const LLQ_BYTES: u64 = 128 * 1024;

/// Most entries of a low-latency queue whose entries have more than 128 bytes.
pub const MAX_WIDE_LLQ_DEPTH: u16 = 512;

/// A cache line for each register, so that two drivers' threads do not share one.
const REGISTER_STRIDE: u64 = 64;

const UNMASK_START: u64 = 0x2000;

/// MSI-X vectors: one for management and one for each queue pair.
pub const fn vector_count(queue_pairs: u16) -> u16 {
    queue_pairs + 1
}

/// Completion queues: one for each submission queue.
pub const fn completion_queue_count(queue_pairs: u16) -> u16 {
    queue_pairs * 2
}

/// Offset in BAR 0 of a submission queue's doorbell.
pub fn doorbell_offset(direction: Direction, index: u16) -> u64 {
    let first = if direction == Direction::TX {
        0
    } else {
        MAX_QUEUE_PAIRS
    };
    BAR0_MAPPED_START + u64::from(first + index) * REGISTER_STRIDE
}

/// Offset in BAR 0 of a completion queue's unmask register.
pub fn unmask_offset(cq_index: u16) -> u64 {
    UNMASK_START + u64::from(cq_index) * REGISTER_STRIDE
}

/// Offset in BAR 2 of a low-latency queue.
pub fn llq_offset(index: u16) -> u64 {
    u64::from(index) * LLQ_BYTES
}

/// Bytes of BAR 2.
pub fn bar2_bytes(queue_pairs: u16) -> u64 {
    (u64::from(queue_pairs) * LLQ_BYTES).next_power_of_two()
}

/// The function's BARs.
pub fn bars(config: &Config) -> Vec<BarSpec> {
    let mut bars = vec![
        BarSpec {
            index: 0,
            size_bytes: BAR0_BYTES,
            is_64bit: false,
            is_prefetchable: false,
            mapped: std::iter::once(BAR0_MAPPED_START..BAR0_MAPPED_END).collect(),
        },
        BarSpec {
            index: 1,
            size_bytes: msix::BAR_SIZE_BYTES,
            is_64bit: false,
            is_prefetchable: false,
            mapped: Vec::new(),
        },
    ];
    if config.llq {
        let size_bytes = bar2_bytes(config.queue_pairs);
        bars.push(BarSpec {
            index: 2,
            size_bytes,
            is_64bit: true,
            is_prefetchable: true,
            mapped: std::iter::once(0..size_bytes).collect(),
        });
    }
    bars
}

const _: () = {
    let registers = MAX_QUEUE_PAIRS as u64 * 2 * REGISTER_STRIDE;
    assert!(BAR0_MAPPED_START + registers == UNMASK_START);
    assert!(UNMASK_START + registers == BAR0_MAPPED_END);
    assert!(MAX_TX_DEPTH as u64 * 128 == LLQ_BYTES);
    assert!(MAX_WIDE_LLQ_DEPTH as u64 * 256 == LLQ_BYTES);
};
