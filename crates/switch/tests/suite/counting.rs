//! An allocator that counts what each thread takes, so that other tests of the program do not disturb. Other crates'
//! tests use it too.

// UNSAFETY: an allocator is an unsafe trait; the crates that are tested forbid unsafe code, and only this file has it.
#![expect(
    unsafe_code,
    reason = "counting allocations takes an allocator, which is an unsafe trait"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// How often the calling thread has taken memory since it began.
pub(crate) fn taken() -> u64 {
    TAKEN.get()
}

/// The system's allocator, with a count of what is taken from it.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Initialized at compile time and without a destructor, so that touching it allocates nothing itself.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; the count is a cell of the calling thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, so from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}
