//! TCP headers and options.
//!
//! Source: [RFC 9293 §3.1], [RFC 7323] (window scale, timestamps), [RFC 2018] (selective acknowledgements).

use std::mem::offset_of;
use std::net::IpAddr;

use zerocopy::byteorder::{BE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{Sum, pseudo};
use crate::error::{room, view};
use crate::{Error, Layer, Protocol};

/// Size of a header without options.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Offset of the checksum in the header.
pub const CHECKSUM_OFFSET: usize = offset_of!(Header, checksum);

/// The fixed part of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Port of the sender.
    pub source_port: U16<BE>,
    /// Port of the receiver.
    pub destination_port: U16<BE>,
    /// Number of the segment's first byte.
    pub sequence: U32<BE>,
    /// Number of the byte that the sender waits for.
    pub acknowledgement: U32<BE>,
    /// Header length in 4-byte words (4 bits), reserved (4 bits).
    pub data_offset: u8,
    /// [`Flags`].
    pub flags: u8,
    /// Bytes that the sender can take, before scaling.
    pub window: U16<BE>,
    /// Checksum with pseudo header.
    pub checksum: U16<BE>,
    /// Where urgent data ends.
    pub urgent: U16<BE>,
}

const _: () = {
    assert!(size_of::<Header>() == 20);
    assert!(offset_of!(Header, flags) == 13);
    assert!(offset_of!(Header, checksum) == 16);
};

impl Header {
    /// Views the first bytes of a segment; the second part is everything behind the fixed header.
    #[inline]
    pub fn parse(segment: &[u8]) -> Result<(&Self, &[u8]), Error> {
        view(Layer::Tcp, segment)
    }

    /// Size of the header with its options in bytes, as it says.
    #[inline]
    pub const fn header_len(&self) -> usize {
        ((self.data_offset >> 4) as usize) * 4
    }
}

/// The control bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender has finished.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion was experienced.
    pub const ECE: Self = Self(0x40);
    /// The congestion window was reduced.
    pub const CWR: Self = Self(0x80);

    /// Whether all of these bits are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the segment opens a connection: SYN without ACK.
    #[inline]
    pub const fn is_open(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0 | Self::FIN.0) == Self::SYN.0
    }
}

/// The options that this crate understands; others are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// Largest segment that the sender takes (SYN only).
    pub max_segment_size: Option<u16>,
    /// Shift of the window field, at most 14 (SYN only).
    pub window_scale: Option<u8>,
    /// Whether the sender understands selective acknowledgements (SYN only).
    pub sack_permitted: bool,
    /// Blocks that have arrived beyond the acknowledgement: first number, number behind the last.
    pub sack: [Option<(u32, u32)>; 4],
    /// Sender's clock and the echo of the receiver's.
    pub timestamps: Option<(u32, u32)>,
}

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_SCALE: u8 = 3;
const OPTION_SACK_PERMITTED: u8 = 4;
const OPTION_SACK: u8 = 5;
const OPTION_TIMESTAMPS: u8 = 8;
const MAX_SCALE: u8 = 14;

impl Options {
    /// Reads the bytes between the fixed header and the data.
    pub fn parse(mut rest: &[u8]) -> Result<Self, Error> {
        let mut options = Self::default();
        loop {
            rest = match *rest {
                [] | [OPTION_END, ..] => return Ok(options),
                [OPTION_NOP, ref after @ ..] => after,
                [kind, len, ..] if len >= 2 && usize::from(len) <= rest.len() => {
                    let (option, after) = rest.split_at(usize::from(len));
                    options.take(kind, &option[2..])?;
                    after
                }
                [kind, ..] => return Err(illegal("option", kind.into())),
            };
        }
    }

