//! One direction of a session, at the end where it begins.

use std::collections::VecDeque;
use std::time::Duration;

use zerocopy::byteorder::big_endian::{U16, U32, U64};

use crate::congestion::{Controller, Sample};
use crate::key::TAG_BYTES;
use crate::local::Local;
use crate::number::nanos;
use crate::number::{NEVER, high, low, whole};
use crate::outbox::{Handle, Outbox, Written};
use crate::pacer::Pacer;
use crate::path::{NONE, Paths};
use crate::session::{Owner, Wire};
use crate::wire::Body;
use crate::wire::{
    Base, DATA, Echo, Ends, FLAG_AGAIN, FLAG_COVERED, FLAG_NOW, Front, Packet, Refused, SEND_BYTES, base,
    code,
};
use crate::{Config, Failure, Instant, Refusal};

/// A packet that must arrive.
#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    message: Handle,
    segment: u32,
    /// Its newest transmission.
    transmission: u64,
    /// The peer refused it; a VOID goes in its place.
    refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    InFlight,
    /// It waits to go again; not on the path of its last transmission.
    Lost,
    Acknowledged,
}

/// A DATA datagram that was sent.
#[derive(Clone, Copy, Debug)]
struct Transmission {
    number: u64,
    /// Its PSN.
    packet: u64,
    at: Instant,
    /// Its place in the order of its path, and the next one on the path.
    order: u64,
    next: u64,
    bytes: u32,
    path: u8,
    in_flight: bool,
}

/// The sending half of a session.
#[derive(Debug)]
pub(crate) struct Sender<C> {
    controller: C,
    pacer: Pacer,
    paths: Paths,
    slots: Box<[Slot]>,
    /// The lowest outstanding PSN, and the next new one.
    lowest: u64,
    next: u64,
    /// Packets that the peer lets be outstanding.
    window: u64,
    transmissions: Box<[Transmission]>,
    next_transmission: u64,
    /// Packets that wait to go again, in the order of their loss. What was acknowledged meanwhile is passed over.
    lost: VecDeque<u64>,
    in_flight: u64,
    in_flight_bytes: u64,
    /// Bytes of a full packet.
    packet: u64,
    /// Packets since one asked for an ACK.
    unasked: u64,
    last_sent: Instant,
    /// When something was last acknowledged, or the first packet went after a rest.
    progress: Instant,
    silence_limit: Duration,
    silence: Option<Silence>,
    /// One above the highest TXN of which an echo is known.
    arrived: u64,
    /// When that one was sent, and how long it took there and back, in nanoseconds.
    arrived_of: Instant,
    took: u64,
    /// The next TXN after the newest probe's [REL-13].
    probed: u64,
    /// The earliest time at which a packet in flight can count as lost, or [`NEVER`]; later ones are found when it comes.
    check: Instant,
}

/// Nothing comes back: single packets go [REL-9].
#[derive(Clone, Copy, Debug)]
struct Silence {
    next: Instant,
    wait: Duration,
}

/// What [`Sender::transmit`] made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: usize,
    pub(crate) path: u8,
}

/// What passing time brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Nothing that others need to know.
    Fine,
    /// Nothing comes back: a HELLO should go.
    Silent,
    /// The session is over.
    Dead,
}

/// A packet that could be sent now.
#[derive(Clone, Copy, Debug)]
enum Candidate {
    New {
        message: Handle,
        segment: u32,
        bytes: usize,
    },
    Again {
        packet: u64,
        bytes: usize,
        avoid: u8,
    },
}

impl Candidate {
    const fn bytes(self) -> usize {
        match self {
            Self::New { bytes, .. } | Self::Again { bytes, .. } => bytes,
        }
    }
}

