//! Keys and tags: AES-CMAC, and keys derived with it.

use aes::Aes128Enc;
use cmac::digest::common::InnerInit;
use cmac::{Cmac, KeyInit, Mac};
use subtle::ConstantTimeEq;

use crate::chain::Chain;

/// Bytes of a tag on the wire [SEC-2].
pub(crate) const TAG_BYTES: usize = 12;

/// The key that the control plane gave to both ends of a pair of interfaces.
#[derive(Clone, PartialEq, Eq)]
pub struct PairKey([u8; 16]);

impl PairKey {
    /// A key of these bytes, which must be random and given to no other pair.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for PairKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PairKey(..)")
    }
}

/// Which way packets go: from the lower GID to the higher one, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up = 0,
    Down = 1,
}

impl Direction {
    pub(crate) const fn reverse(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// Makes and checks the tags of one direction under one key.
#[derive(Clone)]
pub(crate) struct Sealer(Chain);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

impl Sealer {
    /// For HELLO packets [SEC-4].
    pub(crate) fn hello(key: &PairKey, direction: Direction, epoch: u16) -> Self {
        Self::derive(key, *b"hello\0\0\0", direction, [0, 0], epoch)
    }

    /// For DATA and ACK of the session of these incarnations: the lower GID's, then the higher one's [SEC-4] [SEC-5].
    pub(crate) fn session(key: &PairKey, direction: Direction, incarnations: [u64; 2], epoch: u16) -> Self {
        Self::derive(key, *b"session\0", direction, incarnations, epoch)
    }

    /// The key-derivation function of NIST SP 800-108 in counter mode with CMAC: one block is all that a key needs.
    fn derive(
        key: &PairKey,
        label: [u8; 8],
        direction: Direction,
        incarnations: [u64; 2],
        epoch: u16,
    ) -> Self {
        let cipher = Aes128Enc::new(&key.0.into());
        let mut function = Cmac::inner_init(&cipher);
        function.update(&[1]);
        function.update(&label);
        function.update(&[0, direction as u8]);
        function.update(&incarnations[0].to_be_bytes());
        function.update(&incarnations[1].to_be_bytes());
        function.update(&epoch.to_be_bytes());
        function.update(&128u16.to_be_bytes());
        Self(Chain::new(Aes128Enc::new(&function.finalize().into_bytes())))
    }

    /// The tag of these bytes, in this order [SEC-3].
    pub(crate) fn tag(&self, header: &[u8], upper: &[u8], payload: &[u8]) -> [u8; TAG_BYTES] {
        cut(self.whole(header, upper, payload))
    }

    /// The tag of a header that begins with these blocks, their first byte lowest, and has no payload under it. They come as numbers because a block that was just written field by field is slow to
    /// be read as one.
    pub(crate) fn tag_blocks(&self, first: [u128; 2], rest: &[u8], upper: [u8; 4]) -> [u8; TAG_BYTES] {
        cut(self.0.mac_words(first, rest, upper).unwrap_or_else(|| {
            // No header is of another length.
            let first = first.map(u128::to_le_bytes);
            self.0.mac([first.as_flattened(), rest, &upper])
        }))
    }

    /// Whether that is the tag of these bytes, in a time that does not tell where it differs.
    pub(crate) fn verify(&self, header: &[u8], upper: &[u8], payload: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
        // As one number: byte by byte it takes ten times as many instructions.
        number(&self.tag(header, upper, payload))
            .ct_eq(&number(tag))
            .into()
    }

    fn whole(&self, header: &[u8], upper: &[u8], payload: &[u8]) -> [u8; 16] {
        upper
            .as_array()
            .filter(|_| payload.is_empty())
            .and_then(|upper| self.0.mac_words([], header, *upper))
            .unwrap_or_else(|| self.0.mac([header, upper, payload]))
    }
}

fn cut(whole: [u8; 16]) -> [u8; TAG_BYTES] {
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&whole[..TAG_BYTES]);
    tag
}

fn number(tag: &[u8; TAG_BYTES]) -> u128 {
    let (words, _) = tag.as_chunks();
    words.iter().fold(0, |number, word| {
        number << 32 | u128::from(u32::from_le_bytes(*word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_that_of_the_rfc() {
        // [SEC-2] RFC 4493, section 4, examples 1 and 3, cut to 96 bits as RFC 4494 does.
        let key = [
            0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c,
        ];
        let message = [
            0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a,
            0xae, 0x2d, 0x8a, 0x57, 0x1e, 0x03, 0xac, 0x9c, 0x9e, 0xb7, 0x6f, 0xac, 0x45, 0xaf, 0x8e, 0x51,
            0x30, 0xc8, 0x1c, 0x46, 0xa3, 0x5c, 0xe4, 0x11,
        ];
        let sealer = Sealer(Chain::new(Aes128Enc::new(&key.into())));
        let empty = [
            0xbb, 0x1d, 0x69, 0x29, 0xe9, 0x59, 0x37, 0x28, 0x7f, 0xa3, 0x7d, 0x12,
        ];
        let forty = [
            0xdf, 0xa6, 0x67, 0x47, 0xde, 0x9a, 0xe6, 0x30, 0x30, 0xca, 0x32, 0x61,
        ];
        assert_eq!(sealer.tag(&[], &[], &[]), empty);
        assert_eq!(sealer.tag(&message[..7], &message[7..20], &message[20..]), forty);
        assert!(sealer.verify(&message, &[], &[], &forty));
        assert!(!sealer.verify(&message[1..], &[], &[], &forty));
    }

    #[test]
    fn where_the_bytes_are_cut_makes_no_difference() {
        // [SEC-3]: before, at and behind the ends of blocks.
        let sealer = Sealer::hello(&PairKey::new([3; 16]), Direction::Up, 0);
        let bytes: Vec<u8> = (0..200).collect();
        let whole = sealer.tag(&bytes, &[], &[]);
        for header in [0, 1, 15, 16, 91, 92, 93, 96, 97, 196] {
            for upper in [0, 4] {
                let (header, rest) = bytes.split_at(header);
                let (upper, payload) = rest.split_at(upper);
                if header.len() >= 32 && upper.len() == 4 {
                    let (blocks, _) = header.as_chunks();
                    let first = [blocks[0], blocks[1]].map(u128::from_le_bytes);
                    let without =
                        sealer.tag_blocks(first, &header[32..], [upper[0], upper[1], upper[2], upper[3]]);
                    assert_eq!(without, sealer.tag(header, upper, &[]));
                    assert_eq!(without, cut(sealer.0.mac([header, upper, &[]])));
                }
                assert_eq!(
                    sealer.tag(header, upper, payload),
                    whole,
                    "{} and {}",
                    header.len(),
                    upper.len()
                );
            }
        }
    }

    #[test]
    fn each_use_has_a_key_of_its_own() {
        // [SEC-4] [SEC-5]
        let key = PairKey::new([7; 16]);
        let sealers = [
            Sealer::hello(&key, Direction::Up, 0),
            Sealer::hello(&key, Direction::Down, 0),
            Sealer::hello(&key, Direction::Up, 1),
            Sealer::session(&key, Direction::Up, [0, 0], 0),
            Sealer::session(&key, Direction::Up, [1, 2], 0),
            Sealer::session(&key, Direction::Up, [2, 1], 0),
            Sealer::session(&key, Direction::Down, [1, 2], 0),
            Sealer::session(&key, Direction::Up, [1, 2], 1),
            Sealer::hello(&PairKey::new([8; 16]), Direction::Up, 0),
        ];
        let tags: std::collections::HashSet<_> = sealers
            .iter()
            .map(|sealer| sealer.tag(b"same", b"", b""))
            .collect();
        assert_eq!(tags.len(), sealers.len());
    }
}
