//! Commit.

use std::path::Path;

use crate::failpoint;
use crate::metadata::{Commit, CommitActive, Committed, Transaction};
use crate::{Error, Resource, Result, overlay};

use super::Snapshotter;

impl Snapshotter {
    /// Turns an active snapshot into a committed one. Takes the same time for a layer of any size: its usage is
    /// counted before or afterwards, and its data was made durable by who wrote it, unless the pool is set to do that here.
    /// Where a known layer holds the same, the snapshot has that one.
    ///
    /// # Errors
    /// As for [`Transaction::commit_active`](crate::metadata::Transaction::commit_active); [`Error::WrongState`] also while something is applied to it, and after
    /// it was written to where a known layer had taken its place.
    pub fn commit(&self, commit: CommitActive) -> Result<()> {
        if self.settings.sync_layers_on_commit
            && let Some(layer) = self.metadata.snapshot(&commit.key)?.layer
        {
            overlay::sync_file_system(Path::new(&self.layout().upperdir(layer)))?;
        }
        failpoint::hit("commit: before the record");
        let committed = match self.commit_record(&commit) {
            Err(Error::AlreadyExists(resource)) => {
                self.lease_existing(vec![commit.name], commit.lease.as_ref())?;
                return Err(Error::AlreadyExists(resource));
            }
            result => result?,
        };
        failpoint::hit("commit: record written");
        self.reclaim(&committed.trashed);
        if let Some(layer) = committed.snapshot.layer {
            self.counting.enqueue(layer);
        }
        Ok(())
    }

    fn commit_record(&self, commit: &CommitActive) -> Result<Committed> {
        let (mut settled, mut turn) = (None, None);
        loop {
            let mut txn = self.note_no_space(self.metadata.write(self.now()))?;
            match txn.commit_active(commit, settled.as_ref())? {
                Commit::Done(committed) => {
                    // Within the transaction: see `begin_apply`.
                    if turn.is_none() && committed.written.is_some_and(|layer| self.turns.has(layer)) {
                        return Err(being_applied_to(commit));
                    }
                    self.commit_done(txn, &committed)?;
                    return Ok(committed);
                }
                Commit::Unsettled(unsettled) => {
                    drop(txn);
                    if turn.is_none() {
                        turn = Some(self.take_turn(unsettled.layer).map_err(|_| being_applied_to(commit))?);
                    }
                    settled = Some(self.settle(commit, *unsettled)?);
                    failpoint::hit("commit: settled");
                }
            }
        }
    }

    fn commit_done(&self, txn: Transaction<'_>, committed: &Committed) -> Result<()> {
        self.note_no_space(txn.commit()).inspect_err(|_| self.note_unclear(&committed.trashed))
    }
}

fn being_applied_to(commit: &CommitActive) -> Error {
    let resource = Resource::Snapshot(commit.key.as_str().to_owned());
    Error::WrongState { resource, problem: "is being applied to" }
}
