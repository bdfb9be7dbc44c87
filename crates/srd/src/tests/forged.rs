//! Packets with right tags and wrong contents: a peer that is authentic and faulty.

use std::time::Duration;

use zerocopy::byteorder::big_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

use super::world::{ONE_WAY, World, peer};
use crate::key::{Direction, Sealer, TAG_BYTES};
use crate::wire::{ACK, Body, DATA, HELLO_BYTES, Hello, Packet, base, code};
use crate::{Config, Datagram, Failure, Refusal};

/// A world with a session, and nothing outstanding.
fn connected(config: &Config) -> World {
    let mut world = World::with_regions(config, 1_000);
    world.send(0, 0, vec![1; 10]);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.result(0), Ok(()));
    world
}

/// What is put behind the base header, and the payload.
struct Forged<'a> {
    kind: u8,
    operation: u8,
    sequence: u32,
    transmission: u32,
    fields: &'a [u8],
    payload: &'a [u8],
}

/// Hands end 1 a packet that only end 0 could have sealed.
fn forge(world: &mut World, forged: &Forged<'_>) {
    let peer = world.peers[0];
    let wire = &world.ends[0]
        .context_mut(peer)
        .unwrap()
        .session_mut()
        .unwrap()
        .wire;
    let length = 20 + forged.fields.len() + TAG_BYTES + forged.payload.len();
    let mut base = base(forged.kind, 1, length, wire.context, wire.epoch);
    base.sequence.set(forged.sequence);
    base.transmission.set(forged.transmission);
    base.operation = forged.operation;
    let mut bytes = base.as_bytes().to_vec();
    bytes.extend(forged.fields);
    let tag = wire.out.tag(&bytes, &[0; 4], &[]);
    bytes.extend(tag);
    bytes.extend(forged.payload);
    world.ends[1].handle_datagram(
        world.now,
        Datagram {
            bytes: &bytes,
            marked: false,
        },
        &mut world.hosts[1],
    );
}

#[test]
fn data_that_contradicts_itself_is_refused() {
    // [PKT-8] [REF-1]
    let word = |number: u32| number.to_be_bytes();
    let ends = [0; 12];
    let write = |index: u32, count: u32| {
        [&ends[..], &word(0), &word(7), &[0; 8], &word(index), &word(count)].concat()
    };
    let read = |length: u32| [&ends[..], &word(0), &word(7), &[0; 8], &word(length), &word(0)].concat();
    let response = |offset: u32, total: u32| [&ends[..], &word(0), &word(offset), &word(total)].concat();
    let cases: Vec<(u8, Vec<u8>, &[u8])> = vec![
        (code::VOID, ends.to_vec(), b"payload"),
        (code::WRITE, write(0, 0), b"x"),
        (code::WRITE_IMMEDIATE, write(3, 3), b"x"),
        (code::READ_REQUEST, read(1), b"payload"),
        (code::READ_REQUEST, read(0), b""),
        (code::READ_RESPONSE, response(0, 1), b"xx"),
        (code::READ_RESPONSE, response(u32::MAX - 1, u32::MAX), b"xx"),
        (code::READ_RESPONSE, response(0, 1), b""),
        (code::READ_RESPONSE, response(u32::MAX, 5), b"x"),
    ];
    let mut world = connected(&Config::default());
    for (number, (operation, fields, payload)) in cases.iter().enumerate() {
        let sequence = 1 + u32::try_from(number).unwrap();
        let forged = Forged {
            kind: DATA,
            operation: *operation,
            sequence,
            transmission: 100 + sequence,
            fields,
            payload,
        };
        let before = world.ends[1].stats().refused;
        forge(&mut world, &forged);
        assert_eq!(world.ends[1].stats().refused, before + 1, "case {number}");
    }
    let before = world.recorded.len();
    world.run_for(Duration::from_micros(1));
    let packet = Packet::parse(&world.recorded[before].bytes).unwrap();
    let Body::Ack { refusals, .. } = packet.body else {
        panic!("an ACK")
    };
    assert_eq!(refusals.len(), cases.len());
    assert!(
        refusals
            .iter()
            .all(|refusal| refusal.reason == Refusal::Malformed.code())
    );
}

