//! Ports, loading and changing tables, counters.

use trinic_switch::tables::{Delta, DeltaMismatch, Revision};
use trinic_switch::{ConnectError, DropReason, MAX_PORTS, Offload, PortId, Switch, Verdict};

use crate::packets::{pkt, syn};
use crate::support::{Card, INTERNET, world};

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";

#[test]
fn a_port_takes_one_interface() {
    let mut card = Card::new();
    assert_eq!(
        card.switch.connect("eni-b", PortId(1)),
        Err(ConnectError::PortInUse(PortId(1)))
    );
    assert_eq!(
        card.switch.connect_internet(PortId(1)),
        Err(ConnectError::PortInUse(PortId(1)))
    );
    let beyond = PortId(MAX_PORTS);
    assert_eq!(
        card.switch.connect("eni-b", beyond),
        Err(ConnectError::PortTooLarge(beyond))
    );
    // The same again is no change.
    assert_eq!(card.switch.connect("eni-a", PortId(1)), Ok(()));
    assert_eq!(card.switch.connect_internet(INTERNET), Ok(()));
    assert_eq!(card.switch.port_of("eni-a"), Some(PortId(1)));
    assert_eq!(card.switch.interface_at(PortId(1)).map(|id| &**id), Some("eni-a"));
}

#[test]
fn an_interface_moves_between_ports() {
    let mut card = Card::new();
    let packet = pkt(1, A, B, syn(1, 80));
    card.arrives(&packet, PortId(2));
    card.switch.connect("eni-b", PortId(22)).unwrap();
    card.arrives(&packet, PortId(22));
    let sent = card.send_frame(PortId(2), &packet.frame(), Offload::default());
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::UnknownPort));
    card.switch.disconnect(PortId(22));
    card.drops(&packet, DropReason::DestinationUnattached, "eni-b");
    card.switch.connect("eni-b", PortId(2)).unwrap();
    card.arrives(&packet, PortId(2));
    // Disconnecting nothing is fine.
    card.switch.disconnect(PortId(55));
}

#[test]
fn a_port_may_come_before_its_interface() {
    let mut switch = Switch::default();
    switch.connect("eni-a", PortId(1)).unwrap();
    assert_eq!(switch.port_of("eni-a"), Some(PortId(1)));
    switch.load(world());
    assert_eq!(switch.port_of("eni-a"), Some(PortId(1)));
    switch.disconnect(PortId(1));
    assert_eq!(switch.port_of("eni-a"), None);
    assert!(switch.counters("eni-a").is_some());
}

#[test]
fn a_delta_must_start_from_the_tables() {
    let mut card = Card::new();
    let before = card.switch.tables().clone();
    let delta = Delta {
        from: Revision(9),
        to: Revision(10),
        upsert: Vec::new(),
        remove: vec!["eni-a".into()],
    };
    let mismatch = DeltaMismatch {
        from: Revision(9),
        at: Revision(0),
    };
    assert_eq!(card.switch.apply(delta), Err(mismatch));
    assert_eq!(card.switch.tables(), &before);
    card.arrives(&pkt(1, A, B, syn(1, 80)), PortId(2));
}

#[test]
fn counters_survive_a_new_snapshot() {
    let mut card = Card::new();
    card.arrives(&pkt(1, A, B, syn(1, 22)), PortId(2));
    let before = (card.counters("eni-a"), card.counters("eni-b"));
    assert_eq!(before.1.conntrack_entries, 1);
    let mut tables = world();
    tables.revision = Revision(77);
    card.switch.load(tables);
    assert_eq!(card.switch.tables().revision, Revision(77));
    assert_eq!((card.counters("eni-a"), card.counters("eni-b")), before);
}

#[test]
fn counters_by_direction_and_as_json() {
    let mut card = Card::new();
    let packet = pkt(1, A, B, syn(1, 80));
    let len = packet.frame().len() as u64;
    card.arrives(&packet, PortId(2));
    card.drops(
        &pkt(1, A, B, syn(1, 81)),
        DropReason::SecurityGroupInbound,
        "eni-b",
    );
    let (a, b) = (card.counters("eni-a"), card.counters("eni-b"));
    assert_eq!((a.packets_out, a.bytes_out), (2, 2 * len));
    assert_eq!((b.packets_in, b.bytes_in), (1, len));
    let json = serde_json::to_value(&b).unwrap();
    assert_eq!(json["drops"]["security-group-inbound"], 1);
    assert_eq!(json["conntrack_limit"], 262_144);
    let back: trinic_switch::CountersSnapshot = serde_json::from_value(json).unwrap();
    assert_eq!(back, b);
}

#[test]
fn names_of_reasons_are_those_of_serde() {
    for reason in DropReason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
    }
}
