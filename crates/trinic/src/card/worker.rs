//! The datapath worker: one thread that owns the switch and moves packets from port to port.
//!
//! A port's turn: the packets that wait there are read into the one batch of the worker, processed in place,
//! and then written to the ports of their receivers, together where the kernel allows it ([`Writer`]);
//! datagrams of one flow are made one super-frame before that ([`coalesce`]). Run to
//! completion, no lock, no allocation; a super-frame costs the same as a small one but for the copies. After
//! a packet the worker looks again for a short while before it sleeps in epoll: the kernel of the receiving
//! instance usually answers within the write, so the reply is caught without a wakeup. At rest it sleeps
//! until a packet, a message or a timer of the services.
//!
//! Whatever else wants the switch (table updates, counters, traces) sends a [`Message`]; the doorbell wakes
//! the worker, and the message is handled between two rounds, so every packet sees one table revision.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use trinic_ena::datapath::SEGMENT_WORK;
use trinic_host::port::{self, BATCH_LIMIT, Batch, Limits, Writer, Written};
use trinic_host::vnet::{VNET_HEADER_BYTES, VnetHeader};
use trinic_switch::tables::{Delta, DeltaMismatch, Id, Revision, Tables};
use trinic_switch::{Offload, Output, Packet, PortId, Switch, Verdict};
use trinic_wire::time::Instant;
use trinic_wire::{ethernet, ipv4, ipv6, tcp, udp};

use super::backend::Plug;
use super::clock;
use super::ena::EnaPort;
use super::services::Services;

use devices::Devices;

mod coalesce;
mod devices;

/// Packets taken from one port before the next one has its turn.
const BATCH_PACKETS: usize = BATCH_LIMIT;
/// Bytes taken from one port before the next one has its turn: super-frames must not starve small ones, nor
/// push each other out of the processor's cache between the read and the write.
const BATCH_BYTES: usize = 512 * 1024;
/// Packets that the frames of a port's turn are cut into, by a function that gets them or by a tap's kernel: as many as
/// those of a function's turn ([`SEGMENT_WORK`]). Without it 64 super-frames of 1,024 segments were one turn.
const BATCH_SEGMENTS: usize = BATCH_BYTES / SEGMENT_WORK;
/// Events taken from epoll at once.
const EVENTS: usize = 64;
/// How long the worker looks for more packets after one, before it sleeps.
const SPIN: Duration = Duration::from_micros(60);
/// The longest sleep: housekeeping of the switch (idle connections) is due at least this often.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// The most messages handled between two rounds of packets.
const MESSAGES_PER_ROUND: usize = 64;
/// Failed reads in a row after which a port is taken for broken.
const READ_FAILURES_MAX: u32 = 16;

/// What is asked of the worker.
pub enum Message {
    /// Replace all tables.
    Load(Tables, SyncSender<Revision>),
    /// Apply a change of the tables.
    Apply(Delta, SyncSender<Result<Revision, DeltaMismatch>>),
    /// Plug in a port: of an interface, or of the internet (`None`).
    Connect(Option<Id>, Plug, SyncSender<io::Result<PortId>>),
    /// Unplug a port and give it back. The kernel takes its time to close a device (it waits until no
    /// processor looks at it any more), and packets must not wait with it.
    Disconnect(PortId, SyncSender<Option<Plug>>),
    /// Anything else that wants the switch or the services, for a short time.
    Visit(Box<dyn FnOnce(&mut Visit<'_>) + Send>),
    /// End the thread.
    Stop,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Load(..) => "Load",
            Self::Apply(..) => "Apply",
            Self::Connect(..) => "Connect",
            Self::Disconnect(..) => "Disconnect",
            Self::Visit(..) => "Visit",
            Self::Stop => "Stop",
        })
    }
}

/// What a [`Message::Visit`] gets.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The switch.
    pub switch: &'a mut Switch,
    /// The link-local services.
    pub services: &'a mut Services,
    /// The worker's own counters.
    pub counters: &'a Counters,
    /// What is plugged in.
    pub ports: &'a mut [Option<Slot>],
    /// The time.
    pub now: Instant,
}

