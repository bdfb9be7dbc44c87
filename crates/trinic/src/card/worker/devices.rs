//! The worker's way with functions whose queues it shares with their drivers.
//!
//! Nothing wakes the worker for them: a driver writes a doorbell into memory that both map. So the worker looks
//! at every function in every round, and when it has nothing else to do it sleeps in steps that grow from
//! [`SLEEP_MIN`] to [`SLEEP_MAX`], which is the most that a first packet after idle waits. A card without such
//! functions, or whose functions have no queues because no driver runs, sleeps as if this file did not exist:
//! queues are made by a message, which wakes it.

use std::time::Duration;

use trinic_ena::datapath::{Disposition, TxPacket};
use trinic_host::port::Written;
use trinic_host::vnet::{VNET_HEADER_BYTES, VnetHeader};
use trinic_switch::{Offload, Packet, PortId, Verdict};
use trinic_wire::time::Instant;
use zerocopy::IntoBytes;

use super::{Outgoing, Slot, Worker, port_id, slot_mut};
use crate::card::ena::{BATCH_PACKETS, EnaPort, Received, checksum_is_partial};

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
    pub(super) fn limit_sleep(&mut self, limit: Duration, slots: &[Option<Slot>]) -> Duration {
        let device = |index: &usize| slots.get(*index)?.as_ref()?.device();
        if !self.indices.iter().filter_map(device).any(EnaPort::has_queues) {
            return limit;
        }
        limit.min(self.next_sleep())
    }

    /// Each sleep after the one before, with nothing between them, is twice as long.
    fn next_sleep(&mut self) -> Duration {
        let sleep = self.sleep;
        self.sleep = (sleep * 2).min(SLEEP_MAX);
        sleep
    }

    /// Something happened.
    pub(super) fn woke(&mut self) {
        self.sleep = SLEEP_MIN;
    }
}

impl Worker {
    /// Gives every function one turn; returns the number of packets taken.
    #[inline]
    pub fn device_round(&mut self, now: Instant) -> usize {
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
        let Self {
            slots,
            switch,
            devices,
            ..
        } = self;
        let Some(port) = slots[index].as_mut().and_then(Slot::device_mut) else {
            return 0;
        };
        port.poll(now);
        // What is above the interface's allowances stays where it is.
        let room = switch.send_room(now, port_id(index), || port.has_packets());
        let most = room.min(devices.packets.len());
        let count = port.take(&mut devices.packets[..most]);
        if count == 0 {
            return 0;
        }
        let mut packets = std::mem::take(&mut self.devices.packets);
        self.inbox.clear();
        self.device_batch(now, index, &mut packets[..count]);
        self.counters.packets += count as u64;
        self.flush();
        self.devices.packets = packets;
        count
    }

    /// The packets of a turn: one call of the switch for all, then those for one receiver together.
    #[inline]
    fn device_batch(&mut self, now: Instant, from: usize, packets: &mut [TxPacket]) {
        let count = packets.len();
        let mut verdicts = [Verdict::Replied; BATCH_PACKETS];
        let Self {
            switch,
            slots,
            counters,
            out,
            ..
        } = self;
        let port = port_id(from);
        for packet in &*packets {
            counters.bytes += packet.total_bytes() as u64;
        }
        let reply = |_, frame: &[u8]| {
            if let Some(slot) = slot_mut(slots, port) {
                slot.deliver(counters, frame);
            }
        };
        switch.process_frames(now, port, packets, view, &mut verdicts, out, reply);
        let mut rest = &mut *packets;
        let mut verdicts = &verdicts[..count];
        while let Some(verdict) = verdicts.first() {
            let alike = verdicts.iter().take_while(|other| *other == verdict).count();
            let (run, others) = std::mem::take(&mut rest).split_at_mut(alike);
            match verdict {
                Verdict::Forward { to } => self.forward(from, *to, run),
                Verdict::Service { port } => {
                    for packet in &*run {
                        self.device_service(now, *port, packet);
                    }
                    self.complete(from, run, Disposition::Sent);
                }
                Verdict::Replied => self.complete(from, run, Disposition::Sent),
                Verdict::Drop(_) => self.complete(from, run, Disposition::Dropped),
            }
            (rest, verdicts) = (others, &verdicts[alike..]);
        }
    }

    /// From function to function the payload is copied once, from one driver's memory to the other's; to a
    /// port of the kernel, and back to the same function, through the batch.
    #[inline]
    fn forward(&mut self, from: usize, to: PortId, packets: &mut [TxPacket]) {
        let index = usize::try_from(to.0).unwrap_or(usize::MAX);
        if let Ok([Some(source), Some(target)]) = self.slots.get_disjoint_mut([from, index])
            && let (Some(source), Some(port)) = (source.device_mut(), target.port.device_mut())
        {
            let mut lost = [0, 0];
            for packet in &mut *packets {
                match port.receive_packet(packet, source.memory()) {
                    Received::Queued => {}
                    Received::Full => lost[0] += 1,
                    Received::Refused => lost[1] += 1,
                }
            }
            source.complete(packets, Disposition::Sent);
            target.queue_full += lost[0];
            target.refused += lost[1];
            self.counters.queue_full += lost[0];
            self.counters.send_failures += lost[1];
            return;
        }
        for packet in packets {
            let disposition = match self.gather(from, packet) {
                Some((_, frame)) => {
                    self.outbox.push(Outgoing {
                        to,
                        frame,
                        packets: 1,
                    });
                    Disposition::Sent
                }
                None => Disposition::Dropped,
            };
            self.complete(from, std::slice::from_mut(packet), disposition);
        }
    }

