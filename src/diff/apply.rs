//! Apply: a layer's blob into the directory of a snapshot.
//!
//! It has two parts. [`Differ::begin`] is short: it looks at what was asked for, takes the directory, and finds the blob. A
//! layer that is known already is staged, and that is all. [`Differ::apply`] takes as long as the layer is large, on a thread
//! of its own. Nothing is mounted. Where the directory was empty before, it is again when the layer cannot be applied.

mod fresh;
mod place;
mod sync;
mod target;
mod watch;

use std::os::fd::AsFd as _;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::overlay::Mount;
use crate::snapshotter::{Applied, ApplyTurn, KnownLayer};
use crate::types::{Digest, Scope};
use crate::{Chain, Error, Result};

use super::Differ;
use super::extract::{self, Extracted, extract};
use super::source::Blob;
use super::stream::{Stream, Uncompressed, require_layer};

use self::place::Place;
pub(super) use self::sync::Syncs;
pub(super) use self::target::Taken;
use self::target::Target;
use self::watch::Watch;

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

/// What becomes of a call.
pub enum Begun {
    /// A layer that holds the same takes the place of work.
    Known(Uncompressed),
    /// It is to be [applied](Differ::apply).
    Work(Box<Job>),
}

/// A layer that is ready to be applied.
pub struct Job {
    scope: Scope,
    digest: Digest,
    blob: Blob,
    target: Target,
    sync: bool,
    began: Instant,
}

impl Differ {
    /// Looks at what was asked for, and has a known layer staged if there is one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what another differ may be able to do; [`Error::Locked`] when somebody else applies to
    /// the directory; those of the blob's store.
    pub fn begin(&self, apply: Apply) -> Result<Begun> {
        let began = Instant::now();
        let begun = self.look(apply, began);
        match &begun {
            Ok(Begun::Work(_)) => {}
            Ok(Begun::Known(_)) => count("reused", began),
            Err(err) => count(outcome(err), began),
        }
        begun
    }

    fn look(&self, apply: Apply, began: Instant) -> Result<Begun> {
        let Apply { scope, media_type, digest, size, mounts, sync } = apply;
        // Also what is refused here may be written there, by another differ.
        for dir in place::directories(&mounts) {
            self.snapshotter.expect_writing(dir)?;
        }
        require_layer(&media_type)?;
        let target = Target::open(&mounts, self.settings.userxattr, &self.taken, &self.syncs)?;
        // Also where it will not be read: who pushes the image later will need it.
        let blob = self.sources.open(&scope, &digest, size)?;
        let sync = sync || self.settings.sync;
        let known = match self.begin_turn(&target)? {
            Some(turn) => self.snapshotter.stage_known(&turn, &digest, sync)?,
            None => None,
        };
        Ok(match known {
            Some(known) => Begun::Known(known.into()),
            None => Begun::Work(Box::new(Job { scope, digest, blob, target, sync, began })),
        })
    }

    /// Applies a layer, and returns what its blob turned out to be. Ends soon after `stop` was set.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no layer, or more than is allowed; [`Error::NoSpace`]; [`Error::NotFound`] when the
    /// snapshot was removed meanwhile; those of the blob's store and of the file system.
    pub fn apply(&self, job: Job, stop: &AtomicBool) -> Result<Uncompressed> {
        let (digest, began) = (job.digest.clone(), job.began);
        match self.try_apply(job, stop) {
            Ok((uncompressed, outcome)) => {
                count(outcome, began);
                let Uncompressed { diff_id, size } = &uncompressed;
                tracing::debug!(%digest, %diff_id, size, outcome, took = ?began.elapsed(), "layer applied");
                Ok(uncompressed)
            }
            Err(err) => {
                count(outcome(&err), began);
                tracing::debug!(%digest, error = %Chain(&err), took = ?began.elapsed(), "layer not applied");
                Err(err)
            }
        }
    }

