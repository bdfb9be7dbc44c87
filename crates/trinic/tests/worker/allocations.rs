//! The worker's turns allocate nothing, as its thread runs them: queues and sockets read, the batch through the switch,
//! payloads copied, super-frames cut and joined, completions and replies written, and the sleeps between.
//!
//! The first packet of a connection is not meant: tables grow with what they hold. Nor are the link-local services,
//! which make a message for a question.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trinic::card::backend::Plug;
use trinic::card::one_subnet::{self, address, mac};
use trinic_ena::datapath::Segmentation;
use trinic_ena::driver::{Config, Request, TransportChecksum};
use trinic_host::link::{Address, Netlink};
use trinic_host::port::{Port, SLOT_BYTES};
use trinic_host::tap::{Tap, TapOptions};
use trinic_host::vnet::{GSO_TCPV4, GSO_UDP_L4, VnetHeader};
use trinic_host::{MacAddress, NetNs};
use trinic_wire::tcp::Flags;
use zerocopy::IntoBytes;

use crate::counting;
use crate::packets::{TCP_HEADERS, UDP_HEADERS, datagram, question, segment, super_header};
use crate::rig::{End, Rig, Socket, drain, eventually};

pub(crate) fn trials() -> Vec<crate::Case> {
    vec![
        ("allocations_are_counted_on_the_workers_thread", false, counted),
        ("function_to_function_allocates_nothing", false, functions),
        ("function_to_socket_and_back_allocates_nothing", false, sockets),
        ("function_to_tap_and_back_allocates_nothing", true, taps),
        ("drops_replies_and_sleeps_allocate_nothing", false, drops),
    ]
}

/// What the worker's thread has taken, as long as it lives.
fn taken(rig: &Rig) -> u64 {
    let place = Arc::new(AtomicU64::new(0));
    let told = place.clone();
    rig.on_worker(move |_| told.store(counting::taken(), Ordering::Relaxed));
    place.load(Ordering::Relaxed)
}

/// Runs `round` until everything has its size, and then as often again and for `time` at least without an allocation.
fn quiet(rig: &Rig, what: &str, time: Duration, mut round: impl FnMut()) {
    (0..WARM_UP).for_each(|_| round());
    let before = taken(rig);
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS || began.elapsed() < time {
        round();
        rounds += 1;
    }
    assert_eq!(taken(rig) - before, 0, "{what}: {rounds} rounds");
    println!("{what}: {rounds} rounds");
}

fn counted() {
    let rig = Rig::new(&[4], &[]);
    let before = taken(&rig);
    rig.on_worker(|_| drop(std::hint::black_box(Vec::<u8>::with_capacity(100))));
    assert_eq!(taken(&rig) - before, 1);
    assert_eq!(taken(&rig) - before, 1, "asking takes nothing");
}

fn config(llq: bool) -> Config {
    Config {
        queue_pairs: 2,
        tx_depth: 512,
        rx_depth: 512,
        mtu: 9001,
        buffer_bytes: 16 << 10,
        buffers: 1024,
        llq,
        ..Config::default()
    }
}

/// Sends a burst and waits until so many frames have come of each of its own, and all are completed.
fn pass(from: &mut End, to: &mut End, frame: &[u8], request: Request, each: usize) {
    from.send(frame, request, BURST);
    let mut arrived = 0;
    eventually("a burst", || {
        arrived += to.receive();
        from.receive();
        arrived == BURST * each && from.under_way() == 0
    });
}

/// A segmentation of a super-frame of TCP.
fn cut() -> Request {
    Request {
        segmentation: Some(Segmentation {
            is_ipv6: false,
            mss: MSS,
            header_bytes: u16::try_from(TCP_HEADERS).unwrap(),
        }),
        ..open(TransportChecksum::Tcp)
    }
}

/// A transport checksum that the device computes.
fn open(checksum: TransportChecksum) -> Request {
    Request {
        checksum: Some(checksum),
        l2_bytes: 14,
        l3_bytes: 20,
        ..Request::default()
    }
}

