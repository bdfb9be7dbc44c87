//! One interface's datagrams in and out.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use trinic_srd::congestion::Controller;
use trinic_srd::{Datagram, Endpoint, Instant, Local, Transmit};

use super::socket::{Path, Receiver, Sent};
use crate::clock::monotonic_ns;
use crate::epoll::Waker;
use crate::error::{Error, Result, Step};
use crate::sys::{MOST_SEGMENTS, Received};

/// How to open a [`Carrier`].
#[derive(Clone, Debug)]
pub struct Options {
    /// This host's address in the network that carries SRD.
    pub address: IpAddr,
    /// The SRD port, on which everything arrives; 0 takes any that is free.
    pub port: u16,
    /// Paths, each with a socket and a source port: [`trinic_srd::Config::paths`].
    pub paths: u8,
    /// The source port of the first path; the others follow it. Without it the kernel chooses.
    pub first_source_port: Option<u16>,
    /// Whether to hand many datagrams to the kernel as one (UDP_SEGMENT). Where it cannot do that they go one by one anyway.
    pub segmentation: bool,
    /// Bytes of datagrams that the kernel keeps until they are received. Asked for; without the right to more it is the machine's limit
    /// (`net.core.rmem_max`).
    pub receive_buffer_bytes: usize,
    /// Bytes of datagrams of one path that may wait for the device.
    pub send_buffer_bytes: usize,
    /// How long to look for datagrams again and again before waiting. It takes a whole processor and saves the time of being woken.
    pub busy: Duration,
}

impl Options {
    /// The usual ones for this address.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self {
            address,
            port: SRD_PORT,
            paths: 16,
            first_source_port: None,
            segmentation: true,
            receive_buffer_bytes: 16 << 20,
            send_buffer_bytes: 4 << 20,
            busy: Duration::ZERO,
        }
    }
}

/// What a carrier counts; the numbers only grow. Each datagram that did not go is a loss for the protocol, which sends it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Calls with which it took them.
    pub send_calls: u64,
    /// Datagrams received.
    pub received: u64,
    /// Calls that received them.
    pub receive_calls: u64,
    /// Received ones with the mark *congestion experienced* (RFC 3168).
    pub marked: u64,
    /// Times that there was no room for a batch; it went later, or is among `expired`.
    pub full: u64,
    /// Not sent: there was no room for [`HOLD`].
    pub expired: u64,
    /// Not sent: longer than the path's MTU.
    pub too_long: u64,
    /// Not sent: no way to the address.
    pub unreachable: u64,
    /// Not sent: the kernel refused it for another reason.
    pub refused: u64,
    /// Not sent: an address of the other IP version, or a path without a socket.
    pub misdirected: u64,
    /// Received, but longer than 64 KiB.
    pub truncated: u64,
    /// Not received: the socket's buffer was full.
    pub overflowed: u64,
}

/// A batch that is on its way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    transmit: Transmit,
    /// Bytes that the kernel has taken.
    done: usize,
    /// When it was first refused for want of room.
    since: Option<Instant>,
}

/// Carries the datagrams of an endpoint over UDP.
///
/// When packets go is the endpoint's to say: with [`trinic_srd::Config::burst`] it spreads a window over the round trip, and [`Carrier::turn`] comes back for each part
/// of it; without, what the congestion window permits goes at once. A batch for which there is no room stays until there is, for at most [`HOLD`].
#[derive(Debug)]
pub struct Carrier {
    receiver: Receiver,
    paths: Vec<Path>,
    busy: Duration,
    waker: Waker,
    slots: Box<[u8]>,
    received: Box<[Received]>,
    /// Whether datagrams came in groups the last time.
    grouped: bool,
    out: Box<[u8]>,
    pending: Option<Pending>,
    counters: Counters,
}

impl Carrier {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When the address is not this host's, a port is taken, or the kernel refuses a setting.
    pub fn open(options: &Options) -> Result<Self> {
        if !(1..=64).contains(&options.paths) {
            return Err(Error::Invalid(format!(
                "SRD has 1 to 64 paths, not {}",
                options.paths
            )));
        }
        let address = SocketAddr::new(options.address, options.port);
        let receiver = Receiver::open(address, options.receive_buffer_bytes)?;
        let mut paths = Vec::with_capacity(usize::from(options.paths));
        for number in 0..u16::from(options.paths) {
            let port = match options.first_source_port {
                None => 0,
                Some(first) => first
                    .checked_add(number)
                    .ok_or_else(|| Error::Invalid(format!("No {} ports follow {first}", options.paths)))?,
            };
            let bytes = options.send_buffer_bytes;
            paths.push(Path::open(options.address, port, bytes, options.segmentation)?);
        }
        Ok(Self {
            receiver,
            paths,
            busy: options.busy,
            waker: Waker::new().step(|| "make an eventfd".into())?,
            slots: vec![0; SLOTS * SLOT_BYTES].into(),
            received: vec![Received::default(); SLOTS].into(),
            grouped: false,
            out: vec![0; OUT_BYTES].into(),
            pending: None,
            counters: Counters::default(),
        })
    }

