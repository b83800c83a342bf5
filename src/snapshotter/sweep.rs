//! Removing what the collector found to be held by nothing.

use std::time::{Duration, Instant};

use crate::metadata::{Swept, Transaction, Unheld};
use crate::types::{LayerId, SnapshotKey};
use crate::{Chain, Error, Result, failpoint};

use super::Snapshotter;

/// How many snapshots go in one transaction. Writers wait for it, so it ends within a fraction of a millisecond.
const BATCH: usize = 16;
/// For how many layers one sync is waited.
const LAYERS_AT_ONCE: usize = 256;
/// The longest rest after a transaction.
const MAX_REST: Duration = Duration::from_millis(2);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Snapshots that are gone.
    pub removed: usize,
    /// Snapshots that stay for now because they have children.
    pub parents: usize,
}

impl Snapshotter {
    /// Removes snapshots of the API socket that nothing holds, in many short transactions, children before parents.
    ///
    /// Each is looked at again in the transaction that removes it, and `still_unheld` is asked there as well. `go_on` is
    /// asked now and then whether to.
    ///
    /// # Errors
    /// Those of the store; what was removed before stays so.
    pub fn sweep(
        &self,
        mut unheld: Vec<Unheld>,
        mut still_unheld: impl FnMut(&Transaction<'_>, &SnapshotKey) -> bool,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        let mut trashed = Vec::new();
        unheld.sort_unstable_by_key(|snapshot| std::cmp::Reverse(snapshot.depth));
        // A transaction does not see what itself removed, so that a parent is never in one with its child.
        for depth in unheld.chunk_by(|one, next| one.depth == next.depth) {
            for batch in depth.chunks(BATCH) {
                if !go_on() {
                    self.flush(&mut trashed)?;
                    return Ok(report);
                }
                let began = Instant::now();
                self.sweep_batch(batch, &mut still_unheld, &mut report, &mut trashed)?;
                // The lock is not fair: without a rest, those who wait for it could wait for long.
                std::thread::park_timeout(began.elapsed().min(MAX_REST));
                if trashed.len() >= LAYERS_AT_ONCE {
                    self.flush(&mut trashed)?;
                }
            }
        }
        self.flush(&mut trashed)?;
        Ok(report)
    }

    fn sweep_batch(
        &self,
        batch: &[Unheld],
        still_unheld: &mut impl FnMut(&Transaction<'_>, &SnapshotKey) -> bool,
        report: &mut SweepReport,
        trashed: &mut Vec<LayerId>,
    ) -> Result<()> {
        let mut txn = self.metadata.write(self.now()).inspect_err(|_| self.note_unclear(trashed))?;
        for snapshot in batch {
            if !still_unheld(&txn, &snapshot.key) {
                continue;
            }
            match txn.sweep(&self.member_kind, snapshot) {
                Ok(Swept::Removed(layers)) => {
                    report.removed += 1;
                    trashed.extend(layers);
                    tracing::debug!(snapshot = snapshot.key.as_str(), "collected");
                }
                Ok(Swept::Parent) => report.parents += 1,
                Ok(Swept::Kept) => {}
                // One damaged record must not keep all others.
                Err(err @ Error::Corrupt(_)) => {
                    tracing::error!(error = %Chain(&err), snapshot = snapshot.key.as_str(), "cannot be collected");
                }
                Err(err) => {
                    self.note_unclear(trashed);
                    return Err(err);
                }
            }
        }
        failpoint::hit("sweep: before the records");
        // The sync comes before the directories are touched, once for many batches.
        txn.commit_unsynced().inspect_err(|_| self.note_unclear(trashed))?;
        failpoint::hit("sweep: records written");
        Ok(())
    }

    /// Makes removals durable, and has the layers deleted.
    pub(super) fn flush(&self, trashed: &mut Vec<LayerId>) -> Result<()> {
        if trashed.is_empty() {
            return Ok(());
        }
        self.metadata.sync().inspect_err(|_| self.note_unclear(trashed))?;
        failpoint::hit("sweep: records synced");
        self.reclaim(trashed);
        trashed.clear();
        Ok(())
    }
}
