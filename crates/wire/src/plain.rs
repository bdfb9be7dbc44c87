//! The quick reading of frames with nothing unusual in them, which is nearly every frame.
//!
//! [`Plain::parse`] takes Ethernet without a tag, IPv4 without options or IPv6 without extension headers, no
//! fragment, and TCP or UDP. It refuses what [`Parsed::parse`](crate::packet::Parsed::parse) refuses, and
//! reads the rest alike; what it does not take is for that one, which says what is the matter.

use zerocopy::FromBytes;

use crate::checksum;
use crate::ethernet::{self, EtherType};
use crate::tcp::{self, Flags};
use crate::{Protocol, ipv4, ipv6, udp};

/// A TCP segment or UDP datagram in a frame without anything unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    /// Both addresses.
    pub addresses: Addresses,
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// [`Protocol::TCP`] or [`Protocol::UDP`].
    pub protocol: Protocol,
    /// The control bits of a TCP segment; none for UDP.
    pub flags: Flags,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Bytes of the IP packet.
    pub total_len: u32,
    /// Bytes of the IP header and the transport header.
    pub headers_len: u32,
}

/// The addresses of a packet as numbers, most significant byte first on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// The sender.
        source: u32,
        /// The receiver.
        destination: u32,
    },
    /// IPv6.
    V6 {
        /// The sender.
        source: u128,
        /// The receiver.
        destination: u128,
    },
}

impl Plain {
    /// Reads the first bytes of a frame of `frame_len` bytes; `None` if it is malformed or unusual.
    ///
    /// Per packet, without lock or allocation, and without a loop.
    #[inline]
    pub fn parse(window: &[u8], frame_len: usize) -> Option<Self> {
        match Shape::of(window, frame_len) {
            Some(shape) => Self::ipv4(&shape.read(window)?),
            None => Self::parse_ipv6(window, frame_len),
        }
    }

    /// As [`Self::parse`], of IPv6 only.
    #[inline]
    pub fn parse_ipv6(window: &[u8], frame_len: usize) -> Option<Self> {
        let window = &window[..window.len().min(frame_len)];
        let available = frame_len.checked_sub(ethernet::HEADER_LEN)?;
        let (ethernet, packet) = ethernet::Header::ref_from_prefix(window).ok()?;
        match EtherType(ethernet.ethertype.get()) {
            EtherType::IPV6 => Self::ipv6(packet, available),
            _ => None,
        }
    }

    #[inline]
    fn ipv4(words: &Words) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = words.addresses.to_be_bytes();
        let [source_port, destination_port] = [words.ports >> 16, words.ports & 0xffff];
        Some(Self {
            addresses: Addresses::V4 {
                source: u32::from_be_bytes([a, b, c, d]),
                destination: u32::from_be_bytes([e, f, g, h]),
            },
            source_port: u16::try_from(source_port).ok()?,
            destination_port: u16::try_from(destination_port).ok()?,
            protocol: words.protocol,
            flags: words.flags,
            ttl: words.ttl,
            total_len: words.total_len,
            headers_len: words.headers_len,
        })
    }

    #[inline]
    fn ipv6(packet: &[u8], available: usize) -> Option<Self> {
        let (header, segment) = ipv6::Header::ref_from_prefix(packet).ok()?;
        let transport_len = usize::from(header.payload_len.get());
        if header.version() != 6 || ipv6::HEADER_LEN + transport_len > available {
            return None;
        }
        let transport = transport(Protocol(header.next_header), segment, transport_len)?;
        let addresses = Addresses::V6 {
            source: u128::from_be_bytes(header.source),
            destination: u128::from_be_bytes(header.destination),
        };
        let total_len = LEN6 + u32::from(header.payload_len.get());
        Some(Self::new(
            addresses,
            header.hop_limit,
            total_len,
            LEN6,
            &transport,
        ))
    }

    #[inline]
    fn new(addresses: Addresses, ttl: u8, total_len: u32, network_len: u32, transport: &Transport) -> Self {
        Self {
            addresses,
            source_port: transport.source_port,
            destination_port: transport.destination_port,
            protocol: transport.protocol,
            flags: transport.flags,
            ttl,
            total_len,
            headers_len: network_len + transport.header_len,
        }
    }
}

/// What most frames are: TCP or UDP over IPv4, without a tag, without options and not a fragment, with a right header
/// checksum, and with a transport header that fits the packet. What was found can go with the frame, so that nobody
/// looks again: no edit that keeps the checksums right changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// The fields of a frame that has a [`Shape`], where possible as words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// The sender's address in the upper half, the receiver's in the lower.
    pub addresses: u64,
    /// The sender's port in the upper half, the receiver's in the lower.
    pub ports: u32,
    /// [`Protocol::TCP`] or [`Protocol::UDP`].
    pub protocol: Protocol,
    /// The control bits of a TCP segment; none for UDP.
    pub flags: Flags,
    /// TTL.
    pub ttl: u8,
    /// Bytes of the IP packet.
    pub total_len: u32,
    /// Bytes of the IP header and the transport header.
    pub headers_len: u32,
}

