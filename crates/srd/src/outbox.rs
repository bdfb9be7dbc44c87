//! Messages on their way out: what waits, what is outstanding, and the packets that each is made of.

use std::collections::VecDeque;

use zerocopy::byteorder::big_endian::{U16, U32, U64};

use crate::key::TAG_BYTES;
use crate::local::{Local, Remote};
use crate::wire::{
    Ends, Front, OFFSET_FAILED, Pen, READ_BYTES, RESPONSE_BYTES, ReadFields, ResponseFields, SEND_BYTES,
    WRITE_BYTES, WriteFields, code,
};
use crate::{Failure, Refusal, SubmitError};

/// A message that a queue pair of this interface wants sent.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The caller's name for it, which the event has.
    pub token: u64,
    /// This interface's queue pair.
    pub source: u16,
    /// The peer's queue pair.
    pub destination: u16,
    /// The queue key of the peer's queue pair.
    pub qkey: u32,
    /// Bytes of the message, or of the RDMA operation: at most 1 GiB.
    pub length: u32,
    /// The memory at this end, as [`Local::gather`] and [`Local::scatter`] know it.
    pub payload: u64,
    /// What is to be done.
    pub action: Action,
}

impl Request {
    /// Whether it can be sent at all by an interface with datagrams of that size [PKT-7].
    pub(crate) fn check(&self, datagram: usize) -> Result<(), SubmitError> {
        let limit = match self.action {
            Action::Send { .. } => u32::try_from(datagram - SEND_BYTES).unwrap_or(0),
            _ => MOST_BYTES,
        };
        if self.length > limit {
            return Err(SubmitError::TooLong {
                length: self.length,
                limit,
            });
        }
        if self.length == 0 && matches!(self.action, Action::Read { .. }) {
            return Err(SubmitError::EmptyRead);
        }
        Ok(())
    }
}

/// What a message does at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Arrives in a receive buffer of the queue pair.
    Send {
        /// Immediate data.
        immediate: Option<u32>,
    },
    /// Is written into a memory region.
    Write {
        /// The region's key.
        key: u32,
        /// The first byte's address, as the region counts.
        address: u64,
        /// Immediate data: the queue pair gets a completion when everything is written.
        immediate: Option<u32>,
    },
    /// Reads from a memory region.
    Read {
        /// The region's key.
        key: u32,
        /// The first byte's address, as the region counts.
        address: u64,
    },
}

/// Names a message; what it named may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    index: u32,
    generation: u32,
}

impl Handle {
    /// Names no message.
    pub(crate) const NOBODY: Self = Self {
        index: u32::MAX,
        generation: 0,
    };
}

/// The next packet that was never sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) message: Handle,
    pub(crate) segment: u32,
    /// Bytes of the whole packet.
    pub(crate) bytes: usize,
}

/// What was written of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) operation: u8,
    /// What follows the base header. Like it, it is not yet in the datagram.
    pub(crate) ends: Ends,
    /// Bytes of the header, without the tag.
    pub(crate) header: usize,
    /// Bytes of the payload, which begins after the tag.
    pub(crate) payload: usize,
}

/// The memory of an outstanding read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) payload: u64,
    pub(crate) length: u32,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    request: Request,
    /// For the response to a peer's read: whose memory of ours; the request's action is not used.
    response: Option<Remote>,
    /// The RDMA operation's id, once it has one.
    id: Option<u32>,
    /// Bytes of a segment, and how many segments; 0 before the first is looked at.
    segment: u32,
    segments: u32,
    /// The next one to be sent.
    next: u32,
    unacknowledged: u32,
    /// Bytes of a read that have arrived.
    arrived: u32,
    /// Why a response could not go on [LIM-3].
    broken: Option<Refusal>,
    /// Whether its last packet is one that says so.
    closes: bool,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    message: Option<Message>,
}

/// The messages of one context.
#[derive(Debug)]
pub(crate) struct Outbox {
    places: Vec<Place>,
    free: Vec<u32>,
    limit: usize,
    requests: usize,
    /// Messages with packets that were never sent; each sends one packet in its turn.
    ready: VecDeque<Handle>,
    /// RDMA operations that wait for one to end [LIM-1].
    waiting: VecDeque<Handle>,
    operations: Operations,
    /// Reads of this end among the requests.
    reads: usize,
    responses: usize,
    responses_limit: usize,
    /// What ended: the token and how.
    pub(crate) done: VecDeque<(u64, Result<(), Failure>)>,
}

