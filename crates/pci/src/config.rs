//! Config space of a type 0 function: header, BARs, PCI Express and MSI-X capabilities.
//!
//! One array of bytes and one of writable bits: a write changes the writable bits and nothing else, so BAR
//! sizing and read-only registers need no code of their own. What a write means beyond its bits (a
//! function-level reset, MSI-X switched on) comes back as [`ConfigEvents`].

use crate::capability::{
    self, DEVICE_CONTROL_RESET, EXPRESS_DEVICE_CONTROL, EXPRESS_SIZE_BYTES, MSIX_CONTROL,
    MSIX_CONTROL_ENABLED, MSIX_CONTROL_MASKED, MSIX_SIZE_BYTES,
};
use crate::function::BarSpec;

/// Bytes of config space: that of PCI Express. Source: [PCI Express Base 4.0 §7.2.2].
pub const CONFIG_SIZE_BYTES: u16 = 4096;

/// What a function says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Who made it. Source: [PCI Local Bus 3.0 §6.2.1], as the other fields.
    pub vendor_id: u16,
    /// Which product of that vendor.
    pub device_id: u16,
    /// Revision of the product.
    pub revision_id: u8,
    /// Base class, sub-class and programming interface, as in 0x020000 (Ethernet); 24 bits.
    pub class_code: u32,
    /// Who made the board.
    pub subsystem_vendor_id: u16,
    /// Which board of that vendor.
    pub subsystem_id: u16,
}

/// Where a function's MSI-X table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixPlace {
    /// How many vectors there are, 1 to 2048.
    pub vectors: u16,
    /// The BAR that holds table and pending bits.
    pub bar: u8,
    /// Offset of the table, a multiple of 8.
    pub table_offset: u32,
    /// Offset of the pending bits, a multiple of 8.
    pub pending_offset: u32,
}

/// What a write of config space asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct ConfigEvents {
    /// A function-level reset. Config space has been reset already; the rest of the function is the caller's.
    pub function_level_reset: bool,
    /// MSI-X was switched on or off, or masked or unmasked as a whole.
    pub msix_changed: bool,
    /// The command register has changed: memory space or bus mastering, for example.
    pub command_changed: bool,
}

/// Why a function cannot be laid out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A BAR's number is above 5, taken twice, or a 64-bit BAR is the last one.
    #[error("BAR {0} cannot be there")]
    BarIndex(u8),
    /// A BAR's size is not a power of two, below 16 bytes, or too large for its width.
    #[error("BAR {index} cannot have {size_bytes} bytes")]
    BarSize {
        /// Which BAR.
        index: u8,
        /// Its size.
        size_bytes: u64,
    },
    /// The MSI-X table is not inside a BAR.
    #[error("The MSI-X table does not fit in BAR {0}")]
    MsixPlace(u8),
}

/// Config space of one function.
#[derive(Debug, Clone)]
pub struct ConfigSpace {
    /// What it reads as; the extended part, which is empty here, is zeros without being kept.
    bytes: [u8; HEADER_SPACE],
    /// Which bits software may change.
    writable: [u8; HEADER_SPACE],
    /// What it read as at power-on.
    initial: [u8; HEADER_SPACE],
    /// Index of each BAR and whether it takes two registers.
    bars: Vec<(u8, bool)>,
}

impl ConfigSpace {
    /// Lays a function out.
    ///
    /// # Errors
    ///
    /// When BARs collide or have sizes that PCI cannot express, or MSI-X is not inside one.
    pub fn new(identity: &Identity, bars: &[BarSpec], msix: MsixPlace) -> Result<Self, ConfigError> {
        let mut space = Self {
            bytes: [0; HEADER_SPACE],
            writable: [0; HEADER_SPACE],
            initial: [0; HEADER_SPACE],
            bars: Vec::new(),
        };
        space.put_header(identity);
        for bar in bars {
            space.put_bar(bar)?;
        }
        check_msix(bars, msix)?;
        let express = capability::express();
        space.put(EXPRESS_AT, &express.bytes, &express.writable);
        let places = capability::msix(msix.vectors, msix.bar, msix.table_offset, msix.pending_offset);
        space.put(MSIX_AT, &places.bytes, &places.writable);
        space.bytes[CAPABILITIES_AT] = at_byte(EXPRESS_AT);
        space.bytes[EXPRESS_AT + 1] = at_byte(MSIX_AT);
        space.initial = space.bytes;
        Ok(space)
    }

