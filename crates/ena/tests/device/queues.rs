//! Queues: made, ended, and refused for every wrong parameter.

use trinic_ena::datapath::{Change, Link, Llq, Placement};
use trinic_ena::device::{Config, Refusal};
use trinic_ena::spec::admin::{
    Command, CqEntry, CqMode, CreateCq, CreateSq, DestroyCq, DestroySq, MemoryAddress, Opcode, SqIdentity,
    SqPolicies, Status,
};
use trinic_ena::spec::feature::{FeatureId, LlqFeature};
use trinic_ena::spec::registers::Register;
use trinic_pci::Function;
use zerocopy::FromZeros;

use crate::rig::{RINGS, Rig, set};

pub(crate) fn cq(words: u8, depth: u16, vector: u32) -> CreateCq {
    CreateCq {
        mode: CqMode::new().with_interrupt(vector != u32::MAX),
        entry: CqEntry::new().with_words(words),
        depth: depth.into(),
        vector: vector.into(),
        base: MemoryAddress::new(RINGS),
    }
}

pub(crate) fn create_cq(words: u8, depth: u16, vector: u32) -> Command {
    Command::new(Opcode::CREATE_CQ, &cq(words, depth, vector))
}

pub(crate) fn sq(direction: u8, placement: u8, cq_index: u16, depth: u16) -> CreateSq {
    let base = if placement == 1 { RINGS + 0x8000 } else { 0 };
    CreateSq {
        identity: SqIdentity::new().with_direction(direction),
        reserved_5: 0,
        policies: SqPolicies::new().with_placement(placement),
        contiguous: 1,
        cq_index: cq_index.into(),
        depth: depth.into(),
        base: MemoryAddress::new(base),
        head_writeback: MemoryAddress::new(0),
        reserved_28: [0; 8],
    }
}

pub(crate) fn create_sq(direction: u8, placement: u8, cq_index: u16, depth: u16) -> Command {
    Command::new(Opcode::CREATE_SQ, &sq(direction, placement, cq_index, depth))
}

pub(crate) fn destroy_sq(direction: u8, index: u16) -> Command {
    let destroy = DestroySq {
        sq_index: index.into(),
        identity: SqIdentity::new().with_direction(direction),
        reserved: 0,
    };
    Command::new(Opcode::DESTROY_SQ, &destroy)
}

pub(crate) fn destroy_cq(index: u16) -> Command {
    let destroy = DestroyCq {
        cq_index: index.into(),
        reserved: 0.into(),
    };
    Command::new(Opcode::DESTROY_CQ, &destroy)
}

pub(crate) fn llq(size: u16, before: u16, stride: u16) -> LlqFeature {
    let mut set = LlqFeature::new_zeroed();
    set.header_location_enabled = 1.into();
    set.entry_size_enabled = size.into();
    set.descriptors_before_header_enabled = before.into();
    set.stride_enabled = stride.into();
    // As Linux, whatever was offered.
    set.acceleration_flags = 3.into();
    set
}

#[test]
fn every_pair_can_be_made_and_no_more() {
    let mut rig = Rig::with_admin();
    for pair in 0..4_u16 {
        let made = rig.done(&create_cq(2, 16, u32::from(pair) + 1));
        assert_eq!(made.payload[0], u8::try_from(pair).unwrap() * 2);
        let made = rig.done(&create_sq(1, 1, pair * 2, 16));
        assert_eq!(made.payload[0], u8::try_from(pair).unwrap());
        rig.done(&create_cq(4, 16, u32::from(pair) + 1));
        let made = rig.done(&create_sq(2, 1, pair * 2 + 1, 16));
        assert_eq!(made.payload[0], u8::try_from(pair).unwrap());
    }
    rig.refused(&create_cq(2, 16, 1), Refusal::CqLimit);
    assert_eq!(Refusal::CqLimit.status(), Status::RESOURCE_ALLOCATION_FAILURE);
    // A number that was given back is given again.
    rig.done(&destroy_sq(1, 2));
    rig.done(&destroy_cq(4));
    let made = rig.done(&create_cq(2, 16, 1));
    assert_eq!(made.payload[0], 4);
    let made = rig.done(&create_sq(1, 1, 4, 16));
    assert_eq!(made.payload[..8], [2, 0, 0, 0, 0x80, 0x10, 0, 0]);
}

