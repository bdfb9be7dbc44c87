//! Datagrams that no honest peer sends.

use std::time::Duration;

use super::world::{Flying, ONE_WAY, World};
use crate::random::Random;
use crate::{Config, Datagram};

/// A world with a session and some traffic behind it.
fn busy() -> World {
    let mut world = World::with_regions(
        &Config {
            datagram: 1_000,
            window: 64,
            ..Config::default()
        },
        10_000,
    );
    world.rough(2);
    for token in 0..100 {
        world.send(0, token, vec![7; 300]);
        world.send(1, 1_000 + token, vec![8; 300]);
    }
    world.run_for(Duration::from_millis(100));
    assert_eq!(
        (world.hosts[0].inbox.len(), world.hosts[1].inbox.len()),
        (100, 100)
    );
    world
}

#[test]
fn what_was_recorded_changes_nothing_when_it_is_sent_again() {
    // [SEC-6] [REL-3] [REL-10] [SES-3]
    let mut world = busy();
    let recorded = world.recorded.clone();
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    for round in 0..3 {
        for flying in recorded.iter().rev().skip(round) {
            world.fly(flying.clone());
        }
        world.run_for(Duration::from_millis(10));
    }
    assert_eq!(
        (world.hosts[0].inbox.len(), world.hosts[1].inbox.len()),
        (100, 100)
    );
    for end in &world.ends {
        assert_eq!(end.stats().sessions, 1);
    }
    world.send(0, 5_000, vec![1]);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.result(5_000), Ok(()));
}

#[test]
fn what_was_recorded_in_a_session_is_worth_nothing_in_the_next() {
    // [SEC-5] [SEC-3]
    let mut world = busy();
    let recorded = world.recorded.clone();
    // Silence ends the session, and messages begin another.
    world.fate = Box::new(|_, _, _| Vec::new());
    world.send(0, 5_000, vec![1]);
    world.send(1, 5_001, vec![1]);
    world.run_for(Duration::from_secs(4));
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    world.send(0, 5_002, vec![1]);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.result(5_002), Ok(()));
    let before: Vec<_> = world.hosts.iter().map(|host| host.inbox.len()).collect();
    for flying in recorded {
        world.fly(flying);
    }
    world.run_for(Duration::from_millis(100));
    assert_eq!(
        world
            .hosts
            .iter()
            .map(|host| host.inbox.len())
            .collect::<Vec<_>>(),
        before
    );
    assert_eq!(world.ends.each_ref().map(|end| end.stats().sessions), [2, 2]);
    world.send(0, 5_003, vec![1]);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.result(5_003), Ok(()));
}

#[test]
fn a_bit_changed_anywhere_in_a_header_makes_it_nobodys() {
    // [SEC-1] [SEC-3] [PKT-5] [SEC-8]
    let mut world = busy();
    let before = world.recorded.len();
    world.fate = Box::new(|_, _, _| Vec::new());
    world.send(0, 5_000, vec![1; 50]);
    world.run_for(Duration::from_micros(1));
    let original = world.recorded[before].clone();
    assert_eq!((original.to, original.bytes.len()), (1, 94));
    let sent = world.ends[1].stats().sent;
    for bit in 0..44 * 8 {
        let mut bytes = original.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        world.ends[1].handle_datagram(
            world.now,
            Datagram {
                bytes: &bytes,
                marked: false,
            },
            &mut world.hosts[1],
        );
    }
    assert_eq!(world.hosts[1].inbox.len(), 100);
    world.run_for(Duration::from_millis(1));
    assert_eq!(world.ends[1].stats().sent, sent, "nothing is answered");
    let stats = *world.ends[1].stats();
    let dropped = stats.bad_length
        + stats.bad_version
        + stats.unknown
        + stats.no_context
        + stats.bad_tag
        + stats.bad_cover;
    assert!(dropped >= 44 * 8, "{stats:?}");
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    world.fly(original);
    world.run_for(Duration::from_millis(1));
    assert_eq!(
        world.hosts[1].inbox.len(),
        101,
        "the one that was not changed is taken"
    );
}

#[test]
fn any_bytes_are_survived() {
    // [PKT-5] [REL-11]
    let mut world = busy();
    let recorded = world.recorded.clone();
    let mut random = Random::new(3);
    for round in 0..20_000 {
        let Flying { to, mut bytes, .. } = recorded[random.below(recorded.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.next().to_be_bytes()[0];
        }
        if round % 5 == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        world.ends[to].handle_datagram(
            world.now,
            Datagram {
                bytes: &bytes,
                marked: false,
            },
            &mut world.hosts[to],
        );
    }
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    world.send(0, 5_000, vec![1; 50]);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.result(5_000), Ok(()));
}
