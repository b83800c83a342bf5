//! Repairs of records by which layers are used again.

use std::time::SystemTime;

use crate::Result;
use crate::metadata::{Kind, ReuseFault};
use crate::types::{LayerId, SnapshotKey};

use super::super::fsck::Check;

impl Check<'_> {
    pub(super) fn repair_reuse(&self, fault: &ReuseFault, trash: &mut Vec<LayerId>) -> Result<String> {
        let lost = match fault {
            ReuseFault::StagedWithoutLayer(id, _) => Some(*id),
            // It may have been one for which a layer was staged. Committed, it would be an empty one.
            ReuseFault::MissingApplied(id) if !self.dirs.has_content(*id)? => Some(*id),
            _ => None,
        };
        if let Some(id) = lost {
            let mut dropped = Vec::new();
            for (key, _) in self.snapshots.iter().filter(|(_, one)| one.layer == Some(id)) {
                dropped.extend(self.drop_tree(key)?);
            }
            return Ok(format!("dropped: {}", dropped.join(", ")));
        }
        let mut txn = self.metadata.write(SystemTime::now())?;
        let unnamed = txn.repair_reuse(fault)?;
        txn.commit()?;
        trash.extend(unnamed);
        Ok(match fault {
            ReuseFault::WrongEntry(..) | ReuseFault::StaleApplied(_) => "deleted",
            ReuseFault::MissingEntry(_) => "entered, or no longer used, where another layer holds the same",
            ReuseFault::MissingApplied(_) | ReuseFault::StagedWithoutLayer(..) => "taken for written by somebody",
        }
        .into())
    }

    /// Returns the active snapshots for which a layer is staged.
    pub(super) fn staged_with(&self, id: LayerId) -> impl Iterator<Item = &SnapshotKey> {
        self.snapshots.iter().filter(move |(_, one)| one.kind == Kind::Active).filter_map(move |(key, one)| {
            let applied = self.applied.get(&one.layer?)?;
            (applied.staged == Some(id)).then_some(key)
        })
    }
}
