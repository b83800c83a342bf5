//! Who writes to which ingest at the moment: one at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::types::IngestRef;
use crate::{Error, Resource, Result};

/// The refs that have a writer.
#[derive(Debug, Default)]
pub(super) struct Writers {
    open: Mutex<HashMap<IngestRef, Arc<Progress>>>,
}

/// What others see of a writer.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How far it is, and since when; `None` while it is being opened.
    at: Mutex<Option<(u64, SystemTime)>>,
    /// The ingest was given up: nothing that the writer does counts any more.
    cancelled: AtomicBool,
}

/// A ref that nobody else writes to while this lives.
#[derive(Debug)]
#[must_use = "dropping it lets others write"]
pub(super) struct Entered {
    writers: Arc<Writers>,
    name: IngestRef,
    progress: Arc<Progress>,
}

impl Writers {
    /// Takes a ref.
    ///
    /// # Errors
    /// [`Error::Locked`] when somebody has it.
    pub fn enter(self: &Arc<Self>, name: &IngestRef) -> Result<Entered> {
        let mut open = self.lock();
        if open.contains_key(name) {
            return Err(Error::Locked(Resource::Ingest(name.as_str().to_owned())));
        }
        let progress = Arc::new(Progress::default());
        open.insert(name.clone(), progress.clone());
        Ok(Entered { writers: self.clone(), name: name.clone(), progress })
    }

    /// Returns how far the writer of a ref is, if it has one.
    pub fn progress(&self, name: &IngestRef) -> Option<Arc<Progress>> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IngestRef, Arc<Progress>>> {
        // Each change is one insertion or removal, so it is whole even after a panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    pub fn set(&self, offset: u64, at: SystemTime) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some((offset, at));
    }

    pub fn get(&self) -> Option<(u64, SystemTime)> {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }
}

impl Entered {
    pub fn name(&self) -> &IngestRef {
        &self.name
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Fails when the ingest was given up.
    pub fn require_wanted(&self) -> Result<()> {
        if self.progress.cancelled.load(Ordering::Acquire) {
            return Err(Error::NotFound(Resource::Ingest(self.name.as_str().to_owned())));
        }
        Ok(())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.writers.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Writers;
    use crate::Error;
    use crate::types::{IngestRef, Scope};

    #[test]
    fn a_ref_has_one_writer_at_a_time() {
        let writers = Arc::new(Writers::default());
        let name = |text| IngestRef::parse_in(Scope::Plugin, text).unwrap();
        let entered = writers.enter(&name("a")).unwrap();
        assert!(matches!(writers.enter(&name("a")), Err(Error::Locked(_))));
        let other = writers.enter(&name("b")).unwrap();
        writers.progress(&name("a")).unwrap().cancel();
        assert!(entered.require_wanted().is_err());
        other.require_wanted().unwrap();
        drop(entered);
        assert!(writers.progress(&name("a")).is_none());
        writers.enter(&name("a")).unwrap().require_wanted().unwrap();
    }
}
