//! A sender under a controller that lets it have almost nothing in flight.

use std::collections::HashMap;
use std::time::Duration;

use super::world::{Host, gid, peer};
use crate::congestion::{Controller, Sample, Setup};
use crate::wire::{Body, Packet};
use crate::{Action, Config, Datagram, Endpoint, Instant, Request};

/// A window of a thousandth of a packet, whatever happens.
#[derive(Debug)]
struct Tiny(u64);

impl Controller for Tiny {
    fn new(setup: Setup) -> Self {
        Self(setup.packet / 1_000)
    }

    fn window(&self) -> u64 {
        self.0
    }

    fn echo(&mut self, _: Instant, _: Sample) {}

    fn acknowledged(&mut self, _: Instant, _: u64, _: u64) {}

    fn lost(&mut self, _: Instant, _: u64, _: bool) {}
}

#[test]
fn who_waits_for_itself_does_not_take_the_peer_for_silent() {
    // [CC-4]
    let config = Config::default();
    let mut ends = [0, 1].map(|end| Endpoint::<Tiny>::new(config.clone(), gid(end), [end; 16]));
    let mut hosts = [Host::default(), Host::default()];
    let peers = [ends[0].add_peer(peer(1)), ends[1].add_peer(peer(0))];
    let mut now = Instant::from_nanos(1_000_000);
    hosts[0].payloads = HashMap::from([(0, vec![1; 100]), (1, vec![2; 100]), (2, vec![3; 100])]);
    for payload in 0..3 {
        let request = Request {
            token: payload,
            source: 1,
            destination: 2,
            qkey: 3,
            length: 100,
            payload,
            action: Action::Send { immediate: None },
        };
        ends[0].submit(now, peers[0], request).unwrap();
    }
    // A round trip of 20 ms, so that a thousand of them are ten times the silence limit.
    let one_way = Duration::from_millis(10);
    let mut flying: Vec<(Instant, usize, Vec<u8>)> = Vec::new();
    let (mut lost, mut results) = (false, Vec::new());
    let mut out = vec![0; 9_000];
    while results.len() < 3 {
        for end in 0..2 {
            while let Some(transmit) = ends[end].poll_transmit(now, &mut hosts[end], &mut out, 1) {
                let is_data = matches!(
                    Packet::parse(&out[..transmit.bytes]).unwrap().body,
                    Body::Data { .. }
                );
                // The first message went often enough until a round trip was known; the second one is lost once.
                let is_second = is_data && results.len() == 1;
                if !is_second || std::mem::replace(&mut lost, true) {
                    flying.push((now + one_way, 1 - end, out[..transmit.bytes].to_vec()));
                }
            }
            while let Some(event) = ends[end].poll_event() {
                results.push((now, event.result));
            }
        }
        let timers = ends.iter().filter_map(Endpoint::poll_timeout);
        let arrivals = flying.iter().map(|(at, ..)| *at);
        let Some(next) = timers.chain(arrivals).min() else {
            break;
        };
        now = now.max(next);
        let (arrived, later) = flying.into_iter().partition(|(at, ..)| *at <= now);
        flying = later;
        for (_, to, bytes) in arrived {
            let datagram = Datagram {
                bytes: &bytes,
                marked: false,
            };
            ends[to].handle_datagram(now, datagram, &mut hosts[to]);
        }
        for end in &mut ends {
            end.handle_timeout(now);
        }
    }
    assert!(
        results.len() == 3 && results.iter().all(|(_, result)| result.is_ok()),
        "{results:?}"
    );
    // Paced all the same: three packets more with an eighth of the silence limit before each.
    assert!(
        now >= Instant::from_nanos(1_000_000) + config.silence_limit / 8 * 3,
        "{now:?}"
    );
}
