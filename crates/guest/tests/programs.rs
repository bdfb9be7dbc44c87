//! Two guests back to back, in virtual time.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::{DELAY, World, interface, pair, v4, v6};
use trinic_guest::{EventKind, Program, ProgramError};

const SECOND: Duration = Duration::from_secs(1);

fn ping(destination: IpAddr, count: u32) -> Program {
    Program::Ping {
        source: None,
        destination,
        count: Some(count),
        interval: SECOND,
        timeout: SECOND,
        data_bytes: 56,
        ttl: 64,
    }
}

fn connect(destination: SocketAddr) -> Program {
    Program::TcpConnect {
        source: None,
        destination,
        timeout: SECOND,
    }
}

#[test]
fn ping_both_families() {
    for destination in [IpAddr::from(v4(0, 5)), v6(0, 5).into()] {
        let mut world = pair(1);
        let id = world.start(0, ping(destination, 3));
        world.run(SECOND * 10);
        let kinds = world.kinds(id, 0);
        let EventKind::PingDone(summary) = kinds.last().unwrap() else {
            unreachable!("{kinds:?}");
        };
        assert_eq!((summary.sent, summary.received), (3, 3));
        // The first waits for ARP or NDP, one more round trip; the others take exactly one.
        assert_eq!(summary.min, DELAY * 2);
        assert!(summary.max <= DELAY * 4);
        let EventKind::PingReply { from, ttl, .. } = kinds[0] else {
            unreachable!("{kinds:?}");
        };
        assert_eq!((from, ttl), (destination, 64));
    }
}

#[test]
fn ping_counts_losses() {
    let mut world = pair(1);
    let id = world.start(0, ping(v4(0, 9).into(), 2));
    world.run(SECOND * 10);
    let kinds = world.kinds(id, 0);
    assert_eq!(kinds[0], EventKind::PingTimeout { sequence: 0 });
    assert_eq!(kinds[1], EventKind::PingTimeout { sequence: 1 });
    let EventKind::PingDone(summary) = &kinds[2] else {
        unreachable!("{kinds:?}");
    };
    assert_eq!((summary.sent, summary.received), (2, 0));
    assert!(world.guests[0].counters().unresolved > 0);
}

#[test]
fn ping_to_itself() {
    let mut world = pair(1);
    let id = world.start(0, ping(v4(0, 4).into(), 1));
    world.run(SECOND);
    assert!(matches!(
        world.kinds(id, 0)[0],
        EventKind::PingReply {
            rtt: Duration::ZERO,
            ..
        }
    ));
}

#[test]
fn connect_is_accepted_refused_or_times_out() {
    for address in [IpAddr::from(v4(0, 5)), v6(0, 5).into()] {
        let mut world = pair(1);
        world.start(1, Program::TcpEcho { port: 7 });
        let open = world.start(0, connect((address, 7).into()));
        let closed = world.start(0, connect((address, 8).into()));
        let nobody = world.start(0, connect((v4(0, 9), 7).into()));
        world.run(SECOND * 3);
        assert!(matches!(
            world.kinds(open, 0)[..],
            [EventKind::Connected { elapsed }] if elapsed <= DELAY * 4
        ));
        assert!(matches!(
            world.kinds(closed, 0)[..],
            [EventKind::Refused { elapsed }] if elapsed <= DELAY * 4
        ));
        assert_eq!(world.kinds(nobody, 0), [EventKind::TimedOut { elapsed: SECOND }]);
    }
}

#[test]
fn tcp_echo_gives_everything_back() {
    let mut world = pair(1);
    world.start(1, Program::TcpEcho { port: 7 });
    let request: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    let id = world.start(
        0,
        Program::TcpExchange {
            source: None,
            destination: (v4(0, 5), 7).into(),
            request: request.clone(),
            limit_bytes: request.len(),
            timeout: SECOND,
        },
    );
    world.run(SECOND * 5);
    let kinds = world.kinds(id, 0);
    let [EventKind::Response { data, .. }] = &kinds[..] else {
        unreachable!("{} events", kinds.len());
    };
    assert!(*data == request);
}

