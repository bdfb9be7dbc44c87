//! Tap devices: the instance's side is an interface in its network namespace, the card's side is one
//! descriptor a queue, on which frames are read and written with a virtio header.
//!
//! A persistent tap outlives the card: a card that starts again attaches to it by name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result, Step};
use crate::link::{LinkChange, MacAddress, Netlink};
use crate::netns::NetNs;
use crate::port::{self, Port, Written};
use crate::sys;
use crate::vnet::{VNET_HEADER_BYTES, VNET_HEADER_MERGED_BYTES, VnetHeader};

/// How to make a tap or attach to one that is there.
#[derive(Debug, Clone)]
pub struct TapOptions {
    /// Interface name in the instance (`eth0`).
    pub name: String,
    /// MAC address of the interface; the kernel chooses one where there is none.
    pub mac: Option<MacAddress>,
    /// MTU of the interface; `None` leaves 1500.
    pub mtu: Option<u32>,
    /// Number of queues, 1 to [`QUEUE_LIMIT`].
    pub queues: u16,
    /// Whether frames may come with checksums and segmentation left to do.
    pub offload: bool,
    /// 10 or 12 bytes of virtio header.
    pub vnet_header_bytes: usize,
    /// Whether the interface stays when its descriptors are closed.
    pub persist: bool,
    /// Whether to set the interface up.
    pub up: bool,
}

impl TapOptions {
    /// A persistent tap with one queue and all offloads, left down.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mac: None,
            mtu: None,
            queues: 1,
            offload: true,
            vnet_header_bytes: VNET_HEADER_BYTES,
            persist: true,
            up: false,
        }
    }
}

/// A tap: its queues and its place in the instance.
#[derive(Debug)]
pub struct Tap {
    queues: Vec<TapQueue>,
    name: String,
    index: u32,
}

impl Tap {
    /// Makes the tap in `netns`, or attaches to the persistent one of that name. The calling thread
    /// stays where it is.
    pub fn open(netns: &NetNs, options: &TapOptions) -> Result<Self> {
        let options = options.clone();
        netns.run(move || Self::open_here(&options))?
    }

    /// As [`Tap::open`] in the namespace of the calling thread.
    pub fn open_here(options: &TapOptions) -> Result<Self> {
        check_options(options)?;
        let mut queues = Vec::with_capacity(usize::from(options.queues));
        for _ in 0..options.queues {
            queues.push(TapQueue::open_here(options)?);
        }
        let mut netlink = Netlink::open()?;
        let link = netlink.link_by_name(&options.name)?;
        netlink.change_link(
            link.index,
            &LinkChange {
                mac: options.mac.filter(|mac| link.mac != Some(*mac)),
                mtu: options.mtu.filter(|mtu| link.mtu != *mtu),
                up: options.up.then_some(true),
                ..LinkChange::default()
            },
        )?;
        Ok(Self {
            queues,
            name: options.name.clone(),
            index: link.index,
        })
    }

    /// Interface name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Interface index in its namespace.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its queues.
    #[must_use]
    pub fn queues(&self) -> &[TapQueue] {
        &self.queues
    }

    /// Gives the queues away, to the threads that serve them.
    #[must_use]
    pub fn into_queues(self) -> Vec<TapQueue> {
        self.queues
    }

    /// Removes the interface from its namespace by ending persistence and closing every queue.
    pub fn remove(self) -> Result<()> {
        for queue in &self.queues {
            queue.set_persist(false)?;
        }
        Ok(())
    }
}

/// One queue of a tap: a descriptor that yields and takes frames.
#[derive(Debug)]
pub struct TapQueue {
    fd: OwnedFd,
    vnet_header_bytes: usize,
    udp_segments: bool,
}

