//! IPv6 headers and the walk over extension headers.
//!
//! Source: [RFC 8200], [RFC 5095] (routing header 0 is gone), [RFC 4302 §2] (length of AH), [RFC 7045]
//! (which numbers are extension headers).

use std::mem::offset_of;
use std::net::Ipv6Addr;

use zerocopy::byteorder::{BE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{length16, room, view};
use crate::{Error, Layer, Protocol};

/// Size of the fixed header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Most extension headers that a walk follows. Legal packets have each of the kinds once, destination options
/// twice (RFC 8200 §4.1); more is refused, so that the work per packet is bounded.
pub const MAX_EXTENSIONS: usize = 8;

/// The smallest MTU of a link. Source: [RFC 8200 §5].
pub const MIN_MTU: usize = 1280;

/// Offset of the hop limit in the header.
pub const HOP_LIMIT_OFFSET: usize = offset_of!(Header, hop_limit);

/// Offset of the source address in the header.
pub const SOURCE_OFFSET: usize = offset_of!(Header, source);

/// Offset of the destination address in the header.
pub const DESTINATION_OFFSET: usize = offset_of!(Header, destination);

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// All routers of the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Version (4 bits), traffic class (8 bits), flow label (20 bits).
    pub version_class_flow: U32<BE>,
    /// Bytes behind the fixed header, extension headers included.
    pub payload_len: U16<BE>,
    /// [`Protocol`] of what follows.
    pub next_header: u8,
    /// Hops that are left.
    pub hop_limit: u8,
    /// The sender.
    pub source: [u8; 16],
    /// The receiver.
    pub destination: [u8; 16],
}

const _: () = {
    assert!(size_of::<Header>() == 40);
    assert!(offset_of!(Header, hop_limit) == 7);
    assert!(offset_of!(Header, source) == 8);
    assert!(offset_of!(Header, destination) == 24);
};

impl Header {
    /// Views the first bytes of a packet; the second part is everything behind the fixed header.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(&Self, &[u8]), Error> {
        view(Layer::Ipv6, packet)
    }

    /// The version that the header says.
    #[inline]
    pub fn version(&self) -> u8 {
        self.version_class_flow.as_bytes()[0] >> 4
    }

    /// Differentiated services (6 bits), congestion notification (2 bits).
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        let [a, b, ..] = self.version_class_flow.to_bytes();
        (a << 4) | (b >> 4)
    }

    /// The flow label.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0xf_ffff
    }
}

/// The fragment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FragmentHeader {
    /// [`Protocol`] of what follows.
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// Offset in 8-byte units (13 bits), reserved (2 bits), more fragments (1 bit).
    pub offset_more: U16<BE>,
    /// Names the packet that a fragment is of.
    pub identification: U32<BE>,
}

const _: () = assert!(size_of::<FragmentHeader>() == 8);

/// What a fragment header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Names the packet that the fragment is of. IPv4 uses 16 bits of it.
    pub identification: u32,
    /// Where in the packet the fragment belongs, in bytes.
    pub offset: u16,
    /// Whether another fragment follows.
    pub more: bool,
}

impl Fragment {
    /// Whether the fragment starts its packet and so has the transport header.
    #[inline]
    pub const fn is_first(self) -> bool {
        self.offset == 0
    }
}

impl FragmentHeader {
    /// What the header says.
    #[inline]
    pub fn fragment(&self) -> Fragment {
        let word = self.offset_more.get();
        Fragment {
            identification: self.identification.get(),
            offset: word & 0xfff8,
            more: word & 1 == 1,
        }
    }
}

/// Where the extension headers lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// The upper-layer protocol; [`Protocol::NO_NEXT`] if there is none.
    pub protocol: Protocol,
    /// Bytes of extension headers, so the offset of the upper layer behind the fixed header.
    pub offset: usize,
    /// The fragment header, if there is one.
    pub fragment: Option<Fragment>,
}

/// Follows extension headers from the byte behind the fixed header to the upper layer. Stops behind the
/// fragment header of a later fragment, whose upper-layer header is elsewhere.
///
/// `bytes` is what can be seen of the `payload_len` bytes behind the fixed header.
#[inline]
pub fn walk(next_header: u8, bytes: &[u8], payload_len: usize) -> Result<Walk, Error> {
    let mut walk = Walk {
        protocol: Protocol(next_header),
        offset: 0,
        fragment: None,
    };
    // Nearly every packet has no extension header.
    if !is_extension(walk.protocol) {
        return Ok(walk);
    }
    walk_extensions(&mut walk, bytes, payload_len)?;
    Ok(walk)
}

