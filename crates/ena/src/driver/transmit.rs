//! The driver's transmit queue.

use std::sync::Arc;

use trinic_pci::{Bus, Intent, Memory};
use zerocopy::{FromBytes, IntoBytes};

use super::error::QueueError;
use super::frame::{Buffer, Frame, Piece, Request, TransportChecksum};
use super::ring::{BATCH, CompletionReader, zero};
use crate::datapath::Llq;
use crate::spec::descriptor::{
    DESCRIPTOR_BYTES, L3_IPV4, L3_IPV6, L4_TCP, L4_UDP, MetaControl, MetaLayout, TxCompletion, TxControl,
    TxDescriptor, TxRequest,
};

/// Bytes of a transmit completion.
pub(super) const TX_COMPLETION_BYTES: usize = size_of::<TxCompletion>();

/// Bytes of the longest entry of a low-latency queue.
const MAX_ENTRY_BYTES: usize = 256;

/// A transmit queue, for one thread at a time.
#[derive(Debug)]
pub struct TxQueue<B> {
    bus: Arc<B>,
    ring: u64,
    depth: u16,
    pub(super) doorbell: u64,
    pub(super) llq: Option<Llq>,
    pub(super) max_buffers: usize,
    pub(super) max_header: usize,
    pub(super) meta_caching: bool,
    pub(super) completions: CompletionReader,
    tail: u16,
    rung: u16,
    /// Entries that the device has not completed.
    used: u16,
    /// Packets under way, by request id.
    under_way: Vec<Option<UnderWay>>,
    free: Vec<u16>,
    /// The meta descriptor that the device remembers.
    meta: Option<MetaLayoutAndMss>,
    staging: Staging,
}

#[derive(Debug)]
struct UnderWay {
    first: Buffer,
    rest: Vec<Piece>,
    entries: u16,
}

/// Descriptors or one entry that were not written yet.
#[derive(Debug)]
struct Staging {
    bytes: [u8; BATCH * DESCRIPTOR_BYTES],
    /// Host placement: descriptors in `bytes`, which go to the ring in one piece.
    count: usize,
    /// Low-latency queue: descriptors in the current entry.
    slot: usize,
    slots: usize,
}

/// The values of a meta descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MetaLayoutAndMss {
    layout: MetaLayout,
    mss: u16,
}

impl<B: Bus> TxQueue<B> {
    pub(super) fn new(bus: Arc<B>, ring: u64, completions: u64, depth: u16) -> Self {
        Self {
            bus,
            ring,
            depth,
            doorbell: 0,
            llq: None,
            max_buffers: 1,
            max_header: 0,
            meta_caching: true,
            completions: CompletionReader::new(completions, depth, TX_COMPLETION_BYTES, 1 << 24),
            tail: 0,
            rung: 0,
            used: 0,
            under_way: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
            meta: None,
            staging: Staging {
                bytes: [0; BATCH * DESCRIPTOR_BYTES],
                count: 0,
                slot: 0,
                slots: 0,
            },
        }
    }

    /// Starts again after a reset, with an empty ring; buffers of packets that were under way are given back.
    pub(super) fn restart(&mut self, buffers: &mut Vec<Buffer>) -> Result<(), QueueError> {
        for packet in self.under_way.iter_mut().filter_map(Option::take) {
            buffers.push(packet.first);
            buffers.extend(packet.rest.into_iter().map(|piece| piece.buffer));
        }
        self.free = (0..self.depth).rev().collect();
        (self.tail, self.rung, self.used) = (0, 0, 0);
        self.meta = None;
        self.staging.count = 0;
        self.staging.slot = 0;
        let memory = self.bus.memory();
        zero(memory, self.ring, usize::from(self.depth) * DESCRIPTOR_BYTES)?;
        self.completions.restart(memory)?;
        Ok(())
    }