/// What the worker counts beside the switch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Packets read from ports.
    pub packets: u64,
    /// Bytes of these packets, virtio-net headers included.
    pub bytes: u64,
    /// Packets with a virtio-net header that made no sense; dropped.
    pub bad_headers: u64,
    /// Packets dropped because the receiver's queue was full.
    pub queue_full: u64,
    /// Packets that a port refused for another reason; dropped.
    pub send_failures: u64,
    /// Failed reads.
    pub read_failures: u64,
    /// Ports that broke and were taken out.
    pub broken_ports: u64,
    /// Sleeps: how often the worker had nothing to do.
    pub sleeps: u64,
    /// Packets that went as part of a super-frame which the worker made.
    pub joined: u64,
}

/// One plugged-in port.
#[derive(Debug)]
pub struct Slot {
    /// The interface; `None` = the internet.
    pub interface: Option<Id>,
    /// Packets lost because this port's receiver was full.
    pub queue_full: u64,
    /// Packets lost because the device refused them: it is down, or going.
    pub refused: u64,
    /// Packets that came with a virtio-net header that makes no sense.
    pub bad_headers: u64,
    port: Plug,
    read_failures: u32,
}

/// A packet of the turn that goes to a port.
#[derive(Debug, Clone, Copy)]
struct Outgoing {
    to: PortId,
    /// Its number in the batch.
    frame: usize,
    /// Packets that it is: more than one when they were joined.
    packets: usize,
}

/// Sends messages to a worker; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    messages: Sender<Message>,
    doorbell: Arc<Doorbell>,
}

/// A worker is gone; only at the end of the process, or after a panic in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The datapath worker has ended")]
pub struct WorkerGone;

#[derive(Debug)]
struct Doorbell {
    rung: AtomicBool,
    fd: OwnedFd,
}

/// Who is told of ports that broke.
struct Broken(Box<dyn Fn(Option<Id>) + Send>);

impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Broken")
    }
}

/// The worker; [`Worker::run`] is its thread.
#[derive(Debug)]
pub struct Worker {
    switch: Switch,
    services: Services,
    slots: Vec<Option<Slot>>,
    epoll: OwnedFd,
    messages: Receiver<Message>,
    doorbell: Arc<Doorbell>,
    broken: Broken,
    /// The packets of the turn.
    inbox: Batch,
    /// Where those go that are forwarded; empty between two turns.
    outbox: Vec<Outgoing>,
    writer: Writer,
    out: Output,
    counters: Counters,
    housekeeping_at: Instant,
    /// Until then it looks for packets without a sleep.
    spin_until: Instant,
    devices: Devices,
}

impl Handle {
    /// Sends a message; the worker handles it before its next packets.
    ///
    /// # Errors
    ///
    /// When the worker has ended.
    pub fn send(&self, message: Message) -> Result<(), WorkerGone> {
        self.messages.send(message).map_err(|_| WorkerGone)?;
        self.doorbell.ring();
        Ok(())
    }

    /// Replaces all tables.
    ///
    /// # Errors
    ///
    /// When the worker has ended.
    pub fn load(&self, tables: Tables) -> Result<Revision, WorkerGone> {
        self.ask(|reply| Message::Load(tables, reply))
    }

    /// Applies a change of the tables; the inner error is a revision that does not fit.
    ///
    /// # Errors
    ///
    /// When the worker has ended.
    pub fn apply(&self, delta: Delta) -> Result<Result<Revision, DeltaMismatch>, WorkerGone> {
        self.ask(|reply| Message::Apply(delta, reply))
    }

    /// Plugs a port in.
    ///
    /// # Errors
    ///
    /// When the port cannot be watched or the worker has ended.
    pub fn connect(&self, interface: Option<Id>, port: Plug) -> anyhow::Result<PortId> {
        Ok(self.ask(|reply| Message::Connect(interface, port, reply))??)
    }

    /// Unplugs a port; when this returns, its descriptor is closed.
    ///
    /// # Errors
    ///
    /// When the worker has ended.
    pub fn disconnect(&self, port: PortId) -> Result<(), WorkerGone> {
        self.ask(|reply| Message::Disconnect(port, reply)).map(drop)
    }

