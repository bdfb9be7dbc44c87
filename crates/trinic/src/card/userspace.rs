//! Instances as user-space TCP/IP stacks inside the card, for hosts that allow neither namespaces nor taps.
//!
//! All guests live on one thread, which waits for frames from the worker, for timers and for commands. A
//! guest has no processes: what needs one (`exec`, user data) is refused with a sentence that says so, and
//! built-in programs ([`programs`]) take their place. Guests end with their card; the next one makes them
//! again.

mod programs;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::Context;
use rustix::event::{EventfdFlags, eventfd};
use trinic_guest::{EventKind, Guest, GuestConfig, InterfaceConfig, ProgramId};
use trinic_host::epoll::{Events, Interest, Poller};
use trinic_host::port::{Port, SLOT_BYTES};
use trinic_host::vnet::{VNET_HEADER_BYTES, VnetHeader};
use trinic_wire::time::Instant;

use crate::protocol::{self, FunctionKind, InstanceKind, InstanceSpec, InterfaceSpec};

use super::backend::{Backend, Instance, Plug, adopt_with_devices, start_with_devices};
use super::ena::Functions;
use super::memory_port::MemoryPort;
use super::{INTERNET, clock, vm};

/// Frames that wait between the worker and a guest, each way.
const RING_FRAMES: usize = 512;
/// Frames that a guest takes from one interface before others have their turn.
const BATCH_FRAMES: usize = 64;
/// The longest sleep of the thread.
const SLEEP_MAX: Duration = Duration::from_secs(3600);
/// The doorbell's place among the watched descriptors.
const TOKEN_DOORBELL: u64 = 0;

/// Makes user-space instances.
#[derive(Debug)]
pub struct UserSpaceBackend {
    guests: Handle,
    directory: PathBuf,
    functions: Functions,
}

/// Sends commands to the guests' thread.
#[derive(Debug, Clone)]
struct Handle {
    commands: Sender<Command>,
    doorbell: Arc<OwnedFd>,
}

type Command = Box<dyn FnOnce(&mut Guests) + Send>;

/// What the thread owns.
struct Guests {
    poller: Poller,
    commands: Receiver<Command>,
    doorbell: Arc<OwnedFd>,
    entries: BTreeMap<String, Entry>,
    /// Whose interface a watched descriptor is.
    tokens: HashMap<u64, (String, u32)>,
    next_token: u64,
    buffer: Box<[u8]>,
}

/// One guest.
struct Entry {
    guest: Guest,
    /// Its ends of the links to the worker, by device index.
    ports: BTreeMap<u32, (u64, MemoryPort)>,
    /// Who waits for events of which program.
    waiting: HashMap<ProgramId, Sender<EventKind>>,
    due: Option<Instant>,
}

/// One user-space instance.
#[derive(Debug)]
struct UserSpaceInstance {
    id: String,
    guests: Handle,
}

impl UserSpaceBackend {
    /// A backend without guests, and its thread.
    ///
    /// # Errors
    ///
    /// When the kernel gives no descriptor or thread.
    pub fn start(directory: &Path, functions: Functions) -> io::Result<Self> {
        let doorbell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (sender, commands) = mpsc::channel();
        let guests = Guests {
            poller: Poller::new()?,
            commands,
            doorbell: doorbell.clone(),
            entries: BTreeMap::new(),
            tokens: HashMap::new(),
            next_token: TOKEN_DOORBELL + 1,
            buffer: vec![0; SLOT_BYTES].into_boxed_slice(),
        };
        guests.poller.add(&*doorbell, TOKEN_DOORBELL, Interest::READ)?;
        std::thread::Builder::new().name("guests".into()).spawn(move || {
            if let Err(error) = guests.run() {
                tracing::error!(%error, "The user-space instances ended");
                std::process::abort();
            }
        })?;
        Ok(Self {
            guests: Handle {
                commands: sender,
                doorbell,
            },
            directory: directory.join("instances"),
            functions,
        })
    }
}

impl Handle {
    /// Runs `visit` on the guests' thread.
    fn visit<T: Send + 'static>(
        &self,
        visit: impl FnOnce(&mut Guests) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (reply, answer) = mpsc::channel();
        let command: Command = Box::new(move |guests| {
            // Who asked may have given up.
            let _ = reply.send(visit(guests));
        });
        if self.commands.send(command).is_err() {
            anyhow::bail!("The thread of the user-space instances has ended");
        }
        rustix::io::write(&*self.doorbell, &1_u64.to_ne_bytes())?;
        answer
            .recv()
            .context("The thread of the user-space instances has ended")
    }

    /// Runs `visit` on one guest.
    fn visit_guest<T: Send + 'static>(
        &self,
        id: &str,
        visit: impl FnOnce(&mut Entry) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let name = id.to_owned();
        let found = self.visit(move |guests| {
            let result = guests.entries.get_mut(&name).map(visit);
            guests.settle(&name);
            result
        })?;
        found.with_context(|| format!("There is no instance {id}"))
    }
}

