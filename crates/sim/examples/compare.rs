//! SRD beside the single-path model in a scenario: `cargo run --release -p trinic-sim --example compare -- [SEEDS] [NAME]`.

use trinic_sim::scenario::{self, Outcome, PATH, Scenario, table};
use trinic_sim::single_path::{self, SinglePath};
use trinic_sim::srd::Srd;

#[expect(clippy::print_stdout, reason = "this is the program's output")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let seeds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(4);
    let name = arguments.next().unwrap_or_default();
    for scenario in scenarios()
        .iter()
        .filter(|scenario| scenario.name.contains(&name))
    {
        let hosts = u32::try_from(scenario.topology.hosts.len()).unwrap_or(u32::MAX);
        let single = scenario.run_seeds(seeds, |_, random| {
            SinglePath::new(single_path::Config::default(), random)
        });
        let srd = scenario.run_seeds(seeds, |host, random| {
            Srd::<trinic_srd::congestion::Delay>::new(trinic_srd::Config::default(), host, hosts, random)
        });
        let simple = scenario.run_seeds(seeds, |host, random| {
            Srd::<trinic_srd::congestion::Aimd>::new(trinic_srd::Config::default(), host, hosts, random)
        });
        let wrong = |outcome: &Outcome| (outcome.violations.len(), outcome.unfinished);
        println!(
            "{}",
            table(&[
                (scenario, "single path", &single),
                (scenario, "SRD", &srd),
                (scenario, "SRD, aimd", &simple)
            ])
        );
        println!(
            "wrong: {:?} {:?} {:?}",
            wrong(&single),
            wrong(&srd),
            wrong(&simple)
        );
    }
}

fn scenarios() -> Vec<Scenario> {
    let lossy = |loss_ppm| {
        let mut scenario = scenario::paths(8, &PATH.clone().with_loss(loss_ppm));
        scenario.name = format!("8 paths, {}.{} % loss", loss_ppm / 10_000, loss_ppm / 1_000 % 10);
        scenario
    };
    vec![
        scenario::paths(1, &PATH),
        scenario::paths(8, &PATH),
        scenario::paths(64, &PATH),
        lossy(1_000),
        lossy(10_000),
        lossy(50_000),
        scenario::slow_paths(8, &PATH),
        scenario::dead_paths(8, 1, &PATH),
        scenario::incast(8),
        scenario::incast(32),
        scenario::incast(128),
        scenario::permutation(0),
        scenario::permutation(1),
    ]
}