/// The ids of RDMA operations that are outstanding.
#[derive(Debug)]
struct Operations {
    slots: Box<[Option<Handle>]>,
    /// As many as the peer permits.
    limit: u32,
    lowest: u32,
    next: u32,
}

impl Outbox {
    pub(crate) fn new(messages: usize, operations: u16) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            limit: messages,
            requests: 0,
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            operations: Operations {
                slots: vec![None; usize::from(operations)].into(),
                limit: u32::from(operations),
                lowest: 0,
                next: 0,
            },
            reads: 0,
            responses: 0,
            responses_limit: usize::from(operations),
            done: VecDeque::new(),
        }
    }

    /// Sets memory aside for everything that can wait, so that no message allocates [REL-11].
    pub(crate) fn prepare(&mut self, peer_operations: u16) {
        let places = self.limit + self.responses_limit;
        self.places.reserve(places.saturating_sub(self.places.len()));
        for queue in [&mut self.ready, &mut self.waiting] {
            queue.reserve(places.saturating_sub(queue.len()));
        }
        self.free.reserve(places.saturating_sub(self.free.len()));
        self.done.reserve(self.limit.saturating_sub(self.done.len()));
        let own = u32::try_from(self.operations.slots.len()).unwrap_or(1);
        self.operations.limit = own.min(u32::from(peer_operations));
    }

    pub(crate) fn submit(&mut self, request: Request, datagram: usize) -> Result<(), SubmitError> {
        request.check(datagram)?;
        if self.requests == self.limit {
            return Err(SubmitError::Full);
        }
        self.requests += 1;
        self.reads += usize::from(matches!(request.action, Action::Read { .. }));
        let handle = self.insert(request, None);
        self.ready.push_back(handle);
        Ok(())
    }

    /// Queues the response to a peer's read [LIM-3].
    pub(crate) fn respond(&mut self, id: u32, remote: Remote, length: u32) -> Result<(), Refusal> {
        if length > MOST_BYTES {
            return Err(Refusal::NotPermitted);
        }
        if self.responses == self.responses_limit {
            return Err(Refusal::TooManyOperations);
        }
        self.responses += 1;
        let request = Request {
            token: 0,
            source: remote.destination,
            destination: remote.source,
            qkey: 0,
            length,
            payload: 0,
            action: Action::Send { immediate: None },
        };
        let handle = self.insert(request, Some(remote));
        if let Some(message) = self.get_mut(handle) {
            message.id = Some(id);
        }
        self.ready.push_back(handle);
        Ok(())
    }

    /// Messages that wait or are outstanding, responses among them.
    pub(crate) const fn messages(&self) -> usize {
        self.requests + self.responses
    }

    /// Whether there is nothing to send, but a read that waits for its response.
    pub(crate) fn only_waits(&self) -> bool {
        self.reads > 0 && !self.has_next()
    }

    /// Whether there is a packet that was never sent and may be.
    pub(crate) fn has_next(&self) -> bool {
        !self.ready.is_empty() || (self.operations.room() > 0 && !self.waiting.is_empty())
    }

    /// The next packet that was never sent. RDMA operations that have to wait for others are passed over.
    #[inline(always)]
    pub(crate) fn peek(&mut self, datagram: usize) -> Option<Next> {
        // Twice for each packet: most often it is at hand.
        if self.waiting.is_empty() {
            let handle = *self.ready.front()?;
            let Some(message) = self.get_mut(handle) else {
                return self.look(datagram);
            };
            if message.segments == 0 {
                message.cut(datagram);
            }
            if message.next < message.segments && !message.needs_id() {
                return Some(message.next(handle));
            }
        }
        self.look(datagram)
    }

    /// The same when something is in the way of the message in front.
    #[cold]
    fn look(&mut self, datagram: usize) -> Option<Next> {
        loop {
            // What waited for an operation to end takes its turn with the others. What waited may be gone by now, so this is looked at here and not when an
            // operation ends.
            if !self.waiting.is_empty()
                && self.operations.room() > 0
                && let Some(handle) = self.waiting.pop_front()
            {
                self.ready.push_back(handle);
            }
            let handle = *self.ready.front()?;
            let Some(message) = self.get_mut(handle) else {
                self.ready.pop_front();
                continue;
            };
            if message.segments == 0 {
                message.cut(datagram);
            }
            if message.next >= message.segments {
                // A response that broke off while an earlier packet of it went again.
                self.ready.pop_front();
                continue;
            }
            let next = message.next(handle);
            if !message.needs_id() {
                return Some(next);
            }
            if self.operations.room() == 0 {
                self.ready.pop_front();
                self.waiting.push_back(handle);
                continue;
            }
            let id = self.operations.take(handle);
            if let Some(message) = self.get_mut(handle) {
                message.id = Some(id);
            }
            return Some(next);
        }
    }

    /// The packet that [`Outbox::peek`] showed was sent.
    #[inline]
    pub(crate) fn advance(&mut self) {
        let Some(handle) = self.ready.pop_front() else {
            return;
        };
        if let Some(message) = self.get_mut(handle) {
            message.next += 1;
            message.unacknowledged += 1;
            if message.next < message.segments {
                self.ready.push_back(handle);
            }
        }
    }

    /// Bytes of a packet that was sent before, or none if its message is gone.
    pub(crate) fn packet(&self, handle: Handle, segment: u32) -> Option<usize> {
        self.get(handle).map(|message| message.packet(segment))
    }

    /// Writes an operation's fields and a packet's payload into a datagram, behind the place of what all DATA begins with and around that of the tag; none if its
    /// message or its memory is gone, which then has failed.
    pub(crate) fn write(
        &mut self,
        handle: Handle,
        segment: u32,
        local: &mut impl Local,
        out: &mut [u8],
    ) -> Option<Written> {
        let message = self.get_mut(handle)?;
        let offset = segment * message.segment;
        let length = message.segment.min(message.request.length.saturating_sub(offset));
        let header = message.header();
        let bytes = if message.reads() { 0 } else { length as usize };
        let into = out.get_mut(header..header + bytes)?;
        let mut more = false;
        let payload = match message.response {
            None if bytes == 0 => 0,
            None => match local.gather(message.request.payload, offset, into) {
                Ok(()) => bytes,
                Err(_) => {
                    self.fail(handle, Failure::Withdrawn);
                    return None;
                }
            },
            Some(remote) => {
                let remote = Remote {
                    address: remote.address.wrapping_add(u64::from(offset)),
                    ..remote
                };
                if message.broken.is_none() {
                    message.broken = local.read(remote, into).err();
                }
                if message.broken.is_some() {
                    more = message.close(segment);
                    0
                } else {
                    bytes
                }
            }
        };
        let operation = message.put(segment, out);
        let ends = message.ends();
        if more {
            self.ready.push_back(handle);
        }
        Some(Written {
            operation,
            ends,
            header: header - TAG_BYTES,
            payload,
        })
    }

    /// A packet of a message was acknowledged.
    pub(crate) fn acknowledged(&mut self, handle: Handle) {
        let Some(message) = self.get_mut(handle) else {
            return;
        };
        message.unacknowledged = message.unacknowledged.saturating_sub(1);
        if message.unacknowledged == 0 && message.next >= message.segments && !message.reads() {
            self.end(handle, Ok(()));
        }
    }

    /// A message failed; nothing more of it is sent, and its packets that are outstanding become VOID [REF-5].
    pub(crate) fn fail(&mut self, handle: Handle, failure: Failure) {
        self.end(handle, Err(failure));
    }

    /// The outstanding read with this id.
    pub(crate) fn read(&self, id: u32) -> Option<Read> {
        let message = self.get(self.operations.get(id)?)?;
        (message.reads() && message.id == Some(id)).then_some(Read {
            payload: message.request.payload,
            length: message.request.length,
        })
    }

    /// Bytes of an outstanding read arrived [REL-4].
    pub(crate) fn read_arrived(&mut self, id: u32, bytes: u32) {
        let Some(handle) = self.operations.get(id) else {
            return;
        };
        if let Some(message) = self.get_mut(handle) {
            message.arrived = message.arrived.saturating_add(bytes);
            if message.arrived >= message.request.length {
                self.end(handle, Ok(()));
            }
        }
    }

    /// The peer cannot go on with a read [LIM-3].
    pub(crate) fn read_failed(&mut self, id: u32, reason: Refusal) {
        if self.read(id).is_some()
            && let Some(handle) = self.operations.get(id)
        {
            self.end(handle, Err(Failure::Refused(reason)));
        }
    }

    /// This end's memory of a read is gone.
    pub(crate) fn read_withdrawn(&mut self, id: u32) {
        if let Some(handle) = self.operations.get(id) {
            self.end(handle, Err(Failure::Withdrawn));
        }
    }

    /// Fails what a queue pair of this interface has in it. Who reads through it is told so [LIM-3].
    pub(crate) fn withdraw(&mut self, source: u16) {
        let of_pair = |message: &Message| message.request.source == source;
        for message in self.places.iter_mut().filter_map(|place| place.message.as_mut()) {
            if of_pair(message) && message.response.is_some() {
                message.broken = message.broken.or(Some(Refusal::BadQueuePair));
            }
        }
        self.end_all(Failure::Withdrawn, |message| {
            of_pair(message) && message.response.is_none()
        });
    }

    /// Fails what is one packet and longer than so large a datagram can carry.
    pub(crate) fn fail_longer_than(&mut self, datagram: usize) {
        let most = u32::try_from(datagram - SEND_BYTES).unwrap_or(0);
        self.end_all(Failure::Refused(Refusal::TooLong), |message| {
            matches!(message.request.action, Action::Send { .. }) && message.request.length > most
        });
    }

    /// Fails everything, and counts operations from 0 again [SES-7].
    pub(crate) fn fail_all(&mut self, failure: Failure) {
        self.end_all(failure, |_| true);
        self.ready.clear();
        self.waiting.clear();
        self.operations.slots.fill(None);
        self.operations.lowest = 0;
        self.operations.next = 0;
    }

    fn end_all(&mut self, failure: Failure, chosen: impl Fn(&Message) -> bool) {
        for index in 0..u32::try_from(self.places.len()).unwrap_or(u32::MAX) {
            let place = &self.places[index as usize];
            if place.message.as_ref().is_some_and(&chosen) {
                self.end(
                    Handle {
                        index,
                        generation: place.generation,
                    },
                    Err(failure),
                );
            }
        }
    }

    fn end(&mut self, handle: Handle, result: Result<(), Failure>) {
        let Some(place) = self.places.get_mut(handle.index as usize) else {
            return;
        };
        if place.generation != handle.generation {
            return;
        }
        let Some(message) = place.message.take() else {
            return;
        };
        place.generation = place.generation.wrapping_add(1);
        self.free.push(handle.index);
        if message.response.is_some() {
            self.responses -= 1;
            return;
        }
        self.requests -= 1;
        self.reads -= usize::from(message.reads());
        self.done.push_back((message.request.token, result));
        if let Some(id) = message.id {
            self.operations.end(id);
        }
    }

    fn insert(&mut self, request: Request, response: Option<Remote>) -> Handle {
        let message = Message {
            request,
            response,
            id: None,
            segment: 0,
            segments: 0,
            next: 0,
            unacknowledged: 0,
            arrived: 0,
            broken: None,
            closes: false,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                message: None,
            });
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let place = &mut self.places[index as usize];
        place.message = Some(message);
        Handle {
            index,
            generation: place.generation,
        }
    }

    fn get(&self, handle: Handle) -> Option<&Message> {
        let place = self.places.get(handle.index as usize)?;
        place
            .message
            .as_ref()
            .filter(|_| place.generation == handle.generation)
    }

    #[inline]
    fn get_mut(&mut self, handle: Handle) -> Option<&mut Message> {
        let place = self.places.get_mut(handle.index as usize)?;
        place
            .message
            .as_mut()
            .filter(|_| place.generation == handle.generation)
    }
}

