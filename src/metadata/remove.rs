//! Remove.

use super::read::named;
use super::record::{Kind, Snapshot, encode_trash};
use super::{Retention, Transaction, schema};
use crate::store::Column;
use crate::types::{Digest, LayerId, LeaseId, MemberKind, Namespace, Scope, SnapshotKey};
use crate::{Error, Result};

/// What a removal left to do.
#[derive(Debug)]
pub struct Removed {
    /// Layers that no record names any more; they are in `trash`.
    pub trashed: Vec<LayerId>,
    /// The lease because of which the snapshot is retained.
    pub held_by: Option<LeaseId>,
    /// Whether that is one of the daemon's own.
    pub by_policy: bool,
    /// Whether it is retained until a collection finds out whether a tree holds it.
    pub undecided: bool,
}

impl Transaction<'_> {
    /// Removes a snapshot. Where a lease holds it, or may with a tree, or the daemon keeps such a one for a while, it becomes a
    /// retained one;
    /// else a layer that loses its last reference goes to `trash` in the same transaction. `kind` is how leases name our
    /// snapshots.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::HasChildren`].
    pub fn remove(&mut self, kind: &MemberKind, key: &SnapshotKey, retention: Option<&Retention>) -> Result<Removed> {
        let snapshot = self.snapshot(key)?;
        if self.txn.has_prefix(Column::Children, &schema::children_of(snapshot.id))? {
            return Err(Error::HasChildren(named(key)));
        }
        // Then it is retained, whatever else holds it: its time counts from the removal, also under another lease.
        let by_policy = match retention {
            Some(retention) => self.lease_by_policy(retention, kind, key, &snapshot)?,
            None => None,
        };
        let holder = match &by_policy {
            Some(_) => by_policy.clone(),
            None => self.holder(kind, key)?,
        };
        // A container's own layer must not take the place of an image's that has its name.
        let committed = snapshot.kind == Kind::Committed;
        let holder = match holder {
            Some((namespace, _)) if !committed && self.is_retained(&namespace, key.client_key())? => None,
            holder => holder,
        };
        let in_tree = if holder.is_none() { self.may_be_in_tree(key, &snapshot) } else { None };
        let undecided = in_tree.is_some();
        let (trashed, held_by) = match (holder, in_tree) {
            (Some((namespace, lease)), _) => (self.retain(&namespace, key, snapshot)?, Some(lease)),
            (None, Some(namespace)) => (self.retain(&namespace, key, snapshot)?, None),
            (None, None) => (self.drop_snapshot(key, &snapshot)?, None),
        };
        for id in &trashed {
            self.trash(*id);
        }
        Ok(Removed { trashed, held_by, by_policy: by_policy.is_some(), undecided })
    }

    /// Returns the namespace of a snapshot that containerd removes and that a tree there may hold: that of a layer, which
    /// is committed and has a digest as its name.
    fn may_be_in_tree(&self, key: &SnapshotKey, snapshot: &Snapshot) -> Option<Namespace> {
        let is_layer = *key.scope() == Scope::Plugin && snapshot.kind == Kind::Committed;
        let namespace = if is_layer { key.namespace()? } else { return None };
        (self.has_trees(Some(&namespace)) && Digest::parse(key.client_key()).is_ok()).then_some(namespace)
    }

    /// Removes a snapshot's records; returns the layers that nothing names any more: its own, and one that was staged for it.
    pub(super) fn drop_snapshot(&mut self, key: &SnapshotKey, snapshot: &Snapshot) -> Result<Vec<LayerId>> {
        self.delete_snapshot(key, snapshot);
        snapshot.layer.map_or(Ok(Vec::new()), |id| self.release(id))
    }

    /// Deletes a snapshot's records, and leaves its layer as it is.
    pub(super) fn delete_snapshot(&mut self, key: &SnapshotKey, snapshot: &Snapshot) {
        self.txn.delete(Column::Snapshots, schema::snapshot(key));
        if snapshot.parent.is_some() {
            self.txn.delete(Column::Children, schema::child(snapshot.parent_id, snapshot.id));
        }
    }

    /// Records that the directory of a layer is to be reclaimed.
    pub(super) fn trash(&mut self, id: LayerId) {
        let usage = self.freed.iter().find(|(freed, _)| *freed == id).map(|(_, usage)| *usage);
        self.txn.put(Column::Trash, schema::layer(id), encode_trash(self.now, usage));
    }
}
