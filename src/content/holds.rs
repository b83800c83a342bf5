//! Retained blobs: made containerd's again, and given up when no lease holds them any more.

use std::time::{Duration, Instant, SystemTime};

use crate::metadata::{Blob, Evictable, EvictableName, GivenUp, TreesSeen};
use crate::types::{Digest, FileId, Scope};
use crate::{Error, Result, failpoint};

use super::Content;
use super::janitor::Chore;
use super::turns::Turn;

/// How many retained blobs are looked at between two looks at whether to stop.
const PAGE: usize = 256;
/// For how many blobs one sync is waited. Whoever wants one of them waits as well; they are taken in the order of their
/// digests, so that two who give up do not wait for each other.
const BLOBS_AT_ONCE: usize = 64;
/// The longest rest after a transaction.
const MAX_REST: Duration = Duration::from_millis(2);

/// Retained blobs that were given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUpBlobs {
    /// Those.
    pub digests: Vec<Digest>,
    /// Whether leases hold trees by now that were not looked at: then it ended early.
    pub trees_changed: bool,
}

/// A retained blob that was given up, and whose file has not followed.
struct GivenUpBlob {
    turn: Turn<Digest>,
    digest: Digest,
    unnamed: Option<FileId>,
}

impl Content {
    /// Makes a retained blob containerd's again, if it is containerd that asks. Waits for the disk then: containerd
    /// counts on the blob in a transaction of its own, which is durable.
    pub(super) fn adopt(&self, scope: &Scope, digest: &Digest) -> Result<Option<Blob>> {
        // Without the write lock first: nearly nothing that is asked for is retained.
        if *scope != Scope::Plugin || self.metadata.retained_blob(digest).is_ok_and(|retained| retained.is_none()) {
            return self.found_again(scope, digest);
        }
        let mut txn = self.metadata.write(self.now())?;
        let Some(blob) = txn.adopt_blob(digest)? else {
            drop(txn);
            return self.found_again(scope, digest);
        };
        failpoint::hit("adopt: before the record");
        txn.commit()?;
        failpoint::hit("adopt: record written");
        tracing::info!(%digest, "a retained blob is in use again");
        Ok(Some(blob))
    }

