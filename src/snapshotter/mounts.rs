//! Mounts: from records to what a client mounts.

use crate::metadata::{Kind, Snapshot};
use crate::overlay::{self, LayerKind, Mount, MountPlan};
use crate::types::{LayerId, SnapshotKey, label};
use crate::{Error, Resource, Result};

use super::Snapshotter;

impl Snapshotter {
    /// Returns how to mount an active snapshot or a view.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::WrongState`] for a committed snapshot.
    pub fn mounts(&self, key: &SnapshotKey) -> Result<Vec<Mount>> {
        let snapshot = self.metadata.snapshot(key)?;
        if snapshot.kind == Kind::Committed {
            let resource = Resource::Snapshot(key.as_str().to_owned());
            return Err(Error::WrongState { resource, problem: "is not active or a view" });
        }
        Ok(self.mounts_of(key, &snapshot))
    }

    pub(super) fn mounts_of(&self, key: &SnapshotKey, snapshot: &Snapshot) -> Vec<Mount> {
        let plan = MountPlan {
            kind: if snapshot.kind == Kind::View { LayerKind::View } else { LayerKind::Active },
            // A view with parents has no layer of its own, and none is used in its mount.
            id: snapshot.layer.unwrap_or(LayerId::new(0)),
            parents: &snapshot.parent_layers,
            uid_mapping: snapshot.labels.get(label::UID_MAPPING),
            gid_mapping: snapshot.labels.get(label::GID_MAPPING),
            extraction: is_extraction(key, snapshot),
        };
        overlay::mounts(&plan, self.layout(), &self.settings.mounts)
    }
}

/// Whether a layer is about to be unpacked here, with its parent to be named at Commit.
///
/// Unpackers begin their keys with `extract-`. Since containerd 2.3 the parent to be is in a label as well; before, a
/// base layer and a layer of a parallel unpack look the same, and the answer serves both.
fn is_extraction(key: &SnapshotKey, snapshot: &Snapshot) -> bool {
    snapshot.kind == Kind::Active && snapshot.parent.is_none() && key.client_key().starts_with("extract-")
}
