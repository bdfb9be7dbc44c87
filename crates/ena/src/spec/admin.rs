//! Commands and completions of the admin queue. Source of all of it: `ena_admin_defs.h`, `ena_common_defs.h`.
//!
//! Offsets in the documentation count from the start of the 64-byte entry; a payload begins at 4 in a command
//! and at 8 in a completion.

use bitfield_struct::bitfield;
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of an entry of the admin queue, its completion queue and the event queue.
pub const ENTRY_BYTES: usize = 64;

open_enum! {
    /// What a command does (`ena_admin_aq_opcode`).
    pub struct Opcode(u8) {
        /// Makes a submission queue.
        CREATE_SQ = 1 => "create SQ",
        /// Ends a submission queue.
        DESTROY_SQ = 2 => "destroy SQ",
        /// Makes a completion queue.
        CREATE_CQ = 3 => "create CQ",
        /// Ends a completion queue.
        DESTROY_CQ = 4 => "destroy CQ",
        /// Reads a feature.
        GET_FEATURE = 8 => "get feature",
        /// Sets a feature.
        SET_FEATURE = 9 => "set feature",
        /// Reads counters.
        GET_STATS = 11 => "get statistics",
    }
}

open_enum! {
    /// What became of a command (`ena_admin_aq_completion_status`).
    pub struct Status(u8) {
        /// It was done.
        SUCCESS = 0 => "success",
        /// The device is out of something. A driver that makes queues tries again with smaller ones.
        RESOURCE_ALLOCATION_FAILURE = 1 => "resource allocation failure",
        /// No such command.
        BAD_OPCODE = 2 => "bad opcode",
        /// Not on this device. Drivers take that for an answer where a feature is optional.
        UNSUPPORTED_OPCODE = 3 => "unsupported",
        /// The command contradicts itself.
        MALFORMED_REQUEST = 4 => "malformed request",
        /// A value is out of range.
        ILLEGAL_PARAMETER = 5 => "illegal parameter",
        /// The device failed.
        UNKNOWN_ERROR = 6 => "unknown error",
        /// Ask again.
        RESOURCE_BUSY = 7 => "resource busy",
    }
}

/// Byte 3 of a command.
#[bitfield(u8)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CommandFlags {
    /// Flips each time the queue wraps, beginning with 1.
    pub phase: bool,
    /// The control buffer's address counts.
    pub control_data: bool,
    /// By its name the address is that of a list of pages; drivers set it with the address of the buffer
    /// itself (`ena_com_get_feature_ex`), so a device must take it so.
    pub control_data_indirect: bool,
    #[bits(5)]
    reserved: u8,
}

/// The first 4 bytes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CommandHeader {
    /// 11:0 number the command; it comes back in the completion.
    pub command_id: U16<LE>,
    /// An [`Opcode`].
    pub opcode: u8,
    /// Phase and control buffer.
    pub flags: CommandFlags,
}

/// The part of a command id that is one. iPXE counts on with all 16 bits and compares all of them, so a device
/// echoes what it was given (`ena_admin`, `ena.c`).
pub const COMMAND_ID_MASK: u16 = 0x0fff;

/// A bus address of 48 bits (`ena_common_mem_addr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MemoryAddress {
    /// 31:0.
    pub low: U32<LE>,
    /// 47:32.
    pub high: U16<LE>,
    /// Must be zero.
    pub reserved: U16<LE>,
}

impl MemoryAddress {
    /// The low 48 bits of an address.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "The halves are what is wanted of it."
    )]
    pub const fn new(address: u64) -> Self {
        Self {
            low: U32::new(address as u32),
            high: U16::new((address >> 32) as u16),
            reserved: U16::ZERO,
        }
    }

    /// The address.
    pub fn get(self) -> u64 {
        u64::from(self.high.get()) << 32 | u64::from(self.low.get())
    }
}

/// The memory that a command brings along (offset 4, `ena_admin_ctrl_buff_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ControlBuffer {
    /// Bytes; 0 = none.
    pub length: U32<LE>,
    /// Where it is.
    pub address: MemoryAddress,
}

/// An entry of the admin queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Command {
    /// The first 4 bytes.
    pub header: CommandHeader,
    /// What depends on the opcode.
    pub payload: [u8; 60],
}

impl Command {
    /// A command with this payload; its id and phase are 0.
    pub fn new<T: IntoBytes + Immutable>(opcode: Opcode, payload: &T) -> Self {
        let mut command = Self::new_zeroed();
        command.header.opcode = opcode.0;
        put(&mut command.payload, payload.as_bytes());
        command
    }

    /// What it does.
    pub fn opcode(&self) -> Opcode {
        Opcode(self.header.opcode)
    }

    /// The payload as this opcode's.
    pub fn payload<T: FromBytes + FromZeros>(&self) -> T {
        take(&self.payload)
    }
}

