//! Ethernet II frames and IEEE 802.1Q tags.
//!
//! Source: [IEEE 802.3 §3.2], [IEEE 802.1Q §9.6], [RFC 894].

use std::mem::offset_of;

use zerocopy::byteorder::{BE, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{room, view};
use crate::{Error, Layer};

/// A MAC address as on the wire.
pub type Mac = [u8; 6];

/// The address of every station on a link.
pub const BROADCAST: Mac = [0xff; 6];

/// Size of the header without a tag.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Size of an 802.1Q tag.
pub const TAG_LEN: usize = size_of::<Tag>();

/// What a frame carries. An open set: any 16-bit number is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// An 802.1Q tag, with the frame's own type behind it.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The station that it is for.
    pub destination: Mac,
    /// The station that sent it.
    pub source: Mac,
    /// [`EtherType`] of the payload.
    pub ethertype: U16<BE>,
}

const _: () = {
    assert!(size_of::<Header>() == 14);
    assert!(offset_of!(Header, ethertype) == 12);
};

/// An 802.1Q tag: follows a header whose type is [`EtherType::VLAN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Tag {
    /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    pub control: U16<BE>,
    /// [`EtherType`] of the payload.
    pub ethertype: U16<BE>,
}

const _: () = assert!(size_of::<Tag>() == 4);

impl Header {
    /// Views the first bytes of a frame; the second part is the payload.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(&Self, &[u8]), Error> {
        view(Layer::Ethernet, frame)
    }
}

/// Whether the address is for a group of stations (broadcast included).
#[inline]
pub const fn is_multicast(mac: Mac) -> bool {
    mac[0] & 1 == 1
}

/// The address that an IPv4 multicast group has on Ethernet. Source: [RFC 1112 §6.4].
pub const fn multicast_v4(group: std::net::Ipv4Addr) -> Mac {
    let o = group.octets();
    [0x01, 0x00, 0x5e, o[1] & 0x7f, o[2], o[3]]
}

/// The address that an IPv6 multicast group has on Ethernet. Source: [RFC 2464 §7].
pub const fn multicast_v6(group: std::net::Ipv6Addr) -> Mac {
    let o = group.octets();
    [0x33, 0x33, o[12], o[13], o[14], o[15]]
}

/// A frame's header, with the tag if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// The station that it is for.
    pub destination: Mac,
    /// The station that sent it.
    pub source: Mac,
    /// The tag's control word.
    pub tag: Option<u16>,
    /// What it carries; not [`EtherType::VLAN`] when there is a tag already.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads the header and at most one tag; the second part is the payload.
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, rest) = Header::parse(frame)?;
        let mut repr = Self {
            destination: header.destination,
            source: header.source,
            tag: None,
            ethertype: EtherType(header.ethertype.get()),
        };
        if repr.ethertype != EtherType::VLAN {
            return Ok((repr, rest));
        }
        let (tag, rest) = view::<Tag>(Layer::Vlan, rest)?;
        repr.tag = Some(tag.control.get());
        repr.ethertype = EtherType(tag.ethertype.get());
        Ok((repr, rest))
    }

    /// Bytes that [`Self::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        if self.tag.is_some() {
            HEADER_LEN + TAG_LEN
        } else {
            HEADER_LEN
        }
    }

    /// Writes the header; returns its size.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        let len = self.buffer_len();
        let out = room(Layer::Ethernet, out, len)?;
        let outer = if self.tag.is_some() {
            EtherType::VLAN
        } else {
            self.ethertype
        };
        let header = Header {
            destination: self.destination,
            source: self.source,
            ethertype: outer.0.into(),
        };
        let (head, rest) = out.split_at_mut(HEADER_LEN);
        head.copy_from_slice(header.as_bytes());
        if let Some(control) = self.tag {
            let tag = Tag {
                control: control.into(),
                ethertype: self.ethertype.0.into(),
            };
            rest.copy_from_slice(tag.as_bytes());
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGGED: [u8; 18] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 1, 0x81, 0x00, 0x60, 0x2a, 0x08, 0x06,
    ];

    #[test]
    fn tag_is_recognised() {
        let (repr, rest) = Repr::parse(&TAGGED).unwrap();
        assert_eq!(repr.tag, Some(0x602a));
        assert_eq!(repr.ethertype, EtherType::ARP);
        assert!(rest.is_empty());
        let mut out = [0; 18];
        assert_eq!(repr.emit(&mut out), Ok(18));
        assert_eq!(out, TAGGED);
    }

    #[test]
    fn short_frames_are_refused() {
        assert_eq!(Repr::parse(&TAGGED[..13]).unwrap_err().layer(), Layer::Ethernet);
        assert_eq!(Repr::parse(&TAGGED[..17]).unwrap_err().layer(), Layer::Vlan);
    }

    #[test]
    fn group_addresses() {
        assert_eq!(multicast_v4([239, 129, 2, 3].into()), [1, 0, 0x5e, 1, 2, 3]);
        assert_eq!(
            multicast_v6("ff02::1:ff28:9c5a".parse().unwrap()),
            [0x33, 0x33, 0xff, 0x28, 0x9c, 0x5a]
        );
        assert!(is_multicast(BROADCAST) && !is_multicast([2, 0, 0, 0, 0, 1]));
    }
}
