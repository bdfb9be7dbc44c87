//! What a queue's rings hold: transmit and receive descriptors, their completions, and the interrupt register.
//!
//! Source of every field: `ena_eth_io_defs.h` (amzn-drivers, ENA for Linux 2.17.0). Entries are little endian; a
//! bit that a type does not name is reserved or ignored.

use bitfield_struct::bitfield;
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a descriptor of either direction.
pub const DESCRIPTOR_BYTES: usize = 16;

/// The network protocol's number for IPv4, in descriptors and completions.
pub const L3_IPV4: u8 = 8;

/// The network protocol's number for IPv6.
pub const L3_IPV6: u8 = 11;

/// The transport protocol's number for TCP.
pub const L4_TCP: u8 = 12;

/// The transport protocol's number for UDP.
pub const L4_UDP: u8 = 13;

/// Word 0 of a transmit descriptor, of data or meta.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct TxControl {
    /// Bytes in the buffer, without what was pushed; 0 = 64 KiB where there is a buffer. Data only.
    pub length: u16,
    /// Bits 15:10 of the request id in a data descriptor. In a meta descriptor: bits 13:10 of the MSS (3:0),
    /// the extended type (4) and "store in the queue's cache" (5).
    #[bits(6)]
    pub high: u8,
    __: bool,
    /// It is a meta descriptor.
    pub meta: bool,
    /// Alternates with every wrap of the ring, first 1.
    pub phase: bool,
    __: bool,
    /// First descriptor of a packet.
    pub first: bool,
    /// Last descriptor of a packet.
    pub last: bool,
    /// A completion is wanted.
    pub completion: bool,
    #[bits(3)]
    __: u8,
}

/// Word 1 of a transmit data descriptor; only that of a packet's first one counts.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct TxRequest {
    /// [`L3_IPV4`] or [`L3_IPV6`] (its low 4 bits).
    #[bits(4)]
    pub l3_protocol: u8,
    /// The packet must not be fragmented.
    pub dont_fragment: bool,
    #[bits(2)]
    __: u8,
    /// Cut the packet into TCP segments.
    pub segment: bool,
    /// [`L4_TCP`] or [`L4_UDP`].
    #[bits(5)]
    pub l4_protocol: u8,
    /// Compute the IPv4 header's checksum.
    pub l3_checksum: bool,
    /// Compute the transport checksum.
    pub l4_checksum: bool,
    __: bool,
    __: bool,
    /// The transport checksum's field holds the pseudo header's sum.
    pub l4_partial: bool,
    #[bits(4)]
    __: u8,
    /// Bits 9:0 of the request id.
    #[bits(10)]
    pub request_low: u16,
}

/// Word 3 of a transmit data descriptor.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct TxTail {
    /// Bits 47:32 of the buffer's address.
    pub address_high: u16,
    __: u8,
    /// Bytes of header that were pushed with the descriptor (low-latency queues).
    pub header_bytes: u8,
}

/// Word 0 of a meta descriptor, as far as it differs from [`TxControl`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MetaControl {
    #[bits(14)]
    __: u16,
    /// The lengths and the MSS are valid.
    pub valid: bool,
    __: bool,
    /// Bits 13:10 of the MSS.
    #[bits(4)]
    pub mss_high: u8,
    /// The extended form, the only one in use.
    pub extended: bool,
    /// The queue remembers it for packets that carry none.
    pub store: bool,
    __: bool,
    /// Set: a meta descriptor.
    pub meta: bool,
    /// As in [`TxControl`].
    pub phase: bool,
    __: bool,
    /// As in [`TxControl`].
    pub first: bool,
    #[bits(5)]
    __: u8,
}

/// Word 2 of a meta descriptor: where the headers are.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MetaLayout {
    /// Bytes of the network header.
    pub l3_bytes: u8,
    /// Where the network header starts.
    pub l3_offset: u8,
    /// Size of the transport header in words of 4 bytes.
    #[bits(6)]
    pub l4_words: u8,
    /// Bits 9:0 of the MSS.
    #[bits(10)]
    pub mss_low: u16,
}