#[test]
fn more_transmit_queues_than_pairs_are_refused() {
    let mut rig = Rig::with_admin();
    for index in 0..4_u16 {
        rig.done(&create_cq(2, 16, 1));
        rig.done(&create_sq(1, 1, index, 16));
    }
    rig.done(&create_cq(2, 16, 1));
    rig.refused(&create_sq(1, 1, 4, 16), Refusal::SqLimit);
}

#[test]
fn queues_end_in_order() {
    let mut rig = Rig::with_admin();
    rig.done(&create_cq(2, 16, 1));
    rig.done(&create_sq(1, 1, 0, 16));
    rig.refused(&destroy_cq(0), Refusal::CqInUse);
    rig.refused(&destroy_sq(1, 1), Refusal::SqUnknown);
    rig.refused(&destroy_sq(2, 0), Refusal::SqUnknown);
    rig.refused(&destroy_sq(1, u16::MAX), Refusal::SqUnknown);
    rig.refused(&destroy_sq(3, 0), Refusal::SqDirection);
    rig.done(&destroy_sq(1, 0));
    assert_eq!(rig.device.link_mut().changes.last(), Some(&Change::DestroyTx(0)));
    rig.refused(&destroy_sq(1, 0), Refusal::SqUnknown);
    rig.done(&destroy_cq(0));
    rig.refused(&destroy_cq(0), Refusal::CqUnknown);
    rig.refused(&destroy_cq(u16::MAX), Refusal::CqUnknown);
    rig.done(&create_cq(4, 16, 1));
    rig.done(&create_sq(2, 1, 0, 16));
    rig.done(&destroy_sq(2, 0));
    assert_eq!(rig.device.link_mut().changes.last(), Some(&Change::DestroyRx(0)));
}

#[test]
fn completion_queues_are_checked() {
    let mut rig = Rig::with_admin();
    for (words, depth, vector, refusal) in [
        (2, 0, 1, Refusal::CqDepth),
        (2, 100, 1, Refusal::CqDepth),
        (2, 16384, 1, Refusal::CqDepth),
        (0, 16, 1, Refusal::CqEntrySize),
        (3, 16, 1, Refusal::CqEntrySize),
        (16, 16, 1, Refusal::CqEntrySize),
        (2, 16, 5, Refusal::CqVector),
        (2, 16, 0x1_0001, Refusal::CqVector),
    ] {
        rig.refused(&create_cq(words, depth, vector), refusal);
    }
    for (words, address) in [(2, 0), (4, RINGS + 4), (8, (1 << 48) - 256)] {
        let create = CreateCq {
            base: MemoryAddress::new(address),
            ..cq(words, 16, 1)
        };
        rig.refused(&Command::new(Opcode::CREATE_CQ, &create), Refusal::CqAddress);
    }
    // Interrupts off: the vector does not matter.
    let create = CreateCq {
        mode: CqMode::new(),
        ..cq(2, 16, 99)
    };
    rig.done(&Command::new(Opcode::CREATE_CQ, &create));
    // The deepest receive queue has as many completions.
    rig.done(&create_cq(4, 8192, 4));
}

