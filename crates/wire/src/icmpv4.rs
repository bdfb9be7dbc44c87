//! ICMP for IPv4.
//!
//! Source: [RFC 792], [RFC 1191 §4] (next-hop MTU), [RFC 1812 §4.3.2.3] (how much is quoted).

use zerocopy::byteorder::{BE, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;
use crate::error::{room, view};
use crate::{Error, Layer};

/// Size of the header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Largest IPv4 packet that carries an error, its quote included. Source: [RFC 1812 §4.3.2.3].
pub const MAX_ERROR_LEN: usize = 576;

/// Message type: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Message type: destination unreachable.
pub const DESTINATION_UNREACHABLE: u8 = 3;
/// Message type: source quench (deprecated, RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Message type: redirect.
pub const REDIRECT: u8 = 5;
/// Message type: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Message type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Message type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Message type: timestamp request.
pub const TIMESTAMP_REQUEST: u8 = 13;
/// Message type: timestamp reply.
pub const TIMESTAMP_REPLY: u8 = 14;

/// Code of [`DESTINATION_UNREACHABLE`]: no route to the network.
pub const NET_UNREACHABLE: u8 = 0;
/// Code of [`DESTINATION_UNREACHABLE`]: the host does not answer.
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of [`DESTINATION_UNREACHABLE`]: nobody listens on the port.
pub const PORT_UNREACHABLE: u8 = 3;
/// Code of [`DESTINATION_UNREACHABLE`]: larger than the next link's MTU, and may not be split.
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Code of [`DESTINATION_UNREACHABLE`]: forbidden by policy.
pub const ADMINISTRATIVELY_PROHIBITED: u8 = 13;

/// The header: what follows `checksum` depends on the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Message type.
    pub kind: u8,
    /// Detail of the type.
    pub code: u8,
    /// Checksum of the whole message.
    pub checksum: U16<BE>,
    /// Echo: identifier and sequence number; errors: pointer, MTU or nothing.
    pub rest: [u8; 4],
}

const _: () = assert!(size_of::<Header>() == 8);

impl Header {
    /// Views the first bytes of a message; the second part is everything behind the header.
    #[inline]
    pub fn parse(message: &[u8]) -> Result<(&Self, &[u8]), Error> {
        view(Layer::Icmpv4, message)
    }
}

/// Whether messages of this type report about another packet, which they quote.
#[inline]
pub const fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        DESTINATION_UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
    )
}

/// Whether messages of this type carry an identifier that pairs requests with replies.
#[inline]
pub const fn has_identifier(kind: u8) -> bool {
    matches!(
        kind,
        ECHO_REQUEST | ECHO_REPLY | TIMESTAMP_REQUEST | TIMESTAMP_REPLY
    )
}

/// A message of legal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
        /// With [`FRAGMENTATION_NEEDED`]: the MTU of the next link; else zero.
        mtu: u16,
        /// The packet from its IP header on, cut.
        quote: &'a [u8],
    },
    /// A packet's TTL ran out (code 0), or its fragments did not all come (code 1).
    TimeExceeded {
        /// Which of the two.
        code: u8,
        /// The packet from its IP header on, cut.
        quote: &'a [u8],
    },
    /// A packet's header is wrong.
    ParameterProblem {
        /// Offset of the wrong byte.
        pointer: u8,
        /// The packet from its IP header on, cut.
        quote: &'a [u8],
    },
}

impl<'a> Repr<'a> {
    /// Reads a message and checks its checksum.
    pub fn parse(message: &'a [u8]) -> Result<Self, Error> {
        let (header, data) = Header::parse(message)?;
        if !Sum::of(message).is_valid() {
            return Err(Error::Checksum { layer: Layer::Icmpv4 });
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
            DESTINATION_UNREACHABLE if code <= 15 => Self::DestinationUnreachable {
                code,
                mtu: if code == FRAGMENTATION_NEEDED {
                    u16::from_be_bytes([c, d])
                } else {
                    0
                },
                quote: data,
            },
            TIME_EXCEEDED if code <= 1 => Self::TimeExceeded { code, quote: data },
            PARAMETER_PROBLEM if code == 0 => Self::ParameterProblem {
                pointer: a,
                quote: data,
            },
            kind => {
                return Err(Error::Field {
                    layer: Layer::Icmpv4,
                    field: "type and code",
                    got: u32::from(kind) << 8 | u32::from(code),
                });
            }
        };
        Ok(repr)
    }

    /// Type, code, the four bytes behind the checksum, and what follows them.
    fn parts(&self) -> (u8, u8, [u8; 4], &'a [u8]) {
        let words = |a: u16, b: u16| {
            let ([a, b], [c, d]) = (a.to_be_bytes(), b.to_be_bytes());
            [a, b, c, d]
        };
        match *self {
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
            Self::DestinationUnreachable { code, mtu, quote } => {
                (DESTINATION_UNREACHABLE, code, words(0, mtu), quote)
            }
            Self::TimeExceeded { code, quote } => (TIME_EXCEEDED, code, [0; 4], quote),
            Self::ParameterProblem { pointer, quote } => (PARAMETER_PROBLEM, 0, [pointer, 0, 0, 0], quote),
        }
    }

    /// Bytes that [`Self::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        HEADER_LEN + self.parts().3.len()
    }

    /// Writes the message with its checksum; returns its size.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        let (kind, code, rest, data) = self.parts();
        let len = HEADER_LEN + data.len();
        let out = room(Layer::Icmpv4, out, len)?;
        let mut header = Header {
            kind,
            code,
            checksum: 0.into(),
            rest,
        };
        header.checksum = Sum::of(header.as_bytes()).bytes(data).checksum().into();
        let (head, payload) = out.split_at_mut(HEADER_LEN);
        head.copy_from_slice(header.as_bytes());
        payload.copy_from_slice(data);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_request_bytes() {
        let bytes = [8, 0, 0x2f, 0xbb, 0x12, 0x34, 0, 1, 0xb5, 0x0f];
        let mut fixed = bytes;
        fixed[2..4].fill(0);
        let checksum = Sum::of(&fixed).checksum();
        fixed[2..4].copy_from_slice(&checksum.to_be_bytes());
        let repr = Repr::EchoRequest {
            identifier: 0x1234,
            sequence: 1,
            data: &[0xb5, 0x0f],
        };
        assert_eq!(Repr::parse(&fixed), Ok(repr));
        let mut out = [0; 10];
        assert_eq!(repr.emit(&mut out), Ok(10));
        assert_eq!(out, fixed);
    }

    #[test]
    fn unknown_types_and_bad_checksums_are_refused() {
        let mut bytes = [42, 1, 0, 0, 0, 0, 0, 0];
        assert!(matches!(Repr::parse(&bytes), Err(Error::Checksum { .. })));
        bytes[2..4].copy_from_slice(&Sum::of(&[42, 1]).checksum().to_be_bytes());
        assert!(matches!(
            Repr::parse(&bytes),
            Err(Error::Field { got: 0x2a01, .. })
        ));
    }
}
