//! The driver with a transport that is as simple as can be, and with ones that do what must not be done.

use std::collections::VecDeque;
use std::time::Duration;

use trinic_sim::topology::{Pair, pair_with_paths};
use trinic_sim::{
    Busy, Datagram, Driver, Ecn, Endpoint, Flow, HostId, Instant, LinkConfig, Message, MessageEvent,
    MessageId, Messenger, Pace, Transmit, Violation, World, WorldConfig, content,
};

/// How a transport behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Good,
    /// Delivers each message twice.
    Twice,
    /// Says that a message is delivered when it is offered.
    Early,
    /// Fails each message when it is offered.
    Fails,
    /// Never says anything at the sender.
    Silent,
    /// Delivers with a wrong length.
    Short,
}

/// One datagram a message, one datagram an acknowledgement, no repair; up to `room` messages at a time.
struct Toy {
    manner: Manner,
    room: usize,
    open: usize,
    most_open: usize,
    outbox: VecDeque<(HostId, u8, Message)>,
    events: VecDeque<MessageEvent>,
}

impl Toy {
    fn new(manner: Manner, room: usize) -> Self {
        Self {
            manner,
            room,
            open: 0,
            most_open: 0,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }
}

impl Endpoint for Toy {
    fn handle_datagram(&mut self, _now: Instant, datagram: &Datagram) {
        let (head, body) = datagram.payload.split_at(9);
        let id = MessageId(u64::from_be_bytes(head[1..].try_into().expect("eight bytes")));
        if head[0] == 1 {
            self.open -= 1;
            self.events.push_back(MessageEvent::Completed { id });
            return;
        }
        let size_bytes = u32::try_from(body.len()).expect("fits a datagram");
        let delivered = MessageEvent::Delivered {
            id,
            from: datagram.source,
            size_bytes: size_bytes - u32::from(self.manner == Manner::Short),
            intact: content::check(id, 0, body),
        };
        self.events.push_back(delivered);
        if self.manner == Manner::Twice {
            self.events.push_back(delivered);
        }
        if self.manner != Manner::Silent {
            let message = Message {
                id,
                to: datagram.source,
                size_bytes: 0,
            };
            self.outbox.push_back((datagram.source, 1, message));
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn poll_transmit(&mut self, _now: Instant, payload: &mut Vec<u8>) -> Option<Transmit> {
        let (destination, kind, message) = self.outbox.pop_front()?;
        payload.push(kind);
        payload.extend_from_slice(&message.id.0.to_be_bytes());
        content::append(message.id, message.size_bytes, payload);
        Some(Transmit {
            destination,
            source_port: 1,
            destination_port: 1,
            ecn: Ecn::NotEct,
            virtual_bytes: 0,
        })
    }
}

impl Messenger for Toy {
    fn offer(&mut self, _now: Instant, message: Message) -> Result<(), Busy> {
        let id = message.id;
        match self.manner {
            Manner::Fails => self.events.push_back(MessageEvent::Failed { id }),
            Manner::Early => self.events.push_back(MessageEvent::Completed { id }),
            _ if self.open >= self.room => return Err(Busy),
            _ => {
                self.open += 1;
                self.most_open = self.most_open.max(self.open);
                self.outbox.push_back((message.to, 0, message));
            }
        }
        Ok(())
    }

    fn poll_event(&mut self) -> Option<MessageEvent> {
        self.events.pop_front()
    }
}

fn at_us(us: u64) -> Instant {
    Instant::from_nanos(us * 1_000)
}

fn world(manner: Manner, room: usize) -> (World<Toy>, Pair) {
    let config = LinkConfig::new(8_000_000_000, Duration::from_micros(1));
    let (topology, pair) = pair_with_paths(1, &config, &config);
    let mut world = World::new(&topology, WorldConfig::new(1));
    world.start(pair.left, Toy::new(manner, room));
    world.start(pair.right, Toy::new(manner, room));
    (world, pair)
}

fn flow(pair: &Pair, count: u64, pace: Pace) -> Flow {
    Flow {
        from: pair.left,
        to: pair.right,
        size_bytes: 1_000 - 66 - 9,
        count,
        pace,
        start: Instant::ZERO,
    }
}

/// What is wrong after five messages to transports of this manner.
fn violations(manner: Manner) -> Vec<Violation> {
    let (mut world, pair) = world(manner, 10);
    let mut driver = Driver::new(1, &[flow(&pair, 5, Pace::Outstanding(1))]);
    driver.run(&mut world, at_us(1_000));
    driver.settle(&mut world, at_us(2_000));
    assert_eq!(world.now(), at_us(2_000));
    driver.ledger().check().err().unwrap_or_default()
}

#[test]
fn latency_and_goodput_are_those_of_the_links() {
    let (mut world, pair) = world(Manner::Good, 10);
    let mut driver = Driver::new(1, &[flow(&pair, 100, Pace::Outstanding(1))]);
    assert!(driver.run(&mut world, at_us(10_000)));
    driver.ledger().check().unwrap();
    let report = driver.report();
    // Three links of 1 µs and 1,000 bytes at a byte a nanosecond; back the same with 84.
    assert_eq!(
        (report.delivery_ns.min(), report.delivery_ns.max()),
        (6_000, 6_000)
    );
    assert_eq!(
        (report.latency_ns.min(), report.latency_ns.p999()),
        (9_252, 9_252)
    );
    assert_eq!(
        (report.offered, report.completed, report.delivered),
        (100, 100, 100)
    );
    assert_eq!(report.ended.as_nanos(), 99 * 9_252 + 6_000);
    assert_eq!(
        report.goodput_bps(),
        100 * 925 * 8 * 1_000_000_000 / (99 * 9_252 + 6_000)
    );
    assert_eq!(driver.flow_goodputs_bps(), [report.goodput_bps()]);
}

#[test]
fn a_closed_loop_keeps_its_number_open_and_an_endpoint_without_room_is_asked_again() {
    for (outstanding, room, open) in [(7, 100, 7), (50, 8, 8)] {
        let (mut world, pair) = world(Manner::Good, room);
        let mut driver = Driver::new(1, &[flow(&pair, 500, Pace::Outstanding(outstanding))]);
        assert!(driver.run(&mut world, at_us(100_000)));
        driver.ledger().check().unwrap();
        assert_eq!(world.endpoint(pair.left).unwrap().most_open, open);
    }
}

#[test]
fn an_open_loop_counts_the_time_that_a_message_waits_for_room() {
    let (mut world, pair) = world(Manner::Good, 1);
    let pace = Pace::Every(Duration::from_nanos(1_000));
    let mut driver = Driver::new(1, &[flow(&pair, 11, pace)]);
    assert!(driver.run(&mut world, at_us(1_000)));
    // One goes each 9,252 ns, one comes each 1,000: the eleventh waits ten times the difference.
    assert_eq!(driver.report().latency_ns.max(), 9_252 + 10 * 8_252);
}

#[test]
fn transports_that_do_wrong_are_found_out() {
    assert_eq!(violations(Manner::Good), []);
    assert_eq!(violations(Manner::Fails), []);
    let id = MessageId;
    assert_eq!(
        violations(Manner::Twice),
        (0..5)
            .map(|n| Violation::DeliveredTwice(id(n)))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        violations(Manner::Early),
        (0..5).map(|n| Violation::NotDelivered(id(n))).collect::<Vec<_>>()
    );
    assert_eq!(
        violations(Manner::Short),
        (0..5).map(|n| Violation::Damaged(id(n))).collect::<Vec<_>>()
    );
    assert_eq!(violations(Manner::Silent), [Violation::Silent(id(0))]);
}

#[test]
fn a_transport_that_fails_at_once_does_not_exhaust_the_stack() {
    let (mut world, pair) = world(Manner::Fails, 1);
    let mut driver = Driver::new(1, &[flow(&pair, 100_000, Pace::Outstanding(3))]);
    assert!(driver.run(&mut world, at_us(1)));
    assert_eq!(driver.report().failed, 100_000);
    driver.ledger().check().unwrap();
}

#[test]
fn a_crashed_host_stops_offering_and_goes_on_after_its_restart() {
    for pace in [Pace::Outstanding(2), Pace::Every(Duration::from_micros(2))] {
        let (mut world, pair) = world(Manner::Good, 10);
        let mut driver = Driver::new(1, &[flow(&pair, 100, pace)]);
        driver.run(&mut world, at_us(21));
        driver.crash(&mut world, pair.left);
        let offered = driver.report().offered;
        assert!(!driver.run(&mut world, at_us(500)));
        assert_eq!(driver.report().offered, offered);
        driver.settle(&mut world, at_us(500));
        driver.restart(&mut world, pair.left, Toy::new(Manner::Good, 10));
        assert!(driver.run(&mut world, at_us(10_000)), "{pace:?}");
        let report = driver.report();
        assert!(report.aborted > 0);
        assert_eq!((report.offered, report.completed), (100, 100 - report.aborted));
        driver.ledger().check().unwrap();
        // An open loop keeps its gap: the rest takes 2 µs each.
        if pace != Pace::Outstanding(2) {
            let rest_us = (report.ended.as_nanos() - 500_000) / 1_000;
            assert!(rest_us >= 2 * (100 - offered - 1), "{rest_us}");
        }
    }
}
