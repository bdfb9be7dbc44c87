//! Registers in BAR 0. Source of all of it: `ena_regs_defs.h`.

use bitfield_struct::bitfield;

open_enum! {
    /// A 32-bit register of BAR 0: its offset in bytes.
    pub struct Register(u16) {
        /// Version of the interface ([`Version`]).
        VERSION = 0x00 => "VERSION",
        /// Version of the controller ([`ControllerVersion`]).
        CONTROLLER_VERSION = 0x04 => "CTRL_VERSION",
        /// What the device needs ([`Caps`]).
        CAPS = 0x08 => "CAPS",
        /// More of it; no bit is defined.
        CAPS_EXT = 0x0c => "CAPS_EXT",
        /// Bus address of the admin queue, low half.
        AQ_BASE_LO = 0x10 => "AQ_BASE_LO",
        /// Bus address of the admin queue, high half.
        AQ_BASE_HI = 0x14 => "AQ_BASE_HI",
        /// Size of the admin queue ([`QueueCaps`]).
        AQ_CAPS = 0x18 => "AQ_CAPS",
        /// Bus address of the admin completion queue, low half.
        ACQ_BASE_LO = 0x20 => "ACQ_BASE_LO",
        /// Bus address of the admin completion queue, high half.
        ACQ_BASE_HI = 0x24 => "ACQ_BASE_HI",
        /// Size of the admin completion queue ([`QueueCaps`]).
        ACQ_CAPS = 0x28 => "ACQ_CAPS",
        /// Doorbell of the admin queue: a free-running count of the commands written, 16 bits of it.
        AQ_DB = 0x2c => "AQ_DB",
        /// Tail of the admin completion queue; no driver reads it.
        ACQ_TAIL = 0x30 => "ACQ_TAIL",
        /// Size of the event queue ([`QueueCaps`]).
        AENQ_CAPS = 0x34 => "AENQ_CAPS",
        /// Bus address of the event queue, low half.
        AENQ_BASE_LO = 0x38 => "AENQ_BASE_LO",
        /// Bus address of the event queue, high half.
        AENQ_BASE_HI = 0x3c => "AENQ_BASE_HI",
        /// How many events may be written in all: the queue's depth and those that the driver has handled.
        AENQ_HEAD_DB = 0x40 => "AENQ_HEAD_DB",
        /// Tail of the event queue; no driver reads it.
        AENQ_TAIL = 0x44 => "AENQ_TAIL",
        /// Not 0: no interrupt for admin completions and events.
        INTR_MASK = 0x4c => "INTR_MASK",
        /// What the driver asks of the device ([`DeviceControl`]).
        DEV_CTL = 0x54 => "DEV_CTL",
        /// How the device is ([`DeviceStatus`]).
        DEV_STS = 0x58 => "DEV_STS",
        /// Asks for a register by DMA ([`RegisterRead`]).
        MMIO_REG_READ = 0x5c => "MMIO_REG_READ",
        /// Bus address of the answer to that, low half.
        MMIO_RESP_LO = 0x60 => "MMIO_RESP_LO",
        /// Bus address of the answer to that, high half.
        MMIO_RESP_HI = 0x64 => "MMIO_RESP_HI",
        /// Changes one entry of the RSS table ([`IndirectionUpdate`]).
        RSS_IND_ENTRY_UPDATE = 0x68 => "RSS_IND_ENTRY_UPDATE",
        /// Doorbell of the clock.
        PHC_DB = 0x100 => "PHC_DB",
    }
}

/// `VERSION`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Version {
    /// 7:0.
    pub minor: u8,
    /// 15:8.
    pub major: u8,
    reserved: u16,
}

/// `CTRL_VERSION`. The low three bytes must be at least 0.0.1 (`MIN_ENA_CTRL_VER`, `ena_com.c`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ControllerVersion {
    /// 7:0.
    pub subminor: u8,
    /// 15:8.
    pub minor: u8,
    /// 23:16.
    pub major: u8,
    /// 31:24.
    pub implementation: u8,
}

