//! Frames for the tests, and a checksum check that shares no code with the crates.

use std::net::{IpAddr, Ipv4Addr};

use trinic_switch::ROUTER_MAC;
use trinic_switch::tables::Mac;
use trinic_wire::tcp::Flags;
use trinic_wire::{Protocol, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

/// What a packet carries.
#[derive(Debug, Clone)]
pub(crate) enum L4 {
    Tcp {
        from: u16,
        to: u16,
        flags: Flags,
    },
    Udp {
        from: u16,
        to: u16,
    },
    EchoRequest(u16),
    EchoReply(u16),
    /// Any ICMP bytes after type and code; the checksum is made.
    Icmp(u8, u8, Vec<u8>),
    Raw(u8),
}

/// An IP packet in a frame.
#[derive(Debug, Clone)]
pub(crate) struct Pkt {
    pub(crate) from_mac: Mac,
    pub(crate) to_mac: Mac,
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) df: bool,
    pub(crate) l4: L4,
    pub(crate) payload: usize,
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn ip4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// The MAC of the test interface with this number.
pub(crate) fn mac(number: u8) -> Mac {
    [2, 0, 0, 0, 0, number]
}

/// A packet from the interface with this number to the router.
pub(crate) fn pkt(sender: u8, from: &str, to: &str, l4: L4) -> Pkt {
    Pkt {
        from_mac: mac(sender),
        to_mac: ROUTER_MAC,
        from: ip(from),
        to: ip(to),
        ttl: 64,
        df: true,
        l4,
        payload: 8,
    }
}

pub(crate) fn syn(from: u16, to: u16) -> L4 {
    tcp(from, to, Flags::SYN)
}

pub(crate) fn ack(from: u16, to: u16) -> L4 {
    tcp(from, to, Flags::ACK)
}

pub(crate) fn tcp(from: u16, to: u16, flags: Flags) -> L4 {
    L4::Tcp { from, to, flags }
}

pub(crate) fn udp(from: u16, to: u16) -> L4 {
    L4::Udp { from, to }
}

impl Pkt {
    pub(crate) fn via(mut self, mac: Mac) -> Self {
        self.to_mac = mac;
        self
    }

    pub(crate) fn by(mut self, mac: Mac) -> Self {
        self.from_mac = mac;
        self
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn payload(mut self, size: usize) -> Self {
        self.payload = size;
        self
    }

    pub(crate) fn may_fragment(mut self) -> Self {
        self.df = false;
        self
    }

    /// The answer to this packet from its receiver.
    pub(crate) fn answer(&self, sender: u8) -> Self {
        let l4 = match self.l4.clone() {
            L4::Tcp { from, to, flags } => {
                let flags = if flags.is_open() {
                    Flags::SYN.with(Flags::ACK)
                } else {
                    flags
                };
                tcp(to, from, flags)
            }
            L4::Udp { from, to } => udp(to, from),
            L4::EchoRequest(id) => L4::EchoReply(id),
            other => other,
        };
        Self {
            from_mac: mac(sender),
            to_mac: ROUTER_MAC,
            from: self.to,
            to: self.from,
            l4,
            ..self.clone()
        }
    }

    fn protocol(&self) -> Protocol {
        match self.l4 {
            L4::Tcp { .. } => Protocol::TCP,
            L4::Udp { .. } => Protocol::UDP,
            L4::Raw(number) => Protocol(number),
            _ if self.from.is_ipv6() => Protocol::ICMPV6,
            _ => Protocol::ICMPV4,
        }
    }

    /// The transport header with `payload` bytes behind it.
    pub(crate) fn transport(&self) -> Vec<u8> {
        let data: Vec<u8> = (0..self.payload).map(|i| (i % 251) as u8).collect();
        let mut out = vec![0; self.payload + 64];
        let len = match &self.l4 {
            L4::Tcp { from, to, flags } => tcp::Repr {
                source_port: *from,
                destination_port: *to,
                sequence: 1,
                acknowledgement: 2,
                flags: *flags,
                window: 1000,
                urgent: 0,
                options: tcp::Options::default(),
                payload: &data,
            }
            .emit(&mut out, self.from, self.to)
            .unwrap(),
            L4::Udp { from, to } => udp::Repr {
                source_port: *from,
                destination_port: *to,
                payload: &data,
            }
            .emit(&mut out, self.from, self.to)
            .unwrap(),
            L4::EchoRequest(identifier) => self.echo(*identifier, true, &data, &mut out),
            L4::EchoReply(identifier) => self.echo(*identifier, false, &data, &mut out),
            L4::Icmp(kind, code, rest) => {
                let mut bytes = vec![*kind, *code, 0, 0];
                bytes.extend(rest);
                let sum = icmp_sum(&bytes, self.from, self.to);
                bytes[2..4].copy_from_slice(&sum.to_be_bytes());
                return bytes;
            }
            L4::Raw(_) => return data,
        };
        out.truncate(len);
        out
    }

    fn echo(&self, identifier: u16, request: bool, data: &[u8], out: &mut [u8]) -> usize {
        match (self.from, self.to) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let (sequence, data) = (1, data);
                let repr = if request {
                    icmpv6::Repr::EchoRequest {
                        identifier,
                        sequence,
                        data,
                    }
                } else {
                    icmpv6::Repr::EchoReply {
                        identifier,
                        sequence,
                        data,
                    }
                };
                repr.emit(out, from, to).unwrap()
            }
            _ => {
                let (sequence, data) = (1, data);
                let repr = if request {
                    icmpv4::Repr::EchoRequest {
                        identifier,
                        sequence,
                        data,
                    }
                } else {
                    icmpv4::Repr::EchoReply {
                        identifier,
                        sequence,
                        data,
                    }
                };
                repr.emit(out).unwrap()
            }
        }
    }

    /// The packet from its IP header on.
    pub(crate) fn packet(&self) -> Vec<u8> {
        self.around(&self.transport(), 0, false)
    }

    fn around(&self, payload: &[u8], fragment_offset: u16, more_fragments: bool) -> Vec<u8> {
        let mut out = vec![0; 40];
        let len = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ipv4::Repr {
                ttl: self.ttl,
                dont_fragment: self.df,
                identification: 7,
                fragment_offset,
                more_fragments,
                ..ipv4::Repr::new(from, to, self.protocol(), payload.len())
            }
            .emit(&mut out),
            (IpAddr::V6(from), IpAddr::V6(to)) => ipv6::Repr {
                hop_limit: self.ttl,
                ..ipv6::Repr::new(from, to, self.protocol(), payload.len())
            }
            .emit(&mut out),
            _ => unreachable!("families differ"),
        };
        out.truncate(len.unwrap());
        out.extend(payload);
        out
    }

    fn ethernet(&self, packet: &[u8]) -> Vec<u8> {
        let ethertype = if self.from.is_ipv6() {
            ethernet::EtherType::IPV6
        } else {
            ethernet::EtherType::IPV4
        };
        let mut out = vec![0; 14];
        ethernet::Repr {
            destination: self.to_mac,
            source: self.from_mac,
            tag: None,
            ethertype,
        }
        .emit(&mut out)
        .unwrap();
        out.extend(packet);
        out
    }

    /// The whole frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        self.ethernet(&self.packet())
    }

    /// The frame's IPv4 packet in two fragments, cut at `at` bytes of its payload.
    pub(crate) fn fragments(&self, at: usize) -> [Vec<u8>; 2] {
        let transport = self.transport();
        let (first, second) = transport.split_at(at);
        [
            self.ethernet(&self.around(first, 0, true)),
            self.ethernet(&self.around(second, u16::try_from(at).unwrap(), false)),
        ]
    }

    /// An ICMP error of `from` about this packet, to its sender. `number` sends the frame.
    pub(crate) fn error(&self, number: u8, from: &str, kind: u8, code: u8) -> Self {
        let packet = self.packet();
        let mut rest = vec![0; 4];
        rest.extend(&packet[..packet.len().min(if self.from.is_ipv6() { 64 } else { 28 })]);
        Self {
            from_mac: mac(number),
            to_mac: ROUTER_MAC,
            from: ip(from),
            to: self.from,
            ttl: 64,
            df: false,
            l4: L4::Icmp(kind, code, rest),
            payload: 0,
        }
    }
}

