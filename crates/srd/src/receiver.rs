//! One direction of a session, at the end where it arrives.

use std::time::Duration;

use zerocopy::byteorder::big_endian::{U16, U32, U64};

use crate::key::TAG_BYTES;
use crate::local::{Incoming, Local, Remote};
use crate::number::nanos;
use crate::number::{NEVER, high, low, whole};
use crate::outbox::Outbox;
use crate::session::{Owner, Wire};
use crate::window::{ReceiveWindow, Standing};
use crate::wire::{
    ACK, ACK_BYTES, ACK_ECHOES, ACK_REFUSALS, ACK_WORDS, Body, Counts, Echo, Ends, OFFSET_FAILED, Operation,
    PATHS, Packet, Pen, Refused, ResponseFields, WriteFields, base,
};
use crate::{Instant, PeerId, Refusal};

/// What arrived on a path.
#[derive(Clone, Copy, Debug, Default)]
struct Arrivals {
    /// One above the highest TXN.
    end: u64,
    /// When that one came.
    at: Instant,
    marked: u16,
    packets: u16,
}

/// An RDMA write with immediate data of which segments are missing.
#[derive(Clone, Copy, Debug, Default)]
struct Write {
    id: u32,
    /// Segments that came; 0 in a place that is free.
    segments: u32,
    bytes: u32,
}

/// The receiving half of a session.
#[derive(Debug)]
pub(crate) struct Receiver {
    window: ReceiveWindow,
    paths: Box<[Arrivals]>,
    /// The paths with something that no ACK has echoed.
    fresh: u64,
    /// Packets that wait for an ACK.
    waiting: u32,
    /// When it is due at the latest, or [`NEVER`].
    due: Instant,
    /// The path of the packet that made it necessary.
    path: u8,
    /// Which refusal comes first in the next ACK.
    turn: usize,
    writes: Box<[Write]>,
    ack_delay: Duration,
}

/// What a datagram came with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) now: Instant,
    pub(crate) peer: PeerId,
    /// Whether the network marked it as having met congestion.
    pub(crate) marked: bool,
}

impl Receiver {
    pub(crate) fn new(window: u32, operations: u16, ack_delay: Duration) -> Self {
        Self {
            window: ReceiveWindow::new(window),
            paths: vec![Arrivals::default(); PATHS].into(),
            fresh: 0,
            waiting: 0,
            due: NEVER,
            path: 0,
            turn: 0,
            writes: vec![Write::default(); usize::from(operations)].into(),
            ack_delay,
        }
    }

    /// The PSN that these lower bits mean.
    pub(crate) const fn whole(&self, sequence: u32) -> u64 {
        whole(sequence, self.window.next())
    }

