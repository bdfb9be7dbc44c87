//! Why a server refuses what a client sends, each with a counter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a message or a client was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A second client while one is connected. It is turned away.
    Busy,
    /// A header whose size or type cannot be: the client is disconnected.
    Header,
    /// No version was agreed on, or one that is not spoken here: the client is disconnected.
    Version,
    /// A command that is not offered.
    Command,
    /// A message shorter than its command needs, or one whose counts do not fit its length.
    Length,
    /// Too many file descriptors, too few, or of the wrong kind.
    Descriptors,
    /// A region that is not there, or a range outside it.
    Region,
    /// An interrupt that is not there, or an action that it does not have.
    Interrupt,
    /// A map that overlaps one, is too much, or is not of whole pages of a proper file.
    Map,
    /// An unmap of what is not mapped so.
    Unmap,
    /// Memory that was cut off after it had been shared: the client is disconnected.
    CutOff,
    /// The kernel refused something that the message needs.
    System,
}

impl Refusal {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 12] = [
        Self::Busy,
        Self::Header,
        Self::Version,
        Self::Command,
        Self::Length,
        Self::Descriptors,
        Self::Region,
        Self::Interrupt,
        Self::Map,
        Self::Unmap,
        Self::CutOff,
        Self::System,
    ];

    /// As counters are shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Header => "header",
            Self::Version => "version",
            Self::Command => "command",
            Self::Length => "length",
            Self::Descriptors => "descriptors",
            Self::Region => "region",
            Self::Interrupt => "interrupt",
            Self::Map => "map",
            Self::Unmap => "unmap",
            Self::CutOff => "cut-off",
            Self::System => "system",
        }
    }

    /// Whether the client is disconnected.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Busy | Self::Header | Self::Version | Self::CutOff)
    }
}

/// A refusal with the error number that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) errno: i32,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let errno = match refusal {
            Refusal::Command => libc::EOPNOTSUPP,
            Refusal::Unmap => libc::ENOENT,
            Refusal::Busy => libc::EBUSY,
            Refusal::CutOff => libc::EFAULT,
            _ => libc::EINVAL,
        };
        Self { refusal, errno }
    }
}

/// What a server has counted since it was made.
#[derive(Debug, Default)]
pub struct Counters {
    clients: AtomicU64,
    messages: AtomicU64,
    refusals: [AtomicU64; Refusal::ALL.len()],
}

impl Counters {
    /// Clients that were let in.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.clients.load(Ordering::Relaxed)
    }

    /// Whole messages received.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// How often something was refused for a reason.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        let at = Refusal::ALL.iter().position(|other| *other == refusal);
        at.map_or(0, |at| self.refusals[at].load(Ordering::Relaxed))
    }

    /// Everything that was refused, by reason, with how often.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        let counts = Refusal::ALL.iter().zip(&self.refusals);
        counts
            .map(|(refusal, count)| (refusal.name(), count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    pub(super) fn count_client(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_message(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, refusal: Refusal) {
        if let Some(at) = Refusal::ALL.iter().position(|other| *other == refusal) {
            self.refusals[at].fetch_add(1, Ordering::Relaxed);
        }
    }
}