#[test]
fn fields_that_are_zero_are_not_looked_at() {
    // [PKT-10]: a VOID with ends that belong to nobody.
    let mut world = connected(&Config::default());
    let fields = [0xff; 12];
    forge(
        &mut world,
        &Forged {
            kind: DATA,
            operation: code::VOID,
            sequence: 1,
            transmission: 50,
            fields: &fields,
            payload: b"",
        },
    );
    assert_eq!(
        (world.ends[1].stats().refused, world.hosts[1].inbox.len()),
        (0, 1)
    );
    let before = world.recorded.len();
    world.run_for(Duration::from_micros(1));
    assert_eq!(
        world.recorded[before].bytes[8..12],
        [0, 0, 0, 2],
        "it is acknowledged"
    );
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_counts_for_nothing() {
    // [REL-10]
    let mut world = connected(&Config::default());
    world.fate = Box::new(|_, _, _| Vec::new());
    world.send(1, 7, vec![1]);
    world.run_for(Duration::from_micros(1));
    let acknowledgement = |sequence: u32, bitmap: u64| {
        let fields = [&[1, 0, 0, 0][..], U64::new(bitmap).as_bytes()].concat();
        (sequence, fields)
    };
    for (sequence, fields) in [
        acknowledgement(2, 0),
        acknowledgement(0, 1),
        acknowledgement(1, 1 << 63),
    ] {
        let before = world.ends[1].stats().bad_acknowledgement;
        forge(
            &mut world,
            &Forged {
                kind: ACK,
                operation: 0,
                sequence,
                transmission: 0,
                fields: &fields,
                payload: b"",
            },
        );
        assert_eq!(world.ends[1].stats().bad_acknowledgement, before + 1);
    }
    assert_eq!(world.ends[1].outstanding(world.peers[1]), 1);
    let (sequence, fields) = acknowledgement(1, 0);
    forge(
        &mut world,
        &Forged {
            kind: ACK,
            operation: 0,
            sequence,
            transmission: 0,
            fields: &fields,
            payload: b"",
        },
    );
    world.run_for(Duration::from_micros(1));
    assert_eq!(world.result(7), Ok(()));
}

#[test]
fn more_than_a_datagram_holds_comes_in_several_acknowledgements() {
    // [PKT-9] [REF-2]
    let small = Config {
        datagram: 256,
        window: 1_024,
        ..Config::default()
    };
    let mut world = connected(&small);
    world.hosts[1].refuse.insert(0, Refusal::BadQueuePair);
    for sequence in 2..100 {
        let fields = [0; 12];
        let forged = Forged {
            kind: DATA,
            operation: code::SEND,
            sequence,
            transmission: sequence,
            fields: &fields,
            payload: b"",
        };
        forge(&mut world, &forged);
    }
    let before = world.recorded.len();
    for _ in 0..8 {
        let fields = [0; 12];
        let again = Forged {
            kind: DATA,
            operation: code::SEND,
            sequence: 2,
            transmission: 2,
            fields: &fields,
            payload: b"",
        };
        forge(&mut world, &again);
        world.run_for(Duration::from_micros(1));
    }
    let mut told = std::collections::BTreeSet::new();
    for flying in world.recorded[before..].iter().filter(|flying| flying.to == 0) {
        assert!(flying.bytes.len() <= 256);
        let packet = Packet::parse(&flying.bytes).unwrap();
        let Body::Ack { refusals, .. } = packet.body else {
            panic!("an ACK")
        };
        told.extend(refusals.iter().map(|refusal| refusal.sequence.get()));
    }
    assert_eq!(told.len(), 98, "each refusal in its turn");
}

/// A HELLO of end 0, changed and sealed again.
fn forge_hello(world: &World, original: &[u8], change: impl FnOnce(&mut [u8], &mut Hello)) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let (header, rest) = bytes.split_at_mut(20);
    let (hello, _) = Hello::mut_from_prefix(rest).unwrap();
    change(header, hello);
    let seal = Sealer::hello(&peer(1).key, Direction::Up, 1);
    let tag = seal.tag(&bytes[..HELLO_BYTES - TAG_BYTES], &[], &[]);
    bytes[HELLO_BYTES - TAG_BYTES..].copy_from_slice(&tag);
    assert_eq!(world.ends[0].gid()[0], 10, "the lower GID: its packets go up");
    bytes
}

