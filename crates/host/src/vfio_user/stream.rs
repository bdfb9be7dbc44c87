//! Messages on a stream socket, with the file descriptors that come along.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use zerocopy::{FromBytes, IntoBytes};

use super::protocol::{DESCRIPTORS_MOST, HEADER_BYTES, Header, MESSAGE_BYTES_MOST, flag};
use super::refusal::Refusal;

/// What receiving came to.
#[derive(Debug)]
pub(super) enum Received {
    /// A whole message: its body and descriptors are in the inbox until [`Inbox::next`].
    Message(Header),
    /// Not all of it is there yet.
    Nothing,
    /// The other side has gone.
    Closed,
}

/// The message that is being received. It never has more bytes than a message may.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    filled: usize,
    descriptors: Vec<OwnedFd>,
    /// More descriptors came than a message may have.
    too_many: bool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            filled: 0,
            descriptors: Vec::new(),
            too_many: false,
        }
    }

    /// Forgets the message that was received.
    pub(super) fn next(&mut self) {
        self.bytes.truncate(HEADER_BYTES);
        self.filled = 0;
        self.descriptors.clear();
        self.too_many = false;
    }

    /// The message after its header.
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The descriptors that came with it.
    pub(super) fn take_descriptors(&mut self) -> Result<Vec<OwnedFd>, Refusal> {
        if self.too_many {
            return Err(Refusal::Descriptors);
        }
        Ok(std::mem::take(&mut self.descriptors))
    }

    /// Receives until a message is whole, nothing more is there, or (with a socket that waits) its time is up.
    pub(super) fn receive(&mut self, stream: &UnixStream) -> Result<Received, Refusal> {
        loop {
            if self.filled == self.bytes.len() {
                let header =
                    Header::read_from_bytes(&self.bytes[..HEADER_BYTES]).map_err(|_| Refusal::Header)?;
                let size = usize::try_from(header.size.get()).map_err(|_| Refusal::Header)?;
                if !(HEADER_BYTES..=MESSAGE_BYTES_MOST).contains(&size) {
                    return Err(Refusal::Header);
                }
                if self.filled == size {
                    return Ok(Received::Message(header));
                }
                self.bytes.resize(size, 0);
            }
            match self.read(stream) {
                Ok(0) => return Ok(Received::Closed),
                Ok(count) => self.filled += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(_) => return Ok(Received::Closed),
            }
        }
    }

    fn read(&mut self, stream: &UnixStream) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut vectors = [IoSliceMut::new(&mut self.bytes[self.filled..])];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let message = rustix::net::recvmsg(stream, &mut vectors, &mut control, flags)?;
        self.too_many |= message.flags.contains(ReturnFlags::CTRUNC);
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                self.descriptors.extend(descriptors);
            }
        }
        if self.descriptors.len() > DESCRIPTORS_MOST {
            self.descriptors.clear();
            self.too_many = true;
        }
        Ok(message.bytes)
    }
}

/// A message that is being sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

impl Outbox {
    /// Whether everything was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Puts a message in, whose predecessor must have been sent.
    pub(super) fn put(&mut self, mut header: Header, body: &[&[u8]], descriptors: Vec<OwnedFd>) {
        assert!(self.is_empty(), "one message at a time");
        let size = HEADER_BYTES + body.iter().map(|part| part.len()).sum::<usize>();
        header.size.set(u32::try_from(size).unwrap_or(u32::MAX));
        self.bytes.clear();
        self.bytes.extend_from_slice(header.as_bytes());
        for part in body {
            self.bytes.extend_from_slice(part);
        }
        self.sent = 0;
        self.descriptors = descriptors;
    }

    /// Sends as much as there is room for. Descriptors go with the first byte.
    pub(super) fn send(&mut self, stream: &UnixStream) -> io::Result<()> {
        while !self.is_empty() {
            let descriptors: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MOST))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
            }
            let vectors = [IoSlice::new(&self.bytes[self.sent..])];
            match rustix::net::sendmsg(stream, &vectors, &mut control, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.sent += count;
                    self.descriptors.clear();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A header of the type and flags given; its size is filled in when it is sent.
pub(super) fn header(id: u16, command: u16, flags: u32) -> Header {
    Header {
        id: id.into(),
        command: command.into(),
        size: 0.into(),
        flags: flags.into(),
        error: 0.into(),
    }
}

/// A reply to a command.
pub(super) fn reply(asked: &Header) -> Header {
    header(asked.id.get(), asked.command.get(), flag::REPLY)
}

/// A reply that tells of an error.
pub(super) fn error_reply(asked: &Header, errno: i32) -> Header {
    let mut header = header(asked.id.get(), asked.command.get(), flag::REPLY | flag::ERROR);
    header.error.set(u32::try_from(errno).unwrap_or_default());
    header
}
