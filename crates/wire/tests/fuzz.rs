//! The fuzz functions over random bytes, over legal frames with random changes, and over the corpus.

#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "The strategies bound the lengths."
)]

mod common;

use common::packet;
use proptest::prelude::*;
use trinic_wire::fuzz;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz::all(&data);
    }

    /// Frames that begin as IP, so that random bytes get past the first check.
    #[test]
    fn random_ip(
        v6: bool,
        protocol in prop::sample::select(vec![1u8, 6, 17, 58, 0, 43, 44, 51, 60]),
        mut body in prop::collection::vec(any::<u8>(), 60..300),
        lengths: bool,
    ) {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        if v6 {
            frame.extend([0x86, 0xdd]);
            body[0] = 0x60;
            body[6] = protocol;
            if lengths {
                let len = (body.len() - 40) as u16;
                body[4..6].copy_from_slice(&len.to_be_bytes());
            }
        } else {
            frame.extend([0x08, 0x00]);
            body[0] = 0x45;
            body[9] = protocol;
            if lengths {
                let len = body.len() as u16;
                body[2..4].copy_from_slice(&len.to_be_bytes());
                body[6..8].fill(0);
            }
        }
        frame.extend(&body);
        fuzz::packet(&frame);
        fuzz::reply(&frame);
    }

    /// Legal frames with a few bytes changed and cut.
    #[test]
    fn mutated_frames(
        packet in packet(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        cuts: bool,
    ) {
        let mut frame = packet.frame();
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if cuts {
            frame.truncate(cut.index(frame.len()));
        }
        fuzz::all(&frame);
        fuzz::all(&packet.transport());
        fuzz::all(&packet.ip());
    }

    /// DHCP options of random kinds and data.
    #[test]
    fn random_options(
        options in prop::collection::vec(
            (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)),
            0..8,
        ),
    ) {
        let mut bytes = Vec::new();
        for (kind, data) in options {
            bytes.extend([kind, data.len() as u8]);
            bytes.extend(data);
        }
        fuzz::dhcpv4(&bytes);
    }
}

/// Every file of the corpus goes through every parser.
#[expect(
    clippy::disallowed_methods,
    reason = "The crate does no IO; this test reads its corpus."
)]
#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let mut files = 0;
    for target in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(target.unwrap().path()).unwrap() {
            let data = std::fs::read(file.unwrap().path()).unwrap();
            fuzz::all(&data);
            files += 1;
        }
    }
    assert!(files >= fuzz::TARGETS.len(), "{files} files");
}

/// Every parser has a folder, so that a new one is not forgotten.
#[test]
fn corpus_has_every_target() {
    for (name, _) in fuzz::TARGETS {
        let folder = format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(&folder).map(Iterator::count).unwrap_or(0);
        assert!(files > 0, "{folder} is empty");
    }
}