impl Backend for UserSpaceBackend {
    fn kind(&self) -> protocol::Backend {
        protocol::Backend::UserSpace
    }

    fn start(&self, spec: &InstanceSpec) -> anyhow::Result<Box<dyn Instance>> {
        if let Some(started) = start_with_devices(spec, &self.directory.join(&*spec.id), &self.functions) {
            return started;
        }
        if let InstanceKind::External { netns } = &spec.kind {
            anyhow::bail!("Nothing can be attached to {netns}: this card's instances are user-space stacks");
        }
        anyhow::ensure!(
            spec.user_data.as_ref().is_none_or(Vec::is_empty),
            "User data needs a namespace: this card's instances are user-space stacks, which run no programs of this \
             machine (`trinic ls` says why)"
        );
        let id = spec.id.to_string();
        let name = id.clone();
        self.guests.visit(move |guests| {
            let config = GuestConfig {
                seed: clock::wall_ns(),
                forwarding: false,
            };
            let entry = Entry {
                guest: Guest::new(clock::now(), config),
                ports: BTreeMap::new(),
                waiting: HashMap::new(),
                due: None,
            };
            guests.entries.insert(name, entry);
        })?;
        Ok(Box::new(UserSpaceInstance {
            id,
            guests: self.guests.clone(),
        }))
    }

    fn adopt(&self, _: &InstanceSpec, record: &serde_json::Value) -> anyhow::Result<Box<dyn Instance>> {
        if let Some(adopted) = adopt_with_devices(record, &self.functions) {
            return adopted;
        }
        anyhow::bail!("A user-space instance ends with its card")
    }

    fn sweep(&self, record: &serde_json::Value) {
        vm::sweep(record);
    }

    fn console(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        if let Ok(output) = std::fs::read(self.directory.join(id).join(vm::CONSOLE)) {
            return Ok(output);
        }
        self.guests.visit_guest(id, |_| ())?;
        Ok(b"trinic: a user-space stack; it has no console\n".to_vec())
    }

    fn program(&self, id: &str, arguments: &[String]) -> anyhow::Result<serde_json::Value> {
        let request = programs::parse(arguments)?;
        let program = match request {
            programs::Request::Forward => {
                self.guests
                    .visit_guest(id, |entry| entry.guest.set_forwarding(true))?;
                return Ok(serde_json::json!({ "forwarding": true }));
            }
            programs::Request::Run(program) => program,
        };
        let started = std::time::Instant::now();
        let (sender, events) = mpsc::channel();
        let running = program.clone();
        self.guests.visit_guest(id, move |entry| {
            let id = entry.guest.start(clock::now(), running)?;
            entry.waiting.insert(id, sender);
            anyhow::Ok(())
        })??;
        programs::result(&program, started, &events)
    }
}

impl Instance for UserSpaceInstance {
    fn pid(&self) -> u32 {
        0
    }

    fn attach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<Plug> {
        anyhow::ensure!(
            interface.function == FunctionKind::Tap,
            "A user-space instance runs no process that could map the queues of an ENA"
        );
        let (near, far) = MemoryPort::pair(RING_FRAMES)?;
        let (id, index, config) = (self.id.clone(), interface.device_index, config_of(interface));
        self.guests
            .visit(move |guests| guests.attach(&id, index, config, far))??;
        Ok(Plug::Kernel(Box::new(near)))
    }

    fn configure(&mut self, _: &InterfaceSpec, new: &InterfaceSpec) -> anyhow::Result<()> {
        let (index, config) = (new.device_index, config_of(new));
        self.guests.visit_guest(&self.id, move |entry| {
            entry.guest.configure(clock::now(), index, config)
        })??;
        Ok(())
    }

