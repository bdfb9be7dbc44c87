//! Everything that trinic asks of the Linux kernel.
//!
//! The pure crates decide what a packet's fate is; this one reads and writes the packets, makes the
//! namespaces and interfaces that they come from, and runs the processes inside. It knows nothing of
//! VPCs: names, addresses and files come from the caller.
//!
//! - [`port`], [`tap`], [`packet`], [`vnet`]: frames in and out of an instance, with checksum and
//!   segmentation left open. A tap where the host allows it, else a packet socket on a virtual cable.
//! - [`netns`], [`link`]: network namespaces and what is in them, over blocking netlink.
//! - [`instance`]: processes that behave like small machines; [`process`]: knowing them again.
//! - [`userns`]: being root of one's own namespaces; [`probe`]: what the host allows.
//! - [`guest_memory`], [`vfio_user`]: PCI functions for virtual machines and for drivers in user space.
//! - [`srd`]: SRD's datagrams over UDP sockets.
//! - [`clock`], [`epoll`]: time and waiting for the datapath.
//!
//! Threading: nothing here but a vfio-user server starts a thread that outlives its call. Namespace work
//! happens on threads made for it, so a caller's thread never changes namespace. All `unsafe` code is in one
//! module, each function of which is one kernel request, or an access to memory shared with a client.

pub mod clock;
pub mod epoll;
pub mod error;
pub mod guest_memory;
pub mod instance;
pub mod link;
mod netlink;
pub mod netns;
pub mod packet;
pub mod peer;
pub mod port;
pub mod probe;
pub mod process;
pub mod srd;
mod sys;
pub mod tap;
pub mod userns;
pub mod vfio_user;
pub mod vnet;

pub use error::{Error, Result};
pub use instance::{Instance, InstanceOptions};
pub use link::{MacAddress, Netlink};
pub use netns::NetNs;
pub use process::{Process, ProcessId};

/// Runs the hidden command that the program was started with, if there is one, and does not return
/// then. Must be the first thing in `main`, before any thread is started: an instance's process 1 and
/// the probe of the host are this same program.
pub fn run_hidden_command() {
    let argument = std::env::args_os().nth(1);
    match argument.as_deref().and_then(std::ffi::OsStr::to_str) {
        Some(instance::INIT_ARGUMENT) => instance::init::init_main(),
        Some(probe::PROBE_ARGUMENT) => probe::probe_main(),
        _ => {}
    }
}
