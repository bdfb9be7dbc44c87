//! TCP clients: a probe, a bulk send, an exchange.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{self, State};
use trinic_wire::Protocol;
use trinic_wire::packet::FiveTuple;
use trinic_wire::time::Instant;

use super::{Context, Next, ProgramError, Reporter, is_final};
use crate::ProgramId;
use crate::event::{EventKind, Events, Transfer};
use crate::stack::Stack;

/// Send buffer of a bulk transfer.
const SEND_BYTES: usize = 1 << 20;

/// Buffers of the other clients.
const SMALL_BYTES: usize = 64 << 10;

/// How long a finished connection may take to say goodbye.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) enum Task {
    Probe,
    Send {
        bytes: u64,
        left: u64,
    },
    Exchange {
        request: Vec<u8>,
        sent: usize,
        response: Vec<u8>,
        limit: usize,
    },
}

impl Task {
    pub(super) fn send(bytes: u64) -> Self {
        Self::Send { bytes, left: bytes }
    }

    pub(super) fn exchange(request: Vec<u8>, limit: usize) -> Self {
        Self::Exchange {
            request,
            sent: 0,
            response: Vec::new(),
            limit,
        }
    }
}

#[derive(Debug)]
pub(super) struct Client {
    handle: SocketHandle,
    source: SocketAddr,
    destination: SocketAddr,
    timeout: Duration,
    started: Instant,
    /// When nothing has happened for too long.
    deadline: Instant,
    connected: Option<Instant>,
    /// The report is made; until then the connection may still close.
    over: Option<Instant>,
    task: Task,
}

/// What a connected client found.
enum Progress {
    Nothing,
    Some,
    Report(EventKind),
}

impl Client {
    pub(super) fn new(
        now: Instant,
        (source, destination): (IpAddr, SocketAddr),
        timeout: Duration,
        task: Task,
        stack: &mut Stack,
    ) -> Result<Self, ProgramError> {
        let (receive, send) = match task {
            Task::Send { .. } => (1, SEND_BYTES),
            Task::Probe | Task::Exchange { .. } => (SMALL_BYTES, SMALL_BYTES),
        };
        let handle = stack.add_tcp(receive, send);
        let source = SocketAddr::new(source, stack.ephemeral_port());
        if !stack.connect(handle, source, destination) {
            stack.remove(handle);
            return Err(ProgramError::Port(destination.port()));
        }
        Ok(Self {
            handle,
            source,
            destination,
            timeout,
            started: now,
            deadline: now + timeout,
            connected: None,
            over: None,
            task,
        })
    }

    pub(super) fn poll(&mut self, id: ProgramId, cx: &mut Context<'_>) -> Next {
        if let Some(until) = self.over {
            return self.linger(until, cx);
        }
        let socket = cx.stack.tcp(self.handle);
        let state = socket.state();
        let elapsed = cx.now - self.started;
        if self.connected.is_none() {
            match state {
                State::Closed => return self.finish(id, cx, EventKind::Refused { elapsed }),
                State::SynSent | State::SynReceived => {}
                _ => {
                    self.connected = Some(cx.now);
                    self.deadline = cx.now + self.timeout;
                }
            }
        }
        if let Some(since) = self.connected {
            match self.work(since, cx) {
                Progress::Report(kind) => return self.finish(id, cx, kind),
                Progress::Some => self.deadline = cx.now + self.timeout,
                Progress::Nothing => {}
            }
        }
        if self.deadline <= cx.now {
            cx.stack.tcp(self.handle).abort();
            return self.finish(id, cx, EventKind::TimedOut { elapsed });
        }
        Next::Wait(Some(self.deadline))
    }

