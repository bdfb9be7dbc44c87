use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::iface::{Config, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::*;
use crate::metadata::InstanceMetadata;
use crate::testing::metadata;
use crate::zone::VpcZone;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 5];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const OURS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x100, 0, 0, 0, 5);
const WALL: WallTime = WallTime(1_795_440_600_000_000_000);
const ID: &str = "eni-0123456789abcdef0";

/// A responder and one instance with a TCP stack of its own, joined by frames, in virtual time.
struct World {
    now: Instant,
    /// The interface that sends.
    id: &'static str,
    responder: Responder,
    metadata: InstanceMetadata,
    zone: VpcZone,
    dns_support: bool,
    client: smoltcp::iface::Interface,
    device: Wire,
    sockets: SocketSet<'static>,
    /// Frames that the responder sent, the oldest first.
    sent: Vec<Vec<u8>>,
    /// Decides which frames are lost or doubled, if any.
    fate: Option<StdRng>,
}

#[derive(Default)]
struct Wire {
    inbound: VecDeque<Vec<u8>>,
    outbound: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.inbound.pop_front()?), Tx(&mut self.outbound)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.outbound))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 9001;
        capabilities
    }
}

impl World {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let mut device = Wire::default();
        let time = smoltcp::time::Instant::ZERO;
        let mut client = smoltcp::iface::Interface::new(Config::new(HardwareAddress::Ip), &mut device, time);
        client.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(OURS.into(), 24)).unwrap();
            addresses.push(IpCidr::new(OURS_V6.into(), 64)).unwrap();
        });
        let routes = client.routes_mut();
        routes.add_default_ipv4_route(Ipv4Addr::new(10, 0, 0, 1)).unwrap();
        routes.add_default_ipv6_route("fe80::1".parse().unwrap()).unwrap();
        let mut zone = VpcZone::new("us-east-1", vec!["10.0.0.0/16".parse().unwrap()]);
        let many: Vec<IpAddr> = (0..=255).map(|n| Ipv4Addr::new(10, 0, 1, n).into()).collect();
        zone.add_host("many", &many);
        Self {
            now: Instant::from_nanos(1_000_000_000),
            id: ID,
            responder: Responder::new(options, [5; 32]),
            metadata: metadata(),
            zone,
            dns_support: true,
            client,
            device,
            sockets: SocketSet::new(Vec::new()),
            sent: Vec::new(),
            fate: None,
        }
    }

    /// How often the next frame arrives: of ten, one is lost and one doubled.
    fn copies(&mut self) -> usize {
        match self.fate.as_mut().map(|fate| fate.next_u32() % 10) {
            Some(0) => 0,
            Some(1) => 2,
            _ => 1,
        }
    }

    fn frame(&mut self, frame: &[u8]) {
        let context = InterfaceContext {
            id: self.id,
            mac: MAC,
            router_mac: ROUTER_MAC,
            mtu: 9001,
            ipv4: &[OURS],
            ipv4_prefix_len: 24,
            ipv4_router: Some(Ipv4Addr::new(10, 0, 0, 1)),
            ipv6: &[OURS_V6],
            dns: &[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))],
            hostname: "ip-10-0-0-5",
            domain: "ec2.internal",
            metadata: Some(&self.metadata),
            zone: &self.zone,
            dns_support: self.dns_support,
        };
        let sent = &mut self.sent;
        let first = sent.len();
        self.responder
            .handle_frame(self.now, WALL, &context, frame, &mut |frame| {
                sent.push(frame.to_vec());
            });
        self.deliver(first);
    }

    /// Gives the instance what the responder sent since `first`.
    fn deliver(&mut self, first: usize) {
        for at in first..self.sent.len() {
            let frame = &self.sent[at];
            assert_eq!(frame[6..12], ROUTER_MAC);
            assert!(frame[..6] == MAC || frame[..6] == [0xff; 6]);
            let packet = frame[14..].to_vec();
            for _ in 0..self.copies() {
                self.device.inbound.push_back(packet.clone());
            }
        }
    }

    fn time(&self) -> smoltcp::time::Instant {
        smoltcp::time::Instant::from_micros(i64::try_from(self.now.as_nanos() / 1000).unwrap())
    }

    /// Lets both sides talk until neither has anything to say at this time.
    fn settle(&mut self) {
        loop {
            self.client.poll(self.time(), &mut self.device, &mut self.sockets);
            let Some(packet) = self.device.outbound.pop_front() else {
                break;
            };
            for _ in 0..self.copies() {
                self.frame(&ethernet(&packet));
            }
        }
    }

    /// Lets time pass, in steps that both sides' timers ask for.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.settle();
            let client = self
                .client
                .poll_at(self.time(), &self.sockets)
                .map(|at| Instant::from_nanos(u64::try_from(at.total_micros()).unwrap() * 1000));
            let server = self.responder.poll_timeout(self.now);
            let next = [client, server].into_iter().flatten().min();
            let least = self.now + Duration::from_micros(1);
            self.now = next.unwrap_or(end).max(least).min(end);
            let first = self.sent.len();
            let sent = &mut self.sent;
            let own = self.id;
            self.responder.poll(self.now, &mut |id, frame| {
                assert_eq!(id, own);
                sent.push(frame.to_vec());
            });
            self.deliver(first);
        }
        self.settle();
    }

    fn connect(&mut self, to: SocketAddr, port: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_535]);
        let handle = self.sockets.add(tcp::Socket::new(buffer(), buffer()));
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket.connect(self.client.context(), to, port).unwrap();
        self.settle();
        handle
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn send(&mut self, handle: SocketHandle, bytes: &[u8]) {
        assert_eq!(self.socket(handle).send_slice(bytes), Ok(bytes.len()));
        self.pass(Duration::from_millis(50));
    }

    fn receive(&mut self, handle: SocketHandle) -> Vec<u8> {
        self.pass(Duration::from_millis(50));
        let mut bytes = vec![0; 65_535];
        let len = self.socket(handle).recv_slice(&mut bytes).unwrap_or(0);
        bytes.truncate(len);
        bytes
    }

    /// One request on a connection; the status and the body.
    fn http(&mut self, handle: SocketHandle, request: &str) -> (u16, String) {
        self.send(
            handle,
            format!("{}\r\n\r\n", request.replace('\n', "\r\n")).as_bytes(),
        );
        let text = String::from_utf8(self.receive(handle)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    fn refused(&self, why: Refusal) -> u64 {
        self.responder
            .counters(ID)
            .map_or(0, |counters| counters.refused(why))
    }
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    let mut frame = ROUTER_MAC.to_vec();
    frame.extend(MAC);
    frame.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    frame.extend(packet);
    frame
}

/// A frame of the instance with a datagram in it.
fn datagram(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    // A reply from the instance's own MAC looks like what it sends.
    let link = Link {
        mac: ROUTER_MAC,
        router_mac: MAC,
    };
    frame::udp(link, from.parse().unwrap(), to.parse().unwrap(), payload).unwrap()
}

fn imds() -> SocketAddr {
    SocketAddr::new(address::METADATA_V4.into(), 80)
}

/// TTLs of the frames with TCP payload that the responder sent.
fn payload_ttls(frames: &[Vec<u8>]) -> Vec<u8> {
    frames
        .iter()
        .filter(|frame| {
            let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            total > 20 + usize::from(frame[46] >> 4) * 4
        })
        .map(|frame| frame[22])
        .collect()
}

#[test]
fn a_token_and_the_tree_over_one_connection() {
    let mut world = World::new();
    world.metadata.options.tokens_required = true;
    let handle = world.connect(imds(), 40_000);
    assert_eq!(world.socket(handle).state(), tcp::State::Established);
    let (status, _) = world.http(handle, "GET /latest/meta-data/ HTTP/1.1\nHost: 169.254.169.254");
    assert_eq!(status, 401);
    let first = world.sent.len();
    let (status, token) = world.http(
        handle,
        "PUT /latest/api/token HTTP/1.1\nX-aws-ec2-metadata-token-ttl-seconds: 60",
    );
    assert_eq!((status, token.len()), (200, 56));
    assert_eq!(payload_ttls(&world.sent[first..]), [1]);
    let first = world.sent.len();
    let path = "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:05/local-ipv4s";
    let request = format!("GET {path} HTTP/1.1\nX-aws-ec2-metadata-token: {token}");
    assert_eq!(world.http(handle, &request), (200, "10.0.0.5\n10.0.0.50".into()));
    assert_eq!(payload_ttls(&world.sent[first..]), [64]);
    let document = format!(
        "GET /latest/dynamic/instance-identity/document HTTP/1.1\nX-aws-ec2-metadata-token: {token}\nConnection: close"
    );
    let (status, document) = world.http(handle, &document);
    assert_eq!(status, 200);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["instanceId"], "i-0123456789abcdef0");
    world.pass(Duration::from_millis(50));
    assert_eq!(world.socket(handle).state(), tcp::State::CloseWait);
    world.socket(handle).close();
    world.pass(Duration::from_secs(30));
    assert!(world.responder.stacks.is_empty());
    assert_eq!(world.responder.poll_timeout(world.now), None);
    assert_eq!(world.refused(Refusal::ImdsTokenMissing), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut world = World::new();
    let handle = world.connect(imds(), 40_000);
    let names = ["instance-id", "ami-id", "mac", "instance-type"];
    let requests: String = names
        .iter()
        .map(|name| format!("GET /latest/meta-data/{name} HTTP/1.1\r\n\r\n"))
        .collect();
    world.send(handle, requests.as_bytes());
    world.pass(Duration::from_secs(1));
    let text = String::from_utf8(world.receive(handle)).unwrap();
    let values = [
        "i-0123456789abcdef0",
        "ami-0abcdef1234567890",
        "02:00:00:00:00:05",
        "t3.micro",
    ];
    let mut rest = text.as_str();
    for value in values {
        let at = rest
            .find(&format!("\r\n\r\n{value}"))
            .unwrap_or_else(|| panic!("{text}"));
        rest = &rest[at + 4 + value.len()..];
    }
    assert!(rest.is_empty(), "{rest}");
}

#[test]
fn user_data_larger_than_the_windows_arrives_whole() {
    let mut world = World::new();
    let data: String = (b'a'..b'x').map(char::from).cycle().take(16_384).collect();
    world.metadata.user_data = Some(data.clone().into_bytes());
    let handle = world.connect(imds(), 40_000);
    assert_eq!(world.http(handle, "GET /latest/user-data HTTP/1.1"), (200, data));
}

#[test]
fn a_link_that_loses_and_doubles_frames_only_costs_time() {
    for seed in 0..100 {
        let mut world = World::new();
        world.fate = Some(StdRng::seed_from_u64(seed));
        let data: String = (b'a'..b'x').map(char::from).cycle().take(16_384).collect();
        world.metadata.user_data = Some(data.clone().into_bytes());
        let handle = world.connect(imds(), 40_000);
        world.pass(Duration::from_secs(10));
        world.send(
            handle,
            b"GET /latest/user-data HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        world.pass(Duration::from_secs(60));
        let text = String::from_utf8(world.receive(handle)).unwrap();
        assert!(text.ends_with(&data), "seed {seed}: {} bytes", text.len());
        world.socket(handle).close();
        world.pass(Duration::from_secs(60));
        assert!(world.responder.stacks.is_empty(), "seed {seed}");
    }
}

#[test]
fn the_ipv6_endpoint_answers_when_it_is_enabled() {
    let mut world = World::new();
    let to = SocketAddr::new(address::METADATA_V6.into(), 80);
    let handle = world.connect(to, 40_000);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.socket(handle).state(), tcp::State::SynSent);
    assert!(world.refused(Refusal::ImdsIpv6Disabled) > 0);
    world.metadata.options.ipv6 = true;
    world.pass(Duration::from_secs(10));
    assert_eq!(
        world.http(handle, "GET /latest/meta-data/ami-launch-index HTTP/1.1"),
        (200, "0".into())
    );
}

#[test]
fn garbage_is_answered_and_ends_the_connection() {
    let mut world = World::new();
    let handle = world.connect(imds(), 40_000);
    world.send(handle, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc");
    let text = String::from_utf8(world.receive(handle)).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert_eq!(world.socket(handle).state(), tcp::State::CloseWait);
    assert_eq!(world.refused(Refusal::ImdsBadRequest), 1);
}

#[test]
fn a_head_that_never_ends_is_bounded() {
    let mut world = World::new();
    let handle = world.connect(imds(), 40_000);
    world.send(handle, b"GET / HTTP/1.1\r\nX: ");
    world.send(handle, &[b'a'; 20_000]);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.refused(Refusal::ImdsTooLarge), 1);
    world.pass(Duration::from_secs(60));
    assert!(world.responder.stacks.is_empty());
}

#[test]
fn connections_are_bounded_and_idle_ones_end() {
    let mut world = World::new();
    let limit = u16::try_from(Options::default().interface_connections).unwrap();
    let handles: Vec<_> = (0..limit + 4)
        .map(|n| world.connect(imds(), 40_000 + n))
        .collect();
    assert_eq!(world.responder.connections(), usize::from(limit));
    assert_eq!(world.refused(Refusal::TcpConnections), 4);
    assert_eq!(
        world.socket(handles[usize::from(limit)]).state(),
        tcp::State::SynSent
    );
    // The four try again after a second and take the place of unused ones; then all end.
    world.pass(Duration::from_secs(35));
    assert_eq!(world.refused(Refusal::TcpIdle), u64::from(limit) + 4);
    // Nobody closes its side: the responder forgets them all the same.
    world.pass(Duration::from_secs(120));
    assert!(world.responder.stacks.is_empty());
}

#[test]
fn the_connection_that_is_unused_for_longest_makes_room() {
    let mut world = World::new();
    let limit = u16::try_from(Options::default().interface_connections).unwrap();
    let handles: Vec<_> = (0..limit).map(|n| world.connect(imds(), 40_000 + n)).collect();
    world.pass(Duration::from_secs(2));
    // The first is used again; the second has sent half a request.
    world.http(handles[0], "GET /latest/user-data HTTP/1.1");
    world.send(handles[1], b"GET ");
    let last = world.connect(imds(), 41_000);
    assert_eq!(world.socket(last).state(), tcp::State::Established);
    assert_eq!(world.responder.connections(), usize::from(limit));
    assert_eq!(world.refused(Refusal::TcpIdle), 1);
    assert_eq!(world.http(handles[0], "GET / HTTP/1.1").0, 200);
    assert_eq!(world.http(handles[1], "/ HTTP/1.1").0, 200);
    world.send(handles[2], b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(world.socket(handles[2]).state(), tcp::State::Closed);
}

#[test]
fn one_interface_cannot_use_up_what_the_others_need() {
    let mut world = World::with(Options {
        connections: 4,
        queries: 4,
        forward_dns: true,
        ..Options::default()
    });
    let mut port = 40_000;
    let mut open = |world: &mut World, id: &'static str| {
        world.id = id;
        for _ in 0..6 {
            port += 1;
            world.connect(imds(), port);
            world.frame(&datagram("10.0.0.5:5000", "10.0.0.2:53", QUERY_OUTSIDE));
        }
        let counters = world.responder.counters(id).unwrap();
        let refused = [Refusal::TcpConnections, Refusal::DnsUpstreamFull];
        refused.map(|why| 6 - counters.refused(why))
    };
    assert_eq!(open(&mut world, "eni-greedy"), [4, 4]);
    assert_eq!(open(&mut world, "eni-b"), [2, 2]);
    assert_eq!(open(&mut world, "eni-c"), [2, 2]);
    assert_eq!(world.responder.connections(), 8);
    world.responder.interface_gone("eni-greedy");
    assert_eq!(world.responder.connections(), 4);
    assert_eq!(world.responder.upstream.len(), 4);
}

#[test]
fn a_peer_that_vanishes_is_forgotten() {
    let mut world = World::new();
    let handle = world.connect(imds(), 40_000);
    let text = b"GET /latest/user-data HTTP/1.1\r\n\r\n";
    world.socket(handle).send_slice(text).unwrap();
    world
        .client
        .poll(world.time(), &mut world.device, &mut world.sockets);
    world.sockets.remove(handle);
    while let Some(packet) = world.device.outbound.pop_front() {
        world.frame(&ethernet(&packet));
        world.device.inbound.clear();
    }
    for _ in 0..100 {
        world.now = world.now + Duration::from_secs(1);
        world.responder.poll(world.now, &mut |_, _| {});
    }
    assert!(world.responder.stacks.is_empty());
}

#[test]
fn segments_of_no_connection_are_reset() {
    let mut world = World::new();
    let handle = world.connect(imds(), 40_000);
    // The card was restarted.
    world.responder = Responder::new(Options::default(), [5; 32]);
    world.send(handle, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(world.socket(handle).state(), tcp::State::Closed);
    assert_eq!(world.refused(Refusal::TcpUnknown), 1);
    assert!(world.responder.stacks.is_empty());
}

#[test]
fn dhcp_over_frames() {
    let mut world = World::new();
    let discover = trinic_wire::dhcpv4::Repr {
        broadcast: true,
        ..trinic_wire::dhcpv4::Repr::new(trinic_wire::dhcpv4::MessageType::Discover, 7, MAC)
    };
    let mut payload = vec![0; 300];
    discover.emit(&mut payload).unwrap();
    world.frame(&datagram("0.0.0.0:68", "255.255.255.255:67", &payload));
    let frame = world.sent.pop().unwrap();
    assert_eq!(frame[..6], [0xff; 6]);
    assert_eq!(frame[26..34], [10, 0, 0, 1, 255, 255, 255, 255]);
    let Ok(Inbound::Udp {
        source,
        destination,
        payload,
    }) = frame::parse(&frame)
    else {
        panic!("no datagram");
    };
    assert_eq!((source.port(), destination.port()), (67, 68));
    let offer = trinic_wire::dhcpv4::Repr::parse(payload).unwrap();
    assert_eq!(offer.your_address, OURS);
    // A renewal goes to the server alone.
    let mut renew = discover.clone();
    renew.message_type = trinic_wire::dhcpv4::MessageType::Request;
    renew.client_address = OURS;
    let mut payload = vec![0; 300];
    renew.emit(&mut payload).unwrap();
    world.frame(&datagram("10.0.0.5:68", "10.0.0.1:67", &payload));
    let frame = world.sent.pop().unwrap();
    assert_eq!(frame[..6], MAC);
    assert_eq!(frame[26..34], [10, 0, 0, 1, 10, 0, 0, 5]);
    world.frame(&datagram("10.0.0.5:68", "10.0.0.9:67", &payload));
    assert!(world.sent.is_empty());
    assert_eq!(world.refused(Refusal::NotForUs), 1);
}

#[test]
fn dhcpv6_over_frames() {
    let mut world = World::new();
    let solicit = [
        1, 1, 2, 3, 0, 1, 0, 3, 9, 9, 9, 0, 3, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    world.frame(&datagram("[fe80::5]:546", "[ff02::1:2]:547", &solicit));
    let frame = world.sent.pop().unwrap();
    assert_eq!(frame[..6], MAC);
    let Ok(Inbound::Udp {
        source,
        destination,
        payload,
    }) = frame::parse(&frame)
    else {
        panic!("no datagram");
    };
    assert_eq!(source.to_string(), "[fe80::ff:fe00:1]:547");
    assert_eq!(destination.to_string(), "[fe80::5]:546");
    assert_eq!(payload[..4], [2, 1, 2, 3]);
    assert!(payload.windows(16).any(|window| window == OURS_V6.octets()));
    world.frame(&datagram("[2001:db8:0:100::5]:546", "[ff02::1:2]:547", &solicit));
    world.frame(&datagram("[fe80::5]:546", "[fe80::1]:547", &solicit));
    assert_eq!(world.refused(Refusal::NotForUs), 2);
    assert!(world.sent.is_empty());
}

const QUERY_OUTSIDE: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01";
const QUERY_MANY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04many\x03ec2\x08internal\0\0\x01\0\x01";

#[test]
fn dns_at_all_its_addresses() {
    for (from, to) in [
        ("10.0.0.5:5000", "10.0.0.2:53"),
        ("10.0.0.5:5000", "10.1.0.2:53"),
        ("10.0.0.5:5000", "169.254.169.253:53"),
        ("[2001:db8:0:100::5]:5000", "[fd00:ec2::253]:53"),
    ] {
        let mut world = World::new();
        world.frame(&datagram(from, to, QUERY_OUTSIDE));
        let frame = world.sent.pop().unwrap();
        let Ok(Inbound::Udp {
            source,
            destination,
            payload,
        }) = frame::parse(&frame)
        else {
            panic!("no datagram");
        };
        assert_eq!(
            (source.to_string(), destination.to_string()),
            (to.into(), from.into())
        );
        assert_eq!(payload[..4], [0x12, 0x34, 0x81, 0x85]);
        assert_eq!(world.refused(Refusal::DnsRefused), 1);
        world.dns_support = false;
        world.frame(&datagram(from, to, QUERY_OUTSIDE));
        assert!(world.sent.is_empty());
        assert_eq!(world.refused(Refusal::DnsDisabled), 1);
    }
}

#[test]
fn dns_over_tcp_gives_what_udp_cannot() {
    let mut world = World::new();
    world.frame(&datagram("10.0.0.5:5000", "10.0.0.2:53", QUERY_MANY));
    assert_eq!(world.sent.pop().unwrap()[44] & 2, 2);
    assert_eq!(world.refused(Refusal::DnsTruncated), 1);
    let handle = world.connect("10.0.0.2:53".parse().unwrap(), 40_000);
    let message = tcp_message(QUERY_MANY);
    // In two pieces, then two more queries at once.
    world.send(handle, &message[..5]);
    world.send(handle, &message[5..]);
    let answer = world.receive(handle);
    let length = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
    assert_eq!(answer.len(), 2 + length);
    assert_eq!(answer[8..10], [1, 0]);
    world.send(handle, &[message.clone(), message].concat());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.receive(handle).len(), 2 * (2 + length));
}

fn forwarding() -> World {
    World::with(Options {
        forward_dns: true,
        ..Options::default()
    })
}

/// An answer without records to an upstream query.
fn upstream_answer(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] = 0x81;
    answer[3] = 0x80;
    answer
}

#[test]
fn dns_is_forwarded_over_udp_and_tcp() {
    let mut world = forwarding();
    world.frame(&datagram("10.0.0.5:5000", "10.0.0.2:53", QUERY_OUTSIDE));
    let handle = world.connect("10.0.0.2:53".parse().unwrap(), 40_000);
    world.send(handle, &tcp_message(QUERY_OUTSIDE));
    let queries: Vec<_> = std::iter::from_fn(|| world.responder.poll_upstream()).collect();
    assert_eq!(queries.len(), 2);
    let first = world.sent.len();
    let mut frames = Vec::new();
    let mut answer = |world: &mut World, query: &UpstreamQuery, bytes: &[u8]| {
        world
            .responder
            .handle_upstream(world.now, query.token, bytes, &mut |_, frame| {
                frames.push(frame.to_vec());
            });
        world.sent.append(&mut frames);
    };
    // A forged answer changes nothing.
    answer(&mut world, &queries[0], &upstream_answer(QUERY_OUTSIDE));
    assert_eq!(world.sent.len(), first);
    assert_eq!(
        world
            .responder
            .card_counters()
            .refused(Refusal::DnsUpstreamInvalid),
        1
    );
    answer(&mut world, &queries[0], &upstream_answer(&queries[0].bytes));
    assert_eq!(world.sent.len(), first + 1);
    let frame = world.sent[first].clone();
    assert_eq!(frame[42..46], [0x12, 0x34, 0x81, 0x80]);
    answer(&mut world, &queries[1], &upstream_answer(&queries[1].bytes));
    world.deliver(first + 1);
    let bytes = world.receive(handle);
    assert_eq!(bytes[2..6], [0x12, 0x34, 0x81, 0x80]);
    assert_eq!(world.responder.upstream.len(), 0);
}

#[test]
fn an_upstream_that_is_silent_gives_servfail() {
    let mut world = forwarding();
    world.frame(&datagram("10.0.0.5:5000", "10.0.0.2:53", QUERY_OUTSIDE));
    assert!(world.sent.is_empty());
    world.pass(Duration::from_secs(6));
    assert_eq!(world.sent.pop().unwrap()[42..46], [0x12, 0x34, 0x81, 0x82]);
    assert_eq!(world.refused(Refusal::DnsUpstreamTimeout), 1);
    assert_eq!(world.responder.poll_upstream(), None);
}

#[test]
fn queries_that_wait_are_bounded_and_forgotten_with_their_interface() {
    let mut world = forwarding();
    let limit = Options::default().interface_queries;
    for _ in 0..limit + 3 {
        world.frame(&datagram("10.0.0.5:5000", "10.0.0.2:53", QUERY_OUTSIDE));
    }
    assert_eq!(world.refused(Refusal::DnsUpstreamFull), 3);
    assert_eq!(world.responder.upstream.len(), limit);
    world.responder.interface_gone(ID);
    assert_eq!(world.responder.upstream.len(), 0);
    assert_eq!(world.responder.poll_upstream(), None);
    assert!(world.responder.counters(ID).is_none());
}

#[test]
fn ntp_over_both_families() {
    let mut request = [0; 48];
    request[0] = 0x23;
    for (from, to, at) in [
        ("10.0.0.5:5000", "169.254.169.123:123", 42),
        ("[2001:db8:0:100::5]:5000", "[fd00:ec2::123]:123", 62),
    ] {
        let mut world = World::new();
        world.frame(&datagram(from, to, &request));
        let frame = world.sent.pop().unwrap();
        assert_eq!(frame[at..at + 2], [0x24, 3]);
        request[0] = 0x23;
        world.frame(&datagram(from, to, &[0x24; 48]));
        assert!(world.sent.is_empty());
        assert_eq!(world.refused(Refusal::NtpMalformed), 1);
    }
}

#[test]
fn the_allowance_is_counted_by_its_ec2_name() {
    let mut world = World::new();
    let mut request = [0; 48];
    request[0] = 0x23;
    for _ in 0..1500 {
        world.frame(&datagram("10.0.0.5:5000", "169.254.169.123:123", &request));
    }
    assert_eq!(world.sent.len(), 1024);
    assert_eq!(world.refused(Refusal::Allowance), 1500 - 1024);
    assert_eq!(Refusal::Allowance.name(), "linklocal_allowance_exceeded");
}

#[test]
fn frames_for_nobody_are_counted() {
    let mut world = World::new();
    for (from, to) in [
        ("10.0.0.5:5000", "169.254.169.254:53"),
        ("10.0.0.5:5000", "169.254.169.253:123"),
        ("10.0.0.5:5000", "169.254.169.254:80"),
    ] {
        world.frame(&datagram(from, to, b"x"));
    }
    assert_eq!(world.refused(Refusal::NotForUs), 3);
    world.connect("169.254.169.254:443".parse().unwrap(), 40_000);
    assert_eq!(world.refused(Refusal::NotForUs), 4);
    let mut frame = datagram("10.0.0.5:5000", "10.0.0.2:53", QUERY_OUTSIDE);
    world.frame(&frame[..20]);
    assert_eq!(world.refused(Refusal::Malformed), 1);
    // More fragments; the header checksum follows.
    frame[20] |= 0x20;
    let sum = u16::from_be_bytes([frame[24], frame[25]]) - 0x2000;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    world.frame(&frame);
    assert_eq!(world.refused(Refusal::Fragment), 1);
    assert!(world.sent.is_empty());
}

#[test]
fn interfaces_are_bounded() {
    let mut world = World::with(Options {
        interfaces: 0,
        ..Options::default()
    });
    world.frame(&datagram("10.0.0.5:5000", "10.0.0.2:53", QUERY_OUTSIDE));
    assert!(world.sent.is_empty());
    let counters = world.responder.card_counters();
    assert_eq!(counters.refused(Refusal::InterfaceLimit), 1);
}
