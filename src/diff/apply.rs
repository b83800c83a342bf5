//! Apply: a layer's blob into the directory of a snapshot.
//!
//! It has two parts. [`Differ::begin`] is short: it looks at what was asked for, takes the directory, and opens the blob.
//! [`Differ::apply`] takes as long as the layer is large, on a thread of its own. Nothing is mounted. Until it answers, the
//! directory is as it was or has a part of the layer; where it was empty before, it is again when the layer cannot be applied.

mod fresh;
mod place;
mod sync;
mod target;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::overlay::Mount;
use crate::types::{Digest, Scope};
use crate::{Chain, Error, FsOp, Result};

use super::extract::{self, extract};
use super::source::Blob;
use super::stream::{Stream, Uncompressed, require_layer};
use super::{Differ, Source};

pub(super) use self::sync::Syncs;
pub(super) use self::target::Taken;
use self::target::Target;

/// How often it is looked whether there is still room, and a directory to put something into.
const LOOK: Duration = Duration::from_millis(100);

/// A layer, and where it goes.
#[derive(Clone, Debug)]
pub struct Apply {
    /// Whose blobs are looked at.
    pub scope: Scope,
    /// What the blob is said to be.
    pub media_type: String,
    /// The blob.
    pub digest: Digest,
    /// Its size, or 0.
    pub size: u64,
    /// What shows the directory.
    pub mounts: Vec<Mount>,
    /// Whether the layer has to be durable before the answer, whatever the configuration says.
    pub sync: bool,
}

/// A layer that is ready to be applied.
pub struct Job {
    digest: Digest,
    blob: Blob,
    target: Target,
    sync: bool,
    began: Instant,
}

impl Differ {
    /// Looks at what was asked for.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what another differ may be able to do; [`Error::Locked`] when somebody else applies to
    /// the directory; those of the blob's store.
    pub fn begin(&self, apply: Apply) -> Result<Job> {
        let began = Instant::now();
        let job = self.look(apply, began);
        if let Err(err) = &job {
            count(outcome(err), began);
        }
        job
    }

    fn look(&self, apply: Apply, began: Instant) -> Result<Job> {
        let Apply { scope, media_type, digest, size, mounts, sync } = apply;
        require_layer(&media_type)?;
        let target = Target::open(&mounts, self.settings.userxattr, &self.taken, &self.syncs)?;
        let blob = self.sources.open(&scope, &digest, size)?;
        Ok(Job { digest, blob, target, sync: sync || self.settings.sync, began })
    }

    /// Applies a layer, and returns what its blob turned out to be. Ends soon after `stop` was set.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no layer, or more than is allowed; [`Error::NoSpace`]; [`Error::NotFound`] when the
    /// directory is gone; those of the blob's store and of the file system.
    pub fn apply(&self, job: Job, stop: &AtomicBool) -> Result<Uncompressed> {
        let Job { digest, blob, target, sync, began } = job;
        let watch = Watch::new(self, &target, stop);
        let result = self.extract(&blob.size, blob.source, &target, &watch);
        let result = result.and_then(|(uncompressed, entries)| {
            if sync {
                target.sync()?;
            }
            watch.check()?;
            Ok((uncompressed, entries))
        });
        match result {
            Ok((uncompressed, entries)) => {
                count("extracted", began);
                metrics::counter!("leasehold_apply_bytes_total").increment(uncompressed.size);
                let Uncompressed { diff_id, size } = &uncompressed;
                tracing::debug!(%digest, %diff_id, size, entries, took = ?began.elapsed(), "layer applied");
                Ok(uncompressed)
            }
            Err(err) => {
                let err = watch.reason().unwrap_or(err);
                count(outcome(&err), began);
                tracing::debug!(%digest, error = %Chain(&err), took = ?began.elapsed(), "layer not applied");
                target.undo();
                Err(err)
            }
        }
    }

    fn extract(&self, size: &u64, source: Source, target: &Target, watch: &Watch<'_>) -> Result<(Uncompressed, u64)> {
        let stop = || watch.is_over();
        let mut stream = Stream::open(source, *size, &self.settings.limits)?;
        let into = extract::Target { root: std::os::fd::AsFd::as_fd(&target.dir), parents: &target.parents, whiteouts: target.whiteouts };
        match extract(&mut stream, &into, &self.settings.extraction, &stop) {
            // An archive may be followed by anything, which is part of the digest.
            Ok(extracted) => Ok((stream.finish(&stop)?, extracted.entries)),
            // What the stream fails with says more than that it failed.
            Err(err) => Err(stream.failure().unwrap_or(err)),
        }
    }
}

/// What may end an extraction early.
struct Watch<'a> {
    differ: &'a Differ,
    target: &'a Target,
    stop: &'a AtomicBool,
    looked: Cell<Instant>,
    reason: RefCell<Option<Error>>,
}

impl<'a> Watch<'a> {
    fn new(differ: &'a Differ, target: &'a Target, stop: &'a AtomicBool) -> Watch<'a> {
        Watch { differ, target, stop, looked: Cell::new(Instant::now()), reason: RefCell::default() }
    }

    /// Whether to end. Cheap enough to be asked for each entry.
    fn is_over(&self) -> bool {
        if self.is_stopped() {
            return true;
        }
        if self.looked.get().elapsed() < LOOK {
            return false;
        }
        self.looked.set(Instant::now());
        match self.check() {
            Ok(()) => false,
            Err(err) => {
                self.reason.replace(Some(err));
                true
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.differ.workers.is_stopping()
    }

    fn check(&self) -> Result<()> {
        if self.is_stopped() {
            return Err(Error::ShuttingDown);
        }
        self.require_target()?;
        // Removing an image needs room, too, and is all that helps when there is none.
        self.differ.snapshotter.expect_free_space()
    }

    fn require_target(&self) -> Result<()> {
        if self.target.is_gone() {
            return Err(Error::fs(FsOp::Open, self.target.dir.path())(rustix::io::Errno::NOENT));
        }
        Ok(())
    }

    /// Returns why it is over, where that is what an extraction failed for.
    fn reason(&self) -> Option<Error> {
        if self.is_stopped() {
            return Some(Error::ShuttingDown);
        }
        // Without the directory, anything may fail.
        self.reason.take().or_else(|| self.require_target().err())
    }
}

fn outcome(err: &Error) -> &'static str {
    match err {
        Error::Unsupported(_) => "unsupported",
        Error::ShuttingDown => "cancelled",
        _ => "failed",
    }
}

fn count(outcome: &'static str, began: Instant) {
    metrics::histogram!("leasehold_apply_seconds", "outcome" => outcome).record(began.elapsed().as_secs_f64());
}
