//! Messages between interfaces of one card, beside the same messages over a wire.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::world::{Host, KEY, World, gid, peer};
use crate::{
    Action, Config, Datagram, Endpoint, Event, Failure, Instant, PeerId, Refusal, Request, SubmitError,
};

/// Interfaces of one card, each the neighbour of all, itself among them.
struct Card {
    ends: Vec<Endpoint>,
    hosts: Vec<Host>,
    buffer: Vec<u8>,
    /// What became of messages, with the end.
    events: Vec<(usize, Event)>,
}

impl Card {
    fn new(count: u8, config: &Config) -> Self {
        Self::with(&vec![config.clone(); usize::from(count)])
    }

    fn with(configs: &[Config]) -> Self {
        let gids: Vec<_> = (0..configs.len()).map(end_gid).collect();
        let ends = configs
            .iter()
            .zip(&gids)
            .map(|(config, gid)| {
                let mut end = Endpoint::new(config.clone(), *gid, [1; 16]);
                for neighbour in &gids {
                    end.add_neighbour(*neighbour);
                }
                end
            })
            .collect();
        let hosts = configs.iter().map(|_| {
            let region = vec![0; REGION];
            Host {
                region,
                ..Host::default()
            }
        });
        Self {
            ends,
            hosts: hosts.collect(),
            buffer: vec![0; 70_000],
            events: Vec::new(),
        }
    }

    /// What `from` calls an interface.
    fn id(&mut self, from: usize, to: usize) -> PeerId {
        self.ends[from].add_neighbour(end_gid(to))
    }

    fn submit(&mut self, [from, to]: [usize; 2], token: u64, bytes: Vec<u8>, action: Action) {
        let request = request(&mut self.hosts[from], token, bytes, action);
        self.submit_request([from, to], request).unwrap();
    }

    fn submit_request(&mut self, [from, to]: [usize; 2], request: Request) -> Result<(), SubmitError> {
        let id = self.id(from, to);
        self.ends[from].submit(Instant::ZERO, id, request)
    }

    /// Carries one piece; whether there was one.
    fn carry(&mut self, from: usize) -> bool {
        let Some(piece) = self.ends[from].poll_direct(&mut self.hosts[from], &mut self.buffer) else {
            self.take_events();
            return false;
        };
        assert_eq!(piece.from(), end_gid(from));
        let to = (0..self.ends.len()).find(|to| end_gid(*to) == piece.to());
        let answer = match to {
            Some(to) => self.ends[to].handle_direct(piece, &mut self.hosts[to]),
            None => piece.unreachable(),
        };
        assert_eq!(answer.sender(), end_gid(from));
        self.ends[from].handle_answer(answer, &mut self.hosts[from]);
        self.take_events();
        true
    }

    fn take_events(&mut self) {
        for (number, end) in self.ends.iter_mut().enumerate() {
            self.events
                .extend(std::iter::from_fn(|| end.poll_event()).map(|event| (number, event)));
        }
    }

    /// Carries everything, and sees that no end has a datagram to send or anything to wait for [LOC-1].
    fn run(&mut self) {
        for from in 0..self.ends.len() {
            while self.carry(from) {}
        }
        let later = Instant::ZERO + Duration::from_secs(100);
        for (end, host) in self.ends.iter_mut().zip(&mut self.hosts) {
            assert_eq!(end.poll_timeout(), None);
            end.handle_timeout(later);
            assert_eq!(end.poll_transmit(later, host, &mut self.buffer, 64), None);
            assert_eq!((end.stats().sent, end.stats().sessions), (0, 0));
        }
    }

    /// What became of a message, which must have happened once.
    fn result(&self, token: u64) -> Result<(), Failure> {
        let of_token: Vec<_> = self
            .events
            .iter()
            .filter(|(_, event)| event.token == token)
            .collect();
        assert_eq!(of_token.len(), 1, "message {token}: {of_token:?}");
        of_token[0].1.result
    }
}