impl Message {
    /// Whether it is a read that this end asks for.
    #[inline]
    fn reads(&self) -> bool {
        self.response.is_none() && matches!(self.request.action, Action::Read { .. })
    }

    #[inline]
    fn needs_id(&self) -> bool {
        self.id.is_none() && !matches!(self.request.action, Action::Send { .. })
    }

    /// Bytes of its packets' headers, tag included.
    #[inline]
    fn header(&self) -> usize {
        match (self.response, self.request.action) {
            (Some(_), _) => RESPONSE_BYTES,
            (None, Action::Send { .. }) => SEND_BYTES,
            (None, Action::Write { .. }) => WRITE_BYTES,
            (None, Action::Read { .. }) => READ_BYTES,
        }
    }

    /// Ends a response that broke off with a packet that was never sent: what goes again may have arrived before, and then nobody reads what it says now. Whether it
    /// has to be queued for that.
    fn close(&mut self, segment: u32) -> bool {
        if std::mem::replace(&mut self.closes, true) {
            return false;
        }
        let queued = self.next < self.segments;
        self.segments = self.next + 1;
        segment < self.next && !queued
    }

    /// Decides how it is cut into segments.
    #[inline]
    fn cut(&mut self, datagram: usize) {
        let most = u32::try_from(datagram - self.header()).unwrap_or(1);
        self.segment = if self.reads() { self.request.length } else { most };
        // Most are one segment, and need no division.
        self.segments = if self.reads() || self.request.length <= most {
            1
        } else {
            self.request.length.div_ceil(most)
        };
    }

