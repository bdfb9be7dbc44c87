//! ENA, the elastic network adapter: what EC2 calls an interface with SR-IOV, as a device model that the stock
//! drivers bind to, and a driver in user space.
//!
//! - [`spec`]: registers, admin commands, descriptors, as the public drivers' headers have them.
//! - [`device`]: the control half of the function: config space, registers, admin queue, events. It decodes and
//!   decides, and hands what concerns packets to the other half as a [`datapath::Change`].
//! - [`datapath`]: the half that moves packets: the queues, owned by the thread that switches.
//! - [`driver`]: a poll-mode driver in user space, the test partner of the device.
//!
//! Pure: memory, mapped registers and interrupts come from `trinic-pci`'s traits, time as an argument. Directions
//! `tx` and `rx` are the driver's, as everywhere inside a device model.

#![forbid(unsafe_code)]

pub mod datapath;
pub mod device;
pub mod driver;
pub mod fuzz;
pub mod spec;
