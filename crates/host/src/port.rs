//! What taps and packet sockets have in common: frames with a virtio header in and out of an
//! instance, one at a time or in batches, never waiting.
//!
//! A buffer always holds the virtio header first and the frame after it, as the kernel hands it over,
//! so that a frame that is only passed on is read once and written once from the same memory.

use std::fmt::Debug;
use std::io;
use std::os::fd::AsFd;

use zerocopy::IntoBytes;

use crate::vnet::{VNET_HEADER_BYTES, VnetFault, VnetHeader};

/// The card's end of an interface. All calls return at once; readiness comes from the descriptor.
pub trait Port: AsFd + Debug + Send + Sync {
    /// Bytes of virtio header before each frame (10 or 12).
    fn vnet_header_bytes(&self) -> usize;

    /// Reads one virtio header and frame into `buffer` and returns the length of both, or `None` when
    /// nothing is there. A buffer of [`SLOT_BYTES`] takes every frame.
    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Writes one virtio header and frame.
    fn write(&self, buffer: &[u8]) -> io::Result<Written>;

    /// Writes a frame whose virtio header lies elsewhere: for frames that the card itself makes.
    fn write_parts(&self, header: &VnetHeader, frame: &[u8]) -> io::Result<Written>;

    /// Replaces what is in `batch` by frames read until nothing is there or the batch is full; returns
    /// how many there are.
    fn read_batch(&self, batch: &mut Batch) -> io::Result<usize> {
        batch.clear();
        while let Some(slot) = batch.next_slot() {
            match self.read(slot)? {
                Some(length) => batch.push(length),
                None => break,
            }
        }
        Ok(batch.len())
    }
}

/// What became of a frame that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is in the instance's network stack.
    Sent,
    /// The queue is full; writing again later may succeed.
    Full,
    /// The kernel refused this frame (its error number): a bad virtio header, or the interface is down.
    Refused(i32),
}

