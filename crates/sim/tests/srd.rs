//! SRD in worlds that do everything to its packets, with many seeds: every message completes once or fails with an error, nothing twice, nothing lost
//! silently, and in tables beside the single-path model.

use std::time::Duration;

use trinic_sim::scenario::{self, EDGE, Outcome, PATH, Scenario};
use trinic_sim::single_path::{self, SinglePath};
use trinic_sim::srd::Srd;
use trinic_sim::topology::{Pair, pair_with_paths};
use trinic_sim::{
    Change, Driver, Flow, HostId, Instant, LinkConfig, Pace, Random, Resolution, World, WorldConfig,
    for_each_seed,
};
use trinic_srd::Config;
use trinic_srd::congestion::{Aimd, Delay};

/// As many as the tests run without being told otherwise.
const SEEDS: u64 = 200;

/// Two hosts with four paths of this kind; each sends messages to the other, some longer than a datagram.
fn both_ways(path: &LinkConfig, messages: u64) -> (trinic_sim::Topology, Pair, Vec<Flow>) {
    let (topology, pair) = pair_with_paths(4, &EDGE, path);
    let flow = |from, to, size_bytes, count| Flow {
        from,
        to,
        size_bytes,
        count,
        pace: Pace::Outstanding(16),
        start: Instant::ZERO,
    };
    let flows = vec![
        flow(pair.left, pair.right, 2_000, messages),
        flow(pair.left, pair.right, 50_000, messages / 20),
        flow(pair.right, pair.left, 64, messages),
    ];
    (topology, pair, flows)
}

/// Settings with which a bit that flips anywhere is found.
fn covering() -> Config {
    Config {
        cover_payload: true,
        window: 256,
        ..Config::default()
    }
}

fn srd(config: &Config, host: HostId, random: Random) -> Srd {
    Srd::new(config.clone(), host, 2, random)
}

/// Runs both ways over such paths with all seeds: everything must complete.
fn all_complete(path: &LinkConfig, messages: u64) {
    for_each_seed(SEEDS, |seed| {
        let (topology, pair, flows) = both_ways(path, messages);
        let mut world = World::new(&topology, WorldConfig::new(seed));
        for (host, name) in [(pair.left, "left"), (pair.right, "right")] {
            world.start(host, srd(&covering(), host, Random::fork(seed, name)));
        }
        let mut driver = Driver::new(seed, &flows);
        assert!(
            driver.run(&mut world, seconds(20)),
            "not all messages were resolved"
        );
        let later = world.now() + Duration::from_secs(3);
        driver.settle(&mut world, later);
        driver.ledger().check().expect("the account is in order");
        let ledger = driver.ledger();
        assert_eq!(ledger.count(Resolution::Failed), 0);
        assert_eq!(ledger.count(Resolution::Completed), messages * 2 + messages / 20);
    });
}

#[test]
fn every_message_completes_once_with_a_thousandth_lost() {
    all_complete(&PATH.clone().with_loss(1_000), 60);
}

#[test]
fn every_message_completes_once_with_a_hundredth_lost() {
    all_complete(&PATH.clone().with_loss(10_000), 60);
}

#[test]
fn every_message_completes_once_with_a_twentieth_lost() {
    all_complete(&PATH.clone().with_loss(50_000), 60);
}

#[test]
fn every_message_completes_once_with_packets_out_of_order_and_doubled() {
    let late = Duration::from_micros(200);
    let path = PATH
        .clone()
        .with_reordering(100_000, late)
        .with_duplicates(50_000)
        .with_jitter(Duration::from_micros(10));
    all_complete(&path, 60);
}

#[test]
fn every_message_completes_once_and_unchanged_with_bits_that_flip() {
    all_complete(&PATH.clone().with_corruption(50_000), 60);
}

#[test]
fn every_message_completes_once_with_all_of_it() {
    let late = Duration::from_micros(100);
    let path = PATH
        .clone()
        .with_loss(20_000)
        .with_reordering(20_000, late)
        .with_duplicates(20_000)
        .with_corruption(20_000);
    all_complete(&path, 60);
}

