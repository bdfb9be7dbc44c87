//! Whole TCP/IP stacks (smoltcp) as instances: they find each other, open connections and check every
//! checksum, so that they tell whether the switch's packets are right.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use trinic_guest::{EventKind, Guest, GuestConfig, InterfaceConfig, Program};
use trinic_switch::tables::Target;
use trinic_switch::{DropReason, INTERNET_MAC, Offload, PortId, Verdict};

use crate::packets::{ip, ip4, mac};
use crate::support::{Card, INTERNET, TCP, route, route_table, rule};

/// A card with guests in its ports.
struct World {
    card: Card,
    guests: BTreeMap<PortId, Guest>,
}

fn config(number: u8, ipv4: &str, ipv6: &str) -> InterfaceConfig {
    let address = ip4(ipv4);
    let [a, b, c, _] = address.octets();
    InterfaceConfig {
        mac: mac(number),
        mtu: 9001,
        ipv4: vec![(address, 24)],
        ipv6: vec![(ipv6.parse().unwrap(), 64)],
        ipv4_router: Some([a, b, c, 1].into()),
        ipv6_router: None,
    }
}

impl World {
    fn new() -> Self {
        let card = Card::new();
        let mut world = Self {
            card,
            guests: BTreeMap::new(),
        };
        for (port, config) in [
            (PortId(1), config(1, "10.0.1.10", "2001:db8:0:1::10")),
            (PortId(2), config(2, "10.0.1.20", "2001:db8:0:1::20")),
            (PortId(3), config(3, "10.0.2.30", "2001:db8:0:2::30")),
            (PortId(4), config(4, "10.0.1.40", "2001:db8:0:1::40")),
            (INTERNET, Self::internet()),
        ] {
            let seed = u64::from(port.0);
            let forwarding = port == PortId(4);
            let mut guest = Guest::new(world.card.now, GuestConfig { seed, forwarding });
            guest.configure(world.card.now, 0, config).unwrap();
            world.guests.insert(port, guest);
        }
        world
    }

    fn internet() -> InterfaceConfig {
        InterfaceConfig {
            mac: INTERNET_MAC,
            mtu: 1500,
            ipv4: vec![("203.0.113.1".parse().unwrap(), 0)],
            ipv6: vec![("2001:db8:ffff::1".parse().unwrap(), 0)],
            ipv4_router: None,
            ipv6_router: None,
        }
    }

    /// Moves frames and time until this guest reports something, for at most this time.
    fn run(&mut self, port: PortId, time: Duration) -> Option<EventKind> {
        let end = self.card.now + time;
        loop {
            while self.pass() {}
            if let Some(event) = self.guests.get_mut(&port)?.poll_event() {
                return Some(event.kind);
            }
            let now = self.card.now;
            let timers = self.guests.values_mut().filter_map(|g| g.poll_timeout(now));
            let next = timers.min()?.max(now + Duration::from_micros(1));
            if next > end {
                return None;
            }
            self.card.now = next;
        }
    }

    /// Moves every frame that is ready; returns whether there was one.
    fn pass(&mut self) -> bool {
        let mut ready = Vec::new();
        for (port, guest) in &mut self.guests {
            while let Some((_, frame)) = guest.poll_transmit(self.card.now) {
                ready.push((*port, frame));
            }
        }
        for (port, frame) in &ready {
            let sent = self.card.send_frame(*port, frame, Offload::default());
            if let Some(reply) = sent.reply {
                self.deliver(*port, &reply);
            }
            if let Verdict::Forward { to } = sent.verdict {
                self.deliver(to, &sent.frame);
            }
        }
        !ready.is_empty()
    }

    fn deliver(&mut self, port: PortId, frame: &[u8]) {
        if let Some(guest) = self.guests.get_mut(&port) {
            guest.handle_frame(self.card.now, 0, frame);
        }
    }

    fn start(&mut self, port: PortId, program: Program) {
        let guest = self.guests.get_mut(&port).unwrap();
        guest.start(self.card.now, program).unwrap();
    }

    /// Pings once; what is reported first.
    fn ping(&mut self, from: PortId, to: &str) -> EventKind {
        self.start(
            from,
            Program::Ping {
                source: None,
                destination: ip(to),
                count: Some(1),
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                data_bytes: 56,
                ttl: 64,
            },
        );
        let first = self.run(from, Duration::from_secs(5)).unwrap();
        let done = self.run(from, Duration::from_secs(5)).unwrap();
        assert!(matches!(done, EventKind::PingDone(_)), "{done:?}");
        first
    }