#[test]
fn a_peer_of_other_versions_only_is_told_and_its_messages_fail() {
    // [NEG-1] [NEG-2] [PKT-6]
    let mut world = World::new(&Config::default());
    world.fate = Box::new(|flying, _, _| if flying.to == 0 { vec![ONE_WAY] } else { Vec::new() });
    world.send(0, 1, vec![1]);
    world.send(1, 2, vec![1]);
    world.run_for(Duration::from_micros(20));
    // End 0 has heard the HELLO of end 1 and answered: with both incarnations.
    let answer = world
        .recorded
        .iter()
        .rfind(|flying| flying.to == 1)
        .unwrap()
        .bytes
        .clone();
    let both = forge_hello(&world, &answer, |_, hello| (hello.lowest, hello.highest) = (1, 9));
    let other = forge_hello(&world, &answer, |header, hello| {
        header[0] = 0x21;
        (hello.lowest, hello.highest) = (2, 3);
    });
    let empty = forge_hello(&world, &answer, |_, hello| (hello.lowest, hello.highest) = (2, 1));
    for bytes in [&other, &empty] {
        world.send(1, 3, vec![1]);
        world.ends[1].handle_datagram(world.now, Datagram { bytes, marked: false }, &mut world.hosts[1]);
        world.run_for(Duration::from_micros(1));
        let last = world.recorded.iter().rfind(|flying| flying.to == 0).unwrap();
        assert_eq!(last.bytes[20..22], [1, 1], "the receiver's own range");
        assert_eq!(world.events.last().unwrap().1.result, Err(Failure::Version));
        world.events.clear();
        // It has another incarnation now; the one for which the packets were made comes back for the next of them.
        let incarnation = answer[40..48].try_into().unwrap();
        world.ends[1]
            .context_mut(world.peers[1])
            .unwrap()
            .set_incarnation(u64::from_be_bytes(incarnation));
    }
    assert_eq!(world.ends[1].stats().bad_version, 2);
    world.ends[1].handle_datagram(
        world.now,
        Datagram {
            bytes: &both,
            marked: false,
        },
        &mut world.hosts[1],
    );
    assert!(
        world.ends[1].is_connected(world.peers[1]),
        "a range that contains version 1"
    );

    let mut data = answer;
    data[0] = 0x22;
    world.ends[1].handle_datagram(
        world.now,
        Datagram {
            bytes: &data,
            marked: false,
        },
        &mut world.hosts[1],
    );
    assert_eq!(world.ends[1].stats().bad_version, 3);
}

#[test]
fn terms_beyond_the_limits_are_limited_and_impossible_ones_dropped() {
    // [NEG-3]
    let mut world = World::new(&Config::default());
    world.fate = Box::new(|flying, _, _| if flying.to == 0 { vec![ONE_WAY] } else { Vec::new() });
    world.send(1, 2, vec![1]);
    world.run_for(Duration::from_micros(20));
    let answer = world
        .recorded
        .iter()
        .rfind(|flying| flying.to == 1)
        .unwrap()
        .bytes
        .clone();
    let tiny = forge_hello(&world, &answer, |_, hello| hello.datagram.set(255));
    let nobody = forge_hello(&world, &answer, |_, hello| hello.sender_incarnation.set(0));
    for bytes in [&tiny, &nobody] {
        world.ends[1].handle_datagram(world.now, Datagram { bytes, marked: false }, &mut world.hosts[1]);
    }
    assert_eq!(world.ends[1].stats().bad_hello, 2);
    assert!(!world.ends[1].is_connected(world.peers[1]));
    let large = forge_hello(&world, &answer, |_, hello| {
        hello.window.set(u32::MAX);
        hello.operations.set(0);
    });
    world.ends[1].handle_datagram(
        world.now,
        Datagram {
            bytes: &large,
            marked: false,
        },
        &mut world.hosts[1],
    );
    assert!(world.ends[1].is_connected(world.peers[1]));
}

#[test]
fn a_datagram_is_taken_from_any_port_and_leaves_on_the_paths_that_are_there() {
    // [PKT-1] [PKT-2] [PTH-1]: the engine is not told from where a datagram came; the ACK's path is one that its sender has.
    let mut world = World::with(
        &Config {
            paths: 64,
            ..Config::default()
        },
        &Config {
            paths: 2,
            ..Config::default()
        },
    );
    for token in 0..500 {
        world.send(0, token, vec![1; 50]);
    }
    world.run_for(Duration::from_millis(50));
    assert!((0..500).all(|token| world.result(token) == Ok(())));
    let used = |to: usize| {
        let paths = world
            .recorded
            .iter()
            .filter(|flying| flying.to == to)
            .map(|flying| flying.path);
        paths.collect::<std::collections::BTreeSet<_>>()
    };
    assert!(used(1).len() > 32 && used(1).last() > Some(&50), "{:?}", used(1));
    assert_eq!(used(0).into_iter().collect::<Vec<_>>(), [0, 1]);
}
