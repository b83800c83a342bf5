//! How fast layers are deleted.
//!
//! Rule: the limit is of the whole pool, and holds inside a tree as well as between trees. It is lifted while there is
//! too little room for anything new, because then somebody needs the space more than the disk's time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long entries are granted at a time. Nothing that was not used is saved up for longer either.
const SLICE: Duration = Duration::from_millis(10);
/// How many slices a second has.
const SLICES: u64 = 100;
/// How often it is looked whether there is room.
const LOOK: Duration = Duration::from_millis(100);

/// The limit on the entries that are deleted.
pub(super) struct Pace {
    /// Entries a second; 0 for no limit.
    per_second: u64,
    /// Whether there is too little room.
    is_short: Box<dyn Fn() -> bool + Send + Sync>,
    stopped: AtomicBool,
    state: Mutex<State>,
    stop: Condvar,
}

struct State {
    /// When the next entries may be deleted.
    next: Instant,
    /// When it was last looked whether there is room, and what was seen.
    looked: Option<Instant>,
    short: bool,
}

/// The entries that one worker may still delete without asking again.
pub(super) struct Turn<'p> {
    pace: &'p Pace,
    left: u64,
}

impl Pace {
    /// Sets a limit, 0 for none; `is_short` tells whether there is too little room.
    pub fn new(per_second: u64, is_short: impl Fn() -> bool + Send + Sync + 'static) -> Pace {
        let state = State { next: Instant::now(), looked: None, short: false };
        Pace {
            per_second,
            is_short: Box::new(is_short),
            stopped: AtomicBool::new(false),
            state: Mutex::new(state),
            stop: Condvar::new(),
        }
    }

    /// Begins the work of one worker.
    pub fn turn(&self) -> Turn<'_> {
        Turn { pace: self, left: 0 }
    }

    /// Has every worker end before its next entry.
    pub fn stop(&self) {
        // With the lock, so that nobody is between looking at the flag and waiting.
        let _state = self.state();
        self.stopped.store(true, Ordering::Relaxed);
        self.stop.notify_all();
    }

    /// Waits until some entries may be deleted, and returns how many; `None` at the stop.
    fn grant(&self) -> Option<u64> {
        let count = (self.per_second / SLICES).max(1);
        let takes = Duration::from_secs_f64(count as f64 / self.per_second as f64);
        let mut state = self.state();
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            let now = Instant::now();
            if state.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK) {
                // By nobody else meanwhile; and who waits for a turn does not wait for the file system.
                state.looked = Some(now);
                drop(state);
                let short = (self.is_short)();
                state = self.state();
                state.short = short;
            }
            if state.short {
                state.next = now;
                return Some(count);
            }
            let wait = state.next.saturating_duration_since(now);
            if wait.is_zero() {
                state.next = state.next.max(now.checked_sub(SLICE).unwrap_or(now)) + takes;
                return Some(count);
            }
            state = self.stop.wait_timeout(state, wait.min(LOOK)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment, so it is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Waits until one more entry may be deleted; false at the stop.
    pub fn take(&mut self) -> bool {
        if self.pace.stopped.load(Ordering::Relaxed) {
            return false;
        }
        if self.pace.per_second == 0 {
            return true;
        }
        if self.left == 0 {
            let Some(granted) = self.pace.grant() else { return false };
            self.left = granted;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Has two workers take entries, `count` together, and returns how long that took.
    fn take(pace: &Pace, count: u64) -> Duration {
        let (began, taken) = (Instant::now(), AtomicU64::new(0));
        let worker = || {
            let mut turn = pace.turn();
            while taken.fetch_add(1, Ordering::Relaxed) < count {
                assert!(turn.take());
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(worker);
            scope.spawn(worker);
        });
        began.elapsed()
    }

    #[test]
    fn workers_share_the_limit() {
        for (per_second, count) in [(20, 10), (5_000, 2_500), (200_000, 100_000)] {
            let took = take(&Pace::new(per_second, || false), count);
            // Both end with what was granted to them last and not used, and begin with what was saved up.
            let least = Duration::from_millis(500) - 3 * SLICE.max(Duration::from_secs(1) / per_second as u32);
            assert!(took >= least, "{count} entries at {per_second} a second took {took:?}");
        }
    }

    #[test]
    fn without_a_limit_nobody_waits_and_nobody_looks() {
        let pace = Pace::new(0, || panic!("looked"));
        assert!(take(&pace, 1_000_000) < Duration::from_secs(60));
    }

    #[test]
    fn nobody_waits_while_there_is_too_little_room() {
        let short = Arc::new(AtomicBool::new(true));
        let pace = {
            let short = short.clone();
            Pace::new(1, move || short.load(Ordering::Relaxed))
        };
        // Over a day's worth.
        assert!(take(&pace, 100_000) < Duration::from_secs(60));
        short.store(false, Ordering::Relaxed);
        let began = Instant::now();
        let mut turn = pace.turn();
        // What is granted until the next look, and what one second grants.
        while began.elapsed() < 2 * LOOK {
            assert!(turn.take());
        }
        let began = Instant::now();
        assert!(turn.take() && turn.take());
        assert!(began.elapsed() > 2 * LOOK, "{:?}", began.elapsed());
    }

    #[test]
    fn the_stop_ends_every_wait_at_once() {
        let pace = Pace::new(1, || false);
        pace.state().next += Duration::from_secs(3600);
        let began = Instant::now();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| pace.turn().take());
            pace.stop();
            assert!(!worker.join().unwrap());
        });
        assert!(began.elapsed() < Duration::from_secs(3600));
        assert!(!pace.turn().take());
    }
}
