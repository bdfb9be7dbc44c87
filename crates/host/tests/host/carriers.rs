//! Taps and packet sockets: the same tests for both.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use trinic_host::epoll::{Events, Interest, Poller};
use trinic_host::link::{Address, Netlink};
use trinic_host::packet::{PacketOptions, PacketPort};
use trinic_host::port::{BATCH_LIMIT, Batch, Limits, Port, SLOT_BYTES, Writer, Written, split_checked};
use trinic_host::probe::Carrier;
use trinic_host::tap::{Tap, TapOptions};
use trinic_host::vnet::{FLAG_NEEDS_CSUM, GSO_TCPV4, GSO_UDP_L4, VnetHeader};
use trinic_host::{MacAddress, NetNs};

use crate::support::Host;

pub(crate) fn trials(host: &Host) -> Vec<Trial> {
    let (tap, packet) = (&host.probe.taps, &host.probe.packet_sockets);
    vec![
        host.trial("tap_round_trip", tap, || round_trip(Carrier::Tap)),
        host.trial("packet_round_trip", packet, || round_trip(Carrier::PacketSocket)),
        host.trial("tap_ping_and_udp", tap, || ping_and_udp(Carrier::Tap)),
        host.trial("packet_ping_and_udp", packet, || {
            ping_and_udp(Carrier::PacketSocket)
        }),
        host.trial("tap_super_frames_both_ways", tap, || super_frames(Carrier::Tap)),
        host.trial("packet_super_frames_both_ways", packet, || {
            super_frames(Carrier::PacketSocket)
        }),
        host.trial("tap_to_packet_super_frames", tap, mixed_super_frames),
        host.trial("tap_bad_header_is_refused_alone", tap, || {
            bad_header(Carrier::Tap)
        }),
        host.trial("packet_bad_header_is_refused_alone", packet, || {
            bad_header(Carrier::PacketSocket)
        }),
        host.trial("tap_writes_together", tap, || writes_together(Carrier::Tap)),
        host.trial("packet_writes_together", packet, || {
            writes_together(Carrier::PacketSocket)
        }),
        host.trial("tap_reads_bounded_batches", tap, || {
            bounded_batches(Carrier::Tap, 1)
        }),
        host.trial("packet_reads_bounded_batches", packet, || {
            bounded_batches(Carrier::PacketSocket, 8)
        }),
        host.trial("tap_cuts_datagrams", tap, tap_cuts_datagrams),
        host.trial("tap_is_adopted_by_name", tap, tap_is_adopted),
        host.trial("tap_with_queues", tap, tap_with_queues),
        host.trial("tap_twelve_byte_header", tap, tap_twelve_byte_header),
        host.trial("tap_options_are_checked", tap, tap_options_are_checked),
        host.trial("packet_cable_is_taken_over", packet, packet_is_taken_over),
        host.trial(
            "packet_cable_of_a_dead_card_is_replaced",
            packet,
            packet_cable_of_a_dead_card,
        ),
    ]
}

const MTU: u32 = 1500;

fn mac(number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, number])
}

fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number)
}

/// A namespace with eth0 = 10.9.0.NUMBER, and the card's port.
struct Node {
    netns: NetNs,
    port: Arc<dyn Port>,
    index: u32,
}

fn node(carrier: Carrier, card: &NetNs, number: u8) -> Node {
    let netns = NetNs::create().unwrap();
    let (port, index): (Arc<dyn Port>, u32) = match carrier {
        Carrier::Tap => {
            let options = TapOptions {
                mac: Some(mac(number)),
                mtu: Some(MTU),
                up: true,
                ..TapOptions::new("eth0")
            };
            let tap = Tap::open(&netns, &options).unwrap();
            let index = tap.index();
            (Arc::new(tap.into_queues().remove(0)), index)
        }
        Carrier::PacketSocket => {
            let port = PacketPort::open(&netns, card, &packet_options(number)).unwrap();
            let index = port.index();
            (Arc::new(port), index)
        }
    };
    let mut netlink = Netlink::open_in(&netns).unwrap();
    netlink
        .add_address(
            index,
            Address {
                ip: IpAddr::V4(ip(number)),
                prefix_len: 24,
            },
        )
        .unwrap();
    Node { netns, port, index }
}

