//! The account of all messages: what was offered, and what became of each.

use crate::{HostId, Instant};

/// Which message: a number from 0 in the order of the offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// A message to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its number, which the receiver's event must have.
    pub id: MessageId,
    /// The receiver.
    pub to: HostId,
    /// Its length.
    pub size_bytes: u32,
}

/// What an endpoint tells about messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageEvent {
    /// At the receiver: the message is here.
    Delivered {
        /// Its number.
        id: MessageId,
        /// Who sent it.
        from: HostId,
        /// Its length as received.
        size_bytes: u32,
        /// Whether its content is what was sent ([`crate::content`] makes and checks it).
        intact: bool,
    },
    /// At the sender: the message is known to have been delivered.
    Completed {
        /// Its number.
        id: MessageId,
    },
    /// At the sender: the message failed. It may have been delivered all the same.
    Failed {
        /// Its number.
        id: MessageId,
    },
}

/// What must not happen to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The receiver got it a second time.
    #[error("Message {} was delivered twice", .0.0)]
    DeliveredTwice(MessageId),
    /// The sender was told a second time what became of it.
    #[error("Message {} completed or failed twice", .0.0)]
    ResolvedTwice(MessageId),
    /// The sender was told that it was delivered, and it was not.
    #[error("Message {} completed but was not delivered", .0.0)]
    NotDelivered(MessageId),
    /// The sender was never told what became of it.
    #[error("Message {} neither completed nor failed", .0.0)]
    Silent(MessageId),
    /// Another host than its receiver got it, or another than its sender was told, or the receiver was told
    /// of another sender.
    #[error("Message {} turned up at host {}", .0.0, .1.0)]
    WrongHost(MessageId, HostId),
    /// Its content or length is not what was sent.
    #[error("Message {} arrived damaged", .0.0)]
    Damaged(MessageId),
    /// Nobody ever offered it.
    #[error("Message {} was never offered", .0.0)]
    Unknown(MessageId),
}

/// What became of a message at its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing yet.
    Pending,
    /// Completed.
    Completed,
    /// Failed with an error.
    Failed,
    /// The sender crashed before it was told.
    Aborted,
}

/// A message's account.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The sender.
    pub from: HostId,
    /// The message.
    pub message: Message,
    /// When it was offered.
    pub offered_at: Instant,
    /// Which flow of the workload it belongs to.
    pub flow: u32,
    /// What became of it at the sender.
    pub resolution: Resolution,
    /// How often the receiver got it.
    pub delivered: u32,
}

/// The account of all messages of a scenario.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    violations: Vec<Violation>,
    violation_count: u64,
}

impl Ledger {
    /// Opens the account of a message.
    pub fn offer(&mut self, now: Instant, flow: u32, from: HostId, to: HostId, size_bytes: u32) -> Message {
        let id = MessageId(u64::try_from(self.entries.len()).unwrap_or(u64::MAX));
        let message = Message { id, to, size_bytes };
        self.entries.push(Entry {
            from,
            message,
            offered_at: now,
            flow,
            resolution: Resolution::Pending,
            delivered: 0,
        });
        message
    }

    /// Books what the endpoint of `host` told; gives the message's account if the event is the first of its
    /// kind for it, and at the right host.
    pub fn book(&mut self, host: HostId, event: MessageEvent) -> Option<Entry> {
        let (MessageEvent::Delivered { id, .. }
        | MessageEvent::Completed { id }
        | MessageEvent::Failed { id }) = event;
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        let Some(entry) = self.entries.get_mut(index) else {
            self.violation(Violation::Unknown(id));
            return None;
        };
        let result = match event {
            MessageEvent::Delivered {
                from,
                size_bytes,
                intact,
                ..
            } => entry.deliver(host, from, size_bytes, intact),
            MessageEvent::Completed { .. } => entry.resolve(host, Resolution::Completed),
            MessageEvent::Failed { .. } => entry.resolve(host, Resolution::Failed),
        };
        let entry = *entry;
        match result {
            Ok(()) => Some(entry),
            Err(violation) => {
                self.violation(violation);
                matches!(violation, Violation::NotDelivered(_)).then_some(entry)
            }
        }
    }

    /// Books that a message's sender crashed before it was told what became of it.
    pub fn abort(&mut self, id: MessageId) {
        let entry = usize::try_from(id.0)
            .ok()
            .and_then(|index| self.entries.get_mut(index));
        if let Some(entry) = entry
            && entry.resolution == Resolution::Pending
        {
            entry.resolution = Resolution::Aborted;
        }
    }

    /// All accounts, by number.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Messages with this resolution.
    pub fn count(&self, resolution: Resolution) -> u64 {
        let found = self.entries.iter().filter(|entry| entry.resolution == resolution);
        u64::try_from(found.count()).unwrap_or(u64::MAX)
    }

