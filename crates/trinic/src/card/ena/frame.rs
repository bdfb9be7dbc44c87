//! The two ways to say what a sender left to do: the virtio-net header of taps, and the offload of ENA packets.

use trinic_ena::datapath::{Checksum, Offload, Segmentation};
use trinic_host::vnet::{
    FLAG_DATA_VALID, FLAG_NEEDS_CSUM, GSO_TCPV4, GSO_TCPV6, UDP_SEGMENTS_MAX, VnetHeader,
};
use trinic_wire::checksum::{Sum, update_partial};

/// UDP's fixed header. Source: RFC 768.
const UDP_HEADER_BYTES: usize = 8;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// The virtio-net header that says the same as an ENA packet's offload.
pub(super) fn vnet_of(offload: Offload) -> VnetHeader {
    let mut header = VnetHeader::NONE;
    match offload.checksum {
        Checksum::Partial { start, offset } => {
            header.flags = FLAG_NEEDS_CSUM;
            header.csum_start.set(start);
            header.csum_offset.set(offset);
        }
        Checksum::Trusted => header.flags = FLAG_DATA_VALID,
        Checksum::Complete | Checksum::Unchecked => {}
    }
    if let Some(segmentation) = offload.segmentation {
        header.gso_type = if segmentation.is_ipv6 {
            GSO_TCPV6
        } else {
            GSO_TCPV4
        };
        header.gso_size.set(segmentation.mss);
        header.hdr_len.set(segmentation.header_bytes);
    }
    header
}

/// What a frame from a tap leaves to do; its header was checked against the frame. `None` for super-frames of
/// UDP, which no ENA cuts: [`udp_segments`] does.
pub(super) fn offload_of(header: &VnetHeader, frame: &[u8]) -> Option<Offload> {
    let start = header.csum_start.get();
    let checksum = if header.needs_checksum() {
        Checksum::Partial {
            start,
            offset: header.csum_offset.get(),
        }
    } else if header.checksum_is_valid() {
        Checksum::Trusted
    } else {
        Checksum::Complete
    };
    let is_ipv6 = match header.gso_kind() {
        GSO_TCPV4 => false,
        GSO_TCPV6 => true,
        _ if header.segment_bytes() == 0 => {
            return Some(Offload {
                checksum,
                segmentation: None,
            });
        }
        _ => return None,
    };
    // The length of the headers is only a hint there; TCP's own says where they end.
    let data_offset = frame.get(usize::from(start) + 12).copied().unwrap_or(0) >> 4;
    Some(Offload {
        checksum,
        segmentation: Some(Segmentation {
            is_ipv6,
            mss: header.segment_bytes(),
            header_bytes: start.saturating_add(u16::from(data_offset) * 4),
        }),
    })
}

/// Whether the transport checksum's field holds the pseudo header's sum only.
#[inline]
pub fn checksum_is_partial(offload: Offload) -> bool {
    matches!(offload.checksum, Checksum::Partial { .. })
}

