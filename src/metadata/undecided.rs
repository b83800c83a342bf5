//! The signal that something was retained of which a collection is to find out whether a tree holds it.

use std::fmt;
use std::sync::OnceLock;

use super::Metadata;

/// Who is told.
#[derive(Default)]
pub(super) struct Undecided {
    collector: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undecided").field("is_heard", &self.collector.get().is_some()).finish()
    }
}

impl Metadata {
    /// Has the collector be told from now on. The first one that asks for it is told.
    pub fn tell_undecided(&self, collector: impl Fn() + Send + Sync + 'static) {
        drop(self.undecided.collector.set(Box::new(collector)));
    }

    /// Tells that something undecided was retained; after the commit.
    pub fn undecided(&self) {
        if let Some(collector) = self.undecided.collector.get() {
            collector();
        }
    }
}
