//! The signal from those who take holds away to the collector.
//!
//! One collector attaches. Until then, and after [`Changes::detach`], telling costs next to nothing, and nobody waits.
//!
//! ```text
//! deleting a lease, ...    dirty()               ──┐
//! a lease that will end    expiry()              ──┼─> wait(timeout) -> Wake, begin() -> Run, collect, drop(Run)
//! Delete with sync         collect_and_wait()    ──┘     the collector
//!                               <── returns when a Run has ended that began after the call
//! ```

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What changed since the collector last looked.
#[derive(Default)]
pub struct Changes {
    state: Mutex<State>,
    /// The collector waits for this.
    told: Condvar,
    /// Those who asked for a collection wait for this.
    collected: Condvar,
}

#[derive(Default)]
struct State {
    attached: bool,
    /// Holds that were taken away since the last run began.
    dirty: u64,
    /// A lease with an end was created since the collector last looked.
    expiry: bool,
    /// Changes since the last run began that took no hold away, and how many of them are a reason for one.
    mutations: u64,
    mutation_threshold: u64,
    /// Runs that were asked for, and how many of those asks the last ended run came after.
    requested: u64,
    served: u64,
}

/// Why the collector was woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// How many holds were taken away since the last run began.
    pub dirty: u64,
    /// The earliest end of a lease may have changed.
    pub expiry: bool,
    /// There were as many other changes as are a reason for a run.
    pub mutated: bool,
    /// Somebody waits for a run.
    pub requested: bool,
    /// The collector was detached and is to end.
    pub detached: bool,
}

/// A collection under way. Whoever waits for one that began before this is woken when it is dropped.
#[must_use = "dropping it ends the run"]
pub struct Run<'c> {
    changes: &'c Changes,
    serves: u64,
}

impl Changes {
    /// Tells that a hold was taken away.
    pub fn dirty(&self) {
        self.state().dirty += 1;
        self.told.notify_all();
    }

    /// Tells that a lease was created that ends, perhaps before all others.
    pub fn expiry(&self) {
        self.state().expiry = true;
        self.told.notify_all();
    }

    /// Tells of a change that took no hold away. Only many of them are a reason for a collection.
    pub fn mutated(&self) {
        let mut state = self.state();
        state.mutations += 1;
        if state.mutations == state.mutation_threshold {
            self.told.notify_all();
        }
    }

    /// Sets how many changes are a reason for a collection; 0 for none.
    pub fn set_mutation_threshold(&self, changes: u64) {
        self.state().mutation_threshold = changes;
    }

