//! What the receive path needs to know of a frame: protocols, where the headers are, whether checksums hold.
//!
//! Leaner than `trinic_wire::packet`, which refuses what it does not like: a receiving function delivers any
//! frame, and only says of it what it can.

use trinic_wire::Protocol;
use trinic_wire::checksum::{Sum, add_around, is_intact, is_ones};
use trinic_wire::ethernet::EtherType;
use trinic_wire::plain::Shape;

use super::packet::Checksum;
use super::rss::Kind;
use crate::spec::descriptor::{L3_IPV4, L3_IPV6, L4_TCP, L4_UDP, RxStatus};

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
    /// The transport header is there and follows the addresses: no options, no extension headers.
    pub(super) ports_follow: bool,
    /// What a completion says of the packet, but for its transport checksum.
    pub(super) status: u32,
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

const STATUS_IPV4: u32 = RxStatus::new().with_l3_protocol(L3_IPV4).into_bits();
const STATUS_IPV6: u32 = RxStatus::new().with_l3_protocol(L3_IPV6).into_bits();
const STATUS_TCP: u32 = RxStatus::new().with_l4_protocol(L4_TCP).into_bits();
const STATUS_UDP: u32 = RxStatus::new().with_l4_protocol(L4_UDP).into_bits();
const STATUS_VLAN: u32 = RxStatus::new().with_vlan_count(1).into_bits();
const STATUS_L3_ERROR: u32 = RxStatus::new().with_l3_error(true).into_bits();
const STATUS_FRAGMENT: u32 = RxStatus::new().with_fragment(true).into_bits();

/// The transport checksum was looked at.
pub(super) const CHECKED: u32 = RxStatus::new().with_l4_checked(true).into_bits();
/// And is wrong.
pub(super) const WRONG: u32 = RxStatus::new().with_l4_error(true).into_bits();

/// IPv6 extension headers that are looked behind, at most.
const MAX_EXTENSIONS: usize = 8;

/// What is said of a packet that has a [`Shape`] and is whole in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    /// Kind of packet, for the choice of a queue.
    pub(super) kind: Kind,
    /// Both addresses and both ports, as they stand.
    pub(super) tuple: &'a [u8; 12],
    /// What a completion says of the packet, its transport checksum included.
    pub(super) status: u32,
}

impl<'a> Plain<'a> {
    /// `None` where the general way has to look, [`classify`], which would say the same of what is read here.
    #[inline(always)]
    pub(super) fn read(window: &'a [u8], shape: Shape, checksum: Checksum) -> Option<Self> {
        let head = window.first_chunk::<42>()?;
        let total = usize::from(u16::from_be_bytes([head[16], head[17]]));
        // Addresses and segment stand in a row, and so are summed in one.
        let covered = window.get(26..14 + total)?;
        let is_udp = shape.is_udp();
        let (kind, status) = if is_udp {
            (Kind::UdpV4, STATUS_UDP | STATUS_IPV4)
        } else {
            (Kind::TcpV4, STATUS_TCP | STATUS_IPV4)
        };
        let verdict = match checksum {
            Checksum::Partial { .. } => return None,
            Checksum::Unchecked => 0,
            Checksum::Trusted => CHECKED,
            Checksum::Complete if is_udp && head[40..] == [0, 0] => 0,
            Checksum::Complete => {
                let mut sum = Words::default();
                sum.add(covered);
                let length = u16::try_from(covered.len() - 8).ok()?;
                let protocol = u16::from(shape.protocol().0);
                sum.add_word(u64::from(length.swap_bytes()) + u64::from(protocol.swap_bytes()));
                if sum.is_valid() { CHECKED } else { CHECKED | WRONG }
            }
        };
        Some(Self {
            kind,
            tuple: head[26..].first_chunk()?,
            status: status | verdict,
        })
    }
}

