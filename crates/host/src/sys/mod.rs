//! System calls that neither `std` nor `rustix` offers, each behind a safe function.
//!
//! This is the only module of the crate with `unsafe` code: every other module is checked by the
//! compiler as usual. Nothing here decides anything; a function is one kernel request.

// UNSAFETY: ioctls of /dev/net/tun, socket options of AF_PACKET, clone with namespace flags,
// mount_setattr, signalfd, unshare, datagrams with UDP's control messages and submission rings have no safe wrapper in std or rustix 1.1. Memory
// shared with another process has none at all: it is mapped, copied and guarded in `mapping` and `fault`.
#![expect(
    unsafe_code,
    reason = "kernel requests without a safe wrapper in std or rustix"
)]

mod datagram;
mod event;
mod fault;
mod mapping;
mod ring;
mod spawn;

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

pub(crate) use datagram::{MOST_SEGMENTS, Received, receive_datagrams, send_datagrams, send_pieces};
pub(crate) use event::raise_event;
pub(crate) use fault::Faults;
pub(crate) use mapping::Mapping;
pub(crate) use ring::Ring;
pub(crate) use spawn::{ChildPlan, clone_and_execute};

/// Turns the -1 convention of C into a `Result`.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// As [`check`], for calls that go through `syscall(2)`.
fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

// ---- taps ------------------------------------------------------------------------------------

/// `TUNSETIFF`: attaches the open /dev/net/tun to the interface `name`, made if it is not there.
/// Returns the name that the kernel chose (a `%d` in `name` is filled in).
pub(crate) fn tun_set_iff(tun: BorrowedFd<'_>, name: &str, flags: i16) -> io::Result<String> {
    // SAFETY: ifreq is plain data for which all zeroes is a legal value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    copy_name(&mut request.ifr_name, name)?;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(read_name(&request.ifr_name))
}

/// `TUNGETFEATURES`: the flags that this kernel's tap driver knows.
pub(crate) fn tun_get_features(tun: BorrowedFd<'_>) -> io::Result<u32> {
    let mut features: libc::c_uint = 0;
    // SAFETY: TUNGETFEATURES writes one unsigned int, which outlives the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNGETFEATURES, &raw mut features) })?;
    Ok(features)
}

/// `TUNSETOFFLOAD`: which unfinished frames the reader accepts (`TUN_F_*`).
pub(crate) fn tun_set_offload(tun: BorrowedFd<'_>, offload: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offload)) })?;
    Ok(())
}

/// `TUNSETVNETHDRSZ`: how many bytes of virtio header stand before each frame.
pub(crate) fn tun_set_vnet_hdr_size(tun: BorrowedFd<'_>, size_bytes: c_int) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int, which outlives the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size_bytes) })?;
    Ok(())
}

/// `TUNSETPERSIST`: whether the interface stays when the last descriptor is closed.
pub(crate) fn tun_set_persist(tun: BorrowedFd<'_>, persist: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes its argument by value.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETPERSIST, libc::c_ulong::from(persist)) })?;
    Ok(())
}

/// `TUNSETSNDBUF`: how many bytes written here may wait unread in the instance's network stack.
pub(crate) fn tun_set_sndbuf(tun: BorrowedFd<'_>, bytes: c_int) -> io::Result<()> {
    // SAFETY: TUNSETSNDBUF reads one int, which outlives the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETSNDBUF, &raw const bytes) })?;
    Ok(())
}

/// Copies an interface name into a C field, with its terminating zero.
fn copy_name(field: &mut [libc::c_char; libc::IFNAMSIZ], name: &str) -> io::Result<()> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|b| b == 0) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (to, from) in field.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(())
}

/// Reads an interface name out of a C field.
fn read_name(field: &[libc::c_char; libc::IFNAMSIZ]) -> String {
    let bytes: Vec<u8> = field
        .iter()
        .map(|c| c.to_ne_bytes()[0])
        .take_while(|b| *b != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

// ---- sockets ---------------------------------------------------------------------------------

/// `setsockopt` with an int.
pub(crate) fn set_socket_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    let length: libc::socklen_t = 4;
    // SAFETY: the option value is one int of four bytes, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast::<c_void>(),
            length,
        )
    })?;
    Ok(())
}

