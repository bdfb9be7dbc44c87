//! The sending end of a connection: windows, loss and the timer.

use std::collections::VecDeque;
use std::time::Duration;

use super::segment::{END_BYTES, Kind, Segment};
use super::{Config, SERVICE_PORT, Stats};
use crate::ledger::{Message, MessageEvent, MessageId};
use crate::random::mix;
use crate::workload::Busy;
use crate::{Ecn, HostId, Instant, Transmit};

#[derive(Debug)]
pub(crate) struct Sender {
    to: HostId,
    port: u16,
    nonce: u32,
    /// The connection's tag, once it is open.
    tag: Option<u32>,
    /// When the last request to open went out, and how many did.
    opened: Option<Instant>,
    opens: u32,
    /// The first byte that is not acknowledged, the next to send, the highest that was sent, the end of all
    /// messages: places in the stream, in this order but that `next` goes back to `first` at a loss.
    first: u64,
    next: u64,
    highest: u64,
    end: u64,
    /// Messages that are not acknowledged, with where each ends.
    messages: VecDeque<(u64, MessageId)>,
    window_bytes: u64,
    threshold_bytes: u64,
    duplicates: u32,
    /// What was sent when the last loss was found: until it is acknowledged, the window is not reduced again.
    recover: u64,
    /// Nothing was acknowledged since the last loss was found: duplicates still come of what was sent before.
    held: bool,
    timer: Timer,
}

impl Sender {
    pub(crate) fn new(config: &Config, to: HostId, port: u16, nonce: u32) -> Self {
        let segment_bytes = u64::from(config.segment_bytes);
        Self {
            to,
            port,
            nonce,
            tag: None,
            opened: None,
            opens: 0,
            first: 0,
            next: 0,
            highest: 0,
            end: 0,
            messages: VecDeque::new(),
            window_bytes: segment_bytes * u64::from(config.initial_window_segments),
            threshold_bytes: u64::MAX,
            duplicates: 0,
            recover: 0,
            held: false,
            timer: Timer::new(config),
        }
    }

    pub(crate) const fn to(&self) -> HostId {
        self.to
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) const fn window_bytes(&self) -> u64 {
        self.window_bytes
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.timer.deadline
    }

    /// Whether a segment with this tag is of this connection, open or opening.
    pub(crate) fn is_tag(&self, tag: u32) -> bool {
        tag == self.tag.unwrap_or(self.nonce)
    }

    pub(crate) fn into_messages(self) -> impl Iterator<Item = MessageId> {
        self.messages.into_iter().map(|(_, id)| id)
    }

    /// Puts a message at the end of the stream. One that is larger than the buffer goes into an empty one.
    pub(crate) fn offer(&mut self, config: &Config, message: Message) -> Result<(), Busy> {
        let framed = u64::from(message.size_bytes) + u64::try_from(END_BYTES).unwrap_or(0);
        let held = self.end - self.first;
        if held > 0 && held + framed > config.send_buffer_bytes {
            return Err(Busy);
        }
        self.end += framed;
        self.messages.push_back((self.end, message.id));
        Ok(())
    }

    /// The other end opened the connection.
    pub(crate) fn accepted(&mut self, now: Instant, config: &Config, segment: &Segment) {
        if self.tag.is_some() || segment.tag != self.nonce {
            return;
        }
        self.tag = Some(connection_tag(self.nonce, segment.seq));
        // A repeated request does not tell which of them was answered (Karn; RFC 6298 §3).
        if self.opens == 1
            && let Some(at) = self.opened
        {
            self.timer.sample(config, now - at);
        }
        self.timer.progress(now, config, false);
    }

