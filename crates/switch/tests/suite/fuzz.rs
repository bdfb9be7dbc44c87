//! Arbitrary frames: nothing panics, nothing grows without bound, traces and verdicts agree.

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(data in prop::collection::vec(any::<u8>(), 0..4_000)) {
        trinic_switch::fuzz::frames(&data);
    }

    /// Good frames with up to seven bytes changed come much further than noise.
    #[test]
    fn changed_frames(steps in prop::collection::vec(
        (any::<u8>(), any::<u8>(), prop::collection::vec((0..90u8, any::<u8>()), 7)),
        0..200,
    )) {
        let mut data = Vec::new();
        for (control, choice, changes) in steps {
            data.extend([control | 4, choice]);
            for (at, value) in changes.iter().take(usize::from(choice & 7)) {
                data.extend([*at, *value]);
            }
        }
        trinic_switch::fuzz::frames(&data);
    }
}

#[test]
fn a_flood_of_good_frames() {
    for choice in 0..20u8 {
        for control in [4u8, 5, 6, 7, 5 | 8, 5 | 16, 5 | 32, 7 | 64, 5 | 128] {
            let data = [control, choice << 3].repeat(100);
            trinic_switch::fuzz::frames(&data);
        }
    }
}
