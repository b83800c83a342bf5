//! Trash, and the repairs of `fsck`.

use std::collections::HashSet;

use super::{Kind, Layer, Transaction, schema};
use crate::store::Column;
use crate::types::{LayerId, SnapshotKey};
use crate::{Error, Result};

impl Transaction<'_> {
    /// Forgets a layer whose directory is gone.
    pub fn reclaimed(&mut self, id: LayerId) {
        self.txn.delete(Column::Trash, schema::layer(id));
    }

    /// Puts a directory that no record names into `trash`.
    ///
    /// Returns false, changing nothing, when a record names it after all.
    ///
    /// # Errors
    /// Those of the store.
    pub fn trash_orphan(&mut self, id: LayerId) -> Result<bool> {
        if self.layer(id)?.is_some() {
            return Ok(false);
        }
        self.trash(id);
        Ok(true)
    }

    /// Removes the record of a damaged snapshot whatever its children are. Returns the layers that nothing names any
    /// more; they do not go to `trash`, because the caller sets their directories aside.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn drop_damaged(&mut self, key: &SnapshotKey) -> Result<Vec<LayerId>> {
        let snapshot = self.snapshot(key)?;
        self.drop_snapshot(key, &snapshot)
    }

    /// Sets the number of references of a layer to what was counted. Returns the layers that nothing names any more, which
    /// are in `trash`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn repair_references(&mut self, id: LayerId, references: u32) -> Result<Vec<LayerId>> {
        let layer = self.layer(id)?;
        if references == 0 {
            let unnamed = self.forget_layer(id, layer.as_ref())?;
            unnamed.iter().for_each(|id| self.trash(*id));
            Ok(unnamed)
        } else {
            self.put_layer(id, &Layer { references, ..layer.unwrap_or_default() });
            Ok(Vec::new())
        }
    }

    /// Makes the record of a layer again that a snapshot names.
    ///
    /// # Errors
    /// Those of the store.
    pub fn remake_layer(&mut self, id: LayerId, references: u32, of: &SnapshotKey) -> Result<()> {
        let active = (self.snapshot(of)?.kind == Kind::Active).then(|| of.clone());
        let applied = self.txn.get(Column::Applied, &schema::layer(id))?.is_some();
        self.put_layer(id, &Layer { references, active, applied, ..Layer::default() });
        Ok(())
    }

    /// Makes the list of parent layers of a snapshot anew, from the records of its parents.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the snapshot or a parent; [`Error::Corrupt`] when parents form a circle.
    pub fn repair_parent_layers(&mut self, key: &SnapshotKey) -> Result<()> {
        let mut snapshot = self.snapshot(key)?;
        snapshot.parent_layers.clear();
        let mut seen = HashSet::from([snapshot.id]);
        let mut next = snapshot.parent.clone();
        while let Some(name) = next {
            let parent = self.snapshot(&name)?;
            if !seen.insert(parent.id) {
                return Err(Error::Corrupt(format!("the parents of {} form a circle", super::read::named(key))));
            }
            snapshot.parent_layers.extend(parent.layer);
            next = parent.parent;
        }
        self.put_snapshot(key, &snapshot);
        Ok(())
    }

    /// Adds or deletes the entry of one child.
    pub fn repair_child(&mut self, parent: u64, child: u64, present: bool) {
        let key = schema::child(parent, child);
        if present {
            self.txn.put(Column::Children, key, Vec::new());
        } else {
            self.txn.delete(Column::Children, key);
        }
    }

    /// Fails unless `key` still is the snapshot with number `id` and of that kind.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is another one by now.
    pub fn require_same(&self, key: &SnapshotKey, id: u64, kind: Kind) -> Result<()> {
        let snapshot = self.snapshot(key)?;
        if snapshot.id == id && snapshot.kind == kind { Ok(()) } else { Err(Error::NotFound(super::read::named(key))) }
    }
}