    /// Runs `visit` on the worker's thread, between two rounds of packets.
    ///
    /// # Errors
    ///
    /// When the worker has ended.
    pub fn visit<T: Send + 'static>(
        &self,
        visit: impl FnOnce(&mut Visit<'_>) -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        self.ask(|reply| {
            Message::Visit(Box::new(move |inside| {
                // The one who asked may have gone in the meantime.
                let _ = reply.send(visit(inside));
            }))
        })
    }

    fn ask<T>(&self, message: impl FnOnce(SyncSender<T>) -> Message) -> Result<T, WorkerGone> {
        // With its one place made here: a channel without a limit makes its places where it is sent into, which
        // is the worker's thread.
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(message(reply))?;
        answer.recv().map_err(|_| WorkerGone)
    }
}

impl Doorbell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // An eventfd takes 2^64-2 rings before it would refuse one.
            let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        }
    }

    /// Takes the ring back; messages sent after this ring again.
    fn answer(&self) -> bool {
        if !self.rung.load(Ordering::Acquire) {
            return false;
        }
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
        self.rung.store(false, Ordering::Release);
        true
    }
}

impl Worker {
    /// A worker and the handle to it. Ports that break are reported to `broken`.
    ///
    /// # Errors
    ///
    /// When the kernel gives no descriptor.
    pub fn new(
        switch: Switch,
        services: Services,
        broken: Box<dyn Fn(Option<Id>) + Send>,
    ) -> io::Result<(Self, Handle)> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let doorbell = Arc::new(Doorbell {
            rung: AtomicBool::new(false),
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        watch(&epoll, &doorbell.fd, TOKEN_DOORBELL)?;
        if let Some(upstream) = services.upstream() {
            watch(&epoll, upstream, TOKEN_UPSTREAM)?;
        }
        let (sender, messages) = mpsc::channel();
        let worker = Self {
            switch,
            services,
            slots: Vec::new(),
            epoll,
            messages,
            doorbell: doorbell.clone(),
            broken: Broken(broken),
            inbox: Batch::limited(Limits {
                frames: BATCH_PACKETS,
                bytes: BATCH_BYTES,
                segments: BATCH_SEGMENTS,
            }),
            outbox: Vec::with_capacity(BATCH_PACKETS),
            writer: Writer::new(),
            out: Output::new(),
            counters: Counters::default(),
            housekeeping_at: clock::now(),
            spin_until: Instant::ZERO,
            devices: Devices::default(),
        };
        let handle = Handle {
            messages: sender,
            doorbell,
        };
        Ok((worker, handle))
    }

    /// Moves packets until [`Message::Stop`] or until every handle is gone.
    ///
    /// # Errors
    ///
    /// When epoll itself fails.
    pub fn run(self) -> io::Result<()> {
        self.serve().map(drop)
    }

    /// As [`Self::run`], and gives the worker back at the end.
    ///
    /// # Errors
    ///
    /// When epoll itself fails.
    pub fn serve(mut self) -> io::Result<Self> {
        while self.step()? {}
        Ok(self)
    }

    /// One turn of [`Self::run`], on the calling thread: the messages that wait (64 at most), a turn of every
    /// function, and where it is due a look at the kernel's ports, which may be a sleep. `false` = the end.
    ///
    /// # Errors
    ///
    /// When epoll itself fails.
    #[inline]
    pub fn step(&mut self) -> io::Result<bool> {
        if !self.handle_messages() {
            return Ok(false);
        }
        let mut now = clock::now();
        let mut moved = self.device_round(now);
        if moved == 0 || self.devices.owes_a_look(now) {
            let timeout = if moved > 0 || now < self.spin_until {
                Duration::ZERO
            } else {
                self.counters.sleeps += 1;
                self.devices.limit_sleep(self.sleep_limit(now), &self.slots)
            };
            moved += self.round(timeout)?;
            now = clock::now();
            self.timers(now);
        }
        if moved > 0 {
            self.spin_until = now + SPIN;
            self.devices.woke();
        }
        Ok(true)
    }

    /// One round: waits up to `timeout` for something to do and gives every ready port one turn, which is bounded in
    /// packets, bytes and segments; what is left of a port's packets has the next one. Returns the number of packets
    /// read.
    fn round(&mut self, timeout: Duration) -> io::Result<usize> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let (ready, _) = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let now = clock::now();
        let mut moved = 0;
        for event in &*ready {
            match event.data.u64() {
                TOKEN_DOORBELL => {}
                TOKEN_UPSTREAM => {
                    let (services, mut postman) = self.services();
                    services.receive_upstream(now, &mut |port, frame| postman.deliver(port, frame));
                }
                token => moved += usize::try_from(token).map_or(0, |index| self.turn(now, index)),
            }
        }
        Ok(moved)
    }