/// A transmit descriptor, of data or meta.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TxDescriptor {
    words: [U32<LE>; 4],
}

const _: () = assert!(size_of::<TxDescriptor>() == DESCRIPTOR_BYTES);

impl TxDescriptor {
    /// A data descriptor.
    #[inline]
    pub fn data(control: TxControl, request: TxRequest, address: u64, header_bytes: u8) -> Self {
        let (low, high) = split(address);
        let tail = TxTail::new()
            .with_address_high(high)
            .with_header_bytes(header_bytes);
        Self {
            words: [control.0, request.0, low, tail.0].map(U32::new),
        }
    }

    /// A meta descriptor.
    #[inline]
    pub fn meta(control: MetaControl, layout: MetaLayout) -> Self {
        Self {
            words: [control.0, 0, layout.0, 0].map(U32::new),
        }
    }

    /// Word 0.
    #[inline]
    pub fn control(&self) -> TxControl {
        TxControl::from_bits(self.words[0].get())
    }

    /// Word 1 of a data descriptor.
    #[inline]
    pub fn request(&self) -> TxRequest {
        TxRequest::from_bits(self.words[1].get())
    }

    /// Word 3 of a data descriptor.
    #[inline]
    pub fn tail(&self) -> TxTail {
        TxTail::from_bits(self.words[3].get())
    }

    /// Address of a data descriptor's buffer.
    #[inline]
    pub fn address(&self) -> u64 {
        u64::from(self.tail().address_high()) << 32 | u64::from(self.words[2].get())
    }

    /// The request id of a packet whose first data descriptor this is.
    #[inline]
    pub fn request_id(&self) -> u16 {
        u16::from(self.control().high()) << 10 | self.request().request_low()
    }

    /// Word 0 of a meta descriptor.
    #[inline]
    pub fn meta_control(&self) -> MetaControl {
        MetaControl::from_bits(self.words[0].get())
    }

    /// Word 2 of a meta descriptor.
    #[inline]
    pub fn meta_layout(&self) -> MetaLayout {
        MetaLayout::from_bits(self.words[2].get())
    }
}

/// The completion of a transmitted packet; the 16-byte form has a time stamp behind it.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TxCompletion {
    /// The packet's request id.
    pub request_id: U16<LE>,
    /// 0.
    pub status: u8,
    /// Bit 0 is the phase; bits 7:6 must be zero.
    pub flags: u8,
    /// Number of the submission queue.
    pub queue: U16<LE>,
    /// Where the device reads next, so that descriptors before it are free.
    pub head: U16<LE>,
}

const _: () = assert!(size_of::<TxCompletion>() == 8);

impl TxCompletion {
    /// Its bytes as a little-endian word, put together in a register. To read fields that were just stored as one word would wait
    /// until every store before them has reached its cache line, those to a driver's memory included.
    #[inline(always)]
    #[must_use]
    pub fn to_word(self) -> u64 {
        u64::from(self.request_id.get())
            | u64::from(self.status) << 16
            | u64::from(self.flags) << 24
            | u64::from(self.queue.get()) << 32
            | u64::from(self.head.get()) << 48
    }
}

/// A receive descriptor: one buffer.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RxDescriptor {
    /// Bytes of the buffer; 0 = 64 KiB.
    pub length: U16<LE>,
    reserved: u8,
    /// [`RxControl`].
    pub control: u8,
    /// The buffer's name, which its completion repeats.
    pub request_id: U16<LE>,
    reserved_6: U16<LE>,
    address_low: U32<LE>,
    address_high: U16<LE>,
    reserved_14: U16<LE>,
}

