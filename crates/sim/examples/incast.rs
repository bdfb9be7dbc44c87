//! An incast of the single-path model: `cargo run --release -p trinic-sim --example incast -- SENDERS MESSAGES SEED`.
//!
//! Prints what the workload came to, and how fast the world ran.

use std::time::Duration;

use trinic_sim::single_path::{Config, SinglePath};
use trinic_sim::topology::star;
use trinic_sim::{Direction, Driver, Flow, Instant, LinkConfig, Pace, Random, World, WorldConfig};

#[expect(clippy::print_stdout, reason = "this is the program's output")]
#[expect(
    clippy::disallowed_methods,
    reason = "the program measures how long the simulation took"
)]
fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().unwrap_or(1));
    let senders = arguments.next().unwrap_or(32);
    let messages = arguments.next().unwrap_or(100);
    let seed = arguments.next().unwrap_or(1);

    let edge = LinkConfig::new(100_000_000_000, Duration::from_micros(1)).with_queue(2 << 20, Some(200_000));
    let (topology, parts) = star(u32::try_from(senders).unwrap_or(1), &edge);
    let mut world = World::new(&topology, WorldConfig::new(seed));
    let endpoint = |name: &str| SinglePath::new(Config::default(), Random::fork(seed, name));
    world.start(parts.receiver, endpoint("receiver"));
    let flow = |(index, sender): (usize, _)| {
        world.start(sender, endpoint(&format!("sender {index}")));
        Flow {
            from: sender,
            to: parts.receiver,
            size_bytes: 8_192,
            count: messages,
            pace: Pace::Outstanding(8),
            start: Instant::ZERO,
        }
    };
    let flows: Vec<Flow> = parts.senders.iter().copied().enumerate().map(flow).collect();
    let mut driver = Driver::new(seed, &flows);

    let clock = std::time::Instant::now();
    let done = driver.run(&mut world, Instant::from_nanos(600_000_000_000));
    let took = clock.elapsed();
    let report = driver.report();
    println!("seed {seed}: {senders} senders, {messages} messages each, done: {done}");
    println!(
        "goodput {} Mbit/s, latency p50 {} p99 {} p99.9 {} µs, account: {:?}",
        report.goodput_bps() / 1_000_000,
        report.latency_ns.p50() / 1_000,
        report.latency_ns.p99() / 1_000,
        report.latency_ns.p999() / 1_000,
        driver.ledger().check()
    );
    println!("{:?}", world.link_stats(parts.receiver_link, Direction::Backward));
    let per_second = u128::from(world.events_done()) * 1_000_000_000 / took.as_nanos().max(1);
    println!(
        "{} events in {took:?}: {per_second} a second",
        world.events_done()
    );
}
