//! Rings that hold anything: the fuzz function over its corpus, changed entries of it, and random scripts.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use trinic_ena::fuzz::{queue_step, queues};

#[expect(
    clippy::disallowed_methods,
    reason = "The corpus is in files; the crate itself reads none."
)]
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/queues");
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(path).unwrap(),
            )
        })
        .collect();
    entries.sort();
    entries
}

/// Each entry gets as far as its name says: packets taken from the transmit queue, put into the receive queue.
#[test]
fn the_corpus_passes() {
    let counts: Vec<_> = corpus()
        .into_iter()
        .map(|(name, script)| (name, queues(&script)))
        .collect();
    let expected = [
        ("host-wraps", (36, 36)),
        ("lies", (0, 0)),
        ("llq-128", (20, 16)),
        ("llq-256-one-by-one", (20, 0)),
        ("offloads-and-changes", (0, 7)),
        ("segments", (1, 3)),
    ];
    let counts: Vec<_> = counts
        .iter()
        .map(|(name, counts)| (name.as_str(), *counts))
        .collect();
    assert_eq!(counts, expected);
}

fn descriptor() -> impl Strategy<Value = Vec<u8>> {
    let word_1 = prop_oneof![Just(0_u32), Just(0x6c88), Just(0x6d88), any::<u32>()];
    (0_u16..300, 0_u8..32, word_1, 0_u8..120, any::<[u8; 4]>()).prop_map(
        |(length, control, word_1, header, layout)| {
            let [a, b] = length.to_le_bytes();
            let is_meta = control & 1 != 0;
            // Meta: valid, extended, stored.
            let high = if is_meta { 0xb0 } else { 0 };
            let b = if is_meta { b | 0x40 } else { b };
            let mut out = vec![a, b, high, (control >> 1) << 2 & 0xfc];
            out.extend(word_1.to_le_bytes());
            out.extend(layout);
            out.extend([1, 0, 0, header]);
            out
        },
    )
}

fn step() -> impl Strategy<Value = Vec<u8>> {
    let any = prop::collection::vec(any::<u8>(), 0..80);
    (0_u8..queue_step::COUNT * 2, descriptor(), any).prop_map(|(kind, descriptor, any)| {
        let (kind, data) = match kind {
            queue_step::TX | queue_step::TX_RAW => (kind, descriptor),
            kind if kind < queue_step::COUNT => (kind, any),
            kind if kind % 4 == 0 => (queue_step::RX, [&[0, 1, 0, 0][..], &any].concat()),
            kind if kind % 4 == 1 => (queue_step::RING, Vec::new()),
            kind if kind % 4 == 2 => (queue_step::ROUND, Vec::new()),
            _ => (queue_step::TX, descriptor),
        };
        [&[kind, data.len() as u8], &data[..]].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nearly_right_scripts_pass(steps in prop::collection::vec(step(), 0..120)) {
        queues(&steps.concat());
    }

    #[test]
    fn any_bytes_pass(script in prop::collection::vec(any::<u8>(), 0..600)) {
        queues(&script);
    }

    #[test]
    fn changed_entries_pass(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut entries = corpus();
        let index = which.index(entries.len());
        let (_, script) = &mut entries[index];
        for (at, value) in changes {
            let at = at.index(script.len());
            script[at] = value;
        }
        queues(script);
    }
}
