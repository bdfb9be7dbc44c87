//! Transmit rings: wraps, forms, limits, lies.

use proptest::prelude::*;
use trinic_ena::datapath::{Change, Checksum, Disposition, Placement, TxFault, TxPacket};
use trinic_ena::spec::descriptor::{TxDescriptor, TxRequest};
use trinic_pci::{Memory, SharedMemory};

use crate::rig::{Rig, TX_BUFFERS};

/// A frame that differs from every other in all places.
pub(crate) fn frame(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at * 7 + seed * 13 + at / 251) as u8)
        .collect()
}

#[test]
fn host_rings_wrap_at_every_depth() {
    for depth in [16, 32, 128, 1024] {
        let mut rig = Rig::new();
        rig.create_tx(Rig::host_tx(depth));
        let mut tail = 0_u16;
        for round in 0..usize::from(depth) * 5 {
            let id = (round * 5 % usize::from(depth)) as u16;
            let sent = frame(round, 60 + round % 1700);
            let cuts: &[usize] = [&[][..], &[14], &[20, 1, 30]][round % 3];
            rig.send_host(id, &sent, cuts, TxRequest::new(), false);
            tail = tail.wrapping_add(cuts.len() as u16 + 1);
            let taken = rig.take();
            assert_eq!(taken.len(), 1);
            assert_eq!(taken[0].0, sent);
            assert_eq!(rig.completions(), [(id, tail)]);
        }
        assert_eq!(rig.path.statistics().tx_drops, 0);
    }
}

#[test]
fn a_whole_ring_in_one_batch() {
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(64));
    for round in 0..10 {
        for id in 0..64 {
            let sent = frame(round, 60);
            rig.memory.write(TX_BUFFERS, &sent).unwrap();
            let control = rig.control(id, 60, true, true);
            let request = TxRequest::new().with_request_low(id);
            rig.descriptor(TxDescriptor::data(control, request, TX_BUFFERS, 0));
        }
        assert!(!rig.path.has_work());
        rig.ring();
        assert!(rig.path.has_work());
        assert_eq!(rig.take().len(), 64);
        assert!(!rig.path.has_work());
        let ids: Vec<u16> = rig.completions().iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, (0..64).collect::<Vec<_>>());
    }
    let statistics = rig.path.statistics();
    assert_eq!((statistics.tx_packets, statistics.tx_bytes), (640, 640 * 60));
}

#[test]
fn low_latency_queues_in_every_form() {
    for (entry_bytes, depth) in [(128, 32), (192, 32), (256, 16)] {
        for before in [1, 2, 4, 8] {
            for several in [false, true] {
                for with_meta in [false, true] {
                    let mut rig = Rig::new();
                    rig.create_tx(Rig::llq_tx(depth, entry_bytes, before, several));
                    let room = usize::from(entry_bytes) - usize::from(before) * 16;
                    for round in 0..usize::from(depth) * 4 {
                        let header = (room.min(224) * (round % 5)).div_ceil(4).min(room);
                        let length = 60 + (round * 37) % 900;
                        let sent = frame(round, length.max(header));
                        let cuts: &[usize] = match (round % 4, sent.len() - header) {
                            (1, 9..) => &[8],
                            (2, 9..) => &[1, 2, 3],
                            (3, 30..) => &[3, 3, 3, 3, 3, 3, 3, 3],
                            _ => &[],
                        };
                        rig.send_llq(round as u16 % depth, &sent, header, cuts, with_meta);
                        let taken = rig.take();
                        assert_eq!(
                            taken.len(),
                            1,
                            "{entry_bytes} {before} {several} {with_meta} {round}"
                        );
                        assert_eq!(taken[0].0, sent);
                        assert_eq!(rig.completions(), [(round as u16 % depth, rig.tail)]);
                    }
                    assert_eq!(rig.path.statistics().tx_drops, 0);
                }
            }
        }
    }
}

#[test]
fn a_pushed_header_longer_than_its_room_is_refused() {
    let mut rig = Rig::new();
    rig.create_tx(Rig::llq_tx(16, 128, 2, true));
    let Placement::Device(llq) = Rig::llq_tx(16, 128, 2, true).placement else {
        panic!("Not a low-latency queue");
    };
    let mut entry = vec![0; 128];
    let control = rig.control(3, 60, true, true);
    let request = TxRequest::new().with_request_low(3);
    let descriptor = TxDescriptor::data(control, request, TX_BUFFERS, 97);
    entry[..16].copy_from_slice(zerocopy::IntoBytes::as_bytes(&descriptor));
    rig.push_entry(&llq, &entry);
    rig.ring();
    assert!(rig.take().is_empty());
    assert_eq!(rig.path.faults().tx(TxFault::Header), 1);
    assert_eq!(rig.completions(), [(3, 1)]);
}

