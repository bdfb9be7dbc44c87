//! IPv4 headers, options and fragments.
//!
//! Source: [RFC 791], [RFC 6864] (identification), [RFC 2474] and [RFC 3168] (the traffic class byte).

use std::mem::offset_of;
use std::net::Ipv4Addr;

use zerocopy::byteorder::{BE, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;
use crate::error::{length16, room, view};
use crate::{Error, Layer};

/// Size of a header without options.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Most bytes of options that a header can carry.
pub const MAX_OPTIONS: usize = 40;

/// Offset of the TTL in the header.
pub const TTL_OFFSET: usize = offset_of!(Header, ttl);

/// Offset of the checksum in the header.
pub const CHECKSUM_OFFSET: usize = offset_of!(Header, checksum);

/// Offset of the source address in the header.
pub const SOURCE_OFFSET: usize = offset_of!(Header, source);

/// Offset of the destination address in the header.
pub const DESTINATION_OFFSET: usize = offset_of!(Header, destination);

/// "Do not fragment" in [`Header::flags_fragment`].
pub const DONT_FRAGMENT: u16 = 0x4000;

/// "More fragments" in [`Header::flags_fragment`].
pub const MORE_FRAGMENTS: u16 = 0x2000;

/// An IP protocol (next header) number. An open set: any byte is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP for IPv4.
    pub const ICMPV4: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// IPv6 routing header.
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Self = Self(44);
    /// IPsec encapsulating security payload.
    pub const ESP: Self = Self(50);
    /// IPsec authentication header.
    pub const AUTHENTICATION: Self = Self(51);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// Nothing follows (IPv6).
    pub const NO_NEXT: Self = Self(59);
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: Self = Self(60);
    /// Mobile IPv6.
    pub const MOBILITY: Self = Self(135);
    /// Host identity protocol.
    pub const HIP: Self = Self(139);
    /// Multihoming shim.
    pub const SHIM6: Self = Self(140);
}

/// The fixed part of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Version (4 bits), header length in 4-byte words (4 bits).
    pub version_ihl: u8,
    /// Differentiated services (6 bits), congestion notification (2 bits).
    pub traffic_class: u8,
    /// Bytes of header and payload.
    pub total_len: U16<BE>,
    /// Names the packet that a fragment is of.
    pub identification: U16<BE>,
    /// Reserved (1 bit), do not fragment, more fragments, offset in 8-byte units (13 bits).
    pub flags_fragment: U16<BE>,
    /// Hops that are left.
    pub ttl: u8,
    /// [`Protocol`] of the payload.
    pub protocol: u8,
    /// Checksum of the header and its options.
    pub checksum: U16<BE>,
    /// The sender.
    pub source: [u8; 4],
    /// The receiver.
    pub destination: [u8; 4],
}

const _: () = {
    assert!(size_of::<Header>() == 20);
    assert!(offset_of!(Header, flags_fragment) == 6);
    assert!(offset_of!(Header, ttl) == 8);
    assert!(offset_of!(Header, checksum) == 10);
    assert!(offset_of!(Header, destination) == 16);
};

impl Header {
    /// Views the first bytes of a packet; the second part is everything behind the fixed header.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(&Self, &[u8]), Error> {
        view(Layer::Ipv4, packet)
    }

    /// The version that the header says.
    #[inline]
    pub const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Size of the header with its options in bytes, as it says.
    #[inline]
    pub const fn header_len(&self) -> usize {
        ((self.version_ihl & 0xf) as usize) * 4
    }

    /// Whether another fragment of the packet follows.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_fragment.get() & MORE_FRAGMENTS != 0
    }

    /// Whether a router must not split the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_fragment.get() & DONT_FRAGMENT != 0
    }

    /// Where in the packet this fragment's payload belongs, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (self.flags_fragment.get() & 0x1fff) << 3
    }
}

/// The options of a header: whole words, well formed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    len: u8,
    bytes: [u8; MAX_OPTIONS],
}

