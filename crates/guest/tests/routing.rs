//! Guests with several interfaces, and guests as routers.
#![expect(clippy::unwrap_used, reason = "A test fails by panicking.")]

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::{DELAY, World, interface, v4, v6};
use trinic_guest::{EventKind, Program};

const SECOND: Duration = Duration::from_secs(1);

fn ping(destination: IpAddr, ttl: u8, data_bytes: usize) -> Program {
    Program::Ping {
        source: None,
        destination,
        count: Some(1),
        interval: SECOND,
        timeout: SECOND,
        data_bytes,
        ttl,
    }
}

/// Guest 0 (10.0.0.4) and guest 1 (10.0.1.5) with guest 2 as router between them.
fn routed() -> World {
    let mut world = World::new(1);
    let (a, b, router) = (world.guest(false), world.guest(false), world.guest(true));
    world.plug(a, 0, 0, interface(0, 4, Some(1)));
    world.plug(b, 0, 1, interface(1, 5, Some(1)));
    world.plug(router, 0, 0, interface(0, 1, None));
    world.plug(router, 1, 1, interface(1, 1, None));
    world.run(SECOND);
    world
}

#[test]
fn router_forwards_and_counts_hops() {
    for destination in [IpAddr::from(v4(1, 5)), v6(1, 5).into()] {
        let mut world = routed();
        let id = world.start(0, ping(destination, 64, 56));
        world.run(SECOND * 3);
        let kinds = world.kinds(id, 0);
        assert!(
            matches!(kinds[0], EventKind::PingReply { ttl: 63, rtt, .. } if rtt >= DELAY * 4),
            "{kinds:?}"
        );
        assert_eq!(world.guests[2].counters().forwarded, 2);
    }
}

#[test]
fn router_that_is_switched_off_drops() {
    let mut world = routed();
    world.guests[2].set_forwarding(false);
    let id = world.start(0, ping(v4(1, 5).into(), 64, 56));
    world.run(SECOND * 3);
    assert_eq!(world.kinds(id, 0)[0], EventKind::PingTimeout { sequence: 0 });
    let counters = world.guests[2].counters();
    assert_eq!((counters.forwarded, counters.other_address), (0, 1));
}

#[test]
fn expired_ttl_is_reported() {
    for (destination, expected) in [
        (IpAddr::from(v4(1, 5)), (IpAddr::from(v4(0, 1)), 11, 0)),
        (v6(1, 5).into(), (v6(0, 1).into(), 3, 0)),
    ] {
        let mut world = routed();
        let id = world.start(0, ping(destination, 1, 56));
        world.run(SECOND * 3);
        let kinds = world.kinds(id, 0);
        let EventKind::PingUnreachable {
            from,
            icmp_type,
            code,
        } = kinds[0]
        else {
            unreachable!("{kinds:?}");
        };
        assert_eq!((from, icmp_type, code), expected);
        assert_eq!(world.guests[2].counters().ttl_expired, 1);
    }
}

#[test]
fn packets_beyond_the_mtu_are_reported() {
    let mut world = routed();
    let mut narrow = interface(1, 1, None);
    narrow.mtu = 1500;
    world.guests[2].configure(world.now, 1, narrow).unwrap();
    let id = world.start(0, ping(v6(1, 5).into(), 64, 4000));
    world.run(SECOND * 3);
    let kinds = world.kinds(id, 0);
    assert!(
        matches!(kinds[0], EventKind::PingUnreachable { icmp_type: 2, .. }),
        "{kinds:?}"
    );
    assert_eq!(world.guests[2].counters().too_big, 1);
}

#[test]
fn missing_route_is_unreachable() {
    let mut world = routed();
    let connect = Program::TcpConnect {
        source: None,
        destination: ("192.0.2.7".parse::<IpAddr>().unwrap(), 80).into(),
        timeout: SECOND,
    };
    let id = world.start(0, connect);
    world.run(SECOND * 3);
    let kinds = world.kinds(id, 0);
    assert!(
        matches!(
            kinds[..],
            [EventKind::Unreachable {
                icmp_type: 3,
                code: 0,
                ..
            }]
        ),
        "{kinds:?}"
    );
}

