//! The queues of an ENA function: the user-mode driver over its vfio-user socket.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use trinic_ena::driver::{Buffer, Config, Driver, Frame, QueuePair};
use trinic_host::vfio_user::{Client, ClientOptions};
use trinic_pci::Memory as _;

use super::Way;
use super::carrier::{BURST, Carrier, HEAD};
use super::template::{Template, UDP};
use crate::card::clock;

/// One queue pair.
#[derive(Debug)]
pub(super) struct Ena {
    driver: Driver<Client>,
    pair: QueuePair<Client>,
    /// Buffers that hold nothing.
    fresh: Vec<Buffer>,
    /// Buffers that hold a frame of the flood.
    written: Vec<Buffer>,
    /// Buffers for the receive queue.
    posted: Vec<Buffer>,
    /// Frames to send.
    staged: Vec<Frame>,
    arrived: Vec<Frame>,
}

impl Ena {
    pub(super) fn open(socket: &Path, bytes: u16, way: Way) -> Result<Self> {
        let client = Client::connect(socket, &ClientOptions::default())
            .with_context(|| format!("Could not connect to the ENA function at {}", socket.display()))?;
        let buffer_bytes = buffer_bytes(bytes);
        let config = Config {
            tx_depth: DEPTH,
            rx_depth: DEPTH,
            mtu: u32::from(bytes).max(1500),
            buffer_bytes,
            buffers: 2 * u32::from(DEPTH),
            interrupts: way == Way::Wait,
            llq: false,
            ..Config::default()
        };
        let (driver, mut pairs, mut fresh) =
            Driver::probe(client, config).context("The ENA function does not start")?;
        let mut pair = pairs.pop().context("The ENA function has no queue pair")?;
        let mut posted = fresh.split_off(usize::from(DEPTH));
        pair.rx.refill(&mut posted)?;
        Ok(Self {
            driver,
            pair,
            fresh,
            written: Vec::new(),
            posted,
            staged: Vec::with_capacity(BURST),
            arrived: Vec::with_capacity(BURST),
        })
    }

    /// Takes a burst of frames, if so many are there.
    fn take(&mut self) -> Result<usize> {
        while self.arrived.len() < BURST {
            let room = BURST - self.arrived.len();
            if self.pair.rx.receive(&mut self.arrived, room)? == 0 {
                break;
            }
        }
        Ok(self.arrived.len())
    }

    /// Sends what is staged.
    fn push(&mut self) -> Result<usize> {
        Ok(self.pair.tx.transmit(&mut self.staged)?)
    }
}

impl Carrier for Ena {
    fn mac(&self) -> [u8; 6] {
        self.driver.offer().mac
    }

    fn flood(&mut self, template: &Template, next: &mut u32) -> Result<usize> {
        self.pair.tx.reclaim(&mut self.written)?;
        let length = u32::try_from(template.length())?;
        while self.staged.len() < BURST {
            let memory = self.pair.tx.memory();
            let frame = if let Some(buffer) = self.written.pop() {
                memory.write(buffer.address() + UDP as u64, &template.header(*next))?;
                Frame::new(buffer, length)
            } else if let Some(buffer) = self.fresh.pop() {
                Frame::copied(buffer, memory, &template.whole(*next, b""))?
            } else {
                break;
            };
            self.staged.push(frame);
            *next = template.after(*next);
        }
        self.push()
    }

    fn send(&mut self, frame: &[u8]) -> Result<bool> {
        self.pair.tx.reclaim(&mut self.fresh)?;
        let Some(buffer) = self.fresh.pop() else {
            return Ok(false);
        };
        let frame = Frame::copied(buffer, self.pair.tx.memory(), frame)?;
        self.staged.push(frame);
        Ok(self.push()? > 0)
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8], usize)) -> Result<usize> {
        let count = self.take()?;
        let mut head = [0; HEAD];
        for frame in self.arrived.drain(..) {
            let length = frame.length();
            let shown = length.min(HEAD).min(usize::try_from(frame.first.length)?);
            let bytes = &mut head[..shown];
            self.pair.rx.memory().read(frame.first.address(), bytes)?;
            each(bytes, length);
            frame.into_buffers(&mut self.posted);
        }
        self.pair.rx.refill(&mut self.posted)?;
        Ok(count)
    }

    fn bounce(&mut self, turn: &mut dyn FnMut(&mut [u8]) -> bool) -> Result<usize> {
        self.pair.tx.reclaim(&mut self.posted)?;
        let count = self.take()?;
        let memory = self.pair.rx.memory();
        let mut head = [0; HEAD];
        for frame in self.arrived.drain(..) {
            let shown = HEAD.min(usize::try_from(frame.first.length)?);
            let bytes = &mut head[..shown];
            memory.read(frame.first.address(), bytes)?;
            if turn(bytes) {
                memory.write(frame.first.address(), bytes)?;
                self.staged.push(frame);
            } else {
                frame.into_buffers(&mut self.posted);
            }
        }
        self.push()?;
        // What found no room is lost, as in any switch.
        for frame in self.staged.drain(..) {
            frame.into_buffers(&mut self.posted);
        }
        self.pair.rx.refill(&mut self.posted)?;
        Ok(count)
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        self.pair.waiter.arm(0, 0)?;
        if !self.pair.rx.has_work()? {
            self.pair.waiter.wait(timeout)?;
        }
        Ok(())
    }

    fn tend(&mut self) -> Result<()> {
        self.driver.poll(clock::now()).context("The ENA function failed")
    }
}

/// Room for a frame, an odd number of cache lines: the first lines of all buffers then fall into different sets of
/// the processor's cache.
fn buffer_bytes(packet_bytes: u16) -> u32 {
    let frame = u32::from(packet_bytes).max(STANDARD_BYTES) + ETHERNET_BYTES;
    (frame.div_ceil(LINE_BYTES) | 1) * LINE_BYTES
}

/// Entries of each queue.
const DEPTH: u16 = 1024;
/// No buffer is smaller than packet programs usually have them.
const STANDARD_BYTES: u32 = 2048;
const LINE_BYTES: u32 = 64;
/// Source: IEEE 802.3: two addresses and a type.
const ETHERNET_BYTES: u32 = 14;
