//! What is collected, and what was done last: what those ask who want to know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::collect::Collected;
use crate::content::Content;
use crate::leases::Leases;
use crate::snapshotter::Snapshotter;
use crate::{Chain, Error, Result};

/// A pool as the collector sees it.
pub struct Collectible {
    snapshotter: Arc<Snapshotter>,
    content: Arc<Content>,
    leases: Arc<Leases>,
    /// The last collection, or why it failed.
    last: Mutex<Option<Result<Collected, Failure>>>,
}

/// Why a collection failed.
#[derive(Clone)]
struct Failure {
    text: String,
    /// It fails again until somebody repairs a record.
    is_damage: bool,
}

impl Collectible {
    /// Takes what there is.
    pub fn new(snapshotter: Arc<Snapshotter>, content: Arc<Content>, leases: Arc<Leases>) -> Collectible {
        let changes = leases.changes().clone();
        snapshotter.metadata().tell_undecided(move || changes.dirty());
        Collectible { snapshotter, content, leases, last: Mutex::new(None) }
    }

    /// Has a collection run now, and returns what it did, or a later one. Layers that could not be deleted are tried
    /// again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it failed for a record that cannot be read, [`Error::Suspended`] when it may succeed
    /// later; [`Error::ShuttingDown`] without a collector.
    pub fn collect(&self) -> Result<Collected> {
        self.leases.changes().collect_and_wait();
        self.snapshotter.retry_busy();
        match self.last().clone() {
            Some(Ok(collected)) => Ok(collected),
            Some(Err(Failure { text, is_damage: true })) => Err(Error::Corrupt(text)),
            Some(Err(Failure { text, is_damage: false })) => Err(Error::Suspended(text)),
            None => Err(Error::ShuttingDown),
        }
    }

    /// Says why the last collection failed; `None` when it did not.
    pub fn failure(&self) -> Option<String> {
        self.last().as_ref().and_then(|last| last.as_ref().err()).map(|failure| failure.text.clone())
    }

    /// Has a collection run some time soon: what kept the last one from it may be gone.
    pub fn wake(&self) {
        self.leases.changes().dirty();
    }

    pub(super) fn snapshotter(&self) -> &Snapshotter {
        &self.snapshotter
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Keeps the result of a collection for those who wait for it.
    pub(super) fn remember(&self, result: Result<Collected>) -> Result<()> {
        let (kept, result) = match result {
            Ok(collected) => (Ok(collected), Ok(())),
            Err(err) => (Err(Failure::of(&err)), Err(err)),
        };
        let damaged = kept.as_ref().is_err_and(|failure| failure.is_damage);
        metrics::gauge!("leasehold_collection_blocked").set(if damaged { 1 } else { 0 });
        *self.last() = Some(kept);
        result
    }

    fn last(&self) -> MutexGuard<'_, Option<Result<Collected, Failure>>> {
        // Each change is a single assignment, so it is whole even after a panic.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn of(err: &Error) -> Failure {
        match err {
            Error::Corrupt(problem) => Failure { text: advice(problem), is_damage: true },
            _ => Failure { text: format!("a collection failed: {}", Chain(err)), is_damage: false },
        }
    }
}

/// Says what to do about a record that cannot be read.
pub(super) fn advice(problem: &str) -> String {
    format!(
        "{problem}. What it holds is not known, so nothing more is collected until `leasehold fsck --repair` has put it \
         right"
    )
}