    pub(super) fn handle_error(
        &mut self,
        now: Instant,
        id: ProgramId,
        tuple: &FiveTuple,
        reporter: Reporter,
        stack: &mut Stack,
        events: &mut Events,
    ) {
        let mine = tuple.protocol == Protocol::TCP
            && SocketAddr::new(tuple.source, tuple.source_port) == self.source
            && SocketAddr::new(tuple.destination, tuple.destination_port) == self.destination;
        // RFC 1122 §4.2.3.9: an error ends a connection that is not made yet, never one that works.
        if !mine || self.connected.is_some() || self.over.is_some() || !is_final(reporter) {
            return;
        }
        let (from, icmp_type, code) = reporter;
        stack.tcp(self.handle).abort();
        self.over = Some(now);
        let kind = EventKind::Unreachable {
            elapsed: now - self.started,
            from,
            icmp_type,
            code,
        };
        events.push(id, now, kind);
    }

    pub(super) fn stop(self, stack: &mut Stack) {
        stack.remove(self.handle);
    }

    /// Reports and lets the connection close.
    fn finish(&mut self, id: ProgramId, cx: &mut Context<'_>, kind: EventKind) -> Next {
        cx.events.push(id, cx.now, kind);
        cx.stack.tcp(self.handle).close();
        let until = cx.now + LINGER;
        self.over = Some(until);
        // At least one more poll, in which the socket sends what it has to.
        Next::Wait(Some(cx.now))
    }

    fn linger(&mut self, until: Instant, cx: &mut Context<'_>) -> Next {
        let socket = cx.stack.tcp(self.handle);
        let gone = matches!(socket.state(), State::Closed | State::TimeWait);
        if gone || until <= cx.now {
            cx.stack.remove(self.handle);
            return Next::Over;
        }
        // What comes now interests nobody, but it must not block the other side's end.
        let _dropped = socket.recv(|data| (data.len(), ()));
        Next::Wait(Some(until))
    }

    fn work(&mut self, since: Instant, cx: &mut Context<'_>) -> Progress {
        let elapsed = cx.now - self.started;
        let socket = cx.stack.tcp(self.handle);
        match &mut self.task {
            Task::Probe => Progress::Report(EventKind::Connected {
                elapsed: since - self.started,
            }),
            Task::Send { bytes, left } => {
                let queued = socket.send_queue();
                if !socket.may_send() {
                    return Progress::Report(EventKind::Failed(ProgramError::ConnectionLost));
                }
                let sent = fill(socket, left);
                if *left == 0 && socket.send_queue() == 0 {
                    return Progress::Report(EventKind::Sent(Transfer {
                        peer: self.destination,
                        bytes: *bytes,
                        elapsed: cx.now - since,
                    }));
                }
                if sent || socket.send_queue() < queued {
                    Progress::Some
                } else {
                    Progress::Nothing
                }
            }
            Task::Exchange {
                request,
                sent,
                response,
                limit,
            } => {
                let before = response.len() + *sent;
                if let Ok(more) = socket.send_slice(&request[*sent..]) {
                    *sent += more;
                }
                take(socket, response, *limit);
                if response.len() >= *limit || (!socket.may_recv() && socket.recv_queue() == 0) {
                    return Progress::Report(EventKind::Response {
                        elapsed,
                        data: std::mem::take(response),
                    });
                }
                if response.len() + *sent > before {
                    Progress::Some
                } else {
                    Progress::Nothing
                }
            }
        }
    }
}

/// Puts as much data into the send buffer as there is room and need; whether any was put.
fn fill(socket: &mut tcp::Socket<'_>, left: &mut u64) -> bool {
    let before = *left;
    while *left > 0 {
        let most = usize::try_from(*left).unwrap_or(usize::MAX);
        let put = socket.send(|room| {
            let put = room.len().min(most);
            room[..put].fill(0x5a);
            (put, put)
        });
        match put {
            Ok(put) if put > 0 => *left -= u64::try_from(put).unwrap_or(*left),
            _ => break,
        }
    }
    *left < before
}

/// Moves what came into the response, up to the limit.
fn take(socket: &mut tcp::Socket<'_>, response: &mut Vec<u8>, limit: usize) {
    loop {
        let most = limit.saturating_sub(response.len());
        if most == 0 {
            return;
        }
        let got = socket.recv(|data| {
            let got = data.len().min(most);
            response.extend_from_slice(&data[..got]);
            (got, got)
        });
        if !matches!(got, Ok(got) if got > 0) {
            return;
        }
    }
}