/// What the cards' checksums find is lost; without them or a cover a payload could arrive changed, as the specification says.
#[test]
fn checksums_of_the_cards_are_enough_against_noise() {
    for_each_seed(SEEDS, |seed| {
        let (topology, pair, flows) = both_ways(&PATH.clone().with_corruption(20_000), 60);
        let config = WorldConfig {
            verify_checksums: true,
            ..WorldConfig::new(seed)
        };
        let mut world = World::new(&topology, config);
        for (host, name) in [(pair.left, "left"), (pair.right, "right")] {
            world.start(host, srd(&Config::default(), host, Random::fork(seed, name)));
        }
        let mut driver = Driver::new(seed, &flows);
        assert!(driver.run(&mut world, seconds(20)));
        driver.ledger().check().expect("the account is in order");
        assert_eq!(driver.ledger().count(Resolution::Failed), 0);
    });
}

#[test]
fn a_paced_sender_loses_no_message() {
    let lossy = PATH.clone().with_loss(10_000);
    for_each_seed(SEEDS, |seed| {
        let (topology, pair, flows) = both_ways(&lossy, 200);
        let mut world = World::new(&topology, WorldConfig::new(seed));
        let paced = Config {
            burst: Some(1 + u16::try_from(seed % 4).unwrap_or(0)),
            ..covering()
        };
        for (host, name) in [(pair.left, "left"), (pair.right, "right")] {
            world.start(host, srd(&paced, host, Random::fork(seed, name)));
        }
        let mut driver = Driver::new(seed, &flows);
        assert!(driver.run(&mut world, seconds(20)));
        driver.ledger().check().expect("the account is in order");
        assert_eq!(driver.ledger().count(Resolution::Failed), 0);
    });
}

#[test]
fn a_path_that_dies_and_half_of_them_slow_cost_no_message() {
    for_each_seed(SEEDS, |seed| {
        let slow = LinkConfig {
            rate_bps: PATH.rate_bps / 10,
            delay: PATH.delay * 10,
            ..PATH.clone()
        };
        let (topology, pair, flows) = both_ways(&PATH, 200);
        let mut world = World::new(&topology, WorldConfig::new(seed));
        for (host, name) in [(pair.left, "left"), (pair.right, "right")] {
            world.start(host, srd(&covering(), host, Random::fork(seed, name)));
        }
        let at = |us: u64| Instant::from_nanos(us * 1_000);
        world.schedule(at(30), pair.paths[0], None, Change::Down);
        for path in &pair.paths[2..] {
            world.schedule(at(60), *path, None, Change::Configure(slow.clone()));
        }
        world.schedule(at(900), pair.paths[0], None, Change::Up);
        let mut driver = Driver::new(seed, &flows);
        assert!(driver.run(&mut world, seconds(20)));
        driver.ledger().check().expect("the account is in order");
        assert_eq!(driver.ledger().count(Resolution::Failed), 0);
    });
}

/// A network that is away for a while: what is outstanding goes on when it is back, or fails, and never silently.
#[test]
fn an_outage_shorter_than_the_silence_limit_costs_no_message_and_a_longer_one_fails_them() {
    for_each_seed(SEEDS, |seed| {
        for (outage, fails) in [
            (Duration::from_millis(300), false),
            (Duration::from_secs(5), true),
        ] {
            let (topology, pair, flows) = both_ways(&PATH, 200);
            let mut world = World::new(&topology, WorldConfig::new(seed));
            for (host, name) in [(pair.left, "left"), (pair.right, "right")] {
                world.start(host, srd(&covering(), host, Random::fork(seed, name)));
            }
            let down = Instant::from_nanos(80_000);
            for edge in &pair.edges {
                world.schedule(down, *edge, None, Change::Down);
                world.schedule(down + outage, *edge, None, Change::Up);
            }
            let mut driver = Driver::new(seed, &flows);
            assert!(driver.run(&mut world, seconds(30)));
            let later = world.now() + Duration::from_secs(3);
            driver.settle(&mut world, later);
            driver.ledger().check().expect("the account is in order");
            let failed = driver.ledger().count(Resolution::Failed);
            assert_eq!(failed > 0, fails, "{failed} failed in an outage of {outage:?}");
        }
    });
}

