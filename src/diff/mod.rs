//! The differ: layers out of blobs, and blobs out of layers.
//!
//! [`extract`] puts the entries of a tar stream into a directory, [`stream`] makes that stream of a blob and hashes it on the
//! way, [`compare`] makes a tar stream of an upperdir. [`Differ`] puts them together: which blob, which directory, and who
//! may do what at the same time. All functions are synchronous.

mod apply;
pub mod compare;
pub mod extract;
mod source;
pub mod stream;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use apply::{Apply, Begun, Job};
pub use compare::{Compare, Compared, Comparison};
pub use stream::{Limits, Uncompressed};

use crate::Result;
use crate::content::Content;
use crate::overlay::Mount;
use crate::snapshotter::Snapshotter;

use apply::{Syncs, Taken};
use source::Sources;
use workers::Workers;

/// What the differ may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What may come out of a blob.
    pub limits: Limits,
    /// What may be in an archive.
    pub extraction: extract::Limits,
    /// Whether every layer is made durable before the answer.
    pub sync: bool,
    /// Whether overlayfs is mounted with `userxattr` on this host.
    pub userxattr: bool,
    /// The directory of containerd's own content store.
    pub content_root: Option<PathBuf>,
}

/// Applies layers to the snapshots of one pool, and to other directories.
pub struct Differ {
    snapshotter: Arc<Snapshotter>,
    settings: Settings,
    content: Arc<Content>,
    sources: Sources,
    taken: Arc<Taken>,
    syncs: Syncs,
    workers: Arc<Workers>,
}

impl Differ {
    /// Makes the differ of one pool.
    pub fn new(snapshotter: Arc<Snapshotter>, content: Arc<Content>, settings: Settings) -> Differ {
        let sources = Sources::new(content.clone(), settings.content_root.clone());
        let (taken, syncs, workers) = (Arc::default(), Syncs::default(), Arc::default());
        Differ { snapshotter, settings, content, sources, taken, syncs, workers }
    }

    /// Has a thread of its own apply a layer, in the span of the caller, and `answer` with the result.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`](crate::Error::ShuttingDown) after the stop; [`Error::Lost`](crate::Error::Lost) when the
    /// system has no more threads.
    pub fn start(
        self: &Arc<Self>,
        job: Job,
        stop: Arc<AtomicBool>,
        answer: impl FnOnce(Result<Uncompressed>) + Send + 'static,
    ) -> Result<()> {
        let (differ, span) = (self.clone(), tracing::Span::current());
        self.workers.spawn("apply", move || answer(span.in_scope(|| differ.apply(job, &stop))))
    }

    /// Checks what is to be compared, see [`Comparison::new`].
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported).
    pub fn comparison(
        &self,
        left: &[Mount],
        right: &[Mount],
        media_type: &str,
        source_date_epoch: Option<i64>,
    ) -> Result<Comparison> {
        Comparison::new(self.snapshotter.layout(), left, right, media_type, source_date_epoch)
    }

    /// Makes a layer, and a blob of it here, see [`compare::compare`].
    ///
    /// # Errors
    /// Those of [`compare::compare`].
    pub fn compare(&self, request: Compare, stop: &dyn Fn() -> bool) -> Result<Compared> {
        compare::compare(&self.content, self.snapshotter.layout(), request, stop)
    }

    /// Has a thread of its own do what makes a layer, in the span of the caller, and `answer` with the result. `work` is told by
    /// what it can find out that it is to end.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_compare<T>(
        self: &Arc<Self>,
        work: impl FnOnce(&Differ, &dyn Fn() -> bool) -> Result<T> + Send + 'static,
        stop: Arc<AtomicBool>,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Result<()> {
        let (differ, span) = (self.clone(), tracing::Span::current());
        let work = move || {
            let is_over = || stop.load(Ordering::Relaxed) || differ.workers.is_stopping();
            answer(span.in_scope(|| work(&differ, &is_over)));
        };
        self.workers.spawn("compare", work)
    }

    /// Has everything end that is under way, and lets nothing new begin.
    pub fn release(&self) {
        self.workers.release();
    }

    /// Waits until nothing is under way, after [`release`](Self::release).
    pub fn join(&self) {
        self.workers.join();
    }
}
