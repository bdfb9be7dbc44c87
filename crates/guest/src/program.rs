//! The programs that are built into a guest.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use trinic_wire::Protocol;
use trinic_wire::packet::FiveTuple;
use trinic_wire::time::Instant;

use crate::event::Events;
use crate::links::Links;
use crate::stack::Stack;

mod client;
mod ping;
mod server;
mod udp;

/// Most programs at a time.
pub const MAX_PROGRAMS: usize = 64;

/// Most bytes that an exchange sends or keeps of the response.
pub(crate) const MAX_EXCHANGE: usize = 1 << 20;

/// Most bytes of data in an echo request or a datagram: what fits into the largest packet.
pub(crate) const MAX_DATA: usize = 9001 - 48;

/// Names a program of one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId(pub u64);

/// A program to run. Where a `source` is `None`, the guest chooses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Sends echo requests.
    Ping {
        /// The address to send from.
        source: Option<IpAddr>,
        /// Whom to ask.
        destination: IpAddr,
        /// How many requests; `None` = until the program is stopped.
        count: Option<u32>,
        /// Time between requests.
        interval: Duration,
        /// How long a reply may take.
        timeout: Duration,
        /// Bytes of data in each request.
        data_bytes: usize,
        /// TTL or hop limit.
        ttl: u8,
    },
    /// Sends back what comes on a TCP port, on every address.
    TcpEcho {
        /// The port.
        port: u16,
    },
    /// Sends back what comes on a UDP port, on every address.
    UdpEcho {
        /// The port.
        port: u16,
    },
    /// Takes and counts what comes on a TCP port, on every address.
    TcpSink {
        /// The port.
        port: u16,
    },
    /// Tries to make a TCP connection, and closes it.
    TcpConnect {
        /// The address to connect from.
        source: Option<IpAddr>,
        /// The other side.
        destination: SocketAddr,
        /// How long it may take.
        timeout: Duration,
    },
    /// Sends bytes over TCP and measures how long it takes.
    TcpSend {
        /// The address to connect from.
        source: Option<IpAddr>,
        /// The other side.
        destination: SocketAddr,
        /// How many bytes.
        bytes: u64,
        /// How long nothing may happen.
        timeout: Duration,
    },
    /// Sends a request over TCP and takes the response, until the other side closes.
    TcpExchange {
        /// The address to connect from.
        source: Option<IpAddr>,
        /// The other side.
        destination: SocketAddr,
        /// What to send.
        request: Vec<u8>,
        /// Most bytes of the response that are kept; then the connection ends.
        limit_bytes: usize,
        /// How long nothing may happen.
        timeout: Duration,
    },
    /// Sends a datagram and waits for one back.
    UdpProbe {
        /// The address to send from.
        source: Option<IpAddr>,
        /// The other side.
        destination: SocketAddr,
        /// What to send.
        data: Vec<u8>,
        /// How long the answer may take.
        timeout: Duration,
    },
}

/// Why a program cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The guest runs as many programs as it can.
    #[error("A guest runs at most {MAX_PROGRAMS} programs")]
    TooMany,
    /// No interface leads there.
    #[error("No interface of the guest has a route to {0}")]
    NoRoute(IpAddr),
    /// The source address is not the guest's, or of another family than the destination.
    #[error("{0} cannot be the source address")]
    Source(IpAddr),
    /// Another server has the port, or it is port 0.
    #[error("Port {0} is taken or is none")]
    Port(u16),
    /// More data than a packet or a program can hold.
    #[error("At most {limit} bytes of data, got {got}")]
    TooMuchData {
        /// The limit.
        limit: usize,
        /// What was asked for.
        got: usize,
    },
    /// The other side ended the connection before everything was sent.
    #[error("The other side ended the connection")]
    ConnectionLost,
}

/// What a program may use while it is polled.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) stack: &'a mut Stack,
    pub(crate) events: &'a mut Events,
    /// IP packets that programs send beside the stack.
    pub(crate) packets: &'a mut Vec<Vec<u8>>,
}

/// What a program does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Waits for packets, and for a time if there is one.
    Wait(Option<Instant>),
    /// Is over; its sockets are gone.
    Over,
}

/// Who reported an error, with its ICMP type and code.
pub(crate) type Reporter = (IpAddr, u8, u8);

#[derive(Debug)]
enum Running {
    Ping(ping::Ping),
    Server(server::Server),
    Client(client::Client),
    UdpEcho(udp::Echo),
    UdpProbe(udp::Probe),
}

/// The programs that run.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    running: BTreeMap<ProgramId, (Running, Option<Instant>)>,
    started: u64,
}

impl Programs {
    pub(crate) fn start(
        &mut self,
        now: Instant,
        program: Program,
        links: &Links,
        stack: &mut Stack,
    ) -> Result<ProgramId, ProgramError> {
        if self.running.len() == MAX_PROGRAMS {
            return Err(ProgramError::TooMany);
        }
        let id = ProgramId(self.started);
        let running = self.make(now, program, links, stack)?;
        self.started += 1;
        self.running.insert(id, (running, Some(now)));
        Ok(id)
    }

