//! A function to be served in tests, and a client that writes its own messages.

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use trinic_host::clock::monotonic_ns;
use trinic_host::guest_memory::{GuestMemory, Limits};
use trinic_host::vfio_user::{IrqTable, Parts, Server, ServerHandle, SharedBar};
use trinic_pci::config::{ConfigSpace, Identity, MsixPlace};
use trinic_pci::msix::{BAR_SIZE_BYTES, MsixTable, PENDING_OFFSET};
use trinic_pci::{BarSpec, Function, Interrupts, Memory};
use trinic_wire::time::Instant;

pub(crate) const VECTORS: u16 = 20;

/// What a [`Scratch`] function's registers in BAR 0 do. Doorbells are mapped from 0x1000 on.
pub(crate) mod register {
    pub(crate) const SCRATCH: u64 = 0x00;
    /// How often the function was reset.
    pub(crate) const RESETS: u64 = 0x04;
    /// Bus address for the next one.
    pub(crate) const ADDRESS: u64 = 0x08;
    /// Inverts that many bytes, to 4,096 bytes further, and raises vector 1.
    pub(crate) const INVERT: u64 = 0x0c;
    /// Raises vector 2 in that many milliseconds.
    pub(crate) const TIMER: u64 = 0x10;
    /// A thread counts at that bus address from now on.
    pub(crate) const COUNT_AT: u64 = 0x14;
}

/// A function with a bit of everything.
#[derive(Debug)]
pub(crate) struct Scratch {
    bars: Vec<BarSpec>,
    config: ConfigSpace,
    msix: MsixTable,
    scratch: u32,
    resets: u32,
    address: u64,
    due: Option<Instant>,
    memory: GuestMemory,
    interrupts: IrqTable,
    pub(crate) shared: Vec<SharedBar>,
    pub(crate) memory_changes: u64,
    counting: Option<Counting>,
}

/// A datapath: a thread that uses memory until it is told to stop, and says when it has seen a change.
#[derive(Debug)]
struct Counting {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Counting {
    fn start(memory: GuestMemory, address: u64) -> Self {
        let counting = Self {
            stop: Arc::default(),
            asked: Arc::default(),
            seen: Arc::default(),
            thread: None,
        };
        let (stop, asked, seen) = (
            Arc::clone(&counting.stop),
            Arc::clone(&counting.asked),
            Arc::clone(&counting.seen),
        );
        let thread = std::thread::spawn(move || {
            let mut count = 0u32;
            while !stop.load(Ordering::Acquire) {
                seen.store(asked.load(Ordering::Acquire), Ordering::Release);
                count = count.wrapping_add(1);
                let _ = memory.store_u32(address, count);
                let _ = memory.write(address + 8, &count.to_ne_bytes());
            }
        });
        Self {
            thread: Some(thread),
            ..counting
        }
    }

