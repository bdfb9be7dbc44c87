//! What taps and packet sockets have in common: frames with a virtio header in and out of an
//! instance, one at a time or in batches, never waiting.
//!
//! A buffer always holds the virtio header first and the frame after it, as the kernel hands it over,
//! so that a frame that is only passed on is read once and written once from the same memory.

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use zerocopy::IntoBytes;

use crate::sys;
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

    /// The descriptor on which write(2) does what [`Port::write`] does, where there is such a one: writes
    /// to it can go to the kernel together ([`Writer`]).
    fn write_descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether it takes datagrams of one flow as one super-frame (`VIRTIO_NET_HDR_GSO_UDP_L4`), which the
    /// kernel behind it cuts up again.
    fn takes_udp_segments(&self) -> bool {
        false
    }

    /// Replaces what is in `batch` by frames read until nothing is there or the batch is full; returns
    /// how many there are. An error after the first frame is left for the next call to find.
    fn read_batch(&self, batch: &mut Batch) -> io::Result<usize> {
        batch.clear();
        while let Some(slot) = batch.next_slot() {
            match self.read(slot) {
                Ok(Some(length)) => batch.push(length),
                Ok(None) => break,
                Err(error) if batch.is_empty() => return Err(error),
                Err(_) => break,
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

    /// As [`Written::from_result`] for one frame of many: an error of the port refuses the frame, and shows
    /// again where the port is read.
    fn of_frame(result: io::Result<Self>) -> Self {
        result.unwrap_or_else(|error| Self::Refused(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    /// From the bytes written, or the negative error number.
    fn from_bytes(bytes: i32) -> Self {
        let result = usize::try_from(bytes).map_err(|_| rustix::io::Errno::from_raw_os_error(-bytes));
        Self::of_frame(Self::from_result(result))
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

/// Writes frames to ports, many with one system call where the kernel allows it (io_uring), else one by one.
///
/// It is not the call itself that is saved but what happens at its end: a receiver that the write has woken
/// is given the processor there, for a single frame. With many writes in one call it wakes to many.
#[derive(Debug)]
pub struct Writer {
    ring: Option<sys::Ring>,
}

impl Writer {
    /// A writer with a ring if the kernel gives one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ring: sys::Ring::new(RING_ENTRIES).ok(),
        }
    }

    /// A writer without a ring: each frame is a call of its own.
    #[must_use]
    pub fn one_by_one() -> Self {
        Self { ring: None }
    }

    /// Whether many frames go to the kernel with one call.
    #[must_use]
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Writes virtio headers and frames, those for one port in the order given, and says of each what became
    /// of it. Returns how many were taken: as many as there are, or places in `results`.
    pub fn write_all<'a>(
        &mut self,
        mut frames: impl Iterator<Item = (&'a dyn Port, &'a [u8])>,
        results: &mut [Written],
    ) -> usize {
        let mut done = 0;
        while done < results.len() {
            let taken = self.write_some(&mut frames, &mut results[done..]);
            if taken == 0 {
                break;
            }
            done += taken;
        }
        done
    }

    /// As many as the ring takes, or up to the first one that cannot go through it.
    fn write_some<'a>(
        &mut self,
        frames: &mut impl Iterator<Item = (&'a dyn Port, &'a [u8])>,
        results: &mut [Written],
    ) -> usize {
        let mut odd = None;
        let mut taken = 0;
        if let Some(ring) = &mut self.ring {
            let mut direct = frames.map_while(|(port, frame)| match port.write_descriptor() {
                Some(descriptor) => Some((descriptor, frame)),
                None => {
                    odd = Some((port, frame));
                    None
                }
            });
            let mut bytes = [0; BATCH_LIMIT];
            let room = results.len().min(BATCH_LIMIT);
            taken = ring.write_all(&mut direct, &mut bytes[..room]);
            for (result, bytes) in results.iter_mut().zip(&bytes[..taken]) {
                *result = Written::from_bytes(*bytes);
            }
        } else {
            odd = frames.next();
        }
        if let Some(((port, frame), result)) = odd.zip(results.get_mut(taken)) {
            *result = Written::of_frame(port.write(frame));
            taken += 1;
        }
        taken
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// Buffers for up to [`BATCH_LIMIT`] frames, reused for ever. Only pages that a frame has touched are
/// resident, so a batch that sees small packets stays small.
#[derive(Debug)]
pub struct Batch {
    storage: Vec<u8>,
    lengths: [usize; BATCH_LIMIT],
    count: usize,
    bytes: usize,
    segments: usize,
    limits: Limits,
}

/// When a batch is full. The frame that brings it there is still taken, and with it those that came by the same call,
/// as frames do from a packet socket: eight at most, which go beyond its segments and not beyond its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Frames: at least one, at most [`BATCH_LIMIT`].
    pub frames: usize,
    /// Bytes, virtio headers included: super-frames shall not pile up to more than a processor's cache holds.
    pub bytes: usize,
    /// Packets that the frames are cut into ([`VnetHeader::segment_count`]).
    pub segments: usize,
}

impl Batch {
    /// A batch of `frames` frames (at least one, at most [`BATCH_LIMIT`]), whatever they hold.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        Self::limited(Limits {
            frames,
            bytes: usize::MAX,
            segments: usize::MAX,
        })
    }

    /// A batch that is full at any of its limits.
    #[must_use]
    pub fn limited(limits: Limits) -> Self {
        let frames = limits.frames.clamp(1, BATCH_LIMIT);
        Self {
            storage: vec![0; frames * SLOT_BYTES],
            lengths: [0; BATCH_LIMIT],
            count: 0,
            bytes: 0,
            segments: 0,
            limits: Limits { frames, ..limits },
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
        self.bytes = 0;
        self.segments = 0;
    }

    /// The virtio header and frame number `index`; empty when there is no such frame.
    #[must_use]
    pub fn frame(&self, index: usize) -> &[u8] {
        let length = self.lengths[..self.count].get(index).copied().unwrap_or_default();
        let start = index.min(self.count) * SLOT_BYTES;
        &self.storage[start..start + length]
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

    /// The whole buffer of frame number `index`, with the room behind the frame, and the later frame number
    /// `other`; `None` when there are no such frames or `other` is not the later one.
    pub fn buffer_and_frame(&mut self, index: usize, other: usize) -> Option<(&mut [u8], &[u8])> {
        if index >= other || other >= self.count {
            return None;
        }
        let (front, back) = self.storage.split_at_mut(other * SLOT_BYTES);
        Some((
            &mut front[index * SLOT_BYTES..][..SLOT_BYTES],
            &back[..self.lengths[other]],
        ))
    }

    /// The whole buffer of frame number `index`; empty when there is no such frame.
    pub fn buffer_mut(&mut self, index: usize) -> &mut [u8] {
        if index >= self.count {
            return &mut [];
        }
        &mut self.storage[index * SLOT_BYTES..][..SLOT_BYTES]
    }

    /// Says how many bytes of the buffer of frame number `index` are the frame now, at most [`SLOT_BYTES`].
    pub fn set_length(&mut self, index: usize, length: usize) {
        if let Some(place) = self.lengths[..self.count].get_mut(index) {
            *place = length.min(SLOT_BYTES);
        }
    }

    /// The next free buffer, or `None` when the batch is full.
    pub fn next_slot(&mut self) -> Option<&mut [u8]> {
        if self.is_full() {
            return None;
        }
        let start = self.count * SLOT_BYTES;
        Some(&mut self.storage[start..start + SLOT_BYTES])
    }

    fn is_full(&self) -> bool {
        let limits = &self.limits;
        self.count == limits.frames || self.bytes >= limits.bytes || self.segments >= limits.segments
    }

    /// Counts in the buffer that [`Batch::next_slot`] gave, of which `length` bytes were filled.
    pub fn push(&mut self, length: usize) {
        assert!(
            self.count < self.limits.frames && length <= SLOT_BYTES,
            "a slot was given and is not overfull"
        );
        self.lengths[self.count] = length;
        self.bytes += length;
        let start = self.count * SLOT_BYTES;
        let header = VnetHeader::read(&self.storage[start..start + length]);
        let frame_bytes = length.saturating_sub(VNET_HEADER_BYTES);
        self.segments += header.map_or(1, |header| header.segment_count(frame_bytes));
        self.count += 1;
    }

    /// Replaces what is in it through `receive`, which gets buffers and the place for the lengths, until there is
    /// nothing more or it is full. An error after the first frame is left for the next call to find.
    pub(crate) fn fill(
        &mut self,
        mut receive: impl FnMut(&mut [&mut [u8]], &mut [usize]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.clear();
        while !self.is_full() {
            let (first, room) = (self.count, self.room_at_once());
            let mut buffers: [&mut [u8]; BATCH_LIMIT] = std::array::from_fn(|_| <&mut [u8]>::default());
            let slots = self.storage.chunks_exact_mut(SLOT_BYTES).skip(first);
            for (buffer, slot) in buffers.iter_mut().zip(slots) {
                *buffer = slot;
            }
            let lengths = &mut self.lengths[first..first + room];
            let received = match receive(&mut buffers[..room], lengths) {
                Ok(received) => received.min(room),
                Err(error) if self.is_empty() => return Err(error),
                Err(_) => break,
            };
            for number in first..first + received {
                self.push(self.lengths[number]);
            }
            if received < room {
                break;
            }
        }
        Ok(self.count)
    }

    /// How many frames may come before one of them is looked at, with which it may go beyond its limits.
    fn room_at_once(&self) -> usize {
        let Limits {
            frames,
            bytes,
            segments,
        } = self.limits;
        let mut room = frames - self.count;
        if bytes < usize::MAX {
            room = room.min((bytes - self.bytes).div_ceil(SLOT_BYTES));
        }
        if segments < usize::MAX {
            room = room.min(FRAMES_AT_ONCE);
        }
        room
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
/// Frames that come together into a batch whose packets are counted. Fewer are dear: of 64 frames of 60 bytes from a
/// packet socket one costs 540 ns in one call, 580 in eight, and 940 if each has its own.
const FRAMES_AT_ONCE: usize = 8;
/// Writes that a ring takes at once.
const RING_ENTRIES: u32 = 64;

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

    fn limits(frames: usize, bytes: usize, segments: usize) -> Limits {
        Limits {
            frames,
            bytes,
            segments,
        }
    }

    #[test]
    fn a_limited_batch_is_full_at_its_bytes() {
        let mut batch = Batch::limited(limits(4, 100, usize::MAX));
        for length in [60, 40] {
            batch.next_slot().unwrap().fill(9);
            batch.push(length);
        }
        assert!(batch.next_slot().is_none());
        assert_eq!(batch.frame(1), [9; 40]);
        assert!(batch.frame(2).is_empty() && batch.frame(usize::MAX).is_empty());
        batch.clear();
        assert!(batch.next_slot().is_some());
    }

    /// A super-frame of so many datagrams of one byte, without what stands in its headers; its length.
    fn super_frame(buffer: &mut [u8], datagrams: usize) -> usize {
        let header = VnetHeader {
            flags: crate::vnet::FLAG_NEEDS_CSUM,
            gso_type: crate::vnet::GSO_UDP_L4,
            gso_size: 1.into(),
            csum_start: 34.into(),
            csum_offset: 6.into(),
            ..VnetHeader::NONE
        };
        buffer[..VNET_HEADER_BYTES].copy_from_slice(header.as_bytes());
        VNET_HEADER_BYTES + 42 + datagrams
    }

    #[test]
    fn a_limited_batch_is_full_at_its_segments() {
        let mut batch = Batch::limited(limits(64, usize::MAX, 100));
        // The second is one packet, whatever its length.
        for datagrams in [98, 0, 50] {
            let length = super_frame(batch.next_slot().unwrap(), datagrams);
            batch.push(length);
        }
        assert!(batch.next_slot().is_none());
        batch.clear();
        assert!(batch.next_slot().is_some());
    }

    /// Frames that come together: how many there is room for each time, until it is full or nothing comes.
    #[test]
    fn what_comes_together_goes_beyond_a_limit_by_a_few_frames_only() {
        let rooms = |limits, datagrams, bytes| {
            let (mut batch, mut rooms) = (Batch::limited(limits), Vec::new());
            let count = batch.fill(|buffers, lengths| {
                rooms.push(buffers.len());
                for (buffer, length) in buffers.iter_mut().zip(lengths) {
                    *length = super_frame(buffer, datagrams).max(bytes);
                }
                Ok(buffers.len())
            });
            assert_eq!(count.unwrap(), rooms.iter().sum::<usize>());
            assert_eq!(batch.len(), rooms.iter().sum::<usize>());
            rooms
        };
        let none = usize::MAX;
        assert_eq!(rooms(limits(64, none, none), 1_000, SLOT_BYTES), [64]);
        assert_eq!(rooms(limits(20, none, 512), 1, 60), [8, 8, 4]);
        assert_eq!(rooms(limits(64, none, 512), 1_000, 60), [8]);
        assert_eq!(rooms(limits(64, none, 512), 60, 60), [8, 8]);
        assert_eq!(rooms(limits(64, 100_000, none), 0, SLOT_BYTES), [2]);
        assert_eq!(rooms(limits(64, 100_000, none), 0, 40_000), [2, 1]);
    }

    #[test]
    fn an_error_after_the_first_frames_is_left_for_the_next_call() {
        let mut batch = Batch::limited(limits(64, 1 << 20, 512));
        let mut calls = 0;
        let mut receive = |buffers: &mut [&mut [u8]], lengths: &mut [usize]| {
            calls += 1;
            lengths.fill(60);
            match calls {
                1 => Ok(buffers.len()),
                _ => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        assert_eq!(batch.fill(&mut receive).unwrap(), 8);
        assert_eq!(
            batch.fill(&mut receive).unwrap_err().kind(),
            io::ErrorKind::NotConnected
        );
        assert!(batch.is_empty());
    }

    /// One end of a pair of sockets; `direct` says whether its descriptor may be written to.
    #[derive(Debug)]
    struct Socket {
        fd: std::os::unix::net::UnixDatagram,
        direct: bool,
    }

    impl AsFd for Socket {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }
    }

    impl Port for Socket {
        fn vnet_header_bytes(&self) -> usize {
            VNET_HEADER_BYTES
        }

        fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
            read_outcome(rustix::io::read(&self.fd, buffer))
        }

        fn write(&self, buffer: &[u8]) -> io::Result<Written> {
            Written::from_result(rustix::io::write(&self.fd, buffer))
        }

        fn write_parts(&self, _: &VnetHeader, _: &[u8]) -> io::Result<Written> {
            Ok(Written::Refused(0))
        }

        fn write_descriptor(&self) -> Option<BorrowedFd<'_>> {
            self.direct.then(|| self.fd.as_fd())
        }
    }

    fn pair(direct: bool) -> (Socket, Socket) {
        let (one, two) = std::os::unix::net::UnixDatagram::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        two.set_nonblocking(true).unwrap();
        (Socket { fd: one, direct }, Socket { fd: two, direct })
    }

    /// Every order of ports that have a descriptor and ports that have none, with a ring and without.
    #[test]
    fn a_writer_keeps_the_order_of_each_port() {
        for mut writer in [Writer::new(), Writer::one_by_one()] {
            for pattern in 0..64_u32 {
                let ((near, far), (odd, odd_far)) = (pair(true), pair(false));
                let frames: Vec<_> = (0..6_u8).map(|n| [n; 20]).collect();
                let goes_odd = |n: usize| pattern >> n & 1 == 1;
                let writes = frames.iter().enumerate().map(|(n, frame)| {
                    let port: &dyn Port = if goes_odd(n) { &odd } else { &near };
                    (port, frame.as_slice())
                });
                let mut results = [Written::Full; 8];
                assert_eq!(writer.write_all(writes, &mut results), 6);
                assert_eq!(results[..6], [Written::Sent; 6]);
                let mut batch = Batch::new(8);
                for (port, odd) in [(&far, false), (&odd_far, true)] {
                    let count = port.read_batch(&mut batch).unwrap();
                    let came: Vec<_> = (0..count).map(|n| batch.frame(n)[0]).collect();
                    let sent: Vec<_> = (0..6_u8).filter(|n| goes_odd(usize::from(*n)) == odd).collect();
                    assert_eq!(came, sent, "{pattern}");
                }
            }
        }
    }

    #[test]
    fn a_writer_tells_what_became_of_each_frame() {
        for mut writer in [Writer::new(), Writer::one_by_one()] {
            let ((near, _far), (gone, end), (full, _unread)) = (pair(true), pair(true), pair(true));
            drop(end);
            while full.write(b"fill").unwrap() == Written::Sent {}
            let ports: [&dyn Port; 4] = [&near, &gone, &full, &near];
            let mut results = [Written::Sent; 4];
            let writes = ports.into_iter().map(|port| (port, &b"frame"[..]));
            assert_eq!(writer.write_all(writes, &mut results), 4);
            let refused = Written::Refused(libc::ECONNREFUSED);
            assert_eq!(results, [Written::Sent, refused, Written::Full, Written::Sent]);
        }
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
