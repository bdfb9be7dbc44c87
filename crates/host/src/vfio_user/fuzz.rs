//! The body of the fuzz target for vfio-user messages, which the tests replay: any bytes as what a client sends.

use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use trinic_pci::{BarSpec, Function, Memory};
use trinic_wire::time::Instant;
use zerocopy::FromBytes;

use super::irq::IrqTable;
use super::protocol::{HEADER_BYTES, Header, MESSAGE_BYTES_MOST};
use super::server::Parts;
use super::session::Session;
use super::shared::SharedBar;
use crate::guest_memory::{GuestMemory, Limits};

/// A stream of messages as a server handles them, one byte before each that says which descriptors come along.
/// Must not panic; asserts that the memory stays within its limits and that the function sees no access outside
/// its BARs.
///
/// # Panics
///
/// When one of these does not hold.
pub fn messages(mut data: &[u8]) {
    let Some(mut parts) = parts() else { return };
    let mut session = Session::default();
    while let [with, rest @ ..] = data {
        let Ok((header, after)) = Header::ref_from_prefix(rest) else {
            break;
        };
        let size = usize::try_from(header.size.get()).unwrap_or(usize::MAX);
        if !(HEADER_BYTES..=MESSAGE_BYTES_MOST).contains(&size) {
            break;
        }
        let (body, next) = after.split_at((size - HEADER_BYTES).min(after.len()));
        data = next;
        match session.handle(&mut parts, header, body, descriptors(*with)) {
            Ok(answer) => assert!(
                answer.body.len() <= MESSAGE_BYTES_MOST - HEADER_BYTES,
                "an answer is a message"
            ),
            Err(refused) if refused.refusal.is_final() => break,
            Err(_) => {}
        }
        let (maps, bytes) = parts.memory.size();
        assert!(maps <= LIMITS.maps && bytes <= LIMITS.bytes, "limits hold");
        for address in [0, 0x1000, 0xffff_fff0] {
            let mut some = [0; 32];
            let _ = parts.memory.read(address, &mut some);
            let _ = parts.memory.write(address, &some);
        }
    }
}

/// Files for the low two bits, events for the others.
fn descriptors(with: u8) -> Vec<OwnedFd> {
    let file = || {
        let file = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC).ok()?;
        rustix::fs::ftruncate(&file, FILE_BYTES).ok()?;
        Some(file)
    };
    let files = (0..with % 4).filter_map(|_| file());
    let events = (0..with / 4 % 32).filter_map(|_| eventfd(0, EventfdFlags::CLOEXEC).ok());
    files.chain(events).collect()
}

fn parts() -> Option<Parts<Checked>> {
    let bar = |index, size_bytes, mapped| BarSpec {
        index,
        size_bytes,
        is_64bit: index == 2,
        is_prefetchable: index == 2,
        mapped,
    };
    let bars = vec![
        bar(0, 0x4000, one(0x1000..0x2000)),
        bar(1, 0x2000, Vec::new()),
        bar(2, 0x4000, one(0..0x4000)),
    ];
    let shared: Result<Vec<SharedBar>, _> = [0, 2].iter().map(|at| SharedBar::new(&bars[*at])).collect();
    Some(Parts {
        function: Checked { bars },
        shared: shared.ok()?,
        memory: GuestMemory::new(LIMITS).ok()?,
        interrupts: IrqTable::new(VECTORS),
    })
}

fn one(part: std::ops::Range<u64>) -> Vec<std::ops::Range<u64>> {
    std::iter::once(part).collect()
}

/// A function that asserts what its carrier promises.
#[derive(Debug)]
struct Checked {
    bars: Vec<BarSpec>,
}

impl Checked {
    fn check(&self, bar: u8, offset: u64, length: usize) {
        let spec = self.bars.iter().find(|spec| spec.index == bar);
        let size_bytes = spec.map_or(0, |spec| spec.size_bytes);
        let inside = matches!(length, 1 | 2 | 4 | 8) && offset < size_bytes;
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        assert!(
            inside && length <= size_bytes - offset,
            "an access is inside its BAR"
        );
        let is_mapped = spec.is_some_and(|spec| spec.mapped.iter().any(|part| part.contains(&offset)));
        assert!(!is_mapped, "an access is to a part that is not mapped");
    }
}

impl Function for Checked {
    fn bars(&self) -> &[BarSpec] {
        &self.bars
    }

    fn vector_count(&self) -> u16 {
        VECTORS
    }

    fn config_read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(0);
    }

    fn config_write(&mut self, _offset: u16, _data: &[u8]) {}

    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        self.check(bar, offset, data.len());
        data.fill(0);
    }

    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        self.check(bar, offset, data.len());
    }

    fn reset(&mut self) {}

    fn memory_changed(&mut self) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _now: Instant) {}
}

const LIMITS: Limits = Limits {
    maps: 8,
    bytes: 1 << 20,
};
const VECTORS: u16 = 20;
/// Bytes of the files that come along.
const FILE_BYTES: u64 = 0x10_0000;
