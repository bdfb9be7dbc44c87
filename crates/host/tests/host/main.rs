//! Tests against the running kernel, in namespaces of their own: nothing of the machine is touched.
//!
//! What the machine does not allow is reported as ignored, with the reason in its name. As root and as
//! an ordinary user (`setpriv --reuid 65534 --regid 65534 --clear-groups …`) different parts run.

mod instances;
mod support;

use libtest_mimic::{Arguments, Trial};
use support::Host;

fn main() {
    // The test program is also the program that instances execute.
    trinic_host::run_hidden_command();
    if std::env::args().nth(1).as_deref() == Some("test-exec") {
        instances::exec_main();
    }
    let arguments = Arguments::from_args();
    let host = Host::look();
    let trials: Vec<Trial> = instances::trials(&host);
    libtest_mimic::run(&arguments, trials).exit();
}
