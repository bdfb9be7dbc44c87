//! A submission ring (io_uring) that does one thing: many writes with one system call, all of them finished
//! when the call returns.
//!
//! Each write is made as one that must not wait (`RWF_NOWAIT`): the kernel carries it out within the call, in
//! the order given, and one that would have to wait ends as `EAGAIN`, as write(2) on a descriptor with
//! `O_NONBLOCK` does. Sockets know that flag, and taps do since Linux 6.4 (`FMODE_NOWAIT`).
//! Source: [io_uring_enter(2)], [linux io_uring/rw.c `io_rw_init_file`], [linux drivers/net/tun.c].

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::{Errno, ReadWriteFlags};
use rustix::io_uring::{
    IORING_OFF_SQ_RING, IORING_OFF_SQES, IoringEnterFlags, IoringFeatureFlags, IoringOp, IoringSetupFlags,
    io_uring_cqe, io_uring_enter, io_uring_params, io_uring_ptr, io_uring_setup, io_uring_sqe,
    io_uring_user_data,
};

/// A ring of the calling process; one thread uses it at a time.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Heads, tails and completions, shared with the kernel.
    rings: Mapping,
    /// The requests.
    requests: Mapping,
    layout: Layout,
    fd: OwnedFd,
}

/// Where the words and the completions are in the shared memory (bytes), and how many requests and
/// completions there is room for (powers of two).
#[derive(Debug)]
struct Layout {
    submit_tail: usize,
    complete_head: usize,
    complete_tail: usize,
    completions: usize,
    submit_entries: u32,
    complete_entries: u32,
}

/// Memory shared with the kernel; unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and is reached through its owner only.
unsafe impl Send for Mapping {}

impl Ring {
    /// A ring for up to `capacity` writes at once (a power of two).
    ///
    /// # Errors
    ///
    /// When the kernel has no rings, is older than Linux 6.6, or a filter or `io_uring_disabled` forbids them.
    pub(crate) fn new(capacity: u32) -> io::Result<Self> {
        // A request that fails must not keep the rest from being taken, and nothing is to interrupt this
        // thread for a completion. NO_SQARRAY came with Linux 6.6; the writes to taps below need 6.4.
        let mut params = io_uring_params::default();
        params.flags =
            IoringSetupFlags::SUBMIT_ALL | IoringSetupFlags::COOP_TASKRUN | IoringSetupFlags::NO_SQARRAY;
        // SAFETY: no flag asks for another descriptor (ATTACH_WQ is not set).
        let fd = unsafe { io_uring_setup(capacity, &mut params) }?;
        if !params.features.contains(IoringFeatureFlags::SINGLE_MMAP) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let completions = index(params.cq_entries) * size_of::<io_uring_cqe>();
        let bytes = index(params.cq_off.cqes) + completions;
        let rings = Mapping::new(&fd, IORING_OFF_SQ_RING, bytes)?;
        let bytes = index(params.sq_entries) * size_of::<io_uring_sqe>();
        let requests = Mapping::new(&fd, IORING_OFF_SQES, bytes)?;
        Ok(Self {
            rings,
            requests,
            layout: Layout {
                submit_tail: index(params.sq_off.tail),
                complete_head: index(params.cq_off.head),
                complete_tail: index(params.cq_off.tail),
                completions: index(params.cq_off.cqes),
                submit_entries: params.sq_entries,
                complete_entries: params.cq_entries,
            },
            fd,
        })
    }

