//! The packet path allocates nothing: once a flow is cached, and for packets that are
//! dropped.

use trinic_switch::{DropReason, Offload, Output, Packet, PortId, Verdict};

use crate::counting;
use crate::packets::{Pkt, ack, pkt, syn, udp};
use crate::support::{Card, INTERNET, from_internet};

const PACKETS: usize = 10_000;

/// Sends each frame in turn, 10,000 in all, and returns the number of allocations on the way.
fn allocations(card: &mut Card, frames: &[(PortId, Vec<u8>)], expected: fn(Verdict) -> bool) -> u64 {
    let mut out = Output::new();
    let mut buffer = [0; 2048];
    let before = counting::taken();
    for (port, frame) in frames.iter().cycle().take(PACKETS) {
        let window = &mut buffer[..frame.len()];
        window.copy_from_slice(frame);
        let mut packet = Packet {
            total_len: frame.len(),
            window,
            offload: Offload::default(),
            shape: None,
        };
        let verdict = card.switch.process(card.now, *port, &mut packet, &mut out);
        assert!(expected(verdict), "{verdict:?}");
    }
    counting::taken() - before
}

fn at(port: u32, packet: &Pkt) -> (PortId, Vec<u8>) {
    (PortId(port), packet.frame())
}

#[test]
fn the_allocator_counts() {
    let before = counting::taken();
    drop(std::hint::black_box(Vec::<u8>::with_capacity(100)));
    assert_eq!(counting::taken() - before, 1);
}

#[test]
fn cached_packets_allocate_nothing() {
    let (a, b, outside) = ("10.0.1.10", "10.0.1.20", "203.0.113.9");
    let mut card = Card::new();
    // TCP and UDP inside the VPC, and TCP that the gateway translates both ways.
    card.arrives(&pkt(1, a, b, syn(40_000, 80)), PortId(2));
    card.arrives(&from_internet(outside, "198.18.0.10", syn(50_000, 80)), PortId(1));
    let flows = [
        at(1, &pkt(1, a, b, ack(40_000, 80)).payload(1_000)),
        at(2, &pkt(2, b, a, ack(80, 40_000)).payload(1_000)),
        at(1, &pkt(1, a, b, udp(40_000, 53)).payload(100)),
        at(2, &pkt(2, b, a, udp(53, 40_000)).payload(100)),
        at(
            INTERNET.0,
            &from_internet(outside, "198.18.0.10", ack(50_000, 80)).payload(900),
        ),
        at(1, &pkt(1, a, outside, ack(80, 50_000)).payload(900)),
    ];
    let forwarded = |verdict| matches!(verdict, Verdict::Forward { .. });
    let first = allocations(&mut card, &flows, forwarded);
    assert!(first > 0, "the first packets make room for the flows");
    let cached = card.switch.cached_flows("eni-a");
    assert_eq!(cached, 3);
    assert_eq!(allocations(&mut card, &flows, forwarded), 0);
    assert_eq!(card.switch.cached_flows("eni-a"), cached);
}

#[test]
fn batches_of_cached_packets_allocate_nothing() {
    let mut card = Card::new();
    card.arrives(&pkt(1, "10.0.1.10", "10.0.1.20", syn(40_000, 80)), PortId(2));
    let frame = pkt(1, "10.0.1.10", "10.0.1.20", ack(40_000, 80)).frame();
    let mut windows = vec![frame.clone(); 100];
    let mut packets: Vec<_> = windows
        .iter_mut()
        .map(|window| Packet {
            total_len: window.len(),
            window,
            offload: Offload::default(),
            shape: None,
        })
        .collect();
    let mut verdicts = [Verdict::Replied; 100];
    let mut out = Output::new();
    let mut taken = [0; 2];
    for taken in &mut taken {
        for packet in &mut packets {
            packet.window.copy_from_slice(&frame);
        }
        let before = counting::taken();
        card.switch.process_batch(
            card.now,
            PortId(1),
            &mut packets,
            &mut verdicts,
            &mut out,
            |_, _| {},
        );
        *taken = counting::taken() - before;
        assert_eq!(verdicts, [Verdict::Forward { to: PortId(2) }; 100]);
    }
    assert!(taken[0] > 0, "the first packet makes room for the flow");
    assert_eq!(taken[1], 0);
}

#[test]
fn dropped_packets_allocate_nothing() {
    let mut card = Card::new();
    let closed = pkt(1, "10.0.1.10", "10.0.1.20", syn(1, 81));
    let spoofed = pkt(1, "10.0.1.99", "10.0.1.20", syn(1, 80));
    let nowhere = pkt(1, "10.0.1.10", "10.0.1.77", udp(1, 2));
    let frames = [
        at(1, &closed),
        at(1, &spoofed),
        at(1, &nowhere),
        (PortId(1), vec![0xff; 10]),
    ];
    let dropped = |verdict| {
        matches!(
            verdict,
            Verdict::Drop(
                DropReason::SecurityGroupInbound
                    | DropReason::SourceAddress
                    | DropReason::NoSuchAddress
                    | DropReason::Malformed
            )
        )
    };
    let first = allocations(&mut card, &frames, dropped);
    assert!(
        first <= 3,
        "{first}: the sender's gate remembers the connection that it let out"
    );
    assert_eq!(allocations(&mut card, &frames, dropped), 0);
}
