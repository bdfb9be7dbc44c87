//! The work that a sender left to its card: cutting a super-frame into TCP segments, completing checksums.
//!
//! Pure functions of bytes. Source: RFC 9293 (TCP), RFC 791 and RFC 8200 (lengths), RFC 6864 §4.1 (identifications of
//! segments count up); flags as Linux' `tcp_gso_segment` deals them out.

use std::ops::Range;

use trinic_wire::checksum::{Sum, never_zero, update_partial};
use trinic_wire::tcp::Flags;

use super::classify::{add_two, be16};
use super::packet::Segmentation;

/// Fewest payload bytes of a segment: less is an attack. Source: `TCP_MIN_GSO_SIZE` of Linux.
pub const MIN_MSS: u16 = 8;

/// Most segments of a super-frame. The header files give no least MSS, and Linux may announce one of [`MIN_MSS`], which
/// makes 8,000 segments of one frame; with the 536 bytes that RFC 9293 §3.7.1 takes for granted it is 123. This leaves
/// room down to 64 bytes, and is as many as a receive queue of the default depth holds.
pub const MAX_SEGMENTS: usize = 1024;

/// Why a super-frame cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// Segments would be too small.
    #[error("Segments of {0} bytes are too small")]
    Mss(u16),
    /// There would be too many segments.
    #[error("{0} segments are more than {MAX_SEGMENTS}")]
    Count(usize),
    /// The headers are not all in the window, or do not follow each other.
    #[error("The headers of {header_bytes} bytes do not hold IP and TCP at {transport_offset}")]
    Headers {
        /// Bytes of all headers, as announced.
        header_bytes: u16,
        /// Where TCP's starts, as announced.
        transport_offset: usize,
    },
    /// There is nothing behind the headers.
    #[error("A super-frame without payload")]
    Empty,
}

/// A super-frame of TCP, checked: what its segments need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuperFrame {
    is_ipv6: bool,
    l3_offset: usize,
    l4_offset: usize,
    header_bytes: usize,
    payload_bytes: usize,
    mss: usize,
}

impl SuperFrame {
    /// Checks a super-frame: `window` has all its headers (and maybe some payload), and `total_bytes` is the
    /// whole frame. TCP's checksum field holds the sum of the pseudo header with the whole length.
    ///
    /// # Errors
    ///
    /// When what was announced does not fit the frame.
    pub fn new(
        window: &[u8],
        total_bytes: usize,
        segmentation: Segmentation,
        transport_offset: usize,
    ) -> Result<Self, SegmentError> {
        if segmentation.mss < MIN_MSS {
            return Err(SegmentError::Mss(segmentation.mss));
        }
        let header_bytes = usize::from(segmentation.header_bytes);
        let error = SegmentError::Headers {
            header_bytes: segmentation.header_bytes,
            transport_offset,
        };
        let l3_offset = match be16(window, 12) {
            Some(0x8100) => 18,
            _ => 14,
        };
        let l3_bytes = if segmentation.is_ipv6 { 40 } else { 20 };
        let version = window.get(l3_offset).map_or(0, |byte| byte >> 4);
        if version != if segmentation.is_ipv6 { 6 } else { 4 }
            || transport_offset < l3_offset + l3_bytes
            || header_bytes < transport_offset + 20
            || header_bytes > window.len()
        {
            return Err(error);
        }
        let words = window
            .get(transport_offset + 12)
            .map_or(0, |byte| usize::from(byte >> 4));
        if transport_offset + words * 4 != header_bytes {
            return Err(error);
        }
        let payload_bytes = total_bytes
            .checked_sub(header_bytes)
            .filter(|bytes| *bytes > 0)
            .ok_or(SegmentError::Empty)?;
        let count = payload_bytes.div_ceil(usize::from(segmentation.mss));
        if count > MAX_SEGMENTS {
            return Err(SegmentError::Count(count));
        }
        Ok(Self {
            is_ipv6: segmentation.is_ipv6,
            l3_offset,
            l4_offset: transport_offset,
            header_bytes,
            payload_bytes,
            mss: usize::from(segmentation.mss),
        })
    }

