//! Drivers for interfaces that are devices: a proper one on the client of the vfio-user crate, and a bus that says
//! what it likes ([`Raw`]).

use std::cell::RefCell;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use trinic::protocol::{InstanceKind, InstanceSpec, Query};
use trinic_ena::driver::{Buffer, Config, Driver, Frame, QueuePair};
use trinic_host::guest_memory::{Access, GuestMemory, Limits};
use trinic_host::vfio_user::{Client, ClientOptions};
use trinic_pci::Bus;
use trinic_pci::bus::BusError;
use trinic_switch::tables::Entry;

use crate::files::Kind;
use crate::harness::{Card, instance, interface};

/// How long anything may take before a test fails.
const LIMIT: Duration = Duration::from_secs(15);

/// The instance `i-N` with the interface `eni-N` as a device, and its socket.
pub(crate) fn device(card: &Card, n: u8, queue_pairs: u32) -> (InstanceSpec, PathBuf) {
    let id = format!("i-{n}");
    let socket = card.state.path().join(format!("e{n}.sock"));
    let mut spec = instance(&id, &[n]);
    spec.kind = InstanceKind::Device {
        socket: socket.to_str().unwrap().to_owned(),
    };
    spec.interfaces[0].ena = true;
    spec.interfaces[0].ena_queue_pairs = queue_pairs;
    (spec, socket)
}

/// Gives a card such an instance; its socket.
pub(crate) fn add_device(card: &mut Card, n: u8, queue_pairs: u32) -> PathBuf {
    let (spec, socket) = device(card, n, queue_pairs);
    let id = spec.id.clone();
    card.update(vec![Entry::Interface(interface(n, Some(&id)))], vec![spec], &[]);
    card.running(&id);
    assert!(socket.exists());
    socket
}

/// What `trinic card` says of an interface.
pub(crate) fn shown(card: &mut Card, n: u8) -> serde_json::Value {
    let all = card.ask(Query::Functions);
    let id = format!("eni-{n}");
    let one = all.as_array().unwrap().iter().find(|one| one["interface"] == *id);
    one.cloned().unwrap()
}