fn walk_extensions(walk: &mut Walk, bytes: &[u8], payload_len: usize) -> Result<(), Error> {
    for index in 0..=MAX_EXTENSIONS {
        if !is_extension(walk.protocol) {
            return Ok(());
        }
        if index == MAX_EXTENSIONS {
            break;
        }
        // Hop-by-hop options must come first (RFC 8200 §4.1).
        if walk.protocol == Protocol::HOP_BY_HOP && index > 0 {
            return Err(illegal("next header", 0));
        }
        let header = extension(bytes, walk.offset, payload_len)?;
        let len = match walk.protocol {
            Protocol::FRAGMENT => 8,
            Protocol::AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if len > payload_len - walk.offset {
            return Err(Error::Length {
                layer: Layer::Ipv6Extension,
                got: len,
            });
        }
        // Type 0 lets a packet travel back and forth; receivers must not follow it (RFC 5095 §3).
        if walk.protocol == Protocol::ROUTING && header[2] == 0 && header[3] != 0 {
            return Err(illegal("routing type", 0));
        }
        let this = walk.protocol;
        walk.protocol = Protocol(header[0]);
        walk.offset += len;
        if this == Protocol::FRAGMENT {
            if walk.fragment.is_some() {
                return Err(illegal("next header", Protocol::FRAGMENT.0.into()));
            }
            let fragment = view_fragment(header);
            walk.fragment = Some(fragment);
            if !fragment.is_first() {
                return Ok(());
            }
        }
    }
    Err(Error::TooManyExtensions { max: MAX_EXTENSIONS })
}

/// The first eight bytes of the extension header at `offset`: the least that each kind has.
fn extension(bytes: &[u8], offset: usize, payload_len: usize) -> Result<&[u8; 8], Error> {
    if payload_len.saturating_sub(offset) < 8 {
        return Err(Error::Truncated {
            layer: Layer::Ipv6Extension,
            needed: 8,
            got: payload_len.saturating_sub(offset),
        });
    }
    bytes
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(Error::BeyondWindow {
            layer: Layer::Ipv6Extension,
            window: bytes.len(),
        })
}

fn view_fragment(header: &[u8; 8]) -> Fragment {
    let header: &FragmentHeader = zerocopy::transmute_ref!(header);
    header.fragment()
}

fn illegal(field: &'static str, got: u32) -> Error {
    Error::Field {
        layer: Layer::Ipv6Extension,
        field,
        got,
    }
}

#[inline]
const fn is_extension(protocol: Protocol) -> bool {
    matches!(
        protocol,
        Protocol::HOP_BY_HOP
            | Protocol::ROUTING
            | Protocol::FRAGMENT
            | Protocol::AUTHENTICATION
            | Protocol::DESTINATION_OPTIONS
            | Protocol::MOBILITY
            | Protocol::HIP
            | Protocol::SHIM6
    )
}

/// The multicast group on which an address's owner hears solicitations. Source: [RFC 4291 §2.7.1].
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let s = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (s[6] & 0xff), s[7])
}

/// The link-local address that follows from a MAC address. Source: [RFC 4291 §2.5.6, appendix A].
pub const fn link_local(mac: crate::ethernet::Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// A fixed header of legal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Differentiated services (6 bits), congestion notification (2 bits).
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// What follows: the upper layer or an extension header.
    pub next_header: Protocol,
    /// Hops that are left.
    pub hop_limit: u8,
    /// The sender.
    pub source: Ipv6Addr,
    /// The receiver.
    pub destination: Ipv6Addr,
    /// Bytes behind the fixed header, extension headers included.
    pub payload_len: usize,
}

impl Repr {
    /// A packet with hop limit 64.
    pub const fn new(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        next_header: Protocol,
        payload_len: usize,
    ) -> Self {
        Self {
            traffic_class: 0,
            flow_label: 0,
            next_header,
            hop_limit: 64,
            source,
            destination,
            payload_len,
        }
    }

    /// Reads a packet; the second part is what follows the fixed header, without padding of the link.
    pub fn parse(packet: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, rest) = Header::parse(packet)?;
        let payload_len = check_lengths(header, packet.len())?;
        let repr = Self {
            traffic_class: header.traffic_class(),
            flow_label: header.flow_label(),
            next_header: Protocol(header.next_header),
            hop_limit: header.hop_limit,
            source: header.source.into(),
            destination: header.destination.into(),
            payload_len,
        };
        let payload = rest.get(..payload_len).ok_or(Error::Length {
            layer: Layer::Ipv6,
            got: payload_len,
        })?;
        Ok((repr, payload))
    }

    /// Bytes that [`Self::emit`] writes.
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header; returns its size. The payload is the caller's to write behind it.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        if self.flow_label > 0xf_ffff {
            return Err(Error::Field {
                layer: Layer::Ipv6,
                field: "flow label",
                got: self.flow_label,
            });
        }
        let word = (6 << 28) | (u32::from(self.traffic_class) << 20) | self.flow_label;
        let header = Header {
            version_class_flow: word.into(),
            payload_len: length16(Layer::Ipv6, self.payload_len)?.into(),
            next_header: self.next_header.0,
            hop_limit: self.hop_limit,
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        room(Layer::Ipv6, out, HEADER_LEN)?.copy_from_slice(header.as_bytes());
        Ok(HEADER_LEN)
    }
}

