//! The worker's way with functions whose queues it shares with their drivers.
//!
//! Nothing wakes the worker for them: a driver writes a doorbell into memory that both map. So the worker looks
//! at every function in every round, and when it has nothing else to do it sleeps in steps that grow from
//! [`SLEEP_MIN`] to [`SLEEP_MAX`], which is the most that a first packet after idle waits. A card without such
//! functions sleeps as if this file did not exist.

use std::time::Duration;

use trinic_ena::datapath::{Disposition, TxPacket};
use trinic_host::port::Written;
use trinic_host::vnet::{VNET_HEADER_BYTES, VnetHeader};
use trinic_switch::{Offload, Packet, PortId, Verdict};
use trinic_wire::time::Instant;
use zerocopy::IntoBytes;

use super::{Outgoing, Slot, Worker, port_id, slot_mut};
use crate::card::ena::{BATCH_PACKETS, Received, checksum_is_partial};

/// The first sleep after the worker stopped spinning.
const SLEEP_MIN: Duration = Duration::from_micros(20);
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(1);
/// How long functions that are always busy may keep the worker from asking the kernel for other packets.
const KERNEL_PAUSE: Duration = Duration::from_micros(20);

/// What the worker keeps for functions.
#[derive(Debug)]
pub(super) struct Devices {
    /// Slots that hold one.
    indices: Vec<usize>,
    /// Packets taken in a turn.
    packets: Vec<TxPacket>,
    sleep: Duration,
    /// When the kernel was last asked.
    looked: Instant,
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            indices: Vec::new(),
            packets: Vec::new(),
            sleep: SLEEP_MIN,
            looked: Instant::ZERO,
        }
    }
}

impl Devices {
    pub(super) fn add(&mut self, index: usize) {
        // A card that never has a function never has this memory.
        self.packets.resize_with(BATCH_PACKETS, TxPacket::new);
        self.indices.push(index);
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.indices.retain(|other| *other != index);
    }

    /// Whether the kernel's ports and the messages waited long enough.
    pub(super) fn owes_a_look(&mut self, now: Instant) -> bool {
        let is_due = now.since(self.looked) >= KERNEL_PAUSE;
        if is_due {
            self.looked = now;
        }
        is_due
    }

    /// How long to sleep when nothing happened, at most `limit`.
    pub(super) fn limit_sleep(&mut self, limit: Duration) -> Duration {
        if self.indices.is_empty() {
            return limit;
        }
        let sleep = self.sleep;
        self.sleep = (sleep * 2).min(SLEEP_MAX);
        limit.min(sleep)
    }

    /// Something happened.
    pub(super) fn woke(&mut self) {
        self.sleep = SLEEP_MIN;
    }
}

impl Worker {
    /// Gives every function one turn; returns the number of packets taken.
    #[inline]
    pub(super) fn device_round(&mut self, now: Instant) -> usize {
        let mut moved = 0;
        for turn in 0..self.devices.indices.len() {
            moved += self.device_turn(now, self.devices.indices[turn]);
        }
        for turn in 0..self.devices.indices.len() {
            let index = self.devices.indices[turn];
            if let Some(port) = self.slots[index].as_mut().and_then(Slot::device_mut) {
                port.flush(now);
            }
        }
        moved
    }

    /// One function's turn: a batch of packets through the switch and on.
    fn device_turn(&mut self, now: Instant, index: usize) -> usize {
        let Some(port) = self.slots[index].as_mut().and_then(Slot::device_mut) else {
            return 0;
        };
        let mut packets = std::mem::take(&mut self.devices.packets);
        port.poll(now);
        let count = port.take(&mut packets);
        if count > 0 {
            self.inbox.clear();
            for packet in packets.iter_mut().take(count) {
                self.counters.bytes += packet.total_bytes() as u64;
                self.device_packet(now, index, packet);
            }
            self.counters.packets += count as u64;
            self.flush();
        }
        self.devices.packets = packets;
        count
    }

