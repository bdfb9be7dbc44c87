//! ENI and ENA side by side: one group, one pipeline, two ways for frames in and out of the same instances.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::lab::{Instance, Lab, eventually};
use super::{Figure, Report};
use crate::program::{CarrierName, FloodOutcome, Frames, Path, Program, RoundTripOutcome, SinkOutcome, Way};

/// Two instances of one group, which lets UDP between them only for this scene.
pub(super) fn scene(
    lab: &Lab,
    report: &mut Report,
    pair: [&Instance; 2],
    subnet: &str,
    group: &str,
) -> Result<()> {
    report
        .scene("ENI and ENA on the same two instances: the kernel's stack, and queues mapped into a program");
    if lab.backend()?.0 == "user-space" {
        report.note(
            "not here: an instance in user space has no process of its own that could map an ENA's queues",
        );
        return Ok(());
    }
    let ena = [
        Function::attach(lab, pair[0], subnet, group, Ipv4Addr::new(10, 0, 1, 110))?,
        Function::attach(lab, pair[1], subnet, group, Ipv4Addr::new(10, 0, 1, 120))?,
    ];
    let tap = pair.map(|instance| End {
        instance: instance.id.clone(),
        carrier: CarrierName::Packet("eth0".to_owned()),
        address: instance.address,
    });
    ports(lab, "AuthorizeSecurityGroupIngress", group)?;
    let eni = measure(lab, &tap, Way::Wait)?;
    let ends = [ena[0].end.clone(), ena[1].end.clone()];
    let polled = measure(lab, &ends, Way::Poll)?;
    table(report, &eni, &polled);
    for (what, measured) in [
        ("frames through the ENI", &eni),
        ("frames through the ENA", &polled),
    ] {
        let counted = format!("{} of {} sent", measured.sink.received, measured.flood.sent);
        report.judge(what, "arrive", &counted, measured.sink.received > 0);
    }
    ports(lab, "RevokeSecurityGroupIngress", group)?;
    let before = lab.drops(&ena[1].interface, "security-group-inbound")?;
    // Connections that were tracked go on, as on EC2; these are new ones.
    let path = Path {
        from: ends[0].address,
        to: ends[1].address,
        port: PORT + 8,
    };
    let sent: FloodOutcome = lab.probe(
        &ends[0].instance,
        &flood(&ends[0], path, Duration::from_millis(50)),
    )?;
    let dropped = lab.drops(&ena[1].interface, "security-group-inbound")? - before;
    report.judge(
        "new connections through the ENA once the rule is revoked",
        "every frame dropped, by its counter",
        &format!("{dropped} of {} dropped", sent.sent),
        dropped == sent.sent,
    );
    ena.iter().try_for_each(|function| function.detach(lab))
}

/// An interface that is an ENA in its instance.
struct Function {
    interface: String,
    attachment: String,
    end: End,
}

/// Where frames leave or arrive.
#[derive(Clone)]
struct End {
    instance: String,
    carrier: CarrierName,
    address: Ipv4Addr,
}

/// What was measured between two ends.
struct Measured {
    flood: FloodOutcome,
    sink: SinkOutcome,
    round_trip: RoundTripOutcome,
}

impl Function {
    fn attach(lab: &Lab, instance: &Instance, subnet: &str, group: &str, address: Ipv4Addr) -> Result<Self> {
        let text = address.to_string();
        let create = [
            ("SubnetId", subnet),
            ("SecurityGroupId.1", group),
            ("PrivateIpAddress", text.as_str()),
            ("TagSpecification.1.ResourceType", "network-interface"),
            ("TagSpecification.1.Tag.1.Key", "trinic:function"),
            ("TagSpecification.1.Tag.1.Value", "ena"),
        ];
        let made = lab.api.call("CreateNetworkInterface", &create)?;
        let interface = made.get("networkInterface/networkInterfaceId")?;
        let attach = [
            ("NetworkInterfaceId", interface.as_str()),
            ("InstanceId", &instance.id),
            ("DeviceIndex", "1"),
        ];
        let attachment = lab
            .api
            .call("AttachNetworkInterface", &attach)?
            .get("attachmentId")?;
        eventually(&format!("{interface} to be attached"), || {
            Ok(status(lab, &interface, "attachment/status")?.as_deref() == Some("attached"))
        })?;
        let end = End {
            instance: instance.id.clone(),
            carrier: CarrierName::parse(&interface),
            address,
        };
        Ok(Self {
            interface,
            attachment,
            end,
        })
    }

