//! Mounts: from records to what a client mounts.

use std::borrow::Cow;

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
        let staged = self.open_for_writing(&snapshot)?;
        Ok(self.mounts_of(key, &snapshot, staged))
    }

    /// Returns the layer that is staged for a snapshot. Of one to which something was applied nobody knows from now on what it
    /// holds: who asks for the mounts may write there. A staged layer is not written to, and that its own stayed empty Commit
    /// sees.
    fn open_for_writing(&self, snapshot: &Snapshot) -> Result<Option<LayerId>> {
        let Some(layer) = snapshot.layer.filter(|_| snapshot.kind == Kind::Active) else { return Ok(None) };
        if !self.metadata.layer(layer)?.is_some_and(|record| record.applied) {
            return Ok(None);
        }
        let Some(applied) = self.metadata.applied(layer)? else { return Ok(None) };
        if applied.staged.is_none() && applied.verified {
            let mut txn = self.note_no_space(self.metadata.write(self.now()))?;
            if txn.unverify(layer)? {
                self.note_no_space(txn.commit_unsynced())?;
            }
        }
        Ok(applied.staged)
    }

    /// Returns how to mount a snapshot. A layer that is staged for it is the first one below.
    pub(super) fn mounts_of(&self, key: &SnapshotKey, snapshot: &Snapshot, staged: Option<LayerId>) -> Vec<Mount> {
        let parents: Cow<'_, [LayerId]> = match staged {
            Some(staged) => [&[staged], &*snapshot.parent_layers].concat().into(),
            None => (&snapshot.parent_layers).into(),
        };
        let plan = MountPlan {
            kind: if snapshot.kind == Kind::View { LayerKind::View } else { LayerKind::Active },
            // A view with parents has no layer of its own, and none is used in its mount.
            id: snapshot.layer.unwrap_or(LayerId::new(0)),
            parents: &parents,
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
pub(super) fn is_extraction(key: &SnapshotKey, snapshot: &Snapshot) -> bool {
    snapshot.kind == Kind::Active && snapshot.parent.is_none() && key.client_key().starts_with("extract-")
}
