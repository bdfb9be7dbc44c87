//! A file mapped into memory that somebody else writes too.
//!
//! Every access is checked against the length, copies bytes or one aligned word, and goes by raw pointer: there
//! is never a reference to the memory, and what was copied is not read a second time.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use trinic_pci::Intent;

use super::fault::{Faults, Guard, replace};

/// A shared mapping, guarded against its file being cut off.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The first byte that was asked for.
    pointer: NonNull<u8>,
    /// How many bytes were asked for.
    length: usize,
    /// The whole pages around it.
    start: NonNull<u8>,
    start_length: usize,
    /// Taken out of the table before the memory is unmapped: fields are dropped after [`Drop::drop`], so this
    /// one is dropped there by hand.
    guard: Option<Guard>,
}

// SAFETY: the memory belongs to the mapping wherever that is moved; nothing in it is bound to a thread.
unsafe impl Send for Mapping {}
// SAFETY: every access copies by raw pointer, and the memory is shared with another process that writes it at
// any time anyway: no method assumes that it does not change.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes at `offset` of a file whose pages have `page_bytes`.
    pub(crate) fn new(
        file: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        is_writable: bool,
        page_bytes: u64,
        faults: &Arc<Faults>,
    ) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let before = usize::try_from(offset % page_bytes).map_err(|_| invalid())?;
        let page = usize::try_from(page_bytes).map_err(|_| invalid())?;
        let first = libc::off_t::try_from(offset - offset % page_bytes).map_err(|_| invalid())?;
        let start_length = before
            .checked_add(length)
            .and_then(|end| end.checked_next_multiple_of(page));
        let start_length = start_length.filter(|_| length > 0).ok_or_else(invalid)?;
        let write = if is_writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: the kernel chooses where, so nothing that exists is touched; the descriptor is open.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                start_length,
                libc::PROT_READ | write,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                first,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(invalid)?;
        // SAFETY: `before` is less than the mapped length.
        let pointer = unsafe { start.add(before) };
        let mut mapping = Self {
            pointer,
            length,
            start,
            start_length,
            guard: None,
        };
        let exposed = start.as_ptr().expose_provenance();
        mapping.guard = Some(Guard::new(exposed, start_length, faults)?);
        Ok(mapping)
    }

    /// How many bytes there are.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Lets go of the file: what is read from now on is zeros, what is written is seen by nobody. Accesses may
    /// run meanwhile.
    pub(crate) fn release(&self) -> io::Result<()> {
        // SAFETY: the range is this mapping, whole, and is unmapped only when it is dropped.
        unsafe { replace(self.start.as_ptr().expose_provenance(), self.start_length) }
    }

    /// Maps another file in the same place, from its start. Accesses may run meanwhile.
    pub(crate) fn exchange(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the range is this mapping, whole, and is unmapped only when it is dropped; accesses that run
        // meanwhile find one file or the other.
        let result = unsafe {
            libc::mmap(
                self.start.as_ptr().cast(),
                self.start_length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE | libc::MAP_FIXED,
                file.as_raw_fd(),
                0,
            )
        };
        if result == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Copies bytes out; `false` when they are not all there.
    #[inline]
    #[must_use]
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let Some(from) = self.place(at, into.len()) else {
            return false;
        };
        let to = into.as_mut_ptr();
        // SAFETY: the range was checked; `into` is memory of this process, exclusively borrowed.
        unsafe { copy(from, to, into.len()) };
        forget_contents(to);
        true
    }

    /// Copies bytes in; `false` when there is no place for all.
    #[inline]
    #[must_use]
    pub(crate) fn write(&self, at: u64, from: &[u8]) -> bool {
        let Some(to) = self.place(at, from.len()) else {
            return false;
        };
        // SAFETY: the range was checked; `from` is memory of this process and borrowed.
        unsafe { copy(from.as_ptr(), to, from.len()) };
        true
    }

    /// Copies bytes to another mapping, which may show the same file; `false` when either range is not there.
    #[inline]
    #[must_use]
    pub(crate) fn copy(&self, at: u64, other: &Self, to: u64, length: usize) -> bool {
        let (Some(from), Some(to)) = (self.place(at, length), other.place(to, length)) else {
            return false;
        };
        // SAFETY: both ranges were checked; they may overlap.
        unsafe { ptr::copy(from, to, length) };
        true
    }

    /// Has the processor bring the cache line of a byte, if it is there. Nothing is accessed, so nothing can fault.
    #[inline]
    pub(crate) fn prefetch(&self, at: u64, intent: Intent) {
        let Some(place) = self.place(at, 1) else { return };
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::asm;
            match intent {
                // SAFETY: a hint, which may have any address and changes nothing.
                Intent::Read => unsafe {
                    asm!("prefetcht0 [{0}]", in(reg) place, options(nostack, readonly, preserves_flags))
                },
                // The compiler's own becomes a prefetch for reading where the target is any processor of this kind; those
                // without this instruction pass over it.
                // SAFETY: as above.
                Intent::Write => unsafe {
                    asm!("prefetchw [{0}]", in(reg) place, options(nostack, readonly, preserves_flags))
                },
            }
        }
        // Elsewhere there is no stable way to say it.
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (place, intent);
    }

    /// An acquiring load of an aligned word, in the machine's order.
    #[inline]
    pub(crate) fn load_u32(&self, at: u64) -> Option<u32> {
        let word = self.aligned(at, 4)?.cast::<u32>();
        // SAFETY: in range and aligned, both checked; the word is read as an atomic only.
        Some(unsafe { AtomicU32::from_ptr(word) }.load(Ordering::Acquire))
    }

    /// A releasing store to an aligned word; `false` when it is not there.
    #[inline]
    #[must_use]
    pub(crate) fn store_u32(&self, at: u64, value: u32) -> bool {
        let Some(word) = self.aligned(at, 4) else {
            return false;
        };
        // SAFETY: in range and aligned, both checked; the word is written as an atomic only.
        unsafe { AtomicU32::from_ptr(word.cast::<u32>()) }.store(value, Ordering::Release);
        true
    }

    /// A releasing store to an aligned half word; `false` when it is not there.
    #[inline]
    #[must_use]
    pub(crate) fn store_u16(&self, at: u64, value: u16) -> bool {
        let Some(word) = self.aligned(at, 2) else {
            return false;
        };
        // SAFETY: in range and aligned, both checked; the word is written as an atomic only.
        unsafe { AtomicU16::from_ptr(word.cast::<u16>()) }.store(value, Ordering::Release);
        true
    }

    /// Exchanges an aligned word.
    #[inline]
    pub(crate) fn swap_u32(&self, at: u64, value: u32) -> Option<u32> {
        let word = self.aligned(at, 4)?.cast::<u32>();
        // SAFETY: in range and aligned, both checked; the word is exchanged as an atomic only.
        Some(unsafe { AtomicU32::from_ptr(word) }.swap(value, Ordering::AcqRel))
    }

    /// A store of eight aligned bytes as one, not joined with others; `false` when they are not there.
    #[inline]
    #[must_use]
    pub(crate) fn store_u64(&self, at: u64, value: u64) -> bool {
        let Some(word) = self.aligned(at, 8) else {
            return false;
        };
        // SAFETY: in range and aligned, both checked.
        unsafe { ptr::write_volatile(word.cast::<u64>(), value) };
        true
    }

    #[inline]
    fn place(&self, at: u64, length: usize) -> Option<*mut u8> {
        let at = usize::try_from(at).ok()?;
        if at > self.length || length > self.length - at {
            return None;
        }
        // SAFETY: not beyond the mapping's end, checked above.
        Some(unsafe { self.pointer.as_ptr().add(at) })
    }

    /// As [`Self::place`]; `size` is 2, 4 or 8. Mappings start at whole pages, so an aligned offset is an
    /// aligned address.
    #[inline]
    fn aligned(&self, at: u64, size: usize) -> Option<*mut u8> {
        let place = self.place(at, size)?;
        place.addr().is_multiple_of(size).then_some(place)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // The address may belong to somebody else as soon as it is unmapped.
        drop(self.guard.take());
        // SAFETY: the range is this mapping, whole; every access borrows the mapping, so none runs any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.start_length) };
    }
}