/// Checks version and length; returns the payload's size in bytes. `available` is what the link delivered,
/// which may have padding at the end. A jumbogram (length 0 with a hop-by-hop option) is not represented.
#[inline]
pub(crate) fn check_lengths(header: &Header, available: usize) -> Result<usize, Error> {
    if header.version() != 6 {
        return Err(Error::Version {
            layer: Layer::Ipv6,
            got: header.version(),
        });
    }
    let payload_len = usize::from(header.payload_len.get());
    if HEADER_LEN + payload_len > available {
        return Err(Error::Truncated {
            layer: Layer::Ipv6,
            needed: HEADER_LEN + payload_len,
            got: available,
        });
    }
    Ok(payload_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip() {
        let repr = Repr {
            traffic_class: 0xb8,
            flow_label: 0x12345,
            ..Repr::new(
                "2001:db8::1".parse().unwrap(),
                "2001:db8::2".parse().unwrap(),
                Protocol::NO_NEXT,
                0,
            )
        };
        let mut out = [0; 40];
        assert_eq!(repr.emit(&mut out), Ok(40));
        assert_eq!(out[..8], [0x6b, 0x81, 0x23, 0x45, 0, 0, 59, 64]);
        assert_eq!(Repr::parse(&out), Ok((repr, &[][..])));
    }

    #[test]
    fn walk_follows_each_kind() {
        // Hop-by-hop (8 bytes), routing type 4 (16), destination options (8), AH (12), fragment (8), UDP.
        let mut bytes = vec![43, 0, 1, 4, 0, 0, 0, 0];
        bytes.extend([60, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([51, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend([44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([17, 0, 0, 1, 0, 0, 0, 9]);
        bytes.extend([0; 8]);
        let walk = walk(0, &bytes, bytes.len()).unwrap();
        assert_eq!((walk.protocol, walk.offset), (Protocol::UDP, 52));
        assert_eq!(
            walk.fragment,
            Some(Fragment {
                identification: 9,
                offset: 0,
                more: true
            })
        );
    }

    #[test]
    fn later_fragment_ends_the_walk() {
        let bytes = [0, 0, 0x05, 0xa8, 0, 0, 0, 9];
        let walk = walk(44, &bytes, 8).unwrap();
        assert_eq!((walk.protocol.0, walk.offset), (0, 8));
        assert_eq!(walk.fragment.map(|f| (f.offset, f.more)), Some((1448, false)));
    }

    #[test]
    fn walk_refuses() {
        let chain = |len: usize| [60, 0, 1, 4, 0, 0, 0, 0].repeat(len);
        assert_eq!(walk(60, &chain(9), 72), Err(Error::TooManyExtensions { max: 8 }));
        // Eight are allowed, but the last says that a ninth follows.
        assert!(walk(60, &chain(8), 64).is_err());
        // Hop-by-hop not first.
        assert_eq!(
            walk(60, &[0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0], 16),
            Err(illegal("next header", 0))
        );
        // A length beyond the packet, a header beyond the packet, a header beyond the window.
        assert!(matches!(
            walk(60, &[17, 1, 1, 4, 0, 0, 0, 0], 8),
            Err(Error::Length { got: 16, .. })
        ));
        assert!(matches!(
            walk(60, &[17, 0, 1], 3),
            Err(Error::Truncated { got: 3, .. })
        ));
        assert!(matches!(
            walk(60, &[17, 0, 1], 100),
            Err(Error::BeyondWindow { .. })
        ));
        // Routing header 0 with segments left.
        assert_eq!(
            walk(43, &[17, 0, 0, 1, 0, 0, 0, 0], 8),
            Err(illegal("routing type", 0))
        );
    }

    #[test]
    fn derived_addresses() {
        let address: Ipv6Addr = "2001:db8::1234:5678".parse().unwrap();
        assert_eq!(solicited_node(address).to_string(), "ff02::1:ff34:5678");
        assert_eq!(
            link_local([0x02, 0x90, 0xc0, 0xb7, 0x9e, 0xd1]).to_string(),
            "fe80::90:c0ff:feb7:9ed1"
        );
    }
}
