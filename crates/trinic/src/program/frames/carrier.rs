//! What both carriers do.

use std::time::Duration;

use anyhow::Result;

use super::ena::Ena;
use super::packet::Packet;
use super::template::Template;
use super::{CarrierName, Way};

/// A way for frames in and out of an instance.
pub(super) trait Carrier {
    /// The MAC address that frames are sent from.
    fn mac(&self) -> [u8; 6];

    /// Sends a burst of a template's connections from `next` on; returns how many frames were taken.
    fn flood(&mut self, template: &Template, next: &mut u32) -> Result<usize>;

    /// Sends one frame; `false` when there was no room.
    fn send(&mut self, frame: &[u8]) -> Result<bool>;

    /// Takes the frames that are there, a burst at most, and shows the first [`HEAD`] bytes and the length of
    /// each; returns how many.
    fn receive(&mut self, each: &mut dyn FnMut(&[u8], usize)) -> Result<usize>;

    /// Takes frames as [`Self::receive`] does, and sends those back that `turn` has turned around.
    fn bounce(&mut self, turn: &mut dyn FnMut(&mut [u8]) -> bool) -> Result<usize>;

    /// Sleeps until a frame may be there, at most `timeout`.
    fn sleep(&mut self, timeout: Duration) -> Result<()>;

    /// What has to be done about once a second.
    fn tend(&mut self) -> Result<()>;
}

/// Opens a carrier for packets of up to `bytes` bytes. The kernel's own stack is kept from answering what comes
/// for `ports`.
pub(super) fn open(name: &CarrierName, bytes: u16, way: Way, ports: &[u16]) -> Result<Box<dyn Carrier>> {
    Ok(match name {
        CarrierName::Ena(socket) => Box::new(Ena::open(socket, bytes, way)?),
        CarrierName::Packet(device) => Box::new(Packet::open(device, ports)?),
        CarrierName::PacketIn { device, netns } => Box::new(Packet::open_in(netns, device, ports)?),
    })
}

/// Frames of a burst.
pub(super) const BURST: usize = 64;
/// First bytes of a frame that a program sees.
pub(super) const HEAD: usize = 64;
