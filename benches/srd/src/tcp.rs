//! Kernel TCP: messages with their length before them on one connection, each acknowledged by the receiving program.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Value, json};
use trinic_host::clock::monotonic_ns;

use crate::load::{Load, Watch};

/// Takes messages on every connection to the port.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .with_context(|| format!("Could not listen on {port}"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || take(stream));
        }
    });
    Ok(())
}

/// Reads messages of one size until the connection ends, and acknowledges those that are complete after each read.
fn take(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    let mut head = [0; LENGTH_BYTES];
    stream.read_exact(&mut head)?;
    let message = LENGTH_BYTES + usize::try_from(u32::from_be_bytes(head))?;
    let (mut taken, mut told) = (LENGTH_BYTES, 0);
    let acknowledgements = vec![0_u8; BUFFER_BYTES];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        taken += length;
        let mut left = (taken / message - told) * ACKNOWLEDGEMENT_BYTES;
        told = taken / message;
        while left > 0 {
            let part = left.min(acknowledgements.len());
            stream.write_all(&acknowledgements[..part])?;
            left -= part;
        }
    }
}

/// Sends messages and times their acknowledgements, with this congestion control of the kernel's (`net.ipv4.tcp_available_congestion_control`).
pub(crate) fn run(peer: IpAddr, port: u16, congestion: &str, load: &Load) -> Result<Value> {
    let mut stream = TcpStream::connect((peer, port)).context("Could not connect")?;
    rustix::net::sockopt::set_tcp_congestion(&stream, congestion)
        .with_context(|| format!("This kernel has no congestion control `{congestion}`"))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let message = LENGTH_BYTES + load.size;
    let period = u32::try_from(load.size)?.to_be_bytes().into_iter();
    let period: Vec<u8> = period.chain(std::iter::repeat_n(0x5a, load.size)).collect();
    // All messages are alike, so what is written next is always a piece of this.
    let template = period.repeat(1 + BUFFER_BYTES.div_ceil(message));
    let mut watch = Watch::start(load);
    let mut submitted = VecDeque::with_capacity(load.outstanding);
    // Bytes that may be written and that were, and bytes of acknowledgements.
    let (mut allowed, mut written, mut told) = (0, 0, 0);
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    loop {
        let now = monotonic_ns();
        while submitted.len() < load.outstanding && !watch.over(now) {
            submitted.push_back(now);
            allowed += message;
        }
        if submitted.is_empty() || watch.given_up(now) {
            break;
        }
        let mut moved = false;
        while written < allowed {
            let start = written % message;
            let length = (allowed - written).min(template.len() - start);
            match stream.write(&template[start..start + length]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            moved = true;
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let now = monotonic_ns();
                let before = told / ACKNOWLEDGEMENT_BYTES;
                told += length;
                for _ in before..told / ACKNOWLEDGEMENT_BYTES {
                    if let Some(at) = submitted.pop_front() {
                        watch.complete(at, now);
                    }
                }
                moved = true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if !moved {
            wait(&stream, written < allowed)?;
        }
    }
    for _ in submitted {
        watch.fail();
    }
    Ok(watch.report(json!({})))
}

fn wait(stream: &TcpStream, writes: bool) -> Result<()> {
    let mut flags = PollFlags::IN;
    flags.set(PollFlags::OUT, writes);
    let most = Duration::from_millis(100);
    let most = Timespec {
        tv_sec: 0,
        tv_nsec: most.subsec_nanos().into(),
    };
    rustix::event::poll(&mut [PollFd::new(stream, flags)], Some(&most))?;
    Ok(())
}

const LENGTH_BYTES: usize = 4;
const ACKNOWLEDGEMENT_BYTES: usize = 8;
const BUFFER_BYTES: usize = 256 << 10;