fn packet_options(number: u8) -> PacketOptions {
    PacketOptions {
        name: "eth0".into(),
        card_name: format!("card{number}"),
        mac: Some(mac(number)),
        mtu: Some(MTU),
        up: true,
    }
}

/// The next frame that `accept` takes, without its header.
fn read_frame(port: &dyn Port, mut accept: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut buffer = vec![0u8; SLOT_BYTES];
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        match port.read(&mut buffer).unwrap() {
            Some(length) => {
                let (_, frame) = split_checked(&mut buffer[..length], port.vnet_header_bytes()).unwrap();
                if accept(frame) {
                    return frame.to_vec();
                }
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    panic!("no such frame came");
}

/// Who has 10.9.0.NUMBER? Asked by 10.9.0.200.
fn arp_request(number: u8) -> Vec<u8> {
    let mut frame = trinic_host::link::gratuitous_arp(mac(200), ip(200)).to_vec();
    frame[38..42].copy_from_slice(&ip(number).octets());
    frame
}

fn is_arp_reply_of(frame: &[u8], number: u8) -> bool {
    frame[12..14] == [8, 6] && frame[20..22] == [0, 2] && frame[28..32] == ip(number).octets()
}

fn round_trip(carrier: Carrier) {
    let before = NetNs::current().unwrap().inode().unwrap();
    let card = NetNs::create().unwrap();
    let node = node(carrier, &card, 1);
    assert_eq!(
        node.port.write_parts(&VnetHeader::NONE, &arp_request(1)).unwrap(),
        Written::Sent
    );
    let reply = read_frame(&*node.port, |frame| is_arp_reply_of(frame, 1));
    assert_eq!(reply[0..6], mac(200).0);
    assert_eq!(reply[6..12], mac(1).0);
    let mut netlink = Netlink::open_in(&node.netns).unwrap();
    let link = netlink.link_by_name("eth0").unwrap();
    assert_eq!(
        (link.index, link.mac, link.mtu, link.up),
        (node.index, Some(mac(1)), MTU, true)
    );
    assert_eq!(
        NetNs::current().unwrap().inode().unwrap(),
        before,
        "the caller has not moved"
    );
}

/// Carries frames between two ports until dropped, as a card without rules would.
struct Forwarder {
    stop: Arc<AtomicBool>,
    longest: [Arc<AtomicU64>; 2],
    segmented: [Arc<AtomicU64>; 2],
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    fn start(a: Arc<dyn Port>, b: Arc<dyn Port>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let longest: [Arc<AtomicU64>; 2] = Default::default();
        let segmented: [Arc<AtomicU64>; 2] = Default::default();
        let (stopping, long, cut) = (Arc::clone(&stop), longest.clone(), segmented.clone());
        let thread = std::thread::spawn(move || {
            let ports = [a, b];
            let poller = Poller::new().unwrap();
            for (token, port) in (0..).zip(&ports) {
                poller.add(port, token, Interest::READ).unwrap();
            }
            let (mut events, mut batch) = (Events::new(2), Batch::new(BATCH_LIMIT));
            let (mut writer, mut results) = (Writer::new(), [Written::Full; BATCH_LIMIT]);
            while !stopping.load(Ordering::Relaxed) {
                poller.wait(&mut events, Some(Duration::from_millis(10))).unwrap();
                for ready in events.iter() {
                    let from = usize::try_from(ready.token).unwrap();
                    let count = ports[from].read_batch(&mut batch).unwrap();
                    for index in 0..count {
                        let buffer = batch.frame_mut(index);
                        let (header, frame) = split_checked(buffer, 10).unwrap();
                        long[from].fetch_max(frame.len() as u64, Ordering::Relaxed);
                        cut[from].fetch_add(u64::from(header.segment_bytes() > 0), Ordering::Relaxed);
                    }
                    let to = &*ports[1 - from];
                    let frames = (0..count).map(|index| (to, batch.frame(index)));
                    assert_eq!(writer.write_all(frames, &mut results), count);
                    let refused = |written: &Written| matches!(written, Written::Refused(_));
                    assert!(!results[..count].iter().any(refused), "{results:?}");
                }
            }
        });
        Self {
            stop,
            longest,
            segmented,
            thread: Some(thread),
        }
    }

    fn finish(mut self) -> [(u64, u64); 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        [0, 1].map(|side| {
            (
                self.longest[side].load(Ordering::Relaxed),
                self.segmented[side].load(Ordering::Relaxed),
            )
        })
    }
}

fn ping_and_udp(carrier: Carrier) {
    let card = NetNs::create().unwrap();
    let (a, b) = (node(carrier, &card, 1), node(carrier, &card, 2));
    let forwarder = Forwarder::start(Arc::clone(&a.port), Arc::clone(&b.port));
    let reply = a.netns.run(|| ping(ip(2))).unwrap();
    assert_eq!(reply[0], 0, "echo reply");
    assert_eq!(reply[6..], [0, 1, b'x', b'y']);

    let server = b.netns.run(|| UdpSocket::bind((ip(2), 7)).unwrap()).unwrap();
    let client = a.netns.run(|| UdpSocket::bind((ip(1), 0)).unwrap()).unwrap();
    let mut buffer = [0u8; 2000];
    client.send_to(&[5; 1400], (ip(2), 7)).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..length], from.ip()),
        (&[5u8; 1400][..], IpAddr::V4(ip(1)))
    );
    forwarder.finish();
}

