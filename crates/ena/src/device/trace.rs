//! What passes between driver and device, for people who write drivers. One event is one line.

use std::collections::VecDeque;
use std::fmt;

use super::Refusal;
use super::decode;
use crate::spec::admin::{Command, Completion};
use crate::spec::aenq::{Event, Group, KeepAlive, LinkChange};
use crate::spec::registers::{
    Caps, ControllerVersion, DeviceControl, DeviceStatus, QueueCaps, Register, ResetReason, Version,
};

/// Something that happened at the border between driver and device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceEvent {
    /// The driver read a register.
    RegisterRead {
        /// Which one.
        register: Register,
        /// What it read.
        value: u32,
        /// It did so by DMA.
        is_readless: bool,
    },
    /// The driver wrote a register.
    RegisterWrite {
        /// Which one.
        register: Register,
        /// What it wrote.
        value: u32,
    },
    /// A command was done, or refused.
    Command {
        /// As the driver wrote it.
        command: Box<Command>,
        /// As the device answered.
        completion: Box<Completion>,
        /// Why it was refused, if it was.
        refusal: Option<Refusal>,
    },
    /// The device reported something.
    Event(Box<Event>),
    /// The driver resets the device.
    Reset(ResetReason),
    /// The reset is over: the driver said so.
    ResetDone,
    /// The bus resets the function, or the driver does by PCI Express.
    BusReset,
    /// Something that is no command was refused.
    Refused(Refusal),
    /// The device misbehaves, as it was told to.
    Fault(super::Fault),
}

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RegisterRead {
                register,
                value,
                is_readless,
            } => {
                write!(f, "read {register} = {value:#x}")?;
                words(f, *register, *value)?;
                f.write_str(if *is_readless { " (readless)" } else { "" })
            }
            Self::RegisterWrite { register, value } => {
                write!(f, "write {register} = {value:#x}")?;
                words(f, *register, *value)
            }
            Self::Command {
                command,
                completion,
                refusal,
            } => command_line(f, command, completion, *refusal),
            Self::Event(event) => event_line(f, event),
            Self::Reset(reason) if reason.blames_device() => {
                write!(
                    f,
                    "reset, reason {}: {reason}; the driver blames the device",
                    reason.0
                )
            }
            Self::Reset(reason) => write!(f, "reset, reason {}: {reason}", reason.0),
            Self::ResetDone => f.write_str("reset done"),
            Self::BusReset => f.write_str("reset by the bus"),
            Self::Refused(refusal) => write!(f, "refused {}: {refusal}", refusal.name()),
            Self::Fault(fault) => write!(f, "fault: {fault}"),
        }
    }
}

fn words(f: &mut fmt::Formatter<'_>, register: Register, value: u32) -> fmt::Result {
    match register {
        Register::DEV_STS => {
            let status = DeviceStatus::from_bits(value);
            for (is_set, word) in [
                (status.ready(), "ready"),
                (status.reset_in_progress(), "reset in progress"),
                (status.fatal_error(), "fatal error"),
            ] {
                if is_set {
                    write!(f, ", {word}")?;
                }
            }
            Ok(())
        }
        Register::DEV_CTL if DeviceControl::from_bits(value).reset() => f.write_str(", reset"),
        Register::VERSION => {
            let version = Version::from_bits(value);
            write!(f, ", {}.{}", version.major(), version.minor())
        }
        Register::CONTROLLER_VERSION => {
            let version = ControllerVersion::from_bits(value);
            let (major, minor, subminor) = (version.major(), version.minor(), version.subminor());
            write!(f, ", {major}.{minor}.{subminor}")
        }
        Register::CAPS => {
            let caps = Caps::from_bits(value);
            let reset_ms = u32::from(caps.reset_timeout()) * 100;
            let width = caps.dma_address_width();
            write!(
                f,
                ", a reset takes at most {reset_ms} ms, addresses of {width} bits"
            )
        }
        Register::AQ_CAPS | Register::ACQ_CAPS | Register::AENQ_CAPS => {
            let caps = QueueCaps::from_bits(value);
            write!(f, ", {} entries of {} B", caps.depth(), caps.entry_bytes())
        }
        _ => Ok(()),
    }
}

fn command_line(
    f: &mut fmt::Formatter<'_>,
    command: &Command,
    completion: &Completion,
    refusal: Option<Refusal>,
) -> fmt::Result {
    write!(
        f,
        "command {}: {}",
        command.header.command_id,
        decode::Request(command)
    )?;
    match refusal {
        Some(refusal) => {
            let (name, status) = (refusal.name(), completion.status());
            write!(f, " -> {status} ({}), {name}: {refusal}", status.0)
        }
        None => write!(f, " -> {}", decode::Answer(command, completion)),
    }
}

fn event_line(f: &mut fmt::Formatter<'_>, event: &Event) -> fmt::Result {
    let group = Group(event.group.get());
    write!(f, "event {group}")?;
    match group {
        Group::LINK_CHANGE if event.payload::<LinkChange>().flags.get() & 1 == 1 => f.write_str(": up"),
        Group::LINK_CHANGE => f.write_str(": down"),
        Group::KEEP_ALIVE => {
            let counters: KeepAlive = event.payload();
            let (rx, tx, over) = (counters.rx_drops, counters.tx_drops, counters.rx_overruns);
            write!(f, ": rx drops {rx}, tx drops {tx}, rx overruns {over}")
        }
        _ => write!(f, ": syndrome {}", event.syndrome),
    }
}

/// An event with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRecord {
    /// Counts on by 1; a gap is what was lost because nobody drained the trace.
    pub number: u64,
    /// What happened.
    pub event: TraceEvent,
}

impl fmt::Display for TraceRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.event)
    }
}

/// The records that wait to be drained; the oldest go first when there are too many.
#[derive(Debug)]
pub(super) struct Trace {
    records: VecDeque<TraceRecord>,
    most: usize,
    next: u64,
}

impl Trace {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            records: VecDeque::new(),
            most,
            next: 0,
        }
    }

    pub(super) fn set_most(&mut self, most: usize) {
        self.most = most;
        while self.records.len() > most {
            self.records.pop_front();
        }
    }

    /// Keeps an event, which is only made where somebody wants it.
    pub(super) fn add(&mut self, event: impl FnOnce() -> TraceEvent) {
        if self.most == 0 {
            return;
        }
        if self.records.len() >= self.most {
            self.records.pop_front();
        }
        self.records.push_back(TraceRecord {
            number: self.next,
            event: event(),
        });
        self.next += 1;
    }

    pub(super) fn drain(&mut self) -> std::collections::vec_deque::Drain<'_, TraceRecord> {
        self.records.drain(..)
    }
}
