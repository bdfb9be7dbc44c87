//! Link, keep-alives, requests, and what a device does that was told to misbehave.

use trinic_ena::datapath::Change;
use trinic_ena::device::{DriverState, Fault, FaultError, Refusal};
use trinic_ena::spec::aenq::{Event, Group};
use trinic_ena::spec::feature::{AenqConfig, FeatureId, HardwareHints};
use trinic_ena::spec::registers::{Register, ResetReason};
use trinic_pci::Function;

use crate::queues::{create_cq, create_sq};
use crate::rig::{Rig, get, set};

fn enable(rig: &mut Rig, groups: u32) {
    let config = AenqConfig {
        supported_groups: 0.into(),
        enabled_groups: groups.into(),
    };
    rig.done(&set(FeatureId::AENQ_CONFIG, &config));
}

fn running(groups: u32) -> Rig {
    let mut rig = Rig::with_admin();
    enable(&mut rig, groups);
    rig.open_events();
    rig
}

fn group(event: Option<Event>) -> Option<Group> {
    event.map(|event| Group(event.group.get()))
}

#[test]
fn the_link_is_told_in_either_order() {
    let mut rig = running(0x1);
    assert_eq!(group(rig.event()), Some(Group::LINK_CHANGE));
    let mut rig = Rig::with_admin();
    rig.open_events();
    assert_eq!(rig.event(), None);
    enable(&mut rig, 0x1);
    assert_eq!(group(rig.event()), Some(Group::LINK_CHANGE));
    assert_eq!(rig.event(), None, "Once");
    enable(&mut rig, 0x11);
    assert_eq!(rig.event(), None, "Once");
}

#[test]
fn the_link_is_told_again_with_the_first_queue_only() {
    let mut rig = running(0x1);
    rig.event();
    rig.done(&create_cq(2, 16, 1));
    assert_eq!(rig.event(), None);
    rig.done(&create_sq(1, 1, 0, 16));
    assert_eq!(group(rig.event()), Some(Group::LINK_CHANGE));
    rig.done(&create_cq(4, 16, 1));
    rig.done(&create_sq(2, 1, 1, 16));
    assert_eq!(rig.event(), None);
}

#[test]
fn a_pulled_cable_is_told() {
    let mut rig = running(0x1);
    rig.event();
    rig.device.set_link(false);
    assert_eq!(rig.event().unwrap().payload[0], 0);
    assert!(!rig.device.describe().link_is_up);
    // Still so after a reset.
    rig.reset(ResetReason::NORMAL);
    rig.set_up_admin();
    enable(&mut rig, 0x1);
    rig.open_events();
    assert_eq!(rig.event().unwrap().payload[0], 0);
    rig.device.set_link(true);
    assert_eq!(rig.event().unwrap().payload[0], 1);
}

#[test]
fn keep_alives_come_every_second() {
    let mut rig = running(0x10);
    assert!(rig.device.poll_timeout().is_some(), "The first is due at once");
    let mut seen = 0;
    for second in 0..20 {
        rig.run_until(second * 1000);
        while let Some(event) = rig.event() {
            assert_eq!(event.group.get(), 4);
            // rx drops, tx drops, rx overruns.
            assert_eq!(
                event.payload[..24],
                [
                    6, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0
                ]
            );
            assert_eq!(event.timestamp.get(), second);
            seen += 1;
        }
        assert_eq!(seen, second + 1);
    }
    assert_eq!(rig.device.describe().keep_alives, 20);
    // After a pause one is enough.
    rig.device
        .handle_timeout(trinic_wire::time::Instant::from_nanos(100_000_000_000));
    assert_eq!(group(rig.event()), Some(Group::KEEP_ALIVE));
    assert_eq!(rig.event(), None);
    enable(&mut rig, 0x1);
    assert_eq!(rig.device.poll_timeout(), None);
}

#[test]
fn no_event_without_its_group_or_its_queue() {
    let mut rig = Rig::with_admin();
    enable(&mut rig, 0x1f);
    assert_eq!(rig.device.poll_timeout(), None, "No entries were given");
    assert_eq!(rig.event(), None);
    let mut rig = running(0);
    rig.run_until(5000);
    assert_eq!(rig.event(), None);
    let config = AenqConfig {
        supported_groups: 0.into(),
        enabled_groups: 0x20.into(),
    };
    rig.refused(&set(FeatureId::AENQ_CONFIG, &config), Refusal::EventGroups);
}

#[test]
fn a_full_queue_loses_keep_alives_and_keeps_the_link() {
    let mut rig = running(0x10);
    for second in 0..16 {
        rig.run_until(second * 1000);
    }
    assert_eq!(rig.device.refusals().get(Refusal::EventFull), 0);
    rig.run_until(16_000);
    assert_eq!(rig.device.refusals().get(Refusal::EventFull), 1);
    // The link's event finds no room and comes as soon as there is some.
    enable(&mut rig, 0x11);
    for _ in 0..16 {
        assert_eq!(group(rig.event()), Some(Group::KEEP_ALIVE));
    }
    assert_eq!(group(rig.event()), Some(Group::LINK_CHANGE));
    assert_eq!(rig.event(), None);
}

#[test]
fn the_interrupt_mask_holds() {
    let mut rig = running(0x10);
    rig.interrupts.take(0);
    rig.run_until(0);
    assert_eq!(rig.interrupts.take(0), 1);
    rig.write(Register::INTR_MASK, 1);
    rig.run_until(2000);
    rig.done(&get(FeatureId::LINK_CONFIG));
    assert_eq!(rig.interrupts.take(0), 0);
    rig.write(Register::INTR_MASK, 0);
    rig.done(&get(FeatureId::LINK_CONFIG));
    assert_eq!(rig.interrupts.take(0), 1);
}

