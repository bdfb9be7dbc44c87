//! Other people's parsers and builders agree with ours: etherparse, smoltcp and dhcproto.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::{Packet, Payload, packet};
use dhcproto::v4::{self as dhcp, DhcpOption, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire as smol;
use trinic_wire::dhcpv4::{self, ClasslessRoute, MessageType};
use trinic_wire::icmpv6::ndp;
use trinic_wire::packet::{Parsed, Transport};
use trinic_wire::tcp::Flags;
use trinic_wire::{arp, icmpv4, icmpv6, tcp};

proptest! {
    /// etherparse reads what we write, and its checksums are ours.
    #[test]
    fn etherparse_reads_ours(packet in packet()) {
        let frame = packet.frame();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let (source, destination, protocol, ttl) = match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                prop_assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                (
                    IpAddr::from(header.source_addr()),
                    IpAddr::from(header.destination_addr()),
                    header.protocol().0,
                    header.ttl(),
                )
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                    header.next_header().0,
                    header.hop_limit(),
                )
            }
            NetSlice::Arp(_) => unreachable!("The frame carries IP"),
        };
        prop_assert_eq!((source, destination), (packet.source, packet.destination));
        prop_assert_eq!((protocol, ttl), (packet.protocol().0, packet.ttl));
        match (&packet.payload, sliced.transport) {
            (Payload::Tcp(a, b, flags, _), Some(TransportSlice::Tcp(tcp))) => {
                prop_assert_eq!((tcp.source_port(), tcp.destination_port()), (*a, *b));
                prop_assert_eq!(tcp.syn(), Flags(*flags).contains(Flags::SYN));
                prop_assert_eq!(tcp.cwr(), Flags(*flags).contains(Flags::CWR));
                let checksum = match (packet.source, packet.destination) {
                    (IpAddr::V4(s), IpAddr::V4(d)) => {
                        tcp.calc_checksum_ipv4(s.octets(), d.octets()).unwrap()
                    }
                    (IpAddr::V6(s), IpAddr::V6(d)) => {
                        tcp.calc_checksum_ipv6(s.octets(), d.octets()).unwrap()
                    }
                    _ => unreachable!("One family"),
                };
                prop_assert_eq!(tcp.checksum(), checksum);
            }
            (Payload::Udp(a, b, data), Some(TransportSlice::Udp(udp))) => {
                prop_assert_eq!((udp.source_port(), udp.destination_port()), (*a, *b));
                prop_assert_eq!(udp.payload(), &data[..]);
                let header = udp.to_header();
                let checksum = match (packet.source, packet.destination) {
                    (IpAddr::V4(s), IpAddr::V4(d)) => {
                        header.calc_checksum_ipv4_raw(s.octets(), d.octets(), data).unwrap()
                    }
                    (IpAddr::V6(s), IpAddr::V6(d)) => {
                        header.calc_checksum_ipv6_raw(s.octets(), d.octets(), data).unwrap()
                    }
                    _ => unreachable!("One family"),
                };
                prop_assert_eq!(udp.checksum(), checksum);
            }
            (Payload::Echo(..), Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_))) => {}
            (Payload::Other(_), None) => {}
            (payload, transport) => unreachable!("{payload:?} {transport:?}"),
        }
    }

    /// We read what etherparse writes.
    #[test]
    fn we_read_etherparse(
        addresses in common::addresses(2),
        ports: (u16, u16),
        ttl: u8,
        data in prop::collection::vec(any::<u8>(), 0..100),
        udp: bool,
    ) {
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = match (addresses[0], addresses[1]) {
            (IpAddr::V4(s), IpAddr::V4(d)) => ethernet.ipv4(s.octets(), d.octets(), ttl),
            (IpAddr::V6(s), IpAddr::V6(d)) => ethernet.ipv6(s.octets(), d.octets(), ttl),
            _ => unreachable!("One family"),
        };
        let mut frame = Vec::new();
        if udp {
            builder.udp(ports.0, ports.1).write(&mut frame, &data).unwrap();
        } else {
            let tcp = builder.tcp(ports.0, ports.1, 1, 1000).syn();
            tcp.write(&mut frame, &data).unwrap();
        }
        let parsed = Parsed::parse(&frame, frame.len()).unwrap();
        let ip = parsed.ip().unwrap();
        prop_assert_eq!((ip.tuple.source, ip.tuple.destination), (addresses[0], addresses[1]));
        prop_assert_eq!((ip.tuple.source_port, ip.tuple.destination_port), ports);
        prop_assert_eq!(ip.ttl, ttl);
        let segment = &frame[ip.transport_offset..];
        if udp {
            prop_assert_eq!(ip.transport, Transport::Udp);
            let repr = trinic_wire::udp::Repr::parse(segment, addresses[0], addresses[1]);
            prop_assert_eq!(repr.unwrap().payload, &data[..]);
        } else {
            let repr = tcp::Repr::parse(segment, addresses[0], addresses[1]).unwrap();
            prop_assert_eq!((repr.flags, repr.window), (Flags::SYN, 1000));
            prop_assert_eq!(repr.payload, &data[..]);
        }
    }

    /// etherparse and we agree on whether random bytes behind an Ethernet header hold ports, and on which.
    #[test]
    fn same_opinion_on_changed_frames(
        packet in packet(),
        changes in prop::collection::vec((14usize..80, any::<u8>()), 1..3),
    ) {
        let mut frame = packet.frame();
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        let Ok(parsed) = Parsed::parse(&frame, frame.len()) else { return Ok(()) };
        let Some(ip) = parsed.ip() else { return Ok(()) };
        let Ok(sliced) = SlicedPacket::from_ethernet(&frame) else { return Ok(()) };
        match (ip.transport, sliced.transport) {
            (Transport::Tcp { flags, header_len }, Some(TransportSlice::Tcp(tcp))) => {
                prop_assert_eq!(ip.tuple.source_port, tcp.source_port());
                prop_assert_eq!(ip.tuple.destination_port, tcp.destination_port());
                prop_assert_eq!(flags.contains(Flags::ACK), tcp.ack());
                prop_assert_eq!(header_len, tcp.header_slice().len());
            }
            (Transport::Udp, Some(TransportSlice::Udp(udp))) => {
                prop_assert_eq!(ip.tuple.source_port, udp.source_port());
                prop_assert_eq!(ip.tuple.destination_port, udp.destination_port());
            }
            (Transport::Icmp(icmp), Some(TransportSlice::Icmpv4(other))) => {
                prop_assert_eq!(icmp.kind, other.type_u8());
            }
            (Transport::Icmp(icmp), Some(TransportSlice::Icmpv6(other))) => {
                prop_assert_eq!(icmp.kind, other.type_u8());
            }
            // etherparse does not look into fragments at all.
            (_, None) => {}
            // Each ICMP belongs to its own version of IP (RFC 792; RFC 4443, 1). In the other one it is a number like any for us,
            // while etherparse looks at the number only.
            (Transport::Other, Some(TransportSlice::Icmpv4(_))) if ip.tuple.source.is_ipv6() => {}
            (Transport::Other, Some(TransportSlice::Icmpv6(_))) if ip.tuple.source.is_ipv4() => {}
            // IGMP has no ports, and nothing else that we look at.
            (Transport::Other, Some(TransportSlice::Igmp(_))) => {}
            (ours, theirs) => unreachable!("{ours:?} {theirs:?}"),
        }
    }

    /// smoltcp reads our TCP options and writes what we read.
    #[test]
    fn smoltcp_tcp_options(
        mss: Option<u16>,
        scale in prop::option::of(0u8..15),
        sack_permitted: bool,
        timestamps: Option<(u32, u32)>,
        ports in (1u16.., 1u16..),
        numbers: (u32, u32),
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 4), Ipv4Addr::new(10, 0, 0, 5));
        let ours = tcp::Repr {
            source_port: ports.0,
            destination_port: ports.1,
            sequence: numbers.0,
            acknowledgement: numbers.1,
            flags: Flags::SYN.with(Flags::ACK),
            window: 512,
            urgent: 0,
            options: tcp::Options {
                max_segment_size: mss,
                window_scale: scale,
                sack_permitted,
                timestamps,
                ..tcp::Options::default()
            },
            payload: &data,
        };
        let mut out = vec![0; 120];
        let len = ours.emit(&mut out, source.into(), destination.into()).unwrap();
        out.truncate(len);
        let segment = smol::TcpPacket::new_checked(&out[..]).unwrap();
        prop_assert!(segment.verify_checksum(&source.into(), &destination.into()));
        let theirs = smol::TcpRepr::parse(
            &segment,
            &source.into(),
            &destination.into(),
            &ChecksumCapabilities::default(),
        )
        .unwrap();
        prop_assert_eq!(theirs.max_seg_size, mss);
        prop_assert_eq!(theirs.window_scale, scale);
        prop_assert_eq!(theirs.sack_permitted, sack_permitted);
        prop_assert_eq!(theirs.timestamp.map(|t| (t.tsval, t.tsecr)), timestamps);
        prop_assert_eq!(theirs.payload, &data[..]);
        let mut back = vec![0; theirs.buffer_len()];
        theirs.emit(
            &mut smol::TcpPacket::new_unchecked(&mut back[..]),
            &source.into(),
            &destination.into(),
            &ChecksumCapabilities::default(),
        );
        let back = tcp::Repr::parse(&back, source.into(), destination.into()).unwrap();
        prop_assert_eq!(back, ours);
    }

    /// dhcproto reads our messages and writes what we read.
    #[test]
    fn dhcproto_agrees(message in dhcp_message()) {
        let mut out = vec![0; 4096];
        let len = message.emit(&mut out).unwrap();
        let theirs = dhcp::Message::decode(&mut Decoder::new(&out[..len])).unwrap();
        prop_assert_eq!(theirs.xid(), message.transaction_id);
        prop_assert_eq!(theirs.chaddr(), &message.client_mac[..]);
        prop_assert_eq!(theirs.yiaddr(), message.your_address);
        prop_assert_eq!(theirs.flags().broadcast(), message.broadcast);
        let option = |code| theirs.opts().get(code).cloned();
        let routers = Some(message.routers.clone()).filter(|routers| !routers.is_empty());
        let host_name = message.host_name.clone();
        for (code, expected) in [
            (OptionCode::AddressLeaseTime, message.lease_s.map(DhcpOption::AddressLeaseTime)),
            (OptionCode::SubnetMask, message.subnet_mask.map(DhcpOption::SubnetMask)),
            (OptionCode::InterfaceMtu, message.mtu.map(DhcpOption::InterfaceMtu)),
            (OptionCode::Router, routers.map(DhcpOption::Router)),
            (OptionCode::Hostname, host_name.map(DhcpOption::Hostname)),
        ] {
            prop_assert_eq!(option(code), expected);
        }
        let encoded = theirs.to_vec().unwrap();
        prop_assert_eq!(dhcpv4::Repr::parse(&encoded).unwrap(), message);
    }
}

