//! SRD on a simulated host.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use trinic_srd::congestion::{Controller, Delay};
use trinic_srd::{
    Action, Config, Endpoint as Engine, Gid, Gone, Incoming, Local, PairKey, Peer, PeerId, Refusal, Remote,
    Request, Stats,
};

use crate::ledger::{Message, MessageEvent};
use crate::random::mix;
use crate::workload::{Busy, Messenger};
use crate::{Datagram, Ecn, Endpoint, HostId, Instant, MessageId, Random, Transmit, content};

/// A host whose messages go by SRD. What fits into a datagram is sent; what does not is an RDMA write with immediate data.
#[derive(Debug)]
pub struct Srd<C: Controller = Delay> {
    engine: Engine<C>,
    /// The context for each host, by its number.
    peers: Vec<PeerId>,
    memory: Memory,
    buffer: Vec<u8>,
}

/// Message contents, which follow from their numbers, and what arrived.
#[derive(Debug, Default)]
struct Memory {
    hosts: HashMap<PeerId, HostId>,
    /// For each message that is being written into this host: whether all segments were right.
    intact: HashMap<u32, bool>,
    events: VecDeque<MessageEvent>,
}

impl<C: Controller> Srd<C> {
    /// The host with this number of as many as there are; each pair of hosts has a key. A host that starts again needs another `random`.
    pub fn new(config: Config, host: HostId, hosts: u32, mut random: Random) -> Self {
        let mut entropy = [0; 16];
        entropy[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        entropy[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        let largest = config.datagram;
        let mut engine = Engine::new(config, gid(host), entropy);
        let mut memory = Memory::default();
        let peers = (0..hosts).map(HostId).map(|other| {
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(other.0)), PORT);
            let id = engine.add_peer(Peer {
                gid: gid(other),
                address,
                key: key(host, other),
                epoch: 0,
            });
            memory.hosts.insert(id, other);
            id
        });
        let peers = peers.collect();
        Self {
            engine,
            peers,
            memory,
            buffer: vec![0; largest],
        }
    }

    /// The engine's counters.
    pub const fn stats(&self) -> &Stats {
        self.engine.stats()
    }
}

impl<C: Controller> Endpoint for Srd<C> {
    fn handle_datagram(&mut self, now: Instant, datagram: &Datagram) {
        let arrived = trinic_srd::Datagram {
            bytes: &datagram.payload,
            marked: datagram.ecn == Ecn::Ce,
        };
        self.engine.handle_datagram(now, arrived, &mut self.memory);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Instant, payload: &mut Vec<u8>) -> Option<Transmit> {
        let transmit = self
            .engine
            .poll_transmit(now, &mut self.memory, &mut self.buffer, 1)?;
        payload.extend_from_slice(&self.buffer[..transmit.bytes]);
        let IpAddr::V4(address) = transmit.address.ip() else {
            return None;
        };
        Some(Transmit {
            destination: HostId(address.to_bits()),
            source_port: FIRST_PATH_PORT + u16::from(transmit.path),
            destination_port: PORT,
            ecn: Ecn::Ect0,
            virtual_bytes: 0,
        })
    }
}

impl<C: Controller> Messenger for Srd<C> {
    fn offer(&mut self, now: Instant, message: Message) -> Result<(), Busy> {
        let id = number(message.id);
        let fits = message.size_bytes as usize <= self.engine.config().datagram - SEND_HEADER_BYTES;
        let action = if fits {
            Action::Send { immediate: Some(id) }
        } else {
            Action::Write {
                key: id,
                address: 0,
                immediate: Some(id),
            }
        };
        let request = Request {
            token: message.id.0,
            source: 1,
            destination: 1,
            qkey: 0,
            length: message.size_bytes,
            payload: message.id.0,
            action,
        };
        self.engine
            .submit(now, self.peers[message.to.index()], request)
            .map_err(|_| Busy)
    }

    fn poll_event(&mut self) -> Option<MessageEvent> {
        self.memory.events.pop_front().or_else(|| {
            let event = self.engine.poll_event()?;
            let id = MessageId(event.token);
            Some(match event.result {
                Ok(()) => MessageEvent::Completed { id },
                Err(_) => MessageEvent::Failed { id },
            })
        })
    }
}

impl Memory {
    fn delivered(&mut self, peer: PeerId, id: u32, length: u32, intact: bool) {
        self.events.push_back(MessageEvent::Delivered {
            id: MessageId(u64::from(id)),
            from: self.hosts.get(&peer).copied().unwrap_or_default(),
            size_bytes: length,
            intact,
        });
    }
}

impl Local for Memory {
    fn gather(&mut self, payload: u64, offset: u32, into: &mut [u8]) -> Result<(), Gone> {
        content::fill(MessageId(payload), u64::from(offset), into);
        Ok(())
    }

    fn scatter(&mut self, _: u64, _: u32, _: &[u8]) -> Result<(), Gone> {
        Err(Gone)
    }

    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal> {
        let id = message.immediate.ok_or(Refusal::Dropped)?;
        let intact = content::check(MessageId(u64::from(id)), 0, message.payload);
        let length = u32::try_from(message.payload.len()).map_err(|_| Refusal::TooLong)?;
        self.delivered(message.peer, id, length, intact);
        Ok(())
    }

    fn write(&mut self, remote: Remote, bytes: &[u8]) -> Result<(), Refusal> {
        let right = content::check(MessageId(u64::from(remote.key)), remote.address, bytes);
        *self.intact.entry(remote.key).or_insert(true) &= right;
        Ok(())
    }

    fn written(&mut self, remote: Remote, immediate: u32, length: u32) -> Result<(), Refusal> {
        let intact = self.intact.remove(&remote.key).unwrap_or(false) && immediate == remote.key;
        self.delivered(remote.peer, immediate, length, intact);
        Ok(())
    }

    fn readable(&mut self, _: Remote, _: u32) -> Result<(), Refusal> {
        Err(Refusal::NotPermitted)
    }

    fn read(&mut self, _: Remote, _: &mut [u8]) -> Result<(), Refusal> {
        Err(Refusal::NotPermitted)
    }
}

/// The message's number, which travels as immediate data.
fn number(id: MessageId) -> u32 {
    u32::try_from(id.0).unwrap_or(u32::MAX)
}

fn gid(host: HostId) -> Gid {
    u128::from(host.0).to_be_bytes()
}

/// The key of a pair of hosts.
fn key(one: HostId, other: HostId) -> PairKey {
    let pair = u64::from(one.0.min(other.0)) << 32 | u64::from(one.0.max(other.0));
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mix(pair).to_be_bytes());
    bytes[8..].copy_from_slice(&mix(!pair).to_be_bytes());
    PairKey::new(bytes)
}

/// Where SRD is received (docs/spec/srd.md, PKT-2).
const PORT: u16 = 64_773;
/// The source port of path 0.
const FIRST_PATH_PORT: u16 = 20_000;
/// docs/spec/srd.md, section 2.1.
const SEND_HEADER_BYTES: usize = 44;
