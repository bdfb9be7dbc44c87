//! What can go wrong between a driver and its device.

use trinic_pci::DmaFault;
use trinic_pci::bus::BusError;

use crate::spec::admin::{Opcode, Status};
use crate::spec::registers::ResetReason;

/// Why a device cannot be driven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The driver's own memory is gone.
    #[error(transparent)]
    Dma(#[from] DmaFault),
    /// A register reads as ones, or a readless read was not answered.
    #[error("The device does not answer at register {0:#x}")]
    Unresponsive(u16),
    /// The device is not ready to be reset, or was not after it.
    #[error("The device is not ready")]
    NotReady,
    /// The reset did not begin or end in the time that the device announces.
    #[error("The device did not reset in {0} ms")]
    ResetTimeout(u32),
    /// A command was not completed in time.
    #[error("The device did not complete {0}")]
    AdminTimeout(Opcode),
    /// A completion is for a command that was not given.
    #[error("The device completed command {got} and not {expected}")]
    AdminMismatch {
        /// Command that was given.
        expected: u16,
        /// Command that was completed.
        got: u16,
    },
    /// The device refused a command.
    #[error("The device refused {opcode}: {status}")]
    Refused {
        /// The command.
        opcode: Opcode,
        /// What it said.
        status: Status,
    },
    /// The device offers what no driver can work with.
    #[error("The device's {what} is {value}")]
    Offer {
        /// What it offers.
        what: &'static str,
        /// The value.
        value: u64,
    },
    /// After a reset the device is another one.
    #[error("The device has changed its {0} over a reset")]
    Changed(&'static str),
    /// The device was silent for too long.
    #[error("No keep-alive event for {0} ms")]
    KeepAlive(u64),
    /// The device reports that it failed.
    #[error("The device reports a fatal error")]
    Fatal,
    /// The device asks to be reset.
    #[error("The device asks for a reset")]
    ResetRequested,
    /// The configuration asks for what the device or the driver does not do.
    #[error("The configuration's {what} cannot be {value}")]
    Config {
        /// Which value.
        what: &'static str,
        /// What it is.
        value: u64,
    },
}

impl DriverError {
    /// What to tell the device when it is reset because of this.
    pub fn reset_reason(&self) -> ResetReason {
        match self {
            Self::AdminTimeout(_) | Self::AdminMismatch { .. } => ResetReason::ADMIN_TIMEOUT,
            Self::KeepAlive(_) => ResetReason::KEEP_ALIVE_TIMEOUT,
            Self::ResetRequested => ResetReason::DEVICE_REQUEST,
            Self::Fatal => ResetReason::GENERIC,
            _ => ResetReason::INIT_ERROR,
        }
    }
}

/// What a device did to a queue that it must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The queue's memory is gone.
    #[error(transparent)]
    Dma(#[from] DmaFault),
    /// A transmit completion names no packet that is under way.
    #[error("Transmit completion for packet {0}, which is not under way")]
    TxRequestId(u16),
    /// A receive completion names no buffer that is posted.
    #[error("Receive completion for buffer {0}, which is not posted")]
    RxRequestId(u16),
    /// Bits that must be zero are not.
    #[error("A transmit completion has flags {0:#x}")]
    TxMalformed(u8),
    /// Bits that must be zero are not, or a first bit is out of place, or a length is beyond its buffer.
    #[error("A receive completion has status {status:#x} and length {length}")]
    RxMalformed {
        /// Word 0.
        status: u32,
        /// The length.
        length: u16,
    },
    /// More buffers than a packet may have.
    #[error("A packet in more than {0} buffers")]
    TooManyBuffers(usize),
    /// The frame is empty, has too many pieces or a request that makes no sense.
    #[error("The frame cannot be sent: {0}")]
    Frame(&'static str),
}

impl QueueError {
    /// What to tell the device when it is reset because of this.
    pub fn reset_reason(&self) -> ResetReason {
        match self {
            Self::TxRequestId(_) => ResetReason::INVALID_TX_REQUEST_ID,
            Self::RxRequestId(_) => ResetReason::INVALID_RX_REQUEST_ID,
            Self::TxMalformed(_) => ResetReason::TX_DESCRIPTOR_MALFORMED,
            Self::RxMalformed { .. } => ResetReason::RX_DESCRIPTOR_MALFORMED,
            Self::TooManyBuffers(_) => ResetReason::TOO_MANY_RX_DESCRIPTORS,
            Self::Bus(_) | Self::Dma(_) | Self::Frame(_) => ResetReason::GENERIC,
        }
    }
}
