//! Surviving a peer that cuts off the file whose memory it shares.
//!
//! An access beyond the end of a mapped file raises SIGBUS. The handler here knows every mapping of shared
//! memory: it puts anonymous memory in the place of the one that was hit, so that the access finishes
//! harmlessly, sets its owner's flag and wakes its owner, who closes that function alone. Any other SIGBUS goes
//! on to whoever handled it before.
//!
//! The table is read in a signal handler and so without a lock; each slot has a sequence number that is odd
//! while the slot changes.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::check;

/// What a fault in any of an owner's mappings sets.
#[derive(Debug)]
pub(crate) struct Faults {
    faulted: AtomicBool,
    event: OwnedFd,
}

impl Faults {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        use rustix::event::EventfdFlags;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Arc::new(Self {
            faulted: AtomicBool::new(false),
            event: rustix::event::eventfd(0, flags)?,
        }))
    }

    /// Whether a mapping was replaced since [`Self::clear`].
    pub(crate) fn is_faulted(&self) -> bool {
        self.faulted.load(Ordering::Acquire)
    }

    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
        self.faulted.store(false, Ordering::Release);
    }

    /// Readable after a fault, until [`Self::clear`].
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// A mapping's place in the table; dropping it takes the mapping out.
#[derive(Debug)]
pub(super) struct Guard {
    slot: usize,
    /// The slot points to it.
    _faults: Arc<Faults>,
}

impl Guard {
    /// Puts the mapping of `length` bytes at `start` under the handler's care.
    pub(super) fn new(start: usize, length: usize, faults: &Arc<Faults>) -> io::Result<Self> {
        install()?;
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match free.pop() {
            Some(slot) => slot,
            None if USED.load(Ordering::Relaxed) < SLOTS_MOST => USED.fetch_add(1, Ordering::AcqRel),
            None => return Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        };
        SLOTS[slot].set(start, length, Arc::as_ptr(faults).cast_mut());
        Ok(Self {
            slot,
            _faults: Arc::clone(faults),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        SLOTS[self.slot].set(0, 0, ptr::null_mut());
        free.push(self.slot);
    }
}

/// One mapping as the handler sees it.
struct Slot {
    sequence: AtomicU64,
    start: AtomicUsize,
    length: AtomicUsize,
    faults: AtomicPtr<Faults>,
}

impl Slot {
    /// One thread at a time: the caller holds the list of free slots.
    fn set(&self, start: usize, length: usize, faults: *mut Faults) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.length.store(length, Ordering::Relaxed);
        self.faults.store(faults, Ordering::Relaxed);
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    /// The mapping, if it holds `address`.
    fn holding(&self, address: usize) -> Option<(usize, usize, *mut Faults)> {
        let before = self.sequence.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Relaxed);
        let length = self.length.load(Ordering::Relaxed);
        let faults = self.faults.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let is_whole = before.is_multiple_of(2) && before == self.sequence.load(Ordering::Relaxed);
        let holds = address.checked_sub(start).is_some_and(|at| at < length);
        (is_whole && holds && !faults.is_null()).then_some((start, length, faults))
    }
}

/// Puts anonymous memory in the place of `length` bytes at `start`, which lets go of the file that was there.
///
/// # Safety
///
/// The range is whole pages of a mapping that its owner accesses by raw pointers only and has not unmapped.
pub(super) unsafe fn replace(start: usize, length: usize) -> io::Result<()> {
    // SAFETY: the caller's range is a mapping of its own, so nothing else can be there to lose; accesses that
    // run meanwhile find one memory or the other.
    let result = unsafe {
        libc::mmap(
            ptr::with_exposed_provenance_mut(start),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    if result == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Installs the handler once in the life of the process.
fn install() -> io::Result<()> {
    static RESULT: OnceLock<Result<(), i32>> = OnceLock::new();
    let result = RESULT.get_or_init(|| {
        let mut old = no_action();
        // SAFETY: with no new action, sigaction only writes the old one to a local that outlives the call.
        let asked = check(unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut old) });
        // Known before the handler can run.
        let _ = EARLIER.set(old);
        let mut action = no_action();
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_sigbus;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let set = asked.and_then(|_| {
            // SAFETY: the action is complete, its handler makes only async-signal-safe calls.
            check(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) })
        });
        set.map(drop)
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))
    });
    result.map_err(io::Error::from_raw_os_error)
}