/// One echo request from the namespace of the calling thread; the reply.
fn ping(to: Ipv4Addr) -> Vec<u8> {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};
    trinic_host::netns::write_sysctl("net/ipv4/ping_group_range", "0 0").unwrap();
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP)).unwrap();
    let wait = Some(Duration::from_secs(5));
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, wait).unwrap();
    // Type 8, code 0; the kernel fills in checksum and identifier; sequence 1.
    let request = [8, 0, 0, 0, 0, 0, 0, 1, b'x', b'y'];
    let address = std::net::SocketAddrV4::new(to, 0);
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &address).unwrap();
    let mut buffer = [0u8; 100];
    let (length, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()).unwrap();
    buffer[..length].to_vec()
}

/// Sends 32 MiB from one namespace to the other and compares every byte.
fn transfer(from: &Node, to: &Node, to_ip: Ipv4Addr) {
    const TOTAL: usize = 32 << 20;
    let listener = to.netns.run(|| TcpListener::bind((to_ip, 0)).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (mut buffer, mut total) = (vec![0u8; 1 << 20], 0usize);
        loop {
            let length = stream.read(&mut buffer).unwrap();
            if length == 0 {
                return total;
            }
            for (offset, byte) in buffer[..length].iter().enumerate() {
                assert_eq!(*byte, pattern(total + offset), "byte {}", total + offset);
            }
            total += length;
        }
    });
    let mut stream = from.netns.run(|| TcpStream::connect(address).unwrap()).unwrap();
    let data: Vec<u8> = (0..TOTAL).map(pattern).collect();
    stream.write_all(&data).unwrap();
    drop(stream);
    assert_eq!(receiver.join().unwrap(), TOTAL);
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a remainder below 251 fits a byte"
)]
fn pattern(offset: usize) -> u8 {
    (offset % 251) as u8
}

fn check_super_frames(a: &Node, b: &Node) {
    let forwarder = Forwarder::start(Arc::clone(&a.port), Arc::clone(&b.port));
    transfer(a, b, ip(2));
    transfer(b, a, ip(1));
    for (side, (longest, segmented)) in forwarder.finish().into_iter().enumerate() {
        println!("side {side}: longest frame {longest}, super-frames {segmented}");
        assert!(
            longest > 10 * u64::from(MTU),
            "side {side}: longest frame {longest}"
        );
        assert!(segmented > 100, "side {side}: {segmented} super-frames");
    }
}

