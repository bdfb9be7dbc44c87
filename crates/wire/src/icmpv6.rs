//! ICMP for IPv6, Neighbor Discovery included.
//!
//! Source: [RFC 4443], [RFC 4861] (Neighbor Discovery), [RFC 8106] (DNS servers in advertisements).

use std::net::Ipv6Addr;

use zerocopy::byteorder::{BE, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{Sum, pseudo};
use crate::error::{room, view};
use crate::{Error, Layer, Protocol};

pub mod ndp;

/// Size of the header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Offset of the checksum in the header.
pub const CHECKSUM_OFFSET: usize = 2;

/// Message type: destination unreachable.
pub const DESTINATION_UNREACHABLE: u8 = 1;
/// Message type: packet too big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Message type: time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Message type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Message type: echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Message type: echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Message type: router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Message type: router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Message type: neighbor solicitation.
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Message type: neighbor advertisement.
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Message type: redirect.
pub const REDIRECT: u8 = 137;

/// Code of [`DESTINATION_UNREACHABLE`]: no route.
pub const NO_ROUTE: u8 = 0;
/// Code of [`DESTINATION_UNREACHABLE`]: forbidden by policy.
pub const ADMINISTRATIVELY_PROHIBITED: u8 = 1;
/// Code of [`DESTINATION_UNREACHABLE`]: the host does not answer.
pub const ADDRESS_UNREACHABLE: u8 = 3;
/// Code of [`DESTINATION_UNREACHABLE`]: nobody listens on the port.
pub const PORT_UNREACHABLE: u8 = 4;

/// The header: what follows `checksum` depends on the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Message type; errors are below 128.
    pub kind: u8,
    /// Detail of the type.
    pub code: u8,
    /// Checksum with pseudo header.
    pub checksum: U16<BE>,
    /// Echo: identifier and sequence number; errors: pointer, MTU or nothing; Neighbor Discovery: flags.
    pub rest: [u8; 4],
}

const _: () = assert!(size_of::<Header>() == 8);

impl Header {
    /// Views the first bytes of a message; the second part is everything behind the header.
    #[inline]
    pub fn parse(message: &[u8]) -> Result<(&Self, &[u8]), Error> {
        view(Layer::Icmpv6, message)
    }
}

/// Whether messages of this type report about another packet, which they quote.
#[inline]
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

/// Whether messages of this type carry an identifier that pairs requests with replies.
#[inline]
pub const fn has_identifier(kind: u8) -> bool {
    matches!(kind, ECHO_REQUEST | ECHO_REPLY)
}

/// A message of legal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repr<'a> {
    /// Asks for an echo.
    EchoRequest {
        /// Names the program that asks.
        identifier: u16,
        /// Counts the requests.
        sequence: u16,
        /// Comes back unchanged.
        data: &'a [u8],
    },
    /// An echo.
    EchoReply {
        /// As in the request.
        identifier: u16,
        /// As in the request.
        sequence: u16,
        /// As in the request.
        data: &'a [u8],
    },
    /// A packet could not be delivered.
    DestinationUnreachable {
        /// Why.
        code: u8,
        /// The packet from its IP header on, cut.
        quote: &'a [u8],
    },
    /// A packet is larger than the next link's MTU.
    PacketTooBig {
        /// That MTU.
        mtu: u32,
        /// The packet from its IP header on, cut.
        quote: &'a [u8],
    },
    /// A packet's hop limit ran out (code 0), or its fragments did not all come (code 1).
    TimeExceeded {
        /// Which of the two.
        code: u8,
        /// The packet from its IP header on, cut.
        quote: &'a [u8],
    },
    /// A packet's header is wrong.
    ParameterProblem {
        /// What is wrong with it.
        code: u8,
        /// Offset of the wrong byte.
        pointer: u32,
        /// The packet from its IP header on, cut.
        quote: &'a [u8],
    },
    /// Neighbor Discovery. Whoever answers it checks also that the packet's hop limit is 255.
    Ndp(ndp::Repr),
}

