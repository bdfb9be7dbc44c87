//! Starting a child in new namespaces without copying the caller's memory.
//!
//! A card may hold hundreds of megabytes and move packets meanwhile; a fork would copy all its page tables
//! and make each page fault once more. So the child borrows the caller's memory until it executes, as
//! `posix_spawn` does, which has no namespaces: clone(2) with `CLONE_VM | CLONE_VFORK`. Only a thread made
//! for this is suspended meanwhile; the caller writes the child's user map, and then lets it execute.

use std::ffi::{CString, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustix::process::{WaitId, WaitIdOptions};

use super::{check, check_long};
use crate::error::{Result, Step};

/// What a child does: arrange its descriptors, wait for a byte, execute.
#[derive(Debug)]
pub(crate) struct ChildPlan<'a> {
    /// Program to execute, by a descriptor numbered above those of the child.
    pub(crate) program: BorrowedFd<'a>,
    /// Arguments, the name of the program first.
    pub(crate) arguments: &'a [CString],
    /// Environment.
    pub(crate) environment: &'a [CString],
    /// Descriptors that become 0, 1, 2, … in the child; each must be numbered above their count.
    pub(crate) descriptors: &'a [RawFd],
    /// Index in `descriptors` of a socket: the child executes only after reading one byte from it, and
    /// sends the error number to it when it cannot execute.
    pub(crate) gate: usize,
    /// The caller's end of that socket.
    pub(crate) gate_peer: BorrowedFd<'a>,
}

/// A child made by [`clone_and_execute`].
#[derive(Debug)]
pub(crate) struct Child {
    /// Process id in the caller's pid namespace.
    pub(crate) pid: u32,
    /// A descriptor of the process.
    pub(crate) pidfd: OwnedFd,
}

/// Makes a child with the namespace `flags`, calls `prepare` with it, and lets it execute. When `prepare`
/// fails the child ends without having executed anything.
pub(crate) fn clone_and_execute(
    flags: c_int,
    plan: &ChildPlan<'_>,
    prepare: impl FnOnce(&Child) -> Result<()>,
) -> Result<Child> {
    assert!(
        plan.gate < plan.descriptors.len(),
        "the gate is one of the descriptors"
    );
    let pidfd = AtomicI32::new(-1);
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("spawn".into())
            .spawn_scoped(scope, || clone_and_wait(flags, plan, &pidfd))
            .step(|| "start a thread".into())?;
        let told = wait_for_start(plan.gate_peer);
        let child = take_child(&pidfd).step(|| "identify the child".into());
        let prepared = match (&told, &child) {
            (Ok(()), Ok(child)) => prepare(child).and_then(|()| open_gate(plan.gate_peer)),
            _ => Ok(()),
        };
        if told.is_err() || child.is_err() || prepared.is_err() {
            // Without its byte the child ends, and with it the thread.
            let _ = rustix::net::shutdown(plan.gate_peer, Shutdown::Both);
        }
        let cloned = thread
            .join()
            .unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        let failed = cloned.and(told).step(|| "clone a child".into()).and(prepared);
        if let (Err(_), Ok(child)) = (&failed, &child) {
            let _ = rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
        failed.and(child)
    })
}

/// Takes over the descriptor that the kernel has stored.
fn take_child(pidfd: &AtomicI32) -> io::Result<Child> {
    let number = pidfd.load(Ordering::Acquire);
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: clone has stored a new descriptor there that nobody else owns, and this is called once.
    let pidfd = unsafe { OwnedFd::from_raw_fd(number) };
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    Ok(Child {
        pid: pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?,
        pidfd,
    })
}

/// Waits for the child's word that it runs; it may send an error number instead, or be missing.
fn wait_for_start(gate_peer: BorrowedFd<'_>) -> io::Result<()> {
    let mut message = [0u8; 4];
    match rustix::net::recv(gate_peer, &mut message[..], RecvFlags::empty())? {
        (1, _) => Ok(()),
        (4, _) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(message))),
        _ => Err(io::Error::from_raw_os_error(libc::ECHILD)),
    }
}

fn open_gate(gate_peer: BorrowedFd<'_>) -> Result<()> {
    rustix::net::send(gate_peer, b"g", SendFlags::NOSIGNAL).step(|| "let the child execute".into())?;
    Ok(())
}

/// What the child finds in the memory that it shares with the suspended thread.
struct Start<'a> {
    plan: &'a ChildPlan<'a>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// Number of the gate in the child.
    gate: RawFd,
    /// How many descriptors the plan has; the program gets this number in the child.
    count: RawFd,
}