/// `CAPS`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Caps {
    /// Queues must be contiguous in memory.
    pub contiguous_queues: bool,
    /// How long a reset may take, in units of 100 ms. A driver refuses 0.
    #[bits(5)]
    pub reset_timeout: u8,
    #[bits(2)]
    reserved_6: u8,
    /// Bits of an address that the device drives, 32 to 48.
    pub dma_address_width: u8,
    /// How long an admin command may take, in units of 100 ms; 0 = the driver's own limit of 3 s.
    #[bits(4)]
    pub admin_timeout: u8,
    #[bits(12)]
    reserved_20: u16,
}

/// `AQ_CAPS`, `ACQ_CAPS`, `AENQ_CAPS`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct QueueCaps {
    /// Entries; 0 = no queue.
    pub depth: u16,
    /// Bytes of an entry.
    pub entry_bytes: u16,
}

/// `DEV_CTL`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DeviceControl {
    /// 1 begins a reset, 0 ends it.
    pub reset: bool,
    /// Restart the admin queue.
    pub aq_restart: bool,
    /// Finish what is under way, begin nothing.
    pub quiescent: bool,
    /// Go on.
    pub io_resume: bool,
    #[bits(20)]
    reserved_4: u32,
    /// High half of the reset reason; only where the device offers extended reasons.
    #[bits(4)]
    pub reason_high: u8,
    /// Low half of the reset reason.
    #[bits(4)]
    pub reason_low: u8,
}

impl DeviceControl {
    /// A reset for this reason.
    pub const fn new_reset(reason: ResetReason) -> Self {
        Self::new()
            .with_reset(true)
            .with_reason_low(reason.0 & 0xf)
            .with_reason_high(reason.0 >> 4)
    }

    /// Both halves of the reset reason.
    pub const fn reason(self) -> ResetReason {
        ResetReason(self.reason_high() << 4 | self.reason_low())
    }
}

/// `DEV_STS`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DeviceStatus {
    /// The device can be used.
    pub ready: bool,
    /// The admin queue is being restarted.
    pub aq_restart_in_progress: bool,
    /// The admin queue was restarted.
    pub aq_restart_finished: bool,
    /// A reset is under way, until `DEV_CTL` is written 0.
    pub reset_in_progress: bool,
    /// A reset was done.
    pub reset_finished: bool,
    /// The device failed.
    pub fatal_error: bool,
    /// It is becoming quiet.
    pub quiescent_in_progress: bool,
    /// It is quiet.
    pub quiescent_achieved: bool,
    #[bits(24)]
    reserved: u32,
}

/// `MMIO_REG_READ`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct RegisterRead {
    /// Comes back in the answer.
    pub request_id: u16,
    /// Which register.
    pub offset: u16,
}

/// `RSS_IND_ENTRY_UPDATE`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct IndirectionUpdate {
    /// Entry of the table.
    pub index: u16,
    /// Receive queue.
    pub queue: u16,
}