fn super_frames(carrier: Carrier) {
    let card = NetNs::create().unwrap();
    check_super_frames(&node(carrier, &card, 1), &node(carrier, &card, 2));
}

/// Datagrams that were made one super-frame arrive one by one, the last of them shorter.
fn tap_cuts_datagrams() {
    const HEADERS: usize = 42;
    let card = NetNs::create().unwrap();
    let node = node(Carrier::Tap, &card, 1);
    if !node.port.takes_udp_segments() {
        println!("SKIP: this kernel does not cut datagrams (Linux 6.2 does)");
        return;
    }
    let socket = node.netns.run(|| UdpSocket::bind((ip(1), 7)).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let payload: Vec<u8> = (0..64 * 22 - 5).map(pattern).collect();
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let sum = |bytes: &[u8]| {
        let words = bytes
            .chunks(2)
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum = words.sum::<u32>();
        u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
    };
    let mut frame = [&mac(1).0[..], &mac(2).0, &[8, 0, 0x45, 0]].concat();
    frame.extend(length(28 + payload.len()));
    frame.extend([0, 9, 0, 0, 64, 17, 0, 0]);
    frame.extend([ip(2).octets(), ip(1).octets()].concat());
    let checksum = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    let pseudo = [&frame[26..34], &[0, 17], &length(8 + payload.len())].concat();
    frame.extend([0x12, 0x34, 0, 7]);
    frame.extend(length(8 + payload.len()));
    frame.extend(sum(&pseudo).to_be_bytes());
    assert_eq!(frame.len(), HEADERS);
    frame.extend(&payload);
    let header = VnetHeader {
        flags: FLAG_NEEDS_CSUM,
        gso_type: GSO_UDP_L4,
        hdr_len: 42.into(),
        gso_size: 22.into(),
        csum_start: 34.into(),
        csum_offset: 6.into(),
    };
    header.check(frame.len()).unwrap();
    assert_eq!(node.port.write_parts(&header, &frame).unwrap(), Written::Sent);
    let mut buffer = [0; 100];
    for piece in payload.chunks(22) {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], piece);
    }
}

fn mixed_super_frames() {
    let card = NetNs::create().unwrap();
    check_super_frames(
        &node(Carrier::Tap, &card, 1),
        &node(Carrier::PacketSocket, &card, 2),
    );
}

fn bad_header(carrier: Carrier) {
    let card = NetNs::create().unwrap();
    let node = node(carrier, &card, 1);
    let bad = VnetHeader {
        flags: FLAG_NEEDS_CSUM,
        csum_start: 60_000.into(),
        ..VnetHeader::NONE
    };
    let written = node.port.write_parts(&bad, &arp_request(1)).unwrap();
    assert!(matches!(written, Written::Refused(_)), "{written:?}");
    // The port works on.
    assert_eq!(
        node.port.write_parts(&VnetHeader::NONE, &arp_request(1)).unwrap(),
        Written::Sent
    );
    read_frame(&*node.port, |frame| is_arp_reply_of(frame, 1));
}

