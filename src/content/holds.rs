//! Retained blobs: made containerd's again, and given up when no lease holds them any more.

use crate::metadata::Blob;
use crate::types::{Digest, Scope};
use crate::{Error, Result, failpoint};

use super::Content;
use super::janitor::Chore;

/// How many retained blobs are looked at between two looks at whether to stop.
const PAGE: usize = 256;

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
            for digest in &page {
                // Without the write lock first: nearly all are held.
                if self.metadata.blob_held_by(digest, self.now())?.is_none() && self.give_up_one(digest)? {
                    given_up.push(digest.clone());
                }
            }
            after = page.into_iter().next_back();
            if after.is_none() {
                break;
            }
        }
        Ok(given_up)
    }

    /// Gives up a retained blob; false when a lease holds it by now, or it was adopted.
    fn give_up_one(&self, digest: &Digest) -> Result<bool> {
        let turn = self.digests.take(digest);
        let mut txn = self.metadata.write(self.now())?;
        let Some(unnamed) = txn.give_up_blob(digest)? else { return Ok(false) };
        failpoint::hit("give up blob: before the record");
        if let Err(err) = txn.commit() {
            self.janitor.add(Chore::Settle(digest.clone()));
            return Err(err);
        }
        failpoint::hit("give up blob: record written");
        tracing::info!(%digest, "a retained blob is given up: no lease holds it");
        self.follow(digest, unnamed);
        drop(turn);
        Ok(true)
    }
}
