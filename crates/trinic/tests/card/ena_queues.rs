//! As many queue pairs as a function can have, and packets as long as its MTU can be, through a real card.

use std::time::Duration;

use trinic::protocol::Query;
use trinic_ena::driver::{Config, Frame, Piece};
use trinic_host::vfio_user::{Client, ClientOptions};
use trinic_switch::VPC_MTU;
use trinic_switch::tables::RuleProtocol;

use crate::ena_guest::{Guest, add_device, checksum, count, eventually, shown};
use crate::harness::card_with;

pub(crate) fn trials() -> Vec<(&'static str, fn())> {
    vec![
        ("ena_thirty_two_queue_pairs_all_send_and_receive", all_queues),
        ("ena_queue_pairs_are_limited_to_the_interfaces", fewer_queues),
        ("ena_packets_above_the_vpcs_mtu_are_dropped_by_name", long_packets),
    ]
}

const ANY: RuleProtocol = RuleProtocol::Any;
/// Source: `ENA_MAX_NUM_IO_QUEUES` is 128; EC2 gives an interface 32 at most (docs/devices.md).
const PAIRS: u16 = 32;
/// Datagrams of each transmit queue, each a flow of its own.
const FLOWS: u16 = 16;

fn connect(n: u8, socket: &std::path::Path, config: Config) -> Guest<Client> {
    let mut client = None;
    eventually("the function lets a client in", || {
        client = Client::connect(socket, &ClientOptions::default()).ok();
        client.is_some()
    });
    Guest::probe_with(n, client.unwrap(), config)
}

fn wide() -> Config {
    Config {
        queue_pairs: 64,
        tx_depth: 64,
        rx_depth: 256,
        buffers: 256,
        ..Config::default()
    }
}

/// A datagram of `bytes` of IP from 10.0.0.FROM to 10.0.0.TO, without a checksum of UDP.
fn datagram(from: u8, to: u8, source_port: u16, bytes: usize) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let mut frame: Vec<u8> = (0..14 + bytes)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0]);
    frame[14..34].copy_from_slice(&[
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to,
    ]);
    frame[16..18].copy_from_slice(&length(bytes));
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum);
    frame[34..36].copy_from_slice(&source_port.to_be_bytes());
    frame[36..38].copy_from_slice(&7_000_u16.to_be_bytes());
    frame[38..40].copy_from_slice(&length(bytes - 20));
    frame[40..42].fill(0);
    frame
}

/// Toeplitz's hash of a datagram of [`datagram`]. Source: Microsoft, "RSS hashing functions".
fn toeplitz(key: &[u8; 40], frame: &[u8]) -> u32 {
    let input = [&frame[26..34], &frame[34..38]].concat();
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    let window = |at: usize| (at..at + 32).fold(0, |word, at| word << 1 | u32::from(bit(key, at)));
    let set = (0..input.len() * 8).filter(|at| bit(&input, *at) == 1);
    set.fold(0, |hash, at| hash ^ window(at))
}

/// Every queue of one sends its flows to the other: each arrives once, whole, in the queue of its hash.
fn spread(from: &mut Guest<Client>, to: &mut Guest<Client>) {
    let mut expected: Vec<Vec<Vec<u8>>> = vec![Vec::new(); PAIRS.into()];
    for pair in &mut from.pairs {
        let mut frames = Vec::new();
        for flow in 0..FLOWS {
            let frame = datagram(from.n, to.n, 1_000 + pair.index * FLOWS + flow, 46);
            // The driver's table names the queues in turn, 128 entries: a power of two of them for each queue.
            let queue = toeplitz(&from.driver.config().hash_key, &frame) % u32::from(PAIRS);
            expected[usize::try_from(queue).unwrap()].push(frame.clone());
            let buffer = from.buffers.pop().unwrap();
            frames.push(Frame::copied(buffer, pair.tx.memory(), &frame).unwrap());
        }
        assert_eq!(pair.tx.transmit(&mut frames).unwrap(), usize::from(FLOWS));
    }
    let mut received: Vec<Vec<Vec<u8>>> = vec![Vec::new(); PAIRS.into()];
    let sum = usize::from(PAIRS * FLOWS);
    eventually("every datagram", || {
        for (pair, received) in to.pairs.iter_mut().zip(&mut received) {
            let (mut frames, mut spare) = (Vec::new(), Vec::new());
            while pair.rx.receive(&mut frames, 64).unwrap() > 0 {}
            for frame in frames {
                let mut bytes = vec![0; frame.length()];
                frame.read(pair.rx.memory(), &mut bytes).unwrap();
                frame.into_buffers(&mut spare);
                received.push(bytes);
            }
            pair.rx.refill(&mut spare).unwrap();
            to.buffers.append(&mut spare);
        }
        received.iter().map(Vec::len).sum::<usize>() >= sum
    });
    for (queue, (received, expected)) in received.iter_mut().zip(&mut expected).enumerate() {
        assert!(!expected.is_empty(), "no flow for queue {queue}");
        received.sort();
        expected.sort();
        assert_eq!(received, expected, "queue {queue}");
    }
    for pair in &mut from.pairs {
        let mut completed = 0;
        eventually("completions", || {
            completed += pair.tx.reclaim(&mut from.buffers).unwrap();
            completed == usize::from(FLOWS)
        });
    }
}