    /// The other end has everything up to `place`.
    pub(crate) fn acknowledged(
        &mut self,
        now: Instant,
        config: &Config,
        place: u64,
        stats: &mut Stats,
        events: &mut VecDeque<MessageEvent>,
    ) {
        if place > self.highest || place < self.first {
            return;
        }
        if place == self.first {
            self.duplicate(config, stats);
            return;
        }
        let acknowledged = place - self.first;
        self.first = place;
        self.next = self.next.max(place);
        self.duplicates = 0;
        self.held = false;
        self.timer.acknowledged(now, config, place);
        self.timer.progress(now, config, self.next > self.first);
        while let Some((end, id)) = self.messages.front().copied()
            && end <= place
        {
            self.messages.pop_front();
            events.push_back(MessageEvent::Completed { id });
        }
        // RFC 5681 §3.1, equations 2 and 3.
        let segment_bytes = u64::from(config.segment_bytes);
        let more = if self.window_bytes < self.threshold_bytes {
            acknowledged.min(segment_bytes)
        } else {
            (segment_bytes * segment_bytes / self.window_bytes).max(1)
        };
        self.window_bytes = (self.window_bytes + more).min(config.window_bytes.max(segment_bytes));
    }

    /// What is due by now; true if the connection is dead.
    pub(crate) fn timeout(&mut self, now: Instant, config: &Config, stats: &mut Stats) -> bool {
        if self.timer.deadline.is_none_or(|at| at > now) {
            return false;
        }
        stats.timeouts += 1;
        if self.timer.expired(config) > config.timeouts_max {
            return true;
        }
        if self.tag.is_some() {
            // RFC 5681 §3.1, equation 4: a segment that is lost again does not halve the threshold again.
            if self.timer.timeouts == 1 {
                self.reduce(config);
            }
            self.recover = self.highest;
            self.go_back();
            self.window_bytes = u64::from(config.segment_bytes);
        } else {
            self.opened = None;
        }
        false
    }

    /// The next segment, if the windows let one out.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        config: &Config,
        stats: &mut Stats,
        payload: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let Some(tag) = self.tag else {
            return self.open(now, payload);
        };
        let flight = self.next - self.first;
        let mut length = u64::from(config.segment_bytes).min(self.end - self.next);
        // A segment goes out whole or not at all, but one may always be on its way.
        let window = self.window_bytes.min(config.window_bytes);
        if length == 0 || (flight > 0 && flight + length > window) {
            return None;
        }
        let from = self.messages.partition_point(|(end, _)| *end <= self.next);
        let last = self.messages.get(from + ENDS_MAX - 1).map(|(end, _)| *end);
        // More messages than a segment has room to name end a segment early.
        if let Some(last) = last {
            length = length.min(last - self.next);
        }
        let end = self.next + length;
        let ends = self.messages.range(from..).take_while(|(at, _)| *at <= end);
        let offset = |at: u64| u32::try_from(at - self.next).unwrap_or(u32::MAX);
        let segment = Segment {
            kind: Kind::Data,
            tag,
            seq: self.next,
            length_bytes: u32::try_from(length).unwrap_or(u32::MAX),
        };
        segment.emit(ends.map(|(at, id)| (offset(*at), *id)), payload);
        let stored = u64::try_from(payload.len() - super::segment::HEADER_BYTES).unwrap_or(0);
        stats.segments += 1;
        stats.sent_again += u64::from(self.next < self.highest);
        self.timer.sent(now, end, self.next >= self.highest);
        self.next = end;
        self.highest = self.highest.max(end);
        Some(self.to_wire(length.saturating_sub(stored)))
    }

    fn open(&mut self, now: Instant, payload: &mut Vec<u8>) -> Option<Transmit> {
        if self.opened.is_some() {
            return None;
        }
        self.opened = Some(now);
        self.opens += 1;
        self.timer.start(now);
        Segment {
            kind: Kind::Open,
            tag: self.nonce,
            seq: 0,
            length_bytes: 0,
        }
        .emit(std::iter::empty(), payload);
        Some(self.to_wire(0))
    }

    fn to_wire(&self, virtual_bytes: u64) -> Transmit {
        Transmit {
            destination: self.to,
            source_port: self.port,
            destination_port: SERVICE_PORT,
            ecn: Ecn::NotEct,
            virtual_bytes: u32::try_from(virtual_bytes).unwrap_or(u32::MAX),
        }
    }

    /// An acknowledgement that brought nothing: the third says that a segment is lost (RFC 5681 §3.2). One path keeps
    /// the order, so once something that was sent again is acknowledged, duplicates tell of another loss; the window is
    /// reduced for the first one only (RFC 6582). What is lost a second time before that is the timer's.
    fn duplicate(&mut self, config: &Config, stats: &mut Stats) {
        if self.next == self.first || self.held {
            return;
        }
        self.duplicates += 1;
        if self.duplicates == DUPLICATES {
            stats.fast_retransmits += 1;
            if self.first >= self.recover {
                self.reduce(config);
                self.window_bytes = self.threshold_bytes;
                self.recover = self.highest;
            }
            self.go_back();
        }
    }

    /// Half of what is on the way is the new threshold.
    fn reduce(&mut self, config: &Config) {
        let flight = self.next - self.first;
        self.threshold_bytes = (flight / 2).max(2 * u64::from(config.segment_bytes));
    }

    /// Sends everything again from the first byte that is not acknowledged.
    const fn go_back(&mut self) {
        self.next = self.first;
        self.held = true;
        self.duplicates = 0;
        self.timer.timed = None;
    }
}

