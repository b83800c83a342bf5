//! Giving up retained snapshots before their time. What goes, and when, is the evictor's to say.

use std::time::{Duration, Instant, SystemTime};

use crate::metadata::{Evictable, EvictableName, Evictables, RetainedName, TreesSeen, Usage};
use crate::types::LayerId;
use crate::{Chain, Error, Result, failpoint};

use super::Snapshotter;

/// For how many layers one sync is waited.
const LAYERS_AT_ONCE: usize = 256;
/// The longest rest after a transaction.
const MAX_REST: Duration = Duration::from_millis(2);

/// What is in trash and not deleted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnItsWay {
    /// What was counted of it.
    pub usage: Usage,
    /// Whether there is more, of a size that nobody knows.
    pub uncounted: bool,
}

impl Snapshotter {
    /// Returns all that is retained, snapshots and blobs, and that only policy leases hold. Reads all that is retained.
    ///
    /// # Errors
    /// Those of the store.
    pub fn evictable(&self) -> Result<Evictables> {
        self.metadata.read(|records| {
            let namespaces = self.metadata.namespaces_of_content_leases();
            records.evictable(&self.member_kind, &namespaces, self.now())
        })
    }

    /// Returns what a committed layer takes, and counts it where that was not done: then it walks the tree.
    ///
    /// # Errors
    /// Those of the store and of the file system.
    pub fn layer_usage(&self, layer: LayerId) -> Result<Usage> {
        self.counting.count(layer)
    }

    /// Returns what deletions under way, and those that wait for their turn, will give back. What cannot be deleted for
    /// now does not count.
    ///
    /// # Errors
    /// Those of the store.
    pub fn on_its_way(&self) -> Result<OnItsWay> {
        let (mut sum, settled) = (OnItsWay::default(), self.reclaimer.settled());
        self.metadata.read(|records| {
            records.each_trash_usage(|layer, usage| {
                match usage {
                    _ if settled.contains(&layer) => {}
                    Some(usage) => sum.usage = sum.usage.plus(usage),
                    None => sum.uncounted = true,
                }
                Ok(())
            })
        })?;
        Ok(sum)
    }

    /// Waits until what is in trash now is deleted, at most for `limit`.
    pub fn wait_for_deletions(&self, limit: Duration) {
        self.reclaimer.wait(limit);
    }

    /// Gives up the retained snapshots of what was chosen, in that order and each in a transaction of its own, where still nothing but policy
    /// leases holds them, and there are no more trees than were looked at. Returns how many. `go_on` is asked each time whether to.
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
        let (mut evicted, mut trashed) = (0, Vec::new());
        for snapshot in chosen {
            let EvictableName::Snapshot(retained) = &snapshot.name else { continue };
            if !go_on() {
                break;
            }
            let began = Instant::now();
            match self.evict_one(retained, snapshot.removed_at, trees) {
                Ok(Some(layers)) => {
                    let (namespace, name) = retained;
                    let age = self.now().duration_since(snapshot.removed_at).unwrap_or_default();
                    tracing::info!(%namespace, snapshot = name, reason, ?age, "a retained snapshot is evicted");
                    trashed.extend(layers);
                    evicted += 1;
                }
                Ok(None) => {}
                // One damaged record must not keep all others.
                Err(err @ Error::Corrupt(_)) => {
                    tracing::error!(error = %Chain(&err), snapshot = retained.1, "cannot be evicted");
                }
                Err(err) => {
                    self.note_unclear(&trashed);
                    return Err(err);
                }
            }
            // As in a sweep: the lock is not fair.
            std::thread::park_timeout(began.elapsed().min(MAX_REST));
            if trashed.len() >= LAYERS_AT_ONCE {
                self.flush(&mut trashed)?;
            }
        }
        self.flush(&mut trashed)?;
        Ok(evicted)
    }

    fn evict_one(&self, name: &RetainedName, removed_at: SystemTime, trees: TreesSeen) -> Result<Option<Vec<LayerId>>> {
        let mut txn = self.metadata.write(self.now())?;
        let Some(trashed) = txn.evict(&self.member_kind, name, removed_at, trees)? else { return Ok(None) };
        failpoint::hit("evict: before the record");
        // The sync comes before the directories are touched, once for many.
        txn.commit_unsynced().inspect_err(|_| self.note_unclear(&trashed))?;
        failpoint::hit("evict: record written");
        Ok(Some(trashed))
    }
}
