//! The sockets of a carrier, and what the kernel is told about them.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::error::{Error, Result, Step};
use crate::sys;

/// The socket of the SRD port.
#[derive(Debug)]
pub(super) struct Receiver {
    fd: OwnedFd,
    pub(super) address: SocketAddr,
    /// What the kernel counted as dropped for want of room in the socket.
    dropped: u32,
}

impl Receiver {
    pub(super) fn open(address: SocketAddr, buffer_bytes: usize) -> Result<Self> {
        let (fd, address) = open(address)?;
        if sockopt::set_socket_recv_buffer_size_force(&fd, buffer_bytes).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&fd, buffer_bytes);
        }
        let ecn = match address {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVTOS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
        };
        set(&fd, ecn.0, ecn.1, 1, "tell the ECN field")?;
        set(&fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1, "tell what it drops")?;
        // Without it (before Linux 5.0) datagrams come one by one.
        let _ = sys::set_socket_option(fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
        Ok(Self {
            fd,
            address,
            dropped: 0,
        })
    }

    /// Fills slots of `buffer`; 0 when nothing is there.
    pub(super) fn receive(
        &self,
        buffer: &mut [u8],
        slot: usize,
        received: &mut [sys::Received],
    ) -> Result<usize> {
        loop {
            let error = match sys::receive_datagrams(self.fd.as_fd(), buffer, slot, received) {
                Ok(count) => return Ok(count),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(0),
                // What the network said about a datagram that was sent is told once, and is no datagram.
                Some(libc::EINTR | libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => {}
                _ => return Err(error).step(|| "receive from the SRD port".into()),
            }
        }
    }

    /// How many datagrams the socket dropped since it was last asked.
    pub(super) fn newly_dropped(&mut self, total: u32) -> u64 {
        // Counts of two datagrams can come in the other order.
        let more = total.wrapping_sub(self.dropped);
        if more > u32::MAX / 2 {
            return 0;
        }
        self.dropped = total;
        u64::from(more)
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The socket of one path.
#[derive(Debug)]
pub(super) struct Path {
    fd: OwnedFd,
    pub(super) port: u16,
    /// Whether many datagrams are handed over as one.
    pub(super) offload: bool,
}

/// What became of datagrams that were handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// So many bytes of them were taken, which are whole datagrams.
    Taken(usize),
    /// There is no room now.
    Full,
    /// The first one cannot go: longer than the path's MTU.
    TooLong,
    /// The first one cannot go: no way to its address, or the network said that nobody is there.
    Unreachable,
    /// The first one cannot go, for this reason (an error number).
    Refused(i32),
}

impl Path {
    pub(super) fn open(address: IpAddr, port: u16, buffer_bytes: usize, offload: bool) -> Result<Self> {
        let (fd, bound) = open(SocketAddr::new(address, port))?;
        if sockopt::set_socket_send_buffer_size_force(&fd, buffer_bytes).is_err() {
            let _ = sockopt::set_socket_send_buffer_size(&fd, buffer_bytes);
        }
        // Peers send to the SRD port only: what comes here is nobody's, and should take no memory.
        let _ = sockopt::set_socket_recv_buffer_size(&fd, 0);
        // ECT(0), so that switches mark instead of dropping (RFC 3168, section 5); and no fragments, of which one lost is all lost.
        match bound {
            SocketAddr::V4(_) => {
                set(&fd, libc::IPPROTO_IP, libc::IP_TOS, ECT_0, "be ECN-capable")?;
                let (option, value) = (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO);
                set(&fd, libc::IPPROTO_IP, option, value, "not to fragment")?;
            }
            SocketAddr::V6(_) => {
                set(
                    &fd,
                    libc::IPPROTO_IPV6,
                    libc::IPV6_TCLASS,
                    ECT_0,
                    "be ECN-capable",
                )?;
                let (option, value) = (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO);
                set(&fd, libc::IPPROTO_IPV6, option, value, "not to fragment")?;
            }
        }
        // Before Linux 4.18 there is no such option.
        let known = sys::set_socket_option(fd.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        Ok(Self {
            fd,
            port: bound.port(),
            offload: offload && known,
        })
    }

    /// Hands datagrams of `segment` bytes over.
    pub(super) fn send(&mut self, to: SocketAddr, bytes: &[u8], segment: usize) -> Sent {
        if !self.offload || bytes.len() <= segment {
            return outcome(sys::send_datagrams(self.fd.as_fd(), to, bytes, segment, false));
        }
        let result = sys::send_datagrams(self.fd.as_fd(), to, bytes, segment, true);
        match &result {
            // A device that computes no checksums cannot cut (before Linux 6.11). It may also be that a segment is longer than the MTU; then each of them says so.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL)) => {
                let singly = outcome(sys::send_datagrams(self.fd.as_fd(), to, bytes, segment, false));
                if matches!(singly, Sent::Taken(_)) {
                    self.offload = false;
                }
                singly
            }
            _ => outcome(result),
        }
    }

    /// Hands datagrams of `segment` bytes over, which lie in several pieces. None if it cannot cut what is more than one; they then have to be in one piece.
    pub(super) fn send_pieces(&self, to: SocketAddr, pieces: &[IoSlice<'_>], segment: usize) -> Option<Sent> {
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        (self.offload || bytes <= segment)
            .then(|| outcome(sys::send_pieces(self.fd.as_fd(), to, pieces, segment)))
    }
}

impl AsFd for Path {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn outcome(result: io::Result<usize>) -> Sent {
    let error = match result {
        Ok(bytes) => return Sent::Taken(bytes),
        Err(error) => error,
    };
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Sent::Full,
        Some(libc::EMSGSIZE) => Sent::TooLong,
        Some(
            libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ENETDOWN | libc::EHOSTDOWN,
        ) => Sent::Unreachable,
        number => Sent::Refused(number.unwrap_or(libc::EIO)),
    }
}

/// A socket on this address, and the address with the port that it got.
fn open(address: SocketAddr) -> Result<(OwnedFd, SocketAddr)> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)
        .step(|| "open a UDP socket".into())?;
    rustix::net::bind(&fd, &address).step(|| format!("bind a UDP socket to {address}"))?;
    let bound = rustix::net::getsockname(&fd).step(|| "read the address of a UDP socket".into())?;
    let bound = SocketAddr::try_from(bound)
        .map_err(|_| Error::Invalid(format!("The socket on {address} has no address")))?;
    Ok((fd, bound))
}

