//! The virtio network header that stands before each frame of a tap or packet socket: it says which
//! work (checksum, segmentation) the sender left to whoever takes the frame off the wire.
//!
//! Source: [VIRTIO 1.3 §5.1.6], [linux/virtio_net.h `struct virtio_net_hdr`]. Fields are in the byte
//! order of the host, as taps and packet sockets use them.

use zerocopy::byteorder::{NativeEndian, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The header as the kernel reads and writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VnetHeader {
    /// Bits of `VIRTIO_NET_HDR_F_*`. Source: [linux/virtio_net.h].
    pub flags: u8,
    /// One of `VIRTIO_NET_HDR_GSO_*`, with [`GSO_ECN`] as an extra bit. Source: [linux/virtio_net.h].
    pub gso_type: u8,
    /// Bytes of headers up to the payload, a hint. Source: [linux/virtio_net.h].
    pub hdr_len: U16<NativeEndian>,
    /// Payload bytes of each segment to be made. Source: [linux/virtio_net.h].
    pub gso_size: U16<NativeEndian>,
    /// Byte of the frame where the checksum to be made begins. Source: [linux/virtio_net.h].
    pub csum_start: U16<NativeEndian>,
    /// Where to put the checksum, counted from `csum_start`. Source: [linux/virtio_net.h].
    pub csum_offset: U16<NativeEndian>,
}

const _: () = {
    assert!(size_of::<VnetHeader>() == VNET_HEADER_BYTES);
    assert!(std::mem::offset_of!(VnetHeader, csum_offset) == 8);
};

impl VnetHeader {
    /// A finished frame: nothing is left to do.
    pub const NONE: Self = Self {
        flags: 0,
        gso_type: GSO_NONE,
        hdr_len: U16::ZERO,
        gso_size: U16::ZERO,
        csum_start: U16::ZERO,
        csum_offset: U16::ZERO,
    };

    /// Reads the header at the start of `bytes`; `None` when there are fewer than ten.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::read_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// Whether the checksum field only holds the sum of the pseudo header.
    #[must_use]
    pub fn needs_checksum(&self) -> bool {
        self.flags & FLAG_NEEDS_CSUM != 0
    }

    /// Whether the sender vouches for the checksum (it never left this machine).
    #[must_use]
    pub fn checksum_is_valid(&self) -> bool {
        self.flags & FLAG_DATA_VALID != 0
    }

    /// Payload bytes of each segment when the frame has to be cut, 0 when not.
    #[must_use]
    pub fn segment_bytes(&self) -> u16 {
        if self.gso_kind() == GSO_NONE {
            0
        } else {
            self.gso_size.get()
        }
    }

    /// How many packets are made of the frame of `frame_bytes` that follows, at most: one if it is not cut. What
    /// stands behind the checksum counts as payload, of TCP's header too.
    #[must_use]
    pub fn segment_count(&self, frame_bytes: usize) -> usize {
        let segment_bytes = usize::from(self.segment_bytes());
        if segment_bytes == 0 {
            return 1;
        }
        let payload_bytes = frame_bytes.saturating_sub(self.checksum_end());
        payload_bytes.div_ceil(segment_bytes).max(1)
    }

    /// The segmentation type without the ECN bit.
    #[must_use]
    pub fn gso_kind(&self) -> u8 {
        self.gso_type & !GSO_ECN
    }

    /// Checks every offset against the frame of `frame_bytes` that follows the header. An instance may
    /// write anything here; a header that fails is counted and its frame dropped, nothing else.
    pub fn check(&self, frame_bytes: usize) -> Result<(), VnetFault> {
        if frame_bytes < ETHERNET_HEADER_BYTES {
            return Err(VnetFault::FrameTooShort);
        }
        if self.flags & !(FLAG_NEEDS_CSUM | FLAG_DATA_VALID) != 0 {
            return Err(VnetFault::UnknownFlags);
        }
        if self.needs_checksum() {
            let start = usize::from(self.csum_start.get());
            if start < ETHERNET_HEADER_BYTES || self.checksum_end() > frame_bytes {
                return Err(VnetFault::ChecksumOutsideFrame);
            }
        }
        match self.gso_kind() {
            GSO_NONE if self.gso_type == GSO_NONE => Ok(()),
            GSO_TCPV4 | GSO_TCPV6 | GSO_UDP_L4 => self.check_segmentation(frame_bytes),
            _ => Err(VnetFault::UnknownSegmentation),
        }
    }

    fn checksum_end(&self) -> usize {
        usize::from(self.csum_start.get()) + usize::from(self.csum_offset.get()) + CHECKSUM_BYTES
    }

    /// Segmentation needs a size, a checksum that each segment can be given, and not too many of them.
    fn check_segmentation(&self, frame_bytes: usize) -> Result<(), VnetFault> {
        if self.gso_size.get() == 0 {
            return Err(VnetFault::NoSegmentSize);
        }
        if !self.needs_checksum() {
            return Err(VnetFault::SegmentationWithoutChecksum);
        }
        // The hint may be 0; where it is given the headers must end within the frame.
        if usize::from(self.hdr_len.get()) > frame_bytes {
            return Err(VnetFault::HeadersOutsideFrame);
        }
        let most = if self.gso_kind() == GSO_UDP_L4 {
            UDP_SEGMENTS_MAX
        } else {
            TCP_SEGMENTS_MAX
        };
        if self.segment_count(frame_bytes) > most {
            return Err(VnetFault::TooManySegments);
        }
        Ok(())
    }
}

/// What is wrong with a header that an instance wrote; each has its own counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum VnetFault {
    /// Shorter than an Ethernet header.
    #[error("The frame is shorter than an Ethernet header")]
    FrameTooShort,
    /// A flag that is not defined for frames on this way.
    #[error("The virtio header has unknown flags")]
    UnknownFlags,
    /// `csum_start` or `csum_offset` point outside the frame.
    #[error("The checksum would lie outside the frame")]
    ChecksumOutsideFrame,
    /// A segmentation type that was never offered.
    #[error("The virtio header has an unknown segmentation type")]
    UnknownSegmentation,
    /// Segmentation into segments of no bytes.
    #[error("The segment size is zero")]
    NoSegmentSize,
    /// Segmentation of a frame whose checksum is not left open.
    #[error("Segmentation is asked for without a checksum")]
    SegmentationWithoutChecksum,
    /// `hdr_len` is more than the frame.
    #[error("The headers would end outside the frame")]
    HeadersOutsideFrame,
    /// More segments than [`TCP_SEGMENTS_MAX`] or [`UDP_SEGMENTS_MAX`].
    #[error("The frame would be cut into too many segments")]
    TooManySegments,
}

