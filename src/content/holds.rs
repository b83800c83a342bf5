//! Retained blobs: made containerd's again, and given up when no lease holds them any more.

use std::time::{Duration, Instant};

use crate::metadata::Blob;
use crate::types::{Digest, FileId, Scope};
use crate::{Error, Result, failpoint};

use super::Content;
use super::janitor::Chore;

/// How many retained blobs are looked at between two looks at whether to stop.
const PAGE: usize = 256;
/// How many share a sync. So long nobody else has their digests.
const AT_ONCE: usize = 128;
/// The longest rest after a transaction.
const MAX_REST: Duration = Duration::from_millis(2);

impl Content {
    /// Makes a retained blob containerd's again, if it is containerd that asks. Waits for the disk then: containerd
    /// counts on the blob in a transaction of its own, which is durable.
    pub(super) fn adopt(&self, scope: &Scope, digest: &Digest) -> Result<Option<Blob>> {
        // Without the write lock first: nearly nothing that is asked for is retained.
        if *scope != Scope::Plugin || self.metadata.retained_blob(digest).is_ok_and(|retained| retained.is_none()) {
            return Ok(None);
        }
        let mut txn = self.metadata.write(self.now())?;
        let Some(blob) = txn.adopt_blob(digest)? else {
            drop(txn);
            // By somebody else, or given up.
            return match self.metadata.blob(scope, digest) {
                Err(Error::NotFound(_)) => Ok(None),
                found => found.map(Some),
            };
        };
        failpoint::hit("adopt: before the record");
        txn.commit()?;
        failpoint::hit("adopt: record written");
        tracing::info!(%digest, "a retained blob is in use again");
        Ok(Some(blob))
    }

    /// Whether asking for a blob that is not there may adopt it, as far as is known without the disk.
    pub(super) fn may_be_retained(&self, scope: &Scope, digest: &Digest) -> Result<bool> {
        Ok(*scope == Scope::Plugin && self.metadata.cached_is_retained_blob(digest)?.unwrap_or(true))
    }

    /// Gives up all retained blobs that no unexpired lease holds, one short transaction each, and returns their digests.
    /// `go_on` is asked now and then whether to.
    ///
    /// # Errors
    /// Those of the store; what was given up before stays so.
    pub fn give_up_unheld(&self, mut go_on: impl FnMut() -> bool) -> Result<Vec<Digest>> {
        let mut given_up = Vec::new();
        let mut after = None;
        while go_on() {
            let page = self.metadata.retained_blobs(after.as_ref(), PAGE)?;
            let mut unheld = Vec::new();
            for digest in &page {
                // Without the write lock first: nearly all are held.
                if self.metadata.blob_held_by(digest, self.now())?.is_none() {
                    unheld.push(digest);
                }
            }
            for some in unheld.chunks(AT_ONCE) {
                given_up.extend(self.give_up_blobs(some)?);
            }
            after = page.into_iter().next_back();
            if after.is_none() {
                break;
            }
        }
        Ok(given_up)
    }

    /// Gives up retained blobs, and waits once until that is durable. Returns those that no lease holds by now, and that
    /// were not adopted.
    fn give_up_blobs(&self, some: &[&Digest]) -> Result<Vec<Digest>> {
        // As in a sweep: in the order of digests, and nobody else has more than one.
        let turns: Vec<_> = some.iter().map(|digest| self.digests.take(digest)).collect();
        let mut unnamed = Vec::new();
        if let Err(err) = self.give_up_records(some, &mut unnamed) {
            some.iter().for_each(|digest| self.janitor.add(Chore::Settle((*digest).clone())));
            return Err(err);
        }
        for (digest, file) in &unnamed {
            tracing::info!(%digest, "a retained blob is given up: no lease holds it");
            self.follow(digest, *file);
        }
        drop(turns);
        Ok(unnamed.into_iter().map(|(digest, _)| digest.clone()).collect())
    }

    fn give_up_records<'d>(&self, some: &[&'d Digest], unnamed: &mut Vec<(&'d Digest, Option<FileId>)>) -> Result<()> {
        for digest in some {
            let began = Instant::now();
            let mut txn = self.metadata.write(self.now())?;
            let Some(file) = txn.give_up_blob(digest)? else { continue };
            failpoint::hit("give up blob: before the record");
            // The sync comes before the files are touched, once for many.
            txn.commit_unsynced()?;
            failpoint::hit("give up blob: record written");
            unnamed.push((*digest, file));
            // The lock is not fair.
            std::thread::park_timeout(began.elapsed().min(MAX_REST));
        }
        if unnamed.is_empty() { Ok(()) } else { self.metadata.sync() }
    }
}
