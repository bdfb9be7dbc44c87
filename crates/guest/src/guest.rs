//! The guest: links, stack and programs put together.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::Range;

use trinic_wire::packet::{Ip, Parsed, Transport};
use trinic_wire::reply::Problem;
use trinic_wire::time::Instant;
use trinic_wire::{Protocol, ethernet, rewrite};

use crate::config::{ConfigError, GuestConfig, InterfaceConfig};
use crate::counters::Counters;
use crate::event::{Event, Events};
use crate::icmp::{self, Message};
use crate::links::{Arrival, Links};
use crate::program::{Context, Program, ProgramError, ProgramId, Programs};
use crate::stack::Stack;

/// Most packets of the guest to itself that are handled in one go.
const MAX_LOOPBACK: usize = 256;

/// An instance in user space. The crate's documentation says how it works.
#[derive(Debug)]
pub struct Guest {
    config: GuestConfig,
    links: Links,
    stack: Stack,
    programs: Programs,
    events: Events,
    counters: Counters,
    loopback: VecDeque<Vec<u8>>,
    /// Something happened since the stack and the programs were polled.
    dirty: bool,
}

impl Guest {
    /// A guest without interfaces.
    pub fn new(now: Instant, config: GuestConfig) -> Self {
        let links = Links::default();
        Self {
            stack: Stack::new(config.seed, links.mtu(), now),
            config,
            links,
            programs: Programs::default(),
            events: Events::default(),
            counters: Counters::default(),
            loopback: VecDeque::new(),
            dirty: false,
        }
    }

    /// Adds the interface `device_index` (0 = eth0) or changes it. Addresses that are new are announced to
    /// the neighbors. Call [`Self::poll_transmit`] afterwards.
    pub fn configure(
        &mut self,
        now: Instant,
        device_index: u32,
        config: InterfaceConfig,
    ) -> Result<(), ConfigError> {
        self.links.configure(now, device_index, config)?;
        self.stack.set_mtu(self.links.mtu(), now);
        self.dirty = true;
        Ok(())
    }

    /// Takes an interface away; false if there is none. Its connections stay and run into their timeouts.
    pub fn remove(&mut self, now: Instant, device_index: u32) -> bool {
        let removed = self.links.remove(device_index);
        self.stack.set_mtu(self.links.mtu(), now);
        self.dirty = true;
        removed
    }

    /// What an interface was configured as.
    pub fn interface(&self, device_index: u32) -> Option<&InterfaceConfig> {
        self.links.config(device_index)
    }

    /// Switches forwarding of other hosts' packets on or off.
    pub fn set_forwarding(&mut self, forwarding: bool) {
        self.config.forwarding = forwarding;
    }

    /// Starts a program; what it finds comes from [`Self::poll_event`]. Call [`Self::poll_transmit`]
    /// afterwards.
    pub fn start(&mut self, now: Instant, program: Program) -> Result<ProgramId, ProgramError> {
        self.dirty = true;
        self.programs.start(now, program, &self.links, &mut self.stack)
    }

    /// Ends a program without a report; false if it is over already.
    pub fn stop(&mut self, program: ProgramId) -> bool {
        self.dirty = true;
        self.programs.stop(program, &mut self.stack)
    }

    /// Takes a frame that came on an interface. Call [`Self::poll_transmit`] afterwards, until it has no more.
    pub fn handle_frame(&mut self, now: Instant, device_index: u32, frame: &[u8]) {
        self.counters.frames_in += 1;
        self.dirty = true;
        match self.links.receive(now, device_index, frame, &mut self.counters) {
            Arrival::Local(ip, range) => self.deliver(now, &ip, frame, range),
            Arrival::Foreign(parsed) => self.forward(now, device_index, frame, parsed),
            Arrival::Done => {}
        }
    }

