//! Golden traces.

use insta::assert_snapshot;
use trinic_switch::trace::{Outcome, Trace};
use trinic_switch::{DropReason, INTERNET_MAC, Offload, PortId};

use crate::packets::{L4, Pkt, ack, arp_request, pkt, syn, udp};
use crate::support::{Card, INTERNET, from_internet};

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";
const C: &str = "10.0.2.30";

fn trace(card: &Card, packet: &Pkt) -> Trace {
    let port = if packet.from_mac == INTERNET_MAC {
        INTERNET
    } else {
        PortId(packet.from_mac[5].into())
    };
    trace_frame(card, port, &packet.frame())
}

fn trace_frame(card: &Card, port: PortId, frame: &[u8]) -> Trace {
    let counters = card.all_drops();
    let trace = card.switch.trace(card.now, port, frame, frame.len(), Offload::default());
    assert_eq!(card.all_drops(), counters, "a trace counts nothing");
    trace
}
