//! A store in one file, with redb.
//!
//! Three redb tables: `rows` (table, zero byte, key → value), `log` (revision → changes), `meta` (`format`,
//! `revision`, `compacted`). One redb write transaction per commit, with redb's default durability: the file
//! is synced before the commit returns. A new file is made complete under another name and then renamed,
//! so that a kill during the first start leaves no half-made file.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::redb::backends::FileBackend;
use ::redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use crate::encoding::{decode, encode, key_of, row};
use crate::log::{Log, Tip, next};
use crate::{Change, LOG_LIMIT, Revision, Snapshot, Store, StoreError, Transaction, Watch};

/// A store in one file, for one process at a time.
pub struct RedbStore {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    path: PathBuf,
    /// Orders commits with the tip that watches see.
    committing: Mutex<()>,
    tip: Tip,
    /// Held as long as the store is open.
    _lock: File,
}

impl RedbStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Newer`] when a newer program
    /// wrote it, or when the file cannot be used.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let lock = lock(&path)?;
        if !path.exists() {
            create(&path)?;
        }
        let database = Database::open(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Locked {
                path: path.clone(),
                pid: None,
            },
            other => database_error(other),
        })?;
        let read = database.begin_read().map_err(database_error)?;
        let found = meta(&read, FORMAT)?.ok_or(StoreError::Damaged {
            what: "the file has no format number",
        })?;
        if found > FORMAT_VERSION {
            return Err(StoreError::Newer {
                path,
                found,
                supported: FORMAT_VERSION,
            });
        }
        let revision = Revision(meta(&read, REVISION)?.unwrap_or(0));
        drop(read);
        Ok(Self {
            shared: Arc::new(Shared {
                database,
                path,
                committing: Mutex::new(()),
                tip: Tip::new(revision),
                _lock: lock,
            }),
        })
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("path", &self.shared.path)
            .field("revision", &self.shared.tip.at())
            .finish_non_exhaustive()
    }
}

impl Store for RedbStore {
    fn commit(&self, transaction: &Transaction) -> Result<Revision, StoreError> {
        let shared = &self.shared;
        let _order = shared.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let at = shared.tip.at();
        transaction.check(at)?;
        let revision = next(at);
        let write = shared.database.begin_write().map_err(database_error)?;
        write_rows(&write, transaction.changes())?;
        write_log(&write, revision, transaction.changes())?;
        write.commit().map_err(database_error)?;
        shared.tip.advance(revision);
        Ok(revision)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let read = self.shared.database.begin_read().map_err(database_error)?;
        let revision = Revision(meta(&read, REVISION)?.unwrap_or(0));
        Ok(Box::new(RedbSnapshot { revision, read }))
    }

    fn watch(&self, from: Revision) -> Result<Watch, StoreError> {
        Watch::new(self.shared.clone(), from)
    }

    fn compact(&self, through: Revision) -> Result<(), StoreError> {
        let shared = &self.shared;
        let _order = shared.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let through = through.min(shared.tip.at());
        let write = shared.database.begin_write().map_err(database_error)?;
        forget_through(&write, through)?;
        write.commit().map_err(database_error)
    }
}

impl Log for Shared {
    fn read(&self, revision: Revision) -> Result<Vec<Change>, StoreError> {
        let read = self.database.begin_read().map_err(database_error)?;
        let log = read.open_table(LOG_TABLE).map_err(database_error)?;
        let Some(bytes) = log.get(revision.0).map_err(database_error)? else {
            return Err(StoreError::Compacted {
                from: Revision(revision.0.saturating_sub(1)),
                through: Revision(meta(&read, COMPACTED)?.unwrap_or(0)),
            });
        };
        decode(bytes.value())
    }

    fn tip(&self) -> &Tip {
        &self.tip
    }
}

struct RedbSnapshot {
    revision: Revision,
    read: ReadTransaction,
}

impl Snapshot for RedbSnapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.read.open_table(ROWS_TABLE).map_err(database_error)?;
        let value = rows.get(row(table, key).as_slice()).map_err(database_error)?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn scan(
        &self,
        table: &str,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let start = row(table, prefix);
        let rows = self.read.open_table(ROWS_TABLE).map_err(database_error)?;
        for found in rows.range(start.as_slice()..).map_err(database_error)? {
            let (row, value) = found.map_err(database_error)?;
            if !row.value().starts_with(&start) {
                break;
            }
            if each(key_of(row.value(), table)?, value.value()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn write_rows(write: &WriteTransaction, changes: &[Change]) -> Result<(), StoreError> {
    let mut rows = write.open_table(ROWS_TABLE).map_err(database_error)?;
    for change in changes {
        match change {
            Change::Put { table, key, value } => {
                rows.insert(row(table, key).as_slice(), value.as_slice())
                    .map_err(database_error)?;
            }
            Change::Delete { table, key } => {
                rows.remove(row(table, key).as_slice()).map_err(database_error)?;
            }
        }
    }
    Ok(())
}

fn write_log(write: &WriteTransaction, revision: Revision, changes: &[Change]) -> Result<(), StoreError> {
    {
        let mut log = write.open_table(LOG_TABLE).map_err(database_error)?;
        log.insert(revision.0, encode(changes).as_slice())
            .map_err(database_error)?;
        let mut meta = write.open_table(META_TABLE).map_err(database_error)?;
        meta.insert(REVISION, revision.0).map_err(database_error)?;
    }
    if revision.0.is_multiple_of(LOG_LIMIT / 4) {
        forget_through(write, Revision(revision.0.saturating_sub(LOG_LIMIT)))?;
    }
    Ok(())
}

fn forget_through(write: &WriteTransaction, through: Revision) -> Result<(), StoreError> {
    let mut log = write.open_table(LOG_TABLE).map_err(database_error)?;
    log.retain_in(..=through.0, |_, _| false)
        .map_err(database_error)?;
    let mut meta = write.open_table(META_TABLE).map_err(database_error)?;
    let known = meta
        .get(COMPACTED)
        .map_err(database_error)?
        .map_or(0, |value| value.value());
    meta.insert(COMPACTED, through.0.max(known))
        .map_err(database_error)?;
    Ok(())
}

fn meta(read: &ReadTransaction, key: &str) -> Result<Option<u64>, StoreError> {
    let meta = read.open_table(META_TABLE).map_err(database_error)?;
    let value = meta.get(key).map_err(database_error)?;
    Ok(value.map(|value| value.value()))
}

/// Takes the lock file beside the store, which says who holds it.
fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = beside(path, ".lock");
    let io = |source| StoreError::File {
        path: lock_path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&lock_path)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            return Err(StoreError::Locked {
                path: path.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    file.set_len(0).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

/// Makes an empty store under another name and moves it into place whole.
fn create(path: &Path) -> Result<(), StoreError> {
    let new = beside(path, ".new");
    let io = |source| StoreError::File {
        path: new.clone(),
        source,
    };
    // The lock is ours: what lies there is from a start that was killed.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(io)?;
    let backend = FileBackend::new(file).map_err(database_error)?;
    let database = Database::builder()
        .create_with_backend(backend)
        .map_err(database_error)?;
    let write = database.begin_write().map_err(database_error)?;
    {
        write.open_table(ROWS_TABLE).map_err(database_error)?;
        write.open_table(LOG_TABLE).map_err(database_error)?;
        let mut meta = write.open_table(META_TABLE).map_err(database_error)?;
        meta.insert(FORMAT, FORMAT_VERSION).map_err(database_error)?;
    }
    write.commit().map_err(database_error)?;
    drop(database);
    fs::rename(&new, path).map_err(io)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))
        .and_then(|directory| directory.sync_all())
        .map_err(io)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn database_error(error: impl Into<::redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

const ROWS_TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const LOG_TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META_TABLE: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FORMAT: &str = "format";
const REVISION: &str = "revision";
const COMPACTED: &str = "compacted";

/// The format that this version writes, and the newest that it reads.
const FORMAT_VERSION: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.redb");
        drop(RedbStore::open(&path).unwrap());
        let database = Database::open(&path).unwrap();
        let write = database.begin_write().unwrap();
        write
            .open_table(META_TABLE)
            .unwrap()
            .insert(FORMAT, FORMAT_VERSION + 1)
            .unwrap();
        write.commit().unwrap();
        drop(database);
        let error = RedbStore::open(&path).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Newer {
                    found: 2,
                    supported: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_half_made_file_of_a_killed_start_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.redb");
        fs::write(beside(&path, ".new"), [0; 100]).unwrap();
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.snapshot().unwrap().revision(), Revision(0));
        assert!(!beside(&path, ".new").exists());
    }

    #[test]
    fn a_second_opener_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.redb");
        let first = RedbStore::open(&path).unwrap();
        let error = RedbStore::open(&path).unwrap_err();
        assert!(
            matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        drop(first);
        RedbStore::open(&path).unwrap();
    }
}