#[test]
fn a_card_that_crashes_and_starts_again_gets_nothing_twice() {
    for_each_seed(SEEDS, |seed| {
        let (topology, pair, flows) = both_ways(&PATH.clone().with_loss(5_000), 400);
        let mut world = World::new(&topology, WorldConfig::new(seed));
        for (host, name) in [(pair.left, "left"), (pair.right, "right")] {
            world.start(host, srd(&covering(), host, Random::fork(seed, name)));
        }
        let mut driver = Driver::new(seed, &flows);
        let mut random = Random::fork(seed, "crash");
        let crash = Instant::from_nanos(30_000 + random.below(200_000));
        let done = driver.run(&mut world, crash);
        driver.crash(&mut world, pair.right);
        let back = crash + Duration::from_nanos(random.below(3_000_000));
        driver.run(&mut world, back);
        let fresh = srd(&covering(), pair.right, Random::fork(seed, "right again"));
        driver.restart(&mut world, pair.right, fresh);
        assert!(
            driver.run(&mut world, seconds(30)),
            "not all messages were resolved"
        );
        let later = world.now() + Duration::from_secs(3);
        driver.settle(&mut world, later);
        driver.ledger().check().expect("the account is in order");
        assert!(done || driver.ledger().count(Resolution::Completed) > 0);
    });
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let scenario = scenario::paths(8, &PATH.clone().with_loss(10_000));
    let run = || {
        let hosts = scenario.topology.host_count();
        let hosts = u32::try_from(hosts).unwrap();
        let make = |host, random| Srd::<Delay>::new(Config::default(), host, hosts, random);
        scenario.run(3, make).trace_hashes
    };
    assert_eq!(run(), run());
}

fn of_srd<C: trinic_srd::congestion::Controller>(scenario: &Scenario, paths: u8, seeds: u64) -> Outcome {
    let hosts = u32::try_from(scenario.topology.host_count()).expect("not that many hosts");
    let config = Config {
        paths,
        ..Config::default()
    };
    let outcome = scenario.run_seeds(seeds, |host, random| {
        Srd::<C>::new(config.clone(), host, hosts, random)
    });
    assert_eq!(outcome.violations, [], "{}", scenario.name);
    assert_eq!(outcome.unfinished, 0, "{}", scenario.name);
    assert_eq!(outcome.failed, 0, "{}", scenario.name);
    outcome
}

fn of_single_path(scenario: &Scenario, seeds: u64) -> Outcome {
    scenario.run_seeds(seeds, |_, random| {
        SinglePath::new(single_path::Config::default(), random)
    })
}

/// The tables of docs/performance.md.
#[test]
fn tables_of_srd_beside_the_single_path_model() {
    if std::env::var_os("TRINIC_SIM_SEED").is_some() || std::env::var_os("TRINIC_SIM_SEEDS").is_some() {
        return;
    }
    let scenarios = [
        scenario::paths(8, &PATH),
        scenario::lossy_paths(8, &PATH, 1_000),
        scenario::lossy_paths(8, &PATH, 10_000),
        scenario::lossy_paths(8, &PATH, 50_000),
        scenario::slow_paths(8, &PATH),
        scenario::dead_paths(8, 1, &PATH),
        scenario::incast(8),
        scenario::incast(32),
        scenario::incast(128),
        scenario::permutation(0),
        scenario::permutation(1),
    ];
    let seeds = 2;
    let mut outcomes = Vec::new();
    for scenario in &scenarios {
        outcomes.push((scenario, "single path", of_single_path(scenario, seeds)));
        for (paths, name) in [(1, "SRD, 1 path"), (8, "SRD, 8 paths"), (64, "SRD, 64 paths")] {
            // A context with one path that is dead has nowhere to go.
            if paths > 1 || !scenario.name.contains("dead") {
                outcomes.push((scenario, name, of_srd::<Delay>(scenario, paths, seeds)));
            }
        }
        outcomes.push((scenario, "SRD 64, Aimd", of_srd::<Aimd>(scenario, 64, seeds)));
    }
    let find = |name: &str, transport: &str| {
        let mut found = outcomes
            .iter()
            .filter(|(scenario, by, _)| scenario.name == name && *by == transport);
        &found.next().unwrap().2
    };
    let ratio = find("incast of 32", "single path").latency_ns.p999()
        / find("incast of 32", "SRD, 64 paths").latency_ns.p999();
    assert!(ratio >= 5, "p99.9 under an incast of 32: a {ratio}th");
    let rows: Vec<_> = outcomes
        .iter()
        .map(|(scenario, by, outcome)| (*scenario, *by, outcome))
        .collect();
    insta::assert_snapshot!(scenario::table(&rows));
}

fn seconds(count: u64) -> Instant {
    Instant::from_nanos(count * 1_000_000_000)
}