    /// Gives packets back to the driver that sent them.
    fn complete(&mut self, from: usize, packets: &mut [TxPacket], disposition: Disposition) {
        if let Some(port) = self.slots[from].as_mut().and_then(Slot::device_mut) {
            port.complete(packets, disposition);
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

/// A packet as the switch sees it. One whose kind is known has nothing left to do.
#[inline]
fn view(packet: &mut TxPacket) -> Packet<'_> {
    let shape = packet.shape();
    let offload = match shape {
        Some(_) => Offload::default(),
        None => offload_of(packet),
    };
    Packet {
        total_len: packet.total_bytes(),
        offload,
        window: packet.window_mut(),
        shape,
    }
}

fn offload_of(packet: &TxPacket) -> Offload {
    let offload = packet.offload();
    Offload {
        checksum_partial: checksum_is_partial(offload),
        gso_size: offload.segmentation.map_or(0, |cut| cut.mss),
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

#[cfg(test)]
mod tests {
    use trinic_ena::datapath::{Change, CompletionQueue, RxQueue};
    use trinic_switch::Switch;

    use super::*;
    use crate::card::backend::Plug;
    use crate::card::ena::Functions;
    use crate::card::one_subnet::function;
    use crate::card::services::Services;

    #[test]
    fn sleeps_grow_to_a_millisecond_and_are_short_again_after_work() {
        let mut devices = Devices::default();
        let mut sleeps = || {
            (0..9)
                .map(|_| devices.next_sleep().as_micros())
                .collect::<Vec<_>>()
        };
        assert_eq!(sleeps(), [20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000]);
        devices.woke();
        assert_eq!(devices.next_sleep().as_micros(), 20);
    }

    #[test]
    fn without_a_function_nothing_shortens_a_sleep() {
        let limit = Duration::from_secs(9);
        assert_eq!(Devices::default().limit_sleep(limit, &[]), limit);
    }

    /// A function as it is plugged in, without a driver.
    fn slot() -> Option<Slot> {
        let services = Services::new(false, [7; 32]).unwrap();
        let switch = Switch::new(trinic_switch::Config::default());
        let (worker, handle) = Worker::new(switch, services, Box::new(drop)).unwrap();
        let functions = Functions::new(false);
        functions.set_worker(handle.clone());
        // A function that begins and one that ends ask the worker to let go.
        let serving = std::thread::spawn(move || worker.run());
        let interface = function(1, 1);
        let port = functions.make(&interface).unwrap();
        drop(functions);
        handle.send(super::super::Message::Stop).unwrap();
        serving.join().unwrap().unwrap();
        Some(Slot {
            interface: Some(interface.id.clone()),
            queue_full: 0,
            refused: 0,
            bad_headers: 0,
            port,
            read_failures: 0,
        })
    }

    fn apply(slot: &mut Option<Slot>, change: Change) {
        let port = slot.as_mut().and_then(Slot::device_mut).unwrap();
        port.apply(change, Instant::ZERO);
    }

    fn receive_queue() -> RxQueue {
        RxQueue {
            base: 0x1000,
            depth: 16,
            doorbell_offset: 0x1000,
            completions: CompletionQueue {
                index: 0,
                base: 0x2000,
                depth: 16,
                entry_bytes: 16,
                vector: None,
                unmask_offset: 0x1800,
            },
        }
    }

    #[test]
    fn a_function_shortens_sleeps_while_it_has_queues_and_no_longer() {
        let limit = Duration::from_secs(9);
        let mut devices = Devices::default();
        // In the second of three places, one of which is free.
        let mut slots = [None, slot(), slot()];
        assert!(matches!(slots[1].as_ref().unwrap().port, Plug::Ena(_)));
        devices.add(1);
        devices.add(2);
        assert_eq!(
            devices.limit_sleep(limit, &slots),
            limit,
            "no driver, no doorbell"
        );

        apply(&mut slots[2], Change::CreateRx(0, receive_queue()));
        let mut micros = |slots: &[_]| devices.limit_sleep(limit, slots).as_micros();
        assert_eq!(
            [0; 8].map(|_| micros(&slots)),
            [20, 40, 80, 160, 320, 640, 1_000, 1_000]
        );
        // What is due before is not slept over.
        let soon = Duration::from_micros(7);
        assert_eq!(devices.limit_sleep(soon, &slots), soon);
        devices.woke();
        assert_eq!(devices.limit_sleep(soon, &slots), soon);
        assert_eq!(devices.limit_sleep(limit, &slots).as_micros(), 40);

        apply(&mut slots[2], Change::Reset);
        assert_eq!(devices.limit_sleep(limit, &slots), limit, "the driver has gone");
        apply(&mut slots[2], Change::CreateRx(0, receive_queue()));
        assert!(devices.limit_sleep(limit, &slots) < limit);
        devices.remove(2);
        assert_eq!(devices.limit_sleep(limit, &slots), limit, "it is plugged out");
    }
}
