//! The admin queue: takes commands, does them, completes them.

use trinic_pci::admin::RingError;
use trinic_pci::{Interrupts, Memory};
use zerocopy::IntoBytes;
use zerocopy::byteorder::{U16, U32};

use super::describe::DriverState;
use super::queues::Submissions;
use super::registers::DMA_WIDTH;
use super::{Device, MANAGEMENT_VECTOR, Refusal, TraceEvent, layout};
use crate::datapath::{Change, CompletionQueue, Link, Llq, Placement, RxQueue, TxQueue};
use crate::spec::admin::{
    COMMAND_ID_MASK, Command, Completion, CompletionPolicy, ControlBuffer, CreateCq, CreateCqResponse,
    CreateSq, CreateSqResponse, DestroyCq, DestroySq, Direction, MemoryAddress, NO_VECTOR, Opcode,
    PlacementPolicy, Status,
};

/// A completion's payload, or why there is none.
pub(super) type Answer = Result<[u8; 56], Refusal>;

/// A completion with nothing to say.
pub(super) const DONE: Answer = Ok([0; 56]);

/// A payload as it stands in a completion.
pub(super) fn answer<T: IntoBytes + zerocopy::Immutable>(payload: &T) -> Answer {
    Ok(Completion::new(0, Status::SUCCESS).with_payload(payload).payload)
}

impl<M: Memory, I: Interrupts, L: Link> Device<M, I, L> {
    /// The driver has announced commands. All of them are done before this returns.
    pub(super) fn admin_doorbell(&mut self, tail: u16) {
        if self.status.reset_in_progress() {
            return self.refuse(Refusal::DuringReset);
        }
        let made = self.aq.take().map_or_else(|| self.make_admin_queue(), Ok);
        let mut ring = match made {
            Ok(ring) => ring,
            Err(refusal) => return self.refuse(refusal),
        };
        if ring.ring(tail).is_err() {
            self.aq = Some(ring);
            return self.refuse(Refusal::AdminDoorbell);
        }
        let mut has_completed = false;
        loop {
            match ring.take(&self.memory) {
                Ok(Some(entry)) => {
                    has_completed |= self.command(&zerocopy::transmute!(entry), ring.head());
                }
                Ok(None) => break,
                Err(error) => {
                    self.refuse(match error {
                        RingError::Phase(_) => Refusal::AdminPhase,
                        _ => Refusal::AdminDma,
                    });
                    break;
                }
            }
        }
        self.aq = Some(ring);
        if has_completed {
            self.raise_management();
        }
    }

    /// Does one command and completes it; whether a completion was written.
    fn command(&mut self, command: &Command, head: u16) -> bool {
        let done = self.execute(command);
        let id = command.header.command_id.get();
        let mut completion = match done {
            Ok(payload) => Completion {
                payload,
                ..Completion::new(id, Status::SUCCESS)
            },
            Err(refusal) => {
                self.refusals.add(refusal);
                Completion::new(id, refusal.status())
            }
        };
        completion.header.sq_head = U16::new(head);
        self.trace.add(|| TraceEvent::Command {
            command: Box::new(*command),
            completion: Box::new(completion),
            refusal: done.err(),
        });
        if std::mem::take(&mut self.swallow_admin_completion) {
            return false;
        }
        let made = self.acq.take().map_or_else(|| self.make_completion_queue(), Ok);
        let mut ring = match made {
            Ok(ring) => ring,
            Err(refusal) => {
                self.refuse(refusal);
                return false;
            }
        };
        let posted = ring.post(&self.memory, zerocopy::transmute!(completion));
        self.acq = Some(ring);
        if posted.is_err() {
            self.refuse(Refusal::CompletionDma);
        }
        posted.is_ok()
    }

    fn execute(&mut self, command: &Command) -> Answer {
        let header = &command.header;
        if self.config.strict {
            let known = header.flags.into_bits() & 0b111;
            strict(header.command_id.get() & !COMMAND_ID_MASK == 0)?;
            strict(header.flags.into_bits() == known)?;
        }
        match command.opcode() {
            Opcode::CREATE_SQ => self.create_sq(&command.payload()),
            Opcode::DESTROY_SQ => self.destroy_sq(&command.payload()),
            Opcode::CREATE_CQ => self.create_cq(&command.payload()),
            Opcode::DESTROY_CQ => {
                let destroy: DestroyCq = command.payload();
                self.queues.take_cq(destroy.cq_index.get())?;
                DONE
            }
            Opcode::GET_FEATURE => self.get_feature(&command.payload()),
            Opcode::SET_FEATURE => self.set_feature(&command.payload()),
            Opcode::GET_STATS => self.get_statistics(&command.payload()),
            _ => Err(Refusal::BadOpcode),
        }
    }