#[test]
fn event_doorbells_are_checked() {
    let mut rig = running(0x10);
    for head in [17, 0xffff] {
        rig.write(Register::AENQ_HEAD_DB, head);
    }
    assert_eq!(rig.device.refusals().get(Refusal::EventDoorbell), 2);
    rig.run_until(0);
    assert_eq!(group(rig.event()), Some(Group::KEEP_ALIVE));
    for (caps, base) in [(0, 0x1000), (32 << 16 | 16, 0x1000), (64 << 16 | 16, 0)] {
        rig.write(Register::AENQ_CAPS, caps);
        rig.write(Register::AENQ_BASE_LO, base);
        rig.write(Register::AENQ_BASE_HI, 0);
        rig.open_events();
    }
    assert_eq!(rig.device.refusals().get(Refusal::EventQueue), 3);
    assert_eq!(rig.device.poll_timeout(), None);
}

#[test]
fn an_event_given_back_after_a_reset_means_nothing() {
    let mut rig = running(0x10);
    rig.run_until(0);
    rig.event();
    rig.write(Register::DEV_CTL, 1);
    rig.write(Register::AENQ_HEAD_DB, 18);
    rig.write(Register::DEV_CTL, 0);
    rig.write(Register::AENQ_HEAD_DB, 18);
    assert_eq!(rig.device.refusals().met().count(), 0);
    assert_eq!(rig.device.poll_timeout(), None);
    assert_eq!(rig.device.describe().driver, DriverState::Reset);
}

#[test]
fn hints_are_notified() {
    let mut rig = running(0);
    let hints = HardwareHints {
        watchdog_timeout_ms: 0x1234.into(),
        ..HardwareHints::default()
    };
    assert_eq!(rig.device.notify_hints(&hints), Err(FaultError::NotListening));
    enable(&mut rig, 0x8);
    rig.device.notify_hints(&hints).unwrap();
    let event = rig.event().unwrap();
    assert_eq!((event.group.get(), event.syndrome.get()), (3, 2));
    assert_eq!(event.payload[..4], [0, 0, 0x34, 0x12]);
}

#[test]
fn keep_alives_stop_until_the_driver_resets() {
    let mut rig = running(0x10);
    rig.run_until(0);
    rig.event();
    rig.device.inject(Fault::StopKeepAlives).unwrap();
    rig.run_until(60_000);
    assert_eq!(rig.event(), None);
    enable(&mut rig, 0x10);
    assert_eq!(rig.device.poll_timeout(), None);
    rig.reset(ResetReason::KEEP_ALIVE_TIMEOUT);
    rig.set_up_admin();
    enable(&mut rig, 0x10);
    rig.open_events();
    rig.run_until(61_000);
    assert_eq!(group(rig.event()), Some(Group::KEEP_ALIVE));
}

#[test]
fn faults_of_the_datapath_reach_it() {
    let mut rig = Rig::with_admin();
    for (fault, change) in [
        (Fault::SwallowTxCompletion, Change::SwallowTxCompletion),
        (Fault::DropInterrupt, Change::DropInterrupt),
    ] {
        rig.device.inject(fault).unwrap();
        assert_eq!(rig.device.link_mut().changes.last(), Some(&change));
    }
    rig.device.link_mut().is_gone = true;
    assert!(matches!(
        rig.device.inject(Fault::DropInterrupt),
        Err(FaultError::Datapath(_))
    ));
}

#[test]
fn faults_of_the_admin_queue_happen_once() {
    let mut rig = Rig::with_admin();
    rig.device.inject(Fault::DropAdminInterrupt).unwrap();
    rig.done(&get(FeatureId::LINK_CONFIG));
    assert_eq!(rig.interrupts.take(0), 0);
    rig.done(&get(FeatureId::LINK_CONFIG));
    assert_eq!(rig.interrupts.take(0), 1);
    rig.device.inject(Fault::SwallowAdminCompletion).unwrap();
    rig.put(&get(FeatureId::LINK_CONFIG));
    rig.ring();
    assert!(rig.completion().is_none());
    assert_eq!(rig.interrupts.take(0), 0);
    rig.put(&get(FeatureId::LINK_CONFIG));
    rig.ring();
    assert!(rig.completion().is_some());
}

#[test]
fn the_device_asks_for_a_reset() {
    let mut rig = running(0x1f);
    while rig.event().is_some() {}
    assert_eq!(
        rig.device.inject(Fault::RequestReset),
        Err(FaultError::NotListening)
    );
    enable(&mut rig, 0x9f);
    rig.device.inject(Fault::RequestReset).unwrap();
    assert_eq!(group(rig.event()), Some(Group::DEVICE_REQUEST_RESET));
}

#[test]
fn a_failed_device_says_so_until_it_is_reset() {
    let mut rig = running(0x2);
    rig.device.inject(Fault::FatalError).unwrap();
    assert_eq!(group(rig.event()), Some(Group::FATAL_ERROR));
    assert_eq!(rig.read(Register::DEV_STS), 0x21);
    rig.reset(ResetReason::GENERIC);
    assert_eq!(rig.read(Register::DEV_STS), 1);
    assert!(!rig.device.describe().has_failed);
}
