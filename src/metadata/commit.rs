//! Commit, with rebase.

use super::read::named;
use super::record::{Kind, Layer, Snapshot, Usage};
use super::{Transaction, schema};
use crate::store::Column;
use crate::types::{Labels, LayerId, SnapshotKey, SnapshotLease};
use crate::{Error, Result};

/// Turns the active snapshot `key` into the committed snapshot `name`.
#[derive(Clone, Debug)]
pub struct CommitActive {
    /// The committed snapshot to be.
    pub name: SnapshotKey,
    /// The active snapshot.
    pub key: SnapshotKey,
    /// Only for a snapshot that was prepared without a parent.
    pub parent: Option<SnapshotKey>,
    /// Replace those of the active snapshot.
    pub labels: Labels,
    /// The lease that is to name it, and no longer the active snapshot.
    pub lease: Option<SnapshotLease>,
}

impl Transaction<'_> {
    /// Commits an active snapshot. The layer and the snapshot's number stay; the key is gone.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for the name, [`Error::NotFound`] for the key or the new parent,
    /// and on the API socket for the lease; [`Error::WrongState`] for a snapshot that is not active or a new parent that is not committed,
    /// [`Error::Invalid`] for another parent than it was prepared with.
    pub fn commit_active(&mut self, commit: CommitActive) -> Result<Snapshot> {
        self.require_absent(&commit.name)?;
        let active = self.snapshot(&commit.key)?;
        if active.kind != Kind::Active {
            return Err(Error::WrongState { resource: named(&commit.key), problem: "is not active" });
        }
        let mut committed = Snapshot {
            kind: Kind::Committed,
            labels: commit.labels,
            created_at: self.now,
            updated_at: self.now,
            ..active
        };
        if let Some(parent) = commit.parent {
            self.rebase(&commit.key, &mut committed, parent)?;
        }
        self.lease_snapshot(&commit.name, commit.lease.as_ref())?;
        self.unlease_snapshot(&commit.key, commit.lease.as_ref())?;
        self.txn.delete(Column::Snapshots, schema::snapshot(&commit.key));
        self.put_snapshot(&commit.name, &committed);
        self.note_snapshot(&commit.name, &committed);
        Ok(committed)
    }

    fn rebase(&mut self, key: &SnapshotKey, snapshot: &mut Snapshot, name: SnapshotKey) -> Result<()> {
        if let Some(existing) = &snapshot.parent {
            return if *existing == name {
                Ok(())
            } else {
                Err(Error::invalid("parent", format!("{} was prepared on another one", named(key))))
            };
        }
        let parent = self.snapshot(&name)?;
        if parent.kind != Kind::Committed {
            return Err(Error::WrongState { resource: named(&name), problem: "is not committed" });
        }
        self.txn.put(Column::Children, schema::child(parent.id, snapshot.id), Vec::new());
        snapshot.parent_layers = parent.layers_for_children();
        snapshot.parent_id = parent.id;
        snapshot.parent = Some(name);
        Ok(())
    }

    /// Stores the disk usage of a committed layer; nothing happens when the layer is gone.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_usage(&mut self, id: LayerId, usage: Usage) -> Result<()> {
        if let Some(layer) = self.layer(id)? {
            let layer = Layer { usage: Some(usage), ..layer };
            self.txn.put(Column::Layers, schema::layer(id), layer.encode());
        }
        Ok(())
    }
}
