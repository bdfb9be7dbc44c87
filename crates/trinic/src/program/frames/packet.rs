//! A packet socket on a traditional interface: every frame passes the instance's kernel.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use trinic_host::netns::NetNs;
use trinic_host::packet::FrameSocket;
use trinic_host::port::{Batch, Port as _, Writer, Written};
use trinic_host::vnet::{VNET_HEADER_BYTES, VnetHeader};

use super::carrier::{BURST, Carrier, HEAD};
use super::template::{Template, UDP};

/// Frames by batches: as few system calls as the kernel allows.
#[derive(Debug)]
pub(super) struct Packet {
    socket: FrameSocket,
    writer: Writer,
    batch: Batch,
    /// Frames of the flood, each with a virtio-net header in front.
    frames: Vec<Vec<u8>>,
    /// Keeps the kernel from answering that nobody listens.
    _listeners: Vec<UdpSocket>,
}

impl Packet {
    /// In the network namespace of the calling thread.
    pub(super) fn open(device: &str, ports: &[u16]) -> Result<Self> {
        Ok(Self::of(sockets(device, ports)?))
    }

    /// In the network namespace of this name: sockets stay where they were made, whoever uses them.
    pub(super) fn open_in(netns: &str, device: &str, ports: &[u16]) -> Result<Self> {
        Ok(Self::of(
            NetNs::open_named(netns)?.run(|| sockets(device, ports))??,
        ))
    }

    fn of((socket, listeners): (FrameSocket, Vec<UdpSocket>)) -> Self {
        Self {
            socket,
            writer: Writer::new(),
            batch: Batch::new(BURST),
            frames: Vec::new(),
            _listeners: listeners,
        }
    }
}

/// The packet socket, and sockets that keep the ports from the kernel.
fn sockets(device: &str, ports: &[u16]) -> Result<(FrameSocket, Vec<UdpSocket>)> {
    let socket = FrameSocket::open(device).with_context(|| format!("Could not open {device}"))?;
    let listeners: std::io::Result<_> = ports
        .iter()
        .map(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)))
        .collect();
    Ok((
        socket,
        listeners.context("Could not keep the ports from the kernel")?,
    ))
}

impl Carrier for Packet {
    fn mac(&self) -> [u8; 6] {
        self.socket.mac().0
    }

    fn flood(&mut self, template: &Template, next: &mut u32) -> Result<usize> {
        if self.frames.is_empty() {
            let mut frame = vec![0; VNET_HEADER_BYTES];
            frame.extend(template.whole(0, b""));
            self.frames = vec![frame; BURST];
        }
        for frame in &mut self.frames {
            let at = VNET_HEADER_BYTES + UDP;
            frame[at..at + 8].copy_from_slice(&template.header(*next));
            *next = template.after(*next);
        }
        let socket = &self.socket;
        let frames = self.frames.iter().map(|frame| (socket as _, frame.as_slice()));
        let mut results = [Written::Full; BURST];
        let done = self.writer.write_all(frames, &mut results);
        Ok(results[..done]
            .iter()
            .filter(|one| **one == Written::Sent)
            .count())
    }

    fn send(&mut self, frame: &[u8]) -> Result<bool> {
        Ok(self.socket.write_parts(&VnetHeader::NONE, frame)? == Written::Sent)
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8], usize)) -> Result<usize> {
        let count = self.socket.read_batch(&mut self.batch)?;
        for number in 0..count {
            let frame = self
                .batch
                .frame(number)
                .get(VNET_HEADER_BYTES..)
                .unwrap_or_default();
            each(&frame[..frame.len().min(HEAD)], frame.len());
        }
        Ok(count)
    }

    fn bounce(&mut self, turn: &mut dyn FnMut(&mut [u8]) -> bool) -> Result<usize> {
        let count = self.socket.read_batch(&mut self.batch)?;
        for number in 0..count {
            let Some(frame) = self.batch.frame_mut(number).get_mut(VNET_HEADER_BYTES..) else {
                continue;
            };
            let shown = frame.len().min(HEAD);
            if turn(&mut frame[..shown]) {
                self.socket.write_parts(&VnetHeader::NONE, frame)?;
            }
        }
        Ok(count)
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        let mut ready = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut ready, Some(&Timespec::try_from(timeout)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("Could not wait for a frame"),
        }
    }

    fn tend(&mut self) -> Result<()> {
        Ok(())
    }
}