#[test]
fn udp_echo_refused_and_silent() {
    for (host, other) in [
        (IpAddr::from(v4(0, 5)), IpAddr::from(v4(0, 9))),
        (v6(0, 5).into(), v6(0, 9).into()),
    ] {
        let mut world = pair(1);
        world.start(1, Program::UdpEcho { port: 7 });
        let probe = |destination: SocketAddr| Program::UdpProbe {
            source: None,
            destination,
            data: b"hello".to_vec(),
            timeout: SECOND,
        };
        let open = world.start(0, probe((host, 7).into()));
        let closed = world.start(0, probe((host, 8).into()));
        let nobody = world.start(0, probe((other, 7).into()));
        world.run(SECOND * 3);
        assert!(matches!(
            &world.kinds(open, 0)[..],
            [EventKind::UdpReply { data, .. }] if data == b"hello"
        ));
        assert!(matches!(world.kinds(closed, 0)[..], [EventKind::Refused { .. }]));
        assert_eq!(world.kinds(nobody, 0), [EventKind::TimedOut { elapsed: SECOND }]);
    }
}

#[test]
fn bulk_arrives_whole_and_both_sides_measure() {
    const BYTES: u64 = 8 << 20;
    for loss_per_mille in [0, 5] {
        let mut world = pair(3);
        world.loss_per_mille = loss_per_mille;
        let sink = world.start(1, Program::TcpSink { port: 5001 });
        let send = world.start(
            0,
            Program::TcpSend {
                source: None,
                destination: (v4(0, 5), 5001).into(),
                bytes: BYTES,
                timeout: SECOND * 30,
            },
        );
        world.run(SECOND * 120);
        let sent = world.kinds(send, 0);
        let [EventKind::Sent(sent)] = sent[..] else {
            unreachable!("{sent:?}");
        };
        let received = world.kinds(sink, 1);
        let [EventKind::Accepted { .. }, EventKind::Received(received)] = received[..] else {
            unreachable!("{received:?}");
        };
        assert_eq!((sent.bytes, received.bytes), (BYTES, BYTES));
        assert!(sent.elapsed > Duration::ZERO && received.elapsed > Duration::ZERO);
    }
}

#[test]
fn same_seed_same_frames() {
    let run = || {
        let mut world = pair(5);
        world.loss_per_mille = 20;
        world.start(1, Program::TcpEcho { port: 7 });
        world.start(
            0,
            Program::TcpExchange {
                source: None,
                destination: (v6(0, 5), 7).into(),
                request: vec![1; 30_000],
                limit_bytes: 30_000,
                timeout: SECOND * 5,
            },
        );
        world.run(SECOND * 10);
        world.frames
    };
    let frames = run();
    assert!(frames.len() > 10);
    assert!(frames == run());
}

#[test]
fn addresses_are_announced_once() {
    let mut world = pair(1);
    world.run(SECOND);
    let arps = |world: &World| {
        let arp = |(_, f): &&(usize, Vec<u8>)| f[12..14] == [8, 6] && f[28..32] == f[38..42];
        world.frames.iter().filter(arp).count()
    };
    assert_eq!(arps(&world), 2);
    let mut config = interface(0, 4, None);
    config.ipv4.push((v4(0, 40), 24));
    world.guests[0].configure(world.now, 0, config).unwrap();
    world.run(SECOND);
    assert_eq!(arps(&world), 3);
    let (_, last) = world.frames.last().unwrap();
    assert_eq!(last[..6], [0xff; 6]);
    assert_eq!(last[38..42], [10, 0, 0, 40]);
    // The new address answers.
    let id = world.start(1, ping(v4(0, 40).into(), 1));
    world.run(SECOND);
    assert!(matches!(world.kinds(id, 1)[0], EventKind::PingReply { .. }));
}

#[test]
fn limits_have_names() {
    let mut world = pair(1);
    let now = world.now;
    let guest = &mut world.guests[0];
    guest.start(now, Program::TcpEcho { port: 7 }).unwrap();
    assert_eq!(
        guest.start(now, Program::TcpSink { port: 7 }),
        Err(ProgramError::Port(7))
    );
    assert_eq!(
        guest.start(now, ping("192.0.2.1".parse().unwrap(), 1)),
        Err(ProgramError::NoRoute("192.0.2.1".parse().unwrap()))
    );
    let foreign = Program::TcpConnect {
        source: Some(v4(0, 5).into()),
        destination: (v4(0, 5), 1).into(),
        timeout: SECOND,
    };
    assert_eq!(
        guest.start(now, foreign),
        Err(ProgramError::Source(v4(0, 5).into()))
    );
    for port in 1000..1063 {
        guest.start(now, Program::UdpEcho { port }).unwrap();
    }
    assert_eq!(
        guest.start(now, Program::UdpEcho { port: 2000 }),
        Err(ProgramError::TooMany)
    );
}