/// Classifies a frame by its window.
pub(super) fn classify(window: &[u8]) -> Class {
    let mut class = Class {
        kind: Kind::NotIp,
        vlan_count: 0,
        l3_offset: 14,
        transport: None,
        l3_error: false,
        is_v4_fragment: false,
        ports_follow: false,
        status: 0,
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
    class.status = class.status_word();
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
    let is_right = if header[0] == 0x45 {
        is_intact(header)
    } else {
        header[0] >> 4 == 4
            && header_bytes >= 20
            && window
                .get(at..at + header_bytes)
                .is_some_and(|header| Sum::of(header).is_valid())
    };
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
        self.ports_follow = offset == self.l3_offset + if is_ipv6 { 40 } else { 20 };
        self.kind = match (is_ipv6, is_udp, self.kind) {
            (false, false, _) => Kind::TcpV4,
            (false, true, _) => Kind::UdpV4,
            (true, false, Kind::Ipv6Extended) => Kind::TcpV6Extended,
            (true, false, _) => Kind::TcpV6,
            (true, true, Kind::Ipv6Extended) => Kind::Ipv6Extended,
            (true, true, _) => Kind::UdpV6,
        };
    }

    fn status_word(&self) -> u32 {
        let l3 = if self.is_ipv4() {
            STATUS_IPV4
        } else if self.is_ipv6() {
            STATUS_IPV6
        } else {
            0
        };
        let l4 = match self.transport {
            Some(transport) if transport.is_udp => STATUS_UDP,
            Some(_) => STATUS_TCP,
            None => 0,
        };
        let mut status = l3 | l4;
        if self.vlan_count != 0 {
            status |= STATUS_VLAN;
        }
        if self.l3_error {
            status |= STATUS_L3_ERROR;
        }
        if self.is_v4_fragment {
            status |= STATUS_FRAGMENT;
        }
        status
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
        if self.end > window.len() {
            let rest = payload.get(..self.end - window.len())?;
            let sum = self.pseudo(window, transport)?;
            return Some(add_two(sum, window.get(transport.offset..)?, rest).is_valid());
        }
        let bytes = window.get(transport.offset..self.end)?;
        let addresses = if self.is_ipv6() {
            window.get(self.l3_offset + 8..self.l3_offset + 40)?
        } else {
            window.get(self.l3_offset + 12..self.l3_offset + 20)?
        };
        let mut sum = Words::default();
        sum.add(addresses);
        sum.add(bytes);
        let length = u16::try_from(bytes.len()).ok()?;
        sum.add(&[0, transport.protocol().0]);
        sum.add(&length.to_be_bytes());
        Some(sum.is_valid())
    }
}

/// A one's complement sum for pieces of a window: eight bytes at a time, the first one the lowest (RFC 1071 §2: the
/// order does not matter), and only asked whether it is that of intact data.
#[derive(Debug, Clone, Copy, Default)]
struct Words(u64);