fn no_action() -> libc::sigaction {
    // SAFETY: sigaction is plain data; all zeroes means the default action, no flags, an empty mask.
    unsafe { std::mem::zeroed() }
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a complete siginfo to a handler with SA_SIGINFO.
    let told = unsafe { &*info };
    // Only the kernel's own signals have an address; their codes are positive.
    if told.si_code > 0 {
        // SAFETY: a SIGBUS of the kernel carries the address.
        let address = unsafe { told.si_addr() }.addr();
        if repair(address) {
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Replaces the mapping that holds `address`; `false` when it is none of ours.
fn repair(address: usize) -> bool {
    let used = USED.load(Ordering::Acquire).min(SLOTS_MOST);
    let Some((start, length, faults)) = SLOTS[..used].iter().find_map(|slot| slot.holding(address)) else {
        return false;
    };
    // SAFETY: no arguments; the answer is this thread's and valid as long as the thread.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above. The interrupted code may be about to read it.
    let kept = unsafe { *errno };
    // SAFETY: the thread that was interrupted is inside an access to this mapping and keeps it alive; the table
    // holds whole mappings.
    let replaced = unsafe { replace(start, length) }.is_ok();
    // SAFETY: the mapping keeps what its slot points to alive, and the interrupted access the mapping.
    let faults = unsafe { &*faults };
    faults.faulted.store(true, Ordering::Release);
    let one = 1u64.to_ne_bytes();
    // SAFETY: write is async-signal-safe; eight bytes of a local to a descriptor that does not block.
    unsafe { libc::write(faults.event.as_raw_fd(), one.as_ptr().cast::<c_void>(), one.len()) };
    // SAFETY: as above.
    unsafe { *errno = kept };
    replaced
}

/// Does what would have been done without this handler.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    type Informed = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    type Plain = extern "C" fn(c_int);
    let earlier = EARLIER.get();
    let (action, flags) = earlier.map_or((libc::SIG_DFL, 0), |old| (old.sa_sigaction, old.sa_flags));
    if action == libc::SIG_DFL || action == libc::SIG_IGN {
        let default = no_action();
        // SAFETY: the action is complete and outlives the call.
        unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
        // Blocked while this handler runs, so it comes when the handler returns and ends the process.
        // SAFETY: a number only.
        unsafe { libc::raise(signal) };
    } else if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: with SA_SIGINFO the kernel was given a function of this type.
        let handler = unsafe { std::mem::transmute::<usize, Informed>(action) };
        handler(signal, info, context);
    } else {
        // SAFETY: without SA_SIGINFO the kernel was given a function of this type.
        let handler = unsafe { std::mem::transmute::<usize, Plain>(action) };
        handler(signal);
    }
}

/// How many mappings a process may have; 16 functions with all their maps.
const SLOTS_MOST: usize = 16 * 1024;

#[expect(
    clippy::declare_interior_mutable_const,
    reason = "only the initial value of each slot"
)]
const EMPTY: Slot = Slot {
    sequence: AtomicU64::new(0),
    start: AtomicUsize::new(0),
    length: AtomicUsize::new(0),
    faults: AtomicPtr::new(ptr::null_mut()),
};

static SLOTS: [Slot; SLOTS_MOST] = [EMPTY; SLOTS_MOST];
/// Slots from here on were never used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Slots below that are not in use.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// What was done on SIGBUS before.
static EARLIER: OnceLock<libc::sigaction> = OnceLock::new();