impl<C: Controller> Sender<C> {
    pub(crate) fn new(
        now: Instant,
        config: &Config,
        controller: C,
        window: u32,
        datagram: usize,
        seed: u64,
    ) -> Self {
        let size = window as usize;
        let free = Slot {
            state: State::Free,
            message: Handle::NOBODY,
            segment: 0,
            transmission: 0,
            refused: false,
        };
        let none = Transmission {
            number: NONE,
            packet: 0,
            at: Instant::ZERO,
            order: 0,
            next: NONE,
            bytes: 0,
            path: 0,
            in_flight: false,
        };
        let packet = (datagram - SEND_BYTES) as u64;
        Self {
            controller,
            pacer: Pacer::new(config.burst, packet),
            paths: Paths::new(config.paths, config.least_timeout, seed, now),
            slots: vec![free; size].into(),
            lowest: 0,
            next: 0,
            window: u64::from(window),
            transmissions: vec![none; size * 2].into(),
            next_transmission: 0,
            lost: VecDeque::with_capacity(size),
            in_flight: 0,
            in_flight_bytes: 0,
            packet,
            unasked: 0,
            last_sent: now,
            progress: now,
            silence_limit: config.silence_limit,
            silence: None,
            arrived: 0,
            arrived_of: now,
            took: 0,
            probed: NONE,
            check: NEVER,
        }
    }

    /// Bytes of the next packet if it may go now on that path (on any if none is given).
    pub(crate) fn next_bytes(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        datagram: usize,
        path: Option<u8>,
    ) -> Option<usize> {
        let candidate = self.candidate(outbox, datagram)?;
        let elsewhere = matches!(candidate, Candidate::Again { avoid, .. } if path == Some(avoid) && self.paths.count() > 1);
        (!elsewhere && self.may(now, candidate.bytes())).then_some(candidate.bytes())
    }

    /// When [`Sender::tick`] has something to do, or a packet that had to wait may go; or [`NEVER`].
    pub(crate) fn due(&self, outbox: &Outbox) -> Instant {
        let mut due = self.silence.map_or(self.check, |silence| silence.next);
        // After most packets neither has a word in it.
        if let Some(paced) = self.paced()
            && (outbox.has_next() || !self.lost.is_empty())
        {
            due = due.min(paced);
        }
        if let Some(spread) = self.spread(outbox) {
            due = due.min(spread);
        }
        due
    }

