//! Keys and tags: AES-CMAC, and keys derived with it.

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use subtle::ConstantTimeEq;

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

/// Makes and checks the tags of one direction under one key: AES-CMAC (RFC 4493) over the library's cipher.
///
/// The library's own CMAC copies the key schedule and derives the subkeys for every tag, which costs more than the three blocks of a header do.
#[derive(Clone)]
pub(crate) struct Sealer {
    cipher: Aes128Enc,
    /// For a last block that is whole, and for one that is not (RFC 4493, section 2.3: K1 and K2).
    subkeys: [u128; 2],
}

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
        let mut input = [0; 40];
        let [lower, higher] = incarnations.map(u64::to_be_bytes);
        let pieces: [&[u8]; 7] = [
            &[1],
            &label,
            &[0, direction as u8],
            &lower,
            &higher,
            &epoch.to_be_bytes(),
            &128u16.to_be_bytes(),
        ];
        let mut at = 0;
        for piece in pieces {
            input[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        Self::new(&Self::new(&key.0).whole(&input[..at], &[], &[]).to_be_bytes())
    }

    fn new(key: &[u8; 16]) -> Self {
        let cipher = Aes128Enc::new(key.into());
        let first = doubled(encrypted(&cipher, 0));
        Self {
            cipher,
            subkeys: [first, doubled(first)],
        }
    }

    /// The tag of these bytes, in this order [SEC-3].
    pub(crate) fn tag(&self, header: &[u8], upper: &[u8], payload: &[u8]) -> [u8; TAG_BYTES] {
        let [tag @ .., _, _, _, _] = self.whole(header, upper, payload).to_be_bytes();
        tag
    }

    /// The tag before it is cut (RFC 4493, section 2.4).
    fn whole(&self, header: &[u8], upper: &[u8], payload: &[u8]) -> u128 {
        let mut state = 0;
        // The block that may be the last one, and how much of it there is.
        let mut block = [0; 16];
        let mut held = 0;
        for mut piece in [header, upper, payload] {
            while !piece.is_empty() {
                if held == block.len() {
                    state = encrypted(&self.cipher, state ^ u128::from_be_bytes(block));
                    held = 0;
                    // Whole blocks that are not the last need not be copied.
                    while let Some((whole, rest)) =
                        piece.split_first_chunk().filter(|(_, rest)| !rest.is_empty())
                    {
                        state = encrypted(&self.cipher, state ^ u128::from_be_bytes(*whole));
                        piece = rest;
                    }
                }
                let (now, later) = piece.split_at(piece.len().min(block.len() - held));
                block[held..held + now.len()].copy_from_slice(now);
                held += now.len();
                piece = later;
            }
        }
        let [whole, padded] = self.subkeys;
        let subkey = if held == block.len() {
            whole
        } else {
            block[held] = 0x80;
            block[held + 1..].fill(0);
            padded
        };
        encrypted(&self.cipher, state ^ u128::from_be_bytes(block) ^ subkey)
    }

    /// Whether that is the tag of these bytes, in a time that does not tell where it differs.
    pub(crate) fn verify(&self, header: &[u8], upper: &[u8], payload: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.tag(header, upper, payload).ct_eq(tag).into()
    }
}

fn encrypted(cipher: &Aes128Enc, block: u128) -> u128 {
    let mut block = block.to_be_bytes().into();
    cipher.encrypt_block(&mut block);
    u128::from_be_bytes(block.into())
}

/// Twice a number of the field of 2^128 elements, in a time that does not tell its bits (RFC 4493, section 2.3).
const fn doubled(number: u128) -> u128 {
    (number << 1) ^ ((number >> 127) * 0x87)
}

#[cfg(test)]
mod tests {
    use cmac::{Cmac, Mac};
    use proptest::prelude::*;

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
        let sealer = Sealer::new(&key);
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

    proptest! {
        #[test]
        fn the_tag_is_that_of_the_library(
            key in any::<[u8; 16]>(),
            header in prop::collection::vec(any::<u8>(), 0..80),
            upper in prop::collection::vec(any::<u8>(), 0..5),
            payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            // [SEC-2] [SEC-3]
            let mut library = <Cmac<Aes128Enc> as KeyInit>::new((&key).into());
            for piece in [&header, &upper, &payload] {
                library.update(piece);
            }
            let expected = library.finalize().into_bytes();
            prop_assert_eq!(&Sealer::new(&key).tag(&header, &upper, &payload)[..], &expected[..TAG_BYTES]);
        }
    }
}
