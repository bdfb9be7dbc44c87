//! Queries that wait for the upstream resolver, which the card's own process asks.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use trinic_wire::time::Instant;

use crate::dns::{Client, Outcome};
use crate::stack::ConnectionId;

/// A query for the upstream resolver: to be sent as it is, over UDP or TCP. Where an answer over UDP is
/// truncated, asking again over TCP is the sender's to do; a truncated answer is passed on as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamQuery {
    /// Names the query in [`crate::Responder::handle_upstream`].
    pub token: u64,
    /// The DNS message.
    pub bytes: Vec<u8>,
}

/// Queries of every interface that may wait, however many of the others do.
const QUERIES_SHARE: usize = 2;

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    Udp { from: SocketAddr, to: SocketAddr },
    Tcp(ConnectionId),
}

/// A query that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) interface: Arc<str>,
    pub(crate) to: ReplyTo,
    pub(crate) client: Box<Client>,
    id: u16,
    deadline: Instant,
}

/// All queries that wait, oldest first: tokens count up, and all wait equally long.
#[derive(Debug)]
pub(crate) struct Upstream {
    waiting: BTreeMap<u64, Waiting>,
    unsent: VecDeque<UpstreamQuery>,
    next_token: u64,
    per_interface: usize,
    total: usize,
    timeout: Duration,
}

impl Upstream {
    pub(crate) fn new(per_interface: usize, total: usize, timeout: Duration) -> Self {
        Self {
            waiting: BTreeMap::new(),
            unsent: VecDeque::new(),
            next_token: 1,
            per_interface,
            total,
            timeout,
        }
    }

    /// Queries that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Sends a query under `id`, or gives the client back when too many wait.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        interface: &Arc<str>,
        to: ReplyTo,
        client: Box<Client>,
        id: u16,
    ) -> Result<(), Box<Client>> {
        let of_interface = self.waiting.values().filter(|w| w.interface == *interface);
        let of_interface = of_interface.count();
        let is_full = self.waiting.len() >= self.total && of_interface >= QUERIES_SHARE;
        if is_full || of_interface >= self.per_interface {
            return Err(client);
        }
        let Some(bytes) = client.query(id) else {
            return Err(client);
        };
        let token = self.next_token;
        self.next_token += 1;
        self.unsent.push_back(UpstreamQuery { token, bytes });
        self.waiting.insert(
            token,
            Waiting {
                interface: interface.clone(),
                to,
                client,
                id,
                deadline: now + self.timeout,
            },
        );
        Ok(())
    }

    /// A query to send.
    pub(crate) fn poll(&mut self) -> Option<UpstreamQuery> {
        // One that nobody waits for any more is not worth sending.
        loop {
            let query = self.unsent.pop_front()?;
            if self.waiting.contains_key(&query.token) {
                return Some(query);
            }
        }
    }

    /// Takes an answer; `None` when it answers nothing. The query then waits on: a forged answer must
    /// not end it.
    pub(crate) fn answer(&mut self, token: u64, bytes: &[u8]) -> Option<(Waiting, Outcome)> {
        let waiting = self.waiting.get(&token)?;
        let outcome = waiting.client.answer(waiting.id, bytes)?;
        let waiting = self.waiting.remove(&token)?;
        Some((waiting, outcome))
    }

    /// Whether the query still waits for its answer.
    pub(crate) fn is_waiting(&self, token: u64) -> bool {
        self.waiting.contains_key(&token)
    }

    /// A query that has waited too long.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Waiting> {
        let oldest = self.waiting.first_entry()?;
        (oldest.get().deadline <= now).then(|| oldest.remove())
    }

    /// When the oldest query has waited too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().next().map(|waiting| waiting.deadline)
    }

    /// Forgets the queries of an interface.
    pub(crate) fn forget(&mut self, interface: &str) {
        self.waiting.retain(|_, waiting| &*waiting.interface != interface);
        self.unsent
            .retain(|query| self.waiting.contains_key(&query.token));
    }
}
