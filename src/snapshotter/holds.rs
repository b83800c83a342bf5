//! Retained snapshots that no lease holds any more.

use crate::metadata::{GivenUp, RetainedName, TreesSeen};
use crate::{Error, Result, failpoint};

use super::Snapshotter;

/// How many retained snapshots are looked at between two looks at whether to stop.
const PAGE: usize = 256;

/// Retained snapshots that were given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUpSnapshots {
    /// Their names.
    pub names: Vec<RetainedName>,
    /// Whether leases hold trees by now that were not looked at: then it ended early.
    pub trees_changed: bool,
}

impl Snapshotter {
    /// Gives up all retained snapshots that no unexpired lease names and no tree holds, as of when these were looked at, one
    /// short transaction each. `go_on` is asked now and then whether to.
    ///
    /// # Errors
    /// Those of the store; what was given up before stays so.
    pub fn give_up_unheld(
        &self,
        trees: TreesSeen,
        in_tree: impl Fn(&RetainedName) -> bool,
        go_on: impl Fn() -> bool,
    ) -> Result<GivenUpSnapshots> {
        let mut given_up = GivenUpSnapshots::default();
        let mut after = None;
        while go_on() {
            let page = self.metadata.retained_names(after.as_ref(), PAGE)?;
            for name in &page {
                // Without the write lock first: nearly all are held.
                if in_tree(name) || self.metadata.retained_by(&self.member_kind, name, self.now())?.is_some() {
                    continue;
                }
                match self.give_up(name, trees) {
                    Ok(GivenUp::Gone(())) => given_up.names.push(name.clone()),
                    Ok(GivenUp::Kept) => {}
                    Ok(GivenUp::TreesChanged) => return Ok(GivenUpSnapshots { trees_changed: true, ..given_up }),
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
        Ok(given_up)
    }

    fn give_up(&self, name: &RetainedName, trees: TreesSeen) -> Result<GivenUp<()>> {
        let mut txn = self.metadata.write(self.now())?;
        let trashed = match txn.give_up_retained(&self.member_kind, name, trees)? {
            GivenUp::Gone(trashed) => trashed,
            GivenUp::Kept => return Ok(GivenUp::Kept),
            GivenUp::TreesChanged => return Ok(GivenUp::TreesChanged),
        };
        failpoint::hit("give up: before the record");
        if let Err(err) = txn.commit() {
            self.note_unclear(&trashed);
            return Err(err);
        }
        failpoint::hit("give up: record written");
        tracing::info!(namespace = %name.0, snapshot = name.1, "a retained snapshot is given up: no lease holds it");
        self.reclaim(&trashed);
        Ok(GivenUp::Gone(()))
    }
}
