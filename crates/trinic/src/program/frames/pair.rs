//! What the switching thread moves when it has a processor of its own.
//!
//! A sender's and a receiver's driver take turns on one thread and processor, the card's worker runs on another, over
//! the same sockets, mapped memory and security groups as on a card. It is how a user-space switch is usually measured:
//! one switching core, and a load generator that is faster than it.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use trinic_host::process::pin_thread;

use super::Path;
use super::carrier::Carrier as _;
use super::core::{Folder, INTERFACES, PORT, new_worker, set_up};
use super::ena::Ena;
use super::template::{Template, destination_port};
use crate::card::one_subnet::{address, interface_id, mac};
use crate::card::worker::{Handle, Message};

/// Runs it for `time`; the figures as JSON.
pub(super) fn run(time: Duration, bytes: u16, connections: u32) -> Result<serde_json::Value> {
    let (switching, driving) = processors()?;
    let folder = Folder::new()?;
    let (worker, handle) = new_worker()?;
    let (started, thread) = mpsc::channel();
    let serving = std::thread::Builder::new().name("worker".into()).spawn(move || {
        let pinned = pin_thread(switching).map(|()| rustix::thread::gettid());
        // The other side has gone only if it failed before.
        let _ = started.send(pinned);
        worker.serve()
    })?;
    let worker_id = thread.recv().context("The worker has not started")??;
    pin_thread(driving)?;
    let schedstat = format!("/proc/self/task/{worker_id}/schedstat");
    let ends = set_up(&handle, &folder, bytes);
    let measured = ends.and_then(|mut ends| {
        let result = measure(&mut ends, (time, bytes, connections), &schedstat, &handle);
        // Drivers ask the worker for their queues back when they go, so they go before it does.
        drop(ends);
        result
    });
    handle.send(Message::Stop)?;
    serving.join().ok().context("The worker has panicked")??;
    measured
}

fn measure(
    (near, far): &mut (Ena, Ena),
    (time, bytes, connections): (Duration, u16, u32),
    schedstat: &str,
    handle: &Handle,
) -> Result<serde_json::Value> {
    let path = Path {
        from: address(INTERFACES[0]),
        to: address(INTERFACES[1]),
        port: PORT,
    };
    let template = Template::new(mac(INTERFACES[0]), &path, bytes, connections)?;
    let mut next = 0;
    let mut pump = |enough: &dyn Fn(u64) -> bool| -> Result<Pumped> {
        let mut done = Pumped::default();
        while !enough(done.sent) {
            let offered = near.flood(&template, &mut next)?;
            let got =
                far.receive(&mut |head, _| done.received += u64::from(destination_port(head).is_some()))?;
            done.sent += offered as u64;
            done.turns += 1;
            if offered == 0 && got == 0 {
                done.waits += 1;
                pause();
            }
        }
        Ok(done)
    };
    // Every connection is known before the clock counts.
    let warm_up = 2 * u64::from(connections) + WARM_UP_LEAST;
    let patience = Instant::now();
    pump(&|sent| sent >= warm_up || patience.elapsed() > PATIENCE)?;
    let tracked = handle.visit(|inside| {
        let counters = inside.switch.counters(&interface_id(INTERFACES[0]));
        counters.map_or(0, |counters| counters.conntrack_entries)
    })?;
    ensure!(
        tracked == usize::try_from(connections)?,
        "{tracked} connections are tracked, not {connections}"
    );
    let before = cpu_time(schedstat)?;
    let start = Instant::now();
    let Pumped {
        sent,
        received,
        turns,
        waits,
    } = pump(&|_| start.elapsed() >= time)?;
    let seconds = start.elapsed().as_secs_f64();
    let worker = cpu_time(schedstat)?.saturating_sub(before);
    ensure!(received > 0, "Of {sent} frames none arrived");
    Ok(json!({
        "bytes": bytes, "connections": connections, "tracked": tracked, "sent": sent, "received": received,
        "seconds": seconds, "mpps": float(received) / seconds / 1e6,
        "worker_ns": float(u64::try_from(worker.as_nanos())?) / float(received),
        "waits_percent": 100.0 * float(waits) / float(turns),
    }))
}

/// What the drivers' thread did.
#[derive(Debug, Default)]
struct Pumped {
    sent: u64,
    received: u64,
    turns: u64,
    /// Turns in which there was nothing to receive and no room to send: it waited for the worker.
    waits: u64,
}

/// Leaves the worker's memory alone for a moment: each look takes cache lines away from it. As testpmd, which waits a
/// microsecond between two tries.
fn pause() {
    let start = Instant::now();
    while start.elapsed() < PAUSE {
        std::hint::spin_loop();
    }
}

/// A processor for the worker and another one for the drivers.
fn processors() -> Result<(usize, usize)> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let mut found = (0..rustix::thread::CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number));
    found
        .next()
        .zip(found.next())
        .context("This needs two processors, and the process may use only one")
}

/// Processor time that a thread has had. Source: Documentation/scheduler/sched-stats.rst of Linux, the first number of
/// /proc/PID/task/TID/schedstat, in nanoseconds.
fn cpu_time(schedstat: &str) -> Result<Duration> {
    let text = std::fs::read_to_string(schedstat).with_context(|| format!("Could not read {schedstat}"))?;
    let first = text
        .split_whitespace()
        .next()
        .context("The schedstat of a thread is empty")?;
    Ok(Duration::from_nanos(first.parse()?))
}

#[expect(clippy::cast_precision_loss, reason = "a rate or a time is an approximation")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Between two looks that found nothing to do.
const PAUSE: Duration = Duration::from_micros(1);
/// Frames of the warm-up, whatever the number of connections.
const WARM_UP_LEAST: u64 = 10_000;
/// How long the warm-up may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_through_a_worker_on_a_thread_of_its_own() {
        if processors().is_err() {
            println!("SKIP: this process may use only one processor");
            return;
        }
        let found = run(Duration::from_millis(50), 46, 300).unwrap();
        assert_eq!(found["tracked"], 300);
        assert!(found["received"].as_u64().unwrap() > 0, "{found}");
        assert!(found["worker_ns"].as_f64().unwrap() > 0.0, "{found}");
    }
}