fn set(fd: &OwnedFd, level: i32, option: i32, value: i32, what: &str) -> Result<()> {
    sys::set_socket_option(fd.as_fd(), level, option, value).step(|| format!("make a UDP socket {what}"))
}

/// Source: RFC 3168, section 5.
const ECT_0: i32 = 0b10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_about_a_datagram_is_sorted() {
        let said = |number| outcome(Err(io::Error::from_raw_os_error(number)));
        assert_eq!(outcome(Ok(12)), Sent::Taken(12));
        assert_eq!(said(libc::EAGAIN), Sent::Full);
        assert_eq!(said(libc::ENOBUFS), Sent::Full);
        assert_eq!(said(libc::EMSGSIZE), Sent::TooLong);
        assert_eq!(said(libc::ECONNREFUSED), Sent::Unreachable);
        assert_eq!(said(libc::EPERM), Sent::Refused(libc::EPERM));
    }

    /// Everything that comes within a second, at least so many bytes.
    fn receive_all(receiver: &Receiver, bytes: usize) -> (Vec<u8>, Vec<sys::Received>) {
        let (mut all, mut parts) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; 4 * 65_536];
        let end = crate::clock::monotonic_ns() + 1_000_000_000;
        while all.len() < bytes && crate::clock::monotonic_ns() < end {
            let mut received = [sys::Received::default(); 4];
            let count = receiver.receive(&mut buffer, 65_536, &mut received).unwrap();
            for (slot, part) in buffer.chunks(65_536).zip(received).take(count) {
                all.extend(&slot[..part.length]);
                parts.push(part);
            }
        }
        (all, parts)
    }

    #[test]
    fn datagrams_go_together_and_singly_and_come_as_they_were() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            for offload in [true, false] {
                let receiver = Receiver::open(address.parse().unwrap(), 1 << 20).unwrap();
                let to = receiver.address;
                let mut path = Path::open(to.ip(), 0, 1 << 20, offload).unwrap();
                assert_eq!(path.offload, offload);
                let bytes: Vec<u8> = (0..10_500_u32).flat_map(u32::to_be_bytes).collect();
                assert_eq!(path.send(to, &bytes, 1_200), Sent::Taken(bytes.len()));
                let (all, parts) = receive_all(&receiver, bytes.len());
                assert_eq!(all, bytes);
                for part in &parts {
                    assert!(part.length == part.segment || part.segment == 1_200, "{part:?}");
                    assert_eq!(part.ecn, 2, "ECT(0)");
                }
                // Three datagrams that are one for the kernel come one by one or together.
                let datagrams: usize = parts.iter().map(|part| part.length.div_ceil(part.segment)).sum();
                assert_eq!(datagrams, 35);
            }
        }
    }

    #[test]
    fn a_mark_of_the_network_is_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = Receiver::open(address.parse().unwrap(), 1 << 20).unwrap();
            let sender = std::net::UdpSocket::bind(address).unwrap();
            // What a switch does to a packet on its way, a sender may do itself (RFC 3168, section 5: both bits).
            match receiver.address {
                SocketAddr::V4(_) => {
                    sys::set_socket_option(sender.as_fd(), libc::IPPROTO_IP, libc::IP_TOS, 3)
                }
                SocketAddr::V6(_) => {
                    sys::set_socket_option(sender.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 3)
                }
            }
            .unwrap();
            sender.send_to(b"marked", receiver.address).unwrap();
            let (all, parts) = receive_all(&receiver, 6);
            assert_eq!((all.as_slice(), parts[0].ecn), (b"marked".as_slice(), 3));
        }
    }

    #[test]
    fn a_datagram_that_is_too_long_says_so_and_segmentation_goes_on() {
        let receiver = Receiver::open("127.0.0.1:0".parse().unwrap(), 1 << 20).unwrap();
        let mut path = Path::open(receiver.address.ip(), 0, 1 << 20, true).unwrap();
        // Loopback has an MTU of 65,536, and 65,507 bytes are the most that UDP over IPv4 carries.
        assert_eq!(path.send(receiver.address, &[0; 65_508], 65_508), Sent::TooLong);
        assert!(path.offload);
        let nobody = "240.0.0.1:9".parse().unwrap();
        assert!(!matches!(path.send(nobody, &[0; 10], 10), Sent::Taken(_)));
    }

    #[test]
    fn a_count_of_drops_only_grows() {
        let mut receiver = Receiver::open("127.0.0.1:0".parse().unwrap(), 1 << 16).unwrap();
        assert_eq!(receiver.newly_dropped(3), 3);
        assert_eq!(receiver.newly_dropped(2), 0, "an older count");
        assert_eq!(receiver.newly_dropped(5), 2);
        receiver.dropped = u32::MAX;
        assert_eq!(receiver.newly_dropped(1), 2, "it wraps");
    }
}
