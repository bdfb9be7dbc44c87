//! Messages and RDMA operations between two ends.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::world::{Flying, KEY, ONE_WAY, World};
use crate::random::Random;
use crate::wire::{FLAG_NOW, Packet};
use crate::{Action, Config, Failure, Instant, Refusal, SubmitError};

fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed + 1);
    (0..length).map(|_| random.next().to_be_bytes()[0]).collect()
}

/// A message whose first bytes are its number.
fn numbered(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = pattern(number, length.max(8));
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// That each message arrived once and unchanged, and completed.
fn assert_all_arrived(world: &World, to: usize, count: u64) {
    let mut seen = BTreeSet::new();
    for (bytes, _) in &world.hosts[to].inbox {
        let number = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        assert!(seen.insert(number), "message {number} was delivered twice");
        assert_eq!(*bytes, numbered(number, bytes.len()));
    }
    assert_eq!(seen.len() as u64, count);
    for number in 0..count {
        assert_eq!(world.result(number), Ok(()), "message {number}");
    }
}

#[test]
fn a_message_arrives_and_completes() {
    // [REL-4] [SES-4] [REL-6]
    let mut world = World::new(&Config::default());
    world.submit(0, 1, b"hello".to_vec(), Action::Send { immediate: Some(9) });
    world.send(0, 2, Vec::new());
    let begin = world.now;
    world.run_for(Duration::from_millis(50));
    let mut inbox = world.hosts[1].inbox.clone();
    inbox.sort();
    assert_eq!(inbox, [(Vec::new(), None), (b"hello".to_vec(), Some(9))]);
    assert_eq!((world.result(1), world.result(2)), (Ok(()), Ok(())));
    let stats = *world.ends[0].stats();
    assert_eq!((stats.retransmitted, world.ends[1].stats().duplicates), (0, 0));
    assert!(
        world.ends[0]
            .poll_timeout()
            .is_none_or(|at| at < begin + Duration::from_millis(50)),
        "nothing is left to do"
    );
}

#[test]
fn once_a_session_is_there_a_message_takes_one_round_trip() {
    // [REL-6]: the last packet asks for its acknowledgement.
    let mut world = World::new(&Config::default());
    world.send(0, 0, numbered(0, 100));
    world.run_for(Duration::from_millis(5));
    let begin = world.now;
    world.send(0, 1, numbered(1, 100));
    world.run_until(begin + ONE_WAY * 2);
    assert_eq!(world.result(1), Ok(()));
}

#[test]
fn six_acks_are_asked_for_in_a_window() {
    // [REL-6]: with a window of 8 packets that is each of them.
    let mut world = World::new(&Config {
        datagram: 1_000,
        ..Config::default()
    });
    world.send(0, 0, numbered(0, 100));
    world.run_for(Duration::from_millis(5));
    for number in 1..20 {
        let request = world.request(0, number, numbered(number, 900), Action::Send { immediate: None });
        world.ends[0].submit(world.now, world.peers[0], request).unwrap();
    }
    let mut flags = Vec::new();
    let mut packet = [0; 1_000];
    while world.ends[0]
        .poll_transmit(world.now, &mut world.hosts[0], &mut packet, 1)
        .is_some()
    {
        flags.push(packet[1] & 1);
    }
    assert_eq!(flags, [1; 8]);
}

#[test]
fn messages_of_both_ends_cross_a_rough_network_once_each() {
    // [REL-1] [REL-3] [REL-8] [REL-5] [CC-1]
    for lost in [0, 1, 5, 20] {
        let mut world = World::new(&Config {
            datagram: 1_000,
            ..Config::default()
        });
        world.rough(lost);
        for number in 0..2_000 {
            world.send(
                0,
                number,
                numbered(number, 8 + usize::try_from(number % 900).unwrap()),
            );
        }
        world.submit(1, 5_000, b"back".to_vec(), Action::Send { immediate: None });
        world.run_for(Duration::from_secs(5));
        assert_all_arrived(&world, 1, 2_000);
        assert_eq!(world.result(5_000), Ok(()));
        assert_eq!(world.hosts[0].inbox.len(), 1);
    }
}

#[test]
fn numbers_wrap() {
    // [REL-1]: PSN and TXN go over 32 bits in the middle of it.
    let mut world = World::new(&Config {
        datagram: 1_000,
        window: 64,
        ..Config::default()
    });
    world.send(0, 0, numbered(0, 100));
    world.run_for(Duration::from_millis(5));
    let (first, second) = (world.peers[0], world.peers[1]);
    let begin = u64::from(u32::MAX) - 700;
    world.ends[0]
        .context_mut(first)
        .unwrap()
        .session_mut()
        .unwrap()
        .sender
        .begin_at(begin, begin - 50);
    world.ends[1]
        .context_mut(second)
        .unwrap()
        .session_mut()
        .unwrap()
        .receiver
        .begin_at(begin);
    world.rough(3);
    for number in 1..3_000 {
        world.send(0, number, numbered(number, 300));
    }
    world.run_for(Duration::from_secs(5));
    assert_all_arrived(&world, 1, 3_000);
    assert!(
        world
            .recorded
            .iter()
            .any(|flying| flying.to == 1 && flying.bytes[8..12] == [0, 0, 0, 5])
    );
}

#[test]
fn a_lost_packet_goes_again_on_another_path_after_about_a_round_trip() {
    // [REL-7] [REL-8]
    let mut world = World::new(&Config {
        paths: 8,
        ..Config::default()
    });
    for number in 0..200 {
        world.send(0, number, numbered(number, 100));
        world.run_for(Duration::from_micros(50));
    }
    let mut lost_on = None;
    world.fate = Box::new(move |flying: &Flying, _, _| {
        if lost_on.is_none() && flying.to == 1 {
            lost_on = Some(flying.path);
            return Vec::new();
        }
        vec![ONE_WAY]
    });
    let before = world.recorded.len();
    world.send(0, 200, numbered(200, 100));
    world.run_for(Duration::from_millis(1));
    assert_all_arrived(&world, 1, 201);
    let sent: Vec<_> = world.recorded[before..]
        .iter()
        .filter(|flying| flying.to == 1)
        .collect();
    assert_eq!(sent.len(), 2, "the packet and its retransmission");
    assert_ne!(sent[0].path, sent[1].path);
    assert_eq!(sent[0].bytes[8..12], sent[1].bytes[8..12], "the same PSN");
    assert_ne!(sent[0].bytes[12..16], sent[1].bytes[12..16], "another TXN");
    assert_eq!(sent[1].bytes[1] & 2, 2, "marked as a retransmission");
    let least = Config::default().least_timeout;
    assert_eq!(world.ends[0].stats().retransmitted, 1);
    assert!(
        least < Duration::from_micros(200),
        "the timeout of the single packet is the least one"
    );
}

/// Two ends whose timeouts are far longer than the round trips that they know.
fn patient() -> World {
    let mut world = World::new(&Config {
        least_timeout: Duration::from_millis(10),
        ..Config::default()
    });
    for number in 0..200 {
        world.send(0, number, numbered(number, 100));
    }
    world.run_for(Duration::from_millis(2));
    assert_all_arrived(&world, 1, 200);
    world
}

#[test]
fn the_last_packet_goes_once_more_before_its_timeout() {
    // [REL-13]: whether it is the packet that is lost or its acknowledgement.
    for lost_to in [1, 0] {
        let mut world = patient();
        let before = world.recorded.len();
        let mut lost = false;
        world.fate = Box::new(move |flying: &Flying, _, _| {
            if flying.to == lost_to && !std::mem::replace(&mut lost, true) {
                Vec::new()
            } else {
                vec![ONE_WAY]
            }
        });
        world.send(0, 200, numbered(200, 100));
        world.run_for(Duration::from_micros(200));
        assert_eq!(world.result(200), Ok(()));
        let mut sent = world.recorded[before..].iter().filter(|flying| flying.to == 1);
        let paths = [sent.next().unwrap().path, sent.next().unwrap().path];
        assert!(paths[0] != paths[1] && sent.next().is_none(), "{paths:?}");
        assert_eq!(world.hosts[1].inbox.len(), 201);
    }
}

#[test]
fn a_probe_that_is_lost_is_not_repeated() {
    // [REL-13]
    let mut world = patient();
    let before = world.recorded.len();
    world.fate = Box::new(|_, _, _| Vec::new());
    for number in 200..204 {
        world.send(0, number, numbered(number, 100));
    }
    world.run_for(Duration::from_millis(9));
    assert_eq!(world.recorded.len() - before, 4 + 1);
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    world.run_for(Duration::from_millis(9));
    assert_all_arrived(&world, 1, 204);
}

#[test]
fn what_is_held_up_with_a_later_packet_is_not_lost() {
    // [REL-7]: both are late by fifty round trips, and the one sent first by a little more.
    let mut world = patient();
    let mut count = 0;
    world.fate = Box::new(move |flying: &Flying, _, _| {
        if flying.to == 0 {
            return vec![ONE_WAY];
        }
        count += 1;
        match count {
            1 => vec![Duration::from_micros(510)],
            2 => vec![Duration::from_micros(500)],
            // The probe.
            _ => Vec::new(),
        }
    });
    world.send(0, 200, numbered(200, 100));
    world.run_for(Duration::ZERO);
    world.send(0, 201, numbered(201, 100));
    world.run_for(Duration::from_millis(1));
    assert_all_arrived(&world, 1, 202);
    assert_eq!(world.ends[0].stats().retransmitted, 1, "only the probe");
}

#[test]
fn a_dead_path_is_left_within_a_few_round_trips() {
    // [PTH-4] [PTH-1]
    let mut world = World::new(&Config {
        paths: 8,
        datagram: 1_000,
        ..Config::default()
    });
    world.fate = Box::new(|flying: &Flying, _, _| {
        if flying.path == 3 {
            Vec::new()
        } else {
            vec![ONE_WAY]
        }
    });
    for number in 0..1_000 {
        world.send(0, number, numbered(number, 500));
    }
    world.run_for(Duration::from_millis(100));
    assert_all_arrived(&world, 1, 1_000);
    let on_dead = world
        .recorded
        .iter()
        .filter(|flying| flying.to == 1 && flying.path == 3)
        .count();
    let before = world.recorded.len();
    for number in 1_000..2_000 {
        world.send(0, number, numbered(number, 500));
    }
    world.run_for(Duration::from_millis(100));
    assert_all_arrived(&world, 1, 2_000);
    let on_dead_later = world.recorded[before..]
        .iter()
        .filter(|flying| flying.to == 1 && flying.path == 3)
        .count();
    assert!(
        (1..100).contains(&on_dead) && on_dead_later <= 8,
        "{on_dead} and then {on_dead_later}: probes only"
    );
    assert!((0..8).filter(|path| *path != 3).all(|path| {
        world
            .recorded
            .iter()
            .any(|flying| flying.to == 1 && flying.path == path)
    }));
}

#[test]
fn what_the_receiver_refuses_fails_with_its_reason_and_stalls_nobody() {
    // [REF-1] [REF-2] [REF-3] [REF-4]
    let mut world = World::new(&Config {
        window: 16,
        ..Config::default()
    });
    world.rough(10);
    world.hosts[1].refuse.insert(66, Refusal::ReceiverNotReady);
    let mut refused = Vec::new();
    for number in 0..300 {
        let mut request = world.request(0, number, numbered(number, 100), Action::Send { immediate: None });
        if number % 3 == 0 {
            request.destination = 66;
            refused.push(number);
        }
        world.ends[0].submit(world.now, world.peers[0], request).unwrap();
    }
    world.run_for(Duration::from_secs(2));
    for number in 0..300 {
        let expected = if refused.contains(&number) {
            Err(Failure::Refused(Refusal::ReceiverNotReady))
        } else {
            Ok(())
        };
        assert_eq!(world.result(number), expected, "message {number}");
    }
    assert_eq!(world.hosts[1].inbox.len(), 200);
    assert_eq!(world.ends[0].outstanding(world.peers[0]), 0, "no hole is left");
}

#[test]
fn once_refused_always_refused() {
    // [REF-2]: the copy of a refused packet comes when the queue pair would take it.
    let mut world = World::new(&Config::default());
    world.send(0, 0, numbered(0, 50));
    world.run_for(Duration::from_millis(5));
    world.hosts[1].refuse.insert(2, Refusal::ReceiverNotReady);
    world.fate = Box::new(|flying: &Flying, _, _| if flying.to == 0 { Vec::new() } else { vec![ONE_WAY] });
    world.send(0, 1, numbered(1, 50));
    world.run_for(Duration::from_micros(60));
    world.hosts[1].refuse.clear();
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.result(1), Err(Failure::Refused(Refusal::ReceiverNotReady)));
    assert_eq!(world.hosts[1].inbox.len(), 1);
}

