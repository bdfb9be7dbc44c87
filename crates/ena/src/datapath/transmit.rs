//! A transmit queue: from descriptors to a packet.
//!
//! Descriptors are copied in, many at a time, and only the copy is looked at. A driver that lies gets its
//! packet dropped and completed where that makes sense, and its queue stopped where the ring itself cannot be
//! trusted any more (then it sees no completions, and resets).

use trinic_pci::{DmaFault, Intent, Memory, SharedMemory};
use trinic_wire::checksum::Sum;
use trinic_wire::plain::Shape;
use zerocopy::FromBytes;

use super::classify::be16;
use super::completion::CompletionRing;
use super::packet::{
    Checksum, Due, Fragment, MAX_FRAME_BYTES, MAX_TX_BUFFERS, Offload, Segmentation, TxPacket, WINDOW_BYTES,
};
use super::segment::{SuperFrame, write_ipv4_checksum};
use super::{Placement, TxFault, TxQueue};
use crate::spec::descriptor::{DESCRIPTOR_BYTES, L3_IPV6, L4_TCP, TxControl, TxDescriptor, TxRequest};

/// Bytes of descriptors or pushed entries that are copied in at once.
const CACHE_BYTES: usize = 2048;

/// Descriptors of a packet that are looked at before its ring is taken for nonsense, so that a turn of a queue
/// reads a bounded number of them however its doorbell moves. More than three times what a packet may have: one
/// that is only too long is completed, and its queue goes on.
const CHAIN_MOST: usize = 64;

/// The bytes of so many packets are asked for together, from so many to twice as many before their turn: the driver that wrote
/// them runs on another processor, whose cache has them.
const AHEAD: usize = 8;

/// First and last descriptor of a packet in one.
const WHOLE: u32 = TxControl::new().with_first(true).with_last(true).into_bits();
const META: u32 = TxControl::new().with_meta(true).into_bits();
const PHASE: u32 = TxControl::new().with_phase(true).into_bits();
/// Requests that need more than the packet's bytes.
const OFFLOADS: u32 = TxRequest::new()
    .with_l3_checksum(true)
    .with_l4_checksum(true)
    .with_segment(true)
    .into_bits();
/// No frame is shorter than an Ethernet header. Source: IEEE 802.3.
const ETHERNET_BYTES: usize = 14;

/// The device's end of a transmit queue.
#[derive(Debug)]
pub(super) struct Transmitter {
    pub(super) queue: TxQueue,
    pub(super) completions: CompletionRing,
    /// The next entry to read, counted without wrapping at the ring's end.
    head: u16,
    /// Packets whose completion is due.
    open: usize,
    /// The tail at which the last packet was found unfinished: no use to look again before it moves.
    unfinished_at: Option<u16>,
    /// The ring cannot be trusted.
    pub(super) is_stopped: bool,
    meta: Meta,
    cache: Cache,
    /// Bytes of an entry, descriptors in a packet's first entry and in its later ones.
    form: Form,
}

/// What taking a packet came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// A packet.
    Packet,
    /// None is there.
    Nothing,
    /// One that makes no sense was passed over, and completed if its name is known.
    Malformed(TxFault),
    /// The ring makes no sense.
    Stopped(TxFault),
}

/// The offsets that a meta descriptor gave.
#[derive(Debug, Clone, Copy, Default)]
struct Meta {
    l3_offset: u8,
    l3_bytes: u8,
    l4_words: u8,
    mss: u16,
}

#[derive(Debug, Clone, Copy)]
struct Form {
    entry_bytes: usize,
    first: usize,
    later: usize,
    /// Room for a pushed header in a packet's first entry.
    header_room: usize,
}

/// Entries copied in.
#[derive(Debug)]
struct Cache {
    start: u16,
    count: u16,
    bytes: [u8; CACHE_BYTES],
}

/// The descriptors of one packet, as far as they were read.
struct Gathered {
    first: TxDescriptor,
    meta: Option<Meta>,
    /// Data descriptors.
    count: usize,
    total: u64,
}

