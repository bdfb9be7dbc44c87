//! The card's worker with real functions and ports, and its turns counted: what it allocates in them, and what a
//! neighbour gets of them while another function lies, storms and resets.
//!
//! What the machine does not allow is reported as ignored, with the reason in its kind.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it measured"
)]

mod allocations;
#[path = "../../../switch/tests/suite/counting.rs"]
mod counting;
mod neighbours;
mod packets;
mod rig;
mod super_frames;

use libtest_mimic::{Arguments, Failed, Trial};
use trinic_host::probe::Probe;
use trinic_host::userns;

fn main() {
    // The probe of the host is this same program.
    trinic_host::run_hidden_command();
    let arguments = Arguments::from_args();
    let probe = Probe::run().unwrap();
    if !probe.root && probe.user_namespaces.works() {
        userns::enter().unwrap();
    }
    let taps = probe.taps.problem.as_deref();
    let trials = [
        allocations::trials(),
        neighbours::trials(),
        super_frames::trials(),
    ]
    .into_iter()
    .flatten()
    .map(|(name, needs_taps, test)| trial(name, taps.filter(|_| needs_taps), test))
    .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test's name, whether it needs taps, and the test.
type Case = (&'static str, bool, fn());

fn trial(name: &str, missing: Option<&str>, test: fn()) -> Trial {
    let trial = Trial::test(name, move || {
        std::panic::catch_unwind(test).map_err(|payload| {
            let text = payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Failed::from(text.unwrap_or_else(|| "panicked".into()))
        })
    });
    match missing {
        Some(reason) => trial.with_ignored_flag(true).with_kind(format!("SKIP: {reason}")),
        None => trial,
    }
}
