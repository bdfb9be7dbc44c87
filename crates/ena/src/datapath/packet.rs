//! A packet on its way between two functions: its first bytes in a window, the rest where the driver has it.

use std::fmt;

use trinic_pci::{DmaFault, Memory};
use trinic_wire::plain::Shape;

/// Most bytes of a packet in its window: every header that the pipeline looks at.
pub const WINDOW_BYTES: usize = 256;

/// Most buffers of a transmitted packet: what the Linux driver sends at most. Source: `ENA_PKT_MAX_BUFS`.
pub const MAX_TX_BUFFERS: usize = 19;

/// Most descriptors of a transmitted packet: one of meta before the buffers. What "max queues ext" may offer.
pub const MAX_TX_DESCRIPTORS: u16 = 20;

/// Most buffers of a received packet. Source: `ENA_PKT_MAX_BUFS` (Linux, FreeBSD); DPDK takes 17, which is what
/// "max queues ext" should offer to every driver.
pub const MAX_RX_BUFFERS: usize = 17;

/// Most bytes of a frame: an IP packet of 65,535 bytes behind Ethernet with a tag.
pub const MAX_FRAME_BYTES: u32 = 65_535 + 18;

/// A piece of a packet in a driver's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Bus address of the first byte.
    pub address: u64,
    /// How many bytes.
    pub length: u32,
}

/// What the sender left to do on a packet. It is what a virtio-net header says in other words: `start` and
/// `offset` are its `csum_start` and `csum_offset`, the rest its `gso_*` fields and `hdr_len`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// What is known of the transport checksum.
    pub checksum: Checksum,
    /// The packet is a super-frame, to be cut into segments; its checksum is then [`Checksum::Partial`].
    pub segmentation: Option<Segmentation>,
}

/// What is known of a packet's transport checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It is there, and nobody looked: the receiving function checks it.
    #[default]
    Complete,
    /// Its field holds the pseudo header's sum, not inverted: the checksum over everything from `start` to the
    /// end of the packet goes into the field at `start + offset`.
    Partial {
        /// Where the transport header starts in the frame.
        start: u16,
        /// Where its checksum field is, from there.
        offset: u16,
    },
    /// It is there, and somebody found it right.
    Trusted,
    /// It is there, and the receiver may check it itself: saves the function to read a long payload.
    Unchecked,
}

/// How to cut a super-frame of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// The network protocol is IPv6 and not IPv4.
    pub is_ipv6: bool,
    /// Most payload bytes of a segment.
    pub mss: u16,
    /// Bytes of all headers, from Ethernet's to TCP's with its options.
    pub header_bytes: u16,
}

/// What a packet still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing: it was not taken, or is done with.
    Nothing,
    /// Only word of what became of it: the driver's memory was copied and its completion made.
    Disposition,
    /// Its completion: some of it is in the driver's memory.
    Completion,
}

/// A packet taken from a transmit queue. Make a row of them once and use it for every round.
///
/// What every packet needs is the first line of the processor's cache, and its headers are the second: a batch of small
/// packets takes 8 KiB of the cache next to the core, which has 32 to 48.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct TxPacket {
    pub(super) window_bytes: usize,
    /// Fragments before this one are in the window.
    pub(super) fragment_first: usize,
    pub(super) fragment_count: usize,
    pub(super) total_bytes: u32,
    pub(super) queue: u16,
    pub(super) request_id: u16,
    /// The queue's head after the packet.
    pub(super) head: u16,
    pub(super) due: Due,
    /// What it is, if it is whole in the window and its driver asked for nothing.
    pub(super) shape: Option<Shape>,
    pub(super) offload: Offload,
    pub(super) window: [u8; WINDOW_BYTES],
    pub(super) fragments: [Fragment; MAX_TX_BUFFERS],
}

const _: () = assert!(std::mem::offset_of!(TxPacket, window) <= 64);

