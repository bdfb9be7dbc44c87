//! Receive rings: wraps, scatter, want of buffers, the choice of a queue.

use trinic_ena::datapath::{Change, Checksum, Fragment, Offload, Payload, Rss, RxDrop, RxFault};
use trinic_ena::spec::descriptor::{L3_IPV4, L4_UDP};
use trinic_pci::{Memory, SharedMemory};
use trinic_wire::{Protocol, ipv4, udp};

use crate::rig::{RX_RING, Rig, TX_BUFFERS};
use crate::transmit::frame;

const KEY: [u8; 40] = [0x6d; 40];

/// A UDP datagram with right checksums.
pub(crate) fn datagram(port: u16, length: usize) -> Vec<u8> {
    let payload = frame(usize::from(port), length);
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let mut ip = [0; 20];
    ipv4::Repr::new(source, destination, Protocol::UDP, 8 + length)
        .emit(&mut ip)
        .unwrap();
    out.extend(ip);
    let mut bytes = vec![0; 8 + length];
    udp::Repr {
        source_port: port,
        destination_port: 53,
        payload: &payload,
    }
    .emit(&mut bytes, source.into(), destination.into())
    .unwrap();
    out.extend(bytes);
    out
}

#[test]
fn rings_wrap_at_every_depth_and_completion_size() {
    for depth in [16, 64, 1024] {
        for entry_bytes in [16, 32] {
            let mut rig = Rig::new();
            rig.create_rx(0, depth, entry_bytes);
            rig.post(0, depth - 1, 2048);
            for round in 0..usize::from(depth) * 4 {
                let sent = datagram(round as u16, 18 + round % 1400);
                rig.receive(&sent, Offload::default()).unwrap();
                let received = rig.received(0);
                assert_eq!(received.len(), 1);
                assert_eq!(received[0].bytes, sent);
                let status = received[0].status;
                assert_eq!((status.l3_protocol(), status.l4_protocol()), (L3_IPV4, L4_UDP));
                assert!(status.l4_checked() && !status.l4_error() && !status.l3_error());
                rig.post(0, 1, 2048);
            }
            let statistics = rig.path.statistics();
            assert_eq!(statistics.rx_packets, u64::from(depth) * 4);
            assert_eq!(statistics.rx_drops, 0);
        }
    }
}

#[test]
fn a_packet_is_scattered_over_buffers() {
    let mut rig = Rig::new();
    rig.create_rx(0, 32, 16);
    let mut rounds = 0;
    for (count, length) in [(17_u16, 100_u16), (5, 300), (9, 177)] {
        rig.post(0, count, length);
        let total = usize::from(count - 1) * usize::from(length) + 7;
        let sent = datagram(9, total - 42);
        rig.receive(&sent, Offload::default()).unwrap();
        let received = rig.received(0);
        assert_eq!(received[0].bytes, sent);
        assert_eq!(received[0].lengths.len(), usize::from(count));
        assert!(received[0].status.l4_checked() && !received[0].status.l4_error());
        rounds += 1;
    }
    assert_eq!(rig.path.statistics().rx_packets, rounds);
}

#[test]
fn a_remote_payload_is_copied_once_whatever_its_pieces() {
    let other = Rig::new();
    let sent = datagram(7, 5000);
    other.memory.write(TX_BUFFERS, &sent[256..]).unwrap();
    let pieces = [1_u32, 700, 2048, 3];
    let mut fragments = Vec::new();
    let mut at = 0;
    for length in pieces.into_iter().chain([sent.len() as u32 - 256 - 2752]) {
        fragments.push(Fragment {
            address: TX_BUFFERS + u64::from(at),
            length,
        });
        at += length;
    }
    for checksum in [Checksum::Complete, Checksum::Trusted, Checksum::Unchecked] {
        let mut rig = Rig::new();
        rig.create_rx(0, 32, 16);
        rig.post(0, 17, 333);
        let payload = Payload::Remote {
            memory: &other.memory,
            fragments: &fragments,
        };
        let offload = Offload {
            checksum,
            segmentation: None,
        };
        rig.path
            .receive(&mut sent[..256].to_vec(), payload, offload)
            .unwrap();
        rig.path.flush(rig.now);
        let received = rig.received(0);
        assert_eq!(received[0].bytes, sent);
        assert_eq!(received[0].status.l4_checked(), checksum != Checksum::Unchecked);
        assert!(!received[0].status.l4_error());
    }
}

#[test]
fn wrong_checksums_are_flagged() {
    let mut rig = Rig::new();
    rig.create_rx(0, 32, 16);
    rig.post(0, 10, 2048);
    for (at, l3, l4) in [(24, true, false), (45, false, true), (600, false, true)] {
        let mut sent = datagram(7, 1000);
        sent[at] ^= 0x55;
        rig.receive(&sent, Offload::default()).unwrap();
        let status = rig.received(0)[0].status;
        assert_eq!((status.l3_error(), status.l4_error()), (l3, l4), "{at}");
    }
    // Ethernet padding is not part of the datagram.
    let mut sent = datagram(7, 3);
    sent.resize(60, 0xaa);
    rig.receive(&sent, Offload::default()).unwrap();
    let status = rig.received(0)[0].status;
    assert!(status.l4_checked() && !status.l4_error());
    // No checksum is none.
    let mut sent = datagram(7, 30);
    sent[40..42].fill(0);
    rig.receive(&sent, Offload::default()).unwrap();
    assert!(!rig.received(0)[0].status.l4_checked());
    // A fragment has no transport header that could be checked.
    let mut sent = datagram(7, 30);
    sent[20] |= 0x20;
    rig.receive(&sent, Offload::default()).unwrap();
    let status = rig.received(0)[0].status;
    assert!(status.fragment() && !status.l4_checked() && status.l4_protocol() == 0);
}

