//! CMAC's chaining (RFC 4493, section 2.4) over the library's cipher, in one call of it for a tag.
//!
//! The library `cmac` calls the cipher three times for a short message and derives its subkeys each time; docs/adr/0005 has the figures. It is what this is tested against,
//! and what derives the keys.

use aes::Aes128Enc;
use aes::cipher::consts::U16;
use aes::cipher::{Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser};

/// Bytes of a block.
const BLOCK: usize = 16;

/// What fills up a last block, beginning with a bit that is 1.
const END: [u8; 4] = [0x80, 0, 0, 0];
const NOTHING: [u8; 4] = [0; 4];

/// A key made ready: the cipher, and what is added to a last block that is full, or is filled up.
#[derive(Clone)]
pub(crate) struct Chain {
    cipher: Aes128Enc,
    full: u128,
    filled: u128,
}

impl Chain {
    pub(crate) fn new(cipher: Aes128Enc) -> Self {
        let mut zero = Block::<Aes128Enc>::default();
        cipher.encrypt_block(&mut zero);
        let full = double(u128::from_be_bytes(zero.into()));
        Self {
            cipher,
            full: full.swap_bytes(),
            filled: double(full).swap_bytes(),
        }
    }

    /// The MAC of these blocks, their first byte lowest, of bytes that are whole words, and of one word more; none if the bytes are not whole words. What they leave of
    /// the last block is a word at least, so all blocks but it are known to be there.
    pub(crate) fn mac_words<const BLOCKS: usize>(
        &self,
        first: [u128; BLOCKS],
        bytes: &[u8],
        word: [u8; 4],
    ) -> Option<[u8; BLOCK]> {
        if !bytes.len().is_multiple_of(size_of_val(&word)) {
            return None;
        }
        let mut mac = [0; BLOCK];
        self.cipher.encrypt_with_backend(Words {
            first: first.map(halves).each_ref().map(<[u64; 2]>::each_ref),
            bytes,
            word,
            key: self,
            mac: &mut mac,
        });
        Some(mac)
    }

    /// The MAC of these pieces, one after the other.
    pub(crate) fn mac(&self, pieces: [&[u8]; 3]) -> [u8; BLOCK] {
        let mut mac = 0;
        self.cipher.encrypt_with_backend(Message {
            pieces,
            key: self,
            mac: &mut mac,
        });
        mac.to_le_bytes()
    }
}

/// RFC 4493, section 2.3: a step of the subkeys, without a branch on what is secret.
const fn double(block: u128) -> u128 {
    (block << 1) ^ ((block >> 127) * 0x87)
}

/// What is run next to the cipher's instructions.
struct Message<'a> {
    pieces: [&'a [u8]; 3],
    key: &'a Chain,
    mac: &'a mut u128,
}

impl BlockSizeUser for Message<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Message<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        let mut state = State {
            cipher,
            chained: 0,
            pending: 0,
            bytes: 0,
        };
        for piece in self.pieces {
            let (blocks, rest) = piece.as_chunks();
            for block in blocks {
                state.add(u128::from_le_bytes(*block), BLOCK);
            }
            // Headers are whole words.
            let (words, rest) = rest.as_chunks();
            for word in words {
                state.add(u32::from_le_bytes(*word).into(), size_of::<u32>());
            }
            for byte in rest {
                state.add((*byte).into(), 1);
            }
        }
        let last = if state.bytes == BLOCK {
            state.pending ^ self.key.full
        } else {
            state.pending ^ (0x80 << (8 * state.bytes)) ^ self.key.filled
        };
        *self.mac = state.encrypt(last);
    }
}

/// The same for what is whole words.
struct Words<'a, const BLOCKS: usize> {
    /// Each half by a reference of its own. Halves that are known to lie together would be read as one block, which a processor that has just been given the two cannot do
    /// before it has written them to the cache.
    first: [[&'a u64; 2]; BLOCKS],
    bytes: &'a [u8],
    word: [u8; 4],
    key: &'a Chain,
    mac: &'a mut [u8; BLOCK],
}

impl<const BLOCKS: usize> BlockSizeUser for Words<'_, BLOCKS> {
    type BlockSize = U16;
}

impl<const BLOCKS: usize> BlockCipherEncClosure for Words<'_, BLOCKS> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        let mut chained = Block::<B>::default();
        for [one, other] in &self.first {
            chain(cipher, &mut chained, [**one, **other]);
        }
        let (blocks, rest) = self.bytes.as_chunks::<BLOCK>();
        for block in blocks {
            chain(cipher, &mut chained, halves(u128::from_le_bytes(*block)));
        }
        let pair = |one: [u8; 4], other: [u8; 4]| {
            u64::from(u32::from_le_bytes(one)) | u64::from(u32::from_le_bytes(other)) << 32
        };
        let (words, _) = rest.as_chunks();
        let (last, key) = match *words {
            [] => ([pair(self.word, END), 0], self.key.filled),
            [one] => ([pair(one, self.word), pair(END, NOTHING)], self.key.filled),
            [one, two] => ([pair(one, two), pair(self.word, END)], self.key.filled),
            [one, two, three, ..] => ([pair(one, two), pair(three, self.word)], self.key.full),
        };
        let key = halves(key);
        chain(cipher, &mut chained, [last[0] ^ key[0], last[1] ^ key[1]]);
        *self.mac = chained.into();
    }
}