fn end_gid(end: usize) -> [u8; 16] {
    gid(u8::try_from(end).unwrap())
}

fn request(host: &mut Host, token: u64, bytes: Vec<u8>, action: Action) -> Request {
    let length = u32::try_from(bytes.len()).unwrap();
    host.payloads.insert(token, bytes);
    Request {
        token,
        source: 1,
        destination: 2,
        qkey: 3,
        length,
        payload: token,
        action,
    }
}

fn pattern(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (seed * 7 + at * 31 + at / 251).to_be_bytes()[7])
        .collect()
}

fn small() -> Config {
    Config {
        datagram: 1_000,
        ..Config::default()
    }
}

const SEND: Action = Action::Send { immediate: None };
const REGION: usize = 30_000;

const fn write(address: u64, immediate: Option<u32>) -> Action {
    Action::Write {
        key: KEY,
        address,
        immediate,
    }
}

const fn read(address: u64) -> Action {
    Action::Read { key: KEY, address }
}

#[test]
fn every_action_goes_from_queue_to_queue() {
    // [LOC-1] [LOC-3]
    let mut card = Card::new(2, &small());
    card.hosts[1].region[20_000..25_000].copy_from_slice(&pattern(5, 5_000));
    card.submit([0, 1], 1, b"hello".to_vec(), SEND);
    card.submit([0, 1], 2, Vec::new(), Action::Send { immediate: Some(9) });
    card.submit([0, 1], 3, pattern(3, 10_000), write(50, None));
    card.submit([0, 1], 4, pattern(4, 3_000), write(15_000, Some(77)));
    card.submit([0, 1], 5, vec![0; 5_000], read(20_000));
    card.submit([0, 1], 6, Vec::new(), write(0, Some(78)));
    card.submit([1, 0], 7, b"back".to_vec(), SEND);
    card.run();
    for token in 1..=7 {
        assert_eq!(card.result(token), Ok(()), "message {token}");
    }
    let host = &card.hosts[1];
    assert_eq!(host.inbox, [(b"hello".to_vec(), None), (Vec::new(), Some(9))]);
    assert_eq!(host.region[50..10_050], pattern(3, 10_000));
    assert_eq!(host.region[15_000..18_000], pattern(4, 3_000));
    assert_eq!(host.written, [(78, 0), (77, 3_000)]);
    assert_eq!(card.hosts[0].payloads[&5], pattern(5, 5_000));
    assert_eq!(card.hosts[0].inbox, [(b"back".to_vec(), None)]);
    assert_eq!(card.ends[0].stats().direct, 6);
    let id = card.id(0, 1);
    assert!(card.ends[0].is_neighbour(id) && !card.ends[0].is_connected(id));
}

#[test]
fn a_queue_pair_reaches_another_of_its_own_interface() {
    // [LOC-1]
    let mut card = Card::new(1, &small());
    card.submit([0, 0], 1, b"myself".to_vec(), SEND);
    card.submit([0, 0], 2, pattern(2, 2_500), write(0, Some(5)));
    card.run();
    card.submit([0, 0], 3, vec![0; 2_500], read(0));
    card.run();
    assert_eq!(
        (card.result(1), card.result(2), card.result(3)),
        (Ok(()), Ok(()), Ok(()))
    );
    assert_eq!(card.hosts[0].inbox, [(b"myself".to_vec(), None)]);
    assert_eq!(card.hosts[0].payloads[&3], pattern(2, 2_500));
}

