//! The server of one function: a thread that waits for its client, its owner, and its function's timer.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use trinic_pci::Function;
use trinic_wire::time::Instant;

use super::irq::IrqTable;
use super::protocol::{Header, flag};
use super::refusal::{Counters, Refusal};
use super::session::{Answer, Session};
use super::shared::SharedBar;
use super::stream::{Inbox, Outbox, Received, error_reply, reply};
use crate::clock::monotonic_ns;
use crate::epoll::{Events, Interest, Poller, Waker};
use crate::error::{Result, Step};
use crate::guest_memory::GuestMemory;

/// A function and what it shares with its server. The function holds clones of the other three.
#[derive(Debug)]
pub struct Parts<F> {
    /// The function.
    pub function: F,
    /// The mapped parts of its BARs.
    pub shared: Vec<SharedBar>,
    /// The memory of its client.
    pub memory: GuestMemory,
    /// Its vectors.
    pub interrupts: IrqTable,
}

impl<F: Function> Parts<F> {
    /// Everything of a client goes, and the function is as at power-on.
    fn forget_client(&mut self) {
        let gone = self.memory.clear();
        self.interrupts.clear();
        self.function.reset();
        self.function.memory_changed();
        drop(gone);
        self.memory.forget_faults();
        for bar in &self.shared {
            // Without memory for new words the function goes on with the old ones, zeroed by hand.
            if bar.renew().is_err() {
                for part in bar.mapped() {
                    let words = part.clone().step_by(4);
                    words.for_each(|offset| bar.write(offset, &[0; 4]));
                }
            }
        }
    }
}

/// A server that does not run yet.
#[derive(Debug)]
pub struct Server<F> {
    parts: Parts<F>,
    listener: Option<UnixListener>,
    place: Option<Place>,
}

impl<F: Function + Send + 'static> Server<F> {
    /// A server whose clients connect to a path. A socket that nobody listens on any more is replaced. Only the
    /// user who runs this may connect: who can, has the function, and gives the process memory to map.
    ///
    /// # Errors
    ///
    /// When somebody listens there, or the kernel refuses.
    pub fn bind(path: &Path, parts: Parts<F>) -> Result<Self> {
        let what = || format!("listen on {}", path.display());
        let listener = match listen(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
                std::fs::remove_file(path).step(what)?;
                listen(path)
            }
            other => other,
        };
        let listener = listener.step(what)?;
        let place = Place::of(path).step(what)?;
        Ok(Self {
            parts,
            listener: Some(listener),
            place: Some(place),
        })
    }

    /// Lets every user connect, as far as the directory lets them in.
    ///
    /// # Errors
    ///
    /// When the socket is not at its path any more, or the kernel refuses.
    pub fn open_to_all(&self) -> Result<()> {
        let opened = self.place.as_ref().map_or(Ok(()), Place::open_to_all);
        opened.step(|| "open the socket of a function to all users".to_owned())
    }

    /// A server whose clients are handed to it ([`ServerHandle::connect`]).
    #[must_use]
    pub fn unbound(parts: Parts<F>) -> Self {
        Self {
            parts,
            listener: None,
            place: None,
        }
    }

    /// Starts to serve, in a thread of its own.
    ///
    /// # Errors
    ///
    /// When the kernel has no descriptor or thread left.
    pub fn spawn(self) -> Result<ServerHandle<F>> {
        let what = || "start the server of a function".to_owned();
        let owner = Arc::new(Owner {
            jobs: Mutex::new(VecDeque::new()),
            waker: Waker::new().step(what)?,
            counters: Counters::default(),
            is_connected: AtomicBool::new(false),
        });
        let poller = Poller::new().step(what)?;
        poller.add(&owner.waker, WAKE, Interest::READ).step(what)?;
        poller
            .add(self.parts.memory.fault_event(), FAULT, Interest::READ)
            .step(what)?;
        if let Some(listener) = &self.listener {
            poller.add(listener, LISTENER, Interest::READ).step(what)?;
        }
        let serving = Serving {
            parts: self.parts,
            listener: self.listener,
            poller,
            client: None,
            owner: Arc::clone(&owner),
        };
        let builder = std::thread::Builder::new().name("vfio-user".into());
        let thread = builder.spawn(move || serving.run()).step(what)?;
        Ok(ServerHandle {
            owner,
            thread: Some(thread),
            place: self.place,
        })
    }
}

/// A running server. Dropping it stops it.
pub struct ServerHandle<F> {
    owner: Arc<Owner<F>>,
    thread: Option<JoinHandle<()>>,
    place: Option<Place>,
}

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerState {
    /// Its thread runs; it ends only when it is stopped, or when the function panicked.
    pub is_running: bool,
    /// A client is connected.
    pub is_connected: bool,
}

