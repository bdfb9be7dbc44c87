//! What is refused at registers and rings, and what only a strict device refuses.

use trinic_ena::device::{Config, ConfigError, Device, Refusal, layout};
use trinic_ena::spec::admin::{Command, MemoryAddress, Opcode};
use trinic_ena::spec::feature::{FeatureId, HostAttributes};
use trinic_ena::spec::registers::Register;
use trinic_pci::testing::{PlainInterrupts, PlainMemory};
use trinic_pci::{Function, Memory};
use zerocopy::FromZeros;

use crate::queues::{create_cq, create_sq, destroy_sq, llq, sq};
use crate::rig::{MEMORY, MEMORY_BYTES, Notes, Rig, get, get_with, set};

fn count(rig: &Rig, refusal: Refusal) -> u64 {
    rig.device.refusals().get(refusal)
}

#[test]
fn accesses_have_whole_registers() {
    let mut rig = Rig::new(Rig::config());
    for (offset, length) in [(2, 4), (4, 3), (3, 2), (0, 0), (4, 16), (0x54, 5)] {
        let mut bytes = vec![0; length];
        rig.device.bar_read(0, offset, &mut bytes);
        assert_eq!(bytes, vec![0xff; length]);
    }
    assert_eq!(count(&rig, Refusal::AccessSize), 6);
    for (offset, length) in [(0x4c, 1), (0x4e, 2), (0x4d, 4), (0x4c, 3), (0x4c, 0)] {
        rig.device.bar_write(0, offset, &vec![0xff; length]);
    }
    assert_eq!(count(&rig, Refusal::AccessSize), 11);
    assert_eq!(rig.read(Register::INTR_MASK), 0);
    // Two registers at once, or a part of one.
    rig.device.bar_write(0, 0x10, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut bytes = [0; 8];
    rig.device.bar_read(0, 0x10, &mut bytes);
    assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
    rig.device.bar_read(0, 0x12, &mut bytes[..2]);
    assert_eq!(bytes[..2], [3, 4]);
}

#[test]
fn accesses_outside_are_ones_and_ignored() {
    let mut rig = Rig::new(Rig::config());
    for (bar, offset) in [
        (0, 0x4000),
        (0, 0x3ffe),
        (0, u64::MAX),
        (1, 0x2000),
        (2, 1 << 40),
        (3, 0),
        (255, 0),
    ] {
        let mut bytes = [0; 4];
        rig.device.bar_read(bar, offset, &mut bytes);
        assert_eq!(bytes, [0xff; 4]);
        rig.device.bar_write(bar, offset, &bytes);
    }
    assert_eq!(count(&rig, Refusal::OutsideBar), 14);
    for (bar, offset) in [(0, 0x1000), (0, 0x0ffe), (0, 0x2ffc), (2, 0)] {
        let mut bytes = [0; 4];
        rig.device.bar_read(bar, offset, &mut bytes);
        assert_eq!(bytes, [0xff; 4]);
    }
    assert_eq!(count(&rig, Refusal::MappedPart), 4);
}

#[test]
fn registers_that_are_not_there() {
    let mut rig = Rig::new(Rig::config());
    rig.set_response();
    for offset in [0x1c, 0x48, 0x50, 0x68, 0x100, 0xffc, 0x3000] {
        assert_eq!(rig.read(Register(offset)), u32::MAX);
        assert_eq!(rig.read_readless(Register(offset)), Some(u32::MAX));
        rig.write(Register(offset), 1);
    }
    assert_eq!(count(&rig, Refusal::UnknownRegister), 21);
    for register in [
        Register::VERSION,
        Register::CAPS,
        Register::DEV_STS,
        Register::AENQ_TAIL,
    ] {
        rig.write(register, 0xffff_ffff);
    }
    assert_eq!(count(&rig, Refusal::ReadOnlyRegister), 4);
    for control in [2, 4, 8] {
        rig.write(Register::DEV_CTL, control);
    }
    assert_eq!(count(&rig, Refusal::DeviceControl), 3);
    assert_eq!(rig.read(Register::DEV_STS), 1);
}

#[test]
fn admin_queues_that_cannot_be() {
    for (register, value) in [
        (Register::AQ_CAPS, 64 << 16),
        (Register::AQ_CAPS, 32 << 16 | 32),
        (Register::AQ_CAPS, 64 << 16 | 0xffff),
        (Register::AQ_BASE_LO, 1),
        (Register::AQ_BASE_HI, 0x1_0000),
    ] {
        let mut rig = Rig::with_admin();
        rig.write(register, value);
        rig.put(&get(FeatureId::LINK_CONFIG));
        rig.ring();
        assert_eq!(count(&rig, Refusal::AdminQueue), 1);
        assert!(rig.completion().is_none());
        assert_eq!(rig.interrupts.take(0), 0);
    }
    let mut rig = Rig::with_admin();
    rig.write(Register::ACQ_CAPS, 0);
    rig.put(&get(FeatureId::LINK_CONFIG));
    rig.ring();
    assert_eq!(count(&rig, Refusal::CompletionQueue), 1);
    assert_eq!(rig.interrupts.take(0), 0);
}

#[test]
fn admin_doorbells_are_checked() {
    let mut rig = Rig::with_admin();
    rig.write(Register::AQ_DB, 33);
    rig.write(Register::AQ_DB, 0xffff);
    assert_eq!(count(&rig, Refusal::AdminDoorbell), 2);
    // Announced before it was written: done once the phase is there.
    rig.write(Register::AQ_DB, 1);
    assert_eq!(count(&rig, Refusal::AdminPhase), 1);
    rig.done(&get(FeatureId::LINK_CONFIG));
}

#[test]
fn memory_that_is_not_there() {
    let end = MEMORY + MEMORY_BYTES as u64;
    let last = u32::try_from(end - 64).unwrap();
    // The admin queue's second entry is beyond the memory.
    let mut rig = Rig::new(Rig::config());
    rig.set_up_admin();
    rig.write(Register::AQ_BASE_LO, last);
    rig.memory.write(end - 64, &[0, 0, 8, 1]).unwrap();
    rig.write(Register::AQ_DB, 2);
    assert_eq!(count(&rig, Refusal::AdminDma), 1);
    assert_eq!(count(&rig, Refusal::UnsupportedFeature), 1);
    // So are the completion queue's and the event queue's.
    let mut rig = Rig::with_admin();
    rig.write(Register::ACQ_BASE_LO, last + 64);
    rig.write(Register::AENQ_BASE_LO, last + 64);
    rig.put(&get(FeatureId::LINK_CONFIG));
    rig.ring();
    assert_eq!(count(&rig, Refusal::CompletionDma), 1);
    assert_eq!(rig.interrupts.take(0), 0);
    rig.write(Register::ACQ_BASE_LO, u32::try_from(crate::rig::ACQ).unwrap());
    let config = trinic_ena::spec::feature::AenqConfig {
        supported_groups: 0.into(),
        enabled_groups: 1.into(),
    };
    rig.put(&set(FeatureId::AENQ_CONFIG, &config));
    rig.ring();
    rig.open_events();
    assert_eq!(count(&rig, Refusal::EventDma), 1);
    // The answer to a readless read.
    rig.write(Register::MMIO_RESP_LO, u32::try_from(end - 4).unwrap());
    rig.write(Register::MMIO_REG_READ, 0x58 << 16 | 1);
    assert_eq!(count(&rig, Refusal::ReadlessDma), 1);
}

#[test]
fn control_buffers_that_are_not_there() {
    let mut rig = Rig::with_admin();
    for feature in [
        FeatureId::RSS_HASH_FUNCTION,
        FeatureId::RSS_INDIRECTION_TABLE,
        FeatureId::RSS_HASH_INPUT,
    ] {
        for address in [MEMORY - 4096, MEMORY + MEMORY_BYTES as u64 - 8, (1 << 48) - 1] {
            let mut body: trinic_ena::spec::feature::FeatureCommand = get_with(feature, 4096).payload();
            body.control_buffer.address = MemoryAddress::new(address);
            // What a set of each of them must say for its buffer to be read.
            match feature {
                FeatureId::RSS_HASH_FUNCTION => body.payload[4] = 2,
                FeatureId::RSS_INDIRECTION_TABLE => body.payload[..12].copy_from_slice(&WHOLE_TABLE),
                _ => {}
            }
            for opcode in [Opcode::GET_FEATURE, Opcode::SET_FEATURE] {
                rig.refused(&Command::new(opcode, &body), Refusal::ControlBufferDma);
            }
        }
    }
    let mut body = trinic_ena::spec::statistics::GetStatistics::new_zeroed();
    body.statistics_type = 4;
    body.requested_metrics = 1.into();
    body.control_buffer.length = 512.into();
    let command = Command::new(Opcode::GET_STATS, &body);
    rig.refused(&command, Refusal::ControlBufferMissing);
    body.control_buffer.address = MemoryAddress::new(MEMORY - 8);
    let command = Command::new(Opcode::GET_STATS, &body);
    rig.refused(&command, Refusal::ControlBufferDma);
    for address in [0, 8, MEMORY + MEMORY_BYTES as u64 - 195] {
        let attributes = HostAttributes {
            host_info: MemoryAddress::new(address),
            debug_area: MemoryAddress::new(0),
            debug_area_bytes: 0.into(),
        };
        let command = set(FeatureId::HOST_ATTRIBUTES, &attributes);
        rig.refused(&command, Refusal::HostInfoAddress);
    }
}

/// A table of 2^7 entries, all of them in the control buffer.
const WHOLE_TABLE: [u8; 12] = [0, 0, 0, 0, 7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

#[test]
fn opcodes_that_are_not_there() {
    let mut rig = Rig::with_admin();
    for opcode in [0, 5, 6, 7, 10, 12, 255] {
        let command = Command::new(Opcode(opcode), &[0_u8; 0]);
        rig.refused(&command, Refusal::BadOpcode);
    }
}

#[test]
fn a_strict_device_wants_host_attributes_first() {
    let mut rig = Rig::with_admin_of(strict());
    rig.refused(&get(FeatureId::DEVICE_ATTRIBUTES), Refusal::HostInfoMissing);
    rig.set_host_attributes();
    rig.done(&get(FeatureId::DEVICE_ATTRIBUTES));
    rig.device.reset();
    rig.set_up_admin();
    rig.refused(&get(FeatureId::DEVICE_ATTRIBUTES), Refusal::HostInfoMissing);
}

#[test]
fn a_strict_device_wants_reserved_bits_zero() {
    let mut unknown_flag = get(FeatureId::LINK_CONFIG);
    unknown_flag.header.flags = trinic_ena::spec::admin::CommandFlags::from_bits(0x80);
    let mut reserved_mode = create_cq(2, 16, 1);
    reserved_mode.payload[0] |= 0x40;
    let mut reserved_entry = create_cq(2, 16, 1);
    reserved_entry.payload[1] |= 0x80;
    let mut reserved_address = create_cq(2, 16, 1);
    reserved_address.payload[14] = 1;
    let mut reserved_word = create_sq(1, 1, 0, 16);
    reserved_word.payload[30] = 1;
    let mut reserved_identity = destroy_sq(1, 0);
    reserved_identity.payload[2] |= 1;
    let mut reserved_feature = get(FeatureId::LINK_CONFIG);
    reserved_feature.payload[15] = 1;
    let commands = [
        unknown_flag,
        reserved_mode,
        reserved_entry,
        reserved_address,
        reserved_word,
        reserved_identity,
        reserved_feature,
    ];
    let mut rig = Rig::with_admin_of(strict());
    for command in &commands {
        rig.refused(command, Refusal::ReservedBits);
    }
    // Another device takes them as they are meant.
    let mut rig = Rig::with_admin();
    for command in &commands {
        rig.submit(command);
    }
    assert_eq!(count(&rig, Refusal::ReservedBits), 0);
}

#[test]
fn a_strict_device_wants_what_the_headers_say() {
    let mut rig = Rig::with_admin_of(strict());
    rig.refused(&create_cq(2, 16, 0), Refusal::CqManagementVector);
    rig.done(&create_cq(2, 16, 1));
    let mut create = sq(1, 1, 0, 16);
    create.base = MemoryAddress::new(create.base.get() + 64);
    rig.refused(&Command::new(Opcode::CREATE_SQ, &create), Refusal::SqAddress);
    let mut form = llq(1, 2, 2);
    form.acceleration_flags = 7.into();
    rig.refused(&set(FeatureId::LLQ, &form), Refusal::LlqAcceleration);
    let mut rig = Rig::new(strict());
    rig.depth = 3;
    rig.set_up_admin();
    rig.put(&get(FeatureId::LINK_CONFIG));
    rig.ring();
    assert_eq!(count(&rig, Refusal::AdminQueueDepth), 1);
    // Another device does not mind.
    let mut rig = Rig::new(Rig::config());
    rig.depth = 3;
    rig.set_up_admin();
    for _ in 0..7 {
        rig.done(&get(FeatureId::LINK_CONFIG));
    }
    rig.done(&create_cq(2, 16, 0));
    rig.done(&Command::new(Opcode::CREATE_SQ, &create));
}

fn strict() -> Config {
    Config {
        strict: true,
        ..Rig::config()
    }
}

#[test]
fn configurations_that_cannot_be() {
    let wrong = [
        Config {
            queue_pairs: 0,
            ..Rig::config()
        },
        Config {
            queue_pairs: layout::MAX_QUEUE_PAIRS + 1,
            ..Rig::config()
        },
        Config {
            tx_depth: 2048,
            ..Rig::config()
        },
        Config {
            rx_depth: 100,
            ..Rig::config()
        },
        Config {
            max_mtu: 9217,
            ..Rig::config()
        },
        Config {
            mac: [1, 0, 0, 0, 0, 1],
            ..Rig::config()
        },
        Config {
            mac: [0; 6],
            ..Rig::config()
        },
    ];
    for config in wrong {
        let memory = PlainMemory::new(MEMORY, 64);
        let made = Device::new(config, memory, PlainInterrupts::new(), Notes::default());
        assert!(made.is_err());
    }
    let notes = Notes {
        is_gone: true,
        ..Notes::default()
    };
    let memory = PlainMemory::new(MEMORY, 64);
    let made = Device::new(Rig::config(), memory, PlainInterrupts::new(), notes);
    assert!(matches!(made, Err(ConfigError::Datapath(_))));
}

#[test]
fn command_ids_are_echoed_whole_and_strict_devices_want_twelve_bits() {
    for (config, status) in [(Rig::config(), 0), (strict(), 4)] {
        let mut rig = Rig::with_admin_of(config);
        rig.put(&get(FeatureId::LINK_CONFIG));
        rig.memory.write(crate::rig::AQ, &[0x34, 0x12]).unwrap();
        rig.ring();
        let completion = rig.completion().unwrap();
        assert_eq!(
            (completion.header.command_id.get(), completion.header.status),
            (0x1234, status)
        );
    }
}