#[test]
fn what_a_neighbour_refuses_fails_with_its_reason() {
    // [LOC-2] [REF-3]
    let mut card = Card::new(2, &small());
    card.hosts[1].refuse.insert(2, Refusal::ReceiverNotReady);
    card.submit([0, 1], 1, vec![1; 10], SEND);
    card.submit([0, 1], 2, pattern(2, 3_000), write(0, Some(1)));
    // Its third segment and those behind reach beyond the region.
    let begin = REGION - 2_000;
    card.submit([0, 1], 3, pattern(3, 5_000), write(begin as u64, None));
    card.submit([0, 1], 4, vec![0; 10], read(REGION as u64 - 5));
    let wrong = Action::Read {
        key: KEY + 1,
        address: 0,
    };
    card.submit([0, 1], 5, vec![0; 10], wrong);
    // The whole may be read, and then a part of it not.
    card.hosts[1].unreadable_from = Some(1_500);
    card.hosts[1].region[4_000..4_944].fill(8);
    card.submit([0, 1], 6, vec![9; 5_000], read(556));
    card.run();
    let refused = |refusal| Err(Failure::Refused(refusal));
    assert_eq!(card.result(1), refused(Refusal::ReceiverNotReady));
    assert_eq!(
        card.result(2),
        refused(Refusal::ReceiverNotReady),
        "the completion was refused"
    );
    assert_eq!(card.result(3), refused(Refusal::BadAddress));
    assert_eq!(card.result(4), refused(Refusal::BadAddress));
    assert_eq!(card.result(5), refused(Refusal::BadKey));
    assert_eq!(card.result(6), refused(Refusal::NotPermitted));
    let host = &card.hosts[1];
    assert!(host.inbox.is_empty() && host.written.is_empty());
    assert_eq!(
        host.region[..3_000],
        pattern(2, 3_000),
        "placed before it was refused"
    );
    assert_eq!(host.region[begin..begin + 1_864], pattern(3, 5_000)[..1_864]);
    assert_eq!(host.region[begin + 1_864..], [0; 136]);
    assert_eq!(card.hosts[0].payloads[&6][944..], [9; 4_056]);
    assert_eq!(
        (card.ends[1].stats().refused, card.ends[0].stats().direct),
        (6, 0)
    );
}

#[test]
fn memory_that_is_gone_withdraws_its_message_only() {
    // [LOC-2] [REF-4]
    let mut card = Card::new(2, &small());
    card.submit([0, 1], 1, vec![1; 10], SEND);
    card.hosts[0].payloads.remove(&1);
    card.submit([0, 1], 2, pattern(2, 3_000), write(0, Some(1)));
    card.hosts[0].gone.insert(2, 2_000);
    card.submit([0, 1], 3, vec![0; 3_000], read(20_000));
    card.hosts[0].gone.insert(3, 1_000);
    card.hosts[1].region[20_000..23_000].fill(6);
    card.submit([0, 1], 4, vec![4; 10], SEND);
    card.run();
    for token in 1..=3 {
        assert_eq!(card.result(token), Err(Failure::Withdrawn), "message {token}");
    }
    assert_eq!(card.result(4), Ok(()));
    let host = &card.hosts[1];
    assert_eq!(host.inbox, [(vec![4; 10], None)]);
    assert!(host.written.is_empty(), "a part of a write is no completion");
    assert_eq!(host.region[..1_864], pattern(2, 3_000)[..1_864]);
    assert_eq!(host.region[1_864..3_000], [0; 1_136]);
    let placed = &card.hosts[0].payloads[&3];
    assert!(placed[..944] == [6; 944] && placed[944..] == [0; 2_056]);
}

