//! Counts of values by size, for percentiles.

/// A histogram of 64-bit values: those below 256 exactly, larger ones to within 1/128 of themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Grows to the largest value's bucket, 7,424 at most.
    buckets: Vec<u64>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        let bucket = bucket(value);
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.sum += u128::from(value);
        self.count += 1;
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (own, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += more;
        }
        self.min = if self.count == 0 {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
    }

    /// The value that `ppm` in a million of all are not above, or the largest of its bucket; 0 if nothing was
    /// counted.
    pub fn quantile_ppm(&self, ppm: u32) -> u64 {
        let rank = (u128::from(self.count) * u128::from(ppm))
            .div_ceil(1_000_000)
            .max(1);
        let mut below = 0_u128;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += u128::from(*count);
            if below >= rank {
                return largest(bucket).min(self.max);
            }
        }
        self.max
    }

    /// The median.
    pub fn p50(&self) -> u64 {
        self.quantile_ppm(500_000)
    }

    /// 99 % are not above it.
    pub fn p99(&self) -> u64 {
        self.quantile_ppm(990_000)
    }

    /// 99.9 % are not above it.
    pub fn p999(&self) -> u64 {
        self.quantile_ppm(999_000)
    }

    /// How many values were counted.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The smallest, exactly; 0 if nothing was counted.
    pub const fn min(&self) -> u64 {
        self.min
    }

    /// The largest, exactly; 0 if nothing was counted.
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The mean, rounded down; 0 if nothing was counted.
    pub fn mean(&self) -> u64 {
        let mean = self.sum.checked_div(u128::from(self.count)).unwrap_or(0);
        u64::try_from(mean).unwrap_or(u64::MAX)
    }
}

/// The bucket of a value: the value itself below 256, else its leading eight bits with their place.
fn bucket(value: u64) -> usize {
    let shift = value.checked_ilog2().unwrap_or(0).saturating_sub(SUB_BITS);
    let index = (u64::from(shift) << SUB_BITS) + (value >> shift);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The largest value of a bucket.
fn largest(bucket: usize) -> u64 {
    let index = u64::try_from(bucket).unwrap_or(u64::MAX);
    let shift = (index >> SUB_BITS).saturating_sub(1);
    let leading = index - (shift << SUB_BITS);
    (leading << shift) | ((1 << shift) - 1)
}

const SUB_BITS: u32 = 7;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_is_in_its_bucket_and_a_bucket_is_narrow(value: u64) {
            let top = largest(bucket(value));
            prop_assert!(top >= value && top - value <= value / 128);
            prop_assert!(bucket(value) < 7_424);
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_values(
            mut values in proptest::collection::vec(0..10_000_000_u64, 1..300), ppm in 0..=1_000_000_u32,
        ) {
            let mut histogram = Histogram::new();
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let rank = (values.len() * usize::try_from(ppm).unwrap()).div_ceil(1_000_000).max(1);
            let exact = values[rank - 1];
            let found = histogram.quantile_ppm(ppm);
            prop_assert!(found >= exact && found - exact <= exact / 128, "{found} for {exact}");
            prop_assert_eq!((histogram.min(), histogram.max()), (values[0], values[values.len() - 1]));
        }

        #[test]
        fn a_merge_is_as_if_all_were_counted_in_one(
            left in proptest::collection::vec(any::<u64>(), 0..50),
            right in proptest::collection::vec(any::<u64>(), 0..50),
        ) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::new();
                values.iter().for_each(|value| histogram.record(*value));
                histogram
            };
            let mut merged = of(&left);
            merged.merge(&of(&right));
            prop_assert_eq!(merged, of(&[left, right].concat()));
        }
    }
}