    /// Closes the account: every message completed once after it was delivered once, or failed with an error and
    /// was delivered once at most; the sender of none that is open still lives.
    ///
    /// # Errors
    ///
    /// The first 100 things that were wrong.
    pub fn check(&self) -> Result<(), Vec<Violation>> {
        let silent = self
            .entries
            .iter()
            .filter(|entry| entry.resolution == Resolution::Pending)
            .map(|entry| Violation::Silent(entry.message.id));
        let wrong: Vec<Violation> = self
            .violations
            .iter()
            .copied()
            .chain(silent)
            .take(VIOLATIONS_KEPT)
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// What was wrong so far, open accounts aside: how many times, also beyond the 100 that are kept.
    pub const fn violation_count(&self) -> u64 {
        self.violation_count
    }

    fn violation(&mut self, violation: Violation) {
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_KEPT {
            self.violations.push(violation);
        }
    }
}

impl Entry {
    fn deliver(
        &mut self,
        host: HostId,
        from: HostId,
        size_bytes: u32,
        intact: bool,
    ) -> Result<(), Violation> {
        let id = self.message.id;
        self.delivered += 1;
        if host != self.message.to || from != self.from {
            return Err(Violation::WrongHost(id, host));
        }
        if self.delivered > 1 {
            return Err(Violation::DeliveredTwice(id));
        }
        if size_bytes != self.message.size_bytes || !intact {
            return Err(Violation::Damaged(id));
        }
        Ok(())
    }

    fn resolve(&mut self, host: HostId, resolution: Resolution) -> Result<(), Violation> {
        let id = self.message.id;
        if host != self.from {
            return Err(Violation::WrongHost(id, host));
        }
        if self.resolution != Resolution::Pending {
            return Err(Violation::ResolvedTwice(id));
        }
        self.resolution = resolution;
        if resolution == Resolution::Completed && self.delivered == 0 {
            return Err(Violation::NotDelivered(id));
        }
        Ok(())
    }
}

const VIOLATIONS_KEPT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const A: HostId = HostId(0);
    const B: HostId = HostId(1);

    fn delivered(id: u64) -> MessageEvent {
        MessageEvent::Delivered {
            id: MessageId(id),
            from: A,
            size_bytes: 10,
            intact: true,
        }
    }

    /// What is wrong after one message of A to B and these events.
    fn after(events: &[(HostId, MessageEvent)]) -> Vec<Violation> {
        let mut ledger = Ledger::default();
        let message = ledger.offer(Instant::ZERO, 0, A, B, 10);
        assert_eq!(message.id, MessageId(0));
        for (host, event) in events {
            ledger.book(*host, *event);
        }
        ledger.check().err().unwrap_or_default()
    }

    #[test]
    fn once_or_an_error_is_right() {
        let id = MessageId(0);
        let completed = (A, MessageEvent::Completed { id });
        let failed = (A, MessageEvent::Failed { id });
        assert_eq!(after(&[(B, delivered(0)), completed]), []);
        assert_eq!(after(&[(B, delivered(0)), failed]), []);
        assert_eq!(after(&[failed, (B, delivered(0))]), []);
        assert_eq!(after(&[failed]), []);
    }

    #[test]
    fn everything_else_is_named() {
        let id = MessageId(0);
        let completed = (A, MessageEvent::Completed { id });
        let failed = (A, MessageEvent::Failed { id });
        let arrives = (B, delivered(0));
        assert_eq!(after(&[]), [Violation::Silent(id)]);
        assert_eq!(after(&[arrives]), [Violation::Silent(id)]);
        assert_eq!(after(&[completed]), [Violation::NotDelivered(id)]);
        assert_eq!(
            after(&[arrives, arrives, completed]),
            [Violation::DeliveredTwice(id)]
        );
        assert_eq!(
            after(&[arrives, completed, failed]),
            [Violation::ResolvedTwice(id)]
        );
        let elsewhere = (HostId(2), delivered(0));
        assert_eq!(after(&[elsewhere, failed]), [Violation::WrongHost(id, HostId(2))]);
        assert_eq!(
            after(&[(B, delivered(7)), failed]),
            [Violation::Unknown(MessageId(7))]
        );
        let damaged = MessageEvent::Delivered {
            id,
            from: A,
            size_bytes: 10,
            intact: false,
        };
        assert_eq!(after(&[(B, damaged), completed]), [Violation::Damaged(id)]);
    }

    #[test]
    fn a_crashed_sender_owes_no_answer() {
        let mut ledger = Ledger::default();
        let message = ledger.offer(Instant::ZERO, 0, A, B, 10);
        ledger.abort(message.id);
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!(ledger.count(Resolution::Aborted), 1);
    }
}