#[test]
fn a_paced_window_leaves_in_bursts_and_asks_no_more_often() {
    // [CC-5]
    let one_way = Duration::from_micros(500);
    // Most DATA packets that left together, at how many times some did, and how many asked for an ACK.
    let run = |burst: Option<u16>| {
        let mut world = World::new(&Config {
            burst,
            ..Config::default()
        });
        world.fate = Box::new(move |_, _, _| vec![one_way]);
        // A round trip is known and the window is open.
        for number in 0..400 {
            world.send(0, number, numbered(number, 8_800));
        }
        world.run_for(Duration::from_millis(40));
        world.hosts[1].inbox.clear();
        world.events.clear();
        let left: Rc<RefCell<BTreeMap<Instant, u32>>> = Rc::default();
        let asked: Rc<Cell<u32>> = Rc::default();
        let (times, asks) = (Rc::clone(&left), Rc::clone(&asked));
        world.fate = Box::new(move |flying, now, _| {
            if flying.to == 1 {
                *times.borrow_mut().entry(now).or_default() += 1;
                let packet = Packet::parse(&flying.bytes).unwrap();
                asks.set(asks.get() + u32::from(packet.base.flags & FLAG_NOW != 0));
            }
            vec![one_way]
        });
        for number in 0..40 {
            world.send(0, number, numbered(number, 8_800));
        }
        world.run_for(Duration::from_millis(40));
        assert_all_arrived(&world, 1, 40);
        let left = left.borrow();
        (left.values().copied().max().unwrap(), left.len(), asked.get())
    };
    let (most, times, asked) = run(None);
    assert_eq!((most, times), (40, 1), "a window at once");
    // Four, and then one by one.
    assert_eq!(run(Some(4)), (4, 1 + 36, asked));
}