    /// Sends frames from the front of `frames`, as many as there is room for, and rings the doorbell once;
    /// returns how many. Those are gone from `frames`; their buffers come back through [`Self::reclaim`].
    ///
    /// # Errors
    ///
    /// When a frame cannot be sent (it is the first of `frames` then, and those before it were sent), or the
    /// bus is gone.
    #[inline]
    pub fn transmit(&mut self, frames: &mut Vec<Frame>) -> Result<usize, QueueError> {
        let mut count = 0;
        let mut used = self.used;
        let mut verdict = Ok(());
        for frame in frames.iter().take(self.free.len()) {
            verdict = self.check(frame);
            let most = self.entries(frame);
            if verdict.is_err() || most >= self.depth - used {
                break;
            }
            used += most;
            count += 1;
        }
        for frame in frames.drain(..count) {
            if let Some(id) = self.free.pop() {
                self.send(id, frame)?;
            }
        }
        self.write_staged()?;
        if self.rung != self.tail {
            self.bus.register_write(0, self.doorbell, u32::from(self.tail))?;
            self.rung = self.tail;
        }
        verdict.map(|()| count)
    }

    /// Takes completions and puts the buffers of the packets at the end of `buffers`; returns how many packets
    /// were completed.
    ///
    /// # Errors
    ///
    /// When the device lies. The queue cannot be used any more then but by a reset.
    #[inline]
    pub fn reclaim(&mut self, buffers: &mut Vec<Buffer>) -> Result<usize, QueueError> {
        let mut count = 0;
        loop {
            let bytes = self.completions.take(self.bus.memory(), BATCH)?;
            if bytes.is_empty() {
                return Ok(count);
            }
            for entry in bytes.chunks_exact(TX_COMPLETION_BYTES) {
                let Ok(completion) = TxCompletion::read_from_bytes(entry) else {
                    break;
                };
                if completion.flags & 0xc0 != 0 {
                    return Err(QueueError::TxMalformed(completion.flags));
                }
                let id = completion.request_id.get();
                let packet = self
                    .under_way
                    .get_mut(usize::from(id))
                    .and_then(Option::take)
                    .ok_or(QueueError::TxRequestId(id))?;
                self.free.push(id);
                self.used -= packet.entries;
                // Whoever takes it will write it, and the device has its line.
                let address = std::iter::once(packet.first.address);
                self.bus.memory().prefetch(address, Intent::Write);
                buffers.push(packet.first);
                if !packet.rest.is_empty() {
                    buffers.extend(packet.rest.into_iter().map(|piece| piece.buffer));
                }
                count += 1;
            }
        }
    }

    /// Packets that the device has not completed.
    pub fn under_way(&self) -> usize {
        usize::from(self.depth) - self.free.len()
    }

    /// The memory that its buffers are in.
    pub fn memory(&self) -> &B::Memory {
        self.bus.memory()
    }

    pub(super) fn geometry(&self) -> (u64, u64, u16) {
        (self.ring, self.completions.base, self.depth)
    }

    /// Entries that a frame takes at most.
    #[inline]
    fn entries(&self, frame: &Frame) -> u16 {
        let meta = usize::from(frame.request.ipv4_checksum || frame.request.checksum.is_some());
        let descriptors = meta + 1 + frame.rest.len();
        let entries = match self.llq {
            None => descriptors,
            Some(llq) => {
                let later = if llq.several_per_entry {
                    usize::from(llq.entry_bytes) / DESCRIPTOR_BYTES
                } else {
                    1
                };
                let behind = descriptors.saturating_sub(usize::from(llq.descriptors_before_header));
                1 + behind.div_ceil(later)
            }
        };
        u16::try_from(entries).unwrap_or(u16::MAX)
    }

    /// Whether the frame is one that can be described.
    #[inline]
    fn check(&self, frame: &Frame) -> Result<(), QueueError> {
        if frame.rest.len() >= self.max_buffers {
            return Err(QueueError::Frame("it has too many pieces"));
        }
        let pieces = || std::iter::once(&frame.first).chain(&frame.rest);
        if pieces().any(|piece| piece.length == 0 || piece.length > 0xffff || !piece.is_inside()) {
            return Err(QueueError::Frame(
                "a piece is empty, or beyond its buffer or 65,535 bytes",
            ));
        }
        if frame.request.segmentation.is_some() && frame.request.checksum != Some(TransportChecksum::Tcp) {
            return Err(QueueError::Frame("segments need TCP's checksum"));
        }
        Ok(())
    }