    fn wait_until_seen(&self) {
        let asked = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        while self.seen.load(Ordering::Acquire) < asked {
            std::thread::yield_now();
        }
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Scratch {
    pub(crate) fn parts() -> Parts<Self> {
        let bar = |index, size_bytes, mapped: Option<std::ops::Range<u64>>| BarSpec {
            index,
            size_bytes,
            is_64bit: index == 2,
            is_prefetchable: index == 2,
            mapped: mapped.into_iter().collect(),
        };
        let bars = vec![
            bar(0, 0x4000, Some(0x1000..0x2000)),
            bar(1, BAR_SIZE_BYTES, None),
            bar(2, 0x1_0000, Some(0..0x1_0000)),
        ];
        let identity = Identity {
            vendor_id: 0x1d0f,
            device_id: 0xec20,
            revision_id: 0,
            class_code: 0x02_0000,
            subsystem_vendor_id: 0x1d0f,
            subsystem_id: 0xec20,
        };
        let msix = MsixPlace {
            vectors: VECTORS,
            bar: 1,
            table_offset: 0,
            pending_offset: PENDING_OFFSET,
        };
        let shared = vec![
            SharedBar::new(&bars[0]).unwrap(),
            SharedBar::new(&bars[2]).unwrap(),
        ];
        let memory = GuestMemory::new(Limits {
            maps: 16,
            bytes: 1 << 30,
        })
        .unwrap();
        let interrupts = IrqTable::new(VECTORS);
        let function = Self {
            config: ConfigSpace::new(&identity, &bars, msix).unwrap(),
            msix: MsixTable::new(VECTORS),
            bars,
            scratch: 0,
            resets: 0,
            address: 0,
            due: None,
            memory: memory.clone(),
            interrupts: interrupts.clone(),
            shared: shared.clone(),
            memory_changes: 0,
            counting: None,
        };
        Parts {
            function,
            shared,
            memory,
            interrupts,
        }
    }

    /// A running server with one connected stream.
    pub(crate) fn served() -> (ServerHandle<Self>, UnixStream) {
        let server = Server::unbound(Self::parts()).spawn().unwrap();
        let stream = connected(&server);
        (server, stream)
    }

    fn invert(&mut self, length: u32) {
        let mut bytes = vec![0; usize::try_from(length.min(4096)).unwrap()];
        let copied = self.memory.read(self.address, &mut bytes);
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        if copied
            .and_then(|()| self.memory.write(self.address + 4096, &bytes))
            .is_ok()
        {
            self.interrupts.trigger(1);
        }
    }
}

impl Function for Scratch {
    fn bars(&self) -> &[BarSpec] {
        &self.bars
    }

    fn vector_count(&self) -> u16 {
        VECTORS
    }

    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        self.config.read(offset, data);
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        if self.config.write(offset, data).function_level_reset {
            self.reset();
        }
    }

    fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        let value = match (bar, offset) {
            (1, _) => return self.msix.read(offset, data),
            (0, register::SCRATCH) => self.scratch,
            (0, register::RESETS) => self.resets,
            _ => u32::MAX,
        };
        for (to, from) in data.iter_mut().zip(value.to_le_bytes().iter().chain(&[0xff; 4])) {
            *to = *from;
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        if bar == 1 {
            return self.msix.write(offset, data);
        }
        let Ok(value) = data.try_into().map(u32::from_le_bytes) else {
            return;
        };
        match offset {
            register::SCRATCH => self.scratch = value,
            register::ADDRESS => self.address = value.into(),
            register::INVERT => self.invert(value),
            register::TIMER => {
                let due = monotonic_ns() + u64::from(value) * 1_000_000;
                self.due = Some(Instant::from_nanos(due));
            }
            register::COUNT_AT => {
                self.counting = Some(Counting::start(self.memory.clone(), value.into()));
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.scratch = 0;
        self.due = None;
        self.resets += 1;
        self.config.reset();
        self.msix.reset();
        if let Some(counting) = self.counting.take() {
            counting.end();
        }
    }

    fn memory_changed(&mut self) {
        self.memory_changes += 1;
        if let Some(counting) = &self.counting {
            counting.wait_until_seen();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.interrupts.trigger(2);
        }
    }
}

/// A stream to a server, which has let it in or turned it away.
pub(crate) fn connected<F>(server: &ServerHandle<F>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    server.connect(theirs);
    assert!(server.ask(|_| ()).is_some());
    ours
}

/// Waits until something holds; the server's thread does it in its own time.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn memfd(bytes: u64) -> OwnedFd {
    let file = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, bytes).unwrap();
    file
}

/// A reply as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) id: u16,
    pub(crate) command: u16,
    pub(crate) flags: u32,
    pub(crate) errno: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) files: Vec<OwnedFd>,
}

/// A client that says whatever a test wants.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) stream: UnixStream,
    next: u16,
}