impl TapQueue {
    fn open_here(options: &TapOptions) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open(TUN_PATH, flags, Mode::empty()).step(|| format!("open {TUN_PATH}"))?;
        let mut request = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if options.queues > 1 {
            request |= libc::IFF_MULTI_QUEUE;
        }
        let request = i16::try_from(request).map_err(|_| Error::Invalid("Tap flags do not fit".into()))?;
        sys::tun_set_iff(fd.as_fd(), &options.name, request)
            .step(|| format!("make the tap {}", options.name))?;
        let size = i32::try_from(options.vnet_header_bytes).unwrap_or_default();
        sys::tun_set_vnet_hdr_size(fd.as_fd(), size)
            .step(|| format!("set the virtio header size of {}", options.name))?;
        let mut queue = Self {
            fd,
            vnet_header_bytes: options.vnet_header_bytes,
            udp_segments: false,
        };
        queue.udp_segments = queue.set_offload(options.offload)?;
        queue.set_persist(options.persist)?;
        Ok(queue)
    }

    /// Accepts unfinished frames from the instance, as many kinds as this kernel knows. UDP
    /// segmentation came with Linux 6.2, so it is tried first and left out when refused. Whether it was
    /// accepted: then the kernel takes such frames too, whatever was asked for (`virtio_net_hdr_to_skb`).
    fn set_offload(&self, offload: bool) -> Result<bool> {
        if !offload {
            sys::tun_set_offload(self.fd.as_fd(), 0).step(|| "turn offloads off".into())?;
            return Ok(false);
        }
        let tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
        if sys::tun_set_offload(self.fd.as_fd(), tcp | TUN_F_USO4 | TUN_F_USO6).is_ok() {
            return Ok(true);
        }
        sys::tun_set_offload(self.fd.as_fd(), tcp).step(|| "turn offloads on".into())?;
        Ok(false)
    }

    fn set_persist(&self, persist: bool) -> Result<()> {
        sys::tun_set_persist(self.fd.as_fd(), persist).step(|| "set whether the tap persists".into())
    }

    /// Bounds the bytes written here that the instance's stack has not consumed yet; further writes
    /// are then [`Written::Full`].
    pub fn set_send_buffer(&self, bytes: i32) -> Result<()> {
        sys::tun_set_sndbuf(self.fd.as_fd(), bytes).step(|| "set the send buffer of the tap".into())
    }
}

impl AsFd for TapQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Port for TapQueue {
    fn vnet_header_bytes(&self) -> usize {
        self.vnet_header_bytes
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        port::read_outcome(rustix::io::read(&self.fd, buffer))
    }

    fn write(&self, buffer: &[u8]) -> io::Result<Written> {
        Written::from_result(rustix::io::write(&self.fd, buffer))
    }

    fn write_descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn takes_udp_segments(&self) -> bool {
        self.udp_segments
    }

    fn write_parts(&self, header: &VnetHeader, frame: &[u8]) -> io::Result<Written> {
        let header = port::header_bytes(header);
        let parts = [
            io::IoSlice::new(&header[..self.vnet_header_bytes]),
            io::IoSlice::new(frame),
        ];
        Written::from_result(rustix::io::writev(&self.fd, &parts))
    }
}

/// Whether this process may open the tap device at all, in words when not.
pub fn check_tun_device() -> Result<u32> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::open(TUN_PATH, flags, Mode::empty()).step(|| format!("open {TUN_PATH}"))?;
    sys::tun_get_features(fd.as_fd()).step(|| "ask the tap driver for its features".into())
}

fn check_options(options: &TapOptions) -> Result<()> {
    if options.queues == 0 || options.queues > QUEUE_LIMIT {
        return Err(Error::Invalid(format!(
            "A tap has 1 to {QUEUE_LIMIT} queues, not {}",
            options.queues
        )));
    }
    if ![VNET_HEADER_BYTES, VNET_HEADER_MERGED_BYTES].contains(&options.vnet_header_bytes) {
        return Err(Error::Invalid(format!(
            "A virtio header has 10 or 12 bytes, not {}",
            options.vnet_header_bytes
        )));
    }
    Ok(())
}

/// The device from which taps are made.
pub const TUN_PATH: &str = "/dev/net/tun";
/// The most queues of a tap. Source: [linux drivers/net/tun.c `MAX_TAP_QUEUES`].
pub const QUEUE_LIMIT: u16 = 256;

// Source of the following: [linux/if_tun.h].
const TUN_F_CSUM: u32 = 0x01;
const TUN_F_TSO4: u32 = 0x02;
const TUN_F_TSO6: u32 = 0x04;
const TUN_F_TSO_ECN: u32 = 0x08;
const TUN_F_USO4: u32 = 0x20;
const TUN_F_USO6: u32 = 0x40;