#[test]
fn what_cannot_be_sent_is_not_accepted() {
    // [LOC-2] [LOC-4] [PKT-7]
    let config = Config {
        messages: 2,
        ..Config::default()
    };
    let mut card = Card::new(2, &config);
    let id = card.id(0, 1);
    let submit = |card: &mut Card, length: u32, action| {
        let request = Request {
            length,
            ..request(&mut card.hosts[0], 1, Vec::new(), action)
        };
        card.submit_request([0, 1], request)
    };
    let too_long = |length, limit| Err(SubmitError::TooLong { length, limit });
    assert_eq!(submit(&mut card, 8_929, SEND), too_long(8_929, 8_928));
    let most = 1 << 30;
    assert_eq!(
        submit(&mut card, most + 1, write(0, None)),
        too_long(most + 1, most)
    );
    assert_eq!(submit(&mut card, 0, read(0)), Err(SubmitError::EmptyRead));
    assert_eq!(submit(&mut card, 0, SEND), Ok(()));
    assert_eq!(submit(&mut card, 0, SEND), Ok(()));
    assert_eq!(submit(&mut card, 0, SEND), Err(SubmitError::Full));
    // The one that is under way counts.
    let mut buffer = vec![0; 8_972];
    let piece = card.ends[0].poll_direct(&mut card.hosts[0], &mut buffer).unwrap();
    assert_eq!(submit(&mut card, 0, SEND), Err(SubmitError::Full));
    let answer = card.ends[1].handle_direct(piece, &mut card.hosts[1]);
    card.ends[0].handle_answer(answer, &mut card.hosts[0]);
    assert_eq!(submit(&mut card, 0, SEND), Ok(()));
    card.ends[0].remove_peer(id);
    let request = request(&mut card.hosts[0], 2, Vec::new(), SEND);
    let gone = card.ends[0].submit(Instant::ZERO, id, request);
    assert_eq!(gone, Err(SubmitError::NoPeer));
}

#[test]
fn a_neighbour_with_smaller_datagrams_refuses_what_is_longer() {
    // [LOC-2] [PKT-7]
    let mut card = Card::with(&[Config::default(), small()]);
    card.submit([0, 1], 1, vec![1; 957], SEND);
    card.submit([0, 1], 2, vec![1; 956], SEND);
    card.submit([0, 1], 3, pattern(3, 20_000), write(0, None));
    card.run();
    assert_eq!(card.result(1), Err(Failure::Refused(Refusal::TooLong)));
    assert_eq!((card.result(2), card.result(3)), (Ok(()), Ok(())));
    assert_eq!(card.hosts[1].inbox.len(), 1);
    assert_eq!(card.hosts[1].region[..20_000], pattern(3, 20_000));
}

#[test]
fn nothing_is_handed_out_into_a_buffer_that_is_too_small() {
    let mut card = Card::new(2, &small());
    card.submit([0, 1], 1, vec![1; 10], SEND);
    let mut buffer = [0; 1_000];
    assert!(
        card.ends[0]
            .poll_direct(&mut card.hosts[0], &mut buffer[1..])
            .is_none()
    );
    assert!(
        card.ends[0]
            .poll_direct(&mut card.hosts[0], &mut buffer)
            .is_some()
    );
}

#[test]
fn an_interface_that_is_no_neighbour_is_unreachable() {
    // [LOC-3]
    let mut card = Card::new(2, &small());
    let of_first = card.id(1, 0);
    // The second interface is not given the first one any more: nothing of it is taken, as nothing of a peer without a key.
    card.ends[1].remove_peer(of_first);
    card.submit([0, 1], 1, vec![1; 10], SEND);
    while card.carry(0) {}
    assert_eq!(card.result(1), Err(Failure::Unreachable));
    // A peer that is reached over the network is none either.
    card.ends[1].add_peer(peer(0));
    card.submit([0, 1], 2, vec![1; 10], write(0, None));
    while card.carry(0) {}
    assert_eq!(card.result(2), Err(Failure::Unreachable));
    // There is no such interface.
    card.submit([0, 7], 3, vec![1; 10], SEND);
    while card.carry(0) {}
    assert_eq!(card.result(3), Err(Failure::Unreachable));
    // The caller takes it to another one than it names.
    card.submit([0, 1], 4, vec![1; 10], SEND);
    let piece = card.ends[0]
        .poll_direct(&mut card.hosts[0], &mut card.buffer)
        .unwrap();
    let answer = card.ends[0].handle_direct(piece, &mut card.hosts[1]);
    card.ends[0].handle_answer(answer, &mut card.hosts[0]);
    card.take_events();
    assert_eq!(card.result(4), Err(Failure::Unreachable));
    assert!(card.hosts[1].inbox.is_empty() && card.hosts[1].region == [0; REGION]);
    let counted = |end: usize| card.ends[end].stats().no_context;
    assert_eq!([counted(0), counted(1)], [1, 2]);
}