#[test]
fn memory_is_written_and_read() {
    // [REL-4] [LIM-2] [LIM-3]
    for lost in [0, 5] {
        let mut world = World::with_regions(
            &Config {
                datagram: 1_000,
                ..Config::default()
            },
            200_000,
        );
        world.rough(lost);
        let bytes = pattern(3, 100_000);
        world.submit(
            0,
            1,
            bytes.clone(),
            Action::Write {
                key: KEY,
                address: 50,
                immediate: Some(77),
            },
        );
        world.submit(
            0,
            2,
            pattern(4, 10),
            Action::Write {
                key: KEY,
                address: 150_000,
                immediate: None,
            },
        );
        world.submit(
            0,
            3,
            Vec::new(),
            Action::Write {
                key: KEY,
                address: 0,
                immediate: Some(78),
            },
        );
        world.run_for(Duration::from_secs(1));
        assert_eq!(
            (world.result(1), world.result(2), world.result(3)),
            (Ok(()), Ok(()), Ok(()))
        );
        assert_eq!(world.hosts[1].region[50..100_050], bytes);
        assert_eq!(world.hosts[1].region[150_000..150_010], pattern(4, 10));
        let mut written = world.hosts[1].written.clone();
        written.sort_unstable();
        assert_eq!(written, [(77, 100_000), (78, 0)]);

        world.submit(
            0,
            4,
            vec![0; 70_000],
            Action::Read {
                key: KEY,
                address: 50,
            },
        );
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.result(4), Ok(()));
        assert_eq!(world.hosts[0].payloads[&4], bytes[..70_000]);
    }
}

