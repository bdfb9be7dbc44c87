//! What holds in any world: nothing gets lost uncounted, queues keep their bounds, links keep their rate, and
//! the same seed gives the same trace.

use std::time::Duration;

use proptest::prelude::*;
use trinic_sim::topology::{leaf_spine, pair_with_paths, star};
use trinic_sim::{
    Change, Datagram, Direction, DropCause, Ecn, Endpoint, HostId, Instant, LinkConfig, LinkId, Topology,
    Transmit, World, WorldConfig,
};

const GIGABIT: u64 = 1_000_000_000;

/// Sends numbered datagrams to one host as fast as the link takes them, or at a fixed gap, and notes what it
/// gets.
#[derive(Default)]
struct Source {
    to: HostId,
    left: u32,
    next: u64,
    payload_bytes: usize,
    ports: u16,
    gap: Duration,
    at: Instant,
    got: Vec<Got>,
}

struct Got {
    at: Instant,
    source: HostId,
    port: u16,
    number: u64,
    ecn: Ecn,
    payload: Vec<u8>,
}

impl Source {
    fn to(to: HostId, count: u32, payload_bytes: usize) -> Self {
        Self {
            to,
            left: count,
            payload_bytes,
            ports: 1,
            ..Self::default()
        }
    }

    fn due(&self, now: Instant) -> bool {
        self.left > 0 && self.at <= now
    }
}

impl Endpoint for Source {
    fn handle_datagram(&mut self, now: Instant, datagram: &Datagram) {
        let number = u64::from_be_bytes(datagram.payload[..8].try_into().expect("eight bytes"));
        self.got.push(Got {
            at: now,
            source: datagram.source,
            port: datagram.source_port,
            number,
            ecn: datagram.ecn,
            payload: datagram.payload.clone(),
        });
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        (self.left > 0 && !self.gap.is_zero()).then_some(self.at)
    }

    fn poll_transmit(&mut self, now: Instant, payload: &mut Vec<u8>) -> Option<Transmit> {
        if !self.due(now) {
            return None;
        }
        self.left -= 1;
        self.at = now + self.gap;
        payload.extend_from_slice(&self.next.to_be_bytes());
        payload.resize(self.payload_bytes, 0);
        let port = 1_000 + u16::try_from(self.next % u64::from(self.ports)).expect("below a u16");
        self.next += 1;
        Some(Transmit {
            destination: self.to,
            source_port: port,
            destination_port: 4791,
            ecn: Ecn::Ect0,
            virtual_bytes: 0,
        })
    }
}

