//! Bodies of the fuzz targets: each takes any bytes and panics only where a promise of this crate is
//! broken (a panic inside, an answer that is too large, more state than [`Options`] allows).
//!
//! The same bodies run under `cargo test` with the corpus and with random bytes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use trinic_wire::time::Instant;

use crate::dns::{self, Outcome, Transport};
use crate::imds::token::Tokens;
use crate::imds::{self, http};
use crate::metadata::{InstanceMetadata, MetadataOptions};
use crate::zone::VpcZone;
use crate::{InterfaceContext, Options, Responder, WallTime, dhcp, dhcpv6};

/// Bytes of the Ethernet, IPv6 and UDP headers before an answer.
const HEADERS_BYTES: usize = 14 + 40 + 8;
const WALL: WallTime = WallTime(1_795_440_600_000_000_000);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 5];

/// One DHCP message.
pub fn dhcp(message: &[u8]) {
    let world = World::new(0);
    let offer = dhcp::Offer {
        lease_s: u32::MAX,
        ntp: true,
    };
    if let Ok(reply) = dhcp::answer(&world.context(), offer, message) {
        assert!(reply.payload.len() <= trinic_wire::dhcpv4::MAX_LEN);
        let parsed = trinic_wire::dhcpv4::Repr::parse(&reply.payload);
        assert!(
            parsed.is_ok_and(|repr| repr.message_type.is_reply()),
            "A reply is a message of a server"
        );
    }
}

/// One DHCPv6 message.
pub fn dhcpv6(message: &[u8]) {
    let world = World::new(0);
    if let Ok(reply) = dhcpv6::answer(&world.context(), message) {
        assert!(reply.len() <= dhcpv6::MESSAGE_MAX_BYTES);
        assert!(
            dhcpv6::answer(&world.context(), &reply).is_err(),
            "Two servers must not answer each other"
        );
    }
}

/// One DNS message, over both transports; the bytes are an answer of the upstream resolver, too.
pub fn dns(message: &[u8]) {
    let zone = zone();
    for (transport, limit) in [
        (Transport::Udp { room_bytes: 1232 }, 1232),
        (Transport::Tcp, 65_535),
    ] {
        match dns::answer(message, transport, &zone, true) {
            Outcome::Silent(_) => {}
            Outcome::Answer(answer, _) => {
                assert!(answer.len() <= limit);
                assert!(
                    matches!(dns::answer(&answer, transport, &zone, true), Outcome::Silent(_)),
                    "Two servers must not answer each other"
                );
            }
            Outcome::Ask(client) => {
                let query = client.query(7);
                assert!(query.is_some_and(|query| query.len() <= dns::QUERY_MAX_BYTES));
                if let Some(Outcome::Answer(answer, _)) = client.answer(7, message) {
                    assert!(answer.len() <= limit);
                }
            }
        }
    }
}

/// The bytes of one connection to the metadata service.
pub fn imds_http(stream: &[u8]) {
    let metadata = metadata();
    let tokens = Tokens::new(&[1; 32]);
    let mut rest = stream;
    loop {
        match http::parse(rest) {
            Err(malformed) => {
                let reply = imds::bad_request(malformed.status).emit(WALL.0, true, false);
                assert!(reply.starts_with(b"HTTP/1.1 4"));
                return;
            }
            Ok(http::Parsed::Partial) => {
                assert!(rest.len() <= http::HEAD_MAX_BYTES + http::BODY_MAX_BYTES);
                return;
            }
            Ok(http::Parsed::Complete(request, len)) => {
                assert!(len > 0 && len <= rest.len());
                let (response, _) = imds::answer(&tokens, WALL.0, &mut || [0; 8], &metadata, &request);
                assert!(response.hop_limit.is_none_or(|limit| (1..=64).contains(&limit)));
                let reply = response.emit(WALL.0, request.keep_alive, false);
                assert!(reply.starts_with(b"HTTP/1.1 "));
                rest = &rest[len..];
            }
        }
    }
}