#[test]
fn more_operations_than_are_agreed_wait_for_each_other() {
    // [LIM-1] [SES-6]
    let few = Config {
        datagram: 1_000,
        operations: 2,
        ..Config::default()
    };
    let many = Config {
        datagram: 1_000,
        ..Config::default()
    };
    for (first, second) in [(&few, &many), (&many, &few)] {
        let mut world = World::with(first, second);
        world.hosts[1].region = pattern(9, 10_000);
        world.rough(5);
        for number in 0..100 {
            let address = number * 50;
            if number % 2 == 0 {
                world.submit(0, number, vec![0; 3_000], Action::Read { key: KEY, address });
            } else {
                world.submit(
                    0,
                    number,
                    Vec::new(),
                    Action::Write {
                        key: KEY,
                        address,
                        immediate: Some(1),
                    },
                );
            }
        }
        world.run_for(Duration::from_secs(3));
        for number in 0..100 {
            assert_eq!(world.result(number), Ok(()), "operation {number}");
            if number % 2 == 0 {
                let begin = usize::try_from(number).unwrap() * 50;
                assert_eq!(
                    world.hosts[0].payloads[&number],
                    world.hosts[1].region[begin..begin + 3_000]
                );
            }
        }
        assert_eq!(world.hosts[1].written.len(), 50);
        assert_eq!(world.ends[1].stats().refused, 0);
    }
}