    /// Writes the next packet, on this path or, without one, on the path of its choice.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        path: Option<u8>,
        wire: &Wire,
        owner: &mut Owner<'_, impl Local>,
        out: &mut [u8],
    ) -> Option<Sent> {
        loop {
            let candidate = self.candidate(owner.outbox, wire.datagram)?;
            if !self.may(now, candidate.bytes()) || candidate.bytes() > out.len() {
                return None;
            }
            let (packet, written) = match candidate {
                Candidate::New { message, segment, .. } => {
                    // The message failed because its memory is gone: the next one is looked at.
                    let Some(written) = owner.outbox.write(message, segment, owner.local, out) else {
                        continue;
                    };
                    owner.outbox.advance();
                    let packet = self.next;
                    self.next += 1;
                    if packet == self.lowest {
                        self.progress = now;
                    }
                    let slot = self.slot(packet);
                    self.slots[slot] = Slot {
                        state: State::Free,
                        message,
                        segment,
                        transmission: NONE,
                        refused: false,
                    };
                    (packet, written)
                }
                Candidate::Again { packet, .. } => {
                    self.lost.pop_front();
                    let slot = self.slots[self.slot(packet)];
                    let written = owner.outbox.write(slot.message, slot.segment, owner.local, out);
                    owner.stats.retransmitted += 1;
                    (packet, written.unwrap_or(VOID))
                }
            };
            let avoid = match candidate {
                Candidate::Again { avoid, .. } => Some(avoid),
                Candidate::New { .. } => None,
            };
            let path = path.unwrap_or_else(|| {
                self.paths
                    .pick(now, avoid, avoid.is_none() && self.silence.is_none())
            });
            let bytes = written.header + TAG_BYTES + written.payload;
            let transmission = self.record(now, packet, path, bytes);
            let flags = self.flags(now, avoid.is_some(), wire, owner.outbox);
            seal(wire, flags, packet, transmission, path, written, out);
            owner.stats.sent += 1;
            return Some(Sent { bytes, path });
        }
    }

    /// Applies an authentic ACK; whether it makes sense [REL-10].
    pub(crate) fn acknowledge(&mut self, now: Instant, packet: &Packet<'_>, outbox: &mut Outbox) -> bool {
        let Body::Ack {
            words,
            echoes,
            refusals,
        } = packet.body
        else {
            return false;
        };
        let next = self.whole(packet.base.sequence.get());
        if next > self.next || !self.sensible(next, words) {
            return false;
        }
        let before = self.in_flight_bytes;
        let mut bytes = 0;
        for number in self.lowest..next {
            bytes += self.mark(number, outbox);
        }
        for (word, bits) in words.iter().enumerate() {
            let mut bits = bits.get();
            while bits != 0 {
                let number = next + 1 + 64 * word as u64 + u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                if number >= self.lowest {
                    bytes += self.mark(number, outbox);
                }
            }
        }
        while self.lowest < self.next && self.slots[self.slot(self.lowest)].state == State::Acknowledged {
            let slot = self.slot(self.lowest);
            self.slots[slot].state = State::Free;
            self.lowest += 1;
        }
        for refusal in refusals {
            self.refuse(refusal, outbox);
        }
        let arrived = self.arrived_of;
        for echo in echoes {
            self.echo(now, echo);
        }
        // Another ACK of what was sent at that moment is left to the check: the first packets of many senders at once, before any knew the round trip, would go again
        // into the queue that they have just filled.
        if self.arrived_of > arrived && self.silence.is_none() {
            self.expire(now);
        }
        if bytes > 0 {
            self.controller.acknowledged(now, bytes, before);
            self.progress = now;
            if self.silence.take().is_some() {
                self.check = now;
            }
        }
        true
    }

    /// Looks for packets that are lost because time passed.
    pub(crate) fn tick(&mut self, now: Instant) -> Tick {
        if self.lowest == self.next {
            self.check = NEVER;
            self.silence = None;
            return Tick::Fine;
        }
        if self.silence.is_none() && self.check <= now {
            self.expire(now);
        }
        if now.since(self.progress) >= self.silence_limit {
            return Tick::Dead;
        }
        match self.silence {
            None => {
                let patience = self.paths.longest_timeout() * 2;
                if now.since(self.progress) < patience {
                    return Tick::Fine;
                }
                self.silence = Some(Silence {
                    next: now,
                    wait: patience,
                });
                Tick::Silent
            }
            Some(silence) if silence.next <= now => {
                // The single packet that was sent is given up, so that another path has its turn.
                for path in 0..self.paths.count() {
                    self.lose_until(now, path, |_| true);
                }
                let wait = (silence.wait * 2).min(LONGEST_SILENCE);
                self.silence = Some(Silence {
                    next: now + wait,
                    wait,
                });
                Tick::Silent
            }
            Some(_) => Tick::Fine,
        }
    }

    /// Packets that are sent and not acknowledged.
    pub(crate) const fn outstanding(&self) -> u64 {
        self.next - self.lowest
    }

    /// Packets that the peer lets be outstanding.
    pub(crate) const fn window(&self) -> u64 {
        self.window
    }

    /// The PSN that these lower bits mean in an ACK.
    pub(crate) const fn whole(&self, sequence: u32) -> u64 {
        whole(sequence, self.lowest)
    }

    /// Begins with other numbers than 0, as after so many packets.
    #[cfg(test)]
    pub(crate) fn begin_at(&mut self, packet: u64, transmission: u64) {
        (self.lowest, self.next, self.next_transmission) = (packet, packet, transmission);
    }

    fn slot(&self, packet: u64) -> usize {
        // A power of two, as is twice that: a division would cost more than the rest of the look-up.
        usize::try_from(packet & (self.window - 1)).unwrap_or(0)
    }

    fn place(&self, transmission: u64) -> usize {
        usize::try_from(transmission & (self.window * 2 - 1)).unwrap_or(0)
    }

    /// What goes next: first what was lost [REL-8].
    #[inline(always)]
    fn candidate(&mut self, outbox: &mut Outbox, datagram: usize) -> Option<Candidate> {
        // Twice for each packet.
        if !self.lost.is_empty()
            && let Some(again) = self.again(outbox)
        {
            return Some(again);
        }
        if self.next - self.lowest >= self.window {
            return None;
        }
        let next = outbox.peek(datagram)?;
        Some(Candidate::New {
            message: next.message,
            segment: next.segment,
            bytes: next.bytes,
        })
    }

    /// What has to go again.
    #[cold]
    fn again(&mut self, outbox: &Outbox) -> Option<Candidate> {
        while let Some(packet) = self.lost.front().copied() {
            let slot = self.slots[self.slot(packet)];
            if packet >= self.lowest && slot.state == State::Lost {
                let bytes = outbox.packet(slot.message, slot.segment).unwrap_or(SEND_BYTES);
                let avoid = self.transmissions[self.place(slot.transmission)].path;
                return Some(Candidate::Again { packet, bytes, avoid });
            }
            self.lost.pop_front();
        }
        None
    }

    /// Whether a packet of so many bytes may go now.
    fn may(&self, now: Instant, bytes: usize) -> bool {
        self.pacer.may(now) && self.fits(now, bytes)
    }

    /// Whether the congestion window has room [CC-1], and the place of the transmission's number is free.
    #[inline(always)]
    fn fits(&self, now: Instant, bytes: usize) -> bool {
        if self.transmissions[self.place(self.next_transmission)].in_flight {
            return false;
        }
        if self.in_flight == 0 {
            return self.may_alone(now);
        }
        self.silence.is_none() && self.in_flight_bytes + bytes as u64 <= self.controller.window()
    }

    /// Whether a packet may go with nothing in flight.
    #[inline(never)]
    fn may_alone(&self, now: Instant) -> bool {
        self.paced().is_none_or(|from| from <= now)
    }

    /// From when a packet may go if the window is smaller than one [CC-4].
    fn paced(&self) -> Option<Instant> {
        if self.in_flight > 0 {
            return None;
        }
        let window = self.controller.window();
        if window >= self.packet {
            return None;
        }
        let gap = nanos(self.paths.typical()).saturating_mul(self.packet) / window.max(1);
        // Who waits for itself must not take the peer for silent.
        Some(self.last_sent + Duration::from_nanos(gap).min(self.silence_limit / LEAST_PACKETS))
    }

    /// From when a packet may go for which there is room [CC-5]. What may go at once is the caller's to take, and needs no timer.
    fn spread(&self, outbox: &Outbox) -> Option<Instant> {
        let from = self.pacer.from().filter(|from| *from > self.last_sent)?;
        let new = self.next - self.lowest < self.window && outbox.has_next();
        let packet = usize::try_from(self.packet).unwrap_or(usize::MAX);
        ((new || !self.lost.is_empty()) && self.fits(from, packet)).then_some(from)
    }

    /// Remembers a transmission.
    fn record(&mut self, now: Instant, packet: u64, path: u8, bytes: usize) -> u64 {
        let number = self.next_transmission;
        self.next_transmission += 1;
        let mut order = 0;
        let mut before = NONE;
        if let Some(path) = self.paths.get_mut(path) {
            order = path.sent;
            path.sent += 1;
            path.in_flight += 1;
            before = std::mem::replace(&mut path.tail, number);
            if path.head == NONE {
                path.head = number;
            }
        }
        if before != NONE {
            let place = self.place(before);
            if self.transmissions[place].number == before {
                self.transmissions[place].next = number;
            }
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let place = self.place(number);
        self.forget(place);
        self.transmissions[place] = Transmission {
            number,
            packet,
            at: now,
            order,
            next: NONE,
            bytes,
            path,
            in_flight: true,
        };
        let slot = self.slot(packet);
        self.slots[slot].state = State::InFlight;
        self.slots[slot].transmission = number;
        self.in_flight += 1;
        self.in_flight_bytes += u64::from(bytes);
        self.last_sent = now;
        let (window, paths) = (self.controller.window(), &self.paths);
        self.pacer.sent(now, u64::from(bytes), window, || paths.typical());
        let check = now.as_nanos().saturating_add(self.paths.soonest(path));
        self.check = self.check.min(Instant::from_nanos(check));
        number
    }

    /// Makes a place free: a path's order goes on with what followed.
    fn forget(&mut self, place: usize) {
        let old = self.transmissions[place];
        if let Some(path) = self.paths.get_mut(old.path)
            && old.number != NONE
            && path.head == old.number
        {
            path.head = old.next;
            if old.next == NONE {
                path.tail = NONE;
            }
        }
    }

    /// The flags of the packet just recorded [REL-6].
    fn flags(&mut self, now: Instant, again: bool, wire: &Wire, outbox: &mut Outbox) -> u8 {
        self.unasked += 1;
        let enough = is_part(self.unasked, self.controller.window(), self.packet, self.window);
        // What only has to wait for its time comes soon enough.
        let more = self
            .candidate(outbox, wire.datagram)
            .is_some_and(|candidate| self.fits(now, candidate.bytes()));
        let ask = again || enough || !more;
        if ask {
            self.unasked = 0;
        }
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        flag(ask, FLAG_NOW) | flag(again, FLAG_AGAIN) | flag(wire.cover, FLAG_COVERED)
    }

    /// Whether an ACK speaks only of packets that were sent.
    fn sensible(&self, next: u64, words: &[U64]) -> bool {
        let highest = words.iter().enumerate().rev().find(|(_, bits)| bits.get() != 0);
        highest.is_none_or(|(word, bits)| {
            next + 64 * (word as u64 + 1) - u64::from(bits.get().leading_zeros()) < self.next
        })
    }

    /// A packet arrived; its bytes if that is news.
    fn mark(&mut self, packet: u64, outbox: &mut Outbox) -> u64 {
        let at = self.slot(packet);
        let slot = self.slots[at];
        if !matches!(slot.state, State::InFlight | State::Lost) {
            return 0;
        }
        self.slots[at].state = State::Acknowledged;
        outbox.acknowledged(slot.message);
        let place = self.place(slot.transmission);
        let transmission = self.transmissions[place];
        if slot.state == State::InFlight {
            self.land(place);
        }
        u64::from(transmission.bytes)
    }

    /// A transmission is no longer in flight.
    fn land(&mut self, place: usize) {
        let transmission = &mut self.transmissions[place];
        if std::mem::take(&mut transmission.in_flight) {
            self.in_flight -= 1;
            self.in_flight_bytes -= u64::from(transmission.bytes);
            if let Some(path) = self.paths.get_mut(transmission.path) {
                path.in_flight -= 1;
            }
        }
    }

    /// The peer did not take a packet [REF-3].
    fn refuse(&mut self, refusal: &Refused, outbox: &mut Outbox) {
        let packet = self.whole(refusal.sequence.get());
        if packet < self.lowest || packet >= self.next {
            return;
        }
        let at = self.slot(packet);
        let slot = self.slots[at];
        // Refusals are repeated until the VOID has arrived.
        if slot.refused || !matches!(slot.state, State::InFlight | State::Lost) {
            return;
        }
        outbox.fail(slot.message, Failure::Refused(Refusal::from_code(refusal.reason)));
        self.slots[at].refused = true;
        // A VOID takes its place at once [REF-4].
        if slot.state == State::InFlight {
            self.land(self.place(slot.transmission));
            self.slots[at].state = State::Lost;
            self.lost.push_back(packet);
        }
    }

    /// What a path brought: a sample of its round-trip time, and packets that others overtook [REL-7].
    fn echo(&mut self, now: Instant, echo: &Echo) {
        let Some(path) = self.paths.get(echo.path) else {
            return;
        };
        let number = whole(echo.transmission.get(), self.next_transmission);
        let transmission = self.transmissions[self.place(number)];
        // An old echo, repeated or late, gives no sample [SEC-6].
        if number < path.echoed || transmission.number != number || transmission.path != echo.path {
            return;
        }
        let marked = echo.marked.get() != path.marked;
        if number >= self.arrived {
            self.arrived = number + 1;
            self.arrived_of = transmission.at;
            self.took = nanos(now.since(transmission.at));
        }
        if let Some(path) = self.paths.get_mut(echo.path) {
            path.echoed = number + 1;
            path.marked = echo.marked.get();
        }
        let delay = Duration::from_nanos(u64::from(echo.delay.get()) * 64);
        let round_trip = now.since(transmission.at).saturating_sub(delay);
        let shortest = self.paths.echo(now, echo.path, round_trip);
        // A probe of a path out of use says nothing about those that carry the packets.
        if !self.paths.is_at_rest(echo.path) {
            let sample = Sample {
                round_trip,
                shortest,
                marked,
            };
            self.controller.echo(now, sample);
        }
        let patience = self.paths.patience(echo.path);
        self.lose_until(now, echo.path, |earlier| {
            earlier.number < number
                && (earlier.order + OVERTAKEN <= transmission.order || now.since(earlier.at) > patience)
        });
    }

    /// Gives up the oldest packets in flight on a path for as long as `lost` says so.
    fn lose_until(&mut self, now: Instant, number: u8, lost: impl Fn(&Transmission) -> bool) {
        loop {
            let Some(head) = self.paths.get(number).map(|path| path.head) else {
                return;
            };
            if head == NONE {
                return;
            }
            let place = self.place(head);
            let transmission = self.transmissions[place];
            if transmission.number == head && transmission.in_flight {
                if !lost(&transmission) {
                    return;
                }
                self.lose(now, place);
            }
            let next = if transmission.number == head {
                transmission.next
            } else {
                NONE
            };
            if let Some(path) = self.paths.get_mut(number) {
                path.head = next;
                if next == NONE {
                    path.tail = NONE;
                }
            }
        }
    }

    fn lose(&mut self, now: Instant, place: usize) {
        self.land(place);
        let transmission = self.transmissions[place];
        let slot = self.slot(transmission.packet);
        self.slots[slot].state = State::Lost;
        self.lost.push_back(transmission.packet);
        let path = self.paths.get(transmission.path);
        let heard = path.is_some_and(|path| path.echoed > transmission.number);
        if self.paths.lose(now, transmission.path) {
            self.controller.lost(now, u64::from(transmission.bytes), heard);
        }
    }

    /// Gives up what is older than its path's timeout, and finds when to look again.
    fn expire(&mut self, now: Instant) {
        let mut check = NEVER;
        let arrived = self.arrived;
        for path in 0..self.paths.count() {
            let timeout = self.paths.timeout(path);
            let overtaken = self.paths.overtaken(path, self.took);
            let echoed = self.paths.get(path).map_or(0, |path| path.echoed);
            let patience = self.paths.patience(path).min(overtaken);
            let limit = |transmission: &Transmission| {
                // While nothing arrives that was sent later, the receiver may only be late.
                let patience = if transmission.number < echoed {
                    patience
                } else if transmission.number < arrived {
                    overtaken
                } else {
                    timeout
                };
                transmission.at + patience.min(timeout)
            };
            self.lose_until(now, path, |transmission| limit(transmission) <= now);
            let head = self.paths.get(path).map_or(NONE, |path| path.head);
            if head != NONE {
                // What arrives meanwhile can make the shorter limit hold.
                let transmission = &self.transmissions[self.place(head)];
                let soon = transmission.at + overtaken;
                let at = if soon > now {
                    soon.min(limit(transmission))
                } else {
                    limit(transmission)
                };
                check = check.min(at);
            }
        }
        self.check = check.min(self.probe(now).unwrap_or(NEVER));
    }

    /// Sends the newest packet again if nothing tells of it; when that is due if it is not yet [REL-13].
    fn probe(&mut self, now: Instant) -> Option<Instant> {
        let place = self.place(self.next_transmission.checked_sub(1)?);
        let newest = self.transmissions[place];
        // So small a window says that the network is full, and not that it loses.
        let small = self.controller.window() < 2 * self.packet;
        if !newest.in_flight || small || self.next_transmission == self.probed || !self.lost.is_empty() {
            return None;
        }
        let due = newest.at + self.paths.overtaken(newest.path, 0);
        if due > now {
            return Some(due);
        }
        self.land(place);
        let slot = self.slot(newest.packet);
        self.slots[slot].state = State::Lost;
        self.lost.push_back(newest.packet);
        self.probed = self.next_transmission + 1;
        None
    }
}

