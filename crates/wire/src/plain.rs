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
    /// Per packet, without lock or allocation: no loop but the IPv4 header's checksum.
    #[inline]
    pub fn parse(window: &[u8], frame_len: usize) -> Option<Self> {
        let window = &window[..window.len().min(frame_len)];
        let available = frame_len.checked_sub(ethernet::HEADER_LEN)?;
        let (ethernet, packet) = ethernet::Header::ref_from_prefix(window).ok()?;
        match EtherType(ethernet.ethertype.get()) {
            EtherType::IPV4 => Self::ipv4(packet, available),
            EtherType::IPV6 => Self::ipv6(packet, available),
            _ => None,
        }
    }

    #[inline]
    fn ipv4(packet: &[u8], available: usize) -> Option<Self> {
        /// Version 4, five words of header.
        const WITHOUT_OPTIONS: u8 = 0x45;
        /// "More fragments" and the offset.
        const FRAGMENT: u16 = 0x3fff;
        let (bytes, segment) = packet.split_first_chunk::<{ ipv4::HEADER_LEN }>()?;
        let (header, _) = ipv4::Header::ref_from_prefix(bytes).ok()?;
        let total_len = usize::from(header.total_len.get());
        if header.version_ihl != WITHOUT_OPTIONS
            || header.flags_fragment.get() & FRAGMENT != 0
            || total_len > available
            || !checksum::is_intact(bytes)
        {
            return None;
        }
        let transport_len = total_len.checked_sub(ipv4::HEADER_LEN)?;
        let transport = transport(Protocol(header.protocol), segment, transport_len)?;
        let addresses = Addresses::V4 {
            source: u32::from_be_bytes(header.source),
            destination: u32::from_be_bytes(header.destination),
        };
        Some(Self::new(
            addresses,
            header.ttl,
            header.total_len.get().into(),
            LEN4,
            &transport,
        ))
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

const _: () = {
    assert!(ipv4::HEADER_LEN == LEN4 as usize);
    assert!(ipv6::HEADER_LEN == LEN6 as usize);
    assert!(udp::HEADER_LEN == UDP_LEN as usize);
};
