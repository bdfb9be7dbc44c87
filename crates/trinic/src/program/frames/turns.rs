//! One thread that is sender and receiver in turn, between two instances of a running card.
//!
//! It runs on the host, as root: an ENA is reached by its socket's path there, a traditional interface by its name in a
//! named network namespace. So the whole load generator is on one processor, and the card's worker can have another:
//! programs in both instances would be two threads. It is the same for both carriers, and so are the frames.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::carrier::{self, Carrier};
use super::template::Template;
use super::work::{cpu_s, float, is_for};
use super::{CarrierName, PORTS, Path, Way};

/// Runs it for `time`; the figures as JSON.
pub(super) fn run(
    ends: [&CarrierName; 2],
    path: &Path,
    time: Duration,
    bytes: u16,
    connections: u32,
) -> Result<serde_json::Value> {
    let ports: Vec<u16> = (path.port..path.port + PORTS).collect();
    let mut near = carrier::open(ends[0], bytes, Way::Poll, &[])?;
    let mut far = carrier::open(ends[1], bytes, Way::Poll, &ports)?;
    let template = Template::new(near.mac(), path, bytes, connections)?;
    let mut turns = Turns {
        near: &mut *near,
        far: &mut *far,
        template: &template,
        port: path.port,
        next: 0,
    };
    // Every connection is known before the clock counts.
    let warm_up = 2 * u64::from(connections) + WARM_UP_LEAST;
    let patience = Instant::now();
    let warm = turns.take(|done| done.sent >= warm_up || patience.elapsed() > PATIENCE)?;
    ensure!(
        warm.sent >= warm_up,
        "Only {} of {warm_up} frames went within {} s, so not every connection is known",
        warm.sent,
        PATIENCE.as_secs()
    );
    let (start, cpu_start) = (Instant::now(), cpu_s());
    let done = turns.take(|_| start.elapsed() >= time)?;
    let (seconds, cpu_s) = (start.elapsed().as_secs_f64(), cpu_s() - cpu_start);
    ensure!(done.received > 0, "Of {} frames none arrived", done.sent);
    Ok(json!({
        "bytes": bytes, "connections": connections, "sent": done.sent, "received": done.received,
        "seconds": seconds, "mpps": float(done.received) / seconds / 1e6, "cpu_s": cpu_s,
        "waits_percent": 100.0 * float(done.waits) / float(done.turns),
    }))
}

/// Both ends.
struct Turns<'a> {
    near: &'a mut dyn Carrier,
    far: &'a mut dyn Carrier,
    template: &'a Template,
    port: u16,
    /// The connection whose turn it is.
    next: u32,
}

/// What came of some turns.
#[derive(Debug, Default)]
struct Done {
    sent: u64,
    received: u64,
    turns: u64,
    /// Turns in which there was nothing to receive and no room to send.
    waits: u64,
}

impl Turns<'_> {
    /// A burst out and a burst in, until it is enough.
    fn take(&mut self, enough: impl Fn(&Done) -> bool) -> Result<Done> {
        let mut done = Done::default();
        let port = self.port;
        let mut tended = Instant::now();
        while !enough(&done) {
            let offered = self.near.flood(self.template, &mut self.next)?;
            let received = &mut done.received;
            let got = self
                .far
                .receive(&mut |head, _| *received += u64::from(is_for(head, port)))?;
            done.sent += offered as u64;
            done.turns += 1;
            if offered == 0 && got == 0 {
                done.waits += 1;
                pause();
            }
            if done.turns.is_multiple_of(TEND_TURNS) && tended.elapsed() > TEND {
                tended = Instant::now();
                self.near.tend()?;
                self.far.tend()?;
            }
        }
        Ok(done)
    }
}

/// Leaves the worker's memory alone for a moment: each look takes cache lines away from it.
fn pause() {
    let start = Instant::now();
    while start.elapsed() < PAUSE {
        std::hint::spin_loop();
    }
}

/// Between two looks that found nothing to do.
const PAUSE: Duration = Duration::from_micros(1);
/// How often the carriers are tended, and how often that is looked at.
const TEND: Duration = Duration::from_millis(500);
const TEND_TURNS: u64 = 1024;
/// Frames of the warm-up, whatever the number of connections.
const WARM_UP_LEAST: u64 = 10_000;
/// How long the warm-up may take.
const PATIENCE: Duration = Duration::from_secs(30);