fn all_queues() {
    let (mut card, _) = card_with(&[], &[ANY]);
    let sockets = [20, 21].map(|n| add_device(&mut card, n, PAIRS.into()));
    let mut near = connect(20, &sockets[0], wide());
    let mut far = connect(21, &sockets[1], wide());
    for guest in [&mut near, &mut far] {
        assert_eq!(guest.driver.offer().max_queue_pairs, PAIRS);
        assert_eq!(guest.pairs.len(), usize::from(PAIRS), "64 were asked for");
    }
    spread(&mut near, &mut far);
    spread(&mut far, &mut near);
    // The device has no statistics of a queue: what it says, and what the switch counted, is what the queues sum up to.
    let sum = u64::from(PAIRS * FLOWS);
    for guest in [&mut near, &mut far] {
        let n = guest.n;
        let said = guest.driver.statistics().unwrap();
        assert_eq!((said.tx_packets.get(), said.rx_packets.get()), (sum, sum));
        let bytes = sum * 60;
        assert_eq!((said.tx_bytes.get(), said.rx_bytes.get()), (bytes, bytes));
        assert_eq!((said.tx_drops.get(), said.rx_drops.get()), (0, 0));
        let stats = card.ask(Query::Stats {
            interface: Some(format!("eni-{n}").into()),
        });
        assert_eq!(count(&stats, "/packets_out"), sum, "{stats}");
        assert_eq!(count(&stats, "/packets_in"), sum, "{stats}");
        let function = shown(&mut card, n);
        for queues in ["tx_queues", "rx_queues"] {
            assert_eq!(
                function["device"][queues].as_array().map(Vec::len),
                Some(PAIRS.into())
            );
        }
        assert_eq!(function["queue_faults"], serde_json::json!({}));
    }
}

fn fewer_queues() {
    let (mut card, _) = card_with(&[], &[ANY]);
    for (asked, given) in [(0, 1), (5, 5), (33, PAIRS)] {
        let n = u8::try_from(20 + given).unwrap();
        let socket = add_device(&mut card, n, asked);
        let guest = connect(n, &socket, wide());
        assert_eq!(guest.pairs.len(), usize::from(given), "{asked} asked for");
        let function = shown(&mut card, n);
        assert_eq!(count(&function, "/device/max_queue_pairs"), u64::from(given));
        assert_eq!(
            function["device"]["rx_queues"].as_array().map(Vec::len),
            Some(given.into())
        );
    }
}

/// A device takes an MTU of 9,216 bytes, and EC2's network carries 9,001 of them.
fn long_packets() {
    let (mut card, _) = card_with(&[], &[ANY]);
    let sockets = [20, 21].map(|n| add_device(&mut card, n, 1));
    let config = || Config {
        mtu: 9_216,
        rx_depth: 256,
        buffers: 512,
        ..Config::default()
    };
    let mut near = connect(20, &sockets[0], config());
    let mut far = connect(21, &sockets[1], config());
    for n in [20, 21] {
        assert_eq!(count(&shown(&mut card, n), "/device/mtu"), 9_216);
    }
    let mut whole = datagram(20, 21, 1_000, VPC_MTU);
    near.send_long(&whole);
    assert_eq!(next(&mut far), whole, "what the VPC carries passes whole");
    for (times, bytes) in (1..).zip([VPC_MTU + 1, 9_216]) {
        let long = datagram(20, 21, 1_000, bytes);
        near.send_long(&long);
        let answer = next(&mut near);
        assert_eq!(answer[23], 1, "ICMP");
        // "Fragmentation needed", and the MTU that would do. Source: RFC 1191 §4.
        let mtu = u16::from_be_bytes([answer[40], answer[41]]);
        assert_eq!((answer[34], answer[35], usize::from(mtu)), (3, 4, VPC_MTU));
        assert_eq!(answer[42..62], long[14..34], "it has the header of the packet");
        assert_eq!(card.drops("eni-20", "mtu-exceeded"), times);
    }
    // One that may be cut: nobody cuts it, and nobody is told.
    whole = datagram(20, 21, 1_000, 9_216);
    whole[20] = 0;
    whole[24..26].fill(0);
    let sum = checksum(&whole[14..34]);
    whole[24..26].copy_from_slice(&sum);
    near.send_long(&whole);
    eventually("the drop", || card.drops("eni-20", "fragmentation-needed") == 1);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((near.receive(), far.receive()), (Vec::new(), Vec::new()));
    for n in [20, 21] {
        assert_eq!(shown(&mut card, n)["queue_faults"], serde_json::json!({}));
    }
}

/// The next frame.
fn next(guest: &mut Guest<Client>) -> Vec<u8> {
    let mut frames = Vec::new();
    eventually("a frame", || {
        frames = guest.receive();
        !frames.is_empty()
    });
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

impl Guest<Client> {
    /// Sends a frame that takes several buffers.
    fn send_long(&mut self, bytes: &[u8]) {
        let tx = &mut self.pairs[0].tx;
        tx.reclaim(&mut self.buffers).unwrap();
        let room = self.buffers[0].bytes();
        let mut pieces = bytes.chunks(room).map(|bytes| {
            let buffer = self.buffers.pop().unwrap();
            Frame::copied(buffer, tx.memory(), bytes).unwrap()
        });
        let mut frame = pieces.next().unwrap();
        frame.rest = pieces.map(|frame| frame.first).collect::<Vec<Piece>>();
        assert_eq!(tx.transmit(&mut vec![frame]).unwrap(), 1);
    }
}