impl<'a> Repr<'a> {
    /// Reads a message and checks its checksum against the addresses.
    pub fn parse(message: &'a [u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<Self, Error> {
        let (header, data) = Header::parse(message)?;
        let sum = pseudo(source.into(), destination.into(), Protocol::ICMPV6, message.len());
        if !sum.bytes(message).is_valid() {
            return Err(Error::Checksum { layer: Layer::Icmpv6 });
        }
        let [a, b, c, d] = header.rest;
        let code = header.code;
        let repr = match header.kind {
            ECHO_REQUEST if code == 0 => Self::EchoRequest {
                identifier: u16::from_be_bytes([a, b]),
                sequence: u16::from_be_bytes([c, d]),
                data,
            },
            ECHO_REPLY if code == 0 => Self::EchoReply {
                identifier: u16::from_be_bytes([a, b]),
                sequence: u16::from_be_bytes([c, d]),
                data,
            },
            DESTINATION_UNREACHABLE if code <= 8 => Self::DestinationUnreachable { code, quote: data },
            PACKET_TOO_BIG if code == 0 => Self::PacketTooBig {
                mtu: u32::from_be_bytes(header.rest),
                quote: data,
            },
            TIME_EXCEEDED if code <= 1 => Self::TimeExceeded { code, quote: data },
            PARAMETER_PROBLEM if code <= 10 => Self::ParameterProblem {
                code,
                pointer: u32::from_be_bytes(header.rest),
                quote: data,
            },
            kind if ndp::is_ndp(kind) && code == 0 => Self::Ndp(ndp::Repr::parse(kind, header.rest, data)?),
            kind => {
                return Err(Error::Field {
                    layer: Layer::Icmpv6,
                    field: "type and code",
                    got: u32::from(kind) << 8 | u32::from(code),
                });
            }
        };
        Ok(repr)
    }

    /// Bytes that [`Self::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        match self {
            Self::EchoRequest { data, .. } | Self::EchoReply { data, .. } => HEADER_LEN + data.len(),
            Self::DestinationUnreachable { quote, .. }
            | Self::PacketTooBig { quote, .. }
            | Self::TimeExceeded { quote, .. }
            | Self::ParameterProblem { quote, .. } => HEADER_LEN + quote.len(),
            Self::Ndp(ndp) => HEADER_LEN + ndp.body_len(),
        }
    }

    /// Writes the message with its checksum; returns its size.
    pub fn emit(&self, out: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<usize, Error> {
        let len = self.buffer_len();
        let out = room(Layer::Icmpv6, out, len)?;
        let (head, body) = out.split_at_mut(HEADER_LEN);
        let (kind, code, rest) = self.emit_parts(body)?;
        let header = Header {
            kind,
            code,
            checksum: 0.into(),
            rest,
        };
        head.copy_from_slice(header.as_bytes());
        let sum = pseudo(source.into(), destination.into(), Protocol::ICMPV6, len);
        let checksum = sum.sum(Sum::of(out)).checksum();
        out[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
        Ok(len)
    }

    /// Writes what follows the header; returns the header's type, code and rest.
    fn emit_parts(&self, body: &mut [u8]) -> Result<(u8, u8, [u8; 4]), Error> {
        let words = |a: u16, b: u16| {
            let ([a, b], [c, d]) = (a.to_be_bytes(), b.to_be_bytes());
            [a, b, c, d]
        };
        let (kind, code, rest, data) = match *self {
            Self::EchoRequest {
                identifier,
                sequence,
                data,
            } => (ECHO_REQUEST, 0, words(identifier, sequence), data),
            Self::EchoReply {
                identifier,
                sequence,
                data,
            } => (ECHO_REPLY, 0, words(identifier, sequence), data),
            Self::DestinationUnreachable { code, quote } => (DESTINATION_UNREACHABLE, code, [0; 4], quote),
            Self::PacketTooBig { mtu, quote } => (PACKET_TOO_BIG, 0, mtu.to_be_bytes(), quote),
            Self::TimeExceeded { code, quote } => (TIME_EXCEEDED, code, [0; 4], quote),
            Self::ParameterProblem { code, pointer, quote } => {
                (PARAMETER_PROBLEM, code, pointer.to_be_bytes(), quote)
            }
            Self::Ndp(ndp) => {
                let (kind, rest) = ndp.emit(body)?;
                return Ok((kind, 0, rest));
            }
        };
        body.copy_from_slice(data);
        Ok((kind, code, rest))
    }
}
