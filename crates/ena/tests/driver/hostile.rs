//! A device that lies gets an error and no panic.

use proptest::prelude::*;
use trinic_ena::device::{Config as DeviceConfig, Fault};
use trinic_ena::driver::{Config, Driver, DriverError, QueueError};
use trinic_ena::spec::registers::ResetReason;
use trinic_pci::Memory;

use crate::rig::{Host, bus};
use crate::traffic::datagram;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn host() -> Host {
    let device = DeviceConfig {
        llq: false,
        ..DeviceConfig::new(MAC)
    };
    let config = Config {
        tx_depth: 16,
        rx_depth: 16,
        buffers: 48,
        ..Config::default()
    };
    let mut host = Host::new(device, config).unwrap();
    host.fill();
    host
}

/// Where the completion rings are: the driver's allocations come in a fixed order, a page each but the admin
/// rings, which take two.
const TX_COMPLETIONS: u64 = 0x10_0000 + 6 * 0x1000;
const RX_COMPLETIONS: u64 = TX_COMPLETIONS + 2 * 0x1000;

#[test]
fn lies_in_completions_are_errors_with_their_reason() {
    // A packet that was not sent, one beyond the ring, and one twice.
    for id in [3_u16, 200] {
        let mut host = host();
        let entry = [id.to_le_bytes(), [0, 1], [0, 0], [0, 0]].concat();
        host.memory.write(TX_COMPLETIONS, &entry).unwrap();
        let error = host.pairs[0].tx.reclaim(&mut host.buffers).unwrap_err();
        assert_eq!(error, QueueError::TxRequestId(id));
        assert_eq!(error.reset_reason(), ResetReason::INVALID_TX_REQUEST_ID);
    }
    let mut liar = host();
    liar.memory
        .write(TX_COMPLETIONS, &[0, 0, 0, 0x41, 0, 0, 0, 0])
        .unwrap();
    let error = liar.pairs[0].tx.reclaim(&mut liar.buffers).unwrap_err();
    assert_eq!(error, QueueError::TxMalformed(0x41));
    let phase_first_last = 0x0d00_0000_u32;
    for (status, length, id, reason) in [
        (phase_first_last, 60_u16, 15_u16, None),
        (phase_first_last, 60, 99, Some(ResetReason::INVALID_RX_REQUEST_ID)),
        // The last id that is free is not posted.
        (
            phase_first_last,
            3000,
            2,
            Some(ResetReason::RX_DESCRIPTOR_MALFORMED),
        ),
        (
            phase_first_last | 1 << 7,
            60,
            2,
            Some(ResetReason::RX_DESCRIPTOR_MALFORMED),
        ),
        (
            phase_first_last & !(1 << 26),
            60,
            2,
            Some(ResetReason::RX_DESCRIPTOR_MALFORMED),
        ),
    ] {
        let mut host = host();
        let mut entry = status.to_le_bytes().to_vec();
        entry.extend(length.to_le_bytes());
        entry.extend(id.to_le_bytes());
        host.memory.write(RX_COMPLETIONS, &entry).unwrap();
        let result = host.pairs[0].rx.receive(&mut Vec::new(), 8);
        match reason {
            Some(reason) => assert_eq!(result.unwrap_err().reset_reason(), reason, "{id}"),
            // The one free id is not posted either.
            None => assert!(matches!(result, Err(QueueError::RxRequestId(15)))),
        }
    }
}

#[test]
fn an_admin_command_that_is_not_completed_times_out() {
    let mut host = host();
    host.device
        .lock()
        .unwrap()
        .inject(Fault::SwallowAdminCompletion)
        .unwrap();
    let error = host.driver.statistics().unwrap_err();
    assert!(matches!(error, DriverError::AdminTimeout(_)));
    host.driver
        .reset(error.reset_reason(), &mut host.pairs, &mut host.buffers)
        .unwrap();
    host.driver.statistics().unwrap();
}

#[test]
fn a_fatal_error_is_told() {
    let mut host = host();
    host.device.lock().unwrap().inject(Fault::FatalError).unwrap();
    let error = host.driver.poll(trinic_wire::time::Instant::ZERO).unwrap_err();
    assert_eq!(error, DriverError::Fatal);
}

#[test]
fn a_bus_without_memory_is_an_error() {
    let (bus, _, _) = bus(DeviceConfig::new(MAC), 0x2_0000);
    let error = Driver::probe(bus, Config::default()).unwrap_err();
    assert!(matches!(error, DriverError::Bus(_)), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any bytes in the completion and event rings: an error or frames, no panic, and no buffer twice.
    #[test]
    fn any_completions(
        tx in prop::collection::vec(any::<u8>(), 128),
        rx in prop::collection::vec(any::<u8>(), 256),
        likely in any::<bool>(),
    ) {
        let mut host = host();
        let frame = host.frame(&datagram(1, 30));
        host.pairs[0].tx.transmit(&mut vec![frame]).unwrap();
        let (mut tx, mut rx) = (tx, rx);
        if likely {
            for entry in tx.chunks_exact_mut(8) {
                entry[1] = 0;
                entry[0] &= 0xf;
                entry[3] = 1;
            }
            for entry in rx.chunks_exact_mut(16) {
                entry[0] &= 0x7f;
                entry[2] &= !2;
                entry[3] |= 1;
                entry[5] &= 7;
                entry[7] = 0;
                entry[6] &= 0xf;
            }
        }
        host.memory.write(TX_COMPLETIONS, &tx).unwrap();
        host.memory.write(RX_COMPLETIONS, &rx).unwrap();
        let mut buffers = Vec::new();
        let _ = host.pairs[0].tx.reclaim(&mut buffers);
        let mut frames = Vec::new();
        for _ in 0..4 {
            if host.pairs[0].rx.receive(&mut frames, 8).is_err() {
                break;
            }
        }
        for frame in frames {
            let mut bytes = vec![0; frame.length()];
            frame.read(&host.memory, &mut bytes).unwrap();
            frame.into_buffers(&mut buffers);
        }
        let mut addresses: Vec<u64> = buffers.iter().chain(&host.buffers).map(|buffer| buffer.address()).collect();
        let count = addresses.len();
        addresses.sort_unstable();
        addresses.dedup();
        prop_assert_eq!(addresses.len(), count);
    }
}