/// The retransmission timer (RFC 6298).
#[derive(Debug)]
struct Timer {
    deadline: Option<Instant>,
    rto: Duration,
    smoothed: Option<Duration>,
    variation: Duration,
    /// The end of a segment that was sent once, and when: one at a time is measured.
    timed: Option<(u64, Instant)>,
    /// Timeouts since something was acknowledged.
    timeouts: u32,
}

impl Timer {
    const fn new(config: &Config) -> Self {
        Self {
            deadline: None,
            rto: config.rto_initial,
            smoothed: None,
            variation: Duration::ZERO,
            timed: None,
            timeouts: 0,
        }
    }

    fn start(&mut self, now: Instant) {
        self.deadline = Some(now + self.rto);
    }

    fn sent(&mut self, now: Instant, end: u64, first_time: bool) {
        if self.timed.is_none() && first_time {
            self.timed = Some((end, now));
        }
        if self.deadline.is_none() {
            self.start(now);
        }
    }

    fn acknowledged(&mut self, now: Instant, config: &Config, place: u64) {
        if let Some((end, at)) = self.timed
            && place >= end
        {
            self.timed = None;
            self.sample(config, now - at);
        }
    }

    /// Something was acknowledged: the timer runs anew if something else is on the way (§5.2, §5.3), and without what
    /// earlier timeouts added to it, as time stamps make it.
    fn progress(&mut self, now: Instant, config: &Config, more: bool) {
        self.timeouts = 0;
        self.compute(config);
        self.deadline = more.then(|| now + self.rto);
    }

    /// The timer ran out (§5.5, §5.6); tells how often in a row.
    fn expired(&mut self, config: &Config) -> u32 {
        self.timeouts += 1;
        self.rto = (self.rto * 2).min(config.rto_max);
        self.deadline = None;
        self.timeouts
    }

    /// A round trip was measured (§2.2, §2.3).
    fn sample(&mut self, config: &Config, rtt: Duration) {
        let (smoothed, variation) = match self.smoothed {
            None => (rtt, rtt / 2),
            Some(smoothed) => (
                (smoothed * 7 + rtt) / 8,
                (self.variation * 3 + smoothed.abs_diff(rtt)) / 4,
            ),
        };
        self.smoothed = Some(smoothed);
        self.variation = variation;
        self.compute(config);
    }

    fn compute(&mut self, config: &Config) {
        self.rto = self.smoothed.map_or(config.rto_initial, |smoothed| {
            (smoothed + self.variation * 4).clamp(config.rto_min, config.rto_max)
        });
    }
}

/// What tells one connection from every other between the same ports: both ends' numbers in one, so that neither
/// end's earlier life is taken for this one.
pub(crate) const fn connection_tag(opener: u32, nonce: u64) -> u32 {
    let [a, b, c, d, ..] = mix(nonce ^ mix(opener as u64)).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Acknowledgements without progress that say that a segment is lost.
///
/// Source: RFC 5681 §3.2.
const DUPLICATES: u32 = 3;

/// Messages that end in one segment.
const ENDS_MAX: usize = 700;