fn functions() {
    for llq in [false, true] {
        let rig = Rig::new(&[4, 5], &[]);
        let mut near = rig.driver(4, config(llq));
        let mut far = rig.driver(5, config(llq));
        for bytes in [60, 1_514, 14 + 9_001] {
            let frame = datagram(4, 5, PORTS, bytes);
            quiet(&rig, &format!("{bytes} bytes, llq {llq}"), LEAST, || {
                pass(&mut near, &mut far, &frame, Request::default(), 1);
            });
        }
        pass(
            &mut near,
            &mut far,
            &segment(4, 5, PORTS, Flags::SYN, 60),
            Request::default(),
            1,
        );
        let mut frame = segment(4, 5, PORTS, Flags::ACK, TCP_HEADERS + 9 * usize::from(MSS));
        frame[50..52].fill(0);
        quiet(&rig, &format!("super-frames, llq {llq}"), LEAST, || {
            pass(&mut near, &mut far, &frame, cut(), 9);
        });
        // Long enough for the housekeeping of every second, and for sleeps of all lengths.
        let frame = datagram(4, 5, PORTS, 60);
        quiet(
            &rig,
            &format!("pauses, llq {llq}"),
            Duration::from_millis(2_500),
            || {
                pass(&mut near, &mut far, &frame, Request::default(), 1);
                std::thread::sleep(Duration::from_millis(10));
            },
        );
    }
}

fn sockets() {
    for cuts in [false, true] {
        let rig = Rig::new(&[4, 8], &[]);
        let mut function = rig.driver(4, config(true));
        let (port, socket) = Socket::pair(cuts);
        rig.plug(8, Plug::Kernel(Box::new(port)));
        let mut buffer = vec![0; SLOT_BYTES];
        let mut to_socket = |what: &str, frame: &[u8], request: Request, most: usize| {
            quiet(&rig, &format!("{what}, cuts {cuts}"), LEAST, || {
                function.send(frame, request, most);
                let (mut arrived, sum) = (0, most);
                eventually("the socket's frames", || {
                    arrived += drain(&socket, &mut buffer);
                    function.receive();
                    // Joined ones are fewer, and how many depends on which met in a turn.
                    function.under_way() == 0 && (if cuts { arrived > 0 } else { arrived == sum })
                });
                // What came last may have been written after the completion was seen.
                while drain(&socket, &mut buffer) > 0 {}
            });
        };
        let mut frame = datagram(4, 8, PORTS, 1_514);
        // "Do not fragment", so that the identification is free and datagrams may be joined.
        frame[20] |= 0x40;
        write_ipv4_checksum(&mut frame);
        frame[40..42].fill(0);
        to_socket("datagrams", &frame, open(TransportChecksum::Udp), 8);
        to_socket("whole ones", &datagram(4, 8, PORTS, 60), Request::default(), 8);
        from_socket(&rig, &mut function, &socket);
    }
}

/// Datagrams and super-frames from a socket's far end to a function.
fn from_socket(rig: &Rig, function: &mut End, socket: &UnixDatagram) {
    let plain = [VnetHeader::NONE.as_bytes(), &datagram(8, 4, PORTS, 1_514)].concat();
    let tcp = [
        super_header(GSO_TCPV4, MSS, TCP_HEADERS, 16).as_bytes(),
        &segment(8, 4, PORTS, Flags::ACK, TCP_HEADERS + 9 * usize::from(MSS)),
    ]
    .concat();
    let udp = [
        super_header(GSO_UDP_L4, 1_000, UDP_HEADERS, 6).as_bytes(),
        &datagram(8, 4, PORTS, UDP_HEADERS + 9_000),
    ]
    .concat();
    for (what, packet, each) in [("one", plain, 1), ("TCP's", tcp, 9), ("UDP's", udp, 9)] {
        quiet(rig, &format!("from a socket: {what}"), LEAST, || {
            (0..4).for_each(|_| assert_eq!(socket.send(&packet).unwrap(), packet.len()));
            let mut arrived = 0;
            eventually("the function's frames", || {
                arrived += function.receive();
                arrived == 4 * each
            });
        });
    }
}