#[test]
fn a_packet_is_taken_when_its_last_descriptor_is_there() {
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(16));
    let sent = frame(1, 100);
    rig.memory.write(TX_BUFFERS, &sent).unwrap();
    let control = rig.control(1, 40, true, false);
    let request = TxRequest::new().with_request_low(1);
    rig.descriptor(TxDescriptor::data(control, request, TX_BUFFERS, 0));
    rig.ring();
    assert!(rig.path.has_work());
    assert!(rig.take().is_empty());
    assert!(!rig.path.has_work(), "Nothing new to look at");
    let control = rig.control(0, 60, false, true);
    rig.descriptor(TxDescriptor::data(control, TxRequest::new(), TX_BUFFERS + 40, 0));
    rig.ring();
    assert_eq!(rig.take()[0].0, sent);
    assert_eq!(rig.completions(), [(1, 2)]);
}

#[test]
fn rings_that_cannot_be_trusted_stop() {
    // A tail beyond the ring.
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(16));
    rig.registers.store_u32(0x1000, 17);
    assert!(rig.take().is_empty());
    assert_eq!(rig.path.faults().tx(TxFault::Doorbell), 1);
    rig.registers.store_u32(0x1000, 5);
    assert!(!rig.path.has_work());
    // Descriptors that were not written.
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(16));
    rig.registers.store_u32(0x1000, 16);
    assert!(rig.take().is_empty());
    assert_eq!(rig.path.faults().tx(TxFault::Phase), 1);
    // A packet as long as the ring.
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(16));
    for index in 0..16 {
        let control = rig.control(1, 10, index == 0, false);
        rig.descriptor(TxDescriptor::data(control, TxRequest::new(), TX_BUFFERS, 0));
    }
    rig.ring();
    assert!(rig.take().is_empty());
    assert_eq!(rig.path.faults().tx(TxFault::Endless), 1);
    // Descriptors without end, of which the doorbell announces one more each time: read once, not each time.
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(256));
    for index in 0..63 {
        let control = rig.control(1, 10, index == 0, false);
        rig.descriptor(TxDescriptor::data(control, TxRequest::new(), TX_BUFFERS, 0));
    }
    rig.ring();
    assert!(rig.take().is_empty());
    assert_eq!(rig.path.faults().tx(TxFault::Endless), 0);
    let control = rig.control(1, 10, false, false);
    rig.descriptor(TxDescriptor::data(control, TxRequest::new(), TX_BUFFERS, 0));
    rig.ring();
    assert!(rig.take().is_empty());
    assert_eq!(rig.path.faults().tx(TxFault::Endless), 1);
    // A ring outside the memory.
    let mut rig = Rig::new();
    let mut queue = Rig::host_tx(16);
    queue.placement = Placement::Host(0x10);
    rig.create_tx(queue);
    rig.registers.store_u32(0x1000, 1);
    assert!(rig.take().is_empty());
    assert_eq!(rig.path.faults().tx(TxFault::Ring), 1);
    // Completions outside the memory.
    let mut rig = Rig::new();
    let mut queue = Rig::host_tx(16);
    queue.completions.base = 0x10;
    rig.create_tx(queue);
    rig.send_host(1, &frame(1, 60), &[], TxRequest::new(), false);
    assert_eq!(rig.take().len(), 1);
    assert_eq!(rig.path.faults().tx(TxFault::Completion), 1);
}

