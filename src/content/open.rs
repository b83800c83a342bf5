//! Opening an ingest, to begin it or to go on with it.

use std::sync::atomic::Ordering;

use crate::metadata::Ingest;
use crate::types::{Algorithm, Digest, FileId, IngestRef, Labels, LeaseId, Scope};
use crate::{Chain, Error, Resource, Result};

use super::Content;
use super::expire::expiry;
use super::hasher::Hasher;
use super::write_back::WriteBack;
use super::writer::Writer;
use super::writers::Entered;

impl Content {
    /// Takes a ref and opens its ingest, which it begins if there is none. What is there of it is not read: the writer
    /// has to [catch up](Writer::catch_up) before it goes on.
    ///
    /// # Errors
    /// [`Error::Locked`] when somebody else has the ref; [`Error::AlreadyExists`] when the blob is there;
    /// [`Error::NotFound`] for the lease; [`Error::NoSpace`] when there are too many ingests, or too few bytes.
    pub(super) fn open(
        &self,
        name: IngestRef,
        lease: Option<LeaseId>,
        total: u64,
        expected: Option<Digest>,
    ) -> Result<Writer> {
        // The transactions look again; without the lease no file is to be made.
        self.metadata.require_lease(name.scope(), lease.as_ref())?;
        let entered = self.writers.enter(&name)?;
        if let Some(expected) = &expected {
            self.require_unknown(name.scope(), expected, lease.as_ref())?;
        }
        let writer = match self.metadata.ingest(&name) {
            Ok(ingest) => self.resume(entered, lease, ingest, total, expected)?,
            Err(Error::NotFound(_)) => self.begin(entered, lease, total, expected)?,
            Err(err) => return Err(err),
        };
        writer.entered.progress().set(writer.offset, writer.updated_at);
        Ok(writer)
    }

    /// Fails when there is such a blob, or was one that is retained: then it is one again. The lease of a request on the API
    /// socket names it then.
    pub(super) fn require_unknown(&self, scope: &Scope, digest: &Digest, lease: Option<&LeaseId>) -> Result<()> {
        let found = match scope {
            Scope::Plugin => self.info(scope, digest.clone()).map(drop),
            Scope::Api(_) => self.metadata.blob(scope, digest).and_then(|_| {
                let mut txn = self.metadata.write(self.now())?;
                txn.find_blob(scope, digest, lease)?;
                txn.commit()
            }),
        };
        match found {
            Err(Error::NotFound(Resource::Blob(_))) => Ok(()),
            Ok(()) => Err(Error::AlreadyExists(Resource::Blob(digest.as_str().to_owned()))),
            Err(err) => Err(err),
        }
    }

    fn begin(&self, entered: Entered, lease: Option<LeaseId>, total: u64, expected: Option<Digest>) -> Result<Writer> {
        // Inside of containerd's transaction: the first data may wait for space, this may not.
        self.neighbour.expect_space()?;
        let counted = self.count_ingest()?;
        let (id, now) = (self.metadata.allocate_file(), self.now());
        let algorithm = algorithm_of(expected.as_ref());
        let _being_made = self.being_made.take(&id);
        // The file first: what has a record has a file.
        let shared = match &expected {
            // What failed may have given the file its second name.
            Some(digest) => {
                self.share(entered.name().scope(), digest, total, id).map_err(|err| self.take_back(id, err))?
            }
            None => None,
        };
        let is_shared = shared.is_some();
        let (file, size) = match shared {
            Some(shared) => shared,
            None => (self.files.create_ingest(id)?, 0),
        };
        crate::failpoint::hit("ingest: file made");
        let ingest = Ingest {
            id,
            total: if is_shared { size } else { total },
            expected: expected.clone(),
            started_at: now,
            updated_at: now,
            labels: Labels::default(),
            // What a lease names is kept as long as that is.
            expires_at: lease.is_none().then(|| expiry(now)),
            synced: size,
            boot: self.boot.clone(),
            hash: None,
            shared: is_shared,
        };
        let recorded = self.metadata.write(now).and_then(|mut txn| {
            txn.create_ingest(entered.name(), &ingest, lease.as_ref())?;
            // containerd opens ingests inside of its global transaction. One that is lost is begun again.
            txn.commit_unsynced()
        });
        if let Err(err) = recorded {
            // Whether there is a record will be clear at the next start, or when the ref is opened again.
            return Err(self.take_back(id, err));
        }
        crate::failpoint::hit("ingest: record written");
        counted.keep();
        Ok(Writer {
            entered,
            lease,
            id,
            shared: expected.filter(|_| is_shared),
            file,
            offset: size,
            hasher: Hasher::new(algorithm),
            hashed: size,
            write_back: WriteBack::from(size),
            synced: is_shared.then_some(size),
            checkpoint: size,
            started_at: now,
            updated_at: now,
        })
    }

    pub(super) fn take_back(&self, id: FileId, err: Error) -> Error {
        if let Err(err) = self.files.unlink_ingest(id) {
            tracing::warn!(%id, error = %Chain(&err), "the file of an ingest that was not begun is left behind");
        }
        err
    }

