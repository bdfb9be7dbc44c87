//! NTP version 4 headers.
//!
//! Source: [RFC 5905 §6, §7.3].

use std::mem::offset_of;

use zerocopy::byteorder::{BE, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{room, view};
use crate::{Error, Layer};

/// UDP port of servers.
pub const PORT: u16 = 123;

/// Size of the header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// The header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Leap indicator (2 bits), version (3 bits), mode (3 bits).
    pub leap_version_mode: u8,
    /// Distance from a reference clock: 1 = has one, 0 = not said or a refusal.
    pub stratum: u8,
    /// Log2 of the seconds between messages.
    pub poll: i8,
    /// Log2 of the clock's resolution in seconds.
    pub precision: i8,
    /// Round trip to the reference clock, 16.16 seconds.
    pub root_delay: U32<BE>,
    /// Uncertainty against the reference clock, 16.16 seconds.
    pub root_dispersion: U32<BE>,
    /// The reference: four letters at stratum 0 and 1, else an address.
    pub reference_id: [u8; 4],
    /// When the clock was last set.
    pub reference_timestamp: U64<BE>,
    /// When the request left the client, by its clock.
    pub origin_timestamp: U64<BE>,
    /// When the request came to the server.
    pub receive_timestamp: U64<BE>,
    /// When this message left.
    pub transmit_timestamp: U64<BE>,
}

const _: () = {
    assert!(size_of::<Header>() == 48);
    assert!(offset_of!(Header, reference_id) == 12);
    assert!(offset_of!(Header, transmit_timestamp) == 40);
};

impl Header {
    /// Views the first bytes of a message; the second part is extension fields and authentication.
    pub fn parse(message: &[u8]) -> Result<(&Self, &[u8]), Error> {
        view(Layer::Ntp, message)
    }
}

/// A time: 32 bits of seconds, 32 bits of their fraction. Zero = unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timestamp(pub u64);

/// Seconds from the start of NTP's first era (1900) to that of Unix time (1970).
const UNIX_OFFSET_S: u64 = 2_208_988_800;

impl Timestamp {
    /// The time that is `ns` nanoseconds after 1970. Seconds wrap with the era (first in 2036).
    pub fn from_unix_nanos(ns: u64) -> Self {
        let seconds = ns / 1_000_000_000 + UNIX_OFFSET_S;
        let fraction = ((ns % 1_000_000_000) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// Nanoseconds after 1970, for times between 1970 and 2106.
    pub const fn to_unix_nanos(self) -> u64 {
        // A difference modulo 2^32 is right on both sides of the end of the first era.
        let seconds = ((self.0 >> 32) + (1 << 32) - UNIX_OFFSET_S) & 0xffff_ffff;
        let nanos = ((self.0 & 0xffff_ffff) * 1_000_000_000 + (1 << 31)) >> 32;
        seconds * 1_000_000_000 + nanos
    }
}

/// Whether a leap second is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leap {
    /// No.
    None,
    /// The day's last minute has 61 seconds.
    Insert,
    /// The day's last minute has 59 seconds.
    Delete,
    /// The clock is not set.
    Unsynchronized,
}

/// Who speaks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A peer that stays.
    SymmetricActive,
    /// A peer that answers.
    SymmetricPassive,
    /// A client asks.
    Client,
    /// A server answers.
    Server,
    /// A server speaks to all.
    Broadcast,
}

/// A message of legal values; extension fields are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Whether a leap second is near.
    pub leap: Leap,
    /// 1 to 4.
    pub version: u8,
    /// Who speaks to whom.
    pub mode: Mode,
    /// Distance from a reference clock.
    pub stratum: u8,
    /// Log2 of the seconds between messages.
    pub poll: i8,
    /// Log2 of the clock's resolution in seconds.
    pub precision: i8,
    /// Round trip to the reference clock, 16.16 seconds.
    pub root_delay: u32,
    /// Uncertainty against the reference clock, 16.16 seconds.
    pub root_dispersion: u32,
    /// The reference.
    pub reference_id: [u8; 4],
    /// When the clock was last set.
    pub reference: Timestamp,
    /// When the request left the client, by its clock.
    pub origin: Timestamp,
    /// When the request came to the server.
    pub receive: Timestamp,
    /// When this message left.
    pub transmit: Timestamp,
}

