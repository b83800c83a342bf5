//! Retained snapshots that no lease holds any more.

use std::time::{Duration, Instant};

use crate::metadata::RetainedName;
use crate::types::LayerId;
use crate::{Error, Result, failpoint};

use super::Snapshotter;

/// How many retained snapshots are looked at between two looks at whether to stop.
const PAGE: usize = 256;
/// For how many layers one sync is waited.
const LAYERS_AT_ONCE: usize = 256;
/// The longest rest after a transaction.
const MAX_REST: Duration = Duration::from_millis(2);

impl Snapshotter {
    /// Gives up all retained snapshots that no unexpired lease holds, one short transaction each, and returns their
    /// names. `go_on` is asked now and then whether to.
    ///
    /// # Errors
    /// Those of the store; what was given up before stays so.
    pub fn give_up_unheld(&self, mut go_on: impl FnMut() -> bool) -> Result<Vec<RetainedName>> {
        let (mut given_up, mut trashed) = (Vec::new(), Vec::new());
        let mut after = None;
        while go_on() {
            let page =
                self.metadata.retained_names(after.as_ref(), PAGE).inspect_err(|_| self.note_unclear(&trashed))?;
            for name in &page {
                let began = Instant::now();
                match self.give_up(name) {
                    Ok(Some(layers)) => {
                        trashed.extend(layers);
                        given_up.push(name.clone());
                        // As in a sweep: the lock is not fair.
                        std::thread::park_timeout(began.elapsed().min(MAX_REST));
                    }
                    Ok(None) => {}
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
            after = page.into_iter().next_back();
            if after.is_none() {
                break;
            }
        }
        self.flush(&mut trashed)?;
        Ok(given_up)
    }

    /// Gives up a retained snapshot, and returns the layers that are in trash for it; `None` when a lease holds it.
    fn give_up(&self, name: &RetainedName) -> Result<Option<Vec<LayerId>>> {
        // Without the write lock first: nearly all are held.
        if self.metadata.retained_by(&self.member_kind, name, self.now())?.is_some() {
            return Ok(None);
        }
        let mut txn = self.metadata.write(self.now())?;
        let Some(trashed) = txn.give_up_retained(&self.member_kind, name)? else { return Ok(None) };
        failpoint::hit("give up: before the record");
        // The sync comes before the directories are touched, once for many.
        txn.commit_unsynced().inspect_err(|_| self.note_unclear(&trashed))?;
        failpoint::hit("give up: record written");
        tracing::info!(namespace = %name.0, snapshot = name.1, "a retained snapshot is given up: no lease holds it");
        Ok(Some(trashed))
    }
}
