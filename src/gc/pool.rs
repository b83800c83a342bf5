//! What is collected, and what was done last: what those ask who want to know.

use std::sync::{Arc, Mutex, PoisonError};

use super::collect::Collected;
use crate::leases::Leases;
use crate::snapshotter::Snapshotter;
use crate::{Chain, Error, Result};

/// A pool as the collector sees it.
pub struct Collectible {
    snapshotter: Arc<Snapshotter>,
    leases: Arc<Leases>,
    /// The last collection, or why it failed.
    last: Mutex<Option<Result<Collected, String>>>,
}

impl Collectible {
    /// Takes what there is.
    pub fn new(snapshotter: Arc<Snapshotter>, leases: Arc<Leases>) -> Collectible {
        Collectible { snapshotter, leases, last: Mutex::new(None) }
    }

    /// Has a collection run now, and returns what it did, or a later one.
    ///
    /// # Errors
    /// [`Error::Suspended`] when it failed; [`Error::ShuttingDown`] without a collector.
    pub fn collect(&self) -> Result<Collected> {
        self.leases.changes().collect_and_wait();
        match self.last.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(result) => result.map_err(Error::Suspended),
            None => Err(Error::ShuttingDown),
        }
    }

    pub(super) fn snapshotter(&self) -> &Snapshotter {
        &self.snapshotter
    }

    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Keeps the result of a collection for those who wait for it.
    pub(super) fn remember(&self, result: Result<Collected>) -> Result<()> {
        let (kept, result) = match result {
            Ok(collected) => (Ok(collected), Ok(())),
            Err(err) => (Err(format!("a collection failed: {}", Chain(&err))), Err(err)),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        result
    }
}
