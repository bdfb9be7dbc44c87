//! The networks and workloads that transports are compared in: each transport meets the same one.
//!
//! A [`Scenario`] is a plan: a topology, flows, and what happens to the links. [`Scenario::run`] builds the world
//! for a seed with any [`Messenger`], and [`table`] prints what several came to. The numbers are those of a
//! present data centre's links, rounded; what matters is that both sides meet the same ones.

use std::fmt::Write as _;
use std::time::Duration;

use crate::link::{Direction, DropCause, LinkConfig, LinkId};
use crate::topology::{Topology, leaf_spine, pair_with_paths, star};
use crate::{
    Change, Driver, Flow, Histogram, HostId, Instant, Messenger, Pace, Random, Violation, World, WorldConfig,
    wire_bytes,
};

/// A host's link: 100 Gbit/s, 1 µs, 1 MiB of queue in the switch, marks above 128 KiB.
pub const EDGE: LinkConfig =
    LinkConfig::new(100_000_000_000, Duration::from_micros(1)).with_queue(1 << 20, Some(128 << 10));

/// One of several paths: 25 Gbit/s, 5 µs, the same queue.
pub const PATH: LinkConfig =
    LinkConfig::new(25_000_000_000, Duration::from_micros(5)).with_queue(1 << 20, Some(128 << 10));

/// A network, a workload, and what happens to the links meanwhile.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What tables call it.
    pub name: String,
    /// The network.
    pub topology: Topology,
    /// The workload. With each seed every flow starts later than here by a time of its own, up to 10 µs.
    pub flows: Vec<Flow>,
    /// What happens to links, in both directions, and when.
    pub changes: Vec<(Instant, LinkId, Change)>,
    /// See [`WorldConfig::reroute`].
    pub reroute: Option<Duration>,
    /// When a run is given up.
    pub deadline: Instant,
    /// The most that the network can carry of the messages, when what happens to the links has happened: bits of
    /// messages in a second, with a datagram for each and no transport's header.
    pub ideal_bps: u64,
}

/// What a scenario came to, for one seed or for several together.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How many seeds.
    pub seeds: u64,
    /// Seeds in which not every message was resolved before the deadline.
    pub unfinished: u64,
    /// What was wrong with the accounts.
    pub violations: Vec<Violation>,
    /// Messages that completed, and that failed with an error.
    pub completed: u64,
    /// See `completed`.
    pub failed: u64,
    /// The sum over the seeds of the bits of messages delivered in a second.
    pub goodput_bps_sum: u64,
    /// The same until the first flow was done.
    pub together_bps_sum: u64,
    /// The least goodput of a flow, in any seed.
    pub slowest_flow_bps: u64,
    /// Nanoseconds from offer to completion.
    pub latency_ns: Histogram,
    /// The deepest that a queue of a switch became.
    pub max_depth_bytes: u64,
    /// Datagrams sent, and those dropped for want of room in a queue.
    pub sent: u64,
    /// See `sent`.
    pub queue_drops: u64,
    /// Each seed's [`World::trace_hash`], in their order.
    pub trace_hashes: Vec<u64>,
}

impl Scenario {
    /// Runs it once; `make` makes the transport of each host with a random source of its own.
    pub fn run<M: Messenger>(&self, seed: u64, mut make: impl FnMut(HostId, Random) -> M) -> Outcome {
        let config = WorldConfig {
            reroute: self.reroute,
            ..WorldConfig::new(seed)
        };
        let mut world = World::new(&self.topology, config);
        for (index, name) in (0_u32..).zip(&self.topology.hosts) {
            let host = HostId(index);
            world.start(host, make(host, Random::fork(seed, &format!("transport {name}"))));
        }
        for (at, link, change) in &self.changes {
            world.schedule(*at, *link, None, change.clone());
        }
        let mut random = Random::fork(seed, "starts");
        let mut later = |flow: &Flow| Flow {
            start: flow.start + Duration::from_nanos(random.below(STARTS_NS)),
            ..*flow
        };
        let flows: Vec<Flow> = self.flows.iter().map(&mut later).collect();
        let mut driver = Driver::new(seed, &flows);
        let done = driver.run(&mut world, self.deadline);
        let quiet = world.now() + QUIET;
        driver.settle(&mut world, quiet);
        let report = driver.report();
        Outcome {
            seeds: 1,
            unfinished: u64::from(!done),
            violations: driver.ledger().check().err().unwrap_or_default(),
            completed: report.completed,
            failed: report.failed,
            goodput_bps_sum: report.goodput_bps(),
            together_bps_sum: report.together_bps(),
            slowest_flow_bps: driver.flow_goodputs_bps().into_iter().min().unwrap_or(0),
            latency_ns: report.latency_ns.clone(),
            max_depth_bytes: self.deepest(&world),
            sent: world.totals().sent,
            queue_drops: world.totals().dropped.of(DropCause::QueueFull),
            trace_hashes: vec![world.trace_hash()],
        }
    }