    fn detach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        let (id, index) = (self.id.clone(), interface.device_index);
        self.guests.visit(move |guests| guests.detach(&id, index))
    }

    fn ready(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn ended(&self) -> Option<OwnedFd> {
        None
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        let id = self.id.clone();
        self.guests.visit(move |guests| guests.remove(&id))
    }

    fn record(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

impl Guests {
    fn run(mut self) -> io::Result<()> {
        let mut ready = Events::new(BATCH_FRAMES);
        loop {
            let now = clock::now();
            let due = self.entries.values().filter_map(|entry| entry.due).min();
            let timeout = due.map_or(SLEEP_MAX, |due| due.since(now).min(SLEEP_MAX));
            self.poller.wait(&mut ready, Some(timeout))?;
            for event in ready.iter() {
                if event.token == TOKEN_DOORBELL {
                    self.handle_commands();
                } else {
                    self.receive(event.token)?;
                }
            }
            self.timers();
        }
    }

    fn handle_commands(&mut self) {
        // Taken back first: a command sent after this rings again.
        let _ = rustix::io::read(&*self.doorbell, &mut [0; 8]);
        while let Ok(command) = self.commands.try_recv() {
            command(self);
        }
    }

    fn receive(&mut self, token: u64) -> io::Result<()> {
        let Some((id, index)) = self.tokens.get(&token).cloned() else {
            return Ok(());
        };
        let Some(entry) = self.entries.get_mut(&id) else {
            return Ok(());
        };
        let now = clock::now();
        for _ in 0..BATCH_FRAMES {
            let Some((_, port)) = entry.ports.get(&index) else {
                break;
            };
            let Some(length) = port.read(&mut self.buffer)? else {
                break;
            };
            // Nothing is left to do on these frames: guests and the card make whole ones.
            if let Some(frame) = self.buffer.get(VNET_HEADER_BYTES..length) {
                entry.guest.handle_frame(now, index, frame);
            }
        }
        self.settle(&id);
        Ok(())
    }

    fn timers(&mut self) {
        let now = clock::now();
        let due: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.due.is_some_and(|due| due <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.settle(&id);
        }
    }

    /// After anything happened to a guest: its frames go out, its events to who waits, and its next timer
    /// is looked up.
    fn settle(&mut self, id: &str) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let now = clock::now();
        while let Some((index, frame)) = entry.guest.poll_transmit(now) {
            if let Some((_, port)) = entry.ports.get(&index) {
                // A full ring loses the frame, as any queue does.
                let _ = port.write_parts(&VnetHeader::NONE, &frame);
            }
        }
        while let Some(event) = entry.guest.poll_event() {
            if let Some(waiting) = entry.waiting.get(&event.program)
                && waiting.send(event.kind).is_err()
            {
                entry.waiting.remove(&event.program);
            }
        }
        entry.due = entry.guest.poll_timeout(now);
    }

    fn attach(
        &mut self,
        id: &str,
        index: u32,
        config: InterfaceConfig,
        port: MemoryPort,
    ) -> anyhow::Result<()> {
        let Some(entry) = self.entries.get_mut(id) else {
            anyhow::bail!("There is no instance {id}");
        };
        entry.guest.configure(clock::now(), index, config)?;
        let token = self.next_token;
        self.next_token += 1;
        self.poller.add(&port, token, Interest::READ)?;
        entry.ports.insert(index, (token, port));
        self.tokens.insert(token, (id.to_owned(), index));
        self.settle(id);
        Ok(())
    }

    fn detach(&mut self, id: &str, index: u32) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.guest.remove(clock::now(), index);
        if let Some((token, port)) = entry.ports.remove(&index) {
            self.unwatch(token, &port);
        }
        self.settle(id);
    }

    fn remove(&mut self, id: &str) {
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        for (token, port) in entry.ports.into_values() {
            self.unwatch(token, &port);
        }
    }

    fn unwatch(&mut self, token: u64, port: &MemoryPort) {
        self.tokens.remove(&token);
        if let Err(error) = self.poller.remove(port) {
            tracing::warn!(%error, "A ring could not be taken out of epoll");
        }
    }
}

/// As functions of a namespace are configured: IPv6 neighbours are reached through the router, and on the
/// internet everything is on the link.
fn config_of(interface: &InterfaceSpec) -> InterfaceConfig {
    let is_internet = &*interface.id == INTERNET;
    let v4_prefix = if is_internet { 0 } else { interface.ipv4_prefix_len };
    let v6_prefix = if is_internet { 0 } else { 128 };
    InterfaceConfig {
        mac: interface.mac,
        mtu: usize::try_from(interface.mtu).unwrap_or(usize::MAX),
        ipv4: interface.ipv4.iter().map(|ip| (*ip, v4_prefix)).collect(),
        ipv6: interface.ipv6.iter().map(|ip| (*ip, v6_prefix)).collect(),
        ipv4_router: interface.ipv4_router,
        ipv6_router: (!is_internet).then(|| trinic_wire::ipv6::link_local(trinic_switch::ROUTER_MAC)),
    }
}