#[test]
fn submission_queues_are_checked() {
    let mut rig = Rig::with_admin();
    rig.done(&create_cq(2, 16, 1));
    rig.done(&create_cq(8, 16, 1));
    for (direction, placement, cq_index, depth, refusal) in [
        (0, 1, 0, 16, Refusal::SqDirection),
        (3, 1, 0, 16, Refusal::SqDirection),
        (1, 1, 0, 0, Refusal::SqDepth),
        (1, 1, 0, 17, Refusal::SqDepth),
        (1, 1, 0, 2048, Refusal::SqDepth),
        (2, 1, 1, 16384, Refusal::SqDepth),
        (1, 1, 7, 16, Refusal::SqCompletionQueue),
        (1, 1, u16::MAX, 16, Refusal::SqCompletionQueue),
        // 8-byte completions are for sending, 32-byte ones for receiving.
        (2, 1, 0, 16, Refusal::SqCompletionQueue),
        (1, 1, 1, 16, Refusal::SqCompletionQueue),
        (1, 0, 0, 16, Refusal::SqPlacement),
        (1, 2, 0, 16, Refusal::SqPlacement),
        (2, 3, 1, 16, Refusal::SqPlacement),
        (1, 3, 0, 16, Refusal::LlqNotSet),
    ] {
        rig.refused(&create_sq(direction, placement, cq_index, depth), refusal);
    }
    for policy in 1..8 {
        let mut create = sq(1, 1, 0, 16);
        create.policies.set_completion(policy);
        let command = Command::new(Opcode::CREATE_SQ, &create);
        rig.refused(&command, Refusal::SqCompletionPolicy);
    }
    let scattered = CreateSq {
        contiguous: 0,
        ..sq(1, 1, 0, 16)
    };
    rig.refused(
        &Command::new(Opcode::CREATE_SQ, &scattered),
        Refusal::SqContiguous,
    );
    for address in [0, RINGS + 4, (1 << 48) - 128] {
        let create = CreateSq {
            base: MemoryAddress::new(address),
            ..sq(1, 1, 0, 16)
        };
        rig.refused(&Command::new(Opcode::CREATE_SQ, &create), Refusal::SqAddress);
    }
    rig.done(&create_sq(1, 1, 0, 16));
    rig.refused(&create_sq(1, 1, 0, 16), Refusal::SqCompletionQueue);
    // None of the refused ones reached the datapath.
    let made = |change: &&Change| matches!(change, Change::CreateTx(..) | Change::CreateRx(..));
    assert_eq!(rig.device.link_mut().changes.iter().filter(made).count(), 1);
}

#[test]
fn low_latency_queues_have_the_form_that_was_set() {
    let mut rig = Rig::with_admin();
    rig.done(&set(FeatureId::LLQ, &llq(4, 2, 2)));
    rig.done(&create_cq(2, 1024, 1));
    rig.done(&create_cq(2, 1024, 1));
    rig.refused(&create_sq(1, 3, 0, 1024), Refusal::LlqDepth);
    rig.done(&create_sq(1, 3, 0, 512));
    let made = rig.done(&create_sq(1, 3, 1, 512));
    assert_eq!(made.payload[8..12], [0, 0, 2, 0]);
    let change = rig.device.link_mut().changes.last().cloned().unwrap();
    let Change::CreateTx(1, queue) = change else {
        panic!("{change:?}");
    };
    let wanted = Llq {
        offset: 0x2_0000,
        entry_bytes: 256,
        descriptors_before_header: 2,
        several_per_entry: true,
    };
    assert_eq!(queue.placement, Placement::Device(wanted));
    assert!(
        !queue.meta_caching_disabled,
        "The device did not ask for it, whatever Linux sets"
    );
    assert!(rig.device.describe().tx_queues[0].is_llq);
    rig.refused(&set(FeatureId::LLQ, &llq(1, 2, 2)), Refusal::LlqInUse);
}

#[test]
fn meta_caching_can_be_switched_off() {
    let mut rig = Rig::with_admin_of(Config {
        disable_meta_caching: true,
        ..Rig::config()
    });
    rig.done(&set(FeatureId::LLQ, &llq(1, 2, 2)));
    rig.done(&create_cq(2, 1024, 1));
    rig.done(&create_sq(1, 3, 0, 1024));
    let change = rig.device.link_mut().changes.last().unwrap();
    assert!(matches!(change, Change::CreateTx(0, queue) if queue.meta_caching_disabled));
}

#[test]
fn a_datapath_that_is_gone_is_told() {
    let mut rig = Rig::with_admin();
    rig.done(&create_cq(2, 16, 1));
    rig.device.link_mut().is_gone = true;
    rig.refused(&create_sq(1, 1, 0, 16), Refusal::DatapathGone);
    assert_eq!(rig.read(Register::DEV_STS), 0x21);
    assert!(rig.device.describe().has_failed);
    rig.device.memory_changed();
    assert_eq!(rig.device.refusals().get(Refusal::DatapathGone), 2);
    rig.write(Register::DEV_CTL, 1);
    rig.device.reset();
    assert!(rig.device.link_mut().statistics().is_err());
}

#[test]
fn mappings_that_go_are_told_to_the_datapath() {
    let mut rig = Rig::with_admin();
    rig.device.memory_changed();
    assert_eq!(rig.device.link_mut().changes.last(), Some(&Change::MemoryChanged));
}