    #[inline]
    fn send(&mut self, id: u16, frame: Frame) -> Result<(), QueueError> {
        let start = self.tail.wrapping_add(self.staged_entries());
        let header = match self.llq {
            Some(llq) => self.begin_entry(&llq, &frame)?,
            None => 0,
        };
        let has_meta = self.put_meta(&frame.request)?;
        let request = tx_request(&frame.request).with_request_low(id & 0x3ff);
        let last = frame.rest.len();
        for (index, piece) in std::iter::once(&frame.first).chain(&frame.rest).enumerate() {
            let pushed = if index == 0 { header } else { 0 };
            let length = piece.length - u32::from(pushed);
            let control = TxControl::new()
                .with_length(u16::try_from(length).unwrap_or_default())
                .with_high(u8::try_from(id >> 10).unwrap_or_default())
                .with_phase(self.phase())
                .with_first(index == 0 && !has_meta)
                .with_last(index == last)
                .with_completion(index == 0);
            let request = if index == 0 { request } else { TxRequest::new() };
            let address = if length == 0 {
                0
            } else {
                piece.address().wrapping_add(u64::from(pushed))
            };
            self.put(TxDescriptor::data(control, request, address, pushed))?;
        }
        self.end_entry()?;
        let entries = self.tail.wrapping_add(self.staged_entries()).wrapping_sub(start);
        self.used += entries;
        if let Some(place) = self.under_way.get_mut(usize::from(id)) {
            *place = Some(UnderWay {
                first: frame.first.buffer,
                rest: frame.rest,
                entries,
            });
        }
        Ok(())
    }

    /// Writes a meta descriptor where the frame needs one that the device does not remember.
    #[inline]
    fn put_meta(&mut self, request: &Request) -> Result<bool, QueueError> {
        let wanted = (request.ipv4_checksum || request.checksum.is_some()).then(|| meta(request));
        if self.meta_caching {
            if wanted.is_none() || wanted == self.meta {
                return Ok(false);
            }
            self.meta = wanted;
        }
        let Some(meta) = wanted else {
            return Ok(false);
        };
        let control = MetaControl::new()
            .with_valid(true)
            .with_extended(true)
            .with_store(true)
            .with_meta(true)
            .with_phase(self.phase())
            .with_first(true)
            .with_mss_high(u8::try_from(meta.mss >> 10 & 0xf).unwrap_or_default());
        self.put(TxDescriptor::meta(control, meta.layout))?;
        Ok(true)
    }

    /// Starts a low-latency queue's entry with the first bytes of the frame; returns how many.
    fn begin_entry(&mut self, llq: &Llq, frame: &Frame) -> Result<u8, QueueError> {
        let before = usize::from(llq.descriptors_before_header);
        let at = before * DESCRIPTOR_BYTES;
        let room = usize::from(llq.entry_bytes) - at;
        let header = usize::try_from(frame.first.length)
            .unwrap_or(usize::MAX)
            .min(room)
            .min(self.max_header)
            .min(usize::from(u8::MAX));
        self.clear_entry();
        self.staging.slot = 0;
        self.staging.slots = before;
        let into = self.staging.bytes.get_mut(at..at + header).unwrap_or_default();
        self.bus.memory().read(frame.first.address(), into)?;
        Ok(u8::try_from(header).unwrap_or(u8::MAX))
    }

    /// What is not written in a low-latency queue's entry is zero.
    fn clear_entry(&mut self) {
        if let Some(entry) = self.staging.bytes.get_mut(..MAX_ENTRY_BYTES) {
            entry.fill(0);
        }
    }

    /// Descriptors that are staged for a host ring.
    #[inline]
    fn staged_entries(&self) -> u16 {
        u16::try_from(self.staging.count).unwrap_or_default()
    }

