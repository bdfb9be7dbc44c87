//! The fuzz functions over the corpus, over changed entries of it and over random bytes.

#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]

use proptest::prelude::*;
use trinic_pci::fuzz;

#[expect(
    clippy::disallowed_methods,
    reason = "The crate does no IO; this test reads its corpus."
)]
fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/config");
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn corpus_is_replayed() {
    let corpus = corpus();
    assert!(corpus.len() >= 3);
    for entry in corpus {
        fuzz::config(&entry);
        for cut in 0..entry.len() {
            fuzz::config(&entry[..cut]);
        }
    }
}

proptest! {
    #[test]
    fn changed_entries(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let corpus = corpus();
        let mut entry = corpus[which.index(corpus.len())].clone();
        for (at, value) in changes {
            let at = at.index(entry.len());
            entry[at] = value;
        }
        fuzz::config(&entry);
    }

    #[test]
    fn random_bytes(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz::config(&data);
    }
}