    /// Makes as many of the `writes` as fit and returns how many were taken; `results` gets the bytes
    /// written or the negative error number of each. Nothing is under way any more when it returns.
    pub(crate) fn write_all<'a>(
        &mut self,
        writes: &mut impl Iterator<Item = (BorrowedFd<'a>, &'a [u8])>,
        results: &mut [i32],
    ) -> usize {
        let room = results.len().min(index(self.layout.submit_entries));
        let tail = self.rings.word(self.layout.submit_tail);
        let first = tail.load(Ordering::Relaxed);
        let mut count = 0;
        for ((fd, bytes), result) in writes.take(room).zip(results.iter_mut()) {
            // What the kernel does not take at all counts as a full queue.
            *result = -libc::EAGAIN;
            self.prepare(first.wrapping_add(count), count, fd, bytes);
            count += 1;
        }
        tail.store(first.wrapping_add(count), Ordering::Release);
        let taken = self.submit(count);
        if taken < count {
            // Without a polling thread the kernel looks at the queue within `io_uring_enter` only.
            tail.store(first.wrapping_add(taken), Ordering::Release);
        }
        self.collect(taken, results);
        index(count)
    }

    /// Fills in one request; the kernel sees it once the tail has passed it.
    fn prepare(&self, position: u32, number: u32, fd: BorrowedFd<'_>, bytes: &[u8]) {
        let mut request = io_uring_sqe {
            opcode: IoringOp::Write,
            fd: fd.as_raw_fd(),
            user_data: io_uring_user_data::from_u64(number.into()),
            ..io_uring_sqe::default()
        };
        // The kernel only reads what a write points to.
        request.addr_or_splice_off_in.addr = io_uring_ptr::new(bytes.as_ptr().cast_mut().cast::<c_void>());
        // Longer than any packet is not to be had here; the rest of it would not be written.
        request.len.len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // `O_NONBLOCK` alone would let the kernel wait for room on behalf of this request.
        request.op_flags.rw_flags = ReadWriteFlags::NOWAIT;
        // No position: what is written to is a stream.
        request.off_or_addr2.off = u64::MAX;
        let place = index(position & (self.layout.submit_entries - 1));
        let at = place * size_of::<io_uring_sqe>();
        assert!(at + size_of::<io_uring_sqe>() <= self.requests.bytes);
        // SAFETY: the place lies within the mapping, checked above.
        let to = unsafe { self.requests.start.add(at) }.cast::<io_uring_sqe>();
        // SAFETY: the place is aligned (the mapping is, and its size is a multiple) and the kernel does not
        // look at it before the tail has passed it.
        unsafe { to.write(request) };
    }

    /// Hands `count` requests to the kernel; how many it took.
    fn submit(&self, count: u32) -> u32 {
        let mut taken = 0;
        while taken < count {
            let left = count - taken;
            // SAFETY: the descriptors and the bytes of the requests are borrowed by the caller of
            // `write_all` until it returns, and it returns when the kernel is done with them.
            match unsafe { io_uring_enter(&self.fd, left, left, IoringEnterFlags::GETEVENTS) } {
                Ok(0) => break,
                Ok(more) => taken += more,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        taken
    }

    /// Takes `count` completions, waiting for those that are not there yet.
    fn collect(&self, count: u32, results: &mut [i32]) {
        let head = self.rings.word(self.layout.complete_head);
        let tail = self.rings.word(self.layout.complete_tail);
        let mut at = head.load(Ordering::Relaxed);
        let end = at.wrapping_add(count);
        while at != end {
            if at == tail.load(Ordering::Acquire) {
                // SAFETY: nothing is submitted.
                if unsafe { io_uring_enter(&self.fd, 0, 1, IoringEnterFlags::GETEVENTS) }.is_err() {
                    // The kernel still reads the caller's bytes, so there is no way out but the end of it.
                    std::thread::yield_now();
                }
                continue;
            }
            let (number, result) = self.completion(at);
            if let Some(place) = usize::try_from(number).ok().and_then(|n| results.get_mut(n)) {
                *place = result;
            }
            at = at.wrapping_add(1);
            head.store(at, Ordering::Release);
        }
    }

    /// The number and the result in the completion at `position`, which the tail has passed.
    fn completion(&self, position: u32) -> (u64, i32) {
        let place = index(position & (self.layout.complete_entries - 1));
        let at = self.layout.completions + place * size_of::<io_uring_cqe>();
        assert!(at + size_of::<io_uring_cqe>() <= self.rings.bytes);
        // SAFETY: the place lies within the mapping, checked above.
        let from = unsafe { self.rings.start.add(at) }.cast::<io_uring_cqe>();
        // SAFETY: the place is aligned by the kernel's layout, holds plain data, and the kernel does not write
        // to it until the head has passed it.
        let completion = unsafe { from.as_ref() };
        (completion.user_data.u64_(), completion.res)
    }
}

impl Mapping {
    fn new(fd: &OwnedFd, offset: u64, bytes: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping, of a descriptor that is open; no memory in use is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, fd.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, bytes })
    }

    /// The word at byte `at`.
    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(size_of::<u32>()) && at + size_of::<u32>() <= self.bytes);
        // SAFETY: the place lies within the mapping, checked above.
        let word = unsafe { self.start.add(at) }.cast::<u32>();
        // SAFETY: it is aligned, checked above, lives as long as `self`, and is changed by atomic operations
        // only, the kernel's included.
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this start and length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast::<c_void>(), self.bytes) };
    }
}

