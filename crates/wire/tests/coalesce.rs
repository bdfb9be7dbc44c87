//! Joined datagrams, cut up as the kernel does it, are the datagrams that were joined.

#![expect(
    clippy::cast_possible_truncation,
    reason = "The strategies bound the lengths."
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use trinic_wire::Protocol;
use trinic_wire::checksum::{Sum, pseudo};
use trinic_wire::coalesce::{RUN_LIMIT, Run};

const BUFFER_BYTES: usize = 65_600;

/// A datagram whose checksum is left open, and what may be odd about it.
#[derive(Debug, Clone)]
struct Datagram {
    v6: bool,
    port: u16,
    class: u8,
    ttl: u8,
    flags: u16,
    id: u16,
    payload: Vec<u8>,
    odd: Odd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Odd {
    No,
    Padding,
    OpenSum,
    HeaderChecksum,
    UdpLength,
    Tcp,
    Cut,
}

impl Datagram {
    fn frame(&self) -> Vec<u8> {
        let (source, destination): (IpAddr, IpAddr) = if self.v6 {
            (
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 4).into(),
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5).into(),
            )
        } else {
            (
                Ipv4Addr::new(10, 0, 0, 4).into(),
                Ipv4Addr::new(10, 0, 0, 5).into(),
            )
        };
        let length = 8 + self.payload.len();
        let protocol = if self.odd == Odd::Tcp { 6 } else { 17 };
        let mut frame = vec![2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 4];
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00, 0x45, self.class]);
                frame.extend(((20 + length) as u16).to_be_bytes());
                frame.extend(self.id.to_be_bytes());
                frame.extend(self.flags.to_be_bytes());
                frame.extend([self.ttl, protocol, 0, 0]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
                let checksum = Sum::of(&frame[14..]).checksum() ^ u16::from(self.odd == Odd::HeaderChecksum);
                frame[24..26].copy_from_slice(&checksum.to_be_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd, 0x60 | self.class >> 4, self.class << 4, 0, 7]);
                frame.extend((length as u16).to_be_bytes());
                frame.extend([protocol, self.ttl]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            _ => unreachable!("Both are of one family"),
        }
        let sum = pseudo(source, destination, Protocol::UDP, length).folded();
        frame.extend(4000_u16.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend((length as u16 - u16::from(self.odd == Odd::UdpLength)).to_be_bytes());
        frame.extend((sum ^ u16::from(self.odd == Odd::OpenSum)).to_be_bytes());
        frame.extend(&self.payload);
        match self.odd {
            Odd::Padding => frame.push(0),
            Odd::Cut => {
                frame.pop();
            }
            _ => {}
        }
        frame
    }
}

/// Mostly datagrams of one flow and size, so that runs come about.
fn datagrams() -> impl Strategy<Value = Vec<Datagram>> {
    let odd = prop_oneof![
        40 => Just(Odd::No),
        1 => Just(Odd::Padding),
        1 => Just(Odd::OpenSum),
        1 => Just(Odd::HeaderChecksum),
        1 => Just(Odd::UdpLength),
        1 => Just(Odd::Tcp),
        1 => Just(Odd::Cut),
    ];
    let one = (
        prop_oneof![12 => Just(0_u16), 1 => Just(1)],
        prop_oneof![12 => Just(0_u8), 1 => Just(3)],
        prop_oneof![12 => Just(64_u8), 1 => Just(63)],
        prop_oneof![12 => Just(0_u16), 1 => Just(0x2000), 1 => Just(0x00b9), 1 => Just(0x4000), 1 => Just(0x8000)],
        prop_oneof![12 => Just(1_u16), 1 => Just(0), 1 => Just(2)],
        prop_oneof![12 => Just(0_usize), 1 => 0..40_usize, 1 => Just(usize::MAX)],
        any::<u8>(),
        odd,
    );
    let size = prop_oneof![3 => 1..60_usize, 1 => 1_000..9_000_usize];
    (
        any::<[bool; 2]>(),
        any::<u16>(),
        size,
        prop::collection::vec(one, 1..150),
    )
        .prop_map(|([v6, df], first_id, size, rest)| {
            let mut id = first_id;
            rest.into_iter()
                .map(|(port, class, ttl, flags, step, shorter, fill, odd)| {
                    id = id.wrapping_add(step);
                    Datagram {
                        v6,
                        port: 5000 + port,
                        class,
                        ttl,
                        flags: flags ^ if df { 0x4000 } else { 0 },
                        id,
                        // At least one byte for a frame that is cut.
                        payload: vec![fill; size.saturating_sub(shorter).max(usize::from(odd == Odd::Cut))],
                        odd,
                    }
                })
                .collect()
        })
}

