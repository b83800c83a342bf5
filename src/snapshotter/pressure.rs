//! The signal from those who need space, and from those who retain something, to the evictor.
//!
//! One evictor attaches. Until then, after [`Pressure::detach`], and while there is nothing that could be evicted, telling
//! costs next to nothing, and nobody waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::metadata::Usage;

/// What changed since the evictor last looked.
#[derive(Default)]
pub struct Pressure {
    state: Mutex<State>,
    /// The evictor waits for this.
    told: Condvar,
    /// Those who need space wait for this.
    looked: Condvar,
}

#[derive(Default)]
struct State {
    attached: bool,
    /// Something was retained by policy, or holds have changed, since the last look began.
    changed: bool,
    /// There may be something that could be evicted.
    stocked: bool,
    /// Looks that were asked for because space is short, and how many of those asks the last ended look came after.
    asked: u64,
    answered: u64,
    /// How many requests wait for space.
    waiting: usize,
    /// What only policy leases keep, as of the last look.
    kept: Usage,
}

/// Why the evictor was woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// Something was retained by policy, or holds have changed, since the last look began.
    pub changed: bool,
    /// Somebody needs space.
    pub short: bool,
    /// The evictor was detached and is to end.
    pub detached: bool,
}

/// A look at what could be evicted. Whoever asked for one before it began is woken when it is dropped.
#[must_use = "dropping it ends the look"]
pub struct Look<'p> {
    pressure: &'p Pressure,
    answers: u64,
    /// What was found. Without it the look failed, and what it was for is still to be done.
    found: Option<(bool, Usage)>,
}

/// The right to wait for space.
#[must_use = "dropping it ends the wait"]
pub(super) struct Turn<'p>(&'p Pressure);

impl Pressure {
    /// Tells that something was retained by policy.
    pub fn retained(&self) {
        let mut state = self.state();
        (state.changed, state.stocked) = (true, true);
        self.told.notify_all();
    }

    /// Tells that holds may have changed, or something retained have been given up.
    pub fn holds_changed(&self) {
        self.state().changed = true;
        self.told.notify_all();
    }

    /// Asks for a look because space is short, and returns the number of this ask; `None` where nothing could be evicted.
    pub(super) fn ask(&self) -> Option<u64> {
        let mut state = self.state();
        if !(state.attached && state.stocked) {
            return None;
        }
        state.asked += 1;
        self.told.notify_all();
        Some(state.asked)
    }