    /// Runs it with the seeds from 0 to `seeds` and adds up.
    pub fn run_seeds<M: Messenger>(&self, seeds: u64, mut make: impl FnMut(HostId, Random) -> M) -> Outcome {
        let mut sum = Outcome::default();
        crate::for_each_seed(seeds, |seed| sum.merge(&self.run(seed, &mut make)));
        sum
    }

    /// The deepest queue of a switch: hosts' own queues are no part of the network.
    fn deepest<M: Messenger>(&self, world: &World<M>) -> u64 {
        let mut deepest = 0;
        for (index, link) in (0_u32..).zip(&self.topology.links) {
            for (end, direction) in [Direction::Forward, Direction::Backward].into_iter().enumerate() {
                if matches!(link.ends[end], crate::topology::Node::Switch(_)) {
                    deepest = deepest.max(world.link_stats(LinkId(index), direction).max_depth_bytes);
                }
            }
        }
        deepest
    }
}

impl Outcome {
    /// The mean over the seeds of the bits of messages delivered in a second.
    pub fn goodput_bps(&self) -> u64 {
        self.goodput_bps_sum.checked_div(self.seeds).unwrap_or(0)
    }

    /// The mean over the seeds of the same until the first flow was done.
    pub fn together_bps(&self) -> u64 {
        self.together_bps_sum.checked_div(self.seeds).unwrap_or(0)
    }

    /// Adds another seed's.
    pub fn merge(&mut self, other: &Self) {
        self.slowest_flow_bps = if self.seeds == 0 {
            other.slowest_flow_bps
        } else {
            self.slowest_flow_bps.min(other.slowest_flow_bps)
        };
        self.seeds += other.seeds;
        self.unfinished += other.unfinished;
        self.violations.extend_from_slice(&other.violations);
        self.completed += other.completed;
        self.failed += other.failed;
        self.goodput_bps_sum = self.goodput_bps_sum.saturating_add(other.goodput_bps_sum);
        self.together_bps_sum = self.together_bps_sum.saturating_add(other.together_bps_sum);
        self.latency_ns.merge(&other.latency_ns);
        self.max_depth_bytes = self.max_depth_bytes.max(other.max_depth_bytes);
        self.sent += other.sent;
        self.queue_drops += other.queue_drops;
        self.trace_hashes.extend_from_slice(&other.trace_hashes);
    }
}

/// Two hosts with [`EDGE`] links and `count` parallel paths between them: 4,000 messages of 8 KiB, 64 at a time.
pub fn paths(count: u32, path: &LinkConfig) -> Scenario {
    let (topology, pair) = pair_with_paths(count, &EDGE, path);
    let flow = Flow {
        from: pair.left,
        to: pair.right,
        size_bytes: MESSAGE_BYTES,
        count: 4_000,
        pace: Pace::Outstanding(64),
        start: Instant::ZERO,
    };
    Scenario {
        name: format!("{count} path{}", if count == 1 { "" } else { "s" }),
        topology,
        flows: vec![flow],
        changes: Vec::new(),
        reroute: None,
        deadline: DEADLINE,
        ideal_bps: ideal_bps(EDGE.rate_bps.min(path.rate_bps * u64::from(count))),
    }
}

/// [`paths`] that lose so many datagrams in a million.
pub fn lossy_paths(count: u32, path: &LinkConfig, loss_ppm: u32) -> Scenario {
    let mut scenario = paths(count, &path.clone().with_loss(loss_ppm));
    let (percent, tenth) = (loss_ppm / 10_000, loss_ppm / 1_000 % 10);
    scenario.name = format!("{count} paths, {percent}.{tenth} % loss");
    scenario
}

/// [`paths`] of which the first `dead` fail after 100 µs and do not come back; no switch goes around them.
pub fn dead_paths(count: u32, dead: u32, path: &LinkConfig) -> Scenario {
    let mut scenario = paths(count, path);
    // The hosts' links come first in `pair_with_paths`.
    let links = (0..dead.min(count)).map(|index| LinkId(2 + index));
    scenario.changes = links.map(|link| (FAILURE, link, Change::Down)).collect();
    scenario.name = format!("{count} paths, {dead} dead");
    let live = u64::from(count - dead.min(count));
    scenario.ideal_bps = ideal_bps(EDGE.rate_bps.min(path.rate_bps * live));
    scenario
}

/// [`paths`] of which every second has a tenth of the rate and ten times the delay.
pub fn slow_paths(count: u32, path: &LinkConfig) -> Scenario {
    let mut scenario = paths(count, path);
    let slow = LinkConfig {
        rate_bps: path.rate_bps / 10,
        delay: path.delay * 10,
        ..path.clone()
    };
    let mut rate_bps = 0;
    for index in 0..count {
        let config = if index % 2 == 0 { path } else { &slow };
        rate_bps += config.rate_bps;
        if let Some(configs) = scenario.topology.configs_mut(LinkId(2 + index)) {
            *configs = [config.clone(), config.clone()];
        }
    }
    scenario.name = format!("{count} paths, half slow");
    scenario.ideal_bps = ideal_bps(EDGE.rate_bps.min(rate_bps));
    scenario
}

