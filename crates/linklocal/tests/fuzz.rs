//! The fuzz targets' bodies with the corpus, with changed entries of it, and with random bytes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "Helpers of tests fail the test."
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use trinic_linklocal::fuzz;
use trinic_wire::{Protocol, ethernet, ipv4, ipv6, tcp, udp};

type Body = fn(&[u8]);

/// A target and its corpus: hexadecimal lines, `#` before what each is.
const TARGETS: [(Body, &str); 5] = [
    (fuzz::dhcp, include_str!("../corpus/dhcp.hex")),
    (fuzz::dhcpv6, include_str!("../corpus/dhcpv6.hex")),
    (fuzz::dns, include_str!("../corpus/dns.hex")),
    (fuzz::imds_http, include_str!("../corpus/imds_http.hex")),
    (fuzz::frame, include_str!("../corpus/frame.hex")),
];

fn entries(corpus: &str) -> Vec<Vec<u8>> {
    let byte = |line: &str, at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
    corpus
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| (0..line.len()).step_by(2).map(|at| byte(line, at)).collect())
        .collect()
}

#[test]
fn the_corpus() {
    for (body, corpus) in TARGETS {
        let entries = entries(corpus);
        assert!(entries.len() >= 8);
        for entry in entries {
            body(&entry);
            for len in 0..entry.len() {
                body(&entry[..len]);
            }
        }
    }
}

/// An entry of a corpus with some bytes changed, taken out or put in.
fn changed(corpus: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8);
    let edits = prop::collection::vec(edit, 0..6);
    (prop::sample::select(entries(corpus)), edits).prop_map(|(mut bytes, edits)| {
        for (at, value, kind) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, value),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn dhcp(bytes in changed(TARGETS[0].1)) {
        fuzz::dhcp(&bytes);
    }

    #[test]
    fn dhcpv6(bytes in changed(TARGETS[1].1)) {
        fuzz::dhcpv6(&bytes);
    }

    #[test]
    fn dns(bytes in changed(TARGETS[2].1)) {
        fuzz::dns(&bytes);
    }

    #[test]
    fn imds_http(bytes in changed(TARGETS[3].1)) {
        fuzz::imds_http(&bytes);
    }

    #[test]
    fn frame(bytes in changed(TARGETS[4].1)) {
        fuzz::frame(&bytes);
    }

    #[test]
    fn anything(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for (body, _) in TARGETS {
            body(&bytes);
        }
    }

    #[test]
    fn frames_to_the_services(script in script()) {
        fuzz::frame(&script);
    }
}

/// Frames whose headers are right and whose insides are random.
fn script() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![udp_frame(), tcp_frame()];
    let step = (any::<u8>(), frame);
    (any::<u8>(), prop::collection::vec(step, 1..12)).prop_map(|(flags, steps)| {
        let mut script = vec![flags];
        for (tenths, frame) in steps {
            script.push(tenths);
            script.extend(u16::try_from(frame.len()).unwrap().to_be_bytes());
            script.extend(frame);
        }
        script
    })
}

fn destination() -> impl Strategy<Value = IpAddr> {
    let v6 = |last| IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, last));
    prop::sample::select(vec![
        IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
        IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)),
        IpAddr::V4(Ipv4Addr::new(169, 254, 169, 123)),
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        IpAddr::V4(Ipv4Addr::BROADCAST),
        v6(0x254),
        v6(0x253),
        v6(0x123),
    ])
}

fn source(destination: IpAddr) -> IpAddr {
    match destination {
        IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, 5).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0x100, 0, 0, 0, 5).into(),
    }
}

fn udp_frame() -> impl Strategy<Value = Vec<u8>> {
    let port = prop::sample::select(vec![53, 67, 123, 547]);
    let payload = prop::collection::vec(any::<u8>(), 0..80);
    (destination(), port, payload).prop_map(|(to, port, payload)| {
        let from = source(to);
        let datagram = udp::Repr {
            source_port: 5000,
            destination_port: port,
            payload: &payload,
        };
        let mut bytes = vec![0; datagram.buffer_len()];
        datagram.emit(&mut bytes, from, to).unwrap();
        framed(from, to, Protocol::UDP, &bytes)
    })
}

fn tcp_frame() -> impl Strategy<Value = Vec<u8>> {
    let port = prop::sample::select(vec![53, 80]);
    let flags = prop_oneof![Just(2), Just(2), Just(0x10), Just(4), Just(0x11), any::<u8>()];
    let payload = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40)
    ];
    let numbers = (4000..4006_u16, 0..4_u32, any::<u32>());
    (destination(), port, flags, payload, numbers).prop_map(|(to, port, flags, payload, numbers)| {
        let (source_port, sequence, acknowledgement) = numbers;
        let mut bytes = Vec::new();
        bytes.extend(source_port.to_be_bytes());
        bytes.extend(u16::to_be_bytes(port));
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(acknowledgement.to_be_bytes());
        bytes.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        assert_eq!(bytes.len(), tcp::HEADER_LEN);
        bytes.extend(payload);
        framed(source(to), to, Protocol::TCP, &bytes)
    })
}

fn framed(from: IpAddr, to: IpAddr, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 5]);
    let mut header = vec![0; 40];
    let len = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame[12..].copy_from_slice(&[8, 0]);
            ipv4::Repr::new(from, to, protocol, payload.len()).emit(&mut header)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame[12..].copy_from_slice(&[0x86, 0xdd]);
            ipv6::Repr::new(from, to, protocol, payload.len()).emit(&mut header)
        }
        _ => panic!("two families"),
    };
    frame.extend(&header[..len.unwrap()]);
    frame.extend(payload);
    frame
}
