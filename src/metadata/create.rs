//! Prepare and View.

use super::read::named;
use super::record::{Kind, Known, Layer, Snapshot};
use super::{Metadata, Transaction, schema};
use crate::store::Column;
use crate::types::{Labels, LayerId, Scope, SnapshotKey, SnapshotLease, label};
use crate::{Error, Result};

/// What a new active snapshot or view is.
#[derive(Clone, Debug)]
pub struct CreateSnapshot {
    /// [`Kind::Active`] or [`Kind::View`].
    pub kind: Kind,
    /// Its key.
    pub key: SnapshotKey,
    /// The committed snapshot below it.
    pub parent: Option<SnapshotKey>,
    /// What the client attached.
    pub labels: Labels,
    /// The lease that is to name it.
    pub lease: Option<SnapshotLease>,
}

impl Metadata {
    /// Reads the parent of a snapshot to be made, and fails early where the transaction would.
    ///
    /// # Errors
    /// As for [`Transaction::create`].
    pub fn check_create(&self, create: &CreateSnapshot) -> Result<Option<Snapshot>> {
        let parent = create.parent.as_ref().map(|key| committed_parent(key, self.snapshot(key)?)).transpose()?;
        for key in create.names()? {
            match self.snapshot(&key) {
                Err(Error::NotFound(_)) => {}
                Ok(_) => return Err(Error::AlreadyExists(named(&key))),
                Err(err) => return Err(err),
            }
        }
        if let (Scope::Api(namespace), Some(lease)) = (create.key.scope(), &create.lease) {
            self.lease(namespace, &lease.id)?;
        }
        Ok(parent)
    }
}

impl CreateSnapshot {
    /// Returns the names that must be free: first that of the snapshot which is to be made of this one, if the client
    /// says it, then its own key. The plugin socket knows the former only in containerd's notation, so there it is
    /// containerd that looks.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a label that cannot be a name.
    pub fn names(&self) -> Result<Vec<SnapshotKey>> {
        let target = match (self.key.scope(), self.labels.get(label::SNAPSHOT_REF)) {
            (Scope::Api(_), Some(target)) => Some(SnapshotKey::parse_in(self.key.scope().clone(), target)?),
            _ => None,
        };
        Ok(target.into_iter().chain([self.key.clone()]).collect())
    }
}

impl Transaction<'_> {
    /// Makes an active snapshot or a view whose backing directory, if it has one, is `layer`.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the parent, and on the API socket for the lease; [`Error::Invalid`] for one that is not committed,
    /// [`Error::AlreadyExists`] for the key.
    pub fn create(&mut self, create: CreateSnapshot, layer: Option<LayerId>) -> Result<Snapshot> {
        let (kind, key) = (create.kind, create.key.clone());
        let snapshot = self.insert(create, kind, &key, layer)?;
        if let Some(layer) = layer {
            let active = (snapshot.kind == Kind::Active).then_some(key);
            self.put_layer(layer, &Layer { references: 1, active, ..Layer::default() });
        }
        Ok(snapshot)
    }

    /// Makes the committed snapshot that an active one was to become, under that name and with a known layer. `None`, with
    /// nothing changed, when the layer is not what was found any more.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub fn create_known(
        &mut self,
        create: CreateSnapshot,
        name: &SnapshotKey,
        (layer, known): (LayerId, &Known),
    ) -> Result<Option<Snapshot>> {
        if self.still_known(layer, known)?.is_none() {
            return Ok(None);
        }
        let snapshot = self.insert(create, Kind::Committed, name, Some(layer))?;
        self.add_reference(layer)?;
        Ok(Some(snapshot))
    }

    /// Makes the records of a snapshot, without that of its layer.
    fn insert(
        &mut self,
        create: CreateSnapshot,
        kind: Kind,
        key: &SnapshotKey,
        layer: Option<LayerId>,
    ) -> Result<Snapshot> {
        let parent = create.parent.as_ref().map(|key| committed_parent(key, self.snapshot(key)?)).transpose()?;
        for key in create.names()? {
            self.require_absent(&key)?;
        }
        self.lease_snapshot(key, create.lease.as_ref())?;
        if let Scope::Api(namespace) = key.scope() {
            self.ensure_namespace(namespace)?;
        }
        let snapshot = Snapshot {
            id: self.metadata.numbers.snapshot(),
            kind,
            layer,
            parent: create.parent,
            parent_id: parent.as_ref().map_or(0, |parent| parent.id),
            parent_layers: parent.as_ref().map(Snapshot::layers_for_children).unwrap_or_default(),
            labels: create.labels,
            created_at: self.now,
            updated_at: self.now,
        };
        if let Some(parent) = &parent {
            self.txn.put(Column::Children, schema::child(parent.id, snapshot.id), Vec::new());
        }
        self.put_snapshot(key, &snapshot);
        self.note_snapshot(key, &snapshot);
        self.store_counters()?;
        Ok(snapshot)
    }
}

/// Passes a committed snapshot through; containerd answers InvalidArgument for any other parent.
fn committed_parent(key: &SnapshotKey, parent: Snapshot) -> Result<Snapshot> {
    match parent.kind {
        Kind::Committed => Ok(parent),
        Kind::Active | Kind::View => Err(Error::invalid("parent", format!("{} is not committed", named(key)))),
    }
}