/// Whether so many packets, one at least, are one of [`ASKS`] parts of the smaller of two windows, one of bytes and one of packets; without a division.
#[inline]
fn is_part(packets: u64, bytes: u64, packet: u64, window: u64) -> bool {
    (packets + 1).saturating_mul(ASKS * packet.max(1)) > bytes || packets >= window / ASKS
}

/// Fills the base header and the tag around what the outbox wrote.
fn seal(wire: &Wire, flags: u8, packet: u64, transmission: u64, path: u8, written: Written, out: &mut [u8]) {
    let length = written.header + TAG_BYTES + written.payload;
    let mut base: Base = base(DATA, flags, length, wire.context, wire.epoch);
    base.sequence = U32::new(low(packet));
    base.transmission = U32::new(low(transmission));
    base.path = path;
    base.operation = written.operation;
    let ends = written.ends;
    let blocks = Front { base, ends }.blocks();
    let upper = high(packet).to_be_bytes();
    let (header, rest) = out.split_at_mut(written.header);
    let (tag, payload) = rest.split_at_mut(TAG_BYTES);
    let (place, fields) = header.split_at_mut(size_of::<Front>());
    place.copy_from_slice(blocks.map(u128::to_le_bytes).as_flattened());
    // [SEC-3]
    let whole = if wire.cover {
        wire.out.tag(header, &upper, &payload[..written.payload])
    } else {
        wire.out.tag_blocks(blocks, fields, upper)
    };
    tag.copy_from_slice(&whole);
}

