//! Watches: readers of the commit log that wait for the next commit.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Change, Revision, StoreError};

/// A commit, as a watch sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its revision.
    pub revision: Revision,
    /// Its changes, in order.
    pub changes: Vec<Change>,
}

/// Follows the commits of a store. It holds no commit itself, so a slow watch costs no memory; one that falls
/// behind the log's limit gets [`StoreError::Compacted`].
pub struct Watch {
    log: Arc<dyn Log>,
    at: Revision,
}

impl Watch {
    pub(crate) fn new(log: Arc<dyn Log>, from: Revision) -> Result<Self, StoreError> {
        let at = log.tip().at();
        if from > at {
            return Err(StoreError::Future { from, at });
        }
        let watch = Self { log, at: from };
        if from < at {
            watch.log.read(next(from))?;
        }
        Ok(watch)
    }

    /// The next commit, if there is one already.
    ///
    /// # Errors
    ///
    /// [`StoreError::Compacted`] when it is no longer known, or when the medium fails.
    pub fn try_next(&mut self) -> Result<Option<Commit>, StoreError> {
        if self.at >= self.log.tip().at() {
            return Ok(None);
        }
        let revision = next(self.at);
        let changes = self.log.read(revision)?;
        self.at = revision;
        Ok(Some(Commit { revision, changes }))
    }

    /// The next commit; waits for it up to `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Watch::try_next`].
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Commit>, StoreError> {
        self.log.tip().wait_beyond(self.at, timeout);
        self.try_next()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Where a watch reads from.
pub(crate) trait Log: Send + Sync {
    /// The changes of a commit that exists or existed.
    fn read(&self, revision: Revision) -> Result<Vec<Change>, StoreError>;

    /// The last revision, to wait on.
    fn tip(&self) -> &Tip;
}

/// The last revision, and a bell for those who wait for the next.
#[derive(Debug, Default)]
pub(crate) struct Tip {
    at: Mutex<Revision>,
    bell: Condvar,
}

impl Tip {
    pub(crate) fn new(at: Revision) -> Self {
        Self {
            at: Mutex::new(at),
            bell: Condvar::new(),
        }
    }

    pub(crate) fn at(&self) -> Revision {
        *self.lock()
    }

    pub(crate) fn advance(&self, to: Revision) {
        *self.lock() = to;
        self.bell.notify_all();
    }

    fn wait_beyond(&self, revision: Revision, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut at = self.lock();
        while *at <= revision {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            at = self
                .bell
                .wait_timeout(at, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// A revision is written whole, so a panic elsewhere cannot leave it half done.
    fn lock(&self) -> MutexGuard<'_, Revision> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn next(revision: Revision) -> Revision {
    Revision(revision.0 + 1)
}