/// Joins neighbours as long as they fit: frames with the sizes of their datagrams, 0 for those left alone.
fn join(frames: &[Vec<u8>]) -> Vec<(Vec<u8>, usize, usize)> {
    let mut joined = Vec::new();
    let mut frames = frames.iter().peekable();
    while let Some(first) = frames.next() {
        let Some(mut run) = Run::start(first) else {
            joined.push((first.clone(), 0, 1));
            continue;
        };
        let mut buffer = first.clone();
        buffer.resize(BUFFER_BYTES, 0xee);
        while frames.next_if(|next| run.append(&mut buffer, next)).is_some() {}
        let length = run.finish(&mut buffer);
        buffer.truncate(length);
        let segment = if run.count() > 1 { run.segment_bytes() } else { 0 };
        joined.push((buffer, segment, run.count()));
    }
    joined
}

/// What the kernel makes of a super-frame (`__udp_gso_segment`, `inet_gso_segment`).
fn cut(frame: &[u8], segment: usize) -> Vec<Vec<u8>> {
    let v6 = frame[12] == 0x86;
    let transport = if v6 { 54 } else { 34 };
    let field = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let whole = field(frame, transport + 4);
    assert_eq!(usize::from(whole), frame.len() - transport);
    if v6 {
        assert_eq!(field(frame, 18), whole);
    } else {
        assert_eq!(usize::from(field(frame, 16)), frame.len() - 14);
        assert!(Sum::of(&frame[14..34]).is_valid());
    }
    let (headers, payload) = frame.split_at(transport + 8);
    let mut pieces = Vec::new();
    for (number, piece) in payload.chunks(segment).enumerate() {
        let mut out = headers.to_vec();
        let length = (8 + piece.len()) as u16;
        let sum = Sum::ZERO
            .word(field(frame, transport + 6))
            .word(!whole)
            .word(length)
            .folded();
        out[transport + 4..transport + 6].copy_from_slice(&length.to_be_bytes());
        out[transport + 6..transport + 8].copy_from_slice(&sum.to_be_bytes());
        if v6 {
            out[18..20].copy_from_slice(&length.to_be_bytes());
        } else {
            out[16..18].copy_from_slice(&(20 + length).to_be_bytes());
            let id = field(frame, 18).wrapping_add(number as u16);
            out[18..20].copy_from_slice(&id.to_be_bytes());
            out[24..26].fill(0);
            let checksum = Sum::of(&out[14..34]).checksum();
            out[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        out.extend(piece);
        pieces.push(out);
    }
    pieces
}

/// The identification of packets that may not be fragmented means nothing, and zero has two forms in a sum.
fn comparable(mut frame: Vec<u8>) -> Vec<u8> {
    let v6 = frame[12] == 0x86;
    if !v6 && frame[20] & 0x40 != 0 {
        frame[18..20].fill(0);
        frame[24..26].fill(0);
    }
    let sum = if v6 { 60 } else { 40 };
    if frame[sum..sum + 2] == [0xff, 0xff] {
        frame[sum..sum + 2].fill(0);
    }
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn cutting_gives_back_what_was_joined(datagrams in datagrams()) {
        let frames: Vec<_> = datagrams.iter().map(Datagram::frame).collect();
        let mut cut_up = Vec::new();
        for (frame, segment, count) in join(&frames) {
            prop_assert!(count <= RUN_LIMIT && frame.len() <= 14 + 65_535);
            if segment == 0 {
                cut_up.push(frame);
            } else {
                let pieces = cut(&frame, segment);
                prop_assert_eq!(pieces.len(), count);
                cut_up.extend(pieces);
            }
        }
        prop_assert_eq!(cut_up.len(), frames.len());
        for (one, other) in cut_up.into_iter().zip(frames) {
            prop_assert_eq!(comparable(one), comparable(other));
        }
    }

    #[test]
    fn any_bytes_are_taken(first: Vec<u8>, next: Vec<u8>, room in 0..200_usize) {
        if let Some(mut run) = Run::start(&first) {
            let mut buffer = first;
            buffer.resize(buffer.len() + room, 0);
            run.append(&mut buffer, &next);
            prop_assert!(run.finish(&mut buffer) <= buffer.len());
        }
    }
}

fn plain(payload: usize) -> Datagram {
    Datagram {
        v6: false,
        port: 53,
        class: 0,
        ttl: 64,
        flags: 0,
        id: 9,
        payload: vec![7; payload],
        odd: Odd::No,
    }
}

fn counts(datagrams: &[Datagram]) -> Vec<usize> {
    let frames: Vec<_> = datagrams.iter().map(Datagram::frame).collect();
    join(&frames).into_iter().map(|(_, _, count)| count).collect()
}

#[test]
fn a_flow_is_joined_up_to_the_limits() {
    let flow = |payload, count: u16| -> Vec<_> {
        (0..count)
            .map(|n| Datagram {
                id: n,
                ..plain(payload)
            })
            .collect()
    };
    assert_eq!(counts(&flow(22, 70)), [64, 6]);
    // 45 of these have 65,278 bytes with their headers.
    assert_eq!(counts(&flow(1450, 50)), [45, 5]);
    let mut short = flow(22, 4);
    short[1].payload.pop();
    assert_eq!(counts(&short), [2, 2]);
    short[3].payload.push(1);
    assert_eq!(counts(&short), [2, 1, 1]);
}

#[test]
fn what_differs_or_is_odd_is_left_alone() {
    let next = Datagram { id: 10, ..plain(22) };
    assert_eq!(counts(&[plain(22), next.clone()]), [2]);
    let different = [
        Datagram {
            port: 54,
            ..next.clone()
        },
        Datagram {
            class: 3,
            ..next.clone()
        },
        Datagram {
            ttl: 63,
            ..next.clone()
        },
        Datagram {
            flags: 0x4000,
            ..next.clone()
        },
        Datagram {
            flags: 0x2000,
            ..next.clone()
        },
        Datagram {
            id: 11,
            ..next.clone()
        },
        Datagram {
            v6: true,
            ..next.clone()
        },
        Datagram {
            payload: Vec::new(),
            ..next.clone()
        },
    ];
    for other in different {
        assert_eq!(counts(&[plain(22), other.clone()]), [1, 1], "{other:?}");
    }
    for odd in [
        Odd::Padding,
        Odd::OpenSum,
        Odd::HeaderChecksum,
        Odd::UdpLength,
        Odd::Tcp,
        Odd::Cut,
    ] {
        let other = Datagram { odd, ..next.clone() };
        assert_eq!(counts(&[plain(22), other.clone()]), [1, 1], "{odd:?}");
        assert_eq!(
            counts(&[
                other,
                Datagram {
                    id: 11,
                    ..next.clone()
                }
            ]),
            [1, 1],
            "{odd:?}"
        );
    }
    // Where fragmenting is forbidden the identification is free.
    let free = |id| Datagram {
        id,
        flags: 0x4000,
        ..plain(22)
    };
    assert_eq!(counts(&[free(0), free(0), free(77)]), [3]);
}