/// Messages with the options that both crates know.
fn dhcp_message() -> impl Strategy<Value = dhcpv4::Repr> {
    let address = || any::<[u8; 4]>().prop_map(Ipv4Addr::from);
    let list = move || prop::collection::vec(address(), 0..3);
    let route = (address(), 0u8..=32, address()).prop_map(|(destination, prefix_len, router)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
        ClasslessRoute {
            destination: Ipv4Addr::from_bits(destination.to_bits() & mask),
            prefix_len,
            router,
        }
    });
    let fixed = (any::<u32>(), any::<[u8; 6]>(), any::<bool>(), address());
    let numbers = (
        any::<Option<u32>>(),
        any::<Option<u16>>(),
        prop::option::of(address()),
    );
    let lists = (list(), list(), prop::collection::vec(route, 0..4));
    let names = prop::option::of("[a-z0-9-]{1,60}");
    (fixed, numbers, lists, names, 1u8..=8).prop_map(
        |((xid, mac, broadcast, your), (lease_s, mtu, subnet_mask), lists, host_name, kind)| {
            let message_type = MessageType::from_number(kind).unwrap();
            dhcpv4::Repr {
                broadcast,
                your_address: your,
                lease_s,
                mtu,
                subnet_mask,
                routers: lists.0,
                dns: lists.1,
                classless_routes: lists.2,
                host_name,
                ..dhcpv4::Repr::new(message_type, xid, mac)
            }
        },
    )
}