    /// A frame to send and the interface to send it on. Call again until there is none, after every other
    /// call and when [`Self::poll_timeout`] says.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(u32, Vec<u8>)> {
        if let Some(frame) = self.links.pop() {
            self.counters.frames_out += 1;
            return Some(frame);
        }
        if self.dirty || self.next(now).is_some_and(|at| at <= now) {
            self.run(now);
        }
        let frame = self.links.pop()?;
        self.counters.frames_out += 1;
        Some(frame)
    }

    /// When [`Self::poll_transmit`] has something to do next; `None` = only after another call.
    #[must_use]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.dirty { Some(now) } else { self.next(now) }
    }

    /// Something that a program reports. Call again until there is none, after [`Self::poll_transmit`].
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// What the guest counted since it began.
    pub fn counters(&self) -> Counters {
        Counters {
            events_lost: self.events.lost,
            ..self.counters
        }
    }

    fn next(&mut self, now: Instant) -> Option<Instant> {
        let links = self.links.poll_at(now);
        let stack = self.stack.poll_at(now);
        let programs = self.programs.poll_at();
        [links, stack, programs].into_iter().flatten().min()
    }

    /// Polls everything once and routes what comes out.
    fn run(&mut self, now: Instant) {
        self.dirty = false;
        self.links.poll(now, &mut self.counters);
        self.stack.poll(now);
        let mut packets = Vec::new();
        self.programs.poll(&mut Context {
            now,
            stack: &mut self.stack,
            events: &mut self.events,
            packets: &mut packets,
        });
        self.stack.poll(now);
        for packet in packets {
            self.send(now, packet);
        }
        while let Some(packet) = self.stack.pop() {
            self.send(now, packet);
        }
        for _ in 0..MAX_LOOPBACK {
            let Some(frame) = self.loopback.pop_front() else {
                break;
            };
            self.dirty = true;
            if let Ok(parsed) = Parsed::parse(&frame, frame.len())
                && let Some(ip) = parsed.ip()
            {
                let start = parsed.network_offset;
                self.deliver(now, ip, &frame, start..start + ip.total_len);
            }
        }
    }

    /// Takes a packet that is for the guest, at `range` in `frame`.
    fn deliver(&mut self, now: Instant, ip: &Ip, frame: &[u8], range: Range<usize>) {
        match ip.transport {
            Transport::Icmp(_) if ip.fragment.is_none() => {
                let message = &frame[ip.transport_offset..range.end];
                self.deliver_icmp(now, ip, message);
            }
            Transport::Tcp { .. } | Transport::Udp if ip.fragment.is_none() => {
                if !self.stack.push(&frame[range]) {
                    self.counters.queue_full += 1;
                }
            }
            _ => self.counters.other_protocol += 1,
        }
    }

    fn deliver_icmp(&mut self, now: Instant, ip: &Ip, message: &[u8]) {
        let Some(parsed) = icmp::parse(ip, message) else {
            self.counters.malformed += 1;
            return;
        };
        let (source, destination) = (ip.tuple.source, ip.tuple.destination);
        match parsed {
            Message::Request(echo) if self.links.owns(destination) => {
                let reply = icmp::packet(destination, source, icmp::DEFAULT_TTL, echo, true);
                if let Ok(packet) = reply {
                    self.send(now, packet);
                }
            }
            Message::Reply(echo) => {
                let events = &mut self.events;
                self.programs
                    .handle_echo(now, &ip.tuple, echo.sequence, ip.ttl, events);
            }
            Message::Request(_) | Message::Other => {
                if let Some(icmp) = ip.icmp()
                    && let Some(inner) = icmp.inner
                {
                    self.programs.handle_error(
                        now,
                        &inner.tuple,
                        (source, icmp.kind, icmp.code),
                        &mut self.stack,
                        &mut self.events,
                    );
                }
            }
        }
    }

    /// Sends a packet of the guest's own.
    fn send(&mut self, now: Instant, packet: Vec<u8>) {
        let Some((source, destination)) = addresses(&packet) else {
            self.counters.malformed += 1;
            return;
        };
        if self.links.owns(destination) {
            self.loop_back(&packet);
            return;
        }
        let Some(hop) = self.links.route_from(source, destination) else {
            self.counters.no_route += 1;
            return;
        };
        if packet.len() > hop.mtu {
            self.counters.too_big += 1;
            return;
        }
        self.links.send(now, hop, &packet, &mut self.counters);
    }

    fn loop_back(&mut self, packet: &[u8]) {
        if self.loopback.len() == MAX_LOOPBACK {
            self.counters.queue_full += 1;
            return;
        }
        let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        let header = ethernet::Repr {
            destination: [0; 6],
            source: [0; 6],
            tag: None,
            ethertype: if v6 {
                ethernet::EtherType::IPV6
            } else {
                ethernet::EtherType::IPV4
            },
        };
        let mut frame = vec![0; ethernet::HEADER_LEN];
        if header.emit(&mut frame).is_ok() {
            frame.extend_from_slice(packet);
            self.loopback.push_back(frame);
            self.dirty = true;
        }
    }

    /// Forwards a packet of other hosts, as a router or NAT instance does.
    fn forward(&mut self, now: Instant, index: u32, frame: &[u8], mut parsed: Parsed) {
        let Some(ip) = parsed.ip().copied() else {
            return;
        };
        if !self.config.forwarding || !may_forward(&parsed, &ip) {
            self.counters.other_address += 1;
            return;
        }
        if ip.ttl <= 1 {
            self.counters.ttl_expired += 1;
            self.report(index, frame, &parsed, Problem::TimeExceeded);
            return;
        }
        let Some(hop) = self.links.route(ip.tuple.destination) else {
            self.counters.no_route += 1;
            self.report(index, frame, &parsed, Problem::NoRoute);
            return;
        };
        if ip.total_len > hop.mtu {
            self.counters.too_big += 1;
            let mtu = u16::try_from(hop.mtu).unwrap_or(u16::MAX);
            self.report(index, frame, &parsed, Problem::TooBig { mtu });
            return;
        }
        let mut copy = frame.to_vec();
        if rewrite::decrement_ttl(&mut copy, &mut parsed).is_err() {
            self.counters.malformed += 1;
            return;
        }
        let start = parsed.network_offset;
        let packet = &copy[start..start + ip.total_len];
        self.counters.forwarded += 1;
        self.links.send(now, hop, packet, &mut self.counters);
    }

    fn report(&mut self, index: u32, frame: &[u8], parsed: &Parsed, problem: Problem) {
        self.links
            .report(index, frame, parsed, problem, &mut self.counters);
    }
}

/// Whether a router may forward the packet at all: from one host to one host, beyond the link.
fn may_forward(parsed: &Parsed, ip: &Ip) -> bool {
    let local = |address: IpAddr| match address {
        IpAddr::V4(a) => {
            a.is_multicast() || a.is_broadcast() || a.is_unspecified() || a.is_loopback() || a.is_link_local()
        }
        IpAddr::V6(a) => {
            a.is_multicast() || a.is_unspecified() || a.is_loopback() || a.is_unicast_link_local()
        }
    };
    !ethernet::is_multicast(parsed.ethernet.destination)
        && !local(ip.tuple.source)
        && !local(ip.tuple.destination)
        && ip.tuple.protocol != Protocol::NO_NEXT
}

/// Source and destination of an IP packet.
fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    if packet.first()? >> 4 == 6 {
        let (header, _) = trinic_wire::ipv6::Header::parse(packet).ok()?;
        Some((header.source.into(), header.destination.into()))
    } else {
        let (header, _) = trinic_wire::ipv4::Header::parse(packet).ok()?;
        Some((header.source.into(), header.destination.into()))
    }
}