impl Transmitter {
    pub(super) fn new(queue: TxQueue) -> Self {
        let form = match queue.placement {
            Placement::Host(_) => Form {
                entry_bytes: DESCRIPTOR_BYTES,
                first: 1,
                later: 1,
                header_room: 0,
            },
            Placement::Device(llq) => {
                let entry_bytes = usize::from(llq.entry_bytes).clamp(DESCRIPTOR_BYTES, CACHE_BYTES);
                let slots = entry_bytes / DESCRIPTOR_BYTES;
                let first = usize::from(llq.descriptors_before_header).clamp(1, slots);
                Form {
                    entry_bytes,
                    first,
                    later: if llq.several_per_entry { slots } else { 1 },
                    header_room: (entry_bytes - first * DESCRIPTOR_BYTES).min(WINDOW_BYTES),
                }
            }
        };
        Self {
            completions: CompletionRing::new(queue.completions),
            queue,
            head: 0,
            open: 0,
            unfinished_at: None,
            is_stopped: false,
            meta: Meta::default(),
            cache: Cache {
                start: 0,
                count: 0,
                bytes: [0; CACHE_BYTES],
            },
            form,
        }
    }

    /// Whether the driver has written something that was not looked at.
    #[inline]
    pub(super) fn has_work(&self, tail: u16) -> bool {
        tail != self.head && !self.is_stopped && self.unfinished_at != Some(tail)
    }

    /// Takes the next packet up to the driver's tail.
    ///
    /// Per packet, without lock or allocation; one read of a batch of descriptors, one of the window.
    #[inline]
    pub(super) fn take<M: Memory, R: SharedMemory>(
        &mut self,
        memory: &M,
        pushed: Option<&R>,
        tail: u16,
        packet: &mut TxPacket,
    ) -> Taken {
        if !self.has_work(tail) {
            return Taken::Nothing;
        }
        let used = tail.wrapping_sub(self.head);
        if used > self.queue.depth {
            return self.stop(TxFault::Doorbell);
        }
        let start = self.head;
        let gathered = match self.gather(memory, pushed, tail, packet) {
            Ok(Some(gathered)) => gathered,
            Ok(None) if used == self.queue.depth => return self.stop(TxFault::Endless),
            Ok(None) => {
                self.head = start;
                self.unfinished_at = Some(tail);
                return Taken::Nothing;
            }
            Err(Refusal::Stop(fault)) => return self.stop(fault),
            Err(Refusal::Skip(fault)) => return Taken::Malformed(fault),
            Err(Refusal::Complete(fault, request_id)) => return self.refuse(memory, request_id, fault),
        };
        packet.request_id = gathered.first.request_id();
        packet.head = self.head;
        match self.finish(memory, &gathered, packet) {
            Ok(()) => {
                packet.due = Due::Completion;
                self.open += 1;
                Taken::Packet
            }
            Err(fault) => self.refuse(memory, packet.request_id, fault),
        }
    }

    /// Takes packets that are one descriptor each, ask for nothing, and fit the window: what nearly every small one is.
    /// Returns how many, and their bytes. It ends where [`Self::take`] has to look, and changes nothing there but the window.
    ///
    /// All their bytes are copied. So each is completed here, while it is at hand, unless `is_late` or one before it still waits
    /// for its completion: those of a queue are in order. When the ring of completions is gone the queue is stopped, which is for the
    /// caller to find.
    #[inline]
    pub(super) fn take_plain<M: Memory, R: SharedMemory>(
        &mut self,
        memory: &M,
        pushed: Option<&R>,
        tail: u16,
        index: u16,
        packets: &mut [TxPacket],
        is_late: bool,
    ) -> (usize, u64) {
        let (mut count, mut bytes) = (0, 0);
        if self.form.header_room != 0
            || !self.has_work(tail)
            || tail.wrapping_sub(self.head) > self.queue.depth
        {
            return (count, bytes);
        }
        let depth = self.queue.depth;
        let is_late = is_late || self.open > 0;
        let mut entry = self.head;
        for packet in packets {
            if entry == tail || self.fill(memory, pushed, entry, tail).is_err() {
                break;
            }
            let Some(descriptor) = self.cache.whole(entry) else {
                break;
            };
            self.cache.look_ahead(memory, entry);
            let phase = if entry & depth == 0 { PHASE } else { 0 };
            let control = descriptor.control();
            let length = usize::from(control.length());
            if control.into_bits() & (WHOLE | META | PHASE) != WHOLE | phase
                || descriptor.request().into_bits() & OFFLOADS != 0
                || length < ETHERNET_BYTES
            {
                break;
            }
            let Some(window) = packet.window.get_mut(..length) else {
                break;
            };
            if memory.read(descriptor.address(), window).is_err() {
                break;
            }
            entry = entry.wrapping_add(1);
            packet.shape = Shape::of(window, length);
            packet.window_bytes = length;
            packet.total_bytes = u32::from(control.length());
            packet.fragment_first = 0;
            packet.fragment_count = 0;
            packet.offload = Offload::default();
            packet.request_id = descriptor.request_id();
            packet.queue = index;
            packet.head = entry;
            bytes += u64::from(control.length());
            count += 1;
            if is_late {
                packet.due = Due::Completion;
                self.open += 1;
                continue;
            }
            packet.due = Due::Disposition;
            if self.push(memory, packet.request_id, entry).is_err() {
                self.is_stopped = true;
                break;
            }
        }
        if count > 0 {
            self.head = entry;
            self.unfinished_at = None;
        }
        (count, bytes)
    }