#[test]
fn smoltcp_reads_our_arp() {
    let ours = arp::Repr {
        operation: arp::Operation::Reply,
        sender_mac: [2, 0, 0, 0, 0, 1],
        sender_address: [10, 0, 0, 1].into(),
        target_mac: [2, 0, 0, 0, 0, 4],
        target_address: [10, 0, 0, 4].into(),
    };
    let mut out = [0; 28];
    ours.emit(&mut out).unwrap();
    let theirs = smol::ArpRepr::parse(&smol::ArpPacket::new_checked(&out[..]).unwrap()).unwrap();
    let expected = smol::ArpRepr::EthernetIpv4 {
        operation: smol::ArpOperation::Reply,
        source_hardware_addr: smol::EthernetAddress([2, 0, 0, 0, 0, 1]),
        source_protocol_addr: [10, 0, 0, 1].into(),
        target_hardware_addr: smol::EthernetAddress([2, 0, 0, 0, 0, 4]),
        target_protocol_addr: [10, 0, 0, 4].into(),
    };
    assert_eq!(theirs, expected);
    let mut back = [0; 28];
    theirs.emit(&mut smol::ArpPacket::new_unchecked(&mut back[..]));
    assert_eq!(back, out);
}

const A6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn smoltcp_icmpv6<'a>(message: &'a [u8]) -> smol::Icmpv6Repr<'a> {
    let packet = smol::Icmpv6Packet::new_checked(message).unwrap();
    smol::Icmpv6Repr::parse(&A6, &B6, &packet, &ChecksumCapabilities::default()).unwrap()
}

