use super::*;

const GIGABIT: u64 = 1_000_000_000;

fn port(config: LinkConfig) -> Port {
    Port::new(config, false, Random::fork(1, "port"))
}

fn at(ns: u64) -> Instant {
    Instant::from_nanos(ns)
}

fn arrival(fate: Fate) -> u64 {
    match fate {
        Fate::Arrives { at, .. } => at.as_nanos(),
        Fate::Dropped(cause) => panic!("dropped: {cause:?}"),
    }
}

#[test]
fn a_datagram_takes_its_time_on_the_wire_and_the_delay() {
    let mut port = port(LinkConfig::new(GIGABIT, Duration::from_micros(10)));
    // 1,250 bytes are 10,000 bits: 10 µs at 1 Gbit/s.
    assert_eq!(arrival(port.offer(at(0), 1_250, Ecn::NotEct)), 20_000);
    assert_eq!(arrival(port.offer(at(0), 1_250, Ecn::NotEct)), 30_000);
    assert_eq!(arrival(port.offer(at(25_000), 1_250, Ecn::NotEct)), 45_000);
}

#[test]
fn short_frames_on_fast_links_are_not_rounded_away() {
    let mut port = port(LinkConfig::new(100 * GIGABIT, Duration::ZERO).with_queue(1 << 30, None));
    let mut last = 0;
    for _ in 0..1_000_000 {
        last = arrival(port.offer(at(0), 84, Ecn::NotEct));
    }
    assert_eq!(last, 6_720_000);
}

#[test]
fn the_queue_drops_what_does_not_fit_and_marks_above_its_mark() {
    let config = LinkConfig::new(GIGABIT, Duration::ZERO).with_queue(5_000, Some(2_000));
    let mut port = port(config);
    let marks: Vec<bool> = (0..5)
        .map(|_| {
            matches!(
                port.offer(at(0), 1_000, Ecn::Ect0),
                Fate::Arrives { marked: true, .. }
            )
        })
        .collect();
    assert_eq!(marks, [false, false, false, true, true]);
    let sixth = port.offer(at(0), 1_000, Ecn::Ect0);
    assert_eq!(sixth, Fate::Dropped(DropCause::QueueFull));
    // One has left: there is room for one, which is not marked without ECN.
    let seventh = port.offer(at(8_000), 1_000, Ecn::NotEct);
    assert!(matches!(seventh, Fate::Arrives { marked: false, .. }));
    let stats = port.stats(at(8_000));
    assert_eq!((stats.max_depth_bytes, stats.marked), (5_000, 2));
    assert_eq!(stats.dropped.of(DropCause::QueueFull), 1);
    assert_eq!(stats.mean_depth_bytes, 5_000);
    // 5,000 for 8 µs, then 5,000 falling by 1,000 each 8 µs to nothing, then nothing.
    assert_eq!(
        port.stats(at(80_000)).mean_depth_bytes,
        (5 + 5 + 4 + 3 + 2 + 1) * 100
    );
}

#[test]
fn a_cut_empties_the_queue_and_starts_another_epoch() {
    let mut port = port(LinkConfig::new(GIGABIT, Duration::ZERO));
    for _ in 0..10 {
        arrival(port.offer(at(0), 1_250, Ecn::NotEct));
    }
    let before = port.epoch();
    port.set_up(at(5_000), false);
    assert_ne!(port.epoch(), before);
    assert_eq!(port.depth_bytes(at(5_000)), 0);
    let down = port.offer(at(6_000), 1_250, Ecn::NotEct);
    assert_eq!(down, Fate::Dropped(DropCause::LinkDown));
    assert_eq!(port.depth_bytes(at(6_000)), 1_250, "sending takes its time");
    port.set_up(at(100_000), true);
    assert_eq!(arrival(port.offer(at(100_000), 1_250, Ecn::NotEct)), 110_000);
}

#[test]
fn jitter_keeps_the_order_and_reordering_does_not() {
    let order = |config: LinkConfig| {
        let mut port = port(config);
        let times: Vec<u64> = (0..1_000_u64)
            .map(|i| arrival(port.offer(at(i * 100), 100, Ecn::NotEct)))
            .collect();
        times.is_sorted()
    };
    let fast = LinkConfig::new(100 * GIGABIT, Duration::from_micros(1));
    assert!(order(fast.clone().with_jitter(Duration::from_micros(50))));
    assert!(!order(fast.with_reordering(10_000, Duration::from_micros(50))));
}

#[test]
fn a_port_says_when_it_will_have_room() {
    let mut port = port(LinkConfig::new(GIGABIT, Duration::ZERO));
    for _ in 0..4 {
        arrival(port.offer(at(0), 1_250, Ecn::NotEct));
    }
    assert_eq!(port.below(5_000).as_nanos(), 10_000);
    assert_eq!(port.below(2_500).as_nanos(), 30_000);
    assert_eq!(port.below(1).as_nanos(), 40_000);
}

#[test]
fn corruption_changes_a_payload() {
    let mut port = port(LinkConfig::new(GIGABIT, Duration::ZERO));
    for _ in 0..100 {
        let mut payload = [0_u8; 10];
        port.flips(&mut payload);
        let bits: u32 = payload.iter().map(|byte| byte.count_ones()).sum();
        assert!((1..=7).contains(&bits), "{bits} bits");
    }
}
