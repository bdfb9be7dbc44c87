//! Checksums and segments, from the transmit queue of one function to the receive queue of another.

use etherparse::{SlicedPacket, TransportSlice};
use proptest::prelude::*;
use trinic_ena::datapath::{Checksum, Offload, RxDrop, Segmentation, TxFault, TxPacket};
use trinic_ena::spec::descriptor::{L3_IPV4, L3_IPV6, L4_TCP, L4_UDP, TxRequest};
use trinic_wire::tcp::{self, Flags};
use trinic_wire::{Protocol, ipv4, ipv6};

use crate::receive::datagram;
use crate::rig::Rig;
use crate::transmit::frame;

const FLAGS: u8 = Flags::FIN.0 | Flags::PSH.0 | Flags::ACK.0 | Flags::CWR.0;

/// A TCP segment of any size with right checksums, as one frame.
fn tcp_frame(is_ipv6: bool, payload: &[u8], sequence: u32, flags: u8) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let repr = tcp::Repr {
        source_port: 1234,
        destination_port: 80,
        sequence,
        acknowledgement: 77,
        flags: Flags(flags),
        window: 500,
        urgent: 0,
        options: tcp::Options::default(),
        payload,
    };
    let mut segment = vec![0; 20 + payload.len()];
    if is_ipv6 {
        let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let mut ip = [0; 40];
        ipv6::Repr::new(source, destination, Protocol::TCP, segment.len())
            .emit(&mut ip)
            .unwrap();
        repr.emit(&mut segment, source.into(), destination.into())
            .unwrap();
        out.extend([0x86, 0xdd]);
        out.extend(ip);
    } else {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut ip = [0; 20];
        ipv4::Repr::new(source, destination, Protocol::TCP, segment.len())
            .emit(&mut ip)
            .unwrap();
        repr.emit(&mut segment, source.into(), destination.into())
            .unwrap();
        out.extend([8, 0]);
        out.extend(ip);
    }
    out.extend(segment);
    out
}

fn l3_bytes(is_ipv6: bool) -> u8 {
    if is_ipv6 { 40 } else { 20 }
}

fn request(is_ipv6: bool, is_tcp: bool) -> TxRequest {
    TxRequest::new()
        .with_l3_protocol(if is_ipv6 { L3_IPV6 } else { L3_IPV4 })
        .with_l4_protocol(if is_tcp { L4_TCP } else { L4_UDP })
        .with_l3_checksum(!is_ipv6)
        .with_l4_checksum(true)
}

/// Sends a frame with an offload request and receives it at another function.
fn through(sent: &[u8], request: TxRequest, meta: (u8, u8, u8, u16)) -> Vec<Vec<u8>> {
    let mut sender = Rig::new();
    sender.create_tx(Rig::host_tx(32));
    let descriptor = sender.meta(meta.0, meta.1, meta.2, meta.3);
    sender.descriptor(descriptor);
    sender.send_host(1, sent, &[sent.len() / 2], request, true);
    let mut receiver = Rig::new();
    receiver.create_rx(0, 128, 16);
    receiver.post(0, 127, 1600);
    let mut packets = [TxPacket::new()];
    assert_eq!(
        sender.path.transmit(&mut packets),
        1,
        "{:?}",
        sender.path.faults()
    );
    let offload = packets[0].offload();
    let (window, payload) = packets[0].parts(sender.path.memory());
    receiver.path.receive(window, payload, offload).unwrap();
    receiver.path.flush(receiver.now);
    let received = receiver.received(0);
    for packet in &received {
        assert!(packet.status.l4_checked() && !packet.status.l4_error() && !packet.status.l3_error());
    }
    received.into_iter().map(|packet| packet.bytes).collect()
}

