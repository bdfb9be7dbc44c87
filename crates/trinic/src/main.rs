//! The `trinic` program: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    // An instance's first process and the probe of the host are this same program.
    trinic_host::run_hidden_command();
    trinic::run()
}
