//! One pass over the first bytes of an Ethernet frame: what the packet path needs to know.
//!
//! [`Parsed::parse`] sees a window, the first bytes of the frame (at most 256 are ever needed), and knows the
//! frame's whole length, so that a frame of 64 KiB costs what a small one does. It allocates nothing, copies
//! only fields, and refuses malformed packets with an [`Error`] that says what is wrong.
//!
//! It checks lengths, versions, the IPv4 header checksum, and that a fragment does not hide its transport
//! header. It does not check transport checksums (with offload they are not there yet).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::checksum::Sum;
use crate::ethernet::EtherType;
use crate::ipv6::Fragment;
use crate::tcp::Flags;
use crate::{Error, Layer, Protocol, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

/// Bytes of a frame that are enough to parse every packet that this project handles: Ethernet with a tag
/// (18), IPv6 with extension headers, TCP with options, or an ICMP error with the headers that it quotes.
pub const WINDOW: usize = 256;

/// Addresses, protocol and ports: what a flow is known by.
///
/// ICMP messages that pair requests with replies have their identifier as both ports, so that
/// [`Self::reversed`] of a request is the tuple of its reply. Other ICMP messages, later fragments and other
/// protocols have zero ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiveTuple {
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// The upper-layer protocol.
    pub protocol: Protocol,
    /// Port of the sender, or ICMP identifier.
    pub source_port: u16,
    /// Port of the receiver, or ICMP identifier.
    pub destination_port: u16,
}

impl FiveTuple {
    /// The tuple of packets the other way.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// A frame, parsed. Offsets count from the start of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// The Ethernet header.
    pub ethernet: ethernet::Repr,
    /// Where the network header starts: 14, or 18 behind a tag.
    pub network_offset: usize,
    /// What the frame carries.
    pub network: Network,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// ARP for IPv4.
    Arp(arp::Repr),
    /// IPv4 or IPv6.
    Ip(Ip),
    /// Another type, or a second tag.
    Other,
}

/// An IPv4 or IPv6 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// Addresses, protocol and ports.
    pub tuple: FiveTuple,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Differentiated services (6 bits), congestion notification (2 bits).
    pub traffic_class: u8,
    /// Whether a router must not split the packet; always so over IPv6.
    pub dont_fragment: bool,
    /// Set when the packet is a fragment.
    pub fragment: Option<Fragment>,
    /// Bytes of the packet from the network header on, without padding of the link.
    pub total_len: usize,
    /// Where the transport header starts; for a later fragment, where its data starts.
    pub transport_offset: usize,
    /// What the transport header says.
    pub transport: Transport,
}

/// What a transport header says beyond the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// The control bits.
        flags: Flags,
        /// Size of the header with its options.
        header_len: usize,
    },
    /// UDP.
    Udp,
    /// ICMP over IPv4 or ICMPv6 over IPv6.
    Icmp(Icmp),
    /// Another protocol.
    Other,
    /// A later fragment: the transport header is in the first one.
    Absent,
}

/// An ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Message type.
    pub kind: u8,
    /// Detail of the type.
    pub code: u8,
    /// The identifier of an echo (or, over IPv4, timestamp) message; else zero.
    pub identifier: u16,
    /// Whether it reports about another packet.
    pub is_error: bool,
    /// That packet, when `is_error` and enough of it is quoted.
    pub inner: Option<Inner>,
}

/// The packet that an ICMP error quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner {
    /// Its addresses, protocol and ports, in the direction in which it travelled.
    pub tuple: FiveTuple,
    /// Where its network header starts, in the frame that carries the error.
    pub network_offset: usize,
    /// Where its transport header starts, in the frame that carries the error.
    pub transport_offset: usize,
    /// Whether the ports are there, which is not so for a later fragment or another protocol.
    pub has_ports: bool,
}