    /// One port's turn: takes its share of packets and, once, what a receiver answered at once. Its kernel
    /// often does so within the write, and looking there saves two system calls of a round trip.
    fn turn(&mut self, now: Instant, index: usize) -> usize {
        let (packets, receiver) = match self.take(now, index) {
            Ok(taken) => taken,
            Err(error) => {
                self.read_failed(index, &error);
                return 0;
            }
        };
        let answered = receiver.and_then(|port| usize::try_from(port.0).ok());
        // A failed read is the port's own turn's to count.
        let answers = answered.map_or(Ok((0, None)), |index| self.take(now, index));
        packets + answers.map_or(0, |(answers, _)| answers)
    }

    /// Takes a batch of packets from a port through the switch and on. Returns how many there were and the
    /// receiver of the first one that was forwarded.
    fn take(&mut self, now: Instant, index: usize) -> io::Result<(usize, Option<PortId>)> {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else {
            return Ok((0, None));
        };
        let Plug::Kernel(port) = &slot.port else {
            return Ok((0, None));
        };
        let packets = port.read_batch(&mut self.inbox)?;
        slot.read_failures = 0;
        for frame in 0..packets {
            self.packet(now, index, frame);
        }
        self.counters.packets += packets as u64;
        let receiver = self.outbox.first().map(|first| first.to);
        self.flush();
        Ok((packets, receiver))
    }

    /// One packet of the batch: one call of the switch.
    fn packet(&mut self, now: Instant, from: usize, number: usize) {
        let packet = self.inbox.frame_mut(number);
        self.counters.bytes += packet.len() as u64;
        let Ok((header, frame)) = port::split_checked(packet, VNET_HEADER_BYTES) else {
            self.counters.bad_headers += 1;
            if let Some(slot) = self.slots.get_mut(from).and_then(Option::as_mut) {
                slot.bad_headers += 1;
            }
            return;
        };
        let offload = Offload {
            checksum_partial: outer_checksum_is_partial(&header, frame),
            gso_size: header.segment_bytes(),
        };
        let mut view = Packet {
            total_len: frame.len(),
            window: frame,
            offload,
            shape: None,
        };
        let port = port_id(from);
        match self.switch.process(now, port, &mut view, &mut self.out) {
            Verdict::Forward { to } => {
                if slot_mut(&mut self.slots, to).is_some() {
                    self.outbox.push(Outgoing {
                        to,
                        frame: number,
                        packets: 1,
                    });
                }
            }
            Verdict::Service { port } => self.service(now, port, &header, number),
            Verdict::Replied | Verdict::Drop(_) => {}
        }
        if self.out.frame().is_some() {
            self.reply(port);
        }
    }

