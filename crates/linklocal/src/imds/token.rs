//! Session tokens of IMDSv2.
//!
//! A token says its own end and proves itself with a keyed hash over the instance it was made for, so
//! that the card keeps no table of tokens: an instance that asks for a million of them costs no memory
//! and pushes no other token out. Tokens of one instance mean nothing on another.
//!
//! As EC2's, a token is 56 characters of base64 (40 bytes).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The longest life of a token: six hours.
///
/// Source: [AWS doc docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html].
pub const TTL_MAX_S: u32 = 21_600;

/// Bytes of a token that are drawn at random.
pub const NONCE_BYTES: usize = 8;

const EXPIRY_BYTES: usize = 8;
const TAG_BYTES: usize = 24;
const TOKEN_BYTES: usize = NONCE_BYTES + EXPIRY_BYTES + TAG_BYTES;
const TOKEN_CHARACTERS: usize = 56;
const NS_PER_S: u64 = 1_000_000_000;

/// Makes and checks tokens with one secret key.
pub struct Tokens {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key must not reach a log.
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Tokens under `key`; the same key accepts the tokens of an earlier process.
    pub fn new(key: &[u8; 32]) -> Self {
        // The block of SHA-256 has 64 bytes, so that a key of 32 only needs padding.
        let mut block = [0; 64];
        block[..32].copy_from_slice(key);
        Self {
            keyed: Hmac::new(&block.into()),
        }
    }

    /// A token of `instance_id` that ends `ttl_s` seconds from `wall_ns`.
    pub fn issue(&self, instance_id: &str, wall_ns: u64, ttl_s: u32, nonce: [u8; NONCE_BYTES]) -> String {
        let expiry_ns = wall_ns.saturating_add(u64::from(ttl_s) * NS_PER_S);
        let mut token = [0; TOKEN_BYTES];
        token[..NONCE_BYTES].copy_from_slice(&nonce);
        token[NONCE_BYTES..NONCE_BYTES + EXPIRY_BYTES].copy_from_slice(&expiry_ns.to_be_bytes());
        let (head, tag) = token.split_at_mut(NONCE_BYTES + EXPIRY_BYTES);
        let full = self.hash(instance_id, head).finalize().into_bytes();
        tag.copy_from_slice(&full[..TAG_BYTES]);
        URL_SAFE.encode(token)
    }

    /// The whole seconds (rounded up) that `token` still lives, if it is one of `instance_id`.
    pub fn check(&self, instance_id: &str, wall_ns: u64, token: &[u8]) -> Option<u32> {
        if token.len() != TOKEN_CHARACTERS {
            return None;
        }
        let bytes = URL_SAFE.decode(token).ok()?;
        let bytes: [u8; TOKEN_BYTES] = bytes.try_into().ok()?;
        let (head, tag) = bytes.split_at(NONCE_BYTES + EXPIRY_BYTES);
        // This comparison takes the same time wherever the difference is.
        self.hash(instance_id, head).verify_truncated_left(tag).ok()?;
        let expiry: [u8; EXPIRY_BYTES] = head[NONCE_BYTES..].try_into().ok()?;
        let left_ns = u64::from_be_bytes(expiry).checked_sub(wall_ns)?;
        // A clock set back must not make a token live longer than any could.
        let left_s = u32::try_from(left_ns.div_ceil(NS_PER_S)).ok()?;
        (1..=TTL_MAX_S).contains(&left_s).then_some(left_s)
    }

    fn hash(&self, instance_id: &str, head: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(head);
        mac.update(instance_id.as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_NS: u64 = 1_700_000_000 * NS_PER_S;

    #[test]
    fn a_token_is_56_characters_and_counts_down() {
        let tokens = Tokens::new(&[7; 32]);
        let token = tokens.issue("i-1", DAY_NS, 60, [1; 8]);
        assert_eq!(token.len(), TOKEN_CHARACTERS);
        assert!(token.ends_with("=="));
        assert_eq!(tokens.check("i-1", DAY_NS, token.as_bytes()), Some(60));
        assert_eq!(
            tokens.check("i-1", DAY_NS + 59_500_000_000, token.as_bytes()),
            Some(1)
        );
        assert_eq!(
            tokens.check("i-1", DAY_NS + 60 * NS_PER_S, token.as_bytes()),
            None
        );
    }

    #[test]
    fn a_token_of_another_instance_or_key_is_refused() {
        let tokens = Tokens::new(&[7; 32]);
        let token = tokens.issue("i-1", DAY_NS, 60, [1; 8]);
        assert_eq!(tokens.check("i-2", DAY_NS, token.as_bytes()), None);
        assert_eq!(Tokens::new(&[8; 32]).check("i-1", DAY_NS, token.as_bytes()), None);
    }

    #[test]
    fn every_flipped_bit_makes_a_token_invalid() {
        let tokens = Tokens::new(&[7; 32]);
        let token = URL_SAFE
            .decode(tokens.issue("i-1", DAY_NS, 21_600, [1; 8]))
            .unwrap();
        for bit in 0..TOKEN_BYTES * 8 {
            let mut forged = token.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let forged = URL_SAFE.encode(forged);
            assert_eq!(tokens.check("i-1", DAY_NS, forged.as_bytes()), None, "bit {bit}");
        }
    }

    #[test]
    fn a_clock_set_back_lengthens_no_token() {
        let tokens = Tokens::new(&[7; 32]);
        let token = tokens.issue("i-1", DAY_NS, 21_600, [1; 8]);
        assert_eq!(
            tokens.check("i-1", DAY_NS - 3600 * NS_PER_S, token.as_bytes()),
            None
        );
    }
}
