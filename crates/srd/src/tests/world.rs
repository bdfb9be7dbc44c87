//! Two endpoints, their memory, and a network between them that does what a test wants.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::random::Random;
use crate::{
    Action, Config, Datagram, Endpoint, Event, Failure, Gone, Incoming, Instant, Local, PairKey, Peer,
    PeerId, Refusal, Remote, Request,
};

/// The memory and the queue pairs of one end.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Messages that wait, by their payload's name.
    pub(super) payloads: HashMap<u64, Vec<u8>>,
    /// What arrived, with immediate data.
    pub(super) inbox: Vec<(Vec<u8>, Option<u32>)>,
    /// The region with key 7.
    pub(super) region: Vec<u8>,
    /// Writes that were complete: immediate data and length.
    pub(super) written: Vec<(u32, u32)>,
    /// Why messages for a queue pair are refused.
    pub(super) refuse: HashMap<u16, Refusal>,
    /// Whether the region can be read.
    pub(super) unreadable: bool,
    /// Where what cannot be read of the region begins.
    pub(super) unreadable_from: Option<u64>,
    /// Where what is gone of a payload begins, by the payload's name.
    pub(super) gone: HashMap<u64, u32>,
}

impl Local for Host {
    fn gather(&mut self, payload: u64, offset: u32, into: &mut [u8]) -> Result<(), Gone> {
        self.is_there(payload, offset, into.len())?;
        let bytes = self.payloads.get(&payload).ok_or(Gone)?;
        into.copy_from_slice(&bytes[offset as usize..offset as usize + into.len()]);
        Ok(())
    }

    fn scatter(&mut self, payload: u64, offset: u32, bytes: &[u8]) -> Result<(), Gone> {
        self.is_there(payload, offset, bytes.len())?;
        let memory = self.payloads.get_mut(&payload).ok_or(Gone)?;
        memory[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal> {
        if let Some(refusal) = self.refuse.get(&message.destination) {
            return Err(*refusal);
        }
        self.inbox.push((message.payload.to_vec(), message.immediate));
        Ok(())
    }

    fn write(&mut self, remote: Remote, bytes: &[u8]) -> Result<(), Refusal> {
        let range = self.range(remote, bytes.len())?;
        self.region[range].copy_from_slice(bytes);
        Ok(())
    }

    fn written(&mut self, remote: Remote, immediate: u32, length: u32) -> Result<(), Refusal> {
        if let Some(refusal) = self.refuse.get(&remote.destination) {
            return Err(*refusal);
        }
        self.written.push((immediate, length));
        Ok(())
    }

    fn readable(&mut self, remote: Remote, length: u32) -> Result<(), Refusal> {
        self.range(remote, length as usize).map(|_| ())
    }

    fn read(&mut self, remote: Remote, into: &mut [u8]) -> Result<(), Refusal> {
        if self.unreadable {
            return Err(Refusal::NotPermitted);
        }
        let end = remote.address.saturating_add(into.len() as u64);
        if self.unreadable_from.is_some_and(|from| end > from) {
            return Err(Refusal::NotPermitted);
        }
        let range = self.range(remote, into.len())?;
        into.copy_from_slice(&self.region[range]);
        Ok(())
    }
}

impl Host {
    fn is_there(&self, payload: u64, offset: u32, length: usize) -> Result<(), Gone> {
        let end = u64::from(offset) + length as u64;
        let from = self.gone.get(&payload).copied();
        from.is_none_or(|from| end <= u64::from(from))
            .then_some(())
            .ok_or(Gone)
    }

    fn range(&self, remote: Remote, length: usize) -> Result<std::ops::Range<usize>, Refusal> {
        if remote.key != KEY {
            return Err(Refusal::BadKey);
        }
        let begin = usize::try_from(remote.address).map_err(|_| Refusal::BadAddress)?;
        let end = begin.checked_add(length).filter(|end| *end <= self.region.len());
        end.map(|end| begin..end).ok_or(Refusal::BadAddress)
    }
}

/// What the network does with a datagram: it comes after these delays, not at all if there are none.
pub(super) type Fate = Vec<Duration>;

/// Decides the fate of each datagram.
pub(super) type Network = Box<dyn FnMut(&Flying, Instant, &mut Random) -> Fate>;

/// A datagram on its way: the end that gets it, its path, its bytes.
#[derive(Clone, Debug)]
pub(super) struct Flying {
    pub(super) to: usize,
    pub(super) path: u8,
    pub(super) bytes: Vec<u8>,
}

/// Both ends and the network.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) ends: [Endpoint; 2],
    pub(super) hosts: [Host; 2],
    pub(super) peers: [PeerId; 2],
    pub(super) random: Random,
    /// Datagrams by the time of their arrival.
    pub(super) network: BTreeMap<(Instant, u64), Flying>,
    /// Every datagram that was ever sent, for those who want to send it again.
    pub(super) recorded: Vec<Flying>,
    /// What the network does; it is asked for each datagram.
    pub(super) fate: Network,
    /// What became of messages, with the end.
    pub(super) events: Vec<(usize, Event)>,
    count: u64,
}

impl World {
    pub(super) fn new(config: &Config) -> Self {
        Self::with(config, config)
    }

