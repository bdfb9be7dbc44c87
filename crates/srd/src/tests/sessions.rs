//! How sessions begin and end.

use std::time::Duration;

use super::world::{Flying, KEY, ONE_WAY, World, gid, peer};
use crate::{Action, Config, Endpoint, Failure, PairKey};

const SECOND: Duration = Duration::from_secs(1);

/// A peer that begins anew: what it knew is gone.
fn restart(world: &mut World, end: usize) {
    let other = u8::try_from(1 - end).unwrap();
    let mut entropy = [0; 16];
    entropy[..8].copy_from_slice(&world.random.next().to_be_bytes());
    let mut fresh = Endpoint::new(Config::default(), gid(1 - other), entropy);
    world.peers[end] = fresh.add_peer(peer(other));
    world.ends[end] = fresh;
}

#[test]
fn both_call_at_the_same_time() {
    // [SES-1] [SES-3] [SES-4]
    let mut world = World::new(&Config::default());
    world.send(0, 1, vec![1]);
    world.send(1, 2, vec![2]);
    world.run_for(SECOND / 2);
    assert_eq!((world.result(1), world.result(2)), (Ok(()), Ok(())));
    for end in &world.ends {
        assert_eq!(end.stats().sessions, 1);
        assert!(
            end.stats().sent < 12,
            "HELLOs do not answer each other for ever: {}",
            end.stats().sent
        );
    }
}

#[test]
fn a_session_comes_about_although_half_of_the_hellos_are_lost() {
    // [SES-2] [SES-5]
    let mut world = World::new(&Config::default());
    let mut first = true;
    world.fate = Box::new(move |_, _, random| {
        let lost = std::mem::take(&mut first) || random.next() % 2 == 0;
        if lost { Vec::new() } else { vec![ONE_WAY] }
    });
    world.send(0, 1, vec![1]);
    world.run_for(SECOND);
    assert_eq!(world.result(1), Ok(()));
    let hello: Vec<_> = world
        .recorded
        .iter()
        .filter(|flying| flying.bytes[0] & 15 == 1 && flying.to == 1)
        .collect();
    assert_ne!(hello[0].path, hello[1].path, "another path each time");
}

#[test]
fn nobody_there_fails_after_the_connect_limit() {
    // [SES-2]
    let mut world = World::new(&Config::default());
    world.fate = Box::new(|_, _, _| Vec::new());
    world.send(0, 1, vec![1]);
    world.run_for(SECOND - Duration::from_millis(10));
    assert!(world.events.is_empty());
    world.run_for(Duration::from_millis(400));
    assert_eq!(world.result(1), Err(Failure::Unreachable));
    // 1 + 2 + ... + 128 ms, then every 256 ms.
    assert!(
        (10..=13).contains(&world.recorded.len()),
        "{}",
        world.recorded.len()
    );
    assert!(world.ends[0].poll_timeout().is_none(), "nothing is left to do");
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    world.send(0, 2, vec![1]);
    world.run_for(SECOND);
    assert_eq!(world.result(2), Ok(()), "later messages call again");
}

#[test]
fn a_peer_that_falls_silent_is_given_up() {
    // [REL-9] [SES-7]
    let mut world = World::new(&Config::default());
    world.send(0, 1, vec![1]);
    world.run_for(SECOND);
    world.fate = Box::new(|_, _, _| Vec::new());
    let before = world.recorded.len();
    for token in 2..500 {
        world.send(0, token, vec![1; 5_000]);
    }
    world.run_for(SECOND * 3);
    assert!((2..500).all(|token| world.result(token) == Err(Failure::Unresponsive)));
    assert!(!world.ends[0].is_connected(world.peers[0]));
    let sent = world.recorded.len() - before;
    assert!(sent < 200, "single packets, and fewer and fewer of them: {sent}");
}

#[test]
fn a_short_silence_costs_nothing_but_time() {
    // [REL-9] [PTH-6]
    let mut world = World::new(&Config::default());
    world.send(0, 1, vec![1]);
    world.run_for(SECOND);
    let mend = world.now + SECOND;
    world.fate = Box::new(move |_: &Flying, now, _| if now < mend { Vec::new() } else { vec![ONE_WAY] });
    for token in 2..500 {
        world.send(0, token, vec![1; 5_000]);
    }
    world.run_for(SECOND + SECOND / 2);
    assert!((2..500).all(|token| world.result(token) == Ok(())));
    assert_eq!(world.ends[0].stats().sessions, 1);
}

