//! Route netlink on a blocking socket: the encoding of requests and the reading of answers. What the
//! requests mean is in [`crate::link`].
//!
//! The few messages that a card needs are written by hand: the datapath process has no async runtime,
//! and a request is one send and one receive of a few hundred bytes.
//! Source: [RFC 3549], [netlink(7)], [rtnetlink(7)].

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Error, Result, Step};
use crate::sys;

/// A request under construction.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    /// As it completes "Could not …".
    what: String,
}

impl Request {
    /// A request of type `kind` (`RTM_*`) with the fixed structure `body` at its start.
    pub(crate) fn new(kind: u16, flags: u16, body: &[u8], what: impl Into<String>) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | FLAG_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(body);
        Self {
            bytes,
            what: what.into(),
        }
    }

    /// Appends an attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(align(self.bytes.len()), 0);
        self
    }

    /// Appends an attribute of four bytes.
    pub(crate) fn attribute_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute that is text with a terminating zero.
    pub(crate) fn attribute_text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an attribute that holds what `fill` appends.
    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.attribute(kind, &[]);
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Appends raw bytes: a fixed structure inside a nested attribute.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn finish(&mut self, sequence: u32, extra_flags: u16) {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | extra_flags;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// A netlink socket in the namespace where it was opened.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the namespace of the calling thread.
    pub(crate) fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
            .step(|| "open a netlink socket".into())?;
        // Both only make errors more telling; kernels before 4.12 lack them.
        let _ = sys::set_socket_option(fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = sys::set_socket_option(fd.as_fd(), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a request and waits for its acknowledgement.
    pub(crate) fn execute(&mut self, mut request: Request) -> Result<()> {
        self.send(&mut request, FLAG_ACK)?;
        self.receive(&request, |_, _| ())
    }

    /// Sends a request for a list; returns type and body of each message of the answer.
    pub(crate) fn dump(&mut self, mut request: Request) -> Result<Vec<(u16, Vec<u8>)>> {
        self.send(&mut request, FLAG_DUMP)?;
        let mut messages = Vec::new();
        self.receive(&request, |kind, body| messages.push((kind, body.to_vec())))?;
        Ok(messages)
    }

    /// Sends a request for one object, which is answered by its message and an acknowledgement.
    pub(crate) fn get(&mut self, mut request: Request) -> Result<Option<Vec<u8>>> {
        self.send(&mut request, FLAG_ACK)?;
        let mut message = None;
        self.receive(&request, |_, body| message = Some(body.to_vec()))?;
        Ok(message)
    }

    fn send(&mut self, request: &mut Request, extra_flags: u16) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        request.finish(self.sequence, extra_flags);
        rustix::net::send(&self.fd, &request.bytes, SendFlags::empty()).step(|| request.what.clone())?;
        Ok(())
    }

    /// Reads messages until the acknowledgement, error or end of list that belongs to the request.
    fn receive(&self, request: &Request, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let mut buffer = vec![0u8; RECEIVE_BYTES];
        loop {
            let (length, _) = match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok(received) => received,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error).step(|| request.what.clone()),
            };
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    KIND_DONE => return Ok(()),
                    KIND_ERROR => return acknowledgement(&message, &request.what),
                    kind => each(kind, message.body),
                }
            }
        }
    }
}

/// One message of an answer.
#[derive(Debug)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// Cuts a datagram into messages; a malformed tail is left out.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let body = bytes.get(MESSAGE_HEADER_BYTES..length)?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            body,
        };
        bytes = bytes.get(align(length)..).unwrap_or_default();
        Some(message)
    })
}

/// Reads an acknowledgement: zero, or a negative error number and perhaps the kernel's sentence.
fn acknowledgement(message: &Message<'_>, what: &str) -> Result<()> {
    let code = u32_at(message.body, 0).map_or(-libc::EPROTO, u32::cast_signed);
    if code == 0 {
        return Ok(());
    }
    let source = io::Error::from_raw_os_error(code.wrapping_neg());
    let what = what.to_owned();
    let tail = if message.flags & FLAG_ACK_TLVS == 0 {
        None
    } else {
        message.body.get(4 + 16..)
    };
    let text = tail.and_then(|tail| attributes(tail).find(|(kind, _)| *kind == ACK_MESSAGE));
    match text {
        Some((_, text)) => {
            let message = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
            Err(Error::Netlink {
                what,
                message,
                source,
            })
        }
        None => Err(Error::Os { what, source }),
    }
}

/// Walks the attributes in `bytes`: type without flag bits, and value. Stops at the first malformed one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & ATTRIBUTE_KIND_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Two bytes in host order.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes
        .get(offset..offset + 2)?
        .try_into()
        .ok()
        .map(u16::from_ne_bytes)
}

/// Four bytes in host order.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..offset + 4)?
        .try_into()
        .ok()
        .map(u32::from_ne_bytes)
}

/// Messages and attributes start at multiples of four bytes. Source: [linux/netlink.h `NLMSG_ALIGNTO`].
const fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

// Source of the following: [linux/netlink.h].
const MESSAGE_HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const ATTRIBUTE_KIND_MASK: u16 = 0x3fff;
const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
const FLAG_DUMP: u16 = 0x300;
const FLAG_ACK_TLVS: u16 = 0x200;
const ACK_MESSAGE: u16 = 1;
/// Replace what is there.
pub(crate) const FLAG_REPLACE: u16 = 0x100;
/// Fail when it is there.
pub(crate) const FLAG_EXCLUSIVE: u16 = 0x200;
/// Make it when it is not there.
pub(crate) const FLAG_CREATE: u16 = 0x400;
/// The kernel fills at most 32 KiB a datagram of a dump. Source: [linux net/netlink/af_netlink.c].
const RECEIVE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested_lengths_counted() {
        let mut request = Request::new(16, 0, &[0; 16], "test");
        request.attribute_text(3, "eth0").nested(18, |inner| {
            inner.attribute_text(1, "veth");
        });
        request.finish(7, FLAG_ACK);
        let parsed: Vec<_> = messages(&request.bytes).collect();
        assert_eq!(parsed.len(), 1);
        assert_eq!((parsed[0].kind, parsed[0].flags, parsed[0].sequence), (16, 5, 7));
        let found: Vec<_> = attributes(&parsed[0].body[16..]).collect();
        assert_eq!(found[0], (3, &b"eth0\0"[..]));
        assert_eq!(found[1].0, 18);
        assert_eq!(attributes(found[1].1).next(), Some((1, &b"veth\0"[..])));
    }

    #[test]
    fn malformed_answers_end_the_walk() {
        for bytes in [
            &[][..],
            &[255; 3],
            &[0; 16],
            &[255; 40],
            &[15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
        }
        for bytes in [&[][..], &[3, 0, 1, 0], &[9, 0, 1, 0], &[0, 0, 0, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn the_kernels_sentence_is_kept() {
        let mut body = (-libc::EINVAL).to_ne_bytes().to_vec();
        body.extend_from_slice(&[0; 16]);
        body.extend_from_slice(&[10, 0, 1, 0]);
        body.extend_from_slice(b"wrong\0");
        let message = Message {
            kind: KIND_ERROR,
            flags: FLAG_ACK_TLVS,
            sequence: 1,
            body: &body,
        };
        let error = acknowledgement(&message, "do it").unwrap_err();
        assert_eq!(error.to_string(), "Could not do it: the kernel says \"wrong\"");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
