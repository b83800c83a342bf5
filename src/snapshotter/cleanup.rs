//! The reclaimer: deletes the directories of trash in a bounded pool of threads.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::metadata::Metadata;
use crate::overlay::LayerDirs;
use crate::types::LayerId;
use crate::{Chain, Result, failpoint};

use super::background::Background;

/// How many layers a worker deletes before it forgets them in one transaction.
const BATCH: usize = 64;
/// How long a layer that could not be deleted (a mount is below it) waits for the next try.
const RETRY: Duration = Duration::from_secs(5);

/// Deletes what is in trash.
pub(super) struct Reclaimer {
    shared: Arc<Shared>,
    workers: Background,
}

struct Shared {
    metadata: Arc<Metadata>,
    dirs: Arc<LayerDirs>,
    state: Mutex<State>,
    /// Signalled when something is enqueued, and at the stop.
    work: Condvar,
    /// Signalled when a batch is done.
    done: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(u64, LayerId)>,
    /// Busy layers, with the time of their next try.
    delayed: VecDeque<(Instant, LayerId)>,
    /// Everything that is queued or being deleted, by its number in the order of arrival.
    pending: BTreeSet<u64>,
    last: u64,
    workers: usize,
    stopped: bool,
}

impl Reclaimer {
    pub fn start(metadata: Arc<Metadata>, dirs: Arc<LayerDirs>, workers: usize) -> Result<Reclaimer> {
        let shared = Arc::new(Shared {
            metadata,
            dirs,
            state: Mutex::new(State { workers: workers.max(1), ..State::default() }),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let reclaimer = Reclaimer { shared, workers: Background::default() };
        for _ in 0..workers.max(1) {
            let shared = reclaimer.shared.clone();
            reclaimer.workers.spawn("reclaim", move || shared.run())?;
        }
        Ok(reclaimer)
    }

    /// Has a layer in trash deleted.
    pub fn enqueue(&self, layer: LayerId) {
        let mut state = self.shared.lock();
        state.push(layer);
        drop(state);
        self.shared.work.notify_one();
    }

    /// Waits until everything that is in trash now is deleted or found busy; false when `limit` passed before.
    pub fn wait(&self, limit: Duration) -> bool {
        let state = self.shared.lock();
        let last = state.last;
        let unfinished =
            |state: &mut State| !state.stopped && state.pending.first().is_some_and(|first| *first <= last);
        match self.shared.done.wait_timeout_while(state, limit, unfinished) {
            Ok((_, timeout)) => !timeout.timed_out(),
            Err(_) => false,
        }
    }

    /// Returns how many layers wait, busy ones included.
    pub fn len(&self) -> usize {
        let state = self.shared.lock();
        state.pending.len() + state.delayed.len()
    }

    /// Has the workers end after the layer that each is deleting, and waits for them.
    pub fn stop(&self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
        self.shared.done.notify_all();
        self.workers.join();
    }
}

impl State {
    fn push(&mut self, layer: LayerId) {
        self.last += 1;
        self.pending.insert(self.last);
        self.queue.push_back((self.last, layer));
    }

    fn push_due(&mut self, now: Instant) {
        while let Some((due, layer)) = self.delayed.front().copied() {
            if due > now {
                return;
            }
            self.delayed.pop_front();
            self.push(layer);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single push or remove, so it is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some(batch) = self.next_batch() {
            // At the stop the rest is left for the next start.
            let delete = |layer| !self.lock().stopped && self.delete(layer);
            let (deleted, busy): (Vec<_>, Vec<_>) = batch.iter().partition(|(_, layer)| delete(*layer));
            let forgotten = self.forget(&deleted);
            let mut state = self.lock();
            for (number, _) in &batch {
                state.pending.remove(number);
            }
            let retry = if forgotten { busy } else { batch };
            state.delayed.extend(retry.into_iter().map(|(_, layer)| (Instant::now() + RETRY, layer)));
            drop(state);
            self.done.notify_all();
        }
    }

    /// Waits for work; `None` at the stop.
    fn next_batch(&self) -> Option<Vec<(u64, LayerId)>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let now = Instant::now();
            state.push_due(now);
            if !state.queue.is_empty() {
                // A fair share, so that no worker idles while another has many large layers before it.
                let count = state.queue.len().div_ceil(state.workers).min(BATCH);
                return Some(state.queue.drain(..count).collect());
            }
            state = match state.delayed.front() {
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some((due, _)) => {
                    let pause = due.saturating_duration_since(now);
                    self.work.wait_timeout(state, pause).map_or_else(|err| err.into_inner().0, |(state, _)| state)
                }
            };
        }
    }

    /// Deletes a layer's directory, wherever the removal left it; false when it has to be tried again.
    fn delete(&self, layer: LayerId) -> bool {
        let result = self.metadata.is_trash(layer).and_then(|is_trash| {
            // The last look before data is gone: only a record in trash says that it may go.
            if is_trash {
                self.dirs.move_to_trash(layer)?;
                failpoint::hit("reclaim: before deleting");
                self.dirs.reclaim(layer)?;
            }
            Ok(())
        });
        failpoint::hit("reclaim: deleted");
        match result {
            Ok(()) => true,
            Err(err) => {
                tracing::warn!(%layer, error = %Chain(&err), "a removed layer cannot be deleted yet");
                false
            }
        }
    }

    /// Deletes the records of layers that are gone; false when they could not be written.
    fn forget(&self, deleted: &[(u64, LayerId)]) -> bool {
        if deleted.is_empty() {
            return true;
        }
        let result = self.metadata.write(SystemTime::now()).and_then(|mut txn| {
            for (_, layer) in deleted {
                txn.reclaimed(*layer);
            }
            failpoint::hit("reclaim: before the record");
            // Lost in a power cut, the record names a directory that does not exist, which costs one look.
            txn.commit_unsynced()
        });
        match result {
            Ok(()) => true,
            Err(err) => {
                tracing::warn!(error = %Chain(&err), "records of deleted layers cannot be written yet");
                false
            }
        }
    }
}