    /// Reads at any offset and length; what lies beyond config space reads as zeros.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        for (at, byte) in (usize::from(offset)..).zip(data.iter_mut()) {
            *byte = self.bytes.get(at).copied().unwrap_or(0);
        }
    }

    /// Writes at any offset and length; only writable bits change.
    pub fn write(&mut self, offset: u16, data: &[u8]) -> ConfigEvents {
        let offset = usize::from(offset);
        let (command, msix) = (self.command(), self.msix_control());
        let reset = wants_reset(offset, data);
        for (at, byte) in (offset..).zip(data) {
            if let (Some(kept), Some(mask)) = (self.bytes.get_mut(at), self.writable.get(at)) {
                *kept = *kept & !mask | byte & mask;
            }
        }
        if reset {
            self.reset();
        }
        ConfigEvents {
            function_level_reset: reset,
            msix_changed: self.msix_control() != msix,
            command_changed: self.command() != command,
        }
    }

    /// Everything as at power-on.
    pub fn reset(&mut self) {
        self.bytes = self.initial;
    }

    /// The command register. Source: [PCI Local Bus 3.0 §6.2.2].
    #[must_use]
    pub fn command(&self) -> u16 {
        self.word(COMMAND_AT)
    }

    /// Whether the function may reach memory.
    #[must_use]
    pub fn is_bus_master(&self) -> bool {
        self.command() & COMMAND_BUS_MASTER != 0
    }

    /// Whether the function's BARs answer.
    #[must_use]
    pub fn is_memory_enabled(&self) -> bool {
        self.command() & COMMAND_MEMORY != 0
    }

    /// Whether MSI-X is on.
    #[must_use]
    pub fn is_msix_enabled(&self) -> bool {
        self.msix_control() & MSIX_CONTROL_ENABLED != 0
    }

    /// Whether all MSI-X vectors are masked.
    #[must_use]
    pub fn is_msix_masked(&self) -> bool {
        self.msix_control() & MSIX_CONTROL_MASKED != 0
    }

    /// The address that a BAR was given; `None` when there is no such BAR.
    #[must_use]
    pub fn bar_address(&self, index: u8) -> Option<u64> {
        let (_, is_wide) = self.bars.iter().find(|(number, _)| *number == index)?;
        let at = bar_at(index);
        let low = u64::from(self.double_word(at)) & !0xf;
        let high = if *is_wide { self.double_word(at + 4) } else { 0 };
        Some(u64::from(high) << 32 | low)
    }

    fn put_header(&mut self, identity: &Identity) {
        let class = identity.class_code.to_le_bytes();
        let words = [
            (0x00, identity.vendor_id),
            (0x02, identity.device_id),
            (0x2c, identity.subsystem_vendor_id),
            (0x2e, identity.subsystem_id),
        ];
        for (at, value) in words {
            self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        self.bytes[0x08] = identity.revision_id;
        self.bytes[0x09..0x0c].copy_from_slice(&class[..3]);
        self.bytes[STATUS_AT] = STATUS_HAS_CAPABILITIES;
        self.writable[COMMAND_AT..COMMAND_AT + 2].copy_from_slice(&COMMAND_WRITABLE.to_le_bytes());
        self.writable[CACHE_LINE_AT] = 0xff;
        self.writable[INTERRUPT_LINE_AT] = 0xff;
    }

    fn put_bar(&mut self, bar: &BarSpec) -> Result<(), ConfigError> {
        let index = bar.index;
        let registers = if bar.is_64bit { 2 } else { 1 };
        let taken = |number: u8| {
            self.bars
                .iter()
                .any(|(other, is_wide)| number == *other || *is_wide && number == other + 1)
        };
        if index > 5 || index + registers > 6 || (index..index + registers).any(taken) {
            return Err(ConfigError::BarIndex(index));
        }
        let most = if bar.is_64bit { 1 << 62 } else { 1 << 31 };
        if !bar.size_bytes.is_power_of_two() || !(16..=most).contains(&bar.size_bytes) {
            return Err(ConfigError::BarSize {
                index,
                size_bytes: bar.size_bytes,
            });
        }
        let at = bar_at(index);
        let width = usize::from(registers) * 4;
        let writable = !(bar.size_bytes - 1) & !0xf;
        self.writable[at..at + width].copy_from_slice(&writable.to_le_bytes()[..width]);
        self.bytes[at] = if bar.is_64bit { BAR_64BIT } else { 0 };
        if bar.is_prefetchable {
            self.bytes[at] |= BAR_PREFETCHABLE;
        }
        self.bars.push((index, bar.is_64bit));
        Ok(())
    }

    fn put(&mut self, at: usize, bytes: &[u8], writable: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.writable[at..at + writable.len()].copy_from_slice(writable);
    }

    fn msix_control(&self) -> u16 {
        self.word(MSIX_AT + MSIX_CONTROL)
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn double_word(&self, at: usize) -> u32 {
        let bytes = &self.bytes[at..at + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// Whether a write sets bit 15 of device control.
fn wants_reset(offset: usize, data: &[u8]) -> bool {
    let high = EXPRESS_AT + EXPRESS_DEVICE_CONTROL + 1;
    let bit = DEVICE_CONTROL_RESET.to_le_bytes()[1];
    high.checked_sub(offset)
        .and_then(|at| data.get(at))
        .is_some_and(|byte| byte & bit != 0)
}

fn check_msix(bars: &[BarSpec], msix: MsixPlace) -> Result<(), ConfigError> {
    let wrong = ConfigError::MsixPlace(msix.bar);
    let bar = bars.iter().find(|bar| bar.index == msix.bar);
    let size_bytes = bar.ok_or_else(|| wrong.clone())?.size_bytes;
    let vectors = u64::from(msix.vectors);
    let table = u64::from(msix.table_offset)..u64::from(msix.table_offset) + vectors * 16;
    let pending = u64::from(msix.pending_offset)..u64::from(msix.pending_offset) + vectors.div_ceil(64) * 8;
    let apart = table.end <= pending.start || pending.end <= table.start;
    let inside = table.end <= size_bytes && pending.end <= size_bytes;
    let legal = (1..=u64::from(capability::MSIX_VECTORS_MOST)).contains(&vectors);
    let aligned = (msix.table_offset | msix.pending_offset).is_multiple_of(8);
    if apart && inside && legal && aligned {
        Ok(())
    } else {
        Err(wrong)
    }
}

fn bar_at(index: u8) -> usize {
    BARS_AT + 4 * usize::from(index)
}

/// A place in the header's 256 bytes, as the capability list holds it.
const fn at_byte(at: usize) -> u8 {
    at.to_le_bytes()[0]
}

/// The part of config space that holds anything.
const HEADER_SPACE: usize = 256;
/// Command register. Source: [PCI Local Bus 3.0 §6.1], as the other places.
const COMMAND_AT: usize = 0x04;
/// Status register.
const STATUS_AT: usize = 0x06;
/// Cache line size: software's to use.
const CACHE_LINE_AT: usize = 0x0c;
/// First BAR.
const BARS_AT: usize = 0x10;
/// Where the first capability is.
const CAPABILITIES_AT: usize = 0x34;
/// Interrupt line: software's to use.
const INTERRUPT_LINE_AT: usize = 0x3c;
/// Where PCI Express is put.
const EXPRESS_AT: usize = 0x40;
/// Where MSI-X is put.
const MSIX_AT: usize = 0x80;
const _: () =
    assert!(EXPRESS_AT + EXPRESS_SIZE_BYTES <= MSIX_AT && MSIX_AT + MSIX_SIZE_BYTES <= HEADER_SPACE);

/// Command: BARs in memory space answer. Source: [PCI Local Bus 3.0 §6.2.2], as the others.
const COMMAND_MEMORY: u16 = 1 << 1;
/// Command: the function may reach memory.
const COMMAND_BUS_MASTER: u16 = 1 << 2;
/// Command: memory, bus master, parity error response, SERR#, INTx disable. No BAR is in IO space.
const COMMAND_WRITABLE: u16 = COMMAND_MEMORY | COMMAND_BUS_MASTER | 1 << 6 | 1 << 8 | 1 << 10;
/// Status: there is a capability list. Source: [PCI Local Bus 3.0 §6.2.3].
const STATUS_HAS_CAPABILITIES: u8 = 1 << 4;
/// BAR: takes 64-bit addresses. Source: [PCI Local Bus 3.0 §6.2.5.1].
const BAR_64BIT: u8 = 0b100;
/// BAR: prefetchable. Source: [PCI Local Bus 3.0 §6.2.5.1].
const BAR_PREFETCHABLE: u8 = 0b1000;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An ENA's layout: registers, MSI-X, push memory.
    pub(crate) fn sample() -> ConfigSpace {
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
            revision_id: 1,
            class_code: 0x02_0000,
            subsystem_vendor_id: 0x1d0f,
            subsystem_id: 0xec20,
        };
        let msix = MsixPlace {
            vectors: 33,
            bar: 1,
            table_offset: 0,
            pending_offset: 0x1000,
        };
        let bars = [
            bar(0, 0x4000, false),
            bar(1, 0x2000, false),
            bar(2, 1 << 20, true),
        ];
        ConfigSpace::new(&identity, &bars, msix).unwrap()
    }

    fn word(space: &ConfigSpace, at: u16) -> u32 {
        let mut bytes = [0; 4];
        space.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn header_says_what_it_is() {
        let space = sample();
        assert_eq!(word(&space, 0x00), 0xec20_1d0f);
        assert_eq!(word(&space, 0x08), 0x0200_0001);
        assert_eq!(word(&space, 0x2c), 0xec20_1d0f);
        assert_eq!(word(&space, 0x04), 0x0010_0000);
        assert_eq!(word(&space, 0x34), 0x40);
        assert_eq!(word(&space, 0x40), 0x0002_8010);
        assert_eq!(word(&space, 0x80), 0x0020_0011);
        assert_eq!(word(&space, 0x84), 1);
        assert_eq!(word(&space, 0x88), 0x1001);
        assert_eq!(word(&space, 0x100), 0);
        assert_eq!(word(&space, 0xffff), 0);
    }

    #[test]
    fn bars_tell_their_size_and_keep_their_address() {
        let mut space = sample();
        let sizes = [
            (0x10, 0xffff_c000),
            (0x14, 0xffff_e000),
            (0x18, 0xfff0_000c),
            (0x1c, u32::MAX),
        ];
        for (at, size) in sizes {
            assert_eq!(space.write(at, &[0xff; 4]), ConfigEvents::default());
            assert_eq!(word(&space, at), size);
        }
        let _events = space.write(0x18, &0x1_2340_0000_u64.to_le_bytes());
        assert_eq!(space.bar_address(2), Some(0x1_2340_0000));
        assert_eq!(space.bar_address(3), None);
        assert_eq!(word(&space, 0x20), 0);
    }

    #[test]
    fn a_function_level_reset_is_an_event_and_not_a_bit() {
        let mut space = sample();
        assert!(space.write(0x04, &[0x06, 0x04]).command_changed);
        assert!(space.is_bus_master() && space.is_memory_enabled());
        assert!(space.write(0x82, &[0, 0x80]).msix_changed);
        assert!(space.is_msix_enabled() && !space.is_msix_masked());
        let events = space.write(0x48, &[0x10, 0xa8]);
        assert!(events.function_level_reset && events.msix_changed && events.command_changed);
        assert!(!space.is_bus_master() && !space.is_msix_enabled());
        assert_eq!(word(&space, 0x48) & 0x8000, 0);
        assert!(!space.write(0x48, &[0x10, 0x28]).function_level_reset);
        assert!(space.write(0x40, &[0xff; 16]).function_level_reset);
    }

    #[test]
    fn layouts_that_pci_cannot_express_are_refused() {
        let bar = |index, size_bytes, is_64bit| BarSpec {
            index,
            size_bytes,
            is_64bit,
            is_prefetchable: false,
            mapped: Vec::new(),
        };
        let make = |bars: &[BarSpec], vectors, bar| {
            let identity = Identity {
                vendor_id: 1,
                device_id: 2,
                revision_id: 3,
                class_code: 4,
                subsystem_vendor_id: 5,
                subsystem_id: 6,
            };
            let msix = MsixPlace {
                vectors,
                bar,
                table_offset: 0,
                pending_offset: 0x1000,
            };
            ConfigSpace::new(&identity, bars, msix).map(drop)
        };
        let good = bar(0, 0x2000, false);
        let twice = [good.clone(), good.clone()];
        assert_eq!(make(&twice, 1, 0), Err(ConfigError::BarIndex(0)));
        assert_eq!(make(&[bar(5, 16, true)], 1, 5), Err(ConfigError::BarIndex(5)));
        assert_eq!(make(&[bar(255, 16, true)], 1, 5), Err(ConfigError::BarIndex(255)));
        let wide = [bar(2, 0x2000, true), bar(3, 0x2000, false)];
        assert_eq!(make(&wide, 1, 2), Err(ConfigError::BarIndex(3)));
        for size_bytes in [0, 8, 24, 1 << 32] {
            let error = ConfigError::BarSize { index: 0, size_bytes };
            assert_eq!(make(&[bar(0, size_bytes, false)], 1, 0), Err(error));
        }
        let good = std::slice::from_ref(&good);
        assert_eq!(make(good, 257, 0), Err(ConfigError::MsixPlace(0)));
        assert_eq!(make(good, 0, 0), Err(ConfigError::MsixPlace(0)));
        assert_eq!(make(good, 1, 4), Err(ConfigError::MsixPlace(4)));
        assert_eq!(make(good, 256, 0), Ok(()));
    }

    proptest! {
        /// Whatever is written where, read-only bits stay, and nothing is out of reach.
        #[test]
        fn read_only_bits_stay(
            writes in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..20)), 0..50),
            near in prop::collection::vec((0u16..0x110, prop::collection::vec(any::<u8>(), 0..20)), 0..50),
        ) {
            let mut space = sample();
            let fresh = sample();
            for (offset, data) in writes.iter().chain(&near) {
                let _events = space.write(*offset, data);
                for at in 0..HEADER_SPACE {
                    let fixed = !fresh.writable[at];
                    prop_assert_eq!(space.bytes[at] & fixed, fresh.bytes[at] & fixed);
                }
                let mut back = vec![0xa5; data.len()];
                space.read(*offset, &mut back);
            }
            space.reset();
            prop_assert_eq!(space.bytes, fresh.bytes);
        }
    }
}
