//! Retained snapshots that no lease holds any more.

use std::time::{Duration, Instant, SystemTime};

use crate::metadata::{GivenUp, RetainedName, TreesSeen};
use crate::types::LayerId;
use crate::{Error, Result, failpoint};

use super::Snapshotter;

/// How many retained snapshots are looked at between two looks at whether to stop.
const PAGE: usize = 256;
/// For how many layers one sync is waited.
const LAYERS_AT_ONCE: usize = 256;
/// The longest rest after a transaction.
const MAX_REST: Duration = Duration::from_millis(2);

/// Retained snapshots that were given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUpSnapshots {
    /// Their names.
    pub names: Vec<RetainedName>,
    /// Whether leases hold trees by now that were not looked at: then it ended early.
    pub trees_changed: bool,
}

impl Snapshotter {
    /// Returns the retained snapshots that no unexpired lease names, and when each was removed. `go_on` is asked now and
    /// then whether to.
    ///
    /// # Errors
    /// Those of the store.
    pub fn retained_unnamed(&self, go_on: impl Fn() -> bool) -> Result<Vec<(RetainedName, SystemTime)>> {
        let (mut unnamed, mut after) = (Vec::new(), None);
        while go_on() {
            let page = self.metadata.retained_names(after.as_ref(), PAGE)?;
            for name in &page {
                if self.metadata.retained_by(&self.member_kind, name, self.now())?.is_some() {
                    continue;
                }
                match self.metadata.retained(&name.0, &name.1) {
                    Ok(retained) => unnamed.extend(retained.map(|retained| (name.clone(), retained.removed_at))),
                    // One damaged record must not keep all others.
                    Err(err @ Error::Corrupt(_)) => {
                        tracing::error!(error = %err, snapshot = name.1, "cannot be given up")
                    }
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
    /// trees hold was looked at after the candidates: what was removed since may be in a tree that came with it. `go_on` is
    /// asked each time whether to.
    ///
    /// # Errors
    /// Those of the store; what was given up before stays so.
    pub fn give_up_unheld(
        &self,
        candidates: &[(RetainedName, SystemTime)],
        trees: TreesSeen,
        in_tree: impl Fn(&RetainedName) -> bool,
        go_on: impl Fn() -> bool,
    ) -> Result<GivenUpSnapshots> {
        let (mut given_up, mut trashed) = (GivenUpSnapshots::default(), Vec::new());
        for (name, removed_at) in candidates.iter().filter(|(name, _)| !in_tree(name)).take_while(|_| go_on()) {
            let began = Instant::now();
            match self.give_up(name, *removed_at, trees) {
                Ok(GivenUp::Gone(layers)) => {
                    trashed.extend(layers);
                    given_up.names.push(name.clone());
                    // As in a sweep: the lock is not fair.
                    std::thread::park_timeout(began.elapsed().min(MAX_REST));
                }
                Ok(GivenUp::Kept) => {}
                Ok(GivenUp::TreesChanged) => {
                    given_up.trees_changed = true;
                    break;
                }
                // One damaged record must not keep all others.
                Err(err @ Error::Corrupt(_)) => {
                    tracing::error!(error = %err, snapshot = name.1, "cannot be given up")
                }
                Err(err) => {
                    self.note_unclear(&trashed);
                    return Err(err);
                }
            }
            if trashed.len() >= LAYERS_AT_ONCE {
                self.flush(&mut trashed)?;
            }
        }
        self.flush(&mut trashed)?;
        Ok(given_up)
    }

    /// Gives up a retained snapshot, with the layers that are in trash for it.
    fn give_up(&self, name: &RetainedName, removed_at: SystemTime, trees: TreesSeen) -> Result<GivenUp<Vec<LayerId>>> {
        let mut txn = self.metadata.write(self.now())?;
        let given_up = txn.give_up_retained(&self.member_kind, name, removed_at, trees)?;
        let GivenUp::Gone(trashed) = &given_up else { return Ok(given_up) };
        failpoint::hit("give up: before the record");
        // The sync comes before the directories are touched, once for many.
        txn.commit_unsynced().inspect_err(|_| self.note_unclear(trashed))?;
        failpoint::hit("give up: record written");
        tracing::info!(namespace = %name.0, snapshot = name.1, "a retained snapshot is given up: no lease holds it");
        Ok(given_up)
    }
}