/// Offsets and counts of the kernel are 32 bits wide, as are ours at least.
fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A completion is two words of 64 bits. Source: [linux/io_uring.h `struct io_uring_cqe`].
const _: () = assert!(size_of::<io_uring_cqe>() == 16 && size_of::<io_uring_sqe>() == 64);

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    /// A ring of four, or nothing where the kernel gives none.
    fn ring() -> Option<Ring> {
        Ring::new(4)
            .inspect_err(|error| eprintln!("SKIP: the kernel gives no ring: {error}"))
            .ok()
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap()
    }

    fn read(from: &OwnedFd) -> Option<Vec<u8>> {
        let mut buffer = [0; 64];
        let length = rustix::io::read(from, &mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    #[test]
    fn writes_are_done_in_order_and_no_more_than_fit() {
        let Some(mut ring) = ring() else { return };
        let (near, far) = pair();
        // Often enough for the positions to pass the end of the queue.
        for round in 0..50_u8 {
            let packets: Vec<_> = (0..6_u8).map(|n| vec![round, n]).collect();
            let mut left = packets.iter().map(|packet| (near.as_fd(), packet.as_slice()));
            let mut results = [0; 6];
            assert_eq!(ring.write_all(&mut left, &mut results), 4);
            assert_eq!(results[..4], [2; 4]);
            assert_eq!(ring.write_all(&mut left, &mut results), 2);
            assert_eq!(ring.write_all(&mut left, &mut results), 0);
            for packet in packets {
                assert_eq!(read(&far), Some(packet));
            }
            assert_eq!(read(&far), None);
        }
    }

    #[test]
    fn a_failed_write_keeps_its_place_and_the_others_are_done() {
        let Some(mut ring) = ring() else { return };
        let ((near, far), (gone, end)) = (pair(), pair());
        drop(end);
        let writes = [
            (near.as_fd(), &b"one"[..]),
            (gone.as_fd(), b"lost"),
            (near.as_fd(), b"three"),
        ];
        let mut results = [0; 3];
        assert_eq!(ring.write_all(&mut writes.into_iter(), &mut results), 3);
        assert_eq!(results, [3, -libc::ECONNREFUSED, 5]);
        assert_eq!(read(&far).as_deref(), Some(&b"one"[..]));
        assert_eq!(read(&far).as_deref(), Some(&b"three"[..]));
    }

    #[test]
    fn a_full_receiver_is_not_waited_for() {
        let Some(mut ring) = ring() else { return };
        let (near, _far) = pair();
        while rustix::io::write(&near, b"fill").is_ok() {}
        let writes = [(near.as_fd(), &b"more"[..]); 2];
        let mut results = [0; 2];
        assert_eq!(ring.write_all(&mut writes.into_iter(), &mut results), 2);
        assert_eq!(results, [-libc::EAGAIN; 2]);
    }
}
