//! Packets through the whole worker, over ports in memory.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Instant as StdInstant;

use trinic_host::port::Port;
use trinic_switch::tables::{Entry, PublicAddress, Route, RulePeer, RuleProtocol, SecurityGroup, Target};
use trinic_switch::{Config, DropReason};
use trinic_wire::arp;

use super::*;
use crate::card::memory_port::MemoryPort;
use crate::card::one_subnet::{group, interface, rule, tables};
use crate::card::probe_frame;
use crate::protocol::TraceRequest;

const LIMIT: Duration = Duration::from_secs(5);

/// A worker on a thread of its own; ends with the test.
struct Rig {
    handle: Handle,
    broken: Receiver<Option<Id>>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.handle.send(Message::Stop).unwrap();
    }
}

fn rig() -> Rig {
    rig_with(Writer::new())
}

fn rig_with(writer: Writer) -> Rig {
    let (sender, broken) = mpsc::channel();
    let services = Services::new(false, [7; 32]).unwrap();
    let tell = Box::new(move |interface| sender.send(interface).unwrap());
    let (mut worker, handle) = Worker::new(Switch::new(Config::default()), services, tell).unwrap();
    worker.writer = writer;
    std::thread::spawn(move || worker.run().unwrap());
    handle.load(tables(Vec::new(), [4, 5].map(interface))).unwrap();
    Rig { handle, broken }
}

/// A datagram from eni-4 to eni-5, with a header in front.
fn datagram() -> Vec<u8> {
    let request = TraceRequest {
        interface: "eni-4".into(),
        source: None,
        destination: Ipv4Addr::new(10, 0, 0, 5).into(),
        protocol: 17,
        source_port: 4000,
        destination_port: 5000,
    };
    let mut packet = vec![0; VNET_HEADER_BYTES];
    packet.extend(probe_frame::build(&interface(4), &request).unwrap());
    packet
}

/// The next packet that comes out, within the limit.
fn next(port: &MemoryPort) -> Vec<u8> {
    let deadline = StdInstant::now() + LIMIT;
    loop {
        if let Some(packet) = port.take().unwrap() {
            return packet;
        }
        assert!(StdInstant::now() < deadline, "no packet came");
        std::thread::yield_now();
    }
}

fn counters(rig: &Rig) -> Counters {
    rig.handle.visit(|visit| *visit.counters).unwrap()
}

/// Waits until the worker has read this many packets.
fn read(rig: &Rig, packets: u64) {
    let deadline = StdInstant::now() + LIMIT;
    while counters(rig).packets < packets {
        assert!(StdInstant::now() < deadline, "{:?}", counters(rig));
    }
}

fn dropped(rig: &Rig, interface: &'static str, reason: DropReason) -> u64 {
    rig.handle
        .visit(move |visit| visit.switch.counters(interface).unwrap().dropped(reason))
        .unwrap()
}

fn plug(rig: &Rig, interface: &str, capacity: usize) -> (MemoryPort, PortId) {
    let (near, far) = MemoryPort::pair(capacity).unwrap();
    let port = rig
        .handle
        .connect(Some(interface.into()), Plug::Kernel(Box::new(near)))
        .unwrap();
    (far, port)
}

#[test]
fn a_delta_opens_what_the_group_drops() {
    let rig = rig();
    let (four, _) = plug(&rig, "eni-4", 16);
    let (five, _) = plug(&rig, "eni-5", 16);
    four.write(&datagram()).unwrap();
    read(&rig, 1);
    assert_eq!(dropped(&rig, "eni-5", DropReason::SecurityGroupInbound), 1);
    assert_eq!(five.take().unwrap(), None);

    let delta = Delta {
        from: Revision(1),
        to: Revision(2),
        upsert: vec![group("sg-1", vec![rule("sgr-in", RuleProtocol::Number(17))])],
        remove: Vec::new(),
    };
    assert_eq!(rig.handle.apply(delta.clone()).unwrap(), Ok(Revision(2)));
    four.write(&datagram()).unwrap();
    let packet = next(&five);
    assert_eq!(packet.len(), datagram().len());
    assert_eq!(
        packet[VNET_HEADER_BYTES..VNET_HEADER_BYTES + 6],
        [2, 0, 0, 0, 0, 5]
    );
    // The same delta does not fit twice, and says what would.
    assert_eq!(
        rig.handle.apply(delta).unwrap(),
        Err(DeltaMismatch {
            from: Revision(1),
            at: Revision(2)
        })
    );
}

