//! The two PCI capabilities that a function has here: PCI Express and MSI-X, and the list that joins them.
//!
//! A capability is bytes with a mask of the bits that software may change; what a change means is read by
//! [`crate::config`].

/// Capability id of PCI Express. Source: [PCI Code and ID Assignment §2].
pub const EXPRESS_ID: u8 = 0x10;
/// Capability id of MSI-X. Source: [PCI Code and ID Assignment §2].
pub const MSIX_ID: u8 = 0x11;

/// Bytes of the PCI Express capability, version 2. Source: [PCI Express Base 4.0 §7.5.3].
pub const EXPRESS_SIZE_BYTES: usize = 0x3c;
/// Bytes of the MSI-X capability. Source: [PCI Local Bus 3.0 §6.8.2].
pub const MSIX_SIZE_BYTES: usize = 12;

/// Offset of device control in the PCI Express capability. Source: [PCI Express Base 4.0 §7.5.3.4].
pub const EXPRESS_DEVICE_CONTROL: usize = 8;
/// Device control: initiate function-level reset; reads as zero. Source: [PCI Express Base 4.0 §7.5.3.4].
pub const DEVICE_CONTROL_RESET: u16 = 1 << 15;
/// Offset of message control in the MSI-X capability. Source: [PCI Local Bus 3.0 §6.8.2.3].
pub const MSIX_CONTROL: usize = 2;
/// MSI-X message control: the whole function is masked. Source: [PCI Local Bus 3.0 §6.8.2.3].
pub const MSIX_CONTROL_MASKED: u16 = 1 << 14;
/// MSI-X message control: MSI-X is on. Source: [PCI Local Bus 3.0 §6.8.2.3].
pub const MSIX_CONTROL_ENABLED: u16 = 1 << 15;

/// Most vectors that MSI-X can have. Source: [PCI Local Bus 3.0 §6.8.2.3].
pub const MSIX_VECTORS_MOST: u16 = 2048;

/// Bytes of a capability, its id first, and which bits software may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability<const N: usize> {
    /// What it reads as at power-on. The second byte (where the next one is) is the list's.
    pub bytes: [u8; N],
    /// One bits may be written.
    pub writable: [u8; N],
}

impl<const N: usize> Capability<N> {
    fn new(id: u8) -> Self {
        let mut bytes = [0; N];
        bytes[0] = id;
        Self {
            bytes,
            writable: [0; N],
        }
    }

    fn word(&mut self, at: usize, value: u16, writable: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        self.writable[at..at + 2].copy_from_slice(&writable.to_le_bytes());
    }

    fn double_word(&mut self, at: usize, value: u32, writable: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self.writable[at..at + 4].copy_from_slice(&writable.to_le_bytes());
    }
}

/// PCI Express: an endpoint with function-level reset on a link of 8 GT/s and one lane.
#[must_use]
pub fn express() -> Capability<EXPRESS_SIZE_BYTES> {
    let mut capability = Capability::new(EXPRESS_ID);
    for (at, value, writable) in EXPRESS_WORDS {
        capability.word(at, value, writable);
    }
    for (at, value) in EXPRESS_READ_ONLY {
        capability.double_word(at, value, 0);
    }
    capability
}

/// MSI-X with `vectors` vectors (1 to 2048, others are brought into that range), its table at `table` and its
/// pending bits at `pending` of BAR `bar`, both multiples of 8.
#[must_use]
pub fn msix(vectors: u16, bar: u8, table: u32, pending: u32) -> Capability<MSIX_SIZE_BYTES> {
    let mut capability = Capability::new(MSIX_ID);
    let last = vectors.clamp(1, MSIX_VECTORS_MOST) - 1;
    let bar = u32::from(bar & 7);
    capability.word(MSIX_CONTROL, last, MSIX_CONTROL_MASKED | MSIX_CONTROL_ENABLED);
    capability.double_word(4, table & !7 | bar, 0);
    capability.double_word(8, pending & !7 | bar, 0);
    capability
}

/// Offset, value and writable bits of the words of PCI Express. Source: [PCI Express Base 4.0 §7.5.3].
const EXPRESS_WORDS: [(usize, u16, u16); 6] = [
    // Capabilities: version 2, an endpoint.
    (2, 0x0002, 0),
    // Device control: error reporting, relaxed ordering, payload, tags, no snoop, read request size. Bit 15
    // is seen by the config space and never kept.
    (EXPRESS_DEVICE_CONTROL, 0x2810, 0x7fff),
    // Link control: ASPM, read completion boundary, common clock, extended synch.
    (0x10, 0, 0x00cb),
    // Link status: 8 GT/s, one lane.
    (0x12, 0x0013, 0),
    // Device control 2: completion timeout.
    (0x28, 0, 0x001f),
    // Link control 2: target speed.
    (0x30, 0x0003, 0x000f),
];

/// Offset and value of the read-only double words of PCI Express. Source: [PCI Express Base 4.0 §7.5.3].
const EXPRESS_READ_ONLY: [(usize, u32); 4] = [
    // Device capabilities: payload of 256 bytes, 8-bit tags, role-based errors, function-level reset.
    (0x04, 1 << 28 | 1 << 15 | 1 << 5 | 1),
    // Link capabilities: 8 GT/s, one lane.
    (0x0c, 0x0013),
    // Device capabilities 2: completion timeout can be disabled.
    (0x24, 1 << 4),
    // Link capabilities 2: 2.5, 5 and 8 GT/s.
    (0x2c, 0x000e),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msix_holds_count_and_places() {
        let capability = msix(33, 1, 0, 0x1000);
        assert_eq!(
            capability.bytes,
            [0x11, 0, 32, 0, 0x01, 0, 0, 0, 0x01, 0x10, 0, 0]
        );
        assert_eq!(capability.writable, [0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(msix(0, 1, 0, 0).bytes[2..4], [0, 0]);
        assert_eq!(msix(u16::MAX, 1, 0, 0).bytes[2..4], [0xff, 0x07]);
    }

    #[test]
    fn express_is_an_endpoint_with_reset() {
        let capability = express();
        assert_eq!(capability.bytes[..4], [0x10, 0, 2, 0]);
        assert_eq!(capability.bytes[7], 0x10);
        assert_eq!(capability.writable[9], 0x7f);
    }
}