    /// Asks for a collection now, and waits for the end of one that began after this call. Returns at once where no
    /// collector is attached.
    pub fn collect_and_wait(&self) {
        let mut state = self.state();
        if !state.attached {
            return;
        }
        state.requested += 1;
        let mine = state.requested;
        self.told.notify_all();
        while state.attached && state.served < mine {
            state = self.collected.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes the caller the collector: from now on requests wait for it.
    pub fn attach(&self) {
        self.state().attached = true;
    }

    /// Ends the collector's work: its [`wait`](Self::wait) returns, and nobody waits for a run any more.
    pub fn detach(&self) {
        self.state().attached = false;
        self.told.notify_all();
        self.collected.notify_all();
    }

    /// Whether there is a collector that was not told to end.
    pub fn is_attached(&self) -> bool {
        self.state().attached
    }

    /// Waits until somebody tells something, at most for `timeout`. For the collector.
    ///
    /// Taken note of is only the expiry: holds and requests stay until [`begin`](Self::begin), so a collector that puts
    /// off a run has to wait without looking at them, with [`pause`](Self::pause).
    pub fn wait(&self, timeout: Duration) -> Wake {
        let is_idle = |state: &mut State| {
            state.attached
                && state.dirty == 0
                && !state.expiry
                && !state.is_mutated()
                && state.requested == state.served
        };
        self.wait_while(timeout, is_idle)
    }

    /// Waits for `timeout`, unless somebody asks for a run or the collector is to end. For the collector.
    pub fn pause(&self, timeout: Duration) -> Wake {
        self.pause_until(timeout, u64::MAX)
    }

    /// Like [`pause`](Self::pause), and ends also once so many holds were taken away.
    pub fn pause_until(&self, timeout: Duration, holds: u64) -> Wake {
        self.wait_while(timeout, |state| state.attached && state.requested == state.served && state.dirty < holds)
    }

    /// Begins a run: it sees everything that was told before.
    pub fn begin(&self) -> Run<'_> {
        let mut state = self.state();
        state.dirty = 0;
        state.mutations = 0;
        Run { changes: self, serves: state.requested }
    }

    fn wait_while(&self, timeout: Duration, is_idle: impl Fn(&mut State) -> bool) -> Wake {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state();
        while is_idle(&mut state) {
            // A timeout that no clock reaches is none.
            state = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => self.told.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.told.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        Wake {
            dirty: state.dirty,
            expiry: std::mem::take(&mut state.expiry),
            mutated: state.is_mutated(),
            requested: state.requested > state.served,
            detached: !state.attached,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment, so it is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_mutated(&self) -> bool {
        self.mutation_threshold > 0 && self.mutations >= self.mutation_threshold
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut state = self.changes.state();
        state.served = state.served.max(self.serves);
        drop(state);
        self.changes.collected.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn without_a_collector_nobody_waits() {
        let changes = Changes::default();
        changes.dirty();
        changes.collect_and_wait();
        assert_eq!(changes.wait(LONG), Wake { dirty: 1, detached: true, ..Wake::default() });
    }

    #[test]
    fn holds_are_counted_until_a_run_begins() {
        let changes = Changes::default();
        changes.attach();
        assert_eq!(changes.wait(Duration::ZERO), Wake::default());
        changes.dirty();
        changes.expiry();
        changes.dirty();
        assert_eq!(changes.wait(LONG), Wake { dirty: 2, expiry: true, ..Wake::default() });
        assert_eq!(changes.pause(Duration::ZERO), Wake { dirty: 2, ..Wake::default() });
        let run = changes.begin();
        changes.dirty();
        drop(run);
        assert_eq!(changes.wait(LONG).dirty, 1);
    }

    #[test]
    fn many_changes_and_many_deletions_are_reasons() {
        let changes = Changes::default();
        changes.attach();
        changes.set_mutation_threshold(2);
        changes.mutated();
        assert_eq!(changes.wait(Duration::ZERO), Wake::default());
        changes.mutated();
        assert_eq!(changes.wait(LONG), Wake { mutated: true, ..Wake::default() });
        drop(changes.begin());
        assert_eq!(changes.wait(Duration::ZERO), Wake::default());
        (0..3).for_each(|_| changes.dirty());
        assert_eq!(changes.pause_until(LONG, 3).dirty, 3);
    }

    #[test]
    fn a_request_is_served_by_a_run_that_began_after_it() {
        let changes = Changes::default();
        changes.attach();
        std::thread::scope(|scope| {
            let early = changes.begin();
            let (sender, served) = channel();
            let changes = &changes;
            scope.spawn(move || {
                changes.collect_and_wait();
                sender.send(()).unwrap();
            });
            assert!(changes.wait(LONG).requested);
            drop(early);
            assert!(changes.wait(LONG).requested, "it began too early");
            assert!(served.try_recv().is_err());
            drop(changes.begin());
            served.recv_timeout(LONG).unwrap();
            assert_eq!(changes.wait(Duration::ZERO), Wake::default());
        });
    }

    #[test]
    fn the_collectors_end_leaves_nobody_waiting() {
        let changes = Changes::default();
        changes.attach();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| changes.collect_and_wait());
            assert!(changes.wait(LONG).requested);
            changes.detach();
            waiter.join().unwrap();
            assert!(changes.wait(LONG).detached);
        });
    }
}