#[test]
fn a_peer_that_begins_anew_ends_the_session() {
    // [SES-7] [SES-1] [SEC-5]
    let mut world = World::new(&Config::default());
    world.send(0, 1, vec![1]);
    world.run_for(SECOND);
    restart(&mut world, 1);
    // The one that was restarted has something to send.
    world.send(1, 2, vec![2]);
    world.run_for(SECOND / 10);
    assert_eq!(world.result(2), Ok(()));
    world.send(0, 3, vec![3]);
    world.run_for(SECOND / 10);
    assert_eq!(world.result(3), Ok(()));

    // The one that was not has something outstanding, and learns it from the answer to its HELLO.
    restart(&mut world, 1);
    world.send(0, 4, vec![4]);
    world.run_for(SECOND / 10);
    assert_eq!(world.result(4), Err(Failure::PeerRestarted));
    world.send(0, 5, vec![5]);
    world.run_for(SECOND / 10);
    assert_eq!(world.result(5), Ok(()));
    assert_eq!(
        world.hosts[1]
            .inbox
            .iter()
            .filter(|(bytes, _)| *bytes == [4])
            .count(),
        0
    );
}

#[test]
fn a_recorded_session_does_not_come_again_when_the_peer_has_begun_anew() {
    // [SEC-5] [SES-4]: end 0 keeps its incarnation, so HELLOs of the session before name the present one.
    let mut world = World::new(&Config::default());
    world.send(1, 1, vec![1]);
    world.run_for(SECOND / 10);
    assert_eq!(world.result(1), Ok(()));
    let recorded: Vec<_> = world
        .recorded
        .iter()
        .filter(|flying| flying.to == 0)
        .cloned()
        .collect();
    restart(&mut world, 1);
    world.send(1, 2, vec![2]);
    world.run_for(SECOND / 10);
    assert_eq!(world.result(2), Ok(()));
    let delivered = world.hosts[0].inbox.len();
    for _ in 0..2 {
        for flying in &recorded {
            world.fly(flying.clone());
        }
        world.run_for(SECOND / 10);
    }
    assert_eq!(
        world.hosts[0].inbox.len(),
        delivered,
        "nothing is delivered again"
    );
    assert_eq!(world.ends[0].stats().sessions, 2);
    world.send(1, 3, vec![3]);
    world.run_for(SECOND / 10);
    assert_eq!(world.result(3), Ok(()));
    for token in 10..90 {
        restart(&mut world, 1);
        world.send(1, token, vec![3]);
        world.run_for(SECOND);
        assert_eq!(world.result(token), Ok(()), "message {token}");
    }
}

#[test]
fn the_smaller_datagram_and_the_peers_window_hold() {
    // [SES-6] [REL-2]
    let mut world = World::with(
        &Config::default(),
        &Config {
            datagram: 600,
            window: 16,
            ..Config::default()
        },
    );
    world.send(0, 1, vec![1; 600]);
    world.send(0, 2, vec![1; 556]);
    world.run_for(SECOND / 10);
    assert!(matches!(
        world.result(1),
        Err(Failure::Refused(crate::Refusal::TooLong))
    ));
    assert_eq!(world.result(2), Ok(()));
    for token in 10..500 {
        world.send(0, token, vec![1; 500]);
    }
    let mut most = 0;
    for _ in 0..2_000 {
        world.run_for(Duration::from_micros(1));
        most = most.max(world.ends[0].outstanding(world.peers[0]));
    }
    assert_eq!(most, 16);
    assert!(world.recorded.iter().all(|flying| flying.bytes.len() <= 600));
    assert_eq!(world.ends[1].stats().beyond_window, 0);
}

#[test]
fn keys_are_replaced_under_way_and_withdrawn() {
    // [SEC-9]
    let mut world = World::new(&Config {
        datagram: 1_000,
        ..Config::default()
    });
    world.rough(5);
    for token in 0..500 {
        world.send(0, token, vec![1; 900]);
    }
    world.run_for(Duration::from_micros(100));
    let key = PairKey::new([77; 16]);
    world.ends[1].set_key(world.peers[1], key.clone(), 2);
    world.run_for(Duration::from_micros(50));
    world.ends[0].set_key(world.peers[0], key, 2);
    for token in 500..1_000 {
        world.send(0, token, vec![1; 900]);
    }
    world.run_for(SECOND);
    assert!((0..1_000).all(|token| world.result(token) == Ok(())));
    assert_eq!(world.hosts[1].inbox.len(), 1_000);
    let last = world.recorded.iter().rfind(|flying| flying.to == 1).unwrap();
    assert_eq!(last.bytes[18..20], [0, 2]);

    world.send(0, 2_000, vec![1]);
    world.ends[0].remove_peer(world.peers[0]);
    world.run_for(SECOND);
    assert_eq!(world.result(2_000), Err(Failure::KeyWithdrawn));
}

#[test]
fn another_key_reaches_nobody() {
    // [SEC-1]
    let mut world = World::new(&Config::default());
    world.ends[1].set_key(world.peers[1], PairKey::new([1; 16]), 1);
    world.send(0, 1, vec![1]);
    world.run_for(SECOND * 2);
    assert_eq!(world.result(1), Err(Failure::Unreachable));
    assert_eq!(world.ends[1].stats().sent, 0, "nothing is answered");
    assert!(world.ends[1].stats().bad_tag > 5);
}