fn write_ipv4_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = trinic_wire::checksum::Sum::of(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A tap in a namespace of its own, and a socket there.
fn tap(rig: &Rig, n: u8) -> (NetNs, UdpSocket) {
    let netns = NetNs::create().unwrap();
    let options = TapOptions {
        mac: Some(MacAddress(mac(n))),
        mtu: Some(9001),
        up: true,
        ..TapOptions::new("eth0")
    };
    let tap = Tap::open(&netns, &options).unwrap();
    let address = Address {
        ip: address(n).into(),
        prefix_len: 24,
    };
    Netlink::open_in(&netns)
        .unwrap()
        .add_address(tap.index(), address)
        .unwrap();
    let queue: Box<dyn Port> = Box::new(tap.into_queues().remove(0));
    rig.plug(n, Plug::Kernel(queue));
    let socket = netns
        .run(move || UdpSocket::bind((one_subnet::address(n), PORTS.1)).unwrap())
        .unwrap();
    socket.set_nonblocking(true).unwrap();
    (netns, socket)
}

fn taps() {
    let rig = Rig::new(&[4, 6, 7], &[]);
    let mut function = rig.driver(4, config(true));
    let (six, seven) = (tap(&rig, 6), tap(&rig, 7));
    let mut buffer = vec![0; SLOT_BYTES];
    for bytes in [60, 1_514, 14 + 9_001] {
        let frame = datagram(4, 6, (PORTS.0, PORTS.1), bytes);
        let payload = frame[UDP_HEADERS..].to_vec();
        quiet(&rig, &format!("to a tap and back, {bytes} bytes"), LEAST, || {
            function.send(&frame, Request::default(), 8);
            let mut arrived = 0;
            eventually("the tap's datagrams", || {
                while six.1.recv(&mut buffer).is_ok() {
                    arrived += 1;
                }
                function.receive();
                arrived == 8 && function.under_way() == 0
            });
            for _ in 0..8 {
                six.1.send_to(&payload, (address(4), PORTS.0)).unwrap();
            }
            let mut back = 0;
            eventually("the function's datagrams", || {
                back += function.receive_datagrams(&payload);
                back == 8
            });
        });
    }
    quiet(&rig, "from tap to tap", Duration::from_millis(1_500), || {
        for _ in 0..8 {
            six.1.send_to(&[7; 1_000], (address(7), PORTS.1)).unwrap();
        }
        let mut arrived = 0;
        eventually("the other tap's datagrams", || {
            while seven.1.recv(&mut buffer).is_ok() {
                arrived += 1;
            }
            arrived == 8
        });
    });
}

fn drops() {
    let rig = Rig::new(&[4, 5, 9], &[9]);
    let mut near = rig.driver(4, config(true));
    // Without a buffer, and closed.
    let far = rig.function(5, 1);
    let closed = rig.function(9, 1);
    assert!(far.exists() && closed.exists());
    let mut spoofed = datagram(4, 5, PORTS, 60);
    spoofed[29] = 77;
    write_ipv4_checksum(&mut spoofed);
    let frames = [
        ("no buffer", datagram(4, 5, PORTS, 60)),
        ("the group", datagram(4, 9, PORTS, 60)),
        ("no such address", datagram(4, 99, PORTS, 60)),
        ("another's address", spoofed),
        ("no packet", vec![0xff; 20]),
    ];
    for (what, frame) in &frames {
        // Drops are counted, and every second each function asks what was.
        let time = if *what == "the group" {
            Duration::from_millis(1_500)
        } else {
            LEAST
        };
        quiet(&rig, what, time, || {
            near.send(frame, Request::default(), BURST);
            eventually("completions", || {
                near.receive();
                near.under_way() == 0
            });
        });
    }
    let frame = question(4, 5);
    quiet(&rig, "ARP", LEAST, || {
        near.send(&frame, Request::default(), BURST);
        let mut answers = 0;
        eventually("answers", || {
            answers += near.receive();
            answers == BURST && near.under_way() == 0
        });
    });
}

impl End {
    /// How many frames came that end with this payload: a kernel says more than it is asked to.
    fn receive_datagrams(&mut self, payload: &[u8]) -> usize {
        self.receive_if(|frame| frame.len() >= UDP_HEADERS + payload.len() && frame[23] == 17)
    }
}

/// Source port and destination port of what a function sends.
const PORTS: (u16, u16) = (4_000, 5_000);
const BURST: usize = 32;
const MSS: u16 = 1_448;
/// Rounds in which queues come round, and vectors and tables find their size.
const WARM_UP: usize = 64;
const ROUNDS: usize = 100;
const LEAST: Duration = Duration::ZERO;
