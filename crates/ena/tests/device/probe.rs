//! The order in which Linux' `ena` and iPXE set a device up, step by step.

use trinic_ena::datapath::{Change, Placement};
use trinic_ena::device::{Config, DriverState, Refusal, layout};
use trinic_ena::spec::admin::{MemoryAddress, Status};
use trinic_ena::spec::aenq::Group;
use trinic_ena::spec::feature::{AenqConfig, FeatureId, HostAttributes, Mtu};
use trinic_ena::spec::registers::{Register, ResetReason};
use trinic_pci::{Function, Memory};

use crate::queues::{create_cq, create_sq};
use crate::rig::{ACQ, AENQ, AQ, HOST_INFO, Rig, get, set};

#[test]
fn config_space_says_what_it_is() {
    let mut rig = Rig::new(Rig::config());
    let mut header = [0; 0x30];
    rig.device.config_read(0, &mut header);
    assert_eq!(header[..4], [0x0f, 0x1d, 0x20, 0xec]);
    // Revision 0 (readless reads), class Ethernet.
    assert_eq!(header[8..12], [0, 0, 0, 2]);
    // BAR 2: 64-bit, prefetchable.
    assert_eq!(header[0x18] & 0xf, 0b1100);
    assert_eq!(rig.device.vector_count(), 5);
    let sizes: Vec<_> = rig
        .device
        .bars()
        .iter()
        .map(|bar| (bar.index, bar.size_bytes))
        .collect();
    assert_eq!(sizes, [(0, 0x4000), (1, 0x2000), (2, 4 * 128 * 1024)]);
    let without = Config {
        llq: false,
        ..Rig::config()
    };
    assert_eq!(Rig::new(without).device.bars().len(), 2);
}

#[test]
fn the_largest_function_fits_into_what_ipxe_maps() {
    let config = Config {
        queue_pairs: 32,
        ..Rig::config()
    };
    let rig = Rig::new(config);
    assert_eq!(rig.device.vector_count(), 33);
    let bar = &rig.device.bars()[0];
    assert!(bar.size_bytes <= 16 * 1024);
    let mapped = bar.mapped[0].clone();
    let last_doorbell = layout::doorbell_offset(trinic_ena::spec::admin::Direction::RX, 31);
    assert!(mapped.contains(&last_doorbell) && last_doorbell < layout::unmask_offset(0));
    assert!(mapped.contains(&layout::unmask_offset(63)));
    assert_eq!(rig.device.bars()[2].size_bytes, 4 << 20);
}

