//! The queues of an ENA function, in the worker: what a tap's descriptor is to a traditional interface.
//!
//! There is nothing to wait for in epoll: the driver writes doorbells into memory that both map, so the worker
//! looks at them. A round of a port is [`EnaPort::poll`], packets out with [`EnaPort::take`], packets in with the
//! `receive` calls, and [`EnaPort::flush`], which writes completions and raises interrupts.

use std::collections::BTreeMap;

use trinic_ena::datapath::{
    Change, Datapath, Disposition, Limits, Offload, Payload, RxDrop, Statistics, TxPacket,
};
use trinic_host::guest_memory::GuestMemory;
use trinic_host::vfio_user::{IrqTable, SharedBar};
use trinic_host::vnet::VnetHeader;
use trinic_wire::time::Instant;

use super::frame;

/// Packets that a function gives in one round.
pub const BATCH_PACKETS: usize = 64;
/// First bytes of a frame whose headers may be edited; the rest is only copied.
const WINDOW_BYTES: usize = trinic_ena::datapath::WINDOW_BYTES;
/// A datagram cut out of a super-frame: no MTU is larger.
const DATAGRAM_BYTES: usize = 16 * 1024;

/// The queues of one function.
#[derive(Debug)]
pub struct EnaPort {
    key: u64,
    datapath: Datapath<GuestMemory, SharedBar, IrqTable>,
    /// The same memory, for a receiver to copy from while the queues change.
    memory: GuestMemory,
    /// For datagrams that are cut out of super-frames.
    datagram: Box<[u8]>,
}

/// What became of a frame for the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is in a receive queue.
    Queued,
    /// There were no descriptors, or no queue.
    Full,
    /// It cannot be delivered.
    Refused,
}

/// How often the driver's descriptors made no sense, and packets for it were dropped, by reason.
pub type PortFaults = BTreeMap<&'static str, u64>;

impl EnaPort {
    /// The queues of a function, none yet.
    pub(super) fn new(
        key: u64,
        memory: GuestMemory,
        doorbells: SharedBar,
        pushed: Option<SharedBar>,
        interrupts: IrqTable,
        limits: Limits,
    ) -> Self {
        Self {
            key,
            datapath: Datapath::new(memory.clone(), doorbells, pushed, interrupts, limits),
            memory,
            datagram: vec![0; DATAGRAM_BYTES].into_boxed_slice(),
        }
    }

    /// Its number on this card, for its other half to find it.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The driver's memory, for [`Payload::Remote`].
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Applies a change by the control half; what was posted before is written first.
    pub fn apply(&mut self, change: Change, now: Instant) {
        self.datapath.flush(now);
        self.datapath.apply(change);
    }

    /// What was counted.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.datapath.statistics()
    }

    /// What made no sense, and was dropped.
    #[must_use]
    pub fn faults(&self) -> PortFaults {
        let faults = self.datapath.faults();
        let sent = faults.tx_counts().map(|(fault, count)| (fault.name(), count));
        let received = faults.drop_counts().map(|(drop, count)| (drop.name(), count));
        sent.chain(received).filter(|(_, count)| *count > 0).collect()
    }

    /// Whether a driver has made queues: only then can it have written a doorbell.
    #[inline]
    #[must_use]
    pub fn has_queues(&self) -> bool {
        self.datapath.has_queues()
    }

    /// Looks at the interrupt registers.
    #[inline]
    pub fn poll(&mut self, now: Instant) {
        self.datapath.poll(now);
    }

    /// When a delayed interrupt is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.datapath.poll_timeout()
    }

    /// Whether there are packets to take.
    #[inline]
    #[must_use]
    pub fn has_packets(&self) -> bool {
        self.datapath.has_packets()
    }

    /// Takes packets that the driver sent. Each must come back with [`Self::complete`] in the same round.
    #[inline]
    pub fn take(&mut self, packets: &mut [TxPacket]) -> usize {
        self.datapath.transmit(packets)
    }

    /// Gives packets back to the driver.
    #[inline]
    pub fn complete(&mut self, packets: &mut [TxPacket], disposition: Disposition) {
        self.datapath.complete_all(packets, disposition);
    }

    /// Writes completions and raises interrupts.
    #[inline]
    pub fn flush(&mut self, now: Instant) {
        self.datapath.flush(now);
    }

    /// Copies a packet into `buffer`, as a tap would have given it: a virtio-net header and the whole frame.
    /// Returns the length of both; `None` when the driver's addresses are wrong or it is too long.
    pub fn gather(&self, packet: &TxPacket, buffer: &mut [u8]) -> Option<(VnetHeader, usize)> {
        let header = frame::vnet_of(packet.offload());
        let window = packet.window();
        let (front, rest) = buffer.split_at_mut_checked(window.len())?;
        front.copy_from_slice(window);
        let behind = packet.total_bytes().checked_sub(window.len())?;
        let copied = self.datapath.copy_payload(packet, rest.get_mut(..behind)?).ok()?;
        (copied == behind).then_some((header, packet.total_bytes()))
    }

    /// Puts another function's packet into a receive queue: its payload is copied once.
    #[inline]
    pub fn receive_packet(&mut self, packet: &mut TxPacket, memory: &GuestMemory) -> Received {
        Received::from(self.datapath.receive_packet(packet, memory))
    }

    /// Puts a frame that came with a virtio-net header into a receive queue.
    pub fn receive_frame(&mut self, header: &VnetHeader, frame: &mut [u8]) -> Received {
        let Some(offload) = frame::offload_of(header, frame) else {
            return self.receive_datagrams(header, frame);
        };
        let (window, rest) = frame.split_at_mut(frame.len().min(WINDOW_BYTES));
        Received::from(self.datapath.receive(window, Payload::Bytes(rest), offload))
    }

    /// Puts a frame of the card's own into a receive queue; nothing is left to do on it.
    pub fn receive_finished(&mut self, frame: &[u8]) -> Received {
        let mut window = [0; WINDOW_BYTES];
        let (front, rest) = frame.split_at(frame.len().min(WINDOW_BYTES));
        let window = &mut window[..front.len()];
        window.copy_from_slice(front);
        Received::from(
            self.datapath
                .receive(window, Payload::Bytes(rest), Offload::default()),
        )
    }

    fn receive_datagrams(&mut self, header: &VnetHeader, frame: &[u8]) -> Received {
        let Self {
            datapath, datagram, ..
        } = self;
        let mut result = Received::Queued;
        let put = |frame: &mut [u8], offload: Offload| {
            let (window, rest) = frame.split_at_mut(frame.len().min(WINDOW_BYTES));
            let received = Received::from(datapath.receive(window, Payload::Bytes(rest), offload));
            if received != Received::Queued {
                result = received;
            }
        };
        if frame::udp_segments(header, frame, datagram, put) {
            result
        } else {
            Received::Refused
        }
    }
}

impl From<Result<(), RxDrop>> for Received {
    #[inline]
    fn from(result: Result<(), RxDrop>) -> Self {
        match result {
            Ok(()) => Self::Queued,
            Err(RxDrop::NoQueue | RxDrop::NoDescriptors) => Self::Full,
            Err(_) => Self::Refused,
        }
    }
}
