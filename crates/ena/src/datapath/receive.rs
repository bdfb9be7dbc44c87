//! A receive queue: from a packet to the driver's buffers.

use trinic_pci::{DmaFault, Intent, Memory};
use zerocopy::IntoBytes;

use super::completion::CompletionRing;
use super::packet::{Fragment, MAX_RX_BUFFERS, Payload};
use super::{RxDrop, RxFault, RxQueue};
use crate::spec::descriptor::{RxCompletion, RxDescriptor, RxStatus};

/// Descriptors that are copied in at once; more than a packet may take.
const CACHE: usize = 64;

/// So many buffers are asked for together, from so many to twice as many packets before their turn: the driver that read them
/// last runs on another processor.
const AHEAD: usize = 8;

const _: () = assert!(CACHE > MAX_RX_BUFFERS);

/// A packet on its way into a queue.
#[derive(Debug)]
pub(super) struct Incoming<'a, M> {
    pub(super) window: &'a [u8],
    pub(super) payload: Payload<'a, M>,
    /// Bytes of both.
    pub(super) total: usize,
    /// What the last completion says of it.
    pub(super) status: u32,
    pub(super) hash: u32,
}

impl<M: Memory> Incoming<'_, M> {
    /// Writes all of it to one place.
    #[inline]
    fn write(&self, memory: &M, address: u64) -> Result<(), DmaFault> {
        memory.write(address, self.window)?;
        if self.total == self.window.len() {
            return Ok(());
        }
        let behind = u64::try_from(self.window.len()).unwrap_or_default();
        let mut source = Source::new(&[], self.payload);
        source.copy_to(
            memory,
            address.wrapping_add(behind),
            self.total - self.window.len(),
        )
    }
}

/// The device's end of a receive queue.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) queue: RxQueue,
    pub(super) completions: CompletionRing,
    /// The next descriptor to use, counted without wrapping at the ring's end.
    head: u16,
    pub(super) is_stopped: bool,
    /// Descriptors from `head` on.
    cached: usize,
    /// Where `head` is in the cache.
    cursor: usize,
    cache: [RxDescriptor; CACHE],
}

impl Receiver {
    pub(super) fn new(queue: RxQueue) -> Self {
        Self {
            completions: CompletionRing::new(queue.completions),
            queue,
            head: 0,
            is_stopped: false,
            cached: 0,
            cursor: 0,
            cache: [RxDescriptor::default(); CACHE],
        }
    }

    /// Puts a packet into buffers; `tail` asks for the
    /// driver's tail, when more descriptors are needed than were read.
    ///
    /// Per packet, without lock or allocation; one read of a batch of descriptors, one copy of the packet.
    #[inline]
    pub(super) fn put<M: Memory>(
        &mut self,
        memory: &M,
        tail: impl Fn() -> u16,
        packet: Incoming<'_, M>,
    ) -> Result<(), RxDrop> {
        // The usual case: one buffer has room for all of it.
        let Some(descriptor) = self.take_one(memory, &tail, packet.total)? else {
            return self.scatter(memory, &tail, &packet);
        };
        if packet.write(memory, descriptor.address()).is_err() {
            return Err(RxDrop::Fault(RxFault::Buffer));
        }
        let status = packet.status | FIRST | LAST;
        self.complete(memory, &descriptor, packet.total, status, packet.hash)
    }

    /// As [`Self::put`] for a packet that is all in its window; `None` with nothing changed when it takes more than one
    /// buffer. Always in line: there is one place for it, on the way of nearly every small packet.
    #[inline(always)]
    pub(super) fn put_whole<M: Memory>(
        &mut self,
        memory: &M,
        tail: impl Fn() -> u16,
        frame: &[u8],
        status: u32,
        hash: u32,
    ) -> Option<Result<(), RxDrop>> {
        if self.is_stopped {
            return Some(Err(RxDrop::Stopped));
        }
        if self.cached == 0
            && let Err(drop) = self.refill(memory, tail())
        {
            return Some(Err(drop));
        }
        let descriptor = *self.cache.get(self.cursor).filter(|_| self.cached > 0)?;
        self.look_ahead(memory);
        // 64 KiB is a length of 0.
        if usize::from(descriptor.length.get().wrapping_sub(1)) < frame.len().wrapping_sub(1) {
            return None;
        }
        self.advance(1);
        if memory.write(descriptor.address(), frame).is_err() {
            return Some(Err(RxDrop::Fault(RxFault::Buffer)));
        }
        let status = status | FIRST | LAST;
        Some(self.complete(memory, &descriptor, frame.len(), status, hash))
    }

