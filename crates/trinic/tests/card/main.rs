//! The card process as a whole, driven as control drives it: over its socket, with instances in namespaces of
//! this machine and packets of the stock tools.
//!
//! What the machine does not allow is reported as ignored, with the reason in its kind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it measured"
)]

mod adoption;
mod ena_devices;
mod ena_guest;
mod ena_hostile;
mod ena_queues;
#[path = "../../../host/tests/host/files.rs"]
mod files;
mod harness;
mod instances;
mod traffic;
mod userspace;

use libtest_mimic::{Arguments, Trial};

fn main() {
    // The test program is also what some tests run inside instances.
    if traffic::run_inside() || ena_devices::run_inside() {
        return;
    }
    let arguments = Arguments::from_args();
    let missing = harness::missing();
    let mut trials: Vec<Trial> = [
        instances::trials(),
        traffic::trials(),
        adoption::trials(),
        ena_devices::trials(),
        ena_hostile::trials(),
        ena_queues::trials(),
    ]
    .into_iter()
    .flatten()
    .map(|(name, test)| harness::trial(name, missing.as_deref(), test))
    .collect();
    trials.extend(ena_hostile::file_trials().into_iter().map(|(name, lacks, test)| {
        let missing = missing.as_deref().or(lacks.as_deref());
        harness::trial(name, missing, test)
    }));
    trials.extend(
        userspace::trials()
            .into_iter()
            .map(|(name, test)| harness::trial(name, None, test)),
    );
    libtest_mimic::run(&arguments, trials).exit();
}