#[test]
fn linux_probes() {
    let mut rig = Rig::new(Rig::config());
    assert_eq!(rig.device.describe().driver, DriverState::NoDriver);
    assert_eq!(rig.device.poll_timeout(), None);

    // Readless reads, and plain ones with the same values.
    rig.set_response();
    assert_eq!(rig.device.describe().driver, DriverState::Probing);
    assert_eq!(rig.read_readless(Register::DEV_STS), Some(1));
    let caps = rig.read_readless(Register::CAPS).unwrap();
    assert_eq!(caps, 0x3015);
    assert_eq!(rig.read(Register::CAPS), caps);

    rig.reset(ResetReason::NORMAL);
    assert_eq!(rig.device.describe().driver, DriverState::Reset);
    assert_eq!(rig.read_readless(Register::VERSION), Some(0x200));
    assert_eq!(rig.read_readless(Register::CONTROLLER_VERSION), Some(1));

    rig.set_up_admin();
    rig.write(Register::INTR_MASK, 1);
    rig.set_host_attributes();
    for feature in [
        FeatureId::DEVICE_ATTRIBUTES,
        FeatureId::MAX_QUEUES_EXT,
        FeatureId::AENQ_CONFIG,
        FeatureId::STATELESS_OFFLOAD,
        FeatureId::LLQ,
        FeatureId::INTERRUPT_MODERATION,
    ] {
        rig.done(&get(feature));
    }
    let hints = rig.submit(&get(FeatureId::HARDWARE_HINTS));
    assert_eq!(hints.status(), Status::UNSUPPORTED_OPCODE);
    let groups = AenqConfig {
        supported_groups: 0.into(),
        enabled_groups: 0x1f.into(),
    };
    rig.done(&set(FeatureId::AENQ_CONFIG, &groups));
    assert_eq!(rig.interrupts.take(0), 0, "The driver polls");
    assert_eq!(rig.device.describe().driver, DriverState::Probing);

    rig.write(Register::INTR_MASK, 0);
    rig.open_events();
    assert_eq!(rig.device.describe().driver, DriverState::Running);
    let link = rig.event().unwrap();
    assert_eq!(link.group.get(), Group::LINK_CHANGE.0);
    assert_eq!(link.payload[0], 1);
    assert!(rig.interrupts.take(0) > 0);

    // Up: a completion queue and a submission queue for each direction, one vector for both.
    let tx_cq = rig.done(&create_cq(2, 1024, 1));
    let tx = rig.done(&create_sq(1, 1, 0, 1024));
    rig.done(&create_cq(4, 1024, 1));
    let rx = rig.done(&create_sq(2, 1, 1, 1024));
    assert_eq!(
        tx_cq.payload[..16],
        [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0]
    );
    assert_eq!(tx.payload[..8], [0, 0, 0, 0, 0, 0x10, 0, 0]);
    assert_eq!(rx.payload[..8], [0, 0, 0, 0, 0, 0x18, 0, 0]);
    let again = rig.event().unwrap();
    assert_eq!(again.group.get(), Group::LINK_CHANGE.0);
    assert_eq!(rig.event(), None);

    let described = rig.device.describe();
    assert_eq!(described.driver, DriverState::Running);
    assert_eq!(described.bdf.as_deref(), Some("00:05.0"));
    let host = described.host.unwrap();
    assert_eq!(
        (host.os.as_str(), host.distribution.as_str()),
        ("Linux", "6.12.1")
    );
    assert_eq!(host.driver_version, "2.17.3");
    assert_eq!(described.tx_queues[0].vector, Some(1));
    assert_eq!(described.mac, "02:11:22:33:44:55");

    // Down and away.
    rig.reset(ResetReason::SHUTDOWN);
    rig.write(Register::MMIO_RESP_LO, 0);
    rig.write(Register::MMIO_RESP_HI, 0);
    let described = rig.device.describe();
    assert_eq!(described.driver, DriverState::NoDriver);
    assert_eq!(described.bdf, None);
    assert_eq!(described.last_reset, Some("shutdown"));
}

#[test]
fn ipxe_probes() {
    let mut rig = Rig::new(Rig::config());
    rig.depth = 2;
    rig.aenq_depth = 2;
    // Plain reads only.
    assert_eq!(rig.read(Register::DEV_STS), 1);
    rig.write(Register::DEV_CTL, 1);
    assert_eq!(rig.read(Register::DEV_STS), 8);
    rig.write(Register::DEV_CTL, 0);
    assert_eq!(rig.read(Register::DEV_STS), 1);
    rig.set_up_admin();
    let none = AenqConfig {
        supported_groups: 0.into(),
        enabled_groups: 0.into(),
    };
    rig.done(&set(FeatureId::AENQ_CONFIG, &none));
    rig.set_host_attributes();
    rig.done(&get(FeatureId::DEVICE_ATTRIBUTES));
    // Polled, no vector, small queues.
    rig.done(&create_cq(2, 16, u32::MAX));
    rig.done(&create_sq(1, 1, 0, 16));
    rig.done(&create_cq(4, 128, u32::MAX));
    rig.done(&create_sq(2, 1, 1, 128));
    assert_eq!(rig.device.describe().driver, DriverState::Running);
    assert_eq!(rig.device.describe().tx_queues[0].vector, None);
    assert_eq!(rig.event(), None);
    assert_eq!(rig.device.poll_timeout(), None);
    // Teardown.
    for register in [Register::AQ_CAPS, Register::ACQ_CAPS, Register::AENQ_CAPS] {
        rig.write(register, 0);
    }
    rig.ring();
    assert_eq!(rig.device.refusals().get(Refusal::AdminQueue), 1);
}

