//! The second carrier, for hosts where /dev/net/tun is closed: a virtual cable (veth) from the
//! instance's namespace to a namespace of the card's own, and a packet socket on the card's end.
//!
//! The packet socket carries the virtio header, so checksums stay open and super-frames stay whole, as
//! on a tap. Nothing here needs more than a user namespace.
//! Source: [packet(7)], [linux/if_packet.h].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Error, Result, Step};
use crate::link::{LinkChange, MacAddress, Netlink, VethEnd};
use crate::netns::NetNs;
use crate::port::{self, Batch, Port, Written};
use crate::sys;
use crate::vnet::{VNET_HEADER_BYTES, VnetHeader};

/// How to make a cable and the card's port on it.
#[derive(Debug, Clone)]
pub struct PacketOptions {
    /// Interface name in the instance (`eth0`).
    pub name: String,
    /// Interface name in the card's namespace; must differ from every other there.
    pub card_name: String,
    /// MAC address of the instance's end; the kernel chooses one where there is none.
    pub mac: Option<MacAddress>,
    /// MTU of both ends; `None` leaves 1500.
    pub mtu: Option<u32>,
    /// Whether to set the instance's end up. The card's end is always set up.
    pub up: bool,
}

/// A cable with a packet socket on the card's end.
#[derive(Debug)]
pub struct PacketPort {
    fd: OwnedFd,
    name: String,
    card_name: String,
    index: u32,
}

impl PacketPort {
    /// Lays a cable from `instance` to `card`, or takes over the one that is there, and opens the port.
    pub fn open(instance: &NetNs, card: &NetNs, options: &PacketOptions) -> Result<Self> {
        let mut netlink = Netlink::open_in(instance)?;
        if !is_laid(&mut netlink, card, options)? {
            let near = VethEnd {
                name: &options.name,
                netns: None,
                mac: options.mac,
                mtu: options.mtu,
            };
            let far = VethEnd {
                name: &options.card_name,
                netns: Some(card),
                mac: None,
                mtu: options.mtu,
            };
            netlink.create_veth(&near, &far)?;
        }
        let index = netlink.link_by_name(&options.name)?.index;
        let change = LinkChange {
            up: options.up.then_some(true),
            ..LinkChange::default()
        };
        let card_name = options.card_name.clone();
        let mtu = options.mtu;
        // The socket is bound before the instance's end comes up, so that no frame is missed.
        let fd = card.run(move || open_socket(&card_name, mtu))??;
        netlink.change_link(
            index,
            &LinkChange {
                mac: options.mac,
                mtu,
                ..change
            },
        )?;
        Ok(Self {
            fd,
            name: options.name.clone(),
            card_name: options.card_name.clone(),
            index,
        })
    }

    /// Opens a port on an interface that is there in `netns`, such as a tap whose queue another process has, and
    /// sets it up.
    pub fn on_interface(netns: &NetNs, name: &str, mtu: Option<u32>) -> Result<Self> {
        let owned = name.to_owned();
        let (fd, index) = netns.run(move || {
            let fd = open_socket(&owned, mtu)?;
            Ok((fd, Netlink::open()?.link_by_name(&owned)?.index))
        })??;
        Ok(Self {
            fd,
            name: name.to_owned(),
            card_name: name.to_owned(),
            index,
        })
    }

    /// Interface name in the instance.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Interface index in the instance.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Bytes of frames that the kernel keeps until they are read, as granted: less than asked for where neither
    /// the rights nor the host's limit are enough.
    pub fn receive_buffer_bytes(&self) -> Result<usize> {
        let doubled = rustix::net::sockopt::socket_recv_buffer_size(&self.fd)
            .step(|| format!("read the buffer size of the packet socket of {}", self.card_name))?;
        Ok(doubled / 2)
    }

    /// Removes the cable, both ends.
    pub fn remove(self, card: &NetNs) -> Result<()> {
        let mut netlink = Netlink::open_in(card)?;
        let index = netlink.link_by_name(&self.card_name)?.index;
        netlink.delete_link(index)
    }
}

/// Raw frames on an interface of the namespace that the calling thread is in: for programs inside an instance.
#[derive(Debug)]
pub struct FrameSocket {
    fd: OwnedFd,
    mac: MacAddress,
}

impl FrameSocket {
    /// Opens it on the interface `name`. It sees every frame that the interface receives, beside the kernel's own
    /// stack, and none that it sends.
    ///
    /// # Errors
    ///
    /// When there is no such interface, it has no MAC address, or the caller has no right to raw sockets.
    pub fn open(name: &str) -> Result<Self> {
        let link = Netlink::open()?.link_by_name(name)?;
        let mac = link
            .mac
            .ok_or_else(|| Error::Invalid(format!("{name} has no MAC address")))?;
        let fd = bound_socket(name, link.index)?;
        Ok(Self { fd, mac })
    }

