//! Message content that a receiver can check: bytes that follow from the message's number.

use crate::MessageId;
use crate::random::mix;

/// Appends the content of a message, `size_bytes` long.
pub fn append(id: MessageId, size_bytes: u32, to: &mut Vec<u8>) {
    let start = to.len();
    to.resize(start + size_bytes as usize, 0);
    fill(id, 0, &mut to[start..]);
}

/// Writes the part of a message's content that begins at `offset`, a multiple of 8.
pub fn fill(id: MessageId, offset: u64, to: &mut [u8]) {
    let mut word = first(id, offset);
    for chunk in to.chunks_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        word = word.wrapping_add(STEP);
    }
}

/// Whether these bytes are the part of a message's content that begins at `offset`, a multiple of 8.
pub fn check(id: MessageId, offset: u64, bytes: &[u8]) -> bool {
    let mut word = first(id, offset);
    bytes.chunks(8).all(|chunk| {
        let right = *chunk == word.to_le_bytes()[..chunk.len()];
        word = word.wrapping_add(STEP);
        right
    })
}

/// The word at `offset`: a sequence that begins elsewhere for each message.
const fn first(id: MessageId, offset: u64) -> u64 {
    mix(id.0).wrapping_add((offset / 8).wrapping_mul(STEP))
}

/// Odd, and with high bits, so that each word differs from the ones around it in many bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_known_again_in_parts_and_nothing_else_is() {
        let id = MessageId(7);
        let mut whole = vec![1, 2, 3];
        append(id, 1_003, &mut whole);
        let whole = &mut whole[3..];
        assert!(check(id, 0, whole) && check(id, 800, &whole[800..]) && check(id, 8, &whole[8..13]));
        assert!(!check(MessageId(8), 0, whole) && !check(id, 8, whole));
        for bit in 0..8 {
            whole[1_002] ^= 1 << bit;
            assert!(!check(id, 0, whole), "bit {bit}");
            whole[1_002] ^= 1 << bit;
        }
        let mut part = [0; 16];
        fill(id, 80, &mut part);
        assert_eq!(part, whole[80..96]);
    }
}