/// A program in the instance sends nothing but super-frames of many segments: a batch of a few segments is full after
/// `most` of them, the rest waits, and all arrive in order.
fn bounded_batches(carrier: Carrier, most: usize) {
    const FRAMES: u8 = 64;
    const SEGMENTS: usize = 600;
    let card = NetNs::create().unwrap();
    let node = node(carrier, &card, 1);
    let raw = PacketPort::on_interface(&node.netns, "eth0", None).unwrap();
    let mut frame = [&mac(2).0[..], &mac(1).0, &[8, 0, 0x45, 0]].concat();
    frame.resize(54 + 8 * SEGMENTS, 0);
    let length = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 6]);
    frame[26..34].copy_from_slice(&[ip(1).octets(), ip(2).octets()].concat());
    frame[46] = 5 << 4;
    let header = VnetHeader {
        flags: FLAG_NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: 54.into(),
        gso_size: 8.into(),
        csum_start: 34.into(),
        csum_offset: 16.into(),
    };
    for number in 0..FRAMES {
        *frame.last_mut().unwrap() = number;
        assert_eq!(raw.write_parts(&header, &frame).unwrap(), Written::Sent);
    }
    let mut batch = Batch::limited(Limits {
        frames: BATCH_LIMIT,
        bytes: 512 << 10,
        segments: 512,
    });
    let mut came = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(5);
    while came.len() < usize::from(FRAMES) {
        assert!(Instant::now() < deadline, "{came:?}");
        let count = node.port.read_batch(&mut batch).unwrap();
        let before = came.len();
        for index in 0..count {
            let (header, frame) = split_checked(batch.frame_mut(index), 10).unwrap();
            // The instance's kernel says something now and then.
            if header.segment_bytes() > 0 {
                assert!(header.segment_count(frame.len()) >= SEGMENTS);
                came.push(*frame.last().unwrap());
            }
        }
        assert!(came.len() - before <= most, "{} in a batch", came.len() - before);
    }
    assert!(came.iter().copied().eq(0..FRAMES), "{came:?}");
}

fn tap_is_adopted() {
    let netns = NetNs::create().unwrap();
    let options = TapOptions {
        mac: Some(mac(1)),
        up: true,
        ..TapOptions::new("eth0")
    };
    let tap = Tap::open(&netns, &options).unwrap();
    let index = tap.index();
    let mut netlink = Netlink::open_in(&netns).unwrap();
    netlink
        .add_address(
            index,
            Address {
                ip: IpAddr::V4(ip(1)),
                prefix_len: 24,
            },
        )
        .unwrap();
    // As when the card is killed: descriptors are closed, nothing else happens.
    drop(tap);
    assert!(!netlink.link_by_name("eth0").unwrap().running);
    let begin = Instant::now();
    let tap = Tap::open(&netns, &options).unwrap();
    println!("adopted in {:?}", begin.elapsed());
    assert_eq!(tap.index(), index);
    assert_eq!(
        netlink.addresses(index).unwrap()[0].ip,
        IpAddr::V4(ip(1)),
        "addresses stay"
    );
    tap.queues()[0]
        .write_parts(&VnetHeader::NONE, &arp_request(1))
        .unwrap();
    read_frame(&tap.queues()[0], |frame| is_arp_reply_of(frame, 1));
    tap.remove().unwrap();
    assert!(netlink.link_by_name("eth0").is_err(), "removed");
}

/// Frames that go to the kernel together arrive each, and one that is refused keeps none back.
fn writes_together(carrier: Carrier) {
    let card = NetNs::create().unwrap();
    let node = node(carrier, &card, 1);
    let good = [&[0; 10][..], &arp_request(1)].concat();
    // A segment size without a checksum to be made.
    let bad = [&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], &arp_request(1)].concat();
    for mut writer in [Writer::new(), Writer::one_by_one()] {
        let frames = [&good, &bad, &good].map(|frame| (&*node.port, frame.as_slice()));
        let mut results = [Written::Full; 3];
        assert_eq!(writer.write_all(frames.into_iter(), &mut results), 3);
        assert_eq!([results[0], results[2]], [Written::Sent; 2], "{results:?}");
        assert!(matches!(results[1], Written::Refused(_)), "{results:?}");
        for _ in 0..2 {
            read_frame(&*node.port, |frame| is_arp_reply_of(frame, 1));
        }
    }
}

