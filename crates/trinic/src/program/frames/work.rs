//! What the programs do, whatever carries the frames.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::carrier::{self, Carrier};
use super::template::{HEADERS, SOURCE_PORT_FIRST, Template, destination_port, turn_around};
use super::{CarrierName, PORTS, Path, Way};

/// What an echo did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EchoOutcome {
    /// Frames that were turned around.
    pub echoed: u64,
}

/// What a flood sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FloodOutcome {
    /// Frames that the carrier took.
    pub sent: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Seconds of processor time of this process.
    pub cpu_s: f64,
}

/// What a sink counted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SinkOutcome {
    /// Frames that arrived.
    pub received: u64,
    /// Bytes of them, from the Ethernet header to the end of the IP packet.
    pub bytes: u64,
    /// Seconds from the first to the last.
    pub seconds: f64,
    /// Frames a second in that time.
    pub per_s: f64,
    /// Bits a second in that time.
    pub bits_per_s: f64,
    /// Seconds of processor time of this process in that time.
    pub cpu_s: f64,
}

/// How many round trips, at most, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trips {
    pub count: u32,
    /// No one is begun later.
    pub time: Duration,
    /// Silence before each but the first.
    pub pause: Duration,
}

/// Round-trip times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoundTripOutcome {
    /// Answers that came back.
    pub count: usize,
    /// Frames without an answer.
    pub lost: u64,
    /// The median, in microseconds; `None` without an answer.
    pub p50_us: Option<f64>,
    /// 99 of 100 are not longer.
    pub p99_us: Option<f64>,
    /// The first one, which finds everybody asleep.
    pub first_us: Option<f64>,
}

pub(super) fn echo(name: &CarrierName, port: u16, idle: Duration, way: Way) -> Result<EchoOutcome> {
    let ports: Vec<u16> = (port..port + PORTS).collect();
    let mut carrier = carrier::open(name, 1500, way, &ports)?;
    let mut echoed = 0;
    let mut pause = Pause::new(way);
    let mut last = Instant::now();
    while last.elapsed() < idle {
        let count = carrier.bounce(&mut |head| {
            let is_ours = is_for(head, port);
            if is_ours {
                turn_around(head);
                echoed += 1;
            }
            is_ours
        })?;
        if count > 0 {
            last = Instant::now();
        } else {
            pause.take(&mut *carrier, idle.saturating_sub(last.elapsed()))?;
        }
    }
    Ok(EchoOutcome { echoed })
}

pub(super) fn sink(name: &CarrierName, port: u16, idle: Duration, bytes: u16) -> Result<SinkOutcome> {
    let ports: Vec<u16> = (port..port + PORTS).collect();
    let mut carrier = carrier::open(name, bytes, Way::Poll, &ports)?;
    let (mut received, mut total) = (0_u64, 0_u64);
    let mut pause = Pause::new(Way::Poll);
    let mut last = Instant::now();
    let mut first = None;
    let mut cpu_last = cpu_s();
    loop {
        let before = received;
        carrier.receive(&mut |head, length| {
            if is_for(head, port) {
                received += 1;
                total += length as u64;
            }
        })?;
        if received > before {
            last = Instant::now();
            if first.is_none() {
                cpu_last = cpu_s();
                first = Some((last, cpu_last));
            }
        } else if last.elapsed() >= if first.is_some() { idle } else { idle.max(FIRST) } {
            break;
        } else {
            if last.elapsed() < QUIET {
                cpu_last = cpu_s();
            }
            pause.take(&mut *carrier, idle)?;
        }
    }
    let (start, cpu_start) = first.unwrap_or((last, cpu_last));
    let seconds = last.duration_since(start).as_secs_f64();
    let rate = |count: u64| {
        if seconds > 0.0 {
            float(count) / seconds
        } else {
            0.0
        }
    };
    Ok(SinkOutcome {
        received,
        bytes: total,
        seconds,
        per_s: rate(received),
        bits_per_s: rate(total * 8),
        cpu_s: cpu_last - cpu_start,
    })
}

