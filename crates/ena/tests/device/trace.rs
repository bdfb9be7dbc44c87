//! The trace, line by line.

use trinic_ena::device::Config;
use trinic_ena::spec::feature::{AenqConfig, FeatureId, Mtu};
use trinic_ena::spec::registers::{Register, ResetReason};

use crate::queues::{create_cq, create_sq};
use crate::rig::{Rig, get, get_with, set};

fn lines(rig: &mut Rig) -> Vec<String> {
    let records = rig.device.drain_trace();
    records.map(|record| record.event.to_string()).collect()
}

#[test]
fn a_session_reads_well() {
    let mut rig = Rig::new(Rig::config());
    rig.set_response();
    rig.read_readless(Register::DEV_STS);
    rig.read(Register::VERSION);
    rig.read(Register::CONTROLLER_VERSION);
    rig.write(Register::AENQ_CAPS, 0x40_0010);
    rig.read(Register(0x1c));
    assert_eq!(
        lines(&mut rig),
        [
            "write MMIO_RESP_LO = 0x105000",
            "write MMIO_RESP_HI = 0x0",
            "read DEV_STS = 0x1, ready (readless)",
            "read VERSION = 0x200, 2.0",
            "read CTRL_VERSION = 0x1, 0.0.1",
            "write AENQ_CAPS = 0x400010, 16 entries of 64 B",
            "read unknown (0x1c) = 0xffffffff",
            "refused unknown_register: A register that is not there.",
        ]
    );
    rig.reset(ResetReason::MISSING_TX_COMPLETION);
    let reset = lines(&mut rig);
    assert_eq!(
        reset[..2],
        [
            "write DEV_CTL = 0x30000001, reset",
            "reset, reason 3: transmit completions are missing; the driver blames the device",
        ]
    );
    assert_eq!(reset[4], "read DEV_STS = 0x8, reset in progress (readless)");
    assert_eq!(reset[6], "reset done");

    rig.set_up_admin();
    lines(&mut rig);
    rig.done(&get(FeatureId::DEVICE_ATTRIBUTES));
    rig.done(&get(FeatureId::MAX_QUEUES_EXT));
    rig.done(&get_with(FeatureId::RSS_HASH_FUNCTION, 48));
    rig.done(&set(FeatureId::MTU, &Mtu { mtu: 9001.into() }));
    rig.done(&create_cq(2, 1024, 1));
    rig.done(&create_sq(1, 1, 0, 1024));
    rig.submit(&create_sq(2, 1, 9, 100));
    let commands: Vec<_> = lines(&mut rig)
        .into_iter()
        .filter(|line| !line.starts_with("write AQ_DB"))
        .collect();
    assert_eq!(
        commands,
        [
            "command 0: get feature device attributes -> success, features 0x1c145c92, capabilities 0xf, max MTU 9216",
            "command 1: get feature max queues ext -> success, 4 TX of 1024, 4 RX of 8192",
            "command 2: get feature RSS hash function, buffer of 48 B at 0x104000 -> success, selected 0x2, initial value 0x0",
            "command 3: set feature MTU, 9001 B -> success",
            "command 4: create CQ, 1024 entries of 8 B at 0x110000, vector 1 -> success: CQ 0, unmask at 0x2000",
            "command 5: create SQ TX, 1024 entries at 0x118000 (host), CQ 0, completes every descriptor -> success: SQ 0, doorbell at 0x1000, LLQ at 0x0",
            "command 6: create SQ RX, 100 entries at 0x118000 (host), CQ 9, completes every descriptor -> illegal parameter (5), sq_depth: A submission queue's depth is not a power of two, or too large.",
        ]
    );
    let groups = AenqConfig {
        supported_groups: 0.into(),
        enabled_groups: 0x11.into(),
    };
    rig.done(&set(FeatureId::AENQ_CONFIG, &groups));
    rig.open_events();
    rig.run_until(0);
    assert_eq!(
        lines(&mut rig)[2..],
        [
            "write AENQ_HEAD_DB = 0x10",
            "event link change: up",
            "event keep alive: rx drops 6, tx drops 3, rx overruns 7",
        ]
    );
}

#[test]
fn the_trace_is_bounded_and_can_be_off() {
    let mut rig = Rig::new(Config {
        trace_records: 3,
        ..Rig::config()
    });
    for _ in 0..5 {
        rig.read(Register::CAPS);
    }
    let numbers: Vec<_> = rig.device.drain_trace().map(|record| record.number).collect();
    assert_eq!(numbers, [2, 3, 4], "The gap is what was lost");
    rig.device.set_trace(0);
    rig.read(Register::CAPS);
    assert_eq!(rig.device.drain_trace().count(), 0);
    rig.device.set_trace(1);
    rig.read(Register::CAPS);
    let last = rig.device.drain_trace().next_back().unwrap();
    assert_eq!(
        last.to_string(),
        "5 read CAPS = 0x3015, a reset takes at most 1000 ms, addresses of 48 bits"
    );
}

#[test]
fn a_description_is_data() {
    let mut rig = Rig::with_admin();
    rig.set_host_attributes();
    rig.done(&create_cq(2, 16, 1));
    rig.done(&create_sq(1, 1, 0, 16));
    let described = serde_json::to_value(rig.device.describe()).unwrap();
    assert_eq!(described["driver"], "running");
    assert_eq!(described["bdf"], "00:05.0");
    assert_eq!(described["host"]["driver_version"], "2.17.3");
    assert_eq!(described["tx_queues"][0]["depth"], 16);
    assert_eq!(described["refusals"], serde_json::json!({}));
}
