//! Reading: single values, pages, and a consistent state.

use std::ops::ControlFlow;

use rocksdb::{DB, ErrorKind, IteratorMode, ReadOptions, ReadTier, SnapshotWithThreadMode};

use super::{Column, Entry};
use crate::{Error, Result};

/// How much a scan of a whole column reads ahead.
const READAHEAD: usize = 1 << 20;

/// A consistent state of the database. Short: while one exists, RocksDB keeps what later writes replace.
pub struct ReadTxn<'db> {
    db: &'db DB,
    snapshot: SnapshotWithThreadMode<'db, DB>,
}

impl<'db> ReadTxn<'db> {
    pub(super) fn new(db: &'db DB) -> ReadTxn<'db> {
        ReadTxn { db, snapshot: db.snapshot() }
    }

    /// Reads one value.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.snapshot.get_cf(handle(self.db, column)?, key).map_err(failed("read"))
    }

    /// Reads up to `limit` entries whose keys begin with `prefix` and come after `after`, in key order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn page(&self, column: Column, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        self.snapshot
            .iterator_cf_opt(handle(self.db, column)?, bounded(prefix, after), IteratorMode::Start)
            .take(limit)
            .map(|entry| entry.map_err(failed("scan")))
            .collect()
    }

    /// Calls `visit` with every entry of a column whose key begins with `prefix`, in key order.
    ///
    /// # Errors
    /// Those of `visit`, and [`Error::Database`].
    pub fn scan(&self, column: Column, prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.walk(column, bounded(prefix, None), |key, value| visit(key, value).map(ControlFlow::Continue))
    }

    /// Calls `visit` with every entry of a column from the key `first` on, in key order, until it breaks off.
    ///
    /// # Errors
    /// Those of `visit`, and [`Error::Database`].
    pub fn scan_from(
        &self,
        column: Column,
        first: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(first);
        // All of a column: what requests read again and again is to stay in memory.
        options.fill_cache(false);
        options.set_readahead_size(READAHEAD);
        self.walk(column, options, visit)
    }

    /// Entries are borrowed from the database, because copies of them would take longer than reading.
    fn walk(
        &self,
        column: Column,
        options: ReadOptions,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut entries = self.snapshot.raw_iterator_cf_opt(handle(self.db, column)?, options);
        entries.seek_to_first();
        while let Some((key, value)) = entries.item() {
            if visit(key, value)?.is_break() {
                return Ok(());
            }
            entries.next();
        }
        entries.status().map_err(failed("scan"))
    }
}

pub(super) fn get(db: &DB, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
    db.get_cf(handle(db, column)?, key).map_err(failed("read"))
}

/// Reads one value if that needs no disk; `None` when it does.
pub(super) fn get_cached(db: &DB, column: Column, key: &[u8]) -> Result<Option<Option<Vec<u8>>>> {
    let mut options = ReadOptions::default();
    options.set_read_tier(ReadTier::BlockCache);
    match db.get_cf_opt(handle(db, column)?, key, &options) {
        Ok(value) => Ok(Some(value)),
        Err(err) if err.kind() == ErrorKind::Incomplete => Ok(None),
        Err(err) => Err(failed("read")(err)),
    }
}

pub(super) fn page(db: &DB, column: Column, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
    db.iterator_cf_opt(handle(db, column)?, bounded(prefix, after), IteratorMode::Start)
        .take(limit)
        .map(|entry| entry.map_err(failed("scan")))
        .collect()
}

pub(super) fn has_prefix(db: &DB, column: Column, prefix: &[u8]) -> Result<bool> {
    Ok(!page(db, column, prefix, None, 1)?.is_empty())
}

pub(super) fn estimated_len(db: &DB, column: Column) -> Result<u64> {
    let estimate = db.property_int_value_cf(handle(db, column)?, rocksdb::properties::ESTIMATE_NUM_KEYS);
    Ok(estimate.map_err(failed("estimate"))?.unwrap_or(0))
}

pub(super) fn handle(db: &DB, column: Column) -> Result<&rocksdb::ColumnFamily> {
    db.cf_handle(column.name()).ok_or_else(|| Error::Corrupt(format!("the column {:?} is missing", column.name())))
}

pub(super) fn failed(op: &'static str) -> impl Fn(rocksdb::Error) -> Error {
    move |err| Error::Database { op, source: Box::new(err) }
}

/// Bounds an iterator to the keys that begin with `prefix` and come after `after`.
///
/// The upper bound matters: without it, a scan that finds nothing would walk over the deletions of every later key.
fn bounded(prefix: &[u8], after: Option<&[u8]>) -> ReadOptions {
    let mut options = ReadOptions::default();
    match after {
        // The smallest key that is greater.
        Some(after) => options.set_iterate_lower_bound([after, &[0]].concat()),
        None => options.set_iterate_lower_bound(prefix),
    }
    if let Some(end) = end_of_prefix(prefix) {
        options.set_iterate_upper_bound(end);
    }
    options
}

/// Returns the smallest key after all that begin with `prefix`; `None` when there is no such key.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}
