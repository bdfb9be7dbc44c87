//! A TCP echo server on this process's network stack.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};

/// How many connections are served at a time; more wait in the backlog.
const MOST_CONNECTIONS: usize = 64;

/// Serves until the process ends. Prints `listening` first, so that a caller can wait for it.
pub(super) fn serve(port: u16) -> Result<serde_json::Value> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
        .with_context(|| format!("Could not listen on port {port}"))?;
    #[expect(clippy::print_stdout, reason = "tells the caller that it may connect")]
    {
        println!("listening");
    }
    let mut threads: Vec<thread::JoinHandle<()>> = Vec::new();
    for stream in listener.incoming().flatten() {
        threads.retain(|thread| !thread.is_finished());
        if threads.len() < MOST_CONNECTIONS {
            threads.push(thread::spawn(move || echo(stream)));
        }
    }
    Ok(serde_json::Value::Null)
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