/// The suspended thread's side: returns when the child has executed or ended.
fn clone_and_wait(flags: c_int, plan: &ChildPlan<'_>, pidfd: &AtomicI32) -> io::Result<()> {
    let pointers = |strings: &[CString]| {
        strings
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let number = |index: usize| RawFd::try_from(index).map_err(io::Error::other);
    let start = Start {
        plan,
        arguments: pointers(plan.arguments),
        environment: pointers(plan.environment),
        gate: number(plan.gate)?,
        count: number(plan.descriptors.len())?,
    };
    block_all_signals()?;
    let mut stack = vec![MaybeUninit::<u8>::uninit(); STACK_BYTES];
    let range = stack.as_mut_ptr_range();
    // The stack grows down from its end, which the ABI wants at a multiple of 16.
    let top = range.end.map_addr(|address| address & !15).cast::<c_void>();
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let argument = (&raw const start).cast_mut().cast::<c_void>();
    // SAFETY: the child runs `child_main` on a stack of its own and shares this memory; CLONE_VFORK suspends
    // this thread until the child has executed or ended, so `start`, `stack` and `pidfd` outlive its use of
    // them, and nothing here changes meanwhile. All signals are blocked, so no handler runs in the child.
    // The kernel stores the process descriptor in `pidfd` before either of them runs.
    let pid = unsafe { libc::clone(child_main, top, flags, argument, pidfd.as_ptr()) };
    let result = check(pid).map(drop);
    if result.is_err() {
        // Nobody will speak at the gate: the caller, who listens there, must not wait.
        // SAFETY: the caller's descriptor is open for the whole call.
        let gate = unsafe { BorrowedFd::borrow_raw(plan.descriptors[plan.gate]) };
        let _ = rustix::net::shutdown(gate, Shutdown::Both);
    }
    result
}

/// Blocks every signal for the calling thread, which ends soon.
fn block_all_signals() -> io::Result<()> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the whole set.
    check(unsafe { libc::sigfillset(all.as_mut_ptr()) })?;
    // SAFETY: the set was initialised above and outlives the call.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The child. It shares the memory of a process whose other threads run and may hold any lock: nothing here
/// may allocate, print or unwind. System calls only.
extern "C" fn child_main(argument: *mut c_void) -> c_int {
    // SAFETY: `clone_and_wait` passes a pointer to its Start and is suspended as long as the child uses it.
    let start = unsafe { &*argument.cast::<Start<'_>>() };
    let mut gate = start.plan.descriptors[start.plan.gate];
    if run_child(start, &mut gate).is_err() {
        let error = io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO)
            .to_ne_bytes();
        // SAFETY: writes four bytes of a local that outlives the call.
        unsafe { libc::write(gate, error.as_ptr().cast::<c_void>(), error.len()) };
    }
    // SAFETY: _exit ends the child alone, without running any code of the memory's owner.
    unsafe { libc::_exit(127) }
}

/// Returns only when something failed; then `errno` says what.
fn run_child(start: &Start<'_>, gate: &mut RawFd) -> Result<(), ()> {
    arrange_descriptors(start)?;
    *gate = start.gate;
    reset_signals();
    // SAFETY: no arguments; it cannot fail in a fresh child, which leads no process group.
    unsafe { libc::setsid() };
    // SAFETY: writes one byte of a constant.
    succeeded(unsafe { libc::write(*gate, b"s".as_ptr().cast::<c_void>(), 1) })?;
    let mut byte = 0u8;
    // SAFETY: reads at most one byte into a local that outlives the call.
    if unsafe { libc::read(*gate, (&raw mut byte).cast::<c_void>(), 1) } != 1 {
        // The caller has given up or died.
        // SAFETY: as in `child_main`.
        unsafe { libc::_exit(126) };
    }
    unblock_signals()?;
    // SAFETY: the path is the empty C string, both arrays end with a null pointer, and everything they
    // point to belongs to the suspended thread and outlives the call.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            start.count,
            c"".as_ptr(),
            start.arguments.as_ptr(),
            start.environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    check_long(failed).map(drop).map_err(drop)
}

/// Puts the planned descriptors to 0, 1, 2, …, the program after them, and closes all others: a copy of the
/// caller's end of the gate would keep the child waiting after the caller has died.
fn arrange_descriptors(start: &Start<'_>) -> Result<(), ()> {
    let mut number: RawFd = 0;
    for descriptor in start
        .plan
        .descriptors
        .iter()
        .copied()
        .chain([start.plan.program.as_raw_fd()])
    {
        // SAFETY: numbers only; what was open at `number` is the child's copy and not used here.
        succeeded(unsafe { libc::dup2(descriptor, number) } as isize)?;
        number += 1;
    }
    // SAFETY: numbers only. The program is closed by executing it.
    succeeded(unsafe { libc::fcntl(start.count, libc::F_SETFD, libc::FD_CLOEXEC) } as isize)?;
    // SAFETY: numbers only. Failing (before Linux 5.9) leaves others to their own close-on-exec flags.
    unsafe { libc::syscall(libc::SYS_close_range, number, u32::MAX, 0) };
    Ok(())
}

/// Every signal back to its default action, as the caller's handlers are not the child's.
fn reset_signals() {
    // SAFETY: sigaction is plain data; all zeroes means the default action, no flags, an empty mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=64 {
        // SAFETY: the action is a local that outlives the call. Refused for SIGKILL, SIGSTOP and the
        // library's own signals, which have no handlers in the child anyway.
        unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
    }
}

fn unblock_signals() -> Result<(), ()> {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set.
    succeeded(unsafe { libc::sigemptyset(none.as_mut_ptr()) } as isize)?;
    // SAFETY: the set was initialised above and outlives the call.
    succeeded(unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) } as isize)
}

/// Turns the -1 convention of C into a `Result` without touching `errno`.
fn succeeded(result: isize) -> Result<(), ()> {
    if result < 0 { Err(()) } else { Ok(()) }
}

/// Stack of the child until it executes.
const STACK_BYTES: usize = 64 * 1024;