    fn create_cq(&mut self, create: &CreateCq) -> Answer {
        if self.config.strict {
            strict(create.mode.into_bits() & !0x20 == 0)?;
            strict(create.entry.into_bits() & !0x1f == 0)?;
            strict(create.base.reserved.get() == 0)?;
        }
        let depth = create.depth.get();
        let most = self.config.tx_depth.max(self.config.rx_depth);
        if !depth.is_power_of_two() || depth > most {
            return Err(Refusal::CqDepth);
        }
        let entry_bytes = match create.entry.words() {
            words @ (2 | 4 | 8) => words * 4,
            _ => return Err(Refusal::CqEntrySize),
        };
        let base = ring_base(create.base, depth, entry_bytes).ok_or(Refusal::CqAddress)?;
        let vector = self.vector(create)?;
        let index = self.queues.free_cq()?;
        let queue = CompletionQueue {
            index,
            base,
            depth,
            entry_bytes,
            vector,
            unmask_offset: layout::unmask_offset(index),
        };
        self.queues.put_cq(queue);
        answer(&CreateCqResponse {
            cq_index: U16::new(index),
            actual_depth: U16::new(depth),
            numa_offset: U32::ZERO,
            head_doorbell_offset: U32::ZERO,
            unmask_offset: offset_in_bar(queue.unmask_offset),
        })
    }

    /// The vector that a completion queue raises. Polling drivers name none, or say that they poll.
    fn vector(&self, create: &CreateCq) -> Result<Option<u16>, Refusal> {
        if !create.mode.interrupt() || create.vector.get() == NO_VECTOR {
            return Ok(None);
        }
        let vector = u16::try_from(create.vector.get()).map_err(|_| Refusal::CqVector)?;
        if vector >= layout::vector_count(self.config.queue_pairs) {
            return Err(Refusal::CqVector);
        }
        if self.config.strict && vector == MANAGEMENT_VECTOR {
            return Err(Refusal::CqManagementVector);
        }
        Ok(Some(vector))
    }

    fn create_sq(&mut self, create: &CreateSq) -> Answer {
        if self.config.strict {
            strict(create.identity.into_bits() & 0x1f == 0 && create.reserved_5 == 0)?;
            strict(create.policies.into_bits() & 0x80 == 0 && create.contiguous & !1 == 0)?;
            strict(create.base.reserved.get() == 0 && create.reserved_28 == [0; 8])?;
        }
        let direction = Direction(create.identity.direction());
        let (most, sizes) = match direction {
            Direction::TX => (self.config.tx_depth, [8, 16]),
            Direction::RX => (self.config.rx_depth, [16, 32]),
            _ => return Err(Refusal::SqDirection),
        };
        if CompletionPolicy(create.policies.completion()) != CompletionPolicy::DESCRIPTOR {
            return Err(Refusal::SqCompletionPolicy);
        }
        if create.contiguous & 1 == 0 {
            return Err(Refusal::SqContiguous);
        }
        let depth = create.depth.get();
        if !depth.is_power_of_two() || depth > most {
            return Err(Refusal::SqDepth);
        }
        let completions = self.queues.unused_cq(create.cq_index.get())?;
        if !sizes.contains(&completions.entry_bytes) {
            return Err(Refusal::SqCompletionQueue);
        }
        let index = self.queues.free_sq(direction)?;
        let placement = self.placement(create, direction, index)?;
        let is_first = !self.queues.has_io();
        let doorbell_offset = layout::doorbell_offset(direction, index);
        let change = match placement {
            Placement::Host(base) if direction == Direction::RX => Change::CreateRx(
                index,
                RxQueue {
                    base,
                    depth,
                    doorbell_offset,
                    completions,
                },
            ),
            placement => Change::CreateTx(
                index,
                TxQueue {
                    placement,
                    depth,
                    doorbell_offset,
                    completions,
                    meta_caching_disabled: self.features.is_meta_caching_disabled(),
                },
            ),
        };
        self.apply(change)?;
        let queue = Submissions {
            depth,
            cq_index: completions.index,
            is_llq: matches!(placement, Placement::Device(_)),
        };
        self.queues.put_sq(direction, index, queue);
        if is_first {
            self.resets.state = DriverState::Running;
            self.report_link_again();
        }
        let llq_offset = match placement {
            Placement::Device(Llq { offset, .. }) => offset,
            Placement::Host(_) => 0,
        };
        answer(&CreateSqResponse {
            sq_index: U16::new(index),
            reserved: U16::ZERO,
            doorbell_offset: offset_in_bar(doorbell_offset),
            llq_descriptors_offset: offset_in_bar(llq_offset),
            llq_headers_offset: U32::ZERO,
        })
    }

