//! A packet program on the user-mode driver, with the device model in the same process: no root, no kernel.
//!
//! Two functions are joined by a wire. The first one's program sends datagrams; the second one's forwards each
//! received buffer back as it is, with the MAC addresses swapped, and the first one counts what returns.
//!
//!     cargo run -p trinic-ena --example forward
#![expect(clippy::print_stdout, reason = "It is what a program prints.")]

use std::error::Error;
use std::sync::{Arc, Mutex};

use trinic_ena::datapath::{Datapath, Disposition, Limits, TxPacket};
use trinic_ena::device::{Config as DeviceConfig, Device, layout};
use trinic_ena::driver::{Config, DirectLink, Driver, Frame, Loopback};
use trinic_pci::Memory;
use trinic_pci::testing::{PlainInterrupts, PlainMemory, PlainRegisters};
use trinic_wire::time::Instant;

type Wire = DirectLink<PlainMemory, PlainRegisters, PlainInterrupts>;
type Bus = Loopback<Device<PlainMemory, PlainInterrupts, Wire>, PlainMemory>;

const MEMORY_BYTES: usize = 16 << 20;
const FRAMES: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let (near, near_wire) = function([2, 0, 0, 0, 0, 1])?;
    let (far, far_wire) = function([2, 0, 0, 0, 0, 2])?;
    let (near, mut near_pairs, mut near_buffers) = Driver::probe(near, Config::default())?;
    let (mut far, mut far_pairs, mut far_buffers) = Driver::probe(far, Config::default())?;
    let (near_pair, far_pair) = (&mut near_pairs[0], &mut far_pairs[0]);
    let mut spare = near_buffers.split_off(1024);
    near_pair.rx.refill(&mut spare)?;
    far_pair.rx.refill(&mut far_buffers)?;

    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&far.offer().mac);
    frame[6..12].copy_from_slice(&near.offer().mac);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let (mut sent, mut returned) = (0, 0);
    while returned < FRAMES {
        let mut out = Vec::new();
        while sent < FRAMES && out.len() < 64 {
            let Some(buffer) = near_buffers.pop() else { break };
            frame[14..18].copy_from_slice(&sent.to_be_bytes());
            out.push(Frame::copied(buffer, near_pair.tx.memory(), &frame)?);
            sent += 1;
        }
        near_pair.tx.transmit(&mut out)?;
        carry(&near_wire, &far_wire);

        // The far program: each buffer that came in goes out again.
        let mut frames = Vec::new();
        while far_pair.rx.receive(&mut frames, 64)? > 0 {}
        for frame in &frames {
            swap_macs(far_pair.rx.memory(), frame.first.address())?;
        }
        far_pair.tx.transmit(&mut frames)?;
        carry(&far_wire, &near_wire);
        far_pair.tx.reclaim(&mut far_buffers)?;
        far_pair.rx.refill(&mut far_buffers)?;

        let mut frames = Vec::new();
        while near_pair.rx.receive(&mut frames, 64)? > 0 {}
        returned += u32::try_from(frames.len())?;
        frames
            .into_iter()
            .for_each(|frame| frame.into_buffers(&mut spare));
        near_pair.rx.refill(&mut spare)?;
        near_pair.tx.reclaim(&mut near_buffers)?;
    }
    println!("{sent} frames sent, {returned} returned");
    println!("the far device counted {:?}", far.statistics()?);
    Ok(())
}

/// A function on a bus of its own, and its wire.
fn function(mac: [u8; 6]) -> Result<(Bus, Wire), Box<dyn Error>> {
    let config = DeviceConfig::new(mac);
    let memory = PlainMemory::new(0x10_0000, MEMORY_BYTES);
    let registers = PlainRegisters::new(usize::try_from(layout::BAR0_BYTES)?);
    let pushed = PlainRegisters::new(usize::try_from(layout::bar2_bytes(config.queue_pairs))?);
    let interrupts = PlainInterrupts::new();
    let limits = Limits {
        tx_queues: config.queue_pairs,
        rx_queues: config.queue_pairs,
        vectors: layout::vector_count(config.queue_pairs),
    };
    let wire = DirectLink::new(Datapath::new(
        memory.clone(),
        registers.clone(),
        Some(pushed.clone()),
        interrupts.clone(),
        limits,
    ));
    let device = Device::new(config, memory.clone(), interrupts.clone(), wire.clone())?;
    let bus = Loopback::new(
        Arc::new(Mutex::new(device)),
        memory,
        0x10_0000,
        u64::try_from(MEMORY_BYTES)?,
        registers,
        Some(pushed),
        interrupts,
    );
    Ok((bus, wire))
}

/// A round of a switch with one port on each side.
fn carry(from: &Wire, to: &Wire) {
    let now = Instant::ZERO;
    let mut packets = vec![TxPacket::new(); 32];
    let (mut from, mut to) = (from.lock(), to.lock());
    from.poll(now);
    to.poll(now);
    loop {
        let count = from.transmit(&mut packets);
        if count == 0 {
            break;
        }
        for packet in &mut packets[..count] {
            let offload = packet.offload();
            let (window, payload) = packet.parts(from.memory());
            let disposition = match to.receive(window, payload, offload) {
                Ok(()) => Disposition::Sent,
                Err(_) => Disposition::Dropped,
            };
            from.complete(packet, disposition);
        }
    }
    from.flush(now);
    to.flush(now);
}

fn swap_macs(memory: &PlainMemory, frame: u64) -> Result<(), Box<dyn Error>> {
    let mut macs = [0; 12];
    memory.read(frame, &mut macs)?;
    macs.rotate_left(6);
    Ok(memory.write(frame, &macs)?)
}