impl Shape {
    /// Looks at the first bytes of a frame of `frame_len` bytes; `None` where it is anything else.
    ///
    /// Per packet, without lock, loop or allocation. Bytes behind `frame_len` are not looked at: every header is
    /// found to end before.
    #[inline]
    pub fn of(window: &[u8], frame_len: usize) -> Option<Self> {
        /// The type IPv4, and version 4 with five words of header; the byte behind these three is not looked at.
        const WITHOUT_OPTIONS: u32 = 0x0800_4500;
        /// "More fragments" and the offset.
        const FRAGMENT: u16 = 0x3fff;
        let head: &[u8; HEADS_LEN] = window.first_chunk()?;
        let ip: &[u8; ipv4::HEADER_LEN] = head[IP..].first_chunk()?;
        let kind = u32::from_be_bytes(at(head, 12));
        let fragment = u16::from_be_bytes(at(head, IP + 6));
        let total_len = u16::from_be_bytes(at(head, IP + 2));
        let is_plain = kind & 0xffff_ff00 == WITHOUT_OPTIONS
            && fragment & FRAGMENT == 0
            && usize::from(total_len) + ethernet::HEADER_LEN <= frame_len
            && checksum::is_intact(ip);
        if !is_plain {
            return None;
        }
        match Protocol(head[IP + 9]) {
            Protocol::UDP => {
                let length = u32::from(u16::from_be_bytes(at(head, UDP_LENGTH)));
                let fits = length >= UDP_LEN && LEN4 + length <= u32::from(total_len);
                fits.then_some(Self(Kind::Udp))
            }
            Protocol::TCP => {
                let header: &[u8; tcp::HEADER_LEN] = window.get(TRANSPORT..)?.first_chunk()?;
                let length = u32::from(header[TCP_OFFSET] >> 4) * 4;
                let fits = length >= TCP_LEN && LEN4 + length <= u32::from(total_len);
                fits.then_some(Self(Kind::Tcp))
            }
            _ => None,
        }
    }

    /// Reads the first bytes of the frame of which this is the shape; `None` if they are not there.
    #[inline]
    pub fn read(self, window: &[u8]) -> Option<Words> {
        let head: &[u8; HEADS_LEN] = window.first_chunk()?;
        let (flags, transport_len) = match self.0 {
            Kind::Udp => (Flags(0), UDP_LEN),
            Kind::Tcp => {
                let header: &[u8; tcp::HEADER_LEN] = window.get(TRANSPORT..)?.first_chunk()?;
                (Flags(header[TCP_FLAGS]), u32::from(header[TCP_OFFSET] >> 4) * 4)
            }
        };
        Some(Words {
            addresses: u64::from_be_bytes(at(head, IP + ipv4::SOURCE_OFFSET)),
            ports: u32::from_be_bytes(at(head, TRANSPORT)),
            protocol: self.protocol(),
            flags,
            ttl: head[IP + ipv4::TTL_OFFSET],
            total_len: u16::from_be_bytes(at(head, IP + 2)).into(),
            headers_len: LEN4 + transport_len,
        })
    }

    /// UDP and not TCP.
    #[inline]
    pub const fn is_udp(self) -> bool {
        matches!(self.0, Kind::Udp)
    }

    /// [`Protocol::TCP`] or [`Protocol::UDP`].
    #[inline]
    pub const fn protocol(self) -> Protocol {
        match self.0 {
            Kind::Tcp => Protocol::TCP,
            Kind::Udp => Protocol::UDP,
        }
    }
}

/// `N` bytes at a place that is known to be there.
#[inline]
fn at<const N: usize>(head: &[u8; HEADS_LEN], start: usize) -> [u8; N] {
    std::array::from_fn(|byte| head[start + byte])
}

/// Where the IP header is, and the transport header behind it.
const IP: usize = ethernet::HEADER_LEN;
const TRANSPORT: usize = IP + ipv4::HEADER_LEN;
/// Where a UDP header says how long the datagram is.
const UDP_LENGTH: usize = TRANSPORT + 4;
/// Bytes of all headers up to the shortest transport header.
const HEADS_LEN: usize = TRANSPORT + udp::HEADER_LEN;
/// Where a TCP header says how long it is, and its control bits.
const TCP_OFFSET: usize = std::mem::offset_of!(tcp::Header, data_offset);
const TCP_FLAGS: usize = std::mem::offset_of!(tcp::Header, flags);

struct Transport {
    source_port: u16,
    destination_port: u16,
    protocol: Protocol,
    flags: Flags,
    header_len: u32,
}

/// The header of a transport packet of `len` bytes, of which the window may have the first only.
#[inline]
fn transport(protocol: Protocol, bytes: &[u8], len: usize) -> Option<Transport> {
    match protocol {
        Protocol::TCP => {
            let (header, _) = tcp::Header::ref_from_prefix(bytes).ok()?;
            let header_len = header.header_len();
            let fits = header_len >= tcp::HEADER_LEN && header_len <= len;
            fits.then_some(Transport {
                source_port: header.source_port.get(),
                destination_port: header.destination_port.get(),
                protocol,
                flags: Flags(header.flags),
                header_len: u32::from(header.data_offset >> 4) * 4,
            })
        }
        Protocol::UDP => {
            let (header, _) = udp::Header::ref_from_prefix(bytes).ok()?;
            let length = usize::from(header.length.get());
            let fits = length >= udp::HEADER_LEN && length <= len;
            fits.then_some(Transport {
                source_port: header.source_port.get(),
                destination_port: header.destination_port.get(),
                protocol,
                flags: Flags(0),
                header_len: UDP_LEN,
            })
        }
        _ => None,
    }
}

const LEN4: u32 = 20;
const LEN6: u32 = 40;
const UDP_LEN: u32 = 8;
const TCP_LEN: u32 = 20;

const _: () = {
    assert!(ipv4::HEADER_LEN == LEN4 as usize);
    assert!(ipv6::HEADER_LEN == LEN6 as usize);
    assert!(udp::HEADER_LEN == UDP_LEN as usize);
    assert!(tcp::HEADER_LEN == TCP_LEN as usize);
};