/// The first 8 bytes of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CompletionHeader {
    /// The command's, as it was.
    pub command_id: U16<LE>,
    /// A [`Status`].
    pub status: u8,
    /// Bit 0: phase.
    pub flags: u8,
    /// More about an illegal parameter; drivers only print it.
    pub extended_status: U16<LE>,
    /// How far the admin queue was read.
    pub sq_head: U16<LE>,
}

/// An entry of the admin completion queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Completion {
    /// The first 8 bytes.
    pub header: CompletionHeader,
    /// What depends on the command.
    pub payload: [u8; 56],
}

impl Completion {
    /// The completion of a command; phase and head are 0.
    pub fn new(command_id: u16, status: Status) -> Self {
        let mut completion = Self::new_zeroed();
        completion.header.command_id = U16::new(command_id);
        completion.header.status = status.0;
        completion
    }

    /// With this payload.
    #[must_use]
    pub fn with_payload<T: IntoBytes + Immutable>(mut self, payload: &T) -> Self {
        put(&mut self.payload, payload.as_bytes());
        self
    }

    /// What became of the command.
    pub fn status(&self) -> Status {
        Status(self.header.status)
    }

    /// The payload as this command's.
    pub fn payload<T: FromBytes + FromZeros>(&self) -> T {
        take(&self.payload)
    }
}

fn put(to: &mut [u8], from: &[u8]) {
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
}

fn take<T: FromBytes + FromZeros>(bytes: &[u8]) -> T {
    T::read_from_prefix(bytes).map_or_else(|_| T::new_zeroed(), |(value, _)| value)
}

open_enum! {
    /// What a submission queue is for (`ena_admin_sq_direction`).
    pub struct Direction(u8) {
        /// The driver sends.
        TX = 1 => "TX",
        /// The driver receives.
        RX = 2 => "RX",
    }
}

open_enum! {
    /// Where a submission queue is (`ena_admin_placement_policy_type`).
    pub struct PlacementPolicy(u8) {
        /// In the driver's memory.
        HOST = 1 => "host",
        /// In BAR 2 (low-latency queue).
        DEVICE = 3 => "device",
    }
}

open_enum! {
    /// When a submission queue completes (`ena_admin_completion_policy_type`).
    pub struct CompletionPolicy(u8) {
        /// An entry for every descriptor.
        DESCRIPTOR = 0 => "every descriptor",
        /// An entry where a descriptor asks.
        DESCRIPTOR_ON_DEMAND = 1 => "descriptors that ask",
        /// A head pointer in memory where a descriptor asks.
        HEAD_ON_DEMAND = 2 => "head where asked",
        /// A head pointer in memory for every descriptor.
        HEAD = 3 => "head always",
    }
}

/// Byte 4 of create SQ, byte 6 of destroy SQ.
#[bitfield(u8)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct SqIdentity {
    #[bits(5)]
    reserved: u8,
    /// A [`Direction`].
    #[bits(3)]
    pub direction: u8,
}

/// Byte 6 of create SQ.
#[bitfield(u8)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct SqPolicies {
    /// A [`PlacementPolicy`].
    #[bits(4)]
    pub placement: u8,
    /// A [`CompletionPolicy`].
    #[bits(3)]
    pub completion: u8,
    reserved: bool,
}

/// Create SQ, from offset 4 (`ena_admin_aq_create_sq_cmd`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CreateSq {
    /// Direction.
    pub identity: SqIdentity,
    /// Zero.
    pub reserved_5: u8,
    /// Placement and completions.
    pub policies: SqPolicies,
    /// Bit 0: the ring is contiguous in memory.
    pub contiguous: u8,
    /// Its completion queue, which exists.
    pub cq_index: U16<LE>,
    /// Entries.
    pub depth: U16<LE>,
    /// Its ring; page aligned; 0 where the placement is the device.
    pub base: MemoryAddress,
    /// Where a head pointer is to be written, by the completion policies that have one.
    pub head_writeback: MemoryAddress,
    /// Zero.
    pub reserved_28: [u8; 8],
}

/// What create SQ answers, from offset 8 (`ena_admin_acq_create_sq_resp_desc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CreateSqResponse {
    /// Its number among those of its direction.
    pub sq_index: U16<LE>,
    /// Zero.
    pub reserved: U16<LE>,
    /// Doorbell, an offset in BAR 0.
    pub doorbell_offset: U32<LE>,
    /// Pushed descriptors, an offset in BAR 2.
    pub llq_descriptors_offset: U32<LE>,
    /// Pushed headers, an offset in BAR 2; unused with headers in line.
    pub llq_headers_offset: U32<LE>,
}

/// Destroy SQ, from offset 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DestroySq {
    /// Its number.
    pub sq_index: U16<LE>,
    /// Its direction.
    pub identity: SqIdentity,
    /// Zero.
    pub reserved: u8,
}