    /// Writes what the batch holds for ports. A single packet goes the short way.
    fn flush(&mut self) {
        self.flush_to_devices();
        self.join();
        if let [one] = *self.outbox {
            if let Some(slot) = slot_mut(&mut self.slots, one.to)
                && let Plug::Kernel(port) = &slot.port
            {
                let written = port.write(self.inbox.frame(one.frame));
                slot.count_many(&mut self.counters, written, one.packets);
            }
        } else if !self.outbox.is_empty() {
            let (slots, inbox) = (&self.slots, &self.inbox);
            let frames = self.outbox.iter().filter_map(|outgoing| {
                let Plug::Kernel(port) = &slot_ref(slots, outgoing.to)?.port else {
                    return None;
                };
                Some((&**port, inbox.frame(outgoing.frame)))
            });
            let mut results = [Written::Sent; BATCH_PACKETS];
            let done = self.writer.write_all(frames, &mut results);
            for (outgoing, written) in self.outbox.iter().zip(&results[..done]) {
                if let Some(slot) = slot_mut(&mut self.slots, outgoing.to) {
                    slot.count_many(&mut self.counters, Ok(*written), outgoing.packets);
                }
            }
        }
        self.outbox.clear();
    }

    /// Hands a frame to the link-local services, its checksum completed, and their answers back.
    fn service(&mut self, now: Instant, port: PortId, header: &VnetHeader, number: usize) {
        let Some(id) = slot_mut(&mut self.slots, port).and_then(|slot| slot.interface.clone()) else {
            return;
        };
        let mut postman = Postman {
            switch: &mut self.switch,
            slots: &mut self.slots,
            counters: &mut self.counters,
        };
        if let Some(frame) = self.inbox.frame_mut(number).get_mut(VNET_HEADER_BYTES..) {
            complete_checksum(header, frame);
            let deliver = &mut |port, frame: &[u8]| postman.deliver(port, frame);
            self.services.handle_frame(now, &id, frame, deliver);
        }
    }

    /// Sends the switch's own answer to the port that asked.
    fn reply(&mut self, port: PortId) {
        let Some(frame) = self.out.frame() else { return };
        if let Some(slot) = slot_mut(&mut self.slots, port) {
            slot.deliver(&mut self.counters, frame);
        }
    }

    fn read_failed(&mut self, index: usize, error: &io::Error) {
        self.counters.read_failures += 1;
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        slot.read_failures += 1;
        if slot.read_failures < READ_FAILURES_MAX {
            return;
        }
        // Its device is gone (a namespace that its owner removed): out with it, or epoll never sleeps again.
        tracing::warn!(interface = ?slot.interface, %error, "Port is broken");
        self.counters.broken_ports += 1;
        let interface = slot.interface.clone();
        self.unplug(port_id(index));
        (self.broken.0)(interface);
    }

    /// What is due by time: retransmissions of the services, idle connections of the switch.
    fn timers(&mut self, now: Instant) {
        if self.services.poll_timeout().is_some_and(|at| at <= now) {
            let (services, mut postman) = self.services();
            services.poll(now, &mut |port, frame| postman.deliver(port, frame));
        }
        if now >= self.housekeeping_at {
            self.switch.expire(now);
            self.housekeeping_at = now + HOUSEKEEPING;
        }
    }

    fn sleep_limit(&self, now: Instant) -> Duration {
        let due = self.services.poll_timeout().unwrap_or(self.housekeeping_at);
        due.min(self.housekeeping_at).since(now)
    }

    /// Handles messages that wait, 64 at most, as the beginning of a [`Self::step`]; `false` = end.
    pub fn handle_messages(&mut self) -> bool {
        if !self.doorbell.answer() {
            return true;
        }
        for _ in 0..MESSAGES_PER_ROUND {
            match self.messages.try_recv() {
                Ok(Message::Stop) | Err(mpsc::TryRecvError::Disconnected) => return false,
                Ok(message) => self.handle(message),
                Err(mpsc::TryRecvError::Empty) => return true,
            }
        }
        // More may wait; packets have their turn first.
        self.doorbell.ring();
        true
    }

    /// Replies go to whoever asked; it may have given up, which changes nothing.
    fn handle(&mut self, message: Message) {
        match message {
            Message::Load(tables, reply) => {
                let revision = tables.revision;
                self.switch.load(tables);
                let _ = reply.send(revision);
            }
            Message::Apply(delta, reply) => {
                let revision = delta.to;
                let _ = reply.send(self.switch.apply(delta).map(|()| revision));
            }
            Message::Connect(interface, port, reply) => {
                let _ = reply.send(self.plug(interface, port));
            }
            Message::Disconnect(port, reply) => {
                let _ = reply.send(self.unplug(port));
            }
            Message::Visit(visit) => visit(&mut Visit {
                switch: &mut self.switch,
                services: &mut self.services,
                counters: &self.counters,
                ports: &mut self.slots,
                now: clock::now(),
            }),
            Message::Stop => {}
        }
    }