    fn detach(&self, lab: &Lab) -> Result<()> {
        lab.api
            .call("DetachNetworkInterface", &[("AttachmentId", &self.attachment)])?;
        eventually(&format!("{} to be available", self.interface), || {
            Ok(status(lab, &self.interface, "status")?.as_deref() == Some("available"))
        })
    }
}

fn status(lab: &Lab, interface: &str, field: &str) -> Result<Option<String>> {
    let shown = lab.api.call(
        "DescribeNetworkInterfaces",
        &[("NetworkInterfaceId.1", interface)],
    )?;
    Ok(shown
        .text(&format!("networkInterfaceSet/item/{field}"))
        .map(str::to_owned))
}

/// Packets for some time, then round trips.
fn measure(lab: &Lab, ends: &[End; 2], way: Way) -> Result<Measured> {
    let [near, far] = ends;
    let path = Path {
        from: near.address,
        to: far.address,
        port: PORT,
    };
    let counting = lab.spawn(
        &far.instance,
        &Program::Frames(Frames::Sink {
            carrier: far.carrier.clone(),
            port: PORT,
            idle: Duration::from_millis(200),
            bytes: PACKET_BYTES,
        }),
    )?;
    std::thread::sleep(START);
    let flood = lab.probe(&near.instance, &flood(near, path, FLOOD))?;
    let sink = counting.finish()?;
    let _echo = lab.spawn(
        &far.instance,
        &Program::Frames(Frames::Echo {
            carrier: far.carrier.clone(),
            port: PORT,
            idle: Duration::from_millis(1000),
            way,
        }),
    )?;
    std::thread::sleep(START);
    let round_trip = lab.probe(
        &near.instance,
        &Program::Frames(Frames::RoundTrip {
            carrier: near.carrier.clone(),
            path,
            count: ROUND_TRIPS,
            time: ROUND_TRIP_TIME,
            way,
            pause: Duration::ZERO,
        }),
    )?;
    Ok(Measured {
        flood,
        sink,
        round_trip,
    })
}

fn flood(end: &End, path: Path, time: Duration) -> Program {
    Program::Frames(Frames::Flood {
        carrier: end.carrier.clone(),
        path,
        time,
        bytes: PACKET_BYTES,
        connections: 1,
    })
}

/// Opens or closes the ports of this scene.
fn ports(lab: &Lab, action: &str, group: &str) -> Result<()> {
    let (from, to) = (PORT.to_string(), (PORT + 15).to_string());
    let parameters = [
        ("GroupId", group),
        ("IpPermissions.1.IpProtocol", "udp"),
        ("IpPermissions.1.FromPort", from.as_str()),
        ("IpPermissions.1.ToPort", to.as_str()),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.1.0/24"),
    ];
    lab.api.call(action, &parameters).map(drop)
}

fn table(report: &mut Report, eni: &Measured, ena: &Measured) {
    report.note(
        "polling user-mode queues (ENA) against the kernel's stack (ENI, a packet socket), 64-byte frames:",
    );
    report.note(&format!("  {:20}{:>14}{:>14}", "", "ENI", "ENA"));
    let [eni_trip, ena_trip] = [&eni.round_trip, &ena.round_trip];
    for (what, unit, eni, ena) in [
        ("frames a second", "", Some(eni.sink.per_s), Some(ena.sink.per_s)),
        ("round trip, median", "µs", eni_trip.p50_us, ena_trip.p50_us),
        ("round trip, 99 %", "µs", eni_trip.p99_us, ena_trip.p99_us),
    ] {
        report.compare(Figure { what, unit, eni, ena });
    }
}

const PORT: u16 = 5000;
/// The smallest frame: 64 bytes with its check sequence.
const PACKET_BYTES: u16 = 46;
/// How long packets are sent.
const FLOOD: Duration = Duration::from_millis(500);
const ROUND_TRIPS: u32 = 1000;
/// How long they may take on a busy machine.
const ROUND_TRIP_TIME: Duration = Duration::from_millis(400);
/// Time for a program in an instance to start.
const START: Duration = Duration::from_millis(150);
