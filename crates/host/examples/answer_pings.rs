//! A packet program for an interface that is an ENA: it answers pings, and no kernel sees a packet.
//!
//! In an instance of the card whose interface has the tag `trinic:function=ena`:
//!
//!     cargo build -p trinic-host --example answer_pings
//!     trinic exec i-... -- $PWD/target/debug/examples/answer_pings /run/trinic/eni-....sock
//!
//! Then ping the interface's address from another instance. The security groups of the interface hold as for a kernel's
//! interface, and the card answers ARP for its address. The program ends after as many answers as the second argument
//! says, or never.
#![expect(clippy::print_stdout, reason = "it is what a program prints")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use trinic_ena::driver::{Config, Driver};
use trinic_host::clock::monotonic_ns;
use trinic_host::vfio_user::{Client, ClientOptions};
use trinic_pci::Memory;
use trinic_wire::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().ok_or("usage: answer_pings SOCKET [ANSWERS]")?;
    let most: u64 = arguments.next().map_or(Ok(u64::MAX), |word| word.parse())?;

    // The socket is the bus: registers and doorbells are mapped through it, and the program's memory is shared by it.
    let client = Client::connect(Path::new(&socket), &ClientOptions::default())?;
    let (mut driver, mut pairs, mut buffers) = Driver::probe(client, Config::default())?;
    let mac = driver.offer().mac;
    let pair = pairs.first_mut().ok_or("the function has no queue pair")?;
    pair.rx.refill(&mut buffers)?;
    println!("ready");

    let mut answered = 0;
    let mut out = Vec::new();
    while answered < most {
        let mut frames = Vec::new();
        while pair.rx.receive(&mut frames, BURST)? > 0 && frames.len() < BURST {}
        for frame in frames {
            let mut bytes = [0; HEADERS];
            let shown = frame.read(pair.rx.memory(), &mut bytes)?;
            if shown == HEADERS && turn(&mut bytes, mac) {
                // The buffer that came in goes out again: nothing is copied but the headers.
                pair.rx.memory().write(frame.first.address(), &bytes)?;
                out.push(frame);
            } else {
                frame.into_buffers(&mut buffers);
            }
        }
        answered += u64::try_from(pair.tx.transmit(&mut out)?)?;
        pair.tx.reclaim(&mut buffers)?;
        pair.rx.refill(&mut buffers)?;
        driver.poll(Instant::from_nanos(monotonic_ns()))?;
        // Sleeps until an interrupt tells of a frame; what came in between is seen first.
        pair.waiter.arm(0, 0)?;
        if !pair.rx.has_work()? {
            pair.waiter.wait(Duration::from_millis(500))?;
        }
    }
    println!("answered {answered}");
    Ok(())
}

/// Makes an answer of the headers of a ping for this MAC address; whether they are one. Source: RFC 791, RFC 792.
fn turn(bytes: &mut [u8; HEADERS], mac: [u8; 6]) -> bool {
    let [IPV4_HIGH, IPV4_LOW, VERSION_AND_LENGTH, ..] = bytes[12..] else {
        return false;
    };
    if bytes[..6] != mac || bytes[23] != ICMP || bytes[34] != ECHO_REQUEST {
        return false;
    }
    bytes.copy_within(6..12, 0);
    bytes[6..12].copy_from_slice(&mac);
    // The addresses change places, which no checksum notices.
    for at in 26..30 {
        bytes.swap(at, at + 4);
    }
    // The type was 8 and is 0: the checksum's complement loses 0x0800. Source: RFC 1624.
    bytes[34] = 0;
    let sum = u32::from(u16::from_be_bytes([bytes[36], bytes[37]])) + 0x0800;
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(u16::MAX);
    bytes[36..38].copy_from_slice(&folded.to_be_bytes());
    true
}

/// Ethernet, IPv4 without options, and ICMP up to its checksum.
const HEADERS: usize = 38;
const BURST: usize = 64;
const IPV4_HIGH: u8 = 0x08;
const IPV4_LOW: u8 = 0x00;
const VERSION_AND_LENGTH: u8 = 0x45;
const ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;
