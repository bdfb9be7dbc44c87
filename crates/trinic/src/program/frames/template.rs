//! The frame that a flood sends, and its connections.

use anyhow::Result;
use trinic_wire::checksum::Sum;
use trinic_wire::{Protocol, ethernet, ipv4, udp};

use super::{PORTS, Path};

/// A UDP frame whose ports may be set cheaply.
#[derive(Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    port: u16,
    connections: u32,
    /// The checksum's sum with both ports zero.
    sum: Sum,
}

impl Template {
    /// A frame whose IP packet has `bytes` bytes.
    pub(super) fn new(mac: [u8; 6], path: &Path, bytes: u16, connections: u32) -> Result<Self> {
        let mut frame = vec![0; ethernet::HEADER_LEN + usize::from(bytes)];
        frame[..6].copy_from_slice(&trinic_switch::ROUTER_MAC);
        frame[6..12].copy_from_slice(&mac);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        let payload = vec![FILL; usize::from(bytes) - ipv4::HEADER_LEN - udp::HEADER_LEN];
        let (ip, datagram) = frame[ethernet::HEADER_LEN..].split_at_mut(ipv4::HEADER_LEN);
        ipv4::Repr::new(path.from, path.to, Protocol::UDP, datagram.len()).emit(ip)?;
        let repr = udp::Repr {
            source_port: 0,
            destination_port: 0,
            payload: &payload,
        };
        repr.emit(datagram, path.from.into(), path.to.into())?;
        let sum = Sum::of(&datagram[..6]).bytes(&datagram[8..]);
        let [s, t, u, v] = path.from.octets();
        let [w, x, y, z] = path.to.octets();
        let length = bytes - 20;
        let sum = sum
            .bytes(&[s, t, u, v, w, x, y, z])
            .word(u16::from(Protocol::UDP.0))
            .word(length);
        Ok(Self {
            bytes: frame,
            port: path.port,
            connections,
            sum,
        })
    }

    /// The whole frame of a connection.
    pub(super) fn whole(&self, number: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let mut sum = self.sum;
        if let Some(place) = bytes.get_mut(HEADERS..HEADERS + payload.len()) {
            // What is there goes out of the sum, and what comes goes in.
            let before: Vec<u8> = place.iter().map(|byte| !byte).collect();
            sum = sum.bytes(&before).bytes(payload);
            place.copy_from_slice(payload);
        }
        bytes[UDP..HEADERS].copy_from_slice(&self.header_with(number, sum));
        bytes
    }

    /// Bytes of the frame.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The UDP header of the next connection, at [`UDP`].
    #[inline]
    pub(super) fn header(&self, number: u32) -> [u8; 8] {
        self.header_with(number, self.sum)
    }

    /// The connection after this one.
    #[inline]
    pub(super) fn after(&self, number: u32) -> u32 {
        if number + 1 >= self.connections {
            0
        } else {
            number + 1
        }
    }

    #[inline]
    fn header_with(&self, number: u32, sum: Sum) -> [u8; 8] {
        let (source, destination) = self.ports(number);
        let checksum = match sum.word(source).word(destination).checksum() {
            // Zero would say that there is none.
            0 => u16::MAX,
            sum => sum,
        };
        let length = u16::try_from(self.bytes.len() - UDP).unwrap_or(u16::MAX);
        let mut header = [0; 8];
        for (place, word) in
            header
                .as_chunks_mut::<2>()
                .0
                .iter_mut()
                .zip([source, destination, length, checksum])
        {
            *place = word.to_be_bytes();
        }
        header
    }

    #[inline]
    fn ports(&self, number: u32) -> (u16, u16) {
        let source = number % SOURCE_PORTS;
        let destination = (number / SOURCE_PORTS) % u32::from(PORTS);
        let part = |number: u32| u16::try_from(number).unwrap_or_default();
        (SOURCE_PORT_FIRST + part(source), self.port + part(destination))
    }
}

/// The destination port of an IPv4 UDP frame without options; `None` for other frames.
#[inline]
pub(super) fn destination_port(head: &[u8]) -> Option<u16> {
    if head.len() < HEADERS || head[12..15] != [0x08, 0x00, 0x45] || head[23] != Protocol::UDP.0 {
        return None;
    }
    Some(u16::from_be_bytes([head[UDP + 2], head[UDP + 3]]))
}

/// Turns a frame around: addresses and ports change places, which leaves every checksum as it is.
pub(super) fn turn_around(head: &mut [u8]) {
    if head.len() < HEADERS {
        return;
    }
    head[..12].rotate_left(6);
    head[26..34].rotate_left(4);
    head[UDP..UDP + 4].rotate_left(2);
}

/// Where the UDP header begins.
pub(super) const UDP: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
/// Bytes of all headers.
pub(super) const HEADERS: usize = UDP + udp::HEADER_LEN;
/// The smallest packet that fills an Ethernet frame: 64 bytes with its check sequence.
pub(super) const PACKET_BYTES_LEAST: u16 = 46;
/// Source ports that connections use, before the next destination port.
pub(super) const SOURCE_PORTS: u32 = 32_768;
/// The first of them.
pub(super) const SOURCE_PORT_FIRST: u16 = 1024;
const FILL: u8 = 0x5a;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn every_connection_has_ports_and_a_right_checksum() {
        let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let path = Path { from, to, port: 5000 };
        for bytes in [46, 1500, 9001] {
            let template = Template::new([2, 0, 0, 0, 0, 1], &path, bytes, 40_000).unwrap();
            for (number, ports) in [
                (0, (1024, 5000)),
                (32_767, (33_791, 5000)),
                (32_768, (1024, 5001)),
            ] {
                let frame = template.whole(number, b"12345678");
                assert_eq!(frame.len(), 14 + usize::from(bytes));
                assert_eq!(destination_port(&frame), Some(ports.1));
                let datagram = udp::Repr::parse(&frame[UDP..], from.into(), to.into()).unwrap();
                assert_eq!((datagram.source_port, datagram.destination_port), ports);
                assert_eq!(&datagram.payload[..8], b"12345678");
                let mut plain = template.whole(number, b"");
                assert_eq!(plain[UDP..HEADERS], template.header(number));
                udp::Repr::parse(&plain[UDP..], from.into(), to.into()).unwrap();
                turn_around(&mut plain);
                let back = udp::Repr::parse(&plain[UDP..], to.into(), from.into()).unwrap();
                assert_eq!((back.destination_port, back.source_port), ports);
            }
            assert_eq!((template.after(0), template.after(39_999)), (1, 0));
        }
    }
}