    fn resume(
        &self,
        entered: Entered,
        lease: Option<LeaseId>,
        ingest: Ingest,
        total: u64,
        expected: Option<Digest>,
    ) -> Result<Writer> {
        let Some(file) = self.files.open_ingest(ingest.id)? else {
            tracing::warn!(id = %ingest.id, "the file of an ingest is missing; it begins again");
            self.drop_record(entered.name(), None)?;
            return self.begin(entered, lease, total, expected);
        };
        self.hold(entered.name(), &ingest, lease.as_ref())?;
        let found = file.metadata().map_err(Error::fs(crate::FsOp::Stat, "ingests".as_ref()))?;
        let algorithm = algorithm_of(expected.as_ref());
        let state = ingest.hash.as_ref().filter(|state| state.algorithm == algorithm && state.offset <= found.len());
        let resumed = state.and_then(|state| Some((Hasher::resume(state)?, state.offset)));
        // Nothing of what is shared need be read.
        let unread = if ingest.shared { found.len() } else { 0 };
        let (hasher, hashed) = resumed.unwrap_or_else(|| (Hasher::new(algorithm), unread));
        let written_at = found.modified().unwrap_or(ingest.updated_at);
        let mut writer = Writer {
            entered,
            lease,
            id: ingest.id,
            shared: ingest.expected.clone().filter(|_| ingest.shared),
            file,
            offset: found.len(),
            hasher,
            hashed,
            write_back: WriteBack::from(found.len()),
            // A power cut may have kept that the file became shorter, and lost the record of it.
            synced: Some(ingest.synced.min(found.len())).filter(|synced| *synced > 0),
            checkpoint: ingest.synced.min(found.len()),
            started_at: ingest.started_at,
            updated_at: ingest.updated_at.max(written_at),
        };
        // Who has a blob from others has named it, each time.
        let unnamed = ingest.shared && expected != ingest.expected;
        if unnamed || (total > 0 && ingest.total > 0 && total != ingest.total) {
            // What is there is of something else.
            self.begin_again(&mut writer, total, expected)?;
        }
        Ok(writer)
    }

    /// Has the lease of a request name an ingest that goes on. Without a lease it expires some time, if it did not so far.
    fn hold(&self, name: &IngestRef, ingest: &Ingest, lease: Option<&LeaseId>) -> Result<()> {
        let now = self.now();
        match name.scope() {
            Scope::Plugin => Ok(()),
            Scope::Api(_) if lease.is_some() => {
                let mut txn = self.metadata.write(now)?;
                txn.lease_ingest(name, lease)?;
                txn.commit_unsynced()
            }
            Scope::Api(_) if ingest.expires_at.is_none() => {
                let mut txn = self.metadata.write(now)?;
                txn.update_ingest(name, ingest.id, |ingest| ingest.expires_at = Some(expiry(now)))?;
                txn.commit_unsynced()
            }
            Scope::Api(_) => Ok(()),
        }
    }

    /// Lets an ingest begin anew under its ref.
    fn begin_again(&self, writer: &mut Writer, total: u64, expected: Option<Digest>) -> Result<()> {
        let now = self.now();
        (writer.started_at, writer.updated_at) = (now, now);
        self.forget_data(writer, |ingest| {
            (ingest.started_at, ingest.updated_at, ingest.total, ingest.expected) = (now, now, total, expected);
        })
    }

    /// Takes away what was written to an ingest, and changes its record.
    pub(super) fn forget_data(&self, writer: &mut Writer, change: impl FnOnce(&mut Ingest)) -> Result<()> {
        if writer.shared.is_some() {
            return self.unshare(writer, false, change);
        }
        let mut txn = self.metadata.write(self.now())?;
        let mut promised = false;
        // The record first: it must promise nothing about data that is no longer there.
        txn.update_ingest(writer.entered.name(), writer.id, |ingest| {
            promised = ingest.synced > 0;
            (ingest.synced, ingest.hash) = (0, None);
            change(ingest);
        })?;
        // Nor may the promise come back in a power cut, when there is other data in the file.
        if promised {
            txn.commit()?
        } else {
            txn.commit_unsynced()?
        }
        crate::failpoint::hit("ingest: data forgotten");
        writer.truncate()
    }

    /// Counts the ingests that there are. Those that come or go meanwhile may be missed until the next start.
    pub(super) fn count_ingests_again(&self) -> Result<()> {
        let mut counted = 0;
        self.metadata.read(|records| {
            records.each_ingest(|_| {
                counted += 1;
                Ok(())
            })
        })?;
        self.ingests.store(counted, Ordering::Relaxed);
        Ok(())
    }

    /// Counts one ingest less.
    pub(super) fn uncount_ingest(&self) {
        // Never below zero, which would be as good as infinity.
        let less = |count: usize| Some(count.saturating_sub(1));
        let _ = self.ingests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn count_ingest(&self) -> Result<Counted<'_>> {
        let counted = Counted { content: self, kept: false };
        let before = self.ingests.fetch_add(1, Ordering::Relaxed);
        if before >= self.settings.max_ingests {
            let what =
                format!("{before} uploads are in progress, content.max_ingests is {}", self.settings.max_ingests);
            return Err(Error::NoSpace { what, source: None });
        }
        Ok(counted)
    }
}

/// An ingest that is counted, and not any more if it does not come about.
struct Counted<'c> {
    content: &'c Content,
    kept: bool,
}

impl Counted<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.content.uncount_ingest();
        }
    }
}

/// How the digest of an ingest is computed until somebody says that it is another one.
fn algorithm_of(expected: Option<&Digest>) -> Algorithm {
    expected.map_or(Algorithm::Sha256, Digest::algorithm)
}