#[test]
fn one_armed_router() {
    // As with a NAT instance in a subnet: the router sends packets back on the link they came from.
    let mut world = World::new(1);
    let (a, b, router) = (world.guest(false), world.guest(false), world.guest(true));
    let mut config = interface(0, 4, Some(1));
    config.ipv4 = vec![(v4(0, 4), 32)];
    world.plug(a, 0, 0, config);
    world.plug(b, 0, 0, interface(0, 5, None));
    world.plug(router, 0, 0, interface(0, 1, None));
    // The router is in no subnet of a's, so that a says who it is first.
    world.run(SECOND);
    let id = world.start(a, ping(v4(0, 5).into(), 64, 56));
    world.run(SECOND * 3);
    assert!(matches!(world.kinds(id, a)[0], EventKind::PingReply { .. }));
    assert_eq!(world.guests[router].counters().forwarded, 1);
}

#[test]
fn packets_leave_where_their_source_is() {
    let mut world = World::new(1);
    let (a, b) = (world.guest(false), world.guest(false));
    world.plug(a, 0, 0, interface(0, 4, None));
    world.plug(a, 1, 1, interface(1, 4, None));
    world.plug(b, 0, 0, interface(0, 5, None));
    world.plug(b, 1, 1, interface(1, 5, None));
    world.run(SECOND);
    world.frames.clear();
    world.start(b, Program::TcpEcho { port: 7 });
    let id = world.start(
        a,
        Program::TcpExchange {
            source: None,
            destination: (v4(1, 5), 7).into(),
            request: b"over the second link".to_vec(),
            limit_bytes: 20,
            timeout: SECOND,
        },
    );
    world.run(SECOND * 3);
    assert!(matches!(world.kinds(id, a)[0], EventKind::Response { .. }));
    // IPv4 alone: router solicitations go out everywhere.
    let mut tcp = world.frames.iter().filter(|(_, f)| f[12..14] == [8, 0]);
    assert!(tcp.clone().count() > 5);
    assert!(tcp.all(|(link, _)| *link == 1));
}

#[test]
fn router_is_learned_from_advertisements() {
    use trinic_wire::icmpv6::ndp;
    use trinic_wire::{ethernet, reply};

    let mut world = World::new(1);
    let a = world.guest(false);
    world.plug(a, 0, 0, interface(0, 4, None));
    world.run(Duration::from_millis(1));
    // It has asked for a router.
    let asked = |(_, f): &(usize, Vec<u8>)| f[12..14] == [0x86, 0xdd] && f[54] == 133;
    assert!(world.frames.iter().any(asked));
    let destination: IpAddr = "2001:db8:9::1".parse().unwrap();
    assert!(
        world.guests[a]
            .start(world.now, ping(destination, 64, 8))
            .is_err()
    );
    let mac = [2, 0, 0, 0, 0, 1];
    let solicitation = ethernet::Repr {
        destination: mac,
        source: [2, 0, 0, 0, 0, 4],
        tag: None,
        ethertype: ethernet::EtherType::IPV6,
    };
    let advertisement = ndp::RouterAdvertisement {
        lifetime_s: 1800,
        source_link: Some(mac),
        ..ndp::RouterAdvertisement::default()
    };
    let mut out = [0; reply::MAX_LEN];
    let asker = trinic_wire::ipv6::link_local([2, 0, 0, 0, 0, 4]);
    let router = trinic_wire::ipv6::link_local(mac);
    let len =
        reply::router_advertisement(&solicitation, asker, router, mac, &advertisement, &mut out).unwrap();
    world.guests[a].handle_frame(world.now, 0, &out[..len]);
    world.frames.clear();
    world.start(a, ping(destination, 64, 8));
    world.run(Duration::from_millis(1));
    assert!(world.frames.iter().any(|(_, f)| f[..6] == mac && f[54] == 128));
}
