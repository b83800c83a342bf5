//! RocksDB, and nothing about what is in it: columns of bytes, read and write transactions, group commit.
//!
//! - One write transaction runs at a time ([`WriteTxn`]), so that a transaction sees the latest state and needs no
//!   conflict handling. It holds its lock for memory work only; the fsync is after it, and shared ([`GroupSync`]).
//! - After a failed write or sync nothing more is written until the database was reopened, because what is in memory
//!   may not be on disk. Reads go on meanwhile.

mod columns;
mod group_sync;
mod open;
mod read;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

pub use columns::Column;
use group_sync::GroupSync;
pub use read::ReadTxn;
pub use write::WriteTxn;

use crate::{Chain, Error, Result};

/// How long after a failure the next attempt to reopen waits.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// Whether a commit waits until its record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The write-ahead log is synced before the commit returns.
    Synced,
    /// The write-ahead log is written; the kernel decides when it reaches the disk.
    Written,
}

/// An open database.
pub struct Store {
    path: PathBuf,
    durability: Durability,
    db: RwLock<Db>,
    /// Held by the one write transaction.
    writer: Mutex<()>,
    sync: GroupSync,
    suspended: Mutex<Option<Suspension>>,
}

/// The database in one of the states in which it can be read.
struct Db {
    /// `None` only when reopening failed in every mode.
    handle: Option<rocksdb::DB>,
}

/// Why nothing is written at the moment.
struct Suspension {
    cause: String,
    no_space: bool,
    next_attempt: Instant,
}

impl Store {
    /// Opens the database in `path`, making it when it does not exist.
    ///
    /// # Errors
    /// [`Error::Pool`] with what to do when another process has it open, it is corrupted, or it was written by a
    /// newer version.
    pub fn open(path: PathBuf, durability: Durability) -> Result<Store> {
        let handle = open::open(&path, open::Missing::Create)?;
        Ok(Store {
            path,
            durability,
            db: RwLock::new(Db { handle: Some(handle) }),
            writer: Mutex::new(()),
            sync: GroupSync::default(),
            suspended: Mutex::new(None),
        })
    }

    /// Whether there is a database in `path`, damaged or not.
    pub fn exists(path: &Path) -> bool {
        open::exists(path)
    }