#[test]
fn a_network_cannot_speak_for_a_neighbour() {
    // [LOC-1] [PKT-5]
    let mut card = Card::new(2, &small());
    let mut wire = World::new(&small());
    wire.send(1, 1, vec![1; 10]);
    wire.send(0, 2, vec![1; 10]);
    wire.run_for(Duration::from_millis(50));
    assert_eq!((wire.result(1), wire.result(2)), (Ok(()), Ok(())));
    // HELLO with the right GIDs, and DATA and ACK for the same contexts.
    let kinds: Vec<_> = wire.recorded.iter().map(|flying| flying.bytes[0] & 15).collect();
    assert!([1, 2, 3].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    for flying in &wire.recorded {
        let datagram = Datagram {
            bytes: &flying.bytes,
            marked: false,
        };
        card.ends[flying.to].handle_datagram(wire.now, datagram, &mut card.hosts[flying.to]);
    }
    card.run();
    let dropped: u64 = card.ends.iter().map(|end| end.stats().no_context).sum();
    assert_eq!(dropped, wire.recorded.len() as u64);
    assert!(card.hosts.iter().all(|host| host.inbox.is_empty()));
}

#[test]
fn a_queue_pair_takes_its_messages_back() {
    // [LOC-4] [REF-4]
    let mut card = Card::new(2, &small());
    let id = card.id(0, 1);
    for token in 1..=4 {
        let mut request = request(&mut card.hosts[0], token, pattern(1, 2_000), write(0, Some(1)));
        request.source = if token == 4 { 8 } else { 7 };
        card.submit_request([0, 1], request).unwrap();
    }
    let piece = card.ends[0]
        .poll_direct(&mut card.hosts[0], &mut card.buffer)
        .unwrap();
    card.ends[0].withdraw(id, 7);
    let answer = card.ends[1].handle_direct(piece, &mut card.hosts[1]);
    card.ends[0].handle_answer(answer, &mut card.hosts[0]);
    card.run();
    for token in 1..=3 {
        assert_eq!(card.result(token), Err(Failure::Withdrawn), "message {token}");
    }
    assert_eq!(card.result(4), Ok(()));
    assert_eq!(card.hosts[1].written, [(1, 2_000)]);
}

#[test]
fn the_messages_to_a_neighbour_that_is_removed_fail() {
    // [LOC-4]
    let mut card = Card::new(3, &small());
    let id = card.id(0, 1);
    card.submit([0, 1], 1, pattern(1, 2_000), write(0, Some(1)));
    card.submit([0, 1], 2, vec![2; 10], SEND);
    card.submit([0, 2], 3, vec![3; 10], SEND);
    assert!(card.carry(0), "a part of the first");
    card.ends[0].remove_peer(id);
    assert!(!card.ends[0].is_neighbour(id));
    card.run();
    assert_eq!(card.result(1), Err(Failure::KeyWithdrawn));
    assert_eq!(card.result(2), Err(Failure::KeyWithdrawn));
    assert_eq!(card.result(3), Ok(()));
    assert_ne!(card.id(0, 1), id, "an index is not used again");
    card.submit([0, 1], 4, vec![4; 10], SEND);
    card.run();
    assert_eq!(card.result(4), Ok(()));
}

#[test]
fn a_peer_becomes_a_neighbour_and_a_peer_again() {
    // [LOC-1]: an interface moves to this card, and away.
    let mut world = World::new(&small());
    world.send(0, 1, vec![1; 10]);
    world.run_for(Duration::from_millis(5));
    assert_eq!(world.result(1), Ok(()));
    world.send(0, 2, vec![1; 10]);
    let far = world.peers[0];
    let near = world.ends[0].add_neighbour(gid(1));
    world.run_for(Duration::from_millis(5));
    assert_eq!(world.result(2), Err(Failure::KeyWithdrawn));
    assert!(near != far && world.ends[0].is_neighbour(near) && !world.ends[0].is_connected(far));
    world.peers[0] = near;
    let sent = world.recorded.len();
    world.send(0, 3, vec![1; 10]);
    world.run_for(Duration::from_secs(5));
    let from_first = |flying: &&super::world::Flying| flying.to == 1;
    assert_eq!(world.recorded[sent..].iter().filter(from_first).count(), 0);
    world.peers[0] = world.ends[0].add_peer(peer(1));
    assert!(!world.ends[0].is_neighbour(near));
    world.send(0, 4, vec![4; 10]);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.result(3), Err(Failure::KeyWithdrawn), "nobody carried it");
    assert_eq!(world.result(4), Ok(()));
}