#[test]
fn smoltcp_reads_our_router_advertisement() {
    let prefix = ndp::Prefix {
        prefix_len: 64,
        on_link: true,
        autonomous: false,
        valid_s: 7200,
        preferred_s: 3600,
        prefix: "2001:db8::".parse().unwrap(),
    };
    let mut prefixes = [None; ndp::MAX_LIST];
    prefixes[0] = Some(prefix);
    let ours = ndp::RouterAdvertisement {
        hop_limit: 64,
        managed: true,
        lifetime_s: 1800,
        reachable_ms: 30_000,
        retransmit_ms: 1000,
        source_link: Some([2, 0, 0, 0, 0, 1]),
        mtu: Some(9001),
        prefixes,
        ..ndp::RouterAdvertisement::default()
    };
    let mut out = [0; 256];
    let message = icmpv6::Repr::Ndp(ndp::Repr::RouterAdvertisement(ours));
    let len = message.emit(&mut out, A6, B6).unwrap();
    let smol::Icmpv6Repr::Ndisc(smol::NdiscRepr::RouterAdvert {
        hop_limit,
        flags,
        router_lifetime,
        lladdr,
        mtu,
        prefix_info,
        ..
    }) = smoltcp_icmpv6(&out[..len])
    else {
        unreachable!("Another message");
    };
    assert_eq!((hop_limit, mtu), (64, Some(9001)));
    assert!(flags.contains(smol::NdiscRouterFlags::MANAGED));
    assert_eq!(router_lifetime.secs(), 1800);
    assert_eq!(lladdr.unwrap().as_bytes(), [2, 0, 0, 0, 0, 1]);
    let info = prefix_info.unwrap();
    assert_eq!((info.prefix_len, info.prefix), (64, prefix.prefix));
    assert_eq!(info.flags, smol::NdiscPrefixInfoFlags::ON_LINK);
    assert_eq!(info.valid_lifetime.secs(), 7200);
}

#[test]
fn smoltcp_reads_our_neighbor_advertisement() {
    let target: Ipv6Addr = "2001:db8::5".parse().unwrap();
    let message = icmpv6::Repr::Ndp(ndp::Repr::NeighborAdvertisement {
        router: true,
        solicited: true,
        override_flag: false,
        target,
        target_link: Some([2, 0, 0, 0, 0, 5]),
    });
    let mut out = [0; 64];
    let len = message.emit(&mut out, A6, B6).unwrap();
    let smol::Icmpv6Repr::Ndisc(smol::NdiscRepr::NeighborAdvert {
        flags,
        target_addr,
        lladdr,
    }) = smoltcp_icmpv6(&out[..len])
    else {
        unreachable!("Another message");
    };
    assert_eq!(
        flags,
        smol::NdiscNeighborFlags::ROUTER | smol::NdiscNeighborFlags::SOLICITED
    );
    assert_eq!(target_addr, target);
    assert_eq!(lladdr.unwrap().as_bytes(), [2, 0, 0, 0, 0, 5]);
}

#[test]
fn smoltcp_reads_our_errors() {
    let packet = Packet {
        source: [10, 0, 0, 4].into(),
        destination: [10, 0, 0, 5].into(),
        ttl: 1,
        payload: Payload::Udp(1000, 2000, vec![7; 30]),
    };
    let quote = packet.ip();
    let ours = icmpv4::Repr::TimeExceeded {
        code: 0,
        quote: &quote,
    };
    let mut out = [0; 256];
    let len = ours.emit(&mut out).unwrap();
    let message = smol::Icmpv4Packet::new_checked(&out[..len]).unwrap();
    let theirs = smol::Icmpv4Repr::parse(&message, &ChecksumCapabilities::default()).unwrap();
    let smol::Icmpv4Repr::TimeExceeded { reason, header, data } = theirs else {
        unreachable!("{theirs:?}");
    };
    assert_eq!(reason, smol::Icmpv4TimeExceeded::TtlExpired);
    assert_eq!(header.dst_addr, Ipv4Addr::new(10, 0, 0, 5));
    assert_eq!(data, &quote[20..]);
    let quote = Packet {
        source: A6.into(),
        destination: "2001:db8::9".parse().unwrap(),
        ..packet
    }
    .ip();
    let ours = icmpv6::Repr::PacketTooBig {
        mtu: 1500,
        quote: &quote,
    };
    let len = ours.emit(&mut out, A6, B6).unwrap();
    let theirs = smoltcp_icmpv6(&out[..len]);
    assert!(
        matches!(theirs, smol::Icmpv6Repr::PktTooBig { mtu: 1500, data, .. } if data == &quote[40..]),
        "{theirs:?}"
    );
}
