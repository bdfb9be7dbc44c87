//! A worker on a thread of its own, functions with their drivers, and ports that are sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use trinic::card::backend::Plug;
use trinic::card::ena::Functions;
use trinic::card::one_subnet::{self, function, group, interface_id, rule};
use trinic::card::services::Services;
use trinic::card::worker::{Handle, Message, Visit, Worker};
use trinic_ena::driver::{Buffer, Config, Driver, Frame, QueuePair, Request};
use trinic_ena::spec::registers::ResetReason;
use trinic_host::guest_memory::OwnMemory;
use trinic_host::port::{Port, Written};
use trinic_host::vfio_user::{Client, ClientOptions};
use trinic_host::vnet::{VNET_HEADER_BYTES, VnetHeader};
use trinic_pci::Bus;
use trinic_pci::bus::BusError;
use trinic_switch::tables::{Interface, RuleProtocol, Tables};
use trinic_switch::{PortId, Switch};
use zerocopy::IntoBytes;

/// How long anything may take before a test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The worker and what is plugged into it. Drivers must go before it does.
pub(crate) struct Rig {
    pub(crate) handle: Handle,
    functions: Functions,
    folder: tempfile::TempDir,
    worker: Option<JoinHandle<io::Result<Worker>>>,
}

impl Rig {
    /// Interfaces 10.0.0.N for each of the numbers, in one subnet; those of `closed` let nothing in.
    pub(crate) fn new(interfaces: &[u8], closed: &[u8]) -> Self {
        let services = Services::new(false, [7; 32]).unwrap();
        let switch = Switch::new(trinic_switch::Config::default());
        let (worker, handle) = Worker::new(switch, services, Box::new(drop)).unwrap();
        let worker = std::thread::spawn(move || worker.serve());
        handle.load(tables(interfaces, closed)).unwrap();
        let functions = Functions::new(false);
        functions.set_worker(handle.clone());
        Self {
            handle,
            functions,
            folder: tempfile::tempdir().unwrap(),
            worker: Some(worker),
        }
    }

    /// Makes the interface a function; its socket.
    pub(crate) fn function(&self, n: u8, queue_pairs: u32) -> PathBuf {
        let plug = self.functions.make(&function(n, queue_pairs)).unwrap();
        self.plug(n, plug);
        let path = self.folder.path().join(format!("{n}.sock"));
        self.functions.serve(&interface_id(n), &path).unwrap();
        path
    }

    /// A function and its driver, half of whose buffers are posted.
    pub(crate) fn driver(&self, n: u8, config: Config) -> End {
        let socket = self.function(n, config.queue_pairs.into());
        let options = ClientOptions {
            dma_bytes: 128 << 20,
            ..ClientOptions::default()
        };
        let client = Client::connect(&socket, &options).unwrap();
        let (driver, pairs, mut spare) = Driver::probe(Spy::new(client), config).unwrap();
        let mut end = End {
            driver,
            pairs,
            spare: Vec::with_capacity(spare.len()),
            frames: Vec::with_capacity(1024),
        };
        let posted = spare.split_off(spare.len() / 2);
        end.spare.extend(posted);
        end.post(&mut spare);
        end.spare.append(&mut spare);
        end
    }

    pub(crate) fn plug(&self, n: u8, plug: Plug) -> PortId {
        self.handle.connect(Some(interface_id(n)), plug).unwrap()
    }

    /// Ends the worker's thread, and gives the worker. Drivers that go after this would wait for it until it is dropped.
    pub(crate) fn stop(&mut self) -> Worker {
        self.handle.send(Message::Stop).unwrap();
        self.worker.take().unwrap().join().unwrap().unwrap()
    }