#[test]
fn payloads_are_covered_if_both_want_it() {
    // [SEC-7]
    let covering = Config {
        cover_payload: true,
        ..Config::default()
    };
    for (second, covered) in [(&covering, true), (&Config::default(), false)] {
        let mut world = World::with(&covering, second);
        world.send(0, 1, vec![1; 100]);
        world.run_for(SECOND / 10);
        assert_eq!(world.result(1), Ok(()));
        let data = world
            .recorded
            .iter()
            .find(|flying| flying.bytes[0] & 15 == 2)
            .unwrap();
        assert_eq!(data.bytes[1] & 4 != 0, covered);
        // A payload that was changed on its way.
        world.fate = Box::new(|_, _, _| Vec::new());
        world.send(0, 2, vec![1; 100]);
        world.run_for(Duration::from_micros(1));
        let mut changed = world
            .recorded
            .iter()
            .rfind(|flying| flying.to == 1)
            .unwrap()
            .clone();
        *changed.bytes.last_mut().unwrap() ^= 1;
        world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
        world.fly(changed);
        world.run_for(SECOND / 10);
        let delivered = &world.hosts[1].inbox[1].0;
        assert_eq!(
            *delivered == vec![1; 100],
            covered,
            "without the cover only the UDP checksum protects it"
        );
        assert_eq!(world.ends[1].stats().bad_tag, u64::from(covered));
    }
}

#[test]
fn a_recorded_hello_begins_no_session_again() {
    // [SES-4, SES-1, SEC-5]
    let mut world = World::new(&Config::default());
    world.send(0, 1, vec![1]);
    world.run_for(SECOND / 10);
    // One end is given up, draws another incarnation, and comes back; the other one keeps its own until then.
    world.fate = Box::new(|_, _, _| Vec::new());
    world.send(0, 2, vec![2]);
    world.run_for(SECOND * 3);
    world.fate = Box::new(|_, _, _| vec![ONE_WAY]);
    let recorded = world.recorded.clone();
    world.send(0, 3, vec![3]);
    world.run_for(SECOND / 10);
    let anew = world.recorded[recorded.len()..].to_vec();
    assert_eq!(world.result(3), Ok(()));
    // Neither what was said before nor what was said since changes anything.
    for flying in recorded.into_iter().chain(anew) {
        world.fly(flying);
        world.run_for(Duration::from_millis(1));
    }
    world.send(1, 4, vec![4]);
    world.send(0, 5, vec![5]);
    world.run_for(SECOND / 10);
    assert_eq!((world.result(4), world.result(5)), (Ok(()), Ok(())));
    for end in &world.ends {
        assert_eq!(end.stats().sessions, 2);
    }
    let inbox: Vec<_> = world.hosts[1].inbox.iter().map(|(bytes, _)| bytes[0]).collect();
    assert_eq!(inbox, [1, 3, 5]);
}

#[test]
fn a_reader_notices_that_the_peer_forgot_its_read() {
    // [REL-12]
    let read = Action::Read { key: KEY, address: 0 };
    for (forgets, expected) in [(true, Failure::PeerRestarted), (false, Failure::Unresponsive)] {
        let mut world = World::with_regions(&Config::default(), 100_000);
        world.send(0, 1, vec![1]);
        world.run_for(SECOND / 10);
        // The request arrives and is acknowledged; no byte of the response does.
        world.fate = Box::new(|flying, _, _| {
            let response = flying.to == 0 && flying.bytes[0] & 15 == 2;
            if response { Vec::new() } else { vec![ONE_WAY] }
        });
        world.submit(0, 2, vec![0; 50_000], read);
        world.run_for(Duration::from_millis(1));
        assert_eq!(world.ends[0].outstanding(world.peers[0]), 0);
        if forgets {
            restart(&mut world, 1);
        } else {
            world.fate = Box::new(|_, _, _| Vec::new());
        }
        let before = world.recorded.len();
        world.run_for(SECOND);
        world.run_for(SECOND * 2);
        assert_eq!(world.result(2), Err(expected));
        let asked = world.recorded[before..]
            .iter()
            .filter(|flying| flying.to == 1)
            .count();
        assert!((1..12).contains(&asked), "{asked}");
    }
}

#[test]
fn a_slow_reader_is_left_in_peace() {
    // [REL-12]
    let mut world = World::with_regions(&Config::default(), 100_000);
    world.send(0, 1, vec![1]);
    world.run_for(SECOND / 10);
    let mend = world.now + SECOND * 3 / 2;
    world.fate = Box::new(move |flying, now, _| {
        let response = flying.to == 0 && flying.bytes[0] & 15 == 2;
        if response && now < mend {
            Vec::new()
        } else {
            vec![ONE_WAY]
        }
    });
    world.submit(0, 2, vec![0; 50_000], Action::Read { key: KEY, address: 0 });
    world.run_for(SECOND * 2);
    assert_eq!(world.result(2), Ok(()));
}
