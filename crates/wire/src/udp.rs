//! UDP.
//!
//! Source: [RFC 768], [RFC 8200 §8.1] (the checksum is not optional over IPv6).

use std::mem::offset_of;
use std::net::IpAddr;

use zerocopy::byteorder::{BE, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{Sum, never_zero, pseudo};
use crate::error::{length16, room, view};
use crate::{Error, Layer, Protocol};

/// Size of the header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Offset of the checksum in the header.
pub const CHECKSUM_OFFSET: usize = offset_of!(Header, checksum);

/// The header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Port of the sender.
    pub source_port: U16<BE>,
    /// Port of the receiver.
    pub destination_port: U16<BE>,
    /// Bytes of header and payload.
    pub length: U16<BE>,
    /// Checksum with pseudo header; zero = none (IPv4 only).
    pub checksum: U16<BE>,
}

const _: () = {
    assert!(size_of::<Header>() == 8);
    assert!(offset_of!(Header, checksum) == 6);
};

impl Header {
    /// Views the first bytes of a datagram; the second part is everything behind the header.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<(&Self, &[u8]), Error> {
        view(Layer::Udp, datagram)
    }
}

/// A datagram of legal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr<'a> {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// The data.
    pub payload: &'a [u8],
}

impl<'a> Repr<'a> {
    /// Reads a whole datagram and checks its checksum against the addresses.
    pub fn parse(datagram: &'a [u8], source: IpAddr, destination: IpAddr) -> Result<Self, Error> {
        let (header, _) = Header::parse(datagram)?;
        let length = usize::from(header.length.get());
        let payload = datagram.get(HEADER_LEN..length).ok_or(Error::Length {
            layer: Layer::Udp,
            got: length,
        })?;
        let optional = source.is_ipv4() && header.checksum.get() == 0;
        let sum = pseudo(source, destination, Protocol::UDP, length).sum(Sum::of(&datagram[..length]));
        let present = header.checksum.get() != 0;
        if !optional && (!present || !sum.is_valid()) {
            return Err(Error::Checksum { layer: Layer::Udp });
        }
        Ok(Self {
            source_port: header.source_port.get(),
            destination_port: header.destination_port.get(),
            payload,
        })
    }

    /// Bytes that [`Self::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.payload.len()
    }

    /// Writes the datagram with its checksum; returns its size.
    pub fn emit(&self, out: &mut [u8], source: IpAddr, destination: IpAddr) -> Result<usize, Error> {
        let len = self.buffer_len();
        let out = room(Layer::Udp, out, len)?;
        let mut header = Header {
            source_port: self.source_port.into(),
            destination_port: self.destination_port.into(),
            length: length16(Layer::Udp, len)?.into(),
            checksum: 0.into(),
        };
        let sum = pseudo(source, destination, Protocol::UDP, len)
            .bytes(header.as_bytes())
            .bytes(self.payload);
        header.checksum = never_zero(sum.checksum()).into();
        let (head, payload) = out.split_at_mut(HEADER_LEN);
        head.copy_from_slice(header.as_bytes());
        payload.copy_from_slice(self.payload);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn round_trip_and_checksum() {
        let repr = Repr {
            source_port: 40000,
            destination_port: 53,
            payload: b"abc",
        };
        let mut out = [0; 16];
        assert_eq!(repr.emit(&mut out, A, B), Ok(11));
        assert_eq!(out[..6], [0x9c, 0x40, 0, 53, 0, 11]);
        assert_eq!(Repr::parse(&out, A, B), Ok(repr));
        assert_eq!(
            Repr::parse(&out, A, A),
            Err(Error::Checksum { layer: Layer::Udp })
        );
        out[6..8].fill(0);
        assert_eq!(Repr::parse(&out, A, B), Ok(repr));
        let six = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
        assert_eq!(
            Repr::parse(&out, six, six),
            Err(Error::Checksum { layer: Layer::Udp })
        );
    }

    #[test]
    fn length_must_fit() {
        for got in [7, 12] {
            let mut bytes = [0; 11];
            bytes[5] = got;
            assert_eq!(
                Repr::parse(&bytes, A, B),
                Err(Error::Length {
                    layer: Layer::Udp,
                    got: got.into()
                })
            );
        }
    }
}