    /// Where peers send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.receiver.address
    }

    /// The source port of each path.
    pub fn source_ports(&self) -> impl Iterator<Item = u16> {
        self.paths.iter().map(|path| path.port)
    }

    /// Whether every path hands many datagrams to the kernel as one. A path stops doing so when the kernel refuses it.
    #[must_use]
    pub fn segments(&self) -> bool {
        self.paths.iter().all(|path| path.offload)
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Ends a wait in [`Carrier::turn`] from another thread.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn waker(&self) -> Result<Waker> {
        self.waker.try_clone().step(|| "duplicate an eventfd".into())
    }

    /// The time for [`Endpoint::submit`]: that of [`monotonic_ns`].
    #[must_use]
    pub fn now() -> Instant {
        Instant::from_nanos(monotonic_ns())
    }

    /// A round of the loop: takes what has come, does what is due and sends what may go. If that was nothing it waits until there is something, at most `most`,
    /// and does that. The caller then takes the endpoint's events and calls again.
    ///
    /// # Errors
    /// When the SRD port cannot be read; what concerns single datagrams is counted.
    pub fn turn<C: Controller>(
        &mut self,
        endpoint: &mut Endpoint<C>,
        local: &mut impl Local,
        most: Duration,
    ) -> Result<()> {
        if self.round(endpoint, local)? {
            return Ok(());
        }
        let now = Self::now();
        let end = now + most;
        let until = endpoint.poll_timeout().map_or(end, |due| due.min(end));
        if !self.spin(now, until) {
            self.wait(until)?;
        }
        self.round(endpoint, local)?;
        Ok(())
    }

    /// Hands to the endpoint what has come, up to a bound; whether there was something.
    ///
    /// # Errors
    /// When the SRD port cannot be read.
    pub fn receive<C: Controller>(
        &mut self,
        endpoint: &mut Endpoint<C>,
        local: &mut impl Local,
    ) -> Result<bool> {
        for call in 0..RECEIVE_CALLS {
            let wanted = if self.grouped { GROUPED_SLOTS } else { SLOTS };
            let received = &mut self.received[..wanted];
            let count = self.receiver.receive(&mut self.slots, SLOT_BYTES, received)?;
            if count == 0 {
                return Ok(call > 0);
            }
            self.grouped = received[..count].iter().any(|one| one.length > one.segment);
            self.counters.receive_calls += 1;
            let now = Self::now();
            for (slot, received) in self.slots.chunks(SLOT_BYTES).zip(&self.received).take(count) {
                if let Some(total) = received.dropped {
                    self.counters.overflowed += self.receiver.newly_dropped(total);
                }
                if received.truncated {
                    self.counters.truncated += 1;
                    continue;
                }
                let marked = received.ecn == CONGESTION_EXPERIENCED;
                let bytes = &slot[..received.length.min(SLOT_BYTES)];
                for bytes in bytes.chunks(received.segment.max(1)) {
                    self.counters.received += 1;
                    self.counters.marked += u64::from(marked);
                    endpoint.handle_datagram(now, Datagram { bytes, marked }, local);
                }
            }
            if count < wanted {
                break;
            }
        }
        Ok(true)
    }

    /// Sends what the endpoint has to send, up to a bound; whether there was something. When it returns and [`Carrier::blocked`] is some descriptor, there was no
    /// room.
    pub fn transmit<C: Controller>(&mut self, endpoint: &mut Endpoint<C>, local: &mut impl Local) -> bool {
        let now = Self::now();
        for batch in 0..TRANSMIT_BATCHES {
            if self.pending.is_none() {
                let transmit = endpoint.poll_transmit(now, local, &mut self.out, MOST_SEGMENTS);
                self.pending = transmit.map(|transmit| Pending {
                    transmit,
                    done: 0,
                    since: None,
                });
            }
            let Some(pending) = self.pending.take() else {
                return batch > 0;
            };
            self.pending = self.push(now, pending);
            if self.pending.is_some() {
                return batch > 0;
            }
        }
        true
    }

    /// The descriptor that has to become writable before anything more is sent, if there is such a one.
    #[must_use]
    pub fn blocked(&self) -> Option<BorrowedFd<'_>> {
        let pending = self.pending.as_ref()?;
        self.paths
            .get(usize::from(pending.transmit.path))
            .map(AsFd::as_fd)
    }

    fn round<C: Controller>(&mut self, endpoint: &mut Endpoint<C>, local: &mut impl Local) -> Result<bool> {
        let received = self.receive(endpoint, local)?;
        let now = Self::now();
        let due = endpoint.poll_timeout().is_some_and(|due| due <= now);
        if due {
            endpoint.handle_timeout(now);
        }
        let sent = self.transmit(endpoint, local);
        Ok(received || due || sent)
    }

    /// Hands a batch to the kernel; what is left of it if there was no room.
    fn push(&mut self, now: Instant, mut pending: Pending) -> Option<Pending> {
        let Transmit {
            address,
            path,
            bytes,
            segment,
        } = pending.transmit;
        let segment = segment.max(1);
        let rest = |done: usize| u64::try_from((bytes - done).div_ceil(segment)).unwrap_or(u64::MAX);
        let path = self.paths.get_mut(usize::from(path));
        let Some(path) = path.filter(|_| address.is_ipv4() == self.receiver.address.is_ipv4()) else {
            self.counters.misdirected += rest(0);
            return None;
        };
        while pending.done < bytes {
            let lost = match path.send(address, &self.out[pending.done..bytes], segment) {
                Sent::Taken(taken) => {
                    let before = rest(pending.done);
                    pending.done = (pending.done + taken).min(bytes);
                    self.counters.send_calls += 1;
                    self.counters.sent += before - rest(pending.done);
                    continue;
                }
                Sent::Full => {
                    self.counters.full += 1;
                    let since = *pending.since.get_or_insert(now);
                    if now.since(since) < HOLD {
                        return Some(pending);
                    }
                    // The others should not wait any longer for this path.
                    self.counters.expired += rest(pending.done);
                    return None;
                }
                Sent::TooLong => &mut self.counters.too_long,
                Sent::Unreachable => &mut self.counters.unreachable,
                Sent::Refused(_) => &mut self.counters.refused,
            };
            *lost += 1;
            pending.done = (pending.done + segment).min(bytes);
        }
        None
    }

    /// Looks for datagrams for as long as the owner wants that; whether there is one.
    fn spin(&self, now: Instant, until: Instant) -> bool {
        let end = (now + self.busy).min(until);
        let mut found = false;
        while !found && Self::now() < end {
            std::hint::spin_loop();
            found = self.poll(Duration::ZERO).unwrap_or(true);
        }
        found
    }

    /// Waits for a datagram, for room, for the waker, and for a time.
    fn wait(&self, mut until: Instant) -> Result<()> {
        if let Some(since) = self.pending.as_ref().and_then(|pending| pending.since) {
            until = until.min(since + HOLD);
        }
        let most = until.since(Self::now());
        if most > Duration::ZERO {
            self.poll(most).step(|| "wait for datagrams".into())?;
        }
        Ok(())
    }

    /// Whether there is a datagram, room or a call of the waker, which is taken back, within a time.
    fn poll(&self, most: Duration) -> rustix::io::Result<bool> {
        let mut watched = [
            PollFd::new(&self.receiver, PollFlags::IN),
            PollFd::new(&self.waker, PollFlags::IN),
            PollFd::new(&self.waker, PollFlags::IN),
        ];
        let blocked = self.blocked();
        let count = match &blocked {
            Some(path) => {
                watched[2] = PollFd::new(path, PollFlags::OUT);
                3
            }
            None => 2,
        };
        // ppoll counts nanoseconds; longer than a day is as good as a day.
        let most = Timespec {
            tv_sec: i64::try_from(most.as_secs().min(86_400)).unwrap_or_default(),
            tv_nsec: most.subsec_nanos().into(),
        };
        let ready = match rustix::event::poll(&mut watched[..count], Some(&most)) {
            Ok(ready) => ready > 0,
            Err(Errno::INTR) => false,
            Err(error) => return Err(error),
        };
        if !watched[1].revents().is_empty() {
            self.waker.clear();
        }
        Ok(ready)
    }
}

/// The descriptor of the SRD port, for a program that waits for other things as well.
impl AsFd for Carrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// The SRD port [PKT-2].
pub const SRD_PORT: u16 = 64_773;

/// How long a batch waits for room on its path before it is given up, and others go. The protocol then sends it again, on another path.
pub const HOLD: Duration = Duration::from_millis(1);

/// The mark. Source: RFC 3168, section 5.
const CONGESTION_EXPERIENCED: u8 = 0b11;
/// Parts of the receive buffer, each for a datagram or for many that the kernel put together.
const SLOTS: usize = 16;
/// Parts that are used where the kernel puts datagrams together: full ones, of which more would leave the processor's cache before they are read. Measured: a fifth
/// more bytes a second than with all.
const GROUPED_SLOTS: usize = 4;
const SLOT_BYTES: usize = 65_536;
/// Bytes of a batch: the payload of the largest IPv6 packet without extension, which is also what UDP_SEGMENT takes at once.
const OUT_BYTES: usize = 65_535 - 40 - 8;
/// Calls of one round, so that sending and receiving take turns.
const RECEIVE_CALLS: usize = 4;
const TRANSMIT_BATCHES: usize = 64;
