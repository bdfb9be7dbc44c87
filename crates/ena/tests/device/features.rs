//! Features and statistics, each against the bytes that the drivers' headers ask for.

use trinic_ena::datapath::Change;
use trinic_ena::device::{Config, Refusal};
use trinic_ena::spec::admin::{Command, MemoryAddress, Opcode};
use trinic_ena::spec::feature::{
    FeatureId, HashFunction, HashInput, IndirectionEntry, IndirectionTable, Mtu,
};
use trinic_ena::spec::statistics::GetStatistics;
use trinic_pci::Memory;
use zerocopy::{FromZeros, IntoBytes};

use crate::queues::{create_cq, create_sq, llq};
use crate::rig::{BUFFER, Rig, get, get_with, set, set_with};

#[test]
fn device_attributes() {
    let mut rig = Rig::with_admin();
    let attributes = rig.done(&get(FeatureId::DEVICE_ATTRIBUTES)).payload;
    // Features 1, 4, 7, 10, 11, 12, 14, 18, 20, 26, 27, 28; capabilities 0 to 3.
    assert_eq!(
        attributes[..36],
        [
            1, 0, 0, 0, 1, 0, 0, 0, 0x92, 0x5c, 0x14, 0x1c, 0xf, 0, 0, 0, 48, 0, 0, 0, 48, 0, 0, 0, 2, 0x11,
            0x22, 0x33, 0x44, 0x55, 0, 0, 0, 0x24, 0, 0
        ]
    );
    let mut rig = Rig::with_admin_of(Config {
        llq: false,
        ..Rig::config()
    });
    assert_eq!(rig.done(&get(FeatureId::DEVICE_ATTRIBUTES)).payload[8], 0x82);
    rig.refused(&get(FeatureId::LLQ), Refusal::UnsupportedFeature);
    rig.refused(&set(FeatureId::LLQ, &llq(1, 2, 2)), Refusal::UnsupportedFeature);
}

#[test]
fn max_queues() {
    let mut rig = Rig::with_admin();
    let payload = rig.done(&get(FeatureId::MAX_QUEUES_EXT)).payload;
    assert_eq!(payload[..4], [1, 0, 0, 0]);
    let words: Vec<u32> = payload[4..40]
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        .collect();
    assert_eq!(words, [4, 4, 4, 4, 1024, 1024, 8192, 8192, 96]);
    assert_eq!(payload[40..44], [19, 0, 17, 0]);
}

#[test]
fn low_latency_queues() {
    let mut rig = Rig::with_admin();
    let offered = [
        4, 0, 0, 0, 0, 4, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 15, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0,
        0, 0, 0,
    ];
    assert_eq!(rig.done(&get(FeatureId::LLQ)).payload[..36], offered);
    for (size, before, stride, refusal) in [
        (0, 2, 2, Refusal::LlqEntrySize),
        (3, 2, 2, Refusal::LlqEntrySize),
        (8, 2, 2, Refusal::LlqEntrySize),
        (1, 0, 2, Refusal::LlqDescriptors),
        (1, 3, 2, Refusal::LlqDescriptors),
        (1, 16, 2, Refusal::LlqDescriptors),
        (1, 256, 2, Refusal::LlqDescriptors),
        // Eight descriptors leave no room for a header.
        (1, 8, 2, Refusal::LlqDescriptors),
        (1, 2, 0, Refusal::LlqStride),
        (1, 2, 3, Refusal::LlqStride),
    ] {
        rig.refused(&set(FeatureId::LLQ, &llq(size, before, stride)), refusal);
    }
    for location in [0, 2, 3] {
        let mut wrong = llq(1, 2, 2);
        wrong.header_location_enabled = location.into();
        rig.refused(&set(FeatureId::LLQ, &wrong), Refusal::LlqHeaderLocation);
    }
    assert_eq!(rig.done(&get(FeatureId::LLQ)).payload[..36], offered);
    rig.done(&set(FeatureId::LLQ, &llq(2, 4, 1)));
    let payload = rig.done(&get(FeatureId::LLQ)).payload;
    assert_eq!((payload[10], payload[14], payload[18], payload[22]), (1, 2, 4, 1));
    rig.done(&set(FeatureId::LLQ, &llq(2, 8, 1)));
}

