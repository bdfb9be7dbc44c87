//! The answering side: PORT counts TCP bytes, PORT+1 echoes datagrams, PORT+2 counts datagrams.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Context, Result};

/// What a client sends to the counting port to ask for the count since the last question.
pub(crate) const ASK: &[u8] = b"how many?";

/// Serves until its standard input ends; prints `serving` when all three ports are open.
///
/// The end of the input, and not a signal, ends it: between it and the caller there may be a program that
/// enters a namespace, whose death it would not notice.
pub(crate) fn run(port: u16) -> Result<()> {
    let any = Ipv4Addr::UNSPECIFIED;
    let streams = TcpListener::bind((any, port)).with_context(|| format!("Could not listen on {port}"))?;
    let echo = UdpSocket::bind((any, port + 1))?;
    let counter = UdpSocket::bind((any, port + 2))?;
    #[expect(clippy::print_stdout, reason = "tells the caller that it may start")]
    {
        println!("serving");
    }
    thread::spawn(|| {
        // A failed read is an end as well.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let echoing = thread::spawn(move || echo_datagrams(&echo));
    let counting = thread::spawn(move || count_datagrams(&counter));
    for stream in streams.incoming().flatten() {
        thread::spawn(move || count_bytes(stream));
    }
    drop((echoing, counting));
    Ok(())
}

/// Reads to the end of the stream and answers with the number of bytes.
fn count_bytes(mut stream: TcpStream) {
    let mut buffer = vec![0_u8; 256 << 10];
    let mut total = 0_u64;
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            break;
        }
        total += length as u64;
    }
    if stream.write_all(&total.to_be_bytes()).is_err() {
        // The client is gone; there is nobody to tell.
    }
}

fn echo_datagrams(socket: &UdpSocket) {
    let mut buffer = [0_u8; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if socket.send_to(&buffer[..length], from).is_err() {
            // A lost answer is the client's to notice.
        }
    }
}

fn count_datagrams(socket: &UdpSocket) {
    let mut buffer = [0_u8; 2048];
    let mut count = 0_u64;
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if &buffer[..length] == ASK {
            if socket.send_to(&count.to_be_bytes(), from).is_err() {
                // The client asks again.
            }
            count = 0;
        } else {
            count += 1;
        }
    }
}
