//! What the demo's scenes share: a card of its own, the API, instances, and measurements inside them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use super::api::{Api, Element};
use crate::program::{Connect, ConnectOutcome, PingOutcome, Program};

/// How long anything that the demo waits for may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A card that lives as long as the demo.
pub(super) struct Lab {
    pub(super) api: Api,
    pub(super) start: Duration,
    program: PathBuf,
    state: PathBuf,
    control: Child,
    _folder: Folder,
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind is untidy, and nothing to fail for.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An instance of the demo.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) interface: String,
    pub(super) address: Ipv4Addr,
}

impl Lab {
    /// Starts `trinic up` on a free port with a state folder of its own.
    pub(super) fn start() -> Result<Self> {
        let program = std::env::current_exe().context("Could not tell the path of this program")?;
        let folder = Folder(short_temp_dir().join(format!("trinic-demo-{}", std::process::id())));
        std::fs::create_dir(&folder.0).with_context(|| format!("Could not make {}", folder.0.display()))?;
        let state = folder.0.join("state");
        let endpoint = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = folder.0.join("up.log");
        let begin = Instant::now();
        let mut control = Command::new(&program)
            .args(["up", "--ephemeral", "--listen", &endpoint.to_string(), "--state"])
            .arg(&state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .context("Could not start `trinic up`")?;
        let mut line = String::new();
        let stdout = control.stdout.take().context("`trinic up` has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if !line.contains("ready") {
            // It has ended, or is about to: the log says why.
            let _ = control.wait();
            bail!(
                "`trinic up` did not become ready: {}",
                std::fs::read_to_string(&log)?.trim()
            );
        }
        Ok(Self {
            api: Api::new(endpoint),
            start: begin.elapsed(),
            program,
            state,
            control,
            _folder: folder,
        })
    }

    /// `namespace` or `user-space`, and why not namespaces.
    pub(super) fn backend(&self) -> Result<(String, Option<String>)> {
        let shown: serde_json::Value = self.trinic(&["ls", "--output", "json"])?;
        let card = &shown["card"];
        let text = |name: &str| card[name].as_str().map(str::to_owned);
        Ok((
            text("backend").context("`trinic ls` does not name the backend")?,
            text("backend_reason"),
        ))
    }

    /// The endpoint that the API is served on.
    pub(super) fn endpoint(&self) -> SocketAddr {
        self.api.endpoint()
    }

    /// The counter of packets that an interface lost for a reason (a kebab-case name).
    pub(super) fn drops(&self, interface: &str, reason: &str) -> Result<u64> {
        let shown: serde_json::Value = self.trinic(&["stats", interface, "--output", "json"])?;
        Ok(shown["drops"][reason].as_u64().unwrap_or(0))
    }

    /// What the pipeline says it would do with a TCP packet.
    pub(super) fn trace(&self, interface: &str, to: Ipv4Addr, port: u16) -> Result<String> {
        let (to, port) = (to.to_string(), port.to_string());
        let output = self
            .command()
            .args(["trace", interface, "--to", &to, "--proto", "tcp", "--port", &port])
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Pings from inside an instance (or `internet`).
    pub(super) fn ping(&self, from: &str, address: Ipv4Addr, count: u32) -> Result<PingOutcome> {
        self.probe(from, &ping(address, count, 10))
    }

    /// Opens a TCP connection from inside an instance.
    pub(super) fn connect(&self, from: &str, address: Ipv4Addr, port: u16) -> Result<Connect> {
        let to = SocketAddr::from((address, port));
        let program = Program::TcpConnect {
            to,
            timeout: Duration::from_millis(500),
        };
        Ok(self.probe::<ConnectOutcome>(from, &program)?.outcome)
    }

    /// Runs a built-in program in an instance and reads what it measured.
    pub(super) fn probe<T: DeserializeOwned>(&self, instance: &str, program: &Program) -> Result<T> {
        let words = program.words();
        let mut arguments = vec!["probe", "--output", "json", instance];
        arguments.extend(words.iter().map(String::as_str));
        self.trinic(&arguments)
    }

    /// Starts a built-in program in an instance and leaves it running.
    pub(super) fn spawn(&self, instance: &str, program: &Program) -> Result<Background> {
        let mut command = self.command();
        command
            .args(["probe", "--output", "json", instance])
            .args(program.words());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Background(child))
    }

    /// Launches an instance and waits until it runs.
    pub(super) fn run(&self, subnet: &str, group: &str, address: &str) -> Result<Instance> {
        let parameters = [
            ("ImageId", "ami-0abcdef1234567890"),
            ("InstanceType", "t3.micro"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SubnetId", subnet),
            ("SecurityGroupId.1", group),
            ("PrivateIpAddress", address),
        ];
        let reply = self.api.call("RunInstances", &parameters)?;
        let id = reply.get("instancesSet/item/instanceId")?;
        let interface = reply.get("instancesSet/item/networkInterfaceSet/item/networkInterfaceId")?;
        eventually(&format!("{id} to run"), || {
            let shown = self.api.call("DescribeInstances", &[("InstanceId.1", &id)])?;
            Ok(shown.text("reservationSet/item/instancesSet/item/instanceState/name") == Some("running"))
        })?;
        Ok(Instance {
            id,
            interface,
            address: address.parse()?,
        })
    }

    /// A group that lets nothing in yet.
    pub(super) fn group(&self, vpc: &str, name: &str) -> Result<String> {
        let parameters = [("GroupName", name), ("GroupDescription", name), ("VpcId", vpc)];
        self.api.call("CreateSecurityGroup", &parameters)?.get("groupId")
    }

    /// Opens a port (or ICMP with -1) of a group to an IPv4 prefix.
    pub(super) fn allow(&self, group: &str, protocol: &str, port: &str, from: &str) -> Result<Element> {
        let parameters = [
            ("GroupId", group),
            ("IpPermissions.1.IpProtocol", protocol),
            ("IpPermissions.1.FromPort", port),
            ("IpPermissions.1.ToPort", port),
            ("IpPermissions.1.IpRanges.1.CidrIp", from),
        ];
        self.api.call("AuthorizeSecurityGroupIngress", &parameters)
    }

    /// A VPC.
    pub(super) fn vpc(&self, cidr: &str) -> Result<String> {
        self.api
            .call("CreateVpc", &[("CidrBlock", cidr)])?
            .get("vpc/vpcId")
    }

    /// A subnet.
    pub(super) fn subnet(&self, vpc: &str, cidr: &str) -> Result<String> {
        self.api
            .call("CreateSubnet", &[("VpcId", vpc), ("CidrBlock", cidr)])?
            .get("subnet/subnetId")
    }

    fn trinic<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let output = self.command().args(arguments).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`trinic {}` failed: {}", arguments.join(" "), said.trim());
        }
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "`trinic {}` printed something else than JSON",
                arguments.join(" ")
            )
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("TRINIC_STATE", &self.state);
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Ends instances, card and control; if that fails, at least control must not stay.
        let down = self
            .command()
            .arg("down")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !down.is_ok_and(|status| status.success()) {
            let _ = self.control.kill();
        }
        let _ = self.control.wait();
    }
}

/// A built-in program that runs on its own.
pub(super) struct Background(Child);

impl Background {
    /// Waits for the end and reads what it measured.
    pub(super) fn finish<T: DeserializeOwned>(mut self) -> Result<T> {
        let stdout = self.0.stdout.take().context("The program has no output")?;
        let found =
            serde_json::from_reader(stdout).context("The program printed something else than JSON")?;
        self.0.wait()?;
        Ok(found)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The temporary directory, or /tmp if its path is too long for the sockets below it. Source: `unix(7)`, 108 bytes.
fn short_temp_dir() -> PathBuf {
    const LONGEST_BYTES: usize = 50;
    let found = std::env::temp_dir();
    if found.as_os_str().len() <= LONGEST_BYTES {
        found
    } else {
        PathBuf::from("/tmp")
    }
}

/// A ping of `count` requests, one each `interval_ms`.
pub(super) fn ping(address: Ipv4Addr, count: u32, interval_ms: u64) -> Program {
    Program::Ping {
        address: address.into(),
        source: None,
        count,
        interval: Duration::from_millis(interval_ms),
    }
}

/// Asks until the answer is yes.
pub(super) fn eventually(what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !ask()? {
        if Instant::now() > end {
            bail!("Waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
