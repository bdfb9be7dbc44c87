//! UDP datagrams, many with one system call, and the control messages that tell their size and their ECN field.

use std::ffi::{c_int, c_void};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use zerocopy::IntoBytes;

use super::check;

/// What came with a datagram, or with several of one size that the kernel put together (`UDP_GRO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes of all of them.
    pub(crate) length: usize,
    /// Bytes of each; the last one may be shorter.
    pub(crate) segment: usize,
    /// The two ECN bits of the IP header, if the socket was asked to tell them.
    pub(crate) ecn: u8,
    /// It was longer than the buffer, and the rest is gone.
    pub(crate) truncated: bool,
    /// How many datagrams the socket has dropped since it was made, for want of room (`SO_RXQ_OVFL`); the kernel does not tell it before the first.
    pub(crate) dropped: Option<u32>,
}

/// `recvmmsg`: receives into the parts of `buffer`, each of `slot` bytes, and waits for nothing. Says how many parts were filled: 0 when nothing is there.
pub(crate) fn receive_datagrams(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    slot: usize,
    received: &mut [Received],
) -> io::Result<usize> {
    let mut vectors = [NO_VECTOR; MOST];
    let mut controls = [[0_u64; CONTROL_WORDS]; MOST];
    // SAFETY: mmsghdr is plain data for which all zeroes is a legal value.
    let mut messages: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
    let mut wanted = 0;
    for (((bytes, vector), control), message) in buffer
        .chunks_exact_mut(slot)
        .zip(&mut vectors)
        .zip(&mut controls)
        .zip(&mut messages)
        .take(received.len())
    {
        *vector = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast::<c_void>(),
            iov_len: bytes.len(),
        };
        message.msg_hdr.msg_iov = vector;
        message.msg_hdr.msg_iovlen = 1;
        message.msg_hdr.msg_control = control.as_mut_ptr().cast::<c_void>();
        message.msg_hdr.msg_controllen = size_of_val(control);
        wanted += 1;
    }
    // SAFETY: each of the `wanted` messages points to one iovec over a distinct, exclusively borrowed part of the buffer and to a control buffer of the length
    // given; messages, vectors, controls and buffer all outlive the call.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            wanted,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let count = usize::try_from(check(count)?).unwrap_or_default();
    for ((result, message), control) in received.iter_mut().zip(&messages).zip(&controls).take(count) {
        let length = usize::try_from(message.msg_len).unwrap_or_default();
        *result = Received {
            length,
            segment: length,
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            ..Received::default()
        };
        let told = message.msg_hdr.msg_controllen.min(size_of_val(control));
        read_control(&control.as_bytes()[..told], result);
    }
    Ok(count)
}

/// Sends `bytes` as datagrams of `segment` bytes each (the last one may be shorter) and waits for nothing: with `offload` as one message that the kernel or the
/// card cuts (`UDP_SEGMENT`), else as many messages of one `sendmmsg`. Says how many bytes were taken, which are whole datagrams.
pub(crate) fn send_datagrams(
    socket: BorrowedFd<'_>,
    to: SocketAddr,
    bytes: &[u8],
    segment: usize,
    offload: bool,
) -> io::Result<usize> {
    if offload || bytes.len() <= segment {
        return send_pieces(socket, to, &[IoSlice::new(bytes)], segment);
    }
    let mut name = Name::new(to);
    let mut vectors = [NO_VECTOR; MOST_SEGMENTS];
    // SAFETY: mmsghdr is plain data for which all zeroes is a legal value.
    let mut messages: [libc::mmsghdr; MOST_SEGMENTS] = unsafe { std::mem::zeroed() };
    let mut wanted = 0;
    for ((part, vector), message) in bytes.chunks(segment).zip(&mut vectors).zip(&mut messages) {
        *vector = vector_of(part);
        message.msg_hdr = header(&mut name, vector);
        wanted += 1;
    }
    // SAFETY: each of the `wanted` messages points to the name and to one iovec over a part of `bytes`, which the kernel only reads; all of it outlives the call.
    let count = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            wanted,
            libc::MSG_DONTWAIT,
        )
    };
    let count = usize::try_from(check(count)?).unwrap_or_default();
    Ok((count * segment).min(bytes.len()))
}

/// Sends the bytes of several pieces, one after the other, as one message of datagrams of `segment` bytes each, which the kernel or the card cuts if it is more than one
/// (`UDP_SEGMENT`). Waits for nothing. Says how many bytes were taken: all.
pub(crate) fn send_pieces(
    socket: BorrowedFd<'_>,
    to: SocketAddr,
    pieces: &[IoSlice<'_>],
    segment: usize,
) -> io::Result<usize> {
    let mut name = Name::new(to);
    // IoSlice is laid out as iovec. Source: its documentation. The kernel does not write through it: it is a message that is sent.
    let mut message = header(&mut name, pieces.as_ptr().cast_mut().cast::<libc::iovec>());
    message.msg_iovlen = pieces.len();
    let mut control = [0_u64; 3];
    if pieces.iter().map(|piece| piece.len()).sum::<usize>() > segment {
        let size = u16::try_from(segment).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
        write_segment_size(&mut control, size);
        message.msg_control = control.as_mut_ptr().cast::<c_void>();
        message.msg_controllen = size_of_val(&control);
    }
    // SAFETY: the message points to the name, to as many iovecs as there are pieces, each over borrowed bytes, and to a control buffer of the length given, all of
    // which the kernel only reads; all of it outlives the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(sent).unwrap_or_default())
}

/// An address as the kernel reads it.
enum Name {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl Name {
    fn new(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.ip().octets()),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(address) => Self::V6(libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            }),
        }
    }

    fn parts(&mut self) -> (*mut c_void, usize) {
        match self {
            Self::V4(name) => (ptr::from_mut(name).cast(), size_of::<libc::sockaddr_in>()),
            Self::V6(name) => (ptr::from_mut(name).cast(), size_of::<libc::sockaddr_in6>()),
        }
    }
}

