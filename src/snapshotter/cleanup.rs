//! The reclaimer: deletes the directories of trash in a bounded pool of threads.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::background::Background;
use crate::metadata::Metadata;
use crate::overlay::LayerDirs;
use crate::types::LayerId;
use crate::{Chain, Result, failpoint};

/// How many layers a worker takes at a time.
const BATCH: usize = 64;
/// How many deleted layers are forgotten at once: each time costs a sync of a directory.
const FORGET: usize = 512;
/// How long deleted layers wait for more to be forgotten with them.
const FORGET_AFTER: Duration = Duration::from_secs(1);
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
    /// Signalled when something is enqueued or has become due, and at the stop.
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
    /// Deleted layers that still have a record.
    deleted: Vec<LayerId>,
    /// When those are forgotten; `None` when there are none, or a worker is at it.
    forget: Option<Instant>,
    last: u64,
    workers: usize,
    /// Nobody is to wait any more.
    released: bool,
    stopped: bool,
}

/// What a worker does next.
enum Work {
    Delete(Vec<(u64, LayerId)>),
    Forget(Vec<LayerId>),
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

    /// Waits until everything that is in trash now is deleted or found busy; false when `limit` passed before, or when
    /// nobody is to wait any more.
    pub fn wait(&self, limit: Duration) -> bool {
        let state = self.shared.lock();
        let last = state.last;
        let unfinished = |state: &State| state.pending.first().is_some_and(|first| *first <= last);
        let waiting = |state: &mut State| !state.released && unfinished(state);
        self.shared.done.wait_timeout_while(state, limit, waiting).is_ok_and(|(state, _)| !unfinished(&state))
    }

    /// Ends every [`wait`](Self::wait), those to come included.
    pub fn release(&self) {
        self.shared.lock().released = true;
        self.shared.done.notify_all();
    }

    /// Returns how many layers wait, busy ones included.
    pub fn len(&self) -> usize {
        let state = self.shared.lock();
        state.pending.len() + state.delayed.len()
    }

    /// Has the workers end after the layer that each is deleting, and waits for them.
    pub fn stop(&self) {
        self.release();
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
        self.workers.join();
        let deleted = std::mem::take(&mut self.shared.lock().deleted);
        self.shared.forget(&deleted);
    }
}

impl State {
    fn push(&mut self, layer: LayerId) {
        self.last += 1;
        self.pending.insert(self.last);
        self.queue.push_back((self.last, layer));
    }

    /// Has deleted layers forgotten: at once when they are many, else after a while, when there may be more.
    fn note_deleted(&mut self, deleted: impl Iterator<Item = LayerId>) {
        self.deleted.extend(deleted);
        let now = Instant::now();
        let due = match self.deleted.len() {
            0 => return,
            FORGET.. => now,
            _ => now + FORGET_AFTER,
        };
        self.forget = Some(self.forget.map_or(due, |before| before.min(due)));
    }

    fn forget_again(&mut self, deleted: Vec<LayerId>) {
        self.deleted.extend(deleted);
        self.forget = Some(Instant::now() + RETRY);
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
        while let Some(work) = self.next_work() {
            match work {
                Work::Delete(batch) => self.delete_all(&batch),
                Work::Forget(deleted) if self.forget(&deleted) => {}
                Work::Forget(deleted) => self.lock().forget_again(deleted),
            }
        }
    }

    /// Waits for work; `None` at the stop.
    fn next_work(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let now = Instant::now();
            state.push_due(now);
            if state.forget.is_some_and(|due| due <= now) {
                state.forget = None;
                return Some(Work::Forget(std::mem::take(&mut state.deleted)));
            }
            if !state.queue.is_empty() {
                // A fair share, so that no worker idles while another has many large layers before it.
                let count = state.queue.len().div_ceil(state.workers).min(BATCH);
                return Some(Work::Delete(state.queue.drain(..count).collect()));
            }
            let due = state.delayed.front().map(|(due, _)| *due).into_iter().chain(state.forget).min();
            state = match due {
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let pause = due.saturating_duration_since(now);
                    self.work.wait_timeout(state, pause).map_or_else(|err| err.into_inner().0, |(state, _)| state)
                }
            };
        }
    }

    fn delete_all(&self, batch: &[(u64, LayerId)]) {
        // At the stop the rest is left for the next start.
        let delete = |layer| !self.lock().stopped && self.delete(layer);
        let (deleted, busy): (Vec<_>, Vec<_>) = batch.iter().partition(|(_, layer)| delete(*layer));
        let mut state = self.lock();
        for (number, _) in batch {
            state.pending.remove(number);
        }
        state.delayed.extend(busy.into_iter().map(|(_, layer)| (Instant::now() + RETRY, layer)));
        state.note_deleted(deleted.into_iter().map(|(_, layer)| layer));
        drop(state);
        self.done.notify_all();
    }

    /// Deletes a layer's directory, wherever the removal left it; false when it has to be tried again.
    fn delete(&self, layer: LayerId) -> bool {
        let result = self.metadata.is_trash(layer).and_then(|is_trash| {
            // The last look before data is gone: only a record in trash says that it may go, and only when no other one
            // says that it may not.
            if is_trash && self.metadata.layer(layer)?.is_none() {
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
    fn forget(&self, deleted: &[LayerId]) -> bool {
        if deleted.is_empty() {
            return true;
        }
        // The directories first: one that a power cut brings back must still have its record, or nobody would know
        // that it was to go.
        let result = self.dirs.sync_moves().and_then(|()| {
            failpoint::hit("reclaim: before the record");
            let mut txn = self.metadata.write(SystemTime::now())?;
            for layer in deleted {
                txn.reclaimed(*layer);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::Layout;
    use crate::store::Durability;

    /// A reclaimer none of whose workers ever ends its first layer.
    fn stuck(dir: &std::path::Path) -> Reclaimer {
        let layout = Layout::new(dir.join("pool")).unwrap();
        layout.create().unwrap();
        let metadata = Arc::new(Metadata::open(layout.meta(), Durability::Written).unwrap());
        let dirs = Arc::new(LayerDirs::open(&layout).unwrap());
        let reclaimer = Reclaimer::start(metadata, dirs, 1).unwrap();
        reclaimer.shared.lock().pending.insert(0);
        reclaimer
    }

    #[test]
    fn nobody_waits_after_the_release() {
        let dir = tempfile::tempdir().unwrap();
        let reclaimer = stuck(dir.path());
        assert!(!reclaimer.wait(Duration::ZERO));
        let began = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| reclaimer.wait(Duration::from_secs(3600)));
            reclaimer.release();
            assert!(!waiting.join().unwrap());
        });
        assert!(began.elapsed() < Duration::from_secs(3600));
        reclaimer.stop();
    }
}
