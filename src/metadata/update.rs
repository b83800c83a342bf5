//! Update: labels are the only thing that changes.

use super::{Snapshot, Transaction};
use crate::Result;
use crate::types::{Labels, SnapshotKey};

/// Which labels an Update changes, from its field mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelUpdate {
    /// All of them are replaced (no mask, or `labels`).
    Replace(Labels),
    /// Those are set, or removed where the value is empty or missing (`labels.<key>`).
    Merge(Vec<(String, Option<String>)>),
}

impl LabelUpdate {
    /// Returns what labels are after the change.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a label that is too long.
    pub fn apply(self, mut labels: Labels) -> Result<Labels> {
        match self {
            LabelUpdate::Replace(new) => labels = new,
            LabelUpdate::Merge(changes) => {
                for (label, value) in changes {
                    match value {
                        Some(value) => labels.insert(label, value)?,
                        None => labels.remove(&label),
                    };
                }
            }
        }
        Ok(labels)
    }
}

impl Transaction<'_> {
    /// Changes the labels of a snapshot and returns what it is now.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); [`Error::Invalid`](crate::Error::Invalid) for a label that is too
    /// long.
    pub fn update(&mut self, key: &SnapshotKey, update: LabelUpdate) -> Result<Snapshot> {
        let mut snapshot = self.snapshot(key)?;
        snapshot.labels = update.apply(snapshot.labels)?;
        snapshot.updated_at = self.now;
        self.put_snapshot(key, &snapshot);
        self.note_snapshot(key, &snapshot);
        Ok(snapshot)
    }
}
