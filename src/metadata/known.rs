//! Finding a layer by what it is known to hold.

use super::record::{Known, Layer, Variant};
use super::{Metadata, Transaction, schema};
use crate::Result;
use crate::store::Column;
use crate::types::{Digest, LayerId};

/// How many layers of one blob are looked at for its DiffID. The first has it, unless records are damaged.
const LOOKS: usize = 4;

impl Metadata {
    /// Returns what the archive in a blob is, if a layer of it is known; the blob may be the archive itself.
    ///
    /// # Errors
    /// Those of the store.
    pub fn diff_id_of(&self, blob: &Digest) -> Result<Digest> {
        for (key, _) in self.store.page(Column::LayersByBlob, &schema::reuse::of_blob(blob), None, LOOKS)? {
            let (_, layer) = schema::reuse::parse_by_blob(&key)?;
            if let Some(known) = self.layer(layer)?.and_then(|layer| layer.known) {
                return Ok(known.diff_id);
            }
        }
        Ok(blob.clone())
    }

    /// Finds the layer that is known to hold an archive, in one of the given variants. `namespace` is whose it has to be; empty
    /// for one that all share.
    ///
    /// # Errors
    /// Those of the store.
    pub fn known_layer(
        &self,
        namespace: &str,
        diff_id: &Digest,
        variants: &[Variant],
    ) -> Result<Option<(LayerId, Known)>> {
        for variant in variants {
            let key = schema::reuse::by_diff(namespace, diff_id, variant);
            let Some(id) = self.store.get(Column::LayersByDiff, &key)? else { continue };
            let id = schema::parse_layer(&id)?;
            if let Some(known) = self.layer(id)?.and_then(|layer| layer.known)
                && schema::reuse::by_diff_of(&known) == key
            {
                return Ok(Some((id, known)));
            }
        }
        Ok(None)
    }
}

impl Transaction<'_> {
    /// Reads a layer that is still known to hold the same.
    pub(super) fn still_known(&self, id: LayerId, known: &Known) -> Result<Option<Layer>> {
        let is_same = |layer: &Layer| layer.known.as_ref().is_some_and(|now| now.is_same_layer(known));
        Ok(self.layer(id)?.filter(is_same))
    }

    /// Returns the layer that is found by what is known of one. An entry that leads nowhere is none: fsck reports it.
    pub(super) fn found_by(&self, known: &Known) -> Result<Option<LayerId>> {
        let Some(id) = self.txn.get(Column::LayersByDiff, &schema::reuse::by_diff_of(known))? else { return Ok(None) };
        let id = schema::parse_layer(&id)?;
        Ok(self.still_known(id, known)?.map(|_| id))
    }

    /// Adds a blob to those that a layer is known to have come in.
    pub(super) fn add_known_blob(&mut self, id: LayerId, blob: Option<&Digest>) -> Result<()> {
        let (Some(blob), Some(mut layer)) = (blob, self.layer(id)?) else { return Ok(()) };
        if let Some(known) = &mut layer.known
            && known.blobs.len() < Known::MAX_BLOBS
            && !known.blobs.contains(blob)
        {
            known.blobs.push(blob.clone());
            self.txn.put(Column::LayersByBlob, schema::reuse::by_blob(blob, id), Vec::new());
            self.put_layer(id, &layer);
        }
        Ok(())
    }

    /// Has nobody use a layer any more that does not have it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn no_longer_known(&mut self, id: LayerId) -> Result<()> {
        let Some(mut layer) = self.layer(id)? else { return Ok(()) };
        if let Some(known) = layer.known.take() {
            self.unindex(id, &known)?;
            self.put_layer(id, &layer);
        }
        Ok(())
    }

    /// Has a known layer no longer be staged where nobody knows yet what will be below: that was found to go wrong.
    ///
    /// # Errors
    /// Those of the store.
    pub fn only_on_known(&mut self, id: LayerId) -> Result<()> {
        let Some(mut layer) = self.layer(id)? else { return Ok(()) };
        if let Some(known) = &mut layer.known {
            known.only_on_known = true;
            self.put_layer(id, &layer);
        }
        Ok(())
    }
}
