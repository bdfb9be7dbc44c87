//! A scenario's messages: who sends what to whom and when, how long each takes, and what becomes of it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ledger::{Ledger, Message, MessageEvent, MessageId, Resolution};
use crate::queue::EventQueue;
use crate::random::Random;
use crate::{Endpoint, Histogram, HostId, Instant, World};

/// An endpoint that carries messages.
pub trait Messenger: Endpoint {
    /// Takes a message to send.
    ///
    /// # Errors
    ///
    /// [`Busy`] if there is no room for it now. It is offered again after the next event of this endpoint.
    fn offer(&mut self, now: Instant, message: Message) -> Result<(), Busy>;

    /// The next thing that the endpoint has to tell. Called after every other call until it gives `None`.
    fn poll_event(&mut self) -> Option<MessageEvent>;
}

/// There is no room for a message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("There is no room for a message now")]
pub struct Busy;

/// Messages of one host to another.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// The sender.
    pub from: HostId,
    /// The receiver.
    pub to: HostId,
    /// The length of each message.
    pub size_bytes: u32,
    /// How many messages.
    pub count: u64,
    /// When they are offered.
    pub pace: Pace,
    /// When the first is offered.
    pub start: Instant,
}

/// When a flow offers its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Closed loop: this many are open at a time, and the end of one is the start of the next.
    Outstanding(u32),
    /// Open loop: one each time this has passed, whatever became of the earlier ones.
    Every(Duration),
    /// Open loop: a Poisson process with this mean gap.
    Poisson(Duration),
}

/// Offers the messages of flows to the endpoints of a world and keeps the account.
#[derive(Debug)]
pub struct Driver {
    flows: Vec<FlowState>,
    /// When open-loop flows offer next, and closed-loop ones begin.
    arrivals: EventQueue<u32>,
    /// Of each host the messages that its endpoint had no room for.
    waiting: Vec<VecDeque<Message>>,
    ledger: Ledger,
    /// Messages that are not resolved, and those not yet offered.
    unfinished: u64,
    report: Report,
    /// Closed loops that may offer more.
    refills: VecDeque<u32>,
    events: Vec<MessageEvent>,
}

#[derive(Debug)]
struct FlowState {
    flow: Flow,
    random: Random,
    left: u64,
    open: u64,
    /// Whether `arrivals` has its next time.
    expected: bool,
    down: bool,
    delivered_bytes: u64,
    last_delivery: Instant,
}

/// What a workload came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages offered.
    pub offered: u64,
    /// Messages that completed.
    pub completed: u64,
    /// Messages that failed with an error.
    pub failed: u64,
    /// Messages whose sender crashed before it knew.
    pub aborted: u64,
    /// Messages that receivers got, each once.
    pub delivered: u64,
    /// Bytes of those.
    pub delivered_bytes: u64,
    /// When the first was offered.
    pub began: Instant,
    /// When the last was delivered.
    pub ended: Instant,
    /// When the first flow had all of its messages delivered, and the bytes delivered of all flows until then.
    pub first_done: Option<(Instant, u64)>,
    /// Nanoseconds from offer to completion.
    pub latency_ns: Histogram,
    /// Nanoseconds from offer to delivery.
    pub delivery_ns: Histogram,
}

impl Report {
    /// Bits of messages delivered in a second, from the first offer to the last delivery.
    pub fn goodput_bps(&self) -> u64 {
        rate_bps(self.delivered_bytes, self.ended - self.began)
    }

    /// The same until the first flow was done: as long as all of them ran.
    pub fn together_bps(&self) -> u64 {
        self.first_done
            .map_or(0, |(at, bytes)| rate_bps(bytes, at - self.began))
    }
}

