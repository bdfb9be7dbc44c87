//! Ports inside the process: the links of user-space instances, and of tests.
//!
//! They look to the worker as taps do ([`Port`]): a virtio header and a frame of up to 64 KiB in one buffer,
//! and a descriptor that is readable while packets wait, so that one epoll serves all.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use trinic_host::port::{Port, Written};
use trinic_host::vnet::{VNET_HEADER_BYTES, VnetHeader};
use zerocopy::IntoBytes;

/// One end of an in-process link: a port of the card, and the end that a user-space instance (or a test)
/// holds.
#[derive(Debug)]
pub struct MemoryPort {
    inbox: Arc<Ring>,
    outbox: Arc<Ring>,
}

/// A bounded queue with a descriptor that is readable while it holds something.
#[derive(Debug)]
struct Ring {
    packets: Mutex<VecDeque<Vec<u8>>>,
    capacity: usize,
    ready: OwnedFd,
}

impl MemoryPort {
    /// A link of two ends whose queues hold `capacity` packets in each direction.
    ///
    /// # Errors
    ///
    /// When no descriptor is left.
    pub fn pair(capacity: usize) -> io::Result<(Self, Self)> {
        let (one, two) = (Ring::new(capacity)?, Ring::new(capacity)?);
        Ok((
            Self {
                inbox: one.clone(),
                outbox: two.clone(),
            },
            Self {
                inbox: two,
                outbox: one,
            },
        ))
    }

    /// Takes the next packet, without copying it.
    ///
    /// # Errors
    ///
    /// When the descriptor fails.
    pub fn take(&self) -> io::Result<Option<Vec<u8>>> {
        self.inbox.pop()
    }
}

impl AsFd for MemoryPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inbox.ready.as_fd()
    }
}

impl Port for MemoryPort {
    fn vnet_header_bytes(&self) -> usize {
        VNET_HEADER_BYTES
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(packet) = self.inbox.pop()? else {
            return Ok(None);
        };
        // As a tap does, a buffer that is too small gets the packet's beginning.
        let length = packet.len().min(buffer.len());
        buffer[..length].copy_from_slice(&packet[..length]);
        Ok(Some(length))
    }

    fn write(&self, buffer: &[u8]) -> io::Result<Written> {
        self.outbox.push(buffer.to_vec())
    }

    fn write_parts(&self, header: &VnetHeader, frame: &[u8]) -> io::Result<Written> {
        let mut packet = Vec::with_capacity(VNET_HEADER_BYTES + frame.len());
        packet.extend_from_slice(header.as_bytes());
        packet.extend_from_slice(frame);
        self.outbox.push(packet)
    }
}

impl Ring {
    fn new(capacity: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            packets: Mutex::new(VecDeque::with_capacity(capacity)),
            capacity,
            ready: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self) -> io::Result<Option<Vec<u8>>> {
        let mut packets = self.lock();
        let packet = packets.pop_front();
        if packet.is_some() && packets.is_empty() {
            // Under the lock: a packet pushed after this makes the descriptor readable again.
            rustix::io::read(&self.ready, &mut [0; 8])?;
        }
        Ok(packet)
    }

    fn push(&self, packet: Vec<u8>) -> io::Result<Written> {
        let mut packets = self.lock();
        if packets.len() >= self.capacity {
            return Ok(Written::Full);
        }
        packets.push_back(packet);
        if packets.len() == 1 {
            rustix::io::write(&self.ready, &1_u64.to_ne_bytes())?;
        }
        Ok(Written::Sent)
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn readable(port: &MemoryPort) -> bool {
        let timeout = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(port, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    }

    #[test]
    fn a_ring_is_readable_while_it_holds_something() {
        let (one, two) = MemoryPort::pair(2).unwrap();
        assert!(!readable(&two));
        assert_eq!(one.write(b"a").unwrap(), Written::Sent);
        assert_eq!(one.write(b"b").unwrap(), Written::Sent);
        assert_eq!(one.write(b"c").unwrap(), Written::Full);
        assert!(readable(&two) && !readable(&one));
        let mut buffer = [0; 4];
        assert_eq!(two.read(&mut buffer).unwrap(), Some(1));
        assert!(readable(&two));
        assert_eq!(two.take().unwrap(), Some(b"b".to_vec()));
        assert!(!readable(&two));
        assert_eq!(two.read(&mut buffer).unwrap(), None);
    }
}