/// What was counted under a name in one of the objects of [`shown`].
pub(crate) fn count(shown: &serde_json::Value, path: &str) -> u64 {
    shown
        .pointer(path)
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(0)
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A driver with its queues, and the interface 10.0.0.N that it drives.
pub(crate) struct Guest<B> {
    pub(crate) n: u8,
    pub(crate) driver: Driver<B>,
    pub(crate) pairs: Vec<QueuePair<B>>,
    pub(crate) buffers: Vec<Buffer>,
}

impl Guest<Client> {
    /// Connects to a socket as soon as it lets a client in.
    pub(crate) fn connect(n: u8, socket: &Path) -> Self {
        let mut client = None;
        eventually("the function lets a client in", || {
            client = Client::connect(socket, &ClientOptions::default()).ok();
            client.is_some()
        });
        Self::probe(n, client.unwrap(), true)
    }
}

impl<B: Bus> Guest<B> {
    /// Takes a function to running queues, half of the buffers posted.
    pub(crate) fn probe(n: u8, bus: B, llq: bool) -> Self {
        let config = Config {
            queue_pairs: 2,
            tx_depth: 256,
            rx_depth: 256,
            buffers: 512,
            llq,
            ..Config::default()
        };
        Self::probe_with(n, bus, config)
    }

    /// As [`Self::probe`], with a configuration of the test's own.
    pub(crate) fn probe_with(n: u8, bus: B, config: Config) -> Self {
        let (driver, pairs, buffers) = Driver::probe(bus, config).unwrap();
        let mut guest = Self {
            n,
            driver,
            pairs,
            buffers,
        };
        assert_eq!(guest.driver.offer().mac, [2, 0, 0, 0, 0, n]);
        guest.post();
        guest
    }

    /// Posts buffers, leaving enough to send from.
    pub(crate) fn post(&mut self) {
        // Of each queue's own 512 buffers 255, of fewer three quarters.
        let each = (self.buffers.len() / self.pairs.len())
            .div_ceil(4)
            .saturating_mul(3)
            .min(255);
        for pair in &mut self.pairs {
            let mut some = self.buffers.split_off(self.buffers.len().saturating_sub(each));
            pair.rx.refill(&mut some).unwrap();
            self.buffers.append(&mut some);
        }
    }

    /// Sends a frame by the first queue.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let tx = &mut self.pairs[0].tx;
        tx.reclaim(&mut self.buffers).unwrap();
        let Some(buffer) = self.buffers.pop() else { return };
        let mut frames = vec![Frame::copied(buffer, tx.memory(), bytes).unwrap()];
        tx.transmit(&mut frames).unwrap();
        frames
            .into_iter()
            .for_each(|frame| frame.into_buffers(&mut self.buffers));
    }

    /// What came in; none of it may be for somebody else.
    pub(crate) fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut received = Vec::new();
        for pair in &mut self.pairs {
            let mut frames = Vec::new();
            while pair.rx.receive(&mut frames, 64).unwrap() > 0 {}
            let mut spare = Vec::new();
            for frame in frames {
                let mut bytes = vec![0; frame.length()];
                frame.read(pair.rx.memory(), &mut bytes).unwrap();
                frame.into_buffers(&mut spare);
                let is_ours = bytes[..6] == [2, 0, 0, 0, 0, self.n] || bytes[0] & 1 == 1;
                assert!(is_ours, "a frame for another interface: {bytes:02x?}");
                received.push(bytes);
            }
            pair.rx.refill(&mut spare).unwrap();
            self.buffers.append(&mut spare);
        }
        received
    }

    /// Answers pings, and gives the frames that are none.
    pub(crate) fn answer(&mut self) -> Vec<Vec<u8>> {
        let mut rest = Vec::new();
        for mut frame in self.receive() {
            let is_echo = frame.len() > 42 && frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == 8;
            if !is_echo {
                rest.push(frame);
                continue;
            }
            let (to, from) = (frame[..6].to_vec(), frame[6..12].to_vec());
            frame[..6].copy_from_slice(&from);
            frame[6..12].copy_from_slice(&to);
            let addresses = [&frame[30..34], &frame[26..30]].concat();
            frame[26..34].copy_from_slice(&addresses);
            frame[34] = 0;
            finish_icmp(&mut frame);
            self.send(&frame);
        }
        rest
    }

    /// Whether 10.0.0.M answers a ping of this interface within two seconds.
    pub(crate) fn pings(&mut self, m: u8) -> bool {
        let frame = echo(self.n, m);
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            self.send(&frame);
            let until = Instant::now() + Duration::from_millis(100);
            while Instant::now() < until {
                let is_reply = |frame: &Vec<u8>| {
                    frame.len() > 42 && frame[23] == 1 && frame[34] == 0 && frame[26..30] == [10, 0, 0, m]
                };
                if self.receive().iter().any(is_reply) {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        false
    }

    /// Answers pings while another one runs.
    pub(crate) fn answer_while(&mut self, mut runs: impl FnMut() -> bool) {
        while runs() {
            self.answer();
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// An ICMP echo request from 10.0.0.N to 10.0.0.M.
pub(crate) fn echo(n: u8, m: u8) -> Vec<u8> {
    let mut frame = vec![0; 98];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, m, 2, 0, 0, 0, 0, n]);
    frame[12..18].copy_from_slice(&[8, 0, 0x45, 0, 0, 84]);
    frame[22..24].copy_from_slice(&[64, 1]);
    frame[26..34].copy_from_slice(&[10, 0, 0, n, 10, 0, 0, m]);
    frame[34] = 8;
    frame[38..42].copy_from_slice(&[0x12, 0x34, 0, 1]);
    finish_icmp(&mut frame);
    frame
}

/// An ARP request of 10.0.0.N for an address.
pub(crate) fn arp(n: u8, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, n]);
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..32].copy_from_slice(&[2, 0, 0, 0, 0, n, 10, 0, 0, n]);
    frame[38..42].copy_from_slice(&address.octets());
    frame
}

/// Writes the checksums of IPv4 and ICMP.
fn finish_icmp(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum);
    frame[36..38].fill(0);
    let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let sum = checksum(&frame[34..end]);
    frame[36..38].copy_from_slice(&sum);
}

/// The internet checksum. Source: RFC 1071.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

/// A client of a function that follows no rules: every message is its own, and the memory that it gives is a file
/// that it may cut off.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) stream: UnixStream,
    /// The id of the last message.
    id: RefCell<u16>,
    memory: GuestMemory,
    pub(crate) file: OwnedFd,
    next: u64,
    /// Address and bytes of everything that was allocated, in order.
    pub(crate) allocated: Vec<(u64, usize)>,
}

impl Raw {
    /// Bus address of its memory.
    pub(crate) const BASE: u64 = 0x10_0000;
    pub(crate) const BYTES: u64 = 16 << 20;

    /// Connects, agrees, and maps its memory.
    pub(crate) fn connect(socket: &Path) -> Self {
        Self::connect_with(socket, Kind::Memfd)
    }

    /// As [`Self::connect`], with memory of some kind.
    pub(crate) fn connect_with(socket: &Path, kind: Kind) -> Self {
        let mut stream = None;
        eventually("the function lets a client in", || {
            stream = Self::agreed(socket);
            stream.is_some()
        });
        let file = kind.open(Self::BYTES).unwrap();
        let memory = GuestMemory::new(Limits::default()).unwrap();
        memory
            .map(Self::BASE, Self::BYTES, Some(file.as_fd()), 0, Access::BOTH)
            .unwrap();
        let raw = Self {
            stream: stream.unwrap(),
            id: RefCell::new(100),
            memory,
            file,
            next: Self::BASE,
            allocated: Vec::new(),
        };
        assert_eq!(raw.map(Self::BASE, Self::BYTES), Some(0));
        raw
    }

