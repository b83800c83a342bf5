//! Reading records.

use super::damaged::DamagedRecord;
use super::record::{AppliedLayer, Layer, Snapshot};
use super::{Metadata, Transaction, schema};
use crate::store::{Column, ReadTxn};
use crate::types::{LayerId, Scope, SnapshotKey};
use crate::{Error, Resource, Result};

/// Snapshots in key order, and where the next page begins.
pub struct Page {
    /// The snapshots of this page.
    pub snapshots: Vec<(SnapshotKey, Snapshot)>,
    /// The last key that was read; `None` after the last page.
    pub next: Option<SnapshotKey>,
}

/// Estimates of how much there is, cheap at any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Snapshots.
    pub snapshots: u64,
    /// Backing directories in use.
    pub layers: u64,
    /// Backing directories, and files, to reclaim.
    pub trash: u64,
    /// Blobs.
    pub blobs: u64,
}

impl Metadata {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the store.
    pub fn snapshot(&self, key: &SnapshotKey) -> Result<Snapshot> {
        found(key, self.store.get(Column::Snapshots, &schema::snapshot(key))?)
    }

    /// Reads a snapshot if its record is in memory; `None` when that is not known without the disk.
    ///
    /// # Errors
    /// As for [`snapshot`](Self::snapshot).
    pub fn cached_snapshot(&self, key: &SnapshotKey) -> Result<Option<Snapshot>> {
        let cached = self.store.get_cached(Column::Snapshots, &schema::snapshot(key))?;
        cached.map(|bytes| found(key, bytes)).transpose()
    }

    /// Reads up to `limit` snapshots of a scope after `after`. No state is kept between pages, so a slow reader holds
    /// nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn snapshots(&self, scope: &Scope, after: Option<&SnapshotKey>, limit: usize) -> Result<Page> {
        let after = after.map(schema::snapshot);
        let entries = self.store.page(Column::Snapshots, &schema::snapshots_of(scope), after.as_deref(), limit)?;
        let snapshots = entries.iter().filter_map(|(key, value)| readable(key, value)).collect();
        let next = match entries.last() {
            Some((key, _)) if entries.len() == limit => Some(schema::parse_snapshot(key)?),
            _ => None,
        };
        Ok(Page { snapshots, next })
    }

    /// Reads a layer; `None` when there is no such record.
    ///
    /// # Errors
    /// Those of the store.
    pub fn layer(&self, id: LayerId) -> Result<Option<Layer>> {
        self.store.get(Column::Layers, &schema::layer(id))?.as_deref().map(Layer::decode).transpose()
    }

    /// Whether a layer waits to be reclaimed.
    ///
    /// # Errors
    /// Those of the store.
    pub fn is_trash(&self, id: LayerId) -> Result<bool> {
        Ok(self.store.get(Column::Trash, &schema::layer(id))?.is_some())
    }

    /// Runs `read` on a consistent state of all records. For background work: it must not take long.
    ///
    /// # Errors
    /// Those of `read`, and of the store.
    pub fn read<T>(&self, read: impl FnOnce(&Consistent<'_>) -> Result<T>) -> Result<T> {
        self.store.read(|txn| read(&Consistent { txn }))
    }

    /// Estimates how much there is.
    ///
    /// # Errors
    /// Those of the store.
    pub fn totals(&self) -> Result<Totals> {
        Ok(Totals {
            snapshots: self.store.estimated_len(Column::Snapshots)?,
            layers: self.store.estimated_len(Column::Layers)?,
            trash: self.store.estimated_len(Column::Trash)?,
            blobs: self.store.estimated_len(Column::Blobs)?,
        })
    }
}

/// All records at one moment.
pub struct Consistent<'t> {
    pub(super) txn: &'t ReadTxn<'t>,
}

