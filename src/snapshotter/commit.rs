//! Commit.

use std::path::Path;

use crate::failpoint;
use crate::metadata::CommitActive;
use crate::{Error, Result, overlay};

use super::Snapshotter;

impl Snapshotter {
    /// Turns an active snapshot into a committed one. Takes the same time for a layer of any size: its usage is
    /// counted afterwards, and its data was made durable by who wrote it, unless the pool is set to do that here.
    ///
    /// # Errors
    /// As for [`Transaction::commit_active`](crate::metadata::Transaction::commit_active).
    pub fn commit(&self, commit: CommitActive) -> Result<()> {
        if self.settings.sync_layers_on_commit
            && let Some(layer) = self.metadata.snapshot(&commit.key)?.layer
        {
            overlay::sync_file_system(Path::new(&self.layout().upperdir(layer)))?;
        }
        failpoint::hit("commit: before the record");
        let mut txn = self.note_no_space(self.metadata.write(self.now()))?;
        let (name, lease) = (commit.name.clone(), commit.lease.clone());
        let committed = match txn.commit_active(commit) {
            Err(Error::AlreadyExists(resource)) => {
                drop(txn);
                self.lease_existing(vec![name], lease.as_ref())?;
                return Err(Error::AlreadyExists(resource));
            }
            result => result?,
        };
        self.note_no_space(txn.commit())?;
        failpoint::hit("commit: record written");
        if let Some(layer) = committed.layer {
            self.counting.enqueue(layer);
        }
        Ok(())
    }
}
