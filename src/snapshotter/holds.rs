//! Retained snapshots that no lease holds any more.

use crate::metadata::RetainedName;
use crate::{Error, Result, failpoint};

use super::Snapshotter;

/// How many retained snapshots are looked at between two looks at whether to stop.
const PAGE: usize = 256;

impl Snapshotter {
    /// Gives up all retained snapshots that no unexpired lease holds, one short transaction each, and returns their
    /// names. `go_on` is asked now and then whether to.
    ///
    /// # Errors
    /// Those of the store; what was given up before stays so.
    pub fn give_up_unheld(&self, mut go_on: impl FnMut() -> bool) -> Result<Vec<RetainedName>> {
        let mut given_up = Vec::new();
        let mut after = None;
        while go_on() {
            let page = self.metadata.retained_names(after.as_ref(), PAGE)?;
            for name in &page {
                // Without the write lock first: nearly all are held.
                if self.metadata.retained_by(&self.member_kind, name, self.now())?.is_some() {
                    continue;
                }
                match self.give_up(name) {
                    Ok(true) => given_up.push(name.clone()),
                    Ok(false) => {}
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

    /// Gives up a retained snapshot; false when a lease holds it by now.
    fn give_up(&self, name: &RetainedName) -> Result<bool> {
        let mut txn = self.metadata.write(self.now())?;
        let Some(trashed) = txn.give_up_retained(&self.member_kind, name)? else { return Ok(false) };
        failpoint::hit("give up: before the record");
        if let Err(err) = txn.commit() {
            self.note_unclear(&trashed);
            return Err(err);
        }
        failpoint::hit("give up: record written");
        tracing::info!(namespace = %name.0, snapshot = name.1, "a retained snapshot is given up: no lease holds it");
        self.reclaim(&trashed);
        Ok(true)
    }
}