#[test]
fn a_piece_that_does_not_come_back_is_not_handed_out_again() {
    // [LOC-3]: nobody knows whether it was delivered.
    let mut card = Card::new(2, &small());
    card.submit([0, 1], 1, vec![1; 10], SEND);
    card.submit([0, 1], 2, vec![2; 10], SEND);
    card.submit([0, 1], 3, vec![3; 10], SEND);
    let piece = card.ends[0]
        .poll_direct(&mut card.hosts[0], &mut card.buffer)
        .unwrap();
    let lost = card.ends[1].handle_direct(piece, &mut card.hosts[1]);
    drop(lost);
    // The answer to the next one comes after the one behind it went.
    let (mut second, mut third) = ([0; 1_000], [0; 1_000]);
    let piece = card.ends[0].poll_direct(&mut card.hosts[0], &mut second).unwrap();
    let late = card.ends[1].handle_direct(piece, &mut card.hosts[1]);
    let piece = card.ends[0].poll_direct(&mut card.hosts[0], &mut third).unwrap();
    card.ends[0].handle_answer(late, &mut card.hosts[0]);
    let answer = card.ends[1].handle_direct(piece, &mut card.hosts[1]);
    // An answer that is taken to another interface has no effect there.
    card.ends[0].handle_answer(answer, &mut card.hosts[0]);
    card.run();
    let results = [card.result(1), card.result(2), card.result(3)];
    assert_eq!(
        results,
        [Err(Failure::Withdrawn), Err(Failure::Withdrawn), Ok(())]
    );
    assert_eq!(card.hosts[1].inbox.len(), 3, "each once");
    assert_eq!(card.ends[0].stats().direct, 1);
}

#[test]
fn messages_and_neighbours_take_turns() {
    // [LOC-4]
    let mut card = Card::new(3, &small());
    card.submit([0, 1], 1, pattern(1, 20_000), write(0, None));
    for token in 2..=11 {
        card.submit([0, 1], token, vec![1; 10], SEND);
    }
    card.submit([0, 2], 12, vec![1; 10], SEND);
    card.submit([0, 2], 13, pattern(1, 20_000), write(0, None));
    let mut pieces = 0_u32;
    let mut order = Vec::new();
    while card.carry(0) {
        pieces += 1;
        order.extend(card.events.drain(..).map(|(_, event)| (event.token, pieces)));
    }
    let after = |token| order.iter().find(|(of, _)| *of == token).unwrap().1;
    assert_eq!(after(12), 2, "the second neighbour's turn is the second");
    assert_eq!(
        (after(2), after(11)),
        (3, 21),
        "the long message goes on behind the others"
    );
    // 22 segments each, and neither waits for the other to end.
    assert!(after(1).abs_diff(after(13)) < 25 && pieces == 55, "{order:?}");
}

/// A message of the property, and what its ends do with it.
#[derive(Clone, Debug)]
struct Case {
    from: usize,
    kind: u8,
    length: usize,
    immediate: Option<u32>,
    wrong_key: bool,
    /// Whether it is for the queue pair that refuses.
    refused: bool,
    /// Where its memory at the sender is gone.
    gone: Option<u32>,
}

fn case() -> impl Strategy<Value = Case> {
    (
        0..2_usize,
        0..3_u8,
        prop_oneof![Just(0), 1..300_usize, 0..STRIDE],
        prop::option::of(any::<u32>()),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.2, 0..5_000_u32),
    )
        .prop_map(|(from, kind, length, immediate, wrong_key, refused, gone)| Case {
            from,
            kind,
            length,
            immediate,
            wrong_key,
            refused,
            gone,
        })
}

