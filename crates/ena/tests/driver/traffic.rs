//! Probe, traffic in every placement, events, counters, resets.

use std::time::Duration;

use trinic_ena::datapath::{Allowances, Segmentation};
use trinic_ena::device::{Config as DeviceConfig, Fault};
use trinic_ena::driver::{Config, DriverError, Frame, Piece, QueueError, Request, TransportChecksum};
use trinic_ena::spec::descriptor::{L3_IPV4, L4_TCP, L4_UDP};
use trinic_ena::spec::registers::ResetReason;
use trinic_wire::time::Instant;
use trinic_wire::{Protocol, ipv4, tcp, udp};

use crate::rig::{Host, carry};

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn small() -> Config {
    Config {
        tx_depth: 64,
        rx_depth: 64,
        buffers: 192,
        ..Config::default()
    }
}

fn two(device: &DeviceConfig, config: &Config) -> (Host, Host) {
    let mut hosts = [MAC_A, MAC_B].map(|mac| {
        let device = DeviceConfig {
            mac,
            ..device.clone()
        };
        Host::new(device, config.clone()).unwrap()
    });
    hosts.iter_mut().for_each(Host::fill);
    let [a, b] = hosts;
    (a, b)
}

pub(crate) fn datagram(port: u16, length: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..length).map(|at| (at * 3 + usize::from(port)) as u8).collect();
    let mut out = [&MAC_B[..], &MAC_A, &[8, 0]].concat();
    let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let mut ip = [0; 20];
    ipv4::Repr::new(source, destination, Protocol::UDP, 8 + length)
        .emit(&mut ip)
        .unwrap();
    let mut bytes = vec![0; 8 + length];
    udp::Repr {
        source_port: port,
        destination_port: 53,
        payload: &payload,
    }
    .emit(&mut bytes, source.into(), destination.into())
    .unwrap();
    out.extend(ip);
    out.extend(bytes);
    out
}

#[test]
fn frames_pass_in_every_placement_over_many_wraps() {
    for llq in [false, true] {
        for disable_meta_caching in [false, true] {
            for readless in [false, true] {
                let device = DeviceConfig {
                    llq,
                    disable_meta_caching,
                    ..DeviceConfig::new(MAC_A)
                };
                let config = Config { readless, ..small() };
                let (mut a, mut b) = two(&device, &config);
                assert_eq!(a.driver.offer().llq, llq);
                assert_eq!(b.driver.offer().mac, MAC_B);
                for round in 0..200 {
                    let sent: Vec<_> = (0..5)
                        .map(|index| datagram(round * 5 + index, 18 + usize::from(round * 7 % 1400)))
                        .collect();
                    let mut frames: Vec<_> = sent.iter().map(|bytes| a.frame(bytes)).collect();
                    assert_eq!(a.pairs[0].tx.transmit(&mut frames).unwrap(), 5);
                    assert!(frames.is_empty());
                    assert_eq!(carry(&a.wire, &b.wire, at(0)), 5);
                    let received = b.received();
                    assert_eq!(received.len(), 5);
                    for ((_, bytes, seen), sent) in received.iter().zip(&sent) {
                        assert_eq!(bytes, sent);
                        assert_eq!((seen.l3_protocol, seen.l4_protocol), (L3_IPV4, L4_UDP));
                        assert_eq!(seen.l4_is_right, Some(true));
                    }
                    assert_eq!(a.reclaim(), 5);
                    assert_eq!(a.pairs[0].tx.under_way(), 0);
                }
                assert_eq!(a.wire.lock().statistics().tx_drops, 0);
                assert_eq!(a.driver.statistics().unwrap().tx_packets.get(), 1000);
                assert_eq!(b.driver.statistics().unwrap().rx_packets.get(), 1000);
                assert_eq!(a.device.lock().unwrap().refusals().met().count(), 0);
            }
        }
    }
}

#[test]
fn a_received_buffer_is_forwarded_as_it_is() {
    let (mut a, mut b) = two(&DeviceConfig::new(MAC_A), &small());
    let sent = datagram(7, 500);
    let frame = a.frame(&sent);
    a.pairs[0].tx.transmit(&mut vec![frame]).unwrap();
    carry(&a.wire, &b.wire, at(0));
    let mut frames = Vec::new();
    assert_eq!(b.pairs[0].rx.receive(&mut frames, 10).unwrap(), 1);
    let address = frames[0].first.address();
    b.pairs[0].tx.transmit(&mut frames).unwrap();
    carry(&b.wire, &a.wire, at(0));
    assert_eq!(a.received()[0].1, sent);
    let mut back = Vec::new();
    assert_eq!(b.pairs[0].tx.reclaim(&mut back).unwrap(), 1);
    assert_eq!(back[0].address(), address);
}