#[test]
fn malformed_packets_are_completed_and_the_queue_goes_on() {
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(64));
    // Too short.
    rig.send_host(1, &frame(1, 13), &[], TxRequest::new(), false);
    // A buffer outside the memory.
    let control = rig.control(2, 60, true, true);
    let request = TxRequest::new().with_request_low(2);
    rig.descriptor(TxDescriptor::data(control, request, 0x1000, 0));
    // Too many buffers.
    rig.send_host(3, &frame(3, 100), &[1; 19], TxRequest::new(), false);
    // Too long: two buffers of 64 KiB.
    for last in [false, true] {
        let control = rig.control(4, 0, !last, last);
        let request = TxRequest::new().with_request_low(4);
        rig.descriptor(TxDescriptor::data(control, request, TX_BUFFERS, 0));
    }
    // Not a first descriptor.
    let control = rig.control(5, 60, false, true);
    rig.descriptor(TxDescriptor::data(control, TxRequest::new(), TX_BUFFERS, 0));
    // A packet that another one interrupts.
    let control = rig.control(6, 60, true, false);
    let request = TxRequest::new().with_request_low(6);
    rig.descriptor(TxDescriptor::data(control, request, TX_BUFFERS, 0));
    // A meta descriptor in the middle.
    let control = rig.control(7, 60, true, false);
    let request = TxRequest::new().with_request_low(7);
    rig.descriptor(TxDescriptor::data(control, request, TX_BUFFERS, 0));
    let meta = rig.control(7, 0, false, true).with_meta(true);
    rig.descriptor(TxDescriptor::data(meta, TxRequest::new(), 0, 0));
    let good = frame(8, 80);
    rig.send_host(8, &good, &[], TxRequest::new(), false);
    let taken = rig.take();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].0, good);
    let faults = rig.path.faults();
    for (fault, count) in [
        (TxFault::Length, 2),
        (TxFault::Buffer, 1),
        (TxFault::Buffers, 1),
        (TxFault::First, 2),
        (TxFault::Meta, 1),
    ] {
        assert_eq!(faults.tx(fault), count, "{fault}");
    }
    assert_eq!(rig.path.statistics().tx_drops, 7);
    let ids: Vec<u16> = rig.completions().iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 6, 7, 8]);
}

#[test]
fn a_swallowed_completion_is_missing() {
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(16));
    // Each of two is one of its own.
    rig.path.apply(Change::SwallowTxCompletion);
    rig.path.apply(Change::SwallowTxCompletion);
    for id in 0..4 {
        rig.send_host(id, &frame(1, 60), &[], TxRequest::new(), false);
    }
    assert_eq!(rig.take().len(), 4);
    let ids: Vec<u16> = rig.completions().iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [2, 3]);
}

/// A small packet is completed when it is taken, a long one when it was copied; the driver sees either in order, at the flush.
#[test]
fn completions_are_in_order_whenever_they_were_made() {
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(64));
    for (id, length) in [(0, 60), (1, 60), (2, 600), (3, 60), (4, 60), (5, 600), (6, 60)] {
        rig.send_host(id, &frame(1, length), &[], TxRequest::new(), false);
    }
    let mut packets = vec![TxPacket::new(); 7];
    assert_eq!(rig.path.transmit(&mut packets), 7);
    assert_eq!(rig.completions(), [], "nothing before the flush");
    // Those of small packets before the first long one are ready, and wait for no word of the pipeline.
    rig.path.flush(rig.now);
    assert_eq!(rig.completions(), [(0, 1), (1, 2)]);
    rig.path.complete(&mut packets[0], Disposition::Dropped);
    rig.path.complete_all(&mut packets[1..], Disposition::Sent);
    rig.path.flush(rig.now);
    assert_eq!(rig.completions(), [(2, 3), (3, 4), (4, 5), (5, 6), (6, 7)]);
    // Word that comes again changes nothing.
    for disposition in [Disposition::Sent, Disposition::Dropped] {
        for packet in &mut packets {
            rig.path.complete(packet, disposition);
        }
    }
    rig.path.flush(rig.now);
    assert_eq!(rig.completions(), []);
    assert_eq!(rig.path.statistics().tx_drops, 1);
    // And small ones are completed at once again.
    rig.send_host(7, &frame(1, 60), &[], TxRequest::new(), false);
    assert_eq!(rig.path.transmit(&mut packets), 1);
    rig.path.flush(rig.now);
    assert_eq!(rig.completions(), [(7, 8)]);
}