    /// Reads one value.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
        read::get(self.handle()?.db()?, column, key)
    }

    /// Reads one value if that waits for nothing, neither for the disk nor for a database that is being reopened. The
    /// outer `None` says that it does.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn get_cached(&self, column: Column, key: &[u8]) -> Result<Option<Option<Vec<u8>>>> {
        match self.db.try_read() {
            Ok(guard) => read::get_cached(Handle { guard }.db()?, column, key),
            Err(_) => Ok(None),
        }
    }

    /// Runs `read` on a consistent state that later writes do not change.
    ///
    /// # Errors
    /// Those of `read`, and [`Error::Database`].
    pub fn read<T>(&self, read: impl FnOnce(&ReadTxn<'_>) -> Result<T>) -> Result<T> {
        let guard = self.handle()?;
        read(&ReadTxn::new(guard.db()?))
    }

    /// Reads up to `limit` entries whose keys begin with `prefix` and come after `after`, in key order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn page(&self, column: Column, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        read::page(self.handle()?.db()?, column, prefix, after, limit)
    }

    /// Returns RocksDB's estimate of the number of keys in a column.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn estimated_len(&self, column: Column) -> Result<u64> {
        read::estimated_len(self.handle()?.db()?, column)
    }

    /// Begins the one write transaction; waits for the one before it.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Suspended`] while writes are suspended.
    pub fn write(&self) -> Result<WriteTxn<'_>> {
        self.resume()?;
        WriteTxn::begin(self)
    }

    /// Makes everything durable that was committed so far.
    ///
    /// # Errors
    /// As for [`WriteTxn::commit`].
    pub fn sync(&self) -> Result<()> {
        let guard = self.handle()?;
        guard.db()?.flush_wal(true).map_err(|err| self.suspend("sync", err))
    }

    /// Makes later syncs cheaper, see `open::lay_out_logs`. Writes some megabytes, beside other work.
    ///
    /// # Errors
    /// As for [`WriteTxn::commit`]. Nothing is lost: syncs are slower until the logs were used once.
    pub fn lay_out_logs(&self) -> Result<()> {
        if !open::has_room_for_logs(&self.path) {
            return Ok(());
        }
        let handle = self.handle()?;
        open::lay_out_logs(handle.db()?).map_err(|err| self.suspend("lay out logs", err))
    }

    fn handle(&self) -> Result<Handle<'_>> {
        let guard = self.db.read().map_err(|_| Error::Lost("a database user"))?;
        Ok(Handle { guard })
    }

    /// Records that a write failed, so that nothing is built on what may not be on disk.
    fn suspend(&self, op: &'static str, err: rocksdb::Error) -> Error {
        let no_space = open::is_no_space(&err);
        let mut suspended = self.suspension();
        if suspended.is_none() {
            tracing::error!(error = %err, op, "metadata database failed; writes are suspended until it was reopened");
            *suspended = Some(Suspension {
                cause: format!("{op}: {err}"),
                no_space,
                next_attempt: Instant::now() + REOPEN_PAUSE,
            });
        }
        drop(suspended);
        if no_space {
            Error::NoSpace { what: format!("metadata database: {op}"), source: Some(Box::new(err)) }
        } else {
            // Unavailable, not internal: the same call may succeed once the database was reopened.
            Error::Suspended(format!("{op}: {err}"))
        }
    }

    /// Returns at once unless writes are suspended; then tries to reopen, at most once a second.
    fn resume(&self) -> Result<()> {
        {
            let mut suspended = self.suspension();
            let Some(suspension) = suspended.as_mut() else { return Ok(()) };
            if Instant::now() < suspension.next_attempt {
                return Err(suspension.error());
            }
            suspension.next_attempt = Instant::now() + REOPEN_PAUSE;
            // Not held while reopening waits for those under way: one of them may be about to suspend writes, too.
        }
        self.reopen()
    }

    fn suspension(&self) -> MutexGuard<'_, Option<Suspension>> {
        // Each change is a single assignment, so it is whole even after a panic.
        self.suspended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails while writes are suspended.
    fn require_writable(&self) -> Result<()> {
        self.suspension().as_ref().map_or(Ok(()), |suspension| Err(suspension.error()))
    }

    /// Closes and opens the database; what recovery replays is what is on disk.
    ///
    /// When it cannot be opened for writing, it is opened for reading, so that reads go on.
    fn reopen(&self) -> Result<()> {
        // Waits for transactions and reads under way; new ones wait for us.
        let mut db = self.db.write().map_err(|_| Error::Lost("a database user"))?;
        // RocksDB holds a lock on the directory: the old handle must go first.
        db.handle = None;
        match open::open(&self.path, open::Missing::Refuse) {
            Ok(handle) => {
                db.handle = Some(handle);
                // While nobody uses the database: a failure after this is a new one.
                *self.suspension() = None;
                tracing::info!("metadata database reopened; writes go on");
                Ok(())
            }
            Err(err) => {
                db.handle = open::open_read_only(&self.path).ok();
                let mut suspended = self.suspension();
                if let Some(suspension) = suspended.as_mut() {
                    suspension.cause = Chain(&err).to_string();
                    return Err(suspension.error());
                }
                Err(err)
            }
        }
    }
}

/// One key and its value.
pub type Entry = (Box<[u8]>, Box<[u8]>);

impl Suspension {
    fn error(&self) -> Error {
        if self.no_space {
            Error::NoSpace { what: self.cause.clone(), source: None }
        } else {
            Error::Suspended(self.cause.clone())
        }
    }
}

/// Keeps the database from being reopened while it is used.
struct Handle<'s> {
    guard: RwLockReadGuard<'s, Db>,
}

impl Handle<'_> {
    fn db(&self) -> Result<&rocksdb::DB> {
        self.guard.handle.as_ref().ok_or_else(|| Error::Suspended("the metadata database could not be reopened".into()))
    }
}

#[cfg(test)]
mod tests;
