//! Instances: start, isolation, exec, end, adoption.

use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tempfile::TempDir;
use trinic_host::instance::InstanceOptions;
use trinic_host::{Instance, ProcessId};

use crate::support::Host;

pub(crate) fn trials(_host: &Host) -> Vec<Trial> {
    vec![Host::trial(
        "instance_starts_isolated",
        None,
        instance_starts_isolated,
    )]
}

struct Machine {
    instance: Instance,
    directory: TempDir,
}

impl Machine {
    fn start(user_data: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let run_dir = directory.path().join("run");
        std::fs::create_dir(&run_dir).unwrap();
        let mut options = InstanceOptions::new("i-0123", &run_dir, directory.path().join("console"));
        options.hostname = "ip-10-0-0-5".into();
        options.user_data = user_data.map(|text| text.as_bytes().to_vec());
        options.resolv_conf = "nameserver 10.0.0.2\n".into();
        let begin = Instant::now();
        let mut instance = Instance::spawn(&options).unwrap();
        let spawned = begin.elapsed();
        instance.wait_ready(Duration::from_secs(5)).unwrap();
        eprintln!("spawn {spawned:?} ready {:?}", begin.elapsed());
        instance.go().unwrap();
        Self { instance, directory }
    }

    fn exec(&self, script: &str) -> (i32, String) {
        exec(self.instance.process_id(), script)
    }
}

/// The test program as `trinic exec`.
pub(crate) fn exec_main() -> ! {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let id: ProcessId = serde_json::from_str(&arguments[0]).unwrap();
    let code = trinic_host::instance::exec::exec_in(id, &arguments[1..]).unwrap_or_else(|error| {
        eprintln!("{}", error.chain());
        125
    });
    std::process::exit(code)
}

fn exec(id: ProcessId, script: &str) -> (i32, String) {
    let output = Command::new("/proc/self/exe")
        .args([
            "test-exec",
            &serde_json::to_string(&id).unwrap(),
            "sh",
            "-c",
            script,
        ])
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

fn instance_starts_isolated() {
    let machine = Machine::start(None);
    let (code, text) = machine.exec("id; hostname; ps ax; cat /proc/1/comm; mount; ip a; touch /x; touch /tmp/x; ls -la /tmp /run /run/trinic /dev; cat /etc/resolv.conf; cat /proc/self/status | grep Cap");
    eprintln!("{code} {text}");
    machine.instance.kill(Duration::ZERO).unwrap();
    drop(machine.directory);
}
