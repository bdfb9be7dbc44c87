//! The Internet checksum: whole, incremental and with pseudo headers.
//!
//! Source: [RFC 1071], [RFC 1624 §3] (the incremental form that is right for zero), [RFC 768], [RFC 9293
//! §3.1] and [RFC 8200 §8.1] (pseudo headers).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Protocol;

/// A running one's complement sum of big-endian 16-bit words.
///
/// Only the last piece that is added may have an odd length: it is padded with a zero byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of these bytes.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self::ZERO.bytes(bytes)
    }

    /// Adds bytes. They may be at most 2^34, so that the sum cannot overflow.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // The sum is the same in every byte order up to a final swap (RFC 1071 §2), so that four bytes at a
        // time are added as the machine reads them.
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = words
            .iter()
            .map(|word| u64::from(u32::from_ne_bytes(*word)))
            .sum::<u64>();
        let mut tail = [0; 4];
        for (to, from) in tail.iter_mut().zip(rest) {
            *to = *from;
        }
        sum += u64::from(u32::from_ne_bytes(tail));
        Self(self.0 + u64::from(u16::from_be(fold(sum))))
    }

    /// Adds one word.
    #[inline]
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 32-bit number as two words.
    #[inline]
    #[must_use]
    pub const fn double_word(self, number: u32) -> Self {
        Self(self.0 + (number >> 16) as u64 + (number & 0xffff) as u64)
    }

    /// Adds another sum.
    #[inline]
    #[must_use]
    pub const fn sum(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The sum as one word, not inverted: 0xffff over data that carries its right checksum.
    #[inline]
    pub const fn folded(self) -> u16 {
        fold(self.0)
    }

    /// The checksum: the inverted sum.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !fold(self.0)
    }

    /// Whether data that includes its checksum field is intact.
    #[inline]
    pub const fn is_valid(self) -> bool {
        fold(self.0) == 0xffff
    }
}

/// Whether an IPv4 header without options carries its right checksum. As [`Sum::is_valid`] says of it, for a third of
/// the instructions: eight bytes are added at once, and the sum is not folded, only asked whether it is a multiple of
/// 0xffff, which its order of bytes does not change (RFC 1071 §2).
#[inline]
pub fn is_intact(header: &[u8; 20]) -> bool {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *header;
    let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let second = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    let last = u64::from(u32::from_le_bytes([q, r, s, t]));
    is_ones(add_around(add_around(first, second), last))
}

/// Whether a one's complement sum of 64 bits is 0xffff in 16, which is that of intact data. Each half of it, turned
/// around and added, comes to the sum of both in the upper half, the carry included.
#[inline]
pub const fn is_ones(sum: u64) -> bool {
    let [a, b, c, d, ..] = sum.wrapping_add(sum.rotate_left(32)).to_be_bytes();
    let half = u32::from_be_bytes([a, b, c, d]);
    half.wrapping_add(half.rotate_left(16)) >= 0xffff_0000
}

/// A one's complement sum of 64 bits: the carry is added at the other end.
#[inline]
pub const fn add_around(a: u64, b: u64) -> u64 {
    let (sum, is_carried) = a.overflowing_add(b);
    sum + is_carried as u64
}

/// The sum of the IPv4 pseudo header of a transport packet of `length` bytes.
#[inline]
pub fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Sum {
    Sum::ZERO
        .double_word(source.to_bits())
        .double_word(destination.to_bits())
        .word(u16::from(protocol))
        .word(length)
}

/// The sum of the IPv6 pseudo header of an upper-layer packet of `length` bytes.
#[inline]
pub fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: u32) -> Sum {
    Sum::ZERO
        .bytes(&source.octets())
        .bytes(&destination.octets())
        .double_word(length)
        .word(u16::from(protocol))
}

