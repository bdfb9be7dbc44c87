//! The fuzz function with random scripts, and over its corpus.

use proptest::prelude::*;

use trinic_srd::fuzz::{self, Outcome, step};

/// Steps that mostly leave a session standing.
fn any_step() -> impl Strategy<Value = [u8; 4]> {
    let kind = prop_oneof![
        8 => prop_oneof![Just(step::SEND), Just(step::WRITE), Just(step::READ)],
        8 => Just(step::FLOW),
        8 => prop_oneof![Just(step::FORWARD), Just(step::DROP), Just(step::DUPLICATE), Just(step::REPLAY)],
        4 => Just(step::TIME),
        3 => prop_oneof![Just(step::CHANGE), Just(step::CUT)],
        2 => prop_oneof![Just(step::WITHDRAW), Just(step::OWNER), Just(step::KEY)],
        1 => Just(step::RESTART),
    ];
    (kind, any::<[u8; 3]>()).prop_map(|(kind, [a, b, c])| match kind {
        step::FLOW => [kind, a % 4, b, c],
        // Cuts with the right tag are lies.
        step::CUT => [kind, a, b, c & !1],
        _ => [kind, a, b, c],
    })
}

fn script(choice: u8, steps: &[[u8; 4]]) -> Vec<u8> {
    let mut bytes = vec![choice, step::SEND, 0, 10, 1, step::FLOW, 6, 0, 0];
    bytes.extend(steps.concat());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        fuzz::datagrams(&bytes);
    }

    #[test]
    fn random_steps(choice in any::<u8>(), steps in prop::collection::vec(any_step(), 0..150)) {
        // [REL-3] [REL-4] [REL-11] [REF-5]
        fuzz::datagrams(&script(choice, &steps));
    }

    #[test]
    fn random_lies(
        choice in any::<u8>(),
        steps in prop::collection::vec(prop_oneof![
            3 => any_step(),
            1 => any::<[u8; 3]>().prop_map(|[a, b, c]| [step::FORGE, a, b % 64, c]),
        ], 0..150),
    ) {
        fuzz::datagrams(&script(choice, &steps));
    }
}

/// Scripts that reach every part of the engine, and those that fuzzing found worth keeping, whole, cut and changed.
#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/datagrams");
    let mut sum = Outcome::default();
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let outcome = fuzz::datagrams(&bytes);
        for cut in (0..bytes.len()).step_by(7) {
            fuzz::datagrams(&bytes[..cut]);
            let mut changed = bytes.clone();
            changed[cut] = changed[cut].wrapping_add(1);
            fuzz::datagrams(&changed);
        }
        sum.completed += outcome.completed;
        sum.failed += outcome.failed;
        sum.dropped += outcome.dropped;
        sum.retransmitted += outcome.retransmitted;
        sum.forged += outcome.forged;
        files += 1;
    }
    // The corpus does what it is there for.
    assert!(files >= 14, "{files} files");
    assert!(sum.completed > 200 && sum.failed > 40, "{sum:?}");
    assert!(
        sum.dropped > 20 && sum.retransmitted > 20 && sum.forged > 10,
        "{sum:?}"
    );
}
