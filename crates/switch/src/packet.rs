//! What goes into the pipeline and what comes out: a packet, a verdict, a reply.

use trinic_wire::plain::Shape;
use trinic_wire::reply::MAX_LEN;

use crate::DropReason;

/// A port of the card: where an interface's function, or the internet, is plugged in. The card chooses the
/// numbers; they should be small, since the switch keeps a table of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct PortId(pub u32);

/// What the sender left for the receiver's side to do (the virtio-net header says so on a tap).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// The TCP or UDP checksum field holds the sum of the pseudo header only, not inverted.
    pub checksum_partial: bool,
    /// TCP or UDP payload bytes per segment of a super-frame; 0 = the frame is one packet.
    pub gso_size: u16,
}

/// A frame as the pipeline sees it. Headers are edited in place; the payload stays where it is.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The first bytes of the frame, the Ethernet header included. 256 bytes hold every header that the
    /// pipeline looks at; more is welcome, all of the frame is best.
    pub window: &'a mut [u8],
    /// Size of the whole frame.
    pub total_len: usize,
    /// What is left to do.
    pub offload: Offload,
    /// What the caller found the frame to be. `None`: the pipeline looks.
    pub shape: Option<Shape>,
}

impl Packet<'_> {
    /// The same packet, for a shorter time.
    #[inline]
    pub fn again(&mut self) -> Packet<'_> {
        Packet {
            window: self.window,
            total_len: self.total_len,
            offload: self.offload,
            shape: self.shape,
        }
    }
}

/// What to do with a frame. Whatever the verdict: if [`Output::frame`] is there, it goes to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Verdict {
    /// Send the edited frame to this port.
    Forward {
        /// The receiver's port.
        to: PortId,
    },
    /// Hand the whole, unedited frame to the link-local services.
    Service {
        /// The sender's port.
        port: PortId,
    },
    /// The frame was for the card itself, and the answer for its sender is in the output.
    Replied,
    /// Drop the frame. An ICMP error for its sender may be in the output.
    Drop(DropReason),
}

/// The card's own answer to a frame, if there is one. Make it once and use it for every call.
pub struct Output {
    len: usize,
    bytes: Box<[u8; MAX_LEN]>,
}

impl Output {
    /// An empty output.
    pub fn new() -> Self {
        Self {
            len: 0,
            bytes: Box::new([0; MAX_LEN]),
        }
    }

    /// The frame to send to the port that the packet came from.
    #[inline]
    pub fn frame(&self) -> Option<&[u8]> {
        (self.len != 0).then(|| &self.bytes[..self.len])
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Lets `write` fill the buffer; a failure leaves the output empty.
    pub(crate) fn write<E>(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<usize, E> {
        self.len = 0;
        self.len = write(&mut self.bytes[..])?.min(MAX_LEN);
        Ok(self.len)
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("frame", &self.frame()).finish()
    }
}
