use super::*;
use crate::topology::{Pair, pair_with_paths, star};
use crate::{
    Change, Direction, Driver, Flow, LinkConfig, LinkId, Pace, Resolution, World, WorldConfig, for_each_seed,
};

const GIGABIT: u64 = 1_000_000_000;

fn us(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn at_ms(count: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(count)
}

fn transport(seed: u64, host: HostId, life: u32) -> SinglePath {
    let random = Random::fork(seed, &format!("host {} life {life}", host.0));
    SinglePath::new(Config::default(), random)
}

/// Two hosts with one path of `path`, on edges that are much faster.
fn pair(seed: u64, path: &LinkConfig) -> (World<SinglePath>, Pair) {
    let edge = LinkConfig::new(100 * GIGABIT, us(1));
    let (topology, pair) = pair_with_paths(1, &edge, path);
    let mut world = World::new(&topology, WorldConfig::new(seed));
    for host in [pair.left, pair.right] {
        world.start(host, transport(seed, host, 0));
    }
    (world, pair)
}

fn flow(pair: &Pair, size_bytes: u32, count: u64, outstanding: u32) -> Flow {
    Flow {
        from: pair.left,
        to: pair.right,
        size_bytes,
        count,
        pace: Pace::Outstanding(outstanding),
        start: Instant::ZERO,
    }
}

fn stats(world: &World<SinglePath>, host: HostId) -> Stats {
    world.endpoint(host).unwrap().stats()
}

fn window_bytes(world: &World<SinglePath>, pair: &Pair) -> u64 {
    world
        .endpoint(pair.left)
        .unwrap()
        .connection(pair.right)
        .unwrap()
        .1
}

/// Cuts a link in one direction for this time, given in microseconds.
fn cut(world: &mut World<SinglePath>, link: LinkId, from_us: u64, to_us: u64) {
    let forward = Some(Direction::Forward);
    world.schedule(Instant::ZERO + us(from_us), link, forward, Change::Down);
    world.schedule(Instant::ZERO + us(to_us), link, forward, Change::Up);
}

#[test]
fn a_clean_path_is_filled_and_nothing_is_sent_twice() {
    let (mut world, pair) = pair(1, &LinkConfig::new(10 * GIGABIT, us(20)));
    let mut driver = Driver::new(1, &[flow(&pair, 64 * 1024, 1_000, 16)]);
    assert!(driver.run(&mut world, at_ms(1_000)));
    driver.ledger().check().unwrap();
    let sender = stats(&world, pair.left);
    assert_eq!(
        (sender.sent_again, sender.timeouts, sender.fast_retransmits),
        (0, 0, 0)
    );
    let goodput = driver.report().goodput_bps();
    // The headers take 1 % (90 bytes for each 8,928), slow start a round trip or two.
    assert!(goodput > 9_500_000_000, "{goodput} bit/s");
}

#[test]
fn a_connection_keeps_one_port_and_so_one_path() {
    let edge = LinkConfig::new(100 * GIGABIT, us(1));
    let (topology, pair) = pair_with_paths(8, &edge, &LinkConfig::new(10 * GIGABIT, us(20)));
    let mut world = World::new(&topology, WorldConfig::new(1));
    for host in [pair.left, pair.right] {
        world.start(host, transport(1, host, 0));
    }
    let mut driver = Driver::new(1, &[flow(&pair, 8_192, 2_000, 64)]);
    assert!(driver.run(&mut world, at_ms(1_000)));
    for direction in [Direction::Forward, Direction::Backward] {
        let used = pair
            .paths
            .iter()
            .filter(|path| world.link_stats(**path, direction).offered > 0);
        assert_eq!(used.count(), 1);
    }
}

#[test]
fn slow_start_doubles_the_window_each_round_trip() {
    // The path is so fast that sending takes no time beside the round trip of 10 ms.
    let (mut world, pair) = pair(1, &LinkConfig::new(400 * GIGABIT, us(4_998)));
    let mut driver = Driver::new(1, &[flow(&pair, 1 << 20, 100, 100)]);
    for (round, segments) in [(1_u64, 10_u64), (2, 20), (3, 40), (4, 80)] {
        // The first round trip opens the connection; the window is looked at in the middle of the next ones.
        driver.run(&mut world, at_ms(10 * round + 5));
        let window = window_bytes(&world, &pair);
        assert_eq!(window / 8_928, segments, "round {round}");
    }
}

#[test]
fn a_loss_in_a_stream_is_mended_without_the_timer_and_halves_the_window() {
    let path = LinkConfig::new(10 * GIGABIT, us(20)).with_queue(4 << 20, None);
    let (mut world, pair) = pair(1, &path);
    // All that is sent in 60 µs is lost: the segments of one message, which takes 54.
    for (at_us, loss) in [(1_000, 1_000_000), (1_060, 0)] {
        let change = Change::Configure(path.clone().with_loss(loss));
        let forward = Some(Direction::Forward);
        world.schedule(Instant::ZERO + us(at_us), pair.paths[0], forward, change);
    }
    let mut driver = Driver::new(1, &[flow(&pair, 64 * 1024, 200, 16)]);
    driver.run(&mut world, Instant::ZERO + us(990));
    let before = window_bytes(&world, &pair);
    assert!(driver.run(&mut world, at_ms(1_000)));
    driver.ledger().check().unwrap();
    let sender = stats(&world, pair.left);
    assert_eq!((sender.fast_retransmits, sender.timeouts), (1, 0));
    assert!(
        driver.report().ended < at_ms(150),
        "sooner than the shortest timeout"
    );
    let after = window_bytes(&world, &pair);
    assert!(after < before, "{after} {before}");
    // Go-back-N: all that arrived behind the hole was thrown away and came again, packed into fewer segments.
    let thrown = stats(&world, pair.right).out_of_order;
    let again = sender.sent_again;
    assert!(thrown > 100 && again > 100, "{thrown} thrown away, {again} again");
}

#[test]
fn a_lost_tail_waits_for_the_shortest_timeout() {
    let (mut world, pair) = pair(1, &LinkConfig::new(10 * GIGABIT, us(20)));
    // One message at a time; the path is cut while one of them is on its way.
    cut(&mut world, pair.paths[0], 1_000, 1_100);
    let mut driver = Driver::new(1, &[flow(&pair, 1_000, 100, 1)]);
    assert!(driver.run(&mut world, at_ms(10_000)));
    let report = driver.report();
    assert!(report.latency_ns.max() > 200_000_000 && report.latency_ns.max() < 202_000_000);
    assert_eq!(stats(&world, pair.left).timeouts, 1);
}

#[test]
fn timeouts_double_and_the_connection_fails_in_the_end() {
    let (mut world, pair) = pair(1, &LinkConfig::new(10 * GIGABIT, us(20)));
    let mut driver = Driver::new(1, &[flow(&pair, 1_000, 3, 3)]);
    driver.run(&mut world, Instant::ZERO + us(60));
    world.schedule(world.now(), pair.paths[0], None, Change::Down);
    let mut times = Vec::new();
    while let Some(at) = world.next_event() {
        let before = stats(&world, pair.left).timeouts;
        driver.run(&mut world, at);
        if stats(&world, pair.left).timeouts > before {
            times.push(world.now().as_nanos() / 1_000_000);
        }
    }
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(
        gaps[..5],
        [400, 800, 1_600, 3_200, 6_400],
        "after the first of 200 ms"
    );
    assert!(gaps[9..].iter().all(|gap| *gap == 120_000), "{gaps:?}");
    assert_eq!(times.len(), 16);
    assert_eq!(driver.ledger().count(Resolution::Failed), 3);
    driver.ledger().check().unwrap();
}

#[test]
fn a_receiver_that_starts_again_resets_the_connection() {
    let (mut world, pair) = pair(1, &LinkConfig::new(10 * GIGABIT, us(20)));
    let mut driver = Driver::new(1, &[flow(&pair, 8_192, 5_000, 32)]);
    driver.run(&mut world, at_ms(1));
    driver.crash(&mut world, pair.right);
    driver.run(&mut world, at_ms(3));
    driver.restart(&mut world, pair.right, transport(1, pair.right, 1));
    assert!(driver.run(&mut world, at_ms(5_000)));
    driver.ledger().check().unwrap();
    let report = driver.report();
    assert_eq!(report.failed, 32, "those that were open");
    assert_eq!(report.completed, 5_000 - 32);
    assert_eq!(stats(&world, pair.left).failed_connections, 1);
}

#[test]
fn a_sender_that_starts_again_is_another_connection() {
    let (mut world, pair) = pair(1, &LinkConfig::new(10 * GIGABIT, us(20)));
    let mut driver = Driver::new(1, &[flow(&pair, 8_192, 1_000, 32)]);
    driver.run(&mut world, at_ms(1));
    driver.crash(&mut world, pair.left);
    driver.run(&mut world, at_ms(3));
    driver.restart(&mut world, pair.left, transport(1, pair.left, 1));
    assert!(driver.run(&mut world, at_ms(5_000)));
    driver.ledger().check().unwrap();
    let report = driver.report();
    assert_eq!((report.aborted, report.completed), (32, 1_000 - 32));
}

#[test]
fn a_full_buffer_holds_messages_back_and_loses_none() {
    let (mut world, pair) = pair(1, &LinkConfig::new(GIGABIT, us(20)));
    // 64 MiB are offered at once, four times what the buffer takes.
    let mut driver = Driver::new(1, &[flow(&pair, 1 << 20, 64, 64)]);
    assert!(driver.run(&mut world, at_ms(2_000)));
    driver.ledger().check().unwrap();
}

#[test]
fn senders_into_one_queue_share_it_and_back_off() {
    let edge = LinkConfig::new(10 * GIGABIT, us(5)).with_queue(300_000, None);
    let (topology, parts) = star(8, &edge);
    let mut world = World::new(&topology, WorldConfig::new(1));
    world.start(parts.receiver, transport(1, parts.receiver, 0));
    let mut flows = Vec::new();
    for sender in &parts.senders {
        world.start(*sender, transport(1, *sender, 0));
        flows.push(Flow {
            from: *sender,
            to: parts.receiver,
            size_bytes: 32 * 1024,
            count: 2_000,
            pace: Pace::Outstanding(8),
            start: Instant::ZERO,
        });
    }
    let mut driver = Driver::new(1, &flows);
    assert!(driver.run(&mut world, at_ms(60_000)));
    driver.ledger().check().unwrap();
    let again: u64 = parts
        .senders
        .iter()
        .map(|host| stats(&world, *host).sent_again)
        .sum();
    assert!(again > 0, "the queue overflowed");
    let goodput = driver.report().goodput_bps();
    assert!(goodput < 10 * GIGABIT);
}

#[test]
fn an_open_loop_offers_at_its_rate() {
    let (mut world, pair) = pair(1, &LinkConfig::new(10 * GIGABIT, us(20)));
    for pace in [Pace::Every(us(10)), Pace::Poisson(us(10))] {
        let began = world.now();
        let flow = Flow {
            pace,
            start: began,
            ..flow(&pair, 1_000, 20_000, 1)
        };
        let mut driver = Driver::new(1, &[flow]);
        assert!(driver.run(&mut world, began + Duration::from_secs(10)));
        driver.ledger().check().unwrap();
        let took = (driver.report().ended - began).as_millis();
        assert!((195..=206).contains(&took), "{took} ms for 20,000 at 10 µs");
    }
}

#[test]
fn whatever_the_network_does_a_message_is_delivered_once_or_fails() {
    for_each_seed(200, |seed| {
        let mut random = Random::fork(seed, "scenario");
        let mut ppm = |most| u32::try_from(random.below(most)).unwrap();
        let path = LinkConfig::new(10 * GIGABIT, us(20))
            .with_queue(200_000, None)
            .with_loss(ppm(50_000))
            .with_duplicates(ppm(50_000))
            .with_reordering(ppm(50_000), us(200))
            .with_corruption(ppm(50_000))
            .with_jitter(us(u64::from(ppm(50))));
        let (mut world, pair) = pair(seed, &path);
        let back = Flow {
            from: pair.right,
            to: pair.left,
            ..flow(&pair, 20_000, 150, 4)
        };
        let mut driver = Driver::new(seed, &[flow(&pair, 3_000, 150, 8), back]);
        driver.run(&mut world, at_ms(5));
        driver.crash(&mut world, pair.right);
        driver.run(&mut world, at_ms(6));
        driver.restart(&mut world, pair.right, transport(seed, pair.right, 1));
        assert!(driver.run(&mut world, at_ms(3_600_000)), "all are resolved");
        let quiet = world.now() + Duration::from_secs(1);
        driver.settle(&mut world, quiet);
        driver.ledger().check().unwrap();
        let report = driver.report();
        assert_eq!(report.offered, report.completed + report.failed + report.aborted);
    });
}
