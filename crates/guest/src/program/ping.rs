//! Echo requests with the time of each reply.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use trinic_wire::Protocol;
use trinic_wire::packet::FiveTuple;
use trinic_wire::time::Instant;

use super::{Context, Next, Reporter};
use crate::ProgramId;
use crate::event::{EventKind, Events, PingSummary};
use crate::icmp::{self, Echo};

/// Most requests that wait for replies; after that the oldest counts as lost.
const MAX_WAITING: usize = 1024;

/// Least time between requests, so that a ping is no flood.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Options {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) count: Option<u32>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) data_bytes: usize,
    pub(super) ttl: u8,
    pub(super) identifier: u16,
}

#[derive(Debug)]
pub(super) struct Ping {
    options: Options,
    next: Instant,
    sequence: u16,
    waiting: VecDeque<(u16, Instant)>,
    sent: u32,
    received: u32,
    min: Duration,
    max: Duration,
    total: Duration,
}

impl Ping {
    pub(super) fn new(now: Instant, options: Options) -> Self {
        Self {
            options,
            next: now,
            sequence: 0,
            waiting: VecDeque::new(),
            sent: 0,
            received: 0,
            min: Duration::MAX,
            max: Duration::ZERO,
            total: Duration::ZERO,
        }
    }

    pub(super) fn poll(&mut self, id: ProgramId, cx: &mut Context<'_>) -> Next {
        while let Some(&(sequence, sent)) = self.waiting.front()
            && (sent + self.options.timeout <= cx.now || self.waiting.len() > MAX_WAITING)
        {
            self.waiting.pop_front();
            cx.events.push(id, cx.now, EventKind::PingTimeout { sequence });
        }
        if self.has_more() && self.next <= cx.now {
            self.send(cx);
        }
        if !self.has_more() && self.waiting.is_empty() {
            let summary = self.summary();
            cx.events.push(id, cx.now, EventKind::PingDone(summary));
            return Next::Over;
        }
        let lost = self.waiting.front().map(|(_, sent)| *sent + self.options.timeout);
        let send = self.has_more().then_some(self.next);
        Next::Wait([lost, send].into_iter().flatten().min())
    }

    pub(super) fn handle_echo(
        &mut self,
        now: Instant,
        id: ProgramId,
        tuple: &FiveTuple,
        sequence: u16,
        ttl: u8,
        events: &mut Events,
    ) {
        if !self.is_mine(&tuple.reversed()) {
            return;
        }
        let Some(index) = self.waiting.iter().position(|(s, _)| *s == sequence) else {
            return;
        };
        let Some((_, sent)) = self.waiting.remove(index) else {
            return;
        };
        let rtt = now - sent;
        self.received += 1;
        self.min = self.min.min(rtt);
        self.max = self.max.max(rtt);
        self.total += rtt;
        let reply = EventKind::PingReply {
            sequence,
            rtt,
            from: tuple.source,
            ttl,
        };
        events.push(id, now, reply);
    }

    pub(super) fn handle_error(
        &mut self,
        now: Instant,
        id: ProgramId,
        tuple: &FiveTuple,
        (from, icmp_type, code): Reporter,
        events: &mut Events,
    ) {
        if self.is_mine(tuple) {
            let error = EventKind::PingUnreachable {
                from,
                icmp_type,
                code,
            };
            events.push(id, now, error);
        }
    }

    fn is_mine(&self, request: &FiveTuple) -> bool {
        let protocol = if self.options.destination.is_ipv6() {
            Protocol::ICMPV6
        } else {
            Protocol::ICMPV4
        };
        request.protocol == protocol
            && request.source == self.options.source
            && request.destination == self.options.destination
            && request.source_port == self.options.identifier
    }

    fn has_more(&self) -> bool {
        self.options.count.is_none_or(|count| self.sent < count)
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        let data = vec![0x5a; self.options.data_bytes];
        let echo = Echo {
            identifier: self.options.identifier,
            sequence: self.sequence,
            data: &data,
        };
        let Options {
            source,
            destination,
            ttl,
            ..
        } = self.options;
        // The families agree, since the guest chose or checked the source.
        if let Ok(packet) = icmp::packet(source, destination, ttl, echo, false) {
            cx.packets.push(packet);
        }
        self.waiting.push_back((self.sequence, cx.now));
        self.sequence = self.sequence.wrapping_add(1);
        self.sent = self.sent.saturating_add(1);
        // Requests that were due while nobody polled are not made up for.
        self.next = cx.now.max(self.next) + self.options.interval.max(MIN_INTERVAL);
    }

    fn summary(&self) -> PingSummary {
        PingSummary {
            sent: self.sent,
            received: self.received,
            min: if self.received > 0 {
                self.min
            } else {
                Duration::ZERO
            },
            mean: self.total.checked_div(self.received).unwrap_or(Duration::ZERO),
            max: self.max,
        }
    }
}
