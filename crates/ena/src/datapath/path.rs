//! The datapath half itself: queues, and what the switching thread calls.

use trinic_pci::{DmaFault, Interrupts, Memory, SharedMemory};
use trinic_wire::plain::Shape;
use trinic_wire::time::Instant;

use super::classify::{CHECKED, Class, Plain, WRONG, classify};
use super::completion::CompletionRing;
use super::packet::{Checksum, Due, MAX_FRAME_BYTES, Offload, Payload, Segmentation, TxPacket, WINDOW_BYTES};
use super::receive::{Incoming, Receiver};
use super::rss::Chooser;
use super::segment::{SuperFrame, complete_partial};
use super::transmit::{Taken, Transmitter};
use super::vector::{Side, Vectors};
use super::{Allowances, Change, CompletionQueue, Faults, RxDrop, RxFault, Statistics, TxFault};
use crate::spec::descriptor::{InterruptControl, RxStatus};

/// Packets that one queue gives before the next one's turn.
const QUANTUM: usize = 16;

/// What one call of [`Datapath::transmit`] gives at most, in bytes: 512 KiB, as a tap's turn on a card has. A segment
/// that a receiver cuts of a super-frame counts as [`SEGMENT_WORK`] more. The last packet may go beyond, with 64 KiB and
/// 1,024 segments at most. Without it 64 super-frames of 1,024 segments each were one turn, and every other function
/// of the card waited for 65,536 packets to be made.
pub const TURN_WORK: usize = 512 << 10;

/// What a segment costs beside its bytes: about as much as to copy so many.
pub const SEGMENT_WORK: usize = 1024;

/// Longest headers of a super-frame: Ethernet with a tag, IP and TCP with all their options fit.
const MAX_HEADER_BYTES: usize = WINDOW_BYTES;

/// No MTU was set: more than any frame has.
const NO_MTU: usize = 1 << 17;

/// How many queues and vectors a function has. The control half gives indices below these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Transmit queues.
    pub tx_queues: u16,
    /// Receive queues.
    pub rx_queues: u16,
    /// MSI-X vectors.
    pub vectors: u16,
}

/// What becomes of a packet that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It went somewhere.
    Sent,
    /// The pipeline dropped it.
    Dropped,
}

/// What is left of a turn.
#[derive(Debug)]
struct Left {
    /// Packets to look at, whole or malformed.
    looks: usize,
    work: usize,
}

impl Left {
    #[inline]
    fn is_over(&self) -> bool {
        self.looks == 0 || self.work == 0
    }

    /// Small packets in no segments, and their bytes together.
    #[inline]
    fn count_plain(&mut self, packets: usize, bytes: u64) {
        self.looks = self.looks.saturating_sub(packets);
        self.work = self
            .work
            .saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    #[inline]
    fn count(&mut self, packet: &TxPacket) {
        let bytes = packet.total_bytes();
        let segments = packet
            .offload
            .segmentation
            .map_or(0, |cut| bytes / usize::from(cut.mss).max(1));
        self.looks -= 1;
        self.work = self.work.saturating_sub(bytes + segments * SEGMENT_WORK);
    }
}

/// The datapath half of one function, owned by the thread that switches.
///
/// A round is: [`Self::poll`], then [`Self::transmit`] and for each packet [`Self::complete`], with
/// [`Self::receive`] for the packets of others in between, then [`Self::flush`]. Nothing in it takes a lock,
/// allocates or formats.
#[derive(Debug)]
pub struct Datapath<M, R, I> {
    memory: M,
    /// The mapped part of BAR 0.
    registers: R,
    /// BAR 2, where there are low-latency queues.
    pushed: Option<R>,
    interrupts: I,
    tx: Vec<Option<Box<Transmitter>>>,
    rx: Vec<Option<Box<Receiver>>>,
    /// Indices of the queues that exist.
    tx_active: Vec<u16>,
    rx_active: Vec<u16>,
    /// Interrupt registers of the queues that exist, and their vectors.
    unmask: Vec<(u64, u16)>,
    /// Receive queues with completions that were not written yet.
    rx_dirty: bool,
    tx_dirty: bool,
    /// Whose turn it is, in `tx_active`.
    turn: usize,
    vectors: Vectors,
    chooser: Option<Chooser>,
    /// The driver's MTU, bytes without the Ethernet header.
    mtu: usize,
    statistics: Statistics,
    faults: Faults,
    /// So many transmit completions are still to be lost.
    swallow: u32,
    scratch: Box<[u8]>,
}

impl<M: Memory, R: SharedMemory, I: Interrupts> Datapath<M, R, I> {
    /// A function without queues. `registers` is the mapped part of BAR 0, `pushed` BAR 2 if there is one.
    pub fn new(memory: M, registers: R, pushed: Option<R>, interrupts: I, limits: Limits) -> Self {
        Self {
            memory,
            registers,
            pushed,
            interrupts,
            tx: (0..limits.tx_queues).map(|_| None).collect(),
            rx: (0..limits.rx_queues).map(|_| None).collect(),
            tx_active: Vec::with_capacity(usize::from(limits.tx_queues)),
            rx_active: Vec::with_capacity(usize::from(limits.rx_queues)),
            unmask: Vec::new(),
            rx_dirty: false,
            tx_dirty: false,
            turn: 0,
            vectors: Vectors::new(limits.vectors),
            chooser: None,
            mtu: NO_MTU,
            statistics: Statistics::default(),
            faults: Faults::default(),
            swallow: 0,
            scratch: vec![0; usize::try_from(MAX_FRAME_BYTES).unwrap_or_default()].into_boxed_slice(),
        }
    }

