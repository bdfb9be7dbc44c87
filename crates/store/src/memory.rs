//! A store in memory: for `--ephemeral` and for tests.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::encoding::{key_of, row};
use crate::log::{Log, Tip, next};
use crate::{Change, LOG_LIMIT, Revision, Snapshot, Store, StoreError, Transaction, Watch};

/// A store whose contents end with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    tip: Tip,
}

#[derive(Default)]
struct State {
    /// Shared with snapshots; copied by the first commit after one.
    rows: Arc<Rows>,
    /// The commits after `compacted`, the oldest first.
    log: VecDeque<Vec<Change>>,
    compacted: Revision,
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("rows", &self.rows.len())
            .field("log", &self.log.len())
            .field("compacted", &self.compacted)
            .finish()
    }
}

impl MemoryStore {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn commit(&self, transaction: &Transaction) -> Result<Revision, StoreError> {
        let mut state = self.shared.lock();
        let at = self.shared.tip.at();
        transaction.check(at)?;
        let rows = Arc::make_mut(&mut state.rows);
        for change in transaction.changes() {
            match change {
                Change::Put { table, key, value } => rows.insert(row(table, key), value.clone()),
                Change::Delete { table, key } => rows.remove(&row(table, key)),
            };
        }
        state.log.push_back(transaction.changes().to_vec());
        let revision = next(at);
        state.forget_through(Revision(revision.0.saturating_sub(LOG_LIMIT)));
        self.shared.tip.advance(revision);
        Ok(revision)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let state = self.shared.lock();
        Ok(Box::new(MemorySnapshot {
            revision: self.shared.tip.at(),
            rows: state.rows.clone(),
        }))
    }

    fn watch(&self, from: Revision) -> Result<Watch, StoreError> {
        Watch::new(self.shared.clone(), from)
    }

    fn compact(&self, through: Revision) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        state.forget_through(through.min(self.shared.tip.at()));
        Ok(())
    }
}

impl Shared {
    /// A commit changes the state in steps that cannot panic, so a poisoned lock still guards whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_through(&mut self, through: Revision) {
        while self.compacted < through {
            self.log.pop_front();
            self.compacted = next(self.compacted);
        }
    }
}

impl Log for Shared {
    fn read(&self, revision: Revision) -> Result<Vec<Change>, StoreError> {
        let state = self.lock();
        let index = revision
            .0
            .checked_sub(state.compacted.0 + 1)
            .and_then(|index| usize::try_from(index).ok());
        index
            .and_then(|index| state.log.get(index).cloned())
            .ok_or(StoreError::Compacted {
                from: Revision(revision.0.saturating_sub(1)),
                through: state.compacted,
            })
    }

    fn tip(&self) -> &Tip {
        &self.tip
    }
}

struct MemorySnapshot {
    revision: Revision,
    rows: Arc<Rows>,
}

impl Snapshot for MemorySnapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(&row(table, key)).cloned())
    }

    fn scan(
        &self,
        table: &str,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let start = row(table, prefix);
        let range = self
            .rows
            .range(start.clone()..)
            .take_while(|(row, _)| row.starts_with(&start));
        for (row, value) in range {
            if each(key_of(row, table)?, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
