//! What a frame costs the switching thread alone.
//!
//! A sender's driver, the card's worker and a receiver's driver take turns on one thread, over the same sockets,
//! mapped memory and security groups as on a card, and each turn is timed by itself. So the figure needs no
//! processor beside the one that it is measured on. It leaves out that the descriptors come from the caches of other
//! processors, and that all three share the caches of this one.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use trinic_switch::Switch;
use trinic_switch::tables::RuleProtocol;

use super::carrier::{BURST, Carrier as _};
use super::ena::Ena;
use super::template::{Template, destination_port};
use super::{Path, Way};
use crate::card::clock;
use crate::card::ena::Functions;
use crate::card::one_subnet::{address, function, interface, mac, rule, tables};
use crate::card::services::Services;
use crate::card::worker::{Handle, Message, Worker};

/// Runs it; the figures as JSON.
pub(super) fn run(rounds: u32, bytes: u16, connections: u32) -> Result<serde_json::Value> {
    ensure!(rounds > 0, "There is nothing to measure in 0 rounds");
    let folder = Folder::new()?;
    let (worker, handle) = new_worker()?;
    // The drivers' commands are served by the worker on a thread of its own; then it comes back to this one.
    let serving = std::thread::Builder::new()
        .name("worker".into())
        .spawn(move || worker.serve())?;
    let ends = set_up(&handle, &folder, bytes);
    handle.send(Message::Stop)?;
    let mut worker = serving.join().ok().context("The worker has panicked")??;
    let (mut near, mut far) = ends?;
    let path = Path {
        from: address(INTERFACES[0]),
        to: address(INTERFACES[1]),
        port: PORT,
    };
    let template = Template::new(mac(INTERFACES[0]), &path, bytes, connections)?;
    let mut next = 0;
    // Every connection is known before the clock counts.
    let warm_up = 2 * u64::from(connections) + 100 * BURST as u64;
    let mut times: [Vec<f64>; 3] = Default::default();
    let (mut warm, mut sent, mut received, mut round) = (0, 0, 0, 0);
    while round < rounds {
        let start = Instant::now();
        let offered = near.flood(&template, &mut next)?;
        let flooded = Instant::now();
        // A turn is bounded in bytes too. What it left of long frames would pile up in the queue and be cold when it is taken.
        let mut moved = 0;
        while moved < offered {
            let more = worker.device_round(clock::now());
            if more == 0 {
                break;
            }
            moved += more;
        }
        let switched = Instant::now();
        let mut got = 0;
        far.receive(&mut |head, _| got += usize::from(destination_port(head).is_some()))?;
        let done = Instant::now();
        (sent, received) = (sent + offered as u64, received + got as u64);
        if warm < warm_up {
            warm += offered as u64;
            continue;
        }
        round += 1;
        let parts = [
            (switched.duration_since(flooded), moved),
            (flooded.duration_since(start), offered),
            (done.duration_since(switched), got),
        ];
        for (times, (time, count)) in times.iter_mut().zip(parts) {
            if count > 0 {
                times.push(per_frame(time, count));
            }
        }
    }
    ensure!(sent == received, "Of {sent} frames {received} arrived");
    // What the worker was asked meanwhile is asked no more: drivers would wait for it when they go.
    drop(worker);
    let [switch, send, receive] = times.map(median);
    Ok(json!({
        "bytes": bytes, "connections": connections, "sent": sent, "received": received,
        "switch_ns": switch, "sender_ns": send, "receiver_ns": receive, "switch_mpps": 1e3 / switch,
    }))
}

#[expect(clippy::cast_precision_loss, reason = "a time is an approximation")]
fn per_frame(time: Duration, frames: usize) -> f64 {
    time.as_nanos() as f64 / frames as f64
}

/// The median round: rounds in which the thread lost its processor do not count.
fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A worker that knows nothing yet.
pub(super) fn new_worker() -> Result<(Worker, Handle)> {
    let services = Services::new(false, [7; 32])?;
    let switch = Switch::new(trinic_switch::Config::default());
    Ok(Worker::new(switch, services, Box::new(drop))?)
}

/// Two functions on the worker, with a driver each.
pub(super) fn set_up(handle: &Handle, folder: &Folder, bytes: u16) -> Result<(Ena, Ena)> {
    let inbound = vec![rule("sgr-in", RuleProtocol::Any)];
    handle.load(tables(inbound, INTERFACES.map(interface)))?;
    let functions = Functions::new(false);
    functions.set_worker(handle.clone());
    let mut drivers = Vec::new();
    for number in INTERFACES {
        let interface = function(number, 1);
        let plug = functions.make(&interface)?;
        handle.connect(Some(interface.id.clone()), plug)?;
        let socket = folder.0.join(format!("{}.sock", interface.id));
        functions.serve(&interface.id, &socket)?;
        drivers.push(Ena::open(&socket, bytes, Way::Poll)?);
    }
    // The functions outlive the drivers, which is what their servers want; they end with the process.
    std::mem::forget(functions);
    let far = drivers.pop().context("There is no second driver")?;
    let near = drivers.pop().context("There is no first driver")?;
    Ok((near, far))
}

/// A folder for the sockets, which goes with its owner.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("trinic-core-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("Could not make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind is untidy, and nothing to fail for.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The sender and the receiver.
pub(super) const INTERFACES: [u8; 2] = [4, 5];
pub(super) const PORT: u16 = 5000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_arrives_however_long() {
        for bytes in [64, 1_500, 9_001] {
            let said = run(20, bytes, 4).unwrap();
            assert!(said["switch_ns"].as_f64().is_some_and(|ns| ns > 0.0), "{said}");
            assert!(
                said["received"].as_u64().is_some_and(|frames| frames > 20),
                "{said}"
            );
            assert_eq!(said["sent"], said["received"], "{said}");
        }
    }
}
