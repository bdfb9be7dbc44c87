//! Two carriers, each with an endpoint, over loopback and over a cable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use trinic_host::NetNs;
use trinic_host::link::{Address, Netlink, VethEnd};
use trinic_host::srd::{Carrier, Options, SRD_PORT, kernel_config};
use trinic_srd::{
    Action, Config, Endpoint, Event, Gid, Gone, Incoming, Local, PairKey, Peer, PeerId, Refusal, Remote,
    Request,
};

use crate::support::Host;

pub(crate) fn trials(host: &Host) -> Vec<Trial> {
    vec![
        host.plain_trial("srd_messages_and_rdma_both_ways", || {
            both_ways(IpAddr::V4(Ipv4Addr::LOCALHOST), true);
        }),
        host.plain_trial("srd_without_segmentation", || {
            both_ways(IpAddr::V4(Ipv4Addr::LOCALHOST), false);
        }),
        host.plain_trial("srd_over_ipv6", || {
            both_ways(IpAddr::V6(Ipv6Addr::LOCALHOST), true)
        }),
        host.plain_trial("srd_paths_are_source_ports", paths_are_source_ports),
        host.plain_trial("srd_paced_window_goes_in_bursts", paced_window),
        host.plain_trial("srd_marks_are_counted", marks_are_counted),
        host.plain_trial("srd_full_receive_buffer_is_survived", full_receive_buffer),
        host.plain_trial("srd_wait_is_ended_from_elsewhere", wait_is_ended),
        host.trial(
            "srd_full_send_buffer_is_survived",
            &host.probe.taps,
            full_send_buffer,
        ),
    ]
}

/// The memory and the queue pairs of one end.
#[derive(Debug, Default)]
struct Memory {
    /// What is sent, by the requests' payload.
    out: Vec<Vec<u8>>,
    /// The one memory region; its key is 7.
    region: Vec<u8>,
    arrived: Vec<Vec<u8>>,
}

impl Memory {
    fn range(&mut self, remote: Remote, length: usize) -> Result<&mut [u8], Refusal> {
        if remote.key != 7 {
            return Err(Refusal::BadKey);
        }
        let start = usize::try_from(remote.address).unwrap();
        self.region
            .get_mut(start..start + length)
            .ok_or(Refusal::BadAddress)
    }
}

impl Local for Memory {
    fn gather(&mut self, payload: u64, offset: u32, into: &mut [u8]) -> Result<(), Gone> {
        let out = &self.out[usize::try_from(payload).unwrap()];
        into.copy_from_slice(&out[offset as usize..offset as usize + into.len()]);
        Ok(())
    }

