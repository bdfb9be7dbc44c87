//! A capture of two endpoints: `cargo run -p trinic-srd --example capture -- OUT.pcap`.
//!
//! They speak in virtual time, and the file shows what leaves either end: the greeting, messages, a lost packet that goes again, an RDMA write and a read of several
//! segments each, and a message that is refused, with the VOID in its place. `tshark -X lua_script:docs/spec/srd.lua -r OUT.pcap` decodes it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use trinic_srd::{
    Action, Config, Datagram, Endpoint, Event, Gone, Incoming, Instant, Local, PairKey, Peer, PeerId,
    Refusal, Remote, Request,
};
use trinic_wire::checksum::{Sum, never_zero, pseudo_v4};

#[expect(clippy::print_stdout, reason = "this is the program's output")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: capture OUT.pcap")?;
    let mut lab = Lab::new();
    // One message alone, so that the rest meets a session.
    lab.submit(100, PAIR, Action::Send { immediate: None })?;
    lab.run();
    lab.lose = Some(3);
    for _ in 0..12 {
        lab.submit(
            64,
            PAIR,
            Action::Send {
                immediate: Some(0x5eed),
            },
        )?;
    }
    lab.run();
    let (key, address) = (KEY, 0x1000);
    let immediate = Some(0xcafe);
    lab.submit(
        30_000,
        PAIR,
        Action::Write {
            key,
            address,
            immediate,
        },
    )?;
    lab.run();
    lab.submit(20_000, PAIR, Action::Read { key, address })?;
    lab.run();
    lab.submit(64, PAIR + 1, Action::Send { immediate: None })?;
    lab.run();
    std::fs::write(&path, &lab.file)?;
    let completed = lab.events.iter().filter(|event| event.result.is_ok()).count();
    println!(
        "{path}: {} packets; {completed} of {} messages completed",
        lab.packets,
        lab.events.len()
    );
    Ok(())
}

/// Two interfaces and a wire with a capture of both directions.
struct Lab {
    now: Instant,
    ends: [Endpoint; 2],
    peers: [PeerId; 2],
    owner: Owner,
    /// What is on its way, by its arrival: the end that gets it, and the bytes.
    wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    /// After so many data packets of the first end one is lost.
    lose: Option<u32>,
    tokens: u64,
    packets: u64,
    events: Vec<Event>,
    file: Vec<u8>,
}

impl Lab {
    fn new() -> Self {
        let mut ends = [0_u8, 1].map(|end| Endpoint::new(Config::default(), gid(end), [end + 1; 16]));
        let peers = [ends[0].add_peer(peer(1)), ends[1].add_peer(peer(0))];
        Self {
            now: Instant::from_nanos(1_000_000_000),
            ends,
            peers,
            owner: Owner,
            wire: BTreeMap::new(),
            lose: None,
            tokens: 0,
            packets: 0,
            events: Vec::new(),
            file: file_header(),
        }
    }

    fn submit(
        &mut self,
        length: u32,
        destination: u16,
        action: Action,
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.tokens += 1;
        let request = Request {
            token: self.tokens,
            source: PAIR,
            destination,
            qkey: 0x1122_3344,
            length,
            payload: 0,
            action,
        };
        Ok(self.ends[0].submit(self.now, self.peers[0], request)?)
    }

    /// Lets time pass until nothing is on its way and nothing is due.
    fn run(&mut self) {
        loop {
            self.pump();
            let timers = self.ends.iter().filter_map(Endpoint::poll_timeout);
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = timers.chain(arrival).min() else {
                return;
            };
            self.now = self.now.max(next);
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
            while let Some(first) = self.wire.first_entry().filter(|first| first.key().0 <= self.now) {
                let (to, bytes) = first.remove();
                let datagram = Datagram {
                    bytes: &bytes,
                    marked: false,
                };
                self.ends[to].handle_datagram(self.now, datagram, &mut self.owner);
            }
        }
    }

    fn pump(&mut self) {
        let mut out = vec![0; 65_536];
        for end in 0..2 {
            while let Some(sent) = self.ends[end].poll_transmit(self.now, &mut self.owner, &mut out, 1) {
                let bytes = out[..sent.bytes].to_vec();
                self.capture(end, sent.path, &bytes);
                if end == 0 && self.loses(&bytes) {
                    continue;
                }
                let arrival = self.now + ONE_WAY;
                self.wire.insert((arrival, self.packets), (1 - end, bytes));
            }
            while let Some(event) = self.ends[end].poll_event() {
                self.events.push(event);
            }
        }
    }