    /// The next descriptor, if it is there and its buffer has room for so many bytes.
    #[inline]
    fn take_one<M: Memory>(
        &mut self,
        memory: &M,
        tail: &impl Fn() -> u16,
        bytes: usize,
    ) -> Result<Option<RxDescriptor>, RxDrop> {
        if self.is_stopped {
            return Err(RxDrop::Stopped);
        }
        if self.cached == 0 {
            self.refill(memory, tail())?;
        }
        let next = self.cache.get(self.cursor).filter(|_| self.cached > 0);
        let descriptor = next
            .filter(|descriptor| buffer_bytes(descriptor) >= bytes)
            .copied();
        if descriptor.is_some() {
            self.advance(1);
        }
        Ok(descriptor)
    }

    /// Adds the completion of one buffer.
    #[inline(always)]
    fn complete<M: Memory>(
        &mut self,
        memory: &M,
        descriptor: &RxDescriptor,
        length: usize,
        status: u32,
        hash: u32,
    ) -> Result<(), RxDrop> {
        let phase = if self.completions.phase() { PHASE } else { 0 };
        let completion = RxCompletion {
            status: (status | phase | BUFFER).into(),
            // 64 KiB is a length of 0, in completions as in descriptors.
            length: u16::try_from(length & 0xffff).unwrap_or_default().into(),
            request_id: descriptor.request_id,
            hash: hash.into(),
            queue: self.completions.queue.index.into(),
            ..RxCompletion::default()
        };
        if self
            .completions
            .push_rx(memory, completion, descriptor.address())
            .is_err()
        {
            self.is_stopped = true;
            return Err(RxDrop::Fault(RxFault::Completion));
        }
        Ok(())
    }

    /// Puts a packet into more than one buffer.
    #[inline(never)]
    fn scatter<M: Memory>(
        &mut self,
        memory: &M,
        tail: &impl Fn() -> u16,
        packet: &Incoming<'_, M>,
    ) -> Result<(), RxDrop> {
        let mut source = Source::new(packet.window, packet.payload);
        let total = packet.total;
        let count = self.count_for(memory, total, tail)?;
        let first = self.cursor;
        self.advance(count);
        let mut left = total;
        for index in first..first + count {
            let descriptor = self.cache.get(index).copied().unwrap_or_default();
            let length = left.min(buffer_bytes(&descriptor));
            left -= length;
            // The buffers of a packet that could not be written are lost: their addresses are wrong.
            if source.copy_to(memory, descriptor.address(), length).is_err() {
                return Err(RxDrop::Fault(RxFault::Buffer));
            }
        }
        left = total;
        for index in first..first + count {
            let descriptor = self.cache.get(index).copied().unwrap_or_default();
            let length = left.min(buffer_bytes(&descriptor));
            left -= length;
            let mut status = packet.status;
            if index == first {
                status |= FIRST;
            }
            if index + 1 == first + count {
                status |= LAST;
            }
            self.complete(memory, &descriptor, length, status, packet.hash)?;
        }
        Ok(())
    }

    /// How many of the next descriptors a packet takes.
    #[inline]
    fn count_for<M: Memory>(
        &mut self,
        memory: &M,
        total: usize,
        tail: &impl Fn() -> u16,
    ) -> Result<usize, RxDrop> {
        let mut count = 0;
        let mut room = 0;
        while room < total || count == 0 {
            if count == MAX_RX_BUFFERS {
                return Err(RxDrop::TooLong);
            }
            if count == self.cached {
                self.refill(memory, tail())?;
                if count == self.cached {
                    return Err(RxDrop::NoDescriptors);
                }
            }
            let descriptor = self.cache.get(self.cursor + count).copied().unwrap_or_default();
            room += buffer_bytes(&descriptor);
            count += 1;
        }
        Ok(count)
    }

    /// At every [`AHEAD`]th buffer asks for those behind the next ones, and for the first ones of all. Only small packets do:
    /// a long copy is slower into a buffer whose first line is there already (a fifth to a third with 9,001 bytes; why is not known).
    #[inline(always)]
    fn look_ahead<M: Memory>(&self, memory: &M) {
        if self.cursor.is_multiple_of(AHEAD) {
            self.prefetch(memory);
        }
    }