open_enum! {
    /// Why a driver resets its device (`ena_regs_reset_reason_types`).
    pub struct ResetReason(u8) {
        /// The driver starts, or stops in good order.
        NORMAL = 0 => "normal",
        /// No keep-alive event for 6 s (Linux, FreeBSD) or 3 s (DPDK).
        KEEP_ALIVE_TIMEOUT = 1 => "no keep-alive event in time",
        /// A command was not completed in time.
        ADMIN_TIMEOUT = 2 => "an admin command was not completed in time",
        /// Too many packets were not completed in time.
        MISSING_TX_COMPLETION = 3 => "transmit completions are missing",
        /// A receive completion names no outstanding buffer.
        INVALID_RX_REQUEST_ID = 4 => "a receive completion has a wrong request id",
        /// A transmit completion names no outstanding packet.
        INVALID_TX_REQUEST_ID = 5 => "a transmit completion has a wrong request id",
        /// A packet came in more buffers than the driver takes.
        TOO_MANY_RX_DESCRIPTORS = 6 => "a received packet has too many descriptors",
        /// The driver could not begin.
        INIT_ERROR = 7 => "the driver could not initialize the device",
        /// The driver found itself in a state that cannot be.
        DRIVER_INVALID_STATE = 8 => "the driver is in an invalid state",
        /// The operating system asked for it (a changed setting, a resume).
        OS_TRIGGER = 9 => "the operating system asked for it",
        /// The operating system's watchdog saw a transmit queue stand still.
        OS_NETDEV_WATCHDOG = 10 => "the operating system's transmit watchdog",
        /// The machine goes down.
        SHUTDOWN = 11 => "shutdown",
        /// A person asked for it.
        USER_TRIGGER = 12 => "a user asked for it",
        /// Anything else.
        GENERIC = 13 => "generic",
        /// Completions were there and no interrupt came.
        MISSED_INTERRUPT = 14 => "an interrupt was missed",
        /// The driver's own polling was late.
        SUSPECTED_POLL_STARVATION = 15 => "the driver's polling may be starved",
        /// A receive completion makes no sense.
        RX_DESCRIPTOR_MALFORMED = 16 => "a receive completion is malformed",
        /// A transmit completion makes no sense.
        TX_DESCRIPTOR_MALFORMED = 17 => "a transmit completion is malformed",
        /// A command was completed and no interrupt told so.
        MISSING_ADMIN_INTERRUPT = 18 => "an admin interrupt was missed",
        /// The device asked for it by an event.
        DEVICE_REQUEST = 19 => "the device asked for it",
        /// The first interrupt of a queue never came.
        MISSED_FIRST_INTERRUPT = 20 => "a queue's first interrupt was missed",
    }
}

impl ResetReason {
    /// The driver blames the device: a healthy model never sees one of these.
    pub const fn blames_device(self) -> bool {
        matches!(self.0, 1..=8 | 14..=18 | 20)
    }
}

/// What the device writes in answer to `MMIO_REG_READ` (`ena_admin_ena_mmio_req_read_less_resp`): request id,
/// offset, value.
pub const REGISTER_READ_RESPONSE_BYTES: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_the_header_has_them() {
        let caps = Caps::new()
            .with_contiguous_queues(true)
            .with_reset_timeout(10)
            .with_dma_address_width(48)
            .with_admin_timeout(3);
        assert_eq!(caps.into_bits(), 0x0003_3015);
        assert_eq!(
            DeviceStatus::new()
                .with_ready(true)
                .with_reset_in_progress(true)
                .into_bits(),
            0x9
        );
        assert_eq!(DeviceStatus::new().with_fatal_error(true).into_bits(), 0x20);
        assert_eq!(QueueCaps::from_bits(0x0040_0020).depth(), 32);
        assert_eq!(QueueCaps::from_bits(0x0040_0020).entry_bytes(), 64);
        assert_eq!(RegisterRead::from_bits(0x0058_0007).offset(), 0x58);
        assert_eq!(RegisterRead::from_bits(0x0058_0007).request_id(), 7);
    }

    #[test]
    fn reset_reasons_are_split() {
        let control = DeviceControl::new_reset(ResetReason::MISSED_FIRST_INTERRUPT);
        assert_eq!(control.into_bits(), 0x4100_0001);
        assert_eq!(control.reason(), ResetReason::MISSED_FIRST_INTERRUPT);
        assert_eq!(ResetReason(3).to_string(), "transmit completions are missing");
        assert_eq!(ResetReason(99).to_string(), "unknown (0x63)");
        assert!(ResetReason::MISSING_TX_COMPLETION.blames_device());
        assert!(!ResetReason::DEVICE_REQUEST.blames_device());
        assert!(!ResetReason::SHUTDOWN.blames_device());
    }
}
