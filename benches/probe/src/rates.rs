//! Throughput and packet rate, as the receiver counted them.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::serve::ASK;

/// Sends for `length` on `streams` connections; bits per second that the receiver counted.
pub(crate) fn tcp(address: IpAddr, port: u16, length: Duration, streams: usize) -> Result<Value> {
    let start = Instant::now();
    let threads: Vec<_> = (0..streams)
        .map(|_| thread::spawn(move || bulk(address, port, length)))
        .collect();
    let mut bytes = 0;
    for thread in threads {
        bytes += thread
            .join()
            .map_err(|_| anyhow::anyhow!("A sending thread ended abnormally"))??;
    }
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate is an approximation")]
    let rate = bytes as f64 * 8.0 / seconds;
    Ok(json!({ "bytes": bytes, "seconds": seconds, "bits_per_s": rate }))
}

fn bulk(address: IpAddr, port: u16, length: Duration) -> Result<u64> {
    let mut stream = TcpStream::connect((address, port)).context("Could not connect")?;
    let data = vec![0x5a_u8; 128 << 10];
    let start = Instant::now();
    while start.elapsed() < length {
        stream.write_all(&data)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    Ok(u64::from_be_bytes(count))
}

/// Sends 64-byte frames (22 bytes of payload) as fast as one thread can; packets per second that arrived.
pub(crate) fn packets(address: IpAddr, port: u16, length: Duration) -> Result<Value> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect((address, port + 2))?;
    ask(&socket)?;
    let payload = [0x5a_u8; 22];
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < length {
        for _ in 0..32 {
            if socket.send(&payload).is_ok() {
                sent += 1;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    thread::sleep(Duration::from_millis(100));
    let arrived = ask(&socket)?;
    #[expect(clippy::cast_precision_loss, reason = "a rate is an approximation")]
    let (rate, offered) = (arrived as f64 / seconds, sent as f64 / seconds);
    Ok(json!({ "sent": sent, "arrived": arrived, "packets_per_s": rate, "offered_per_s": offered }))
}

/// The receiver's count since the last question; asks again when an answer is lost.
fn ask(socket: &UdpSocket) -> Result<u64> {
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    for _ in 0..10 {
        socket.send(ASK)?;
        let mut count = [0; 8];
        if socket.recv(&mut count).is_ok_and(|length| length == 8) {
            return Ok(u64::from_be_bytes(count));
        }
    }
    bail!("The receiver does not answer")
}