    /// Sends bytes over TCP to a sink; the bytes that both sides counted.
    fn transfer(&mut self, from: PortId, to: PortId, address: &str, port: u16, bytes: u64) {
        self.start(to, Program::TcpSink { port });
        self.start(
            from,
            Program::TcpSend {
                source: None,
                destination: (address.parse::<IpAddr>().unwrap(), port).into(),
                bytes,
                timeout: Duration::from_secs(5),
            },
        );
        match self.run(from, Duration::from_secs(60)) {
            Some(EventKind::Sent(transfer)) => assert_eq!(transfer.bytes, bytes),
            other => panic!("{other:?}"),
        }
        loop {
            match self.run(to, Duration::from_secs(60)) {
                Some(EventKind::Received(transfer)) => return assert_eq!(transfer.bytes, bytes),
                Some(EventKind::Accepted { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[track_caller]
fn assert_reply(event: &EventKind, address: &str) {
    match event {
        EventKind::PingReply { from, .. } => assert_eq!(*from, ip(address)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pings_inside_a_vpc() {
    let mut world = World::new();
    for to in ["10.0.1.20", "10.0.2.30", "10.0.1.1", "2001:db8:0:1::20"] {
        assert_reply(&world.ping(PortId(1), to), to);
    }
    assert!(matches!(
        world.ping(PortId(1), "10.0.1.99"),
        EventKind::PingTimeout { .. }
    ));
}

#[test]
fn a_group_drops_a_ping_and_then_lets_it_through() {
    let mut world = World::new();
    world.card.edit_group("sg-web", |g| g.inbound.clear());
    assert!(matches!(
        world.ping(PortId(1), "10.0.1.20"),
        EventKind::PingTimeout { .. }
    ));
    assert_eq!(
        world
            .card
            .counters("eni-b")
            .dropped(DropReason::SecurityGroupInbound),
        1
    );
    world.card.edit_group("sg-web", |g| {
        g.inbound
            .push(rule("sgr-ping", crate::support::ICMP, (8, -1), "10.0.0.0/16"));
    });
    assert_reply(&world.ping(PortId(1), "10.0.1.20"), "10.0.1.20");
}

#[test]
fn tcp_across_subnets_and_families() {
    let mut world = World::new();
    world.transfer(PortId(1), PortId(3), "10.0.2.30", 5432, 1_000_000);
    world.card.edit_group("sg-web", |g| {
        g.inbound.push(rule("sgr-6", TCP, (5000, 5000), "2001:db8::/56"));
    });
    world.transfer(PortId(4), PortId(2), "2001:db8:0:1::20", 5000, 200_000);
}

#[test]
fn tcp_through_the_internet_gateway_both_ways() {
    let mut world = World::new();
    assert_reply(&world.ping(PortId(1), "203.0.113.1"), "203.0.113.1");
    world.transfer(INTERNET, PortId(1), "198.18.0.10", 80, 200_000);
    world.transfer(PortId(1), INTERNET, "203.0.113.1", 8080, 200_000);
    // Hairpin: public address to public address.
    assert_reply(&world.ping(PortId(1), "198.18.0.40"), "198.18.0.40");
}

#[test]
fn an_instance_routes_when_its_check_is_off() {
    let mut world = World::new();
    world.card.put(route_table(
        "rtb-2",
        "vpc-1",
        vec![route("10.0.1.0/24", Target::Interface("eni-r".into()))],
    ));
    world.card.edit_group("sg-db", |g| {
        g.inbound
            .push(rule("sgr-p", crate::support::ICMP, (-1, -1), "10.0.0.0/16"));
    });
    assert!(matches!(
        world.ping(PortId(3), "10.0.1.10"),
        EventKind::PingTimeout { .. }
    ));
    assert_eq!(
        world.card.counters("eni-r").dropped(DropReason::DestinationCheck),
        1
    );
    world
        .card
        .edit_interface("eni-r", |i| i.source_dest_check = false);
    assert_reply(&world.ping(PortId(3), "10.0.1.10"), "10.0.1.10");
    assert!(world.card.counters("eni-r").packets_out > 0);
}
