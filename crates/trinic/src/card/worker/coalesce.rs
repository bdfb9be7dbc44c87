//! Datagrams of one flow go to a tap as one super-frame, so that the receiver's kernel carries them once.
//!
//! This is of the card's own making: each packet was decided about and counted by itself before. It happens
//! among the packets of one turn only, so none waits for another.

use trinic_host::port::Batch;
use trinic_host::vnet::{FLAG_DATA_VALID, GSO_NONE, GSO_UDP_L4, VNET_HEADER_BYTES, VnetHeader};
use trinic_switch::PortId;
use trinic_wire::coalesce::Run;
use trinic_wire::udp;
use zerocopy::IntoBytes;

use super::{Outgoing, Plug, Slot, Worker, slot_ref};

/// The super-frame that is being made: a run and its place in the outbox.
struct Joining {
    place: usize,
    run: Run,
}

impl Worker {
    /// Joins what can be joined of the packets that wait to be written. Those for one port stay in order.
    pub(super) fn join(&mut self) {
        if self.outbox.len() < 2 {
            return;
        }
        let Self {
            outbox, inbox, slots, ..
        } = self;
        let mut kept = 0;
        let mut joining: Option<Joining> = None;
        for at in 0..outbox.len() {
            let next = outbox[at];
            if let Some(current) = &mut joining
                && outbox[current.place].to == next.to
                && append(inbox, &mut current.run, outbox[current.place].frame, next.frame)
            {
                outbox[current.place].packets += next.packets;
                continue;
            }
            finish(inbox, outbox, joining.take());
            outbox[kept] = next;
            joining = start(inbox, slots, next).map(|run| Joining { place: kept, run });
            kept += 1;
        }
        finish(inbox, outbox, joining);
        outbox.truncate(kept);
    }
}

fn start(inbox: &Batch, slots: &[Option<Slot>], first: Outgoing) -> Option<Run> {
    if !takes_super_frames(slots, first.to) {
        return None;
    }
    let (header, frame) = inbox.frame(first.frame).split_at_checked(VNET_HEADER_BYTES)?;
    let run = Run::start(frame)?;
    is_open_datagram(header, &run).then_some(run)
}

fn append(inbox: &mut Batch, run: &mut Run, first: usize, next: usize) -> bool {
    let Some((buffer, packet)) = inbox.buffer_and_frame(first, next) else {
        return false;
    };
    let (Some(buffer), Some((header, frame))) = (
        buffer.get_mut(VNET_HEADER_BYTES..),
        packet.split_at_checked(VNET_HEADER_BYTES),
    ) else {
        return false;
    };
    is_open_datagram(header, run) && run.append(buffer, frame)
}

/// Writes the headers of a super-frame that is complete.
fn finish(inbox: &mut Batch, outbox: &[Outgoing], joining: Option<Joining>) {
    let Some(Joining { place, run }) = joining else {
        return;
    };
    if run.count() == 1 {
        return;
    }
    let number = outbox[place].frame;
    let Some((front, frame)) = inbox.buffer_mut(number).split_at_mut_checked(VNET_HEADER_BYTES) else {
        return;
    };
    if let Some(mut header) = VnetHeader::read(front) {
        header.gso_type = GSO_UDP_L4;
        header.gso_size = length16(run.segment_bytes()).into();
        header.hdr_len = length16(run.headers_bytes()).into();
        front.copy_from_slice(header.as_bytes());
    }
    let length = run.finish(frame);
    inbox.set_length(number, VNET_HEADER_BYTES + length);
}

fn takes_super_frames(slots: &[Option<Slot>], port: PortId) -> bool {
    match slot_ref(slots, port).map(|slot| &slot.port) {
        Some(Plug::Kernel(port)) => port.takes_udp_segments(),
        _ => false,
    }
}

/// Whether the checksum of the run's kind of datagram is left open, and nothing else is left to do.
fn is_open_datagram(header: &[u8], run: &Run) -> bool {
    VnetHeader::read(header).is_some_and(|header| {
        header.needs_checksum()
            && header.flags & FLAG_DATA_VALID == 0
            && header.gso_type == GSO_NONE
            && usize::from(header.csum_start.get()) == run.transport_offset()
            && usize::from(header.csum_offset.get()) == udp::CHECKSUM_OFFSET
    })
}

/// Lengths of a run are below 65,536.
fn length16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