fn icmp_sum(bytes: &[u8], from: IpAddr, to: IpAddr) -> u16 {
    match (from, to) {
        (IpAddr::V6(_), IpAddr::V6(_)) => !fold(&[&pseudo(from, to, 58, bytes.len()), bytes]),
        _ => !fold(&[bytes]),
    }
}

/// An ARP request of an interface for an address.
pub(crate) fn arp_request(number: u8, from: &str, target: &str) -> Vec<u8> {
    arp_frame(
        mac(number),
        arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: mac(number),
            sender_address: ip4(from),
            target_mac: [0; 6],
            target_address: ip4(target),
        },
    )
}

pub(crate) fn arp_frame(source: Mac, repr: arp::Repr) -> Vec<u8> {
    let mut out = vec![0; 14 + 28];
    ethernet::Repr {
        destination: ethernet::BROADCAST,
        source,
        tag: None,
        ethertype: ethernet::EtherType::ARP,
    }
    .emit(&mut out)
    .unwrap();
    repr.emit(&mut out[14..]).unwrap();
    out
}

/// The one's complement sum of 16-bit words over several pieces, the odd ones padded.
fn fold(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(pair[0]) << 8 | u32::from(low);
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum as u16
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The pseudo header.
pub(crate) fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = octets(from);
    bytes.extend(octets(to));
    bytes.extend(u32::try_from(len).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// The pseudo header's sum, as an offloaded checksum field holds it.
pub(crate) fn pseudo_sum(from: IpAddr, to: IpAddr, protocol: u8, len: usize) -> u16 {
    fold(&[&pseudo(from, to, protocol, len)])
}

/// Where the addresses, the transport and its protocol are.
pub(crate) fn layout(packet: &[u8]) -> (IpAddr, IpAddr, usize, u8) {
    if packet[0] >> 4 == 4 {
        let at = |i: usize| -> [u8; 4] { packet[i..i + 4].try_into().unwrap() };
        (
            IpAddr::from(at(12)),
            IpAddr::from(at(16)),
            usize::from(packet[0] & 15) * 4,
            packet[9],
        )
    } else {
        let at = |i: usize| -> [u8; 16] { packet[i..i + 16].try_into().unwrap() };
        (IpAddr::from(at(8)), IpAddr::from(at(24)), 40, packet[6])
    }
}

/// Panics unless every checksum of the frame is right.
pub(crate) fn assert_checksums(frame: &[u8]) {
    let packet = &frame[14..];
    let (from, to, header, protocol) = layout(packet);
    if from.is_ipv4() {
        assert_eq!(fold(&[&packet[..header]]), 0xffff, "IPv4 header checksum");
    }
    let transport = &packet[header..];
    let sum = match protocol {
        1 => fold(&[transport]),
        17 if transport[6..8] == [0, 0] => return,
        6 | 17 | 58 => fold(&[&pseudo(from, to, protocol, transport.len()), transport]),
        _ => return,
    };
    assert_eq!(sum, 0xffff, "checksum of protocol {protocol}");
}

/// Source and destination address of a frame.
pub(crate) fn addresses(frame: &[u8]) -> (IpAddr, IpAddr) {
    let (from, to, ..) = layout(&frame[14..]);
    (from, to)
}