/// Chains a block. By halves the compiler keeps what is chained in the register of the cipher's instructions: as one number it would leave it for each block and come back.
#[inline(always)]
fn chain<B: BlockCipherEncBackend<BlockSize = U16>>(
    cipher: &B,
    chained: &mut Block<B>,
    [one, other]: [u64; 2],
) {
    let before: [u64; 2] = zerocopy::transmute!(<[u8; BLOCK]>::from(*chained));
    let bytes: [u8; BLOCK] = zerocopy::transmute!([before[0] ^ one.to_le(), before[1] ^ other.to_le()]);
    *chained = bytes.into();
    cipher.encrypt_block(chained.into());
}

/// A block's lower half, and its upper one.
#[inline(always)]
fn halves(block: u128) -> [u64; 2] {
    [block & u128::from(u64::MAX), block >> u64::BITS].map(|half| u64::try_from(half).unwrap_or(0))
}

#[inline(always)]
fn encrypt<B: BlockCipherEncBackend<BlockSize = U16>>(cipher: &B, block: u128) -> u128 {
    let mut block: Block<B> = block.to_le_bytes().into();
    cipher.encrypt_block((&mut block).into());
    u128::from_le_bytes(block.into())
}

/// What was chained, and the block that may be the last. Blocks are numbers, their first byte lowest: bytes that are written one by one and read as a block would cost more
/// than the cipher.
struct State<'a, B> {
    cipher: &'a B,
    chained: u128,
    pending: u128,
    /// Bytes of the pending block.
    bytes: usize,
}

impl<B: BlockCipherEncBackend<BlockSize = U16>> State<'_, B> {
    /// Appends 1 to 16 bytes; those above are 0.
    #[inline(always)]
    fn add(&mut self, next: u128, bytes: usize) {
        if self.bytes == BLOCK {
            self.chained = self.encrypt(self.pending);
            (self.pending, self.bytes) = (next, bytes);
            return;
        }
        self.pending |= next << (8 * self.bytes);
        let room = BLOCK - self.bytes;
        if bytes > room {
            self.chained = self.encrypt(self.pending);
            self.pending = next >> (8 * room);
            self.bytes = bytes - room;
        } else {
            self.bytes += bytes;
        }
    }

    #[inline(always)]
    fn encrypt(&self, block: u128) -> u128 {
        encrypt(self.cipher, self.chained ^ block)
    }
}

#[cfg(test)]
mod tests {
    use cmac::{Cmac, KeyInit, Mac};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 4493, section 4.
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
        let chain = Chain::new(Aes128Enc::new(&key.into()));
        let message: Vec<u8> = [
            0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a_u128,
            0xae2d_8a57_1e03_ac9c_9eb7_6fac_45af_8e51,
            0x30c8_1c46_a35c_e411_e5fb_c119_1a0a_52ef,
            0xf69f_2445_df4f_9b17_ad2b_417b_e66c_3710,
        ]
        .into_iter()
        .flat_map(u128::to_be_bytes)
        .collect();
        for (length, mac) in [
            (0, 0xbb1d_6929_e959_3728_7fa3_7d12_9b75_6746_u128),
            (16, 0x070a_16b4_6b4d_4144_f79b_dd9d_d04a_287c),
            (40, 0xdfa6_6747_de9a_e630_30ca_3261_1497_c827),
            (64, 0x51f0_bebf_7e3b_9d92_fc49_7417_7936_3cfe),
        ] {
            assert_eq!(chain.mac([&message[..length], &[], &[]]), mac.to_be_bytes());
        }
        assert_eq!(
            chain.full,
            0xfbee_d618_3571_3366_7c85_e08f_7236_a8de_u128.swap_bytes()
        );
        assert_eq!(
            chain.filled,
            0xf7dd_ac30_6ae2_66cc_f90b_c11e_e46d_513b_u128.swap_bytes()
        );
    }

    proptest! {
        #[test]
        fn it_is_the_librarys(
            key: [u8; 16],
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cuts: [prop::sample::Index; 2],
        ) {
            let mut library = <Cmac<Aes128Enc> as KeyInit>::new(&key.into());
            library.update(&bytes);
            let mut cuts = cuts.map(|cut| cut.index(bytes.len() + 1));
            cuts.sort_unstable();
            let pieces = [&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]];
            let ours = Chain::new(Aes128Enc::new(&key.into())).mac(pieces);
            prop_assert_eq!(ours, <[u8; 16]>::from(library.finalize().into_bytes()));
        }

        #[test]
        fn whole_words_are_the_same(
            key: [u8; 16],
            bytes in prop::collection::vec(any::<u8>(), 32..200),
            word: [u8; 4],
        ) {
            let chain = Chain::new(Aes128Enc::new(&key.into()));
            let (blocks, _) = bytes.as_chunks();
            let first = [blocks[0], blocks[1]].map(u128::from_le_bytes);
            let expected = bytes.len().is_multiple_of(4).then(|| {
                let mut library = <Cmac<Aes128Enc> as KeyInit>::new(&key.into());
                library.update(&bytes);
                library.update(&word);
                <[u8; 16]>::from(library.finalize().into_bytes())
            });
            prop_assert_eq!(chain.mac_words([], &bytes, word), expected);
            prop_assert_eq!(chain.mac_words(first, &bytes[32..], word), expected);
        }
    }
}
