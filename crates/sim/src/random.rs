//! Randomness from the world's seed, one independent source for each component.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A source of randomness that belongs to one component of a world.
///
/// The source is the `ChaCha8` stream whose key comes from the seed and whose number comes from the component's
/// name, so what one component draws does not depend on which others there are.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The source of the component `name` in the world of `seed`.
    pub fn fork(seed: u64, name: &str) -> Self {
        let mut source = ChaCha8Rng::seed_from_u64(seed);
        source.set_stream(hash_bytes(name.as_bytes()));
        Self(source)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, or 0 if `bound` is 0. The bias is at most `bound` in 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        scale(self.0.next_u64(), bound)
    }

    /// True with a probability of `ppm` in a million. Draws nothing if `ppm` is 0.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        ppm > 0 && scale(self.0.next_u64(), MILLION) < u64::from(ppm)
    }

    /// A length of time in nanoseconds with an exponential distribution of this mean: the gaps of a Poisson
    /// process. It uses comparisons of uniform numbers only, so it is the same on every machine.
    ///
    /// Source: J. von Neumann, "Various techniques used in connection with random digits", 1951.
    pub fn exponential_ns(&mut self, mean_ns: u64) -> u64 {
        let mut whole = 0_u64;
        loop {
            let first = self.next_u64();
            let mut last = first;
            let mut falling = 1_u32;
            loop {
                let next = self.next_u64();
                if next >= last {
                    break;
                }
                last = next;
                falling += 1;
            }
            if falling % 2 == 1 {
                return whole
                    .saturating_mul(mean_ns)
                    .saturating_add(scale(first, mean_ns));
            }
            whole += 1;
        }
    }

    /// The generator itself, for code that takes one of `rand`'s traits.
    pub fn generator(&mut self) -> &mut ChaCha8Rng {
        &mut self.0
    }
}

/// `bits` as a fraction of 2^64, times `bound`.
pub(crate) fn scale(bits: u64, bound: u64) -> u64 {
    let product = u128::from(bits) * u128::from(bound);
    u64::try_from(product >> 64).unwrap_or(u64::MAX)
}

/// A 64-bit hash in which every bit of the input reaches every bit of the output; not for use against an
/// adversary.
///
/// Source: the finalizer of `SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) const fn mix(input: u64) -> u64 {
    let mut word = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The hash of some bytes, by [`mix`] of eight at a time.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = mix(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

const MILLION: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_independent_and_repeatable_streams() {
        let draw = |seed, name: &str| Random::fork(seed, name).next_u64();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn a_chance_comes_as_often_as_it_says() {
        let mut random = Random::fork(7, "chance");
        let hits = (0..100_000).filter(|_| random.chance_ppm(50_000)).count();
        assert!((4_700..5_300).contains(&hits), "{hits} of 100,000 at 5 %");
        assert!((0..1_000).all(|_| random.chance_ppm(1_000_000)));
        assert!((0..1_000).all(|_| !random.chance_ppm(0)));
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::fork(7, "below");
        let mut seen = [0_u32; 5];
        for _ in 0..5_000 {
            seen[usize::try_from(random.below(5)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| *count > 800), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn exponential_gaps_have_the_mean_and_the_tail_of_their_law() {
        let mut random = Random::fork(7, "gaps");
        let gaps: Vec<u64> = (0..100_000).map(|_| random.exponential_ns(1_000)).collect();
        let mean = gaps.iter().sum::<u64>() / 100_000;
        assert!((980..1_020).contains(&mean), "mean {mean}");
        // e^-3 of them, 4,979 in 100,000, are longer than three means.
        let long = gaps.iter().filter(|gap| **gap > 3_000).count();
        assert!((4_700..5_300).contains(&long), "{long} above three means");
    }
}