    fn plug(&mut self, interface: Option<Id>, port: Plug) -> io::Result<PortId> {
        let free = self.slots.iter().position(Option::is_none);
        let index = free.unwrap_or(self.slots.len());
        self.watch_port(&port, index)?;
        let id = port_id(index);
        let connected = match &interface {
            Some(interface) => {
                self.services.connect(interface.clone(), id);
                self.switch.connect(interface, id)
            }
            None => self.switch.connect_internet(id),
        };
        if let Err(error) = connected {
            self.unwatch_port(&port, index)?;
            return Err(io::Error::other(error));
        }
        let slot = Slot {
            interface,
            queue_full: 0,
            refused: 0,
            bad_headers: 0,
            port,
            read_failures: 0,
        };
        if index == self.slots.len() {
            self.slots.push(Some(slot));
        } else {
            self.slots[index] = Some(slot);
        }
        Ok(id)
    }

    /// A kernel port wakes the worker by its descriptor; a device is looked at in every round.
    fn watch_port(&mut self, port: &Plug, index: usize) -> io::Result<()> {
        match port {
            Plug::Kernel(port) if port.vnet_header_bytes() == VNET_HEADER_BYTES => {
                let token = u64::try_from(index).map_err(io::Error::other)?;
                watch(&self.epoll, port, token)
            }
            // Packets pass from port to port as they are, so all ports have one form.
            Plug::Kernel(_) => Err(io::ErrorKind::InvalidInput.into()),
            Plug::Ena(_) => {
                self.devices.add(index);
                Ok(())
            }
        }
    }

    fn unwatch_port(&mut self, port: &Plug, index: usize) -> io::Result<()> {
        match port {
            Plug::Kernel(port) => Ok(epoll::delete(&self.epoll, port)?),
            Plug::Ena(_) => {
                self.devices.remove(index);
                Ok(())
            }
        }
    }

    fn unplug(&mut self, port: PortId) -> Option<Plug> {
        let index = usize::try_from(port.0).ok()?;
        let slot = self.slots.get_mut(index)?.take()?;
        self.switch.disconnect(port);
        if let Some(interface) = &slot.interface {
            self.services.disconnect(interface, port);
        }
        if let Err(error) = self.unwatch_port(&slot.port, index) {
            tracing::warn!(%error, "A port could not be taken out of epoll");
        }
        Some(slot.port)
    }

    /// The services, and what their answers need.
    fn services(&mut self) -> (&mut Services, Postman<'_>) {
        let postman = Postman {
            switch: &mut self.switch,
            slots: &mut self.slots,
            counters: &mut self.counters,
        };
        (&mut self.services, postman)
    }
}

/// Delivers frames of the services to ports.
struct Postman<'a> {
    switch: &'a mut Switch,
    slots: &'a mut [Option<Slot>],
    counters: &'a mut Counters,
}

impl Postman<'_> {
    fn deliver(&mut self, port: PortId, frame: &[u8]) {
        let Some(slot) = slot_mut(self.slots, port) else {
            return;
        };
        self.switch.service_reply(port, frame.len());
        slot.deliver(self.counters, frame);
    }
}

impl Visit<'_> {
    /// The queues of an ENA function, by its key.
    pub fn device(&mut self, key: u64) -> Option<&mut EnaPort> {
        let mut ports = self.ports.iter_mut().flatten().filter_map(Slot::device_mut);
        ports.find(|port| port.key() == key)
    }
}

impl Slot {
    /// The queues of an ENA function, if that is what is plugged in.
    pub fn device(&self) -> Option<&EnaPort> {
        match &self.port {
            Plug::Ena(port) => Some(port),
            Plug::Kernel(_) => None,
        }
    }

    fn device_mut(&mut self) -> Option<&mut EnaPort> {
        self.port.device_mut()
    }

