//! Why packets were refused, by name, and how often.

/// What is wrong with what a driver put into a transmit queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TxFault {
    /// The queue is stopped: the tail is further than the ring is long.
    #[error("The doorbell is beyond the ring")]
    Doorbell,
    /// The queue is stopped: the ring is full and has no last descriptor, or 64 in a row are no last one.
    #[error("The ring is full of a packet without end")]
    Endless,
    /// The queue is stopped: a descriptor before the tail was not written in this turn of the ring.
    #[error("A descriptor has the wrong phase")]
    Phase,
    /// The queue is stopped: its ring is not in the driver's memory.
    #[error("The ring is not in the driver's memory")]
    Ring,
    /// The queue is stopped: its completions are not in the driver's memory.
    #[error("The completion ring is not in the driver's memory")]
    Completion,
    /// A packet without a first descriptor, or one inside another packet.
    #[error("A packet's first descriptor is missing or out of place")]
    First,
    /// A meta descriptor that is not a packet's first.
    #[error("A meta descriptor is out of place")]
    Meta,
    /// More buffers than a packet may have.
    #[error("A packet has too many buffers")]
    Buffers,
    /// The pushed header is longer than an entry has room for.
    #[error("A pushed header does not fit its entry")]
    Header,
    /// The packet is shorter than an Ethernet header or longer than any frame.
    #[error("A packet's length is out of range")]
    Length,
    /// A buffer is not in the driver's memory.
    #[error("A buffer is not in the driver's memory")]
    Buffer,
    /// A checksum is asked for outside the packet, or without saying where.
    #[error("A checksum's place is outside the packet")]
    Offload,
    /// The packet cannot be cut into segments as asked.
    #[error("A packet cannot be cut into segments as asked")]
    Segmentation,
}

impl TxFault {
    /// As counters are shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Doorbell => "tx-doorbell",
            Self::Endless => "tx-endless",
            Self::Phase => "tx-phase",
            Self::Ring => "tx-ring",
            Self::Completion => "tx-completion",
            Self::First => "tx-first",
            Self::Meta => "tx-meta",
            Self::Buffers => "tx-buffers",
            Self::Header => "tx-header",
            Self::Length => "tx-length",
            Self::Buffer => "tx-buffer",
            Self::Offload => "tx-offload",
            Self::Segmentation => "tx-segmentation",
        }
    }
}

/// What is wrong with what a driver put into a receive queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RxFault {
    /// The queue is stopped: the tail is further than the ring is long.
    #[error("The doorbell is beyond the ring")]
    Doorbell,
    /// The queue is stopped: a descriptor before the tail was not written in this turn of the ring.
    #[error("A descriptor has the wrong phase")]
    Phase,
    /// The queue is stopped: its ring is not in the driver's memory.
    #[error("The ring is not in the driver's memory")]
    Ring,
    /// The queue is stopped: its completions are not in the driver's memory.
    #[error("The completion ring is not in the driver's memory")]
    Completion,
    /// A buffer is not in the driver's memory; it is lost.
    #[error("A buffer is not in the driver's memory")]
    Buffer,
}

/// Why a packet did not reach the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RxDrop {
    /// The driver has no queue for it.
    #[error("No receive queue for the packet")]
    NoQueue,
    /// The queue was stopped for a fault.
    #[error("The receive queue is stopped")]
    Stopped,
    /// The driver posted no or not enough buffers.
    #[error("Not enough receive descriptors")]
    NoDescriptors,
    /// It is longer than the MTU, or takes more buffers than a packet may.
    #[error("The packet is too long to be received")]
    TooLong,
    /// The work left to do on it makes no sense.
    #[error("The packet's offload makes no sense")]
    Offload,
    /// The sender's memory went.
    #[error("The packet's payload is gone")]
    Source,
    /// The driver's queue made no sense.
    #[error(transparent)]
    Fault(#[from] RxFault),
}

impl RxDrop {
    /// As counters are shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoQueue => "rx-no-queue",
            Self::Stopped => "rx-stopped",
            Self::NoDescriptors => "rx-no-descriptors",
            Self::TooLong => "rx-too-long",
            Self::Offload => "rx-offload",
            Self::Source => "rx-source",
            Self::Fault(RxFault::Doorbell) => "rx-doorbell",
            Self::Fault(RxFault::Phase) => "rx-phase",
            Self::Fault(RxFault::Ring) => "rx-ring",
            Self::Fault(RxFault::Completion) => "rx-completion",
            Self::Fault(RxFault::Buffer) => "rx-buffer",
        }
    }
}

/// How often each of the reasons came up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    tx: [u64; TX_FAULTS.len()],
    drops: [u64; DROPS.len()],
}

impl Faults {
    /// How often a transmit queue made no sense for this reason.
    pub fn tx(&self, fault: TxFault) -> u64 {
        position(&TX_FAULTS, &fault).map_or(0, |index| self.tx[index])
    }

    /// How often a packet was dropped for this reason.
    pub fn drops(&self, drop: RxDrop) -> u64 {
        position(&DROPS, &drop).map_or(0, |index| self.drops[index])
    }

    /// Every transmit reason with its count.
    pub fn tx_counts(&self) -> impl Iterator<Item = (TxFault, u64)> {
        TX_FAULTS.into_iter().zip(self.tx)
    }

    /// Every receive reason with its count.
    pub fn drop_counts(&self) -> impl Iterator<Item = (RxDrop, u64)> {
        DROPS.into_iter().zip(self.drops)
    }

    #[cold]
    pub(super) fn count_tx(&mut self, fault: TxFault) {
        if let Some(index) = position(&TX_FAULTS, &fault) {
            self.tx[index] += 1;
        }
    }

    #[cold]
    pub(super) fn count_rx(&mut self, fault: RxFault) {
        self.count_drop(RxDrop::Fault(fault));
    }

    pub(super) fn count_drop(&mut self, drop: RxDrop) {
        if let Some(index) = position(&DROPS, &drop) {
            self.drops[index] += 1;
        }
    }
}

fn position<T: PartialEq>(all: &[T], one: &T) -> Option<usize> {
    all.iter().position(|other| other == one)
}

const TX_FAULTS: [TxFault; 13] = [
    TxFault::Doorbell,
    TxFault::Endless,
    TxFault::Phase,
    TxFault::Ring,
    TxFault::Completion,
    TxFault::First,
    TxFault::Meta,
    TxFault::Buffers,
    TxFault::Header,
    TxFault::Length,
    TxFault::Buffer,
    TxFault::Offload,
    TxFault::Segmentation,
];

const DROPS: [RxDrop; 11] = [
    RxDrop::NoQueue,
    RxDrop::Stopped,
    RxDrop::NoDescriptors,
    RxDrop::TooLong,
    RxDrop::Offload,
    RxDrop::Source,
    RxDrop::Fault(RxFault::Doorbell),
    RxDrop::Fault(RxFault::Phase),
    RxDrop::Fault(RxFault::Ring),
    RxDrop::Fault(RxFault::Completion),
    RxDrop::Fault(RxFault::Buffer),
];
