//! Layers whose last change of records failed, so that only the reopened database knows whether it was kept.
//!
//! A creation may have left a directory without a record, a removal a record in trash that nobody was told of. Both are
//! put right with the next write that the database takes; a daemon that ends before leaves them to the next start.

use std::sync::{Mutex, PoisonError};

use crate::types::LayerId;
use crate::{Chain, Result};

use super::{Snapshotter, StagedGuard};

#[derive(Default)]
pub(super) struct Unclear {
    layers: Mutex<Vec<UnclearLayer>>,
}

/// A layer, and for a creation the note that keeps a check from taking its directory for an orphan.
pub(super) struct UnclearLayer {
    pub id: LayerId,
    pub _staged: Option<StagedGuard>,
}

impl Unclear {
    pub fn note(&self, layer: UnclearLayer) {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).push(layer);
    }

    fn take(&self) -> Vec<UnclearLayer> {
        std::mem::take(&mut *self.layers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Snapshotter {
    /// Looks what became of unclear layers, and reclaims those that no record names.
    pub(super) fn settle_unclear(&self) {
        for layer in self.unclear.take() {
            if let Err(err) = self.reclaim_unless_recorded(layer.id) {
                tracing::debug!(layer = %layer.id, error = %Chain(&err), "the records cannot be changed yet");
                self.unclear.note(layer);
            }
        }
    }

    fn reclaim_unless_recorded(&self, id: LayerId) -> Result<()> {
        // Fails while writes are suspended; when it does not, what is read is what the database kept.
        let mut txn = self.metadata.write(self.now())?;
        if txn.trash_orphan(id)? {
            txn.commit()?;
            self.reclaimer.enqueue(id);
        }
        Ok(())
    }
}