    /// Looks once more for a blob that was not there: somebody else may have adopted it, or uploaded it, between the looks.
    fn found_again(&self, scope: &Scope, digest: &Digest) -> Result<Option<Blob>> {
        match self.metadata.blob(scope, digest) {
            Err(Error::NotFound(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Whether asking for a blob that is not there may adopt it, as far as is known without the disk.
    pub(super) fn may_be_retained(&self, scope: &Scope, digest: &Digest) -> Result<bool> {
        Ok(*scope == Scope::Plugin && self.metadata.cached_is_retained_blob(digest)?.unwrap_or(true))
    }

    /// Returns the retained blobs that no unexpired lease names, and when each was deleted. `go_on` is asked now and then
    /// whether to.
    ///
    /// # Errors
    /// Those of the store.
    pub fn retained_unnamed(&self, go_on: impl Fn() -> bool) -> Result<Vec<(Digest, SystemTime)>> {
        let (mut unnamed, mut after) = (Vec::new(), None);
        while go_on() {
            let page = self.metadata.retained_blobs(after.as_ref(), PAGE)?;
            for digest in &page {
                if self.metadata.blob_held_by(digest, self.now())?.is_some() {
                    continue;
                }
                match self.metadata.retained_blob(digest) {
                    Ok(retained) => unnamed.extend(retained.map(|retained| (digest.clone(), retained.removed_at))),
                    // One damaged record must not keep all others.
                    Err(err @ Error::Corrupt(_)) => tracing::error!(error = %err, %digest, "cannot be given up"),
                    Err(err) => return Err(err),
                }
            }
            after = page.into_iter().next_back();
            if after.is_none() {
                break;
            }
        }
        Ok(unnamed)
    }

    /// Gives up those of the candidates that no unexpired lease names and no tree holds, one short transaction each. What
    /// trees hold was looked at after the candidates: what was deleted since may be in a tree that came with it. `go_on` is
    /// asked now and then whether to.
    ///
    /// # Errors
    /// Those of the store; what was given up before stays so.
    pub fn give_up_unheld(
        &self,
        candidates: &[(Digest, SystemTime)],
        trees: TreesSeen,
        in_tree: impl Fn(&Digest) -> bool,
        go_on: impl Fn() -> bool,
    ) -> Result<GivenUpBlobs> {
        let (mut given_up, mut batch) = (GivenUpBlobs::default(), Vec::new());
        let candidates = candidates.iter().filter(|(digest, _)| !in_tree(digest)).take_while(|_| go_on());
        let result = self.give_up_all(candidates, trees, &mut given_up, &mut batch);
        let followed = self.follow_all(&mut batch);
        result.and(followed).map(|()| given_up)
    }

    fn give_up_all<'a>(
        &self,
        candidates: impl Iterator<Item = &'a (Digest, SystemTime)>,
        trees: TreesSeen,
        given_up: &mut GivenUpBlobs,
        batch: &mut Vec<GivenUpBlob>,
    ) -> Result<()> {
        for (digest, removed_at) in candidates {
            let began = Instant::now();
            match self.give_up_one(digest, *removed_at, trees)? {
                GivenUp::Gone(one) => {
                    given_up.digests.push(digest.clone());
                    batch.push(one);
                    // The lock is not fair.
                    std::thread::park_timeout(began.elapsed().min(MAX_REST));
                }
                GivenUp::Kept => {}
                GivenUp::TreesChanged => {
                    given_up.trees_changed = true;
                    return Ok(());
                }
            }
            if batch.len() >= BLOBS_AT_ONCE {
                self.follow_all(batch)?;
            }
        }
        Ok(())
    }

    /// Makes removals durable, and takes the files out of sight and has them deleted.
    fn follow_all(&self, batch: &mut Vec<GivenUpBlob>) -> Result<()> {
        let synced = if batch.is_empty() { Ok(()) } else { self.metadata.sync() };
        for GivenUpBlob { turn, digest, unnamed } in batch.drain(..) {
            match &synced {
                Ok(()) => self.follow(&digest, unnamed),
                Err(_) => self.janitor.add(Chore::Settle(digest)),
            }
            drop(turn);
        }
        synced
    }

    /// Gives up the retained blobs of what was chosen, in that order and each in a transaction of its own, where still
    /// nothing but policy leases names them, and there are no more trees than were looked at. Returns how many. `go_on` is
    /// asked each time whether to.
    ///
    /// # Errors
    /// Those of the store; what was given up before stays so.
    pub fn evict(
        &self,
        chosen: &[Evictable],
        trees: TreesSeen,
        reason: &str,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<u64> {
        let mut evicted = 0;
        for one in chosen {
            let EvictableName::Blob(digest) = &one.name else { continue };
            if !go_on() {
                break;
            }
            let turn = self.digests.take(digest);
            let mut txn = self.metadata.write(self.now())?;
            let Some(unnamed) = txn.evict_blob(digest, one.removed_at, trees)? else { continue };
            failpoint::hit("evict blob: before the record");
            if let Err(err) = txn.commit() {
                self.janitor.add(Chore::Settle(digest.clone()));
                return Err(err);
            }
            failpoint::hit("evict blob: record written");
            let age = self.now().duration_since(one.removed_at).unwrap_or_default();
            tracing::info!(%digest, reason, ?age, "a retained blob is evicted");
            self.follow(digest, unnamed);
            drop(turn);
            evicted += 1;
        }
        Ok(evicted)
    }

    fn give_up_one(&self, digest: &Digest, removed_at: SystemTime, trees: TreesSeen) -> Result<GivenUp<GivenUpBlob>> {
        let turn = self.digests.take(digest);
        let mut txn = self.metadata.write(self.now())?;
        let unnamed = match txn.give_up_blob(digest, removed_at, trees)? {
            GivenUp::Gone(unnamed) => unnamed,
            GivenUp::Kept => return Ok(GivenUp::Kept),
            GivenUp::TreesChanged => return Ok(GivenUp::TreesChanged),
        };
        failpoint::hit("give up blob: before the record");
        // The sync comes before the file is touched, once for many.
        if let Err(err) = txn.commit_unsynced() {
            self.janitor.add(Chore::Settle(digest.clone()));
            return Err(err);
        }
        failpoint::hit("give up blob: record written");
        tracing::info!(%digest, "a retained blob is given up: no lease holds it");
        Ok(GivenUp::Gone(GivenUpBlob { turn, digest: digest.clone(), unnamed }))
    }
}