    /// A finished frame of the card's own.
    fn deliver(&mut self, counters: &mut Counters, frame: &[u8]) {
        let written = match &mut self.port {
            Plug::Kernel(port) => port.write_parts(&VnetHeader::NONE, frame),
            Plug::Ena(port) => Ok(port.receive_finished(frame).into()),
        };
        self.count(counters, written);
    }

    fn count(&mut self, counters: &mut Counters, written: io::Result<Written>) {
        self.count_many(counters, written, 1);
    }

    /// What became of a frame that is so many packets.
    fn count_many(&mut self, counters: &mut Counters, written: io::Result<Written>, packets: usize) {
        let packets = packets as u64;
        match written {
            Ok(Written::Sent) => {
                if packets > 1 {
                    counters.joined += packets;
                }
            }
            Ok(Written::Full) => {
                counters.queue_full += packets;
                self.queue_full += packets;
            }
            Ok(Written::Refused(_)) | Err(_) => {
                counters.send_failures += packets;
                self.refused += packets;
            }
        }
    }
}

/// Whether the checksum that the sender left open is the one in the outer TCP or UDP header, which address
/// translation has to update in its partial form.
///
/// It is another one when the instance is an end of a tunnel: the open checksum is then that of the inner
/// packet, and what the outer UDP header has is complete, being the same whatever the inner one becomes.
/// Addresses of IPv4 only are translated, so nothing depends on IPv6 behind extension headers.
fn outer_checksum_is_partial(header: &VnetHeader, frame: &[u8]) -> bool {
    if !header.needs_checksum() {
        return false;
    }
    let byte = |at: usize| frame.get(at).copied().unwrap_or_default();
    let (transport, protocol) = match (byte(12), byte(13)) {
        (0x08, 0x00) => {
            let words = byte(ethernet::HEADER_LEN) & 0x0f;
            (ethernet::HEADER_LEN + usize::from(words) * 4, byte(23))
        }
        (0x86, 0xdd) => (ethernet::HEADER_LEN + ipv6::HEADER_LEN, byte(20)),
        _ => return false,
    };
    let field = match ipv4::Protocol(protocol) {
        ipv4::Protocol::TCP => tcp::CHECKSUM_OFFSET,
        ipv4::Protocol::UDP => udp::CHECKSUM_OFFSET,
        _ => return false,
    };
    usize::from(header.csum_start.get()) == transport && usize::from(header.csum_offset.get()) == field
}

/// Completes the checksum of a frame for the card's own services, which take no partial ones. The header
/// was checked against the frame.
fn complete_checksum(header: &VnetHeader, frame: &mut [u8]) {
    if !header.needs_checksum() {
        return;
    }
    let start = usize::from(header.csum_start.get());
    let field = start + usize::from(header.csum_offset.get());
    // The field holds the pseudo header's sum, which is summed with the rest. Zero is written as its
    // other form, since a zero in UDP says that there is no checksum.
    let sum = frame.get(start..).map_or(0, ones_complement_sum);
    let value = if sum == u16::MAX { u16::MAX } else { !sum };
    if let Some(place) = frame.get_mut(field..field + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let mut sum: u64 = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum();
    if let [last] = rest {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

fn slot_mut(slots: &mut [Option<Slot>], port: PortId) -> Option<&mut Slot> {
    slots.get_mut(usize::try_from(port.0).ok()?)?.as_mut()
}

fn slot_ref(slots: &[Option<Slot>], port: PortId) -> Option<&Slot> {
    slots.get(usize::try_from(port.0).ok()?)?.as_ref()
}

fn port_id(index: usize) -> PortId {
    PortId(u32::try_from(index).unwrap_or(u32::MAX))
}

fn watch(epoll: &OwnedFd, fd: impl AsFd, token: u64) -> io::Result<()> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
    Ok(())
}

/// The doorbell's place in epoll; ports have their index.
const TOKEN_DOORBELL: u64 = u64::MAX;
/// The place of the resolver's upstream socket.
const TOKEN_UPSTREAM: u64 = u64::MAX - 1;

#[cfg(test)]
mod tests;
