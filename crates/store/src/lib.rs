//! Durable state with revisions: named tables of keys and values, changed by transactions.
//!
//! A [`Transaction`] is a list of puts and deletes that takes effect whole or not at all. Each commit yields the
//! next [`Revision`] and is durable when it returns: `kill -9` at any moment loses no acknowledged commit and
//! leaves nothing half done. A [`Snapshot`] is a consistent view at one revision; a [`Watch`] follows the
//! commits after one. The trait [`Store`] is shaped so that etcd can stand behind it; here are [`RedbStore`]
//! (one file, for one host) and [`MemoryStore`] (nothing survives the process).
//!
//! The log behind watches is bounded: a store keeps the last [`LOG_LIMIT`] commits, and
//! [`Store::compact`] drops more. A watch that fell behind gets [`StoreError::Compacted`] and starts again from a
//! snapshot, as with etcd.
//!
//! Every call blocks, a commit for as long as the disk needs; asynchronous callers use a thread of their own.

#![forbid(unsafe_code)]

mod encoding;
mod log;
mod memory;
mod redb;

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;

pub use log::{Commit, Watch};
pub use memory::MemoryStore;
pub use redb::RedbStore;

/// The number of a commit: 0 is the empty store, each commit adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets the value of a key.
    Put {
        /// Name of the table.
        table: String,
        /// The key.
        key: String,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Removes a key; nothing happens if it is not there.
    Delete {
        /// Name of the table.
        table: String,
        /// The key.
        key: String,
    },
}

/// Changes that take effect together, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    changes: Vec<Change>,
    expected: Option<Revision>,
}

impl Transaction {
    /// An empty transaction. Committing it still makes a revision.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put.
    pub fn put(
        &mut self,
        table: impl Into<String>,
        key: impl Into<String>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.changes.push(Change::Put {
            table: table.into(),
            key: key.into(),
            value: value.into(),
        });
        self
    }

    /// Adds a delete.
    pub fn delete(&mut self, table: impl Into<String>, key: impl Into<String>) -> &mut Self {
        self.changes.push(Change::Delete {
            table: table.into(),
            key: key.into(),
        });
        self
    }

    /// Makes the commit fail with [`StoreError::Conflict`] unless the store is at this revision: what a
    /// process needs that decides from a snapshot while others may write.
    pub fn expect(&mut self, revision: Revision) -> &mut Self {
        self.expected = Some(revision);
        self
    }

    /// The changes, in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Refuses what no store takes, so that all stores refuse the same.
    fn check(&self, at: Revision) -> Result<(), StoreError> {
        if let Some(expected) = self.expected
            && expected != at
        {
            return Err(StoreError::Conflict { expected, at });
        }
        let mut size_bytes = 0usize;
        for change in &self.changes {
            let (table, key, value_bytes) = match change {
                Change::Put { table, key, value } => (table, key, value.len()),
                Change::Delete { table, key } => (table, key, 0),
            };
            if table.is_empty() || table.len() > NAME_LIMIT_BYTES || table.contains('\0') {
                return Err(StoreError::BadName { name: table.clone() });
            }
            if key.len() > NAME_LIMIT_BYTES {
                return Err(StoreError::BadName { name: key.clone() });
            }
            size_bytes = size_bytes.saturating_add(table.len() + key.len() + value_bytes);
        }
        if size_bytes > TRANSACTION_LIMIT_BYTES {
            return Err(StoreError::TooLarge {
                size_bytes,
                limit_bytes: TRANSACTION_LIMIT_BYTES,
            });
        }
        Ok(())
    }
}

/// A place that keeps state; see the crate's documentation for what every store promises.
pub trait Store: fmt::Debug + Send + Sync {
    /// Commits a transaction; durable when it returns.
    ///
    /// # Errors
    ///
    /// When the transaction is refused or the medium fails; then nothing of it is in the store.
    fn commit(&self, transaction: &Transaction) -> Result<Revision, StoreError>;

    /// A consistent view of the last commit, which later commits do not change.
    ///
    /// # Errors
    ///
    /// When the medium fails.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Follows the commits after `from`, those in the past first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Compacted`] when some of them are no longer known.
    fn watch(&self, from: Revision) -> Result<Watch, StoreError>;

    /// Forgets the log up to and with `through`; the tables themselves stay whole.
    ///
    /// # Errors
    ///
    /// When the medium fails.
    fn compact(&self, through: Revision) -> Result<(), StoreError>;
}

/// A consistent view of a store.
pub trait Snapshot: Send {
    /// The last commit that it contains.
    fn revision(&self) -> Revision;

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// When the medium fails.
    fn get(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Calls `each` with every key that starts with `prefix` and its value, in the order of the keys' bytes,
    /// until it breaks.
    ///
    /// # Errors
    ///
    /// When the medium fails.
    fn scan(
        &self,
        table: &str,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;
}

/// Why a store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("State {path} is in use by another process{}", holder(*.pid))]
    Locked {
        /// The file.
        path: PathBuf,
        /// The process that said it holds it.
        pid: Option<u32>,
    },
    /// A newer program wrote it.
    #[error(
        "State {path} has format {found}; this program understands formats up to {supported}: use a newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        supported: u64,
    },
    /// The transaction expected another revision.
    #[error("Transaction expected revision {expected}, the store is at {at}")]
    Conflict {
        /// What the transaction expected.
        expected: Revision,
        /// Where the store is.
        at: Revision,
    },
    /// The log does not reach back that far.
    #[error("Commits after revision {from} are compacted up to revision {through}; start from a snapshot")]
    Compacted {
        /// What was asked for.
        from: Revision,
        /// The last commit that is forgotten.
        through: Revision,
    },
    /// A revision that does not exist yet.
    #[error("Revision {from} is in the future, the store is at {at}")]
    Future {
        /// What was asked for.
        from: Revision,
        /// Where the store is.
        at: Revision,
    },
    /// A table or key name that no store takes.
    #[error(
        "Name {name:?} of a table or key is empty, has a zero byte, or more than {NAME_LIMIT_BYTES} bytes"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// A transaction above the limit.
    #[error("Transaction of {size_bytes} bytes is above the limit of {limit_bytes}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The file does not contain what this crate writes.
    #[error("State is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The file system refused.
    #[error("Cannot use state file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The database failed.
    #[error("State database failed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// The most bytes of a table's name, and of a key.
pub const NAME_LIMIT_BYTES: usize = 1024;

/// The most bytes of all names and values of one transaction.
pub const TRANSACTION_LIMIT_BYTES: usize = 64 << 20;

/// The commits that a store keeps for watches; older ones are dropped, a quarter more at most being kept so
/// that dropping is rare.
pub const LOG_LIMIT: u64 = 4096;
