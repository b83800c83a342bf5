//! Free space: what is kept for removals and restarts, and waiting for what is evicted to make room.

use std::time::{Duration, Instant};

use crate::overlay::{FreeSpace, LayerDirs};
use crate::{Error, Result};

use super::Snapshotter;
use super::pressure::Pressure;

/// Below this many free inodes nothing new is made: a database that cannot make files can neither remove nor start.
pub const MIN_FREE_INODES: u64 = 512;
/// The longest that a request waits for space.
const RELIEF: Duration = Duration::from_secs(5);
/// How often it looks whether there is enough.
const STEP: Duration = Duration::from_millis(20);

impl Snapshotter {
    /// Returns what can still be written to the pool's file system. One system call.
    ///
    /// # Errors
    /// [`Error::Fs`].
    pub fn free_space(&self) -> Result<FreeSpace> {
        self.dirs.free_space()
    }

    /// Returns the number of free bytes below which Prepare and View are refused.
    pub fn min_free(&self) -> u64 {
        self.settings.min_free
    }

    /// Returns what tells the evictor.
    pub fn pressure(&self) -> &Pressure {
        &self.pressure
    }

    /// Fails where too little is free for something new. Before that, while it may help and for a bounded time, has
    /// retained snapshots evicted: they are a help to the next pull, and must not be what makes this one fail.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub fn require_free_space(&self) -> Result<()> {
        let refusal = match self.check_free_space() {
            Err(err @ Error::NoSpace { .. }) => err,
            result => return result,
        };
        // Removals, which make room as well, are not to wait behind those who wait for it.
        let Some(_turn) = self.pressure.turn(self.settings.waiting_for_space) else {
            self.pressure.ask();
            return Err(refusal);
        };
        let deadline = Instant::now() + RELIEF;
        let mut ask = self.pressure.ask();
        while let Some(asked) = ask
            && Instant::now() < deadline
            && self.pressure.is_attached()
        {
            let deleted = self.pressure.wait_for_look(asked, STEP) && self.reclaimer.wait(STEP);
            match self.check_free_space() {
                Err(Error::NoSpace { .. }) => {}
                result => return result,
            }
            if deleted {
                // What was evicted gave less than was reckoned.
                ask = self.pressure.ask();
            }
        }
        Err(refusal)
    }

    /// Fails where too little is free for something new and nothing can be evicted for it. Never waits.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Fs`].
    pub fn expect_free_space(&self) -> Result<()> {
        match self.check_free_space() {
            Err(Error::NoSpace { .. }) if self.pressure.ask().is_some() => Ok(()),
            result => result,
        }
    }

    /// Passes a result through. Where something did not fit, the evictor hears of it.
    pub(super) fn note_no_space<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(Error::NoSpace { .. }) = &result {
            self.pressure.ask();
        }
        result
    }

    fn check_free_space(&self) -> Result<()> {
        let Some(shortage) = shortage(&self.dirs, self.settings.min_free)? else { return Ok(()) };
        let what = format!("{}: {shortage}", self.layout().root().display());
        Err(Error::NoSpace { what, source: None })
    }
}

/// Says what there is too little of for anything new to be made; `None` when there is enough, or nothing is to be kept
/// free. One system call.
///
/// # Errors
/// [`Error::Fs`].
pub(super) fn shortage(dirs: &LayerDirs, min_free: u64) -> Result<Option<String>> {
    if min_free == 0 {
        return Ok(None);
    }
    let free = dirs.free_space()?;
    Ok(match free.inodes {
        _ if free.bytes < min_free => Some(format!("{} bytes are free, and limits.min_free is {min_free}", free.bytes)),
        Some(inodes) if inodes < MIN_FREE_INODES => {
            Some(format!("{inodes} inodes are free, and {MIN_FREE_INODES} are kept for removals and restarts"))
        }
        _ => None,
    })
}
