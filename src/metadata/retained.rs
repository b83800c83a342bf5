//! Snapshots that containerd removed while a lease named them.
//!
//! A retained snapshot is no snapshot any more: it is not listed, has no children, and its key is free. It is one more
//! reference to its own layer and to those of all its parents, so that these stay when containerd removes the parents.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::damaged::DamagedRecord;
use super::record::{Kind, Retained, Snapshot};
use super::{Consistent, Metadata, Transaction, TreesSeen, schema};
use crate::store::Column;
use crate::types::{LayerId, LeaseId, MemberKind, Namespace, Scope, SnapshotKey};
use crate::{Chain, Result};

/// Where a retained snapshot is found: the namespace of its lease, and its name there.
pub type RetainedName = (Namespace, String);

/// What became of something retained that nothing seemed to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenUp<T> {
    /// It is gone, and with it this.
    Gone(T),
    /// It is held by now, or not there any more.
    Kept,
    /// Leases hold trees that were not looked at.
    TreesChanged,
}

impl Metadata {
    /// Reads a retained snapshot.
    ///
    /// # Errors
    /// Those of the store.
    pub fn retained(&self, namespace: &Namespace, name: &str) -> Result<Option<Retained>> {
        let bytes = self.store.get(Column::Retained, &schema::retained(namespace, name))?;
        bytes.as_deref().map(Retained::decode).transpose()
    }

    /// Returns the names of up to `limit` retained snapshots after `after`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn retained_names(&self, after: Option<&RetainedName>, limit: usize) -> Result<Vec<RetainedName>> {
        let after = after.map(|(namespace, name)| schema::retained(namespace, name));
        let entries = self.store.page(Column::Retained, &[], after.as_deref(), limit)?;
        entries.iter().map(|(key, _)| schema::parse_retained(key)).collect()
    }

    /// Returns the unexpired lease that holds a retained snapshot. `kind` is how leases name our snapshots.
    ///
    /// # Errors
    /// Those of the store.
    pub fn retained_by(
        &self,
        kind: &MemberKind,
        (namespace, name): &RetainedName,
        now: SystemTime,
    ) -> Result<Option<LeaseId>> {
        self.held_by(namespace, kind, name, now)
    }
}

impl Consistent<'_> {
    /// Calls `visit` with every retained snapshot, in the order of their names. A record that cannot be decoded is
    /// passed as an error.
    ///
    /// # Errors
    /// Those of `visit`, and of the store.
    pub fn each_retained(
        &self,
        mut visit: impl FnMut(Result<(RetainedName, Retained), DamagedRecord>) -> Result<()>,
    ) -> Result<()> {
        self.txn.scan(Column::Retained, &[], |key, value| {
            let read = schema::parse_retained(key).and_then(|name| Ok((name, Retained::decode(value)?)));
            visit(read.map_err(|err| DamagedRecord::new(Column::Retained, key, value, &err)))
        })
    }
}

impl Transaction<'_> {
    /// Returns the unexpired lease that holds a snapshot, and its namespace. Only what came through the plugin socket
    /// is held: what a client of the API socket removes, it wants gone.
    pub(super) fn holder(&self, kind: &MemberKind, key: &SnapshotKey) -> Result<Option<(Namespace, LeaseId)>> {
        let namespace = match key.scope() {
            Scope::Plugin => key.namespace(),
            Scope::Api(_) => None,
        };
        // Containerd waits for every removal, and most pools have no lease. Once there was one, it is looked for until the
        // next start; what was rolled back or lost meanwhile costs no more than that.
        let may_be_leased = self.metadata.has_members.load(Ordering::Relaxed);
        let Some(namespace) = namespace.filter(|_| may_be_leased) else { return Ok(None) };
        let lease = self.held_by(&namespace, kind, key.client_key(), self.now)?;
        Ok(lease.map(|lease| (namespace, lease)))
    }

    /// Whether a committed snapshot of that name is retained, or what was one and cannot be read.
    pub(super) fn is_retained(&self, namespace: &Namespace, name: &str) -> Result<bool> {
        let bytes = self.txn.get(Column::Retained, &schema::retained(namespace, name))?;
        let committed =
            |bytes: Vec<u8>| Retained::decode(&bytes).map_or(true, |one| one.snapshot.kind == Kind::Committed);
        Ok(bytes.is_some_and(committed))
    }

    /// Makes a snapshot a retained one. One of the same name that was retained before gives way: the name means what
    /// containerd had under it last, and keeping every generation would keep an image once for each time it was pulled.
    /// Returns the layers that nothing names any more.
    pub(super) fn retain(
        &mut self,
        namespace: &Namespace,
        key: &SnapshotKey,
        snapshot: Snapshot,
    ) -> Result<Vec<LayerId>> {
        let name = schema::retained(namespace, key.client_key());
        let older = self.txn.get(Column::Retained, &name)?;
        self.delete_snapshot(key, &snapshot);
        for id in &snapshot.parent_layers {
            self.add_reference(*id)?;
        }
        let retained = Retained { snapshot, key: key.clone(), removed_at: self.now };
        self.txn.put(Column::Retained, name, retained.encode());
        // Last, so that a layer which both name stays.
        match older.as_deref().map(Retained::decode) {
            Some(Ok(older)) => self.release_all(&older),
            Some(Err(err)) => {
                // Damage, which must not keep containerd from removing snapshots; fsck finds the layers that it named.
                tracing::error!(error = %Chain(&err), %namespace, "a retained snapshot cannot be read; see leasehold fsck");
                Ok(Vec::new())
            }
            None => Ok(Vec::new()),
        }
    }

    /// Gives up a retained snapshot that no tree held, unless it was removed anew since `removed_at`, or an unexpired lease
    /// names it. Layers that nothing names any more go to `trash`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn give_up_retained(
        &mut self,
        kind: &MemberKind,
        name: &RetainedName,
        removed_at: SystemTime,
        trees: TreesSeen,
    ) -> Result<GivenUp<Vec<LayerId>>> {
        if self.trees_seen() != trees {
            return Ok(GivenUp::TreesChanged);
        }
        let bytes = self.txn.get(Column::Retained, &schema::retained(&name.0, &name.1))?;
        let now = bytes.as_deref().map(Retained::decode).transpose()?;
        let same = now.is_some_and(|now| now.removed_at == removed_at);
        if !same || self.held_by(&name.0, kind, &name.1, self.now)?.is_some() {
            return Ok(GivenUp::Kept);
        }
        Ok(self.drop_retained(name)?.map_or(GivenUp::Kept, GivenUp::Gone))
    }

    /// Gives up a retained snapshot, held or not.
    ///
    /// # Errors
    /// Those of the store.
    pub fn drop_retained(&mut self, (namespace, name): &RetainedName) -> Result<Option<Vec<LayerId>>> {
        let key = schema::retained(namespace, name);
        let Some(bytes) = self.txn.get(Column::Retained, &key)? else { return Ok(None) };
        let trashed = self.release_all(&Retained::decode(&bytes)?)?;
        self.txn.delete(Column::Retained, key);
        for id in &trashed {
            self.trash(*id);
        }
        Ok(Some(trashed))
    }

    fn release_all(&mut self, retained: &Retained) -> Result<Vec<LayerId>> {
        let mut released = Vec::new();
        for id in retained.layers() {
            released.extend(self.release(id)?);
        }
        Ok(released)
    }
}
