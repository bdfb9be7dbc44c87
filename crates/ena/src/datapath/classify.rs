//! What the receive path needs to know of a frame: protocols, where the headers are, whether checksums hold.
//!
//! Leaner than `trinic_wire::packet`, which refuses what it does not like: a receiving function delivers any
//! frame, and only says of it what it can.

use trinic_wire::Protocol;
use trinic_wire::checksum::Sum;
use trinic_wire::ethernet::EtherType;

use super::rss::Kind;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class {
    /// Kind of packet, for the choice of a queue.
    pub(super) kind: Kind,
    /// VLAN tags, 0 or 1.
    pub(super) vlan_count: u8,
    /// Where the network header starts.
    pub(super) l3_offset: usize,
    /// Where the transport header starts, for TCP and UDP that are not a fragment.
    pub(super) transport: Option<Transport>,
    /// The IPv4 header's checksum is wrong, or the header is.
    pub(super) l3_error: bool,
    /// An IPv4 fragment.
    pub(super) is_v4_fragment: bool,
    /// Where the IP packet ends in the frame, as its header says; padding may follow.
    pub(super) end: usize,
}

/// A TCP or UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transport {
    /// UDP and not TCP.
    pub(super) is_udp: bool,
    /// Where it starts.
    pub(super) offset: usize,
}

impl Transport {
    /// Where the checksum field is, from the header's start.
    #[inline]
    pub(super) const fn checksum_offset(self) -> usize {
        if self.is_udp { 6 } else { 16 }
    }

    #[inline]
    const fn protocol(self) -> Protocol {
        if self.is_udp { Protocol::UDP } else { Protocol::TCP }
    }

    /// Bytes of the header at least.
    #[inline]
    const fn header_bytes(self) -> usize {
        if self.is_udp { 8 } else { 20 }
    }
}

/// IPv6 extension headers that are looked behind, at most.
const MAX_EXTENSIONS: usize = 8;

/// Classifies a frame by its window.
#[inline]
pub(super) fn classify(window: &[u8]) -> Class {
    let mut class = Class {
        kind: Kind::NotIp,
        vlan_count: 0,
        l3_offset: 14,
        transport: None,
        l3_error: false,
        is_v4_fragment: false,
        end: 0,
    };
    let Some(mut ethertype) = be16(window, 12) else {
        return class;
    };
    if ethertype == EtherType::VLAN.0 {
        class.vlan_count = 1;
        class.l3_offset = 18;
        ethertype = be16(window, 16).unwrap_or_default();
    }
    match EtherType(ethertype) {
        EtherType::IPV4 => ipv4(window, &mut class),
        EtherType::IPV6 => ipv6(window, &mut class),
        _ => {}
    }
    class
}

#[inline]
fn ipv4(window: &[u8], class: &mut Class) {
    let at = class.l3_offset;
    let Some(header) = window.get(at..).and_then(<[u8]>::first_chunk::<20>) else {
        return;
    };
    let header_bytes = usize::from(header[0] & 0xf) * 4;
    class.kind = Kind::Ipv4;
    class.end = at + usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_right = header[0] >> 4 == 4
        && header_bytes >= 20
        && window
            .get(at..at + header_bytes)
            .is_some_and(|header| Sum::of(header).is_valid());
    class.l3_error = !is_right;
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        class.kind = Kind::Ipv4Fragment;
        class.is_v4_fragment = true;
        return;
    }
    if is_right {
        class.set_transport(Protocol(header[9]), at + header_bytes, window, false);
    }
}

fn ipv6(window: &[u8], class: &mut Class) {
    let at = class.l3_offset;
    let Some(header) = window.get(at..).and_then(<[u8]>::first_chunk::<40>) else {
        return;
    };
    class.kind = Kind::Ipv6;
    class.end = at + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut next = header[6];
    let mut offset = at + 40;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            // Hop-by-hop options, routing, destination options (RFC 8200 §4).
            0 | 43 | 60 => {
                class.kind = Kind::Ipv6Extended;
                let Some(&[following, words]) = window.get(offset..).and_then(<[u8]>::first_chunk::<2>)
                else {
                    return;
                };
                next = following;
                offset += 8 + usize::from(words) * 8;
            }
            _ => break,
        }
    }
    class.set_transport(Protocol(next), offset, window, true);
}

