//! Prepare and View: the directory first, the record last.

use crate::failpoint;
use crate::metadata::{CreateSnapshot, Kind, Snapshot};
use crate::overlay::{Attributes, LayerDirs, LayerKind, Mount, root_pair};
use crate::types::{Labels, LayerId, Scope, SnapshotKey, SnapshotLease, label};
use crate::{Error, Result};

use super::Snapshotter;
use super::unclear::UnclearLayer;

/// What a client wants prepared.
pub type Create = CreateSnapshot;

impl Snapshotter {
    /// Makes an active snapshot or a view, and returns how to mount it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the parent, [`Error::Invalid`] for a parent that is not committed or a bad id mapping,
    /// [`Error::AlreadyExists`] for the key, [`Error::NoSpace`] when too little is free. On the API socket a lease is
    /// given what exists already, and [`Error::NotFound`] means also that there is no such lease.
    pub fn create(&self, create: Create) -> Result<Vec<Mount>> {
        match self.create_new(&create) {
            Err(Error::AlreadyExists(resource)) => {
                self.lease_existing(create.names()?, create.lease.as_ref())?;
                Err(Error::AlreadyExists(resource))
            }
            result => self.note_no_space(result),
        }
    }

    /// Adds the first of `names` that exists to the lease of a request on the API socket.
    pub(super) fn lease_existing(&self, names: Vec<SnapshotKey>, lease: Option<&SnapshotLease>) -> Result<()> {
        let Some(lease) = lease else { return Ok(()) };
        for name in names.iter().filter(|name| matches!(name.scope(), Scope::Api(_))) {
            if self.metadata.snapshot(name).is_err() {
                continue;
            }
            let mut txn = self.metadata.write(self.now())?;
            txn.lease_existing(name, lease)?;
            return txn.commit();
        }
        Ok(())
    }

    fn create_new(&self, create: &Create) -> Result<Vec<Mount>> {
        // Fails early, before a directory is made; the transaction checks again.
        let parent = self.metadata.check_create(create)?;
        if let Some(target) = self.create_known(create, parent.as_ref())? {
            return Err(Error::AlreadyExists(target));
        }
        self.require_free_space()?;
        self.settle_unclear();
        let snapshot = match (create.kind, &parent) {
            // All that a view shows is its parents' layers.
            (Kind::View, Some(_)) => self.create_record(create.clone(), None)?,
            _ => self.create_with_layer(create.clone(), parent.as_ref())?,
        };
        Ok(self.mounts_of(&create.key, &snapshot, None))
    }

    fn create_with_layer(&self, create: Create, parent: Option<&Snapshot>) -> Result<Snapshot> {
        let kind = if create.kind == Kind::View { LayerKind::View } else { LayerKind::Active };
        let attributes = root_attributes(&self.dirs, &create.labels, parent.and_then(|parent| parent.layer));
        if let Err(Error::Fs { .. }) = attributes {
            // The parent's directory goes after its record: if it was removed meanwhile, that is the answer.
            self.metadata.check_create(&create)?;
        }
        let attributes = attributes?;
        let id = self.metadata.allocate_layer();
        let staged = self.staged.note(id)?;
        let pending = self.dirs.create(id, kind, attributes)?;
        failpoint::hit("create: directory made");
        let mut txn = self.metadata.write(self.now())?;
        let snapshot = txn.create(create, Some(id))?;
        // From here on a failure leaves a directory that no record may name.
        pending.keep();
        failpoint::hit("create: before the record");
        if let Err(err) = txn.commit() {
            self.unclear.note(UnclearLayer { id, _staged: Some(staged) });
            return Err(err);
        }
        failpoint::hit("create: record written");
        Ok(snapshot)
    }

    fn create_record(&self, create: Create, layer: Option<LayerId>) -> Result<Snapshot> {
        let mut txn = self.metadata.write(self.now())?;
        let snapshot = txn.create(create, layer)?;
        txn.commit()?;
        Ok(snapshot)
    }
}

/// Owner and mode of a new root directory: the mapped root user where the client asks for a mapping, else what the
/// root of the parent's layer has, because the upper directory's attributes are what a container sees at `/`.
pub(super) fn root_attributes(dirs: &LayerDirs, labels: &Labels, parent: Option<LayerId>) -> Result<Attributes> {
    let inherited = match parent {
        Some(layer) => dirs.attributes_of(layer)?,
        None => Attributes::default(),
    };
    let mapped = root_pair(labels.get(label::UID_MAPPING), labels.get(label::GID_MAPPING))?;
    Ok(match mapped {
        Some((uid, gid)) => Attributes { uid, gid, ..inherited },
        None => inherited,
    })
}

/// Makes the directory of an active snapshot or a view again, with the attributes that it was made with; empty, when
/// nothing was left of it.
pub(super) fn recreate(dirs: &LayerDirs, layer: LayerId, snapshot: &Snapshot) -> Result<()> {
    let kind = if snapshot.kind == Kind::Active { LayerKind::Active } else { LayerKind::View };
    // A parent that is missing, too, is reported by itself.
    let attributes =
        root_attributes(dirs, &snapshot.labels, snapshot.parent_layers.first().copied()).unwrap_or_default();
    dirs.recreate(layer, kind, attributes)?;
    Ok(())
}