/// `SO_PEERCRED`: the process that connected a Unix socket, or listened on it; `None` when it has no id in the
/// caller's pid namespace.
pub(crate) fn peer_pid(socket: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length: libc::socklen_t = 12;
    // SAFETY: SO_PEERCRED writes one ucred of 12 bytes, which outlives the call, as does the length.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast::<c_void>(),
            &raw mut length,
        )
    })?;
    Ok(u32::try_from(peer.pid).ok().filter(|pid| *pid != 0))
}

const _: () = assert!(size_of::<libc::ucred>() == 12);

/// Binds an AF_PACKET socket to one interface and all protocols.
pub(crate) fn bind_packet_socket(socket: BorrowedFd<'_>, if_index: u32) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data for which all zeroes is a legal value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
    address.sll_ifindex =
        c_int::try_from(if_index).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the address is a complete sockaddr_ll of the length given, which outlives the call.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast::<libc::sockaddr>(),
            length,
        )
    })?;
    Ok(())
}

/// `recvmmsg`: receives up to `buffers.len()` datagrams, none of them waited for; their lengths go to
/// `lengths`. Zero when nothing is there.
pub(crate) fn receive_many(
    socket: BorrowedFd<'_>,
    buffers: &mut [&mut [u8]],
    lengths: &mut [usize],
) -> io::Result<usize> {
    const MOST: usize = crate::port::BATCH_LIMIT;
    let count = buffers.len().min(lengths.len()).min(MOST);
    let mut vectors = [libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; MOST];
    // SAFETY: mmsghdr is plain data for which all zeroes is a legal value.
    let mut messages: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
    for ((buffer, vector), message) in buffers
        .iter_mut()
        .zip(&mut vectors)
        .zip(&mut messages)
        .take(count)
    {
        *vector = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast::<c_void>(),
            iov_len: buffer.len(),
        };
        message.msg_hdr.msg_iov = vector;
        message.msg_hdr.msg_iovlen = 1;
    }
    let wanted = libc::c_uint::try_from(count).unwrap_or_default();
    // SAFETY: each of the `wanted` messages points to one iovec over a distinct, exclusively borrowed
    // buffer; messages, vectors and buffers all outlive the call.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            wanted,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let received = match check(received) {
        Ok(received) => usize::try_from(received).unwrap_or_default(),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN)
            ) =>
        {
            0
        }
        Err(error) => return Err(error),
    };
    for (length, message) in lengths.iter_mut().zip(&messages).take(received) {
        *length = usize::try_from(message.msg_len).unwrap_or_default();
    }
    Ok(received)
}

// ---- processes and namespaces -----------------------------------------------------------------

/// `unshare` with namespace flags only (`CLONE_NEW*`), which never splits the descriptor table.
pub(crate) fn unshare_namespaces(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    assert!(
        !flags.contains(rustix::thread::UnshareFlags::FILES),
        "only namespaces may be unshared here"
    );
    // SAFETY: without FILES, asserted above, no thread can come to hold descriptors of another table.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// A copy of `fd` with a number of at least `least`, closed on exec.
pub(crate) fn duplicate_above(fd: impl AsFd, least: RawFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, least)?)
}

/// `fork` for a process that has one thread (checked): the child runs `child` and ends with its result.
pub(crate) fn fork_single_threaded(child: impl FnOnce() -> i32) -> io::Result<u32> {
    if !crate::process::is_single_threaded() {
        return Err(io::Error::other(
            "only a process with a single thread may fork here",
        ));
    }
    // SAFETY: the process has one thread, checked above, so no lock can be held by a thread that does
    // not exist in the child, and any code may run there.
    let pid = unsafe { libc::fork() };
    if check(pid)? == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(125);
        // SAFETY: _exit ends the child without running exit handlers that belong to the parent.
        unsafe { libc::_exit(code) };
    }
    Ok(u32::try_from(pid).unwrap_or_default())
}

