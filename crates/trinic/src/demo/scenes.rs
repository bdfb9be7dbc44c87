//! The scenes of the demo, in the order in which a newcomer meets the ideas.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Report;
use super::functions;
use super::lab::{Instance, Lab, eventually, ping};
use crate::program::{PingOutcome, Program};

/// Address of the machine in the card's "internet". Source: docs/design.md.
const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The pieces that later scenes reuse.
struct Stage {
    vpc: String,
    subnet: String,
    group: String,
    one: Instance,
    two: Instance,
}

/// All scenes.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let stage = security_groups(lab, report)?;
    functions::scene(lab, report, [&stage.one, &stage.two], &stage.subnet, &stage.group)?;
    source_dest_check(lab, report, &stage)?;
    elastic_ip(lab, report, &stage)?;
    secondary_address(lab, report, &stage)?;
    moved_interface(lab, report, &stage)?;
    same_cidr(lab, report, &stage)
}

/// Default deny, a rule that opens a port, and who says which rule dropped a packet.
fn security_groups(lab: &Lab, report: &mut Report) -> Result<Stage> {
    report.scene("Security groups: nothing comes in until a rule lets it");
    let begin = Instant::now();
    let vpc = lab.vpc("10.0.0.0/16")?;
    let subnet = lab.subnet(&vpc, "10.0.1.0/24")?;
    let group = lab.group(&vpc, "demo")?;
    let one = lab.run(&subnet, &group, "10.0.1.10")?;
    let two = lab.run(&subnet, &group, "10.0.1.20")?;
    let took = begin.elapsed().as_millis();
    report.note(&format!(
        "{vpc}, {subnet}, {} and {} made and running after {took} ms",
        one.id, two.id
    ));
    let silent = lab.ping(&one.id, two.address, 3)?;
    report.check("ping with no rule", "0 of 3 answers", &answers(&silent));
    let dropped = lab.drops(&two.interface, "security-group-inbound")?;
    report.judge(
        "dropped at the receiver, by its counter",
        "3 or more",
        &dropped.to_string(),
        dropped >= 3,
    );
    lab.allow(&group, "icmp", "-1", "10.0.0.0/16")?;
    let heard = lab.ping(&one.id, two.address, 20)?;
    report.check("ping once ICMP is allowed", "20 of 20 answers", &answers(&heard));
    if let Some(rtt_us) = heard.rtt_p50_us {
        report.note(&format!("round trip, median of 20: {rtt_us:.0} µs"));
    }
    let _server = lab.spawn(&two.id, &Program::TcpEcho { port: 8080 })?;
    let before = lab.connect(&one.id, two.address, 8080)?;
    report.check("TCP 8080 before its rule", "silent", &before.to_string());
    for line in lab.trace(&one.interface, two.address, 8080)?.lines() {
        if let Some(said) = line.strip_prefix("security-group-in ") {
            report.note(&format!("trinic trace: {}", said.trim()));
        }
    }
    lab.allow(&group, "tcp", "8080", "10.0.1.0/24")?;
    let mut after = lab.connect(&one.id, two.address, 8080)?.to_string();
    // The server may still be starting: that nobody listens yet is also an answer, so ask until it does.
    eventually("the server in the instance", || {
        after = lab.connect(&one.id, two.address, 8080)?.to_string();
        Ok(after == "open")
    })?;
    report.check("TCP 8080 after its rule", "open", &after);
    let other = lab.connect(&one.id, two.address, 8081)?;
    report.check("TCP 8081, which no rule names", "silent", &other.to_string());
    Ok(Stage {
        vpc,
        subnet,
        group,
        one,
        two,
    })
}

