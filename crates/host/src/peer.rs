//! Who is at the other end of a Unix socket.
//!
//! A socket's file mode keeps other users away, but not the root of an instance: the host's files are visible
//! in there, a read-only mount does not stop connect(2), and to the file system that root is the card's user.
//! What tells them apart is the pid namespace, as every instance has its own.
//!
//! Source: [unix(7), `SO_PEERCRED`], [pid_namespaces(7)], [proc_pid_status(5), `NSpid`].
//!
//! The peer is looked up by its process id. One that ends after connecting, whose id the kernel then gives to
//! a process of the host before the connection is accepted, would pass for that one.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use crate::sys;

/// Why a peer is not to be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// The kernel does not say who it is.
    #[error("Cannot tell who is at the other end of the connection")]
    Unknown(#[source] io::Error),
    /// It lives in another pid namespace: in an instance, or in a container.
    #[error("A process of another pid namespace may not use this socket")]
    OtherNamespace,
}

/// Refuses a peer that is not of the caller's pid namespace.
pub fn check_peer(socket: impl AsFd) -> Result<(), PeerFault> {
    let own = fs::read_to_string("/proc/self/status").map_err(PeerFault::Unknown)?;
    let Some(own_depth) = depth(&own) else {
        // A kernel without pid namespaces has no instances in namespaces either.
        return Ok(());
    };
    let Some(pid) = sys::peer_pid(socket.as_fd()).map_err(PeerFault::Unknown)? else {
        // It has no id here: its namespace is beside or above the caller's.
        return Err(PeerFault::OtherNamespace);
    };
    let peer = fs::read_to_string(format!("/proc/{pid}/status")).map_err(PeerFault::Unknown)?;
    // It has an id here, so its namespace is the caller's or lies within it.
    match depth(&peer) {
        Some(depth) if depth == own_depth => Ok(()),
        _ => Err(PeerFault::OtherNamespace),
    }
}

/// In how many pid namespaces the process has an id, counted from that of the mounted /proc.
fn depth(status: &str) -> Option<usize> {
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(ids.split_whitespace().count())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn depth_is_the_number_of_ids() {
        assert_eq!(depth("Name:\tx\nNSpid:\t812\nNSpgid:\t812\n"), Some(1));
        assert_eq!(depth("Name:\tx\nNSpid:\t812\t1\n"), Some(2));
        assert_eq!(depth("Name:\tx\n"), None);
    }

    #[test]
    fn the_caller_itself_is_no_stranger() {
        let (near, _far) = UnixStream::pair().unwrap();
        check_peer(&near).unwrap();
    }
}