    fn make(
        &self,
        now: Instant,
        program: Program,
        links: &Links,
        stack: &mut Stack,
    ) -> Result<Running, ProgramError> {
        let (source, destination, timeout, task) = match program {
            Program::Ping {
                source,
                destination,
                count,
                interval,
                timeout,
                data_bytes,
                ttl,
            } => {
                check_data(data_bytes, MAX_DATA)?;
                let options = ping::Options {
                    source: source_of(links, source, destination)?,
                    destination,
                    count,
                    interval,
                    timeout,
                    data_bytes,
                    ttl,
                    // Sixteen bits name a program among the 64 that run, for longer than replies travel.
                    identifier: u16::try_from(self.started & 0xffff).unwrap_or(0),
                };
                return Ok(Running::Ping(ping::Ping::new(now, options)));
            }
            Program::TcpEcho { port } => return self.server(port, server::Kind::Echo),
            Program::TcpSink { port } => return self.server(port, server::Kind::Sink),
            Program::UdpEcho { port } => {
                self.check_port(port, Protocol::UDP)?;
                return Ok(Running::UdpEcho(udp::Echo::new(port, stack)));
            }
            Program::UdpProbe {
                source,
                destination,
                data,
                timeout,
            } => {
                check_data(data.len(), MAX_DATA)?;
                let ends = (source_of(links, source, destination.ip())?, destination);
                let probe = udp::Probe::new(now, ends, data, timeout, stack);
                return Ok(Running::UdpProbe(probe));
            }
            Program::TcpConnect {
                source,
                destination,
                timeout,
            } => (source, destination, timeout, client::Task::Probe),
            Program::TcpSend {
                source,
                destination,
                bytes,
                timeout,
            } => (source, destination, timeout, client::Task::send(bytes)),
            Program::TcpExchange {
                source,
                destination,
                request,
                limit_bytes,
                timeout,
            } => {
                check_data(request.len().max(limit_bytes), MAX_EXCHANGE)?;
                let task = client::Task::exchange(request, limit_bytes);
                (source, destination, timeout, task)
            }
        };
        let ends = (source_of(links, source, destination.ip())?, destination);
        let client = client::Client::new(now, ends, timeout, task, stack)?;
        Ok(Running::Client(client))
    }

    fn server(&self, port: u16, kind: server::Kind) -> Result<Running, ProgramError> {
        self.check_port(port, Protocol::TCP)?;
        Ok(Running::Server(server::Server::new(port, kind)))
    }

    fn check_port(&self, port: u16, protocol: Protocol) -> Result<(), ProgramError> {
        let taken = self.running.values().any(|(running, _)| match running {
            Running::Server(server) => protocol == Protocol::TCP && server.port() == port,
            Running::UdpEcho(echo) => protocol == Protocol::UDP && echo.port() == port,
            _ => false,
        });
        if taken || port == 0 {
            return Err(ProgramError::Port(port));
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self, id: ProgramId, stack: &mut Stack) -> bool {
        let Some((running, _)) = self.running.remove(&id) else {
            return false;
        };
        match running {
            Running::Ping(_) => {}
            Running::Server(server) => server.stop(stack),
            Running::Client(client) => client.stop(stack),
            Running::UdpEcho(echo) => echo.stop(stack),
            Running::UdpProbe(probe) => probe.stop(stack),
        }
        true
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        self.running.retain(|id, (running, at)| {
            let next = match running {
                Running::Ping(ping) => ping.poll(*id, cx),
                Running::Server(server) => server.poll(*id, cx),
                Running::Client(client) => client.poll(*id, cx),
                Running::UdpEcho(echo) => echo.poll(cx),
                Running::UdpProbe(probe) => probe.poll(*id, cx),
            };
            match next {
                Next::Wait(time) => *at = time,
                Next::Over => return false,
            }
            true
        });
    }

    pub(crate) fn poll_at(&self) -> Option<Instant> {
        self.running.values().filter_map(|(_, at)| *at).min()
    }

    /// Gives an echo reply to the ping that asked for it.
    pub(crate) fn handle_echo(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        sequence: u16,
        ttl: u8,
        events: &mut Events,
    ) {
        for (id, (running, _)) in &mut self.running {
            if let Running::Ping(ping) = running {
                ping.handle_echo(now, *id, tuple, sequence, ttl, events);
            }
        }
    }

    /// Gives an ICMP error to the program whose packet it quotes.
    pub(crate) fn handle_error(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        from: Reporter,
        stack: &mut Stack,
        events: &mut Events,
    ) {
        for (id, (running, _)) in &mut self.running {
            match running {
                Running::Ping(ping) => ping.handle_error(now, *id, tuple, from, events),
                Running::Client(client) => client.handle_error(now, *id, tuple, from, stack, events),
                Running::UdpProbe(probe) => probe.handle_error(now, *id, tuple, from, events),
                Running::Server(_) | Running::UdpEcho(_) => {}
            }
        }
    }
}

/// The source address that a program uses.
fn source_of(links: &Links, source: Option<IpAddr>, destination: IpAddr) -> Result<IpAddr, ProgramError> {
    if let Some(source) = source {
        let legal = links.owns(source) && source.is_ipv4() == destination.is_ipv4();
        return if legal {
            Ok(source)
        } else {
            Err(ProgramError::Source(source))
        };
    }
    if links.owns(destination) {
        return Ok(destination);
    }
    links
        .source_for(destination)
        .ok_or(ProgramError::NoRoute(destination))
}

fn check_data(got: usize, limit: usize) -> Result<(), ProgramError> {
    if got > limit {
        return Err(ProgramError::TooMuchData { limit, got });
    }
    Ok(())
}

/// Whether an ICMP message says that a packet will never arrive. That a packet was too big is advice on its
/// size, not that.
fn is_final((from, icmp_type, code): Reporter) -> bool {
    if from.is_ipv4() {
        (icmp_type, code) != (3, 4)
    } else {
        icmp_type != 2
    }
}

/// Whether an ICMP message says that nobody listens on the port.
fn is_refusal((from, icmp_type, code): Reporter) -> bool {
    let port_unreachable = if from.is_ipv4() { (3, 3) } else { (1, 4) };
    (icmp_type, code) == port_unreachable
}
