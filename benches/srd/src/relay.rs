//! What stands between the two sides: it takes each frame from one end of a cable, keeps it for a time, and puts it on the other, or drops it.
//!
//! Both protocols are met the same way: it looks into no frame. It adds no limit to the rate but its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Value, json};
use trinic_host::clock::monotonic_ns;
use trinic_host::packet::FrameSocket;
use trinic_host::port::{BATCH_LIMIT, Batch, Port, Writer, Written};
use trinic_host::srd::wait_exactly;

use crate::load::nanos;

/// A frame on its way.
#[derive(Debug)]
struct Frame {
    due: u64,
    /// The socket that it leaves by.
    out: usize,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Counts {
    relayed: u64,
    dropped: u64,
    /// For want of room: here, or behind the cable.
    overflowed: u64,
    /// Bytes of the longest frame: how it is seen that none is larger than the MTU.
    longest: usize,
    late_ns: u64,
    very_late: u64,
}

/// Relays until the standard input ends; then says what it did.
pub(crate) fn run(delay: Duration, loss_per_million: u64, seed: u64, pairs: &[&str]) -> Result<Value> {
    wait_exactly()?;
    let mut sockets = Vec::new();
    for pair in pairs {
        let (one, other) = pair
            .split_once(':')
            .with_context(|| format!("`{pair}` is no pair"))?;
        for name in [one, other] {
            sockets.push(FrameSocket::open(name)?);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    crate::at_end_of_input(move || stopped.store(true, Ordering::Relaxed));
    crate::say("relaying");
    let mut relay = Relay {
        delay: nanos(delay),
        loss_per_million,
        random: seed | 1,
        queue: VecDeque::new(),
        spare: Vec::new(),
        counts: Counts::default(),
        writer: Writer::new(),
        batch: Batch::new(BATCH_LIMIT),
    };
    while !stop.load(Ordering::Relaxed) {
        for index in wait(&sockets, relay.queue.front().map(|frame| frame.due))? {
            relay.take(&sockets, index)?;
        }
        relay.give(&sockets);
    }
    let counts = relay.counts;
    Ok(json!({
        "relayed": counts.relayed, "dropped": counts.dropped, "overflowed": counts.overflowed,
        "longest_frame_bytes": counts.longest, "mean_late_us": counts.late_ns / counts.relayed.max(1) / 1_000,
        "later_than_200_us": counts.very_late,
    }))
}

#[derive(Debug)]
struct Relay {
    delay: u64,
    loss_per_million: u64,
    random: u64,
    /// In the order in which they are due, since all wait equally long.
    queue: VecDeque<Frame>,
    /// Memory of frames that have gone.
    spare: Vec<Vec<u8>>,
    counts: Counts,
    writer: Writer,
    batch: Batch,
}

impl Relay {
    /// Takes what has come to a socket.
    fn take(&mut self, sockets: &[FrameSocket], index: usize) -> Result<()> {
        let count = sockets[index].read_batch(&mut self.batch)?;
        let due = monotonic_ns() + self.delay;
        for number in 0..count {
            let frame = self.batch.frame(number);
            let header = sockets[index].vnet_header_bytes();
            self.counts.longest = self.counts.longest.max(frame.len().saturating_sub(header));
            // The xorshift64 generator (Marsaglia, 2003).
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            if ((self.random >> 32) * 1_000_000) >> 32 < self.loss_per_million {
                self.counts.dropped += 1;
                continue;
            }
            if self.queue.len() >= MOST_FRAMES {
                self.counts.overflowed += 1;
                continue;
            }
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(frame);
            self.queue.push_back(Frame {
                due,
                // Sockets come in pairs.
                out: index ^ 1,
                bytes,
            });
        }
        Ok(())
    }

    /// Gives out what is due.
    fn give(&mut self, sockets: &[FrameSocket]) {
        let now = monotonic_ns();
        loop {
            let due = self.queue.iter().take(BATCH_LIMIT);
            let due = due.take_while(|frame| frame.due <= now).count();
            if due == 0 {
                return;
            }
            let mut results = [Written::Full; BATCH_LIMIT];
            let frames = self.queue.iter().take(due).map(|frame| {
                let port: &dyn Port = &sockets[frame.out];
                (port, frame.bytes.as_slice())
            });
            self.writer.write_all(frames, &mut results[..due]);
            for (frame, result) in self.queue.drain(..due).zip(results) {
                let late = now - frame.due;
                self.counts.late_ns += late;
                self.counts.very_late += u64::from(late > VERY_LATE_NS);
                match result {
                    Written::Sent => self.counts.relayed += 1,
                    Written::Full | Written::Refused(_) => self.counts.overflowed += 1,
                }
                self.spare.push(frame.bytes);
            }
        }
    }
}

/// Waits until there are frames or one is due; the sockets with frames.
fn wait(sockets: &[FrameSocket], due: Option<u64>) -> Result<Vec<usize>> {
    let mut watched: Vec<_> = sockets
        .iter()
        .map(|socket| PollFd::new(socket, PollFlags::IN))
        .collect();
    let most = due.map_or(LONGEST_WAIT, |due| {
        Duration::from_nanos(due.saturating_sub(monotonic_ns()))
    });
    let most = Timespec {
        tv_sec: 0,
        tv_nsec: most.min(LONGEST_WAIT).subsec_nanos().into(),
    };
    match rustix::event::poll(&mut watched, Some(&most)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready = watched.iter().enumerate();
    Ok(ready
        .filter(|(_, fd)| !fd.revents().is_empty())
        .map(|(index, _)| index)
        .collect())
}

/// Most frames that are kept: 20 Gbit/s of 1,500 bytes for 10 ms, or 9,000 bytes at any rate reached here.
const MOST_FRAMES: usize = 16_384;
const LONGEST_WAIT: Duration = Duration::from_millis(100);
const VERY_LATE_NS: u64 = 200_000;