    /// Bytes of one of its packets.
    #[inline]
    fn packet(&self, segment: u32) -> usize {
        let payload = if self.reads() {
            0
        } else {
            // One more than there are may say that a response broke off.
            self.segment
                .min(self.request.length.saturating_sub(segment * self.segment))
        };
        self.header() + payload as usize
    }

    /// What follows the base header of its packets.
    fn ends(&self) -> Ends {
        let request = &self.request;
        let immediate = match request.action {
            Action::Send { immediate } | Action::Write { immediate, .. } if self.response.is_none() => {
                immediate
            }
            _ => None,
        };
        Ends {
            source: U16::new(request.source),
            destination: U16::new(request.destination),
            qkey: U32::new(request.qkey),
            immediate: U32::new(immediate.unwrap_or(0)),
        }
    }

    /// Its next packet.
    #[inline(always)]
    fn next(&self, handle: Handle) -> Next {
        Next {
            message: handle,
            segment: self.next,
            bytes: self.packet(self.next),
        }
    }

    /// Writes the operation's fields; its code.
    fn put(&self, segment: u32, out: &mut [u8]) -> u8 {
        let id = U32::new(self.id.unwrap_or(0));
        let offset = segment * self.segment;
        let request = &self.request;
        let mut pen = Pen::new(&mut out[size_of::<Front>()..]);
        if self.response.is_some() {
            let (offset, total) = match self.broken {
                None => (offset, request.length),
                Some(reason) => (OFFSET_FAILED, u32::from(reason.code())),
            };
            pen.put(&ResponseFields {
                id,
                offset: U32::new(offset),
                total: U32::new(total),
            });
            return code::READ_RESPONSE;
        }
        match request.action {
            Action::Send { immediate: None } => code::SEND,
            Action::Send { .. } => code::SEND_IMMEDIATE,
            Action::Write {
                key,
                address,
                immediate,
            } => {
                pen.put(&WriteFields {
                    id,
                    key: U32::new(key),
                    address: U64::new(address.wrapping_add(u64::from(offset))),
                    index: U32::new(segment),
                    count: U32::new(self.segments),
                });
                if immediate.is_some() {
                    code::WRITE_IMMEDIATE
                } else {
                    code::WRITE
                }
            }
            Action::Read { key, address } => {
                pen.put(&ReadFields {
                    id,
                    key: U32::new(key),
                    address: U64::new(address),
                    length: U32::new(request.length),
                    zero: U32::ZERO,
                });
                code::READ_REQUEST
            }
        }
    }
}

impl Operations {
    /// Ids that can be taken now.
    fn room(&self) -> u32 {
        self.limit - self.next.wrapping_sub(self.lowest)
    }

    fn slot(&self, id: u32) -> usize {
        id as usize % self.slots.len()
    }

    fn take(&mut self, handle: Handle) -> u32 {
        let id = self.next;
        let slot = self.slot(id);
        self.slots[slot] = Some(handle);
        self.next = self.next.wrapping_add(1);
        id
    }

    fn get(&self, id: u32) -> Option<Handle> {
        self.slots[self.slot(id)].filter(|_| id.wrapping_sub(self.lowest) < self.limit)
    }

    fn end(&mut self, id: u32) {
        let slot = self.slot(id);
        self.slots[slot] = None;
        while self.lowest != self.next && self.slots[self.slot(self.lowest)].is_none() {
            self.lowest = self.lowest.wrapping_add(1);
        }
    }
}

/// Most bytes of an RDMA operation.
const MOST_BYTES: u32 = 1 << 30;
