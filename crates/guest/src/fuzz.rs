//! A fuzz function: frames of any bytes must not panic a guest, nor make it hold or send without bound.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use trinic_wire::checksum::{Sum, pseudo};
use trinic_wire::packet::{Network, Parsed, Transport};
use trinic_wire::time::Instant;
use trinic_wire::{Protocol, icmpv6, ipv4, tcp, udp};

use crate::{Counters, Guest, GuestConfig, InterfaceConfig, Program};

/// The MAC address of the guest.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 4];

/// The IPv4 address of the guest, in a /24 with router .1.
pub const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);

/// The IPv6 address of the guest, in a /64.
pub const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 4);

/// Most frames that one frame may cause.
const MAX_ANSWERS: usize = 4096;

/// Gives frames to a guest with servers on port 7 and a router's job. `script` is a row of frames, each behind
/// two bytes: how long it is, and what time passes before it. Each frame comes as it is and with its checksums
/// corrected, so that it gets beyond them. Returns what the guest counted.
pub fn frames(mut script: &[u8]) -> Counters {
    let mut now = Instant::from_nanos(1_000_000_000);
    let mut guest = guest(now);
    while let [len, time, rest @ ..] = script {
        let (frame, after) = rest.split_at(rest.len().min(usize::from(*len) * 2));
        now = now + Duration::from_millis(u64::from(*time) * 4);
        for frame in [frame, &corrected(frame)] {
            guest.handle_frame(now, 0, frame);
            let mut answers = 0;
            while guest.poll_transmit(now).is_some() {
                answers += 1;
                assert!(answers < MAX_ANSWERS, "A frame made the guest a storm");
            }
            while guest.poll_event().is_some() {}
        }
        script = after;
    }
    guest.counters()
}

fn guest(now: Instant) -> Guest {
    let config = GuestConfig {
        seed: 1,
        forwarding: true,
    };
    let mut guest = Guest::new(now, config);
    let interface = InterfaceConfig {
        mac: MAC,
        mtu: 9001,
        ipv4: vec![(V4, 24)],
        ipv6: vec![(V6, 64)],
        ipv4_router: Some(Ipv4Addr::new(10, 0, 0, 1)),
        ipv6_router: None,
    };
    let configured = guest.configure(now, 0, interface);
    assert_eq!(configured, Ok(()));
    let programs = [
        Program::TcpEcho { port: 7 },
        Program::UdpEcho { port: 7 },
        Program::TcpConnect {
            source: None,
            destination: (Ipv4Addr::new(10, 0, 0, 5), 7).into(),
            timeout: Duration::from_secs(1),
        },
        Program::Ping {
            source: None,
            destination: Ipv4Addr::new(10, 0, 0, 5).into(),
            count: Some(3),
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(1),
            data_bytes: 8,
            ttl: 64,
        },
    ];
    for program in programs {
        assert!(guest.start(now, program).is_ok());
    }
    guest
}

/// A copy of a frame with the checksums of its headers corrected, as far as it can be parsed.
fn corrected(frame: &[u8]) -> Vec<u8> {
    let mut copy = frame.to_vec();
    if copy.len() > 34 && copy[12..14] == [8, 0] {
        let len = usize::from(copy[14] & 0xf) * 4;
        if let Some(header) = copy.get_mut(14..14 + len)
            && len >= ipv4::HEADER_LEN
        {
            header[10..12].fill(0);
            let checksum = Sum::of(header).checksum().to_be_bytes();
            header[10..12].copy_from_slice(&checksum);
        }
    }
    let Ok(parsed) = Parsed::parse(&copy, copy.len()) else {
        return copy;
    };
    let Network::Ip(ip) = parsed.network else {
        return copy;
    };
    let offset = match ip.transport {
        Transport::Tcp { .. } => tcp::CHECKSUM_OFFSET,
        Transport::Udp => udp::CHECKSUM_OFFSET,
        Transport::Icmp(_) => icmpv6::CHECKSUM_OFFSET,
        Transport::Other | Transport::Absent => return copy,
    };
    let end = parsed.network_offset + ip.total_len;
    let message = &mut copy[ip.transport_offset..end];
    message[offset..offset + 2].fill(0);
    let (source, destination) = (ip.tuple.source, ip.tuple.destination);
    let sum = if ip.tuple.protocol == Protocol::ICMPV4 {
        Sum::ZERO
    } else {
        pseudo(source, destination, ip.tuple.protocol, message.len())
    };
    let checksum = sum.sum(Sum::of(message)).checksum().to_be_bytes();
    message[offset..offset + 2].copy_from_slice(&checksum);
    copy
}