    /// Applies what the control half changed. Call it between rounds: nothing taken before may be open.
    ///
    /// A queue that is made finds its doorbell and its interrupt register at 0 and its vector masked. Changes for indices beyond the
    /// [`Limits`] are ignored.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::CreateTx(index, queue) => {
                if let Some(place) = self.tx.get_mut(usize::from(index)) {
                    *place = Some(Box::new(Transmitter::new(queue)));
                    self.begin(queue.doorbell_offset, &queue.completions);
                }
            }
            Change::DestroyTx(index) => {
                if let Some(place) = self.tx.get_mut(usize::from(index)) {
                    *place = None;
                }
            }
            Change::CreateRx(index, queue) => {
                if let Some(place) = self.rx.get_mut(usize::from(index)) {
                    *place = Some(Box::new(Receiver::new(queue)));
                    self.begin(queue.doorbell_offset, &queue.completions);
                }
            }
            Change::DestroyRx(index) => {
                if let Some(place) = self.rx.get_mut(usize::from(index)) {
                    *place = None;
                }
            }
            Change::Rss(rss) => self.chooser = Some(Chooser::new(*rss)),
            Change::Mtu(mtu) => self.mtu = usize::try_from(mtu).unwrap_or(NO_MTU).min(NO_MTU),
            Change::Moderation { unit_ns } => self.vectors.set_unit(unit_ns),
            // Addresses are looked up at every access, so there is nothing to let go of.
            Change::MemoryChanged => {}
            Change::SwallowTxCompletion => self.swallow = self.swallow.saturating_add(1),
            Change::DropInterrupt => self.vectors.drop_one(),
            Change::Reset => self.reset(),
        }
        self.list_queues();
    }

    /// What was counted since the function was made.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Allowance counters, for whoever polices the interface.
    pub fn allowances_mut(&mut self) -> &mut Allowances {
        &mut self.statistics.allowances
    }

    /// How often the driver's descriptors made no sense, by reason.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The memory of the function's driver, where fragments of its packets are.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Whether there is a queue. Without one the driver has no doorbell to write, and no round is needed.
    #[inline]
    pub fn has_queues(&self) -> bool {
        !self.tx_active.is_empty() || !self.rx_active.is_empty()
    }

    /// Whether the driver wrote a doorbell or an interrupt register that was not looked at. Some loads of
    /// mapped words, one a queue.
    #[inline]
    pub fn has_work(&self) -> bool {
        self.has_packets()
            || self
                .unmask
                .iter()
                .any(|(at, _)| self.registers.load_u32(*at) != 0)
    }

    /// Looks at the interrupt registers and fires delayed interrupts. Call it at the start of every round, and
    /// when [`Self::poll_timeout`]'s time has come.
    #[inline]
    pub fn poll(&mut self, now: Instant) {
        for (offset, vector) in &self.unmask {
            if self.registers.load_u32(*offset) != 0 {
                let control = InterruptControl::from_bits(self.registers.take_u32(*offset));
                self.vectors.control(*vector, control, now, &self.interrupts);
            }
        }
        self.vectors.poll(now, &self.interrupts);
    }

    /// When a delayed interrupt is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.vectors.next_due()
    }

    /// Takes packets from the transmit queues, a few from each in turn until there is no room or no packet, into
    /// the front of `packets`; returns how many. Every one of them must be given to [`Self::complete`] in the same round.
    ///
    /// What a driver can make of one call is bounded, whatever it wrote into however many queues: it looks at
    /// `packets.len()` packets, malformed ones included, and ends after the one that brings it to [`TURN_WORK`].
    #[inline]
    pub fn transmit(&mut self, packets: &mut [TxPacket]) -> usize {
        let mut left = Left {
            looks: packets.len(),
            work: TURN_WORK,
        };
        let (mut count, mut idle) = (0, 0);
        while !left.is_over() && idle < self.tx_active.len() {
            if self.turn >= self.tx_active.len() {
                self.turn = 0;
            }
            let index = self.tx_active[self.turn];
            let before = left.looks;
            let end = packets.len().min(count + QUANTUM.min(before));
            count += self.take(index, &mut packets[count..end], &mut left);
            idle = if before - left.looks < QUANTUM {
                idle + 1
            } else {
                0
            };
            self.turn += 1;
        }
        count
    }

    /// Copies the part of a packet that is not in its window; returns how many bytes that were.
    ///
    /// # Errors
    ///
    /// When the driver's addresses are wrong. The packet is then [`Disposition::Dropped`].
    pub fn copy_payload(&self, packet: &TxPacket, into: &mut [u8]) -> Result<usize, DmaFault> {
        Payload::Remote {
            memory: &self.memory,
            fragments: packet.fragments(),
        }
        .copy(into)
    }

    /// Gives a packet back to the driver: its completion is written at the next [`Self::flush`] at the latest.
    /// A packet that is completed again is ignored.
    #[inline]
    pub fn complete(&mut self, packet: &mut TxPacket, disposition: Disposition) {
        if packet.due != Due::Nothing && disposition == Disposition::Dropped {
            self.statistics.tx_drops += 1;
        }
        let Some(Some(queue)) = self.tx.get_mut(usize::from(packet.queue)) else {
            packet.due = Due::Nothing;
            return;
        };
        if self.swallow > 0 && packet.due == Due::Completion {
            self.swallow -= 1;
            queue.swallow(packet);
            return;
        }
        self.tx_dirty = true;
        if queue.complete(&self.memory, packet).is_err() {
            queue.is_stopped = true;
            self.faults.count_tx(TxFault::Completion);
        }
    }

    /// As [`Self::complete`] of each, for less.
    #[inline]
    pub fn complete_all(&mut self, packets: &mut [TxPacket], disposition: Disposition) {
        let mut rest = packets;
        while let Some(first) = rest.first() {
            let index = first.queue;
            let Some(Some(queue)) = self
                .tx
                .get_mut(usize::from(index))
                .filter(|_| disposition == Disposition::Sent && self.swallow == 0)
            else {
                break;
            };
            let alike = rest.iter().position(|packet| packet.queue != index);
            let (run, others) = rest.split_at_mut(alike.unwrap_or(rest.len()));
            self.tx_dirty = true;
            for packet in run {
                if queue.complete(&self.memory, packet).is_err() {
                    queue.is_stopped = true;
                    self.faults.count_tx(TxFault::Completion);
                }
            }
            rest = others;
        }
        for packet in rest {
            self.complete(packet, disposition);
        }
    }

    /// Writes the completions of this round and raises their interrupts.
    #[inline]
    pub fn flush(&mut self, now: Instant) {
        if std::mem::take(&mut self.tx_dirty) {
            let queues = self.tx.iter_mut().flatten();
            let rings = queues.map(|queue| (&mut queue.completions, &mut queue.is_stopped));
            let failed = post(rings, &self.memory, |vector| {
                self.vectors.posted(vector, Side::Tx, now, &self.interrupts);
            });
            (0..failed).for_each(|_| self.faults.count_tx(TxFault::Completion));
        }
        if std::mem::take(&mut self.rx_dirty) {
            let queues = self.rx.iter_mut().flatten();
            let rings = queues.map(|queue| (&mut queue.completions, &mut queue.is_stopped));
            let failed = post(rings, &self.memory, |vector| {
                self.vectors.posted(vector, Side::Rx, now, &self.interrupts);
            });
            (0..failed).for_each(|_| self.faults.count_rx(RxFault::Completion));
        }
    }

    /// Puts a frame into a receive queue: `window` has its first bytes with all headers, `payload` the rest.
    /// Checksums that are partial are completed in the window (or behind it), super-frames are cut.
    ///
    /// # Errors
    ///
    /// Why it was dropped, or the first of its segments that was; it is counted.
    #[inline(never)]
    pub fn receive(
        &mut self,
        window: &mut [u8],
        payload: Payload<'_, M>,
        offload: Offload,
    ) -> Result<(), RxDrop> {
        if let Some(result) = self.receive_plain(window, payload, offload) {
            return result;
        }
        let class = classify(window);
        let total = window.len() + payload.length();
        let result = if total > self.scratch.len() {
            self.statistics.rx_overruns += 1;
            Err(RxDrop::TooLong)
        } else if let Some(segmentation) = offload.segmentation {
            self.receive_segments(window, payload, offload.checksum, segmentation, &class)
        } else if needs_payload(window, total, offload.checksum, &class) {
            self.receive_assembled(window, payload, offload.checksum, &class)
        } else {
            let status = status(window, &[], offload.checksum, &class);
            self.put(window, payload, total, status, &class)
        };
        if let Err(drop) = result {
            self.faults.count_drop(drop);
        }
        result
    }

    /// Puts a packet that another function took, whose driver's memory is `memory`, into a receive queue: as
    /// [`Self::receive`] does, and what was found when it was taken is not looked for again.
    ///
    /// # Errors
    ///
    /// As [`Self::receive`].
    #[inline]
    pub fn receive_packet(&mut self, packet: &mut TxPacket, memory: &M) -> Result<(), RxDrop> {
        if let Some(shape) = packet.shape {
            let window = packet.window();
            debug_assert_eq!(
                Shape::of(window, window.len()),
                Some(shape),
                "It was edited to something else"
            );
            if let Some(result) = self.receive_shaped(window, shape, Checksum::Complete) {
                return result;
            }
        }
        let offload = packet.offload();
        let (window, payload) = packet.parts(memory);
        self.receive(window, payload, offload)
    }

    /// Puts a packet of the plain kind into one buffer. `None` with nothing changed: the general way, of which this is
    /// the short cut, has to look.
    #[inline(never)]
    fn receive_plain(
        &mut self,
        window: &[u8],
        payload: Payload<'_, M>,
        offload: Offload,
    ) -> Option<Result<(), RxDrop>> {
        if !payload.is_empty() || offload.segmentation.is_some() {
            return None;
        }
        let shape = Shape::of(window, window.len())?;
        self.receive_shaped(window, shape, offload.checksum)
    }

    /// As [`Self::receive_plain`], of a packet that was found to be whole and of this shape.
    #[inline(always)]
    fn receive_shaped(
        &mut self,
        window: &[u8],
        shape: Shape,
        checksum: Checksum,
    ) -> Option<Result<(), RxDrop>> {
        // The MTU is without the Ethernet header: what is a little below it goes the general way.
        if window.len() > self.mtu {
            return None;
        }
        let plain = Plain::read(window, shape, checksum)?;
        let chooser = self.chooser.as_ref()?;
        let hash = chooser.hash_plain(plain.kind, plain.tuple)?;
        let queue = self.rx.get_mut(usize::from(chooser.queue(hash)?))?.as_mut()?;
        let registers = &self.registers;
        let doorbell = queue.queue.doorbell_offset;
        let tail = || low16(registers.load_u32(doorbell));
        let result = queue.put_whole(&self.memory, tail, window, plain.status, hash)?;
        self.count_put(window.len(), result);
        if let Err(drop) = result {
            self.faults.count_drop(drop);
        }
        Some(result)
    }

    /// The registers and the vector of a queue that was made.
    fn begin(&mut self, doorbell_offset: u64, completions: &CompletionQueue) {
        self.registers.store_u32(doorbell_offset, 0);
        self.registers.store_u32(completions.unmask_offset, 0);
        if let Some(vector) = completions.vector {
            self.vectors.mask(vector);
        }
    }

    /// Takes up to `packets.len()` packets from one queue.
    #[inline]
    fn take(&mut self, index: u16, packets: &mut [TxPacket], left: &mut Left) -> usize {
        let Some(Some(queue)) = self.tx.get_mut(usize::from(index)) else {
            return 0;
        };
        let tail = low16(self.registers.load_u32(queue.queue.doorbell_offset));
        let mut count = 0;
        // Malformed packets count too, so that a round is bounded.
        for _ in 0..packets.len() {
            // Malformed ones are looked at as well, so fewer may be left than there is room for.
            let end = packets.len().min(count + left.looks);
            let rest = packets.get_mut(count..end).unwrap_or_default();
            let is_late = self.swallow > 0;
            let (taken, bytes) =
                queue.take_plain(&self.memory, self.pushed.as_ref(), tail, index, rest, is_late);
            count += taken;
            left.count_plain(taken, bytes);
            self.statistics.tx_packets += u64::try_from(taken).unwrap_or_default();
            self.statistics.tx_bytes += bytes;
            self.tx_dirty |= taken > 0;
            if taken > 0 && queue.is_stopped {
                self.faults.count_tx(TxFault::Completion);
                break;
            }
            let Some(packet) = packets.get_mut(count).filter(|_| !left.is_over()) else {
                break;
            };
            match queue.take(&self.memory, self.pushed.as_ref(), tail, packet) {
                Taken::Packet => {
                    packet.queue = index;
                    left.count(packet);
                    self.statistics.tx_packets += 1;
                    self.statistics.tx_bytes += u64::from(packet.total_bytes);
                    count += 1;
                }
                Taken::Nothing => break,
                Taken::Malformed(fault) => {
                    left.looks -= 1;
                    self.statistics.tx_drops += 1;
                    self.faults.count_tx(fault);
                    self.tx_dirty = true;
                }
                Taken::Stopped(fault) => {
                    left.looks -= 1;
                    self.faults.count_tx(fault);
                    break;
                }
            }
        }
        count
    }

    /// Whether the driver has sent packets that were not taken. One load of a mapped word a queue.
    #[inline]
    pub fn has_packets(&self) -> bool {
        self.tx_active.iter().any(|index| {
            self.tx.get(usize::from(*index)).is_some_and(|queue| {
                queue.as_ref().is_some_and(|queue| {
                    queue.has_work(low16(self.registers.load_u32(queue.queue.doorbell_offset)))
                })
            })
        })
    }

    /// Puts one packet whose checksum is settled.
    #[inline]
    fn put(
        &mut self,
        window: &[u8],
        payload: Payload<'_, M>,
        total: usize,
        status: u32,
        class: &Class,
    ) -> Result<(), RxDrop> {
        let result = self.put_chosen(window, payload, total, status, class);
        self.count_put(total, result);
        result
    }

    #[inline]
    fn count_put(&mut self, total: usize, result: Result<(), RxDrop>) {
        match result {
            Ok(()) => {
                self.rx_dirty = true;
                self.statistics.rx_packets += 1;
                self.statistics.rx_bytes += u64::try_from(total).unwrap_or_default();
            }
            Err(RxDrop::TooLong) => self.statistics.rx_overruns += 1,
            Err(_) => self.statistics.rx_drops += 1,
        }
    }

    #[inline]
    fn put_chosen(
        &mut self,
        window: &[u8],
        payload: Payload<'_, M>,
        total: usize,
        status: u32,
        class: &Class,
    ) -> Result<(), RxDrop> {
        let l2_bytes = if class.vlan_count == 0 { 14 } else { 18 };
        if total > self.mtu + l2_bytes {
            return Err(RxDrop::TooLong);
        }
        let (index, hash) = match &self.chooser {
            Some(chooser) => {
                let hash = chooser.hash(window, class);
                (chooser.queue(hash), hash)
            }
            // Before the driver sets a table up, its first queue gets everything.
            None => (self.rx_active.first().copied(), 0),
        };
        let queue = index.and_then(|index| self.rx.get_mut(usize::from(index)));
        let Some(Some(queue)) = queue else {
            return Err(RxDrop::NoQueue);
        };
        let registers = &self.registers;
        let doorbell = queue.queue.doorbell_offset;
        queue.put(
            &self.memory,
            || low16(registers.load_u32(doorbell)),
            Incoming {
                window,
                payload,
                total,
                status,
                hash,
            },
        )
    }

    /// Puts a packet whose payload must be read for its checksum: through a buffer of our own.
    fn receive_assembled(
        &mut self,
        window: &mut [u8],
        payload: Payload<'_, M>,
        checksum: Checksum,
        class: &Class,
    ) -> Result<(), RxDrop> {
        self.with_bytes(payload, |path, bytes| {
            let mut status = status(window, bytes, checksum, class);
            if let Checksum::Partial { start, offset } = checksum {
                let used = class
                    .end
                    .checked_sub(window.len())
                    .filter(|_| class.end != 0)
                    .map_or(bytes.len(), |end| end.min(bytes.len()));
                let is_done =
                    complete_partial(window, &bytes[..used], usize::from(start), usize::from(offset));
                status = checked(status, class, is_done);
            }
            path.put(
                window,
                Payload::Bytes(bytes),
                window.len() + bytes.len(),
                status,
                class,
            )
        })
    }

    /// Cuts a super-frame and puts its segments.
    fn receive_segments(
        &mut self,
        window: &[u8],
        payload: Payload<'_, M>,
        checksum: Checksum,
        segmentation: Segmentation,
        class: &Class,
    ) -> Result<(), RxDrop> {
        let Checksum::Partial { start, .. } = checksum else {
            self.statistics.rx_drops += 1;
            return Err(RxDrop::Offload);
        };
        let total = window.len() + payload.length();
        let frame = SuperFrame::new(window, total, segmentation, usize::from(start));
        let (Ok(frame), Some((headers, inline))) = (
            frame,
            window.split_at_checked(usize::from(segmentation.header_bytes)),
        ) else {
            self.statistics.rx_drops += 1;
            return Err(RxDrop::Offload);
        };
        self.with_scratch(|path, scratch| {
            let mut buffer = [0; MAX_HEADER_BYTES];
            let (Some((front, rest)), Some(out)) = (
                scratch.split_at_mut_checked(inline.len()),
                buffer.get_mut(..headers.len()),
            ) else {
                path.statistics.rx_drops += 1;
                return Err(RxDrop::Offload);
            };
            front.copy_from_slice(inline);
            if payload.copy(rest).is_err() {
                path.statistics.rx_drops += 1;
                return Err(RxDrop::Source);
            }
            let mut outcome = Ok(());
            for index in 0..frame.segment_count() {
                let bytes = scratch.get(frame.payload_range(index)).unwrap_or_default();
                out.copy_from_slice(headers);
                frame.write_headers(out, index, bytes);
                let status = checked(class.status & !L3_ERROR, class, true);
                let put = path.put(out, Payload::Bytes(bytes), out.len() + bytes.len(), status, class);
                outcome = outcome.and(put);
                if outcome.is_err() {
                    // What is missing for one is missing for the rest, and a sender can ask for thousands.
                    let rest = frame.segment_count() - index - 1;
                    path.statistics.rx_drops += u64::try_from(rest).unwrap_or_default();
                    break;
                }
            }
            outcome
        })
    }

    /// Runs `work` with the payload at hand, copying it when it is remote.
    fn with_bytes(
        &mut self,
        payload: Payload<'_, M>,
        work: impl FnOnce(&mut Self, &[u8]) -> Result<(), RxDrop>,
    ) -> Result<(), RxDrop> {
        if let Payload::Bytes(bytes) = payload {
            return work(self, bytes);
        }
        let length = payload.length();
        self.with_scratch(|path, scratch| {
            let bytes = scratch.get_mut(..length).unwrap_or_default();
            if bytes.len() == length && payload.copy(bytes).is_ok() {
                return work(path, bytes);
            }
            path.statistics.rx_drops += 1;
            Err(RxDrop::Source)
        })
    }

    fn with_scratch(
        &mut self,
        work: impl FnOnce(&mut Self, &mut [u8]) -> Result<(), RxDrop>,
    ) -> Result<(), RxDrop> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = work(self, &mut scratch);
        self.scratch = scratch;
        result
    }

    fn reset(&mut self) {
        self.tx.iter_mut().for_each(|queue| *queue = None);
        self.rx.iter_mut().for_each(|queue| *queue = None);
        self.vectors.reset();
        self.chooser = None;
        self.mtu = NO_MTU;
        self.swallow = 0;
    }

    /// Makes the lists of what exists again.
    fn list_queues(&mut self) {
        self.tx_active.clear();
        self.rx_active.clear();
        self.unmask.clear();
        let indexed = (0..).zip(&self.tx);
        for (index, queue) in indexed {
            let Some(queue) = queue else { continue };
            self.tx_active.push(index);
            let completions = queue.completions.queue;
            self.unmask.extend(
                completions
                    .vector
                    .map(|vector| (completions.unmask_offset, vector)),
            );
        }
        let indexed = (0..).zip(&self.rx);
        for (index, queue) in indexed {
            let Some(queue) = queue else { continue };
            self.rx_active.push(index);
            let completions = queue.completions.queue;
            self.unmask.extend(
                completions
                    .vector
                    .map(|vector| (completions.unmask_offset, vector)),
            );
        }
    }
}