impl<F> ServerHandle<F> {
    /// How it is.
    #[must_use]
    pub fn state(&self) -> ServerState {
        let is_running = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        ServerState {
            is_running,
            is_connected: is_running && self.owner.is_connected.load(Ordering::Acquire),
        }
    }

    /// What it has counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.owner.counters
    }

    /// Runs a closure on the function in the server's thread, between two messages; does not wait for it.
    pub fn visit(&self, visit: impl FnOnce(&mut F) + Send + 'static) {
        self.owner.put(Job::Visit(Box::new(visit)));
    }

    /// As [`Self::visit`]; what the closure returns comes through the receiver. That hangs up when the server is
    /// stopped first, and stays silent when the function panicked.
    pub fn ask_later<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut F) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.visit(move |function| {
            let _ = answer.send(ask(function));
        });
        answered
    }

    /// As [`Self::visit`], and waits for what it returns; `None` when the server runs no more.
    pub fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&mut F) -> T + Send + 'static) -> Option<T> {
        let answered = self.ask_later(ask);
        loop {
            match answered.recv_timeout(Duration::from_millis(100)) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Timeout) if self.state().is_running => {}
                Err(_) => return None,
            }
        }
    }

    /// Hands a client in that is connected already. It is turned away when there is one.
    pub fn connect(&self, stream: UnixStream) {
        self.owner.put(Job::Connect(stream));
    }

    /// Disconnects the client, if there is one.
    pub fn disconnect(&self) {
        self.owner.put(Job::Disconnect);
    }

    /// Stops it and waits for its end: the client is disconnected, the function reset, the socket removed.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.owner.put(Job::Stop);
            // A function that panicked has said so already.
            let _ = thread.join();
            if let Some(place) = &self.place {
                place.remove();
            }
        }
    }
}

impl<F> Drop for ServerHandle<F> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<F> fmt::Debug for ServerHandle<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("state", &self.state())
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// What the handle and the thread have in common.
struct Owner<F> {
    jobs: Mutex<VecDeque<Job<F>>>,
    waker: Waker,
    counters: Counters,
    is_connected: AtomicBool,
}

type Visit<F> = Box<dyn FnOnce(&mut F) + Send>;

enum Job<F> {
    Visit(Visit<F>),
    Connect(UnixStream),
    Disconnect,
    Stop,
}

