//! Ping over an ICMP socket of this process's network stack.
//!
//! A datagram ICMP socket needs no privilege where `net.ipv4.ping_group_range` allows it (instances do);
//! a raw socket is the fallback for root. Source: Linux `icmp(7)`, `ip(7)`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use serde::{Deserialize, Serialize};

/// How long the last request is waited for.
const LAST_WAIT: Duration = Duration::from_millis(700);

/// What a ping measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PingOutcome {
    /// Requests sent.
    pub sent: u32,
    /// Answers that came back.
    pub received: u32,
    /// Median round trip in microseconds; `None` without an answer.
    pub rtt_p50_us: Option<f64>,
    /// The longest time between two answers (the first request and the last answer count as its ends), in
    /// milliseconds: the time without traffic.
    pub longest_gap_ms: f64,
}

/// Sends `count` requests, one each `interval`, and listens all the while.
pub(super) fn run(
    address: IpAddr,
    source: Option<IpAddr>,
    count: u32,
    interval: Duration,
) -> Result<PingOutcome> {
    let socket = Socket::open(address, source).context("Could not open an ICMP socket")?;
    let start = Instant::now();
    let mut sent_at: Vec<Instant> = Vec::with_capacity(count as usize);
    let mut answers: Vec<Option<Instant>> = vec![None; count as usize];
    let mut next = start;
    let mut end = None;
    while answers.iter().any(Option::is_none) && end.is_none_or(|end| Instant::now() < end) {
        if end.is_none() && Instant::now() >= next {
            let sequence = u16::try_from(sent_at.len()).context("Too many requests")?;
            sent_at.push(Instant::now());
            // A refused send (no route, for example) is a lost request, as the count will show.
            let _ = socket.request(sequence);
            next += interval;
            if sent_at.len() == count as usize {
                end = Some(Instant::now() + LAST_WAIT);
            }
        }
        let until = end.unwrap_or(next);
        if let Some(sequence) = socket.answer(until.saturating_duration_since(Instant::now()))?
            && let Some(slot @ None) = answers.get_mut(usize::from(sequence))
        {
            *slot = Some(Instant::now());
        }
    }
    Ok(summary(start, &sent_at, &answers))
}

fn summary(start: Instant, sent_at: &[Instant], answers: &[Option<Instant>]) -> PingOutcome {
    let mut rtts_us: Vec<f64> = sent_at
        .iter()
        .zip(answers)
        .filter_map(|(sent, answer)| Some((*answer)?.duration_since(*sent).as_secs_f64() * 1e6))
        .collect();
    rtts_us.sort_by(f64::total_cmp);
    let mut times: Vec<Instant> = answers.iter().flatten().copied().collect();
    times.sort_unstable();
    let last_sent = sent_at.last().copied().unwrap_or(start);
    let ends = std::iter::once(start).chain(times.iter().copied());
    let next = times.iter().copied().chain(std::iter::once(
        last_sent.max(times.last().copied().unwrap_or(start)),
    ));
    let longest_gap_ms = ends
        .zip(next)
        .map(|(a, b)| b.duration_since(a).as_secs_f64() * 1e3)
        .fold(0.0, f64::max);
    PingOutcome {
        sent: u32::try_from(sent_at.len()).unwrap_or(u32::MAX),
        received: u32::try_from(times.len()).unwrap_or(u32::MAX),
        rtt_p50_us: rtts_us.get(rtts_us.len() / 2).copied(),
        longest_gap_ms,
    }
}

/// An ICMP or ICMPv6 socket that knows its own answers.
struct Socket {
    /// An ICMP socket in UdpSocket's clothes: only its send, receive and timeout calls are used.
    socket: UdpSocket,
    to: SocketAddr,
    raw: bool,
    identifier: u16,
}

impl Socket {
    fn open(address: IpAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let (family, protocol, any) = match address {
            IpAddr::V4(_) => (
                AddressFamily::INET,
                ipproto::ICMP,
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ),
            IpAddr::V6(_) => (
                AddressFamily::INET6,
                ipproto::ICMPV6,
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ),
        };
        let open = |kind| rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol));
        let (fd, raw): (OwnedFd, bool) = match open(SocketType::DGRAM) {
            Ok(fd) => (fd, false),
            Err(_) => (open(SocketType::RAW)?, true),
        };
        rustix::net::bind(&fd, &SocketAddr::new(source.unwrap_or(any), 0))?;
        let identifier = (std::process::id() & 0xffff) as u16;
        Ok(Self {
            socket: UdpSocket::from(fd),
            to: SocketAddr::new(address, 0),
            raw,
            identifier,
        })
    }

    fn request(&self, sequence: u16) -> io::Result<()> {
        let kind = if self.to.is_ipv4() { 8 } else { 128 };
        let mut packet = [0_u8; 16];
        packet[0] = kind;
        packet[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        packet[8..].copy_from_slice(b"trinic  ");
        // The kernel fills the ICMPv6 checksum, and that of datagram sockets; a raw IPv4 socket wants ours.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        self.socket.send_to(&packet, self.to).map(|_| ())
    }

    /// The sequence number of the next answer within `wait`.
    fn answer(&self, wait: Duration) -> io::Result<Option<u16>> {
        self.socket
            .set_read_timeout(Some(wait.max(Duration::from_micros(100))))?;
        let mut buffer = [0_u8; 256];
        let length = match self.socket.recv_from(&mut buffer) {
            Ok((length, _)) => length,
            Err(error) if is_nothing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(self.sequence_of(&buffer[..length]))
    }

    fn sequence_of(&self, packet: &[u8]) -> Option<u16> {
        // A raw IPv4 socket gives the IP header too.
        let icmp = if self.raw && self.to.is_ipv4() {
            packet.get(usize::from(packet.first()? & 0x0f) * 4..)?
        } else {
            packet
        };
        let reply = if self.to.is_ipv4() { 0 } else { 129 };
        let is_ours = !self.raw || icmp.get(4..6)? == self.identifier.to_be_bytes();
        let sequence = u16::from_be_bytes([*icmp.get(6)?, *icmp.get(7)?]);
        (*icmp.first()? == reply && is_ours).then_some(sequence)
    }
}

/// Errors that only say that there is no answer (yet): time is up, or an ICMP error came instead.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut, WouldBlock,
    };
    matches!(
        error.kind(),
        WouldBlock | TimedOut | Interrupted | HostUnreachable | NetworkUnreachable | ConnectionRefused
    )
}

/// The Internet checksum. Source: RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(u16::try_from(sum).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_counts_from_the_first_request_to_the_last_answer() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let sent = [at(0), at(10), at(20), at(30)];
        let outcome = summary(start, &sent, &[Some(at(1)), None, None, Some(at(31))]);
        assert_eq!((outcome.sent, outcome.received), (4, 2));
        assert!((outcome.longest_gap_ms - 30.0).abs() < 0.01);
        let silent = summary(start, &sent, &[None; 4]);
        assert!((silent.longest_gap_ms - 30.0).abs() < 0.01);
        assert_eq!(silent.rtt_p50_us, None);
    }

    #[test]
    fn this_machine_answers_itself() {
        match run(IpAddr::V4(Ipv4Addr::LOCALHOST), None, 3, Duration::from_millis(5)) {
            Ok(outcome) => assert_eq!(outcome.received, 3),
            Err(error) => eprintln!("SKIP: no ICMP socket for this user: {error:#}"),
        }
    }
}
