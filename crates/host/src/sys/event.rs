//! Raising an eventfd that somebody else owns too, without ever waiting.
//!
//! A write to an eventfd waits while its counter is full, unless the descriptor says otherwise, and its other
//! owner can change both at any time. The kernel's own signal of an eventfd never waits, and the one way to ask
//! for it is the completion of an asynchronous read (`IOCB_FLAG_RESFD`): here one of no bytes, which completes
//! as it is submitted. Source: [linux/aio_abi.h], [io_submit(2)].

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;

use rustix::fs::MemfdFlags;

use super::check_long;

/// Raises an eventfd by one.
pub(crate) fn raise_event(event: BorrowedFd<'_>) -> io::Result<()> {
    static COMPLETIONS: OnceLock<Option<Completions>> = OnceLock::new();
    match COMPLETIONS.get_or_init(|| Completions::new().ok()) {
        Some(completions) => completions.raise(event),
        // No asynchronous reads here. The descriptor was made not to wait when it was handed in.
        None => rustix::io::write(event, &1u64.to_ne_bytes())
            .map(drop)
            .map_err(Into::into),
    }
}

/// A context for asynchronous reads, for all threads of the process and as long as it lives.
#[derive(Debug)]
struct Completions {
    context: libc::c_ulong,
    /// What is read, which is nothing.
    file: OwnedFd,
}

/// `struct iocb`; its fields 2 and 3 change places on big-endian machines, and are both zero.
#[repr(C)]
#[derive(Debug, Default)]
struct Request {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event: u32,
}
const _: () = assert!(size_of::<Request>() == 64);

/// `struct io_event`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct Completion {
    data: u64,
    request: u64,
    result: i64,
    result_2: i64,
}
const _: () = assert!(size_of::<Completion>() == 32);

impl Completions {
    fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("trinic-event", MemfdFlags::CLOEXEC)?;
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes one context id, which outlives the call.
        check_long(unsafe { libc::syscall(libc::SYS_io_setup, AT_A_TIME, &raw mut context) })?;
        Ok(Self { context, file })
    }

    fn raise(&self, event: BorrowedFd<'_>) -> io::Result<()> {
        let number = |fd: i32| u32::try_from(fd).map_err(io::Error::other);
        let mut request = Request {
            opcode: READ,
            file: number(self.file.as_raw_fd())?,
            flags: RAISE_EVENT,
            event: number(event.as_raw_fd())?,
            ..Request::default()
        };
        match self.submit(&mut request) {
            // No completion was taken back for a while.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                self.take_back()?;
                self.submit(&mut request)
            }
            other => other,
        }
    }

    fn submit(&self, request: &mut Request) -> io::Result<()> {
        let mut requests: [*mut Request; 1] = [ptr::from_mut(request)];
        let count: libc::c_long = 1;
        // SAFETY: the context is the process's until it ends; one pointer to one whole request, which the kernel
        // reads before it returns and which has no buffer.
        let submitted =
            unsafe { libc::syscall(libc::SYS_io_submit, self.context, count, requests.as_mut_ptr()) };
        check_long(submitted).map(drop)
    }

    /// Takes completions back, so that there is room for more.
    fn take_back(&self) -> io::Result<()> {
        let mut completions = [Completion::default(); 64];
        let nothing: *mut libc::timespec = ptr::null_mut();
        loop {
            let most = libc::c_long::try_from(completions.len()).unwrap_or_default();
            let least: libc::c_long = 0;
            let into = completions.as_mut_ptr();
            // SAFETY: the kernel writes at most as many completions as there is room for; it waits for none.
            let taken = check_long(unsafe {
                libc::syscall(libc::SYS_io_getevents, self.context, least, most, into, nothing)
            })?;
            if taken < most {
                return Ok(());
            }
        }
    }
}

/// Completions that may wait to be taken back.
const AT_A_TIME: libc::c_long = 256;
/// `IOCB_CMD_PREAD`.
const READ: u16 = 0;
/// `IOCB_FLAG_RESFD`.
const RAISE_EVENT: u32 = 1;
