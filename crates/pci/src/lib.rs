//! What a PCI function is made of, without the bus: guest memory, interrupts, registers, and the trait that
//! joins a device model to whatever carries it (a vfio-user server, or a test in one process).
//!
//! - [`memory`]: what a device reads and writes of its driver's memory, by bus address.
//! - [`interrupt`]: how a device asks for attention.
//! - [`shared`]: the parts of a BAR that the driver maps, so that no access of it is seen as a call.
//! - [`function`]: the function as its carrier sees it.
//! - [`config`], [`capability`], [`msix`]: what every function shows of itself: config space and the MSI-X table.
//! - [`bus`]: the function as a driver in user space sees it.
//! - [`admin`], [`readless`]: what ENA and EFA have alike: rings of commands, completions and events, and
//!   registers that are read by DMA.
//!
//! Pure: the traits are implemented where the kernel is (`trinic-host`), and by [`testing`] in plain memory
//! for tests that join a driver and a device in one process. What the other side wrote is hostile: every
//! access is bounded, and a refusal is an error value and never a panic.

#![forbid(unsafe_code)]

pub mod admin;
pub mod bus;
pub mod capability;
pub mod config;
pub mod function;
pub mod fuzz;
pub mod interrupt;
pub mod memory;
pub mod msix;
pub mod readless;
pub mod shared;
pub mod testing;

pub use bus::Bus;
pub use function::{BarSpec, Function};
pub use interrupt::Interrupts;
pub use memory::{DmaFault, Intent, Memory};
pub use shared::SharedMemory;
