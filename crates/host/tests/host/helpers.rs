//! Other parts that the test program plays, chosen by its first argument: a command line that enters an
//! instance, a card that starts one, and a server of a function for a virtual machine.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use trinic_host::instance::{InstanceOptions, exec};
use trinic_host::vfio_user::Server;
use trinic_host::{Instance, ProcessId, userns};

use crate::vfio_user_parts::Scratch;

/// Plays the part that was asked for, and ends; returns when none was.
pub(crate) fn run_helper() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["test-exec", id, command @ ..] => exec_main(id, command),
        ["test-function", path] => function_main(Path::new(path)),
        ["test-card", directory, mode] => card_main(Path::new(directory), mode),
        _ => {}
    }
}

/// As `trinic exec`.
fn exec_main(id: &str, command: &[&str]) -> ! {
    let id: ProcessId = serde_json::from_str(id).unwrap();
    let command: Vec<String> = command.iter().map(|&argument| argument.to_owned()).collect();
    let code = exec::exec_in(id, &command).unwrap_or_else(|error| {
        eprintln!("{}", error.chain());
        125
    });
    std::process::exit(code)
}

/// Serves a function at a path until its input ends, and then tells what it has counted: to be tried with a
/// virtual machine by hand.
fn function_main(path: &Path) -> ! {
    let server = Server::bind(path, Scratch::parts()).unwrap().spawn().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    println!("{server:?} {:?}", server.counters());
    server.stop();
    std::process::exit(0)
}

/// As a card: starts an instance, tells which process it is, and stays until its input ends. With mode
/// `user` it first enters a user namespace, with `unfinished` it never lets the instance go.
fn card_main(directory: &Path, mode: &str) -> ! {
    if mode == "user" {
        userns::enter().unwrap();
    }
    let mut instance = Instance::spawn(&options(directory)).unwrap();
    instance.wait_ready(Duration::from_secs(5)).unwrap();
    if mode != "unfinished" {
        instance.go().unwrap();
    }
    println!("{}", serde_json::to_string(&instance.process_id()).unwrap());
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    instance.kill(Duration::ZERO).unwrap();
    std::process::exit(0)
}

/// Options of an instance whose files lie in `directory`.
pub(crate) fn options(directory: &Path) -> InstanceOptions {
    let run_dir = directory.join("run");
    std::fs::create_dir_all(&run_dir).unwrap();
    let mut options = InstanceOptions::new("i-0123456789abcdef0", run_dir, directory.join("console"));
    options.hostname = "ip-10-0-0-5".into();
    options.resolv_conf = "nameserver 10.0.0.2\n".into();
    options
}