#[test]
fn operations_that_wait_go_on_although_others_that_waited_were_withdrawn() {
    // [LIM-1] [REF-4]
    let mut world = World::with_regions(
        &Config {
            operations: 2,
            ..Config::default()
        },
        1_000,
    );
    world.send(0, 0, numbered(0, 8));
    world.run_for(Duration::from_millis(5));
    for number in 1..30 {
        let action = Action::Write {
            key: KEY,
            address: 0,
            immediate: None,
        };
        let mut request = world.request(0, number, vec![1; 100], action);
        request.source = if number < 20 { 7 } else { 8 };
        world.ends[0].submit(world.now, world.peers[0], request).unwrap();
    }
    world.run_for(Duration::from_micros(1));
    world.ends[0].withdraw(world.peers[0], 7);
    world.run_for(Duration::from_millis(50));
    for number in 1..30 {
        let expected = if number < 20 {
            Err(Failure::Withdrawn)
        } else {
            Ok(())
        };
        assert_eq!(world.result(number), expected, "operation {number}");
    }
}

#[test]
fn an_operation_that_is_refused_fails_once_and_leaves_no_hole() {
    // [REF-5] [LIM-2]
    let mut world = World::with_regions(
        &Config {
            datagram: 1_000,
            window: 32,
            ..Config::default()
        },
        50_000,
    );
    world.rough(5);
    world.submit(
        0,
        1,
        pattern(1, 90_000),
        Action::Write {
            key: KEY,
            address: 0,
            immediate: Some(1),
        },
    );
    world.submit(
        0,
        2,
        vec![0; 10],
        Action::Read {
            key: KEY + 1,
            address: 0,
        },
    );
    world.submit(0, 3, vec![0; 60_000], Action::Read { key: KEY, address: 0 });
    for number in 10..200 {
        world.send(0, number, numbered(number, 20));
    }
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.result(1), Err(Failure::Refused(Refusal::BadAddress)));
    assert_eq!(world.result(2), Err(Failure::Refused(Refusal::BadKey)));
    assert_eq!(world.result(3), Err(Failure::Refused(Refusal::BadAddress)));
    assert!((10..200).all(|number| world.result(number) == Ok(())));
    assert!(world.hosts[1].written.is_empty());
    assert_eq!(world.ends[0].outstanding(world.peers[0]), 0);

    // The operations' numbers are free again, for a write of many segments too.
    world.hosts[1].refuse.insert(2, Refusal::BadQueuePair);
    world.submit(
        0,
        4,
        pattern(1, 5_000),
        Action::Write {
            key: KEY,
            address: 0,
            immediate: Some(1),
        },
    );
    world.run_for(Duration::from_secs(1));
    assert_eq!(
        world.result(4),
        Err(Failure::Refused(Refusal::BadQueuePair)),
        "the completion was refused"
    );
}

#[test]
fn memory_that_goes_away_ends_its_messages_only() {
    // [REF-4] [LIM-3]
    let mut world = World::with_regions(
        &Config {
            datagram: 1_000,
            ..Config::default()
        },
        100_000,
    );
    world.send(0, 0, numbered(0, 20));
    world.run_for(Duration::from_millis(5));
    world.submit(
        0,
        1,
        pattern(1, 40_000),
        Action::Write {
            key: KEY,
            address: 0,
            immediate: None,
        },
    );
    world.submit(0, 2, vec![0; 40_000], Action::Read { key: KEY, address: 0 });
    world.submit(0, 3, vec![0; 40_000], Action::Read { key: KEY, address: 0 });
    world.run_for(ONE_WAY);
    world.hosts[0].payloads.remove(&1);
    world.hosts[0].payloads.remove(&2);
    world.hosts[1].unreadable = true;
    world.send(0, 4, numbered(4, 20));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.result(1), Err(Failure::Withdrawn));
    assert!(matches!(
        world.result(2),
        Err(Failure::Withdrawn | Failure::Refused(Refusal::NotPermitted))
    ));
    assert_eq!(world.result(3), Err(Failure::Refused(Refusal::NotPermitted)));
    assert_eq!(world.result(4), Ok(()));
    assert_eq!(world.ends[0].outstanding(world.peers[0]), 0);
}