impl Class {
    #[inline]
    fn set_transport(&mut self, protocol: Protocol, offset: usize, window: &[u8], is_ipv6: bool) {
        let is_udp = match protocol {
            Protocol::TCP => false,
            Protocol::UDP => true,
            _ => return,
        };
        let transport = Transport { is_udp, offset };
        if offset + transport.header_bytes() > window.len() {
            return;
        }
        self.transport = Some(transport);
        self.kind = match (is_ipv6, is_udp, self.kind) {
            (false, false, _) => Kind::TcpV4,
            (false, true, _) => Kind::UdpV4,
            (true, false, Kind::Ipv6Extended) => Kind::TcpV6Extended,
            (true, false, _) => Kind::TcpV6,
            (true, true, Kind::Ipv6Extended) => Kind::Ipv6Extended,
            (true, true, _) => Kind::UdpV6,
        };
    }

    /// Whether the kind is one over IPv6.
    #[inline]
    pub(super) fn is_ipv6(&self) -> bool {
        matches!(
            self.kind,
            Kind::TcpV6 | Kind::UdpV6 | Kind::Ipv6 | Kind::TcpV6Extended | Kind::Ipv6Extended
        )
    }

    /// Whether the kind is one over IPv4.
    #[inline]
    pub(super) fn is_ipv4(&self) -> bool {
        matches!(
            self.kind,
            Kind::TcpV4 | Kind::UdpV4 | Kind::Ipv4 | Kind::Ipv4Fragment
        )
    }

    /// The sum of the pseudo header of what starts at the transport header.
    #[inline]
    pub(super) fn pseudo(&self, window: &[u8], transport: Transport) -> Option<Sum> {
        let length = self.end.checked_sub(transport.offset)?;
        let addresses = if self.is_ipv6() {
            window.get(self.l3_offset + 8..self.l3_offset + 40)?
        } else {
            window.get(self.l3_offset + 12..self.l3_offset + 20)?
        };
        Some(
            Sum::of(addresses)
                .word(u16::from(transport.protocol().0))
                .double_word(u32::try_from(length).ok()?),
        )
    }

    /// Whether the transport checksum holds; `None` when it is not there or not all of the packet is.
    #[inline]
    pub(super) fn is_transport_right(&self, window: &[u8], payload: &[u8]) -> Option<bool> {
        let transport = self.transport?;
        let field = transport.offset + transport.checksum_offset();
        if transport.is_udp && be16(window, field)? == 0 {
            return None;
        }
        let sum = self.pseudo(window, transport)?;
        let (head, tail) = if self.end <= window.len() {
            (window.get(transport.offset..self.end)?, &[][..])
        } else {
            let rest = payload.get(..self.end - window.len())?;
            (window.get(transport.offset..)?, rest)
        };
        Some(add_two(sum, head, tail).is_valid())
    }
}

/// Adds two pieces of which the first may have an odd length.
#[inline]
pub(super) fn add_two(sum: Sum, head: &[u8], tail: &[u8]) -> Sum {
    if head.len().is_multiple_of(2) || tail.is_empty() {
        return sum.bytes(head).bytes(tail);
    }
    let (last, head) = head.split_last().unwrap_or((&0, head));
    let (first, tail) = tail.split_first().unwrap_or((&0, tail));
    sum.bytes(head)
        .word(u16::from_be_bytes([*last, *first]))
        .bytes(tail)
}

#[inline]
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk::<2>)
        .map(|word| u16::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_pieces_add_as_one() {
        let bytes: Vec<u8> = (1..40).collect();
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(
                add_two(Sum::ZERO, head, tail).folded(),
                Sum::of(&bytes).folded(),
                "{cut}"
            );
        }
    }

    #[test]
    fn any_short_window_is_classified() {
        let mut frame = vec![0; 14];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame.extend([0x60, 0, 0, 0, 0, 0, 0, 64]);
        frame.resize(80, 0);
        for length in 0..frame.len() {
            let class = classify(&frame[..length]);
            assert!(class.transport.is_none(), "{length}");
        }
        // A hop-by-hop header that points to itself ends the walk.
        assert_eq!(classify(&frame).kind, Kind::Ipv6Extended);
    }
}
