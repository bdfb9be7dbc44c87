//! A small world for the tests: guests on links, in virtual time.
#![allow(
    dead_code,
    reason = "Each test binary compiles this module and uses a part of it."
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use trinic_guest::{Event, EventKind, Guest, GuestConfig, InterfaceConfig, Program, ProgramId};
use trinic_wire::time::Instant;

/// Time that a frame travels.
pub(crate) const DELAY: Duration = Duration::from_micros(50);

/// Guests, and the link that each of their interfaces is on. A link hands a frame to everybody on it.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) guests: Vec<Guest>,
    pub(crate) events: Vec<(usize, Event)>,
    /// Every frame that was sent, with its link.
    pub(crate) frames: Vec<(usize, Vec<u8>)>,
    /// Frames lost of a thousand, by a generator with the world's seed.
    pub(crate) loss_per_mille: u64,
    links: Vec<Vec<(usize, u32)>>,
    travelling: BinaryHeap<Reverse<Travelling>>,
    sent: u64,
    random: u64,
}

/// Arrival, order of sending, link, sender, frame.
type Travelling = (Instant, u64, usize, usize, Vec<u8>);

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Instant::from_nanos(1_000_000_000),
            guests: Vec::new(),
            events: Vec::new(),
            frames: Vec::new(),
            loss_per_mille: 0,
            links: Vec::new(),
            travelling: BinaryHeap::new(),
            sent: 0,
            random: seed | 1,
        }
    }

    pub(crate) fn guest(&mut self, forwarding: bool) -> usize {
        let seed = self.guests.len() as u64 + 7;
        self.guests
            .push(Guest::new(self.now, GuestConfig { seed, forwarding }));
        self.guests.len() - 1
    }

    pub(crate) fn plug(&mut self, guest: usize, device_index: u32, link: usize, config: InterfaceConfig) {
        while self.links.len() <= link {
            self.links.push(Vec::new());
        }
        self.links[link].push((guest, device_index));
        self.guests[guest]
            .configure(self.now, device_index, config)
            .unwrap();
    }

    pub(crate) fn start(&mut self, guest: usize, program: Program) -> ProgramId {
        self.guests[guest].start(self.now, program).unwrap()
    }

    /// Runs for a time.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.exchange();
            let timers = self
                .guests
                .iter_mut()
                .filter_map(|guest| guest.poll_timeout(self.now))
                .min();
            let arrival = self.travelling.peek().map(|Reverse(f)| f.0);
            let Some(next) = [timers, arrival].into_iter().flatten().min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
        }
        self.now = end;
        self.exchange();
    }

    /// Delivers what has arrived and collects what is sent, at this moment.
    fn exchange(&mut self) {
        while let Some(Reverse(frame)) = self.travelling.peek()
            && frame.0 <= self.now
        {
            let Some(Reverse((_, _, link, from, frame))) = self.travelling.pop() else {
                break;
            };
            for (guest, index) in self.links[link].clone() {
                if guest != from {
                    self.guests[guest].handle_frame(self.now, index, &frame);
                }
            }
        }
        for guest in 0..self.guests.len() {
            while let Some((index, frame)) = self.guests[guest].poll_transmit(self.now) {
                self.transmit(guest, index, frame);
            }
            while let Some(event) = self.guests[guest].poll_event() {
                self.events.push((guest, event));
            }
        }
    }

    fn transmit(&mut self, guest: usize, index: u32, frame: Vec<u8>) {
        let Some(link) = self.links.iter().position(|l| l.contains(&(guest, index))) else {
            return;
        };
        self.frames.push((link, frame.clone()));
        // xorshift64: enough for dice.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if self.random % 1000 < self.loss_per_mille {
            return;
        }
        self.sent += 1;
        let arrival = (self.now + DELAY, self.sent, link, guest, frame);
        self.travelling.push(Reverse(arrival));
    }

    pub(crate) fn kinds(&self, program: ProgramId, guest: usize) -> Vec<EventKind> {
        self.events
            .iter()
            .filter(|(g, e)| *g == guest && e.program == program)
            .map(|(_, e)| e.kind.clone())
            .collect()
    }
}

/// An interface with MAC 02:00:00:00:00:`host` and one address of each family.
pub(crate) fn interface(subnet: u8, host: u8, router: Option<u8>) -> InterfaceConfig {
    InterfaceConfig {
        mac: [2, 0, 0, 0, subnet, host],
        mtu: 9001,
        ipv4: vec![(v4(subnet, host), 24)],
        ipv6: vec![(v6(subnet, host), 64)],
        ipv4_router: router.map(|r| v4(subnet, r)),
        ipv6_router: router.map(|r| v6(subnet, r)),
    }
}

pub(crate) fn v4(subnet: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, subnet, host)
}

pub(crate) fn v6(subnet: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, subnet.into(), 0, 0, 0, host.into())
}

/// Two guests, .4 and .5, on one link.
pub(crate) fn pair(seed: u64) -> World {
    let mut world = World::new(seed);
    for host in [4, 5] {
        let guest = world.guest(false);
        world.plug(guest, 0, 0, interface(0, host, None));
    }
    world
}
