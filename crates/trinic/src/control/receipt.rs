//! What the card has acknowledged, and the wait of an API reply for it.
//!
//! A reply that came before the card had its tables would promise what packets do not meet yet, so a call that
//! changed them waits for the card's receipt. The wait is the caller's own: the engine goes on meanwhile. It
//! ends early when the connection to the card does, and after [`WAIT_LIMIT`] in any case; a card that let one
//! reply wait in vain holds up no other until it acknowledges again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use trinic_switch::tables::Revision;

/// Where one connection to a card says what the card acknowledged. Nobody waits any more once it is dropped.
#[derive(Debug)]
pub struct Acknowledged {
    revision: watch::Sender<Revision>,
    tally: Arc<Tally>,
}

/// What one connection to a card acknowledged, as those who wait for it see it.
#[derive(Debug)]
pub(super) struct Progress {
    revision: watch::Receiver<Revision>,
    tally: Arc<Tally>,
}

/// A promise of the card: it has, or will have, this revision.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    expected: Revision,
    revision: watch::Receiver<Revision>,
    tally: Arc<Tally>,
}

/// What is kept over all connections.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Replies that went out before a connected card had their tables.
    late: AtomicU64,
    /// Someone waited in vain, and nothing was acknowledged since.
    is_behind: AtomicBool,
    warned: Mutex<Option<Instant>>,
}

/// Both ends for a new connection.
pub(super) fn connection(tally: &Arc<Tally>) -> (Acknowledged, Progress) {
    tally.is_behind.store(false, Ordering::Relaxed);
    let (sender, receiver) = watch::channel(Revision(0));
    let acknowledged = Acknowledged {
        revision: sender,
        tally: tally.clone(),
    };
    let progress = Progress {
        revision: receiver,
        tally: tally.clone(),
    };
    (acknowledged, progress)
}

impl Acknowledged {
    /// The card has everything up to this revision.
    pub fn advance(&self, revision: Revision) {
        self.tally.is_behind.store(false, Ordering::Relaxed);
        self.revision.send_replace(revision);
    }
}

impl Progress {
    /// What to wait for after the card was sent a revision.
    pub(super) fn receipt(&self, expected: Revision) -> Receipt {
        Receipt {
            expected,
            revision: self.revision.clone(),
            tally: self.tally.clone(),
        }
    }
}

impl Receipt {
    /// Waits until the card has the revision, until its connection has ended, or for [`WAIT_LIMIT`].
    pub(super) async fn wait(mut self) {
        let expected = self.expected;
        if *self.revision.borrow() >= expected {
            return;
        }
        if self.tally.is_behind.load(Ordering::Relaxed) {
            self.tally.late.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let acknowledged = self.revision.wait_for(|revision| *revision >= expected);
        // A connection that ended is no lateness: its successor begins with a snapshot.
        if tokio::time::timeout(WAIT_LIMIT, acknowledged).await.is_err() {
            self.tally.missed(expected);
        }
    }
}

impl Tally {
    /// Replies that went out before a connected card had their tables.
    pub(super) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    fn missed(&self, expected: Revision) {
        self.is_behind.store(true, Ordering::Relaxed);
        let late = 1 + self.late.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|at| now.duration_since(at) < WARN_EVERY) {
            return;
        }
        *warned = Some(now);
        tracing::warn!(
            revision = expected.0,
            late,
            "The card does not take its tables in time; replies go out before it has them"
        );
    }
}

/// How long a reply waits for the card, which takes an update within a millisecond when all is well.
const WAIT_LIMIT: Duration = Duration::from_secs(1);

/// How often the log may say that the card is late.
const WARN_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receipt_is_good_for_its_revision_and_all_before() {
        let tally = Arc::default();
        let (acknowledged, progress) = connection(&tally);
        acknowledged.advance(Revision(7));
        let began = Instant::now();
        progress.receipt(Revision(6)).wait().await;
        progress.receipt(Revision(7)).wait().await;
        assert!(began.elapsed() < WAIT_LIMIT);
        assert_eq!(tally.late(), 0);
    }

    #[tokio::test]
    async fn a_silent_card_holds_up_one_reply_and_a_dead_one_none() {
        let tally = Arc::default();
        let (acknowledged, progress) = connection(&tally);
        let began = Instant::now();
        progress.receipt(Revision(1)).wait().await;
        assert!(began.elapsed() >= WAIT_LIMIT);
        assert_eq!(tally.late(), 1);
        let began = Instant::now();
        progress.receipt(Revision(2)).wait().await;
        assert!(began.elapsed() < WAIT_LIMIT / 2, "one wait in vain is enough");
        assert_eq!(tally.late(), 2);
        // It speaks again, and is waited for again: here in vain, since it dies.
        acknowledged.advance(Revision(2));
        let waiting = tokio::spawn(progress.receipt(Revision(3)).wait());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(acknowledged);
        waiting.await.unwrap();
        assert!(began.elapsed() < WAIT_LIMIT / 2);
        assert_eq!(tally.late(), 2);
    }
}
