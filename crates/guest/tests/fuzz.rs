//! Guests survive hostile frames.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "The strategies bound the lengths."
)]

use proptest::prelude::*;
use trinic_guest::fuzz::{self, MAC, V4, V6};
use trinic_wire::tcp::{self, Flags};
use trinic_wire::{Protocol, icmpv6, ipv4, ipv6};

/// A frame for the guest around an IP payload of any bytes.
fn frame(v6: bool, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 5];
    out.splice(0..0, MAC);
    if v6 {
        out.extend([0x86, 0xdd]);
        let source = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5);
        let header = ipv6::Repr {
            hop_limit: 255,
            ..ipv6::Repr::new(source, V6, Protocol(protocol), payload.len())
        };
        let mut bytes = [0; 40];
        header.emit(&mut bytes).unwrap();
        out.extend(bytes);
    } else {
        out.extend([0x08, 0x00]);
        let header = ipv4::Repr::new([10, 0, 0, 5].into(), V4, Protocol(protocol), payload.len());
        let mut bytes = [0; 20];
        header.emit(&mut bytes).unwrap();
        out.extend(bytes);
    }
    out.extend(payload);
    out
}

fn script(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (time, frame) in frames {
        let mut frame = frame.clone();
        if frame.len() % 2 == 1 {
            frame.push(0);
        }
        out.extend([(frame.len() / 2) as u8, *time]);
        out.extend(frame);
    }
    out
}

/// TCP segments to the echo server: numbers near each other, all flags, odd options.
fn segment() -> impl Strategy<Value = Vec<u8>> {
    let options = prop::collection::vec(any::<u8>(), 0..40);
    let data = prop::collection::vec(any::<u8>(), 0..60);
    (any::<u8>(), 0u32..6, 0u32..6, any::<u16>(), options, data).prop_map(
        |(flags, sequence, ack, window, mut options, data)| {
            options.truncate(options.len() / 4 * 4);
            let repr = tcp::Repr {
                source_port: 9999,
                destination_port: 7,
                sequence: sequence.wrapping_sub(2),
                acknowledgement: ack.wrapping_sub(2),
                flags: Flags(flags),
                window,
                urgent: 0,
                options: tcp::Options::default(),
                payload: &data,
            };
            let mut out = vec![0; 100];
            let len = repr.emit(&mut out, [10, 0, 0, 5].into(), V4.into()).unwrap();
            out.truncate(len);
            out[12] = ((5 + options.len() / 4) as u8) << 4;
            out.splice(20..20, options);
            out
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::frames(&bytes);
    }

    #[test]
    fn random_payloads(
        frames in prop::collection::vec(
            (
                any::<u8>(),
                any::<bool>(),
                prop::sample::select(vec![1u8, 6, 17, 58, 0, 44, 60, 255]),
                prop::collection::vec(any::<u8>(), 0..200),
            ),
            0..6,
        ),
    ) {
        let frames: Vec<_> = frames
            .into_iter()
            .map(|(time, v6, protocol, payload)| (time, frame(v6, protocol, &payload)))
            .collect();
        fuzz::frames(&script(&frames));
    }

    #[test]
    fn tcp_segments(segments in prop::collection::vec((any::<u8>(), segment()), 1..12)) {
        let frames: Vec<_> = segments
            .into_iter()
            .map(|(time, segment)| (time, frame(false, 6, &segment)))
            .collect();
        fuzz::frames(&script(&frames));
    }

    #[test]
    fn discovery(
        messages in prop::collection::vec(
            (133u8..138, prop::collection::vec(any::<u8>(), 4..100)),
            1..6,
        ),
    ) {
        let frames: Vec<_> = messages
            .into_iter()
            .map(|(kind, body)| {
                let mut message = vec![kind, 0, 0, 0];
                message.extend(body);
                (1, frame(true, Protocol::ICMPV6.0, &message))
            })
            .collect();
        fuzz::frames(&script(&frames));
    }
}

/// Rows of frames that reach every part of a guest, and those that fuzzing found worth keeping.
#[expect(
    clippy::disallowed_methods,
    reason = "The crate does no IO; this test reads its corpus."
)]
#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    // What the guest sends while nobody speaks to it for as long.
    let silence = fuzz::frames(&[0, 1].repeat(6)).frames_out;
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let counters = fuzz::frames(&std::fs::read(&path).unwrap());
        assert!(counters.frames_out > silence, "{} got no answer", path.display());
        files += 1;
    }
    assert!(files >= 7, "{files} files");
}

/// The correction of checksums works: an echo request with a wrong one is answered all the same.
#[test]
fn scripts_reach_the_guest() {
    let count = |kind: u8| {
        let message = [kind, 0, 1, 1, 0, 1, 0, 1];
        fuzz::frames(&script(&[(1, frame(true, 58, &message))]))
    };
    let (echo, other) = (count(icmpv6::ECHO_REQUEST), count(200));
    assert_eq!(echo.malformed, 1);
    // The guest answers, and to do so asks who its neighbor is.
    assert_eq!(echo.frames_out, other.frames_out + 1);
}