    /// The phase of the next descriptor.
    #[inline]
    fn phase(&self) -> bool {
        self.tail.wrapping_add(self.staged_entries()) & self.depth == 0
    }

    #[inline]
    fn put(&mut self, descriptor: TxDescriptor) -> Result<(), QueueError> {
        let slot = if self.llq.is_some() {
            self.staging.slot
        } else {
            self.staging.count
        };
        let at = slot * DESCRIPTOR_BYTES;
        if let Some(to) = self.staging.bytes.get_mut(at..at + DESCRIPTOR_BYTES) {
            to.copy_from_slice(descriptor.as_bytes());
        }
        if self.llq.is_some() {
            self.staging.slot += 1;
            if self.staging.slot == self.staging.slots {
                self.end_entry()?;
                self.clear_entry();
            }
            return Ok(());
        }
        self.staging.count += 1;
        let next = self.tail.wrapping_add(self.staged_entries());
        if self.staging.count == BATCH || next & (self.depth - 1) == 0 {
            return self.write_staged();
        }
        Ok(())
    }

    /// Pushes the current entry of a low-latency queue, if it has descriptors.
    fn end_entry(&mut self) -> Result<(), QueueError> {
        let Some(llq) = self.llq else {
            return Ok(());
        };
        if self.staging.slot == 0 {
            return Ok(());
        }
        let length = usize::from(llq.entry_bytes).min(MAX_ENTRY_BYTES);
        let index = u64::from(self.tail & (self.depth - 1));
        let offset = llq.offset + index * u64::from(llq.entry_bytes);
        self.bus.push(2, offset, &self.staging.bytes[..length])?;
        self.tail = self.tail.wrapping_add(1);
        self.staging.slot = 0;
        self.staging.slots = if llq.several_per_entry {
            length / DESCRIPTOR_BYTES
        } else {
            1
        };
        Ok(())
    }

    /// Writes what is staged for a host ring, in one piece: a batch does not cross the ring's end.
    #[inline]
    fn write_staged(&mut self) -> Result<(), QueueError> {
        let count = std::mem::take(&mut self.staging.count);
        if count == 0 {
            return Ok(());
        }
        let index = self.tail & (self.depth - 1);
        let at = self.ring + u64::from(index) * 16;
        self.bus
            .memory()
            .write(at, &self.staging.bytes[..count * DESCRIPTOR_BYTES])?;
        self.tail = self.tail.wrapping_add(u16::try_from(count).unwrap_or_default());
        Ok(())
    }
}

fn meta(request: &Request) -> MetaLayoutAndMss {
    let mss = request.segmentation.map_or(0, |segmentation| segmentation.mss);
    let l2 = if request.l2_bytes == 0 {
        14
    } else {
        request.l2_bytes
    };
    let words = request.segmentation.map_or(0, |segmentation| {
        let below = u16::from(l2) + u16::from(request.l3_bytes);
        segmentation.header_bytes.saturating_sub(below) / 4
    });
    MetaLayoutAndMss {
        layout: MetaLayout::new()
            .with_l3_offset(l2)
            .with_l3_bytes(request.l3_bytes)
            .with_l4_words(u8::try_from(words & 0x3f).unwrap_or_default())
            .with_mss_low(mss & 0x3ff),
        mss,
    }
}

#[inline]
fn tx_request(request: &Request) -> TxRequest {
    if !request.ipv4_checksum && request.checksum.is_none() {
        return TxRequest::new();
    }
    TxRequest::new()
        .with_l3_protocol(if request.is_ipv6 { L3_IPV6 } else { L3_IPV4 })
        .with_l4_protocol(match request.checksum {
            Some(TransportChecksum::Tcp) => L4_TCP,
            Some(TransportChecksum::Udp) => L4_UDP,
            None => 0,
        })
        .with_l3_checksum(request.ipv4_checksum)
        .with_l4_checksum(request.checksum.is_some())
        .with_segment(request.segmentation.is_some())
}