fn family(number: c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).unwrap_or_default()
}

fn vector_of(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        // The kernel does not write through it: it is a message that is sent.
        iov_base: bytes.as_ptr().cast_mut().cast::<c_void>(),
        iov_len: bytes.len(),
    }
}

fn header(name: &mut Name, vector: *mut libc::iovec) -> libc::msghdr {
    let (pointer, length) = name.parts();
    // SAFETY: msghdr is plain data for which all zeroes is a legal value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = pointer;
    message.msg_namelen = libc::socklen_t::try_from(length).unwrap_or_default();
    message.msg_iov = vector;
    message.msg_iovlen = 1;
    message
}

/// Writes the control message that asks for datagrams of so many bytes. Source: udp(7), `UDP_SEGMENT`; cmsg(3) for the layout.
fn write_segment_size(control: &mut [u64; 3], size: u16) {
    let bytes = control.as_mut_bytes();
    bytes[..8].copy_from_slice(&(CONTROL_HEADER + 2).to_ne_bytes());
    bytes[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    bytes[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    bytes[16..18].copy_from_slice(&size.to_ne_bytes());
}

/// Reads control messages. Source: cmsg(3): length with the header (8 bytes), level (4), type (4), data, and room up to a multiple of 8.
fn read_control(mut control: &[u8], received: &mut Received) {
    while let Some((head, rest)) = control.split_first_chunk::<CONTROL_HEADER>() {
        let [a, b, c, d, e, f, g, h, l0, l1, l2, l3, t0, t1, t2, t3] = *head;
        let length = usize::from_ne_bytes([a, b, c, d, e, f, g, h]);
        let Some(data) = length
            .checked_sub(CONTROL_HEADER)
            .and_then(|length| rest.get(..length))
        else {
            return;
        };
        let number = || data.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        match (
            c_int::from_ne_bytes([l0, l1, l2, l3]),
            c_int::from_ne_bytes([t0, t1, t2, t3]),
        ) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size = number().and_then(|size| usize::try_from(size).ok());
                received.segment = size.filter(|size| *size > 0).unwrap_or(received.length);
            }
            // One byte, or four from IPv6.
            (libc::IPPROTO_IP, libc::IP_TOS) => received.ecn = data.first().map_or(0, |tos| tos & 3),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                received.ecn = number().map_or(0, |class| class.to_be_bytes()[3] & 3);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => received.dropped = number(),
            _ => {}
        }
        control = rest.get(data.len().next_multiple_of(8)..).unwrap_or_default();
    }
}

// The layouts above are those of 64-bit targets.
const _: () = assert!(size_of::<usize>() == 8 && size_of::<libc::cmsghdr>() == CONTROL_HEADER);

/// Bytes before the data of a control message.
const CONTROL_HEADER: usize = 16;
/// Room for the control messages of a datagram: size, ECN field and drops take 24 bytes each.
const CONTROL_WORDS: usize = 12;
/// Most datagrams (or groups of them) that one call receives.
const MOST: usize = 32;
/// Most datagrams of one call that sends: as many as `UDP_SEGMENT` permits on every kernel that has it. Source: linux/udp.h, `UDP_MAX_SEGMENTS`.
pub(crate) const MOST_SEGMENTS: usize = 64;
const NO_VECTOR: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: c_int, kind: c_int, data: &[u8]) -> Vec<u8> {
        let mut bytes = (CONTROL_HEADER + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn read(control: &[u8]) -> Received {
        let mut received = Received {
            length: 3_000,
            segment: 3_000,
            ..Received::default()
        };
        read_control(control, &mut received);
        received
    }

    #[test]
    fn control_messages_tell_size_ecn_and_drops() {
        let control = [
            message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &7_u32.to_ne_bytes()),
            message(libc::IPPROTO_IP, libc::IP_TOS, &[0x0b]),
            message(libc::SOL_UDP, libc::UDP_GRO, &1_200_u32.to_ne_bytes()),
        ]
        .concat();
        let received = read(&control);
        assert_eq!(
            (received.segment, received.ecn, received.dropped),
            (1_200, 3, Some(7))
        );
        let class = message(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &0x2a_u32.to_ne_bytes());
        assert_eq!(read(&class).ecn, 2);
        assert_eq!(read(&[]).segment, 3_000, "one datagram");
    }

    #[test]
    fn control_messages_that_contradict_themselves_are_left() {
        let whole = message(libc::SOL_UDP, libc::UDP_GRO, &0_u32.to_ne_bytes());
        assert_eq!(read(&whole).segment, 3_000, "no size at all");
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]).segment, 3_000);
        }
        for length in [0_usize, 15, 21, usize::MAX] {
            let mut wrong = whole.clone();
            wrong[..8].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(read(&wrong).segment, 3_000);
        }
    }
}