    /// Where a submission queue is: in memory, or for transmit queues in BAR 2 once the form of entries is set.
    fn placement(&self, create: &CreateSq, direction: Direction, index: u16) -> Result<Placement, Refusal> {
        let depth = create.depth.get();
        match PlacementPolicy(create.policies.placement()) {
            PlacementPolicy::HOST => {
                let base = ring_base(create.base, depth, DESCRIPTOR_BYTES).ok_or(Refusal::SqAddress)?;
                if self.config.strict && !base.is_multiple_of(PAGE_BYTES) {
                    return Err(Refusal::SqAddress);
                }
                Ok(Placement::Host(base))
            }
            PlacementPolicy::DEVICE if direction == Direction::TX => {
                let form = self.features.llq().ok_or(Refusal::LlqNotSet)?;
                if u64::from(depth) * u64::from(form.entry_bytes) > layout::LLQ_BYTES {
                    return Err(Refusal::LlqDepth);
                }
                Ok(Placement::Device(Llq {
                    offset: layout::llq_offset(index),
                    entry_bytes: form.entry_bytes,
                    descriptors_before_header: form.descriptors_before_header,
                    several_per_entry: form.several_per_entry,
                }))
            }
            _ => Err(Refusal::SqPlacement),
        }
    }

    fn destroy_sq(&mut self, destroy: &DestroySq) -> Answer {
        if self.config.strict {
            strict(destroy.identity.into_bits() & 0x1f == 0 && destroy.reserved == 0)?;
        }
        let (index, direction) = (destroy.sq_index.get(), Direction(destroy.identity.direction()));
        let change = match direction {
            Direction::TX => Change::DestroyTx(index),
            Direction::RX => Change::DestroyRx(index),
            _ => return Err(Refusal::SqDirection),
        };
        if !self.queues.has_sq(direction, index) {
            return Err(Refusal::SqUnknown);
        }
        self.apply(change)?;
        self.queues.take_sq(direction, index);
        DONE
    }

    /// Hands a change to the datapath.
    pub(super) fn apply(&mut self, change: Change) -> Result<(), Refusal> {
        self.is_datapath_touched = true;
        self.link.apply(change).map_err(|_| {
            self.status.set_fatal_error(true);
            Refusal::DatapathGone
        })
    }

    /// Reads what a command brought along, as much as is wanted of it.
    pub(super) fn read_buffer<const N: usize>(&self, buffer: ControlBuffer) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        self.read_buffer_into(buffer, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads the start of what a command brought along.
    pub(super) fn read_buffer_into(&self, buffer: ControlBuffer, into: &mut [u8]) -> Result<(), Refusal> {
        let address = buffer_address(buffer, into.len())?;
        let read = self.memory.read(address, into);
        read.map_err(|_| Refusal::ControlBufferDma)
    }

    /// Writes the start of the memory that a command brought along.
    pub(super) fn write_buffer(&self, buffer: ControlBuffer, from: &[u8]) -> Result<(), Refusal> {
        let address = buffer_address(buffer, from.len())?;
        let written = self.memory.write(address, from);
        written.map_err(|_| Refusal::ControlBufferDma)
    }
}

fn buffer_address(buffer: ControlBuffer, needed: usize) -> Result<u64, Refusal> {
    let length = usize::try_from(buffer.length.get()).map_err(|_| Refusal::ControlBufferShort)?;
    if length == 0 || buffer.address.get() == 0 {
        return Err(Refusal::ControlBufferMissing);
    }
    if length < needed {
        return Err(Refusal::ControlBufferShort);
    }
    Ok(buffer.address.get())
}

/// Something that is only wrong by the book.
pub(super) fn strict(holds: bool) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::ReservedBits) }
}

/// Where a ring is, if it can be there.
fn ring_base(address: MemoryAddress, depth: u16, entry_bytes: u8) -> Option<u64> {
    let base = address.get();
    let end = base + u64::from(depth) * u64::from(entry_bytes);
    // Entries are published by their aligned words.
    let is_aligned = base.is_multiple_of(u64::from(entry_bytes).min(8));
    (base != 0 && is_aligned && end <= 1 << DMA_WIDTH).then_some(base)
}

/// BAR 0 and BAR 2 end far below 4 GiB.
fn offset_in_bar(offset: u64) -> U32<zerocopy::byteorder::LE> {
    U32::new(u32::try_from(offset).unwrap_or(u32::MAX))
}

/// Bytes of a transmit or receive descriptor. Source: `ena_eth_io_defs.h`.
const DESCRIPTOR_BYTES: u8 = 16;

/// "Has to be page aligned", says `ena_admin_defs.h` of a submission queue.
const PAGE_BYTES: u64 = 4096;
