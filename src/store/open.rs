//! Opening RocksDB: options, and errors that say what to do.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, FlushOptions, Options,
};

use super::Column;
use crate::{Error, FsOp, Result};

/// Memory for blocks that were read, shared by all columns.
const BLOCK_CACHE_BYTES: usize = 16 << 20;
/// Memory for writes of one column that are not yet in a sorted file.
const MEMTABLE_BYTES: usize = 4 << 20;
/// What a log file holds when all columns are flushed because one of them is full.
const LOG_BYTES: usize = 6 << 20;
/// The same of all columns together; more is flushed.
const MEMTABLES_BYTES: usize = 8 << 20;
/// Columns whose oldest write is further back in the log than this are flushed; bounds what a restart replays.
const WAL_BYTES: u64 = 12 << 20;
/// Log files that are kept to be overwritten.
const RECYCLED_LOGS: usize = 4;

/// Whether there is a database: RocksDB makes one where this file is missing.
pub(super) fn exists(path: &Path) -> bool {
    path.join("CURRENT").exists()
}

/// What to do where there is no database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make one.
    Create,
    /// Fail: there was one, and an empty one must not take its place.
    Refuse,
}

pub(super) fn open(path: &Path, missing: Missing) -> Result<DB> {
    match missing {
        Missing::Create => std::fs::create_dir_all(path).map_err(Error::fs(FsOp::CreateDir, path))?,
        Missing::Refuse if exists(path) => {}
        Missing::Refuse => {
            return Err(Error::Pool(format!("{}: the metadata database is gone", path.display())));
        }
    }
    refuse_unknown_columns(path)?;
    let (options, columns) = (database_options(), columns());
    let db = DB::open_cf_descriptors(&options, path, columns).map_err(|err| explain(path, err))?;
    crate::failpoint::hit("store: opened");
    Ok(db)
}

/// Whether laying out the logs leaves most of what is free to others.
pub(super) fn has_room_for_logs(path: &Path) -> bool {
    let needed = (RECYCLED_LOGS * LOG_BYTES) as u64;
    rustix::fs::statvfs(path).is_ok_and(|stat| {
        // A file system that makes inodes as it needs them counts none.
        let inodes = stat.f_files == 0 || stat.f_favail > 16 * RECYCLED_LOGS as u64;
        inodes && stat.f_bavail.saturating_mul(stat.f_frsize) > 8 * needed
    })
}

/// Writes log files to their full size once, so that later ones take their place.
///
/// A sync of a file that grows has to commit the file system's journal as well; one that overwrites blocks of its own
/// does not, which halves its time on ext4. RocksDB reuses old log files, but only those of this run.
pub(super) fn lay_out_logs(db: &DB) -> Result<(), rocksdb::Error> {
    let padding = vec![0; LOG_BYTES];
    // All of them: a log is not free for reuse while one column's entries are in it and nowhere else.
    let columns = Column::ALL.iter().map(|column| column.name()).chain(["default"]);
    let handles: Vec<_> = columns.filter_map(|name| db.cf_handle(name)).collect();
    for _ in 0..RECYCLED_LOGS {
        db.put(b"padding", &padding)?;
        // Ends the log file; what was in it is in sorted files now, the padding compressed to almost nothing.
        db.flush_cfs_opt(&handles, &FlushOptions::default())?;
        crate::failpoint::hit("store: log laid out");
    }
    db.delete(b"padding")
}

pub(super) fn open_read_only(path: &Path) -> Result<DB> {
    DB::open_cf_descriptors_read_only(&database_options(), path, columns(), false).map_err(|err| explain(path, err))
}

/// Whether RocksDB failed because the disk is full. It keeps the kernel's word only in the message.
pub(super) fn is_no_space(err: &rocksdb::Error) -> bool {
    let text = err.as_ref();
    text.contains("No space left on device") || text.contains("NoSpace") || text.contains("Disk quota exceeded")
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // Replays up to the first record that is not whole. At the end of the log that is a write that was never answered;
    // before it, what follows is lost, and start-up keeps the directories whose records went with it.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_recycle_log_file_num(RECYCLED_LOGS);
    // All columns at a time, so that a log is free for reuse at once.
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(MEMTABLES_BYTES);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Opening reads no file that it need not read.
    options.set_skip_stats_update_on_db_open(true);
    options
}

fn columns() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    Column::ALL
        .iter()
        .map(|column| ColumnFamilyDescriptor::new(column.name(), column_options(*column, &cache)))
        .collect()
}

fn column_options(column: Column, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    // Counted in the cache, so that memory stays bounded with any number of records.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    if matches!(
        column,
        Column::Trash | Column::Children | Column::Members | Column::Leased | Column::Expiry | Column::Ingests
    ) {
        // Entries come and go: deletions are what a scan would trip over.
        options.add_compact_on_deletion_collector_factory(4096, 1024, 0.25);
    }
    options
}

/// A column family that this version does not know was made by a newer one.
fn refuse_unknown_columns(path: &Path) -> Result<()> {
    // There is nothing to list in a database that does not exist yet; a damaged one is reported by opening it.
    let Ok(names) = DB::list_cf(&Options::default(), path) else { return Ok(()) };
    let known = |name: &String| name == "default" || Column::ALL.iter().any(|column| column.name() == name);
    match names.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(Error::Pool(format!(
            "{}: the pool has the column {name:?}, which this version does not know: it was written by a newer \
             leasehold. Start that version, or use another root",
            path.display()
        ))),
    }
}

fn explain(path: &Path, err: rocksdb::Error) -> Error {
    let text = err.as_ref();
    let path = path.display();
    if is_no_space(&err) {
        return Error::NoSpace {
            what: format!("opening the metadata database in {path}"),
            source: Some(Box::new(err)),
        };
    }
    // The directory exists, so what is missing is a file that another one names.
    let damaged = err.kind() == rocksdb::ErrorKind::Corruption || text.contains("No such file or directory");
    Error::Pool(if damaged {
        format!(
            "{path}: the metadata database is corrupted ({text}). Nothing was changed. Restore the directory from a \
             backup, or move the whole root aside and start with an empty one: images are pulled again, what \
             containers wrote stays in the old root under l/<id>/fs"
        )
    } else if text.contains("lock") && text.contains("LOCK") {
        format!("{path}: another process has the metadata database open ({text}). Stop it, or use another root")
    } else if text.contains("Read-only file system") {
        format!("{path}: the file system is read-only ({text}). Mount it read-write, or use another root")
    } else {
        format!("{path}: the metadata database cannot be opened: {text}")
    })
}