impl Parsed {
    /// Parses the first bytes of a frame of `frame_len` bytes.
    ///
    /// Per packet, without lock or allocation. A window longer than the frame is cut.
    #[inline]
    pub fn parse(window: &[u8], frame_len: usize) -> Result<Self, Error> {
        let cursor = Cursor {
            window: &window[..window.len().min(frame_len)],
            end: frame_len,
        };
        let header: &ethernet::Header = cursor.header(Layer::Ethernet, 0)?;
        let mut ethernet = ethernet::Repr {
            destination: header.destination,
            source: header.source,
            tag: None,
            ethertype: EtherType(header.ethertype.get()),
        };
        let mut offset = ethernet::HEADER_LEN;
        if ethernet.ethertype == EtherType::VLAN {
            let tag: &ethernet::Tag = cursor.header(Layer::Vlan, offset)?;
            ethernet.tag = Some(tag.control.get());
            ethernet.ethertype = EtherType(tag.ethertype.get());
            offset += ethernet::TAG_LEN;
        }
        let network = match ethernet.ethertype {
            EtherType::IPV4 => Network::Ip(cursor.ipv4(offset)?),
            EtherType::IPV6 => Network::Ip(cursor.ipv6(offset)?),
            EtherType::ARP => Network::Arp(cursor.arp(offset)?),
            _ => Network::Other,
        };
        Ok(Self {
            ethernet,
            network_offset: offset,
            network,
        })
    }

    /// The IP packet, if the frame carries one.
    #[inline]
    pub const fn ip(&self) -> Option<&Ip> {
        match &self.network {
            Network::Ip(ip) => Some(ip),
            _ => None,
        }
    }
}

impl Ip {
    /// The ICMP message, if the packet is one.
    #[inline]
    pub const fn icmp(&self) -> Option<&Icmp> {
        match &self.transport {
            Transport::Icmp(icmp) => Some(icmp),
            _ => None,
        }
    }

    /// Whether the packet is IPv6.
    #[inline]
    pub const fn is_ipv6(&self) -> bool {
        self.tuple.source.is_ipv6()
    }
}

/// The bytes that can be seen and where the packet ends, which may be beyond them.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    window: &'a [u8],
    end: usize,
}

/// Where the transport header is and what it may be.
struct Upper {
    protocol: Protocol,
    offset: usize,
    fragment: Option<Fragment>,
}

/// Ports and transport of a packet.
type Ports = (u16, u16, Transport);