pub(super) fn flood(
    name: &CarrierName,
    path: &Path,
    time: Duration,
    bytes: u16,
    connections: u32,
) -> Result<FloodOutcome> {
    let mut carrier = carrier::open(name, bytes, Way::Poll, &[])?;
    let template = Template::new(carrier.mac(), path, bytes, connections)?;
    let mut pause = Pause::new(Way::Poll);
    let (mut sent, mut next) = (0, 0);
    let cpu_start = cpu_s();
    let start = Instant::now();
    while start.elapsed() < time {
        let count = carrier.flood(&template, &mut next)?;
        sent += count as u64;
        if count == 0 {
            pause.take(&mut *carrier, Duration::ZERO)?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu_s = cpu_s() - cpu_start;
    // What is in the queue goes with the function: the switch has its time to take it.
    std::thread::sleep(DRAIN);
    Ok(FloodOutcome { sent, seconds, cpu_s })
}

pub(super) fn round_trip(
    name: &CarrierName,
    path: &Path,
    trips: Trips,
    way: Way,
) -> Result<RoundTripOutcome> {
    let mut carrier = carrier::open(name, 1500, way, &[SOURCE_PORT_FIRST])?;
    let template = Template::new(carrier.mac(), path, ROUND_TRIP_BYTES, 1)?;
    let mut pause = Pause::new(way);
    let mut times_ns = Vec::new();
    let mut first = None;
    let mut lost = 0;
    let begin = Instant::now();
    for number in 0..trips.count {
        if number > 0 && begin.elapsed() >= trips.time {
            break;
        }
        if number > 0 && !trips.pause.is_zero() {
            std::thread::sleep(trips.pause);
        }
        let sequence = u64::from(number).to_be_bytes();
        let frame = template.whole(0, &sequence);
        let start = Instant::now();
        if !carrier.send(&frame)? {
            bail!("The carrier takes no frame");
        }
        let mut answered = None;
        while answered.is_none() && start.elapsed() < PATIENCE {
            let seen = carrier.receive(&mut |head, _| {
                let is_answer = destination_port(head) == Some(SOURCE_PORT_FIRST)
                    && head.get(HEADERS..HEADERS + 8) == Some(&sequence);
                if is_answer {
                    answered = Some(start.elapsed());
                }
            })?;
            if seen == 0 {
                pause.take(&mut *carrier, PATIENCE.saturating_sub(start.elapsed()))?;
            }
        }
        match answered {
            Some(time) => {
                let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                times_ns.push(ns);
                if number == 0 {
                    first = Some(float(ns) / 1e3);
                }
            }
            None => lost += 1,
        }
        if lost > LOST_MOST {
            break;
        }
    }
    times_ns.sort_unstable();
    let quantile = |percent: usize| {
        let at = times_ns.len().saturating_sub(1) * percent / 100;
        times_ns.get(at).map(|ns| float(*ns) / 1e3)
    };
    Ok(RoundTripOutcome {
        count: times_ns.len(),
        lost,
        p50_us: quantile(50),
        p99_us: quantile(99),
        first_us: first,
    })
}

/// What a program does when nothing is there.
struct Pause {
    way: Way,
    tended: Instant,
}

impl Pause {
    fn new(way: Way) -> Self {
        Self {
            way,
            tended: Instant::now(),
        }
    }

    fn take(&mut self, carrier: &mut dyn Carrier, limit: Duration) -> Result<()> {
        if self.tended.elapsed() > TEND {
            self.tended = Instant::now();
            carrier.tend()?;
        }
        match self.way {
            Way::Wait => carrier.sleep(limit.min(TEND)),
            // There may be more threads that poll than processors.
            Way::Poll => {
                std::thread::yield_now();
                Ok(())
            }
        }
    }
}

#[inline]
pub(super) fn is_for(head: &[u8], port: u16) -> bool {
    destination_port(head).is_some_and(|found| (port..port + PORTS).contains(&found))
}

/// Processor time of this process, in seconds.
pub(super) fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).map_or(0.0, |time| time.as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "a rate or a time is an approximation")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// How long the first frame may take.
const FIRST: Duration = Duration::from_secs(3);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// After so many lost frames the rest is not tried.
const LOST_MOST: u64 = 5;
/// A pause so short belongs to the traffic.
const QUIET: Duration = Duration::from_millis(1);
/// How often a carrier is tended.
const TEND: Duration = Duration::from_millis(500);
/// Time for the switch to take what was sent last.
const DRAIN: Duration = Duration::from_millis(50);
/// Bytes of a round trip's packet: the smallest frame.
const ROUND_TRIP_BYTES: u16 = super::template::PACKET_BYTES_LEAST;
