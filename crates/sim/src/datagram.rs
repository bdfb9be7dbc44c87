//! What endpoints exchange, and how much of a wire it takes.

/// Which host: an index from 0 in the order in which the topology named them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

impl HostId {
    /// The index as one of a slice.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The two ECN bits of the IP header.
///
/// Source: RFC 3168 §5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ecn {
    /// 00: the transport does not take part; a switch never marks it.
    #[default]
    NotEct,
    /// 01.
    Ect1,
    /// 10.
    Ect0,
    /// 11: congestion experienced, set by a switch.
    Ce,
}

impl Ecn {
    /// The value of the two bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }

    /// The meaning of the low two bits of `bits`.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// Whether a switch may mark it.
    pub const fn is_capable(self) -> bool {
        !matches!(self, Self::NotEct)
    }
}

/// A UDP datagram as an endpoint receives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Datagram {
    /// The sender, which the world fills in: no endpoint can use another's address.
    pub source: HostId,
    /// The receiver.
    pub destination: HostId,
    /// UDP source port: with a new one the switches may choose another path.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// The ECN bits as they arrive.
    pub ecn: Ecn,
    /// The bytes after the UDP header. Corruption on a link changes them.
    pub payload: Vec<u8>,
    /// Bytes that take room on the wire after `payload` but that nobody stores: a model's message content.
    pub virtual_bytes: u32,
}

impl Default for HostId {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

/// What an endpoint says about a datagram to send; the payload goes into the buffer beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The receiver.
    pub destination: HostId,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// The ECN bits to send with.
    pub ecn: Ecn,
    /// See [`Datagram::virtual_bytes`].
    pub virtual_bytes: u32,
}

/// Bytes that a UDP payload of `payload_bytes` takes on an Ethernet link: 66 more than the payload, and 84
/// at least.
///
/// Source: preamble and start 8, frame check 4, gap 12, Ethernet header 14, 64 at least from header to check
/// (IEEE 802.3 §3.1, §4.4.2); IPv4 20 (RFC 791 §3.1); UDP 8 (RFC 768).
pub fn wire_bytes(payload_bytes: u64) -> u64 {
    (payload_bytes + HEADERS_BYTES).max(FRAME_MIN_BYTES) + FRAMING_BYTES
}

const HEADERS_BYTES: u64 = 14 + 20 + 8;
/// Without the four of the frame check, which `FRAMING_BYTES` has.
const FRAME_MIN_BYTES: u64 = 60;
const FRAMING_BYTES: u64 = 8 + 4 + 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_takes_66_bytes_more_than_its_payload_and_84_at_least() {
        assert_eq!(wire_bytes(8_928), 8_994);
        assert_eq!(wire_bytes(18), 84);
        assert_eq!(wire_bytes(0), 84);
    }

    #[test]
    fn ecn_bits_are_those_of_the_ip_header() {
        for bits in 0..4 {
            assert_eq!(Ecn::from_bits(bits).bits(), bits);
        }
        assert_eq!(Ecn::from_bits(0b1111_1110), Ecn::Ect0);
        assert!(Ecn::Ce.is_capable() && !Ecn::NotEct.is_capable());
    }
}