impl Consistent<'_> {
    /// Calls `visit` with every snapshot of every scope, in key order. A record that cannot be decoded is passed as an error.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_snapshot(
        &self,
        mut visit: impl FnMut(Result<(SnapshotKey, Snapshot), DamagedRecord>) -> Result<()>,
    ) -> Result<()> {
        self.txn.scan(Column::Snapshots, &[], |key, value| {
            visit(decode(key, value).map_err(|err| DamagedRecord::new(Column::Snapshots, key, value, &err)))
        })
    }

    /// Calls `visit` with every layer, in the order of their numbers. A record that cannot be decoded is passed as an
    /// error, a key that is no number is logged and skipped.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_layer(&self, mut visit: impl FnMut(LayerId, Result<Layer, DamagedRecord>) -> Result<()>) -> Result<()> {
        self.txn.scan(Column::Layers, &[], |key, value| {
            let Some(id) = numbered(key) else { return Ok(()) };
            visit(id, Layer::decode(value).map_err(|err| DamagedRecord::new(Column::Layers, key, value, &err)))
        })
    }

    /// Calls `visit` with every parent's and child's number.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_child(&self, mut visit: impl FnMut(u64, u64) -> Result<()>) -> Result<()> {
        self.txn.scan(Column::Children, &[], |key, _| {
            let (parent, child) = schema::parse_child(key)?;
            visit(parent, child)
        })
    }

    /// Calls `visit` with every layer that waits to be reclaimed.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_trash(&self, mut visit: impl FnMut(LayerId) -> Result<()>) -> Result<()> {
        self.txn.scan(Column::Trash, &[], |key, _| numbered(key).map_or(Ok(()), &mut visit))
    }
}

impl Consistent<'_> {
    /// Calls `visit` with every layer to which something was applied. A record that cannot be decoded is passed as an error,
    /// a key that is no number is logged and skipped.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_applied(
        &self,
        mut visit: impl FnMut(LayerId, Result<AppliedLayer, DamagedRecord>) -> Result<()>,
    ) -> Result<()> {
        self.txn.scan(Column::Applied, &[], |key, value| {
            let Some(id) = numbered(key) else { return Ok(()) };
            visit(id, AppliedLayer::decode(value).map_err(|err| DamagedRecord::new(Column::Applied, key, value, &err)))
        })
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the store.
    pub fn snapshot(&self, key: &SnapshotKey) -> Result<Snapshot> {
        found(key, self.txn.get(Column::Snapshots, &schema::snapshot(key))?)
    }

    /// Reads a layer; `None` when there is no such record.
    ///
    /// # Errors
    /// Those of the store.
    pub fn layer(&self, id: LayerId) -> Result<Option<Layer>> {
        self.txn.get(Column::Layers, &schema::layer(id))?.as_deref().map(Layer::decode).transpose()
    }
}

impl Transaction<'_> {
    /// Reads a snapshot as this transaction left it.
    pub(super) fn snapshot(&self, key: &SnapshotKey) -> Result<Snapshot> {
        found(key, self.txn.get(Column::Snapshots, &schema::snapshot(key))?)
    }

    /// Fails when a snapshot of that key exists.
    pub(super) fn require_absent(&self, key: &SnapshotKey) -> Result<()> {
        match self.txn.get(Column::Snapshots, &schema::snapshot(key))? {
            None => Ok(()),
            Some(_) => Err(Error::AlreadyExists(named(key))),
        }
    }

    pub(super) fn put_snapshot(&mut self, key: &SnapshotKey, snapshot: &Snapshot) {
        self.txn.put(Column::Snapshots, schema::snapshot(key), snapshot.encode());
    }

    /// Reads a layer as this transaction left it; `None` when there is no such record.
    ///
    /// # Errors
    /// Those of the store.
    pub fn layer(&self, id: LayerId) -> Result<Option<Layer>> {
        self.txn.get(Column::Layers, &schema::layer(id))?.as_deref().map(Layer::decode).transpose()
    }
}

/// Decodes an entry of a listing. One that is damaged must not hide all others from containerd's collector.
fn readable(key: &[u8], value: &[u8]) -> Option<(SnapshotKey, Snapshot)> {
    match decode(key, value) {
        Ok(entry) => Some(entry),
        Err(err) => {
            tracing::error!(error = %err, key = %key.escape_ascii(), "a snapshot cannot be listed; see leasehold fsck");
            None
        }
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<(SnapshotKey, Snapshot)> {
    let key = schema::parse_snapshot(key)?;
    let snapshot = Snapshot::decode(key.scope(), value)?;
    Ok((key, snapshot))
}

/// Returns the number in the key of a layer's record. Without one nothing can be done about the record.
fn numbered(key: &[u8]) -> Option<LayerId> {
    schema::parse_layer(key)
        .inspect_err(
            |err| tracing::error!(error = %err, key = %key.escape_ascii(), "a record's key is damaged; skipped"),
        )
        .ok()
}

/// Names a snapshot in an error.
pub(super) fn named(key: &SnapshotKey) -> Resource {
    Resource::Snapshot(key.as_str().to_owned())
}

fn found(key: &SnapshotKey, bytes: Option<Vec<u8>>) -> Result<Snapshot> {
    Snapshot::decode(key.scope(), &bytes.ok_or_else(|| Error::NotFound(named(key)))?)
}