    /// Adds the completion of a packet, if it is due.
    #[inline]
    pub(super) fn complete<M: Memory>(&mut self, memory: &M, packet: &mut TxPacket) -> Result<(), DmaFault> {
        if std::mem::replace(&mut packet.due, Due::Nothing) != Due::Completion {
            return Ok(());
        }
        self.open = self.open.saturating_sub(1);
        self.push(memory, packet.request_id, packet.head)
    }

    /// As [`Self::complete`] of one whose completion is to be lost.
    pub(super) fn swallow(&mut self, packet: &mut TxPacket) {
        packet.due = Due::Nothing;
        self.open = self.open.saturating_sub(1);
    }

    #[inline]
    fn push<M: Memory>(&mut self, memory: &M, request_id: u16, head: u16) -> Result<(), DmaFault> {
        let completion = crate::spec::descriptor::TxCompletion {
            request_id: request_id.into(),
            head: head.into(),
            queue: self.completions.queue.index.into(),
            ..Default::default()
        };
        self.completions.push_tx(memory, completion)
    }

    #[cold]
    fn stop(&mut self, fault: TxFault) -> Taken {
        self.is_stopped = true;
        Taken::Stopped(fault)
    }

    #[cold]
    fn refuse<M: Memory>(&mut self, memory: &M, request_id: u16, fault: TxFault) -> Taken {
        match self.push(memory, request_id, self.head) {
            Ok(()) => Taken::Malformed(fault),
            Err(_) => self.stop(TxFault::Completion),
        }
    }

    /// Reads the descriptors of one packet and moves the head behind them; `None` when the last one is not
    /// there yet.
    #[inline]
    fn gather<M: Memory, R: SharedMemory>(
        &mut self,
        memory: &M,
        pushed: Option<&R>,
        tail: u16,
        packet: &mut TxPacket,
    ) -> Result<Option<Gathered>, Refusal> {
        let mut entry = self.head;
        let mut slot = 0;
        let mut slots = self.form.first;
        let mut at_start = true;
        let mut gathered = Gathered {
            first: TxDescriptor::default(),
            meta: None,
            count: 0,
            total: 0,
        };
        loop {
            if entry == tail {
                return Ok(None);
            }
            self.fill(memory, pushed, entry, tail)?;
            if at_start && self.form.header_room != 0 {
                self.copy_header(entry, packet);
            }
            let descriptor = self.cache.descriptor(entry, slot, self.form.entry_bytes);
            let control = descriptor.control();
            if control.phase() != (entry & self.queue.depth == 0) {
                return Err(Refusal::Stop(TxFault::Phase));
            }
            if control.first() != at_start {
                self.head = if at_start || slot != 0 {
                    entry.wrapping_add(1)
                } else {
                    entry
                };
                return Err(gathered.refusal(TxFault::First));
            }
            slot += 1;
            if slot == slots {
                slot = 0;
                slots = self.form.later;
                entry = entry.wrapping_add(1);
            }
            if control.meta() {
                if !at_start {
                    self.head = after(entry, slot);
                    return Err(gathered.refusal(TxFault::Meta));
                }
                gathered.meta = self.remember(&descriptor);
            } else {
                gathered.add(&descriptor, packet);
            }
            at_start = false;
            if control.last() {
                break;
            }
            if gathered.count == CHAIN_MOST {
                return Err(Refusal::Stop(TxFault::Endless));
            }
        }
        self.head = after(entry, slot);
        self.unfinished_at = None;
        Ok(Some(gathered))
    }