    fn take(&mut self, kind: u8, data: &[u8]) -> Result<(), Error> {
        match (kind, data) {
            (OPTION_MSS, &[a, b]) => self.max_segment_size = Some(u16::from_be_bytes([a, b])),
            // A larger shift is used as 14 (RFC 7323 §2.3).
            (OPTION_SCALE, &[shift]) => self.window_scale = Some(shift.min(MAX_SCALE)),
            (OPTION_SACK_PERMITTED, []) => self.sack_permitted = true,
            (OPTION_TIMESTAMPS, data) if data.len() == 8 => {
                self.timestamps = pairs(data).next();
            }
            (OPTION_SACK, data) if data.len() % 8 == 0 && data.len() <= 32 => {
                self.sack = [None; 4];
                for (slot, block) in self.sack.iter_mut().zip(pairs(data)) {
                    *slot = Some(block);
                }
            }
            (OPTION_MSS | OPTION_SCALE | OPTION_SACK_PERMITTED | OPTION_TIMESTAMPS | OPTION_SACK, _) => {
                return Err(illegal("option length", kind.into()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes the options, padded to whole words; returns their size.
    fn emit(&self, out: &mut [u8; MAX_OPTIONS]) -> Result<usize, Error> {
        let mut writer = Writer { out, len: 0 };
        if let Some(mss) = self.max_segment_size {
            writer.put(&[OPTION_MSS, 4])?;
            writer.put(&mss.to_be_bytes())?;
        }
        if self.sack_permitted {
            writer.put(&[OPTION_SACK_PERMITTED, 2])?;
        }
        if let Some((value, echo)) = self.timestamps {
            writer.put(&[OPTION_TIMESTAMPS, 10])?;
            writer.put(&value.to_be_bytes())?;
            writer.put(&echo.to_be_bytes())?;
        }
        if let Some(shift) = self.window_scale {
            if shift > MAX_SCALE {
                return Err(illegal("window scale", shift.into()));
            }
            writer.put(&[OPTION_SCALE, 3, shift])?;
        }
        let blocks = self.sack.iter().flatten();
        let count = u8::try_from(blocks.clone().count()).unwrap_or(u8::MAX);
        if count > 0 {
            writer.put(&[OPTION_SACK, 2 + 8 * count])?;
        }
        for (first, behind) in blocks {
            writer.put(&first.to_be_bytes())?;
            writer.put(&behind.to_be_bytes())?;
        }
        while !writer.len.is_multiple_of(4) {
            writer.put(&[OPTION_END])?;
        }
        Ok(writer.len)
    }
}

/// Most bytes of options that a header can carry.
const MAX_OPTIONS: usize = 40;

struct Writer<'a> {
    out: &'a mut [u8; MAX_OPTIONS],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.len + bytes.len();
        let to = self.out.get_mut(self.len..end).ok_or(Error::NoSpace {
            layer: Layer::Tcp,
            needed: end,
            got: MAX_OPTIONS,
        })?;
        to.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

fn pairs(data: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    data.as_chunks::<8>()
        .0
        .iter()
        .map(|&[a, b, c, d, e, f, g, h]| (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])))
}

fn illegal(field: &'static str, got: u32) -> Error {
    Error::Field {
        layer: Layer::Tcp,
        field,
        got,
    }
}

/// A segment of legal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr<'a> {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Number of the segment's first byte.
    pub sequence: u32,
    /// Number of the byte that the sender waits for; counts with [`Flags::ACK`].
    pub acknowledgement: u32,
    /// The control bits.
    pub flags: Flags,
    /// Bytes that the sender can take, before scaling.
    pub window: u16,
    /// Where urgent data ends; counts with [`Flags::URG`].
    pub urgent: u16,
    /// Options.
    pub options: Options,
    /// The data.
    pub payload: &'a [u8],
}

impl<'a> Repr<'a> {
    /// Reads a whole segment and checks its checksum against the addresses.
    pub fn parse(segment: &'a [u8], source: IpAddr, destination: IpAddr) -> Result<Self, Error> {
        let (header, _) = Header::parse(segment)?;
        let header_len = header.header_len();
        let options = segment.get(HEADER_LEN..header_len).ok_or(Error::Length {
            layer: Layer::Tcp,
            got: header_len,
        })?;
        let sum = pseudo(source, destination, Protocol::TCP, segment.len()).sum(Sum::of(segment));
        if !sum.is_valid() {
            return Err(Error::Checksum { layer: Layer::Tcp });
        }
        Ok(Self {
            source_port: header.source_port.get(),
            destination_port: header.destination_port.get(),
            sequence: header.sequence.get(),
            acknowledgement: header.acknowledgement.get(),
            flags: Flags(header.flags),
            window: header.window.get(),
            urgent: header.urgent.get(),
            options: Options::parse(options)?,
            payload: &segment[header_len..],
        })
    }

    /// Writes the segment with its checksum; returns its size.
    pub fn emit(&self, out: &mut [u8], source: IpAddr, destination: IpAddr) -> Result<usize, Error> {
        let mut options = [0; MAX_OPTIONS];
        let options_len = self.options.emit(&mut options)?;
        let header_len = HEADER_LEN + options_len;
        let len = header_len + self.payload.len();
        let out = room(Layer::Tcp, out, len)?;
        let words = u8::try_from(header_len / 4).map_err(|_| Error::Length {
            layer: Layer::Tcp,
            got: header_len,
        })?;
        let mut header = Header {
            source_port: self.source_port.into(),
            destination_port: self.destination_port.into(),
            sequence: self.sequence.into(),
            acknowledgement: self.acknowledgement.into(),
            data_offset: words << 4,
            flags: self.flags.0,
            window: self.window.into(),
            checksum: 0.into(),
            urgent: self.urgent.into(),
        };
        let sum = pseudo(source, destination, Protocol::TCP, len)
            .bytes(header.as_bytes())
            .bytes(&options[..options_len])
            .bytes(self.payload);
        header.checksum = sum.checksum().into();
        let (head, rest) = out.split_at_mut(HEADER_LEN);
        head.copy_from_slice(header.as_bytes());
        let (to, payload) = rest.split_at_mut(options_len);
        to.copy_from_slice(&options[..options_len]);
        payload.copy_from_slice(self.payload);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));

    fn syn() -> Repr<'static> {
        Repr {
            source_port: 40000,
            destination_port: 22,
            sequence: 0x0102_0304,
            acknowledgement: 0,
            flags: Flags::SYN,
            window: 64240,
            urgent: 0,
            options: Options {
                max_segment_size: Some(8961),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps: Some((1, 0)),
                ..Options::default()
            },
            payload: &[],
        }
    }