impl Options {
    /// No options.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; MAX_OPTIONS],
    };

    /// Takes options as they are on the wire, padding included.
    pub fn new(options: &[u8]) -> Result<Self, Error> {
        let wrong = Error::Length {
            layer: Layer::Ipv4,
            got: options.len(),
        };
        if !options.len().is_multiple_of(4) {
            return Err(wrong);
        }
        let mut this = Self::EMPTY;
        this.bytes
            .get_mut(..options.len())
            .ok_or(wrong)?
            .copy_from_slice(options);
        this.len = u8::try_from(options.len()).map_err(|_| wrong)?;
        check_options(options)?;
        Ok(this)
    }

    /// The options as they are on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Each option's type and data, without padding.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.as_bytes();
        std::iter::from_fn(move || {
            loop {
                match *rest {
                    [] | [OPTION_END, ..] => return None,
                    [OPTION_NOP, ref after @ ..] => rest = after,
                    [kind, len, ..] => {
                        let option = rest.get(2..usize::from(len))?;
                        rest = rest.get(usize::from(len)..)?;
                        return Some((kind, option));
                    }
                    [_] => return None,
                }
            }
        })
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.as_bytes()).finish()
    }
}

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;

fn check_options(mut rest: &[u8]) -> Result<(), Error> {
    loop {
        rest = match *rest {
            [] | [OPTION_END, ..] => return Ok(()),
            [OPTION_NOP, ref after @ ..] => after,
            [_, len, ..] if len >= 2 && usize::from(len) <= rest.len() => &rest[usize::from(len)..],
            [_, len, ..] => {
                return Err(Error::Field {
                    layer: Layer::Ipv4,
                    field: "option length",
                    got: len.into(),
                });
            }
            [kind] => {
                return Err(Error::Field {
                    layer: Layer::Ipv4,
                    field: "option type without length",
                    got: kind.into(),
                });
            }
        };
    }
}

/// A header of legal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Differentiated services (6 bits), congestion notification (2 bits).
    pub traffic_class: u8,
    /// Names the packet that a fragment is of.
    pub identification: u16,
    /// Whether a router must not split it.
    pub dont_fragment: bool,
    /// Whether another fragment follows.
    pub more_fragments: bool,
    /// Where in the packet this fragment belongs, in bytes, a multiple of 8.
    pub fragment_offset: u16,
    /// Hops that are left.
    pub ttl: u8,
    /// What it carries.
    pub protocol: Protocol,
    /// The sender.
    pub source: Ipv4Addr,
    /// The receiver.
    pub destination: Ipv4Addr,
    /// Options.
    pub options: Options,
    /// Bytes behind the header.
    pub payload_len: usize,
}

impl Repr {
    /// A whole packet without options, TTL 64.
    pub const fn new(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: Protocol,
        payload_len: usize,
    ) -> Self {
        Self {
            traffic_class: 0,
            identification: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol,
            source,
            destination,
            options: Options::EMPTY,
            payload_len,
        }
    }

    /// Reads a packet; the second part is the payload, without padding of the link.
    pub fn parse(packet: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, _) = Header::parse(packet)?;
        let (header_len, total_len) = check_lengths(header, packet.len())?;
        let (head, payload) = packet
            .get(..total_len)
            .and_then(|packet| packet.split_at_checked(header_len))
            .ok_or(Error::Length {
                layer: Layer::Ipv4,
                got: total_len,
            })?;
        if !Sum::of(head).is_valid() {
            return Err(Error::Checksum { layer: Layer::Ipv4 });
        }
        let repr = Self {
            traffic_class: header.traffic_class,
            identification: header.identification.get(),
            dont_fragment: header.dont_fragment(),
            more_fragments: header.more_fragments(),
            fragment_offset: header.fragment_offset(),
            ttl: header.ttl,
            protocol: Protocol(header.protocol),
            source: header.source.into(),
            destination: header.destination.into(),
            options: Options::new(&head[HEADER_LEN..])?,
            payload_len: payload.len(),
        };
        Ok((repr, payload))
    }

    /// Size of the header with its options.
    pub fn header_len(&self) -> usize {
        HEADER_LEN + usize::from(self.options.len)
    }

    /// Writes the header; returns its size. The payload is the caller's to write behind it.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        let len = self.header_len();
        let total_len = length16(Layer::Ipv4, len.saturating_add(self.payload_len))?;
        if !self.fragment_offset.is_multiple_of(8) {
            return Err(Error::Field {
                layer: Layer::Ipv4,
                field: "fragment offset",
                got: self.fragment_offset.into(),
            });
        }
        let out = room(Layer::Ipv4, out, len)?;
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 }
            | if self.more_fragments { MORE_FRAGMENTS } else { 0 };
        let mut header = Header {
            version_ihl: 0x45 + self.options.len / 4,
            traffic_class: self.traffic_class,
            total_len: total_len.into(),
            identification: self.identification.into(),
            flags_fragment: (flags | (self.fragment_offset >> 3)).into(),
            ttl: self.ttl,
            protocol: self.protocol.0,
            checksum: 0.into(),
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        let sum = Sum::of(header.as_bytes()).bytes(self.options.as_bytes());
        header.checksum = sum.checksum().into();
        let (head, options) = out.split_at_mut(HEADER_LEN);
        head.copy_from_slice(header.as_bytes());
        options.copy_from_slice(self.options.as_bytes());
        Ok(len)
    }
}