/// An instance as a router: its interface drops what is not its own until the check is off.
fn source_dest_check(lab: &Lab, report: &mut Report, stage: &Stage) -> Result<()> {
    report.scene("Source/dest check: an instance as router between two subnets");
    let far_subnet = lab.subnet(&stage.vpc, "10.0.2.0/24")?;
    let middle_subnet = lab.subnet(&stage.vpc, "10.0.3.0/24")?;
    let far = lab.run(&far_subnet, &stage.group, "10.0.2.10")?;
    let router = lab.run(&middle_subnet, &stage.group, "10.0.3.10")?;
    lab.probe::<serde_json::Value>(&router.id, &Program::Forward)?;
    let table = lab
        .api
        .call("CreateRouteTable", &[("VpcId", &stage.vpc)])?
        .get("routeTable/routeTableId")?;
    let route = [
        ("RouteTableId", table.as_str()),
        ("DestinationCidrBlock", "10.0.2.0/24"),
        ("NetworkInterfaceId", &router.interface),
    ];
    lab.api.call("CreateRoute", &route)?;
    let association = lab.api.call(
        "AssociateRouteTable",
        &[("RouteTableId", &table), ("SubnetId", &stage.subnet)],
    )?;
    let association = association.get("associationId")?;
    let blocked = lab.ping(&stage.one.id, far.address, 3)?;
    report.check(
        "through the router, check on",
        "0 of 3 answers",
        &answers(&blocked),
    );
    let dropped = lab.drops(&router.interface, "destination-check")?;
    report.judge(
        "dropped at the router's interface",
        "3 or more",
        &dropped.to_string(),
        dropped >= 3,
    );
    let off = [
        ("NetworkInterfaceId", router.interface.as_str()),
        ("SourceDestCheck.Value", "false"),
    ];
    lab.api.call("ModifyNetworkInterfaceAttribute", &off)?;
    let passed = lab.ping(&stage.one.id, far.address, 10)?;
    report.check(
        "through the router, check off",
        "10 of 10 answers",
        &answers(&passed),
    );
    lab.api
        .call("DisassociateRouteTable", &[("AssociationId", &association)])?;
    Ok(())
}

/// An Elastic IP, reached from "the internet" and left through.
fn elastic_ip(lab: &Lab, report: &mut Report, stage: &Stage) -> Result<()> {
    report.scene("Elastic IP: one to one through an internet gateway");
    let gateway = lab
        .api
        .call("CreateInternetGateway", &[])?
        .get("internetGateway/internetGatewayId")?;
    lab.api.call(
        "AttachInternetGateway",
        &[("InternetGatewayId", &gateway), ("VpcId", &stage.vpc)],
    )?;
    let filters = [
        ("Filter.1.Name", "vpc-id"),
        ("Filter.1.Value.1", stage.vpc.as_str()),
        ("Filter.2.Name", "association.main"),
        ("Filter.2.Value.1", "true"),
    ];
    let table = lab
        .api
        .call("DescribeRouteTables", &filters)?
        .get("routeTableSet/item/routeTableId")?;
    let route = [
        ("RouteTableId", table.as_str()),
        ("DestinationCidrBlock", "0.0.0.0/0"),
        ("GatewayId", &gateway),
    ];
    lab.api.call("CreateRoute", &route)?;
    let without = lab.ping(&stage.one.id, INTERNET, 3)?;
    report.check(
        "out to the internet without a public address",
        "0 of 3 answers",
        &answers(&without),
    );
    let allocated = lab.api.call("AllocateAddress", &[("Domain", "vpc")])?;
    let (public, allocation) = (allocated.get("publicIp")?, allocated.get("allocationId")?);
    let associate = [
        ("AllocationId", allocation.as_str()),
        ("NetworkInterfaceId", &stage.one.interface),
    ];
    lab.api.call("AssociateAddress", &associate)?;
    let out = lab.ping(&stage.one.id, INTERNET, 5)?;
    report.check(&format!("out, as {public}"), "5 of 5 answers", &answers(&out));
    let public: Ipv4Addr = public.parse()?;
    let closed = lab.ping("internet", public, 3)?;
    report.check(
        "in from the internet, ICMP open to the VPC only",
        "0 of 3 answers",
        &answers(&closed),
    );
    lab.allow(&stage.group, "icmp", "-1", "203.0.113.0/24")?;
    let open = lab.ping("internet", public, 5)?;
    report.check(
        "in from the internet once a rule names it",
        "5 of 5 answers",
        &answers(&open),
    );
    Ok(())
}

/// A secondary address: answers on its interface, then on another one, under a running ping.
fn secondary_address(lab: &Lab, report: &mut Report, stage: &Stage) -> Result<()> {
    report.scene("Secondary address: moved between two instances under a running ping");
    let address = Ipv4Addr::new(10, 0, 1, 50);
    let text = address.to_string();
    let watcher = lab.run(&stage.subnet, &stage.group, "10.0.1.30")?;
    assign(lab, &stage.one.interface, &text, false)?;
    eventually("the secondary address to answer", || {
        Ok(lab.ping(&watcher.id, address, 1)?.received == 1)
    })?;
    let running = lab.spawn(&watcher.id, &ping(address, 150, 10))?;
    std::thread::sleep(Duration::from_millis(500));
    assign(lab, &stage.two.interface, &text, true)?;
    let outcome: PingOutcome = running.finish()?;
    let gap = format!(
        "{} of {} answers, {:.0} ms without traffic",
        outcome.received, outcome.sent, outcome.longest_gap_ms
    );
    report.judge(
        "secondary address moved",
        "traffic resumes",
        &gap,
        resumed(&outcome),
    );
    Ok(())
}