    /// Runs something between two turns of the worker, and does not wait for it.
    pub(crate) fn later(&self, visit: impl FnOnce(&mut Visit<'_>) + Send + 'static) {
        self.handle.send(Message::Visit(Box::new(visit))).unwrap();
    }

    /// Runs something on the worker's thread that itself allocates nothing there; the answer comes by a place that
    /// both know, since a channel's sender allocates.
    pub(crate) fn on_worker(&self, visit: impl FnOnce(&mut Visit<'_>) + Send + 'static) {
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        let visit = Box::new(move |inside: &mut Visit<'_>| {
            visit(inside);
            told.store(true, Ordering::Release);
        });
        self.handle.send(Message::Visit(visit)).unwrap();
        eventually("the worker's answer", || done.load(Ordering::Acquire));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Its thread may have ended by a panic, which the test has seen then.
        let _ = self.handle.send(Message::Stop);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// A driver, its queues and what it has beside them.
pub(crate) struct End {
    pub(crate) driver: Driver<Spy>,
    pub(crate) pairs: Vec<QueuePair<Spy>>,
    pub(crate) spare: Vec<Buffer>,
    frames: Vec<Frame>,
}

impl End {
    /// Sends a frame so many times by the first queue.
    pub(crate) fn send(&mut self, bytes: &[u8], request: Request, count: usize) {
        let tx = &mut self.pairs[0].tx;
        for _ in 0..count {
            let buffer = self.spare.pop().unwrap();
            let mut frame = Frame::copied(buffer, tx.memory(), bytes).unwrap();
            frame.request = request;
            self.frames.push(frame);
        }
        assert_eq!(tx.transmit(&mut self.frames).unwrap(), count);
    }

    /// As [`Self::send`], as often as there are buffers and room in the ring.
    pub(crate) fn send_what_fits(&mut self, bytes: &[u8], request: Request) {
        let tx = &mut self.pairs[0].tx;
        tx.reclaim(&mut self.spare).unwrap();
        while let Some(buffer) = self.spare.pop() {
            let mut frame = Frame::copied(buffer, tx.memory(), bytes).unwrap();
            frame.request = request;
            self.frames.push(frame);
            if self.frames.len() == 128 {
                break;
            }
        }
        tx.transmit(&mut self.frames).unwrap();
        self.frames
            .drain(..)
            .for_each(|frame| frame.into_buffers(&mut self.spare));
    }

    /// Resets the function and makes its queues again.
    pub(crate) fn reset(&mut self, reason: ResetReason) {
        self.driver
            .reset(reason, &mut self.pairs, &mut self.spare)
            .unwrap();
    }

    /// Takes what came and what was completed; how many frames came.
    pub(crate) fn receive(&mut self) -> usize {
        self.receive_if(|_| true)
    }

    /// As [`Self::receive`], and counts those only of whose first bytes something holds.
    pub(crate) fn receive_if(&mut self, holds: impl Fn(&[u8]) -> bool) -> usize {
        let mut received = 0;
        let mut buffers = Vec::new();
        let mut bytes = vec![0; 16 << 10];
        for pair in &mut self.pairs {
            pair.tx.reclaim(&mut self.spare).unwrap();
            while pair.rx.receive(&mut self.frames, 64).unwrap() > 0 {}
            for frame in self.frames.drain(..) {
                let length = frame.read(pair.rx.memory(), &mut bytes).unwrap();
                received += usize::from(holds(&bytes[..length]));
                frame.into_buffers(&mut buffers);
            }
            pair.rx.refill(&mut buffers).unwrap();
            self.spare.append(&mut buffers);
        }
        received
    }

    /// Packets that the function has not completed.
    pub(crate) fn under_way(&self) -> usize {
        self.pairs.iter().map(|pair| pair.tx.under_way()).sum()
    }

    fn post(&mut self, buffers: &mut Vec<Buffer>) {
        let share = buffers.len() / self.pairs.len();
        for pair in &mut self.pairs {
            let mut some = buffers.split_off(buffers.len() - share);
            pair.rx.refill(&mut some).unwrap();
            self.spare.append(&mut some);
        }
    }
}

/// A client that remembers what was allocated.
#[derive(Debug)]
pub(crate) struct Spy {
    client: Client,
    allocated: Vec<u64>,
}

impl Spy {
    fn new(client: Client) -> Self {
        Self {
            client,
            allocated: Vec::new(),
        }
    }

    /// Addresses of what was allocated, in order.
    pub(crate) fn allocated(&self) -> &[u64] {
        &self.allocated
    }
}

impl Bus for Spy {
    type Memory = OwnMemory;

    fn memory(&self) -> &OwnMemory {
        self.client.memory()
    }

    fn allocate(&mut self, length: usize, align: usize) -> Result<u64, BusError> {
        let address = self.client.allocate(length, align)?;
        self.allocated.push(address);
        Ok(address)
    }

    fn register_read(&self, bar: u8, offset: u64) -> Result<u32, BusError> {
        self.client.register_read(bar, offset)
    }

    fn register_write(&self, bar: u8, offset: u64, value: u32) -> Result<(), BusError> {
        self.client.register_write(bar, offset, value)
    }

    fn push(&self, bar: u8, offset: u64, bytes: &[u8]) -> Result<(), BusError> {
        self.client.push(bar, offset, bytes)
    }

    fn wait(&self, vector: u16, timeout: Duration) -> Result<bool, BusError> {
        self.client.wait(vector, timeout)
    }
}

/// A port that is a socket, as those of the kernel are; `cuts` says that the kernel behind it cuts super-frames.
#[derive(Debug)]
pub(crate) struct Socket {
    near: UnixDatagram,
    cuts: bool,
}

impl Socket {
    pub(crate) fn pair(cuts: bool) -> (Self, UnixDatagram) {
        let (near, far) = UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        (Self { near, cuts }, far)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.near.as_fd()
    }
}

impl Port for Socket {
    fn vnet_header_bytes(&self) -> usize {
        VNET_HEADER_BYTES
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.near.recv(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, buffer: &[u8]) -> io::Result<Written> {
        match self.near.send(buffer) {
            Ok(_) => Ok(Written::Sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Written::Full),
            Err(error) => Err(error),
        }
    }

    fn write_parts(&self, header: &VnetHeader, frame: &[u8]) -> io::Result<Written> {
        let mut whole = [0; 2048];
        let length = VNET_HEADER_BYTES + frame.len();
        whole[..VNET_HEADER_BYTES].copy_from_slice(header.as_bytes());
        whole[VNET_HEADER_BYTES..length].copy_from_slice(frame);
        self.write(&whole[..length])
    }

    fn write_descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.near.as_fd())
    }

    fn takes_udp_segments(&self) -> bool {
        self.cuts
    }
}

/// What the far end of a [`Socket`] got: how many frames, virtio headers and super-frames as one.
pub(crate) fn drain(socket: &UnixDatagram, buffer: &mut [u8]) -> usize {
    let mut frames = 0;
    while socket.recv(buffer).is_ok() {
        frames += 1;
    }
    frames
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::yield_now();
    }
}

fn tables(interfaces: &[u8], closed: &[u8]) -> Tables {
    let interfaces = interfaces.iter().map(|n| {
        let group = if closed.contains(n) { "sg-closed" } else { "sg-1" };
        Interface {
            groups: vec![group.into()],
            ..one_subnet::interface(*n)
        }
    });
    let mut tables = one_subnet::tables(vec![rule("sgr-in", RuleProtocol::Any)], interfaces);
    let closed = group("sg-closed", Vec::new());
    tables.entries.insert(closed.id().clone(), closed);
    tables
}