    fn try_apply(&self, job: Job, stop: &AtomicBool) -> Result<(Uncompressed, &'static str)> {
        let Job { scope, digest, blob, mut target, sync, .. } = job;
        let mut turn = self.begin_turn(&target)?;
        if let Some(turn) = &mut turn {
            // Somebody may have unpacked the same while this one waited.
            if let Some(known) = self.snapshotter.stage_known(turn, &digest, sync)? {
                return Ok((known.into(), "reused"));
            }
            target.parents = turn.parents();
            if let Some(staged) = turn.staged().cloned() {
                // The layer is taken back only when what it holds is here.
                let below = self.sources.open(&scope, &staged, 0)?;
                let watch = Watch::new(self, &target, Some(turn), stop);
                let extracted = self.extract(below, &target, &watch);
                let (uncompressed, extracted) =
                    extracted.map_err(|err| watch.explain(err)).inspect_err(|_| watch.undo())?;
                // The sync for what follows is for all that is there.
                self.snapshotter.unstage(turn, applied(staged, &uncompressed, extracted, sync))?;
                target.keep();
            }
        }
        let watch = Watch::new(self, &target, turn.as_ref(), stop);
        let extracted = self.extract(blob, &target, &watch).and_then(|extracted| {
            if sync {
                target.sync()?;
            }
            watch.check()?;
            Ok(extracted)
        });
        let (uncompressed, extracted) = extracted.map_err(|err| watch.explain(err)).inspect_err(|_| watch.undo())?;
        if let Some(turn) = &turn {
            let recorded = self.snapshotter.record_applied(turn, applied(digest, &uncompressed, extracted, sync));
            recorded.inspect_err(|_| {
                if turn.is_fresh() && self.snapshotter.forget_applied(turn).is_ok() {
                    watch.undo();
                }
            })?;
        }
        metrics::counter!("leasehold_apply_bytes_total").increment(uncompressed.size);
        Ok((uncompressed, "extracted"))
    }

    /// Takes the turn on a layer of ours.
    fn begin_turn(&self, target: &Target) -> Result<Option<ApplyTurn<'_>>> {
        let Some(mut turn) = self.snapshotter.begin_apply(target.path())? else { return Ok(None) };
        // A client may say that an upperdir is a plain directory, where whiteouts leave nothing behind.
        let own = Place::of(&turn.mounts(), self.settings.userxattr);
        if !own.is_ok_and(|own| own.whiteouts == target.whiteouts) {
            turn.apply_otherwise();
        }
        Ok(Some(turn))
    }

    fn extract(&self, blob: Blob, target: &Target, watch: &Watch<'_>) -> Result<(Uncompressed, Extracted)> {
        let stop = || watch.is_over();
        let size = blob.size();
        let mut stream = Stream::open(blob.read()?, size, &self.settings.limits)?.until(&stop);
        let into = extract::Target { root: target.dir.as_fd(), parents: &target.parents, whiteouts: target.whiteouts };
        match extract(&mut stream, &into, &self.settings.extraction, &stop) {
            // An archive may be followed by anything, which is part of the digest.
            Ok(extracted) => Ok((stream.finish(&stop)?, extracted)),
            // What the stream fails with says more than that it failed.
            Err(err) => Err(stream.failure().unwrap_or(err)),
        }
    }
}

impl From<KnownLayer> for Uncompressed {
    fn from(known: KnownLayer) -> Uncompressed {
        Uncompressed { diff_id: known.diff_id, size: known.size }
    }
}

/// What the snapshotter is to know of what was extracted.
fn applied(blob: Digest, uncompressed: &Uncompressed, extracted: Extracted, durable: bool) -> Applied {
    let Extracted { usage, mut implicit, inherited, whiteouts, opaque, .. } = extracted;
    // Only where something is below that is known already, so that no commit fits them.
    implicit.extend(inherited);
    let Uncompressed { diff_id, size } = uncompressed.clone();
    Applied { blob: Some(blob), diff_id, size, usage, implicit, whiteouts, opaque, durable }
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