/// Copies bytes. Those of a small frame go as two pieces of fixed size that overlap in the middle, which is four
/// loads and four stores in line and no call of the C library's `memmove`.
///
/// # Safety
///
/// As [`ptr::copy_nonoverlapping`]; the bytes at `from` may change meanwhile.
#[inline]
unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    const HALF: usize = 32;
    if (HALF..=2 * HALF).contains(&length) {
        let last = length - HALF;
        // SAFETY: the first half is in the range that the caller vouches for.
        unsafe { ptr::copy_nonoverlapping(from, to, HALF) };
        // SAFETY: `last` is within the range.
        let from = unsafe { from.add(last) };
        // SAFETY: as above.
        let to = unsafe { to.add(last) };
        // SAFETY: so is the half behind it, which ends with the range.
        unsafe { ptr::copy_nonoverlapping(from, to, HALF) };
    } else {
        // SAFETY: as the caller vouches.
        unsafe { ptr::copy_nonoverlapping(from, to, length) };
    }
}

/// Makes the compiler take the bytes at `copied` for unknown, so that it cannot read them from where they were
/// copied from instead, where they may have changed.
#[inline]
fn forget_contents(copied: *mut u8) {
    // SAFETY: an empty instruction, which does nothing with its operand.
    unsafe { std::arch::asm!("/* {0} */", in(reg) copied, options(nostack, preserves_flags)) };
}