#[test]
fn the_card_answers_arp_on_the_port_that_asked() {
    let rig = rig();
    let (four, _) = plug(&rig, "eni-4", 16);
    let mut packet = vec![0; VNET_HEADER_BYTES + 64];
    let header = ethernet::Repr {
        destination: [0xff; 6],
        source: [2, 0, 0, 0, 0, 4],
        tag: None,
        ethertype: ethernet::EtherType::ARP,
    };
    let start = VNET_HEADER_BYTES + header.emit(&mut packet[VNET_HEADER_BYTES..]).unwrap();
    let request = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: [2, 0, 0, 0, 0, 4],
        sender_address: Ipv4Addr::new(10, 0, 0, 4),
        target_mac: [0; 6],
        target_address: Ipv4Addr::new(10, 0, 0, 1),
    };
    request.emit(&mut packet[start..]).unwrap();
    four.write(&packet).unwrap();
    let reply = next(&four);
    let (reply, _) = ethernet::Repr::parse(&reply[VNET_HEADER_BYTES..]).unwrap();
    assert_eq!(reply.destination, [2, 0, 0, 0, 0, 4]);
    assert_eq!(reply.ethertype, ethernet::EtherType::ARP);
}

#[test]
fn a_full_receiver_loses_packets_and_they_are_counted() {
    let rig = rig();
    let (four, _) = plug(&rig, "eni-4", 16);
    let (five, _) = plug(&rig, "eni-5", 2);
    let open = Delta {
        from: Revision(1),
        to: Revision(2),
        upsert: vec![group("sg-1", vec![rule("sgr-in", RuleProtocol::Any)])],
        remove: Vec::new(),
    };
    rig.handle.apply(open).unwrap().unwrap();
    for _ in 0..5 {
        four.write(&datagram()).unwrap();
    }
    read(&rig, 5);
    assert_eq!(counters(&rig).queue_full, 3);
    next(&five);
    four.write(&datagram()).unwrap();
    read(&rig, 6);
    assert_eq!(counters(&rig).queue_full, 3);
}

#[test]
fn a_header_that_makes_no_sense_is_counted_and_dropped() {
    let rig = rig();
    let (four, _) = plug(&rig, "eni-4", 16);
    let mut packet = datagram();
    packet[0] = 1;
    packet[6] = 0xff;
    packet[7] = 0xff;
    four.write(&packet).unwrap();
    four.write(&packet[..VNET_HEADER_BYTES + 3]).unwrap();
    read(&rig, 2);
    assert_eq!(counters(&rig).bad_headers, 2);
    assert_eq!(dropped(&rig, "eni-4", DropReason::Malformed), 0);
}

#[test]
fn an_unplugged_port_is_free_for_another() {
    let rig = rig();
    let (_four, port) = plug(&rig, "eni-4", 16);
    let (_five, other) = plug(&rig, "eni-5", 16);
    assert_ne!(port, other);
    rig.handle.disconnect(port).unwrap();
    let (_again, again) = plug(&rig, "eni-4", 16);
    assert_eq!(again, port);
    // A port that is gone twice is no harm.
    rig.handle.disconnect(PortId(99)).unwrap();
}

/// A port that is a socket, as those of the kernel are: what goes to it may be written in one call.
#[derive(Debug)]
struct Socket(UnixDatagram);