impl TxPacket {
    /// Room for a packet.
    pub const fn new() -> Self {
        Self {
            window: [0; WINDOW_BYTES],
            window_bytes: 0,
            total_bytes: 0,
            offload: Offload {
                checksum: Checksum::Complete,
                segmentation: None,
            },
            fragments: [Fragment {
                address: 0,
                length: 0,
            }; MAX_TX_BUFFERS],
            fragment_first: 0,
            fragment_count: 0,
            queue: 0,
            request_id: 0,
            head: 0,
            due: Due::Nothing,
            shape: None,
        }
    }

    /// The first bytes of the frame, all of it when it has at most [`WINDOW_BYTES`].
    #[inline]
    pub fn window(&self) -> &[u8] {
        &self.window[..self.window_bytes.min(WINDOW_BYTES)]
    }

    /// The first bytes of the frame, to edit headers in place. What is edited keeps its kind, and its checksums right.
    #[inline]
    pub fn window_mut(&mut self) -> &mut [u8] {
        &mut self.window[..self.window_bytes.min(WINDOW_BYTES)]
    }

    /// What the frame is, if it was looked at: it is whole in the window then, and its driver left nothing to do.
    #[inline]
    pub fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Bytes of the whole frame.
    #[inline]
    pub fn total_bytes(&self) -> usize {
        usize::try_from(self.total_bytes).unwrap_or(usize::MAX)
    }

    /// What the sender left to do.
    #[inline]
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// Where the rest of the frame is, behind the window.
    #[inline]
    pub fn fragments(&self) -> &[Fragment] {
        self.fragments
            .get(self.fragment_first..self.fragment_count)
            .unwrap_or_default()
    }

    /// The window and where the rest is, for a receiver of the packet.
    #[inline]
    pub fn parts<'a, M>(&'a mut self, memory: &'a M) -> (&'a mut [u8], Payload<'a, M>) {
        let fragments = self
            .fragments
            .get(self.fragment_first..self.fragment_count)
            .unwrap_or_default();
        let window = &mut self.window[..self.window_bytes.min(WINDOW_BYTES)];
        (window, Payload::Remote { memory, fragments })
    }

    /// Index of the transmit queue that it came from.
    #[inline]
    pub fn queue(&self) -> u16 {
        self.queue
    }
}

impl Default for TxPacket {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TxPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxPacket")
            .field("queue", &self.queue)
            .field("request_id", &self.request_id)
            .field("total_bytes", &self.total_bytes)
            .field("offload", &self.offload)
            .field("window_bytes", &self.window_bytes)
            .field("fragments", &self.fragments())
            .finish_non_exhaustive()
    }
}

/// What follows a window.
#[derive(Debug)]
pub enum Payload<'a, M> {
    /// Bytes at hand; empty when the window has the whole packet.
    Bytes(&'a [u8]),
    /// Pieces in another function's memory: copied once, from there to the receiver.
    Remote {
        /// The memory.
        memory: &'a M,
        /// The pieces.
        fragments: &'a [Fragment],
    },
}

impl<M> Clone for Payload<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Payload<'_, M> {}

impl<M: Memory> Payload<'_, M> {
    /// Whether the window has the whole packet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Remote { fragments, .. } => fragments.is_empty(),
        }
    }

    /// How many bytes it has.
    #[inline]
    pub fn length(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Remote { fragments, .. } => fragments
                .iter()
                .map(|fragment| usize::try_from(fragment.length).unwrap_or(usize::MAX))
                .fold(0, usize::saturating_add),
        }
    }

    /// Copies it to the front of `into`, as much as fits; returns how many bytes that were.
    ///
    /// # Errors
    ///
    /// When the other function's memory went.
    pub fn copy(&self, into: &mut [u8]) -> Result<usize, DmaFault> {
        match self {
            Self::Bytes(bytes) => {
                let length = bytes.len().min(into.len());
                into[..length].copy_from_slice(&bytes[..length]);
                Ok(length)
            }
            Self::Remote { memory, fragments } => {
                let mut at = 0;
                for fragment in *fragments {
                    let room = into.len() - at;
                    let length = usize::try_from(fragment.length).map_or(room, |length| length.min(room));
                    memory.read(fragment.address, &mut into[at..at + length])?;
                    at += length;
                }
                Ok(at)
            }
        }
    }
}
