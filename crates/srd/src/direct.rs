//! Messages between interfaces of one card: from queue to queue, never as packets.

use std::collections::{HashMap, VecDeque};

use crate::endpoint::Event;
use crate::local::{Incoming, Local, Remote};
use crate::outbox::{Action, Request};
use crate::wire::{Gid, RESPONSE_BYTES, SEND_BYTES, WRITE_BYTES};
use crate::{Config, Failure, PeerId, Refusal, SubmitError};

/// A message to a neighbour, or one segment of it, on its way: from [`Endpoint::poll_direct`](crate::Endpoint::poll_direct) of the interface that sends it to
/// [`Endpoint::handle_direct`](crate::Endpoint::handle_direct) of [the one to which it goes](Piece::to).
#[derive(Debug)]
#[must_use = "a message whose piece is dropped fails as withdrawn"]
pub struct Piece<'a> {
    /// Which of the pieces that the sender handed out it is.
    number: u64,
    from: Gid,
    to: Gid,
    request: Request,
    /// Where in the message it begins, in bytes.
    offset: u32,
    /// Its bytes, or room for those of a read.
    bytes: &'a mut [u8],
}

/// What became of a [`Piece`]; the interface that sent it takes it with [`Endpoint::handle_answer`](crate::Endpoint::handle_answer).
#[derive(Debug)]
#[must_use = "a message whose answer is dropped fails as withdrawn"]
pub struct Answer<'a> {
    piece: Piece<'a>,
    result: Result<(), Failure>,
}

impl<'a> Piece<'a> {
    /// The GID of the interface that has to handle it.
    pub const fn to(&self) -> Gid {
        self.to
    }

    /// The GID of the interface that sends it.
    pub const fn from(&self) -> Gid {
        self.from
    }

    /// The answer for an interface that is not there: the message fails as *unreachable* [LOC-3].
    pub const fn unreachable(self) -> Answer<'a> {
        Answer {
            piece: self,
            result: Err(Failure::Unreachable),
        }
    }

    /// The answer with what the receiving interface said.
    pub(crate) fn answer(self, result: Result<(), Refusal>) -> Answer<'a> {
        Answer {
            piece: self,
            result: result.map_err(Failure::Refused),
        }
    }

    /// Does at the receiving interface what the message wants, as if it had come in a packet [LOC-2].
    pub(crate) fn execute(
        &mut self,
        peer: PeerId,
        datagram: usize,
        local: &mut impl Local,
    ) -> Result<(), Refusal> {
        let request = &self.request;
        let remote = |key: u32, address: u64| Remote {
            peer,
            source: request.source,
            destination: request.destination,
            qkey: request.qkey,
            key,
            address: address.wrapping_add(u64::from(self.offset)),
        };
        match request.action {
            Action::Send { immediate } => {
                // The sender has held it to its own datagram size only.
                if self.bytes.len() > datagram - SEND_BYTES {
                    return Err(Refusal::TooLong);
                }
                local.deliver(Incoming {
                    peer,
                    source: request.source,
                    destination: request.destination,
                    qkey: request.qkey,
                    immediate,
                    payload: self.bytes,
                })
            }
            Action::Write {
                key,
                address,
                immediate,
            } => {
                let remote = remote(key, address);
                local.write(remote, self.bytes)?;
                match immediate {
                    Some(immediate) if self.is_last() => local.written(remote, immediate, request.length),
                    _ => Ok(()),
                }
            }
            Action::Read { key, address } => {
                let remote = remote(key, address);
                if self.offset == 0 {
                    local.readable(remote, request.length)?;
                }
                local.read(remote, self.bytes)
            }
        }
    }

    fn end(&self) -> u32 {
        self.offset
            .saturating_add(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX))
    }

    fn is_last(&self) -> bool {
        self.end() >= self.request.length
    }
}

impl Answer<'_> {
    /// The GID of the interface that sent the piece, and has to take this.
    pub const fn sender(&self) -> Gid {
        self.piece.from
    }
}

/// The messages of an interface to its neighbours.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    neighbours: HashMap<PeerId, Neighbour>,
    /// Neighbours for which messages wait, each once; they take turns.
    ready: VecDeque<PeerId>,
    /// The message of which a piece is handed out.
    under_way: Option<UnderWay>,
    /// Pieces that were handed out.
    pieces: u64,
}

#[derive(Debug)]
struct Neighbour {
    gid: Gid,
    /// Messages that are not complete; they take turns.
    waiting: VecDeque<Message>,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    request: Request,
    /// Bytes that are placed.
    placed: u32,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: u64,
    peer: PeerId,
    message: Message,
}

impl Direct {
    /// There is one more neighbour.
    pub(crate) fn add(&mut self, id: PeerId, gid: Gid) {
        let waiting = VecDeque::new();
        self.neighbours.insert(id, Neighbour { gid, waiting });
    }

    pub(crate) fn has(&self, id: PeerId) -> bool {
        self.neighbours.contains_key(&id)
    }

    /// Forgets a neighbour: its GID, if it is one. Its messages fail.
    pub(crate) fn remove(&mut self, id: PeerId, events: &mut VecDeque<Event>) -> Option<Gid> {
        self.fail(id, Failure::KeyWithdrawn, events, |_| true);
        self.neighbours.remove(&id).map(|neighbour| neighbour.gid)
    }