#[test]
fn commands_wrap_at_every_depth() {
    for depth in [2, 4, 16, 32] {
        let mut rig = Rig::new(Rig::config());
        rig.depth = depth;
        rig.set_up_admin();
        for _ in 0..5 * depth {
            rig.done(&get(FeatureId::LINK_CONFIG));
        }
        // As many at once as the queue holds.
        for _ in 0..3 {
            let ids: Vec<_> = (0..depth)
                .map(|_| rig.put(&get(FeatureId::LINK_CONFIG)))
                .collect();
            rig.interrupts.take(0);
            rig.ring();
            assert_eq!(rig.interrupts.take(0), 1, "One interrupt for all of them");
            for id in ids {
                let completion = rig.completion().unwrap();
                assert_eq!(completion.header.command_id.get(), id);
            }
            assert!(rig.completion().is_none());
        }
    }
}

#[test]
fn the_doorbell_counts_beyond_sixteen_bits() {
    let mut rig = Rig::with_admin();
    for _ in 0..0x1_0010_u32 {
        rig.done(&get(FeatureId::INTERRUPT_MODERATION));
        rig.device.drain_trace();
    }
    // iPXE writes 32 bits of its count.
    rig.put(&get(FeatureId::INTERRUPT_MODERATION));
    rig.write(Register::AQ_DB, 0xabcd_0000 | u32::from(rig.tail));
    assert!(rig.completion().is_some());
}

#[test]
fn a_reset_takes_everything_back() {
    let mut rig = Rig::with_admin();
    rig.set_response();
    rig.set_host_attributes();
    rig.done(&create_cq(2, 16, 1));
    rig.done(&create_sq(1, 1, 0, 16));
    rig.device.link_mut().changes.clear();
    rig.write(Register::DEV_CTL, 0x3000_0001);

    assert!(matches!(
        rig.device.link_mut().changes[..],
        [
            Change::Reset,
            Change::Mtu(9216),
            Change::Moderation { unit_ns: 1000 }
        ]
    ));
    // The address for readless reads is forgotten, and nothing is written to address 0.
    assert_eq!(rig.read_readless(Register::DEV_STS), None);
    assert_eq!(rig.device.refusals().get(Refusal::ReadlessNoAddress), 1);
    // In progress until the driver has seen it, however often it looks.
    for _ in 0..3 {
        assert_eq!(rig.read(Register::DEV_STS), 8);
    }
    rig.ring();
    assert_eq!(rig.device.refusals().get(Refusal::DuringReset), 1);
    rig.write(Register::DEV_CTL, 0);
    assert_eq!(rig.read(Register::DEV_STS), 1);
    for register in [
        Register::AQ_BASE_LO,
        Register::ACQ_CAPS,
        Register::AENQ_CAPS,
        Register::INTR_MASK,
    ] {
        assert_eq!(rig.read(register), 0);
    }
    let described = rig.device.describe();
    assert!(described.tx_queues.is_empty() && described.host.is_none());
    assert_eq!(described.resets.len(), 1);
    assert_eq!(described.resets[0].reason, "transmit completions are missing");
    assert!(described.resets[0].blames_device);
    // And it can be used again: the first queue has the first number.
    rig.set_up_admin();
    let cq = rig.done(&create_cq(2, 16, 1));
    assert_eq!(cq.payload[..2], [0, 0]);
}

#[test]
fn a_driver_that_does_not_know_its_place_is_shown_without() {
    // As DPDK writes it.
    let mut rig = Rig::with_admin();
    rig.set_host_attributes();
    assert_eq!(rig.device.describe().bdf.as_deref(), Some("00:05.0"));
    rig.memory.write(HOST_INFO, &[3]).unwrap();
    rig.memory.write(HOST_INFO + 186, &[0; 2]).unwrap();
    let attributes = HostAttributes {
        host_info: MemoryAddress::new(HOST_INFO),
        debug_area: MemoryAddress::new(0),
        debug_area_bytes: 0.into(),
    };
    rig.done(&set(FeatureId::HOST_ATTRIBUTES, &attributes));
    let described = rig.device.describe();
    assert_eq!(described.bdf, None);
    assert_eq!(described.host.unwrap().os, "DPDK");
}

