//! A poll-mode driver in user space: the test partner of the device model, and the way a program has an ENA of
//! its own.
//!
//! [`Driver::probe`] takes a function on its [`Bus`] from reset to running queues. The queues
//! ([`TxQueue`], [`RxQueue`]) are handed out and each serves one thread; the [`Driver`] that stays has the admin
//! queue and the events. [`Buffer`]s of DMA memory move between the program and the queues and are never copied:
//! a frame that was received can be sent as it is.
//!
//! The device is as little trusted as a driver is by a device: what it completes is checked, and a lie is a
//! [`QueueError`] or a [`DriverError`], each with the reset reason that tells the device. `examples/forward.rs`
//! shows all of it.
//!
//! Source of the sequence: `ena_com.c` and `ena_netdev.c` of the Linux driver.

mod admin;
mod error;
mod events;
mod features;
mod frame;
mod loopback;
mod probe;
mod receive;
mod ring;
mod statistics;
mod transmit;

use std::sync::Arc;
use std::time::Duration;

use trinic_pci::Bus;

use self::admin::Admin;
pub use self::error::{DriverError, QueueError};
pub use self::events::EventCounts;
use self::events::Events;
use self::features::Features;
pub use self::features::Offer;
pub use self::frame::{Buffer, Frame, Piece, Request, Seen, TransportChecksum};
pub use self::loopback::{DirectLink, Loopback};
pub use self::probe::Probed;
pub use self::receive::RxQueue;
pub use self::transmit::TxQueue;
use crate::spec::descriptor::InterruptControl;

/// What a program chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Queue pairs, at most as many as the device has.
    pub queue_pairs: u16,
    /// Entries of each transmit queue, a power of two, 16 at least; lowered to what the device offers.
    pub tx_depth: u16,
    /// Entries of each receive queue, a power of two, 16 at least; lowered to what the device offers.
    pub rx_depth: u16,
    /// MTU, bytes without the Ethernet header.
    pub mtu: u32,
    /// Bytes of a buffer, 64 to 65,535.
    pub buffer_bytes: u32,
    /// Buffers for each queue pair.
    pub buffers: u32,
    /// Vectors for the queues, so that [`Waiter`] works. Without, the driver polls.
    pub interrupts: bool,
    /// Low-latency queues where the device offers them.
    pub llq: bool,
    /// Registers are read by DMA, as the Linux driver does; without, by loads.
    pub readless: bool,
    /// Where the driver says it found the function: bus 15:8, device 7:3, function 2:0.
    pub bdf: u16,
    /// Toeplitz key, first byte first.
    pub hash_key: [u8; 40],
}

impl Default for Config {
    /// One queue pair of 1,024 entries each way, MTU 1,500, buffers of 2 KiB, polling.
    fn default() -> Self {
        Self {
            queue_pairs: 1,
            tx_depth: 1024,
            rx_depth: 1024,
            mtu: 1500,
            buffer_bytes: 2048,
            buffers: 2048,
            interrupts: false,
            llq: true,
            readless: true,
            bdf: 0,
            hash_key: DEFAULT_KEY,
        }
    }
}

/// A key that spreads well. Source: Microsoft, "Verifying the RSS hash calculation".
const DEFAULT_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// A device under a driver: its admin queue and its events.
#[derive(Debug)]
pub struct Driver<B> {
    bus: Arc<B>,
    config: Config,
    admin: Admin,
    events: Events,
    features: Features,
    /// Page in which the driver says who it is.
    host_info: u64,
}

/// A transmit and a receive queue that share a vector. Take it apart to use them on two threads.
#[derive(Debug)]
pub struct QueuePair<B> {
    /// Which one.
    pub index: u16,
    /// Sends.
    pub tx: TxQueue<B>,
    /// Receives.
    pub rx: RxQueue<B>,
    /// Waits, where [`Config::interrupts`] is set.
    pub waiter: Waiter<B>,
}

/// Waits for the interrupt of a queue pair.
#[derive(Debug)]
pub struct Waiter<B> {
    bus: Arc<B>,
    vector: u16,
    unmask: u64,
    is_armed: bool,
}

impl<B: Bus> Waiter<B> {
    /// Arms the vector; delays are in units of the device's resolution. Look at the queues once more between
    /// this and [`Self::wait`] only to save time: what comes in between raises the interrupt at once.
    ///
    /// # Errors
    ///
    /// When the bus is gone.
    pub fn arm(&mut self, rx_delay: u16, tx_delay: u16) -> Result<(), QueueError> {
        let control = InterruptControl::new()
            .with_rx_delay(rx_delay & 0x7fff)
            .with_tx_delay(tx_delay & 0x7fff)
            .with_unmask(true);
        self.bus.register_write(0, self.unmask, control.into_bits())?;
        self.is_armed = true;
        Ok(())
    }

    /// Waits for the interrupt, arming the vector if it is not; `false` when `timeout` passed.
    ///
    /// # Errors
    ///
    /// When the bus is gone.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, QueueError> {
        if !self.is_armed {
            self.arm(0, 0)?;
        }
        let was_raised = self.bus.wait(self.vector, timeout)?;
        if was_raised {
            self.is_armed = false;
        }
        Ok(was_raised)
    }
}

impl<B: Bus> Driver<B> {
    /// What the device offers and what was agreed.
    pub fn offer(&self) -> &Offer {
        &self.features.offer
    }

    /// The way to the device.
    pub fn bus(&self) -> &Arc<B> {
        &self.bus
    }

    /// What was chosen, as far as the device agreed.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