fn tap_with_queues() {
    let netns = NetNs::create().unwrap();
    let options = TapOptions {
        queues: 3,
        up: true,
        ..TapOptions::new("eth0")
    };
    let tap = Tap::open(&netns, &options).unwrap();
    assert_eq!(tap.queues().len(), 3);
    let mut netlink = Netlink::open_in(&netns).unwrap();
    netlink
        .add_address(
            tap.index(),
            Address {
                ip: IpAddr::V4(ip(1)),
                prefix_len: 24,
            },
        )
        .unwrap();
    for queue in tap.queues() {
        assert_eq!(
            queue.write_parts(&VnetHeader::NONE, &arp_request(1)).unwrap(),
            Written::Sent
        );
    }
    // Replies may leave through any queue.
    let (mut replies, deadline) = (0, Instant::now() + Duration::from_secs(5));
    let mut buffer = vec![0u8; SLOT_BYTES];
    while replies < 3 {
        assert!(Instant::now() < deadline, "{replies} replies");
        for queue in tap.queues() {
            if let Some(length) = queue.read(&mut buffer).unwrap() {
                replies += usize::from(is_arp_reply_of(&buffer[10..length], 1));
            }
        }
    }
    drop(tap);
    let tap = Tap::open(&netns, &TapOptions { queues: 2, ..options }).unwrap();
    assert_eq!(tap.queues().len(), 2, "adopted with another number of queues");
}

fn tap_twelve_byte_header() {
    let netns = NetNs::create().unwrap();
    let options = TapOptions {
        vnet_header_bytes: 12,
        up: true,
        persist: false,
        ..TapOptions::new("eth0")
    };
    let tap = Tap::open(&netns, &options).unwrap();
    let mut netlink = Netlink::open_in(&netns).unwrap();
    netlink
        .add_address(
            tap.index(),
            Address {
                ip: IpAddr::V4(ip(1)),
                prefix_len: 24,
            },
        )
        .unwrap();
    tap.queues()[0]
        .write_parts(&VnetHeader::NONE, &arp_request(1))
        .unwrap();
    read_frame(&tap.queues()[0], |frame| is_arp_reply_of(frame, 1));
    drop(tap);
    assert!(netlink.link_by_name("eth0").is_err(), "not persistent");
}

fn tap_options_are_checked() {
    let netns = NetNs::create().unwrap();
    for options in [
        TapOptions {
            queues: 0,
            ..TapOptions::new("eth0")
        },
        TapOptions {
            queues: 257,
            ..TapOptions::new("eth0")
        },
        TapOptions {
            vnet_header_bytes: 11,
            ..TapOptions::new("eth0")
        },
        TapOptions::new(""),
        TapOptions::new("sixteen-letters-"),
    ] {
        assert!(Tap::open(&netns, &options).is_err(), "{options:?}");
    }
    let links = Netlink::open_in(&netns).unwrap().links().unwrap();
    assert!(
        links.iter().all(|link| link.kind.as_deref() != Some("tun")),
        "{links:?}"
    );
}

fn packet_is_taken_over() {
    let (netns, card) = (NetNs::create().unwrap(), NetNs::create().unwrap());
    let port = PacketPort::open(&netns, &card, &packet_options(1)).unwrap();
    let index = port.index();
    let mut netlink = Netlink::open_in(&netns).unwrap();
    netlink
        .add_address(
            index,
            Address {
                ip: IpAddr::V4(ip(1)),
                prefix_len: 24,
            },
        )
        .unwrap();
    drop(port);
    let port = PacketPort::open(&netns, &card, &packet_options(1)).unwrap();
    assert_eq!(port.index(), index);
    port.write_parts(&VnetHeader::NONE, &arp_request(1)).unwrap();
    read_frame(&port, |frame| is_arp_reply_of(frame, 1));
    port.remove(&card).unwrap();
    assert!(netlink.link_by_name("eth0").is_err());
}

/// The card's namespace goes with the card; the kernel may remove its cables before or after another card
/// comes.
fn packet_cable_of_a_dead_card() {
    let netns = NetNs::create().unwrap();
    for _ in 0..5 {
        let card = NetNs::create().unwrap();
        let port = PacketPort::open(&netns, &card, &packet_options(1)).unwrap();
        let mut netlink = Netlink::open_in(&netns).unwrap();
        netlink
            .set_addresses(
                port.index(),
                &[Address {
                    ip: IpAddr::V4(ip(1)),
                    prefix_len: 24,
                }],
            )
            .unwrap();
        port.write_parts(&VnetHeader::NONE, &arp_request(1)).unwrap();
        read_frame(&port, |frame| is_arp_reply_of(frame, 1));
    }
}
