//! The bodies of the fuzz targets, which the tests replay: each takes any bytes, must not panic by itself, and
//! asserts what must hold.

use crate::config::{CONFIG_SIZE_BYTES, ConfigSpace, Identity, MsixPlace};
use crate::function::BarSpec;
use crate::msix::{BAR_SIZE_BYTES, MsixTable, PENDING_OFFSET};

/// Config space and the MSI-X table of one function under any accesses. Each is a byte that says what, two of
/// offset, one of length and what is to be written.
///
/// # Panics
///
/// When an identifier has changed.
pub fn config(mut data: &[u8]) {
    let Some(mut space) = space() else { return };
    let mut table = MsixTable::new(33);
    let mut fixed = [0; 4];
    space.read(0, &mut fixed);
    while let [what, low, high, length, rest @ ..] = data {
        let offset = u16::from_le_bytes([*low, *high]);
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        match what % 4 {
            0 => {
                let events = space.write(offset, bytes);
                assert!(
                    !events.function_level_reset || space.command() == 0,
                    "a reset resets"
                );
            }
            1 => space.read(offset, &mut [0; 255][..usize::from(*length)]),
            2 => table.write(u64::from(offset), bytes),
            _ => table.read(u64::from(offset), &mut [0; 255][..usize::from(*length)]),
        }
        let mut now = [0; 4];
        space.read(0, &mut now);
        assert_eq!(fixed, now, "vendor and device stay");
        let mut beyond = [1; 8];
        space.read(CONFIG_SIZE_BYTES, &mut beyond);
        assert_eq!(beyond, [0; 8], "beyond config space is nothing");
    }
}

fn space() -> Option<ConfigSpace> {
    let bar = |index, size_bytes, is_64bit| BarSpec {
        index,
        size_bytes,
        is_64bit,
        is_prefetchable: is_64bit,
        mapped: Vec::new(),
    };
    let identity = Identity {
        vendor_id: 0x1d0f,
        device_id: 0xec20,
        revision_id: 0,
        class_code: 0x02_0000,
        subsystem_vendor_id: 0,
        subsystem_id: 0,
    };
    let msix = MsixPlace {
        vectors: 33,
        bar: 1,
        table_offset: 0,
        pending_offset: PENDING_OFFSET,
    };
    let bars = [
        bar(0, 0x4000, false),
        bar(1, BAR_SIZE_BYTES, false),
        bar(2, 1 << 20, true),
    ];
    ConfigSpace::new(&identity, &bars, msix).ok()
}
