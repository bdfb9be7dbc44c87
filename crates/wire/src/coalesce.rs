//! Datagrams of one flow, made one super-frame for a kernel that cuts it up again.
//!
//! [`Run::start`] takes the first datagram, [`Run::append`] puts the payload of the next one behind it, and
//! [`Run::finish`] makes the headers those of the whole: what segmentation offload of UDP takes
//! (`VIRTIO_NET_HDR_GSO_UDP_L4`). The kernel behind a tap carries it through its layers as one packet and cuts
//! it at the receiver's socket into what was joined here.
//!
//! Joined are datagrams of which nothing is lost by that: Ethernet without a tag, IPv4 without options or IPv6
//! without extension headers, no fragment, no padding, the same in all of their headers but lengths, checksums
//! and the identification, with payloads of one size (the last may be shorter, and ends the run). Their
//! UDP checksums must be *left open*, which the caller knows: the field holds the pseudo header's sum. One that
//! is complete could be wrong, and would come out right.
//!
//! The identification counts up by one from packet to packet, as it does in what the kernel cuts; or the
//! packets may not be fragmented, and then it means nothing and is not kept. Source: [RFC 6864 §4.1].
//! Source of the rest: [RFC 768], [RFC 791 §3.1], [RFC 8200 §3], [linux/virtio_net.h],
//! [linux net/ipv4/udp_offload.c `__udp_gso_segment`].

use zerocopy::FromBytes;

use crate::checksum::{Sum, update_partial};
use crate::ethernet::{self, EtherType};
use crate::{Protocol, ipv4, ipv6, udp};

/// The most datagrams of a run. Source: [linux/udp.h `UDP_MAX_SEGMENTS`] of the first kernels that cut
/// them (newer ones take 128).
pub const RUN_LIMIT: usize = 64;

/// Datagrams that are one frame, and what may still be added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where the UDP header starts.
    transport_offset: usize,
    /// Payload bytes of each datagram, of the last one at most.
    segment_bytes: usize,
    /// Bytes of the frame so far.
    frame_bytes: usize,
    count: usize,
    /// A datagram shorter than the others ends the run.
    is_open: bool,
}

impl Run {
    /// A run of one datagram, or `None` if nothing may be joined to it. `frame` is the whole frame.
    #[inline]
    #[must_use]
    pub fn start(frame: &[u8]) -> Option<Self> {
        let datagram = Datagram::parse(frame)?;
        Some(Self {
            transport_offset: datagram.transport_offset,
            segment_bytes: datagram.payload_bytes,
            frame_bytes: frame.len(),
            count: 1,
            is_open: true,
        })
    }

    /// Joins the frame `next` to the run if it fits; whether it did. `buffer` starts with the frame of the
    /// run and has room behind it.
    #[inline]
    pub fn append(&mut self, buffer: &mut [u8], next: &[u8]) -> bool {
        let Some(datagram) = Datagram::parse(next) else {
            return false;
        };
        let end = self.frame_bytes + datagram.payload_bytes;
        let fits = self.is_open
            && self.count < RUN_LIMIT
            && datagram.transport_offset == self.transport_offset
            && datagram.payload_bytes <= self.segment_bytes
            && end - ethernet::HEADER_LEN <= IP_BYTES_MAX;
        if !fits || !self.continues(buffer, next) {
            return false;
        }
        let (Some(place), Some(payload)) = (
            buffer.get_mut(self.frame_bytes..end),
            next.get(self.headers_bytes()..),
        ) else {
            return false;
        };
        place.copy_from_slice(payload);
        self.frame_bytes = end;
        self.count += 1;
        self.is_open = datagram.payload_bytes == self.segment_bytes;
        true
    }

    /// Makes the headers at the start of `buffer` those of the whole frame; the bytes of it.
    #[inline]
    pub fn finish(&self, buffer: &mut [u8]) -> usize {
        if self.count == 1 {
            return self.frame_bytes;
        }
        let Some((headers, _)) = buffer.split_at_mut_checked(self.headers_bytes()) else {
            return self.frame_bytes;
        };
        let (network, datagram) = headers.split_at_mut(self.transport_offset);
        let length = length16(self.frame_bytes - self.transport_offset);
        if let Ok((header, _)) = udp::Header::mut_from_prefix(datagram) {
            let sum = update_partial(header.checksum.get(), header.length.get(), length);
            header.checksum = sum.into();
            header.length = length.into();
        }
        let network = &mut network[ethernet::HEADER_LEN..];
        if network.len() == ipv4::HEADER_LEN {
            if let Ok((header, _)) = ipv4::Header::mut_from_prefix(network) {
                header.total_len = length16(self.frame_bytes - ethernet::HEADER_LEN).into();
                header.checksum = 0.into();
            }
            let checksum = Sum::of(network).checksum();
            if let Ok((header, _)) = ipv4::Header::mut_from_prefix(network) {
                header.checksum = checksum.into();
            }
        } else if let Ok((header, _)) = ipv6::Header::mut_from_prefix(network) {
            header.payload_len = length.into();
        }
        self.frame_bytes
    }

    /// How many datagrams it is.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Payload bytes of each datagram (the last may have fewer).
    #[inline]
    #[must_use]
    pub const fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Where the UDP header starts in the frame.
    #[inline]
    #[must_use]
    pub const fn transport_offset(&self) -> usize {
        self.transport_offset
    }