#[test]
fn pieces_checksums_and_segments() {
    for llq in [false, true] {
        let device = DeviceConfig {
            llq,
            ..DeviceConfig::new(MAC_A)
        };
        let (mut a, mut b) = two(&device, &small());
        // A super-frame of TCP in pieces of 1,000 bytes.
        let payload: Vec<u8> = (0..9000_u32).map(|at| (at % 251) as u8).collect();
        let mut sent = [&MAC_B[..], &MAC_A, &[8, 0]].concat();
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut ip = [0; 20];
        ipv4::Repr::new(source, destination, Protocol::TCP, 20 + payload.len())
            .emit(&mut ip)
            .unwrap();
        let mut segment = vec![0; 20 + payload.len()];
        tcp::Repr {
            source_port: 1,
            destination_port: 2,
            sequence: 5,
            acknowledgement: 0,
            flags: tcp::Flags::ACK,
            window: 1000,
            urgent: 0,
            options: tcp::Options::default(),
            payload: &payload,
        }
        .emit(&mut segment, source.into(), destination.into())
        .unwrap();
        segment[16..18].fill(0);
        sent.extend(ip);
        sent.extend(segment);
        let mut pieces = sent
            .chunks(1000)
            .map(|bytes| a.frame(bytes).first)
            .collect::<Vec<Piece>>();
        let first = pieces.remove(0);
        let request = Request {
            ipv4_checksum: true,
            checksum: Some(TransportChecksum::Tcp),
            segmentation: Some(Segmentation {
                is_ipv6: false,
                mss: 1400,
                header_bytes: 54,
            }),
            l2_bytes: 14,
            l3_bytes: 20,
            is_ipv6: false,
        };
        let mut frames = vec![Frame {
            first,
            rest: pieces,
            request,
            seen: trinic_ena::driver::Seen::default(),
        }];
        assert_eq!(a.pairs[0].tx.transmit(&mut frames).unwrap(), 1);
        carry(&a.wire, &b.wire, at(0));
        let received = b.received();
        assert_eq!(received.len(), 9000_usize.div_ceil(1400));
        let joined: Vec<u8> = received
            .iter()
            .flat_map(|(_, bytes, _)| bytes[54..].to_vec())
            .collect();
        assert_eq!(joined, payload);
        assert!(received.iter().all(|(_, bytes, seen)| {
            seen.l4_is_right == Some(true)
                && seen.l4_protocol == L4_TCP
                && tcp::Repr::parse(&bytes[34..], source.into(), destination.into()).is_ok()
        }));
        assert_eq!(a.reclaim(), 1);
        assert_eq!(a.buffers.len() + 64 - 1, 192);
    }
}

#[test]
fn frames_that_cannot_be_sent_stay() {
    let (mut a, b) = two(&DeviceConfig::new(MAC_A), &small());
    let good = a.frame(&datagram(1, 30));
    let mut bad = a.frame(&datagram(1, 30));
    bad.first.length = 5000;
    let mut frames = vec![good, bad];
    let error = a.pairs[0].tx.transmit(&mut frames).unwrap_err();
    assert!(matches!(error, QueueError::Frame(_)));
    assert_eq!(frames.len(), 1);
    assert_eq!(a.pairs[0].tx.under_way(), 1);
    // A full ring takes no more, and takes more once it was completed.
    let mut frames: Vec<_> = (0..100).map(|_| a.frame(&datagram(1, 30))).collect();
    let sent = a.pairs[0].tx.transmit(&mut frames).unwrap();
    assert!(sent < 64 && frames.len() == 100 - sent);
    assert_eq!(a.pairs[0].tx.transmit(&mut frames).unwrap(), 0);
    carry(&a.wire, &b.wire, at(0));
    assert_eq!(a.reclaim(), sent + 1);
    assert!(a.pairs[0].tx.transmit(&mut frames).unwrap() > 0);
}