/// Frames of an interface, with time between them. The first byte chooses options; then come frames,
/// each after the tenths of a second before it (one byte) and its length (two bytes, big-endian).
pub fn frame(script: &[u8]) {
    let Some((&flags, mut rest)) = script.split_first() else {
        return;
    };
    let options = Options {
        packets_per_second: None,
        forward_dns: flags & 1 != 0,
        interface_connections: 4,
        connections: 4,
        interface_queries: 2,
        queries: 2,
        ..Options::default()
    };
    let world = World::new(flags);
    let mut responder = Responder::new(options, [2; 32]);
    let mut now = Instant::from_nanos(1);
    while let Some((&[tenths, high, low], after)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (frame, after) = after.split_at(len);
        rest = after;
        now = now + Duration::from_millis(100 * u64::from(tenths));
        responder.poll(now, &mut |_, frame| check_reply(frame));
        responder.handle_frame(now, WALL, &world.context(), frame, &mut check_reply);
        assert!(responder.connections() <= options.connections);
        let queries = std::iter::from_fn(|| responder.poll_upstream()).count();
        assert!(queries <= options.queries);
        assert!(responder.poll_timeout(now).is_none_or(|at| at >= now));
    }
    // Whatever came, nothing but counters is left after the last deadline.
    for _ in 0..20 {
        now = now + Duration::from_secs(10);
        responder.poll(now, &mut |_, frame| check_reply(frame));
    }
    assert_eq!(responder.connections(), 0);
    assert_eq!(responder.poll_timeout(now), None);
}

/// A reply is a frame from the router that fits into the interface's MTU.
fn check_reply(frame: &[u8]) {
    assert!(frame.len() <= 14 + 9001 && frame.len() <= HEADERS_BYTES + 65_535);
    assert_eq!(frame[6..12], [2, 0, 0, 0, 0, 1]);
}

/// An interface with everything.
struct World {
    metadata: InstanceMetadata,
    zone: VpcZone,
    dns_support: bool,
    dns: [IpAddr; 1],
}

impl World {
    fn new(flags: u8) -> Self {
        let mut metadata = metadata();
        metadata.options.tokens_required = flags & 2 != 0;
        metadata.options.ipv6 = flags & 4 == 0;
        metadata.options.enabled = flags & 8 == 0;
        Self {
            metadata,
            zone: zone(),
            dns_support: flags & 16 == 0,
            dns: [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))],
        }
    }

    fn context(&self) -> InterfaceContext<'_> {
        InterfaceContext {
            id: "eni-1",
            mac: MAC,
            router_mac: [2, 0, 0, 0, 0, 1],
            mtu: 9001,
            ipv4: const { &[Ipv4Addr::new(10, 0, 0, 5)] },
            ipv4_prefix_len: 24,
            ipv4_router: Some(Ipv4Addr::new(10, 0, 0, 1)),
            ipv6: const { &[Ipv6Addr::new(0x2001, 0xdb8, 0, 0x100, 0, 0, 0, 5)] },
            dns: &self.dns,
            hostname: "ip-10-0-0-5",
            domain: "ec2.internal",
            metadata: Some(&self.metadata),
            zone: &self.zone,
            dns_support: self.dns_support,
        }
    }
}

fn zone() -> VpcZone {
    let cidrs = [
        ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 16).into(),
        ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 56).into(),
    ];
    let mut zone = VpcZone::new("us-east-1", cidrs.to_vec());
    let many: Vec<IpAddr> = (0..=255).map(|n| Ipv4Addr::new(10, 0, 1, n).into()).collect();
    zone.add_host("many", &many);
    zone
}

fn metadata() -> InstanceMetadata {
    let text = str::to_owned;
    InstanceMetadata {
        instance_id: text("i-1"),
        ami_id: text("ami-1"),
        ami_launch_index: 0,
        instance_type: text("t3.micro"),
        reservation_id: text("r-1"),
        account_id: text("000000000000"),
        region: text("us-east-1"),
        availability_zone: text("us-east-1a"),
        availability_zone_id: text("use1-az1"),
        architecture: text("x86_64"),
        local_hostname: text("ip-10-0-0-5.ec2.internal"),
        public_hostname: None,
        key: Some((text("k"), text("ssh-ed25519 AAAA k"))),
        user_data: Some(vec![0x5a; 16_384]),
        launch_time: text("2026-11-23T13:00:00Z"),
        tags: BTreeMap::from([(text("Name"), text("one"))]),
        options: MetadataOptions {
            tags: true,
            ..MetadataOptions::default()
        },
        interfaces: Vec::new(),
    }
}