    /// The interface's MAC address.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        self.mac
    }
}

/// Whether the cable is there with both ends. One whose far end is elsewhere is taken away: it led to the
/// namespace of a card that was killed, which the kernel removes a moment later than its processes.
fn is_laid(netlink: &mut Netlink, card: &NetNs, options: &PacketOptions) -> Result<bool> {
    let Ok(near) = netlink.link_by_name(&options.name) else {
        return Ok(false);
    };
    if near.kind.as_deref() != Some("veth") {
        return Err(Error::Invalid(format!(
            "{} is there and is no cable of the card's",
            options.name
        )));
    }
    if Netlink::open_in(card)?.link_by_name(&options.card_name).is_ok() {
        return Ok(true);
    }
    match netlink.delete_link(near.index) {
        // The kernel was faster.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        result => result.map(|()| false),
    }
}

/// A packet socket on the interface `name` of the namespace that the calling thread is in.
fn open_socket(name: &str, mtu: Option<u32>) -> Result<OwnedFd> {
    let mut netlink = Netlink::open()?;
    let index = netlink.link_by_name(name)?.index;
    // The card's namespace is only a place for cables: its own stack must not answer or announce.
    for (key, value) in QUIET {
        let _ = crate::netns::write_sysctl(&key.replace("IF", name), value);
    }
    // Up before the socket is bound: binding to an interface that is down leaves an error behind.
    netlink.change_link(
        index,
        &LinkChange {
            up: Some(true),
            mtu,
            ..LinkChange::default()
        },
    )?;
    bound_socket(name, index)
}

/// A packet socket on an interface that is up.
fn bound_socket(name: &str, index: u32) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
        .step(|| "open a packet socket".into())?;
    for (option, what) in [
        (libc::PACKET_VNET_HDR, "carry virtio headers"),
        (PACKET_IGNORE_OUTGOING, "ignore frames that it sends"),
        (libc::PACKET_QDISC_BYPASS, "bypass queueing disciplines"),
    ] {
        sys::set_socket_option(fd.as_fd(), libc::SOL_PACKET, option, 1)
            .step(|| format!("make the packet socket of {name} {what}"))?;
    }
    // A few super-frames fill the default buffer. The forced size needs the right over the namespace
    // (Linux 6.0); else the host's limit holds.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, SOCKET_BUFFER_BYTES).is_err() {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&fd, SOCKET_BUFFER_BYTES);
    }
    if rustix::net::sockopt::set_socket_send_buffer_size_force(&fd, SOCKET_BUFFER_BYTES).is_err() {
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&fd, SOCKET_BUFFER_BYTES);
    }
    sys::bind_packet_socket(fd.as_fd(), index).step(|| format!("bind a packet socket to {name}"))?;
    Ok(fd)
}

impl AsFd for PacketPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PacketSocket for PacketPort {}
impl PacketSocket for FrameSocket {}

/// What reads and writes frames by a packet socket that carries virtio headers.
trait PacketSocket: AsFd + std::fmt::Debug + Send + Sync {}

impl<T: PacketSocket> Port for T {
    fn vnet_header_bytes(&self) -> usize {
        VNET_HEADER_BYTES
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let received = rustix::net::recv(self, buffer, RecvFlags::DONTWAIT);
        port::read_outcome(received.map(|(length, _)| length))
    }

    fn write(&self, buffer: &[u8]) -> io::Result<Written> {
        Written::from_result(rustix::net::send(self, buffer, SendFlags::DONTWAIT))
    }

    fn write_descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    fn write_parts(&self, header: &VnetHeader, frame: &[u8]) -> io::Result<Written> {
        let header = port::header_bytes(header);
        let parts = [
            io::IoSlice::new(&header[..VNET_HEADER_BYTES]),
            io::IoSlice::new(frame),
        ];
        Written::from_result(rustix::io::writev(self, &parts))
    }

    fn read_batch(&self, batch: &mut Batch) -> io::Result<usize> {
        batch.fill(|buffers, lengths| sys::receive_many(self.as_fd(), buffers, lengths))
    }
}

/// Sysctls that keep the card's end silent; `IF` is its name.
const QUIET: [(&str, &str); 3] = [
    ("net/ipv6/conf/IF/disable_ipv6", "1"),
    ("net/ipv4/conf/IF/arp_ignore", "8"),
    ("net/ipv4/conf/IF/forwarding", "0"),
];

/// Asked for per socket; the kernel doubles it for its own overhead: room for some sixty super-frames.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Source: [linux/if_packet.h], not in the libc crate for every target.
const PACKET_IGNORE_OUTGOING: i32 = 23;
