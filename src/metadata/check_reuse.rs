//! Comparing what is known of layers with what finds them, and what was applied with layers; and putting right what disagrees.
//!
//! Rule: no repair has a layer be used for what it does not hold. What finds layers can be made again from their records.

use super::damaged::DamagedRecord;
use super::record::Layer;
use super::{Consistent, Transaction, schema};
use crate::Result;
use crate::store::Column;
use crate::types::LayerId;

/// A disagreement between records by which layers are used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReuseFault {
    /// An entry by which something is found that does not hold that, or is not there.
    WrongEntry(Column, Box<[u8]>),
    /// A known layer that is not found by what it holds.
    MissingEntry(LayerId),
    /// A record of what was applied to a layer that does not exist, or does not say so.
    StaleApplied(LayerId),
    /// A layer to which something was applied that no record tells of.
    MissingApplied(LayerId),
    /// A layer for which another one is staged that has no record.
    StagedWithoutLayer(LayerId, LayerId),
}

/// What a look at all of them found.
#[derive(Debug, Default)]
pub struct ReuseCheck {
    /// What disagrees.
    pub faults: Vec<ReuseFault>,
    /// What cannot be read.
    pub damaged: Vec<DamagedRecord>,
}

impl Consistent<'_> {
    /// Compares them. Records of layers and of what was applied that cannot be read are passed over: whoever reads them all
    /// tells of them.
    ///
    /// # Errors
    /// Those of the store.
    pub fn check_reuse(&self) -> Result<ReuseCheck> {
        let mut check = ReuseCheck::default();
        let get = |column, key: &[u8]| self.txn.get(column, key);
        self.each_layer(|id, layer| {
            let Ok(layer) = layer else { return Ok(()) };
            if !is_found(id, &layer, get)? {
                check.faults.push(ReuseFault::MissingEntry(id));
            }
            if layer.applied && self.txn.get(Column::Applied, &schema::layer(id))?.is_none() {
                check.faults.push(ReuseFault::MissingApplied(id));
            }
            Ok(())
        })?;
        self.each_applied(|id, applied| {
            let Ok(applied) = applied else { return Ok(()) };
            // What cannot be read may say so.
            if self.layer(id).is_ok_and(|layer| !layer.is_some_and(|layer| layer.applied)) {
                check.faults.push(ReuseFault::StaleApplied(id));
            } else if let Some(staged) = applied.staged
                && self.txn.get(Column::Layers, &schema::layer(staged))?.is_none()
            {
                check.faults.push(ReuseFault::StagedWithoutLayer(id, staged));
            }
            Ok(())
        })?;
        for column in [Column::LayersByDiff, Column::LayersByBlob] {
            self.txn.scan(column, &[], |key, value| {
                match leads_right(column, key, value, get) {
                    Ok(true) => {}
                    Ok(false) => check.faults.push(ReuseFault::WrongEntry(column, key.into())),
                    Err(crate::Error::Corrupt(_)) if self.has_unreadable_layer(column, key, value) => {}
                    Err(err @ crate::Error::Corrupt(_)) => {
                        check.damaged.push(DamagedRecord::new(column, key, value, &err));
                    }
                    Err(err) => return Err(err),
                }
                Ok(())
            })?;
        }
        Ok(check)
    }

    fn has_unreadable_layer(&self, column: Column, key: &[u8], value: &[u8]) -> bool {
        target(column, key, value).is_ok_and(|id| self.layer(id).is_err())
    }
}

impl Transaction<'_> {
    /// Puts one of these right, if it still is so: an entry, or a stale record of what was applied. Returns the layers that
    /// nothing names any more, which are in `trash`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn repair_reuse(&mut self, fault: &ReuseFault) -> Result<Vec<LayerId>> {
        match fault {
            ReuseFault::WrongEntry(column, key) => {
                let value = self.txn.get(*column, key)?;
                if let Some(value) = value
                    && !leads_right(*column, key, &value, |column, key| self.txn.get(column, key))?
                {
                    self.txn.delete(*column, key.to_vec());
                }
            }
            ReuseFault::MissingEntry(id) => {
                let Some(known) = self.layer(*id)?.and_then(|layer| layer.known) else { return Ok(Vec::new()) };
                match self.found_by(&known)? {
                    Some(other) if other != *id => self.no_longer_known(*id)?,
                    _ => self.index(*id, &known),
                }
            }
            ReuseFault::StaleApplied(id) if !self.layer(*id)?.is_some_and(|layer| layer.applied) => {
                let unnamed = self.forget_applied(*id)?;
                unnamed.iter().for_each(|id| self.trash(*id));
                return Ok(unnamed);
            }
            ReuseFault::MissingApplied(id) => {
                if let Some(layer) = self.layer(*id)?
                    && self.applied(*id)?.is_none()
                {
                    self.put_layer(*id, &Layer { applied: false, ..layer });
                }
            }
            ReuseFault::StaleApplied(_) | ReuseFault::StagedWithoutLayer(..) => {}
        }
        Ok(Vec::new())
    }
}

/// Whether a layer is found by all that it is known to hold.
fn is_found(id: LayerId, layer: &Layer, get: impl Fn(Column, &[u8]) -> Result<Option<Vec<u8>>>) -> Result<bool> {
    let Some(known) = &layer.known else { return Ok(true) };
    if get(Column::LayersByDiff, &schema::reuse::by_diff_of(known))?.as_deref() != Some(&*schema::layer(id)) {
        return Ok(false);
    }
    for blob in &known.blobs {
        if get(Column::LayersByBlob, &schema::reuse::by_blob(blob, id))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an entry leads to a layer that holds what the entry says.
fn leads_right(
    column: Column,
    key: &[u8],
    value: &[u8],
    get: impl Fn(Column, &[u8]) -> Result<Option<Vec<u8>>>,
) -> Result<bool> {
    let id = target(column, key, value)?;
    let layer = get(Column::Layers, &schema::layer(id))?.as_deref().map(Layer::decode).transpose()?;
    let Some(known) = layer.and_then(|layer| layer.known) else { return Ok(false) };
    Ok(match column {
        Column::LayersByBlob => known.blobs.contains(&schema::reuse::parse_by_blob(key)?.0),
        _ => schema::reuse::by_diff_of(&known) == key,
    })
}

/// Returns the layer that an entry leads to.
fn target(column: Column, key: &[u8], value: &[u8]) -> Result<LayerId> {
    match column {
        Column::LayersByBlob => schema::reuse::parse_by_blob(key).map(|(_, id)| id),
        _ => schema::parse_layer(value),
    }
}