    /// Whether this is the data packet that is lost.
    fn loses(&mut self, bytes: &[u8]) -> bool {
        const DATA: u8 = 0x12;
        match self.lose.as_mut() {
            Some(left) if bytes.first() == Some(&DATA) => {
                *left = left.saturating_sub(1);
                let lost = *left == 0;
                if lost {
                    self.lose = None;
                }
                lost
            }
            _ => false,
        }
    }

    fn capture(&mut self, from: usize, path: u8, payload: &[u8]) {
        let frame = frame(from, path, payload, self.packets);
        let ns = self.now.as_nanos();
        // Source: draft-ietf-opsawg-pcap, section 5: seconds, nanoseconds, bytes kept, bytes on the wire.
        for number in [
            ns / 1_000_000_000,
            ns % 1_000_000_000,
            frame.len() as u64,
            frame.len() as u64,
        ] {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.file.extend(number.to_be_bytes());
        }
        self.file.extend(frame);
        self.packets += 1;
    }
}

/// Takes messages for one queue pair, and has memory that reads as zeros.
struct Owner;

impl Local for Owner {
    fn gather(&mut self, _: u64, _: u32, into: &mut [u8]) -> Result<(), Gone> {
        into.fill(0x2a);
        Ok(())
    }

    fn scatter(&mut self, _: u64, _: u32, _: &[u8]) -> Result<(), Gone> {
        Ok(())
    }

    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal> {
        if message.destination != PAIR {
            return Err(Refusal::BadQueuePair);
        }
        Ok(())
    }

    fn write(&mut self, remote: Remote, _: &[u8]) -> Result<(), Refusal> {
        known(remote)
    }

    fn written(&mut self, remote: Remote, _: u32, _: u32) -> Result<(), Refusal> {
        known(remote)
    }

    fn readable(&mut self, remote: Remote, _: u32) -> Result<(), Refusal> {
        known(remote)
    }

    fn read(&mut self, remote: Remote, into: &mut [u8]) -> Result<(), Refusal> {
        into.fill(0);
        known(remote)
    }
}

fn known(remote: Remote) -> Result<(), Refusal> {
    if remote.key == KEY {
        Ok(())
    } else {
        Err(Refusal::BadKey)
    }
}

/// The file's header: times in nanoseconds, link type Ethernet (draft-ietf-opsawg-pcap, section 4).
fn file_header() -> Vec<u8> {
    let mut header = 0xa1b2_3c4d_u32.to_be_bytes().to_vec();
    header.extend([0, 2, 0, 4]);
    header.extend([0; 8]);
    header.extend(65_535_u32.to_be_bytes());
    header.extend(1_u32.to_be_bytes());
    header
}

/// An Ethernet frame with IPv4 (RFC 791) and UDP (RFC 768), checksums included.
fn frame(from: usize, path: u8, payload: &[u8], id: u64) -> Vec<u8> {
    let [source, destination] = [address(from), address(1 - from)];
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
    let udp_length = length(8 + payload.len());

    let mut udp = (FIRST_SOURCE_PORT + u16::from(path)).to_be_bytes().to_vec();
    udp.extend(PORT.to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let sum = pseudo_v4(source, destination, 17, udp_length).bytes(&udp);
    udp[6..8].copy_from_slice(&never_zero(sum.checksum()).to_be_bytes());

    // ECT(0) (RFC 3168), do not fragment, 64 hops, UDP.
    let mut ip = vec![0x45, 2];
    ip.extend(length(20 + udp.len()).to_be_bytes());
    ip.extend(&id.to_be_bytes()[6..]);
    ip.extend([0x40, 0, 64, 17, 0, 0]);
    ip.extend(source.octets());
    ip.extend(destination.octets());
    let sum = Sum::of(&ip).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());

    let ethernet = [mac(1 - from), mac(from)].concat();
    [&ethernet[..], &[8, 0], &ip, &udp].concat()
}

fn gid(end: u8) -> [u8; 16] {
    let mut gid = [0; 16];
    (gid[0], gid[1], gid[15]) = (0xfe, 0x80, end + 1);
    gid
}

fn peer(end: u8) -> Peer {
    Peer {
        gid: gid(end),
        address: (address(usize::from(end)), PORT).into(),
        key: PairKey::new([42; 16]),
        epoch: 0,
    }
}

fn address(end: usize) -> Ipv4Addr {
    if end == 0 {
        Ipv4Addr::new(10, 0, 0, 1)
    } else {
        Ipv4Addr::new(10, 0, 0, 2)
    }
}

fn mac(end: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, u8::from(end != 0) + 1]
}

/// SRD's port [PKT-2], and the source port of path 0.
const PORT: u16 = 64_773;
const FIRST_SOURCE_PORT: u16 = 49_152;
/// The queue pair of either end.
const PAIR: u16 = 7;
/// The region's key.
const KEY: u32 = 0xbeef;
const ONE_WAY: Duration = Duration::from_micros(20);
