//! Telling a client that says what it will unpack that it need not fetch it: the snapshot is made at once.
//!
//! containerd takes AlreadyExists for the snapshot that a label names as a success, looks for a committed one with that label
//! on the same parent, and fetches nothing. The blob is missing in its namespace then, so that this is asked for in the
//! configuration or not done.

use crate::metadata::{Kind, Snapshot};
use crate::types::{Digest, Scope, SnapshotKey, label};
use crate::{Resource, Result, failpoint};

use super::Snapshotter;
use super::create::{Create, root_attributes};
use super::reuse::Below;

impl Snapshotter {
    /// Makes the committed snapshot that an extraction was to become, if a known layer holds what it was to hold. Returns what
    /// exists now.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub(super) fn create_known(&self, create: &Create, parent: Option<&Snapshot>) -> Result<Option<Resource>> {
        if !self.settings.reuse.fetch || create.kind != Kind::Active {
            return Ok(None);
        }
        let (Some(target), Some(diff_id)) = (create.labels.get(label::SNAPSHOT_REF), create.labels.get(label::DIFF_ID))
        else {
            return Ok(None);
        };
        let (Some(namespace), Ok(diff_id)) = (self.shares_in(&create.key), Digest::parse(diff_id)) else {
            return Ok(None);
        };
        if parent.is_none() && create.labels.get(label::PARENT_CHAIN_ID).is_some() {
            // The parent is named at Commit: containerd would look for the snapshot without one, and not find it.
            return Ok(None);
        }
        let below = Below::Known(parent.map(Snapshot::layers_for_children).unwrap_or_default());
        let found = self.metadata.known_layer(&namespace, &diff_id, &below.variants())?;
        let Some((layer, known)) = found.filter(|(_, known)| below.can_have(known)) else { return Ok(None) };
        let root = || root_attributes(&self.dirs, &create.labels, parent.and_then(|parent| parent.layer));
        if !self.fits_root(layer, &known, root)? {
            return Ok(None);
        }
        // Its own clients look for the name, and containerd for the label.
        let name = match create.key.scope() {
            Scope::Api(_) => SnapshotKey::parse_in(create.key.scope().clone(), target)?,
            Scope::Plugin => create.key.clone(),
        };
        let mut txn = self.metadata.write(self.now())?;
        if txn.create_known(create.clone(), &name, (layer, &known))?.is_none() {
            return Ok(None);
        }
        failpoint::hit("create known: before the record");
        txn.commit()?;
        failpoint::hit("create known: record written");
        tracing::debug!(key = create.key.as_str(), %layer, "a snapshot is made of a known layer; its blob need not be fetched");
        Ok(Some(Resource::Snapshot(target.to_owned())))
    }
}