    /// Bytes of all headers.
    #[inline]
    #[must_use]
    pub const fn headers_bytes(&self) -> usize {
        self.transport_offset + udp::HEADER_LEN
    }

    /// Whether the headers of `next`, of the same kind, are those that come after the run's.
    #[inline]
    fn continues(&self, buffer: &[u8], next: &[u8]) -> bool {
        let headers = self.headers_bytes();
        let (Some(first), Some(next)) = (buffer.get(..headers), next.get(..headers)) else {
            return false;
        };
        let (first_network, first_transport) = first.split_at(self.transport_offset);
        let (next_network, next_transport) = next.split_at(self.transport_offset);
        self.follows_in_network(first_network, next_network)
            && follows_in_transport(first_transport, next_transport)
    }

    #[inline]
    fn follows_in_network(&self, first: &[u8], next: &[u8]) -> bool {
        let (first_ethernet, first) = first.split_at(ethernet::HEADER_LEN);
        let (next_ethernet, next) = next.split_at(ethernet::HEADER_LEN);
        if first_ethernet != next_ethernet {
            return false;
        }
        if first.len() == ipv4::HEADER_LEN {
            let (Ok((a, _)), Ok((b, _))) = (
                ipv4::Header::ref_from_prefix(first),
                ipv4::Header::ref_from_prefix(next),
            ) else {
                return false;
            };
            let counted = a.identification.get().wrapping_add(length16(self.count));
            a.traffic_class == b.traffic_class
                && a.flags_fragment == b.flags_fragment
                && a.ttl == b.ttl
                && a.source == b.source
                && a.destination == b.destination
                && (a.flags_fragment.get() & DONT_FRAGMENT != 0 || b.identification.get() == counted)
        } else {
            let (Ok((a, _)), Ok((b, _))) = (
                ipv6::Header::ref_from_prefix(first),
                ipv6::Header::ref_from_prefix(next),
            ) else {
                return false;
            };
            a.version_class_flow == b.version_class_flow
                && a.hop_limit == b.hop_limit
                && a.source == b.source
                && a.destination == b.destination
        }
    }
}

/// Ports, and a sum of the pseudo header that differs by the length alone: else one of them is not what it
/// should be, and cutting would mend it.
#[inline]
fn follows_in_transport(first: &[u8], next: &[u8]) -> bool {
    let (Ok((a, _)), Ok((b, _))) = (
        udp::Header::ref_from_prefix(first),
        udp::Header::ref_from_prefix(next),
    ) else {
        return false;
    };
    let (length, next_length) = (a.length.get(), b.length.get());
    let sum = if length == next_length {
        a.checksum.get()
    } else {
        update_partial(a.checksum.get(), length, next_length)
    };
    a.source_port == b.source_port
        && a.destination_port == b.destination_port
        // Zero has two forms.
        && sum % u16::MAX == b.checksum.get() % u16::MAX
}

/// A frame that may be in a run.
struct Datagram {
    transport_offset: usize,
    payload_bytes: usize,
}

impl Datagram {
    #[inline]
    fn parse(frame: &[u8]) -> Option<Self> {
        /// Version 4, five words of header.
        const WITHOUT_OPTIONS: u8 = 0x45;
        /// "More fragments", the offset, and the bit that must be zero.
        const FRAGMENT: u16 = 0xbfff;
        let (ethernet, packet) = ethernet::Header::ref_from_prefix(frame).ok()?;
        let (network_bytes, protocol) = match EtherType(ethernet.ethertype.get()) {
            EtherType::IPV4 => {
                let (header, _) = ipv4::Header::ref_from_prefix(packet).ok()?;
                let is_plain = header.version_ihl == WITHOUT_OPTIONS
                    && header.flags_fragment.get() & FRAGMENT == 0
                    && usize::from(header.total_len.get()) == packet.len()
                    && Sum::of(&packet[..ipv4::HEADER_LEN]).is_valid();
                is_plain.then_some((ipv4::HEADER_LEN, header.protocol))?
            }
            EtherType::IPV6 => {
                let (header, rest) = ipv6::Header::ref_from_prefix(packet).ok()?;
                let is_plain = header.version() == 6 && usize::from(header.payload_len.get()) == rest.len();
                is_plain.then_some((ipv6::HEADER_LEN, header.next_header))?
            }
            _ => return None,
        };
        let datagram = packet.get(network_bytes..)?;
        let (header, payload) = udp::Header::ref_from_prefix(datagram).ok()?;
        let is_plain = Protocol(protocol) == Protocol::UDP
            && usize::from(header.length.get()) == datagram.len()
            && !payload.is_empty();
        is_plain.then_some(Self {
            transport_offset: ethernet::HEADER_LEN + network_bytes,
            payload_bytes: payload.len(),
        })
    }
}

/// A length that was checked against [`IP_BYTES_MAX`].
#[inline]
fn length16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// The most bytes of an IP packet here: both families' lengths have 16 bits.
const IP_BYTES_MAX: usize = 65_535;
/// The bit of the flags. Source: [RFC 791 §3.1].
const DONT_FRAGMENT: u16 = 0x4000;