impl Written {
    /// Sorts the result of a write call: what concerns one frame is not an error of the port.
    pub(crate) fn from_result(result: rustix::io::Result<usize>) -> io::Result<Self> {
        use rustix::io::Errno;
        match result {
            Ok(_) => Ok(Self::Sent),
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Ok(Self::Full),
            Err(error @ (Errno::INVAL | Errno::IO | Errno::NETDOWN | Errno::MSGSIZE | Errno::FAULT)) => {
                Ok(Self::Refused(error.raw_os_error()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Sorts the result of a read call: an empty queue is not an error, nor is the one note that a packet
/// socket gets when its interface is set down.
pub(crate) fn read_outcome(result: rustix::io::Result<usize>) -> io::Result<Option<usize>> {
    use rustix::io::Errno;
    match result {
        Ok(length) => Ok(Some(length)),
        Err(Errno::AGAIN | Errno::INTR | Errno::NETDOWN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Buffers for up to [`BATCH_LIMIT`] frames, reused for ever. Only pages that a frame has touched are
/// resident, so a batch that sees small packets stays small.
#[derive(Debug)]
pub struct Batch {
    storage: Vec<u8>,
    lengths: [usize; BATCH_LIMIT],
    count: usize,
    slots: usize,
}

impl Batch {
    /// A batch of `slots` frames (at least one, at most [`BATCH_LIMIT`]).
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let slots = slots.clamp(1, BATCH_LIMIT);
        Self {
            storage: vec![0; slots * SLOT_BYTES],
            lengths: [0; BATCH_LIMIT],
            count: 0,
            slots,
        }
    }

    /// How many frames are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets its frames.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// The virtio header and frame number `index`, to be edited in place.
    ///
    /// # Panics
    ///
    /// When there is no such frame: a mistake of the caller.
    #[must_use]
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        assert!(index < self.count, "frame {index} of {}", self.count);
        let start = index * SLOT_BYTES;
        &mut self.storage[start..start + self.lengths[index]]
    }

    /// The next free buffer, or `None` when the batch is full.
    pub fn next_slot(&mut self) -> Option<&mut [u8]> {
        if self.count == self.slots {
            return None;
        }
        let start = self.count * SLOT_BYTES;
        Some(&mut self.storage[start..start + SLOT_BYTES])
    }

    /// Counts in the buffer that [`Batch::next_slot`] gave, of which `length` bytes were filled.
    pub fn push(&mut self, length: usize) {
        assert!(
            self.count < self.slots && length <= SLOT_BYTES,
            "a slot was given and is not overfull"
        );
        self.lengths[self.count] = length;
        self.count += 1;
    }

    /// Fills the batch through `receive`, which gets every buffer and the place for the lengths.
    pub(crate) fn fill(
        &mut self,
        receive: impl FnOnce(&mut [&mut [u8]], &mut [usize]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.count = 0;
        let slots = self.slots;
        let mut buffers: [&mut [u8]; BATCH_LIMIT] = std::array::from_fn(|_| <&mut [u8]>::default());
        for (buffer, slot) in buffers.iter_mut().zip(self.storage.chunks_exact_mut(SLOT_BYTES)) {
            *buffer = slot;
        }
        self.count = receive(&mut buffers[..slots], &mut self.lengths[..slots])?.min(slots);
        Ok(self.count)
    }
}

/// Takes the virtio header off a buffer read from a port and checks it against its frame. The error
/// says which counter to raise; the frame must then be dropped.
pub fn split_checked(
    buffer: &mut [u8],
    vnet_header_bytes: usize,
) -> Result<(VnetHeader, &mut [u8]), VnetFault> {
    let header = VnetHeader::read(buffer).ok_or(VnetFault::FrameTooShort)?;
    let frame = buffer
        .get_mut(vnet_header_bytes..)
        .ok_or(VnetFault::FrameTooShort)?;
    header.check(frame.len())?;
    Ok((header, frame))
}

/// The virtio header as the bytes that a port of `vnet_header_bytes` wants before a frame.
pub(crate) fn header_bytes(header: &VnetHeader) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..VNET_HEADER_BYTES].copy_from_slice(header.as_bytes());
    bytes
}

/// The most frames in a batch.
pub const BATCH_LIMIT: usize = 64;

/// Bytes of a buffer that takes any frame: an IP packet of 65,535 bytes, an Ethernet header with a VLAN
/// tag, a virtio header, rounded up. Slots are an odd number of cache lines apart, so that the headers
/// of a batch do not all fall into the same cache set.
pub const SLOT_BYTES: usize = 65_600;

const _: () = assert!(SLOT_BYTES >= 65_535 + 18 + 12 && SLOT_BYTES / 64 % 2 == 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_takes_its_slots_and_no_more() {
        let mut batch = Batch::new(2);
        for byte in [1u8, 2] {
            batch.next_slot().unwrap()[..3].fill(byte);
            batch.push(3);
        }
        assert!(batch.next_slot().is_none());
        assert_eq!(batch.frame_mut(1), [2, 2, 2]);
        assert_eq!(batch.frame_mut(0), [1, 1, 1]);
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn batch_is_bounded() {
        let mut batch = Batch::new(usize::MAX);
        assert_eq!(batch.fill(|buffers, _| Ok(buffers.len())).unwrap(), BATCH_LIMIT);
    }

    #[test]
    fn short_buffers_are_refused() {
        for length in 0..24 {
            let mut buffer = vec![0u8; length];
            assert_eq!(
                split_checked(&mut buffer, 10).unwrap_err(),
                VnetFault::FrameTooShort,
                "{length}"
            );
        }
        let mut buffer = vec![0u8; 24];
        assert_eq!(split_checked(&mut buffer, 10).unwrap().1.len(), 14);
    }

    #[test]
    fn errors_of_one_frame_are_not_errors_of_the_port() {
        use rustix::io::Errno;
        assert_eq!(Written::from_result(Ok(60)).unwrap(), Written::Sent);
        assert_eq!(Written::from_result(Err(Errno::AGAIN)).unwrap(), Written::Full);
        assert_eq!(
            Written::from_result(Err(Errno::INVAL)).unwrap(),
            Written::Refused(libc::EINVAL)
        );
        assert!(Written::from_result(Err(Errno::BADFD)).is_err());
        assert_eq!(read_outcome(Err(Errno::AGAIN)).unwrap(), None);
    }
}
