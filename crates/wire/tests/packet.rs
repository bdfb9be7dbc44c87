//! The one-pass parse, packet by packet.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]

mod common;

use std::net::IpAddr;

use common::{Packet, Payload, frame, icmp_error, ip, packet};
use proptest::prelude::*;
use trinic_wire::ethernet::EtherType;
use trinic_wire::ipv6::Fragment;
use trinic_wire::packet::{FiveTuple, Network, Parsed, Transport};
use trinic_wire::tcp::Flags;
use trinic_wire::{Error, Layer, Protocol, ipv4};

/// A TCP SYN from 10.0.0.4:40000 to 10.0.0.5:22.
const SYN: &str = "020000000002 020000000001 0800 \
    4500002c 12344000 40061490 0a000004 0a000005 \
    9c400016 00000001 00000000 6002faf0 00000000 02042301";

/// A DNS query from [2001:db8::4]:40000 to [2001:db8::5]:53.
const UDP6: &str = "020000000002 020000000001 86dd \
    60000000 000a1140 20010db8000000000000000000000004 20010db8000000000000000000000005 \
    9c400035 000a0000 6869";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn parse(frame: &[u8]) -> Result<Parsed, Error> {
    Parsed::parse(frame, frame.len())
}

fn v4(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

#[test]
fn tcp_over_ipv4() {
    let frame = hex(SYN);
    let parsed = parse(&frame).unwrap();
    assert_eq!(parsed.ethernet.destination, [2, 0, 0, 0, 0, 2]);
    assert_eq!(parsed.network_offset, 14);
    let ip = parsed.ip().unwrap();
    assert_eq!(
        ip.tuple,
        FiveTuple {
            source: v4(4),
            destination: v4(5),
            protocol: Protocol::TCP,
            source_port: 40000,
            destination_port: 22,
        }
    );
    assert_eq!((ip.ttl, ip.total_len, ip.transport_offset), (64, 44, 34));
    assert!(ip.dont_fragment && ip.fragment.is_none());
    assert_eq!(
        ip.transport,
        Transport::Tcp {
            flags: Flags::SYN,
            header_len: 24
        }
    );
}

#[test]
fn udp_over_ipv6_in_a_vlan() {
    let mut frame = hex(UDP6);
    frame.splice(12..14, [0x81, 0x00, 0x60, 0x2a, 0x86, 0xdd]);
    let parsed = parse(&frame).unwrap();
    assert_eq!(parsed.ethernet.tag, Some(0x602a));
    assert_eq!(parsed.ethernet.ethertype, EtherType::IPV6);
    let ip = parsed.ip().unwrap();
    assert_eq!((ip.tuple.source_port, ip.tuple.destination_port), (40000, 53));
    assert_eq!((ip.transport, ip.transport_offset), (Transport::Udp, 58));
    // A second tag is not followed.
    frame.splice(16..18, [0x81, 0x00]);
    assert_eq!(parse(&frame).unwrap().network, Network::Other);
}

/// The window shows 256 bytes of a super-frame of 64 KiB.
#[test]
fn window_of_a_long_frame() {
    let source = v4(4);
    let payload = vec![0; 65_000];
    let mut segment = vec![0; 20];
    segment[12] = 0x50;
    segment.extend(&payload);
    let frame = frame(&ip(source, v4(5), Protocol::TCP, 64, &segment));
    let whole = parse(&frame).unwrap();
    assert_eq!(whole.ip().unwrap().total_len, 65_040);
    assert_eq!(Parsed::parse(&frame[..256], frame.len()), Ok(whole));
    assert_eq!(Parsed::parse(&frame[..54], frame.len()), Ok(whole));
    assert_eq!(
        Parsed::parse(&frame[..53], frame.len()),
        Err(Error::BeyondWindow {
            layer: Layer::Tcp,
            window: 53
        })
    );
    // Bytes behind the frame's end do not count.
    assert!(matches!(Parsed::parse(&frame, 53), Err(Error::Truncated { .. })));
}

#[test]
fn cut_frames_name_the_layer() {
    for (text, cuts) in [
        (
            SYN,
            &[(13, Layer::Ethernet), (33, Layer::Ipv4), (57, Layer::Ipv4)][..],
        ),
        (UDP6, &[(53, Layer::Ipv6), (63, Layer::Ipv6)][..]),
    ] {
        let frame = hex(text);
        for (len, layer) in cuts {
            let error = parse(&frame[..*len]).unwrap_err();
            assert!(matches!(error, Error::Truncated { .. }), "{error}");
            assert_eq!(error.layer(), *layer);
        }
    }
}

#[test]
fn malformed_headers_are_named() {
    let change = |text: &str, offset: usize, value: u8| {
        let mut frame = hex(text);
        frame[offset] = value;
        if text == SYN {
            fix_ipv4(&mut frame);
        }
        parse(&frame).unwrap_err()
    };
    let v4 = Layer::Ipv4;
    assert_eq!(change(SYN, 14, 0x55), Error::Version { layer: v4, got: 5 });
    assert_eq!(change(SYN, 14, 0x44), Error::Length { layer: v4, got: 16 });
    assert_eq!(change(SYN, 17, 19), Error::Length { layer: v4, got: 19 });
    let tcp = Layer::Tcp;
    assert_eq!(change(SYN, 46, 0x40), Error::Length { layer: tcp, got: 16 });
    assert_eq!(change(SYN, 46, 0x70), Error::Length { layer: tcp, got: 28 });
    let v6 = Layer::Ipv6;
    assert_eq!(change(UDP6, 14, 0x40), Error::Version { layer: v6, got: 4 });
    let udp = Layer::Udp;
    assert_eq!(change(UDP6, 59, 7), Error::Length { layer: udp, got: 7 });
    assert_eq!(change(UDP6, 59, 11), Error::Length { layer: udp, got: 11 });
    let mut frame = hex(SYN);
    frame[22] = 63;
    assert_eq!(parse(&frame), Err(Error::Checksum { layer: v4 }));
}

fn fix_ipv4(frame: &mut [u8]) {
    let len = usize::from(frame[14] & 0xf) * 4;
    frame[24..26].fill(0);
    let sum = trinic_wire::checksum::Sum::of(&frame[14..14 + len]);
    frame[24..26].copy_from_slice(&sum.checksum().to_be_bytes());
}

#[test]
fn padding_is_no_part_of_the_packet() {
    let mut frame = hex(SYN);
    frame.extend([0; 30]);
    assert_eq!(parse(&frame).unwrap().ip().unwrap().total_len, 44);
}

fn fragment(offset: u16, more: bool, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let repr = ipv4::Repr {
        fragment_offset: offset,
        more_fragments: more,
        identification: 7,
        ..ipv4::Repr::new(
            [10, 0, 0, 4].into(),
            [10, 0, 0, 5].into(),
            protocol,
            payload.len(),
        )
    };
    let mut packet = vec![0; 20];
    repr.emit(&mut packet).unwrap();
    packet.extend(payload);
    frame(&packet)
}

#[test]
fn fragments() {
    let mut datagram = vec![0x9c, 0x40, 0, 53, 0x0b, 0xb8, 0, 0];
    datagram.extend([0; 24]);
    // The first one has the ports; its UDP length counts the whole datagram.
    let first = parse(&fragment(0, true, Protocol::UDP, &datagram)).unwrap();
    let ip = first.ip().unwrap();
    assert_eq!((ip.transport, ip.tuple.destination_port), (Transport::Udp, 53));
    assert_eq!(
        ip.fragment,
        Some(Fragment {
            identification: 7,
            offset: 0,
            more: true
        })
    );
    // A later one has not.
    let later = parse(&fragment(1480, false, Protocol::UDP, &datagram)).unwrap();
    let ip = later.ip().unwrap();
    assert_eq!((ip.transport, ip.tuple.destination_port), (Transport::Absent, 0));
    assert_eq!(ip.fragment.map(|f| (f.offset, f.more)), Some((1480, false)));
    // RFC 1858 and RFC 3128.
    let tiny = Err(Error::TinyFragment { layer: Layer::Tcp });
    assert_eq!(parse(&fragment(0, true, Protocol::TCP, &[0; 16])), tiny);
    assert_eq!(parse(&fragment(8, false, Protocol::TCP, &[0; 16])), tiny);
    let tiny = Err(Error::TinyFragment { layer: Layer::Udp });
    assert_eq!(parse(&fragment(0, true, Protocol::UDP, &[0; 4])), tiny);
}

fn v6_frame(next: u8, payload: &[u8]) -> Vec<u8> {
    let a: IpAddr = "2001:db8::4".parse().unwrap();
    let b: IpAddr = "2001:db8::5".parse().unwrap();
    frame(&ip(a, b, Protocol(next), 64, payload))
}

#[test]
fn ipv6_fragments_and_extensions() {
    let datagram = [0x9c, 0x40, 0, 53, 0, 8, 0, 0];
    // A fragment header on a whole packet makes no fragment (RFC 6946).
    let mut atomic = vec![17, 0, 0, 0, 0, 0, 0, 9];
    atomic.extend(datagram);
    let parsed = parse(&v6_frame(44, &atomic)).unwrap();
    let ip = parsed.ip().unwrap();
    assert_eq!((ip.fragment, ip.transport), (None, Transport::Udp));
    // A later fragment: even offset 8 of TCP is refused.
    let tcp = [6, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        parse(&v6_frame(44, &tcp)),
        Err(Error::TinyFragment { layer: Layer::Tcp })
    );
    // Options that reach beyond the window.
    let mut long = vec![17, 31, 1, 4];
    long.resize(256, 0);
    long.extend(datagram);
    let frame = v6_frame(60, &long);
    assert_eq!(
        Parsed::parse(&frame[..256], frame.len()),
        Err(Error::BeyondWindow {
            layer: Layer::Udp,
            window: 256
        })
    );
    assert!(parse(&frame).is_ok());
    // No next header, and one that nobody knows.
    let parsed = parse(&v6_frame(59, &[])).unwrap();
    assert_eq!(parsed.ip().unwrap().transport, Transport::Other);
    // ICMP of the other family is another protocol.
    let parsed = parse(&v6_frame(1, &[8, 0, 0, 0, 0, 1, 0, 1])).unwrap();
    assert_eq!(parsed.ip().unwrap().transport, Transport::Other);
}

proptest! {
    #[test]
    fn every_legal_packet_parses(packet in packet()) {
        let frame = packet.frame();
        let parsed = parse(&frame).unwrap();
        let ip = parsed.ip().unwrap();
        let (source_port, destination_port, icmp) = match packet.payload {
            Payload::Tcp(a, b, flags, _) => {
                let expected = Transport::Tcp { flags: Flags(flags), header_len: 20 };
                prop_assert_eq!(ip.transport, expected);
                (a, b, None)
            }
            Payload::Udp(a, b, _) => {
                prop_assert_eq!(ip.transport, Transport::Udp);
                (a, b, None)
            }
            Payload::Echo(id, _, _) => (id, id, ip.icmp()),
            Payload::Other(_) => (0, 0, None),
        };
        let expected = FiveTuple {
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol(),
            source_port,
            destination_port,
        };
        prop_assert_eq!(ip.tuple, expected);
        prop_assert_eq!(ip.ttl, packet.ttl);
        prop_assert_eq!(parsed.network_offset + ip.total_len, frame.len());
        if let Some(icmp) = icmp {
            prop_assert!(!icmp.is_error && icmp.inner.is_none());
            prop_assert_eq!(icmp.kind, if packet.source.is_ipv4() { 8 } else { 128 });
        }
    }

    /// The quick reading of legal frames, of cut ones, and of ones with a few wrong bytes.
    #[test]
    fn plain_equals_parsed(
        packet in packet(),
        changes in prop::collection::vec((0..60usize, any::<u8>()), 0..3),
        cut in prop_oneof![2 => Just(usize::MAX), 1 => 0..80usize],
    ) {
        let mut frame = packet.frame();
        trinic_wire::fuzz::packet(&frame);
        for (at, byte) in changes {
            if let Some(old) = frame.get_mut(at) {
                *old = byte;
            }
        }
        frame.truncate(cut);
        trinic_wire::fuzz::packet(&frame);
    }

    /// An ICMP error names the flow of the packet that it quotes.
    #[test]
    fn errors_name_the_inner_flow(packet in packet()) {
        let quote = packet.ip();
        let frame = icmp_error(packet.destination, &packet, &quote);
        let parsed = parse(&frame).unwrap();
        let icmp = parsed.ip().unwrap().icmp().unwrap();
        prop_assert!(icmp.is_error);
        let inner = icmp.inner.unwrap();
        let original = parse(&common::frame(&quote)).unwrap();
        prop_assert_eq!(inner.tuple, original.ip().unwrap().tuple);
        prop_assert_eq!(&frame[inner.network_offset..], &quote[..]);
        prop_assert_eq!(inner.has_ports, !matches!(packet.payload, Payload::Other(_)));
    }
}

/// A quote that ends before the ports names no flow.
#[test]
fn short_quotes_have_no_flow() {
    let packet = Packet {
        source: v4(4),
        destination: v4(5),
        ttl: 64,
        payload: Payload::Udp(1, 2, vec![]),
    };
    for (len, known) in [(28, true), (27, false), (19, false), (0, false)] {
        let frame = icmp_error(v4(1), &packet, &packet.ip()[..len]);
        let icmp = *parse(&frame).unwrap().ip().unwrap().icmp().unwrap();
        assert_eq!(icmp.inner.is_some(), known, "{len}");
    }
}
