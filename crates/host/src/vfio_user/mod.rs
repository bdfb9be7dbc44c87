//! vfio-user: a PCI function served to a virtual machine monitor, or to a driver in another process, over a Unix
//! socket. Source: [QEMU docs/interop/vfio-user.rst], [linux/vfio.h].
//!
//! - [`Server`] serves one [`trinic_pci::Function`] to one client at a time, in a thread of its own.
//! - [`Client`] is the other side: the bus of a driver in user space.
//! - [`IrqTable`] and [`SharedBar`] are what the function and its server have in common, beside
//!   [`crate::guest_memory::GuestMemory`].
//!
//! What a client sends is hostile. Every length is checked before anything is allocated or read by it, every
//! message is answered or refused by name and counted ([`Refusal`]), and a client that loses the framing of the
//! stream loses its own connection and nothing else. Migration, dirty pages, messages from the server to the
//! client and descriptors for region access are not offered.

mod client;
pub mod fuzz;
mod irq;
mod protocol;
mod refusal;
mod server;
mod session;
mod shared;
mod stream;
mod version;

pub use client::{Client, ClientOptions};
pub use irq::IrqTable;
pub use refusal::{Counters, Refusal};
pub use server::{Parts, Server, ServerHandle, ServerState};
pub use shared::SharedBar;