    /// Lets at most `limit` requests wait for space at a time, and only where something could be evicted.
    pub(super) fn turn(&self, limit: usize) -> Option<Turn<'_>> {
        let mut state = self.state();
        if !(state.attached && state.stocked) || state.waiting >= limit {
            return None;
        }
        state.waiting += 1;
        Some(Turn(self))
    }

    /// Waits for the end of a look that began after an ask, at most for `limit`; whether there was one. Once the evictor
    /// is detached there will be none.
    pub(super) fn wait_for_look(&self, ask: u64, limit: Duration) -> bool {
        let open = |state: &mut State| state.attached && state.answered < ask;
        let result = self.looked.wait_timeout_while(self.state(), limit, open);
        result.is_ok_and(|(state, _)| state.answered >= ask)
    }

    /// Makes the caller the evictor. Before its first look anything may be there to be evicted.
    pub fn attach(&self) {
        let mut state = self.state();
        (state.attached, state.changed, state.stocked) = (true, true, true);
    }

    /// Ends the evictor's work: its [`wait`](Self::wait) returns, and nobody waits for it any more.
    pub fn detach(&self) {
        self.state().attached = false;
        self.told.notify_all();
        self.looked.notify_all();
    }

    /// Whether there is an evictor that was not told to end.
    pub fn is_attached(&self) -> bool {
        self.state().attached
    }

    /// Whether there may be something that could be evicted.
    pub fn is_stocked(&self) -> bool {
        self.state().stocked
    }

    /// Returns what only policy leases keep, as of the last look.
    pub fn kept(&self) -> Usage {
        self.state().kept
    }

    /// Waits until somebody needs space, or until something changes unless `seen` says that this is known; at most for
    /// `timeout`. For the evictor.
    pub fn wait(&self, timeout: Duration, seen: bool) -> Wake {
        let is_idle = |state: &mut State| state.attached && state.asked == state.answered && (seen || !state.changed);
        let (state, _) =
            self.told.wait_timeout_while(self.state(), timeout, is_idle).unwrap_or_else(PoisonError::into_inner);
        Wake { changed: state.changed, short: state.asked > state.answered, detached: !state.attached }
    }

    /// Waits for `timeout`, whatever is told meanwhile, unless the evictor is to end. For the evictor.
    pub fn pause(&self, timeout: Duration) {
        drop(self.told.wait_timeout_while(self.state(), timeout, |state| state.attached));
    }

    /// Begins a look: it sees everything that was told before.
    pub fn begin(&self) -> Look<'_> {
        let mut state = self.state();
        state.changed = false;
        Look { pressure: self, answers: state.asked, found: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves a state that can be, so it is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look<'_> {
    /// Ends a look that found out whether anything could still be evicted, and what is kept.
    pub fn end(mut self, stocked: bool, kept: Usage) {
        self.found = Some((stocked, kept));
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut state = self.pressure.state();
        state.answered = state.answered.max(self.answers);
        match self.found {
            // What was retained after the look began it may not have seen.
            Some((stocked, kept)) => (state.stocked, state.kept) = (stocked || state.changed, kept),
            None => state.changed = true,
        }
        drop(state);
        self.pressure.looked.notify_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const NOTHING: Usage = Usage { size: 0, inodes: 0 };

    #[test]
    fn without_an_evictor_nobody_waits() {
        let pressure = Pressure::default();
        pressure.retained();
        assert_eq!(pressure.ask(), None);
        assert!(pressure.turn(1).is_none());
        assert!(pressure.wait(LONG, false).detached);
        pressure.attach();
        assert!(pressure.turn(1).is_some());
        pressure.detach();
        assert!(!pressure.wait_for_look(1, LONG));
    }

    #[test]
    fn where_nothing_can_be_evicted_nobody_asks() {
        let pressure = Pressure::default();
        pressure.attach();
        assert_eq!(pressure.wait(LONG, false), Wake { changed: true, ..Wake::default() });
        pressure.begin().end(false, NOTHING);
        assert_eq!((pressure.ask(), pressure.is_stocked()), (None, false));
        assert_eq!(pressure.wait(Duration::ZERO, false), Wake::default());
        pressure.retained();
        assert_eq!((pressure.ask(), pressure.is_stocked()), (Some(1), true));
        assert_eq!(pressure.wait(LONG, true), Wake { changed: true, short: true, detached: false });
    }

    #[test]
    fn what_is_retained_during_a_look_is_looked_at_again() {
        let pressure = Pressure::default();
        pressure.attach();
        let look = pressure.begin();
        pressure.retained();
        look.end(false, Usage { size: 7, inodes: 1 });
        assert!(pressure.is_stocked() && pressure.wait(LONG, false).changed);
        assert_eq!(pressure.kept().size, 7);
        // One that failed leaves everything to be done.
        drop(pressure.begin());
        assert!(pressure.is_stocked() && pressure.wait(LONG, false).changed);
    }

    #[test]
    fn an_ask_is_answered_by_a_look_that_began_after_it() {
        let pressure = Pressure::default();
        pressure.attach();
        let early = pressure.begin();
        let ask = pressure.ask().unwrap();
        early.end(true, NOTHING);
        assert!(!pressure.wait_for_look(ask, Duration::ZERO));
        assert!(pressure.wait(LONG, true).short);
        drop(pressure.begin());
        assert!(pressure.wait_for_look(ask, LONG));
    }

    #[test]
    fn few_wait_at_a_time() {
        let pressure = Pressure::default();
        pressure.attach();
        let turns = (pressure.turn(2), pressure.turn(2));
        assert!(turns.0.is_some() && turns.1.is_some() && pressure.turn(2).is_none());
        drop(turns);
        assert!(pressure.turn(1).is_some() && pressure.turn(0).is_none());
    }
}
