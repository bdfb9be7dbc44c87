//! Frames of the interfaces 10.0.0.N.

use trinic::card::one_subnet::{address, mac};
use trinic_host::vnet::{FLAG_NEEDS_CSUM, VnetHeader};
use trinic_wire::tcp::{Flags, Options};
use trinic_wire::{arp, ethernet, ipv4, tcp, udp};

/// Bytes in front of a datagram's payload.
pub(crate) const UDP_HEADERS: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;
/// Bytes in front of a segment's payload.
pub(crate) const TCP_HEADERS: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN;

/// A datagram of `bytes` in all from 10.0.0.FROM to 10.0.0.TO, its payload zeroes.
pub(crate) fn datagram(from: u8, to: u8, ports: (u16, u16), bytes: usize) -> Vec<u8> {
    let mut frame = ip_frame(from, to, ipv4::Protocol::UDP, bytes);
    let repr = udp::Repr {
        source_port: ports.0,
        destination_port: ports.1,
        payload: &vec![0; bytes - UDP_HEADERS],
    };
    let (from, to) = (address(from).into(), address(to).into());
    repr.emit(&mut frame[ethernet::HEADER_LEN + ipv4::HEADER_LEN..], from, to)
        .unwrap();
    frame
}

/// A TCP segment, or a super-frame of many, of `bytes` in all.
pub(crate) fn segment(from: u8, to: u8, ports: (u16, u16), flags: Flags, bytes: usize) -> Vec<u8> {
    let mut frame = ip_frame(from, to, ipv4::Protocol::TCP, bytes);
    let repr = tcp::Repr {
        source_port: ports.0,
        destination_port: ports.1,
        sequence: 1,
        acknowledgement: 1,
        flags,
        window: 60_000,
        urgent: 0,
        options: Options::default(),
        payload: &vec![0; bytes - TCP_HEADERS],
    };
    let (from, to) = (address(from).into(), address(to).into());
    repr.emit(&mut frame[ethernet::HEADER_LEN + ipv4::HEADER_LEN..], from, to)
        .unwrap();
    frame
}

/// The virtio header of a super-frame whose headers are so long; `checksum` is where the transport's stands in its own.
pub(crate) fn super_header(kind: u8, size: u16, headers: usize, checksum: u16) -> VnetHeader {
    VnetHeader {
        flags: FLAG_NEEDS_CSUM,
        gso_type: kind,
        gso_size: size.into(),
        hdr_len: u16::try_from(headers).unwrap().into(),
        csum_start: 34.into(),
        csum_offset: checksum.into(),
    }
}

/// The question who has 10.0.0.TO.
pub(crate) fn question(from: u8, to: u8) -> Vec<u8> {
    let mut frame = vec![0; 60];
    ethernet(&mut frame, from, [0xff; 6], ethernet::EtherType::ARP);
    let repr = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: mac(from),
        sender_address: address(from),
        target_mac: [0; 6],
        target_address: address(to),
    };
    repr.emit(&mut frame[ethernet::HEADER_LEN..]).unwrap();
    frame
}

fn ip_frame(from: u8, to: u8, protocol: ipv4::Protocol, bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; bytes];
    ethernet(&mut frame, from, mac(to), ethernet::EtherType::IPV4);
    let payload = bytes - ethernet::HEADER_LEN - ipv4::HEADER_LEN;
    let header = ipv4::Repr::new(address(from), address(to), protocol, payload);
    header.emit(&mut frame[ethernet::HEADER_LEN..]).unwrap();
    frame
}

fn ethernet(frame: &mut [u8], from: u8, destination: [u8; 6], ethertype: ethernet::EtherType) {
    let header = ethernet::Repr {
        destination,
        source: mac(from),
        tag: None,
        ethertype,
    };
    header.emit(frame).unwrap();
}
