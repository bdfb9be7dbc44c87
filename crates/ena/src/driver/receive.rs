//! The driver's receive queue.

use std::sync::Arc;

use trinic_pci::{Bus, Intent, Memory};
use zerocopy::{FromBytes, IntoBytes};

use super::error::QueueError;
use super::frame::{Buffer, Frame, Piece, Request, Seen};
use super::ring::{BATCH, CompletionReader, zero};
use crate::datapath::MAX_RX_BUFFERS;
use crate::spec::descriptor::{DESCRIPTOR_BYTES, RxCompletion, RxDescriptor, RxStatus};

/// Bytes of a receive completion.
pub(super) const RX_COMPLETION_BYTES: usize = size_of::<RxCompletion>();

/// A receive queue, for one thread at a time.
#[derive(Debug)]
pub struct RxQueue<B> {
    bus: Arc<B>,
    ring: u64,
    depth: u16,
    pub(super) doorbell: u64,
    pub(super) completions: CompletionReader,
    tail: u16,
    /// Where the doorbell is.
    rung: u16,
    /// Buffers that are posted, by request id.
    posted: Vec<Option<Buffer>>,
    free: Vec<u16>,
    /// Pieces of a packet whose last completion is not there yet.
    pieces: Vec<Piece>,
}

impl<B: Bus> RxQueue<B> {
    pub(super) fn new(bus: Arc<B>, ring: u64, completions: u64, depth: u16) -> Self {
        let phase = RxStatus::new().with_phase(true).into_bits();
        Self {
            bus,
            ring,
            depth,
            doorbell: 0,
            completions: CompletionReader::new(completions, depth, RX_COMPLETION_BYTES, phase),
            tail: 0,
            rung: 0,
            posted: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
            pieces: Vec::new(),
        }
    }

    /// Starts again after a reset, with an empty ring; buffers that were posted are given back.
    pub(super) fn restart(&mut self, buffers: &mut Vec<Buffer>) -> Result<(), QueueError> {
        buffers.extend(self.posted.iter_mut().filter_map(Option::take));
        buffers.extend(self.pieces.drain(..).map(|piece| piece.buffer));
        self.free = (0..self.depth).rev().collect();
        (self.tail, self.rung) = (0, 0);
        let memory = self.bus.memory();
        zero(memory, self.ring, usize::from(self.depth) * DESCRIPTOR_BYTES)?;
        self.completions.restart(memory)?;
        Ok(())
    }

    /// How many buffers could be posted now.
    pub fn room(&self) -> usize {
        // One entry stays free, so that a full ring is not an empty one.
        self.free.len().saturating_sub(1)
    }

    /// Posts buffers from the end of `buffers`, as many as there is room for, and rings the doorbell; returns
    /// how many.
    ///
    /// # Errors
    ///
    /// When the memory or the bus is gone.
    #[inline]
    pub fn refill(&mut self, buffers: &mut Vec<Buffer>) -> Result<usize, QueueError> {
        let mut posted = 0;
        while self.room() > 0 && !buffers.is_empty() {
            let index = self.tail & (self.depth - 1);
            let most = BATCH
                .min(self.room())
                .min(buffers.len())
                .min(usize::from(self.depth - index));
            let mut staging = [0; BATCH * DESCRIPTOR_BYTES];
            let phase = self.tail & self.depth == 0;
            let mut staged = 0;
            for slot in staging.chunks_exact_mut(DESCRIPTOR_BYTES).take(most) {
                let (Some(buffer), Some(id)) = (buffers.pop(), self.free.pop()) else {
                    break;
                };
                // A buffer of 64 KiB has a length of 0.
                let length = u16::try_from(buffer.bytes & 0xffff).unwrap_or_default();
                let descriptor = RxDescriptor::new(phase, id, buffer.address, length);
                slot.copy_from_slice(descriptor.as_bytes());
                if let Some(place) = self.posted.get_mut(usize::from(id)) {
                    *place = Some(buffer);
                }
                staged += 1;
            }
            let bytes = &staging[..staged * DESCRIPTOR_BYTES];
            let at = self.ring + u64::from(index) * 16;
            self.bus.memory().write(at, bytes)?;
            self.tail = self.tail.wrapping_add(u16::try_from(staged).unwrap_or_default());
            posted += staged;
        }
        if self.rung != self.tail {
            self.bus.register_write(0, self.doorbell, u32::from(self.tail))?;
            self.rung = self.tail;
        }
        Ok(posted)
    }

    /// Takes up to `most` completions and puts the frames that they complete at the end of `frames`; returns
    /// how many frames. Call it again until it returns 0.
    ///
    /// # Errors
    ///
    /// When the device lies. The queue cannot be used any more then but by a reset.
    #[inline]
    pub fn receive(&mut self, frames: &mut Vec<Frame>, most: usize) -> Result<usize, QueueError> {
        let before = frames.len();
        let bytes = self.completions.take(self.bus.memory(), most)?;
        for entry in bytes.chunks_exact(RX_COMPLETION_BYTES) {
            let Ok(completion) = RxCompletion::read_from_bytes(entry) else {
                break;
            };
            let status = RxStatus::from_bits(completion.status.get());
            let length = completion.length.get();
            let malformed = QueueError::RxMalformed {
                status: status.into_bits(),
                length,
            };
            if status.first() != self.pieces.is_empty() || status.zero_7() || status.zero_17() {
                return Err(malformed);
            }
            let id = completion.request_id.get();
            let buffer = self
                .posted
                .get_mut(usize::from(id))
                .and_then(Option::take)
                .ok_or(QueueError::RxRequestId(id))?;
            self.free.push(id);
            let length = match length {
                0 => 0x1_0000,
                length => u32::from(length),
            };
            let offset = if status.first() { completion.offset } else { 0 };
            let piece = Piece {
                buffer,
                offset: u32::from(offset),
                length,
            };
            if !piece.is_inside() {
                return Err(malformed);
            }
            // Its bytes come while the other completions are looked at.
            let address = std::iter::once(piece.address());
            self.bus.memory().prefetch(address, Intent::Read);
            if self.pieces.len() == MAX_RX_BUFFERS {
                return Err(QueueError::TooManyBuffers(MAX_RX_BUFFERS));
            }
            if !status.last() {
                self.pieces.push(piece);
                continue;
            }
            let (first, rest) = if self.pieces.is_empty() {
                (piece, Vec::new())
            } else {
                self.pieces.push(piece);
                let mut pieces = std::mem::take(&mut self.pieces);
                (pieces.remove(0), pieces)
            };
            frames.push(Frame {
                first,
                rest,
                request: Request::default(),
                seen: seen(status, completion.hash.get()),
            });
        }
        Ok(frames.len() - before)
    }

    /// Whether a completion is there.
    ///
    /// # Errors
    ///
    /// When the memory is gone.
    pub fn has_work(&self) -> Result<bool, QueueError> {
        Ok(self.completions.is_ready(self.bus.memory())?)
    }

    /// The memory that its buffers are in.
    pub fn memory(&self) -> &B::Memory {
        self.bus.memory()
    }

    pub(super) fn geometry(&self) -> (u64, u64, u16) {
        (self.ring, self.completions.base, self.depth)
    }
}

#[inline]
fn seen(status: RxStatus, hash: u32) -> Seen {
    Seen {
        hash,
        l3_protocol: status.l3_protocol(),
        l4_protocol: status.l4_protocol(),
        l3_error: status.l3_error(),
        l4_is_right: status.l4_checked().then(|| !status.l4_error()),
    }
}