#[test]
fn checksums_come_out_right_however_they_are_asked_for() {
    for is_ipv6 in [false, true] {
        for length in [0, 1, 33, 201, 202, 203, 1400] {
            let good = tcp_frame(is_ipv6, &frame(1, length), 5, FLAGS);
            let start = 14 + usize::from(l3_bytes(is_ipv6));
            let meta = (14, l3_bytes(is_ipv6), 0, 0);
            // The device computes all of it, whatever the field holds.
            let mut bad = good.clone();
            bad[start + 16..start + 18].fill(0x5a);
            if !is_ipv6 {
                bad[24..26].fill(0x5a);
            }
            assert_eq!(
                through(&bad, request(is_ipv6, true), meta),
                std::slice::from_ref(&good)
            );
            // The field holds the pseudo header's sum.
            let mut partial = good.clone();
            let addresses = if is_ipv6 { &good[22..54] } else { &good[26..34] };
            let sum = trinic_wire::checksum::Sum::of(addresses)
                .word(6)
                .word((20 + length) as u16)
                .folded();
            partial[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
            let asked = request(is_ipv6, true).with_l4_partial(true);
            assert_eq!(through(&partial, asked, meta), [good]);
        }
    }
    let good = datagram(9, 300);
    let mut bad = good.clone();
    bad[40..42].fill(0x5a);
    assert_eq!(through(&bad, request(false, false), (14, 20, 0, 0)), [good]);
}

#[test]
fn meta_is_remembered_unless_that_is_off() {
    for is_disabled in [false, true] {
        let mut rig = Rig::new();
        let mut queue = Rig::host_tx(32);
        queue.meta_caching_disabled = is_disabled;
        rig.create_tx(queue);
        let sent = tcp_frame(false, &frame(1, 30), 5, FLAGS);
        let meta = rig.meta(14, 20, 5, 0);
        rig.descriptor(meta);
        rig.send_host(1, &sent, &[], request(false, true), true);
        assert!(matches!(
            rig.take()[0].1.checksum,
            Checksum::Partial { start: 34, .. }
        ));
        rig.send_host(2, &sent, &[], request(false, true), false);
        assert_eq!(rig.take().len(), usize::from(!is_disabled));
        assert_eq!(rig.path.faults().tx(TxFault::Offload), u64::from(is_disabled));
        // A new queue remembers nothing.
        rig.create_tx(queue);
        rig.send_host(3, &sent, &[], request(false, true), false);
        assert!(rig.take().is_empty());
    }
}

#[test]
fn impossible_segments_are_refused() {
    for (meta, protocol) in [
        ((14, 20, 5, 7), L4_TCP),
        ((14, 20, 4, 1000), L4_TCP),
        ((14, 20, 60, 1000), L4_TCP),
        ((14, 16, 5, 1000), L4_TCP),
        ((0, 20, 5, 1000), L4_TCP),
        ((14, 255, 5, 1000), L4_TCP),
        ((14, 20, 5, 1000), L4_UDP),
    ] {
        let mut rig = Rig::new();
        rig.create_tx(Rig::host_tx(32));
        let sent = tcp_frame(false, &frame(1, 3000), 5, FLAGS);
        let descriptor = rig.meta(meta.0, meta.1, meta.2, meta.3);
        rig.descriptor(descriptor);
        let asked = request(false, true).with_l4_protocol(protocol).with_segment(true);
        rig.send_host(1, &sent, &[], asked, true);
        assert!(rig.take().is_empty(), "{meta:?}");
        assert_eq!(rig.completions(), [(1, 2)]);
    }
    // The same of a tap's super-frame.
    let mut rig = Rig::new();
    rig.create_rx(0, 32, 16);
    rig.post(0, 10, 2048);
    let sent = tcp_frame(false, &frame(1, 3000), 5, FLAGS);
    for (checksum, header_bytes) in [
        (Checksum::Complete, 54),
        (
            Checksum::Partial {
                start: 34,
                offset: 16,
            },
            20,
        ),
        (
            Checksum::Partial {
                start: 34,
                offset: 16,
            },
            400,
        ),
        (
            Checksum::Partial {
                start: 900,
                offset: 16,
            },
            54,
        ),
    ] {
        let offload = Offload {
            checksum,
            segmentation: Some(Segmentation {
                is_ipv6: false,
                mss: 1000,
                header_bytes,
            }),
        };
        assert_eq!(rig.receive(&sent, offload), Err(RxDrop::Offload));
    }
}

#[test]
fn segments_for_which_there_is_no_room_are_dropped_alone() {
    let mut rig = Rig::new();
    rig.create_rx(0, 32, 16);
    rig.post(0, 3, 2048);
    let sent = tcp_frame(false, &frame(1, 5000), 5, FLAGS);
    let offload = Offload {
        checksum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        segmentation: Some(Segmentation {
            is_ipv6: false,
            mss: 1000,
            header_bytes: 54,
        }),
    };
    assert_eq!(rig.receive(&sent, offload), Err(RxDrop::NoDescriptors));
    assert_eq!(rig.received(0).len(), 3);
    assert_eq!(rig.path.statistics().rx_drops, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every segment of a super-frame parses, has right lengths, checksums and flags, and together they carry
    /// the payload once. etherparse is the oracle.
    #[test]
    fn super_frames_are_cut(
        is_ipv6 in any::<bool>(),
        length in 1..60_000_usize,
        mss in 500_u16..1440,
        sequence in any::<u32>(),
        id in any::<u16>(),
    ) {
        let payload = frame(length, length);
        let mut sent = tcp_frame(is_ipv6, &payload, sequence, FLAGS);
        if is_ipv6 {
            // The driver need not fill in the length.
            sent[18..20].fill(0);
        } else {
            sent[16..18].fill(0);
            sent[18..20].copy_from_slice(&id.to_be_bytes());
            sent[24..26].fill(0);
        }
        let l3 = usize::from(l3_bytes(is_ipv6));
        let asked = request(is_ipv6, true).with_segment(true);
        let segments = through(&sent, asked, (14, l3_bytes(is_ipv6), 5, mss));
        prop_assert_eq!(segments.len(), length.div_ceil(usize::from(mss)));
        let mut joined: Vec<u8> = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            let is_last = index + 1 == segments.len();
            prop_assert_eq!(&segment[..14], &sent[..14]);
            let parsed = SlicedPacket::from_ethernet(segment).unwrap();
            let Some(TransportSlice::Tcp(header)) = &parsed.transport else {
                panic!("Not TCP");
            };
            let expected = match &parsed.net {
                Some(etherparse::NetSlice::Ipv4(ip)) => {
                    let ip = ip.header().to_header();
                    prop_assert_eq!(usize::from(ip.total_len), segment.len() - 14);
                    prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    prop_assert_eq!(ip.identification, id.wrapping_add(index as u16));
                    header.to_header().calc_checksum_ipv4(&ip, header.payload()).unwrap()
                }
                Some(etherparse::NetSlice::Ipv6(ip)) => {
                    let ip = ip.header().to_header();
                    prop_assert_eq!(usize::from(ip.payload_length), segment.len() - 54);
                    header.to_header().calc_checksum_ipv6(&ip, header.payload()).unwrap()
                }
                other => panic!("Not IP: {other:?}"),
            };
            prop_assert_eq!(header.checksum(), expected);
            prop_assert_eq!(header.sequence_number(), sequence.wrapping_add(joined.len() as u32));
            prop_assert_eq!((header.fin(), header.psh(), header.cwr()), (is_last, is_last, index == 0));
            prop_assert!(header.ack());
            let data = &segment[14 + l3 + 20..];
            prop_assert!(is_last || data.len() == usize::from(mss));
            joined.extend(data);
        }
        prop_assert_eq!(joined, payload);
    }
}

/// A super-frame of tiny segments is refused before thousands are made of it.
#[test]
fn super_frames_have_a_bounded_number_of_segments() {
    use trinic_ena::datapath::segment::{MAX_SEGMENTS, MIN_MSS, SegmentError, SuperFrame};
    let mut window = [0; 54];
    window[12..15].copy_from_slice(&[8, 0, 0x45]);
    window[46] = 0x50;
    let segmentation = Segmentation {
        is_ipv6: false,
        mss: MIN_MSS,
        header_bytes: 54,
    };
    let most = window.len() + MAX_SEGMENTS * usize::from(MIN_MSS);
    let count = SuperFrame::new(&window, most, segmentation, 34).map(|frame| frame.segment_count());
    assert_eq!(count, Ok(MAX_SEGMENTS));
    let refused = SuperFrame::new(&window, most + 1, segmentation, 34);
    assert_eq!(refused, Err(SegmentError::Count(MAX_SEGMENTS + 1)));
}
