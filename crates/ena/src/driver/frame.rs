//! Buffers of DMA memory and the frames in them. A buffer is owned by whoever has it: a queue, or the program.

use trinic_pci::{DmaFault, Memory};

use crate::datapath::Segmentation;

/// A piece of DMA memory. It moves from the program to a queue and back, and is never copied.
#[derive(Debug, PartialEq, Eq)]
pub struct Buffer {
    pub(super) address: u64,
    pub(super) bytes: u32,
}

impl Buffer {
    /// Its bus address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }
}

/// A part of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// The buffer.
    pub buffer: Buffer,
    /// Where the part starts in it.
    pub offset: u32,
    /// How many bytes it has.
    pub length: u32,
}

impl Piece {
    /// Bus address of its first byte.
    #[inline]
    pub fn address(&self) -> u64 {
        self.buffer.address.wrapping_add(u64::from(self.offset))
    }

    /// It does not reach beyond its buffer.
    #[inline]
    pub(super) fn is_inside(&self) -> bool {
        self.offset
            .checked_add(self.length)
            .is_some_and(|end| end <= self.buffer.bytes)
    }
}

/// An Ethernet frame in one buffer or more.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its first bytes.
    pub first: Piece,
    /// The rest, where it takes more than one buffer.
    pub rest: Vec<Piece>,
    /// What the device shall do when it is sent.
    pub request: Request,
    /// What the device said when it was received.
    pub seen: Seen,
}

impl Frame {
    /// A frame of `length` bytes at the start of a buffer, to be sent as it is.
    pub fn new(buffer: Buffer, length: u32) -> Self {
        Self {
            first: Piece {
                buffer,
                offset: 0,
                length,
            },
            rest: Vec::new(),
            request: Request::default(),
            seen: Seen::default(),
        }
    }

    /// A frame with these bytes, copied into a buffer.
    ///
    /// # Errors
    ///
    /// When they do not fit the buffer, or the memory is gone.
    pub fn copied<M: Memory>(buffer: Buffer, memory: &M, bytes: &[u8]) -> Result<Self, DmaFault> {
        let fault = DmaFault {
            address: buffer.address,
            length: bytes.len(),
        };
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length <= buffer.bytes)
            .ok_or(fault)?;
        memory.write(buffer.address, bytes)?;
        Ok(Self::new(buffer, length))
    }

    /// How many bytes it has.
    #[inline]
    pub fn length(&self) -> usize {
        let rest: u64 = self.rest.iter().map(|piece| u64::from(piece.length)).sum();
        usize::try_from(u64::from(self.first.length) + rest).unwrap_or(usize::MAX)
    }

    /// Copies its bytes to the front of `into`, as many as fit; returns how many.
    ///
    /// # Errors
    ///
    /// When the memory is gone.
    pub fn read<M: Memory>(&self, memory: &M, into: &mut [u8]) -> Result<usize, DmaFault> {
        let mut at = 0;
        for piece in std::iter::once(&self.first).chain(&self.rest) {
            let room = into.len() - at;
            let length = usize::try_from(piece.length).map_or(room, |length| length.min(room));
            memory.read(piece.address(), &mut into[at..at + length])?;
            at += length;
        }
        Ok(at)
    }

    /// Gives its buffers back.
    pub fn into_buffers(self, buffers: &mut Vec<Buffer>) {
        buffers.push(self.first.buffer);
        buffers.extend(self.rest.into_iter().map(|piece| piece.buffer));
    }
}

/// What the device shall do to a frame that is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Request {
    /// Compute the IPv4 header's checksum.
    pub ipv4_checksum: bool,
    /// Compute the transport checksum.
    pub checksum: Option<TransportChecksum>,
    /// Cut the frame into TCP segments; needs [`TransportChecksum::Tcp`].
    pub segmentation: Option<Segmentation>,
    /// Bytes of the Ethernet header: 14, or 18 with a tag. 0 = 14.
    pub l2_bytes: u8,
    /// Bytes of the IP header with its options or extension headers.
    pub l3_bytes: u8,
    /// The network protocol is IPv6 and not IPv4.
    pub is_ipv6: bool,
}

/// A transport checksum to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportChecksum {
    /// TCP's.
    Tcp,
    /// UDP's.
    Udp,
}

/// What the device said of a frame that was received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its hash.
    pub hash: u32,
    /// What the network protocol is: `L3_IPV4`, `L3_IPV6` of `spec::descriptor`, or 0.
    pub l3_protocol: u8,
    /// What the transport protocol is: `L4_TCP`, `L4_UDP`, or 0.
    pub l4_protocol: u8,
    /// The IPv4 header's checksum is wrong.
    pub l3_error: bool,
    /// Whether the transport checksum is right, if it was checked.
    pub l4_is_right: Option<bool>,
}