    #[test]
    fn syn_bytes() {
        let mut out = [0; 64];
        assert_eq!(syn().emit(&mut out, A, B), Ok(40));
        assert_eq!(
            out[..16],
            [0x9c, 0x40, 0, 22, 1, 2, 3, 4, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0]
        );
        assert_eq!(
            out[20..40],
            [2, 4, 0x23, 0x01, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 3, 3, 7, 0]
        );
        assert_eq!(Repr::parse(&out[..40], A, B), Ok(syn()));
        out[13] ^= 1;
        assert_eq!(
            Repr::parse(&out[..40], A, B),
            Err(Error::Checksum { layer: Layer::Tcp })
        );
    }

    #[test]
    fn data_offset_must_fit() {
        for words in [4, 6] {
            let mut bytes = [0; 20];
            bytes[12] = words << 4;
            assert_eq!(
                Repr::parse(&bytes, A, B),
                Err(Error::Length {
                    layer: Layer::Tcp,
                    got: usize::from(words) * 4
                })
            );
        }
    }

    #[test]
    fn wrong_option_lengths_are_refused() {
        for options in [
            &[2, 3, 0][..],
            &[3, 2],
            &[4, 3, 0],
            &[8, 2],
            &[5, 3, 0],
            &[9, 0],
            &[9, 1],
            &[9],
            &[9, 3],
        ] {
            assert!(Options::parse(options).is_err(), "{options:?}");
        }
        let too_many = Options {
            sack: [Some((1, 2)); 4],
            timestamps: Some((0, 0)),
            ..Options::default()
        };
        assert!(too_many.emit(&mut [0; 40]).is_err());
    }

    #[test]
    fn open_is_syn_alone() {
        assert!(Flags::SYN.is_open());
        assert!(Flags::SYN.with(Flags::ECE).is_open());
        assert!(!Flags::SYN.with(Flags::ACK).is_open());
        assert!(!Flags::SYN.with(Flags::FIN).is_open());
        assert!(!Flags::SYN.with(Flags::RST).is_open());
    }
}