#[test]
fn a_queue_pair_takes_its_messages_back() {
    // [REF-4]
    let mut world = World::new(&Config {
        window: 16,
        ..Config::default()
    });
    world.send(0, 0, numbered(0, 20));
    world.run_for(Duration::from_millis(5));
    world.fate = Box::new(|_, _, _| Vec::new());
    for number in 1..40 {
        world.send(0, number, numbered(number, 20));
    }
    world.run_for(ONE_WAY);
    world.ends[0].withdraw(world.peers[0], 1);
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    world.run_for(Duration::from_millis(100));
    assert!((1..40).all(|number| world.result(number) == Err(Failure::Withdrawn)));
    assert_eq!(world.hosts[1].inbox.len(), 1);
    assert_eq!(
        world.ends[0].outstanding(world.peers[0]),
        0,
        "VOIDs filled their places"
    );
}

#[test]
fn what_cannot_be_sent_is_not_accepted() {
    // [PKT-7] [REL-11]
    let mut world = World::new(&Config {
        messages: 2,
        ..Config::default()
    });
    let mut submit = |length: usize, action| {
        let request = world.request(0, 1, vec![0; length], action);
        world.ends[0].submit(Instant::ZERO, world.peers[0], request)
    };
    let send = Action::Send { immediate: None };
    assert_eq!(
        submit(8_929, send),
        Err(SubmitError::TooLong {
            length: 8_929,
            limit: 8_928
        })
    );
    assert_eq!(
        submit(0, Action::Read { key: 0, address: 0 }),
        Err(SubmitError::EmptyRead)
    );
    assert_eq!(submit(8_928, send), Ok(()));
    assert_eq!(submit(1, send), Ok(()));
    assert_eq!(submit(1, send), Err(SubmitError::Full));
}

#[test]
fn an_acknowledgement_waits_for_more_but_not_long() {
    // [REL-5]: with a large window packets ask seldom, so one ACK speaks for up to 16.
    let mut world = World::new(&Config {
        datagram: 1_000,
        ..Config::default()
    });
    let mut free = world.now;
    world.fate = Box::new(move |flying: &Flying, now, _| {
        // A link that takes a microsecond for each packet.
        if flying.to == 0 {
            return vec![ONE_WAY];
        }
        free = free.max(now) + Duration::from_micros(1);
        vec![free.since(now) + ONE_WAY]
    });
    for number in 0..4_000 {
        world.send(0, number, numbered(number, 900));
    }
    world.run_for(Duration::from_secs(1));
    assert_all_arrived(&world, 1, 4_000);
    let acknowledgements = world.ends[1].stats().acknowledgements;
    assert!(
        (4_000 / 16..2_000).contains(&acknowledgements),
        "{acknowledgements}"
    );
}

#[test]
fn a_reader_is_told_that_the_queue_pair_is_gone() {
    // [LIM-3]
    let mut world = World::with_regions(&Config::default(), 100_000);
    world.send(0, 1, vec![1]);
    world.run_for(Duration::from_millis(10));
    // The request arrives, and the response waits for its way.
    world.fate = Box::new(|flying, _, _| {
        let response = flying.to == 0 && flying.bytes[0] & 15 == 2;
        if response { Vec::new() } else { vec![ONE_WAY] }
    });
    world.submit(0, 2, vec![0; 50_000], Action::Read { key: KEY, address: 0 });
    world.run_for(Duration::from_millis(1));
    world.ends[1].withdraw(world.peers[1], 2);
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.result(2), Err(Failure::Refused(Refusal::BadQueuePair)));
    assert_eq!(world.ends[1].outstanding(world.peers[1]), 0);
}