const _: () = {
    assert!(size_of::<RxDescriptor>() == DESCRIPTOR_BYTES);
    assert!(std::mem::offset_of!(RxDescriptor, request_id) == 4);
    assert!(std::mem::offset_of!(RxDescriptor, address_low) == 8);
};

impl RxDescriptor {
    /// A descriptor for a whole buffer.
    #[inline]
    pub fn new(phase: bool, request_id: u16, address: u64, length: u16) -> Self {
        let (low, high) = split(address);
        let control = RxControl::new()
            .with_phase(phase)
            .with_first(true)
            .with_last(true)
            .with_completion(true);
        Self {
            length: length.into(),
            control: control.0,
            request_id: request_id.into(),
            address_low: low.into(),
            address_high: high.into(),
            ..Self::default()
        }
    }

    /// Address of the buffer.
    #[inline]
    pub fn address(&self) -> u64 {
        u64::from(self.address_high.get()) << 32 | u64::from(self.address_low.get())
    }

    /// The phase bit.
    #[inline]
    pub fn phase(&self) -> bool {
        RxControl::from_bits(self.control).phase()
    }
}

/// Byte 3 of a receive descriptor.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct RxControl {
    /// Alternates with every wrap of the ring, first 1.
    pub phase: bool,
    __: bool,
    /// First buffer of a group; drivers set it always.
    pub first: bool,
    /// Last buffer of a group; drivers set it always.
    pub last: bool,
    /// A completion is wanted.
    pub completion: bool,
    #[bits(3)]
    __: u8,
}

/// The completion of one receive buffer; the 32-byte form has the buffer's address and a time stamp behind it.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RxCompletion {
    /// [`RxStatus`].
    pub status: U32<LE>,
    /// Bytes in this buffer.
    pub length: U16<LE>,
    /// The buffer's name.
    pub request_id: U16<LE>,
    /// The packet's hash.
    pub hash: U32<LE>,
    /// Number of the submission queue.
    pub queue: U16<LE>,
    /// Where the packet starts in its first buffer.
    pub offset: u8,
    /// 0.
    pub reserved: u8,
}

const _: () = {
    assert!(size_of::<RxCompletion>() == 16);
    assert!(std::mem::offset_of!(RxCompletion, hash) == 8);
    assert!(std::mem::offset_of!(RxCompletion, offset) == 14);
};

impl RxCompletion {
    /// Its bytes as little-endian words. As [`TxCompletion::to_word`], and why.
    #[inline(always)]
    #[must_use]
    pub fn to_words(self) -> [u64; 2] {
        [
            u64::from(self.status.get())
                | u64::from(self.length.get()) << 32
                | u64::from(self.request_id.get()) << 48,
            u64::from(self.hash.get())
                | u64::from(self.queue.get()) << 32
                | u64::from(self.offset) << 48
                | u64::from(self.reserved) << 56,
        ]
    }
}

/// Word 0 of a receive completion. What it says of the packet counts in the last one only.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct RxStatus {
    /// [`L3_IPV4`], [`L3_IPV6`] or 0.
    #[bits(5)]
    pub l3_protocol: u8,
    /// VLAN tags.
    #[bits(2)]
    pub vlan_count: u8,
    /// Must be zero.
    pub zero_7: bool,
    /// [`L4_TCP`], [`L4_UDP`] or 0.
    #[bits(5)]
    pub l4_protocol: u8,
    /// The IPv4 header's checksum is wrong.
    pub l3_error: bool,
    /// The transport checksum is wrong.
    pub l4_error: bool,
    /// An IPv4 fragment.
    pub fragment: bool,
    /// The transport checksum was checked.
    pub l4_checked: bool,
    /// Must be zero.
    pub zero_17: bool,
    #[bits(6)]
    __: u8,
    /// Alternates with every wrap of the ring, first 1.
    pub phase: bool,
    /// The second checksum engine's word.
    pub l3_second: bool,
    /// First buffer of a packet.
    pub first: bool,
    /// Last buffer of a packet.
    pub last: bool,
    #[bits(2)]
    __: u8,
    /// A buffer was used.
    pub buffer: bool,
    __: bool,
}

