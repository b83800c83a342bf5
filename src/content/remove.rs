//! Delete and Abort.

use crate::metadata::DeletedBlob;
use crate::types::{Digest, FileId, IngestRef, LeaseId, Scope};
use crate::{Chain, Result, failpoint};

use super::Content;
use super::janitor::Chore;

impl Content {
    /// Removes a blob. The record is gone, and the file out of sight if nothing else names it, when this returns;
    /// deleting comes later. One that containerd deletes while a lease names it is retained.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub fn delete(&self, scope: &Scope, digest: &Digest) -> Result<()> {
        self.delete_from(scope, digest, None)
    }

    /// Like [`delete`](Self::delete), and the lease of the request no longer names the blob.
    ///
    /// # Errors
    /// As for [`delete`](Self::delete).
    pub fn delete_from(&self, scope: &Scope, digest: &Digest, lease: Option<&LeaseId>) -> Result<()> {
        let turn = self.digests.take(digest);
        let mut txn = self.metadata.write(self.now())?;
        let deleted = match scope {
            Scope::Plugin => txn.delete_blob(digest, self.settings.retention.as_ref())?,
            Scope::Api(_) => DeletedBlob::Gone(txn.remove_blob(scope, digest)?),
        };
        txn.unlease_blob(scope, digest, lease)?;
        failpoint::hit("delete: before the record");
        if let Err(err) = txn.commit() {
            self.janitor.add(Chore::Settle(digest.clone()));
            return Err(err);
        }
        failpoint::hit("delete: record written");
        match deleted {
            DeletedBlob::Gone(unnamed) => self.follow(digest, unnamed),
            DeletedBlob::Retained(_, lease) => tracing::info!(held_by = %lease, "a deleted blob is retained"),
            // The rule where that is configured; what becomes of it later is said.
            DeletedBlob::ByPolicy(lease) => {
                tracing::debug!(held_by = %lease, "a deleted blob is retained");
                self.neighbour.retained();
            }
            DeletedBlob::Undecided => self.metadata.undecided(),
        }
        drop(turn);
        Ok(())
    }

    /// Takes the file of a digest, whose record says `trash` now, out of sight and has it deleted. For who has the
    /// digest to himself.
    pub(super) fn follow(&self, digest: &Digest, unnamed: Option<FileId>) {
        let Some(id) = unnamed else { return };
        if let Err(err) = self.files.trash_blob(digest, id) {
            tracing::warn!(%digest, error = %Chain(&err), "a removed blob cannot be moved to trash yet");
            self.janitor.add(Chore::Settle(digest.clone()));
        }
        failpoint::hit("delete: moved to trash");
        self.neighbour.reclaim(id.in_trash());
    }

    /// Gives an ingest up. Whoever writes to it learns that with the next message.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub fn abort(&self, name: &IngestRef) -> Result<()> {
        self.abort_from(name, None)
    }

    /// Like [`abort`](Self::abort), and the lease of the request no longer names the ingest.
    ///
    /// # Errors
    /// As for [`abort`](Self::abort).
    pub fn abort_from(&self, name: &IngestRef, lease: Option<&LeaseId>) -> Result<()> {
        // Before the record goes: afterwards another one may be begun under the ref.
        let progress = self.writers.progress(name);
        let id = self.drop_record(name, lease)?;
        if let Some(progress) = progress {
            progress.cancel();
        }
        failpoint::hit("abort: record written");
        self.discard_ingest(id);
        Ok(())
    }

    /// Removes the record of an ingest.
    pub(super) fn drop_record(&self, name: &IngestRef, lease: Option<&LeaseId>) -> Result<FileId> {
        let mut txn = self.metadata.write(self.now())?;
        let id = txn.drop_ingest(name)?;
        txn.unlease_ingest(name, lease)?;
        // containerd aborts inside of its global transaction. An ingest that comes back in a power cut harms nobody.
        txn.commit_unsynced()?;
        self.uncount_ingest();
        Ok(id)
    }

    /// Takes the file of an ingest, whose record says `trash` now, out of sight and has it deleted.
    pub(super) fn discard_ingest(&self, id: FileId) {
        if let Err(err) = self.files.trash_ingest(id) {
            // The next start finds it.
            tracing::warn!(%id, error = %Chain(&err), "the file of an ingest cannot be moved to trash");
        }
        self.neighbour.reclaim(id.in_trash());
    }
}
