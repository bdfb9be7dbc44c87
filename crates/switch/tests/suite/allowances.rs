//! Allowances: each with its counter and its reason, in the cache and in the walk, for packets and super-frames.

use std::time::Duration;

use trinic_switch::tables::{Allowances, Bandwidth};
use trinic_switch::{Config, DropReason, Offload, PortId, Verdict};

use crate::packets::{Pkt, ack, pkt, syn, udp};
use crate::support::Card;

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";

/// With the flow cache and without.
fn cards() -> [Card; 2] {
    [262_144, 0].map(|cached_flows| {
        Card::with(Config {
            cached_flows,
            ..Config::default()
        })
    })
}

fn allow(card: &mut Card, id: &str, allowances: Allowances) {
    card.edit_interface(id, |interface| interface.allowances = Some(Box::new(allowances)));
}

/// Sends a packet until it is dropped; how often it passed, and why no more.
fn until_dropped(card: &mut Card, packet: &Pkt) -> (u64, DropReason) {
    for passed in 0..100_000 {
        match card.send(packet).verdict {
            Verdict::Drop(reason) => return (passed, reason),
            Verdict::Forward { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("never dropped");
}

/// A frame of 1,000 bytes to a port that is open to all.
fn thousand() -> Pkt {
    pkt(1, A, B, udp(7, 53)).payload(1_000 - 42)
}

#[test]
fn bandwidth_out() {
    for mut card in cards() {
        // A megabyte a second: a frame takes a millisecond, so that one is free and ten are queued.
        let bandwidth_out = Some(Bandwidth::steady(8_000_000));
        let allowances = Allowances {
            bandwidth_out,
            ..Allowances::default()
        };
        allow(&mut card, "eni-a", allowances);
        let (passed, reason) = until_dropped(&mut card, &thousand());
        assert_eq!((passed, reason), (11, DropReason::BandwidthOutAllowance));
        let counters = card.counters("eni-a");
        assert_eq!(counters.bw_out_allowance_exceeded, 10 + 1);
        assert_eq!(counters.dropped(DropReason::BandwidthOutAllowance), 1);
        assert_eq!(
            (counters.bw_in_allowance_exceeded, counters.pps_allowance_exceeded),
            (0, 0)
        );
        assert_eq!(card.counters("eni-b").packets_in, 11);
        // The other direction has its own.
        card.arrives(&thousand().answer(2), PortId(1));
        // One more each millisecond.
        card.wait(Duration::from_millis(3));
        assert_eq!(until_dropped(&mut card, &thousand()).0, 3);
        // A rest makes up for everything, and not for more.
        card.wait(Duration::from_secs(5));
        assert_eq!(until_dropped(&mut card, &thousand()).0, 11);
    }
}

#[test]
fn bandwidth_in() {
    for mut card in cards() {
        let bandwidth_in = Some(Bandwidth::steady(8_000_000));
        let allowances = Allowances {
            bandwidth_in,
            ..Allowances::default()
        };
        allow(&mut card, "eni-b", allowances);
        let (passed, reason) = until_dropped(&mut card, &thousand());
        assert_eq!((passed, reason), (11, DropReason::BandwidthInAllowance));
        // It is the receiver's, and the packet that is dropped is neither edited nor delivered.
        let counters = card.counters("eni-b");
        assert_eq!(counters.bw_in_allowance_exceeded, 10 + 1);
        assert_eq!(counters.dropped(DropReason::BandwidthInAllowance), 1);
        assert_eq!(counters.packets_in, 11);
        assert_eq!(card.counters("eni-a").dropped_total(), 0);
        let packet = thousand();
        assert_eq!(card.send(&packet).frame, packet.frame());
    }
}

#[test]
fn packets_of_both_directions() {
    for mut card in cards() {
        let allowances = Allowances {
            packets_per_s: Some(1_000),
            ..Allowances::default()
        };
        allow(&mut card, "eni-a", allowances);
        let packet = thousand();
        for _ in 0..5 {
            card.arrives(&packet, PortId(2));
            card.arrives(&packet.answer(2), PortId(1));
        }
        card.arrives(&packet, PortId(2));
        card.drops(&packet, DropReason::PacketsAllowance, "eni-a");
        card.drops(&packet.answer(2), DropReason::PacketsAllowance, "eni-a");
        let counters = card.counters("eni-a");
        assert_eq!(counters.pps_allowance_exceeded, 10 + 2);
        assert_eq!(counters.dropped(DropReason::PacketsAllowance), 2);
        assert_eq!((counters.packets_out, counters.packets_in), (7, 5));
    }
}

/// For a port whose frames can wait where they are.
#[test]
fn a_port_is_asked_for_no_more_than_its_rate() {
    for mut card in cards() {
        let allowances = Allowances {
            packets_per_s: Some(1_000),
            ..Allowances::default()
        };
        allow(&mut card, "eni-a", allowances);
        let room = |card: &mut Card, port| card.switch.send_room(card.now, PortId(port), || true);
        assert_eq!(room(&mut card, 1), 1);
        card.arrives(&thousand(), PortId(2));
        assert_eq!(room(&mut card, 1), 0);
        assert_eq!(card.counters("eni-a").pps_allowance_exceeded, 0);
        for waited in 1..5 {
            card.wait(Duration::from_millis(1));
            assert_eq!(room(&mut card, 1), 1);
            card.arrives(&thousand(), PortId(2));
            assert_eq!(card.counters("eni-a").pps_allowance_exceeded, waited);
            assert_eq!(room(&mut card, 1), 0);
        }
        assert_eq!(card.counters("eni-a").dropped_total(), 0);
        // Whoever has no allowances, or does not exist, does not wait.
        assert_eq!(
            (room(&mut card, 2), room(&mut card, 99)),
            (usize::MAX, usize::MAX)
        );
    }
}

/// A super-frame of ten segments is ten packets, each with its headers.
#[test]
fn super_frames_count_as_their_segments() {
    for mut card in cards() {
        let super_frame = Offload {
            checksum_partial: true,
            gso_size: 1_000,
        };
        let allowances = Allowances {
            packets_per_s: Some(10_000),
            bandwidth_out: Some(Bandwidth::steady(8 * 10_540 * 100)),
            ..Allowances::default()
        };
        allow(&mut card, "eni-a", allowances);
        card.arrives(&pkt(1, A, B, syn(7, 80)), PortId(2));
        card.wait(Duration::from_secs(1));
        let frame = pkt(1, A, B, ack(7, 80)).payload(10_000).frame();
        let send = |card: &mut Card| card.send_frame(PortId(1), &frame, super_frame).verdict;
        // Ten milliseconds of bandwidth, and one of the packets: the bandwidth is queued then, and full.
        assert_eq!(send(&mut card), Verdict::Forward { to: PortId(2) });
        assert_eq!(send(&mut card), Verdict::Forward { to: PortId(2) });
        assert_eq!(send(&mut card), Verdict::Drop(DropReason::BandwidthOutAllowance));
        let counters = card.counters("eni-a");
        assert_eq!(counters.bw_out_allowance_exceeded, 10 + 10);
        // Ten packets are a millisecond's, so that the second frame is queued for them too.
        assert_eq!(counters.pps_allowance_exceeded, 10);
        assert_eq!(counters.dropped(DropReason::BandwidthOutAllowance), 1);
    }
}

#[test]
fn tracked_connections() {
    for mut card in cards() {
        let allowances = Allowances {
            tracked_connections: Some(3),
            ..Allowances::default()
        };
        allow(&mut card, "eni-b", allowances);
        for port in 0..3 {
            card.arrives(&pkt(1, A, B, udp(port, 53)), PortId(2));
        }
        card.drops(&pkt(1, A, B, udp(3, 53)), DropReason::ConntrackFull, "eni-b");
        let counters = card.counters("eni-b");
        assert_eq!((counters.conntrack_entries, counters.conntrack_limit), (3, 3));
        assert_eq!(counters.conntrack_allowance_available, 0);
        assert_eq!(counters.conntrack_allowance_exceeded, 1);
        // Those that are there go on, and there is room again when one is over.
        card.arrives(&pkt(1, A, B, udp(2, 53)), PortId(2));
        card.wait(Duration::from_secs(31));
        card.switch.expire(card.now);
        assert_eq!(card.counters("eni-b").conntrack_allowance_available, 3);
        card.arrives(&pkt(1, A, B, udp(3, 53)), PortId(2));
        card.edit_interface("eni-b", |interface| interface.allowances = None);
        assert_eq!(card.counters("eni-b").conntrack_limit, 262_144);
    }
}

#[test]
fn packets_to_link_local_services() {
    for mut card in cards() {
        let allowances = Allowances {
            link_local_packets_per_s: Some(3),
            ..Allowances::default()
        };
        allow(&mut card, "eni-a", allowances);
        let ask = pkt(1, A, "169.254.169.254", syn(1, 80));
        for _ in 0..3 {
            assert_eq!(card.send(&ask).verdict, Verdict::Service { port: PortId(1) });
        }
        card.drops(&ask, DropReason::LinkLocalAllowance, "eni-a");
        assert_eq!(card.counters("eni-a").linklocal_allowance_exceeded, 1);
        // Others have their own, and other packets none.
        assert_eq!(
            card.send(&pkt(2, B, "169.254.169.254", syn(1, 80))).verdict,
            Verdict::Service { port: PortId(2) }
        );
        card.arrives(&thousand(), PortId(2));
        card.wait(Duration::from_millis(400));
        assert_eq!(card.send(&ask).verdict, Verdict::Service { port: PortId(1) });
    }
}

/// A change of something else leaves the buckets as they are.
#[test]
fn other_changes_fill_no_bucket() {
    let mut card = Card::new();
    let allowances = Allowances {
        packets_per_s: Some(1_000),
        link_local_packets_per_s: Some(1),
        ..Allowances::default()
    };
    allow(&mut card, "eni-a", allowances);
    until_dropped(&mut card, &thousand());
    card.edit_interface("eni-a", |interface| interface.source_dest_check = false);
    card.drops(&thousand(), DropReason::PacketsAllowance, "eni-a");
    card.edit_interface("eni-a", |interface| interface.allowances = None);
    card.arrives(&thousand(), PortId(2));
}

/// A trace asks the allowances and takes nothing of them.
#[test]
fn traces_name_the_stage() {
    let mut card = Card::new();
    let allowances = || Allowances {
        packets_per_s: Some(1_000),
        ..Allowances::default()
    };
    let frame = thousand().frame();
    let trace = |card: &Card| {
        let trace = card
            .switch
            .trace(card.now, PortId(1), &frame, frame.len(), Offload::default());
        trace
            .steps
            .last()
            .map(|step| (step.stage.name(), step.event.clone()))
    };
    use trinic_switch::trace::Event::Dropped;
    for (id, stage) in [("eni-a", "allowance-out"), ("eni-b", "allowance-in")] {
        allow(&mut card, id, allowances());
        for _ in 0..20 {
            assert_ne!(trace(&card).map(|(stage, _)| stage), Some(stage));
        }
        until_dropped(&mut card, &thousand());
        assert_eq!(trace(&card), Some((stage, Dropped(DropReason::PacketsAllowance))));
        card.edit_interface(id, |interface| interface.allowances = None);
    }
}

/// Tables from before there were allowances have none.
#[test]
fn older_tables_have_no_allowances() {
    let interface = crate::support::interface("eni-a", 1, "subnet-1", A, &[]);
    let mut json = serde_json::to_value(&interface).unwrap();
    json.as_object_mut().unwrap().remove("allowances");
    let read: trinic_switch::tables::Interface = serde_json::from_value(json).unwrap();
    assert_eq!(read, interface);
}
