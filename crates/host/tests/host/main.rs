//! Tests against the running kernel, in namespaces of their own: nothing of the machine is touched but
//! /run/netns, where one test puts a name and takes it away.
//!
//! What the machine does not allow is reported as ignored, with the reason. Run by root, the whole suite
//! runs a second time as an ordinary user (`nobody`), in a user namespace as an ordinary card does.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may end by panicking and says what it measured"
)]

mod carriers;
mod files;
mod helpers;
mod instances;
mod links;
mod srd;
mod support;
mod vfio_user;
mod vfio_user_hostile;
mod vfio_user_parts;

use libtest_mimic::{Arguments, Trial};
use support::Host;

fn main() {
    // The test program is also the program that instances and the probe execute.
    trinic_host::run_hidden_command();
    helpers::run_helper();
    let arguments = Arguments::from_args();
    let host = Host::look();
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(carriers::trials(&host));
    trials.extend(instances::trials(&host));
    trials.extend(links::trials(&host));
    trials.extend(srd::trials(&host));
    trials.extend(vfio_user::trials(&host));
    trials.extend(vfio_user_hostile::trials(&host));
    libtest_mimic::run(&arguments, trials).exit();
}
