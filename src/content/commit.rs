//! Making an ingest a blob.
//!
//! The order is the design: the data is durable, then the file gets the blob's name as well, then the record is committed,
//! then the ingest's name goes. A crash before the record leaves the ingest as it was, and a name that nobody knows; a
//! crash after it leaves two names of one file, or, in a power cut, the first one only. The record has the number by
//! which start-up finds it then.

use crate::metadata::{CommitIngest, Stored, Transaction};
use crate::types::{Digest, FileId, Labels};
use crate::{Chain, Error, Resource, Result, failpoint};

use super::Content;
use super::janitor::Chore;
use super::session::{Action, Reply};
use super::writer::Writer;

/// What a client says of an ingest that it wants to be a blob.
pub(super) struct Commit {
    /// Bytes in it; 0 when that is not said.
    pub total: u64,
    /// What it is, when that is said.
    pub expected: Option<Digest>,
    /// What the blob has attached.
    pub labels: Labels,
}

/// The names of a file while it becomes a blob.
pub(super) struct Linked {
    /// The ingest's file has the blob's name.
    pub own: bool,
    /// What had that name before, without a record, is in trash under this number.
    displaced: Option<FileId>,
}

impl Content {
    /// Makes an ingest a blob. Waits for the disk: for the data that is not durable yet, and for the record.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when it is not what it was said to be; [`Error::AlreadyExists`] when the blob is there, and
    /// the ingest is gone then; [`Error::NotFound`] when it was given up, and for the lease of the request.
    pub(super) fn commit(&self, mut writer: Writer, commit: Commit) -> Result<Reply> {
        let result = self.try_commit(&mut writer, commit);
        if result.is_err() {
            self.close(writer);
        }
        result
    }

    fn try_commit(&self, writer: &mut Writer, commit: Commit) -> Result<Reply> {
        let digest = verify(writer, &commit)?;
        if self.metadata.blob_file(&digest)?.is_none() {
            // Before anybody has to wait for this digest.
            writer.sync()?;
        }
        let size = writer.offset;
        let total = commit.total;
        let turn = self.digests.take(&digest);
        let (id, name) = (writer.id, writer.entered.name().clone());
        // An upload that is given up at this moment has no file any more.
        let linked = self.link(id, &digest, || {
            writer.verify_shared()?;
            writer.sync()
        });
        let linked = linked.map_err(|err| writer.entered.require_wanted().err().unwrap_or(err))?;
        let request = CommitIngest {
            name,
            file: id,
            digest: digest.clone(),
            size,
            labels: commit.labels,
            linked: linked.own,
            lease: writer.lease.clone(),
        };
        let stored = self.record(id, &digest, &linked, |txn| txn.commit_ingest(request))?;
        failpoint::hit("commit: record written");
        self.uncount_ingest();
        self.clear(id, &linked);
        drop(turn);
        if stored == Stored::Exists {
            if writer.lease.is_some() {
                // It names the blob from now on, and who sent the upload counts on that.
                self.metadata.sync()?;
            }
            return Err(Error::AlreadyExists(Resource::Blob(digest.as_str().to_owned())));
        }
        let (started_at, updated_at) = (writer.started_at, writer.updated_at);
        Ok(Reply { action: Action::Commit, started_at, updated_at, offset: size, total, digest })
    }

    /// Gives an ingest's file the blob's name, unless there is one already. It is made durable by `sync` before it is
    /// needed.
    pub(super) fn link(&self, id: FileId, digest: &Digest, sync: impl FnOnce() -> Result<()>) -> Result<Linked> {
        let known = self.metadata.blob_file(digest)?;
        if known.is_some() {
            if self.files.find_blob(digest)?.is_some() {
                return Ok(Linked { own: false, displaced: None });
            }
            tracing::error!(%digest, "the file of a blob was missing; that of an upload takes its place");
        }
        sync()?;
        let mut displaced = None;
        if !self.files.link(id, digest)? {
            // A removal or a commit that did not get that far. Nobody else can be at it now.
            let aside = self.metadata.allocate_file();
            self.files.trash_blob(digest, aside)?;
            failpoint::hit("commit: displaced");
            displaced = Some(aside);
            if !self.files.link(id, digest)? {
                return Err(Error::Lost("the name of a blob"));
            }
        }
        failpoint::hit("commit: linked");
        Ok(Linked { own: true, displaced })
    }

    /// Commits the record that `store` makes of a file that has its names.
    pub(super) fn record(
        &self,
        id: FileId,
        digest: &Digest,
        linked: &Linked,
        store: impl FnOnce(&mut Transaction<'_>) -> Result<Stored>,
    ) -> Result<Stored> {
        let changed = self.metadata.write(self.now()).and_then(|mut txn| {
            let stored = store(&mut txn)?;
            if let Some(displaced) = linked.displaced {
                txn.trash_file(displaced);
            }
            Ok((txn, stored))
        });
        let (txn, stored) = match changed {
            Ok(changed) => changed,
            Err(err) => {
                self.unlink(id, digest, linked);
                return Err(err);
            }
        };
        // Nothing was made where the blob and its file were there, and a loss of that is found out again.
        let nothing_made = stored == Stored::Exists && !linked.own;
        let committed = if nothing_made { txn.commit_unsynced() } else { txn.commit() };
        match committed {
            Ok(()) => Ok(stored),
            Err(err) => {
                // Only the reopened database knows: until then both names stay, and one of them will be right.
                self.janitor.add(Chore::Settle(digest.clone()));
                Err(err)
            }
        }
    }

    /// Takes the blob's name away from an ingest that goes on: what is written to it would be written to the blob.
    fn unlink(&self, id: FileId, digest: &Digest, linked: &Linked) {
        if linked.own
            && let Err(err) = self.files.unlink_blob(digest)
        {
            tracing::warn!(%id, error = %Chain(&err), "a blob that was not made keeps its name for now");
            self.janitor.add(Chore::Settle(digest.clone()));
        }
    }

    /// Takes away what is no longer needed of an ingest that is a blob now.
    pub(super) fn clear(&self, id: FileId, linked: &Linked) {
        if linked.own {
            if let Err(err) = self.files.unlink_ingest(id) {
                tracing::warn!(%id, error = %Chain(&err), "the file of a blob keeps the name of its ingest for now");
            }
        } else {
            self.discard_ingest(id);
        }
        failpoint::hit("commit: cleared");
        if let Some(displaced) = linked.displaced {
            self.neighbour.reclaim(displaced.in_trash());
        }
    }
}

/// Checks that an ingest is what it was said to be, and returns what it is.
fn verify(writer: &mut Writer, commit: &Commit) -> Result<Digest> {
    writer.entered.require_wanted()?;
    if commit.total > 0 && commit.total != writer.offset {
        let problem = format!("has {} bytes, expected {}", writer.offset, commit.total);
        return Err(Error::Mismatch { resource: writer.resource(), problem });
    }
    if let Some(expected) = &commit.expected
        && writer.shared.is_none()
        && expected.algorithm() != writer.hasher.algorithm()
    {
        writer.hash_again(expected.algorithm())?;
    }
    let digest = writer.digest()?;
    match &commit.expected {
        Some(expected) if *expected != digest => {
            let problem = format!("has digest {digest}, expected {expected}");
            Err(Error::Mismatch { resource: writer.resource(), problem })
        }
        _ => Ok(digest),
    }
}