#[test]
fn hash_function_and_key() {
    let mut rig = Rig::with_admin();
    let payload = rig.done(&get_with(FeatureId::RSS_HASH_FUNCTION, 48)).payload;
    assert_eq!(payload[..12], [2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let kept: [u8; 48] = rig.bytes(BUFFER);
    assert_eq!(kept[..8], [10, 0, 0, 0, 0, 0, 0, 0]);
    // Last byte first.
    assert_eq!((kept[8], kept[47]), (0xfa, 0x6d));

    let mut function = HashFunction::new_zeroed();
    function.selected = 2.into();
    function.initial_value = 0x0102_0304.into();
    let mut key = [0; 48];
    key[0] = 10;
    for (byte, value) in key[8..].iter_mut().zip(1..) {
        *byte = value;
    }
    rig.memory.write(BUFFER, &key).unwrap();
    rig.done(&set_with(FeatureId::RSS_HASH_FUNCTION, &function, 48));
    let change = rig.device.link_mut().changes.last().cloned().unwrap();
    let Change::Rss(rss) = change else {
        panic!("{change:?}");
    };
    let in_order: [u8; 40] = std::array::from_fn(|index| 40 - u8::try_from(index).unwrap());
    assert_eq!(rss.key, Some(in_order));
    assert_eq!(rss.initial_value, 0x0102_0304);
    // The driver gets back what it gave.
    rig.memory.write(BUFFER, &[0; 48]).unwrap();
    let payload = rig.done(&get_with(FeatureId::RSS_HASH_FUNCTION, 48)).payload;
    assert_eq!(rig.bytes::<48>(BUFFER), key);
    assert_eq!(payload[8..12], [4, 3, 2, 1]);

    rig.refused(
        &set_with(FeatureId::RSS_HASH_FUNCTION, &function, 47),
        Refusal::ControlBufferShort,
    );
    rig.refused(
        &get_with(FeatureId::RSS_HASH_FUNCTION, 47),
        Refusal::ControlBufferShort,
    );
    rig.memory.write(BUFFER, &[9]).unwrap();
    rig.refused(
        &set_with(FeatureId::RSS_HASH_FUNCTION, &function, 48),
        Refusal::HashKey,
    );
    for selected in [0, 1, 4, 6] {
        function.selected = selected.into();
        let command = set_with(FeatureId::RSS_HASH_FUNCTION, &function, 48);
        rig.refused(&command, Refusal::HashFunction);
    }
    // Without a buffer only function and initial value are set.
    function.selected = 2.into();
    rig.done(&set(FeatureId::RSS_HASH_FUNCTION, &function));
    rig.done(&get(FeatureId::RSS_HASH_FUNCTION));
}

fn table(size_log2: u16) -> IndirectionTable {
    let mut table = IndirectionTable::new_zeroed();
    table.size_log2 = size_log2.into();
    table.inline_index = u32::MAX.into();
    table
}

fn entries(queues: impl Iterator<Item = u16>) -> Vec<u8> {
    let entry = |queue: u16| IndirectionEntry {
        queue: queue.into(),
        reserved: 0.into(),
    };
    queues
        .flat_map(|queue| entry(queue).as_bytes().to_vec())
        .collect()
}

#[test]
fn indirection_table() {
    let mut rig = Rig::with_admin();
    let payload = rig.done(&get(FeatureId::RSS_INDIRECTION_TABLE)).payload;
    assert_eq!(
        payload[..16],
        [0, 0, 7, 0, 7, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]
    );
    let wanted = entries((0..128).map(|index| index % 4));
    rig.memory.write(BUFFER, &wanted).unwrap();
    rig.done(&set_with(FeatureId::RSS_INDIRECTION_TABLE, &table(7), 512));
    let change = rig.device.link_mut().changes.last().cloned().unwrap();
    let Change::Rss(rss) = change else {
        panic!("{change:?}");
    };
    assert_eq!(rss.table.len(), 128);
    assert_eq!(rss.table[..5], [0, 1, 2, 3, 0]);
    rig.memory.write(BUFFER, &[0xee; 512]).unwrap();
    rig.done(&get_with(FeatureId::RSS_INDIRECTION_TABLE, 512));
    assert_eq!(rig.bytes::<512>(BUFFER).to_vec(), wanted);

    // A smaller table.
    rig.memory.write(BUFFER, &entries([3].into_iter())).unwrap();
    rig.done(&set_with(FeatureId::RSS_INDIRECTION_TABLE, &table(0), 4));
    assert_eq!(rig.done(&get(FeatureId::RSS_INDIRECTION_TABLE)).payload[4], 0);

    rig.memory.write(BUFFER, &entries([4].into_iter())).unwrap();
    for (command, refusal) in [
        (
            set_with(FeatureId::RSS_INDIRECTION_TABLE, &table(0), 4),
            Refusal::TableQueue,
        ),
        (
            set_with(FeatureId::RSS_INDIRECTION_TABLE, &table(8), 1024),
            Refusal::TableSize,
        ),
        (
            set_with(FeatureId::RSS_INDIRECTION_TABLE, &table(u16::MAX), 512),
            Refusal::TableSize,
        ),
        (
            set_with(FeatureId::RSS_INDIRECTION_TABLE, &table(7), 511),
            Refusal::ControlBufferShort,
        ),
        (
            set(FeatureId::RSS_INDIRECTION_TABLE, &table(7)),
            Refusal::ControlBufferMissing,
        ),
        (
            set_with(
                FeatureId::RSS_INDIRECTION_TABLE,
                &IndirectionTable::new_zeroed(),
                4,
            ),
            Refusal::TableInline,
        ),
    ] {
        rig.refused(&command, refusal);
    }
}

#[test]
fn hash_input() {
    let mut rig = Rig::with_admin();
    rig.done(&get_with(FeatureId::RSS_HASH_INPUT, 256));
    let control: [u8; 256] = rig.bytes(BUFFER);
    let fields = |bytes: &[u8]| -> Vec<u8> { bytes.iter().step_by(4).copied().collect() };
    let offered = [
        0x3c, 0x3c, 0x3c, 0x3c, 0x0c, 0x0c, 0x0c, 0x03, 0x3c, 0x0c, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(fields(&control[..64]), offered);
    assert_eq!(fields(&control[64..128]), offered);

    // As Linux: both kinds of sorting are asked for, and taken.
    let mut input = HashInput::new_zeroed();
    input.enabled_sort = 6.into();
    rig.memory.write(BUFFER + 64 + 4, &[0x0c]).unwrap();
    rig.done(&set_with(FeatureId::RSS_HASH_INPUT, &input, 256));
    let change = rig.device.link_mut().changes.last().cloned().unwrap();
    let Change::Rss(rss) = change else {
        panic!("{change:?}");
    };
    assert_eq!(rss.fields[..3], [0x3c, 0x0c, 0x3c]);
    let payload = rig.done(&get(FeatureId::RSS_HASH_INPUT)).payload;
    assert_eq!(payload[..4], [0, 0, 6, 0]);

    for (protocol, wrong) in [(0, 0x40), (4, 0x10), (7, 0x04), (15, 0x01)] {
        rig.memory.write(BUFFER + 64, &[0; 64]).unwrap();
        rig.memory.write(BUFFER + 64 + protocol * 4, &[wrong]).unwrap();
        let command = set_with(FeatureId::RSS_HASH_INPUT, &input, 256);
        rig.refused(&command, Refusal::HashFields);
    }
    let command = set_with(FeatureId::RSS_HASH_INPUT, &input, 255);
    rig.refused(&command, Refusal::ControlBufferShort);
}

#[test]
fn mtu() {
    let mut rig = Rig::with_admin();
    for mtu in [68, 9001, 9216] {
        rig.done(&set(FeatureId::MTU, &Mtu { mtu: mtu.into() }));
        assert_eq!(rig.device.link_mut().changes.last(), Some(&Change::Mtu(mtu)));
    }
    for mtu in [0, 67, 9217, u32::MAX] {
        rig.refused(&set(FeatureId::MTU, &Mtu { mtu: mtu.into() }), Refusal::Mtu);
    }
    assert_eq!(rig.device.describe().mtu, 9216);
    rig.refused(&get(FeatureId::MTU), Refusal::FeatureNotReadable);
}

#[test]
fn the_small_ones() {
    let mut rig = Rig::with_admin();
    let offloads = rig.done(&get(FeatureId::STATELESS_OFFLOAD)).payload;
    assert_eq!(offloads[..12], [0xff, 0, 0, 0, 0xf, 0, 0, 0, 0xf, 0, 0, 0]);
    let moderation = rig.done(&get(FeatureId::INTERRUPT_MODERATION)).payload;
    assert_eq!(moderation[..4], [1, 0, 0, 0]);
    let link = rig.done(&get(FeatureId::LINK_CONFIG)).payload;
    assert_eq!(link[..12], [0xa0, 0x86, 1, 0, 0x80, 0, 0, 0, 2, 0, 0, 0]);
    let events = rig.done(&get(FeatureId::AENQ_CONFIG)).payload;
    assert_eq!(events[..8], [0x9f, 0, 0, 0, 0, 0, 0, 0]);
    for feature in [2, 3, 5, 6, 8, 0, 9, 29, 30, 31, 32, 255] {
        rig.refused(&get(FeatureId(feature)), Refusal::UnsupportedFeature);
        rig.refused(&set(FeatureId(feature), &[0_u8; 0]), Refusal::UnsupportedFeature);
    }
    for feature in [1, 7, 11, 20, 27] {
        rig.refused(&set(FeatureId(feature), &[0_u8; 0]), Refusal::FeatureNotSettable);
    }
    rig.refused(&get(FeatureId::HOST_ATTRIBUTES), Refusal::FeatureNotReadable);
}

fn statistics(kind: u8, metrics: u64, length: u32) -> Command {
    let mut body = GetStatistics::new_zeroed();
    body.statistics_type = kind;
    body.requested_metrics = metrics.into();
    if length > 0 {
        body.control_buffer.address = MemoryAddress::new(BUFFER);
        body.control_buffer.length = length.into();
    }
    // Without any flag, although there is a buffer: as Linux does it.
    Command::new(Opcode::GET_STATS, &body)
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks(8);
    words
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

#[test]
fn counters() {
    let mut rig = Rig::with_admin();
    let basic = rig.done(&statistics(0, 0, 0)).payload;
    assert_eq!(words(&basic), [0x1_0000_0001, 2, 0x1_0000_0004, 5, 6, 3, 7]);
    let eni = rig.done(&statistics(2, 0, 0)).payload;
    assert_eq!(words(&eni), [11, 12, 13, 14, 15, 0, 0]);
    // ENA Express is off.
    assert_eq!(rig.done(&statistics(3, 0, 0)).payload, [0; 56]);
    for kind in [1, 5, 255] {
        rig.refused(&statistics(kind, 0, 0), Refusal::StatisticsType);
    }
    let mut other = GetStatistics::new_zeroed();
    for (device, is_ours) in [(0, true), (0xffff, true), (1, false)] {
        other.device = device.into();
        let command = Command::new(Opcode::GET_STATS, &other);
        if is_ours {
            rig.done(&command);
        } else {
            rig.refused(&command, Refusal::StatisticsDevice);
        }
    }
}

#[test]
fn customer_metrics() {
    let mut rig = Rig::with_admin();
    let probed = rig.done(&statistics(4, 0x3f, 0)).payload;
    assert_eq!(words(&probed)[0], 0x3f);
    rig.done(&statistics(4, 0x3f, 512));
    assert_eq!(
        words(&rig.bytes::<56>(BUFFER)),
        [11, 12, 13, 14, 15, 16, 0],
        "In the order of the bits, and no more"
    );
    let some = rig.done(&statistics(4, 0xffff_ffff_ffff_ff2a, 24)).payload;
    assert_eq!(words(&some)[0], 0x2a);
    assert_eq!(words(&rig.bytes::<32>(BUFFER)), [12, 14, 16, 14]);
    rig.refused(&statistics(4, 0x3f, 47), Refusal::ControlBufferShort);
}

#[test]
fn a_table_may_come_before_its_queues_unless_strict() {
    for (strict, queues) in [(false, false), (true, true), (true, false)] {
        let mut rig = Rig::with_admin_of(Config {
            strict,
            ..Rig::config()
        });
        if queues {
            rig.done(&create_cq(4, 16, 1));
            rig.done(&create_sq(2, 1, 0, 16));
        }
        let command = set_with(FeatureId::RSS_INDIRECTION_TABLE, &table(7), 512);
        if strict && !queues {
            rig.refused(&command, Refusal::TableQueue);
        } else {
            rig.done(&command);
        }
    }
}
