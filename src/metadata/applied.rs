//! What is applied to active layers, and staging a known layer instead.

use super::read::named;
use super::record::{AppliedLayer, Kind, Known, Layer, Snapshot};
use super::{Metadata, Transaction, schema};
use crate::store::Column;
use crate::types::{Digest, LayerId, SnapshotKey};
use crate::{Error, Resource, Result};

/// An active layer, as somebody finds it who is to apply something.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveLayer {
    /// The key of its snapshot.
    pub key: SnapshotKey,
    /// Its snapshot.
    pub snapshot: Snapshot,
    /// What was applied to it before.
    pub applied: Option<AppliedLayer>,
}

impl Metadata {
    /// Reads what was applied to an active layer.
    ///
    /// # Errors
    /// Those of the store.
    pub fn applied(&self, id: LayerId) -> Result<Option<AppliedLayer>> {
        let bytes = self.store.get(Column::Applied, &schema::layer(id))?;
        bytes.as_deref().map(AppliedLayer::decode).transpose()
    }
}

impl Transaction<'_> {
    /// Returns the active snapshot that writes to a layer.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such layer, or its snapshot was removed; [`Error::WrongState`] where it is committed or a view's.
    pub fn active_layer(&self, id: LayerId) -> Result<ActiveLayer> {
        let resource = Resource::Layer(id.get());
        let Some(layer) = self.layer(id)? else { return Err(Error::NotFound(resource)) };
        let Some(key) = layer.active else { return Err(Error::WrongState { resource, problem: "is not active" }) };
        let snapshot = self.snapshot(&key)?;
        // A retained one; its key has gone to another.
        if snapshot.layer != Some(id) || snapshot.kind != Kind::Active {
            return Err(Error::NotFound(named(&key)));
        }
        let applied = if layer.applied { self.applied(id)? } else { None };
        Ok(ActiveLayer { key, snapshot, applied })
    }

    /// Reads what was applied to a layer, as this transaction left it.
    pub(super) fn applied(&self, id: LayerId) -> Result<Option<AppliedLayer>> {
        let bytes = self.txn.get(Column::Applied, &schema::layer(id))?;
        bytes.as_deref().map(AppliedLayer::decode).transpose()
    }

    /// Has a known layer take the place of an active one, to which nothing was applied and which is empty. `None`, with nothing
    /// changed, when the known layer is not what was found any more.
    ///
    /// # Errors
    /// As for [`active_layer`](Self::active_layer).
    pub fn stage(
        &mut self,
        id: LayerId,
        known_layer: LayerId,
        known: &Known,
        blob: Option<&Digest>,
    ) -> Result<Option<()>> {
        if self.active_layer(id)?.applied.is_some() || self.still_known(known_layer, known)?.is_none() {
            return Ok(None);
        }
        self.add_reference(known_layer)?;
        let applied = AppliedLayer {
            diff_id: known.diff_id.clone(),
            size: known.size,
            blob: blob.cloned(),
            usage: None,
            implicit: Vec::new(),
            whiteouts: Vec::new(),
            opaque: Vec::new(),
            staged: Some(known_layer),
            verified: true,
            boot: "".into(),
            base: false,
            implicit_unlisted: false,
            hiding_unlisted: false,
        };
        self.put_applied(id, &applied)?;
        Ok(Some(()))
    }

    /// Takes back a staged layer; this was applied instead of it. Returns the layers that nothing names any more, which are in
    /// `trash`.
    ///
    /// # Errors
    /// As for [`active_layer`](Self::active_layer).
    pub fn unstage(&mut self, id: LayerId, applied: &AppliedLayer) -> Result<Vec<LayerId>> {
        let staged = self.active_layer(id)?.applied.and_then(|applied| applied.staged);
        self.put_applied(id, applied)?;
        let Some(staged) = staged else { return Ok(Vec::new()) };
        let unnamed = self.release(staged)?;
        unnamed.iter().for_each(|id| self.trash(*id));
        Ok(unnamed)
    }

    /// Records what was applied to an active layer.
    ///
    /// # Errors
    /// As for [`active_layer`](Self::active_layer).
    pub fn set_applied(&mut self, id: LayerId, applied: &AppliedLayer) -> Result<()> {
        self.active_layer(id)?;
        self.put_applied(id, applied)
    }

    /// Notes that somebody may write to an active layer. False where that changes nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn unverify(&mut self, id: LayerId) -> Result<bool> {
        match self.applied(id)? {
            Some(applied) if applied.verified && applied.staged.is_none() => {
                let applied = AppliedLayer { verified: false, ..applied };
                self.txn.put(Column::Applied, schema::layer(id), applied.encode());
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Forgets what was applied to an active layer whose directory was lost. Returns the layers that nothing names any more,
    /// which are in `trash`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn drop_applied(&mut self, id: LayerId) -> Result<Vec<LayerId>> {
        if let Some(layer) = self.layer(id)? {
            self.put_layer(id, &Layer { applied: false, ..layer });
        }
        let unnamed = self.forget_applied(id)?;
        unnamed.iter().for_each(|id| self.trash(*id));
        Ok(unnamed)
    }

    fn put_applied(&mut self, id: LayerId, applied: &AppliedLayer) -> Result<()> {
        if let Some(layer) = self.layer(id)?
            && !layer.applied
        {
            self.put_layer(id, &Layer { applied: true, ..layer });
        }
        self.txn.put(Column::Applied, schema::layer(id), applied.encode());
        Ok(())
    }
}