/// Writes the completions that are new in some rings, and says whose vectors want to know. A queue whose ring cannot be
/// written is stopped; returns how many those were.
#[inline]
fn post<'a, M: Memory>(
    rings: impl Iterator<Item = (&'a mut CompletionRing, &'a mut bool)>,
    memory: &M,
    mut posted: impl FnMut(u16),
) -> usize {
    let mut failed = 0;
    for (ring, is_stopped) in rings {
        if !ring.take_fresh() {
            continue;
        }
        if ring.flush(memory).is_err() {
            *is_stopped = true;
            failed += 1;
        } else if let Some(vector) = ring.queue.vector {
            posted(vector);
        }
    }
    failed
}

/// Whether the checksum's work needs bytes that are not in the window.
#[inline]
fn needs_payload(window: &[u8], total: usize, checksum: Checksum, class: &Class) -> bool {
    match checksum {
        Checksum::Partial { .. } => true,
        Checksum::Complete => class.transport.is_some() && class.end > window.len() && total > window.len(),
        Checksum::Trusted | Checksum::Unchecked => false,
    }
}

/// What the last completion says of a packet.
#[inline]
fn status(window: &[u8], payload: &[u8], checksum: Checksum, class: &Class) -> u32 {
    let status = class.status;
    match checksum {
        Checksum::Complete => match class.is_transport_right(window, payload) {
            Some(true) => status | CHECKED,
            Some(false) => status | CHECKED | WRONG,
            None => status,
        },
        Checksum::Trusted => checked(status, class, true),
        Checksum::Partial { .. } | Checksum::Unchecked => status,
    }
}

#[inline]
fn checked(status: u32, class: &Class, is_right: bool) -> u32 {
    if is_right && class.transport.is_some() {
        status | CHECKED
    } else {
        status
    }
}

const L3_ERROR: u32 = RxStatus::new().with_l3_error(true).into_bits();

/// A doorbell counts in 16 bits, whatever was written above them.
#[inline]
fn low16(word: u32) -> u16 {
    u16::try_from(word & 0xffff).unwrap_or_default()
}