    #[inline(never)]
    fn prefetch<M: Memory>(&self, memory: &M) {
        let first = if self.cursor == 0 { 0 } else { self.cursor + AHEAD };
        let end = (self.cursor + self.cached).min(self.cursor + 2 * AHEAD);
        let group = self.cache.get(first..end).unwrap_or_default();
        memory.prefetch(group.iter().map(RxDescriptor::address), Intent::Write);
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.cursor += count;
        self.cached -= count;
        self.head = self.head.wrapping_add(u16::try_from(count).unwrap_or_default());
    }

    /// Reads more descriptors behind those that are cached.
    #[inline(never)]
    fn refill<M: Memory>(&mut self, memory: &M, tail: u16) -> Result<(), RxDrop> {
        let available = tail.wrapping_sub(self.head);
        if available > self.queue.depth {
            return Err(self.stop(RxFault::Doorbell));
        }
        self.cache.copy_within(self.cursor..self.cursor + self.cached, 0);
        self.cursor = 0;
        // Twice, where the ring's end lies between.
        for _ in 0..2 {
            let cached = u16::try_from(self.cached).unwrap_or(u16::MAX);
            let next = self.head.wrapping_add(cached);
            let index = next & (self.queue.depth - 1);
            let count = usize::from((available - cached).min(self.queue.depth - index));
            let count = count.min(CACHE - self.cached);
            let Some(into) = self.cache.get_mut(self.cached..self.cached + count) else {
                break;
            };
            if count == 0 {
                break;
            }
            let address = self.queue.base.wrapping_add(u64::from(index) * 16);
            if memory.read(address, into.as_mut_bytes()).is_err() {
                return Err(self.stop(RxFault::Ring));
            }
            // One piece of a ring has one phase.
            let phase = next & self.queue.depth == 0;
            if into.iter().any(|descriptor| descriptor.phase() != phase) {
                return Err(self.stop(RxFault::Phase));
            }
            self.cached += count;
        }
        Ok(())
    }

    #[cold]
    fn stop(&mut self, fault: RxFault) -> RxDrop {
        self.is_stopped = true;
        RxDrop::Fault(fault)
    }
}

const PHASE: u32 = RxStatus::new().with_phase(true).into_bits();
const FIRST: u32 = RxStatus::new().with_first(true).into_bits();
const LAST: u32 = RxStatus::new().with_last(true).into_bits();
const BUFFER: u32 = RxStatus::new().with_buffer(true).into_bits();

/// What is left to copy of a packet.
struct Source<'a, M> {
    window: &'a [u8],
    payload: Payload<'a, M>,
    fragment: usize,
    /// Bytes of the payload (or of its fragment) that were copied.
    offset: usize,
}

impl<'a, M: Memory> Source<'a, M> {
    #[inline]
    fn new(window: &'a [u8], payload: Payload<'a, M>) -> Self {
        Self {
            window,
            payload,
            fragment: 0,
            offset: 0,
        }
    }

    /// Copies the next `length` bytes to a buffer.
    #[inline]
    fn copy_to(&mut self, memory: &M, mut address: u64, mut length: usize) -> Result<(), DmaFault> {
        if !self.window.is_empty() {
            let (now, later) = self.window.split_at(length.min(self.window.len()));
            memory.write(address, now)?;
            self.window = later;
            address = address.wrapping_add(u64::try_from(now.len()).unwrap_or_default());
            length -= now.len();
        }
        if length == 0 {
            return Ok(());
        }
        match self.payload {
            Payload::Bytes(bytes) => {
                let now = bytes.get(self.offset..self.offset + length).unwrap_or_default();
                self.offset += length;
                memory.write(address, now)
            }
            Payload::Remote {
                memory: remote,
                fragments,
            } => self.copy_fragments(memory, address, length, remote, fragments),
        }
    }

    fn copy_fragments(
        &mut self,
        memory: &M,
        mut address: u64,
        mut length: usize,
        remote: &M,
        fragments: &[Fragment],
    ) -> Result<(), DmaFault> {
        while length > 0 {
            let Some(fragment) = fragments.get(self.fragment) else {
                break;
            };
            let offset = u64::try_from(self.offset).unwrap_or_default();
            let left = usize::try_from(fragment.length).unwrap_or_default() - self.offset;
            let now = left.min(length);
            remote.copy_to(fragment.address.wrapping_add(offset), memory, address, now)?;
            address = address.wrapping_add(u64::try_from(now).unwrap_or_default());
            length -= now;
            self.offset += now;
            if now == left {
                self.fragment += 1;
                self.offset = 0;
            }
        }
        Ok(())
    }
}

#[inline]
fn buffer_bytes(descriptor: &RxDescriptor) -> usize {
    match descriptor.length.get() {
        0 => 0x1_0000,
        length => usize::from(length),
    }
}
