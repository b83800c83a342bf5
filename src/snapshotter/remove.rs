//! Remove and Cleanup.

use crate::types::{SnapshotKey, SnapshotLease};
use crate::{Chain, Result, failpoint};

use super::Snapshotter;
use super::unclear::UnclearLayer;

impl Snapshotter {
    /// Removes a snapshot. The record is gone and the directory out of sight when this returns; deleting comes later.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::HasChildren`](crate::Error::HasChildren).
    pub fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.remove_from(key, None)
    }

    /// Like [`remove`](Self::remove), and the lease of the request no longer names the snapshot.
    ///
    /// # Errors
    /// As for [`remove`](Self::remove).
    pub fn remove_from(&self, key: &SnapshotKey, lease: Option<&SnapshotLease>) -> Result<()> {
        let mut txn = self.metadata.write(self.now())?;
        let removed = txn.remove(key)?;
        txn.unlease_snapshot(key, lease)?;
        failpoint::hit("remove: before the record");
        if let Err(err) = txn.commit() {
            if let Some(id) = removed.trashed {
                self.unclear.note(UnclearLayer { id, _staged: None });
            }
            return Err(err);
        }
        failpoint::hit("remove: record written");
        if let Some(layer) = removed.trashed {
            // The record says that it is trash: a failure here costs nothing but a later try.
            if let Err(err) = self.dirs.move_to_trash(layer) {
                tracing::warn!(%layer, error = %Chain(&err), "a removed layer cannot be moved to trash yet");
            }
            failpoint::hit("remove: moved to trash");
            self.reclaimer.enqueue(layer);
        }
        Ok(())
    }

    /// Waits until what is in trash now is deleted, at most as long as the pool is set to.
    ///
    /// What is left after that is deleted in the background; it is no error.
    pub fn cleanup(&self) {
        self.settle_unclear();
        if !self.reclaimer.wait(self.settings.cleanup_wait) {
            tracing::info!(left = self.reclaimer.len(), "cleanup answers before everything in trash is deleted");
        }
    }
}
