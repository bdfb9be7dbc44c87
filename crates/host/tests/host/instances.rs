//! Instances: start, isolation, user data, exec, end, adoption.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::process::Signal;
use tempfile::TempDir;
use trinic_host::instance::InstanceOptions;
use trinic_host::{Instance, ProcessId};

use crate::helpers;
use crate::support::Host;

pub(crate) fn trials(host: &Host) -> Vec<Trial> {
    let need = &host.probe.instances;
    vec![
        host.trial(
            "instance_becomes_ready_again_and_again",
            need,
            becomes_ready_again_and_again,
        ),
        host.trial("instance_is_isolated", need, is_isolated),
        host.trial(
            "instance_cannot_touch_the_machine",
            need,
            cannot_touch_the_machine,
        ),
        host.trial(
            "user_data_runs_after_go_and_reaches_the_console",
            need,
            user_data_runs,
        ),
        host.trial(
            "console_keeps_the_end_of_endless_output",
            need,
            console_is_bounded,
        ),
        host.trial("exec_returns_statuses_and_streams", need, exec_returns_statuses),
        host.trial("exec_passes_signals_on", need, exec_passes_signals),
        host.trial("kill_leaves_nothing_behind", need, kill_leaves_nothing),
        host.trial("sigterm_ends_everything", need, sigterm_ends_everything),
        host.trial("instance_survives_its_card_and_is_adopted", need, is_adopted),
        host.trial("unfinished_instance_ends_with_its_card", need, unfinished_ends),
        host.trial("hidden_directories_are_empty", need, hidden_directories_are_empty),
        host.trial(
            "user_data_inherits_no_descriptor",
            need,
            user_data_inherits_no_descriptor,
        ),
        host.trial("many_instances_start_at_once", need, many_start_at_once),
        host.root_trial("exec_works_for_the_user_who_owns_the_card", exec_for_owner),
    ]
}

struct Machine {
    instance: Instance,
    directory: TempDir,
}

impl Machine {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut InstanceOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = helpers::options(directory.path());
        change(&mut options);
        let mut instance = Instance::spawn(&options).unwrap();
        instance.wait_ready(Duration::from_secs(5)).unwrap();
        instance.go().unwrap();
        Self { instance, directory }
    }

    fn shell(&self, script: &str) -> (i32, String) {
        exec(self.instance.process_id(), &["sh", "-c", script])
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.path().join("console")).unwrap()).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.instance.kill(Duration::ZERO);
    }
}

fn exec_command(id: ProcessId, command: &[&str]) -> Command {
    let mut helper = Command::new("/proc/self/exe");
    helper
        .arg("test-exec")
        .arg(serde_json::to_string(&id).unwrap())
        .args(command);
    helper
}

fn exec(id: ProcessId, command: &[&str]) -> (i32, String) {
    let output = exec_command(id, command).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text.into_owned())
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How long a start takes is printed, not judged: the machine may be busy.
fn becomes_ready_again_and_again() {
    const STARTS: u32 = 9;
    let directory = tempfile::tempdir().unwrap();
    let options = helpers::options(directory.path());
    let mut best = Duration::MAX;
    for _ in 0..STARTS {
        let begin = Instant::now();
        let instance = Instance::spawn(&options).unwrap();
        // The network can be configured from here on, before the rest is ready.
        assert!(instance.netns().unwrap().run(|| ()).is_ok());
        instance.wait_ready(Duration::from_secs(5)).unwrap();
        best = best.min(begin.elapsed());
        instance.kill(Duration::ZERO).unwrap();
    }
    println!("best of {STARTS} starts: ready after {best:?}");
}

