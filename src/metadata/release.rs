//! References to layers: the one place where a layer loses one, and all that goes with the last.

use super::record::{Known, Layer};
use super::{Transaction, schema};
use crate::store::Column;
use crate::types::LayerId;
use crate::{Chain, Error, Result};

impl Transaction<'_> {
    /// Adds a reference to a layer.
    pub(super) fn add_reference(&mut self, id: LayerId) -> Result<()> {
        match self.layer(id)? {
            Some(layer) => {
                let layer = Layer { references: layer.references.saturating_add(1), ..layer };
                self.put_layer(id, &layer);
            }
            // Damage, which must not keep containerd from removing snapshots; fsck reports it.
            None => tracing::error!(layer = %id, "a parent's layer has no record; see leasehold fsck"),
        }
        Ok(())
    }

    /// Takes one reference off a layer. Returns the layers that nothing names any more: none, that one, or also the one that
    /// was staged for it.
    pub(super) fn release(&mut self, id: LayerId) -> Result<Vec<LayerId>> {
        match self.layer(id)? {
            Some(layer) if layer.references > 1 => {
                self.put_layer(id, &Layer { references: layer.references - 1, ..layer });
                Ok(Vec::new())
            }
            Some(layer) => self.forget_layer(id, Some(&layer)),
            None => {
                // Damage, which must not keep containerd from removing snapshots. Others may have the directory; fsck counts.
                tracing::error!(layer = %id, "a layer that is given back has no record; see leasehold fsck");
                Ok(Vec::new())
            }
        }
    }

    /// Deletes the record of a layer that nothing names, what was applied to it, and what finds it. Returns as
    /// [`release`](Self::release) does.
    pub(super) fn forget_layer(&mut self, id: LayerId, layer: Option<&Layer>) -> Result<Vec<LayerId>> {
        let mut unnamed = vec![id];
        if let Some(layer) = layer {
            self.freed.extend(layer.usage.map(|usage| (id, usage)));
            if let Some(known) = &layer.known {
                self.unindex(id, known)?;
            }
            if layer.applied {
                unnamed.extend(self.forget_applied(id)?);
            }
        }
        self.txn.delete(Column::Layers, schema::layer(id));
        Ok(unnamed)
    }

    /// Deletes the record of what was applied to a layer, and gives back what is staged for it. Returns as
    /// [`release`](Self::release) does.
    pub(super) fn forget_applied(&mut self, id: LayerId) -> Result<Vec<LayerId>> {
        let applied = self.applied(id);
        self.txn.delete(Column::Applied, schema::layer(id));
        match applied {
            Ok(applied) => applied.and_then(|applied| applied.staged).map_or(Ok(Vec::new()), |id| self.release(id)),
            Err(err @ Error::Corrupt(_)) => {
                // Damage, which must not keep containerd from removing snapshots; fsck counts references.
                tracing::error!(error = %Chain(&err), layer = %id, "what was applied cannot be read; see leasehold fsck");
                Ok(Vec::new())
            }
            Err(err) => Err(err),
        }
    }

    /// Has a layer be found by what it holds.
    pub(super) fn index(&mut self, id: LayerId, known: &Known) {
        self.txn.put(Column::LayersByDiff, schema::reuse::by_diff_of(known), schema::layer(id));
        for blob in &known.blobs {
            self.txn.put(Column::LayersByBlob, schema::reuse::by_blob(blob, id), Vec::new());
        }
    }

    /// Has a layer no longer be found by what it holds.
    pub(super) fn unindex(&mut self, id: LayerId, known: &Known) -> Result<()> {
        let key = schema::reuse::by_diff_of(known);
        if self.txn.get(Column::LayersByDiff, &key)?.as_deref() == Some(&*schema::layer(id)) {
            self.txn.delete(Column::LayersByDiff, key);
        }
        for blob in &known.blobs {
            self.txn.delete(Column::LayersByBlob, schema::reuse::by_blob(blob, id));
        }
        Ok(())
    }

    pub(super) fn put_layer(&mut self, id: LayerId, layer: &Layer) {
        self.txn.put(Column::Layers, schema::layer(id), layer.encode());
    }
}