impl Repr {
    /// Reads the payload of a UDP datagram.
    pub fn parse(message: &[u8]) -> Result<Self, Error> {
        let (header, _) = Header::parse(message)?;
        let word = header.leap_version_mode;
        let version = (word >> 3) & 7;
        if !(1..=4).contains(&version) {
            return Err(Error::Version {
                layer: Layer::Ntp,
                got: version,
            });
        }
        let mode = match word & 7 {
            1 => Mode::SymmetricActive,
            2 => Mode::SymmetricPassive,
            3 => Mode::Client,
            4 => Mode::Server,
            5 => Mode::Broadcast,
            got => return Err(illegal("mode", got)),
        };
        Ok(Self {
            leap: match word >> 6 {
                0 => Leap::None,
                1 => Leap::Insert,
                2 => Leap::Delete,
                _ => Leap::Unsynchronized,
            },
            version,
            mode,
            stratum: header.stratum,
            poll: header.poll,
            precision: header.precision,
            root_delay: header.root_delay.get(),
            root_dispersion: header.root_dispersion.get(),
            reference_id: header.reference_id,
            reference: Timestamp(header.reference_timestamp.get()),
            origin: Timestamp(header.origin_timestamp.get()),
            receive: Timestamp(header.receive_timestamp.get()),
            transmit: Timestamp(header.transmit_timestamp.get()),
        })
    }

    /// Bytes that [`Self::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the message; returns its size.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        if !(1..=4).contains(&self.version) {
            return Err(illegal("version", self.version));
        }
        let leap = match self.leap {
            Leap::None => 0,
            Leap::Insert => 1,
            Leap::Delete => 2,
            Leap::Unsynchronized => 3,
        };
        let mode = match self.mode {
            Mode::SymmetricActive => 1,
            Mode::SymmetricPassive => 2,
            Mode::Client => 3,
            Mode::Server => 4,
            Mode::Broadcast => 5,
        };
        let header = Header {
            leap_version_mode: (leap << 6) | (self.version << 3) | mode,
            stratum: self.stratum,
            poll: self.poll,
            precision: self.precision,
            root_delay: self.root_delay.into(),
            root_dispersion: self.root_dispersion.into(),
            reference_id: self.reference_id,
            reference_timestamp: self.reference.0.into(),
            origin_timestamp: self.origin.0.into(),
            receive_timestamp: self.receive.0.into(),
            transmit_timestamp: self.transmit.0.into(),
        };
        room(Layer::Ntp, out, HEADER_LEN)?.copy_from_slice(header.as_bytes());
        Ok(HEADER_LEN)
    }
}

fn illegal(field: &'static str, got: u8) -> Error {
    Error::Field {
        layer: Layer::Ntp,
        field,
        got: got.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_request() {
        let mut bytes = [0; 48];
        bytes[0] = 0x23;
        bytes[40..48].copy_from_slice(&[0xe9, 0, 0, 0, 0x80, 0, 0, 0]);
        let repr = Repr::parse(&bytes).unwrap();
        assert_eq!((repr.version, repr.mode), (4, Mode::Client));
        assert_eq!(repr.transmit, Timestamp(0xe900_0000_8000_0000));
        let mut out = [0xff; 48];
        assert_eq!(repr.emit(&mut out), Ok(48));
        assert_eq!(out, bytes);
    }

    #[test]
    fn illegal_words_are_refused() {
        for word in [0x03, 0x2b, 0x20, 0x26, 0x27] {
            let mut bytes = [0; 48];
            bytes[0] = word;
            assert!(Repr::parse(&bytes).is_err(), "{word:#x}");
        }
        assert!(Repr::parse(&[0x23; 47]).is_err());
    }

    /// The dates of RFC 5905 figure 4: 1970-01-01 is second 2,208,988,800.
    #[test]
    fn eras() {
        assert_eq!(Timestamp::from_unix_nanos(0).0 >> 32, 2_208_988_800);
        let half = Timestamp::from_unix_nanos(1_500_000_000);
        assert_eq!(half.0 & 0xffff_ffff, 0x8000_0000);
        // 2036-02-07 06:28:16 is second 0 of the next era.
        let wrap = 2_085_978_496_000_000_000;
        assert_eq!(Timestamp::from_unix_nanos(wrap).0, 0);
        for ns in [0, 1_500_000_000, wrap - 1, wrap, wrap + 999_999_999] {
            let back = Timestamp::from_unix_nanos(ns).to_unix_nanos();
            assert!(back.abs_diff(ns) <= 1, "{ns} {back}");
        }
    }
}
