//! Removing what the collector found to be held by nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::metadata::{SweptBlob, Transaction, UnheldBlob, UnheldIngest};
use crate::types::{Digest, FileId};
use crate::{Chain, Error, Result, failpoint};

use super::Content;
use super::expire::expiry;
use super::janitor::Chore;

/// How many blobs go in one transaction. Writers wait for it, so it ends within a fraction of a millisecond.
const BATCH: usize = 16;
/// How many blobs go with one sync, after which their files are moved. So long nobody else has their digests.
const AT_ONCE: usize = 8 * BATCH;
/// The longest rest after a transaction.
const MAX_REST: Duration = Duration::from_millis(2);

impl Content {
    /// Removes blobs of the API socket that nothing holds, in many short transactions. Returns how many are gone.
    ///
    /// Each is looked at again in the transaction that removes it, and `still_unheld` is asked there as well. `go_on` is
    /// asked now and then whether to.
    ///
    /// # Errors
    /// Those of the store; what was removed before stays so.
    pub fn sweep(
        &self,
        unheld: &[UnheldBlob],
        mut still_unheld: impl FnMut(&Transaction<'_>, &UnheldBlob) -> bool,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<usize> {
        let mut removed = 0;
        for some in unheld.chunks(AT_ONCE) {
            if !go_on() {
                break;
            }
            // Nobody else has more than one, or waits for another while having it; each digest once, because namespaces
            // share them.
            let digests: BTreeSet<&Digest> = some.iter().map(|blob| &blob.digest).collect();
            let turns: Vec<_> = digests.into_iter().map(|digest| self.digests.take(digest)).collect();
            let mut unnamed = Vec::new();
            let swept = self.sweep_records(some, &mut still_unheld, &mut unnamed);
            if swept.is_err() {
                // Only the reopened database knows what became of them.
                some.iter().for_each(|blob| self.janitor.add(Chore::Settle(blob.digest.clone())));
            }
            removed += swept?;
            for (digest, id) in &unnamed {
                if let Err(err) = self.files.trash_blob(digest, *id) {
                    tracing::warn!(%digest, error = %Chain(&err), "a collected blob cannot be moved to trash yet");
                    self.janitor.add(Chore::Settle((*digest).clone()));
                }
                failpoint::hit("sweep: blob moved to trash");
            }
            drop(turns);
            unnamed.into_iter().for_each(|(_, id)| self.neighbour.reclaim(id.in_trash()));
        }
        Ok(removed)
    }

    /// Removes records, and waits until that is durable. What nothing names any more is added to `unnamed`.
    fn sweep_records<'b>(
        &self,
        some: &'b [UnheldBlob],
        still_unheld: &mut impl FnMut(&Transaction<'_>, &UnheldBlob) -> bool,
        unnamed: &mut Vec<(&'b Digest, FileId)>,
    ) -> Result<usize> {
        let mut removed = 0;
        for batch in some.chunks(BATCH) {
            let began = Instant::now();
            let mut txn = self.metadata.write(self.now())?;
            for blob in batch {
                if !still_unheld(&txn, blob) {
                    continue;
                }
                match txn.sweep_blob(blob) {
                    Ok(SweptBlob::Removed(file)) => {
                        removed += 1;
                        unnamed.extend(file.map(|file| (&blob.digest, file)));
                        tracing::debug!(namespace = %blob.namespace, digest = %blob.digest, "collected");
                    }
                    Ok(SweptBlob::Kept) => {}
                    // One damaged record must not keep all others.
                    Err(err @ Error::Corrupt(_)) => {
                        tracing::error!(error = %Chain(&err), digest = %blob.digest, "cannot be collected");
                    }
                    Err(err) => return Err(err),
                }
            }
            failpoint::hit("sweep: before the records of blobs");
            txn.commit_unsynced()?;
            failpoint::hit("sweep: records of blobs written");
            // The lock is not fair: without a rest, those who wait for it could wait for long.
            std::thread::park_timeout(began.elapsed().min(MAX_REST));
        }
        if removed > 0 {
            self.metadata.sync()?;
        }
        Ok(removed)
    }

    /// Gives up ingests of the API socket that nothing holds. Returns how many are gone.
    ///
    /// # Errors
    /// As for [`sweep`](Self::sweep).
    pub fn sweep_ingests(
        &self,
        unheld: &[UnheldIngest],
        mut still_unheld: impl FnMut(&Transaction<'_>, &UnheldIngest) -> bool,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<usize> {
        let mut removed = 0;
        for ingest in unheld {
            if !go_on() {
                break;
            }
            // Whoever writes to it holds it.
            let Ok(_entered) = self.writers.enter(&ingest.name) else { continue };
            if self.was_written_lately(ingest)? {
                continue;
            }
            let mut txn = self.metadata.write(self.now())?;
            if !still_unheld(&txn, ingest) {
                continue;
            }
            let Some(file) = txn.sweep_ingest(ingest)? else { continue };
            // As when it is aborted: one that comes back in a power cut harms nobody.
            txn.commit_unsynced()?;
            failpoint::hit("sweep: record of an ingest written");
            self.uncount_ingest();
            self.discard_ingest(file);
            removed += 1;
        }
        Ok(removed)
    }

    /// Whether an ingest that expires was written to by somebody who was killed before he could say so.
    fn was_written_lately(&self, ingest: &UnheldIngest) -> Result<bool> {
        let expires = self.metadata.ingest(&ingest.name).is_ok_and(|record| record.expires_at.is_some());
        let written_at = if expires { self.files.find_ingest(ingest.file)? } else { None };
        Ok(written_at.is_some_and(|found| expiry(found.written_at) >= self.now()))
    }
}