    /// When an ACK is due, or [`NEVER`].
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }

    /// Whether an ACK is due. At the end of time one that nobody waits for is not, or it would go without end.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due <= now && self.due < NEVER
    }

    /// An authentic DATA packet.
    pub(crate) fn take(&mut self, arrival: Arrival, packet: &Packet<'_>, owner: &mut Owner<'_, impl Local>) {
        let Body::Data { ends, operation } = packet.body else {
            return;
        };
        let number = self.whole(packet.base.sequence.get());
        let standing = self.window.standing(number);
        if standing == Standing::Beyond {
            owner.stats.beyond_window += 1;
            return;
        }
        self.note(arrival, packet);
        let mut at_once = packet.base.flags & crate::wire::FLAG_NOW != 0;
        match standing {
            Standing::Beyond => {}
            Standing::Taken => {
                owner.stats.duplicates += 1;
                at_once = true;
            }
            // A VOID fills the place of what was refused; a copy of that is no more welcome than the first one [REF-4].
            Standing::Refused(_) => {
                at_once = true;
                if matches!(operation, Operation::Void) && packet.payload.is_empty() {
                    self.window.take(number);
                }
            }
            Standing::New => match self.execute(arrival, packet, ends, operation, owner) {
                Ok(()) => {
                    owner.stats.delivered += 1;
                    self.window.take(number);
                }
                Err(refusal) => {
                    owner.stats.refused += 1;
                    self.window.refuse(number, refusal);
                    at_once = true;
                }
            },
        }
        self.waiting += 1;
        self.path = packet.base.path;
        // [REL-5]
        let due = if at_once || self.waiting >= TOGETHER {
            arrival.now
        } else {
            arrival.now + self.ack_delay
        };
        self.due = self.due.min(due);
    }

    /// Expects another PSN than 0 next, as after so many packets.
    #[cfg(test)]
    pub(crate) fn begin_at(&mut self, number: u64) {
        self.window.begin_at(number);
    }

    /// Remembers what the path brought.
    fn note(&mut self, arrival: Arrival, packet: &Packet<'_>) {
        let number = usize::from(packet.base.path);
        let Some(path) = self.paths.get_mut(number) else {
            return;
        };
        path.packets = path.packets.wrapping_add(1);
        if arrival.marked {
            path.marked = path.marked.wrapping_add(1);
        }
        let transmission = whole(packet.base.transmission.get(), path.end);
        if transmission >= path.end {
            path.end = transmission + 1;
            path.at = arrival.now;
            self.fresh |= 1 << number;
        }
    }

    fn execute(
        &mut self,
        arrival: Arrival,
        packet: &Packet<'_>,
        ends: &Ends,
        operation: Operation<'_>,
        owner: &mut Owner<'_, impl Local>,
    ) -> Result<(), Refusal> {
        let Owner { outbox, local, .. } = owner;
        if packet.contradicts_itself() {
            return Err(Refusal::Malformed);
        }
        let remote = |key: U32, address: U64| Remote {
            peer: arrival.peer,
            source: ends.source.get(),
            destination: ends.destination.get(),
            qkey: ends.qkey.get(),
            key: key.get(),
            address: address.get(),
        };
        match operation {
            Operation::Void => Ok(()),
            Operation::Send { immediate } => local.deliver(Incoming {
                peer: arrival.peer,
                source: ends.source.get(),
                destination: ends.destination.get(),
                qkey: ends.qkey.get(),
                immediate: immediate.then(|| ends.immediate.get()),
                payload: packet.payload,
            }),
            Operation::Write { fields, immediate } => {
                let remote = remote(fields.key, fields.address);
                local.write(remote, packet.payload)?;
                if immediate {
                    let length = u32::try_from(packet.payload.len()).unwrap_or(u32::MAX);
                    self.count_segment(fields, length)?.map_or(Ok(()), |length| {
                        local.written(remote, ends.immediate.get(), length)
                    })?;
                }
                Ok(())
            }
            Operation::ReadRequest(fields) => {
                let remote = remote(fields.key, fields.address);
                local.readable(remote, fields.length.get())?;
                outbox.respond(fields.id.get(), remote, fields.length.get())
            }
            Operation::ReadResponse(fields) if fields.offset.get() == OFFSET_FAILED => {
                let reason = fields.total.get().to_be_bytes()[3];
                outbox.read_failed(fields.id.get(), Refusal::from_code(reason));
                Ok(())
            }
            Operation::ReadResponse(fields) => Self::place(outbox, fields, packet.payload, *local),
        }
    }

    /// Places a segment of a read's response.
    fn place(
        outbox: &mut Outbox,
        fields: &ResponseFields,
        bytes: &[u8],
        local: &mut impl Local,
    ) -> Result<(), Refusal> {
        let Some(read) = outbox.read(fields.id.get()) else {
            // The read failed meanwhile: nobody waits for the rest.
            return Ok(());
        };
        if read.length != fields.total.get() {
            return Err(Refusal::Malformed);
        }
        match local.scatter(read.payload, fields.offset.get(), bytes) {
            Ok(()) => outbox.read_arrived(fields.id.get(), u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            Err(_) => outbox.read_withdrawn(fields.id.get()),
        }
        Ok(())
    }

    /// Counts a segment of a write with immediate data; the bytes of all of them when it was the last one [LIM-2].
    fn count_segment(&mut self, fields: &WriteFields, bytes: u32) -> Result<Option<u32>, Refusal> {
        let id = fields.id.get();
        let slot = usize::try_from(id).unwrap_or(0) % self.writes.len();
        let write = &mut self.writes[slot];
        if write.id != id {
            // A newer operation in the place of an older one says that the older one is over: one of its segments was refused [LIM-1].
            if write.segments != 0 && id.wrapping_sub(write.id) > u32::MAX / 2 {
                return Err(Refusal::TooManyOperations);
            }
            *write = Write {
                id,
                ..Write::default()
            };
        }
        write.segments += 1;
        write.bytes = write.bytes.saturating_add(bytes);
        let complete = write.segments == fields.count.get();
        let length = write.bytes;
        if complete {
            *write = Write::default();
        }
        Ok(complete.then_some(length))
    }

    /// Writes an ACK; the path [PTH-1] on which it leaves, and its length.
    pub(crate) fn acknowledge(&mut self, now: Instant, wire: &Wire, out: &mut [u8]) -> (u8, usize) {
        let limit = wire.datagram.min(out.len());
        let mut room = limit.saturating_sub(ACK_BYTES);
        // An echo and a word always fit, so that each ACK tells something new.
        let rest = room.saturating_sub(size_of::<Echo>() + size_of::<U64>());
        let refusals = self
            .window
            .refused()
            .min(ACK_REFUSALS)
            .min(rest / size_of::<Refused>());
        room -= refusals * size_of::<Refused>();
        let rest = room.saturating_sub(size_of::<Echo>());
        let words = self.window.words().min(ACK_WORDS).min(rest / size_of::<U64>());
        room -= words * size_of::<U64>();
        let echoes = (self.fresh.count_ones() as usize)
            .min(ACK_ECHOES)
            .min(room / size_of::<Echo>());
        let length = ACK_BYTES
            + refusals * size_of::<Refused>()
            + words * size_of::<U64>()
            + echoes * size_of::<Echo>();
        let count = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);

        let mut base = base(ACK, 0, length, wire.context, wire.epoch);
        base.sequence = U32::new(low(self.window.next()));
        base.path = self.path;
        let mut pen = Pen::new(out);
        pen.put(&base);
        pen.put(&Counts {
            words: count(words),
            echoes: count(echoes),
            refusals: count(refusals),
            zero: 0,
        });
        for word in 0..words {
            pen.put(&U64::new(self.window.bitmap(word)));
        }
        for _ in 0..echoes {
            pen.put(&self.echo(now));
        }
        for (number, reason) in self.window.refusals(self.turn).take(refusals) {
            pen.put(&Refused {
                sequence: U32::new(low(number)),
                reason: reason.code(),
                zero: [0; 3],
            });
        }
        let at = pen.written();
        let upper = high(self.window.next()).to_be_bytes();
        let tag = wire.out.tag(&out[..at], &upper, &[]);
        if let Some(place) = out.get_mut(at..at + TAG_BYTES) {
            place.copy_from_slice(&tag);
        }
        self.turn = self.turn.wrapping_add(refusals);
        self.waiting = 0;
        // What did not fit is due at once [PKT-9].
        self.due = if self.fresh != 0 { now } else { NEVER };
        (self.path, length)
    }

    /// The echo of one path that has something to tell.
    fn echo(&mut self, now: Instant) -> Echo {
        let number = self.fresh.trailing_zeros();
        self.fresh &= self.fresh - 1;
        let path = self.paths[number as usize];
        Echo {
            path: u8::try_from(number).unwrap_or(0),
            zero: 0,
            delay: U16::new(u16::try_from(nanos(now.since(path.at)) / 64).unwrap_or(u16::MAX)),
            transmission: U32::new(low(path.end.saturating_sub(1))),
            marked: U16::new(path.marked),
            packets: U16::new(path.packets),
        }
    }
}

/// Packets after which an ACK does not wait any longer.
const TOGETHER: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_end_of_time_no_acknowledgement_goes_that_nobody_waits_for() {
        let mut receiver = Receiver::new(16, 1, Duration::from_micros(20));
        assert!(!receiver.is_due(NEVER));
        receiver.due = Instant::from_nanos(7);
        assert!(receiver.is_due(Instant::from_nanos(7)) && !receiver.is_due(Instant::from_nanos(6)));
    }
}