#[test]
fn flows_spread_over_queue_pairs() {
    let device = DeviceConfig {
        queue_pairs: 4,
        ..DeviceConfig::new(MAC_A)
    };
    let config = Config {
        queue_pairs: 4,
        ..small()
    };
    let (mut a, mut b) = two(&device, &config);
    let mut counts = [0; 4];
    for port in 0..200 {
        let frame = a.frame(&datagram(port, 30));
        let pair = usize::from(port % 4);
        a.pairs[pair].tx.transmit(&mut vec![frame]).unwrap();
        carry(&a.wire, &b.wire, at(0));
        for (index, _, _) in b.received() {
            counts[usize::from(index)] += 1;
        }
        a.reclaim();
    }
    assert_eq!(counts.iter().sum::<i32>(), 200);
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

#[test]
fn the_mtu_is_agreed() {
    let (mut a, mut b) = two(&DeviceConfig::new(MAC_A), &small());
    let too_much = a.driver.set_mtu(9217).unwrap_err();
    assert!(matches!(too_much, DriverError::Config { what: "MTU", .. }));
    let frame = a.frame(&datagram(1, 1473));
    a.pairs[0].tx.transmit(&mut vec![frame]).unwrap();
    carry(&a.wire, &b.wire, at(0));
    assert!(b.received().is_empty());
    b.driver.set_mtu(1501).unwrap();
    let frame = a.frame(&datagram(1, 1473));
    a.pairs[0].tx.transmit(&mut vec![frame]).unwrap();
    carry(&a.wire, &b.wire, at(0));
    assert_eq!(b.received().len(), 1);
    assert_eq!(b.driver.statistics().unwrap().rx_overruns.get(), 1);
}

/// Between two functions with nothing between them that carries less.
#[test]
fn packets_of_the_largest_mtu_pass_whole() {
    let config = Config {
        mtu: 9_216,
        ..small()
    };
    for llq in [false, true] {
        let config = Config {
            llq,
            ..config.clone()
        };
        let (mut a, mut b) = two(&DeviceConfig::new(MAC_A), &config);
        for (length, arrives) in [(9_216, true), (9_217, false)] {
            let sent = datagram(1, length - 28);
            let mut pieces = sent
                .chunks(2_000)
                .map(|bytes| a.frame(bytes).first)
                .collect::<Vec<Piece>>();
            let first = pieces.remove(0);
            let mut frame = a.frame(&sent[..60]);
            a.buffers.push(std::mem::replace(&mut frame.first, first).buffer);
            frame.rest = pieces;
            assert_eq!(a.pairs[0].tx.transmit(&mut vec![frame]).unwrap(), 1);
            carry(&a.wire, &b.wire, at(0));
            let received: Vec<Vec<u8>> = b.received().into_iter().map(|(_, bytes, _)| bytes).collect();
            let expected = if arrives { vec![sent] } else { Vec::new() };
            assert_eq!(received, expected, "{length} bytes, llq {llq}");
            a.reclaim();
        }
        assert_eq!(b.driver.statistics().unwrap().rx_overruns.get(), 1);
    }
}

#[test]
fn events_are_handled_and_their_absence_noticed() {
    let (mut a, _) = two(&DeviceConfig::new(MAC_A), &small());
    a.driver.poll(at(0)).unwrap();
    assert!(a.driver.link_is_up());
    a.device.lock().unwrap().set_link(false);
    a.driver.poll(at(0)).unwrap();
    assert!(!a.driver.link_is_up());
    a.device.lock().unwrap().set_link(true);
    // Past the ring's end, more than once.
    for second in 1..60 {
        a.tick(at(second * 1000));
        a.driver.poll(at(second * 1000)).unwrap();
    }
    assert!(a.driver.link_is_up());
    assert!(a.driver.event_counts().keep_alive > 50);
    a.device.lock().unwrap().inject(Fault::StopKeepAlives).unwrap();
    for second in 60..65 {
        a.tick(at(second * 1000));
        a.driver.poll(at(second * 1000)).unwrap();
    }
    a.tick(at(66_000));
    let error = a.driver.poll(at(66_000)).unwrap_err();
    assert!(matches!(error, DriverError::KeepAlive(_)));
    assert_eq!(error.reset_reason(), ResetReason::KEEP_ALIVE_TIMEOUT);
}

#[test]
fn a_reset_restores_queues_buffers_and_settings() {
    for llq in [false, true] {
        let device = DeviceConfig {
            llq,
            ..DeviceConfig::new(MAC_A)
        };
        let (mut a, mut b) = two(&device, &small());
        for round in 0..5 {
            // Frames under way when the reset comes.
            let mut frames: Vec<_> = (0..10).map(|_| a.frame(&datagram(1, 30))).collect();
            a.pairs[0].tx.transmit(&mut frames).unwrap();
            a.device.lock().unwrap().inject(Fault::RequestReset).unwrap();
            let error = a.driver.poll(at(0)).unwrap_err();
            assert_eq!(error, DriverError::ResetRequested);
            a.driver
                .reset(error.reset_reason(), &mut a.pairs, &mut a.buffers)
                .unwrap();
            assert_eq!(a.buffers.len(), 192, "{round}");
            a.fill();
            a.driver.poll(at(0)).unwrap();
            assert!(a.driver.link_is_up());
            let sent = datagram(round, 300);
            let frame = a.frame(&sent);
            a.pairs[0].tx.transmit(&mut vec![frame]).unwrap();
            assert_eq!(carry(&a.wire, &b.wire, at(0)), 1);
            assert_eq!(b.received()[0].1, sent);
            assert_eq!(a.reclaim(), 1);
        }
    }
}

#[test]
fn a_waiter_wakes_for_what_came_since() {
    let config = Config {
        interrupts: true,
        ..small()
    };
    let (mut a, mut b) = two(&DeviceConfig::new(MAC_A), &config);
    let moment = Duration::from_millis(1);
    assert!(!b.pairs[0].waiter.wait(moment).unwrap());
    for _ in 0..3 {
        let frame = a.frame(&datagram(1, 30));
        a.pairs[0].tx.transmit(&mut vec![frame]).unwrap();
        carry(&a.wire, &b.wire, at(0));
        assert!(b.pairs[0].waiter.wait(moment).unwrap());
        assert_eq!(b.received().len(), 1);
        b.pairs[0].waiter.arm(0, 0).unwrap();
        assert!(!b.pairs[0].waiter.wait(moment).unwrap());
    }
    // Between the interrupt and arming again.
    for _ in 0..2 {
        let frame = a.frame(&datagram(1, 30));
        a.pairs[0].tx.transmit(&mut vec![frame]).unwrap();
        carry(&a.wire, &b.wire, at(0));
    }
    assert!(b.pairs[0].waiter.wait(moment).unwrap());
    b.pairs[0].waiter.arm(0, 0).unwrap();
    b.wire.lock().poll(at(0));
    assert!(b.pairs[0].waiter.wait(moment).unwrap());
    assert_eq!(b.received().len(), 2);
}

#[test]
fn allowances_are_the_devices() {
    let (mut a, _) = two(&DeviceConfig::new(MAC_A), &small());
    let wanted = Allowances {
        bw_in_exceeded: 1,
        bw_out_exceeded: 2,
        pps_exceeded: 3,
        conntrack_exceeded: 4,
        linklocal_exceeded: 5,
        conntrack_available: 6,
    };
    *a.wire.lock().allowances_mut() = wanted;
    assert_eq!(a.driver.allowances().unwrap(), wanted);
}

#[test]
fn configurations_out_of_range_are_refused() {
    for config in [
        Config {
            tx_depth: 100,
            ..small()
        },
        Config {
            rx_depth: 8,
            ..small()
        },
        Config {
            queue_pairs: 0,
            ..small()
        },
        Config {
            buffer_bytes: 10,
            ..small()
        },
        Config {
            mtu: 10_000,
            ..small()
        },
    ] {
        let result = Host::new(DeviceConfig::new(MAC_A), config);
        assert!(matches!(result.err(), Some(DriverError::Config { .. })));
    }
    let config = Config {
        queue_pairs: 9,
        ..small()
    };
    let host = Host::new(DeviceConfig::new(MAC_A), config).unwrap();
    assert_eq!(host.driver.config().queue_pairs, 1);
}

#[test]
fn shutting_down_tells_the_device() {
    let (a, _) = two(&DeviceConfig::new(MAC_A), &small());
    let device = std::sync::Arc::clone(&a.device);
    a.driver.shut_down(ResetReason::SHUTDOWN).unwrap();
    let described = device.lock().unwrap().describe();
    assert!(described.resets.iter().any(|reset| reset.reason == "shutdown"));
}
