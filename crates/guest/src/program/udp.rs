//! UDP: an echo server and a probe.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp::UdpMetadata;
use smoltcp::wire::IpEndpoint;
use trinic_wire::Protocol;
use trinic_wire::packet::FiveTuple;
use trinic_wire::time::Instant;

use super::{Context, Next, Reporter, is_final, is_refusal};
use crate::ProgramId;
use crate::event::{EventKind, Events};
use crate::stack::{Stack, from_smoltcp};

/// Most datagrams that are answered in one poll: as many as the socket holds.
const MAX_BATCH: usize = 64;

#[derive(Debug)]
pub(super) struct Echo {
    handle: SocketHandle,
    port: u16,
}

impl Echo {
    pub(super) fn new(port: u16, stack: &mut Stack) -> Self {
        let handle = stack.add_udp(port);
        Self { handle, port }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Next {
        let socket = cx.stack.udp(self.handle);
        for _ in 0..MAX_BATCH {
            let Ok((data, from)) = socket.recv() else {
                break;
            };
            let data = data.to_vec();
            // From the address that was asked, which need not be the primary one. A full buffer loses
            // datagrams, as UDP may.
            let _sent = socket.send_slice(&data, from);
        }
        Next::Wait(None)
    }

    pub(super) fn stop(self, stack: &mut Stack) {
        stack.remove(self.handle);
    }
}

#[derive(Debug)]
pub(super) struct Probe {
    handle: SocketHandle,
    source: SocketAddr,
    destination: SocketAddr,
    data: Option<Vec<u8>>,
    started: Instant,
    deadline: Instant,
    over: bool,
}

impl Probe {
    pub(super) fn new(
        now: Instant,
        (source, destination): (IpAddr, SocketAddr),
        data: Vec<u8>,
        timeout: Duration,
        stack: &mut Stack,
    ) -> Self {
        let port = stack.ephemeral_port();
        Self {
            handle: stack.add_udp(port),
            source: SocketAddr::new(source, port),
            destination,
            data: Some(data),
            started: now,
            deadline: now + timeout,
            over: false,
        }
    }

    pub(super) fn poll(&mut self, id: ProgramId, cx: &mut Context<'_>) -> Next {
        let elapsed = cx.now - self.started;
        let socket = cx.stack.udp(self.handle);
        if let Some(data) = self.data.take() {
            let remote = IpEndpoint::new(self.destination.ip().into(), self.destination.port());
            let mut to = UdpMetadata::from(remote);
            to.local_address = Some(self.source.ip().into());
            // The buffer is empty and larger than a packet, so that only port 0 is refused: no answer then.
            let _sent = socket.send_slice(&data, to);
        }
        while let Ok((data, from)) = socket.recv() {
            if !self.over && from_smoltcp(from.endpoint) == self.destination {
                let data = data.to_vec();
                let reply = EventKind::UdpReply { elapsed, data };
                cx.events.push(id, cx.now, reply);
                self.over = true;
            }
        }
        if !self.over && self.deadline <= cx.now {
            cx.events.push(id, cx.now, EventKind::TimedOut { elapsed });
            self.over = true;
        }
        if self.over {
            cx.stack.remove(self.handle);
            return Next::Over;
        }
        Next::Wait(Some(self.deadline))
    }

    pub(super) fn handle_error(
        &mut self,
        now: Instant,
        id: ProgramId,
        tuple: &FiveTuple,
        reporter: Reporter,
        events: &mut Events,
    ) {
        let mine = tuple.protocol == Protocol::UDP
            && SocketAddr::new(tuple.source, tuple.source_port) == self.source
            && SocketAddr::new(tuple.destination, tuple.destination_port) == self.destination;
        if !mine || self.over || !is_final(reporter) {
            return;
        }
        let elapsed = now - self.started;
        let (from, icmp_type, code) = reporter;
        let kind = if is_refusal(reporter) {
            EventKind::Refused { elapsed }
        } else {
            EventKind::Unreachable {
                elapsed,
                from,
                icmp_type,
                code,
            }
        };
        events.push(id, now, kind);
        self.over = true;
    }

    pub(super) fn stop(self, stack: &mut Stack) {
        stack.remove(self.handle);
    }
}