/// The sum of the pseudo header that goes with the addresses, which are of one family.
#[inline]
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: Protocol, length: usize) -> Sum {
    address(source)
        .sum(address(destination))
        .word(u16::from(protocol.0))
        // Both families add the length as a number; a packet is far below 4 GiB.
        .double_word(u32::try_from(length).unwrap_or(u32::MAX))
}

#[inline]
fn address(address: IpAddr) -> Sum {
    match address {
        IpAddr::V4(a) => Sum::ZERO.double_word(a.to_bits()),
        IpAddr::V6(a) => Sum::of(&a.octets()),
    }
}

/// The checksum after one word of the data changed from `old` to `new`.
#[inline]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !update_partial(!checksum, old, new)
}

/// The checksum after bytes at an even offset changed. `old` and `new` have one even length.
#[inline]
#[must_use]
pub fn update_bytes(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    !update_partial_bytes(!checksum, old, new)
}

/// As [`update`] for a field that holds a sum that is not inverted: with an offloaded checksum the field
/// holds the pseudo header's sum until the device completes it.
#[inline]
#[must_use]
pub const fn update_partial(sum: u16, old: u16, new: u16) -> u16 {
    // Equation 3 of RFC 1624: HC' = ~(~HC + ~m + m').
    fold(sum as u64 + !old as u64 + new as u64)
}

/// As [`update_bytes`] for a field that holds a sum that is not inverted.
#[inline]
#[must_use]
pub fn update_partial_bytes(sum: u16, old: &[u8], new: &[u8]) -> u16 {
    let removed = !Sum::of(old).folded();
    Sum::of(new).word(removed).word(sum).folded()
}

/// A checksum as UDP sends it: zero means "none" there, so that a computed zero is sent as its other form.
#[inline]
pub const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "Three folds leave at most 16 bits of any 64-bit sum."
)]
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of RFC 1071 §3.
    #[test]
    fn rfc_1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).folded(), 0xddf2);
        assert_eq!(Sum::of(&bytes).checksum(), 0x220d);
    }

    /// The worked example of RFC 1624 §4, which the older equation gets wrong.
    #[test]
    fn rfc_1624_example() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
        assert_eq!(update_bytes(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }

    #[test]
    fn intact_headers_are_those_with_a_valid_sum() {
        let mut header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7,
        ];
        assert!(is_intact(&header) && Sum::of(&header).is_valid());
        for at in 0..header.len() {
            for bit in 0..8 {
                header[at] ^= 1 << bit;
                assert_eq!(is_intact(&header), Sum::of(&header).is_valid(), "{at} {bit}");
                header[at] ^= 1 << bit;
            }
        }
        assert!(!is_intact(&[0; 20]));
        assert!(is_intact(&[0xff; 20]));
    }

    #[test]
    fn sums_of_64_bits_are_ones_where_they_are_of_16() {
        let mut number = 1_u64;
        for _ in 0..100_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // A multiple of 0xffff, and its neighbours.
            let ones = number - number % 0xffff;
            for sum in [number, ones, ones + 1, ones.wrapping_sub(1)] {
                assert_eq!(is_ones(sum), fold(sum) == 0xffff, "{sum:#x}");
            }
        }
        for sum in [
            0,
            1,
            0xffff,
            0x1_fffe,
            0xffff_0000,
            u64::from(u32::MAX),
            u64::MAX,
            u64::MAX - 1,
        ] {
            assert_eq!(is_ones(sum), fold(sum) == 0xffff, "{sum:#x}");
        }
    }

    #[test]
    fn odd_length_is_padded() {
        assert_eq!(Sum::of(&[0x12]).folded(), 0x1200);
        assert_eq!(Sum::of(&[0x12, 0x34, 0x56]).folded(), 0x6834);
    }

    #[test]
    fn largest_sum_folds() {
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(Sum::of(&[0xff; 65536]).folded(), 0xffff);
    }

    #[test]
    fn never_zero_keeps_the_rest() {
        assert_eq!(never_zero(0), 0xffff);
        assert_eq!(never_zero(0x1234), 0x1234);
    }
}
