//! Round trips: of a datagram between two instances, and of a cache line between two threads.

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Round-trip times of `count` datagrams, one after the other, in nanoseconds.
pub(crate) fn udp(address: IpAddr, port: u16, count: usize) -> Result<Value> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect((address, port + 1))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut times_ns = Vec::with_capacity(count);
    let mut lost = 0_u64;
    let warm_up = count / 10;
    for number in 0..count + warm_up {
        let sequence = (number as u64).to_be_bytes();
        let start = Instant::now();
        socket.send(&sequence)?;
        let mut answer = [0; 8];
        loop {
            match socket.recv(&mut answer) {
                Ok(8) if answer == sequence => break,
                Ok(_) => {}
                Err(_) => {
                    lost += 1;
                    break;
                }
            }
        }
        if number >= warm_up && answer == sequence {
            times_ns.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
    if times_ns.is_empty() {
        bail!("No answer came back");
    }
    times_ns.sort_unstable();
    Ok(json!({
        "count": times_ns.len(), "lost": lost,
        "p10_ns": quantile(&times_ns, 10), "p50_ns": quantile(&times_ns, 50),
        "p90_ns": quantile(&times_ns, 90), "p99_ns": quantile(&times_ns, 99),
    }))
}

fn quantile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// How long a cache line takes from one thread to another, one way: the machine's own floor.
pub(crate) fn cache_line() -> Value {
    const ROUNDS: u64 = 200_000;
    static LINE: AtomicU64 = AtomicU64::new(0);
    let echo = thread::spawn(|| {
        for round in 0..ROUNDS {
            while LINE.load(Ordering::Acquire) != 2 * round + 1 {
                std::hint::spin_loop();
            }
            LINE.store(2 * round + 2, Ordering::Release);
        }
    });
    let start = Instant::now();
    for round in 0..ROUNDS {
        LINE.store(2 * round + 1, Ordering::Release);
        while LINE.load(Ordering::Acquire) != 2 * round + 2 {
            std::hint::spin_loop();
        }
    }
    let elapsed = start.elapsed();
    let joined = echo.join().is_ok();
    #[expect(clippy::cast_precision_loss, reason = "a time is an approximation")]
    let one_way_ns = elapsed.as_nanos() as f64 / (2 * ROUNDS) as f64;
    json!({ "one_way_ns": one_way_ns, "complete": joined })
}
