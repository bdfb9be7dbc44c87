//! TCP servers: echo and sink.

use std::net::SocketAddr;
use std::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use trinic_wire::time::Instant;

use super::{Context, Next};
use crate::ProgramId;
use crate::event::{EventKind, Transfer};
use crate::stack::{Stack, from_smoltcp};

/// Sockets that wait for connections.
const BACKLOG: usize = 4;

/// Most connections and waiting sockets of a server.
const MAX_SOCKETS: usize = 32;

/// Buffers of an echo connection.
const ECHO_BYTES: usize = 64 << 10;

/// Receive buffer of a sink's connection: enough for the delay of a busy host at some Gbit/s.
const SINK_BYTES: usize = 1 << 20;

/// A connection whose other side is silent for so long is dead.
const DEAD_AFTER: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(60);
const KEEP_ALIVE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Echo,
    Sink,
}

#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    kind: Kind,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    handle: SocketHandle,
    accepted: Option<(SocketAddr, Instant)>,
    bytes: u64,
    reported: bool,
}

impl Server {
    pub(super) fn new(port: u16, kind: Kind) -> Self {
        Self {
            port,
            kind,
            connections: Vec::new(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn poll(&mut self, id: ProgramId, cx: &mut Context<'_>) -> Next {
        let kind = self.kind;
        self.connections
            .retain_mut(|connection| connection.poll(kind, id, cx));
        self.listen(cx);
        Next::Wait(None)
    }

    pub(super) fn stop(self, stack: &mut Stack) {
        for connection in self.connections {
            stack.remove(connection.handle);
        }
    }

    /// Keeps enough sockets waiting.
    fn listen(&mut self, cx: &mut Context<'_>) {
        let mut waiting = 0;
        for connection in &self.connections {
            waiting += usize::from(cx.stack.tcp(connection.handle).is_listening());
        }
        while waiting < BACKLOG && self.connections.len() < MAX_SOCKETS {
            let handle = match self.kind {
                Kind::Echo => cx.stack.add_tcp(ECHO_BYTES, ECHO_BYTES),
                Kind::Sink => cx.stack.add_tcp(SINK_BYTES, 1),
            };
            let socket = cx.stack.tcp(handle);
            socket.set_timeout(Some(DEAD_AFTER));
            socket.set_keep_alive(Some(KEEP_ALIVE));
            // A new socket refuses only port 0, which was checked at the start.
            let _listening = socket.listen(self.port);
            self.connections.push(Connection {
                handle,
                accepted: None,
                bytes: 0,
                reported: false,
            });
            waiting += 1;
        }
    }
}

impl Connection {
    /// Serves the connection; false when it is over and its socket is gone.
    fn poll(&mut self, kind: Kind, id: ProgramId, cx: &mut Context<'_>) -> bool {
        let socket = cx.stack.tcp(self.handle);
        if socket.is_listening() || socket.state() == tcp::State::SynReceived {
            return true;
        }
        if self.accepted.is_none()
            && let Some(remote) = socket.remote_endpoint()
        {
            let peer = from_smoltcp(remote);
            self.accepted = Some((peer, cx.now));
            cx.events.push(id, cx.now, EventKind::Accepted { peer });
        }
        let socket = cx.stack.tcp(self.handle);
        match kind {
            Kind::Echo => echo(socket),
            Kind::Sink => self.bytes += drain(socket),
        }
        let ended = !socket.may_recv() && socket.recv_queue() == 0;
        if ended && socket.may_send() {
            socket.close();
        }
        let over = !socket.is_open();
        if ended || over {
            self.report(kind, id, cx);
        }
        if over {
            cx.stack.remove(self.handle);
        }
        !over
    }

    fn report(&mut self, kind: Kind, id: ProgramId, cx: &mut Context<'_>) {
        if kind == Kind::Sink
            && !self.reported
            && let Some((peer, since)) = self.accepted
        {
            let transfer = Transfer {
                peer,
                bytes: self.bytes,
                elapsed: elapsed(since, cx.now),
            };
            cx.events.push(id, cx.now, EventKind::Received(transfer));
        }
        self.reported = true;
    }
}

fn elapsed(since: Instant, now: Instant) -> Duration {
    now - since
}

/// Sends back as much as there is room for.
fn echo(socket: &mut tcp::Socket<'_>) {
    let mut scratch = [0; 4096];
    loop {
        let room = socket.send_capacity() - socket.send_queue();
        let most = room.min(scratch.len());
        if most == 0 || !socket.may_send() {
            return;
        }
        match socket.recv_slice(&mut scratch[..most]) {
            Ok(0) | Err(_) => return,
            Ok(got) => {
                // There is room, as was just seen.
                let _sent = socket.send_slice(&scratch[..got]);
            }
        }
    }
}

/// Takes everything that came; returns how much.
fn drain(socket: &mut tcp::Socket<'_>) -> u64 {
    let mut bytes = 0;
    while let Ok(got) = socket.recv(|data| (data.len(), data.len()))
        && got > 0
    {
        bytes += u64::try_from(got).unwrap_or(u64::MAX);
    }
    bytes
}