    /// Makes sure that an entry is in the cache.
    #[inline]
    fn fill<M: Memory, R: SharedMemory>(
        &mut self,
        memory: &M,
        pushed: Option<&R>,
        entry: u16,
        tail: u16,
    ) -> Result<(), Refusal> {
        if entry.wrapping_sub(self.cache.start) < self.cache.count {
            return Ok(());
        }
        self.refill(memory, pushed, entry, tail)
    }

    /// Copies entries in, from this one on. Once for many packets, and so not in the way of each.
    #[inline(never)]
    fn refill<M: Memory, R: SharedMemory>(
        &mut self,
        memory: &M,
        pushed: Option<&R>,
        entry: u16,
        tail: u16,
    ) -> Result<(), Refusal> {
        let index = entry & (self.queue.depth - 1);
        let room = u16::try_from(CACHE_BYTES / self.form.entry_bytes).unwrap_or(1);
        let count = tail.wrapping_sub(entry).min(self.queue.depth - index).min(room);
        let length = usize::from(count) * self.form.entry_bytes;
        let Some(into) = self.cache.bytes.get_mut(..length) else {
            return Err(Refusal::Stop(TxFault::Ring));
        };
        self.cache.count = 0;
        let offset = u64::from(index) * u64::try_from(self.form.entry_bytes).unwrap_or_default();
        match (self.queue.placement, pushed) {
            (Placement::Host(base), _) => memory
                .read(base.wrapping_add(offset), into)
                .map_err(|_| Refusal::Stop(TxFault::Ring))?,
            (Placement::Device(llq), Some(pushed)) => pushed.read(llq.offset.wrapping_add(offset), into),
            (Placement::Device(_), None) => return Err(Refusal::Stop(TxFault::Ring)),
        }
        self.cache.start = entry;
        self.cache.count = count;
        if self.form.entry_bytes == DESCRIPTOR_BYTES {
            self.cache.prefetch(memory, 0);
        }
        Ok(())
    }

    /// Copies all that may be a pushed header into the window: how much it is stands in a descriptor that may
    /// come in a later entry.
    #[inline]
    fn copy_header(&self, entry: u16, packet: &mut TxPacket) {
        let at = usize::from(entry.wrapping_sub(self.cache.start)) * self.form.entry_bytes
            + self.form.first * DESCRIPTOR_BYTES;
        let room = self.form.header_room;
        if let (Some(from), Some(to)) = (self.cache.bytes.get(at..at + room), packet.window.get_mut(..room)) {
            to.copy_from_slice(from);
        }
    }

    /// The values of a meta descriptor; remembered for later packets if it says so.
    #[inline]
    fn remember(&mut self, descriptor: &TxDescriptor) -> Option<Meta> {
        let control = descriptor.meta_control();
        if !control.valid() || !control.extended() {
            return None;
        }
        let layout = descriptor.meta_layout();
        let meta = Meta {
            l3_offset: layout.l3_offset(),
            l3_bytes: layout.l3_bytes(),
            l4_words: layout.l4_words(),
            mss: u16::from(control.mss_high()) << 10 | layout.mss_low(),
        };
        if control.store() && !self.queue.meta_caching_disabled {
            self.meta = meta;
        }
        Some(meta)
    }