    fn agreed(socket: &Path) -> Option<UnixStream> {
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let json = b"{\"capabilities\":{\"max_msg_fds\":16,\"write_multiple\":true}}\0";
        let message = message(1, 1, &[&[0; 4], &json[..]]);
        send(&stream, &message, &[]).ok()?;
        receive(&mut stream).map(|_| stream)
    }

    /// Sends a command and reads its reply: the error number and the body; `None` when the server hangs up.
    pub(crate) fn ask(
        &self,
        command: u16,
        body: &[&[u8]],
        files: &[BorrowedFd<'_>],
    ) -> Option<(u32, Vec<u8>)> {
        let mut id = self.id.borrow_mut();
        *id = id.wrapping_add(1);
        send(&self.stream, &message(*id, command, body), files).ok()?;
        receive(&mut &self.stream)
    }

    /// Maps a part of its file at an address; the error number.
    pub(crate) fn map(&self, address: u64, bytes: u64) -> Option<u32> {
        let fields = [address - Self::BASE, address, bytes]
            .map(u64::to_ne_bytes)
            .concat();
        let body = [words(&[32, 3]), fields].concat();
        self.ask(2, &[&body], &[self.file.as_fd()])
            .map(|(error, _)| error)
    }

    /// Unmaps; the error number.
    pub(crate) fn unmap(&self, address: u64, bytes: u64) -> Option<u32> {
        let fields = [address, bytes].map(u64::to_ne_bytes).concat();
        let body = [words(&[24, 0]), fields].concat();
        self.ask(3, &[&body], &[]).map(|(error, _)| error)
    }

    /// Writes any bytes anywhere; the error number.
    pub(crate) fn write(&self, region: u32, offset: u64, data: &[u8]) -> Option<u32> {
        let count = u32::try_from(data.len()).unwrap();
        let head = [&offset.to_ne_bytes()[..], &words(&[region, count])].concat();
        self.ask(10, &[&head, data], &[]).map(|(error, _)| error)
    }

    /// Reads bytes from anywhere; the error number and the bytes.
    pub(crate) fn read(&self, region: u32, offset: u64, count: u32) -> Option<(u32, Vec<u8>)> {
        let head = [&offset.to_ne_bytes()[..], &words(&[region, count])].concat();
        let (error, mut body) = self.ask(9, &[&head], &[])?;
        Some((error, body.split_off(body.len().min(16))))
    }
}

impl Bus for Raw {
    type Memory = GuestMemory;

    fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    fn allocate(&mut self, length: usize, align: usize) -> Result<u64, BusError> {
        let start = self.next.next_multiple_of(u64::try_from(align).unwrap());
        self.next = start + u64::try_from(length).unwrap();
        assert!(self.next <= Self::BASE + Self::BYTES);
        self.allocated.push((start, length));
        Ok(start)
    }

    fn register_read(&self, bar: u8, offset: u64) -> Result<u32, BusError> {
        let read = self.read(bar.into(), offset, 4).filter(|(error, _)| *error == 0);
        let bytes = read.ok_or_else(|| BusError::Gone("no answer".into()))?.1;
        Ok(u32::from_le_bytes(bytes.try_into().unwrap()))
    }

    fn register_write(&self, bar: u8, offset: u64, value: u32) -> Result<(), BusError> {
        match self.write(bar.into(), offset, &value.to_le_bytes()) {
            Some(0) => Ok(()),
            _ => Err(BusError::Gone("no answer".into())),
        }
    }

    fn push(&self, bar: u8, offset: u64, bytes: &[u8]) -> Result<(), BusError> {
        match self.write(bar.into(), offset, bytes) {
            Some(0) => Ok(()),
            _ => Err(BusError::Gone("no answer".into())),
        }
    }

    fn wait(&self, _: u16, timeout: Duration) -> Result<bool, BusError> {
        std::thread::sleep(timeout);
        Ok(false)
    }
}

/// A message with its header. Source: QEMU docs/interop/vfio-user.rst.
pub(crate) fn message(id: u16, command: u16, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let size = u32::try_from(16 + body.len()).unwrap();
    [
        &id.to_ne_bytes()[..],
        &command.to_ne_bytes(),
        &words(&[size, 0, 0]),
        &body,
    ]
    .concat()
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn send(stream: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(files)));
    }
    let flags = SendFlags::NOSIGNAL;
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags)?;
    assert_eq!(sent, bytes.len());
    Ok(())
}

fn receive(stream: &mut impl Read) -> Option<(u32, Vec<u8>)> {
    let mut head = [0; 16];
    stream.read_exact(&mut head).ok()?;
    let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
    let mut body = vec![0; usize::try_from(word(4)).unwrap() - 16];
    stream.read_exact(&mut body).ok()?;
    Some((word(12), body))
}