    fn scatter(&mut self, payload: u64, offset: u32, bytes: &[u8]) -> Result<(), Gone> {
        let out = &mut self.out[usize::try_from(payload).unwrap()];
        out[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal> {
        self.arrived.push(message.payload.to_vec());
        Ok(())
    }

    fn write(&mut self, remote: Remote, bytes: &[u8]) -> Result<(), Refusal> {
        self.range(remote, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn written(&mut self, _: Remote, _: u32, _: u32) -> Result<(), Refusal> {
        Ok(())
    }

    fn readable(&mut self, remote: Remote, length: u32) -> Result<(), Refusal> {
        self.range(remote, length as usize).map(|_| ())
    }

    fn read(&mut self, remote: Remote, into: &mut [u8]) -> Result<(), Refusal> {
        into.copy_from_slice(self.range(remote, into.len())?);
        Ok(())
    }
}

#[derive(Debug)]
struct Side {
    carrier: Carrier,
    endpoint: Endpoint,
    memory: Memory,
    peer: Option<PeerId>,
    events: Vec<Event>,
}

impl Side {
    fn new(options: &Options, config: Config, name: u8) -> Self {
        Self {
            carrier: Carrier::open(options).unwrap(),
            endpoint: Endpoint::new(config, gid(name), [name; 16]),
            memory: Memory::default(),
            peer: None,
            events: Vec::new(),
        }
    }

    fn meet(&mut self, name: u8, address: SocketAddr) {
        self.peer = Some(self.endpoint.add_peer(Peer {
            gid: gid(name),
            address,
            key: PairKey::new([9; 16]),
            epoch: 1,
        }));
    }

    /// Submits what is in `out`, the token of each being its place.
    fn submit(&mut self, action: impl Fn(usize) -> Action) {
        for (place, bytes) in self.memory.out.iter().enumerate() {
            let request = Request {
                token: place as u64,
                source: 1,
                destination: 2,
                qkey: 3,
                length: u32::try_from(bytes.len()).unwrap(),
                payload: place as u64,
                action: action(place),
            };
            self.endpoint
                .submit(Carrier::now(), self.peer.unwrap(), request)
                .unwrap();
        }
    }

    fn turn(&mut self, most: Duration) {
        self.carrier
            .turn(&mut self.endpoint, &mut self.memory, most)
            .unwrap();
        while let Some(event) = self.endpoint.poll_event() {
            assert_eq!(event.result, Ok(()), "{event:?} {:?}", self.carrier.counters());
            self.events.push(event);
        }
    }
}

fn gid(name: u8) -> Gid {
    [name; 16]
}

fn options(address: IpAddr) -> Options {
    Options {
        port: 0,
        ..Options::new(address)
    }
}

/// A machine under load may leave either side without a processor for long.
fn patient() -> Config {
    Config {
        connect_limit: Duration::from_secs(20),
        silence_limit: Duration::from_secs(20),
        ..kernel_config(9_000)
    }
}

fn pair(options: [&Options; 2]) -> [Side; 2] {
    let mut one = Side::new(options[0], patient(), 1);
    let mut two = Side::new(options[1], patient(), 2);
    let addresses = [one.carrier.address(), two.carrier.address()];
    one.meet(2, addresses[1]);
    two.meet(1, addresses[0]);
    [one, two]
}

/// Turns both until each has had so many events.
fn complete(sides: &mut [Side; 2], counts: [usize; 2]) {
    let start = Instant::now();
    while sides[0].events.len() < counts[0] || sides[1].events.len() < counts[1] {
        assert!(start.elapsed() < Duration::from_secs(20), "{sides:#?}");
        for side in &mut *sides {
            side.turn(Duration::from_micros(50));
        }
    }
}

/// Bytes that are the same each time and of no two places the same.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at * 31 + seed * 7_919) >> 3).to_le_bytes()[0])
        .collect()
}

fn both_ways(address: IpAddr, segmentation: bool) {
    let options = Options {
        segmentation,
        ..options(address)
    };
    let mut sides = pair([&options, &options]);
    for side in &mut sides {
        side.memory.out = (0..2_000)
            .map(|place| pattern(place * 4 + place % 5, place))
            .collect();
        side.submit(|_| Action::Send { immediate: None });
    }
    complete(&mut sides, [2_000, 2_000]);
    for side in &mut sides {
        // Everything once, in whatever order.
        side.memory.arrived.sort_by_key(Vec::len);
        let (mut all, mut out) = (side.memory.arrived.clone(), side.memory.out.clone());
        for list in [&mut all, &mut out] {
            list.sort();
        }
        assert!(all == out, "what arrived is not what was sent");
    }

    // One writes, and the other reads it back.
    sides[0].memory.out = vec![pattern(1 << 20, 1)];
    sides[1].memory.region = vec![0; 1 << 20];
    sides[0].submit(|_| Action::Write {
        key: 7,
        address: 0,
        immediate: Some(5),
    });
    complete(&mut sides, [2_001, 2_000]);
    assert!(sides[1].memory.region == pattern(1 << 20, 1));
    sides[0].memory.out = vec![vec![0; 1 << 19]];
    sides[0].submit(|_| Action::Read {
        key: 7,
        address: 1 << 19,
    });
    complete(&mut sides, [2_002, 2_000]);
    assert!(sides[0].memory.out[0] == pattern(1 << 20, 1)[1 << 19..]);

    for side in &sides {
        let counters = side.carrier.counters();
        assert_eq!(side.carrier.segments(), segmentation);
        assert!(counters.sent > 2_000 || counters.received > 2_000, "{counters:?}");
        assert!(counters.send_calls < counters.sent, "{counters:?}");
        let lost = counters.expired + counters.too_long + counters.unreachable + counters.refused;
        assert_eq!(
            lost + counters.misdirected + counters.truncated,
            0,
            "{counters:?}"
        );
        assert_eq!(side.endpoint.stats().bad_tag, 0);
    }
}

fn paced_window() {
    let options = options(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let datagrams_a_call = |burst: Option<u16>| {
        let mut sides = pair([&options, &options]);
        let config = Config { burst, ..patient() };
        sides[0].endpoint = Endpoint::new(config, gid(1), [3; 16]);
        let address = sides[1].carrier.address();
        sides[0].meet(2, address);
        sides[1].memory.region = vec![0; 1 << 20];
        // The second time a round trip is known.
        let mut before = *sides[0].carrier.counters();
        for round in 1..=2 {
            before = *sides[0].carrier.counters();
            sides[0].memory.out = vec![pattern(1 << 20, round)];
            sides[0].submit(|_| Action::Write {
                key: 7,
                address: 0,
                immediate: None,
            });
            complete(&mut sides, [round, 0]);
            assert!(sides[1].memory.region == pattern(1 << 20, round));
        }
        let after = sides[0].carrier.counters();
        (after.sent - before.sent).div_ceil(after.send_calls - before.send_calls)
    };
    assert!(datagrams_a_call(None) > 2);
    assert!(datagrams_a_call(Some(2)) <= 2);
}

fn paths_are_source_ports() {
    // Who calls a peer that does not answer calls over one path after the other.
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut side = Side::new(&options(Ipv4Addr::LOCALHOST.into()), patient(), 1);
    side.meet(2, peer.local_addr().unwrap());
    side.memory.out = vec![vec![1]];
    side.submit(|_| Action::Send { immediate: None });
    let ports: Vec<u16> = side.carrier.source_ports().collect();
    assert_eq!(ports.len(), 16);
    let mut seen = std::collections::BTreeMap::new();
    let start = Instant::now();
    while seen.len() < 5 {
        assert!(start.elapsed() < Duration::from_secs(20), "{seen:?}");
        side.turn(Duration::from_millis(1));
        let mut bytes = [0; 256];
        if let Ok((_, from)) = peer.recv_from(&mut bytes) {
            // The base header's byte 16 is the path [PKT-3].
            assert_eq!(from.port(), ports[usize::from(bytes[16])]);
            seen.insert(from.port(), bytes[16]);
        }
    }

    // Ports that follow each other, where the owner wants to know them before.
    let (first, carrier) = (20_000..60_000)
        .step_by(64)
        .find_map(|first| {
            let wanted = Options {
                first_source_port: Some(first),
                ..options(Ipv4Addr::LOCALHOST.into())
            };
            Some((first, Carrier::open(&wanted).ok()?))
        })
        .unwrap();
    assert!(carrier.source_ports().eq(first..first + 16));
}

fn marks_are_counted() {
    let mut side = Side::new(&options(Ipv4Addr::LOCALHOST.into()), patient(), 1);
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for tos in [0, 2, 3] {
        rustix::net::sockopt::set_ip_tos(&sender, tos).unwrap();
        sender.send_to(b"no packet", side.carrier.address()).unwrap();
    }
    let start = Instant::now();
    while side.carrier.counters().received < 3 && start.elapsed() < Duration::from_secs(5) {
        side.turn(Duration::from_millis(1));
    }
    let counters = side.carrier.counters();
    assert_eq!((counters.received, counters.marked), (3, 1));
    assert_eq!(side.endpoint.stats().bad_length, 3, "they are no packets");
}

fn full_receive_buffer() {
    let usual = options(Ipv4Addr::LOCALHOST.into());
    let small = Options {
        receive_buffer_bytes: 20_000,
        ..usual.clone()
    };
    let mut sides = pair([&usual, &small]);
    sides[0].memory.out = vec![vec![0]];
    sides[0].submit(|_| Action::Send { immediate: None });
    complete(&mut sides, [1, 0]);
    sides[0].memory.out = (0..400).map(|place| pattern(8_000, place)).collect();
    sides[0].submit(|_| Action::Send { immediate: None });
    // It sends, and nobody receives.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(5) {
        sides[0].turn(Duration::from_micros(100));
    }
    complete(&mut sides, [401, 0]);
    assert!(
        sides[1].carrier.counters().overflowed > 0,
        "{:?}",
        sides[1].carrier.counters()
    );
    assert_eq!(sides[1].memory.arrived.len(), 401, "each once");
}

fn wait_is_ended() {
    let mut side = Side::new(&options(Ipv4Addr::LOCALHOST.into()), patient(), 1);
    let waker = side.carrier.waker().unwrap();
    let start = Instant::now();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        waker.wake();
    });
    side.turn(Duration::from_secs(60));
    assert!(start.elapsed() < Duration::from_secs(30));
    thread.join().unwrap();
    let start = Instant::now();
    side.turn(Duration::from_millis(5));
    assert!(start.elapsed() >= Duration::from_millis(5), "it was woken once");
}

/// Datagrams wait in the kernel while it asks who has the address, and nobody answers; then somebody does.
fn full_send_buffer() {
    let namespaces = [NetNs::create().unwrap(), NetNs::create().unwrap()];
    let mut links = [
        Netlink::open_in(&namespaces[0]).unwrap(),
        Netlink::open_in(&namespaces[1]).unwrap(),
    ];
    let end = |name, netns| VethEnd {
        name,
        netns,
        mac: None,
        mtu: Some(9_000),
    };
    links[0]
        .create_veth(&end("one", None), &end("two", Some(&namespaces[1])))
        .unwrap();
    let addresses: [IpAddr; 2] = ["10.77.0.1".parse().unwrap(), "10.77.0.2".parse().unwrap()];
    let mut bring_up = |side: usize, name: &str, addressed: bool| {
        let index = links[side].link_by_name(name).unwrap().index;
        links[side].set_up(index, true).unwrap();
        if addressed {
            let address = Address {
                ip: addresses[side],
                prefix_len: 24,
            };
            links[side].add_address(index, address).unwrap();
        }
    };
    bring_up(0, "one", true);
    bring_up(1, "two", false);
    let open = |side: usize, name: u8| {
        let options = Options {
            paths: 1,
            send_buffer_bytes: 1,
            ..Options::new(addresses[side])
        };
        let config = Config {
            paths: 1,
            ..patient()
        };
        namespaces[side]
            .run(move || Side::new(&options, config, name))
            .unwrap()
    };
    let mut one = open(0, 1);
    one.meet(2, SocketAddr::new(addresses[1], SRD_PORT));
    one.memory.out = vec![pattern(8_000, 1)];
    one.submit(|_| Action::Send { immediate: None });
    let start = Instant::now();
    while one.carrier.counters().expired == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{one:#?}");
        one.turn(Duration::from_millis(1));
        assert!(one.carrier.blocked().is_none() || one.carrier.counters().full > 0);
    }
    bring_up(1, "two", true);
    let mut two = open(1, 2);
    two.meet(1, one.carrier.address());
    let mut sides = [one, two];
    complete(&mut sides, [1, 0]);
    assert!(sides[1].memory.arrived == [pattern(8_000, 1)]);
}
