//! Frames for `trinic trace`: what an interface would send, with a valid header and nothing in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use trinic_switch::ROUTER_MAC;
use trinic_switch::tables::Interface;
use trinic_wire::{ethernet, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

use crate::protocol::TraceRequest;

/// Longest frame made here: Ethernet, IPv6, TCP without options.
const FRAME_BYTES: usize = 128;

/// The frame that the request describes, as `interface` would send it to its router.
///
/// # Errors
///
/// When the addresses are of two families, or the interface has none of the destination's.
pub fn build(interface: &Interface, request: &TraceRequest) -> anyhow::Result<Vec<u8>> {
    let source = source_of(interface, request)?;
    let mut frame = vec![0; FRAME_BYTES];
    let header = ethernet::Repr {
        destination: ROUTER_MAC,
        source: interface.mac,
        tag: None,
        ethertype: match source {
            IpAddr::V4(_) => ethernet::EtherType::IPV4,
            IpAddr::V6(_) => ethernet::EtherType::IPV6,
        },
    };
    let start = header.emit(&mut frame)?;
    let packet = &mut frame[start..];
    let length = match (source, request.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => packet_v4(packet, source, destination, request)?,
        (IpAddr::V6(source), IpAddr::V6(destination)) => packet_v6(packet, source, destination, request)?,
        _ => anyhow::bail!("Source and destination are of two address families"),
    };
    frame.truncate(start + length);
    Ok(frame)
}

fn source_of(interface: &Interface, request: &TraceRequest) -> anyhow::Result<IpAddr> {
    if let Some(source) = request.source {
        return Ok(source);
    }
    let own = match request.destination {
        IpAddr::V4(_) => interface.ipv4.first().copied().map(IpAddr::V4),
        IpAddr::V6(_) => interface.ipv6.first().copied().map(IpAddr::V6),
    };
    own.with_context(|| {
        format!(
            "Interface {} has no address of the destination's family",
            interface.id
        )
    })
}

fn packet_v4(
    packet: &mut [u8],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    request: &TraceRequest,
) -> anyhow::Result<usize> {
    let protocol = ipv4::Protocol(request.protocol);
    let start = ipv4::HEADER_LEN;
    let payload = packet.get_mut(start..).unwrap_or_default();
    let payload_len = match protocol {
        ipv4::Protocol::ICMPV4 => icmpv4::Repr::EchoRequest {
            identifier: 1,
            sequence: 1,
            data: &[],
        }
        .emit(payload)?,
        _ => transport(payload, source.into(), destination.into(), request)?,
    };
    let header = ipv4::Repr::new(source, destination, protocol, payload_len);
    header.emit(packet)?;
    Ok(start + payload_len)
}

fn packet_v6(
    packet: &mut [u8],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    request: &TraceRequest,
) -> anyhow::Result<usize> {
    let protocol = ipv4::Protocol(request.protocol);
    let start = ipv6::HEADER_LEN;
    let payload = packet.get_mut(start..).unwrap_or_default();
    let payload_len = match protocol {
        ipv4::Protocol::ICMPV6 => icmpv6::Repr::EchoRequest {
            identifier: 1,
            sequence: 1,
            data: &[],
        }
        .emit(payload, source, destination)?,
        _ => transport(payload, source.into(), destination.into(), request)?,
    };
    let header = ipv6::Repr::new(source, destination, protocol, payload_len);
    header.emit(packet)?;
    Ok(start + payload_len)
}

/// A SYN, an empty datagram, or nothing for a protocol without ports.
fn transport(
    payload: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    request: &TraceRequest,
) -> anyhow::Result<usize> {
    let length = match ipv4::Protocol(request.protocol) {
        ipv4::Protocol::TCP => tcp::Repr {
            source_port: request.source_port,
            destination_port: request.destination_port,
            sequence: 1,
            acknowledgement: 0,
            flags: tcp::Flags::SYN,
            window: u16::MAX,
            urgent: 0,
            options: tcp::Options::default(),
            payload: &[],
        }
        .emit(payload, source, destination)?,
        ipv4::Protocol::UDP => udp::Repr {
            source_port: request.source_port,
            destination_port: request.destination_port,
            payload: &[],
        }
        .emit(payload, source, destination)?,
        _ => 0,
    };
    Ok(length)
}

#[cfg(test)]
mod tests {
    use trinic_wire::packet::Parsed;

    use super::*;

    fn interface() -> Interface {
        Interface {
            id: "eni-1".into(),
            vpc_id: "vpc-1".into(),
            subnet_id: "subnet-1".into(),
            mac: [2, 0, 0, 0, 0, 1],
            ipv4: vec![Ipv4Addr::new(10, 0, 0, 4)],
            ipv6: Vec::new(),
            ipv4_prefixes: Vec::new(),
            ipv6_prefixes: Vec::new(),
            groups: Vec::new(),
            source_dest_check: true,
            public: Vec::new(),
            timeouts: trinic_switch::tables::TrackingTimeouts::default(),
            instance_id: None,
            allowances: None,
        }
    }

    fn request(source: Option<IpAddr>, destination: &str, protocol: u8) -> TraceRequest {
        TraceRequest {
            interface: "eni-1".into(),
            source,
            destination: destination.parse().unwrap(),
            protocol,
            source_port: 40_000,
            destination_port: 22,
        }
    }

    #[test]
    fn every_kind_of_probe_is_a_well_formed_packet() {
        let v6 = Some("2001:db8::4".parse().unwrap());
        for (source, destination, protocol) in [
            (None, "10.0.0.5", 1),
            (None, "10.0.0.5", 6),
            (None, "10.0.0.5", 17),
            (None, "10.0.0.5", 132),
            (v6, "2001:db8::5", 58),
            (v6, "2001:db8::5", 6),
            (v6, "2001:db8::5", 17),
        ] {
            let frame = build(&interface(), &request(source, destination, protocol)).unwrap();
            Parsed::parse(&frame, frame.len()).unwrap();
        }
    }

    #[test]
    fn mixed_families_are_refused() {
        let mixed = request(Some("10.0.0.4".parse().unwrap()), "2001:db8::5", 6);
        assert!(build(&interface(), &mixed).is_err());
        assert!(build(&interface(), &request(None, "2001:db8::5", 6)).is_err());
    }
}