/// Cuts a super-frame of UDP: each datagram is made in `buffer` and handed to `each`, its checksum left
/// partial. `false` when the frame is no such thing.
pub(super) fn udp_segments(
    header: &VnetHeader,
    frame: &[u8],
    buffer: &mut [u8],
    mut each: impl FnMut(&mut [u8], Offload),
) -> bool {
    let udp = usize::from(header.csum_start.get());
    let segment = usize::from(header.segment_bytes());
    let headers = udp + UDP_HEADER_BYTES;
    let (Some(head), Some(payload)) = (frame.get(..headers), frame.get(headers..)) else {
        return false;
    };
    let ip = ETHERNET_HEADER_BYTES;
    let is_ipv4 = head.get(12..14) == Some(&ETHERTYPE_IPV4);
    if segment == 0 || udp < ip + 20 || (!is_ipv4 && udp < ip + 40) {
        return false;
    }
    // More would be an attack: segments of one byte turn one frame into 65,000 packets for the worker.
    if payload.len().div_ceil(segment) > UDP_SEGMENTS_MAX {
        return false;
    }
    let whole = be16(head, udp + 4);
    let partial = be16(head, udp + 6);
    let identification = be16(head, ip + 4);
    for (number, chunk) in payload.chunks(segment).enumerate() {
        let Some(out) = buffer.get_mut(..headers + chunk.len()) else {
            return false;
        };
        out[..headers].copy_from_slice(head);
        out[headers..].copy_from_slice(chunk);
        let (Ok(length), Ok(number)) = (
            u16::try_from(UDP_HEADER_BYTES + chunk.len()),
            u16::try_from(number),
        ) else {
            return false;
        };
        put16(out, udp + 4, length);
        // The length is part of the pseudo header whose sum the field holds.
        put16(out, udp + 6, update_partial(partial, whole, length));
        let Ok(after_udp) = u16::try_from(udp - ip) else {
            return false;
        };
        if is_ipv4 {
            put16(out, ip + 2, after_udp + length);
            put16(out, ip + 4, identification.wrapping_add(number));
            put16(out, ip + 10, 0);
            let checksum = Sum::of(&out[ip..udp]).checksum();
            put16(out, ip + 10, checksum);
        } else {
            put16(out, ip + 4, after_udp - 40 + length);
        }
        let offload = Offload {
            checksum: Checksum::Partial {
                start: header.csum_start.get(),
                offset: header.csum_offset.get(),
            },
            segmentation: None,
        };
        each(out, offload);
    }
    true
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

const ETHERNET_HEADER_BYTES: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use trinic_host::vnet::GSO_UDP_L4;

    /// A super-frame of UDP over IPv4: 14 + 20 + 8 bytes of headers and `payload` bytes.
    fn udp_frame(payload: usize) -> Vec<u8> {
        let mut frame = vec![0; 42 + payload];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV4);
        frame[14] = 0x45;
        put16(&mut frame, 16, u16::try_from(28 + payload).unwrap());
        put16(&mut frame, 18, 0xfffe);
        frame[22] = 64;
        frame[23] = 17;
        frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        put16(&mut frame, 38, u16::try_from(8 + payload).unwrap());
        let sum = Sum::of(&frame[26..34]).word(17).word(be16(&frame, 38));
        put16(&mut frame, 40, sum.folded());
        for (index, byte) in frame[42..].iter_mut().enumerate() {
            *byte = u8::try_from(index % 251).unwrap();
        }
        frame
    }

    fn udp_header(segment: u16) -> VnetHeader {
        let mut header = VnetHeader::NONE;
        header.flags = FLAG_NEEDS_CSUM;
        header.gso_type = GSO_UDP_L4;
        header.gso_size.set(segment);
        header.csum_start.set(34);
        header.csum_offset.set(6);
        header
    }

    #[test]
    fn datagrams_of_a_super_frame_stand_for_themselves() {
        let frame = udp_frame(2500);
        let mut datagrams = Vec::new();
        let mut buffer = vec![0; 2000];
        assert!(udp_segments(
            &udp_header(1000),
            &frame,
            &mut buffer,
            |frame, _| {
                datagrams.push(frame.to_vec());
            }
        ));
        let sizes: Vec<usize> = datagrams.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1042, 1042, 542]);
        let mut payload = Vec::new();
        for (number, datagram) in datagrams.iter().enumerate() {
            assert!(Sum::of(&datagram[14..34]).is_valid());
            assert_eq!(usize::from(be16(datagram, 16)), datagram.len() - 14);
            assert_eq!(
                be16(datagram, 18),
                0xfffe_u16.wrapping_add(u16::try_from(number).unwrap())
            );
            let length = be16(datagram, 38);
            assert_eq!(usize::from(length), datagram.len() - 34);
            let pseudo = Sum::of(&datagram[26..34]).word(17).word(length);
            assert_eq!(be16(datagram, 40), pseudo.folded());
            payload.extend_from_slice(&datagram[42..]);
        }
        assert_eq!(payload, frame[42..]);
    }

    #[test]
    fn what_is_no_super_frame_of_udp_is_refused() {
        let mut buffer = vec![0; 2000];
        let mut none = |_: &mut [u8], _: Offload| panic!("nothing can be cut here");
        assert!(!udp_segments(
            &udp_header(0),
            &udp_frame(9),
            &mut buffer,
            &mut none
        ));
        assert!(!udp_segments(&udp_header(5), &[0; 20], &mut buffer, &mut none));
        assert!(!udp_segments(
            &udp_header(3000),
            &udp_frame(3000),
            &mut buffer,
            &mut none
        ));
    }

    #[test]
    fn a_super_frame_of_too_many_datagrams_is_refused() {
        let mut buffer = vec![0; 2000];
        let mut count = 0;
        assert!(udp_segments(
            &udp_header(1),
            &udp_frame(128),
            &mut buffer,
            |_, _| count += 1
        ));
        assert_eq!(count, 128);
        assert!(!udp_segments(
            &udp_header(1),
            &udp_frame(129),
            &mut buffer,
            |_, _| count += 1
        ));
        assert_eq!(count, 128);
    }

    #[test]
    fn both_forms_say_the_same() {
        let mut frame = vec![0; 100];
        frame[34 + 12] = 8 << 4;
        let offload = Offload {
            checksum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            segmentation: Some(Segmentation {
                is_ipv6: false,
                mss: 1448,
                header_bytes: 66,
            }),
        };
        assert_eq!(offload_of(&vnet_of(offload), &frame), Some(offload));
        let plain = Offload::default();
        assert_eq!(offload_of(&vnet_of(plain), &frame), Some(plain));
        assert_eq!(offload_of(&udp_header(5), &frame), None);
    }
}