#[test]
fn resets_in_a_loop_do_not_reach_the_datapath() {
    let mut rig = Rig::with_admin();
    rig.device.link_mut().changes.clear();
    for _ in 0..100 {
        rig.reset(ResetReason::NORMAL);
    }
    assert!(rig.device.link_mut().changes.is_empty());
    assert_eq!(rig.device.describe().resets[0].count, 100);
    rig.set_up_admin();
    rig.done(&set(FeatureId::MTU, &Mtu { mtu: 1500.into() }));
    rig.reset(ResetReason::NORMAL);
    assert!(rig.device.link_mut().changes.contains(&Change::Reset));
    // The carrier's reset always does.
    rig.device.link_mut().changes.clear();
    rig.device.reset();
    assert!(rig.device.link_mut().changes.contains(&Change::Reset));
}

#[test]
fn every_reset_reason_is_told_in_words() {
    let mut rig = Rig::new(Rig::config());
    for reason in ResetReason::NAMED {
        rig.reset(*reason);
    }
    let described = rig.device.describe();
    assert_eq!(described.resets.len(), ResetReason::NAMED.len());
    for (count, reason) in described.resets.iter().zip(ResetReason::NAMED) {
        assert_eq!(
            (count.code, count.count, Some(count.reason)),
            (reason.0, 1, reason.name())
        );
    }
}

#[test]
fn the_bus_and_pci_express_reset_the_function() {
    let reset: [fn(&mut Rig); 2] = [
        |rig| rig.device.reset(),
        // Device control of the PCI Express capability: bit 15.
        |rig| {
            let mut at = [0];
            rig.device.config_read(0x34, &mut at);
            let control = u16::from(at[0]) + 8;
            rig.device.config_write(control, &[0, 0x80]);
        },
    ];
    for reset in reset {
        let mut rig = Rig::with_admin();
        rig.device.config_write(4, &[6, 0]);
        rig.device.bar_write(1, 0, &[0xf0, 0xff, 0xff, 0xff]);
        rig.done(&create_cq(2, 16, 1));
        rig.done(&create_sq(1, 1, 0, 16));
        rig.device.link_mut().changes.clear();
        reset(&mut rig);
        assert_eq!(rig.device.link_mut().changes[0], Change::Reset);
        let described = rig.device.describe();
        assert_eq!(
            (described.driver, described.bus_resets),
            (DriverState::NoDriver, 1)
        );
        assert!(described.tx_queues.is_empty() && described.resets.is_empty());
        assert_eq!(rig.read(Register::AQ_BASE_LO), 0);
        let (mut command, mut table) = ([0; 2], [0xff; 4]);
        rig.device.config_read(4, &mut command);
        rig.device.bar_read(1, 0, &mut table);
        assert_eq!((command, table), ([0, 0], [0; 4]));
    }
}

#[test]
fn rings_are_made_of_what_the_registers_say_last() {
    let mut rig = Rig::with_admin();
    rig.done(&get(FeatureId::LINK_CONFIG));
    // The driver moves its queues without a reset: all three begin anew.
    rig.set_up_admin();
    rig.done(&get(FeatureId::LINK_CONFIG));
    assert_eq!(rig.read(Register::AQ_BASE_LO), u32::try_from(AQ).unwrap());
    assert_eq!(rig.read(Register::ACQ_BASE_LO), u32::try_from(ACQ).unwrap());
    assert_eq!(rig.read(Register::AENQ_BASE_LO), u32::try_from(AENQ).unwrap());
}

#[test]
fn a_queue_reaches_the_datapath_as_it_was_asked() {
    let mut rig = Rig::with_admin();
    rig.done(&create_cq(2, 512, 3));
    rig.done(&create_sq(1, 1, 0, 256));
    let change = rig.device.link_mut().changes.last().cloned().unwrap();
    let Change::CreateTx(0, queue) = change else {
        panic!("{change:?}");
    };
    assert_eq!(queue.placement, Placement::Host(crate::rig::RINGS + 0x8000));
    assert_eq!((queue.depth, queue.doorbell_offset), (256, 0x1000));
    let completions = queue.completions;
    assert_eq!((completions.depth, completions.entry_bytes), (512, 8));
    assert_eq!((completions.vector, completions.unmask_offset), (Some(3), 0x2000));
    assert_eq!(completions.base, crate::rig::RINGS);
    assert!(!queue.meta_caching_disabled);
}