/// Bytes of the header before each frame, the size that taps and packet sockets have by default.
pub const VNET_HEADER_BYTES: usize = 10;
/// Bytes of the header with the count of merged buffers, which VM monitors use.
pub const VNET_HEADER_MERGED_BYTES: usize = 12;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`. Source: [linux/virtio_net.h].
pub const FLAG_NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`. Source: [linux/virtio_net.h].
pub const FLAG_DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_NONE`. Source: [linux/virtio_net.h].
pub const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`. Source: [linux/virtio_net.h].
pub const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`. Source: [linux/virtio_net.h].
pub const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`. Source: [linux/virtio_net.h].
pub const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`. Source: [linux/virtio_net.h].
pub const GSO_ECN: u8 = 0x80;

/// Most segments of a super-frame of TCP, as many as an ENA function takes. A frame of 64 KiB has room for so many of
/// 64 bytes; the least that a Linux program can set (`TCP_MIN_MSS`, 88 bytes with options) makes fewer. A peer can ask for
/// down to 48 (`tcp_min_snd_mss`): what is sent to it in longer super-frames than this is lost, to that peer alone.
pub const TCP_SEGMENTS_MAX: usize = 1024;
/// Most datagrams of a super-frame of UDP. Source: [linux/udp.h `UDP_MAX_SEGMENTS`].
pub const UDP_SEGMENTS_MAX: usize = 128;

/// Two MAC addresses and a type. Source: [IEEE 802.3 §3.2].
const ETHERNET_HEADER_BYTES: usize = 14;
/// The Internet checksum is 16 bits wide. Source: [RFC 1071].
const CHECKSUM_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_super_frame() -> VnetHeader {
        VnetHeader {
            flags: FLAG_NEEDS_CSUM,
            gso_type: GSO_TCPV4,
            hdr_len: U16::new(54),
            gso_size: U16::new(1448),
            csum_start: U16::new(34),
            csum_offset: U16::new(16),
        }
    }

    #[test]
    fn finished_frame_is_legal() {
        assert_eq!(VnetHeader::NONE.check(60), Ok(()));
        assert_eq!(VnetHeader::NONE.segment_bytes(), 0);
    }

    #[test]
    fn super_frame_is_legal_with_and_without_ecn() {
        let mut header = tcp_super_frame();
        assert_eq!(header.check(60_000), Ok(()));
        assert_eq!(header.segment_bytes(), 1448);
        header.gso_type |= GSO_ECN;
        assert_eq!(header.check(60_000), Ok(()));
        assert_eq!(header.segment_bytes(), 1448);
    }

    #[test]
    fn frame_shorter_than_ethernet_is_refused() {
        assert_eq!(VnetHeader::NONE.check(13), Err(VnetFault::FrameTooShort));
        assert_eq!(VnetHeader::NONE.check(14), Ok(()));
    }

    #[test]
    fn checksum_must_lie_between_ethernet_header_and_end() {
        let mut header = VnetHeader {
            gso_type: GSO_NONE,
            ..tcp_super_frame()
        };
        assert_eq!(header.check(52), Ok(()));
        assert_eq!(header.check(51), Err(VnetFault::ChecksumOutsideFrame));
        header.csum_start = U16::new(13);
        assert_eq!(header.check(60), Err(VnetFault::ChecksumOutsideFrame));
        header.csum_start = U16::new(u16::MAX);
        header.csum_offset = U16::new(u16::MAX);
        assert_eq!(header.check(65_600), Err(VnetFault::ChecksumOutsideFrame));
    }

    #[test]
    fn segmentation_needs_size_checksum_and_known_type() {
        let good = tcp_super_frame();
        let zero = VnetHeader {
            gso_size: U16::ZERO,
            ..good
        };
        assert_eq!(zero.check(60_000), Err(VnetFault::NoSegmentSize));
        let complete = VnetHeader { flags: 0, ..good };
        assert_eq!(
            complete.check(60_000),
            Err(VnetFault::SegmentationWithoutChecksum)
        );
        for gso_type in [2, 3, 6, GSO_ECN] {
            let other = VnetHeader { gso_type, ..good };
            assert_eq!(
                other.check(60_000),
                Err(VnetFault::UnknownSegmentation),
                "{gso_type}"
            );
        }
        let long = VnetHeader {
            hdr_len: U16::new(60_001),
            ..good
        };
        assert_eq!(long.check(60_000), Err(VnetFault::HeadersOutsideFrame));
    }

    #[test]
    fn segments_are_counted_and_bounded() {
        assert_eq!(VnetHeader::NONE.segment_count(60_000), 1);
        let sized = |gso_type, size| VnetHeader {
            gso_type,
            gso_size: U16::new(size),
            hdr_len: U16::ZERO,
            csum_offset: U16::new(if gso_type == GSO_UDP_L4 { 6 } else { 16 }),
            ..tcp_super_frame()
        };
        // UDP's header ends behind its checksum, TCP's two bytes later at least.
        for (kind, payload, most) in [
            (GSO_UDP_L4, 42, 128),
            (GSO_TCPV4, 52, 1024),
            (GSO_TCPV6, 52, 1024),
        ] {
            let header = sized(kind, 9);
            assert_eq!(header.segment_count(payload + 9), 1);
            assert_eq!(header.segment_count(payload + 10), 2);
            assert_eq!(header.check(payload + 9 * most), Ok(()));
            assert_eq!(
                header.check(payload + 9 * most + 1),
                Err(VnetFault::TooManySegments)
            );
        }
        // A frame that ends within its headers is cut into nothing, and is refused for it.
        assert_eq!(sized(GSO_TCPV4, 1).segment_count(20), 1);
        assert_eq!(
            sized(GSO_TCPV4, 1).check(20),
            Err(VnetFault::ChecksumOutsideFrame)
        );
    }

    #[test]
    fn unknown_flags_are_refused() {
        let header = VnetHeader {
            flags: 4,
            ..VnetHeader::NONE
        };
        assert_eq!(header.check(60), Err(VnetFault::UnknownFlags));
    }

    #[test]
    fn header_is_read_in_host_order() {
        let mut bytes = [0u8; 12];
        bytes[0] = 1;
        bytes[1] = 4;
        bytes[4..6].copy_from_slice(&1448u16.to_ne_bytes());
        let header = VnetHeader::read(&bytes).unwrap();
        assert!(header.needs_checksum());
        assert_eq!(header.segment_bytes(), 1448);
        assert!(VnetHeader::read(&bytes[..9]).is_none());
    }
}