/// `senders` hosts send to one through one switch at once: 12,800 messages of 8 KiB together, 16 of each at a time. From 8
/// senders on that is more than the switch's queue has room for.
pub fn incast(senders: u32) -> Scenario {
    let (topology, parts) = star(senders, &EDGE);
    let flows = parts.senders.iter().map(|sender| Flow {
        from: *sender,
        to: parts.receiver,
        size_bytes: MESSAGE_BYTES,
        count: 12_800 / u64::from(senders.max(1)),
        pace: Pace::Outstanding(16),
        start: Instant::ZERO,
    });
    Scenario {
        name: format!("incast of {senders}"),
        flows: flows.collect(),
        topology,
        changes: Vec::new(),
        reroute: None,
        deadline: DEADLINE,
        ideal_bps: ideal_bps(EDGE.rate_bps),
    }
}

/// A fabric of four leaves with eight hosts each and eight spines, all links [`EDGE`]: every host sends 4,000
/// messages of 8 KiB, 64 at a time, to the host in its place at the next leaf. `failed` of the first leaf's uplinks fail
/// after 100 µs, and no switch goes around them.
pub fn permutation(failed: u32) -> Scenario {
    let (topology, fabric) = leaf_spine(4, 8, 8, &EDGE, &EDGE);
    let mut flows = Vec::new();
    for (leaf, hosts) in fabric.hosts.iter().enumerate() {
        let next = &fabric.hosts[(leaf + 1) % fabric.hosts.len()];
        flows.extend(hosts.iter().zip(next).map(|(from, to)| Flow {
            from: *from,
            to: *to,
            size_bytes: MESSAGE_BYTES,
            count: 4_000,
            pace: Pace::Outstanding(64),
            start: Instant::ZERO,
        }));
    }
    let uplinks = fabric.uplinks.first().into_iter().flatten();
    let dead = uplinks.take(failed as usize);
    // A dead uplink serves one leaf's traffic out and another's in.
    let hosts = 32 - u64::from(failed.min(8)) * 2;
    Scenario {
        name: match failed {
            0 => "permutation".to_owned(),
            _ => format!("permutation, {failed} dead"),
        },
        changes: dead.map(|link| (FAILURE, *link, Change::Down)).collect(),
        topology,
        flows,
        reroute: None,
        deadline: DEADLINE,
        ideal_bps: ideal_bps(EDGE.rate_bps).saturating_mul(hosts),
    }
}

/// A line for each outcome: goodput until the last message was there, its part of the ideal one, the part until the first flow was done, the slowest flow's,
/// how long messages took, the deepest queue of a switch, datagrams that a full queue dropped, failed messages.
pub fn table(rows: &[(&Scenario, &str, &Outcome)]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{:<24}{:<14}{:>8}{:>7}{:>10}{:>9}{:>10}{:>10}{:>10}{:>9}{:>7}{:>7}",
        "scenario",
        "transport",
        "Gbit/s",
        "ideal",
        "together",
        "slowest",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "queue",
        "drops",
        "failed"
    );
    for (scenario, transport, outcome) in rows {
        let goodput = outcome.goodput_bps();
        let percent = |bps: u64| bps.saturating_mul(100) / scenario.ideal_bps.max(1);
        let latency = &outcome.latency_ns;
        let _ = writeln!(
            text,
            "{:<24}{:<14}{:>8}{:>6}%{:>9}%{:>9}{:>10}{:>10}{:>10}{:>6}KiB{:>7}{:>7}",
            scenario.name,
            transport,
            tenths(goodput, 1_000_000_000),
            percent(goodput),
            percent(outcome.together_bps()),
            tenths(outcome.slowest_flow_bps, 1_000_000_000),
            tenths(latency.p50(), 1_000),
            tenths(latency.p99(), 1_000),
            tenths(latency.p999(), 1_000),
            outcome.max_depth_bytes >> 10,
            outcome.queue_drops,
            outcome.failed,
        );
    }
    text
}

/// A number in `unit`s with one decimal, rounded down.
fn tenths(value: u64, unit: u64) -> String {
    format!("{}.{}", value / unit, value % unit / (unit / 10))
}

/// What a link of this rate carries of messages.
fn ideal_bps(rate_bps: u64) -> u64 {
    let share =
        u128::from(rate_bps) * u128::from(MESSAGE_BYTES) / u128::from(wire_bytes(MESSAGE_BYTES.into()));
    u64::try_from(share).unwrap_or(u64::MAX)
}

const MESSAGE_BYTES: u32 = 8_192;

/// When links fail: slow start is over.
const FAILURE: Instant = Instant::from_nanos(100_000);

/// An hour: the single-path model gives a dead connection up after 17 to 20 minutes.
const DEADLINE: Instant = Instant::from_nanos(3_600_000_000_000);

/// Within what time all flows start.
const STARTS_NS: u64 = 10_000;

/// How long the world goes on when all is resolved, for what arrives late.
const QUIET: Duration = Duration::from_secs(2);
