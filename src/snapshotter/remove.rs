//! Remove and Cleanup.

use crate::types::{LayerId, SnapshotKey, SnapshotLease};
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
        let mut txn = self.note_no_space(self.metadata.write(self.now()))?;
        let removed = txn.remove(&self.member_kind, key, self.settings.retention.as_ref())?;
        txn.unlease_snapshot(key, lease)?;
        failpoint::hit("remove: before the record");
        if let Err(err) = self.note_no_space(txn.commit()) {
            self.note_unclear(&removed.trashed);
            return Err(err);
        }
        failpoint::hit("remove: record written");
        match removed.held_by {
            // The rule where that is configured; what becomes of it later is said.
            Some(lease) if removed.by_policy => {
                tracing::debug!(held_by = %lease, "a removed snapshot is retained");
                self.pressure.retained();
            }
            Some(lease) => tracing::info!(held_by = %lease, "a removed snapshot is retained"),
            None if removed.undecided => self.metadata.undecided(),
            None => {}
        }
        self.reclaim(&removed.trashed);
        Ok(())
    }

    /// Takes the directories of layers that are in `trash` out of sight, and has them deleted.
    pub(super) fn reclaim(&self, trashed: &[LayerId]) {
        for layer in trashed {
            // The record says that it is trash: a failure here costs nothing but a later try.
            if let Err(err) = self.dirs.move_to_trash(*layer) {
                tracing::warn!(%layer, error = %Chain(&err), "a removed layer cannot be moved to trash yet");
            }
            failpoint::hit("remove: moved to trash");
            // The end of the turn has it deleted.
            if !self.turns.note_removed(*layer) {
                self.reclaimer.enqueue(*layer);
            }
        }
    }

    /// Notes layers that are in `trash` if a commit was carried out that failed.
    pub(super) fn note_unclear(&self, layers: &[LayerId]) {
        for id in layers {
            self.unclear.note(UnclearLayer { id: *id, _staged: None });
        }
    }

    /// Waits until what is in trash now is deleted, at most as long as the pool is set to, and not while it stops. What
    /// could not be deleted before is tried once more.
    ///
    /// What is left after that is deleted in the background; it is no error.
    pub fn cleanup(&self) {
        self.settle_unclear();
        self.reclaimer.retry_busy();
        if !self.reclaimer.wait(self.settings.cleanup_wait) {
            tracing::info!(left = self.reclaimer.len(), "cleanup answers before everything in trash is deleted");
        }
    }
}