fn us(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn at_us(count: u64) -> Instant {
    Instant::ZERO + us(count)
}

fn two_hosts(config: &LinkConfig) -> (Topology, HostId, HostId, LinkId) {
    let mut topology = Topology::new();
    let (a, b) = (topology.host("a"), topology.host("b"));
    let link = topology.link(a, b, config);
    (topology, a, b, link)
}

/// A link with some of every fault.
fn faults() -> impl Strategy<Value = LinkConfig> {
    let ppm = || prop_oneof![Just(0_u32), 0..200_000_u32];
    (
        ppm(),
        ppm(),
        ppm(),
        ppm(),
        0..50_u64,
        2_000..60_000_u64,
        1..40_u64,
    )
        .prop_map(|(loss, twice, late, flipped, jitter_us, queue_bytes, gigabits)| {
            LinkConfig::new(gigabits * GIGABIT, us(5))
                .with_queue(queue_bytes, Some(queue_bytes / 2))
                .with_loss(loss)
                .with_duplicates(twice)
                .with_reordering(late, us(100))
                .with_corruption(flipped)
                .with_jitter(us(jitter_us))
        })
}

/// A leaf-spine fabric with faults, in which each host sends to the next and links fail and come back.
fn busy_world(seed: u64, uplink: &LinkConfig, verify: bool, count: u32) -> (World<Source>, Vec<LinkId>) {
    let edge = LinkConfig::new(10 * GIGABIT, us(1));
    let (topology, fabric) = leaf_spine(3, 2, 2, &edge, uplink);
    let config = WorldConfig {
        reroute: Some(us(200)),
        verify_checksums: verify,
        ..WorldConfig::new(seed)
    };
    let mut world = World::new(&topology, config);
    let hosts: Vec<HostId> = fabric.hosts.concat();
    for (index, host) in hosts.iter().enumerate() {
        let to = hosts[(index + 2) % hosts.len()];
        let source = Source {
            ports: 50,
            ..Source::to(to, count, 1_000)
        };
        world.start(*host, source);
    }
    let uplinks = fabric.uplinks.concat();
    for (index, link) in (0_u64..).zip(&uplinks) {
        world.schedule(at_us(20 + 30 * index), *link, None, Change::Down);
        world.schedule(at_us(60 + 35 * index), *link, None, Change::Up);
    }
    let all = [fabric.host_links.concat(), uplinks].concat();
    (world, all)
}

fn assert_conserved(world: &World<Source>, links: &[LinkId], seed: u64) {
    let totals = world.totals();
    assert_eq!(
        totals.sent + totals.duplicated,
        totals.delivered + totals.dropped.total() + world.in_flight(),
        "seed {seed} at {:?}",
        world.now()
    );
    let mut on_links = 0;
    for link in links {
        for direction in [Direction::Forward, Direction::Backward] {
            let stats = world.link_stats(*link, direction);
            let ended = stats.delivered + stats.dropped.total();
            let began = stats.offered + stats.duplicated;
            assert!(
                began >= ended,
                "seed {seed}: more came out than went in: {stats:?}"
            );
            on_links += began - ended;
        }
    }
    assert_eq!(on_links, world.in_flight(), "seed {seed} at {:?}", world.now());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_datagram_is_delivered_or_counted_as_dropped(
        seed: u64, uplink in faults(), verify: bool, crash in 0..6_u32, crash_us in 0..200_u64,
    ) {
        let (mut world, links) = busy_world(seed, &uplink, verify, 300);
        world.run_until(at_us(crash_us));
        world.crash(HostId(crash));
        assert_conserved(&world, &links, seed);
        for step in 1..20 {
            world.run_until(at_us(crash_us + step * 25));
            assert_conserved(&world, &links, seed);
        }
        world.start(HostId(crash), Source::to(HostId((crash + 1) % 6), 10, 500));
        while world.step().is_some() {}
        prop_assert_eq!(world.in_flight(), 0);
        assert_conserved(&world, &links, seed);
    }

    #[test]
    fn the_same_seed_gives_the_same_trace_and_another_seed_another(seed: u64, uplink in faults()) {
        let run = |seed| {
            let (mut world, _) = busy_world(seed, &uplink, false, 100);
            while world.step().is_some() {}
            (world.trace_hash(), world.totals(), world.events_done(), world.now())
        };
        let first = run(seed);
        prop_assert_eq!(first, run(seed));
        prop_assert_ne!(first.0, run(seed ^ 1).0, "at least the paths differ");
    }

    #[test]
    fn a_queue_never_exceeds_its_bound(seed: u64, queue_bytes in 2_000..40_000_u64, senders in 2..12_u32) {
        let edge = LinkConfig::new(GIGABIT, us(2)).with_queue(queue_bytes, None);
        let (topology, parts) = star(senders, &edge);
        let mut world = World::new(&topology, WorldConfig::new(seed));
        for sender in &parts.senders {
            world.start(*sender, Source::to(parts.receiver, 50, 1_000));
        }
        while world.step().is_some() {
            let depth = world.link_depth_bytes(parts.receiver_link, Direction::Backward);
            prop_assert!(depth <= queue_bytes, "{depth} bytes queued, seed {seed}");
        }
        let stats = world.link_stats(parts.receiver_link, Direction::Backward);
        prop_assert!(stats.max_depth_bytes <= queue_bytes && stats.mean_depth_bytes <= stats.max_depth_bytes);
        // The hosts' own queues have room for less than this and drop nothing.
        prop_assert_eq!(stats.delivered + stats.dropped.of(DropCause::QueueFull), u64::from(senders) * 50);
    }

    #[test]
    fn a_link_without_reordering_keeps_the_order(
        seed: u64, jitter_us in 0..500_u64, loss in 0..100_000_u32, twice in 0..100_000_u32,
    ) {
        let config = LinkConfig::new(10 * GIGABIT, us(10))
            .with_jitter(us(jitter_us))
            .with_loss(loss)
            .with_duplicates(twice);
        let (topology, a, b, _) = two_hosts(&config);
        let mut world = World::new(&topology, WorldConfig::new(seed));
        world.start(a, Source::to(b, 500, 800));
        world.start(b, Source::default());
        while world.step().is_some() {}
        let got = &world.endpoint(b).unwrap().got;
        prop_assert!(got.is_sorted_by_key(|got| got.number), "seed {seed}");
    }

    #[test]
    fn a_link_gives_its_rate_and_no_more(seed: u64, megabits in 10..100_000_u64, payload in 18..9_000_usize) {
        let config = LinkConfig::new(megabits * 1_000_000, us(3));
        let (topology, a, b, link) = two_hosts(&config);
        let mut world = World::new(&topology, WorldConfig::new(seed));
        world.start(a, Source::to(b, 200, payload));
        world.start(b, Source::default());
        while world.step().is_some() {}
        let stats = world.link_stats(link, Direction::Forward);
        prop_assert_eq!(stats.delivered_bytes, 200 * (u64::try_from(payload).unwrap() + 66));
        let sent_ps = u128::from(stats.delivered_bytes) * 8_000_000 / u128::from(megabits);
        let took_ps = (world.now() - at_us(3)).as_nanos() * 1_000;
        // A picosecond for each datagram and a nanosecond at the end are rounding.
        prop_assert!(took_ps + 200 >= sent_ps && took_ps <= sent_ps + 1_000, "{took_ps} {sent_ps}");
    }
}

#[test]
fn a_port_sticks_to_its_path_and_many_ports_use_all() {
    let config = LinkConfig::new(10 * GIGABIT, us(1));
    for ports in [1_u16, 400] {
        let (topology, pair) = pair_with_paths(8, &config, &config);
        let mut world = World::new(&topology, WorldConfig::new(3));
        world.start(
            pair.left,
            Source {
                ports,
                ..Source::to(pair.right, 4_000, 100)
            },
        );
        world.start(pair.right, Source::default());
        while world.step().is_some() {}
        let on = |path: &LinkId| world.link_stats(*path, Direction::Forward).delivered;
        let counts: Vec<u64> = pair.paths.iter().map(on).collect();
        let used = counts.iter().filter(|count| **count > 0).count();
        assert_eq!(used, if ports == 1 { 1 } else { 8 }, "{counts:?}");
        assert_eq!(counts.iter().sum::<u64>(), 4_000);
    }
}

#[test]
fn a_part_keeps_its_draws_when_another_is_added() {
    let run = |extra: bool| {
        let config = LinkConfig::new(GIGABIT, us(1)).with_loss(200_000);
        let (mut topology, a, b, _) = two_hosts(&config);
        if extra {
            let (c, d) = (topology.host("c"), topology.host("d"));
            topology.link(c, d, &config);
        }
        let mut world = World::new(&topology, WorldConfig::new(9));
        if extra {
            world.start(HostId(2), Source::to(HostId(3), 100, 700));
        }
        world.start(a, Source::to(b, 200, 700));
        world.start(b, Source::default());
        while world.step().is_some() {}
        let got = &world.endpoint(b).unwrap().got;
        got.iter().map(|got| got.number).collect::<Vec<u64>>()
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_dead_path_swallows_until_the_switches_go_around_it() {
    for (reroute, swallows) in [(None, true), (Some(us(50)), false)] {
        let config = LinkConfig::new(GIGABIT, us(1));
        let (topology, pair) = pair_with_paths(4, &config, &config);
        let mut world = World::new(
            &topology,
            WorldConfig {
                reroute,
                ..WorldConfig::new(5)
            },
        );
        world.schedule(at_us(0), pair.paths[2], None, Change::Down);
        world.run_until(at_us(100));
        world.start(
            pair.left,
            Source {
                ports: 100,
                ..Source::to(pair.right, 400, 100)
            },
        );
        world.start(pair.right, Source::default());
        while world.step().is_some() {}
        let lost = world.totals().dropped.of(DropCause::LinkDown);
        if swallows {
            assert!((50..150).contains(&lost), "a quarter of 400: {lost}");
        } else {
            assert_eq!(lost, 0);
            assert_eq!(world.totals().delivered, 400);
        }
    }
}

#[test]
fn a_link_cut_in_one_direction_carries_the_other() {
    let (topology, a, b, link) = two_hosts(&LinkConfig::new(GIGABIT, us(1)));
    let mut world = World::new(&topology, WorldConfig::new(1));
    world.schedule(at_us(0), link, Some(Direction::Forward), Change::Down);
    world.run_until(at_us(1));
    world.start(a, Source::to(b, 10, 100));
    world.start(b, Source::to(a, 10, 100));
    while world.step().is_some() {}
    assert_eq!(world.endpoint(a).unwrap().got.len(), 10);
    assert_eq!(world.endpoint(b).unwrap().got.len(), 0);
    assert!(
        world.now() >= at_us(10),
        "a cut link takes the time of sending: {:?}",
        world.now()
    );
}

#[test]
fn a_mark_tells_of_a_queue() {
    let config = LinkConfig::new(GIGABIT, us(1)).with_queue(100_000, Some(5_000));
    let (topology, parts) = star(4, &config);
    let mut world = World::new(&topology, WorldConfig::new(1));
    world.start(parts.receiver, Source::default());
    for sender in &parts.senders {
        world.start(*sender, Source::to(parts.receiver, 10, 1_000));
    }
    while world.step().is_some() {}
    let got = &world.endpoint(parts.receiver).unwrap().got;
    let marked = got.iter().filter(|got| got.ecn == Ecn::Ce).count();
    assert_eq!(got[0].ecn, Ecn::Ect0);
    let stats = world.link_stats(parts.receiver_link, Direction::Backward);
    assert_eq!(u64::try_from(marked).unwrap(), stats.marked);
    assert!((20..40).contains(&marked), "{marked} of 40");
}

#[test]
fn corruption_reaches_endpoints_or_stops_at_the_card() {
    for verify_checksums in [false, true] {
        let config = LinkConfig::new(GIGABIT, us(1)).with_corruption(100_000);
        let (topology, a, b, link) = two_hosts(&config);
        let config = WorldConfig {
            verify_checksums,
            ..WorldConfig::new(1)
        };
        let mut world = World::new(&topology, config);
        world.start(a, Source::to(b, 1_000, 2_000));
        world.start(b, Source::default());
        while world.step().is_some() {}
        let got = &world.endpoint(b).unwrap().got;
        let wrong = got
            .iter()
            .filter(|got| got.number >= 1_000 || got.payload[8..].iter().any(|byte| *byte != 0));
        let wrong = u64::try_from(wrong.count()).unwrap();
        let corrupted = world.link_stats(link, Direction::Forward).corrupted;
        assert!((70..130).contains(&corrupted));
        let dropped = world.totals().dropped.of(DropCause::Checksum);
        let expected = if verify_checksums {
            (0, corrupted)
        } else {
            (corrupted, 0)
        };
        assert_eq!((wrong, dropped), expected);
    }
}

#[test]
fn a_host_is_asked_only_while_its_link_has_room_and_a_timer_paces_it() {
    let (topology, a, b, link) = two_hosts(&LinkConfig::new(GIGABIT, us(1)));
    let mut world = World::new(&topology, WorldConfig::new(1));
    world.start(a, Source::to(b, 1_000, 1_184));
    assert_eq!(
        world.endpoint(a).unwrap().left,
        1_000 - 15,
        "15 times 1,250 bytes are 17,988 and more"
    );
    world.start(
        b,
        Source {
            gap: us(100),
            ..Source::to(a, 5, 100)
        },
    );
    while world.step().is_some() {}
    let times: Vec<u64> = world
        .endpoint(a)
        .unwrap()
        .got
        .iter()
        .map(|got| got.at.as_nanos())
        .collect();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [100_000; 4]);
    assert!(world.link_stats(link, Direction::Forward).max_depth_bytes < 17_988 + 1_250);
    let got = &world.endpoint(b).unwrap().got;
    assert!(got.iter().all(|got| got.source == a && got.port == 1_000));
}

#[test]
fn a_trace_reads_as_what_happened() {
    let (topology, a, b, _) = two_hosts(&LinkConfig::new(GIGABIT, us(1)));
    let config = WorldConfig {
        trace_text_bytes: 10_000,
        ..WorldConfig::new(1)
    };
    let mut world = World::new(&topology, config);
    world.start(b, Source::default());
    world.start(a, Source::to(b, 1, 100));
    while world.step().is_some() {}
    let lines: Vec<&str> = world.trace_text().lines().collect();
    assert_eq!(lines[0], "0 start host=1");
    assert!(
        lines[2].starts_with("0 send packet=0 host=0 bytes=166 content="),
        "{}",
        lines[2]
    );
    assert_eq!(
        lines[3..],
        [
            "0 queue packet=0 port=0 arrives=2328",
            "2328 deliver packet=0 host=1"
        ]
    );
}