impl Driver {
    /// A workload of these flows; `seed` makes the gaps of Poisson flows.
    pub fn new(seed: u64, flows: &[Flow]) -> Self {
        let mut arrivals = EventQueue::new();
        for (index, flow) in (0_u32..).zip(flows) {
            arrivals.push(flow.start, index);
        }
        let states = flows.iter().enumerate().map(|(index, flow)| FlowState {
            flow: *flow,
            random: Random::fork(seed, &format!("flow {index}")),
            left: flow.count,
            open: 0,
            expected: true,
            down: false,
            delivered_bytes: 0,
            last_delivery: flow.start,
        });
        Self {
            flows: states.collect(),
            arrivals,
            waiting: Vec::new(),
            ledger: Ledger::default(),
            unfinished: flows.iter().map(|flow| flow.count).sum(),
            report: Report {
                began: flows.iter().map(|flow| flow.start).min().unwrap_or_default(),
                ..Report::default()
            },
            refills: VecDeque::new(),
            events: Vec::new(),
        }
    }

    /// Lets the world go on until every message of every flow is resolved, or until `until`; true if all are.
    pub fn run<M: Messenger>(&mut self, world: &mut World<M>, until: Instant) -> bool {
        self.advance(world, until, true)
    }

    /// Lets the world go on until `until`, whatever is resolved: what is still on the way then arrives, and
    /// must be told from what is new.
    pub fn settle<M: Messenger>(&mut self, world: &mut World<M>, until: Instant) {
        self.advance(world, until, false);
        world.wait_until(until);
    }

    /// Crashes a host: its open messages owe no answer, and its flows stand still.
    pub fn crash<M: Messenger>(&mut self, world: &mut World<M>, host: HostId) {
        self.pump(world, host);
        world.crash(host);
        let open: Vec<(MessageId, u32)> = self
            .ledger
            .entries()
            .iter()
            .filter(|entry| entry.from == host && entry.resolution == Resolution::Pending)
            .map(|entry| (entry.message.id, entry.flow))
            .collect();
        for (id, flow) in open {
            self.ledger.abort(id);
            self.report.aborted += 1;
            self.unfinished -= 1;
            self.flows[flow as usize].open -= 1;
        }
        if let Some(waiting) = self.waiting.get_mut(host.index()) {
            waiting.clear();
        }
        for state in &mut self.flows {
            state.down |= state.flow.from == host;
        }
    }

    /// Starts a host again with a new endpoint; its flows go on.
    pub fn restart<M: Messenger>(&mut self, world: &mut World<M>, host: HostId, endpoint: M) {
        world.start(host, endpoint);
        for index in 0..self.flows.len() {
            let state = &mut self.flows[index];
            if state.flow.from == host && state.down {
                state.down = false;
                if !state.expected {
                    state.expected = true;
                    self.arrivals.push(world.now(), narrow(index));
                }
            }
        }
    }

    /// Whether every message of every flow is resolved.
    pub const fn is_done(&self) -> bool {
        self.unfinished == 0
    }

    /// The account of all messages.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the workload came to so far.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Goodput of each flow in bits per second, from its start to its last delivery.
    pub fn flow_goodputs_bps(&self) -> Vec<u64> {
        let rate =
            |state: &FlowState| rate_bps(state.delivered_bytes, state.last_delivery - state.flow.start);
        self.flows.iter().map(rate).collect()
    }

    fn advance<M: Messenger>(&mut self, world: &mut World<M>, until: Instant, while_open: bool) -> bool {
        while !(while_open && self.is_done()) {
            let arrival = self.arrivals.next_at();
            let event = world.next_event();
            let next = match (arrival, event) {
                (Some(arrival), Some(event)) => arrival.min(event),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => break,
            };
            if next > until {
                break;
            }
            if arrival == Some(next)
                && let Some((_, index)) = self.arrivals.pop()
            {
                world.wait_until(next);
                self.arrive(world, index);
            } else if let Some(host) = world.step().and_then(|step| step.host) {
                self.pump(world, host);
            }
        }
        self.is_done()
    }

    /// A flow's time to offer has come.
    fn arrive<M: Messenger>(&mut self, world: &mut World<M>, index: u32) {
        let state = &mut self.flows[index as usize];
        state.expected = false;
        if state.down {
            return;
        }
        let gap = match state.flow.pace {
            Pace::Outstanding(_) => None,
            Pace::Every(gap) => Some(gap),
            Pace::Poisson(mean) => {
                let mean_ns = u64::try_from(mean.as_nanos()).unwrap_or(u64::MAX);
                Some(Duration::from_nanos(state.random.exponential_ns(mean_ns)))
            }
        };
        let from = state.flow.from;
        match gap {
            None => self.refills.push_back(index),
            Some(gap) if state.left > 0 => {
                state.expected = true;
                self.arrivals.push(world.now() + gap, index);
                self.offer(world, index);
            }
            Some(_) => {}
        }
        self.pump(world, from);
    }

