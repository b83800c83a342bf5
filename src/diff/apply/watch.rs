//! What may end an extraction early.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::snapshotter::ApplyTurn;
use crate::{Error, FsOp, Resource, Result};

use super::super::Differ;
use super::target::Target;

/// How often it is looked whether there is still room, and a directory to put something into.
const PERIOD: Duration = Duration::from_millis(100);

/// Watches over one extraction.
pub(super) struct Watch<'a> {
    differ: &'a Differ,
    target: &'a Target,
    /// That of a layer of ours.
    turn: Option<&'a ApplyTurn<'a>>,
    stop: &'a AtomicBool,
    looked: Cell<Instant>,
    reason: RefCell<Option<Error>>,
}

impl<'a> Watch<'a> {
    pub fn new(
        differ: &'a Differ,
        target: &'a Target,
        turn: Option<&'a ApplyTurn<'a>>,
        stop: &'a AtomicBool,
    ) -> Watch<'a> {
        Watch { differ, target, turn, stop, looked: Cell::new(Instant::now()), reason: RefCell::default() }
    }

    /// Whether to end. Cheap enough to be asked for each entry.
    pub fn is_over(&self) -> bool {
        if self.is_stopped() {
            return true;
        }
        if self.looked.get().elapsed() < PERIOD {
            return false;
        }
        self.looked.set(Instant::now());
        self.check().map_err(|err| self.reason.replace(Some(err))).is_err()
    }

    /// Fails with why to end.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] when nobody waits for it any more, [`Error::NotFound`] and [`Error::Fs`] when the directory is
    /// gone, and for a layer of ours [`Error::NoSpace`].
    pub fn check(&self) -> Result<()> {
        if self.is_stopped() {
            return Err(Error::ShuttingDown);
        }
        self.require_target()?;
        if self.turn.is_none() {
            // It need not be in the file system of the pool, whose room says nothing then.
            return Ok(());
        }
        // Removing an image needs room, too, and is all that helps when there is none.
        self.differ.snapshotter.expect_free_space()
    }

    /// Returns what an extraction has really failed for.
    pub fn explain(&self, err: Error) -> Error {
        if self.is_stopped() {
            return Error::ShuttingDown;
        }
        // Without the directory, anything may fail.
        self.reason.take().or_else(|| self.require_target().err()).unwrap_or(err)
    }

    /// Takes away what was extracted, where there was nothing before. What was removed is left to the reclaimer.
    pub fn undo(&self) {
        if self.require_target().is_ok() {
            self.target.undo();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.differ.workers.is_stopping()
    }

    fn require_target(&self) -> Result<()> {
        match self.turn {
            Some(turn) if turn.is_removed() => Err(Error::NotFound(Resource::Layer(turn.layer().get()))),
            None if self.target.is_gone() => Err(Error::fs(FsOp::Open, self.target.dir.path())(Errno::NOENT)),
            _ => Ok(()),
        }
    }
}