    /// One packet that a driver sent: one call of the switch.
    #[inline]
    fn device_packet(&mut self, now: Instant, from: usize, packet: &mut TxPacket) {
        let total_len = packet.total_bytes();
        let offload = packet.offload();
        let mut view = Packet {
            total_len,
            offload: Offload {
                checksum_partial: checksum_is_partial(offload),
                gso_size: offload.segmentation.map_or(0, |cut| cut.mss),
            },
            window: packet.window_mut(),
        };
        let port = port_id(from);
        let disposition = match self.switch.process(now, port, &mut view, &mut self.out) {
            Verdict::Forward { to } => self.forward(from, to, packet),
            Verdict::Service { port } => {
                self.device_service(now, port, packet);
                Disposition::Sent
            }
            Verdict::Replied => Disposition::Sent,
            Verdict::Drop(_) => Disposition::Dropped,
        };
        if let Some(port) = self.slots[from].as_mut().and_then(Slot::device_mut) {
            port.complete(packet, disposition);
        }
        if self.out.frame().is_some() {
            self.reply(port);
        }
    }

    /// From function to function the payload is copied once, from one driver's memory to the other's; to a
    /// port of the kernel, and back to the same function, through the batch.
    #[inline]
    fn forward(&mut self, from: usize, to: PortId, packet: &mut TxPacket) -> Disposition {
        let Ok(index) = usize::try_from(to.0) else {
            return Disposition::Dropped;
        };
        if let Ok([Some(source), Some(target)]) = self.slots.get_disjoint_mut([from, index])
            && let (Some(source), Some(port)) = (source.device(), target.device_mut())
        {
            let received = port.receive_packet(packet, source.memory());
            target.count(&mut self.counters, Ok(received.into()));
            return Disposition::Sent;
        }
        match self.gather(from, packet) {
            Some((_, frame)) => {
                self.outbox.push(Outgoing { to, frame });
                Disposition::Sent
            }
            None => Disposition::Dropped,
        }
    }

    /// Copies a packet into the batch, as if a tap had given it; its place there.
    fn gather(&mut self, from: usize, packet: &TxPacket) -> Option<(VnetHeader, usize)> {
        if self.inbox.next_slot().is_none() {
            // Super-frames fill it before the turn is over.
            self.flush();
            self.inbox.clear();
        }
        let port = self.slots.get(from)?.as_ref()?.device()?;
        let place = self.inbox.next_slot()?;
        let (front, frame) = place.split_at_mut_checked(VNET_HEADER_BYTES)?;
        let (header, length) = port.gather(packet, frame)?;
        front.copy_from_slice(header.as_bytes());
        self.inbox.push(VNET_HEADER_BYTES + length);
        Some((header, self.inbox.len() - 1))
    }

    fn device_service(&mut self, now: Instant, port: PortId, packet: &TxPacket) {
        let Ok(from) = usize::try_from(port.0) else { return };
        if let Some((header, number)) = self.gather(from, packet) {
            self.service(now, port, &header, number);
        }
    }

    /// Frames of the batch that go to functions.
    pub(super) fn flush_to_devices(&mut self) {
        if self.devices.indices.is_empty() {
            return;
        }
        let Self {
            outbox,
            inbox,
            slots,
            counters,
            ..
        } = self;
        outbox.retain(|outgoing| {
            let Some(slot) = slot_mut(slots, outgoing.to) else {
                return false;
            };
            let Some(port) = slot.device_mut() else {
                return true;
            };
            let frame = inbox.frame_mut(outgoing.frame);
            let received = match frame.split_at_mut_checked(VNET_HEADER_BYTES) {
                Some((header, frame)) => VnetHeader::read(header)
                    .map_or(Received::Refused, |header| port.receive_frame(&header, frame)),
                None => Received::Refused,
            };
            slot.count(counters, Ok(received.into()));
            false
        });
    }
}

impl From<Received> for Written {
    #[inline]
    fn from(received: Received) -> Self {
        match received {
            Received::Queued => Self::Sent,
            Received::Full => Self::Full,
            Received::Refused => Self::Refused(libc_einval()),
        }
    }
}

/// What a tap would have said of a frame that it refuses.
fn libc_einval() -> i32 {
    rustix::io::Errno::INVAL.raw_os_error()
}
