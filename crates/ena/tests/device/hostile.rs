//! Drivers that do anything at all: the fuzz function with random scripts, and over its corpus.

use proptest::prelude::*;
use trinic_ena::fuzz::{self, Outcome, step};
use trinic_ena::spec::admin::{Command, Opcode};
use trinic_ena::spec::feature::{FeatureCommand, FeatureId};
use zerocopy::{FromZeros, IntoBytes};

use crate::queues::{create_cq, create_sq, destroy_cq, destroy_sq, llq};
use crate::rig::set;

fn steps(script: &[(u8, Vec<u8>)], choice: u8) -> Vec<u8> {
    let mut bytes = vec![choice];
    for (kind, data) in script {
        let length = u8::try_from(data.len().min(255)).unwrap();
        bytes.extend([*kind, length]);
        bytes.extend(&data[..usize::from(length)]);
    }
    bytes
}

/// A command as a step of a script.
fn command(command: &Command) -> (u8, Vec<u8>) {
    let bytes = command.as_bytes();
    (step::COMMAND, [&bytes[2..4], &bytes[4..]].concat())
}

/// Commands that are nearly right: known opcodes, small numbers, addresses round the memory's end.
fn nearly() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let number = prop_oneof![
        Just(0_u16),
        0_u16..8,
        Just(16),
        Just(64),
        Just(1024),
        any::<u16>()
    ];
    let direction = prop_oneof![Just(1_u8), Just(2), any::<u8>()];
    let placement = prop_oneof![Just(1_u8), Just(3), any::<u8>()];
    let words = prop_oneof![Just(2_u8), Just(4), Just(8), any::<u8>()];
    let feature = prop_oneof![0_u8..33, Just(4), Just(10), Just(12), Just(18), Just(26)];
    let address = prop_oneof![Just(0_u64), 0x1_0000_u64..0x2_0100, any::<u64>()];
    (
        0_u8..8,
        (number.clone(), number.clone(), number),
        (direction, placement, words),
        feature,
        address,
        prop::collection::vec(any::<u8>(), 44),
    )
        .prop_map(|(which, numbers, bytes, feature, address, rest)| {
            let (a, b, c) = numbers;
            let (direction, placement, words) = bytes;
            let mut made = match which {
                0 => create_cq(words & 0x1f, a, u32::from(b)),
                1 => create_sq(direction & 7, placement & 15, a, b),
                2 => destroy_cq(a),
                3 => destroy_sq(direction & 7, a),
                4 => set(FeatureId::LLQ, &llq(a, b, c)),
                _ => {
                    let mut body = FeatureCommand::new_zeroed();
                    body.control_buffer.length = u32::from(a).into();
                    body.control_buffer.address = trinic_ena::spec::admin::MemoryAddress::new(address);
                    body.header.feature_id = feature;
                    body.payload.copy_from_slice(&rest);
                    if which == 5 {
                        body.payload[..12].fill(0xff);
                        body.payload[4] = u8::try_from(b & 7).unwrap();
                    }
                    let opcode = [Opcode::GET_FEATURE, Opcode::SET_FEATURE, Opcode::GET_STATS];
                    Command::new(opcode[usize::from(c) % 3], &body)
                }
            };
            if rest[0] == 0 {
                made.header.opcode = rest[1];
            }
            command(&made)
        })
}

fn any_step() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        6 => nearly(),
        1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..70)),
        1 => (0_u8..0x30, any::<[u8; 4]>())
            .prop_map(|(register, value)| (step::REGISTER, [&[register][..], &value].concat())),
        1 => any::<[u8; 2]>().prop_map(|time| (step::TIME, time.to_vec())),
        1 => any::<u8>().prop_map(|what| (step::OTHER, vec![what])),
        1 => Just((step::SETUP, Vec::new())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes(script in prop::collection::vec(any::<u8>(), 0..1000)) {
        fuzz::device(&script);
    }

    #[test]
    fn random_steps(choice in any::<u8>(), script in prop::collection::vec(any_step(), 0..60)) {
        let mut with_rings = vec![(step::SETUP, Vec::new())];
        with_rings.extend(script);
        fuzz::device(&steps(&with_rings, choice));
    }
}

/// Scripts that reach every part of the device, and those that fuzzing found worth keeping, whole, cut and changed.
#[expect(
    clippy::disallowed_methods,
    reason = "The crate does no IO; this test reads its corpus."
)]
#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/device");
    let mut sum = Outcome::default();
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let script = std::fs::read(file.unwrap().path()).unwrap();
        let outcome = fuzz::device(&script);
        sum.queues += outcome.queues;
        sum.rss += outcome.rss;
        sum.refusals += outcome.refusals;
        for end in (0..script.len()).step_by(23) {
            fuzz::device(&script[..end]);
        }
        for at in (0..script.len()).step_by(13) {
            let mut changed = script.clone();
            changed[at] ^= 0xff;
            fuzz::device(&changed);
        }
        files += 1;
    }
    assert!(files >= 4, "{files} files");
    assert!(
        sum.queues >= 6 && sum.rss >= 3 && sum.refusals >= 10,
        "The corpus does not reach far: {sum:?}"
    );
}

/// A script by the book reaches the datapath, so the others can.
#[test]
fn scripts_reach_the_datapath() {
    let script = [
        (step::SETUP, Vec::new()),
        command(&set(FeatureId::LLQ, &llq(1, 2, 2))),
        command(&create_cq(2, 64, 1)),
        command(&create_sq(1, 3, 0, 64)),
        command(&create_cq(4, 64, 1)),
        command(&create_sq(2, 1, 1, 64)),
        command(&destroy_cq(1)),
    ];
    let outcome = fuzz::device(&steps(&script, 4 << 2));
    let wanted = Outcome {
        queues: 2,
        rss: 0,
        refusals: 1,
    };
    assert_eq!(outcome, wanted);
}
