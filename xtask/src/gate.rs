//! `cargo xtask ci` and `cargo xtask support`: the checks that every commit passes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// fmt, clippy, tidy, support --check, spec, tests, docs: stops at the first that fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    checks(root)?;
    step(root, "cargo", &["nextest", "run", "--workspace"])?;
    step(root, "cargo", &["test", "--workspace", "--doc", "--quiet"])?;
    step(
        root,
        "cargo",
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--quiet",
        ],
    )
}

/// The checks that run no test.
pub(crate) fn checks(root: &Path) -> Result<()> {
    step(root, "cargo", &["fmt", "--all", "--check"])?;
    step(
        root,
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    crate::tidy::run(root)?;
    support(root, true)?;
    // The specification was written first; until its crate is there every requirement lacks code.
    if root.join("crates/srd").is_dir() {
        crate::say("+ cargo xtask spec");
        crate::spec::run(root)?;
    }
    Ok(())
}

/// Writes docs/support.md from the action table, or compares.
pub(crate) fn support(root: &Path, only_check: bool) -> Result<()> {
    let path = root.join("docs/support.md");
    let wanted = format!("{INTRODUCTION}{}", trinic_ec2::support::page());
    if only_check {
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        if found != wanted {
            bail!("docs/support.md differs from the action table: run `cargo xtask support`");
        }
        return Ok(());
    }
    std::fs::write(&path, wanted).with_context(|| format!("Could not write {}", path.display()))
}

fn step(root: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    crate::say(&format!("+ {program} {}", arguments.join(" ")));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .status()
        .with_context(|| format!("Could not start {program}"))?;
    if !status.success() {
        bail!("`{program} {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// What no table in the code says; the table of actions follows it.
const INTRODUCTION: &str = "\
# Support

What works, what is partial and what is absent. `cargo xtask support` writes this page from the code's own table of actions; `cargo xtask ci` compares.

## Interfaces and functions

| feature | support | note |
|---|---|---|
| interface as a tap device in a namespace instance | works | root, or an ordinary user where /dev/net/tun is open; a capture in the instance shows a burst of datagrams as one super-frame (Linux 6.2) |
| interface as a veth end, switched over a packet socket | works | an ordinary user where /dev/net/tun is closed but user namespaces are open |
| interface in a user-space stack | works | where the host allows neither; no exec, no user data |
| interface in a namespace of the user's own | works | `trinic attach` |
| source/dest check, security groups, connection tracking | works | IPv4 and IPv6 |
| Elastic IPs, automatic public addresses, internet gateway | works | 1:1 NAT to the card's own \"internet\" namespace |
| instance metadata v1 and v2, DNS, DHCP, NTP | works | on every interface; Debian's cloud-init, amazon-ec2-net-utils and systemd-networkd run on them in the tests, and every path of the VPC CNI is answered |
| IPv6-only subnets | works | the link-local services answer at their IPv6 addresses |
| network ACLs | absent | security groups are the only filter |
| NAT gateways, peering, VPC endpoints, transit gateways, flow logs | absent | the API says UnsupportedOperation |
| IP fragments out of the VPC above 1500 bytes | absent | dropped with a named reason; with DF set the sender is told |
| ENA function of a virtual machine: the stock Linux driver binds | works | QEMU 10.1 or later; host and low-latency queues, RSS, checksum offload, TSO, scatter-gather, interrupt moderation, statistics and metrics |
| ENA function for a VMM or driver of the user's own | works | `trinic attach --vfio-user` |
| ENA function in a namespace instance | works | tag `trinic:function=ena` on a further interface: a socket in /run/trinic for a driver in user space |
| ENA: PHC, flow steering, hardware timestamps, ENA Express (SRD) | absent | the device does not offer them |
| ENA under DPDK | works | 24.11's testpmd in a guest, by vfio-pci behind the emulated IOMMU: answers, and forwards from function to function |
| ENA under FreeBSD, iPXE | partial | built after their sources; not run |
| virtual machines from a kernel or a disk | works | docs/images.md; KVM where a stock kernel boots under it, else translation |
| taking an interface out of a running virtual machine | works | around a fault of QEMU's, 28 times in the life of a machine: docs/devices.md, \"Unplugging under QEMU\" |
| allowances of instance types: bandwidth, packets, connections, link-local | works | on for virtual machines, `trinic up --allowances` for all; what an ENA sends above them waits in its driver's queue, all else that would be queued passes at once and is counted |
| SRD, the transport of EFA | partial | the protocol (docs/spec/srd.md), its engine, a simulator and a carrier over UDP are there; no function uses them yet |
| EFA functions | absent | planned |

## EC2 actions

";
