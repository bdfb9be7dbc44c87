//! The card process as a whole, driven as control drives it: over its socket, with instances in namespaces of
//! this machine and packets of the stock tools.
//!
//! What the machine does not allow is reported as ignored, with the reason in its kind.

mod adoption;
mod harness;
mod instances;
mod traffic;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let missing = harness::missing();
    let trials: Vec<Trial> = [instances::trials(), traffic::trials(), adoption::trials()]
        .into_iter()
        .flatten()
        .map(|(name, test)| harness::trial(name, missing.as_deref(), test))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