/// Takes over a descriptor by number that the process was started with.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // Nothing that this process starts may inherit it in turn. This also checks that it is open.
    // SAFETY: F_SETFD takes no pointer.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the descriptor is open (checked above) and by contract with the parent nobody else in this
    // process owns it: it is taken once, at the start of main.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Marks every descriptor but the three streams as closed on exec. Before Linux 5.11 they keep their own
/// marks.
pub(crate) fn keep_descriptors_from_children() {
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Lets the kernel end what `command` starts when the calling thread ends, however it ends.
pub(crate) fn end_with_caller(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let ask = || {
        let signal = Some(rustix::process::Signal::KILL);
        Ok(rustix::process::set_parent_process_death_signal(signal)?)
    };
    // SAFETY: the closure makes one system call and takes no lock, allocates nothing.
    unsafe { command.pre_exec(ask) };
}

/// Lets what `command` starts get every signal. Those that the caller reads from a descriptor
/// ([`signal_descriptor`]) are blocked in it, and a child would inherit that.
pub(crate) fn unblock_signals(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let unblock = || {
        // SAFETY: sigset_t is plain data for which all zeroes is a legal value.
        let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is a local that outlives the call.
        check(unsafe { libc::sigemptyset(&raw mut none) })?;
        // SAFETY: as above; the old mask is not asked for.
        check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) })?;
        Ok(())
    };
    // SAFETY: the closure makes one system call and takes no lock, allocates nothing.
    unsafe { command.pre_exec(unblock) };
}

/// `kill(-1, signal)`: every process that the caller may signal but itself and init; for the init of a
/// pid namespace, everything in it.
pub(crate) fn signal_everything(signal: c_int) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::kill(-1, signal) })?;
    Ok(())
}

/// Blocks the signals given and returns a descriptor from which they can be read.
pub(crate) fn signal_descriptor(signals: &[c_int]) -> io::Result<OwnedFd> {
    // SAFETY: sigset_t is plain data for which all zeroes is a legal value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a local that outlives the call.
    check(unsafe { libc::sigemptyset(&raw mut set) })?;
    for signal in signals {
        // SAFETY: as above.
        check(unsafe { libc::sigaddset(&raw mut set, *signal) })?;
    }
    // SAFETY: as above; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) })?;
    // SAFETY: as above; -1 asks for a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: signalfd returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A signal that was taken from a descriptor of [`signal_descriptor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Its number.
    pub(crate) number: c_int,
    /// Whether a process sent it; else the kernel did, as a terminal's driver does to its foreground group.
    ///
    /// Source: sigaction(2), `si_code`: SI_USER is 0, other senders in user space have negative codes.
    pub(crate) is_from_process: bool,
}

/// The next signal waiting in a descriptor of [`signal_descriptor`].
pub(crate) fn next_signal(signals: BorrowedFd<'_>) -> Option<Taken> {
    let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(signals, &mut info) {
        Ok(length) if length == info.len() => {
            // Source: signalfd(2): `ssi_signo` u32, `ssi_errno` s32, `ssi_code` s32.
            let word = |at: usize| [info[at], info[at + 1], info[at + 2], info[at + 3]];
            Some(Taken {
                number: c_int::from_ne_bytes(word(0)),
                is_from_process: c_int::from_ne_bytes(word(8)) <= libc::SI_USER,
            })
        }
        _ => None,
    }
}

/// `NS_GET_PARENT`: the user namespace in which this one was made. Source: [ioctl_ns(2)].
pub(crate) fn parent_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// `_IO(0xb7, 2)`. Source: [linux/nsfs.h].
    const NS_GET_PARENT: libc::c_ulong = 0xb702;
    // SAFETY: the descriptor is open, and NS_GET_PARENT has no argument.
    let fd = check(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT as _) })?;
    // SAFETY: the ioctl returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `sethostname` for the calling process's UTS namespace.
pub(crate) fn set_host_name(name: &str) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}

// ---- mounts ----------------------------------------------------------------------------------

/// `mount_setattr` on the mount at `path` and everything below it.
pub(crate) fn mount_set_attributes_recursive(path: &CStr, set: u64) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is a C string and the structure is complete and of the size given; both outlive
    // the call, which only reads them.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}