impl Raw {
    /// On a stream, before anything was said.
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream, next: 100 }
    }

    /// As QEMU begins.
    pub(crate) fn agreed(stream: UnixStream) -> Self {
        let mut raw = Self::new(stream);
        let json = b"{\"capabilities\":{\"max_msg_fds\":16,\"write_multiple\":true}}\0";
        let reply = raw.ask(1, &[&[0; 4], &json[..]], &[]);
        assert_eq!((reply.flags, reply.body[..4].to_vec()), (1, vec![0; 4]));
        raw
    }

    /// Sends a command and receives its reply.
    pub(crate) fn ask(&mut self, command: u16, body: &[&[u8]], files: &[BorrowedFd<'_>]) -> Reply {
        let id = self.send(command, 0, body, files);
        let reply = self.receive();
        assert_eq!((reply.id, reply.command), (id, command));
        reply
    }

    /// As [`Self::ask`], for a command that must succeed.
    pub(crate) fn ask_well(&mut self, command: u16, body: &[&[u8]], files: &[BorrowedFd<'_>]) -> Reply {
        let reply = self.ask(command, body, files);
        assert_eq!((reply.flags, reply.errno), (1, 0), "command {command}");
        reply
    }

    /// As [`Self::ask`], for a command that must fail.
    pub(crate) fn ask_badly(&mut self, command: u16, body: &[&[u8]], files: &[BorrowedFd<'_>]) -> i32 {
        let reply = self.ask(command, body, files);
        assert_eq!((reply.flags, reply.body.len()), (0x21, 0), "command {command}");
        reply.errno.try_into().unwrap()
    }

    pub(crate) fn send(&mut self, command: u16, flags: u32, body: &[&[u8]], files: &[BorrowedFd<'_>]) -> u16 {
        let body = body.concat();
        self.next += 1;
        let size = u32::try_from(16 + body.len()).unwrap();
        let message = [header(self.next, command, size, flags), body].concat();
        self.send_bytes(&message, files);
        self.next
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8], files: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(files)));
        }
        let sent = rustix::net::sendmsg(
            &self.stream,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        );
        assert_eq!(sent, Ok(bytes.len()));
    }

    pub(crate) fn receive(&mut self) -> Reply {
        let mut head = [0; 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut vectors = [IoSliceMut::new(&mut head)];
        let message =
            rustix::net::recvmsg(&self.stream, &mut vectors, &mut control, RecvFlags::empty()).unwrap();
        assert_eq!(message.bytes, 16, "a header comes whole");
        let files = control.drain().flat_map(|part| match part {
            RecvAncillaryMessage::ScmRights(files) => files.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let files = files.collect();
        let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        let mut body = vec![0; usize::try_from(word(4)).unwrap() - 16];
        self.stream.read_exact(&mut body).unwrap();
        Reply {
            id: u16::from_ne_bytes([head[0], head[1]]),
            command: u16::from_ne_bytes([head[2], head[3]]),
            flags: word(8),
            errno: word(12),
            body,
            files,
        }
    }

    /// Whether the server hangs up.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    pub(crate) fn map(&mut self, address: u64, size: u64, file: &OwnedFd) -> Reply {
        let body = dma_map(address, size, 0, 3);
        self.ask(2, &[&body], &[file.as_fd()])
    }

    pub(crate) fn read_register(&mut self, bar: u32, offset: u64) -> u32 {
        let reply = self.ask_well(9, &[&access(offset, bar, 4)], &[]);
        u32::from_ne_bytes(reply.body[16..20].try_into().unwrap())
    }

    pub(crate) fn write_register(&mut self, bar: u32, offset: u64, value: u32) {
        self.ask_well(10, &[&access(offset, bar, 4), &value.to_ne_bytes()], &[]);
    }
}

pub(crate) fn header(id: u16, command: u16, size: u32, flags: u32) -> Vec<u8> {
    let words = [size, flags, 0].map(u32::to_ne_bytes).concat();
    [&id.to_ne_bytes()[..], &command.to_ne_bytes(), &words].concat()
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(crate) fn dma_map(address: u64, size: u64, offset: u64, flags: u32) -> Vec<u8> {
    let long = [offset, address, size].map(u64::to_ne_bytes).concat();
    [words(&[32, flags]), long].concat()
}

pub(crate) fn dma_unmap(address: u64, size: u64, flags: u32) -> Vec<u8> {
    let long = [address, size].map(u64::to_ne_bytes).concat();
    [words(&[24, flags]), long].concat()
}

pub(crate) fn access(offset: u64, region: u32, count: u32) -> Vec<u8> {
    [&offset.to_ne_bytes()[..], &words(&[region, count])].concat()
}