impl<'a> Cursor<'a> {
    /// Views a header at an offset: beyond the packet it is truncated, beyond the window out of sight.
    #[inline]
    fn header<T>(self, layer: Layer, offset: usize) -> Result<&'a T, Error>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        self.window
            .get(offset..)
            .filter(|_| offset + size_of::<T>() <= self.end)
            .and_then(|bytes| T::ref_from_prefix(bytes).ok())
            .map(|(header, _)| header)
            .ok_or_else(|| self.missing(layer, offset, size_of::<T>()))
    }

    #[cold]
    fn missing(self, layer: Layer, offset: usize, needed: usize) -> Error {
        let got = self.end.saturating_sub(offset);
        if got < needed {
            Error::Truncated { layer, needed, got }
        } else {
            Error::BeyondWindow {
                layer,
                window: self.window.len(),
            }
        }
    }

    fn arp(self, offset: usize) -> Result<arp::Repr, Error> {
        let bytes: &[u8; arp::LEN] = self.header(Layer::Arp, offset)?;
        arp::Repr::parse(bytes)
    }

    #[inline]
    fn ipv4(self, offset: usize) -> Result<Ip, Error> {
        let header: &ipv4::Header = self.header(Layer::Ipv4, offset)?;
        let (header_len, total_len) = ipv4::check_lengths(header, self.end - offset)?;
        let bytes = self
            .window
            .get(offset..offset + header_len)
            .ok_or_else(|| self.missing(Layer::Ipv4, offset, header_len))?;
        if !Sum::of(bytes).is_valid() {
            return Err(Error::Checksum { layer: Layer::Ipv4 });
        }
        let packet = Cursor {
            window: self.window,
            end: offset + total_len,
        };
        let upper = Upper {
            protocol: Protocol(header.protocol),
            offset: offset + header_len,
            fragment: fragment_v4(header),
        };
        let (source_port, destination_port, transport) = packet.transport(&upper, false)?;
        Ok(Ip {
            tuple: FiveTuple {
                source: Ipv4Addr::from(header.source).into(),
                destination: Ipv4Addr::from(header.destination).into(),
                protocol: upper.protocol,
                source_port,
                destination_port,
            },
            ttl: header.ttl,
            traffic_class: header.traffic_class,
            dont_fragment: header.dont_fragment(),
            fragment: upper.fragment,
            total_len,
            transport_offset: upper.offset,
            transport,
        })
    }

    #[inline]
    fn ipv6(self, offset: usize) -> Result<Ip, Error> {
        let header: &ipv6::Header = self.header(Layer::Ipv6, offset)?;
        let payload_len = ipv6::check_lengths(header, self.end - offset)?;
        let start = offset + ipv6::HEADER_LEN;
        let packet = Cursor {
            window: self.window,
            end: start + payload_len,
        };
        let upper = packet.walk(header.next_header, start)?;
        let (source_port, destination_port, transport) = packet.transport(&upper, true)?;
        Ok(Ip {
            tuple: FiveTuple {
                source: Ipv6Addr::from(header.source).into(),
                destination: Ipv6Addr::from(header.destination).into(),
                protocol: upper.protocol,
                source_port,
                destination_port,
            },
            ttl: header.hop_limit,
            traffic_class: header.traffic_class(),
            dont_fragment: true,
            fragment: upper.fragment,
            total_len: ipv6::HEADER_LEN + payload_len,
            transport_offset: upper.offset,
            transport,
        })
    }

    #[inline]
    fn walk(self, next_header: u8, start: usize) -> Result<Upper, Error> {
        let payload_len = self.end - start;
        let walk = ipv6::walk(
            next_header,
            self.window.get(start..).unwrap_or_default(),
            payload_len,
        )?;
        Ok(Upper {
            protocol: walk.protocol,
            offset: start + walk.offset,
            // A fragment header on a whole packet ("atomic", RFC 6946) makes no fragment.
            fragment: walk.fragment.filter(|f| f.more || !f.is_first()),
        })
    }

    #[inline]
    fn transport(self, upper: &Upper, ipv6: bool) -> Result<Ports, Error> {
        if let Some(fragment) = upper.fragment
            && !fragment.is_first()
        {
            // RFC 3128 §3: eight bytes into a TCP header are its flags.
            if upper.protocol == Protocol::TCP && fragment.offset == 8 {
                return Err(Error::TinyFragment { layer: Layer::Tcp });
            }
            return Ok((0, 0, Transport::Absent));
        }
        let ports = match upper.protocol {
            Protocol::TCP => self.tcp(upper.offset),
            Protocol::UDP => self.udp(upper.offset, upper.fragment.is_some()),
            Protocol::ICMPV4 if !ipv6 => self.icmpv4(upper.offset),
            Protocol::ICMPV6 if ipv6 => self.icmpv6(upper.offset),
            _ => Ok((0, 0, Transport::Other)),
        };
        match ports {
            Err(Error::Truncated { layer, .. }) if upper.fragment.is_some() => {
                Err(Error::TinyFragment { layer })
            }
            ports => ports,
        }
    }

    #[inline]
    fn tcp(self, offset: usize) -> Result<Ports, Error> {
        let header: &tcp::Header = self.header(Layer::Tcp, offset)?;
        let header_len = header.header_len();
        if header_len < tcp::HEADER_LEN || offset + header_len > self.end {
            return Err(Error::Length {
                layer: Layer::Tcp,
                got: header_len,
            });
        }
        let transport = Transport::Tcp {
            flags: Flags(header.flags),
            header_len,
        };
        Ok((header.source_port.get(), header.destination_port.get(), transport))
    }

    #[inline]
    fn udp(self, offset: usize, fragment: bool) -> Result<Ports, Error> {
        let header: &udp::Header = self.header(Layer::Udp, offset)?;
        let length = usize::from(header.length.get());
        // The length counts the whole datagram, of which a first fragment has only a part.
        if length < udp::HEADER_LEN || (!fragment && offset + length > self.end) {
            return Err(Error::Length {
                layer: Layer::Udp,
                got: length,
            });
        }
        Ok((
            header.source_port.get(),
            header.destination_port.get(),
            Transport::Udp,
        ))
    }

    fn icmpv4(self, offset: usize) -> Result<Ports, Error> {
        let header: &icmpv4::Header = self.header(Layer::Icmpv4, offset)?;
        let [a, b, ..] = header.rest;
        let is_error = icmpv4::is_error(header.kind);
        Ok(icmp(Icmp {
            kind: header.kind,
            code: header.code,
            identifier: if icmpv4::has_identifier(header.kind) {
                u16::from_be_bytes([a, b])
            } else {
                0
            },
            is_error,
            inner: is_error
                .then(|| self.inner_v4(offset + icmpv4::HEADER_LEN))
                .flatten(),
        }))
    }

    fn icmpv6(self, offset: usize) -> Result<Ports, Error> {
        let header: &icmpv6::Header = self.header(Layer::Icmpv6, offset)?;
        let [a, b, ..] = header.rest;
        let is_error = icmpv6::is_error(header.kind);
        Ok(icmp(Icmp {
            kind: header.kind,
            code: header.code,
            identifier: if icmpv6::has_identifier(header.kind) {
                u16::from_be_bytes([a, b])
            } else {
                0
            },
            is_error,
            inner: is_error
                .then(|| self.inner_v6(offset + icmpv6::HEADER_LEN))
                .flatten(),
        }))
    }

    /// A quoted IPv4 packet. It is cut, so that its length field says more than is there; its checksum is
    /// not checked, since routers quote packets after they changed the TTL.
    fn inner_v4(self, offset: usize) -> Option<Inner> {
        let header: &ipv4::Header = self.header(Layer::Ipv4, offset).ok()?;
        let header_len = header.header_len();
        if header.version() != 4 || header_len < ipv4::HEADER_LEN {
            return None;
        }
        let upper = Upper {
            protocol: Protocol(header.protocol),
            offset: offset + header_len,
            fragment: fragment_v4(header),
        };
        let addresses = (
            Ipv4Addr::from(header.source).into(),
            Ipv4Addr::from(header.destination).into(),
        );
        self.inner(offset, &upper, addresses)
    }

    /// A quoted IPv6 packet, cut.
    fn inner_v6(self, offset: usize) -> Option<Inner> {
        let header: &ipv6::Header = self.header(Layer::Ipv6, offset).ok()?;
        if header.version() != 6 {
            return None;
        }
        let upper = self.walk(header.next_header, offset + ipv6::HEADER_LEN).ok()?;
        let addresses = (
            Ipv6Addr::from(header.source).into(),
            Ipv6Addr::from(header.destination).into(),
        );
        self.inner(offset, &upper, addresses)
    }

    fn inner(self, offset: usize, upper: &Upper, addresses: (IpAddr, IpAddr)) -> Option<Inner> {
        let ports = self.inner_ports(upper, addresses.0.is_ipv6())?;
        let (source_port, destination_port) = ports.unwrap_or((0, 0));
        Some(Inner {
            tuple: FiveTuple {
                source: addresses.0,
                destination: addresses.1,
                protocol: upper.protocol,
                source_port,
                destination_port,
            },
            network_offset: offset,
            transport_offset: upper.offset,
            has_ports: ports.is_some(),
        })
    }

    /// The ports of a quoted packet: outer `None` if they should be there and are cut off.
    fn inner_ports(self, upper: &Upper, ipv6: bool) -> Option<Option<(u16, u16)>> {
        if upper.fragment.is_some_and(|f| !f.is_first()) {
            return Some(None);
        }
        // Eight bytes of the transport header are always quoted (RFC 792, RFC 4443).
        let bytes = || -> Option<[u8; 8]> { self.header(Layer::Udp, upper.offset).copied().ok() };
        match upper.protocol {
            Protocol::TCP | Protocol::UDP => {
                let [a, b, c, d, ..] = bytes()?;
                Some(Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))))
            }
            Protocol::ICMPV4 if !ipv6 => {
                let [kind, _, _, _, a, b, ..] = bytes()?;
                let identifier = u16::from_be_bytes([a, b]);
                Some(icmpv4::has_identifier(kind).then_some((identifier, identifier)))
            }
            Protocol::ICMPV6 if ipv6 => {
                let [kind, _, _, _, a, b, ..] = bytes()?;
                let identifier = u16::from_be_bytes([a, b]);
                Some(icmpv6::has_identifier(kind).then_some((identifier, identifier)))
            }
            _ => Some(None),
        }
    }
}

#[inline]
fn icmp(icmp: Icmp) -> Ports {
    (icmp.identifier, icmp.identifier, Transport::Icmp(icmp))
}

#[inline]
fn fragment_v4(header: &ipv4::Header) -> Option<Fragment> {
    let fragment = Fragment {
        identification: header.identification.get().into(),
        offset: header.fragment_offset(),
        more: header.more_fragments(),
    };
    (fragment.more || !fragment.is_first()).then_some(fragment)
}