impl Case {
    /// The request, with its own part of the region.
    fn request(&self, number: usize, host: &mut Host) -> Request {
        let token = number as u64;
        let key = if self.wrong_key { KEY + 1 } else { KEY };
        let address = (number * STRIDE) as u64;
        let immediate = self.immediate;
        let action = match self.kind {
            0 => Action::Send { immediate },
            1 => Action::Write {
                key,
                address,
                immediate,
            },
            _ => Action::Read { key, address },
        };
        if let Some(from) = self.gone {
            host.gone.insert(token, from);
        }
        let mut request = request(host, token, pattern(token, self.length), action);
        request.destination = if self.refused { 66 } else { 2 };
        request
    }
}

/// What the ends were before and what they came to.
fn prepare(host: &mut Host, end: usize, refusal: Refusal, unreadable_from: Option<u64>) {
    host.region = pattern(90 + end as u64, REGION);
    host.refuse.insert(66, refusal);
    host.unreadable_from = unreadable_from;
}

/// What an interface got, in an order that does not depend on the way.
fn got(host: &mut Host) -> impl PartialEq + std::fmt::Debug + use<> {
    host.inbox.sort();
    host.written.sort_unstable();
    let payloads: BTreeMap<_, _> = host.payloads.clone().into_iter().collect();
    (
        host.inbox.clone(),
        host.written.clone(),
        host.region.clone(),
        payloads,
    )
}

fn results(events: &[(usize, Event)]) -> BTreeMap<(usize, u64), Vec<Result<(), Failure>>> {
    let mut results: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (end, event) in events {
        results.entry((*end, event.token)).or_default().push(event.result);
    }
    results
}

proptest! {
    // [LOC-2]
    #[test]
    fn a_neighbour_is_as_a_peer_on_a_wire_that_loses_nothing(
        cases in prop::collection::vec(case(), 1..9),
        datagram in 256..1_500_usize,
        messages in 2..9_usize,
        refusal in (1..=10_u8).prop_map(Refusal::from_code),
        unreadable_from in prop::option::of(0..REGION as u64),
    ) {
        let config = Config { datagram, messages, ..Config::default() };
        let mut card = Card::new(2, &config);
        let mut wire = World::new(&config);
        for end in 0..2 {
            prepare(&mut card.hosts[end], end, refusal, unreadable_from);
            prepare(&mut wire.hosts[end], end, refusal, unreadable_from);
        }
        for (number, case) in cases.iter().enumerate() {
            let from = case.from;
            let request = case.request(number, &mut card.hosts[from]);
            let direct = card.submit_request([from, 1 - from], request);
            let request = case.request(number, &mut wire.hosts[from]);
            prop_assert_eq!(direct, wire.ends[from].submit(wire.now, wire.peers[from], request));
        }
        card.run();
        wire.run_for(Duration::from_millis(100));
        let (direct, mut peers) = (results(&card.events), results(&wire.events));
        for (of, result) in &mut peers {
            // A sender is some segments ahead of a refusal, and finds that its memory ends before it learns that the peer would not have had the rest.
            let case = &cases[usize::try_from(of.1).unwrap()];
            let ahead = case.kind == 1 && case.gone.is_some() && *result == [Err(Failure::Withdrawn)];
            if ahead && matches!(direct.get(of).map(Vec::as_slice), Some([Err(Failure::Refused(_))])) {
                result.clone_from(&direct[of]);
            }
        }
        prop_assert_eq!(direct, peers);
        for (direct, peer) in card.hosts.iter_mut().zip(&mut wire.hosts) {
            prop_assert_eq!(got(direct), got(peer));
        }
    }
}

/// Bytes of the region between the beginnings of two messages' parts; those of the last ones are beyond its end.
const STRIDE: usize = 5_000;