#[test]
fn one_interrupt_a_batch_until_armed_again() {
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(64));
    rig.unmask(0x2000);
    assert!(rig.path.has_work());
    rig.path.poll(rig.now);
    for id in 0..20 {
        rig.send_host(id, &frame(1, 60), &[], TxRequest::new(), false);
    }
    rig.take();
    assert_eq!(rig.interrupts.take(1), 1);
    rig.send_host(20, &frame(1, 60), &[], TxRequest::new(), false);
    rig.take();
    assert_eq!(rig.interrupts.take(1), 0);
    rig.unmask(0x2000);
    rig.path.poll(rig.now);
    assert_eq!(rig.interrupts.take(1), 1);
    assert_eq!(rig.registers.load_u32(0x2000), 0);
    // A new queue's vector is masked, whatever was before.
    rig.unmask(0x2000);
    rig.path.poll(rig.now);
    rig.create_tx(Rig::host_tx(64));
    rig.send_host(20, &frame(1, 60), &[], TxRequest::new(), false);
    rig.take();
    assert_eq!(rig.interrupts.take(1), 0);
}

#[test]
fn queues_take_turns() {
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(64));
    let mut second = Rig::host_tx(64);
    second.doorbell_offset = 0x1004;
    second.completions.unmask_offset = 0x2004;
    second.completions.base += 0x4000;
    rig.path.apply(Change::CreateTx(2, second));
    for _ in 0..40 {
        let control = rig.control(0, 60, true, true);
        rig.descriptor(TxDescriptor::data(control, TxRequest::new(), TX_BUFFERS, 0));
    }
    // Both queues have the same ring.
    rig.ring();
    rig.registers.store_u32(0x1004, 40);
    let mut packets = vec![TxPacket::new(); 32];
    assert_eq!(rig.path.transmit(&mut packets), 32);
    let of = |queue| packets.iter().filter(|packet| packet.queue() == queue).count();
    assert_eq!((of(0), of(2)), (16, 16));
}

#[test]
fn destroyed_queues_and_indices_out_of_range_are_ignored() {
    let mut rig = Rig::new();
    rig.create_tx(Rig::host_tx(16));
    rig.send_host(0, &frame(1, 60), &[], TxRequest::new(), false);
    rig.path.apply(Change::CreateTx(9, Rig::host_tx(16)));
    rig.send_host(0, &frame(1, 60), &[], TxRequest::new(), false);
    rig.path.apply(Change::DestroyTx(0));
    assert!(!rig.path.has_work());
    assert!(rig.take().is_empty());
    rig.create_tx(Rig::host_tx(16));
    rig.path.apply(Change::Reset);
    assert!(!rig.path.has_work());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever stands in the ring, each round ends, nothing panics, and no more completions appear than
    /// descriptors were posted.
    #[test]
    fn any_descriptors(
        words in prop::collection::vec(any::<[u32; 4]>(), 1..64),
        keep in prop::collection::vec(any::<u8>(), 64),
        llq in any::<bool>(),
    ) {
        let mut rig = Rig::new();
        let queue = if llq { Rig::llq_tx(64, 128, 2, true) } else { Rig::host_tx(64) };
        rig.create_tx(queue);
        let count = words.len();
        for (words, keep) in words.iter().zip(&keep) {
            let mut words = *words;
            // Mostly the right phase, first and last, and addresses that exist: beyond the first check.
            if keep & 1 == 0 { words[0] = words[0] & !(1 << 24) | u32::from(rig.phase()) << 24; }
            if keep & 2 == 0 { words[0] |= 3 << 26; words[0] &= !(1 << 23); }
            if keep & 4 == 0 { words[2] = words[2] & 0xffff | TX_BUFFERS as u32; words[3] &= 0xff00_0000; }
            if keep & 8 == 0 { words[0] &= 0xffff_0fff; }
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            if let Placement::Device(form) = queue.placement {
                let entry: Vec<u8> = bytes.iter().copied().cycle().take(128).collect();
                rig.push_entry(&form, &entry);
            } else {
                let descriptor = zerocopy::FromBytes::read_from_bytes(&bytes).unwrap();
                rig.descriptor(descriptor);
            }
        }
        rig.ring();
        let mut packets = vec![TxPacket::new(); 16];
        for _ in 0..2 * count {
            let taken = rig.path.transmit(&mut packets);
            for packet in &mut packets[..taken] {
                let mut into = vec![0; packet.total_bytes()];
                let _ = rig.path.copy_payload(packet, &mut into);
                if let Checksum::Partial { start, .. } = packet.offload().checksum {
                    prop_assert!(usize::from(start) < packet.window().len());
                }
                rig.path.complete(packet, Disposition::Sent);
            }
            rig.path.flush(rig.now);
            if !rig.path.has_work() {
                break;
            }
        }
        prop_assert!(!rig.path.has_work());
        prop_assert!(rig.completions().len() <= count);
    }
}