    /// How many segments it makes.
    #[inline]
    pub fn segment_count(&self) -> usize {
        self.payload_bytes.div_ceil(self.mss)
    }

    /// Bytes of all headers, the same for every segment.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// Which bytes of the payload a segment carries.
    #[inline]
    pub fn payload_range(&self, index: usize) -> Range<usize> {
        let start = (index * self.mss).min(self.payload_bytes);
        start..(start + self.mss).min(self.payload_bytes)
    }

    /// Turns `headers`, a copy of the super-frame's, into those of one segment; `payload` is what
    /// [`Self::payload_range`] says. `headers` has [`Self::header_bytes`]; others are left as they are.
    pub fn write_headers(&self, headers: &mut [u8], index: usize, payload: &[u8]) {
        if headers.len() != self.header_bytes {
            return;
        }
        let (network, tcp) = headers.split_at_mut(self.l4_offset);
        let whole = tcp.len() + self.payload_bytes;
        let length = tcp.len() + payload.len();
        if let Some(network) = network.get_mut(self.l3_offset..) {
            self.write_network(network, index, length);
        }
        let Some(header) = tcp.first_chunk_mut::<20>() else {
            return;
        };
        let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let skipped = u32::try_from(index * self.mss).unwrap_or(u32::MAX);
        header[4..8].copy_from_slice(&sequence.wrapping_add(skipped).to_be_bytes());
        if index != 0 {
            header[13] &= !Flags::CWR.0;
        }
        if index + 1 != self.segment_count() {
            header[13] &= !(Flags::FIN.0 | Flags::PSH.0);
        }
        let pseudo = u16::from_be_bytes([header[16], header[17]]);
        let pseudo = update_partial(pseudo, low16(whole), low16(length));
        header[16..18].fill(0);
        let checksum = add_two(Sum::ZERO.word(pseudo), tcp, payload).checksum();
        if let Some(field) = tcp.get_mut(16..18) {
            field.copy_from_slice(&checksum.to_be_bytes());
        }
    }

    /// Lengths, and over IPv4 the identification and the checksum. `length` is that of TCP with its payload.
    fn write_network(&self, network: &mut [u8], index: usize, length: usize) {
        if self.is_ipv6 {
            let extensions = network.len() - 40;
            if let Some(field) = network.get_mut(4..6) {
                field.copy_from_slice(&low16(extensions + length).to_be_bytes());
            }
            return;
        }
        let total = low16(network.len() + length);
        let Some(header) = network.first_chunk_mut::<20>() else {
            return;
        };
        header[2..4].copy_from_slice(&total.to_be_bytes());
        let identification = u16::from_be_bytes([header[4], header[5]]).wrapping_add(low16(index));
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        write_ipv4_checksum(network);
    }
}

/// Computes the checksum of an IPv4 header with its options.
#[inline]
pub fn write_ipv4_checksum(header: &mut [u8]) {
    if let Some(field) = header.get_mut(10..12) {
        field.fill(0);
    }
    let checksum = Sum::of(header).checksum();
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Completes a checksum whose field holds the pseudo header's sum: over `window` from `start`, and `payload`
/// behind it. `false` when the field is not in the window.
#[inline]
pub fn complete_partial(window: &mut [u8], payload: &[u8], start: usize, offset: usize) -> bool {
    let Some(head) = window.get_mut(start..) else {
        return false;
    };
    // A zero would say "no checksum" in UDP; its other form is as good in TCP.
    let checksum = never_zero(add_two(Sum::ZERO, head, payload).checksum());
    let Some(field) = head.get_mut(offset..).and_then(<[u8]>::first_chunk_mut::<2>) else {
        return false;
    };
    *field = checksum.to_be_bytes();
    true
}

/// The low half word of a length: IP lengths have no more.
#[inline]
fn low16(number: usize) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or_default()
}