impl Words {
    /// Adds a piece; only the last one may have an odd length.
    #[inline]
    fn add(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            words
                .iter()
                .for_each(|word| self.add_word(u64::from_le_bytes(*word)));
        }
        let (words, rest) = rest.as_chunks::<8>();
        for word in words {
            self.add_word(u64::from_le_bytes(*word));
        }
        if rest.is_empty() {
            return;
        }
        // What is left is the upper part of the last eight bytes, if there are so many.
        let missing = 8 - rest.len();
        match bytes.last_chunk::<8>() {
            Some(last) => self.add_word(u64::from_le_bytes(*last) >> (8 * missing)),
            None => {
                let mut word = [0; 8];
                word[..rest.len()].copy_from_slice(rest);
                self.add_word(u64::from_le_bytes(word));
            }
        }
    }

    #[inline]
    fn add_word(&mut self, word: u64) {
        self.0 = add_around(self.0, word);
    }

    /// The sum is 0xffff in 16 bits.
    #[inline]
    fn is_valid(self) -> bool {
        is_ones(self.0)
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
    fn words_agree_with_the_checksum() {
        for length in 1..90_usize {
            let mut bytes: Vec<u8> = (0..length)
                .map(|at| (at * 29 % 256).to_le_bytes()[0] | 1)
                .collect();
            bytes.splice(0..0, [0, 0]);
            let checksum = Sum::of(&bytes).checksum();
            bytes[..2].copy_from_slice(&checksum.to_be_bytes());
            for change in [0, 1] {
                bytes[1] ^= change;
                let mut words = Words::default();
                words.add(&bytes);
                assert_eq!(words.is_valid(), Sum::of(&bytes).is_valid(), "{length}");
                assert_eq!(words.is_valid(), change == 0);
            }
        }
        let mut full = Words::default();
        full.add(&[0xff; 64]);
        assert!(full.is_valid());
        assert!(!Words::default().is_valid());
    }

    /// Every frame that is read as a plain one says the same as in the general way: kind, status and tuple.
    #[test]
    fn plain_packets_are_classified_alike() {
        let general = |window: &[u8], checksum| {
            let class = classify(window);
            let verdict = match (checksum, class.is_transport_right(window, &[])) {
                (Checksum::Trusted, _) | (Checksum::Complete, Some(true)) => CHECKED,
                (Checksum::Complete, Some(false)) => CHECKED | WRONG,
                _ => 0,
            };
            (class.kind, class.status | verdict)
        };
        let (mut plain, mut others) = (0, 0);
        for protocol in [6, 17, 1] {
            for total in [27_u16, 28, 39, 40, 46, 51, 242] {
                let mut frame = vec![2; 12];
                frame.extend([8, 0, 0x45, 0]);
                frame.extend(total.to_be_bytes());
                frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 4, 10, 0, 0, 5]);
                frame.resize(256, 7);
                let header = Sum::of(&frame[14..34]).checksum();
                frame[24..26].copy_from_slice(&header.to_be_bytes());
                let end = 14 + usize::from(total);
                let segment = total.saturating_sub(20);
                match protocol {
                    17 => frame[38..40].copy_from_slice(&segment.to_be_bytes()),
                    _ => frame[46] = 0x50,
                }
                let field = if protocol == 17 { 40 } else { 50 };
                if end > field + 2 {
                    frame[field..field + 2].fill(0);
                    let sum = Sum::of(&frame[26..end])
                        .word(u16::from(protocol))
                        .word(total - 20);
                    frame[field..field + 2].copy_from_slice(&sum.checksum().to_be_bytes());
                }
                // As it is, a byte of each header changed, and the field of UDP's checksum empty.
                let changes: [&[(usize, u8)]; 10] = [
                    &[(39, 7)],
                    &[(46, 0x40)],
                    &[],
                    &[(12, 0x86)],
                    &[(14, 0x46)],
                    &[(20, 0x20)],
                    &[(24, 1)],
                    &[(35, 1)],
                    &[(end - 1, 9)],
                    &[(40, 0), (41, 0)],
                ];
                for change in changes {
                    let mut frame = frame.clone();
                    change.iter().for_each(|(at, byte)| frame[*at] = *byte);
                    for length in [41, 42, 53, 54, 60, end.max(60), 256] {
                        for checksum in [Checksum::Complete, Checksum::Trusted, Checksum::Unchecked] {
                            let window = &frame[..length];
                            let shape = Shape::of(window, length);
                            match shape.and_then(|shape| Plain::read(window, shape, checksum)) {
                                Some(read) => {
                                    plain += 1;
                                    assert_eq!((read.kind, read.status), general(window, checksum));
                                    assert_eq!(read.tuple, &frame[26..38]);
                                }
                                None => others += 1,
                            }
                        }
                    }
                }
            }
        }
        assert!(plain > 300 && others > 1000, "{plain} {others}");
        let partial = Checksum::Partial { start: 34, offset: 6 };
        let mut frame = vec![0; 64];
        frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17]);
        frame[39] = 30;
        let header = Sum::of(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&header.to_be_bytes());
        let shape = Shape::of(&frame, 64).unwrap();
        assert!(Plain::read(&frame, shape, Checksum::Trusted).is_some());
        assert!(Plain::read(&frame, shape, partial).is_none());
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
