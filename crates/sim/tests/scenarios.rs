//! The single-path model in the scenarios that transports are compared in, as a golden table.

use trinic_sim::scenario::{self, EDGE, Outcome, PATH, Scenario};
use trinic_sim::single_path::{Config, SinglePath};

fn run(scenario: &Scenario, seeds: u64) -> Outcome {
    let outcome = scenario.run_seeds(seeds, |_, random| SinglePath::new(Config::default(), random));
    assert_eq!(outcome.violations, [], "{}", scenario.name);
    assert_eq!(outcome.unfinished, 0, "{}", scenario.name);
    outcome
}

#[test]
fn the_single_path_model_in_every_scenario() {
    let scenarios = [
        scenario::paths(1, &PATH),
        scenario::paths(8, &PATH),
        scenario::paths(64, &PATH),
        scenario::lossy_paths(8, &PATH, 1_000),
        scenario::lossy_paths(8, &PATH, 10_000),
        scenario::slow_paths(8, &PATH),
        scenario::dead_paths(8, 1, &PATH),
        scenario::incast(8),
        scenario::incast(32),
        scenario::incast(128),
        scenario::permutation(0),
        scenario::permutation(1),
    ];
    let outcomes: Vec<Outcome> = scenarios.iter().map(|scenario| run(scenario, 8)).collect();
    let rows: Vec<_> = scenarios
        .iter()
        .zip(&outcomes)
        .map(|(scenario, outcome)| (scenario, "single path", outcome))
        .collect();
    insta::assert_snapshot!(scenario::table(&rows));
}

#[test]
fn a_dead_path_takes_a_connection_with_it_or_none() {
    let scenario = scenario::dead_paths(4, 1, &EDGE);
    let failed = (0..8).filter(|seed| {
        let outcome = scenario.run(*seed, |_, random| SinglePath::new(Config::default(), random));
        assert_eq!((outcome.violations.as_slice(), outcome.unfinished), (&[][..], 0));
        outcome.failed > 0
    });
    let failed = failed.count();
    assert!(
        (1..8).contains(&failed),
        "{failed} of 8 connections met the dead path"
    );
}

#[test]
fn a_scenario_is_the_same_each_time() {
    let scenario = scenario::permutation(1);
    let mut short = scenario.clone();
    short.deadline = trinic_sim::Instant::from_nanos(300_000);
    let hashes = || {
        short
            .run(5, |_, random| SinglePath::new(Config::default(), random))
            .trace_hashes
    };
    assert_eq!(hashes(), hashes());
}