    /// Fills the window and works out what the driver asks for.
    #[inline]
    fn finish<M: Memory>(
        &mut self,
        memory: &M,
        gathered: &Gathered,
        packet: &mut TxPacket,
    ) -> Result<(), TxFault> {
        if gathered.count > MAX_TX_BUFFERS {
            return Err(TxFault::Buffers);
        }
        let header_bytes = match self.queue.placement {
            Placement::Host(_) => 0,
            Placement::Device(_) => usize::from(gathered.first.tail().header_bytes()),
        };
        if header_bytes > self.form.header_room {
            return Err(TxFault::Header);
        }
        let mut fragment_first = 0;
        packet.fragment_count = gathered.count;
        let mut total = gathered.total;
        if let (true, Some(fragment)) = (header_bytes != 0, packet.fragments.first_mut()) {
            // Behind a pushed header a length of 0 means what it says: everything was pushed.
            if gathered.first.control().length() == 0 {
                total -= u64::from(fragment.length);
                fragment_first = 1;
            }
            total += u64::try_from(header_bytes).unwrap_or(u64::MAX);
        }
        packet.total_bytes = u32::try_from(total)
            .ok()
            .filter(|total| (14..=MAX_FRAME_BYTES).contains(total))
            .ok_or(TxFault::Length)?;
        let window_bytes = packet.total_bytes().min(WINDOW_BYTES);
        let mut at = header_bytes;
        while at < window_bytes {
            let Some(fragment) = packet.fragments.get_mut(fragment_first) else {
                return Err(TxFault::Length);
            };
            let length = usize::try_from(fragment.length)
                .unwrap_or(usize::MAX)
                .min(window_bytes - at);
            let into = packet.window.get_mut(at..at + length).ok_or(TxFault::Length)?;
            memory.read(fragment.address, into).map_err(|_| TxFault::Buffer)?;
            at += length;
            let taken = u32::try_from(length).unwrap_or(u32::MAX);
            fragment.address = fragment.address.wrapping_add(u64::from(taken));
            fragment.length -= taken;
            if fragment.length == 0 {
                fragment_first += 1;
            }
        }
        packet.fragment_first = fragment_first;
        packet.window_bytes = window_bytes;
        packet.shape = None;
        packet.offload = Offload::default();
        let request = gathered.first.request();
        if request.l4_checksum() || request.l3_checksum() || request.segment() {
            let stored = (!self.queue.meta_caching_disabled).then_some(self.meta);
            let meta = gathered.meta.or(stored).unwrap_or_default();
            packet.offload = offload(request, meta, packet)?;
        }
        Ok(())
    }
}

impl Gathered {
    #[inline]
    fn add(&mut self, descriptor: &TxDescriptor, packet: &mut TxPacket) {
        let length = match descriptor.control().length() {
            0 => 0x1_0000,
            length => u32::from(length),
        };
        if self.count == 0 {
            self.first = *descriptor;
        }
        if let Some(fragment) = packet.fragments.get_mut(self.count) {
            *fragment = Fragment {
                address: descriptor.address(),
                length,
            };
        }
        self.count += 1;
        self.total += u64::from(length);
    }

    /// A packet whose first data descriptor was seen has a name and can be completed.
    #[cold]
    fn refusal(&self, fault: TxFault) -> Refusal {
        if self.count == 0 {
            Refusal::Skip(fault)
        } else {
            Refusal::Complete(fault, self.first.request_id())
        }
    }
}

impl Cache {
    /// A descriptor that is all of its entry, where it is.
    #[inline]
    fn whole(&self, entry: u16) -> Option<&TxDescriptor> {
        let (entries, _) = self.bytes.as_chunks::<DESCRIPTOR_BYTES>();
        let bytes = entries.get(usize::from(entry.wrapping_sub(self.start)))?;
        Some(zerocopy::transmute_ref!(bytes))
    }

    /// At every [`AHEAD`]th entry asks for the bytes of those behind the next ones.
    #[inline(always)]
    fn look_ahead<M: Memory>(&self, memory: &M, entry: u16) {
        let at = usize::from(entry.wrapping_sub(self.start));
        if at.is_multiple_of(AHEAD) {
            self.prefetch(memory, at + AHEAD);
        }
    }

    /// Asks for the bytes of [`AHEAD`] packets that are one entry each.
    #[inline(never)]
    fn prefetch<M: Memory>(&self, memory: &M, first: usize) {
        let (entries, _) = self.bytes.as_chunks::<DESCRIPTOR_BYTES>();
        let end = usize::from(self.count).min(first + AHEAD);
        let group = entries.get(first..end).unwrap_or_default();
        let descriptors = group
            .iter()
            .map(|bytes| -> &TxDescriptor { zerocopy::transmute_ref!(bytes) });
        memory.prefetch(descriptors.map(TxDescriptor::address), Intent::Read);
    }

