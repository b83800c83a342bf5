//! The write transaction.

use std::sync::{MutexGuard, PoisonError};

use rocksdb::{WriteBatch, WriteOptions};

use super::{Column, Durability, Entry, Handle, Store, read};
use crate::Result;

/// The one write transaction: reads see the latest state and its own writes.
///
/// While it lives no other begins, so it is for memory work only: no file system call, no wait.
#[must_use = "dropping a transaction rolls it back"]
pub struct WriteTxn<'s> {
    store: &'s Store,
    handle: Handle<'s>,
    serial: MutexGuard<'s, ()>,
    /// A handful of entries, so that looking through them is cheaper than an index.
    changes: Vec<Change>,
}

struct Change {
    column: Column,
    key: Vec<u8>,
    /// `None` deletes.
    value: Option<Vec<u8>>,
}

impl<'s> WriteTxn<'s> {
    pub(super) fn begin(store: &'s Store) -> Result<WriteTxn<'s>> {
        // The lock before the handle: one that waits must not keep the database from being reopened.
        // It guards no state of its own, so a panic of its last holder left nothing half-done.
        let serial = store.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = store.handle()?;
        // Whoever waited may have waited for a transaction that failed.
        store.require_writable()?;
        Ok(WriteTxn { store, handle, serial, changes: Vec::new() })
    }

    /// Reads one value, as this transaction left it.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.changes.iter().rev().find(|change| change.column == column && change.key == key) {
            Some(change) => Ok(change.value.clone()),
            None => read::get(self.handle.db()?, column, key),
        }
    }

    /// Whether a key begins with `prefix`. Does not see this transaction's own writes.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn has_prefix(&self, column: Column, prefix: &[u8]) -> Result<bool> {
        read::has_prefix(self.handle.db()?, column, prefix)
    }

    /// Reads up to `limit` entries whose keys begin with `prefix` and come after `after`, in key order. Does not see
    /// this transaction's own writes.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn page(&self, column: Column, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        read::page(self.handle.db()?, column, prefix, after, limit)
    }

    /// Sets a value.
    pub fn put(&mut self, column: Column, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change { column, key, value: Some(value) });
    }

    /// Deletes a key, whether it exists or not.
    pub fn delete(&mut self, column: Column, key: Vec<u8>) {
        self.changes.push(Change { column, key, value: None });
    }

    /// Writes everything at once, and returns when it is as durable as the store was opened for.
    ///
    /// # Errors
    /// [`Error::NoSpace`](crate::Error::NoSpace), [`Error::Database`](crate::Error::Database) or [`Error::Suspended`](crate::Error::Suspended). Whether the changes survive is then open until
    /// the database was reopened.
    pub fn commit(self) -> Result<()> {
        let durability = self.store.durability;
        self.commit_as(durability)
    }

    /// Like [`commit`](Self::commit), for what may be lost in a power cut because it can be found out again.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn commit_unsynced(self) -> Result<()> {
        self.commit_as(Durability::Written)
    }

    fn commit_as(self, durability: Durability) -> Result<()> {
        let WriteTxn { store, handle, serial, changes } = self;
        if changes.is_empty() {
            return Ok(());
        }
        let db = handle.db()?;
        let mut batch = WriteBatch::default();
        for Change { column, key, value } in &changes {
            let column = read::handle(db, *column)?;
            match value {
                Some(value) => batch.put_cf(column, key, value),
                None => batch.delete_cf(column, key),
            }
        }
        db.write_opt(batch, &WriteOptions::default()).map_err(|err| store.suspend("write", err))?;
        crate::failpoint::hit("store: written");
        let ticket = store.sync.ticket()?;
        // The next transaction may build on this one before it is on disk: the log keeps their order.
        drop(serial);
        match durability {
            Durability::Written => Ok(()),
            Durability::Synced => {
                store.sync.wait(ticket, || db.flush_wal(true).map_err(|err| store.suspend("sync", err)))
            }
        }
    }
}
