//! Numbers that travel with their lower 32 bits, and durations as numbers.

use std::time::Duration;

use trinic_wire::time::Instant;

/// The bits that travel.
pub(crate) const fn low(number: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The bits that do not.
pub(crate) const fn high(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The whole number with these lower bits that is nearest to `near` [REL-1].
pub(crate) const fn whole(low_bits: u32, near: u64) -> u64 {
    let ahead = low_bits.wrapping_sub(low(near));
    if ahead < HALF {
        near.wrapping_add(ahead as u64)
    } else {
        let behind = low(near).wrapping_sub(low_bits) as u64;
        // Below zero there is nothing: the number is then one of the next round.
        match near.checked_sub(behind) {
            Some(number) => number,
            None => near.wrapping_add(ahead as u64),
        }
    }
}

/// A duration in nanoseconds; more than 584 years is as good as for ever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The end of time, which never comes: what is due then is not due. Several times are compared for every packet, and options of them cost five times as much.
pub(crate) const NEVER: Instant = Instant::from_nanos(u64::MAX);

const HALF: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_nearest_number_is_meant_also_across_a_wrap() {
        // [REL-1]
        assert_eq!(whole(5, 0), 5);
        assert_eq!(whole(0xffff_fff0, 0), 0xffff_fff0, "nothing lies below zero");
        assert_eq!(whole(3, 0xffff_fffe), 0x1_0000_0003);
        assert_eq!(whole(0xffff_fffe, 0x1_0000_0003), 0xffff_fffe);
    }

    proptest! {
        #[test]
        fn a_number_near_enough_comes_back(near in 0u64..1 << 60, distance in -(1i64 << 30)..1 << 30) {
            let number = near.saturating_add_signed(distance);
            prop_assert_eq!(whole(low(number), near), number);
        }
    }
}