/// What fills the place of a packet that will not come [REF-4].
const VOID: Written = Written {
    operation: code::VOID,
    ends: Ends {
        source: U16::ZERO,
        destination: U16::ZERO,
        qkey: U32::ZERO,
        immediate: U32::ZERO,
    },
    header: SEND_BYTES - TAG_BYTES,
    payload: 0,
};

/// Transmissions of a path that may overtake an earlier one of it.
const OVERTAKEN: u64 = 3;
/// ACKs asked for in a window. What they acknowledge leaves together, and when one is lost the next must do; with fewer a window is not all used.
const ASKS: u64 = 6;
/// Packets that go within the silence limit, however small the window is [CC-4].
const LEAST_PACKETS: u32 = 8;
/// The longest time between two single packets to a silent peer.
const LONGEST_SILENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_part_is_that_of_the_division(
            packets in 1u64..3_000,
            bytes in 0u64..80_000_000,
            packet in 0u64..70_000,
            window in (4u32..14).prop_map(|bits| 1u64 << bits),
        ) {
            // [REL-6]
            let part = (bytes / packet.max(1)).min(window) / ASKS;
            prop_assert_eq!(is_part(packets, bytes, packet, window), packets >= part.max(1));
            // Where it begins.
            let first = part.max(1);
            prop_assert!(is_part(first, bytes, packet, window));
            prop_assert!(first == 1 || !is_part(first - 1, bytes, packet, window));
        }
    }
}