fn assign(lab: &Lab, interface: &str, address: &str, reassign: bool) -> Result<()> {
    let parameters = [
        ("NetworkInterfaceId", interface),
        ("PrivateIpAddress.1", address),
        ("AllowReassignment", if reassign { "true" } else { "false" }),
    ];
    lab.api.call("AssignPrivateIpAddresses", &parameters).map(|_| ())
}

/// An interface moved between two running instances: MAC and address go with it.
fn moved_interface(lab: &Lab, report: &mut Report, stage: &Stage) -> Result<()> {
    report.scene("Failover: an interface moved between two running instances under a running ping");
    let address = Ipv4Addr::new(10, 0, 1, 60);
    let create = [
        ("SubnetId", stage.subnet.as_str()),
        ("SecurityGroupId.1", &stage.group),
        ("PrivateIpAddress", "10.0.1.60"),
    ];
    let made = lab.api.call("CreateNetworkInterface", &create)?;
    let interface = made.get("networkInterface/networkInterfaceId")?;
    let mac = made.get("networkInterface/macAddress")?;
    let watcher = lab.run(&stage.subnet, &stage.group, "10.0.1.31")?;
    let attach = |instance: &str| {
        let parameters = [
            ("NetworkInterfaceId", interface.as_str()),
            ("InstanceId", instance),
            ("DeviceIndex", "1"),
        ];
        lab.api
            .call("AttachNetworkInterface", &parameters)?
            .get("attachmentId")
    };
    let begin = Instant::now();
    let attachment = attach(&stage.one.id)?;
    eventually("the attached interface to answer", || {
        Ok(lab.ping(&watcher.id, address, 1)?.received == 1)
    })?;
    report.note(&format!(
        "{interface} ({mac}) attached and answering after {} ms",
        begin.elapsed().as_millis()
    ));
    let running = lab.spawn(&watcher.id, &ping(address, 200, 10))?;
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    lab.api
        .call("DetachNetworkInterface", &[("AttachmentId", &attachment)])?;
    let detached = || -> Result<bool> {
        let shown = lab.api.call(
            "DescribeNetworkInterfaces",
            &[("NetworkInterfaceId.1", &interface)],
        )?;
        Ok(shown.text("networkInterfaceSet/item/status") == Some("available"))
    };
    eventually("the interface to be available", detached)?;
    attach(&stage.two.id)?;
    report.note(&format!(
        "detached and attached again in {} ms of calls",
        begin.elapsed().as_millis()
    ));
    let outcome: PingOutcome = running.finish()?;
    let gap = format!(
        "{} of {} answers, {:.0} ms without traffic",
        outcome.received, outcome.sent, outcome.longest_gap_ms
    );
    report.judge("interface moved", "traffic resumes", &gap, resumed(&outcome));
    let shown = lab.api.call(
        "DescribeNetworkInterfaces",
        &[("NetworkInterfaceId.1", &interface)],
    )?;
    report.check(
        "its MAC after the move",
        &mac,
        &shown.get("networkInterfaceSet/item/macAddress")?,
    );
    Ok(())
}

/// Two VPCs with one CIDR: same addresses, never the same network.
fn same_cidr(lab: &Lab, report: &mut Report, stage: &Stage) -> Result<()> {
    report.scene("Two VPCs with the same CIDR never meet");
    let vpc = lab.vpc("10.0.0.0/16")?;
    let subnet = lab.subnet(&vpc, "10.0.1.0/24")?;
    let group = lab.group(&vpc, "demo")?;
    lab.allow(&group, "icmp", "-1", "0.0.0.0/0")?;
    let twin = lab.run(&subnet, &group, "10.0.1.10")?;
    let lonely = lab.run(&subnet, &group, "10.0.1.99")?;
    let inside = lab.ping(&lonely.id, twin.address, 3)?;
    report.check(
        "10.0.1.10 from inside the second VPC",
        "3 of 3 answers",
        &answers(&inside),
    );
    let across = lab.ping(&lonely.id, stage.two.address, 3)?;
    report.check(
        "10.0.1.20, which only the first VPC has",
        "0 of 3 answers",
        &answers(&across),
    );
    let own = lab
        .ping(&stage.two.id, stage.one.address, 3)
        .context("The first VPC's own ping failed")?;
    report.check(
        "10.0.1.10 from inside the first VPC",
        "3 of 3 answers",
        &answers(&own),
    );
    Ok(())
}

fn answers(outcome: &PingOutcome) -> String {
    format!("{} of {} answers", outcome.received, outcome.sent)
}

/// Whether traffic went on after an interruption: most answers came, and the gap was a small part of the time.
fn resumed(outcome: &PingOutcome) -> bool {
    outcome.received > outcome.sent / 2 && outcome.longest_gap_ms < 1000.0
}