    /// Books what an endpoint has to tell, and offers what closed loops may then offer.
    fn pump<M: Messenger>(&mut self, world: &mut World<M>, host: HostId) {
        self.drain(world, host);
        while let Some(index) = self.refills.pop_front() {
            let state = &self.flows[index as usize];
            if let Pace::Outstanding(most) = state.flow.pace
                && state.left > 0
                && state.open < u64::from(most)
                && !state.down
            {
                self.refills.push_front(index);
                self.offer(world, index);
            }
        }
    }

    fn offer<M: Messenger>(&mut self, world: &mut World<M>, index: u32) {
        let state = &mut self.flows[index as usize];
        let flow = state.flow;
        state.left -= 1;
        state.open += 1;
        self.report.offered += 1;
        let message = self
            .ledger
            .offer(world.now(), index, flow.from, flow.to, flow.size_bytes);
        let from = flow.from.index();
        if from >= self.waiting.len() {
            self.waiting.resize_with(from + 1, VecDeque::new);
        }
        // First come, first served: what waits goes first.
        self.waiting[from].push_back(message);
        self.offer_waiting(world, flow.from);
        self.drain(world, flow.from);
    }

    fn offer_waiting<M: Messenger>(&mut self, world: &mut World<M>, host: HostId) {
        let Some(waiting) = self.waiting.get_mut(host.index()) else {
            return;
        };
        while let Some(message) = waiting.front() {
            let taken = world.with_endpoint(host, |endpoint, now| endpoint.offer(now, *message));
            if taken != Some(Ok(())) {
                break;
            }
            waiting.pop_front();
        }
    }

    /// Books what an endpoint has to tell, until it has nothing more.
    fn drain<M: Messenger>(&mut self, world: &mut World<M>, host: HostId) {
        let mut events = std::mem::take(&mut self.events);
        loop {
            if let Some(endpoint) = world.endpoint_mut(host) {
                events.extend(std::iter::from_fn(|| endpoint.poll_event()));
            }
            if events.is_empty() {
                break;
            }
            for event in events.drain(..) {
                self.book(world.now(), host, event);
            }
            // The endpoint may have been waiting for its events to be taken.
            world.with_endpoint(host, |_, _| ());
            self.offer_waiting(world, host);
        }
        self.events = events;
    }

    fn book(&mut self, now: Instant, host: HostId, event: MessageEvent) {
        let Some(entry) = self.ledger.book(host, event) else {
            return;
        };
        let took_ns = now.as_nanos() - entry.offered_at.as_nanos();
        let state = &mut self.flows[entry.flow as usize];
        match event {
            MessageEvent::Delivered { size_bytes, .. } => {
                self.report.delivered += 1;
                self.report.delivered_bytes += u64::from(size_bytes);
                self.report.ended = now;
                self.report.delivery_ns.record(took_ns);
                state.delivered_bytes += u64::from(size_bytes);
                state.last_delivery = now;
                let all = state.flow.count.saturating_mul(state.flow.size_bytes.into());
                if state.delivered_bytes >= all && self.report.first_done.is_none() {
                    self.report.first_done = Some((now, self.report.delivered_bytes));
                }
                return;
            }
            MessageEvent::Completed { .. } => {
                self.report.completed += 1;
                self.report.latency_ns.record(took_ns);
            }
            MessageEvent::Failed { .. } => self.report.failed += 1,
        }
        state.open -= 1;
        self.unfinished -= 1;
        self.refills.push_back(entry.flow);
    }
}

fn rate_bps(bytes: u64, time: Duration) -> u64 {
    let rate = (u128::from(bytes) * 8 * 1_000_000_000).checked_div(time.as_nanos());
    u64::try_from(rate.unwrap_or(0)).unwrap_or(u64::MAX)
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