    pub(super) fn with(first: &Config, second: &Config) -> Self {
        let mut ends = [
            Endpoint::new(first.clone(), gid(0), [1; 16]),
            Endpoint::new(second.clone(), gid(1), [2; 16]),
        ];
        let peers = [ends[0].add_peer(peer(1)), ends[1].add_peer(peer(0))];
        Self {
            now: Instant::from_nanos(1_000_000),
            ends,
            hosts: [Host::default(), Host::default()],
            peers,
            random: Random::new(5),
            network: BTreeMap::new(),
            recorded: Vec::new(),
            fate: Box::new(|_, _, _| vec![ONE_WAY]),
            events: Vec::new(),
            count: 0,
        }
    }

    /// Both ends with a region of memory.
    pub(super) fn with_regions(config: &Config, bytes: usize) -> Self {
        let mut world = Self::new(config);
        for host in &mut world.hosts {
            host.region = vec![0; bytes];
        }
        world
    }

    /// A network that loses and doubles some, and delays each by up to four times the usual.
    pub(super) fn rough(&mut self, lost_percent: u64) {
        self.fate = Box::new(move |_, _, random| {
            let mut fate = Vec::new();
            let copies = if random.next() % 100 < 3 { 2 } else { 1 };
            for _ in 0..copies {
                if random.next() % 100 >= lost_percent {
                    fate.push(ONE_WAY + Duration::from_nanos(random.next() % 15_000));
                }
            }
            fate
        });
    }

    /// Submits a message with these bytes from an end; its token is the payload's name.
    pub(super) fn send(&mut self, from: usize, token: u64, bytes: Vec<u8>) {
        self.submit(from, token, bytes, Action::Send { immediate: None });
    }

    pub(super) fn submit(&mut self, from: usize, token: u64, bytes: Vec<u8>, action: Action) {
        let request = self.request(from, token, bytes, action);
        self.ends[from]
            .submit(self.now, self.peers[from], request)
            .unwrap();
        self.assert_timed(from);
    }

    /// That an end's timer is not later than what it waits for, whatever it was spared of.
    fn assert_timed(&self, end: usize) {
        let end_of_time = Instant::from_nanos(u64::MAX);
        let (end, peer) = (&self.ends[end], self.peers[end]);
        let due = end
            .of(peer)
            .map_or(end_of_time, |context| context.due(end.config()));
        assert!(
            end.poll_timeout().unwrap_or(end_of_time) <= due,
            "a timer is late"
        );
    }

    pub(super) fn request(&mut self, from: usize, token: u64, bytes: Vec<u8>, action: Action) -> Request {
        let length = u32::try_from(bytes.len()).unwrap();
        self.hosts[from].payloads.insert(token, bytes);
        Request {
            token,
            source: 1,
            destination: 2,
            qkey: 3,
            length,
            payload: token,
            action,
        }
    }

    /// Lets time pass until that moment.
    pub(super) fn run_until(&mut self, end: Instant) {
        loop {
            self.pump();
            let arrival = self.network.first_key_value().map(|((at, _), _)| *at);
            let timers = self.ends.iter().filter_map(Endpoint::poll_timeout);
            match timers.chain(arrival).min() {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => break,
            }
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
            while let Some(entry) = self
                .network
                .first_entry()
                .filter(|entry| entry.key().0 <= self.now)
            {
                let Flying { to, bytes, .. } = entry.remove();
                let datagram = Datagram {
                    bytes: &bytes,
                    marked: false,
                };
                self.ends[to].handle_datagram(self.now, datagram, &mut self.hosts[to]);
            }
        }
        self.now = end;
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Takes what the ends have to send and to tell.
    fn pump(&mut self) {
        let mut out = vec![0; 70_000];
        for end in 0..2 {
            while let Some(transmit) =
                self.ends[end].poll_transmit(self.now, &mut self.hosts[end], &mut out, 4)
            {
                for bytes in out[..transmit.bytes].chunks(transmit.segment) {
                    self.fly(Flying {
                        to: 1 - end,
                        path: transmit.path,
                        bytes: bytes.to_vec(),
                    });
                }
                self.assert_timed(end);
            }
            self.assert_timed(end);
            while let Some(event) = self.ends[end].poll_event() {
                self.events.push((end, event));
            }
        }
    }

    /// Puts a datagram into the network.
    pub(super) fn fly(&mut self, flying: Flying) {
        for delay in (self.fate)(&flying, self.now, &mut self.random) {
            self.count += 1;
            self.network
                .insert((self.now + delay, self.count), flying.clone());
        }
        self.recorded.push(flying);
    }

    /// What became of a message, which must have happened once.
    pub(super) fn result(&self, token: u64) -> Result<(), Failure> {
        let mut of_token = self.events.iter().filter(|(_, event)| event.token == token);
        let (_, event) = of_token
            .next()
            .unwrap_or_else(|| panic!("nothing became of message {token}"));
        assert!(of_token.next().is_none(), "message {token} ended twice");
        event.result
    }
}

pub(super) fn gid(end: u8) -> [u8; 16] {
    [end + 10; 16]
}

pub(super) fn peer(end: u8) -> Peer {
    Peer {
        gid: gid(end),
        address: ([127, 0, 0, end + 1], 4_000).into(),
        key: PairKey::new([42; 16]),
        epoch: 1,
    }
}

/// From one end to the other.
pub(super) const ONE_WAY: Duration = Duration::from_micros(5);
/// The key of the regions.
pub(super) const KEY: u32 = 7;