    pub(crate) fn submit(
        &mut self,
        id: PeerId,
        request: Request,
        config: &Config,
    ) -> Result<(), SubmitError> {
        let neighbour = self.neighbours.get_mut(&id).ok_or(SubmitError::NoPeer)?;
        request.check(config.datagram)?;
        let under_way = self.under_way.is_some_and(|under_way| under_way.peer == id);
        if neighbour.waiting.len() + usize::from(under_way) >= config.messages {
            return Err(SubmitError::Full);
        }
        self.wait(id, Message { request, placed: 0 });
        Ok(())
    }

    /// Fails what a queue pair of this interface has under way to a neighbour [REF-4].
    pub(crate) fn withdraw(&mut self, id: PeerId, source: u16, events: &mut VecDeque<Event>) {
        self.fail(id, Failure::Withdrawn, events, |request| request.source == source);
    }

    /// The next piece, whose bytes are in the buffer [LOC-4].
    pub(crate) fn poll<'a>(
        &mut self,
        from: Gid,
        datagram: usize,
        local: &mut impl Local,
        buffer: &'a mut [u8],
        events: &mut VecDeque<Event>,
    ) -> Option<Piece<'a>> {
        if buffer.len() < datagram {
            return None;
        }
        if let Some(lost) = self.under_way.take() {
            // Nobody knows whether it was placed, so it must not be handed out again.
            events.push_back(lost.message.event(lost.peer, Err(Failure::Withdrawn)));
        }
        loop {
            let (peer, to, message) = self.next()?;
            let Message { request, placed } = message;
            let bytes = message.next_bytes(datagram);
            let reads = matches!(request.action, Action::Read { .. });
            // As for a packet: no memory is asked for nothing.
            if !reads
                && bytes > 0
                && local
                    .gather(request.payload, placed, &mut buffer[..bytes])
                    .is_err()
            {
                events.push_back(message.event(peer, Err(Failure::Withdrawn)));
                continue;
            }
            self.pieces += 1;
            let number = self.pieces;
            self.under_way = Some(UnderWay {
                number,
                peer,
                message,
            });
            return Some(Piece {
                number,
                from,
                to,
                request,
                offset: placed,
                bytes: &mut buffer[..bytes],
            });
        }
    }

    /// The answer to the piece that is handed out; whether its message is complete now.
    pub(crate) fn answer(
        &mut self,
        answer: Answer<'_>,
        local: &mut impl Local,
        events: &mut VecDeque<Event>,
    ) -> bool {
        let Answer { piece, mut result } = answer;
        let Some(UnderWay { peer, message, .. }) = self
            .under_way
            .take_if(|under_way| under_way.number == piece.number)
        else {
            return false;
        };
        if result.is_ok() && matches!(piece.request.action, Action::Read { .. }) {
            let placed = local.scatter(piece.request.payload, piece.offset, piece.bytes);
            result = placed.map_err(|_| Failure::Withdrawn);
        }
        if result.is_ok() && !piece.is_last() {
            let placed = piece.end();
            self.wait(peer, Message { placed, ..message });
            return false;
        }
        events.push_back(message.event(peer, result));
        result.is_ok()
    }

    /// Puts a message behind the others for a neighbour.
    fn wait(&mut self, id: PeerId, message: Message) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else {
            return;
        };
        if neighbour.waiting.is_empty() {
            self.ready.push_back(id);
        }
        neighbour.waiting.push_back(message);
    }

    /// Takes the message whose turn it is, of the neighbour whose turn it is.
    fn next(&mut self) -> Option<(PeerId, Gid, Message)> {
        let id = self.ready.pop_front()?;
        let neighbour = self.neighbours.get_mut(&id)?;
        let message = neighbour.waiting.pop_front()?;
        if !neighbour.waiting.is_empty() {
            self.ready.push_back(id);
        }
        Some((id, neighbour.gid, message))
    }

    /// Fails the messages to a neighbour that are chosen.
    fn fail(
        &mut self,
        id: PeerId,
        failure: Failure,
        events: &mut VecDeque<Event>,
        chosen: impl Fn(&Request) -> bool,
    ) {
        let Some(neighbour) = self.neighbours.get_mut(&id) else {
            return;
        };
        let under_way = self
            .under_way
            .take_if(|under_way| under_way.peer == id && chosen(&under_way.message.request));
        if let Some(UnderWay { message, .. }) = under_way {
            events.push_back(message.event(id, Err(failure)));
        }
        neighbour.waiting.retain(|message| {
            let stays = !chosen(&message.request);
            if !stays {
                events.push_back(message.event(id, Err(failure)));
            }
            stays
        });
        if neighbour.waiting.is_empty() {
            self.ready.retain(|ready| *ready != id);
        }
    }
}

impl Message {
    /// Bytes of its next piece: as many as a packet of it would have [LOC-2].
    fn next_bytes(&self, datagram: usize) -> usize {
        let header = match self.request.action {
            Action::Send { .. } => SEND_BYTES,
            Action::Write { .. } => WRITE_BYTES,
            Action::Read { .. } => RESPONSE_BYTES,
        };
        let rest = self.request.length.saturating_sub(self.placed);
        (datagram - header).min(rest as usize)
    }

    const fn event(&self, peer: PeerId, result: Result<(), Failure>) -> Event {
        Event {
            peer,
            token: self.request.token,
            result,
        }
    }
}