impl Socket {
    fn pair() -> (Self, UnixDatagram) {
        let (near, far) = UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_read_timeout(Some(LIMIT)).unwrap();
        (Self(near), far)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Port for Socket {
    fn vnet_header_bytes(&self) -> usize {
        VNET_HEADER_BYTES
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.recv(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, buffer: &[u8]) -> io::Result<Written> {
        self.0.send(buffer).map(|_| Written::Sent)
    }

    fn write_parts(&self, header: &VnetHeader, frame: &[u8]) -> io::Result<Written> {
        use zerocopy::IntoBytes;
        self.write(&[header.as_bytes(), frame].concat())
    }

    fn write_descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// The same with a kernel behind it that cuts up super-frames of datagrams.
#[derive(Debug)]
struct Cutting(Socket);

impl AsFd for Cutting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Port for Cutting {
    fn vnet_header_bytes(&self) -> usize {
        VNET_HEADER_BYTES
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.0.read(buffer)
    }

    fn write(&self, buffer: &[u8]) -> io::Result<Written> {
        self.0.write(buffer)
    }

    fn write_parts(&self, header: &VnetHeader, frame: &[u8]) -> io::Result<Written> {
        self.0.write_parts(header, frame)
    }

    fn takes_udp_segments(&self) -> bool {
        true
    }
}

/// A datagram of a flow as a tap gives it: the checksum is left open.
fn open_datagram(payload: &[u8]) -> Vec<u8> {
    use zerocopy::IntoBytes;
    let (from, to) = (Ipv4Addr::new(10, 0, 0, 4), Ipv4Addr::new(10, 0, 0, 5));
    let mut frame = datagram().split_off(VNET_HEADER_BYTES);
    frame.resize(256, 0);
    let length = ip_datagram(&mut frame[ethernet::HEADER_LEN..], from, to, payload);
    frame.truncate(ethernet::HEADER_LEN + length);
    // "Do not fragment", so that the identification is free.
    frame[20] |= 0x40;
    frame[24..26].fill(0);
    let checksum = !ones_complement_sum(&frame[ethernet::HEADER_LEN..][..ipv4::HEADER_LEN]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    let header = leave_open(&mut frame, ethernet::HEADER_LEN + ipv4::HEADER_LEN);
    [header.as_bytes(), &frame].concat()
}

/// Datagrams of one flow that wait together go to a tap as one super-frame, each judged and counted by itself,
/// and to any other port as they came.
#[test]
fn datagrams_of_a_flow_are_joined_for_a_kernel_that_cuts_them() {
    for cuts in [false, true] {
        let rig = rig();
        let open = Delta {
            from: Revision(1),
            to: Revision(2),
            upsert: vec![group("sg-1", vec![rule("sgr-in", RuleProtocol::Any)])],
            remove: Vec::new(),
        };
        rig.handle.apply(open).unwrap().unwrap();
        let ((four, sender), (five, receiver)) = (Socket::pair(), Socket::pair());
        let sent: Vec<_> = (1..=5_u8)
            .map(|number| vec![number; if number == 5 { 3 } else { 22 }])
            .collect();
        for payload in &sent {
            sender.send(&open_datagram(payload)).unwrap();
        }
        let five: Box<dyn Port> = if cuts {
            Box::new(Cutting(five))
        } else {
            Box::new(five)
        };
        rig.handle
            .connect(Some("eni-5".into()), Plug::Kernel(five))
            .unwrap();
        rig.handle
            .connect(Some("eni-4".into()), Plug::Kernel(Box::new(four)))
            .unwrap();
        let headers = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;
        let expected = if cuts { vec![sent.concat()] } else { sent.clone() };
        for payload in expected {
            let mut buffer = [0; 2048];
            let length = receiver.recv(&mut buffer).unwrap();
            let (header, frame) = port::split_checked(&mut buffer[..length], VNET_HEADER_BYTES).unwrap();
            assert_eq!(header.segment_bytes(), if cuts { 22 } else { 0 });
            assert!(header.needs_checksum());
            assert_eq!(frame[headers..], payload);
            let ip = &frame[ethernet::HEADER_LEN..];
            assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len());
            assert_eq!(usize::from(u16::from_be_bytes([ip[24], ip[25]])), ip.len() - 20);
        }
        let counters = counters(&rig);
        assert_eq!((counters.packets, counters.send_failures), (5, 0));
        assert_eq!(counters.joined, if cuts { 5 } else { 0 });
        let counted = rig.handle.visit(|visit| visit.switch.counters("eni-5").unwrap());
        assert_eq!(counted.unwrap().packets_in, 5);
    }
}

/// A super-frame that a receiver refuses is as many packets as it was made of.
#[test]
fn a_lost_super_frame_counts_as_its_packets() {
    let rig = rig();
    let open = Delta {
        from: Revision(1),
        to: Revision(2),
        upsert: vec![group("sg-1", vec![rule("sgr-in", RuleProtocol::Any)])],
        remove: Vec::new(),
    };
    rig.handle.apply(open).unwrap().unwrap();
    let ((four, sender), (five, receiver)) = (Socket::pair(), Socket::pair());
    for number in 0..3 {
        sender.send(&open_datagram(&[number; 22])).unwrap();
    }
    drop(receiver);
    rig.handle
        .connect(Some("eni-5".into()), Plug::Kernel(Box::new(Cutting(five))))
        .unwrap();
    rig.handle
        .connect(Some("eni-4".into()), Plug::Kernel(Box::new(four)))
        .unwrap();
    read(&rig, 3);
    let counters = counters(&rig);
    assert_eq!((counters.send_failures, counters.joined), (3, 0));
}

/// What waits at a port when its turn comes goes on together, in its order, with a ring and without one.
#[test]
fn a_batch_arrives_whole_and_in_order() {
    for writer in [Writer::new(), Writer::one_by_one()] {
        let rig = rig_with(writer);
        let open = Delta {
            from: Revision(1),
            to: Revision(2),
            upsert: vec![group("sg-1", vec![rule("sgr-in", RuleProtocol::Any)])],
            remove: Vec::new(),
        };
        rig.handle.apply(open).unwrap().unwrap();
        let ((four, sender), (five, receiver)) = (Socket::pair(), Socket::pair());
        // They wait before the worker knows the port, so they are one batch.
        for number in 0..8_u8 {
            let mut packet = datagram();
            packet.push(number);
            sender.send(&packet).unwrap();
        }
        rig.handle
            .connect(Some("eni-5".into()), Plug::Kernel(Box::new(five)))
            .unwrap();
        rig.handle
            .connect(Some("eni-4".into()), Plug::Kernel(Box::new(four)))
            .unwrap();
        for number in 0..8_u8 {
            let mut buffer = [0; 2048];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(length, datagram().len() + 1);
            assert_eq!(buffer[length - 1], number);
        }
        let counters = counters(&rig);
        assert_eq!((counters.packets, counters.send_failures), (8, 0));
    }
}

#[test]
fn frames_that_a_receiver_refuses_are_counted_to_it() {
    for writer in [Writer::new(), Writer::one_by_one()] {
        let rig = rig_with(writer);
        let open = Delta {
            from: Revision(1),
            to: Revision(2),
            upsert: vec![group("sg-1", vec![rule("sgr-in", RuleProtocol::Any)])],
            remove: Vec::new(),
        };
        rig.handle.apply(open).unwrap().unwrap();
        let ((four, sender), (five, receiver)) = (Socket::pair(), Socket::pair());
        for _ in 0..3 {
            sender.send(&datagram()).unwrap();
        }
        rig.handle
            .connect(Some("eni-5".into()), Plug::Kernel(Box::new(five)))
            .unwrap();
        drop(receiver);
        rig.handle
            .connect(Some("eni-4".into()), Plug::Kernel(Box::new(four)))
            .unwrap();
        read(&rig, 3);
        assert_eq!(counters(&rig).send_failures, 3);
        let refused = rig.handle.visit(|visit| {
            let mut slots = visit.ports.iter().flatten();
            slots
                .find(|slot| slot.interface.as_deref() == Some("eni-5"))
                .map(|slot| slot.refused)
        });
        assert_eq!(refused.unwrap(), Some(3));
    }
}

/// A device that its owner took away: it is always readable and every read fails.
#[derive(Debug)]
struct Dead(OwnedFd);

impl AsFd for Dead {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Port for Dead {
    fn vnet_header_bytes(&self) -> usize {
        VNET_HEADER_BYTES
    }

    fn read(&self, _: &mut [u8]) -> io::Result<Option<usize>> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn write(&self, _: &[u8]) -> io::Result<Written> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn write_parts(&self, _: &VnetHeader, _: &[u8]) -> io::Result<Written> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

#[test]
fn a_dead_device_is_taken_out_and_told() {
    let rig = rig();
    let readable = eventfd(1, EventfdFlags::NONBLOCK).unwrap();
    rig.handle
        .connect(Some("eni-4".into()), Plug::Kernel(Box::new(Dead(readable))))
        .unwrap();
    assert_eq!(rig.broken.recv_timeout(LIMIT).unwrap().as_deref(), Some("eni-4"));
    assert_eq!(counters(&rig).broken_ports, 1);
    assert!(rig.handle.visit(|visit| visit.ports[0].is_none()).unwrap());
}

/// The card's tables with an internet gateway; eni-4 has a public address and may send anything.
fn with_gateway() -> Delta {
    let mut four = interface(4);
    four.public = vec![PublicAddress {
        private: Ipv4Addr::new(10, 0, 0, 4),
        public: PUBLIC,
    }];
    let mut routes = tables(Vec::new(), []).entries["rtb-1"].clone();
    if let Entry::RouteTable(table) = &mut routes {
        table.routes.push(Route {
            destination: "0.0.0.0/0".parse().unwrap(),
            target: Target::InternetGateway("igw-1".into()),
        });
    }
    let mut out = rule("sgr-out", RuleProtocol::Any);
    out.peer = RulePeer::Cidr("0.0.0.0/0".parse().unwrap());
    let group = Entry::SecurityGroup(SecurityGroup {
        id: "sg-1".into(),
        vpc_id: "vpc-1".into(),
        inbound: Vec::new(),
        outbound: vec![out],
    });
    Delta {
        from: Revision(1),
        to: Revision(2),
        upsert: vec![Entry::Interface(four), routes, group],
        remove: Vec::new(),
    }
}

const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 4);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// A datagram of eni-4 to the internet, all checksums complete.
fn datagram_to_outside(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 256];
    let header = ethernet::Repr {
        destination: trinic_switch::ROUTER_MAC,
        source: [2, 0, 0, 0, 0, 4],
        tag: None,
        ethertype: ethernet::EtherType::IPV4,
    };
    header.emit(&mut frame).unwrap();
    let length = ip_datagram(&mut frame[14..], Ipv4Addr::new(10, 0, 0, 4), OUTSIDE, payload);
    frame.truncate(14 + length);
    frame
}

fn ip_datagram(packet: &mut [u8], from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> usize {
    let repr = udp::Repr {
        source_port: 4_000,
        destination_port: 4_789,
        payload,
    };
    let length = repr.emit(&mut packet[20..], from.into(), to.into()).unwrap();
    let header = ipv4::Repr::new(from, to, ipv4::Protocol::UDP, length);
    header.emit(packet).unwrap();
    20 + length
}

/// Leaves the checksum of the datagram whose UDP header is at `transport` open, as a sender with an offload
/// does: the field gets the sum of the pseudo header.
fn leave_open(frame: &mut [u8], transport: usize) -> VnetHeader {
    let addresses = frame[transport - 8..transport].to_vec();
    let pseudo = [&addresses[..], &[0, 17], &frame[transport + 4..transport + 6]].concat();
    let sum = ones_complement_sum(&pseudo);
    frame[transport + 6..transport + 8].copy_from_slice(&sum.to_be_bytes());
    VnetHeader {
        flags: 1,
        csum_start: u16::try_from(transport).unwrap().into(),
        csum_offset: 6.into(),
        ..VnetHeader::NONE
    }
}

/// What comes out at the internet, after the open checksum was completed there.
fn through_the_gateway(header: &VnetHeader, frame: &[u8]) -> Vec<u8> {
    use zerocopy::IntoBytes;
    let rig = rig();
    let (four, _) = plug(&rig, "eni-4", 16);
    let (near, internet) = MemoryPort::pair(16).unwrap();
    rig.handle.connect(None, Plug::Kernel(Box::new(near))).unwrap();
    rig.handle.apply(with_gateway()).unwrap().unwrap();
    four.write(&[header.as_bytes(), frame].concat()).unwrap();
    let packet = next(&internet);
    let mut frame = packet[VNET_HEADER_BYTES..].to_vec();
    complete_checksum(&VnetHeader::read(&packet).unwrap(), &mut frame);
    frame
}

/// The payload of the datagram at `network`, whose checksums must be right.
fn payload(frame: &[u8], network: usize) -> (Ipv4Addr, Vec<u8>) {
    let (header, packet) = ipv4::Repr::parse(&frame[network..]).unwrap();
    let datagram = udp::Repr::parse(packet, header.source.into(), header.destination.into()).unwrap();
    (header.source, datagram.payload.to_vec())
}

#[test]
fn an_open_checksum_is_right_after_translation() {
    let mut frame = datagram_to_outside(b"hello");
    let header = leave_open(&mut frame, 34);
    assert!(outer_checksum_is_partial(&header, &frame));
    let out = through_the_gateway(&header, &frame);
    assert_eq!(payload(&out, 14), (PUBLIC, b"hello".to_vec()));
}

/// A tunnel's end leaves the checksum of the inner packet open; the outer one is complete and must be
/// translated as such.
#[test]
fn an_open_checksum_inside_a_tunnel_leaves_the_outer_one_right() {
    let inside = (Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::new(192, 168, 0, 2));
    let mut inner = vec![0; 64];
    let length = ip_datagram(&mut inner, inside.0, inside.1, b"tunnelled");
    inner.truncate(length);
    // The outer checksum is that of the packet as it will be when the inner checksum is there.
    let mut frame = datagram_to_outside(&inner);
    let inner_at = frame.len() - length;
    let header = leave_open(&mut frame, inner_at + 20);
    assert!(!outer_checksum_is_partial(&header, &frame));
    let out = through_the_gateway(&header, &frame);
    assert_eq!(payload(&out, 14), (PUBLIC, inner));
    assert_eq!(payload(&out, inner_at), (inside.0, b"tunnelled".to_vec()));
}

#[test]
fn an_open_checksum_is_the_outer_one_only_in_its_place() {
    let frame = datagram_to_outside(b"hello");
    let at = |start: u16, offset: u16| VnetHeader {
        flags: 1,
        csum_start: start.into(),
        csum_offset: offset.into(),
        ..VnetHeader::NONE
    };
    assert!(outer_checksum_is_partial(&at(34, 6), &frame));
    for (start, offset) in [(34, 16), (33, 6), (35, 6), (14, 6), (34, 0)] {
        assert!(
            !outer_checksum_is_partial(&at(start, offset), &frame),
            "{start} {offset}"
        );
    }
    let mut with_options = frame.clone();
    with_options[14] = 0x46;
    assert!(outer_checksum_is_partial(&at(38, 6), &with_options));
    let mut tcp6 = vec![0; 80];
    tcp6[12..14].copy_from_slice(&[0x86, 0xdd]);
    tcp6[20] = 6;
    assert!(outer_checksum_is_partial(&at(54, 16), &tcp6));
    assert!(!outer_checksum_is_partial(&at(54, 6), &tcp6));
    assert!(!outer_checksum_is_partial(&at(14, 6), &[0; 14]));
    let finished = VnetHeader {
        flags: 0,
        ..at(34, 6)
    };
    assert!(!outer_checksum_is_partial(&finished, &frame));
}

#[test]
fn partial_checksums_are_completed_for_the_services() {
    let mut frame = vec![0xaa; 14];
    frame.extend([0x00, 0x01, 0xf2, 0x03, 0x04, 0x05, 0x06]);
    let header = VnetHeader {
        flags: 1,
        csum_start: 14.into(),
        csum_offset: 0.into(),
        ..VnetHeader::NONE
    };
    complete_checksum(&header, &mut frame);
    let sum = 0x0001_u32 + 0xf203 + 0x0405 + 0x0600;
    assert_eq!(frame[14..16], (!u16::try_from(sum).unwrap()).to_be_bytes());
}