impl<F> Owner<F> {
    fn put(&self, job: Job<F>) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(job);
        self.waker.wake();
    }

    fn take(&self) -> Option<Job<F>> {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

/// The thread's own.
struct Serving<F> {
    parts: Parts<F>,
    listener: Option<UnixListener>,
    poller: Poller,
    client: Option<Connection>,
    owner: Arc<Owner<F>>,
}

struct Connection {
    stream: UnixStream,
    inbox: Inbox,
    outbox: Outbox,
    session: Session,
    /// What the poller waits for.
    interest: Interest,
    /// It is to be disconnected when what was answered has been sent.
    is_ending: bool,
}

impl<F: Function> Serving<F> {
    fn run(mut self) {
        let mut events = Events::new(8);
        let mut is_stopped = false;
        while !is_stopped {
            let timeout = self.timeout();
            if self.poller.wait(&mut events, timeout).is_err() {
                break;
            }
            for ready in events.iter() {
                match ready.token {
                    LISTENER => self.accept(),
                    CLIENT => self.serve(),
                    FAULT => self.end_faulted(),
                    _ => {
                        self.owner.waker.clear();
                    }
                }
            }
            is_stopped = self.do_jobs();
            let now = Instant::from_nanos(monotonic_ns());
            if self.parts.function.poll_timeout().is_some_and(|due| due <= now) {
                self.parts.function.handle_timeout(now);
            }
        }
        self.disconnect();
    }

    /// How long to wait for the function's sake.
    fn timeout(&self) -> Option<Duration> {
        let due = self.parts.function.poll_timeout()?;
        let now = Instant::from_nanos(monotonic_ns());
        Some(if due <= now {
            Duration::ZERO
        } else {
            due.since(now)
        })
    }

    /// Does what the owner asks; whether that was to stop.
    fn do_jobs(&mut self) -> bool {
        while let Some(job) = self.owner.take() {
            match job {
                Job::Visit(visit) => visit(&mut self.parts.function),
                Job::Connect(stream) => self.let_in(stream),
                Job::Disconnect => self.disconnect(),
                Job::Stop => return true,
            }
        }
        false
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        match listener.accept() {
            Ok((stream, _)) => self.let_in(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                // No descriptor left, most likely, and the client stays in the queue: not at full speed again.
                self.owner.counters.count(Refusal::System);
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn let_in(&mut self, stream: UnixStream) {
        if self.client.is_some() {
            self.owner.counters.count(Refusal::Busy);
            return;
        }
        let ready = stream.set_nonblocking(true);
        if ready
            .and_then(|()| self.poller.add(&stream, CLIENT, Interest::READ))
            .is_err()
        {
            self.owner.counters.count(Refusal::System);
            return;
        }
        self.owner.counters.count_client();
        self.owner.is_connected.store(true, Ordering::Release);
        self.client = Some(Connection {
            stream,
            inbox: Inbox::new(),
            outbox: Outbox::default(),
            session: Session::default(),
            interest: Interest::READ,
            is_ending: false,
        });
    }

    fn disconnect(&mut self) {
        if let Some(client) = self.client.take() {
            let _ = self.poller.remove(&client.stream);
            self.parts.forget_client();
            self.owner.is_connected.store(false, Ordering::Release);
        }
    }

    fn end_faulted(&mut self) {
        if !self.parts.memory.is_faulted() {
            return;
        }
        self.owner.counters.count(Refusal::CutOff);
        if self.client.is_some() {
            self.disconnect();
        } else {
            self.parts.memory.forget_faults();
        }
    }

    /// Serves messages until none is there, an answer has no room, or it was enough for a while.
    fn serve(&mut self) {
        for _ in 0..MESSAGES_A_TURN {
            let Some(client) = &mut self.client else { return };
            if client.outbox.send(&client.stream).is_err() {
                return self.disconnect();
            }
            if !client.outbox.is_empty() {
                return self.wait_for(Interest::WRITE);
            }
            if client.is_ending {
                return self.disconnect();
            }
            match client.inbox.receive(&client.stream) {
                Ok(Received::Message(header)) => self.answer(&header),
                Ok(Received::Nothing) => return self.wait_for(Interest::READ),
                Ok(Received::Closed) => return self.disconnect(),
                Err(refusal) => {
                    // The stream has lost its framing; there is nothing to answer to.
                    self.owner.counters.count(refusal);
                    return self.disconnect();
                }
            }
        }
        self.wait_for(Interest::READ_WRITE);
    }

    fn answer(&mut self, header: &Header) {
        let Some(client) = &mut self.client else { return };
        self.owner.counters.count_message();
        let handled = client
            .inbox
            .take_descriptors()
            .map_err(Into::into)
            .and_then(|descriptors| {
                let body = client.inbox.body();
                client.session.handle(&mut self.parts, header, body, descriptors)
            });
        client.inbox.next();
        let is_wanted = header.flags.get() & flag::NO_REPLY == 0;
        match handled {
            Ok(Answer { body, descriptors }) if is_wanted => {
                client.outbox.put(reply(header), &[&body], descriptors);
            }
            Ok(_) => {}
            Err(refused) => {
                self.owner.counters.count(refused.refusal);
                client.is_ending = refused.refusal.is_final();
                if is_wanted {
                    let header = error_reply(header, refused.errno);
                    client.outbox.put(header, &[], Vec::new());
                }
            }
        }
    }

    fn wait_for(&mut self, interest: Interest) {
        let Some(client) = &mut self.client else { return };
        if client.interest == interest {
            return;
        }
        client.interest = interest;
        if self.poller.modify(&client.stream, CLIENT, interest).is_err() {
            self.disconnect();
        }
    }
}

/// Where a server listens.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// Device and inode of the socket.
    identity: (u64, u64),
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }

    /// Changes the socket and never what somebody has put, or linked, in its place.
    fn open_to_all(&self) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let socket = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let there = rustix::fs::fstat(&socket)?;
        if (there.st_dev, there.st_ino) != self.identity {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
        let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
        Ok(rustix::fs::chmod(link, mode)?)
    }

    /// Removes the socket, unless there is another one by now.
    fn remove(&self) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let data = std::fs::symlink_metadata(path)?;
    Ok((data.dev(), data.ino()))
}

/// A socket that is its owner's alone from its first moment: Linux makes the file with the mode that the socket
/// has before it is bound. Source: `unix_bind_bsd` in net/unix/af_unix.c.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = unix_socket()?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(socket)
}

/// Whether a socket is there and nobody listens on it. Does not wait for a listener whose queue is full.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    let connected = || {
        let address = SocketAddrUnix::new(path)?;
        rustix::net::connect(&unix_socket()?, &address)?;
        io::Result::Ok(())
    };
    is_socket && connected().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

const LISTENER: u64 = 0;
const CLIENT: u64 = 1;
const FAULT: u64 = 2;
const WAKE: u64 = 3;

/// Messages of a client before the function's timer and its owner have their turn.
const MESSAGES_A_TURN: usize = 64;
/// Clients that wait to be let in. There can be one at a time.
const BACKLOG: i32 = 16;
/// After a client could not be let in.
const PAUSE: Duration = Duration::from_millis(10);