/// A completion queue's interrupt register in BAR 0.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct InterruptControl {
    /// Delay of a receive completion's interrupt, in units of the resolution.
    #[bits(15)]
    pub rx_delay: u16,
    /// Delay of a transmit completion's interrupt, in units of the resolution.
    #[bits(15)]
    pub tx_delay: u16,
    /// Arm the vector.
    pub unmask: bool,
    /// Leave the delays as they are.
    pub keep_delays: bool,
}

/// A 48-bit address as its low word and its high half word.
#[inline]
fn split(address: u64) -> (u32, u16) {
    let [a, b, c, d, e, f, ..] = address.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as the header's masks put them together.
    #[test]
    fn bits_are_where_the_header_has_them() {
        let control = TxControl::new()
            .with_length(0x1234)
            .with_high(0x3f)
            .with_phase(true)
            .with_first(true)
            .with_last(true)
            .with_completion(true);
        assert_eq!(control.0, 0x1d3f_1234);
        assert_eq!(TxControl::new().with_meta(true).0, 1 << 23);
        let request = TxRequest::new()
            .with_l3_protocol(L3_IPV6)
            .with_dont_fragment(true)
            .with_segment(true)
            .with_l4_protocol(L4_TCP)
            .with_l3_checksum(true)
            .with_l4_checksum(true)
            .with_l4_partial(true)
            .with_request_low(0x3ff);
        assert_eq!(request.0, 0xffc2_6c9b);
        let meta = MetaControl::new()
            .with_valid(true)
            .with_mss_high(0xf)
            .with_extended(true)
            .with_store(true)
            .with_meta(true)
            .with_phase(true)
            .with_first(true);
        assert_eq!(meta.0, 0x05bf_4000);
        let layout = MetaLayout::new()
            .with_l3_bytes(20)
            .with_l3_offset(14)
            .with_l4_words(5)
            .with_mss_low(0x3ff);
        assert_eq!(layout.0, 0xffc5_0e14);
        let status = RxStatus::new()
            .with_l3_protocol(L3_IPV4)
            .with_l4_protocol(L4_UDP)
            .with_l4_error(true)
            .with_fragment(true)
            .with_l4_checked(true)
            .with_phase(true)
            .with_first(true)
            .with_last(true)
            .with_buffer(true);
        assert_eq!(status.0, 0x4d01_cd08);
        let interrupt = InterruptControl::new()
            .with_rx_delay(1)
            .with_tx_delay(1)
            .with_unmask(true)
            .with_keep_delays(true);
        assert_eq!(interrupt.0, 0xc000_8001);
    }

    #[test]
    fn descriptors_keep_addresses_and_names() {
        let tx = TxDescriptor::data(
            TxControl::new().with_high(0x2a),
            TxRequest::new().with_request_low(0x155),
            0xffff_1234_5678_9abc,
            96,
        );
        assert_eq!(tx.address(), 0x1234_5678_9abc);
        assert_eq!(tx.request_id(), 0xa955);
        assert_eq!(tx.tail().header_bytes(), 96);
        let rx = RxDescriptor::new(true, 7, 0x1234_5678_9abc, 2048);
        assert_eq!(
            rx.as_bytes(),
            [
                0, 8, 0, 0x1d, 7, 0, 0, 0, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0, 0
            ]
        );
    }

    #[test]
    fn words_of_completions_are_their_bytes() {
        let tx = TxCompletion::read_from_bytes(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        assert_eq!(tx.to_word().to_le_bytes(), tx.as_bytes());
        let bytes = *b"0123456789abcdef";
        let rx = RxCompletion::read_from_bytes(&bytes).unwrap();
        assert_eq!(rx.to_words().map(u64::to_le_bytes).as_flattened(), bytes);
    }
}