/// Checks version and lengths; returns the header's and the packet's size in bytes. `available` is what the
/// link delivered, which may have padding at the end.
#[inline]
pub(crate) fn check_lengths(header: &Header, available: usize) -> Result<(usize, usize), Error> {
    const LAYER: Layer = Layer::Ipv4;
    if header.version() != 4 {
        return Err(Error::Version {
            layer: LAYER,
            got: header.version(),
        });
    }
    let header_len = header.header_len();
    let total_len = usize::from(header.total_len.get());
    if header_len < HEADER_LEN {
        return Err(Error::Length {
            layer: LAYER,
            got: header_len,
        });
    }
    if total_len < header_len {
        return Err(Error::Length {
            layer: LAYER,
            got: total_len,
        });
    }
    if total_len > available {
        return Err(Error::Truncated {
            layer: LAYER,
            needed: total_len,
            got: available,
        });
    }
    Ok((header_len, total_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10.0.0.4 to 10.0.0.5, ICMP, DF, one byte of payload.
    const PACKET: [u8; 21] = [
        0x45, 0x00, 0x00, 0x15, 0x12, 0x34, 0x40, 0x00, 0x40, 0x01, 0x14, 0xac, 10, 0, 0, 4, 10, 0, 0, 5,
        0xaa,
    ];

    #[test]
    fn packet() {
        let (repr, payload) = Repr::parse(&PACKET).unwrap();
        assert_eq!(payload, [0xaa]);
        assert!(repr.dont_fragment && !repr.more_fragments);
        assert_eq!((repr.ttl, repr.protocol), (64, Protocol::ICMPV4));
        let mut out = [0; 20];
        assert_eq!(repr.emit(&mut out), Ok(20));
        assert_eq!(out, PACKET[..20]);
    }

    #[test]
    fn wrong_fields_are_named() {
        let change = |offset: usize, value: u8| {
            let mut bytes = PACKET;
            bytes[offset] = value;
            Repr::parse(&bytes).unwrap_err()
        };
        let layer = Layer::Ipv4;
        assert_eq!(change(0, 0x65), Error::Version { layer, got: 6 });
        assert_eq!(change(0, 0x44), Error::Length { layer, got: 16 });
        assert_eq!(change(3, 19), Error::Length { layer, got: 19 });
        assert_eq!(
            change(3, 22),
            Error::Truncated {
                layer,
                needed: 22,
                got: 21
            }
        );
        assert_eq!(change(8, 63), Error::Checksum { layer });
    }

    #[test]
    fn options_are_walked() {
        let options = Options::new(&[1, 7, 7, 4, 1, 2, 3, 4, 0, 0, 0, 0]);
        // The record-route option says 7 bytes: 5 of data.
        let options = options.unwrap();
        let list: Vec<_> = options.iter().collect();
        assert_eq!(list, [(7, &[4, 1, 2, 3, 4][..])]);
        assert!(Options::new(&[7, 1, 0, 0]).is_err());
        assert!(Options::new(&[7, 5, 0, 0]).is_err());
        assert!(Options::new(&[1, 1, 1, 7]).is_err());
        assert!(Options::new(&[1, 1, 1]).is_err());
        assert!(Options::new(&[1; 44]).is_err());
    }
}