#[test]
fn want_of_buffers_is_counted_by_its_reason() {
    let mut rig = Rig::new();
    assert_eq!(
        rig.receive(&datagram(1, 30), Offload::default()),
        Err(RxDrop::NoQueue)
    );
    rig.create_rx(0, 32, 16);
    let none = Err(RxDrop::NoDescriptors);
    assert_eq!(rig.receive(&datagram(1, 30), Offload::default()), none);
    rig.post(0, 2, 100);
    assert_eq!(rig.receive(&datagram(1, 159), Offload::default()), none);
    assert!(rig.receive(&datagram(1, 158), Offload::default()).is_ok());
    assert_eq!(rig.received(0).len(), 1);
    rig.post(0, 20, 100);
    assert_eq!(
        rig.receive(&datagram(1, 1659), Offload::default()),
        Err(RxDrop::TooLong)
    );
    assert!(rig.receive(&datagram(1, 1658), Offload::default()).is_ok());
    rig.path.apply(Change::Mtu(1500));
    rig.post(0, 10, 2048);
    assert_eq!(
        rig.receive(&datagram(1, 1473), Offload::default()),
        Err(RxDrop::TooLong)
    );
    let statistics = rig.path.statistics();
    assert_eq!((statistics.rx_drops, statistics.rx_overruns), (3, 2));
    assert_eq!(rig.path.faults().drops(RxDrop::NoDescriptors), 2);
}

#[test]
fn lies_in_a_receive_ring_stop_it_or_cost_a_buffer() {
    let mut rig = Rig::new();
    rig.create_rx(0, 16, 16);
    rig.registers.store_u32(0x1100, 3);
    let phase = Err(RxDrop::Fault(RxFault::Phase));
    assert_eq!(rig.receive(&datagram(1, 30), Offload::default()), phase);
    assert_eq!(
        rig.receive(&datagram(1, 30), Offload::default()),
        Err(RxDrop::Stopped)
    );
    let mut rig = Rig::new();
    rig.create_rx(0, 16, 16);
    rig.registers.store_u32(0x1100, 17);
    let doorbell = Err(RxDrop::Fault(RxFault::Doorbell));
    assert_eq!(rig.receive(&datagram(1, 30), Offload::default()), doorbell);
    // A buffer outside the memory is lost, and the next one is used.
    let mut rig = Rig::new();
    rig.create_rx(0, 16, 16);
    rig.post(0, 2, 2048);
    rig.memory.write(RX_RING + 8, &[0; 8]).unwrap();
    let buffer = Err(RxDrop::Fault(RxFault::Buffer));
    assert_eq!(rig.receive(&datagram(1, 30), Offload::default()), buffer);
    assert!(rig.receive(&datagram(1, 30), Offload::default()).is_ok());
    assert_eq!(rig.received(0)[0].ids, [1]);
}

#[test]
fn flows_spread_over_the_table_and_stay() {
    let mut rig = Rig::new();
    for index in 0..4 {
        rig.create_rx(index, 1024, 16);
        rig.post(usize::from(index), 1000, 2048);
    }
    let mut fields = [0; 16];
    fields[..4].fill(0x3c);
    rig.path.apply(Change::Rss(Box::new(Rss {
        key: Some(std::array::from_fn(|at| KEY[at] ^ (at * 37) as u8)),
        initial_value: 0,
        table: (0..128).map(|at| at % 4).collect(),
        fields,
    })));
    for round in 0..2 {
        for port in 0..400 {
            rig.receive(&datagram(port, 20), Offload::default()).unwrap();
        }
        let counts: Vec<usize> = (0..4).map(|index| rig.received(index).len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 400);
        assert!(counts.iter().all(|count| *count > 40), "{round}: {counts:?}");
    }
    rig.receive(&datagram(3, 20), Offload::default()).unwrap();
    rig.receive(&datagram(3, 900), Offload::default()).unwrap();
    let hashes: Vec<u32> = (0..4)
        .flat_map(|index| rig.received(index))
        .map(|packet| packet.hash)
        .collect();
    assert_eq!(hashes.len(), 2);
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn a_dropped_interrupt_is_lost() {
    let mut rig = Rig::new();
    rig.create_rx(0, 32, 16);
    rig.post(0, 10, 2048);
    rig.path.apply(Change::DropInterrupt);
    rig.unmask(0x2100);
    rig.path.poll(rig.now);
    rig.receive(&datagram(1, 20), Offload::default()).unwrap();
    rig.receive(&datagram(1, 20), Offload::default()).unwrap();
    assert_eq!(rig.interrupts.take(2), 0);
    rig.unmask(0x2100);
    rig.path.poll(rig.now);
    assert_eq!(rig.interrupts.take(2), 1);
}