    #[inline]
    fn descriptor(&self, entry: u16, slot: usize, entry_bytes: usize) -> TxDescriptor {
        let at = usize::from(entry.wrapping_sub(self.start)) * entry_bytes + slot * DESCRIPTOR_BYTES;
        self.bytes
            .get(at..at + DESCRIPTOR_BYTES)
            .and_then(|bytes| TxDescriptor::read_from_bytes(bytes).ok())
            .unwrap_or_default()
    }
}

/// What to do about descriptors that make no sense.
enum Refusal {
    Stop(TxFault),
    Skip(TxFault),
    Complete(TxFault, u16),
}

/// A packet starts at an entry of its own.
#[inline]
fn after(entry: u16, slot: usize) -> u16 {
    if slot == 0 { entry } else { entry.wrapping_add(1) }
}

/// What the driver asks for, in the form that the pipeline and every receiver use: the IPv4 checksum and the
/// pseudo header's sum are computed here, and the rest is a partial checksum.
fn offload(request: TxRequest, meta: Meta, packet: &mut TxPacket) -> Result<Offload, TxFault> {
    let total = packet.total_bytes();
    let l3 = usize::from(meta.l3_offset);
    let start = l3 + usize::from(meta.l3_bytes);
    let is_ipv6 = request.l3_protocol() == L3_IPV6 & 0xf;
    let is_segmented = request.segment();
    let window = packet.window_mut();
    if l3 < 14 || start > window.len() {
        return Err(TxFault::Offload);
    }
    if is_segmented {
        write_lengths(window, total, l3, is_ipv6)?;
    }
    if request.l3_checksum() && !is_ipv6 {
        let header = window.get_mut(l3..start).filter(|header| header.len() >= 20);
        write_ipv4_checksum(header.ok_or(TxFault::Offload)?);
    }
    if !request.l4_checksum() && !is_segmented {
        return Ok(Offload::default());
    }
    let is_tcp = request.l4_protocol() == L4_TCP;
    if is_segmented && !is_tcp {
        return Err(TxFault::Segmentation);
    }
    let offset = if is_tcp { 16 } else { 6 };
    if !request.l4_partial() || is_segmented {
        let length = total.checked_sub(start).ok_or(TxFault::Offload)?;
        let protocol = if is_tcp { 6 } else { 17 };
        let pseudo = pseudo(window, l3, is_ipv6, protocol, length).ok_or(TxFault::Offload)?;
        if let Some(field) = window.get_mut(start + offset..start + offset + 2) {
            field.copy_from_slice(&pseudo.to_be_bytes());
        }
    }
    if be16(window, start + offset).is_none() {
        return Err(TxFault::Offload);
    }
    let segmentation = is_segmented.then(|| Segmentation {
        is_ipv6,
        mss: meta.mss,
        header_bytes: u16::try_from(start).unwrap_or(u16::MAX) + u16::from(meta.l4_words) * 4,
    });
    if let Some(segmentation) = segmentation {
        SuperFrame::new(window, total, segmentation, start).map_err(|_| TxFault::Segmentation)?;
    }
    Ok(Offload {
        checksum: Checksum::Partial {
            start: u16::try_from(start).unwrap_or(u16::MAX),
            offset: u16::try_from(offset).unwrap_or(u16::MAX),
        },
        segmentation,
    })
}

/// A super-frame's own length, which a driver need not fill in.
fn write_lengths(window: &mut [u8], total: usize, l3: usize, is_ipv6: bool) -> Result<(), TxFault> {
    let (at, skipped) = if is_ipv6 { (l3 + 4, l3 + 40) } else { (l3 + 2, l3) };
    let length = total
        .checked_sub(skipped)
        .and_then(|length| u16::try_from(length).ok())
        .ok_or(TxFault::Length)?;
    let field = window.get_mut(at..at + 2).ok_or(TxFault::Offload)?;
    field.copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn pseudo(window: &[u8], l3: usize, is_ipv6: bool, protocol: u16, length: usize) -> Option<u16> {
    let addresses = if is_ipv6 {
        window.get(l3 + 8..l3 + 40)?
    } else {
        window.get(l3 + 12..l3 + 20)?
    };
    let length = u32::try_from(length).ok()?;
    Some(Sum::of(addresses).word(protocol).double_word(length).folded())
}