fn is_isolated() {
    let machine = Machine::start();
    for (script, expected) in [
        ("hostname", "ip-10-0-0-5\n"),
        ("cat /etc/hostname", "ip-10-0-0-5\n"),
        ("cat /etc/resolv.conf", "nameserver 10.0.0.2\n"),
        ("cat /proc/1/comm", "trinic-init\n"),
        ("id -u", "0\n"),
        ("cat /sys/class/net/*/address", "00:00:00:00:00:00\n"),
        ("ls /tmp; ls /run", "trinic\nuser-data-absent\n"),
    ] {
        let expected = expected.replace("user-data-absent\n", "");
        assert_eq!(machine.shell(script), (0, expected), "{script}");
    }
    // Its own processes only: init, the shell, and what the shell starts.
    let (_, processes) = machine.shell("ls /proc | grep -c '^[0-9]'");
    assert!(processes.trim().parse::<u32>().unwrap() <= 5, "{processes}");
    let inside = machine
        .shell("for n in net mnt pid uts ipc user cgroup; do readlink /proc/self/ns/$n; done")
        .1;
    for name in ["net", "mnt", "pid", "uts", "ipc", "user", "cgroup"] {
        let ours = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let ours = ours.to_str().unwrap();
        assert!(
            inside.contains(&format!("{name}:[")) && !inside.contains(ours),
            "{name}: {ours} {inside}"
        );
    }
    // The card's directory shows through, and nothing inside can take the place of what is there.
    let file = machine.directory.path().join("run/file");
    fs::write(&file, "hello\n").unwrap();
    assert_eq!(machine.shell("cat /run/trinic/file"), (0, "hello\n".to_owned()));
    for script in [
        "echo x > /run/trinic/other",
        "rm /run/trinic/file",
        "ln -sf /etc/passwd /run/trinic/file",
    ] {
        assert_ne!(machine.shell(&format!("{script} 2>&1")).0, 0, "{script}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "hello\n");
}

fn cannot_touch_the_machine() {
    let machine = Machine::start();
    for script in [
        "touch /x",
        "touch /etc/x",
        "touch /usr/x",
        "echo 1 > /proc/sys/kernel/panic",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo 1 > /sys/kernel/mm/ksm/run",
        "mount -o remount,rw /",
        "mount -o remount,rw,bind /",
        "umount /proc/sys/kernel",
        "umount /dev",
        "mknod /tmp/disk b 254 0 && cat /tmp/disk",
        "unshare -Ur mount -t proc proc /proc",
        "unshare -Urmpf sh -c 'mount -t proc proc /proc && echo x > /proc/sys/kernel/core_pattern'",
        "kill -9 1 && sleep 1 && ! kill -0 1",
    ] {
        let (code, text) = machine.shell(script);
        assert_ne!(code, 0, "{script}: {text}");
    }
    assert_eq!(
        machine.shell("ls /dev"),
        (0, DEVICES.replace("net\n", &net_directory(&machine)))
    );
    // What is private can be written, and devices that hold nothing work.
    let script =
        "touch /tmp/x /run/x /var/tmp/x /dev/shm/x && echo > /dev/null && head -c 1 /dev/urandom >/dev/null";
    assert_eq!(machine.shell(script), (0, String::new()));
    assert!(!fs::exists("/tmp/x").unwrap() && !fs::exists("/run/x").unwrap());
}

/// `net` is there in any case; whether it holds the tap device depends on the machine.
fn net_directory(machine: &Machine) -> String {
    assert_eq!(machine.shell("ls -d /dev/net").0, 0);
    "net\n".into()
}

const DEVICES: &str =
    "console\nfd\nfull\nnet\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";

fn user_data_runs() {
    let script =
        "#!/bin/sh\necho out $$; echo err >&2; echo more > /dev/console; cat /etc/hostname; exit 3\n";
    let directory = tempfile::tempdir().unwrap();
    let mut options = helpers::options(directory.path());
    options.user_data = Some(script.into());
    let mut instance = Instance::spawn(&options).unwrap();
    instance.wait_ready(Duration::from_secs(5)).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(
        fs::read_to_string(&options.console_path).unwrap(),
        "",
        "nothing runs before the network is there"
    );
    instance.go().unwrap();
    let console = || fs::read_to_string(&options.console_path).unwrap();
    eventually("the user data ends", || {
        console().contains("user data ended with status 3")
    });
    for line in ["out 2\n", "err\n", "more\n", "ip-10-0-0-5\n"] {
        assert!(console().contains(line), "{line:?} in {}", console());
    }
    instance.kill(Duration::ZERO).unwrap();
    // What is no script is not run, and no error.
    let machine = Machine::start_with(|options| options.user_data = Some(b"{\"key\": 1}".to_vec()));
    assert_eq!(machine.shell("true").0, 0);
    assert_eq!(machine.console(), "");
}

fn console_is_bounded() {
    let machine = Machine::start_with(|options| {
        options.user_data =
            Some(b"#!/bin/sh\ni=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done\n".to_vec());
        options.console_limit_bytes = 8192;
    });
    eventually("the user data ends", || {
        machine.console().ends_with("user data ended with status 0\n")
    });
    let console = machine.console();
    assert!(console.contains("line 19998\nline 19999\n"), "the end is there");
    assert!(console.len() <= 3 * 8192, "{}", console.len());
}

fn exec_returns_statuses() {
    let machine = Machine::start();
    assert_eq!(machine.shell("exit 0").0, 0);
    assert_eq!(machine.shell("exit 7").0, 7);
    assert_eq!(machine.shell("kill -9 $$").0, 128 + 9);
    let id = machine.instance.process_id();
    assert_eq!(exec(id, &["no-such-command"]).0, 127);
    assert_eq!(exec(id, &["/etc/hostname"]).0, 126);
    assert_eq!(exec(id, &["printf", "%s|", "a b", "c"]), (0, "a b|c|".into()));
    let mut child = exec_command(id, &["cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"through\n").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through\n");
    let gone = ProcessId {
        start_time: id.start_time + 1,
        ..id
    };
    let (code, text) = exec(gone, &["true"]);
    assert_eq!((code, text), (125, format!("Process {} is gone\n", id.pid)));
}

fn exec_passes_signals() {
    let machine = Machine::start();
    let script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let mut command = exec_command(machine.instance.process_id(), &["sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "got");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

/// Processes in the pid namespace with this inode.
fn processes_in(namespace: u64) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| fs::metadata(entry.path().join("ns/pid")).is_ok_and(|ns| ns.ino() == namespace))
        .count()
}

fn pid_namespace(instance: &Instance) -> u64 {
    fs::metadata(format!("/proc/{}/ns/pid", instance.pid()))
        .unwrap()
        .ino()
}

fn kill_leaves_nothing() {
    let machine = Machine::start();
    let namespace = pid_namespace(&machine.instance);
    let script = "for i in 1 2 3; do (trap '' TERM; setsid sleep 1000) >/dev/null 2>&1 & done";
    assert_eq!(machine.shell(script).0, 0);
    eventually("four processes run", || processes_in(namespace) == 4);
    let begin = Instant::now();
    machine.instance.kill(Duration::ZERO).unwrap();
    println!("killed in {:?}", begin.elapsed());
    assert_eq!(processes_in(namespace), 0);
    assert!(!machine.instance.process_id().is_alive());
    assert!(machine.instance.netns().is_err());
    // A second time is no error.
    machine.instance.kill(Duration::ZERO).unwrap();
}

fn sigterm_ends_everything() {
    let script = "#!/bin/sh\ntrap 'echo goodbye; exit 0' TERM\nwhile :; do sleep 0.01; done\n";
    let machine = Machine::start_with(|options| options.user_data = Some(script.into()));
    // The script has set its trap when it has started its first sleep.
    eventually("the script runs", || {
        machine.shell("cat /proc/[0-9]*/comm").1.contains("sleep\n")
    });
    let namespace = pid_namespace(&machine.instance);
    machine.instance.kill(Duration::from_secs(4)).unwrap();
    assert_eq!(processes_in(namespace), 0);
    assert!(machine.console().contains("goodbye\n"), "{}", machine.console());
}

/// A card in a process of its own, and the instance that it started.
fn start_card(directory: &TempDir, mode: &str, change: impl FnOnce(&mut Command)) -> (Child, ProcessId) {
    let mut command = Command::new("/proc/self/exe");
    command.arg("test-card").arg(directory.path()).arg(mode);
    change(&mut command);
    let mut card = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(card.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (card, serde_json::from_str(&line).unwrap())
}

fn is_adopted() {
    let directory = tempfile::tempdir().unwrap();
    let (mut card, id) = start_card(&directory, "plain", |_| {});
    card.kill().unwrap();
    card.wait().unwrap();
    let instance = Instance::adopt("i-0123456789abcdef0", id).unwrap();
    instance.wait_ready(Duration::ZERO).unwrap();
    assert_eq!(exec(id, &["hostname"]), (0, "ip-10-0-0-5\n".into()));
    assert!(instance.netns().unwrap().run(|| ()).is_ok());
    instance.kill(Duration::ZERO).unwrap();
    assert!(Instance::adopt("i-0123456789abcdef0", id).is_err());
}

fn unfinished_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (mut card, id) = start_card(&directory, "unfinished", |_| {});
    assert!(id.is_alive());
    card.kill().unwrap();
    card.wait().unwrap();
    eventually("the instance ends", || !id.is_alive());
}

fn many_start_at_once() {
    let begin = Instant::now();
    let machines: Vec<Machine> = std::thread::scope(|scope| {
        (0..8)
            .map(|_| scope.spawn(Machine::start))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    println!("8 instances in {:?}", begin.elapsed());
    let mut namespaces: Vec<u64> = machines
        .iter()
        .map(|machine| pid_namespace(&machine.instance))
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    assert_eq!(namespaces.len(), 8);
}

/// The command line of an ordinary user is not in the card's user namespace, but owns it.
fn exec_for_owner() {
    const NOBODY: u32 = 65_534;
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let (mut card, id) = start_card(&directory, "user", |command| {
        command.uid(NOBODY).gid(NOBODY);
    });
    for user in [0, NOBODY] {
        let output = exec_command(id, &["sh", "-c", "id -u; hostname"])
            .uid(user)
            .gid(user)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "0\nip-10-0-0-5\n",
            "user {user}: {error}"
        );
    }
    let output = exec_command(id, &["true"]).uid(1).gid(1).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "another user is kept out");
    drop(card.stdin.take());
    assert!(card.wait().unwrap().success());
    assert!(!id.is_alive());
}

fn hidden_directories_are_empty() {
    let machine =
        Machine::start_with(|options| options.hide = vec![options.run_dir.parent().unwrap().into()]);
    let hidden = machine.directory.path().to_str().unwrap();
    // /tmp is private anyway, so the directory is looked at where it is not.
    assert!(hidden.starts_with("/tmp/"), "{hidden}");
    assert_eq!(machine.shell(&format!("ls {hidden}")).0, 2);
    let machine =
        Machine::start_with(|options| options.hide = vec!["/usr/share".into(), "/nonexistent".into()]);
    assert_eq!(
        machine.shell("ls /usr/share; touch /usr/share/x 2>/dev/null; echo $?"),
        (0, "1\n".into())
    );
    assert_eq!(
        machine.shell("umount /usr/share 2>/dev/null; ls /usr/share"),
        (0, String::new())
    );
}

/// The script gets its three streams and nothing else of the init's.
fn user_data_inherits_no_descriptor() {
    let machine = Machine::start_with(|options| {
        options.user_data =
            Some(b"#!/bin/sh\nfor fd in /proc/$$/fd/*; do readlink $fd; done; exit 0\n".to_vec());
    });
    eventually("the user data ends", || {
        machine.console().contains("ended with status 0")
    });
    let console = machine.console();
    let mut targets: Vec<&str> = console.lines().filter(|line| line.starts_with('/')).collect();
    targets.sort_unstable();
    // The fourth is the script itself, which the shell reads.
    assert_eq!(
        targets,
        ["/dev/console", "/dev/console", "/dev/null", "/run/user-data"],
        "{console}"
    );
}