/// Byte 4 of create CQ.
#[bitfield(u8)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CqMode {
    #[bits(5)]
    reserved_0: u8,
    /// It raises interrupts.
    pub interrupt: bool,
    #[bits(2)]
    reserved_6: u8,
}

/// Byte 5 of create CQ.
#[bitfield(u8)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CqEntry {
    /// Words of 4 bytes in an entry. The header says 4 or 8, but drivers ask 2 for transmit completions.
    #[bits(5)]
    pub words: u8,
    #[bits(3)]
    reserved: u8,
}

/// Create CQ, from offset 4 (`ena_admin_aq_create_cq_cmd`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CreateCq {
    /// Interrupts or polling.
    pub mode: CqMode,
    /// Size of an entry.
    pub entry: CqEntry,
    /// Entries, a power of two.
    pub depth: U16<LE>,
    /// MSI-X vector; [`NO_VECTOR`] = none.
    pub vector: U32<LE>,
    /// Its ring.
    pub base: MemoryAddress,
}

/// What polling drivers (DPDK, VPP, iPXE) give for a vector.
pub const NO_VECTOR: u32 = u32::MAX;

/// What create CQ answers, from offset 8 (`ena_admin_acq_create_cq_resp_desc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CreateCqResponse {
    /// Its number.
    pub cq_index: U16<LE>,
    /// Entries, as asked.
    pub actual_depth: U16<LE>,
    /// Register for the driver's NUMA node, an offset in BAR 0; 0 = none.
    pub numa_offset: U32<LE>,
    /// Doorbell for the head, an offset in BAR 0; 0 = none.
    pub head_doorbell_offset: U32<LE>,
    /// Unmask register, an offset in BAR 0.
    pub unmask_offset: U32<LE>,
}

/// Destroy CQ, from offset 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DestroyCq {
    /// Its number.
    pub cq_index: U16<LE>,
    /// Zero.
    pub reserved: U16<LE>,
}

const _: () = {
    assert!(size_of::<CommandHeader>() == 4);
    assert!(size_of::<MemoryAddress>() == 8);
    assert!(size_of::<ControlBuffer>() == 12);
    assert!(size_of::<Command>() == ENTRY_BYTES);
    assert!(size_of::<CompletionHeader>() == 8);
    assert!(size_of::<Completion>() == ENTRY_BYTES);
    assert!(size_of::<CreateSq>() == 32);
    assert!(size_of::<CreateSqResponse>() == 16);
    assert!(size_of::<DestroySq>() == 4);
    assert!(size_of::<CreateCq>() == 16);
    assert!(size_of::<CreateCqResponse>() == 16);
    assert!(size_of::<DestroyCq>() == 4);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_sq_is_laid_out_as_the_header_has_it() {
        let command = Command::new(
            Opcode::CREATE_SQ,
            &CreateSq {
                identity: SqIdentity::new().with_direction(Direction::RX.0),
                reserved_5: 0,
                policies: SqPolicies::new()
                    .with_placement(PlacementPolicy::DEVICE.0)
                    .with_completion(2),
                contiguous: 1,
                cq_index: U16::new(0x0102),
                depth: U16::new(0x0304),
                base: MemoryAddress::new(0xffff_0506_0708_090a),
                head_writeback: MemoryAddress::new(0x11),
                reserved_28: [0; 8],
            },
        );
        assert_eq!(
            command.as_bytes()[..36],
            [
                0, 0, 1, 0, 0x40, 0, 0x23, 1, 2, 1, 4, 3, 0x0a, 9, 8, 7, 6, 5, 0, 0, 0x11, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 0, 0, 0
            ]
        );
        assert_eq!(command.payload::<CreateSq>().base.get(), 0x0506_0708_090a);
    }

    #[test]
    fn create_cq_is_laid_out_as_the_header_has_it() {
        let command = Command::new(
            Opcode::CREATE_CQ,
            &CreateCq {
                mode: CqMode::new().with_interrupt(true),
                entry: CqEntry::new().with_words(4),
                depth: U16::new(1024),
                vector: U32::new(5),
                base: MemoryAddress::new(0x1_0000_2000),
            },
        );
        assert_eq!(
            command.as_bytes()[..20],
            [0, 0, 3, 0, 0x20, 4, 0, 4, 5, 0, 0, 0, 0, 0x20, 0, 0, 1, 0, 0, 0]
        );
    }

    #[test]
    fn a_completion_echoes_the_command_id() {
        let completion = Completion::new(0xf123, Status::ILLEGAL_PARAMETER).with_payload(&DestroyCq {
            cq_index: U16::new(7),
            reserved: U16::ZERO,
        });
        assert_eq!(completion.as_bytes()[..10], [0x23, 0xf1, 5, 0, 0, 0, 0, 0, 7, 0]);
        assert_eq!(Status(9).to_string(), "unknown (0x9)");
    }
}
