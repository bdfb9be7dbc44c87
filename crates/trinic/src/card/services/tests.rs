//! The services behind their door, with a resolver on loopback.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use trinic_linklocal::Refusal;
use trinic_wire::{ethernet, ipv4, udp};

use super::*;
use crate::card::{INTERNET, internet};

const NOW: Instant = Instant::ZERO;
const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
const TIME: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 123);
const LIMIT: Duration = Duration::from_secs(5);

/// A query for the address of example.org, without an id.
const QUESTION: &[u8] = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01";

/// Services with one interface, which has everything that the services need.
fn services(upstream: Option<Upstream>) -> Services {
    let mut services = Services::with_upstream(upstream, [7; 32]);
    let spec = internet::spec();
    let mut published = Published::new(&spec, &spec.interfaces[0]);
    published.vpc_id = Some("vpc-1".into());
    let zone = PublishedZone {
        names: VpcZone::default(),
        dns_support: true,
    };
    services.publish_zone("vpc-1".into(), Some(Arc::new(zone)));
    services.publish(INTERNET.into(), published);
    services.connect(INTERNET.into(), PortId(3));
    services
}

/// A datagram of the interface.
fn datagram(to: Ipv4Addr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 512];
    let header = ethernet::Repr {
        destination: ROUTER_MAC,
        source: trinic_switch::INTERNET_MAC,
        tag: None,
        ethertype: ethernet::EtherType::IPV4,
    };
    let network = header.emit(&mut frame).unwrap();
    let transport = network + ipv4::HEADER_LEN;
    let from = internet::ADDRESS;
    let repr = udp::Repr {
        source_port: ports.0,
        destination_port: ports.1,
        payload,
    };
    let length = repr
        .emit(&mut frame[transport..], from.into(), to.into())
        .unwrap();
    ipv4::Repr::new(from, to, ipv4::Protocol::UDP, length)
        .emit(&mut frame[network..])
        .unwrap();
    frame.truncate(transport + length);
    frame
}

/// What the services answer to a frame.
fn send(services: &mut Services, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    services.handle_frame(NOW, &INTERNET.into(), frame, &mut |port, frame| {
        assert_eq!(port, PortId(3));
        answers.push(frame.to_vec());
    });
    answers
}

#[test]
fn the_switch_alone_polices_the_packets_to_the_services() {
    let mut services = services(None);
    let nonsense = datagram(TIME, (123, 123), b"no request");
    for _ in 0..3_000 {
        assert_eq!(send(&mut services, &nonsense), [] as [Vec<u8>; 0]);
    }
    let counters = services.counters(INTERNET).unwrap();
    assert_eq!(counters.refused(Refusal::NtpMalformed), 3_000);
    assert_eq!(counters.refused(Refusal::Allowance), 0);
}

/// What the resolver is asked, and by whom.
fn asked(resolver: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut query = [0; 512];
    let (length, from) = resolver.recv_from(&mut query).unwrap();
    (query[..length].to_vec(), from)
}

fn receive(services: &mut Services, now: Instant) -> usize {
    let mut frames = 0;
    services.receive_upstream(now, &mut |_, _| frames += 1);
    frames
}

/// The host's resolver, and the services that ask it.
fn with_resolver() -> (UdpSocket, Services) {
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    resolver.set_read_timeout(Some(LIMIT)).unwrap();
    let upstream = Upstream::new(resolver.local_addr().unwrap()).unwrap();
    (resolver, services(Some(upstream)))
}

fn question(id: u16) -> Vec<u8> {
    [&id.to_be_bytes(), QUESTION].concat()
}

#[test]
fn a_wrong_answer_from_upstream_costs_nobody_the_right_one() {
    let (resolver, mut services) = with_resolver();
    let frame = datagram(RESOLVER, (40_000, 53), &question(9));
    assert_eq!(send(&mut services, &frame).len(), 0);
    let (query, asker) = asked(&resolver);

    let mut answer = query.clone();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    let mut of_another_id = answer.clone();
    of_another_id[0] ^= 1;
    let mut to_another_question = answer.clone();
    let name = query
        .windows(7)
        .position(|part| part.eq_ignore_ascii_case(b"example"))
        .unwrap();
    to_another_question[name] = b'w';
    for wrong in [
        b"",
        &of_another_id[..],
        &to_another_question,
        &query,
        &answer[..7],
    ] {
        resolver.send_to(wrong, asker).unwrap();
        assert_eq!(receive(&mut services, NOW), 0, "{wrong:02x?}");
    }
    resolver.send_to(&answer, asker).unwrap();
    assert_eq!(receive(&mut services, NOW), 1);
    // The question is done: its port is closed.
    resolver.send_to(&answer, asker).unwrap();
    assert_eq!(receive(&mut services, NOW), 0);
    assert!(UdpSocket::bind(asker).is_ok());
}

#[test]
fn a_question_without_an_answer_gives_its_port_back() {
    let (resolver, mut services) = with_resolver();
    let frame = datagram(RESOLVER, (40_000, 53), &question(9));
    assert_eq!(send(&mut services, &frame).len(), 0);
    let (_, asker) = asked(&resolver);
    let port = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), asker.port());
    assert!(UdpSocket::bind(port).is_err());
    let late = services.poll_timeout().unwrap();
    let mut frames = 0;
    services.poll(late, &mut |_, _| frames += 1);
    assert_eq!(frames, 1, "a failure is an answer too");
    assert!(UdpSocket::bind(port).is_ok());
}
