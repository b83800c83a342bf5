//! Records as damage leaves them, of a pool that no daemon serves.

use std::path::Path;
use std::time::SystemTime;

use leasehold::metadata::{Metadata, Transaction};
use leasehold::store::{Column, Durability, Store, WriteTxn};

/// Changes records, by what changes or repairs them in the daemon.
pub fn change(root: &Path, change: impl FnOnce(&mut Transaction<'_>)) {
    let metadata = Metadata::open(root.join("meta"), Durability::Synced).unwrap();
    let mut txn = metadata.write(SystemTime::now()).unwrap();
    change(&mut txn);
    txn.commit().unwrap();
}

/// Changes the bytes of records.
pub fn change_bytes(root: &Path, change: impl FnOnce(&mut WriteTxn<'_>)) {
    let store = open(root);
    let mut txn = store.write().unwrap();
    change(&mut txn);
    txn.commit().unwrap();
}

/// Returns the keys of a column.
pub fn keys(root: &Path, column: Column) -> Vec<Vec<u8>> {
    let entries = open(root).page(column, &[], None, usize::MAX).unwrap();
    entries.into_iter().map(|(key, _)| key.into_vec()).collect()
}

fn open(root: &Path) -> Store {
    Store::open(root.join("meta"), Durability::Synced).unwrap()
}
