//! ARP for IPv4 over Ethernet.
//!
//! Source: [RFC 826], [RFC 5227] (probes and announcements).

use std::mem::offset_of;
use std::net::Ipv4Addr;

use zerocopy::byteorder::{BE, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{room, view};
use crate::ethernet::{EtherType, Mac};
use crate::{Error, Layer};

/// Size of an ARP packet for IPv4 over Ethernet.
pub const LEN: usize = size_of::<Header>();

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Kind of link: 1 = Ethernet.
    pub hardware_type: U16<BE>,
    /// Kind of network address, an [`EtherType`].
    pub protocol_type: U16<BE>,
    /// Size of a link address: 6.
    pub hardware_len: u8,
    /// Size of a network address: 4.
    pub protocol_len: u8,
    /// 1 = request, 2 = reply.
    pub operation: U16<BE>,
    /// Link address of the sender.
    pub sender_mac: Mac,
    /// Network address of the sender; 0.0.0.0 in a probe.
    pub sender_address: [u8; 4],
    /// Link address of the target; unknown in a request.
    pub target_mac: Mac,
    /// Network address that is asked for.
    pub target_address: [u8; 4],
}

const _: () = {
    assert!(size_of::<Header>() == 28);
    assert!(offset_of!(Header, sender_mac) == 8);
    assert!(offset_of!(Header, target_address) == 24);
};

/// What an ARP packet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Asks who has the target address.
    Request,
    /// Answers a request, or announces.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Request or reply.
    pub operation: Operation,
    /// Link address of the sender.
    pub sender_mac: Mac,
    /// Network address of the sender; unspecified in a probe.
    pub sender_address: Ipv4Addr,
    /// Link address of the target.
    pub target_mac: Mac,
    /// Network address of the target.
    pub target_address: Ipv4Addr,
}

impl Repr {
    /// Reads the payload of an ARP frame.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (header, _) = view::<Header>(Layer::Arp, bytes)?;
        expect("ar$hrd", header.hardware_type.get(), 1)?;
        expect("ar$pro", header.protocol_type.get(), EtherType::IPV4.0)?;
        expect("ar$hln", header.hardware_len.into(), 6)?;
        expect("ar$pln", header.protocol_len.into(), 4)?;
        let operation = match header.operation.get() {
            1 => Operation::Request,
            2 => Operation::Reply,
            got => return Err(illegal("ar$op", got)),
        };
        Ok(Self {
            operation,
            sender_mac: header.sender_mac,
            sender_address: header.sender_address.into(),
            target_mac: header.target_mac,
            target_address: header.target_address.into(),
        })
    }

    /// Bytes that [`Self::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        LEN
    }

    /// Writes the packet; returns its size.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        let header = Header {
            hardware_type: 1.into(),
            protocol_type: EtherType::IPV4.0.into(),
            hardware_len: 6,
            protocol_len: 4,
            operation: match self.operation {
                Operation::Request => 1.into(),
                Operation::Reply => 2.into(),
            },
            sender_mac: self.sender_mac,
            sender_address: self.sender_address.octets(),
            target_mac: self.target_mac,
            target_address: self.target_address.octets(),
        };
        room(Layer::Arp, out, LEN)?.copy_from_slice(header.as_bytes());
        Ok(LEN)
    }
}

#[inline]
fn expect(field: &'static str, got: u16, wanted: u16) -> Result<(), Error> {
    if got == wanted {
        Ok(())
    } else {
        Err(illegal(field, got))
    }
}

fn illegal(field: &'static str, got: u16) -> Error {
    Error::Field {
        layer: Layer::Arp,
        field,
        got: got.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 4, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
    ];

    #[test]
    fn request() {
        let repr = Repr::parse(&REQUEST).unwrap();
        assert_eq!(repr.operation, Operation::Request);
        assert_eq!(repr.target_address, Ipv4Addr::new(10, 0, 0, 1));
        let mut out = [0xff; 28];
        assert_eq!(repr.emit(&mut out), Ok(28));
        assert_eq!(out, REQUEST);
    }

    #[test]
    fn each_fixed_field_is_checked() {
        for (offset, field) in [
            (1, "ar$hrd"),
            (3, "ar$pro"),
            (4, "ar$hln"),
            (5, "ar$pln"),
            (7, "ar$op"),
        ] {
            let mut bytes = REQUEST;
            bytes[offset] = 9;
            assert!(
                matches!(Repr::parse(&bytes), Err(Error::Field { field: f, .. }) if f == field),
                "{field}"
            );
        }
    }
}
